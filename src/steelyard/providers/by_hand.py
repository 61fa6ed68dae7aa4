"""A stored call as the request that is sent for it, for whoever wants to send it by hand.

It is made again from the record, by the code that sends; no key is read, and nothing is sent.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping

import msgspec

from steelyard.errors import ProviderError, UsageError
from steelyard.providers import BUILT_IN, check_holds_no_key
from steelyard.providers.endpoint import Endpoint
from steelyard.providers.http import take_apart
from steelyard.providers.interface import LikelihoodProvider
from steelyard.providers.services import SERVICES, key_variable
from steelyard.secrets import InVariable
from steelyard.types import LOST_TEXT, CellInfo, ModelSpec, Record, Request, WireRequest
from steelyard.types.ready import ready

BY_LOGPROB = ", logprob"
"""What the origin of answers ends with whose tokens' probabilities were asked for in the same request."""
VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def request_by_hand(cell: CellInfo, record: Record, left_out: Mapping[str, str]) -> WireRequest | None:
    """What is sent for the record's call, without the settings that its model turned out not to take.

    ``None`` where there is no such request: a model that runs here, a floor, several requests for one answer, a batch;
    an answer that was imported or given in an earlier run; an address that is not the one that answered.
    """
    completion = record.call.completion
    if (completion is not None and completion.cached) or LOST_TEXT in record.sample.flags or cell.sends_several:
        return None
    try:
        spec = msgspec.convert(cell.settings.get("model"), ready(ModelSpec))
        return _made_again(spec, cell.origin.removesuffix(BY_LOGPROB), record.call.request, left_out)
    except (msgspec.ValidationError, ProviderError, UsageError):
        return None


def _made_again(spec: ModelSpec, origin: str, request: Request, left_out: Mapping[str, str]) -> WireRequest | None:
    check_holds_no_key(spec)
    service = SERVICES.get(spec.provider)
    if service is None or spec.batch:
        return None
    variable = key_variable(spec)
    if variable is not None and not VARIABLE.fullmatch(variable):
        return None
    address = spec.base_url or (origin if service.address is None else None)
    endpoint = _endpoint(msgspec.structs.replace(spec, base_url=address), variable)
    if endpoint.origin != origin or not _has(endpoint, request):
        return None
    endpoint.has_learnt(left_out)
    sent = endpoint.sent(request)
    return WireRequest(
        url=take_apart(sent.url).url,
        headers={"Content-Type": "application/json", **sent.headers},
        body=msgspec.json.encode(sent.body).decode(),
        key_variable=variable,
        left_out=dict(left_out),
    )


def _endpoint(spec: ModelSpec, variable: str | None) -> Endpoint:
    speaker = importlib.import_module(BUILT_IN[spec.provider])
    endpoint: Endpoint = speaker.with_key(spec, None if variable is None else InVariable(variable))
    return endpoint


def _has(endpoint: Endpoint, request: Request) -> bool:
    """Whether the endpoint is asked by requests of this kind at all."""
    kind = request.prompt.kind
    return kind in endpoint.kinds or (kind == "likelihood" and isinstance(endpoint, LikelihoodProvider))

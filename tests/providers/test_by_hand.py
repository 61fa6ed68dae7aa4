"""A stored call is made again as the very request that was sent for it, or not at all; no key is read for that."""

import asyncio
import json

import msgspec
import pytest
from aiohttp import web

from server import serving
from steelyard.providers import connect
from steelyard.providers.by_hand import request_by_hand
from steelyard.types import (
    LOST_TEXT,
    Call,
    CellInfo,
    Completion,
    Message,
    ModelSpec,
    Prompt,
    Record,
    Request,
    Sample,
    Timing,
)

KEY = "a key of this test, which is in no text"
CHAT = Prompt(
    kind="chat", messages=(Message(role="system", content="Be brief."), Message(role="user", content="How heavy?"))
)
COMPLETION = Prompt(kind="completion", text="The beam is")
WEIGHED = Prompt(kind="likelihood", text="The beam is", continuations=(" level", " tilted"))
SETTINGS = {"temperature": 0.5, "max_tokens": 400, "stop": ("END",), "seed": 7, "reasoning_effort": "low"}


def cell_of(spec, origin, **changes):
    own = {name: value for name, value in msgspec.to_builtins(spec).items() if value not in (None, {}, [])}
    fields = {
        "model": spec.id, "benchmark": "quiz", "protocol": "p", "protocol_version": "1", "benchmark_version": "1",
        "kind": "chat", "dataset": "quiz", "dataset_digest": "d", "prompt_digest": "e", "items": 1, "available": 1,
    }  # fmt: skip
    return CellInfo(**(fields | {"origin": origin, "settings": {"model": own}} | changes))


def record_of(request, *, flags=(), **completion):
    timing = Timing(scheduled_ns=0, dispatched_ns=0, last_token_ns=1, ended_ns=1, streamed=False)
    call = Call(
        sample_id="a",
        repeat=0,
        request=request,
        digest=b"",
        started_at="2026-01-01T00:00:00.000+00:00",
        completion=Completion(text="heavy", timing=timing, **completion),
    )
    sample = Sample(id="a", input="How heavy?", target="heavy", flags=flags)
    return Record(run="r", model="m", benchmark="quiz", protocol="p", sample=sample, call=call, scores={})


async def ask(endpoint, request):
    """Send the request, whatever comes back: what was sent is looked at."""
    await endpoint.open()
    try:
        if request.prompt.kind == "likelihood":
            await endpoint.likelihood(request)
        else:
            async for _ in endpoint.generate(request):
                pass
    except Exception as error:  # noqa: BLE001 - the server answers nobody's protocol
        return error
    finally:
        await endpoint.close()


def asked_of(server, spec, request):
    """The cell of a model at the server, which was sent the request; and what its provider learnt meanwhile."""
    endpoint = connect(spec)
    asyncio.run(ask(endpoint, request))
    return cell_of(spec, endpoint.origin), dict(endpoint.learnt)


def refusing(*messages):
    """A server that refuses one request for each message, and then any for another reason."""

    async def handle(request, body, number):
        said = messages[number - 1] if number <= len(messages) else "out of order"
        return web.json_response({"error": {"message": said}}, status=400 if number <= len(messages) else 500)

    return serving(handle)


@pytest.mark.parametrize("prompt", [CHAT, COMPLETION, WEIGHED], ids=lambda prompt: prompt.kind)
@pytest.mark.parametrize("provider", ["openai", "openai-responses", "anthropic", "google", "azure", "vllm"])
def test_it_is_the_request_that_was_sent_or_none(provider, prompt, monkeypatch):
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "AZURE_OPENAI", "VLLM"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    extra = {"stream": False, "metadata": {"a": [1, None]}}
    request = Request(model="org/m 1", prompt=prompt, **SETTINGS, extra=extra)
    with refusing() as server:
        spec = ModelSpec(id="m", provider=provider, model="org/m 1", base_url=f"{server.url}?api-version=1&a='b'")
        cell, learnt = asked_of(server, spec, request)
    found = request_by_hand(cell, record_of(request), learnt)
    assert (found is None) == (not server.requests)
    if found is not None:
        assert server.requests == [{"path": server.requests[0]["path"]} | json.loads(found.body)]
        assert found.url.startswith(server.url.removesuffix("/v1"))
        assert found.url.endswith("api-version=1&a='b'")
        sent = {name.lower(): value for name, value in server.headers[0].items()}
        by_hand = {name.lower(): value.replace(f"${found.key_variable}", KEY) for name, value in found.headers.items()}
        assert KEY not in str(found)
        assert KEY in str(by_hand)
        assert by_hand.items() <= sent.items()


def test_settings_that_a_model_did_not_take_are_left_out_renamed_or_capped_as_they_were():
    complaints = (
        "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
        "'temperature' does not support 0.5 with this model.",
        "max_completion_tokens is too large: 400. This model supports at most 100 completion tokens",
    )
    request = Request(model="m", prompt=CHAT, **SETTINGS)
    with refusing(*complaints) as server:
        spec = ModelSpec(id="m", provider="openai", model="m", base_url=server.url)
        cell, learnt = asked_of(server, spec, request)
    assert len(server.requests) == 4
    found = request_by_hand(cell, record_of(request), learnt)
    body = json.loads(found.body)
    assert server.requests[-1] == {"path": "/v1/chat/completions"} | body
    assert (body["max_completion_tokens"], body.keys() & {"max_tokens", "temperature"}) == (100, set())
    assert found.left_out == learnt
    assert learnt.keys() == {"max_tokens", "temperature"}


def test_a_limit_that_a_model_told_is_no_refusal_of_the_setting():
    request = Request(model="m", prompt=CHAT, max_tokens=400)
    with refusing("max_tokens: 400 > 100, which is the maximum for m") as server:
        cell, learnt = asked_of(
            server, ModelSpec(id="m", provider="anthropic", model="m", base_url=server.url), request
        )
    found = request_by_hand(cell, record_of(request), learnt)
    assert json.loads(found.body)["max_tokens"] == server.requests[-1]["max_tokens"] == 100


def test_a_service_is_named_by_its_variable_without_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    spec = ModelSpec(id="m", provider="openai", model="m")
    found = request_by_hand(cell_of(spec, "https://api.openai.com/v1"), record_of(Request(model="m", prompt=CHAT)), {})
    assert found.url == "https://api.openai.com/v1/chat/completions"
    assert found.headers["Authorization"] == "Bearer $OPENAI_API_KEY"


def test_an_address_that_was_a_variable_is_the_one_that_answered(monkeypatch):
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    origin = "https://r.openai.azure.com/openai/deployments/m?api-version=2024-10-21"
    spec = ModelSpec(id="m", provider="azure", model="m")
    found = request_by_hand(cell_of(spec, origin), record_of(Request(model="m", prompt=CHAT)), {})
    assert found.url == "https://r.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21"


AT = "http://127.0.0.1:9/v1"
HERE = {"id": "m", "provider": "openai", "model": "m", "base_url": AT}
NOT_SENT = {
    "a model of this machine": (cell_of(ModelSpec(id="m", provider="local", model="m"), "sha256:0"), {}),
    "a function": (cell_of(ModelSpec(id="m", provider="python", model="m.py:f"), "python m.py:f"), {}),
    "a floor": (cell_of(ModelSpec(id="m", provider="baseline", model="random"), "floor:random", is_floor=True), {}),
    "another client": (cell_of(ModelSpec(id="m", provider="litellm", model="x/m"), "litellm 1: x/m"), {}),
    "a batch": (cell_of(ModelSpec(**HERE, batch=True), AT), {}),
    "an import": (cell_of(ModelSpec(**HERE), "import answers.jsonl"), {}),
    "an answer of an earlier run": (cell_of(ModelSpec(**HERE), AT), {"cached": True}),
    "a lost text": (cell_of(ModelSpec(**HERE), AT), {"flags": (LOST_TEXT,)}),
    "another address": (cell_of(ModelSpec(**HERE), "http://127.0.0.1:10/v1"), {}),
    "a key in the address": (cell_of(ModelSpec(**HERE | {"base_url": f"{AT}?key=abcdefgh"}), AT), {}),
    "no name of a variable": (cell_of(ModelSpec(**HERE, api_key_env="A;$(id)"), AT), {}),
    "no settings": (cell_of(ModelSpec(**HERE), AT, settings={}), {}),
    "a majority": (cell_of(ModelSpec(**HERE), AT, settings={"model": HERE | {"confidence": {"by": "agreement"}}}), {}),
    "a cascade": (cell_of(ModelSpec(**HERE), AT, settings={"model": HERE | {"cascade": {}}}), {}),
}


@pytest.mark.parametrize("what", NOT_SENT)
def test_where_no_such_request_was_sent_there_is_none(what):
    cell, changes = NOT_SENT[what]
    assert request_by_hand(cell, record_of(Request(model="m", prompt=CHAT), **changes), {}) is None


def test_what_is_sent_in_such_a_place_is_there():
    cell = cell_of(ModelSpec(**HERE), f"{AT}, logprob")
    assert request_by_hand(cell, record_of(Request(model="m", prompt=CHAT)), {}).url == f"{AT}/chat/completions"

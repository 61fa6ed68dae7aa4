"""Azure OpenAI: OpenAI's protocol at an address of the customer's own, where a model is called by its deployment."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping

from steelyard.providers.endpoint import key_headers
from steelyard.providers.http import stall_s_of
from steelyard.providers.openai import OpenAI
from steelyard.providers.services import address_of, key_of
from steelyard.secrets import Secret
from steelyard.types import ModelSpec

VERSION_VARIABLE = "OPENAI_API_VERSION"
VERSION = "2024-10-21"
"""The newest version of the dated API that is not a preview."""


def connect(spec: ModelSpec) -> OpenAI:
    """The deployment that the model names."""
    return with_key(spec, key_of(spec))


def with_key(spec: ModelSpec, key: Secret | None) -> OpenAI:
    """The same with this key."""
    address = deployment_address(address_of(spec), spec.model, os.environ)
    return OpenAI(base_url=address, headers=key_headers(key, "api-key"), stall_s=stall_s_of(spec))


def deployment_address(address: str, deployment: str, environment: Mapping[str, str]) -> str:
    """Where a deployment answers: under its own path with a version, but for an address of ``/openai/v1``, which has
    neither, and one that names a path already.
    """
    place, _, query = address.partition("?")
    place = place.rstrip("/").removesuffix("/openai")
    if "/openai/" in place:
        return address
    version = query or f"api-version={environment.get(VERSION_VARIABLE) or VERSION}"
    return f"{place}/openai/deployments/{urllib.parse.quote(deployment, safe='')}?{version}"

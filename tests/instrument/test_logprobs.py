"""How likely a mock's tokens are, in each dialect that can say so, as our own providers and others' clients read it."""

import asyncio
import random

import pytest

from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.instrument.mock import Mock
from steelyard.instrument.settings import Settings
from steelyard.providers import connect
from steelyard.providers.interface import GivesConfidence
from steelyard.types import Message, ModelSpec, Prompt, Request

REQUEST = Request(model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content="How heavy?"),)))
SPEAKERS = {"openai": "/v1", "openai-responses": "/v1", "google": ""}


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt": "How heavy", "completion": "about 12 kg", "confidence": 0.4}\n')
    return Settings(answers=str(path), reasoning_tokens=0)


async def asked(mock, provider):
    address = mock.base_url.removesuffix("/v1") + SPEAKERS[provider]
    spec = ModelSpec(id="m", provider=provider, model="m", base_url=address)
    endpoint = connect(spec)
    await endpoint.open()
    try:
        request = endpoint.with_confidence(REQUEST)
        asker = Asker(endpoint, timeout_s=10, policy=RetryPolicy(first_wait_s=0.01), generator=random.Random(0))
        outcome, plain = await asker.ask(request), await asker.ask(REQUEST)
    finally:
        await endpoint.close()
    return outcome.completion, plain.completion


@pytest.mark.parametrize("provider", SPEAKERS)
def test_every_service_that_can_says_how_sure_it_is_where_it_is_asked(provider, answers):
    async def main():
        async with Mock(answers) as mock:
            return await asked(mock, provider)

    completion, plain = asyncio.run(main())
    assert completion.text == "about 12 kg"
    assert completion.confidence == pytest.approx(0.4)
    assert plain.confidence is None


def test_what_the_user_sends_beside_it_is_kept():
    google = connect(ModelSpec(id="m", provider="google", model="m", base_url="http://h"))
    request = Request(model="m", prompt=REQUEST.prompt, extra={"generationConfig": {"topK": 3}})
    assert google.with_confidence(request).extra == {"generationConfig": {"responseLogprobs": True, "topK": 3}}
    responses = connect(ModelSpec(id="m", provider="openai-responses", model="m", base_url="http://h"))
    request = Request(model="m", prompt=REQUEST.prompt, extra={"include": ["reasoning.encrypted_content"]})
    assert responses.with_confidence(request).extra == {
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"]
    }
    assert not isinstance(
        connect(ModelSpec(id="m", provider="anthropic", model="m", base_url="http://h")), GivesConfidence
    )


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ({"logprobsResult": {"chosenCandidates": [{"logProbability": -0.1}, {"logProbability": -0.5}]}}, 0.7408),
        ({"avgLogprobs": -0.3}, 0.7408),
        ({}, None),
    ],
    ids=["tokens", "mean alone", "none"],
)
def test_a_model_that_tells_only_the_mean_is_as_sure_as_that(candidate, expected):
    import msgspec

    from steelyard.providers.google import _average, _confidence, _decode, _logprobs

    part = _decode(msgspec.json.encode({"candidates": [candidate]}))
    found = _confidence(_logprobs(part), _average(part, None))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-4))

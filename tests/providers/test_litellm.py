"""The optional adapter against a local server, with the package itself; left out where it is not installed."""

import asyncio
import importlib.util
import random

import pytest
from aiohttp import web

import vendor_replies as replies
from server import serving
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.errors import EnvironmentFault
from steelyard.providers import connect
from steelyard.types import Message, ModelSpec, Prompt, Request

is_here = importlib.util.find_spec("litellm") is not None
pytestmark = pytest.mark.filterwarnings("default")  # what the package warns of is not ours
ASKED = Request(
    model="openai/m", prompt=Prompt(kind="chat", messages=(Message(role="user", content="hi"),)), max_tokens=9
)


def answer(handle, request=ASKED):
    notices = []

    async def work(url):
        provider = connect(ModelSpec(id="litellm/openai/m", provider="litellm", model="openai/m", base_url=url))
        policy = RetryPolicy(tries=1, refusals=1)
        asker = Asker(provider, timeout_s=30, policy=policy, generator=random.Random(0), notice=notices.append)
        return await asker.ask(request)

    with serving(handle) as server:
        return asyncio.run(work(server.url)), server, notices


@pytest.mark.skipif(is_here, reason="litellm is installed")
def test_without_the_package_the_error_names_the_extra():
    with pytest.raises(EnvironmentFault, match=r"steelyard\[litellm\]"):
        connect(ModelSpec(id="litellm/m", provider="litellm", model="m"))


@pytest.mark.skipif(not is_here, reason="litellm is not installed")
def test_an_answer_comes_with_its_counts_and_without_a_time_to_first_token():
    async def handle(request, body, number):
        return web.json_response(replies.CHAT_WHOLE)

    outcome, server, notices = answer(handle)
    completion = outcome.completion
    assert (completion.text, completion.reasoning) == ("Voilà, 42 ✓", "sept → six…")
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (1000, 200)
    assert (completion.usage.cached_input_tokens, completion.usage.reasoning_tokens) == (500, 150)
    assert completion.timing.ttft_s is None
    assert completion.fingerprint.startswith("litellm ")
    assert ["timing is indirect" in notice for notice in notices] == [True]
    assert server.requests[0]["max_tokens"] == 9


@pytest.mark.skipif(not is_here, reason="litellm is not installed")
@pytest.mark.parametrize(
    ("status", "kind"), [(401, "auth"), (404, "unavailable"), (429, "rate_limit"), (500, "server")]
)
def test_its_errors_are_named_and_not_asked_again(status, kind):
    async def handle(request, body, number):
        return web.json_response({"error": {"message": "no"}}, status=status)

    outcome, server, _ = answer(handle)
    assert outcome.failure.kind == kind
    assert len(server.requests) == 1

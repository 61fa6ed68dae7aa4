"""Log-likelihoods over the completions protocol: exact from a server that echoes, refused by one that does not."""

import asyncio
import json
import re

import pytest
from aiohttp import web

import steelyard as sy
from server import serving
from steelyard.cli.forecast_cell import forecast_cell
from steelyard.engine.run import Given, prepare
from steelyard.errors import ProviderError, UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.providers.openai import OpenAI
from steelyard.types import Price, Prompt, Request, Usage


def echoing(*, echoes=True, shift=0):
    """A completions endpoint whose token is a word with its space; a token's log-probability is minus its length."""

    async def handle(request, body, number):
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            words = re.findall(r" ?[^ ]+", prompt if echoes else " on") + ([" more"] if echoes else [])
            offsets = [sum(map(len, words[:i])) + shift for i in range(len(words))]
            logprobs = {
                "tokens": words,
                "token_logprobs": [None if i == 0 and echoes else -float(len(word)) for i, word in enumerate(words)],
                "text_offset": offsets,
            }
            choices.append({"index": index, "text": "".join(words), "logprobs": logprobs})
        return web.json_response({"choices": choices[::-1], "model": "m"})

    return handle


def counting(handle):
    """The same, with the tokens that it took and who answered."""

    async def counted(request, body, number):
        reply = json.loads((await handle(request, body, number)).body)
        told = {"prompt_tokens": sum(len(prompt.split()) for prompt in body["prompt"])}
        told |= {"completion_tokens": len(body["prompt"]), "prompt_tokens_details": {"cached_tokens": 2}}
        return web.json_response(reply | {"usage": told, "system_fingerprint": "fp1"})

    return counted


def weigh(handle, text, *continuations):
    async def work(url):
        provider = OpenAI(base_url=url)
        await provider.open()
        try:
            prompt = Prompt(kind="likelihood", text=text, continuations=continuations)
            return await provider.likelihood(Request(model="m", prompt=prompt))
        finally:
            await provider.close()

    with serving(handle) as server:
        return asyncio.run(work(server.url))


@pytest.mark.parametrize("shift", [0, 3])
def test_only_the_continuations_tokens_count(shift):
    one, two = weigh(echoing(shift=shift), "Question: why?\nAnswer:", " yes indeed", " no").likelihoods
    assert (one.logprob, one.tokens, one.characters) == (-4 - 7, 2, 10)
    assert (two.logprob, two.tokens, two.characters) == (-3, 1, 2)


def test_a_server_that_ignores_echo_is_refused_before_the_first_item():
    with serving(echoing(echoes=False)) as server:
        model = sy.ModelSpec(id="m", provider="openai", model="m", base_url=server.url)
        with pytest.raises(UsageError, match=r"gives no log-likelihoods.*does not begin with the prompt"):
            sy.run([model], ["starter@cloze"], limit=3)
        assert len(server.requests) == 1


def test_a_chat_only_server_is_refused_with_its_own_words():
    async def chat_only(request, body, number):
        return web.json_response({"error": {"message": "This is a chat model"}}, status=404)

    with serving(chat_only) as server:
        model = sy.ModelSpec(id="m", provider="openai", model="m", base_url=server.url)
        with pytest.raises(UsageError, match="This is a chat model"):
            sy.run([model], ["starter@cloze"], limit=3)


def test_a_benchmark_runs_over_an_echoing_endpoint():
    with serving(echoing()) as server:
        model = sy.ModelSpec(id="m", provider="openai", model="m", base_url=server.url)
        run = sy.run([model], ["starter@cloze"], limit=20)
        assert len(server.requests) == 21
    assert run.estimate("scored").value == 20


def test_what_the_server_says_of_tokens_and_of_itself_is_kept():
    found = weigh(counting(echoing()), "Why so?", " yes indeed", " no")
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.cached_input_tokens) == (7, 2, 2)
    assert (found.model_reported, found.fingerprint) == ("m", "fp1")
    assert weigh(echoing(), "Why so?", " yes").usage == Usage()


def test_likelihoods_cost_what_their_tokens_do_and_a_budget_that_the_forecast_fits_reaches():
    with serving(counting(echoing())) as server:
        price = Price(input=10.0, output=10.0)
        model = sy.ModelSpec(id="m", provider="openai", model="m", base_url=server.url, price=price)
        run = sy.run([model], ["starter@cloze"], limit=20, budget_usd=0.05)
        assert len(server.requests) == 21
        words = sum(len(text.split()) + 1 for body in server.requests[1:] for text in body["prompt"])
    assert run.estimate("cost.total").value == pytest.approx(words * 10 / 1e6)
    assert run.status == "done"
    assert run.estimate("tokens_per_second").value is None


def test_a_forecast_of_likelihoods_counts_all_that_is_sent():
    model = sy.ModelSpec(id="m", provider="openai", model="m", base_url="http://127.0.0.1:9/v1")
    plan = Plan(models=(model,), benchmarks=(BenchmarkSpec(name="starter", protocol="cloze"),), limit=4)
    [cell] = prepare(plan, Given())
    prompts = [cell.task.prompt(position) for position in cell.task.positions]
    sent = sum(len(prompt.text + word) for prompt in prompts for word in prompt.continuations)
    found = forecast_cell(cell, known=0)
    assert found.input_tokens == pytest.approx(sent / 4, abs=1)
    assert found.most_output_tokens == sum(len(prompt.continuations) for prompt in prompts)


def test_a_reply_without_logprobs_is_no_zero():
    async def bare(request, body, number):
        return web.json_response({"choices": [{"index": 0, "text": body["prompt"][0]}]})

    with pytest.raises(ProviderError, match="no log-probability for each token"):
        weigh(bare, "a", " b")

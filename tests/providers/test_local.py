"""The local model: tokens cut as lm-eval cuts them, log-likelihoods exact, a server that never outlives its parent."""

from __future__ import annotations

import asyncio
import importlib.metadata
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from steelyard.errors import EnvironmentFault, ProviderError
from steelyard.providers import llamacpp
from steelyard.providers.interface import Done, LikelihoodProvider, Opens, OwnsProcess, Provider, Text
from steelyard.providers.likelihood import LOWEST, continuation_logprobs, forced_request
from steelyard.providers.local import Local, Slots, as_local
from steelyard.types import Likelihood, Message, Prompt, Request

T = TypeVar("T")


class Server:
    """Words are tokens: a stand-in for llama.cpp that remembers what it was asked."""

    def __init__(self, joined: dict[str, str] | None = None) -> None:
        self.joined = joined or {}
        self.words: dict[str, int] = {}
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/tokenize":
            text = self.joined.get(body["content"], body["content"])
            return {"tokens": [self.words.setdefault(word, len(self.words)) for word in text.split()]}
        self.asked.append(body)
        forced = body["logit_bias"][0][0]
        return {"completion_probabilities": [{"id": forced, "logprob": -float(forced)}]}

    def ask(self, context: str, *continuations: str) -> tuple[Likelihood, ...]:
        return asyncio.run(continuation_logprobs(self, context, continuations, slot=2))


def test_a_continuation_weighs_the_sum_of_its_tokens() -> None:
    server = Server()
    [found] = server.ask("zero one", " two three")
    assert found == Likelihood(logprob=-5.0, tokens=2, characters=9)
    assert [body["prompt"] for body in server.asked] == [[0, 1], [0, 1, 2]]
    assert {body["id_slot"] for body in server.asked} == {2}


def test_tokens_that_continuations_share_are_asked_once() -> None:
    server = Server()
    server.ask("context", " a b c", " a b d", " a b c")
    assert [body["prompt"] for body in server.asked] == [[0], [0, 1], [0, 1, 2], [0, 1, 2]]


def test_trailing_spaces_of_the_context_belong_to_the_continuation() -> None:
    server = Server(joined={"Answer:  A": "Answer: space-A"})
    [found] = server.ask("Answer:  ", "A")
    assert server.words == {"Answer:": 0, "space-A": 1}
    assert found.characters == 1


def test_a_merge_across_the_seam_keeps_lm_evals_rule() -> None:
    server = Server(joined={"x hel lo world": "x hello world"})
    [found] = server.ask("x hel", " lo world")
    assert found.tokens == 1
    assert server.asked[0]["prompt"] == [server.words["x"], server.words["hel"]]


def test_nothing_to_weigh_is_rejected_and_not_called_certain() -> None:
    for context, continuation in (("", " a"), ("a", "")):
        with pytest.raises(ProviderError) as caught:
            Server().ask(context, continuation)
        assert caught.value.failure.kind == "rejected"


@pytest.mark.parametrize(
    "replies",
    [
        {"/tokenize": {"error": "no"}},
        {"/tokenize": {"tokens": [1]}, "/completion": {"completion_probabilities": []}},
        {"/tokenize": {"tokens": [1]}, "/completion": {"completion_probabilities": [{"id": 9, "logprob": -1.0}]}},
    ],
    ids=["no tokens", "no probabilities", "another token than was forced"],
)
def test_a_reply_that_cannot_be_believed_is_malformed(replies: dict[str, Any]) -> None:
    async def post(path: str, body: dict[str, Any]) -> Any:
        tokens = {"tokens": [1, 2]} if body.get("content") == "a b" else None
        return (path == "/tokenize" and "tokens" in replies[path] and tokens) or replies[path]

    with pytest.raises(ProviderError) as caught:
        asyncio.run(continuation_logprobs(post, "a", [" b"]))
    assert caught.value.failure.kind == "malformed"


def test_what_the_softmax_rounds_to_nothing_stays_finite() -> None:
    async def post(path: str, body: dict[str, Any]) -> Any:
        if path == "/tokenize":
            return {"tokens": list(range(1 + body["content"].count(" ")))}
        return {"completion_probabilities": [{"id": 1, "logprob": -3.4e38}]}

    [found] = asyncio.run(continuation_logprobs(post, "a", [" b"]))
    assert found.logprob == LOWEST


def test_a_slot_goes_to_the_text_that_begins_like_its_last() -> None:
    async def borrow() -> list[int]:
        slots, seen = Slots(3), []
        for text in ("astronomy one", "law one", "virology one", "law two", "astronomy two"):
            async with slots.borrow(text) as slot:
                seen.append(slot)
        return seen

    astronomy, law, _, law_again, astronomy_again = asyncio.run(borrow())
    assert (law_again, astronomy_again) == (law, astronomy)


def test_a_long_prefix_that_a_busy_slot_has_read_is_worth_waiting_for() -> None:
    async def borrow() -> tuple[int, int, int]:
        slots, prefix = Slots(2), "shots " * 500
        async with slots.borrow(prefix + "one") as first:
            async with slots.borrow("something short") as other:
                pass
            waiting = asyncio.create_task(next_slot(slots, prefix + "two"))
            await asyncio.sleep(0)
            assert not waiting.done()
        return first, other, await waiting

    first, other, second = asyncio.run(borrow())
    assert second == first != other


async def next_slot(slots: Slots, text: str) -> int:
    async with slots.borrow(text) as slot:
        return slot


def test_a_slot_comes_back_from_an_item_that_failed() -> None:
    async def fail_and_borrow() -> int:
        slots = Slots(1)
        with pytest.raises(ValueError, match="went wrong"):
            async with slots.borrow("a"):
                raise ValueError("went wrong")
        return await asyncio.wait_for(next_slot(slots, "b"), timeout=30)

    assert asyncio.run(fail_and_borrow()) == 0


def test_no_slot_is_lent_twice_at_once() -> None:
    async def crowd() -> int:
        slots, held, most = Slots(2), set(), 0

        async def use() -> None:
            nonlocal most
            async with slots.borrow("same") as slot:
                assert slot not in held
                held.add(slot)
                most = max(most, len(held))
                await asyncio.sleep(0)
                held.remove(slot)

        await asyncio.gather(*(use() for _ in range(20)))
        return most

    assert asyncio.run(crowd()) == 2


def test_generation_reads_the_prompt_anew_and_repeats_differ() -> None:
    asked = Request(model="m", prompt=Prompt(kind="chat"), repeat=3, extra={"top_k": 5})
    assert as_local(asked).extra == {"cache_prompt": False, "top_k": 5}
    assert as_local(asked).seed == 3
    assert as_local(Request(model="m", prompt=Prompt(kind="chat"), seed=7, repeat=3)).seed == 7


def test_the_child_learns_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-the-child")
    monkeypatch.setenv("HTTP_PROXY", "http://user:word@proxy")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    environment = llamacpp.child_environment()
    assert not {"OPENAI_API_KEY", "HTTP_PROXY"} & set(environment)
    assert environment["GOMP_SPINCOUNT"] == "2000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "30000")
    assert llamacpp.child_environment()["GOMP_SPINCOUNT"] == "30000"


def test_a_missing_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(EnvironmentFault, match=r"pip install 'steelyard\[local\]'"):
        llamacpp.runtime_version()


# What follows runs the real model, on one server for all.


class Machine:
    """An open model with the loop it lives in."""

    def __init__(self, runner: asyncio.Runner, model: Local) -> None:
        self.runner, self.model = runner, model

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def post(self, body: dict[str, Any]) -> Any:
        return self.run(self.model._post("/completion", body))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    try:
        model = Local("smollm2-135m")
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    with asyncio.Runner() as runner:
        runner.run(model.open())
        yield Machine(runner, model)
        runner.run(model.close())


async def events(model: Local, request: Request) -> list[Any]:
    return [event async for event in model.generate(request)]


def weigh(context: str, *continuations: str) -> Request:
    return Request(model="m", prompt=Prompt(kind="likelihood", text=context, continuations=continuations))


def chat(text: str, **settings: Any) -> Request:
    prompt = Prompt(kind="chat", messages=(Message(role="user", content=text),))
    return Request(model="smollm2-135m", prompt=prompt, **settings)


@pytest.mark.model
def test_it_is_all_that_the_engine_asks_for(machine: Machine) -> None:
    provider: Provider = machine.model
    assert (provider.streams, provider.concurrency) == (True, 4)
    for role in (LikelihoodProvider, Opens, OwnsProcess):
        assert isinstance(machine.model, role)
    assert machine.model.pids == (machine.model.pid,)
    assert machine.model.origin.startswith("llama.cpp xllamacpp/")
    assert machine.model.origin.endswith(f"sha256:{machine.model.weights.sha256}")


@pytest.mark.model
def test_it_streams_an_answer_that_it_did_not_have_in_its_cache(machine: Machine) -> None:
    for _ in range(2):
        *_, done = got = machine.run(events(machine.model, chat("What is 2+3?", temperature=0, max_tokens=16)))
        assert "5" in "".join(event.text for event in got if isinstance(event, Text))
        assert isinstance(done, Done)
        assert done.usage.cached_input_tokens == 0
        assert done.usage.input_tokens == 37
        assert done.fingerprint == machine.model.runtime


@pytest.mark.model
@pytest.mark.parametrize(("ending", "count"), [(" Paris.", 2), (" R \u03a9", 3), (" \u2603", 3)])
def test_a_forced_token_weighs_what_the_whole_softmax_says(machine: Machine, ending: str, count: int) -> None:
    """Also where a token is only part of a character, which the server keeps back."""
    context = "The capital of France is"
    tokens = machine.run(machine.model._post("/tokenize", {"content": context + ending, "add_special": True}))
    ids = tokens["tokens"]
    start = len(ids) - count
    total = 0.0
    for position in range(start, len(ids)):
        body = forced_request(ids[:position], 260, 0) | {"n_probs": 49152, "logit_bias": [[260, 1000]]}
        [step] = machine.post(body)["completion_probabilities"]
        probabilities = {entry["id"]: entry["logprob"] for entry in step["top_logprobs"]}
        assert math.fsum(map(math.exp, probabilities.values())) == pytest.approx(1, abs=1e-3)
        total += probabilities[ids[position]]
    [found] = machine.run(machine.model.likelihood(weigh(context, ending)))
    assert found.tokens == count
    assert found.logprob == pytest.approx(total, abs=1e-3)


@pytest.mark.model
def test_letters_are_read_off_one_reply(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    post = machine.model._post

    async def counted(path: str, body: dict[str, Any]) -> Any:
        asked.append(path)
        return await post(path, body)

    question = "Which is a fruit?\nA. Apple\nB. Stone\nC. Car\nD. Sky\nAnswer:"
    alone = [machine.run(machine.model.likelihood(weigh(question, f" {letter}")))[0] for letter in "ABCD"]
    monkeypatch.setattr(machine.model, "_post", counted)
    together = machine.run(machine.model.likelihood(weigh(question, " A", " B", " C", " D")))
    assert [found.logprob for found in together] == pytest.approx([found.logprob for found in alone], abs=0.02)
    assert asked.count("/completion") < 4


@pytest.mark.model
def test_the_likelier_ending_weighs_more_whatever_the_order(machine: Machine) -> None:
    options = (" meow.", " moo.", " quack.")
    one = machine.run(machine.model.likelihood(weigh("Question: What does a cow say?\nAnswer: A cow says", *options)))
    two = machine.run(
        machine.model.likelihood(weigh("Question: What does a cow say?\nAnswer: A cow says", *options[::-1]))
    )
    assert max(zip(one, options, strict=True), key=lambda pair: pair[0].logprob)[1] == " moo."
    for first, second in zip(one, two[::-1], strict=True):
        assert first.logprob == pytest.approx(second.logprob, abs=0.05)


@pytest.mark.model
def test_a_few_shot_prefix_is_read_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    post = machine.model._post

    async def counted(path: str, body: dict[str, Any]) -> Any:
        reply = await post(path, body)
        if path == "/completion":
            read.append(reply["timings"]["prompt_n"])
            assert reply["timings"]["cache_n"] + reply["timings"]["prompt_n"] == len(body["prompt"])
        return reply

    monkeypatch.setattr(machine.model, "_post", counted)
    prefix = "The following are questions (with answers) about arithmetic.\n\n" + "".join(
        f"Question: A shop sells {boxes} boxes of {pens} pens each; how many pens is that?\nAnswer: {boxes * pens}\n\n"
        for boxes in range(2, 5)
        for pens in range(2, 5)
    )
    for item in range(3):
        machine.run(machine.model.likelihood(weigh(f"{prefix}Question: What is {item} + 4?\nAnswer:", " 4", " 5")))
    first, *others = read
    assert first > 200
    assert max(others) < 20


@pytest.mark.model
def test_a_prompt_beyond_the_context_is_rejected_with_the_room_there_is(machine: Machine) -> None:
    long = "word " * 5000
    for ask in (machine.model.likelihood(weigh(long, " a")), events(machine.model, chat(long))):
        with pytest.raises(ProviderError, match=r"too long for local/smollm2-135m.* room for 4,096 tokens") as caught:
            machine.run(ask)
        assert caught.value.failure.kind == "rejected"


@pytest.mark.model
def test_a_server_that_dies_makes_calls_unavailable(machine: Machine) -> None:
    async def kill_in_mid_answer() -> None:
        model = Local("smollm2-135m", slots=1, context_per_slot=512)
        await model.open()
        try:
            async for event in model.generate(chat("Tell me a long story.", extra={"ignore_eos": True})):
                if isinstance(event, Text) and model.pid:
                    os.kill(model.pid, signal.SIGKILL)
        finally:
            with pytest.raises(ProviderError) as later:
                await model.likelihood(weigh("a b", " c"))
            await model.close()
            assert model.pid is None
            assert later.value.failure.kind == "unavailable"

    with pytest.raises(ProviderError, match="signal 9") as caught:
        machine.run(kill_in_mid_answer())
    assert caught.value.failure.kind == "unavailable"


@pytest.mark.model
def test_a_file_that_is_no_model_fails_with_the_servers_last_words(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(EnvironmentFault, match=r"could not serve .*broken.gguf.*failed to load model.*log: "):
        machine.run(Local(str(tmp_path / "broken.gguf")).open())


def test_a_server_that_gives_no_address_and_takes_its_time_to_end_is_told_by_its_last_words(
    monkeypatch, tmp_path
) -> None:
    dying = "import os, sys, time; print('no such model', file=sys.stderr, flush=True); os.close(1); time.sleep(60)"
    monkeypatch.setattr(llamacpp, "DEATH_TIMEOUT_S", 0.1)
    monkeypatch.setattr(llamacpp, "STOP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(llamacpp, "runtime_version", lambda: "1")
    monkeypatch.setattr(llamacpp.LlamaServer, "_command", lambda server: [sys.executable, "-c", dying])
    with pytest.raises(EnvironmentFault, match=r"could not serve .*: it gave no address\. It said: no such model"):
        asyncio.run(llamacpp.LlamaServer(tmp_path / "m.gguf").start())


@pytest.mark.model
def test_the_server_dies_with_its_parent_even_by_kill_9(machine: Machine) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    assert ends_within(child, seconds=60)


PARENT = """
import asyncio
from steelyard.providers.local import Local

async def main():
    model = Local("smollm2-135m", slots=1, context_per_slot=512)
    await model.open()
    print(model.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def ends_within(pid: int, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


def is_running(pid: int) -> bool:
    """A zombie, whose exit code nobody has asked for, does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

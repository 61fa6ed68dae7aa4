"""Every fault of the mock, met by the engine's own path: what it becomes on the record."""

import asyncio
import random

import pytest

from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.instrument.mock import Mock
from steelyard.instrument.settings import FAULTS, Settings
from steelyard.providers import reply
from steelyard.providers.openai import OpenAI
from steelyard.types import Message, Prompt, Request

FAILURES = {
    "429": "rate_limit",
    "429-date": "rate_limit",
    "429-bare": "rate_limit",
    "quota": "quota",
    "400": "rejected",
    "401": "auth",
    "404": "unavailable",
    "500": "server",
    "503": "server",
    "529": "server",
    "malformed": "malformed",
    "html": "malformed",
    "error-200": "server",
    "stall": "timeout",
    "reset": "connection",
    "cut": "connection",
    "huge": "malformed",
    "stream-error": "server",
}
STOPS = {"length": "length", "content-filter": "content_filter", "refusal": "refusal"}


def outcome_of(settings, *, streamed=True, stall_s=10.0, tries=1):
    async def work():
        async with Mock(settings) as mock:
            provider = OpenAI(base_url=mock.base_url, stall_s=stall_s)
            request = Request(
                model="m",
                prompt=Prompt(kind="chat", messages=(Message(role="user", content="How heavy?"),)),
                extra={} if streamed else {"stream": False},
            )
            policy = RetryPolicy(tries=tries, refusals=tries, first_wait_s=0.01)
            await provider.open()
            try:
                return await Asker(provider, timeout_s=20, policy=policy, generator=random.Random(0)).ask(request)
            finally:
                await provider.close()

    return asyncio.run(work())


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("fault", FAILURES)
def test_a_fault_of_the_service_is_a_failure_of_its_kind(fault, streamed, monkeypatch):
    if fault == "stream-error" and not streamed:
        pytest.skip("a fault of streams")
    monkeypatch.setattr(reply, "LONGEST_REPLY_BYTES", 1 << 20)
    settings = Settings(faults={fault: 1.0}, huge_bytes=4 << 20, retry_after_s=7)
    outcome = outcome_of(settings, streamed=streamed, stall_s=0.3 if fault == "stall" else 10.0)
    assert outcome.failure is not None
    assert outcome.failure.kind == FAILURES[fault], outcome.failure
    asked_to_wait = outcome.failure.retry_after_s
    assert asked_to_wait == (pytest.approx(7, abs=1.1) if fault in ("429", "429-date") else None)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("fault", STOPS)
def test_a_fault_of_the_model_is_an_answer_with_its_reason(fault, streamed):
    completion = outcome_of(Settings(faults={fault: 1.0}), streamed=streamed).completion
    assert completion is not None
    assert completion.stop_reason == STOPS[fault]


@pytest.mark.parametrize("fault", ["empty", "null"])
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_an_answer_without_text_is_an_answer(fault, streamed):
    completion = outcome_of(Settings(faults={fault: 1.0}), streamed=streamed).completion
    assert completion is not None
    assert (completion.text, completion.usage.output_tokens) == ("", 0)


@pytest.mark.parametrize("fault", ["no-usage", "bad-usage"])
def test_counts_that_are_missing_or_impossible_are_unknown(fault):
    completion = outcome_of(Settings(faults={fault: 1.0})).completion
    assert completion is not None
    assert completion.usage.output_tokens is None


def test_another_model_than_was_asked_is_recorded():
    completion = outcome_of(Settings(faults={"wrong-model": 1.0})).completion
    assert completion is not None
    assert completion.model_reported == "m-other"


@pytest.mark.parametrize("fault", ["no-done", "comments", "slow-headers"])
def test_what_reads_oddly_is_still_the_whole_answer(fault):
    plain = outcome_of(Settings()).completion
    odd = outcome_of(Settings(faults={fault: 1.0}, slow_ms=50)).completion
    assert plain is not None
    assert odd is not None
    assert odd.text == plain.text


def test_a_character_in_pieces_stays_whole():
    completion = outcome_of(Settings(faults={"split-utf8": 1.0})).completion
    assert completion is not None
    assert completion.text.endswith(" 秤")


def test_retries_are_attempts_of_their_own_and_no_part_of_the_latency():
    settings = Settings(faults={"503": 0.6}, ttft_ms=20, seed=2)
    outcome = outcome_of(settings, tries=20)
    assert outcome.completion is not None
    timing = outcome.completion.timing
    assert outcome.attempts
    assert timing.queued_s >= sum(attempt.wait_s for attempt in outcome.attempts)
    assert 0.02 <= timing.ttft_s <= timing.total_s


def test_reasoning_is_the_first_token_and_not_the_first_answer():
    completion = outcome_of(Settings(ttft_ms=100, itl_ms=30, reasoning_tokens=4, tokens=4)).completion
    assert completion is not None
    timing = completion.timing
    assert completion.reasoning
    assert timing.first_token_ns - timing.dispatched_ns >= 100e6
    assert timing.first_token_ns - timing.first_byte_ns > 50e6
    assert timing.first_answer_ns - timing.first_token_ns > 60e6


def test_every_fault_is_met_here():
    others = {"empty", "null", "no-usage", "bad-usage", "wrong-model", "no-done", "comments", "slow-headers"}
    assert {*FAILURES, *STOPS, *others, "split-utf8"} == set(FAULTS)

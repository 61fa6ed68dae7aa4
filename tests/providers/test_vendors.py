"""Anthropic, Google and OpenAI over real HTTP against a local server: the same question, the same answer, four APIs."""

import asyncio
import json
import random
from datetime import UTC, datetime

import pytest
from aiohttp import web

import vendor_replies as replies
from server import serving
from steelyard import prices
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.providers import connect, http
from steelyard.providers.accepted import Accepted, Known, known_by
from steelyard.providers.anthropic import MESSAGES
from steelyard.providers.google import GENERATE
from steelyard.providers.interface import Done, Text
from steelyard.providers.openai import CHAT
from steelyard.providers.reply import Reply
from steelyard.providers.responses import RESPONSES
from steelyard.types import Failure, Message, ModelSpec, Prompt, Request, Usage

FAST = RetryPolicy(first_wait_s=0.001, longest_wait_s=0.002)
TURNS = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="six by seven?"),
    Message(role="assistant", content="Let me see."),
    Message(role="user", content="Well?"),
)
ASKED = Request(
    model="m",
    prompt=Prompt(kind="chat", messages=TURNS),
    temperature=0.5,
    max_tokens=99,
    stop=("END",),
    seed=7,
    reasoning_effort="low",
)
STREAMS = {
    "openai": replies.CHAT_STREAM,
    "openai-responses": replies.RESPONSES_STREAM,
    "anthropic": replies.ANTHROPIC_STREAM,
    "google": replies.GOOGLE_STREAM,
}
WHOLES = {
    "openai": replies.CHAT_WHOLE,
    "openai-responses": replies.RESPONSES_WHOLE,
    "anthropic": replies.ANTHROPIC_WHOLE,
    "google": replies.GOOGLE_WHOLE,
}
ERRORS = {
    "openai": (replies.CHAT_ERROR, "rate_limit"),
    "openai-responses": (replies.RESPONSES_ERROR, "rate_limit"),
    "anthropic": (replies.ANTHROPIC_ERROR, "server"),
    "google": (replies.GOOGLE_ERROR, "server"),
}
DIALECTS = {"openai": CHAT, "openai-responses": RESPONSES, "anthropic": MESSAGES, "google": GENERATE}
USAGES = {
    "openai": Usage(
        input_tokens=1000, output_tokens=200, cached_input_tokens=500, reasoning_tokens=150, source="server"
    ),
    "openai-responses": Usage(
        input_tokens=1000,
        output_tokens=200,
        cached_input_tokens=500,
        cache_write_tokens=0,
        reasoning_tokens=150,
        source="server",
    ),
    "anthropic": Usage(
        input_tokens=1000,
        output_tokens=200,
        cached_input_tokens=500,
        cache_write_tokens=300,
        cache_write_1h_tokens=100,
        reasoning_tokens=150,
        source="server",
    ),
    "google": Usage(
        input_tokens=1000, output_tokens=200, cached_input_tokens=500, reasoning_tokens=150, source="server"
    ),
}
every_vendor = pytest.mark.parametrize("vendor", STREAMS)


def answer(vendor, handle, request=ASKED, *, policy=FAST, times=1, **settings):
    """The outcomes of ``times`` calls, what the server saw, and what the user was told."""
    notices = []

    async def work(url):
        spec = ModelSpec(id="mine", provider=vendor, model=request.model, base_url=url, **settings)
        provider = connect(spec)
        await provider.open()
        try:
            asker = Asker(provider, timeout_s=5, policy=policy, generator=random.Random(0), notice=notices.append)
            return [await asker.ask(request) for _ in range(times)]
        finally:
            await provider.close()

    with serving(handle) as server:
        outcomes = asyncio.run(work(server.url))
    return outcomes, server, notices


def sent(raw, *, piece=None, status=200):
    """A handler that streams exactly these bytes, ``piece`` at a time."""

    async def handle(request, body, number):
        response = web.StreamResponse(status=status, headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        step = piece or len(raw)
        for at in range(0, len(raw), step):
            await response.write(raw[at : at + step])
        return response

    return handle


def whole(document, status=200, **headers):
    async def handle(request, body, number):
        return web.json_response(document, status=status, headers=headers)

    return handle


async def read(dialect, *pieces):
    """What a dialect makes of a streamed body that comes in these pieces, the n-th at n nanoseconds."""
    waiting = [(piece, at_ns) for at_ns, piece in enumerate(pieces, 1)]

    async def next_piece():
        return waiting.pop(0) if waiting else None

    reply = Reply(status=200, reason="OK", headers={}, first_byte_ns=0, next_piece=next_piece)
    return [event async for event in dialect.streamed(reply)]


@every_vendor
@pytest.mark.parametrize("piece", [None, 1, 7])
def test_a_streamed_answer_arrives_whole_with_usage_and_both_channels(vendor, piece):
    [outcome], _, _ = answer(vendor, sent(STREAMS[vendor], piece=piece))
    completion = outcome.completion
    assert (completion.reasoning, completion.text, completion.stop_reason) == ("sept → six…", "Voilà, 42 ✓", "stop")
    assert completion.usage == USAGES[vendor]
    assert completion.model_reported in ("gpt-5-2025-08-07", "claude-sonnet-4-5-20250929", "gemini-2.5-pro")
    timing = completion.timing
    assert timing.streamed
    assert timing.first_byte_ns <= timing.first_token_ns <= timing.first_answer_ns <= timing.last_token_ns
    assert len(timing.gaps_ns) == 2


@every_vendor
def test_a_stream_may_be_cut_at_any_byte(vendor):
    raw, dialect = STREAMS[vendor], DIALECTS[vendor]

    async def check():
        for at in range(1, len(raw)):
            first, second = raw[:at], raw[at:]
            events = await read(dialect, first, second)
            texts = [event for event in events if isinstance(event, Text)]
            assert [(text.channel, text.text) for text in texts] == [
                ("reasoning", "sept → six…"),
                ("answer", "Voilà, "),
                ("answer", "42 ✓"),
            ]
            assert [text.at_ns for text in texts] == [
                1 if raw.index(text.text.encode()) + _to_event_end(raw, text.text) <= at else 2 for text in texts
            ]
            assert isinstance(events[-1], Done)
            assert events[-1].usage == USAGES[vendor]

    def _to_event_end(raw, text):
        start = raw.index(text.encode())
        line_end = raw.index(b"\n", start)
        blank_end = raw.index(b"\n", line_end + 1)
        return blank_end + (raw[blank_end - 1 : blank_end] != b"\r") - start  # a CR ends a line by itself

    asyncio.run(check())


@every_vendor
def test_an_answer_in_one_piece_has_the_same_text_and_usage_and_no_ttft(vendor):
    [outcome], _, _ = answer(vendor, whole(WHOLES[vendor]))
    completion = outcome.completion
    assert (completion.reasoning, completion.text, completion.stop_reason) == ("sept → six…", "Voilà, 42 ✓", "stop")
    assert completion.usage == USAGES[vendor]
    assert completion.timing.ttft_s is None


@every_vendor
def test_a_stream_that_breaks_off_is_no_answer(vendor):
    raw = STREAMS[vendor]
    end = raw.index("42 ✓".encode())
    [outcome], server, _ = answer(vendor, sent(raw[: raw.index(b"\n\n" if b"\n\n" in raw else b"\r\n\r\n", end) + 4]))
    assert outcome.completion is None
    assert outcome.failure.kind == "malformed"
    assert len(server.requests) == 2


@every_vendor
def test_an_error_within_the_stream_is_a_failure_of_its_kind(vendor):
    document, kind = ERRORS[vendor]
    raw = STREAMS[vendor]
    start = raw[: raw.index(b"data:", raw.index("Voilà".encode()))]
    data = f"event: error\ndata: {json.dumps(document)}\n\n".encode()
    [outcome], _, _ = answer(vendor, sent(start + data), policy=RetryPolicy(tries=1, refusals=1))
    assert outcome.failure.kind == kind
    assert "the service reported" in outcome.failure.message


@every_vendor
def test_nothing_is_known_of_tokens_that_were_not_reported(vendor):
    raw = STREAMS[vendor]
    for name in (b"usageMetadata", b"usage"):
        raw = raw.replace(b'"' + name + b'"', b'"nothing"')
    [outcome], _, _ = answer(vendor, sent(raw))
    assert outcome.completion.text == "Voilà, 42 ✓"
    assert outcome.completion.usage == Usage()


@every_vendor
@pytest.mark.parametrize("odd", [[], "none", 5, {"a": 1}])
def test_counts_in_another_shape_than_agreed_cost_no_answer(vendor, odd):
    document = json.loads(json.dumps(WHOLES[vendor]))
    document["usageMetadata" if vendor == "google" else "usage"] = odd
    [outcome], _, _ = answer(vendor, whole(document))
    assert outcome.completion.text == "Voilà, 42 ✓"
    assert (outcome.completion.usage.input_tokens, outcome.completion.usage.output_tokens) == (None, None)


def without(value, gone):
    """A document in which every text that is ``gone`` is null."""
    if isinstance(value, dict):
        return {key: without(inner, gone) for key, inner in value.items()}
    return [without(inner, gone) for inner in value] if isinstance(value, list) else None if value == gone else value


NULLS = {
    "anthropic": replies.ANTHROPIC_EVENTS,
    "google": (
        {"candidates": None},
        {"candidates": [{"index": None, "content": {"parts": None}}]},
        {"candidates": [{"content": {"parts": [{"text": None}, {"text": "Voilà, 42 ✓", "thought": None}]}}]},
        {"candidates": [{"finishReason": "STOP"}]},
    ),
    "openai-responses": (
        {"type": "response.output_text.delta", "delta": "Voilà, 42 ✓"},
        {"type": "response.completed", "response": {"status": "completed", "output": None}},
    ),
}


@pytest.mark.parametrize("vendor", NULLS)
def test_what_stands_there_as_null_costs_no_answer(vendor):
    [outcome], _, _ = answer(vendor, sent(replies.events(*without(list(NULLS[vendor]), ""), named=False)))
    assert (outcome.completion.text, outcome.completion.stop_reason) == ("Voilà, 42 ✓", "stop")


def test_a_response_whose_text_comes_only_when_it_is_whole_is_read_all_the_same():
    whole_at_once = {"type": "response.completed", "response": WHOLES["openai-responses"]}
    thoughts = {"type": "response.reasoning_summary_text.delta", "delta": "sept → six…"}
    for stream in ((whole_at_once,), (thoughts, whole_at_once)):
        [outcome], _, _ = answer("openai-responses", sent(replies.events(*stream)))
        assert (outcome.completion.reasoning, outcome.completion.text) == ("sept → six…", "Voilà, 42 ✓")


def test_an_end_that_google_does_not_specify_is_none():
    begun = {"candidates": [{"content": {"parts": [{"text": "Vo"}]}, "finishReason": "FINISH_REASON_UNSPECIFIED"}]}
    [outcome], _, _ = answer("google", sent(replies.events(begun, named=False)))
    assert (outcome.completion, outcome.failure.kind) == (None, "malformed")


def test_a_message_that_ends_before_it_began_is_no_answer():
    ends = (replies.ANTHROPIC_START, {"type": "message_stop"})
    [outcome], _, _ = answer("anthropic", sent(replies.events(*ends)))
    assert (outcome.completion, outcome.failure.kind) == (None, "malformed")


def test_a_stream_of_google_that_breaks_is_no_answer_though_each_of_its_parts_says_stop():
    part = {"candidates": [{"content": {"parts": [{"text": "Vo"}]}, "finishReason": "STOP"}]}
    raw = replies.events(part, part, named=False)
    [whole], _, _ = answer("google", sent(raw))
    [broken], _, _ = answer("google", sent(raw + b'data: {"candid\n\n'))
    assert whole.completion.text == "VoVo"
    assert (broken.completion, broken.failure.kind) == (None, "malformed")


@pytest.mark.parametrize("vendor", [vendor for vendor in STREAMS if vendor != "google"])
def test_an_error_behind_the_end_of_an_answer_leaves_it_as_it_is(vendor):
    document, _ = ERRORS[vendor]
    end = b"data: [DONE]" if vendor == "openai" else b"event: message_stop"
    raw = STREAMS[vendor].partition(end)[0]
    late = f"event: error\ndata: {json.dumps(document)}\n\n".encode()
    [outcome], server, _ = answer(vendor, sent(raw + late))
    assert (outcome.completion.text, outcome.completion.usage) == ("Voilà, 42 ✓", USAGES[vendor])
    assert len(server.requests) == 1


def body_of(vendor, request=ASKED):
    _, server, notices = answer(vendor, sent(STREAMS[vendor]), request)
    return server.requests[0], notices


def test_anthropic_is_asked_as_its_api_wants_it():
    body, notices = body_of("anthropic")
    assert body == {
        "path": "/v1/messages",
        "model": "m",
        "stream": True,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "six by seven?"},
            {"role": "assistant", "content": "Let me see."},
            {"role": "user", "content": "Well?"},
        ],
        "max_tokens": 99,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low"},
    }
    assert notices == ["Anthropic's messages has no 'seed': a repeated question may be answered differently"]


def test_google_is_asked_as_its_api_wants_it():
    body, notices = body_of("google")
    assert body == {
        "path": "/v1/models/m:streamGenerateContent",
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "six by seven?"}]},
            {"role": "model", "parts": [{"text": "Let me see."}]},
            {"role": "user", "parts": [{"text": "Well?"}]},
        ],
        "generationConfig": {
            "temperature": 0.5,
            "maxOutputTokens": 99,
            "stopSequences": ["END"],
            "seed": 7,
            "thinkingConfig": {"thinkingLevel": "low"},
        },
    }
    assert notices == []


def test_responses_are_asked_as_their_api_wants_it():
    body, notices = body_of("openai-responses")
    assert body == {
        "path": "/v1/responses",
        "model": "m",
        "stream": True,
        "store": False,
        "input": [{"role": turn.role, "content": turn.content} for turn in TURNS],
        "temperature": 0.5,
        "max_output_tokens": 99,
        "reasoning": {"effort": "low"},
    }
    assert len(notices) == 2  # it has neither stop strings nor a seed


@pytest.mark.parametrize(
    ("vendor", "effort", "key", "expected"),
    [
        ("anthropic", "none", "thinking", {"type": "disabled"}),
        ("anthropic", "2048", "thinking", {"type": "enabled", "budget_tokens": 2048}),
        ("google", "none", "generationConfig", {"thinkingConfig": {"thinkingBudget": 0}}),
        ("google", "2048", "generationConfig", {"thinkingConfig": {"thinkingBudget": 2048}}),
    ],
)
def test_an_effort_may_be_none_or_a_number_of_tokens(vendor, effort, key, expected):
    body, _ = body_of(vendor, Request(model="m", prompt=ASKED.prompt, reasoning_effort=effort))
    assert body[key] == expected


def test_what_is_sent_beside_the_settings_is_merged_key_by_key():
    extra = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}, "topK": 3}, "safetySettings": []}
    request = Request(model="m", prompt=ASKED.prompt, temperature=0.0, reasoning_effort="low", extra=extra)
    body, _ = body_of("google", request)
    assert body["generationConfig"] == {
        "temperature": 0.0,
        "topK": 3,
        "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
    }
    assert body["safetySettings"] == []


def test_a_key_goes_into_the_vendors_own_header_and_not_into_the_address(monkeypatch):
    for variable in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(variable, "canary-0123456789")
    seen = {}
    for vendor in STREAMS:
        _, server, _ = answer(vendor, sent(STREAMS[vendor]))
        seen[vendor] = {name for name, value in server.headers[0].items() if "canary-0123456789" in value}
        assert "canary" not in str(server.requests)
    assert seen == {
        "openai": {"Authorization"},
        "openai-responses": {"Authorization"},
        "anthropic": {"x-api-key"},
        "google": {"x-goog-api-key"},
    }


@pytest.mark.parametrize(
    ("vendor", "reason", "expected"),
    [
        ("anthropic", "end_turn", "stop"),
        ("anthropic", "stop_sequence", "stop"),
        ("anthropic", "max_tokens", "length"),
        ("anthropic", "model_context_window_exceeded", "length"),
        ("anthropic", "refusal", "refusal"),
        ("anthropic", "pause_turn", "pause_turn"),
        ("google", "STOP", "stop"),
        ("google", "MAX_TOKENS", "length"),
        ("google", "SAFETY", "content_filter"),
        ("google", "RECITATION", "content_filter"),
        ("google", "OTHER", "other"),
    ],
)
def test_the_reason_for_the_end_is_told_in_the_same_words(vendor, reason, expected):
    old = b'"end_turn"' if vendor == "anthropic" else b'"STOP"'
    [outcome], _, _ = answer(vendor, sent(STREAMS[vendor].replace(old, json.dumps(reason).encode())))
    assert outcome.completion.stop_reason == expected


@pytest.mark.parametrize(
    ("reason", "expected"), [("max_output_tokens", "length"), ("content_filter", "content_filter")]
)
def test_an_incomplete_response_says_why(reason, expected):
    document = replies.response("incomplete", incomplete_details={"reason": reason})
    last = replies.events({"type": "response.incomplete", "response": document, "sequence_number": 11})
    raw = replies.events(*replies.RESPONSES_EVENTS[:-1]) + last
    [outcome], _, _ = answer("openai-responses", sent(raw))
    assert outcome.completion.stop_reason == expected
    assert outcome.completion.usage.output_tokens == 200


def test_a_failed_response_is_a_failure():
    document = replies.response("failed", error={"code": "server_error", "message": "Sorry"})
    raw = replies.events({"type": "response.failed", "response": document, "sequence_number": 1})
    [outcome], _, _ = answer("openai-responses", sent(raw), policy=RetryPolicy(tries=1, refusals=1))
    assert (outcome.failure.kind, outcome.failure.message) == ("server", "the service reported: Sorry")


def test_a_prompt_that_the_service_blocks_is_an_empty_answer_and_not_an_error():
    [outcome], _, _ = answer("google", sent(replies.events(replies.GOOGLE_BLOCKED, named=False)))
    assert (outcome.completion.text, outcome.completion.stop_reason) == ("", "content_filter")
    filtered = {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
            "policy. Please modify your prompt and retry.",
            "code": "content_filter",
            "status": 400,
        }
    }
    flagged = {"error": {"code": 403, "message": 'm requires moderation. Your input was flagged for "x"'}}
    for document, status in ((filtered, 400), (flagged, 403)):
        [outcome], server, _ = answer("openai", whole(document, status))
        assert (outcome.completion.text, outcome.completion.stop_reason) == ("", "content_filter")
        assert len(server.requests) == 1


def test_of_several_candidates_the_first_is_the_answer():
    """``extra: {generationConfig: {candidateCount: 2}}``: the second may come, and end, before the first."""
    second = {"content": {"parts": [{"text": "no"}]}, "index": 1, "finishReason": "MAX_TOKENS"}
    first = {"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}
    apart = replies.events({"candidates": [second]}, {"candidates": [first]}, named=False)
    for raw in (apart, replies.events({"candidates": [second, first]}, named=False)):
        [outcome], _, _ = answer("google", sent(raw))
        assert (outcome.completion.text, outcome.completion.stop_reason) == ("yes", "stop")


def test_an_answer_of_thoughts_alone_counts_them_as_output():
    usage = {"promptTokenCount": 10, "thoughtsTokenCount": 90, "totalTokenCount": 100}
    raw = replies.events(replies.google_chunk(reason="MAX_TOKENS", usage=usage), named=False)
    [outcome], _, _ = answer("google", sent(raw))
    assert (outcome.completion.usage.output_tokens, outcome.completion.usage.reasoning_tokens) == (90, 90)
    assert outcome.completion.stop_reason == "length"


@pytest.mark.parametrize(
    ("vendor", "status", "document", "kind"),
    [
        ("anthropic", 529, replies.ANTHROPIC_ERROR, "server"),
        ("anthropic", 401, {"type": "error", "error": {"type": "authentication_error", "message": "no"}}, "auth"),
        (
            "anthropic",
            404,
            {"type": "error", "error": {"type": "not_found_error", "message": "model: m"}},
            "unavailable",
        ),
        (
            "anthropic",
            400,
            {"error": {"message": "Your credit balance is too low to access the Anthropic API."}},
            "quota",
        ),
        ("google", 400, replies.GOOGLE_BAD_KEY, "auth"),
        ("google", 429, replies.google_too_many("GenerateRequestsPerMinutePerProjectPerModel"), "rate_limit"),
        ("google", 429, replies.google_too_many("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), "quota"),
        ("google", 503, [replies.GOOGLE_ERROR], "server"),
        ("openai", 429, {"error": {"message": "billing", "code": "insufficient_quota"}}, "quota"),
        ("openai", 429, replies.GROQ_TOO_MANY, "rate_limit"),
        ("openai", 429, replies.OPENAI_TOO_LARGE, "rejected"),
        ("openai", 400, {"error": {"message": "billing of 'Charged twice' is cut off"}}, "rejected"),
        ("openai", 400, {"error": {"message": "acme/m is not a valid model ID", "code": 400}}, "unavailable"),
        ("openai", 400, {"error": {"message": "Model Not Exist"}}, "unavailable"),
        ("openai", 403, {"error": {"message": "Your account may not", "code": 403}}, "auth"),
    ],
)
def test_each_refusal_is_named(vendor, status, document, kind):
    [outcome], _, _ = answer(vendor, whole(document, status), policy=RetryPolicy(tries=1, refusals=1))
    assert outcome.failure.kind == kind
    assert outcome.failure.status == status
    assert "{" not in outcome.failure.message


def test_a_delay_that_stands_in_the_body_is_kept_to():
    document = replies.google_too_many("GenerateRequestsPerMinutePerProjectPerModel", "0.25s")
    for handle in (whole(document, 429), sent(replies.events(document, named=False))):
        [outcome], _, _ = answer("google", handle, policy=RetryPolicy(tries=2, refusals=2, first_wait_s=0.001))
        assert [one.failure.kind for one in outcome.attempts] == ["rate_limit"]
        assert outcome.attempts[0].wait_s >= 0.25


@pytest.mark.parametrize(
    ("vendor", "key", "message"),
    [
        (
            "anthropic",
            "temperature",
            "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.",
        ),
        ("anthropic", "temperature", "`temperature` is deprecated for this model."),
        ("anthropic", "thinking", "adaptive thinking is not supported on this model"),
        (
            "google",
            "seed",
            "Invalid JSON payload received. Unknown name \"seed\" at 'generation_config': Cannot find field.",
        ),
        ("google", "thinkingConfig", "Thinking level is not supported for this model."),
        ("google", "systemInstruction", "Developer instruction is not enabled for models/gemma-3-27b-it"),
        ("openai-responses", "temperature", "Unsupported parameter: 'temperature' is not supported with this model."),
        (
            "openai-responses",
            "reasoning",
            "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        ),
    ],
)
def test_a_setting_the_model_refuses_is_left_out_and_said_once(vendor, key, message):
    async def handle(request, body, number):
        if f'"{key}"' in json.dumps(body):
            return web.json_response({"error": {"message": message}}, status=400)
        return await sent(STREAMS[vendor])(request, body, number)

    request = Request(model="m", prompt=ASKED.prompt, temperature=0.5, seed=1, reasoning_effort="low")
    outcomes, server, notices = answer(vendor, handle, request, times=2)
    assert [outcome.completion.text for outcome in outcomes] == ["Voilà, 42 ✓"] * 2
    assert len(server.requests) == 3
    assert sum("does not accept" in notice for notice in notices) == 1
    if key == "systemInstruction":
        assert server.requests[-1]["contents"][0]["parts"][0]["text"] == "Be brief."


@pytest.mark.parametrize(
    ("vendor", "message", "key"),
    [
        (
            "anthropic",
            "max_tokens: 32000 > 4096, which is the maximum allowed number of output tokens for claude-3-haiku",
            "max_tokens",
        ),
        (
            "openai",
            "max_tokens is too large: 100000. This model supports at most 4096 completion tokens, whereas you provided "
            "100000.",
            "max_tokens",
        ),
    ],
)
def test_the_longest_answer_is_learnt_from_the_error_about_a_longer_one(vendor, message, key):
    async def handle(request, body, number):
        if body[key] > 4096:
            return web.json_response({"error": {"message": message}}, status=400)
        return await sent(STREAMS[vendor])(request, body, number)

    request = Request(model="m", prompt=ASKED.prompt, max_tokens=None if vendor == "anthropic" else 100_000)
    outcomes, server, notices = answer(vendor, handle, request, times=2)
    assert [body[key] for body in server.requests[1:]] == [4096, 4096]
    assert notices == ["m gives at most 4096 tokens an answer: no more are asked for"]
    assert all(outcome.completion for outcome in outcomes)


@every_vendor
@pytest.mark.parametrize(("timeout_s", "kind"), [(0.5, "timeout"), (60.0, None)])
def test_a_model_whose_answers_may_take_longer_may_be_silent_for_longer(vendor, timeout_s, kind, monkeypatch):
    monkeypatch.setattr(http, "STALL_TIMEOUT_S", 0.1)

    async def handle(request, body, number):
        await asyncio.sleep(0.4)
        return await sent(STREAMS[vendor])(request, body, number)

    [outcome], _, _ = answer(vendor, handle, policy=RetryPolicy(tries=1), timeout_s=timeout_s)
    assert (outcome.failure and outcome.failure.kind) == kind


FIVE = ("\nclass", "\ndef", "\n#", "\nif", "2 ")


@pytest.mark.parametrize(
    ("vendor", "most", "message"),
    [
        ("openai", 4, "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with "
         "length 5 instead."),
        ("google", 3, "* GenerateContentRequest.generation_config.stop_sequences: the number of stop_sequences must "
         "not exceed 3.\n"),
    ],
)  # fmt: skip
def test_of_more_stop_strings_than_a_model_takes_the_first_are_sent_and_the_answer_is_cut_at_all(vendor, most, message):
    stops = []

    async def handle(request, body, number):
        stops.append(body.get("stop") or body["generationConfig"]["stopSequences"])
        if len(stops[-1]) > most:
            return web.json_response({"error": {"message": message}}, status=400)
        return await sent(STREAMS[vendor])(request, body, number)

    outcomes, _, notices = answer(vendor, handle, Request(model="m", prompt=ASKED.prompt, stop=FIVE), times=2)
    assert [outcome.completion.text for outcome in outcomes] == ["Voilà, 4"] * 2
    assert stops == [list(FIVE), list(FIVE[:most]), list(FIVE[:most])]
    assert [f"takes at most {most} stop strings" in notice for notice in notices] == [True]


def test_what_was_learnt_of_stop_strings_is_known_from_what_was_kept_of_it():
    accepted = Accepted(CHAT)
    request = Request(model="m", prompt=ASKED.prompt, stop=FIVE)
    too_many = Failure(kind="rejected", status=400, message="Invalid 'stop': array with maximum length 4")
    assert accepted.learn(too_many, request, accepted.known) is not None
    assert known_by(accepted.learnt, CHAT) == accepted.known == Known(most_stops=4)


def test_anthropic_is_sent_no_stop_string_of_white_space_alone_and_its_answer_is_cut_there():
    request = Request(model="m", prompt=ASKED.prompt, stop=(" ", "END"))
    [outcome], server, _ = answer("anthropic", sent(STREAMS["anthropic"]), request)
    assert (server.requests[0]["stop_sequences"], outcome.completion.text) == (["END"], "Voilà,")
    blank = Request(model="m", prompt=ASKED.prompt, stop=("\n\n",))
    assert "stop_sequences" not in answer("anthropic", sent(STREAMS["anthropic"]), blank)[1].requests[0]


@pytest.mark.parametrize("vendor", ["anthropic", "google", "openai-responses"])
def test_a_text_to_be_continued_is_refused_before_anything_is_sent(vendor):
    request = Request(model="m", prompt=Prompt(kind="completion", text="Once"))
    [outcome], server, _ = answer(vendor, sent(STREAMS[vendor]), request)
    assert outcome.failure.kind == "unavailable"
    assert "chat" in outcome.failure.message
    assert server.requests == []


AT = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "usd"),
    [
        ("anthropic", "claude-2", {}, 0.0128),
        ("anthropic", "claude-sonnet-4-5", {}, 0.006),
        ("google", "gemini-2.5-pro", {}, 0.00325),
        ("openai", "gpt-5", {}, 0.00325),
        ("openai-responses", "gpt-5", {}, 0.00325),
        ("groq", "llama-3.3-70b-versatile", {}, 0.000748),
        ("deepseek", "deepseek-chat", {}, 0.00049),
        ("azure", "gpt-4o", {}, 0.0045),
        # 3 USD a million of input, 0.30 read from the cache, 3.75 written to it, 6 to stay for an hour; 15 of output
        ("anthropic", "claude-sonnet-4-5", {"cached_input_tokens": 500}, (500 * 3 + 500 * 0.3 + 200 * 15) / 1e6),
        (
            "anthropic",
            "claude-sonnet-4-5",
            {"cached_input_tokens": 500, "cache_write_tokens": 300, "cache_write_1h_tokens": 100},
            (200 * 3 + 500 * 0.3 + 200 * 3.75 + 100 * 6 + 200 * 15) / 1e6,
        ),
        ("google", "gemini-2.5-pro", {"cached_input_tokens": 500, "reasoning_tokens": 150}, 0.0026875),
        ("litellm", "gemini/gemini-2.5-pro", {}, 0.00325),
        ("litellm", "claude-2", {}, None),
        ("ollama", "llama3", {}, None),
        ("anthropic", "nobody-knows", {}, None),
        ("openai", "gpt-5", {"cached_input_tokens": 5000}, None),  # more read from the cache than there was
    ],
)
def test_the_price_of_a_thousand_tokens_in_and_two_hundred_out(provider, model, usage, usd):
    spec = ModelSpec(id="m", provider=provider, model=model)
    cost = prices.cost_usd(Usage(input_tokens=1000, output_tokens=200, **usage), spec, AT)
    assert cost == (None if usd is None else pytest.approx(usd, rel=1e-9))

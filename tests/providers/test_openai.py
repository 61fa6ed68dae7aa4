"""The OpenAI protocol over real HTTP against a local server."""

import asyncio
import json
import math
import random
import threading
import time

import pytest
from aiohttp import web
from msgspec import UNSET
from msgspec.structs import replace

from server import chunk, finish, serving, stream, usage
from steelyard.engine.asking.attempts import Asker, RetryPolicy
from steelyard.errors import UsageError
from steelyard.providers import wire
from steelyard.providers.counted import usage_of
from steelyard.providers.openai import OpenAI, connect
from steelyard.providers.refusals import retry_after_s
from steelyard.secrets import Secret, scrub
from steelyard.types import Message, ModelSpec, Prompt, Request

CHAT = Request(model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content="hi"),)), temperature=0.0)
FAST = RetryPolicy(first_wait_s=0.001, longest_wait_s=0.002)


def answer(handle, request=CHAT, *, policy=FAST, timeout_s=5.0, key=None, stall_s=5.0):
    notices = []

    async def work(url):
        provider = OpenAI(base_url=url, key=key, stall_s=stall_s)
        await provider.open()
        try:
            asker = Asker(
                provider, timeout_s=timeout_s, policy=policy, generator=random.Random(0), notice=notices.append
            )
            return await asker.ask(request)
        finally:
            await provider.close()

    with serving(handle) as server:
        outcome = asyncio.run(work(server.url))
    return outcome, server, notices


def streamed(*parts, **options):
    async def handle(request, body, number):
        return await stream(request, parts, **options)

    return handle


def always(status, document, **headers):
    async def handle(request, body, number):
        return web.json_response(document, status=status, headers=headers)

    return handle


def test_a_streamed_answer_arrives_whole_with_usage_and_stamps():
    parts = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), finish(), usage(11, 2)]
    outcome, server, _ = answer(streamed(*parts, gap_s=0.02))
    completion = outcome.completion
    assert completion.text == "Hello"
    assert (completion.usage.input_tokens, completion.usage.output_tokens, completion.usage.source) == (11, 2, "server")
    assert completion.model_reported == "m-2026"
    assert completion.fingerprint == "fp1"
    assert completion.stop_reason == "stop"
    assert server.requests[0]["stream_options"] == {"include_usage": True}
    timing = completion.timing
    assert timing.ttft_s >= 0.015  # the empty role chunk is no token
    assert len(timing.gaps_ns) == 1
    assert timing.first_byte_ns < timing.first_token_ns < timing.last_token_ns <= timing.ended_ns


def test_the_connection_of_a_streamed_answer_serves_the_next_request():
    peers = []

    async def handle(request, body, number):
        peers.append(request.transport.get_extra_info("peername"))
        return await stream(request, [chunk(content="hello"), finish(), usage()])

    async def three_times(url):
        provider = OpenAI(base_url=url)
        await provider.open()
        try:
            asker = Asker(provider, timeout_s=5.0, policy=FAST, generator=random.Random(0))
            return [await asker.ask(CHAT) for _ in range(3)]
        finally:
            await provider.close()

    with serving(handle) as server:
        outcomes = asyncio.run(three_times(server.url))
    assert [outcome.attempts for outcome in outcomes] == [(), (), ()]
    assert len(set(peers)) == 1


MISTRALS = {
    "type": "thinking",
    "thinking": [{"type": "text", "text": "h"}, {"type": "reference", "reference_ids": [1]}],
}
DATABRICKS = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "mm"}]}


@pytest.mark.parametrize(
    "thoughts",
    [
        [chunk(reasoning_content="hmm")],
        [chunk(content=[MISTRALS]), chunk(content=[DATABRICKS])],
        [chunk(content=[{"type": "thinking", "thinking": "h"}, {"type": "reasoning", "text": "mm"}])],
    ],
    ids=["of its own", "parts of parts", "parts"],
)
@pytest.mark.parametrize("said", ["7", ["7"], [{"type": "text", "text": "7"}, {"type": "image_url"}]])
def test_reasoning_counts_as_a_token_but_not_as_the_answer(thoughts, said, monkeypatch):
    take, has_thoughts = wire.Connection.data_received, threading.Event()

    def note(connection, data):
        take(connection, data)
        if b"data: " in data:
            has_thoughts.set()

    async def handle(request, body, number):
        response = await stream(request, thoughts, done=False)
        assert await asyncio.to_thread(has_thoughts.wait, 60)
        for part in (chunk(content=said), finish()):
            await response.write(f"data: {json.dumps(part)}\n\n".encode())
        return response

    monkeypatch.setattr(wire.Connection, "data_received", note)
    completion = answer(handle, timeout_s=60.0, stall_s=60.0)[0].completion
    assert (completion.reasoning, completion.text) == ("hmm", "7")
    assert completion.timing.first_token_ns < completion.timing.first_answer_ns


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("content", ["ok", [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "ok"}]])
def test_a_server_that_does_not_stream_is_still_understood(status, content_type, content):
    document = {"model": "x", "choices": [{"message": {"content": content}, "finish_reason": "length"}]}

    async def handle(request, body, number):
        return web.Response(
            body=b"\n " + json.dumps(document).encode(), status=status, headers={"Content-Type": content_type}
        )

    completion = answer(handle)[0].completion
    assert (completion.text, completion.stop_reason) == ("ok", "length")
    assert completion.reasoning == ("" if content == "ok" else "hm")
    assert completion.timing.ttft_s is None
    assert completion.usage.input_tokens is None


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/octet-stream", "application/json"])
def test_a_stream_is_known_by_its_beginning_where_its_type_does_not_say_so(content_type):
    parts = [chunk(content="7"), finish(), usage(11, 2)]
    body = b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts)

    async def handle(request, body_, number):
        return web.Response(body=body, headers={"Content-Type": content_type})

    completion = answer(handle)[0].completion
    assert (completion.text, completion.usage.output_tokens) == ("7", 2)


@pytest.mark.parametrize("odd", ["10", -1, 2.5, True, 10**20, [1]])
def test_a_count_that_is_none_is_unknown_and_costs_no_answer(odd):
    told = {"prompt_tokens": 5.0, "completion_tokens": odd}
    document = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "usage": told}
    completion = answer(always(200, document))[0].completion
    assert (completion.text, completion.usage.input_tokens, completion.usage.output_tokens) == ("ok", 5, None)


@pytest.mark.parametrize(
    ("total", "output"),
    [
        (331, 319),  # xAI: grok-3-mini's own counts
        (14, 2),  # a part of the completion, which cannot be: believed makes it unknown
        (None, 2),
        (999, 2),
    ],
)
def test_reasoning_that_is_counted_beside_the_completion_is_output_by_the_reply_s_own_total(total, output):
    told = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": total}
    told["completion_tokens_details"] = {"reasoning_tokens": 317}
    usage = usage_of(told)
    assert (usage.output_tokens, usage.reasoning_tokens) == (output, 317)


def test_reasoning_that_is_a_part_of_the_completion_is_not_counted_twice():
    told = {"prompt_tokens": 12, "completion_tokens": 319, "total_tokens": 331}
    assert usage_of(told | {"completion_tokens_details": {"reasoning_tokens": 317}}).output_tokens == 319


def test_what_was_cached_or_thought_may_stand_beside_the_rest():
    told = {"prompt_tokens": 100, "completion_tokens": 50, "cached_tokens": 64, "reasoning_tokens": 40}
    usage = usage_of(told | {"prompt_tokens_details": None})
    assert (usage.cached_input_tokens, usage.reasoning_tokens) == (64, 40)
    detailed = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    usage = usage_of(told | detailed)
    assert (usage.cached_input_tokens, usage.reasoning_tokens) == (0, 0)
    assert usage_of({"prompt_tokens": 9, "completion_tokens": 9, "reasoning_tokens": 0}).reasoning_tokens is None


@pytest.mark.parametrize("odd", [[], "5", 5, {"prompt_tokens_details": [], "completion_tokens_details": "none"}])
def test_counts_in_another_shape_than_agreed_cost_no_answer(odd):
    document = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "usage": odd}
    completion = answer(always(200, document))[0].completion
    assert (completion.text, completion.usage.output_tokens) == ("ok", None)
    completion = answer(streamed(chunk(content="ok"), finish(), {"choices": [], "usage": odd}))[0].completion
    assert (completion.text, completion.usage.output_tokens) == ("ok", None)


@pytest.mark.parametrize("later", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_a_count_that_is_known_stays_so_where_a_later_one_says_nothing(later):
    completion = answer(streamed(chunk(content="ok"), finish(), usage(7, 3), {"choices": [], "usage": later}))[
        0
    ].completion
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (7, 3)


def test_completions_are_asked_at_their_own_path():
    request = Request(model="m", prompt=Prompt(kind="completion", text="Q:"), stop=("\n",), max_tokens=5)
    outcome, server, _ = answer(streamed({"choices": [{"text": " A\nB", "finish_reason": "stop"}]}), request)
    assert outcome.completion.text == " A"
    assert server.requests[0]["path"] == "/v1/completions"
    assert server.requests[0]["prompt"] == "Q:"


def test_characters_cut_by_a_chunk_boundary_stay_whole():
    raw = 'data: {"choices":[{"delta":{"content":"né"}}]}\r\n\r\n: ping\n\ndata: {"choices":[{"delta":{},'.encode()
    rest = b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    at = raw.index("é".encode()) + 1
    completion = answer(streamed(raw[:at], raw[at:], rest, raw=True, gap_s=0.01))[0].completion
    assert completion.text == "né"


@pytest.mark.parametrize(
    ("written", "text"),
    [("a\\ud83d", "a\ufffd"), ("\\uDE00b\\\\ud83d", "\ufffdb\\ud83d"), ("\\ud83d\\ude00\\ud83d", "😀\ufffd")],
)
def test_half_of_a_surrogate_pair_costs_no_answer(written, text):
    raw = f'data: {{"choices":[{{"delta":{{"content":"{written}"}},"finish_reason":"stop"}}]}}\n\n'.encode()
    assert answer(streamed(raw, raw=True))[0].completion.text == text


@pytest.mark.parametrize(
    ("beside", "text"),
    [('"score":NaN,"low":-Infinity,"high":Infinity,', "NaN\\n"), ("", "a\0b"), ("", "a\nb"), ('"at":1e9999,', "a")],
)
def test_what_is_no_json_beside_an_answer_costs_none(beside, text):
    raw = f'{{{beside}"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}'

    async def handle(request, body, number):
        return web.Response(text=raw, content_type="application/json")

    outcome, server, _ = answer(handle)
    assert outcome.completion.text == text.replace("\\n", "\n")
    assert len(server.requests) == 1


@pytest.mark.parametrize("raw", ['{"error":DEEP}', '{"choices":[],"usage":DEEP}', '{"x":DEEP}', "DEEP"])
def test_brackets_nested_without_end_are_a_malformed_reply(raw):
    async def handle(request, body, number):
        return web.Response(text=raw.replace("DEEP", "[" * 50_000 + "]" * 50_000), content_type="application/json")

    failure = answer(handle)[0].failure
    assert failure.kind == "malformed"
    assert "cannot read the reply" in failure.message


def test_what_a_document_says_instead_of_an_answer_is_told():
    async def handle(request, body, number):
        return web.Response(text='{"detail":"the model is asleep"}', headers={"Content-Type": "text/event-stream"})

    failure = answer(handle)[0].failure
    assert (failure.kind, failure.message) == ("malformed", "the reply holds no answer: the model is asleep")


def test_a_stream_that_breaks_off_is_no_answer():
    outcome, server, _ = answer(streamed(chunk(content="half"), done=False))
    assert outcome.completion is None
    assert outcome.failure.kind == "malformed"
    assert len(server.requests) == 2  # a malformed reply is asked for once more


@pytest.mark.parametrize("ends", ["cut", "reset"])
def test_an_answer_that_was_complete_when_its_connection_broke_is_not_asked_for_again(ends):
    async def handle(request, body, number):
        response = await stream(request, [chunk(content="whole"), finish(), usage()])
        if ends == "reset":
            request.transport.abort()
        else:
            request.transport.close()
        return response

    outcome, server, _ = answer(handle)
    assert (outcome.completion.text, outcome.attempts, len(server.requests)) == ("whole", (), 1)


@pytest.mark.parametrize(
    "late",
    [
        b'data: {"error": {"message": "late"}}\n\n',
        b'event: error\ndata: {"message": "late"}\n\n',
        b'data: {"choices": [], "usa\n\n',
    ],
)
def test_what_fails_behind_an_answer_that_is_complete_is_said_and_the_answer_is_not_paid_again(late):
    sent = [b"data: %b\n\n" % json.dumps(part).encode() for part in (chunk(content="7"), finish(), usage(7, 3))]
    outcome, server, [notice] = answer(streamed(*sent, late, raw=True))
    assert (outcome.completion.text, outcome.completion.usage.output_tokens, len(server.requests)) == ("7", 3, 1)
    assert "an answer was complete when its stream failed" in notice


@pytest.mark.parametrize("parts", [[], [usage()], [{"choices": [{"index": 1, "delta": {"content": "n"}}]}]])
def test_a_stream_without_an_answer_is_not_an_empty_one(parts):
    outcome, _, _ = answer(streamed(*parts))
    assert (outcome.completion, outcome.failure.kind) == (None, "malformed")


def test_what_stands_between_the_pieces_of_an_answer_and_says_nothing_is_passed_over():
    sent = [b"data: \n\n", b'data: {"choices":null}\n\n']
    sent += [b"data: %b\n\n" % json.dumps(part).encode() for part in (chunk(content="7"), finish())]
    assert answer(streamed(*sent, raw=True))[0].completion.text == "7"


def test_an_error_that_stands_bare_in_a_stream_is_a_failure():
    """As older vLLM and FastChat write it, before a [DONE] that makes what came look whole."""
    bare = {"object": "error", "message": "out of memory", "code": 500}
    failure = answer(streamed(chunk(content="ha"), bare))[0].failure
    assert (failure.kind, "out of memory" in failure.message) == ("server", True)


@pytest.mark.parametrize("data", [b'{"message": "out of memory"}', b"out of memory", b'{"detail": "out of memory"}'])
def test_an_event_that_is_named_an_error_is_one_whatever_its_data_look_like(data):
    """And a [DONE] behind it, in the same packet or not, makes nothing whole."""
    begun = b"data: %b\n\n" % json.dumps(chunk(content="ha")).encode()
    for parts in (
        [begun + b"event: error\ndata: " + data + b"\n\ndata: [DONE]\n\n"],
        [begun, b"event: error\n", b"data: " + data + b"\n\n", b"data: [DONE]\n\n"],
    ):
        failure = answer(streamed(*parts, raw=True))[0].failure
        assert failure is not None
        assert "out of memory" in failure.message


def test_an_error_inside_the_stream_is_a_failure():
    outcome, _, _ = answer(streamed(chunk(content="a"), {"error": {"message": "overloaded"}}))
    assert outcome.failure.kind == "server"
    assert "overloaded" in outcome.failure.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [("429", "rate_limit"), ("401", "auth"), (503, "server"), ("x", "server"), ("9" * 5_000, "server")],
)
def test_an_error_inside_the_stream_may_have_its_status_as_text(code, kind):
    """As LiteLLM's proxy writes it."""
    once = RetryPolicy(tries=1, refusals=1)
    outcome, _, _ = answer(streamed({"error": {"message": "no", "code": code}}), policy=once)
    assert outcome.failure.kind == kind


def whole(choice):
    return always(200, {"choices": [choice]})


BY_THE_SERVICE = {"message": "Provider returned error", "code": 502}


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ({"finish_reason": "error", "error": BY_THE_SERVICE}, "Provider returned error"),
        ({"finish_reason": "error"}, "the answer ended with 'error'"),
        ({"finish_reason": "abort"}, "the answer ended with 'abort'"),
        ({"finish_reason": "insufficient_system_resource"}, "insufficient_system_resource"),
    ],
    ids=["OpenRouter", "Mistral and vLLM", "SGLang", "DeepSeek"],
)
def test_an_answer_that_the_service_broke_off_is_not_a_wrong_answer(ending, words):
    once = RetryPolicy(tries=1, refusals=1)
    parts = [chunk(content="The answer is"), {"choices": [{"delta": {}, **ending}]}, usage()]
    for handle in (streamed(*parts), whole({"message": {"content": "The answer is"}, **ending})):
        outcome, _, _ = answer(handle, policy=once)
        assert outcome.completion is None
        assert outcome.failure.kind == "server"
        assert words in outcome.failure.message


@pytest.mark.parametrize(("told", "meant"), [("model_length", "length"), ("max_tokens", "length"), ("eos", "stop")])
def test_the_end_of_an_answer_has_one_name_whoever_gives_it(told, meant):
    for handle in (
        streamed(chunk(content="7"), finish(told)),
        whole({"message": {"content": "7"}, "finish_reason": told}),
    ):
        assert answer(handle)[0].completion.stop_reason == meant


@pytest.mark.parametrize(
    ("told", "usd"),
    [
        ({"cost": 0.95, "is_byok": False, "cost_details": {"upstream_inference_cost": 19}}, 0.95),
        ({"cost": 0.95, "is_byok": True, "cost_details": {"upstream_inference_cost": 19}}, 19.95),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, UNSET),
        ({"cost": 0}, 0.0),
        ({"cost": {"total_cost": 1}}, UNSET),
        ({"cost": "0.1"}, UNSET),
        ({"cost": -1}, UNSET),
        ({"cost": True}, UNSET),
        ({}, UNSET),
    ],
)
def test_what_a_service_says_that_it_charged_is_read(told, usd):
    counts = {"prompt_tokens": 10, "completion_tokens": 2}
    outcome, _, _ = answer(streamed(chunk(content="7"), finish(), {"choices": [], "usage": counts | told}))
    assert (outcome.completion.usage.charged_usd, outcome.completion.usage.output_tokens) == (usd, 2)


def test_an_answer_that_ran_on_past_its_stop_to_the_token_limit_was_not_cut_off_by_it():
    request = replace(CHAT, stop=("\nQ:",))
    past, _, _ = answer(streamed(chunk(content="7\nQ: and"), finish("length"), usage()), request)
    short, _, _ = answer(streamed(chunk(content="7 and"), finish("length"), usage()), request)
    assert (past.completion.text, past.completion.stop_reason) == ("7", "stop")
    assert (short.completion.text, short.completion.stop_reason) == ("7 and", "length")


def test_of_several_choices_the_first_is_the_answer():
    """``extra: {n: 2}``: each event carries one of them, and the second may end before the first."""
    second = [
        {"choices": [{"index": 1, "delta": {"content": "no"}}]},
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
    ]
    first = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("ye", "s")]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    outcome, _, _ = answer(streamed(first[0], *second, first[1], end, usage()))
    assert (outcome.completion.text, outcome.completion.stop_reason) == ("yes", "stop")
    choices = [{"index": index, "message": {"content": text}} for index, text in ((1, "no"), (0, "yes"))]
    assert answer(always(200, {"choices": choices}))[0].completion.text == "yes"


@pytest.mark.parametrize(
    ("status", "document", "kind", "tries"),
    [
        (401, {"error": {"message": "bad key"}}, "auth", 1),
        (402, {}, "quota", 1),
        (404, {"error": {"message": "no such model"}}, "unavailable", 1),
        (400, {"error": {"message": "too long"}}, "rejected", 1),
        (429, {"error": {"code": "insufficient_quota"}}, "quota", 1),
        (429, {"error": {"message": "slow down"}}, "rate_limit", 100),
        (503, {"error": "busy"}, "server", 5),
        (200, {"error": {"message": "in disguise"}}, "server", 5),
    ],
)
def test_each_refusal_is_named_and_asked_again_only_where_that_helps(status, document, kind, tries):
    outcome, server, _ = answer(always(status, document))
    assert outcome.failure.kind == kind
    assert len(server.requests) == tries
    assert len(outcome.attempts) == tries - 1


@pytest.mark.parametrize("status", [200, 204])
def test_a_reply_of_nothing_is_told_as_empty(status):
    async def handle(request, body, number):
        return web.Response(status=status)

    failure = answer(handle)[0].failure
    assert (failure.kind, failure.message) == ("malformed", "the reply is empty")


def test_a_retry_waits_as_long_as_the_server_asks():
    async def handle(request, body, number):
        if number == 1:
            return web.json_response({}, status=429, headers={"retry-after": "0.3"})
        return await stream(request, [chunk(content="ok"), finish()])

    started = time.monotonic()
    outcome, _, _ = answer(handle)
    took_s = time.monotonic() - started
    assert outcome.attempts[0].wait_s >= 0.3
    assert outcome.completion.timing.queued_s >= 0.3
    assert outcome.completion.timing.total_s <= took_s - 0.3  # waiting is not the model's latency


def test_retry_after_may_be_a_date_held_against_the_servers_clock():
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after_s(headers) == 10.0


def test_a_stalled_stream_and_a_slow_answer_time_out():
    async def stall(request, body, number):
        response = await stream(request, [chunk(content="a")], done=False)
        await asyncio.sleep(2)
        return response

    outcome, _, _ = answer(stall, stall_s=0.2, policy=RetryPolicy(tries=1))
    assert outcome.failure.kind == "timeout"
    outcome, _, _ = answer(stall, timeout_s=0.2, policy=RetryPolicy(tries=1))
    assert outcome.failure.kind == "timeout"
    assert 0.15 < outcome.last_try_s < 1.5


def test_a_refused_connection_is_retried_and_named():
    async def work():
        provider = OpenAI(base_url="http://127.0.0.1:9/v1")
        try:
            return await Asker(provider, timeout_s=5, policy=FAST, generator=random.Random(0)).ask(CHAT)
        finally:
            await provider.close()

    outcome = asyncio.run(work())
    assert outcome.failure.kind == "connection"
    assert len(outcome.attempts) == FAST.tries - 1
    assert "127.0.0.1:9" in outcome.failure.message


def test_a_setting_the_model_refuses_is_left_out_and_said():
    async def handle(request, body, number):
        if "temperature" in body:
            message = "Unsupported value: 'temperature' does not support 0.0 with this model."
            return web.json_response({"error": {"message": message}}, status=400)
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return web.json_response({"error": {"message": message}}, status=400)
        return await stream(request, [chunk(content="ok"), finish()])

    request = Request(model="o9", prompt=CHAT.prompt, temperature=0.0, max_tokens=9)
    outcome, server, notices = answer(handle, request)
    assert outcome.completion.text == "ok"
    assert server.requests[-1]["max_completion_tokens"] == 9
    assert any("temperature" in text for text in notices)


def test_a_key_goes_into_the_header_and_nowhere_else():
    key = Secret("sk-canary-1234567890")
    echo = always(401, {"error": {"message": "Incorrect API key provided: sk-canary-1234567890."}})
    outcome, server, _ = answer(echo, key=key)
    assert server.headers[0]["Authorization"] == "Bearer sk-canary-1234567890"
    assert "canary" not in outcome.failure.message
    assert "canary" not in repr(key)
    assert "canary" not in scrub("https://user:sk-canary-1234567890@host/")


def test_a_missing_key_is_told_before_any_call(monkeypatch):
    with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
        connect(ModelSpec(id="openai/gpt-4", provider="openai", model="gpt-4"))
    own = ModelSpec(id="mine", provider="openai", model="m", base_url="http://localhost:1/v1")
    assert connect(own).origin == "http://localhost:1/v1"
    monkeypatch.setenv("MY_KEY", "")
    with pytest.raises(UsageError, match="MY_KEY"):
        connect(ModelSpec(id="mine", provider="openai", model="m", base_url="http://h/v1", api_key_env="MY_KEY"))


def of_tokens(*logprobs, name="content"):
    return {name: [{"token": "t", "logprob": logprob} for logprob in logprobs]}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ([{"delta": {"content": "a"}, "logprobs": of_tokens(-0.1)}, {"delta": {"content": "b"}}], -0.1),
        ([{"delta": {"content": "ab"}, "logprobs": of_tokens(-0.1, -0.5)}], -0.3),
        ([{"delta": {"refusal": "no"}, "logprobs": of_tokens(-0.2, name="refusal")}], -0.2),
        ([{"text": "ab", "logprobs": {"token_logprobs": [-0.1, None, -0.3], "tokens": ["a", "b"]}}], -0.2),
        ([{"text": "ab", "logprobs": of_tokens(-0.4)}], -0.4),
        ([{"delta": {"content": "a"}, "logprobs": -0.5}, {"delta": {"content": "b"}, "logprobs": 0}], -0.25),
    ],
    ids=["one piece without", "two tokens", "refusal", "completions", "completions at llama.cpp", "Together"],
)
def test_confidence_is_the_geometric_mean_of_the_tokens_probabilities(choices, expected):
    parts = [{"choices": [choice | {"finish_reason": None}]} for choice in choices]
    outcome, _, _ = answer(streamed(*parts, finish(), usage()))
    assert outcome.completion.confidence == pytest.approx(math.exp(expected))


def test_a_whole_reply_has_a_confidence_too():
    message = {"message": {"content": "ab"}, "logprobs": of_tokens(-0.1, -0.3), "finish_reason": "stop"}
    outcome, _, _ = answer(always(200, {"choices": [message]}))
    assert outcome.completion.confidence == pytest.approx(math.exp(-0.2))


def test_log_probabilities_are_asked_for_as_each_kind_of_request_has_them():
    provider = OpenAI(base_url="http://h/v1")
    assert provider.with_confidence(CHAT).extra == {"logprobs": True}
    completion = Request(model="m", prompt=Prompt(kind="completion", text="x"), extra={"logprobs": 5, "n": 1})
    assert provider.with_confidence(completion).extra == {"logprobs": 5, "n": 1}
    assert provider.with_confidence(replace(completion, extra={})).extra == {"logprobs": 1}

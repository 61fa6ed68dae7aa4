"""The mock keeps its delays, says the same twice, counts what it served, and is asked over real sockets."""

import asyncio
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import aiohttp
import msgspec
import pytest

from steelyard.errors import EnvironmentFault, UsageError
from steelyard.instrument.mock import Mock, serving
from steelyard.instrument.process import spawned
from steelyard.instrument.settings import FAULTS, Settings, checked
from steelyard.types import Price

CHAT = {"model": "m", "messages": [{"role": "user", "content": "How heavy?"}]}
PATHS = {
    "chat/completions": CHAT,
    "completions": {"model": "m", "prompt": "How heavy?"},
    "responses": {"model": "m", "input": "How heavy?"},
    "messages": {"model": "m", "max_tokens": 1000, "messages": CHAT["messages"]},
}


def asked(settings, *bodies, path="chat/completions"):
    """The bodies of the replies to ``bodies``, asked one after another, and then the server's figures."""

    async def work():
        async with Mock(settings) as mock, aiohttp.ClientSession() as session:
            replies = []
            for body in bodies:
                async with session.post(f"{mock.base_url}/{path}", json=body) as reply:
                    replies.append((reply.status, dict(reply.headers), await reply.read()))
            async with session.get(f"{mock.base_url}/stats") as reply:
                return replies, await reply.json()

    return asyncio.run(work())


def noted(settings):
    """What the server noted of one streamed reply: for each chunk when it was due and when it went out, in ms."""

    async def work():
        kept = msgspec.structs.replace(settings, keep_timings=1)
        async with Mock(kept) as mock, aiohttp.ClientSession() as session:
            async with session.post(f"{mock.base_url}/chat/completions", json=CHAT | {"stream": True}) as reply:
                assert b"[DONE]" in await reply.read()
            async with session.get(f"{mock.base_url}/timings") as reply:
                (served,) = await reply.json()
        return [[at_ns / 1e6 for at_ns in served[name]] for name in ("due_ns", "written_ns")]

    return asyncio.run(work())


def test_delays_stand_on_one_schedule_and_do_not_drift():
    due, written = noted(Settings(ttft_ms=40, itl_ms=5, tokens=41))
    assert due == [40 + 5 * number for number in range(41)]
    assert all(wrote >= at for at, wrote in zip(due, written, strict=True))
    assert min(wrote - at for at, wrote in zip(due[-10:], written[-10:], strict=True)) < 4


def test_a_chunk_of_several_tokens_waits_for_all_of_them():
    due, _ = noted(Settings(ttft_ms=10, itl_ms=5, tokens=12, tokens_per_chunk=4))
    assert due == [10, 30, 50]


def test_jitter_varies_gaps_by_its_share_and_no_more():
    due, _ = noted(Settings(itl_ms=4, tokens=30, jitter=0.5))
    gaps = [after - before for before, after in pairwise(due)]
    assert 2 <= min(gaps) < 3 < 5 < max(gaps) <= 6


def test_a_whole_reply_comes_when_its_last_token_is_due():
    began = time.perf_counter()
    asked(Settings(ttft_ms=50, itl_ms=10, tokens=6), CHAT)
    assert time.perf_counter() - began >= 0.1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_same_seed_and_question_give_the_same_reply(path, is_streamed):
    body = PATHS[path] | {"stream": is_streamed}
    first, _ = asked(Settings(seed=3, reasoning_tokens=3, jitter=0.5), body, path=path)
    second, _ = asked(Settings(seed=3, reasoning_tokens=3, jitter=0.5), body, path=path)
    other, _ = asked(Settings(seed=4, reasoning_tokens=3, jitter=0.5), body, path=path)
    assert first[0][2] == second[0][2]
    assert first[0][2] != other[0][2]


def test_faults_depend_on_the_question_and_not_on_what_came_before():
    bodies = [CHAT | {"messages": [{"role": "user", "content": str(number)}]} for number in range(40)]
    settings = Settings(faults={"500": 0.3, "empty": 0.2}, seed=1)
    forwards, stats = asked(settings, *bodies)
    backwards, _ = asked(settings, *reversed(bodies))
    assert [reply[0] for reply in forwards] == [reply[0] for reply in reversed(backwards)]
    assert stats["faults"] == {"500": stats["statuses"]["500"], "empty": stats["faults"]["empty"]}
    assert 4 <= stats["faults"]["500"] <= 20


def test_a_question_asked_again_may_fare_better():
    replies, _ = asked(Settings(faults={"503": 0.5}), *[CHAT] * 20)
    assert {status for status, _, _ in replies} == {200, 503}


def test_a_token_limit_cuts_the_answer_and_says_so():
    replies, _ = asked(Settings(tokens=20, reasoning_tokens=5), CHAT | {"max_tokens": 8})
    reply = json.loads(replies[0][2])
    assert reply["choices"][0]["finish_reason"] == "length"
    assert len(reply["choices"][0]["message"]["content"].split()) == 3
    assert reply["usage"]["completion_tokens"] == 8


def test_usage_is_streamed_only_where_it_is_asked_for():
    wanted = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    replies, _ = asked(Settings(), CHAT | {"stream": True}, wanted)
    assert b'"usage"' not in replies[0][2]
    assert replies[1][2].count(b'"usage"') == 1


def test_it_counts_and_bills_what_it_served():
    settings = Settings(itl_ms=1, tokens=10, cached_share=0.5, price=Price(input=1.0, cached_input=0.5, output=4.0))
    long = CHAT | {"messages": [{"role": "user", "content": "weigh " * 100}]}
    _, stats = asked(settings, long, long | {"stream": True})
    assert stats["requests"] == 2
    assert (stats["streamed"], stats["whole"]) == (1, 1)
    assert stats["tokens"] == {"input": 300, "cached_input": 150, "output": 20, "reasoning": 0}
    assert stats["billed_usd"] == pytest.approx((150 * 1.0 + 150 * 0.5 + 20 * 4.0) / 1e6)
    assert stats["peak_in_flight"] == 1
    assert stats["lateness_ms"]["n"] == 11


@pytest.mark.parametrize("fault", ["empty", "null", "content-filter", "length", "refusal"])
def test_it_bills_what_the_reply_says_that_it_took(fault):
    replies, stats = asked(Settings(tokens=10, faults={fault: 1.0}), CHAT)
    assert stats["tokens"]["output"] == json.loads(replies[0][2])["usage"]["completion_tokens"]


def test_a_rate_limit_holds_and_says_when_to_come_back():
    replies, stats = asked(Settings(rate_limit=3), *[CHAT] * 5)
    assert [status for status, _, _ in replies] == [200, 200, 200, 429, 429]
    assert replies[0][1]["x-ratelimit-remaining-requests"] == "2"
    assert 19 <= int(replies[-1][1]["Retry-After"]) <= 21
    assert stats["statuses"] == {"200": 3, "429": 2}


def test_answers_come_from_a_file(tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text('{"prompt": "heavy", "completion": "Two stone."}\n')
    replies, _ = asked(Settings(answers=str(file)), CHAT)
    assert json.loads(replies[0][2])["choices"][0]["message"]["content"] == "Two stone."
    file.write_text('{"prompt": "heavy"}\n')
    with pytest.raises(UsageError, match="line 1"):
        Mock(Settings(answers=str(file)))


def test_an_unreadable_request_is_refused_in_the_dialects_own_words():
    replies, _ = asked(Settings(), {"messages": "?"}, path="messages")
    assert replies[0][0] == 400
    assert json.loads(replies[0][2])["type"] == "error"


async def until(condition):
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be so")


def test_a_client_that_leaves_is_noted():
    async def work():
        async with Mock(Settings(ttft_ms=60_000)) as mock, aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.post(f"{mock.base_url}/chat/completions", json=CHAT))
            await until(lambda: mock.ledger.stats()["in_flight"])
            asking.cancel()
            await until(lambda: mock.ledger.left_early)
            return mock.ledger.stats()

    stats = asyncio.run(work())
    assert (stats["left_early"], stats["in_flight"]) == (1, 0)


@pytest.mark.parametrize("ttft_ms", [0, 0.1])
def test_requests_sent_ahead_are_answered_in_turn(ttft_ms):
    async def work():
        body = json.dumps(CHAT).encode()
        request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        async with Mock(Settings(ttft_ms=ttft_ms)) as mock:
            reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
            writer.write(request * 2000)
            seen = b""
            while seen.count(b"HTTP/1.1 200 OK") < 2000 or not seen.endswith(b"}"):
                seen += await asyncio.wait_for(reader.read(65536), 30)
            writer.close()
            await writer.wait_closed()
            return mock.ledger.stats()

    assert asyncio.run(work())["requests"] == 2000


@pytest.mark.parametrize(
    "settings",
    [
        Settings(faults={"500": 0.7, "cut": 0.7}),
        Settings(faults={"500": -0.1}),
        Settings(ttft_ms=-1),
        Settings(tokens_per_chunk=0),
        Settings(jitter=2),
    ],
)
def test_impossible_settings_are_a_usage_error(settings):
    with pytest.raises(UsageError):
        checked(settings)


def test_an_unknown_fault_names_the_nearest():
    with pytest.raises(UsageError, match="no-done"):
        checked(Settings(faults={"nodone": 0.1}))


def test_a_port_in_use_is_an_error_that_says_what_to_try():
    async def work():
        async with Mock(Settings()) as mock, Mock(Settings(port=mock.port)):
            pass

    with pytest.raises(EnvironmentFault, match="--port 0"):
        asyncio.run(work())


def test_a_mock_in_the_running_loop_ends_with_its_block():
    async def work():
        async with aiohttp.ClientSession() as session:
            async with serving(Settings(tokens=3)) as url, session.post(f"{url}/chat/completions", json=CHAT) as reply:
                said = (await reply.json())["choices"][0]["message"]["content"]
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"{url}/stats")
            return said

    assert len(asyncio.run(work()).split()) == 3


def test_a_spawned_mock_ends_with_its_block():
    async def ask(url):
        async with aiohttp.ClientSession() as session, session.get(f"{url}/models") as reply:
            return await reply.json()

    with spawned(Settings(price=Price(input=0.15, output=0.6))) as url:
        model = asyncio.run(ask(url))["data"][0]
    assert model["pricing"] == {"prompt": "0.00000015", "completion": "0.0000006", "input_cache_read": "0.00000015"}
    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(ask(url))


def test_the_command_serves_and_ends_on_an_interrupt():
    command = [sys.executable, "-m", "steelyard", "mock", "--fault", "500=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[2]

        async def ask():
            async with aiohttp.ClientSession() as session, session.post(f"{url}/chat/completions", json=CHAT) as reply:
                return reply.status

        assert asyncio.run(ask()) == 500
        process.send_signal(2)
        assert process.wait(60) == 130


def test_every_fault_has_a_meaning():
    assert all(FAULTS.values())


def test_the_page_about_the_mock_names_every_fault():
    page = (Path(__file__).parents[2] / "docs" / "mock.md").read_text("utf-8")
    assert [line for line in page.splitlines() if line.startswith("| `")] == [
        f"| `{name}` | {meaning} |" for name, meaning in FAULTS.items()
    ]

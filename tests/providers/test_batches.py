"""Batches against a server on this machine, by processes that are killed at the worst moment."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from batch_server import BatchServer
from server import serving
from steelyard.errors import ProviderError, StoreError, UsageError
from steelyard.providers import batch_services
from steelyard.providers.batch_services import batch_service
from steelyard.providers.batches import (
    MOST_UNHEARD,
    FolderJournal,
    NoReply,
    Ticket,
    Unsettled,
    custom_id,
    hand_in,
    index_of,
    label_of,
    wait_for,
)
from steelyard.types import Message, ModelSpec, Prompt, Request

REQUESTS = [
    Request(model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content=f"Q{n}"),)), max_tokens=9)
    for n in range(4)
]
LABEL = label_of("run", "origin", [request.digest("o") for request in REQUESTS])
both = pytest.mark.parametrize("provider", ["openai", "anthropic"])


def service_at(url, provider):
    return batch_service(ModelSpec(id="m", provider=provider, model="m", base_url=url))


async def _at_once(seconds):
    slept.append(seconds)


slept = []


def go(service, journal, **settings):
    return asyncio.run(hand_in(service, journal, LABEL, REQUESTS, sleep=_at_once, **settings))


def test_a_ticket_that_cannot_be_kept_is_said_in_words_before_anything_is_handed_in():
    Path("batches").write_text("a file in the folder's place")
    with pytest.raises(StoreError, match="cannot write"):
        asyncio.run(FolderJournal(Path("batches")).keep(Ticket(label=LABEL, requests=4, meant_at_s=0.0)))


@both
def test_a_batch_is_handed_in_awaited_and_collected(provider):
    server = BatchServer()
    journal = FolderJournal(Path("batches"))
    told = []

    async def work(service):
        ticket = await hand_in(service, journal, LABEL, REQUESTS)
        progress = await wait_for(service, ticket, tell=told.append, sleep=_at_once)
        return ticket, progress, [answered async for answered in service.answers(ticket)]

    with serving(server.handle) as http:
        ticket, progress, answers = asyncio.run(work(service_at(http.url, provider)))
    assert (ticket.batch, server.submitted) == ("batch_1", 1)
    assert (progress.is_over, progress.answered) == (True, 2)
    assert len(told) == 1
    by_index = {answered.index: answered for answered in answers}
    assert sorted(by_index) == [0, 1, 2, 3]
    assert by_index[0].completion.text == "Voilà, 42 ✓"
    assert by_index[0].completion.usage.input_tokens == 1000
    assert by_index[0].completion.timing is None
    assert (by_index[2].failure.kind, "too long" in by_index[2].failure.message) == ("rejected", True)
    assert by_index[3].failure.kind == "provider"
    sent = json.dumps([entry for batch in server.batches.values() for entry in batch["entries"]])
    assert '"stream"' not in sent
    assert "Q3" in sent
    assert {path.stat().st_mode & 0o077 for path in Path("batches").iterdir()} == {0}


@both
def test_handing_in_again_gives_the_same_batch(provider):
    server, journal = BatchServer(), FolderJournal(Path("batches"))
    with serving(server.handle) as http:
        first = go(service_at(http.url, provider), journal)
        assert go(service_at(http.url, provider), FolderJournal(Path("batches"))) == first
    assert server.submitted == 1


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
sys.path.insert(0, {here!r})
from test_batches import LABEL, REQUESTS, service_at
from steelyard.providers.batches import FolderJournal, hand_in, wait_for
async def main():
    service = service_at({url!r}, {provider!r})
    ticket = await hand_in(service, FolderJournal(Path("batches")), LABEL, REQUESTS)
    print("handed in", flush=True)
    await wait_for(service, ticket)
asyncio.run(main())
"""


def killed(http, server, provider, *, before_the_reply):
    """A process that is killed when the service has taken its batch: before it hears so, or before it polls."""
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here.parent), here=str(here), url=http.url, provider=provider)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    if before_the_reply:
        until = time.monotonic() + 30
        while not server.submitted and time.monotonic() < until:
            time.sleep(0.01)
    else:
        assert process.stdout.readline() == "handed in\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert server.submitted == 1


@both
@pytest.mark.parametrize("before_the_reply", [True, False])
def test_a_kill_between_submission_and_poll_leads_to_no_second_submission(provider, before_the_reply):
    server = BatchServer(hang=before_the_reply)
    with serving(server.handle) as http:
        killed(http, server, provider, before_the_reply=before_the_reply)
        kept = FolderJournal(Path("batches")).ticket(LABEL)
        assert (kept.batch is None) == before_the_reply
        ticket = go(service_at(http.url, provider), FolderJournal(Path("batches")))
        again = go(service_at(http.url, provider), FolderJournal(Path("batches")))
    assert ticket == again
    assert (ticket.batch, server.submitted) == ("batch_1", 1)


@both
def test_a_batch_that_is_listed_late_is_waited_for(provider):
    server = BatchServer(listed=False)
    journal = FolderJournal(Path("batches"))
    waits = []

    async def lists_it_then(seconds):
        waits.append(seconds)
        server.listed = True

    with serving(server.handle) as http:
        service = service_at(http.url, provider)
        go(service, journal)
        asyncio.run(
            journal.keep(Ticket(label=LABEL, requests=4, meant_at_s=time.time()))
        )  # as if killed before its name
        ticket = asyncio.run(hand_in(service, journal, LABEL, REQUESTS, sleep=lists_it_then))
    assert waits == [60.0]
    assert (ticket.batch, server.submitted) == ("batch_1", 1)


@both
def test_one_that_was_never_taken_is_handed_in_after_it_could_have_been_listed(provider):
    server, journal = BatchServer(), FolderJournal(Path("batches"))
    asyncio.run(journal.keep(Ticket(label=LABEL, requests=4, meant_at_s=time.time())))
    slept.clear()
    with serving(server.handle) as http:
        ticket = go(service_at(http.url, provider), journal)
    assert slept == [60.0]
    assert (ticket.batch, server.submitted) == ("batch_1", 1)


@both
def test_a_batch_of_somebody_else_is_not_taken_for_ours(provider):
    server, journal = BatchServer(), FolderJournal(Path("batches"))
    other = label_of("another run", "origin", [b"x"])
    with serving(server.handle) as http:
        service = service_at(http.url, provider)
        asyncio.run(hand_in(service, journal, other, REQUESTS))
        server.polls = 2  # it is over, so that its requests' names can be read
        asyncio.run(journal.keep(Ticket(label=LABEL, requests=4, meant_at_s=time.time() - 5)))
        ticket = go(service, journal)
    assert ticket.batch == "batch_2"


@both
def test_a_submission_that_is_refused_is_told_and_may_be_tried_again(provider):
    server, journal = BatchServer(refuses=True), FolderJournal(Path("batches"))
    with serving(server.handle) as http:
        with pytest.raises(ProviderError) as refused:
            go(service_at(http.url, provider), journal)
        server.refuses = False
        ticket = go(service_at(http.url, provider), journal)
    assert refused.value.failure.kind == "quota"
    assert (ticket.batch, server.submitted) == ("batch_1", 1)


class Silent(BatchServer):
    """Takes batches and does not say so: it hangs up, or a gateway before it gives up waiting."""

    gives_up = False

    async def handle(self, request, body, number):
        reply = await super().handle(request, body, number)
        if request.method == "POST" and request.path.endswith("/batches"):
            if self.gives_up:
                return web.Response(status=504)
            request.transport.close()
        return reply


@both
@pytest.mark.parametrize("gives_up", [False, True], ids=["hangs up", "504"])
def test_a_service_that_never_says_that_it_took_a_batch_and_lists_none_is_not_handed_it_in_for_ever(provider, gives_up):
    server, journal = Silent(listed=False), FolderJournal(Path("batches"))
    server.gives_up = gives_up
    with serving(server.handle) as http:
        service = service_at(http.url, provider)
        for _ in range(MOST_UNHEARD):
            with pytest.raises(NoReply):
                go(service, journal)
        with pytest.raises(Unsettled, match="handed in 3 times, no reply came, and the service lists none of them"):
            go(service, journal)
        assert server.submitted == MOST_UNHEARD
        server.listed = True
        assert go(service, journal).batch is not None
    assert server.submitted == MOST_UNHEARD


@both
def test_a_service_that_cannot_be_reached_was_handed_in_nothing(provider):
    server, journal = BatchServer(), FolderJournal(Path("batches"))
    with serving(server.handle) as http:
        url = http.url
    with pytest.raises(ProviderError) as failed:
        go(service_at(url, provider), journal)
    assert not isinstance(failed.value, NoReply)
    assert (journal.ticket(LABEL).unheard, failed.value.failure.was_sent) == (0, False)


def test_a_request_is_known_by_its_batch_and_its_place():
    ticket = Ticket(label=LABEL, requests=4, meant_at_s=0.0)
    assert [index_of(ticket, custom_id(ticket, index)) for index in range(4)] == [0, 1, 2, 3]
    assert len(custom_id(ticket, 99_999)) <= 64
    assert [index_of(ticket, name) for name in (f"{LABEL}-4", "x-1", LABEL, f"{LABEL}--1")] == [None] * 4


def test_a_provider_without_batches_says_so():
    with pytest.raises(UsageError, match="takes no batches"):
        batch_service(ModelSpec(id="m", provider="groq", model="m", base_url="http://h/v1"))


def test_a_ticket_is_kept_where_the_system_opens_no_folders(monkeypatch):
    """As on Windows."""
    opened = os.open

    def only_files(path, *settings):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *settings)

    monkeypatch.setattr(os, "open", only_files)
    journal = FolderJournal(Path("batches"))
    asyncio.run(journal.keep(Ticket(label=LABEL, requests=4, meant_at_s=0.0)))
    assert [path.name for path in Path("batches").iterdir()] == [f"{LABEL}.json"]


class Slow(BatchServer):
    """Sends its results line by line, with ``gap_s`` before each."""

    gap_s = 0.3

    async def handle(self, request, body, number):
        if not request.path.endswith(("/content", "/results")):
            return await super().handle(request, body, number)
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self._results(request.path.removeprefix("/v1")).splitlines(keepends=True):
            await asyncio.sleep(self.gap_s)
            await response.write(line)
        return response


@both
def test_results_may_take_as_long_as_they_go_on_coming(provider, monkeypatch):
    server, journal = Slow(), FolderJournal(Path("batches"))
    monkeypatch.setattr(batch_services, "TIMEOUT", aiohttp.ClientTimeout(total=0.5))
    with serving(server.handle) as http:
        service = service_at(http.url, provider)
        ticket, server.polls = go(service, journal), 2

        async def indices():
            return sorted([answered.index async for answered in service.answers(ticket)])

        assert asyncio.run(indices()) == [0, 1, 2, 3]
        monkeypatch.setattr(batch_services, "FOR_RESULTS", aiohttp.ClientTimeout(sock_read=0.1))
        with pytest.raises(ProviderError) as caught:
            asyncio.run(indices())
    assert caught.value.failure.kind == "timeout"


def test_a_proxy_that_leads_nobody_to_the_service_is_not_waited_for(monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def main():
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
            address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
            monkeypatch.setenv("HTTPS_PROXY", address)
            monkeypatch.setenv("https_proxy", address)
            await service_at("https://model.example/v1", "openai").progress("batch_1")

    with pytest.raises(ProviderError, match="HTTP 407 No") as caught:
        asyncio.run(main())
    assert caught.value.failure.is_permanent


ODD = [None, "odd", [None, "odd"], {"data": [None]}, {"data": "odd"}, {"succeeded": None, "completed": "2"}]


@both
@pytest.mark.parametrize("name", ["request_counts", "errors", "metadata", "created_at"])
@pytest.mark.parametrize("odd", ODD, ids=str)
def test_what_a_service_tells_of_a_batch_in_another_shape_than_agreed_costs_none(provider, name, odd):
    """It is found again, or it is not; nothing breaks on it, and no other than ours is taken for sure."""

    class Odd(BatchServer):
        def _about(self, batch):
            told = super()._about(batch)
            return told | {name: odd} | ({"status": "failed"} if name == "errors" else {})

    server, journal = Odd(), FolderJournal(Path("batches"))
    with serving(server.handle) as http:
        service = service_at(http.url, provider)
        ticket = go(service, journal)
        found = asyncio.run(service.find(ticket, ()))
        progress = asyncio.run(service.progress(ticket.batch))
    is_labelled = provider == "openai"
    assert (
        found is None
        if name == "metadata" and is_labelled
        else (found.batch, found.is_sure) == ("batch_1", is_labelled)
    )
    assert progress.answered in (None, 0, 2)
    if name == "errors" and is_labelled:
        assert progress.failure.message == "the batch was refused: no reason given"


@both
@pytest.mark.parametrize(
    "page", [{"data": None}, {"data": ["odd", None]}, {"data": {"a": 1}, "has_more": True}], ids=str
)
def test_a_list_of_another_shape_than_agreed_holds_no_batch(provider, page):
    assert found_in(provider, page) is None


@both
def test_a_list_without_end_is_read_once(provider):
    made = 4e9 if provider == "openai" else "2096-10-02T07:06:40Z"
    anothers = {"id": "batch_9", "created_at": made, "request_counts": {"processing": 99}}
    assert found_in(provider, {"data": [anothers], "has_more": True}) is None


def found_in(provider, page):
    async def handle(request, body, number):
        return web.json_response(page)

    with serving(handle) as http:
        service = service_at(http.url, provider)
        return asyncio.run(service.find(Ticket(label=LABEL, requests=4, meant_at_s=time.time()), ()))


def test_a_file_whose_name_leads_elsewhere_is_not_asked_for():
    async def handle(request, body, number):
        return web.json_response({"status": "completed", "output_file_id": "../models?x="})

    async def work(url):
        ticket = Ticket(label=LABEL, requests=4, meant_at_s=0.0, batch="batch_1")
        return [answered async for answered in service_at(url, "openai").answers(ticket)]

    with serving(handle) as http:
        with pytest.raises(ProviderError, match="not a name"):
            asyncio.run(work(http.url))
        assert len(http.requests) == 1

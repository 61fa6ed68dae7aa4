"""A store of hostile answers, and the dashboard over it on a real port."""

from __future__ import annotations

import html
import http.client
import re
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import quote

import uvicorn

from steelyard.dashboard.app import access, dashboard
from steelyard.providers.by_hand import request_by_hand
from steelyard.store import NewCall, NewScore
from steelyard.types import (
    Attempt,
    Call,
    CellInfo,
    Completion,
    Estimate,
    Failure,
    Message,
    Prompt,
    Request,
    Sample,
    Score,
    Timing,
    Usage,
)

TOKEN = "a-token-of-the-tests"
COOKIE = "steelyard_test"
PATIENCE_S = 120  # of tests, not of a browser: the machine may do something else meanwhile


def cell_info(**changes):
    fields = {
        "model": "m",
        "benchmark": "quiz",
        "protocol": "p",
        "protocol_version": "1",
        "benchmark_version": "1",
        "kind": "chat",
        "dataset": "quiz",
        "dataset_digest": "d" * 64,
        "prompt_digest": "e" * 64,
        "origin": "here",
        "items": 10,
        "available": 10,
    }
    return CellInfo(**(fields | changes))


def new_call(cell, session, position, *, text="yes", question="what?", name=None, repeat=0, failure=None, at_s=1e9,
             cost_usd=None, attempts=(), model="m", reported=None):  # fmt: skip
    prompt = Prompt(kind="chat", messages=(Message(role="user", content=question),))
    request = Request(model=model, prompt=prompt, repeat=repeat)
    timing = Timing(
        scheduled_ns=0, dispatched_ns=10**8, first_token_ns=3 * 10**8, last_token_ns=9 * 10**8, ended_ns=10**9,
        streamed=True, gaps_ns=(2 * 10**8, 4 * 10**8, 10**8),
    )  # fmt: skip
    completion = Completion(
        text=text,
        stop_reason="stop",
        timing=timing,
        usage=Usage(input_tokens=5, output_tokens=3),
        model_reported=reported,
    )
    item = name or f"quiz/{position}"
    call = Call(
        sample_id=item,
        repeat=repeat,
        request=request,
        digest=request.digest(model, about=str(position)),
        started_at="2026-01-01T00:00:00.000+00:00",
        attempts=attempts,
        completion=None if failure else completion,
        failure=failure,
        failed_after_s=1.5 if failure else None,
        cost_usd=cost_usd,
    )
    sample = Sample(id=item, input=question, target="yes", stratum=f"part {position % 2}")
    return NewCall(cell=cell, session=session, position=position, sample=sample, call=call, started_at_s=at_s,
                   ended_at_s=at_s + 1)  # fmt: skip


def judged(call, value, *, answer="yes", reason=None, cell=None):
    info = cell or cell_info()
    score = Score(value=value, answer=answer, reason=reason)
    return NewScore(call=call, grader=info.protocol, grader_version=info.protocol_version, scores={"accuracy": score})


def estimate(metric, value, *, unit="share", n=10, low=None, high=None):
    return Estimate(metric=metric, value=value, low=low, high=high, level=0.95, n=n, method="given", unit=unit)


def one_run(store, texts, *, name="a run", scores=None, status="done", info=None, **call):
    """A run of one cell that answered each position with its text."""
    info = info or cell_info(items=len(texts), available=len(texts))
    run = store.create_run(name=name, plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    cell = store.add_cell(run.id, info)
    rows = [new_call(cell, session, place, text=text, model=info.model, **call) for place, text in enumerate(texts)]
    ids = store.append_calls(rows)
    values = scores or [1.0] * len(texts)
    store.append_scores(
        [judged(i, value, answer=text, cell=info) for i, value, text in zip(ids, values, texts, strict=True)]
    )
    store.set_summary(cell, [estimate("accuracy", sum(values) / len(values)), *_counts(len(texts))])
    if status != "running":
        store.end_session(session, {})
        store.set_status(run.id, status)
    return store.run(run.id), cell, ids


def _counts(n):
    return [estimate(name, float(n), unit="requests") for name in ("attempted", "answered", "scored")]


REFUSED = Failure(kind="server", message="no", status=500)
TRIED = (Attempt(failure=REFUSED, duration_s=0.2, wait_s=0.5),)


@contextmanager
def served(store, *, token=TOKEN, reveal=False, hosts=(), faults=None, about=lambda evidence: {},
           by_hand=request_by_hand):  # fmt: skip
    """The dashboard on a port of its own; yields the port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    allowed = access("127.0.0.1", allowed_hosts=hosts, token=token, is_open=token is None)
    heard = faults if faults is not None else []
    app = dashboard(store, allowed, about=about, by_hand=by_hand, cookie=COOKIE, reveal=reveal, on_fault=heard.append)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline_s = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline_s:
            time.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Visitor:
    """A browser without a mind of its own: it shows the cookie, and the headers that a test gives it."""

    def __init__(self, port, *, token=TOKEN):
        self.port, self.cookie = port, None
        if token is not None:
            status, headers, _ = self.ask(f"/?token={quote(token)}")
            assert status == 303, status
            self.cookie = headers["set-cookie"].partition(";")[0]

    def ask(self, path, *, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, response.read().decode()
        finally:
            connection.close()

    def page(self, path):
        status, _, text = self.ask(path)
        assert status == 200, (path, status, text[-600:])
        return text

    def send(self, path, body, **headers):
        origin = {"Origin": f"http://127.0.0.1:{self.port}"}
        return self.ask(path, method="POST", body=body, **(origin | headers))


def words(page):
    """The text of a page, a blank between any two pieces of it."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def chips(page):
    """What the outcomes to choose from say, by the address each leads to."""
    row = re.search(r'<nav class="chips".*?</nav>', page, re.S)[0]
    return {
        html.unescape(link): words(text).strip() for link, text in re.findall(r'href="([^"]+)"[^>]*>(.*?)</a>', row)
    }

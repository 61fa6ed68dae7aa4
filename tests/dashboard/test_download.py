"""A file of answers while it is sent: who takes it may be slow or gone, and neither the store nor a page waits."""

import asyncio
import csv
import io
import json
import sqlite3
import threading
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection

from boards import PATIENCE_S, REFUSED, Visitor, new_call, one_run, served

from steelyard.dashboard import download, giving_way
from steelyard.dashboard.giving_way import GivingWay
from steelyard.store.reading import records

LONG = "word " * 10_000
"""Of a hundred such answers more is to be sent than a system keeps for who does not take it."""


def test_a_client_that_stops_taking_a_file_or_leaves_holds_nothing_of_the_store(store, place, monkeypatch):
    monkeypatch.setattr(records, "IN_A_PIECE", 5)
    one_run(store, [LONG] * 100)
    with served(store) as port, ExitStack() as open_still:
        visitor = Visitor(port)
        for number in range(20):
            client = open_still.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)))
            client.request("GET", "/runs/1/answers.csv", headers={"Cookie": visitor.cookie})
            assert client.getresponse().read1(1) == b"r"
            if not number:
                client.close()
        assert "quiz/0" in visitor.page("/runs/1/answers")
        store.tag(store.run("1").id, "written meanwhile")
        assert log_can_be_emptied(place)


def log_can_be_emptied(place):
    """Whether a moment comes, soon, in which nobody reads what is older than the newest."""
    deadline_s = time.monotonic() + 10
    writer = sqlite3.connect(place)
    while (found := writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())[0]:
        if time.monotonic() > deadline_s:
            break
    writer.close()
    return not found[0]


def test_a_file_that_is_read_in_pieces_has_each_record_once(store, monkeypatch):
    run, cell, _ = one_run(store, [f"answer {place}" for place in range(20)])
    session = store.sessions(run.id)[0].id
    again = [new_call(cell, session, place, repeat=repeat, text="again") for place in range(20) for repeat in (1, 2)]
    failed = [new_call(cell, session, place, failure=REFUSED) for place in (*range(20), 20)]
    store.append_calls([*again, *failed])
    for size in (1, 2, 3, 7, 1_000):
        monkeypatch.setattr(records, "IN_A_PIECE", size)
        with served(store) as port:
            lines = Visitor(port).ask("/runs/1/answers.jsonl")[2].splitlines()
        found = [(one["sample"]["id"], one["call"]["repeat"]) for one in map(json.loads, lines)]
        whole = [(f"quiz/{place}", repeat) for place in range(20) for repeat in range(3)]
        assert found == [*whole, ("quiz/20", 0)], size
        assert sum("failure" in one["call"] and bool(one["call"]["failure"]) for one in map(json.loads, lines)) == 1


def test_a_file_begins_before_anything_that_fits_is_found(store, monkeypatch):
    may_read = threading.Event()
    read = type(store).records_in_pieces
    monkeypatch.setattr(
        type(store), "records_in_pieces", lambda *given, **named: may_read.wait(PATIENCE_S) and read(*given, **named)
    )
    one_run(store, ["yes"])
    with served(store) as port:
        client = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        client.request("GET", "/runs/1/answers.csv", headers={"Cookie": Visitor(port).cookie})
        begun = client.getresponse()
        assert begun.readline().startswith(b"run,model,benchmark")
        may_read.set()
        assert b"quiz/0" in begun.read()
        client.close()


def test_a_head_request_says_what_would_come_and_reads_no_answer(store, monkeypatch):
    one_run(store, ["yes"])
    monkeypatch.setattr(download, "blocks", None)
    with served(store) as port:
        status, headers, text = Visitor(port).ask("/runs/1/answers.csv?where=score+%3D+1", method="HEAD")
    assert (status, text) == (200, "")
    assert headers["content-type"] == "text/csv; charset=utf-8"
    assert headers["content-disposition"] == 'attachment; filename="steelyard-run-1-answers.csv"'
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in headers


def test_no_text_of_a_downloaded_table_is_a_formula(store):
    hostile = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", '"=1', "a\r=1+1", "\uff1d1", "a\n=1"]
    one_run(store, hostile)
    with served(store) as port:
        _, _, text = Visitor(port).ask("/runs/1/answers.csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    safe = ["'" + one if place < 6 or place == 8 else one for place, one in enumerate(hostile)]
    assert [row["text"] for row in rows] == safe
    assert [row["answer"] for row in rows] == safe


def test_a_block_waits_for_the_pages_that_are_made_and_no_longer_than_is_fair(monkeypatch):
    giving, order = GivingWay(), []
    page_ends, page_began = threading.Event(), threading.Event()

    def page():
        with giving.page():
            page_began.set()
            page_ends.wait(PATIENCE_S)
            order.append("page")

    def block():
        yield order.append("block") or "a block"

    monkeypatch.setattr(giving_way, "LONGEST_S", PATIENCE_S)
    making = threading.Thread(target=page)
    making.start()
    page_began.wait(PATIENCE_S)
    threading.Timer(0.05, page_ends.set).start()
    assert asyncio.run(giving.next(block())) == "a block"
    making.join()
    assert order == ["page", "block"]
    monkeypatch.setattr(giving_way, "LONGEST_S", 0.01)
    with giving.page():
        assert asyncio.run(giving.next(iter(["another"]))) == "another"

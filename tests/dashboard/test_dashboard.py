"""The dashboard as a whole: odd addresses, what is missing, deleted or locked, search, and faults of ours."""

import sqlite3
from pathlib import Path

import pytest
from boards import Visitor, one_run, served, words


@pytest.mark.anywhere("long")
def test_search_finds_runs_items_and_answers(store):
    one_run(store, ["a needle in it"], name="haystack")
    with served(store) as port:
        visitor = Visitor(port)
        assert "#1 haystack" in visitor.page("/search?q=hayst")
        assert 'href="/item?name=quiz%2F0"' in visitor.page("/search?q=quiz")
        assert "a <mark>needle</mark> in it" in visitor.page("/search?q=NEEDLE")
        nothing = words(visitor.page("/search?q=nowhere"))
        assert "Nothing found for “nowhere” What can be found: a part of" in nothing
        assert "1 answer was looked through." in nothing


def test_a_page_that_needs_a_run_says_in_an_empty_store_how_to_make_one(store):
    with served(store) as port:
        visitor = Visitor(port)
        for path in ("/compare", "/cases", "/money"):
            assert '<a href="/">How to make one</a>' in visitor.page(path), path
        one_run(store, ["yes"])
        assert "How to make one" not in visitor.page("/compare")


ODD_ADDRESSES = [
     ("/runs/9", 404), ("/answers/9", 404), ("/answers/99999999999999999999", 404), ("/item?name=none", 404),
     ("/item", 400), ("/baselines/none", 404), ("/runs/1/answers?state=x", 400), ("/runs/1/answers?after=x", 400),
     ("/runs/1/answers?after=1.2.3.4", 400), ("/runs/1/answers?order=slowest&after=x/y", 400), ("/?after=x", 400),
     ("/?order=x", 400), ("/?start=-1", 400), ("/compare?run=1&run=2&metric=x", 400), ("/compare?run=1&margin=x", 400),
     ("/trends?metric=x", 404), ("/trends?by=x", 400), ("/search?q=a&before=x", 400), ("/none", 404),
     ("/runs/%00", 404), ("/runs/..%2f..%2fetc%2fpasswd", 404), ("/static/0/../../app.py", 404),
     ("/?after=99999999999999999999", 400), ("/runs/1/answers?trail=x,y", 200),
     ("/runs/1/answers?most=99999999999", 200), ("/runs/1/answers?most=-1", 400), ("/?start=9007199254740992", 200),
     ("/runs/%F0%9F%A6%99", 404), ("/item?name=%F0%9F%A6%99", 404), ("/runs/1%2f2", 404), ("/runs/%2e%2e/%2e%2e", 404),
     ("/item?name=%ff%00", 404), ("/runs/1/answers?model=none", 200), ("/cases", 200),
     ("/cases?run=9", 404), ("/cases?run=1&benchmark=x", 400), ("/cases?run=1&shown=x", 400),
     ("/cases?run=1&after=x", 400), ("/cases?run=1&outcome=7.right", 200), ("/cases?run=1&outcome=7.x", 400),
     ("/cases?run=1&outcome=x", 400), ("/cases?run=1&model=none", 200),
     ("/cases?run=1&after=9007199254740992", 200), ("/cases?run=" + ",".join(map(str, range(1, 62))), 400),
]  # fmt: skip


def test_what_is_not_there_is_said_and_no_fault(store):
    one_run(store, ["yes", "no"])
    one_run(store, ["yes", "no"])
    faults = []
    with served(store, faults=faults) as port:
        for path, status in ODD_ADDRESSES:
            found, _, page = Visitor(port).ask(path)
            assert (path, found, faults) == (path, status, [])
            assert "Traceback" not in page


def test_an_empty_store_says_what_to_do_next(store):
    with served(store) as port:
        visitor = Visitor(port)
        assert "steelyard run starter@cloze" in visitor.page("/")
        assert "steelyard run starter@cloze" in visitor.page("/trends")
        assert "no run yet" in visitor.page("/money")
        assert "steelyard baseline set" in visitor.page("/baselines")
        assert "No run fits" in visitor.page("/?model=none")


def test_a_run_that_is_deleted_while_it_is_looked_at_is_missed_and_no_fault(store):
    one_run(store, ["yes", "no"])
    one_run(store, ["yes", "no"])
    faults = []
    with served(store, faults=faults) as port:
        visitor = Visitor(port)
        for path in ("/runs/1", "/compare?run=1&run=2", "/trends", "/runs/1/answers", "/answers/1"):
            visitor.page(path)
        store.delete(store.run("1").id)
        found = [visitor.ask(path)[0] for path in ("/runs/1", "/runs/1/answers", "/compare?run=1&run=2", "/answers/1")]
        assert found == [404, 404, 404, 404]
        status, _, _ = visitor.send("/runs/1/tag", "tag=x")
        assert status == 404
        for path in ("/", "/trends", "/money", "/search?q=yes", "/item?name=quiz/0"):
            visitor.page(path)
    assert faults == []


def test_a_store_that_is_locked_is_read_all_the_same(store):
    one_run(store, ["yes", "no"])
    lock = sqlite3.connect(store.location, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        with served(store) as port:
            assert "yes" in Visitor(port).page("/answers/1")
    finally:
        lock.close()


def test_a_store_that_is_removed_while_it_is_looked_at_is_missed_and_not_made_again(store):
    one_run(store, ["yes", "no"])
    faults, place = [], Path(store.location)
    with served(store, faults=faults) as port:
        visitor = Visitor(port)
        visitor.page("/")
        place.rename(place.with_suffix(".away"))
        for path in ("/", "/runs/1", "/answers/1", "/search?q=x"):
            status, _, page = visitor.ask(path)
            assert (status, "is not there any more" in page) == (500, True)
        assert not place.exists()
        place.with_suffix(".away").rename(place)
        visitor.page("/runs/1")
    assert faults == []


def test_head_says_what_get_would_and_sends_no_page(store):
    one_run(store, ["yes"])
    with served(store) as port:
        visitor = Visitor(port)
        for path in ("/", "/runs/1", "/answers/1"):
            status, headers, body = visitor.ask(path, method="HEAD")
            assert (status, body) == (200, "")
            assert "default-src 'none'" in headers["content-security-policy"]
        for path in ("/", "/runs/1", "/answers/1", "/compare"):
            assert visitor.send(path, "a=b")[0] == 405
        for path in ("/runs/1/name", "/runs/1/tag"):
            assert visitor.ask(path)[0] == 405


def test_a_fault_of_ours_is_told_where_it_is_served_and_not_on_the_page(store, monkeypatch):
    one_run(store, ["yes"])

    def broken(*_, **__):
        raise RuntimeError("at /home/somebody")

    monkeypatch.setattr(store.pages, "runs", broken)
    faults = []
    with served(store, faults=faults) as port:
        status, _, page = Visitor(port).ask("/")
    assert status == 500
    assert "somebody" not in page
    assert "RuntimeError: at /home/somebody" in faults[0]

"""What takes a while is made while its page is open, once, and is there for whoever waited."""

import threading
import time
from types import SimpleNamespace

import pytest
from boards import PATIENCE_S, Visitor, chips, judged, new_call, one_run, served, words

from steelyard.dashboard import answers_page, board, compare_page, trend_pages
from steelyard.errors import UsageError
from steelyard.store.reading import pages


def test_the_outcomes_of_a_large_run_are_counted_while_its_page_is_open(store, monkeypatch):
    large_at(monkeypatch, most=3)
    one_run(store, ["yes"] * 5)
    with served(store) as port:
        visitor = Visitor(port)
        first = visitor.page("/runs/1/answers")
        assert 'data-live="0.5"' in first
        assert chips(first)["/runs/1/answers?state=right"] == "right"
        deadline_s = time.monotonic() + PATIENCE_S
        while 'data-live="0.5"' in (page := visitor.page("/runs/1/answers")):
            assert time.monotonic() < deadline_s
        assert chips(page) == {"/runs/1/answers": "all 5", "/runs/1/answers?state=right": "right 5"}


def large_at(monkeypatch, most):
    """Runs of more answers than that are large, and no page waits for what is made of them."""
    monkeypatch.setattr(board, "MOST_AT_ONCE", most)
    monkeypatch.setattr(trend_pages, "MOST_AT_ONCE", most)
    monkeypatch.setattr(board, "SOON_S", 0.0)


def once_made(visitor, path):
    """The page once what it shows has been made, as a browser that asks again finds it."""
    deadline_s = time.monotonic() + PATIENCE_S
    while 'data-state="making"' in (page := visitor.page(path)) or "done making" in page:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return page


def test_counts_are_waited_for_no_longer_than_the_list_left_time(store, monkeypatch):
    large_at(monkeypatch, most=3)
    monkeypatch.setattr(answers_page, "PARTS_COUNTED_AT_ONCE", 3)
    monkeypatch.setattr(board, "SOON_S", PATIENCE_S)
    monkeypatch.setattr(answers_page, "soon_s", time.monotonic)  # the list takes longer than that
    may_count, counted = threading.Event(), pages.tally_part

    def tally_part(*asked):
        may_count.wait(2)
        return counted(*asked)

    monkeypatch.setattr(pages, "tally_part", tally_part)
    one_run(store, ["yes"] * 5)
    with served(store) as port:
        first = Visitor(port).page("/runs/1/answers?stratum=part+0")
        may_count.set()
    assert 'data-live="0.5"' in first


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/compare?run=1&run=2", "inconclusive"),
        ("/trends", "accuracy of m on quiz@p"),
        ("/runs/1/provenance", "plan_digest"),
    ],
)
def test_what_is_made_of_a_large_run_is_on_its_way_at_the_first_look_and_the_same_at_the_end(
    store, monkeypatch, path, shown
):
    for _ in range(2):
        one_run(store, ["right"] * 12, scores=[1.0] * 8 + [0.0] * 4)
    with served(store) as port:
        expected = Visitor(port).page(path)
        assert "goes on by itself" not in expected
    large_at(monkeypatch, 5)
    doors = threading.Event()
    slow = compare_page.load_comparisons
    monkeypatch.setattr(compare_page, "load_comparisons", lambda *given: doors.wait(PATIENCE_S) and slow(*given))
    with served(store) as port:
        visitor = Visitor(port)
        first = visitor.page(path)
        if "compare" in path:
            assert "goes on by itself" in first
            assert '<noscript><meta http-equiv="refresh"' in first
            assert "66.7 %" in words(first)  # each side by itself, as it is kept
        doors.set()
        assert main_part(once_made(visitor, path)) == main_part(expected)
        assert shown in expected


def main_part(page):
    return page.partition("<main")[2]


def test_what_is_refused_of_a_large_run_is_said_when_it_is_known(store, monkeypatch):
    one_run(store, ["right"] * 12)
    large_at(monkeypatch, 5)
    with served(store) as port:
        visitor = Visitor(port)
        deadline_s = time.monotonic() + PATIENCE_S
        while "goes on by itself" in (found := visitor.ask("/compare?run=1"))[2]:
            assert time.monotonic() < deadline_s
        for _ in range(2):
            assert "nothing to compare it with" in found[2]
            assert "goes on by itself" not in found[2]
            found = visitor.ask("/compare?run=1")


def test_what_was_made_of_a_large_run_is_found_by_who_waited_for_it_whatever_is_written_meanwhile(monkeypatch):
    monkeypatch.setattr(board, "SOON_S", PATIENCE_S)
    made = []
    meanwhile = board.Meanwhile()
    assert meanwhile.get("k", 1, lambda: made.append(1) or len(made)) == 1
    assert meanwhile.get("k", 2, lambda: made.append(1) or len(made)) == 1
    monkeypatch.setattr(board, "GOOD_FOR_S", 0.0)
    assert meanwhile.get("k", 1, lambda: made.append(1) or len(made)) == 1
    assert meanwhile.get("k", 2, lambda: made.append(1) or len(made)) == 2


def test_what_is_in_the_making_is_not_begun_again_however_much_else_is_asked_for(monkeypatch):
    monkeypatch.setattr(board, "SOON_S", 0.0)
    meanwhile, may_end, made = board.Meanwhile(), threading.Event(), []

    def make(key):
        return lambda: may_end.wait() and made.append(key)

    before, keys = threading.enumerate(), range(board.MOST_KEPT + 5)
    for key in [*keys, *keys]:
        meanwhile.get(key, 1, make(key))
    may_end.set()
    for thread in set(threading.enumerate()) - set(before):
        thread.join(PATIENCE_S)
    assert sorted(made) == list(keys)


def test_an_error_that_is_shown_again_and_again_holds_on_to_no_page_that_showed_it(monkeypatch):
    monkeypatch.setattr(board, "SOON_S", PATIENCE_S)
    meanwhile = board.Meanwhile()

    def refuse():
        raise UsageError("no")

    def steps():
        with pytest.raises(UsageError) as raised:
            meanwhile.get("k", 1, refuse)
        return [place.name for place in raised.traceback]

    assert steps() == steps()
    assert steps()[-1] == "refuse"


def test_what_was_computed_is_new_when_an_answer_is(store):
    run, cell, _ = one_run(store, ["right"] * 20, scores=[1.0] * 20)
    one_run(store, ["wrong"] * 20, scores=[0.0] * 20)
    with served(store) as port:
        visitor = Visitor(port)
        assert "(n = 20" in words(visitor.page("/compare?run=1+2")) or "n = 20" in words(
            visitor.page("/compare?run=1+2")
        )
        session = store.sessions(run.id)[0].id
        (number,) = store.append_calls([new_call(cell, session, 0, text="again")])
        store.append_scores([judged(number, 0.0)])
        assert "19 better with" in words(visitor.page("/compare?run=1+2"))


def test_what_was_asked_for_last_is_made_first_and_what_was_left_is_not_made(monkeypatch):
    monkeypatch.setattr(board, "SOON_S", 0.0)
    now_s = [0.0]
    monkeypatch.setattr(board, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    meanwhile, may_end, began, made = board.Meanwhile(), threading.Event(), threading.Event(), []

    def make(key):
        return lambda: (began.set(), may_end.wait(PATIENCE_S), made.append(key))

    before = threading.enumerate()
    meanwhile.get("in the making", 1, make("in the making"))
    began.wait(PATIENCE_S)
    for key in ("left", "asked again", "asked last"):
        meanwhile.get(key, 1, make(key))
    now_s[0] = board.LEFT_AFTER_S + 1.0
    for key in ("asked again", "asked last"):
        meanwhile.get(key, 1, make(key))
    may_end.set()
    for thread in set(threading.enumerate()) - set(before):
        thread.join(PATIENCE_S)
    assert made == ["in the making", "asked last", "asked again"]

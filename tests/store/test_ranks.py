"""A large cell is put in order by looking through it, as far as there is time, and what is not done yet is said."""

import pytest

from dashboard.boards import REFUSED, cell_info, judged, new_call, one_run
from steelyard.store import Store
from steelyard.store.reading import answer_pages, ranks, rare
from steelyard.store.reading.answer_pages import AnswersWanted


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s.db") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(answer_pages, "MOST_SORTED", 20)
    monkeypatch.setattr(answer_pages, "PATIENCE_S", -1.0)
    monkeypatch.setattr(answer_pages, "FIRST_POSITIONS", 2)
    monkeypatch.setattr(ranks, "IDS_AT_ONCE", 10)
    monkeypatch.setattr(rare, "IDS_AT_ONCE", 10)


def costs(n):
    """Distinct and in no order."""
    return [float((place * 37) % 101) / 100 + 0.01 for place in range(n)]


def dear_run(store, n, *, start=0):
    run, cell, _ = one_run(store, ["first"], info=cell_info(items=n, available=n))
    session = store.sessions(run.id)[0].id
    ids = store.append_calls([new_call(cell, session, place, cost_usd=usd) for place, usd in enumerate(costs(n))])
    store.append_scores([judged(number, float(place % 2)) for place, number in enumerate(ids)])
    return run, cell, session


def listed(store, run, **wanted):
    """All pages, one after another."""
    rows, after = [], ""
    while True:
        page = store.pages.answers(run.id, AnswersWanted(order="dearest", after=after, **wanted))
        rows += page.rows
        if not page.next:
            return rows, page
        after = page.next


@pytest.mark.parametrize("most", [7, 100])
def test_a_large_cell_is_listed_in_the_order_that_the_database_would_give(store, most):
    run, _, _ = dear_run(store, 90)
    rows, page = listed(store, run, most=most)
    assert [row.cost_usd for row in rows] == sorted(costs(90), reverse=True)
    assert page.foremost.is_whole
    assert page.foremost.is_all
    wrong, _ = listed(store, run, most=most, state="wrong")
    assert [row.cost_usd for row in wrong] == sorted(costs(90)[::2], reverse=True)


def test_what_is_not_looked_through_yet_is_said_and_done_when_asked_again(store, monkeypatch):
    run, _, _ = dear_run(store, 90)
    monkeypatch.setattr(answer_pages, "RANKED_WITHIN_S", -1.0)
    wanted = AnswersWanted(order="dearest", most=3)
    pages = [store.pages.answers(run.id, wanted) for _ in range(10)]
    looked_at = [page.foremost.looked_at for page in pages]
    assert looked_at == [10, 20, 30, 40, 50, 60, 70, 80, 90, 91]
    assert [page.foremost.is_whole for page in pages] == [False] * 9 + [True]
    assert [row.cost_usd for row in pages[-1].rows] == sorted(costs(90), reverse=True)[:3]


@pytest.mark.anywhere
def test_answers_that_come_in_later_take_their_places(store):
    run, cell, session = dear_run(store, 60)
    listed(store, run)
    store.append_calls([new_call(cell, session, 60, cost_usd=9.0)])
    rows, _ = listed(store, run)
    assert rows[0].cost_usd == 9.0
    assert len(rows) == 61


def test_only_the_foremost_are_remembered_and_the_list_says_so(store, monkeypatch):
    monkeypatch.setattr(ranks, "FOREMOST", 25)
    run, _, _ = dear_run(store, 90)
    rows, page = listed(store, run)
    assert [row.cost_usd for row in rows] == sorted(costs(90), reverse=True)[:25]
    assert not page.foremost.is_all


def test_numbers_that_are_given_again_after_a_run_was_deleted_mislead_nobody(store):
    first, _, _ = dear_run(store, 60)
    listed(store, first)
    store.delete(first.id)
    second, _, _ = dear_run(store, 30)
    rows, _ = listed(store, second)
    assert [row.cost_usd for row in rows] == sorted(costs(30), reverse=True)


@pytest.mark.anywhere
def test_calls_that_got_the_numbers_of_others_already_looked_through_are_looked_through(store):
    first, cell, session = dear_run(store, 30)
    second, _, _ = dear_run(store, 40)
    for run in (first, second):
        listed(store, run)
    assert store.pages.answers(first.id, AnswersWanted(state="failed")).rows == ()
    store.delete(second.id)
    later = [new_call(cell, session, 30 + place, cost_usd=9.0) for place in range(50)]
    failed = [new_call(cell, session, 80 + place, failure=REFUSED) for place in range(5)]
    store.append_calls([*failed, *later])
    assert [row.cost_usd for row in listed(store, first)[0]] == [9.0] * 50 + sorted(costs(30), reverse=True)
    assert len(store.pages.answers(first.id, AnswersWanted(state="failed")).rows) == 5


def test_the_first_call_of_a_cell_is_that_of_the_run_that_has_its_number_now(store):
    firsts, looked = ranks.Firsts(), []
    for sizes in ((3, 2), (5, 2)):
        runs = [dear_run(store, n) for n in sizes]
        with store._reading() as connection:
            looked.append([firsts.of(connection, "given again", cell) for _, cell, _ in runs])
        for run, _, _ in reversed(runs):
            store.delete(run.id)
    assert looked == [[1, 5], [1, 7]]


def test_a_slow_machine_gets_through_while_more_comes_in_and_remembers_nothing_of_too_many(store, monkeypatch):
    run, cell, session = dear_run(store, 90)
    info, found = store.cells(run.id)[0], []
    looks = rare.Rarities(ranks.Firsts())

    def look():
        with store._reading() as connection:
            return looks.places(connection, run.id, [info], rare.Kind(state="wrong"), deadline_s=-1.0)

    for place in range(90, 130):
        if (found := look()) is not None:
            break
        store.append_scores([judged(number, 0.0) for number in store.append_calls([new_call(cell, session, place)])])
    assert len(found) == 45 + place - 90
    assert len(looks._looks) == 1
    store.append_scores([judged(number, 0.0) for number in store.append_calls([new_call(cell, session, 130)])])
    assert len(look()) == len(found) + 1
    monkeypatch.setattr(rare, "FEW", 20)
    monkeypatch.setattr(rare, "SCORED_FOR_S", -1.0)
    assert [look() for _ in range(9)] == [None] * 9
    (kept,) = looks._looks.values()
    assert (kept.found, kept.are_too_many) == ([], True)

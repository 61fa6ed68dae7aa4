"""Pages over a store: each answer once, in order, the same ones that its records are; bounded in time."""

import random

import pytest
from msgspec.structs import replace
from test_store import cell_info, new_call

from steelyard.errors import UsageError
from steelyard.report.spending import spending
from steelyard.store import NewScore, Store
from steelyard.store.database import schema
from steelyard.store.reading.answer_pages import AnswersWanted
from steelyard.store.reading.conditions import parse_condition
from steelyard.store.reading.pages import RunsWanted
from steelyard.store.reading.states import ANSWER_STATES
from steelyard.types import REFUSED, TRUNCATED, CellSign, Failure, Score, Sign, Spent, Wait

FAILED = Failure(kind="server", message="no", status=500)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s.db") as opened:
        yield opened


def filled(store, *, seed=0, items=40, repeats=3):
    """A run with two cells, tries that were repeated, scores given twice, in an order of no rule."""
    draw = random.Random(seed)
    run = store.create_run(name="filled", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for model in ("a", "b"):
        info = cell_info(model=model, items=items, repeats=repeats)
        cell = store.add_cell(run.id, info)
        asked = [(place, repeat) for place in range(items) for repeat in range(repeats)]
        draw.shuffle(asked)
        calls, judged = [], []
        for place, repeat in asked:
            for _ in range(draw.choice([0, 0, 0, 1, 2])):
                calls.append(new_call(cell, session, place, repeat=repeat, failure=FAILED))
            failure = draw.choice([None, None, None, None, FAILED])
            text = draw.choice(["yes", "no", "a needle"])
            calls.append(new_call(cell, session, place, repeat=repeat, failure=failure, text=text))
            for _ in range(draw.choice([0, 1, 1, 1, 2])):
                score = Score(value=draw.choice([0.0, 0.5, 1.0, None]), answer=draw.choice(["x", None]))
                judged.append((len(calls) - 1, {"accuracy": score}))
        ids = store.append_calls(calls)
        store.append_scores(
            [NewScore(call=ids[at], grader="p", grader_version="1", scores=scores) for at, scores in judged]
        )
    return run


def listed(store, run, **wanted):
    """Every row, page after page."""
    rows, after = [], ""
    for _ in range(2_000):
        page = store.pages.answers(run.id, AnswersWanted(after=after, **wanted))
        rows += page.rows
        after = page.next
        if not after:
            return rows
    raise AssertionError("the pages never end")


def key(record):
    return (record.model, record.sample.id, record.call.repeat)


@pytest.mark.anywhere("long")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("most", "within_s"), [(50, 5.0), (7, 5.0), (1, 5.0), (50, 0.0), (3, 0.0)])
def test_every_answer_that_counts_is_listed_once_in_order(store, seed, most, within_s):
    run = filled(store, seed=seed, items=20, repeats=2)
    models = {info.id: info.model for info in store.cells(run.id)}
    rows = listed(store, run, most=most, within_s=within_s)
    assert [(models[row.cell], row.item, row.repeat) for row in rows] == [key(one) for one in store.records(run.id)]


@pytest.mark.anywhere("long")
@pytest.mark.parametrize("patience_s", [5.0, -1.0], ids=["in order", "as they lie"])
@pytest.mark.parametrize("state", ANSWER_STATES)
def test_a_state_holds_the_answers_that_are_in_it(store, monkeypatch, state, patience_s):
    monkeypatch.setattr("steelyard.store.reading.answer_pages.PATIENCE_S", patience_s)
    monkeypatch.setattr("steelyard.store.reading.answer_pages.FIRST_POSITIONS", 2)
    monkeypatch.setattr("steelyard.store.reading.rare.IDS_AT_ONCE", 7)
    run = filled(store)
    models = {info.id: info.model for info in store.cells(run.id)}

    def fits(record):
        score = record.scores.get("accuracy")
        value = None if score is None else score.value
        completion = record.call.completion
        return {
            "right": value == 1.0,
            "wrong": value is not None and value < 1.0,
            "unparsed": value is not None and score.answer is None,
            "failed": record.call.failure is not None,
            "unscored": record.call.failure is None and value is None,
            "refused": completion is not None and completion.stop_reason in REFUSED,
            "truncated": completion is not None and completion.stop_reason in TRUNCATED,
            "reused": completion is not None and completion.cached,
            "resent": bool(record.call.attempts),
        }[state]

    rows = listed(store, run, state=state, most=9, within_s=5.0)
    found = {(models[row.cell], row.item, row.repeat) for row in rows}
    assert len(found) == len(rows)
    assert found == {key(record) for record in store.records(run.id) if fits(record)}


def test_the_records_of_an_item_and_of_one_of_its_repeats_are_those_of_the_run(store):
    run = filled(store, items=6, repeats=3)
    every = list(store.records(run.id))
    item = every[4].sample.id
    own = [key(one) for one in every if one.sample.id == item]
    assert [key(one) for one in store.records(run.id, sample_id=item)] == own
    assert [key(one) for one in store.records(run.id, sample_id=item, repeat=1)] == [one for one in own if one[2] == 1]
    assert list(store.records(run.id, sample_id="no such item")) == []


def test_only_the_names_that_are_asked_for_are_read(store):
    run = filled(store, items=6)
    cell = store.cells(run.id)[0].id
    names = store.names(cell)
    assert store.names(cell, [4, 2]) == {place: names[place] for place in (2, 4)}


@pytest.mark.parametrize("within_s", [5.0, 0.0])
def test_a_search_that_is_cut_goes_on_where_it_ended(store, within_s):
    run = filled(store)
    rows = listed(store, run, text="NEEDLE", within_s=within_s, most=10)
    texts = [one.call.completion.text for one in store.records(run.id) if one.call.completion]
    assert len(rows) == texts.count("a needle") > 10


@pytest.mark.anywhere("long")
def test_an_order_by_a_figure_misses_none_of_a_tie(store):
    run = filled(store)
    cell = store.cells(run.id)[0].id
    rows = listed(store, run, cells=(cell,), order="longest", most=7)
    assert len(rows) == len({row.id for row in rows})
    known = [one for one in store.records(run.id, cell=cell) if one.call.completion]
    assert len(rows) == len(known)
    with pytest.raises(UsageError, match="one model and benchmark"):
        store.pages.answers(run.id, AnswersWanted(order="longest"))


@pytest.mark.anywhere
def test_runs_are_paged_in_every_order_while_new_ones_come(store):
    for place in range(12):
        store.create_run(name=f"n{place % 3}", plan={}, plan_digest="0" * 64)
    for order in ("newest", "oldest", "name"):
        seen, after = [], ""
        while True:
            page = store.pages.runs(RunsWanted(order=order, after=after), most=5)
            seen += [run.info.number for run in page.runs if run.info.number <= 12]
            store.create_run(name="~late", plan={}, plan_digest="0" * 64)
            after = page.next
            if not after:
                break
        assert sorted(seen) == list(range(1, 13))


def test_a_status_is_the_true_one(store):
    done = store.create_run(name="done", plan={}, plan_digest="0" * 64)
    store.set_status(done.id, "done")
    alive = store.create_run(name="alive", plan={}, plan_digest="0" * 64)
    store.begin_session(alive.id, {})
    for status, name in (("done", "done"), ("running", "alive")):
        assert [run.info.name for run in store.pages.runs(RunsWanted(status=status)).runs] == [name]


@pytest.mark.anywhere
def test_progress_counts_items_once_however_often_they_were_tried(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    cell = store.add_cell(run.id, cell_info(items=4))
    store.append_calls([new_call(cell, session, 0, failure=FAILED, at_s=10.0) for _ in range(3)])
    store.append_calls([new_call(cell, session, place, cost_usd=0.5, at_s=20.0 + place) for place in range(2)])
    found = store.progress(run.id)
    assert (found.done, found.planned, found.spent_usd) == (2, 4, 1.0)
    assert found.failed == {"server": 3}
    assert found.rate == pytest.approx(4 / 11)
    assert found.remaining_s == pytest.approx(2 / found.rate)
    assert (found.cells[0].failed, found.cells[0].retried, found.retried) == (3, 0, 0)


def test_what_a_killed_session_left_in_doubt_counts_when_the_run_goes_on(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    store.signs.keep(store.begin_session(run.id, {}), Sign(told_s=40.0, doubtful_usd=0.25))
    store.begin_session(run.id, {})
    assert store.budget.spent_of_run(run.id) == store.progress(run.id).doubtful_usd == 0.25


def test_what_a_killed_session_told_last_of_its_doubt_is_in_doubt_and_not_spent(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    store.signs.keep(store.begin_session(run.id, {}), Sign(told_s=40.0, doubtful_usd=0.25, doubtful_tries=2))
    found = spending(store, run, [])
    assert (found.spent_usd, found.doubtful_usd, found.doubtful_tries) == (0.0, 0.25, 2)


@pytest.mark.anywhere
def test_why_a_model_waits_is_told_while_its_session_goes_on_and_not_after(store, monkeypatch):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    limited, gone, looking = (
        store.add_cell(run.id, cell_info(model=name, items=100)) for name in ("limited", "gone", "looking")
    )
    store.append_calls([new_call(limited, session, place, cost_usd=0.5, at_s=10.0 + place) for place in range(10)])
    for cell in (gone, looking):
        store.append_calls([new_call(cell, session, place, at_s=10.0 + place) for place in range(10)])
    limit, service = Wait(why="rate", n=3, for_s=9.0), Wait(why="service", n=4)
    cells = (
        CellSign(cell=limited, failed=2, waits=(limit,)),
        CellSign(cell=gone, waits=(service,)),
        CellSign(cell=looking, waits=(Wait(why="look"),)),
    )
    store.signs.keep(session, Sign(told_s=40.0, cells=cells, doubtful_usd=0.25))
    found = store.progress(run.id)
    assert [one.sign.waits[0].words(since_s=2.0) for one in found.cells] == [
        "3 waiting for the rate limit, 7 s",
        "4 waiting for the service to come back",
        "waiting for a look",
    ]
    assert [(one.spent_usd, one.failed) for one in found.cells] == [(5.0, 2), (None, 0), (None, 0)]
    assert (found.spent_usd, found.doubtful_usd, found.forecast_usd) == (5.25, 0.25, 50.25)
    assert found.cells[0].rate == pytest.approx(9 / 29), "while nothing comes the pace sinks"
    told = found.sign
    assert (found.cells[1].remaining_s, found.remaining_s) == (None, None), "nobody knows when a service comes back"
    assert found.cells[2].remaining_s is None, "nor when others have come as far"
    with monkeypatch.context() as elsewhere:  # where a run was deleted another one's session gets its number
        elsewhere.setattr("os.getpid", lambda: 1)
        store.signs.keep(session, Sign(told_s=41.0))
        store.end_session(session, {})
    assert (store.progress(run.id).sign, store.sessions(run.id)[0].ended_at) == (told, None)
    for damage in (b'{"told_s":', b'{"told_s":1,"messages":["\xff"]}'):
        with store._writing() as connection:
            connection.execute(schema.sessions.update().values(sign=damage))
        assert store.progress(run.id).sign is None
    store.end_session(session, {})
    store.signs.keep(session, Sign(told_s=41.0))  # a thread that comes late
    assert store.progress(run.id).sign is None


def test_a_forecast_takes_the_price_of_what_was_paid_for_and_not_of_what_was_reused(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    reused, local = (store.add_cell(run.id, cell_info(model=name, items=100)) for name in ("reused", "local"))

    def again(place):
        new = new_call(reused, session, place, cost_usd=0.0)
        completion = replace(new.call.completion, cached=True)
        return replace(new, call=replace(new.call, completion=completion), saved_usd=0.01)

    ids = store.append_calls([new_call(local, session, place) for place in range(10)])
    judged = Score(value=1.0, spent=Spent(calls=1, cost_usd=0.1))
    store.append_scores([NewScore(call=one, grader="p", grader_version="1", scores={"a": judged}) for one in ids])
    store.append_calls([*map(again, range(90)), new_call(reused, session, 90, failure=FAILED)])
    assert store.progress(run.id).forecast_usd is None, "no answer of one model was paid for yet"
    store.append_calls([new_call(reused, session, place, cost_usd=0.5) for place in (91, 92)])
    assert store.progress(run.id).forecast_usd == pytest.approx(1.0 + 7 * 0.5 + 100 * 0.1)


def test_a_run_lasts_as_long_as_its_slowest_model(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    quick, slow = (store.add_cell(run.id, cell_info(model=name, items=100)) for name in ("quick", "slow"))
    store.append_calls([new_call(quick, session, place, at_s=10.0 + place / 10) for place in range(90)])
    assert store.progress(run.id).remaining_s is None, "nobody knows how long a model takes that answered nothing yet"
    store.append_calls([new_call(slow, session, place, at_s=10.0 + place) for place in range(10)])
    found = store.progress(run.id)
    assert found.remaining_s == pytest.approx(90)
    assert [one.remaining_s for one in found.cells] == [pytest.approx(1), pytest.approx(90)]


def test_progress_of_nothing_is_nothing(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    found = store.progress(run.id)
    assert (found.done, found.rate, found.remaining_s, found.ended_s) == (0, None, None, None)


@pytest.mark.anywhere
def test_an_items_history_goes_back_over_runs_page_by_page(store):
    for _ in range(3):
        filled(store, items=2, repeats=2)
    seen, before = [], 0
    while True:
        page = store.history.item("quiz/1", before=before, most=5)
        seen += [one.id for one in page.answers]
        before = page.next
        if not before:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert {one.run.number for one in map(store.history.call, seen)} == {1, 2, 3}
    assert (page.before, page.after) == ("quiz/0", None)
    assert store.history.item("quiz/9") is None
    assert store.history.call(10**9) is None


@pytest.mark.anywhere("long")
def test_one_try_of_several_counts(store):
    run = filled(store)
    counting = {row.id for row in listed(store, run)}
    for number in range(1, max(counting) + 1, 7):
        found = store.history.call(number)
        assert found.counts == (number in counting)
        assert found.tries.count(number) == 1


@pytest.mark.anywhere("long")
def test_a_search_over_all_runs_goes_back_to_the_first_answer(store):
    filled(store)
    filled(store, seed=1)
    seen, before = [], 0
    while True:
        found = store.history.search("needle", before=before, most=7, within_s=0.0)
        seen += [one.id for one in found.answers]
        before = found.next
        if not before:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert {store.history.call(number).run.number for number in seen} == {1, 2}


def test_an_answer_that_is_kept_as_its_place_in_the_reply_is_shown_whole(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    cell = store.add_cell(run.id, cell_info())
    long = "an answer of many words that stands in the reply to the letter"
    reply = f"So: {long}."
    (call,) = store.append_calls([new_call(cell, store.begin_session(run.id, {}), 0, text=reply)])
    score = {"accuracy": Score(value=1.0, answer=long)}
    store.append_scores([NewScore(call=call, grader="p", grader_version="1", scores=score, reply=reply)])
    assert [row.answer for row in listed(store, run)] == [long]
    found = store.history.call(call)
    assert (found.headline.answer, found.judgements[0].score.answer) == (long, long)


@pytest.mark.anywhere
@pytest.mark.parametrize("is_dense", [True, False])
def test_a_tally_counts_what_the_lists_hold(store, monkeypatch, is_dense):
    monkeypatch.setattr("steelyard.store.reading.cell_calls.SPARSE", 4 if is_dense else 0)
    run = filled(store)
    cells = store.cells(run.id)
    for some in (cells, cells[:1], []):
        numbers = tuple(info.id for info in some)
        found = {state: len(listed(store, run, state=state, cells=numbers, within_s=5.0)) for state in ANSWER_STATES}
        every = len(listed(store, run, cells=numbers, within_s=5.0))
        assert store.pages.tally(some) == {"all": every, **found}


def test_an_answer_cut_off_is_truncated_by_whichever_word_the_service_has_for_it(store):
    run = store.create_run(name="cut", plan={}, plan_digest="0" * 64)
    cell = store.add_cell(run.id, cell_info(items=3))
    calls = [new_call(cell, store.begin_session(run.id, {}), place) for place in range(3)]
    for place, word in enumerate(("length", "max_tokens", "stop")):
        completion = replace(calls[place].call.completion, stop_reason=word)
        calls[place] = replace(calls[place], call=replace(calls[place].call, completion=completion))
    store.append_calls(calls)
    assert [row.item for row in listed(store, run, state="truncated")] == ["quiz/0", "quiz/1"]


@pytest.mark.anywhere
@pytest.mark.parametrize("where", ["", "score < 1 or outcome = failed"])
def test_a_tally_of_a_part_counts_what_its_lists_hold(store, where):
    run = filled(store)
    cells, condition = store.cells(run.id), parse_condition(where)
    strata = store.pages.strata(cells[0].id)
    assert len(strata) > 1
    for stratum, some in ((strata[0], cells), ("", cells[:1])):
        wanted = AnswersWanted(stratum=stratum, where=condition)
        same = {"stratum": stratum, "where": condition, "cells": tuple(info.id for info in some), "within_s": 5.0}
        found = {state: len(listed(store, run, state=state, **same)) for state in ANSWER_STATES}
        assert store.pages.tally_part(some, wanted) == {"all": len(listed(store, run, **same)), **found}
    for state in ("", "wrong"):
        same = {"state": state, "where": condition, "cells": (cells[0].id,), "within_s": 5.0}
        found = {name: len(listed(store, run, stratum=name, **same)) for name in strata}
        wanted = AnswersWanted(state=state, where=condition)
        assert store.pages.tally_strata(cells[0], wanted) == {name: n for name, n in found.items() if n}

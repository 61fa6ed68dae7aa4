"""Filters: what is written is understood as a record would be read, or refused with its place; nothing else happens."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import cell_info, new_call

from steelyard.errors import UsageError
from steelyard.store import NewScore, Store
from steelyard.store.reading import answer_pages, rare
from steelyard.store.reading.answer_pages import AnswersWanted
from steelyard.store.reading.conditions import (
    FIGURES,
    KEYWORDS,
    MOST,
    NAMES,
    SIGNS_OF_FIGURES,
    AllOf,
    AnyOf,
    Compared,
    Not,
    Unknown,
    parse_condition,
    told,
)
from steelyard.store.reading.states import ANSWER_STATES
from steelyard.types import Failure, Score

ODD = ("~", "(", ")", "unknown", "none", "1", "-2.5e3", '"', "'", "%", ";", "--", "right", "\x00", "\u202e", "=1", "\n")
PIECES = (*NAMES, *KEYWORDS, *SIGNS_OF_FIGURES, *ODD)


def test_and_binds_closer_than_or_and_not_closest():
    one, two, three = (Compared(name="tries", sign=">", value=float(n)) for n in (1, 2, 3))
    found = parse_condition("not tries > 1 and tries > 2 or tries > 3")
    assert found == AnyOf(parts=(AllOf(parts=(Not(one=one), two)), three))
    assert parse_condition("NOT (tries>1 AND (tries > 2 Or tries>3))") == Not(
        one=AllOf(parts=(one, AnyOf(parts=(two, three))))
    )


def test_words_stand_with_or_without_quotes_and_a_keyword_in_quotes_is_a_word():
    assert parse_condition("model = org/name-1.5:free") == Compared(name="model", sign="=", value="org/name-1.5:free")
    assert parse_condition("model == 'and' ") == Compared(name="model", sign="=", value="and")
    assert parse_condition('failure is none or item ~ "a b"') == AnyOf(
        parts=(Unknown(name="failure"), Compared(name="item", sign="~", value="a b"))
    )


def test_nothing_written_is_no_condition():
    assert parse_condition("") is parse_condition(" \n ") is None


@pytest.mark.parametrize(
    ("text", "told_so"),
    [
        ("latncy_s > 2", "at character 1: 'latncy_s' is no figure of an answer. Did you mean 'latency_s'"),
        ("score < 0.5 latency_s > 2", "at character 13 after 'score < 0.5': 'latency_s' follows"),
        ("score < 2s", "at character 9 after 'score <': score is compared with a number, and '2s' is none"),
        ("score < ", "and nothing came"),
        ("score", "score wants one of = != < <= > >= or “is unknown”, and nothing came"),
        ("model > a", "model wants one of = != ~"),
        ("outcome = rigt", "known: right, wrong"),
        ("outcome ~ right", "outcome wants one of = != or"),
        ("(tries > 1", "a bracket is not closed"),
        ("tries > 1)", "')' follows what is complete"),
        ("tries > 1 and", "a comparison is missing. For example: score < 0.5"),
        ("tries > 1; drop table calls", "at character 10 after 'tries > 1': ';' cannot stand here"),
        ('item = "open', "'\"' cannot stand here"),
        ("model = and", "'and' is none"),
        ("outcome is unknown", "outcome “is” nothing of the kind. Try: outcome ="),
        ("cost_usd is cheap", "Try: cost_usd is unknown"),
        ("tries > 1e400", "compared with a number"),
        ("(" * 50 + "tries > 1" + ")" * 50, "more than 8 deep"),
        ("not " * 50 + "tries > 1", "more than 8 deep"),
        (" or ".join(["tries > 1"] * (MOST + 1)), f"at most {MOST} comparisons"),
        ("x" * 301, "at most 300 characters, not 301"),
    ],
)
def test_a_filter_that_is_not_understood_says_where_and_what_to_try(text, told_so):
    with pytest.raises(UsageError) as raised:
        parse_condition(text)
    assert told_so.lower() in str(raised.value).lower()


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join)))
@settings(max_examples=100)
def test_any_text_is_a_condition_or_a_usage_error(text):
    with suppress(UsageError):
        found = parse_condition(text)
        assert found is None or all(one.name in NAMES for one in told(found))


# What fits

FAILED = Failure(kind="server", message="no", status=500)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Two models' answers, some failed, some asked again, some judged twice or not at all."""
    draw = random.Random(3)
    with Store.open(tmp_path_factory.mktemp("conditions") / "s.db") as store:
        run = store.create_run(name="filled", plan={}, plan_digest="0" * 64)
        session = store.begin_session(run.id, {})
        for model in ("a", "model b"):
            cell = store.add_cell(run.id, cell_info(model=model, items=12, repeats=2))
            calls = []
            for place, repeat in [(place, repeat) for place in range(12) for repeat in range(2)]:
                if draw.random() < 0.3:
                    calls.append(new_call(cell, session, place, repeat=repeat, failure=FAILED))
                failure = draw.choice([None, None, None, FAILED])
                calls.append(new_call(cell, session, place, repeat=repeat, failure=failure,
                                      cost_usd=draw.choice([None, 0.0, 0.01, 0.02])))  # fmt: skip
            ids = store.append_calls(calls)
            judged = [number for number in ids for _ in range(draw.choice([0, 1, 1, 2]))]
            scores = [{"accuracy": Score(value=draw.choice([0.0, 0.5, 1.0, None]), answer="x")} for _ in judged]
            pairs = zip(judged, scores, strict=True)
            store.append_scores([NewScore(call=i, grader="p", grader_version="1", scores=one) for i, one in pairs])
        yield store, run


def rows_that_fit(store, run, where):
    rows, after = [], ""
    while True:
        page = store.pages.answers(run.id, AnswersWanted(where=where, after=after, most=40, within_s=5.0))
        rows += page.rows
        after = page.next
        if not after:
            return {row.id for row in rows}


def said(row, cell, name):
    """A figure or a word of a row, as a reader of the page knows it."""
    return {
        "score": row.value,
        "latency_s": row.total_s,
        "cost_usd": row.cost_usd,
        "output_tokens": row.output_tokens,
        "tries": row.tries,
        "repeat": row.repeat,
        "failure": row.failure,
        "stop_reason": row.stop_reason,
        "model": cell.model,
        "benchmark": cell.label,
        "subject": row.sample.stratum,
        "item": row.item,
    }[name]


def is_so(condition, row, cell):
    """``True``, ``False``, or ``None`` where it cannot be told: the logic that is promised, once more."""
    if isinstance(condition, Not):
        found = is_so(condition.one, row, cell)
        return None if found is None else not found
    if isinstance(condition, AllOf | AnyOf):
        found = [is_so(part, row, cell) for part in condition.parts]
        decisive = isinstance(condition, AnyOf)
        return decisive if decisive in found else None if None in found else not decisive
    if condition.name == "outcome":
        value = row.value
        is_it = {
            "right": value is not None and value >= 1,
            "wrong": value is not None and value < 1,
            "failed": row.failure is not None,
            "unscored": row.failure is None and value is None,
            "resent": row.tries > 1,
        }[condition.value]
        return is_it == (condition.sign == "=")
    value = said(row, cell, condition.name)
    if isinstance(condition, Unknown):
        return value is None
    if value is None:
        return None
    other = condition.value
    return {
        "=": lambda: value == other,
        "!=": lambda: value != other,
        "~": lambda: str(other).lower() in str(value).lower(),
        "<": lambda: value < other,
        "<=": lambda: value <= other,
        ">": lambda: value > other,
        ">=": lambda: value >= other,
    }[condition.sign]()


HERE = ("score", "latency_s", "cost_usd", "output_tokens", "tries", "repeat", "failure", "stop_reason", "model",
        "subject", "item", "outcome")  # fmt: skip


OUTCOMES = ("right", "wrong", "failed", "unscored", "resent")


@st.composite
def comparisons(draw):
    name = draw(st.sampled_from(HERE))
    if name == "outcome":
        return f"outcome {draw(st.sampled_from(('=', '!=')))} {draw(st.sampled_from(OUTCOMES))}"
    if name not in ("tries", "repeat", "model", "item") and draw(st.booleans()):
        return f"{name} is {draw(st.sampled_from(('unknown', 'not unknown')))}"
    if name in FIGURES:
        return f"{name} {draw(st.sampled_from(SIGNS_OF_FIGURES))} {draw(st.sampled_from((0, 0.01, 0.5, 1, 2, 3)))}"
    word = draw(st.sampled_from(("a", "model b", "server", "stop", "s1", "S/1", "%", "_", "\\", "x' OR '1'='1")))
    return f'{name} {draw(st.sampled_from(("=", "!=", "~")))} "{word}"'


WRITTEN = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(inner, st.sampled_from(("and", "or")), inner).map(lambda all_: f"({all_[0]}) {all_[1]} ({all_[2]})"),
    ),
    max_leaves=5,
)


def rows_are_those_of_which_it_is_true(filled, monkeypatch, text):
    store, run = filled
    cells = {info.id: info for info in store.cells(run.id)}
    every = store.pages.answers(run.id, AnswersWanted(most=500, within_s=5.0)).rows
    condition = parse_condition(text)
    monkeypatch.setattr(answer_pages, "FIRST_POSITIONS", 2)
    monkeypatch.setattr(rare, "IDS_AT_ONCE", 7)
    found = rows_that_fit(store, run, condition)
    fitting = [row for row in every if is_so(condition, row, cells[row.cell])]
    assert found == {row.id for row in fitting}
    records = [(one.model, one.sample.id, one.call.repeat) for one in store.records(run.id, where=condition)]
    assert records == [(cells[row.cell].model, row.item, row.repeat) for row in fitting]


@pytest.mark.parametrize("patience_s", [5.0, -1.0], ids=["in order", "as they lie"])
@given(text=WRITTEN)
@settings(max_examples=15)
def test_the_answers_that_fit_are_those_of_which_it_is_true(filled, patience_s, text):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answer_pages, "PATIENCE_S", patience_s)
        rows_are_those_of_which_it_is_true(filled, patched, text)


@pytest.mark.parametrize(
    "text",
    [
        "not (outcome = right)",
        "outcome != right",
        "not score > 0.5",
        "not (outcome = right) and score is not unknown",
        "score < 1 and latency_s > 0 and model = a",
        "outcome = failed or score = 1",
        "outcome = failed and score is unknown",
        "item ~ 1 and outcome = wrong",
        "item ~ 1",
        'model ~ "MODEL" and not cost_usd > 0.01',
        "(tries > 1 or repeat = 1) and outcome = right",
    ],
)
def test_what_rows_tell_of_a_filter_by_themselves_leaves_no_answer_out(filled, monkeypatch, text):
    monkeypatch.setattr(answer_pages, "PATIENCE_S", -1.0)
    rows_are_those_of_which_it_is_true(filled, monkeypatch, text)


@pytest.mark.parametrize("state", ANSWER_STATES)
def test_every_outcome_of_a_filter_is_that_of_the_list(filled, state):
    store, run = filled
    listed = store.pages.answers(run.id, AnswersWanted(state=state, most=500, within_s=5.0)).rows
    assert rows_that_fit(store, run, parse_condition(f"outcome = {state}")) == {row.id for row in listed}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_asked_for(filled, name):
    store, run = filled
    known = rows_that_fit(store, run, parse_condition(f"{name} >= -1"))
    if name in ("tries", "repeat"):
        assert len(known) == 48
    else:
        assert known | rows_that_fit(store, run, parse_condition(f"{name} is unknown")) == rows_that_fit(
            store, run, None
        )


@pytest.mark.parametrize("word", ["x' OR '1'='1", "'; DROP TABLE calls; --", "%", "_", "\\"])
def test_a_value_is_a_value_and_no_wildcard(filled, word):
    store, run = filled
    quoted = f'"{word}"'
    for sign in ("=", "~"):
        assert rows_that_fit(store, run, parse_condition(f"item {sign} {quoted} or failure {sign} {quoted}")) == set()
    assert len(rows_that_fit(store, run, None)) == 48

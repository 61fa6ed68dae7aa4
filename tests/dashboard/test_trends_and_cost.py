"""Trends, baselines, and money over time."""

import pytest
from boards import Visitor, cell_info, estimate, one_run, served, words

from steelyard.report.comparing.baselines import SHOWN
from steelyard.store.transfer.snapshots import Snapshot


def test_a_trend_marks_the_runs_that_changed(store):
    for place in range(10):
        good = 0.9 if place < 5 else 0.3
        scores = [float(n < 200 * good) for n in range(200)]
        _run, cell, _ = one_run(store, ["yes"] * 200, scores=scores, name=f"night {place}")
        store.set_summary(cell, [estimate("accuracy", good, n=200, low=good - 0.05, high=good + 0.05)])
    with served(store) as port:
        page = Visitor(port).page("/trends?metric=accuracy")
    assert '<span class="tag regressed">↓ down</span>' in page
    assert '<span class="tag regressed">detected</span>' in page
    assert 'class="band"' in page


@pytest.mark.anywhere("long")
def test_baselines_are_listed_and_shown(store):
    run, _, _ = one_run(store, ["yes"], name="good")
    content = Snapshot(run=run.id, number=run.number, name=run.name, created_at=run.created_at, status="done", cells=())
    store.baselines.set("main", content, note="<i>why</i>")
    with served(store) as port:
        visitor = Visitor(port)
        assert 'href="/baselines/main@1"' in visitor.page("/baselines")
        page = visitor.page("/baselines/main@1")
    assert "&lt;i&gt;why" in page
    assert all(metric in page for metric in SHOWN)


def test_what_should_be_known_of_a_trend_stands_beside_it(store):
    for place, scored in enumerate((200, 150)):
        _run, cell, _ = one_run(store, ["yes"] * 200, scores=[1.0] * 200, name=f"night {place}")
        counts = [estimate(name, n, unit="requests") for name, n in (("attempted", 200), ("scored", scored))]
        store.set_summary(cell, [estimate("accuracy", 1.0, n=scored, low=0.97, high=1.0), *counts])
    with served(store) as port:
        assert "run #2: 50 of 200 requests failed" in words(Visitor(port).page("/trends?metric=accuracy"))


def test_money_is_summed_by_day_and_model_and_the_unknown_stays_unknown(store):
    for name, cost in (("a", 1.5), ("b", 0.25), ("c", None)):
        _, cell, _ = one_run(store, ["yes"], info=cell_info(model=name, items=1))
        found = [estimate("answered", 1.0, unit="requests"), estimate("cost.total", cost, unit="USD")]
        store.set_summary(cell, found)
    with served(store) as port:
        page = words(Visitor(port).page("/money"))
    assert "at least $1.75" in page
    assert "No known price 1 model c" in page
    assert "a: $1.5" in page
    assert "$1.50 1" in page


def test_models_without_a_colour_of_their_own_are_one_grey_part_that_the_page_explains(store):
    run = store.create_run(name="many", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for place in range(10):
        cell = store.add_cell(run.id, cell_info(model=f"m{place}", items=1))
        store.set_summary(cell, [estimate("answered", 1.0, unit="requests"),
                                 estimate("cost.total", 1.0 + place, unit="USD")])  # fmt: skip
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        page = Visitor(port).page("/money")
    assert "Grey: 3 others" in page
    assert page.count('class="key others"') == 3
    assert page.count('<g class="others">') == 2  # for a wide place and for a narrow one
    assert "$55.00" in page

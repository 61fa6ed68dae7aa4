"""The list of runs, and the page of a run: on its way and ended, where it comes from and what it leads to."""

import re
import time

import pytest
from boards import REFUSED, Visitor, cell_info, estimate, judged, new_call, one_run, served, words

from steelyard.analysis.order import permutation
from steelyard.dashboard.rendering import linked
from steelyard.types import Failure


def test_the_list_has_every_run_and_leads_to_it(store):
    one_run(store, ["yes", "no"], scores=[1.0, 0.0], name="first")
    one_run(store, ["yes"], name="second")
    with served(store) as port:
        page = Visitor(port).page("/")
    assert page.index("second") < page.index("first")
    assert 'href="/runs/1"' in page
    assert "50.0 %" in page


def test_the_list_tells_of_a_run_on_its_way_how_far_it_is_and_counts_no_guesses(store):
    run, cell, _ = one_run(store, ["yes"] * 9, status="running", info=cell_info(items=40), cost_usd=0.01)
    floor = store.add_cell(run.id, cell_info(model="baseline/random", items=40, is_floor=True))
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, 9, failure=REFUSED), new_call(floor, session, 0)])
    with served(store) as port:
        shown = words(Visitor(port).page("/"))
    assert re.search(r"10 of 40 1 failed +at least \$0\.09", shown)


@pytest.mark.anywhere("long")
def test_the_list_is_filtered_sorted_and_paged_by_its_address(store):
    for place in range(60):
        one_run(store, ["yes", "no"], scores=[1.0, float(place % 2)], name=f"run {place:02}",
                info=cell_info(model=f"model-{place % 3}", items=2))  # fmt: skip
    store.tag(store.run("run 07").id, "blessed")
    with served(store) as port:
        visitor = Visitor(port)
        first = visitor.page("/")
        following = re.search(r'class="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
        names = re.findall(r">(run \d\d)</a>", first) + re.findall(r">(run \d\d)</a>", visitor.page(following))
        assert names == [f"run {place:02}" for place in range(59, -1, -1)]
        assert re.findall(r">(run \d\d)</a>", visitor.page("/?tag=blessed")) == ["run 07"]
        assert re.findall(r">(run \d\d)</a>", visitor.page("/?text=RUN+5&order=name")) == [
            f"run 5{n}" for n in range(10)
        ]
        assert len(re.findall(r">(run \d\d)</a>", visitor.page("/?model=model-1"))) == 20
        best = re.findall(r">(run \d\d)</a>", visitor.page("/?order=score"))
        assert {int(name[-2:]) % 2 for name in best[:30]} == {1}
        assert "No run fits" in visitor.page("/?benchmark=none")
        assert "No run fits" in visitor.page("/?text=%25")  # a sign of LIKE is a sign


@pytest.mark.anywhere
def test_a_run_shows_charts_findings_and_what_it_cost(store):
    _, _, answers = one_run(store, ["yes", "no"] * 20, scores=[1.0, 0.0] * 20)
    store.append_scores([judged(answers[0], 1.0, reason="It says yes.")])
    with served(store, about=lambda evidence: {bench.label: "Asks a quiz." for bench in evidence.benches}) as port:
        page, file = (Visitor(port).page(path) for path in ("/runs/1", "/runs/1/report.html"))
    assert "Asks a quiz." in page
    assert "Asks a quiz." in file
    assert "; It says yes · " in file
    for text in ("Key findings", "Recommendations", "quiz@p", "Latency distribution", "<svg"):
        assert text in page
    assert 'http-equiv="refresh"' not in page


def test_a_run_on_its_way_is_live(store):
    info = cell_info(items=40, available=40)
    run, cell, _ = one_run(store, ["yes"] * 9, status="running", info=info, at_s=time.time(), cost_usd=0.01)
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, 9, failure=REFUSED, at_s=time.time() + 3)])
    with served(store) as port:
        page = Visitor(port).page("/runs/1")
        assert '<noscript><meta http-equiv="refresh"' in page
        assert 'data-live="2"' in page
        shown = words(page)
        assert "10 of 40" in shown
        assert "0.0900 USD" in shown
        assert "1 of the newest 10; 1 server" in shown.replace("Failed 1", "1")
        assert "answers/s" in shown
        store.append_calls(
            [
                new_call(
                    cell,
                    session,
                    10,
                    failure=Failure(kind="rate_limit", message="slow down", status=429),
                    at_s=time.time() + 9,
                )
            ]
        )
        assert re.search(r"Failed last: rate limit .* ago, server ", words(Visitor(port).page("/runs/1")))
        assert "11 of 40" in words(Visitor(port).page("/runs/1"))
        failed = [new_call(cell, session, 11 + i, failure=REFUSED, at_s=time.time() + 60) for i in range(4)]
        store.append_calls(failed)
        last = words(Visitor(port).page("/runs/1")).partition("Failed last:")[2]
    assert re.match(r" server 0 s ago, rate limit ", last), "what failed alike in one moment is said once"


def test_a_live_score_is_of_the_first_items_of_the_order_and_says_of_how_many(store):
    order = permutation(40, count=40, seed=7)
    run = store.create_run(name="on its way", plan={"seed": 7}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(items=40, available=40))
    came_in = [*order[:10], *order[11:14]]  # the eleventh is slow, and all that came in after it was right
    ids = store.append_calls([new_call(cell, session, place, at_s=time.time()) for place in came_in])
    values = [1.0, 0.0] * 5 + [1.0] * 3
    store.append_scores([judged(number, value) for number, value in zip(ids, values, strict=True)])
    with served(store) as port:
        shown = words(Visitor(port).page("/runs/1"))
    assert "50.0 % (23.7 to 76.3)" in shown
    assert "of the first 10 of 40 items" in shown
    assert "provisional" in shown


def test_a_live_score_of_an_unknown_order_says_that_quick_answers_come_first(store):
    info = cell_info(items=40, available=40)
    run, cell, _ = one_run(store, ["yes"] * 9, status="running", info=info, at_s=time.time())
    with served(store) as port:
        visitor = Visitor(port)
        shown = words(visitor.page("/runs/1"))
        assert "of the 9 items answered so far, the quick ones first" in shown
        assert "100.0 %" in shown
        store.end_session(store.sessions(run.id)[0].id, {})
        store.set_status(run.id, "done")
        store.delete(run.id)
        _, same, _ = one_run(store, ["no"] * 9, scores=[0.0] * 9, status="running", info=info, at_s=time.time())
        assert same == cell, "a cell's number is given again"
        shown = words(visitor.page("/runs/2"))
        assert "0.0 %" in shown
        assert "100.0 %" not in shown


def test_every_number_of_a_run_leads_to_the_answers_behind_it(store):
    _, cell, _ = one_run(store, ["yes", "no"] * 20, scores=[1.0, 0.0] * 20, info=cell_info(model="a model", items=40))
    known = store.summary(cell)
    store.set_summary(cell, [*known, estimate("latency.p95", 0.5, unit="s"), estimate("truncated", 0.1)])
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/runs/1").replace("&amp;", "&")
        of_model = "/runs/1/answers?model=a+model&benchmark=quiz%40p"
        assert f'<a href="{of_model}">50.0 %</a>' in page
        assert f'<a href="{of_model}&order=slowest">500 ms</a>' in page
        assert f'<a href="{of_model}&state=truncated">10.0 %</a>' in page
        assert "/answers/1" in visitor.page(of_model)


def test_where_a_warning_names_a_command_that_prints_answers_a_page_has_a_link_to_them():
    bad = "<b>m</b> on q: 9.0 % of the answers were not in the asked form, and count as wrong. Read them: {}"
    found = str(linked(bad.format('steelyard show 12 --where "outcome = unparsed"')))
    assert found.startswith("&lt;b&gt;m&lt;/b&gt; on q: ")
    assert found.endswith('count as wrong. <a href="/runs/12/answers?state=unparsed">Read them</a>')
    undecided = (
        'the judge left 3 of 9 answers without a verdict. Read why: steelyard show 3 --where "outcome = unscored"'
    )
    assert str(linked(undecided)).endswith('/answers?state=unscored">Read why</a>')
    assert "<a" not in linked(bad.format('steelyard show <i> --where "outcome = unparsed"'))


def test_a_warning_of_a_run_leads_to_the_answers_that_it_is_of(store):
    run, cell, _ = one_run(store, ["yes"] * 20)
    counts = [estimate(name, 20.0, unit="requests") for name in ("attempted", "answered", "scored")]
    store.set_summary(cell, [estimate("accuracy", 1.0), *counts, estimate("unparsed", 0.5)])
    with served(store) as port:
        page = Visitor(port).page(f"/runs/{run.number}")
    assert '<a href="/runs/1/answers?state=unparsed">Read them</a>' in page
    assert "steelyard show 1 --where" not in page


def test_where_a_run_comes_from_is_told_without_what_its_plan_leaves_open(store):
    plan = {"seed": 0, "budget_usd": None, "models": [{"id": "m", "temperature": 0.0, "stop": [], "batch": False}]}
    store.create_run(name="planned", plan=plan, plan_digest="0" * 64)
    with served(store) as port:
        page = Visitor(port).page("/runs/1/provenance")
    assert "seed: 0" in page
    assert "temperature: 0.0" in page
    for name in ("budget_usd", "stop:", "batch"):
        assert name not in page


def test_where_a_run_comes_from_stands_in_parts_with_what_was_asked_as_a_table(store):
    one_run(store, ["yes"], info=cell_info(model="a model", items=1))
    with served(store) as port:
        page = Visitor(port).page("/runs/1/provenance")
    table, _, rest = page.partition("</table>")
    assert '<th scope="row">a model</th><td class="names">quiz@p</td>' in table
    assert rest.count('<details class="entry"') == 3
    assert "<summary>a model on quiz@p</summary>" in rest


def test_what_judging_cost_is_in_the_cost_of_a_run(store):
    _run, cell, _ = one_run(store, ["yes"], name="judged")
    amounts = (("cost.total", 0.25), ("judge.cost.total", 1.5))
    store.set_summary(cell, [estimate("answered", 1.0, unit="requests"),
                             *(estimate(name, usd, unit="USD") for name, usd in amounts)])  # fmt: skip
    with served(store) as port:
        assert "$1.75" in Visitor(port).page("/")

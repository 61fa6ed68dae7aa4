"""Every page shows what the store holds, as text, from an address that can be sent."""

import html
import re
import sqlite3
import threading
import time
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from boards import PATIENCE_S, REFUSED, TRIED, Visitor, cell_info, estimate, judged, new_call, one_run, served

from steelyard.analysis.order import permutation
from steelyard.dashboard import board, compare_page, item_pages, trend_pages
from steelyard.dashboard.rendering import linked
from steelyard.errors import UsageError
from steelyard.report.comparing.baselines import SHOWN
from steelyard.store.reading.cases import CasesWanted
from steelyard.store.transfer.snapshots import Snapshot
from steelyard.types import Attempt, Failure, Likelihood

GPQA = {"benchmark": "gpqa", "is_confidential": True}
SECRET = "the secret question"


def words(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


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


def test_a_page_leads_on_and_back(store):
    one_run(store, [f"answer {place}" for place in range(450)])
    with served(store) as port:
        visitor, path, firsts = Visitor(port), "/runs/1/answers", []

        def step(page, name):
            found = re.search(rf'href="([^"]+)" rel="{name}"', page)
            return found and found[1].replace("&amp;", "&")

        def first(page):
            return int(re.search(r">quiz/(\d+)</a>", page)[1])

        while path:
            page = visitor.page(path)
            firsts.append(first(page))
            last, path = path, step(page, "next")
        assert firsts == [0, 100, 200, 300, 400]
        while last:
            page = visitor.page(last)
            assert first(page) == firsts.pop()
            last = step(page, "prev")
        assert firsts == []
        assert len(re.findall(r">quiz/\d+</a>", visitor.page("/runs/1/answers?most=500"))) == 450


@pytest.mark.anywhere
def test_answers_are_found_by_outcome_text_subject_and_order(store):
    texts = [f"answer {place}" for place in range(120)]
    scores = [float(place % 4 > 0) for place in range(120)]
    run, cell, _ = one_run(store, texts, scores=scores)
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, 120, failure=REFUSED, attempts=TRIED)])
    with served(store) as port:
        visitor = Visitor(port)

        def items(path):
            found, place = [], path
            while place:
                page = visitor.page(place)
                found += re.findall(r">(quiz/\d+)</a>", page)
                following = re.search(r'class="next" href="([^"]+)"', page)
                place = following[1].replace("&amp;", "&") if following else None
            return [int(name.partition("/")[2]) for name in found]

        assert items("/runs/1/answers") == list(range(121))
        assert items("/runs/1/answers?state=wrong") == list(range(0, 120, 4))
        assert items("/runs/1/answers?state=failed") == [120]
        assert items("/runs/1/answers?state=resent") == [120]
        assert items("/runs/1/answers?state=unscored") == []
        assert items("/runs/1/answers?stratum=part+1&state=right") == [n for n in range(120) if n % 2]
        assert items("/runs/1/answers?text=ANSWER+11") == [11, *range(110, 120)]
        assert items("/runs/1/answers?text=nowhere") == []
        assert sorted(items("/runs/1/answers?order=longest")) == list(range(120))


def test_answers_are_filtered_by_what_is_written_also_beside_an_answer(store):
    scores = [float(place % 4 > 0) for place in range(20)]
    _, _, ids = one_run(store, ["yes"] * 20, scores=scores, cost_usd=0.02)
    with served(store) as port:
        visitor = Visitor(port)
        where = quote("score < 1 and cost_usd >= 0.02 and not item = quiz/4")
        page = visitor.page(f"/runs/1/answers?where={where}&most=3")
        assert re.findall(r">(quiz/\d+)</a>", page) == ["quiz/0", "quiz/8", "quiz/12"]
        following = re.search(r'class="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
        assert re.findall(r">(quiz/\d+)</a>", visitor.page(following)) == ["quiz/16"]
        answer = visitor.page(re.search(r'href="([^"]+)">quiz/8</a>', page)[1].replace("&amp;", "&"))
        assert re.findall(r'href="/answers/(\d+)[^"]*" rel="(prev|next)"', answer) == [
            (str(ids[0]), "prev"),
            (str(ids[12]), "next"),
        ]


NOT_UNDERSTOOD = ["latncy_s > 2", "1=1; drop table calls", "tries > " + "9" * 200, "x" * 5_000, "(" * 200, "\x00", '"',
                  "item ~"]  # fmt: skip


@pytest.mark.parametrize("where", NOT_UNDERSTOOD, ids=range(len(NOT_UNDERSTOOD)))
def test_a_filter_that_is_not_understood_is_said_in_its_form_and_is_no_fault(store, where):
    _, _, ids = one_run(store, ["yes"])
    faults = []
    with served(store, faults=faults) as port:
        visitor = Visitor(port)
        status, _, page = visitor.ask(f"/runs/1/answers?where={quote(where)}")
        assert status == 400
        assert 'role="alert">Filter' in page
        assert "quiz/0" not in page
        assert visitor.ask(f"/answers/{ids[0]}?where={quote(where[:300])}")[0] == 400
    assert faults == []


def test_the_columns_of_answers_are_those_of_the_address_and_stay_on_the_next_page(store):
    one_run(store, ["yes"] * 5, cost_usd=0.02)
    with served(store) as port:
        visitor = Visitor(port)

        def headings(page):
            return re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', page)

        page = visitor.page("/runs/1/answers")
        assert "show=" not in page
        assert headings(page)[:4] == ["item", "outcome", "read as", "right answer"]
        assert headings(page)[4:] == ["first token", "total", "tokens", "cost", "stopped by"]
        page = visitor.page("/runs/1/answers?show=cost_usd&show=subject&show=nonsense&most=2&state=right")
        assert headings(page) == ["item", "outcome", "subject", "cost"]
        assert re.findall(r'name="show" value="(\w+)" checked', page) == ["subject", "cost_usd"]
        following = re.search(r'class="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
        assert headings(visitor.page(following)) == ["item", "outcome", "subject", "cost"]


def test_an_item_has_its_history_over_runs_and_models(store):
    one_run(store, ["three"], info=cell_info(items=1), name="old")
    one_run(store, ["four"], info=cell_info(items=1, model="other"), name="new", scores=[0.0], attempts=TRIED)
    one_run(store, ["three <b>"], info=cell_info(items=1), name="newest")
    with served(store) as port:
        page = Visitor(port).page("/item?name=quiz/0")
    assert "three <ins>&lt;b&gt;</ins></pre>" in page  # what its model did not say before
    assert page.count("answer before (#1)") == 1
    assert page.index("#2 new") < page.index("#1 old")
    assert "three" in page
    assert "four" in page
    assert "try 1 failed: server" in page  # the waterfall says so
    assert "pause before the next try" in page


def test_an_answer_stands_alone_with_all_that_is_known_of_it(store):
    _, _, ids = one_run(store, ["three"], attempts=TRIED, cost_usd=0.25)
    store.append_scores([judged(ids[0], 0.0, answer="3", reason="not four", cell=cell_info(protocol="strict"))])
    with served(store) as port:
        page = words(Visitor(port).page(f"/answers/{ids[0]}"))
    for text in (
        "what?",
        "three",
        "not four",
        "strict, version 1",
        "200 ms",
        "800 ms",
        "$0.25",
        "Tries 2",
        "5 in, 3 out",
        "Where the time went",
        "Between the tokens",
        "server after 200 ms, then 500 ms of waiting",
    ):
        assert text in page, text


def test_an_answer_leads_to_those_beside_it_among_those_that_are_sought(store):
    scores = [0.0 if place in (0, 40, 90) else 1.0 for place in range(100)]
    _, _, ids = one_run(store, ["needle" if place == 90 else "yes" for place in range(100)], scores=scores)
    one_run(store, ["yes"])  # another run's are not beside it
    with served(store) as port:
        visitor = Visitor(port)

        def beside(path):
            found = re.findall(r'href="/answers/(\d+)[^"]*" rel="(\w+)"', visitor.page(path))
            return {rel: int(number) for number, rel in found}

        assert beside(f"/answers/{ids[40]}") == {"prev": ids[39], "next": ids[41]}
        assert beside(f"/answers/{ids[0]}") == {"next": ids[1]}
        assert beside(f"/answers/{ids[99]}") == {"prev": ids[98]}
        assert beside(f"/answers/{ids[40]}?state=wrong") == {"prev": ids[0], "next": ids[90]}
        assert beside(f"/answers/{ids[40]}?text=needle") == {"next": ids[90]}
        listed = visitor.page("/runs/1/answers?state=wrong")
        assert f'href="/answers/{ids[40]}?state=wrong"' in listed
        assert 'dir="auto">what?</small>' in listed  # what was asked stands in the line, and what would have been right
        assert 'data-of="right answer">yes</td>' in listed


def test_a_name_that_turns_the_reading_order_is_written_out_and_comes_back_as_it_is(store):
    name = "evil\u202egpt"
    one_run(store, ["yes"], name=name, info=cell_info(model=name, items=1))
    one_run(store, ["yes"], info=cell_info(model="other", items=1))
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/")
        assert f'<option value="{name}">evil\\u202egpt</option>' in page
        assert page.replace(f'value="{name}"', "").count("\u202e") == 0
        assert "#1 evil\\u202egpt" in visitor.page(f"/search?q={quote(name)}")


def test_a_try_that_was_asked_again_says_so(store):
    run, cell, _ = one_run(store, ["yes"])
    session = store.sessions(run.id)[0].id
    lost, found = store.append_calls([new_call(cell, session, 1, failure=REFUSED), new_call(cell, session, 1)])
    with served(store) as port:
        visitor = Visitor(port)
        assert f'href="/answers/{found}"' in visitor.page(f"/answers/{lost}")
        assert "does not count" not in visitor.page(f"/answers/{found}")
        assert f'href="/answers/{lost}"' not in visitor.page("/runs/1/answers")


def test_flips_stand_side_by_side(store):
    one_run(store, ["right"] * 30 + ["wrong"] * 10, scores=[1.0] * 30 + [0.0] * 10)
    one_run(store, ["wrong"] * 4 + ["right"] * 36, scores=[0.0] * 4 + [1.0] * 36)
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/compare?run=1&run=2")
        assert page == visitor.page("/compare?run=1+2")
        shown = words(page)
    assert "10 better with" in shown
    assert "what? right answer yes" in shown
    assert "4 better with" in shown
    assert re.search(r"<pre[^>]*>wrong</pre></section>\s*<section><h4>.*?</h4><pre[^>]*>right</pre>", page)
    assert "McNemar" in shown


def chips(page):
    """What the outcomes to choose from say, by the address each leads to."""
    row = re.search(r'<nav class="chips".*?</nav>', page, re.S)[0]
    return {
        html.unescape(link): words(text).strip() for link, text in re.findall(r'href="([^"]+)"[^>]*>(.*?)</a>', row)
    }


def test_outcomes_stand_above_the_answers_with_how_many_there_are(store):
    run, cell, _ = one_run(store, ["yes"] * 6, scores=[1.0, 1.0, 0.0, 0.5, 1.0, 1.0], info=cell_info(items=9))
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, place, failure=REFUSED, attempts=TRIED) for place in (0, 7)])
    here = "/runs/1/answers"
    counted = {here: "all 7", f"{here}?state=right": "right 4", f"{here}?state=wrong": "wrong 2",
               f"{here}?state=failed": "failed 1", f"{here}?state=resent": "resent 1"}  # fmt: skip
    with served(store) as port:
        visitor = Visitor(port)
        assert chips(visitor.page(here)) == counted, "a failure does not count beside an answer"
        empty = chips(visitor.page(f"{here}?state=unscored"))
        assert empty == counted | {f"{here}?state=unscored": "unscored 0"}
        part = chips(visitor.page(f"{here}?stratum=part+1&state=right"))
        assert part[f"{here}?state=wrong&stratum=part+1"] == "wrong", "of a part nothing is counted"
        store.append_calls([new_call(cell, session, 8, failure=REFUSED)])
        assert chips(visitor.page(here))[f"{here}?state=failed"] == "failed 2"


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


def test_of_an_item_asked_several_times_the_repeats_are_shown_that_turned(store):
    for run, (first, second) in enumerate([((0.0, "no"), (1.0, "aye")), ((0.0, "nay"), (0.0, "never"))]):
        info = cell_info(items=3, available=3, repeats=2)
        one, cell, ids = one_run(store, ["yes"] * 3, info=info, name=f"run {run}")
        session = store.sessions(one.id)[0].id
        again = store.append_calls([new_call(cell, session, 0, repeat=n, text=first[1] if n == 1 else second[1])
                                    for n in (1, 2)])  # fmt: skip
        store.append_scores([judged(ids[0], 0.0), judged(again[0], first[0]), judged(again[1], second[0])])
    with served(store) as port:
        page = Visitor(port).page("/compare?run=1&run=2")
    assert re.search(r"<pre[^>]*>aye</pre></section>\s*<section><h4>.*?</h4><pre[^>]*>yes</pre>", page)


@pytest.mark.anywhere("long")
def test_cases_stand_with_every_models_mark_and_are_found_where_models_differ(store):
    _, first, _ = one_run(store, ["18", "yes", "no"], scores=[1.0, 1.0, 0.0], info=cell_info(model="first", items=3))
    store.set_summary(first, [estimate(f"accuracy/part {place}", 0.5) for place in (0, 1)])
    run, cell, ids = one_run(
        store, ["26", "yes", "<b>"], scores=[0.0, 1.0, 0.0], info=cell_info(model="other", items=3)
    )
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, place, failure=REFUSED) for place in (0, 3)])  # 0 was answered before
    with served(store) as port:
        visitor = Visitor(port)

        def found(query):
            return re.findall(r">(quiz/\d+)</a>", visitor.page(f"/cases?run=1+2&{query}"))

        assert found("") == ["quiz/0", "quiz/1", "quiz/2", "quiz/3"]
        assert found("shown=differ") == ["quiz/0"]
        assert found("shown=right") == ["quiz/1"]
        assert found("shown=wrong") == ["quiz/2"]
        assert found("shown=failed") == ["quiz/3"]
        assert found("outcome=1.right&outcome=2.wrong") == ["quiz/0"]
        assert found("outcome=2.right&outcome=1.wrong") == []
        assert found("outcome=2.failed") == ["quiz/3"]
        assert found("outcome=1.failed") == []
        assert found("stratum=part+1") == ["quiz/1", "quiz/3"]
        assert found("text=QUIZ/2") == ["quiz/2"]
        page = visitor.page("/cases?run=1+2&shown=differ")
        assert f'<a href="/answers/{ids[0]}">' in page
        assert "26" in page
        assert "&lt;b&gt;" in visitor.page("/cases?run=2")
        assert 'href="/cases?run=1"' in visitor.page("/runs/1")
        assert "/cases?run=1&amp;run=2" in visitor.page("/compare?run=1+2")


def test_cases_of_other_items_under_the_same_label_are_not_laid_side_by_side(store):
    _, mine, _ = one_run(store, ["a", "b"], scores=[1.0, 0.0], info=cell_info(items=2))
    _, other, _ = one_run(store, ["c", "d", "e"], info=cell_info(items=3, dataset_digest="f" * 64))
    with served(store) as port:
        visitor = Visitor(port)
        first = visitor.page("/cases?run=1+2")
        assert "quiz@p, 1 model, " in words(first)
        assert "quiz@p, items of #2</option>" in first
        assert ">quiz/2</a>" not in first
        second = visitor.page(
            "/cases?run=1+2&benchmark=" + quote("quiz@p, items of #2") + f"&outcome={mine}.right&stratum=x"
        )
        assert re.findall(r">(quiz/\d)</a>", second) == ["quiz/0", "quiz/1", "quiz/2"], "stale filters do not count"
        assert "benchmark=quiz%40p" in re.search(r'href="(/compare[^"]+)"', second)[1]
    infos = [info for run in "12" for info in store.cells(store.run(run).id)]
    with pytest.raises(UsageError, match="different sets"):
        store.pages.cases(infos, CasesWanted(cells=(mine, other)))


def test_a_set_is_found_by_the_label_of_any_of_its_cells(store):
    one_run(store, ["a"], info=cell_info(items=1))
    one_run(store, ["b"], info=cell_info(items=1, protocol="q", model="other"))
    with served(store) as port:
        page = words(Visitor(port).page("/cases?run=1+2&benchmark=quiz@q&model=other&model=gone"))
        assert "quiz@p, 1 model, " in page
        assert len(re.findall("[✓✗] right", page)) == 1


def test_cases_lead_on_and_back_and_count_repeats(store):
    run, cell, _ = one_run(store, ["yes"] * 60, scores=[float(place % 3 > 0) for place in range(60)])
    session = store.sessions(run.id)[0].id
    again = store.append_calls([new_call(cell, session, place, repeat=1) for place in range(60)])
    store.append_scores([judged(number, 1.0) for number in again])
    with served(store) as port:
        visitor, path, names = Visitor(port), "/cases?run=1", []
        while path:
            page = visitor.page(path)
            names += re.findall(r">quiz/(\d+)</a>", page)
            found = re.search(r'href="([^"]+)" rel="next"', page)
            path = found and found[1].replace("&amp;", "&")
        assert names == [str(place) for place in range(60)]
        assert 'rel="prev"' in page
        assert "1 of 2 right" in visitor.page("/cases?run=1")
        assert "2 of 2 right" not in visitor.page("/cases?run=1&shown=wrong")


def test_several_comparisons_say_how_they_hold_together(store):
    for share in (2, 3, 4):
        one_run(store, ["yes"] * 60, scores=[float(place % share > 0) for place in range(60)])
    with served(store) as port:
        page = words(Visitor(port).page("/compare?run=1+2+3"))
        assert "2 comparisons in one claim: each interval is at 97.5 %, so that all hold together at 95 %" in page
        assert "in one claim" not in words(Visitor(port).page("/compare?run=1+2"))


def test_what_cannot_be_compared_is_said(store):
    one_run(store, ["yes"])
    one_run(store, ["yes"], info=cell_info(dataset_digest="f" * 64))
    with served(store) as port:
        status, _, page = Visitor(port).ask("/compare?run=1+2")
    assert status == 400
    assert "dataset" in page
    assert "across protocols" not in page


def test_runs_under_two_protocols_are_compared_by_one_click_more(store):
    one_run(store, ["yes"])
    one_run(store, ["yes"], info=cell_info(protocol="q"))
    with served(store) as port:
        visitor = Visitor(port)
        refused = visitor.ask("/compare?run=1+2")[2]
        assert "--across" not in refused
        onward = re.search(r'href="([^"]+)">Compare them across protocols', refused)[1].replace("&amp;", "&")
        assert "answers as much as" in visitor.page(onward)


def test_words_are_found_within_an_answer_and_each_place_is_marked(store):
    _, _, ids = one_run(store, ["Ducks: <i>duck</i>, then a DUCK.", "duck"])
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page(f"/answers/{ids[0]}?find=duck&state=right")
        assert re.findall(r"<mark[^>]*>(.*?)</mark>", page) == ["Duck", "duck", "DUCK"]
        assert "stands in the reply at 3 places" in words(page)
        at = re.search(r'href="#([^"]+)">reply</a>', page)[1]
        assert f'<mark id="{at}">Duck</mark>s: &lt;i&gt;' in page
        assert f'href="/answers/{ids[1]}?state=right&find=duck" rel="next"' in html.unescape(page)
        page = visitor.page(f"/answers/{ids[0]}?find=swan&text=duck")
        assert "“swan” stands nowhere in this answer" in page
        assert "<mark" not in page
        assert "“what” stands in the question ." in words(visitor.page(f"/answers/{ids[0]}?text=what"))


def test_digits_of_a_likelihood_are_no_words_that_are_found(store):
    run = store.create_run(name="weighed", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(kind="likelihood", items=1))
    call = new_call(cell, session, 0, question="What is 7 times 9?")
    weighed = tuple(Likelihood(logprob=value, tokens=1, characters=2) for value in (-6.777, -0.977))
    completion = msgspec.structs.replace(call.call.completion, text="", likelihoods=weighed)
    sample = msgspec.structs.replace(call.sample, choices=("61", "67"), target="1")
    (number,) = store.append_calls(
        [msgspec.structs.replace(call, call=msgspec.structs.replace(call.call, completion=completion), sample=sample)]
    )
    with served(store) as port:
        visitor = Visitor(port)
        hit, page = visitor.page("/search?q=7"), visitor.page(f"/answers/{number}?find=7")
        asked = visitor.page("/search?q=What")
        assert "No answer has these words" in visitor.page("/search?q=977")
        assert "stands nowhere in this answer" in visitor.page(f"/answers/{number}?find=777")
    assert "-6.777 A) 61" in words(hit)
    assert "   -0.977  B) 6<mark>7</mark></pre>" in hit
    assert hit.count("<mark>") == 1
    assert "“7” stands in the question , in the reply , in the right answer" in words(page)
    assert "-6.777" in page
    assert "<mark>What</mark> is 7" in asked


def test_of_an_answer_that_is_cut_only_what_is_shown_is_said_to_lack_the_words(store, monkeypatch):
    monkeypatch.setattr(item_pages, "LONGEST", 60)
    _, _, ids = one_run(store, [f"{'a' * 60} duck {'b' * 60}"])
    with served(store) as port:
        page = words(Visitor(port).page(f"/answers/{ids[0]}?find=duck"))
    assert "“duck” stands nowhere in what is shown of this answer" in page


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


def test_a_run_that_asked_nothing_leads_on_to_no_other(store):
    store.create_run(name="empty", plan={}, plan_digest="0" * 64)
    with served(store) as port:
        assert "No other run asked the same yet" in Visitor(port).page("/compare?run=1")


def test_a_run_of_one_model_leads_on_to_runs_that_asked_the_same(store):
    for name, benchmark in (("before", "quiz"), ("elsewhere", "other"), ("alone", "quiz")):
        one_run(store, ["yes"], name=name, info=cell_info(benchmark=benchmark))
    with served(store) as port:
        visitor = Visitor(port)
        link = re.search(r'href="([^"]+)">Compare with another run', visitor.page("/runs/3"))[1]
        page = visitor.page(link)
        assert "steelyard compare" not in page
        assert re.findall(r'href="(/compare\?run=[^"]+)"', page) == ["/compare?run=1&amp;run=3"]
        assert "inconclusive" in visitor.page("/compare?run=1&run=3")
        assert "No other run" in visitor.page("/compare?run=2")


def test_sides_that_do_not_match_by_themselves_are_to_be_chosen_in_the_form(store):
    one_run(store, ["yes"], info=cell_info(model="a"))
    several, _, _ = one_run(store, ["yes"], info=cell_info(model="b"))
    store.add_cell(several.id, cell_info(model="c"))
    with served(store) as port:
        status, _, page = Visitor(port).ask("/compare?run=1+2")
    assert status == 400
    assert "no pair to compare" in page
    assert "--model" not in page


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


@pytest.mark.anywhere("long")
def test_search_finds_runs_items_and_answers(store):
    one_run(store, ["a needle in it"], name="haystack")
    with served(store) as port:
        visitor = Visitor(port)
        assert "#1 haystack" in visitor.page("/search?q=hayst")
        assert 'href="/item?name=quiz%2F0"' in visitor.page("/search?q=quiz")
        assert "a <mark>needle</mark> in it" in visitor.page("/search?q=NEEDLE")
        assert "0 in the newest 1 answers" in words(visitor.page("/search?q=nowhere"))


def confidential(store):
    _run, _cell, ids = one_run(
        store,
        ["it quotes " + SECRET],
        scores=[0.0],
        info=cell_info(items=1, **GPQA),
        question=SECRET,
        name="graduate",
        attempts=(Attempt(failure=REFUSED, duration_s=0.1, wait_s=0.1),),
    )
    one_run(store, ["it quotes " + SECRET], info=cell_info(items=1, model="other", **GPQA), question=SECRET)
    return ids[0]


REDACTED_PATHS = ("/", "/runs/1", "/runs/1/answers", "/answers/{}", "/item?name=quiz/0", "/compare?run=1+2",
                  "/runs/1/report.html", "/runs/1/provenance", "/search?q=quiz", "/trends", "/money", "/cases?run=1+2",
                  "/cases?run=1+2&shown=differ&text=quiz")  # fmt: skip


def test_a_confidential_text_is_on_no_page(store):
    number = confidential(store)
    with served(store) as port:
        visitor = Visitor(port)
        for path in REDACTED_PATHS:
            assert SECRET not in visitor.page(path.format(number)), path


def test_no_search_tells_what_a_confidential_text_holds(store):
    confidential(store)
    with served(store) as port:
        visitor = Visitor(port)
        assert "0 in the newest" in words(visitor.page("/search?q=secret"))
        assert "There is no such answer" in visitor.page("/runs/1/answers?text=secret")
        assert "There is no such case" in visitor.page("/cases?run=1+2&text=secret")
        assert "quiz/0" in visitor.page("/runs/1/answers?text=quiz")


def test_a_confidential_text_is_shown_to_who_asked_for_it(store):
    number = confidential(store)
    with served(store, reveal=True) as port:
        assert SECRET in Visitor(port).page(f"/answers/{number}")


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


def test_many_pairs_each_lead_to_a_page_of_their_own(store):
    run = store.create_run(name="many", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for place in range(9):
        info = cell_info(model=f"model {place}", items=20)
        cell = store.add_cell(run.id, info)
        ids = store.append_calls([new_call(cell, session, at, model=info.model) for at in range(20)])
        values = [float(at % (place + 2) > 0) for at in range(20)]
        store.append_scores([judged(number, value, cell=info) for number, value in zip(ids, values, strict=True)])
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/compare?run=1").replace("&amp;", "&")
        assert page.count('id="turned') == 6
        alone = re.findall(r'<li><a href="([^"]+)">model (\d)</a>', page)
        assert [name for _, name in alone] == ["7", "8"]
        assert visitor.page(alone[0][0]).count('id="turned') == 1
        assert "candidate against baseline" not in page, "one baseline of all is named once, above"


def test_pairs_in_which_nothing_turned_share_a_line(store):
    run = store.create_run(name="alike", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for model, right in (("a", 3), ("b", 3), ("c", 3), ("d", 2)):
        info = cell_info(model=model, items=5)
        cell = store.add_cell(run.id, info)
        ids = store.append_calls([new_call(cell, session, at, model=model) for at in range(5)])
        store.append_scores([judged(one, float(at < right), cell=info) for at, one in enumerate(ids)])
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        page = Visitor(port).page("/compare?run=1")
    assert re.findall(r'id="turned(\d)"><h2>What turned: (\w)', page) == [("3", "d")]
    assert page.count('href="#turned') == 1
    assert "Each item was scored alike on both sides: b on quiz@p, c on quiz@p." in page


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
    assert page.count('<g class="others">') == 1
    assert "$55.00" in page


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


def test_what_judging_cost_is_in_the_cost_of_a_run(store):
    _run, cell, _ = one_run(store, ["yes"], name="judged")
    amounts = (("cost.total", 0.25), ("judge.cost.total", 1.5))
    store.set_summary(cell, [estimate("answered", 1.0, unit="requests"),
                             *(estimate(name, usd, unit="USD") for name, usd in amounts)])  # fmt: skip
    with served(store) as port:
        assert "$1.75" in Visitor(port).page("/")

"""The gate in the dashboard says what ``steelyard gate`` says, and changes nothing."""

import html
import json
import re
import time
from urllib.parse import urlencode

import pytest
from boards import PATIENCE_S, Visitor, cell_info, estimate, one_run, served

from steelyard.cli import main
from steelyard.dashboard import board
from steelyard.report.comparing import verdict
from steelyard.store import Store
from steelyard.store.transfer.taking import snapshot

HELD = {"baseline": "main", "margin": "accuracy=0.05", "mode": "regression"}


def two_runs(store, *, now, before=180, items=200, metrics=()):
    """A blessed run with so many right of its items, and one after it."""
    for right in (before, now):
        scores = [1.0] * right + [0.0] * (items - right)
        info = cell_info(items=items, available=1_000)
        _, cell, _ = one_run(store, ["yes"] * items, scores=scores, info=info, cost_usd=0.01, name=f"{right} right")
        store.set_summary(cell, [*store.summary(cell), *(estimate(name, 0.5, unit="s") for name in metrics)])
    store.baselines.set("main", snapshot(store, store.run("1")), note="before")


def gate_page(port, run=2, **asked):
    return Visitor(port).ask(f"/runs/{run}/gate?{urlencode(asked, doseq=True)}")


def words(page):
    page = re.sub(r'<span class="unbroken">([^<]*)</span>', r"\1", page)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def on_command_line(capsys, place, *arguments):
    capsys.readouterr()
    code = main(["gate", "2", "--store", str(place), *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("now", "word"), [(182, "PASS"), (120, "FAIL"), (173, "INCONCLUSIVE")])
def test_the_page_says_what_the_command_says(store, place, capsys, now, word):
    two_runs(store, now=now)
    with served(store) as port:
        status, _, page = gate_page(port, **HELD)
    code, told = on_command_line(capsys, place, "--baseline", "main", "--margin", "accuracy=0.05")
    shown = words(page)
    assert status == 200
    assert told["sentence"].startswith(word)
    assert f'class="tag {told["verdict"]}">{word}</span>' in page
    sentence = told["sentence"].partition(": ")[2]
    assert f"{sentence[0].upper()}{sentence[1:]}" in shown
    assert f"Exit code {code} of steelyard gate 2 --baseline main --margin accuracy=0.05" in shown
    check = told["checks"][0]
    value, low, high = (100 * check[end] for end in ("value", "low", "high"))
    change = re.search(r'data-of="change \(95 % each way\)">(.*?)</td>', page)[1]
    assert words(change) == f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"


def test_an_open_verdict_says_how_many_more_items_would_settle_it(store):
    two_runs(store, now=173)
    with served(store) as port:
        assert re.search(r"About [\d,]+ more items would settle it", words(gate_page(port, **HELD)[2]))


def test_of_several_open_criteria_each_is_told_once(store):
    two_runs(store, now=173)
    with served(store) as port:
        shown = words(gate_page(port, baseline="main", margin=["accuracy=0.05", "accuracy=0.04; accuracy=0.2"])[2])
    assert "2 of 3 criteria are inconclusive." in shown
    assert shown.count("(margin 5.0 points, n = 200)") == 1


def test_each_criterion_is_drawn_with_its_interval_and_its_line(store):
    two_runs(store, now=120)
    with served(store) as port:
        page = gate_page(port, baseline="main", margin="accuracy=0.05", require="accuracy >= 0.5")[2]
    margin, bound = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert re.search(r'class="bound"', margin)
    assert re.search(r'class="chance"', margin)
    assert re.search(r"<title>m: -30\.0 points \(-[\d.]+ to -[\d.]+\); fail</title>", margin)
    assert 'class="chance"' not in bound
    assert re.search(r"<title>m: 60\.0 % \([\d. to]+\); pass</title>", bound)


def test_the_items_that_turned_are_counted_and_a_click_away(store):
    two_runs(store, now=120)
    with served(store) as port:
        page = gate_page(port, **HELD)[2]
        link = html.unescape(re.search(r'href="(/compare[^"]+)">60 worse, 0 better</a>', page)[1])
        turned = Visitor(port).page(link.partition("#")[0])
        assert link.endswith("#turned1")
        assert 'id="turned1"' in turned
        assert "60 better with" in words(turned)
        store.delete(store.run("1").id)
        assert "60 worse, 0 better" in words(gate_page(port, **HELD)[2])
        assert "/compare?run=1" not in gate_page(port, **HELD)[2]
        assert "An unchanged model is told from a worse one" in words(gate_page(port)[2])


def test_a_page_without_criteria_offers_a_margin_and_judges_nothing(store):
    two_runs(store, now=170)
    with served(store) as port:
        status, _, page = gate_page(port)
    assert status == 200
    assert '<option value="main" selected>' in page
    assert re.search(r'name="margin" value="accuracy=0\.\d+"', page)
    assert "An unchanged model is told from a worse one on quiz@p from" in words(page)
    assert "PASS" not in page


def test_the_criteria_of_the_plan_are_held_without_asking(store):
    two_runs(store, now=170)
    held = store.create_run(name="held", plan={"success": ["accuracy >= 0.5"]}, plan_digest="0" * 64)
    store.begin_session(held.id, {})
    cell = store.add_cell(held.id, cell_info(items=1))
    store.set_summary(cell, [estimate("accuracy", None, n=0)])
    with served(store) as port:
        shown = words(gate_page(port, run=3)[2])
    assert "is running: only a part was measured" in shown
    assert "with the criteria of the run's plan" in shown


REFUSED = {
    "accuracy=20%": "could mean points or a share",
    "nonsense": "is no margin",
    "latncy.p95=10%": "unknown metric",
    "accuracy=0.05; api_calls=3": "unknown metric",
}


@pytest.mark.parametrize("margin", REFUSED)
def test_what_cannot_be_held_is_said_in_the_form_and_what_was_written_stays(store, margin):
    two_runs(store, now=170)
    faults = []
    with served(store, faults=faults) as port:
        status, _, page = gate_page(port, baseline="main", margin=margin)
    assert status == 400
    assert REFUSED[margin] in words(page)
    assert f'name="margin" value="{html.escape(margin)}"' in page
    assert faults == []


@pytest.mark.parametrize("name", ["none", "main@9", "blessed.jsonl", "../blessed.jsonl", "main@x"])
def test_a_baseline_is_one_of_the_stores_and_never_a_file(store, tmp_path, monkeypatch, name):
    two_runs(store, now=170)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blessed.jsonl").write_text("what a page must not read")
    with served(store) as port:
        status, _, page = gate_page(port, **(HELD | {"baseline": name}))
    assert status == 400
    assert "unknown baseline" in words(page)
    assert "must not read" not in page


def test_a_baseline_that_goes_by_the_name_of_a_file_is_still_the_stores(store, tmp_path, monkeypatch):
    two_runs(store, now=182)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blessed.jsonl").write_text("what a page must not read")
    store.baselines.set("blessed.jsonl", snapshot(store, store.run("1")))
    with served(store) as port:
        assert ">PASS</span>" in gate_page(port, **(HELD | {"baseline": "blessed.jsonl"}))[2]


def test_a_new_version_of_a_baseline_is_what_its_name_means_at_once(store):
    two_runs(store, now=120)
    with served(store) as port:
        assert ">FAIL</span>" in gate_page(port, **HELD)[2]
        one_run(store, ["yes"] * 200, scores=[1.0] * 120 + [0.0] * 80, info=cell_info(items=200, available=1_000))
        store.baselines.set("main", snapshot(store, store.run("3")))
        assert ">PASS</span>" in gate_page(port, **HELD)[2]
        assert ">FAIL</span>" in gate_page(port, **(HELD | {"baseline": "main@1"}))[2]


def test_a_gate_is_judged_once_and_stores_nothing(store, place, monkeypatch):
    two_runs(store, now=170)
    judged = []
    judge = verdict.gate
    monkeypatch.setattr(verdict, "gate", lambda *given: judged.append(given) or judge(*given))
    with served(store) as port:
        before = place.read_bytes()
        first, second = (gate_page(port, **HELD)[2] for _ in range(2))
        assert first == second
        assert len(judged) == 1
        assert place.read_bytes() == before
        assert Visitor(port).send("/runs/2/gate", "margin=accuracy%3D0.05")[0] == 405


def test_a_baselines_page_leads_to_the_gates_of_runs_that_asked_the_same(store):
    two_runs(store, now=170)
    one_run(store, ["yes"], info=cell_info(benchmark="other"))
    with served(store) as port:
        page = Visitor(port).page("/baselines/main@1")
        assert re.findall(r'href="(/runs/\d+/gate[^"]*)"', page) == ["/runs/2/gate?baseline=main%401"]
        assert '<option value="main@1" selected>' in Visitor(port).page("/runs/2/gate?baseline=main%401")
        assert 'href="/runs/2/gate"' in Visitor(port).page("/runs/2")


def test_the_gate_of_a_large_run_is_made_while_the_page_is_open(store, monkeypatch):
    two_runs(store, now=120)
    monkeypatch.setattr(board, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(board, "SOON_S", 0.0)
    with served(store) as port:
        shown = gate_page(port, **HELD)[2]
        assert "The verdict is being made" in shown
        assert 'http-equiv="refresh"' in shown
        deadline_s = time.monotonic() + PATIENCE_S
        while ">FAIL</span>" not in shown and time.monotonic() < deadline_s:
            time.sleep(0.05)
            shown = gate_page(port, **HELD)[2]
        assert ">FAIL</span>" in shown


def test_what_a_gate_needs_to_know_of_other_runs_is_whether_they_are_there(store, monkeypatch):
    """All that is known of thousands of runs takes seconds to read."""
    two_runs(store, now=170)
    read = []
    runs = Store.runs
    monkeypatch.setattr(Store, "runs", lambda *given: read.append(given) or runs(*given))
    with served(store) as port:
        assert gate_page(port, **HELD)[0] == gate_page(port)[0] == 200
        assert Visitor(port).ask("/baselines/main@1")[0] == 200
    assert read == []

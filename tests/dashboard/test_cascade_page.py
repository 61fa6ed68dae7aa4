"""Two models as a cascade in the dashboard: the numbers of ``steelyard cascade``, drawn."""

import html
import json
import random
import re
from urllib.parse import urlencode

import msgspec
from boards import Visitor, cell_info, judged, new_call, served

from steelyard.analysis.wording import thousandfold, written
from steelyard.cli import main
from steelyard.types import Estimate

N = 120
ASKED = {"run": "1", "cheap": "cheap", "dear": "dear", "within": "2"}


def asked_both(store, *, is_priced=True):
    """A cheap model that is right as often as it is sure, and a dear one, which is right nine times of ten."""
    drawn = random.Random(3)
    run = store.create_run(name="both", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for model, usd in (("cheap", 0.001), ("dear", 0.01)):
        settings = {"model": {"confidence": {"by": "logprob"}} if model == "cheap" else {}}
        cell = store.add_cell(run.id, cell_info(model=model, items=N, settings=settings))
        calls, values = [], []
        for at in range(N):
            sure = round(drawn.uniform(0.02, 0.99), 2)
            values.append(float(drawn.random() < (sure if model == "cheap" else 0.9)))
            one = new_call(cell, session, at, model=model, cost_usd=usd if is_priced else None)
            said = msgspec.structs.replace(one.call.completion, confidence=sure if model == "cheap" else None)
            calls.append(msgspec.structs.replace(one, call=msgspec.structs.replace(one.call, completion=said)))
        ids = store.append_calls(calls)
        store.append_scores([judged(number, value) for number, value in zip(ids, values, strict=True)])
    store.end_session(session, {})
    store.set_status(run.id, "done")


def cascade_page(port, **asked):
    return Visitor(port).ask(f"/cascade?{urlencode(asked)}")


def words(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def cells_of(page):
    rows = re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2], re.DOTALL)
    return [[html.unescape(text) for text in re.findall(r"<t[hd][^>]*>([^<]*)<", row)] for row in rows]


def test_the_page_has_the_numbers_of_the_command(store, place, capsys):
    asked_both(store)
    with served(store) as port:
        page = cascade_page(port, **ASKED)[2]
    command = ["cascade", "1", "--cheap", "cheap", "--dear", "dear", "--within", "2", "--store", str(place)]
    assert main([*command, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    points = [told["alone"][0], *told["points"], told["alone"][1]]
    found = [msgspec.convert([point["accuracy"], point["cost_per_item"]], list[Estimate]) for point in points]
    rows = cells_of(page)
    assert [(row[2], row[5]) for row in rows] == [
        (written(score), written(thousandfold(cost), bounds=False)) for score, cost in found
    ]
    assert [float(row[0]) for row in rows[1:-1]] == [point["threshold"] for point in told["points"]]
    assert f"--escalate-below {told['choice']['threshold']!r}" in words(page)
    assert "On the other 60:" in words(page)


def test_every_threshold_is_drawn_with_its_score_and_its_cost(store):
    asked_both(store)
    with served(store) as port:
        page = cascade_page(port, **ASKED)[2]
    rows, drawn = cells_of(page), re.findall(r"<title>([^<]+ at \$[^<]+)</title>", page)
    assert len(drawn) == 2 * len(rows)  # for a wide place and for a narrow one
    for row in rows:
        (told,) = {text for text in drawn if text.startswith(f"{row[0]}: ")}
        assert row[2] in told


def test_without_prices_the_score_stands_against_what_goes_on_to_the_dear_model(store):
    asked_both(store, is_priced=False)
    with served(store) as port:
        page = cascade_page(port, **ASKED)[2]
    assert ">escalated</text>" in page
    assert re.search(r"<title>dear alone: [^<]+ at 100\.0 %", page)
    assert "cost of 1,000" not in page


def test_what_cannot_be_shown_is_said_beside_the_choice(store):
    asked_both(store)
    faults = []
    with served(store, faults=faults) as port:
        status, _, page = cascade_page(port, **(ASKED | {"cheap": "dear", "dear": "cheap"}))
        assert status == 400
        assert "no confidence is stored with the answers of dear" in words(page)
        assert '<option value="dear" selected>' in page
        assert "these are one" in words(cascade_page(port, **(ASKED | {"dear": "cheap"}))[2])
        assert "unknown model" in words(cascade_page(port, **(ASKED | {"dear": "nobody"}))[2])
        for within in ("x", "-1", "nan", "1e99"):
            assert cascade_page(port, **(ASKED | {"within": within}))[0] == 400
    assert faults == []


def test_a_run_with_a_confidence_leads_to_its_cascade(store):
    asked_both(store)
    with served(store) as port:
        visitor = Visitor(port)
        assert 'href="/cascade?run=1">As a cascade' in visitor.page("/runs/1")
        page = visitor.page("/cascade?run=1")
        assert '<option value="cheap" selected>cheap' in page
        assert "Here cheap has one" in words(page)
        assert "Runs where both were asked" in visitor.page("/cascade")


def test_a_report_draws_the_cascade_that_two_models_of_its_run_would_be(store, place, tmp_path):
    asked_both(store)
    assert main(["report", "1", "--html", str(tmp_path / "r.html"), "--store", str(place)]) == 0
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "As a cascade: cheap &gt; dear on quiz@p: 120 items" in page
    assert "Accuracy of the cascade of cheap and dear against its cost, by threshold" in page
    assert "Chosen on 60 items" in words(page)
    assert "dear &gt; cheap" not in page

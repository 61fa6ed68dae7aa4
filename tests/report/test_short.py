"""What a terminal shows: tables that fit, the findings in short, and nothing that is not known."""

import csv
import io
import json
import re
from pathlib import Path

import msgspec
import pytest

import steelyard as sy
from steelyard.cli import main
from steelyard.report import evidence, short, terminal
from steelyard.report.answers import answer_text, gold
from steelyard.report.console import PlainConsole
from steelyard.report.matrix import figures_table, in_figures
from steelyard.report.results import load_results, warnings
from steelyard.report.spending import Spending, spending_line
from steelyard.store import Store
from steelyard.store.reading import found
from steelyard.types import Completion, Likelihood


def quiz(items=40):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"q/{i}", input=f"q{i}?", target="1") for i in range(items)],
        grade=lambda sample, completion: completion.text == "1",
    )


def knows(prompt):
    return "1"


def guesses(prompt):
    return str(int(prompt[1:-1]) % 2)


def shown(capsys, *arguments):
    assert main(["show", *arguments]) == 0
    return capsys.readouterr().out


def drawn(width, **options):
    out = io.StringIO()
    with Store.open() as store:
        results = load_results(store, store.run("last"))
        told = short.found_in_passing(store, results)
        terminal._render(results, PlainConsole(file=out, width=width, **options), everything=False, found=told)
    return out.getvalue()


def test_a_tail_over_few_clusters_is_shown_without_an_interval_and_a_report_says_why(capsys):
    samples = [sy.Sample(id=f"q/{i}", input=f"q{i}?", target="1", cluster=f"c{i // 10}") for i in range(80)]
    sy.run([knows], [sy.Benchmark(name="quiz", version="1", load=lambda selection: samples, grade=quiz().grade)])
    row = next(line for line in shown(capsys).splitlines() if line.lstrip().startswith("knows"))
    assert row.count("(no interval)") == 1
    found = json.loads(shown(capsys, "--json"))["cells"][0]["estimates"]["latency.p95"]
    assert (found["value"] > 0, found["low"], found["level"]) == (True, None, None)
    with Store.open() as store:
        known = evidence.load_evidence(store, [store.run("last")])
    told = figures_table(known.benches[0], {"knows": 0})
    (cells,) = (line.cells for line in told.lines if line.name == "latency P95")
    assert (cells[0].interval, cells[0].why) == ("", "n too small: need 72, have 8 clusters")


def test_a_score_without_an_interval_is_warned_of_with_the_reason():
    sy.run([knows], [quiz()])
    with Store.open() as store:
        results = load_results(store, store.run("last"))
    cell = results.cells[0]
    score = msgspec.structs.replace(
        cell.estimates["accuracy"], low=None, high=None, level=None, status="all of law is in one cluster"
    )
    without = msgspec.structs.replace(cell, estimates={**cell.estimates, "accuracy": score})
    told = warnings(msgspec.structs.replace(results, cells=(without,)))
    assert "knows on quiz@default: accuracy has no interval: all of law is in one cluster" in " ".join(told)


def test_the_findings_of_the_report_stand_under_the_table_and_in_the_json(capsys):
    sy.run([knows, guesses], [quiz()])
    text = " ".join(shown(capsys).split())
    document = json.loads(shown(capsys, "--json"))
    first = document["findings"][0]
    assert (first["rule"], first["kind"]) == ("lead", "told")
    assert f"In short - {first['sentence']}" in text
    assert {one["use"] for one in document["recommendations"]} == {
        "High-stakes decisions",
        "General tasks",
        "Real time",
    }


def kept(capsys):
    """The sentences that ``show`` has at hand."""
    capsys.readouterr()
    return [one["sentence"] for one in json.loads(shown(capsys, "--json"))["findings"] or ()]


def test_of_a_run_of_very_many_records_what_was_found_at_its_end_is_told_until_something_changes(capsys, monkeypatch):
    sy.run([knows, guesses], [quiz()], name="before")
    tested = kept(capsys)
    monkeypatch.setattr(found, "MOST_IN_PASSING", 79)
    assert "The 80 records were not tested yet. What they show: steelyard report 1 --html" in shown(capsys)
    document = json.loads(shown(capsys, "--json"))
    assert (document["findings"], document["recommendations"]) == (None, None)
    assert main(["report", "1", "--html", "r.html"]) == 0
    assert kept(capsys) == tested
    sy.run([knows, guesses], [quiz()], fresh=True)
    monkeypatch.setattr(evidence, "load_evidence", None)  # what is kept is told without reading an answer
    assert f"In short - {kept(capsys)[0]}" in " ".join(shown(capsys).split())
    with Store.open() as store:
        (cell, *_) = store.cells(store.run("last").id)
        store.set_summary(cell.id, (store.summary(cell.id) or ())[:-1])
    assert "were tested, but the run or its grading has changed since. What they show" in shown(capsys)
    assert main(["runs", "delete", "before", "--yes"]) == 0
    with Store.open() as store, store._reading() as connection:
        assert connection.exec_driver_sql("SELECT run FROM findings").all() == [(2,)]


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal_and_no_name_or_number_is_broken(width):
    sy.run([sy.Function(knows, name="org/a-model-with-quite-a-long-name"), sy.Function(guesses, name="b")], [quiz()])
    text = drawn(width, force_terminal=True, no_color=True)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= width
    tables = text.split("In short")[0]
    for whole in ("accuracy (95 %)", "requests/s", "cost of 1,000"):
        assert whole in tables
    if width >= 80:
        assert tables.count("org/a-model-with-quite-a-long-name") == tables.count("model  ")


def test_a_wide_log_has_one_table_and_no_control_codes(capsys):
    sy.run([knows, guesses], [quiz()])
    out = shown(capsys)
    assert out.count("model    ") + out.count("model  ") >= 1
    assert sum(line.startswith("model ") for line in out.splitlines()) == 1
    assert "\x1b" not in out


def imported():
    Path("answers.jsonl").write_text(
        "".join(json.dumps({"sample_id": f"starter/{i}", "completion": "A"}) + "\n" for i in ids()), encoding="utf-8"
    )
    assert main(["import", "answers.jsonl", "--benchmark", "starter", "--model", "theirs"]) == 0


def ids():
    return [sample.id.removeprefix("starter/") for sample in sy.load_dataset("starter")[:60]]


OF_SENDING = ("requests_per_second", "tokens_per_second", "reliability", "api_calls")


def test_nothing_is_made_up_of_the_sending_of_imported_answers(capsys):
    imported()
    out = capsys.readouterr().out
    assert "/s" not in out
    assert "60 answers made elsewhere, cost unknown (theirs)" in out
    (cell,) = json.loads(shown(capsys, "--json"))["cells"]
    assert {cell["estimates"][name]["value"] for name in OF_SENDING} == {None}
    assert "made elsewhere" in cell["estimates"]["reliability"]["status"]
    main(["export", "--format", "csv"])
    (row, *_) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["started_at"], row["tries"], row["latency_s"], row["cost_usd"]) == ("", "", "", "")
    main(["export", "--format", "jsonl"])
    record = json.loads(capsys.readouterr().out.splitlines()[0])
    assert record["call"]["started_at"] is None
    main(["report", "--junit", "r.xml", "--markdown", "r.md"])
    assert "time=" not in Path("r.xml").read_text("utf-8")
    assert "in unknown" not in Path("r.md").read_text("utf-8")


def test_figures_that_an_older_summary_made_up_are_not_shown(capsys):
    imported()
    with Store.open() as store:
        (cell,) = store.cells(store.run("last").id)
        made_up = [
            sy.types.Estimate(metric=one.metric, value=9.0, n=9, method="x", unit=one.unit)
            if one.metric in OF_SENDING
            else one
            for one in store.summary(cell.id)
        ]
        store.set_summary(cell.id, made_up)
    capsys.readouterr()
    (cell,) = json.loads(shown(capsys, "--json"))["cells"]
    assert {cell["estimates"][name]["value"] for name in OF_SENDING} == {None}


def test_markdown_says_the_first_finding_once_and_of_many_unknown_prices_a_few_names():
    models = [sy.Function(knows, name=f"m{i}") for i in range(6)]
    sy.run(models, [quiz(10)])
    main(["report", "--markdown", "r.md"])
    text = Path("r.md").read_text("utf-8")
    assert text.count("Who answers best") == 1
    assert "cost unknown (m0, m1, m2, m3 and 2 more)" in text
    assert "beside each value" in text


def test_choices_that_were_weighed_stand_by_the_letter_as_which_they_are_read():
    weighed = tuple(Likelihood(logprob=value, tokens=1, characters=5) for value in (-4.0, -2.5))
    sample = sy.Sample(id="q/0", input="Which?", choices=("left", "right"), target="1")
    shown = answer_text(Completion(likelihoods=weighed), sample)
    assert shown.split() == ["-4.000", "A)", "left", "-2.500", "B)", "right"]
    assert gold(sample) == "B) right"


def test_what_is_to_be_warned_of_alike_in_several_cells_is_said_once():
    def broken(prompt):
        raise ValueError("no route")

    sy.run([sy.Function(broken, name=name) for name in "ab"], [quiz(10)], on_message=lambda text: None)
    with Store.open() as store:
        results = load_results(store, store.run("last"))
    (said,) = [text for text in warnings(results) if "calls failed" in text]
    assert said.startswith("a and b on quiz@")
    first = results.cells[0]
    others = [msgspec.structs.replace(first, info=msgspec.structs.replace(first.info, protocol=name)) for name in "xy"]
    pairs = msgspec.structs.replace(results, cells=(*others, results.cells[1]))
    (said,) = [text for text in warnings(pairs) if "calls failed" in text]
    assert said.partition(":")[0] == f"a on quiz@x, a on quiz@y and b on {first.info.label}"


def warned_of(**shares):
    """The warnings of a run in which these shares of the answers came to this."""
    sy.run([knows], [quiz(10)], on_message=lambda text: None)
    with Store.open() as store:
        results = load_results(store, store.run("last"))
    (cell,) = results.cells
    found = {name: msgspec.structs.replace(cell.estimates["accuracy"], value=share) for name, share in shares.items()}
    changed = msgspec.structs.replace(cell, estimates=cell.estimates | found)
    return " ".join(warnings(msgspec.structs.replace(results, cells=(changed,))))


def test_unreadable_answers_are_warned_of_beside_those_cut_off_and_not_for_being_cut_off():
    both = warned_of(truncated=0.05, unparsed=0.267)
    assert "5.0 % of the answers were cut off" in both
    assert "26.7 % of the answers were not in the asked form" in both
    assert 'steelyard show 1 --where "outcome = unparsed"' in both
    assert "not in the asked form" not in warned_of(truncated=0.3, unparsed=0.3)


def test_a_warning_of_refusals_does_not_call_wrong_what_its_words_may_have_right():
    said = warned_of(refused=0.1)
    assert "10.0 % of the answers were refused" in said
    assert "the words that came were graded" in said
    assert "wrong" not in said


SPENT = Spending(
    calls=5, judge_calls=0, answers=5, retried=0, spent_usd=0.01, judge_usd=0.0, per_answer_usd=0.002, unknown=(),
    doubtful_usd=0.0, doubtful_tries=0, cut_off_calls=0, cut_off_usd=0.0, cached=0, judge_cached=0, imported=0,
    saved_usd=0.0, is_all_saved_known=True, budget_usd=None, remaining_usd=None, store_budget_usd=None,
    store_remaining_usd=None,
)  # fmt: skip


def test_what_judging_took_stands_apart_and_is_in_no_price_of_an_answer():
    taken = msgspec.structs.replace(
        SPENT, calls=240, judge_calls=160, answers=80, spent_usd=0.078, judge_usd=0.076, per_answer_usd=0.002 / 80
    )
    assert spending_line(3, taken) == (
        "Run #3: 240 requests sent (160 of them to judges), 0.0780 USD spent (0.0760 of it on judging), "
        "0.025 USD for 1,000 answers"
    )


def test_what_was_saved_counts_the_judges_says_where_it_is_a_part_and_new_answers_have_a_price_of_their_own():
    taken = msgspec.structs.replace(SPENT, cached=20, judge_cached=18, saved_usd=0.36, is_all_saved_known=False)
    assert spending_line(4, taken) == (
        "Run #4: 5 requests sent, 0.0100 USD spent, 2 USD for 1,000 new answers, "
        "20 answers and 18 of the judges' replies used again, which saved at least 0.3600 USD"
    )


def test_whom_to_take_for_a_use_is_told_in_a_line_and_what_would_settle_it_where_nobody_is(capsys):
    sy.run([knows, guesses], [quiz()])
    said = shown(capsys, "1").partition("Recommended\n")[2].partition("\n\n")[0]
    assert said.startswith("- High-stakes decisions: withheld. ")
    assert said.count("\n- ") <= 2
    main(["report", "--markdown", "r.md"])
    told = Path("r.md").read_text("utf-8").partition("**Recommendations**\n\n")[2].partition("\n\n")[0]
    assert told.startswith("- High-stakes decisions: withheld. ")
    assert "What would settle it: " in told


def test_a_score_leads_to_its_answers_from_every_table_of_a_report():
    sy.run([knows, guesses], [quiz()])
    main(["report", "--html", "r.html"])
    page = Path("r.html").read_text("utf-8")
    for place in (0, 1):
        assert page.count(f'href="#answers-{place}-0"') == 2
        assert page.count(f'id="answers-{place}-0"') == 1


def test_over_several_benchmarks_a_card_tells_the_lowest_and_the_highest():
    other = sy.Benchmark(name="other", version="1", load=quiz().load, grade=quiz().grade)
    sy.run([knows, guesses], [quiz(), other])
    with Store.open() as store:
        told = in_figures(evidence.load_evidence(store, [store.run("last")]), "knows")
    assert told.startswith("knows over 2 benchmarks: 100.0 % right, ")

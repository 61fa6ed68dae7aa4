"""What gates, trends and comparisons say of a run that a rule ended early: that, and its own repeated interval."""

import json

import pytest
from test_compare import compared, ok

import steelyard as sy
from steelyard.analysis.stopped import LEANS
from steelyard.cli import main
from steelyard.report.comparing.comparison import COULD_END

ITEMS = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(600)]
ECHO = sy.Benchmark(
    name="echo",
    version="1",
    load=lambda selection: ITEMS,
    grade=lambda sample, completion: completion.text == sample.target,
)
ENDED = "run #1 ended early by its stopping rule, at "


def good(prompt: str) -> str:
    return prompt if int(prompt) * 7919 % 10 < 8 else "no"


def poor(prompt: str) -> str:
    return prompt if int(prompt) * 7919 % 10 < 4 else "no"


def as_good(prompt: str) -> str:
    return good(prompt)


@pytest.fixture
def ended():
    return sy.run([good, poor], [ECHO], stop={"compare": True})


def test_a_comparison_with_another_run_says_that_a_rule_ended_one(ended):
    whole = sy.run([good], [ECHO], fresh=True)
    found = sy.compare(ended, whole, "good")
    assert any(note.startswith(ENDED) and "leans" not in note for note in found.notes)
    assert any("that of a difference to another run does not" in note for note in found.notes)
    assert found.of_baseline == ended.estimate(model="good")
    assert "repeated over 4 looks" in found.of_baseline.method
    within = sy.compare(ended, "good", "poor")
    assert "repeated over 4 looks" in within.of_candidate.method


def test_a_comparison_within_a_run_that_its_difference_ended_has_the_bounds_that_hold_over_all_looks(ended, capsys):
    (cell,) = [cell for cell in json.loads(ok("show", "1", "--json"))["cells"] if cell["model"] == "poor"]
    (look,) = cell["stopped"]["questions"]
    found = sy.compare(ended, "good", "poor")
    assert (found.difference.low, found.difference.high, found.difference.level) == (
        look["low"],
        look["high"],
        look["level"],
    )
    assert (found.verdict, found.p_value, found.difference.n) == ("regressed", None, look["scored"])
    assert "repeated over 4 looks" in found.difference.method
    assert "over all looks" in found.sentence
    assert found.notes == (LEANS,)
    mirrored = sy.compare(ended, "poor", "good")
    assert (mirrored.difference.low, mirrored.verdict) == (-found.difference.high, "improved")


def test_where_all_was_asked_a_comparison_says_that_its_interval_does_not_allow_for_the_looks():
    run = sy.run([good, as_good], [ECHO], stop={"compare": True})
    assert any(COULD_END in note for note in sy.compare(run, "good", "as_good").notes)


def test_a_gate_holds_a_plain_bound_by_the_repeated_interval_and_says_why(ended):
    own = ended.estimate(model="good")
    between = (own.low + own.value) / 2
    found = sy.gate(ended, require=[f"accuracy >= {between:.4f}"], model="good")
    (check,) = found.checks
    assert (check.low, check.high, check.verdict) == (own.low, own.high, "inconclusive")
    assert any(ENDED in note for note in found.notes)
    sy.set_baseline("main", ended)
    later = sy.run([good], [ECHO], fresh=True)
    told = sy.gate(later, baseline="main", margins={"accuracy": 0.2}, model="good")
    assert any(ENDED in note for note in told.notes)
    assert "repeated" in told.checks[0].baseline.method


def test_a_trend_marks_the_run_and_a_whole_run_is_not_marked(ended):
    sy.run([good, poor], [ECHO], fresh=True)
    out = ok("trend", "accuracy", "--model", "good")
    assert out.count("ended early by its stopping rule") == 1
    document = json.loads(ok("trend", "accuracy", "--model", "good", "--json"))
    marks = [len(point["ended"]) for point in document["series"][0]["points"]]
    assert marks == [1, 0]
    assert "repeated" in document["series"][0]["points"][0]["estimate"]["method"]


def test_waiting_for_a_width_bends_no_figure_and_is_only_told(capsys):
    sy.run([good], [ECHO], stop={"half_width": 0.06})
    sy.run([good], [ECHO], fresh=True)
    notes = compared("1", "2")["pairs"][0]["comparison"]["notes"]
    told = [note for note in notes if note.startswith(ENDED)]
    assert len(told) == 1
    assert "lean" not in told[0]
    assert main(["gate", "1", "--require", "accuracy >= 0.5"]) == 0
    assert ENDED in capsys.readouterr().out


def test_a_look_at_a_benchmark_in_clusters_is_said_to_be_of_single_items():
    clustered = sy.Benchmark(
        name="clustered",
        version="1",
        load=lambda selection: [
            sy.Sample(id=one.id, input=one.input, target=one.target, cluster=f"c{i // 4}")
            for i, one in enumerate(ITEMS)
        ],
        grade=ECHO.grade,
    )
    found = sy.compare(sy.run([good, poor], [clustered], stop={"compare": True}), "good", "poor").difference
    assert found.method == "paired, single items of the benchmark, repeated over 4 looks"
    assert (found.estimand, found.status) == ("this benchmark", "ok")

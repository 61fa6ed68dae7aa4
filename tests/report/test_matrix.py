"""The comparison matrix: a mark only where a test stands behind it, and money in amounts that can be read."""

from types import SimpleNamespace

from msgspec.structs import replace

from steelyard.analysis.wording import amount, dollars, thousandfold, written
from steelyard.report.drawing.axes import plain, told_apart, value_text
from steelyard.report.drawing.marks import width_of
from steelyard.report.matrix import _reaching, _span, cell, subjects_table
from steelyard.types import Estimate

LONG = [f"a-vendor/with-a-very-long-model-name-{place:02}-instruct-2026-11-26-preview" for place in range(40)]


def test_long_names_that_differ_in_the_middle_stay_apart():
    labels = told_apart(LONG, 20)
    assert len(set(labels.values())) == 40
    assert all(len(label) <= 20 for label in labels.values())
    assert all(name[37:39] in labels[name] for name in LONG)


def test_names_that_fit_are_left_alone_and_one_name_is_no_matter():
    assert told_apart(["small", "large"], 20) == {"small": "small", "large": "large"}
    assert len(told_apart([LONG[0]], 20)[LONG[0]]) == 20
    assert told_apart([], 20) == {}
    ends = told_apart([f"{'x' * 40}{end}" for end in "ab"], 12)
    assert [label[-1] for label in ends.values()] == ["a", "b"]


def test_a_cost_is_told_for_a_thousand():
    cost = Estimate(metric="cost.per_correct", value=1.11e-6, low=0.93e-6, high=1.39e-6, level=0.95, n=120,
                    method="given", unit="USD")  # fmt: skip
    assert cell(cost).text == "0.00111 USD"
    assert cell(cost).interval == "0.00093 to 0.00139"
    assert written(thousandfold(cost)) == "0.00111 USD (0.00093 to 0.00139)"
    assert dollars(2.8e-05) == "0.000028 USD"


def test_money_that_was_spent_is_never_written_as_none():
    assert [amount(usd) for usd in (0.0, 1e-09, 6e-05, 0.0221, 51.552)] == [
        "0",
        "1e-09",
        "0.000060",
        "0.0221",
        "51.5520",
    ]
    assert (dollars(1e-09), plain(1e-09)) == ("1e-09 USD", "1e-09")


def test_a_span_says_its_unit_once_and_as_many_decimals_at_both_ends():
    assert _reaching("61.3 ms", "74 ms") == "61.3 to 74.0 ms"
    assert _reaching("0.153 USD", "1,024 USD") == "0.153 to 1,024 USD"
    assert _reaching("900 ms", "1.2 s") == "900 ms to 1.2 s"
    assert _reaching("98.5 %", "100.0 %") == "98.5 to 100.0 %"


def test_a_span_has_no_digit_that_was_rounded_away():
    assert _reaching("62.1 s", "182 s") == "62.1 to 182 s"
    assert _reaching("0.0000123 USD", "0.0002 USD") == "0.0000123 to 0.000200 USD"
    assert _reaching(value_text(4000, "s"), value_text(7630, "s")) == "4,000 to 7,630 s"


def asked(value, why="ok"):
    """A model on a benchmark, with what a right answer cost it."""
    cost = Estimate(metric="cost.per_correct", value=value, n=9, method="given", unit="USD", status=why)
    return SimpleNamespace(estimates={cost.metric: cost}, value=lambda name: value)


def test_a_span_says_on_how_many_benchmarks_it_is_known():
    """A model that got nothing right on one of them has no price there, and its other one is none over both."""
    none = asked(None, "nothing right")
    one_of_two = _span([asked(5e-5), none], "cost.per_correct")
    assert (one_of_two.text, one_of_two.known, one_of_two.why) == ("0.0500 USD", "known on 1 of 2", "nothing right")
    two_of_three = _span([asked(5e-5), none, asked(7e-5)], "cost.per_correct")
    assert (two_of_three.text, two_of_three.known) == ("0.05 to 0.07 USD", "known on 2 of 3")
    assert _span([asked(5e-5), asked(7e-5)], "cost.per_correct").known == ""


def test_wide_letters_take_more_room():
    assert width_of("模型") > width_of("ab")
    assert width_of("ii") < width_of("ab")


def by_subjects(models, subjects):
    """As many models as ``bench.scored`` has, each with a score of every subject."""
    names = [f"accuracy/s{place}" for place in range(subjects)]
    estimates = {name: Estimate(metric=name, value=0.5, n=9, method="given", unit="share") for name in names}
    info = SimpleNamespace(groups=())
    one = {"estimates": estimates, "side": SimpleNamespace(info=info), "value": lambda name: None}
    return SimpleNamespace(scored=[SimpleNamespace(name=f"m{place}", **one) for place in range(models)])


def test_many_models_are_lines_of_the_table_by_subject_and_few_are_its_columns():
    few, many, of_many_subjects = (subjects_table(by_subjects(*size), {}) for size in ((4, 3), (40, 3), (40, 57)))
    assert few.headings == ("n", "m0", "m1", "m2", "m3")
    assert many.headings == ("s0, n = 9", "s1, n = 9", "s2, n = 9")
    assert [line.name for line in many.lines][:2] == ["m0", "m1"]
    assert len(of_many_subjects.lines) == 57


def test_items_that_a_model_lost_are_not_hidden_behind_those_of_another():
    bench = by_subjects(2, 1)
    fewer = {name: replace(one, n=7) for name, one in bench.scored[0].estimates.items()}
    bench.scored[0].estimates = fewer
    assert [line.cells[0].text for line in subjects_table(bench, {}).lines] == ["7 to 9"]

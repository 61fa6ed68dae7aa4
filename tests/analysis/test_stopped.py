"""What is said of a run that could end early: from either model's side, with bounds that hold."""

from statistics import NormalDist

import msgspec
import numpy as np
import pytest

from steelyard import stats
from steelyard.analysis.stopped import LEANS, finding, looks_by_cell, mirrored, stopped
from steelyard.types import CellInfo, Estimate, Look


def cell(model, number, label="quiz"):
    return CellInfo(id=number, model=model, benchmark=label, protocol="p", protocol_version="1", benchmark_version="1",
                    kind="chat", dataset="d", dataset_digest="x", prompt_digest="y", origin="o", items=100,
                    available=200)  # fmt: skip


def look(verdict="ahead", *, against="b", n=50, number=1, following=None):
    return Look(rule="compare", number=number, looks=4, n=n, scored=n, planned=100, population=200, against=against,
                value=0.2, low=0.1, high=0.4, level=0.95, z=2.4, estimand="this benchmark", verdict=verdict,
                next=following)  # fmt: skip


def counted(metric, value):
    return Estimate(metric=metric, value=value, n=1, method="count", unit="items")


def test_a_difference_is_seen_from_either_side():
    by_cell = looks_by_cell([cell("a", 1), cell("b", 2), cell("b", 3, "other")], {1: [look()]})
    [[own]], [[other]] = by_cell[1], by_cell[2]
    assert (own.verdict, own.value, own.against) == ("ahead", 0.2, "b")
    assert (other.verdict, other.value, other.low, other.high, other.against) == ("behind", -0.2, -0.4, -0.1, "a")
    assert 3 not in by_cell
    assert mirrored(mirrored(own, "a"), "b") == own


def test_looks_of_one_question_stand_together_in_order():
    series = looks_by_cell([cell("a", 1), cell("b", 2), cell("c", 3)],
                           {1: [look("go_on", following=75), look("go_on", against="c", following=75),
                                look(n=75, number=2)]})  # fmt: skip
    assert [[(each.against, each.n) for each in looks] for looks in series[1]] == [[("b", 50), ("b", 75)], [("c", 50)]]


def test_a_cell_ended_early_where_all_its_questions_were_settled_before_the_end():
    estimates = {f"stop.{name}": counted(f"stop.{name}", value) for name, value in
                 (("items", 50), ("saved_items", 50), ("saved_usd", 1.5))}  # fmt: skip
    ended = stopped([[look()]], estimates)
    assert (ended.is_early, ended.items, ended.saved_items, ended.saved_usd) == (True, 50, 50, 1.5)
    assert ended.note == LEANS
    open_still = stopped([[look()], [look("go_on", against="c", following=75)]], estimates)
    assert (open_still.is_early, open_still.is_settled) == (False, False)


def test_a_model_that_was_skipped_has_no_difference_that_could_lean():
    estimates = {"stop.items": counted("stop.items", 0), "stop.saved_items": counted("stop.saved_items", 100)}
    skipped = msgspec.structs.replace(look("skipped", n=0), rule="cascade", value=None, low=None, high=None)
    ended = stopped([[skipped]], estimates)
    assert (ended.is_early, ended.note) == (True, None)


def test_nobody_looked_is_no_early_end():
    assert stopped([], {}) is None
    assert stopped([[look()]], {}) is None


def test_a_finding_names_its_level_and_whose_question_it_answers():
    assert finding(look()) == "+20.0 points (+10.0 to +40.0, 95 % over all looks, this benchmark)"
    assert "±15.0 points" in finding(look("precise", against=None))


@pytest.mark.parametrize("looks", [2, 4])
def test_repeated_bounds_hold_for_a_score_whatever_ended_the_run(looks):
    """A score that is looked at until it is far from a half: its repeated interval covers, the plain one does not."""
    generator = np.random.default_rng(looks)
    shares = [(i + 1) / looks for i in range(looks)]
    z = stats.group_sequential_bounds(kind="pocock", looks=looks, information=shares).final_z
    plain = repeated = 0
    for _ in range(2000):
        right = np.cumsum(generator.random(400) < 0.5)
        for share in shares:
            n = round(share * 400)
            if abs(right[n - 1] / n - 0.5) * 2 * np.sqrt(n) >= z:
                break
        narrow, wide = (
            stats.wilson_interval(successes=float(right[n - 1]), n=n, confidence=level)
            for level in (0.95, 2 * NormalDist().cdf(z) - 1)
        )
        plain += narrow.low <= 0.5 <= narrow.high
        repeated += wide.low <= 0.5 <= wide.high
    assert repeated / 2000 >= 0.94
    assert plain < repeated

"""A comparison turned round is the comparison the other way round, to the last figure and word."""

import msgspec
import numpy as np
import pytest
from test_metrics import INFO, columns

from steelyard.analysis import bench
from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.compare import Side, compare_scores
from steelyard.analysis.compare_measures import compare_measure
from steelyard.analysis.margins import Cell
from steelyard.analysis.mirrored import mirrored

N = 120
CHANCES = np.random.default_rng(1).random((2, N))
RIGHT = (CHANCES < [[0.7], [0.5]]).astype(float)
LOST = np.where(np.arange(N) % 20 == 3, np.nan, RIGHT)
TIMES = 0.5 + np.random.default_rng(2).lognormal(0, 0.4, (2, N))


def sides(scores, *, infos=({}, {}), **changes):
    """Two sides; of what is changed each has its own row where there are two."""
    own = [{name: value[i] if np.ndim(value) == 2 else value for name, value in changes.items()} for i in (0, 1)]
    return [
        Side(
            name=f"model {i}",
            run=1 + i,
            info=msgspec.structs.replace(INFO, **infos[i]),
            columns=columns(scores[i], **own[i]),
        )
        for i in (0, 1)
    ]


def plain(value):
    """The figures of nested values in one row, and the words in another."""
    if isinstance(value, dict):
        value = [[name, each] for name, each in sorted(value.items())]
    if isinstance(value, list | tuple):
        parts = [plain(each) for each in value]
        return [one for figures, _ in parts for one in figures], [one for _, words in parts for one in words]
    is_figure = isinstance(value, int | float) and not isinstance(value, bool)
    return ([value], []) if is_figure else ([], [value])


def assert_alike(found, expected):
    (figures, words), (others, other_words) = (plain(msgspec.to_builtins(one)) for one in (found, expected))
    assert words == other_words
    assert figures == pytest.approx(others, rel=1e-6, abs=1e-7)


CASES = {
    "one answer an item": sides(RIGHT),
    "answers lost on both sides": sides([LOST[0], LOST[1][::-1]]),
    "other items": sides(RIGHT, sample=np.stack([np.arange(N), np.arange(N) + 7])),
    "repeats": sides(RIGHT, sample=np.arange(N) // 2),
    "repeats lost on both sides": sides([LOST[0], LOST[1][::-1]], sample=np.arange(N) // 2),
    "few marks": sides(CHANCES[:, :15]),
    "clusters": sides(RIGHT, cluster=np.arange(N) // 4),
    "strata": sides(RIGHT, infos=({"aggregate": "macro"},) * 2, stratum=np.arange(N) % 3, strata=("a", "b", "c")),
    "strata in clusters": sides(
        RIGHT,
        infos=({"aggregate": "macro"},) * 2,
        stratum=np.arange(N) % 3,
        strata=("a", "b", "c"),
        cluster=np.arange(N) // 4,
    ),
    "other settings": sides(RIGHT, infos=({"settings": {"model": {"temperature": 0.7}}}, {})),
    "nothing in common": sides(RIGHT, sample=np.stack([np.arange(N), np.arange(N) + 1000])),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_turned_round_are_as_if_compared_the_other_way_round(case):
    one, other = CASES[case]
    there, back = (compare_scores(*pair, margin=0.02) for pair in ((one, other), (other, one)))
    assert_alike(mirrored(there, other, one), back)
    assert there.verdict in ("improved", "regressed", "inconclusive")


@pytest.mark.parametrize("metric", ["latency.p50", "latency.p95", "cost.per_request"])
def test_ratios_turned_round_are_as_if_compared_the_other_way_round(metric):
    one, other = sides(RIGHT, total_s=TIMES, cost_usd=0.01 * TIMES)
    there, back = (compare_measure(*pair, metric, margin=0.05) for pair in ((one, other), (other, one)))
    assert there.ratio.low is not None
    assert_alike(mirrored(there, other, one), back)


def test_what_a_measure_lacks_is_turned_round_with_it():
    lacking = np.where(np.isnan([LOST[0], LOST[1][::-1]]), np.nan, TIMES)
    one, other = sides(RIGHT, total_s=lacking, sample=np.stack([np.arange(N), np.arange(N) + 7]))
    there, back = compare_measure(one, other, "latency.p50"), compare_measure(other, one, "latency.p50")
    assert len(there.notes) == 2
    assert_alike(mirrored(there, other, one), back)


def test_a_ratio_without_bounds_is_not_turned_round():
    one, other = sides(RIGHT, total_s=np.full((2, N), np.nan))
    assert mirrored(compare_measure(one, other, "latency.p50"), other, one) is None


def test_a_bench_compares_two_models_once_whichever_way_round(monkeypatch):
    judged = []
    monkeypatch.setattr(
        bench, "compare_scores", lambda *pair, **more: judged.append(1) or compare_scores(*pair, **more)
    )
    models = [
        Contender(
            cell=Cell(run=1, run_name="r", status="done", info=side.info, columns=side.columns, estimates=()),
            estimates={},
        )
        for side in sides(RIGHT, infos=({"model": "a"}, {"model": "b"}))
    ]
    found = Bench("b@p", models)
    there, back = found.compare(*models), found.compare(*models[::-1])
    assert len(judged) == 1
    assert (there.candidate, back.candidate) == ("a", "b")
    assert there.difference.value == -back.difference.value

"""Trends: an arrow only where a change was detected, flat only where its absence was, and no word across a break."""

import msgspec
import numpy as np
import pytest
from test_metrics import INFO

from steelyard import stats
from steelyard.analysis.trend import Observed, trends
from steelyard.analysis.trend.reference import reference_of, signals_of
from steelyard.analysis.trend.run_errors import Errors
from steelyard.types import Estimate

RNG = 20261126


def share_of(scores):
    bounds = stats.wilson_interval(successes=scores.sum(), n=len(scores), confidence=0.95)
    return Estimate(metric="accuracy", value=float(scores.mean()), low=bounds.low, high=bounds.high, level=0.95,
                    n=len(scores), method="wilson", unit="share")  # fmt: skip


def observed(run, scores, *, items=None, asked=None, **changes):
    items = np.arange(len(scores)) if items is None else items
    return Observed(
        run=run,
        name=f"run-{run}",
        at=f"2026-{1 + run // 4:02d}-{1 + 7 * (run % 4):02d}T10:00:00+00:00",
        info=msgspec.structs.replace(INFO, **changes),
        estimate=share_of(scores),
        asked=items if asked is None else asked,
        items=items,
        scores=scores,
    )


def asked_again(generator, chances):
    """One run's scores: each item right with its own chance, as a model at a temperature above 0 is."""
    return (generator.random(len(chances)) < chances).astype(float)


def of(series, **options):
    [found] = trends("accuracy", series, **options)
    return found


def test_a_real_drop_in_week_4_is_down_and_the_same_noise_without_it_is_not():
    generator = np.random.default_rng(RNG)
    chances = generator.beta(6, 0.75, size=1319)  # about 89 % right
    weeks = [observed(i, asked_again(generator, chances)) for i in range(3)]
    dropped = of([*weeks, observed(3, asked_again(generator, np.clip(chances - 0.045, 0, 1)))])
    assert dropped.state == "down"
    assert dropped.points[-1].is_signal
    unchanged = of([*weeks, observed(3, asked_again(generator, chances))])
    assert unchanged.state in ("flat", "unknown")
    assert not any(point.is_signal for point in unchanged.points)


def weeks_at(levels, items=400, seed=RNG):
    """A run a week: answers that hardly vary, at each week's share right."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random(items)
    runs = []
    for week, level in enumerate(levels):
        flipped = generator.random(items) < 0.01
        runs.append(observed(week, ((difficulty < level) ^ flipped).astype(float)))
    return runs


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_fall_in_one_of_the_first_weeks_is_still_told_in_the_later_ones(at):
    weeks = weeks_at([0.85] * at + [0.70] * (9 - at))
    assert of(weeks[: at + 1]).state == "down"
    for n in range(5, len(weeks) + 1):
        found = of(weeks[:n])
        assert found.state == "down"
        assert found.drift is None
        assert [point.is_signal for point in found.points] == [False] * at + [True] * (n - at)


def test_a_bad_week_4_stays_marked_and_the_weeks_after_it_are_no_rise():
    weeks = weeks_at([0.85] * 3 + [0.70] + [0.85] * 5)
    for n in range(4, len(weeks) + 1):
        found = of(weeks[:n])
        assert [point.label for point in found.points if point.is_signal] == ["#3"]
        assert (found.state == "down") == (n == 4)


def test_first_weeks_that_scatter_are_no_step():
    found = of(weeks_at([0.85, 0.80, 0.87, 0.78, 0.83, 0.79, 0.86]))
    assert found.drift > 0.02
    assert found.state == "unknown"
    assert not any(point.is_signal for point in found.points)


def test_flat_is_a_claim_that_needs_a_narrow_interval():
    generator = np.random.default_rng(RNG)
    few, many = (np.full(n, 0.7) for n in (60, 20_000))
    assert of([observed(i, asked_again(generator, few)) for i in range(5)]).state == "unknown"
    assert of([observed(i, asked_again(generator, many)) for i in range(5)]).state == "flat"


def test_answers_that_never_change_are_flat_and_one_flipped_answer_is_no_signal():
    scores = np.r_[np.ones(150), np.zeros(50)]
    same = of([observed(i, scores) for i in range(6)])
    assert same.state == "flat"
    flipped = scores.copy()
    flipped[0] = 0
    found = of([*(observed(i, scores) for i in range(6)), observed(6, flipped)])
    assert found.state != "down"
    gone = scores.copy()
    gone[:14] = 0
    assert of([*(observed(i, scores) for i in range(6)), observed(6, gone)]).state == "down"


@pytest.mark.parametrize("field", ["dataset_digest", "protocol_version", "prompt_digest", "shots"])
def test_a_series_ends_where_another_thing_is_measured(field):
    scores = np.r_[np.ones(150), np.zeros(50)]
    changed = 3 if field == "shots" else "another"
    runs = [observed(i, scores) for i in range(3)] + [observed(i, 1 - scores, **{field: changed}) for i in range(3, 5)]
    first, second = trends("accuracy", runs)
    assert (first.broke, len(first.points), len(second.points)) == (None, 3, 2)
    assert second.broke
    assert second.state == "flat"


def test_another_judge_is_another_series_and_other_settings_are_said():
    scores = np.r_[np.ones(150), np.zeros(50)]
    judged = [{"judge_origin": "judge-a", "model": {"temperature": t}} for t in (0.0, 0.0, 0.7)]
    runs = [observed(i, scores, settings=settings) for i, settings in enumerate(judged)]
    first, second = trends("accuracy", [*runs, observed(3, 1 - scores, settings={"judge_origin": "judge-b"})])
    assert (first.state, second.broke) == ("flat", "the judge")
    assert [point.settings for point in first.points] == [
        (), (), ("run #2 and run #1: their settings differ: temperature 0.7 against 0.0",)
    ]  # fmt: skip


def test_a_setting_that_a_run_left_to_the_protocol_is_said_in_the_words_of_a_comparison():
    runs = [observed(i, np.ones(20), settings={"model": given}) for i, given in enumerate(({}, {"max_tokens": 2}))]
    (series,) = trends("accuracy", runs)
    assert series.points[1].settings == (
        "run #1 and run #0: their settings differ: max tokens 2 against the protocol's",
    )


def timed(run, value, machine, in_flight=None):
    estimate = Estimate(metric="latency.p50", value=value, low=value - 0.02, high=value + 0.02, level=0.95, n=100,
                        method="order statistics", unit="s", estimand="this run")  # fmt: skip
    return Observed(run=run, name="r", at=f"2026-01-{run + 1:02d}T10:00:00+00:00", info=INFO, machine=machine,
                    estimate=estimate, in_flight=in_flight)  # fmt: skip


def test_times_under_another_load_are_said_to_be_so_once_where_it_changed():
    loads = [4, 4, 6, 9, 9, 1, None, 1]
    found = trends("latency.p50", [timed(i, 1.0, {}, load) for i, load in enumerate(loads)])[0]
    told = "times were taken under different loads, by the requests on their way at once: "
    assert [point.loads for point in found.points] == [
        (), (), (), (f"{told}4 in run #0, 9 in run #3 (medians). Try: the same --concurrency",),
        (), (f"{told}9 in run #3, 1 in run #5 (medians). Try: the same --concurrency",), (), (),
    ]  # fmt: skip
    scores = np.r_[np.ones(150), np.zeros(50)]
    scored = [msgspec.structs.replace(observed(i, scores), in_flight=load) for i, load in enumerate((1, 20))]
    assert not any(point.notes for point in of(scored).points)


def test_times_of_another_machine_are_another_series_and_few_times_say_nothing():
    old, new = {"processor": "old", "cores": 2}, {"processor": "new", "cores": 2}
    runs = [timed(i, 1.0 + 0.01 * (i % 2), old) for i in range(6)] + [timed(i, 0.5, new) for i in range(6, 9)]
    first, second = trends("latency.p50", runs)
    assert second.broke == "the machine's processor"
    assert second.difference is None
    assert "known from 5 runs on" in second.reason
    assert first.state == "flat"


def test_runs_that_differ_more_than_their_errors_widen_what_counts_as_change():
    machine = {"processor": "one"}
    noisy = [1.0, 1.3, 0.8, 1.2, 1.4]
    found = trends("latency.p50", [timed(i, value, machine) for i, value in enumerate(noisy)])[0]
    assert found.drift > 0.1
    assert found.state == "unknown"
    calm = [1.0, 1.01, 0.99, 1.0, 1.4]
    assert trends("latency.p50", [timed(i, value, machine) for i, value in enumerate(calm)])[0].state == "up"


def test_a_change_point_has_a_set_of_plausible_places():
    generator = np.random.default_rng(RNG)
    before, after = np.full(400, 0.8), np.full(400, 0.68)
    runs = [observed(i, asked_again(generator, before if i < 6 else after)) for i in range(12)]
    [change] = of(runs).changes
    assert change.at == "#6"
    assert int(change.earliest[1:]) <= 6 <= int(change.latest[1:])
    assert change.before - change.after == pytest.approx(0.12, abs=0.03)


@pytest.mark.parametrize("seed", [1, 3, 10])
def test_one_week_down_among_weeks_at_one_level_is_no_change_of_level(seed):
    generator = np.random.default_rng(seed)
    chances = generator.beta(4, 2, size=300)
    runs = [observed(i, asked_again(generator, np.clip(chances - 0.3 * (i == 6), 0, 1))) for i in range(12)]
    found = of(runs)
    assert found.points[6].is_signal
    assert found.changes == ()


@pytest.mark.long
def test_times_that_only_scatter_from_run_to_run_seldom_seem_to_change_their_level():
    generator = np.random.default_rng(RNG)
    machine = {"processor": "one"}
    changed = 0
    for _ in range(100):
        values = 10 + generator.normal(size=12)
        [found] = trends("latency.p50", [timed(i, value, machine) for i, value in enumerate(values)])
        changed += bool(found.changes)
    assert changed <= 3  # by the first four runs alone it is 15


def test_a_change_of_level_among_scattering_times_is_still_dated():
    generator = np.random.default_rng(RNG)
    machine = {"processor": "one"}
    values = 10 + generator.normal(size=14) + np.repeat([0, 5], 7)
    [found] = trends("latency.p50", [timed(i, value, machine) for i, value in enumerate(values)])
    assert [change.at for change in found.changes] == ["#7"]


def test_one_run_far_off_at_the_end_of_scattering_times_is_no_new_level():
    values = 10 + np.random.default_rng(RNG).normal(size=15) + np.eye(15)[-1] * 12
    [found] = trends("latency.p50", [timed(i, value, {"processor": "one"}) for i, value in enumerate(values)])
    assert found.changes == ()


def test_a_great_change_of_scattering_times_does_not_hide_a_smaller_one():
    values = 10 + np.random.default_rng(RNG).normal(size=27) + np.repeat([0, 40, 46], 9)
    [found] = trends("latency.p50", [timed(i, value, {"processor": "one"}) for i, value in enumerate(values)])
    assert [change.at for change in found.changes] == ["#9", "#18"]


def test_runs_of_a_week_are_one_point():
    generator = np.random.default_rng(RNG)
    runs = [observed(i, asked_again(generator, np.full(300, 0.7))) for i in range(8)]
    daily = [msgspec.structs.replace(run, at=f"2026-03-{2 + i:02d}T10:00:00+00:00") for i, run in enumerate(runs)]
    found = of(daily, by="week")
    assert [point.label for point in found.points] == ["2026-W10", "2026-W11"]
    assert [len(point.runs) for point in found.points] == [7, 1]
    assert found.points[0].se < found.points[1].se


def test_runs_on_other_items_are_judged_by_their_own_intervals():
    generator = np.random.default_rng(RNG)
    runs = [observed(i, asked_again(generator, np.full(200, 0.7)), items=np.arange(200) + 1000 * i) for i in range(5)]
    found = of(runs)
    assert found.method == "each run's own interval"
    assert found.points[0].se == pytest.approx(np.sqrt(0.7 * 0.3 / 200), rel=0.1)


def parts(kind, generator, n=300, available=1319):
    """The items of 12 runs: each run's own random part, or one part for some of the runs and another for the rest."""
    if kind == "own":
        return [generator.permutation(available)[:n] for _ in range(12)]
    one, other = (generator.permutation(available)[:n] for _ in range(2))
    return [one] * 4 + [other] * 8 if kind == "4 and 8" else [one, other] * 6


def on_parts(kind, generator, certainty=1.0, drop=0.0):
    """12 runs of one model on parts of a benchmark; items are surely right or wrong the more, the higher."""
    chances = generator.beta(0.4 / certainty, 0.2 / certainty, size=1319)
    return [
        observed(i, asked_again(generator, chances[part] - (drop if i >= 8 else 0)), items=part)
        for i, part in enumerate(parts(kind, generator))
    ]


def test_another_random_part_of_the_benchmark_is_no_change_of_the_model():
    """All answers stay as they were: what differs is which questions were asked, once and not eight times."""
    is_right, first, second = np.arange(1000) % 10 < 7, np.arange(200), np.arange(190, 390)
    is_right[:30] = False
    runs = [observed(i, is_right[part].astype(float), items=part) for i, part in enumerate([first] * 4 + [second] * 8)]
    found = of(runs)
    assert found.points[-1].change > 0.09
    assert not any(point.is_signal for point in found.points)
    assert found.changes == ()
    assert found.method == "each run's own interval, less what the items they share do to both"
    apart = [msgspec.structs.replace(run, items=run.items + 1000 * i) for i, run in enumerate(runs)]
    assert any(point.is_signal for point in of(apart).points)


def test_runs_that_share_half_their_items_are_held_against_one_another_more_closely():
    generator = np.random.default_rng(RNG)
    chances = generator.beta(0.2, 0.1, size=1319)
    halves = [generator.permutation(1319)[:660] for _ in range(5)]
    runs = [observed(i, asked_again(generator, chances[half]), items=half) for i, half in enumerate(halves)]
    apart = [msgspec.structs.replace(run, items=run.items + 2000 * i) for i, run in enumerate(runs)]
    of_parts, of_apart = (of(series).difference for series in (runs, apart))
    assert of_parts.high - of_parts.low < 0.9 * (of_apart.high - of_apart.low)


def test_weeks_of_runs_on_parts_share_what_their_runs_share():
    generator = np.random.default_rng(RNG)
    runs = on_parts("4 and 8", generator)
    weeks = of([msgspec.structs.replace(run, at=f"2026-03-{2 + i:02d}T10:00:00+00:00") for i, run in enumerate(runs)],
               by="week")  # fmt: skip
    assert [len(point.runs) for point in weeks.points] == [7, 5]
    assert weeks.points[1].se > 0.8 * of(runs).points[-1].se  # five runs on one part know its questions no better
    assert of(runs[:4]).method == "the same 300 items, by how their answers vary"


@pytest.mark.parametrize(("order", "broke"), [("file", True), ("shuffled", False)])
def test_parts_that_nobody_drew_at_random_are_no_one_series(order, broke):
    scores = np.r_[np.ones(150), np.zeros(50)]
    runs = [observed(i, scores[:n], order=order, available=5000) for i, n in enumerate((100, 100, 200))]
    runs = [msgspec.structs.replace(run, info=msgspec.structs.replace(run.info, items=len(run.items))) for run in runs]
    found = trends("accuracy", runs)
    assert len(found) == (2 if broke else 1)
    assert (found[-1].broke == "which items were asked (nobody drew them at random)") == broke
    no_items = [msgspec.structs.replace(run, asked=None, items=None, scores=None) for run in runs]
    assert len(trends("accuracy", no_items)) == (2 if broke else 1)


def test_items_that_were_asked_and_lost_are_no_other_items():
    """One run in three lost a tenth of the first items of the file, another of them each time."""
    runs = [observed(i, np.ones(100), order="file", available=5000) for i in range(3)]
    few = [observed(run, np.ones(90), items=np.delete(np.arange(100), gone), asked=np.arange(100), order="file",
                    available=5000) for run, gone in ((3, slice(10)), (4, slice(10, 20)))]  # fmt: skip
    assert [one.broke for one in trends("accuracy", [*runs, *few])] == [None]
    elsewhere = msgspec.structs.replace(few[1], asked=few[1].asked + 100, items=few[1].items + 100)
    assert len(trends("accuracy", [*runs, *few, elsewhere])) == 2


@pytest.mark.parametrize("lost", [9, 40])
@pytest.mark.parametrize("weights", [None, np.where(np.arange(300) < 60, 2.5, 0.625)])
def test_a_run_that_lost_hard_items_answers_as_before(weights, lost):
    """Wrong answers of a run did not come: its mean is higher, and no answer is."""
    right = (np.arange(300) % 5 > 0).astype(float)
    kept = np.delete(np.arange(300), np.arange(0, 5 * lost, 5))
    alike = np.ones(300) if weights is None else weights
    of_kept = alike[kept] * len(kept) / alike[kept].sum()
    runs = [observed(i, right * alike) for i in range(9)]
    runs.append(observed(9, right[kept] * of_kept, items=kept, asked=np.arange(300)))
    if weights is not None:
        runs = [msgspec.structs.replace(one, weights=w) for one, w in zip(runs, [alike] * 9 + [of_kept], strict=True)]
    found = of(runs)
    assert found.points[-1].estimate.value > found.points[0].estimate.value + 0.01
    assert (found.state, found.difference.value) == ("flat", pytest.approx(0.0))
    assert f"the same {300 - lost} items" in found.method


def test_a_run_that_lost_items_changes_over_how_many_a_later_one_is_judged_and_not_what_is_shown():
    scores, kept = (np.arange(300) % 5 > 0).astype(float), np.arange(40, 300)
    lossy = observed(1, scores[kept], items=kept, asked=np.arange(300))
    found = of([observed(0, scores), lossy, observed(2, scores)])
    assert (found.difference.n, found.points[-1].estimate.n) == (260, 300)
    first, second = (point.estimate.value for point in found.points[:2])
    assert found.reference == pytest.approx((first + second) / 2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "certainty"), [("own", 1.0), ("4 and 8", 1.0), ("4 and 8", 10.0), ("one after the other", 10.0)]
)
def test_of_flat_series_on_random_parts_few_ever_show_an_arrow(kind, certainty):
    generator = np.random.default_rng(RNG)
    found = [of(on_parts(kind, generator, certainty)) for _ in range(150)]
    assert np.mean([any(point.is_signal for point in series.points) for series in found]) <= 0.05
    assert np.mean([bool(series.changes) for series in found]) <= 0.04


@pytest.mark.long
@pytest.mark.parametrize("n", [200, 1319])
def test_of_flat_series_of_12_runs_few_ever_show_an_arrow(n):
    generator = np.random.default_rng(RNG)
    chances = generator.beta(2, 1, size=n)
    arrows = 0
    for _ in range(300):
        found = of([observed(i, asked_again(generator, chances)) for i in range(12)])
        arrows += any(point.is_signal for point in found.points)
    assert arrows / 300 <= 0.06


@pytest.mark.long
@pytest.mark.parametrize(("scatter", "at_most"), [(0, 0.05), (2, 0.32), (10, 0.05)])
def test_of_series_that_scatter_no_more_show_an_arrow_than_is_said(scatter, at_most):
    generator = np.random.default_rng(RNG)
    errors = Errors(own=np.ones(12), shared=np.zeros((12, 12)))
    arrows = 0
    for _ in range(500):
        values = generator.normal(size=12) * np.hypot(1, scatter)
        arrows += any(signals_of(values, errors, reference_of(values, errors, is_timed=False)))
    assert arrows / 500 <= at_most


def test_the_order_in_which_runs_are_given_does_not_matter():
    generator = np.random.default_rng(RNG)
    runs = [observed(i, asked_again(generator, np.full(100, 0.6))) for i in range(6)]
    assert of(runs) == of(runs[::-1])


def test_one_bad_run_is_down_and_the_one_after_it_is_neither_down_nor_up():
    generator = np.random.default_rng(RNG)
    chances = np.full(400, 0.7)
    levels = [0.0] * 10 + [-0.2] + [0.0] * 5
    runs = [observed(i, asked_again(generator, chances + level)) for i, level in enumerate(levels)]
    for n in range(11, len(runs) + 1):
        series = of(runs[:n])
        assert [point.label for point in series.points if point.is_signal] == ["#10"]
        assert (series.state == "down") == (n == 11)


def test_a_slow_fall_shows_in_the_average_before_any_run_is_far_off():
    generator = np.random.default_rng(RNG)
    runs = [observed(i, asked_again(generator, np.full(400, 0.7 - 0.008 * max(0, i - 4)))) for i in range(20)]
    series = of(runs)
    assert series.state == "down"
    assert all(point.change < 0 for point in series.points if point.is_signal)


def test_levels_of_a_change_are_those_between_its_neighbours():
    generator = np.random.default_rng(RNG)
    levels = [0.7] * 12 + [0.5] * 3 + [0.7] * 9
    found = of([observed(i, asked_again(generator, np.full(400, level))) for i, level in enumerate(levels)]).changes
    assert [one.at for one in found] == ["#12", "#15"]
    assert [one.after - one.before for one in found] == pytest.approx([-0.2, 0.2], abs=0.04)
    assert found[0].after == found[1].before


def test_a_run_of_which_much_was_lost_is_told():
    lost = msgspec.structs.replace(observed(1, np.ones(100)), lost=(3, 103))
    series = of([observed(0, np.ones(100)), lost, msgspec.structs.replace(observed(2, np.ones(100)), lost=(1, 101))])
    assert [point.lost for point in series.points] == [
        (),
        ("run #1: 3 of 103 requests failed or could not be graded; the others are what is shown",),
        (),
    ]

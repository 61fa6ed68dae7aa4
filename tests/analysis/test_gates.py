"""Gates: three outcomes, never green for want of evidence, and many criteria do not block by luck."""

import msgspec
import numpy as np
import pytest
from test_metrics import INFO, columns

from steelyard.analysis.estimates import Context
from steelyard.analysis.gate import (
    ONE_FIGURE,
    TOTALS,
    Policy,
    check_among,
    check_margin,
    check_threshold,
    refuse_mistaken,
    verdict_of,
)
from steelyard.analysis.margins import SAME_RATIO, Cell, standing
from steelyard.analysis.metrics import METRICS
from steelyard.analysis.noise import calibrate, dealt, propose_margin
from steelyard.analysis.shared import exact_confidence, shared_confidence, shared_estimates
from steelyard.analysis.summary import summarise
from steelyard.analysis.verdict_words import cannot_see, check_sentence, seen_sentence, told
from steelyard.criteria import parse_margin, parse_threshold
from steelyard.errors import UsageError
from steelyard.stats import clopper_pearson_interval, gate_verdict
from steelyard.types import Estimate

ACCURACY = parse_margin("accuracy=0.02")


def cell(scores, *, status="done", reported=("m",), machine=None, info=None, run=1, **changes):
    given = columns(scores, **changes)
    about = msgspec.structs.replace(INFO, items=len(np.unique(given.sample)), available=5000, **(info or {}))
    return Cell(
        run=run,
        run_name="r",
        status=status,
        info=about,
        columns=given,
        estimates=summarise(given, Context(info=about)),
        reported=reported,
        machine=machine or {"processor": "one"},
    )


def pair(n, only_baseline, only_candidate, **changes):
    """Baseline and candidate that disagree on so many of n items, and are right on the rest."""
    before, after = np.ones(n), np.ones(n)
    after[:only_baseline] = 0
    before[only_baseline : only_baseline + only_candidate] = 0
    return cell(before), cell(after, run=2, **changes)


@pytest.mark.parametrize(
    ("n", "lost", "won", "word"),
    [
        (1319, 112, 46, "fail"),
        (1319, 20, 20, "pass"),
        (200, 12, 12, "inconclusive"),
        (200, 60, 5, "fail"),
        (5, 0, 0, "inconclusive"),
    ],
)
def test_the_verdict_is_that_of_tangos_one_sided_bounds(n, lost, won, word):
    check = check_margin(ACCURACY, *pair(n, lost, won))
    expected = gate_verdict(n=n, only_baseline_correct=lost, only_candidate_correct=won, margin=0.02)
    assert (check.verdict, word) == (expected.verdict, expected.verdict)
    assert (check.value, check.low, check.high) == pytest.approx((expected.diff, expected.low, expected.high))
    assert (check.p < 0.05) == (word == "fail")


def test_equal_answers_of_few_items_do_not_pass_and_of_many_do():
    assert check_margin(ACCURACY, *pair(50, 0, 0)).verdict == "inconclusive"
    assert check_margin(ACCURACY, *pair(1000, 0, 0)).verdict == "pass"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "interrupted"}, "only a part was measured"),
        ({"reported": ("gpt-1", "gpt-2")}, "changed in mid-run"),
        ({"cached": np.ones(1000, dtype=bool)}, "an earlier run"),
        ({"info": {"prompt_digest": "q"}}, "prompt digest p and q"),
        ({"info": {"dataset_digest": "another"}}, "dataset digest"),
    ],
)
def test_what_cannot_be_judged_is_inconclusive_with_its_reason_and_exits_with_3(change, words):
    check = check_margin(ACCURACY, *pair(1000, 0, 0, **change))
    assert check.verdict == "inconclusive"
    assert words in check.fault
    assert verdict_of([check], policy=Policy(), run=2, baseline="main@1").exit_code == 3
    bearing = Policy(inconclusive="warn")
    assert verdict_of([check], policy=bearing, run=2, baseline="main@1").exit_code == 0


def test_infrastructure_errors_above_1_percent_are_inconclusive_on_either_side():
    scores = np.ones(1000)
    broken = scores.copy()
    broken[:11] = np.nan
    for before, after in ((cell(scores), cell(broken)), (cell(broken), cell(scores))):
        check = check_margin(ACCURACY, before, after)
        assert (check.verdict, "11 of 1000 requests failed" in check.fault) == ("inconclusive", True)
    broken[:10], broken[10] = np.nan, 1
    assert check_margin(ACCURACY, cell(scores), cell(broken)).verdict == "pass"


def test_what_is_borne_on_purpose_is_judged():
    changed = pair(1000, 0, 0, reported=("a", "b"))
    assert check_margin(ACCURACY, *changed, Policy(allowed=("model-change",))).verdict == "pass"


def test_a_cost_margin_without_a_price_is_never_green():
    margin = parse_margin("cost.per_item=10%")
    check = check_margin(margin, *pair(1000, 0, 0))
    assert (check.verdict, "cost is not known" in check.fault) == ("inconclusive", True)
    priced = [cell(np.ones(500), cost_usd=np.linspace(1, 2, 500) * dearer) for dearer in (1.0, 1.3)]
    assert check_margin(margin, *priced).verdict == "fail"
    assert check_margin(margin, *priced[::-1]).verdict == "pass"


def timed(seed, slower=1.0, n=500, **changes):
    return cell(np.ones(n), total_s=np.random.default_rng(seed).lognormal(0, 0.4, n) * slower, **changes)


def test_latency_is_held_by_its_ratio_and_another_machine_is_no_measure():
    margin = parse_margin("latency.p95=10%")
    assert check_margin(margin, timed(1), timed(2, 1.6)).verdict == "fail"
    assert check_margin(margin, timed(1), timed(2, 0.6)).verdict == "pass"
    assert check_margin(margin, timed(1), timed(2)).verdict == "inconclusive"
    moved = check_margin(margin, timed(1), timed(2, 1.6, machine={"processor": "two"}))
    assert (moved.verdict, "another machine" in moved.fault) == ("inconclusive", True)
    assert (
        check_margin(
            margin, timed(1), timed(2, 1.6, machine={"processor": "two"}), Policy(allowed=("machine",))
        ).verdict
        == "fail"
    )


def test_with_a_floor_only_what_is_worse_by_both_counts():
    before, after = timed(1), timed(2, 1.6)
    assert check_margin(parse_margin("latency.p50=10%,5s"), before, after).verdict == "pass"
    assert check_margin(parse_margin("latency.p50=10%,50ms"), before, after).verdict == "fail"


@pytest.mark.parametrize("metric", ["latency.mean", "tokens_per_second", "requests_per_second", "unparsed"])
def test_what_is_no_property_of_an_item_is_compared_by_both_intervals(metric):
    found = standing(metric, timed(1), timed(2), "difference")
    assert found.fault is None
    assert found.low < found.value < found.high


def test_a_better_candidate_passes_whichever_way_better_is():
    slower, faster = timed(1, 2.0), timed(2, 1.0)
    assert check_margin(parse_margin("latency.mean=5%"), slower, faster).verdict == "pass"
    assert check_margin(parse_margin("latency.mean=5%"), faster, slower).verdict == "fail"


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_a_metric_that_one_side_never_measured_is_never_a_pass(side):
    of_chunks = Estimate(metric="itl.p50", value=0.02, low=0.01, high=0.03, level=0.95, n=99, method="m", unit="s")
    sides = {"baseline": timed(1), "candidate": timed(1, run=2)}
    sides[side] = msgspec.structs.replace(sides[side], estimates=())
    other = "candidate" if side == "baseline" else "baseline"
    sides[other] = msgspec.structs.replace(sides[other], estimates=(of_chunks,))
    found = told(verdict_of([check_margin(parse_margin("itl.p50=10%"), **sides)], policy=Policy(), run=2, baseline="m"))
    assert (found.verdict, found.exit_code) == ("inconclusive", 3)
    assert f"itl.p50 of the {side}: not measured in run" in found.sentence


def test_a_number_without_a_direction_has_no_margin():
    with pytest.raises(UsageError, match="neither better"):
        check_margin(parse_margin("answered=10%"), *pair(100, 0, 0))


def test_tokens_are_held_by_the_ratio_of_their_sums_over_the_same_items():
    used = np.random.default_rng(1).integers(5, 40, size=400).astype(float)
    before, longer = cell(np.ones(400), output_tokens=used), cell(np.ones(400), output_tokens=1.3 * used + 1, run=2)
    check = check_margin(parse_margin("output_tokens=10%"), before, longer)
    assert (check.verdict, check.value) == ("fail", pytest.approx(1.3 + 400 / used.sum()))
    assert (check.baseline.value, check.candidate.value) == (used.sum(), pytest.approx(1.3 * used.sum() + 400))
    assert check_margin(parse_margin("output_tokens=10%"), longer, before).verdict == "pass"


def test_twice_as_slow_may_be_borne_and_nothing_falls_by_more_than_all_of_it():
    margin = parse_margin("latency.p50=100%")
    assert check_margin(margin, timed(1), timed(2, 1.6)).verdict == "pass"
    assert check_margin(margin, timed(1), timed(2, 3.0)).verdict == "fail"
    with pytest.raises(UsageError, match="would bear anything"):
        check_margin(parse_margin("tokens_per_second=100%"), timed(1), timed(2))


def test_the_smallest_fall_that_is_told_is_a_share_of_what_was_there():
    drawn = np.random.default_rng(1).lognormal(0, 1, (2, 200))
    check = check_margin(parse_margin("tokens_per_second=20%"), *(cell(np.ones(200), output_tokens=d) for d in drawn))
    error = np.log(check.high / check.low) / 2 / 1.645
    assert check.detectable == pytest.approx(1 - np.exp(-(1.645 + 0.842) * error), abs=1e-3)


def test_a_share_of_what_may_be_nothing_is_refused_by_name():
    found = standing("unparsed", *pair(100, 0, 0), "ratio")
    assert found.fault.startswith("unparsed may be 0")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("accuracy >= 0.70", "pass"),
        ("accuracy >= 0.95", "fail"),
        ("accuracy >= 0.80", "inconclusive"),
        ("errored <= 0", "pass"),
        ("latency.p95 <= 2s", "pass"),
        ("latency.p95 <= 1.2s", "fail"),
    ],
)
def test_a_threshold_is_held_by_its_own_interval(text, word):
    scores = np.r_[np.ones(160), np.zeros(40)]
    check = check_threshold(parse_threshold(text), cell(scores))
    assert check.verdict == word
    assert text in check_sentence(check)


def streamed(n=60, gaps=8, **changes):
    """As many streamed answers, each with gaps of about 20 ms."""
    gaps_s = np.random.default_rng(5).gamma(20, 0.001, n * gaps)
    return cell(np.ones(n), gaps_s=gaps_s, gap_starts=np.arange(0, n * gaps + 1, gaps), **changes)


def without_gaps(found):
    """The cell as a baseline keeps it: the figures, and no gap between tokens."""
    n = len(found.columns.sample)
    given = msgspec.structs.replace(found.columns, gaps_s=np.array([]), gap_starts=np.zeros(n + 1, dtype=int))
    return msgspec.structs.replace(found, columns=given)


def among(text, found, models):
    return check_among(parse_threshold(text), found, shared_estimates(found.columns, found.info, (), models), models)


def test_gaps_between_tokens_are_held_at_the_gates_level_where_they_are_there():
    own, kept = (
        check_threshold(parse_threshold("itl.p50 <= 25ms"), one) for one in (streamed(), without_gaps(streamed()))
    )
    assert (own.verdict, own.level, kept.verdict, kept.level) == ("pass", pytest.approx(0.95), "pass", 0.975)
    assert own.high < kept.high
    assert "each bound with 97.5 %" in check_sentence(kept)


def test_gaps_between_tokens_of_one_model_among_several_are_held_at_the_level_they_share():
    check = among("itl.p50 <= 25ms", streamed(), 5)
    assert (check.verdict, check.level) == ("pass", pytest.approx((1 + shared_confidence(5)) / 2))
    assert check.high > check_threshold(parse_threshold("itl.p50 <= 25ms"), streamed()).high


def test_bounds_that_cannot_be_had_at_the_level_that_models_share_are_no_pass():
    [check] = told(verdict_of([among("itl.p50 <= 25ms", without_gaps(streamed()), 5)], policy=Policy(), run=1,
                              baseline=None)).checks  # fmt: skip
    assert (check.verdict, check.level) == ("inconclusive", 0.975)
    assert "kept with 97.5 %, and where one of 5 models is chosen a pass takes 99.2 %" in check.sentence
    assert among("itl.p50 <= 15ms", without_gaps(streamed()), 5).verdict == "fail"


def test_the_score_of_a_part_of_one_model_among_several_is_held_at_the_level_they_share():
    scores = np.r_[np.ones(150), np.zeros(50), np.ones(100)]
    found = cell(scores, stratum=np.repeat([0, 1], [200, 100]), strata=("a", "b"))
    check = among("accuracy/a >= 0.60", found, 5)
    exact = clopper_pearson_interval(successes=150, n=200, confidence=exact_confidence(5))
    assert (check.verdict, check.level, check.low) == ("pass", pytest.approx(0.99), pytest.approx(exact.low))
    alone = check_threshold(parse_threshold("accuracy/a >= 0.60"), found)
    assert (alone.level, alone.candidate.level) == (0.975, 0.95)


def test_what_is_no_sample_has_no_level():
    for check in (check_threshold(parse_threshold("errored <= 0"), streamed()), among("errored <= 0", streamed(), 5)):
        assert (check.verdict, check.level) == ("pass", None)
        assert "each bound" not in check_sentence(check)


def test_an_unknown_number_is_no_kept_threshold():
    check = check_threshold(parse_threshold("cost.per_correct <= 0.01"), cell(np.ones(100)))
    assert (check.verdict, check.fault is not None) == ("inconclusive", True)


def test_one_weak_failure_among_many_criteria_does_not_block():
    weak = check_margin(ACCURACY, *pair(1319, 80, 34))
    assert weak.verdict == "fail"
    assert 0.01 < weak.p < 0.05
    good = check_margin(ACCURACY, *pair(1319, 5, 5))
    alone = verdict_of([weak], policy=Policy(), run=2, baseline="main@1")
    among = verdict_of([weak, *[good] * 5], policy=Policy(), run=2, baseline="main@1")
    assert (alone.verdict, alone.exit_code) == ("fail", 1)
    assert (among.verdict, among.exit_code) == ("inconclusive", 0)
    assert "not among so many criteria" in told(among).sentence


@pytest.mark.parametrize(
    ("mode", "inconclusive", "code"),
    [("regression", None, 0), ("noninferiority", None, 3), ("regression", "block", 3), ("noninferiority", "warn", 0)],
)
def test_too_few_figures_block_as_the_mode_says(mode, inconclusive, code):
    check = check_margin(ACCURACY, *pair(200, 12, 12))
    policy = Policy(mode=mode, inconclusive=inconclusive)
    found = told(verdict_of([check], policy=policy, run=2, baseline="main@1"))
    assert (found.verdict, found.exit_code) == ("inconclusive", code)
    assert "more items would settle it" in found.sentence


def test_nothing_to_hold_a_run_to_is_inconclusive_and_blocks():
    found = verdict_of([], policy=Policy(), run=2, baseline="main", faults=["there is no baseline"])
    assert (found.verdict, found.exit_code) == ("inconclusive", 3)
    assert "no baseline" in told(found).sentence


def test_items_that_would_settle_it_would():
    n, lost, won = 200, 12, 12
    check = check_margin(ACCURACY, *pair(n, lost, won))
    factor = check.needed_items / n
    settled = gate_verdict(
        n=round(n * factor),
        only_baseline_correct=round(lost * factor),
        only_candidate_correct=round(won * factor),
        margin=0.02,
    )
    assert settled.verdict == "pass"
    assert 500 < check.needed_items < 2500


@pytest.mark.parametrize(("right", "bound"), [(1.0, 0.99), (0.0, 0.02), (0.9, 0.88)])
def test_items_that_would_settle_a_bound_on_a_share_would(right, bound):
    def held(n):
        sign = ">=" if right >= bound else "<="
        scores = (np.arange(n) < round(right * n)).astype(float)
        return check_threshold(parse_threshold(f"accuracy {sign} {bound}"), cell(scores))

    few = held(100)
    assert few.verdict == "inconclusive"
    assert held(few.needed_items).verdict == "pass"
    if right in (0.0, 1.0):
        assert held(few.needed_items - 2).verdict == "inconclusive"


def test_what_counts_failures_is_judged_where_many_calls_failed():
    scores = np.ones(400)
    scores[:20] = np.nan
    words = {
        text: check_threshold(parse_threshold(text), cell(scores)).verdict
        for text in ("reliability >= 99%", "reliability >= 90%", "errored <= 5", "accuracy.lower_bound >= 0.9")
    }
    assert list(words.values()) == ["fail", "pass", "fail", "pass"]
    other = check_threshold(parse_threshold("accuracy >= 0.9"), cell(scores))
    assert (other.verdict, "20 of 400 requests failed" in other.fault) == ("inconclusive", True)


def test_a_gate_that_cannot_see_its_margin_says_so():
    assert "only a change of" in cannot_see(check_margin(ACCURACY, *pair(200, 12, 12)))
    assert "with n = 1 no change at all is told" in cannot_see(check_margin(ACCURACY, *pair(1, 0, 0)))
    assert cannot_see(check_margin(parse_margin("accuracy=0.10"), *pair(200, 12, 12))) is None


def test_a_tail_over_few_clusters_is_shown_and_held_to_nothing():
    given = cell(np.ones(240), cluster=np.arange(240) // 30, total_s=np.linspace(0.1, 0.2, 240))
    for bound in ("latency.p95 <= 10s", "latency.p95 <= 0.01s"):
        check = check_threshold(parse_threshold(bound), given)
        assert (check.verdict, check.value) == ("inconclusive", None)
        assert check.fault == "latency.p95 has no interval: n too small: need 59, have 8 clusters"
        assert 0.15 < check.candidate.value < 0.2
    changed = check_margin(parse_margin("latency.p95=10%"), given, given)
    assert (changed.verdict, changed.fault) == ("inconclusive", "n too small: need 59, have 8 clusters")


def test_clustered_items_are_worth_less():
    before, after = np.ones(600), np.ones(600)
    after[:30] = 0
    clusters = np.arange(600) // 30
    alone = check_margin(ACCURACY, cell(before), cell(after))
    clustered = check_margin(ACCURACY, cell(before, cluster=clusters), cell(after, cluster=clusters))
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)
    assert (alone.verdict, clustered.verdict) == ("fail", "inconclusive")


def repeated(generator, n=300, repeats=4, chance=0.8):
    scores = (generator.random(n * repeats) < chance).astype(float)
    return cell(
        scores,
        sample=np.repeat(np.arange(n), repeats),
        repeat=np.tile(np.arange(repeats), n),
        info={"repeats": repeats},
    )


def test_dealt_repeats_err_as_seldom_as_the_level_says_and_never_share_an_answer():
    generator = np.random.default_rng(7)
    source = repeated(generator)
    pairs = dealt(source, 200)
    assert len(pairs) == 200
    assert all(
        len(one.columns.sample) == len(other.columns.sample) == 600
        for one, other in ((p.one, p.other) for p in pairs[:5])
    )
    found = calibrate(ACCURACY, pairs, "dealt")
    assert found.fails.value <= 0.05
    assert found.passes.value + found.fails.value + found.inconclusive.value == pytest.approx(1)
    assert 0.02 < found.detectable < 0.12
    assert found.largest > 0


def test_an_odd_repeat_is_left_out_and_items_asked_once_deal_nothing():
    [only] = dealt(repeated(np.random.default_rng(1), n=50, repeats=3), 1)
    assert len(only.one.columns.sample) == len(only.other.columns.sample) == 50
    assert dealt(cell(np.ones(50)), 10) == []


def test_a_margin_is_proposed_from_the_noise_of_repeats_else_from_what_it_can_be():
    often = propose_margin(repeated(np.random.default_rng(1)))
    once = propose_margin(cell((np.random.default_rng(1).random(300) < 0.8).astype(float)))
    assert often.margin < once.margin
    assert "at most" in once.basis
    assert propose_margin(cell(np.ones(100))).margin > 0


@pytest.mark.parametrize(
    ("text", "relative", "absolute"),
    [
        ("accuracy=0.02", None, 0.02),
        ("accuracy=2points", None, 0.02),
        ("latency.p95=10%", 0.10, None),
        ("latency.p95=10%,50ms", 0.10, 0.05),
        ("cost_per_correct=$0.01", None, 0.01),
        ("ttft.p50=1.5s", None, 1.5),
    ],
)
def test_margins_are_read_as_they_are_written(text, relative, absolute):
    found = parse_margin(text)
    assert (found.relative, found.absolute) == (
        pytest.approx(relative) if relative else None,
        pytest.approx(absolute) if absolute else None,
    )


@pytest.mark.parametrize(
    "text",
    [
        "accuracy",
        "accuracy=",
        "accuracy=x",
        "=0.02",
        "accuracy=0",
        "accuracy=-0.02",
        "accuracy=2%",
        "latency.p95=10%,20%",
        "latency.p95=10parsec",
        "accuracy=2",
        "accuracy=20ms",
        "latency.p95=2points",
    ],
)
def test_what_is_no_margin_is_a_usage_error_with_an_example(text):
    with pytest.raises(UsageError, match="Try:"):
        parse_margin(text)


@pytest.mark.parametrize(
    "text", ["accuracy > 0.7", "accuracy", ">= 0.7", "accuracy >= lots", "accuracy == 1", "accuracy >= 70"]
)
def test_what_is_no_criterion_is_a_usage_error_with_an_example(text):
    with pytest.raises(UsageError, match="Try:"):
        parse_threshold(text)


def test_a_share_that_no_share_can_be_is_taken_for_the_per_cent_it_meant():
    with pytest.raises(UsageError, match=r"Try: accuracy=0\.02, or accuracy=2points"):
        parse_margin("accuracy=2")
    with pytest.raises(UsageError, match="Try: unparsed <= 5%"):
        parse_threshold("unparsed <= 5")
    assert parse_threshold("accuracy >= 100%").value == 1


def test_a_bound_is_not_written_as_the_margin_that_it_misses():
    found = check_margin(parse_margin("accuracy=0.02"), cell([1.0, 0.0] * 40), cell([1.0, 0.0] * 40))
    near = msgspec.structs.replace(found, verdict="pass", low=-0.01996)
    assert "no worse than -1.996 points (margin 2.0 points" in seen_sentence(near)
    over = msgspec.structs.replace(found, verdict="fail", value=-0.05, high=-0.0203)
    assert "worse than -2.03 points (margin 2.0 points" in seen_sentence(over)
    slower = msgspec.structs.replace(near, scale="ratio", better="lower", margin=0.1, high=1.09996)
    assert "no worse than +9.996 % (margin 10 %" in seen_sentence(slower)


def test_what_is_one_figure_of_a_run_has_no_margin():
    info = cell([1.0, 0.0, 1.0]).info
    found = summarise(columns([1, 0, 1], retried=np.zeros(3, dtype=bool)), Context(info=info))
    counted = {one.metric for one in found if one.method in ("count", "description")}
    assert {name for name in counted if METRICS[name].better} <= {*ONE_FIGURE, *TOTALS}
    assert set(TOTALS) <= set(SAME_RATIO)
    for metric in ONE_FIGURE:
        with pytest.raises(UsageError, match="one figure of a run"):
            refuse_mistaken(parse_margin(f"{metric}=10%"), info)
    for metric in TOTALS:
        refuse_mistaken(parse_margin(f"{metric}=10%"), info)
        with pytest.raises(UsageError, match="by its ratio alone"):
            refuse_mistaken(parse_margin(f"{metric}=10"), info)


def test_a_margin_of_two_parts_fails_by_neither_alone_where_the_other_is_not_known():
    """A mean time that may be 0 leaves no share to tell, and worse by 5 s alone is not worse by both."""
    before = cell(np.ones(100), total_s=np.r_[np.full(99, 0.001), 5.0])
    after = cell(np.ones(100), total_s=np.linspace(19, 21, 100))
    assert check_margin(parse_margin("latency.mean=5s"), before, after).verdict == "fail"
    both = check_margin(parse_margin("latency.mean=10%,5s"), before, after)
    assert both.verdict == "inconclusive"
    assert "no share can be told" in both.fault


def test_a_metric_that_too_few_requests_keep_unknown_says_how_many_are_missing():
    times = {"total_s": np.linspace(0.1, 0.2, 53)}
    check = check_threshold(parse_threshold("latency.p95 <= 1s"), cell(np.ones(53), **times))
    assert (check.verdict, check.missing) == ("inconclusive", 6)  # 59 in all
    pairs = cell(np.ones(80), total_s=np.linspace(0.1, 0.2, 80), cluster=np.arange(80) // 2)
    check = check_threshold(parse_threshold("latency.p95 <= 1s"), pairs)
    assert (check.verdict, check.missing, check.clusters_needed) == ("inconclusive", None, 59)
    enough = check_threshold(parse_threshold("latency.p50 <= 1s"), cell(np.ones(53), **times))
    assert (enough.verdict, enough.missing) == ("pass", None)


def test_what_is_wrong_with_the_baseline_reads_as_a_sentence_of_it():
    lost = np.ones(300)
    lost[:7] = np.nan
    check = check_margin(ACCURACY, cell(lost), cell(np.ones(300), run=2))
    assert check.fault == ("of the baseline, 7 of 300 requests failed or could not be graded, which is more than 1 %")

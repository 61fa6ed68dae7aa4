"""Comparisons of columns: the right test for the data, mirrored, never certain without cause, and told in words."""

import msgspec
import numpy as np
import pytest
from test_metrics import INFO, columns

from steelyard import stats
from steelyard.analysis.compare import (
    Side,
    average_over_benchmarks,
    claim_level,
    compare_scores,
    grid_level,
    in_family,
    items_to_find,
    p_by_interval,
)
from steelyard.analysis.compare_measures import MEASURES, compare_measure
from steelyard.analysis.places import rank
from steelyard.analysis.sentences import descriptive, named, points, sentence, times
from steelyard.analysis.stopped import finding
from steelyard.types import Estimate, Look

NAN = float("nan")


def side(scores, name="m", run=1, info=INFO, **changes):
    return Side(name=name, run=run, info=info, columns=columns(scores, **changes))


def pair(b, c, both=5, neither=5):
    """Scores of a baseline and a candidate: b items only of the candidate, c only of the baseline."""
    candidate = [1] * (both + b) + [0] * (c + neither)
    baseline = [1] * both + [0] * b + [1] * c + [0] * neither
    return side(baseline, "base"), side(candidate, "cand")


def test_right_and_wrong_get_tangos_interval_and_mcnemars_mid_p():
    found = compare_scores(*pair(1, 7, 8, 5))
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.517, -0.026), abs=5e-4)  # Tango 1998
    assert (found.test, found.verdict) == ("McNemar mid-p", "regressed")
    assert found.p_value == pytest.approx(2 * (9 / 256) - 8 / 256)
    seen = found.agreement
    assert (seen.both, seen.only_candidate, seen.only_baseline, seen.neither) == (8, 1, 7, 5)


def test_turned_round_a_comparison_has_the_other_sign_and_the_other_word():
    baseline, candidate = pair(20, 4)
    there, back = compare_scores(baseline, candidate), compare_scores(candidate, baseline)
    assert (there.verdict, back.verdict) == ("improved", "regressed")
    assert there.difference.low == pytest.approx(-back.difference.high)
    assert there.p_value == back.p_value


@pytest.mark.parametrize("table", [(0, 0, 10, 0), (0, 0, 0, 10), (0, 0, 0, 0), (0, 0, 1, 0), (5, 0, 0, 0)])
def test_the_edges_have_a_width_or_say_why_not(table):
    found = compare_scores(*pair(*table))
    if found.pairing.n:
        assert found.difference.high > found.difference.low
    else:
        assert found.difference.status == "no item was scored on both sides"
        assert sentence(found).startswith("cand and base cannot be compared on accuracy")


def test_a_side_that_was_never_asked_is_told_and_breaks_nothing():
    nothing, something = side([], "none"), side([1.0, 0.0], "some")
    for sides in ((nothing, something), (something, nothing), (nothing, nothing)):
        found = compare_scores(*sides)
        assert (found.verdict, found.difference.value, found.pairing.n) == ("inconclusive", None, 0)
        for metric in ("latency.p95", "cost.per_request"):
            measure = compare_measure(*sides, metric)
            assert (measure.verdict, measure.ratio.value) == ("inconclusive", None)
    assert [place.low for place in rank([nothing, something, something], "accuracy").places] == [1, 1, 1]


def test_repeats_are_compared_by_item_means_and_not_as_more_items():
    generator = np.random.default_rng(1)
    items = np.repeat(np.arange(60), 3)
    baseline, candidate = (side((generator.random(180) < 0.5).astype(float), sample=items) for _ in range(2))
    found = compare_scores(baseline, candidate)
    assert (found.difference.n, found.test, found.agreement) == (60, "paired t", None)
    few = items < 20
    small = [side(one.columns.scores["accuracy"][few], sample=items[few]) for one in (baseline, candidate)]
    assert compare_scores(*small).test == "sign flips, exact"


def test_repeats_that_all_agree_are_not_certainty():
    items = np.repeat(np.arange(30), 2)
    found = compare_scores(side(np.ones(60), sample=items), side(np.ones(60), sample=items))
    assert (found.difference.value, found.verdict) == (0.0, "inconclusive")
    assert found.difference.high > 0.05


def test_clusters_widen_the_interval_and_say_so():
    cluster = np.arange(200) // 10
    baseline = (np.arange(200) % 2).astype(float)
    candidate = np.where(cluster % 3 == 0, 1.0, baseline)
    free = compare_scores(side(baseline), side(candidate))
    held = compare_scores(side(baseline, cluster=cluster), side(candidate, cluster=cluster))
    assert held.difference.method == "paired, 20 clusters, CR1, t"
    assert held.difference.value == pytest.approx(free.difference.value)
    assert held.difference.high - held.difference.low > 1.5 * (free.difference.high - free.difference.low)


def test_two_clusters_bound_no_difference_beyond_what_it_can_be():
    cluster = np.arange(40) // 20
    baseline, candidate = np.zeros(40), np.where(np.arange(40) < 4, 1.0, 0.0)
    found = compare_scores(side(baseline, cluster=cluster), side(candidate, cluster=cluster))
    assert -1 <= found.difference.low < 0 < found.difference.high <= 1
    assert found.detectable > 1  # so many items find nothing
    assert found.difference.status == "only 2 clusters: the interval is rough"


def test_a_mean_over_strata_is_compared_as_the_headline_weighs_it():
    info = msgspec.structs.replace(INFO, aggregate="macro")
    stratum, strata = np.array([0] * 90 + [1] * 10), ("large", "small")
    baseline, candidate = np.zeros(100), np.array([0.0] * 90 + [1.0] * 8 + [0.0] * 2)
    found = compare_scores(
        side(baseline, info=info, stratum=stratum, strata=strata),
        side(candidate, info=info, stratum=stratum, strata=strata),
    )
    assert found.difference.value == pytest.approx(0.4)
    assert found.of_candidate.value == pytest.approx(0.4)
    assert "mean over 2 strata" in found.difference.method


def test_answers_lost_in_strata_have_their_range_without_another_interval(monkeypatch):
    info = msgspec.structs.replace(INFO, aggregate="macro", families={"rest": ("small", "tiny")})
    kinds = {"info": info, "stratum": np.array([0] * 4 + [2] * 4 + [1] * 2), "strata": ("large", "tiny", "small")}
    made, interval = [], stats.stratified_difference_interval
    monkeypatch.setattr(stats, "stratified_difference_interval", lambda **given: made.append(1) or interval(**given))
    baseline = side([1, 0, NAN, 1, 0, 0, 0, 0, 1, 1], "base", **kinds)
    found = compare_scores(baseline, side([1, 1, 1, 1, 1, 0, 0, 0, 1, NAN], "cand", **kinds))
    assert found.difference.value == pytest.approx(1 / 2 * 1 / 3 + 1 / 4 * 1 / 4)
    assert found.pairing.low == pytest.approx(1 / 2 * 1 / 4 + 1 / 4 * 1 / 4 - 1 / 4 * 1 / 2)
    assert found.pairing.high == pytest.approx(1 / 2 * 2 / 4 + 1 / 4 * 1 / 4)
    assert len(made) == 1


def test_a_margin_makes_equivalence_sayable_and_is_no_excuse_for_few_items():
    few, many = pair(1, 1, 10, 10), pair(10, 10, 1000, 1000)
    assert compare_scores(*few, margin=0.02).verdict == "inconclusive"
    found = compare_scores(*many, margin=0.02)
    assert found.verdict == "equivalent"
    assert "Within the margin of 2 points either way: equivalent." in sentence(found)


def test_lost_answers_are_told_by_side_with_what_they_could_change():
    found = compare_scores(side([1, 1, 0, 1, NAN, 0], "base"), side([1, 0, NAN, 1, 1, 0], "cand"))
    pairing = found.pairing
    assert (pairing.n, pairing.n_common, pairing.lost_baseline, pairing.lost_candidate) == (4, 6, 1, 1)
    assert (pairing.low, pairing.high) == pytest.approx((-1 / 6 - 1 / 6 + 1 / 6 - 1 / 6 + 1 / 6, 1 / 6), abs=0.2)
    assert "2 items have no score on a side (1 of base, 1 of cand)" in found.notes[0]
    assert "--resume" in found.notes[0]


def test_repeats_that_failed_are_told_also_where_their_item_stands():
    items = np.repeat(np.arange(4), 3)
    whole, broken = [1, 0, 1] * 4, [1, 0, 1] * 3 + [1, NAN, NAN]
    found = compare_scores(side(whole, "base", sample=items), side(broken, "cand", sample=items))
    assert (found.pairing.n, found.pairing.n_common, found.pairing.unscored_repeats_candidate) == (4, 4, 2)
    assert found.notes == (
        "2 answers have no score (0 of base, 2 of cand) to items that their other repeats stand for, "
        "which could make the difference anything from -8.3 to +8.3 points",
    )


def test_items_without_a_time_or_a_price_are_told_by_side():
    scores = np.array([1, NAN, 0, 1, 1, 0, 1, 1, NAN, 0])
    lost, whole = side(scores, "lost", output_tokens=np.where(np.isnan(scores), NAN, 10)), side(np.ones(10), "whole")
    for metric in ("latency.p50", "output_tokens"):
        (note,) = compare_measure(whole, lost, metric).notes
        assert note == f"2 items have no {metric} on a side (0 of whole, 2 of lost) and are left out"
    again = side(np.ones(10), "again", cached=np.arange(10) < 4)
    (note,) = compare_measure(whole, again, "latency.p50").notes
    assert note.endswith("are left out; an answer used again has no time. Try: steelyard run --fresh")
    assert compare_measure(whole, again, "output_tokens").notes == ()


def test_a_side_with_scores_elsewhere_is_not_said_to_have_none():
    found = compare_scores(side([NAN, NAN, 1], "base"), side([1, 0, NAN], "cand"))
    assert found.of_candidate.status == "no item was scored on both sides"
    assert compare_scores(side([NAN, NAN], "base"), side([1, 0], "cand")).of_baseline.status == "nothing was scored"


def test_one_sentence_says_how_much_how_sure_and_at_what_cost():
    price = {"cost_usd": np.full(50, 0.001)}
    baseline = side([1] * 20 + [0] * 30, "base", cost_usd=np.linspace(0.001, 0.003, 50))
    candidate = side([1] * 40 + [0] * 10, "cand", **price)
    words = sentence(compare_scores(baseline, candidate), [compare_measure(baseline, candidate, "cost.per_request")])
    assert words == (
        "cand answers 40.0 points more than base (95 % interval +27.6 to +53.8, paired, n = 50) "
        "at 50 % of the cost (46.1 to 54.6)."
    )
    dear = side([1] * 40 + [0] * 10, "cand", cost_usd=np.linspace(0.001, 0.003, 50) * 34.1)
    words = sentence(compare_scores(baseline, dear), [compare_measure(baseline, dear, "cost.per_request")])
    assert words.endswith(" at 34.1 times the cost.")
    double = side([1] * 40 + [0] * 10, "cand", cost_usd=np.linspace(0.001, 0.003, 50) * 2)
    words = sentence(compare_scores(baseline, double), [compare_measure(baseline, double, "cost.per_request")])
    assert words.endswith(" at 2 times the cost.")
    more = side([1] * 40 + [0] * 10, "cand", cost_usd=np.linspace(0.001, 0.003, 50) * 1.9)
    words = sentence(compare_scores(baseline, more), [compare_measure(baseline, more, "cost.per_request")])
    assert words.endswith(" at 190 % of the cost.")
    wider = compare_scores(baseline, more, confidence=0.975)
    words = sentence(wider, [compare_measure(baseline, candidate, "cost.per_request")])
    assert "(97.5 % interval +26.1 to " in words
    assert words.endswith(" at 50 % of the cost (95 % interval 46.1 to 54.6).")
    assert "not enough to tell them apart" in sentence(compare_scores(*pair(3, 2)))
    again = compare_scores(side([1, 0, 1], "m", 3), side([1, 1, 1], "m", 7))
    assert sentence(again).startswith("m in #7 answers 33.3 points more than m in #3")


def test_a_small_difference_that_is_shown_is_not_called_none():
    found = compare_scores(*pair(6, 0, both=10_000, neither=4_036))
    assert found.verdict == "improved"
    assert points(found.difference) == "+0.04 (+0.02 to +0.09)"
    assert sentence(found) == (
        "cand answers 0.04 points more than base (95 % interval +0.02 to +0.09, paired, n = 14,042)."
    )
    alike = compare_scores(*pair(0, 0, both=10_000, neither=4_042))
    assert "cand answers as much as base (95 % interval -0.03 to +0.03, paired" in sentence(alike)


def test_a_bound_is_never_written_as_none_where_it_leaves_none_out():
    close = Estimate(metric="accuracy", value=0.17, low=0.00031, high=0.347, level=0.95, n=60, method="m", unit="share")
    assert points(close) == "+17.0 (+0.03 to +34.7)"
    look = Look(rule="anytime", number=3, n=60, scored=60, planned=400, population=None, against="base", value=0.17,
                low=0.00031, high=0.347, level=0.95, estimand="questions like these", verdict="ahead")  # fmt: skip
    assert finding(look) == "+17.0 points (+0.03 to +34.7, 95 % over all looks, questions like these)"
    assert points(msgspec.structs.replace(close, low=-0.0, high=0.347)) == "+17.0 (+0.0 to +34.7)"
    assert points(msgspec.structs.replace(close, low=-1e-12)) == "+17.0 (+0.0 to +34.7)"
    dearer = msgspec.structs.replace(close, value=1.02, low=1.0004, high=1.04, unit="ratio")
    assert times(dearer) == "x1.02 (1.0004 to 1.04)"
    assert times(msgspec.structs.replace(dearer, low=1.0)) == "x1.02 (1 to 1.04)"
    told = msgspec.structs.replace(compare_scores(*pair(9, 2)), difference=close)
    assert "(95 % interval +0.03 to +34.7, paired, n = 60)" in sentence(told)


def test_without_spread_nobody_says_what_could_be_found():
    usage = {"output_tokens": np.linspace(5, 9, 60)}
    found = compare_measure(side([1] * 60, "base", **usage), side([1] * 60, "cand", **usage), "output_tokens")
    assert (found.ratio.value, found.detectable, items_to_find(found, 0.05)) == (1.0, None, None)


def test_answers_used_again_are_no_news_of_the_same_model():
    old, new = side([1, 0, 1], "m", 1), side([1, 0, 1], "m", 2, cached=np.array([True, True, False]))
    assert "2 answers of run #2 were given in earlier runs" in compare_scores(old, new).notes[0]
    other = msgspec.structs.replace(new, info=msgspec.structs.replace(INFO, origin="elsewhere"))
    assert compare_scores(old, other).notes == ()


def test_settings_that_make_two_systems_of_one_model_are_said():
    warm = msgspec.structs.replace(INFO, settings={"model": {"temperature": 0.7}})
    found = compare_scores(side([1, 0, 1], "cold"), side([1, 1, 1], "warm", info=warm))
    assert found.notes == ("their settings differ: temperature 0.7 against the protocol's",)
    newer = msgspec.structs.replace(INFO, settings={"model": {"version": "2"}})
    found = compare_scores(side([1, 0, 1], "plain"), side([1, 1, 1], "newer", info=newer))
    assert found.notes == ("their settings differ: version '2' against none",)


def test_a_score_reads_as_people_expect_it():
    found = compare_scores(*pair(0, 0, 864, 136)).of_baseline
    assert descriptive(found) == "accuracy 86.4 % (84.1 to 88.4, Wilson 95 %, n = 1,000)"


def test_a_claim_of_several_holds_together():
    assert claim_level(1) == 0.95
    assert claim_level(5) == pytest.approx(0.99)
    found = [compare_scores(*pair(b, c)) for b, c in ((30, 5), (15, 6), (9, 8))]
    claim = in_family(found, "claim")
    assert [one.adjustment for one in claim] == ["holm"] * 3
    assert claim[0].adjusted_p == pytest.approx(3 * found[0].p_value)


def as_grid(sides):
    """The sides compared as a grid: at the level that follows from how many are told apart."""
    level = grid_level([p_by_interval(*one) for one in sides])
    return in_family([compare_scores(*one, by_interval=True, confidence=level) for one in sides], "grid")


def test_in_a_grid_interval_p_and_word_never_disagree():
    draw = np.random.default_rng(5)
    seen = set()
    for _ in range(60):
        tables = draw.integers(0, 14, (draw.integers(2, 7), 2)).tolist()
        sides = [pair(b, c, both=20, neither=20) for b, c in tables]
        sides += [(side(draw.random(30), "base"), side(draw.random(30) + shift, "cand")) for shift in (0, 0.15)]
        grid = as_grid(sides)
        for one in grid:
            is_told = one.adjusted_p <= 0.10
            assert is_told == (one.verdict != "inconclusive")
            assert is_told == (one.difference.low > 0 or one.difference.high < 0)
            seen.add((one.test, one.verdict))
    words = ("improved", "regressed", "inconclusive")
    assert seen >= {("Tango score", word) for word in words} | {("paired t", word) for word in words[::2]}


def test_a_grid_of_one_level_says_what_is_told_apart_among_so_many():
    sides = [pair(b, c) for b, c in ((30, 5), (15, 6), (9, 8), (9, 9))]
    grid = as_grid(sides)
    assert [one.verdict for one in grid] == ["improved", "improved", "inconclusive", "inconclusive"]
    assert {one.difference.level for one in grid} == {1 - 2 * 0.10 / 4}
    assert {one.adjustment for one in grid} == {"bh"}
    assert as_grid([pair(9, 9), pair(8, 9)])[0].difference.level == 1 - 0.10 / 2


def test_what_more_items_would_find_follows_from_the_spread_seen():
    found = compare_scores(*pair(40, 40, 60, 60))
    assert found.detectable == pytest.approx(2.8016 * np.sqrt(0.4 / 200), rel=0.02)
    assert items_to_find(found, found.detectable) == pytest.approx(200, abs=1)
    assert items_to_find(found, found.detectable / 2) == pytest.approx(800, abs=4)


def test_what_more_items_would_find_of_a_time_or_an_amount_is_relative():
    used = np.random.default_rng(1).lognormal(0, 0.5, (2, 200))
    found = compare_measure(*(side([1] * 200, name, output_tokens=one) for name, one in zip("ab", used, strict=True)),
                            "output_tokens")  # fmt: skip
    error = np.log(found.ratio.high / found.ratio.low) / 2 / 1.959964
    assert found.detectable == pytest.approx(np.expm1(2.8016 * error), rel=1e-3)
    assert items_to_find(found, found.detectable) == pytest.approx(200, abs=1)
    assert items_to_find(found, np.expm1(np.log1p(found.detectable) / 2)) == pytest.approx(800, abs=4)


def test_latency_is_a_ratio_of_medians_and_a_tail_needs_enough_requests():
    slow, fast = side([1] * 100, "slow"), side([1] * 100, "fast", total_s=np.linspace(1, 2, 100) / 2)
    found = compare_measure(slow, fast, "latency.p50")
    assert found.ratio.value == pytest.approx(0.5)
    assert found.verdict == "improved"
    assert found.difference.value == pytest.approx(-0.75)
    tail = compare_measure(slow, fast, "latency.p99")
    assert descriptive(tail.of_baseline) == "latency.p99 unknown: n too small: need 368, have 100"
    assert (tail.ratio.value, tail.ratio.status) == (None, "n too small: need 368, have 100")
    assert compare_measure(fast, slow, "latency.p95").verdict == "regressed"


def test_times_that_were_taken_under_another_load_are_said_to_be():
    alone = side([1] * 100, total_s=np.full(100, 0.9))
    ten_at_once = side([1] * 100, run=2, total_s=np.full(100, 9.5))
    (note,) = compare_measure(alone, ten_at_once, "latency.p50").notes
    assert "requests on their way at once: 1 in run #1, 10 in run #2 (medians)" in note
    assert compare_measure(alone, ten_at_once, "output_tokens").notes == ()
    three_at_once = side([1] * 100, run=2, total_s=np.full(100, 2.5))
    assert compare_measure(alone, three_at_once, "latency.p50").notes == ()
    reused = side([1] * 100, run=2, total_s=np.full(100, 9.5), cached=np.ones(100, dtype=bool))
    assert compare_measure(alone, reused, "latency.p50").notes == ()


def test_a_timed_out_request_is_slower_than_any_other_and_not_left_out():
    failure = np.array([""] * 60 + ["timeout"] * 40, dtype=object)
    scores = [1.0] * 60 + [NAN] * 40
    stalled = side(scores, "stalled", failure=failure, total_s=np.full(100, 1.0))
    steady = side([1] * 100, "steady", total_s=np.full(100, 1.0) + np.arange(100) / 1000)
    assert compare_measure(steady, stalled, "latency.p50").pairing.n == 100
    tail = compare_measure(steady, stalled, "latency.p95")
    assert (tail.ratio.value, tail.ratio.status) == (None, "among answers that timed out")


def test_costs_are_compared_by_the_ratio_of_their_sums():
    generator = np.random.default_rng(2)
    costs = generator.gamma(2, 0.001, size=80)
    baseline = side([1] * 80, "base", cost_usd=costs)
    found = compare_measure(baseline, side([1] * 80, "cand", cost_usd=costs * 0.4), "cost.per_request")
    assert found.ratio.value == pytest.approx(0.4)
    noisy = compare_measure(
        baseline, side([1] * 80, cost_usd=costs * generator.uniform(0.2, 0.6, 80)), "cost.per_request"
    )
    assert noisy.ratio.low < noisy.ratio.value < noisy.ratio.high < 0.5
    assert (
        compare_measure(baseline, side([1] * 80), "cost.per_request").ratio.status
        == "no cost.per_request is known of m"
    )


def test_places_are_shared_where_models_cannot_be_told_apart():
    generator = np.random.default_rng(3)
    hard = generator.random(400)
    made = {"a": 0.8, "b": 0.79, "c": 0.4}
    sides = [
        side((hard + 0.1 * generator.normal(size=400) < share).astype(float), name) for name, share in made.items()
    ]
    found = rank(sides, "accuracy")
    assert [place.name for place in found.places if place.near_best] == ["a", "b"]
    assert (found.places[2].name, found.places[2].low) == ("c", 3)
    assert found.n == 400


def test_comparing_fourteen_thousand_items_takes_milliseconds():
    import time

    generator = np.random.default_rng(4)
    baseline, candidate = (side((generator.random(14_042) < 0.7).astype(float), name) for name in "ab")
    compare_scores(baseline, candidate)
    began = time.thread_time()
    compare_scores(baseline, candidate)
    compare_measure(baseline, candidate, "latency.p95")
    assert time.thread_time() - began < 0.5  # some 15 ms on an idle machine


def test_the_average_over_benchmarks_has_the_error_of_their_items_and_of_no_other_benchmarks():
    first, second = compare_scores(*pair(30, 10, 100, 60)), compare_scores(*pair(20, 18, 100, 60))
    found = average_over_benchmarks([first, second])
    assert found.value == pytest.approx((0.1 + 2 / 198) / 2)
    errors = [(one.difference.high - one.difference.low) / 2 / 1.959964 for one in (first, second)]
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * np.hypot(*errors) / 2)
    assert found.n == 398
    assert average_over_benchmarks([first]) is None
    empty = compare_scores(side([], "none"), side([1.0], "some"))
    assert average_over_benchmarks([first, empty]) is None


def test_the_average_over_benchmarks_speaks_of_what_its_differences_speak_of_or_has_no_interval():
    first, second = compare_scores(*pair(30, 10, 100, 60)), compare_scores(*pair(20, 18, 100, 60))
    by_look = msgspec.structs.replace(first.difference, estimand="this benchmark")
    whole = [msgspec.structs.replace(one, difference=by_look) for one in (first, second)]
    assert average_over_benchmarks(whole).estimand == "this benchmark"
    mixed = average_over_benchmarks([whole[0], second])
    assert (mixed.low, mixed.high) == (None, None)
    assert "a whole benchmark" in mixed.status


def test_an_average_of_differences_ends_where_they_do():
    far = compare_scores(side([1] * 40, "right"), side([0] * 40, "wrong"))
    short = compare_scores(side([1], "right"), side([0], "wrong"))
    found = average_over_benchmarks([far, short])
    assert (found.value, found.low) == (-1, -1)
    assert found.high > -0.8


def test_odds_and_cohens_h_stand_beside_single_answers_alone():
    found = compare_scores(*pair(30, 10, 100, 60))
    assert (found.odds_ratio, found.cohens_h) == (3.0, pytest.approx(0.2045, abs=1e-3))
    assert compare_scores(*pair(3, 0)).odds_ratio is None
    graded = compare_scores(side([0.5, 0.25, 1.0]), side([0.5, 0.75, 0.0]))
    assert (graded.odds_ratio, graded.cohens_h) == (None, None)


def test_every_measure_that_is_compared_has_words_of_its_own():
    said = [named(metric) for metric in MEASURES]
    assert len(set(said)) == len(said)
    assert not [words for words in said if "." in words or "_" in words]

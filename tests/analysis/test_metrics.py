"""From columns to estimates: what counts, what does not, and what is not known."""

import msgspec
import numpy as np
import pytest

from steelyard.analysis.accuracy import macro, micro, pass_at
from steelyard.analysis.estimates import Context
from steelyard.analysis.metrics import METRICS
from steelyard.analysis.summary import summarise
from steelyard.analysis.times import NO_FIRST_ANSWER
from steelyard.analysis.wording import written
from steelyard.types import CellInfo, Columns, Estimate

INFO = CellInfo(
    model="m",
    benchmark="b",
    protocol="p",
    protocol_version="1",
    benchmark_version="1",
    kind="chat",
    dataset="d",
    dataset_digest="d",
    prompt_digest="p",
    origin="o",
    items=1,
    available=1,
)


def columns(scores, **changes):
    """Columns of as many answered requests as there are scores, one second apart, 10 tokens each."""
    n = len(scores)
    scores = np.asarray(scores, dtype=float)
    fields = {
        "names": (),
        "sample": np.arange(n),
        "repeat": np.zeros(n, dtype=int),
        "stratum": np.zeros(n, dtype=int),
        "strata": ("",),
        "cluster": np.full(n, -1),
        "flags": np.array([""] * n, dtype=object),
        "answer": np.zeros(n, dtype=int),
        "session": np.ones(n, dtype=int),
        "failure": np.array(["" if not np.isnan(s) else "server" for s in scores], dtype=object),
        "stop_reason": np.array(["stop"] * n, dtype=object),
        "cached": np.zeros(n, dtype=bool),
        "answered_empty": np.zeros(n, dtype=bool),
        "tries": np.ones(n, dtype=int),
        "started_s": np.arange(n, dtype=float),
        "ended_s": np.arange(n, dtype=float) + 1,
        "queued_s": np.zeros(n),
        "ttft_s": np.full(n, 0.1),
        "reasoned_s": np.zeros(n),
        "total_s": np.linspace(1, 2, n),
        "tpot_s": np.full(n, 0.01),
        "input_tokens": np.full(n, 20.0),
        "output_tokens": np.full(n, 10.0),
        "cached_input_tokens": np.full(n, np.nan),
        "reasoning_tokens": np.full(n, np.nan),
        "cost_usd": np.full(n, np.nan),
        "saved_usd": np.full(n, np.nan),
        "gaps_s": np.array([]),
        "gap_starts": np.zeros(n + 1, dtype=int),
        "scores": {"accuracy": scores},
        "parsed": {"accuracy": ~np.isnan(scores)},
    }
    return Columns(**(fields | changes))


def estimate(name, given, **context):
    return METRICS[name].compute(given, Context(**({"info": INFO} | context)))


def test_the_bounds_of_a_mean_over_strata_are_means_over_strata():
    scores, stratum = [1, 1, 1, 1, np.nan, 1, 0], [0, 0, 0, 0, 0, 1, 1]
    info = msgspec.structs.replace(INFO, aggregate="macro")
    given = columns(scores, stratum=np.array(stratum), strata=("a", "b"))
    value = [estimate(f"accuracy{name}", given, info=info).value for name in (".lower_bound", "", ".upper_bound")]
    assert value == pytest.approx([0.65, 0.75, 0.75])


def test_strata_that_were_not_asked_hide_no_answers_without_a_score():
    info = msgspec.structs.replace(INFO, aggregate="macro", stratum_sizes={"a": 9, "b": 9, "c": 9})
    given = columns([1, 0, 1, np.nan], stratum=np.array([0, 0, 1, 1]), strata=("a", "b"))
    told = "1 of 3 strata were not asked; 1 of 4 not scored: read it with its bounds"
    assert estimate("accuracy", given, info=info).status == told


def test_a_score_of_a_part_says_how_many_of_its_answers_have_none():
    given = columns([1, 0, 1, np.nan, 1], stratum=np.array([0, 0, 1, 1, 1]), strata=("a", "b"),
                    flags=np.array(["", "", "odd", "odd", ""], dtype=object))  # fmt: skip
    found = by_name(given)
    assert (found["accuracy/a"].status, found["accuracy/b"].status) == ("ok", "1 of 3 not scored")
    assert found["accuracy[odd]"].status == "1 of 2 not scored"


def test_a_score_of_first_tries_stands_beside_the_one_after_retries():
    given = columns([1, 1, 0, 1, np.nan], retried=np.array([False, True, True, False, True]))
    assert estimate("accuracy", given).value == 0.75
    assert estimate("accuracy.lower_bound", given).value == 0.6
    assert estimate("accuracy.first_try", given).value == 0.4
    assert estimate("retried", given).value == 2
    assert estimate("retried", columns([1])).status == "not read"
    used = columns([1, 1], retried=np.array([False, False]), cached=np.array([True, False]))
    assert estimate("accuracy.first_try", used).value is None
    weighed = msgspec.structs.replace(INFO, settings={"model": {"confidence": {"by": "agreement"}}})
    assert estimate("retried", given, info=weighed).status == "several requests make an answer"


def test_accuracy_is_over_scored_items_with_bounds_for_the_rest():
    given = columns([1, 1, 0, np.nan])
    assert estimate("accuracy", given).value == pytest.approx(2 / 3)
    assert estimate("accuracy", given).n == 3
    assert estimate("accuracy.lower_bound", given).value == 0.5
    assert estimate("accuracy.upper_bound", given).value == 0.75
    assert estimate("errored", given).value == 1
    assert "not scored" in estimate("accuracy", given).status


@pytest.mark.parametrize("scores", [[], [1.0], [0.0], [1.0] * 30, [np.nan] * 3])
def test_edges_never_raise_and_never_look_certain(scores):
    for found in summarise(columns(scores), Context(info=INFO)):
        if found.unit == "share" and found.method != "count" and found.value is not None:
            assert found.high > found.low, found
    found = estimate("accuracy", columns(scores))
    assert (found.value is None) == (not np.isfinite(scores).any() if scores else True)


def test_the_order_of_records_does_not_matter():
    given = columns(np.tile([1.0, 0, 1, 1], 30))
    order = np.random.default_rng(0).permutation(120)
    shuffled = {
        name: getattr(given, name)[order]
        for name in given.__struct_fields__
        if isinstance(getattr(given, name), np.ndarray) and len(getattr(given, name)) == 120
    }
    mixed = columns(given.scores["accuracy"][order], **shuffled)
    before, after = (summarise(data, Context(info=INFO)) for data in (given, mixed))
    for one, other in zip(before, after, strict=True):
        assert one.value == pytest.approx(other.value), one.metric
        assert one.low == pytest.approx(other.low), one.metric


def test_repeats_are_reduced_to_items_first():
    given = columns([1, 1, 0, 0, 1, 0], sample=np.array([0, 0, 1, 1, 2, 2]))
    found = estimate("accuracy", given)
    assert (found.value, found.n, found.method) == (0.5, 3, "item means, t")


def test_asking_again_what_never_varies_changes_no_interval():
    scores = np.array([1.0] * 27 + [0.0] * 93)
    once = columns(scores)
    twice = columns(np.repeat(scores, 2), sample=np.repeat(np.arange(120), 2), repeat=np.tile([0, 1], 120))
    for name in ("accuracy", "truncated"):
        assert estimate(name, twice) == estimate(name, once)
    assert estimate("accuracy", twice).method == "wilson"
    (_, pass_at_2) = pass_at(twice, Context(info=msgspec.structs.replace(INFO, repeats=2)))
    assert (pass_at_2.low, pass_at_2.high) == (estimate("accuracy", once).low, estimate("accuracy", once).high)


def test_percentiles_come_with_distribution_free_bounds_or_not_at_all():
    small, large = columns([1] * 20), columns([1] * 400)
    assert estimate("latency.p50", small).low is not None
    p99 = estimate("latency.p99", small)
    assert p99.value is None
    assert p99.status.startswith("n too small: need 368, have 20")
    assert estimate("latency.p99", large).high is not None
    assert estimate("latency.p95", large).value == pytest.approx(1.95, abs=0.01)


def test_a_timed_out_request_counts_as_at_least_its_timeout():
    scores = [1.0] * 90 + [np.nan] * 10
    failure = np.array([""] * 90 + ["timeout"] * 10, dtype=object)
    given = columns(scores, failure=failure, total_s=np.array([1.0] * 90 + [30.0] * 10))
    assert estimate("latency.p50", given).value == 1.0
    p95 = estimate("latency.p95", given)
    assert p95.value is None
    assert p95.status == ">= 30 s: timed out"
    assert estimate("latency.mean", given).value == pytest.approx(3.9)
    assert "at least" in estimate("latency.mean", given).status


def test_cached_rows_enter_no_latency_and_no_rate():
    cached = np.array([True] * 50 + [False] * 50)
    given = columns([1] * 100, cached=cached, total_s=np.array([0.0] * 50 + [2.0] * 50))
    assert estimate("latency.p50", given).value == 2.0
    assert estimate("latency.p50", given).n == 50
    assert estimate("api_calls", given).value == 50


def test_gaps_of_one_request_are_not_independent():
    gaps = np.repeat([0.01, 0.02, 0.03, 0.04] * 5, 50)
    starts = np.arange(21) * 50
    given = columns([1] * 20, gaps_s=gaps, gap_starts=starts)
    found = estimate("itl.p50", given)
    assert found.n == 1000
    assert "effective n 19" in found.method  # 20 requests, not 1,000 gaps
    assert (found.low, found.high) == (0.01, 0.04) or found.high - found.low >= 0.01


def test_rates_are_totals_over_wall_time_and_stand_still_between_sessions():
    one = columns([1] * 100)
    assert estimate("tokens_per_second", one).value == pytest.approx(10.0)
    later = np.arange(100) + np.where(np.arange(100) < 50, 0.0, 86_400.0)
    two = columns([1] * 100, session=np.repeat([1, 2], 50), started_s=later, ended_s=later + 1)
    assert estimate("requests_per_second", two).value == pytest.approx(1.0)
    assert estimate("requests_per_second", two).low is not None
    assert "n too small" in estimate("requests_per_second", columns([1] * 20)).status


def test_a_rate_counts_the_time_in_which_requests_hung_and_failed():
    scores = np.array([1.0] * 100 + [np.nan] * 2)
    started = np.append(np.arange(100.0), [0.0, 50.0])
    given = columns(scores, started_s=started, ended_s=np.append(np.arange(100.0) + 1, [30.0, 400.0]))
    assert estimate("requests_per_second", given).value == pytest.approx(100 / 400)
    assert estimate("tokens_per_second", given).value == pytest.approx(1000 / 400)
    unsent = columns(scores, started_s=started, ended_s=given.ended_s, tries=np.append(np.ones(100, int), [1, 0]))
    assert estimate("requests_per_second", unsent).value == pytest.approx(1.0)


def test_requests_that_ran_out_of_time_were_in_flight_beside_those_that_were_answered():
    scores = np.array([np.nan] * 3 + [1.0] * 10)
    times = {
        "started_s": np.append(np.zeros(3), np.arange(10.0)),
        "ended_s": np.append(np.full(3, 60.0), np.arange(10.0) + 0.5),
        "total_s": np.append(np.full(3, 60.0), np.full(10, 0.5)),
    }
    assert estimate("in_flight", columns(scores, **times)).value == 4


def test_cost_per_correct_counts_wrong_answers_too_and_may_be_beyond_telling():
    costs = np.full(100, 0.01)
    given = columns([1, 0] * 50, cost_usd=costs)
    found = estimate("cost.per_correct", given)
    assert found.value == pytest.approx(0.02)
    assert found.low < 0.02 < found.high
    assert estimate("cost.total", given).value == pytest.approx(1.0)
    hopeless = estimate("cost.per_correct", columns([0] * 99 + [1], cost_usd=costs))
    assert hopeless.low is None
    assert "not estimable" in hopeless.status
    partly = columns([1] * 3, cost_usd=np.array([0.01, np.nan, 0.01]))
    assert estimate("cost.total", partly).value is None
    assert "1 of 3" in estimate("cost.total", partly).status


def test_what_a_right_answer_costs_is_not_certain_where_none_was_wrong():
    found = estimate("cost.per_correct", columns([1] * 20, cost_usd=np.full(20, 0.01)))
    assert (found.value, found.low) == (pytest.approx(0.01), pytest.approx(0.01))
    assert found.high == pytest.approx(0.01 * (1 + 1.959964**2 / 20))


def test_repeats_in_strata_are_bounded_by_the_spread_of_item_means():
    """Fractions spread less than right and wrong do: the binomial error would be too wide."""
    scores = np.tile([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0], 50)
    given = columns(scores, sample=np.repeat(np.arange(200), 2), repeat=np.tile([0, 1], 200),
                    stratum=np.repeat([0, 1], 200), strata=("a", "b"))  # fmt: skip
    over, plain = (mean("accuracy", given, Context(info=INFO)) for mean in (macro, micro))
    assert over.value == plain.value == pytest.approx(0.625)
    assert over.high - over.low == pytest.approx(plain.high - plain.low, rel=0.03)


def test_cost_per_correct_is_the_golden_ratio_of_sums_with_fiellers_interval():
    costs = [0.0021, 0.0034, 0.0018, 0.004, 0.0025, 0.0031, 0.0029, 0.0022, 0.0037, 0.0026, 0.003, 0.0019]
    given = columns([1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1], cost_usd=np.array(costs))
    found = estimate("cost.per_correct", given)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.003688888888888889, 0.0026371322148650224, 0.00588768193873537), abs=1e-8
    )


def test_repeats_and_clusters_make_no_cost_more_certain():
    rng = np.random.default_rng(1)
    costs, scores = rng.uniform(0.01, 0.02, 40), rng.integers(0, 2, 40).astype(float)
    once = columns(scores, cost_usd=costs)
    changes = {
        "cost_usd": np.tile(costs, 4),
        "sample": np.tile(np.arange(40), 4),
        "repeat": np.repeat(np.arange(4), 40),
    }
    repeated = columns(np.tile(scores, 4), **changes)
    clustered = columns(np.tile(scores, 4), cost_usd=np.tile(costs, 4), cluster=np.tile(np.arange(40), 4))
    for name in ("cost.per_request", "cost.per_token", "cost.per_correct"):
        plain = estimate(name, once)
        for given in (repeated, clustered):
            found = estimate(name, given)
            assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high), rel=1e-9)
    assert estimate("cost.per_item", repeated).value == pytest.approx(4 * costs.mean())


def test_an_item_that_lacks_repeats_is_no_cheaper_item():
    scores = np.array([1.0, 1.0, 0.0, np.nan, 1.0, np.nan])
    costs = np.where(np.isnan(scores), np.nan, 0.01)
    given = columns(scores, cost_usd=costs, sample=np.repeat(np.arange(3), 2), repeat=np.tile([0, 1], 3))
    found = estimate("cost.per_item", given, info=msgspec.structs.replace(INFO, repeats=2))
    assert (found.value, found.n) == (pytest.approx(0.02), 3)
    lone = columns([1, 0, 1], cost_usd=np.full(3, 0.01))
    assert estimate("cost.per_item", lone, info=msgspec.structs.replace(INFO, repeats=4)).value == pytest.approx(0.04)


def test_an_answer_that_nobody_could_score_was_paid_for_and_is_counted():
    answered = np.array([""] * 40, dtype=object)
    given = columns(np.array([1.0, 0.0] * 10 + [np.nan] * 20), cost_usd=np.full(40, 0.01), failure=answered)
    found = estimate("cost.per_correct", given)
    assert found.value == pytest.approx(0.4 / 10)
    assert found.status == "20 of 40 answers have no score, and were paid for"
    none = columns([np.nan] * 3, cost_usd=np.full(3, 0.01), failure=answered[:3])
    assert estimate("cost.per_correct", none).status == "nothing was scored"


def test_an_answer_used_again_costs_nothing_and_its_unit_cost_is_what_it_had_cost():
    cached = np.array([True, True, False, False])
    given = columns(
        [1, 0, 1, 1],
        cached=cached,
        cost_usd=np.array([0.0, 0.0, 0.01, 0.02]),
        saved_usd=np.array([0.03, 0.04, np.nan, np.nan]),
    )
    assert estimate("cost.total", given).value == pytest.approx(0.03)
    assert estimate("cost.saved", given).value == pytest.approx(0.07)
    assert estimate("cost.per_request", given).value == pytest.approx(0.025)
    assert estimate("cost.per_correct", given).value == pytest.approx(0.1 / 3)
    assert estimate("cached", given).value == 2
    assert (estimate("reliability", given).n, estimate("latency.mean", given).n) == (2, 2)
    nothing_known = columns([1, 1], cached=np.ones(2, bool), cost_usd=np.zeros(2))
    assert estimate("cost.saved", nothing_known).value is None


def test_what_cannot_be_estimated_says_why():
    costs = np.full(30, 0.01)
    assert estimate("cost.per_correct", columns([0] * 30, cost_usd=costs)).status == "not estimable: no right answer"
    one = estimate("cost.per_correct", columns([1], cost_usd=costs[:1]))
    assert one.status == "not estimable: too few right answers"
    assert one.value == pytest.approx(0.01)


def test_outcomes_are_shares_of_what_was_answered():
    given = columns(
        [1, 0, 0, np.nan],
        stop_reason=np.array(["stop", "length", "refusal", ""], dtype=object),
        parsed={"accuracy": np.array([True, True, False, False])},
    )
    assert estimate("truncated", given).value == pytest.approx(1 / 3)
    assert estimate("refused", given).value == pytest.approx(1 / 3)
    assert estimate("unparsed", given).value == pytest.approx(1 / 3)
    assert estimate("reliability", given).value == 0.75


@pytest.mark.parametrize("outcome", ["unparsed", "truncated", "refused", "empty"])
def test_an_outcome_is_no_surer_for_asking_the_same_items_again(outcome):
    has_it = np.arange(200) < 30

    def given(times):
        had = np.tile(has_it, times)
        reason = {"truncated": "length", "refused": "refusal"}.get(outcome, "stop")
        return columns(
            np.ones(200 * times),
            sample=np.tile(np.arange(200), times),
            parsed={"accuracy": ~had if outcome == "unparsed" else np.ones(200 * times, dtype=bool)},
            stop_reason=np.where(had, reason, "stop").astype(object),
            answered_empty=had if outcome == "empty" else np.zeros(200 * times, dtype=bool),
        )

    once, often = estimate(outcome, given(1)), estimate(outcome, given(5))
    assert (once.value, once.method, once.n) == (0.15, "wilson", 200)
    assert (often.value, often.n) == (pytest.approx(0.15), 200)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)


def test_an_outcome_of_items_in_clusters_is_bounded_over_the_clusters():
    cut = np.repeat(np.arange(40) < 8, 10)
    given = columns(np.ones(400), stop_reason=np.where(cut, "length", "stop").astype(object),
                    cluster=np.repeat(np.arange(40), 10))  # fmt: skip
    found = estimate("truncated", given)
    assert found.method == "40 clusters, CR1, t"
    assert found.high - found.low > 0.2  # as if of 40 items; of 400 it would be 0.08


def test_every_metric_has_a_definition_and_a_name_of_its_own():
    assert all(metric.definition and metric.name == name for name, metric in METRICS.items())


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"value": 0.6134, "low": 0.586, "high": 0.639, "unit": "share"}, "61.3 % (58.6 to 63.9)"),
        ({"value": 0.0123, "low": 0.0100, "high": 0.0150, "unit": "s"}, "12.3 ms (10.0 to 15.0)"),
        ({"value": 12.345, "low": 11.0, "high": 14.0, "unit": "s"}, "12.3 s (11.0 to 14.0)"),
        ({"value": None, "unit": "USD"}, "\u2013"),
        ({"value": 0.000123456, "unit": "USD"}, "0.000123 USD"),
        ({"value": 1234567.0, "unit": "tokens"}, "1,234,567"),
        ({"value": 0.0, "unit": "USD"}, "0 USD"),
    ],
)
def test_an_estimate_is_written_with_the_digits_it_supports(fields, text):
    assert written(Estimate(**({"metric": "x", "n": 10, "method": "m"} | fields))) == text


def in_strata(scores, codes, names, **changes):
    return columns(scores, stratum=np.asarray(codes), strata=tuple(names), **changes)


def by_name(columns_, **info):
    context = Context(info=msgspec.structs.replace(INFO, **info))
    return {estimate.metric: estimate for estimate in summarise(columns_, context)}


def test_a_macro_mean_weighs_strata_alike_and_a_family_as_one():
    found = by_name(
        in_strata([1, 1, 1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 2, 2], ["big", "twin_a", "twin_b"]),
        families={"twins": ("twin_a", "twin_b")},
        aggregate="macro",
    )
    assert found["accuracy.micro"].value == 5 / 8
    assert found["accuracy"].value == found["accuracy.macro"].value == pytest.approx((0.8 + (1 + 0) / 2) / 2)
    assert "over 2" in found["accuracy"].method
    assert found["accuracy"].low < found["accuracy"].value < found["accuracy"].high
    assert (found["accuracy/twin_a"].value, found["accuracy/twin_a"].n) == (1.0, 1)


def test_a_group_of_strata_has_a_score_of_its_own():
    found = by_name(in_strata([1, 0, 1, 1], [0, 0, 1, 2], ["a", "b", "c"]), groups={"ab": ("a", "b"), "none": ("z",)})
    assert (found["accuracy.ab"].value, found["accuracy.ab"].n) == (2 / 3, 3)
    assert found["accuracy.none"].value is None
    assert found["accuracy"].value == 0.75


def test_a_macro_mean_over_part_of_the_strata_says_so():
    found = by_name(
        in_strata([1, 0], [0, 1], ["a", "b"]), stratum_sizes={str(i): 1 for i in range(57)}, aggregate="macro"
    )
    assert found["accuracy"].status == "55 of 57 strata were not asked"


SIZES = {"a": 50, "b": 30, "c": 20}


@pytest.mark.parametrize(
    ("asked", "gap"),
    [
        ([0] * 5 + [1] * 3 + [2] * 2, 0.0),
        ([0, 1, 2], 0.0),  # one of each is as near to 1.5, 0.9 and 0.6 as three items come
        ([0] * 10, 0.5),
        ([2] * 10, 0.8),
        ([0], 0.0),
    ],
)
def test_the_strata_gap_is_what_another_sample_of_the_size_would_mend(asked, gap):
    found = by_name(in_strata([1] * len(asked), asked, ["a", "b", "c"]), stratum_sizes=SIZES)
    assert found["strata_gap"].value == pytest.approx(gap)
    assert found["strata_gap"].n == len(asked)


def test_where_all_is_asked_the_strata_are_as_in_the_whole():
    found = by_name(in_strata([1, 0, 1], [0, 1, 1], ["a", "b"]), available=3)["strata_gap"]
    assert (found.value, found.n, found.status) == (0.0, 3, "ok")


def test_strata_that_nobody_counted_are_not_told_as_none():
    found = by_name(in_strata([1, 0, 1], [0, 1, 1], ["a", "b"]), available=4_000)["strata_gap"]
    assert (found.value, found.status) == (None, "how large the strata are was not counted")
    alone = by_name(in_strata([1, 0], [0, 0], ["a"]), available=2)["strata_gap"]
    assert (alone.value, alone.status) == (None, "no strata")


def test_without_strata_there_is_no_gap():
    assert by_name(columns([1, 0]))["strata_gap"].value is None


def test_pass_at_k_is_unbiased_per_item_and_skips_items_with_too_few_answers():
    items, repeats = np.repeat([0, 1], 5), np.tile(np.arange(5), 2)
    scores = [1, 1, 0, 0, 0, 0, 0, 0, 0, np.nan]
    found = by_name(columns(scores, sample=items, repeat=repeats), repeats=5)
    assert found["pass@1"].value == pytest.approx((0.4 + 0) / 2)
    assert found["pass@2"].value == pytest.approx((1 - 3 / 10 + 0) / 2)
    assert found["pass@5"].n == 1
    assert "fewer than 5" in found["pass@5"].status
    assert "pass@10" not in found


def test_an_item_without_any_scored_answer_leaves_pass_at_k_not_in_silence():
    scores = [1, 0, np.nan, np.nan, 1, np.nan]
    given = columns(scores, sample=np.repeat(np.arange(3), 2), repeat=np.tile([0, 1], 3))
    found = by_name(given, repeats=2)
    assert (found["pass@1"].n, found["pass@1"].status) == (2, "1 of 3 items have fewer than 1 scored answers")
    assert (found["pass@2"].n, found["pass@2"].status) == (1, "2 of 3 items have fewer than 2 scored answers")


def test_items_that_lack_answers_are_told_beside_how_many_answered_alike():
    scores = [1, 1, 1, 1, np.nan, np.nan, np.nan, 1, np.nan]
    given = columns(scores, sample=np.repeat(np.arange(3), 3), repeat=np.tile([0, 1, 2], 3))
    found = by_name(given, repeats=3)["determinism"]
    assert (found.value, found.n, found.status) == (1.0, 1, "2 of 3 items have fewer than 3 answers")


def test_a_flag_gives_a_score_with_and_without_its_items_and_leaves_the_headline_alone():
    flags = np.array(["duplicate", "", "duplicate other", ""], dtype=object)
    found = by_name(columns([1, 0, 1, 1], flags=flags))
    assert found["accuracy"].value == 0.75
    assert (found["accuracy[duplicate]"].value, found["accuracy[duplicate]"].n) == (1.0, 2)
    assert (found["accuracy[not duplicate]"].value, found["accuracy[not other]"].n) == (0.5, 3)


def test_determinism_is_the_share_of_items_answered_alike_every_time():
    found = by_name(columns([1, 1, 0, 1, 1], sample=np.array([0, 0, 1, 1, 2]), answer=np.array([7, 7, 8, 9, 5])))
    assert (found["determinism"].value, found["determinism"].n) == (0.5, 2)
    assert by_name(columns([1, 1]))["determinism"].value is None


def test_the_time_to_the_first_answer_token_is_past_reasoning_and_unknown_where_nobody_recorded_it():
    n = 100
    scores = np.ones(n)
    thinking = columns(scores, ttft_s=np.linspace(0.1, 0.2, n), reasoned_s=np.full(n, 2.0))
    assert estimate("ttft.p50", thinking).value == pytest.approx(0.15)
    found = estimate("ttfo.p50", thinking)
    assert (found.value, found.n) == (pytest.approx(2.15), n)
    assert found.low < found.value < found.high
    older = estimate("ttfo.p50", columns(scores, reasoned_s=np.full(n, np.nan)))
    assert (older.value, older.status) == (None, NO_FIRST_ANSWER)
    whole = columns(scores, ttft_s=np.full(n, np.nan), reasoned_s=np.full(n, np.nan))
    assert estimate("ttfo.p50", whole).status == "not streamed"

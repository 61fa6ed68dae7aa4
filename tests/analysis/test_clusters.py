"""Items that come in clusters: the interval is over clusters, and says so."""

import msgspec
import numpy as np
import pytest
from test_comparing import side
from test_metrics import INFO, columns

import steelyard as sy
from steelyard import stats
from steelyard.analysis.accuracy import macro, pass_at
from steelyard.analysis.clusters import clusters_of, worth_in_answers
from steelyard.analysis.compare import compare_scores
from steelyard.analysis.compare_measures import compare_measure
from steelyard.analysis.estimates import Context
from steelyard.analysis.metrics import METRICS
from steelyard.analysis.places import rank
from steelyard.analysis.sentences import descriptive, sentence


def run_over(cluster_of, right, n=60):
    items = [sy.Sample(id=f"c/{i}", input=str(i), target="x", cluster=cluster_of(i)) for i in range(n)]
    benchmark = sy.Benchmark(
        name="c",
        version="1",
        load=lambda selection: items,
        grade=lambda sample, completion: right(int(completion.text)),
    )
    return sy.run([lambda prompt: prompt], [benchmark]).estimate("accuracy")


def test_answers_alike_within_clusters_widen_the_interval():
    free = run_over(lambda i: None, lambda i: i // 5 % 2)
    clustered = run_over(lambda i: f"k{i // 5}", lambda i: i // 5 % 2)
    assert free.method == "wilson"
    assert (clustered.method, clustered.n, clustered.value) == ("12 clusters, CR1, t", 60, free.value)
    assert clustered.high - clustered.low > 2 * (free.high - free.low)


def test_clusters_of_one_item_each_change_nothing():
    assert run_over(str, lambda i: i % 2) == run_over(lambda i: None, lambda i: i % 2)


def test_few_clusters_are_warned_of_and_no_spread_is_not_certainty():
    few = run_over(lambda i: f"k{i % 3}", lambda i: i % 3 == 0)
    assert "only 3 clusters" in few.status
    all_right = run_over(lambda i: f"k{i // 5}", lambda i: True)
    assert (all_right.value, all_right.high, all_right.method) == (1.0, 1.0, "wilson at 12 clusters")
    assert all_right.low == pytest.approx(sy_wilson(12))


def sy_wilson(n):
    from steelyard.stats import wilson_interval

    return wilson_interval(successes=n, n=n).low


def test_an_item_of_no_cluster_is_one_of_its_own():
    found = clusters_of(np.array([0, 1, 2, 3]), np.array([-1, 5, 5, -1]))
    assert len(set(found.tolist())) == 3
    assert clusters_of(np.array([0, 1]), np.array([-1, -1])) is None


def test_a_stratum_counts_its_clusters_too():
    items = [
        sy.Sample(id=f"c/{i}", input=str(i), target="x", cluster=f"k{i // 5}", stratum="ab"[i >= 30]) for i in range(60)
    ]
    benchmark = sy.Benchmark(
        name="c", version="1", load=lambda selection: items, grade=lambda sample, done: int(done.text) // 5 % 2
    )
    run = sy.run([lambda prompt: prompt], [benchmark])
    assert run.estimate("accuracy/a").method == "6 clusters, CR1, t"
    assert (run.estimate("accuracy/b").n, run.estimate("accuracy/b").value) == (30, 0.5)


OVER_STRATA = msgspec.structs.replace(INFO, aggregate="macro")
DOCUMENTS, SUBJECTS = np.arange(120) // 10, np.arange(120) % 3


def of_subjects(scores, documents=DOCUMENTS, subjects=SUBJECTS, name="m"):
    kinds = {"cluster": documents, "stratum": subjects, "strata": ("law", "art", "war")}
    return side(scores, name=name, info=OVER_STRATA, **kinds)


def alike_within_documents(seed):
    """Right or wrong, nearly the same throughout each document."""
    generator = np.random.default_rng(seed)
    return np.where(generator.random(120) < 0.9, generator.integers(0, 2, 12)[DOCUMENTS], generator.integers(0, 2, 120))


def test_a_mean_over_strata_knows_of_clusters_that_lie_across_them():
    scores = alike_within_documents(1)
    of = [of_subjects(scores, documents).columns for documents in (DOCUMENTS, np.full(120, -1))]
    clustered, plain = (macro("accuracy", one, Context(info=OVER_STRATA)) for one in of)
    assert (clustered.value, clustered.n) == (pytest.approx(plain.value), plain.n)
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)
    assert clustered.method == "macro mean over 3, 12 clusters, CR2, wilson"


def shares_over_strata(share, size, correlated, generator, items=200):
    """The mean over four strata of right and wrong answers, alike within clusters that lie across them."""
    clusters = generator.permutation(items) // size
    own, shared = generator.random(items) < share, generator.random(items // size) < share
    scores = np.where(generator.random(items) < np.sqrt(correlated), shared[clusters], own).astype(float)
    strata = np.arange(items) % 4
    return stats.cluster_se_stratified(
        scores=scores, clusters=clusters, strata=strata, weights=dict.fromkeys(range(4), 1.0)
    )


def test_a_share_near_one_over_clusters_may_be_much_lower_and_not_above_one():
    found = shares_over_strata(0.95, 5, 0.3, np.random.default_rng(1))
    worth = worth_in_answers(found, confidence=0.95)
    bounds = stats.wilson_interval(successes=found.mean * worth, n=worth)
    reach = found.se * stats.t_quantile(found.degrees, 0.975)
    assert bounds.high < 1.0
    assert found.mean - bounds.low > 1.2 * reach
    assert worth_in_answers(stats.cluster_se(scores=np.ones(60), clusters=np.arange(60) // 5), confidence=0.95) is None


@pytest.mark.long
@pytest.mark.parametrize(("share", "size", "correlated"), [(0.5, 5, 0.3), (0.9, 2, 0.8), (0.9, 5, 0.3), (0.9, 10, 0.1)])
def test_a_share_over_strata_in_clusters_is_covered_in_93_percent_or_more(share, size, correlated):
    """By t alone shares of 0.9 are covered in 88 to 93 %."""
    generator, held = np.random.default_rng(2), 0
    for _ in range(1000):
        found = shares_over_strata(share, size, correlated, generator)
        worth = worth_in_answers(found, confidence=0.95)
        bounds = stats.wilson_interval(successes=found.mean * worth, n=worth)
        held += bounds.low <= share <= bounds.high
    assert 0.93 <= held / 1000 <= 0.975


def test_a_difference_of_means_over_strata_knows_of_clusters_and_so_do_places():
    found, ranked = [], []
    for documents in (DOCUMENTS, np.full(120, -1)):
        sides = [of_subjects(alike_within_documents(seed), documents, name=f"m{seed}") for seed in (1, 2, 3)]
        found.append(compare_scores(*sides[:2]))
        ranked.append(rank(sides, "accuracy"))
    clustered, plain = (one.difference for one in found)
    assert clustered.value == pytest.approx(plain.value)
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)
    assert (found[0].test, found[1].test) == ("clustered t", "stratified score")
    best = [ranking.places[0] for ranking in ranked]
    assert best[0].value == pytest.approx(best[1].value)
    assert best[0].first < best[1].first


def test_a_stratum_that_lies_in_one_cluster_leaves_no_interval_of_a_mean_over_strata():
    subjects = np.where(DOCUMENTS == 0, 2, np.arange(120) % 2)
    sides = [of_subjects(alike_within_documents(seed), subjects=subjects) for seed in (1, 2)]
    for one in (macro("accuracy", sides[0].columns, Context(info=OVER_STRATA)), compare_scores(*sides).difference):
        assert (one.low, one.high, one.level) == (None, None, None)
        assert one.status == "all of war is in one cluster"


def test_a_mean_over_strata_of_clusters_without_spread_is_no_certainty():
    right, wrong = of_subjects(np.ones(120)), of_subjects(np.zeros(120), name="w")
    found = macro("accuracy", right.columns, Context(info=OVER_STRATA))
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.8 < found.low < 0.96
    difference = compare_scores(wrong, right).difference
    assert difference.value == 1.0
    assert 0.7 < difference.low < 0.96


def test_clusters_of_which_one_has_most_items_are_worth_fewer_or_too_few():
    rough = run_over(lambda i: f"k{min(i // 3, 10)}", lambda i: i % 2)
    assert (rough.low, rough.high) != (None, None)
    assert rough.status.startswith("only 11 clusters, worth ")
    lone = run_over(lambda i: f"k{max(i - 54, 0)}", lambda i: i % 2)
    assert (lone.value, lone.low, lone.high, lone.level) == (0.5, None, None, None)
    assert lone.status == "only 6 clusters, worth 1.2 of one size: too few for an interval"


FOUR = np.array([0] * 117 + [1, 2, 3])
TOO_FEW = "only 4 clusters, worth 1.1 of one size: too few for an interval"
OF_A_TAIL = "n too small: need 72, have 4 clusters, worth 1.1 of one size"


def timed(of_clusters, factor, seed=0):
    """A model of which every item takes a time, tokens and money, that differ by item, and by ``factor``."""
    n = len(of_clusters)
    took = np.exp(np.random.default_rng(seed).normal(0, 0.3, n)) * factor
    return side(
        [1] * n,
        name=f"m{factor}",
        cluster=np.asarray(of_clusters),
        total_s=took,
        output_tokens=np.round(100 * took),
        cost_usd=took / 1000,
    )


@pytest.mark.parametrize("metric", ["latency.p50", "latency.p95", "output_tokens", "cost.per_request"])
def test_clusters_worth_hardly_one_say_nothing_of_times_tokens_or_cost(metric):
    found = compare_measure(timed(FOUR, 1.0), timed(FOUR, 0.5, seed=1), metric)
    for one in (found.ratio, found.difference, found.of_baseline, found.of_candidate):
        assert (one.low, one.high) == (None, None)
        assert one.status == (OF_A_TAIL if metric == "latency.p95" else TOO_FEW)
    assert found.verdict == "inconclusive"


def test_percentiles_of_clusters_of_unlike_size_are_told_less_closely_and_say_so():
    sixty = np.array([0] * 240 + [1 + i // 4 for i in range(160)])
    alike = np.arange(400) // 10
    rough, plain = (compare_measure(timed(c, 1.0), timed(c, 0.9, seed=1), "latency.p50") for c in (sixty, alike))
    assert rough.ratio.status == "only 41 clusters, worth 2.7 of one size: the interval is rough"
    assert plain.ratio.status == "ok"
    assert rough.ratio.high - rough.ratio.low > 1.5 * (plain.ratio.high - plain.ratio.low)


@pytest.mark.parametrize("metric", ["latency.mean", "latency.p50", "cost.per_request", "cost.per_token"])
def test_a_cells_own_times_and_costs_know_what_its_clusters_are_worth(metric):
    context = Context(info=INFO)
    few, none = (METRICS[metric].compute(timed(c, 1.0).columns, context) for c in (FOUR, np.full(120, -1)))
    assert (few.value, few.low, few.status) == (pytest.approx(none.value), None, TOO_FEW)
    assert none.low < none.value < none.high


def test_times_that_are_alike_within_clusters_are_known_less_closely():
    took = np.repeat(np.random.default_rng(4).lognormal(size=12), 10)
    of = [columns([1] * 120, total_s=took, cluster=c) for c in (np.arange(120) // 10, np.full(120, -1))]
    for metric in ("latency.mean", "latency.p50"):
        clustered, plain = (METRICS[metric].compute(one, Context(info=INFO)) for one in of)
        assert clustered.high - clustered.low > 2 * (plain.high - plain.low)


@pytest.mark.parametrize("metric", ["cost.per_request", "cost.per_item", "cost.per_token", "cost.per_correct"])
def test_a_cost_counts_its_items_as_a_score_does_and_names_the_clusters_beside_them(metric):
    cost = np.random.default_rng(4).lognormal(size=120)
    given = columns(np.tile([1.0, 0.0], 60), cost_usd=cost, cluster=np.repeat(np.arange(12), 10))
    score, found = (METRICS[name].compute(given, Context(info=INFO)) for name in ("accuracy", metric))
    assert found.n == score.n == 120
    assert found.method == "12 clusters, ratio of sums, Fieller"


def test_the_cost_of_an_item_is_known_over_clusters_whatever_its_repeats():
    cost = np.repeat(np.random.default_rng(4).lognormal(size=12), 10)
    kinds = {"cost_usd": cost, "sample": np.arange(120) // 2}
    of = [columns([1] * 120, cluster=c, **kinds) for c in (np.arange(120) // 10, np.full(120, -1))]
    clustered, plain = (METRICS["cost.per_item"].compute(one, Context(info=INFO)) for one in of)
    assert clustered.value == pytest.approx(plain.value) == pytest.approx(2 * cost.mean())
    assert clustered.high - clustered.low > 1.8 * (plain.high - plain.low)


def test_all_right_in_clusters_of_unlike_size_is_as_sure_as_they_are_worth():
    lone = run_over(lambda i: f"k{max(i - 54, 0)}", lambda i: True)
    assert (lone.value, lone.method) == (1.0, "wilson at 1.19 clusters")
    assert lone.low < 0.3


def test_pass_at_k_of_items_in_clusters_is_over_clusters():
    alike = columns([1, 1] * 10 + [0, 0] * 10, sample=np.repeat(np.arange(20), 2), repeat=np.tile([0, 1], 20),
                    cluster=np.repeat(np.arange(4), 10))  # fmt: skip
    found = pass_at(alike, Context(info=msgspec.structs.replace(INFO, repeats=2)))
    assert found[0].method == "unbiased pass@1 of each item; 4 clusters, CR1, t"


@pytest.mark.parametrize(("clusters", "is_enough"), [(4, False), (71, False), (72, True)])
def test_a_tail_needs_as_many_clusters_as_it_needs_requests_and_a_median_does_not(clusters, is_enough):
    of = np.arange(clusters * 30) // 30
    slow, quick = timed(of, 1.0), timed(of, 0.9, seed=1)
    compared = compare_measure(slow, quick, "latency.p95")
    context = Context(info=INFO)
    own = METRICS["latency.p95"].compute(slow.columns, context)
    for one in (own, compared.of_baseline, compared.of_candidate, compared.difference, compared.ratio):
        assert (one.low is not None, one.high is not None) == (is_enough, is_enough)
        assert (one.value is not None, one.level is not None) == (True, is_enough)
        assert one.status == ("ok" if is_enough else f"n too small: need 72, have {clusters} clusters")
    assert compared.verdict == ("improved" if is_enough else "inconclusive")
    assert METRICS["latency.p50"].compute(slow.columns, context).low is not None


def test_a_tail_of_fewer_requests_than_its_bound_needs_has_no_value_in_clusters_either():
    few, other = timed(np.arange(70) // 7, 1.0), timed(np.arange(70) // 7, 0.9, seed=1)
    compared = compare_measure(few, other, "latency.p95")
    own = METRICS["latency.p95"].compute(few.columns, Context(info=INFO))
    for one in (own, compared.of_baseline, compared.ratio):
        assert (one.value, one.low) == (None, None)


def test_a_tail_without_an_interval_is_no_reason_to_pass_and_says_why():
    slow = timed(np.arange(240) // 30, 1.0)
    estimate = METRICS["latency.p95"].compute(slow.columns, Context(info=INFO))
    assert descriptive(estimate).endswith(
        "(order statistics at effective n 150, no interval: n too small: need 72, have 8 clusters, n = 240)"
    )
    compared = compare_measure(slow, timed(np.arange(240) // 30, 0.5, seed=1), "latency.p95")
    assert sentence(compared).endswith("(paired, n = 240). That is not enough to tell them apart.")


def test_clusters_of_unlike_size_bear_a_tail_by_what_they_are_worth():
    of = np.array([0] * 200 + [1 + i // 2 for i in range(200)])
    found = METRICS["latency.p95"].compute(timed(of, 1.0).columns, Context(info=INFO))
    assert (found.low, found.status) == (None, "n too small: need 72, have 101 clusters, worth 4 of one size")


@pytest.mark.long
@pytest.mark.parametrize("alike", [0.05, 0.8])
@pytest.mark.parametrize("each", [5, 20])
@pytest.mark.parametrize("clusters", [40, 72])
def test_a_tail_over_clusters_is_covered_or_not_told(clusters, each, alike):
    generator, of = np.random.default_rng(clusters), np.arange(clusters * each) // each

    def times(own, common):
        return np.exp(alike**0.5 * (common - 1) + (1 - alike) ** 0.5 * own)

    truth = np.quantile(times(generator.normal(size=10**6), generator.exponential(size=10**6)), 0.95)
    found = [
        METRICS["latency.p95"].compute(
            columns(
                [1] * len(of),
                cluster=of,
                total_s=times(generator.normal(size=len(of)), generator.exponential(size=clusters)[of]),
            ),
            Context(info=INFO),
        )
        for _ in range(600)
    ]
    told = [one.low <= truth <= one.high for one in found if one.low is not None]
    assert (len(told) > 0) == (clusters >= 72)
    assert not told or np.mean(told) >= 0.905

"""Means over strata whose items come in clusters, against what they come down to and against what is true."""

import tracemalloc

import numpy as np
import pytest

import steelyard.stats as stats

HALF = {0: 0.5, 1: 0.5}


def drawn(seed, n=60):
    return np.random.default_rng(seed).normal(size=n), np.arange(n) % 2


def test_of_one_stratum_with_clusters_of_a_size_it_is_the_error_of_a_clustered_mean():
    scores, _ = drawn(1)
    clusters = np.arange(60) // 5
    found = stats.cluster_se_stratified(scores=scores, clusters=clusters, strata=[0] * 60, weights={0: 7.0})
    plain = stats.cluster_se(scores=scores, clusters=clusters)
    assert (found.mean, found.se, found.se_cr0) == pytest.approx((plain.mean, plain.se, plain.se_cr0))
    assert (found.degrees, plain.degrees) == (11, 11)


def test_of_items_each_alone_it_is_the_error_of_a_mean_over_strata():
    scores, strata = drawn(2)
    found = stats.cluster_se_stratified(scores=scores, clusters=np.arange(60), strata=strata, weights=HALF)
    plain = stats.paired_t_stratified(a=scores, b=np.zeros(60), strata=strata, weights=HALF)
    assert (found.mean, found.se) == pytest.approx((plain.mean_diff, plain.se))


def test_of_clusters_within_strata_each_stratum_has_the_error_of_its_own():
    scores, _ = drawn(3)
    strata, clusters = np.arange(60) // 30, np.arange(60) // 5
    found = stats.cluster_se_stratified(scores=scores, clusters=clusters, strata=strata, weights=HALF)
    each = [stats.cluster_se(scores=scores[strata == s], clusters=clusters[strata == s]).se for s in (0, 1)]
    assert found.se == pytest.approx(np.hypot(*each) / 2)
    assert stats.cluster_se_stratified(
        scores=scores[:20], clusters=clusters[:20] % 4, strata=strata[:20] + np.arange(20) // 10, weights=HALF
    ).effective == pytest.approx(3)  # two strata of two clusters: four, less one for each


def test_a_stratum_within_one_cluster_leaves_no_error_to_go_by():
    scores, _ = drawn(4)
    strata = np.where(np.arange(60) < 5, 1, 0)
    found = stats.cluster_se_stratified(scores=scores, clusters=np.arange(60) // 5, strata=strata, weights=HALF)
    assert (found.se, found.degrees) == (None, None)
    assert found.mean == pytest.approx((scores[:5].mean() + scores[5:].mean()) / 2)


def test_hundreds_of_thousands_of_clusters_over_many_strata_take_memory_by_their_items():
    n, kinds = 200_000, 100
    scores, clusters, strata = np.arange(n) % 7 / 7, np.arange(n) // 2, np.arange(n) % kinds
    weights = dict.fromkeys(range(kinds), 1.0)
    stats.cluster_se_stratified(scores=scores[:400], clusters=clusters[:400], strata=strata[:400], weights=weights)
    tracemalloc.start()
    found = stats.cluster_se_stratified(scores=scores, clusters=clusters, strata=strata, weights=weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.clusters, found.se is None) == (n // 2, False)
    assert peak < 60e6  # a table of clusters by strata has 80 MB, and several are made


def test_an_unknown_score_leaves_no_mean_and_no_spread_no_error():
    kinds = {"clusters": [0, 0, 1, 1], "strata": [0, 1, 0, 1], "weights": HALF}
    assert stats.cluster_se_stratified(scores=[1, np.nan, 0, 1], **kinds).mean is None
    assert stats.cluster_se_stratified(scores=[], clusters=[], strata=[], weights={}).mean is None
    alike = stats.cluster_se_stratified(scores=[1, 0, 1, 0], **kinds)
    assert (alike.mean, alike.se) == (0.5, None)


@pytest.mark.long
@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize("groups", [12, 40])
def test_a_mean_over_strata_in_clusters_is_covered_as_often_as_it_says(groups, is_nested):
    generator, held, runs = np.random.default_rng(groups), 0, 1000
    clusters = np.repeat(np.arange(groups), 6)
    for _ in range(runs):
        strata = clusters % 2 if is_nested else (generator.random(len(clusters)) < 0.3).astype(int)
        scores = generator.normal(size=len(clusters)) + generator.normal(size=groups)[clusters] + strata
        found = stats.cluster_se_stratified(scores=scores, clusters=clusters, strata=strata, weights=HALF)
        held += abs(found.mean - 0.5) <= found.se * stats.t_quantile(found.degrees, 0.975)
    assert 0.93 <= held / runs <= 0.965

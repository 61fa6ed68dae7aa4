"""Items that come in clusters: the interval is over clusters, and says so."""

import numpy as np
import pytest

import steelyard as sy
from steelyard.analysis.accuracy import clusters_of


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


def test_clusters_of_which_one_has_most_items_are_worth_fewer_or_too_few():
    rough = run_over(lambda i: f"k{min(i // 3, 10)}", lambda i: i % 2)
    assert (rough.low, rough.high) != (None, None)
    assert rough.status.startswith("only 11 clusters, worth ")
    lone = run_over(lambda i: f"k{max(i - 54, 0)}", lambda i: i % 2)
    assert (lone.value, lone.low, lone.high, lone.level) == (0.5, None, None, None)
    assert lone.status == "only 6 clusters, worth 1.2 of one size: too few for an interval"

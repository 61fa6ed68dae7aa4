"""Cohen's kappa: published values, the formula for two categories, coverage, and ratings that allow no kappa."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.stats import cohen_kappa


def ratings(table):
    """Two columns of ratings that make this table of counts."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


def test_the_worked_example_of_fleiss_levin_and_paik():
    # Statistical Methods for Rates and Proportions, 3rd ed., table 18.1: kappa 0.68, s.e. 0.087
    first, second = ratings([[75, 1, 4], [5, 4, 1], [0, 0, 10]])
    found = cohen_kappa(first=first, second=second)
    assert found.agreement == pytest.approx(0.89)
    assert found.kappa == pytest.approx(0.676, abs=5e-4)
    assert found.se == pytest.approx(0.0877, abs=1e-3)
    assert found.n == 100


def test_the_unweighted_error_is_equation_16_written_out():
    table = np.array([[20, 5, 2], [3, 30, 4], [1, 6, 29]])
    first, second = ratings(table)
    p = table / table.sum()
    rows, columns = p.sum(1), p.sum(0)
    observed, expected = np.trace(p), rows @ columns
    kappa = (observed - expected) / (1 - expected)
    a = sum(p[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(3))
    b = (1 - kappa) ** 2 * sum(p[i, j] * (columns[i] + rows[j]) ** 2 for i in range(3) for j in range(3) if i != j)
    c = (kappa - expected * (1 - kappa)) ** 2
    found = cohen_kappa(first=first, second=second)
    assert found.kappa == pytest.approx(kappa)
    assert found.se == pytest.approx(math.sqrt((a + b - c) / (table.sum() * (1 - expected) ** 2)))


def test_weights_make_no_difference_between_two_categories():
    first, second = ratings([[20, 5], [10, 15]])
    plain = cohen_kappa(first=first, second=second)
    assert plain.kappa == pytest.approx(0.4)
    for weights in ("linear", "quadratic"):
        weighed = cohen_kappa(first=first, second=second, weights=weights, categories=[0, 1])
        assert (weighed.kappa, weighed.se) == (pytest.approx(plain.kappa), pytest.approx(plain.se))


def test_near_misses_count_as_partial_agreement_where_weights_say_so():
    first, second = [0, 1, 2, 3, 4] * 10, [1, 1, 2, 3, 3] * 10
    found = {
        weights: cohen_kappa(first=first, second=second, weights=weights, categories=range(5)).kappa
        for weights in ("none", "linear", "quadratic")
    }
    assert found["none"] < found["linear"] < found["quadratic"] < 1


@pytest.mark.parametrize(
    ("first", "second", "kappa", "agreement"),
    [
        ([], [], None, None),
        (["a"] * 5, ["a"] * 5, None, 1.0),
        (["a"], ["a"], None, 1.0),
        (["a", "b"], ["a", "b"], 1.0, 1.0),
        (["a", "a", "b"], ["a", "a", "a"], 0.0, 2 / 3),
        (["a", "b"], ["b", "a"], -1.0, 0.0),
        (["a", "a"], ["b", "b"], 0.0, 0.0),
    ],
)
def test_ratings_without_spread_give_a_value_or_none_and_never_an_error(first, second, kappa, agreement):
    found = cohen_kappa(first=first, second=second)
    assert found.kappa == (None if kappa is None else pytest.approx(kappa))
    assert found.agreement == (None if agreement is None else pytest.approx(agreement))
    assert (found.low is None) == (found.se is None)


def test_perfect_agreement_has_no_interval_that_looks_like_certainty():
    found = cohen_kappa(first=[0, 1] * 20, second=[0, 1] * 20)
    assert (found.kappa, found.se, found.low, found.high) == (1.0, None, None, None)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_kappa_does_not_care_who_is_first_and_stays_within_its_bounds(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    for weights in ("none", "linear", "quadratic"):
        one = cohen_kappa(first=first, second=second, weights=weights, categories=range(4))
        other = cohen_kappa(first=second, second=first, weights=weights, categories=range(4))
        assert (one.kappa is None) == (other.kappa is None)
        if one.kappa is not None:
            assert one.kappa == pytest.approx(other.kappa)
            assert -1 - 1e-9 <= one.kappa <= 1 + 1e-9
        if one.se is not None:
            assert one.low <= one.kappa <= one.high


@pytest.mark.parametrize(("n", "least"), [(100, 0.92), (400, 0.935)])
def test_the_interval_covers_the_true_kappa(n, least):
    table = np.array([[0.45, 0.10], [0.08, 0.37]])
    expected = table.sum(1) @ table.sum(0)
    true = (np.trace(table) - expected) / (1 - expected)
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(1500):
        cells = generator.choice(4, size=n, p=table.ravel())
        found = cohen_kappa(first=(cells // 2).tolist(), second=(cells % 2).tolist())
        covered += found.low <= true <= found.high
    assert least < covered / 1500 < 0.97


def test_ratings_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="2 ratings against 1"):
        cohen_kappa(first=[1, 2], second=[1])
    with pytest.raises(ValueError, match="in their order"):
        cohen_kappa(first=[1], second=[1], weights="linear")

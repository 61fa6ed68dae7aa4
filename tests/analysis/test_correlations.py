"""What goes together is said with its interval, within a model, and of few models not at all."""

import msgspec
import numpy as np
import pytest
import scipy.stats as oracle
from test_metrics import INFO, columns

import steelyard.stats as stats
from steelyard.analysis.compare import Side
from steelyard.analysis.correlations import Standing, across, adjusted, front, within


def side(scores, info=INFO, **changes):
    return Side(name="m", run=1, info=info, columns=columns(scores, **changes))


def longer_where_hard(n=600, seed=0):
    """Hard items get longer answers, and latency is length and nothing else."""
    generator = np.random.default_rng(seed)
    hard = generator.random(n)
    length = 50 + 100 * hard + 20 * generator.random(n)
    scores = (generator.random(n) > hard).astype(float)
    return side(scores, output_tokens=length, total_s=length / 100 + 0.1 * generator.random(n))


def test_latency_that_is_length_is_told_from_latency():
    plain, given, length = within(longer_where_hard())
    assert (plain.figure, given.given, length.figure) == ("latency", "output tokens", "output tokens")
    assert plain.r.high < -0.3
    assert given.r.low < 0 < given.r.high
    assert plain.r.n == 600


def test_what_is_not_known_or_has_no_spread_has_no_coefficient():
    assert [one.r.status for one in within(side([1.0] * 50))][:1] == ["no spread"]
    found = within(side([1.0, 0.0] * 20))
    assert {one.figure for one in found} == {"latency", "output tokens"}  # no price, so no cost
    of_likelihood = within(side([1.0, 0.0] * 20, info=msgspec.structs.replace(INFO, kind="likelihood")))
    assert {one.figure for one in of_likelihood} == {"output tokens"}


def test_repeats_are_one_point_an_item():
    items = np.repeat(np.arange(40), 3)
    found = within(side(np.tile([1.0, 0.0, 1.0], 40), sample=items, total_s=np.random.default_rng(1).random(120)))
    assert found[0].r.n == 40


def test_three_models_have_no_coefficient_and_seven_have_one_that_is_flagged():
    points = [Standing(model=str(i), accuracy=i / 10, latency_s=float(i), cost_usd=None) for i in range(7)]
    few = across("b", points[:3])
    assert (few[0].r.value, few[0].p) == (None, None)
    assert few[0].r.status == "3 models are too few for a coefficient: need 5"
    more = across("b", points)
    assert (more[0].r.value, more[0].r.status) == (1.0, "of 7 models only: it may be far off")
    assert more[0].p == pytest.approx(2 / 5040)
    tau = more[0].r
    assert (tau.low, tau.high, tau.level, tau.n) == (pytest.approx(0.579, abs=1e-3), 1.0, 0.95, 7)
    assert tau.method == "Kendall tau-b, Mallows, exact"
    assert few[0].r.low is None
    assert [one.figure for one in more] == ["latency"]


def test_looking_at_many_makes_each_less_sure():
    found = adjusted([*within(longer_where_hard()), *within(side(np.tile([1.0, 0.0], 100)))])
    assert found[0].is_told
    assert all(one.adjusted_p is None or one.adjusted_p >= one.p for one in found)


def test_the_front_holds_those_that_no_other_beats_in_all():
    best = Standing(model="best", accuracy=0.9, latency_s=2.0, cost_usd=0.01)
    fast = Standing(model="fast", accuracy=0.7, latency_s=1.0, cost_usd=0.02)
    worse = Standing(model="worse", accuracy=0.8, latency_s=2.5, cost_usd=0.01)
    unknown = Standing(model="unknown", accuracy=0.5, latency_s=None, cost_usd=None)
    beaten = {one.model: one.beaten_by for one in front([worse, best, fast, unknown])}
    assert beaten == {"best": None, "fast": None, "worse": "best", "unknown": None}
    assert [one.is_placed for one in (best, unknown)] == [True, False]


def test_a_model_that_often_fails_is_on_no_front_and_beats_nobody():
    whole = Standing(model="whole", accuracy=0.8, latency_s=2.0, cost_usd=0.02)
    partial = Standing(model="partial", accuracy=0.95, latency_s=1.0, cost_usd=0.01, unscored=0.5)
    found = {one.model: one for one in front([whole, partial])}
    assert [one.beaten_by for one in found.values()] == [None, None]
    assert [one.is_placed for one in found.values()] == [True, False]


def test_a_partial_correlation_is_that_of_the_residuals():
    generator = np.random.default_rng(3)
    z = generator.normal(size=200)
    x, y = z + generator.normal(size=200), 2 * z + generator.normal(size=200)
    rest = [values - np.polyval(np.polyfit(z, values, 1), z) for values in (x, y)]
    found = stats.partial_correlation(x=x, y=y, given=z)
    expected = oracle.pearsonr(*rest).statistic
    assert (found.r, found.n) == (pytest.approx(expected), 199)
    t = expected * np.sqrt(197 / (1 - expected**2))
    assert found.p == pytest.approx(2 * oracle.t.sf(abs(t), 197))
    assert stats.partial_correlation(x=z, y=y, given=z).r is None


@pytest.mark.long
def test_the_interval_of_right_against_latency_covers():
    generator = np.random.default_rng(4)
    truth, covered = 0.0, []
    big = generator.normal(size=400_000)
    truth = float(np.corrcoef(big, big + generator.normal(size=400_000) > 1.0)[0, 1])
    for _ in range(3000):
        latency = generator.normal(size=200)
        right = (latency + generator.normal(size=200) > 1.0).astype(float)
        r = stats.point_biserial(binary=right, values=latency).r
        bounds = stats.correlation_interval_fisher(r=r, n=200)
        covered.append(bounds.low <= truth <= bounds.high)
    assert 0.93 <= np.mean(covered) <= 0.985

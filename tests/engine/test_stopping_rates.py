"""How often the rules err over whole series of looks, by the rules themselves.

A look depends on counts alone where answers are right or wrong, so many series share a look: each is taken once.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from steelyard import stats
from steelyard.analysis.shared import exact_confidence
from steelyard.engine.schedule.cascade import meets
from steelyard.engine.schedule.prefix import Seen
from steelyard.engine.schedule.stopping import look_points, rule_for
from steelyard.plan.stopping import Anytime, Cascade, Compare
from steelyard.types import Estimate

SERIES = 20_000
ROUNDING = 1e-9


def counts_at(kinds, points, series, generator):
    """How many items of each kind the first ones of a benchmark hold: one row a point, one column a series."""
    left = np.repeat(np.array(kinds)[:, None], series, axis=1)
    found, before = [], 0
    for n in points:
        wanted = np.full(series, n - before)
        for kind in range(len(kinds)):
            rest = left[kind + 1 :].sum(axis=0)
            drawn = generator.hypergeometric(left[kind], rest, wanted)
            left[kind] -= drawn
            wanted -= drawn
        found.append(np.array(kinds)[:, None] - left)
        before = n
    return np.array(found)


def looked(rule, number, ahead, behind):
    """The look of every series at its place in the rule's order, taken once for each pair of counts."""
    n = look_points(rule.stop, rule.planned)[number - 1]
    pairs, where = np.unique(np.stack([ahead, behind], axis=1), axis=0, return_inverse=True)
    looks = [rule.look(number, seen(n, *pair)) for pair in pairs.tolist()]
    return looks, where.ravel()


def seen(n, ahead, behind):
    a, b = np.zeros(n), np.zeros(n)
    a[:ahead], b[ahead : ahead + behind] = 1.0, 1.0
    return Seen(a=a, b=b)


def ends_of(rule, population, ahead, behind, *, series=SERIES, seed=0):
    """How each series ends: its verdict and whether its interval holds the truth."""
    points, truth = look_points(rule.stop, rule.planned), (ahead - behind) / population
    counts = counts_at([ahead, behind, population - ahead - behind], points, series, np.random.default_rng(seed))
    verdicts = np.full(series, "go_on", dtype="U10")
    covers = np.zeros(series, dtype=bool)
    for number in range(1, len(points) + 1):
        open_ones = np.flatnonzero(verdicts == "go_on")
        if not len(open_ones):
            break
        looks, where = looked(rule, number, *counts[number - 1][:2, open_ones])
        ended = np.array([look.next is None for look in looks])[where]
        holds = np.array([covers_it(look, truth) for look in looks])[where]
        words = np.array([look.verdict for look in looks])[where]
        verdicts[open_ones[ended]], covers[open_ones[ended]] = words[ended], holds[ended]
    return verdicts, covers


def covers_it(look, truth):
    return look.low - ROUNDING <= truth <= look.high + ROUNDING


def covered_at_every_look(rule, population, ahead, behind, *, series=SERIES, seed=0):
    """Whether all looks of a series hold the truth at once, were none of them to end it."""
    points, truth = look_points(rule.stop, rule.planned), (ahead - behind) / population
    counts = counts_at([ahead, behind, population - ahead - behind], points, series, np.random.default_rng(seed))
    covered = np.ones(series, dtype=bool)
    for number, found in enumerate(counts, start=1):
        looks, where = looked(rule, number, *found[:2])
        covered &= np.array([covers_it(look, truth) for look in looks])[where]
    return covered


def kinds_of(population, discordance, difference):
    """Items on which the one model alone is right, and the other."""
    ahead = round(population * (discordance + difference) / 2)
    return ahead, ahead - round(population * difference)


# --- two models that are equal ----------------------------------------------------------------------------------------


def test_counts_of_a_prefix_are_those_of_items_in_a_random_order():
    counts = counts_at([30, 50, 120], (50, 200), 4000, np.random.default_rng(1))
    assert (counts[1] == np.array([[30], [50], [120]])).all()
    assert counts[0].mean(axis=1) == pytest.approx([7.5, 12.5, 30.0], abs=0.2)
    left = 150 / 199
    assert counts[0].var(axis=1) == pytest.approx([50 * p * (1 - p) * left for p in (0.15, 0.25, 0.6)], rel=0.1)


@pytest.mark.parametrize(
    ("population", "planned", "discordance"), [(60, 50, 16 / 60), (80, 80, 0.35), (200, 100, 0.236)]
)
def test_where_a_few_counts_decide_equal_models_are_told_apart_no_more_often(population, planned, discordance):
    rule = rule_for(Compare(bounds="obrien_fleming"), planned=planned, population=population)
    verdicts, _ = ends_of(rule, population, *kinds_of(population, discordance, 0), series=10_000)
    assert np.isin(verdicts, ("ahead", "behind")).mean() <= 0.055


@pytest.mark.parametrize("bounds", ["pocock", "obrien_fleming"])
@pytest.mark.parametrize(
    ("population", "planned", "discordant"),
    [(52, 50, 4), (52, 50, 22), (60, 50, 6), (60, 50, 14), (70, 60, 2), (90, 85, 16), (200, 198, 14)],
)
def test_where_hardly_a_discordant_item_is_left_equal_models_are_tied_and_intervals_cover(
    population, planned, discordant, bounds
):
    rule = rule_for(Compare(bounds=bounds), planned=planned, population=population)
    verdicts, covers = ends_of(rule, population, discordant // 2, discordant // 2)
    assert np.isin(verdicts, ("ahead", "behind")).mean() <= 0.055
    assert covers.mean() >= 0.94


@pytest.mark.long
@pytest.mark.parametrize(
    ("population", "planned", "discordant", "bounds"),
    [
        (200, 180, 60, "spending"),
        (200, 184, 78, "obrien_fleming"),
        (1000, 970, 200, "obrien_fleming"),
    ],
)
def test_where_a_step_of_the_sum_decides_equal_models_are_told_apart_in_5_5_percent_or_less(
    population, planned, discordant, bounds
):
    rule = rule_for(Compare(bounds=bounds), planned=planned, population=population)
    verdicts, _ = ends_of(rule, population, discordant // 2, discordant // 2, series=60_000)
    assert np.isin(verdicts, ("ahead", "behind")).mean() <= 0.055


@pytest.mark.long
@pytest.mark.parametrize(("population", "planned", "discordant"), [(400, 388, 200), (4000, 3880, 402)])
def test_past_nine_tenths_a_single_look_tells_equal_models_apart_in_5_5_percent_or_less(
    population, planned, discordant
):
    rule = rule_for(Compare(looks=(1.0,)), planned=planned, population=population)
    verdicts, _ = ends_of(rule, population, discordant // 2, discordant // 2, series=60_000)
    assert np.isin(verdicts, ("ahead", "behind")).mean() <= 0.055


@pytest.mark.long
@pytest.mark.parametrize(
    ("population", "planned", "ahead", "behind", "bounds"),
    [
        (70, 70, 32, 0, "pocock"),
        (90, 81, 61, 0, "spending"),
        (400, 300, 42, 0, "obrien_fleming"),
        (1319, 1318, 48, 0, "pocock"),
    ],
)
def test_where_few_items_differ_and_most_one_way_all_looks_cover_at_once_in_94_percent_or_more(
    population, planned, ahead, behind, bounds
):
    rule = rule_for(Compare(bounds=bounds), planned=planned, population=population)
    assert covered_at_every_look(rule, population, ahead, behind, series=60_000).mean() >= 0.94


@pytest.mark.long
@pytest.mark.parametrize("bounds", ["pocock", "spending", "obrien_fleming"])
@pytest.mark.parametrize("discordance", [0.05, 0.236])
@pytest.mark.parametrize(("population", "planned"), [(80, 80), (200, 100)])
def test_equal_models_are_told_apart_in_5_5_percent_or_less(population, planned, discordance, bounds):
    rule = rule_for(Compare(bounds=bounds), planned=planned, population=population)
    verdicts, _ = ends_of(rule, population, *kinds_of(population, discordance, 0), seed=population)
    assert np.isin(verdicts, ("ahead", "behind")).mean() <= 0.055


# --- two models at a margin -------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("bounds", ["pocock", "obrien_fleming"])
@pytest.mark.parametrize(
    ("population", "discordance", "margin"),
    [(200, 0.05, 0.05), (200, 0.3, 0.1), (1000, 0.12, 0.02)],
)
def test_models_as_far_apart_as_the_margin_are_equivalent_in_5_5_percent_or_less(
    population, discordance, margin, bounds
):
    ahead, behind = kinds_of(population, discordance, margin)
    apart = (ahead - behind) / population
    planned = min(population, 1000)
    rule = rule_for(Compare(margin=apart, bounds=bounds), planned=planned, population=population)
    verdicts, covers = ends_of(rule, population, ahead, behind, seed=population)
    assert (verdicts == "equivalent").mean() <= 0.055
    assert not (verdicts == "go_on").any()
    assert (verdicts == "behind").mean() <= 0.0275
    assert covers.mean() >= 0.94


# --- a cascade --------------------------------------------------------------------------------------------------------


def dropped(population, planned, patterns, worse_by, *, series=SERIES, seed=0):
    """The chance that a cascade drops any model: ``patterns`` count the items by which of the models are right."""
    models = len(next(iter(patterns)))
    rule = rule_for(
        Cascade(worse_by=worse_by), planned=planned, population=population, pairs=models * (models - 1) // 2
    )
    points = look_points(rule.stop, planned)
    counts = counts_at([*patterns.values()], points, series, np.random.default_rng(seed))
    right = np.array([*patterns])
    is_dropped = np.zeros((models, series), dtype=bool)
    for cheaper, dearer in combinations(range(models), 2):
        ahead = right[:, dearer] > right[:, cheaper]
        behind = right[:, dearer] < right[:, cheaper]
        for number in range(1, len(points) + 1):
            looks, where = looked(
                rule, number, counts[number - 1][ahead].sum(axis=0), counts[number - 1][behind].sum(axis=0)
            )
            is_behind = np.array([look.verdict == "behind" for look in looks])[where]
            is_dropped[dearer] |= is_behind & ~is_dropped[cheaper]
    return is_dropped


def answers(population, accuracy, discordance, worse_by, models):
    """Items by who is right: the first model scores ``accuracy``, each dearer one is worse by just ``worse_by``."""
    lost = round(population * (discordance + worse_by) / 2)
    won = lost - round(population * worse_by)
    generator = np.random.default_rng(population)
    is_right = np.arange(population) < round(accuracy * population)
    columns = [is_right]
    for _ in range(models - 1):
        other = is_right.copy()
        other[generator.choice(np.flatnonzero(is_right), lost, replace=False)] = False
        other[generator.choice(np.flatnonzero(~is_right), won, replace=False)] = True
        columns.append(other)
    kinds, sizes = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    return {tuple(kind): int(size) for kind, size in zip(kinds.tolist(), sizes, strict=True)}


@pytest.mark.long
@pytest.mark.parametrize("models", [2, 6])
@pytest.mark.parametrize(("accuracy", "discordance"), [(0.3, 0.3), (0.95, 0.06)])
@pytest.mark.parametrize(("population", "planned"), [(60, 60), (200, 200)])
def test_a_model_within_the_margin_is_dropped_in_5_5_percent_or_less(
    population, planned, accuracy, discordance, models
):
    patterns = answers(population, accuracy, discordance, 0.05, models)
    worse_by = round(population * 0.05) / population
    assert dropped(population, planned, patterns, worse_by, series=4_000).any(axis=0).mean() <= 0.055


@pytest.mark.long
def test_the_best_model_is_hardly_ever_dropped_where_all_score_alike():
    for models in (2, 4):
        patterns = answers(1000, 0.7, 0.2, 0.0, models)
        assert dropped(1000, 1000, patterns, 0.02, series=2_000).any(axis=0).mean() <= 0.01


def chance_to_be_taken(n, accuracy, models):
    """That any model is taken for good enough, where each is just as good as the criterion asks."""
    right = next((k for k in range(round(n * accuracy), n + 1) if is_taken(k, n, accuracy, models)), n + 1)
    return 1 - binom.cdf(right - 1, n, accuracy) ** models


def is_taken(right, n, accuracy, models):
    bounds = stats.clopper_pearson_interval(successes=right, n=n, confidence=exact_confidence(models))
    found = Estimate(metric="accuracy", value=right / n, low=bounds.low, high=bounds.high, n=n, method="", unit="share")
    return meets((f"accuracy >= {accuracy}",), {"accuracy": found})


@pytest.mark.parametrize("models", [2, 3, 5, 8])
@pytest.mark.parametrize("accuracy", [0.02, 0.3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("n", [30, 34, 50, 200, 1000, 14042])
def test_a_model_no_better_than_the_criterion_is_taken_in_5_percent_or_less(n, accuracy, models):
    assert chance_to_be_taken(n, accuracy, models) <= 0.05


# --- at any time ------------------------------------------------------------------------------------------------------


def drawn(population, planned, ahead, behind, generator):
    kinds = np.repeat([1.0, -1.0, 0.0], [ahead, behind, population - ahead - behind])
    return generator.permutation(kinds)[:planned]


def evidence_against(truth, differences, population, planned):
    """The most that the rule's bets make against the truth at any moment before the whole benchmark is asked."""
    return stats.betting_e_value(
        values=(differences[: population - 1] + 1) / 2, mean=(truth + 1) / 2, population=population, planned=planned / 2
    ).e_value


@pytest.mark.long
@pytest.mark.parametrize(("discordance", "difference"), [(0.12, 0), (0.3, 0.1)])
@pytest.mark.parametrize(("population", "planned", "series"), [(200, 200, 8000), (1000, 500, 6000)])
def test_bets_at_every_moment_lose_the_truth_in_5_5_percent_or_less(
    population, planned, series, discordance, difference
):
    generator = np.random.default_rng(population + planned)
    ahead, behind = kinds_of(population, discordance, difference)
    truth = (ahead - behind) / population
    lost = [
        evidence_against(truth, drawn(population, planned, ahead, behind, generator), population, planned) >= 20
        for _ in range(series)
    ]
    assert np.mean(lost) <= 0.055


@pytest.mark.long
@pytest.mark.parametrize(("difference", "margin"), [(0.0, None)])
def test_where_looks_at_any_time_end_the_interval_covers_and_models_at_the_margin_are_not_equivalent(
    difference, margin
):
    generator = np.random.default_rng(3)
    ahead, behind = kinds_of(400, 0.2, difference)
    rule = rule_for(Anytime(margin=margin), planned=400, population=400)
    points, covered, equivalent, told = look_points(rule.stop, 400), [], [], []
    for _ in range(600):
        d = drawn(400, 400, ahead, behind, generator)
        a, b = (d > 0).astype(float), (d < 0).astype(float)
        look = next(
            look
            for number, n in enumerate(points, start=1)
            if (look := rule.look(number, Seen(a=a[:n], b=b[:n]))).next is None
        )
        covered.append(look.low - ROUNDING <= difference <= look.high + ROUNDING)
        equivalent.append(look.verdict == "equivalent" and look.n < 400)
        told.append(look.verdict in ("ahead", "behind"))
    assert np.mean(covered) >= 0.94
    assert np.mean(equivalent) <= 0.055
    assert difference or np.mean(told) <= 0.055

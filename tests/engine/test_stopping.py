"""The rules themselves: where they look, what a look decides, and how often they err over whole series of looks."""

import numpy as np
import pytest

from steelyard import stats
from steelyard.engine.schedule.prefix import FEWEST_ITEMS, Seen, difference_within, score_within
from steelyard.engine.schedule.stopping import look_points, rule_for
from steelyard.errors import UsageError
from steelyard.plan.stopping import Anytime, Compare, HalfWidth, Ladder, parse_stop, stop_rule

ITEMS = 1319
ATTEMPTS = 400
MANY = 4000


def followed(rule, a, b=None, clusters=None):
    """The last look of a whole series, when the rule alone says how far to go."""
    n, number = rule.first(), 1
    while True:
        seen = Seen(a=a[:n], b=None if b is None else b[:n], clusters=None if clusters is None else clusters[:n])
        look = rule.look(number, seen)
        assert (look.n, look.number) == (n, number)
        if look.next is None:
            return look
        assert n < look.next <= rule.planned
        n, number = look.next, number + 1


def right(share, generator, items=ITEMS):
    return (generator.random(items) < share).astype(float)


def pairs(difference, discordance, generator, *, exact):
    """Two models' scores: with ``exact`` the benchmark has this difference, else it is drawn from where it is true."""
    if exact:
        ahead, behind = (round(ITEMS * (discordance + sign * difference) / 2) for sign in (1, -1))
        kind = generator.permutation(np.repeat([1, -1, 0], [ahead, behind, ITEMS - ahead - behind]))
    else:
        drawn = generator.random(ITEMS)
        kind = np.where(drawn < (discordance + difference) / 2, 1, np.where(drawn < discordance, -1, 0))
    both = (kind == 0) & (generator.random(ITEMS) < 0.7)
    return ((kind > 0) | both).astype(float), ((kind < 0) | both).astype(float)


# --- where to look ----------------------------------------------------------------------------------------------------


def test_planned_looks_are_shares_of_the_items():
    assert look_points(Compare(), ITEMS) == (132, 330, 660, 1319)
    assert look_points(Ladder(variance=0.1, ladder=(0.5, 1.0)), 100) == (50, 100)
    assert look_points(HalfWidth(half_width=0.03), ITEMS) == (132, 1319)
    assert look_points(Anytime(every=100), 450) == (100, 200, 300, 400, 450)
    assert look_points(Anytime(), ITEMS)[:2] == (50, 64)


def test_no_look_is_at_fewer_than_fifty_items_unless_there_are_no_more():
    assert look_points(Compare(), 100) == (FEWEST_ITEMS, 100)
    assert look_points(Compare(), 30) == (30,)
    assert look_points(HalfWidth(half_width=0.03), 30) == (30,)


def test_the_bounds_are_the_published_ones():
    of_questions = rule_for(Compare(estimand="questions"), planned=10_000, population=10_000)
    assert of_questions.bounds() == pytest.approx([2.416] * 4, abs=2e-3)
    falling = rule_for(Compare(estimand="questions", bounds="obrien_fleming"), planned=10_000, population=10_000)
    assert falling.bounds() == pytest.approx([6.25, 3.96, 2.80, 1.978], abs=1e-2)
    spent = rule_for(Compare(estimand="questions", bounds="spending"), planned=10_000, population=10_000)
    assert spent.bounds() == pytest.approx([2.655, 2.525, 2.386, 2.231], abs=2e-3)


def test_of_the_whole_benchmark_nothing_is_left_to_chance_at_the_last_look():
    *early, last = rule_for(Compare(), planned=ITEMS, population=ITEMS).bounds()
    assert early == pytest.approx([2.348] * 3, abs=5e-3)
    assert last is None
    limited = rule_for(Compare(), planned=500, population=ITEMS).bounds()
    assert None not in limited


# --- what a look decides ----------------------------------------------------------------------------------------------


def test_after_the_pilot_the_width_needs_a_number_of_items_that_can_be_told():
    rule = rule_for(HalfWidth(half_width=0.03), planned=ITEMS, population=ITEMS)
    pilot = np.repeat([1.0, 0.0], [79, 53])
    look = rule.look(1, Seen(a=pilot))
    needed = stats.sample_size_precision_fpc(p=79 / 132, half_width=0.03, population=ITEMS).n_finite
    assert look.next == pytest.approx(needed, abs=1)
    assert (look.verdict, look.estimand) == ("go_on", "this benchmark")


def test_a_pilot_without_a_wrong_answer_is_not_taken_for_certainty():
    look = rule_for(HalfWidth(half_width=0.01), planned=ITEMS, population=ITEMS).look(1, Seen(a=np.ones(132)))
    assert look.verdict == "go_on"
    on_ladder = rule_for(Ladder(variance=1e-5), planned=ITEMS, population=ITEMS).look(1, Seen(a=np.ones(132)))
    assert on_ladder.verdict == "go_on"


def test_items_without_a_score_are_allowed_for():
    pilot = np.repeat([1.0, 0.0, np.nan], [60, 40, 32])
    look = rule_for(HalfWidth(half_width=0.03), planned=ITEMS, population=ITEMS).look(1, Seen(a=pilot))
    all_scored = rule_for(HalfWidth(half_width=0.03), planned=ITEMS, population=ITEMS).look(
        1, Seen(a=np.repeat([1.0, 0.0], [60, 40]))
    )
    assert (look.n, look.scored) == (132, 100)
    assert look.next == pytest.approx(all_scored.next * 1.32, abs=2)


def test_nothing_scored_is_no_reason_to_stop():
    nothing = np.full(132, np.nan)
    for stop in (HalfWidth(half_width=0.03), Ladder(variance=0.0004)):
        look = rule_for(stop, planned=ITEMS, population=ITEMS).look(1, Seen(a=nothing))
        assert (look.verdict, look.value) == ("go_on", None)
    for stop in (Compare(), Anytime(every=132)):
        look = rule_for(stop, planned=ITEMS, population=ITEMS).look(1, Seen(a=nothing, b=nothing))
        assert look.verdict == "go_on"
    look = rule_for(Compare(), planned=132, population=132).look(2, Seen(a=nothing, b=nothing))
    assert (look.verdict, look.value, look.next) == ("all_asked", None, None)


def test_items_in_clusters_are_worth_fewer():
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], 33)
    alone, worth = score_within(Seen(a=scores), population=None, alpha=0.05)
    clusters = np.repeat(np.arange(12), 11)
    together, fewer = score_within(Seen(a=scores, clusters=clusters), population=None, alpha=0.05)
    assert worth == 132
    assert fewer < 20
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_difference_of_a_few_pairs_stops_nothing():
    a = np.zeros(132)
    a[:9] = 1.0
    rule = rule_for(Compare(), planned=ITEMS, population=ITEMS)
    assert rule.look(1, Seen(a=a, b=np.zeros(132))).verdict == "go_on"
    a[:20] = 1.0
    assert rule.look(1, Seen(a=a, b=np.zeros(132))).verdict == "ahead"


def test_models_that_hardly_ever_differ_are_equivalent_within_a_margin():
    a = np.ones(132)
    b = np.concatenate([np.ones(130), np.zeros(2)])
    look = rule_for(Compare(margin=0.1), planned=ITEMS, population=ITEMS).look(1, Seen(a=a, b=b))
    assert look.verdict == "equivalent"


def test_models_swapped_turn_the_look_round():
    generator = np.random.default_rng(1)
    a, b = pairs(0.1, 0.236, generator, exact=True)
    rule = rule_for(Compare(), planned=ITEMS, population=ITEMS)
    one, other = (rule.look(2, Seen(a=x[:330], b=y[:330])) for x, y in ((a, b), (b, a)))
    assert (one.verdict, other.verdict) == ("ahead", "behind")
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_once_all_is_asked_the_difference_is_what_it_is_up_to_what_has_no_score():
    a, b = np.array([1.0, 1.0, 0.0, np.nan]), np.array([0.0, 1.0, 0.0, 1.0])
    found = difference_within(Seen(a=a, b=b), population=4, z=None)
    assert (found.low, found.high) == (0.0, 0.5)


def test_models_that_answer_alike_are_equivalent_within_a_margin_only():
    generator = np.random.default_rng(2)
    a, b = pairs(0.0, 0.05, generator, exact=True)
    assert followed(rule_for(Compare(margin=0.03), planned=ITEMS, population=ITEMS), a, b).verdict == "equivalent"
    assert followed(rule_for(Compare(), planned=ITEMS, population=ITEMS), a, b).verdict in (
        "all_asked",
        "ahead",
        "behind",
    )


def test_at_any_time_models_that_answer_alike_are_equivalent_before_the_end():
    generator = np.random.default_rng(2)
    a, b = pairs(0.0, 0.02, generator, exact=True)
    look = followed(rule_for(Anytime(margin=0.08), planned=ITEMS, population=ITEMS), a, b)
    assert look.verdict == "equivalent"
    assert look.n < ITEMS


def test_pairs_share_the_error():
    alone = rule_for(Compare(), planned=500, population=ITEMS, pairs=1)
    among = rule_for(Compare(), planned=500, population=ITEMS, pairs=3)
    assert among.alpha == pytest.approx(0.05 / 3)
    assert min(among.bounds()) > max(alone.bounds())


def test_repeats_and_parts_are_compared_by_students_t():
    generator = np.random.default_rng(3)
    base = generator.integers(0, 5, ITEMS) / 4
    look = followed(rule_for(Compare(), planned=ITEMS, population=ITEMS), np.clip(base + 0.2, 0, 1), base)
    assert look.verdict == "ahead"
    assert look.low <= 0.2 * 4 / 5 + 0.01 <= look.high + 0.05


# --- how a rule is written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "entry", "rule"),
    [
        ("half_width=0.03", {"half_width": 0.03}, HalfWidth(half_width=0.03)),
        ("compare", {"compare": True}, Compare()),
        ("compare,against=x/y", {"compare": True, "against": "x/y"}, Compare(against="x/y")),
        ("anytime,every=20", {"compare": True, "anytime": True, "every": 20}, Anytime(every=20)),
        ("ladder=0.5/1,variance=0.1", {"ladder": [0.5, 1.0], "variance": 0.1}, Ladder(ladder=(0.5, 1.0), variance=0.1)),
    ],
)  # fmt: skip
def test_a_rule_reads_the_same_in_a_plan_and_on_the_command_line(text, entry, rule):
    assert parse_stop(text) == stop_rule(entry) == rule


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"halfwidth": 0.03}, "names no rule"),
        ({}, "nothing"),
        ({"half_width": 3}, "<"),
        ({"half_width": 0.03, "looks": [0.5, 1.0]}, "unknown key 'looks'"),
        ({"compare": True, "lookz": [1.0]}, "Did you mean 'looks'"),
        ({"compare": False}, "either true or left out"),
        ({"compare": True, "looks": [0.5, 0.25, 1.0]}, "rise to 1"),
        ({"compare": True, "looks": [0.5]}, "rise to 1"),
        ({"ladder": [0.5, 1.0]}, "variance"),
    ],
)
def test_a_rule_that_cannot_be_says_what_is_wrong(entry, words):
    with pytest.raises(UsageError, match=words):
        stop_rule(entry)


# --- how often a rule errs --------------------------------------------------------------------------------------------


def coverage_and_share(stop, share, reps, *, seed=0):
    generator = np.random.default_rng(seed)
    rule = rule_for(stop, planned=ITEMS, population=ITEMS)
    covered, asked = 0, 0
    for _ in range(reps):
        scores = right(share, generator)
        look = followed(rule, scores)
        truth = scores.mean() if look.estimand == "this benchmark" else share
        covered += look.low - 1e-9 <= truth <= look.high + 1e-9
        asked += look.n
    return covered / reps, asked / reps / ITEMS


def errors_and_share(stop, difference, reps, *, discordance=0.236, planned=ITEMS, seed=0):
    generator = np.random.default_rng(seed)
    rule = rule_for(stop, planned=planned, population=ITEMS)
    told, wrong, covered, asked = 0, 0, 0, 0
    for _ in range(reps):
        a, b = pairs(difference, discordance, generator, exact=stop.estimand == "benchmark")
        truth = float((a - b).mean()) if stop.estimand == "benchmark" else difference
        look = followed(rule, a[:planned], b[:planned])
        told += look.verdict in ("ahead", "behind")
        wrong += look.verdict == "behind"
        covered += look.low - 1e-9 <= truth <= look.high + 1e-9
        asked += look.n
    return told / reps, wrong / reps, covered / reps, asked / reps / planned


@pytest.mark.parametrize(("share", "of_items"), [(0.6, 0.44), (0.8, 0.36), (0.9, 0.25), (0.97, 0.12)])
def test_a_width_is_reached_with_the_items_promised_and_its_interval_covers(share, of_items):
    covered, asked = coverage_and_share(HalfWidth(half_width=0.03), share, ATTEMPTS)
    assert covered >= 0.925  # of 400 series a true 95 % falls below this once in 80
    assert asked == pytest.approx(of_items, abs=0.02)


def test_a_true_difference_is_found_with_the_items_promised():
    told, wrong, covered, asked = errors_and_share(Compare(), 0.05, 150)
    assert (told, wrong) == (1.0, 0.0)
    assert covered >= 0.95
    assert asked == pytest.approx(0.40, abs=0.04)


@pytest.mark.long
@pytest.mark.parametrize("share", [0.5, 0.6, 0.8, 0.9, 0.97])
@pytest.mark.parametrize(
    "stop", [HalfWidth(half_width=0.03), Ladder(variance=0.0004)], ids=lambda stop: type(stop).__name__
)
def test_intervals_after_an_early_end_cover_in_94_percent_or_more(stop, share):
    covered, _ = coverage_and_share(stop, share, MANY, seed=1)
    assert covered >= 0.94


@pytest.mark.long
@pytest.mark.parametrize("discordance", [0.12, 0.236])
@pytest.mark.parametrize(
    ("stop", "planned"),
    [
        (Compare(), ITEMS),
        (Compare(), 600),
        (Compare(bounds="spending"), ITEMS),
        (Compare(bounds="obrien_fleming"), ITEMS),
        (Compare(estimand="questions"), ITEMS),
    ],
    ids=("benchmark", "limit", "spending", "obrien_fleming", "questions"),
)
def test_models_that_are_equal_are_told_apart_in_5_5_percent_or_less(stop, planned, discordance):
    told, _, covered, asked = errors_and_share(stop, 0.0, MANY, discordance=discordance, planned=planned, seed=2)
    assert told <= 0.055
    assert covered >= 0.945
    assert asked > 0.9


@pytest.mark.long
def test_looks_at_any_time_err_less_often_and_save_more():
    stop = Anytime(every=10)
    told, _, _, _ = errors_and_share(stop, 0.0, 150, seed=3)
    assert told <= 0.055
    told, wrong, covered, asked = errors_and_share(stop, 0.05, 80, seed=3)
    assert (told, wrong) == (1.0, 0.0)
    assert covered >= 0.95
    assert asked == pytest.approx(0.35, abs=0.04)


@pytest.mark.long
@pytest.mark.parametrize(
    ("stop", "of_items", "power"),
    [
        (Compare(), 0.40, 0.99),
        (Compare(bounds="obrien_fleming"), 0.49, 0.99),
        (Compare(estimand="questions"), 0.59, 0.90),
        (Compare(estimand="questions", bounds="obrien_fleming"), 0.77, 0.95),
    ],
    ids=("pocock", "obrien_fleming", "pocock, questions", "obrien_fleming, questions"),
)
def test_five_points_are_found_with_the_items_that_the_tables_promise(stop, of_items, power):
    told, wrong, covered, asked = errors_and_share(stop, 0.05, 1500, seed=4)
    assert told >= power
    assert wrong <= 0.001
    assert covered >= 0.95
    assert asked == pytest.approx(of_items, abs=0.025)

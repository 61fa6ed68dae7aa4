"""Findings and recommendations: each rule where its tests decide, and where they leave it open."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_gates import cell

from steelyard.analysis.bench import Bench, Contender, Settled
from steelyard.analysis.findings import findings, since_baseline
from steelyard.analysis.gate import Check
from steelyard.analysis.recommendations import _in_the_way, recommendations, together
from steelyard.analysis.telling import listed

DOCS = (Path(__file__).parent.parent.parent / "docs" / "findings.md").read_text("utf-8")
COST = 0.001


def contender(name, right, n=400, *, cost=COST, ttft=0.2, offset=0, **changes):
    """A model that answers the first ``right`` items after ``offset`` right, at such a cost and speed."""
    scores = np.zeros(n)
    scores[(np.arange(right) + offset) % n] = 1.0
    spread = np.linspace(0.95, 1.05, n)
    fields = {"cost_usd": cost * spread, "ttft_s": ttft * spread, "total_s": 5 * ttft * spread} | changes
    info = {"model": name, **fields.pop("info", {})}
    found = cell(scores, info=info, **fields)
    return Contender(cell=found, estimates={one.metric: one for one in found.estimates})


def floor(right, n=400):
    return contender("baseline/random", right, n, cost=np.nan, info={"is_floor": True}, offset=200)


def of(rule, *models, floors=()):
    return [one for one in findings([Bench("b@p", models, floors)]) if one.rule == rule]


def test_a_lead_is_decided_when_the_best_is_told_from_the_next():
    (found,) = of("lead", contender("a", 300), contender("b", 200))
    assert found.kind == "told"
    assert found.sentence.startswith("a answers best on b@p: 75.0 % (70.5 to 79.0) right, 25.0 points more than b ")
    assert "paired, Tango score" in found.method
    assert [one.value for one in found.numbers] == [0.75, 0.5, 0.25]


def test_a_lead_of_two_items_is_not_decided_and_says_what_would_settle_it():
    (found,) = of("lead", contender("a", 202, offset=100), contender("b", 200))
    assert found.kind == "open"
    assert "is not decided" in found.sentence
    assert "items of b@p in all (it has 5,000) would tell b from it, for about" in found.sentence
    assert "USD" in found.sentence


def test_of_three_models_ties_are_judged_together():
    (found,) = of("lead", contender("a", 300), contender("b", 298, offset=50), contender("c", 100))
    assert found.kind == "open"
    assert "b is not told apart from it" in found.sentence
    assert "c" not in found.sentence.split("best one seen is ")[1].split(" is not told")[0]
    (found,) = of("lead", contender("a", 300), contender("b", 150), contender("c", 100))
    assert found.kind == "told"
    assert found.sentence.endswith("It is told apart from both others.")


def test_equal_scores_of_fewer_items_do_not_go_by_the_bounds_of_more():
    (found,) = of("lead", contender("a", 200, offset=300), contender("b", 100, n=200))
    assert "both have" not in found.sentence
    assert "a with 50.0 % (45.1 to 54.9); b is not told apart from it" in found.sentence


def test_a_model_that_failed_to_answer_beats_nobody_in_all_that_is_known():
    failing = msgspec.structs.replace(contender("a", 300, ttft=0.1), failure="503")
    assert of("dominated", contender("a", 300, ttft=0.1), contender("b", 200))
    assert not of("dominated", failing, contender("b", 200))
    assert of("dominated", failing, msgspec.structs.replace(contender("b", 200), failure="503"))


def test_models_asked_in_other_words_are_never_compared():
    found = of("lead", contender("a", 300), contender("b", 100, info={"prompt_digest": "other words"}))
    assert [one.sentence for one in found] == [
        "a answers 75.0 % (70.5 to 79.0, n = 400) of b@p right.",
        "b was not asked the same on b@p as a (other prompt digest), so it is not compared with it.",
    ]


def test_a_floor_that_is_not_beaten_is_told():
    (found,) = of("floor", contender("a", 110), floors=[floor(100)])
    assert found.kind == "open"
    assert found.sentence.startswith("a is not shown to do better on b@p than baseline/random")
    (found,) = of("floor", contender("a", 300), contender("b", 250), floors=[floor(100)])
    assert found.kind == "told"
    assert found.sentence.startswith("Both models do better")
    apart = contender("c", 20, info={"prompt_digest": "other words"})
    (found,) = of("floor", contender("a", 300), contender("b", 250), apart, floors=[floor(100)])
    assert found.sentence.startswith("a and b do better")


def test_the_cheapest_right_answer_is_decided_by_the_ratio_of_costs():
    (found,) = of("cost", contender("a", 300), contender("b", 290, cost=COST / 4))
    assert found.kind == "told"
    assert found.sentence.startswith("Right answers on b@p cost least with b: ")
    (found,) = of("cost", contender("a", 300), contender("b", 299))
    assert found.kind == "open"


def test_an_unknown_price_is_named_and_not_taken_for_nothing():
    (found,) = of("cost", contender("a", 300), contender("b", 290, cost=np.nan))
    assert "What b costs is not known." in found.sentence


def test_a_model_that_got_nothing_right_has_a_price_and_no_price_of_a_right_answer():
    (found,) = of("cost", contender("a", 300), contender("b", 0))
    assert found.sentence.endswith(". b got nothing right.")
    assert "not known" not in found.sentence


def test_the_fastest_first_token_is_decided_by_the_ratio_of_medians():
    (found,) = of("speed", contender("a", 300), contender("b", 290, ttft=0.1))
    assert found.kind == "told"
    assert found.sentence.startswith("b's first token comes first")
    (found,) = of("speed", contender("a", 300), contender("b", 290))
    assert found.kind == "open"


def test_who_is_cheapest_or_fastest_is_told_from_every_other_and_not_from_the_next_alone():
    cheap, next_, wide = contender("a", 300), contender("b", 300, cost=2 * COST), contender("c", 4, 8, cost=COST)
    (found,) = of("cost", cheap, next_, wide)
    assert found.kind == "open"
    assert "c with" in found.sentence
    assert found.says_open
    (found,) = of("cost", cheap, next_, contender("c", 300, cost=3 * COST))
    assert found.sentence.endswith("that of b, the next. It is told apart from both others.")
    (found,) = of("speed", contender("a", 300), contender("b", 300), contender("c", 300))
    assert "a with" in found.sentence
    assert found.sentence.endswith("are not told apart, nor is c.")
    (found,) = of("speed", contender("a", 300, ttft=0.1), contender("b", 300), contender("c", 300))
    assert found.sentence.endswith("It is told apart from both others.")


def test_nothing_is_said_of_costs_or_times_that_nobody_knows_and_of_one_model_s_speed():
    assert not of("cost", contender("a", 300, cost=np.nan), contender("b", 290, cost=np.nan))
    assert not of("speed", contender("a", 300, ttft=np.nan), contender("b", 290, ttft=np.nan))
    assert not of("speed", contender("a", 300))


def test_without_a_stream_the_whole_answer_is_what_is_fast():
    unstreamed = {"ttft_s": np.full(400, np.nan)}
    (found,) = of("speed", contender("a", 300, **unstreamed), contender("b", 290, ttft=0.1, **unstreamed))
    assert found.sentence.startswith("b's answer comes first on b@p")


def test_nothing_is_said_of_a_floor_that_was_not_run_or_was_asked_otherwise():
    assert not of("floor", contender("a", 300))
    other = contender("baseline/random", 100, cost=np.nan, info={"is_floor": True, "prompt_digest": "other words"})
    assert not of("floor", contender("a", 300), floors=[other])


def test_models_with_one_score_are_said_to_have_it_and_none_is_called_the_best():
    (found,) = of("lead", contender("a", 200), contender("b", 200, offset=100))
    assert found.kind == "open"
    assert "a and b both have 50.0 %" in found.sentence
    assert "best one seen" not in found.sentence


def test_a_change_since_a_baseline_that_is_not_told_is_open():
    bench = Bench("b@p", [contender("new", 300, offset=1), contender("old", 300)])
    (found,) = since_baseline([bench.compare(bench.models[0], bench.models[1])])
    assert found.kind == "open"
    assert "95 %" in found.method
    assert not list(since_baseline([]))


def test_one_cost_of_all_answers_before_and_after_is_no_open_question():
    bench = Bench("b@p", [contender("new", 300, cost=0.001), contender("old", 300, cost=0.001)])
    new, old = bench.models
    (found,) = since_baseline([bench.compare(new, old, "cost.per_request")])
    assert found.kind == "seen"
    assert found.sentence.endswith("new's cost a request is that of old on b@p (paired, n = 400).")


def test_what_a_run_warns_of_is_a_doubt_and_a_clean_run_has_none():
    bench = Bench("b@p", [contender("a", 300)])
    (found,) = [one for one in findings([bench], doubts=["the client was busy"]) if one.rule == "doubts"]
    assert (found.kind, found.sentence) == ("beware", "the client was busy")
    assert not [one for one in findings([bench]) if one.rule == "doubts"]


def test_a_look_that_decided_nothing_leaves_it_open():
    settled = Settled(sentence="a and b are not told apart", method="stopping rule compare", is_told=False)
    bench = Bench("b@p", [contender("a", 390), contender("b", 200)], settled=[settled])
    (found,) = [one for one in findings([bench]) if one.rule == "stopping"]
    assert found.kind == "open"
    assert not [one for one in findings([bench]) if one.rule == "dominated"]


def test_a_model_is_dominated_only_where_another_is_told_to_beat_it():
    (found,) = of("dominated", contender("a", 300), contender("b", 290, cost=4 * COST))
    assert found.sentence.startswith("Nothing speaks for b on b@p: a is as good or better")
    assert "cost a request (25 % of it)" in found.sentence
    assert not of("dominated", contender("a", 300), contender("b", 290, offset=50))
    (both,) = of("dominated", contender("a", 300), contender("b", 290, cost=4 * COST), contender("c", 100))
    assert both.sentence.startswith("Nothing speaks for 2 of 3 models on b@p: another one is as good or better")
    assert both.sentence.endswith("b by a and c by a.")


def test_few_items_are_warned_of():
    (found,) = of("coarse", contender("a", 30, 40), contender("b", 20, 40, offset=20))
    assert found.kind == "beware"
    assert found.sentence.startswith("Differences below 36 points (40 items of b@p) are found in fewer than 80 of 100 ")
    (found,) = of("coarse", contender("a", 5, 10))
    assert found.sentence == "What was asked leaves a's accuracy anywhere from 24 % to 76 % (10 items of b@p)."
    assert not of("coarse", contender("a", 300), contender("b", 299))


def test_a_run_that_ended_since_a_difference_was_told_has_not_too_few_items():
    models = (contender("a", 30, 40), contender("b", 10, 40))
    for is_told in (True, False):
        settled = Settled(sentence="a is ahead of b: +50 points", method="stopping rule compare", is_told=is_told)
        found = findings([Bench("b@p", models, settled=[settled])])
        assert ("coarse" in {one.rule for one in found}) == (not is_told)


def test_an_estimate_that_nothing_is_held_against_is_measured_and_not_decided():
    kinds = {one.rule: one.kind for one in findings([Bench("b@p", [contender("a", 300)])])}
    assert kinds == {"lead": "seen", "cost": "seen"}


def test_a_model_without_a_score_is_named_beside_those_that_have_one():
    broken = cell(np.full(400, np.nan), info={"model": "b"})
    lost = Contender(cell=broken, estimates={one.metric: one for one in broken.estimates}, failure="no route.")
    found = of("lead", contender("a", 300), lost)
    assert [one.sentence for one in found if one.kind == "open"] == [
        "Nothing of b was scored on b@p, so it is not judged. The first call of b failed with: no route."
    ]


def over(rule, *labels, **models):
    """What a rule finds over benchmarks on which each model has so many right."""
    benches = [
        Bench(label, [contender(name, right[place], ttft=0.1 * len(name)) for name, right in models.items()])
        for place, label in enumerate(labels)
    ]
    return [one for one in findings(benches) if one.rule == rule]


def test_benchmarks_that_show_the_same_share_a_sentence_with_the_numbers_of_each():
    (lead,) = over("lead", "b@p", "c@p", a=(300, 320), b=(200, 150))
    assert lead.kind == "told"
    assert lead.sentence.startswith("a answers best on b@p and c@p: 75.0 % (70.5 to 79.0) right on b@p, 25.0 points ")
    assert "; 80.0 % (75.8 to 83.6) right on c@p, 42.5 points more than b (95 % interval" in lead.sentence
    (speed,) = over("speed", "b@p", "c@p", "d@p", a=(300, 320, 9), bb=(200, 150, 9))
    assert speed.sentence.startswith("a's first token comes first on b@p, c@p and d@p: at a median of ")
    assert speed.sentence.count(" that of bb") == 3


def test_what_a_shared_sentence_rests_on_stands_benchmark_by_benchmark():
    (lead,) = over("lead", "b@p", "c@p", a=(300, 320), b=(200, 150))
    assert (lead.method, lead.numbers, lead.benchmark) == ("", (), "")
    alone = [
        found
        for place in (0, 1)
        for found in over("lead", "bc"[place] + "@p", a=((300, 320)[place],), b=((200, 150)[place],))
    ]
    assert list(lead.parts) == alone


def test_benchmarks_that_show_other_things_are_told_apart():
    assert len(over("lead", "b@p", "c@p", a=(300, 200), b=(200, 300))) == 2
    assert {one.kind for one in over("lead", "b@p", "c@p", a=(300, 200), b=(200, 201))} == {"told", "open"}


def test_who_is_best_is_left_open_in_one_sentence_whoever_is_seen_to_be_it():
    (found,) = over("lead", "b@p", "c@p", a=(202, 200), b=(200, 203))
    assert found.says_open
    assert found.sentence.startswith(
        "Who answers best on b@p and c@p is not decided. On b@p, the best one seen is a with"
    )
    assert "On c@p, the best one seen is b with " in found.sentence
    assert found.sentence.count("the true one") == 1


def test_of_many_benchmarks_a_sentence_has_the_first_few_and_says_how_many_it_leaves_out():
    labels = [f"{letter}@p" for letter in "bcdefghij"]
    (found,) = over("lead", *labels, a=(300,) * 9)
    assert found.sentence.endswith("of g@p right. The numbers of 3 more benchmarks are left out here.")
    assert [one.benchmark for one in found.parts] == labels


def test_what_holds_of_numbers_that_a_sentence_leaves_out_is_not_said():
    labels = [f"{letter}@p" for letter in "bcdefgh"]
    (found,) = over("lead", *labels, a=(*[200] * 6, 203), b=[200] * 7)
    assert found.sentence.endswith(
        "both have 50.0 % (45.1 to 54.9). The numbers of 1 more benchmark are left out here."
    )
    assert "the true one" in found.parts[-1].sentence


def test_what_changed_since_a_baseline_is_told_with_its_interval():
    bench = Bench("b@p", [contender("new", 200), contender("old", 300)])
    new, old = bench.models[1], bench.models[0]
    (found,) = since_baseline([bench.compare(new, old)])
    assert found.kind == "told"
    assert "25.0 points less than old" in found.sentence


def test_many_changes_that_are_not_told_are_one_sentence():
    bench = Bench("b@p", [contender("new", 300, offset=1), contender("old", 300)])
    (found,) = since_baseline([bench.compare(bench.models[0], bench.models[1])] * 6)
    assert found.kind == "open"
    assert "no change is told in 6 comparisons" in found.sentence
    assert len(found.numbers) == 6


def test_nothing_scored_is_said_and_nothing_raises():
    failed = contender("a", 0, 12, cost=np.nan)
    scores = np.full(12, np.nan)
    broken = cell(scores, info={"model": "a"})
    failed = Contender(cell=broken, estimates={one.metric: one for one in broken.estimates}, failure="no route.")
    (found,) = of("lead", failed)
    assert found.sentence.startswith("Nothing was scored")
    assert found.sentence.endswith("The first call of a failed with: no route.")
    assert not any(one.is_given for one in recommendations([Bench("b@p", [failed])]))


def recommended(use, *models, floors=(), more=()):
    found = recommendations([Bench("b@p", models, floors), *more])
    return next(one for one in found if one.use == use)


def test_what_withholds_every_recommendation_is_said_once():
    cut_off = msgspec.structs.replace(contender("a", 300).cell, status="interrupted")
    found = recommendations([Bench("b@p", [Contender(cell=cut_off, estimates=contender("a", 300).estimates)])])
    (group,) = together(found)
    assert [one.use for one in group] == [STAKES, GENERAL, REAL_TIME]
    assert (group[0].why, group[0].settle) == (
        "Run #1 is interrupted: only a part was measured.",
        "The rest: steelyard run --resume 1",
    )
    apart = recommendations([Bench("b@p", [contender("a", 390), contender("b", 370)])])
    assert [len(group) for group in together(apart)] == [1, 1, 1]


STAKES, GENERAL, REAL_TIME = "High-stakes decisions", "General tasks", "Real time"


def test_high_stakes_takes_who_is_right_nine_times_in_ten():
    found = recommended(STAKES, contender("a", 390), contender("b", 370))
    assert found.models == ("a",)
    assert "a answers 97.5 % (95.9 to 98.5) of b@p right" in found.why


def test_high_stakes_names_all_that_are_not_told_apart():
    found = recommended(STAKES, contender("a", 390), contender("b", 389, offset=3))
    assert found.models == ("a", "b")


def test_high_stakes_is_withheld_below_the_bar_and_says_that_items_do_not_help():
    found = recommended(STAKES, contender("a", 300), contender("b", 290))
    assert not found.is_given
    assert (
        found.settle
        == "Other models, or a bar of your own (steelyard gate --require): more items would not change that."
    )


def test_high_stakes_is_withheld_at_the_bar_with_items_and_dollars_that_would_settle_it():
    found = recommended(STAKES, contender("a", 92, 100))
    assert not found.is_given
    assert found.settle.startswith("About ")
    assert "more items of b@p would settle it, about" in found.settle
    assert "USD" in found.settle


def test_what_would_settle_a_recommendation_is_said_once():
    found = recommended(STAKES, contender("a", 92, 100))
    assert "would settle" in found.settle
    assert "would settle" not in found.why


def test_what_cannot_be_judged_is_said_once_of_all_of_whom_it_holds():
    untimed = {"ttft_s": np.full(400, np.nan), "total_s": np.full(400, np.nan)}
    found = recommended(REAL_TIME, contender("a", 300, **untimed), contender("b", 300, **untimed))
    assert found.why.startswith("Whether 95 % of answers come within 1 s cannot be judged for a and b on ")
    assert found.why.count("cannot be judged") == 1


def test_high_stakes_is_withheld_where_calls_failed():
    scores = np.ones(400)
    scores[:8] = np.nan
    broken = cell(scores, info={"model": "a"})
    found = recommended(STAKES, Contender(cell=broken, estimates={one.metric: one for one in broken.estimates}))
    assert not found.is_given
    assert "a answers 98.0 % (96.5 to 98.9) of its requests on b@p, which misses the bar of at least 99 %" in found.why
    assert "more items would not change that" in found.settle


def test_a_fault_that_many_models_share_is_told_once():
    names = [f"accounts/a-vendor/models/a-rather-long-name-of-a-model-{place}" for place in range(5)]
    checks = [
        Check(metric="latency", criterion="c", benchmark="b@p", model=name, verdict="inconclusive", fault="no time")
        for name in names
    ]
    assert _in_the_way(checks, "") == f" ({names[0]} and 4 more: no time)"


def test_a_model_that_shares_the_best_score_is_not_called_the_best():
    found = recommended(GENERAL, contender("a", 300, cost=COST / 4), contender("b", 300))
    assert found.models == ("a",)
    assert found.why.startswith("No model was seen to be better than a on b@p, and no cheaper model is shown to come ")


def test_general_names_what_keeps_a_cheaper_model_from_being_judged():
    scores = np.zeros(400)
    scores[:330] = 1.0
    scores[330:350] = np.nan
    broken = cell(scores, info={"model": "cheap"}, cost_usd=np.full(400, COST / 2))
    cheap = Contender(cell=broken, estimates={one.metric: one for one in broken.estimates})
    found = recommended(GENERAL, contender("dear", 350), cheap)
    assert not found.is_given
    assert found.why.startswith("Whether cheap is within 5 points of the best cannot be judged on b@p: 20 of 400 ")
    assert found.settle == "Mending what keeps it from being judged; no number of items does."


def test_what_is_wrong_with_the_best_one_seen_is_told_by_its_name_and_not_as_a_baselines():
    scores = np.zeros(400)
    scores[:380] = 1.0
    scores[380:390] = np.nan
    broken = cell(scores, info={"model": "top"}, cost_usd=np.full(400, COST))
    top = Contender(cell=broken, estimates={one.metric: one for one in broken.estimates})
    found = recommended(GENERAL, top, contender("big", 330, cost=COST / 2), contender("small", 320, cost=COST / 4))
    assert not found.is_given
    assert "(big and small: of top, the best one seen, 10 of 400 requests failed" in found.settle
    assert "baseline" not in f"{found.why} {found.settle}"


def test_what_only_weighs_choices_is_to_be_asked_under_a_protocol_that_generates():
    found = recommended(REAL_TIME, contender("a", 390, info={"kind": "likelihood"}))
    assert not found.is_given
    assert found.settle.startswith("The same items under a protocol that generates text")
    assert "mended" not in found.settle


def test_what_an_import_lost_and_what_nobody_knows_of_one_are_both_told_and_the_imported_are_named():
    scores = np.ones(400)
    scores[:12] = np.nan
    broken = cell(scores, info={"model": "a", "origin": "import sha256:00"})
    estimates = {one.metric: one for one in broken.estimates} | dict(contender("a", 390).estimates)
    found = recommended(STAKES, Contender(cell=broken, estimates=estimates))
    assert "12 of 400 requests failed or could not be graded" in found.why
    assert found.settle.startswith("Ask a from here (steelyard run): of answers made elsewhere")
    assert found.settle.endswith("Mending what keeps it from being judged; no number of items does.")
    imported = [contender(name, 395, info={"origin": "import sha256:00"}) for name in "ab"]
    found = recommended(STAKES, *imported, contender("live", 364))
    assert found.settle.startswith("Ask a and b from here (steelyard run): of answers made elsewhere")


def test_no_model_s_name_is_changed_at_the_beginning_of_a_sentence():
    assert recommended(STAKES, contender("tinyllama", 390)).why.startswith("tinyllama answers 97.5 %")
    assert recommended(REAL_TIME, contender("tinyllama", 390)).why.startswith("The first token of 95 % of tinyllama's")


def test_general_takes_the_cheapest_that_comes_close():
    found = recommended(GENERAL, contender("a", 300), contender("b", 298, cost=COST / 5), contender("c", 100))
    assert found.models == ("b",)
    assert found.why.startswith("b is within 5 points of the best one seen, with 95 % certainty: -0.5 points against a")
    assert ", no worse than -" in found.why


def test_general_takes_the_best_where_nothing_cheaper_comes_close():
    found = recommended(GENERAL, contender("a", 300), contender("b", 200, cost=COST / 5))
    assert found.models == ("a",)
    assert found.why.endswith("and every other model is shown to be more than 5 points worse.")


def test_general_is_withheld_where_a_cheaper_one_might_come_close():
    found = recommended(GENERAL, contender("a", 300), contender("b", 288, cost=COST / 5, offset=30))
    assert not found.is_given
    assert "b might be within 5 points of the best and cheaper than a" in found.why
    assert "not shown to do better" not in found.why
    assert "would settle it" in found.settle


def test_general_is_not_withheld_for_a_close_model_that_is_not_shown_to_beat_the_floor():
    for cost in (COST / 5, np.nan):
        found = recommended(GENERAL, contender("a", 115), contender("b", 108, cost=cost), floors=[floor(85)])
        assert found.models == ("a",)
        assert "no cheaper model is shown to come close and to do better than the floor. b is close enough, but " in (
            found.why
        )
        assert "every other model" not in found.why


def test_general_says_of_no_model_that_it_could_not_compare_that_it_is_worse():
    apart = contender("c", 390, info={"prompt_digest": "other words"}), contender("c", 290, cost=np.nan)
    other = Bench("c@p", [contender("a", 300), contender("b", 200)])
    for more in ({"models": apart[:1]}, {"models": apart[1:], "more": [other]}):
        models = contender("a", 395), contender("b", 200, cost=COST / 5)
        found = recommended(GENERAL, *models, *more.pop("models"), **more)
        assert found.models == ("a",)
        assert "every other model that could be compared is shown to be more than 5 points worse" in found.why


def test_general_is_withheld_without_prices_and_of_one_model():
    found = recommended(GENERAL, contender("a", 300, cost=np.nan), contender("b", 300, cost=np.nan))
    assert not found.is_given
    assert "what a and b cost is not known" in found.why
    assert found.settle.startswith("A price for each model")
    found = recommended(GENERAL, contender("a", 300, cost=np.nan), contender("b", 288, cost=np.nan, offset=30))
    assert (
        "b might be within 5 points of the best, which is not decided, and what b and a cost is not known" in found.why
    )
    assert found.settle.endswith("Then: a price for each model (--price, or price: in the plan).")
    assert not recommended(GENERAL, contender("a", 300)).is_given


def test_general_is_withheld_where_no_model_beats_the_floor():
    models = (contender("a", 110), contender("b", 112))
    found = recommended(GENERAL, *models, floors=[floor(100)])
    assert not found.is_given
    assert "floor" in found.why


def test_nothing_is_recommended_that_got_nothing_right():
    for use in (GENERAL, REAL_TIME):
        found = recommended(use, contender("a", 0), contender("b", 0, cost=COST / 2))
        assert not found.is_given
        assert "the floor" in found.why


def test_real_time_takes_the_most_accurate_of_those_that_are_prompt():
    found = recommended(REAL_TIME, contender("a", 380, ttft=3.0), contender("b", 300), contender("c", 200, ttft=0.1))
    assert found.models == ("b",)


def test_real_time_takes_the_fastest_of_those_not_told_apart():
    found = recommended(REAL_TIME, contender("a", 300), contender("b", 299, ttft=0.1))
    assert found.models == ("b",)


@pytest.mark.parametrize("clusters", [np.arange(400) // 50, np.maximum(np.arange(400) - 300, 0)])
def test_real_time_asks_for_clusters_where_requests_abound(clusters):
    found = recommended(REAL_TIME, contender("a", 300, cluster=clusters))
    assert not found.is_given
    assert "n too small: need 59, have " in found.why
    assert found.settle == (
        "Items of b@p in at least 59 clusters of one size; more items of the same clusters do not help."
    )


def test_real_time_is_withheld_where_all_are_slow_or_too_few_were_timed():
    assert not recommended(REAL_TIME, contender("a", 300, ttft=3.0)).is_given
    found = recommended(REAL_TIME, contender("a", 30, 40))
    assert not found.is_given
    assert "n too small" in found.why
    assert found.settle == "At least 19 more items of b@p."
    one = contender("a", 30, 40)
    whole = msgspec.structs.replace(one.cell.info, available=40)
    found = recommended(REAL_TIME, msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, info=whole)))
    assert found.settle == "At least 19 more items of b@p. It has 40 in all: ask each more often (--runs)."
    planned = msgspec.structs.replace(one.cell.info, items=90, available=90)
    found = recommended(REAL_TIME, msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, info=planned)))
    assert found.settle == "At least 19 more items of b@p."


def test_what_holds_on_several_benchmarks_is_recommended_in_one_sentence():
    asked = {"info": {"benchmark": "c"}}
    other = Bench("c@p", [contender("a", 392, **asked), contender("b", 100, cost=COST / 5, **asked)])
    models = contender("a", 390), contender("b", 100, cost=COST / 5)
    for use in (STAKES, GENERAL, REAL_TIME):
        found = recommended(use, *models, more=[other])
        assert found.models == ("a",)
        assert found.why.count("b@p") == found.why.count("c@p") == (2 if use == STAKES else 1)
        assert found.why.count("95 % certainty") == (use != GENERAL)
    each = "209.00 ms (208.65 to 209.40) on {}@p"
    why = recommended(REAL_TIME, *models, more=[other]).why
    assert f"comes within {each.format('b')} and {each.format('c')}, each of which meets the bar of 1 s. Each" in why


def test_real_time_is_withheld_of_what_is_prompt_and_no_better_than_the_floor():
    found = recommended(REAL_TIME, contender("a", 110), floors=[floor(100)])
    assert not found.is_given
    assert "a would pass, but is not shown to do better than the floor" in found.why


def test_real_time_takes_whole_answers_where_nothing_streams():
    unstreamed = {"ttft_s": np.full(400, np.nan)}
    assert recommended(REAL_TIME, contender("a", 300, ttft=0.1, **unstreamed)).models == ("a",)
    assert not recommended(REAL_TIME, contender("a", 300, ttft=0.4, **unstreamed)).is_given


def test_general_is_withheld_where_no_model_is_close_everywhere():
    other = Bench("c@p", [contender("a", 100, info={"benchmark": "c"}), contender("b", 300, info={"benchmark": "c"})])
    found = recommended(GENERAL, contender("a", 300), contender("b", 100), more=[other])
    assert not found.is_given
    assert "No one model stays within 5 points" in found.why


@pytest.mark.parametrize("changed", [{"status": "interrupted"}, {"reported": ("m-1", "m-2")}])
def test_high_stakes_is_withheld_of_an_interrupted_run_and_of_a_model_that_changed(changed):
    one = contender("a", 395)
    found = recommended(STAKES, msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, **changed)))
    assert not found.is_given
    assert recommended(STAKES, one).is_given


def test_recommendations_are_over_all_benchmarks_together():
    other = Bench("c@p", [contender("a", 100, info={"benchmark": "c"}), contender("b", 200, info={"benchmark": "c"})])
    assert recommended(STAKES, contender("a", 395), contender("b", 394), more=[other]).models == ()


def test_imported_answers_have_no_reliability_so_high_stakes_is_withheld():
    one = contender("a", 395, info={"origin": "import sha256:00"})
    assert {one.value(name) for name in ("reliability", "requests_per_second", "tokens_per_second", "api_calls")} == {
        None
    }
    found = recommended(STAKES, one)
    assert not found.is_given
    assert "Whether 99 % of requests are answered cannot be judged" in found.why


def test_a_run_that_could_end_by_a_difference_is_judged_by_its_looks_alone():
    settled = Settled(sentence="a is ahead of b: +5 points", method="stopping rule compare", is_told=True)
    bench = Bench("b@p", [contender("a", 390), contender("b", 200)], settled=[settled])
    found = findings([bench])
    assert "lead" not in {one.rule for one in found}
    assert next(one for one in found if one.rule == "stopping").sentence == "On b@p a is ahead of b: +5 points."
    assert not any(one.is_given for one in recommendations([bench]))


@pytest.mark.parametrize(
    "rule", ["lead", "stopping", "floor", "cost", "speed", "dominated", "baseline", "coarse", "doubts"]
)
def test_every_rule_stands_in_the_docs(rule):
    assert f"| {rule} |" in DOCS


@pytest.mark.parametrize("use", [STAKES, GENERAL, REAL_TIME])
def test_every_use_stands_in_the_docs(use):
    assert f"**{use}.**" in DOCS


def test_what_is_said_does_not_depend_on_the_order_of_models():
    models = [contender("a", 300), contender("b", 250, cost=COST / 2), contender("c", 100, ttft=0.1)]
    forward, backward = (Bench("b@p", given) for given in (models, models[::-1]))
    assert [one.sentence for one in findings([forward])] == [one.sentence for one in findings([backward])]
    assert recommendations([forward]) == recommendations([backward])


def test_of_long_names_a_sentence_has_fewer():
    short, long = [f"m{n}" for n in range(9)], [f"{'m' * 60}{n}" for n in range(9)]
    assert listed(short) == "m0, m1, m2 and 6 more"
    assert listed(long) == f"{long[0]} and 8 more"
    assert listed(long[:3]) == f"{long[0]}, {long[1]} and {long[2]}"
    assert listed(long[:1]) == long[0]


def test_one_name_alone_is_never_left_out():
    assert listed(["large", "medium", "small", "tiny"]) == "large, medium, small and tiny"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"

"""A cascade: cheapest first, the clearly worse dropped, the dearer skipped once one is good enough."""

import asyncio
import re
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace
from test_looks import ITEMS, is_right, model, quiz

import steelyard as sy
from steelyard import stats
from steelyard.analysis.findings import cheapest_answer, fastest
from steelyard.analysis.stopped import mirrored
from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute, prepare
from steelyard.engine.schedule.cascade import meets, would_have_cost
from steelyard.engine.schedule.looks import expansion
from steelyard.errors import UnknownName, UsageError
from steelyard.plan.file import read_plan
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.plan.stopping import Cascade, cascade_rule
from steelyard.report.comparing.comparison import load_comparisons
from steelyard.report.comparing.comparison_text import dropped_words
from steelyard.report.comparing.pairs import Question
from steelyard.report.comparing.verdict import asked_of, gate, verdict_table
from steelyard.report.evidence import load_evidence
from steelyard.report.results import load_results
from steelyard.report.stopping import question_line
from steelyard.report.terminal import results_text
from steelyard.store import Store
from steelyard.types import Estimate, ModelSpec, Price, Spent

BOTH = Cascade(worse_by=0.05, success=("accuracy >= 0.70",))


def plan_of(stop, prices):
    """One model for each price, named by it."""
    return Plan(
        models=tuple(
            ModelSpec(id=name, provider="openai", model=name, base_url="http://x/v1",
                      price=Price(input=price, output=price))
            for name, price in prices.items()
        ),
        benchmarks=(BenchmarkSpec(name="quiz"),),
        name="p",
        stop=stop,
    )  # fmt: skip


def carry_out(stop, models, prices, resume=None):
    given = Given(providers={each.name: each for each in models}, benchmarks={"quiz": quiz()})
    policy = RetryPolicy(first_wait_s=0.001)
    with Store.open() as store:
        ended = asyncio.run(
            execute(plan_of(stop, prices), store, given=given, progress=Progress(), policy=policy, resume=resume)
        )
        return ended.run, load_results(store, ended.run)


def by_model(results):
    return {each.info.model: each.stopped for each in results.cells}


def test_dearer_models_are_skipped_once_one_is_good_enough():
    models = [model("dear", 0.9), model("good", 0.85), model("cheap", 0.6)]
    run, results = carry_out(BOTH, models, {"dear": 9.0, "good": 3.0, "cheap": 1.0})
    found = by_model(results)
    assert run.status == "done"
    assert (found["cheap"].items, found["good"].items, found["dear"].items) == (ITEMS, ITEMS, 0)
    assert found["dear"].is_skipped
    assert models[0].asked == 0
    text = results_text(results)
    said = re.search(
        r"dear: skipped, good meets the criteria; 400 items saved \(about (\S+) USD, a forecast: (.*)\)", text
    )
    assert said
    assert said[2] == "its price at the tokens that good took"
    (good,) = [each for each in results.cells if each.info.model == "good"]
    assert float(said[1]) == pytest.approx(3 * good.value("cost.total"), rel=0.01)  # three times the price
    assert found["dear"].is_forecast
    assert not found["cheap"].is_forecast


def test_a_forecast_counts_the_judge_for_each_answer_also_where_the_cheaper_model_was_asked_a_part():
    settings = {"model": {"id": "dear", "provider": "p", "model": "dear", "price": {"input": 1.0, "output": 10.0}}}
    dear = SimpleNamespace(model="dear", settings=settings, items=100, repeats=1)
    asked = SimpleNamespace(
        sample=range(40),
        judging=Spent(calls=40, cost_usd=0.04),
        input_tokens=np.full(40, 20.0),
        output_tokens=np.array([1.0] * 39 + [3.0]),
    )
    found = would_have_cost(dear, SimpleNamespace(model="good"), asked)
    assert found.value == pytest.approx(100 * (30e-6 + 0.001))


def test_a_model_of_which_much_was_lost_skips_no_dearer_one_as_its_gate_decides_nothing():
    def fails(i):
        return sy.Failure(kind="rejected", message="no") if i % 5 == 0 else None

    models = [model("cheap", 0.9, fails=fails), model("dear", 0.85)]
    _, results = carry_out(BOTH, models, {"cheap": 1.0, "dear": 2.0})
    assert by_model(results)["dear"].items == ITEMS
    few = [model("cheap", 0.9, fails=lambda i: fails(i) if i < 20 else None), model("dear", 0.85)]
    _, results = carry_out(BOTH, few, {"cheap": 1.0, "dear": 2.0})
    assert by_model(results)["dear"].is_skipped


def test_a_model_that_was_looked_at_meets_a_criterion_by_the_repeated_bound_that_its_gate_holds():
    right = sum(is_right("good", 0.85, i) for i in range(ITEMS))
    plain, repeated = (
        stats.clopper_pearson_interval(successes=right, n=ITEMS, confidence=2 * NormalDist().cdf(z) - 1).low
        for z in (1.645, 2.8)
    )
    for at, is_skipped in ((repeated - 0.005, True), ((plain + repeated) / 2, False)):
        models = [model("cheap", 0.6), model("good", 0.85), model("dear", 0.86)]
        stop = Cascade(worse_by=0.05, success=(f"accuracy >= {at:.4f}",))
        _, results = carry_out(stop, models, {"cheap": 1.0, "good": 2.0, "dear": 3.0})
        assert by_model(results)["dear"].is_skipped == is_skipped


def test_models_that_each_could_skip_the_dearer_ones_share_the_error_of_a_gate():
    right = sum(is_right("cheap", 0.85, i) for i in range(ITEMS))
    by_gate, by_three = (
        stats.clopper_pearson_interval(successes=right, n=ITEMS, confidence=confidence).low
        for confidence in (0.9, 1 - 0.1 / 3)
    )
    for at, is_skipped in ((by_three - 0.001, True), ((by_gate + by_three) / 2, False)):
        models = [model("cheap", 0.85), model("dear", 0.3), model("dearest", 0.3)]
        stop = Cascade(success=(f"accuracy >= {at:.4f}",))
        carry_out(stop, models, {"cheap": 1.0, "dear": 2.0, "dearest": 3.0})
        assert (models[1].asked == 0) == is_skipped


def test_the_gate_of_a_cascade_takes_a_model_by_the_bound_that_all_of_them_share():
    right = sum(is_right("dearest", 0.85, i) for i in range(120))
    alone, among_three = (
        stats.clopper_pearson_interval(successes=right, n=120, confidence=confidence).low
        for confidence in (0.9, 1 - 0.1 / 3)
    )
    plan = plan_of(Cascade(success=("accuracy >= 0.99",)), {"cheap": 1.0, "dear": 2.0, "dearest": 3.0})
    models = [model("cheap", 0.3), model("dear", 0.3), model("dearest", 0.85)]
    given = Given(providers={each.name: each for each in models}, benchmarks={"quiz": quiz(120)})
    with Store.open() as store:
        run = asyncio.run(execute(plan, store, given=given, progress=Progress())).run
        for at, word in ((among_three - 0.001, "pass"), ((alone + among_three) / 2, "inconclusive")):
            verdict = gate(store, run, asked_of({}, requirements=[f"accuracy >= {at:.4f}"]))
            [check] = verdict.checks
            assert (check.model, check.verdict, verdict.verdict) == ("dearest", word, word)
            assert check.level == pytest.approx(1 - 0.05 / 3)
            assert "each bound with 98.3 %" in check.sentence
            assert "run (98.3 % each way)" in verdict_table(verdict).headings


def test_a_rule_that_may_err_more_often_makes_no_score_surer():
    models = [model("cheap", 0.6), model("dear", 0.65)]
    _, results = carry_out(Cascade(worse_by=0.05, looks=(0.5, 1.0), alpha=0.4), models, {"cheap": 1.0, "dear": 2.0})
    for cell in results.cells:
        found = cell.estimates["accuracy"]
        plain = stats.wilson_interval(successes=found.value * found.n, n=found.n)
        assert found.high - found.low >= plain.high - plain.low - 1e-9


def test_what_is_skipped_has_no_place_and_no_score():
    models = [model("dear", 0.9), model("cheap", 0.95)]
    _, results = carry_out(BOTH, models, {"dear": 9.0, "cheap": 1.0})
    assert [each.info.model for each in results.ranked("quiz@default")] == ["cheap"]
    [skipped] = [each for each in results.cells if each.is_skipped]
    assert skipped.value("accuracy") is None


def test_what_is_skipped_stands_in_no_comparison():
    models = [model("dear", 0.9), model("good", 0.85), model("cheap", 0.6)]
    run, _ = carry_out(BOTH, models, {"dear": 9.0, "good": 3.0, "cheap": 1.0})
    with Store.open() as store:
        found = load_comparisons(store, [run], Question(metric="accuracy"))
    assert [(pair.comparison.baseline, pair.comparison.candidate) for pair in found.pairs] == [("good", "cheap")]
    assert "could end by a difference" in found.pairs[0].comparison.notes[-1]


def test_a_model_clearly_worse_by_more_than_the_margin_is_dropped_early():
    models = [model("cheap", 0.65), model("worse", 0.3), model("dear", 0.68)]
    _, results = carry_out(BOTH, models, {"cheap": 1.0, "worse": 2.0, "dear": 3.0})
    found = by_model(results)
    assert found["worse"].items in (50, 100)
    assert found["worse"].questions[0].verdict == "behind"
    assert found["cheap"].items == found["dear"].items == ITEMS
    assert "worse was dropped, worse than cheap by more than the margin" in results_text(results)


def with_one_dropped():
    """Its score is above the cheapest model's, and it is far behind the next one."""
    models = [model("cheapest", 0.3), model("mid", 0.7), model("dropped", 0.45), model("good", 0.7)]
    return carry_out(Cascade(worse_by=0.05), models, {"cheapest": 1.0, "mid": 2.0, "dropped": 3.0, "good": 4.0})


def test_what_was_dropped_stands_below_all_that_were_asked_to_the_end_and_leads_in_nothing():
    run, results = with_one_dropped()
    assert [each.info.model for each in results.ranked("quiz@default")] == ["mid", "good", "cheapest", "dropped"]
    text = results_text(results)
    assert "so far" not in text
    assert "cheapest was not dropped" not in text
    with Store.open() as store:
        [bench] = load_evidence(store, [run]).benches
    assert [(one.name, one.is_dropped) for one in bench.models][2:] == [("cheapest", False), ("dropped", True)]
    assert all("dropped" not in (said.alone or "") for rule in (fastest, cheapest_answer) for said in rule(bench))


def test_what_was_dropped_has_no_place_and_narrows_no_ranking():
    run, _ = with_one_dropped()
    with Store.open() as store:
        [ranking] = load_comparisons(store, [run], Question(metric="accuracy")).rankings
    assert [place.name for place in ranking.places] == ["mid", "good", "cheapest"]
    assert (ranking.n, ranking.dropped) == (ITEMS, ("dropped",))
    assert dropped_words(ranking) == "Dropped by the cascade, so without a place: dropped."


def test_a_model_that_one_run_dropped_has_the_place_that_another_run_gave_it():
    first, _ = with_one_dropped()
    models = [model("mid", 0.7), model("dropped", 0.45), model("good", 0.7)]
    second, _ = carry_out(None, models, {"mid": 2.0, "dropped": 3.0, "good": 4.0})
    with Store.open() as store:
        [ranking] = load_comparisons(store, [first, second], Question(metric="accuracy")).rankings
    assert [place.run for place in ranking.places if place.name == "dropped"] == [second.number]
    assert ranking.dropped == (f"dropped (#{first.number})",)


def test_what_was_asked_everything_was_not_dropped():
    _, results = carry_out(Cascade(worse_by=0.05, looks=(1.0,)), [model("cheap", 0.7), model("dear", 0.3)],
                           {"cheap": 1.0, "dear": 2.0})  # fmt: skip
    text = results_text(results)
    assert "dropped" not in text
    assert "cheap scored higher than dear: +" in text
    assert not any(cell.is_dropped for cell in results.cells)


def test_a_model_a_little_worse_is_kept():
    models = [model("cheap", 0.68), model("dear", 0.65)]
    _, results = carry_out(BOTH, models, {"cheap": 1.0, "dear": 2.0})
    assert {stopped.items for stopped in by_model(results).values()} == {ITEMS}


def test_a_dearer_model_that_is_ahead_of_the_cheap_one_is_said_to_be():
    _, results = carry_out(BOTH, [model("cheap", 0.3), model("dear", 0.65)], {"cheap": 1.0, "dear": 2.0})
    assert "dear scored higher than cheap: +" in results_text(results)
    (look,) = by_model(results)["dear"].questions
    for low, high, said in [
        (0.01, 0.2, "dear is ahead of cheap: "),
        (-0.01, 0.2, "dear and cheap are not told apart, so neither was dropped "),
        (-0.04, -0.01, "cheap is ahead of dear: "),
    ]:
        seen = replace(look, low=low, high=high)
        assert question_line("dear", seen).startswith(said)
        turned = question_line("cheap", mirrored(seen, "dear"))
        assert turned.startswith(said.replace("dear and cheap", "cheap and dear"))


def test_a_model_that_was_dropped_is_not_what_others_are_held_against():
    models = [model("cheap", 0.65), model("worse", 0.2), model("dear", 0.60)]
    _, results = carry_out(BOTH, models, {"cheap": 1.0, "worse": 2.0, "dear": 3.0})
    against = {look.against for each in results.cells if each.info.model == "dear" for look in each.stopped.questions}
    assert against == {"cheap"}


def test_models_go_one_after_another_cheapest_first():
    asked = []

    class Noted(sy.Scripted):
        async def generate(self, request):
            asked.append(self.name)
            async for event in super().generate(request):
                yield event

    models = [Noted("0", name=name) for name in ("c", "a", "b")]
    carry_out(Cascade(success=("accuracy >= 0.70",)), models, {"c": 3.0, "a": 1.0, "b": 2.0})
    assert asked == [*"a" * ITEMS, *"b" * ITEMS, *"c" * ITEMS]


def test_a_model_that_is_given_up_passes_its_turn_on():
    def fails(i):
        return sy.Failure(kind="auth", message="no key")

    models = [model("cheap", 0.9, fails=fails), model("dear", 0.85)]
    run, results = carry_out(BOTH, models, {"cheap": 1.0, "dear": 2.0})
    assert run.status == "failed"
    [dear] = [each for each in results.cells if each.info.model == "dear"]
    assert dear.value("scored") == ITEMS


def test_a_cascade_that_goes_on_keeps_its_turns_and_its_skips():
    broken = []

    def fails(i):
        broken.append(i)
        return sy.Failure(kind="quota", message="empty") if len(broken) > 150 else None

    prices = {"cheap": 1.0, "good": 2.0, "dear": 3.0}
    at_first = [model("cheap", 0.6), model("good", 0.85, fails=fails), model("dear", 0.9, fails=lambda i: fails(i))]
    run, _ = carry_out(BOTH, at_first, prices)
    assert run.status == "failed"
    later = [model("cheap", 0.6), model("good", 0.85), model("dear", 0.9)]
    run, results = carry_out(BOTH, later, prices, resume=run)
    assert run.status == "done"
    assert later[0].asked == 0
    assert by_model(results)["good"].items == ITEMS
    again = [model("cheap", 0.6), model("good", 0.85), model("dear", 0.9)]
    _, once_more = carry_out(BOTH, again, prices, resume=run)
    assert sum(each.asked for each in again) == 0
    assert by_model(once_more) == by_model(results)


def test_good_enough_is_by_the_bound_and_not_by_the_point():
    def share(value, low, high):
        return {"accuracy": Estimate(metric="accuracy", value=value, low=low, high=high, n=9, method="t", unit="share")}

    assert meets(("accuracy >= 0.70",), share(0.75, 0.71, 0.79))
    assert not meets(("accuracy >= 0.70",), share(0.75, 0.69, 0.81))
    assert not meets(("latency.p95 <= 2s",), share(0.75, 0.71, 0.79))


def test_the_plan_says_beforehand_which_pairs_it_watches_in_which_order():
    plan = plan_of(BOTH, {"dear": 9.0, "good": 3.0, "cheap": 1.0})
    given = Given(providers={name: model(name, 0.5) for name in ("dear", "good", "cheap")}, benchmarks={"quiz": quiz()})
    [watched] = expansion(prepare(plan, given), plan)
    assert watched.models == ("cheap", "good", "dear")
    assert watched.questions == (("good", "cheap"), ("dear", "cheap"), ("dear", "good"))
    assert watched.alpha == pytest.approx(0.05 / 3)


def test_a_cascade_needs_prices_two_models_and_metrics_that_exist():
    given = Given(providers={name: model(name, 0.5) for name in "ab"}, benchmarks={"quiz": quiz()})
    unpriced = Plan(
        models=tuple(ModelSpec(id=name, provider="openai", model=name, base_url="http://x/v1") for name in "ab"),
        benchmarks=(BenchmarkSpec(name="quiz"),),
        stop=BOTH,
    )
    with pytest.raises(UsageError, match="a has none"):
        prepare(unpriced, given)
    with pytest.raises(UsageError, match="one only"):
        prepare(plan_of(BOTH, {"a": 1.0}), given)
    with pytest.raises(UnknownName, match="accuracy"):
        prepare(plan_of(Cascade(success=("acuracy >= 0.7",)), {"a": 1.0, "b": 2.0}), given)


PLAN = """\
models: [openai/gpt-4o-mini, openai/gpt-4o]
benchmarks: [gsm8k]
success: ["accuracy >= 0.70"]
cascade: {order: price, drop_when: worse_by 0.05, skip_when: success}
"""


def test_a_cascade_is_read_from_a_plan_with_the_criteria_it_skips_by(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    assert read_plan(path).stop == BOTH
    path.write_text(PLAN.replace("0.70", "0.80"))
    assert read_plan(path).digest() != plan_of(BOTH, {}).digest()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"drop_when": "worse"}, "worse_by 0.05"),
        ({"order": "speed", "drop_when": "worse_by 0.05"}, "by price"),
        ({"skip_when": "success"}, "no criteria"),
        ({"skip_when": "luck", "drop_when": "worse_by 0.05"}, "skip_when: success"),
        ({"order": "price"}, "neither"),
        ({"drop_if": "worse_by 0.05"}, "Did you mean 'drop_when'"),
    ],
)
def test_a_cascade_that_cannot_be_says_what_is_wrong(entry, words):
    with pytest.raises(UsageError, match=words):
        cascade_rule(entry, ())

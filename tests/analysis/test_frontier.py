"""The frontier of a cascade: a row is what that cascade would have been; a choice is judged where it had no say."""

import asyncio
import itertools
import json

import msgspec
import numpy as np
import pytest

import steelyard as sy
from steelyard.analysis.frontier import Aim, frontier, thresholds_of
from steelyard.cli import main
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.errors import UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.report.comparing.comparison import Reader
from steelyard.report.comparing.frontier import frontier_table, load_frontiers
from steelyard.report.comparing.pairs import Question
from steelyard.store import Store
from steelyard.types import Completion, Confidence, Escalation, ModelSpec, Price, Usage

CHEAP_USD, DEAR_USD = 0.001, 0.01


class World:
    """``n`` questions: how sure the cheap model is of each, and who is right, drawn by ``seed``.

    The surer, the righter, where confidence is ``telling``; the dear model is right nine times of ten.
    """

    def __init__(self, n=200, seed=0, *, telling=True, digits=2):
        draws = np.random.default_rng(seed)
        self.n = n
        self.confidence = np.round(draws.uniform(0.01, 0.99, n), digits)
        p = self.confidence if telling else np.full(n, 0.5)
        self.cheap_right, self.dear_right = draws.uniform(size=n) < p, draws.uniform(size=n) < 0.9

    def benchmark(self):
        samples = [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="right") for i in range(self.n)]
        return sy.Benchmark(
            name="quiz",
            version="1",
            load=lambda selection: samples,
            grade=lambda sample, completion: completion.text == sample.target,
        )

    def cheap(self, request):
        i = int(request.prompt.messages[-1].content[1:])
        text = "right" if self.cheap_right[i] else "wrong"
        return Completion(
            text=text, usage=Usage(input_tokens=10, output_tokens=0), confidence=float(self.confidence[i])
        )

    def dear(self, request):
        i = int(request.prompt.messages[-1].content[1:])
        return Completion(
            text="right" if self.dear_right[i] else "wrong", usage=Usage(input_tokens=10, output_tokens=0)
        )

    def run(self, store, *models, **plan):
        providers = {"cheap": sy.Scripted(self.cheap, name="cheap"), "dear": sy.Scripted(self.dear, name="dear")}
        plan = Plan(models=models, benchmarks=(BenchmarkSpec(name="quiz"),), **plan)
        at_hand = Given(benchmarks={"quiz": self.benchmark()}, providers=providers)
        return asyncio.run(execute(plan, store, given=at_hand, progress=Progress(say=print))).run


def model(name, **settings):
    usd = CHEAP_USD if name == "cheap" else DEAR_USD
    price = Price(input=usd * 1e5, output=0.0)
    return ModelSpec(id=name, provider="object", model=name, version="1", price=price, **settings)


SURE = Confidence(by="logprob")


def test_a_row_is_what_the_cascade_measures_when_it_is_run():
    world = World(n=60)
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim())
        for point in found.points[::3]:
            escalation = Escalation(
                cheap=model("cheap", confidence=SURE), dear=model("dear"), threshold=point.threshold
            )
            both = ModelSpec(id="both", provider="cascade", model="cheap>dear", cascade=escalation)
            real = sy.Run(world.run(store, both, fresh=True), store.location)
            for metric, estimate in (
                ("accuracy", point.accuracy),
                ("cost.per_item", point.cost_per_item),
                ("cost.per_correct", point.cost_per_correct),
            ):
                measured = real.estimate(metric)
                assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
                    (measured.value, measured.low, measured.high)
                )
            calls = [record.call for record in real.records()]
            assert point.escalated.value == sum(call.completion.is_escalated for call in calls) / 60


def test_the_ends_are_the_two_models_alone():
    world = World()
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim())
        of_run = sy.Run(run, store.location)
        for point, name in zip(found.alone, ("cheap", "dear"), strict=True):
            assert point.accuracy.value == of_run.estimate("accuracy", model=name).value
            assert point.cost_per_item.value == of_run.estimate("cost.per_item", model=name).value
    last = found.points[-1]
    assert (last.threshold, last.escalated.value) == (1.0, 1.0)
    assert last.accuracy.value == found.alone[1].accuracy.value
    assert (last.against_dear.value, last.against_dear.low) == (0.0, None)
    assert frontier_table(found).rows[-2][3] == "the same answers"
    assert last.cost_per_item.value == pytest.approx(CHEAP_USD + DEAR_USD)


def test_rows_are_paired_with_the_dear_model_alone():
    world = World()
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim())
    for point in found.points[:-1]:
        kept = world.confidence >= point.threshold
        gained = (world.cheap_right & ~world.dear_right & kept).sum() - (
            ~world.cheap_right & world.dear_right & kept
        ).sum()
        assert point.against_dear.value == pytest.approx(gained / world.n)
        assert point.against_dear.low < point.against_dear.value < point.against_dear.high


def test_a_confidence_that_tells_nothing_is_worth_nothing_over_chance():
    def over_chance(telling, seed):
        world = World(n=300, seed=seed, telling=telling)
        with Store.open(f"{telling}-{seed}.db") as store:
            run = world.run(store, model("cheap", confidence=SURE), model("dear"))
            (found,) = load_frontiers(store, [run], "cheap", "dear", Aim())
        return [point.over_chance for point in found.points if 0.3 < point.escalated.value < 0.7]

    assert all(estimate.low > 0.05 for estimate in over_chance(True, 1))
    empty = [estimate for seed in range(5) for estimate in over_chance(False, seed)]
    assert sum(estimate.low <= 0 <= estimate.high for estimate in empty) >= 0.8 * len(empty)


@pytest.mark.parametrize("clusters", [None, 20])
def test_over_chance_is_the_score_less_that_of_as_many_escalated_by_lot_where_the_score_is_a_mean_over_strata(clusters):
    """A small stratum in which confidence tells nothing weighs as much as a large one in which it tells."""
    world = World(n=200)
    of_small = np.arange(200) < 40
    cheap_right = np.where(of_small, np.arange(200) % 2 == 0, world.cheap_right)
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        answered = zip(sides(store, run), (cheap_right, world.dear_right), strict=True)
        cheap, dear = (over_two_strata(scored(*one), of_small, clusters) for one in answered)
    found = frontier(cheap, dear, world.confidence, Aim())
    alone = [point.accuracy.value for point in found.alone]
    assert alone[0] == pytest.approx((cheap_right[of_small].mean() + cheap_right[~of_small].mean()) / 2)
    for point in found.points[:-1]:
        share = point.escalated.value
        by_lot = (1 - share) * alone[0] + share * alone[1]
        assert point.over_chance.value == pytest.approx(point.accuracy.value - by_lot)
        assert point.over_chance.low < point.over_chance.value < point.over_chance.high


def test_over_chance_counts_items_alike_however_often_each_was_asked():
    world = World(n=60)
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"), runs=3)
        cheap, dear = sides(store, run)
    right = world.cheap_right[cheap.columns.sample].astype(float)
    right[(cheap.columns.sample % 3 == 0) & (cheap.columns.repeat > 0)] = np.nan
    found = frontier(scored(cheap, right), dear, world.confidence[cheap.columns.sample], Aim())
    alone = [point.accuracy.value for point in found.alone]
    for point in found.points:
        share = point.escalated.value
        by_lot = (1 - share) * alone[0] + share * alone[1]
        assert point.over_chance.value == pytest.approx(point.accuracy.value - by_lot)


def over_two_strata(side, of_small, clusters):
    """The same cell under a protocol whose score is the mean over a small stratum and a large one."""
    columns = msgspec.structs.replace(side.columns, strata=("large", "small"), stratum=of_small.astype(int))
    if clusters:
        columns = msgspec.structs.replace(columns, cluster=np.arange(len(of_small)) % clusters)
    return msgspec.structs.replace(side, columns=columns, info=msgspec.structs.replace(side.info, aggregate="macro"))


def test_the_chosen_threshold_is_judged_on_items_that_had_no_say_in_it():
    world = World(n=200)
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim(within=0.02, seed=3))
    choice = found.choice
    assert choice.chosen_on.accuracy.n == choice.judged.accuracy.n == choice.dear_judged.accuracy.n == 100
    everyone = choice.chosen_on.accuracy.value * 100 + choice.judged.accuracy.value * 100
    goes_on = world.confidence < choice.threshold
    assert everyone == pytest.approx(np.where(goes_on, world.dear_right, world.cheap_right).sum())


@pytest.mark.long
def test_what_is_chosen_looks_better_to_itself_than_it_is_and_the_other_half_does_not_flatter():
    """Without any information in the confidence, the best-looking of many thresholds is luck."""
    with Store.open() as store:
        run = World(n=80).run(store, model("cheap", confidence=SURE), model("dear"))
        cheap, dear = sides(store, run)
    flattered, honest = [], []
    for seed in range(60):
        world = World(n=80, seed=seed, telling=False)
        answered = scored(cheap, world.cheap_right), scored(dear, world.dear_right)
        found = frontier(*answered, world.confidence, Aim(at_most_usd=CHEAP_USD + DEAR_USD / 2))
        goes_on = found.choice.judged.escalated.value
        expected = 0.5 + 0.4 * goes_on
        flattered.append(found.choice.chosen_on.accuracy.value - (0.5 + 0.4 * found.choice.chosen_on.escalated.value))
        honest.append(found.choice.judged.accuracy.value - expected)
    assert np.mean(flattered) > 0.02
    assert abs(np.mean(honest)) < 2.5 * np.std(honest) / np.sqrt(len(honest))


def sides(store, run):
    """Both models' cells of a run, as a frontier reads them."""
    reader = Reader(store, Question())
    cells = {cell.model: cell for cell in store.cells(run.id)}
    return [reader.side(run, cells[name]) for name in ("cheap", "dear")]


def scored(side, is_right):
    """The same cell, had these answers been right."""
    [metric] = side.columns.scores
    columns = msgspec.structs.replace(side.columns, scores={metric: is_right.astype(float)})
    return msgspec.structs.replace(side, columns=columns)


def test_at_most_so_much_money_an_item_is_kept_where_it_was_chosen():
    world = World()
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim(at_most_usd=0.005))
        assert found.choice.chosen_on.cost_per_item.value <= 0.005
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim(at_most_usd=0.0001))
    assert (found.choice, found.why_no_choice) == (None, "no threshold keeps to 0.0001 USD an item")


def test_too_few_items_choose_nothing():
    world = World(n=30)
    with Store.open() as store:
        run = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [run], "cheap", "dear", Aim())
    assert found.choice is None
    assert "30 independent items are too few" in found.why_no_choice


def test_models_may_be_in_two_runs_and_what_one_lacks_is_counted():
    world = World(n=50)
    with Store.open() as store:
        first = world.run(store, model("cheap", confidence=SURE), limit=40)
        second = world.run(store, model("dear"))
        (found,) = load_frontiers(store, [first, second], "cheap", "dear", Aim())
    assert (found.items, found.left_out) == (40, 0)


def test_without_stored_confidence_it_says_how_to_get_one():
    with Store.open() as store:
        run = World(n=10).run(store, model("cheap"), model("dear"))
        with pytest.raises(UsageError, match=r"no confidence is stored.*--confidence logprob"):
            load_frontiers(store, [run], "dear", "cheap", Aim())


def test_answers_used_again_count_with_what_they_had_cost():
    world = World(n=50)
    with Store.open() as store:
        world.run(store, model("cheap", confidence=SURE), model("dear"))
        again = world.run(store, model("cheap", confidence=SURE), model("dear"))
        (found,) = load_frontiers(store, [again], "cheap", "dear", Aim())
    assert found.points[-1].cost_per_item.value == pytest.approx(CHEAP_USD + DEAR_USD)
    assert found.points[-1].latency.value is None


def test_thresholds_part_every_two_confidences_and_are_short():
    draws = np.random.default_rng(5)
    for digits in (1, 2, 17):
        values = np.maximum(np.round(draws.uniform(0, 1, 40), digits), 0.1)
        thresholds = thresholds_of(values)
        counts = [int((values < threshold).sum()) for threshold in thresholds]
        assert counts == sorted(set(counts))
        assert counts[-1] == (values < 1.0).sum()
        assert set(counts) == {int((values < value).sum()) for value in values} | {int((values < 1.0).sum())}
        assert all(0 < threshold <= 1 for threshold in thresholds)
    assert thresholds_of(np.array([0.81234567, 0.87654321])) == [0.8, 0.87, 1.0]


def test_the_command_line_prints_the_frontier_and_the_choice(capsys):
    world = World(n=120)
    with Store.open() as store:
        world.run(store, model("cheap", confidence=SURE), model("dear"))
    assert main(["cascade", "--cheap", "cheap", "--dear", "dear", "--within", "2"]) == 0
    out = capsys.readouterr().out
    assert "cheap > dear on quiz@default: 120 items, nothing asked" in out
    assert "Chosen on 60 items, half of them drawn by seed 0" in out
    assert "On the other 60:" in out
    assert "--escalate-below" in out
    assert main(["cascade", "--cheap", "cheap", "--dear", "dear", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    escalated = [point["escalated"]["value"] for point in document["points"]]
    assert all(one < other for one, other in itertools.pairwise(escalated))
    assert document["choice"]["judged"]["accuracy"]["n"] == 60
    assert main(["cascade", "--cheap", "cheap", "--dear", "nobody"]) == 2

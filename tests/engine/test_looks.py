"""Whole runs that end early, through the real scheduler with scripted models."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import steelyard as sy
from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute, prepare
from steelyard.engine.schedule.looks import expansion
from steelyard.engine.schedule.order import draw_positions
from steelyard.errors import UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.plan.stopping import Compare, HalfWidth, stop_rule
from steelyard.report.results import load_results, results_document
from steelyard.report.terminal import results_text
from steelyard.store import Store
from steelyard.types import ModelSpec

ITEMS = 400


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(
        "steelyard.engine.run.RetryPolicy", lambda: RetryPolicy(first_wait_s=0.001, longest_wait_s=0.001)
    )


@pytest.fixture(autouse=True)
def _written_by_a_thread(monkeypatch):
    """A process that writes takes as long to start as these runs to end."""
    monkeypatch.setattr("steelyard.engine.writer.FAST_A_SECOND", float("inf"))


def quiz(n=ITEMS, name="quiz"):
    async def grade(sample, completion):  # a plain function would have a thread of its own for every answer
        return completion.text == sample.target

    return sy.Benchmark(
        name=name,
        version="1",
        load=lambda selection: [sy.Sample(id=f"{name}/{i}", input=f"q{i}", target="1") for i in range(n)],
        grade=grade,
    )


def number(request):
    return int(request.prompt.messages[-1].content[1:])


def is_right(name, share, i):
    return random.Random(f"{name}/{i}").random() < share


def model(name, share, *, fails=lambda i: None, seen=None, concurrency=8):
    """A scripted model that answers a share of the items right, always the same ones."""

    def script(request):
        i = number(request)
        if seen is not None:
            seen.append(i)
        return fails(i) or ("1" if is_right(name, share, i) else "0")

    return sy.Scripted(script, name=name, concurrency=concurrency)


def results(run):
    with Store.open() as store:
        return load_results(store, store.run(run.info.id))


def cell(run, name):
    return next(each for each in results(run).cells if each.info.model == name)


def looks(run):
    with Store.open() as store:
        return [look for series in store.looks(run.info.id).values() for look in series]


def first_items(n, items=ITEMS, seed=0):
    samples = [sy.Sample(id=str(i), input="", target="") for i in range(items)]
    return set(draw_positions(samples, limit=None, seed=seed, shuffled=True, strata=False)[:n])


# --- to a half width --------------------------------------------------------------------------------------------------


def test_a_run_to_a_half_width_asks_what_it_needs_and_says_what_it_saved():
    run = sy.run([model("a", 0.8)], [quiz()], stop={"half_width": 0.05})
    ended = cell(run, "a").stopped
    assert run.status == "done"
    assert ended.is_early
    assert ended.items + ended.saved_items == ended.planned == ITEMS
    [last] = ended.questions
    assert (last.verdict, last.n) == ("precise", ended.items)
    assert (last.high - last.low) / 2 <= 0.05
    assert "a is known well enough" in run.table()
    assert f"{ended.items} of 400 items asked, {ended.saved_items} items saved" in run.table()
    assert run.estimate("accuracy").n == ended.items


def test_the_interval_for_other_questions_stands_beside_the_narrower_one():
    run = sy.run([model("a", 0.8)], [quiz()], stop={"half_width": 0.05})
    score, [last] = run.estimate("accuracy"), cell(run, "a").stopped.questions
    assert score.high - score.low > last.high - last.low
    assert "points for questions like these" in run.table()


def test_the_items_asked_are_the_first_ones_of_the_order_and_no_others():
    seen = []
    run = sy.run([model("a", 0.8, seen=seen)], [quiz()], stop={"half_width": 0.05}, seed=3)
    assert set(seen) == first_items(len(seen), seed=3)
    assert len(seen) == cell(run, "a").stopped.items


def test_what_was_saved_has_a_price():
    spec = ModelSpec(
        id="m", provider="openai", model="m", base_url="http://x/v1", price=sy.types.Price(input=1.0, output=1.0)
    )
    given = Given(providers={"m": model("m", 0.8)}, benchmarks={"quiz": quiz()})
    plan = Plan(models=(spec,), benchmarks=(BenchmarkSpec(name="quiz"),), name="p", stop=HalfWidth(half_width=0.05))
    with Store.open() as store:
        ended = asyncio.run(execute(plan, store, given=given, progress=Progress()))
        [found] = load_results(store, ended.run).cells
        each = found.value("cost.total") / found.stopped.items
        assert found.stopped.saved_usd == pytest.approx(each * found.stopped.saved_items)
        document = results_document(load_results(store, ended.run))
    assert document["run"]["stop"]["half_width"] == 0.05
    assert document["cells"][0]["stopped"]["saved_items"] == found.stopped.saved_items


# --- until two models are told apart ----------------------------------------------------------------------------------


def test_models_far_apart_are_told_apart_at_a_planned_look():
    seen = {"a": [], "b": []}
    run = sy.run([model("a", 0.9, seen=seen["a"]), model("b", 0.5, seen=seen["b"])], [quiz()], stop={"compare": True})
    [last] = cell(run, "a").stopped.questions
    assert (last.verdict, last.against) == ("ahead", "b")
    assert last.n in (50, 100, 200)
    assert set(seen["a"]) == set(seen["b"]) == first_items(last.n)
    assert cell(run, "b").stopped.questions[0].verdict == "behind"
    assert "a is ahead of b" in run.table()
    assert "leans away from 0" in run.table()


def test_scores_of_a_run_that_was_compared_have_repeated_intervals():
    run = sy.run([model("a", 0.9), model("b", 0.5)], [quiz()], stop={"compare": True})
    repeated = run.estimate("accuracy", model="a")
    plain = sy.stats.wilson_interval(successes=repeated.value * repeated.n, n=repeated.n)
    assert repeated.high - repeated.low > plain.high - plain.low
    assert "repeated over 4 looks" in repeated.method
    assert repeated.level == 0.95


def test_models_alike_are_asked_everything():
    always = [sy.Scripted("1", name=name) for name in "ab"]
    run = sy.run(always, [quiz(60)], stop={"compare": True})
    assert {each.stopped.items for each in results(run).cells} == {60}
    assert "nothing saved" in run.table()


def test_a_pair_that_is_settled_holds_nobody_up():
    run = sy.run([model("a", 0.95), model("b", 0.9), model("c", 0.3)], [quiz()], stop={"compare": True})
    found = {each.info.model: each.stopped for each in results(run).cells}
    assert found["c"].items < found["a"].items == found["b"].items
    assert {round(look.level, 6) for look in looks(run)} == {round(1 - 0.05 / 3, 6)}
    assert "and 3 pairs" in run.table()


def test_all_are_compared_with_one_where_one_is_named():
    run = sy.run([model("a", 0.9), model("b", 0.9), model("c", 0.5)], [quiz()], stop={"compare": True, "against": "c"})
    assert {look.against for look in looks(run)} == {"c"}


def test_a_floor_is_no_model_to_be_compared():
    told = []
    models = [model("a", 0.9), model("b", 0.5), "baseline/constant:1"]
    run = sy.run(models, [quiz()], stop={"compare": True}, on_message=told.append)
    assert "baseline/constant:1: no model but a floor, so asked everything and watched by no stopping rule" in told
    assert {look.against for look in looks(run)} == {"b"}
    assert cell(run, "baseline/constant:1").stopped is None
    assert cell(run, "baseline/constant:1").value("scored") == ITEMS


@pytest.mark.parametrize(
    ("models", "stop", "words"),
    [
        (["baseline/constant:1"], {"half_width": 0.03}, "baseline/constant:1 costs nothing to ask in full"),
        (["a", "b", "baseline/random"], {"compare": True, "against": "baseline/random"}, "compares with no floor"),
    ],
)
def test_a_rule_for_floors_alone_or_against_one_is_refused_and_nothing_is_asked(models, stop, words):
    named = [one if "/" in one else model(one, 0.5) for one in models]
    with pytest.raises(UsageError, match=words):
        sy.run(named, [quiz()], stop=stop)


def test_looks_at_any_time_come_often_and_nobody_waits_for_them():
    run = sy.run([model("a", 0.9), model("b", 0.5)], [quiz()], stop={"anytime": True, "every": 10})
    [last] = cell(run, "a").stopped.questions
    assert last.verdict == "ahead"
    assert last.n <= cell(run, "a").stopped.items <= last.n + 10
    assert run.estimate("accuracy", model="a").method == "confidence sequence (PPR)"


def test_a_ladder_ends_at_the_first_rung_with_a_small_variance():
    run = sy.run([model("a", 0.8)], [quiz()], stop={"ladder": [0.25, 0.5, 1.0], "variance": 0.001})
    assert cell(run, "a").stopped.items == 200
    assert "repeated over 3 looks" in run.estimate("accuracy").method


# --- what makes a prefix complete -------------------------------------------------------------------------------------


class Uneven(sy.Scripted):
    """Answers some items much later than others: the right ones at once, the wrong ones last."""

    async def generate(self, request):
        if not is_right(self.name, 0.7, number(request)):
            await asyncio.sleep(0.02)
        async for event in super().generate(request):
            yield event


def test_slow_answers_are_waited_for_before_a_look():
    uneven = Uneven(lambda request: "1" if is_right("slow", 0.7, number(request)) else "0", name="slow", concurrency=32)
    run = sy.run([uneven], [quiz()], stop={"ladder": [0.25, 0.5, 1.0], "variance": 1e-9})
    for look in looks(run):
        chosen = first_items(look.n)
        assert look.value == pytest.approx(sum(is_right("slow", 0.7, i) for i in chosen) / look.n)


def test_failed_calls_complete_a_prefix_and_are_not_scored():
    def fails(i):
        return sy.Failure(kind="timeout", message="late") if i % 10 == 0 else None

    run = sy.run([model("a", 0.8, fails=fails)], [quiz()], stop={"half_width": 0.06})
    first = looks(run)[0]
    lost = sum(i % 10 == 0 for i in first_items(first.n))
    assert (first.n, first.scored) == (50, 50 - lost)
    assert "of them not scored" in run.table()


def test_repeats_of_an_item_are_all_in_before_a_look():
    run = sy.run([model("a", 0.8)], [quiz()], runs=2, stop={"half_width": 0.06})
    ended = cell(run, "a")
    assert ended.value("attempted") == 2 * ended.stopped.items


def test_other_benchmarks_go_on_while_one_waits_for_its_look():
    """The slow model answers nothing before the fast one, which waits for its first look, is asked something else."""
    has_gone_on, order = asyncio.Event(), []

    class Fast(sy.Scripted):
        async def generate(self, request):
            if request.prompt.messages[-1].content[0] == "r":
                order.append("the fast one goes on")
                has_gone_on.set()
            async for event in super().generate(request):
                yield event

    class Slow(sy.Scripted):
        async def generate(self, request):
            with suppress(TimeoutError):
                await asyncio.wait_for(has_gone_on.wait(), 20)
            has_gone_on.set()
            order.append("the slow one answers")
            async for event in super().generate(request):
                yield event

    fast, slow = Fast("1", name="fast", concurrency=8), Slow("1", name="slow", concurrency=8)
    other = sy.Benchmark(
        name="other",
        version="1",
        load=lambda selection: [sy.Sample(id=f"other/{i}", input=f"r{i}", target="1") for i in range(100)],
        grade=lambda sample, completion: completion.text == "1",
    )
    assert sy.run([fast, slow], [quiz(100), other], stop={"compare": True}).status == "done"
    assert order[0] == "the fast one goes on"
    assert "the slow one answers" in order


def test_who_waits_for_a_look_says_so():
    said = set()
    progress = Progress()

    def watching(request):
        said.update((each.model, each.held()) for each in progress.cells)
        return "1" if is_right("b", 0.66, number(request)) else "0"

    plan = plan_of({"compare": True})
    slow = sy.Scripted(watching, name="b", concurrency=4, delay_s=0.005)
    both = Given(providers={"a": model("a", 0.72), "b": slow}, benchmarks={"quiz": quiz(200)})
    with Store.open() as store:
        asyncio.run(execute(plan, store, given=both, progress=progress))
    assert ("a", "waiting for a look") in said
    assert ("b", "waiting for a look") not in said
    assert progress.cells[0].held() is None


def test_a_model_that_is_given_up_does_not_hold_its_partner_up():
    def fails(i):
        return sy.Failure(kind="auth", message="no key")

    run = sy.run([model("a", 0.8), model("b", 0.5, fails=fails)], [quiz(100)], stop={"compare": True})
    assert run.status == "failed"
    assert cell(run, "a").value("scored") == 100


def test_a_run_whose_money_ends_between_two_looks_ends():
    price = sy.types.Price(input=1000.0, output=1000.0)
    specs = tuple(
        ModelSpec(id=name, provider="openai", model=name, base_url="http://x/v1", price=price, max_tokens=1)
        for name in "ab"
    )
    plan = Plan(models=specs, benchmarks=(BenchmarkSpec(name="quiz"),), name="p", stop=Compare(), budget_usd=0.5)
    given = Given(providers={"a": model("a", 0.72), "b": model("b", 0.66)}, benchmarks={"quiz": quiz()})
    run, taken = go(plan, given)
    assert run.status == "budget"
    with Store.open() as store:
        found = load_results(store, run)
    assert 0 < sum(each.value("attempted") for each in found.cells) < 2 * ITEMS
    assert "asked so far" in results_text(found) or not taken


def test_a_run_that_is_stopped_while_it_waits_for_a_look_ends(monkeypatch):
    hurried = []

    async def first_answers_only(request):
        if len(hurried) == 61:
            os.kill(os.getpid(), signal.SIGINT)
        if len(hurried) > 60:
            await asyncio.sleep(30)

    class Endless(sy.Scripted):
        async def generate(self, request):
            hurried.append(number(request))
            await first_answers_only(request)
            async for event in super().generate(request):
                yield event

    monkeypatch.setattr("steelyard.engine.driving.GRACE_S", 0.2)
    b = Endless(lambda request: "1" if is_right("b", 0.66, number(request)) else "0", name="b", concurrency=4)
    run = sy.run([model("a", 0.72), b], [quiz()], stop={"compare": True})
    assert run.status == "interrupted"
    assert all(look.n == 50 for look in looks(run))
    assert "undecided so far" in run.table()


def test_answers_used_again_are_looked_at_like_any_other():
    class Versioned(sy.Scripted):
        version = "1"

    def script(request):
        return "1" if is_right("v", 0.8, number(request)) else "0"

    first = sy.run([Versioned(script, name="v")], [quiz()], stop={"half_width": 0.05})
    asked = Versioned(script, name="v")
    again = sy.run([asked], [quiz()], stop={"half_width": 0.05})
    assert asked.asked == 0
    assert cell(again, "v").stopped.items == cell(first, "v").stopped.items


WORKING = """
import os, random, time

def answer(prompt):
    time.sleep(0.001)
    if DIES and os.path.exists("die") and prompt.endswith("q77"):
        os.unlink("die")
        os._exit(1)
    return "1" if random.Random(f"{NAME}/{prompt}").random() < SHARE else "0"
"""


def words(name, share, *, dies=False):
    """A model and questions that workers can load by name, in the working folder."""
    Path(f"{name}.py").write_text(f"NAME, SHARE, DIES = {name!r}, {share}, {dies}\n{WORKING}")
    Path("quiz.jsonl").write_text("".join(f'{{"question": "q{i}", "answer": "1"}}\n' for i in range(ITEMS)))
    return ModelSpec(id=name, provider="python", model=f"{name}:answer")


def with_workers(models, workers, monkeypatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    plan = Plan(models=models, benchmarks=(BenchmarkSpec(name="quiz.jsonl", grader="exact"),), name="p",
                stop=Compare(), workers=workers, fresh=True)  # fmt: skip
    return go(plan, Given())


def test_workers_share_the_items_up_to_a_look_and_end_with_the_same_looks(monkeypatch):
    models = (words("a", 0.72), words("b", 0.66))
    run, shared = with_workers(models, 2, monkeypatch)
    alone, own = with_workers(models, None, monkeypatch)
    assert run.status == alone.status == "done"
    assert [look for series in shared.values() for look in series] == [
        look for series in own.values() for look in series
    ]


def test_a_worker_that_dies_before_a_look_holds_nobody_up(monkeypatch):
    models = (words("a", 0.72, dies=True), words("b", 0.66))
    Path("die").touch()
    run, shared = with_workers(models, 2, monkeypatch)
    assert not Path("die").exists()
    assert run.status == "done"
    assert all(look.n - look.scored <= 16 for series in shared.values() for look in series)


# --- going on ---------------------------------------------------------------------------------------------------------


def go(plan, given, resume=None):
    with Store.open() as store:
        ended = asyncio.run(
            execute(
                plan, store, given=given, progress=Progress(), resume=resume, policy=RetryPolicy(first_wait_s=0.001)
            )
        )
        return ended.run, store.looks(ended.run.id)


def test_a_run_that_goes_on_takes_no_look_twice():
    broken = []

    def fails(i):
        broken.append(i)
        return sy.Failure(kind="quota", message="empty") if len(broken) > 150 else None

    plan = Plan(
        models=tuple(ModelSpec(id=name, provider="object", model=name) for name in "ab"),
        benchmarks=(BenchmarkSpec(name="quiz"),),
        name="p",
        stop=Compare(),
    )
    at_first = Given(providers={"a": model("a", 0.72, fails=fails), "b": model("b", 0.66)}, benchmarks={"quiz": quiz()})
    run, before = go(plan, at_first)
    assert run.status == "failed"
    assert [look.n for series in before.values() for look in series] == [50, 100]
    later = Given(providers={"a": model("a", 0.72), "b": model("b", 0.66)}, benchmarks={"quiz": quiz()})
    run, after = go(plan, later, resume=run)
    assert run.status == "done"
    kept = [look for series in after.values() for look in series]
    assert kept[:2] == [look for series in before.values() for look in series]
    assert [look.number for look in kept] == list(range(1, len(kept) + 1))

    whole, looked = go(plan, later)
    assert [(look.n, look.value, look.verdict) for look in kept] == [
        (look.n, look.value, look.verdict) for series in looked.values() for look in series
    ]
    assert whole.plan_digest == run.plan_digest


def test_a_finished_run_that_goes_on_asks_nothing_more():
    plan = Plan(
        models=(ModelSpec(id="a", provider="object", model="a"),),
        benchmarks=(BenchmarkSpec(name="quiz"),),
        name="p",
        stop=HalfWidth(half_width=0.05),
    )
    run, before = go(plan, Given(providers={"a": model("a", 0.8)}, benchmarks={"quiz": quiz()}))
    seen = []
    _, after = go(plan, Given(providers={"a": model("a", 0.8, seen=seen)}, benchmarks={"quiz": quiz()}), resume=run)
    assert (seen, after) == ([], before)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_looks import go, model, quiz
from steelyard.engine.run import Given
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.plan.stopping import Compare
from steelyard.store import Store
from steelyard.types import ModelSpec
import steelyard as sy

def slow(name, share):
    answering = model(name, share)
    answering._delay_s = 0.004
    return answering

plan = Plan(models=tuple(ModelSpec(id=name, provider="object", model=name) for name in "ab"),
            benchmarks=(BenchmarkSpec(name="quiz"),), name="p", stop=Compare())
resume = None
if Store.exists(None):
    with Store.open() as store:
        resume = store.run("last") if store.runs() else None
go(plan, Given(providers=dict(a=slow("a", 0.72), b=slow("b", 0.66)), benchmarks=dict(quiz=quiz())), resume=resume)
"""


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1))
def test_a_run_that_is_killed_again_and_again_ends_with_the_looks_of_one_that_was_not(seed):
    generator = random.Random(seed)
    script = KILLED.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", script], env=environment)
        try:
            process.wait(generator.uniform(0.6, 1.6))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    else:
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    with Store.open() as store:
        run = store.run("last")
        assert run.status == "done"
        looked = [(look.number, look.n, look.value) for each in store.looks(run.id).values() for look in each]
    plan = Plan(
        models=tuple(ModelSpec(id=name, provider="object", model=name) for name in "ab"),
        benchmarks=(BenchmarkSpec(name="quiz"),),
        name="p",
        stop=Compare(),
    )
    _, whole = go(plan, Given(providers={"a": model("a", 0.72), "b": model("b", 0.66)}, benchmarks={"quiz": quiz()}))
    assert looked == [(look.number, look.n, look.value) for each in whole.values() for look in each]


# --- before anything is sent ------------------------------------------------------------------------------------------


def plan_of(stop, *, names="ab", **settings):
    return Plan(
        models=tuple(ModelSpec(id=name, provider="object", model=name) for name in names),
        benchmarks=(BenchmarkSpec(name="quiz"),),
        stop=stop_rule(stop),
        **settings,
    )


def given(names="ab"):
    return Given(providers={name: model(name, 0.5) for name in names}, benchmarks={"quiz": quiz()})


def test_the_plan_says_beforehand_what_is_watched_where_and_for_whom():
    plan = plan_of({"compare": True}, names="abc", limit=300)
    [watched] = expansion(prepare(plan, given("abc")), plan)
    assert watched.questions == (("a", "b"), ("a", "c"), ("b", "c"))
    assert watched.looks == (50, 75, 150, 300)
    assert (watched.planned, watched.population, watched.estimand) == (300, ITEMS, "this benchmark")
    assert watched.alpha == pytest.approx(0.05 / 3)


def test_the_rule_its_looks_and_its_error_are_in_the_digest():
    plans = [
        plan_of(None),
        plan_of({"compare": True}),
        plan_of({"compare": True, "alpha": 0.01}),
        plan_of({"compare": True, "looks": [0.5, 1.0]}),
        plan_of({"half_width": 0.03}),
    ]
    assert len({plan.digest() for plan in plans}) == len(plans)


@pytest.mark.parametrize(
    ("stop", "settings", "words"),
    [
        ({"half_width": 0.03}, {"order": "file"}, "no sample"),
        ({"compare": True}, {"names": "a"}, "there is one only"),
        ({"compare": True, "against": "z"}, {}, "unknown model to compare with 'z'"),
    ],
)
def test_what_a_rule_cannot_watch_is_refused(stop, settings, words):
    plan = plan_of(stop, **settings)
    with pytest.raises(UsageError, match=words):
        prepare(plan, given())


# --- fifty whole runs -------------------------------------------------------------------------------------------------
# Fifty are too few to show a level, which the simulations of each rule do: they show that whole runs keep what it says.


class Answers(sy.Scripted):
    """A model of one whole run: which items it answers right is drawn by its name, its share and the run's seed."""

    def __init__(self, name, share, seed, items, *, twin_of=None):
        drawn = [is_right(f"{seed}/{twin_of or name}", share, i) for i in range(items)]
        self.right = drawn if twin_of is None else [*drawn[1:], drawn[0]]
        super().__init__(lambda request: "1" if self.right[number(request)] else "0", name=name, concurrency=32)


def outcomes(stop, models_of, runs, *, items):
    """How every cell of so many whole runs ended, beside what asking everything would have given."""
    found = []
    for seed in range(runs):
        models = models_of(seed, items)
        run = sy.run(models, [quiz(items)], stop=stop, seed=seed, on_message=lambda text: None)
        assert run.status == "done"
        truth = {each.name: sum(each.right) / items for each in models}
        found += [(each.info.model, each.stopped, truth) for each in results(run).cells]
    return found


def covered(found):
    hits = 0
    for name, ended, truth in found:
        [last] = ended.questions
        true = truth[name] - (truth[last.against] if last.against is not None else 0.0)
        hits += last.low - 1e-9 <= true <= last.high + 1e-9
    return hits / len(found)


def asked(found):
    return sum(ended.items / ended.planned for _, ended, _ in found) / len(found)


def drawn_apart(**shares):
    return lambda seed, items: [Answers(name, share, seed, items) for name, share in shares.items()]


def tied(seed, items):
    """Two models that answer exactly as many items right, but not the same ones."""
    return [Answers("a", 0.8, seed, items), Answers("b", 0.8, seed, items, twin_of="a")]


def test_a_few_whole_runs_end_where_the_rule_says():
    found = outcomes({"half_width": 0.04}, drawn_apart(a=0.6, b=0.9), 3, items=600)
    assert all(ended.is_early and ended.questions[0].verdict == "precise" for _, ended, _ in found)


@pytest.mark.long
def test_fifty_whole_runs_to_a_half_width_cover_and_save_what_they_should():
    found = outcomes({"half_width": 0.03}, drawn_apart(a=0.6, b=0.8, c=0.9), 50, items=1319)
    assert covered(found) >= 0.94
    for name, share in (("a", 0.44), ("b", 0.36), ("c", 0.25)):
        assert asked([each for each in found if each[0] == name]) == pytest.approx(share, abs=0.03)


@pytest.mark.long
def test_fifty_whole_runs_of_models_that_are_tied_tell_them_apart_in_5_5_percent_or_less():
    found = outcomes({"compare": True}, tied, 50, items=400)
    assert covered(found) >= 0.94
    told = [ended.questions[0].verdict in ("ahead", "behind") for _, ended, _ in found]
    assert sum(told) / len(told) <= 0.055


@pytest.mark.long
def test_fifty_whole_runs_of_models_far_apart_end_early_and_say_which_is_better():
    found = outcomes({"compare": True}, drawn_apart(a=0.75, b=0.60), 50, items=1319)
    assert covered(found) >= 0.94
    assert all(ended.questions[0].verdict == ("ahead" if name == "a" else "behind") for name, ended, _ in found)
    assert asked(found) < 0.25

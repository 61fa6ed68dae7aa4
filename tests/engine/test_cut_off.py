"""What a kill can have cost, of the dearest calls that can have been in flight."""

import asyncio

import pytest

import steelyard as sy
from steelyard.engine import run as running
from steelyard.engine.money.cut_off import cut_off
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute, prepare
from steelyard.engine.writer import BY_A_THREAD
from steelyard.errors import UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.types import ModelSpec, Price

SLOTS = 4
AT_RISK = (1 + BY_A_THREAD) * SLOTS
JUDGE = ModelSpec(
    id="judge", provider="openai", model="j", max_tokens=8, concurrency=SLOTS, price=Price(input=1000.0, output=1000.0)
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def judged(name, words, items):
    samples = [sy.Sample(id=f"{name}/{i}", input="x" * words, target="a") for i in range(items)]
    return sy.Benchmark(name=name, version="1", load=lambda selection: samples, grade=sy.Judge(model=JUDGE))


FEW_LONG, MANY_SHORT = judged("long", 40_000, 2), judged("short", 10, 30)


def lost(*benchmarks):
    plan = Plan(
        models=(ModelSpec(id="m", provider="object", model="m", price=Price(input=0.0, output=0.0)),),
        benchmarks=tuple(BenchmarkSpec(name=benchmark.name) for benchmark in benchmarks),
        concurrency=SLOTS,
    )
    given = Given(providers={"m": sy.Scripted("a")}, benchmarks={benchmark.name: benchmark for benchmark in benchmarks})
    with Store.open("s.db") as store:
        run = store.create_run(name="r", plan=plan.as_document(), plan_digest="x")
        store.begin_session(run.id, {})
        return cut_off(prepare(plan, given), run, store.sessions(run.id))


def test_the_dearest_verdicts_of_all_benchmarks_together_may_be_paid_for_twice():
    long, short, both = lost(FEW_LONG), lost(MANY_SHORT), lost(FEW_LONG, MANY_SHORT)
    assert both.calls == long.calls == short.calls
    verdicts = both.calls - AT_RISK
    assert both.usd == pytest.approx(long.usd + short.usd * (verdicts - 2) / verdicts)


def test_a_run_that_failed_before_its_first_request_is_not_taken_for_one_that_was_killed(monkeypatch):
    plan = Plan(models=(ModelSpec(id="m", provider="object", model="m"),), benchmarks=(BenchmarkSpec(name="quiz"),))
    samples = [sy.Sample(id="q/0", input="q", target="a")]
    quiz = sy.Benchmark(name="quiz", version="1", load=lambda selection: samples, grade="exact")
    told = []

    def ask(store, resume=None):
        given = Given(providers={"m": sy.Scripted("a")}, benchmarks={"quiz": quiz})
        return asyncio.run(execute(plan, store, given=given, progress=Progress(say=told.append), resume=resume))

    def fail(*arguments):
        raise UsageError("no looks")

    with Store.open("s.db") as store:
        with monkeypatch.context() as patch:
            patch.setattr(running, "looks_of", fail)
            with pytest.raises(UsageError, match="no looks"):
                ask(store)
        assert ask(store, store.run("last")).status == "done"
    assert not any("was killed" in text for text in told)

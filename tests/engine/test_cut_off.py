"""When a session counts as one that was killed, so that what it had in flight may be paid for twice."""

import asyncio

import pytest

import steelyard as sy
from steelyard.engine import run as running
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.errors import UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.types import ModelSpec


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")


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

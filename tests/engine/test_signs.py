"""What a run tells of itself while it goes on, for those who watch it from another process."""

import asyncio
import threading
from types import SimpleNamespace

import steelyard as sy
from steelyard.engine.money.budget import Ledger
from steelyard.engine.processes.frames import HeldBack, Standing
from steelyard.engine.processes.shared_lane import SharedJudge
from steelyard.engine.progress import CellProgress, Progress
from steelyard.engine.run import Given, execute
from steelyard.engine.signs import sign_of, told
from steelyard.errors import ProviderError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.types import Failure, ModelSpec, Wait


def a_lane(row, **counters):
    cell = CellProgress(model="m", label="b@p", planned=10)
    for name, value in counters.items():
        setattr(cell, name, value)
    return SimpleNamespace(cells=[SimpleNamespace(row=row, progress=cell)])


def test_all_that_holds_a_model_back_is_told_and_nothing_of_one_that_is_through():
    gate = SimpleNamespace(waiting=4, held_for_s=12.04, is_closed=False, resting=1)
    held = {"throttle": gate, "purse": SimpleNamespace(is_short=True), "disk": SimpleNamespace(is_full=True)}
    lanes = [
        a_lane(1, errored=2, retries=5, **held),
        a_lane(2, scored=10, **held),
        a_lane(3, stopped="bad key", **held),
    ]
    first, through, given_up = sign_of(Progress(), lanes).cells
    assert [wait.why for wait in first.waits] == ["disk", "money", "rate", "again"]
    assert first.waits[2] == Wait(why="rate", n=4, for_s=12.0)
    assert (first.failed, first.retries) == (2, 5)
    assert (through.waits, through.stopped) == ((), None)
    assert (given_up.waits, given_up.stopped) == ((), "bad key")


def test_doubt_of_earlier_sessions_that_came_to_its_end_is_told_at_once():
    ledger = Ledger()
    ledger.doubt(1.0)
    for _ in range(2):
        ledger.resolve(3.0)
    sign = sign_of(Progress(ledger=ledger), [])
    assert (sign.doubtful_usd, sign.doubtful_tries) == (-5.0, -1)


def test_what_holds_a_judge_back_is_told_as_the_judges():
    gate = SimpleNamespace(waiting=3, held_for_s=5.0, is_closed=False, resting=0)
    judge = SimpleNamespace(throttle=gate, till=SimpleNamespace(is_short=False))
    lane = a_lane(1, judge=judge)
    ((wait,),) = [cell.waits for cell in sign_of(Progress(), [lane]).cells]
    assert wait == Wait(why="rate", n=3, for_s=5.0, is_of_judge=True)
    assert lane.cells[0].progress.held() == "judge: 3 waiting for the rate limit, 5 s"
    assert lane.cells[0].progress.held(short=True) == "judge limited 5 s"


def test_what_holds_a_judge_back_is_summed_over_workers():
    own, judge = HeldBack(), HeldBack(waiting=2, held_for_s=1.5)
    standing = {"m": Standing(model="m", in_flight={}, own=own, judge=judge)}
    hands = [SimpleNamespace(standing=standing, is_alive=True) for _ in range(2)]
    shared = SharedJudge("m", hands)
    assert (shared.throttle.waiting, shared.throttle.held_for_s) == (4, 1.5)


def test_a_judge_that_is_refused_for_rate_is_told_to_wait_while_the_run_goes_on():
    refusals, seen = iter([True] * 2), []
    progress = Progress()

    def verdict(request):
        if next(refusals, False):
            raise ProviderError(Failure(kind="rate_limit", message="too many", status=429, retry_after_s=0.2))
        seen.extend(progress.cells[0].waits())
        return "Verdict: CORRECT"

    judge = sy.Judge(model=sy.Scripted(verdict, name="j"), concurrency=2)
    items = [sy.Sample(id=f"q/{i}", input=f"q{i}", target="a") for i in range(4)]
    quiz = sy.Benchmark(name="quiz", version="1", load=lambda selection: items, grade=judge)
    plan = Plan(
        models=(ModelSpec(id="m", provider="object", model="m"),), benchmarks=(BenchmarkSpec(name="quiz"),), fresh=True
    )

    async def look_and_run():
        looking = asyncio.create_task(look())
        given = Given(providers={"m": sy.Scripted(lambda request: "a")}, benchmarks={"quiz": quiz})
        with Store.open("s.db") as store:
            ended = await execute(plan, store, given=given, progress=progress)
        looking.cancel()
        return ended

    async def look():
        while True:
            seen.extend(wait for cell in progress.cells for wait in cell.waits())
            await asyncio.sleep(0)  # nothing that happens is missed

    assert asyncio.run(look_and_run()).status == "done"
    assert any(wait.why == "rate" and wait.is_of_judge for wait in seen)
    assert all(wait.is_of_judge for wait in seen)


def test_the_store_knows_at_once_and_a_store_that_cannot_be_written_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr("steelyard.engine.signs.TOLD_EVERY_S", 0.01)
    progress = Progress()
    progress.tell("half a pair: \ud83d")
    with Store.open(tmp_path / "s.db") as store:
        run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
        session = store.begin_session(run.id, {})

        async def go_on():
            async with told(store, session, progress, [a_lane(1, awaits_look=True), a_lane(2, stopped="\udc80")]):
                await asyncio.to_thread(is_kept.wait, 20)

        is_kept, keep = threading.Event(), store.signs.keep
        faults = [ValueError("no sign can say that"), ValueError("nor that")]

        def keep_at_last(*what):
            if faults:
                raise faults.pop()
            keep(*what)
            is_kept.set()

        store.signs.keep = keep_at_last
        asyncio.run(go_on())
        sign = store.progress(run.id).sign
        assert sign.messages == (
            "half a pair: \ufffd",
            "how the run stands could not be told to those who watch it (ValueError: nor that); it goes on",
        )
        assert (sign.cells[0].waits, sign.cells[1].stopped) == ((Wait(why="look"),), "\ufffd")
        (tmp_path / "s.db").rename(tmp_path / "elsewhere.db")

        async def go_on_without():
            async with told(store, session, progress, []):
                await asyncio.sleep(0.1)
                return "went on"

        assert asyncio.run(go_on_without()) == "went on"

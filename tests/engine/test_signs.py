"""What a run tells of itself while it goes on, for those who watch it from another process."""

import asyncio
import threading
from types import SimpleNamespace

from steelyard.engine.progress import CellProgress, Progress
from steelyard.engine.signs import sign_of, told
from steelyard.store import Store
from steelyard.types import Wait


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

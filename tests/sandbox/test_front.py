"""Many graders share a few zygotes; a zygote that dies takes no verdict with it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from steelyard.sandbox import Limits, Program, Sandbox, backends
from steelyard.scoring import code


def square(n, answer=None):
    return Program(code=f"def f(x): return {answer or 'x * x'}", test=f"assert f({n}) == {n * n}", entry_point="f")


SLEEPY = Program(code="import time\ndef f(): time.sleep(60)", test="f()", entry_point="f")


def test_thirty_two_graders_at_once_get_each_their_own_verdict(box):
    sandbox = Sandbox(box.recipe, workers=2)
    with ThreadPoolExecutor(32) as graders:
        programs = [square(n, answer="-1" if n % 3 == 0 else None) for n in range(1, 97)]
        verdicts = list(graders.map(sandbox.judge, programs))
    assert [verdict.passed for verdict in verdicts] == [n % 3 != 0 for n in range(1, 97)]
    assert len(sandbox.pids()) == 2
    sandbox.close()


def test_an_event_loop_waits_without_standing_still(box):
    async def main():
        sandbox = Sandbox(box.recipe, workers=2)
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        waits = [sandbox.judge_async(SLEEPY, Limits(wall_s=0.3)), *[sandbox.judge_async(square(n)) for n in range(8)]]
        verdicts = await asyncio.gather(*waits)
        ticking.cancel()
        await asyncio.to_thread(sandbox.close)
        return verdicts, ticks

    verdicts, ticks = asyncio.run(main())
    assert [verdict.outcome for verdict in verdicts] == ["timed_out", *["passed"] * 8]
    assert ticks > 200  # of a loop that stands still, hardly more than there are programs


def test_a_cancelled_wait_does_not_hold_up_the_next(box):
    async def main():
        waiting = asyncio.create_task(box.judge_async(SLEEPY, Limits(wall_s=0.3)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        return await box.judge_async(square(3))

    assert asyncio.run(main()).passed


def test_a_zygote_that_is_killed_is_replaced_and_its_program_judged_again(box):
    sandbox = Sandbox(box.recipe, workers=1)
    assert sandbox.judge(square(2)).passed
    (first,) = sandbox.pids()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sandbox.judge, SLEEPY, Limits(wall_s=1.0))
        time.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        assert waiting.result().outcome == "timed_out"
    assert sandbox.pids() != [first]
    assert sandbox.judge(square(2)).passed
    sandbox.close()
    assert sandbox.pids() == []


def test_a_sandbox_that_keeps_dying_is_a_fault_and_not_a_wrong_answer(monkeypatch):
    gone = Sandbox(msgspec.structs.replace(backends.unsafe(), command=(sys.executable, "-c", "pass")), workers=1)
    verdict = gone.judge(square(2))
    assert verdict.outcome == "fault"
    monkeypatch.setattr(code.sandbox, "judge", lambda program, limits: verdict)
    score = code.grade(square(2), Limits(), "x * x")
    assert score.value is None
    assert score.reason.startswith("not scored: sandbox unsafe: ")
    gone.close()


def test_code_that_kills_its_own_test_is_wrong_and_not_unscored(box):
    """The checker dies twice over one program: that is the program's doing, whatever the way."""
    program = Program(code="def f(): return 1", test="import os\nf()\nos._exit(0)", entry_point="f")
    verdict = box.judge(program)
    assert verdict.outcome == "crashed"
    assert "checker" in verdict.reason


def test_code_of_any_length_is_answered(box):
    padded = square(2).code + "\n#" + "x" * 3_000_000
    assert box.judge(Program(code=padded, test="assert f(2) == 4", entry_point="f")).passed
    verdict = box.judge(Program(code=padded * 2, test="assert f(2) == 4", entry_point="f"))
    assert (verdict.outcome, "longer than" in verdict.reason) == ("failed", True)
    lone = Program(code="s = '\ud800'\ndef f(x): return x * x", test="assert f(2) == 4", entry_point="f")
    assert box.judge(lone).outcome == "failed"
    assert box.judge(square(2)).passed


def test_a_process_with_many_open_files_can_judge(box):
    script = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "held = [os.dup(0) for _ in range(2000)]\n"
        "from steelyard import sandbox\n"
        "print(sandbox.judge(sandbox.Program(code='def f(): pass', test='f()', entry_point='f')).outcome)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "passed\n"


def test_a_forked_process_has_a_sandbox_of_its_own(box):
    script = (
        "import multiprocessing, sys\n"
        "from steelyard import sandbox\n"
        "program = sandbox.Program(code='def f(): pass', test='f()', entry_point='f')\n"
        "def work(queue): queue.put(sandbox.judge(program).outcome)\n"
        "print(sandbox.judge(program).outcome, end=' ')\n"
        "sys.stdout.flush()\n"
        "queue = multiprocessing.get_context('fork').Queue()\n"
        "child = multiprocessing.get_context('fork').Process(target=work, args=(queue,))\n"
        "child.start()\n"
        "print(queue.get(timeout=20))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=40, check=True)
    assert done.stdout == "passed passed\n"

"""Ctrl-C twice, SIGTERM, a closed terminal, nobody who reads: the store holds what was answered, and a run goes on."""

import asyncio
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest

import steelyard as sy
from command import ok
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.analysis.stopped import summarise_stopped
from steelyard.cli import main, planning
from steelyard.engine import interrupt
from steelyard.engine import run as engine
from steelyard.report import results
from steelyard.report.results import load_results
from steelyard.store import Store

ROOT = Path(__file__).parent.parent.parent
ITEMS, AT_ONCE_S, GRACE_S = 40, 30.0, 60.0
QUIZ = sy.Benchmark(
    name="quiz",
    version="1",
    load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="x") for i in range(5)],
    grade=lambda sample, completion: completion.text == sample.target,
)


def test_ctrl_c_while_a_run_sums_up_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    Path("q.jsonl").write_text(json.dumps({"question": "q", "answer": "x"}) + "\n")
    with monkeypatch.context() as patched:
        patched.setattr("steelyard.engine.run.summarise_run", interrupted)
        assert main(["run", "q.jsonl", "-m", "baseline/constant:x", "--quiet"]) == 130
    assert "steelyard: interrupted. Go on with: steelyard run --resume 1" in capsys.readouterr().err
    assert main(["run", "--resume", "1", "--quiet"]) == 0


def signalled(number, step, *given, **named):
    """A step of a run at which it is told to end, and has time to hear of it."""
    os.kill(os.getpid(), number)
    if threading.current_thread() is not threading.main_thread():
        time.sleep(0.3)
    return step(*given, **named)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("step", ["_see_to_money", "_register", "resources_of", "probe", "noted"])
def test_a_run_that_is_told_to_end_before_it_asks_anything_ends_in_a_line_and_goes_on_later(step, number):
    questions(ITEMS)
    settings = {("steelyard.engine.run", step): partial(signalled, number, getattr(engine, step))}
    words = ["run", "q.jsonl", "-m", "baseline/constant:x", "--quiet"]
    with Started(*words, settings=settings) as process:
        _, told = process.communicate()
    assert process.returncode == 130
    assert told.splitlines()[0].startswith("steelyard: interrupted")
    assert len(told.splitlines()) == 1
    with Store.open(create=False) as store:
        begun = store.runs()
    assert [run.status for run in begun] == ["interrupted"] * len(begun)
    ok(*(["run", "--resume", "last", "--quiet"] if begun else words))
    assert state() == ("done", ITEMS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_told_to_end_while_it_sums_up_leaves_what_is_not_summed_up_yet(number):
    questions(ITEMS)
    models = ["-m", "baseline/constant:x", "-m", "baseline/constant:y"]
    settings = {("steelyard.engine.summary", "summarise_stopped"): partial(signalled, number, summarise_stopped)}
    with Started("run", "q.jsonl", *models, "--quiet", settings=settings) as process:
        _, told = process.communicate()
    assert (process.returncode, told) == (130, "steelyard: interrupted. Go on with: steelyard run --resume 1\n")
    assert state() == ("done", 2 * ITEMS)
    with Store.open(create=False) as store:
        sums = [bool(store.summary(cell.id)) for cell in store.cells(store.run("last").id)]
    assert sums == [True, False]
    ok("run", "--resume", "1", "--quiet")
    with Store.open(create=False) as store:
        assert all(store.summary(cell.id) for cell in store.cells(store.run("last").id))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_command_that_is_told_to_end_before_its_run_or_after_it_ends_in_a_line(number):
    questions(ITEMS)
    for step, owner in (("plan_from_arguments", planning), ("load_results", results)):
        settings = {(owner.__name__, step): partial(signalled, number, getattr(owner, step))}
        with Started("run", "q.jsonl", "-m", "baseline/constant:x", "--quiet", settings=settings) as process:
            _, told = process.communicate()
        assert (process.returncode, told) == (130, "steelyard: interrupted\n")
    assert state() == ("done", ITEMS)


def test_a_run_that_was_killed_as_it_was_registered_does_not_count_as_running():
    with Store.open() as store:
        store.create_run(name=None, plan={}, plan_digest="")
        assert store.run("last").status == "interrupted"


def test_a_program_that_heeds_signals_itself_does_so_again_after_a_run():
    heard = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda number, _: heard.append(number))
        assert sy.run([sy.Scripted(lambda request: "x")], [QUIZ], limit=1).status == "done"
        for number in before:
            signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == [*before]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("ends_first", [0, 1])
def test_of_two_runs_at_once_both_are_told_to_end_and_the_program_hears_again_after_the_last(number, ends_first):
    told = []

    async def at_once():
        with ExitStack() as first, ExitStack() as second:
            wishes = [first.enter_context(interrupt.heard()), second.enter_context(interrupt.heard())]
            os.kill(os.getpid(), number)
            await asyncio.gather(*(each.wait() for each in wishes))
            before = [each.wishes for each in wishes]
            (first, second)[ends_first].close()
            os.kill(os.getpid(), number)
            await wishes[1 - ends_first].wait(before[0] + 1)
            assert wishes[ends_first].wishes == before[0] == before[1]

    others = signal.signal(number, lambda number, _: told.append(number))
    try:
        asyncio.run(asyncio.wait_for(at_once(), AT_ONCE_S))
        signal.raise_signal(number)
    finally:
        signal.signal(number, others)
    assert told == [number]


def test_a_run_that_was_given_up_with_its_loop_leaves_the_program_its_signals():
    """Nothing runs any more when it is taken apart."""
    told = []

    async def gone_on_with_never():
        hearing = interrupt.heard()
        hearing.__enter__()
        return hearing

    others = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    try:
        asyncio.run(gone_on_with_never()).__exit__(None, None, None)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, others)
    assert told == [signal.SIGINT]


@pytest.mark.parametrize(
    "signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["Ctrl-C twice", "SIGTERM"]
)
def test_a_run_that_is_told_to_end_at_once_does_and_loses_only_what_was_in_flight(signals):
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(ITEMS)))
    hangs = True

    async def handle(request, body, number):
        if hangs and number > 10:
            await asyncio.sleep(60)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(handle) as server:
        where = ["-m", "openai/m", "--base-url", server.url, "--concurrency", "4"]
        patient = {("steelyard.engine.driving", "GRACE_S"): GRACE_S}  # with answers on their way, but not here
        with Started("run", "q.jsonl", *where, "--quiet", settings=patient) as process:
            while len(server.requests) < 14:
                time.sleep(0.01)
            for sent in signals:
                process.send_signal(sent)
            _, told = process.communicate(AT_ONCE_S)
            assert process.returncode == 130
        assert "steelyard run --resume 1" in told
        with closing(sqlite3.connect(".steelyard/steelyard.db")) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with Store.open() as store:
            (cell,) = store.cells(store.run("last").id)
            assert (store.run("last").status, len(store.completed(cell.id))) == ("interrupted", 10)
        hangs = False
        asked = len(server.requests)
        ok("run", "--resume", "1", "--quiet")
        assert len(server.requests) - asked == ITEMS - 10
    with Store.open() as store:
        estimates = {estimate.metric: estimate for estimate in store.summary(cell.id)}
        assert (estimates["accuracy"].value, estimates["accuracy"].n) == (1.0, ITEMS)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "by workers"])
def test_what_was_cut_off_may_be_billed_and_counts_against_both_budgets(workers):
    """Four requests are on their way: each may cost 52 bytes and tokens at a tenth of a cent."""
    questions(ITEMS)

    async def handle(request, body, number):
        await asyncio.sleep(60)

    ok("budget", "set", "9")
    with serving(handle) as server:
        paid = ["--price", "1000/1000", "--budget", "8", "--max-tokens", "20"]
        where = ["-m", "openai/m", "--base-url", server.url, "--concurrency", "4"]
        with Started("run", "q.jsonl", *where, *paid, *workers, "--quiet") as process:
            while len(server.requests) < 4:
                time.sleep(0.01)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
            process.communicate()
    with Store.open() as store:
        run = store.run("last")
        in_doubt_usd = store.budget.spent_of_run(run.id)
        spent = load_results(store, run).spending
        of_the_store_usd = store.budget.account().spent_usd
    assert spent.calls == 4
    assert in_doubt_usd == pytest.approx(4 * 0.052)
    assert of_the_store_usd == pytest.approx(in_doubt_usd)


def test_what_was_cut_off_without_a_price_was_sent_and_its_cost_is_unknown():
    questions(ITEMS)

    async def handle(request, body, number):
        await asyncio.sleep(60)

    with serving(handle) as server:
        where = ["-m", "openai/m", "--base-url", server.url, "--concurrency", "2"]
        with Started("run", "q.jsonl", *where) as process:
            while len(server.requests) < 2:
                time.sleep(0.01)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
            out, _ = process.communicate()
    assert "Run #1: 2 requests sent, cost unknown (openai/m)" in out


def test_ctrl_c_while_the_command_still_loads_ends_it_without_a_traceback():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    module, _, name = scripts["steelyard"].partition(":")
    program = (
        "import os, signal, sys\n"
        "class CtrlC:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'steelyard.cli.run':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, CtrlC())\n"
        f"from {module} import {name}\n"
        f"sys.exit({name}())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "steelyard: interrupted\n")


def test_an_answer_that_waits_for_an_earlier_ones_commit_is_kept_when_the_run_is_broken_off(monkeypatch):
    """One slot has two answers of which the first is being written: the second one is paid as well."""
    append, may_write = Store.append, threading.Event()

    def slowly(store, *rows):
        assert may_write.wait(60)
        return append(store, *rows)

    def break_off():
        for _ in range(2):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        may_write.set()

    def answer(request):
        if provider.asked == 2:
            threading.Thread(target=break_off).start()
        return "x"

    provider = sy.Scripted(answer, concurrency=1)
    monkeypatch.setattr(Store, "append", slowly)
    assert sy.run([provider], [QUIZ], concurrency=1).status == "interrupted"
    assert provider.asked == 2
    assert state() == ("interrupted", 2)


def questions(count):
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(count)))


def slowly(until_s):
    """A server that answers what comes first after so long, and later requests at once."""

    async def handle(request, body, number):
        await asyncio.sleep(until_s if number <= 4 else 0)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    return handle


def state():
    """How the one run of the store stands, and how many answers it has."""
    with Store.open(create=False) as store:
        run = store.run("last")
        return run.status, sum(len(store.completed(cell.id)) for cell in store.cells(run.id))


def test_a_closed_terminal_lets_the_answers_on_their_way_come_in():
    """The terminal says so to the run, perhaps twice, and takes nothing that is printed any more."""
    questions(ITEMS)
    with serving(slowly(2.0)) as server:
        words = ["run", "q.jsonl", "-m", "openai/m", "--base-url", server.url, "--concurrency", "4"]
        pid, terminal = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests themselves were told to outlive
            os.execv(sys.executable, [sys.executable, "-m", "steelyard", *words])
        os.set_blocking(terminal, False)
        while len(server.requests) < 4:
            time.sleep(0.01)
            read_all(terminal)
        os.close(terminal)
        os.kill(pid, signal.SIGHUP)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 130
        assert len(server.requests) == 4
    assert state() == ("interrupted", 4)


def read_all(terminal):
    with suppress(BlockingIOError):
        os.read(terminal, 1 << 16)


def test_a_run_that_is_to_outlive_its_terminal_does():
    questions(8)
    with serving(slowly(1.0)) as server:
        words = ["run", "q.jsonl", "-m", "openai/m", "--base-url", server.url, "--quiet"]
        with subprocess.Popen(["nohup", sys.executable, "-m", "steelyard", *words], stdout=subprocess.DEVNULL) as run:
            while len(server.requests) < 4:
                time.sleep(0.01)
            run.send_signal(signal.SIGHUP)
            assert run.wait(30) == 0
    assert state() == ("done", 8)


def test_a_program_that_heeds_the_end_of_its_terminal_itself_still_does():
    heard = []

    def answer(request):
        signal.raise_signal(signal.SIGHUP)
        return "x"

    before = signal.signal(signal.SIGHUP, lambda *_: heard.append("closed"))
    try:
        assert sy.run([sy.Scripted(answer)], [QUIZ], limit=1).status == "done"
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == ["closed", "closed"]


def test_what_a_program_printed_stays_before_what_a_command_within_it_prints():
    program = "from steelyard.cli import main; print('first'); main(['list', 'providers']); print('last')"
    held_back = {"PYTHONUNBUFFERED": "", "PYTHONIOENCODING": "utf-8:replace"}  # nothing has to be set on the stream
    env = os.environ | held_back
    told = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    first, *between, last = told.splitlines()
    assert (first, last) == ("first", "last")
    assert between


@pytest.mark.parametrize(
    "streams",
    ["2>&1 | true", "2>&1 >/dev/null | true", "<&- >&- 2>&-", ">/dev/null 2>/dev/full"],
    ids=["both to a reader that is gone", "messages to one", "closed", "messages to a full disk"],
)
def test_a_run_that_nobody_reads_goes_on_to_its_end(streams):
    questions(8)
    words = f"run q.jsonl -m baseline/constant:x --limit 8 {streams}"
    told = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m steelyard {words}"], stderr=subprocess.PIPE, check=False
    )
    assert (told.returncode, told.stderr) == (0, b"")
    assert state() == ("done", 8)


def test_a_gate_whose_first_line_alone_is_read_still_fails():
    questions(8)
    Path("answering.py").write_text("def wrongly(prompt):\n    return 'y'\n")
    ok("run", "q.jsonl", "-m", "python:answering:wrongly", "--quiet")
    gate = f"{sys.executable} -m steelyard gate last --require 'accuracy >= 0.9' 2>/dev/null"
    plain = subprocess.run(["bash", "-c", gate], stdout=subprocess.DEVNULL, check=False).returncode
    cut = subprocess.run(["bash", "-c", f"set -o pipefail; {gate} | true"], check=False).returncode
    assert (plain, cut) == (1, 1)


def test_results_that_cannot_be_written_are_a_fault_in_one_line():
    questions(8)
    told = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m steelyard run q.jsonl -m baseline/constant:x --quiet >/dev/full"],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert told.returncode == 4
    assert told.stderr == b"steelyard: cannot write to standard output: No space left on device\n"
    assert state() == ("done", 8)

"""What the run weighs: a server by its process, GPUs through NVML, and whether the client held the answers up."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest

import steelyard as sy
from fake_pynvml import Nvml
from server import chunk, finish, serving, stream, usage
from steelyard.engine.provenance import provenance
from steelyard.engine.weight import gpus
from steelyard.engine.weight.resources import BUSY_LAG_S, Resources, Waiting, added_up
from steelyard.errors import UsageError
from steelyard.report.machine import busy_client
from steelyard.report.provenance import provenance_document
from steelyard.store import Store

CHILD = """
import asyncio
import itertools
import os
held, parent = bytearray(80_000_000), os.getppid()
print("held", flush=True)
while os.getppid() == parent:
    sum(range(10_000))
"""
SERVER = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.fixture
def server_process():
    """A process with a child that holds 80 MB and computes; both end with the test."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(1.1)  # older than the run, by more than a birth's resolution
    yield process
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def driver_with(monkeypatch, nvml):
    monkeypatch.setattr(gpus, "has_driver", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def questions(n):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="x") for i in range(n)],
        grade=lambda sample, completion: completion.text == "x",
    )


async def slow_x(request, body, number):
    return await stream(request, [chunk(content="x"), finish(), usage()], gap_s=0.2)


def served(url, pid, **more):
    return sy.ModelSpec(id="mine", provider="openai", model="m", base_url=url, server_pid=pid, **more)


def test_a_server_is_weighed_by_its_process_with_its_children(server_process, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(slow_x) as endpoint:
        run = sy.run([served(endpoint.url, server_process.pid), "baseline/constant:x"], [questions(4)], concurrency=2)
    peak, cpu = run.estimate("model_peak_rss_mb", model="mine"), run.estimate("model_cpu", model="mine")
    assert 85 < peak.value < 200
    assert 0.0 < cpu.value < 1.3  # its child computes, as far as others let it; itself it only waits
    assert (peak.method, peak.low) == ("count", None)
    floor = run.estimate("model_peak_rss_mb", model="baseline/constant:x")
    assert (floor.value, floor.status) == (None, "not measured")


def test_a_server_that_dies_is_known_until_then_and_the_run_goes_on(server_process, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    async def killing(request, body, number):
        if number == 2:
            server_process.kill()
        return await slow_x(request, body, number)

    with serving(killing) as endpoint:
        run = sy.run([served(endpoint.url, server_process.pid)], [questions(6)], concurrency=1)
    assert run.status == "done"
    assert run.estimate("model_peak_rss_mb").value > 85
    assert "mine: the process of server_pid ended after" in run.table()


def test_a_process_that_does_not_exist_is_refused_before_anything_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with serving(slow_x) as endpoint:
        with pytest.raises(UsageError, match=f"no process {gone.pid} on this machine"):
            sy.run([served(endpoint.url, gone.pid)], [questions(2)])
        assert not endpoint.requests


def test_a_model_that_nothing_else_serves_has_no_server():
    model = sy.ModelSpec(id="b", provider="baseline", model="random", server_pid=os.getpid())
    with pytest.raises(UsageError, match="something else serves"):
        sy.run([model], ["starter@letter"])


def test_which_process_serves_a_model_is_no_part_of_what_is_asked(monkeypatch):
    from steelyard.plan.plan import BenchmarkSpec, Plan

    plans = [Plan(models=(served("http://x", pid),), benchmarks=(BenchmarkSpec(name="starter"),)) for pid in (None, 7)]
    assert len({plan.digest() for plan in plans}) == 1


def test_nothing_is_imported_without_a_driver(monkeypatch):
    monkeypatch.setattr(gpus, "DRIVER_FILES", ("/nowhere/1", "/nowhere/2", "/nowhere/3"))
    monkeypatch.setattr(gpus, "_nvml", lambda: pytest.fail("imported"))
    assert gpus.open_gpus() is None
    assert gpus.gpu_provenance() is None


def test_a_driver_without_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(gpus, "has_driver", lambda: True)
    monkeypatch.setattr(gpus, "_nvml", lambda: None)
    assert gpus.open_gpus() is None
    assert "steelyard[gpu]" in provenance("asyncio")["gpu"]["status"]


def test_a_driver_that_does_not_start_is_no_crash(monkeypatch):
    driver_with(monkeypatch, Nvml(starts=False))
    assert gpus.open_gpus() is None
    assert gpus.gpu_provenance() == {"status": "not read: NVML did not start"}


def test_units_are_shares_bytes_and_watts_and_what_a_device_does_not_tell_is_unknown(monkeypatch):
    driver_with(monkeypatch, Nvml({0: {17: 3 * 2**30}, 1: {18: None}}))
    first, second = gpus.open_gpus().read().values()
    assert (first.utilisation, first.memory_bytes, first.power_w) == (0.8, 20 * 2**30, 65.5)
    assert (second.utilisation, second.power_w) == (0.1, None)
    readings = {0: first, 1: second}
    assert (gpus.held_by(readings, [17]), gpus.held_by(readings, [18])) == (3 * 2**30, None)
    assert gpus.held_by(readings, [17, 18]) is None
    assert gpus.gpu_provenance()["devices"]["1"] == {
        "name": "NVIDIA L4",
        "memory_bytes": 24 * 2**30,
        "power_limit_w": None,
    }


def test_a_served_models_gpu_is_a_metric_and_every_device_stands_with_the_session(server_process, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    nvml = driver_with(monkeypatch, Nvml({0: {server_process.pid: 5 * 10**9}}))
    with serving(slow_x) as endpoint:
        run = sy.run([served(endpoint.url, server_process.pid)], [questions(6)], concurrency=1)
    assert run.estimate("model_gpu_memory_mb").value == 5000
    assert run.estimate("model_gpu_utilisation").value == pytest.approx(0.8)
    assert run.estimate("model_gpu_power_w").value == pytest.approx(65.5)
    with Store.open() as store:
        (session,) = provenance_document(store, run.info)["sessions"]
    assert session["gpu"]["devices"]["0"]["name"] == "NVIDIA L4"
    taken = session["resources"]
    assert (taken["gpu_peak_bytes/0"], taken["gpu_peak_bytes/1"]) == (20 * 2**30, 2**30)
    assert taken["gpu_energy_j/0"] / taken["gpu_energy_of_s/0"] == pytest.approx(65.5)
    assert "gpu_energy_j/1" not in taken
    assert nvml.inits == 0


def test_load_and_clock_of_the_machine_stand_with_the_session():
    run = sy.run(["baseline/random"], ["starter@letter"])
    with Store.open() as store:
        (session,) = provenance_document(store, run.info)["sessions"]
    assert session["load"].keys() == {"1min", "5min", "15min", "cpu_mhz", "cpu_max_mhz", "governor"}
    assert session["load"]["1min"] >= 0
    assert session["resources"]["load_1min_end"] >= 0
    assert session["gpu"] is None or "status" in session["gpu"]


def waited(lag_s, cores, looks=100, late=None):
    waiting = Waiting()
    for look in range(looks):
        is_late = late is None or look < late
        waiting.add(lag_s if is_late else 0.0, 0.1 * cores, 0.1)
    return waiting.figures()


@pytest.mark.parametrize(
    ("figures", "is_bottleneck"),
    [
        (waited(0.001, 0.3), 0.0),
        (waited(2 * BUSY_LAG_S, 0.3), 1.0),
        (waited(0.001, 0.97), 1.0),
        (waited(2 * BUSY_LAG_S, 0.3, late=1), 0.0),
        (waited(2 * BUSY_LAG_S, 0.3, late=2), 1.0),
    ],
)
def test_a_late_loop_or_a_full_core_is_a_bottleneck_and_one_hiccup_is_not(figures, is_bottleneck):
    assert figures["client_is_bottleneck"] == is_bottleneck


def test_too_short_a_wait_says_nothing():
    assert waited(1.0, 1.0, looks=10) == {}


def test_a_client_is_watched_where_answers_come_too_fast_to_be_seen_on_their_way(monkeypatch):
    monkeypatch.setattr("steelyard.engine.weight.resources.LEAST_WAITED_S", 0.05)
    came = itertools.count()

    async def watched_for_a_moment(**how):
        resources = Resources(**how)
        with suppress(TimeoutError):
            await asyncio.wait_for(resources.watch(), 0.5)
        return resources.figures()

    assert "client_cores" in asyncio.run(watched_for_a_moment(came=lambda: next(came)))
    assert "client_cores" not in asyncio.run(watched_for_a_moment(came=lambda: 7))


def test_a_busy_client_is_told_once_and_with_what_to_try():
    busy, calm = waited(0.05, 0.95), waited(0.001, 0.2)
    (said,) = busy_client([calm, busy, busy])
    assert "0.95 of a core" in said
    assert "50 ms late" in said
    assert "--concurrency" in said
    assert busy_client([calm]) == []


def test_a_machine_that_is_busy_with_other_work_is_not_called_a_busy_client():
    late = waited(0.05, 0.01)
    took = {"wall_s": 10.0, "cpu_s": 0.1, "model_cpu_s": 1.0, "machine_cores": 2.0}
    (said,) = busy_client([late | took | {"machine_cpu_s": 19.1}])
    assert said.startswith("This machine was busy with other work: answers were noted up to 50 ms late")
    assert "took 0.01 of a core. Other programs took 1.8 of this machine's 2 cores." in said
    (said,) = busy_client([late | took | {"machine_cpu_s": 2.0}])
    assert "took 0.01 of a core. Something else held it up" in said


@pytest.mark.long
def test_a_client_that_is_kept_from_reading_says_so_over_its_results(monkeypatch):
    """The grader holds the interpreter, in this process, while answers are on their way."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setattr("steelyard.engine.weight.resources.LEAST_WAITED_S", 0.5)

    def heavy(sample, completion):
        end = time.thread_time() + 0.25
        while time.thread_time() < end:
            sum(range(10_000))
        return True

    quiz = sy.Benchmark(name="quiz", version="1", load=questions(30).load, grade=heavy)
    with serving(slow_x) as endpoint:
        run = sy.run([served(endpoint.url, None, concurrency=4)], [quiz])
    assert run.table().count("The client was a bottleneck") == 1


def test_times_add_up_over_sessions_and_peaks_do_not():
    one = {"wall_s": 1.0, "model_cpu_s/a": 2.0, "model_peak_rss_bytes/a": 5.0, "gpu_energy_j/0": 7.0}
    total = added_up([one, one | {"model_peak_rss_bytes/a": 4.0}])
    assert total == {"wall_s": 2.0, "model_cpu_s/a": 4.0, "model_peak_rss_bytes/a": 5.0, "gpu_energy_j/0": 14.0}


def test_watching_nobody_gives_the_client_alone():
    figures = Resources().figures()
    assert figures["peak_rss_bytes"] > 0
    assert not [name for name in figures if name.startswith(("model_", "gpu_", "client_"))]

"""What a run weighs beside its answers: cards, load, and whether the client itself was in the way."""

# ruff: noqa: N802 - the names are nvidia-ml-py's

import sys
from types import ModuleType, SimpleNamespace

import pytest

import steelyard as sy
from steelyard.engine import resources
from steelyard.engine.gpu import Gpus
from steelyard.engine.resources import bottleneck
from steelyard.store import Store


class Nvml(ModuleType):
    """The functions of nvidia-ml-py that are used, with its units, for two cards; the second has no power meter."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, has_driver=True, meters=(True, False)):
        super().__init__("pynvml")
        self.__spec__ = SimpleNamespace(name="pynvml")
        self.has_driver, self.meters, self.is_open = has_driver, meters, False

    def nvmlInit(self):
        if not self.has_driver:
            raise self.NVMLError("Driver Not Loaded")
        self.is_open = True

    def nvmlShutdown(self):
        self.is_open = False

    def nvmlDeviceGetCount(self):
        return len(self.meters)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUtilizationRates(self, card):
        return SimpleNamespace(gpu=(80, 40)[card], memory=5)

    def nvmlDeviceGetMemoryInfo(self, card):
        return SimpleNamespace(total=24 << 30, free=23 << 30, used=1 << 30)

    def nvmlDeviceGetPowerUsage(self, card):
        if not self.meters[card]:
            raise self.NVMLError("Not Supported")
        return 150_000


@pytest.fixture
def install(monkeypatch):
    def done(nvml):
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    return done


def test_all_cards_of_the_machine_are_summed_up(install):
    nvml = install(Nvml(meters=(True, True)))
    gpus = Gpus()
    gpus.sample()
    gpus.sample()
    assert gpus.figures() == {
        "gpus": 2.0,
        "gpu_utilisation": pytest.approx(0.6),
        "gpu_peak_memory_bytes": float(2 << 30),
        "gpu_power_w": pytest.approx(300.0),
    }
    gpus.close()
    assert not nvml.is_open


def test_what_a_card_does_not_tell_is_absent_and_never_0(install):
    install(Nvml(meters=(True, False)))
    gpus = Gpus()
    gpus.sample()
    assert "gpu_power_w" not in gpus.figures()
    assert gpus.figures()["gpu_utilisation"] == pytest.approx(0.6)


def test_without_a_driver_or_the_package_there_are_no_figures(install, monkeypatch):
    install(Nvml(has_driver=False))
    gpus = Gpus()
    gpus.sample()
    assert gpus.figures() == {}
    monkeypatch.setattr("steelyard.engine.gpu.find_spec", lambda name: None)
    assert Gpus().figures() == {}


def test_a_run_records_the_cards_and_its_metrics_show_them(install):
    install(Nvml(meters=(True, True)))
    run = sy.run([sy.Scripted("42", delay_s=0.01)], ["starter:arithmetic"], limit=5, store="s.db")
    with Store.open("s.db") as store:
        [session] = store.sessions(store.run("last").id)
    assert session.resources["gpu_power_w"] == pytest.approx(300.0)
    assert session.resources["load_average_1m"] >= 0.0
    assert run.estimate("gpu_utilisation").value == pytest.approx(0.6)
    assert run.estimate("gpu_peak_memory_mb").value == pytest.approx((2 << 30) / 1e6)


@pytest.mark.parametrize(
    ("cpu_s", "lag_s", "wall_s", "is_told"),
    [(2.0, 0.001, 10.0, False), (9.5, 0.001, 10.0, True), (2.0, 0.2, 10.0, True), (0.9, 0.2, 1.0, False)],
)
def test_the_client_is_named_as_the_bottleneck_where_it_was_busy_or_late(cpu_s, lag_s, wall_s, is_told):
    told = bottleneck({"cpu_s": cpu_s, "loop_lag_p99_s": lag_s, "wall_s": wall_s})
    assert (told is not None) == is_told


def test_a_run_whose_client_was_the_bottleneck_says_so_once(monkeypatch):
    monkeypatch.setattr(resources, "LEAST_JUDGED_S", 0.0)
    monkeypatch.setattr(resources, "LATE_S", -1.0)
    told = []
    sy.run([sy.Scripted("42")], ["starter:arithmetic"], limit=5, on_message=told.append)
    assert len([text for text in told if "was the bottleneck" in text]) == 1

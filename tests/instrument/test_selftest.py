"""The instrument's own errors: small on a quiet machine, kept for this set-up only, and told with every run."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from steelyard.cli import main
from steelyard.engine.provenance import provenance
from steelyard.engine.weight.calibration import Bias, Calibration, Level, instrument, keep, kept, setup
from steelyard.errors import UsageError
from steelyard.instrument.process import spawned
from steelyard.instrument.selftest import clean_streams, selftest
from steelyard.instrument.settings import Settings
from steelyard.report.results import load_results, warnings
from steelyard.store import Store

QUICK = Settings(ttft_ms=20, itl_ms=5, tokens=8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))


def bias(median_ms):
    return Bias(median_ms=median_ms, low_ms=None, high_ms=None, p95_ms=abs(median_ms), n=100)


def level(streams, ttft_ms=0.1, *, is_clean=True):
    still = bias(0.0)
    return Level(
        streams=streams,
        ttft=bias(ttft_ms),
        itl=still,
        total=still,
        server_late=still,
        loop_lag_p99_ms=None,
        cpu=0.1,
        others_cpu=0.0,
        is_clean=is_clean,
    )


def calibration(*levels, loop="uvloop"):
    return Calibration(
        made_at="2026-01-01T00:00:00+00:00",
        bound_ms=1.0,
        clean_streams=clean_streams(levels),
        levels=levels,
        server={},
        setup=setup(provenance(loop)),
    )


def test_the_errors_of_a_few_streams_are_small():
    seen = []
    found = selftest([1, 8], server=QUICK, least_requests=16, least_rounds=3, on_level=seen.append)
    assert [level.streams for level in found.levels] == [1, 8]
    assert list(found.levels) == seen
    assert [(level.ttft.n, level.itl.n) for level in found.levels] == [(16, 16 * 7), (24, 24 * 7)]
    for one in found.levels:
        assert abs(one.ttft.median_ms) < 20
        assert abs(one.itl.median_ms) < 4
        assert one.ttft.low_ms <= one.ttft.median_ms <= one.ttft.high_ms
        assert 0 <= one.others_cpu < os.cpu_count()
        assert 0 <= one.server_late.median_ms < 20


def test_a_client_that_reads_late_is_found_out(monkeypatch):
    """Every chunk stamped 80 ms late: TTFT is off by as much, gaps are not."""
    from steelyard.engine.asking import heard

    def late(self, at_ns, *, is_answer):
        usual(self, at_ns + 80_000_000, is_answer=is_answer)

    usual = heard.Heard.token
    monkeypatch.setattr(heard.Heard, "token", late)
    (one,) = selftest([4], server=QUICK, least_requests=16).levels
    assert 80 <= one.ttft.median_ms < 100
    assert 80 <= one.total.median_ms < 100
    assert abs(one.itl.median_ms) < 4
    assert not one.is_clean


def test_clean_means_that_every_smaller_number_was_clean_too():
    assert clean_streams([level(1), level(16), level(64, is_clean=False), level(256)]) == 16
    assert clean_streams([level(1, is_clean=False), level(16)]) == 0


def test_a_calibration_is_kept_and_read_again():
    found = calibration(level(1), level(64))
    assert kept() is None
    keep(found)
    assert kept() == found


def test_a_broken_file_is_no_calibration(tmp_path):
    keep(calibration(level(1))).write_text("{")
    assert kept() is None


def test_a_run_says_quietly_that_there_is_no_calibration():
    assert instrument(64, provenance("uvloop")) == {
        "streams": 64,
        "status": "not calibrated: steelyard selftest was never run here",
    }


def test_a_calibration_does_not_hold_for_another_event_loop():
    keep(calibration(level(64), loop="asyncio"))
    found = instrument(64, provenance("uvloop"))
    assert "event_loop changed" in found["status"]
    assert "clean_streams" not in found


def test_a_run_records_the_bias_of_the_level_that_covers_it():
    keep(calibration(level(1), level(16, 0.2), level(64, 0.4)))
    found = instrument(17, provenance("uvloop"))
    assert (found["clean_streams"], found["bias"]["streams"]) == (64, 64)
    assert instrument(65, provenance("uvloop"))["bias"] is None


@pytest.mark.parametrize("streams", ["", "0", "1,x"])
def test_impossible_numbers_of_streams_are_a_usage_error(streams, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["selftest", "--streams", streams])
    assert ended.value.code == 2


def test_no_streams_are_a_usage_error():
    with pytest.raises(UsageError):
        selftest([])


def run_of(url, concurrency, *more):
    """The warnings and the provenance of a run of twelve questions against the mock."""
    Path("cases.jsonl").write_text("".join(f'{{"question": "q{i}", "answer": "a"}}\n' for i in range(12)))
    arguments = ["-m", "openai/mine", "--base-url", url, "--quiet", "--concurrency", str(concurrency), *more]
    assert main(["run", "cases.jsonl", *arguments]) == 0
    with Store.open(None, create=False) as store:
        run = store.run("last")
        return warnings(load_results(store, run)), store.sessions(run.id)[0].provenance["instrument"]


def test_a_run_beyond_the_clean_number_is_warned_of_and_records_why(capsys):
    keep(calibration(level(1), level(4), level(16, 2.5, is_clean=False)))
    with spawned(QUICK) as url:
        quiet, _ = run_of(url, 4)
        assert quiet == [text for text in quiet if "streamed in at once" not in text]
        loud, recorded = run_of(url, 8, "--fresh")
        few, _ = run_of(url, 500, "--fresh")
        used_again, _ = run_of(url, 8)
    assert not [text for text in used_again if "streamed in at once" in text]  # nothing was timed
    assert recorded["streams"] == 8
    assert recorded["status"] == "calibrated"
    (warning,) = [text for text in loud if "streamed in at once" in text]
    assert "p to 8 answers" in warning
    assert "right within 1 ms with up to 4 at once; with 16, the first token was noted 2.5 ms too late" in warning
    assert "--concurrency 4" in warning
    assert any("p to 12 answers" in text for text in few)
    assert "streamed in at once" in capsys.readouterr().out


def test_the_command_prints_a_table_and_keeps_the_result(monkeypatch, capsys):
    from steelyard.instrument import selftest as module

    monkeypatch.setattr(module, "LEAST_REQUESTS", 4)
    monkeypatch.setattr(module, "LEAST_ROUNDS", 1)
    monkeypatch.setattr(module, "SERVER", QUICK)
    assert main(["selftest", "--streams", "1,4", "--bound-ms", "1000"]) == 0
    out = capsys.readouterr().out
    assert "stay within 1000 ms up to 4 streams at once" in out
    assert kept().clean_streams == 4
    assert main(["selftest", "--streams", "1", "--json"]) == 0
    assert msgspec.convert(json.loads(capsys.readouterr().out), Calibration).levels[0].streams == 1
    assert os.listdir(os.environ["STEELYARD_CACHE"]) == ["instrument.json"]

"""What running at the same time gains: models, stages and requests side by side, and a benchmark split over workers.

Each case times the same work twice against an endpoint of known delay in a process of its own, together and one after
the other, in whole runs from loading to the summary. A ratio is of two neighbouring runs; the median of all turns is
what counts. Where the serial time is a sum, it is a sum of measured parts.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import steelyard as sy
from steelyard.instrument.process import spawned
from steelyard.instrument.settings import Settings

ITEMS = 48
ANSWER_S = 0.1
SERVER = Settings(ttft_ms=50, itl_ms=50, tokens=2)
MODELS = 3
CONCURRENCY = 8
COMPUTED = 400
EACH = f"{ITEMS} items of {1000 * ANSWER_S:.0f} ms"


@dataclass(frozen=True, kw_only=True)
class Case:
    """``together`` and ``apart`` do the same work and return seconds; ``ideal`` is the ratio of the waiting alone."""

    name: str
    setting: str
    together: Callable[[str], float]
    apart: Callable[[str], float]
    ideal: float


def quiz(grade) -> sy.Benchmark:
    samples = [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="x") for i in range(ITEMS)]
    return sy.Benchmark(name="quiz", version="1", load=lambda selection: samples, grade=grade)


def at_once(sample, completion) -> bool:
    return True


def as_slow_as_the_model(sample, completion) -> bool:
    """A grader that waits for something else, as one does whose verdict comes from a sandbox or from a judge."""
    time.sleep(ANSWER_S)
    return True


def model(url: str, number: int = 0) -> sy.ModelSpec:
    return sy.ModelSpec(id=f"m{number}", provider="openai", model=f"m{number}", base_url=url)


def seconds(models, benchmark: sy.Benchmark, concurrency: int) -> float:
    """The wall time of one run, in a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = sy.run(models, [benchmark], concurrency=concurrency, store=Path(folder) / "store.db")
        taken_s = time.perf_counter() - started
        assert run.status == "done"
    return taken_s


def models_together(url: str) -> float:
    return seconds([model(url, number) for number in range(MODELS)], quiz(at_once), 2)


def models_apart(url: str) -> float:
    return sum(seconds([model(url, number)], quiz(at_once), 2) for number in range(MODELS))


def stages_together(url: str) -> float:
    return seconds([model(url)], quiz(as_slow_as_the_model), 1)


def stages_apart(url: str) -> float:
    generating_s = seconds([model(url)], quiz(at_once), 1)
    started = time.perf_counter()
    for number in range(ITEMS):
        as_slow_as_the_model(number, None)
    return generating_s + time.perf_counter() - started


def requests_together(url: str) -> float:
    return seconds([model(url)], quiz(at_once), CONCURRENCY)


def requests_apart(url: str) -> float:
    return seconds([model(url)], quiz(at_once), 1)


COMPUTES = """
def answer(prompt):
    return str(sum(number * number for number in range(400_000)) and "x")
"""


def computed_by(workers: int) -> float:
    """The wall time of a run of a function that computes, which the interpreter lock keeps to one core a process."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "computing.py").write_text(COMPUTES)
        rows = [json.dumps({"id": f"q{i}", "question": f"q{i}", "answer": "x"}) for i in range(COMPUTED)]
        (Path(folder) / "quiz.jsonl").write_text("\n".join(rows) + "\n")
        before, sys.path[:] = list(sys.path), [folder, *sys.path]
        started = time.perf_counter()
        quiz_file = str(Path(folder) / "quiz.jsonl")
        run = sy.run(["python:computing:answer"], [quiz_file], workers=workers, store=Path(folder) / "store.db")
        taken_s = time.perf_counter() - started
        sys.path[:] = before
        assert run.status == "done"
    return taken_s


CASES = (
    Case(
        name="models",
        setting=f"{MODELS} models in one run, against {MODELS} runs of one; 2 requests in flight per model; {EACH}",
        together=models_together,
        apart=models_apart,
        ideal=1 / MODELS,
    ),
    Case(
        name="stages",
        setting=f"grading as slow as answering, 1 at a time each, against the answers and then the grades; {EACH}",
        together=stages_together,
        apart=stages_apart,
        ideal=1 / 2,
    ),
    Case(
        name="requests",
        setting=f"{CONCURRENCY} requests in flight, against 1; {EACH}",
        together=requests_together,
        apart=requests_apart,
        ideal=1 / CONCURRENCY,
    ),
    Case(
        name="workers",
        setting=f"{COMPUTED} items of a Python function, split over 2 workers or given to 1; their start included",
        together=lambda url: computed_by(2),
        apart=lambda url: computed_by(1),
        ideal=1 / 2,
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=[case.name for case in CASES])
    parser.add_argument(
        "--at-most", type=float, help="exit 1 where a ratio is above its ideal by more than this factor"
    )
    parsed = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    missed = False
    with spawned(SERVER) as url:
        requests_together(url)  # imports are paid before the clock runs
        for case in CASES:
            if parsed.only in (None, case.name):
                result = measured(case, url, parsed.turns)
                print(json.dumps(result), flush=True)
                missed |= parsed.at_most is not None and result["ratio"] > parsed.at_most * case.ideal
    return int(missed)


def measured(case: Case, url: str, turns: int) -> dict:
    pairs = [(case.together(url), case.apart(url)) for _ in range(turns)]
    ratios = sorted(together_s / apart_s for together_s, apart_s in pairs)
    return {
        "case": case.name,
        "setting": case.setting,
        "together_s": round(statistics.median(together_s for together_s, _ in pairs), 3),
        "apart_s": round(statistics.median(apart_s for _, apart_s in pairs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ideal": round(case.ideal, 3),
    }


if __name__ == "__main__":
    sys.exit(main())

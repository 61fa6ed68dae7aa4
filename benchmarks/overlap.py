"""What runs at the same time: grading beside generating, and one model beside another.

Each case is timed against the sum of its parts, which is what doing one after the other would take.
"""

import sys
import tempfile
import time
from pathlib import Path

import steelyard as sy

ITEMS = 80
STEP_S = 0.05
AT_MOST = 0.6


def quiz(grade):
    samples = [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="x") for i in range(ITEMS)]
    return sy.Benchmark(name="quiz", version="1", load=lambda selection: samples, grade=grade)


def slow_grade(sample, completion):
    time.sleep(STEP_S)
    return True


def quick_grade(sample, completion):
    return True


def seconds(models, benchmark) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        sy.run(models, [benchmark], store=Path(folder) / "store.db")
        return time.perf_counter() - started


def model(name: str) -> sy.Scripted:
    return sy.Scripted("x", delay_s=STEP_S, concurrency=1, name=name)


def main() -> int:
    seconds(["baseline/random"], "starter@letter")  # imports are paid before the clock runs
    serial_s = 2 * ITEMS * STEP_S
    cases = {
        "a grader as slow as its model": seconds([model("a")], quiz(slow_grade)),
        "two models side by side": seconds([model("a"), model("b")], quiz(quick_grade)),
    }
    for name, taken_s in cases.items():
        print(f"{name:32} {taken_s:5.2f} s   {taken_s / serial_s:4.2f} of one after the other")
    return int(max(cases.values()) / serial_s > AT_MOST)


if __name__ == "__main__":
    sys.exit(main())

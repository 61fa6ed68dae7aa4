"""Time to judge HumanEval's 164 canonical solutions in each sandbox that holds here; fails above 2 seconds.

Needs STEELYARD_DATA. Both ways of asking are timed: 32 graders at once, as in a run, and one after another.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.humaneval import LIMITS, program
from steelyard.sandbox import Sandbox, backends
from steelyard.sandbox.probe import self_test

AT_MOST_S = 2.0
GRADERS = 32


def main() -> int:
    samples = find_benchmark("humaneval").dataset(Selection()).samples
    programs = [program(sample, sample.target) for sample in samples]
    too_slow = False
    for recipe in backends.recipes():
        started = time.perf_counter()
        finding = self_test(recipe)
        tested_s = time.perf_counter() - started
        if finding.backend is None:
            print(f"{recipe.name:15} left out: {finding.problem}")
            continue
        together_s, right = together(Sandbox(recipe), programs)
        each_s = one_by_one(Sandbox(recipe, workers=1), programs)
        too_slow |= together_s > AT_MOST_S or right != len(programs)
        print(
            f"{recipe.name:15} self-test {tested_s:.2f} s   {right} of {len(programs)} pass in {together_s:.2f} s   "
            f"one by one: median {1000 * each_s[len(each_s) // 2]:.1f} ms, "
            f"p95 {1000 * each_s[int(0.95 * len(each_s))]:.1f} ms"
        )
    return int(too_slow)


def together(sandbox, programs):
    """Seconds from nothing started to the last verdict, and how many passed."""
    started = time.perf_counter()
    with ThreadPoolExecutor(GRADERS) as graders:
        verdicts = list(graders.map(lambda judged: sandbox.judge(judged, LIMITS), programs))
    seconds = time.perf_counter() - started
    sandbox.close()
    return seconds, sum(verdict.passed for verdict in verdicts)


def one_by_one(sandbox, programs):
    seconds = []
    for judged in programs:
        started = time.perf_counter()
        sandbox.judge(judged, LIMITS)
        seconds.append(time.perf_counter() - started)
    sandbox.close()
    return sorted(seconds)


if __name__ == "__main__":
    sys.exit(main())

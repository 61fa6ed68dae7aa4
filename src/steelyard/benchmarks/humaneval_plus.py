"""HumanEval+: HumanEval's 164 problems with some eighty times its tests (Liu et al. 2023, arXiv 2305.01210).

The rows have HumanEval's columns and are asked and judged by its protocols. Their tests hold floats against floats with
numpy, which is not in the sandbox; a few lines of Python stand in for the one function that they use.
"""

from __future__ import annotations

import msgspec

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Selection
from steelyard.benchmarks.humaneval import protocols, sample_of
from steelyard.sandbox import Limits
from steelyard.types import Sample

REVISION = "d32357cf319e50e9c8d8dab5ea876c72b0fd321b"
LIMITS = Limits(wall_s=20.0)  # for all inputs of a problem; EvalPlus allows each a second or more, and all of them 60

TEST = data.Source(
    name="humaneval-plus",
    folder_file="humaneval-plus/test.jsonl",
    hub_id="evalplus/humanevalplus",
    hub_file="data/test-00000-of-00001-5973903632b82d40.parquet",
    revision=REVISION,
    split="test",
    columns=("task_id", "prompt", "canonical_solution", "test", "entry_point"),
    rows=164,
    digest=None,
)

IMPORT = "import numpy as np"
# Held against numpy's own in the tests: |actual - desired| <= atol + rtol * |desired|, nan equals nan, inf itself.
STAND_IN = """
class np:
    float32, float64 = "float32", "float64"
    class ndarray:
        pass
    class testing:
        def assert_allclose(actual, desired, rtol=1e-07, atol=0):
            compare = np.testing.assert_allclose
            if isinstance(actual, (list, tuple)) and isinstance(desired, (list, tuple)):
                assert len(actual) == len(desired), f"{len(actual)} values, expected {len(desired)}"
                for one, other in zip(actual, desired):
                    compare(one, other, rtol, atol)
            elif isinstance(actual, (list, tuple)):
                for one in actual:
                    compare(one, desired, rtol, atol)
            elif isinstance(desired, (list, tuple)):
                for other in desired:
                    compare(actual, other, rtol, atol)
            elif actual != desired and not (actual != actual and desired != desired):
                near = abs(actual - desired) <= atol + rtol * abs(desired) < float("inf")
                assert near, f"{actual!r} is not close to {desired!r}"
"""
UNPACKED, PASSED = "_poly(*candidate(*inp), inp)", "_poly(*inp, candidate(*inp))"
MENDED = "mended-test"


def load(selection: Selection) -> Dataset:
    """The 164 problems in the file's order; the gold answer is the canonical solution."""
    fetched = data.fetch(TEST, selection.accept_digest)
    samples = tuple(_runnable(sample_of(row, "humaneval-plus")) for row in fetched.rows)
    return Dataset(samples=samples, id=TEST.hub_id, revision=REVISION, digest=fetched.digest)


def _runnable(sample: Sample) -> Sample:
    """The sample with a test that runs here. One, of ``find_zero``, fails for every answer and is put right.

    It unpacks the number that the answer returns; what is meant is the polynomial's value there.
    """
    test = sample.metadata["test"].replace(IMPORT, STAND_IN, 1)
    flags = (MENDED,) if UNPACKED in test else ()
    metadata = sample.metadata | {"test": test.replace(UNPACKED, PASSED)}
    return msgspec.structs.replace(sample, metadata=metadata, flags=flags)


HUMANEVAL_PLUS = Benchmark(
    name="humaneval-plus",
    version="1",
    load=load,
    protocols=protocols(LIMITS),
    defaults={"": "simple-evals"},
    description="HumanEval's functions, judged by EvalPlus's many more tests in a sandbox",
    items=TEST.rows,
    licence="Apache-2.0",
    source=TEST.hub_id,
    revision=REVISION,
    is_verified=False,
    notes=(
        "humaneval-plus/32: the published test raises for every answer; it is mended here and flagged, so that the "
        "score without it stands beside.",
    ),
)

"""Questions per second by exact log-likelihood on the local model: short questions, and behind a few-shot prefix."""

import sys
import tempfile
from pathlib import Path

import steelyard as sy

SHOTS_ITEMS = 24


def questions_per_second(benchmark, limit=None) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        run = sy.run(["local/smollm2-135m"], [benchmark], limit=limit, store=Path(folder) / "store.db")
        return run.estimate("requests_per_second").value or 0.0, run.estimate("accuracy").value or 0.0


def with_prefix(selection):
    """The same questions, each behind some 1,500 tokens that all share."""
    samples = sy.load_dataset("starter")
    prefix = "".join(
        f"Question: {sample.input}\nAnswer: {sample.choices[int(sample.target)]}\n\n" for sample in samples[:80]
    )
    return [
        sy.Sample(id=s.id, input=prefix + "Question: " + s.input, target=s.target, choices=s.choices)
        for s in samples[80 : 80 + SHOTS_ITEMS]
    ]


def main() -> int:
    from steelyard.benchmarks.protocols import cloze

    few_shot = sy.Benchmark(name="few-shot", version="1", load=with_prefix, protocols=(cloze(),))
    for name, benchmark in {"starter@cloze": "starter@cloze", "the same behind 1,500 tokens": few_shot}.items():
        rate, accuracy = questions_per_second(benchmark)
        print(f"{name:30} {rate:5.2f} questions/s   accuracy {100 * accuracy:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())

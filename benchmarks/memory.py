"""What 100,000 items weigh: peak memory of a run and its growth over 2,000 items; bytes an item in the store.

Each run is a process of its own. An item is an exchange of about 1.5 kB: a question and an answer of 750 characters
each, put together from 4,000 words whose frequencies are those of a natural language. With ``--show``, a store is made
of a million records (rows copied from the small run), and ``steelyard show`` is timed over it. With ``--mmlu`` texts
are questions of MMLU, drawn anew for each and put together: 10,000 items, of which only the bytes are measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SMALL, LARGE, RECORDS, NATURAL = 2_000, 100_000, 1_000_000, 10_000
AT_MOST_MB, AT_MOST_GROWTH_MB, AT_MOST_BYTES, AT_MOST_SHOW_S = 200.0, 60.0, 1_000.0, 3.0
WORDS, CHARACTERS = 4_000, 750

RUN = """
import json, random, resource, sys, time
import steelyard as sy
from memory import texts

def reply(request):
    question = request.prompt.messages[-1].content
    return next(texts(random.Random(question), sys.argv[3])) + "\\nAnswer: 7"

started = time.perf_counter()
model = sy.Scripted(reply, concurrency=64)
run = sy.run([model], [sys.argv[1]], store=sys.argv[2], on_message=lambda _: None)
seconds = time.perf_counter() - started
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
print(json.dumps({"accuracy": run.estimate("accuracy").value, "peak_mb": peak_mb, "seconds": seconds}))
"""


def texts(generator: random.Random, source: str = "words") -> Iterator[str]:
    """Texts of the length that is wanted, without end."""
    if source == "mmlu":
        while True:
            yield " ".join(generator.choices(questions_of_mmlu(), k=CHARACTERS // 10))[:CHARACTERS]
    words, weights = vocabulary()
    while True:
        yield " ".join(generator.choices(words, cum_weights=weights, k=CHARACTERS // 4))[:CHARACTERS]


@cache
def vocabulary() -> tuple[list[str], list[float]]:
    """Words, the common ones short, and how often up to each of them."""
    letters = random.Random(0)
    sizes = (2 + min(8, rank.bit_length() // 2 + letters.randint(0, 2)) for rank in range(WORDS))
    words = ["".join(letters.choices("etaoinshrdlucm", k=size)) for size in sizes]
    return words, list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))


@cache
def questions_of_mmlu() -> list[str]:
    """What MMLU asks, without the choices."""
    from steelyard import load_dataset

    return [str(sample.input) for sample in load_dataset("mmlu")]


def write_questions(file: Path, items: int, source: str) -> None:
    """The benchmark: as many questions, all of them different, whose answer is 7."""
    questions = itertools.islice(texts(random.Random(1), source), items)
    with file.open("w") as lines:  # one by one: a child's peak begins at what its parent weighed
        lines.writelines(json.dumps({"question": question, "answer": 7}) + "\n" for question in questions)
    file.with_suffix(".yaml").write_text(f"benchmark: memory\ndata: {file.name}\ngrader: number\n")


def measure(folder: Path, items: int, source: str = "words") -> dict[str, float]:
    """One run: its peak memory, its time, and what it left on the disk."""
    file, store = folder / f"{items}.jsonl", folder / f"{items}.db"
    write_questions(file, items, source)
    command = [sys.executable, "-c", RUN, str(file.with_suffix(".yaml")), str(store), source]
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    assert found["accuracy"] == 1.0
    found["bytes_per_item"] = store.stat().st_size / items
    return found


def multiply(store: Path, rows: int, times: int) -> None:
    """Make the run of so many rows one in which each item was asked so often, by copying rows."""
    connection = sqlite3.connect(store)
    for table, own in (("calls", {"id": "id + :shift", "repeat": ":copy"}), ("scores", {"id": "id + (:shift << 16)"})):
        names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(own.get(name, name) for name in names)
        which = "id" if table == "calls" else "call"
        copying = f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE {which} <= {rows}"
        for copy in range(1, times):
            connection.execute(copying, {"shift": copy * rows, "copy": copy})
    connection.commit()
    connection.close()


def show(folder: Path) -> float:
    """Seconds that ``steelyard show`` takes over a store of a million records, the median of five."""
    store = folder / f"{SMALL}.db"
    multiply(store, SMALL, RECORDS // SMALL)
    steelyard = [sys.executable, "-m", "steelyard"]
    tested = [*steelyard, "report", "last", "--markdown", str(folder / "r.md"), "--store", str(store)]
    subprocess.run(tested, capture_output=True, check=True)  # a run of so many keeps at its end what they show
    command = [*steelyard, "show", "--store", str(store)]
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> int:
    """Measure, print, and fail where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="also time `steelyard show` over a million records")
    parser.add_argument("--mmlu", action="store_true", help="only measure the bytes of natural text")
    options = parser.parse_args()
    if options.mmlu:
        with tempfile.TemporaryDirectory() as name:
            size = measure(Path(name), NATURAL, "mmlu")["bytes_per_item"]
        print(f"{NATURAL:>9,} items of natural text   {size:5.0f} B an item")
        return int(size > AT_MOST_BYTES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = (measure(folder, items) for items in (SMALL, LARGE))
        for items, found in ((SMALL, small), (LARGE, large)):
            rate, size = items / found["seconds"], found["bytes_per_item"]
            print(f"{items:>9,} items   peak {found['peak_mb']:6.1f} MB   {rate:6,.0f} items/s  {size:5.0f} B an item")
        growth_mb = large["peak_mb"] - small["peak_mb"]
        print(f"growth {growth_mb:.1f} MB")
        taken_s = show(folder) if options.show else 0.0
        if options.show:
            print(f"show {taken_s:.2f} s")
    broken = (
        large["peak_mb"] > AT_MOST_MB,
        growth_mb > AT_MOST_GROWTH_MB,
        large["bytes_per_item"] > AT_MOST_BYTES,
        taken_s > AT_MOST_SHOW_S,
    )
    return int(any(broken))


if __name__ == "__main__":
    sys.exit(main())

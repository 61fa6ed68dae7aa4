"""How long `steelyard --help`, `import steelyard` and a whole run of one item take, beside a bare start of Python.

The four run in turn, so that a drifting machine moves them together; ratios are taken turn by turn. The run is all that
a user waits for: a process of its own, a question from a file, a local endpoint that answers at once, a durable store,
the summary and its intervals, the table.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROUNDS = 25
AT_MOST = 5.0
RUN_AT_MOST_S = 0.7
SCRIPT = str(Path(sys.executable).with_name("steelyard"))
BARE, HELP, RUN = "python -c pass", "steelyard --help", "steelyard run"
COMMANDS = {
    BARE: [sys.executable, "-c", "pass"],
    "import steelyard": [sys.executable, "-c", "import steelyard"],
    HELP: [SCRIPT, "--help"],
}
ITEM = '{"question": "What is 2 + 2?", "answer": "4"}\n'


@contextmanager
def one_item(folder: Path) -> Iterator[list[str]]:
    """The command that runs one item, while an endpoint stands that answers at once."""
    (folder / "own.jsonl").write_text(ITEM)
    mock = [SCRIPT, "mock", "--ttft-ms", "0", "--itl-ms", "0", "--tokens", "8"]
    with subprocess.Popen(mock, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
        store = ["--store", str(folder / "steelyard.db"), "--fresh"]
        try:
            yield [SCRIPT, "run", str(folder / "own.jsonl"), "-m", "openai/mock", "--base-url", url, *store]
        finally:
            server.terminate()


def seconds(command: list[str]) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["OPENAI_API_KEY"] = "none-is-needed"
    started = time.perf_counter()
    subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=True,
        env=environment,
    )
    return time.perf_counter() - started


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, one_item(Path(folder)) as run:
        commands = COMMANDS | {RUN: run}
        for command in commands.values():
            seconds(command)
        turns = [{name: seconds(command) for name, command in commands.items()} for _ in range(ROUNDS)]
    too_slow = False
    for name in commands:
        median_s = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn[BARE] for turn in turns)
        too_slow |= median_s > RUN_AT_MOST_S if name == RUN else ratio > AT_MOST
        print(f"{name:20} {1000 * median_s:6.1f} ms   {ratio:5.2f} x a bare start")
    return int(too_slow)


if __name__ == "__main__":
    sys.exit(main())

"""How long `steelyard --help` and `import steelyard` take, beside a bare start of the same interpreter.

The three run in turn, so that a drifting machine moves them together; ratios are taken turn by turn.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 25
AT_MOST = 5.0
SCRIPT = Path(sys.executable).with_name("steelyard")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import steelyard": [sys.executable, "-c", "import steelyard"],
    "steelyard --help": [str(SCRIPT), "--help"],
}


def seconds(command: list[str]) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return time.perf_counter() - started


def main() -> int:
    for command in COMMANDS.values():
        seconds(command)
    turns = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(ROUNDS)]
    too_slow = False
    for name in COMMANDS:
        median_ms = 1000 * statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn["python -c pass"] for turn in turns)
        too_slow |= ratio > AT_MOST
        print(f"{name:20} {median_ms:6.1f} ms   {ratio:4.2f} x a bare start")
    return int(too_slow)


if __name__ == "__main__":
    sys.exit(main())

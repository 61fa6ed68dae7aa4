"""What a large run shows, tested and kept with it by a process of its own.

Testing takes half as much memory again as the run did, which is not to be the peak of whoever asked for the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from steelyard.errors import SteelyardError
from steelyard.store import Store
from steelyard.types import RunInfo


def keep_by_a_process(store: Store, run: RunInfo) -> None:
    """Start the process and wait for it. Where it cannot do it, nothing is kept."""
    command = [sys.executable, "-P", "-m", "steelyard.report.keeping", str(run.number)]
    where = os.environ | {"STEELYARD_STORE": store.address}  # not a word of the command: it may hold a password
    with suppress(OSError):
        subprocess.run(command, env=where, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - our own module


def main(run: str) -> int:
    """Test a run of ``STEELYARD_STORE`` and keep what it shows."""
    from steelyard.report.short import keep_found  # not loaded by whoever starts the process

    try:
        with Store.open(create=False) as store:
            keep_found(store, store.run(run))
    except SteelyardError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

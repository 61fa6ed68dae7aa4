"""What a large run of ``STEELYARD_STORE`` shows, tested and kept with it, by a process of its own.

Testing takes half as much memory again as the run did, which is not to be the peak of whoever asked for the run.
"""

from __future__ import annotations

import sys

from steelyard.errors import SteelyardError
from steelyard.report.short import keep_found
from steelyard.store import Store


def main(run: str) -> int:
    """Test the run and keep what it shows."""
    try:
        with Store.open(create=False) as store:
            keep_found(store, store.run(run))
    except SteelyardError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

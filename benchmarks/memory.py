"""Peak memory of a run of 2,000 and of 50,000 items, each in a process of its own: the pipeline must not grow."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = (2_000, 50_000)
AT_MOST_MB = 20.0
RUN = """
import json, sys, time
import steelyard as sy

started = time.perf_counter()
run = sy.run([sy.Scripted("42", concurrency=64)], ["starter:arithmetic"], limit=int(sys.argv[1]), store=sys.argv[2])
seconds = time.perf_counter() - started
import resource
whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
print(json.dumps({"n": run.estimate("accuracy").n, "peak_mb": whole, "seconds": seconds}))
"""


def measure(items: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.db"
        command = [sys.executable, "-c", RUN, str(items), str(store)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        found["bytes_per_item"] = sum(path.stat().st_size for path in Path(folder).iterdir()) / items
    return found


def main() -> int:
    results = [measure(items) for items in SIZES]
    for found in results:
        rate = found["n"] / found["seconds"]
        stored = f"{found['bytes_per_item']:5.0f} bytes an item in the store"
        print(f"{found['n']:>7,} items   peak {found['peak_mb']:6.1f} MB   {rate:7,.0f} items/s   {stored}")
    growth_mb = results[1]["peak_mb"] - results[0]["peak_mb"]
    print(f"growth  {growth_mb:.1f} MB")
    return int(growth_mb > AT_MOST_MB)


if __name__ == "__main__":
    sys.exit(main())

"""Every benchmark of ours follows what it measures when that changes: whatever it imports is there."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(script.stem for script in FOLDER.glob("*.py"))


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_can_be_loaded(script):
    loaded = subprocess.run([sys.executable, "-c", f"import {script}"], cwd=FOLDER, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout == ""

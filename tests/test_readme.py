"""The README's commands run as they stand, and its Python runs too."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.model, pytest.mark.data]

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    command
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.S)
    for command in re.findall(r"^\$ (.*)$", block, re.M)
]
STEELYARD = [command for command in COMMANDS if command.startswith("steelyard ")]
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture
def as_a_reader(data_folder, monkeypatch):
    """A folder with the examples and the README's own function in ``my_app.py``, and a key that is never used.

    Where ``make demo`` was typed before, as the README has it, its answers are there too.
    """
    shutil.copytree(ROOT / "examples", "examples")
    if (demo := ROOT / ".steelyard").is_dir():
        shutil.copytree(demo, ".steelyard")
    function = re.search(r"^def answer.*?\n\n", PYTHON[0], re.S | re.M)
    Path("my_app.py").write_text(function.group(0))
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "unused")
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def test_every_command_is_known():
    other = [command for command in COMMANDS if not command.startswith(("steelyard ", "git ", "make demo", "head "))]
    assert len(STEELYARD) > 12
    assert other == []


def test_what_the_readme_types_runs_one_after_another(as_a_reader):
    for command in STEELYARD:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout, command
    for code in PYTHON:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        assert "accuracy" in done.stdout

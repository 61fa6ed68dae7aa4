"""The examples run as they stand, and what the README and the docs say is what the code does."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(("name", "model"), [("own_benchmark.py", "my_pipeline"), ("own_provider.py", "parrot")])
def test_an_example_runs_and_prints_its_table(name, model, capsys):
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert f"\n{model} " in capsys.readouterr().out


def test_the_questions_of_the_example_can_be_asked(capsys):
    from steelyard.cli import main

    shutil.copy(EXAMPLES / "my_cases.jsonl", ".")
    assert main(["run", "my_cases.jsonl@contains", "-m", "baseline/majority", "--quiet"]) == 0
    assert "my_cases@contains" in capsys.readouterr().out


def test_the_public_names_are_sorted_and_all_there():
    import steelyard

    assert steelyard.__all__ == sorted(steelyard.__all__)
    for name in steelyard.__all__:
        assert getattr(steelyard, name) is not None
    assert steelyard.__version__.startswith("0.")


def test_every_exported_function_is_documented():
    import steelyard

    assert [name for name in steelyard.__all__ if not getattr(steelyard, name).__doc__] == []


def test_links_in_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"

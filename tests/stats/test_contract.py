"""What holds of every function: keywords only, named fields, a source or a meaning, and nothing loaded before use."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import steelyard.stats as stats

NOT_ESTIMATES = {"t_quantile", "margin_verdict"}


@pytest.mark.parametrize("name", [name for name in stats.__all__ if name != "t_quantile"])
def test_a_function_takes_keywords_and_says_what_it_means(name):
    function = getattr(stats, name)
    assert {one.kind for one in inspect.signature(function).parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert function.__doc__


@pytest.mark.parametrize("name", [name for name in stats.__all__ if name not in NOT_ESTIMATES])
def test_a_result_has_named_fields_that_cannot_be_changed(name):
    function = getattr(stats, name)
    result = getattr(inspect.getmodule(function), function.__annotations__["return"])
    assert issubclass(result, msgspec.Struct)
    assert result.__struct_config__.frozen


def test_what_the_type_checker_sees_is_what_is_there():
    tree = ast.parse(Path(stats.__file__).read_text("utf-8"))
    imported = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("steelyard.stats.")
        for alias in node.names
    }
    assert imported == {(stats._HOME_OF[name], name) for name in stats.__all__}


def test_numbers_are_loaded_only_once_a_function_is_asked_for():
    code = "import sys, steelyard.stats; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_no_function_needs_the_heavy_parts_of_scipy():
    code = "import sys, steelyard.stats as s; [getattr(s, n) for n in s.__all__]; print('scipy.stats' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_every_function_says_what_it_is_without_the_page_it_stands_on():
    for name in stats.__all__:
        text = getattr(stats, name).__doc__ or ""
        assert len(text) > 25, name
        assert not text.startswith("The same"), name
        assert "sequence above" not in text, name

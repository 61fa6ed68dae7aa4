"""Code as the answer: right when its test, run in the sandbox, comes to its end."""

from __future__ import annotations

import ast
import builtins
import re

from steelyard import sandbox
from steelyard.sandbox import Limits, Program, Verdict
from steelyard.types import Score


def grade(program: Program, limits: Limits, answer: str | None) -> Score:
    """Run the program's test. ``answer`` is the code as extracted; ``None`` says that the reply held none.

    A fault of the sandbox leaves the answer unscored: it says nothing of the code.
    """
    verdict = sandbox.judge(program, limits)
    if verdict.outcome == "fault":
        return Score(value=None, answer=answer, reason=f"not scored: {verdict.reason}")
    return Score(value=float(verdict.passed), answer=answer, reason=_reason(verdict))


_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def written(reply: str, entry_point: str) -> str | None:
    """The code in a reply: its last fenced block that defines ``entry_point``, else its last one, else all of it."""
    blocks = [block for block in _FENCED.findall(reply) if block.strip()] or [reply]
    defining = [block for block in blocks if defines(block, entry_point)]
    found = (defining or blocks)[-1]
    return found if found.strip() else None


def defines(text: str, name: str) -> bool:
    """Whether the text defines or assigns ``name`` at the start of a line; it need not be well-formed."""
    return re.search(rf"^(?:(?:async )?def|class) {re.escape(name)}\b|^{re.escape(name)}\s*=", text, re.M) is not None


def called_by(test: str) -> list[str]:
    """The functions that a test calls and does not define itself, in order; ``SyntaxError`` where it is no Python."""
    tree = ast.parse(test)
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {
        name.asname or name.name
        for node in ast.walk(tree)
        for name in getattr(node, "names", ())
        if isinstance(name, ast.alias)
    }
    return [name for name in dict.fromkeys(calls) if name not in own and not hasattr(builtins, name)]


def is_checked_by_a_function(test: str) -> bool:
    """Whether a test is a function ``check(candidate)`` that nobody has called yet, as HumanEval's are."""
    tree = ast.parse(test)
    defined = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    return defined and not any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for node in ast.walk(tree)
    )


def ready() -> None:
    """Raise ``EnvironmentFault`` where no sandbox holds on this machine."""
    sandbox.choose()


def _reason(verdict: Verdict) -> str | None:
    backend = sandbox.chosen()
    unsafe = "run without a sandbox" if backend is not None and backend.is_unsafe else ""
    told = "" if verdict.passed else f"{verdict.outcome.replace('_', ' ')}: {verdict.reason or 'no reason given'}"
    return "; ".join(filter(None, (told, unsafe))) or None

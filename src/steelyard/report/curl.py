"""A request as a ``curl`` command that a POSIX shell reads as it is meant, whatever its texts hold."""

from __future__ import annotations

import shlex

from steelyard.report.unseen import harmless_json, visible_json
from steelyard.types import WireRequest

END = "JSON"
"""The line behind the body. None within it is the same: the body is one line, which begins with a bracket."""


def curl_command(request: WireRequest) -> str:
    """The command that sends the request; a key is read by the shell, from the variable that holds it.

    The body is its standard input: a long prompt is longer than an argument may be.
    """
    words = ["curl --no-buffer --globoff", shlex.quote(request.url)]
    words += [f"-H {_quoted(f'{name}: {value}', request.key_variable)}" for name, value in request.headers.items()]
    words.append(f"--data-binary @- <<'{END}'")
    return " \\\n  ".join(words) + f"\n{harmless_json(visible_json(request.body))}\n{END}"


def _quoted(header: str, variable: str | None) -> str:
    """A header as one word. That with the key has no text but ours before the variable, which a shell is to read."""
    has_key = variable is not None and header.endswith(f"${variable}")
    return f'"{header}"' if has_key else shlex.quote(header)

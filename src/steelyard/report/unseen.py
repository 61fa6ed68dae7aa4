"""What cannot be seen in a text, or turns the order in which it is read, written out.

Names come from other people's data, services and files as much as answers do: one mark that turns the reading order
rewrites the sentence around it, and one escape the terminal. So pages, charts and tables show every text through here.
"""

from __future__ import annotations

import json
import re
from typing import Any

_MARKS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
_UNSEEN = re.compile(f"[{_MARKS}]")
_PASSED_OVER = f"{_MARKS}\ufe00-\ufe0f"
"""What a runner that compares texts as its culture does takes for nothing between two characters."""
_BLANK = f"{_PASSED_OVER} \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_COMMAND = re.compile(
    f"^(?=[{_BLANK}]*:[{_PASSED_OVER}]*:)|#(?=[{_PASSED_OVER}]*#[{_PASSED_OVER}]*(?:vso|teamcity)?\\[)",
    re.MULTILINE,
)


def visible(text: str) -> str:
    """The text with what cannot be seen, or turns the reading order, written out."""
    return _UNSEEN.sub(_written_out, text.replace("\r\n", "\n"))


def visible_json(document: str) -> str:
    """A JSON document of the same value, with what cannot be seen written out as JSON does it, for any screen."""
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], document)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def harmless(text: str) -> str:
    """The text without what a CI service would obey in a log: a line that begins with ``::``, and ``##[`` anywhere.

    GitHub's runner passes over blanks before the one, and looks for the other within lines (actions/runner,
    ``ActionCommand.cs``); Azure's reads ``##vso[``, TeamCity ``##teamcity[``.
    """
    return _COMMAND.sub(lambda found: f"{found[0]} " if found[0] else "| ", text)


def harmless_json(document: str) -> str:
    """A JSON document of the same value without ``##[``; none of its lines begins with ``::``."""
    return _COMMAND.sub(r"\\u0023", document)


def on_one_line(text: str) -> str:
    """A foreign name within a sentence of ours: visible, and no line begins with any of it."""
    return harmless(" ".join(visible(text).split()))


def cut(text: str, most: int) -> str:
    """A long text without its middle, and how much that was."""
    if len(text) <= most:
        return text
    head, tail = most // 3, most - most // 3
    return f"{text[:head]}\n[... {len(text) - most:,} characters left out ...]\n{text[-tail:]}"


def as_shown(value: Any) -> Any:
    """What a template puts on a page: every text made visible, but for markup of our own (Jinja's ``finalize``)."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def exact(value: object) -> str:
    """A value of a form, which must come back as it was: escaped, with what cannot be seen still in it."""
    from markupsafe import escape

    return escape(str(value))

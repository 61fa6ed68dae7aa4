"""A number as the answer: how it is read from a reply and compared.

Numbers are compared as decimals, so 1,000 equals 1000 and 2.50 equals 2.5; nothing is rounded.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from steelyard.types import Score

_NUMBER = re.compile(r"[-−]?[$€£]?\d[\d,]*(?:\.\d+)?|[-−]?[$€£]?\.\d+")  # noqa: RUF001
_MARK = re.compile(r"####|(?i:answer\s*(?:is)?\s*:)|(?i:\banswer is\b)|(?m:^\s*A:)")
_HASHES = re.compile(r"####\s*([-−]?[$€£]?\d[\d,]*(?:\.\d+)?)")  # noqa: RUF001
_BOXED = re.compile(r"\\boxed\{\s*([^{}]*)\}")


def final_number(reply: str) -> str | None:
    """The last number after the last mark (``####``, ``Answer:``, ``A:``, ``answer is``, a box), else of the reply."""
    boxed = _BOXED.findall(reply)
    if boxed and (inside := _NUMBER.findall(boxed[-1])):
        return str(inside[-1])
    marks = list(_MARK.finditer(reply))
    if marks and (after := _NUMBER.findall(reply[marks[-1].end() :])):
        return str(after[-1])
    everywhere = _NUMBER.findall(reply)
    return str(everywhere[-1]) if everywhere else None


def marked_number(reply: str) -> str | None:
    """The number after the first ``####``, as the authors of GSM8K write it."""
    match = _HASHES.search(reply)
    return match.group(1) if match else None


def as_decimal(text: str) -> Decimal | None:
    """``-$1,234.50`` as the decimal -1234.50; ``None`` where it is no number."""
    plain = re.sub(r"[$€£,\s]", "", text).replace("−", "-").rstrip(".")  # noqa: RUF001
    try:
        value = Decimal(plain)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def grade(target: str, answer: str | None) -> Score:
    """1 where the answer is the same number as the target."""
    if answer is None:
        return Score(value=0.0, answer=None, reason="no number found")
    found, wanted = as_decimal(answer), as_decimal(target)
    return Score(value=float(found is not None and found == wanted), answer=answer)

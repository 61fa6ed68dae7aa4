"""A number as the answer: how it is read from a reply and compared.

Numbers are compared as decimals, so 1,000 equals 1000, 2.50 equals 2.5 and 1/2 equals 0.5; nothing is rounded. A
comma separates thousands and a full stop decimals, as in English; 1.234,5 is therefore read as two numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from steelyard.scoring.reply import last_box, visible
from steelyard.types import Score

# A sign, a currency, digits with separators (a comma, or a narrow or no-break space before three digits), decimals, and
# what a fraction is divided by.
_DIGITS = r"\d[\d,]*(?:[\u00a0\u202f\u2009]\d{3}(?!\d))*(?:\.\d+)?"
_NUMBER = re.compile(rf"[-−]?[$€£]?(?:{_DIGITS}|\.\d+)(?:/\d+)?")  # noqa: RUF001
_MARK = re.compile(r"####|(?i:answer\s{0,9}(?:is\s{0,9})?:)|(?i:\banswer is\b)|(?m:^\s{0,9}A:)")
_HASHES = re.compile(r"####\s{0,9}([-−]?[$€£]?\d[\d,]*(?:\.\d+)?)")  # noqa: RUF001
_FRACTION = re.compile(r"\\d?frac\{\s*(-?\d+)\s*\}\{\s*(\d+)\s*\}")


def final_number(reply: str) -> str | None:
    """The last number after the last mark (``####``, ``Answer:``, ``A:``, ``answer is``, a box), else of the reply."""
    text = visible(reply)
    box = last_box(text)
    if box is not None and (inside := _numbers(box)):
        return inside[-1]
    ends = [mark.end() for mark in _MARK.finditer(text)]
    if ends and (after := _numbers(text[ends[-1] :])):
        return after[-1]
    everywhere = _numbers(text)
    return everywhere[-1] if everywhere else None


def marked_number(reply: str) -> str | None:
    """The number after the first ``####``, as the authors of GSM8K write it."""
    match = _HASHES.search(reply)
    return match.group(1) if match else None


def _numbers(text: str) -> list[str]:
    return _NUMBER.findall(_FRACTION.sub(r"\1/\2", text))


def as_decimal(text: str) -> Decimal | None:
    """``-$1,234.50`` as the decimal -1234.50, ``3/4`` as 0.75; ``None`` where it is no number."""
    plain = re.sub(r"[$€£,\s]", "", text).replace("−", "-").rstrip(".")  # noqa: RUF001
    above, slash, below = plain.partition("/")
    try:
        value = Decimal(above) / Decimal(below) if slash else Decimal(above)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return value if value.is_finite() else None


def grade(target: str, answer: str | None) -> Score:
    """1 where the answer is the same number as the target."""
    if answer is None:
        return Score(value=0.0, answer=None, reason="no number found")
    found, wanted = as_decimal(answer), as_decimal(target)
    return Score(value=float(found is not None and found == wanted), answer=answer)

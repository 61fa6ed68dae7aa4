"""A number as the answer: how it is read from a reply and compared.

Numbers are compared as decimals, so 1,000 equals 1000, 2.50 equals 2.5 and 1/2 equals 0.5; nothing is rounded. A
comma separates thousands and a full stop decimals, as in English; 1.234,5 is therefore read as two numbers. Digits of
every script count, with the Arabic separators. A per cent sign and a unit are not part of the number: 50 % is 50.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from steelyard.scoring.reply import last_box, visible
from steelyard.types import Score

# A sign, a currency, digits with separators (a comma, or a narrow or no-break space before three digits), decimals, and
# what a fraction is divided by.
_DIGITS = r"\d[\d,\u066c]*(?:[\u00a0\u202f\u2009]\d{3}(?!\d))*(?:[.\u066b]\d+)?"
_NUMBER = re.compile(rf"[-−]?[$€£]?(?:{_DIGITS}|\.\d+)(?:/\d+)?")  # noqa: RUF001
_DIGIT = re.compile(r"\d")
_RUN = re.compile(r"[\d,./$€£−\-\u066b\u066c\u00a0\u202f\u2009]+")  # noqa: RUF001 - all that can stand inside a number
# Each pattern begins with a letter that is searched for fast: a reply may have ten megabytes.
_MARKS = (
    re.compile(r"####"),
    re.compile(r"[Aa][Nn][Ss][Ww][Ee][Rr](?:\s{0,9}(?:[Ii][Ss]\s{0,9})?:|(?<=\b[Aa][Nn][Ss][Ww][Ee][Rr]) [Ii][Ss]\b)"),
    re.compile(r"(?m:^[^\S\n]{0,9}A:)"),
)
_HASHES = re.compile(r"####\s{0,9}([-−]?[$€£]?\d[\d,]*(?:\.\d+)?)")  # noqa: RUF001
_FRACTION = re.compile(r"(?:(?<!\d)(\d{1,99}))?\\[dt]?frac\{\s{0,9}(-?\d{1,99})\s{0,9}\}\{\s{0,9}(\d{1,99})\s{0,9}\}")
_PLAIN = str.maketrans({"$": None, "€": None, "£": None, ",": None, "\u066c": None, "\u066b": ".", "−": "-"})  # noqa: RUF001
_AROUND = 300  # characters beside a number in which the rest of its \frac{...}{...} may stand


def final_number(reply: str) -> str | None:
    """The last number after the last mark (``####``, ``Answer:``, ``A:``, ``answer is``, a box), else of the reply."""
    text = visible(reply)
    box = last_box(text)
    if box is not None and (inside := _last_number(box)):
        return inside
    end = max(_last_end(mark, text) for mark in _MARKS)
    after = _last_number(text[end:]) if end else None
    return after or _last_number(text)


def marked_number(reply: str) -> str | None:
    """The number after the first ``####``, as the authors of GSM8K write it."""
    match = _HASHES.search(reply)
    return match.group(1) if match else None


def _last_end(mark: re.Pattern[str], text: str) -> int:
    end = 0
    for found in mark.finditer(text):
        end = found.end()
    return end


def _last_number(text: str) -> str | None:
    """The last number, looked for from the end: only the surroundings of the last digit are read closely."""
    backwards = text[::-1]
    last = _DIGIT.search(backwards)
    if last is None:
        return None
    run = _RUN.match(backwards, last.start())
    assert run is not None
    end = len(text) - last.start()
    near = text[max(0, end - len(run.group()) - _AROUND) : end + _AROUND]
    found: list[str] = _NUMBER.findall(_FRACTION.sub(_over, near) if "frac{" in near else near)
    return found[-1]


def _over(fraction: re.Match[str]) -> str:
    """The fraction with a slash; a whole number right before it belongs to it: ``2\\frac{1}{2}`` is 5/2."""
    whole, above, below = fraction.groups()
    return f"{above if whole is None else int(whole) * int(below) + int(above)}/{below}"


def as_decimal(text: str) -> Decimal | None:
    """``-$1,234.50`` as the decimal -1234.50, ``3/4`` as 0.75; ``None`` where it is no number."""
    plain = "".join(text.split()).translate(_PLAIN).rstrip(".")
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

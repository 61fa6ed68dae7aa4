r"""What an expression in LaTeX or plain text is worth, so that two of them can be held against each other.

``\frac{\sqrt{12}}{2}`` and ``\sqrt3`` are one number, ``(x-1)(x+1)`` and ``x^2-1`` one polynomial. Fractions are exact;
where a root or pi makes a number irrational, floats are compared. Letters stand for fixed arbitrary fractions: two
expressions that agree at three such points are taken for one (Schwartz 1980; Zippel 1979).
"""

from __future__ import annotations

import cmath
import math
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

Number = Fraction | float | complex
LONGEST = 400  # characters; no answer to be compared is longer
MOST_BITS = 20_000
POINTS = 3
_TOKEN = re.compile(r"\\[a-zA-Z]+|\d+(?:\.\d+)?|\.\d+|[a-zA-Z]|[-+*/^(){}\[\]|!]")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_MIXED = re.compile(r"(?<![\d.}])(\d+)(\\frac\{\d+\}\{\d+\})")
_CONSTANTS: dict[str, Number] = {"\\pi": math.pi, "i": 1j}
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "\\sin": cmath.sin,
    "\\cos": cmath.cos,
    "\\tan": cmath.tan,
    "\\ln": cmath.log,
    "\\log": cmath.log10,
    "\\exp": cmath.exp,
}
_CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|"}


class _NoExpression(Exception):
    """The text is none that can be worked out."""


def values_of(text: str) -> tuple[Number, ...] | None:
    """What the expression is worth at each point; ``None`` where it is none, or too large to be worked out."""
    if len(text) > LONGEST or _WORD.search(text):
        return None
    tokens = list(_tokens(_MIXED.sub(r"(\1+\2)", text)))
    try:
        return tuple(_Reader(tokens, point).value() for point in range(POINTS))
    except (_NoExpression, ArithmeticError, ValueError, RecursionError, IndexError):
        return None


def are_equal(one: tuple[Number, ...], other: tuple[Number, ...]) -> bool:
    """Whether two expressions are worth the same at every point."""
    return all(_is_same(a, b) for a, b in zip(one, other, strict=True))


def are_proportional(one: tuple[Number, ...], other: tuple[Number, ...]) -> bool:
    """Whether one is a constant times the other: then ``one = 0`` and ``other = 0`` are one equation."""
    if 0 in one or 0 in other:
        return False
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    return all(_is_same(ratio, ratios[0]) for ratio in ratios)


def _is_same(one: Number, other: Number) -> bool:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    return cmath.isclose(complex(one), complex(other), rel_tol=1e-9, abs_tol=1e-12)


def _tokens(text: str) -> Iterator[str]:
    end = 0
    for sign in _TOKEN.finditer(text):
        if text[end : sign.start()].strip():
            yield "?"  # no reader takes it
        end = sign.end()
        yield sign.group()
    if text[end:].strip():
        yield "?"


class _Reader:
    """Recursive descent over the tokens, working the value out at one point as it reads."""

    def __init__(self, tokens: list[str], point: int) -> None:
        self._tokens, self._at, self._point = tokens, 0, point

    def value(self) -> Number:
        found = self._sum()
        if self._at < len(self._tokens) or not self._tokens:
            raise _NoExpression
        return found

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        sign = self._next()
        if not sign or (expected is not None and sign != expected):
            raise _NoExpression
        self._at += 1
        return sign

    def _sum(self) -> Number:
        total = self._product()
        while self._next() in ("+", "-"):
            total = total + self._product() if self._take() == "+" else total - self._product()
        return total

    def _product(self) -> Number:
        total = self._signed()
        while (sign := self._next()) and sign not in ("+", "-", ")", "]", "}", "|"):
            if sign in ("*", "/"):
                self._take()
            factor = self._signed() if sign in ("*", "/") else self._power()
            total = total / factor if sign == "/" else total * factor
        return total

    def _signed(self) -> Number:
        if self._next() in ("+", "-"):
            return self._signed() if self._take() == "+" else -self._signed()
        return self._power()

    def _power(self) -> Number:
        base = self._atom()
        while self._next() == "!":
            self._take()
            base = _factorial(base)
        if self._next() != "^":
            return base
        self._take()
        return _raised(base, self._argument())

    def _argument(self) -> Number:
        r"""What stands in braces, or one sign: ``\frac12`` and ``2^10`` are read as LaTeX reads them."""
        if self._next() == "{":
            return self._atom()
        if self._next() == "-":
            self._take()
            return -self._atom()
        sign = self._next()
        if sign.isdigit() and len(sign) > 1:
            self._tokens[self._at : self._at + 1] = [sign[0], sign[1:]]
        return self._atom()

    def _atom(self) -> Number:
        sign = self._take()
        if sign in _CLOSING:
            inner = self._sum()
            self._take(_CLOSING[sign])
            return _size(inner) if sign == "|" else inner
        if sign[0].isdigit() or sign[0] == ".":
            return Fraction(sign if sign[0] != "." else f"0{sign}")
        if sign == "\\frac":
            above = self._argument()
            return above / self._argument()
        if sign == "\\sqrt":
            return self._root()
        if sign in _FUNCTIONS:
            return _FUNCTIONS[sign](complex(self._power()))
        if sign in _CONSTANTS:
            return _CONSTANTS[sign]
        if sign.isalpha() or sign.startswith("\\"):
            return _letter(sign, self._point)
        raise _NoExpression

    def _root(self) -> Number:
        degree: Number = Fraction(2)
        if self._next() == "[":
            degree = self._atom()
        return _raised(self._argument(), 1 / degree)


_LETTERS = frozenset(f"\\{name}" for name in "alpha beta gamma delta theta phi lambda mu omega rho sigma tau".split())


def _letter(name: str, point: int) -> Number:
    if name.startswith("\\") and name not in _LETTERS:
        raise _NoExpression
    draw = random.Random(f"{name}/{point}")
    return Fraction(draw.randint(1_001, 2_999), draw.randint(1_000, 1_999))


def _size(value: Number) -> Number:
    return abs(value) if isinstance(value, Fraction) else float(abs(value))


def _factorial(value: Number) -> Number:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 170:
        raise _NoExpression
    return Fraction(math.factorial(int(value)))


def _raised(base: Number, exponent: Number) -> Number:
    if not isinstance(base, Fraction) or not isinstance(exponent, Fraction):
        return complex(base) ** complex(exponent)
    above, below = exponent.numerator, exponent.denominator
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size * abs(above) > MOST_BITS:
        raise _NoExpression
    root = base if below == 1 else _exact_root(base, below)
    if root is not None:
        return Fraction(root**above)
    return complex(float(base)) ** float(exponent) if base < 0 else float(base) ** float(exponent)


def _exact_root(base: Fraction, degree: int) -> Fraction | None:
    """The root where it is a fraction."""
    if base < 0 or degree > 60:
        return None
    above, below = (round(part ** (1 / degree)) for part in (base.numerator, base.denominator))
    return Fraction(above, below) if Fraction(above, below) ** degree == base else None

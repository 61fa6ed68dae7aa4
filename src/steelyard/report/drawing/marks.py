"""What every chart is drawn of: axes, markers, lines, words; each colour and shape by slot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Protocol

from steelyard.report.drawing.axes import Scale, Unit, shortened, tick_text
from steelyard.report.unseen import visible

SLOTS = 8
WIDTH = 480
PHONE_WIDTH = 320
"""What a phone has room for: a wide chart made so small has letters of 8 pixels."""
LONGEST_NAME = 24
CHARACTER = 7.0
"""Mean width of a character at 12 px in a wide font, for telling what fits."""
NARROW = frozenset(" .,:;'|!()[]/-fijlrtI")
WIDE = frozenset("%mwMW@…<>=+~")


class Chart(Protocol):
    """A chart of which all is told but for how wide it is."""

    def __call__(self, *, width: int) -> str:
        """Its picture, as markup."""
        ...


def for_any_screen(chart: Chart) -> str:
    """The chart twice, wide and narrow: the style sheet shows the one whose letters can be read."""
    return chart(width=WIDTH) + chart(width=PHONE_WIDTH)


def x_axis(scale: Scale, unit: Unit, top: float, foot: float, width: int = WIDTH) -> str:
    """The scale along the foot, with its grid."""
    parts = [f'<path d="M{scale.at(tick):.1f} {top:.1f}V{foot:.1f}" class="grid"/>' for tick in scale.ticks()]
    free = -math.inf
    for tick in scale.ticks()[:: _stride(scale, unit)]:
        at, text = scale.at(tick), tick_text(tick, unit)
        half = width_of(text) / 2
        if at - half > free:
            parts.append(words_at(max(2 + half, min(at, width - 2 - half)), foot + 17, text, "middle"))
            free = at + half + 4
    parts.append(f'<path d="M{scale.start:.1f} {foot:.1f}H{scale.end:.1f}" class="base"/>')
    return "".join(parts)


def _stride(scale: Scale, unit: Unit) -> int:
    """Every how many-th tick of an even scale has room for its words; of a logarithmic one, as many as fit."""
    ticks = scale.ticks()
    if scale.is_log or len(ticks) < 2:
        return 1
    widest = max(width_of(tick_text(tick, unit)) for tick in ticks) + 5
    return max(1, math.ceil(widest / abs(scale.at(ticks[1]) - scale.at(ticks[0]))))


def y_axis(scale: Scale, unit: Unit, left: float, right: float) -> str:
    """The scale along the left, with its grid."""
    parts = []
    for tick in scale.ticks():
        at = scale.at(tick)
        parts.append(f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" class="grid"/>')
        parts.append(words_at(left - 7, at + 4, tick_text(tick, unit), "end"))
    return "".join(parts)


def width_of(text: str) -> float:
    """Pixels that words take at 12 px in a wide font, or a little less."""
    return sum(4.4 if one in NARROW else 11.5 if one in WIDE or ord(one) > 0x2E80 else 7.6 for one in text)


def fitting(text: str, room: float) -> str:
    """The words, without their middle where so many pixels would not hold them."""
    shown = whole = visible(text)
    while width_of(shown) > room and len(shown) > 2:
        shown = shortened(whole, len(shown) - 1)
    return shown


def scale_words(scale: Scale) -> str:
    """What a reader must know of the scale."""
    return " (logarithmic)" if scale.is_log else ""


def marker(slot: int, x: float, y: float, *, is_hollow: bool) -> str:
    """A shape for each slot, so that colour is not needed to tell them apart."""
    kind = "hollow" if is_hollow else "solid"
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="{kind}"/>',
        f'<path d="M{x - 4:.1f} {y - 4:.1f}h8v8h-8z" class="{kind}"/>',
        f'<path d="M{x:.1f} {y - 5.5:.1f}l5.2 9.2h-10.4z" class="{kind}"/>',
        f'<path d="M{x:.1f} {y - 5.6:.1f}l5.6 5.6l-5.6 5.6l-5.6 -5.6z" class="{kind}"/>',
        f'<path d="M{x:.1f} {y + 5.5:.1f}l-5.2 -9.2h10.4z" class="{kind}"/>',
        f'<path d="M{x - 4:.1f} {y - 2:.1f}l4 -3.2l4 3.2l-1.6 5.6h-4.8z" class="{kind}"/>',
        f'<path d="M{x - 5:.1f} {y - 2:.1f}h10v4h-10z" class="{kind}"/>',
        f'<path d="M{x - 2:.1f} {y - 5:.1f}h4v10h-4z" class="{kind}"/>',
    )
    return shapes[slot % SLOTS]


def line(points: str) -> str:
    """A line in the colour of its group."""
    return f'<path d="{points}" class="line"/>'


def sample(slot: int) -> str:
    """A model's colour and marker, for a legend."""
    drawn = line("M1 7h24") + marker(slot, 13, 7, is_hollow=False)
    return f'<svg class="sample s{slot % SLOTS}" viewBox="0 0 26 14" aria-hidden="true">{drawn}</svg>'


def words_at(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    """Words at a place, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(visible(text))}</text>'


def longest_name(told: Sequence[str], width: int) -> int:
    """How many characters of a name have room in a row, on a narrow chart before what is told of it."""
    if width > PHONE_WIDTH:
        return LONGEST_NAME
    return min(LONGEST_NAME, int((width - 16 - max(map(width_of, told), default=0.0)) / 7.6))


def row_words(name: str, told: str, scale: Scale, y: float, width: int) -> tuple[str, str]:
    """A row's name and what is told of it: on either side of the scale, or at the edges of a narrow chart."""
    if width > PHONE_WIDTH:
        return words_at(scale.start - 8, y, name, "end", "name"), words_at(scale.end + 10, y, told, "start")
    shown = fitting(name, width - width_of(told) - 16)
    return words_at(2, y, shown, "start", "name"), words_at(width - 2, y, told, "end")


def across_rows(kind: str, at: float, top: float, step: float, rows: int, width: int) -> str:
    """A line through all rows of a chart; on a narrow one it leaves out the words above each interval."""
    if width > PHONE_WIDTH:
        return f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + step * rows}"/>'
    parts = "".join(f"M{at:.1f} {top + step * (row + 1) - 19}v19" for row in range(rows))
    return f'<path d="{parts}" class="{kind}"/>'


def group(kind: str, hover: str, parts: Sequence[str]) -> str:
    """What belongs together, with the words that hovering tells."""
    return f'<g class="{kind}"><title>{escape(visible(hover))}</title>{"".join(parts)}</g>'


def svg(height: float, label: str, parts: Sequence[str], width: int = WIDTH) -> str:
    """The whole chart, with the words that are read aloud."""
    kind = "chart narrow" if width == PHONE_WIDTH else "chart"
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(visible(label))}">'
        f"{''.join(parts)}</svg>"
    )

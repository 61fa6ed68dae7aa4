"""How a page is made: templates that escape all they show, the style and the script, and addresses.

The templates of the sent report stand beside those of the dashboard, so that both show tables and charts alike. The
only markup passed through is that of our charts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from msgspec import Struct

from steelyard.analysis.sentences import descriptive, named
from steelyard.analysis.wording import amount, counted
from steelyard.dashboard.shown import marked
from steelyard.report.drawing.axes import price_text, shortened, value_text
from steelyard.report.drawing.figures import Figure
from steelyard.report.facts import duration_text
from steelyard.report.laid_out import laid_out, parted, unbroken
from steelyard.report.unseen import as_shown, exact, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent / "templates"
OF_REPORT = Path(__file__).parent.parent / "report" / "templates"
LEAST_IN_CENTS = 0.1
BRIEF = 36
"""Characters of a name in a control that would else cut its end, where what tells models apart stands."""
TO_READ = re.compile(r"(Read (?:them|why)): steelyard show (\d+) --where &#34;outcome = (\w+)&#34;")
"""A warning's command, as it stands once escaped."""
ASSETS = {
    "dashboard.css": (
        "text/css; charset=utf-8",
        (OF_REPORT / "charts.css", OF_REPORT / "report.css", HERE / "dashboard.css"),
    ),
    "dashboard.js": ("text/javascript; charset=utf-8", (HERE / "dashboard.js",)),
    "icon.svg": ("image/svg+xml", (HERE / "icon.svg",)),
}


class Asset(Struct, frozen=True, kw_only=True):
    """A file that pages refer to; its ``address`` changes with its content, so that it may be kept for ever."""

    content: bytes
    kind: str
    address: str


@cache
def assets() -> dict[str, Asset]:
    """The style, the script and the icon, by name."""
    found = {}
    for name, (kind, paths) in ASSETS.items():
        content = b"".join(path.read_bytes() for path in paths)
        digest = hashlib.sha256(content).hexdigest()[:16]
        found[name] = Asset(content=content, kind=kind, address=f"/static/{digest}/{name}")
    return found


@cache
def environment() -> Environment:
    """The templates of the dashboard and of the report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        autoescape=True,
        loader=FileSystemLoader([HERE, OF_REPORT]),
        undefined=StrictUndefined,
        finalize=as_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"address": address, "asset": lambda name: assets()[name].address}
    made.filters |= {
        "descriptive": descriptive,
        "named": named,
        "counted": counted,
        "when": when,
        "ago": ago,
        "seconds": seconds,
        "usd": usd,
        "amount": amount,
        "lasting": lasting,
        "pace": pace,
        "exact": exact,
        "laid_out": laid_out,
        "parted": parted,
        "brief": partial(shortened, most=BRIEF),
        "linked": linked,
        "marked": marked,
    }
    return made


def render(template: str, **values: object) -> str:
    """The page."""
    return environment().get_template(template).render(**values)


def drawn(found: Sequence[Figure]) -> list[dict[str, object]]:
    """Charts with their markup as markup."""
    from markupsafe import Markup

    return [{"title": one.title, "note": one.note, "svg": Markup(one.svg)} for one in found]  # noqa: S704 - made by charts


def address(path: str, **parameters: object) -> str:
    """A path of ours with those parameters that say something; a list repeats its name."""
    pairs: list[tuple[str, object]] = []
    for name, value in parameters.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, one) for one in values if one not in (None, "", 0, False)]
    query = urlencode([(name, str(value).encode("utf-8", "replace")) for name, value in pairs])
    return f"{path}?{query}" if query else path


def linked(text: str) -> Markup:
    """The text, visible and escaped, with a link in the place of a command that prints answers."""
    from markupsafe import Markup, escape

    def link(found: re.Match[str]) -> str:
        return f'<a href="{address(f"/runs/{found[2]}/answers", state=found[3])}">{found[1]}</a>'

    return Markup(unbroken(TO_READ.sub(link, str(escape(visible(text))))))  # noqa: S704 - escaped before


def when(moment: str | float | None) -> str:
    """A moment to the minute, in UTC, from ISO 8601 or from seconds since the epoch."""
    if moment is None:
        return ""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else datetime.fromtimestamp(moment, UTC)
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def ago(moment_s: float | None) -> str:
    """How long ago a moment was, in words."""
    if moment_s is None:
        return ""
    return f"{lasting(max(0.0, datetime.now(UTC).timestamp() - moment_s))} ago"


def lasting(duration_s: float) -> str:
    """A duration that moves on while it is read: whole seconds are enough."""
    return f"{duration_s:.0f} s" if duration_s < 59.5 else duration_text(duration_s)


def pace(per_second: float) -> str:
    """``6.0 answers/s``; of slow ones by the minute."""
    return f"{per_second:,.1f} answers/s" if per_second >= 1 else f"{60 * per_second:.2g} answers/min"


def seconds(value: float | None) -> str:
    """A duration with three digits; nothing where it is unknown."""
    return "" if value is None else value_text(value, "s")


def usd(value: float | None) -> str:
    """An amount to the cent, of little with three digits, so that a column stands in line; nothing where unknown."""
    if value is None:
        return ""
    return f"${value:,.2f}" if value >= LEAST_IN_CENTS else price_text(value, "${}")

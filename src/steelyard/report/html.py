"""The report as one file that opens anywhere: no network, no script needed, nothing a model wrote taken as markup.

Jinja2 escapes whatever a template shows; the only markup that is passed through is that of ``charts``. The policy in
the page's head forbids everything but its own style and script, each named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from steelyard.analysis.frontier import Frontier
from steelyard.analysis.gate import GateReport
from steelyard.analysis.recommendations import together
from steelyard.analysis.sentences import descriptive
from steelyard.analysis.telling import Finding, listed
from steelyard.analysis.verdict_words import lead
from steelyard.report.comparing.frontier import frontier_headline, frontier_lines, frontier_table, frontiers_of
from steelyard.report.comparing.frontier_figures import frontier_figure
from steelyard.report.drawing.figures import Figure, Key, figures, overview, slots
from steelyard.report.drawing.marks import SLOTS, sample
from steelyard.report.evidence import Evidence
from steelyard.report.examples import examples_apart, fitting
from steelyard.report.facts import facts, spending_lines
from steelyard.report.laid_out import laid_out, parted, prose
from steelyard.report.matrix import DASH, FIGURES, Table, figures_table, in_figures, matrix, subjects_table
from steelyard.report.origins import asked_rows, commands, in_full, origins, pages
from steelyard.report.raw import attachments
from steelyard.report.samples import Item, load_samples
from steelyard.report.unseen import as_shown
from steelyard.store import Store

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_FIRST = {"told": 6, "seen": 3, "open": 4, "beware": 3}
MOST_PROVENANCE = 30_000
"""So many characters of what the numbers come from stand in the page as text; many models' plan is longer."""
NOTHING_SAID: Mapping[str, str] = {}
TEMPLATES = Path(__file__).parent / "templates"


def html_report(
    store: Store,
    evidence: Evidence,
    verdict: GateReport | None = None,
    *,
    reveal: bool = False,
    about: Mapping[str, str] = NOTHING_SAID,
) -> str:
    """The whole page, with a gate's verdict where there is one; ``reveal`` shows confidential texts too.

    ``about`` says what a benchmark asks and how, by its label.
    """
    from markupsafe import Markup

    style, script = (Markup(_file(*names)) for names in (("charts.css", "report.css"), ("report.js",)))  # noqa: S704 - files of ours
    page = _environment().get_template("report.html.j2")
    return page.render(
        title=_title(evidence),
        policy=_policy(style, script),
        style=style,
        script=script,
        version=version("steelyard"),
        verdict=verdict,
        verdict_lead=None if verdict is None else lead(verdict),
        **_parts(store, evidence, about, reveal=reveal),
    )


def _parts(store: Store, evidence: Evidence, about: Mapping[str, str], *, reveal: bool) -> dict[str, Any]:
    """What the template shows, in the page's order."""
    provenance = in_full(evidence)
    is_long = len(provenance) > MOST_PROVENANCE
    models, labels = evidence.models, [bench.label for bench in evidence.benches]
    items, examples = fitting(*examples_apart(load_samples(store, evidence, slots(evidence), reveal=reveal)))
    results = results_parts(evidence, about)
    return {
        **results,
        **({} if not items else _with_answers(results, evidence)),
        "frontiers": [
            [frontier_part(one, is_open=False) for one in frontiers_of(store, bench)] for bench in evidence.benches
        ],
        "models": models,
        "spending": spending_lines(evidence),
        "samples": [_sample(item, models, labels) for item in items],
        "examples": examples,
        "answers": sum(len(one.side.columns.sample) for bench in evidence.benches for one in bench.models),
        "is_redacted": evidence.is_confidential and not reveal,
        "asked": asked_rows(evidence),
        "origins": origins(evidence),
        "provenance": "" if is_long else provenance,
        "commands": commands(evidence),
        "pages": pages(evidence),
        "attachments": attachments(store, evidence, provenance if is_long else ""),
    }


def _with_answers(results: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """The tables with a link from each score to the model's answers among those that the page shows."""
    benches = [
        bench | {"table": _linked(bench["table"], evidence, of_bench=bench["label"])} for bench in results["benches"]
    ]
    return {"matrix": _linked(results["matrix"], evidence), "benches": benches}


def _linked(table: Table, evidence: Evidence, of_bench: str | None = None) -> Table:
    labels = [bench.label for bench in evidence.benches]
    lines = []
    for line in table.lines:
        cells = []
        for heading, one in zip(table.headings, line.cells, strict=True):
            model, label = _scored(line.name, heading, of_bench)
            if one.text not in ("", DASH) and model in evidence.models and label in labels:
                link = f"#answers-{evidence.models.index(model)}-{labels.index(label)}"
                cells.append(msgspec.structs.replace(one, link=link))
            else:
                cells.append(one)
        lines.append(msgspec.structs.replace(line, cells=tuple(cells)))
    return msgspec.structs.replace(table, lines=tuple(lines))


def _scored(row: str, column: str, of_bench: str | None) -> tuple[str, str]:
    """The model and the benchmark of a cell, if it is a score: models are lines, of one benchmark columns too."""
    if of_bench is None:
        return row, column
    score = FIGURES[0][1]
    return (column, of_bench) if row == score else (row, of_bench if column == score else "")


def results_parts(evidence: Evidence, about: Mapping[str, str] = NOTHING_SAID) -> dict[str, Any]:
    """The results alone, as ``findings.html.j2``, ``table.html.j2`` and ``bench.html.j2`` show them."""
    slot_of = slots(evidence)
    return {
        "facts": facts(evidence),
        "findings": _sorted_out(evidence.findings),
        "recommendations": [
            {
                "uses": listed([one.use for one in group]),
                "of": group,
                "measured": [line for name in group[0].models if (line := in_figures(evidence, name))],
            }
            for group in together(evidence.recommendations)
        ],
        "matrix": matrix(evidence, slot_of),
        "overview": _drawn(overview(evidence)),
        "benches": [
            {
                "label": bench.label,
                "about": about.get(bench.label, ""),
                "figures": _drawn(figures(bench, slot_of)),
                "table": figures_table(bench, slot_of),
                "subjects": subjects_table(bench, slot_of),
            }
            for bench in evidence.benches
        ],
    }


def frontier_part(found: Frontier, *, is_open: bool) -> dict[str, Any]:
    """A cascade that two models would be, as ``frontier.html.j2`` shows it, its table open or folded."""
    figure = frontier_figure(found)
    return {
        "headline": frontier_headline(found),
        "figures": _drawn([] if figure is None else [figure]),
        "table": frontier_table(found),
        "lines": [line.removeprefix("! ") for line in frontier_lines(found)],
        "is_open": is_open,
    }


def _sorted_out(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """The first few of each kind, which is what a busy reader takes in, and the rest."""
    first: list[Finding] = []
    for one in findings:
        if sum(other.kind == one.kind for other in first) < MOST_FIRST[one.kind]:
            first.append(one)
    return {"first": first, "more": [one for one in findings if one not in first]}


def _sample(item: Item, models: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """An item with what the page's filters look at: each answer's model, by its place in their list, and state."""
    states = " ".join(f"{models.index(one.model)}:{one.state}" for one in item.answers)
    return {"item": item, "states": states, "bench": labels.index(item.benchmark)}


def _title(evidence: Evidence) -> str:
    return (
        ("Run " if len(evidence.runs) == 1 else "Runs ")
        + ", ".join(f"#{run.number} {run.name}" for run in evidence.runs[:4])
        + (f" and {len(evidence.runs) - 4} more" if len(evidence.runs) > 4 else "")
    )


def _drawn(found: Sequence[Figure]) -> list[dict[str, Any]]:
    from markupsafe import Markup

    return [
        {
            "title": one.title,
            "note": one.note,
            "svg": Markup(one.svg),  # noqa: S704 - made by charts
            "legend": _keys(one.legend),
            "front": _keys(one.front),
        }
        for one in found
    ]


def _keys(found: Sequence[Key]) -> list[dict[str, Any]]:
    from markupsafe import Markup

    return [
        {"name": key.name, "slot": key.slot % SLOTS, "svg": Markup(sample(key.slot))}  # noqa: S704 - made by marks
        for key in found
    ]


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=as_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["descriptive"] = descriptive
    environment.filters["scrolls"] = scrolls
    environment.filters["laid_out"] = laid_out
    environment.filters["parted"] = parted
    environment.filters["linked"] = prose  # a file has no page of the answers: a command stays
    return environment


def scrolls(text: str) -> bool:
    """Whether a text may be too long for its frame, which is then reached by the keyboard: more than 20 lines.

    On a phone a line has 18 places for wide letters.
    """
    return sum(1 + len(line) // 18 for line in text.split("\n")) > 20


def _file(*names: str) -> str:
    return "".join((TEMPLATES / name).read_text("utf-8") for name in names)


def _policy(style: str, script: str) -> str:
    """What a browser may do with the page: its own style and script, and nothing else."""

    def hashed(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{hashed(style)}'; script-src 'sha256-{hashed(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )

"""Where a report's numbers come from, short enough to read: data, words and settings of each cell, code and machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from steelyard.report.asked import SHORT, Asked, asked_row
from steelyard.report.evidence import Evidence
from steelyard.report.provenance import NOT_SET, provenance_text
from steelyard.types import RunInfo

DASHBOARD_PORT = 8642
"""Where ``steelyard serve`` listens unless told otherwise; it stands there too, since a verb's help loads no report."""
MOST_PAGES = 10
UNSET = re.compile(rf"^ +\w+: {NOT_SET}\n", re.MULTILINE)
OF_NO_FILE = {"import", "object", None}
"""Providers of what no plan file can ask again."""
UNITS = {"price": "price, USD a million tokens", "timeout_s": "timeout, seconds"}
"""What a number of a model's settings is of."""
OF_SESSION = ("steelyard", "git", "python", "machine", "load", "gpu", "price_table", "sandbox")


class Origin(Struct, frozen=True, kw_only=True):
    """What is known of each of several subjects: what ``shared`` lines hold of all, and a row each of what differs."""

    title: str
    subject: str
    shared: tuple[tuple[str, str], ...]
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def origins(evidence: Evidence) -> list[Origin]:
    """The protocol of each benchmark, the settings of each model, the code and machine of each session."""
    return [
        _apart("How each was asked", "benchmark", _of_benchmarks(evidence)),
        _apart("Settings of the models", "model", _of_models(evidence)),
        _apart("Code and machine", "session", _of_sessions(evidence)),
    ]


def asked_rows(evidence: Evidence) -> list[Asked]:
    """A row a cell: on what data it was asked, by which words, and who answered."""
    return [asked_row(one.side.info, one.name) for bench in evidence.benches for one in (*bench.models, *bench.floors)]


def in_full(evidence: Evidence) -> str:
    """All of it as text but what a plan does not set; of a confidential benchmark without what could quote an item."""
    if evidence.is_confidential:
        return "left out: a benchmark here is confidential. steelyard show --provenance has it"
    return what_is_set("\n\n".join(provenance_text(document) for document in evidence.provenance))


def what_is_set(text: str) -> str:
    """A run's origin in full but what its plan does not set, which is most lines of many models' plan."""
    return UNSET.sub("", text)


def has_a_pair(evidence: Evidence) -> bool:
    """Whether the first run asked several models one benchmark, so that ``compare`` has something to hold up."""
    first = evidence.results[0]
    asked = [cell.info.label for cell in first.cells if not cell.is_skipped and cell.info.asked_as is None]
    return len(asked) > len(set(asked))


def ask_again(run: RunInfo) -> list[str]:
    """How the same is asked anew; nothing where answers were made elsewhere or a model was an object of Python."""
    models = run.plan.get("models", ())
    providers = {model.get("provider") for model in models if isinstance(model, Mapping)}
    if not providers or providers & OF_NO_FILE:
        return []
    return [f"steelyard show {run.number} --plan > plan.yaml", "steelyard run plan.yaml --fresh"]


def commands(evidence: Evidence) -> list[str]:
    """How the same is run again and looked at further."""
    number = evidence.runs[0].number
    return [
        *ask_again(evidence.runs[0]),
        f"steelyard show {number} --wrong",
        *([f"steelyard compare {number} --flips"] if has_a_pair(evidence) else []),
        f"steelyard show {number} --provenance",
        f"steelyard export {number} --format csv --output run-{number}.csv",
    ]


def pages(evidence: Evidence) -> list[tuple[str, str]]:
    """Each run's name and its page, while ``steelyard serve`` runs over the store; of many runs the first."""
    runs = evidence.runs[:MOST_PAGES]
    return [(f"#{run.number} {run.name}", f"http://127.0.0.1:{DASHBOARD_PORT}/runs/{run.id}") for run in runs]


def _apart(title: str, subject: str, of: Mapping[str, Mapping[str, str]]) -> Origin:
    """What all subjects share is said once; a setting that one of them leaves open is not shared."""
    names = list(dict.fromkeys(name for lines in of.values() for name in lines))
    values = {name: [lines.get(name, "") for lines in of.values()] for name in names}
    differing = [name for name in names if len(set(values[name])) > 1]
    return Origin(
        title=title,
        subject=subject,
        shared=tuple((name, values[name][0]) for name in names if name not in differing),
        headings=tuple(differing),
        rows=tuple((one, tuple(lines.get(name, "") for name in differing)) for one, lines in of.items())
        if differing
        else (),
    )


def _of_benchmarks(evidence: Evidence) -> dict[str, dict[str, str]]:
    found = {}
    for bench in evidence.benches:
        info = next(iter((*bench.models, *bench.floors))).side.info
        found[bench.label] = {
            "protocol": f"{info.protocol}, version {info.protocol_version}, {info.shots}-shot, {info.kind}",
            "order of items": info.order,
            "repeats": f"{info.repeats}",
            "graders' scores": ", ".join(info.scored),
        }
    return found


def _of_models(evidence: Evidence) -> dict[str, dict[str, str]]:
    """What a row of the table of cells says is not said again: the model's name, and who answered."""
    found = {}
    for name in evidence.models:
        one = next(one for bench in evidence.benches for one in bench.models if one.name == name)
        settings = one.side.info.settings.get("model", {})
        said = {key: text for key, value in settings.items() if key != "id" and (text := _words(value))}
        if evidence.is_confidential:
            said = {key: value for key, value in said.items() if key not in ("system", "extra")}
        elsewhere = {name, name.partition("/")[2], one.side.info.origin}
        said = {"it said it was": ", ".join(one.cell.reported) or "unknown"} | said
        found[name] = {
            UNITS.get(key, key.replace("_", " ")): text
            for key, text in said.items()
            if key not in ("model", "base_url") or text not in elsewhere
        }
    return found


def _of_sessions(evidence: Evidence) -> dict[str, dict[str, str]]:
    found = {}
    for document in evidence.provenance:
        run = document["run"]
        for place, session in enumerate(document["sessions"], 1):
            name = f"run #{run['number']}" + (f", session {place}" if len(document["sessions"]) > 1 else "")
            found[name] = {
                "plan digest": str(document["plan_digest"])[:SHORT],
                "started": _to_the_second(session["started_at"]),
                "ended": _to_the_second(session["ended_at"]) if session["ended_at"] else "unknown",
                **dict(_flat(session, OF_SESSION)),
            }
    return found


def _to_the_second(moment: str) -> str:
    return moment[:19].replace("T", " ")


def _flat(session: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), text) for key in keys if (text := _words(session.get(key)))]


def _named(name: str, value: Any) -> str:
    """A part of a value; bytes, which nobody reads, as GB."""
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{name.removesuffix('_bytes').replace('_', ' ')} {value / 1e9:.3g} GB"
    return f"{name.replace('_', ' ')} {_words(value)}"


def _words(value: Any) -> str:
    """A value as a reader takes it: what is unknown or empty is left out, numbers are short."""
    if isinstance(value, Mapping):
        parts = [_named(name, inner) for name, inner in value.items() if _words(inner)]
        return ", ".join(parts)
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_words, value)))
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)

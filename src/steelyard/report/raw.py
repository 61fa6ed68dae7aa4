"""The numbers behind a report as CSV inside it: every estimate, and every record without its texts."""

from __future__ import annotations

import base64
import csv
import gzip
import io
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from steelyard.analysis.compare import Side
from steelyard.report.evidence import Evidence
from steelyard.store import Store
from steelyard.store.transfer.export import formula_safe

MOST_RECORDS = 20_000
MOST_PLAIN = 20_000
OF_A_SECOND = 6
"""Decimals of a time: no client's clock tells less than a microsecond, and more digits make a page a tenth larger."""
OF_ESTIMATES = ("run", "model", "benchmark", "metric", "value", "low", "high", "level", "n", "unit", "method", "status")
OF_RECORDS = ("run", "model", "benchmark", "sample_id", "repeat", "score", "parsed", "failure", "stop_reason", "tries",
              "cached", "queued_s", "ttft_s", "latency_s", "input_tokens", "output_tokens", "cost_usd")  # fmt: skip


class Attachment(Struct, frozen=True, kw_only=True):
    """A file that a link of the page saves: its name, what it is, how large it is, its content as a data URL."""

    name: str
    what: str
    kilobytes: float
    url: str


def attachments(store: Store, evidence: Evidence, provenance: str = "") -> list[Attachment]:
    """The estimates, the records where they are few enough to travel with the page, and a provenance that is long."""
    stem = f"run-{evidence.runs[0].number}"
    estimates = _estimates(evidence)
    pack, suffix = (_plain, "csv") if len(estimates) <= MOST_PLAIN else (_packed, "csv.gz")
    found = [pack(f"{stem}-estimates.{suffix}", "every estimate with its interval", estimates)]
    records = sum(len(one.side.columns.sample) for bench in evidence.benches for one in (*bench.models, *bench.floors))
    if 0 < records <= MOST_RECORDS:
        what = f"all {records:,} records, without their texts"
        found.append(_packed(f"{stem}-records.csv.gz", what, _records(store, evidence)))
    if provenance:
        found.append(_packed(f"{stem}-provenance.txt.gz", "plan, data, settings, code, machine, packages", provenance))
    return found


def _estimates(evidence: Evidence) -> str:
    return _csv(
        OF_ESTIMATES,
        (
            (one.side.run, one.name, bench.label, found.metric, found.value, found.low, found.high, found.level,
             found.n, found.unit, found.method, found.status)
            for bench in evidence.benches
            for one in (*bench.models, *bench.floors)
            for found in one.estimates.values()
        ),
    )  # fmt: skip


def _records(store: Store, evidence: Evidence) -> str:
    return _csv(
        OF_RECORDS,
        (
            (one.side.run, one.name, bench.label, *row)
            for bench in evidence.benches
            for one in (*bench.models, *bench.floors)
            for row in _rows(store.columns(one.side.info.id or 0, with_names=True).names, one.side)
        ),
    )


def _rows(names: Sequence[str], side: Side) -> Iterable[tuple[object, ...]]:
    columns, none = side.columns, np.full(len(names), np.nan)
    tries = none if side.info.is_imported else columns.tries
    score = next(iter(columns.scores.values()), none)
    parsed = next(iter(columns.parsed.values()), none)
    times = (np.round(each, OF_A_SECOND) for each in (columns.queued_s, columns.ttft_s, columns.total_s))
    amounts = (columns.input_tokens, columns.output_tokens, columns.cost_usd)
    ends = (columns.failure, columns.stop_reason, tries, columns.cached)
    figures = (score, parsed, *ends, *times, *amounts)
    return zip(names, columns.repeat.tolist(), *(map(_known, array.tolist()) for array in figures), strict=True)


def _known(value: object) -> object:
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 9)
    return value


def _csv(header: Sequence[str], rows: Iterable[tuple[object, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([formula_safe(value) for value in row] for row in rows)
    return out.getvalue()


def _plain(name: str, what: str, text: str) -> Attachment:
    data = text.encode()
    return Attachment(name=name, what=what, kilobytes=len(data) / 1000, url=_url("text/csv;charset=utf-8", data))


def _packed(name: str, what: str, text: str) -> Attachment:
    """Compressed, with a fixed time in it, so that the same records give the same page."""
    data = gzip.compress(text.encode(), mtime=0)
    return Attachment(name=name, what=what, kilobytes=len(data) / 1000, url=_url("application/gzip", data))


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"

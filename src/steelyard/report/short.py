"""The findings of a run in a few sentences, for a terminal: the report's own, in the order in which it tells them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from steelyard.analysis.recommendations import Recommendation, together
from steelyard.analysis.telling import Finding, listed
from steelyard.errors import StoreError
from steelyard.report.answers import plain
from steelyard.report.console import hanging
from steelyard.report.results import Results
from steelyard.store import Store
from steelyard.store.reading.found import Basis
from steelyard.types import RunInfo
from steelyard.types.ready import ready

if TYPE_CHECKING:
    from steelyard.report.evidence import Evidence

MOST = 6
WIDEST = 120


class Found(Struct, frozen=True, kw_only=True):
    """What was found in a run, and what it recommends; ``None`` where its ``records`` are too many for a look.

    ``missing`` says how they stand.
    """

    records: int = 0
    findings: tuple[Finding, ...] | None = None
    recommendations: tuple[Recommendation, ...] | None = None
    missing: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "findings": msgspec.to_builtins(self.findings),
            "recommendations": msgspec.to_builtins(self.recommendations),
        }

    def lines(self, number: int, width: int) -> Iterator[str]:
        """The first few findings as lines that fit; doubts are left out, since they are printed as warnings."""
        at_length = f"steelyard report {number} --html report.html"
        if self.findings is None:
            yield from ("", f"The {self.records:,} records {self.missing}. What they show: {at_length}")
            return
        told = [one for one in self.findings if one.rule != "doubts"]
        if told:
            yield from ("", "In short")
        for one in told[:MOST]:
            yield from hanging(f"- {plain(one.sentence)}", min(width, WIDEST))
        if len(told) > MOST:
            yield f"  and {len(told) - MOST} more: {at_length}"
        if self.recommendations:
            yield from ("", "Recommended")
        for group in together(self.recommendations or ()):
            yield from hanging(f"- {plain(_picked(group))}", min(width, WIDEST))


def _picked(group: Sequence[Recommendation]) -> str:
    """Whom to take for a use, or in one sentence what would settle that."""
    one = group[0]
    uses = listed([each.use for each in group])
    if one.is_given:
        return f"{uses}: {' or '.join(one.models)}"
    first, stop, _ = (one.settle or one.why).partition(". ")
    return f"{uses}: withheld. {first}{stop.strip()}"


def found_in_passing(store: Store, results: Results) -> Found:
    """What a run shows, where that can be told at once: of a large run what was kept when it was tested."""
    run = results.run
    basis = basis_of_large(store, run)
    if basis is None:
        return _found(_evidence(store, run))
    if run.status == "running":
        return Found(records=basis.calls, missing="are tested when the run has ended")
    kept = store.found.get(run.id, basis)
    if kept:
        return msgspec.json.decode(kept, type=ready(Found))
    why = "were not tested yet" if kept is None else "were tested, but the run or its grading has changed since"
    return Found(records=basis.calls, missing=why)


def keep_found(store: Store, run: RunInfo) -> None:
    """Test what a run shows, and keep that with it."""
    basis = _basis(store, run)
    keep_reported(store, _evidence(store, run), basis)


def basis_of_large(store: Store, run: RunInfo) -> Basis | None:
    """What findings of the run are made from as it stands; ``None`` where it is small enough for a look in passing."""
    return _basis(store, run) if store.found.is_for(run.id) else None


def _basis(store: Store, run: RunInfo) -> Basis:
    from importlib.metadata import PackageNotFoundError, version

    try:
        rules = version("steelyard")
    except PackageNotFoundError:  # it runs from its source
        rules = ""
    return store.found.basis(run.id, rules)


def keep_reported(store: Store, evidence: Evidence, basis: Basis) -> None:
    """Keep what a report of one run found on that ``basis``, but for what changed since a baseline."""
    found = msgspec.structs.replace(_found(evidence), records=basis.calls)
    with suppress(StoreError):  # a store that cannot be written to is read all the same
        store.found.keep(evidence.runs[0].id, basis, msgspec.json.encode(found))


def _evidence(store: Store, run: RunInfo) -> Evidence:
    from steelyard.report.evidence import load_evidence  # it draws tables too, and a large run is shown without it

    return load_evidence(store, [run])


def _found(evidence: Evidence) -> Found:
    return Found(
        findings=tuple(one for one in evidence.findings if one.rule != "baseline"),
        recommendations=evidence.recommendations,
    )

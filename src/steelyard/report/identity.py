"""Whether one name stood for several systems: a service that changed its model, or its fingerprint, in mid-run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from steelyard.analysis.wording import counted
from steelyard.report.stands import CellResult
from steelyard.report.unseen import on_one_line
from steelyard.store import Store

MOST_NAMED = 4


class MixedModel(Struct, frozen=True, kw_only=True):
    """A model whose answers came from several: by ``model`` name, or under one name by ``fingerprint`` only.

    ``reported`` maps what the service said that it is to the number of answers it gave so, most first.
    """

    model: str
    differs: Literal["model", "fingerprint"]
    reported: dict[str, int]


def mixed_models(store: Store, cells: Sequence[CellResult]) -> tuple[MixedModel, ...]:
    """The models of the run that were more than one, over all their cells."""
    said: dict[str, Counter[tuple[str | None, str | None]]] = {}
    for cell in cells:
        if not cell.info.is_floor and cell.info.asked_as is None:
            said.setdefault(cell.info.model, Counter()).update(_reported(store, cell))
    found = (_mixed(model, counts) for model, counts in said.items())
    return tuple(mixed for mixed in found if mixed is not None)


def _reported(store: Store, cell: CellResult) -> dict[tuple[str | None, str | None], int]:
    """What the cell's answers say. Where they are known to say one thing, one of them is read for all."""
    assert cell.info.id is not None
    names = [cell.estimates.get(name) for name in ("models_reported", "fingerprints_reported")]
    counts = [int(name.value or 0) for name in names if name is not None]
    if len(counts) < len(names) or max(counts) > 1:
        return {(row["model"], row["fingerprint"]): row["answers"] for row in store.reported(cell.info.id)}
    return {store.reported_first(cell.info.id): int(cell.value("answered") or 0)} if any(counts) else {}


def _mixed(model: str, counts: Counter[tuple[str | None, str | None]]) -> MixedModel | None:
    names = _by_name((name, n) for (name, _), n in counts.items())
    if len(names) > 1:
        return MixedModel(model=model, differs="model", reported=names)
    fingerprints = _by_name((fingerprint, n) for (_, fingerprint), n in counts.items())
    if len(fingerprints) > 1:
        return MixedModel(model=model, differs="fingerprint", reported=fingerprints)
    return None


def _by_name(said: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for name, n in said:
        if name:
            total[name] += n
    return dict(total.most_common())


def mixture_warning(mixed: MixedModel) -> str:
    """What was seen, why it matters, what to try."""
    named = [f"{on_one_line(name)} ({counted(n, 'answer')})" for name, n in mixed.reported.items()]
    seen = ", ".join(named[:MOST_NAMED]) + (f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else "")
    if mixed.differs == "model":
        return (
            f"{mixed.model}: mixed model. The service said that it is {seen}: its numbers are of a mixture, and "
            "of none of them. Try: a dated name of the model, or a new run"
        )
    return (
        f"{mixed.model}: mixed model, by its fingerprint only: {seen}. The service may have been changed in mid-run. "
        "Try: a new run, and see whether it agrees"
    )

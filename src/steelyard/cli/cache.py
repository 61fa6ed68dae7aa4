"""``steelyard cache``: answers of earlier runs that are used again: why not, how many, and from now on none."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.store import Store
    from steelyard.store.rows.answers import Kept
    from steelyard.store.rows.verdicts import KeptVerdicts

ACTIONS = ("stats", "explain", "clear")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "cache",
        execute,
        summary="what may be used again of earlier runs' answers, why a run asked anew, or use none of them any more",
        example="steelyard cache explain last",
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="stats", metavar="|".join(ACTIONS))
    parser.add_argument("run", nargs="?", default="last", metavar="RUN", help="explain: the run (default: the last)")
    parser.add_argument("--item", metavar="ID", help="explain: what was asked about one item")
    parser.add_argument("--model", metavar="MODEL", help="explain, clear: only this model")
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Count, explain or clear."""
    from steelyard.store import Store

    with Store.open(parsed.store, create=False) as store:
        {"stats": _stats, "explain": _explain, "clear": _clear}[parsed.action](store, parsed)
    return 0


def _stats(store: Store, parsed: argparse.Namespace) -> None:
    rows = [_document(store, model, cells) for model, cells in _by_model(store).items()]
    judges = [_judge_document(store, kept) for kept in store.verdicts.kept()]
    if parsed.json:
        args.print_json(
            {
                "models": rows,
                "judges": judges,
                "answers": sum(row["answers"] for row in rows),
                "used_again": sum(row["used_again"] for row in rows),
                "saved_usd": sum(row["saved_usd"] for row in rows),
            }
        )
        return
    _print_stats([*rows, *judges], store.location)


def _by_model(store: Store) -> dict[str, list[Kept]]:
    from steelyard.engine.reuse.cache import why_never

    found: dict[str, list[Kept]] = {}
    for cell in store.answers.kept():
        if why_never(cell.info) is None:
            found.setdefault(cell.info.model, []).append(cell)
    return found


def _document(store: Store, model: str, cells: list[Kept]) -> dict[str, Any]:
    cleared_at_s = store.answers.cleared_at_s(model)
    return {
        "model": model,
        "answers": sum(cell.answers for cell in cells),
        "size_bytes": sum(cell.size_bytes for cell in cells),
        "oldest": _moment(min((cell.oldest_s for cell in cells if cell.oldest_s is not None), default=None)),
        "newest": _moment(max((cell.newest_s for cell in cells if cell.newest_s is not None), default=None)),
        "cleared_at": _moment(cleared_at_s or None),
        "used_again": sum(cell.used_again for cell in cells),
        "saved_usd": sum(cell.saved_usd for cell in cells),
    }


def _judge_document(store: Store, kept: KeptVerdicts) -> dict[str, Any]:
    cleared_at_s = store.answers.cleared_at_s(kept.judge)
    return {
        "model": f"{kept.judge} (judge)",
        "answers": kept.replies,
        "size_bytes": kept.size_bytes,
        "oldest": _moment(kept.oldest_s),
        "newest": _moment(kept.newest_s),
        "cleared_at": _moment(cleared_at_s or None),
        "used_again": kept.used_again,
        "saved_usd": kept.saved_usd,
    }


def _moment(at_s: float | None) -> str | None:
    from datetime import UTC, datetime

    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def _print_stats(rows: list[dict[str, Any]], location: str) -> None:
    from rich.table import Table

    from steelyard.analysis.wording import amount
    from steelyard.report.console import console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("model", "answers", "MB", "oldest", "newest", "used again", "saved USD", "none from before"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["model"],
            f"{row['answers']:,}",
            f"{row['size_bytes'] / 1e6:,.1f}",
            *((row[name] or "")[:16].replace("T", " ") for name in ("oldest", "newest")),
            f"{row['used_again']:,}",
            amount(row["saved_usd"]),
            (row["cleared_at"] or "")[:16].replace("T", " "),
        )
    console().print(table if rows else f"No answers in {location} can be used again.")


def _explain(store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.engine.reuse.misses import explain, explain_lines
    from steelyard.report.unseen import on_one_line

    found = explain(store, store.run(parsed.run), sample_id=parsed.item, model=parsed.model)
    if parsed.json:
        args.print_json(found)
    else:
        for line in explain_lines(found):
            indent = len(line) - len(line.lstrip())
            print(f"{line[:indent]}{on_one_line(line)}")


def _clear(store: Store, parsed: argparse.Namespace) -> None:
    from steelyard.errors import UnknownName

    models = [*_by_model(store), *(kept.judge for kept in store.verdicts.kept())]
    if parsed.model is not None and parsed.model not in models:
        raise UnknownName("model", parsed.model, models)
    store.answers.clear(parsed.model)
    whose = parsed.model or "any model"
    if not parsed.json:
        print(f"No answer that {whose} gave until now is used again. Every run keeps its answers.")
    else:
        args.print_json({"cleared": parsed.model or "all"})

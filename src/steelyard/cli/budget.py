"""``steelyard budget``: what all runs of a store may spend together."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.store.rows.account import Account

ACTIONS = ("show", "set", "clear")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "budget",
        execute,
        summary="limit what all runs of the store may spend together, or see what is left",
        example="steelyard budget set 200",
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="show", metavar="|".join(ACTIONS))
    parser.add_argument("usd", nargs="?", type=args.usd, metavar="USD", help="set: the limit")
    parser.add_argument("--from-now", action="store_true", help="set: what was spent so far does not count")
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Set or clear, and show."""
    from steelyard.errors import UsageError
    from steelyard.store import Store

    if (parsed.action == "set") != (parsed.usd is not None):
        raise UsageError("an amount goes with 'set', and only with it. Try: steelyard budget set 200")
    with Store.open(parsed.store, create=parsed.action == "set") as store:
        if parsed.action == "set":
            store.budget.set(parsed.usd, from_now=parsed.from_now)
        elif parsed.action == "clear":
            store.budget.clear()
        state = store.budget.account()
    if parsed.json:
        args.print_json(_document(state))
    else:
        print(_sentence(state))
    return 0


def _document(state: Account | None) -> dict[str, float | str | None]:
    names = ("limit_usd", "spent_usd", "held_usd", "remaining_usd", "set_at")
    return {name: getattr(state, name, None) for name in names}


def _sentence(state: Account | None) -> str:
    from steelyard.analysis.wording import amount

    if state is None:
        return "No budget stands over this store. Try: steelyard budget set 200"
    held = f", {amount(state.held_usd)} USD held by runs that go on" if state.held_usd else ""
    return (
        f"{amount(state.remaining_usd)} of {state.limit_usd:g} USD left: {amount(state.spent_usd)} USD spent{held} "
        f"(set {state.set_at[:10]})"
    )

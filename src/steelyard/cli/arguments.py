"""Arguments that several verbs share, and how they are added."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def add_verb(
    verbs: Verbs, name: str, execute: Callable[[argparse.Namespace], int], *, summary: str, example: str, **more: Any
) -> argparse.ArgumentParser:
    """A verb with its one-line summary and an example."""
    parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )
    parser.set_defaults(execute=execute)
    return parser


def add_run(parser: argparse.ArgumentParser) -> None:
    """The run a verb is about."""
    parser.add_argument(
        "run", nargs="?", default="last", metavar="RUN", help="number, id or its start, name, or 'last' (default)"
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    """Which store."""
    parser.add_argument(
        "--store",
        metavar="PATH",
        help="the store: a file, or postgresql://USER@HOST/DATABASE (default: STEELYARD_STORE, or "
        ".steelyard/steelyard.db)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Output for scripts."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_freshness(parser: argparse.ArgumentParser) -> None:
    """Which answers of earlier runs may be used again."""
    parser.add_argument(
        "--fresh", action="store_true", default=None, help="ask anew also what an earlier run was answered"
    )
    parser.add_argument("--cache-max-age", metavar="AGE", help="ask anew what was answered longer ago: 12h, 7d, 2w")


def add_accept_data(parser: argparse.ArgumentParser) -> None:
    """Rows other than the pinned ones."""
    parser.add_argument(
        "--accept-data", action="append", default=[], metavar="DIGEST", help="accept rows with this digest"
    )


def add_reveal(parser: argparse.ArgumentParser) -> None:
    """Texts whose authors ask that they are not shown."""
    parser.add_argument("--reveal", action="store_true", help="show the texts of a confidential benchmark (gpqa) too")


def add_unsafe(parser: argparse.ArgumentParser) -> None:
    """The one way to run code without a sandbox."""
    parser.add_argument(
        "--unsafe-code-execution",
        action="store_true",
        help="run model-written code without a sandbox: it can do whatever you can",
    )


def allow_unsafe(parsed: argparse.Namespace) -> None:
    """Let this process run code without a sandbox, if the user said so."""
    if parsed.unsafe_code_execution:
        from steelyard import sandbox

        sandbox.allow_unsafe()


class Once(argparse.Action):
    """An option that narrows to one thing: a second value would take the place of the first without a word."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Keep the value; refuse another one."""
        given = getattr(namespace, self.dest)
        if given is not None:
            parser.error(f"{option} takes one, and is given {given!r} and {values!r}. Try: without it, which takes all")
        setattr(namespace, self.dest, values)


def count(text: str) -> int:
    """A whole number of at least one."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def percentage(text: str) -> float:
    """A number of points or per cent above zero, as a share: ``2`` is 0.02."""
    return positive(text.removesuffix("%").strip()) / 100


def non_negative(text: str) -> int:
    """A whole number of at least zero."""
    return 0 if text == "0" else count(text)


def usd(text: str) -> float:
    """An amount of money above zero."""
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of USD above 0")
    return amount


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that are unknown are null."""
    import sys

    import msgspec

    sys.stdout.write(_inert(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n")


def print_json_line(value: Any) -> None:
    """One JSON document on one line of standard output."""
    import sys

    import msgspec

    sys.stdout.write(_inert(msgspec.json.encode(value).decode()) + "\n")


def _inert(document: str) -> str:
    """The same JSON with that escaped which JSON lets stand and some terminals, or a CI service's log, obey."""
    from steelyard.report.unseen import harmless_json

    return harmless_json(document.translate(_ESCAPED))


_ESCAPED = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}

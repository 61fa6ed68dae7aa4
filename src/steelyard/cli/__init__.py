"""The command line: parse, call, print, exit code. Each verb has a file of its own; nothing imports this package.

Exit codes: 0 done; 1 a check, a gate or a success criterion failed; 2 the request cannot be understood or fulfilled,
found before any call; 3 a gate or a success criterion that is inconclusive, where that blocks;
4 the environment or a provider failed, so that nothing or only a part was measured; 5 the budget is spent, and what was
measured until then is valid; 130 interrupted and resumable.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import NoReturn

from steelyard.cli import (
    baseline,
    budget,
    cache,
    cascade,
    check,
    compare,
    export,
    gate,
    import_answers,
    list_names,
    mock,
    prompts,
    report,
    rescore,
    run,
    runs,
    selftest,
    serve,
    setup,
    show,
    trend,
)
from steelyard.errors import SteelyardError

VERBS = (
    run, show, compare, gate, trend, baseline, cascade, runs, list_names, prompts, check, rescore, report, export,
    import_answers, serve, setup, cache, budget, selftest, mock,
)  # fmt: skip

DESCRIPTION = "Weigh language models: how good, how fast, how heavy and how dear, with the uncertainty of every number."
EPILOG = "Try: steelyard run starter -m local/smollm2-135m -m baseline/random"


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    _print_anything()
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.execute(parsed)
        sys.stdout.flush()
    except SteelyardError as error:
        _complain(f"steelyard: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        print("steelyard: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone; that is no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - a fault of ours: its trace may quote a key, and is shown without
        import traceback

        _complain(f"{traceback.format_exc()}steelyard: this is a fault of steelyard. Please report it with these lines")
        return 4
    return code


def _print_anything() -> None:
    """Let a character that the terminal cannot show stand as its code, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _complain(text: str) -> None:
    """Say on standard error what went wrong, without keys and without what a terminal would obey."""
    from steelyard.report.answers import plain
    from steelyard.secrets import scrub

    print(plain(scrub(text)), file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(prog="steelyard", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_to(verbs)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that repeats no key which was typed where none belongs: what it prints may stand in a public log."""

    def error(self, message: str) -> NoReturn:
        from steelyard.secrets import scrub

        super().error(scrub(message))


class _Version(argparse.Action):
    """Print the version, which is read only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"steelyard {version('steelyard')}")
        parser.exit()

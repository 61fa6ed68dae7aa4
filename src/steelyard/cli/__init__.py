"""The command line: parse, call, print, exit code. Each verb has a file of its own; nothing imports this package.

Exit codes: 0 done, also where single calls failed: they are counted beside each score; 1 a check, a gate or a success
criterion failed; 2 the request cannot be understood or fulfilled, found before any call; 3 a gate or a success
criterion that is inconclusive, where that blocks; 4 the environment failed, or a model was stopped or answered nothing,
so that nothing or only a part was measured; 5 the budget is spent, and what was measured until then is valid;
130 interrupted and resumable.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import io
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.machinery import ExtensionFileLoader
from typing import NoReturn

from steelyard.cli.streams import fill_closed_streams, outlive_readers
from steelyard.errors import SteelyardError

FILES = {"list": "list_names", "import": "import_answers"}
"""The files of those verbs that Python cannot name a module by; any other's is called as the verb."""
VERBS = (
    "run", "show", "compare", "gate", "trend", "baseline", "cascade", "runs", "list", "prompts", "check", "rescore",
    "report", "export", "import", "serve", "setup", "cache", "budget", "selftest", "mock",
)  # fmt: skip

DESCRIPTION = "Weigh language models: how good, how fast, how heavy and how dear, with the uncertainty of every number."
EPILOG = """Try: steelyard run starter -m local/smollm2-135m -m baseline/random

Exit codes:
  0    done; single calls that failed are counted beside each score
  1    a check, a gate or a success criterion failed
  2    wrong usage, found before any call
  3    inconclusive, where that blocks
  4    the environment failed, or a model was stopped or answered nothing
  5    the budget is spent; what was measured is valid
  130  interrupted; steelyard run --resume last goes on
"""
SELDOM = 200_000
"""So many new objects are between two rounds of the garbage collector while a command starts; Python's own is 700."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    _leave_no_core()
    _look_for_garbage_seldom()
    fill_closed_streams()
    _print_anything()
    given = sys.argv[1:] if arguments is None else arguments
    parsed = build_parser(given[0] if given else None).parse_args(given)
    outlive_readers(of_output=not getattr(parsed, "only_prints", False))
    try:
        code: int = parsed.execute(parsed)
        sys.stdout.flush()
    except SteelyardError as error:
        _complain(f"steelyard: {error}")
        return error.exit_code
    except KeyboardInterrupt as wish:
        print(". ".join(["steelyard: interrupted", *wish.args]), file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of what only prints has gone; that is no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - a fault of ours: its trace may quote a key, and is shown without
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _complain("steelyard: there is no room for what is to be written. Free some space")
            return 4
        import traceback

        _complain(f"{traceback.format_exc()}steelyard: this is a fault of steelyard. Please report it with these lines")
        return 4
    return code


def _leave_no_core() -> None:
    """A process that crashes, or one that it started, leaves no image of its memory: keys would be in it."""
    with suppress(ImportError):  # Windows, which keeps none unless it is told to
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _look_for_garbage_seldom() -> None:
    """A start makes modules, which stay: looking for garbage among them takes long, most of all as the process ends."""
    gc.set_threshold(SELDOM)
    atexit.register(_spare_the_last_rounds)


def _spare_the_last_rounds() -> None:
    """Let nothing be looked for as the process ends, but where nanobind's modules would call that a leak."""
    modules = list(sys.modules.values())
    compiled = [module for module in modules if isinstance(getattr(module, "__loader__", None), ExtensionFileLoader)]
    if not any(type(value).__name__.startswith("nb_") for module in compiled for value in vars(module).values()):
        gc.freeze()


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


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, or as much of it as ``verb`` needs: a command waits for no other verb's file."""
    parser = _Parser(
        prog="steelyard",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in (verb,) if verb in VERBS else VERBS:
        import_module(f"steelyard.cli.{FILES.get(name, name)}").add_to(verbs)
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

"""``steelyard selftest``: how well this machine reads times, against a server whose delays are known."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from steelyard.engine.weight.calibration import Bias, Calibration, Level

STREAMS = "1,16,64,256"
HEADINGS = (
    *("streams", "TTFT off", "P95", "ITL off", "P95", "total off", "P95"),
    *("server late", "loop lag P99", "cores", "others"),
)
MUCH_BESIDE = 0.3


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "selftest",
        execute,
        summary="calibrate this machine as a measuring instrument",
        example="steelyard selftest --streams 1,64,512",
    )
    parser.add_argument(
        "--streams", type=_numbers, default=_numbers(STREAMS), metavar="N,N", help=f"how many at once ({STREAMS})"
    )
    parser.add_argument(
        "--bound-ms", type=float, default=1.0, metavar="N", help="median errors that count as clean (1)"
    )
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Measure, print, keep."""
    from steelyard.engine.weight.calibration import keep
    from steelyard.instrument.selftest import SERVER, selftest

    if not parsed.json:
        print(
            f"Against a server of ours that sends its first token after {SERVER.ttft_ms:g} ms and one more every "
            f"{SERVER.itl_ms:g} ms, {SERVER.tokens} in all.\nErrors in ms: measured minus what the server did, median "
            "and 95th percentile of its size.\n"
        )
        print(_row(HEADINGS), flush=True)
    found = selftest(parsed.streams, bound_ms=parsed.bound_ms, on_level=_silent if parsed.json else _print)
    file = keep(found)
    if parsed.json:
        args.print_json(found)
    else:
        print(f"\n{_verdict(found)}\nKept in {file}; every run on this machine records it.")
    return 0


def _silent(level: Level) -> None:
    """A script reads the whole."""


def _print(level: Level) -> None:
    pairs = (text for bias in (level.ttft, level.itl, level.total) for text in _texts(bias))
    lag = "unknown" if level.loop_lag_p99_ms is None else f"{level.loop_lag_p99_ms:.2f}"
    own = (f"{level.server_late.median_ms:.2f}", lag, f"{level.cpu:.2f}", f"{level.others_cpu:.2f}")
    print(_row((f"{level.streams:,}", *pairs, *own)), flush=True)


def _texts(bias: Bias) -> tuple[str, str]:
    return f"{bias.median_ms:+.2f}", f"{bias.p95_ms:.2f}"


def _row(texts: tuple[str, ...]) -> str:
    return "  ".join(text.rjust(max(7, len(heading))) for text, heading in zip(texts, HEADINGS, strict=True))


def _verdict(found: Calibration) -> str:
    counts = ", ".join(f"{level.ttft.n:,}" for level in found.levels)
    gaps = ", ".join(f"{level.itl.n:,}" for level in found.levels)
    clean = f"up to {found.clean_streams:,} streams at once" if found.clean_streams else "at no number of streams"
    beside = max(level.others_cpu for level in found.levels)
    lines = [
        f"Requests: {counts}; gaps: {gaps}.",
        f"Median errors of TTFT and ITL stay within {found.bound_ms:g} ms {clean}.",
        f"Other programs took up to {beside:.1f} cores meanwhile: on a quiet machine it may be more.",
    ]
    return "\n".join(lines[: 3 if beside > MUCH_BESIDE else 2])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(args.count(number) for number in text.split(","))

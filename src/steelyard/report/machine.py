"""What a reader must know of the machine before believing a time: the client held answers up, a server went away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, float]
LITTLE_OF_A_CORE = 0.25
"""A client that took less than this is late for another reason than its own work."""
MUCH_OF_A_MACHINE = 0.5


def beyond_calibration(sessions: Sequence[Mapping[str, Any]], streamed: int) -> list[str]:
    """That more answers came in at once than this machine was found to time well; nothing without a calibration.

    ``sessions`` say what each recorded of the instrument; ``streamed`` is how many answers were timed as they came in.
    """
    beyond = [one for one in sessions if one.get("clean_streams") is not None and one["streams"] > one["clean_streams"]]
    if not beyond:
        return []
    worst = max(beyond, key=lambda one: int(one["streams"]))
    streams, clean = min(streamed, worst["streams"]), worst["clean_streams"]
    if streams <= clean:
        return []
    fewer = f"--concurrency {max(1, clean):,}"
    again = f"steelyard selftest --streams {streams}"
    if clean == worst["most_streams"]:
        return [
            f"Up to {streams:,} answers streamed in at once, and how well this machine times them was tested "
            f"(steelyard selftest) with {clean:,} at most: how far off times are beyond that is not known. "
            f"Try: {again}, or {fewer}"
        ]
    seen = f"its times were right within {worst['bound_ms']:g} ms with up to {clean:,} at once"
    if not clean:
        seen = f"its times were not right within {worst['bound_ms']:g} ms even with the fewest at once"
    bias = worst.get("bias") or {}
    if bias:
        off_ms = bias["ttft"]["median_ms"]
        seen += f"; with {bias['streams']:,}, the first token was noted {abs(off_ms):.1f} ms "
        seen += f"too {'late' if off_ms > 0 else 'early'} in the median"
    return [
        f"Up to {streams:,} answers streamed in at once. When this machine was tested (steelyard selftest), {seen}. "
        "Times of this run may be off by as much, which matters where they, or what lies between two models, are not "
        f"far above it. Try: {fewer}, or nothing else on this machine and {again}"
    ]


def busy_client(sessions: Sequence[Figures]) -> list[str]:
    """That answers were read late, and whose doing that was; of the session in which it was latest."""
    busy = [figures for figures in sessions if figures.get("client_is_bottleneck")]
    if not busy:
        return []
    worst = max(busy, key=lambda figures: figures["client_lag_p99_s"])
    cores, late_ms = worst["client_cores"], 1000 * worst["client_lag_p99_s"]
    others = _of_others(worst)
    if cores >= LITTLE_OF_A_CORE:
        return [
            f"The client was a bottleneck: while answers were on their way it took {cores:.2f} of a core, and was up "
            f"to {late_ms:.0f} ms late (99th percentile), which times and rates include.{others and f' {others}'} "
            "Try: a smaller --concurrency, nothing else on this machine, the model on another one"
        ]
    cause = others or "Something else held it up, such as other programs, a slow disk or too little memory."
    return [
        f"This machine was busy with other work: answers were noted up to {late_ms:.0f} ms late (99th percentile), "
        f"which times and rates include, though Steelyard itself took {cores:.2f} of a core. {cause} "
        "Try: again with nothing else on this machine"
    ]


def _of_others(figures: Figures) -> str:
    """How much of the machine other programs took during the session, where that was much and is known."""
    known = ("machine_cpu_s", "machine_cores", "cpu_s", "wall_s")
    if not all(figures.get(name) for name in known):
        return ""
    own_s = figures["cpu_s"] + figures.get("model_cpu_s", 0.0)
    others = (figures["machine_cpu_s"] - own_s) / figures["wall_s"]
    cores = figures["machine_cores"]
    if others < MUCH_OF_A_MACHINE * cores:
        return ""
    return f"Other programs took {others:.1f} of this machine's {cores:.0f} cores."


def ended_servers(sessions: Sequence[Figures]) -> list[str]:
    """That a process named by ``server_pid`` ended before the run did."""
    found = []
    for figures in sessions:
        for name, after_s in figures.items():
            key, _, model = name.partition("/")
            if key == "model_ended_after_s":
                found.append(
                    f"{model}: the process of server_pid ended after {after_s:.0f} s; what it took is known until then"
                )
    return list(dict.fromkeys(found))

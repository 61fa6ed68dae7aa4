"""What a reader must know of the machine before believing a time: the client held answers up, a server went away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Figures = Mapping[str, float]


def busy_client(sessions: Sequence[Figures]) -> list[str]:
    """That this process, not the model, decided how long answers took; of the session in which it was latest."""
    busy = [figures for figures in sessions if figures.get("client_is_bottleneck")]
    if not busy:
        return []
    worst = max(busy, key=lambda figures: figures["client_lag_p99_s"])
    return [
        f"The client was a bottleneck: while answers were on their way it took {worst['client_cores']:.2f} of a core, "
        f"and was up to {1000 * worst['client_lag_p99_s']:.0f} ms late (99th percentile), which times and rates "
        "include. Try: a smaller --concurrency, nothing else on this machine, the model on another one"
    ]


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

"""``steelyard list``: the benchmarks, protocols, models and metrics that go by a name."""

from __future__ import annotations

import argparse
from typing import Any

from steelyard.cli import arguments as args

WHAT = ("benchmarks", "protocols", "models", "providers", "metrics")


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "list",
        execute,
        summary="list known benchmarks, protocols, models, providers or metrics",
        example="steelyard list protocols",
    )
    parser.add_argument("what", nargs="?", choices=WHAT, default="benchmarks", metavar="|".join(WHAT))
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Print one list."""
    lists = (_benchmarks, _protocols, _models, _providers, _metrics)
    rows = dict(zip(WHAT, lists, strict=True))[parsed.what]()
    if parsed.json:
        args.print_json(rows)
    else:
        _print(rows)
    return 0


def _benchmarks() -> list[dict[str, Any]]:
    from steelyard.benchmarks import benchmark_names, find_benchmark

    return [
        {
            "name": benchmark.name,
            "items": benchmark.items,
            "rows": "as pinned" if benchmark.is_verified else "unverified",
            "default": benchmark.protocol(None).name,
            "licence": benchmark.licence,
            "source": benchmark.source,
            "revision": benchmark.revision,
            "description": benchmark.description,
        }
        for benchmark in map(find_benchmark, benchmark_names())
    ]


def _protocols() -> list[dict[str, Any]]:
    from steelyard.benchmarks import benchmark_names, find_benchmark

    return [
        {
            "protocol": f"{benchmark.name}@{protocol.name}",
            "version": protocol.version,
            "kind": protocol.kind,
            "shots": protocol.shots,
            "metrics": ", ".join(protocol.metrics),
            "description": protocol.description,
        }
        for benchmark in map(find_benchmark, benchmark_names())
        for protocol in benchmark.protocols or (benchmark.protocol(None),)
    ]


def _models() -> list[dict[str, Any]]:
    from steelyard.benchmarks.floors import FLOORS
    from steelyard.providers import HERE, provider_names
    from steelyard.providers.weights import SHA256, is_present

    rows = [{"model": f"local/{name}", "state": _state(is_present(name), name)} for name in SHA256]
    rows += [{"model": "local/PATH.gguf", "state": "any GGUF file"}]
    rows += [{"model": f"baseline/{name}", "state": "a floor: needs no model"} for name in FLOORS]
    rows += [{"model": "python:MODULE:FUNCTION", "state": "any Python callable"}]
    rows += [{"model": "cascade/CHEAP>DEAR", "state": "two models as one system"}]
    others = [name for name in provider_names() if name not in HERE]
    rows += [{"model": f"{name}/MODEL", "state": "a provider"} for name in others]
    return rows


def _providers() -> list[dict[str, Any]]:
    from steelyard.prices import LISTED
    from steelyard.providers import HERE, provider_names
    from steelyard.providers.services import SERVICES

    rows: list[dict[str, Any]] = [
        {
            "provider": f"{name}/MODEL",
            "state": f"not set: {' and '.join(service.missing)}" if service.missing else "ready",
            "key": " or ".join(service.key_variables),
            "address": service.address or service.address_variable,
            "prices": "listed" if name in LISTED else "as you state them",
            "description": service.described,
        }
        for name, service in SERVICES.items()
    ]
    others = [name for name in provider_names() if name not in {*HERE, *SERVICES, "litellm"}]
    unknown = {"state": None, "key": None, "address": None, "prices": "as you state them"}
    rows += [{"provider": f"{name}/MODEL", **unknown, "description": "of another package"} for name in others]
    here = {"state": "ready", "key": None, "address": "this machine", "prices": "as you state them"}
    through = unknown | {"prices": "listed", "description": "what litellm reaches; timing is indirect"}
    rows.append({"provider": "litellm/PROVIDER/MODEL", **through})
    rows.append({"provider": "local/MODEL", **here, "description": "weights: see steelyard list models"})
    rows.append({"provider": "python:MODULE:FUNCTION", **here, "description": "any Python callable"})
    return rows


def _state(is_here: bool, name: str) -> str:
    return "here" if is_here else f"not here yet: steelyard setup {name}"


def _metrics() -> list[dict[str, Any]]:
    from steelyard.analysis.metrics import JUDGE_METRICS, METRICS

    return [
        {"name": metric.name, "unit": metric.unit, "better": metric.better, "definition": metric.definition}
        for metric in (METRICS | JUDGE_METRICS).values()
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from steelyard.report.console import console

    table = Table(box=None, pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_short(value) for value in row.values()))
    console().print(table)


def _short(value: Any) -> str:
    """A cell's text; of a revision the first twelve digits, which is what anybody compares."""
    text = "" if value is None else str(value)[:120]
    return text[:12] if len(text) == 40 and " " not in text else text

"""The plan: what will be asked of whom, validated and hashed before anything is sent.

A plan file, the command line and Python all end here, in the same value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from steelyard.errors import UsageError
from steelyard.plan.stopping import Stop
from steelyard.types import ModelSpec
from steelyard.types.ready import ready

Order = Literal["shuffled", "file"]
NOT_ASKED = ("name", "tags", "metrics", "workers", "budget_usd", "fresh", "cache_max_age_s", "success", "baseline")


class BenchmarkSpec(Struct, frozen=True, kw_only=True):
    """One benchmark to run: ``NAME:PART@PROTOCOL``, or a file of the user's own with its grader."""

    name: str
    part: str | None = None
    protocol: str | None = None
    shots: int | None = None
    grader: str | None = None

    @property
    def label(self) -> str:
        """The words that name it, as they are typed."""
        part = f":{self.part}" if self.part else ""
        protocol = f"@{self.protocol}" if self.protocol else ""
        return f"{self.name}{part}{protocol}"


class Plan(Struct, frozen=True, kw_only=True):
    """One run, spelled out. ``limit`` is items per benchmark, ``runs`` how often each item is asked.

    ``order``: ``shuffled`` draws the items by a permutation of ``seed``; ``file`` takes the first ones as they stand.
    ``concurrency`` is the number of requests in flight per model; ``None`` leaves it to the provider.
    ``workers`` is the number of processes that share the items; ``None`` asks them all from this one.
    ``judge_repeats`` is how often a judge is asked about each answer; ``None`` leaves it to the judge.
    ``budget_usd`` is what the run may spend, over all its sessions, judges included; ``None`` sets no limit.
    ``stop`` is the rule by which a cell may end before all its items are asked.
    ``fresh``: ask anew also what an earlier run was answered; ``cache_max_age_s``: what was answered longer ago.
    ``success`` are the criteria that the run, and each ``gate`` of it, is held to, beside the margins to ``baseline``.
    """

    models: tuple[ModelSpec, ...]
    benchmarks: tuple[BenchmarkSpec, ...]
    name: str | None = None
    metrics: tuple[str, ...] = ()
    limit: int | None = None
    runs: int = 1
    seed: int = 0
    order: Order = "shuffled"
    concurrency: int | None = None
    workers: int | None = None
    judge_repeats: int | None = None
    budget_usd: float | None = None
    fresh: bool = False
    cache_max_age_s: float | None = None
    accept_data: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    stop: Stop | None = None
    success: tuple[str, ...] = ()
    baseline: str | None = None

    def as_document(self) -> dict[str, Any]:
        """The plan as JSON-ready values, every default spelled out."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    def digest(self) -> str:
        """sha256 over what is asked of whom: not the name, the tags, which metrics are shown, what is asked
        anew, what a gate holds it to, or which process serves a model.
        """
        document = self.as_document()
        for key in NOT_ASKED:
            document.pop(key)
        if self.stop is None:
            document.pop("stop")  # a plan without one keeps the digest that it had before there were rules
        for model in document["models"]:
            model.pop("server_pid")
            for name in ("confidence", "cascade"):
                if model[name] is None:
                    model.pop(name)  # a plan without one keeps the digest that it had before there were any
        return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def plan_from_document(document: dict[str, Any]) -> Plan:
    """The plan that a store or ``as_document`` gave."""
    return msgspec.convert(document, type=ready(Plan))


def distinct_ids(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """The models with ids that differ: the same model with other settings is another system and gets a number."""
    seen: dict[str, list[ModelSpec]] = {}
    distinct = []
    for spec in models:
        same = seen.setdefault(spec.id, [])
        if spec in same:
            raise UsageError(f"model {spec.id!r} is listed twice with the same settings")
        same.append(spec)
        distinct.append(spec if len(same) == 1 else msgspec.structs.replace(spec, id=f"{spec.id}#{len(same)}"))
    return tuple(distinct)

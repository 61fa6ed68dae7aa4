"""A plan as the YAML that says it: what a run asked, to be asked again.

What is written is read back before it is given away, so that it says the same to the digest, or is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace

from steelyard.errors import SteelyardError, UsageError
from steelyard.plan.file import in_folder, plan_of
from steelyard.plan.names import CASCADE
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.plan.stopping import Cascade, Compare, HalfWidth, Ladder, Stop
from steelyard.types import Confidence, ModelSpec

PLAIN = ("name", "limit", "runs", "seed", "order", "concurrency", "workers", "judge_repeats", "fresh", "accept_data",
         "tags", "success", "baseline", "metrics")  # fmt: skip
"""Keys that a plan file has as the plan has them."""
BEYOND = "Its answers can be graded again: steelyard rescore"
MADE_ELSEWHERE = "import"


def plan_text(plan: Plan) -> str:
    """The plan file; paths in it are relative to where the run was started.

    Raise where the plan holds what no file can say, as models that were Python objects.
    """
    if any(spec.provider == MADE_ELSEWHERE for spec in plan.models):
        raise UsageError(f"the answers of this run were made elsewhere, so there is nothing to ask again. {BEYOND}")
    text = yaml.safe_dump(_document(plan), sort_keys=False, allow_unicode=True, width=120)
    try:
        is_same = plan_of(text).digest() == _with_plain_paths(plan).digest()
    except SteelyardError as error:
        raise UsageError(f"this plan holds what a plan file cannot say: {error}") from error
    if not is_same:
        raise UsageError(
            "this plan holds what a plan file cannot say: objects of Python, or a cascade or a judge of confidence "
            "whose models have settings of their own. Try: steelyard show --provenance, which has all of it"
        )
    return text


def _with_plain_paths(plan: Plan) -> Plan:
    """The plan with its files named as reading a plan names them: ``./cases.jsonl`` is ``cases.jsonl``."""
    return replace(plan, benchmarks=tuple(in_folder(spec, Path()) for spec in plan.benchmarks))


def _document(plan: Plan) -> dict[str, Any]:
    """The keys of the file, without what is as it is when nobody says anything."""
    usual = Plan(models=(), benchmarks=())
    said = {key: _builtin(value) for key in PLAIN if (value := getattr(plan, key)) != getattr(usual, key)}
    document = {
        "models": [_model(spec) for spec in plan.models],
        "benchmarks": [_benchmark(spec) for spec in plan.benchmarks],
        **said,
    }
    if plan.cache_max_age_s is not None:
        document["cache_max_age"] = f"{plan.cache_max_age_s:.15g}s"
    if plan.budget_usd is not None:
        document["budget"] = {"usd": plan.budget_usd}
    if isinstance(plan.stop, Cascade):
        document["cascade"] = _cascade(plan.stop)
    elif plan.stop is not None:
        document["stop"] = _stop(plan.stop)
    return document


def _model(spec: ModelSpec) -> dict[str, Any]:
    entry = _set(spec, ModelSpec(id="", provider="", model=""), "confidence", "cascade", "server_pid")
    escalation = spec.cascade
    if escalation is not None:
        confidence = escalation.cheap.confidence
        entry |= {"provider": CASCADE, "threshold": escalation.threshold}
        entry["confidence"] = None if confidence is None else _confidence(confidence)
    elif spec.confidence is not None:
        entry["confidence"] = _confidence(spec.confidence)
    return entry


def _confidence(confidence: Confidence) -> dict[str, Any]:
    of_samples = ("samples", "temperature") if confidence.by == "agreement" else ()
    entry: dict[str, Any] = {"by": confidence.by} | {name: getattr(confidence, name) for name in of_samples}
    return entry if confidence.judge is None else entry | {"judge": confidence.judge.id}


def _benchmark(spec: BenchmarkSpec) -> dict[str, Any]:
    return _set(spec, BenchmarkSpec(name=""))


def _stop(stop: Stop) -> dict[str, Any]:
    """A rule as ``stop:`` has it, which names it by its main setting, or by a switch."""
    entry: dict[str, Any] = _builtin(stop)
    entry.pop("rule")
    named: dict[str, Any] = {}
    if not isinstance(stop, HalfWidth | Ladder):
        named["compare" if isinstance(stop, Compare) else "anytime"] = True
    return named | {key: value for key, value in entry.items() if value is not None}


def _cascade(stop: Cascade) -> dict[str, Any]:
    entry: dict[str, Any] = {"looks": list(stop.looks), "alpha": stop.alpha}
    if stop.worse_by is not None:
        entry["drop_when"] = f"worse_by {stop.worse_by}"
    return entry | ({"skip_when": "success"} if stop.success else {})


def _set(one: msgspec.Struct, usual: msgspec.Struct, *others: str) -> dict[str, Any]:
    """The fields that differ from the usual ones."""
    names = [name for name in one.__struct_fields__ if name not in others]
    return {name: _builtin(getattr(one, name)) for name in names if getattr(one, name) != getattr(usual, name)}


def _builtin(value: Any) -> Any:
    plain = msgspec.to_builtins(value)
    if isinstance(value, msgspec.Struct):  # what stands in a mapping of the user's at nothing is meant
        return {key: each for key, each in plain.items() if each is not None}
    return list(plain) if isinstance(plain, tuple) else plain

"""From the words of a command line to a plan: names, a plan file with options over it, or a run to go on with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from steelyard.benchmarks import DESCRIPTION_SUFFIXES
from steelyard.errors import UsageError
from steelyard.plan.names import (
    BASELINE,
    CASCADE,
    confidence_of,
    parse_benchmark,
    parse_model,
    parse_price,
    seconds,
)
from steelyard.plan.plan import BenchmarkSpec, Plan, distinct_ids, plan_from_document
from steelyard.plan.stopping import Anytime, Cascade, Compare, Stop, cascade_rule, parse_stop
from steelyard.providers import is_remote
from steelyard.types import Confidence, Escalation, ModelSpec, RunInfo

PLAN_OPTIONS = ("limit", "runs", "seed", "order", "concurrency", "workers", "judge_repeats", "name", "fresh")
FIXED_ON_RESUME = ("seed", "order", "stop")


def plan_from_arguments(parsed: argparse.Namespace, resume: RunInfo | None) -> Plan:
    """The plan that the arguments describe; options win over a file's keys."""
    base = _base(parsed, resume)
    changes: dict[str, Any] = {name: value for name in PLAN_OPTIONS if (value := getattr(parsed, name)) is not None}
    if parsed.budget is not None:
        changes["budget_usd"] = parsed.budget
    if parsed.cache_max_age is not None:
        changes["cache_max_age_s"] = seconds(parsed.cache_max_age)
    success = tuple(parsed.success) or base.success
    if parsed.success:
        changes["success"] = success
    if (stop := _ending(parsed, success)) is not None:
        changes["stop"] = stop
    if parsed.batch:
        changes["models"] = tuple(msgspec.structs.replace(spec, batch=True) for spec in base.models)
    if resume is not None:
        _check_resumable(base, changes)
        _check_same_pairs(base, plan_from_document(resume.plan))
    if parsed.accept_data:
        changes["accept_data"] = (*base.accept_data, *parsed.accept_data)
    if parsed.tags:
        changes["tags"] = (*base.tags, *parsed.tags)
    plan = msgspec.structs.replace(base, **changes)
    if parsed.server_pid is not None and all(spec.server_pid is None for spec in plan.models):
        raise UsageError(
            "--server-pid is for a model given with -m that answers at an address. Try: server_pid in the plan's entry"
        )
    return plan


def _base(parsed: argparse.Namespace, resume: RunInfo | None) -> Plan:
    files = [word for word in parsed.what if word.endswith(DESCRIPTION_SUFFIXES) and _is_plan(Path(word))]
    names = [word for word in parsed.what if word not in files]
    models = tuple(_model(word, parsed) for word in parsed.models)
    benchmarks = tuple(_benchmark(word, parsed) for word in names)
    if len(files) > 1 or (files and resume):
        raise UsageError("one plan at a time: give one plan file, or --resume RUN")
    if files:
        from steelyard.plan.file import read_plan

        plan = read_plan(Path(files[0]))
    elif resume:
        plan = _served_by(parsed.server_pid, plan_from_document(resume.plan))
    else:
        return _named(models, benchmarks)
    return msgspec.structs.replace(
        plan,
        models=distinct_ids((*plan.models, *(spec for spec in models if spec not in plan.models))),
        benchmarks=(*plan.benchmarks, *(spec for spec in benchmarks if spec not in plan.benchmarks)),
    )


def _is_plan(file: Path) -> bool:
    from steelyard.plan.file import is_plan  # which loads a reader of YAML

    return is_plan(file)


def _served_by(pid: int | None, plan: Plan) -> Plan:
    """The plan of an earlier stretch of the run with the process that serves now; the old number may be another's.

    ``pid`` is for the models that had one, else for all that are asked at an address.
    """
    had = {spec.id for spec in plan.models if spec.server_pid is not None}
    served = had or {spec.id for spec in plan.models if is_remote(spec.provider)}
    models = (msgspec.structs.replace(spec, server_pid=pid if spec.id in served else None) for spec in plan.models)
    return msgspec.structs.replace(plan, models=tuple(models))


def _named(models: tuple[ModelSpec, ...], benchmarks: tuple[BenchmarkSpec, ...]) -> Plan:
    if not benchmarks:
        raise UsageError("no benchmark named. Try: steelyard run starter -m local/smollm2-135m (see: steelyard list)")
    if not models:
        raise UsageError(f"no model named. Try: steelyard run {benchmarks[0].label} -m local/smollm2-135m")
    return Plan(models=distinct_ids(models), benchmarks=benchmarks)


def _model(word: str, parsed: argparse.Namespace) -> ModelSpec:
    spec = parse_model(word)
    sampled = {"temperature": parsed.temperature, "max_tokens": parsed.max_tokens, "system": parsed.system}
    how = _confidence(parsed)
    if spec.cascade is not None:
        return msgspec.structs.replace(spec, cascade=_escalation(spec.cascade, parsed, how), **sampled)
    if parsed.escalate_below is not None and not any(word.startswith(f"{CASCADE}/") for word in parsed.models):
        raise UsageError("--escalate-below is for a cascade. Try: -m 'cascade/CHEAP>DEAR'")
    is_floor = spec.provider == BASELINE  # it sends nothing, so nothing of it can be billed
    how = None if is_floor else how
    settings = sampled | {"confidence": how} | ({"server_pid": parsed.server_pid} if is_remote(spec.provider) else {})
    return msgspec.structs.replace(_reached(spec, parsed, None if is_floor else parsed.price), **settings)


def _reached(spec: ModelSpec, parsed: argparse.Namespace, price: str | None) -> ModelSpec:
    """One model with what says where it is reached, how fast it may be asked, and what that costs."""
    settings: dict[str, Any] = {
        "requests_per_minute": parsed.rpm,
        "tokens_per_minute": parsed.tpm,
        "price": parse_price(price) if price is not None else None,
    }
    if is_remote(spec.provider):
        settings |= {"base_url": parsed.base_url, "api_key_env": parsed.api_key_env}
    return msgspec.structs.replace(spec, **settings)


def _escalation(cascade: Escalation, parsed: argparse.Namespace, how: Confidence | None) -> Escalation:
    """Both models of a cascade, each at its own price."""
    prices: list[str | None] = [None, None] if parsed.price is None else [*parsed.price.split(">")]
    if len(prices) != 2:
        raise UsageError("a cascade has two prices. Try: --price '0.15/0.60>2.50/10', the cheap model's first")
    cheap, dear = (
        _reached(spec, parsed, price) for spec, price in zip((cascade.cheap, cascade.dear), prices, strict=True)
    )
    cheap = msgspec.structs.replace(cheap, confidence=how or cheap.confidence)
    return Escalation(cheap=cheap, dear=dear, threshold=parsed.escalate_below)


def _confidence(parsed: argparse.Namespace) -> Confidence | None:
    """How confidence is found, where the command line says so."""
    if parsed.confidence is None:
        if parsed.samples is not None or parsed.confidence_judge is not None:
            raise UsageError("--samples and --confidence-judge go with --confidence agreement, or judge")
        return None
    judge = None
    if parsed.confidence_judge is not None:
        judge = msgspec.structs.replace(
            parse_model(parsed.confidence_judge),
            base_url=parsed.base_url if is_remote(parse_model(parsed.confidence_judge).provider) else None,
        )
    return confidence_of(parsed.confidence, samples=parsed.samples, judge=judge)


def _benchmark(word: str, parsed: argparse.Namespace) -> BenchmarkSpec:
    return msgspec.structs.replace(parse_benchmark(word), shots=parsed.shots, grader=parsed.grader)


def _ending(parsed: argparse.Namespace, success: tuple[str, ...]) -> Stop | None:
    """The rule that ``--stop`` or ``--cascade`` describe."""
    if parsed.stop is not None and parsed.cascade:
        raise UsageError("a run has either --stop or --cascade")
    if parsed.stop is not None:
        if len(parsed.stop) > 1:
            raise UsageError(
                f"a run has one stopping rule, not {' and '.join(parsed.stop)}. Try: --stop {parsed.stop[0]}"
            )
        return parse_stop(parsed.stop[0])
    if not parsed.cascade:
        return None
    keys = {"skip_when" if word == "success" else "drop_when": word for word in parsed.cascade}
    return cascade_rule(keys, success)


def _check_same_pairs(plan: Plan, before: Plan) -> None:
    """The error of a comparison is shared by its pairs, so there can be no more of them later."""
    names = [spec.id for spec in plan.models] != [spec.id for spec in before.models]
    if isinstance(plan.stop, (Compare, Anytime, Cascade)) and names:
        raise UsageError(
            "no model can join a run that stops by a comparison: its pairs share the error. "
            "Try: a new run; what was answered is used again"
        )


def _check_resumable(plan: Plan, changes: dict[str, Any]) -> None:
    for name in FIXED_ON_RESUME:
        if name in changes and changes[name] != getattr(plan, name):
            raise UsageError(f"--{name} cannot change when a run goes on: it decides which items are asked")
    for name in ("limit", "runs"):
        if plan.stop is not None and changes.get(name, getattr(plan, name)) != getattr(plan, name):
            raise UsageError(
                f"--{name} cannot change when a run with a stopping rule goes on: its looks are shares of the items, "
                "and its error is spent on those. Try: a new run; what was answered is used again"
            )
        before, now = getattr(plan, name), changes.get(name)
        if now is not None and (before is None or now < before):
            raise UsageError(f"--{name} {now} is less than the run has ({before or 'all'}); it can only grow")

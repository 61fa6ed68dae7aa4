"""A plan is written as the file that says it, or refused."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from steelyard.errors import UsageError
from steelyard.plan.file import plan_of
from steelyard.plan.names import cascade_of
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.plan.stopping import parse_stop
from steelyard.plan.writing import plan_text
from steelyard.types import Confidence, ModelSpec, Price

SMALL = ModelSpec(id="small", provider="openai", model="gpt-4o-mini", system="Be brief: yes or no", temperature=0.2,
                  stop=("\n",), extra={"top_p": 0.9}, price=Price(input=1.0, output=4.0),
                  confidence=Confidence(by="logprob"))  # fmt: skip
BIG = ModelSpec(id="big", provider="openai", model="gpt-4o", base_url="http://localhost:8000/v1", max_tokens=64)
GSM8K = BenchmarkSpec(name="gsm8k", protocol="zero-shot", shots=2)


def written(**settings):
    return Plan(**({"models": (SMALL, BIG), "benchmarks": (GSM8K,)} | settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limit": 40, "runs": 3, "seed": 7, "order": "file", "concurrency": 2, "budget_usd": 0.5, "tags": ("a", "b")},
        {"stop": parse_stop("compare")},
        {"stop": parse_stop("anytime,every=20")},
        {"stop": parse_stop("half_width=0.03")},
        {"stop": parse_stop("ladder=0.1/0.5/1,variance=0.0004")},
        {"models": (SMALL, BIG, cascade_of("small>big", {"small": SMALL, "big": BIG}, threshold=0.7))},
        {"fresh": True},
        {"cache_max_age_s": 604800.0},
        {"models": (replace(BIG, extra={"thinking": None, "kept": {"off": None}}),)},
        {"benchmarks": (BenchmarkSpec(name="cases.jsonl", grader="number"), BenchmarkSpec(name="mmlu", part="law"))},
    ],
    ids=lambda settings: ", ".join(settings) or "plain",
)
def test_a_written_plan_says_the_same(settings):
    plan = written(**settings)
    again = plan_of(plan_text(plan))
    assert again.digest() == plan.digest()
    assert (again.budget_usd, again.tags) == (plan.budget_usd, plan.tags)
    assert (again.fresh, again.cache_max_age_s) == (plan.fresh, plan.cache_max_age_s)


@pytest.mark.parametrize("path", ["./cases.jsonl", "sets//cases.jsonl"])
def test_a_file_is_named_as_reading_a_plan_names_it(path):
    again = plan_of(plan_text(written(benchmarks=(BenchmarkSpec(name=path),))))
    assert [Path(spec.name) for spec in again.benchmarks] == [Path(path)]


def test_what_nobody_said_is_not_written():
    text = plan_text(Plan(models=(BIG,), benchmarks=(BenchmarkSpec(name="gsm8k"),)))
    assert "temperature" not in text
    assert "null" not in text
    assert "seed" not in text


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (ModelSpec(id="m", provider="import", model="m"), "made elsewhere"),
        (ModelSpec(id="m", provider="object", model="m"), "cannot say"),
        (cascade_of("small>big", {"small": SMALL, "big": BIG}, threshold=0.7), "cannot say"),
    ],
    ids=["imported", "object", "cascade of models that no entry names"],
)
def test_a_plan_that_no_file_can_say_is_refused(model, why):
    with pytest.raises(UsageError, match=why):
        plan_text(written(models=(model,)))

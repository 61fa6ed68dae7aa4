"""Every prompt of every protocol that carries lm-eval's name equals what lm-eval 0.4.13 renders, byte for byte.

``lm_eval_prompts.json`` holds sha256 digests made by lm-eval itself over all items: per item, in order of id, the JSON
array of id, context and continuations, then a line feed.
"""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from steelyard.engine.cells import prepare_task
from steelyard.plan.names import parse_benchmark
from steelyard.plan.plan import Plan

DIGESTS = json.loads((Path(__file__).parent / "lm_eval_prompts.json").read_text("utf-8"))
LARGE = ("mmlu",)


def rendered_digest(words):
    name, _, shots = words.partition(" --shots ")
    spec = msgspec.structs.replace(parse_benchmark(name), shots=int(shots))
    task = prepare_task(spec, Plan(models=(), benchmarks=(spec,), order="file"))
    lines = {}
    for position in task.positions:
        prompt = task.prompt(position)
        lines[task.dataset.samples[position].id] = [prompt.text, *prompt.continuations]
    total = hashlib.sha256()
    for name in sorted(lines):
        total.update(json.dumps([name, *lines[name]]).encode() + b"\n")
    return total.hexdigest()


def cases():
    found = []
    for words in DIGESTS:
        marks = [pytest.mark.long] if words.startswith(LARGE) and "lm-eval --shots 5" not in words else []
        found.append(pytest.param(words, marks=marks))
    return found


@pytest.mark.data
@pytest.mark.parametrize("words", cases())
def test_prompts_are_lm_evals_own(words, data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    assert rendered_digest(words) == DIGESTS[words]

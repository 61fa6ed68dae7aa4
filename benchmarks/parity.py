"""The same items on the same weights by Steelyard and by lm-eval, one after the other: rates, and agreement by item.

    STEELYARD_DATA=... python benchmarks/parity.py --lm-eval OTHER_ENVIRONMENT/bin/python

The other environment holds lm-eval 0.4.13 with torch, transformers and gguf. lm-eval computes in float32 on the weights
as dequantised from the file, llama.cpp on the quantised ones, so near ties may fall either way: every item on which the
two differ is listed with the gap that decided it. Loading is left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

import steelyard as sy
from steelyard.plan.names import parse_benchmark
from steelyard.providers import weights as local_weights

LEGS = (
    ("mmlu:electrical_engineering@cloze", "mmlu_electrical_engineering_continuation", 5),
    ("mmlu:astronomy@lm-eval", "mmlu_astronomy", 5),
    ("gsm8k@lm-eval", "gsm8k", 5),
)

THEIRS = """
import json, os, sys, time
import datasets, torch
weights, task, shots, limit, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
root = os.environ["STEELYARD_DATA"]

def rows(path):
    return [json.loads(line) for line in open(f"{root}/{path}", encoding="utf-8", newline="\\n") if line.strip()]

def load(path, name=None, **settings):
    if path == "cais/mmlu":
        splits = {s: [r for r in rows(f"mmlu/all/{s}.jsonl") if r["subject"] == name] for s in ("test", "dev")}
    else:
        splits = {s: rows(f"gsm8k/main/{s}.jsonl") for s in ("test", "train")}
    return datasets.DatasetDict({s: datasets.Dataset.from_list(found) for s, found in splits.items()})

datasets.load_dataset = load
import lm_eval
from lm_eval.models.huggingface import HFLM
folder, file = os.path.split(weights)
model = HFLM(pretrained=folder, gguf_file=file, dtype="float32", device="cpu", batch_size=4)
began = time.time()
found = lm_eval.simple_evaluate(model=model, tasks=[task], num_fewshot=shots, limit=limit, bootstrap_iters=0)
took = time.time() - began
samples = [
    {"item": s["doc_id"], "filter": s["filter"], "replies": s["filtered_resps"], "text": s["resps"],
     "score": s.get("exact_match", s.get("acc"))}
    for s in found["samples"][task]
]
json.dump({"took_s": took, "samples": samples}, open(out, "w"), default=str)
"""


def main() -> None:
    """Run every leg by both and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lm-eval", required=True, metavar="PYTHON", help="the Python of lm-eval's environment")
    parser.add_argument("--limit", type=int, default=50, help="items of each leg (default 50)")
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    weights = local_weights.find(options.model).path
    for ours, theirs, shots in LEGS:
        with tempfile.TemporaryDirectory() as folder:
            run = sy.run(
                [f"local/{options.model}"],
                [msgspec.structs.replace(parse_benchmark(ours), shots=shots)],
                limit=options.limit,
                order="file",
                store=Path(folder) / "parity.db",
            )
            records = {int(record.sample.id.rpartition("/")[2]): record for record in run.records()}
            rate = _rate(run)
            reference = _theirs(options.lm_eval, weights, theirs, shots, options.limit, Path(folder) / "theirs.json")
        _report(ours, shots, records, rate, reference)


def _rate(run: sy.Run) -> float:
    value = run.estimate("requests_per_second").value
    assert value is not None
    return value


def _theirs(python: str, weights: Path, task: str, shots: int, limit: int, out: Path) -> dict[str, Any]:
    command = [python, "-c", THEIRS, str(weights), task, str(shots), str(limit), str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


def _report(label: str, shots: int, records: dict[int, sy.Record], rate: float, reference: dict[str, Any]) -> None:
    samples = [s for s in reference["samples"] if s["filter"] in ("none", "flexible-extract")]
    their_rate = len(samples) / reference["took_s"]
    print(f"\n{label}, {shots}-shot, {len(samples)} items")
    print(f"  items/s: {rate:.2f} and lm-eval {their_rate:.2f}: {rate / their_rate:.1f} times")
    if label.startswith("gsm8k"):
        _compare_texts(records, samples)
    else:
        _compare_choices(records, samples)


def _compare_choices(records: dict[int, sy.Record], samples: list[dict[str, Any]]) -> None:
    same, apart = 0, []
    for sample in samples:
        completion = records[sample["item"]].call.completion
        assert completion is not None
        ours = [found.logprob for found in completion.likelihoods]
        theirs = [float(reply[0]) for reply in sample["replies"]]
        apart += [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
        one, other = ours.index(max(ours)), theirs.index(max(theirs))
        same += one == other
        if one != other:
            gaps = ours[one] - ours[other], theirs[other] - theirs[one]
            print(
                f"  item {sample['item']}: choice {one}, lm-eval {other}; ahead by {gaps[0]:.3f} and {gaps[1]:.3f} nat"
            )
    print(f"  same choice: {same} of {len(samples)}; median difference of a log-probability {median(apart):.3f} nat")


def _compare_texts(records: dict[int, sy.Record], samples: list[dict[str, Any]]) -> None:
    texts = scores = 0
    for sample in samples:
        record = records[sample["item"]]
        assert record.call.completion is not None
        texts += record.call.completion.text == sample["text"][0][0]
        scores += record.scores["accuracy"].value == sample["score"]
    print(f"  same score: {scores} of {len(samples)}; same text: {texts}")


if __name__ == "__main__":
    sys.exit(main())

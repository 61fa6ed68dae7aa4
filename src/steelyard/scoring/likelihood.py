"""A choice by its log-probability: the continuation that the model finds likeliest is its answer."""

from __future__ import annotations

from steelyard.scoring.choice import LETTERS
from steelyard.types import Completion, Sample, Score


def grade_choice(sample: Sample, completion: Completion) -> dict[str, Score]:
    """``accuracy`` by the summed log-probability, ``accuracy.norm`` by the same per character of the choice."""
    weighed = completion.likelihoods
    if not weighed:
        nothing = Score(value=0.0, answer=None, reason="no likelihoods")
        return {"accuracy": nothing, "accuracy.norm": nothing}
    raw = max(range(len(weighed)), key=lambda i: weighed[i].logprob)
    per_character = max(range(len(weighed)), key=lambda i: weighed[i].logprob / max(1, weighed[i].characters))
    return {"accuracy": _picked(sample, raw), "accuracy.norm": _picked(sample, per_character)}


def _picked(sample: Sample, index: int) -> Score:
    return Score(value=float(index == int(sample.target)), answer=LETTERS[index])

"""IFEval: prompts and instructions counted as the authors count them, and told with their interval."""

import json
from pathlib import Path

import pytest

import steelyard as sy
from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.errors import DataError
from steelyard.types import Completion

IFEVAL = find_benchmark("ifeval")
NO_COMMA, QUOTED, JSON = ("punctuation:no_comma", {}), ("startend:quotation", {}), ("detectable_format:json_format", {})


def rows(*asked):
    return [
        {"key": key, "prompt": f"p{key}", "instruction_id_list": [n for n, _ in one], "kwargs": [k for _, k in one]}
        for key, one in enumerate(asked)
    ]


@pytest.fixture
def given(monkeypatch):
    def write(*asked):
        Path("data/ifeval").mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows(*asked))
        Path("data/ifeval/train.jsonl").write_text(text, "utf-8")
        monkeypatch.setenv("STEELYARD_DATA", "data")
        return IFEVAL.dataset(Selection()).samples

    return write


def values(sample, reply):
    scores = IFEVAL.protocol(None).grade(sample, Completion(text=reply))
    return {name: score.value for name, score in scores.items()}


def test_a_prompt_is_right_when_all_its_instructions_are_followed(given):
    (sample,) = given([NO_COMMA, QUOTED])
    assert values(sample, '"a b"')["accuracy"] == 1.0
    half = values(sample, "a b")
    assert (half["accuracy"], half["instructions.strict"], half["instructions.asked"]) == (0.0, 0.5, 2.0)
    scores = IFEVAL.protocol(None).grade(sample, Completion(text="a b"))
    assert scores["accuracy"].reason == "not followed: startend:quotation"


def test_loose_is_never_below_strict_and_forgives_an_opening_line(given):
    (sample,) = given([JSON])
    found = values(sample, "Here it is:\n{}")
    assert (found["accuracy"], found["accuracy.loose"]) == (0.0, 1.0)
    assert (found["instructions.strict"], found["instructions.loose"]) == (0.0, 1.0)


def test_reasoning_before_the_reply_is_no_part_of_it(given):
    (sample,) = given([NO_COMMA, QUOTED])
    assert values(sample, '<think>a, b</think>\n\n"a"')["accuracy"] == 1.0


def test_an_instruction_that_nobody_knows_is_told(given):
    with pytest.raises(DataError, match=r"prompt 0 has an instruction .* new:kind"):
        given([("new:kind", {})])


def test_instructions_are_counted_over_all_prompts_together(given, monkeypatch):
    """4 of 7 instructions and 1 of 3 prompts, ten times: the mean of the prompts' shares, 0.67, is another number."""
    pytest.importorskip("langdetect", reason="langdetect is not installed: steelyard[ifeval]")
    given(*[[NO_COMMA], [NO_COMMA, QUOTED], [NO_COMMA, NO_COMMA, QUOTED, JSON]] * 10)
    run = sy.run([lambda prompt: "a b"], ["ifeval"])
    followed = run.estimate("instructions.strict")
    assert followed.value == pytest.approx(4 / 7)
    assert followed.method == "70 parts of 30 items, Fieller"
    assert run.estimate("accuracy").value == pytest.approx(1 / 3)


def test_all_instructions_followed_is_no_certainty(given):
    pytest.importorskip("langdetect", reason="langdetect is not installed: steelyard[ifeval]")
    given([NO_COMMA], [NO_COMMA, NO_COMMA])
    followed = sy.run([lambda prompt: "a b"], ["ifeval"]).estimate("instructions.strict")
    assert (followed.value, followed.high) == (1.0, 1.0)
    assert followed.low < 0.5

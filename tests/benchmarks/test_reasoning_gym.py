"""Reasoning Gym: fresh items by seed, judged by their generator; without the package an error that names it."""

import json
import sys
import threading
from pathlib import Path

import pytest

import steelyard as sy
from command import ok
from steelyard.benchmarks import find_benchmark, reasoning_gym
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.check import check_benchmark
from steelyard.errors import EnvironmentFault, UnknownName, UsageError
from steelyard.types import Completion

GYM = find_benchmark("reasoning-gym")


@pytest.fixture
def _package():
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed: steelyard[reasoning-gym]")


def legs(limit=5, seed=0):
    return GYM.dataset(Selection(part="leg_counting", limit=limit, seed=seed)).samples


@pytest.mark.usefixtures("_package")
def test_items_depend_on_seed_and_place_and_a_larger_limit_goes_on():
    assert legs(5) == legs(9)[:5]
    assert not {sample.input for sample in legs(20)} & {sample.input for sample in legs(20, seed=1)}


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize("part", ["leg_counting", "basic_arithmetic", "countdown", "word_sorting", "mini_sudoku"])
def test_gold_scores_one_and_empty_scores_zero(part):
    (found,) = check_benchmark(GYM, Selection(part=part, limit=20))
    assert (found.ok, found.gold, found.empty, found.items) == (True, 1.0, 0.0, 20)


@pytest.mark.usefixtures("_package")
def test_a_generator_without_answers_has_no_gold():
    (found,) = check_benchmark(GYM, Selection(part="graph_color", limit=3))
    assert (found.ok, found.gold, found.empty) == (True, None, 0.0)


@pytest.mark.usefixtures("_package")
def test_the_generators_own_scorer_accepts_another_right_answer():
    """A countdown has many solutions; the generator works out the one that is given."""
    (sample,) = GYM.dataset(Selection(part="countdown", limit=1)).samples
    grade = GYM.protocol(None).grade
    other = f"0 + {sample.target}" if "0" in sample.input else f"({sample.target})"
    assert grade(sample, Completion(text=f"So <answer>{other}</answer>"))["accuracy.strict"].value == 1.0
    wrong = grade(sample, Completion(text="<answer>1 + 1</answer>"))
    assert wrong["accuracy"].value < 0.1
    assert wrong["accuracy.strict"].value == 0.0


@pytest.mark.usefixtures("_package")
def test_an_item_that_is_made_otherwise_now_is_not_scored():
    sample = sy.Sample(**{**{f: getattr(legs(1)[0], f) for f in sy.Sample.__struct_fields__}, "input": "another"})
    scores = GYM.protocol(None).grade(sample, Completion(text="<answer>1</answer>"))
    assert scores["accuracy"].value is None
    assert "another item" in scores["accuracy"].reason


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<answer> 4 </answer>", "4"),
        ("<answer>3</answer> no: <answer>4\n5</answer>", "4\n5"),
        ("<think><answer>3</answer></think>", None),
        ("4", None),
        ("<answer></answer>", None),
        ("<answer>4", None),
    ],
)
def test_the_answer_stands_between_the_last_tags(reply, answer):
    assert reasoning_gym.answer_in(reply) == answer


@pytest.mark.usefixtures("_package")
def test_an_unknown_generator_names_the_nearest():
    with pytest.raises(UnknownName, match="'leg_counting'"):
        GYM.dataset(Selection(part="leg_countin", limit=1))
    with pytest.raises(UnknownName, match="generator of reasoning-gym 'composite'"):
        GYM.dataset(Selection(part="composite", limit=1))


def test_a_generator_and_a_limit_must_be_named():
    with pytest.raises(UsageError, match="reasoning-gym:leg_counting --limit 100"):
        GYM.dataset(Selection())
    with pytest.raises(UsageError, match="--limit"):
        GYM.dataset(Selection(part="leg_counting"))


def test_what_is_printed_is_seen_again_after_two_threads_made_items_at_once(monkeypatch):
    begun = {index: threading.Event() for index in range(2)}

    class Talking:
        def __getitem__(self, index):
            begun[index].set()
            (begun[1] if index == 0 else first).wait(0.3)  # the first one ends first, unless it is alone
            print("not for our output")
            return {}

    first, out = threading.Event(), sys.stdout
    monkeypatch.setattr(reasoning_gym, "_generator", lambda *made_by: Talking())
    reasoning_gym._entry.cache_clear()

    def make(index):
        reasoning_gym._entry("any", 0, 9, index)
        first.set()

    threads = [threading.Thread(target=make, args=(index,)) for index in range(2)]
    threads[0].start()
    begun[0].wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    reasoning_gym._entry.cache_clear()
    assert sys.stdout is out


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    reasoning_gym._generator.cache_clear()
    reasoning_gym._entry.cache_clear()
    with pytest.raises(EnvironmentFault, match=r"steelyard\[reasoning-gym\]"):
        GYM.dataset(Selection(part="leg_counting", limit=1))


@pytest.mark.usefixtures("_package")
def test_prompts_answered_elsewhere_come_back_and_are_graded():
    asked = ok("prompts", "reasoning-gym:leg_counting", "--limit", "4", "--seed", "7").splitlines()
    golds = [sample.target for sample in legs(4, seed=7)]
    lines = [json.loads(line) for line in asked]
    answers = [golds[0], golds[1], "-1", "-1"]
    Path("answers.jsonl").write_text(
        "".join(
            json.dumps({"sample_id": line["sample_id"], "completion": f"<answer>{answer}</answer>"}) + "\n"
            for line, answer in zip(lines, answers, strict=True)
        ),
        "utf-8",
    )
    words = ("import", "answers.jsonl", "--benchmark", "reasoning-gym:leg_counting", "--model", "m", "--json")
    assert json.loads(ok(*words, "--limit", "4", "--seed", "7"))["accuracy"] == 0.5

"""The gate as a user runs it, many times over: it errs as seldom as it says, and sees what the tables say it sees."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import steelyard as sy
from steelyard.providers.function import Function
from steelyard.stats import gate_chances

ITEMS = 200
MARGIN = 0.02
DISCORDANT = 0.12
AT_ONCE = 20


@pytest.fixture(autouse=True)
def _written_by_a_thread(monkeypatch):
    """A process that writes takes as long to start as these runs to end."""
    monkeypatch.setattr("steelyard.engine.writer.FAST_A_SECOND", float("inf"))


def write_cases():
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i), "id": f"c{i}"}) for i in range(ITEMS)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


def answering(is_right, name="model"):
    async def answer(prompt):
        item = int(prompt.split()[-1])
        return str(item) if is_right[item] else "no"

    return Function(answer, name=name)


def two_runs(generator, drop):
    """Right and wrong of two models on the same items, of which 12 % differ, more of them for the worse."""
    kinds = generator.choice(4, size=ITEMS, p=[(DISCORDANT + drop) / 2, (DISCORDANT - drop) / 2, 0.58, 0.30])
    return np.isin(kinds, (0, 2)), np.isin(kinds, (1, 2))


def gated(generator, drop, number):
    """The verdicts of as many gates as fit into one pair of runs, each on a model of its own."""
    pairs = [two_runs(generator, drop) for _ in range(AT_ONCE)]
    runs = [
        sy.run(
            [answering(pair[side], f"model-{i}") for i, pair in enumerate(pairs)],
            ["cases.jsonl"],
            fresh=True,
            store=f"{number}.db",
            on_message=lambda text: None,
        )
        for side in (0, 1)
    ]
    sy.set_baseline("main", runs[0])
    held = {"baseline": "main", "margins": {"accuracy": MARGIN}}
    return [sy.gate(runs[1], model=f"model-{i}", **held).verdict for i in range(AT_ONCE)]


@pytest.mark.long
@pytest.mark.parametrize(("drop", "gates"), [(0.0, 100), (0.05, 60)])
def test_of_many_gates_as_many_block_as_the_table_of_the_rules_says(drop, gates):
    """Two identical models are blocked less than 1 % of the time.

    A fall of 5 points is seen by 200 items about a third of the time: that is what 200 items can do.
    """
    write_cases()
    generator = np.random.default_rng(round(1000 * drop))
    found = Counter(word for number in range(gates // AT_ONCE) for word in gated(generator, drop, number))
    chances = gate_chances(n=ITEMS, discordant=DISCORDANT, drop=drop, margin=MARGIN)
    for word, chance in (("fail", chances.fails), ("pass", chances.passes), ("inconclusive", chances.inconclusive)):
        spread = (chance * (1 - chance) / gates) ** 0.5
        assert abs(found[word] / gates - chance) <= 4 * spread + 0.02, (word, found, chances)
    if drop == 0:
        assert found["fail"] / gates <= 0.05 + 2 * (0.05 * 0.95 / gates) ** 0.5

"""GPQA: read in memory from an encrypted archive, permuted by record, and shown nowhere without being asked.

The rows here are made up; the real archive is used for counts and scores alone.
"""

import csv
import io
import json
import random
import re
import zipfile
from pathlib import Path

import pytest

import steelyard as sy
from command import steelyard
from steelyard.benchmarks import data, find_benchmark, gpqa
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.floors import Floor
from steelyard.errors import DataError
from steelyard.store.reading.redaction import REDACTED
from steelyard.types import Failure

WORD = "xylophone"


def made_up(n=24):
    """Rows of the archive's columns in which every text holds one word that must never be seen."""
    return [
        {
            "Record ID": f"rec{i:03}",
            "Question": f"Why {WORD} {i}?",
            "Correct Answer": f" right {WORD} ",
            **{f"Incorrect Answer {k}": f"wrong {WORD} {k} [title]" for k in (1, 2, 3)},
            "High-level domain": ("Physics", "Biology")[i % 2],
            "Canary String": f"canary {WORD}",
        }
        for i in range(n)
    ]


def archive(rows, *, columns=gpqa.COLUMNS, path=Path("data/gpqa/dataset.zip")):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    with zipfile.ZipFile(path, "w") as file:
        for part in ("main", "diamond", "extended"):
            file.writestr(f"dataset/gpqa_{part}.csv", text.getvalue())


@pytest.fixture
def pinned(monkeypatch):
    """The made-up archive in a data folder, with its digest pinned."""
    archive(made_up())
    digest = data.canonical_digest(made_up(), gpqa.COLUMNS)
    monkeypatch.setattr(gpqa, "PARTS", dict.fromkeys(("main", "diamond", "extended"), (24, digest)))
    monkeypatch.setenv("STEELYARD_DATA", "data")


def samples(**selection):
    return find_benchmark("gpqa").dataset(Selection(**selection)).samples


def test_the_order_of_choices_depends_on_seed_and_record_alone(pinned):
    one, again, other = samples(), samples(part="diamond"), samples(seed=1)
    assert [sample.target for sample in one] == [sample.target for sample in again]
    assert [sample.target for sample in one] != [sample.target for sample in other]
    assert all("right" in sample.choices[int(sample.target)] for sample in (*one, *other))
    assert len({sample.target for sample in one}) == 4


def test_lm_evals_prompt_but_for_the_order(pinned):
    sample = samples()[0]
    prompt = find_benchmark("gpqa").protocol("lm-eval").render(sample, ())
    assert prompt.text.startswith(f"What is the correct answer to this question:Why {WORD} 0?\nChoices:\n(A) ")
    assert f") right {WORD}\n" in prompt.text
    assert f"wrong {WORD} 1. " in prompt.text
    assert prompt.continuations == (" (A)", " (B)", " (C)", " (D)")


def test_worked_examples_are_lm_evals_draw_without_the_item_itself(pinned):
    """lm-eval draws one more than it shows and drops the item; where its cache shuffled choices anew it keeps it."""
    dataset = find_benchmark("gpqa").dataset(Selection())
    generator = random.Random(1234)
    for position in range(len(dataset.samples)):
        drawn = [place for place in generator.sample(range(24), 4) if place != position][:3]
        assert dataset.exemplars(position, 3) == tuple(dataset.samples[place] for place in drawn)
    text = find_benchmark("gpqa").protocol("lm-eval-n-shot").render(dataset.samples[0], dataset.exemplars(0, 2)).text
    assert text.startswith("Here are some example questions from experts.")
    assert len(re.findall(r"Question: .*\nChoices:\n(?:\([A-D]\) .*\n){4}Answer: \([A-D]\)\n\n", text)) == 2
    assert command("prompts", "gpqa@lm-eval-n-shot", "--limit", "1").count("Question: ") == 0


def test_no_text_of_an_item_leaves_the_store_unless_asked(pinned):
    def script(request):
        words = request.prompt.messages[-1].content
        return Failure(kind="rejected", message=f"too long: {words}") if " 7?" in words else f"{words}\nAnswer: A"

    run = sy.run([sy.Scripted(script)], ["gpqa"], on_message=lambda text: None)
    assert run.estimate("scored").value == 23
    hidden = [json.dumps(sy_record(record)) for record in run.records()]
    assert [line for line in hidden if WORD in line] == []
    assert REDACTED in hidden[0]
    assert all(WORD in json.dumps(sy_record(record)) for record in run.records(reveal=True))
    for arguments in (
        ["show", "--wrong"], ["show", "--wrong", "--json"], ["show", "--item", "gpqa/rec007"], ["show", "--all"],
        ["show", "--provenance"], ["export", "--format", "csv"], ["export", "--format", "jsonl"], ["prompts", "gpqa"],
        ["report", "--html", "-"], ["report", "--markdown", "-"], ["report", "--junit", "-"],
    ):  # fmt: skip
        shown = command(*arguments)
        assert WORD not in shown, arguments
        assert shown
    assert WORD in command("show", "--item", "gpqa/rec001", "--reveal")
    assert WORD in command("export", "--format", "jsonl", "--reveal")
    assert WORD in command("report", "--html", "-", "--reveal")
    assert WORD in command("prompts", "gpqa@lm-eval", "--reveal")


def sy_record(record):
    import msgspec

    return msgspec.to_builtins(record)


def command(*arguments):
    done = steelyard(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda path: path.unlink(), "is missing in"),
        (lambda path: path.write_bytes(b"no archive"), "does not open as the authors' archive"),
        (lambda path: archive([], path=path, columns=("Record ID",)), "rows are not the pinned ones"),
        (lambda path: archive(made_up(), path=path, columns=gpqa.COLUMNS[:5]), "row 0 has no Incorrect Answer 3"),
        (lambda path: archive(made_up(23), path=path), "rows are not the pinned ones"),
    ],
)
def test_a_faulty_archive_is_told_without_quoting_it(break_it, words, pinned):
    break_it(Path("data/gpqa/dataset.zip"))
    with pytest.raises(DataError, match=words) as caught:
        samples()
    assert WORD not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize(("part", "items"), [(None, 448), ("diamond", 198), ("extended", 546)])
def test_a_constant_letter_is_at_chance_on_the_real_sets(part, items, data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    found = samples(part=part)
    protocol = find_benchmark("gpqa").protocol("simple-evals")
    assert len(found) == len({sample.id for sample in found}) == items
    for letter in range(4):
        floor = Floor(f"constant:{letter}", protocol, found, 0)
        share = sum(protocol.grade(sample, floor.answer(sample, 0)).value for sample in found) / items
        assert 0.18 < share < 0.32


@pytest.mark.data
def test_diamond_lies_within_main_within_extended(data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    ids = {part: {sample.id for sample in samples(part=part)} for part in ("diamond", "main", "extended")}
    assert ids["diamond"] < ids["main"] < ids["extended"]

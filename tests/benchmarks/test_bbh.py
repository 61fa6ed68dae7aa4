"""BIG-Bench Hard: published outputs get their published scores, and chat answers are read as a reader would."""

import json

import pytest

from steelyard.benchmarks import find_benchmark
from steelyard.benchmarks.benchmark import Selection
from steelyard.errors import DataError
from steelyard.scoring import phrase
from steelyard.types import Completion

BBH = find_benchmark("bbh")


def rows_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


@pytest.fixture
def outputs(data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    return data_folder / "bbh/reference_outputs"


def accuracies(protocol, outputs, form):
    """Per task, in per cent, of code-davinci-002's published outputs under one of our protocols."""
    samples = {sample.id: sample for sample in BBH.dataset(Selection()).samples}
    grade = BBH.protocol(protocol).grade
    scores = {}
    for row in rows_of(outputs / f"code-davinci-002_{form}.jsonl"):
        sample = samples[f"bbh/{row['task']}/{row['index']}"]
        assert sample.target == row["target"]
        judged = grade(sample, Completion(text=row["prediction"]))
        scores.setdefault(row["task"], []).append(judged.value)
    return {task: 100 * sum(values) / len(values) for task, values in scores.items()}


@pytest.mark.data
@pytest.mark.parametrize("form", ["cot", "direct"])
def test_all_27_accuracies_are_the_published_ones(form, outputs):
    published = json.loads((outputs / f"code-davinci-002_{form}_accuracy.json").read_text())
    found = accuracies(f"paper-{form}", outputs, form)
    assert len(found) == 27
    for task, accuracy in published.items():
        if task in found:
            assert found[task] == pytest.approx(accuracy, abs=0.051), task


@pytest.mark.data
def test_lm_evals_regex_differs_on_one_task_only(outputs):
    ours, theirs = accuracies("paper-cot", outputs, "cot"), accuracies("lm-eval-cot", outputs, "cot")
    assert {task for task in ours if ours[task] != theirs[task]} == {"dyck_languages"}
    assert (round(ours["dyck_languages"], 1), round(theirs["dyck_languages"], 1)) == (56.8, 55.6)


@pytest.mark.data
def test_counts_and_known_defects(outputs):
    samples = BBH.dataset(Selection()).samples
    assert (len(samples), len({sample.stratum for sample in samples})) == (6_511, 27)
    assert samples[-1].id == "bbh/word_sorting/249"
    broken = [sample.id for sample in samples if "broken" in sample.flags]
    assert [name.split("/")[1] for name in broken] == ["movie_recommendation", "ruin_names", "ruin_names"]
    assert {sample.stratum for sample in samples if "duplicate" in sample.flags} >= {
        "causal_judgement",
        "sports_understanding",
    }


@pytest.mark.data
def test_a_changed_prompt_is_refused_with_both_digests(data_folder, monkeypatch, tmp_path):
    (tmp_path / "bbh").mkdir()
    for entry in (data_folder / "bbh").iterdir():
        if entry.is_dir() and entry.name != "cot-prompts":
            (tmp_path / "bbh" / entry.name).symlink_to(entry)
    prompts = tmp_path / "bbh" / "cot-prompts"
    prompts.mkdir()
    monkeypatch.setenv("STEELYARD_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"boolean_expressions.txt cannot be read"):
        BBH.dataset(Selection(part="navigate"))
    for path in (data_folder / "bbh/cot-prompts").iterdir():
        (prompts / path.name).write_text(path.read_text("utf-8").replace("Turn left", "Turn right"), "utf-8")
    with pytest.raises(DataError, match="not the pinned ones"):
        BBH.dataset(Selection(part="navigate"))


@pytest.mark.parametrize(
    ("reply", "target", "is_right"),
    [
        ("So the answer is (B).", "(B)", True),
        ("The answer is **B**", "(B)", True),
        ("The answer is: b) because", "(B)", True),
        (r"The answer is \boxed{B}.", "(B)", True),
        ("The answer is (A). Wait, the answer is (B).", "(B)", True),
        ("The answer is (A).", "(B)", False),
        ("Answer: Yes", "Yes", True),
        ("the answer is yes.", "Yes", True),
        ("The answer is not plausible", "no", False),
        ("The answer is 1,234.", "1234", False),
        ("The answer is -12.", "-12", True),
        ("The answer is apple, pear zoo", "apple pear zoo", True),
        ("The answer is ] ) }.", "] ) }", True),
        ("The answer is ] ) ].", "] ) }", False),
        ("I think it is (B)", "(B)", False),
        ("", "(B)", False),
    ],
)
def test_a_chat_answer_is_read_as_a_reader_would(reply, target, is_right):
    assert phrase.grade(target, phrase.short_answer(reply), exactly=False).value == float(is_right)

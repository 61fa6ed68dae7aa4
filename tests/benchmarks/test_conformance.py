"""What every benchmark must hold: gold scores 1, empty scores 0, prompts and draws as the field has them."""

import functools
import json
from collections import Counter

import pytest

from steelyard import sandbox
from steelyard.benchmarks import BUILT_IN, find_benchmark
from steelyard.benchmarks.benchmark import Benchmark, Selection
from steelyard.benchmarks.check import check_benchmark
from steelyard.benchmarks.floors import Floor
from steelyard.engine.schedule.order import draw_positions
from steelyard.errors import DataError, UnknownName, UsageError
from steelyard.types import Sample


@pytest.fixture
def _judged_once(monkeypatch):
    """Protocols that make the same program of an answer have it run once."""
    monkeypatch.setattr(sandbox, "judge", functools.cache(sandbox.judge))


@pytest.mark.usefixtures("_judged_once")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name == "humaneval" else ())  # some 650 programs
        for name in BUILT_IN
        if find_benchmark(name).is_verified
    ],
)
def test_gold_scores_one_and_empty_scores_zero(name, request):
    if name != "starter":
        request.getfixturevalue("data_folder")
    results = check_benchmark(find_benchmark(name), Selection())
    assert [result for result in results if not result.ok] == []


@pytest.mark.parametrize("part", ["arithmetic", "symbolic"])
def test_generated_items_hold_too_and_never_end(part):
    results = check_benchmark(find_benchmark("starter"), Selection(part=part, limit=1))
    assert all(result.ok for result in results)
    with pytest.raises(UsageError, match="--limit"):
        find_benchmark("starter").dataset(Selection(part=part))


def test_generated_items_depend_on_seed_and_index_alone():
    starter = find_benchmark("starter")
    one = starter.dataset(Selection(part="arithmetic", seed=1, limit=5)).samples
    again = starter.dataset(Selection(part="arithmetic", seed=1, limit=9)).samples
    other = starter.dataset(Selection(part="arithmetic", seed=2, limit=5)).samples
    assert one[3] == again[3]
    assert [sample.input for sample in one[:20]] != [sample.input for sample in other[:20]]
    assert len({sample.input for sample in one[:1000]}) > 900


def test_an_unknown_part_or_protocol_names_the_nearest():
    with pytest.raises(UnknownName, match="'geography'"):
        find_benchmark("starter").dataset(Selection(part="geografy"))
    with pytest.raises(UnknownName, match="'cloze'"):
        find_benchmark("starter").protocol("clos")


@pytest.mark.data
def test_constant_letters_on_mmlu_score_as_published(data_folder):
    """Always A 22.95, B 24.65, C 25.51, D 26.89 % over 14,042 items."""
    mmlu = find_benchmark("mmlu")
    samples = mmlu.dataset(Selection()).samples
    protocol = mmlu.protocol("letter")
    shares = []
    for index in range(4):
        floor = Floor(f"constant:{index}", protocol, samples, 0)
        right = sum(protocol.grade(sample, floor.answer(sample, 0)).value for sample in samples)
        shares.append(round(100 * right / len(samples), 2))
    assert shares == [22.95, 24.65, 25.51, 26.89]


@pytest.mark.data
def test_mmlu_counts_are_the_published_ones(data_folder):
    samples = find_benchmark("mmlu").dataset(Selection()).samples
    counts = Counter(sample.stratum for sample in samples)
    assert (len(samples), len(counts), counts["professional_law"]) == (14_042, 57, 1_534)
    assert samples[-1].id == "mmlu/world_religions/170"


@pytest.mark.data
def test_published_gsm8k_solutions_score_as_their_authors_say(data_folder):
    """Four models over 1,319 items: 286, 515, 458 and 742 right; the strict form finds nothing."""
    gsm8k = find_benchmark("gsm8k")
    samples = gsm8k.dataset(Selection()).samples
    grade = gsm8k.protocol("zero-shot").grade
    right, strict = Counter(), Counter()
    text = (data_folder / "gsm8k/reference_outputs/example_model_solutions.jsonl").read_text("utf-8")
    from steelyard.types import Completion

    for line in text.split("\n"):
        if not line:
            continue
        row = json.loads(line)
        for model, published in row.items():
            if model == "index":
                continue
            scores = grade(samples[row["index"]], Completion(text=published["solution"]))
            right[model] += scores["accuracy"].value
            strict[model] += scores["accuracy.strict"].value
            assert scores["accuracy"].value == published["is_correct"], (row["index"], model)
    assert sorted(right.values()) == [286, 458, 515, 742]
    assert set(strict.values()) == {0}


@pytest.mark.data
def test_changed_rows_are_refused_with_both_digests(data_folder, monkeypatch, tmp_path):
    folder = tmp_path / "gsm8k" / "main"
    folder.mkdir(parents=True)
    rows = (data_folder / "gsm8k/main/test.jsonl").read_text("utf-8")
    (folder / "test.jsonl").write_text(rows.replace("Janet", "Janot", 1), "utf-8")
    monkeypatch.setenv("STEELYARD_DATA", str(tmp_path))
    gsm8k = find_benchmark("gsm8k")
    with pytest.raises(DataError, match="the rows are not the pinned ones") as caught:
        gsm8k.dataset(Selection())
    digest = str(caught.value).rpartition("--accept-data ")[2]
    assert len(gsm8k.dataset(Selection(accept_digest=digest)).samples) == 1_319


def test_a_data_folder_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("STEELYARD_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="STEELYARD_DATA"):
        find_benchmark("gsm8k").dataset(Selection())
    (tmp_path / "gone").mkdir()
    with pytest.raises(DataError, match=r"gsm8k/main/test.jsonl is missing"):
        find_benchmark("gsm8k").dataset(Selection())


def test_a_benchmark_is_one_value():
    capitals = Benchmark(
        name="capitals",
        version="1",
        load=lambda selection: [Sample(id="fr", input="Capital of France?", target="Paris")],
        grade=lambda sample, completion: sample.target in completion.text,
    )
    assert len(capitals.dataset(Selection()).samples) == 1
    assert capitals.protocol(None).name == "default"
    twice = Benchmark(name="x", version="1", load=lambda s: [Sample(id="a", input="", target="")] * 2)
    with pytest.raises(DataError, match="share an id"):
        twice.dataset(Selection())


def test_a_sample_of_strata_is_proportional_at_every_prefix():
    sizes = {"a": 100, "b": 50, "c": 10}
    samples = [Sample(id=f"{s}{i}", input="", target="", stratum=s) for s, n in sizes.items() for i in range(n)]
    order = draw_positions(samples, limit=None, seed=3, shuffled=True, strata=True)
    assert sorted(order) == list(range(160))
    for end in range(1, 161):
        counts = Counter(samples[position].stratum for position in order[:end])
        assert all(abs(counts[s] - end * n / 160) <= 1.5 for s, n in sizes.items())


def test_the_order_is_fixed_by_the_seed_and_a_larger_limit_extends_it():
    samples = [Sample(id=str(i), input="", target="") for i in range(1000)]

    def draw(limit, seed):
        return draw_positions(samples, limit=limit, seed=seed, shuffled=True, strata=False)

    assert draw(10, 0) == draw(500, 0)[:10]
    assert draw(10, 0) != draw(10, 1)
    assert draw_positions(samples, limit=3, seed=0, shuffled=False, strata=False) == [0, 1, 2]


def test_an_endless_set_is_drawn_without_listing_it():
    items = range(1_000_000)
    drawn = draw_positions(items, limit=1000, seed=0, shuffled=True, strata=False)
    assert len(set(drawn)) == 1000
    assert drawn == draw_positions(items, limit=2000, seed=0, shuffled=True, strata=False)[:1000]
    assert 450_000 < sum(drawn) / 1000 < 550_000


def test_worked_examples_of_a_chat_stand_as_turns_with_their_replies():
    protocol = find_benchmark("mmlu").protocol("simple-evals")
    sample, first, second = (
        Sample(id=str(i), input=f"Q{i}?", target=str(i), choices=("a", "b", "c", "d")) for i in range(3)
    )
    turns = protocol.prompt(sample, (first, second)).messages
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert [turn.content for turn in turns[1::2]] == ["Answer: B", "Answer: C"]
    assert turns[-1:] == protocol.prompt(sample, ()).messages

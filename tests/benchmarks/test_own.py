"""A user's JSON Lines file: every fault names the line; any size costs little memory."""

import errno
import json
import tracemalloc
from pathlib import Path

import pytest

from steelyard.benchmarks import find_benchmark, readings
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.own import Samples, as_sample
from steelyard.benchmarks.rows import JsonLines
from steelyard.errors import DataError, UnknownName


def write(*rows):
    path = Path("mine.jsonl")
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_questions_and_answers_under_their_common_names():
    write(
        {"question": "2+2?", "answer": 4},
        {"prompt": "Capital of France?", "expected": "Paris", "id": "fr"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "target": "x"},
    )
    benchmark = find_benchmark("mine.jsonl")
    samples = benchmark.dataset(Selection()).samples
    assert [sample.id for sample in samples] == ["mine/0", "fr", "mine/2"]
    assert samples[0].target == "4"
    assert samples[2].input[0].role == "system"
    assert benchmark.protocol(None).name == "exact"


def test_choices_may_be_answered_by_text_letter_or_index():
    options = ["red", "green", "blue"]
    write(*({"question": "?", "choices": options, "answer": answer} for answer in ("green", "B", "b", 1)))
    benchmark = find_benchmark("mine.jsonl")
    assert {sample.target for sample in benchmark.dataset(Selection()).samples} == {"1"}
    assert benchmark.protocol(None).name == "letter"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{not json\n", "line 2: not JSON"),
        ({"answer": "x"}, "line 2: no question"),
        ({"question": "q"}, "line 2: no answer"),
        ({"question": "q", "answer": "  "}, "line 2: the answer is empty"),
        ({"question": "q", "answer": None}, "line 2: the answer is a NoneType"),
        ({"question": "q", "prompt": "q", "answer": "x"}, "line 2: two keys for the question"),
        ({"question": "q", "choices": ["a"], "answer": "a"}, "line 2: choices must be"),
        ({"question": "q", "choices": ["a", "b"], "answer": "z"}, "line 2: the answer 'z' is neither"),
        ({"question": "q", "answer": "x", "id": "first"}, "line 2: id 'first' stands in line 1 already"),
        ({"messages": [{"role": "robot", "content": "x"}], "answer": "y"}, "line 2:"),
        ("[1]\n", "line 2: expected an object"),
    ],
)
def test_a_bad_line_is_named_before_any_call(row, words):
    write({"question": "q", "answer": "x", "id": "first"}, row)
    with pytest.raises(DataError, match=r"mine\.jsonl") as caught:
        find_benchmark("mine.jsonl")
    assert words in str(caught.value)


def test_a_missing_or_empty_file_and_an_unknown_grader_are_told():
    with pytest.raises(DataError, match="no such file"):
        find_benchmark("gone.jsonl")
    write("\n\n")
    with pytest.raises(DataError, match="no items"):
        find_benchmark("mine.jsonl")
    write({"question": "q", "answer": "x"})
    with pytest.raises(UnknownName, match="contains"):
        find_benchmark("mine.jsonl", "contain")


def test_lines_are_read_when_they_are_asked_for():
    write(*({"question": f"question {i} " + "x" * 500, "answer": i} for i in range(5_000)))
    tracemalloc.start()
    lines = Samples(JsonLines(Path("mine.jsonl")), as_sample)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines[4_999].target == "4999"
    assert held < 400_000


def test_lines_of_any_length_are_read_in_any_order_and_from_either_end():
    """Some bytes are read at once: lines that end within them, at their edge, far behind them, and a last one without
    an end."""
    sizes = [1, 2_000, 1_990, *range(2_020, 2_035), 30_000, 7, 5, 9_000, 3]
    rows = [json.dumps({"question": "q" * size, "answer": str(place)}) for place, size in enumerate(sizes)]
    Path("mine.jsonl").write_text("\n".join(rows))
    samples = Samples(JsonLines(Path("mine.jsonl")), as_sample)
    places = list(range(len(sizes)))
    for order in (places, places[::-1], sorted(places, key=lambda place: place * 7 % len(places)), [-1, -3, 0, -2]):
        read = [(len(samples[place].input), samples[place].target) for place in order]
        assert read == [(sizes[place], str(places[place])) for place in order]


def test_a_file_that_is_cut_after_it_was_read_through_is_told_to_have_changed():
    Path("q.jsonl").write_text('{"question": "a?", "answer": "b"}\n{"question": "c?", "answer": "d"}\n')
    samples = Samples(JsonLines(Path("q.jsonl")), as_sample)
    Path("q.jsonl").write_text('{"question": "a?", "answer": "b"}\n{"quest')
    assert samples[0].target == "b"
    with pytest.raises(DataError, match="has changed since it was read through"):
        samples[1]


def test_separators_inside_a_string_do_not_end_a_line():
    Path("mine.jsonl").write_text('{"question": "a\u2028b\u0085c", "answer": "x"}\n', encoding="utf-8")
    assert len(Samples(JsonLines(Path("mine.jsonl")), as_sample)) == 1


@pytest.fixture
def read_through(monkeypatch):
    """How often a file was read through."""
    times = []
    scan = JsonLines.scan
    monkeypatch.setattr(JsonLines, "scan", lambda self: times.append(self.path.name) or scan(self))
    return times


def test_within_a_command_a_file_is_read_through_once_and_is_the_same_benchmark_again(read_through):
    write({"question": "1+1?", "answer": 2}, "\n", {"question": "2+2?", "answer": 4}, {"question": "1+1?", "answer": 2})
    with readings.shared():
        first, again = (find_benchmark("mine.jsonl").dataset(Selection()) for _ in range(2))
    assert read_through == ["mine.jsonl"]
    assert first.digest == again.digest
    assert list(first.samples) == list(again.samples)
    assert again.samples[2].flags == ("duplicate",)
    find_benchmark("mine.jsonl")
    assert len(read_through) == 2


def test_a_file_that_changed_or_is_graded_otherwise_is_read_through_again(read_through):
    write({"question": "1+1?", "answer": "two"})
    with readings.shared():
        find_benchmark("mine.jsonl")
        with pytest.raises(DataError, match="not a number"):
            find_benchmark("mine.jsonl", "number")
        write({"question": "1+1?", "answer": "two, that is"})
        assert find_benchmark("mine.jsonl").dataset(Selection()).samples[0].target == "two, that is"
    assert len(read_through) == 3


def test_a_line_in_another_encoding_is_told_with_what_to_try():
    Path("mine.jsonl").write_bytes('{"question": "caf\xe9?", "answer": "4"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"mine\.jsonl, line 1: not UTF-8 \(byte 0xe9\)\. Try: save as UTF-8"):
        find_benchmark("mine.jsonl").dataset(Selection())


def test_a_file_that_may_not_be_read_is_told_and_no_fault_of_ours(monkeypatch):
    write({"question": "q", "answer": "a"})

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # root, whom the tests may run as, may read anything
    with pytest.raises(DataError, match=r"cannot read mine\.jsonl: Permission denied"):
        find_benchmark("mine.jsonl").dataset(Selection())


def test_a_folder_with_a_files_name_is_called_a_folder():
    Path("mine.jsonl").mkdir()
    with pytest.raises(DataError, match=r"mine\.jsonl is a folder"):
        find_benchmark("mine.jsonl").dataset(Selection())

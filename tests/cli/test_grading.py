"""Answers made elsewhere and answers graded again: published outputs get their published scores, faults are told."""

import json
from pathlib import Path

import pytest
from test_cli import write_cases

import steelyard as sy
from command import ok, steelyard


def write_lines(path, rows):
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def rows_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def imported(file, benchmark, model="elsewhere", **env):
    return json.loads(ok("import", file, "--benchmark", benchmark, "--model", model, "--json", env=env or None))


@pytest.mark.data
@pytest.mark.parametrize(
    ("model", "right"),
    [("6b_finetuning", 286), ("6b_verification", 515), ("175b_finetuning", 458), ("175b_verification", 742)],
)
def test_the_authors_gsm8k_solutions_score_as_published(model, right, data_folder):
    published = rows_of(data_folder / "gsm8k/reference_outputs/example_model_solutions.jsonl")
    write_lines(
        "answers.jsonl",
        [{"sample_id": f"gsm8k/test/{row['index']}", "completion": row[model]["solution"]} for row in published],
    )
    found = imported("answers.jsonl", "gsm8k@zero-shot", STEELYARD_DATA=str(data_folder))
    assert (found["n"], found["correct"]) == (1319, right)
    changed = json.loads(
        ok("rescore", "last", "--protocol", "lm-eval", "--json", env={"STEELYARD_DATA": str(data_folder)})
    )
    assert (changed[0]["became_right"], changed[0]["became_wrong"]) == (0, 0)
    tables = ok("show")
    assert "gsm8k@zero-shot graded as lm-eval" in tables


@pytest.mark.data
@pytest.mark.long
def test_a_constant_letter_that_is_imported_scores_as_published_on_mmlu(data_folder):
    """One letter on all items through the command line; the conformance tests grade all four."""
    items = ok("prompts", "mmlu@letter", env={"STEELYARD_DATA": str(data_folder)}).strip("\n").split("\n")
    write_lines("answers.jsonl", [{"sample_id": json.loads(i)["sample_id"], "completion": "C"} for i in items])
    found = imported("answers.jsonl", "mmlu@letter", STEELYARD_DATA=str(data_folder))
    assert found["n"] == 14_042
    assert round(100 * found["accuracy"], 2) == 25.51


def test_several_completions_are_repeats_and_likelihoods_are_read():
    write_lines("letters.jsonl", [{"sample_id": "starter/geography/0", "completion": ["A", "B", "A"]}])
    found = imported("letters.jsonl", "starter@letter")
    assert found["estimates"]["pass@2"]["value"] == 1.0
    assert (found["n"], found["estimates"]["accuracy"]["n"]) == (3, 1)
    headings = next(line for line in ok("show").splitlines() if line.startswith("model "))
    assert "answers" in headings.split()  # of one item, which is what the interval beside it is over
    write_lines(
        "weighed.jsonl",
        [
            {
                "sample_id": "starter/geography/0",
                "logprobs": [-1.0, -2.0, -3.0, -4.0],
                "timing": {"total_s": 2.0},
                "usage": {"input_tokens": 9},
            }
        ],
    )
    found = imported("weighed.jsonl", "starter@cloze")
    assert (found["accuracy"], found["estimates"]["input_tokens"]["value"]) == (1.0, 9)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"sample_id": "starter/geografy/0", "completion": "A"}, "Did you mean 'starter/geography/0'"),
        ({"sample_id": "starter/geography/0"}, "either 'completion' or 'logprobs'"),
        ({"sample_id": "starter/geography/0", "logprobs": [0.0]}, "needs 'completion'"),
        ({"completion": "A"}, "sample_id"),
        ({"sample_id": "starter/geography/1", "completion": "A"}, "was answered in line 1 already"),
    ],
)
def test_a_faulty_line_is_named_and_nothing_is_imported(row, words):
    write_lines("answers.jsonl", [{"sample_id": "starter/geography/1", "completion": "A"}, row])
    done = steelyard("import", "answers.jsonl", "--benchmark", "starter@letter", "--model", "m")
    assert done.returncode == 2
    assert words in done.stderr
    assert "line 2" in done.stderr
    assert json.loads(ok("runs", "--json")) == []


def test_own_questions_are_graded_again_without_asking():
    write_cases(4)
    ok("run", "cases.jsonl", "-m", "baseline/constant:the answer is q1", "--quiet")
    before = json.loads(ok("show", "--json"))["cells"][0]["estimates"]["attempted"]["value"]
    changed = json.loads(ok("rescore", "--protocol", "contains", "--json"))[0]
    assert changed["n"] == before == 4
    cells = json.loads(ok("show", "--json"))["cells"]
    assert [cell["label"] for cell in cells] == ["cases@exact", "cases@exact graded as contains"]
    assert "unknown grader 'contain'" in steelyard("rescore", "--protocol", "contain").stderr
    assert steelyard("rescore", "--protocol", "cloze").returncode == 2


@pytest.mark.long
@pytest.mark.data
@pytest.mark.parametrize(("form", "macro", "micro"), [("cot", 73.93, 73.97), ("direct", 56.61, 52.34)])
def test_code_davincis_bbh_outputs_score_as_the_paper_prints(form, macro, micro, data_folder):
    published = rows_of(data_folder / f"bbh/reference_outputs/code-davinci-002_{form}.jsonl")
    write_lines(
        "answers.jsonl",
        [{"sample_id": f"bbh/{row['task']}/{row['index']}", "completion": row["prediction"]} for row in published],
    )
    found = imported("answers.jsonl", f"bbh@paper-{form}", STEELYARD_DATA=str(data_folder))
    assert found["n"] == 6_511
    assert round(100 * found["accuracy"], 2) == macro
    assert round(100 * found["estimates"]["accuracy.micro"]["value"], 2) == micro


@pytest.mark.data
@pytest.mark.parametrize(("body", "right"), [("canonical", 164), ("", 0), ("    pass\n", 0)])
def test_humaneval_solutions_are_judged_by_running_their_tests(body, right, data_folder):
    problems = rows_of(data_folder / "humaneval/openai_humaneval/test.jsonl")
    write_lines(
        "answers.jsonl",
        [
            {"sample_id": f"humaneval/{i}", "completion": row["canonical_solution"] if body == "canonical" else body}
            for i, row in enumerate(problems)
        ],
    )
    found = imported("answers.jsonl", "humaneval@lm-eval", STEELYARD_DATA=str(data_folder))
    assert (found["n"], found["correct"]) == (164, right)


def test_code_without_a_sandbox_is_asked_for_and_stamped_on_the_results():
    Path("tasks.jsonl").write_text('{"prompt": "Write inc.", "test": "assert inc(1) == 2", "id": "inc"}\n')
    Path("answers.jsonl").write_text('{"sample_id": "inc", "completion": "def inc(n):\\n    return n + 1"}\n')
    unsafe = "--unsafe-code-execution"
    told = ok("import", "answers.jsonl", "--benchmark", "tasks.jsonl", "--model", "m", unsafe)
    assert "! Model-written code was run without a sandbox" in told
    ok("rescore", "last", "--protocol", "code", unsafe)
    assert json.loads(ok("show", "--json"))["warnings"][0].startswith("Model-written code")


def test_answers_to_generated_items_come_back_by_seed_and_number():
    asked = [json.loads(line) for line in ok("prompts", "starter:symbolic", "--limit", "3", "--seed", "5").splitlines()]
    write_lines("answers.jsonl", [{"sample_id": item["sample_id"], "completion": "no idea"} for item in asked])
    words = ("import", "answers.jsonl", "--benchmark", "starter:symbolic", "--model", "m", "--json")
    found = json.loads(ok(*words, "--limit", "3", "--seed", "5"))
    assert (found["n"], found["part"]) == (3, "symbolic")
    assert steelyard(*words).returncode == 2  # without a number there is no end to look in
    assert steelyard(*words, "--limit", "3").returncode == 2  # another seed has other items


def test_a_benchmark_without_gold_answers_is_checked_by_its_empty_ones():
    Path("data/ifeval").mkdir(parents=True)
    row = {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    write_lines("data/ifeval/train.jsonl", [row])
    done = steelyard("check", "ifeval", env={"STEELYARD_DATA": "data"})
    assert "1 items  gold none  empty 0.0000" in done.stdout
    assert done.returncode == 1  # 541 are expected


def import_in_clusters(cluster_of, completions):
    """Twenty questions in clusters, every other one answered right."""
    rows = [{"id": f"q{i}", "question": f"q{i}?", "answer": "yes", "cluster": cluster_of(i)} for i in range(20)]
    write_lines("clustered.jsonl", rows)
    write_lines("answers.jsonl", [{"sample_id": f"q{i}", "completion": completions(i)} for i in range(20)])
    return ok("import", "answers.jsonl", "--benchmark", "clustered.jsonl", "--model", "theirs")


def test_a_score_without_an_interval_says_so_and_why():
    out = import_in_clusters(lambda i: f"k{max(i - 16, 0)}", lambda i: "yes" if i % 2 else "no")
    assert "50.0 % (no interval)" in out
    assert "! theirs on clustered@exact: accuracy is of only 4 clusters, worth 1.4 of one size: too few for" in out


def test_scores_by_stratum_say_of_how_many_where_a_model_lost_some():
    items = [sy.Sample(id=f"i{i}", input=str(i), target="x", stratum="ab"[i % 2]) for i in range(20)]

    def strict(sample, completion):
        if completion.text == "8":
            raise ValueError("no eight")
        return 1.0

    def echo(prompt):
        return prompt

    def seven(prompt):
        return "7"

    sy.run([echo, seven], [sy.Benchmark(name="parts", version="1", load=lambda selection: items, grade=strict)])
    lines = {line.split()[0]: line for line in ok("show", "--by", "stratum").splitlines() if line.strip()}
    assert " 9 to 10 " in lines["a"]
    assert " 19 to 20 " in lines["micro"]
    assert " to 10 " not in lines["b"]


def test_what_more_items_would_bring_is_told_of_items_alone_and_counts_those_with_fewer_repeats():
    def some(i):
        return ["yes", "no" if i % 2 else "yes", "yes"][: 1 + i % 3]

    assert "Twice the items" not in import_in_clusters(lambda i: f"k{i // 2}", some)
    out = import_in_clusters(lambda i: f"k{i}", some)
    assert "Twice the items" in out
    assert "All items are asked already" in " ".join(out.split())

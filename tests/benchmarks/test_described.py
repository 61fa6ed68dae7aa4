"""A benchmark in a few lines of YAML over a file of rows: what is asked, and what is refused with which words."""

import hashlib
import json
import tracemalloc
from pathlib import Path

import duckdb
import pytest
from aiohttp import web

import steelyard as sy
from server import serving
from steelyard.benchmarks import find_benchmark, readings
from steelyard.benchmarks.benchmark import Selection
from steelyard.benchmarks.described import ColumnNames
from steelyard.benchmarks.own import Samples, as_sample
from steelyard.benchmarks.rows import Separated, canonical, open_rows
from steelyard.cli import main
from steelyard.errors import DataError, PlanError, UnknownName, UsageError

TICKETS = """ticket,text,label,customer,topic
t1,"Charged twice, please help",billing,c1,money
t2,"The app crashes
when I open it",bug,c2,app
t3,"They said ""no"" {sic}",other,c1,misc
"""
SUPPORT = """
benchmark: support
data: tickets.csv
columns: {question: text, answer: label, id: ticket, cluster: customer, stratum: topic}
template: "Classify: {text}\\nOne of {{billing, bug, other}}."
grader: exact
system: One word.
max_tokens: 9
"""


def write(name, text, encoding="utf-8"):
    Path(name).write_bytes(text.encode(encoding))
    return name


@pytest.fixture
def support():
    write("tickets.csv", TICKETS)
    return write("support.yaml", SUPPORT)


def samples_of(name, **kwargs):
    return find_benchmark(name, **kwargs).dataset(Selection()).samples


def refused(name, *words, error=(DataError, UsageError), **kwargs):
    with pytest.raises(error) as caught:
        samples_of(name, **kwargs)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


def test_columns_template_and_settings_make_the_question(support):
    benchmark = find_benchmark(support)
    samples = benchmark.dataset(Selection()).samples
    assert [sample.id for sample in samples] == ["t1", "t2", "t3"]
    assert [sample.cluster for sample in samples] == ["c1", "c2", "c1"]
    assert [sample.stratum for sample in samples] == ["money", "app", "misc"]
    assert samples[1].input == "Classify: The app crashes\nwhen I open it\nOne of {billing, bug, other}."
    assert samples[2].input == 'Classify: They said "no" {sic}\nOne of {billing, bug, other}.'
    protocol = benchmark.protocol(None)
    assert (protocol.name, protocol.max_tokens) == ("exact", 9)
    prompt = protocol.render(samples[0], ())
    assert [turn.role for turn in prompt.messages] == ["system", "user"]
    assert prompt.messages[0].content == "One word."


PLACED = '{"id": "a", "question": "q1", "answer": "x", "cluster": "c", "stratum": "s"}\n'
BARE = '{"question": "q2", "answer": "y"}\n'


@pytest.mark.parametrize("data", ["own.jsonl", "own.csv"])
def test_columns_of_the_standard_names_are_taken_as_those_of_a_bare_file_are(data):
    head = "id,question,answer,cluster,stratum\na,q1,x,c,s\n,q2,y,,\n"
    write(data, head if data.endswith("csv") else PLACED + BARE)
    write("own.yaml", f"benchmark: own\ndata: {data}\n")
    described, bare = samples_of("own.yaml"), samples_of(data)
    places = [[(one.id, one.cluster, one.stratum) for one in samples] for samples in (described, bare)]
    assert places[0] == places[1]
    assert places[0][0] == ("a", "c", "s")
    assert places[0][1][1:] == (None, None)


def test_a_named_column_stands_for_the_standard_one_and_an_empty_name_for_none():
    write("own.jsonl", PLACED.replace('"q1"', '"q1", "document": "d"') + BARE.replace('"q2"', '"q2", "document": "d"'))
    write("own.yaml", "benchmark: own\ndata: own.jsonl\ncolumns: {id: '', cluster: document}\n")
    places = [(one.id, one.cluster, one.stratum) for one in samples_of("own.yaml")]
    assert places == [("own/0", "d", "s"), ("own/1", "d", None)]
    write("own.jsonl", '{"question": "q", "stratum": "billing"}\n')
    write("own.yaml", "benchmark: own\ndata: own.jsonl\ncolumns: {answer: stratum}\n")
    assert samples_of("own.yaml")[0].stratum is None  # it is the answer


def test_items_that_were_once_read_without_their_ids_are_other_data_than_with_them():
    """What an older version has answered has other ids; where no such column is, its answers go on to count."""
    write("own.yaml", "benchmark: own\ndata: own.jsonl\n")
    salt = json.dumps([dict.fromkeys(sorted(ColumnNames.__struct_fields__)), None], separators=(",", ":")).encode()
    for rows, is_as_before in ((BARE, True), (PLACED, False)):
        write("own.jsonl", rows)
        before = hashlib.sha256(salt + canonical(json.loads(rows)) + b"\n").hexdigest()
        assert (samples_of("own.yaml").digest == before) is is_as_before


def test_strata_and_clusters_reach_the_results(support):
    answers = {"Charged": "Billing.", "The app": "bug", "They said": "bug"}

    def model(prompt):
        return next(answer for start, answer in answers.items() if start in prompt)

    run = sy.run([model], [support])
    assert run.estimate("accuracy").value == pytest.approx(2 / 3)
    assert run.estimate("accuracy/misc").value == 0.0
    assert run.estimate("accuracy/money").value == 1.0
    assert {record.sample.cluster for record in run.records()} == {"c1", "c2"}
    assert [cell.label for cell in run.cells] == ["support@exact"]


def test_the_command_line_tells_a_benchmark_from_a_plan(support, capsys):
    assert main(["run", support, "-m", "baseline/majority", "--quiet"]) == 0
    assert "support@exact" in capsys.readouterr().out
    assert main(["run", f"{support}@contains", "-m", "baseline/majority", "--quiet"]) == 0
    assert "support@contains" in capsys.readouterr().out
    Path("plans").mkdir()
    write("plans/plan.yaml", "models: [baseline/majority]\nbenchmarks: [{path: ../support.yaml}]\n")
    assert main(["run", "plans/plan.yaml", "--quiet"]) == 0
    assert "support@exact" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\n", "neither a plan nor a benchmark"),
        ("benchmark: x\nmodels: [a]\n", "neither a plan nor a benchmark"),
        ("- a\n", "line 1"),
    ],
)
def test_a_file_that_is_neither_says_what_each_has(text, words, capsys):
    write("x.yaml", text)
    assert main(["run", "x.yaml", "-m", "baseline/majority", "--quiet"]) == 2
    assert words in capsys.readouterr().err


def test_a_plan_given_as_a_benchmark_is_told():
    write("plan.yaml", "models: [baseline/majority]\nbenchmarks: [starter]\n")
    with pytest.raises(PlanError, match=r"this is a plan, not a benchmark. Try: steelyard run plan\.yaml"):
        sy.run([len], ["plan.yaml"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("label", "labl"), ["line 4", "has no column 'labl'", "Did you mean 'label'?"]),
        (("{text}", "{txt}"), ["line 5", "has no column 'txt'", "Did you mean 'text'?"]),
        (("{text}", "{text"), ["line 5", "a single '{'"]),
        (("{text}", "{}"), ["line 5", "names no column"]),
        (("{text}", "{text!r}"), ["line 5", "no column 'text!r'"]),
        (("grader: exact", "grader: exakt"), ["line 6", "Did you mean 'exact'"]),
        (("grader: exact", "grader: judge"), ["line 6", "say which"]),
        (("grader: exact", "grader: letter"), ["line 6", "needs choices"]),
        (("grader: exact", "grader: number"), ["3 faults in 3 rows", "line 2: the answer 'billing' is not a number"]),
        (("max_tokens: 9", "max_tokens: 0"), ["line 8", ">= 1"]),
        (("max_tokens", "max_tokns"), ["line 8", "Did you mean 'max_tokens'"]),
        (("topic}", "topic, humn: x}"), ["unknown key 'humn'", "Did you mean 'human'"]),
        (("topic}", "topic, human: ticket}"), ["line 4", "so both are needed"]),
        (("tickets.csv", "gone.csv"), ["no such file", "gone.csv"]),
        (("tickets.csv", "support.yaml"), ["ends in none of"]),
        (("benchmark: support", "benchmark: gsm8k"), ["line 2", "ships with Steelyard"]),
        (("benchmark: support", "benchmark: a@b"), ["line 2", "benchmark"]),
        (("data: tickets.csv", ""), ["'data' is missing"]),
    ],
)
def test_a_fault_of_the_description_is_told_with_its_line(support, changed, words):
    write("support.yaml", SUPPORT.replace(*changed))
    refused("support.yaml", *words)


def test_the_first_five_faults_are_named_and_all_are_counted():
    rows = [{"question": f"q{i}", "answer": "" if i % 2 else "x"} for i in range(20)]
    write("mine.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    told = refused("mine.jsonl", "10 faults in 20 rows", "line 2: the answer is empty", "line 10:", "and 5 more")
    assert "line 12" not in told


def test_another_answer_to_the_same_question_is_an_error():
    write("mine.csv", "question,answer\nq,a\nr,b\nq,c\n")
    refused("mine.csv", "line 4: the question of line 2 again, with another answer")


def test_rows_that_repeat_are_reported_and_the_score_is_given_without_them():
    write("mine.csv", "question,answer\nq,a\nr,b\nq,a\n")
    told = []
    run = sy.run([lambda prompt: "a"], ["mine.csv"], on_message=told.append)
    assert "1 rows repeat an earlier one (line 4)" in told[0]
    assert run.estimate("accuracy").value == pytest.approx(2 / 3)
    assert run.estimate("accuracy[not duplicate]").value == 0.5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'question,answer\nq,a\n"open,b\nr,c\n', "line 3: its quoting cannot be read"),
        (b'question,answer\nq,"a"b\n', "line 2: its quoting cannot be read"),
        ("question,answer\nq,a\nr,\xe9\n".encode("latin-1"), "line 3: not UTF-8 (byte 0xe9)"),
        ("question,answer\nq,a\n".encode("utf-16"), "line 1: not UTF-8"),
        (b"question,answer\nq,a,b\n", "line 2: 3 cells where the head has 2"),
        (b"question,answer\nq\n", "line 2: 1 cells where the head has 2"),
        (b"question,answer,answer\nq,a,b\n", "two columns are called 'answer'"),
        (b"question,answer\n", "no items"),
        (b"", "no items"),
        (b"question,answer\n ,a\n", "line 2: the question is empty"),
        (b"question,answer\nq,\n", "line 2: the answer is empty"),
        (b"id,question,answer\n1,q,a\n1,r,b\n", "line 3: id '1' stands in line 2 already"),
        (b'question,answer,choices\nq,z,"[""a"",""b""]"\n', "line 2: the answer 'z' is neither"),
        (b"question,answer,choices\nq,a,[a\n", "line 2: choices is not a list in JSON"),
    ],
)
def test_a_bad_csv_is_told_with_the_line(content, words):
    Path("mine.csv").write_bytes(content)
    refused("mine.csv", "mine.csv", words)


def test_a_csv_of_semicolons_is_recognised(support):
    write("tickets.csv", TICKETS.replace(",", ";"))
    refused(support, 'Try: separator: ";"')
    write("tickets.csv", "ticket;text;label;customer;topic\nt;a, b;bug;c;d\n")
    write("support.yaml", SUPPORT + 'separator: ";"\n')
    assert samples_of("support.yaml")[0].input.startswith("Classify: a, b\n")


def test_the_same_rows_are_the_same_samples_in_every_format():
    rows = [{"question": 'a, "b"\nc', "answer": "x", "id": "1"}, {"question": "d\te", "answer": "ü", "id": "2"}]
    write("m.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write("m.csv", '\ufeffquestion,answer,id\r\n"a, ""b""\nc",x,1\r\nd\te,ü,2\r\n')
    write("m.tsv", 'question\tanswer\tid\n"a, ""b""\nc"\tx\t1\n"d\te"\tü\t2\n')
    duckdb.sql(
        "COPY (SELECT * FROM read_json('m.jsonl', columns={question: 'VARCHAR', answer: 'VARCHAR', id: 'VARCHAR'})) "
        "TO 'm.parquet'"
    )
    found = {
        suffix: find_benchmark(f"m.{suffix}").dataset(Selection()) for suffix in ("jsonl", "csv", "tsv", "parquet")
    }
    expected = [sy.Sample(id=row["id"], input=row["question"], target=row["answer"]) for row in rows]
    for dataset in found.values():
        assert list(dataset.samples) == expected
        assert dataset.samples[-1] == expected[-1]
    assert len({dataset.digest for dataset in found.values()}) == 1


def test_a_parquet_file_has_rows_and_may_hold_lists():
    duckdb.sql("COPY (SELECT 'q' AS question, ['a', 'b'] AS choices, 1 AS answer) TO 'm.parquet'")
    sample = samples_of("m.parquet")[0]
    assert (sample.choices, sample.target) == (("a", "b"), "1")
    duckdb.sql("COPY (SELECT 'q' AS question, '' AS answer) TO 'm.parquet'")
    refused("m.parquet", "row 1: the answer is empty")
    write("m.parquet", "not parquet")
    refused("m.parquet", "not a Parquet file")


def test_choices_come_from_several_columns_and_the_template_may_place_them():
    write("c.csv", "text,one,two,three,label\nWhich?,red,green,blue,green\nAnd?,x,y,z,C\n")
    described = "benchmark: c\ndata: c.csv\ncolumns: {question: text, answer: label, choices: [one, two, three]}\n"
    write("c.yaml", described)
    benchmark = find_benchmark("c.yaml")
    assert [sample.target for sample in benchmark.dataset(Selection()).samples] == ["1", "2"]
    assert benchmark.protocol(None).name == "letter"
    first = benchmark.dataset(Selection()).samples[0]
    assert (
        "A) red\nB) green\nC) blue\n\nAnswer with the letter"
        in benchmark.protocol(None).render(first, ()).messages[0].content
    )
    write("c.yaml", described + 'template: "{text}\\n{choices}\\nLetter:"\ngrader: choice\n')
    benchmark = find_benchmark("c.yaml")
    first = benchmark.dataset(Selection()).samples[0]
    assert (
        benchmark.protocol(None).render(first, ()).messages[0].content == "Which?\nA) red\nB) green\nC) blue\nLetter:"
    )
    write("c.yaml", described + "grader: likelihood\n")
    assert find_benchmark("c.yaml").protocol(None).render(first, ()).continuations == (" red", " green", " blue")


def test_worked_examples_stand_before_the_question_and_never_give_it_away(support):
    write(
        "train.csv",
        "ticket,text,label,customer,topic\na,Pay,billing,c,m\n"
        'b,"Charged twice, please help",billing,c,m\nd,Slow,bug,c,m\n',
    )
    write("support.yaml", SUPPORT + "shots: {file: train.csv, count: 2}\n")
    run = sy.run([lambda messages: "bug"], ["support.yaml"])
    asked = {record.sample.id: record.call.request.prompt.messages for record in run.records()}
    assert [turn.role for turn in asked["t2"]] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [turn.content for turn in asked["t2"] if turn.role == "assistant"] == ["billing", "billing"]
    assert "Slow" in asked["t1"][3].content  # not the question itself with its answer
    assert run.cells[0].shots == 2
    write("support.yaml", SUPPORT + "shots: {file: train.csv, count: 4}\n")
    refused("support.yaml", "4 worked examples wanted, and it has 3")


def test_a_changed_template_is_another_data_set(support):
    before = find_benchmark(support).dataset(Selection()).digest
    write("support.yaml", SUPPORT.replace("Classify", "Sort"))
    assert find_benchmark(support).dataset(Selection()).digest != before


@pytest.mark.long
def test_a_file_of_any_size_costs_little_memory():
    with open("big.csv", "w") as file:
        file.write("question,answer\n")
        file.writelines(f'"question {i}, {"x" * 500}",{i}\n' for i in range(20_000))
    tracemalloc.start()
    samples = Samples(open_rows(Path("big.csv")), as_sample)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples[19_999].target == "19999"
    assert held < 1_000_000
    assert peak < 5_000_000  # the file has 10 MB


def test_rows_of_a_csv_are_found_again_whatever_ends_its_lines():
    Path("m.csv").write_bytes(b'question,answer\r\n"a\r\nb",x\r\n\r\nc,y\n"d",z')
    file = Separated(Path("m.csv"), ",")
    rows = [(entry.number, file.read(entry.offset)) for entry in file.scan()]
    assert rows == [
        (2, {"question": "a\r\nb", "answer": "x"}),
        (5, {"question": "c", "answer": "y"}),
        (6, {"question": "d", "answer": "z"}),
    ]


JUDGED = """
benchmark: faq
data: faq.jsonl
columns: {human: label, response: reply}
judge: {model: "python:hall:judge", repeats: 1}
"""


def test_a_judge_is_described_in_yaml_and_checked_against_people(monkeypatch, tmp_path):
    rows = [{"question": f"q{i}", "answer": "yes", "reply": "yes" if i % 2 else "no", "label": i % 2} for i in range(8)]
    write("faq.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(
        "hall.py",
        "def judge(prompt):\n    return 'Verdict: CORRECT' if 'judge:\\n| yes' in prompt else 'Verdict: INCORRECT'\n",
    )
    monkeypatch.syspath_prepend(".")
    write("faq.yaml", JUDGED)
    run = sy.run([lambda prompt: "yes"], ["faq.yaml"], limit=6)
    assert run.estimate("accuracy").value == 1.0
    assert run.estimate("judge.agreement").value == 1.0
    assert run.estimate("judge.kappa").value == 1.0
    assert run.estimate("judge.calls").value == 12
    write("faq.jsonl", json.dumps(rows[0] | {"label": "perhaps"}) + "\n")
    refused("faq.yaml", "line 1: the human label 'perhaps' is none of")
    write("faq.yaml", JUDGED.replace("repeats: 1", "mode: rubric"))
    refused("faq.yaml", "line 5", "needs a rubric")


def test_answers_are_judged_again_by_another_description_without_asking_the_model(monkeypatch, capsys):
    write("faq.jsonl", '{"question": "q", "answer": "yes"}\n')
    write("hall2.py", "def judge(prompt):\n    return 'Verdict: CORRECT'\n")
    monkeypatch.syspath_prepend(".")
    write("faq.yaml", "benchmark: faq\ndata: faq.jsonl\n")
    assert sy.run([lambda prompt: "Oh yes"], ["faq.yaml"]).estimate("accuracy").value == 0.0
    write("judged.yaml", "benchmark: faq\ndata: faq.jsonl\njudge: {model: 'python:hall2:judge'}\n")
    assert main(["rescore", "last", "--protocol", "judged.yaml"]) == 0
    assert "100.0 %" in capsys.readouterr().out


COMMIT = "a" * 40


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A local server that speaks the hub's protocol; maps a file's name to its content."""
    files = {}

    async def handle(request, body, number):
        path = request.path
        if path.startswith(f"/api/datasets/org/name/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in files]
            return web.json_response({"id": "org/name", "sha": COMMIT, "siblings": siblings})
        if path.startswith(f"/api/datasets/org/name/tree/{COMMIT}"):
            return web.json_response([{"type": "file", "path": name, "size": 1, "oid": "x"} for name in files])
        if not path.startswith("/datasets/"):
            return web.Response(status=404)
        content = files[path.removeprefix(f"/datasets/org/name/resolve/{COMMIT}/")]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        return web.Response(body=content, headers=headers)

    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    with serving(handle) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/v1"))
        yield files


def parquet(name, *values):
    rows = ", ".join(f"('{question}', '{answer}')" for question, answer in values)
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {rows}) AS t(question, answer)) TO '{name}' (FORMAT parquet)")
    return Path(name).read_bytes()


def test_rows_come_from_the_hub_at_a_commit_by_file_or_by_config_and_split(hub):
    hub["one.csv"] = b"question,answer\nq,a\n"
    hub["en/test-00000-of-00002.parquet"] = parquet("0.parquet", ("q0", "a0"))
    hub["en/test-00001-of-00002.parquet"] = parquet("1.parquet", ("q1", "a1"))
    hub["en/train.csv"] = hub["de/test.csv"] = b"question,answer\nx,y\n"
    where = f"hub: org/name, revision: {COMMIT}"
    write("h.yaml", f"benchmark: h\ndata: {{{where}, file: one.csv}}\n")
    benchmark = find_benchmark("h.yaml")
    assert benchmark.source == "org/name/one.csv"
    assert benchmark.dataset(Selection()).revision == COMMIT
    assert benchmark.dataset(Selection()).samples[0].input == "q"
    write("h.yaml", f"benchmark: h\ndata: {{{where}, config: en, split: test}}\n")
    assert [sample.input for sample in samples_of("h.yaml")] == ["q0", "q1"]
    write("h.yaml", f"benchmark: h\ndata: {{{where}, split: test}}\n")
    refused("h.yaml", "several files fit", "de/test.csv", "Try: file: PATH")
    write("h.yaml", f"benchmark: h\ndata: {{{where}, split: dev}}\n")
    refused("h.yaml", "no file fits")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{hub: org/name, revision: main, file: a.csv}", "revision"),
        ("{hub: org/name, file: a.csv}", "revision"),
        (f"{{hub: org/name, revision: {COMMIT}}}", "either a 'file' or a 'split'"),
        (f"{{hub: org/name, revison: {COMMIT}, file: a.csv}}", "Did you mean 'revision'"),
    ],
)
def test_hub_data_names_a_commit_and_a_file(data, words):
    write("h.yaml", f"benchmark: h\ndata: {data}\n")
    refused("h.yaml", "line 2", words, error=PlanError)


def test_a_grader_given_on_the_command_line_wins(support):
    assert find_benchmark(support, "contains").protocol(None).name == "contains"
    with pytest.raises(UsageError, match="contain"):
        find_benchmark(support, "contain")
    write("m.csv", "question,answer\nq,a\n")
    with pytest.raises(UnknownName):
        find_benchmark("m.csv", "judge")


EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_examples_of_the_folder_can_be_asked(capsys):
    assert main(["run", str(EXAMPLES / "support.yaml"), "-m", "baseline/majority", "--quiet"]) == 0
    assert "support@contains v1: 6 of 6 items" in capsys.readouterr().out
    judged = samples_of(str(EXAMPLES / "judge.yaml"))
    assert len(judged) == 40
    assert {sample.metadata["judge.human"] for sample in judged} == {"0", "1"}


def test_a_dry_run_counts_what_the_judge_would_cost(support, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    price = "price: {input: 100, output: 1000}"
    write("support.yaml", SUPPORT.replace("exact", "judge") + f"judge: {{model: openai/j, mode: pairwise, {price}}}\n")
    assert main(["run", support, "-m", "local/smollm2-135m", "--dry-run", "--json"]) == 0
    cell = json.loads(capsys.readouterr().out)["cells"][0]
    assert cell["judge_requests"] == 6
    assert cell["judge_most_cost_usd"] > 6 * 512 * 1000 / 1e6
    write("support.yaml", SUPPORT.replace("exact", "judge") + "judge: {model: openai/j}\n")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert main(["run", support, "-m", "local/smollm2-135m", "--quiet"]) == 2
    assert "OPENAI_API_KEY is not set" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["mode: rubric, rubric: Is it polite", "mode: pairwise"])
def test_a_judge_that_holds_replies_against_no_answer_needs_none(how, monkeypatch):
    write("kind.py", "def judge(prompt):\n    return 'Verdict: 5' if 'Grade the answer' in prompt else 'Verdict: A'\n")
    monkeypatch.syspath_prepend(".")
    write("faq.jsonl", '{"question": "how?", "other": "so"}\n{"question": "why?", "other": "that is so"}\n')
    columns = "columns: {rival: other}\n" if "pairwise" in how else ""
    write("kind.yaml", f"benchmark: kind\ndata: faq.jsonl\n{columns}judge: {{model: 'python:kind:judge', {how}}}\n")
    assert sy.run([lambda prompt: "please"], ["kind.yaml"]).estimate("accuracy").n == 2


def test_within_a_command_a_file_is_read_through_again_where_another_description_reads_it_otherwise():
    write("faq.jsonl", '{"question": "how?", "answer": ""}\n')
    write("rated.yaml", "benchmark: rated\ndata: faq.jsonl\njudge: {model: openai/j, mode: rubric, rubric: Kind}\n")
    write("held.yaml", "benchmark: held\ndata: faq.jsonl\njudge: {model: openai/j}\n")
    with readings.shared():
        find_benchmark("rated.yaml")
        with pytest.raises(DataError, match="answer is empty"):
            find_benchmark("held.yaml")
    write("tickets.csv", TICKETS)
    write("shown.csv", "text,label,topic,ticket,customer\nhow?,,x,t1,c1\n")
    write("one.yaml", SUPPORT.replace("answer: label", "answer: topic") + "shots: {file: shown.csv, count: 1}\n")
    write("other.yaml", SUPPORT + "shots: {file: shown.csv, count: 1}\n")
    with readings.shared():
        find_benchmark("one.yaml")
        with pytest.raises(DataError, match="answer is empty"):
            find_benchmark("other.yaml")

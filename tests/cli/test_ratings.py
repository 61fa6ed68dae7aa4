"""``compare --ppi`` as a user meets it: a judged run, people's ratings in a file or in the benchmark, put right."""

import json
import random
from pathlib import Path

import pytest

import steelyard as sy
from command import ok, steelyard

COURT = """
def judge(prompt):
    said = next(line for line in prompt.splitlines() if line.startswith("| answer"))
    number = int(said.split()[-1])
    return f"Verdict: {'CORRECT' if number % 10 < 8 else 'INCORRECT'}"
"""


def is_right(number):
    return number % 10 < 6 or number % 10 == 9


def weak(prompt: str) -> str:
    return f"answer {prompt.split()[-1]}"


def strong(prompt: str) -> str:
    number = int(prompt.split()[-1])
    return f"answer {number - number % 10}"


@pytest.fixture(autouse=True)
def _court(monkeypatch):
    Path("court.py").write_text(COURT)
    monkeypatch.syspath_prepend(".")


def write_faq(n=400, rated=0):
    """Questions, with replies of which people rated some, drawn at random; without any there are no replies."""
    drawn = set(random.Random(1).sample(range(n), rated))
    rows = []
    for i in range(n):
        row = {"id": f"q{i}", "question": f"what is {i * 7919 % 1000}", "answer": "?"}
        if rated:
            label = "right" if is_right(i * 31 % 1000) else "wrong"
            row |= {"reply": f"answer {i * 31 % 1000}", "label": label if i in drawn else ""}
        rows.append(row)
    Path("faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = "human: label, response: reply, " if rated else ""
    Path("faq.yaml").write_text(
        f"benchmark: faq\ndata: faq.jsonl\ncolumns: {{{names}id: id}}\njudge: {{model: 'python:court:judge'}}\n"
    )


def test_the_replies_of_a_file_are_judged_all_and_rated_a_few():
    write_faq(rated=100)
    sy.run([weak], ["faq.yaml"])
    found = json.loads(ok("compare", "1", "--ppi", "--json"))[0]["corrected"][0]
    assert (found["rated"], found["n_judged"], found["n_rated"]) == ("the replies in the file", 400, 100)
    truth = sum(is_right(i * 31 % 1000) for i in range(400)) / 400
    assert found["judge"]["value"] == pytest.approx(0.8, abs=0.01)
    assert found["corrected"]["low"] < truth < found["corrected"]["high"]
    out = ok("compare", "1", "--ppi")
    assert "the replies in the file on faq@judge: judged 400, rated by people 100" in out
    assert "lambda 0." in out
    assert "drawn at random, which cannot be seen from here" in out


def test_a_reply_that_nobody_rated_and_the_judge_left_open_is_one_of_the_benchmark_too():
    Path("court.py").write_text(COURT.replace("return f", "return 'hm' if number % 10 == 3 else f"))
    write_faq(rated=100)
    sy.run([weak], ["faq.yaml"])
    out = ok("compare", "1", "--ppi")
    assert "judged 400 (40 without a verdict, taken at its mean), rated by people 100" in out


def test_exported_answers_with_a_rating_added_to_each_are_peoples_ratings():
    write_faq(40)
    sy.run([weak], ["faq.yaml"])
    rated = [json.loads(line) | {"rating": "yes"} for line in ok("export", "1", "--format", "jsonl").splitlines()[:30]]
    Path("rated.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rated))
    assert "judged 40, rated by people 30" in ok("compare", "1", "--ppi", "rated.jsonl")


def test_peoples_ratings_of_the_runs_own_answers_come_from_a_file():
    write_faq()
    sy.run([weak, strong], ["faq.yaml"])
    rows = ["sample_id,model,rating"]
    for i in range(0, 400, 3):
        number = i * 7919 % 1000
        rows += [f"q{i},weak,{int(is_right(number))}", f"q{i},strong,{int(is_right(number - number % 10))}"]
    Path("ratings.csv").write_text("\n".join(rows))
    found = json.loads(ok("compare", "1", "--ppi", "ratings.csv", "--json"))[0]
    one, other = found["corrected"]
    assert (one["model"], one["n_rated"], one["n_judged"]) == ("weak", 134, 400)
    assert other["people"]["value"] == 1.0
    (difference,) = found["differences"]
    assert (difference["against"], difference["verdict"]) == ("weak", "improved")
    assert difference["corrected"]["low"] < 0.3 < difference["corrected"]["high"]
    assert "strong - weak on faq@judge" in ok("compare", "1", "--ppi", "ratings.csv")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("sample_id,rating\nq1,perhaps\n", "q1: the human label 'perhaps' is none of"),
        ("sample_id,rating\nq9999,yes\n", "'q9999' is rated, and it is no item of this run"),
        ("sample_id,model,rating\nq1,nobody,yes\n", "q1 is rated for 'nobody', and the run has weak"),
        ("item,rating\nq1,yes\n", "no column 'sample_id', only item, rating"),
        ("sample_id,rating\nq1,\n", "holds no rating"),
    ],
)
def test_ratings_that_fit_nothing_are_refused_with_what_is_wrong(rows, told):
    write_faq(20)
    sy.run([weak], ["faq.yaml"])
    Path("ratings.csv").write_text(rows)
    done = steelyard("compare", "1", "--ppi", "ratings.csv")
    assert told in done.stderr
    assert done.returncode in (2, 4)


def test_a_gate_holds_a_judge_to_a_plain_bound_and_says_so_where_a_margin_is_asked_for():
    write_faq(rated=100)
    sy.run([weak], ["faq.yaml"])
    ok("baseline", "set", "main")
    done = steelyard("gate", "1", "--baseline", "main", "--margin", "judge.agreement=0.05")
    assert done.returncode == 2
    assert "judge.agreement weighs the judge and not the model, so it has no margin" in done.stderr
    assert 'Try: --require "judge.agreement >= ...", a plain bound' in done.stderr
    assert "PASS" in ok("gate", "1", "--require", "judge.agreement >= 0.3")
    assert '--require "judge.swapped <= ..."' in steelyard(
        "gate", "1", "--baseline", "main", "--margin", "judge.swapped=0.05"
    ).stderr  # fmt: skip


def test_a_run_without_a_judge_or_without_ratings_has_nothing_to_put_right():
    write_faq(20)
    sy.run([weak], ["faq.yaml"])
    assert "nobody rated anything in run #1" in steelyard("compare", "1", "--ppi").stderr
    Path("plain.jsonl").write_text('{"question": "what is 1", "answer": "answer 1"}\n')
    sy.run([weak], ["plain.jsonl"])
    assert "nothing that a model judged" in steelyard("compare", "2", "--ppi").stderr

"""``compare --control-variate`` as a user meets it: two runs, one on a part, through the engine and the store."""

import json
from pathlib import Path

import pytest
from test_compare import compared, ok, steelyard

import steelyard as sy

ITEMS = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(400)]
ECHO = sy.Benchmark(
    name="echo",
    version="1",
    load=lambda selection: ITEMS,
    grade=lambda sample, completion: completion.text == sample.target,
)


def old(prompt: str) -> str:
    return prompt if int(prompt) * 7919 % 10 < 6 else "no"


def new(prompt: str) -> str:
    return prompt if int(prompt) * 7919 % 10 < 6 or int(prompt) % 9 == 0 else "no"


@pytest.fixture
def runs():
    return sy.run([old], [ECHO]), sy.run([new], [ECHO], limit=150)


def test_a_new_version_asked_a_part_is_estimated_on_the_whole_benchmark(runs):
    found = sy.compare(*runs, control_variate=True)
    truth = sum(new(item.input) == item.target for item in ITEMS) / 400
    assert found.of_candidate.low < truth < found.of_candidate.high
    assert (found.control_variate.items, found.control_variate.population) == (150, 400)
    assert found.control_variate.saved_items > 100
    assert sy.compare(*runs).control_variate is None


def test_what_it_saves_is_printed_and_is_in_the_document(runs):
    out = ok("compare", "1", "2", "--control-variate")
    assert "new was asked 150 of the 400 items that old was asked; the difference is over all 400, of this bench" in out
    assert "phi 0.9" in out or "phi 0.8" in out
    assert " items without the baseline: " in out
    assert "left out" not in out
    pair = compared("1", "2", "--control-variate")["pairs"][0]
    variate = pair["comparison"]["control_variate"]
    assert {"theta", "phi", "variance_left", "worth_items", "saved_items", "plain", "beyond"} <= set(variate)
    assert pair["comparison"]["difference"]["method"].startswith("regression on the baseline's scores")
    assert pair["left_out"] is None


def test_the_first_items_of_a_file_and_what_is_no_score_are_refused(runs):
    whole, _ = runs
    first = sy.run([new], [ECHO], limit=150, order="file", fresh=True)
    with pytest.raises(sy.UsageError, match="first ones of a file are no random sample"):
        sy.compare(whole, first, control_variate=True)
    with pytest.raises(sy.UsageError, match="--control-variate is for scores"):
        sy.compare(*runs, metric="latency.p50", control_variate=True)


def test_a_document_is_json(runs):
    assert json.loads(ok("compare", "1", "2", "--control-variate", "--json"))["question"]["control_variate"] is True


def test_imported_answers_are_a_random_part_only_where_a_seed_of_ours_draws_just_those(runs):
    Path("cases.jsonl").write_text(
        "".join(f'{{"id": "i{i}", "question": "{i}", "answer": "{i}"}}\n' for i in range(400))
    )
    sent = ok("prompts", "cases.jsonl", "--order", "shuffled", "--limit", "150", "--seed", "5")
    drawn = [json.loads(line)["sample_id"] for line in sent.splitlines()]
    for name, asked in (("whole", [item.id for item in ITEMS]), ("part", drawn)):
        rows = [{"sample_id": one, "completion": new(one[1:])} for one in asked]
        Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        ok("import", "answers.jsonl", "--benchmark", "cases.jsonl", "--model", "m", "--name", name, "--seed", "5")
    ok("import", "answers.jsonl", "--benchmark", "cases.jsonl", "--model", "m", "--name", "elsewhere")
    assert "150 of 400 items, drawn by seed" in ok("show", "part")
    assert "150 of 400 items, chosen elsewhere" in ok("show", "elsewhere")
    assert compared("whole", "part", "--control-variate")["pairs"][0]["comparison"]["control_variate"]["items"] == 150
    assert "chosen elsewhere and are no random sample" in ok("compare", "whole", "elsewhere")
    refused = steelyard("compare", "whole", "elsewhere", "--control-variate").stderr
    assert "prompts cases@exact --order shuffled --limit N" in refused


def test_a_new_version_that_has_all_right_is_still_told_as_an_estimate_of_the_whole_benchmark():
    sy.run([old], [ECHO])
    sy.run([lambda prompt: prompt], [ECHO], limit=150)
    out = ok("compare", "1", "2", "--control-variate")
    assert "of this benchmark, regression estimator, n = 150 of 400)" in out
    assert "phi unknown: all scores of a side are alike" in out
    assert "nothing saved: " in out
    assert "paired, n" not in out
    assert "looked at" not in out

"""``steelyard compare`` as a user meets it, and held against a computation of its own on published answers."""

import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import scipy.stats as oracle
from scipy.optimize import brentq
from test_cli import write_cases
from test_grading import rows_of, write_lines

import steelyard as sy
from command import ok, steelyard
from steelyard.cli.forecast_cell import CellForecast
from steelyard.cli.power import PowerForecast, power_forecast, power_words
from steelyard.report.comparing import flips
from steelyard.report.comparing.comparison import Reader, load_comparisons
from steelyard.report.comparing.comparison_text import print_comparisons
from steelyard.report.comparing.pairs import Question
from steelyard.report.console import PlainConsole
from steelyard.store import Store


def answers(model, right, n=40, benchmark="cases.jsonl"):
    """A run of ``model`` that has the items of ``right`` right, as an import."""
    write_lines(
        f"{model}.jsonl", [{"sample_id": f"c{i}", "completion": str(i) if i in right else "no"} for i in range(n)]
    )
    return json.loads(ok("import", f"{model}.jsonl", "--benchmark", benchmark, "--model", model, "--json"))["run"]


def compared(*arguments):
    return json.loads(ok("compare", *arguments, "--json"))


@pytest.fixture
def two_runs():
    write_cases(40)
    return answers("old", set(range(20))), answers("new", set(range(5, 38)))


def test_two_runs_are_compared_by_position_where_each_has_one(two_runs):
    out = ok("compare", *two_runs)
    assert "old (#1): accuracy 50.0 % (35.2 to 64.8, Wilson 95 %, n = 40)" in out
    assert "15 / 5 / 18 / 2" in out
    assert "new answers 32.5 points more than old (95 % interval " in out
    assert "improved" in out
    pair = compared(*two_runs)["pairs"][0]["comparison"]
    assert (pair["verdict"], pair["agreement"]["only_candidate"]) == ("improved", 18)
    assert compared(*reversed(two_runs))["pairs"][0]["comparison"]["verdict"] == "regressed"
    narrow = io.StringIO()
    with Store.open(Path(".steelyard/steelyard.db")) as store:
        pairs = load_comparisons(store, [store.run(str(run)) for run in two_runs], Question())
    print_comparisons(pairs, PlainConsole(file=narrow, width=60))
    row = next(line for line in narrow.getvalue().splitlines() if line.startswith("new #2 - old #1"))
    assert "improved" in row, "the verdict stands in the first of the tables that a narrow terminal takes"


def test_the_turned_items_are_one_command_away(two_runs):
    out = ok("compare", *two_runs, "--flips", "--most", 2)
    assert "18 items are better with new; 2 of them:" in out
    assert "c20: old wrong, 'no'; new right, '20'" in out
    assert "5 items are better with old; 2 of them:" in out
    found = json.loads(ok("compare", *two_runs, "--flips", "--json"))[0]
    assert [flip["item"] for flip in found["lost"]] == [f"c{i}" for i in range(5)]
    assert len(found["won"]) == found["n_won"] == 18


def test_no_question_to_the_store_holds_the_numbers_of_more_items_than_it_takes(two_runs, monkeypatch):
    monkeypatch.setattr(flips, "NAMED_AT_ONCE", 4)
    asked = []
    names = Reader.names
    monkeypatch.setattr(Reader, "names", lambda self, info, among=None: asked.append(among) or names(self, info, among))
    for most, numbers in ((2, 4), (3, None)):
        found = json.loads(ok("compare", *two_runs, "--flips", "--json", "--most", most))[0]
        assert [flip["item"] for flip in found["lost"]] == [f"c{i}" for i in range(most)]
        assert (asked[-1] and len(asked[-1])) == numbers


def test_what_cannot_be_paired_is_a_usage_error_that_names_the_field(two_runs):
    write_cases(41)
    other = answers("other", set())
    done = steelyard("compare", two_runs[0], other)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be paired: dataset digest is " in done.stderr
    alone = steelyard("compare", two_runs[0])
    assert (alone.returncode, "nothing to compare it with" in alone.stderr) == (2, True)
    assert "Did you mean 'accuracy'" in steelyard("compare", *two_runs, "--metric", "acuracy").stderr
    assert "unknown model in run #1 or run #2 'nev'" in steelyard("compare", *two_runs, "--model", "nev").stderr


def test_items_that_only_one_side_was_asked_are_counted_and_named(two_runs):
    short = answers("short", set(range(10)), n=30)
    out = ok("compare", two_runs[0], short)
    assert "30 items were asked on both sides; 10 only of old and 0 only of short are left out" in out
    document = compared(two_runs[0], short)["pairs"][0]
    assert document["comparison"]["pairing"]["n"] == 30
    assert document["left_out"]["only_baseline"] == [f"c{i}" for i in range(30, 40)]


def test_protocols_are_compared_only_where_asked(two_runs):
    write_lines("c.jsonl", [{"sample_id": f"c{i}", "completion": f"it is {i}"} for i in range(40)])
    ok("import", "c.jsonl", "--benchmark", "cases.jsonl@contains", "--model", "old")
    done = steelyard("compare", two_runs[0], "last")
    assert "protocol is 'exact' in one and 'contains' in the other" in done.stderr
    across = ("compare", two_runs[0], "last", "--across", "protocol")
    out = ok(*across)
    assert "old (contains) answers 50.0 points more than old (exact)" in out
    assert "cases@contains against cases@exact" in out.splitlines()
    assert json.loads(ok(*across, "--json"))["pairs"][0]["where"] == "cases@contains against cases@exact"
    assert ok(*across, "--flips").startswith("old (contains) against old (exact) on cases@contains against cases@exact")
    assert "cases@exact" in ok("compare", *two_runs).splitlines()


def test_a_protocol_that_leaves_runs_of_several_models_no_pair_is_named_with_the_way_on(two_runs):
    def spare(prompt):
        return "no"

    def old(prompt):
        return "0"

    several = sy.run([spare, old], ["cases.jsonl@contains"]).number
    done = steelyard("compare", two_runs[0], str(several))
    assert "They differ in protocol. Try: --across protocol" in done.stderr
    assert "old (contains) answers" in ok("compare", two_runs[0], str(several), "--across", "protocol")


def test_of_many_pairs_the_outcome_is_told_and_where_to_find_each(two_runs):
    with Store.open(Path(".steelyard/steelyard.db")) as store:
        found = load_comparisons(store, [store.run(str(run)) for run in two_runs], Question())
    (pair,) = found.pairs
    unknown = msgspec.structs.replace(pair.comparison.difference, value=None, low=None, high=None)
    unpaired = msgspec.structs.replace(pair.comparison, difference=unknown, verdict="inconclusive")
    others = [
        msgspec.structs.replace(pair, comparison=msgspec.structs.replace(pair.comparison, verdict="regressed")),
        *[msgspec.structs.replace(pair, comparison=unpaired)] * 2,
    ]
    many = msgspec.structs.replace(found, pairs=[*found.pairs * 13, *others])
    out = io.StringIO()
    print_comparisons(many, PlainConsole(file=out, width=160))
    assert "16 candidates against old (#1), accuracy 50.0 % (35.2 to 64.8, Wilson 95 %, n = 40):" in out.getvalue()
    assert "13 improved, most of all new (#2) +32.5 (" in out.getvalue()
    assert "1 regressed: new (#2) +32.5 (" in out.getvalue()
    assert "2 cannot be compared" in out.getvalue()
    assert "inconclusive" not in out.getvalue()
    assert "Each of the 16 pairs: the same command with --json" in out.getvalue()
    assert found.pairs[0].comparison.sentence not in out.getvalue()
    assert len(out.getvalue().splitlines()) < 14


def test_many_runs_are_one_claim_with_places(two_runs):
    third = answers("third", set(range(4, 38)))
    document = compared(*two_runs, third)
    pairs = [pair["comparison"] for pair in document["pairs"]]
    assert document["family"] == "claim"
    assert [pair["difference"]["level"] for pair in pairs] == [0.975, 0.975]
    assert pairs[0]["adjusted_p"] >= pairs[0]["p_value"]
    near = [place["name"] for place in document["rankings"][0]["places"] if place["near_best"]]
    assert near == ["third", "new"]
    assert [place["first"] for place in document["rankings"][0]["places"]][-1] == 0
    assert "< 1 %" in ok("compare", *two_runs, third)
    assert "Not distinguished from the best: third (#3) and new (#2) (n = 40)." in ok("compare", *two_runs, third)


def test_what_it_would_take_is_said_with_its_price(two_runs):
    out = ok("compare", *two_runs, "--detect", 5)
    assert "40 items find a difference of " in out
    assert "5.0 points would take " in out
    assert "and the benchmark has 40" in out


def test_what_more_items_would_find_of_an_amount_is_in_per_cent():
    write_cases(40)
    for model, longer in (("old", 1), ("new", 2)):
        write_lines("a.jsonl", [{"sample_id": f"c{i}", "completion": str(i),
                                 "usage": {"input_tokens": 9, "output_tokens": longer * (5 + i % 7) + i % 2}}
                                for i in range(40)])  # fmt: skip
        ok("import", "a.jsonl", "--benchmark", "cases.jsonl", "--model", model)
    out = ok("compare", 1, 2, "--metric", "output_tokens", "--detect", 5)
    assert "40 items find a difference of " in out
    assert " % (power 80 %); 5.0 % would take " in out


def test_of_a_single_item_no_difference_is_promised():
    write_cases(1)
    few = [answers(name, right, n=1) for name, right in (("old", {0}), ("new", set()))]
    assert "1 item is too few to find any difference" in ok("compare", *few)
    with Store.open(Path(".steelyard/steelyard.db")) as store:
        found = load_comparisons(store, [store.run(str(run)) for run in few], Question())
    (pair,) = found.pairs
    likely = msgspec.structs.replace(pair, comparison=msgspec.structs.replace(pair.comparison, detectable=0.9))
    for pairs, words in (
        ([pair] * 4, "4 pairs on cases@exact: 1 items are too few to find any difference (power"),
        ([pair, *[likely] * 3], "find a difference of 90.0 points, and of 1 pair none (power"),
    ):
        out = io.StringIO()
        print_comparisons(msgspec.structs.replace(found, pairs=pairs), PlainConsole(file=out, width=160))
        assert words in out.getvalue()
    expected = PowerForecast(benchmark="b", models=2, comparisons=1, level=0.95, items=1, available=5, disagree=0.25,
                             power=0.8, detectable=1.4, find=0.05, items_needed=785, most_usd_needed=None)  # fmt: skip
    assert power_words(expected).startswith("b: 1 items are too few to tell two models apart; 5 points would take 785")


def test_in_python_models_of_a_run_and_runs_are_compared():
    items = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(60)]
    benchmark = sy.Benchmark(
        name="echo",
        version="1",
        load=lambda selection: items,
        grade=lambda sample, completion: completion.text == sample.target,
    )

    def weak(prompt: str) -> str:
        return prompt if int(prompt) % 3 else "no"

    def strong(prompt: str) -> str:
        return prompt

    run = sy.run([weak, strong], [benchmark])
    found = sy.compare(run, "weak", "strong", metric="accuracy")
    assert (found.verdict, found.difference.value, found.difference.n) == ("improved", pytest.approx(1 / 3), 60)
    assert sy.compare(run, "strong", "weak").verdict == "regressed"
    again = sy.run([strong, weak], [benchmark], fresh=True)
    assert sy.compare(run, again, "weak").verdict == "inconclusive"
    assert sy.compare(run, again, "weak").sentence.startswith("weak in #2 answers as much as weak in #1")
    assert sy.compare(run, metric="latency.p50").ratio.value > 0
    with pytest.raises(sy.UsageError, match="2 fit: weak on echo@default, strong on echo@default"):
        sy.compare(run, again)


def test_a_grade_beyond_right_and_wrong_is_the_graders_fault_and_no_score():
    items = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(8)]
    benchmark = sy.Benchmark(
        name="points", version="1", load=lambda selection: items, grade=lambda sample, completion: int(sample.target)
    )

    def model(prompt: str) -> str:
        return prompt

    run = sy.run([model], [benchmark])
    scores = {record.sample.id: record.scores["accuracy"] for record in run.records()}
    assert {name for name, score in scores.items() if score.value is not None} == {"i0", "i1"}
    assert scores["i7"].reason == "grading failed: ValueError: accuracy is a number from 0 to 1, not 7"


def test_what_an_answer_was_is_told_only_where_the_grader_says():
    items = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(4)]
    benchmark = sy.Benchmark(
        name="echo",
        version="1",
        load=lambda selection: items,
        grade=lambda sample, completion: completion.text == sample.target,
    )

    def weak(prompt: str) -> str:
        return "no"

    def strong(prompt: str) -> str:
        return prompt

    sy.run([weak, strong], [benchmark])
    assert "i0: weak wrong; strong right\n" in ok("compare", "last", "--flips")


def tango_by_scipy(b, c, n):
    """The score interval by its definition: the deltas whose score test, with the constrained estimate, keeps them."""
    z = oracle.norm.ppf(0.975)

    def score(delta):
        linear = -b - c + (2 * n - b + c) * delta
        p01 = (np.sqrt(linear**2 - 8 * n * (-c * delta * (1 - delta))) - linear) / (4 * n)
        return (b - c - n * delta) / np.sqrt(n * (2 * p01 + delta * (1 - delta)))

    diff = (b - c) / n
    return brentq(lambda d: score(d) - z, -0.9999, diff), brentq(lambda d: score(d) + z, diff, 0.9999)


def midp_by_scipy(b, c):
    """Twice the smaller tail, less the probability of the table itself."""
    return min(1.0, 2 * oracle.binom.cdf(min(b, c), b + c, 0.5) - oracle.binom.pmf(min(b, c), b + c, 0.5))


@pytest.mark.data
def test_the_authors_gsm8k_models_compare_as_a_computation_of_its_own_says(data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    published = rows_of(data_folder / "gsm8k/reference_outputs/example_model_solutions.jsonl")
    models = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    for model in models:
        write_lines(
            "answers.jsonl",
            [{"sample_id": f"gsm8k/test/{row['index']}", "completion": row[model]["solution"]} for row in published],
        )
        arguments = ("import", "answers.jsonl", "--benchmark", "gsm8k@zero-shot", "--model", model, "--name", model)
        ok(*arguments)
    right = {model: np.array([row[model]["is_correct"] for row in published]) for model in models}
    for baseline, candidate in (("6b_finetuning", "6b_verification"), ("6b_verification", "175b_finetuning")):
        found = compared(baseline, candidate)["pairs"][0]["comparison"]
        b, c = (right[candidate] & ~right[baseline]).sum(), (right[baseline] & ~right[candidate]).sum()
        seen = found["agreement"]
        assert (seen["only_candidate"], seen["only_baseline"]) == (b, c)
        low, high = tango_by_scipy(int(b), int(c), 1319)
        assert (found["difference"]["low"], found["difference"]["high"]) == pytest.approx((low, high), abs=1e-9)
        assert found["p_value"] == pytest.approx(midp_by_scipy(int(b), int(c)), rel=1e-9)
    ranking = compared(*models)["rankings"][0]
    assert [place["name"] for place in ranking["places"] if place["near_best"]] == ["175b_verification"]


@pytest.mark.long
@pytest.mark.data
def test_chain_of_thought_on_bbh_gains_what_the_paper_prints(data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    for form in ("direct", "cot"):
        published = rows_of(data_folder / f"bbh/reference_outputs/code-davinci-002_{form}.jsonl")
        write_lines(
            "answers.jsonl",
            [{"sample_id": f"bbh/{row['task']}/{row['index']}", "completion": row["prediction"]} for row in published],
        )
        arguments = (
            "import",
            "answers.jsonl",
            "--benchmark",
            f"bbh@paper-{form}",
            "--model",
            "davinci",
            "--name",
            form,
        )
        ok(*arguments)
    assert "cannot be paired: protocol is 'paper-direct'" in steelyard("compare", "direct", "cot").stderr
    found = compared("direct", "cot", "--across", "protocol")["pairs"][0]["comparison"]
    assert round(100 * found["difference"]["value"], 1) == round(73.93 - 56.61, 1)
    assert (found["difference"]["n"], found["test"], found["verdict"]) == (6511, "stratified score", "improved")
    words = ok("compare", "direct", "cot", "--across", "protocol")
    assert "of these answers the differences are exact, not of others that the same models might give" in words


def test_a_dry_run_says_what_it_could_tell_apart_and_what_more_would_cost(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    models = ("-m", "openai/gpt-4o-mini", "-m", "openai/gpt-4o", "-m", "baseline/random")
    words = ok("run", "starter", *models, "--dry-run", "--detect", 4)
    assert (
        "176 items tell two models apart that differ by 10.6 points or more; 4 points would take 1,227 items" in words
    )
    power = json.loads(ok("run", "starter", *models, "--dry-run", "--json"))["power"][0]
    assert (power["models"], power["find"], power["items_needed"]) == (2, 0.05, 785)
    assert power["most_usd_needed"] > 0
    assert "Try: with --dry-run" in steelyard("run", "starter", *models, "--detect", 4).stderr


def test_a_dry_run_says_that_its_widths_are_of_independent_items_and_of_questions_like_these(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    rows = [{"question": f"q{i}", "answer": "x"} for i in range(30)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ok("run", "q.jsonl", "-m", "openai/m", "--price", "1/1", "--max-tokens", 5, "--dry-run")
    assert "USD for the one model of this plan)" in words
    assert "; power 80 %; of questions like these)." in words
    assert "clusters" not in words
    Path("q.jsonl").write_text("".join(json.dumps(row | {"cluster": i // 3}) + "\n" for i, row in enumerate(rows)))
    both = ("-m", "openai/m", "-m", "openai/n")
    words = ok("run", "q.jsonl", *both, "--price", "1/1", "--max-tokens", 5, "--dry-run")
    assert "USD in all)" in words
    assert "The items lie in 10 clusters, of which neither this nor the width takes account" in words


def test_what_more_items_cost_is_known_also_where_all_answers_of_the_plan_are():
    cell = CellForecast(model="m", benchmark="b", items=300, available=1319, repeats=1, requests=300, known=300,
                        input_tokens=0, most_output_tokens=0, most_cost_usd=0.0, most_batch_cost_usd=0.0,
                        most_request_usd=0.01, judge_requests=0, judge_most_cost_usd=0.0, half_width=0.06)  # fmt: skip
    (expected,) = power_forecast([cell, cell], [False, False], find=0.05)
    assert expected.items_needed == 785
    assert expected.most_usd_needed == pytest.approx(2 * 0.01 * (785 - 300))


def test_what_more_items_cost_is_never_rounded_to_nothing(two_runs):
    cell = CellForecast(model="m", benchmark="b", items=300, available=1319, repeats=1, requests=300, known=0,
                        input_tokens=0, most_output_tokens=0, most_cost_usd=0.0, most_batch_cost_usd=0.0,
                        most_request_usd=1e-06, judge_requests=0, judge_most_cost_usd=0.0, half_width=0.06)  # fmt: skip
    (expected,) = power_forecast([cell, cell], [False, False], find=0.05)
    assert "5 points would take 785 items (at most 0.0016 USD in all)" in power_words(expected)
    with Store.open(Path(".steelyard/steelyard.db")) as store:
        found = load_comparisons(store, [store.run(str(run)) for run in two_runs], Question(detect=0.05))
    cheap = msgspec.structs.replace(found, pairs=[msgspec.structs.replace(found.pairs[0], usd_needed=0.00312)])
    out = io.StringIO()
    print_comparisons(cheap, PlainConsole(file=out, width=160))
    assert "(about 0.0031 USD for both)" in out.getvalue()


def two_benchmarks():
    """The same sixty numbers under two names, each to be said again."""
    items = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(60)]
    return [
        sy.Benchmark(
            name=name,
            version="1",
            load=lambda selection: items,
            grade=lambda sample, completion: completion.text == sample.target,
        )
        for name in ("one", "two")
    ]


def test_one_candidate_on_several_benchmarks_has_an_average_of_them():
    both = two_benchmarks()

    def weak(prompt: str) -> str:
        return prompt if int(prompt) % 3 else "no"

    def strong(prompt: str) -> str:
        return prompt if int(prompt) % 10 else "no"

    run = sy.run([weak, strong], both)
    (average,) = compared(run.number)["averages"]
    assert average["benchmarks"] == ["one@default", "two@default"]
    assert average["difference"]["value"] == pytest.approx(14 / 60)
    assert average["verdict"] == "improved"
    assert "strong - weak on average over 2 benchmarks, each weighing the same: +23.3 (" in ok("compare", run.number)
    assert compared(run.number, "--benchmark", "one")["averages"] == []


def test_averages_of_several_candidates_hold_together():
    both = two_benchmarks()

    def answering(step):
        def answer(prompt: str) -> str:
            return prompt if int(prompt) % step else "no"

        answer.__name__ = f"every-{step}"
        return answer

    sy.run([answering(step) for step in (3, 5, 7, 10)], both)
    averages = compared("1")["averages"]
    assert [one["difference"]["level"] for one in averages] == pytest.approx([1 - 0.05 / 3] * 3)
    assert "points (98.33 %, of just these benchmarks)" in ok("compare", "1")


def test_a_grid_says_one_level_and_no_interval_beside_a_told_difference_holds_none():
    items = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(60)]
    grids = [
        sy.Benchmark(
            name=name,
            version="1",
            load=lambda selection: items,
            grade=lambda sample, completion, step=step: completion.text.isdigit() and int(completion.text) % step != 1,
        )
        for name, step in (("one", 2), ("two", 61))
    ]

    right = {"base": range(30), "near": range(2, 41), "far": range(55), "like": range(1, 31)}

    def answering(name):
        def answer(prompt: str) -> str:
            return prompt if int(prompt) in right[name] else "no"

        answer.__name__ = name
        return answer

    run = sy.run([answering(name) for name in right], grids)
    document = compared(run.number)
    found = [pair["comparison"] for pair in document["pairs"]]
    assert document["family"] == "grid"
    assert {one["verdict"] for one in found} == {"improved", "inconclusive"}
    told = [one for one in found if one["verdict"] == "improved"]
    assert document["level"] == pytest.approx(1 - len(told) * 0.10 / 6)
    for one in found:
        assert one["difference"]["level"] == document["level"]
        is_told = one["adjusted_p"] <= 0.10
        assert is_told == (one["difference"]["low"] > 0) == (one in told)
    out = ok("compare", run.number)
    assert f"points ({100 * document['level']:.3g} %)" in out
    assert f"Each interval is at {100 * document['level']:.4g} %" in out


def test_models_of_several_runs_stand_on_one_front_and_have_a_coefficient_from_five_on():
    write_cases(40)
    runs, of_models = [], []
    for index in range(5):
        rows = [
            {"sample_id": f"c{i}", "completion": str(i) if i < 20 + 3 * index else "no",
             "timing": {"total_s": 1 + (0.1 if index == 2 else -0.1) * index + i / 100}}
            for i in range(40)
        ]  # fmt: skip
        write_lines(f"m{index}.jsonl", rows)
        runs.append(ok("import", f"m{index}.jsonl", "--benchmark", "cases.jsonl", "--model", f"m{index}", "--json"))
        of_models.append((0.5 + 0.075 * index, np.median([row["timing"]["total_s"] for row in rows])))
    numbers = [json.loads(run)["run"] for run in runs]
    found = json.loads(ok("compare", *numbers, "--correlations", "--json"))
    across = [one for one in found["correlations"] if one["model"] is None]
    known = oracle.kendalltau(*zip(*of_models, strict=True))
    assert [(one["figure"], one["r"]["n"]) for one in across] == [("latency", 5)]
    assert (across[0]["r"]["value"], across[0]["p"]) == pytest.approx((known.statistic, known.pvalue))
    assert -1 < across[0]["r"]["low"] < across[0]["r"]["value"] < across[0]["r"]["high"] < 1
    assert {one["model"]: one["beaten_by"] for one in found["fronts"][0]["points"]} == {
        "m0 (#1)": "m1 (#2)", "m1 (#2)": "m3 (#4)", "m2 (#3)": "m3 (#4)", "m3 (#4)": "m4 (#5)", "m4 (#5)": None,
    }  # fmt: skip
    assert "4 models are too few for a coefficient: need 5" in ok("compare", *numbers[:4], "--correlations")
    write_cases(41)
    other = answers("other", set())
    refused = steelyard("compare", numbers[0], other, "--correlations")
    assert (refused.returncode, "cannot be paired: dataset digest" in refused.stderr) == (2, True)


def asked_of(*models, items=12):
    """A run of functions by the names of ``models``: a fails always, b on half of the items, others never."""
    some = [sy.Sample(id=f"i{i}", input=str(i), target=str(i)) for i in range(items)]

    def answering(name, wrong):
        def answer(prompt: str) -> str:
            if name == "a" or (name == "b" and int(prompt) % 2):
                raise RuntimeError("down")
            return "no" if int(prompt) % wrong == 0 else prompt

        answer.__name__ = name
        return answer

    benchmark = sy.Benchmark(
        name="some",
        version="1",
        load=lambda selection: some,
        grade=lambda sample, completion: completion.text == sample.target,
    )
    return sy.run([answering(name, 2 + place) for place, name in enumerate(models)], [benchmark]).number


def test_a_model_without_a_score_takes_nobodys_place():
    run = asked_of("c", "d", "a", "e")
    (ranking,) = compared(run)["rankings"]
    assert ([place["name"] for place in ranking["places"]], ranking["n"]) == (["e", "d", "c"], 12)
    assert ranking["unscored"] == ["a"]
    assert "(n = 12). Without a score, so without a place: a." in ok("compare", run)
    assert compared(run, "--model", "c", "--model", "d", "--model", "a")["rankings"] == []


def test_of_too_few_items_there_are_no_places():
    out = ok("compare", asked_of("c", "d", "e", items=1))
    assert "1 item has a score of all 3: too few for places." in out
    assert "chance of being best" not in out


def test_a_baseline_is_told_over_the_most_items_that_it_shares():
    out = ok("compare", asked_of("c", "a", "b", "d"))
    assert "c: accuracy 50.0 % (25.4 to 74.6, Wilson 95 %, n = 12)" in out
    assert "a: accuracy unknown: nothing was scored" in out


def test_what_failed_is_told_once_of_scores_and_also_of_a_time():
    run = asked_of("c", "b")
    assert ok("compare", run).count("6 items have no ") == 1
    assert "6 items have no latency.p50 on a side (0 of c, 6 of b)" in ok("compare", run, "--metric", "latency.p50")


def test_the_family_of_correlations_is_counted_as_it_is_adjusted():
    run = asked_of("c", "d", "e", items=40)
    found = compared(run, "--correlations")["correlations"]
    with_p = [one for one in found if one["p"] is not None]
    assert 0 < len(with_p) < len(found)
    told = f"over all {len(found)}, of which {len(found) - len(with_p)} without a p count as nothing found"
    assert told in ok("compare", run, "--correlations")
    least = min(with_p, key=lambda one: one["p"])
    others = [len(found) * one["p"] / (1 + sum(other["p"] < one["p"] for other in with_p)) for one in with_p]
    assert least["adjusted_p"] == pytest.approx(min(1, *others))


@pytest.mark.parametrize(
    ("models", "benchmarks", "level"), [(2, 1, 0.95), (1, 1, 0.95), (3, 1, 0.975), (2, 2, 0.975), (4, 2, 1 - 0.1 / 6)]
)
def test_a_dry_run_tells_apart_at_the_level_that_the_comparisons_will_have(models, benchmarks, level):
    cells = [
        CellForecast(model=f"m{model}", benchmark=f"b{benchmark}", items=300, available=1319, repeats=1, requests=300,
                     known=0, input_tokens=0, most_output_tokens=0, most_cost_usd=0.0, most_batch_cost_usd=0.0,
                     most_request_usd=0.01, judge_requests=0, judge_most_cost_usd=0.0, half_width=0.06)
        for benchmark in range(benchmarks) for model in range(models)
    ]  # fmt: skip
    expected = power_forecast(cells, [False] * len(cells), find=0.05)[0]
    reach = oracle.norm.ppf(0.5 + level / 2) + oracle.norm.ppf(0.8)
    assert expected.level == pytest.approx(level)
    assert expected.detectable == pytest.approx(reach * np.sqrt(0.25 / 300))
    assert expected.items_needed == np.ceil(reach**2 * 0.25 / 0.05**2)
    assert ("comparisons at" in power_words(expected)) == (level > 0.95)


def test_clusters_too_few_for_an_interval_leave_no_place_either():
    rows = [{"id": f"c{i}", "question": f"q{i}", "answer": str(i), "cluster": min(1, i // 54)} for i in range(60)]
    write_lines("cases.jsonl", rows)
    runs = [answers(name, set(range(right)), n=60) for name, right in (("low", 10), ("mid", 30), ("high", 60))]
    (ranking,) = compared(*runs)["rankings"]
    assert {(place["low"], place["high"], place["near_best"]) for place in ranking["places"]} == {(1, 3, True)}
    out = ok("compare", *runs)
    assert "The clusters of the 60 items are too few, or too unlike in size, for places." in out
    assert "told apart" not in out

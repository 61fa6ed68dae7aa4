"""What a dry run learns of clusters from earlier answers, and what a comparison says that more items would take."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_compare import ok

import steelyard as sy
from steelyard import stats
from steelyard.analysis.clusters import correlation_within
from steelyard.cli.earlier_clusters import alike_in_store
from steelyard.providers.function import Function
from steelyard.store import Store

SIZE, ITEMS = 5, 300
SHORT = ("--price", "1/1", "--max-tokens", 5, "--dry-run")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def rows(size=SIZE):
    return "".join(
        json.dumps({"id": f"i{i}", "question": str(i), "answer": "x", "cluster": i // size}) + "\n"
        for i in range(ITEMS)
    )


def by_cluster(name, share, seed):
    """A model that is right about a cluster or wrong about it, seldom about some of it."""
    generator = np.random.default_rng(seed)
    whole = generator.random(ITEMS // SIZE + 1) < share
    own = generator.random(ITEMS) < 0.1

    async def answer(prompt):
        i = int(prompt.split()[-1])
        return "x" if whole[i // SIZE] != own[i] else "no"

    return Function(answer, name=name)


def asked(*models):
    Path("q.jsonl").write_text(rows())
    return sy.run(list(models), ["q.jsonl"])


def forecast():
    return json.loads(ok("run", "q.jsonl", "-m", "openai/m", "-m", "openai/n", *SHORT, "--json"))


def test_the_correlation_within_clusters_is_the_one_that_values_were_drawn_with():
    generator, clusters = np.random.default_rng(1), np.arange(20_000) // 5
    values = generator.normal(size=20_000) * np.sqrt(0.7) + generator.normal(size=4_000)[clusters] * np.sqrt(0.3)
    assert correlation_within(values, clusters) == pytest.approx(0.3, abs=0.02)
    assert correlation_within(generator.normal(size=20_000), clusters) == pytest.approx(0, abs=0.02)
    assert correlation_within(values[:40], clusters[:40]) is None  # eight clusters tell too little
    assert correlation_within(np.ones(200), clusters[:200]) is None
    assert correlation_within(values[:60], np.arange(60) // 2) is None  # and so do thirty pairs


def test_a_dry_run_takes_the_design_effect_that_earlier_answers_had():
    Path("q.jsonl").write_text(rows())
    before = forecast()
    asked(by_cluster("a", 0.8, 1), by_cluster("b", 0.6, 2))
    after = forecast()
    effects = after["power"][0]["design_effects"]
    assert effects["run"] == 1
    assert 2 < effects["difference"] < SIZE
    assert after["power"][0]["detectable"] == pytest.approx(
        before["power"][0]["detectable"] * effects["difference"] ** 0.5
    )
    assert after["power"][0]["items_needed"] > 2 * before["power"][0]["items_needed"]
    assert after["cells"][0]["half_width"] > 1.4 * before["cells"][0]["half_width"]
    words = ok("run", "q.jsonl", "-m", "openai/m", *SHORT)
    assert f"this counts a design effect of {effects['difference']:.1f} and the width one of" in words
    assert "as answers of run #1 had them" in words


def test_a_run_that_asked_hardly_two_items_of_a_cluster_tells_nothing_of_clusters():
    models = [by_cluster("a", 0.8, 1), by_cluster("b", 0.6, 2)]
    asked(*models)
    sy.run(models, ["q.jsonl"], limit=40, seed=1)
    assert forecast()["power"][0]["design_effects"]["run"] == 1


def test_of_one_model_a_dry_run_knows_the_width_and_no_difference():
    asked(by_cluster("a", 0.8, 1))
    words = ok("run", "q.jsonl", "-m", "openai/m", *SHORT)
    assert "as answers of run #1 had it; this counts none, since no two models were asked there" in words


def test_what_one_size_of_clusters_told_is_taken_over_to_another():
    asked(by_cluster("a", 0.8, 1), by_cluster("b", 0.6, 2))
    with Store.open(Path(".steelyard/steelyard.db")) as store:
        label = store.cells(store.run("1").id)[0].label
        alike = alike_in_store(store, label)
        of_twenty = alike.over(np.full(15, 20))
        assert alike_in_store(store, "other") is None
    assert of_twenty.score == pytest.approx(stats.design_effect(mean_cluster_size=20, icc=alike.scores, n=ITEMS).deff)


def test_a_comparison_says_that_the_items_it_would_take_lie_in_clusters():
    asked(by_cluster("a", 0.8, 1), by_cluster("b", 0.75, 2))
    assert "items in clusters like these" in ok("compare", "1", "--detect", 5)

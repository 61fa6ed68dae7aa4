"""A service that changes its model in mid-run: both are recorded, and the run is flagged for its reader and a gate."""

import json

import pytest

import steelyard as sy
from server import chunk, finish, serving, stream, usage
from steelyard.cli import main


def answering_as(*identities):
    """A handler that says of each answer in turn that (model, fingerprint) gave it."""

    async def handle(request, body, number):
        model, fingerprint = identities[(number - 1) % len(identities)]
        said = chunk(content="x") | {"model": model, "system_fingerprint": fingerprint}
        return await stream(request, [said, finish(), usage()])

    return handle


def quiz(name="quiz", items=12):
    return sy.Benchmark(
        name=name,
        version="1",
        load=lambda selection: [sy.Sample(id=f"{name}/{i}", input=f"q{i}", target="x") for i in range(items)],
        grade=lambda sample, completion: completion.text == sample.target,
    )


def shown(capsys):
    assert main(["show", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["show"]) == 0
    return document, capsys.readouterr().out


@pytest.fixture
def ask(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def run(url, benchmarks):
        model = sy.ModelSpec(id="openai/m", provider="openai", model="m", base_url=url, concurrency=1)
        return sy.run([model], benchmarks)

    return run


def test_a_model_that_changes_in_mid_run_flags_the_run_and_its_json(ask, capsys):
    with serving(answering_as(("m-old", "a"), ("m-old", "b"), ("m-new", "a"))) as server:
        ask(server.url, [quiz()])
    document, text = shown(capsys)
    assert document["mixed_models"] == [
        {"model": "openai/m", "differs": "model", "reported": {"m-old": 8, "m-new": 4}},
    ]
    assert document["cells"][0]["estimates"]["models_reported"]["value"] == 2
    assert "openai/m: mixed model. The service said that it is m-old (8 answers), m-new (4 answers)" in text
    assert any("mixed model" in warning for warning in document["warnings"])


def test_a_model_that_changes_between_two_benchmarks_is_mixed_too(ask, capsys):
    with serving(answering_as(*[("m-old", "a")] * 12, *[("m-new", "a")] * 12)) as server:
        ask(server.url, [quiz("first"), quiz("second")])
    document, _ = shown(capsys)
    assert [cell["estimates"]["models_reported"]["value"] for cell in document["cells"]] == [1, 1]
    assert [mixed["reported"] for mixed in document["mixed_models"]] == [{"m-old": 12, "m-new": 12}]


def test_another_fingerprint_under_one_name_is_said_to_be_only_that(ask, capsys):
    with serving(answering_as(("m", "a"), ("m", "b"))) as server:
        ask(server.url, [quiz()])
    document, text = shown(capsys)
    assert [(mixed["differs"], mixed["reported"]) for mixed in document["mixed_models"]] == [
        ("fingerprint", {"a": 6, "b": 6})
    ]
    assert "by its fingerprint only" in text


@pytest.mark.parametrize("identity", [("m", "a"), ("m", None)])
def test_one_model_throughout_is_not_flagged(ask, capsys, identity):
    with serving(answering_as(identity)) as server:
        ask(server.url, [quiz()])
    document, text = shown(capsys)
    assert document["mixed_models"] == []
    assert "mixed" not in text

"""A plan's fault names file, line, key and the nearest known name."""

from pathlib import Path

import pytest

from steelyard.errors import PlanError, UnknownName, UsageError
from steelyard.plan.file import read_plan
from steelyard.plan.names import parse_benchmark, parse_model
from steelyard.plan.plan import distinct_ids, plan_from_document

GOOD = """\
name: pick
models:
  - openai/gpt-4o-mini
  - {id: mine, provider: openai, model: m, base_url: http://localhost:1/v1, price: {input: 0.1, output: 0.4}}
benchmarks:
  - mmlu:astronomy@cloze
  - name: gsm8k
    shots: 3
limit: 10
"""


def plan_of(text):
    path = Path("plan.yaml")
    path.write_text(text)
    return read_plan(path)


def test_a_plan_is_read_and_comes_back_from_its_document():
    plan = plan_of(GOOD)
    assert [model.id for model in plan.models] == ["openai/gpt-4o-mini", "mine"]
    assert plan.models[1].price.output == 0.4
    assert (plan.benchmarks[0].part, plan.benchmarks[0].protocol) == ("astronomy", "cloze")
    assert plan.benchmarks[1].shots == 3
    assert plan_from_document(plan.as_document()) == plan
    assert plan_from_document(plan.as_document()).digest() == plan.digest()


def test_the_digest_covers_what_changes_a_result_and_not_the_name():
    plan = plan_of(GOOD)
    assert plan_of(GOOD.replace("pick", "other")).digest() == plan.digest()
    assert plan_of(GOOD.replace("limit: 10", "limit: 11")).digest() != plan.digest()


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("limit: 10", "limti: 10", 9, "unknown key 'limti'. Did you mean 'limit'"),
        ("limit: 10", "limit: 0", 9, "limit: expected `int` >= 1"),
        ("limit: 10", "limit: 1e3", 9, "limit: expected `int"),
        ("name: gsm8k", "name: gsm9k", 7, "Did you mean 'gsm8k'"),
        ("price:", "prize:", 4, "Did you mean 'price'"),
        ("input: 0.1", "input: no", 4, "models.1.price.input"),
        ("shots: 3", "shots: -1", 8, "benchmarks.1.shots"),
        ("name: pick", "name: pick\nname: again", 2, "'name' stands twice (first in line 1)"),
        ("id: mine", "api_key: sk-123", 4, "api_key_env: NAME"),
        ("openai/gpt-4o-mini", "opnai/gpt", 3, "Did you mean 'openai'"),
        ("benchmarks:", "banchmarks:", 5, "Did you mean 'benchmarks'"),
        ("models:", "models: [", 3, "not YAML"),
        ("limit: 10", "stop: {half_widht: 0.03}", 9, "stop names no rule: half_widht"),
        ("limit: 10", "stop: {compare: true, lok: 1}", 9, "stop: unknown key 'lok'"),
        ("limit: 10", "success: [accuracy > 1]", 9, "is no criterion"),
        ("limit: 10", "cascade: {skip_when: success}", 9, "there are no criteria"),
    ],
)
def test_a_fault_is_told_with_its_line(old, new, line, words):
    with pytest.raises(PlanError) as caught:
        plan_of(GOOD.replace(old, new, 1))
    assert words in str(caught.value)
    assert f"plan.yaml, line {line}:" in str(caught.value)
    assert "sk-123" not in str(caught.value)


def test_a_plan_with_a_stopping_rule_comes_back_from_its_document_with_every_default():
    plan = plan_of(GOOD + "stop: {compare: true}\n")
    assert plan.as_document()["stop"]["looks"] == (0.1, 0.25, 0.5, 1.0)
    assert plan_from_document(plan.as_document()) == plan
    assert plan.digest() != plan_of(GOOD).digest()


def test_a_plan_has_a_stopping_rule_or_a_cascade_and_not_both():
    with pytest.raises(PlanError, match="either 'stop' or 'cascade'"):
        plan_of(GOOD + "stop: {compare: true}\ncascade: {drop_when: worse_by 0.05}\n")


def test_datasets_is_also_understood():
    assert plan_of(GOOD.replace("benchmarks:", "datasets:")).benchmarks[1].name == "gsm8k"


def test_a_plan_that_is_no_mapping_is_refused():
    with pytest.raises(PlanError, match="a plan is a mapping"):
        plan_of("- a\n- b\n")


def test_an_alias_bomb_is_refused():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
    )
    with pytest.raises(PlanError, match="more than"):
        plan_of(bomb)


@pytest.mark.parametrize(
    "text",
    ["models: &a [*a]\nbenchmarks: [gsm8k]\n", "models: [x]\nbenchmarks: &a {b: *a}\n", "a: " + "[" * 5000],
    ids=["a list", "a mapping", "brackets"],
)
def test_what_holds_itself_or_has_no_bottom_is_a_fault_of_the_plan(text):
    with pytest.raises(PlanError, match=r"plan\.yaml.*(an alias|brackets in brackets)"):
        plan_of(text)


def test_an_alias_that_stands_beside_what_it_stands_for_is_understood():
    assert (
        len(plan_of("models: [openai/m]\ntags: &a [x]\nsuccess: []\nbenchmarks: [gsm8k]\naccept_data: *a\n").tags) == 1
    )


def test_a_plan_in_another_encoding_is_told_with_its_line():
    Path("plan.yaml").write_bytes((GOOD + "tags: [caf\xe9]\n").encode("latin-1"))
    with pytest.raises(PlanError, match=r"plan\.yaml, line 10: not UTF-8 \(byte 0xe9\)\. Try: save as UTF-8"):
        read_plan(Path("plan.yaml"))


@pytest.mark.parametrize(
    ("word", "provider", "model"),
    [
        ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("gpt-4", "openai", "gpt-4"),
        ("o3", "openai", "o3"),
        ("local/smollm2-135m", "local", "smollm2-135m"),
        ("openai/org/model", "openai", "org/model"),
        ("baseline/random", "baseline", "random"),
        ("python:mod:fn", "python", "mod:fn"),
    ],
)
def test_models_are_named_in_one_word(word, provider, model):
    spec = parse_model(word)
    assert (spec.provider, spec.model) == (provider, model)


@pytest.mark.parametrize("word", ["nobody", "openai/", "locl/smollm2-135m"])
def test_a_model_that_cannot_be_is_refused(word):
    with pytest.raises(UsageError):
        parse_model(word)


def test_benchmarks_are_named_in_one_word():
    spec = parse_benchmark("mmlu:us_foreign_policy@letter")
    assert (spec.name, spec.part, spec.protocol) == ("mmlu", "us_foreign_policy", "letter")
    assert parse_benchmark("dir/my:cases.jsonl@number").name == "dir/my:cases.jsonl"
    with pytest.raises(UnknownName, match="Did you mean 'starter'"):
        parse_benchmark("startr")


def test_the_same_model_with_other_settings_is_another_system():
    import msgspec

    spec = parse_model("openai/gpt-4")
    warm = msgspec.structs.replace(spec, temperature=1.0)
    assert [model.id for model in distinct_ids([spec, warm])] == ["openai/gpt-4", "openai/gpt-4#2"]
    with pytest.raises(UsageError, match="twice"):
        distinct_ids([spec, spec])


@pytest.mark.parametrize(
    ("word", "provider", "model"),
    [
        ("gpt-4", "openai", "gpt-4"),
        ("gpt-3.5-turbo", "openai", "gpt-3.5-turbo"),
        ("o3", "openai", "o3"),
        ("o4-mini", "openai", "o4-mini"),
        ("claude-2", "anthropic", "claude-2"),
        ("gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("openrouter/anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("openai-responses/o3-pro", "openai-responses", "o3-pro"),
    ],
)
def test_a_model_is_found_at_its_provider(word, provider, model):
    spec = parse_model(word)
    assert (spec.provider, spec.model, spec.id) == (provider, model, f"{provider}/{model}")


@pytest.mark.parametrize(
    ("word", "offered"),
    [
        ("gpt4", "'openai/gpt-4'"),
        ("GPT-4o", "'openai/gpt-4o'"),
        ("claude3-opus", "'anthropic/claude-3-opus'"),
        ("llama-3.3-70b-versatile", "'groq/llama-3.3-70b-versatile'"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "'together/meta-llama/Llama-3.3-70B-Instruct-Turbo'"),
        ("smollm2-135m", "'local/smollm2-135m'"),
        ("antropic/claude-2", "'anthropic'"),
        ("groq", "groq/MODEL"),
        ("nothing-like-it", "PROVIDER/nothing-like-it"),
    ],
)
def test_a_name_that_is_no_model_gets_what_it_may_mean(word, offered):
    with pytest.raises(UsageError) as error:
        parse_model(word)
    assert offered in str(error.value)


CASCADES = """\
models:
  - {id: both, provider: cascade, model: small>openai/gpt-4o, threshold: 0.8}
  - {id: small, model: openai/gpt-4o-mini, price: {input: 0.1, output: 0.4}, confidence: logprob}
  - {id: vote, model: cascade/small>big, threshold: 0.7, confidence: {by: agreement, samples: 3}, max_tokens: 9}
  - {id: big, provider: openai, model: m, base_url: http://localhost:1/v1}
  - {id: judged, provider: cascade, model: small>big, threshold: 0.5, confidence: {by: judge, judge: big}}
benchmarks: [gsm8k]
"""


def test_a_cascade_names_other_entries_by_their_ids_wherever_they_stand():
    plan = plan_of(CASCADES)
    both, small, vote, big, judged = plan.models
    assert both.cascade.cheap == small
    assert (both.cascade.dear.model, both.cascade.threshold) == ("gpt-4o", 0.8)
    assert (vote.max_tokens, vote.cascade.dear) == (9, big)
    assert (vote.cascade.cheap.price, vote.cascade.cheap.confidence.samples) == (small.price, 3)
    assert judged.cascade.cheap.confidence.judge == big
    assert [asked.id for asked in judged.asked] == ["small", "big", "big"]
    assert plan_from_document(plan.as_document()) == plan
    assert plan_of(CASCADES.replace("0.8", "0.9")).digest() != plan.digest()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("small>openai/gpt-4o", "small", "'small' is no cascade"),
        ("small>openai/gpt-4o", "small>opnai/x", "Did you mean 'openai'"),
        ("confidence: logprob", "confidence: logprobs", "Did you mean 'logprob'"),
        ("{by: judge, judge: big}", "{by: judge}", "--confidence-judge MODEL"),
        ("{by: agreement, samples: 3}", "{by: logprob, samples: 3}", "confidence is by logprob"),
        ("confidence: logprob", "threshold: 0.5", "a threshold is for a cascade"),
    ],
)
def test_what_makes_no_cascade_in_a_plan_is_told_with_its_line(old, new, words):
    with pytest.raises(PlanError, match=r"plan\.yaml") as raised:
        plan_of(CASCADES.replace(old, new))
    assert words in str(raised.value)


def test_a_plan_without_cascades_keeps_the_digest_that_it_had_before_there_were_any():
    document = plan_of(GOOD).as_document()
    for model in document["models"]:
        assert (model["confidence"], model["cascade"]) == (None, None)
    digest = "aed5168410623312b54aa53196768c4b71a07c81389843aa5ebf20285e265891"
    assert plan_of(GOOD).digest() == digest

"""Answers of earlier runs used again: under which key, for whom, and what they may not touch."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import steelyard as sy
from server import chunk, finish, say, serving, stream, usage
from steelyard.engine.progress import Progress
from steelyard.engine.reuse import misses
from steelyard.engine.reuse.cache import Identity, identity
from steelyard.engine.reuse.misses import explain
from steelyard.engine.run import Given, execute
from steelyard.plan.names import seconds
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.store.nouns import Known
from steelyard.types import CellInfo, Message, ModelSpec, Price, Prompt, Request

REQUEST = Request(
    model="m",
    prompt=Prompt(kind="chat", messages=(Message(role="system", content="s"), Message(role="user", content="q"))),
    temperature=0.5,
    max_tokens=9,
    stop=("\n",),
    seed=1,
    reasoning_effort="low",
    repeat=1,
    extra={"top_p": 0.9},
)
OTHERWISE = {
    "model": ["m2", ""],
    "prompt": [
        Prompt(kind="completion", text="q"),
        Prompt(kind="chat", messages=(Message(role="user", content="q"),)),
        Prompt(kind="chat", messages=(Message(role="system", content="s"), Message(role="user", content="q "))),
        Prompt(kind="chat", messages=(Message(role="user", content="s"), Message(role="user", content="q"))),
        Prompt(kind="likelihood", text="q", continuations=("a", "b")),
        Prompt(kind="likelihood", text="q", continuations=("b", "a")),
    ],
    "temperature": [None, 0.0, 0.51],
    "max_tokens": [None, 10],
    "stop": [(), ("\n", "Q:"), ("\n\n",)],
    "seed": [None, 0, 2],
    "reasoning_effort": [None, "high"],
    "repeat": [0, 2],
    "extra": [{}, {"top_p": 0.91}, {"top_p": 0.9, "min_p": 0.1}, {"top_k": 0.9}],
}
IDENTITY = Identity(provider="openai", origin="https://x/v1")


def test_a_change_of_any_field_of_the_request_is_a_miss():
    assert set(OTHERWISE) == set(Request.__struct_fields__)
    key = IDENTITY.key(REQUEST)
    others = [replace(REQUEST, **{name: value}) for name, values in OTHERWISE.items() for value in values]
    keys = [IDENTITY.key(other) for other in others]
    assert key not in keys
    assert len(set(keys)) == len(others)
    assert IDENTITY.key(replace(REQUEST, extra=dict(REQUEST.extra))) == key


def test_a_change_of_who_answers_is_a_miss():
    keys = {replace(IDENTITY, **{name: "other"}).key(REQUEST) for name in Identity.__struct_fields__}
    assert len(keys | {IDENTITY.key(REQUEST)}) == 1 + len(Identity.__struct_fields__)


def test_how_or_for_which_benchmark_an_answer_is_graded_is_no_part_of_its_key():
    info = first_cell()
    others = [
        replace(info, protocol="other", scored=("other",)),
        replace(info, protocol_version="2"),
        replace(info, benchmark="other", benchmark_version="2", dataset="other", dataset_digest="other"),
        replace(info, settings={"protocol": {"metrics": ["other"]}}),
    ]
    assert {identity(other).key(REQUEST) for other in others} == {identity(info).key(REQUEST)}
    assert identity(replace(info, origin="other")).key(REQUEST) != identity(info).key(REQUEST)


TEXTS = st.text(max_size=4)
REQUESTS = st.builds(
    Request,
    model=TEXTS,
    prompt=st.builds(
        Prompt,
        kind=st.sampled_from(["chat", "completion", "likelihood"]),
        messages=st.lists(
            st.builds(Message, role=st.sampled_from(["user", "system", "assistant"]), content=TEXTS), max_size=2
        ).map(tuple),
        text=TEXTS,
        continuations=st.lists(TEXTS, max_size=2).map(tuple),
    ),
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 9),
    stop=st.lists(TEXTS, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 9),
    reasoning_effort=st.none() | TEXTS,
    repeat=st.integers(0, 3),
    extra=st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(0, 3) | TEXTS, max_size=2),
)


@given(REQUESTS, REQUESTS)
def test_two_requests_share_a_key_only_if_they_are_equal(one, other):
    assert (IDENTITY.key(one) == IDENTITY.key(other)) == (one == other)


@given(REQUESTS, st.data())
def test_any_field_of_any_request_changes_its_key(request, data):
    name = data.draw(st.sampled_from(Request.__struct_fields__))
    other = replace(request, **{name: getattr(data.draw(REQUESTS), name)})
    assert (IDENTITY.key(request) == IDENTITY.key(other)) == (request == other)


def test_what_is_known_misses_none_that_is_there():
    digests = [IDENTITY.key(replace(REQUEST, seed=seed)) for seed in range(3000)]
    asked = [*digests[:2000], *digests[:1000]]
    known = Known((digest, number) for number, digest in enumerate(asked))
    assert len(known) == 3000
    assert all(digest in known for digest in digests[:2000])
    assert not any(digest in known for digest in digests[2000:])
    assert all(list(known.rows_of(digests[i])) == [i, 2000 + i] for i in range(1000))
    assert all(list(known.rows_of(digests[i])) == [i] for i in range(1000, 2000))


def quiz(n=20):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="yes") for i in range(n)],
        grade=lambda sample, completion: completion.text == sample.target,
    )


def ask(model, benchmark=None, **plan):
    """Run one model on the quiz in the test's own store."""
    plan = Plan(models=(model,), benchmarks=(BenchmarkSpec(name="quiz"),), **plan)
    with Store.open() as store:
        at_hand = Given(benchmarks={"quiz": benchmark or quiz()})
        ended = asyncio.run(execute(plan, store, given=at_hand, progress=Progress()))
        return sy.Run(ended.run, store.location)


def endpoint(server, **settings):
    return ModelSpec(
        id="m", provider="openai", model="m", base_url=server.url, price=Price(input=1, output=2), **settings
    )


def test_the_same_question_is_asked_once_over_runs_and_costs_nothing_the_second_time():
    with serving(say("yes")) as server:
        first = ask(endpoint(server))
        second = ask(endpoint(server))
        asked = len(server.requests)
    assert asked == 20
    assert second.estimate("accuracy") == first.estimate("accuracy")
    figures = {name: second.estimate(name).value for name in ("cached", "api_calls", "cost.total", "answered")}
    assert figures == {"cached": 20, "api_calls": 0, "cost.total": 0, "answered": 20}
    assert second.estimate("cost.saved").value == pytest.approx(first.estimate("cost.total").value)
    assert second.estimate("cost.per_request").value == pytest.approx(first.estimate("cost.per_request").value)
    record = next(second.records())
    assert record.call.completion.cached
    assert record.call.completion.timing is None
    assert (record.call.cost_usd, record.call.attempts) == (0.0, ())
    assert record.call.completion.text == "yes"


def test_what_was_saved_is_the_least_where_an_answer_used_again_has_no_known_cost():
    async def now_and_then(request, body, number):
        return await stream(request, [chunk(content="yes"), finish(), *([usage()] if number % 2 else [])])

    with serving(now_and_then) as server:
        ask(endpoint(server))
        second = ask(endpoint(server))
    assert second.table().count("which saved at least ") == 2
    assert not second.spending.is_all_saved_known


def test_an_answer_used_again_enters_no_latency_no_rate_and_no_reliability():
    with serving(say("yes")) as server:
        ask(endpoint(server), quiz(5))
        mixed = ask(endpoint(server), quiz(20))
        nothing_new = ask(endpoint(server), quiz(20))
    assert (mixed.estimate("cached").value, mixed.estimate("latency.mean").n) == (5, 15)
    assert mixed.estimate("reliability").n == 15
    assert "5 of 20 answers were given in earlier runs" in mixed.table()
    for name in ("latency.mean", "ttft.p50", "itl.p50", "tokens_per_second", "requests_per_second", "reliability"):
        assert nothing_new.estimate(name).value is None
        assert "--fresh" in nothing_new.estimate(name).status
    assert "20 of 20 answers were given in earlier runs and used again" in nothing_new.table()


def test_every_repeat_is_an_answer_of_its_own_and_more_repeats_ask_only_those():
    with serving(say("yes")) as server:
        ask(endpoint(server), runs=2)
        run = ask(endpoint(server), runs=3)
        asked = len(server.requests)
    assert asked == 60
    assert (run.estimate("cached").value, run.estimate("attempted").value) == (40, 60)


def test_fresh_asks_anew_and_what_is_too_old_is_asked_anew(monkeypatch):
    with serving(say("yes")) as server:
        ask(endpoint(server))
        ask(endpoint(server), fresh=True)
        assert len(server.requests) == 40
        ask(endpoint(server), cache_max_age_s=3600.0)
        assert len(server.requests) == 40
        now = time.time()
        monkeypatch.setattr("steelyard.engine.reuse.cache.time.time", lambda: now + 7200)
        run = ask(endpoint(server), cache_max_age_s=3600.0)
        assert len(server.requests) == 60
    assert run.estimate("cached").value == 0


def test_an_answer_that_was_too_old_is_explained_so(monkeypatch):
    with serving(say("yes")) as server:
        ask(endpoint(server))
        time.sleep(0.3)
        run = ask(endpoint(server), cache_max_age_s=0.2)
        assert len(server.requests) == 40
    time.sleep(0.3)
    with Store.open() as store:
        assert [reason.text for reason in explain(store, run.info)[0].reasons] == [
            "the answer is older than --cache-max-age"
        ]


@pytest.mark.parametrize(("age", "worth"), [("90s", 90), ("1.5h", 5400), (" 7d ", 604800), ("2w", 1209600)])
def test_an_age_is_a_number_and_a_unit(age, worth):
    assert seconds(age) == worth


@pytest.mark.parametrize("age", ["7", "d", "-1d", "7 years", ""])
def test_another_age_is_refused(age):
    with pytest.raises(sy.UsageError, match="is no age"):
        seconds(age)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"temperature": 0.7}, "temperature"),
        ({"max_tokens": 7}, "max_tokens"),
        ({"system": "Be brief"}, "prompt"),
        ({"model": "m2"}, "model"),
        ({"stop": ("x",)}, "stop"),
        ({"extra": {"top_p": 0.5}}, "extra"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
def test_a_miss_is_explained_by_the_field_that_made_it(changes, field):
    with serving(say("yes")) as server:
        ask(endpoint(server, max_tokens=5))
        run = ask(replace(endpoint(server, max_tokens=5), **changes))
        assert len(server.requests) == 40
    with Store.open() as store:
        [found] = explain(store, run.info)
    assert {reason.field for reason in found.reasons} - {"seed"} == {field}
    assert (found.asked, found.reasons[0].items, found.reasons[0].run) == (20, 20, 1)


def test_as_many_misses_are_looked_at_as_it_says_also_where_each_has_several_fields(monkeypatch):
    monkeypatch.setattr(misses, "MOST_ITEMS", 12)
    with serving(say("yes")) as server:
        ask(endpoint(server))
        run = ask(endpoint(server, max_tokens=7, system="Be brief"))
    with Store.open() as store:
        [found] = explain(store, run.info)
    assert (found.asked, found.looked_at) == (20, 12)
    assert {reason.field: reason.items for reason in found.reasons} == {"max_tokens": 12, "prompt": 12}


def test_what_was_never_asked_or_was_cleared_is_explained_so():
    with serving(say("yes")) as server, Store.open() as store:
        first = ask(endpoint(server))
        store.answers.clear("m")
        second = ask(endpoint(server))
        assert len(server.requests) == 40
        assert explain(store, first.info)[0].reasons[0].text == "it was not asked before"
        assert "before the cache was cleared" in explain(store, second.info)[0].reasons[0].text
        third = ask(endpoint(server))
        assert len(server.requests) == 40
        assert (explain(store, third.info)[0].used_again, explain(store, third.info)[0].asked) == (20, 0)


def test_a_failure_is_never_used_again():
    async def busy_then_well(request, body, number):
        from aiohttp import web

        if number <= 20:
            return web.json_response({"error": {"message": "no"}}, status=400)
        return await say("yes")(request, body, number)

    with serving(busy_then_well) as server:
        ask(endpoint(server, concurrency=1), quiz(5))
        run = ask(endpoint(server, concurrency=1), quiz(5))
    assert run.estimate("cached").value == 0


def test_functions_and_objects_are_asked_anew_unless_they_state_a_version():
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return "yes"

    for version, calls in ((None, 40), ("1", 20), ("2", 20)):
        asked.clear()
        for _ in range(2):
            sy.run([sy.Function(answer, version=version)], [quiz()])
        assert len(asked) == calls
    scripted = sy.Scripted("yes")
    for _ in range(2):
        sy.run([scripted], [quiz()])
    assert scripted.asked == 40


def test_a_floor_is_never_used_again():
    for _ in range(2):
        run = sy.run(["baseline/random"], ["starter@letter"])
    assert run.estimate("cached").value == 0


def test_answers_survive_the_deletion_of_the_run_that_asked_for_them():
    with serving(say("yes")) as server:
        first = ask(endpoint(server))
        second = ask(endpoint(server))
        with Store.open() as store:
            store.delete(first.info.id)
            texts = [record.call.completion.text for record in store.records(second.info.id)]
        third = ask(endpoint(server))
        assert len(server.requests) == 20
    assert texts == ["yes"] * 20
    assert third.estimate("cost.saved").value == pytest.approx(second.estimate("cost.saved").value)


def test_a_row_whose_source_was_deleted_while_it_was_written_keeps_its_answer():
    with serving(say("yes")) as server:
        first = ask(endpoint(server))
        with Store.open() as store:
            digests = [record.call.digest for record in store.records(first.info.id)]
            [info] = store.cells(first.info.id)
            found = store.answers.find(store.answers.known({info.origin}), digests)
            assert len(found) == 20
            store.delete(first.info.id)
            run = store.create_run(name="r", plan={}, plan_digest="x")
            session = store.begin_session(run.id, {})
            cell = store.add_cell(run.id, first_cell())
            store.append_calls([row_of(cell, session, place, answer) for place, answer in enumerate(found.values())])
            assert [record.call.completion.text for record in store.records(run.id)] == ["yes"] * 20


def first_cell():
    return CellInfo(
        model="m", benchmark="quiz", protocol="default", protocol_version="1", benchmark_version="1", kind="chat",
        dataset="quiz", dataset_digest="d", prompt_digest="p", origin="o", items=20, available=20,
    )  # fmt: skip


def row_of(cell, session, place, answer):
    from steelyard.store import NewCall
    from steelyard.store.rows.answers import reused

    sample = sy.Sample(id=f"quiz/{place}", input="q", target="yes")
    return NewCall(
        cell=cell, session=session, position=place, sample=sample, call=reused(answer.call, sample.id),
        started_at_s=answer.started_s, ended_at_s=answer.ended_s, reused_from=answer.id, saved_usd=answer.cost_usd,
    )  # fmt: skip


def test_a_repeated_run_adds_little_to_the_store():
    import sqlite3

    with serving(say("yes " * 500)) as server:
        ask(endpoint(server))
        ask(endpoint(server))
    raw = sqlite3.connect(".steelyard/steelyard.db")
    sizes = raw.execute("SELECT cached, sum(length(payload)) FROM calls GROUP BY cached ORDER BY cached").fetchall()
    raw.close()
    assert sizes[0][1] > 2000
    assert sizes[1] == (1, 0)


def test_an_answer_used_again_is_graded_by_the_grader_of_now_and_can_be_graded_again():
    strict = sy.Benchmark(name="quiz", version="1", load=quiz().load, grade=lambda sample, completion: False)
    with serving(say("yes")) as server:
        ask(endpoint(server))
        run = ask(endpoint(server), strict)
        assert len(server.requests) == 20
    assert run.estimate("accuracy").value == 0.0


def test_the_cache_is_read_from_the_command_line():
    from cli.test_cli import ok, write_cases

    write_cases(6)
    with serving(say("3")) as server:
        command = ("run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--quiet")
        ok(*command)
        out = ok(*command)
        assert len(server.requests) == 6
        assert "6 of 6 answers were given in earlier runs and used again" in out
        ok(*command, "--temperature", 1)
        assert "temperature differs" in ok("cache", "explain")
        assert "in run #1: 0.0" in ok("cache", "explain")
        stats = json.loads(ok("cache", "stats", "--json"))
        assert (stats["answers"], stats["used_again"]) == (12, 6)
        assert "openai/m" in ok("cache")
        dry = json.loads(ok(*command, "--dry-run", "--json", "--price", "1/1", "--max-tokens", 9))
        assert (dry["cells"][0]["requests"], dry["cells"][0]["known"]) == (6, 0)
        dry = json.loads(ok(*command, "--dry-run", "--json"))
        assert (dry["cells"][0]["known"], dry["cells"][0]["input_tokens"]) == (6, 0)
        assert "6 (6 known)" in ok(*command, "--dry-run")
        ok("cache", "clear")
        ok(*command)
        assert len(server.requests) == 18
        ok(*command, "--fresh")
        assert len(server.requests) == 24
        ok(*command, "--cache-max-age", "1d")
        assert len(server.requests) == 24


def figures(told):
    """What a run's ``--json`` says of each of its cells."""
    names = ("cached", "api_calls", "cost.total", "accuracy")
    return [[cell["estimates"][name]["value"] for name in names] for cell in json.loads(told)["cells"]]


def test_a_second_grader_over_the_same_words_costs_nothing():
    from cli.test_cli import ok, write_cases

    write_cases(4)
    with serving(say("it is 3")) as server:
        command = ("run", "cases.jsonl", "-m", "openai/m", "--base-url", server.url, "--quiet", "--json")
        priced = (*command, "--price", "1/1")
        [[cached, calls, cost_usd, accuracy]] = figures(ok(*priced, "--grader", "exact"))
        assert (cached, calls, accuracy) == (0, 4, 0.0)
        assert cost_usd > 0
        forecast = json.loads(ok(*priced, "--grader", "contains", "--dry-run"))["cells"][0]
        assert (forecast["requests"], forecast["known"]) == (4, 4)
        assert figures(ok(*priced, "--grader", "contains")) == [[4, 0, 0, 0.25]]
        assert len(server.requests) == 4
        assert "4 used again, 0 asked" in ok("cache", "explain")


def test_two_graders_of_one_run_each_have_answers_of_their_own_and_a_later_run_has_them_all():
    from cli.test_cli import ok, write_cases

    write_cases(4)
    with serving(say("it is 3")) as server:
        model = {"id": "m", "provider": "openai", "model": "m", "base_url": server.url}
        benchmarks = [{"path": "cases.jsonl", "grader": grader} for grader in ("exact", "contains")]
        Path("plan.yaml").write_text(json.dumps({"models": [model], "benchmarks": benchmarks}))
        first = figures(ok("run", "plan.yaml", "--quiet", "--json"))
        assert [(cached, calls, accuracy) for cached, calls, _, accuracy in first] == [(0, 4, 0.0), (0, 4, 0.25)]
        second = figures(ok("run", "plan.yaml", "--quiet", "--json"))
        assert [(cached, calls, accuracy) for cached, calls, _, accuracy in second] == [(4, 0, 0.0), (4, 0, 0.25)]
        assert len(server.requests) == 8


def test_a_protocol_that_asks_otherwise_is_a_miss_by_what_it_asks_and_not_by_its_name():
    brief = replace(quiz().protocol(None), name="brief", max_tokens=3)
    with serving(say("yes")) as server:
        ask(endpoint(server))
        run = ask(endpoint(server), sy.Benchmark(name="quiz", version="1", load=quiz().load, protocols=(brief,)))
        assert len(server.requests) == 40
    with Store.open() as store:
        assert {reason.field for reason in explain(store, run.info)[0].reasons} == {"max_tokens"}


def test_a_confidential_answer_that_another_grader_uses_again_stays_withheld():
    def sealed(name):
        protocol = replace(quiz().protocol(None), name=name)
        return sy.Benchmark(name="quiz", version="1", load=quiz().load, protocols=(protocol,), confidential=True)

    with serving(say("a secret")) as server:
        ask(endpoint(server), sealed("strict"))
        run = ask(endpoint(server), sealed("lenient"))
        assert len(server.requests) == 20
    assert run.estimate("cached").value == 20
    assert not [record for record in run.records() if "secret" in str(record.call) or "q1" in str(record.call.request)]
    assert all(record.call.completion.text == "a secret" for record in run.records(reveal=True))

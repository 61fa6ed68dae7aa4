"""What a judge said in earlier runs is used again: under which key, what it costs, and when the judge is asked anew."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from test_cache import OTHERWISE, REQUEST

import steelyard as sy
from command import ok
from server import chunk, finish, serving, stream, usage
from steelyard.engine.judging.verdicts import key_of_verdict
from steelyard.store import Store
from steelyard.types import ModelSpec, Price

SPEC = ModelSpec(id="j", provider="openai", model="m")
N = 5


def key(spec=SPEC, origin="https://x/v1", request=REQUEST, asked="judge/1/q0/0"):
    return key_of_verdict(spec, SimpleNamespace(origin=origin), request, asked)


def test_a_change_of_anything_that_can_change_a_verdict_is_a_miss():
    changed = [key(request=replace(REQUEST, **{name: value})) for name, values in OTHERWISE.items() for value in values]
    others = [
        *changed,
        key(spec=replace(SPEC, provider="anthropic")),
        key(spec=replace(SPEC, version="2")),
        key(origin="https://y/v1"),
        *(key(asked=asked) for asked in ("judge/2/q0/0", "judge/1/q1/0", "judge/1/q0/1")),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key(spec=replace(SPEC, id="another name", price=Price(input=1, output=1))) == key()


def test_code_without_a_version_is_asked_every_time():
    assert key(spec=ModelSpec(id="f", provider="object", model="f")) is None
    assert key(spec=ModelSpec(id="f", provider="object", model="f", version="1")) is not None


@contextmanager
def judging():
    """A judge behind HTTP that says the same of every answer, with a count of what it was asked."""

    async def handle(request, body, number):
        return await stream(request, [chunk(content="Verdict: CORRECT"), finish(), usage()])

    with serving(handle) as server:
        yield server


def answering(prompt):
    return f"an answer to {prompt}"


def asked_of(server, judge, **settings):
    """A run of the quiz, with how often it asked the judge."""
    before = len(server.requests)
    items = [sy.Sample(id=f"q{n}", input=f"q{n}", target=str(n)) for n in range(N)]
    quiz = sy.Benchmark(name="quiz", version="1", load=lambda selection: items, grade=judge)
    run = sy.run([answering], [quiz], store="s.db", **settings)
    return len(server.requests) - before, run


def judge_at(server, **settings):
    return sy.Judge(**{"model": "openai/j", "base_url": server.url, "price": Price(input=10, output=100)} | settings)


def test_a_verdict_of_an_earlier_run_is_used_again_costs_nothing_and_is_labelled():
    with judging() as server:
        asked, first = asked_of(server, judge_at(server))
        again, second = asked_of(server, judge_at(server))
        anew, third = asked_of(server, judge_at(server), fresh=True)
    assert (asked, again, anew) == (N, 0, N)
    assert second.estimate("accuracy") == first.estimate("accuracy")
    cost = first.estimate("judge.cost.total").value
    assert cost > 0
    figures = [second.estimate(f"judge.{name}").value for name in ("calls", "cached", "cost.total", "cost.saved")]
    assert figures == [0, N, 0, pytest.approx(cost)]
    assert (first.estimate("judge.cached").value, third.estimate("judge.cached").value) == (0, 0)
    assert "judge cached" in second.table()
    assert f"{N} of the judges' replies used again, which saved" in second.table()
    assert second.spending.saved_usd == pytest.approx(cost)
    assert f"{N} of the judge's {N} replies were given in earlier runs" in second.table()
    spent = next(second.records()).scores["accuracy"].spent
    assert (spent.calls, spent.cached, spent.cost_usd) == (0, 1, 0.0)
    assert spent.saved_usd == pytest.approx(cost / N)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "openai/k"},
        {"temperature": 0.5},
        {"max_tokens": 99},
        {"reasons": False},
        {"mode": "rubric", "rubric": "Is it short?"},
        {"extra": {"top_p": 0.5}},
        {"reasoning_effort": "low"},
    ],
)
def test_another_judge_or_another_setting_is_asked(change):
    with judging() as server:
        asked_of(server, judge_at(server))
        asked, _ = asked_of(server, judge_at(server, **change))
    assert asked == N


def test_more_repeats_ask_only_for_what_is_new():
    with judging() as server:
        asked_of(server, judge_at(server))
        asked, run = asked_of(server, judge_at(server, repeats=3))
    assert asked == 2 * N
    assert run.estimate("judge.cached").value == N


def test_a_reply_without_a_verdict_is_not_used_again():
    async def handle(request, body, number):
        text = "I cannot say" if number <= N else "Verdict: CORRECT"
        return await stream(request, [chunk(content=text), finish(), usage()])

    with serving(handle) as server:
        asked_of(server, judge_at(server))
        asked, run = asked_of(server, judge_at(server))
    assert (asked, run.estimate("accuracy").value) == (N, 1.0)


def test_what_is_cleared_or_deleted_is_asked_again():
    with judging() as server:
        _, first = asked_of(server, judge_at(server))
        with Store.open("s.db") as store:
            assert [(kept.judge, kept.replies) for kept in store.verdicts.kept()] == [("openai/j", N)]
            store.answers.clear("openai/j")
        asked, second = asked_of(server, judge_at(server))
        assert asked == N
        with Store.open("s.db") as store:
            store.delete(second.info.id)
            store.delete(first.info.id)
            assert store.verdicts.kept() == []
        assert asked_of(server, judge_at(server))[0] == N


def test_workers_use_and_keep_what_a_judge_said(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    rows = [{"question": f"Say {n}", "answer": str(n)} for n in range(N)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def ran():
        command = ["run", "quiz.yaml", "-m", "openai/m", "--base-url", server.url, "--workers", "2"]
        before = len(server.requests)
        ok(*command, "--store", "s.db", "--json")
        return len(server.requests) - before

    with judging() as server:
        judge = {"model": "openai/j", "base_url": server.url}
        Path("quiz.yaml").write_text(json.dumps({"benchmark": "quiz", "data": "rows.jsonl", "judge": judge}))
        assert ran() == 2 * N
        assert ran() == 0

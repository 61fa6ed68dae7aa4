"""A cascade as a system: who is asked when, what each stage took, and that faults, money and reuse are exact."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

import steelyard as sy
from server import chunk, finish, serving, stream, usage
from steelyard.cli import main
from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.asking.verifier import parse_verdict
from steelyard.engine.asking.way import commonest
from steelyard.engine.money.budget import WorstCase
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.errors import UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.providers.interface import mean_probability
from steelyard.report.evidence import load_evidence
from steelyard.report.facts import facts, spending_lines
from steelyard.store import Store
from steelyard.types import Completion, Confidence, Escalation, Failure, ModelSpec, Price, Usage

N = 20
SURE = {f"q{i}": (i + 1) / N for i in range(N)}
"""The cheap model's confidence in each question: q0 is 0.05, q19 is 1."""

CHEAP_PRICE, DEAR_PRICE = Price(input=1.0, output=2.0), Price(input=10.0, output=20.0)
TOKENS = Usage(input_tokens=10, output_tokens=50, source="server")
CHEAP_USD, DEAR_USD = (10 * 1 + 50 * 2) / 1e6, (10 * 10 + 50 * 20) / 1e6


def quiz(grade=lambda sample, completion: completion.text == sample.target, n=N):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target=f"a{i}") for i in range(n)],
        grade=grade,
    )


def question(request):
    return request.prompt.messages[-1].content


def cheap(request):
    """Right on every second question, and as sure as ``SURE`` says."""
    asked = question(request)
    text = f"a{asked[1:]}" if int(asked[1:]) % 2 else "?"
    return Completion(text=text, usage=TOKENS, confidence=SURE[asked])


def dear(request):
    return Completion(text=f"a{question(request)[1:]}", usage=TOKENS)


def model(name, **settings):
    price = DEAR_PRICE if name == "dear" else CHEAP_PRICE
    return ModelSpec(id=name, provider="object", model=name, version="1", price=price, **settings)


def cascade(threshold=0.5, by="logprob", *, first=None, second=None, **how):
    first = replace(first or model("cheap"), confidence=Confidence(by=by, **how))
    escalation = Escalation(cheap=first, dear=second or model("dear"), threshold=threshold)
    return ModelSpec(id="both", provider="cascade", model="cheap>dear", cascade=escalation)


def ask(models, scripts=None, benchmark=None, delay_s=0.0, **plan):
    """Run the plan on scripted models; the providers are returned too, for what they were asked."""
    providers = {
        name: sy.Scripted(script, name=name, delay_s=delay_s)
        for name, script in ({"cheap": cheap, "dear": dear} | (scripts or {})).items()
    }
    messages = []
    with Store.open() as store:
        at_hand = Given(benchmarks={"quiz": benchmark or quiz()}, providers=providers)
        policy = RetryPolicy(first_wait_s=0.001, longest_wait_s=0.002)
        plan = Plan(models=tuple(models), benchmarks=(BenchmarkSpec(name="quiz"),), **plan)
        ended = asyncio.run(execute(plan, store, given=at_hand, progress=Progress(say=messages.append), policy=policy))
        return sy.Run(ended.run, store.location), providers, messages


def answers(run, name=None):
    return {record.sample.id: record.call for record in run.records(model=name)}


def test_the_dear_model_is_asked_exactly_where_confidence_is_below_the_threshold():
    run, providers, _ = ask([cascade(0.5)])
    calls = answers(run)
    for i in range(N):
        completion = calls[f"quiz/{i}"].completion
        assert completion.confidence == SURE[f"q{i}"]
        assert completion.is_escalated == (SURE[f"q{i}"] < 0.5)
        assert completion.text == (f"a{i}" if completion.is_escalated or i % 2 else "?")
    assert (providers["cheap"].asked, providers["dear"].asked) == (N, 9)


def test_an_answer_costs_what_its_stages_cost_and_counts_their_tokens():
    run, _, _ = ask([cascade(0.5)])
    for call in answers(run).values():
        stages = call.completion.stages
        assert [stage.part for stage in stages] == ["answer", *["escalation"] * call.completion.is_escalated]
        assert [stage.model for stage in stages] == ["cheap", "dear"][: len(stages)]
        assert call.cost_usd == pytest.approx(CHEAP_USD + DEAR_USD * (len(stages) - 1))
        assert call.completion.usage.input_tokens == 10 * len(stages)
        assert call.completion.usage.output_tokens == 50 * len(stages)
        assert all(stage.usage == TOKENS for stage in stages)
    assert run.estimate("cost.total").value == pytest.approx(N * CHEAP_USD + 9 * DEAR_USD)
    assert run.spending.spent_usd == pytest.approx(N * CHEAP_USD + 9 * DEAR_USD)
    assert run.spending.calls == N + 9


def test_a_report_says_how_many_answers_went_on_and_takes_none_for_a_request():
    run, _, _ = ask([cascade(0.5)])
    with Store.open() as store:
        evidence = load_evidence(store, [run.info])
    (line,) = (line for line in spending_lines(evidence) if "escalated" in line)
    assert line.startswith("quiz@default: both: ")
    assert f"cheap {N} calls" in line
    assert "dear 9 calls" in line
    (cases,) = (fact for fact in facts(evidence) if fact.name == "Test cases")
    assert cases.remark == f"{N} answers asked for"


def test_a_pause_of_the_process_takes_the_times_of_every_stage():
    from steelyard.engine.asking.attempts import Outcome
    from steelyard.engine.asking.clock import without_times

    run, _, _ = ask([cascade(0.5)])
    completion = answers(run)["quiz/0"].completion
    outcome = Outcome(attempts=(), completion=completion, failure=None, last_try_s=1.0, stages=completion.stages)
    told = without_times(outcome)
    assert (told.completion.timing, told.completion.confidence) == (None, completion.confidence)
    assert {(stage.took_s, stage.ttft_s) for stage in (*told.stages, *told.completion.stages)} == {(None, None)}
    assert [stage.cost_usd for stage in told.stages] == [stage.cost_usd for stage in completion.stages]


def test_two_models_behind_one_system_are_no_model_that_changed_in_mid_run():
    async def answer(request, body, number):
        part = {"model": f"{body['model']}-2026", "choices": [{"delta": {"content": "t"}, "finish_reason": None}]}
        part["choices"][0]["logprobs"] = {"content": [{"logprob": -float(number % 7)}]}
        return await stream(request, [part, finish(), usage()])

    with serving(answer) as server:
        spec = cascade(0.2, first=served(server, "cheap"), second=served(server, "dear"))
        run, _, _ = ask([spec])
    goes_on = [call.completion.is_escalated for call in answers(run).values()]
    assert set(goes_on) == {True, False}
    reported = {stage.model_reported for call in answers(run).values() for stage in call.completion.stages}
    assert reported == {"cheap-2026", "dear-2026"}
    assert "cheap-2026" not in run.table()


def test_the_answer_that_was_not_taken_stays_with_its_stage():
    run, _, _ = ask([cascade(0.5)])
    completion = answers(run)["quiz/0"].completion
    assert (completion.text, completion.stages[0].text, completion.stages[1].text) == ("a0", "?", "")


def test_the_time_to_an_answer_is_the_whole_way_without_our_own_waiting():
    class Slow(sy.Scripted):
        pass

    slow = {"cheap": cheap, "dear": dear}
    spec = cascade(0.5)
    with Store.open() as store:
        providers = {
            "cheap": Slow(slow["cheap"], delay_s=0.05, name="cheap"),
            "dear": Slow(slow["dear"], delay_s=0.10, name="dear"),
        }
        spec = replace(spec, concurrency=N, cascade=replace(spec.cascade, dear=replace(model("dear"), concurrency=1)))
        plan = Plan(models=(spec,), benchmarks=(BenchmarkSpec(name="quiz"),))
        at_hand = Given(benchmarks={"quiz": quiz()}, providers=providers)
        ended = asyncio.run(execute(plan, store, given=at_hand, progress=Progress(say=print)))
        run = sy.Run(ended.run, store.location)
        waited = []
        for call in answers(run).values():
            timing, stages = call.completion.timing, call.completion.stages
            assert timing.total_s == pytest.approx(sum(stage.took_s for stage in stages), abs=0.002)
            assert not timing.streamed
            assert timing.ttft_s is None
            assert all(stage.ttft_s is not None for stage in stages)
            if len(stages) == 2:
                assert timing.total_s > 0.14
                waited.append(timing.queued_s)
    assert max(waited) > 0.5  # nine questions, one at a time, before the dear model's gate


def test_a_fault_of_the_second_stage_is_tried_again_without_asking_the_first():
    refused = []

    def faulty(request):
        if len(refused) < 5:
            refused.append(question(request))
            return Failure(kind="server", message="busy", status=503)
        return dear(request)

    run, providers, _ = ask([cascade(0.5)], {"dear": faulty})
    assert run.status == "done"
    assert (providers["cheap"].asked, providers["dear"].asked) == (N, 9 + 5)
    assert sum(len(call.attempts) for call in answers(run).values()) == 5
    assert run.estimate("cost.total").value == pytest.approx(N * CHEAP_USD + 9 * DEAR_USD)


def test_where_the_dear_model_fails_for_good_the_item_has_failed_and_the_cheap_answer_was_paid():
    def refuses(request):
        if question(request) == "q3":
            return Failure(kind="rejected", message="not this one", status=400)
        return dear(request)

    run, _, _ = ask([cascade(0.5)], {"dear": refuses})
    call = answers(run)["quiz/3"]
    assert call.completion is None
    assert (call.failure.kind, call.failure.message) == ("rejected", "dear: not this one")
    assert call.cost_usd == pytest.approx(CHEAP_USD)
    assert [(stage.model, stage.text) for stage in call.stages] == [("cheap", "a3")]
    assert run.estimate("accuracy").n == N - 1
    assert run.spending.spent_usd == pytest.approx(N * CHEAP_USD + 8 * DEAR_USD)


def test_a_dear_model_that_cannot_be_reached_at_all_ends_the_system():
    run, _, messages = ask([cascade(0.5)], {"dear": Failure(kind="auth", message="no such key", status=401)})
    assert run.status == "failed"
    assert any("no such key" in message for message in messages)


def test_first_answers_that_a_stop_of_the_second_model_makes_useless_stay_counted():
    """Cheap answers wait for the dear model when it is given up: they stand on no row, so they are in doubt."""
    refused = {"dear": Failure(kind="auth", message="no such key", status=401)}
    spec = cascade(1.0, second=model("dear", concurrency=1))
    run, providers, _ = ask([spec], refused, delay_s=0.01, concurrency=8, budget_usd=1.0)
    with Store.open() as store:
        counted_usd = store.budget.spent_of_run(run.info.id)
    assert providers["cheap"].asked > len(answers(run)) > 0
    assert counted_usd == pytest.approx(providers["cheap"].asked * CHEAP_USD)


class BrokenOff(sy.Scripted):
    """Has answered once when Ctrl-C comes twice, while it is at a second answer."""

    async def _reply(self, request):
        reply = await super()._reply(request)
        self.request = request
        if self.asked > 1:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        return reply


def test_samples_that_a_run_which_is_broken_off_makes_useless_stay_counted():
    spec = model("cheap", max_tokens=60, confidence=Confidence(by="agreement", samples=2))
    provider = BrokenOff(cheap, name="cheap")
    plan = Plan(models=(spec,), benchmarks=(BenchmarkSpec(name="quiz"),), budget_usd=1.0)
    at_hand = Given(benchmarks={"quiz": quiz(n=1)}, providers={"cheap": provider})
    with Store.open() as store:
        ended = asyncio.run(execute(plan, store, given=at_hand, progress=Progress(), policy=RetryPolicy()))
        counted_usd = store.budget.spent_of_run(ended.run.id)
    assert (ended.status, provider.asked) == ("interrupted", 2)
    assert counted_usd == pytest.approx(CHEAP_USD + WorstCase(spec).usd(provider.request))


def test_an_answer_that_nobody_can_be_sure_of_says_what_to_try():
    run, providers, messages = ask([cascade(0.5)], {"cheap": lambda request: replace(cheap(request), confidence=None)})
    assert run.status == "failed"
    assert providers["dear"].asked == 0
    assert any("no log-probabilities" in message and "--confidence agreement" in message for message in messages)


def test_one_answer_without_log_probabilities_among_others_is_one_failure():
    def forgets(request):
        completion = cheap(request)
        return replace(completion, confidence=None) if question(request) == "q7" else completion

    run, _, _ = ask([replace(cascade(0.5), concurrency=1)], {"cheap": forgets}, order="file")
    failed = {sample: call.failure for sample, call in answers(run).items() if call.failure}
    assert run.status == "done"
    assert (list(failed), failed["quiz/7"].kind) == (["quiz/7"], "provider")


def test_a_cascade_is_neither_a_judge_nor_asked_outside_of_a_run():
    with pytest.raises(UsageError, match="asked in a run"):
        sy.run_model(cascade(0.5), "q")
    judged = quiz(grade=sy.Judge(model="cascade/openai/a>openai/b"))
    with pytest.raises(UsageError, match="a judge is one model"):
        ask([model("cheap")], benchmark=judged)


def test_an_empty_answer_is_escalated():
    silent = Completion(text="", usage=TOKENS)
    run, providers, _ = ask([cascade(0.5)], {"cheap": silent})
    assert providers["dear"].asked == N
    assert {call.completion.confidence for call in answers(run).values()} == {0.0}


@pytest.mark.parametrize("budget_usd", [0.003, 0.008, 0.02])
def test_a_budget_holds_both_stages_before_the_first_is_sent_and_is_never_overspent(budget_usd):
    run, _, _ = ask(
        [cascade(0.5, first=model("cheap", max_tokens=50), second=model("dear", max_tokens=50))], budget_usd=budget_usd
    )
    asked = answers(run)
    spent_usd = sum(call.cost_usd for call in asked.values())
    assert run.spending.spent_usd == pytest.approx(spent_usd)
    assert spent_usd <= budget_usd
    assert all(call.completion is not None for call in asked.values())
    assert (run.status, len(asked) == N) in (("done", True), ("budget", False))
    assert len(asked) > 0


def test_a_budget_below_one_worst_case_of_both_stages_sends_nothing():
    spec = cascade(0.5, first=model("cheap", max_tokens=50), second=model("dear", max_tokens=50))
    run, providers, _ = ask([spec], budget_usd=DEAR_USD / 2)
    assert run.status == "budget"
    assert (providers["cheap"].asked, providers["dear"].asked) == (0, 0)


def test_a_stage_without_a_price_is_named_where_a_budget_is_set():
    with pytest.raises(UsageError, match="price of dear is unknown"):
        ask([cascade(0.5, second=replace(model("dear"), price=None))], budget_usd=1.0)


def test_a_cascade_is_used_again_only_as_it_was_both_models_and_threshold():
    ask([cascade(0.5)])
    again, providers, _ = ask([cascade(0.5)])
    assert (providers["cheap"].asked, providers["dear"].asked) == (0, 0)
    assert all(call.completion.cached and call.completion.confidence is not None for call in answers(again).values())
    for changed in (
        cascade(0.6),
        cascade(0.5, second=model("dear", temperature=0.5)),
        cascade(0.5, first=model("cheap", system="Be brief.")),
        cascade(0.5, second=replace(model("dear"), model="dearer")),
        cascade(0.5, "agreement", samples=2),
    ):
        _, providers, _ = ask([changed])
        assert providers["cheap"].asked > 0


def test_a_model_asked_for_its_confidence_is_not_answered_from_runs_without():
    ask([model("cheap")])
    run, providers, _ = ask([model("cheap", confidence=Confidence(by="logprob"))])
    assert providers["cheap"].asked == N
    assert {call.completion.confidence for call in answers(run).values()} == set(SURE.values())


def test_a_confidence_that_is_a_word_where_a_model_is_spelled_out_is_told_what_it_should_be():
    spec = ModelSpec(id="m", provider="openai", model="gpt-4o-mini", confidence="logprob")
    with pytest.raises(UsageError, match=r'm: .*Try: confidence=steelyard\.Confidence\(by="logprob"\)'):
        sy.run([spec], ["starter"])


def test_a_cascade_of_a_function_without_a_version_is_never_used_again():
    for _ in range(2):
        _, providers, _ = ask([cascade(0.5, second=replace(model("dear"), version=None))])
        assert providers["dear"].asked == 9


def test_agreement_takes_the_commonest_answer_and_its_share():
    def wavers(request):
        i = int(question(request)[1:])
        text = f"a{i}" if request.seed % 4 else "?"
        return Completion(text=text, usage=TOKENS)

    run, providers, _ = ask([cascade(0.7, "agreement", samples=5)], {"cheap": wavers})
    assert providers["cheap"].asked == 5 * N
    for call in answers(run).values():
        first, said = call.completion.stages[0], call.completion.stages[0].answers
        assert (first.calls, len(said)) == (5, 5)
        share = max(said.count(answer) for answer in said) / 5
        assert call.completion.confidence == pytest.approx(share)
        assert call.completion.is_escalated == (share < 0.7)
        if not call.completion.is_escalated:
            assert said.count(call.completion.text) == round(5 * share)
        assert call.cost_usd == pytest.approx(5 * CHEAP_USD + DEAR_USD * call.completion.is_escalated)
        assert call.completion.usage.output_tokens == 250 + 50 * call.completion.is_escalated
    assert len({tuple(call.completion.stages[0].answers) for call in answers(run).values()}) > 1


@pytest.mark.parametrize(("by", "asked_again"), [("agreement", 3 * N), ("logprob", 0)])
def test_another_grader_uses_answers_again_unless_it_has_a_say_in_which_one_is_taken(by, asked_again):
    def graded(name):
        protocol = replace(quiz().protocol(None), name=name)
        return sy.Benchmark(name="quiz", version="1", load=quiz().load, protocols=(protocol,))

    sure = model("cheap", confidence=Confidence(by=by, samples=3))
    ask([sure], benchmark=graded("strict"))
    _, providers, _ = ask([sure], benchmark=graded("lenient"))
    assert providers["cheap"].asked == asked_again
    _, providers, _ = ask([sure], benchmark=graded("lenient"))
    assert providers["cheap"].asked == 0


def test_samples_of_agreement_differ_in_their_seed_and_nothing_else():
    seen = []

    def notes(request):
        seen.append(request)
        return Completion(text="x", usage=TOKENS)

    ask([model("cheap", confidence=Confidence(by="agreement", samples=3))], {"cheap": notes}, quiz(n=1))
    assert len({request.seed for request in seen}) == 3
    assert len({json.dumps(to_builtins(replace(request, seed=0))) for request in seen}) == 1
    assert {request.temperature for request in seen} == {0.7}


@pytest.mark.parametrize(
    ("said", "chosen", "share"),
    [
        (["a", "b", "b"], 1, 2 / 3),
        (["a", "b"], 0, 0.5),
        ([None, None, "c"], 2, 1 / 3),
        ([None, None], 0, 0.0),
        (["a", "a", "a"], 0, 1.0),
    ],
)
def test_what_says_nothing_agrees_with_nobody(said, chosen, share):
    assert commonest(said) == (chosen, pytest.approx(share))


def test_a_judge_decides_who_is_escalated_and_is_paid_with_the_answer():
    def judges(request):
        words = question(request)
        text = "No" if "<answer>\n?" in words else "Yes."
        return Completion(text=text, usage=TOKENS, confidence=0.9)

    spec = cascade(0.5, "judge", judge=model("judge"))
    run, providers, _ = ask([spec], {"judge": judges})
    assert (providers["cheap"].asked, providers["judge"].asked, providers["dear"].asked) == (N, N, N // 2)
    assert run.estimate("accuracy").value == 1.0
    for call in answers(run).values():
        parts = [stage.part for stage in call.completion.stages]
        assert parts == ["answer", "judge", *["escalation"] * call.completion.is_escalated]
        assert call.completion.confidence == pytest.approx(0.1 if call.completion.is_escalated else 0.9)
        assert call.cost_usd == pytest.approx(2 * CHEAP_USD + DEAR_USD * call.completion.is_escalated)


@pytest.mark.parametrize(
    ("text", "confidence", "expected"),
    [
        ("Yes", None, 1.0),
        ("no.", None, 0.0),
        ("**Yes**", 0.8, 0.8),
        ("No", 0.8, 0.2),
        ("Perhaps", 0.99, 0.0),
        ("", None, 0.0),
    ],
)
def test_a_verdict_is_the_probability_of_yes(text, confidence, expected):
    assert parse_verdict(Completion(text=text, confidence=confidence)) == pytest.approx(expected)


def test_the_mean_probability_of_tokens_is_geometric():
    assert mean_probability([]) is None
    assert mean_probability([-0.1, -0.3]) == pytest.approx(2.718281828**-0.2)
    assert mean_probability([1e-9]) == 1.0  # rounding at the service


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (cascade(None), "--escalate-below 0.8"),
        (cascade(0.0), "above 0 and up to 1"),
        (cascade(1.2), "above 0 and up to 1"),
        (replace(cascade(0.5), price=CHEAP_PRICE), "price is for one model"),
        (replace(cascade(0.5), batch=True), "cannot come as a batch"),
        (cascade(0.5, "judge"), "--confidence-judge MODEL"),
        (cascade(0.5, "agreement", samples=1), "at least 2 samples"),
        (cascade(0.5, second=cascade(0.5)), "cannot be part of a cascade"),
    ],
)
def test_what_makes_no_cascade_is_refused_before_anything_is_sent(spec, words):
    with pytest.raises(UsageError, match=words):
        ask([spec])


def test_a_provider_without_log_probabilities_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-key")
    claude = ModelSpec(id="anthropic/claude-haiku-4-5", provider="anthropic", model="claude-haiku-4-5")
    for spec in (cascade(0.5, first=claude), replace(claude, confidence=Confidence(by="logprob"))):
        with pytest.raises(UsageError, match=r"claude-haiku-4-5: anthropic gives no log-probabilities.*agreement"):
            ask([spec])


def told(*logprobs):
    content = [{"token": "t", "logprob": logprob} for logprob in logprobs]
    return {"choices": [{"delta": {"content": "t"}, "logprobs": {"content": content}, "finish_reason": None}]}


def served(server, name, **settings):
    price = DEAR_PRICE if name == "dear" else CHEAP_PRICE
    return ModelSpec(id=f"served-{name}", provider="openai", model=name, base_url=server.url, price=price, **settings)


def test_over_http_log_probabilities_are_asked_of_the_first_model_alone():
    async def answer(request, body, number):
        if body["model"] == "dear":
            return await stream(request, [chunk(content="dear"), finish(), usage(10, 4)])
        return await stream(request, [told(-0.1), told(-0.2, -0.3), finish(), usage(10, 3)])

    with serving(answer) as server:
        low = cascade(0.9, first=served(server, "cheap"), second=served(server, "dear"))
        run, _, _ = ask([low], benchmark=quiz(n=3))
        high = cascade(0.8, first=served(server, "cheap"), second=served(server, "dear"))
        kept, _, _ = ask([high], benchmark=quiz(n=3))
        bodies = server.requests
    assert {(body["model"], body.get("logprobs")) for body in bodies} == {("cheap", True), ("dear", None)}
    for call in answers(run).values():
        assert call.completion.confidence == pytest.approx(2.718281828**-0.2)
        assert (call.completion.text, call.completion.is_escalated) == ("dear", True)
        assert call.cost_usd == pytest.approx((10 * 1 + 3 * 2 + 10 * 10 + 4 * 20) / 1e6)
    assert {call.completion.text for call in answers(kept).values()} == {"tt"}


def test_a_model_that_refuses_log_probabilities_ends_at_once_and_says_what_to_try():
    async def refuses(request, body, number):
        from aiohttp import web

        error = {"error": {"message": "You are not allowed to request logprobs from this model.", "type": "x"}}
        return web.json_response(error, status=403 if body.get("never") else 400)

    with serving(refuses) as server:
        spec = cascade(0.9, first=served(server, "cheap", concurrency=1), second=served(server, "dear"))
        run, _, messages = ask([replace(spec, concurrency=1)])
        assert len(server.requests) == 1
    assert run.status == "failed"
    assert any("Try: --confidence agreement" in message for message in messages)


def test_a_refusal_for_rate_of_the_dear_model_holds_up_nobody_elses_requests():
    refused = []

    async def answer(request, body, number):
        from aiohttp import web

        if body["model"] == "dear" and len(refused) < 2:
            refused.append(number)
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.3"})
        return await stream(request, [told(-2.0), finish(), usage()])

    with serving(answer) as server:
        spec = cascade(0.9, first=served(server, "cheap"), second=served(server, "dear", concurrency=1))
        run, _, _ = ask([replace(spec, concurrency=N)])
        asked = [body["model"] for body in server.requests]
    assert run.status == "done"
    assert (asked.count("cheap"), asked.count("dear")) == (N, N + 2)
    completions = [call.completion for call in answers(run).values()]
    assert max(completion.timing.queued_s for completion in completions) > 0.3
    for completion in completions:
        assert completion.timing.total_s == pytest.approx(sum(stage.took_s for stage in completion.stages))


def test_workers_ask_a_cascade_as_one_process_does_and_share_the_limits_of_each_model():
    async def answer(request, body, number):
        if body["model"] == "dear":
            return await stream(request, [chunk(content="dear"), finish(), usage(10, 4)])
        surely = -0.01 if int(body["messages"][-1]["content"][4:]) % 2 else -3.0
        return await stream(request, [told(surely), finish(), usage(10, 1)])

    lines = [json.dumps({"question": f"Say {i}", "answer": "dear", "id": f"c{i}"}) for i in range(N)]
    Path("cases.jsonl").write_text("\n".join(lines))
    with serving(answer) as server:
        dear_one = served(server, "dear", requests_per_minute=1200.0)
        spec = cascade(0.5, first=served(server, "cheap"), second=dear_one)
        spec = replace(spec, id="shared", concurrency=4)
        one = sy.run([spec], ["cases.jsonl"], fresh=True, on_message=print)
        before = len(server.requests)
        two = sy.run([spec], ["cases.jsonl"], fresh=True, workers=2, budget_usd=1.0, on_message=print)
        assert len(server.requests) == 2 * before == 2 * (N + N // 2)
    for metric in ("accuracy", "cost.total"):
        assert two.estimate(metric).value == pytest.approx(one.estimate(metric).value)
    for sample, call in answers(two).items():
        alone = answers(one)[sample].completion
        assert (call.completion.text, call.completion.confidence) == (alone.text, alone.confidence)


@pytest.mark.parametrize("limits", [{"requests_per_minute": 1800.0}, {"concurrency": 2}])
def test_a_model_asked_alone_and_in_a_cascade_is_held_to_one_limit(limits):
    began, in_flight = [], [0]

    async def answer(request, body, number):
        if body["model"] == "dear":
            return await stream(request, [chunk(content="dear"), finish(), usage(10, 4)])
        began.append(asyncio.get_running_loop().time())
        in_flight.append(in_flight[-1] + 1)
        await asyncio.sleep(0.02)
        in_flight.append(in_flight[-1] - 1)
        return await stream(request, [told(-0.01), finish(), usage(10, 1)])

    with serving(answer) as server:
        alone = served(server, "cheap", **limits)
        ask([alone, cascade(0.5, first=replace(alone, id="first"), second=served(server, "dear"))], concurrency=8)
    assert len(began) == 2 * N
    if "concurrency" in limits:
        assert max(in_flight) == 2
    else:
        assert max(began) - min(began) > 0.8 * 2 * N / 30  # thirty a second, together


def test_the_share_of_a_worker_holds_for_every_model_of_a_system():
    from steelyard.engine.processes.crew import _part_of

    spec = cascade(0.5, first=model("cheap", requests_per_minute=60.0), second=model("dear", tokens_per_minute=900.0))
    part = _part_of(spec, 1 / 3)
    assert part.cascade.cheap.requests_per_minute == pytest.approx(20.0)
    assert part.cascade.dear.tokens_per_minute == pytest.approx(300.0)


def test_show_says_how_many_were_escalated_and_what_each_model_took(capsys):
    run, _, _ = ask([cascade(0.5)])
    assert "both: 45.0 % (25.8 to 65.8) escalated; cheap 20 calls" in run.table()
    assert main(["show", "--json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    first, second = cell["system"]["stages"]
    assert (first["model"], first["calls"], first["output_tokens"]) == ("cheap", N, 50 * N)
    assert second["cost_usd"] == pytest.approx(9 * DEAR_USD)
    assert main(["show", "--item", "quiz/0"]) == 0
    out = capsys.readouterr().out
    assert "confidence 0.050" in out
    assert "escalation by dear: 1 answer · 50 tokens" in out


def test_a_cascade_is_shown_where_prompts_repeat_long_questions_that_the_store_keeps_once():
    long = "q{} is a question that is longer than what a store keeps twice, by some"
    benchmark = sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=long.format(i), target="a") for i in range(N)],
        grade=lambda sample, completion: completion.text == sample.target,
    )
    sure = {"cheap": lambda request: Completion(text="a", usage=TOKENS, confidence=0.4)}
    run, _, _ = ask([cascade(0.5)], sure | {"dear": lambda request: "a"}, benchmark=benchmark)
    assert "both: 100.0 %" in run.table()


def test_from_python_a_cascade_of_callables_states_its_own_confidence():
    def unsure(request):
        return Completion(text="?", confidence=0.2)

    def knows(prompt):
        return f"a{prompt[1:]}"

    run = sy.run([sy.Cascade(cheap=unsure, dear=knows, below=0.5)], [quiz(n=5)], on_message=print)
    assert run.cells[0].model == "cascade/unsure>knows"
    assert run.estimate("accuracy").value == 1.0
    with pytest.raises(UsageError, match="judge goes with"):
        sy.run([sy.Cascade(cheap=unsure, dear=knows, below=0.5, confidence="judge")], [quiz(n=5)])


def command(*words):
    return main(["run", "cases.jsonl", "--quiet", *words])


def test_the_command_line_names_two_models_with_a_price_each(capsys, monkeypatch):
    async def answer(request, body, number):
        if body["model"] == "dear":
            return await stream(request, [chunk(content="right"), finish(), usage(10, 4)])
        return await stream(request, [told(-0.1), finish(), usage(10, 1)])

    Path("cases.jsonl").write_text(json.dumps({"question": "Say", "answer": "right", "id": "c"}))
    both = ["-m", "cascade/openai/cheap>openai/dear"]
    with serving(answer) as server:
        reached = ["--base-url", server.url, "--price", "1/2>10/20"]
        assert command(*both, *reached, "--escalate-below", "0.95", "--json") == 0
        (cell,) = json.loads(capsys.readouterr().out)["cells"]
        assert cell["model"] == "cascade/openai/cheap>openai/dear"
        expected = (10 * 1 + 1 * 2 + 10 * 10 + 4 * 20) / 1e6
        assert cell["estimates"]["cost.total"]["value"] == pytest.approx(expected)
        assert command("-m", "openai/cheap", "--confidence", "logprob", "--base-url", server.url) == 0
    capsys.readouterr()
    for words, told_words in (
        ([*both, *reached], "--escalate-below 0.8"),
        ([*both, "--base-url", "http://h/v1", "--price", "1/2", "--escalate-below", "0.5"], "two prices"),
        (["-m", "openai/cheap", "--base-url", "http://h/v1", "--escalate-below", "0.5"], "is for a cascade"),
        (["-m", "openai/cheap", "--base-url", "http://h/v1", "--samples", "3"], "--confidence agreement"),
        (["-m", "openai/cheap", "--base-url", "http://h/v1", "--confidence", "judge"], "--confidence-judge"),
    ):
        assert command(*words) == 2
        assert told_words in capsys.readouterr().err


def test_a_forecast_holds_both_models_and_every_sample():
    from datetime import UTC, datetime

    from steelyard.cli.forecast_cell import most_usd

    now = datetime.now(UTC)
    assert most_usd(TOKENS, model("cheap"), now) == pytest.approx(CHEAP_USD)
    assert most_usd(TOKENS, cascade(0.5), now) == pytest.approx(CHEAP_USD + DEAR_USD)
    assert most_usd(TOKENS, cascade(0.5, "agreement", samples=3), now) == pytest.approx(3 * CHEAP_USD + DEAR_USD)
    assert most_usd(TOKENS, cascade(0.5, second=replace(model("dear"), price=None)), now) is None


@pytest.mark.long
@pytest.mark.model
def test_the_local_model_says_how_sure_it_is_and_gives_way_where_it_is_not():
    Path("oracle.py").write_text("def answer(prompt):\n    return 'The answer is (A).'\n")
    small = ModelSpec(id="small", provider="local", model="smollm2-135m", max_tokens=6)
    knows = ModelSpec(id="knows", provider="python", model="oracle:answer", version="1")
    spec = cascade(0.48, first=small, second=knows)
    run = sy.run([spec, replace(small, confidence=Confidence(by="logprob"))], ["starter@letter"], limit=3)
    both, alone = answers(run, "both"), answers(run, "small")
    goes_on = {sample for sample, call in both.items() if call.completion.is_escalated}
    assert 0 < len(goes_on) < 3
    for sample, call in both.items():
        assert 0 < call.completion.confidence <= 1
        assert call.completion.confidence == pytest.approx(alone[sample].completion.confidence, abs=0.05)
        assert (call.completion.text == "The answer is (A).") == (sample in goes_on)
    assert run.estimate("model_peak_rss_mb", model="both").value > 100


def test_a_run_that_is_resumed_asks_no_item_of_a_cascade_twice():
    spec = cascade(0.5)
    providers = {"cheap": sy.Scripted(cheap, name="cheap"), "dear": sy.Scripted(dear, name="dear")}
    with Store.open() as store:
        at_hand = Given(benchmarks={"quiz": quiz()}, providers=providers)
        plan = Plan(models=(spec,), benchmarks=(BenchmarkSpec(name="quiz"),), limit=8)
        first = asyncio.run(execute(plan, store, given=at_hand, progress=Progress(say=print)))
        whole = replace(plan, limit=N)
        ended = asyncio.run(execute(whole, store, given=at_hand, progress=Progress(say=print), resume=first.run))
        run = sy.Run(ended.run, store.location)
        assert len(answers(run)) == N
    assert (providers["cheap"].asked, providers["dear"].asked) == (N, 9)

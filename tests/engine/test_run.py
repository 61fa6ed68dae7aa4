"""The engine end to end with scripted providers: what is stored, counted and kept when things go wrong."""

import asyncio
import threading
import time

import pytest

import steelyard as sy
from steelyard.engine.asking.attempts import RetryPolicy
from steelyard.engine.loading import SPARE_WINDOW, Loader
from steelyard.engine.pipeline import HOPELESS_AFTER
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.engine.writer import BY_A_PROCESS
from steelyard.errors import UnknownName, UsageError
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.types import ModelSpec


def questions(n=20):
    return sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target=str(i % 2)) for i in range(n)],
        grade=lambda sample, completion: completion.text == sample.target,
    )


def parity(request):
    return str(int(request.prompt.messages[-1].content[1:]) % 2)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(
        "steelyard.engine.run.RetryPolicy", lambda: RetryPolicy(first_wait_s=0.001, longest_wait_s=0.001)
    )


def test_every_item_is_asked_scored_and_summed_up():
    run = sy.run(sy.Scripted(parity), questions())
    assert run.status == "done"
    accuracy = run.estimate("accuracy")
    assert (accuracy.value, accuracy.n, accuracy.method) == (1.0, 20, "wilson")
    assert 0.8 < accuracy.low < 0.9
    records = list(run.records())
    assert {record.sample.id for record in records} == {f"quiz/{i}" for i in range(20)}
    assert records[0].call.completion.timing is not None
    assert "quiz@default" in run.table()


def test_of_any_number_of_items_no_more_than_a_window_are_in_hand(monkeypatch):
    unfinished, begin = [], Loader._work

    def begin_and_count(loader, *item):
        unfinished.append(loader._window.items)
        return begin(loader, *item)

    monkeypatch.setattr(Loader, "_work", begin_and_count)
    assert sy.run([sy.Scripted(parity, concurrency=2)], [questions(400)]).status == "done"
    assert len(unfinished) == 400
    assert max(unfinished) == 2 * (1 + BY_A_PROCESS) + SPARE_WINDOW


def test_a_limit_of_tokens_is_that_of_every_model_without_one_of_its_own():
    limits = []
    asked = sy.Scripted(lambda request: limits.append(request.max_tokens) or parity(request))
    own = ModelSpec(id="own", provider="baseline", model="random", max_tokens=5)
    run = sy.run([asked, own], [questions(3)], max_tokens=60)
    assert limits == [60, 60, 60]
    assert [model["max_tokens"] for model in run.info.plan["models"]] == [60, 5]


@pytest.mark.parametrize(
    "given", [{"max_tokens": 0}, {"max_tokens": -5}, {"limit": 0}, {"runs": 2.5}, {"workers": True}]
)
def test_what_is_no_number_of_anything_is_refused_and_nothing_is_asked(given):
    [name] = given
    asked = sy.Scripted(parity)
    with pytest.raises(UsageError, match=f"{name}=.* is not a whole number of at least 1"):
        sy.run([asked], [questions(3)], **given)
    assert asked.asked == 0


def test_an_object_that_is_half_a_provider_is_told_what_it_lacks():
    class Half:
        streams = True

        async def generate(self, request):
            yield sy.Text("7")

    with pytest.raises(UsageError, match="Half is no provider: it has no concurrency and no origin"):
        sy.run([Half()], [questions()])


def test_a_failed_call_is_not_a_wrong_answer():
    def script(request):
        number = int(request.prompt.messages[-1].content[1:])
        return sy.Failure(kind="rejected", message="no") if number < 5 else parity(request)

    run = sy.run([sy.Scripted(script)], [questions()])
    assert run.estimate("accuracy").value == 1.0
    assert run.estimate("accuracy").n == 15
    assert "5 of 20 not scored" in run.estimate("accuracy").status
    assert run.estimate("accuracy.lower_bound").value == 0.75
    assert run.estimate("errored").value == 5
    assert run.estimate("reliability").value == 0.75
    assert "5 of 20 calls failed" in run.table()


def test_a_passing_fault_is_asked_again_and_every_try_is_kept():
    seen = []

    def script(request):
        seen.append(request)
        return sy.Failure(kind="server", message="busy", status=503) if len(seen) == 1 else "1"

    run = sy.run([sy.Scripted(script, concurrency=1)], [questions(3)])
    retried = [record.call for record in run.records() if record.call.attempts]
    assert [len(call.attempts) for call in retried] == [1]
    assert run.estimate("api_calls").value == 4
    assert run.estimate("answered").value == 3
    assert run.estimate("retried").value == 1
    assert "4 requests sent, 1 answer only after a request had failed" in run.table()


def test_a_bad_key_stops_that_model_at_once_and_the_others_go_on():
    messages = []
    bad = sy.Scripted(sy.Failure(kind="auth", message="HTTP 401: bad key"), name="bad", concurrency=1)
    run = sy.run([bad, sy.Scripted(parity, name="good")], [questions(200)], on_message=messages.append)
    assert run.status == "failed"
    assert bad.asked == 1
    assert run.estimate("accuracy", model="good").n == 200
    assert messages == ["bad stopped: HTTP 401: bad key"]


def test_the_words_of_a_service_end_with_one_full_stop_before_what_to_try(monkeypatch):
    messages = []
    said = sy.Scripted(sy.Failure(kind="auth", message="HTTP 401 from h: Incorrect key."), name="m")
    monkeypatch.setattr("steelyard.engine.pipeline.where_the_key_is", lambda spec: ". Try: another key in KEY")
    sy.run([said], [questions(3)], on_message=messages.append)
    assert messages == ["m stopped: HTTP 401 from h: Incorrect key. Try: another key in KEY"]


def test_what_waits_at_the_gate_of_a_model_that_is_given_up_is_not_sent_and_is_no_failure():
    broken = sy.Scripted(sy.Failure(kind="auth", message="HTTP 401: bad key"), delay_s=0.05)
    spec = ModelSpec(id="broken", provider="object", model="broken", concurrency=8, requests_per_minute=1200)
    plan = Plan(models=(spec,), benchmarks=(BenchmarkSpec(name="quiz"),))
    with Store.open("s.db") as store:
        given = Given(providers={"broken": broken}, benchmarks={"quiz": questions(20)})
        ended = asyncio.run(execute(plan, store, given=given, progress=Progress()))
        records = list(store.records(ended.run.id))
    assert ended.status == "failed"
    assert 1 <= broken.asked <= 3  # one every 50 ms, and the first one is refused after 50
    assert len(records) == broken.asked


def test_a_model_whose_first_calls_all_fail_is_given_up():
    hopeless = sy.Scripted(sy.Failure(kind="rejected", message="HTTP 400: no"), concurrency=1)
    run = sy.run([hopeless], [questions(200)], on_message=lambda text: None)
    assert run.status == "failed"
    assert hopeless.asked == HOPELESS_AFTER
    few = sy.run([hopeless], [questions(HOPELESS_AFTER - 1)], on_message=lambda text: None)
    assert few.status == "failed"  # nothing was measured
    assert "9 of 9 calls failed and are not scored (the first: HTTP 400: no). Try:" in few.table()


def test_what_lost_answers_can_do_to_a_score_is_said_in_numbers():
    def broken(prompt):
        if prompt in ("q1", "q2"):
            raise ValueError("no")
        return str(int(prompt[1:]) % 2)

    run = sy.run([broken], [questions()], on_message=lambda text: None)
    assert "; with them, accuracy is between 90.0 % (all wrong) and 100.0 % (all right). Try:" in run.table()


def test_a_provider_that_raises_is_blamed_and_one_that_hangs_is_given_up():
    def broken(prompt):
        if prompt == "q1":
            raise KeyError("secret sauce")
        if prompt == "q2":
            time.sleep(60)
        return "0"

    spec = sy.Function(broken)
    started = time.monotonic()
    plan_timeout = sy.ModelSpec(id="broken", provider="object", model="broken", timeout_s=0.5)
    from steelyard.engine.progress import Progress
    from steelyard.engine.run import Given, execute
    from steelyard.plan.plan import BenchmarkSpec, Plan

    plan = Plan(models=(plan_timeout,), benchmarks=(BenchmarkSpec(name="quiz"),))
    given = Given(providers={"broken": spec}, benchmarks={"quiz": questions(4)})
    with Store.open() as store:
        ended = asyncio.run(
            execute(plan, store, given=given, progress=Progress(), policy=RetryPolicy(tries=2, first_wait_s=0.01))
        )
        failures = {r.sample.id: r.call.failure for r in store.records(ended.run.id) if r.call.failure}
    assert failures["quiz/1"].message == "KeyError: 'secret sauce'"
    assert failures["quiz/1"].kind == "provider"
    assert failures["quiz/2"].kind == "timeout"
    assert time.monotonic() - started < 50


def test_a_grader_that_raises_leaves_the_answer_unscored_and_kept():
    def grade(sample, completion):
        if sample.id == "quiz/3":
            raise ZeroDivisionError("half a point")
        return 1.0

    benchmark = sy.Benchmark(name="quiz", version="1", load=questions().load, grade=grade)
    run = sy.run([sy.Scripted("x")], [benchmark])
    assert run.estimate("accuracy").n == 19
    lost = next(record for record in run.records() if record.sample.id == "quiz/3")
    assert lost.call.completion.text == "x"
    assert lost.scores["accuracy"].value is None
    assert "half a point" in lost.scores["accuracy"].reason


def test_a_grader_may_be_async_and_return_several_scores():
    async def grade(sample, completion):
        await asyncio.sleep(0)
        return {"accuracy": sy.Score(value=1.0, answer="a"), "style": sy.Score(value=0.5, answer="a")}

    protocol = sy.Protocol(
        name="p",
        version="1",
        kind="chat",
        render=lambda sample, shots: sy.Prompt(kind="chat", messages=(sy.Message(role="user", content=sample.input),)),
        grade=grade,
        metrics=("accuracy", "style"),
    )
    benchmark = sy.Benchmark(name="quiz", version="1", load=questions().load, protocols=(protocol,))
    run = sy.run([sy.Scripted("x")], [benchmark])
    assert run.estimate("style").value == 0.5


def test_repeats_of_an_item_are_not_independent_items():
    run = sy.run([sy.Scripted(parity)], [questions(30)], runs=4)
    accuracy = run.estimate("accuracy")
    assert run.estimate("attempted").value == 120
    assert accuracy.n == 30


def test_likelihood_is_refused_where_a_model_cannot_give_it():
    with pytest.raises(UsageError, match=r"gives no log-likelihoods.*starter@letter"):
        sy.run([lambda prompt: "A"], ["starter@cloze"])


def test_likelihood_cells_have_no_latency():
    run = sy.run([sy.Scripted(" Paris")], ["starter:geography@cloze"])
    assert run.estimate("latency.p50").value is None
    assert "log-likelihood" in run.estimate("latency.p50").status
    assert run.estimate("requests_per_second").value > 0


def test_floors_score_what_they_should_and_cost_nothing():
    run = sy.run(["baseline/random", "baseline/constant", "baseline/majority"], ["starter@letter", "starter@cloze"])
    constant = run.estimate("accuracy", model="baseline/constant", benchmark="starter@letter")
    assert constant.value == 0.25
    random = run.estimate("accuracy", model="baseline/random", benchmark="starter@cloze")
    assert random.low < 0.25 < random.high
    assert run.estimate("cost.total", model="baseline/random", benchmark="starter@cloze").value is None


def test_two_models_side_by_side_and_a_scorer_beside_its_model_overlap():
    spans = {"a": [], "b": [], "grader": []}

    def taking_time(name):
        def work(*_):
            began = time.monotonic()
            time.sleep(0.02)
            spans[name].append((began, time.monotonic()))
            return "x"

        work.name = work.__name__ = name
        return work

    def overlap(one, other):
        return sum(a < d and c < b for a, b in spans[one] for c, d in spans[other])

    grade = taking_time("grader")
    benchmark = sy.Benchmark(
        name="quiz", version="1", load=questions(20).load, grade=lambda sample, done: grade() == "x"
    )
    models = [sy.Function(taking_time(name)) for name in "ab"]
    sy.run(models, [benchmark], concurrency=1)
    assert overlap("a", "b") > 0  # how often is a matter of the machine
    assert overlap("a", "grader") + overlap("b", "grader") > 0


def test_an_own_price_gives_costs_with_intervals_and_no_price_gives_none():
    spec = sy.ModelSpec(id="paid", provider="object", model="paid")
    from msgspec.structs import replace

    from steelyard.engine.progress import Progress
    from steelyard.engine.run import Given, execute
    from steelyard.plan.plan import BenchmarkSpec, Plan
    from steelyard.types import Price

    priced = replace(spec, price=Price(input=1.0, output=2.0))
    plan = Plan(models=(priced,), benchmarks=(BenchmarkSpec(name="quiz"),))
    answer = sy.Completion(text="1", usage=sy.Usage(input_tokens=1000, output_tokens=500, source="server"))
    given = Given(providers={"paid": sy.Scripted(answer)}, benchmarks={"quiz": questions(10)})
    with Store.open() as store:
        ended = asyncio.run(execute(plan, store, given=given, progress=Progress()))
        cell = store.cells(ended.run.id)[0]
        found = {estimate.metric: estimate for estimate in store.summary(cell.id)}
    assert found["cost.per_request"].value == pytest.approx(0.002)
    assert found["cost.total"].value == pytest.approx(0.02)
    assert found["cost.per_correct"].value == pytest.approx(0.004)
    unpriced = sy.run([sy.Scripted(answer)], [questions(5)])
    assert unpriced.estimate("cost.total").value is None
    assert "unknown" in unpriced.estimate("cost.total").status


def test_the_order_is_by_seed_and_file_order_takes_the_first():
    shuffled = sy.run([sy.Scripted("1")], [questions(100)], limit=10)
    first = sy.run([sy.Scripted("1")], [questions(100)], limit=10, order="file")
    ids = {record.sample.id for record in shuffled.records()}
    assert {record.sample.id for record in first.records()} == {f"quiz/{i}" for i in range(10)}
    assert ids != {f"quiz/{i}" for i in range(10)}
    assert "the first in file order" in first.table()
    assert "drawn by seed" in shuffled.table()


def test_run_works_inside_a_running_loop_and_has_an_async_twin():
    async def notebook():
        inside = sy.run([sy.Scripted("1")], [questions(3)])
        twin = await sy.run_async([sy.Scripted("1")], [questions(3)])
        return inside, twin

    inside, twin = asyncio.run(notebook())
    assert inside.status == twin.status == "done"


def test_two_runs_on_one_store_at_once_both_end():
    ended = []

    def one(name):
        ended.append(sy.run([sy.Scripted(parity)], [questions(200)], name=name, store="shared.db"))

    threads = [threading.Thread(target=one, args=(f"r{i}",)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.estimate("accuracy").n for run in ended] == [200, 200]
    assert {run.number for run in ended} == {1, 2}


def test_the_parts_work_on_their_own():
    assert sy.load_dataset("starter:physics", limit=3)[2].id == "starter/physics/2"
    completion = sy.run_model(lambda prompt: prompt.upper(), "hello")
    assert completion.text == "HELLO"
    metrics = sy.calculate_metrics(["Paris", "rome", ""], ["Paris", "Rome", "Oslo"])
    assert metrics["accuracy"].value == pytest.approx(2 / 3)
    assert metrics["unparsed"].value == pytest.approx(1 / 3)
    assert sy.calculate_metrics([], [])["accuracy"].value is None
    with pytest.raises(UnknownName):
        sy.calculate_metrics(["a"], ["a"], grader="exakt")
    with pytest.raises(sy.ProviderError, match="ValueError: no"):
        sy.run_model(lambda prompt: (_ for _ in ()).throw(ValueError("no")), "x")


@pytest.mark.parametrize(
    "function",
    [
        lambda prompt: "42",
        lambda messages: messages[-1]["content"].replace("q0", "42"),
        lambda request: request.prompt.messages[0].content.replace("q0", "42"),
        lambda prompt: sy.Completion(text="42", usage=sy.Usage(output_tokens=1, source="tokenizer")),
        lambda prompt: iter(["4", "2"]),
    ],
)
def test_any_callable_is_a_model(function):
    assert sy.run_model(function, "q0").text == "42"


def test_async_callables_and_generators_are_models_too():
    async def answer(prompt):
        await asyncio.sleep(0)
        return "42"

    async def pieces(prompt):
        yield "4"
        yield "2"

    assert sy.run_model(answer, "x").text == "42"
    assert sy.run_model(pieces, "x").text == "42"


def test_a_callable_that_returns_something_else_is_told():
    with pytest.raises(sy.ProviderError, match="returned int, not str"):
        sy.run_model(lambda prompt: 42, "x")


def test_the_last_answers_that_keep_a_run_waiting_are_named(monkeypatch):
    monkeypatch.setattr("steelyard.engine.stragglers.LATE_AFTER_S", 0.1)

    async def model(prompt):
        await asyncio.sleep(0.5 if prompt.startswith("q7") else 0.0)
        return "x"

    told = []
    sy.run([model], [questions(10)], on_message=told.append)
    [late] = [text for text in told if "still waiting" in text]
    assert "quiz/7, asked more than 0.1 s ago; a try ends after 600 s" in late

    def slow_down(request):
        is_first = len(told) == 1
        return sy.Failure(kind="rate_limit", message="later", retry_after_s=0.4) if is_first else "x"

    sy.run([sy.Scripted(slow_down)], [questions(1)], on_message=told.append)
    assert "asked more than 0.1 s ago; 1 waiting for the rate limit" in told[-1]

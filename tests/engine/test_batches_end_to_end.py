"""Batches from the command line and from a plan, for both services: several at once, and processes killed anywhere."""

import asyncio
import errno
import importlib
import json
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from batch_house import House, question_of
from command import ok, steelyard
from forks import Started
from server import serving
from steelyard.engine import writer
from steelyard.engine.money.budget import input_bound
from steelyard.errors import StoreFull
from steelyard.providers.batches import FolderJournal
from steelyard.store import Store
from steelyard.types import Message, Prompt, Request

both = pytest.mark.parametrize("provider", ["openai", "anthropic"])
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
ENDS = {4: "fail", 9: "late"}
ROWS = [{"id": f"q{n}", "input": f"Say {n} {ENDS.get(n, '')}".strip(), "target": str(n)} for n in range(12)]


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    for name in KEYS.values():
        monkeypatch.setenv(name, "k" * 20)


def quickly(most=5, at_once=4, spare=16):
    """What the command looks at more often here than elsewhere, and the room it has."""
    return {
        ("steelyard.providers.batches", "FIRST_LOOK_S"): 0.1,
        ("steelyard.providers.batches", "SETTLED_AFTER_S"): 0.3,
        ("steelyard.engine.asking.batch_lane", "LOOK_AGAIN_S"): 0.1,
        ("steelyard.engine.asking.batch_lane", "MOST_REQUESTS"): most,
        ("steelyard.engine.asking.batch_lane", "AT_ONCE"): at_once,
        ("steelyard.engine.asking.batch_lane", "MOST_HELD"): most * at_once,
        ("steelyard.engine.pipeline", "MOST_HELD"): most * at_once,
        ("steelyard.engine.loading", "SPARE_WINDOW"): spare,
        ("steelyard.cli.live", "LINE_EVERY_S"): 0.05,
    }


def killed(house, *words, **room):
    """The command in a process of its own, until the house holds what it was asked for."""
    process = Started("run", *words, "--store", "s.db", settings=quickly(**room))
    assert house.held.wait(60)
    process.kill()
    process.wait()
    house.release()


def broken_off(house, *words, **room):
    """The same, ended by Ctrl-C twice."""
    process = Started("run", *words, "--store", "s.db", settings=quickly(**room))
    assert house.held.wait(60)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    process.wait()
    house.release()


def plan_at(url, provider, **settings):
    """A plan file whose one model is asked by batches."""
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    model = {"id": "m", "provider": provider, "model": "m", "base_url": url, "batch": True, **settings}
    model.setdefault("price", {"input": 1, "output": 2})
    plan = {"models": [model], "benchmarks": [{"path": "q.jsonl", "grader": "number"}]}
    Path("plan.yaml").write_text(json.dumps(plan))
    return "plan.yaml"


def carried_out(*words, **room):
    done = ended(*words, **room)
    assert done.returncode == 0, done.stderr
    return done.stderr


def ended(*words, **room):
    changes = quickly(**room)
    modules = {
        module: importlib.import_module(module) for module, _ in changes
    }  # before any takes a changed value over
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in changes.items():
            patch.setattr(modules[module], name, value)
        return steelyard("run", *words, "--store", "s.db")


def results(store):
    """Per item: the newest call's failure or its score."""
    rows = (
        "select c.position, c.failure, s.value from calls c "
        "left join scores s on s.call = c.id "
        "and s.measure = (select id from measures where metric = 'accuracy') order by c.id"
    )
    with closing(sqlite3.connect(store)) as raw:
        return {position: (failure, value) for position, failure, value in raw.execute(rows)}


def calls(store):
    with closing(sqlite3.connect(store)) as raw:
        return raw.execute("select position, failure from calls").fetchall()


EXPECTED = {n: (None, float(n % 2)) for n in range(12) if n not in ENDS}


def check(store, house):
    found = results(store)
    assert {n: end for n, end in found.items() if n not in ENDS} == EXPECTED
    assert {n: bool(found[n][0]) for n in ENDS} == dict.fromkeys(ENDS, True)
    assert {
        question: n for question, n in house.asked.items() if "fail" not in question and "late" not in question
    } == {row["input"]: 1 for n, row in enumerate(ROWS) if n not in ENDS}
    assert not list(Path("batches").glob("*.piece"))


@both
def test_a_plan_asked_by_batches_takes_several_at_once_and_any_order_of_results(provider):
    house = House()
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, provider))
    check("s.db", house)
    assert len(house.batches) == 3
    assert house.most_in_progress > 1
    assert "batch 1: " in said
    assert "answers streamed in at once" not in said
    shown = ok("show", "--store", "s.db")
    assert "cost of 1,000" in shown
    assert "/s" not in shown


@both
@pytest.mark.parametrize("moment", ["upload", "create", "created", "poll", "results"])
def test_a_kill_at_any_moment_leads_to_no_second_submission_and_the_same_scores(provider, moment):
    if (provider, moment) == ("anthropic", "upload"):
        pytest.skip("Anthropic's requests go within the batch")
    house = House(hold=moment)
    with serving(house.handle) as http:
        plan = plan_at(http.url, provider)
        killed(house, plan)
        carried_out("--resume", "1")
        check("s.db", house)
        failed = [position for position, failure in calls("s.db") if failure]
        assert sorted(set(failed)) == sorted(ENDS)


@both
def test_batches_that_stand_are_collected_beside_new_ones_where_there_is_room_for_few(provider):
    """What stands and what is new together fill all the room there is: neither waits for the other for ever."""
    house = House(hold="poll")
    with serving(house.handle) as http:
        plan = plan_at(http.url, provider)
        killed(house, plan, "--limit", "3", most=4, at_once=1)
        carried_out("--resume", "1", "--limit", "12", most=4, at_once=1, spare=0)
    check("s.db", house)


def graded_twice(url, provider):
    """A plan whose model is asked the same words for two graders; "-1", said to the even ones, is right for one."""
    plan = json.loads(Path(plan_at(url, provider)).read_text())
    plan["benchmarks"] = [{"path": "q.jsonl", "grader": grader} for grader in ("exact", "contains")]
    rows = [row | {"input": f"Say {n}", "target": str(n) if n % 2 else "1"} for n, row in enumerate(ROWS)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("plan.yaml").write_text(json.dumps(plan))
    return "plan.yaml"


def graded(run):
    """How many calls each grader of a run judged, by the score, whether the answer was used again, and its price."""
    rows = (
        "select json_extract(l.info, '$.protocol'), s.value, c.cached, c.cost_usd > 0, count(*), "
        "count(distinct c.position) from calls c join cells l on l.id = c.cell join runs r on r.id = l.run "
        "join scores s on s.call = c.id where r.id = ? group by 1, 2, 3, 4"
    )
    with closing(sqlite3.connect("s.db")) as raw:
        return set(raw.execute(rows, (run,)))


@both
@pytest.mark.parametrize("moment", [None, "poll", "results"])
def test_two_graders_of_the_same_words_have_answers_of_their_own_and_a_later_run_hands_in_none(provider, moment):
    house = House(hold=moment)
    with serving(house.handle) as http:
        plan = graded_twice(http.url, provider)
        if moment is None:
            carried_out(plan)
        else:
            killed(house, plan)
            carried_out("--resume", "1")
        assert set(house.asked.values()) == {2}
        batches = len(house.batches)
        carried_out(plan)
        assert len(house.batches) == batches
    assert graded(1) == {("exact", 1, 0, 1, 6, 6), ("exact", 0, 0, 1, 6, 6), ("contains", 1, 0, 1, 12, 12)}
    assert graded(2) == {("exact", 1, 1, 0, 6, 6), ("exact", 0, 1, 0, 6, 6), ("contains", 1, 1, 0, 12, 12)}


def test_a_batch_that_is_more_than_the_account_may_have_waiting_is_handed_in_later_and_smaller():
    house = House(most_waiting=3)
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, "openai"))
    check("s.db", house)
    assert "Enqueued token limit" in said


@both
def test_a_setting_that_a_model_refuses_is_learnt_and_its_requests_are_asked_again_without_it(provider):
    house = House(refuses="temperature")
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, provider, temperature=0.0), "--limit", "4")
    found = results("s.db")
    assert len(found) == 4
    assert [failure for n, (failure, _) in found.items() if n not in ENDS] == [None] * len(found.keys() - ENDS.keys())
    assert said.count("'temperature' is not sent") == 1


@both
def test_answers_of_a_batch_are_cut_at_stop_strings_that_a_model_does_not_take(provider):
    house = House(refuses="stop" if provider == "openai" else "stop_sequences")
    with serving(house.handle) as http:
        carried_out(plan_at(http.url, provider, stop=["1"]))
    assert {n for n, (_, score) in results("s.db").items() if score == 1} == {3, 5, 7}  # and no more 1 and 11


@both
def test_what_expired_or_was_refused_costs_nothing_and_is_not_in_doubt(provider):
    house = House()
    with serving(house.handle) as http:
        carried_out(plan_at(http.url, provider))
    with closing(sqlite3.connect("s.db")) as raw:
        (resources,) = raw.execute("select resources from sessions").fetchone()
        costs = [cost for (cost,) in raw.execute("select cost_usd from calls where failure is null")]
    assert not [name for name in json.loads(resources) if "doubtful" in name]
    assert costs == pytest.approx([14e-6] * 10)


def test_another_batch_of_as_many_requests_is_not_taken_for_ours():
    """Anthropic lists no names of a batch in progress: a wrong guess is found out by its answers, and ours is found."""
    house = House(hold="created")
    with serving(house.handle) as http:
        plan = plan_at(http.url, "anthropic")
        killed(house, plan, "--limit", "3")
        ticket = json.loads(next(Path("batches").glob("*.json")).read_text())
        ours = house.batches["batch_0"]
        entries = [entry | {"custom_id": f"{'0' * 32}-{n}"} for n, entry in enumerate(ours["entries"])]
        # made nearer to the ticket's moment than ours, so that it is guessed first
        stranger = ours | {
            "entries": entries,
            "made": ours["made"].fromtimestamp(ticket["meant_at_s"], ours["made"].tzinfo),
        }
        house.batches["batch_7"] = stranger
        carried_out("--resume", "1")
    assert set(house.batches) == {"batch_0", "batch_7"}
    assert house.batches["batch_7"]["polls"] >= 2
    assert len(results("s.db")) == 3


DEAR = {"price": {"input": 1000, "output": 2000}, "max_tokens": 10}


def worst_usd(row):
    """Every byte with a template's room as a token, in steps of 32, and all that may be said."""
    request = Request(model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content=row["input"]),)))
    return -(-input_bound(request) // 32) * 32 * 1e-3 + 10 * 2e-3


@both
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "Ctrl-C"])
def test_batches_that_stood_when_a_run_was_broken_off_are_paid_from_the_stores_budget_once(provider, is_killed):
    house = House(hold="poll")
    ok("budget", "set", "10", "--store", "s.db")
    with serving(house.handle) as http:
        plan = plan_at(http.url, provider, **DEAR)
        end = killed if is_killed else broken_off
        end(house, plan, most=len(ROWS))
        carried_out("--resume", "1")
        check("s.db", house)
    with closing(sqlite3.connect("s.db")) as raw:
        (cost_usd,) = raw.execute("select sum(cost_usd) from calls").fetchone()
    with Store.open("s.db") as store:
        spent_usd = store.budget.account().spent_usd
    drawn_at_once_usd = 0.1  # a hundredth of the limit, of which one that was killed gives nothing back
    assert cost_usd - 1e-9 <= spent_usd <= cost_usd + (drawn_at_once_usd if is_killed else 1e-9)


class Crowded(House):
    """Counts how many requests stand in batches that go on."""

    most_requests = 0

    async def _take(self, body):
        reply = await super()._take(body)
        standing = sum(len(batch["entries"]) for batch in self.batches.values() if not self._is_over(batch))
        self.most_requests = max(self.most_requests, standing)
        return reply


@pytest.mark.long
@both
def test_what_stands_from_an_earlier_session_is_held_before_more_is_handed_in(provider):
    """The money is for six requests at once, five of which stand already."""
    house = Crowded(hold="poll", polls=6)
    with serving(house.handle) as http:
        plan = plan_at(http.url, provider, **DEAR)
        killed(house, plan, "--budget", str(6.5 * max(map(worst_usd, ROWS))))
        carried_out("--resume", "1")
        check("s.db", house)
    assert 5 <= house.most_requests <= 6


@both
@pytest.mark.parametrize("counts", [0, 10**9])
def test_an_answer_of_a_batch_with_tokens_that_cannot_be_costs_nobody_knows_what(provider, counts):
    house = House(counts=counts)
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, provider), most=12)
    assert "the service counted tokens that cannot be" in said
    with closing(sqlite3.connect("s.db")) as raw:
        assert raw.execute("select distinct output_tokens, cost_usd from calls where failure is null").fetchall() == [
            (None, None)
        ]


@both
def test_an_answer_that_its_batch_tells_twice_and_takes_back_in_odd_shapes_stands(provider):
    house = House(stutters=True)
    with serving(house.handle) as http:
        carried_out(plan_at(http.url, provider), most=12)
    check("s.db", house)


@both
def test_results_that_lack_an_answer_are_looked_at_again(provider):
    house = House(short=2)
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, provider), most=12)
    assert "of 10 answers its results hold 9; looking again" in said
    check("s.db", house)


@both
def test_an_answer_that_its_batch_does_not_hold_yet_is_collected_by_resume_and_not_paid_twice(provider):
    """All others are scored meanwhile."""
    house = House(short=1_000)
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, provider), most=12)
        assert "of 10 answers its results hold 9; the batch is looked for again by --resume" in said
        failed = {position for position, failure in calls("s.db") if failure}
        assert len(failed - set(ENDS)) == 1
        house.short = 0
        carried_out("--resume", "1", most=12)
    check("s.db", house)


@both
def test_a_disk_that_is_full_wherever_a_batch_is_noted_holds_it_up_and_none_is_handed_in_twice(provider, monkeypatch):
    """Full at every first attempt to note a piece, what is meant, and the service's name: its name is kept at last."""
    monkeypatch.setattr(writer, "TRIED_AGAIN_EVERY_S", 0.01)
    written = FolderJournal._write_durably
    noted = Counter()

    def full_at_first(journal, path, data):
        noted[data] += 1
        if noted[data] == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(journal, path, data)

    monkeypatch.setattr(FolderJournal, "_write_durably", full_at_first)
    house = House()
    with serving(house.handle) as http:
        said = carried_out(plan_at(http.url, provider))
    check("s.db", house)
    assert len(house.batches) == 3
    assert set(noted.values()) == {2}
    assert "is full; the run waits for room" in said


def test_half_a_note_that_found_no_room_takes_none(tmp_path, monkeypatch):
    def no_room(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StoreFull, match="is full"):
        asyncio.run(FolderJournal(tmp_path).keep_beside("ab", b"half"))
    assert not list(tmp_path.iterdir())


class Lost(House):
    """Knows of no batch, so often as ``lost`` says."""

    lost = 0

    async def handle(self, request, body, number):
        if request.method == "GET" and "batch_" in request.path and self.lost:
            self.lost -= 1
            return web.json_response({"error": {"message": "No batch found"}}, status=404)
        return await super().handle(request, body, number)


@both
@pytest.mark.parametrize("over_the_store", [False, True], ids=["its own", "the store's"])
def test_a_batch_that_is_looked_for_again_and_found_is_in_doubt_no_more(provider, over_the_store):
    """Its requests were sent once: they are paid from a budget once, and as long as it is lost in doubt once."""
    house = Lost()
    house.lost = 2
    budget = () if over_the_store else ("--budget", "50")
    if over_the_store:
        ok("budget", "set", "50", "--store", "s.db")
    with serving(house.handle) as http:
        plan = plan_at(http.url, provider, **DEAR)
        for words in ((plan, *budget), ("--resume", "1")):
            assert ended(*words, most=len(ROWS)).returncode == 4
            assert doubt() == (len(ROWS), pytest.approx(sum(map(worst_usd, ROWS))))
        carried_out("--resume", "1")
        check("s.db", house)
    assert doubt() == (0, pytest.approx(0.0))
    with closing(sqlite3.connect("s.db")) as raw:
        (cost_usd,) = raw.execute("select sum(cost_usd) from calls").fetchone()
    with Store.open("s.db") as store:
        assert store.budget.spent_of_run(store.run("1").id) == pytest.approx(cost_usd)
        if over_the_store:
            assert store.budget.account().spent_usd == pytest.approx(cost_usd)


@both
def test_what_a_batch_that_stays_has_told_the_end_of_is_taken_out_of_doubt_once(provider):
    """All were in doubt; then one answer is missing, time and again, and two requests failed for nothing."""
    house = Lost(short=1_000)
    house.lost = 1
    with serving(house.handle) as http:
        assert ended(plan_at(http.url, provider, **DEAR), most=len(ROWS)).returncode == 4
        assert doubt()[0] == len(ROWS)
        carried_out("--resume", "1", most=len(ROWS))
        assert doubt()[0] == 1
        carried_out("--resume", "1", most=len(ROWS))
        assert doubt()[0] == 1
        house.short = 0
        carried_out("--resume", "1", most=len(ROWS))
    assert doubt() == (0, pytest.approx(0.0))


def doubt():
    with Store.open("s.db") as store:
        found = store.budget.doubt_of_run(store.run("1").id)
    return found.failed_tries, found.failed_usd


class Mute(House):
    """Lists no batches to whoever asks, so often as ``mute`` says."""

    mute = 1

    async def handle(self, request, body, number):
        if request.method == "GET" and request.path.endswith("/batches") and self.mute:
            self.mute -= 1
            return web.json_response({"error": {"message": "this key may not list"}}, status=401)
        return await super().handle(request, body, number)


@both
def test_a_service_that_refuses_to_say_whether_it_took_a_batch_is_asked_that_again_and_handed_in_none(provider):
    house = Mute(hold="created")
    with serving(house.handle) as http:
        killed(house, plan_at(http.url, provider), most=len(ROWS))
        refused = ended("--resume", "1", most=len(ROWS))
        assert "this key may not list; the batch is looked for again by --resume" in refused.stderr
        assert doubt()[0] == len(ROWS)
        carried_out("--resume", "1", most=len(ROWS))
        check("s.db", house)
    assert doubt()[0] == 0


class Strange(House):
    """Its results hold lines of requests that nobody knows."""

    def _anthropic_line(self, entry):
        line = super()._anthropic_line(entry)
        return line | ({"custom_id": "stranger-1"} if "late" in question_of(entry) else {})

    def _openai_line(self, entry):
        line = super()._openai_line(entry)
        return line | ({"custom_id": "stranger-1"} if "late" in question_of(entry) else {})


@both
def test_a_strange_line_in_a_batch_of_ours_does_not_make_it_anothers(provider):
    house = Strange()
    with serving(house.handle) as http:
        carried_out(plan_at(http.url, provider), most=len(ROWS))
    assert len(house.batches) == 1
    assert {n: end for n, end in results("s.db").items() if n not in ENDS} == EXPECTED

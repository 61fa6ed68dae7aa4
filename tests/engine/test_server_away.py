"""A store that cannot be reached or written for a while holds a run up, and nothing is paid or written twice."""

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

import postgresql_server as server
import steelyard as sy
from postgresql_way import Way
from steelyard.engine import driving, lanes, writer
from steelyard.engine.progress import Progress
from steelyard.engine.run import Given, execute
from steelyard.errors import StoreError, StoreHeldUp
from steelyard.plan.plan import BenchmarkSpec, Plan
from steelyard.store import Store
from steelyard.store.database import silence, sqlite_file
from steelyard.store.database.postgresql import PostgreSQL
from steelyard.store.rows.account import Budget
from steelyard.types import ModelSpec

ITEMS, IN_FLIGHT, ASKED_BEFORE = 40, 4, 16
ON_THEIR_WAY = 3 * IN_FLIGHT  # in flight, or answered and let go before the write had failed
PLAN = Plan(
    models=(ModelSpec(id="m", provider="object", model="m"),),
    benchmarks=(BenchmarkSpec(name="quiz"),),
    concurrency=IN_FLIGHT,
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "TRIED_AGAIN_EVERY_S", 0.02)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def way(tmp_path, schema):
    found = Way(tmp_path / "way")
    yield found
    found.cut()


class Model(sy.Scripted):
    """Keeps what it was asked, and lets something happen at one of its answers."""

    def __init__(self, happens):
        super().__init__(self.reply, delay_s=0.002)
        self.happens, self.questions = happens, []

    def reply(self, request):
        self.questions.append(request.prompt.messages[-1].content)
        if len(self.questions) == ASKED_BEFORE:
            self.happens()
        return "yes"


def ask(model, store, tell, *, resume=None):
    quiz = sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}", target="yes") for i in range(ITEMS)],
        grade=lambda sample, completion: completion.text == sample.target,
    )
    given = Given(providers={"m": model}, benchmarks={"quiz": quiz})
    return asyncio.run(execute(PLAN, store, given=given, progress=Progress(say=tell), resume=resume))


def kept(schema):
    (row,) = server.sql("SELECT count(*), count(DISTINCT position), count(DISTINCT id) FROM calls", schema=schema)
    (scores,) = server.sql("SELECT count(*), count(DISTINCT call) FROM scores", schema=schema)
    return row, scores


WHOLE = (ITEMS, ITEMS, ITEMS), (ITEMS, ITEMS)
ALL_BUT_ONE = tuple(tuple(n - 1 for n in counts) for counts in WHOLE)


def test_a_run_waits_for_a_server_that_is_away_without_paying_and_writes_nothing_twice(way, schema):
    told, asked_while_away = [], []

    def tell(text):
        told.append(text)
        if "nothing more is sent" in text:
            asked_while_away.append(len(model.questions))
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, lambda: asked_while_away.append(len(model.questions)))
            loop.call_later(0.3, way.open)

    model = Model(way.cut)
    with Store.open(way.address(schema)) as store:
        ended = ask(model, store, tell)
        accuracy = sy.Run(ended.run, way.address(schema)).estimate("accuracy")
    assert (ended.status, accuracy.value, accuracy.n) == ("done", 1.0, ITEMS)
    assert set(Counter(model.questions).values()) == {1}
    assert kept(schema) == WHOLE
    assert sum("nothing more is sent. The run waits 10 minutes for it" in text for text in told) == 1
    assert sum("is written again: the run goes on" in text for text in told) == 1
    assert asked_while_away[-1] - asked_while_away[0] <= ON_THEIR_WAY


def just_before(owner, name, happens, monkeypatch):
    """Let something happen, once, just before this is read or written."""
    do, times = getattr(owner, name), []

    def happen_and_do(self, *arguments, **options):
        if not times:
            times.append(name)
            happens()
        return do(self, *arguments, **options)

    monkeypatch.setattr(owner, name, happen_and_do)
    return times


BEFORE_THE_FIRST_REQUEST = [
    (Budget, "account"),
    (Store, "check_free"),
    (Store, "sessions"),
    (Store, "begin_session"),
    (Store, "completed"),
    (Budget, "counted_shares"),
    (Store, "unscored"),
]


@pytest.mark.parametrize(("owner", "name"), BEFORE_THE_FIRST_REQUEST)
def test_a_server_that_goes_away_before_the_first_request_is_waited_for(way, schema, owner, name, monkeypatch):
    monkeypatch.setattr(lanes, "READ_AT_ONCE", 3)
    told = []

    def tell(text):
        told.append(text)
        if "the run waits for it" in text:
            asyncio.get_running_loop().call_later(0.05, way.open)

    with Store.open(way.address(schema)) as store:
        ask(Model(lambda: None), store, tell)
        server.sql("DELETE FROM calls WHERE position >= 8", "DELETE FROM scores", schema=schema)
        times = just_before(owner, name, way.cut, monkeypatch)
        ended = ask(model := Model(lambda: None), store, tell, resume=store.run("last"))
    assert (ended.status, times) == ("done", [name])
    assert len(model.questions) == ITEMS - 8
    assert kept(schema) == WHOLE
    assert sum("the run waits for it" in text for text in told) == 1
    assert not any("nothing more is sent" in text for text in told)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_new_run_of_which_nobody_heard_begins_once(way, schema, arrives, monkeypatch):
    way.arrives = arrives
    for name in ("create_run", "begin_session"):
        just_before(Store, name, lambda: setattr(way, "lose_commits", 1), monkeypatch)
    with Store.open(way.address(schema)) as store:
        ended = ask(Model(lambda: None), store, lambda text: None)
        assert [run.number for run in store.runs()] == [ended.run.number]
        assert len(store.sessions(ended.run.id)) == 1
    assert (ended.status, way.lost) == ("done", 2)
    assert kept(schema) == WHOLE


def test_of_sessions_of_which_nobody_heard_none_is_left_whichever_commits_arrived(way, schema, monkeypatch):
    hold = PostgreSQL.hold

    def hold_and_lose_the_commit(database, session):
        hold(database, session)
        way.lose_commits = 1

    with Store.open(way.address(schema)) as store:
        run = store.create_run(name="r", plan={}, plan_digest="x")
        monkeypatch.setattr(PostgreSQL, "hold", hold_and_lose_the_commit)
        for way.arrives in (True, False):
            with pytest.raises(StoreHeldUp):
                store.begin_session(run.id, {})
        monkeypatch.setattr(PostgreSQL, "hold", hold)
        session = store.begin_session(run.id, {})
        assert way.lost == 2
        assert [one.id for one in store.sessions(run.id)] == [session]


def test_a_server_that_stays_away_before_the_first_request_ends_the_run_with_nothing_sent(way, schema, monkeypatch):
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)
    model = Model(lambda: None)
    with Store.open(way.address(schema)) as store:
        just_before(Store, "completed", way.cut, monkeypatch)
        with pytest.raises(StoreHeldUp, match=r"nothing was sent\. Once it can be used, try the same again"):
            ask(model, store, lambda text: None)
    assert model.questions == []


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("by", ["a thread", pytest.param("a process", marks=pytest.mark.long)])
def test_a_commit_of_which_nobody_heard_is_made_once(way, schema, arrives, by, monkeypatch):
    way.arrives = arrives
    if by == "a process":
        _hire_at_once(monkeypatch)
    model = Model(lambda: setattr(way, "lose_commits", 3))
    with Store.open(way.address(schema)) as store:
        ended = ask(model, store, lambda text: None)
    assert (ended.status, way.lost) == ("done", 3)
    assert set(Counter(model.questions).values()) == {1}
    assert kept(schema) == WHOLE


def test_connections_that_the_server_ends_again_and_again_cost_nothing(schema):
    ended_backends = []

    def end_them():
        of_the_run = f"FROM pg_stat_activity WHERE application_name = '{schema}'"
        ended_backends.extend(server.sql(f"SELECT pg_terminate_backend(pid) {of_the_run}"))

    def go_on_ending_them():
        for _ in range(4):
            time.sleep(0.01)
            end_them()

    ending = threading.Thread(target=go_on_ending_them)
    model = Model(lambda: (end_them(), ending.start()))
    with Store.open(f"{server.address(schema)}&application_name={schema}") as store:
        ended = ask(model, store, lambda text: None)
    ending.join()
    assert ended.status == "done"
    assert set(Counter(model.questions).values()) == {1}
    assert len(ended_backends) > 1
    assert kept(schema) == WHOLE


def test_a_run_whose_server_stays_away_ends_and_resumes_without_repeating_what_was_kept(way, schema, monkeypatch):
    monkeypatch.setattr(writer, "PATIENCE_S", 0.3)
    model = Model(way.cut)
    with Store.open(way.address(schema)) as store:
        with pytest.raises(StoreHeldUp, match=r"all earlier ones are kept.*steelyard run --resume 1"):
            ask(model, store, lambda text: None)
        way.open()
        asked_before, (before, _) = len(model.questions), kept(schema)
        assert 0 < asked_before - before[0] <= ON_THEIR_WAY
        ended = ask(model, store, lambda text: None, resume=store.run("last"))
    assert ended.status == "done"
    assert len(model.questions) - asked_before == ITEMS - before[0]
    assert kept(schema) == WHOLE


def test_a_server_that_is_reached_and_never_answers_is_not_waited_for_without_end(way, schema, monkeypatch):
    monkeypatch.setattr(silence, "SILENT_AFTER_S", 0.2)
    with Store.open(f"{way.address(schema)}&connect_timeout=2") as store:
        way.swallows = True
        with (
            pytest.raises(StoreHeldUp, match=r"does not answer|timeout expired"),
            store.reading() as connection,
        ):
            connection.exec_driver_sql("SELECT 1")
        way.cut()


@pytest.mark.long
def test_a_run_whose_server_is_reached_and_never_answers_is_held_up_and_ends_with_what_was_kept(
    way, schema, monkeypatch
):
    monkeypatch.setattr(silence, "SILENT_AFTER_S", 0.2)
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)
    model = Model(lambda: setattr(way, "swallows", True))
    with Store.open(f"{way.address(schema)}&connect_timeout=2") as store:
        with pytest.raises(StoreHeldUp, match=r"all earlier ones are kept.*steelyard run --resume 1"):
            ask(model, store, lambda text: None)
        before, _ = kept(schema)
        asked_before = len(model.questions)
        way.swallows = False
        way.cut()
        way.open()
        ended = ask(model, store, lambda text: None, resume=store.run("last"))
    assert ended.status == "done"
    assert len(model.questions) - asked_before == ITEMS - before[0]
    assert kept(schema) == WHOLE


@pytest.mark.parametrize("keeps_account", ["on", "off"])
def test_a_server_that_is_long_at_work_on_a_statement_is_heard_out(schema, keeps_account, monkeypatch):
    monkeypatch.setattr(silence, "SILENT_AFTER_S", 0.0)
    with Store.open(server.address(schema)) as store, store.reading() as connection:
        heard, told = connection.connection.driver_connection, []
        ask = heard.is_at_work
        heard.is_at_work = lambda: told.append(ask()) or told[-1]
        connection.exec_driver_sql(f"SET track_activities = {keeps_account}")
        assert connection.exec_driver_sql("SELECT 1 FROM pg_sleep(0.3)").scalar_one() == 1
    assert any(told)


def test_a_connection_that_cannot_be_set_up_is_closed(schema, monkeypatch):
    made = []

    def refuse(connection, *arguments):
        made.append(connection)
        raise psycopg.OperationalError("the server is reached, and does not answer")

    monkeypatch.setattr(silence.Heard, "execute", refuse)
    with pytest.raises(psycopg.OperationalError):
        silence.connected(server.address(schema).replace("+psycopg", ""))
    assert [connection.closed for connection in made] == [True]


REFUSALS = {
    "another password": ("ALTER ROLE {} PASSWORD 'other'", "password authentication failed"),
    "a role that is gone": (
        "ALTER ROLE {0} RENAME TO {0}_gone",
        'password authentication failed|role ".*" does not exist',
    ),
    "a role that may not log in": ("ALTER ROLE {} NOLOGIN", "is not permitted to log in"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_server_that_refuses_for_good_ends_the_run_at_once_and_nothing_that_was_kept_is_lost(way, schema, what):
    change, said = REFUSALS[what]
    user = f"{schema}_user"
    make = f"CREATE ROLE {user} LOGIN PASSWORD 'secret' IN ROLE steelyard, {server.ASKED_FOR_A_PASSWORD}"
    server.sql(make)

    def refuse():
        server.sql(change.format(user))
        way.cut()
        way.open()

    model, told = Model(refuse), []
    with Store.open(way.address(schema, f"{user}:secret")) as store:
        begun_s = time.monotonic()
        with pytest.raises(
            StoreError, match=rf"({said}).*mend the user.*all earlier ones are kept.*--resume 1"
        ) as raised:
            ask(model, store, told.append)
    assert not isinstance(raised.value, StoreHeldUp)
    assert "secret" not in str(raised.value)
    assert time.monotonic() - begun_s < writer.PATIENCE_S / 10
    before, _ = kept(schema)
    asked_before = len(model.questions)
    with Store.open(way.address(schema)) as store:
        ended = ask(model, store, told.append, resume=store.run("last"))
    assert ended.status == "done"
    assert len(model.questions) - asked_before == ITEMS - before[0]
    assert kept(schema) == WHOLE


def test_a_run_that_lost_its_server_still_counts_as_running_elsewhere(way, schema):
    with Store.open(way.address(schema)) as there, Store.open(server.address(schema)) as here:
        run = there.create_run(name="r", plan={}, plan_digest="x")
        there.begin_session(run.id, {})
        server.sql("UPDATE sessions SET host = 'elsewhere'", schema=schema)
        way.cut()
        assert _soon(lambda: here.run("last").status == "interrupted")
        with pytest.raises(StoreHeldUp):
            there.tag(run.id, "one")
        with pytest.raises(StoreHeldUp):
            there.tag(run.id, "two")
        way.open()
        there.tag(run.id, "three")
        assert here.run("last").status == "running"


def test_a_run_that_another_process_went_on_with_while_the_server_was_away_writes_no_more(way, schema):
    with Store.open(way.address(schema)) as there, Store.open(server.address(schema)) as here:
        run = there.create_run(name="r", plan={}, plan_digest="x")
        there.begin_session(run.id, {})
        server.sql("UPDATE sessions SET host = 'elsewhere'", schema=schema)
        way.cut()
        assert _soon(lambda: here.run("last").status == "interrupted")
        here.begin_session(run.id, {})
        way.open()
        for tag in ("one", "two"):
            with pytest.raises(StoreError, match="another process went on with this run") as raised:
                there.tag(run.id, tag)
            assert not isinstance(raised.value, StoreHeldUp)


@pytest.mark.parametrize("by", ["a thread", pytest.param("a process", marks=pytest.mark.long)])
def test_a_run_that_was_gone_on_with_elsewhere_leaves_its_end_to_who_did(way, schema, by, monkeypatch):
    if by == "a process":
        _hire_at_once(monkeypatch)

    def tell(text):
        if "nothing more is sent" in text:
            with Store.open(server.address(schema)) as here:
                run = here.run("last")
                server.sql("UPDATE sessions SET host = 'elsewhere'", schema=schema)
                assert _soon(lambda: here.run("last").status == "interrupted")
                here.end_session(here.begin_session(run.id, {}), {})
                here.set_status(run.id, "done")
            kept_by_then.append(kept(schema))
            way.open()

    kept_by_then = []
    with Store.open(way.address(schema)) as store:
        with pytest.raises(StoreError, match="another process went on with this run"):
            ask(Model(way.cut), store, tell)
        assert store.run("last").status == "done"
    assert kept_by_then == [kept(schema)]


def test_a_wish_to_stop_while_the_server_is_away_is_not_kept_waiting_for_it(way, schema, monkeypatch):
    monkeypatch.setattr(driving, "GRACE_S", 60.0)

    def stop(text):
        if "nothing more is sent" in text:
            os.kill(os.getpid(), signal.SIGINT)

    with Store.open(way.address(schema)) as store:
        begun_s = time.monotonic()
        with pytest.raises(StoreHeldUp, match=r"all earlier ones are kept.*steelyard run --resume 1"):
            ask(Model(way.cut), store, stop)
        assert time.monotonic() - begun_s < driving.GRACE_S / 2


def test_a_run_whose_server_goes_away_when_all_is_kept_ends_with_the_command_that_goes_on(way, schema, monkeypatch):
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)
    monkeypatch.setattr("steelyard.engine.run.forget_summary", lambda store, run_id: way.cut())
    with Store.open(way.address(schema)) as store:
        with pytest.raises(StoreHeldUp, match=r"all answers are kept\..*try: steelyard run --resume 1"):
            ask(Model(lambda: None), store, lambda text: None)
        way.open()
    assert kept(schema) == WHOLE


def test_a_run_that_was_stopped_when_all_is_kept_does_not_wait_for_a_server_that_has_gone_away(way, schema):
    class Hangs(Model):
        hangs = False

        async def generate(self, request):
            if not self.hangs:
                self.hangs = True
                assert await asyncio.to_thread(_soon, lambda: kept(schema) == ALL_BUT_ONE)
                way.cut()
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(60)
            async for said in super().generate(request):
                yield said

    with Store.open(way.address(schema)) as store, pytest.raises(StoreHeldUp, match="all answers are kept"):
        ask(Hangs(lambda: None), store, lambda text: None)


def _hire_at_once(monkeypatch):
    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    serve = writer.Writer.serve

    async def hire_and_serve(self):
        assert self._idle is not None
        await self._hire(self._idle)
        await serve(self)

    monkeypatch.setattr(writer.Writer, "serve", hire_and_serve)


def _soon(is_so):
    deadline_s = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return is_so()


def test_another_program_that_holds_the_lock_of_a_file_is_waited_for(monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.02)
    told, holding = [], []

    def hold():
        holding.append(sqlite3.connect("s.db", isolation_level=None, check_same_thread=False))
        holding[0].execute("BEGIN IMMEDIATE")

    def let_go_once_told(text):
        told.append(text)
        if "nothing more is sent" in text:
            holding[0].close()

    with Store.open("s.db") as store:
        ended = ask(Model(hold), store, let_go_once_told)
    assert ended.status == "done"
    with closing(sqlite3.connect("s.db")) as raw:
        assert raw.execute("SELECT count(*), count(DISTINCT position) FROM calls").fetchone() == (ITEMS, ITEMS)
    assert sum("database is locked; nothing more is sent" in text for text in told) == 1


def test_a_file_that_takes_no_writing_for_a_while_is_waited_for():
    told, is_read_only = [], []

    def set_it(connection):
        connection.connection.dbapi_connection.execute(f"PRAGMA query_only = {len(is_read_only)}")

    def turn_back_once_told(text):
        told.append(text)
        if "nothing more is sent" in text:
            is_read_only.clear()

    event.listen(Engine, "engine_connect", set_it)
    try:
        with Store.open("s.db") as store:
            ended = ask(Model(lambda: is_read_only.append(True)), store, turn_back_once_told)
    finally:
        event.remove(Engine, "engine_connect", set_it)
    assert ended.status == "done"
    with closing(sqlite3.connect("s.db")) as raw:
        assert raw.execute("SELECT count(*), count(DISTINCT position) FROM calls").fetchone() == (ITEMS, ITEMS)
    assert sum("readonly database" in text and "nothing more is sent" in text for text in told) == 1

"""A store on a PostgreSQL server: what holds there and nowhere else, and that all else is as in a file."""

import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_bundle import BUNDLE, better, every_way, guess, leave, quiz
from test_store import cell_info, new_call

import postgresql_server as server
import steelyard as sy
from steelyard.cli import main
from steelyard.errors import EnvironmentFault, StoreError, StoreFull, UnknownName, UsageError
from steelyard.store import NewScore, Store
from steelyard.store.database import postgresql
from steelyard.types import Score, Sign


@pytest.fixture
def shared(schema):
    return server.address(schema)


def begun(store):
    run = store.create_run(name="r", plan={}, plan_digest="x")
    session = store.begin_session(run.id, {})
    return run, session, store.add_cell(run.id, cell_info())


@pytest.mark.long
def test_a_run_says_the_same_on_a_server_as_in_a_file_and_comes_back_as_it_was(shared, capsys):
    for name in ("before", "two"):
        sy.run([guess, better], [quiz(40)], name=name, store="a.db", tags=["kept"], fresh=True)
        leave("a.db", name)
        assert main(["import", str(BUNDLE), "--store", shared]) == 0
    capsys.readouterr()
    place = "postgresql:///steelyard"
    in_a_file = every_way(capsys, 2, "a.db")
    on_a_server = {way: _elsewhere(said, place) for way, said in every_way(capsys, 2, shared).items()}
    for way, said in in_a_file.items():
        assert on_a_server[way] == _elsewhere(said, "a.db"), way
    for name in ("1", "2"):
        leave(shared, name)
        assert main(["import", str(BUNDLE), "--store", "back.db"]) == 0
    with Store.open("a.db") as a, Store.open("back.db") as b:
        assert [run.name for run in b.runs()] == ["two", "before"]
        for run in a.runs():
            assert b.run(run.id) == run
            assert list(b.records(run.id)) == list(a.records(run.id))


def _elsewhere(said, place):
    return tuple(_elsewhere(part, place) for part in said) if isinstance(said, tuple) else (
        said.replace(place, "STORE") if isinstance(said, str) else said
    )  # fmt: skip


def test_no_password_of_an_address_is_shown_or_kept(schema, capsys):
    secret = "hunter2/%:@ word"
    address = server.address(schema, password=secret)
    sy.run([guess], [quiz(3)], store=address)
    leave(address)
    with Store.open(address) as store:
        assert store.location == "postgresql:///steelyard"
        with pytest.raises(UnknownName):
            store.run("nobody")
    for arguments in (["show"], ["show", "--provenance", "--json"], ["report", "--html", "r.html"], ["cache"]):
        assert main([*arguments, "--store", address]) == 0
    assert main(["runs", "salvage", "--store", address]) == 4
    for wrong in (
        address.replace(f"host={address.split('host=')[1].split('&')[0]}", "host=/nowhere"),
        f"postgresql://me:{secret}@here:port/db",
        address + "&no_such_setting=1",
    ):
        assert main(["show", "--store", wrong]) == 4
    tables = [name for (name,) in server.sql(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")]
    rows = [server.sql(f"SELECT * FROM {table}", schema=schema) for table in tables]
    written = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    for trace in (*capsys.readouterr(), repr(rows), repr(written)):
        assert "hunter2" not in trace
        assert b"hunter2".hex() not in trace


def test_a_store_of_the_first_version_on_servers_is_migrated_and_a_sign_is_as_old_by_any_clock(
    shared, schema, monkeypatch
):
    Store.open(shared).close()
    server.sql("ALTER TABLE sessions DROP COLUMN sign", schema=schema)
    server.sql("ALTER TABLE calls DROP COLUMN reasoned_s", schema=schema)
    server.sql("UPDATE meta SET value = '12' WHERE key = 'schema_version'", schema=schema)
    with Store.open(shared) as store:
        run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
        store.signs.keep(store.begin_session(run.id, {}), Sign(told_s=1.0))
        assert store.progress(run.id).sign == Sign(told_s=1.0)
        late_s = time.time() - 100  # as a machine tells it whose clock is behind the server's
        with monkeypatch.context() as there:
            there.setattr("time.time", lambda: late_s)
            store.signs.keep(1, Sign(told_s=late_s))
        sign = store.progress(run.id).sign
        assert (sign.told_s, sign.is_silent) == (late_s, False)


def test_what_is_not_there_or_not_ours_is_told(shared, schema):
    with pytest.raises(StoreError, match="no runs yet: postgresql:///steelyard does not exist"):
        Store.open(shared, create=False)
    assert not Store.exists(shared)
    server.sql("CREATE TABLE cakes (name text)", schema=schema)
    with pytest.raises(StoreError, match="other tables"):
        Store.open(shared)
    server.sql("DROP TABLE cakes", schema=schema)
    Store.open(shared).close()
    assert Store.exists(shared)
    server.sql("UPDATE meta SET value = '99' WHERE key = 'schema_version'", schema=schema)
    with pytest.raises(StoreError, match="newer Steelyard"):
        Store.open(shared)


def test_a_server_without_its_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "steelyard.store.database.postgresql", raising=False)
    with pytest.raises(EnvironmentFault, match=r"steelyard\[postgresql\]"):
        Store.open("postgresql://me@db/steelyard")


def test_what_is_no_number_is_unknown_and_a_nul_is_replaced(shared):
    with Store.open(shared) as store:
        run, session, cell = begun(store)
        (call,) = store.append_calls([new_call(cell, session, 0, cost_usd=float("nan"), text="a\0b")])
        said = Score(value=float("nan"), answer="a\0b")
        store.append_scores([NewScore(call=call, grader="p", grader_version="1", scores={"accuracy": said})])
        (record,) = store.records(run.id)
        assert record.call.completion.text == "a\0b"
        assert record.scores["accuracy"] == Score(value=None, answer="a\ufffdb")
        assert np.isnan(store.columns(cell).cost_usd).all()


def test_who_may_only_read_reads_and_is_told_what_writing_takes(shared, schema):
    with Store.open(shared) as store:
        run, session, cell = begun(store)
        store.append_calls([new_call(cell, session, 0)])
    server.sql(
        f"DROP ROLE IF EXISTS {schema}_reader",
        f"CREATE ROLE {schema}_reader LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO {schema}_reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_reader",
    )
    with Store.open(server.address(schema, user=f"{schema}_reader"), create=False) as store:
        assert len(list(store.records(run.id))) == 1
        with pytest.raises(StoreError, match=r"cannot write.*GRANT"):
            store.rename(run.id, "mine")


def test_a_run_on_another_host_is_running_as_long_as_its_process_lives(shared, schema):
    with Store.open(shared) as there:
        run, _, _ = begun(there)
        server.sql("UPDATE sessions SET host = 'elsewhere'", schema=schema)
        with Store.open(shared) as here:
            assert here.run("last").status == "running"
            with pytest.raises(UsageError, match="on elsewhere since"):
                here.begin_session(run.id, {})
            server.sql(f"UPDATE sessions SET host = '{socket.gethostname()}'", schema=schema)
            there.end_session(1, {})
            second = there.begin_session(run.id, {})
            server.sql("UPDATE sessions SET host = 'elsewhere'", schema=schema)
            server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND "
                f"objid = {second} AND classid = hashtext('steelyard {schema}')::oid"
            )
            assert here.run("last").status == "interrupted"
            here.begin_session(run.id, {})


def test_a_full_disk_of_the_server_is_one_that_may_have_room_again(shared, schema):
    with Store.open(shared) as store:
        _, session, cell = begun(store)
        server.sql(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$",
            "CREATE TRIGGER full_disk BEFORE INSERT ON calls EXECUTE FUNCTION full_disk()",
            schema=schema,
        )
        with pytest.raises(StoreFull, match="no space left"):
            store.append_calls([new_call(cell, session, 0)])
        server.sql("DROP TRIGGER full_disk ON calls", schema=schema)
        assert store.append_calls([new_call(cell, session, 0)]) == [1]


def test_a_session_that_ends_while_its_lock_is_looked_after_is_not_held_again(shared, monkeypatch):
    with Store.open(shared) as store:
        _, session, _ = begun(store)
        look, ending = postgresql._is_lost, threading.Thread(target=store._database.release, args=(session,))

        def ends_meanwhile(held):
            if ending.ident is None:
                ending.start()
                ending.join(0.3)  # it may have to wait until that was looked at
            return look(held)

        monkeypatch.setattr(postgresql, "_is_lost", ends_meanwhile)
        store._database.check_place()
        ending.join()
        assert not store._database._held


def test_several_that_write_take_turns_and_never_overspend_together(shared):
    with Store.open(shared) as store:
        _, session, cell = begun(store)
        store.budget.set(1.0)
    given, drawn = [], []

    def work(part):
        with Store.open(shared) as own:
            share = own.budget.open_share()
            for place in range(8):
                given.extend(own.append_calls([new_call(cell, session, 100 * part + place)]))
                drawn.append(own.budget.draw(share, 0.07))
                own.create_run(name="n", plan={}, plan_digest="x")

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 25))
    assert sum(drawn) == pytest.approx(1.0)
    with Store.open(shared) as store:
        assert [one.number for one in store.runs()] == list(range(25, 0, -1))


def test_a_server_that_is_gone_is_told_and_found_again(shared, schema):
    with Store.open(shared) as store:
        _, session, cell = begun(store)
        with store._reading() as connection:  # its own, for other tests are served beside it
            of_the_store = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        server.sql(f"SELECT pg_terminate_backend({of_the_store})")
        assert store.append_calls([new_call(cell, session, 0)]) == [1]
    with pytest.raises(StoreError, match="cannot open the store postgresql:///db: "):
        Store.open("postgresql://me:secret@/db?host=/nowhere")

"""A store on a PostgreSQL server: what holds there and nowhere else, and that all else is as in a file."""


import pytest
from test_bundle import BUNDLE, better, every_way, guess, leave, quiz
from test_store import cell_info

import postgresql_server as server
import steelyard as sy
from steelyard.cli import main
from steelyard.store import Store


@pytest.fixture
def schema():
    if missing := server.missing():
        pytest.skip(f"{server.ABSENT}: {missing} is not here")
    return server.new_schema()


@pytest.fixture
def shared(schema):
    return server.address(schema)


def begun(store):
    run = store.create_run(name="r", plan={}, plan_digest="x")
    session = store.begin_session(run.id, {})
    return run, session, store.add_cell(run.id, cell_info())


def test_a_run_says_the_same_on_a_server_as_in_a_file_and_comes_back_as_it_was(shared, capsys):
    for name in ("before", "two"):
        sy.run([guess, better], [quiz(40)], name=name, store="a.db", tags=["kept"], fresh=True)
        leave("a.db", name)
        assert main(["import", str(BUNDLE), "--store", shared]) == 0
    capsys.readouterr()
    place = "postgresql://steelyard@/steelyard"
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

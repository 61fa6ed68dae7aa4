"""Shared by all tests: every test has a store and a working folder of its own, and no key from outside."""

import functools
import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

import lanes
import postgresql_server
import statements
from command import modules_of
from steelyard import cli
from steelyard.store import store
from steelyard.store.database import opening

# Several hundred commands are started here: in each numpy would start a thread for each core, which spins for a while.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Likewise each core of the local model: where cores are shared, it spins for one that does something else.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# Whatever the tests were told to outlive, as what a script starts behind itself is: Ctrl-C is for what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, however long one takes: a busy machine must fail no test.
settings.register_profile("steelyard", deadline=None, derandomize=True)
settings.load_profile("steelyard")

# A command builds its parser anew, though it is the same each time: in a process of many commands once is enough.
cli.build_parser = functools.cache(cli.build_parser)
# As a command sets it for itself: thousands of tests are held here, and garbage is seldom among them.
gc.set_threshold(cli.SELDOM)
statements.share()

DATA = os.environ.get("STEELYARD_DATA")
SERVER = pytest.StashKey[str | None]()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("work")
    monkeypatch.chdir(folder)
    for name in ("OPENAI_API_KEY", "STEELYARD_STORE"):
        monkeypatch.delenv(name, raising=False)
    with modules_of(folder):
        yield


@pytest.fixture
def data_folder():
    """The five benchmarks' data; a test that needs it says so when it is left out."""
    if not DATA:
        pytest.skip("STEELYARD_DATA is not set: the benchmarks' data is not here")
    return Path(DATA).resolve()


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.stash[SERVER] = postgresql_server.make_folder()


def pytest_unconfigure(config):
    if folder := config.stash.get(SERVER, None):
        postgresql_server.end(folder)


def pytest_generate_tests(metafunc):
    """The same test with its stores in files and on a PostgreSQL server; what the mark is given marks the latter."""
    if marker := metafunc.definition.get_closest_marker("anywhere"):
        lane = [getattr(pytest.mark, name) for name in marker.args]
        metafunc.parametrize("_where", ["file", pytest.param("server", marks=lane)], indirect=True)


@pytest.fixture(autouse=True)
def _where(request, monkeypatch):
    """Where stores lie: on a server, each name that is opened is a schema of its own."""
    if getattr(request, "param", "file") == "file":
        return
    _need_a_server()
    known = {}

    def on_the_server(place):
        name = str(place or opening.DEFAULT)
        if not name.startswith("postgresql:"):
            if name not in known:
                known[name] = postgresql_server.address(postgresql_server.new_schema())
            name = known[name]
        return opening.database_at(name)

    monkeypatch.setattr(store, "database_at", on_the_server)


@pytest.fixture
def schema():
    """A schema of its own on a PostgreSQL server."""
    _need_a_server()
    return postgresql_server.new_schema()


def _need_a_server():
    if missing := postgresql_server.missing():
        pytest.skip(f"{postgresql_server.ABSENT}: {missing} is not here")


def pytest_ignore_collect(collection_path, config):
    """The longer lane imports no file without a long test."""
    return lanes.is_needless(collection_path, config.option.markexpr) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """What takes longest and cannot be divided begins first: the README's commands, one after another."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")
    config.stash[lanes.UNSEEN] = lanes.unseen(items)


def pytest_terminal_summary(terminalreporter):
    left_out = [
        report for report in terminalreporter.stats.get("skipped", ()) if "STEELYARD_DATA" in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.write_line(
            f"{len(left_out)} tests need the benchmarks' data and were left out: set STEELYARD_DATA to run them"
        )
    without = [
        report
        for report in terminalreporter.stats.get("skipped", ())
        if postgresql_server.ABSENT in str(report.longrepr)
    ]
    if without:
        terminalreporter.write_line(f"{len(without)} tests were left out: {without[0].longrepr[-1]}")

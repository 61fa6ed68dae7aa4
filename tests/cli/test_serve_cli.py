"""``steelyard serve`` as a user starts it: a process, an address with a token, Ctrl-C."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from steelyard.cli import main
from steelyard.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s.db") as opened:
        opened.create_run(name="seen", plan={}, plan_digest="0" * 64)
    return tmp_path / "s.db"


def started(store, *arguments, **environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "steelyard", "serve", "--port", "0", "--store", str(store), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    return process, process.stdout.readline()


def ended(process):
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def test_the_printed_address_opens_it_and_ctrl_c_ends_it(store):
    process, line = started(store)
    port, token = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S{32,})", line).groups()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    connection.request("GET", f"/?token={token}")
    cookie = connection.getresponse().headers["Set-Cookie"]
    connection.close()
    assert cookie.startswith(f"steelyard_{port}=")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    connection.request("GET", "/", headers={"Cookie": cookie.partition(";")[0]})
    assert b"seen" in connection.getresponse().read()
    connection.close()
    code, errors = ended(process)
    assert code in (0, 130)
    assert "Traceback" not in errors


def test_a_token_of_ones_own_is_kept(store):
    process, line = started(store, STEELYARD_SERVE_TOKEN="a-token-of-the-tests")
    assert "token=a-token-of-the-tests" in line
    ended(process)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0", "--no-token"], "--no-token"),
        (["--host", "0.0.0.0"], "--allow-host"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--port", "70000"], "cannot listen on 127.0.0.1:70000"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
    ],
)
def test_where_it_cannot_listen_is_said(store, capsys, arguments, words):
    assert main(["serve", "--store", str(store), *arguments]) in (2, 4)
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(store, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert main(["serve", "--store", str(store), "--port", str(other.getsockname()[1])]) == 4
    assert "--port 0" in capsys.readouterr().err


def test_without_a_store_it_says_how_to_get_one(tmp_path, capsys):
    assert main(["serve", "--store", str(tmp_path / "none.db")]) == 4
    assert "steelyard run" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_what_is_not_installed_is_named(store, capsys, monkeypatch, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["serve", "--store", str(store), "--port", "0"]) == 4
    assert "pip install 'steelyard[serve]'" in capsys.readouterr().err

"""A store that cannot be where it was put: told in words, before anything is sent."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import steelyard as sy
from mounts import UNSHARE, need_mounts
from server import say, serving
from steelyard.cli import main
from steelyard.engine import writer
from steelyard.errors import StoreError
from steelyard.store import Store
from steelyard.store.database import places


@pytest.fixture
def server():
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(5)))
    with serving(say("x")) as found:
        yield found


def run(server, store, *before):
    command = [
        sys.executable,
        "-m",
        "steelyard",
        "run",
        "q.jsonl",
        "-m",
        "openai/m",
        "--base-url",
        server.url,
        "--quiet",
    ]
    return subprocess.run([*before, *command, "--store", store], capture_output=True, text=True, timeout=60)


def refused_before_any_call(server, code, told):
    assert code == 4, told
    assert "steelyard: cannot" in told
    assert "Traceback" not in told
    assert server.requests == []


@pytest.mark.parametrize(
    "store",
    [
        "n" * 300 + ".db",
        "/".join(["folder"] * 900) + "/s.db",
        "folder",
        "file/s.db",
        "/proc/s.db",
    ],
    ids=["name too long", "path too long", "a folder", "below a file", "where nothing can be made"],
)
def test_a_store_that_cannot_be_made_is_told_before_the_first_paid_call(server, store, capsys):
    Path("folder").mkdir()
    Path("file").touch()
    code = main(["run", "q.jsonl", "-m", "openai/m", "--base-url", server.url, "--quiet", "--store", store])
    refused_before_any_call(server, code, capsys.readouterr().err)


def test_a_name_that_is_no_text_is_a_name_also_on_a_terminal_that_cannot_show_it(server, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    name = os.fsdecode(b"r\xff\xfe.db")
    done = run(server, name)
    assert done.returncode == 0, done.stderr
    assert "Records: r\\udcff\\udcfe.db" in done.stdout
    assert Path(name).exists()
    assert len(server.requests) == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_must_not_be_written_to_is_told_before_the_first_paid_call(server):
    Path("closed").mkdir(mode=0o500)
    done = run(server, "closed/s.db")
    refused_before_any_call(server, done.returncode, done.stderr)


@pytest.mark.parametrize("is_there", [False, True], ids=["a new store", "a store that is there"])
def test_a_read_only_file_system_is_told_before_the_first_paid_call(server, tmp_path, is_there):
    need_mounts(tmp_path)
    store = tmp_path / "s.db"
    if is_there:
        assert run(server, str(store)).returncode == 0
        server.requests.clear()
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$1" && shift && exec "$@"'
    done = run(server, str(store), *UNSHARE, "sh", "-c", read_only, str(tmp_path), os.getcwd())
    refused_before_any_call(server, done.returncode, done.stderr)


@pytest.mark.parametrize("place", ["s.db", "."], ids=["the file", "its folder"])
def test_a_store_that_may_not_be_written_is_told_before_the_first_paid_call_and_not_waited_for(
    server, tmp_path, monkeypatch, capsys, place
):
    store, read_only, may = tmp_path / "s.db", tmp_path / place, os.access
    Store.open(store).close()
    monkeypatch.setattr(os, "access", lambda path, mode: path != read_only and may(path, mode))  # root may all
    words = ["run", "q.jsonl", "-m", "openai/m", "--base-url", server.url, "--quiet", "--store", str(store)]
    code, told = main(words), capsys.readouterr().err
    refused_before_any_call(server, code, told)
    assert f"{read_only} is read-only. Try: chmod u+w {read_only}, or --store FILE" in told


def test_a_disk_that_is_full_from_the_start_is_told_before_the_first_paid_call(server, tmp_path):
    need_mounts(tmp_path)
    full = 'mount -t tmpfs -o size=64k none "$0" && cd "$1" && shift && exec "$@"'
    done = run(server, str(tmp_path / "s.db"), *UNSHARE, "sh", "-c", full, str(tmp_path), os.getcwd())
    refused_before_any_call(server, done.returncode, done.stderr)


def test_a_store_on_a_network_file_system_is_warned_of_when_a_run_begins(tmp_path, monkeypatch, capsys):
    shared = tmp_path / "team share"
    shared.mkdir()
    mounts = tmp_path / "mounts"
    escaped = str(shared).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/export {escaped} nfs4 rw,vers=4.2 0 0\ntmpfs /run tmpfs rw 0 0\n"
    )
    monkeypatch.setattr(places, "MOUNTS", mounts)
    for store, is_warned in ((shared / "s.db", True), (tmp_path / "s.db", False)):
        assert main(["run", "starter", "-m", "baseline/random", "--limit", "3", "--store", str(store)]) == 0
        assert ("is on a network file system (nfs4)" in capsys.readouterr().err) == is_warned


@pytest.mark.parametrize("is_fast", [False, True], ids=["written by a thread", "written by a process"])
def test_a_store_that_is_removed_while_a_run_writes_to_it_ends_the_run_and_is_rescued(is_fast, monkeypatch):
    monkeypatch.setattr(writer, "PACE_OF_CALLS", 20)
    monkeypatch.setattr(writer, "LEAST_TO_COME", 0)
    monkeypatch.setattr(writer, "FAST_A_SECOND", 1.0 if is_fast else 1e9)
    Path("many.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(999)))
    asked = []

    def answer(request):
        asked.append(request)
        if len(asked) == 500:
            shutil.rmtree(".steelyard")
        return "x"

    with pytest.raises(sy.SteelyardError, match=r"was removed, or another file put in its place\. .* --store "):
        sy.run([sy.Scripted(answer, delay_s=0.01, concurrency=8)], ["many.jsonl"])
    assert len(asked) < 700
    (rescued,) = Path(".steelyard").iterdir()
    assert rescued.stat().st_mode & 0o777 == 0o600
    with Store.open(rescued) as store:
        (cell,) = store.cells(store.run("last").id)
        assert 400 < len(store.completed(cell.id)) <= 500


def test_a_store_that_is_replaced_is_not_written_to():
    with Store.open("s.db") as store:
        store.create_run(name="a", plan={}, plan_digest="d")
        Path("s.db").rename("moved.db")
        with Store.open("s.db"):
            pass
        with pytest.raises(StoreError, match="another file put in its place"):
            store.create_run(name="b", plan={}, plan_digest="d")
    with Store.open("s.db") as other:
        assert other.runs() == []

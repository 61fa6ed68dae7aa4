"""Nothing that judged code does reaches the machine: every attack on every back end that holds here."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from sandbox.attacks import ATTACKS, ENDLESS, TOOLS
from steelyard.sandbox import Limits, Program

VICTIM = """
import ctypes, sys
held = ctypes.create_string_buffer(b"hush hush")
print(ctypes.addressof(held), flush=True)
sys.stdin.read()
"""
PLACES = ("/tmp", "/var/tmp", "/dev/shm")


class Bait:
    """Files, sockets and a process of the test's own, and what has become of them."""

    def __init__(self, folder):
        self.folder = folder
        self.name = f"steelyard-{uuid.uuid4().hex}"
        (folder / ".aws").mkdir()
        self.credentials = folder / ".aws" / "credentials"
        self.credentials.write_text("key = hush")
        (folder / "doomed").write_text("still here")
        self.sockets = {
            "tcp": self._bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": self._bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "path": self._bound(socket.AF_UNIX, socket.SOCK_STREAM, f"{folder}/socket"),
            "abstract": self._bound(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.name}"),
            "datagrams": self._bound(socket.AF_UNIX, socket.SOCK_DGRAM, f"{folder}/datagrams"),
        }
        self.victim = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", VICTIM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"API_KEY": "hush"},
            start_new_session=True,
        )
        self.address = int(self.victim.stdout.readline())
        self.before = self._state()

    def _bound(self, family, kind, address):
        bound = socket.socket(family, kind)
        bound.bind(address)
        if kind == socket.SOCK_STREAM:
            bound.listen()
        bound.settimeout(0)
        return bound

    def told(self):
        return {
            "folder": str(self.folder),
            "name": self.name,
            "abstract": self.name,
            "tcp": self.sockets["tcp"].getsockname()[1],
            "udp": self.sockets["udp"].getsockname()[1],
            "victim": self.victim.pid,
            "group": -self.victim.pid,
            "address": self.address,
        }

    def _state(self):
        about = self.credentials.stat()
        files = sorted(str(path) for path in self.folder.rglob("*"))
        files += [place for place in PLACES if os.path.exists(f"{place}/{self.name}")]
        limits = Path(f"/proc/{self.victim.pid}/limits").read_text() if self.victim.poll() is None else None
        status = Path(f"/proc/{self.victim.pid}/stat").read_text().split()[2] if limits else None
        return files, stat.S_IMODE(about.st_mode), about.st_mtime_ns, limits, status in ("S", "R", "D")

    def is_untouched(self):
        return self._state() == self.before and not any(map(self._was_called, self.sockets.values()))

    def _was_called(self, bound):
        try:
            if bound.type == socket.SOCK_STREAM:
                bound.accept()[0].close()
            else:
                bound.recv(100)
        except BlockingIOError:
            return False
        return True

    def close(self):
        for bound in self.sockets.values():
            bound.close()
        self.victim.kill()
        self.victim.communicate()
        for place in PLACES:
            with contextlib.suppress(OSError):
                os.rmdir(f"{place}/{self.name}")


@pytest.fixture
def bait(tmp_path_factory):
    laid = Bait(tmp_path_factory.mktemp("bait"))
    yield laid
    laid.close()


def tried(sandbox, attack, bait):
    program = Program(code=attack.code, test=f"assert attack({bait.told()!r}) == 'done'", entry_point="attack")
    return sandbox.judge(program, Limits(wall_s=attack.wall_s))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_does_not_succeed_and_leaves_no_trace(box, bait, attack):
    verdict = tried(box, attack, bait)
    assert verdict.outcome in ("failed", "crashed"), verdict
    assert bait.is_untouched()


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.works_unprotected], ids=lambda attack: attack.name
)
def test_the_same_attack_succeeds_without_a_sandbox(bare, bait, attack):
    assert tried(bare, attack, bait).passed


@pytest.mark.parametrize("name", ENDLESS)
def test_code_without_an_end_is_ended(box, name):
    body = "\n".join(f"    {line}" for line in ENDLESS[name].split("\n"))
    started = time.monotonic()
    code = f"{TOOLS}\ndef attack():\n{body}\n"
    verdict = box.judge(Program(code=code, test="attack()", entry_point="attack"), Limits(wall_s=0.25))
    assert verdict.outcome == "timed_out"
    assert time.monotonic() - started < 30
    assert_harmless_passes(box)


def test_processor_time_is_capped_whatever_the_clock_says(box):
    """Four threads that compute without the interpreter's lock use four times the time."""
    code = (
        "import hashlib, threading\n"
        "def attack():\n"
        "    work = lambda: hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10 ** 9)\n"
        "    for _ in range(4): threading.Thread(target=work, daemon=True).start()\n"
        "    work()\n"
    )
    verdict = box.judge(Program(code=code, test="attack()", entry_point="attack"), Limits(wall_s=0.6))
    assert verdict.outcome == "timed_out"
    assert verdict.cpu_s < 3


def assert_harmless_passes(sandbox):
    assert sandbox.judge(Program(code="def one(): return 1", test="assert one() == 1", entry_point="one")).passed


def test_nothing_of_a_sandbox_outlives_its_process(box):
    script = (
        "from steelyard import sandbox\n"
        "sandbox.judge(sandbox.Program(code='def f(): pass', test='f()', entry_point='f'))\n"
        "import os, signal\n"
        "print(sandbox._choice.sandbox.pids()[0], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while alive(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(done.stdout))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False

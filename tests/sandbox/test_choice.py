"""A sandbox is chosen by what it holds back, not by its name; without one, code is not run unless a flag says so."""

import platform
import re
import sys
from pathlib import Path

import msgspec
import pytest

from steelyard import sandbox
from steelyard.errors import EnvironmentFault
from steelyard.sandbox import Program, backends
from steelyard.sandbox.inside import filters, syscalls
from steelyard.sandbox.probe import self_test

RIGHT = Program(code="def f(): return 1", test="assert f() == 1", entry_point="f")


@pytest.fixture(autouse=True)
def _choose_anew():
    sandbox.allow_unsafe(False)
    yield
    sandbox.allow_unsafe(False)


def test_a_backend_that_lets_code_through_is_found_out():
    """The unprotected zygote, dressed as a sandbox: the self-test names what its code could do."""
    pretender = msgspec.structs.replace(backends.unsafe(), name="pretender")
    # "limits" would skip the attempts, so the pretender claims to confine and does not
    finding = self_test(pretender, expect_confinement=True)
    assert finding.backend is None
    for deed in ("read a file", "list a folder", "connect to a port", "connect to a unix socket", "start a process"):
        assert deed in finding.problem


def test_a_backend_that_cannot_start_is_not_used():
    gone = msgspec.structs.replace(backends.unsafe(), command=("/nowhere/python",))
    assert "cannot be started" in self_test(gone).problem
    silent = msgspec.structs.replace(backends.unsafe(), command=(sys.executable, "-c", "pass"))
    assert "ended" in self_test(silent).problem


def on_a_kernel_without_landlock(name):
    """The back end of that name, with a zygote that is told what such a kernel would tell it."""
    recipe = next((recipe for recipe in backends.recipes() if recipe.name == name), None)
    if recipe is None:
        pytest.skip(f"{name}: its parts are not on this machine")
    without = (
        "from steelyard.sandbox.inside import confinement; confinement.landlock_version = lambda: 0\nzygote.main()"
    )
    command = tuple(word.replace("zygote.main()", without) for word in recipe.command)
    return msgspec.structs.replace(recipe, command=command)


def test_landlock_that_is_not_there_is_a_fault_and_code_is_not_run():
    """The child finds no ruleset and refuses to go on."""
    assert "no landlock" in self_test(on_a_kernel_without_landlock("linux-landlock")).problem


def test_bubblewrap_holds_also_where_the_kernel_has_no_landlock():
    recipe = on_a_kernel_without_landlock("linux-strong")
    if self_test(next(one for one in backends.recipes() if one.name == "linux-strong")).backend is None:
        pytest.skip("linux-strong does not hold on this machine")
    finding = self_test(recipe)
    assert finding.problem is None
    assert not finding.backend.has_landlock


def test_where_nothing_holds_it_is_refused_with_the_missing_piece_and_a_command(monkeypatch):
    recipe = msgspec.structs.replace(backends.unsafe(), name="linux-landlock", command=("/nowhere",), needs="Try: it")
    monkeypatch.setattr(backends, "recipes", lambda: [recipe])
    with pytest.raises(EnvironmentFault, match=r"linux-landlock: it cannot be started.*Try: it"):
        sandbox.choose()
    with pytest.raises(EnvironmentFault):
        sandbox.judge(RIGHT)
    assert sandbox.chosen() is None
    monkeypatch.setattr(backends, "recipes", list)
    with pytest.raises(EnvironmentFault, match="Linux, or a container engine"):
        sandbox.choose()


@pytest.mark.parametrize("recipe", backends.recipes(), ids=lambda recipe: recipe.name)
def test_each_backend_says_what_to_do_where_it_does_not_hold(recipe):
    assert re.search(r"Try: \S+", recipe.needs)


def test_only_a_call_makes_it_unsafe_and_no_environment_variable(monkeypatch):
    for name in ("STEELYARD_UNSAFE_CODE_EXECUTION", "HF_ALLOW_CODE_EVAL", "UNSAFE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(backends, "recipes", list)
    with pytest.raises(EnvironmentFault):
        sandbox.choose()
    assert sandbox.choose(unsafe=True).is_unsafe
    with pytest.raises(EnvironmentFault):
        sandbox.choose()
    sandbox.allow_unsafe()
    assert sandbox.judge(RIGHT).passed
    chosen = sandbox.chosen()
    assert (chosen.name, chosen.is_unsafe) == ("unsafe", True)
    assert "the verdict cannot be forged" not in chosen.guarantees
    assert "no network" not in chosen.guarantees


def test_what_was_chosen_is_a_value_for_the_record(box):
    backend = sandbox.choose()
    assert sandbox.chosen() is backend
    assert not backend.is_unsafe
    assert len(backend.guarantees) == 11
    assert msgspec.json.decode(msgspec.json.encode(backend), type=sandbox.Backend) == backend


def headers():
    """The kernel's own numbers, where its headers are installed."""
    x86 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    generic = Path("/usr/include/asm-generic/unistd.h")
    found = {}
    if x86.exists():
        found["x86_64"] = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", x86.read_text()))
    if generic.exists():
        text = generic.read_text()
        found["aarch64"] = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
        found["aarch64"]["newfstatat"] = found["aarch64"]["fstatat"]  # its name on 64 bits
    return found


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_system_call_numbers_are_the_kernel_s(machine):
    known = headers().get(machine)
    if known is None:
        pytest.skip("no kernel headers here")
    ours = syscalls.table(syscalls.ALWAYS[machine]) | syscalls.table(syscalls.ASKED[machine])
    assert {name: str(number) for name, number in ours.items()} == {name: known.get(name) for name in ours}
    assert len(set(ours.values())) == len(ours)


def run_filter(machine, number, arguments=(), arch=None):
    """The classic BPF program, interpreted: what it answers to one system call."""
    import struct

    code = filters.program(machine, own_pid=77)
    steps = list(struct.iter_unpack("HBBI", code))
    arch = syscalls.AUDIT_ARCH[machine] if arch is None else arch
    call = struct.pack("IIQ6Q", number, arch, 0, *[*arguments, *[0] * (6 - len(arguments))])
    at, held = 0, 0
    while True:
        kind, yes, no, k = steps[at]
        at += 1
        match kind:
            case filters.LOAD:
                held = struct.unpack_from("I", call, k)[0]
            case filters.AND:
                held &= k
            case filters.EQUAL:
                at += yes if held == k else no
            case filters.AT_LEAST:
                at += yes if held >= k else no
            case filters.ANY_BIT:
                at += yes if held & k else no
            case filters.RETURN:
                return k


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_through_what_it_lists_and_nothing_else(machine):
    always = set(syscalls.table(syscalls.ALWAYS[machine]).values())
    asked = syscalls.table(syscalls.ASKED[machine])
    for number in range(600):
        if number in asked.values():
            continue
        assert (run_filter(machine, number) == filters.ALLOW) == (number in always), number
    assert run_filter(machine, 0, arch=0x40000003) == filters.KILL  # 32-bit calls on a 64-bit kernel
    assert run_filter(machine, 0x40000001) == filters.KILL  # x32

    def allows(name, *arguments):
        return run_filter(machine, asked[name], arguments) == filters.ALLOW

    assert allows("clone", 0x3D0F00)
    assert not allows("clone", 17)
    assert allows("tgkill", 77, 78, 9)
    assert not allows("tgkill", 78, 78, 9)
    assert not allows("kill", 0xFFFFFFFF, 9)
    assert not allows("kill", 0, 9)
    assert allows("socketpair", 1, 1 | 0o2000000, 0)
    assert not allows("socketpair", 1, 2, 0)
    assert not allows("socketpair", 2, 1, 0)
    assert allows("sendto", 3, 0, 1, 0, 0, 0)
    assert not allows("sendto", 3, 0, 1, 0, 0x1000, 16)
    assert not allows("sendto", 3, 0, 1, 0, 1 << 32, 16)
    assert allows("openat", 0xFFFFFF9C, 0, 0o2000000)
    for flags in (1, 2, 0o100, 0o1000, 0o20200002):
        assert not allows("openat", 0xFFFFFF9C, 0, flags)
    assert allows("ioctl", 0, 0x5401)
    assert not allows("ioctl", 0, 0x5412)
    assert not allows("fcntl", 0, 8)
    assert not allows("prctl", 1, 0)
    assert allows("prlimit64", 0)
    assert not allows("prlimit64", 1)


def test_this_machine_has_a_table():
    if sys.platform == "linux":
        assert platform.machine() in syscalls.ALWAYS

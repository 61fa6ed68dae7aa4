"""What a child takes from itself before it runs foreign code: limits, privileges, files, system calls.

Each step is checked, and a step that fails ends the child: code never runs half confined. ``ctypes`` alone is needed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from dataclasses import dataclass
from typing import Literal

from steelyard.sandbox.inside import filters

Level = Literal["landlock", "seccomp", "limits"]

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
PATH_BENEATH, ASK_VERSION = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
NETWORK_RIGHTS = SCOPES = 0b11
O_PATH = 0o10000000

_libc = ctypes.CDLL(None, use_errno=True)


class ConfinementFailed(Exception):
    """A step that the sandbox rests on was refused by the kernel."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The resource limits of one child."""

    cpu_s: int
    memory_bytes: int


def drop_privileges() -> None:
    """Give up every capability, also those of root, and the way back to them."""
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, required=False)
    for capability in range(LAST_CAPABILITY + 1):
        _prctl(PR_CAPBSET_DROP, capability, required=False)  # refused to who has none to drop
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _syscall("capset", CAPSET[platform.machine()], header, bytes(24))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends."""
    _prctl(PR_SET_PDEATHSIG, 9)


def landlock_version() -> int:
    """The kernel's landlock ABI; 0 where it has none."""
    version: int = _libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    return max(0, version)


def readable_only(roots: list[str]) -> int:
    """A landlock ruleset (its descriptor): reading beneath ``roots`` is allowed, all else refused."""
    version = landlock_version()
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    fields = [rights, *([NETWORK_RIGHTS] if version >= 4 else []), *([SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    size = ctypes.c_size_t(len(attributes))
    ruleset = _syscall("landlock_create_ruleset", LANDLOCK_CREATE_RULESET, attributes, size, 0)
    for root in roots:
        folder = os.open(root, O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", READ_FILE | READ_DIR, folder)
        _syscall("landlock_add_rule", LANDLOCK_ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
        os.close(folder)
    return ruleset


def limit(ceilings: Ceilings) -> None:
    """Cap time, memory, descriptors; no file grows, no core is dumped."""
    wanted = {
        resource.RLIMIT_CPU: ceilings.cpu_s,
        resource.RLIMIT_AS: ceilings.memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for name, value in wanted.items():
        hard = resource.getrlimit(name)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (most, most))


def confine(level: Level, ceilings: Ceilings, ruleset: int | None) -> None:
    """Take everything from this process that ``level`` says. There is no way back."""
    limit(ceilings)
    if level == "limits":
        return
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if ruleset is not None:
        _syscall("landlock_restrict_self", LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
    elif level == "landlock":
        raise ConfinementFailed("this kernel has no landlock")
    code = filters.program(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    _prctl(PR_SET_SECCOMP, 2, program)


def _prctl(option: int, argument: int, pointer: bytes | int = 0, *, required: bool = True) -> None:
    third = pointer if isinstance(pointer, bytes) else ctypes.c_ulong(pointer)
    failed = _libc.prctl(option, ctypes.c_ulong(argument), third, ctypes.c_ulong(0), ctypes.c_ulong(0))
    if failed and required:
        raise ConfinementFailed(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def _syscall(name: str, number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise ConfinementFailed(f"{name}: {os.strerror(ctypes.get_errno())}")
    return result

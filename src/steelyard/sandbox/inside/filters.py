"""The seccomp filter, as the bytes of a classic BPF program.

Where a call is allowed only for some arguments, the rule says for which: threads but no processes, signals to itself
alone, pairs of stream sockets but no address, descriptors but no owner of their signals, files for reading.
"""

from __future__ import annotations

import errno
import struct

from steelyard.sandbox.inside.syscalls import ALWAYS, ASKED, AUDIT_ARCH, NEWER_THAN_FALLBACK, X32_BIT, table

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN, AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCH, ARGUMENTS = 0, 4, 16

CLONE_THREAD = 0x00010000
AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK = 1, 1, 0xF
NOT_FOR_READING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, __O_TMPFILE
TERMINAL_AND_FLAGS = (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)  # TCGETS, FIONBIO, FIONREAD, FIONCLEX, FIOCLEX
DESCRIPTOR_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)  # no F_SETOWN, F_SETSIG, F_NOTIFY, F_SETPIPE_SZ
THREAD_NAMES = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA

Step = tuple[int, int, int, int]


def program(machine: str, own_pid: int) -> bytes:
    """The filter for this machine and the process that will install it."""
    always, asked = table(ALWAYS[machine]), table(ASKED[machine])
    steps: list[Step] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL),
    ]
    for number in always.values():
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    for name, rule in _rules(own_pid).items():
        if name in asked:
            steps += [(EQUAL, 0, len(rule), asked[name]), *rule]
    steps += [(AT_LEAST, 0, 1, NEWER_THAN_FALLBACK), _refuse(errno.ENOSYS), _refuse(errno.EPERM)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _rules(own_pid: int) -> dict[str, list[Step]]:
    to_itself = _one_of(0, (own_pid,))
    about_itself = _one_of(0, (0, own_pid))
    return {
        "clone": [_load(0), (ANY_BIT, 0, 1, CLONE_THREAD), (RETURN, 0, 0, ALLOW), _refuse(errno.EPERM)],
        "kill": to_itself,
        "tgkill": to_itself,
        "getpgid": about_itself,
        "getsid": about_itself,
        "sched_getaffinity": about_itself,
        "prlimit64": about_itself,
        "ioctl": _one_of(1, TERMINAL_AND_FLAGS),
        "fcntl": _one_of(1, DESCRIPTOR_COMMANDS),
        "prctl": _one_of(0, THREAD_NAMES),
        "open": _only_for_reading(1),
        "openat": _only_for_reading(2),
        "socketpair": [
            _load(0),
            (EQUAL, 0, 4, AF_UNIX),
            _load(1),
            (AND, 0, 0, SOCK_TYPE_MASK),
            (EQUAL, 0, 1, SOCK_STREAM),
            (RETURN, 0, 0, ALLOW),
            _refuse(errno.EPERM),
        ],
        # With no address it is send(), by which an event loop wakes itself.
        "sendto": [
            _load(4),
            (EQUAL, 0, 3, 0),
            _load(4, upper=True),
            (EQUAL, 0, 1, 0),
            (RETURN, 0, 0, ALLOW),
            _refuse(errno.EPERM),
        ],
    }


def _one_of(argument: int, values: tuple[int, ...]) -> list[Step]:
    steps: list[Step] = [_load(argument)]
    for value in values:
        steps += [(EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return [*steps, _refuse(errno.EPERM)]


def _only_for_reading(argument: int) -> list[Step]:
    return [_load(argument), (ANY_BIT, 1, 0, NOT_FOR_READING), (RETURN, 0, 0, ALLOW), _refuse(errno.EACCES)]


def _load(argument: int, *, upper: bool = False) -> Step:
    return (LOAD, 0, 0, ARGUMENTS + 8 * argument + 4 * upper)


def _refuse(code: int) -> Step:
    return (RETURN, 0, 0, REFUSE | code)

"""A verdict is about what the code computes: no trick makes a wrong answer right, no oddity breaks the sandbox."""

import pytest

from steelyard.sandbox import Limits, Program

QUICK = Limits(wall_s=1.0)


def judged(sandbox, code, test="assert f(2) == 4", entry_point="f", limits=QUICK, context=""):
    return sandbox.judge(Program(code=code, test=test, entry_point=entry_point, context=context), limits)


CHEATS = {
    "forged_verdict_on_every_descriptor": """
import os
for fd in range(3, 64):
    for message in (b'["passed", ""]', b'T', b'D', b'\\x00\\x00\\x00\\x0e["passed", ""]'):
        try: os.write(fd, message)
        except OSError: pass
def f(x): return 0
""",
    "equal_to_everything": """
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(x): return Always()
""",
    "an_int_that_lies": """
class Liar(int):
    def __eq__(self, other): return True
    def __repr__(self): return '4'
    def __index__(self): return 4
    def __str__(self): return '4'
def f(x): return Liar(0)
""",
    "a_list_that_lies": """
class Liar(list):
    def __eq__(self, other): return True
def f(x): return Liar([1])
""",
    "a_class_that_claims_to_be_int": """
class Liar:
    __class__ = int
    def __eq__(self, other): return True
def f(x): return Liar()
""",
    "leaving_without_a_word": "import os\nos._exit(0)\ndef f(x): return 4",
    "leaving_when_called": "import os\ndef f(x): os._exit(0)",
    "sys_exit_when_defined": "import sys\nsys.exit(0)\ndef f(x): return 4",
    "sys_exit_when_called": "import sys\ndef f(x): sys.exit(0)",
    "frame_walking": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for name, value in list(frame.f_locals.items()) + list(frame.f_globals.items()):
            if isinstance(value, str) and 'assert' + ' f(' in value: return 4
            if name in ('test', 'context', 'expected', 'check'): return value
        frame = frame.f_back
    return 0
""",
    "patched_assertion_error": """
import builtins
class Quiet(Exception): pass
builtins.AssertionError = Quiet
AssertionError = Quiet
def f(x): return 0
""",
    "patched_everything": """
import builtins, json, os, sys
sys.excepthook = lambda *a: None
builtins.__build_class__ = None
builtins.exec = builtins.compile = builtins.isinstance = lambda *a, **k: True
json.dumps = lambda *a, **k: '["passed", ""]'
sys.settrace(lambda *a: None)
def f(x): return 0
""",
    "patched_transport": """
from steelyard.sandbox.inside import candidate, checker, frames, literals
checker.judge = lambda *a: ('passed', '')
literals.encode = candidate.encode = lambda value: b"__import__('os')"
def f(x): return 0
""",
    "a_call_as_a_literal": """
from steelyard.sandbox.inside import candidate
candidate.encode = lambda value: b"(lambda: 4)()"
def f(x): return 0
""",
    "another_kind_of_reply": """
from steelyard.sandbox.inside import candidate
candidate.VALUE = b'P'
def f(x): return 4
""",
    "a_generator_for_a_list": "def f(x): yield 4",
    "base_exception_when_called": "def f(x): raise BaseException('passed')",
    "nothing_at_all": "",
    "only_another_function": "def g(x): return 4",
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_does_not_pass(box, name):
    assert judged(box, CHEATS[name]).outcome in ("failed", "crashed")


def test_the_test_itself_is_nowhere_in_the_code_s_process(box):
    """Neither this test nor an earlier one of the same sandbox: it would be an answer sheet."""
    secret = "answer_sheet_" + "4711"
    honest = "def f(x): return x * x"
    judged(box, honest, test=f"{secret} = 4\nassert f(2) == {secret}")
    search = """
import gc, ctypes
def f(x):
    needle = 'answer_sheet_' + str(4700 + 11)
    def texts(value, depth=0):
        if isinstance(value, str): yield value
        elif isinstance(value, bytes): yield value.decode('latin-1')
        elif depth < 3 and isinstance(value, (list, tuple, dict, set)):
            for item in (value.values() if isinstance(value, dict) else value): yield from texts(item, depth + 1)
    gc.unfreeze()
    return any(needle in text for thing in gc.get_objects() for text in texts(thing) if text != needle)
"""
    verdict = judged(box, search, test=f"{secret} = 1\nassert f(2) is False", limits=Limits(wall_s=10.0))
    assert verdict.passed, verdict


ODD_AND_RIGHT = {
    "a_thread": (
        "import threading\ndef f(x):\n    out = []\n    t = threading.Thread(target=lambda: out.append(x * x))\n"
        "    t.start(); t.join()\n    return out[0]"
    ),
    "an_event_loop": (
        "import asyncio\nasync def g(x):\n    await asyncio.sleep(0.01)\n"
        "    return await asyncio.to_thread(lambda: x * x)\ndef f(x): return asyncio.run(g(x))"
    ),
    "printing": "def f(x):\n    print('x' * 100000)\n    return x * x",
    "standard_library": "import decimal, hashlib, sqlite3, xml.dom, csv\ndef f(x): return int(decimal.Decimal(x) ** 2)",
    "an_unknown_letter": "# \u00e4\ndef f(\u00e4): return \u00e4 * \u00e4",
    "a_dataclass": "import dataclasses\n@dataclasses.dataclass\nclass P:\n    v: int\ndef f(x): return P(x * x).v",
    "a_subclass_that_is_honest": "import enum\nclass E(enum.IntEnum):\n    FOUR = 4\ndef f(x): return E.FOUR",
    "its_own_warning": "import warnings\ndef f(x):\n    warnings.warn('careful')\n    return x * x",
    "a_timer": "import signal\ndef f(x):\n    signal.setitimer(signal.ITIMER_REAL, 10)\n    return x * x",
    "recursion_within_reason": "def g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f(x): return g(900) - 896",
    "randomness": "import random, secrets\ndef f(x): return x * x + 0 * random.randint(1, 6) * secrets.randbelow(3)",
}
ODD_AND_WRONG = {
    "deep_recursion": ("def f(x): return f(x + 1)", "RecursionError"),
    "recursion_without_a_limit": ("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return f(x)", None),
    "a_segmentation_fault": ("import ctypes\ndef f(x): ctypes.string_at(0)", "SIGSEGV"),
    "an_abort": ("import os\ndef f(x): os.abort()", "SIGABRT"),
    "many_threads": (
        "import threading, time\ndef f(x):\n    for _ in range(1000):\n"
        "        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
        None,
    ),
    "many_descriptors": ("import os\ndef f(x):\n    while True: os.pipe()", "Too many open files"),
    "ten_gigabytes": ("def f(x): return bytes(10 ** 10)", "MemoryError"),
    "nested_parentheses": ("def f(x): return " + "(" * 100_000 + "4" + ")" * 100_000, "cannot be run"),
    "a_null_byte": ("def f(x): return 4\0", "cannot be run"),
    "a_syntax_error": ("def f(x) return 4", "SyntaxError"),
    "a_large_answer": ("def f(x): return [0] * 10 ** 6", "larger than 1 MiB"),
    "an_endless_iterator": ("import itertools\ndef f(x): return map(str, itertools.count())", "without an end"),
    "an_object": ("def f(x): return object()", "a value of type object"),
    "a_list_in_itself": ("def f(x):\n    a = []\n    a.append(a)\n    return a", "contains itself"),
    "an_exception_that_cannot_speak": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\ndef f(x): raise Mute",
        "Mute",
    ),
    "closing_every_descriptor": ("import os\ndef f(x):\n    os.closerange(0, 64)\n    return 4", None),
    "deleted_builtins": ("import builtins\nbuiltins.__dict__.clear()\ndef f(x): return 0", None),
    "asking_for_input": ("def f(x): return input()", "EOFError"),
    "a_module_that_is_not_there": ("import numpy\ndef f(x): return 4", "No module named 'numpy'"),
}


@pytest.mark.parametrize("name", ODD_AND_RIGHT)
def test_an_odd_but_right_answer_passes(box, name):
    assert judged(box, ODD_AND_RIGHT[name], limits=Limits(wall_s=5.0)).reason is None


@pytest.mark.parametrize("name", ODD_AND_WRONG)
def test_an_odd_wrong_answer_fails_cleanly_and_the_next_one_is_judged(box, name):
    code, said = ODD_AND_WRONG[name]
    verdict = judged(box, code, limits=Limits(wall_s=5.0) if said else QUICK)
    assert not verdict.passed
    assert verdict.outcome != "fault"
    assert said is None or said in verdict.reason
    assert judged(box, "def f(x): return x * x").passed


VALUES = """[
    None, True, 0, -7, 10**5000, -(10**5000), 0.1, -0.0, float('inf'), -float('inf'), 1j, complex(float('inf'), -0.0),
    'text', "it's", '\\n\\x00\\ud800', '', b'\\x00\\xff', bytearray(b'ab'), [], [[1], []], (), (1,), (1, (2,)),
    {}, {'a': {1: 2}}, set(), {1, 2}, frozenset(), frozenset({3}), {(1, 2): [3]}, [True, 1, 1.0],
]"""


def test_every_plain_value_crosses_unchanged_in_both_directions(box):
    test = f"for value in {VALUES}:\n    back = f(value)\n    assert like(back, value), str(type(value))"
    context = """
def f(x): ...
def like(back, value):
    return back == value and type(back) is type(value) and (isinstance(value, int) or repr(back) == repr(value))
"""
    assert judged(box, "def f(x): return x", test=test, context=context).reason is None
    assert judged(box, "def f(x): return x != x", test="assert f(float('nan')) is True").passed
    assert judged(box, "def f(x): return x - x", test="back = f(float('inf'))\nassert back != back").passed


def test_an_iterator_can_be_walked_once_and_equals_no_list(box):
    code = "def f(x): return map(int, '44')"
    assert judged(box, code, test="assert tuple(f(2)) == (4, 4)").passed
    assert not judged(box, code, test="assert f(2) == [4, 4]").passed


def test_a_test_may_expect_an_exception_and_name_arguments(box):
    test = "try:\n    f(x=1)\nexcept ValueError as error:\n    assert str(error) == 'odd'\nelse:\n    assert False"
    assert judged(box, "def f(x):\n    raise ValueError('odd')", test=test).passed
    assert not judged(box, "def f(x):\n    raise KeyError('odd')", test=test).passed


def test_no_except_in_a_test_holds_up_code_that_is_gone(box):
    test = "for _ in range(3):\n    try:\n        f(2)\n    except Exception:\n        pass"
    assert judged(box, "import os\ndef f(x): os._exit(0)", test=test).outcome == "crashed"


def test_the_code_keeps_its_state_between_calls(box):
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    assert judged(box, code, test="assert [f(0), f(0), f(0)] == [1, 2, 3]").passed


def test_the_context_s_functions_are_the_benchmark_s_own(box):
    """A test that checks by a function of the prompt is not fooled by another one of that name in the code."""
    context = "def double(x): return 2 * x\ndef f(x): ..."
    code = "def double(x): return 0\ndef f(x): return 0"
    assert not judged(box, code, test="assert f(2) == double(2)", context=context).passed


def test_a_verdict_says_why_and_what_it_took(box):
    verdict = judged(box, "def f(x):\n    held = bytearray(50 << 20)\n    return 5", test="assert f(2) == 4, 'four'")
    assert (verdict.outcome, verdict.reason) == ("failed", "AssertionError: four (line 1 of the test)")
    assert verdict.peak_rss_bytes > 50 << 20
    assert 0 < verdict.cpu_s < 1
    assert 0 < verdict.wall_s < 60
    assert len(judged(box, "def f(x): raise ValueError('x' * 10000)").reason) <= 300
    assert "\x1b" not in judged(box, "def f(x): raise ValueError('\\x1b[2J')").reason

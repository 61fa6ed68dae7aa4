"""Types are read into by several threads: each is made ready for that, wherever it is read."""

import ast
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "steelyard"
PLAIN = {"list[int]", "list[str | None]", "dict[str, float]", "RunStatus"}
"""What holds no type of ours: there is no table of its fields."""

MANY_AT_ONCE = """
import sys, threading
import msgspec
from steelyard.types.ready import ready

sys.setswitchinterval(1e-6)
for _ in range(200):
    leaf = msgspec.defstruct("Leaf", [(f"f{i}", int, 0) for i in range(20)])
    fields = [("a", leaf | None, None), ("b", list[leaf], []), *((f"g{i}", str | None, None) for i in range(20))]
    kind = msgspec.defstruct("Top", fields)
    data = msgspec.msgpack.encode(kind(a=leaf(1), b=[leaf(2)], g3="x"))
    together = threading.Barrier(4)

    def read():
        together.wait()
        assert msgspec.msgpack.decode(data, type=ready(kind)).b[0].f0 == 2

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_a_type_that_many_threads_read_first_at_once_is_read_by_all():
    """Without it the process ends with a segmentation fault."""
    assert subprocess.run([sys.executable, "-c", MANY_AT_ONCE], timeout=60, check=False).returncode == 0


def kinds_read(tree: ast.AST) -> list[str]:
    """What stands as the type in each call that reads into one."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        if not re.fullmatch(r"msgspec\.((json|msgpack)\.(decode|Decoder)|convert)", name):
            continue
        typed = [keyword.value for keyword in call.keywords if keyword.arg == "type"]
        at = 0 if name.endswith("Decoder") else 1
        found += [ast.unparse(kind) for kind in (typed or call.args[at : at + 1])]
    return found


def test_a_type_of_ours_is_read_only_when_it_is_ready():
    bare = {
        f"{path.relative_to(PACKAGE)}: {kind}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "ready.py"
        for kind in kinds_read(ast.parse(path.read_text("utf-8")))
        if not kind.startswith("ready(") and kind not in PLAIN
    }
    assert not bare

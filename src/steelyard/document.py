"""A YAML file that a user wrote, as plain values with the line of every key, so that each fault can be pointed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import yaml
from msgspec import Struct

from steelyard.errors import PlanError, UsageError, nearest, not_utf_8
from steelyard.types.ready import ready

T = TypeVar("T", bound=Struct)

Where = tuple[str | int, ...]
KEY_WORDS = ("api_key", "key", "token", "secret", "password")
MOST_NODES = 20_000


class Document:
    """A mapping in YAML. ``called`` is what it is, ``expected`` what it should have been where it is no mapping."""

    expected = "expected a mapping of keys to values"
    called = "the file"

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines: dict[Where, int] = {}
        self._nodes = 0
        self._enclosing: set[yaml.Node] = set()
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise PlanError(f"not YAML: {error.problem}", file=file, line=line) from error
        except yaml.YAMLError as error:
            raise PlanError(f"not YAML: {error}", file=file) from error
        except RecursionError as error:
            raise PlanError("brackets in brackets, deeper than can be read", file=file) from error
        if not isinstance(node, yaml.MappingNode):
            raise PlanError(self.expected, file=file, line=1)
        self.value: dict[str, Any] = self._plain(node, ())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in a file."""
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise PlanError(not_utf_8(error), file=str(path), line=line) from error
        except OSError as error:
            raise UsageError(f"cannot read {cls.called} {path}: {error}") from error
        return cls(str(path), text)

    def convert(self, schema: type[T]) -> T:
        """The document under a schema."""
        try:
            return msgspec.convert(self.value, type=ready(schema))
        except msgspec.ValidationError as error:
            raise self._misfit(str(error)) from error

    def fault(self, message: str, path: Where = ()) -> PlanError:
        """An error that points at ``path`` or the nearest enclosing key with a known line."""
        while path and path not in self.lines:
            path = path[:-1]
        return PlanError(message, file=self.file, line=self.lines.get(path))

    def check_keys(self, path: Where, schema: type[Struct]) -> None:
        """Raise for a key of the mapping at ``path`` that the schema does not know; what is no mapping passes."""
        mapping: Any = self.value
        for step in path:
            mapping = mapping[step]
        known = schema.__struct_fields__
        for key in mapping if isinstance(mapping, dict) else ():
            if key in known:
                continue
            if any(word in str(key).lower() for word in KEY_WORDS):
                raise self.fault(
                    f"{key!r}: keys do not belong in a plan. Name the environment variable that holds it: "
                    "api_key_env: NAME",
                    (*path, key),
                )
            raise self.fault(f"unknown key {key!r}. {nearest(str(key), known)}", (*path, key))

    def _misfit(self, message: str) -> PlanError:
        words, _, where = message.partition(" - at `$")
        path = _path_of(where.rstrip("`"))
        named = f"{'.'.join(map(str, path))}: " if path else ""
        return self.fault(f"{named}{words[:1].lower()}{words[1:]}", path)

    def _plain(self, node: yaml.Node, path: Where) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self.fault(f"the plan has more than {MOST_NODES} values", path)
        if node in self._enclosing:
            raise self.fault("an alias (*) stands within what it stands for", path)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._enclosing.add(node)
        within = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._listed(node, path)
        self._enclosing.remove(node)
        return within

    def _listed(self, node: yaml.Node, path: Where) -> list[Any]:
        return [self._plain(item, (*path, i)) for i, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node)
            here = (*path, key)
            if key in mapping:
                raise PlanError(
                    f"key {key!r} stands twice (first in line {self.lines[here]})",
                    file=self.file,
                    line=key_node.start_mark.line + 1,
                )
            self.lines[here] = key_node.start_mark.line + 1
            mapping[key] = self._plain(value_node, here)
        return mapping


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    finally:
        loader.dispose()


def _path_of(where: str) -> Where:
    parts: list[str | int] = []
    for piece in where.replace("[", ".").replace("]", "").split("."):
        if piece and piece != "...":
            parts.append(int(piece) if piece.isdigit() else piece)
    return tuple(parts)

"""Any Python callable as a model: a RAG pipeline, a chain, an operator, a wrapper of somebody's SDK.

The callable gets the prompt as one string, or the messages if its first parameter is called ``messages``, or the
whole ``Request`` if it is called ``request``. It returns the answer as a string or a ``Completion``, or yields pieces
of it; it may be ``async``. An exception is this call's failure, never the run's.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from steelyard.errors import UsageError
from steelyard.providers.interface import Done, Event, Text
from steelyard.threads import on_daemon_thread
from steelyard.types import Completion, ModelSpec, Request


class Function:
    """A callable that answers. ``version`` names its behaviour; without one its answers are never reused."""

    concurrency = 4

    def __init__(self, call: Callable[..., Any], *, name: str | None = None, version: str | None = None) -> None:
        self.name: str = name or str(getattr(call, "__name__", type(call).__name__))
        self.origin = f"python:{self.name}" + (f"@{version}" if version else "")
        self.version = version
        self._call = call
        body = call if inspect.isroutine(call) else type(call).__call__
        self.streams = inspect.isasyncgenfunction(body) or inspect.isgeneratorfunction(body)
        self._is_async = inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body)
        self._wants = _first_parameter(call)

    def with_confidence(self, request: Request) -> Request:
        """The request as it is: a callable states the ``confidence`` of the ``Completion`` that it returns, or none."""
        return request

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Call it; a synchronous callable runs in a thread of its own, so that a slow one holds up nobody else."""
        argument = _argument(self._wants, request)
        answer = self._call(argument) if self._is_async else await on_daemon_thread(self._call, argument)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Completion):
            yield Text(answer.text)
            confidence = answer.confidence
            yield Done(stop_reason=answer.stop_reason or "stop", usage=answer.usage, confidence=confidence)
            return
        async for piece in _pieces(answer):
            yield Text(_as_text(piece, self.name))
        yield Done(stop_reason="stop")


def connect(spec: ModelSpec) -> Function:
    """The callable that a plan names as ``python:MODULE:FUNCTION``."""
    return Function(load_callable(spec.model), name=spec.model, version=spec.version)


def load_callable(path: str) -> Callable[..., Any]:
    """The callable named ``module:attribute``; the working folder counts, as it does for ``python -m``."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module_name, _, attribute = path.partition(":")
    if not attribute:
        raise UsageError(f"{path!r} names no callable. Try: python:MODULE:FUNCTION")
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot load {path!r}: {error}") from error
    if not callable(target):
        raise UsageError(f"{path!r} is a {type(target).__name__}, not a callable")
    return target  # type: ignore[no-any-return]


def _first_parameter(call: Callable[..., Any]) -> str:
    try:
        return next(iter(inspect.signature(call).parameters), "prompt")
    except (TypeError, ValueError):
        return "prompt"


def _argument(wants: str, request: Request) -> Any:
    if wants == "request":
        return request
    turns = request.prompt.messages
    if wants == "messages":
        return [{"role": turn.role, "content": turn.content} for turn in turns]
    return "\n\n".join(turn.content for turn in turns) if turns else request.prompt.text


async def _pieces(answer: Any) -> AsyncIterator[Any]:
    if isinstance(answer, AsyncIterator):
        async for piece in answer:
            yield piece
    elif isinstance(answer, Iterator):
        end = object()
        while (piece := await on_daemon_thread(lambda pieces: next(pieces, end), answer)) is not end:
            yield piece
    else:
        yield answer


def _as_text(piece: Any, name: str) -> str:
    if isinstance(piece, str):
        return piece
    raise TypeError(f"{name} returned {type(piece).__name__}, not str or steelyard.Completion")

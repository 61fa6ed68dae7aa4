"""Stored calls as requests to be sent by hand, below the answers that ``steelyard show`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.store import Store
    from steelyard.types import CellInfo, Record, RunInfo, WireRequest


def requests_by_hand(store: Store, run: RunInfo, *, reveal: bool) -> Callable[[CellInfo, Record], WireRequest | None]:
    """What makes a call of the run a request again; ``None`` where there is none, or its item is not to be shown."""
    from steelyard.providers.by_hand import request_by_hand
    from steelyard.report.results import settings_left_out

    left_out = settings_left_out(store, run)

    def made_again(cell: CellInfo, record: Record) -> WireRequest | None:
        is_hidden = cell.is_confidential and not reveal
        return None if is_hidden else request_by_hand(cell, record, left_out.get(cell.model, {}))

    return made_again


def print_request(request: WireRequest | None) -> None:
    """Print the command, below what was left out of it."""
    from steelyard.report.answers import plain
    from steelyard.report.curl import curl_command

    if request is None:
        print("no request to send by hand\n")
        return
    print("made again from the record, as a request:")
    for setting, instead in request.left_out.items():
        print(plain(f"not as it was asked for: {setting}: {instead}"))
    print(f"{curl_command(request)}\n")


def with_request(record: Record, request: WireRequest | None) -> dict[str, Any]:
    """The record as a document with its request, and the command that sends it."""
    import msgspec

    from steelyard.report.curl import curl_command

    document: dict[str, Any] = msgspec.to_builtins(record)
    by_hand = None if request is None else msgspec.to_builtins(request) | {"curl": curl_command(request)}
    return document | {"by_hand": by_hand}

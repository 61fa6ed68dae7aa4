"""``steelyard serve``: the dashboard over the store, for the browser on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    import socket

    from steelyard.dashboard.guard import App

PORT = 8642
TOKEN = "STEELYARD_SERVE_TOKEN"  # noqa: S105 - the name of a variable


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "serve",
        execute,
        summary="show all runs in the browser: live, compared, searched, over time",
        example="steelyard serve --open",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine only)")
    parser.add_argument(
        "--port",
        type=args.non_negative,
        metavar="P",
        help=f"default {PORT}, or a free one where that is taken; 0: free",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a further name by which browsers may call it"
    )
    parser.add_argument(
        "--no-token", action="store_true", help="let every user and program of this machine in; only on 127.0.0.1"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")
    args.add_reveal(parser)
    args.add_store(parser)
    parser.epilog = (
        f"{parser.epilog}\n\nThe address that is printed holds a token, new each time unless {TOKEN} holds one. "
        "It becomes a\ncookie; whoever has neither sees nothing. Listening elsewhere than on this machine sends all in "
        "the clear:\nput a server with TLS before it."
    )


def execute(parsed: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import os
    import sys

    from steelyard.cli.about import about_benchmarks
    from steelyard.dashboard.app import access, dashboard
    from steelyard.providers.by_hand import request_by_hand
    from steelyard.report.answers import plain
    from steelyard.secrets import scrub
    from steelyard.store import Store

    allowed = access(
        parsed.host, allowed_hosts=parsed.allow_host, token=os.environ.get(TOKEN) or None, is_open=parsed.no_token
    )
    with Store.open(parsed.store, create=False) as store, _listen(parsed.host, parsed.port) as listening:
        port = listening.getsockname()[1]
        # a cookie is sent to every port of a host, so each dashboard has one of its own name
        app = dashboard(
            store,
            allowed,
            about=about_benchmarks,
            by_hand=request_by_hand,
            cookie=f"steelyard_{port}",
            reveal=parsed.reveal,
            on_fault=lambda trace: print(plain(scrub(trace)), file=sys.stderr),
        )
        name = next(iter(parsed.allow_host), "localhost" if parsed.host == "::1" else parsed.host)
        address = f"http://{name}:{port}/" + (f"?token={allowed.token}" if allowed.token else "")
        print(f"Dashboard of {store.location}: {address}\nCtrl-C ends it.", flush=True)
        if parsed.open:
            _open(address)
        _serve(app, listening)
    return 0


def _listen(host: str, port: int | None) -> socket.socket:
    import socket

    from steelyard.errors import EnvironmentFault

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [PORT, 0] if port is None else [port]
    for place, number in enumerate(wanted, start=1):
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen(128)
        except (OSError, OverflowError) as error:
            listening.close()
            if place == len(wanted):
                raise EnvironmentFault(f"cannot listen on {host}:{number}: {error}. Try: --port 0") from error
        else:
            return listening
    raise AssertionError


def _open(address: str) -> None:
    import threading
    import webbrowser

    threading.Timer(0.5, webbrowser.open, [address]).start()


def _serve(app: App, listening: socket.socket) -> None:
    from steelyard.errors import EnvironmentFault

    try:
        import uvicorn
    except ImportError as error:
        raise EnvironmentFault("the dashboard needs uvicorn. Try: pip install 'steelyard[serve]'") from error
    settings = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(settings).run(sockets=[listening])

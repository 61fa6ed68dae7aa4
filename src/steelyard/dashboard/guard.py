"""Who may ask the dashboard, and what a browser may do with what it is given.

The dashboard listens where every page that the user has open, and every program of the machine, can send requests. So a
request must name a host that is ours (no name that was made to point here), must not come from another site's page, and
must show the token that was printed; only a form of ours changes anything. Whatever is sent forbids everything but our
own style, script and forms: were a model's words ever taken for markup, they still could not run or call out.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # not no-referrer: a browser would then hide where our own forms come from, too
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SAFE = ("GET", "HEAD")
CHANGING = "POST"
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")
LARGEST_BODY = 16_384
TOKEN_IN_URL = "token"  # noqa: S105 - the name of a field


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a request is not answered; ``retry`` is a path on this server that its own page may ask for."""

    status: int
    why: str
    retry: str = ""


class Guard:
    """Stands before the application: refuses, or passes on and adds the headers.

    ``token`` is ``None`` where everyone who reaches a loopback address may read. ``refused`` makes the page that says
    why a request was not answered.
    """

    def __init__(
        self, app: App, *, hosts: frozenset[str], token: str | None, cookie: str, refused: Callable[[Refusal], bytes]
    ) -> None:
        self._app, self._hosts, self._token, self._cookie, self._refused = app, hosts, token, cookie, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", [])}
                extra = [pair for pair in _raw(HEADERS | {"cache-control": "no-store"}) if pair[0] not in own]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _send_page(send_guarded, refusal.status, self._refused(refusal))
        elif self._token is not None and (shown := _shown_token(scope)) is not None:
            await self._let_in(scope, send_guarded, shown)
        elif self._token is not None and not self._knows(headers):
            why = "this page needs the address that `steelyard serve` printed, with its token"
            await _send_page(send_guarded, 401, self._refused(Refusal(status=401, why=why)))
        else:
            await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: dict[str, list[str]]) -> Refusal | None:
        hosts = headers.get("host", [])
        named = HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if named is None or named[1] not in self._hosts:
            return Refusal(status=400, why="this host is not served here")
        method = scope["method"]
        if method not in (*SAFE, CHANGING):
            return Refusal(status=405, why="a page is read with GET; its forms are sent with POST")
        origin, site = headers.get("origin", []), headers.get("sec-fetch-site", [])
        is_ours = origin == [f"{scope['scheme']}://{hosts[0]}"]
        if origin and not is_ours:
            return Refusal(status=403, why="the request comes from another site's page")
        if any(where not in ("same-origin", "none") for where in site):
            is_opened = method in SAFE and headers.get("sec-fetch-mode") == ["navigate"]
            return Refusal(
                status=403,
                why="the request comes from another site's page",
                retry=_own_path(scope) if is_opened else "",
            )
        if method == CHANGING and not (is_ours or site == ["same-origin"]):
            return Refusal(status=403, why="only a form of this page's own changes anything")
        lengths = headers.get("content-length", [])
        if method == CHANGING and not (
            len(lengths) == 1 and lengths[0].isdecimal() and int(lengths[0]) <= LARGEST_BODY
        ):
            return Refusal(status=413, why="a form is short, and says how long it is")
        return None

    def _knows(self, headers: dict[str, list[str]]) -> bool:
        assert self._token is not None
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load("; ".join(headers.get("cookie", [])))
        except CookieError:
            return False
        shown = jar.get(self._cookie)
        return shown is not None and _is_same(shown.value, cookie_value(self._token))

    async def _let_in(self, scope: Scope, send: Send, shown: str) -> None:
        """Turn the token of the address into a cookie, and go on without it in the address."""
        assert self._token is not None
        if scope["method"] not in SAFE or not _is_same(shown, self._token):
            why = "the token in the address is not the one of this `steelyard serve`"
            await _send_page(send, 401, self._refused(Refusal(status=401, why=why)))
            return
        cookie = f"{self._cookie}={cookie_value(self._token)}; Path=/; HttpOnly; SameSite=Strict"
        await send(
            {
                "type": "http.response.start",
                "status": 303,
                "headers": _raw({"location": _own_path(scope), "set-cookie": cookie, "content-length": "0"}),
            }
        )
        await send({"type": "http.response.body", "body": b""})


def cookie_value(token: str) -> str:
    """What the cookie holds: not the token itself, which opens the dashboard from anywhere."""
    return sha256(f"steelyard cookie {token}".encode()).hexdigest()


def _is_same(shown: str, expected: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), expected.encode())


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _shown_token(scope: Scope) -> str | None:
    return next((value for name, value in _query(scope) if name == TOKEN_IN_URL), None)


def _own_path(scope: Scope) -> str:
    """The path that was asked for, without the token; never one that a browser takes for another host."""
    rest = urlencode([(name, value) for name, value in _query(scope) if name != TOKEN_IN_URL])
    path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0].lstrip("/\\")
    return f"{path}?{rest}" if rest else path


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _send_page(send: Send, status: int, page: bytes) -> None:
    headers = _raw({"content-type": "text/html; charset=utf-8", "content-length": str(len(page))})
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": page})

"""The one HTTP client: posts JSON, stamps bytes as they arrive, and turns every fault into a ``Failure``.

The seam is raw bytes with the time they came: parsing happens after the stamp, and nothing is retried in here, so
that what the engine times is one attempt and nothing else. Connections are ``wire``'s; where a proxy leads to the
server, ``proxied``'s.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from steelyard.errors import ProviderError, unended
from steelyard.providers import wire
from steelyard.providers.refusals import LONGEST_ASKED_S, asked_for_s, classify, reason_of, retry_after_s
from steelyard.providers.reply import Reply
from steelyard.secrets import scrub
from steelyard.types import Failure, ModelSpec

CONNECT_TIMEOUT_S = 30.0
STALL_TIMEOUT_S = 120.0
SILENT_SHARE = 0.2
LONGEST_IDLE_S = 15.0
LONGEST_REFUSAL_BYTES = 4096
SAFE_IN_A_PATH = "/?%:@!$&'()*+,;=~[]"


class Target(NamedTuple):
    """Where a URL leads, taken apart once."""

    host: str
    port: int
    is_encrypted: bool
    path: str
    host_header: str
    authorization: str | None
    server: str
    """What connections are kept by: where it leads but for the path."""

    @property
    def url(self) -> str:
        """The whole as it is sent, without a user's name and password."""
        return f"{'https' if self.is_encrypted else 'http'}://{self.host_header}{self.path}"


def stall_s_of(spec: ModelSpec) -> float:
    """How long a model's server may be silent: some think, or let a request wait its turn, for minutes without a byte.

    Whoever lets an answer take longer than usual lets the silence within it take longer too.
    """
    return max(STALL_TIMEOUT_S, SILENT_SHARE * spec.timeout_s)


class Http:
    """Connections without a limit on their number; no retries, no redirects.

    ``stall_s``: how long a server may be silent within one reply. ``keep_alive=False`` takes a new connection for each
    request, for a server that closes them without saying so.
    """

    def __init__(
        self, *, stall_s: float = STALL_TIMEOUT_S, through_proxy: bool = True, keep_alive: bool = True
    ) -> None:
        self._stall_s = stall_s
        self._through_proxy = through_proxy
        self._keep_alive = keep_alive
        self._idle: dict[str, list[wire.Connection]] = {}
        self._busy: set[wire.Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._proxied: Any = None
        self._behind_proxy: dict[Target, bool] = {}

    def open(self) -> None:
        """Nothing to do yet: connections are made when they are needed."""

    async def close(self) -> None:
        """Close every connection; safe to call twice."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in (*self._busy, *(idle for kept in self._idle.values() for idle in kept)):
            connection.close()
        self._busy.clear()
        self._idle.clear()
        if self._proxied is not None:
            await self._proxied.close()
            self._proxied = None

    def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Exchange:
        """Post ``body`` as JSON. Any status but 200 to 299 raises ``ProviderError``, as does a broken connection."""
        target = take_apart(url)
        encoded = msgspec.json.encode(body)
        if self._through_proxy and self._is_behind_proxy(target):
            return Exchange(target, self._through(url, encoded, headers))
        head = _head(target, tuple(headers.items()), self._keep_alive)
        return Exchange(target, Direct(self, target, wire.request_bytes(head, encoded)))

    def _is_behind_proxy(self, target: Target) -> bool:
        """The environment is asked once for each server: it takes longer to read than a request to send."""
        if target not in self._behind_proxy:
            self._behind_proxy[target] = is_behind_proxy(target)
        return self._behind_proxy[target]

    def _through(self, url: str, body: bytes, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Reply]:
        if self._proxied is None:
            from steelyard.providers.proxied import Proxied

            self._proxied = Proxied(connect_s=CONNECT_TIMEOUT_S, stall_s=self._stall_s, keep_alive=self._keep_alive)
        exchange: AbstractAsyncContextManager[Reply] = self._proxied.post(url, body, headers)
        return exchange

    def take(self, connection: wire.Connection) -> None:
        """Watch over the connection while it is in use."""
        self._busy.add(connection)
        if self._sweeping is None:
            self._sweep_later()

    def give_back(self, connection: wire.Connection, target: Target) -> None:
        """Keep the connection for the next request, where it can serve one."""
        self._busy.discard(connection)
        if self._keep_alive and connection.is_reusable:
            connection.release()
            self._idle.setdefault(target.server, []).append(connection)
        else:
            connection.close()  # half read, it would break the next request that is given it

    def waiting(self, target: Target) -> wire.Connection | None:
        """A kept connection that can still be used: the one that served last is the surest to be alive."""
        kept = self._idle.get(target.server, [])
        now_s = time.monotonic()
        while kept:
            connection = kept.pop()
            rested_s = now_s - connection.last_active_s
            if connection.is_reusable and rested_s < connection.idle_s(LONGEST_IDLE_S) and not connection.has_news():
                return connection
            connection.close()
        return None

    async def new(self, target: Target) -> wire.Connection:
        """A new connection to the server."""
        context = _tls_context() if target.is_encrypted else None
        return await wire.connect(target.host, target.port, context, CONNECT_TIMEOUT_S)

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(min(1.0, self._stall_s / 4), self._sweep)

    def _sweep(self) -> None:
        """Give up what has been silent too long: one timer for all connections instead of one for each reply."""
        self._sweeping = None
        now_s = time.monotonic()
        for connection in self._busy:
            if now_s - connection.last_active_s > self._stall_s:
                connection.fail(TimeoutError(f"no data within {self._stall_s:g} s"))
        if self._busy:
            self._sweep_later()


class Direct:
    """One request over a connection of our own: taken, sent, given back. A class, for its entry costs half as much."""

    __slots__ = ("_connection", "_http", "_request", "_target")

    def __init__(self, http: Http, target: Target, request: bytes) -> None:
        self._http, self._target, self._request = http, target, request

    async def __aenter__(self) -> Reply:
        try:
            connection = self._http.waiting(self._target) or await self._http.new(self._target)
        except OSError as error:
            raise ProviderError(broken(self._target, error, was_sent=False)) from error
        self._connection = connection
        self._http.take(connection)
        try:
            await connection.send(self._request)
        except BaseException:
            self._http.give_back(connection, self._target)
            raise
        return Reply(
            status=connection.status,
            reason=connection.reason,
            headers=connection.headers,
            first_byte_ns=connection.first_byte_ns,
            next_piece=connection.piece,
        )

    async def __aexit__(self, *raised: object) -> None:
        self._http.give_back(self._connection, self._target)


class Exchange:
    """A request and its reply, with every fault of either told as ``ProviderError``."""

    __slots__ = ("_target", "_way")

    def __init__(self, target: Target, way: AbstractAsyncContextManager[Reply]) -> None:
        self._target, self._way = target, way

    async def __aenter__(self) -> Reply:
        try:
            reply = await self._way.__aenter__()
            if 200 <= reply.status < 300:
                return reply
        except wire.Unsent as error:
            raise ProviderError(broken(self._target, error.beneath, was_sent=False)) from error
        except OSError as error:
            raise ProviderError(broken(self._target, error)) from error
        try:
            refusal = await _refusal(reply, self._target)
        finally:  # also where reading it is called off, or the connection would stay taken
            await self._way.__aexit__(None, None, None)
        raise ProviderError(refusal)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._way.__aexit__(kind, error, trace)
        if isinstance(error, OSError):
            raise ProviderError(broken(self._target, error)) from error


@functools.lru_cache(maxsize=256)
def take_apart(url: str) -> Target:
    """The parts of an http or https URL; anything else raises ``ProviderError``."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
        wire_host = host.encode("idna").decode("ascii") if host and not host.isascii() else host
    except (ValueError, UnicodeError):
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ProviderError(Failure(kind="unavailable", message=f"not a URL: {scrub(url)}"))
    assert wire_host is not None
    is_encrypted = parts.scheme == "https"
    named = f"[{wire_host}]" if ":" in wire_host else wire_host
    userinfo = f"{urllib.parse.unquote(parts.username or '')}:{urllib.parse.unquote(parts.password or '')}"
    return Target(
        host=wire_host,
        port=port or (443 if is_encrypted else 80),
        is_encrypted=is_encrypted,
        path=urllib.parse.quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=SAFE_IN_A_PATH),
        host_header=named if port is None else f"{named}:{port}",
        authorization="Basic " + base64.b64encode(userinfo.encode()).decode() if parts.username else None,
        server=f"{parts.scheme}://{parts.netloc}",
    )


@functools.lru_cache(maxsize=64)
def _head(target: Target, headers: tuple[tuple[str, str], ...], keep_alive: bool) -> bytes:
    """How each request to an endpoint begins, up to the length of its body."""
    given = dict(headers)
    own = {} if keep_alive else {"Connection": "close"}
    if target.authorization and "Authorization" not in given:
        own["Authorization"] = target.authorization
    return wire.head_bytes(target.path, target.host_header, {"User-Agent": "steelyard", **own, **given})


def is_behind_proxy(target: Target) -> bool:
    """Whether the environment names a proxy for this server (``HTTPS_PROXY`` and its kin, but for ``NO_PROXY``)."""
    scheme = "https" if target.is_encrypted else "http"
    proxies = urllib.request.getproxies()
    return bool(proxies.get(scheme)) and not urllib.request.proxy_bypass(target.host_header)


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """The system's certificates, read once: reading them for every connection would cost 10 ms each."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _refusal(reply: Reply, target: Target) -> Failure:
    data = b""
    with suppress(OSError):
        while len(data) < LONGEST_REFUSAL_BYTES and (piece := await reply.next_piece()) is not None:
            data += piece[0]
    body = data[:LONGEST_REFUSAL_BYTES].decode("utf-8", "replace")
    asked_s = asked_for_s(reply.headers, body)
    told = _redirected(reply) or reason_of(body) or scrub(reply.reason) or "no reason given"
    if asked_s is not None and asked_s > LONGEST_ASKED_S:
        told += f" (it asks to wait {asked_s:,.0f} s)"
    return Failure(
        kind=classify(reply.status, body, asked_s),
        message=f"HTTP {reply.status} from {target.host}: {told}",
        status=reply.status,
        retry_after_s=retry_after_s(reply.headers, body),
    )


def _redirected(reply: Reply) -> str | None:
    """Where it sends us, which is never followed: the key would go there too."""
    if not 300 <= reply.status < 400:
        return None
    where = scrub(reply.headers.get("location", "").partition("?")[0])
    return f"it redirects to {where or 'no address'}, which is not followed. Try: the address where it answers itself"


def broken(target: Target, error: OSError, *, was_sent: bool = True) -> Failure:
    """What it is called where no reply came, or it broke off."""
    fault = _fault(target.host_header, error, is_encrypted=target.is_encrypted)
    return msgspec.structs.replace(fault, was_sent=was_sent)


def _fault(where: str, error: OSError, *, is_encrypted: bool) -> Failure:
    if isinstance(error, TimeoutError):
        said = str(error) or f"no connection within {CONNECT_TIMEOUT_S:g} s"
        hint = ". Try: http://, if it is not encrypted" if is_encrypted and not str(error) else ""
        return Failure(kind="timeout", message=f"{where}: {said}{hint}")
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"the TLS certificate of {where} is not valid: {unended(error.verify_message)}"
        hint = "If it is your own, name its authority: SSL_CERT_FILE=FILE.pem steelyard ..."
        return Failure(kind="unavailable", message=f"{said}. {hint}")
    if isinstance(error, ssl.SSLError):
        said = f"{where}: no TLS connection ({error.reason or error})"
        return Failure(kind="connection", message=f"{said}. Try: http://, if it is not encrypted")
    if isinstance(error, ConnectionRefusedError):
        return Failure(kind="connection", message=f"{where}: nothing listens there (connection refused)")
    if isinstance(error, wire.Barred):
        return Failure(kind="unavailable", message=scrub(f"{where}: {error}"))
    if isinstance(error, wire.Malformed):
        return Failure(kind="malformed", message=scrub(f"{where}: {error}"))
    return Failure(kind="connection", message=scrub(f"{where}: {str(error) or type(error).__name__}"))


def is_loopback(url: str) -> bool:
    """Whether the URL is on this machine, where no proxy leads."""
    host = _host(url).rsplit(":", 1)[0].strip("[]")
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _host(url: str) -> str:
    return url.split("//", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]

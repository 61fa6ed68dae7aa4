"""The one HTTP client: posts JSON, stamps bytes as they arrive, and turns every fault into a ``Failure``.

The seam is raw bytes with the time they came: parsing happens after the stamp, and nothing is retried in here, so
that what the engine times is one attempt and nothing else.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from steelyard.errors import ProviderError
from steelyard.providers.secrets import scrub
from steelyard.types import Failure, FailureKind

READ_BUFFER_BYTES = 1 << 20
LONGEST_REPLY_BYTES = 64 << 20
CONNECT_TIMEOUT_S = 30.0
STALL_TIMEOUT_S = 120.0
FINISH_TIMEOUT_S = 0.25


@dataclass(frozen=True)
class Reply:
    """A reply whose headers have arrived; its body is still to come."""

    status: int
    content_type: str
    first_byte_ns: int
    body: aiohttp.StreamReader

    async def chunks(self) -> AsyncIterator[tuple[bytes, int]]:
        """The body piece by piece, each with the monotonic nanosecond it was read at."""
        size = 0
        while data := await self.body.readany():
            at_ns = time.perf_counter_ns()
            size += len(data)
            if size > LONGEST_REPLY_BYTES:
                raise ProviderError(Failure(kind="malformed", message=f"the reply exceeds {LONGEST_REPLY_BYTES} bytes"))
            yield data, at_ns

    async def read(self) -> tuple[bytes, int]:
        """The whole body and when its last byte was read."""
        pieces: list[bytes] = []
        at_ns = self.first_byte_ns
        async for data, at_ns in self.chunks():  # noqa: B007 - the last stamp is the one that is returned
            pieces.append(data)
        return b"".join(pieces), at_ns

    async def finish(self) -> None:
        """Read past the last event to the end of the body, so that the connection can serve the next request."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                while await self.body.readany():
                    pass


class Http:
    """One session: no connection limit, a large read buffer, no retries, no redirects.

    ``keep_alive=False`` takes a new connection for each request, for a server that closes them without saying so.
    """

    def __init__(
        self, *, stall_s: float = STALL_TIMEOUT_S, through_proxy: bool = True, keep_alive: bool = True
    ) -> None:
        self._through_proxy = through_proxy
        self._keep_alive = keep_alive
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=stall_s)
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Create the session inside the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not self._keep_alive),
            timeout=self._timeout,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=True,
            trust_env=self._through_proxy,
        )

    async def close(self) -> None:
        """Close every connection; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[Reply]:
        """Post ``body`` as JSON. Any other status than 200 raises ``ProviderError``, as does a broken connection."""
        if self._session is None:
            self.open()
        assert self._session is not None
        try:
            async with self._session.post(
                url,
                data=msgspec.json.encode(body),
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
            ) as response:
                first_byte_ns = time.perf_counter_ns()
                if response.status != 200:
                    raise ProviderError(await _refusal(response))
                try:
                    yield Reply(response.status, response.content_type, first_byte_ns, response.content)
                finally:
                    if not response.content.at_eof():
                        response.close()  # released half read, it would break the next request that is given it
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ProviderError(_broken(url, error)) from error


async def server_sent_events(chunks: AsyncIterator[tuple[bytes, int]]) -> AsyncIterator[tuple[bytes, int]]:
    """The ``data`` of each event with the time its last byte was read (WHATWG HTML, section 9.2).

    Works on bytes, so a character cut in two by a chunk boundary stays whole; comments and other fields are skipped.
    """
    pending = b""
    data: list[bytes] = []
    at_ns = 0
    async for piece, at_ns in chunks:
        pending += piece
        *lines, pending = pending.split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data), at_ns
                data = []
    if pending.startswith(b"data:"):
        data.append(pending[5:].strip())
    if data:
        yield b"\n".join(data), at_ns


async def _refusal(response: aiohttp.ClientResponse) -> Failure:
    body = (await response.content.read(4096)).decode("utf-8", "replace")
    detail = scrub(error_message(body) or body.strip()[:300] or response.reason or "no reason given")
    return Failure(
        kind=classify(response.status, body),
        message=f"HTTP {response.status} from {response.url.host}: {detail}",
        status=response.status,
        retry_after_s=retry_after_s(response.headers),
    )


def classify(status: int, body: str) -> FailureKind:
    """What a status means for this call, this model and the next attempt."""
    if status in (401, 403):
        return "auth"
    if status == 402 or (status == 429 and ("insufficient_quota" in body or "billing" in body)):
        return "quota"
    if status == 429:
        return "rate_limit"
    if status == 404:
        return "unavailable"
    if status == 408:
        return "timeout"
    if status >= 500 and status != 501:
        return "server"
    return "rejected"


def error_message(body: str) -> str | None:
    """The text of an error reply as the common services write it: ``{"error": {"message": ...}}`` and its kin."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return error[:500] if isinstance(error, str) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``Retry-After``, given as seconds or as a date held against the reply's own ``Date``."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(value)
        now = email.utils.parsedate_to_datetime(headers["Date"])
    except (ValueError, KeyError):
        return None
    return max(0.0, (then - now).total_seconds())


def _broken(url: str, error: BaseException) -> Failure:
    if isinstance(error, asyncio.TimeoutError):
        return Failure(kind="timeout", message=f"no data from {_host(url)} within the stall timeout")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return Failure(kind="unavailable", message=f"the TLS certificate of {_host(url)} is not valid")
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(kind="unavailable", message=f"not a URL: {scrub(url)}")
    return Failure(kind="connection", message=scrub(f"{_host(url)}: {error or type(error).__name__}"))


def is_loopback(url: str) -> bool:
    """Whether the URL is on this machine, where no proxy leads."""
    host = _host(url).rsplit(":", 1)[0].strip("[]")
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _host(url: str) -> str:
    return url.split("//", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]

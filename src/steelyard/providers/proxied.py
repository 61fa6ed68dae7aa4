"""HTTP through a proxy, by aiohttp: for the few who need one, since it reads tokens later than ``wire`` does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from steelyard.providers.reply import Piece, Reply
from steelyard.providers.wire import MOST_HEAD_BYTES, Barred, Malformed, Unsent

READ_BUFFER_BYTES = 1 << 20
PROXY_WANTS_A_USER = 407
PASSING = (408, 425, 429)
"""Refusals of a proxy that pass, as all from 500 on do; any other stays the same however often it is asked."""
BEFORE_SENDING = (
    aiohttp.ClientConnectorError,  # to the proxy, or by TLS to the server behind it
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
"""No way to the server was found. Where a proxy closes a connection, or answers 502, the server may have been asked."""


class Proxied:
    """A session that goes where the environment's proxy leads.

    Faults are ``OSError``, as ``wire``'s are; ``Unsent`` where the proxy, or a tunnel through it, was not to be had.
    """

    def __init__(self, *, connect_s: float, stall_s: float, keep_alive: bool) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not keep_alive),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=stall_s),
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=MOST_HEAD_BYTES,
            max_field_size=MOST_HEAD_BYTES,
            trust_env=True,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[Reply]:
        """Post ``body``; the reply's pieces are stamped when aiohttp hands them over."""
        sent = {"Content-Type": "application/json", **headers}
        try:
            async with self._session.post(url, data=body, headers=sent, allow_redirects=False) as response:
                first_byte_ns = time.perf_counter_ns()

                async def next_piece() -> Piece | None:
                    try:
                        data = await response.content.readany()
                    except aiohttp.ClientError as error:
                        raise as_os_error(error) from error
                    return (data, time.perf_counter_ns()) if data else None

                try:
                    yield Reply(
                        status=response.status,
                        reason=response.reason or "",
                        headers={name.lower(): value for name, value in response.headers.items()},
                        first_byte_ns=first_byte_ns,
                        next_piece=next_piece,
                    )
                finally:
                    if not response.content.at_eof():
                        response.close()  # released half read, it would break the next request that is given it
        except BEFORE_SENDING as error:
            raise Unsent(as_os_error(error)) from error
        except aiohttp.ClientError as error:
            raise Unsent(as_os_error(error)) if _is_of_the_tunnel(error) else as_os_error(error) from error


def _is_of_the_tunnel(error: aiohttp.ClientError) -> bool:
    """Whether what cannot be read is a proxy's reply to who asks for a tunnel."""
    return isinstance(error, aiohttp.ClientResponseError) and error.request_info.method == "CONNECT"


def as_os_error(error: aiohttp.ClientError) -> OSError:
    """The fault beneath, or one that names the proxy without its user and password."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused(error)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ConnectionError(f"the proxy {error.host}:{error.port} cannot be reached: {error.os_error}")
    if isinstance(error, aiohttp.InvalidURL):
        return ConnectionError("the proxy that the environment names is not a URL. Try: http://HOST:PORT")
    if isinstance(error, aiohttp.ClientResponseError):
        return Malformed(f"the reply is not well-formed HTTP ({_in_one_line(error.message)})")
    if isinstance(error.__cause__, ContentEncodingError):
        return Malformed(f"the reply cannot be unpacked ({_in_one_line(error.__cause__.message)})")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error_beneath: Exception = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error_beneath = error.os_error
    else:
        error_beneath = error
    return error_beneath if isinstance(error_beneath, OSError) else ConnectionError(str(error) or type(error).__name__)


def _refused(error: aiohttp.ClientHttpProxyError) -> OSError:
    """How a proxy answers who asks for a tunnel; only what may pass is worth asking again."""
    told = f"the proxy refuses: HTTP {error.status} {error.message}"
    if error.status == PROXY_WANTS_A_USER:
        return Barred(f"{told}. Try: HTTPS_PROXY with the user and password that it knows")
    if 400 <= error.status < 500 and error.status not in PASSING:
        return Barred(told)
    return ConnectionError(told)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())

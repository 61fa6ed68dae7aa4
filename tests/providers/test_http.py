"""The HTTP client against servers as they are: cut, slow, encrypted, behind a proxy, wrong."""

import asyncio
import gzip
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from steelyard.errors import ProviderError
from steelyard.providers import http, reply, wire
from steelyard.providers.http import Http, take_apart
from steelyard.providers.refusals import rest_s, retry_after_s
from steelyard.providers.reply import EventStream

RESET = object()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def answering(*replies, context=None, pause_s=0.0, then=None):
    """A server that answers the n-th request (of any connection) with the pieces of the n-th reply."""
    seen, serving = [], set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                seen.append((head, await reader.readexactly(size), writer.get_extra_info("peername")))
                pieces = replies[min(len(seen), len(replies)) - 1]
                for piece in pieces:
                    if piece is None or piece is RESET:
                        if piece is RESET:
                            await asyncio.sleep(0.05)  # or it overtakes what was sent
                            how = struct.pack("ii", 1, 0)
                            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
                        writer.transport.abort()
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
                if then == "close":
                    writer.close()
                    await writer.wait_closed()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{port}", seen
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.01)


async def fetched(client, url, headers=None):
    async with client.post(url, {"a": 1}, headers or {}) as reply:
        return (await reply.read())[0]


def ask(*replies, times=1, client=None, headers=None, **settings):
    """The bodies of ``times`` requests in a row, and what the server saw."""

    async def main():
        mine = client or Http()
        try:
            async with answering(*replies, **settings) as (url, seen):
                return [await fetched(mine, url + "/v1", headers) for _ in range(times)], seen
        finally:
            await mine.close()

    return asyncio.run(main())


def failure_of(*replies, **settings):
    with pytest.raises(ProviderError) as caught:
        ask(*replies, **settings)
    return caught.value.failure


def whole(body):
    return OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def chunked(*pieces):
    return (
        OK
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
        + b"0\r\n\r\n"
    )


def one_by_one(data):
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("gap_s", [0.0, 0.1])
def test_a_reply_begins_behind_the_interim_one_before_it(gap_s):
    async def begun():
        client = Http()
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        pieces = [early, whole(b"abc")] if gap_s else [early + whole(b"abc")]
        async with answering(pieces, pause_s=gap_s) as (url, _):
            sent_ns = time.perf_counter_ns()
            async with client.post(url, {}, {}) as reply:
                assert await reply.read() == (b"abc", reply.first_byte_ns)
            await client.close()
        return (reply.first_byte_ns - sent_ns) / 1e9

    assert asyncio.run(begun()) >= 0.9 * gap_s


def test_one_connection_serves_request_after_request():
    bodies, seen = ask([whole(b"1")], [chunked(b"2", b"3")], [whole(b"4")], times=3)
    assert bodies == [b"1", b"23", b"4"]
    assert len({peer for _, _, peer in seen}) == 1


@pytest.mark.parametrize(
    "reply", [whole(b'{"x": 1}'), chunked(b'{"x"', b": 1}"), b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b'{"x": 1}')]
)
def test_a_reply_may_come_byte_by_byte(reply):
    assert ask(one_by_one(reply))[0] == [b'{"x": 1}']


def test_a_body_without_length_ends_with_its_connection_and_the_next_takes_another():
    bodies, seen = ask([OK + b"\r\nabc"], times=2, then="close")
    assert bodies == [b"abc", b"abc"]
    assert len({peer for _, _, peer in seen}) == 2


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("gzip", gzip.compress(b"x" * 9999, mtime=0)),
        ("deflate", zlib.compress(b"x" * 9999)),
        ("gzip", gzip.compress(b"x" * 9000, mtime=0) + gzip.compress(b"x" * 999, mtime=0)),
        ("gzip", gzip.compress(b"x" * 9999, mtime=0) + b"\0\0"),
    ],
    ids=["gzip", "deflate", "in two", "padded"],
)
def test_a_packed_body_is_unpacked(name, packed):
    reply = OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (name.encode(), len(packed), packed)
    assert ask([reply])[0] == [b"x" * 9999]


def test_a_server_that_changes_the_protocol_is_told_in_words_alone(caplog):
    failure = failure_of([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nabc"])
    assert (failure.kind, "HTTP 101" in failure.message) == ("rejected", True)
    assert "Fatal error" not in caplog.text


@pytest.mark.parametrize("endless", ["trailers", "a trailer", "an extension"])
def test_what_frames_a_body_without_end_is_refused_and_not_kept(endless, monkeypatch):
    monkeypatch.setattr(wire, "MOST_HEAD_BYTES", 1 << 16)
    begin = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    piece = {
        "trailers": b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(64)),
        "a trailer": b"x" * 64_000,
        "an extension": b"x" * 64_000,
    }[endless]
    start = {"trailers": b"0\r\n", "a trailer": b"0\r\nX: ", "an extension": b"2;x="}[endless]
    failure = failure_of([begin + start, *[piece] * 9], then="close")
    assert (failure.kind, "headers exceed" in failure.message) == ("malformed", True)


def test_a_long_body_may_have_trailers_which_change_nothing_that_was_said_before():
    body = b"".join(b"8000\r\n%s\r\n" % bytes(0x8000) for _ in range(64))
    trailers = b"0\r\nContent-Type: text/event-stream\r\nRetry-After: 9\r\n\r\n"
    seen = []

    class Seeing(Http):
        def give_back(self, connection, target):
            seen.append(connection.headers)
            super().give_back(connection, target)

    [read], _ = ask([OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + trailers], client=Seeing())
    assert len(read) == 64 * 0x8000
    assert seen == [{"content-type": "application/json", "transfer-encoding": "chunked"}]


def test_a_small_reply_that_unpacks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(wire, "MOST_UNPACKED_BYTES", 1 << 20)
    packed = gzip.compress(bytes(16 << 20), mtime=0)
    failure = failure_of([OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(packed), packed)])
    assert (failure.kind, "unpacks to more" in failure.message) == ("malformed", True)


def test_a_long_reply_is_refused_and_a_fast_server_is_held_back(monkeypatch):
    monkeypatch.setattr(reply, "LONGEST_REPLY_BYTES", 1 << 20)
    failure = failure_of([whole(bytes(1 << 21))])
    assert (failure.kind, "exceeds" in failure.message) == ("malformed", True)

    async def unread():
        client = Http()
        async with answering([OK + b"Content-Length: 99000000\r\n\r\n", *[bytes(1 << 20)] * 94]) as (url, _):
            async with client.post(url, {}, {}) as reply:
                await reply.next_piece()
                await asyncio.sleep(0.5)
                [connection] = client._busy
                held = connection._unread
            await client.close()
        return held

    assert asyncio.run(unread()) < 3 * wire.MOST_UNREAD_BYTES


@pytest.mark.parametrize(
    ("pieces", "kind", "words"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", None], "connection", ""),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", None], "connection", ""),
        ([OK + b"\r\nabc", RESET], "connection", "reset"),
        ([None], "connection", ""),
        ([b"<html>what?</html>\r\n\r\n"], "malformed", "not well-formed HTTP"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], "malformed", "not well-formed HTTP"),
        ([OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"], "malformed", "cannot be unpacked"),
        ([OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx"], "malformed", "'br'"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x?key=SECRET\r\nContent-Length: 0\r\n\r\n"],
         "unavailable", "it redirects to http://127.0.0.1:1/x, which is not followed"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X: %s\r\n" % (b"x" * 1000)] * 99, *[b"X" * 99_999] * 20],
         "malformed", "headers exceed"),
        ([b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4000\r\n\r\n" + b"[" * 4000], "rate_limit", "429"),
        ([b"HTTP/1.1 529 Overloaded\r\nContent-Length: 2\r\n\r\n{}"], "server", "HTTP 529"),
        ([b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"], "server", "HTTP 409"),
        ([b"HTTP/1.1 425 Too Early\r\nContent-Length: 0\r\n\r\n"], "server", "HTTP 425"),
        ([b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"], "rate_limit", "429"),
    ],
)  # fmt: skip
def test_every_fault_has_its_kind(pieces, kind, words):
    try:
        raise LookupError("what happened before is not the reason")
    except LookupError:
        failure = failure_of(pieces)
    assert failure.kind == kind, failure
    assert words in failure.message
    assert failure.retry_after_s == (7.0 if kind == "rate_limit" else None)


@pytest.mark.parametrize(("asked", "kind"), [("3600", "rate_limit"), ("86400", "quota")])
def test_a_service_that_asks_to_wait_for_hours_is_as_good_as_used_up(asked, kind):
    failure = failure_of([b"HTTP/1.1 429 Slow\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % asked.encode()])
    assert failure.kind == kind
    assert ("it asks to wait 86,400 s" in failure.message) == (kind == "quota")


def test_a_refused_request_leaves_its_connection_to_the_next():
    async def main():
        client = Http()
        async with answering([b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"], [whole(b"yes")]) as (url, seen):
            with pytest.raises(ProviderError):
                await fetched(client, url)
            assert await fetched(client, url) == b"yes"
        await client.close()
        return seen

    assert len({peer for _, _, peer in asyncio.run(main())}) == 1


def test_only_a_request_that_found_a_connection_was_sent():
    async def main():
        async with answering([]) as (url, _):
            pass
        with pytest.raises(ProviderError) as caught:
            await fetched(Http(), url + "/v1")
        return caught.value.failure

    never = asyncio.run(main())
    assert (never.kind, never.was_sent) == ("connection", False)
    assert failure_of([None]).was_sent
    assert failure_of([OK, None]).was_sent


def test_a_silent_server_is_given_up_after_the_stall_timeout_and_a_slow_one_is_not():
    failure = failure_of([OK + b"Content-Length: 5\r\n\r\nab", b""], client=Http(stall_s=0.2), pause_s=0.0)
    assert (failure.kind, "no data within 0.2 s" in failure.message) == ("timeout", True)
    reply, stall_s, pause_s = whole(b"abc"), 1.0, 0.1
    slowly = [reply[at : at + 3] for at in range(0, len(reply), 3)]
    assert len(slowly) * pause_s > stall_s
    assert ask(slowly, client=Http(stall_s=stall_s), pause_s=pause_s)[0] == [b"abc"]


def test_a_connection_whose_end_has_come_is_not_used_also_where_the_loop_was_too_busy_to_hear_of_it():
    has_closed = threading.Event()

    def serve():
        for _ in range(2):
            with listening.accept()[0] as connection:
                while not connection.recv(4096).endswith(b"}"):
                    pass
                connection.sendall(whole(b"1"))
            has_closed.set()

    async def main():
        client, url = Http(), f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert await fetched(client, url) == b"1"
        assert has_closed.wait(10)  # and the event loop stands still meanwhile
        assert await fetched(client, url) == b"1"
        await client.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        asyncio.run(main())
        serving.join()


@pytest.mark.parametrize(
    ("announced", "connections"), [("timeout=2", 2), ("timeout=600, max=9", 1), ("max=9", 1), ("timeout=soon", 1)]
)
def test_a_connection_rests_less_than_its_server_says(announced, connections):
    reply = OK + b"Keep-Alive: %s\r\nContent-Length: 1\r\n\r\n1" % announced.encode()

    async def main():
        client = Http()
        async with answering([reply], [reply]) as (url, seen):
            await fetched(client, url)
            ((waiting,),) = client._idle.values()
            waiting.last_active_s -= 1.5
            await fetched(client, url)
        await client.close()
        return len({peer for _, _, peer in seen})

    assert asyncio.run(main()) == connections


def test_a_reply_that_nobody_asked_for_closes_its_connection():
    bodies, seen = ask([whole(b"1") + whole(b"stray")], [whole(b"2")], times=2)
    assert bodies == [b"1", b"2"]
    assert len({peer for _, _, peer in seen}) == 2


def test_a_connection_half_read_is_not_used_again():
    async def main():
        client = Http()
        reply = chunked(b"a", b"b")
        async with answering([reply[:-8], reply[-8:]], [whole(b"2")], pause_s=0.05) as (url, seen):
            async with client.post(url, {}, {}):
                pass  # left while the rest of it is on its way
            assert await fetched(client, url) == b"2"
        await client.close()
        return seen

    assert len({peer for _, _, peer in asyncio.run(main())}) == 2


def test_headers_go_out_as_given_and_line_breaks_do_not():
    _, seen = ask([whole(b"1")], headers={"X-Api-Key": "k"})
    head = seen[0][0].decode()
    assert head.startswith("POST /v1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "\r\nX-Api-Key: k\r\n" in head
    with pytest.raises(ValueError, match="line break"):
        ask([whole(b"1")], headers={"X": "a\r\nEvil: 1"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, folder / "cert.pem"


def test_an_encrypted_connection_is_used_again_where_its_certificate_is_trusted(certificate, monkeypatch):
    context, file = certificate
    monkeypatch.setattr(http, "_tls_context", lambda: ssl.create_default_context(cafile=str(file)))
    bodies, seen = ask([chunked(b"1", b"2")], [whole(b"3")], times=2, context=context)
    assert bodies == [b"12", b"3"]
    assert len({peer for _, _, peer in seen}) == 1


def test_a_certificate_nobody_vouches_for_is_never_accepted(certificate):
    failure = failure_of([whole(b"1")], context=certificate[0])
    assert (failure.kind, failure.is_transient) == ("unavailable", False)
    assert "is not valid: self-signed certificate. If it is your own" in failure.message
    assert "SSL_CERT_FILE=" in failure.message


def test_what_a_library_says_in_a_sentence_is_gone_on_with_by_one_full_stop():
    error = ssl.SSLCertVerificationError()
    error.verify_message = "IP address mismatch, certificate is not valid for '127.0.0.1'."
    assert "'127.0.0.1'. If it is" in http._fault("h", error, is_encrypted=True).message


def test_a_server_that_is_not_encrypted_is_told_from_one_that_is(monkeypatch):
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 0.3)

    async def main(*replies):
        client = Http()
        try:
            async with answering(*replies) as (url, _):
                await fetched(client, url.replace("http:", "https:"))
        finally:
            await client.close()

    with pytest.raises(ProviderError, match=r"no connection within 0.3 s\. Try: http://, if it is not encrypted"):
        asyncio.run(main([whole(b"1")]))


def test_a_proxy_of_the_environment_is_used_but_for_this_machine(monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def main():
        client = Http()
        async with answering([whole(b"from the proxy")]) as (url, seen):
            monkeypatch.setenv("HTTP_PROXY", url)
            monkeypatch.setenv("http_proxy", url)
            body = await fetched(client, "http://model.example/v1")
            await client.close()
            return body, seen[0][0]

    body, head = asyncio.run(main())
    assert body == b"from the proxy"
    assert head.startswith(b"POST http://model.example/v1 HTTP/1.1")
    monkeypatch.setenv("NO_PROXY", "model.example")
    monkeypatch.setenv("no_proxy", "model.example")
    assert not http.is_behind_proxy(take_apart("http://model.example/v1"))


def test_a_reply_that_breaks_off_behind_a_proxy_is_a_connection_failure_too(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def main():
        client = Http()
        async with answering([whole(b"abcdef")[:-3], None]) as (url, _):
            for name in ("HTTP_PROXY", "http_proxy"):
                monkeypatch.setenv(name, url)
            with pytest.raises(ProviderError) as caught:
                await fetched(client, "http://model.example/v1")
            await client.close()
        return caught.value.failure.kind

    assert asyncio.run(main()) == "connection"


@pytest.mark.parametrize(
    ("replies", "target", "was_sent"),
    [
        (None, "http://model.example/v1", False),  # no proxy listens
        (None, "https://model.example/v1", False),
        ([b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"], "https://model.example/v1", False),  # no tunnel
        ([b"HTTP/1.1 200 Yes\r\n\r\n not TLS"], "https://model.example/v1", False),
        ([b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"], "http://model.example/v1", True),
        ([None], "http://model.example/v1", True),
    ],
)
def test_behind_a_proxy_too_only_a_request_that_found_a_way_was_sent(replies, target, was_sent, monkeypatch):
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 0.5)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def main():
        client = Http()
        async with answering(*([] if replies is None else [replies])) as (url, _):
            proxy = "http://127.0.0.1:9" if replies is None else url
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, proxy)
            with pytest.raises(ProviderError) as caught:
                await fetched(client, target)
            await client.close()
        return caught.value.failure

    assert asyncio.run(main()).was_sent is was_sent


@pytest.mark.parametrize(
    ("proxy", "target", "words"),
    [
        ("http://user:hunter2@{}", "https://model.example/v1", "the proxy refuses: HTTP 407 No"),
        ("http://user:hunter2@{}", "http://model.example/v1", "HTTP 407 from model.example"),
        ("http://user:hunter2@127.0.0.1:9", "http://model.example/v1", "the proxy 127.0.0.1:9 cannot be reached"),
        ("user:hunter2@127.0.0.1:9", "http://model.example/v1", "is not a URL. Try: http://HOST:PORT"),
    ],
)
def test_a_fault_of_a_proxy_names_it_without_its_password(proxy, target, words, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def main():
        client = Http()
        async with answering([b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"]) as (url, _):
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, proxy.format(url.removeprefix("http://")))
            with pytest.raises(ProviderError) as caught:
                await fetched(client, target)
            await client.close()
        return caught.value.failure.message

    told = asyncio.run(main())
    assert words in told
    assert "hunter2" not in told


def behind_a_proxy(target, reply, monkeypatch):
    """What came of a request that a proxy answers with this."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def main():
        client = Http()
        async with answering([reply]) as (url, _):
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, url)
            try:
                return await fetched(client, target)
            except ProviderError as error:
                return error.failure
            finally:
                await client.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "reply", "kind", "words"),
    [
        ("https", b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "unavailable", "Try: HTTPS_PROXY with the user"),
        ("https", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "unavailable", "HTTP 403 No"),
        ("https", b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", "connection", "HTTP 502 No"),
        ("https", b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", "connection", "HTTP 429 No"),
        ("http", b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "unavailable", "HTTP 407"),
        ("http", b"SSH-2.0-hello\r\n\r\n", "malformed", "not well-formed HTTP (Bad status line"),
        ("http", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1", "malformed", "(Duplicate Content-Length"),
        (
            "http",
            OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip!!",
            "malformed",
            "cannot be unpacked",
        ),
    ],
)
def test_behind_a_proxy_too_only_what_passes_is_worth_many_requests(target, reply, kind, words, monkeypatch):
    failure = behind_a_proxy(f"{target}://model.example/v1", reply, monkeypatch)
    assert failure.kind == kind
    assert words in failure.message
    assert "\n" not in failure.message


def test_what_leads_nowhere_for_want_of_http_was_never_sent(monkeypatch):
    failure = behind_a_proxy("https://model.example/v1", b"SSH-2.0-hello\r\n\r\n", monkeypatch)
    assert (failure.kind, failure.was_sent) == ("malformed", False)


def test_a_header_may_be_as_long_behind_a_proxy_as_elsewhere(monkeypatch):
    long = OK + b"Content-Security-Policy: " + b"a" * 20_000 + b"\r\nContent-Length: 1\r\n\r\n1"
    assert behind_a_proxy("http://model.example/v1", long, monkeypatch) == b"1"


def test_a_refusal_that_nobody_waits_for_gives_its_connection_up():
    async def main():
        client = Http()
        async with answering([b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n"]) as (url, _):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await fetched(client, url)
            taken = len(client._busy)
            await client.close()
        return taken

    assert asyncio.run(main()) == 0


def test_nobody_listening_is_a_connection_failure():
    with pytest.raises(ProviderError) as caught:
        asyncio.run(fetched(Http(), "http://127.0.0.1:1/v1"))
    assert caught.value.failure.kind == "connection"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://api.example/v1/chat?x=1", ("api.example", 443, True, "/v1/chat?x=1", "api.example")),
        ("http://[::1]:8080", ("::1", 8080, False, "/", "[::1]:8080")),
        ("http://h/é x?q=[1]", ("h", 80, False, "/%C3%A9%20x?q=[1]", "h")),
        ("http://h/m:generateContent?alt=sse", ("h", 80, False, "/m:generateContent?alt=sse", "h")),
        ("http://bücher.example/", ("xn--bcher-kva.example", 80, False, "/", "xn--bcher-kva.example")),
    ],
)
def test_urls_are_taken_apart(url, parts):
    assert take_apart(url)[:5] == parts


@pytest.mark.parametrize("url", ["ftp://x/", "nonsense", "http://", "http://x:notaport/", "http://" + "a" * 70 + "é/"])
def test_what_is_no_url_is_told(url):
    with pytest.raises(ProviderError, match="not a URL"):
        take_apart(url)


def test_user_and_password_of_a_url_become_a_header():
    assert take_apart("http://me:p%40ss@h/").authorization == "Basic bWU6cEBzcw=="


STREAM = "data: é1\n\n: comment\nevent: x\r\ndata: two\r\ndata: lines\r\n\r\nid: 7\n\ndata:last".encode()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_they_are_cut(size, start, end):
    stream = EventStream()
    sent = start + (STREAM if end == b"\n" else STREAM.replace(b"\r\n", b"\n").replace(b"\n", end))
    found = [event for at in range(0, len(sent), size) for event in stream.feed(sent[at : at + size])]
    assert [*found, *stream.end()] == ["é1".encode(), b"two\nlines", b"last"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_there_when_its_last_line_end_is_whatever_that_is(end):
    stream = EventStream()
    assert [stream.feed(b"data: %d" % i + 2 * end) for i in range(3)] == [[b"0"], [b"1"], [b"2"]]


def test_a_line_that_comes_in_many_pieces_is_read_in_time_that_grows_with_its_length():
    stream, piece = EventStream(), b"x" * 1024
    stream.feed(b"data: ")
    began_s = time.process_time()
    for _ in range(8 << 10):
        stream.feed(piece)
    assert stream.feed(b"\n\n") == [piece * (8 << 10)]
    assert time.process_time() - began_s < 2.0  # joined anew with each piece it takes its square


@pytest.mark.parametrize("piece", [b"data: x\n\n", b"data: x\r\n\n", b"data:  x\n\n", b"data: \n\n", b": data: x\n\n"])
def test_an_event_that_comes_alone_reads_as_one_that_comes_in_parts(piece):
    whole, parts = EventStream(), EventStream()
    parts.feed(b"\n" + piece[:3])
    assert whole.feed(piece) == parts.feed(piece[3:])
    assert whole.end() == parts.end() == []


DATE = "Wed, 25 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:10 GMT", "date": DATE}, 10.0),
        ({"retry-after": "Wed, 25 Nov 2026 11:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after-ms": "350", "retry-after": "1"}, 0.35),
        ({"retry-after-ms": "9" * 400, "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "-5", "retry-after": "1"}, 1.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"}, 62.5),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9" * 400 + "h"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795608004500", "date": DATE}, 4.5),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "3"}, 3.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "24h0m0s"}, 300.0),
        ({"retry-after": "600", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "3"}, 600.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "120ms"}, None),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-25T12:00:03Z",
          "date": DATE}, 3.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}, 2.0),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:10 -0000", "date": DATE}, 10.0),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:10 GMT", "date": "today"}, 7.0),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:10 GMT"}, 7.0),
        ({"retry-after": "1795608005", "date": DATE}, 5.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1795608004500", "date": DATE}, 4.5),
        ({}, None),
    ],
)  # fmt: skip
def test_a_service_says_in_many_ways_how_long_to_wait(headers, seconds, monkeypatch):
    class Here(datetime):
        @classmethod
        def now(cls, zone=None):
            return cls(2026, 11, 25, 12, 0, 3, tzinfo=zone)

    monkeypatch.setattr("steelyard.providers.refusals.datetime", Here)
    assert retry_after_s(headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("size", "seconds"), [("1200", 1.0), ("3", 20.0), ("soon", 60.0), (None, 60.0), ("0", 60.0), ("9" * 5_000, 1.0)]
)
def test_an_answer_that_took_the_last_of_a_limit_is_followed_when_the_next_may_fit(size, seconds):
    told = {"remaining-requests": "0", "reset-requests": "60s", "limit-requests": size, "remaining-tokens": "9"}
    headers = {f"x-ratelimit-{name}": value for name, value in told.items() if value is not None}
    assert rest_s(headers) == seconds
    assert rest_s(headers | {"x-ratelimit-remaining-requests": "1"}) is None
    assert retry_after_s(headers) == 60.0  # of a refusal nothing is guessed

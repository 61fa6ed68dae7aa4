"""The dashboard answers its own user only: host, origin, token, method; and says how its pages are to be treated."""

import http.client
import re
import socket

import pytest
from boards import COOKIE, TOKEN, Visitor, one_run, served

from steelyard.dashboard.app import access
from steelyard.errors import UsageError
from steelyard.store import Store

PATHS = ("/", "/runs/1", "/runs/1/answers", "/answers/1", "/item?name=quiz/0", "/compare", "/trends",
         "/baselines", "/money", "/search?q=yes", "/runs/1/provenance", "/runs/1/report.html", "/nothing")  # fmt: skip


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("guarded") / "s.db") as store:
        one_run(store, ["yes", "no"], scores=[1.0, 0.0])
        with served(store, hosts=["board.example"]) as at:
            yield at


@pytest.fixture(scope="module")
def visitor(port):
    return Visitor(port)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(port, path):
    status, _, text = Visitor(port, token=None).ask(path)
    assert status == 401
    assert "quiz" not in text
    assert "a run" not in text


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=", f"{COOKIE}={TOKEN}", "steelyard=1", f"{COOKIE}=\xe9", "a=b; ;=;"])
def test_another_cookie_opens_nothing(port, cookie):
    assert Visitor(port, token=None).ask("/", Cookie=cookie)[0] == 401


def test_a_wrong_token_opens_nothing(port, visitor):
    assert Visitor(port, token=None).ask("/?token=wrong")[0] == 401
    assert visitor.ask("/?token=")[0] == 401


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(port):
    status, headers, _ = Visitor(port, token=None).ask(f"/runs/1?token={TOKEN}&charts=yes")
    assert (status, headers["location"]) == (303, "/runs/1?charts=yes")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    assert TOKEN not in headers["set-cookie"]


def test_the_redirect_stays_on_this_server(port):
    for path in ("//evil.example/", "/\\evil.example/", "///evil.example"):
        _, headers, _ = Visitor(port, token=None).ask(f"{path}?token={TOKEN}")
        assert re.match(r"/[^/\\]", headers["location"] + "x"), headers["location"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1:1@evil.example", "", "[::2]:80",
     "127.1", "0x7f.1", "localhost:80:80", "evil.example, localhost", "board.example.", "localhost\tx"],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_refused(visitor, host):
    assert visitor.ask("/", Host=host)[0] == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8642", "LOCALHOST", "[::1]:8642", "board.example:443"])
def test_our_own_names_are_served(visitor, host):
    assert visitor.ask("/", Host=host)[0] == 200


def test_two_hosts_are_none(port, visitor):
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nCookie: {visitor.cookie}\r\n\r\n".encode())
        assert b" 400 " in raw.recv(200).split(b"\r\n")[0]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1",
                                    "http://localhost:{port}", "file://"])  # fmt: skip
def test_a_foreign_origin_is_refused(port, visitor, origin):
    assert visitor.ask("/", Origin=origin.format(port=port))[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "what"])
def test_another_sites_page_gets_nothing(visitor, site):
    status, _, text = visitor.ask("/runs/1", Sec_Fetch_Site=site, Sec_Fetch_Mode="cors")
    assert status == 403
    assert "href" not in text


def test_a_link_from_another_site_is_offered_again_from_here(visitor):
    status, _, text = visitor.ask("/runs/1?a=%22%3E%3Cb", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert status == 403
    assert '<a href="/runs/1?a=%22%3E%3Cb">' in text
    assert "quiz" not in text


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_ones_own_navigation_is_answered(visitor, site):
    assert visitor.ask("/", Sec_Fetch_Site=site)[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused(visitor, method):
    assert visitor.ask("/runs/1", method=method)[0] == 405


@pytest.mark.parametrize("path", ["/runs/1/name?name=x", "/runs/1/tag?tag=x", "/runs/1/untag?tag=x"])
def test_reading_changes_nothing(visitor, path):
    assert visitor.ask(path)[0] == 405
    assert "a run" in visitor.page("/")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"},
     {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "none"}],
)  # fmt: skip
def test_a_form_that_is_not_ours_changes_nothing(port, visitor, headers):
    status, _, _ = visitor.ask("/runs/1/tag", method="POST", body="tag=stolen", **headers)
    assert status == 403
    assert "stolen" not in visitor.page("/runs/1")


def test_a_form_without_the_cookie_changes_nothing(port, visitor):
    assert Visitor(port, token=None).send("/runs/1/tag", "tag=stolen")[0] == 401
    assert Visitor(port, token=None).send(f"/runs/1/tag?token={TOKEN}", "tag=stolen")[0] == 401
    assert "stolen" not in visitor.page("/runs/1")


def test_our_forms_name_and_tag(visitor):
    assert visitor.send("/runs/1/tag", "tag=kept+safe")[:2][0] == 303
    assert visitor.send("/runs/last/name", "name=%3Cb%3Eanother", Sec_Fetch_Site="same-origin")[0] == 303
    text = visitor.page("/runs/1")
    assert "kept safe" in text
    assert "&lt;b&gt;another" in text
    visitor.send("/runs/1/untag", "tag=kept+safe")
    visitor.send("/runs/1/name", "name=a+run")
    assert "kept safe" not in visitor.page("/runs/1")


@pytest.mark.parametrize("body", ["", "tag=", "tag=%0a", "tag=a%0ab", "tag=%e2%80%ae", "tag=%00", "name=x"])
def test_a_tag_is_words_on_one_line(visitor, body):
    assert visitor.send("/runs/1/tag", body)[0] == 400


def test_a_form_is_short(port, visitor):
    assert visitor.send("/runs/1/tag", "tag=" + "x" * 20_000)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Cookie": visitor.cookie, "Origin": f"http://127.0.0.1:{port}"}
    connection.request("POST", "/runs/1/tag", body=iter([b"tag=x"]), headers=headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("path", [*PATHS, "/static/0/dashboard.js"])
def test_every_answer_forbids_what_is_not_ours(visitor, path):
    for who in (visitor, Visitor(visitor.port, token=None)):
        _, headers, text = who.ask(path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers or "steelyard" not in headers["server"]
        assert text


def test_style_and_script_are_kept_by_their_content(visitor):
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', visitor.page("/"))
    assert len(found) == 3
    for path in found:
        status, headers, _ = visitor.ask(path)
        assert status == 200
        assert "immutable" in headers["cache-control"]
        assert headers["content-security-policy"].startswith("default-src 'none'")


def test_pages_have_no_inline_style_or_script(visitor):
    for path in PATHS:
        if not path.endswith((".html", "/nothing")):
            text = visitor.page(path)
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), path
            assert re.findall(r"<script[^>]*>", text) == re.findall(
                r'<script src="/static/[0-9a-f]+/dashboard.js" defer>', text
            )


def test_the_report_is_a_download(visitor):
    status, headers, text = visitor.ask("/runs/1/report.html")
    assert status == 200
    assert headers["content-disposition"].startswith("attachment")
    assert text.startswith("<!doctype html>")


def test_a_websocket_is_refused(port, visitor):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "eHh4eHh4eHh4eHh4eHh4eA==",
               "Sec-WebSocket-Version": "13"}  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/", headers=headers)
    assert connection.getresponse().status in (400, 401, 403)
    connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "board.example", ""])
def test_a_foreign_address_is_refused_without_a_token(host):
    with pytest.raises(UsageError, match="--no-token"):
        access(host, allowed_hosts=["board.example"], is_open=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_every_address_needs_a_name(host):
    with pytest.raises(UsageError, match="--allow-host"):
        access(host)
    assert access(host, allowed_hosts=["board.example"]).hosts == {"board.example"}


def test_a_foreign_address_has_its_own_name_and_a_token():
    found = access("192.0.2.1")
    assert found.hosts == {"192.0.2.1"}
    assert len(found.token) >= 32
    assert access("192.0.2.1").token != found.token


def test_a_short_token_is_refused():
    with pytest.raises(UsageError, match="16 characters"):
        access("127.0.0.1", token="short")


def test_without_a_token_this_machine_reads_freely(tmp_path):
    with Store.open(tmp_path / "s.db") as store:
        one_run(store, ["yes"])
        with served(store, token=None) as at:
            open_to_all = Visitor(at, token=None)
            assert "a run" in open_to_all.page("/")
            assert open_to_all.ask("/", Host="evil.example")[0] == 400
            assert open_to_all.ask("/runs/1/tag", method="POST", body="tag=x")[0] == 403

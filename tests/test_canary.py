"""One key goes through every path on which a run can end; then every byte that was written or printed is searched.

The key has no known shape, so that it is found by its value alone, and characters that encoders change.
"""

import base64
import html
import json
import re
import resource
import sqlite3
import subprocess
import sys
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import zstandard
from aiohttp import web
from multidict import CIMultiDict

import vendor_replies
from server import chunk, finish, serving, stream, usage
from steelyard.cli import main
from steelyard.errors import ProviderError
from steelyard.providers.endpoint import decoded
from steelyard.providers.refusals import reason_of
from steelyard.secrets import Secret, keyless_environment, scrub

KEY = "CaNaRy/7+kQ0=zZ&x?Yw~end"
VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MY_OWN_SECRET")
FORMS = {
    "as it is": KEY,
    "in small letters": KEY.lower(),
    "percent-encoded": urllib.parse.quote(KEY, safe=""),
    "percent-encoded by .NET": re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote(KEY, safe="")),
    "in a form": urllib.parse.quote_plus(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 behind a user": base64.b64encode(b"user:" + KEY.encode()).decode(),
    "base64 behind a name": base64.b64encode(b"name:" + KEY.encode() + b"!").decode(),
    "url-safe base64": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "hexadecimal": KEY.encode().hex(),
    "hexadecimal in capitals": KEY.encode().hex().upper(),
    "in JSON of PHP": KEY.replace("/", "\\/"),
    "in JSON of Go": KEY.replace("&", "\\u0026"),
    "in JSON of Gson": KEY.replace("&", "\\u0026").replace("=", "\\u003d"),
    "in JSON of .NET": KEY.replace("&", "\\u0026").replace("+", "\\u002B"),
    "in HTML": html.escape(KEY),
}
ALL_FORMS = " ".join(FORMS.values())


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, KEY)


def traces(data):
    """The forms of the key that stand in these bytes; of base64 the inner part, which no neighbour changes."""
    found = []
    for name, form in FORMS.items():
        core = form[4:-4].rstrip("=") if "base64" in name else form
        found += [name for encoding in ("utf-8", "utf-16-le") if core.encode(encoding) in data]
    return found


def opened(data):
    """The bytes, and what is in their zstandard frames: the store packs its records."""
    magic, at = b"\x28\xb5\x2f\xfd", 0
    pieces = [data]
    while (at := data.find(magic, at)) >= 0:
        with suppress(zstandard.ZstdError):  # a frame that goes over a page of the file: the rows are read below
            pieces.append(zstandard.ZstdDecompressor().decompressobj().decompress(data[at:]))
        at += 1
    return b"\n".join(pieces)


def rows_of(store):
    """Every value in every table, unpacked."""
    with sqlite3.connect(store) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f"SELECT * FROM {table}"):
                for value in row:
                    yield (
                        value.encode()
                        if isinstance(value, str)
                        else opened(bytes(value))
                        if isinstance(value, bytes)
                        else str(value).encode()
                    )
    connection.close()


def look_everywhere(printed, *, ignored=()):
    """Search what was printed and every file in the working folder."""
    assert traces(printed.encode("utf-8", "surrogateescape")) == []
    for path in Path().rglob("*"):
        if path.is_file() and path.name not in ignored:
            assert traces(opened(path.read_bytes())) == [], path
            if path.suffix in (".db", ".jsonl", ".csv", ".parquet"):
                assert path.stat().st_mode & 0o077 == 0, f"{path} may be read by others"
            if path.suffix == ".db":
                assert [found for value in rows_of(path) for found in traces(value)] == []


def steelyard(capfd, *words):
    """The exit code and all that was printed."""
    code = main(list(words))
    printed = capfd.readouterr()
    return code, printed.out + printed.err


def echo(place):
    """A service that gives the key back, in all its forms, at one place of its reply."""

    async def handle(request, body, number):
        if place == "answer":
            return await stream(
                request, [chunk(content=ALL_FORMS[:9]), chunk(content=ALL_FORMS[9:]), finish(), usage()]
            )
        if place == "whole":
            message = {"choices": [{"message": {"content": ALL_FORMS, "reasoning": ALL_FORMS}, "finish_reason": KEY}]}
            return web.json_response(message | {"model": KEY, "system_fingerprint": KEY})
        if place == "reasoning":
            return await stream(request, [chunk(reasoning_content=ALL_FORMS), chunk(content="7"), finish(KEY), usage()])
        if place == "stream error":
            return await stream(request, [chunk(content="a"), {"error": {"message": ALL_FORMS, "code": 400}}])
        if place == "not json":
            return await stream(request, [f"data: {{{ALL_FORMS}\n\n".encode()], raw=True)
        if place == "not http":
            request.transport.write(f"HTTP/1.1 {KEY} {KEY}\r\n\r\n".encode())
            request.transport.close()
            return web.Response()
        if place == "encoding":
            request.transport.write(
                f"HTTP/1.1 200 OK\r\nContent-Encoding: {KEY}\r\nContent-Length: 1\r\n\r\nx".encode()
            )
            request.transport.close()
            return web.Response()
        if place == "headers":
            return web.json_response({}, status=400, reason=KEY, headers={"X-Key": KEY, "Retry-After": "x"})
        message = f"Incorrect API key provided: {ALL_FORMS} Bearer {KEY} https://user:{KEY}@host/?key={KEY}"
        return web.json_response({"error": {"message": message}}, status=int(place))

    return handle


EVERY_PLACE = (
    "answer",
    "whole",
    "reasoning",
    "stream error",
    "not json",
    "not http",
    "encoding",
    "headers",
    "400",
    "401",
    "404",
)


PROVIDERS = ("openai", "anthropic", "google")


def of(request):
    """The provider whose way of asking this is."""
    if request.path.endswith("/messages"):
        return "anthropic"
    return "google" if "enerateContent" in request.path else "openai"


def in_its_own_words(provider):
    """The vendor's stream with the key as the answer, and as the model's name."""
    text = vendor_replies.ANTHROPIC_STREAM if provider == "anthropic" else vendor_replies.GOOGLE_STREAM
    for old, new in (("Voilà, ", ALL_FORMS), ("sept → six…", ALL_FORMS), ("2.5-pro", KEY), ("-20250929", KEY)):
        text = text.replace(old.encode(), new.encode())
    return text


def gives_back(place):
    """A service of all three providers that gives the key back there."""
    as_openai = echo(place)

    async def handle(request, body, number):
        if place == "answer" and of(request) != "openai":
            return await stream(request, [in_its_own_words(of(request))], raw=True)
        return await as_openai(request, body, number)

    return handle


@pytest.mark.parametrize("place", EVERY_PLACE)
def test_a_key_that_the_service_gives_back_is_nowhere(place, capfd):
    """From any of the providers; what is printed of a run is printed of all of them at once."""
    with serving(gives_back(place)) as server:
        models = [word for provider in PROVIDERS for word in ("-m", f"{provider}/m")]
        run = steelyard(capfd, "run", "starter:arithmetic", "--limit", "2", *models, "--base-url", server.url)
        for header in ("Authorization", "x-api-key", "x-goog-api-key"):
            sent = [headers.get(header, "") for headers in map(CIMultiDict, server.headers)]
            assert any(KEY in value for value in sent), f"the key was not sent in {header}"
    printed = [run[1]]
    for words in (
        ["show"],
        ["show", "--wrong"],
        ["show", "--json"],
        ["report", "--html", "-"],
        ["report", "--markdown", "-"],
        ["report", "--junit", "-"],
        ["runs", "--json"],
        ["rescore", "last", "--protocol", "generate"],
    ):
        printed.append(steelyard(capfd, *words)[1])
    for format_ in ("csv", "jsonl", "parquet"):
        steelyard(capfd, "export", "--format", format_, "--output", f"run.{format_}")
    printed += [steelyard(capfd, "export", "--format", format_)[1] for format_ in ("csv", "jsonl")]
    look_everywhere("".join(printed))
    if place == "answer":
        for provider in PROVIDERS:
            assert any("[key removed]" in shown for shown in printed[2].split("── ") if f"{provider}/m" in shown)


def test_json_output_of_a_failed_run_holds_no_key(capfd):
    with serving(echo("401")) as server:
        code, printed = steelyard(
            capfd, "run", "starter:arithmetic", "--limit", "2", "-m", "openai/m", "--base-url", server.url, "--json"
        )
    assert code == 4
    assert "[key removed]" in printed
    look_everywhere(printed)


CALLABLES = """
import base64, os
def raises(prompt):
    raise RuntimeError("cannot log in with " + os.environ["MY_OWN_SECRET"])
def answers(prompt):
    return os.environ["MY_OWN_SECRET"] + " " + base64.b64encode(os.environ["MY_OWN_SECRET"].encode()).decode()
def chained(prompt):
    try:
        raises(prompt)
    except RuntimeError as error:
        raise ValueError(repr(os.environ)) from error
"""


@pytest.mark.parametrize("name", ["raises", "answers", "chained"])
def test_a_key_that_a_callable_reads_by_itself_is_nowhere(name, capfd, monkeypatch):
    Path("canary_models.py").write_text(CALLABLES)
    monkeypatch.delitem(sys.modules, "canary_models", raising=False)
    code, printed = steelyard(capfd, "run", "starter:arithmetic", "--limit", "2", "-m", f"python:canary_models:{name}")
    assert code == (0 if name == "answers" else 4)
    printed += steelyard(capfd, "show", "--wrong")[1]
    assert "[key removed]" in printed or name != "answers"
    look_everywhere(printed)


def test_a_proxy_that_quotes_what_it_was_sent_gives_no_password_away(capfd, monkeypatch):
    """The proxy is a service that reads the header; the model's is never reached."""
    asked = []

    async def refuse(request, body, number):
        sent = request.headers["Proxy-Authorization"]
        asked.append(sent)
        user, password = base64.b64decode(sent.removeprefix("Basic ")).decode().split(":", 1)
        quoted = f"{sent.removeprefix('Basic ')} is {user} with {password}"
        return web.json_response({"error": {"message": quoted}}, status=407)

    with serving(refuse) as proxy:
        address = f"http://who:{urllib.parse.quote(KEY, safe='')}@{proxy.url.removeprefix('http://').partition('/')[0]}"
        for name in VARIABLES:
            monkeypatch.setenv(name, "another-key-than-the-canary")
        monkeypatch.setattr("steelyard.secrets._read", set())
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        where = ["-m", "openai/m", "--base-url", "http://service.invalid/v1"]
        code, printed = steelyard(capfd, "run", "starter", "--limit", "1", *where)
    assert code == 4
    assert asked
    assert "== is who with [key removed]" in printed
    look_everywhere(printed)


def test_a_callable_that_cannot_be_imported_is_told_without_the_key(capfd):
    Path("canary_broken.py").write_text("import os\nraise ImportError(os.environ['MY_OWN_SECRET'])\n")
    code, printed = steelyard(capfd, "run", "starter", "-m", "python:canary_broken:f")
    assert code == 2
    assert "[key removed]" in printed
    look_everywhere(printed)


def test_a_fault_of_our_own_is_told_without_the_key(capfd, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError(f"unexpected {ALL_FORMS}")

    monkeypatch.setattr("steelyard.report.terminal.print_runs", fail)
    Path("canary_models.py").write_text(CALLABLES)
    steelyard(capfd, "run", "starter", "-m", "baseline/random")
    code, printed = steelyard(capfd, "runs")
    assert code == 4
    assert "RuntimeError: unexpected [key removed]" in printed
    look_everywhere(printed)


@pytest.mark.parametrize(
    "words",
    [
        ["--base-url", f"https://user:{urllib.parse.quote(KEY, safe='')}@127.0.0.1:9/v1"],
        ["--base-url", f"https://{urllib.parse.quote(KEY, safe='')}@127.0.0.1:9/v1"],
        ["--base-url", f"http://127.0.0.1:9/v1?api_key={urllib.parse.quote(KEY, safe='')}"],
        ["--base-url", f"http://127.0.0.1:9/{urllib.parse.quote(KEY, safe='')}/v1"],
    ],
)
def test_a_key_in_an_address_is_refused_before_anything_is_stored(words, capfd):
    code, printed = steelyard(capfd, "run", "starter", "-m", "openai/m", *words)
    assert code == 2
    assert "holds a key or a password" in printed
    look_everywhere(printed)


@pytest.mark.parametrize("option", ["--key", "--api-key", "--limit"])
def test_a_key_typed_where_none_belongs_is_not_repeated(option, capfd):
    with suppress(SystemExit):
        assert main(["run", "starter", "-m", "openai/m", option, KEY]) == 2
    printed = capfd.readouterr().err
    assert "[key removed]" in printed
    look_everywhere(printed)


@pytest.mark.parametrize("entry", ["api_key: KEY", "extra: {api_key: KEY}", "extra: {a: {b: [Bearer KEY]}}"])
def test_a_key_in_a_plan_is_refused_and_not_repeated(entry, capfd):
    line = entry.replace("KEY", json.dumps(KEY) if "Bearer" not in entry else KEY.replace(",", ""))
    if "Bearer" in entry:
        line = f"extra: {{a: {{b: [{json.dumps('Bearer ' + KEY)}]}}}}"
    Path("plan.yaml").write_text(
        f"models:\n  - model: m\n    provider: openai\n    base_url: http://127.0.0.1:9/v1\n    {line}\n"
        "benchmarks: [starter]\n"
    )
    code, printed = steelyard(capfd, "run", "plan.yaml")
    assert code == 2
    look_everywhere(printed, ignored=("plan.yaml",))


def test_imported_answers_that_hold_the_key_are_stored_without_it(capfd):
    main(["prompts", "starter", "--limit", "2"])
    ids = [json.loads(line)["sample_id"] for line in capfd.readouterr().out.splitlines()]
    Path("answers.jsonl").write_text("".join(json.dumps({"sample_id": i, "completion": ALL_FORMS}) + "\n" for i in ids))
    Path("answers.jsonl").chmod(0o600)
    code, printed = steelyard(capfd, "import", "answers.jsonl", "--benchmark", "starter", "--model", "x")
    assert code == 0
    printed += steelyard(capfd, "show", "--wrong")[1]
    look_everywhere(printed, ignored=("answers.jsonl",))


def test_children_see_no_key(monkeypatch):
    from steelyard.providers.llamacpp import child_environment

    for environment in (keyless_environment(), child_environment()):
        assert traces(repr(environment).encode()) == []
    assert "PATH" in keyless_environment()


def test_what_judges_code_sees_no_key():
    if not Path("/proc/self/environ").exists():
        pytest.skip("there is no /proc to look into")
    from steelyard.sandbox.backends import recipes, unsafe
    from steelyard.sandbox.process import Zygote, ZygoteLost

    looked_into = 0
    for recipe in (*recipes(), unsafe()):
        with suppress(ZygoteLost, OSError):  # this machine does not have it
            zygote = Zygote(recipe)
            try:
                assert traces(Path(f"/proc/{zygote._process.pid}/environ").read_bytes()) == []
                looked_into += 1
            finally:
                zygote.close()
    assert looked_into >= 1


SHAPES = [
    "sk-abcdefghijklmnopqrstuvwx",
    "sk-proj-AbC_dEf-0123456789",
    "sk-ant-api03-abc_DEF-0123456789",
    "sk-or-v1-0123456789abcdef",
    "AIzaSyA-0123456789_abcdefghijklmnopqrs",
    "gsk_0123456789abcdefABCDEF",
    "hf_AbCdEfGhIjKlMnOp",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN",
    "sk-abc***************wxyz",
    "abcd1234****wxyz",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_looks_like_a_key_is_removed_though_nobody_knows_it(shape):
    text = f"Incorrect key: {shape}. See https://host/"
    assert scrub(text) == "Incorrect key: [key removed]. See https://host/"
    assert shape not in scrub(f"?key={shape}&x=1") + scrub(f'{{"key":"{shape}"}}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [key removed]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [key removed]"),
        ("https://user:pass@host/v1", "https://[key removed]@host/v1"),
        ("https://token@host/v1", "https://[key removed]@host/v1"),
        ("postgresql://ann:pass@host/db", "postgresql://[key removed]@host/db"),
        ("postgres://:pass@host/db", "postgres://[key removed]@host/db"),
        ("GET /v1?key=abc123&alt=sse", "GET /v1?key=[key removed]&alt=sse"),
    ],
)
def test_credentials_are_removed_wherever_their_place_tells_them(text, expected):
    assert scrub(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a risk-adjusted task-oriented desk-bound answer",
        "https://host/path?alt=sse and mail@host",
        "steelyard run --resume 3 --store postgresql://ann@host/db",
        "**bold** and ***** and a*b",
        "the half_life of AKIA",
        "the answer is 7 * 6 = 42",
    ],
)
def test_a_text_without_a_key_is_left_as_it_is(text):
    assert scrub(text) == text


def test_one_long_word_from_a_server_holds_nothing_up():
    began_s = time.process_time()
    assert scrub("aB3_" * 25_000).startswith("aB3_")
    assert time.process_time() - began_s < 1


@pytest.mark.parametrize("kind", ["a page", "an error in JSON", "a reply that is none"])
def test_where_a_reply_is_cut_no_part_of_a_key_is_left(kind):
    """What is shown of a reply ends anywhere, so also within a key that the service gives back."""
    secret = Secret(KEY)
    most = {"a page": 300, "an error in JSON": 500, "a reply that is none": 200}[kind]
    for shown in range(8, len(KEY)):
        text = "." * (most - shown) + secret.reveal() + "!"
        if kind == "a reply that is none":
            said = str(malformed_reply(text))
        else:
            said = reason_of(text if kind == "a page" else json.dumps({"error": {"message": text}}))
        assert KEY[:8] not in said


def malformed_reply(text):
    with pytest.raises(ProviderError) as told:
        decoded(msgspec.json.Decoder(dict), text.encode())
    return told.value


def test_a_secret_shows_itself_nowhere():
    import copy
    import pickle

    import msgspec

    secret = Secret(KEY)
    for show in (repr, str, "{}".format, lambda value: f"{value!r:>40}"):
        assert traces(show(secret).encode()) == []
    for write in (pickle.dumps, copy.deepcopy, msgspec.json.encode, json.dumps):
        with pytest.raises(TypeError):
            write(secret)


def test_a_command_that_crashes_leaves_no_image_of_its_memory():
    """What the shell allows is taken back, for the children too."""
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if most == 0:
        pytest.skip("no process here may leave one")
    asks = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    begins = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({most}, {most})); "
    runs = f"from steelyard.cli import main; import subprocess, sys; main(['list', 'metrics', '--json']); {asks}; "
    code = begins + runs + f"sys.stdout.flush(); subprocess.run([sys.executable, '-c', {asks!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-2:] == ["0", "0"], done.stderr

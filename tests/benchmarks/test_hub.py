"""Loading from the hub: the real loader and the real client, against a local server that speaks the hub's protocol."""

import hashlib
import subprocess
import sys

import duckdb
import pytest
from aiohttp import web
from msgspec.structs import replace

from server import serving
from steelyard.benchmarks import data
from steelyard.benchmarks.gsm8k import TEST
from steelyard.errors import DataError

ROWS = [{"question": f"How many is {i}?", "answer": f"It is\u2028so.\n#### {i}"} for i in range(5)]
COMMIT = TEST.revision


def parquet(rows, path="rows.parquet"):
    values = ", ".join(f"({_quoted(row['question'])}, {_quoted(row['answer'])})" for row in rows)
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {values}) AS t(question, answer)) TO '{path}' (FORMAT parquet)")
    with open(path, "rb") as file:
        return file.read()


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


def source(rows=ROWS):
    return replace(TEST, rows=len(rows), digest=data.canonical_digest(rows, TEST.columns))


def hub(content=b"", *, error=None, status=404):
    """Serves one file at the pinned revision, or one of the hub's refusals."""

    async def handle(request, body, number):
        if error:
            return web.Response(status=status, headers={"X-Error-Code": error, "X-Error-Message": error})
        assert request.path == f"/datasets/openai/gsm8k/resolve/{COMMIT}/main/test-00000-of-00001.parquet"
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        return web.Response(body=content, headers=headers)

    return serving(handle)


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("STEELYARD_DATA", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))


def fetch(server, wanted, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/v1"))
    return data.fetch(wanted)


def test_rows_come_from_the_hub_at_the_pinned_revision_and_then_from_the_cache(monkeypatch):
    with hub(parquet(ROWS)) as server:
        first = fetch(server, source(), monkeypatch)
        asked = len(server.requests)
    assert first.rows == ROWS
    assert first.origin == "hub"
    assert asked >= 1
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert data.fetch(source()).rows == ROWS  # offline now


def test_other_rows_are_refused_with_both_digests_and_accepted_by_name(monkeypatch):
    changed = [*ROWS[:-1], {"question": "New?", "answer": "#### 1"}]
    with hub(parquet(changed)) as server, pytest.raises(DataError, match="the rows are not the pinned ones") as caught:
        fetch(server, source(), monkeypatch)
    wanted, found = source().digest, source(changed).digest
    assert wanted in str(caught.value)
    assert f"--accept-data {found}" in str(caught.value)
    assert data.fetch(source(), accept_digest=found).digest == found


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("GatedRepo", 403, "is gated. Accept its terms"),
        ("RepoNotFound", 401, "the hub has no openai/gsm8k"),
        ("RevisionNotFound", 404, "the hub has no openai/gsm8k"),
        ("EntryNotFound", 404, "the hub has no openai/gsm8k"),
    ],
)
def test_each_refusal_of_the_hub_is_told_in_words(error, status, words, monkeypatch):
    with hub(error=error, status=status) as server, pytest.raises(DataError, match=words):
        fetch(server, source(), monkeypatch)


def test_no_connection_is_told_with_what_to_try(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # its patience, not ours
    with pytest.raises(DataError, match=r"cannot reach the hub .* STEELYARD_DATA"):
        data.fetch(source())


def test_a_missing_package_is_named():
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from steelyard.benchmarks import data; from steelyard.benchmarks.gsm8k import TEST\n"
        "try: data.fetch(TEST)\nexcept Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "EnvironmentFault" in done.stdout
    assert "steelyard[hub]" in done.stdout


def test_a_row_without_a_column_is_named(monkeypatch):
    with hub(parquet([{"question": "x", "answer": "y"}])) as server, pytest.raises(DataError, match="row 0 has no"):
        fetch(server, replace(source(), columns=("question", "answer", "subject")), monkeypatch)

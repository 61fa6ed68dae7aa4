"""A run leaves the store as a table: complete, typed, and harmless to a spreadsheet."""

import csv
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from test_store import cell_info, new_call

from command import ok
from steelyard.errors import StoreError, UsageError
from steelyard.store import NewScore, Store
from steelyard.store.transfer.export import export, formula_safe, metric_columns, new_file
from steelyard.types import Failure, Score

HOSTILE = [
    "=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " \u00a0=1", "\u3000=1", "\u2003\u200b@x", "\ufeff=1",
    "\u200e=1", "\u00ad=1", "\u2060=1", "\x00=1", "\x0b=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201",
    "\ufe621", "\u22121", "\tplain", "\rplain", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")',
]  # fmt: skip
HARMLESS = ["", "plain", "'=1", "a=1", "1-2", "\u00e9=1", '"=1', ",=1", "x\n=1", "x\r=1"]


@pytest.mark.parametrize("cell", HOSTILE)
def test_a_text_that_a_spreadsheet_would_run_is_disarmed(cell):
    assert formula_safe(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", [*HARMLESS, -5.0, -3, None, True])
def test_other_cells_are_left_as_they_are(cell):
    assert formula_safe(cell) is cell


@pytest.fixture
def filled():
    with Store.open("test.db") as store:
        run = store.create_run(name="=run", plan={}, plan_digest="x")
        session = store.begin_session(run.id, {})
        cell = store.add_cell(run.id, cell_info(scored=("accuracy", "accuracy.strict", "=metric", "answer")))
        texts = HOSTILE + HARMLESS
        rows = [new_call(cell, session, i, text=text, cost_usd=-0.5) for i, text in enumerate(texts)]
        ids = store.append_calls(rows)
        failure = Failure(kind="timeout", message="=slow")
        store.append_calls([new_call(cell, session, len(texts), failure=failure)])
        values = {"accuracy": 1.0, "accuracy.strict": 0.0, "=metric": -1.0, "answer": 0.5}
        scores = {name: Score(value=value, answer="-7") for name, value in values.items()}
        store.append_scores([NewScore(call=i, grader="p", grader_version="1", scores=scores) for i in ids])
        yield store, run, texts


def exported(store, run, format_):
    stream = io.StringIO()
    export(store, run.id, format_, None, stream)
    return stream.getvalue()


@pytest.mark.anywhere
def test_csv_holds_every_call_once_with_texts_disarmed_and_numbers_untouched(filled):
    store, run, texts = filled
    content = exported(store, run, "csv")
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert [row["text"] for row in rows[:-1]] == [formula_safe(text) for text in texts]
    assert {row["cost_usd"] for row in rows[:-1]} == {"-0.5"}
    assert (rows[0]["accuracy"], rows[0]["accuracy_strict"], rows[0]["'=metric"]) == ("1.0", "0.0", "-1.0")
    assert (rows[0]["answer"], rows[0]["score_answer"]) == ("'-7", "0.5")
    assert (rows[-1]["status"], rows[-1]["failure"], rows[-1]["failure_message"]) == ("failed", "timeout", "'=slow")


def test_no_line_end_inside_an_answer_begins_a_row(filled):
    """A reader that takes every unquoted CR, LF or CRLF for a row's end, as a spreadsheet does."""
    store, run, texts = filled
    unquoted = exported(store, run, "csv").split('"')[::2]
    assert sum(part.count("\n") for part in unquoted) == len(texts) + 2
    assert not any("\r" in part for part in unquoted)


@pytest.mark.anywhere
def test_json_lines_hold_the_whole_record(filled):
    store, run, texts = filled
    lines = [json.loads(line) for line in exported(store, run, "jsonl").splitlines()]
    assert [line["call"]["completion"]["text"] for line in lines[:-1]] == texts
    assert lines[0]["scores"]["accuracy"]["answer"] == "-7"
    assert len(bytes.fromhex(lines[0]["call"]["digest"])) == 32


@pytest.mark.anywhere
def test_parquet_is_read_back_with_types_and_texts_as_they_were(filled):
    store, run, texts = filled
    export(store, run.id, "parquet", Path("run.parquet"), io.StringIO())
    read = duckdb.sql(
        'SELECT text, "=metric", cost_usd, input_tokens, ttft_s, cached FROM "run.parquet" WHERE status = \'answered\''
    )
    assert [str(kind) for kind in read.types] == ["VARCHAR", "DOUBLE", "DOUBLE", "BIGINT", "DOUBLE", "BOOLEAN"]
    rows = read.fetchall()
    assert [row[0] for row in rows] == texts
    assert rows[0][1:] == (-1.0, -0.5, 5, pytest.approx(0.002), False)
    assert stat.S_IMODE(Path("run.parquet").stat().st_mode) == 0o600
    assert sorted(path.name for path in Path().iterdir() if "parquet" in path.name) == ["run.parquet"]


def test_an_empty_run_has_a_header_and_no_rows():
    with Store.open("test.db") as store:
        run = store.create_run(name="r", plan={}, plan_digest="x")
        store.add_cell(run.id, cell_info())
        assert exported(store, run, "csv").startswith("run,model,benchmark,part,protocol,protocol_version,sample_id,")
        assert exported(store, run, "jsonl") == ""
        with pytest.raises(StoreError, match="no records"):
            export(store, run.id, "parquet", Path("run.parquet"), io.StringIO())
        with pytest.raises(UsageError, match="needs a file"):
            export(store, run.id, "parquet", None, io.StringIO())
    assert not Path("run.parquet").exists()


def test_a_metric_that_is_called_like_a_column_gets_one_of_its_own():
    columns = metric_columns(["accuracy", "text", "a.b", "a_b"])
    assert columns == {"accuracy": "accuracy", "text": "score_text", "a.b": "a_b", "a_b": "score_a_b"}


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """As a device is: a report to /dev/null made a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with new_file(pipe) as unfinished:
        unfinished.write_text("whole")
    assert os.read(reader, 99) == b"whole"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_stream_that_leads_into_a_file_keeps_what_that_holds(tmp_path):
    held = tmp_path / "held"
    held.write_text("first ")
    with held.open("ab") as stream, new_file(Path(f"/dev/fd/{stream.fileno()}")) as unfinished:
        unfinished.write_text("then")
    assert held.read_text() == "first then"


def test_a_link_stays_and_what_it_leads_to_is_renewed(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    with new_file(tmp_path / "link") as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "old").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_store_without_runs_says_so_and_offers_no_name():
    with Store.open("s.db") as store, pytest.raises(UsageError, match="no runs yet in this store"):
        store.run("last")


def test_an_export_that_finds_no_room_where_its_output_goes_says_so_without_a_trace():
    Path("q.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    ok("run", "q.jsonl", "--grader", "exact", "-m", "baseline/constant:a", "--store", "s.db")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "steelyard", "export", "--format", "csv", "--store", "s.db"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, "no room" in done.stderr, "Traceback" in done.stderr) == (4, True, False)

"""A damaged store: all good rows come out of it, the bad ones are named, and the runs can be gone on with."""

import asyncio
import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import steelyard as sy
from steelyard.benchmarks.benchmark import Protocol
from steelyard.cli import main
from steelyard.engine.judging.grade import grade
from steelyard.errors import StoreError
from steelyard.store import Store
from steelyard.store.database import migrations
from steelyard.store.transfer.salvage import salvage
from steelyard.store.writing.codec import pack, unpack
from steelyard.types import Completion, Prompt, Sample

ITEMS = 400


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of two runs, with long answers, and what each call of the first one was answered."""
    path = tmp_path_factory.mktemp("whole") / "s.db"
    quiz = sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}?", target=f"{i}") for i in range(ITEMS)],
        grade=lambda sample, completion: completion.text.startswith(f"{sample.target} "),
    )

    def answer(prompt):
        chance = random.Random(prompt)
        number = prompt.rstrip("?").removeprefix("q")
        return f"{'no' if int(number) % 5 == 0 else number} {chance.randbytes(300).hex()}"

    for name in ("first", "second"):
        sy.run([answer], [quiz], name=name, store=path, fresh=True)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with Store.open(path) as store:
        texts = {
            (run.name, record.sample.id): record.call.completion.text
            for run in store.runs()
            for record in store.records(run.id)
        }
    return path.read_bytes(), texts


def texts_of(path):
    with Store.open(path, create=False) as store:
        return {
            (run.name, record.sample.id): record.call.completion.text
            for run in store.runs()
            for record in store.records(run.id)
        }


def pages_of(table, path):
    """The offsets of the leaf pages of a table, by a walk down its tree."""
    with closing(sqlite3.connect(path)) as raw:
        (root,) = raw.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    data = Path(path).read_bytes()

    def below(page):
        start = (page - 1) * size
        head = start + (100 if page == 1 else 0)
        if data[head] == 0x0D:
            return [start]
        cells = int.from_bytes(data[head + 3 : head + 5], "big")
        pointers = [int.from_bytes(data[head + 12 + 2 * i : head + 14 + 2 * i], "big") for i in range(cells)]
        children = [int.from_bytes(data[start + p : start + p + 4], "big") for p in pointers]
        children.append(int.from_bytes(data[head + 8 : head + 12], "big"))
        return [leaf for child in children for leaf in below(child)]

    return below(root), size


def test_a_whole_store_is_salvaged_whole(whole):
    data, texts = whole
    Path("s.db").write_bytes(data)
    found = salvage(Path("s.db"), Path("new.db"))
    assert (found.bad, found.mended, found.runs) == ((), {}, ())
    assert found.kept["calls"] == found.kept["scores"] == 2 * ITEMS
    assert texts_of("new.db") == texts
    assert Path("s.db").read_bytes() == data


def test_what_a_rule_saw_and_what_a_judge_said_are_salvaged_too():
    quiz = sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}?", target=f"{i % 2}") for i in range(ITEMS)],
        grade=lambda sample, completion: completion.text == sample.target,
    )
    run = sy.run([lambda prompt: "1"], [quiz], store="s.db", stop={"half_width": 0.2})
    verdict = (1, b"d" * 32, "judge", 1.0, pack(Completion(text="[[yes]]")))
    with closing(sqlite3.connect("s.db")) as raw:
        row = "INSERT INTO verdicts (call, digest, judge, started_s, payload) VALUES (?, ?, ?, ?, ?)"
        raw.execute(row, verdict)
        raw.execute(row, (1, b"e" * 32, "judge", 1.0, b"no frame"))
        raw.commit()
    salvaged = salvage(Path("s.db"), Path("whole.db"))
    with Store.open("s.db") as before, Store.open("whole.db") as after:
        assert before.looks(run.info.id)
        assert after.looks(run.info.id) == before.looks(run.info.id)
    assert (salvaged.kept["looks"] > 0, salvaged.kept["verdicts"]) == (True, 1)
    assert [bad.table for bad in salvaged.bad] == ["verdicts"]


def test_what_a_cascade_sent_is_counted_after_salvage_as_before():
    def unsure(request):
        return Completion(text="?", confidence=0.2)

    def knows(prompt):
        return "1"

    quiz = sy.Benchmark(
        name="quiz",
        version="1",
        load=lambda selection: [sy.Sample(id=f"quiz/{i}", input=f"q{i}?", target="1") for i in range(5)],
        grade=lambda sample, completion: completion.text == sample.target,
    )
    sy.run([sy.Cascade(cheap=unsure, dear=knows, below=0.5)], [quiz], store="s.db", on_message=lambda text: None)
    assert salvage(Path("s.db"), Path("whole.db")).mended == {}
    with closing(sqlite3.connect("whole.db")) as raw:
        assert raw.execute("SELECT DISTINCT tries FROM calls").fetchall() == [(2,)]


def test_a_page_that_is_gone_costs_its_own_rows_which_are_named_and_the_run_goes_on(whole, capsys):
    data, texts = whole
    Path("s.db").write_bytes(data)
    leaves, size = pages_of("calls", "s.db")
    damaged = bytearray(data)
    damaged[leaves[3] : leaves[3] + size] = bytes(size)
    Path("s.db").write_bytes(damaged)
    assert main(["export", "first", "--format", "jsonl", "--output", "all.jsonl", "--store", "s.db"]) == 4
    assert "steelyard runs salvage" in capsys.readouterr().err
    assert main(["runs", "salvage", "new.db", "--store", "s.db", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (bad,) = [bad for bad in found["bad"] if bad["table"] == "calls"]
    low, high = map(int, bad["row"].split(" to "))
    lost = texts.items() - texts_of("new.db").items()
    assert len(lost) == high - low + 1 <= 40
    assert texts_of("new.db").items() <= texts.items()
    assert found["runs"] == ["first"]
    with Store.open("new.db") as store:
        assert store.run("first").status == "interrupted"
        assert store.run("second").status == "done"
        (cell,) = store.cells(store.run("first").id)
        assert {estimate.metric: estimate for estimate in store.summary(cell.id)}["scored"].value == ITEMS - len(lost)


def test_a_page_of_scores_that_is_gone_costs_no_others_and_no_answer(whole):
    data, texts = whole
    Path("s.db").write_bytes(data)
    leaves, size = pages_of("scores", "s.db")
    damaged = bytearray(data)
    damaged[leaves[0] : leaves[0] + size] = bytes(size)
    Path("s.db").write_bytes(damaged)
    with closing(sqlite3.connect("whole.db")) as raw:
        Path("whole.db").write_bytes(data)
        judged = raw.execute("SELECT count(*) FROM scores").fetchone()[0]
    found = salvage(Path("s.db"), Path("new.db"))
    assert texts_of("new.db") == texts
    assert found.runs == ("first",)
    with Store.open("new.db") as store:
        scored = [sum(bool(record.scores) for record in store.records(run.id)) for run in reversed(store.runs())]
    assert scored[1] == ITEMS
    assert 0 < scored[0] < ITEMS or (len(leaves) > 1 and scored[0] == 0)
    assert sum(scored) >= judged - 2 * judged // len(leaves)


def test_a_flipped_bit_in_an_answer_costs_that_answer_alone_and_names_its_item(whole, capsys):
    data, texts = whole
    Path("s.db").write_bytes(data)
    with closing(sqlite3.connect("s.db", isolation_level=None)) as raw:
        flipped = "CAST(substr(payload, 1, 50) || x'00' || substr(payload, 52) AS BLOB)"
        raw.execute(f"UPDATE calls SET payload = {flipped} WHERE id = 7")
        raw.execute("UPDATE calls SET total_s = 99.0, tries = 5 WHERE id = 9")
        (position,) = raw.execute("SELECT position FROM calls WHERE id = 7").fetchone()
    assert main(["runs", "salvage", "new.db", "--store", "s.db"]) == 1
    out = capsys.readouterr()
    assert f"! lost from calls: 7: answer on quiz@default, quiz/{position}" in out.out
    assert "1 calls" in out.out.splitlines()[1]  # mended: its figures follow from its payload
    assert "steelyard run --resume first --store new.db" in out.err
    assert texts.items() - texts_of("new.db").items() == {
        (("first", f"quiz/{position}"), texts["first", f"quiz/{position}"])
    }
    with Store.open("new.db") as store:
        assert store.columns(store.cells(store.run("first").id)[0].id).total_s.max() < 90


@pytest.mark.parametrize("table", ["runs", "sessions", "sets", "samples"])
def test_what_holds_answers_together_is_made_anew_where_it_is_lost(whole, table):
    data, texts = whole
    Path("s.db").write_bytes(data)
    with closing(sqlite3.connect("s.db", isolation_level=None)) as raw:
        raw.execute("UPDATE sessions SET sign = '{'")
        raw.execute(f"DELETE FROM {table} WHERE rowid = (SELECT min(rowid) FROM {table})")
    found = salvage(Path("s.db"), Path("new.db"))
    assert found.mended[table] >= 1
    assert sorted(texts_of("new.db").values()) == sorted(texts.values())
    with Store.open("new.db") as store, store._reading() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("SELECT DISTINCT sign FROM sessions").all() == [(None,)]


def test_an_item_whose_text_is_lost_keeps_its_scores_and_is_never_judged_anew(whole):
    Path("s.db").write_bytes(whole[0])
    with closing(sqlite3.connect("s.db", isolation_level=None)) as raw:
        raw.execute("DELETE FROM samples WHERE position = 3")
    salvage(Path("s.db"), Path("new.db"))
    with Store.open("new.db") as store:
        (record,) = store.records(store.run("first").id, sample_id="quiz/3")
    assert (record.scores["accuracy"].value, record.sample.input) == (1.0, "q3?")
    asked = Prompt(kind="chat")
    always = Protocol(name="p", version="1", kind="chat", render=lambda *_: asked, grade=lambda *_: True)
    scores = asyncio.run(grade(always, record.sample, record.call.completion))
    assert scores["accuracy"].value is None
    assert "lost" in scores["accuracy"].reason


def test_where_a_number_belongs_and_none_stands_a_call_follows_from_its_payload_and_a_score_is_lost(whole, capsys):
    data, texts = whole
    Path("s.db").write_bytes(data)
    with closing(sqlite3.connect("s.db", isolation_level=None)) as raw:
        raw.execute("UPDATE calls SET output_tokens = 'x' WHERE rowid = 3")
        raw.execute("UPDATE scores SET value = 'x' WHERE rowid = (SELECT min(rowid) FROM scores)")
    found = salvage(Path("s.db"), Path("new.db"))
    assert [(bad.table, bad.reason) for bad in found.bad] == [("scores", "its value cannot be read")]
    assert sorted(texts_of("new.db").values()) == sorted(texts.values())
    assert main(["show", "--store", "new.db"]) == 0


def test_a_payload_that_states_a_size_beyond_all_memory_is_damaged():
    head = b"\x28\xb5\x2f\xfd\xe0" + (2**55).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(StoreError, match="a stored sample is damaged"):
        unpack(head, Sample)


def in_order(data):
    """The store with table after table: what is cut off are answers, not what was asked, which lies anywhere else."""
    Path("as-it-lies.db").write_bytes(data)
    with closing(sqlite3.connect("as-it-lies.db")) as raw:
        raw.execute("VACUUM INTO 'in-order.db'")
    return Path("in-order.db").read_bytes()


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut off", "bits flipped"])
def test_whatever_is_damaged_nothing_is_read_as_another_answer_and_no_trace_is_shown(whole, is_cut, capsys):
    data, texts = whole
    if is_cut:
        data = in_order(data)
    chance, kept, unreadable = random.Random(5), [], 0
    for number in range(5):
        damaged = bytearray(data[: chance.randrange(len(data) // 4, len(data))] if is_cut else data)
        for place in (chance.randrange(len(damaged)) for _ in range(0 if is_cut else 20)):
            damaged[place] ^= 1 << chance.randrange(8)
        Path("s.db").write_bytes(damaged)
        code = main(["runs", "salvage", f"new-{number}.db", "--store", "s.db", "--json"])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        if code == 4:
            unreadable += 1
            continue
        found = texts_of(f"new-{number}.db")
        assert set(found.values()) <= set(texts.values())
        kept.append(len(found) / len(texts))
        assert main(["show", "--store", f"new-{number}.db"]) == 0
        assert "Traceback" not in capsys.readouterr().err
    assert unreadable <= 3
    assert max(kept) > (0.3 if is_cut else 0.9)


def test_a_store_whose_log_was_not_yet_taken_in_is_salvaged_with_it(whole):
    Path("s.db").write_bytes(whole[0])
    with closing(sqlite3.connect("s.db", isolation_level=None)) as raw:
        raw.execute("PRAGMA wal_autocheckpoint=0")
        raw.execute("UPDATE runs SET name = 'renamed' WHERE name = 'first'")
        for end in ("", "-wal"):
            shutil.copyfile(f"s.db{end}", f"copy.db{end}")
    salvage(Path("copy.db"), Path("new.db"))
    assert {name for name, _ in texts_of("new.db")} == {"renamed", "second"}


def test_what_is_no_store_or_a_newer_one_is_refused(whole):
    Path("letter.db").write_text("dear reader, " * 1000)
    with pytest.raises(StoreError, match="nothing can be read"):
        salvage(Path("letter.db"), Path("new.db"))
    Path("s.db").write_bytes(whole[0])
    with closing(sqlite3.connect("s.db", isolation_level=None)) as raw:
        raw.execute(f"UPDATE meta SET value = '{migrations.VERSION + 1}' WHERE key = 'schema_version'")
    with pytest.raises(StoreError, match="newer Steelyard"):
        salvage(Path("s.db"), Path("new.db"))
    with pytest.raises(StoreError, match="exists already"):
        salvage(Path("s.db"), Path("letter.db"))
    assert not Path("new.db").exists()


def test_a_call_of_which_both_begin_and_length_are_damaged_is_mended_from_its_answer(whole, tmp_path):
    data, texts = whole
    damaged, saved = tmp_path / "damaged.db", tmp_path / "saved.db"
    damaged.write_bytes(data)
    times = "SELECT started_s, ended_s, total_s FROM calls WHERE id = 1"
    with closing(sqlite3.connect(damaged)) as raw, raw:
        true = raw.execute(times).fetchone()
        raw.execute("UPDATE calls SET total_s = 'x', started_s = started_s - 1e6 WHERE id = 1")
    assert salvage(damaged, saved).bad == ()
    assert texts_of(saved) == texts
    with closing(sqlite3.connect(saved)) as raw:
        assert raw.execute(times).fetchone() == pytest.approx(true, abs=0.01)

"""One run leaves a store as one file and comes back the same, or not at all."""

import asyncio
import hashlib
import json
import random
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import zstandard
from test_store import cell_info, new_call

import steelyard as sy
from command import ok
from forks import Started
from server import chunk, finish, serving, stream, usage
from steelyard.cli import main
from steelyard.errors import DataError, EnvironmentFault, StoreError
from steelyard.grading.stored import rescore
from steelyard.report.results import load_results, results_document
from steelyard.store import NewScore, Store
from steelyard.store.database import migrations
from steelyard.store.transfer.bundle import Manifest, read_bundle, write_bundle
from steelyard.store.writing.codec import pack, unpack
from steelyard.types import Completion, Failure, Sample, Score

SECRET = "the mitochondrion is the powerhouse of the cell, says nobody"
BUNDLE = Path("run.steelyard")


def quiz(items=60, **changes):
    long = "Read this and answer with the number alone, please: "
    fields = {
        "name": "quiz",
        "version": "1",
        "load": lambda selection: [
            sy.Sample(
                id=f"quiz/{i}", input=f"{long}q{i}?", target=f"{i % 7}", stratum=f"s{i % 3}", cluster=f"c{i // 2}"
            )
            for i in range(items)
        ],
        "grade": lambda sample, completion: completion.text == sample.target,
    }
    return sy.Benchmark(**(fields | changes))


def guess(prompt):
    return str(random.Random(prompt).randrange(7))


def better(prompt):
    number = int(prompt.rpartition("q")[2].rstrip("?"))
    return str(number % 7) if number % 3 else "9"


def leave(store_path, run="last", **options):
    with Store.open(store_path, create=False) as store:
        return write_bundle(store, store.run(run), BUNDLE, **options)


def printed(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def every_way(capsys, run, store):
    """All that is said of a run, byte by byte."""
    found = {}
    for words in (
        ("show",), ("show", "--json"), ("show", "--all"), ("show", "--wrong", "--most", "500"),
        ("show", "--by", "stratum"),
        ("show", "--provenance", "--json"), ("compare", "--json"), ("compare", "--flips"),
        ("gate", "--baseline", "1", "--margin", "0.05", "--json"), ("export", "--format", "jsonl"),
        ("export", "--format", "csv"),
    ):  # fmt: skip
        verb, *rest = words
        code, out = printed(capsys, verb, run, *rest, "--store", store)
        found[words] = code, out.replace(str(store), "STORE")
    for kind in ("html", "markdown", "junit"):
        main(["report", str(run), f"--{kind}", "said", "--store", str(store)])
        found[kind] = Path("said").read_text("utf-8")
    capsys.readouterr()
    return found


@pytest.mark.long
def test_a_run_says_the_same_in_another_store(capsys):
    for name in ("before", "two"):
        sy.run([guess, better], [quiz()], name=name, store="a.db", tags=["kept"], fresh=True)
    with Store.open("a.db") as store:
        asyncio.run(rescore(store, store.run("two"), "exact"))
    leave("a.db", "before")
    assert main(["import", str(BUNDLE), "--store", "b.db"]) == 0
    written = leave("a.db", "two")
    assert (written.answers, written.number, written.schema) == (120, 2, migrations.VERSION)
    assert main(["import", str(BUNDLE), "--store", "b.db"]) == 0
    capsys.readouterr()
    here, there = (every_way(capsys, 2, path) for path in ("a.db", "b.db"))
    assert here.keys() == there.keys()
    for way, said in here.items():
        assert there[way] == said, way
    with Store.open("a.db") as a, Store.open("b.db") as b:
        assert a.run("2") == b.run("2")
        assert b.run("kept").number == 2
        graded = b.gradings(b.run("2").id)
        assert len(graded) == 2
        assert [msgspec.structs.replace(info, id=None) for info, _ in graded] == [
            msgspec.structs.replace(info, id=None) for info, _ in a.gradings(a.run("2").id)
        ]
        assert {info.id for info, _ in graded} == {info.id for info in b.cells(b.run("2").id)}


def test_the_file_is_for_the_user_alone_and_its_first_line_says_what_it_is():
    run = sy.run([guess], [quiz(3)], store="a.db")
    leave("a.db")
    assert stat.S_IMODE(BUNDLE.stat().st_mode) == 0o600
    first = json.loads(BUNDLE.read_bytes().split(b"\n", 1)[0])
    assert (first["steelyard_bundle"], first["run"], first["answers"]) == ("run", run.info.id, 3)
    assert sorted(path.name for path in Path().iterdir()) == ["a.db", "run.steelyard"]


def test_a_run_that_is_there_already_is_refused_and_nothing_changes(capsys):
    sy.run([guess], [quiz(5)], store="a.db")
    leave("a.db")
    read_bundle(BUNDLE, "b.db")
    before = Path("b.db").read_bytes()
    for store in ("a.db", "b.db"):
        assert main(["import", str(BUNDLE), "--store", store]) == 2
        assert "the run is here already, as #1 run-1 with 5 answers; the file has 5" in capsys.readouterr().err
    assert Path("b.db").read_bytes() == before


def test_a_run_keeps_its_number_where_it_is_still_to_come_and_takes_the_next_one_where_it_is_gone():
    for _ in range(3):
        sy.run([guess], [quiz(2)], store="a.db", fresh=True)
    leave("a.db", "3")
    assert read_bundle(BUNDLE, "empty.db").number == 3
    sy.run([guess], [quiz(2)], store="full.db")
    for _ in range(3):
        sy.run([guess], [quiz(2)], store="full.db", fresh=True)
    assert read_bundle(BUNDLE, "full.db", name="theirs").number == 5
    with Store.open("full.db") as store:
        assert (store.run("last").name, store.run("last").number) == ("theirs", 5)


def test_answers_taken_from_another_run_come_along():
    sy.run([guess], [quiz()], store="a.db")
    first = sy.run([sy.Function(better, version="1")], [quiz()], store="a.db")
    second = sy.run([sy.Function(better, version="1")], [quiz()], store="a.db", name="second")
    assert second.estimate("cached").value == 60
    leave("a.db", "second")
    read_bundle(BUNDLE, "b.db")
    with Store.open("a.db") as a, Store.open("b.db") as b:
        assert list(a.records(second.info.id)) == list(b.records(second.info.id))
        with closing(sqlite3.connect("b.db")) as raw:
            assert raw.execute("SELECT count(*), sum(cached) FROM calls WHERE reused_from IS NULL").fetchone() == (
                60,
                60,
            )
    assert first.estimate("accuracy").value == second.estimate("accuracy").value


def test_answers_that_came_with_a_run_are_used_again():
    sy.run([sy.Function(better, version="1")], [quiz()], store="a.db")
    leave("a.db")
    read_bundle(BUNDLE, "b.db")
    again = sy.run([sy.Function(better, version="1")], [quiz()], store="b.db")
    assert again.estimate("cached").value == 60


def test_failures_looks_verdicts_and_gaps_come_along():
    with Store.open("a.db") as store:
        other = store.create_run(name="other", plan={}, plan_digest="x")
        store.append_calls([new_call(store.add_cell(other.id, cell_info()), store.begin_session(other.id, {}), 0)])
        run = store.create_run(name="r", plan={}, plan_digest="x")
        session = store.begin_session(run.id, {})
        cell = store.add_cell(run.id, cell_info())
        failed = new_call(cell, session, 0, failure=Failure(kind="timeout", message="slow"))
        ids = store.append_calls([failed, *(new_call(cell, session, i, text="yes " * 30) for i in range(3))])
        answer = Score(value=1.0, answer="yes " * 20, reason="so it is")
        store.append_scores(
            [
                NewScore(call=i, grader="p", grader_version="1", scores={"accuracy": answer}, reply="yes " * 30)
                for i in ids
            ]
        )
        store.end_session(session, {"cpu_s": 1.0})
        store.set_status(run.id, "done")
    with closing(sqlite3.connect("a.db")) as raw:
        raw.execute("INSERT INTO verdicts (call, digest, judge, started_s, payload) VALUES (?, ?, 'judge', 1.0, ?)",
                    (ids[1], b"d" * 32, pack(Completion(text="[[yes]]"))))  # fmt: skip
        raw.commit()
    leave("a.db")
    read_bundle(BUNDLE, "b.db")
    with Store.open("a.db") as a, Store.open("b.db") as b:
        assert list(a.records(run.id)) == list(b.records(run.id))
        here, there = a.columns(cell), b.columns(b.cells(run.id)[0].id)
        assert here.gaps_s.tolist() == there.gaps_s.tolist()
        assert (here.superseded, here.scores["accuracy"].tolist()) == (
            there.superseded,
            there.scores["accuracy"].tolist(),
        )
        known = [store.verdicts.known("judge", but_not_run=None, since_s=0, before_s=9e9) for store in (a, b)]
        assert [len(one) for one in known] == [1, 1]
    with closing(sqlite3.connect("b.db")) as raw:
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        assert raw.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_what_a_stopping_rule_saw_comes_along_and_the_run_stays_done(capsys):
    run = sy.run([guess], [quiz(400)], store="a.db", stop={"half_width": 0.2})
    leave("a.db")
    assert read_bundle(BUNDLE, "b.db").status == "done"
    with Store.open("a.db") as a, Store.open("b.db") as b:
        assert list(a.looks(run.info.id).values()) == list(b.looks(run.info.id).values())
        assert results_document(load_results(a, run.info)) == results_document(load_results(b, run.info))


def test_many_answers_keep_their_dictionary_and_two_runs_of_one_set_share_it():
    for name in ("first", "second"):
        sy.run([guess], [quiz(400)], store="a.db", name=name, fresh=True)
    for name in ("first", "second"):
        leave("a.db", name)
        read_bundle(BUNDLE, "b.db")
    with closing(sqlite3.connect("a.db")) as a, closing(sqlite3.connect("b.db")) as b:
        kept = [raw.execute("SELECT id FROM dictionaries").fetchall() for raw in (a, b)]
        assert kept[0] == kept[1] != []
        assert b.execute("SELECT count(*) FROM samples").fetchone() == (400,)
    with Store.open("a.db") as a, Store.open("b.db") as b:
        for name in ("first", "second"):
            assert list(a.records(a.run(name).id)) == list(b.records(b.run(name).id))


def test_an_item_that_is_there_in_other_words_leaves_the_answers_the_words_they_were_asked_in():
    run = sy.run([guess], [quiz(20)], store="a.db")
    leave("a.db")
    sy.run([better], [quiz(20)], store="b.db")
    with closing(sqlite3.connect("b.db")) as raw:
        (content,) = raw.execute("SELECT content FROM samples WHERE position = 3").fetchone()
        other = msgspec.structs.replace(
            unpack(content, Sample), input="something else, and quite a bit longer than before"
        )
        raw.execute("UPDATE samples SET content = ? WHERE position = 3", (pack(other),))
        raw.commit()
    read_bundle(BUNDLE, "b.db")
    with Store.open("a.db") as a, Store.open("b.db") as b:
        asked = [[record.call for record in store.records(run.info.id)] for store in (a, b)]
    assert asked[0] == asked[1]


def confidential():
    return quiz(
        12,
        name="sealed",
        confidential=True,
        load=lambda selection: [sy.Sample(id=f"s/{i}", input=f"{SECRET} {i}", target="A") for i in range(12)],
        grade=lambda sample, completion: sy.Score(
            value=float("A" in completion.text), answer=completion.text, reason="x"
        ),
    )


def knowing(prompt):
    return f"A, since {prompt}"


def test_a_confidential_run_leaves_without_its_texts_and_says_the_same(capsys):
    run = sy.run([knowing, guess], [confidential()], store="a.db")
    assert leave("a.db").hidden
    read_bundle(BUNDLE, "b.db")
    content = zstandard.ZstdDecompressor().decompressobj().decompress(BUNDLE.read_bytes().split(b"\n", 1)[1])
    assert b"mitochondrion" not in content + Path("b.db").read_bytes()
    here, there = (every_way(capsys, 1, path) for path in ("a.db", "b.db"))
    for way, said in here.items():
        if way != ("export", "--format", "jsonl"):  # names the digests of requests, which are withheld
            assert there[way] == said, way
    with Store.open("b.db") as store:
        revealed = str(list(store.records(run.info.id, reveal=True)))
        assert "mitochondrion" not in revealed


def test_what_stands_for_a_withheld_answer_is_neither_used_again_nor_graded_again():
    sy.run([sy.Function(knowing, version="1")], [confidential()], store="a.db")
    leave("a.db")
    read_bundle(BUNDLE, "b.db")
    with Store.open("b.db") as store:
        (regraded,) = asyncio.run(rescore(store, store.run("last"), "exact"))
        assert (regraded.n, regraded.after) == (0, None)
    fresh = sy.run([sy.Function(knowing, version="1")], [confidential()], store="b.db")
    assert fresh.estimate("cached").value == 0
    with Store.open("b.db") as store:
        assert SECRET in str(next(store.records(fresh.info.id, reveal=True)).sample)
    leave("b.db", reveal=True)
    read_bundle(BUNDLE, "c.db")
    with Store.open("c.db") as store:
        assert SECRET in str(next(store.records(fresh.info.id, reveal=True)).call)


def test_a_file_cut_short_or_changed_anywhere_is_refused_and_makes_no_store(capsys):
    sy.run([guess], [quiz()], store="a.db")
    leave("a.db")
    whole = BUNDLE.read_bytes()
    chance = random.Random(0)
    for cut in (len(whole) - 1, len(whole) // 2, whole.index(b"\n") + 1, whole.index(b"\n"), 30):
        BUNDLE.write_bytes(whole[:cut])
        assert main(["import", str(BUNDLE), "--store", "b.db"]) == 2, cut
        assert "damaged" in capsys.readouterr().err
    for _ in range(30):
        place = chance.randrange(whole.index(b"\n") + 1, len(whole))
        BUNDLE.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(DataError, match="damaged"):
            read_bundle(BUNDLE, "b.db")
    assert not Path("b.db").exists()


def forged(change):
    """A bundle whose digest is right and whose content is not."""
    first, rest = BUNDLE.read_bytes().split(b"\n", 1)
    Path("inside.db").write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(rest))
    with closing(sqlite3.connect("inside.db")) as raw:
        change(raw)
        raw.commit()
    content = Path("inside.db").read_bytes()
    manifest = msgspec.json.decode(first, type=Manifest)
    digest = hashlib.sha256(content).hexdigest()
    manifest = msgspec.structs.replace(manifest, bytes=len(content), sha256=digest)
    BUNDLE.write_bytes(msgspec.json.encode(manifest) + b"\n" + zstandard.compress(content))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE calls SET payload = x'00'",
        "UPDATE calls SET session = 99",
        "UPDATE runs SET uid = 'another'",
        "UPDATE cells SET info = '{}'",
        "UPDATE scores SET value = 'much'",
        "INSERT INTO runs SELECT 9, 'second', name, status, created_at, finished_at, plan, plan_digest FROM runs",
    ],
)
def test_a_file_that_somebody_made_up_is_refused_whole(statement):
    sy.run([guess], [quiz(3)], store="a.db")
    leave("a.db")
    forged(lambda raw: raw.execute(statement))
    with pytest.raises((DataError, StoreError), match=r"Nothing was imported|cannot copy"):
        read_bundle(BUNDLE, "b.db")
    if Path("b.db").exists():
        with Store.open("b.db") as store:
            assert store.runs() == []


def test_what_a_made_up_file_does_by_itself_does_not_come_along():
    sy.run([guess], [quiz(3)], store="a.db")
    leave("a.db")
    forged(lambda raw: raw.execute("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END"))
    run = read_bundle(BUNDLE, "b.db")
    with Store.open("b.db") as store:
        assert [one.id for one in store.runs()] == [run.id]
    with closing(sqlite3.connect("b.db")) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone() == (0,)


def test_a_file_of_a_newer_schema_is_refused(capsys):
    sy.run([guess], [quiz(2)], store="a.db")
    leave("a.db")
    first, rest = BUNDLE.read_bytes().split(b"\n", 1)
    newer = msgspec.structs.replace(msgspec.json.decode(first, type=Manifest), schema=migrations.VERSION + 1)
    BUNDLE.write_bytes(msgspec.json.encode(newer) + b"\n" + rest)
    assert main(["import", str(BUNDLE), "--store", "b.db"]) == 4
    told = capsys.readouterr().err
    assert "newer Steelyard" in told
    assert "pip install --upgrade steelyard" in told
    assert not Path("b.db").exists()


def test_what_is_no_bundle_needs_to_be_told_what_it_answers(capsys):
    Path("answers.jsonl").write_text('{"sample_id": "gsm8k/test/0", "completion": "18"}\n')
    assert main(["import", "answers.jsonl"]) == 2
    assert "answers need --benchmark and --model" in capsys.readouterr().err
    sy.run([guess], [quiz(2)], store="a.db")
    leave("a.db")
    assert main(["import", str(BUNDLE), "--benchmark", "gsm8k", "--store", "b.db"]) == 2
    assert "says itself what was asked" in capsys.readouterr().err
    assert main(["export", "--format", "bundle", "--store", "a.db"]) == 2
    assert "bundle needs a file" in capsys.readouterr().err
    assert not Path("b.db").exists()


def test_a_run_that_goes_on_leaves_as_interrupted_and_can_be_gone_on_with_elsewhere(capsys):
    Path("q.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "answer": "x"}) + "\n" for i in range(30)))
    hangs = True

    async def handle(request, body, number):
        if hangs and number > 10:
            await asyncio.sleep(60)
        return await stream(request, [chunk(content="x"), finish(), usage()])

    with serving(handle) as server:
        where = ["-m", "openai/m", "--base-url", server.url, "--concurrency", "4", "--quiet"]
        with Started("run", "q.jsonl", *where) as process:
            while len(server.requests) < 14 or answers_kept() < 10:
                time.sleep(0.01)
            main(["export", "--format", "bundle", "--output", str(BUNDLE)])
            assert "the run goes on: this is what it had until now" in capsys.readouterr().err
            process.kill()
        hangs = False
        run = read_bundle(BUNDLE, "b.db")
        assert run.status == "interrupted"
        asked = len(server.requests)
        ok("run", "--resume", "1", "--store", "b.db", "--quiet")
        assert len(server.requests) - asked == 20
    with Store.open("b.db") as store:
        assert store.run("last").status == "done"
        (cell,) = store.cells(store.run("last").id)
        assert {one.metric: one for one in store.summary(cell.id)}["accuracy"].n == 30


def answers_kept():
    with Store.open() as store:
        return sum(len(store.completed(cell.id)) for cell in store.cells(store.run("last").id))


def test_a_run_with_a_damaged_answer_does_not_leave_as_if_it_were_whole():
    sy.run([guess], [quiz(4)], store="a.db")
    with closing(sqlite3.connect("a.db")) as raw:
        (payload,) = raw.execute("SELECT payload FROM calls WHERE id = 2").fetchone()
        raw.execute("UPDATE calls SET payload = ? WHERE id = 2", (payload[:-6] + b"\0\0" + payload[-4:],))
        raw.commit()
    with pytest.raises(StoreError, match=r"is damaged .*steelyard runs salvage"):
        leave("a.db")
    assert not BUNDLE.exists()


def test_a_missing_file_is_told():
    with pytest.raises(DataError, match="No such file"):
        read_bundle(Path("nowhere"), None)


def test_a_file_of_an_older_steelyard_is_brought_up_to_date():
    sy.run([guess], [quiz(2)], store="a.db")
    written = leave("a.db")
    with closing(sqlite3.connect("old.db")) as raw:
        raw.executescript((Path(__file__).parent / "schema_9.sql").read_text("utf-8"))
        cells = "cell IN (SELECT id FROM cells WHERE run > 1)"
        for rows in (
            f"scores WHERE call IN (SELECT id FROM calls WHERE {cells})",
            f"verdicts WHERE call IN (SELECT id FROM calls WHERE {cells})",
            *(f"{table} WHERE {cells}" for table in ("calls", "looks", "gradings")),
            *(f"{table} WHERE run > 1" for table in ("cells", "sessions", "run_tags")),
            "runs WHERE id > 1",
        ):
            raw.execute(f"DELETE FROM {rows}")
        raw.commit()
        (uid,) = raw.execute("SELECT uid FROM runs").fetchone()
    content = Path("old.db").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    older = msgspec.structs.replace(written, schema=9, run=uid, bytes=len(content), sha256=digest)
    BUNDLE.write_bytes(msgspec.json.encode(older) + b"\n" + zstandard.compress(content))
    run = read_bundle(BUNDLE, "b.db")
    with Store.open("old.db") as old, Store.open("b.db") as new:
        assert list(new.records(run.id, reveal=True)) == list(old.records(uid, reveal=True)) != []


@pytest.mark.long
@pytest.mark.model
def test_a_run_of_the_local_model_says_the_same_in_another_store(capsys):
    try:
        sy.run(["local/smollm2-135m", "baseline/random"], ["starter@cloze"], limit=3, store="a.db", on_message=str)
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    leave("a.db")
    read_bundle(BUNDLE, "b.db")
    here, there = (every_way(capsys, 1, path) for path in ("a.db", "b.db"))
    for way, said in here.items():
        assert there[way] == said, way

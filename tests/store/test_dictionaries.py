"""What a set's payloads have in common is kept once: smaller stores that read back as what was written."""

import sqlite3
import threading

import msgspec
import pytest
from test_store import cell_info, new_call

from steelyard.errors import StoreError
from steelyard.store import Store
from steelyard.store.database import migrations
from steelyard.store.transfer.salvage import salvage
from steelyard.store.writing import codec, dictionaries
from steelyard.store.writing.dictionaries import Training
from steelyard.types import Message, Prompt

KILOBYTES = 64


@pytest.fixture
def few_are_enough(monkeypatch):
    monkeypatch.setattr(dictionaries, "TRAININGS", (Training(enough=200, size_bytes=KILOBYTES * 1024),))


def call_about(cell, session, position):
    """Questions and answers in other words each time, as they are in a benchmark."""
    new = new_call(
        cell, session, position, text=f"It takes {position * 7} eggs, so she sells {position} a day at market."
    )
    question = f"Janet's {position} ducks lay {position * 13} eggs per day. She eats three every morning. How many?"
    prompt = Prompt(kind="chat", messages=(Message(role="user", content=question),))
    request = msgspec.structs.replace(new.call.request, prompt=prompt)
    call = msgspec.structs.replace(new.call, request=request, digest=request.digest("here"))
    return msgspec.structs.replace(new, call=call, sample=msgspec.structs.replace(new.sample, input=question))


def written(path, positions, *, at_once=50):
    with Store.open(path) as store:
        run = store.create_run(name=None, plan={}, plan_digest="p")
        session = store.begin_session(run.id, {})
        cell = store.add_cell(run.id, cell_info(items=len(positions), available=len(positions)))
        calls = [call_about(cell, session, position) for position in positions]
        for start in range(0, len(calls), at_once):
            store.append_calls(calls[start : start + at_once])
    return run, calls


def query(path, sql):
    raw = sqlite3.connect(path)
    rows = raw.execute(sql).fetchall()
    raw.close()
    return rows


def plain(content):
    return codec.zstandard.ZstdDecompressor().decompress(content)


def forget_all():
    """As in a process that has seen nothing yet."""
    codec._dictionaries.clear()
    codec._local.compressors.clear()
    codec._local.decompressors.clear()


def test_payloads_with_and_without_a_dictionary_read_back_as_written_also_in_another_process(tmp_path, few_are_enough):
    run, calls = written(tmp_path / "s.db", range(400))
    [(_, content)] = query(tmp_path / "s.db", "SELECT id, content FROM dictionaries")
    assert len(plain(content)) <= KILOBYTES * 1024
    forget_all()
    with Store.open(tmp_path / "s.db") as store:
        records = list(store.records(run.id))
    assert [record.sample for record in records] == [new.sample for new in calls]
    assert [record.call.request for record in records] == [new.call.request for new in calls]


def test_a_dictionary_makes_payloads_smaller_by_a_third(tmp_path, few_are_enough):
    written(tmp_path / "s.db", range(400))
    [(before, after)] = query(
        tmp_path / "s.db",
        "SELECT avg(CASE WHEN id <= 50 THEN length(payload) END), "
        "avg(CASE WHEN id > 300 THEN length(payload) END) FROM calls",
    )
    assert after < 0.67 * before


def test_a_set_keeps_its_dictionary_over_runs(tmp_path, few_are_enough):
    written(tmp_path / "s.db", range(400))
    forget_all()
    run, _ = written(tmp_path / "s.db", range(400, 800))
    assert len(query(tmp_path / "s.db", "SELECT id FROM dictionaries")) == 1
    [(size,)] = query(tmp_path / "s.db", "SELECT avg(length(payload)) FROM calls WHERE id BETWEEN 401 AND 450")
    assert size < 0.67 * query(tmp_path / "s.db", "SELECT avg(length(payload)) FROM calls WHERE id <= 50")[0][0]
    forget_all()
    with Store.open(tmp_path / "s.db") as store:
        assert len(list(store.records(run.id))) == 400


def test_two_stores_in_one_process_do_not_mix_their_dictionaries(tmp_path, few_are_enough):
    runs = [
        written(tmp_path / f"{name}.db", positions)[0]
        for name, positions in (("a", range(300)), ("b", range(300, 700)))
    ]
    forget_all()
    with Store.open(tmp_path / "a.db") as a, Store.open(tmp_path / "b.db") as b:
        assert [len(list(store.records(run.id))) for store, run in zip((a, b), runs, strict=True)] == [300, 400]


def test_a_store_may_be_opened_while_another_thread_looks_for_a_dictionary(tmp_path, few_are_enough, monkeypatch):
    run, _ = written(tmp_path / "s.db", range(300))
    others = []

    class Sources(codec.weakref.WeakSet):
        def __iter__(self):
            for source in super().__iter__():
                opening = threading.Thread(target=lambda: others.append(Store.open(tmp_path / f"{len(others)}.db")))
                opening.start()
                opening.join(0.3)  # it may have to wait until all are gone through
                yield source

    forget_all()
    monkeypatch.setattr(codec, "_sources", Sources())
    with Store.open(tmp_path / "s.db") as store:
        assert len(list(store.records(run.id))) == 300
    for other in others:
        other.close()


def test_answers_are_written_on_while_a_dictionary_is_made_of_many(tmp_path, few_are_enough, monkeypatch):
    may_end, made = threading.Event(), dictionaries._made
    monkeypatch.setattr(dictionaries, "BYTES_AT_ONCE", 0)
    monkeypatch.setattr(dictionaries, "_made", lambda *given: may_end.wait(60) and made(*given))
    with Store.open(tmp_path / "s.db") as store:
        run = store.create_run(name=None, plan={}, plan_digest="p")
        cell, session = store.add_cell(run.id, cell_info(items=650)), store.begin_session(run.id, {})
        calls = [call_about(cell, session, position) for position in range(650)]
        store.append_calls(calls[:600])  # three times what is enough
        store.append_calls(calls[600:610])
        assert query(tmp_path / "s.db", "SELECT count(*) FROM dictionaries") == [(0,)]
        may_end.set()
        store._pen._dictionaries._trainer.shutdown(wait=True)
        for new in calls[610:]:
            store.append_calls([new])
        assert query(tmp_path / "s.db", "SELECT count(*) FROM dictionaries") == [(1,)]
        assert [record.call.request for record in store.records(run.id)] == [new.call.request for new in calls]
    frames = [data for (data,) in query(tmp_path / "s.db", "SELECT payload FROM calls ORDER BY id")]
    used = [codec.zstandard.get_frame_parameters(data).dict_id for data in frames]
    assert set(used[:610]) == {0}
    assert used[-1] > 0


def test_payloads_with_nothing_in_common_go_without(tmp_path, monkeypatch):
    monkeypatch.setattr(dictionaries, "TRAININGS", (Training(enough=2, size_bytes=1024),))
    run, _ = written(tmp_path / "s.db", range(4), at_once=1)
    with Store.open(tmp_path / "s.db") as store:
        assert len(list(store.records(run.id))) == 4


def test_a_broken_store_that_was_opened_before_is_not_in_the_way(tmp_path, few_are_enough):
    (tmp_path / "broken.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError) as kept_alive:
        Store.open(tmp_path / "broken.db")
    run, _ = written(tmp_path / "s.db", range(300))
    forget_all()
    with Store.open(tmp_path / "s.db") as store:
        assert len(list(store.records(run.id))) == 300
    assert kept_alive.value


def test_a_write_that_is_tried_again_and_again_gathers_no_more_than_is_needed(monkeypatch):
    monkeypatch.setattr(dictionaries, "TRAININGS", (Training(enough=50, size_bytes=1024),))
    packing = dictionaries.Packing(1, None)
    for _ in range(1_000):
        packing.pack("what could not be written")
    assert len(packing._gathered) == 50


def test_a_set_that_grows_large_gets_a_second_dictionary_which_it_keeps_over_runs(tmp_path, monkeypatch):
    sizes_bytes = (16 * 1024, 64 * 1024)
    monkeypatch.setattr(
        dictionaries,
        "TRAININGS",
        (Training(enough=200, size_bytes=sizes_bytes[0]), Training(after=200, enough=200, size_bytes=sizes_bytes[1])),
    )
    path = tmp_path / "s.db"
    first, calls = written(path, range(600))
    kept = [plain(row[0]) for row in query(path, "SELECT content FROM dictionaries ORDER BY length(content)")]
    assert len(kept) == 2
    assert all(len(content) <= max(sizes_bytes) for content in kept)
    forget_all()
    second, more = written(path, range(600, 700))
    assert len(query(path, "SELECT id FROM dictionaries")) == 2
    used = {codec.zstandard.get_frame_parameters(data).dict_id for (data,) in query(path, "SELECT payload FROM calls")}
    assert used == {0, *(number for (number,) in query(path, "SELECT id FROM dictionaries"))}
    forget_all()
    with Store.open(path) as store:
        for run, asked in ((first, calls), (second, more)):
            assert [record.call.request for record in store.records(run.id)] == [new.call.request for new in asked]


def as_before_dictionaries_were_squeezed(path):
    """The store of schema 10 that this one was, whose dictionaries lie there as they are used."""
    raw = sqlite3.connect(path)
    contents = raw.execute("SELECT id, content FROM dictionaries").fetchall()
    raw.executemany("UPDATE dictionaries SET content = ? WHERE id = ?", [(plain(data), at) for at, data in contents])
    raw.execute("DROP TABLE findings")
    raw.execute("ALTER TABLE sessions DROP COLUMN sign")
    raw.execute("ALTER TABLE calls DROP COLUMN reasoned_s")
    raw.execute("UPDATE meta SET value = '10' WHERE key = 'schema_version'")
    raw.commit()
    raw.close()
    forget_all()
    return dict(contents)


def test_dictionaries_of_an_older_store_are_squeezed_and_its_payloads_read_on(tmp_path, few_are_enough):
    run, calls = written(tmp_path / "s.db", range(400))
    contents = as_before_dictionaries_were_squeezed(tmp_path / "s.db")
    with Store.open(tmp_path / "s.db") as store:
        assert [record.call.request for record in store.records(run.id)] == [new.call.request for new in calls]
    assert dict(query(tmp_path / "s.db", "SELECT id, content FROM dictionaries")) == contents
    assert query(tmp_path / "s.db", "SELECT value FROM meta") == [(str(migrations.VERSION),)]


def test_an_older_store_is_salvaged_with_its_dictionaries(tmp_path, few_are_enough):
    run, _ = written(tmp_path / "s.db", range(400))
    as_before_dictionaries_were_squeezed(tmp_path / "s.db")
    salvaged = salvage(tmp_path / "s.db", tmp_path / "new.db")
    assert not salvaged.bad
    with Store.open(tmp_path / "new.db") as store:
        assert len(list(store.records(run.id))) == 400


def test_a_set_of_a_hundred_items_has_a_dictionary_already_and_one_of_few_has_none(tmp_path):
    written(tmp_path / "few.db", range(15))
    assert query(tmp_path / "few.db", "SELECT count(*) FROM dictionaries") == [(0,)]
    written(tmp_path / "s.db", range(100), at_once=10)
    [(before, after)] = query(
        tmp_path / "s.db",
        "SELECT avg(CASE WHEN id <= 20 THEN length(payload) END), "
        "avg(CASE WHEN id > 50 THEN length(payload) END) FROM calls",
    )
    assert after < 0.6 * before


def test_a_damaged_dictionary_is_named(tmp_path, few_are_enough):
    run, _ = written(tmp_path / "s.db", range(400))
    raw = sqlite3.connect(tmp_path / "s.db")
    raw.execute("UPDATE dictionaries SET content = substr(content, 1, 100)")
    raw.commit()
    raw.close()
    forget_all()
    with Store.open(tmp_path / "s.db") as store, pytest.raises(StoreError, match="a stored dictionary is damaged"):
        list(store.records(run.id))

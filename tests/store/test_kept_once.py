"""What stands in the store already is not kept again, and everything reads as it was written."""

import io
import json
import random
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from test_store import cell_info, new_call, older

from steelyard.errors import StoreError
from steelyard.store import NewScore, Store
from steelyard.store.database import schema
from steelyard.store.rows.answers import reused
from steelyard.store.transfer.export import export
from steelyard.store.transfer.salvage import salvage
from steelyard.store.writing import codec, payload
from steelyard.types import LOST_TEXT, Completion, Message, Prompt, Request, Sample, Score, Timing

QUESTION = "Janet's ducks lay 16 eggs per day. She eats three every morning. How many are left?"
STARTED_S = datetime.fromisoformat("2026-01-01T00:00:00+00:00").timestamp()
CHOICES = ("Thirteen, which is what is left of sixteen without three", "Nineteen, " * 10, "no")


def prompt_of(*words):
    return Prompt(kind="chat", messages=tuple(Message(role="user", content=text) for text in words))


def asked(cell, session, position, sample, prompt, **more):
    new = new_call(
        cell, session, position, text="Thirteen eggs, since sixteen without three are thirteen.", at_s=STARTED_S
    )
    request = Request(model="m", prompt=prompt)
    call = msgspec.structs.replace(new.call, sample_id=sample.id, request=request, digest=request.digest("here"))
    return msgspec.structs.replace(new, sample=sample, call=call, **more)


def begun(store, part=None):
    """A run with one cell, of the set that ``part`` names."""
    run = store.create_run(name=None, plan={}, plan_digest="p")
    return run, store.add_cell(run.id, cell_info(part=part)), store.begin_session(run.id, {})


def known_of(store, run):
    """All that may be used again of what answered in that run."""
    return store.answers.known({info.origin for info in store.cells(run)})


def calls_of(store, run):
    return [record.call for record in store.records(run.id)]


def payloads(path="s.db"):
    with closing(sqlite3.connect(path)) as raw:
        return [payload.kept_call(data) for (data,) in raw.execute("SELECT payload FROM calls ORDER BY id") if data]


def test_a_question_and_its_choices_are_kept_with_the_item_alone():
    sample = Sample(id="quiz/0", input=QUESTION, target="0", choices=CHOICES)
    prompt = Prompt(
        kind="likelihood",
        messages=(Message(role="user", content=f"Question: {QUESTION}\nA. {CHOICES[0]}\nAgain: {QUESTION}"),),
        text=f"{QUESTION} {CHOICES[2]}",
        continuations=tuple(f" {choice}" for choice in CHOICES),
    )
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        new = asked(cell, session, 0, sample, prompt)
        store.append_calls([new])
        assert [call.request for call in calls_of(store, run)] == [new.call.request]
    [(kept, has_marks)] = payloads()
    assert has_marks
    assert (kept.digest, kept.request.prompt.continuations[2]) == (b"", " no")
    assert b"ducks" not in msgspec.msgpack.encode(kept)
    assert b"Nineteen" not in msgspec.msgpack.encode(kept)


def test_a_prompt_that_holds_the_mark_itself_is_left_as_it_is():
    for text in (f"{QUESTION}\0", f"\0 \0{QUESTION}"):
        kept = payload.to_keep(new_call(1, 1, 0).call, Sample(id="a", input=text, target=""))
        assert not isinstance(kept, tuple)
        call = asked(1, 1, 0, Sample(id="a", input=QUESTION, target=""), prompt_of(text)).call
        kept = payload.to_keep(call, Sample(id="a", input=QUESTION, target=""))
        assert (kept.request, kept.digest) == (call.request, b"")


OWN_WORDS = ["\0", "\0 \0", "\0!\0", " ", QUESTION, QUESTION[1:], QUESTION[:-1], *CHOICES, QUESTION * 2]
PIECES = st.one_of(st.sampled_from(OWN_WORDS), st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
WORDS = st.lists(PIECES, max_size=6).map("".join)


@st.composite
def items_and_prompts(draw):
    """Any item, and a prompt put together from its texts, parts of them, marks and other words."""
    inputs = st.one_of(WORDS, st.lists(WORDS, max_size=3).map(lambda words: prompt_of(*words).messages))
    sample = Sample(id="quiz/0", input=draw(inputs), target="", choices=tuple(draw(st.lists(WORDS, max_size=4))))
    own = st.sampled_from([*payload.texts_of(sample), ""])
    words = st.lists(st.one_of(PIECES, own), max_size=6).map("".join)
    return sample, Prompt(
        kind="chat",
        messages=tuple(Message(role="user", content=text) for text in draw(st.lists(words, max_size=3))),
        text=draw(words),
        continuations=tuple(draw(st.lists(words, max_size=3))),
    )


@given(items_and_prompts())
def test_any_prompt_is_put_back_from_its_payload_and_its_item(given_):
    sample, prompt = given_
    call = asked(1, 1, 0, sample, prompt).call
    data = codec.pack(payload.to_keep(call, sample))
    assert payload.read_payload(data, call.digest, sample) == call
    assert payload.read_payload(data, call.digest, codec.pack(sample)) == call


STAMPS = st.integers(0, 2**62)


@given(STAMPS, st.integers(0, 2**40), st.lists(st.none() | STAMPS, min_size=5, max_size=5))
def test_stamps_are_put_back_however_young_the_clock_and_whatever_order_they_have(first_ns, took_ns, others):
    names = ("dispatched_ns", "first_byte_ns", "first_token_ns", "first_answer_ns", "last_token_ns")
    stamps = dict(zip(names, others, strict=True)) | {"dispatched_ns": others[0] or first_ns}
    for ended_ns in (first_ns + took_ns, first_ns, max(0, first_ns - took_ns)):
        timing = Timing(scheduled_ns=first_ns, ended_ns=ended_ns, **stamps)
        completion = Completion(text="13", timing=timing)
        call = msgspec.structs.replace(new_call(1, 1, 0).call, completion=completion)
        kept = codec.pack(payload.to_keep(call, None))
        assert payload.read_payload(kept, call.digest, Sample(id="a", input="?", target="")) == call


def test_stamps_of_a_call_weigh_what_it_took():
    call = msgspec.structs.replace(
        new_call(1, 1, 0).call,
        completion=Completion(timing=Timing(scheduled_ns=10**15, dispatched_ns=10**15 + 7, ended_ns=10**15 + 90)),
    )
    timing = payload.to_keep(call, None).completion.timing
    assert (timing.scheduled_ns, timing.dispatched_ns, timing.ended_ns) == (10**15, 7, 90)


def any_item(chance, position):
    """An item and a prompt about it, from the same words as above."""

    def words(own=()):
        return "".join(chance.choices([*OWN_WORDS, *own, "", "Say why."], k=chance.randrange(5)))

    choices = tuple(words() for _ in range(chance.randrange(4)))
    asks = words() if chance.random() < 0.7 else prompt_of(words(), words()).messages
    sample = Sample(id=f"quiz/{position}", input=asks, target="", choices=choices)
    own = payload.texts_of(sample) * 3
    texts = [words(own) for _ in range(chance.randrange(4))]
    return sample, msgspec.structs.replace(prompt_of(*texts), text=words(own), continuations=(words(own),))


def test_what_is_written_is_read_back_through_reuse_deletion_export_and_salvage():
    """Of items, of others whose rows used the answers, and of those rows when the first run is gone."""
    chance = random.Random(8)
    items = [any_item(chance, position) for position in range(300)]
    others = [any_item(chance, position)[0] for position in range(300)]
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        rows = [asked(cell, session, i, sample, prompt) for i, (sample, prompt) in enumerate(items)]
        store.append_calls(rows)
        requests = [row.call.request for row in rows]
        assert [call.request for call in calls_of(store, run)] == requests
        digests = [row.call.digest for row in rows]
        found = store.answers.find(known_of(store, run.id), digests)
        assert [found[digest].call.request for digest in digests] == requests
        later, its_cell, its_session = begun(store, "part")
        used = [
            msgspec.structs.replace(
                asked(its_cell, its_session, i, other, row.call.request.prompt),
                call=reused(found[row.call.digest].call, other.id),
                reused_from=found[row.call.digest].id,
            )
            for i, (row, other) in enumerate(zip(rows, others, strict=True))
        ]
        store.append_calls(used)
        assert [call.request for call in calls_of(store, later)] == requests
        for row, sample in zip(rows[:20], others, strict=False):
            [earlier] = store.answers.earlier(sample.id, run_id=later.id, before_s=1e12, most=3)
            assert earlier.call.request == row.call.request
    assert {has_marks for _, has_marks in payloads()} == {True, False}
    salvage(Path("s.db"), Path("new.db"))
    with Store.open("new.db") as store:
        assert [call.request for each in (run, later) for call in calls_of(store, each)] == requests * 2
        store.delete(run.id)
        assert [record.sample for record in store.records(later.id)] == others
        assert [(call.request, call.digest) for call in calls_of(store, later)] == list(
            zip(requests, digests, strict=True)
        )
        assert [call.sample_id for call in calls_of(store, later)] == [other.id for other in others]
        as_it_was = calls_of(store, later)
        lines = io.StringIO()
        export(store, later.id, "jsonl", None, lines)
        told = [json.loads(line)["call"]["request"] for line in lines.getvalue().splitlines()]
        assert [msgspec.convert(request, Request) for request in told] == requests
    found = salvage(Path("new.db"), Path("again.db"))
    assert (found.bad, found.mended) == ((), {})
    with Store.open("again.db") as store:
        assert calls_of(store, later) == as_it_was


def test_an_item_that_the_store_has_in_other_words_is_not_relied_upon():
    before, now = (Sample(id="quiz/0", input=text, target="") for text in (QUESTION, f"{QUESTION} Say why."))
    with Store.open("s.db") as store:
        _, cell, session = begun(store)
        store.append_calls([asked(cell, session, 0, before, prompt_of(QUESTION))])
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        asked_now = [asked(cell, session, 0, sample, prompt_of(sample.input)) for sample in (now, before)]
        store.append_calls(asked_now)
        store.append_calls(asked_now)
        assert [record.call.request for record in store.records(run.id)] == [asked_now[1].call.request]
    assert [has_marks for _, has_marks in payloads()] == [True, False, True, False, True]
    with Store.open("s.db") as store, closing(sqlite3.connect("s.db")) as raw:
        raw.execute("DELETE FROM calls WHERE id IN (3, 5)")
        raw.commit()
        assert [call.request for call in calls_of(store, run)] == [asked_now[0].call.request]


@pytest.mark.anywhere
def test_two_processes_that_write_an_item_in_different_words_both_read_what_they_asked():
    samples = [Sample(id="quiz/0", input=text, target="") for text in (QUESTION, f"{QUESTION} Say why.")]
    with Store.open("s.db") as one, Store.open("s.db") as two:
        run, cell, session = begun(one)
        later, its_cell, its_session = begun(two)
        two.append_calls([asked(its_cell, its_session, 9, Sample(id="quiz/9", input="?", target=""), prompt_of("?"))])
        one.append_calls([asked(cell, session, 0, samples[0], prompt_of(QUESTION))])
        for _ in range(2):  # the other one had looked before the item was there
            two.append_calls([asked(its_cell, its_session, 0, samples[1], prompt_of(samples[1].input))])
            assert calls_of(two, later)[0].request.prompt == prompt_of(samples[1].input)
        assert calls_of(one, run)[0].request.prompt == prompt_of(QUESTION)


def test_an_item_whose_text_is_lost_shows_so_in_its_prompt_and_the_answer_is_kept():
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        sample = Sample(id="quiz/0", input=QUESTION, target="13")
        new = asked(cell, session, 0, sample, prompt_of(f"Answer this: {QUESTION}"))
        store.append_calls([new])
    with closing(sqlite3.connect("s.db")) as raw:
        raw.execute("DELETE FROM samples")
        raw.commit()
    salvage(Path("s.db"), Path("new.db"))
    with Store.open("new.db") as store:
        [record] = store.records(run.id)
    assert record.sample == Sample(id="quiz/0", input=payload.LOST, target="", flags=(LOST_TEXT,))
    assert record.call.request.prompt == prompt_of(f"Answer this: {payload.LOST}")
    assert record.call.completion.text == new.call.completion.text


def test_an_old_store_reads_as_it_did_is_written_on_and_can_be_salvaged_as_it_is():
    older("s.db").close()
    salvage(Path("s.db"), Path("salvaged.db"))
    for path in ("s.db", "salvaged.db"):
        with Store.open(path) as store:
            first, later = (list(store.records(store.run(name).id)) for name in ("old", "as it was"))
            for records in (first, later):
                assert [record.sample.id for record in records] == [f"quiz/{i}" for i in range(6)]
                for record in records:
                    request, question = record.call.request, record.sample.input
                    assert request.prompt == prompt_of(f"Question: {question}\nAnswer:")
                    assert record.call.digest == request.digest("here", about="p/1")
            assert [record.scores["accuracy"].value for record in first] == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
            assert [record.scores["accuracy"].answer for record in first] == [str(i) for i in range(1, 7)]
            assert first[4].scores["accuracy.strict"].answer == first[4].call.completion.text
            judged = store.columns(1, grader="judge")
            assert judged.scores["kindness"].tolist()[1] == 0.5
            assert (judged.judging.calls, judged.judging.cost_usd) == (2, 0.25)
            digests = [record.call.digest for record in first]
            answers = store.answers.find(known_of(store, store.run("old").id), digests)
            assert sorted(found.id for found in answers.values()) == [1, 2, 3, 4, 5, 6]
            store.append_scores([judged_as(3, 0.25)])
            assert store.columns(1).scores["accuracy"].tolist() == [0.0, 0.0, 0.25, 0.0, 0.0, 0.0]
            store.delete(store.run("old").id)
            assert [record.call.request for record in store.records(store.run("as it was").id)] == [
                record.call.request for record in first
            ]


def judged_as(call, value, answer=None, reply=None, grader_version="1"):
    scores = {"accuracy": Score(value=value, answer=answer)}
    return NewScore(call=call, grader="p", grader_version=grader_version, scores=scores, reply=reply)


REPLY = "Here it is:\n```python\ndef answer():\n    return 'sixteen without three'\n```\nand that is all. \U0001f986"
PROGRAM = "def answer():\n    return 'sixteen without three'"


@pytest.mark.parametrize(
    ("reply", "answer", "is_kept_as_text"),
    [
        (REPLY, REPLY, False),
        (REPLY, PROGRAM, False),
        (f"\ud83d\ude00\udc80{REPLY}", f"\ude00\udc80{REPLY}", True),  # a part of a pair: it stands there no more
        (f"\ud83d\ude00\udc80{REPLY}", f"\udc80{REPLY}", False),
        (REPLY, PROGRAM.upper(), True),
        (REPLY, "sixteen", True),
        ("", "", True),
    ],
)
def test_a_long_answer_is_kept_as_its_place_in_the_reply(reply, answer, is_kept_as_text):
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        [number] = store.append_calls([new_call(cell, session, 0, text=reply)])
        store.append_scores([judged_as(number, 1.0, answer, reply)])
        [record] = store.records(run.id)
        assert record.scores["accuracy"] == Score(value=1.0, answer=codec.well_formed(answer))
        assert store.columns(cell).parsed["accuracy"].tolist() == [True]
    with closing(sqlite3.connect("s.db")) as raw:
        [(kept,)] = raw.execute("SELECT answer FROM scores")
    assert (kept is not None) == is_kept_as_text


@pytest.mark.anywhere
def test_an_answer_without_its_reply_is_kept_whole_and_no_answer_stays_none():
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        ids = store.append_calls([new_call(cell, session, i, text=REPLY) for i in range(2)])
        store.append_scores([judged_as(ids[0], 1.0, REPLY), judged_as(ids[1], 0.0, None, REPLY)])
        assert [record.scores["accuracy"].answer for record in store.records(run.id)] == [REPLY, None]
        assert store.columns(cell).parsed["accuracy"].tolist() == [True, False]


def test_of_many_judgements_the_last_counts_in_each_version_and_calls_do_not_mix():
    with Store.open("s.db") as store:
        _, cell, session = begun(store)
        ids = store.append_calls([new_call(cell, session, i) for i in range(3)])
        store.append_scores([judged_as(call, 0.0) for call in ids])
        store.append_scores([judged_as(ids[1], value) for value in (0.1, 0.2, 0.3)])
        store.append_scores([judged_as(ids[0], 0.9, grader_version="2")])
    with Store.open("s.db") as store:
        store.append_scores([judged_as(ids[2], 0.4)])
        assert store.columns(cell).scores["accuracy"].tolist() == [0.0, 0.3, 0.4]
        assert store.columns(cell, grader="p").scores["accuracy"].tolist() == [0.9, 0.3, 0.4]
        assert store.columns(cell, grader="p", grader_version="2").parsed["accuracy"].tolist() == [False] * 3
    with closing(sqlite3.connect("s.db")) as raw:
        assert raw.execute("SELECT count(*) FROM measures").fetchone() == (2,)
        calls = raw.execute("SELECT call, count(*) FROM scores GROUP BY call").fetchall()
    assert calls == [(ids[0], 2), (ids[1], 4), (ids[2], 2)]


@pytest.mark.anywhere
def test_a_score_of_a_call_that_is_gone_is_refused():
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        [number] = store.append_calls([new_call(cell, session, 0)])
        store.delete(run.id)
        with pytest.raises(StoreError, match="not in the store"):
            store.append_scores([judged_as(number, 1.0)])
        _, cell, session = begun(store)
        assert store.append_calls([new_call(cell, session, 0)]) == [number]
        assert store.columns(cell).parsed["accuracy"].tolist() == [False]


def test_a_call_that_has_all_the_scores_it_can_have_takes_none_from_the_next():
    with Store.open("s.db") as store:
        _, cell, session = begun(store)
        ids = store.append_calls([new_call(cell, session, i) for i in range(2)])
        store.append_scores([judged_as(ids[0], 0.0)])
        with closing(sqlite3.connect("s.db")) as raw:
            raw.execute(f"UPDATE scores SET id = id + {schema.JUDGEMENTS - 1}")
            raw.commit()
        with pytest.raises(StoreError, match="65,536 scores"):
            store.append_scores([judged_as(ids[0], 1.0)])
        store.append_scores([judged_as(ids[1], 1.0)])
        assert store.columns(cell).scores["accuracy"].tolist() == [0.0, 1.0]


def test_of_many_answers_to_one_question_the_newest_is_used_again():
    times_s = random.Random(4).sample(range(1, 10_000), 1_200)
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        rows = [new_call(cell, session, i, text=str(at_s), at_s=float(at_s)) for i, at_s in enumerate(times_s)]
        store.append_calls(rows)
        digest = rows[0].call.digest
        found = store.answers.find(known_of(store, run.id), [digest, b"another"])
    assert found.keys() == {digest}
    assert found[digest].call.completion.text == str(max(times_s))


@pytest.mark.parametrize("grader", [None, "p"])
def test_scores_digests_and_answers_are_found_without_reading_whole_tables(grader):
    statements = []
    with Store.open("s.db") as store:
        run, cell, session = begun(store)
        new = new_call(cell, session, 0, at_s=STARTED_S)
        [number] = store.append_calls([new])
        event.listen(store._database.engine, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
        store.append_scores([judged_as(number, 1.0)])
        store.columns(cell, grader=grader)
        list(store.records(run.id))
        list(store.unscored(cell, "q", "1"))
        assert store.answers.find(known_of(store, run.id), [new.call.digest])
        store.delete(run.id)
    with closing(sqlite3.connect("s.db")) as raw:
        plans = [
            step
            for sql, values in statements
            if sql.startswith(("SELECT", "DELETE FROM scores"))
            for (*_, step) in raw.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    assert not [step for step in plans if step.startswith("SCAN calls")]
    assert any(step.startswith("SEARCH scores USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)") for step in plans)
    assert not [step for step in plans if step.startswith(("SCAN scores", "SCAN samples", "SCAN original"))]

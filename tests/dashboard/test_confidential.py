"""Texts that their authors ask not to be spread stand on no page, and no search tells what they hold."""

import msgspec
from boards import REFUSED, Visitor, cell_info, new_call, one_run, served, words

from steelyard.types import Attempt

GPQA = {"benchmark": "gpqa", "is_confidential": True}

SECRET = "the secret question"


def confidential(store):
    _run, _cell, ids = one_run(
        store,
        ["it quotes " + SECRET],
        scores=[0.0],
        info=cell_info(items=1, **GPQA),
        question=SECRET,
        name="graduate",
        attempts=(Attempt(failure=REFUSED, duration_s=0.1, wait_s=0.1),),
    )
    one_run(store, ["it quotes " + SECRET], info=cell_info(items=1, model="other", **GPQA), question=SECRET)
    return ids[0]


REDACTED_PATHS = ("/", "/runs/1", "/runs/1/answers", "/answers/{}", "/item?name=quiz/0", "/compare?run=1+2",
                  "/runs/1/report.html", "/runs/1/provenance", "/search?q=quiz", "/trends", "/money", "/cases?run=1+2",
                  "/cases?run=1+2&shown=differ&text=quiz", "/runs/1/answers.csv", "/runs/1/answers.jsonl")  # fmt: skip


def test_a_confidential_text_is_on_no_page(store):
    number = confidential(store)
    with served(store) as port:
        visitor = Visitor(port)
        for path in REDACTED_PATHS:
            assert SECRET not in visitor.page(path.format(number)), path


def test_the_right_choice_of_a_confidential_item_is_told_by_its_letter(store):
    run = store.create_run(name="choices", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(items=1, **GPQA))
    call = new_call(cell, session, 0)
    sample = msgspec.structs.replace(call.sample, choices=(SECRET, "another"), target="1")
    store.append_calls([msgspec.structs.replace(call, sample=sample)])
    with served(store) as port:
        page = Visitor(port).page("/runs/1/answers")
    assert '<td class="said" data-of="right answer">B</td>' in page


def test_no_search_tells_what_a_confidential_text_holds(store):
    confidential(store)
    with served(store) as port:
        visitor = Visitor(port)
        assert "Nothing found for “secret”" in words(visitor.page("/search?q=secret"))
        assert "There is no such answer" in visitor.page("/runs/1/answers?text=secret")
        assert "quiz/0" not in visitor.page("/runs/1/answers.csv?text=secret")
        assert "There is no such case" in visitor.page("/cases?run=1+2&text=secret")
        assert "quiz/0" in visitor.page("/runs/1/answers?text=quiz")


def test_a_confidential_text_is_shown_to_who_asked_for_it(store):
    number = confidential(store)
    with served(store, reveal=True) as port:
        assert SECRET in Visitor(port).page(f"/answers/{number}")

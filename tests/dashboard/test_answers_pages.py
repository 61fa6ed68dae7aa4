"""The answers of a run by outcome, text and figures; one answer; one item over runs and models."""

import csv
import html
import json
import re
from urllib.parse import quote

import msgspec
import pytest
from boards import REFUSED, TRIED, Visitor, cell_info, chips, estimate, judged, new_call, one_run, served, words

from steelyard.dashboard import item_pages
from steelyard.types import Likelihood, Message, Prompt, Timing


def test_a_page_leads_on_and_back(store):
    one_run(store, [f"answer {place}" for place in range(450)])
    with served(store) as port:
        visitor, path, firsts = Visitor(port), "/runs/1/answers", []

        def step(page, name):
            found = re.search(rf'href="([^"]+)" rel="{name}"', page)
            return found and found[1].replace("&amp;", "&")

        def first(page):
            return int(re.search(r">quiz/(\d+)</a>", page)[1])

        while path:
            page = visitor.page(path)
            firsts.append(first(page))
            last, path = path, step(page, "next")
        assert firsts == [0, 100, 200, 300, 400]
        while last:
            page = visitor.page(last)
            assert first(page) == firsts.pop()
            last = step(page, "prev")
        assert firsts == []
        assert len(re.findall(r">quiz/\d+</a>", visitor.page("/runs/1/answers?most=500"))) == 450


@pytest.mark.anywhere
def test_answers_are_found_by_outcome_text_subject_and_order(store):
    texts = [f"answer {place}" for place in range(120)]
    scores = [float(place % 4 > 0) for place in range(120)]
    run, cell, _ = one_run(store, texts, scores=scores)
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, 120, failure=REFUSED, attempts=TRIED)])
    with served(store) as port:
        visitor = Visitor(port)

        def items(path):
            found, place = [], path
            while place:
                page = visitor.page(place)
                found += re.findall(r">(quiz/\d+)</a>", page)
                following = re.search(r'class="next" href="([^"]+)"', page)
                place = following[1].replace("&amp;", "&") if following else None
            return [int(name.partition("/")[2]) for name in found]

        assert items("/runs/1/answers") == list(range(121))
        assert items("/runs/1/answers?state=wrong") == list(range(0, 120, 4))
        assert items("/runs/1/answers?state=failed") == [120]
        assert items("/runs/1/answers?state=resent") == [120]
        assert items("/runs/1/answers?state=unscored") == []
        assert items("/runs/1/answers?stratum=part+1&state=right") == [n for n in range(120) if n % 2]
        assert items("/runs/1/answers?text=ANSWER+11") == [11, *range(110, 120)]
        assert items("/runs/1/answers?text=nowhere") == []
        assert sorted(items("/runs/1/answers?order=longest")) == list(range(120))


def test_answers_are_filtered_by_what_is_written_also_beside_an_answer(store):
    scores = [float(place % 4 > 0) for place in range(20)]
    _, _, ids = one_run(store, ["yes"] * 20, scores=scores, cost_usd=0.02)
    with served(store) as port:
        visitor = Visitor(port)
        where = quote("score < 1 and cost_usd >= 0.02 and not item = quiz/4")
        page = visitor.page(f"/runs/1/answers?where={where}&most=3")
        assert re.findall(r">(quiz/\d+)</a>", page) == ["quiz/0", "quiz/8", "quiz/12"]
        following = re.search(r'class="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
        assert re.findall(r">(quiz/\d+)</a>", visitor.page(following)) == ["quiz/16"]
        answer = visitor.page(re.search(r'href="([^"]+)">quiz/8</a>', page)[1].replace("&amp;", "&"))
        assert re.findall(r'href="/answers/(\d+)[^"]*" rel="(prev|next)"', answer) == [
            (str(ids[0]), "prev"),
            (str(ids[12]), "next"),
        ]


NOT_UNDERSTOOD = ["latncy_s > 2", "1=1; drop table calls", "tries > " + "9" * 200, "x" * 5_000, "(" * 200, "\x00", '"',
                  "item ~"]  # fmt: skip


@pytest.mark.parametrize("where", NOT_UNDERSTOOD, ids=range(len(NOT_UNDERSTOOD)))
def test_a_filter_that_is_not_understood_is_said_in_its_form_and_is_no_fault(store, where):
    _, _, ids = one_run(store, ["yes"])
    faults = []
    with served(store, faults=faults) as port:
        visitor = Visitor(port)
        status, _, page = visitor.ask(f"/runs/1/answers?where={quote(where)}")
        assert status == 400
        assert 'role="alert">Filter' in page
        assert "quiz/0" not in page
        assert visitor.ask(f"/answers/{ids[0]}?where={quote(where[:300])}")[0] == 400
    assert faults == []


def test_the_columns_of_answers_are_those_of_the_address_and_stay_on_the_next_page(store):
    one_run(store, ["yes"] * 5, cost_usd=0.02)
    with served(store) as port:
        visitor = Visitor(port)

        def headings(page):
            return re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', page)

        page = visitor.page("/runs/1/answers")
        assert "show=" not in page
        assert headings(page)[:4] == ["item", "outcome", "read as", "right answer"]
        assert headings(page)[4:] == ["first token", "total", "tokens", "cost", "stopped by"]
        page = visitor.page("/runs/1/answers?show=cost_usd&show=subject&show=nonsense&most=2&state=right")
        assert headings(page) == ["item", "outcome", "subject", "cost"]
        assert re.findall(r'name="show" value="(\w+)" checked', page) == ["subject", "cost_usd"]
        following = re.search(r'class="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
        assert headings(visitor.page(following)) == ["item", "outcome", "subject", "cost"]


def test_an_item_has_its_history_over_runs_and_models(store):
    one_run(store, ["three"], info=cell_info(items=1), name="old")
    one_run(store, ["four"], info=cell_info(items=1, model="other"), name="new", scores=[0.0], attempts=TRIED)
    one_run(store, ["three <b>"], info=cell_info(items=1), name="newest")
    with served(store) as port:
        page = Visitor(port).page("/item?name=quiz/0")
    assert "three <ins>&lt;b&gt;</ins></pre>" in page  # what its model did not say before
    assert page.count("answer before (#1)") == 1
    assert page.index("#2 new") < page.index("#1 old")
    assert "three" in page
    assert "four" in page
    assert "try 1 failed: server" in page  # the waterfall says so
    assert "pause before the next try" in page


def test_where_a_model_shows_its_reasoning_an_answer_says_when_the_answer_itself_began(store):
    run = store.create_run(name="thinks", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(items=1))
    new = new_call(cell, session, 0)
    moments = {"dispatched_ns": 0, "first_token_ns": 10**9, "first_answer_ns": 3 * 10**9, "last_token_ns": 4 * 10**9}
    timing = Timing(scheduled_ns=0, ended_ns=4 * 10**9, streamed=True, **moments)
    completion = msgspec.structs.replace(new.call.completion, timing=timing)
    store.append_calls([msgspec.structs.replace(new, call=msgspec.structs.replace(new.call, completion=completion))])
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        page = Visitor(port).page("/answers/1")
        (row,) = csv.DictReader(Visitor(port).ask("/runs/1/answers.csv?where=first_answer_s+>+2")[2].splitlines())
    told = re.findall(r"<title>[^<:]*: ([^<]*)</title>", page[: page.index("chart narrow")])
    assert told == ["until the first token, 1 s", "reasoning, 2 s", "tokens of the answer, 1 s"]
    assert (row["ttft_s"], row["first_answer_s"]) == ("1.0", "3.0")


def test_an_answer_stands_alone_with_all_that_is_known_of_it(store):
    _, _, ids = one_run(store, ["three"], attempts=TRIED, cost_usd=0.25)
    store.append_scores([judged(ids[0], 0.0, answer="3", reason="not four", cell=cell_info(protocol="strict"))])
    with served(store) as port:
        page = words(Visitor(port).page(f"/answers/{ids[0]}"))
    for text in (
        "what?",
        "three",
        "not four",
        "strict, version 1",
        "200 ms",
        "800 ms",
        "$0.25",
        "Tries 2",
        "5 in, 3 out",
        "Where the time went",
        "Between the tokens",
        "server after 200 ms, then 500 ms of waiting",
    ):
        assert text in page, text


def test_an_answer_leads_to_those_beside_it_among_those_that_are_sought(store):
    scores = [0.0 if place in (0, 40, 90) else 1.0 for place in range(100)]
    _, _, ids = one_run(store, ["needle" if place == 90 else "yes" for place in range(100)], scores=scores)
    one_run(store, ["yes"])  # another run's are not beside it
    with served(store) as port:
        visitor = Visitor(port)

        def beside(path):
            found = re.findall(r'href="/answers/(\d+)[^"]*" rel="(\w+)"', visitor.page(path))
            return {rel: int(number) for number, rel in found}

        assert beside(f"/answers/{ids[40]}") == {"prev": ids[39], "next": ids[41]}
        assert beside(f"/answers/{ids[0]}") == {"next": ids[1]}
        assert beside(f"/answers/{ids[99]}") == {"prev": ids[98]}
        assert beside(f"/answers/{ids[40]}?state=wrong") == {"prev": ids[0], "next": ids[90]}
        assert beside(f"/answers/{ids[40]}?text=needle") == {"next": ids[90]}
        listed = visitor.page("/runs/1/answers?state=wrong")
        assert f'href="/answers/{ids[40]}?state=wrong"' in listed
        assert 'dir="auto">what?</small>' in listed  # what was asked stands in the line, and what would have been right
        assert 'data-of="right answer">yes</td>' in listed


def test_a_name_that_turns_the_reading_order_is_written_out_and_comes_back_as_it_is(store):
    name = "evil\u202egpt"
    one_run(store, ["yes"], name=name, info=cell_info(model=name, items=1))
    one_run(store, ["yes"], info=cell_info(model="other", items=1))
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/")
        assert f'<option value="{name}">evil\\u202egpt</option>' in page
        assert page.replace(f'value="{name}"', "").count("\u202e") == 0
        assert "#1 evil\\u202egpt" in visitor.page(f"/search?q={quote(name)}")


def test_a_try_that_was_asked_again_says_so(store):
    run, cell, _ = one_run(store, ["yes"])
    session = store.sessions(run.id)[0].id
    lost, found = store.append_calls([new_call(cell, session, 1, failure=REFUSED), new_call(cell, session, 1)])
    with served(store) as port:
        visitor = Visitor(port)
        assert f'href="/answers/{found}"' in visitor.page(f"/answers/{lost}")
        assert "does not count" not in visitor.page(f"/answers/{found}")
        assert f'href="/answers/{lost}"' not in visitor.page("/runs/1/answers")


def test_outcomes_stand_above_the_answers_with_how_many_there_are(store):
    run, cell, _ = one_run(store, ["yes"] * 6, scores=[1.0, 1.0, 0.0, 0.5, 1.0, 1.0], info=cell_info(items=9))
    store.set_summary(cell, [estimate(f"accuracy/part {place}", 0.5) for place in (0, 1)])
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, place, failure=REFUSED, attempts=TRIED) for place in (0, 7)])
    here = "/runs/1/answers"
    counted = {here: "all 7", f"{here}?state=right": "right 4", f"{here}?state=wrong": "wrong 2",
               f"{here}?state=failed": "failed 1", f"{here}?state=resent": "resent 1"}  # fmt: skip
    with served(store) as port:
        visitor = Visitor(port)
        assert chips(visitor.page(here)) == counted, "a failure does not count beside an answer"
        empty = chips(visitor.page(f"{here}?state=unscored"))
        assert empty == counted | {f"{here}?state=unscored": "unscored 0"}
        part = chips(visitor.page(f"{here}?stratum=part+1&state=right"))
        assert part[f"{here}?state=wrong&stratum=part+1"] == "wrong 1"
        part = visitor.page(f"{here}?where=score+%3C+1")
        assert chips(part)[f"{here}?where=score+%3C+1"] == "all 2"
        subjects = re.findall(r'<li><a href="([^"]+)">(part \d)</a> (\d)</li>', html.unescape(part))
        assert subjects == [(f"{here}?where=score+%3C+1&stratum=part+{n}", f"part {n}", "1") for n in (0, 1)]
        text = visitor.page(f"{here}?text=yes")
        assert chips(text)[f"{here}?text=yes"] == "all", "what stands in answers is not counted"
        assert "By subject" not in text
        store.append_calls([new_call(cell, session, 8, failure=REFUSED)])
        assert chips(visitor.page(here))[f"{here}?state=failed"] == "failed 2"


def test_words_are_found_within_an_answer_and_each_place_is_marked(store):
    _, _, ids = one_run(store, ["Ducks: <i>duck</i>, then a DUCK.", "duck"])
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page(f"/answers/{ids[0]}?find=duck&state=right")
        assert re.findall(r"<mark[^>]*>(.*?)</mark>", page) == ["Duck", "duck", "DUCK"]
        assert "stands in the reply at 3 places" in words(page)
        at = re.search(r'href="#([^"]+)">reply</a>', page)[1]
        assert f'<mark id="{at}">Duck</mark>s: &lt;i&gt;' in page
        assert f'href="/answers/{ids[1]}?state=right&find=duck" rel="next"' in html.unescape(page)
        page = visitor.page(f"/answers/{ids[0]}?find=swan&text=duck")
        assert "“swan” stands nowhere in this answer" in page
        assert "<mark" not in page
        assert "“what” stands in the question ." in words(visitor.page(f"/answers/{ids[0]}?text=what"))


def test_digits_of_a_likelihood_are_no_words_that_are_found(store):
    run = store.create_run(name="weighed", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(kind="likelihood", items=1))
    call = new_call(cell, session, 0, question="What is 7 times 9?")
    weighed = tuple(Likelihood(logprob=value, tokens=1, characters=2) for value in (-6.777, -0.977))
    completion = msgspec.structs.replace(call.call.completion, text="", likelihoods=weighed)
    sample = msgspec.structs.replace(call.sample, choices=("61", "67"), target="1")
    (number,) = store.append_calls(
        [msgspec.structs.replace(call, call=msgspec.structs.replace(call.call, completion=completion), sample=sample)]
    )
    with served(store) as port:
        visitor = Visitor(port)
        hit, page = visitor.page("/search?q=7"), visitor.page(f"/answers/{number}?find=7")
        asked = visitor.page("/search?q=What")
        assert "Nothing found for “977”" in visitor.page("/search?q=977")
        assert "stands nowhere in this answer" in visitor.page(f"/answers/{number}?find=777")
    assert "-6.777 A) 61" in words(hit)
    assert "   -0.977  B) 6<mark>7</mark></pre>" in hit
    assert hit.count("<mark>") == 1
    assert "“7” stands in the question , in the reply , in the right answer" in words(page)
    assert "-6.777" in page
    assert "<mark>What</mark> is 7" in asked


def test_of_an_answer_that_is_cut_only_what_is_shown_is_said_to_lack_the_words(store, monkeypatch):
    monkeypatch.setattr(item_pages, "LONGEST", 60)
    _, _, ids = one_run(store, [f"{'a' * 60} duck {'b' * 60}"])
    with served(store) as port:
        page = words(Visitor(port).page(f"/answers/{ids[0]}?find=duck"))
    assert "“duck” stands nowhere in what is shown of this answer" in page


def two_models(store, *, replies=("It is six ducks.", "It is two ducks."), **call):
    """A run in which two models answered the same three items, the second one wrong at the second; all answers."""
    run = store.create_run(name="two", plan={}, plan_digest="0" * 64)
    session, ids = store.begin_session(run.id, {}), {}
    for model, reply in zip(("cheap", "dear"), replies, strict=True):
        info = cell_info(model=model, items=3, available=3)
        cell = store.add_cell(run.id, info)
        ids[model] = store.append_calls(
            [new_call(cell, session, place, text=reply, model=model, **call) for place in range(3)]
        )
        scores = [1.0, float(model == "cheap"), 1.0]
        store.append_scores([judged(i, value, cell=info) for i, value in zip(ids[model], scores, strict=True)])
    return ids, [one.id for one in store.cells(run.id)]


def test_another_models_answer_stands_beside_one_with_the_words_marked_that_differ(store):
    ids, cells = two_models(store, replies=("It is six <b> ducks.", "It is two <b> ducks."), cost_usd=0.25)
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page(f"/answers/{ids['cheap'][1]}?state=right&find=")
        assert chips(page) == {f"/answers/{ids['cheap'][1]}?state=right&against={cells[1]}": "dear wrong"}
        page = visitor.page(f"/answers/{ids['cheap'][1]}?state=right&against={cells[1]}")
        assert "It is <del>six</del> &lt;b&gt; ducks." in page
        assert "It is <ins>two</ins> &lt;b&gt; ducks." in page
        assert "Score 0; read as <code>yes</code>; 800 ms; 3 tokens; $0.25." in page
        following = f"/answers/{ids['cheap'][2]}?state=right&against={cells[1]}"
        assert f'href="{following}" rel="next"' in html.unescape(page)  # it stays while one walks on
        page = visitor.page(f"/answers/{ids['cheap'][1]}?against={cells[1]}&find=DUCKS")
        assert page.count("<mark>ducks</mark>") == 2  # in both; what is sought is marked, and what differs is not
        assert "<del>" not in page
        page = visitor.page(f"/answers/{ids['cheap'][1]}?against=999")
        assert "has no answer to this item" in page
        assert "It is six" in page


def test_only_models_that_were_asked_the_same_item_in_the_same_run_stand_beside_an_answer(store):
    ids, _ = two_models(store)
    one_run(store, ["three"], info=cell_info(items=3, available=3), name="another run")
    one_run(store, ["three"], info=cell_info(dataset_digest="f" * 64), name="other items")
    with served(store) as port:
        page = Visitor(port).page(f"/answers/{ids['dear'][0]}")
        alone = Visitor(port).page(f"/answers/{max(ids['dear']) + 1}")
    assert list(chips(page).values()) == ["cheap right"]
    assert 'class="chips"' not in alone


def test_a_prompt_is_shown_turn_by_turn_and_worked_examples_fold(store):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(items=1))
    asked = new_call(cell, session, 0)
    said = ("system", "Be brief."), ("user", "1 + 1?"), ("assistant", "2"), ("user", "1 + 2?")
    messages = tuple(Message(role=role, content=content) for role, content in said)
    request = msgspec.structs.replace(asked.call.request, prompt=Prompt(kind="chat", messages=messages))
    call = msgspec.structs.replace(asked.call, request=request)
    (number,) = store.append_calls([msgspec.structs.replace(asked, call=call)])
    with served(store) as port:
        page = Visitor(port).page(f"/answers/{number}")
        marked = Visitor(port).page(f"/answers/{number}?find=1+%2B")
    shown = r'<p class="method">(\w+)</p><pre tabindex="0">([^<]+)</pre>'
    assert re.findall(shown, page) == list(said)
    assert "<details><summary>3 turns before the last</summary>" in page
    assert "<details open><summary>3 turns" in marked  # what is marked is not hidden
    assert marked.count("<mark>1 +</mark>") == 1
    assert marked.count('<mark id="in-question">1 +</mark>') == 1


@pytest.mark.parametrize(("length", "is_whole"), [(120_000, True), (150_000, False)])
def test_no_turn_is_cut_where_the_whole_prompt_has_room(store, length, is_whole):
    run = store.create_run(name="r", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(items=1))
    asked = new_call(cell, session, 0)
    messages = (Message(role="system", content="x" * length), Message(role="user", content="y" * 60_000))
    request = msgspec.structs.replace(asked.call.request, prompt=Prompt(kind="chat", messages=messages))
    call = msgspec.structs.replace(asked.call, request=request)
    (number,) = store.append_calls([msgspec.structs.replace(asked, call=call)])
    with served(store) as port:
        page = Visitor(port).page(f"/answers/{number}?find=zebra")
    assert ("x" * length in page, "characters left out" in page) == (is_whole, not is_whole)
    assert ("in what is shown of this answer" in page) == (not is_whole)


def test_the_answers_that_are_sought_are_downloaded_all_of_them_and_nothing_else(store):
    texts = [f"answer {place}" for place in range(250)]
    one_run(store, texts, scores=[float(place % 4 > 0) for place in range(250)])
    with served(store) as port:
        visitor = Visitor(port)
        listed = visitor.page(
            "/runs/1/answers?state=wrong&stratum=part+0&text=answer&where=repeat+%3D+0&order=item&most=9"
        )
        link = html.unescape(re.search(r'href="([^"]+\.csv[^"]*)" download', listed)[1])
        status, headers, text = visitor.ask(link)
        rows = list(csv.DictReader(text.splitlines()))
        assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
        assert headers["content-disposition"] == 'attachment; filename="steelyard-run-1-answers.csv"'
        assert [row["sample_id"] for row in rows] == [f"quiz/{place}" for place in range(0, 250, 4)]
        assert {row["accuracy"] for row in rows} == {"0.0"}
        whole = visitor.ask("/runs/1/answers.jsonl")[2].splitlines()
        assert [json.loads(line)["call"]["completion"]["text"] for line in whole] == texts
        assert len(visitor.ask("/runs/1/answers.jsonl?text=ANSWER+24")[2].splitlines()) == 11
        assert visitor.ask("/runs/1/answers.jsonl?text=nowhere")[2] == ""
        assert visitor.ask("/runs/1/answers.exe")[0] == 400
        assert visitor.ask("/runs/1/answers.csv?where=latncy")[0] == 400
        assert Visitor(port, token=None).ask("/runs/1/answers.csv")[0] == 401

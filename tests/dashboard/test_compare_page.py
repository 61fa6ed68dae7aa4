"""Runs compared: flips side by side, many pairs, and what cannot be compared."""

import re

from boards import REFUSED, Visitor, cell_info, judged, new_call, one_run, served, words


def test_flips_stand_side_by_side(store):
    one_run(store, ["right"] * 30 + ["wrong"] * 10, scores=[1.0] * 30 + [0.0] * 10)
    one_run(store, ["wrong"] * 4 + ["right"] * 36, scores=[0.0] * 4 + [1.0] * 36)
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/compare?run=1&run=2")
        assert page == visitor.page("/compare?run=1+2")
        shown = words(page)
    assert "10 better with" in shown
    assert "what? right answer yes" in shown
    assert "4 better with" in shown
    assert re.search(r"<pre[^>]*>wrong</pre></section>\s*<section><h4>.*?</h4><pre[^>]*>right</pre>", page)
    assert "McNemar" in shown


def test_what_stands_beside_a_difference_is_said_in_words_with_the_exact_name_at_hand(store):
    one_run(store, ["yes"] * 40, scores=[1.0] * 30 + [0.0] * 10)
    one_run(store, ["yes"] * 40, scores=[0.0] * 4 + [1.0] * 36)
    with served(store) as port:
        page = Visitor(port).page("/compare?run=1&run=2")
    assert re.search(r'<span title="latency.p50">median latency 1 times', page)
    assert "latency.p50" not in words(re.sub(r"<datalist.*?</datalist>", "", page, flags=re.S))
    assert "both 26, baseline only 4, candidate only 10, neither 0" in words(page)


def test_of_an_item_asked_several_times_the_repeats_are_shown_that_turned(store):
    for run, (first, second) in enumerate([((0.0, "no"), (1.0, "aye")), ((0.0, "nay"), (0.0, "never"))]):
        info = cell_info(items=3, available=3, repeats=2)
        one, cell, ids = one_run(store, ["yes"] * 3, info=info, name=f"run {run}")
        session = store.sessions(one.id)[0].id
        again = store.append_calls([new_call(cell, session, 0, repeat=n, text=first[1] if n == 1 else second[1])
                                    for n in (1, 2)])  # fmt: skip
        store.append_scores([judged(ids[0], 0.0), judged(again[0], first[0]), judged(again[1], second[0])])
    with served(store) as port:
        page = Visitor(port).page("/compare?run=1&run=2")
    assert re.search(r"<pre[^>]*>aye</pre></section>\s*<section><h4>.*?</h4><pre[^>]*>yes</pre>", page)


def test_several_comparisons_say_how_they_hold_together(store):
    for share in (2, 3, 4):
        one_run(store, ["yes"] * 60, scores=[float(place % share > 0) for place in range(60)])
    with served(store) as port:
        page = words(Visitor(port).page("/compare?run=1+2+3"))
        assert "2 comparisons in one claim: each interval is at 97.5 %, so that all hold together at 95 %" in page
        assert "in one claim" not in words(Visitor(port).page("/compare?run=1+2"))


def test_what_cannot_be_compared_is_said(store):
    one_run(store, ["yes"])
    one_run(store, ["yes"], info=cell_info(dataset_digest="f" * 64))
    with served(store) as port:
        status, _, page = Visitor(port).ask("/compare?run=1+2")
    assert status == 400
    assert "dataset" in page
    assert "across protocols" not in page


def test_runs_under_two_protocols_are_compared_by_one_click_more(store):
    one_run(store, ["yes"])
    one_run(store, ["yes"], info=cell_info(protocol="q"))
    with served(store) as port:
        visitor = Visitor(port)
        refused = visitor.ask("/compare?run=1+2")[2]
        assert "--across" not in refused
        onward = re.search(r'href="([^"]+)">Compare them across protocols', refused)[1].replace("&amp;", "&")
        assert "answers as much as" in visitor.page(onward)


def test_a_run_that_asked_nothing_leads_on_to_no_other(store):
    store.create_run(name="empty", plan={}, plan_digest="0" * 64)
    with served(store) as port:
        assert "No other run asked the same yet" in Visitor(port).page("/compare?run=1")


def test_a_run_of_one_model_leads_on_to_runs_that_asked_the_same(store):
    for name, benchmark in (("before", "quiz"), ("elsewhere", "other"), ("alone", "quiz")):
        one_run(store, ["yes"], name=name, info=cell_info(benchmark=benchmark))
    with served(store) as port:
        visitor = Visitor(port)
        link = re.search(r'href="([^"]+)">Compare with another run', visitor.page("/runs/3"))[1]
        page = visitor.page(link)
        assert "steelyard compare" not in page
        assert re.findall(r'href="(/compare\?run=[^"]+)"', page) == ["/compare?run=1&amp;run=3"]
        assert "inconclusive" in visitor.page("/compare?run=1&run=3")
        assert "No other run" in visitor.page("/compare?run=2")


def test_sides_that_do_not_match_by_themselves_are_to_be_chosen_in_the_form(store):
    one_run(store, ["yes"], info=cell_info(model="a"))
    several, _, _ = one_run(store, ["yes"], info=cell_info(model="b"))
    store.add_cell(several.id, cell_info(model="c"))
    with served(store) as port:
        status, _, page = Visitor(port).ask("/compare?run=1+2")
    assert status == 400
    assert "no pair to compare" in page
    assert "--model" not in page


def test_many_pairs_each_lead_to_a_page_of_their_own(store):
    run = store.create_run(name="many", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for place in range(9):
        info = cell_info(model=f"model {place}", items=20)
        cell = store.add_cell(run.id, info)
        ids = store.append_calls([new_call(cell, session, at, model=info.model) for at in range(20)])
        values = [float(at % (place + 2) > 0) for at in range(20)]
        store.append_scores([judged(number, value, cell=info) for number, value in zip(ids, values, strict=True)])
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        visitor = Visitor(port)
        page = visitor.page("/compare?run=1").replace("&amp;", "&")
        assert page.count('id="turned') == 6
        alone = re.findall(r'<li><a href="([^"]+)">model (\d)</a>', page)
        assert [name for _, name in alone] == ["7", "8"]
        assert visitor.page(alone[0][0]).count('id="turned') == 1
        assert "candidate against baseline" not in page, "one baseline of all is named once, above"
        assert re.findall(r'<details class="turned" id="turned(\d)" open>', page) == ["1"], "the others are folded"


def test_pairs_in_which_nothing_turned_share_a_line(store):
    run = store.create_run(name="alike", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for model, right in (("a", 3), ("b", 3), ("c", 3), ("d", 2)):
        info = cell_info(model=model, items=5)
        cell = store.add_cell(run.id, info)
        ids = store.append_calls([new_call(cell, session, at, model=model) for at in range(5)])
        store.append_scores([judged(one, float(at < right), cell=info) for at, one in enumerate(ids)])
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        page = Visitor(port).page("/compare?run=1")
    assert re.findall(r'id="turned(\d)"><h2>What turned: (\w)', page) == [("3", "d")]
    assert page.count('href="#turned') == 1
    assert "Each item was scored alike on both sides: b on quiz@p, c on quiz@p." in page


def test_where_no_item_has_a_score_on_both_sides_nothing_is_said_to_be_alike(store):
    run = store.create_run(name="nothing came back", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for model in ("a", "b"):
        cell = store.add_cell(run.id, cell_info(model=model, items=5))
        store.append_calls([new_call(cell, session, at, model=model, failure=REFUSED) for at in range(5)])
    store.end_session(session, {})
    store.set_status(run.id, "done")
    with served(store) as port:
        page = words(Visitor(port).page("/compare?run=1"))
    assert "cannot be compared on accuracy: no item was scored on both sides" in page
    assert "scored alike" not in page


def test_models_to_choose_from_are_told_apart_by_the_ends_of_long_names(store):
    run = store.create_run(name="long names", plan={}, plan_digest="0" * 64)
    for turn in "ab":
        store.add_cell(run.id, cell_info(model=f"{'accounts/some-organisation/models/' * 3}rev-{turn}"))
    with served(store) as port:
        page = Visitor(port).page("/cases?run=1")
    assert re.findall(r"…\S*rev-(\w)</option>", page) == ["a", "b"]

"""Cases: every item with each model's mark, and where models differ."""

import re
from urllib.parse import quote

import pytest
from boards import REFUSED, Visitor, cell_info, estimate, judged, new_call, one_run, served, words

from steelyard.errors import UsageError
from steelyard.store.reading.cases import CasesWanted


@pytest.mark.anywhere("long")
def test_cases_stand_with_every_models_mark_and_are_found_where_models_differ(store):
    _, first, _ = one_run(store, ["18", "yes", "no"], scores=[1.0, 1.0, 0.0], info=cell_info(model="first", items=3))
    store.set_summary(first, [estimate(f"accuracy/part {place}", 0.5) for place in (0, 1)])
    run, cell, ids = one_run(
        store, ["26", "yes", "<b>"], scores=[0.0, 1.0, 0.0], info=cell_info(model="other", items=3)
    )
    session = store.sessions(run.id)[0].id
    store.append_calls([new_call(cell, session, place, failure=REFUSED) for place in (0, 3)])  # 0 was answered before
    with served(store) as port:
        visitor = Visitor(port)

        def found(query):
            return re.findall(r">(quiz/\d+)</a>", visitor.page(f"/cases?run=1+2&{query}"))

        assert found("") == ["quiz/0", "quiz/1", "quiz/2", "quiz/3"]
        assert found("shown=differ") == ["quiz/0"]
        assert found("shown=right") == ["quiz/1"]
        assert found("shown=wrong") == ["quiz/2"]
        assert found("shown=failed") == ["quiz/3"]
        assert found("outcome=1.right&outcome=2.wrong") == ["quiz/0"]
        assert found("outcome=2.right&outcome=1.wrong") == []
        assert found("outcome=2.failed") == ["quiz/3"]
        assert found("outcome=1.failed") == []
        assert found("stratum=part+1") == ["quiz/1", "quiz/3"]
        assert found("text=QUIZ/2") == ["quiz/2"]
        page = visitor.page("/cases?run=1+2&shown=differ")
        assert f'<a href="/answers/{ids[0]}">' in page
        assert "26" in page
        assert "&lt;b&gt;" in visitor.page("/cases?run=2")
        assert 'href="/cases?run=1"' in visitor.page("/runs/1")
        assert "/cases?run=1&amp;run=2" in visitor.page("/compare?run=1+2")


def test_cases_of_other_items_under_the_same_label_are_not_laid_side_by_side(store):
    _, mine, _ = one_run(store, ["a", "b"], scores=[1.0, 0.0], info=cell_info(items=2))
    _, other, _ = one_run(store, ["c", "d", "e"], info=cell_info(items=3, dataset_digest="f" * 64))
    with served(store) as port:
        visitor = Visitor(port)
        first = visitor.page("/cases?run=1+2")
        assert "quiz@p, 1 model, " in words(first)
        assert "quiz@p, items of #2</option>" in first
        assert ">quiz/2</a>" not in first
        second = visitor.page(
            "/cases?run=1+2&benchmark=" + quote("quiz@p, items of #2") + f"&outcome={mine}.right&stratum=x"
        )
        assert re.findall(r">(quiz/\d)</a>", second) == ["quiz/0", "quiz/1", "quiz/2"], "stale filters do not count"
        assert "benchmark=quiz%40p" in re.search(r'href="(/compare[^"]+)"', second)[1]
    infos = [info for run in "12" for info in store.cells(store.run(run).id)]
    with pytest.raises(UsageError, match="different sets"):
        store.pages.cases(infos, CasesWanted(cells=(mine, other)))


def test_a_set_is_found_by_the_label_of_any_of_its_cells(store):
    one_run(store, ["a"], info=cell_info(items=1))
    one_run(store, ["b"], info=cell_info(items=1, protocol="q", model="other"))
    with served(store) as port:
        page = words(Visitor(port).page("/cases?run=1+2&benchmark=quiz@q&model=other&model=gone"))
        assert "quiz@p, 1 model, " in page
        assert len(re.findall("[✓✗] right", page)) == 1


def test_cases_lead_on_and_back_and_count_repeats(store):
    run, cell, _ = one_run(store, ["yes"] * 60, scores=[float(place % 3 > 0) for place in range(60)])
    session = store.sessions(run.id)[0].id
    again = store.append_calls([new_call(cell, session, place, repeat=1) for place in range(60)])
    store.append_scores([judged(number, 1.0) for number in again])
    with served(store) as port:
        visitor, path, names = Visitor(port), "/cases?run=1", []
        while path:
            page = visitor.page(path)
            names += re.findall(r">quiz/(\d+)</a>", page)
            found = re.search(r'href="([^"]+)" rel="next"', page)
            path = found and found[1].replace("&amp;", "&")
        assert names == [str(place) for place in range(60)]
        assert 'rel="prev"' in page
        assert "1 of 2 right" in visitor.page("/cases?run=1")
        assert "2 of 2 right" not in visitor.page("/cases?run=1&shown=wrong")

"""Baselines: versions that nothing changes, figures that outlive their run, files that hold no question."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

import steelyard as sy
from steelyard.errors import UnknownName, UsageError
from steelyard.providers.function import Function
from steelyard.store import Store
from steelyard.store.rows.baselines import read_baseline, write_baseline
from steelyard.store.transfer.taking import snapshot


def write_cases(n=12):
    lines = [json.dumps({"question": f"Say {i}", "answer": str(i), "id": f"c{i}"}) for i in range(n)]
    Path("cases.jsonl").write_text("\n".join(lines) + "\n")


def echo(prompt):
    word = prompt.split()[-1]
    return "no" if word in ("3", "7") else word


def a_run(**options):
    write_cases()
    return sy.run([Function(echo, name="echo")], ["cases.jsonl"], fresh=True, **options)


@pytest.mark.anywhere
def test_each_setting_is_a_new_version_and_earlier_ones_can_be_named():
    first, second = a_run(), a_run()
    with Store.open() as store:
        for run in (first, second):
            store.baselines.set("main", snapshot(store, run.info))
        assert store.baselines.get("main").content.number == 2
        assert store.baselines.get("main@1").content.number == 1
        assert store.baselines.find("main@3") is None
        assert [(one.name, one.version) for one in store.baselines.all()] == [("main", 2), ("main", 1)]
        with pytest.raises(UnknownName, match="main@2"):
            store.baselines.get("mian")
        with pytest.raises(UsageError, match="main@1"):
            store.baselines.find("main@newest")
        with pytest.raises(UsageError, match="no name for a baseline"):
            store.baselines.set("../main", snapshot(store, first.info))


def test_a_baseline_outlives_its_run():
    run = a_run()
    with Store.open() as store:
        (cell,) = store.cells(run.info.id)
        estimates = store.summary(cell.id)
        store.set_summary(cell.id, None)
        with pytest.raises(UsageError, match=r"before it had summed itself up.*--resume 1"):
            snapshot(store, run.info)
        store.set_summary(cell.id, estimates)
        store.baselines.set("main", snapshot(store, run.info))
        store.delete(run.info.id)
        [cell] = store.baselines.get("main").content.cells
    assert np.nanmean(cell.columns().scores["accuracy"]) == pytest.approx(10 / 12)


NOT_KEPT = (
    "retried",
    "gaps_s",
    "gap_starts",
    "answer",
    "session",
    "stratum",
    "cluster",
    "model_reported",
    "fingerprint",
)


def test_a_baseline_of_an_older_version_does_not_know_when_answers_began():
    run = a_run()
    with Store.open() as store:
        kept = snapshot(store, run.info)
    document = msgspec.to_builtins(kept)
    del document["cells"][0]["requests"]["reasoned_s"]
    columns = msgspec.convert(document, type=type(kept)).cells[0].columns()
    assert np.isnan(columns.reasoned_s).tolist() == [True] * len(columns.names)


def test_columns_come_back_as_they_were_but_for_the_gaps():
    run = a_run(runs=2)
    with Store.open() as store:
        [info] = store.cells(run.info.id)
        before = store.columns(info.id, with_names=True)
        [cell] = msgspec.msgpack.decode(
            msgspec.msgpack.encode(snapshot(store, run.info)), type=type(snapshot(store, run.info))
        ).cells
        after = cell.columns()
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if name in NOT_KEPT:
            continue
        if name in ("scores", "parsed"):
            assert old.keys() == new.keys()
            old, new = np.concatenate([*old.values()]), np.concatenate([*new.values()])
        if isinstance(old, np.ndarray) and old.dtype.kind == "f":
            np.testing.assert_allclose(old, new, atol=1e-3, equal_nan=True)
        else:
            assert np.array_equal(old, new), name


def test_a_file_gives_the_same_baseline_and_one_that_was_cut_or_edited_is_refused():
    run = a_run()
    with Store.open() as store:
        baseline = store.baselines.set("main", snapshot(store, run.info), note="release 1")
    file = Path("main.jsonl")
    file.write_text(write_baseline(baseline))
    assert read_baseline(file) == baseline
    text = file.read_text()
    for damaged in (
        text.replace("1.0", "0.0", 1),
        text.partition("\n")[0],
        "",
        "{}",
        text.replace(':1,"name', ':9,"name'),
    ):
        file.write_text(damaged)
        with pytest.raises(UsageError, match=r"main\.jsonl"):
            read_baseline(file)


def test_a_file_holds_no_text_of_what_was_asked_or_answered():
    Path("cases.jsonl").write_text(json.dumps({"question": "the secret question", "answer": "gold", "id": "c0"}) + "\n")
    run = sy.run([Function(lambda prompt: "a secret reply", name="echo")], ["cases.jsonl"])
    with Store.open() as store:
        text = write_baseline(store.baselines.set("main", snapshot(store, run.info)))
    assert "secret" not in text
    assert "gold" not in text


def test_of_a_confidential_benchmark_only_ids_and_numbers_leave(monkeypatch):
    run = a_run()
    with Store.open() as store:
        [info] = store.cells(run.info.id)
        hidden = msgspec.structs.replace(info, is_confidential=True, settings={"model": {"system": "a hint"}})
        monkeypatch.setattr(store, "cells", lambda run_id: [hidden])
        text = write_baseline(store.baselines.set("main", snapshot(store, run.info)))
    assert "hint" not in text
    assert "c3" in text

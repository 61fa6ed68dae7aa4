"""Stores to be looked at: real runs of the local model, published outputs, and what strains a page."""

import json
import os
import random
import subprocess
import sys
import time
from functools import partial

import msgspec

import steelyard as sy
from dashboard.boards import REFUSED, TRIED, cell_info, estimate, judged, new_call, one_run
from steelyard.api import import_file
from steelyard.store import Store
from steelyard.store.transfer.taking import snapshot
from steelyard.types import Failure

GSM8K = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
FLOORS = ("-m", "baseline/random", "-m", "baseline/constant")
RATE_LIMIT = Failure(kind="rate_limit", message="slow down", status=429)
LONG = "accounts/some-organisation/models/a-rather-long-model-name-70b-instruct-turbo-preview-fp8-2026-01-31-rev{:02}"
UNICODE = "модель-Δ 模型 नमूना 🦙 é̂"


def quiet(_):
    """Nobody listens to what the runs print."""


def ask_local_model(place, *, name, limit=176):
    """The command line as a user types it; a process, so that it can also be looked at while it runs."""
    command = [sys.executable, "-m", "steelyard", "run", "starter@cloze", "-m", "local/smollm2-135m", *FLOORS]
    settings = ["--limit", str(limit), "--fresh", "--quiet", "--name", name, "--store", str(place)]
    return subprocess.Popen(command + settings, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def real(place, *, limit=24):
    """The local model twice on the same items, blessed after the first time."""
    for turn in range(2):
        process = ask_local_model(place, name=("first night", "second night")[turn], limit=limit)
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said.decode()
    with Store.open(place) as store:
        store.tag(store.run("1").id, "nightly")
        store.baselines.set("main", snapshot(store, store.run("1")), note="before the new prompt")


def rows_of(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def published(place, data):
    """What the authors of GSM8K and of BBH published of their models, asked again and imported."""
    rows = rows_of(data / "gsm8k/reference_outputs/example_model_solutions.jsonl")
    items = sy.load_dataset("gsm8k")
    at = {item.input.strip(): row for item, row in zip(items, rows, strict=True)}
    questions = sorted(at, key=len, reverse=True)

    def row_of(prompt):
        return at[next(question for question in questions if question in prompt)]

    def model(name, solution=None):
        return sy.Function(lambda prompt: row_of(prompt)[solution or name]["solution"], name=name, version="2021")

    sy.run([model(name) for name in GSM8K], ["gsm8k@zero-shot"], name="GSM8K, four models", tags=["published"],
           store=place, on_message=quiet)  # fmt: skip
    with Store.open(place) as store:
        for form in ("direct", "cot"):
            _import(store, place.parent / f"{form}.jsonl", form, data)
    for night in range(12):
        better = sy.Function(model("", GSM8K[0 if night < 7 else 3])._call, name="support-bot")
        sy.run([better], ["gsm8k@zero-shot"], limit=150, name=f"night {night + 1}", tags=["nightly"], fresh=True,
               store=place, on_message=quiet)  # fmt: skip
    with Store.open(place) as store:
        for name in GSM8K[1::2]:
            _import_gsm8k(store, place.parent / f"{name}.jsonl", name, rows)


def _import_gsm8k(store, file, name, rows):
    lines = ({"sample_id": f"gsm8k/test/{row['index']}", "completion": row[name]["solution"]} for row in rows)
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    import_file(store, file, "gsm8k@zero-shot", name, name=name.replace("_", " "))


def _import(store, file, form, data):
    rows = rows_of(data / f"bbh/reference_outputs/code-davinci-002_{form}.jsonl")
    lines = ({"sample_id": f"bbh/{row['task']}/{row['index']}", "completion": row["prediction"]} for row in rows)
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    import_file(store, file, f"bbh@paper-{form}", "code-davinci-002", name=f"BBH {form}")


def summarised(store, cell, values, *, cost=None, asked=0):
    n = len(values)
    share = sum(values) / n if n else None
    store.set_summary(
        cell,
        [
            estimate("accuracy", share, n=n, low=max(0.0, share - 0.1), high=min(1.0, share + 0.1))
            if n
            else estimate("accuracy", None, n=0),
            estimate("attempted", float(n or asked), unit="requests"),
            *(estimate(name, float(n), unit="requests") for name in ("answered", "scored")),
            estimate("cost.total", cost, unit="USD"),
        ],
    )


def many(store, names, *, name, items=30, status="done", cost_usd=None, failure=None, benchmarks=("quiz",), tags=()):
    """One run that asked every one of the models; seeded, so that a picture changes only where a page does."""
    drawn = random.Random(name)
    run = store.create_run(name=name, plan={"budget_usd": 5}, plan_digest="0" * 64, tags=list(tags))
    session = store.begin_session(run.id, {})
    for benchmark in benchmarks:
        for place, model in enumerate(names):
            done = items if status == "done" else max(0, items - 7 * (place + 1))
            info = cell_info(model=model, benchmark=benchmark, items=items, available=items)
            cell = store.add_cell(run.id, info)
            values = [float(drawn.random() < 0.35 + 0.6 * place / max(1, len(names))) for _ in range(done)]
            row = partial(_row, cell, session, model=model, failure=failure, cost_usd=cost_usd, drawn=drawn)
            ids = store.append_calls([row(at, value) for at, value in enumerate(values)])
            if failure is None:
                store.append_scores([judged(i, value, cell=info) for i, value in zip(ids, values, strict=True)])
            if status == "done":
                cost = None if cost_usd is None else cost_usd * items * (place + 1)
                summarised(store, cell, values if failure is None else [], cost=cost, asked=items)
    if status == "done":
        store.end_session(session, {})
        store.set_status(run.id, "done")
    return run


def _row(cell, session, at, value, *, model, failure, cost_usd, drawn):
    text = "The answer is yes." if value else "No: " + "it cannot be known from what is given. " * 6
    lost = failure or (RATE_LIMIT if drawn.random() < 0.03 else None)
    return new_call(cell, session, at, text=text, question=f"Is {at} a number? Explain your answer step by step.",
                    model=model, failure=lost, attempts=TRIED if at % 9 == 0 else (), at_s=time.time() - 60 + at,
                    cost_usd=cost_usd)  # fmt: skip


def gated(store):
    """Runs held against a baseline: of two models that got worse, one with a long name, and of forty."""
    for turn, share in enumerate((0.8, 0.72)):
        run = store.create_run(name=("blessed", "today")[turn], plan={}, plan_digest="0" * 64)
        session = store.begin_session(run.id, {})
        for place, model in enumerate(("openai/gpt-x", LONG.format(7))):
            info = cell_info(model=model, items=300, available=1_000)
            drawn, cell = random.Random(place), store.add_cell(run.id, info)
            values = [float(drawn.random() < share + 0.03 * turn * place) for _ in range(300)]
            ids = store.append_calls(
                [
                    new_call(cell, session, at, model=model, cost_usd=0.002, at_s=time.time() - 400 + at)
                    for at in range(len(values))
                ]
            )
            store.append_scores([judged(number, value) for number, value in zip(ids, values, strict=True)])
            summarised(store, cell, values, cost=0.6)
        store.end_session(session, {})
        store.set_status(run.id, "done")
    store.baselines.set("main", snapshot(store, store.run("blessed")), note="before the new prompt")
    names = [LONG.format(at) for at in range(40)]
    many(store, names, name="forty blessed", cost_usd=0.002)
    store.baselines.set("forty", snapshot(store, store.run("forty blessed")))
    many(store, names, name="forty today", cost_usd=0.002)


def cascaded(store):
    """A cheap model that is right about as often as it is sure, and a dear one, both asked the same."""
    drawn = random.Random(7)
    run = store.create_run(name="cheap and dear", plan={}, plan_digest="0" * 64)
    session = store.begin_session(run.id, {})
    for model, usd in (("small/cheap-one", 0.001), (LONG.format(7), 0.01)):
        is_cheap = usd < 0.01
        settings = {"model": {"confidence": {"by": "logprob"}}} if is_cheap else {}
        info = cell_info(model=model, items=300, available=1_000, settings=settings)
        cell, calls, values = store.add_cell(run.id, info), [], []
        for at in range(300):
            sure = round(drawn.uniform(0.02, 0.99), 2)
            values.append(float(drawn.random() < (sure if is_cheap else 0.9)))
            one = new_call(cell, session, at, model=model, cost_usd=usd)
            answered = msgspec.structs.replace(one.call.completion, confidence=sure if is_cheap else None)
            calls.append(msgspec.structs.replace(one, call=msgspec.structs.replace(one.call, completion=answered)))
        ids = store.append_calls(calls)
        store.append_scores([judged(number, value) for number, value in zip(ids, values, strict=True)])
        summarised(store, cell, values, cost=300 * usd)
    store.end_session(session, {})
    store.set_status(run.id, "done")


def strained(place):
    """Forty models with long names, one model alone, no price known, nothing answered, names of every script."""
    with Store.open(place) as store:
        many(store, [LONG.format(at) for at in range(40)], name="forty models", cost_usd=0.002, tags=["a tag " * 8])
        many(store, ["only"], name="one model", items=60)
        many(store, ["a", "b"], name="no price is known", items=40)
        many(store, ["openai/gpt-x", "anthropic/claude-x"], name="nothing came back", failure=REFUSED)
        many(store, [UNICODE, "plain"], name=f"all scripts {UNICODE}", benchmarks=("quiz", f"вопросы {UNICODE}"),
             cost_usd=0.01)  # fmt: skip
        many(store, ["openai/gpt-x", "anthropic/claude-x", LONG.format(7)], name="on its way", status="running",
             items=60, cost_usd=0.004)  # fmt: skip
        one_run(store, ["a"], name="x" * 200, info=cell_info(model="m" * 150, items=1))
        store.create_run(name="nothing asked", plan={}, plan_digest="0" * 64)

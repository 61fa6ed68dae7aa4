"""The runs whose reports are looked at: a real model, published outputs, and every state a report can be in.

Each scene asks real providers over real HTTP, or imports what was published; none writes estimates of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from msgspec import Struct

import steelyard as sy
from steelyard.cli import main
from steelyard.instrument.mock import Settings, serving
from steelyard.types import Price

ITEMS = 120
GSM8K_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SCRIPTS = (
    "مرحبا، الجواب الصحيح هو {} وهذا نص طويل يُقرأ من اليمين إلى اليسار",
    "答案是{}。这是一个没有空格的很长的句子用来检查换行是否正确处理而不会超出页面的宽度因为中文没有空格",
    "תשובה: {} (זה נכתב מימין לשמאל)",
    "答えは{}です。長い説明が続きますが、改行はどこでも構いません。ﾊﾝｶｸ文字も混ざります。",
    "คำตอบคือ {} ซึ่งเป็นข้อความภาษาไทยที่ไม่มีช่องว่างระหว่างคำและยาวมากพอที่จะต้องตัดบรรทัด",
    "👩‍👩‍👧‍👦 {} 🏳️‍🌈 " + "x" * 300,
)


class Served(Struct, frozen=True, kw_only=True):
    """A model behind an endpoint of its own: how often it is right, how fast, how dear, and what goes wrong."""

    name: str
    right: float
    ttft_ms: float = 8.0
    itl_ms: float = 1.0
    usd: float | None = 1.0
    faults: dict[str, float] = {}
    says: Sequence[str] = ("{}",)
    confidence: sy.Confidence | None = None


FOUR = (
    Served(name="large", right=0.93, ttft_ms=60, itl_ms=6, usd=15.0),
    Served(name="medium", right=0.88, ttft_ms=25, itl_ms=3, usd=3.0),
    Served(name="small", right=0.71, ttft_ms=12, itl_ms=1, usd=0.4),
    Served(name="tiny", right=0.48, ttft_ms=5, itl_ms=0.5, usd=0.05),
)


def ok(*words: object) -> str:
    """What a command prints; it must succeed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([str(word) for word in words]) == 0, printed.getvalue()
    return printed.getvalue()


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Stores, cases and answers stand in the scene's own folder."""
    with contextlib.chdir(folder):
        yield


def write_cases(name: str = "cases.jsonl", items: int = ITEMS) -> list[dict[str, str]]:
    """Sums to do: each question has a number of its own, by which an endpoint finds its answer."""
    draw = random.Random(7)
    cases = []
    for place in range(items):
        a, b = draw.randint(10, 99), draw.randint(10, 99)
        subject = ("addition", "subtraction", "multiplication")[place % 3]
        answer = {"addition": a + b, "subtraction": a - b, "multiplication": a * b}[subject]
        sign = {"addition": "+", "subtraction": "-", "multiplication": "x"}[subject]
        cases.append({"id": f"sum/{place:03}", "question": f"No. {place:03}. What is {a} {sign} {b}?",
                      "answer": str(answer), "subject": subject})  # fmt: skip
    Path(name).write_text("".join(json.dumps(case) + "\n" for case in cases), "utf-8")
    return cases


def write_answers(served: Served, cases: Sequence[dict[str, str]], seed: int) -> str:
    """What this model says to each case. Models err on the same hard items more often than by chance."""
    hard, own = random.Random(1), random.Random(seed)
    lines = []
    for place, case in enumerate(cases):
        luck = 0.6 * hard.random() + 0.4 * own.random()
        said = case["answer"] if luck < served.right else str(own.randint(1, 99))
        form = served.says[place % len(served.says)]
        lines.append({"prompt": case["question"][:8], "completion": form.replace("{}", said)})
    path = Path(f"answers-{seed}.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


@asynccontextmanager
async def endpoints(models: Sequence[Served], cases: Sequence[dict[str, str]]) -> AsyncIterator[list[sy.ModelSpec]]:
    """An endpoint a model, on ports of their own."""
    async with AsyncExitStack() as stack:
        specs = []
        for seed, one in enumerate(models):
            settings = Settings(ttft_ms=one.ttft_ms, itl_ms=one.itl_ms, jitter=0.5, faults=one.faults, seed=seed,
                                answers=write_answers(one, cases, seed))  # fmt: skip
            url = await stack.enter_async_context(serving(settings))
            price = None if one.usd is None else Price(input=one.usd, output=4 * one.usd)
            specs.append(sy.ModelSpec(id=one.name, provider="openai", model=one.name, base_url=url, price=price,
                                      confidence=one.confidence))  # fmt: skip
        yield specs


def ask(models: Sequence[Served], *, benchmarks: Sequence[str] = ("cases.jsonl",), **settings: object) -> sy.Run:
    """Ask every model every benchmark over HTTP."""
    os.environ["OPENAI_API_KEY"] = "of-the-tests"

    async def asked() -> sy.Run:
        cases = [case for name in benchmarks for case in write_cases(name)]
        async with endpoints(models, cases) as specs:
            fixed = {"fresh": True, "store": "s.db", "on_message": lambda text: None, "concurrency": 8}
            return await sy.run_async(specs, list(benchmarks), **(fixed | settings))  # type: ignore[arg-type]

    return asyncio.run(asked())


def report(*runs: object) -> None:
    """The page of these runs, the last one if none is named."""
    ok("report", *runs, "--html", "report.html", "--store", "s.db")


def enact(scene: Callable[..., None], folder: Path, *given: Path) -> None:
    """Play a scene in its own folder, to its report."""
    with inside(folder):
        scene(*given)
        if not Path("report.html").exists():
            report()


def four_models() -> None:
    ask(FOUR, name="four models")


def three_benchmarks() -> None:
    ask(FOUR, benchmarks=("grade-school.jsonl", "algebra.jsonl", "geometry.jsonl"), name="three benchmarks")


def one_model() -> None:
    ask(FOUR[1:2], name="one model")


def forty_models() -> None:
    names = (f"a-vendor/with-a-very-long-model-name-{place:02}-instruct-2026-11-26-preview" for place in range(40))
    draw = random.Random(3)
    ask(
        [Served(name=name, right=0.3 + 0.6 * draw.random(), ttft_ms=2 + 30 * draw.random(),
                itl_ms=3 * draw.random(), usd=0.05 * 400 ** draw.random()) for name in names],
        name="a run with a name that is far too long for one line of a heading, as those that scripts make up",
    )  # fmt: skip


def no_cost() -> None:
    ask([Served(name=f"self-hosted-{one.name}", right=one.right, ttft_ms=one.ttft_ms, usd=None) for one in FOUR[:3]],
        name="no cost known")  # fmt: skip


def all_errors() -> None:
    ask([Served(name=name, right=1.0, faults={"400": 1.0}) for name in ("refuses-all", "refuses-all-too")],
        name="all errors")  # fmt: skip


def some_errors() -> None:
    faults = {"400": 0.1, "length": 0.1, "refusal": 0.05, "empty": 0.05}
    ask([FOUR[1], Served(name="flaky", right=0.9, usd=2.0, faults=faults)], name="some errors")


def empty_run() -> None:
    ask(FOUR[:2], name="empty", budget_usd=1e-9)


def out_of_budget() -> None:
    ask(FOUR[:2], name="stopped by budget", budget_usd=0.02)


def early_stopped() -> None:
    ask((FOUR[0], FOUR[3]), name="stopped early", stop={"compare": True})


def as_a_cascade() -> None:
    """A cheap model that says how sure it is, and a dear one."""
    sure = sy.Confidence(by="logprob")
    ask((Served(name="small", right=0.71, usd=0.4, confidence=sure), FOUR[0]), name="cheap and dear")


def all_scripts() -> None:
    names = ("many-scripts", "模型-七十亿-指令微调")
    ask([Served(name=name, right=0.7, says=SCRIPTS) for name in names], name="نماذج و 模型 und Modèles")


def verdict() -> None:
    """A run judged against a baseline, which it fails."""
    ask(FOUR[1:2], name="before")
    ok("baseline", "set", "main", 1, "--store", "s.db")
    worse = Served(name=FOUR[1].name, right=0.6, ttft_ms=30, itl_ms=3, usd=3.0)
    ask([worse], name="after")
    with contextlib.redirect_stdout(io.StringIO()):
        main(["report", "--html", "report.html", "--store", "s.db", "--baseline", "main", "--margin", "accuracy=0.02",
              "--require", "accuracy >= 0.5"])  # fmt: skip


def published_gsm8k(data: Path) -> None:
    """The four models of the GSM8K paper, each with its published solution of every item."""
    rows = _rows(data / "gsm8k/reference_outputs/example_model_solutions.jsonl")
    for model in GSM8K_MODELS:
        answers = [
            {"sample_id": f"gsm8k/test/{row['index']}", "completion": row[model]["solution"]} for row in rows
        ]  # fmt: skip
        _imported(answers, "gsm8k@zero-shot", model)
    report(1, 2, 3, 4)


def published_bbh(data: Path) -> None:
    """What code-davinci-002 answered to every item of BBH, with and without a chain of thought."""
    for form in ("direct", "cot"):
        rows = _rows(data / f"bbh/reference_outputs/code-davinci-002_{form}.jsonl")
        answers = [
            {"sample_id": f"bbh/{row['task']}/{row['index']}", "completion": row["prediction"]} for row in rows
        ]  # fmt: skip
        _imported(answers, f"bbh@paper-{form}", "code-davinci-002")
    report(1, 2)


def local_model(data: Path) -> None:
    """The local model itself, with its floor: choices by likelihood, and sums worked out in words."""
    common = ("-m", "local/smollm2-135m", "-m", "baseline/random", "--fresh", "--store", "s.db")
    ok("run", "starter@cloze", "--limit", 40, *common, "--name", "local")
    ok("run", "gsm8k", "--limit", 4, "--max-tokens", 48, *common, "--name", "sums")
    report(1, 2)


def of_the_readme() -> None:
    """What the README types, so that its picture shows the numbers of its table."""
    names = ("local/smollm2-135m", "local/smollm2-135m-q4_0")
    ok("setup", *(name.removeprefix("local/") for name in names))
    ok("run", "starter@cloze", *(word for name in names for word in ("-m", name)), "-m", "baseline/random", "--fresh",
       "--store", "s.db", "--name", "run-1")  # fmt: skip


def _rows(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def _imported(answers: Sequence[dict[str, str]], benchmark: str, model: str) -> None:
    Path("answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers), "utf-8")
    ok("import", "answers.jsonl", "--benchmark", benchmark, "--model", model, "--name", model, "--store", "s.db")


STATES = (four_models, three_benchmarks, one_model, forty_models, no_cost, all_errors, some_errors, empty_run,
          out_of_budget, early_stopped, as_a_cascade, all_scripts, verdict)  # fmt: skip
OF_DATA = (published_gsm8k, published_bbh)

"""BIG-Bench Hard: 23 tasks in 27 files, 6,511 items (Suzgun et al. 2022, arXiv 2210.09261).

The paper's score is the mean over 23 tasks, where the three sizes of logical deduction count as one, and so do those of
tracking shuffled objects; lm-eval's is the mean over all items.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from steelyard.benchmarks import data
from steelyard.benchmarks.benchmark import Benchmark, Dataset, Protocol, Selection
from steelyard.benchmarks.protocols import question
from steelyard.scoring import phrase
from steelyard.types import Completion, Message, Prompt, Sample, Score

REVISION = "b5306be6f827cfafbb545ff5a51f96916029b0fd"
TASKS = {
    "boolean_expressions": (250, "8663dc33f3b86cb42e97b54bbff770585e070e6b764c71d306031b6dca854f1c"),
    "causal_judgement": (187, "038c7d00c2e82cbaa1f15a81c97367982865491586690444c72aa5a5937f4da3"),
    "date_understanding": (250, "e7ac3094665f625fd6288758a64580d4473b84f7290e865e9d4aa0070d06d36b"),
    "disambiguation_qa": (250, "d335a6910b3ef1492e79dfa4ca3fa3f8a641397904b537d191daec9fb1e0f45b"),
    "dyck_languages": (250, "0a9d889f121da6b3a349ebd637edb1f590ca2d88e5547b92b868d13e66b64616"),
    "formal_fallacies": (250, "93c017eb7dab65407c252572d562b13ecbabaf2382a13f40d64a897eccaab820"),
    "geometric_shapes": (250, "f133264dc31f48b2e3427f7c1fa8c7de5efbcb8b8e397eda24d90dcf376c0eaf"),
    "hyperbaton": (250, "3e62616f65302569b42594e4cdb4713e008c5598fe3112587784da6dff31cb55"),
    "logical_deduction_five_objects": (250, "b73faea4df349d37e5f6e4323c112026297c772b12b33df175209e12f7919c05"),
    "logical_deduction_seven_objects": (250, "075b08fa3839fddcfc88a5fd67692deb7d1cd96700821d8b5bf84bed5c79083b"),
    "logical_deduction_three_objects": (250, "2d3e14d89da98595a70e126e2fc84417572df61f11d64daee3cdfaf510a0b4da"),
    "movie_recommendation": (250, "0db4ae9da31f3680ec29d73b515f7643ce17e91fb32bd013df924bf46a17994f"),
    "multistep_arithmetic_two": (250, "c69c94d8b9d53da0232475ac319a283bee031944049470151199dac3cce88539"),
    "navigate": (250, "20ad5ac7fdc96465bee9c23969586891f03381bc0b31b6945bc1e15b7798effd"),
    "object_counting": (250, "3381e0d3b5d530862d8e1202f1b562e3771efc3b9b70b668ae45343d363c18a6"),
    "penguins_in_a_table": (146, "8b7cfd54bdfee48e56565ab5384726e57e07a996eae728d4644d3c16892dd958"),
    "reasoning_about_colored_objects": (250, "3f9c5ccd222c82ee334d4de7fdbcf8e4f382019446297439983d066523bcb447"),
    "ruin_names": (250, "006bc0997378a18675fb370afc188d1ab010afecf1a92e3e6965638f8825ffd5"),
    "salient_translation_error_detection": (250, "9217bb81c883dac60e99cb5eaa52e89ea4045c2e63892fdc1350b1689084bb75"),
    "snarks": (178, "6dee7c222f382004684b006006e720da74a74762d14d6e7f6ed28865fa5b2bfb"),
    "sports_understanding": (250, "4370ab6b35f01f71dd8763e26d2386fc7bfb257a0bbdd1f25c2a5c117213d49e"),
    "temporal_sequences": (250, "12a09a45c8384a7c5bb37ed5b58ca9530a1f94ace87be8657a27d586e5e614d1"),
    "tracking_shuffled_objects_five_objects": (250, "2b751ca4f37024052352d50175185d7d880707f2bcf995f6378532aa69d899d6"),
    "tracking_shuffled_objects_seven_objects": (
        250,
        "41a7004b744964c59c4bd124f837551755c37e200519b45ee221e8af8e383863",
    ),
    "tracking_shuffled_objects_three_objects": (
        250,
        "7cbeb345b8439384edd30fdb9fba06b45a0f64d4c40c49af88ea3725ec88763b",
    ),
    "web_of_lies": (250, "a72b6cb3083000bc4dc100a4a8b2a039cb7792b9ce45dbd0279c77ab0face65d"),
    "word_sorting": (250, "bd4b11c6575c1a529a9404c4974415b55ffd96619dd360400805f2cdc1197924"),
}
"""Each task with its rows and their digest."""

PROMPTS = data.Source(
    name="bbh prompts",
    folder_file="bbh/cot-prompts",
    hub_id="Joschka/big_bench_hard",
    hub_file="few_shot_prompts/few_shot_prompts-00000-of-00001.parquet",
    revision="76eaa8c29ad448752cd44201a1246618e2454cac",
    split="few_shot_prompts",
    columns=("dataset_name", "chain_of_thought_prompt"),
    rows=27,
    digest="1593874807eb0057205bb6879a3913a38b5d9015f3f8c6aac80d2c15704bd946",
)
FAMILIES = {
    family: tuple(task for task in TASKS if task.startswith(family))
    for family in ("logical_deduction", "tracking_shuffled_objects")
}
STEP_BY_STEP = "\nA: Let's think step by step."


def load(selection: Selection) -> Dataset:
    """All tasks in alphabetical order, or the one that ``selection.part`` names."""
    tasks = [task for task in TASKS if selection.part in (None, task)]
    prompts = _prompts(selection.accept_digest)
    samples: list[Sample] = []
    digests = hashlib.sha256()
    for task in tasks:
        fetched = data.fetch(_source(task), selection.accept_digest)
        samples += _samples(task, fetched.rows, prompts[task].partition("\n\nQ: ")[0])
        digests.update(fetched.digest.encode())
    worked = {task: _worked(task, prompts[task]) for task in tasks}

    def exemplars(position: int, shots: int) -> tuple[Sample, ...]:
        return worked[str(samples[position].stratum)][:shots]

    return Dataset(
        samples=tuple(samples), id="SaylorTwift/bbh", revision=REVISION, digest=digests.hexdigest(), exemplars=exemplars
    )


def _source(task: str) -> data.Source:
    rows, digest = TASKS[task]
    return data.Source(
        name=f"bbh:{task}",
        folder_file=f"bbh/{task}/test.jsonl",
        hub_id="SaylorTwift/bbh",
        hub_file=f"{task}/test-00000-of-00001.parquet",
        revision=REVISION,
        split="test",
        columns=("input", "target"),
        rows=rows,
        digest=digest,
    )


def _prompts(accept_digest: str | None) -> dict[str, str]:
    """The authors' chain-of-thought prompt of each task, without the canary line above it."""
    fetched = data.fetch_texts(PROMPTS, sorted(TASKS), accept_digest)
    return {task: text for task, text in fetched.items() if task in TASKS}


def _samples(task: str, rows: list[data.Row], description: str) -> list[Sample]:
    copies = Counter(row["input"] for row in rows)
    has_letters = sum(bool(_LETTER.fullmatch(row["target"])) for row in rows) > len(rows) / 2
    return [
        Sample(
            id=f"bbh/{task}/{index}",
            input=row["input"],
            target=row["target"],
            stratum=task,
            flags=_flags(row, copies, has_letters),
            metadata={"description": description},
        )
        for index, row in enumerate(rows)
    ]


_LETTER = re.compile(r"\([A-Z]\)")


def _flags(row: data.Row, copies: Counter[str], has_letters: bool) -> tuple[str, ...]:
    """Known defects: a choice whose gold is no letter, and questions that stand twice."""
    broken = ("broken",) if has_letters and not _LETTER.fullmatch(row["target"]) else ()
    return (*broken, "duplicate") if copies[row["input"]] > 1 else broken


def _worked(task: str, prompt: str) -> tuple[Sample, ...]:
    """The worked examples of a prompt; ``metadata`` holds the chain of thought as it stands there."""
    _, *blocks = prompt.split("\n\nQ: ")
    found = []
    for index, block in enumerate(blocks):
        asked, _, thought = block.partition(STEP_BY_STEP)
        answer = str(phrase.after_answer_is(thought))
        found.append(Sample(id=f"bbh/{task}/cot/{index}", input=asked, target=answer, metadata={"thought": thought}))
    return tuple(found)


def _prompt(sample: Sample, *blocks: str) -> Prompt:
    return Prompt(kind="completion", text="\n\n".join([sample.metadata["description"], *blocks]))


def _paper_cot(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    worked = [f"Q: {question(shot)}{STEP_BY_STEP}{shot.metadata['thought']}" for shot in exemplars]
    return _prompt(sample, *worked, f"Q: {question(sample)}{STEP_BY_STEP}")


def _direct(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    worked = [f"Q: {question(shot)}\nA: {shot.target}" for shot in exemplars]
    return _prompt(sample, *worked, f"Q: {question(sample)}\nA:")


def _lm_eval_cot(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    """As the paper's, but each chain begins on a line of its own, also where the authors' file has a blank."""
    worked = [f"Q: {question(shot)}{STEP_BY_STEP}\n{shot.metadata['thought'].lstrip()}" for shot in exemplars]
    return _prompt(sample, *worked, f"Q: {question(sample)}{STEP_BY_STEP}\n")


def _zero_shot(sample: Sample, exemplars: tuple[Sample, ...]) -> Prompt:
    content = f"{sample.metadata['description']}\n\n{question(sample)}\n\n{ZERO_SHOT_INSTRUCTION}"
    return Prompt(kind="chat", messages=(Message(role="user", content=content),))


ZERO_SHOT_INSTRUCTION = (
    "Think step by step. End with a last line of the form: The answer is X. "
    "If there are lettered options, X is the letter in parentheses; otherwise X is the bare answer."
)
_LM_EVAL_ANSWER = re.compile(r"(?<=the answer is )(.*)(?=.)")


def _grade_paper_cot(sample: Sample, completion: Completion) -> Score:
    return phrase.grade(sample.target, phrase.after_answer_is(completion.text), exactly=True)


def _grade_whole(sample: Sample, completion: Completion) -> Score:
    return phrase.grade(sample.target, completion.text.strip() or None, exactly=True)


def _grade_lm_eval(sample: Sample, completion: Completion) -> Score:
    """The whole generation as it came: lm-eval strips nothing, so a leading blank counts against the model."""
    return phrase.grade(sample.target, completion.text or None, exactly=True)


def _grade_lm_eval_cot(sample: Sample, completion: Completion) -> Score:
    found = _LM_EVAL_ANSWER.findall(completion.text)
    return phrase.grade(sample.target, found[0].strip() if found else None, exactly=True)


def _grade_zero_shot(sample: Sample, completion: Completion) -> Score:
    return phrase.grade(sample.target, phrase.short_answer(completion.text), exactly=False)


ZERO_SHOT = Protocol(
    name="zero-shot",
    version="1",
    kind="chat",
    render=_zero_shot,
    grade=_grade_zero_shot,
    reply=lambda sample, answer: f"The answer is {answer}.",
    description="chat, no examples, chain of thought; the phrase after the last 'answer is'",
    max_tokens=2048,
    inline=True,
)
PAPER_COT = Protocol(
    name="paper-cot",
    version="1",
    kind="completion",
    render=_paper_cot,
    grade=_grade_paper_cot,
    reply=lambda sample, answer: f" So the answer is {answer}.",
    description="the authors' 3-shot chain of thought; 23-task mean",
    shots=3,
    max_tokens=1024,
    stop=("\n\nQ:",),
    inline=True,
    aggregate="macro",
)
PAPER_DIRECT = Protocol(
    name="paper-direct",
    version="1",
    kind="completion",
    render=_direct,
    grade=_grade_whole,
    description="the authors' 3-shot answers without chains; 23-task mean",
    shots=3,
    max_tokens=128,
    stop=("\n\n", "\nQ:"),
    inline=True,
    aggregate="macro",
)
LM_EVAL_COT = Protocol(
    name="lm-eval-cot",
    version="4",
    kind="completion",
    render=_lm_eval_cot,
    grade=_grade_lm_eval_cot,
    reply=lambda sample, answer: f"So the answer is {answer}.",
    description="lm-eval bbh_cot_fewshot v4: 3-shot chain of thought; mean over items",
    shots=3,
    max_tokens=1024,
    stop=("</s>", "Q", "\n\n"),
    inline=True,
)
LM_EVAL = Protocol(
    name="lm-eval",
    version="2",
    kind="completion",
    render=_direct,
    grade=_grade_lm_eval,
    description="lm-eval bbh_fewshot v2: 3-shot, the whole generation; mean over items",
    shots=3,
    max_tokens=256,
    stop=("</s>", "Q", "\n\n"),
    inline=True,
)

BBH = Benchmark(
    name="bbh",
    version="1",
    load=load,
    protocols=(ZERO_SHOT, PAPER_COT, PAPER_DIRECT, LM_EVAL_COT, LM_EVAL),
    defaults={"": "zero-shot"},
    parts=tuple(TASKS),
    stratified=True,
    families=FAMILIES,
    description="23 reasoning tasks that were hard for models in 2022",
    items=6_511,
    licence="MIT",
    source="SaylorTwift/bbh",
    revision=REVISION,
)

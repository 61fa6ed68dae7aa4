"""``steelyard prompts``: exactly what would be sent for a benchmark's items, as JSON lines; sends nothing."""

from __future__ import annotations

import argparse
from typing import Any

from steelyard.cli import arguments as args


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs,
        "prompts",
        execute,
        summary="print exactly what would be sent, as JSON lines; send nothing",
        example="steelyard prompts gsm8k@lm-eval --limit 2",
    )
    parser.add_argument("benchmark", metavar="NAME[:PART][@PROTOCOL]")
    parser.add_argument("--shots", type=args.non_negative, metavar="N", help="worked examples before each item")
    parser.add_argument("--limit", type=args.count, metavar="N", help="the first N items of the order")
    parser.add_argument(
        "--order",
        choices=("file", "shuffled"),
        default="file",
        help="'shuffled': as a run draws them by its seed, so that N of them are a random part (default: file)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw, and of generated items")
    parser.add_argument("--grader", metavar="NAME", help="for a FILE.jsonl")
    args.add_reveal(parser)
    args.add_accept_data(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Render every item, in the order asked for."""
    import msgspec

    from steelyard.engine.cells import prepare_task
    from steelyard.plan.names import parse_benchmark
    from steelyard.plan.plan import Plan
    from steelyard.store.reading.redaction import redact_prompt

    spec = msgspec.structs.replace(parse_benchmark(parsed.benchmark), shots=parsed.shots, grader=parsed.grader)
    plan = Plan(
        models=(),
        benchmarks=(spec,),
        limit=parsed.limit,
        seed=parsed.seed,
        order=parsed.order,
        accept_data=tuple(parsed.accept_data),
    )
    task = prepare_task(spec, plan)
    for position in task.positions:
        line = {"sample_id": task.dataset.samples[position].id, "protocol": task.protocol.name}
        prompt = task.prompt(position)
        hides = task.benchmark.confidential and not parsed.reveal
        args.print_json_line(line | _sent(redact_prompt(prompt) if hides else prompt))
    return 0


def _sent(prompt: Any) -> dict[str, Any]:
    if prompt.kind == "chat":
        return {"messages": prompt.messages}
    if prompt.kind == "likelihood":
        return {"prompt": prompt.text, "continuations": prompt.continuations}
    return {"prompt": prompt.text}

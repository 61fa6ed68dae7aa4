"""``steelyard show``: the results of a run, its answers, or where they come from."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from steelyard.cli import arguments as args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.store import Store
    from steelyard.store.reading.conditions import Condition
    from steelyard.types import CellInfo, Record, RunInfo


def add_to(verbs: args.Verbs) -> None:
    """Add the verb."""
    parser = args.add_verb(
        verbs, "show", execute, summary="show a run's results, answers or provenance", example="steelyard show --wrong"
    )
    args.add_run(parser)
    parser.add_argument("--wrong", action="store_true", help="the answers that scored below 1, and the failed calls")
    parser.add_argument(
        "--where",
        default="",
        metavar="CONDITION",
        help="the answers that fit: 'outcome = unparsed', 'score < 0.5 and latency_s > 2 and subject ~ law'",
    )
    parser.add_argument("--item", metavar="ID", help="one item: what was asked and what came back, of every model")
    parser.add_argument("--all", action="store_true", help="every estimate of every cell, with its reason")
    parser.add_argument("--by", choices=("stratum",), help="the score of every subject or task, model by model")
    parser.add_argument("--model", action=args.Once, metavar="MODEL", help="only this model's answers")
    parser.add_argument("--most", type=args.count, default=20, metavar="N", help="answers to print (default 20)")
    parser.add_argument(
        "--curl",
        action="store_true",
        help="below each answer a command that sends its request by hand, made again from the record",
    )
    parser.add_argument("--provenance", action="store_true", help="plan, data, code, machine and packages of the run")
    parser.add_argument("--plan", action="store_true", help="what was asked, as a plan.yaml that asks it again")
    args.add_reveal(parser)
    args.add_store(parser)
    args.add_json(parser)


def execute(parsed: argparse.Namespace) -> int:
    """Print one view of the run."""
    from steelyard.store import Store

    with Store.open(parsed.store, create=False) as store:
        run = store.run(parsed.run)
        if parsed.plan:
            _print_plan(run, parsed.json)
        elif parsed.provenance:
            _print_provenance(store, run, parsed.json)
        elif parsed.wrong or parsed.where or parsed.item:
            _print_answers(store, run, parsed)
        else:
            _print_results(store, run, parsed)
    return 0


def _print_results(store: Store, run: RunInfo, parsed: argparse.Namespace) -> None:
    from steelyard.report.results import load_results, results_document
    from steelyard.report.short import found_in_passing
    from steelyard.report.terminal import print_results, print_strata

    results = load_results(store, run)
    if parsed.by:
        print_strata(results)
        return
    found = found_in_passing(store, results)
    if parsed.json:
        args.print_json(results_document(results) | found.document())
    else:
        print_results(results, everything=parsed.all, found=found)


def _print_plan(run: RunInfo, as_json: bool) -> None:
    from steelyard.plan.plan import plan_from_document
    from steelyard.plan.writing import plan_text

    if as_json:
        args.print_json(run.plan)
    else:
        print(plan_text(plan_from_document(run.plan)), end="")


def _print_provenance(store: Store, run: RunInfo, as_json: bool) -> None:
    from steelyard.report.provenance import print_provenance, provenance_document

    document = provenance_document(store, run)
    if as_json:
        args.print_json(document)
    else:
        print_provenance(document)


def _print_answers(store: Store, run: RunInfo, parsed: argparse.Namespace) -> None:
    from steelyard.cli.by_hand import print_request, requests_by_hand, with_request
    from steelyard.errors import UnknownName
    from steelyard.report.answers import print_record

    models = sorted({cell.model for cell in store.cells(run.id)})
    if parsed.model is not None and parsed.model not in models:
        raise UnknownName("model in this run", parsed.model, models)
    by_hand = requests_by_hand(store, run, reveal=parsed.reveal) if parsed.curl else None
    found = False
    for cell, record in islice(_answers(store, run, parsed), parsed.most):
        found = True
        request = None if by_hand is None else by_hand(cell, record)
        if parsed.json:
            args.print_json_line(record if by_hand is None else with_request(record, request))
        else:
            print_record(record)
            if by_hand is not None:
                print_request(request)
    if not found and not parsed.json:
        print(f"no such answers in run #{run.number}" + (f" for item {parsed.item}" if parsed.item else ""))


def _answers(store: Store, run: RunInfo, parsed: argparse.Namespace) -> Iterator[tuple[CellInfo, Record]]:
    """The answers that are asked for, each with the cell it belongs to."""
    wanted = _wanted(parsed)
    for cell in store.cells(run.id):
        if parsed.model in (None, cell.model):
            found = store.records(run.id, cell=cell.id, sample_id=parsed.item, where=wanted, reveal=parsed.reveal)
            yield from ((cell, record) for record in found)


def _wanted(parsed: argparse.Namespace) -> Condition | None:
    """What the answers must fit: what is written, and with ``--wrong`` that they are not right."""
    from steelyard.store.reading.conditions import NOT_RIGHT, AllOf, parse_condition

    written = parse_condition(parsed.where)
    if not parsed.wrong:
        return written
    return NOT_RIGHT if written is None else AllOf(parts=(NOT_RIGHT, written))

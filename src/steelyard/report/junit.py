"""A run as JUnit XML: a test case for each criterion of a gate, or for each model on each benchmark without one.

A criterion that fails is a failure; one that is inconclusive is skipped where the gate only warns, and an error where
it blocks. Without criteria a cell of which more than 1 % could not be measured is an error: there is no score to trust.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from steelyard.analysis.bench import Bench, Contender
from steelyard.analysis.gate import Check, GateReport
from steelyard.analysis.sentences import descriptive
from steelyard.analysis.wording import counted, written
from steelyard.report.comparing.flips import Flip, Flips
from steelyard.report.evidence import Evidence
from steelyard.report.results import MOST_ERRORS
from steelyard.report.unseen import on_one_line, visible

SHOWN = ("accuracy", "latency.p50", "latency.p95", "ttft.p50", "cost.total", "cost.per_correct", "reliability")
OF_FLIPS = "accuracy"
SCORED = {1.0: "right", 0.0: "wrong"}
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(evidence: Evidence, verdict: GateReport | None = None, flips: Sequence[Flips] = ()) -> str:
    """The whole document; ``flips`` against the baseline's run, which stand with the criterion that they failed."""
    root = Element("testsuites", name="steelyard")
    if verdict is not None:
        _gate_suite(root, verdict, flips)
    for bench in evidence.benches:
        _bench_suite(root, bench)
    _count(root)
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """The text with what cannot be seen written out, and without characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", visible(text))


def _gate_suite(root: Element, verdict: GateReport, flips: Sequence[Flips]) -> None:
    suite = SubElement(root, "testsuite", name=legal(f"gate of run {verdict.run}"))
    for check in verdict.checks:
        case = SubElement(suite, "testcase", classname=legal(f"{check.benchmark}.{check.model}"),
                          name=legal(f"{check.metric}: {check.criterion}"))  # fmt: skip
        _judged(case, check, blocks=verdict.exit_code == 3)
        if (failure := case.find("failure")) is not None and check.metric == OF_FLIPS and check.scale != "value":
            failure.text = legal(_turned(check, flips)) or None
    for fault in () if verdict.checks else verdict.faults:
        case = SubElement(suite, "testcase", classname="gate", name="can be judged")
        SubElement(case, "error", message=legal(fault), type="inconclusive")
    SubElement(suite, "system-out").text = legal("\n".join([verdict.sentence, *verdict.faults, *verdict.notes]))


def _turned(check: Check, flips: Sequence[Flips]) -> str:
    """The items that got worse, a line each, and how to read them all."""
    for one in flips:
        if (one.model, one.benchmark) == (check.model, check.benchmark) and one.n_lost:
            runs = " ".join(map(str, one.runs))
            some = f"; {len(one.lost)} of the worse" if len(one.lost) < one.n_lost else ""
            head = f"{counted(one.n_lost, 'item')} got worse, {one.n_won:,} better{some}."
            read_on = f"With their texts: steelyard compare {runs} --flips"
            return "\n".join([head, *map(_was_and_is, one.lost), read_on])
    return ""


def _was_and_is(flip: Flip) -> str:
    sides = ((flip.baseline, flip.baseline_answer), (flip.candidate, flip.candidate_answer))
    was, now = (f"{SCORED.get(score, f'{score:.2g}')}, {on_one_line(said or 'nothing read')}" for score, said in sides)
    return f"  {on_one_line(flip.item)}: was {was}; now {now}"


def _judged(case: Element, check: Check, *, blocks: bool) -> None:
    if check.verdict == "fail":
        SubElement(case, "failure", message=legal(check.sentence), type="regression")
    elif check.verdict == "inconclusive" and blocks:
        SubElement(case, "error", message=legal(check.sentence), type="inconclusive")
    elif check.verdict == "inconclusive":
        SubElement(case, "skipped", message=legal(check.sentence))
    else:
        SubElement(case, "system-out").text = legal(check.sentence)


def _bench_suite(root: Element, bench: Bench) -> None:
    suite = SubElement(root, "testsuite", name=legal(bench.label))
    for one in bench.models:
        seconds = one.side.columns.total_s
        known = seconds[~np.isnan(seconds)]
        case = SubElement(suite, "testcase", classname=legal(bench.label), name=legal(one.name))
        if len(known):
            case.set("time", f"{float(known.sum()):.3f}")
        properties = SubElement(case, "properties")
        for metric in SHOWN:
            if one.value(metric) is not None:
                SubElement(properties, "property", name=metric, value=legal(written(one.estimates[metric])))
        if fault := _unmeasured(one):
            SubElement(case, "error", message=legal(fault), type="not measured")
        else:
            SubElement(case, "system-out").text = legal(descriptive(one.estimates["accuracy"]))


def _unmeasured(one: Contender) -> str | None:
    attempted, errored = one.value("attempted") or 0.0, one.value("errored") or 0.0
    if one.value("accuracy") is None:
        return f"nothing was scored; {errored:,.0f} of {attempted:,.0f} calls failed"
    if attempted and errored / attempted > MOST_ERRORS:
        return f"{errored:,.0f} of {attempted:,.0f} calls failed and are not scored"
    return None


def _count(root: Element) -> None:
    for suite in root:
        suite.set("tests", str(len(suite.findall("testcase"))))
        for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(name, str(len(suite.findall(f"testcase/{kind}"))))

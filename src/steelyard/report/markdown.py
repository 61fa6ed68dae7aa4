"""A run as Markdown for a pull request: verdict, table, what is found, what turned, what it cost, how to do it again.

What a model or a service wrote stands in code spans, where nothing of it is markup, a mention or a link; every other
text is escaped, and no line begins with it, since a CI service obeys lines of a log that begin like its commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from steelyard.analysis.gate import Check, GateReport
from steelyard.analysis.recommendations import Recommendation, together
from steelyard.analysis.telling import Finding, listed
from steelyard.analysis.verdict_words import WORDS, change_of
from steelyard.analysis.wording import written
from steelyard.report.comparing.flips import Flip, Flips
from steelyard.report.evidence import Evidence
from steelyard.report.facts import UNKNOWN, facts, spending_lines
from steelyard.report.matrix import Cell, Table, matrix
from steelyard.report.origins import ask_again, has_a_pair
from steelyard.report.unseen import visible

MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
MOST_MODELS = 20
LONGEST = 80
_SPECIAL = re.compile(r"([\\`*_\[\]~$])")
_GAP = "&#8203;"
"""A space of no width: what a service would make a mention, an issue or a link of is text with one in it."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "@": f"@{_GAP}", "#": f"#{_GAP}"}


def markdown_report(evidence: Evidence, verdict: GateReport | None = None, flips: Sequence[Flips] = ()) -> str:
    """The whole text. ``verdict`` where the run was held to something, ``flips`` against the baseline's run."""
    parts = [
        [_headline(evidence, verdict)],
        [] if verdict is None else list(_criteria(verdict)),
        list(_matrix(matrix(evidence, {}))),
        list(_findings(evidence, told=verdict is None)),
        [line for one in flips for line in _flips(one)],
        list(_spending(evidence)),
        list(_again(evidence)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Text that stays text in Markdown: no markup, no mention, no link, no line of its own."""
    flat = " ".join(visible(text).split())
    flat = "".join(_ENTITIES.get(letter, letter) for letter in _SPECIAL.sub(r"\\\1", flat))
    return flat.replace("://", f":{_GAP}//").replace("::", f":{_GAP}:").replace("www.", f"www{_GAP}.")


def code(text: str) -> str:
    """Foreign text in a code span, whose fence is longer than any run of backticks within it.

    A bar would end a table's cell and with it the span, also behind a backslash that is itself escaped: it is broken.
    """
    flat = " ".join(visible(text).split())
    flat = flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    room = " " if flat.startswith("`") or flat.endswith("`") or not flat else ""
    return f"{fence}{room}{flat}{room}{fence}".replace("|", "¦")


def _headline(evidence: Evidence, verdict: GateReport | None) -> str:
    if verdict is not None:
        return f"### {MARKS[verdict.verdict]} {escaped(verdict.sentence)}"
    title = ", ".join(f"run #{run.number} {run.name}" for run in evidence.runs)
    first = _first(evidence)
    return f"### Steelyard, {escaped(title)}" + ("" if first is None else f"\n\n{escaped(first.sentence)}")


def _first(evidence: Evidence) -> Finding | None:
    """What stands at the top where no verdict does."""
    return next((one for one in evidence.findings if one.rule in ("lead", "stopping")), None)


def _criteria(verdict: GateReport) -> Iterator[str]:
    if verdict.checks:
        yield from _table(
            ("", "metric", "model", "benchmark", "baseline", "run", "change (95 % each way)", "criterion", "n"),
            map(_check, verdict.checks),
        )
    if told := [f"- ⚠️ {escaped(text)}" for text in (*verdict.faults, *verdict.notes)]:
        yield ""
        yield from told


def _check(check: Check) -> tuple[str, ...]:
    change = ""
    if check.scale != "value" and check.value is not None:
        change = change_of(check, check.value)
        if check.low is not None:
            change += f" ({change_of(check, check.low)} to {change_of(check, check.high)})"
    return (
        f"{MARKS[check.verdict]} {WORDS[check.verdict]}",
        escaped(check.metric),
        escaped(check.model),
        escaped(check.benchmark),
        escaped(written(check.baseline, bounds=False)) if check.baseline else "",
        escaped(written(check.candidate, bounds=check.scale == "value")) if check.candidate else "",
        escaped(change),
        escaped(check.criterion),
        f"{check.n:,}" if check.n else "",
    )


def _matrix(table: Table) -> Iterator[str]:
    rows = ((escaped(line.name), *map(_cell, line.cells)) for line in table.lines[:MOST_MODELS])
    yield from _table(("model", *map(escaped, table.headings)), rows)
    yield ""
    yield escaped(table.caption.replace("below each value", "beside each value"))
    if len(table.lines) > MOST_MODELS:
        yield f"\nThe {MOST_MODELS} best of {len(table.lines)} models; the HTML report has all."


def _cell(cell: Cell) -> str:
    mark = f"**{cell.mark}**" if cell.mark else ""
    parts = [escaped(cell.text), escaped(f"({cell.interval})") if cell.interval else "", mark, escaped(cell.known)]
    return " ".join(filter(None, parts))


def _findings(evidence: Evidence, *, told: bool) -> Iterator[str]:
    """The findings; ``told``: the first one stands at the top already."""
    words = {"told": "", "seen": "", "open": "Not decided: ", "beware": "⚠️ "}
    above = _first(evidence) if told else None
    found = [
        f"- {'' if one.says_open else words[one.kind]}{escaped(one.sentence)}"
        for one in evidence.findings
        if one is not above
    ]
    if found:
        yield from ("**Findings**", "", *found)
    if groups := together(evidence.recommendations):
        yield from ("", "**Recommendations**", "")
        yield from (_recommendation(group) for group in groups)


def _recommendation(group: Sequence[Recommendation]) -> str:
    """Whom to take for a use, or what would settle it."""
    one = group[0]
    pick = escaped(" or ".join(one.models)) if one.is_given else "withheld"
    settle = f" What would settle it: {escaped(one.settle)}" if one.settle else ""
    return f"- {listed([each.use for each in group])}: {pick}. {escaped(one.why)}{settle}"


def _flips(flips: Flips) -> Iterator[str]:
    if not flips.n_won and not flips.n_lost:
        return
    where = f"{escaped(flips.candidate)} against {escaped(flips.baseline)} on {escaped(flips.benchmark)}"
    yield f"<details><summary>Turned items, {where}: {flips.n_won:,} better, {flips.n_lost:,} worse</summary>"
    yield ""
    rows = [(word, flip) for word, some in (("worse", flips.lost), ("better", flips.won)) for flip in some]
    yield from _table(("", "item", "baseline", "run"), (_flip(word, flip) for word, flip in rows))
    yield ""
    left_out = flips.n_won + flips.n_lost - len(rows)
    each = "" if not left_out else f"{left_out:,} more are not shown. "
    runs = " ".join(map(str, flips.runs))
    yield f"{each}With their texts: `steelyard compare {runs} --flips`"
    yield ""
    yield "</details>"


def _flip(word: str, flip: Flip) -> tuple[str, ...]:
    sides = ((flip.baseline, flip.baseline_answer), (flip.candidate, flip.candidate_answer))
    return (word, code(flip.item), *(_said(score, answer) for score, answer in sides))


def _said(score: float, answer: str | None) -> str:
    word = {1.0: "right", 0.0: "wrong"}.get(score, f"{score:.2g}")
    return word if answer is None else f"{word}, {code(answer)}"


def _spending(evidence: Evidence) -> Iterator[str]:
    yield "**Cost**"
    yield ""
    yield from (f"- {escaped(line)}" for line in spending_lines(evidence))
    asked = {fact.name: fact for fact in facts(evidence)}
    took = "" if asked["Duration"].value == UNKNOWN else f", in {escaped(asked['Duration'].value)}"
    yield f"- {escaped(asked['Test cases'].value)} test cases, {escaped(asked['Test cases'].remark)}{took}"


def _again(evidence: Evidence) -> Iterator[str]:
    """What to type, and what must be the same to get the same."""
    yield "<details><summary>How to reproduce</summary>"
    yield ""
    for run in evidence.runs:
        number = run.number
        plan = code(run.plan_digest[:16])
        yield f"- Run {number}: plan {plan}; `steelyard show {number} --provenance` says where it comes from"
        if again := ask_again(run):
            yield f"- The same asked anew: {', then '.join(f'`{command}`' for command in again)}"
    for bench in evidence.benches:
        info = next(iter((*bench.models, *bench.floors))).side.info
        yield (
            f"- {escaped(bench.label)}: version {escaped(info.protocol_version)}, data {code(info.dataset)} at "
            f"{code(info.revision or 'no revision')}, digest {code(info.dataset_digest[:16])}, {info.items:,} items"
        )
    first = evidence.runs[0]
    reads_on = f"compare {first.number} --flips" if has_a_pair(evidence) else f"show {first.number} --wrong"
    yield f"- Seed {first.plan.get('seed', 0)}; the answers: `steelyard {reads_on}`"
    yield ""
    yield "</details>"


def _table(headings: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)

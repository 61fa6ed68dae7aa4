"""Comparisons on a terminal: one table a benchmark, the ranking, a sentence for each pair, and what to beware of.

Of many pairs nobody reads each: how they came out is told, who stands out, and who leads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from steelyard.analysis.clusters import is_over_clusters
from steelyard.analysis.compare import CONFIDENCE, FALSE_SHARE, HAS
from steelyard.analysis.places import Place, Ranking
from steelyard.analysis.sentences import descriptive, names, points, times
from steelyard.analysis.telling import NAMED, listed
from steelyard.analysis.wording import counted, decimals_of_points, dollars, written
from steelyard.report.comparing.comparison import Average, Compared, Comparisons
from steelyard.report.comparing.variates_text import variate_words
from steelyard.report.console import PlainConsole, console, new_table, tables_that_fit
from steelyard.types import Comparison, Estimate

HEADINGS = {
    "latency.p50": "latency P50",
    "ttft.p50": "TTFT P50",
    "output_tokens": "output tokens",
    "cost.per_request": "cost",
}
MARKS = {"improved": "green", "regressed": "red", "equivalent": "cyan", "inconclusive": "yellow"}
MANY = 12
"""So many pairs are told each; of more, on a benchmark or in all, the outcome is, and so many lines of a table."""


def print_comparisons(comparisons: Comparisons, out: PlainConsole | None = None) -> None:
    """Print every pair, benchmark by benchmark; to standard output, if it is nowhere else."""
    out = out or console()
    runs = ", ".join(f"#{run.number} {run.name}" for run in comparisons.runs)
    out.say(f"Comparing {comparisons.question.metric} in {runs}. Baseline: {comparisons.baseline}.")
    for label in dict.fromkeys(pair.comparison.benchmark for pair in comparisons.pairs):
        pairs = [pair for pair in comparisons.pairs if pair.comparison.benchmark == label]
        out.print()
        for where in dict.fromkeys(pair.where for pair in pairs):
            out.print(where, style="bold")
        rankings = [ranking for ranking in comparisons.rankings if ranking.benchmark == label]
        if len(pairs) <= MANY:
            for line in _standings(pairs):
                out.say(f"  {line}")
            out.print(_table(pairs, len(comparisons.runs) > 1, out.width))
        else:
            for line in _outcome(pairs):
                out.say(f"  {line}")
        for ranking in rankings:
            out.print()
            if ranking.is_known:
                out.print(_ranking_table(ranking))
                if len(ranking.places) > MANY:
                    out.say(f"and {len(ranking.places) - MANY} more")
            out.say(_best_words(ranking))
    out.print()
    if len(comparisons.pairs) <= MANY:
        for pair in comparisons.pairs:
            out.say(pair.comparison.sentence)
    else:
        size = len(comparisons.pairs)
        out.say(f"Each of the {size:,} pairs: the same command with --json; of some: with --model A --model B")
    for average in comparisons.averages:
        out.say(_average_words(average))
    said = (variate_words, _estimand_words, _power_words, _notes)
    for line in [*family_words(comparisons), *(line for words in said for line in words(comparisons.pairs))]:
        out.say(line)
    if any(pair.comparison.agreement is not None for pair in comparisons.pairs):
        out.print("The items that turned, both ways: the same command with --flips")


def _average_words(average: Average) -> str:
    level = "" if average.difference.level is None else f"{100 * average.difference.level:.4g} %, "
    return (
        f"{average.candidate} - {average.baseline} on average over {len(average.benchmarks)} benchmarks, each weighing "
        f"the same: {points(average.difference)} points ({level}of just these benchmarks): {average.verdict}."
    )


def _standings(pairs: Sequence[Compared]) -> list[str]:
    """Each side as people expect it: ``accuracy 86.4 % (84.2 to 88.4, Wilson 95 %, n = 1,000)``.

    A baseline is told over the most items that it shares with a candidate.
    """
    sides: dict[str, Estimate] = {}
    for pair in pairs:
        one = pair.comparison
        baseline = _who(one.baseline, one.baseline_run, one)
        sides[baseline] = max(sides.get(baseline, one.of_baseline), one.of_baseline, key=lambda side: side.n)
        sides[_who(one.candidate, one.candidate_run, one)] = one.of_candidate
    return [f"{name}: {descriptive(side)}" for name, side in sides.items()]


def _outcome(pairs: Sequence[Compared]) -> Iterator[str]:
    """How many pairs came out how, with those that stand out."""
    found = [pair.comparison for pair in pairs]
    first = found[0]
    is_one = len({(one.baseline, one.baseline_run) for one in found}) == 1
    most = max((one.of_baseline for one in found), key=lambda side: side.n)
    of = f"{_who(first.baseline, first.baseline_run, first)}, {descriptive(most)}"
    yield f"{len(found):,} candidates {f'against {of}' if is_one else 'each against its baseline'}:"
    known = [one for one in found if (one.ratio or one.difference).value is not None]
    for word in MARKS:
        alike = sorted((one for one in known if one.verdict == word), key=_size, reverse=True)
        if alike:
            first_ones = (f"{_who(one.candidate, one.candidate_run, one)} {_seen(one)}" for one in alike[:NAMED])
            named = (
                f"{', most of all' if len(alike) > 1 else ':'} {'; '.join(first_ones)}"
                if word in ("improved", "regressed")
                else ""
            )
            yield f"{len(alike):,} {word}{named}"
    if len(known) < len(found):
        yield f"{len(found) - len(known):,} cannot be compared"


def _size(comparison: Comparison) -> float:
    """How far a pair is apart."""
    if comparison.ratio is None:
        return abs(comparison.difference.value or 0.0)
    ratio = comparison.ratio.value or 1.0
    return max(ratio, 1 / ratio)


def _seen(comparison: Comparison) -> str:
    return points(comparison.difference) if comparison.ratio is None else times(comparison.ratio)


def _who(name: str, run: int, comparison: Comparison) -> str:
    return name if comparison.baseline_run == comparison.candidate_run else f"{name} (#{run})"


def _table(pairs: Sequence[Compared], is_over_runs: bool, width: int) -> Table:
    """One row a pair; the verdict ends it, or stands before the figures where the terminal breaks the table."""
    first = pairs[0].comparison
    is_ratio = first.ratio is not None
    has_agreement = any(pair.comparison.agreement is not None for pair in pairs)
    measures = list(dict.fromkeys(one.metric for pair in pairs for one in pair.beside))
    level = f"{100 * (_level(pairs) or CONFIDENCE):.3g} %"
    headings = ["candidate - baseline"]
    headings += [f"ratio ({level})", "difference"] if is_ratio else [f"points ({level})"]
    headings += ["right: both, only baseline, only candidate, neither"] if has_agreement else []
    headings += [] if is_ratio else ["p"]
    headings += [_beside_heading(name, pairs) for name in measures] + ["verdict"]
    rows = [_row(pair, is_ratio, has_agreement, measures, is_over_runs) for pair in pairs]
    table = _filled(headings, rows)
    if len(tables_that_fit(table, width)) == 1:
        return table
    return _filled(*_verdict_second(headings, rows))


def _beside_heading(metric: str, pairs: Sequence[Compared]) -> str:
    """A measure's name, with the level of its intervals where it is another than that of the differences."""
    ratios = (one.ratio for pair in pairs for one in pair.beside if one.metric == metric and one.ratio is not None)
    level = next((ratio.level for ratio in ratios if ratio.level is not None), None)
    is_other = level is not None and level != (_level(pairs) or CONFIDENCE)
    return f"{HEADINGS[metric]} ({100 * level:.3g} %)" if is_other and level is not None else HEADINGS[metric]


def _verdict_second(headings: list[str], rows: list[list[str | Text]]) -> tuple[list[str], list[list[str | Text]]]:
    return [headings[0], headings[-1], *headings[1:-1]], [[row[0], row[-1], *row[1:-1]] for row in rows]


def _filled(headings: list[str], rows: list[list[str | Text]]) -> Table:
    table = new_table(*headings)
    for row in rows:
        table.add_row(*row)
    return table


def _row(
    pair: Compared, is_ratio: bool, has_agreement: bool, measures: list[str], is_over_runs: bool
) -> list[str | Text]:
    one = pair.comparison
    runs = (f" #{one.candidate_run}", f" #{one.baseline_run}") if is_over_runs else ("", "")
    cells = [f"{one.candidate}{runs[0]} - {one.baseline}{runs[1]}"]
    cells += [times(one.ratio), written(one.difference)] if is_ratio else [points(one.difference)]
    if has_agreement:
        seen = one.agreement
        both = (seen.both, seen.only_baseline, seen.only_candidate, seen.neither) if seen else ()
        cells.append(" / ".join(f"{count:,}" for count in both) or "–")  # noqa: RUF001 - a dash for what is not known
    if not is_ratio:
        cells.append(_p(one))
    beside = {each.metric: each.ratio for each in pair.beside}
    cells += [times(beside.get(name)) for name in measures]
    return [*cells, Text(one.verdict, style=MARKS[one.verdict])]


def _p(comparison: Comparison) -> str:
    if comparison.p_value is None:
        return "–"  # noqa: RUF001 - a dash for what is not known
    text = f"{_small(comparison.p_value)} ({comparison.test})"
    if comparison.adjusted_p is None:
        return text
    name = {"holm": "Holm", "bh": "BH"}[comparison.adjustment]
    return f"{_small(comparison.p_value)}, {name} {_small(comparison.adjusted_p)} ({comparison.test})"


def _small(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _level(pairs: Sequence[Compared]) -> float | None:
    """The level of the intervals; ``None`` where there are none."""
    estimates = (pair.comparison.ratio or pair.comparison.difference for pair in pairs)
    return next((one.level for one in estimates if one.level is not None), None)


def _ranking_table(ranking: Ranking) -> Table:
    table = new_table("place", "could be", "model", ranking.metric, "chance of being best")
    for place in ranking.places[:MANY]:
        span = f"{place.low}" if place.low == place.high else f"{place.low} to {place.high}"
        first = _chance(place.first)
        value = "unknown" if place.value is None else f"{100 * place.value:.1f} %"
        table.add_row(str(place.place), span, _called(place, ranking), value, first)
    return table


def _chance(share: float | None) -> str:
    """A chance that was drawn: however often it came or never came, it is not certain."""
    if share is None:
        return "unknown"
    return "> 99 %" if share > 0.99 else "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _called(place: Place, ranking: Ranking) -> str:
    """The model, with its run where the ranking is of several."""
    return place.name if len({one.run for one in ranking.places}) == 1 else f"{place.name} (#{place.run})"


def _best_words(ranking: Ranking) -> str:
    return " ".join(filter(None, (_nearest_words(ranking), dropped_words(ranking), _unscored_words(ranking))))


def dropped_words(ranking: Ranking) -> str:
    """Who has no place, since a cascade dropped it."""
    return f"Dropped by the cascade, so without a place: {listed(ranking.dropped)}." if ranking.dropped else ""


def _unscored_words(ranking: Ranking) -> str:
    return f"Without a score, so without a place: {listed(ranking.unscored)}." if ranking.unscored else ""


def _nearest_words(ranking: Ranking) -> str:
    if not ranking.is_known:
        if ranking.n > 1:
            return f"The clusters of the {ranking.n:,} items are too few, or too unlike in size, for places."
        return f"{counted(ranking.n, 'item', HAS)} a score of all {len(ranking.places)}: too few for places."
    near = [_called(place, ranking) for place in ranking.places if place.near_best]
    if len(near) < 2:
        return f"{near[0]} is the best, told apart from all others (n = {ranking.n:,})." if near else ""
    of = f", {len(near)} of {len(ranking.places)}" if len(near) > NAMED else ""
    return f"Not distinguished from the best: {listed(near)} (n = {ranking.n:,}{of})."


def family_words(comparisons: Comparisons) -> list[str]:
    """How many verdicts stand together, and what was done about it."""
    size = len(comparisons.pairs)
    if size < 2:
        return []
    level = 100 * comparisons.level
    if comparisons.family == "grid":
        return [
            f"{size} comparisons, a grid one explores: of the differences told apart up to {100 * FALSE_SHARE:.0f} % "
            f"may be chance (Benjamini and Hochberg's p). Each interval is at {level:.4g} %, at which likewise up to "
            f"{100 * FALSE_SHARE:.0f} % of those told apart may miss what is true (Benjamini and Yekutieli)."
        ]
    beside = (
        "; beside them Holm's p." if any(pair.comparison.p_value is not None for pair in comparisons.pairs) else "."
    )
    return [
        f"{size} comparisons in one claim: each interval is at {level:.4g} %, so that all hold together at 95 %{beside}"
    ]


def _estimand_words(pairs: Sequence[Compared]) -> list[str]:
    """What the intervals of scores speak of, be it after a whole benchmark or a part."""
    of_scores = [pair for pair in pairs if pair.comparison.ratio is None and pair.comparison.control_variate is None]
    whole = dict.fromkeys(one.comparison.benchmark for one in of_scores if one.comparison.pairing.n == one.available)
    parts = [one.comparison for one in of_scores if 0 < one.comparison.pairing.n < one.available]
    looked_at = dict.fromkeys(one.benchmark for one in parts if one.difference.estimand == "this benchmark")
    part = dict.fromkeys(one.benchmark for one in parts if one.difference.estimand != "this benchmark")
    lines = []
    if whole:
        lines.append(
            f"All items of {', '.join(whole)} were asked: of these answers the differences are exact, not of others "
            "that the same models might give; the intervals speak of questions like these."
        )
    if part:
        rest = " in other pairs" if not whole.keys().isdisjoint(part) else ""
        lines.append(f"A part of {', '.join(part)} was compared{rest}; the intervals speak of questions like these.")
    if looked_at:
        lines.append(f"A part of {', '.join(looked_at)} was looked at; intervals over all looks speak of all of it.")
    return lines


def _power_words(pairs: Sequence[Compared]) -> list[str]:
    """The smallest difference that could be found, and what finding a given one takes; of many pairs together."""
    lines = []
    if len(pairs) > NAMED:
        return list(_power_of_many(pairs))
    for pair in pairs:
        one = pair.comparison
        if one.detectable is None:
            continue
        who = " - ".join(names(one)) + (f" on {one.benchmark}" if len(pairs) > 1 else "")
        lines.append(f"{who}: {_found_words(pair)}{_needed_words(pair)}.")
    return lines


def _power_of_many(pairs: Sequence[Compared]) -> Iterator[str]:
    """One line a benchmark: the least and the greatest of its pairs."""
    for label in dict.fromkeys(pair.comparison.benchmark for pair in pairs):
        known = [
            pair for pair in pairs if pair.comparison.benchmark == label and pair.comparison.detectable is not None
        ]
        if not known:
            continue
        items = sorted(pair.comparison.pairing.n for pair in known)
        n = f"{items[0]:,}" if items[0] == items[-1] else f"{items[0]:,} to {items[-1]:,}"
        text = f"{counted(len(known), 'pair')} on {label}: {n} items {_range_words(known)}"
        hardest = max(known, key=lambda pair: pair.items_needed or 0)
        is_one = len({pair.detect for pair in known}) == 1
        yield f"{text} (power 80 %){_needed_words(hardest).replace('take', 'take up to') if is_one else ''}."


def _range_words(pairs: Sequence[Compared]) -> str:
    """What the items of several pairs find, from one to another; of scores nothing is larger than 100 points."""
    one, sizes = pairs[0].comparison, sorted(pair.comparison.detectable or 0.0 for pair in pairs)
    found = [size for size in sizes if size <= 1 or one.ratio is not None]
    if not found:
        return "are too few to find any difference"
    least, most = f"{100 * found[0]:.{decimals_of_points(found[0])}f}", _size_words(one, found[-1])
    span = most if most.startswith(f"{least} ") else f"{least} to {most}"
    text, none = f"find a difference of {span}", len(sizes) - len(found)
    return f"{text}, and of {none} {'pair' if none == 1 else 'pairs'} none" if none else text


def _found_words(pair: Compared) -> str:
    """What so many items find; of scores from 0 to 1 no difference is larger than 100 points."""
    one, n = pair.comparison, pair.comparison.pairing.n
    least = one.detectable or 0.0
    if one.ratio is None and least > 1:
        return f"{counted(n, 'item', ('is', 'are'))} too few to find any difference (power 80 %)"
    return f"{counted(n, 'item', ('finds', 'find'))} a difference of {_size_words(one, least)} (power 80 %)"


def _size_words(one: Comparison, size: float) -> str:
    return f"{100 * size:.{decimals_of_points(size)}f} {'points' if one.ratio is None else '%'}"


def _needed_words(pair: Compared) -> str:
    if pair.items_needed is None or pair.detect is None:
        return ""
    cost = "price unknown" if pair.usd_needed is None else f"about {dollars(pair.usd_needed)} for both"
    items = "items in clusters like these" if is_over_clusters(pair.comparison.difference) else "items"
    text = f"; {_size_words(pair.comparison, abs(pair.detect))} would take {pair.items_needed:,} {items} ({cost})"
    if pair.items_needed > pair.available:
        text += f", and the benchmark has {pair.available:,}"
    return text


def _notes(pairs: Sequence[Compared]) -> list[str]:
    """What to beware of, once where it holds for many pairs."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        one = pair.comparison
        doubts = [one.difference.status] if one.difference.status != "ok" and one.difference.value is not None else []
        for note in (*one.notes, *doubts):
            found.setdefault(note, {})[" and ".join(names(one))] = None
    return [f"! {_of_pairs(list(who))}: {note}" for note, who in found.items()]


def _of_pairs(who: Sequence[str]) -> str:
    return "; ".join(who) if len(who) <= NAMED else f"{len(who):,} pairs, {who[0]} among them"

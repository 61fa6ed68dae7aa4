"""One item over all runs and models, and one answer in full."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from steelyard.dashboard.board import board_of, number, word
from steelyard.dashboard.differing import Marked, side_by_side
from steelyard.dashboard.rendering import drawn
from steelyard.dashboard.shown import TONES, ShownAnswer, is_timed, lane, marked, shown
from steelyard.errors import UnknownName, UsageError
from steelyard.report.answers import question
from steelyard.report.drawing import charts, timelines
from steelyard.report.drawing.figures import Figure
from steelyard.report.drawing.marks import for_any_screen
from steelyard.report.unseen import cut, visible
from steelyard.store.reading.answer_pages import AnswersWanted
from steelyard.store.reading.conditions import parse_condition
from steelyard.store.reading.history import Answered
from steelyard.store.reading.states import ANSWER_STATES

if TYPE_CHECKING:
    from markupsafe import Markup
    from starlette.requests import Request
    from starlette.responses import Response

LONGEST, LONGEST_OF_MANY = 200_000, 4_000
AT_ONCE = 25
BESIDE_WITHIN_S = 0.15
FIGURE_COLUMNS = ("ttft_s", "total_s", "output_tokens", "cost_usd")
OF_TIME = (
    "From when the item was ready to be sent to the last token. Waiting and failed tries are no latency of the model."
)


class Searched(Struct, frozen=True, kw_only=True):
    """One of an answer's texts with the words marked that are sought in it, at ``n`` places, the first named ``at``."""

    name: str
    text: Markup
    n: int
    at: str


class Since(Struct, frozen=True, kw_only=True):
    """An answer beside the one that the same model gave before, in ``run``."""

    run: int
    texts: Marked


def item(request: Request) -> Response:
    """What became of an item, the newest answers first."""
    board = board_of(request)
    name = request.query_params.get("name", "")
    if not name:
        raise UsageError("which item? Search for a part of its name")
    found = board.store.history.item(name, before=number(request, "before"), most=AT_ONCE, reveal=board.reveal)
    if found is None:
        raise UnknownName("item", name, board.store.history.names(word(request, "name"), most=12))
    answers = [shown(one, LONGEST_OF_MANY) for one in found.answers]
    lanes = [lane(one, f"#{one.run.number} {one.cell.model}") for one in found.answers]
    figures = []
    if is_timed(lanes):
        svg = for_any_screen(partial(timelines.waterfall, lanes, label=f"Where the time of each answer to {name} went"))
        figures = drawn([Figure(title="Where the time went", note=OF_TIME, svg=svg)])
    return board.page(
        "item.html.j2",
        request,
        title=f"Item {name}",
        found=found,
        asked=cut(visible(question(found.sample)), LONGEST_OF_MANY),
        answers=answers,
        since={one.id: _since(one, answers[place + 1 :]) for place, one in enumerate(answers)},
        columns={each for each in FIGURE_COLUMNS if any(getattr(one, each) is not None for one in answers)},
        figures=figures,
        tones=TONES,
    )


def _since(one: ShownAnswer, older: Sequence[ShownAnswer]) -> Since | None:
    """What its model said anew since its answer before that stands on the page."""
    before = next((each for each in older if (each.model, each.benchmark) == (one.model, one.benchmark)), None)
    if before is None or "failed" in (one.state, before.state):
        return None
    return Since(run=before.run, texts=side_by_side(before.text, one.text))


def answer(request: Request) -> Response:
    """One answer: what was asked, what came back, how it was judged, where its time went."""
    board = board_of(request)
    call = int(request.path_params["call"])
    found = None if call >= 2**63 else board.store.history.call(call, reveal=board.reveal)
    if found is None:
        raise UnknownName("answer", str(call), ["those of a run's page"])
    sought = {name: word(request, name) for name in ("state", "stratum", "text", "where")}
    state = next(one for one in ("", *ANSWER_STATES) if one == word(request, "state", ANSWER_STATES))
    wanted = AnswersWanted(
        stratum=sought["stratum"],
        text=sought["text"],
        state=state,
        where=parse_condition(sought["where"]),
        within_s=BESIDE_WITHIN_S,
    )
    place = (found.position, found.record.call.repeat)
    one, find = shown(found, LONGEST), word(request, "find")
    is_cut = any(len(text) > LONGEST for text in (one.prompt, one.text, one.gold))
    texts = {"question": one.prompt, "reply": one.text, "right answer": one.gold}
    return board.page(
        "answer.html.j2",
        request,
        title=f"Answer {found.id}",
        beside=board.store.pages.beside(found.run.id, found.cell, place, wanted, reveal=board.reveal),
        sought=sought,
        kept=cut(visible(_kept(found)), LONGEST),
        found=found,
        one=one,
        find=find,
        is_cut=is_cut,
        searched={
            name: _searched(name, text, find or sought["text"], is_weighed=one.is_weighed and name == "reply")
            for name, text in texts.items()
        },
        completion=found.record.call.completion,
        call=found.record.call,
        judgements=found.judgements,
        states=ANSWER_STATES,
        figures=drawn(_figures(found)),
        tones=TONES,
    )


def _searched(name: str, text: str, words: str, *, is_weighed: bool) -> Searched:
    from markupsafe import Markup

    found, at, mark = marked(text, words, is_weighed), f"in-{name.replace(' ', '-')}", Markup("<mark>")
    first = Markup('<mark id="{}">').format(at)
    return Searched(name=name, text=found.replace(mark, first, 1), n=found.count(mark), at=at)


def _kept(found: Answered) -> str:
    """The call with all its settings, figures and tries, as JSON."""
    return msgspec.json.format(msgspec.json.encode(found.record.call), indent=2).decode()


def _figures(found: Answered) -> list[Figure]:
    lanes = [lane(found, found.cell.model)]
    figures = []
    if is_timed(lanes):
        svg = for_any_screen(partial(timelines.waterfall, lanes, label="Where the time of this answer went"))
        figures.append(Figure(title="Where the time went", note=OF_TIME, svg=svg))
    if len(found.gaps_s) > 1:
        gaps = charts.Series(name=found.cell.model, slot=0, values=found.gaps_s)
        chart = partial(
            charts.over_requests,
            [gaps],
            label="Gaps between the chunks of this answer",
            y_name="gap",
            x_name="chunk, in the order received",
        )
        note = "The time between neighbouring chunks that carried text, with its running median."
        figures.append(Figure(title="Between the tokens", note=note, svg=for_any_screen(chart)))
    return figures

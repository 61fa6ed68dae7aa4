"""One item over all runs and models, and one answer in full."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from steelyard.dashboard.board import Board, board_of, number, word
from steelyard.dashboard.differing import Marked, side_by_side
from steelyard.dashboard.rendering import drawn
from steelyard.dashboard.shown import TONES, ShownAnswer, is_timed, lane, marked, shown
from steelyard.errors import UnknownName, UsageError
from steelyard.report.answers import question
from steelyard.report.curl import curl_command
from steelyard.report.drawing import charts, timelines
from steelyard.report.drawing.figures import Figure
from steelyard.report.drawing.marks import for_any_screen
from steelyard.report.results import settings_left_out
from steelyard.report.unseen import cut, visible, visible_json
from steelyard.store.reading.answer_pages import AnswersWanted
from steelyard.store.reading.conditions import parse_condition
from steelyard.store.reading.history import Answered
from steelyard.store.reading.states import ANSWER_STATES
from steelyard.types import WireRequest

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


class Text(Struct, frozen=True, kw_only=True):
    """A text of an answer, or a turn of its prompt, whose ``role`` stands above it."""

    role: str
    text: str


class Part(Struct, frozen=True, kw_only=True):
    """The same with the words marked that are sought in it."""

    role: str
    text: Markup


class Searched(Struct, frozen=True, kw_only=True):
    """What an answer consists of under one name; what is sought stands in it ``n`` times, the first named ``at``."""

    name: str
    parts: tuple[Part, ...]
    n: int
    at: str


class Other(Struct, frozen=True, kw_only=True):
    """Another model's answer to the same item: by what it is chosen, how it is called, and itself."""

    cell: int
    name: str
    one: ShownAnswer


class Against(Struct, frozen=True, kw_only=True):
    """An answer beside another model's; unless something is sought, with the words marked that only one of them has."""

    other: Other
    own: Markup
    its: Markup
    is_marked: bool
    is_same: bool


class ByHand(Struct, frozen=True, kw_only=True):
    """The request of an answer with its body as a reader sees it, and the command that sends it.

    ``curl`` is ``None`` where it is too long for a page; ``printed_by`` is what prints it in a terminal.
    """

    request: WireRequest
    body: str
    curl: str | None
    printed_by: str


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
    turns = _turns(found, one)
    is_cut = any(len(text) > LONGEST for text in (one.prompt, one.text, one.gold))
    texts = {"question": turns, "reply": [Text(role="", text=one.text)], "right answer": [Text(role="", text=one.gold)]}
    others = _others(found, board.store.history.others(found, reveal=board.reveal))
    against = number(request, "against")
    against = 0 if against == found.cell.id else against
    other = next((each for each in others if each.cell == against), None)
    sought_words = find or sought["text"]
    return board.page(
        "answer.html.j2",
        request,
        title=f"Answer {found.id}",
        beside=board.store.pages.beside(found.run.id, found.cell, place, wanted, reveal=board.reveal),
        sought=sought,
        kept=cut(visible(_kept(found)), LONGEST),
        by_hand=_by_hand(board, found),
        found=found,
        one=one,
        find=find,
        is_cut=is_cut,
        searched={
            name: _searched(name, some, sought_words, is_weighed=one.is_weighed and name == "reply")
            for name, some in texts.items()
        },
        others=others,
        against=against,
        beside_it=None if other is None else _against(one, other, sought_words),
        completion=found.record.call.completion,
        call=found.record.call,
        judgements=found.judgements,
        states=ANSWER_STATES,
        figures=drawn(_figures(found)),
        tones=TONES,
    )


def _turns(found: Answered, one: ShownAnswer) -> list[Text]:
    """What was sent, turn by turn; a prompt that is one text is one."""
    prompt = found.record.call.request.prompt
    if prompt.kind != "chat" or not prompt.messages:
        return [Text(role="", text=one.prompt)]
    is_long = sum(len(turn.content) for turn in prompt.messages) > LONGEST
    longest = LONGEST // len(prompt.messages) if is_long else LONGEST
    return [Text(role=turn.role, text=cut(visible(turn.content), longest)) for turn in prompt.messages]


def _searched(name: str, texts: Sequence[Text], words: str, *, is_weighed: bool) -> Searched:
    from markupsafe import Markup

    at, mark, n, parts = f"in-{name.replace(' ', '-')}", Markup("<mark>"), 0, []
    first = Markup('<mark id="{}">').format(at)
    for each in texts:
        found = marked(each.text, words, is_weighed)
        parts.append(Part(role=each.role, text=found if n else found.replace(mark, first, 1)))
        n += found.count(mark)
    return Searched(name=name, parts=tuple(parts), n=n, at=at)


def _others(found: Answered, answers: Sequence[Answered]) -> list[Other]:
    """Each by its model; where a model was asked in several ways, by how as well."""
    models = Counter(one.cell.model for one in [found, *answers])
    return [
        Other(
            cell=one.cell.id or 0,
            name=one.cell.model if models[one.cell.model] == 1 else f"{one.cell.model} on {one.cell.label}",
            one=shown(one, LONGEST),
        )
        for one in answers
    ]


def _against(one: ShownAnswer, other: Other, words: str) -> Against:
    its = other.one
    if words:
        own_text, its_text = marked(one.text, words, one.is_weighed), marked(its.text, words, its.is_weighed)
        return Against(other=other, own=own_text, its=its_text, is_marked=False, is_same=one.text == its.text)
    texts = side_by_side(one.text, its.text)
    return Against(other=other, own=texts.one, its=texts.other, is_marked=texts.is_marked, is_same=texts.is_same)


def _kept(found: Answered) -> str:
    """The call with all its settings, figures and tries, as JSON."""
    return msgspec.json.format(msgspec.json.encode(found.record.call), indent=2).decode()


def _by_hand(board: Board, found: Answered) -> ByHand | None:
    """The call as a request; none of an item that is not shown, which nobody could send."""
    if found.cell.is_confidential and not board.reveal:
        return None
    left_out = settings_left_out(board.store, found.run).get(found.cell.model, {})
    request = board.by_hand(found.cell, found.record, left_out)
    if request is None:
        return None
    body = msgspec.json.format(visible_json(request.body), indent=2)
    curl = curl_command(request)
    item = shlex.quote(found.record.sample.id)
    return ByHand(
        request=request,
        body=cut(body, LONGEST),
        curl=curl if len(curl) <= LONGEST else None,
        printed_by=f"steelyard show {found.run.number} --item {item} --curl",
    )


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

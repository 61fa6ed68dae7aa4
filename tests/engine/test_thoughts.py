"""When an answer began that thinks in tags of its own, against what graders read of it."""

import pytest

from steelyard.engine.asking.thoughts import answer_begins, behind_thoughts
from steelyard.scoring.reply import visible
from steelyard.types import Timing


def timing_of(pieces, *, streamed=True):
    """The n-th piece came after n times 10 ns."""
    return Timing(
        scheduled_ns=0,
        dispatched_ns=0,
        first_token_ns=10,
        first_answer_ns=10,
        last_token_ns=10 * len(pieces),
        ended_ns=10 * len(pieces),
        streamed=streamed,
        gaps_ns=(10,) * (len(pieces) - 1) if streamed else (),
    )


@pytest.mark.parametrize(
    ("pieces", "began_ns"),
    [
        (["4", "2"], 10),
        (["<think>", "4?", "</think>", "\n\n", "42"], 50),
        (["<thi", "nk>4?</th", "ink>", "42"], 40),
        (["4?", "</think>42"], 20),
        (["<Reasoning>4?", "</Reasoning>", "42", "<think>no"], 30),
        (["<think>", "4?"], None),
        (["<think>4?", "</think>", " "], None),
    ],
)
def test_an_answer_begins_behind_the_thoughts_in_its_own_text(pieces, began_ns):
    assert behind_thoughts(timing_of(pieces), pieces).first_answer_ns == began_ns


def test_of_an_answer_in_one_piece_nothing_is_known_of_its_parts():
    whole = timing_of(["<think>4?</think>42"], streamed=False)
    assert behind_thoughts(whole, ["<think>4?</think>42"]) == whole


@pytest.mark.parametrize(
    "text", ["42", " 42", "<think>4</think> 42 ", "a</think>42<think>no", "<think>", "</reasoning><think>4</thinking>"]
)
def test_what_the_answer_begins_with_is_what_graders_see_first(text):
    begins = answer_begins(text)
    shown = visible(text).lstrip()
    assert text[begins:].startswith(shown) if shown else begins is None

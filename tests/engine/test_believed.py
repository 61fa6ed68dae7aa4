"""Counts of tokens that cannot be are unknown, whoever reports them; what merely looks like much stands."""

import msgspec
import pytest

from steelyard.engine.asking.believed import MOST_UNSEEN_TOKENS, believed
from steelyard.engine.asking.way import sum_usage
from steelyard.types import Completion, Message, Prompt, Request, Usage

ASKED = Request(
    model="m", prompt=Prompt(kind="chat", messages=(Message(role="user", content="why so?"),)), max_tokens=1024
)
KNOWN = {"input_tokens": 7, "output_tokens": 3}


def kept(text="yes", source="server", **counts):
    """The counts that are believed, and what the user is told."""
    notices = []
    answer = Completion(text=text, usage=Usage(**(KNOWN | counts), source=source))
    usage = believed(answer, ASKED, notices.append).usage
    return {name: getattr(usage, name) for name in KNOWN | counts}, notices


@pytest.mark.parametrize(
    ("counts", "unknown", "words"),
    [
        ({"input_tokens": 0}, ["input_tokens"], "none where there was text"),
        ({"output_tokens": 0}, ["output_tokens"], "none where there was text"),
        ({"output_tokens": 10**9}, ["output_tokens"], "more than there can be"),
        ({"input_tokens": 10**9}, ["input_tokens"], "more than there can be"),
        ({"cached_input_tokens": 99}, ["input_tokens", "cached_input_tokens"], "more in a part than in the whole"),
        ({"reasoning_tokens": 99}, ["output_tokens", "reasoning_tokens"], "more in a part than in the whole"),
    ],
)
def test_a_count_that_cannot_be_is_unknown_and_said(counts, unknown, words):
    usage, [notice] = kept(**counts)
    assert usage == KNOWN | counts | dict.fromkeys(unknown)
    assert words in notice


def test_a_cost_is_unknown_with_the_counts_unless_the_service_says_what_it_charged():
    assert kept(input_tokens=0)[1][0].endswith("they are taken as unknown, and with them the cost")
    usage, [notice] = kept(input_tokens=0, charged_usd=0.5)
    assert usage["charged_usd"] == 0.5
    assert notice.endswith("they are taken as unknown")


def test_what_the_service_counted_is_kept_where_it_is_not_believed_and_costs_no_byte_elsewhere():
    told = Usage(input_tokens=0, output_tokens=10**9, source="server")
    usage = believed(Completion(text="yes", usage=told), ASKED, lambda text: None).usage
    assert (usage.input_tokens, usage.output_tokens, usage.stated) == (None, None, told)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(usage), type=Usage) == usage
    assert b"stated" not in msgspec.msgpack.encode(told)
    assert sum_usage([usage]).stated == told  # also of one call among those behind an answer


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"output_tokens": 60_000, "reasoning_tokens": 59_990},  # hidden reasoning beyond the limit on the answer
        {"output_tokens": 1024 + MOST_UNSEEN_TOKENS},
        {"input_tokens": 200_000},  # a service that looks things up
        {"text": "", "output_tokens": 0},  # a prompt that was blocked
        {"source": "none", "input_tokens": 0, "output_tokens": 0},  # what a callable of the user's own says of itself
    ],
)
def test_a_count_that_may_be_stands(counts):
    usage, notices = kept(**counts)
    assert usage == KNOWN | {name: tokens for name, tokens in counts.items() if name in usage}
    assert notices == []

"""What prompts have in common is shown once, and what is left of each is its question, whole."""

from steelyard.report.examples import SHORTEST, examples_apart
from steelyard.report.samples import LONGEST_PROMPT, Item

SHOTS = "".join(f"Q: {at} + {at}?\nA: {2 * at}\n\n" for at in range(SHORTEST // 4))


def items(prompts, stratum="sums"):
    return [
        Item(id=str(at), benchmark="b@p", line="", prompt=prompt, gold="", is_flip=False, answers=(), stratum=stratum)
        for at, prompt in enumerate(prompts)
    ]


def test_the_beginning_of_all_prompts_is_shown_once_and_no_question_is_torn():
    questions = [f"Q: what is {at}?\nA:" for at in range(5)]
    apart, (found,) = examples_apart(items([SHOTS + one for one in questions]))
    assert [one.prompt for one in apart] == questions
    assert {one.examples for one in apart} == {0}
    assert (found.text, found.stratum, found.items) == (SHOTS.rstrip(), "sums", 5)


def test_each_part_of_a_benchmark_has_its_own_and_what_is_short_or_rare_stays_in_its_place():
    some = items([SHOTS + f"Q: {at}" for at in range(3)], "long") + items([f"Say:\n\n{at}" for at in range(9)], "short")
    apart, found = examples_apart([*some, *items([SHOTS + "Q: 1", SHOTS + "Q: 2"], "rare")])
    assert [one.stratum for one in found] == ["long"]
    assert apart[3].prompt == "Say:\n\n0"
    assert apart[3].examples is None
    assert "left out" in apart[-1].prompt
    assert len(apart[-1].prompt) < LONGEST_PROMPT + 60
    assert examples_apart([]) == ([], [])

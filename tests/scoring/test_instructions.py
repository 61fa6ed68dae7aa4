"""Verified instructions: each check with a reply that follows and one that does not, and the reference's oddities."""

import time

import pytest

from steelyard.errors import EnvironmentFault
from steelyard.scoring import language
from steelyard.scoring.instructions import CHECKS, count_capital_words, is_followed, is_followed_loosely
from steelyard.scoring.sentences import count_sentences

FOLLOWED_OR_NOT = [
    ("keywords:existence", {"keywords": ["sun", "moon"]}, "Moonlight and sunlight", "Only the sun"),
    ("keywords:frequency", {"keyword": "war ", "frequency": 2, "relation": "at least"}, "War, warm", "war"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, "war", "war war"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocks", "We will ROCK you"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "#a #b", "#a"),
    ("keywords:letter_frequency", {"letter": "T", "let_frequency": 2, "let_relation": "less than"}, "Ten", "Titan"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "One, two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "don't go", "do go"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Weekend"},
        "a\n\n\"weekend's here",
        "Weekend\n\nb",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] [a b]", "[name"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye\np. s. x", "Bye\nPS x"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.P.S x", "P.S. x"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n  - b\n**c**", "* a"),
    ("detectable_format:constrained_response", {}, "Well: My answer is no.", "My answer is no"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**a** *b*", "*a* **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 2}, "Day 1\nDay 2", "Day one"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{'a': 1}"),
    ("detectable_format:title", {}, "<<Joy>>\ntext", "<< >>"),
    ("combination:two_responses", {}, "a******b", "a******a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it. "}, " say IT. Then", "It"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'It is THE END."\n', "The end. Bye"),
    ("startend:quotation", {}, ' "a" ', '"'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "I, BM", "IBM"),
    ("punctuation:no_comma", {}, "a; b", "a, b"),
]
NEEDS_LANGUAGE = {
    "language:response_language": (
        {"language": "de"},
        "Das ist ein schöner Tag im Garten.",
        "It is a fine day outside.",
    ),
    "change_case:english_capital": ({}, "THIS IS A FINE DAY IN THE GARDEN.", "This is a fine day in the garden."),
    "change_case:english_lowercase": ({}, "this is a fine day in the garden.", "das ist ein schöner tag im garten."),
}


@pytest.mark.parametrize(("name", "arguments", "follows", "does_not"), FOLLOWED_OR_NOT)
def test_a_reply_that_follows_passes_and_one_that_does_not_fails(name, arguments, follows, does_not):
    assert is_followed(name, arguments, follows)
    assert not is_followed(name, arguments, does_not)
    assert not is_followed(name, arguments, " \n")


@pytest.mark.parametrize("name", NEEDS_LANGUAGE)
def test_languages_are_told_apart_the_same_way_every_time(name):
    pytest.importorskip("langdetect", reason="langdetect is not installed: steelyard[ifeval]")
    arguments, follows, does_not = NEEDS_LANGUAGE[name]
    assert {is_followed(name, arguments, follows) for _ in range(5)} == {True}
    assert {is_followed(name, arguments, does_not) for _ in range(5)} == {False}


def test_a_text_without_letters_counts_as_in_the_right_language():
    pytest.importorskip("langdetect", reason="langdetect is not installed: steelyard[ifeval]")
    assert language.language_of("12 34") is None
    assert is_followed("language:response_language", {"language": "kn"}, "12 34")


def test_a_missing_language_package_is_named(monkeypatch):
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"steelyard\[ifeval\]"):
        language.ready()


def test_there_are_twenty_five_kinds_and_each_is_tested():
    assert len(CHECKS) == 25
    assert {name for name, *_ in FOLLOWED_OR_NOT} | set(NEEDS_LANGUAGE) == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "arguments", "reply"),
    [
        ("startend:end_checker", {"end_phrase": "The end."}, "Sure!\nThe end.\nI hope this helps."),
        ("detectable_format:json_format", {}, "Here you are:\n{}\nEnjoy"),
        ("startend:quotation", {}, '**"a"**'),
    ],
)
def test_loosely_the_first_line_the_last_line_and_asterisks_do_not_count(name, arguments, reply):
    assert not is_followed(name, arguments, reply)
    assert is_followed_loosely(name, arguments, reply)


HOSTILE = ["[", "?", "\n"]
MORE_HOSTILE = ["<", ".*", "* ", "***", "A. ", "I. "]


@pytest.mark.parametrize("piece", [*HOSTILE, *(pytest.param(piece, marks=pytest.mark.long) for piece in MORE_HOSTILE)])
def test_a_reply_of_a_million_signs_is_judged_within_seconds(piece):
    reply = piece * (1_000_000 // len(piece))
    started = time.process_time()
    for name, arguments, *_ in FOLLOWED_OR_NOT:
        is_followed(name, arguments, reply)
    assert time.process_time() - started < 10


def test_an_unknown_relation_is_a_fault_and_no_verdict():
    with pytest.raises(ValueError, match="at most"):
        is_followed("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, "a")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("  \n", 0),
        ("One", 1),
        ("One. Two.", 2),
        ("Really?! Yes.", 2),
        ('He said "Go." She went.', 2),
        ("(It is so.) Then not.", 2),
        ("Dr. Smith met Mr. Jones at 5 p.m. on Jan. 3.", 1),
        ("He lives in the U.S. However, she does not.", 2),
        ("J. S. Bach wrote it.", 1),
        ("It costs 3.50 dollars.", 1),
        ("1. First\n2. Second", 3),  # Punkt counts the numbers of a list
        ("e.g. this", 2),  # and does not know this abbreviation
        ("Well... maybe", 1),
        ("Wait!!! Now.", 2),
        ("See example.com for more", 1),
        ("Overview\nI. Aims of it", 2),
        ("It says II. Then I. Newton left.", 2),
    ],
)
def test_sentences_are_counted_as_punkt_counts_them(text, count):
    """Each count is what NLTK's English Punkt model gives."""
    assert count_sentences(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("I am A B C.", 4),
        ("DON'T", 2),
        ("WON'T.", 2),
        ("USA's GDP", 2),
        ("STATE-OF-THE-ART", 1),
        ("3D and 42", 1),
        ("CANNOT", 2),
        ("*BOLD*,NEXT", 2),
        ("Ab aB", 0),
        ("U.S.A. AND/OR", 2),
    ],
)
def test_capital_words_are_those_of_the_treebank(text, count):
    """Each count is that of NLTK's word tokenizer."""
    assert count_capital_words(text) == count

"""Two replies side by side: what only one of them said is marked, escaped, and in bounded time."""

import time

from steelyard.dashboard.differing import MOST_WORDS, side_by_side


def test_words_that_only_one_side_said_are_marked_on_that_side():
    found = side_by_side("He runs 3 x 60 = 60 meters.\nA: 60", "He runs 3 x 180 = 540 meters.\nA: 540")
    assert found.one == "He runs 3 x <del>60</del> = <del>60</del> meters.\nA: <del>60</del>"
    assert found.other == "He runs 3 x <ins>180</ins> = <ins>540</ins> meters.\nA: <ins>540</ins>"
    assert side_by_side("a  b", "a b").one == "a  b", "blanks alone are no difference"


def test_what_differs_is_escaped_like_all_else_and_no_mark_can_be_forged():
    found = side_by_side("yes it is <script>x</script> now", "yes it is {0} </ins><img src=x onerror=y> now")
    assert "<script" not in found.one
    assert "<img" not in found.other
    assert found.other.count("<ins>") == found.other.count("</ins>")
    assert "{0}" in found.other.replace("<ins>", "").replace("</ins>", "")


def test_texts_that_are_equal_unlike_or_long_are_shown_as_they_are_and_soon():
    assert side_by_side("a < b", "a < b").is_same
    assert not side_by_side("one two three four", "five six seven eight").is_marked
    assert not side_by_side("a " * (MOST_WORDS + 1), "a b " * MOST_WORDS).is_marked
    assert not side_by_side("a b " * 150, "b a " * 150).is_marked, "what repeats itself takes long"
    prose = " ".join(f"w{place} and" for place in range(120))
    began_s = time.process_time()
    assert side_by_side(prose, prose.replace("w7", "v")).is_marked
    assert time.process_time() - began_s < 0.5

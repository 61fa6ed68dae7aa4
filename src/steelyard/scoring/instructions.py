"""Instructions that a program can verify, one small function each (Zhou et al. 2023, arXiv 2311.07911: IFEval).

Each function decides as the authors' checker does, its oddities included: a keyword is a regular expression, a text
whose language cannot be told counts as in the right one, any line may start with the postscript. Sentences are counted
without Punkt's trained tables (``sentences``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steelyard.scoring.language import language_of
from steelyard.scoring.sentences import count_sentences

Check = Callable[..., bool]


def is_followed(name: str, arguments: Mapping[str, Any], reply: str) -> bool:
    """Whether the reply, taken as it is, follows the instruction; a blank one follows none."""
    return bool(reply.strip()) and CHECKS[name](reply, **arguments)


def is_followed_loosely(name: str, arguments: Mapping[str, Any], reply: str) -> bool:
    """Whether the reply follows it, or would without its first line, its last one, or its asterisks."""
    return any(is_followed(name, arguments, variant) for variant in _variants(reply))


def _variants(reply: str) -> list[str]:
    lines = reply.split("\n")
    cut = ["\n".join(kept).strip() for kept in (lines[1:], lines[:-1], lines[1:-1])]
    return [variant for text in (reply, *cut) for variant in (text, text.replace("*", ""))]


def _holds(count: int, relation: str, bound: int) -> bool:
    if relation not in ("less than", "at least"):
        raise ValueError(f"relation {relation!r} is neither 'less than' nor 'at least'")
    return count < bound if relation == "less than" else count >= bound


def _has_keywords(reply: str, keywords: Sequence[str]) -> bool:
    return all(re.search(keyword, reply, re.IGNORECASE) for keyword in keywords)


def _has_keyword_often(reply: str, keyword: str, frequency: int, relation: str) -> bool:
    return _holds(len(re.findall(keyword.strip(), reply, re.IGNORECASE)), relation, frequency)


def _avoids_words(reply: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", reply, re.IGNORECASE) for word in forbidden_words)


def _has_letter_often(reply: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _holds(reply.lower().count(letter.strip().lower()), let_relation, let_frequency)


def _is_in(reply: str, language: str) -> bool:
    return language_of(reply) in (language, None)


def _has_sentences(reply: str, num_sentences: int, relation: str) -> bool:
    return _holds(count_sentences(reply), relation, num_sentences)


def _has_paragraphs(reply: str, num_paragraphs: int) -> bool:
    """Paragraphs between ``***``: the first and the last may be blank, and then do not count."""
    found = [bool(part.strip()) for part in re.split(r"\s?\*\*\*\s?", reply)]
    if not all(found[1:-1]):
        return False
    return sum(found) == num_paragraphs


def _has_words(reply: str, num_words: int, relation: str) -> bool:
    return _holds(len(re.findall(r"\w+", reply)), relation, num_words)


def _starts_paragraph(reply: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Paragraphs between blank lines; the place is counted with the empty ones, the number without them."""
    parts = reply.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    if nth_paragraph > count or not (words := parts[nth_paragraph - 1].split()):
        return False
    word = re.split(r"""[.,?!'"]""", words[0].lstrip("'").lstrip('"'))[0]
    return count == num_paragraphs and word.lower() == first_word.lower()


def _has_placeholders(reply: str, num_placeholders: int) -> bool:
    """Brackets closed on the line that opens them; a regular expression would take quadratic time over open ones."""
    found = 0
    for line in reply.split("\n"):
        end = 0
        while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
            found += 1
    return found >= num_placeholders


def _has_postscript(reply: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    usual = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(usual.get(marker, marker.lower()), reply.lower()) is not None


def _has_bullets(reply: str, num_bullets: int) -> bool:
    """Lines that begin with a dash, or one asterisk. Runs of blank lines, read again from each, are cut short first."""
    text = re.sub(r"\n(?:[^\S\n]*\n){2,}", "\n\n", reply)
    starred, dashed = (re.findall(form, text, re.MULTILINE) for form in (r"^\s*\*[^*].*$", r"^\s*-.*$"))
    return len(starred) + len(dashed) == num_bullets


def _is_one_of_three(reply: str) -> bool:
    return any(f"My answer is {word}." in reply for word in ("yes", "no", "maybe"))


def _has_highlights(reply: str, num_highlights: int) -> bool:
    """Texts between asterisks, and once more those between double ones, as long as they are not blank."""
    single = re.findall(r"\*[^\n*]*\*", reply)
    double = re.findall(r"\*\*[^\n*]*\*\*", reply)
    held = [text.strip("*") for text in single] + [text.removeprefix("**").removesuffix("**") for text in double]
    return sum(bool(text.strip()) for text in held) >= num_highlights


def _has_sections(reply: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{section_spliter.strip()}\s?\d+\s?", reply)) >= num_sections


def _is_json(reply: str) -> bool:
    text = reply.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):  # brackets nested thousands deep are no JSON that anybody reads
        return False
    return True


def _has_title(reply: str) -> bool:
    """On one line, from its first ``<<`` to its last ``>>``."""
    for line in reply.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def _is_two_replies(reply: str) -> bool:
    parts = [part.strip() for part in reply.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def _repeats_prompt(reply: str, prompt_to_repeat: str) -> bool:
    return reply.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _ends_with(reply: str, end_phrase: str) -> bool:
    return reply.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _has_capital_words(reply: str, capital_frequency: int, capital_relation: str) -> bool:
    return _holds(count_capital_words(reply), capital_relation, capital_frequency)


_AROUND = re.compile(r"[;@#$%&?!*\[\](){}<>\"`«»“”„‘’‒–—―]|\.{2,}|--+|''|[:,](?!\d)")  # noqa: RUF001 - dashes, quotes
_ENCLITIC = re.compile(r"(?<=[^'\s])(?='(?:[sSmMdD]|ll|LL|re|RE|ve|VE)\.?(?!\S)|(?:n't|N'T)\.?(?!\S))")
_DOUBLE = re.compile(r"\b(CAN)(NOT)\b|\b(D)('YE)\b|\b(GIM|LEM)(ME)\b|\b(GON)(NA)\b|\b(GOT)(TA)\b|\b(WAN)(NA)(?=\s)")


def count_capital_words(text: str) -> int:
    """Words all in capitals among the Penn Treebank's tokens: ``I``, ``3D``, ``A-B`` are one, ``DON'T`` is two."""
    apart = _DOUBLE.sub(lambda found: " ".join(filter(None, found.groups())), _AROUND.sub(" ", text) + " ")
    return sum(word.isupper() for word in _ENCLITIC.sub(" ", apart).split())


def _is_capital_english(reply: str) -> bool:
    return reply.isupper() and _is_in(reply, "en")


def _is_lowercase_english(reply: str) -> bool:
    return reply.islower() and _is_in(reply, "en")


def _has_no_comma(reply: str) -> bool:
    return "," not in reply


def _is_quoted(reply: str) -> bool:
    text = reply.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: dict[str, Check] = {
    "keywords:existence": _has_keywords,
    "keywords:frequency": _has_keyword_often,
    "keywords:forbidden_words": _avoids_words,
    "keywords:letter_frequency": _has_letter_often,
    "language:response_language": _is_in,
    "length_constraints:number_sentences": _has_sentences,
    "length_constraints:number_paragraphs": _has_paragraphs,
    "length_constraints:number_words": _has_words,
    "length_constraints:nth_paragraph_first_word": _starts_paragraph,
    "detectable_content:number_placeholders": _has_placeholders,
    "detectable_content:postscript": _has_postscript,
    "detectable_format:number_bullet_lists": _has_bullets,
    "detectable_format:constrained_response": _is_one_of_three,
    "detectable_format:number_highlighted_sections": _has_highlights,
    "detectable_format:multiple_sections": _has_sections,
    "detectable_format:json_format": _is_json,
    "detectable_format:title": _has_title,
    "combination:two_responses": _is_two_replies,
    "combination:repeat_prompt": _repeats_prompt,
    "startend:end_checker": _ends_with,
    "startend:quotation": _is_quoted,
    "change_case:capital_word_frequency": _has_capital_words,
    "change_case:english_capital": _is_capital_english,
    "change_case:english_lowercase": _is_lowercase_english,
    "punctuation:no_comma": _has_no_comma,
}
"""By the names that the data set gives them."""

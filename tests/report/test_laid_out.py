import re

from steelyard.analysis.telling import Finding
from steelyard.report.laid_out import laid_out, parted, prose


def finding(sentence, *parts):
    told = tuple(Finding(rule="lead", kind="open", sentence=text, benchmark=name) for name, text in parts)
    return Finding(rule="lead", kind="open", sentence=sentence, parts=told)


def test_a_finding_of_several_benchmarks_has_a_line_for_each():
    shown = laid_out(
        finding(
            "Right answers on a and b cost least with m: 1 USD on a; 2 USD on b.",
            ("a", "Right answers on a cost least with m: 1 USD."),
            ("b", "Right answers on b cost least with m: 2 USD."),
        )
    )
    assert (shown.claim, shown.seen) == ("Right answers on a and b cost least with m:", "")
    assert shown.lines == (("a", "1 USD."), ("b", "2 USD."))


def test_what_holds_on_all_of_them_is_said_once():
    shown = laid_out(
        finding("Nothing on a and b. It failed.", ("a", "Nothing on a. It failed."), ("b", "Nothing on b. It failed."))
    )
    assert (shown.claim, shown.seen, shown.lines) == ("Nothing on a and b.", "It failed.", ())
    alone = laid_out(finding("m answers 7 of a and 8 of b.", ("a", "m answers 7 of a."), ("b", "m answers 8 of b.")))
    assert (alone.claim, alone.lines) == ("m answers 7 of a and 8 of b.", ())


def test_a_page_has_lines_for_as_many_benchmarks_as_the_sentence_tells_of():
    parts = [(f"b{place}", f"Best on b{place}: {place}.") for place in range(9)]
    shown = laid_out(finding("Best on many: much.", *parts))
    assert (len(shown.lines), shown.more) == (6, 3)


def test_an_option_is_not_broken_no_number_parts_from_its_unit_and_a_name_is_not_markup():
    said = prose("<b> of a--b: 61.3 % (58.6 to 63.9), n = 1,319, with --max-tokens and 4 models, run = 7")
    assert re.findall('<span class="unbroken">([^<]*)</span>', said) == ["61.3 %", "n = 1,319", "--max-tokens"]
    assert re.sub("<span[^>]*>|</span>", "", said) == (
        "&lt;b&gt; of a--b: 61.3 % (58.6 to 63.9), n = 1,319, with --max-tokens and 4 models, run = 7"
    )


def test_a_long_name_breaks_before_its_last_part_and_a_short_one_stays_text():
    long = "accounts/some-organisation/models/a-rather-long-<name>"
    assert parted(long) == (
        'accounts/<wbr>some-organisation/<wbr>models/<wbr><span class="own">a-rather-long-&lt;name&gt;</span>'
    )
    assert parted("openai/gpt-x") == "openai/gpt-x"
    assert parted("175b_verification") == "175b_<wbr>verification"
    assert parted("x" * 60) == "x" * 60

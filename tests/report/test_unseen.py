import io
import json

import pytest
from rich.text import Text

from steelyard.report.answers import plain
from steelyard.report.console import PlainConsole, console, new_table
from steelyard.report.drawing import marks
from steelyard.report.identity import MixedModel, mixture_warning
from steelyard.report.unseen import as_shown, exact, harmless, harmless_json, on_one_line, visible

TURNED = "a\u202eb"
HIDDEN = ["\x1b", "\x00", "\u00ad", "\u200b", "\u202e", "\u2066", "\u3164", "\ufeff", "\U000e0041", "\U000e0101"]


@pytest.mark.parametrize("mark", HIDDEN)
def test_what_cannot_be_seen_is_written_out(mark):
    shown = visible(f"a{mark}b")
    assert mark not in shown
    assert (shown[:2], shown[-1]) == ("a\\", "b")


def test_what_can_be_seen_stays():
    assert visible("Ünï 漢字 🦙 é̂\n\tx") == "Ünï 漢字 🦙 é̂\n\tx"


def test_a_template_shows_names_visibly_and_gives_forms_what_they_had():
    from jinja2 import Environment
    from markupsafe import Markup

    page = Environment(autoescape=True, finalize=as_shown)
    page.filters["exact"] = exact
    shown = page.from_string("{{ name }}|{{ name | exact }}|{{ ours }}|{{ n }}").render(
        name=TURNED + "<", ours=Markup("<b>"), n=3
    )
    assert shown == "a\\u202eb&lt;|a\u202eb&lt;|<b>|3"


def test_a_chart_shows_names_visibly():
    drawn = marks.svg(10, TURNED, [marks.words_at(0, 0, TURNED, "start"), marks.group("", TURNED, [])])
    assert "\u202e" not in drawn
    assert marks.width_of(marks.fitting("m" * 80, 100)) <= 100


def test_a_name_is_neither_markup_nor_obeyed_by_a_terminal():
    printed = io.StringIO()
    out = PlainConsole(file=printed, width=80)
    table = new_table("[/x]\x1b[31m")
    table.add_row("m[/b] :smile:\x1b]8;;http://x\x07")
    out.print("run [bold]x[/y]\x1b[2J", table, sep="\n")
    broken = new_table("a\nheading", "b")
    broken.add_row("a name\n\tof two lines", Text("ok\n::error::"))
    out.print(broken)
    out.say("it is\na name\tof two lines.")
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert lines[:3] == ["run [bold]x[/y]\\u001b[2J", "[/x]\\u001b[31m", "m[/b] :smile:\\u001b]8;;http://x\\u0007"]
    assert [line.split() for line in lines[3:]] == [
        ["a", "heading", "b"],
        ["a", "name", "of", "two", "lines", "ok", "::error::"],
        ["it", "is", "a", "name", "of", "two", "lines."],
    ]


def test_what_a_service_calls_itself_begins_no_line():
    mixed = MixedModel(model="m", differs="model", reported={"a\n::error::x\x1b[2J": 2, "b": 1})
    assert "a ::error::x\\u001b[2J (2 answers), b" in mixture_warning(mixed)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", "| ::error::x"),
        ("a ::b\n \t\u3000::add-mask::a", "a ::b\n|  \t\u3000::add-mask::a"),
        ("\u200b:\u00ad:x::y", "| \u200b:\u00ad:x::y"),
        ("a ##[error] ###[x ##vso[a", "a # #[error] ## #[x # #vso[a"),
        ("#\u200b#\ufe0f[group]", "# \u200b#\ufe0f[group]"),
        ("a: :b\n## [link]\n# [x] a::b", "a: :b\n## [link]\n# [x] a::b"),
    ],
)
def test_no_text_is_a_command_in_a_log(text, shown, capsys):
    """As actions/runner reads it: blanks and what a comparison by culture passes over come before the marks."""
    assert harmless(text) == plain(text) == shown
    assert "##[" not in on_one_line(text)
    document = json.dumps({"a": text, "b": "\\##["}, ensure_ascii=False)
    assert json.loads(harmless_json(document)) == json.loads(document)
    assert "##[" not in harmless_json(document)
    table = new_table("::h::", "b")
    table.add_row(text, f"{text} " * 20)
    console().print(table, text, sep="\n")
    assert not [line for line in capsys.readouterr().out.splitlines() if line.lstrip()[:2] == "::" or "##[" in line]


def test_a_table_too_wide_for_the_terminal_is_printed_as_several_before_a_figure_is_broken():
    printed = io.StringIO()
    table = new_table("model", "accuracy (95 %)", "latency", "verdict")
    table.add_row("a-model", "56.3 % (53.6 to 58.9)", "5.10 ms (4.76 to 5.45)", "improved")
    PlainConsole(file=printed, width=60).print(table)
    lines = [line.split() for line in printed.getvalue().splitlines()]
    assert lines[0] == ["model", "accuracy", "(95", "%)", "latency"]
    assert lines[2:] == [[], ["model", "verdict"], ["a-model", "improved"]]
    printed.truncate(0)
    PlainConsole(file=printed, width=100).print(table)
    assert printed.getvalue().count("model") == 2


def test_a_name_of_wide_characters_takes_the_room_it_needs():
    out = io.StringIO()
    table = new_table("model", "accuracy (95 %)", "latency (95 %)")
    table.add_row("模型模型模型模型", "12.3 % (1.0 to 3.0)", "144 ms (30 to 259) 精确度")
    PlainConsole(file=out, width=60).print(table)
    assert "144 ms (30 to 259) 精确度" in out.getvalue()

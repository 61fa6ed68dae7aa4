"""Charts: the same numbers give the same picture, whatever the numbers, and no name is markup."""

import os
import re
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from steelyard.report.drawing import charts
from steelyard.report.drawing.axes import fitted, interval_text, price_text, shortened, tick_text, value_text
from steelyard.report.drawing.criteria import Held, against_line
from steelyard.report.drawing.figures import _front
from steelyard.report.drawing.marks import PHONE_WIDTH, WIDTH, for_any_screen

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = '<script>alert(1)</script>"onload="x'
OURS = Path(charts.__file__).parents[2]


def marks(n=4, name="model-{}"):
    return [
        charts.Mark(name=name.format(i), slot=i, x=0.001 * 3**i, y=0.3 + 0.1 * i, x_low=0.0009 * 3**i,
                    x_high=0.0012 * 3**i, y_low=0.25 + 0.1 * i, y_high=0.35 + 0.1 * i, is_front=i != 1)
        for i in range(n)
    ]  # fmt: skip


def rows(n=4, name="model-{}"):
    return [
        charts.Row(name=name.format(i), slot=i, value=0.9 / (i + 1), low=0.8 / (i + 1), high=1 / (i + 1), is_tied=i < 2)
        for i in range(n)
    ] + [charts.Row(name="baseline/random", slot=None, value=0.25, low=0.2, high=0.3)]


def series(n=3, length=60, name="model-{}"):
    return [
        charts.Series(
            name=name.format(i), slot=i, values=tuple((i + 1) * (1 + (7 * j % 11) / 10) for j in range(length))
        )
        for i in range(n)
    ]


def spokes():
    return [charts.Spoke(name=name, centre="0 %", rim="100 %") for name in ("accuracy", "speed", "reliability", "cost")]


def outlines(n=3, name="model-{}"):
    return [
        charts.Outline(name=name.format(i), slot=i, shares=(0.9 - 0.2 * i, 0.5, 1.0, None if i == 1 else 0.3),
                       texts=("90 %", "1 s", "100 %", "$1"))
        for i in range(n)
    ]  # fmt: skip


def scatter(given, width=WIDTH):
    return charts.scatter(given, label="s", x_name="cost", y_name="accuracy", x_unit="USD", y_unit="share", width=width)


def held(name="model-{}"):
    words = ("pass", "fail", "inconclusive")
    return [
        Held(name=name.format(i), verdict=words[i], value=-0.04 * i, low=-0.04 * i - 0.03, high=-0.04 * i + 0.02,
             told="a change")
        for i in range(3)
    ]  # fmt: skip


DRAWN = {
    "criteria": lambda name="model-{}", width=WIDTH: against_line(
        held(name), label="c", unit="points", bound=-0.03, is_floor=True, before=0.0, width=width
    ),
    "intervals": lambda name="model-{}", width=WIDTH: charts.intervals(
        rows(name=name), label="i", chance=0.25, width=width
    ),
    "scatter": lambda name="model-{}", width=WIDTH: scatter(marks(name=name), width),
    "ecdf": lambda name="model-{}", width=WIDTH: charts.ecdf(
        series(name=name), label="e", x_name="latency", width=width
    ),
    "over_requests": lambda name="model-{}", width=WIDTH: charts.over_requests(
        series(name=name), label="o", y_name="latency", width=width
    ),
    "radar": lambda name="model-{}", width=WIDTH: charts.radar(spokes(), outlines(name=name), label="r", width=width),
}
WIDTHS = {WIDTH: "", PHONE_WIDTH: "-narrow"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("chart", DRAWN)
def test_a_chart_is_drawn_as_before(chart, width):
    """After a wanted change: GOLDEN=write, and look at the pictures."""
    path = GOLDEN / f"{chart}{WIDTHS[width]}.svg"
    drawn = DRAWN[chart](width=width) + "\n"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(drawn, "utf-8")
    assert drawn == path.read_text("utf-8")


@pytest.mark.parametrize("chart", DRAWN)
def test_names_are_text_and_the_picture_is_well_formed(chart):
    drawn = DRAWN[chart](name=HOSTILE + "{}")
    root = ElementTree.fromstring(drawn)
    assert {element.tag for element in root.iter()} <= {"svg", "g", "path", "circle", "line", "text", "title"}
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on") or key == "style"]


@pytest.mark.parametrize("chart", DRAWN)
def test_every_mark_tells_its_value_and_the_picture_has_a_name(chart):
    root = ElementTree.fromstring(DRAWN[chart]())
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    assert len(root.findall(".//title")) >= 3


def texts(drawn):
    """Every text with the box that it covers, at the mean width of a character."""
    found = []
    for x, y, anchor, text in re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)"[^>]*>([^<]*)', drawn):
        width = charts.width_of(text)
        start = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        found.append((text, start, float(y) - 9, start + width, float(y) + 2))
    return found


@pytest.mark.parametrize("name", ["model-{}", "a-vendor/with-a-very-long-model-name-{}-instruct-2026-11-26-preview"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("chart", DRAWN)
def test_no_text_is_clipped_or_lies_on_another(chart, width, name):
    drawn = DRAWN[chart](name=name, width=width)
    found = texts(drawn)
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', drawn)[1])
    for text, left, top, right, foot in found:
        assert left >= 0, text
        assert right <= width + 1, text
        assert top >= -1, text
        assert foot <= height, text
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            apart = one[1] >= other[3] or other[1] >= one[3] or one[2] >= other[4] or other[2] >= one[4]
            assert apart, (one[0], other[0])


def test_of_many_requests_a_narrow_chart_draws_no_more_points_than_it_can_show():
    wide, narrow = (charts.over_requests(series(1, 6_000), label="o", y_name="s", width=width) for width in WIDTHS)
    assert 0 < narrow.count("h0") < wide.count("h0") <= 450  # each k-th, and the 2 % that are far out
    both = for_any_screen(partial(charts.over_requests, series(1, 6_000), label="o", y_name="s"))
    assert both == wide + narrow


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.0, 0.0], [5.0, 5.0], [1e-9, 1e9], [0.0, 1e-6], [-1.0, 2.0], []])
def test_any_values_fit_a_scale_with_ticks(values):
    scale = fitted(values, 0.0, 100.0, may_be_log=True)
    assert all(0.0 <= scale.at(value) <= 100.0 for value in values)
    assert all(scale.low - 1e-12 <= tick <= scale.high + 1e-12 for tick in scale.ticks())
    assert len(scale.ticks()) <= 40


def test_one_point_all_zero_and_one_value_are_drawn():
    ElementTree.fromstring(scatter([charts.Mark(name="a", slot=0, x=1.0, y=0.0)]))
    ElementTree.fromstring(charts.ecdf([charts.Series(name="a", slot=0, values=(1.0,))], label="e", x_name="x"))
    ElementTree.fromstring(
        charts.over_requests([charts.Series(name="a", slot=0, values=(1.0, 1.0))], label="e", y_name="y")
    )


def test_a_name_stands_beside_the_interval_of_a_model_that_got_nothing_right():
    ends = {"x_low": 0.5, "x_high": 2.0, "y_low": 0.0, "y_high": 0.2}
    drawn = scatter([charts.Mark(name="none right", slot=0, x=1.0, y=0.0, is_front=True, **ends)])
    found = re.search(r'M([\d.]+) [\d.]+V[\d.]+M[\d.]+ ([\d.]+)H[\d.]+" class="whisker"', drawn)
    upright, level = map(float, found.groups())
    name_x, name_y = map(float, re.search(r'<text x="([\d.]+)" y="([\d.]+)"[^>]* class="name"', drawn).groups())
    assert name_x > upright + 2
    assert name_y < level - 6


def test_requests_too_few_for_a_running_median_are_marks_that_can_be_seen():
    def drawn(n):
        few = charts.Series(name="a", slot=0, values=tuple(1.0 + i for i in range(n)))
        return charts.over_requests([few], label="e", y_name="y")

    assert drawn(4).count('class="solid"') == 4
    assert 'class="dots"' not in drawn(4)
    assert drawn(40).count('class="solid"') == 1


def test_many_models_are_drawn_and_only_those_on_the_front_are_named():
    drawn = scatter([mark for i in range(10) for mark in marks(4, f"m{i}-{{}}")])
    assert len(re.findall("<title>", drawn)) == 40
    assert len(re.findall('class="name"', drawn)) <= 40


def test_models_whose_intervals_cross_are_both_named():
    crossing = [
        charts.Mark(
            name=f"model-{i}", slot=i, x=6.4 + i, y=0.15, x_low=5.2 + i, x_high=7.6 + i, y_low=0.08, y_high=0.26
        )
        for i in range(2)
    ]
    assert [name for name in ("model-0", "model-1") if f">{name}</text>" in scatter(crossing)] == ["model-0", "model-1"]


def test_hidden_and_shown_numbers_read_well():
    assert tick_text(0.00001, "USD") == "$0.00001"
    assert value_text(0.0001234, "USD") == "$0.000123"
    assert tick_text(0.25, "s") == "250 ms"
    assert interval_text(0.563, 0.536, 0.59, "share") == "56.3 % (53.6 to 59.0)"
    assert interval_text(0.4, 0.39, 1.2, "s") == "400 ms (390 ms to 1.2 s)"
    assert shortened("a-very-long-model-name-v10", 12) == "a-ve…ame-v10"


def test_values_that_differ_by_rounding_alone_have_a_scale_with_room():
    """Three answers at one price cost as much each as two do, but for the last bit of the mean."""
    scale = fitted([4.0, 4.000000000000001], 58, 464)
    places = [scale.at(tick) for tick in scale.ticks()]
    assert len(set(places)) == len(places) > 2
    assert scale.low < 3.9 < 4.1 < scale.high
    mean = [charts.Mark(name=str(x), slot=0, x=x, y=0.5) for x in (4.0, 4.000000000000001)]
    charts.scatter(mean, label="", x_name="", y_name="", x_unit="USD", y_unit="share")


def test_what_lies_beyond_the_bound_is_shaded_on_the_side_that_is_worse():
    def shaded(**given):
        drawn = against_line(held(), label="c", unit="points", **given)
        ends = re.search(r'd="M([\d.]+) 8H([\d.]+)V[^"]*" class="beyond"', drawn)
        return drawn, float(ends[1]), float(ends[2])

    drawn, start, end = shaded(bound=-0.03, is_floor=True, before=0.0)
    at, before = (float(re.search(rf'class="{kind}" x1="([\d.]+)"', drawn)[1]) for kind in ("bound", "chance"))
    assert start < end == at < before
    drawn, start, end = shaded(bound=0.03, is_floor=False)
    assert start == float(re.search(r'class="bound" x1="([\d.]+)"', drawn)[1]) < end
    assert "chance" not in drawn


def test_dark_is_the_same_page_in_other_colours():
    """So axe looks for what colours can break, and for nothing else, in the dark pictures of a page."""
    files = [file for suffix in ("css", "j2", "js") for file in OURS.rglob(f"templates/*.{suffix}")]
    styles = "".join(file.read_text("utf-8") for file in files)
    (dark,) = re.findall(r"prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}\s*\}", styles, re.S)
    assert re.fullmatch(r"(\s*--\w+: #[0-9a-f]{6};)+\s*", dark)
    assert len(re.findall(r"prefers-color-scheme|light-dark\(", styles)) == 1


@pytest.mark.parametrize("draw", [charts.intervals, None])
def test_no_line_across_a_narrow_chart_passes_through_the_words_above_an_interval(draw):
    held = [Held(name=f"model-{i}", verdict="pass", value=0.1, low=0.0, high=0.2, told="a change") for i in range(3)]
    narrow = (
        draw(rows(), label="i", chance=0.25, width=PHONE_WIDTH)
        if draw
        else against_line(held, label="c", unit="share", bound=0.05, is_floor=True, before=0.1, width=PHONE_WIDTH)
    )
    words = [float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)"[^>]*class="name"', narrow)]
    pieces = re.findall(r'<path d="([^"]+)" class="(?:chance|bound)"', narrow)
    spans = [(float(y), float(y) + 19) for one in pieces for y in re.findall(r"M[\d.]+ ([\d.]+)v19", one)]
    assert len(spans) == len(words) * len(pieces)
    assert not [y for y in words for low, high in spans if low < y + 2 and high > y - 9]
    assert "<line" not in narrow


def test_a_chart_too_full_for_names_tells_its_front_in_words_from_left_to_right():
    many = [msgspec.structs.replace(one, is_front=i in (9, 2, 5)) for i, one in enumerate(marks(13))]
    assert [key.slot for key in _front(many, "USD")] == [2, 5, 9]
    assert _front(many, "USD")[0].name == "model-2: 50.0 % (45.0 to 55.0) at $0.009 ($0.0081 to $0.0108)"
    assert _front(many[:12], "USD") == ()


def test_what_one_request_took_needs_no_exponent():
    assert price_text(5e-7) == "0.0005 USD for 1,000"
    assert price_text(2e-6, "${}") == "$0.000002"
    assert price_text(0) == "0 USD"

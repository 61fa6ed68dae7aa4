"""Every report is looked at: light, dark and on a phone, no text is cut or lies on another, and axe finds nothing.

The pictures go to the folder that ``STEELYARD_PICTURES`` names. Needs Playwright and a Chromium.
"""

import fcntl
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import scenes
from looking import AXE, CHROMIUM, COLOUR_RULES, SHORTENED, VIEWS, WIDER, axe_source, faults_of, rules_for, shown

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser is driven")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
BY_NAME = {scene.__name__: scene for scene in (*scenes.STATES, *scenes.OF_DATA, scenes.local_model)}
SCENES = [
    *(scene.__name__ for scene in scenes.STATES),
    *(pytest.param(scene.__name__, marks=pytest.mark.data) for scene in scenes.OF_DATA),
    pytest.param("local_model", marks=[pytest.mark.data, pytest.mark.model]),
]
ITEMS_IN_A_PICTURE = 6
IN_EVERY_VIEW = ("four_models", "published_gsm8k", "local_model")
"""The others differ from these in what they say, not in how it is drawn: they are seen light, or where it is hard."""
OF_STATES = {"all_scripts": ("light", "narrow"), "verdict": ("dark",)}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """The folder of pictures."""
    named = os.environ.get("STEELYARD_PICTURES")
    folder = Path(named).absolute() if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Where scenes are played: one folder for all processes of tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "scenes"
    folder.mkdir(exist_ok=True)
    return folder


def address_of(name, stage, request):
    """The page of a scene, which is played once; one that was left half played is played again."""
    folder, page = stage / name, stage / name / "report.html"
    with (stage / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not page.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            given = () if BY_NAME[name] in scenes.STATES else (request.getfixturevalue("data_folder"),)
            with ThreadPoolExecutor(1) as apart:  # Playwright's loop runs in this thread, and a scene needs its own
                apart.submit(scenes.enact, BY_NAME[name], folder, *given).result()
    return page.as_uri()


@pytest.mark.parametrize("name", SCENES)
def test_a_report_is_fit_to_be_seen(name, browser, album, stage, request):
    address = address_of(name, stage, request)
    axe = axe_source()
    found = {}
    views = tuple(VIEWS) if name in IN_EVERY_VIEW else OF_STATES.get(name, ("light",))
    for view in views:
        with shown(browser, address, view) as page:
            page.evaluate(SHORTENED, [ITEMS_IN_A_PICTURE])
            page.screenshot(path=album / f"{name}-{view}.png", full_page=True)
            if view == "light" and name in IN_EVERY_VIEW:
                for place, figure in enumerate(page.locator("figure").all()):
                    figure.screenshot(path=album / f"{name}-chart-{place:02}.png")
            faults = faults_of(page, axe, rules_for(view, views))
            if page.evaluate(WIDER) > 0:
                faults.append(f"wider than the window by {page.evaluate(WIDER)} pixels")
            found |= {view: faults} if faults else {}
    assert found == {}


def test_axe_sees_what_nobody_can_read(browser, stage, request):
    """Without it the pages above are looked at by half."""
    axe = axe_source()
    if axe is None:
        pytest.skip("axe-core is not here: make extras")
    address = address_of("four_models", stage, request)
    for view, rules, html, missed in (
        ("light", None, "<input type=text>", "label"),
        ("dark", COLOUR_RULES, "<font color='#333333'>dark on dark</font>", "color-contrast"),
    ):
        with shown(browser, address, view) as page:
            page.evaluate("(html) => document.querySelector('main').insertAdjacentHTML('beforeend', html)", html)
            page.evaluate(axe)
            assert [fault.partition(":")[0] for fault in page.evaluate(AXE, rules)] == [missed]


def test_a_model_is_hidden_by_its_legend_with_the_keyboard_and_without_scripts(browser, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light", java_script_enabled=False) as page:
        figure = page.locator("figure", has=page.locator(".legend")).first
        lines = figure.locator("svg.chart:not(.narrow) g[class^='s'] > .line")
        assert [line.is_visible() for line in lines.all()] == [True] * 4
        figure.locator(".legend input").nth(1).focus()
        page.keyboard.press("Space")
        assert [line.is_visible() for line in lines.all()] == [True, False, True, True]
        other = page.locator("figure", has=page.locator(".legend")).nth(1)
        assert other.locator("svg.chart:not(.narrow) g[class='s1'] > .line").first.is_visible()


def test_a_report_is_whole_without_scripts(browser, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light", java_script_enabled=False) as page:
        assert not page.locator("form.filters").is_visible()
        assert page.locator(".item").count() == scenes.ITEMS
        page.locator(".item > summary").nth(3).click()
        assert page.locator(".item").nth(3).locator("pre").first.is_visible()


def test_scripts_filter_the_answers(browser, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light") as page:
        page.select_option("select[name=model]", "tiny")
        page.select_option("select[name=state]", "wrong")
        shown_items = page.locator(".item:not([hidden])").count()
        assert 0 < shown_items < scenes.ITEMS
        assert page.inner_text("#shown") == f"{shown_items} of {scenes.ITEMS} items"


def test_a_score_leads_to_the_answers_behind_it(browser, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light") as page:
        page.select_option("select[name=state]", "failed")
        assert page.inner_text("#shown") == f"0 of {scenes.ITEMS} items"
        page.locator("#matrix tbody tr", has_text="tiny").locator("td a").focus()
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('select[name=model] option:checked').textContent == 'tiny'")
        assert page.inner_text("#shown") == f"{scenes.ITEMS} of {scenes.ITEMS} items"
        page.wait_for_function("document.querySelector('form.filters').getBoundingClientRect().top < innerHeight")


def test_the_first_screen_tells_what_to_choose_how_sure_and_how_dear(browser, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light", viewport={"width": 1280, "height": 900}) as page:
        cards = page.locator(".card").all()
        assert len(cards) == 3
        assert all(card.bounding_box()["y"] + card.bounding_box()["height"] < 900 for card in cards)
        picked = page.locator(".card:not(.withheld)").first
        assert re.search(r"% .* right, .* at the median, .* USD for 1,000 requests", picked.inner_text())


def test_print_leaves_out_what_only_a_screen_can_use(browser, album, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "dark") as page:
        page.emulate_media(media="print")
        for hidden in ("nav.toc", "form.filters", ".legend input", ".item", ".findings details", ".card details"):
            assert not page.locator(hidden).first.is_visible(), hidden
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        printed = page.pdf(path=album / "four_models-print.pdf", format="A4")
        assert printed.startswith(b"%PDF")


@pytest.mark.parametrize(("width", "media"), [(1200, "screen"), (1024, "screen"), (718, "print")])
def test_three_benchmarks_with_speed_and_cost_stand_beside_each_other(width, media, browser, stage, request):
    """On paper what is wider makes every letter smaller; 718 pixels are what A4 leaves."""
    address = address_of("three_benchmarks", stage, request)
    with shown(browser, address, "light", viewport={"width": width, "height": 900}) as page:
        page.emulate_media(media=media)
        wide = "[...document.querySelectorAll('table')].map((one) => one.scrollWidth - one.parentElement.clientWidth)"
        assert max(page.evaluate(wide)) <= 0


def test_every_mark_tells_its_value_to_whoever_points_at_it(browser, stage, request):
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light") as page:
        untold = page.evaluate(
            "[...document.querySelectorAll('svg.chart .solid, svg.chart .hollow')]"
            ".filter(one => !one.closest('g').querySelector(':scope > title')).length"
        )
        assert untold == 0


@pytest.mark.parametrize(("width", "media"), [(1280, "screen"), (768, "screen"), (390, "screen"), (718, "print")])
def test_letters_of_charts_are_read_at_every_width(width, media, browser, stage, request):
    """At least 11 pixels high on a screen and on paper, and one chart of each figure is seen."""
    address = address_of("four_models", stage, request)
    with shown(browser, address, "light", viewport={"width": width, "height": 900}) as page:
        page.emulate_media(media=media)
        letters = page.evaluate(
            "[...document.querySelectorAll('svg.chart')].filter((one) => one.getClientRects().length)"
            ".map((one) => one.getScreenCTM().a * parseFloat(getComputedStyle(one).fontSize))"
        )
        assert len(letters) == page.locator("figure").count()
        assert min(letters) >= 11


def test_a_report_of_four_models_is_small_beside_its_samples(stage, request):
    address = address_of("four_models", stage, request)
    text = Path(address.removeprefix("file://")).read_text("utf-8")
    start, end = text.index('<div class="items">'), text.index('<section id="methods"')
    data = sum(len(part.partition('"')[0]) for part in text.split('href="data:')[1:])
    page = len(text.encode()) - len(text[start:end].encode()) - data
    assert page < 110_000


def test_a_report_of_forty_models_is_below_600_kilobytes(stage, request):
    address = address_of("forty_models", stage, request)
    assert Path(address.removeprefix("file://")).stat().st_size < 600_000


@pytest.mark.data
def test_a_report_of_thirteen_thousand_long_answers_is_below_half_a_megabyte(stage, request):
    address = address_of("published_bbh", stage, request)
    assert Path(address.removeprefix("file://")).stat().st_size < 500_000

"""Every page of the dashboard is looked at: light, dark and narrow, over real runs, published outputs and what strains.

The pictures go to the folder that ``STEELYARD_PICTURES`` names, where CI keeps them; the stores behind them stay there
too, so that a second look takes seconds. What a machine can see of a page is asserted: nothing is wider than the
window, no text of a chart is cut or lies on another, no word leaves its cell, and axe, where it is installed, finds
nothing.
"""

import fcntl
import os
import shutil
import time
from functools import partial
from pathlib import Path

import dashboard_scenes as scenes
import pytest
from looking import CHROMIUM, axe_source, faults_of, rules_for

from dashboard.boards import TOKEN, served
from steelyard.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser is driven")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
REAL = {
    "runs": "/",
    "run": "/runs/2",
    "answers": "/runs/2/answers?benchmark=starter@cloze&model=local/smollm2-135m",
    "slowest": "/runs/2/answers?benchmark=starter@cloze&model=local/smollm2-135m&order=slowest",
    "answer": "/answers/140",
    "item": "/item?name=starter/biology/2",
    "compare": "/compare?run=1&run=2",
    "trends": "/trends",
    "baselines": "/baselines",
    "baseline": "/baselines/main@1",
    "gate": "/runs/2/gate?baseline=main&margin=accuracy%3D0.05%3B+latency.p50%3D50%25&require=accuracy+%3E%3D+0.2",
    "cost": "/money",
    "provenance": "/runs/2/provenance",
    "search": "/search?q=7",
    "search-nothing": "/search?q=nowhere-to-be-found",
    "not-found": "/runs/99",
    "bad-address": "/?order=x",
}
PUBLISHED = {
    "runs": "/",
    "run": "/runs/1",
    "answers-wrong": "/runs/1/answers?state=wrong",
    "answers-text": "/runs/1/answers?text=duck",
    "item": "/item?name=gsm8k/test/0",
    "compare-models": "/compare?run=1",
    "compare-across": "/compare?run=2&run=3&across=protocol",
    "compare-refused": "/compare?run=2&run=3",
    "bbh": "/runs/3",
    "cases": "/cases?run=1&shown=differ",
    "trends": "/trends?model=support-bot",
    "search": "/search?q=lemonade",
}
STRAINED = {
    "runs": "/",
    "forty": "/runs/1",
    "forty-answers": "/runs/1/answers?state=wrong",
    "forty-item": "/item?name=quiz/3",
    "one": "/runs/2",
    "no-price": "/runs/3",
    "nothing-came-back": "/runs/4",
    "nothing-came-back-answers": "/runs/4/answers?state=failed",
    "scripts": "/runs/5",
    "live": "/runs/6",
    "long-name": "/runs/7",
    "long-name-answer": "/runs/7/answers",
    "nothing-asked": "/runs/8",
    "nothing-asked-answers": "/runs/8/answers",
    "cost": "/money",
    "trends": "/trends",
    "compare-empty": "/compare",
    "compare-forty": "/compare?run=1",
}
GATED = {
    "nothing-asked": "/runs/2/gate",
    "one-model": "/runs/2/gate?baseline=main&margin=accuracy%3D0.02&model=openai/gpt-x",
    "several": "/runs/2/gate?baseline=main&margin=accuracy%3D0.05%3B+cost.total%3D10%25&require=accuracy+%3E%3D+0.7",
    "forty": "/runs/4/gate?baseline=forty&margin=accuracy%3D0.1",
    "refused": "/runs/2/gate?baseline=main&margin=accuracy%3D20%25",
    "baseline": "/baselines/main@1",
}
EMPTY = {
    "runs": "/",
    "compare": "/compare",
    "trends": "/trends",
    "baselines": "/baselines",
    "cost": "/money",
    "search": "/search",
}

REFUSED = ("not-found", "bad-address", "compare-refused", "refused")
"""Pages that say why they show nothing."""
PICTURED = "/compare?run=16&run=17"
"""What docs/pictures/dashboard.png shows."""
LARGEST_PICTURE = 250_000
TALLEST = 7_000
"""Pixels of a page that a picture shows."""
PATIENCE_MS = 120_000
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    named = os.environ.get("STEELYARD_PICTURES")
    place = Path(named).resolve() if named else tmp_path_factory.mktemp("pictures")
    (place / "stores").mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def made(folder, name, make):
    """A store, made once, also where tests of several processes need it; one that was left half made is made again."""
    place, half = folder / "stores" / f"{name}.db", folder / "stores" / f"half-{name}"
    with (folder / "stores" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            make(half / f"{name}.db")
            for file in half.iterdir():
                file.rename(folder / "stores" / file.name)
    return place


def take(page, picture, width):
    """The picture of a page; of one that changed its height just then, once more."""
    for is_last in (False, True):
        height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
        shot = {"x": 0, "y": 0, "width": width, "height": height}
        try:
            page.screenshot(path=picture, full_page=True, clip=shot, timeout=PATIENCE_MS)
            return
        except playwright.Error:
            if is_last:
                raise


def go_to(page, address):
    """The page, with all that is made meanwhile; where the one before it loads itself anew just then, once more."""
    try:
        shown = page.goto(address, timeout=PATIENCE_MS)
    except playwright.Error as error:
        if "ERR_ABORTED" not in str(error):
            raise
        shown = page.goto(address, timeout=PATIENCE_MS)
    page.wait_for_function("!document.querySelector('.meanwhile')", timeout=PATIENCE_MS)
    return shown


def look_at(browser, folder, scene, port, pages, looks=tuple(LOOKS)):
    """Take every picture; return what is wrong with the pages."""
    wrong, axe = [], axe_source()
    for look in looks:
        settings = LOOKS[look]
        context = browser.new_context(**settings, bypass_csp=axe is not None)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/?token={TOKEN}")
        for name, path in pages.items():
            shown = go_to(page, f"http://127.0.0.1:{port}{path}")
            if shown.status >= 400 and name not in REFUSED:
                wrong.append(f"{scene} {name}, {look}: not shown ({shown.status})")
            (folder / look).mkdir(exist_ok=True)
            take(page, folder / look / f"dashboard-{scene}-{name}.png", settings["viewport"]["width"])
            if (pixels := page.evaluate(OVERFLOW)) > 0:
                wrong.append(f"{scene} {name}, {look}: {pixels} pixels wider than the window")
            wrong += [f"{scene} {name}, {look}: {text}" for text in faults_of(page, axe, rules_for(look, looks))]
        context.close()
    return wrong


@pytest.mark.model
def test_pages_of_real_runs_are_well_made(browser, folder):
    with Store.open(made(folder, "real", scenes.real)) as store, served(store) as port:
        assert look_at(browser, folder, "real", port, REAL) == []


@pytest.mark.data
def test_pages_of_published_outputs_are_well_made(browser, folder, data_folder, monkeypatch):
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    place = made(folder, "published", partial(scenes.published, data=data_folder))
    with Store.open(place) as store, served(store) as port:
        assert look_at(browser, folder, "published", port, PUBLISHED) == []


def test_pages_under_strain_are_well_made_where_there_is_least_room(browser, folder, tmp_path):
    scenes.strained(tmp_path / "strained.db")
    with Store.open(tmp_path / "strained.db") as store, served(store) as port:
        assert look_at(browser, folder, "strained", port, STRAINED, looks=("narrow",)) == []


def test_gates_are_well_made(browser, folder, tmp_path):
    with Store.open(tmp_path / "gated.db") as store:
        scenes.gated(store)
        with served(store) as port:
            assert look_at(browser, folder, "gate", port, GATED) == []


def test_cascades_are_well_made(browser, folder, tmp_path):
    with Store.open(tmp_path / "cascaded.db") as store:
        scenes.cascaded(store)
        pages = {
            "choice": "/cascade?run=1",
            "frontier": f"/cascade?run=1&cheap=small/cheap-one&dear={scenes.LONG.format(7)}&within=2",
        }
        with served(store) as port:
            assert look_at(browser, folder, "cascade", port, pages) == []


def test_an_empty_store_says_what_to_do_next(browser, folder, tmp_path):
    with Store.open(tmp_path / "empty.db") as store, served(store) as port:
        assert look_at(browser, folder, "empty", port, EMPTY) == []


@pytest.mark.model
@pytest.mark.data
def test_a_run_on_its_way_and_the_picture_of_the_readme(browser, folder, data_folder, tmp_path, monkeypatch):
    """The page of a run that the local model is in the middle of; then the picture that the README shows."""
    shutil.copy(made(folder, "real", scenes.real), tmp_path / "live.db")
    process = scenes.ask_local_model(tmp_path / "live.db", name="third night")
    try:
        with Store.open(tmp_path / "live.db") as store, served(store) as port:
            wait_for(lambda: store.runs(1)[0].number == 3 and store.progress(store.runs(1)[0].id).done > 400)
            assert look_at(browser, folder, "live", port, {"run": "/runs/3", "runs": "/"}) == []
    finally:
        process.terminate()
        process.communicate(timeout=60)
    monkeypatch.setenv("STEELYARD_DATA", str(data_folder))
    place = made(folder, "published", partial(scenes.published, data=data_folder))
    with Store.open(place) as store, served(store) as port:
        context = browser.new_context(color_scheme="light", viewport={"width": 1200, "height": 940})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/?token={TOKEN}")
        page.goto(f"http://127.0.0.1:{port}{PICTURED}", timeout=PATIENCE_MS)
        picture = folder / "dashboard.png"
        page.screenshot(path=picture, timeout=PATIENCE_MS)
        context.close()
    assert picture.stat().st_size < LARGEST_PICTURE


def wait_for(is_so, within_s=300.0):
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)

"""In a real browser: whatever a model, a data set or an address says stays text; scripts are a help, not a need.

Needs Playwright and a Chromium (``STEELYARD_CHROMIUM`` names it, else it is looked for); left out where there is none.
"""

import csv
import os
import shutil
import threading
import time
from urllib.parse import quote, urlencode

import msgspec
import pytest
from boards import REFUSED, TOKEN, TRIED, cell_info, estimate, judged, new_call, served

from pictures.looking import axe_source, faults_of
from steelyard.providers.by_hand import request_by_hand
from steelyard.report.curl import curl_command
from steelyard.store import Store
from steelyard.store.transfer.taking import snapshot
from steelyard.types import Attempt, CellSign, Failure, Message, Prompt, Sign, Wait

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser is driven")
CHROMIUM = os.environ.get("STEELYARD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

ELSEWHERE = "http://127.0.0.1:9/v1"
COUNTED = """
window.asked = window.answered = 0;
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (...told) {
  window.asked += 1;
  this.addEventListener("loadend", () => { window.answered += 1; });
  send.apply(this, told);
};
"""
SEEN_AGAIN = """async () => {
  const seen = (is) => {
    Object.defineProperty(document, "hidden", { value: !is, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  seen(false);
  while (asked > answered) await new Promise((done) => setTimeout(done, 20));
  const before = asked;
  seen(true);
  seen(true);
  return asked - before;
}"""
LINES = """(one) => {
  const words = document.createRange();
  words.selectNodeContents(one);
  return new Set([...words.getClientRects()].map((line) => line.top)).size;
}"""
RAN = "window.ran=(window.ran||0)+1"
HOSTILE = [
    f"<script>{RAN}</script>",
    f"<img src=x onerror='{RAN}'>",
    f"<svg/onload={RAN}>",
    f"<svg><script>{RAN}</script></svg>",
    f"<iframe srcdoc='<script>parent.{RAN}</script>'></iframe>",
    f"<details open ontoggle={RAN}><summary>x</summary></details>",
    f"<body onload={RAN}>",
    f"<input autofocus onfocus={RAN}>",
    f"<video><source onerror={RAN}></video>",
    f"<marquee onstart={RAN}>x</marquee>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={RAN}>",
    f"</pre><script>{RAN}</script>",
    f"</textarea></title></style></script><script>{RAN}</script>",
    f"--><script>{RAN}</script><!--",
    f'"><script>{RAN}</script>',
    f"'><img src=x onerror={RAN}>",
    f'" onmouseover="{RAN}" autofocus onfocus="{RAN}" x="',
    f"javascript:{RAN}",
    f"[link](javascript:{RAN})",
    f"{{{{ {RAN} }}}}{{% raw %}}{{{{ 7*7 }}}}{{{{ cycler.__init__.__globals__.os.popen('id').read() }}}}",
    f"${{{RAN}}}`{RAN}`",
    f"<a href='javascript:{RAN}'>click</a>",
    f"<form action='javascript:{RAN}'><button>send</button></form>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<base href='http://evil.example/'>",
    "<link rel=stylesheet href='http://evil.example/x.css'>",
    "<style>@import 'http://evil.example/x.css'; body{display:none}</style>",
    "<img src='http://evil.example/x.png'>",
    f"<object data='data:text/html,<script>{RAN}</script>'></object>",
    f"<embed src='data:text/html,<script>{RAN}</script>'>",
    "\u003cscript\u003e\\u003cscript\\u003e",
    "+ADw-script+AD4-" + RAN,
    f"<scr\x00ipt>{RAN}</scr\x00ipt>",
    f"<<script>script>{RAN}<</script>/script>",
    f"&lt;script&gt;{RAN}&lt;/script&gt;",
    "\u202e\u2066right to left\u2069\u200b",
    "]]><![CDATA[<script>" + RAN + "</script>",
    f"<noscript><p title='</noscript><img src=x onerror={RAN}>'></noscript>",
    f"<title><script>{RAN}</script></title>",
    f"<template><script>{RAN}</script></template><portal src='javascript:{RAN}'>",
]


BESIDES = " besides"
"""What the second model says behind it."""
TURNS = 4 * len(HOSTILE) + 1
"""The answer to a prompt of many turns: behind those of two runs of two models."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("hostile") / "s.db") as opened:
        for place in range(2):
            fill(opened, place)
        turn_by_turn(opened)
        opened.baselines.set("main", snapshot(opened, opened.run("1")), note=HOSTILE[12])
        yield opened


def fill(store, turn):
    """A run in which every text that anyone else may choose is hostile."""
    mark = HOSTILE[12]
    run = store.create_run(name=f"run {turn} {mark}", plan={"note": mark}, plan_digest="0" * 64, tags=[mark])
    models = (f"good {mark}", f"bad {HOSTILE[16]}\u202e\x1b[31m")
    left_out = {model: dict.fromkeys(HOSTILE, mark) for model in models}
    session = store.begin_session(run.id, {"git": mark, "packages": {mark: mark}, "settings_left_out": left_out})
    for model in models:
        info = cell_info(
            model=model,
            benchmark="quiz",
            part=mark,
            items=len(HOSTILE),
            available=len(HOSTILE),
            origin=ELSEWHERE,
            settings={"model": {"id": model, "provider": "openai", "model": mark, "base_url": ELSEWHERE}},
        )
        cell = store.add_cell(run.id, info)
        calls = [hostile_call(cell, session, place, model, BESIDES * ("bad" in model)) for place in range(len(HOSTILE))]
        ids = store.append_calls(calls)
        values = [float((place + turn + len(model)) % 2) for place in range(len(HOSTILE))]
        store.append_scores(
            [
                judged(number, value, answer=text, reason=text, cell=info)
                for number, value, text in zip(ids, values, HOSTILE, strict=True)
            ]
        )
        store.set_summary(cell, [estimate("accuracy", sum(values) / len(values)), estimate(f"accuracy/{mark}", 0.5)])
    store.end_session(session, {})
    store.set_status(run.id, "done")


def turn_by_turn(store):
    """A run of one answer, to a prompt in which every turn is hostile."""
    run = store.create_run(name="turn by turn", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, {}), store.add_cell(run.id, cell_info(benchmark="turns", items=1))
    asked = new_call(cell, session, 0, name="turns/0")
    messages = tuple(
        Message(role=("user", "assistant")[place % 2], content=text) for place, text in enumerate([*HOSTILE, "last"])
    )
    request = msgspec.structs.replace(asked.call.request, prompt=Prompt(kind="chat", messages=messages))
    call = msgspec.structs.replace(asked.call, request=request)
    store.append_calls([msgspec.structs.replace(asked, call=call)])
    store.end_session(session, {})
    store.set_status(run.id, "done")


def hostile_call(cell, session, place, model, besides=""):
    text = HOSTILE[place]
    failure = Failure(kind="server", message=text, status=500)
    tried = (Attempt(failure=failure, duration_s=0.1, wait_s=0.1),)
    return new_call(
        cell,
        session,
        place,
        text=text + besides,
        question=text,
        name=f"{place}/{text}",
        attempts=tried,
        model=model,
        reported=text,
    )


PATHS = [
    "/",
    "/?" + urlencode({"text": HOSTILE[14], "tag": HOSTILE[16]}),
    "/runs/1",
    "/runs/1/answers",
    "/runs/1/answers?" + urlencode({"text": HOSTILE[14], "model": HOSTILE[15]}),
    "/runs/1/provenance",
    *(f"/answers/{number}" for number in range(1, len(HOSTILE) + 1)),
    *(f"/answers/{number}?against=2" for number in (1, 2)),
    "/answers/1?" + urlencode({"against": 2, "find": "<script>"}),
    "/answers/1?" + urlencode({"against": 2, "text": HOSTILE[14], "stratum": HOSTILE[16]}),
    f"/answers/{TURNS}",
    f"/answers/{TURNS}?find=script",
    "/runs/1/answers?" + urlencode({"model": f"good {HOSTILE[12]}", "where": "score < 1"}),
    "/runs/1/answers?" + urlencode({"model": f"good {HOSTILE[12]}", "stratum": HOSTILE[14]}),
    "/runs/1/answers?" + urlencode({"where": HOSTILE[14], "stratum": HOSTILE[16]}),
    *("/item?" + urlencode({"name": f"{place}/{text}"}) for place, text in enumerate(HOSTILE)),
    "/item?" + urlencode({"name": HOSTILE[0]}),
    "/compare?run=1&run=2&most=200",
    "/compare?" + urlencode({"run": HOSTILE[0]}),
    "/compare?" + urlencode({"run": 1, "metric": HOSTILE[14]}),
    "/trends",
    "/trends?" + urlencode({"metric": HOSTILE[0]}),
    "/baselines/" + quote(HOSTILE[0], safe=""),
    "/baselines/main@1",
    "/runs/2/gate",
    "/runs/2/gate?" + urlencode({"baseline": "main", "margin": "accuracy=0.02", "require": "accuracy >= 0.4"}),
    "/runs/2/gate?" + urlencode({"baseline": "main", "margin": f"accuracy={HOSTILE[14]}", "require": HOSTILE[16]}),
    "/runs/2/gate?" + urlencode({"baseline": HOSTILE[14], "margin": "accuracy=0.02", "model": HOSTILE[12]}),
    "/runs/2/gate?" + urlencode({"baseline": "main", "margin": "accuracy=0.02", "benchmark": HOSTILE[16]}),
    "/cascade?run=1",
    "/cascade?" + urlencode({"run": 1, "cheap": f"good {HOSTILE[12]}", "dear": f"bad {HOSTILE[16]}\u202e\x1b[31m"}),
    "/cascade?" + urlencode({"run": 1, "cheap": HOSTILE[14], "dear": HOSTILE[0], "within": "2"}),
    "/cascade?" + urlencode({"run": 1, "within": HOSTILE[14]}),
    "/money",
    "/search?" + urlencode({"q": "x"}),
    "/search?" + urlencode({"q": HOSTILE[14]}),
    "/" + quote(HOSTILE[1], safe=""),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def port(store):
    with served(store) as at:
        yield at


class Watched:
    """A page whose every complaint, dialog and request is kept."""

    def __init__(self, browser, port, **context):
        self.port, self.said, self.requests = port, [], []
        self.context = browser.new_context(**context)
        self.context.add_init_script(
            "document.addEventListener('securitypolicyviolation', "
            "one => console.error('violation: ' + one.violatedDirective))"
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.open(f"/?token={TOKEN}")

    def open(self, path):
        return self.page.goto(f"http://127.0.0.1:{self.port}{path}", wait_until="load")

    @property
    def complaints(self):
        return [text for text in self.said if "status of 404" not in text and "status of 400" not in text]

    @property
    def strangers(self):
        return [url for url in self.requests if not url.startswith(f"http://127.0.0.1:{self.port}/")]


def test_nothing_hostile_runs_and_the_policy_is_never_broken(browser, port):
    watched = Watched(browser, port)
    for path in PATHS:
        watched.open(path)
        page = watched.page
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("window.ran") is None, path
        assert (
            page.evaluate("document.querySelectorAll('main script, main style, main iframe, main object').length") == 0
        )
        assert page.evaluate("document.querySelectorAll('main [onerror], main [onload], main [style]').length") == 0
        assert page.evaluate("[...document.links].every(one => one.protocol === 'http:')"), path
        assert not page.evaluate(r"/[\u202a-\u202e\u2066-\u2069\u001b]/.test(document.body.innerText)"), path
    assert watched.complaints == []
    assert watched.strangers == []
    watched.context.close()


def test_a_command_is_copied_as_a_shell_must_read_it_whatever_was_asked(browser, port, store):
    watched = Watched(browser, port, permissions=["clipboard-read", "clipboard-write"])
    for number, text in list(enumerate(HOSTILE, start=1))[::4]:
        watched.open(f"/answers/{number}")
        watched.page.get_by_text("This call, as a request").click()
        command = watched.page.locator("details[open] pre", has_text="curl --no-buffer")
        command.locator("xpath=preceding-sibling::button[1]").click()
        watched.page.get_by_text("Copied").wait_for()
        copied = watched.page.evaluate("navigator.clipboard.readText()")
        found = store.history.call(number)
        assert copied == curl_command(request_by_hand(found.cell, found.record, {})), text
    watched.context.close()


def test_what_a_model_wrote_is_read_to_the_letter(browser, port):
    watched = Watched(browser, port)
    for number, text in enumerate(HOSTILE, start=1):
        if text.isprintable():
            watched.open(f"/answers/{number}")
            assert watched.page.locator("pre").nth(1).text_content() == text
    watched.open(
        f"/answers/{1 + HOSTILE.index(chr(0x202E) + chr(0x2066) + 'right to left' + chr(0x2069) + chr(0x200B))}"
    )
    assert watched.page.locator("pre").nth(1).text_content() == "\\u202e\\u2066right to left\\u2069\\u200b"
    watched.context.close()


def test_both_answers_are_read_to_the_letter_and_marked_is_what_only_one_of_them_said(browser, port):
    watched, marks = Watched(browser, port), {"ins": 0, "del": 0}
    replies = watched.page.locator("section:has(> h2 .tag) > pre")
    for number, text in list(enumerate(HOSTILE, start=1))[::3]:
        if text.isprintable():
            for path, said in ((f"{number}?against=2", [text, text + BESIDES]),
                               (f"{len(HOSTILE) + number}?against=1", [text + BESIDES, text])):  # fmt: skip
                watched.open(f"/answers/{path}")
                assert replies.all_text_contents() == said
                for mark in marks:
                    found = watched.page.locator(f"pre {mark}").all_text_contents()
                    assert found in ([], ["besides"]), text
                    marks[mark] += len(found)
    assert marks["ins"] == marks["del"] > len(HOSTILE) / 6
    assert watched.complaints == []
    watched.context.close()


def test_every_turn_of_a_prompt_is_read_to_the_letter_and_earlier_ones_are_folded(browser, port):
    watched = Watched(browser, port)
    watched.open(f"/answers/{TURNS}")
    turns = watched.page.locator("section:has(h2:text-is('Asked')) pre")
    said = turns.all_text_contents()
    assert [one for one, text in zip(said, HOSTILE, strict=False) if text.isprintable()] == [
        text for text in HOSTILE if text.isprintable()
    ]
    assert said[-1] == "last"
    assert [turns.first.is_visible(), turns.last.is_visible()] == [False, True]
    watched.page.locator("summary", has_text=f"{len(HOSTILE)} turns before the last").press("Enter")
    assert turns.first.is_visible()
    watched.context.close()


def test_an_answer_is_put_beside_anothers_and_stays_there_without_scripts(browser, port):
    watched = Watched(browser, port, java_script_enabled=False)
    page = watched.page
    watched.open("/answers/1?state=right")
    page.click("nav[aria-label^='Other models'] a >> text=bad")
    assert page.locator("pre ins").all_text_contents() == ["besides"]
    page.click("a[rel=next]")
    assert "against=2" in page.url
    assert page.locator("h2 .tag").count() == 2
    page.fill("input[name=find]", "script")
    page.click("button:text-is('Mark')")
    assert "against=2" in page.url
    page.click("text=nobody's")
    assert page.locator("h2 .tag").count() == 0
    assert watched.complaints == []
    watched.context.close()


def test_the_keyboard_goes_from_answer_to_answer_with_anothers_beside_it(browser, port):
    watched = Watched(browser, port)
    page = watched.page
    watched.open("/answers/1")
    chip = page.locator("nav[aria-label^='Other models'] a", has_text="bad")
    chip.focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    for key, number in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        with page.expect_navigation():
            page.keyboard.press(key)
        assert page.url.endswith(f"/answers/{number}?against=2")
    assert watched.complaints == []
    watched.context.close()


@pytest.mark.parametrize("has_scripts", [True, False])
def test_what_is_sought_is_downloaded_by_a_click(browser, port, has_scripts):
    watched = Watched(browser, port, java_script_enabled=has_scripts, accept_downloads=True)
    watched.open("/runs/1/answers?" + urlencode({"model": f"good {HOSTILE[12]}", "where": "score < 1"}))
    with watched.page.expect_download() as awaited:
        watched.page.click("main a:text-is('CSV')")
    assert awaited.value.suggested_filename == "steelyard-run-1-answers.csv"
    with open(awaited.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert 0 < len(rows) < len(HOSTILE)
    assert {row["accuracy"] for row in rows} == {"0.0"}
    assert watched.complaints == []
    watched.context.close()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 390)])
def test_axe_finds_nothing_on_the_pages_of_answers(browser, port, scheme, width):
    if (axe := axe_source()) is None:
        pytest.skip("axe is not installed")
    watched = Watched(browser, port, color_scheme=scheme, viewport={"width": width, "height": 844}, bypass_csp=True)
    for path in ("/answers/1?against=2", f"/answers/{len(HOSTILE) + 2}?against=1&find=script", f"/answers/{TURNS}",
                 "/runs/1/answers?" + urlencode({"model": f"good {HOSTILE[12]}", "where": "score < 1"})):  # fmt: skip
        watched.open(path)
        watched.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert faults_of(watched.page, axe) == [], path
        assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    watched.context.close()


def test_hover_focus_and_clicks_run_nothing_either(browser, port):
    watched = Watched(browser, port)
    for path in ("/", "/runs/1/answers", "/compare?run=1&run=2", "/money", "/trends"):
        watched.open(path)
        watched.page.wait_for_function("!document.querySelector('.meanwhile')")  # what comes later exchanges elements
        for link in watched.page.locator("main a, main g, main summary").all()[:25]:
            if link.is_visible():
                link.hover(force=True, timeout=30_000)
        for _ in range(25):
            watched.page.keyboard.press("Tab")
    assert watched.page.evaluate("window.ran") is None
    assert watched.complaints == []
    watched.context.close()


def test_the_policy_would_stop_what_escaping_let_through(browser, port):
    """The second lock: markup that is put into the page by force runs nothing and fetches nothing."""
    watched = Watched(browser, port, bypass_csp=False)
    watched.open("/")
    watched.page.evaluate(
        "() => { const image = document.createElement('img'); image.src = 'http://evil.example/x.png';"
        "document.body.append(image); const script = document.createElement('script');"
        f"try {{ script.textContent = '{RAN}'; document.body.append(script); }}"
        "catch (error) { console.error('violation: ' + error.name); } }"
    )
    watched.page.wait_for_timeout(300)
    assert watched.page.evaluate("window.ran") is None
    assert any("violation" in text for text in watched.said)
    watched.context.close()


def test_another_sites_page_reads_and_changes_nothing(browser, port):
    watched = Watched(browser, port)
    foreign = watched.context.new_page()
    body = (
        f"<iframe src='http://127.0.0.1:{port}/'></iframe><img src='http://127.0.0.1:{port}/static/x'>"
        f"<form method=post action='http://127.0.0.1:{port}/runs/1/tag'><input name=tag value=stolen></form>"
    )
    foreign.route("http://localhost:1/", lambda route: route.fulfill(body=body, content_type="text/html"))
    foreign.goto("http://localhost:1/")
    read = foreign.evaluate(
        f"fetch('http://127.0.0.1:{port}/', {{credentials: 'include'}}).then(r => r.text(), e => 'refused')"
    )
    assert read == "refused"
    assert "Runs" not in (foreign.frames[1].content() if len(foreign.frames) > 1 else "")
    with foreign.expect_navigation():
        foreign.evaluate("document.forms[0].submit()")
    assert "Refused" in foreign.content()
    watched.open("/")
    assert "stolen" not in watched.page.content()
    watched.context.close()


def test_a_link_from_elsewhere_opens_with_one_more_click(browser, port):
    watched = Watched(browser, port)
    foreign = watched.context.new_page()
    link = f"<a href='http://127.0.0.1:{port}/runs/1/answers?state=wrong'>look</a>"
    foreign.route("http://localhost:1/", lambda route: route.fulfill(body=link, content_type="text/html"))
    foreign.goto("http://localhost:1/")
    foreign.click("text=look")
    assert "Refused" in foreign.content()
    foreign.click("text=open the page")
    assert foreign.locator("h1").inner_text().startswith("Answers of")
    watched.context.close()


def test_the_pages_work_without_scripts(browser, port):
    watched = Watched(browser, port, java_script_enabled=False)
    page = watched.page
    page.check("input[value='1']")
    page.check("input[value='2']")
    page.click("text=Compare those ticked")
    assert "What turned" in page.inner_text("main")
    page.fill("#q", "9/")
    page.press("#q", "Enter")
    assert "Items" in page.inner_text("main")
    watched.open("/runs/1/answers")
    page.select_option("select[name=state]", "wrong")
    page.click("form.filters button")
    assert "state=wrong" in page.url
    page.locator("tbody th a").first.click()
    assert "How it was judged" in page.inner_text("main")
    watched.open("/runs/2")
    page.fill("#tag", "by hand")
    page.click("button:text-is('Tag')")
    assert "by hand" in page.inner_text(".tools")
    page.click("button[aria-label='remove the tag by hand']")
    assert "by hand" not in page.inner_text(".tools")
    assert watched.complaints == []
    watched.context.close()


def test_scripts_make_filters_and_search_quicker(browser, port):
    watched = Watched(browser, port)
    watched.open("/runs/1/answers")
    with watched.page.expect_navigation():
        watched.page.select_option("select[name=state]", "wrong")
    assert "state=wrong" in watched.page.url
    watched.page.keyboard.press("/")
    assert watched.page.evaluate("document.activeElement.id") == "q"
    assert watched.complaints == []
    watched.context.close()


def test_a_word_of_a_runs_name_is_not_broken_and_all_columns_are_seen(browser, tmp_path):
    with Store.open(tmp_path / "s.db") as store, served(store) as at:
        run = store.create_run(name="nightly verification", plan={}, plan_digest="0" * 64)
        for model in ("openai/a-model", "openai/another-model"):
            cell = store.add_cell(run.id, cell_info(model=model, benchmark="gsm8k", protocol="zero-shot"))
            shares = [estimate("accuracy", 0.5, low=0.4, high=0.6), estimate("cost.total", 0.000342, unit="USD")]
            store.set_summary(cell, [*shares, estimate("attempted", 1319.0, unit="requests")])
        store.set_status(run.id, "budget")
        watched = Watched(browser, at, viewport={"width": 1280, "height": 800})
        link = watched.page.get_by_role("link", name="nightly verification")
        assert link.evaluate(LINES) == 2
        assert watched.page.locator(".scroll").evaluate("one => one.scrollWidth - one.clientWidth") == 0
        watched.context.close()


def test_a_run_is_followed_until_it_ends(browser, tmp_path):
    with Store.open(tmp_path / "s.db") as store:
        run = store.create_run(name="on its way", plan={}, plan_digest="0" * 64)
        session = store.begin_session(run.id, {})
        cell = store.add_cell(run.id, cell_info(items=20, available=20))
        store.append_calls([new_call(cell, session, 0, at_s=time.time())])
        with served(store) as port:
            watched = Watched(browser, port)
            watched.context.add_init_script(COUNTED)
            watched.open("/runs/1")
            assert "1 of 20" in watched.page.inner_text("#live")
            assert watched.page.evaluate(SEEN_AGAIN) == 1, "a page that is seen again asks at once, and once"
            more = [new_call(cell, session, place, at_s=time.time(), attempts=TRIED) for place in range(1, 12)]
            threading.Thread(target=store.append_calls, args=[more]).start()
            watched.page.wait_for_selector("text=12 of 20", timeout=60_000)
            store.append_calls([new_call(cell, session, 12, failure=REFUSED)])
            watched.page.wait_for_selector("text=of the newest 13; 1 server", timeout=60_000)
            limit = Wait(why="rate", n=3, for_s=40.0)
            store.signs.keep(session, Sign(told_s=time.time(), cells=(CellSign(cell=cell, waits=(limit,)),)))
            watched.page.click(".scroll")  # what was clicked has the focus, and is followed all the same
            watched.page.wait_for_selector("td.now >> text=3 waiting for the rate limit, 3", timeout=60_000)
            assert "65 % #1 on its way" in watched.page.title()
            assert watched.page.evaluate("document.activeElement.className") == "scroll"
            store.end_session(session, {})
            store.set_status(run.id, "done")
            watched.page.wait_for_selector("h1 .tag:text-is('done')", timeout=60_000)
            assert watched.complaints == []
            assert watched.strangers == []
            watched.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(browser, port, scheme, width):
    watched = Watched(browser, port, color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in ("/", "/runs/1", "/runs/1/answers", "/answers/1", "/item?name=" + quote(f"0/{HOSTILE[0]}"),
                 "/compare?run=1&run=2", "/cases?run=1&run=2", "/trends", "/baselines", "/money",
                 "/runs/2/gate?baseline=main&margin=accuracy%3D0.02", "/search?q=x",
                 "/none"):  # fmt: skip
        watched.open(path)
        assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    watched.context.close()

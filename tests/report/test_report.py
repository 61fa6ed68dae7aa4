"""``steelyard report`` as a user meets it: pages that open anywhere, and nothing a model wrote taken as markup."""

import base64
import contextlib
import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

import steelyard as sy
from steelyard.analysis.telling import Finding
from steelyard.cli import main
from steelyard.cli.serve import PORT
from steelyard.report.evidence import load_evidence
from steelyard.report.facts import cut_short, some
from steelyard.report.markdown import code, escaped, markdown_report
from steelyard.report.origins import _apart
from steelyard.report.unseen import visible
from steelyard.store import Store

HOSTILE = (
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "<svg/onload=document.title='pwned'>",
    "</pre></details><iframe src='javascript:parent.document.title=1'></iframe>",
    "</style><style>@import 'http://evil.example/x.css';</style>",
    "</script><script>document.title='pwned'</script>",
    "[click](javascript:document.title='pwned') ![x](http://evil.example/x.png)",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }} {% raw %}",
    "'\"><a href=javascript:alert(1)>x</a><base href=//evil.example><form action=//evil.example><input name=text>",
    "\u202egnp.exe \u200b\u0000\u001b[31mred\u0007 \ud7ff \ufeff",
    "@octocat #12 | a | b |\n::set-output name=x::y\n```\n# heading\nhttps://evil.example www.evil.example",
    '=HYPERLINK("http://evil.example")',
)
ALLOWED = set(
    "html head meta title style body a header h1 h2 h3 h4 p nav main section dl div dt dd small ul li span details "
    "summary strong table thead tr th tbody td svg g path circle line text figure figcaption form label input select "
    "option output pre code footer script".split()
)


def ok(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([str(word) for word in arguments]) == 0
    return printed.getvalue()


def imported(model, completions, *, name=None, **fields):
    """A run of ``model`` with these answers to items that ask for their own number."""
    rows = [{"sample_id": f"c{i}", "completion": text, **fields} for i, text in enumerate(completions)]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    called = ["--name", name] if name else []
    done = ok("import", "answers.jsonl", "--benchmark", "cases.jsonl", "--model", model, "--json", *called)
    return json.loads(done)["run"]


def write_cases(texts):
    Path("cases.jsonl").write_text(
        "".join(json.dumps({"question": text, "answer": str(i), "id": f"c{i}"}) + "\n" for i, text in enumerate(texts))
    )


def html(*arguments):
    ok("report", *arguments, "--html", "report.html")
    return Path("report.html").read_text("utf-8")


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.raw, self.text, self._inside = [], {"script": [], "style": []}, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        (self.raw[self._inside] if self._inside else self.text).append(data)


@pytest.fixture(scope="module")
def _hostile_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    names = ["<b>bold</b>", "model|`@octocat`"]
    timed = {"timing": {"total_s": 1.5, "ttft_s": 0.5}, "usage": {"input_tokens": 9, "output_tokens": 5}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("STEELYARD_STORE", raising=False)
        write_cases(HOSTILE)
        first = imported(names[0], HOSTILE, name="</title><script>alert(1)</script>", **timed)
        return folder, (first, imported(names[1], [str(i) for i in range(len(HOSTILE))]))


@pytest.fixture
def hostile(_hostile_store):
    """Two runs of answers that mean harm, in a store of this test's own."""
    folder, runs = _hostile_store
    shutil.copytree(folder, ".", dirs_exist_ok=True)
    return runs


def test_nothing_that_a_model_or_a_user_wrote_becomes_markup(hostile):
    page = Page(html(*hostile))
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for tag, attributes in page.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("style", "src", "action", "srcdoc")
        ]
        target = attributes.get("href", "#")
        is_run = re.fullmatch(rf"http://127\.0\.0\.1:{PORT}/runs/[0-9a-f]{{16}}", target) is not None
        assert is_run or target.startswith(("#", "data:text/csv;", "data:application/gzip;")), (tag, target)
    assert len(page.raw["script"]) == len(page.raw["style"]) == 1
    shown = "".join(page.text)
    for text in HOSTILE:
        assert visible(text).split("\n")[0] in shown


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(hostile):
    page = Page(html(*hostile))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256("".join(page.raw[kind]).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "base-uri 'none'; form-action 'none'" in policy
    assert "http://" not in "".join(page.raw["style"] + page.raw["script"])


def test_what_cannot_be_seen_is_written_out(hostile):
    text = html(*hostile)
    for letter in "\u202e\u200b\x00\x1b\x07\ufeff":
        assert letter not in text
    assert "\\u202egnp.exe" in text


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_runs_nothing_of_it(hostile):
    html(*hostile)
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom")
    done = subprocess.run(
        ["chromium", *flags, Path("report.html").absolute().as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    page = Page(done.stdout)
    title = done.stdout.split("<title>")[1].split("</title>")[0]
    assert title.startswith("Runs #1 ")
    assert "pwned" not in title
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "base", "link", "object")]
    assert "12 of 12 items" in done.stdout


def test_the_raw_data_is_in_the_page_and_safe_for_spreadsheets(hostile):
    page = Page(html(*hostile))
    links = {a["download"]: a["href"].partition(",")[2] for tag, a in page.tags if tag == "a" and "download" in a}
    assert set(links) == {"run-1-estimates.csv", "run-1-records.csv.gz"}
    estimates = list(csv.DictReader(io.StringIO(base64.b64decode(links["run-1-estimates.csv"]).decode())))
    accuracy = next(row for row in estimates if row["metric"] == "accuracy" and row["model"] == "<b>bold</b>")
    assert accuracy["n"] == "12"
    packed = base64.b64decode(links["run-1-records.csv.gz"])
    records = list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode())))
    assert len(records) == 24
    assert {row["latency_s"] for row in records if row["model"] == "<b>bold</b>"} == {"1.5"}


def test_the_same_records_give_the_same_page(hostile):
    assert html(*hostile) == html(*hostile)


def test_the_page_says_what_a_reader_needs(hostile):
    shown = " ".join("".join(Page(html(*hostile)).text).split())
    for words in (
        "Key findings", "Recommendations", "High-stakes decisions", "General tasks", "Real time", "What it cost",
        "Methods and provenance", "Raw data",
        "24 answers made elsewhere", "digests: data, prompts", "How that was found",
    ):  # fmt: skip
        assert words in shown


def test_what_to_choose_stands_before_what_was_found(hostile):
    page = html(*hostile)
    assert page.index('id="recommendations"') < page.index('id="findings"')


def test_a_score_leads_to_a_place_of_the_page(hostile):
    page = html(*hostile)
    led = re.findall(r'href="#(answers-\d+-\d+)"', page)
    assert led
    assert all(page.count(f'id="{place}"') == 1 for place in led)


def test_of_answers_made_elsewhere_it_is_not_said_how_they_were_sent():
    write_cases(["a", "b"])
    imported("m", ["0", "x"])
    page = html("1")
    assert "median first token, reliability (the answers were made elsewhere" in page
    assert "not streamed" not in page


def test_of_many_answers_to_an_item_it_is_said_at_its_head_how_many_came_out_how():
    write_cases([str(i) for i in range(3)])
    runs = [imported(f"m{place}", ["0", "1", "2" if place < 5 else "no"]) for place in range(8)]
    head = html(*runs).partition('<div class="items">')[2].partition("</summary>")[0]
    assert re.findall(r'class="tag (\w+)">([^<]*)<', head) == [("pass", "5 right"), ("fail", "3 wrong")]


def test_no_answer_is_said_to_be_stopped_by_its_own_end_and_no_failed_call_to_be_read():
    def asked(prompt):
        if prompt.endswith("0"):
            raise ValueError("no route")
        return sy.types.Completion(text="no", stop_reason="length" if prompt.endswith("1") else "stop")

    cases = [sy.Sample(id=f"c{i}", input=f"say {i}", target=str(i)) for i in range(3)]
    bench = sy.Benchmark(name="b", version="1", load=lambda _: cases, grade=lambda one, said: said.text == one.target)
    sy.run([sy.Function(asked, name="m")], [bench], on_message=lambda _: None)
    answers = html("last").partition('<div class="items">')[2].partition('<section id="methods"')[0]
    assert "stopped by length" in answers
    assert answers.count("stopped by") == 1
    assert answers.count("Read as") == 2
    assert "not scored" not in answers


def test_what_all_models_share_is_said_once_and_what_differs_a_row_each():
    found = _apart("Settings", "model", {
        "a": {"provider": "openai", "seed": "7", "timeout": "600"},
        "b": {"provider": "openai", "seed": "8", "timeout": "600"},
        "c": {"provider": "openai", "timeout": "600"},
    })  # fmt: skip
    assert found.shared == (("provider", "openai"), ("timeout", "600"))
    assert found.headings == ("seed",)
    assert found.rows == (("a", ("7",)), ("b", ("8",)), ("c", ("",)))


def test_of_one_model_all_settings_are_lines_and_there_is_no_table():
    found = _apart("Settings", "model", {"a": {"provider": "openai"}})
    assert (found.shared, found.headings, found.rows) == ((("provider", "openai"),), (), ())


def test_a_long_provenance_stands_compressed_among_the_raw_data(hostile, monkeypatch):
    assert "<summary>All of it" in html(*hostile)
    monkeypatch.setattr("steelyard.report.html.MOST_PROVENANCE", 100)
    page = html(*hostile)
    assert "<summary>All of it" not in page
    link = next(attrs for tag, attrs in Page(page).tags if attrs.get("download", "").endswith("-provenance.txt.gz"))
    told = gzip.decompress(base64.b64decode(link["href"].partition("base64,")[2])).decode()
    assert "plan_digest: " in told
    assert "packages:" in told


def test_times_of_the_raw_data_are_told_to_the_microsecond():
    write_cases(["0"])
    imported("m", ["0"], timing={"total_s": 1.23456789, "ttft_s": 0.1})
    link = next(attrs for tag, attrs in Page(html("last")).tags if "records" in attrs.get("download", ""))
    (row,) = csv.DictReader(
        io.StringIO(gzip.decompress(base64.b64decode(link["href"].partition("base64,")[2])).decode())
    )
    assert (row["latency_s"], row["ttft_s"]) == ("1.234568", "0.1")


def test_long_names_leave_room_for_the_number_that_they_stand_beside():
    assert some([f"m{place}" for place in range(6)]) == "m0, m1, m2, m3 and 2 more"
    assert some([f"{'x' * 60}{place}" for place in range(6)]) == f"{'x' * 60}0 and 5 more"
    assert some(["x" * 200]) == "x" * 200


def test_a_list_that_is_cut_stands_whole_where_it_is_opened():
    assert cut_short(["a", "b"]) == ()
    assert cut_short(["x" * 200]) == ()
    names = tuple(f"m{place}" for place in range(6))
    assert cut_short(names) == names


def test_markdown_stays_text(hostile):
    text = ok("report", *hostile, "--markdown", "-")
    assert "<b>" not in text
    assert "@octocat" not in text.replace("`@octocat`", "")
    assert not [line for line in text.splitlines() if line.startswith(("::", "##["))]
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ")}
    assert len(widths) == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_in_markdown_is_inert(text):
    safe = escaped(text)
    assert "\n" not in safe
    for sign in ("<", ">", "|", "://", "::"):
        assert sign not in safe
    assert not re.search(r"(?<!\\)[`*_\[\]]", safe)
    assert not re.search(
        "[@#](?!\u200b)",
        re.sub(r"&#\d+;", lambda found: found[0] if found[0] == "&#8203;" else "", safe).replace("&#8203;", "\u200b"),
    )
    span = code(text)
    fence = re.match("`+", span)[0]
    assert span.endswith(fence)
    assert fence not in span[len(fence) : -len(fence)].strip().replace("`" * (len(fence) + 1), "")
    assert "|" not in span


def test_a_doubt_keeps_its_sign_whatever_a_service_said_and_nothing_is_said_to_be_open_twice(hostile):
    with Store.open(Path(".steelyard/steelyard.db")) as store:
        evidence = load_evidence(store, [store.run(str(hostile[0]))])
    doubt = Finding(rule="doubts", kind="beware", sentence="the first failed with: not decided")
    unclear = Finding(rule="lead", kind="open", sentence="not decided-7b was not asked the same")
    lead = Finding(rule="lead", kind="told", sentence="stands at the top")
    said = Finding(rule="cost", kind="open", sentence="Whose cost least is not decided", says_open=True)
    text = markdown_report(msgspec.structs.replace(evidence, findings=(lead, doubt, unclear, said)))
    assert "- ⚠️ the first failed with: not decided" in text
    assert "- Not decided: not decided-7b was not asked the same" in text
    assert "- Whose cost least is not decided" in text


def test_a_verdict_its_criteria_and_the_turned_items_stand_in_the_markdown():
    write_cases([f"Say {i}" for i in range(200)])
    before = imported("m", [str(i) if i < 150 else "no" for i in range(200)])
    ok("baseline", "set", "main", before)
    imported("m", [str(i) if i < 100 else "`no|" for i in range(200)])
    text = ok("report", "--markdown", "-", "--baseline", "main", "--margin", "accuracy=0.05")
    assert text.startswith("### ❌ FAIL: run #&#8203;2 against main@&#8203;1")
    assert "| ❌ FAIL | accuracy | m |" in text
    assert "0 better, 50 worse</summary>" in text
    assert "| worse | `c100` | right, `100` | wrong, `` `no¦ `` |" in text
    assert "40 more are not shown. With their texts: `steelyard compare 1 2 --flips`" in text
    assert "Since the baseline" in text
    shown = " ".join("".join(Page(html("--baseline", "main", "--margin", "accuracy=0.05")).text).split())
    assert "Verdict fail Run #2 against main@1" in shown
    assert "Since the baseline (run #1): m in #2 answers 25.0 points less than m in #1" in shown
    suite = ElementTree.fromstring(ok("report", "--junit", "-", "--baseline", "main", "--margin", "accuracy=0.05"))
    gate = suite[0]
    assert (gate.attrib["tests"], gate.attrib["failures"], gate.attrib["errors"]) == ("1", "1", "0")
    failure = gate.find("testcase/failure")
    assert "25.0 points" in failure.attrib["message"]
    assert failure.text.startswith(
        "50 items got worse, 0 better; 10 of the worse.\n  c100: was right, 100; now wrong, `no|"
    )
    assert failure.text.endswith("steelyard compare 1 2 --flips")


def test_of_several_criteria_the_verdict_says_how_many_fail_and_each_stands_once():
    write_cases([f"Say {i}" for i in range(200)])
    imported("m", [str(i) if i < 100 else "no" for i in range(200)])
    shown = " ".join("".join(Page(html("--require", "accuracy >= 0.9", "--require", "accuracy >= 0.2")).text).split())
    assert "Verdict fail Run #1 by its criteria: 1 of 2 criteria fails. fail accuracy of m" in shown
    assert shown.count("asked for: accuracy >= 0.9") == 1


def test_a_run_of_one_model_is_not_said_to_be_comparable_with_itself():
    write_cases(["a", "b"])
    imported("m", ["0", "1"])
    page = html("1")
    assert "steelyard show 1 --wrong" in page
    assert "steelyard compare 1 --flips" not in page + ok("report", "--markdown", "-", 1)


def test_an_inconclusive_criterion_is_skipped_where_it_warns_and_an_error_where_it_blocks():
    write_cases([f"Say {i}" for i in range(40)])
    ok("baseline", "set", "main", imported("m", [str(i) if i < 30 else "no" for i in range(40)]))
    imported("m", [str(i) if 2 < i < 32 else "no" for i in range(40)])
    asked = ("report", "--junit", "-", "--baseline", "main", "--margin", "accuracy=0.05")
    warned, blocked = (ElementTree.fromstring(ok(*asked, *more)) for more in ((), ("--mode", "noninferiority")))
    assert (warned[0].attrib["skipped"], warned[0].attrib["errors"]) == ("1", "0")
    assert (blocked[0].attrib["skipped"], blocked[0].attrib["errors"]) == ("0", "1")


def test_junit_without_criteria_has_a_case_a_model_and_survives_any_text(hostile):
    root = ElementTree.fromstring(ok("report", *hostile, "--junit", "-"))
    cases = root.findall("testsuite/testcase")
    assert {case.attrib["name"] for case in cases} == {"<b>bold</b>", "model|`@octocat`"}
    assert not root.findall(".//error")


def test_turned_items_come_before_wrong_ones_and_wrong_before_right():
    write_cases([f"Say {i}" for i in range(30)])
    imported("one", [str(i) if i < 20 else "no" for i in range(30)])
    imported("two", [str(i) if 5 <= i < 20 else "no" for i in range(30)])
    page = Page(html(1, 2))
    items = [a for tag, a in page.tags if tag == "details" and a.get("class") == "item"]
    states = [tuple(one.partition(":")[2] for one in a["data-answers"].split()) for a in items]
    order = list(dict.fromkeys(states))
    assert order == [("right", "wrong"), ("wrong", "wrong"), ("right", "right")]
    assert ["data-flip" in a for a in items].count(True) == 5


def test_a_report_without_a_file_to_write_and_a_verdict_on_two_runs_are_refused(hostile, capsys):
    assert main(["report"]) == 2
    assert main(["report", "1", "2", "--html", "x.html", "--require", "accuracy >= 0.5"]) == 2
    assert not Path("x.html").exists()


def test_a_page_is_readable_by_its_owner_alone_and_no_half_page_is_left(hostile):
    html(*hostile)
    assert Path("report.html").stat().st_mode & 0o077 == 0
    assert not list(Path().glob(".report.html*"))


def say(right):
    """A model that gets these of its cases right."""

    def answer(prompt):
        number = int(prompt.rpartition("Say ")[2].split()[0])
        return str(number) if number in right else "no"

    return answer


def test_a_run_that_ended_by_a_difference_is_told_by_its_looks_alone():
    write_cases([f"Say {i}" for i in range(400)])
    good, bad = say(set(range(400))), say(set(range(0, 400, 8)))
    good.__name__, bad.__name__ = "good", "bad"
    sy.run(models=[good, bad], benchmarks=["cases.jsonl"], stop={"compare": True}, on_message=lambda text: None)
    shown = " ".join("".join(Page(html()).text).split())
    assert "good is ahead of bad" in shown
    assert "answers best" not in shown
    assert shown.count("The run could end by a difference between models") == 1
    assert "items saved" in shown
    assert "Test cases50 of 400100 requests to models" in shown
    assert "400 of 400 items, 50 of them asked." in shown


def test_an_unknown_baseline_is_refused(capsys):
    write_cases([f"Say {i}" for i in range(9)])
    imported("m", [str(i) for i in range(9)])
    assert main(["report", "--html", "x.html", "--baseline", "never"]) == 2
    assert "never" in capsys.readouterr().err

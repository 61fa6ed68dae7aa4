"""The page of an answer shows its request: the command gets the same answer, and holds nothing confidential."""

import asyncio
import html
import os
import re
import shutil
import subprocess

import msgspec
import pytest
from boards import Visitor, cell_info, new_call, one_run, served, words

from steelyard.cli.by_hand import requests_by_hand
from steelyard.instrument.process import spawned
from steelyard.instrument.settings import Settings
from steelyard.providers import anthropic, connect, google, openai, responses
from steelyard.providers.interface import Text
from steelyard.providers.reply import Reply
from steelyard.types import Message, ModelSpec, Prompt, Request

ASKED = 'it\'s "so" \\ $HOME `id` é 😀 !!\nJSON\n<b>&amp;\u202e\x07'
CHAT = Prompt(kind="chat", messages=(Message(role="system", content="Be brief."), Message(role="user", content=ASKED)))
COMPLETION = Prompt(kind="completion", text=ASKED)
WHOLE = {"stream": False}
SPOKEN = [
    pytest.param("openai", CHAT, {}, openai.CHAT, id="chat, streamed"),
    pytest.param("openai", CHAT, WHOLE, openai.CHAT, id="chat"),
    pytest.param("openai", COMPLETION, {}, openai.CHAT, id="completion, streamed"),
    pytest.param("openai", COMPLETION, WHOLE, openai.CHAT, id="completion"),
    pytest.param("openai-responses", CHAT, {}, responses.RESPONSES, id="responses, streamed"),
    pytest.param("anthropic", CHAT, {}, anthropic.MESSAGES, id="messages, streamed"),
    pytest.param("anthropic", CHAT, WHOLE, anthropic.MESSAGES, id="messages"),
    pytest.param("google", CHAT, {}, google.GENERATE, id="generateContent, streamed"),
]
SUMMARY = "This call, as a request"
ENDPOINT = {"id": "m", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}


@pytest.fixture(scope="module")
def mock():
    with spawned(Settings(tokens=12)) as url:
        yield url.removesuffix("/v1")


async def text_of(events):
    return "".join([event.text async for event in events if isinstance(event, Text)])


async def answer_of(spec, request):
    endpoint = connect(spec)
    await endpoint.open()
    try:
        return endpoint.origin, await text_of(endpoint.generate(request))
    finally:
        await endpoint.close()


async def read_as(dialect, output):
    pieces = [(output, 1)]

    async def next_piece():
        return pieces.pop() if pieces else None

    reply = Reply(status=200, reason="", headers={}, first_byte_ns=1, next_piece=next_piece)
    if await reply.is_stream():
        return await text_of(dialect.streamed(reply))
    return "".join(event.text for event in dialect.whole(output, 1) if isinstance(event, Text))


def command_on(page):
    return html.unescape(re.search(r"<pre[^>]*>(curl .*?)</pre>", page, re.S)[1])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: its commands cannot be run")
@pytest.mark.parametrize(("provider", "prompt", "extra", "dialect"), SPOKEN)
def test_the_command_gets_the_answer_that_the_call_had(provider, prompt, extra, dialect, mock, store):
    address = mock + ("/v1" if provider.startswith("openai") else "")
    spec = ModelSpec(id="m", provider=provider, model="m", base_url=address, extra=extra)
    request = Request(model="m", prompt=prompt, temperature=0.5, max_tokens=50, extra=extra)
    origin, text = asyncio.run(answer_of(spec, request))
    settings = {"model": {"id": "m", "provider": provider, "model": "m", "base_url": address, "extra": extra}}
    page = page_of(store, request, cell_info(items=1, origin=origin, settings=settings))
    command = command_on(page)
    done = subprocess.run(["sh", "-c", command], capture_output=True, env=os.environ | {"NO_PROXY": "*"}, check=True)
    assert asyncio.run(read_as(dialect, done.stdout)) == text != ""


def page_of(store, request, info, provenance=None, *, reveal=False):
    """The page of an answer to the request."""
    run = store.create_run(name="by hand", plan={}, plan_digest="0" * 64)
    session, cell = store.begin_session(run.id, provenance or {}), store.add_cell(run.id, info)
    made = new_call(cell, session, 0)
    call = msgspec.structs.replace(made.call, request=request)
    (number,) = store.append_calls([msgspec.structs.replace(made, call=call)])
    with served(store, reveal=reveal) as port:
        return Visitor(port).page(f"/answers/{number}")


REQUEST = Request(model="m", prompt=CHAT, temperature=0.5, seed=3)


def test_a_setting_that_the_model_did_not_take_is_named_and_not_sent(store):
    info = cell_info(items=1, origin=ENDPOINT["base_url"], settings={"model": ENDPOINT})
    left_out = {"m": {"temperature": "the model's own default stands"}, "another": {"seed": "not of this model"}}
    page = page_of(store, REQUEST, info, {"settings_left_out": left_out})
    assert "temperature the model&#39;s own default stands" in words(page)
    assert "not of this model" not in page
    assert '"temperature"' not in command_on(page)
    assert '"seed":3' in command_on(page)


def test_a_key_is_named_and_never_shown(store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "the value of a key")
    info = cell_info(items=1, origin=ENDPOINT["base_url"], settings={"model": ENDPOINT})
    page = page_of(store, REQUEST, info)
    assert "Bearer $OPENAI_API_KEY" in command_on(page)
    assert "the value of a key" not in page


def test_a_confidential_item_is_in_a_request_only_for_who_asked_for_it(store):
    info = cell_info(items=1, origin=ENDPOINT["base_url"], settings={"model": ENDPOINT}, is_confidential=True)
    assert SUMMARY not in page_of(store, REQUEST, info)
    assert "Be brief." in command_on(page_of(store, REQUEST, info, reveal=True))


@pytest.mark.parametrize("reveal", [False, True])
def test_a_terminal_is_given_a_confidential_request_only_with_reveal(store, reveal):
    info = cell_info(items=1, origin=ENDPOINT["base_url"], settings={"model": ENDPOINT}, is_confidential=True)
    run, _cell, _ids = one_run(store, ["yes"], info=info)
    (cell,), (record,) = store.cells(run.id), store.records(run.id, reveal=reveal)
    assert (requests_by_hand(store, run, reveal=reveal)(cell, record) is not None) == reveal


def test_a_request_too_long_for_a_page_is_cut_there_and_left_to_the_terminal(store):
    long = msgspec.structs.replace(REQUEST, prompt=Prompt(kind="completion", text="long " * 50_000))
    info = cell_info(items=1, origin=ENDPOINT["base_url"], settings={"model": ENDPOINT})
    page = page_of(store, long, info)
    assert '<pre tabindex="0">curl' not in page
    assert "steelyard show 1 --item quiz/0 --curl" in words(page)


def test_an_answer_without_a_request_of_its_own_shows_none(store):
    _run, _cell, ids = one_run(store, ["yes"])
    with served(store) as port:
        assert SUMMARY not in Visitor(port).page(f"/answers/{ids[0]}")

"""The vendors' own clients read what the mock writes, whole and streamed, errors included.

They are no dependency of ours: `pip install openai anthropic google-genai` where these claims are to be checked.
"""

import asyncio
import json
import warnings

import pytest

from steelyard.instrument.mock import Mock
from steelyard.instrument.settings import Settings

TURNS = [{"role": "user", "content": "How heavy is " + "very " * 100 + "heavy?"}]
THINKS = Settings(tokens=6, reasoning_tokens=3, cached_share=0.5, itl_ms=1)
INPUT = 129
CACHED = 64


def with_mock(settings, work):
    """What ``work(mock)`` returns, the server running beside it."""

    async def main():
        async with Mock(settings) as mock:
            return await work(mock)

    return asyncio.run(main())


def assert_valid(*models):
    """The clients read leniently; their own types, held strictly to what came, do not."""
    for model in models:
        type(model).model_validate(model.to_dict())


GOOGLES_OWN = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # of its use of aiohttp


@pytest.fixture
def openai():
    return pytest.importorskip("openai")


@pytest.fixture
def anthropic():
    return pytest.importorskip("anthropic")


@pytest.fixture
def genai():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        genai = pytest.importorskip("google.genai")
        pytest.importorskip("google.genai.types")
    return genai


def test_chat_completions_are_read_by_openais_client(openai):
    async def work(mock):
        async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
            whole = await client.chat.completions.create(model="m", messages=TURNS)
            stream = await client.chat.completions.create(
                model="m", messages=TURNS, stream=True, stream_options={"include_usage": True}
            )
            return whole, [chunk async for chunk in stream]

    whole, chunks = with_mock(THINKS, work)
    assert_valid(whole, *chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    thought = "".join(chunk.choices[0].delta.model_extra.get("reasoning_content", "") for chunk in chunks[:-1])
    assert whole.choices[0].message.content == text
    assert len(text.split()) == 6
    assert whole.choices[0].message.reasoning_content == thought
    assert chunks[-1].usage == whole.usage
    assert whole.usage.prompt_tokens == INPUT
    assert whole.usage.prompt_tokens_details.cached_tokens == CACHED
    assert (whole.usage.completion_tokens, whole.usage.completion_tokens_details.reasoning_tokens) == (9, 3)
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"


def test_completions_are_read_by_openais_client(openai):
    async def work(mock):
        async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
            whole = await client.completions.create(model="m", prompt="How heavy?")
            stream = await client.completions.create(model="m", prompt="How heavy?", stream=True)
            return whole, [chunk async for chunk in stream]

    whole, chunks = with_mock(THINKS, work)
    assert_valid(whole, chunks[-1])  # their type of a streamed chunk does not know its null finish reason
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks)
    assert whole.usage.completion_tokens == 6


@pytest.mark.parametrize("fault", [None, "length", "refusal", "content-filter", "empty"])
def test_responses_are_read_by_openais_client(openai, fault):
    async def work(mock):
        async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
            whole = await client.responses.create(model="m", input=TURNS)
            async with client.responses.stream(model="m", input=TURNS) as stream:
                events = [event async for event in stream]
            return whole, events

    settings = THINKS if fault is None else Settings(tokens=6, reasoning_tokens=3, faults={fault: 1.0}, itl_ms=1)
    whole, events = with_mock(settings, work)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert_valid(whole, events[-1].response)
    final = events[-1].response
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert final.output_text == whole.output_text == deltas
    assert final.usage == whole.usage
    assert final.status == whole.status == ("incomplete" if fault in ("length", "content-filter") else "completed")
    if fault is None:
        assert whole.usage.input_tokens_details.cached_tokens == CACHED
        assert whole.usage.output_tokens_details.reasoning_tokens == 3
        thoughts = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
        assert "".join(thoughts) == whole.output[0].summary[0].text
    if fault == "refusal":
        assert whole.output[0].content[0].refusal == "I cannot help with that."


def test_every_event_of_a_response_has_the_fields_of_its_type(openai):
    async def work(mock):
        async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
            stream = await client.responses.create(model="m", input=TURNS, stream=True)
            return [event async for event in stream]

    events = with_mock(THINKS, work)
    assert_valid(*events)
    assert {event.type for event in events} >= {"response.created", "response.content_part.done", "response.completed"}


@pytest.mark.parametrize("path", ["chat", "responses"])
def test_openais_client_sees_its_own_errors(openai, path):
    async def failing(fault):
        async def work(mock):
            async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
                if path == "chat":
                    return await client.chat.completions.create(model="m", messages=TURNS)
                return await client.responses.create(model="m", input=TURNS)

        async with Mock(Settings(faults={fault: 1.0}, retry_after_s=7)) as mock:
            await work(mock)

    expected = {
        "429": openai.RateLimitError,
        "quota": openai.RateLimitError,
        "401": openai.AuthenticationError,
        "404": openai.NotFoundError,
        "400": openai.BadRequestError,
        "500": openai.InternalServerError,
        "reset": openai.APIConnectionError,
    }
    for fault, kind in expected.items():
        with pytest.raises(kind) as raised:
            asyncio.run(failing(fault))
        if fault == "quota":
            assert raised.value.code == "insufficient_quota"
        if fault == "429":
            assert raised.value.response.headers["retry-after"] == "7"


def test_an_error_in_a_stream_is_seen_by_openais_client(openai):
    async def work(mock):
        async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
            stream = await client.chat.completions.create(model="m", messages=TURNS, stream=True)
            return [chunk async for chunk in stream]

    with pytest.raises(openai.APIError, match="overloaded"):
        with_mock(Settings(faults={"stream-error": 1.0}), work)


def test_messages_are_read_by_anthropics_client(anthropic):
    async def work(mock):
        url = mock.base_url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
            whole = await client.messages.create(model="m", max_tokens=100, messages=TURNS)
            async with client.messages.stream(model="m", max_tokens=100, messages=TURNS) as stream:
                return whole, await stream.get_final_message()

    whole, streamed = with_mock(THINKS, work)
    assert_valid(whole, streamed)
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert streamed.content[0].thinking == whole.content[0].thinking
    assert streamed.content[0].signature == whole.content[0].signature
    assert streamed.content[1].text == whole.content[1].text
    assert streamed.stop_reason == whole.stop_reason == "end_turn"
    for usage in (whole.usage, streamed.usage):
        assert (usage.input_tokens, usage.cache_read_input_tokens) == (INPUT - CACHED, CACHED)
        assert usage.output_tokens == 9


def test_every_event_of_a_message_has_the_fields_of_its_type(anthropic):
    async def work(mock):
        url = mock.base_url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
            stream = await client.messages.create(model="m", max_tokens=100, messages=TURNS, stream=True)
            return [event async for event in stream]

    events = with_mock(THINKS, work)
    assert_valid(*events)
    assert events[-1].type == "message_stop"


def test_anthropics_client_sees_its_own_errors(anthropic):
    def failing(fault, *, streamed):
        async def work(mock):
            url = mock.base_url.removesuffix("/v1")
            async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
                if not streamed:
                    return await client.messages.create(model="m", max_tokens=100, messages=TURNS)
                async with client.messages.stream(model="m", max_tokens=100, messages=TURNS) as stream:
                    return await stream.get_final_message()

        with_mock(Settings(faults={fault: 1.0}), work)

    expected = {
        "429": anthropic.RateLimitError,
        "401": anthropic.AuthenticationError,
        "529": anthropic.InternalServerError,
    }
    for fault, kind in expected.items():
        with pytest.raises(kind):
            failing(fault, streamed=False)
    with pytest.raises(anthropic.APIStatusError, match=r"[Oo]verloaded"):
        failing("stream-error", streamed=True)


@GOOGLES_OWN
def test_generated_content_is_read_by_googles_client(genai):
    async def work(mock):
        options = genai.types.HttpOptions(base_url=mock.base_url.removesuffix("/v1"))
        client = genai.Client(api_key="none", http_options=options)
        contents = TURNS[0]["content"]
        try:
            whole = await client.aio.models.generate_content(model="m", contents=contents)
            stream = await client.aio.models.generate_content_stream(model="m", contents=contents)
            return whole, [chunk async for chunk in stream]
        finally:
            await client.aio.aclose()
            client.close()

    whole, chunks = with_mock(THINKS, work)
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    assert whole.text == "".join(part.text for part in parts if not part.thought)
    thought = next(part.text for part in whole.candidates[0].content.parts if part.thought)
    assert thought == "".join(part.text for part in parts if part.thought)
    assert chunks[-1].candidates[0].finish_reason == whole.candidates[0].finish_reason == "STOP"
    usage = chunks[-1].usage_metadata
    assert usage == whole.usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (INPUT, CACHED)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (6, 3)
    assert whole.model_version == "m"


@GOOGLES_OWN
def test_googles_client_sees_its_own_errors(genai):
    from google.genai import errors

    def failing(fault):
        async def work(mock):
            options = genai.types.HttpOptions(base_url=mock.base_url.removesuffix("/v1"))
            client = genai.Client(api_key="none", http_options=options)
            try:
                await client.aio.models.generate_content(model="m", contents="x")
            finally:
                await client.aio.aclose()
                client.close()

        with_mock(Settings(faults={fault: 1.0}), work)

    for fault, status in (("quota", "RESOURCE_EXHAUSTED"), ("400", "INVALID_ARGUMENT"), ("503", "UNAVAILABLE")):
        with pytest.raises(errors.APIError) as raised:
            failing(fault)
        assert raised.value.status == status
    assert json.dumps(raised.value.details)


def test_log_probabilities_are_read_by_openais_client(openai):
    async def work(mock):
        async with openai.AsyncOpenAI(api_key="none", base_url=mock.base_url, max_retries=0) as client:
            chat = await client.chat.completions.create(model="m", messages=TURNS, logprobs=True)
            include = ["message.output_text.logprobs"]
            response = await client.responses.create(model="m", input=TURNS, include=include)
            async with client.responses.stream(model="m", input=TURNS, include=include) as stream:
                events = [event async for event in stream if event.type == "response.output_text.delta"]
            return chat, response, [one for event in events for one in event.logprobs]

    chat, response, streamed = with_mock(THINKS, work)
    assert_valid(chat, response)
    whole = response.output[-1].content[0].logprobs
    told = [[token.logprob for token in tokens] for tokens in (chat.choices[0].logprobs.content, whole, streamed)]
    assert len(told[0]) == 6
    assert told[0] == told[1] == told[2]


@GOOGLES_OWN
def test_log_probabilities_are_read_by_googles_client(genai):
    async def work(mock):
        options = genai.types.HttpOptions(base_url=mock.base_url.removesuffix("/v1"))
        client = genai.Client(api_key="none", http_options=options)
        config = genai.types.GenerateContentConfig(response_logprobs=True)
        try:
            return await client.aio.models.generate_content(model="m", contents="How heavy?", config=config)
        finally:
            await client.aio.aclose()
            client.close()

    candidate = with_mock(THINKS, work).candidates[0]
    told = [token.log_probability for token in candidate.logprobs_result.chosen_candidates]
    assert len(told) == 6
    assert set(told) == {candidate.avg_logprobs}

"""The replies that the other tests use are such as the vendors' own clients take; left out where these are not here."""

import pytest

import vendor_replies as replies


def test_anthropics_client_takes_the_same_events_and_counts():
    types = pytest.importorskip("anthropic.types")
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(types.RawMessageStreamEvent)
    for event in replies.ANTHROPIC_EVENTS:
        if event["type"] != "ping":  # their client drops it before it looks at types
            adapter.validate_python(event)
    message = types.Message.model_validate(replies.ANTHROPIC_WHOLE)
    assert message.usage.output_tokens_details.thinking_tokens == 150
    assert message.usage.cache_creation.ephemeral_1h_input_tokens == 100


def test_googles_client_takes_the_same_chunks_and_counts():
    types = pytest.importorskip("google.genai.types")
    for chunk in (*replies.GOOGLE_EVENTS, replies.GOOGLE_WHOLE, replies.GOOGLE_BLOCKED):
        types.GenerateContentResponse.model_validate(chunk)
    parsed = types.GenerateContentResponse.model_validate(replies.GOOGLE_EVENTS[-1])
    assert parsed.usage_metadata.thoughts_token_count == 150
    assert parsed.candidates[0].finish_reason == types.FinishReason.STOP


def test_openais_client_takes_the_same_events_and_counts():
    responses = pytest.importorskip("openai.types.responses")
    chat = pytest.importorskip("openai.types.chat")
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(responses.ResponseStreamEvent)
    for event in (*replies.RESPONSES_EVENTS, replies.RESPONSES_ERROR):
        adapter.validate_python(event)
    assert (
        responses.Response.model_validate(replies.RESPONSES_WHOLE).usage.output_tokens_details.reasoning_tokens == 150
    )
    for chunk in replies.CHAT_EVENTS:
        chat.ChatCompletionChunk.model_validate(chunk)
    chat.ChatCompletion.model_validate(replies.CHAT_WHOLE)

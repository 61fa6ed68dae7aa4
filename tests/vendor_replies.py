"""Replies of the vendors' services, byte for byte as they go over the wire; ``test_vendor_types`` holds them against
the vendors' own clients."""

import json


def events(*documents, named=True):
    """Server-sent events; Anthropic and OpenAI's responses name each by its type, the others do not."""
    lines = []
    for document in documents:
        name = f"event: {document['type']}\n" if named else ""
        lines.append(f"{name}data: {json.dumps(document, ensure_ascii=False)}\n\n")
    return "".join(lines).encode()


# Anthropic: a message with thinking, the cache read and written

ANTHROPIC_START = {
    "type": "message_start",
    "message": {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 200,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 500,
            "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 2,
            "service_tier": "standard",
        },
    },
}
ANTHROPIC_EVENTS = (
    ANTHROPIC_START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "sept → six…"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQBCgIYAhIM"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Voilà, "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "42 ✓"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {
            "input_tokens": 200,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 500,
            "output_tokens": 200,
            "output_tokens_details": {"thinking_tokens": 150},
        },
    },
    {"type": "message_stop"},
)
ANTHROPIC_STREAM = events(*ANTHROPIC_EVENTS)
ANTHROPIC_WHOLE = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "sept → six…", "signature": "EqQBCgIYAhIM"},
        {"type": "text", "text": "Voilà, 42 ✓"},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        **ANTHROPIC_START["message"]["usage"],
        "output_tokens": 200,
        "output_tokens_details": {"thinking_tokens": 150},
    },
}
ANTHROPIC_ERROR = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
    "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
}

# Google: thoughts, cached content, counts that grow


def google_chunk(*parts, reason=None, usage=None):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {
        "candidates": [candidate],
        "usageMetadata": usage or {"promptTokenCount": 1000, "totalTokenCount": 1000},
        "modelVersion": "gemini-2.5-pro",
        "responseId": "tTCwacuEBMvnitYP06qsgQY",
    }


GOOGLE_USAGE = {
    "promptTokenCount": 1000,
    "candidatesTokenCount": 50,
    "totalTokenCount": 1200,
    "cachedContentTokenCount": 500,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 500}],
    "thoughtsTokenCount": 150,
}
GOOGLE_EVENTS = (
    google_chunk({"text": "sept → six…", "thought": True}),
    google_chunk({"text": "Voilà, "}),
    google_chunk({"text": "42 ✓"}),
    google_chunk({"text": "", "thoughtSignature": "AY89a18iOcFus5wr"}, reason="STOP", usage=GOOGLE_USAGE),
)
GOOGLE_STREAM = events(*GOOGLE_EVENTS, named=False).replace(b"\n", b"\r\n")
GOOGLE_WHOLE = google_chunk(
    {"text": "sept → six…", "thought": True}, {"text": "Voilà, 42 ✓"}, reason="STOP", usage=GOOGLE_USAGE
)
GOOGLE_BLOCKED = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11},
    "modelVersion": "gemini-2.5-pro",
}
GOOGLE_ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
GOOGLE_BAD_KEY = {
    "error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
        ],
    }
}


def google_too_many(quota_id, delay="34.5s"):
    violation = {"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": quota_id, "quotaValue": "10"}
    return {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
            ],
        }
    }


# OpenAI's responses

RESPONSES_USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 0},
    "output_tokens": 200,
    "output_tokens_details": {"reasoning_tokens": 150},
    "total_tokens": 1200,
}
RESPONSES_OUTPUT = [
    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "sept → six…"}]},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Voilà, 42 ✓", "annotations": [], "logprobs": []}],
    },
]


def response(status="completed", **changes):
    is_over = status in ("completed", "incomplete")
    return {
        "id": "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654",
        "object": "response",
        "created_at": 1741290958,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-5-2025-08-07",
        "output": RESPONSES_OUTPUT if is_over else [],
        "parallel_tool_calls": True,
        "store": False,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": RESPONSES_USAGE if is_over else None,
        "metadata": {},
    } | changes


def _numbered(*documents):
    return tuple({**document, "sequence_number": number} for number, document in enumerate(documents))


_MESSAGE = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
_SUMMARY = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
RESPONSES_EVENTS = _numbered(
    {"type": "response.created", "response": response("in_progress")},
    {"type": "response.in_progress", "response": response("in_progress")},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"id": "rs_1", "type": "reasoning", "summary": []},
    },
    {"type": "response.reasoning_summary_text.delta", **_SUMMARY, "delta": "sept → six…"},
    {"type": "response.reasoning_summary_text.done", **_SUMMARY, "text": "sept → six…"},
    {"type": "response.output_item.done", "output_index": 0, "item": RESPONSES_OUTPUT[0]},
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []},
    },
    {"type": "response.output_text.delta", **_MESSAGE, "delta": "Voilà, ", "logprobs": []},
    {"type": "response.output_text.delta", **_MESSAGE, "delta": "42 ✓", "logprobs": []},
    {"type": "response.output_text.done", **_MESSAGE, "text": "Voilà, 42 ✓", "logprobs": []},
    {"type": "response.output_item.done", "output_index": 1, "item": RESPONSES_OUTPUT[1]},
    {"type": "response.completed", "response": response()},
)
RESPONSES_STREAM = events(*RESPONSES_EVENTS)
RESPONSES_WHOLE = response()
RESPONSES_ERROR = {
    "type": "error",
    "code": "rate_limit_exceeded",
    "message": "Slow",
    "param": None,
    "sequence_number": 3,
}

# OpenAI's chat completions

CHAT_USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 500, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 150, "audio_tokens": 0},
}


def chat_chunk(choices, **more):
    return {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1694268190,
        "model": "gpt-5-2025-08-07",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": choices,
        **more,
    }


def _delta(delta, reason=None):
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]


CHAT_EVENTS = (
    chat_chunk(_delta({"role": "assistant", "content": ""})),
    chat_chunk(_delta({"reasoning_content": "sept → six…"})),
    chat_chunk(_delta({"content": "Voilà, "})),
    chat_chunk(_delta({"content": "42 ✓"})),
    chat_chunk(_delta({}, "stop")),
    chat_chunk([], usage=CHAT_USAGE),
)
CHAT_STREAM = events(*CHAT_EVENTS, named=False) + b"data: [DONE]\n\n"
CHAT_WHOLE = chat_chunk(
    [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Voilà, 42 ✓",
                "reasoning_content": "sept → six…",
                "refusal": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    object="chat.completion",
    usage=CHAT_USAGE,
)
CHAT_ERROR = {"error": {"message": "Slow", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}

GROQ_TOO_MANY = {
    "error": {
        "message": "Rate limit reached for model `m` in organization `o` service tier `on_demand` on tokens per minute "
        "(TPM): Limit 6000, Used 5034, Requested 1443. Please try again in 4.77s. Need more tokens? Upgrade to Dev "
        "Tier today at https://console.groq.com/settings/billing",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }
}
OPENAI_TOO_LARGE = {
    "error": {
        "message": "Request too large for m in organization o on tokens per min (TPM): Limit 10000, Requested 20000. "
        "The input or output tokens must be reduced in order to run successfully.",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }
}

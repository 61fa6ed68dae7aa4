"""The columns of a call that follow from its payload: written beside it, and mended from it where they are damaged."""

from __future__ import annotations

from typing import Any

from steelyard.store.writing.codec import fingerprint
from steelyard.types import Call


def figures_of(call: Call) -> dict[str, Any]:
    """Figure by column; ``None`` is unknown, or does not apply."""
    completion = call.completion
    timing, usage = (completion.timing, completion.usage) if completion else (None, None)
    return {
        "repeat": call.repeat,
        "failure": call.failure.kind if call.failure else None,
        "stop_reason": completion.stop_reason if completion else None,
        "tries": call.sent,
        "answer": fingerprint(completion),
        "queued_s": timing.queued_s if timing else None,
        "ttft_s": timing.ttft_s if timing else None,
        "reasoned_s": timing.reasoned_s if timing else None,
        "total_s": timing.total_s if timing else call.failed_after_s,
        "tpot_s": timing.tpot_s(usage.output_tokens if usage else None) if timing else None,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cached_input_tokens": usage.cached_input_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "cost_usd": call.cost_usd,
        "model_reported": completion.model_reported if completion else None,
        "fingerprint": completion.fingerprint if completion else None,
    }

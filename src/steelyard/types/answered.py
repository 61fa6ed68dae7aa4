"""What came back: a completion with its timing and tokens, or a failure that is never a wrong answer."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from steelyard.types.asked import Request

Channel = Literal["answer", "reasoning"]
StagePart = Literal["answer", "judge", "escalation"]
TRUNCATED = ("length", "max_tokens")
"""The stop reasons of an answer that the token limit cut off: ours, and one that services report."""
REFUSED = ("refusal", "content_filter")
"""The stop reasons of an answer that the model, or the service's filter, refused to give."""
FailureKind = Literal[
    "connection",  # refused, reset, name not found, TLS
    "timeout",  # no answer, or no next token, within the time allowed
    "rate_limit",  # 429: asked too fast
    "quota",  # out of credit or of today's allowance
    "server",  # 5xx
    "malformed",  # a reply that cannot be read
    "rejected",  # 4xx: this request will never be answered
    "auth",  # 401, 403: no request of this key will be answered
    "unavailable",  # the model does not exist there, or its process is gone
    "provider",  # a callable raised, or the service reported an error of its own
]


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens as counted by ``source``. Input read from a prompt cache and input written to one are both part of the
    input, what was written to stay for an hour part of what was written, reasoning part of the output. ``stated`` is
    what the service counted, where some of it cannot be and is unknown here, ``charged_usd`` what it says that it
    charged; elsewhere they are not even written down.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    source: Literal["server", "tokenizer", "none"] = "none"
    stated: Usage | UnsetType = UNSET
    charged_usd: float | UnsetType = UNSET


class Timing(Struct, frozen=True, kw_only=True):
    """Monotonic nanoseconds of one attempt, on this machine's clock; ``None`` where it did not happen.

    ``scheduled_ns`` is when the item was ready to go, ``dispatched_ns`` when the answered attempt began; back-off
    before it belongs to neither. ``gaps_ns`` holds the time between neighbouring chunks that carried text.
    """

    scheduled_ns: int
    dispatched_ns: int
    first_byte_ns: int | None = None
    first_token_ns: int | None = None
    first_answer_ns: int | None = None
    last_token_ns: int | None = None
    ended_ns: int
    streamed: bool = False
    gaps_ns: tuple[int, ...] = ()

    @property
    def queued_s(self) -> float:
        """Seconds between ready and dispatched: our queue, rate limits and back-off, never the model's time."""
        return (self.dispatched_ns - self.scheduled_ns) / 1e9

    @property
    def ttft_s(self) -> float | None:
        """Time to first token of any channel; ``None`` for an answer that came in one piece."""
        if not self.streamed or self.first_token_ns is None:
            return None
        return (self.first_token_ns - self.dispatched_ns) / 1e9

    @property
    def first_answer_s(self) -> float | None:
        """Time to first answer token: as ``ttft_s``, past what a model shows of its reasoning."""
        if not self.streamed or self.first_answer_ns is None:
            return None
        return (self.first_answer_ns - self.dispatched_ns) / 1e9

    @property
    def reasoned_s(self) -> float | None:
        """Seconds from the first token to the first of the answer: 0 where a model shows no reasoning before it."""
        if not self.streamed or self.first_token_ns is None or self.first_answer_ns is None:
            return None
        return (self.first_answer_ns - self.first_token_ns) / 1e9

    @property
    def total_s(self) -> float:
        """Seconds from dispatch to the last token (streamed) or to the end of the reply (whole)."""
        end = self.last_token_ns if self.streamed and self.last_token_ns is not None else self.ended_ns
        return (end - self.dispatched_ns) / 1e9

    def tpot_s(self, output_tokens: int | None) -> float | None:
        """Time per output token after the first: (total - TTFT) / (output tokens - 1)."""
        ttft_s = self.ttft_s
        if ttft_s is None or output_tokens is None or output_tokens < 2:
            return None
        return (self.total_s - ttft_s) / (output_tokens - 1)


class Likelihood(Struct, frozen=True, kw_only=True):
    """Natural log-probability of one continuation given the text before it, summed over its tokens."""

    logprob: float
    tokens: int
    characters: int


class Stage(Struct, frozen=True, kw_only=True):
    """One model's part in an answer that took several calls: what it said, and what that took.

    ``text`` is "" where it is the answer's own. Of several ``calls`` side by side ``took_s`` is the longest, and
    ``answers`` are what was extracted of each. ``took_s`` is ``None`` where the clock cannot be trusted, ``cost_usd``
    where price or tokens are unknown.
    """

    model: str
    part: StagePart
    calls: int = 1
    usage: Usage = Usage()
    took_s: float | None
    ttft_s: float | None = None
    cost_usd: float | None = None
    text: str = ""
    answers: tuple[str | None, ...] = ()
    stop_reason: str | None = None
    model_reported: str | None = None
    fingerprint: str | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """What came back. ``stop_reason``: ``stop``, ``length``, ``refusal``, ``content_filter``, or as reported.

    ``cached``: it was given in an earlier run and used again, so it has no timing and cost nothing.
    ``confidence`` is how sure the model was of it; of a cascade, how sure the cheap one was of its own. ``stages`` are
    the calls behind an answer that took several; its usage is then their sum, its timing the whole way.
    """

    text: str = ""
    reasoning: str = ""
    stop_reason: str | None = None
    usage: Usage = Usage()
    timing: Timing | None = None
    likelihoods: tuple[Likelihood, ...] = ()
    model_reported: str | None = None
    fingerprint: str | None = None
    cached: bool = False
    confidence: float | None = None
    stages: tuple[Stage, ...] = ()

    @property
    def is_escalated(self) -> bool:
        """Whether the dear model of a cascade gave it."""
        return any(stage.part == "escalation" for stage in self.stages)


class Failure(Struct, frozen=True, kw_only=True):
    """Why there is no answer. Never a wrong answer: a failed call is not scored.

    ``was_sent``: whether some of the request may have reached the service, which may then bill it.
    """

    kind: FailureKind
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    was_sent: bool = True

    @property
    def is_transient(self) -> bool:
        """Whether asking again may help."""
        return self.kind in ("connection", "timeout", "rate_limit", "server", "malformed")

    @property
    def is_permanent(self) -> bool:
        """Whether no request to this model can succeed, so that asking on would be waste."""
        return self.kind in ("auth", "quota", "unavailable")


class Attempt(Struct, frozen=True, kw_only=True):
    """One try that failed, and the pause after it."""

    failure: Failure
    duration_s: float
    wait_s: float


class Call(Struct, frozen=True, kw_only=True):
    """One request to one model and how it ended: a completion, or the failure of the last attempt.

    ``attempts`` are the failed ones before the last. ``failed_after_s`` is how long the last attempt ran before it
    failed: a timed-out request took at least that long. ``slept_s``: for so long the machine slept, or this process was
    stopped, meanwhile; no time of the call is known. ``stages`` of a cascade were answered before one failed.
    """

    sample_id: str
    repeat: int
    request: Request
    digest: bytes
    started_at: str
    attempts: tuple[Attempt, ...] = ()
    completion: Completion | None = None
    failure: Failure | None = None
    failed_after_s: float | None = None
    cost_usd: float | None = None
    slept_s: float | None = None
    stages: tuple[Stage, ...] = ()

    @property
    def sent(self) -> int:
        """How many requests were sent for it, those that failed included."""
        if self.completion is None:
            return len(self.attempts) + sum(stage.calls for stage in self.stages) + 1
        return len(self.attempts) + (sum(stage.calls for stage in self.completion.stages) or 1)

"""The nouns of Steelyard: what was asked, what came back, how long it took, what it cost, how it scored.

Every value is frozen and keyword-only; the unit stands in the name; unknown is ``None``, never 0.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["chat", "completion", "likelihood"]
Channel = Literal["answer", "reasoning"]
Aggregate = Literal["micro", "macro"]
ConfidenceBy = Literal["logprob", "agreement", "judge"]
StagePart = Literal["answer", "judge", "escalation"]
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


class Message(Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


LOST_TEXT = "lost-text"
"""The flag of an item whose text was lost with a damaged store: its answers keep their scores and get no new ones."""


class Sample(Struct, frozen=True, kw_only=True):
    """One item of a benchmark, before any protocol has put it into words.

    ``target`` is the gold answer: for an item with ``choices`` the text of the right one is
    ``choices[int(target)]`` and ``target`` its 0-based index in decimal, because two choices may read alike.
    ``flags`` name known properties of the item, such as a defect; each gives a score with and without such items.
    """

    id: str
    input: str | tuple[Message, ...]
    target: str
    choices: tuple[str, ...] = ()
    cluster: str | None = None
    stratum: str | None = None
    flags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


class Prompt(Struct, frozen=True, kw_only=True):
    """What a protocol makes of a sample: chat messages, or a text, or a text with continuations to weigh."""

    kind: Kind
    messages: tuple[Message, ...] = ()
    text: str = ""
    continuations: tuple[str, ...] = ()


class Request(Struct, frozen=True, kw_only=True):
    """One question as it is put to a model. ``extra`` is sent as it is, beside the fields named here."""

    model: str
    prompt: Prompt
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str | None = None
    repeat: int = 0
    extra: dict[str, Any] = {}

    def digest(self, protocol: str, origin: str) -> bytes:
        """32 bytes that change whenever anything that can change the answer does.

        ``origin`` names who answers: a base URL, a weights file's sha256 with its runtime, a function's version.
        """
        return hashlib.sha256(msgspec.json.encode([protocol, origin, self], order="sorted")).digest()


class Price(Struct, frozen=True, kw_only=True):
    """USD per million tokens, as the user states it. Reasoning costs as output does unless it has its own price."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


class Confidence(Struct, frozen=True, kw_only=True):
    """How a model's answers are given a confidence, from 0 to 1.

    ``logprob``: the mean probability of the answer's tokens, as a geometric mean. ``agreement``: of ``samples`` answers
    at ``temperature``, the share that agrees with the commonest, which is then the answer. ``judge``: what the model
    ``judge`` makes of it when it is asked whether the answer is right.
    """

    by: ConfidenceBy
    samples: int = 5
    temperature: float = 0.7
    judge: ModelSpec | None = None


class Escalation(Struct, frozen=True, kw_only=True):
    """Two models as one system: ``cheap`` answers, and ``dear`` wherever the confidence in that is below ``threshold``.

    ``cheap.confidence`` says how confidence is found. ``threshold`` is ``None`` until somebody has said it.
    """

    cheap: ModelSpec
    dear: ModelSpec
    threshold: float | None = None


class ModelSpec(Struct, frozen=True, kw_only=True):
    """One system under test: a model with its own generation settings. ``id`` is what tables call it.

    A setting left at ``None`` follows the protocol. ``provider`` is ``python`` for an object given in Python.
    ``batch``: asked through the provider's batch API, within a day at about half the price, without any latency.
    ``server_pid``: the process of this machine that serves it, to be weighed; no part of what is asked.
    ``confidence``: how each answer is given one; ``None`` where nobody asks. ``cascade``: the two models that this
    system consists of, where it is one.
    """

    id: str
    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    timeout_s: float = 600.0
    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price: Price | None = None
    version: str | None = None
    batch: bool = False
    server_pid: int | None = None
    confidence: Confidence | None = None
    cascade: Escalation | None = None

    @property
    def asked(self) -> tuple[ModelSpec, ...]:
        """The models that are asked for one answer, and paid: of a cascade both, and whoever judges the first."""
        if self.cascade is not None:
            return (*self.cascade.cheap.asked, self.cascade.dear)
        judge = self.confidence.judge if self.confidence is not None else None
        return (self,) if judge is None else (self, judge)


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens as counted by ``source``. Input read from a prompt cache and input written to one are both part of the
    input, what was written to stay for an hour part of what was written, reasoning part of the output.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    source: Literal["server", "tokenizer", "none"] = "none"


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
    """Why there is no answer. Never a wrong answer: a failed call is not scored."""

    kind: FailureKind
    message: str
    status: int | None = None
    retry_after_s: float | None = None

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


class Spent(Struct, frozen=True, kw_only=True):
    """What a judge took: requests sent, retries included; tokens and money are ``None`` where any is unknown.

    ``cached`` replies were given in earlier runs and used again: they took nothing, and had cost ``saved_usd``.
    """

    calls: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    cached: int = 0
    saved_usd: float | None = 0.0


class Score(Struct, frozen=True, kw_only=True):
    """The judgement of one answer by one metric; ``value`` is ``None`` where nothing could be judged.

    ``answer`` is what was extracted; ``None`` means the reply held no answer in the asked form (*unparsed*).
    ``spent`` is what a judge took for it, where a model judged: never part of the judged model's own cost.
    """

    value: float | None
    answer: str | None = None
    reason: str | None = None
    spent: Spent | None = None


class Record(Struct, frozen=True, kw_only=True):
    """One attempt joined: who was asked what, what came back, how it scored, what it cost."""

    run: str
    model: str
    benchmark: str
    protocol: str
    sample: Sample
    call: Call
    scores: dict[str, Score]


Estimand = Literal["this benchmark", "questions like these", "this run"]


class Estimate(Struct, frozen=True, kw_only=True):
    """A number that can be defended. ``low`` and ``high`` are ``None`` where no interval can be given.

    ``status`` is ``ok``, or says why there is no value or no interval ("n too small: need 72, have 20").
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int
    method: str
    estimand: Estimand = "questions like these"
    unit: str
    status: str = "ok"


LookVerdict = Literal["go_on", "precise", "ahead", "behind", "equivalent", "all_asked", "skipped"]


class Look(Struct, frozen=True, kw_only=True):
    """One look at the first ``n`` items of a cell's order, all of them done, and what was decided.

    With ``against`` the value is the difference to that model, and ``ahead`` means better than it. The bounds hold
    over all looks that the rule plans, at ``level``; ``z`` is what they are wide, where it is not the level's own.
    ``scored`` items have a score (of both models); ``planned`` items may be asked of a ``population``, ``None`` where
    items are made without end. ``next`` is how many items to ask before the next look, ``None`` where the question
    is settled.
    """

    rule: str
    number: int
    looks: int | None = None
    n: int
    scored: int
    planned: int
    population: int | None
    against: str | None = None
    value: float | None
    low: float | None
    high: float | None
    level: float
    z: float | None = None
    estimand: Estimand
    verdict: LookVerdict
    next: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more needs to be asked for it."""
        return self.next is None


Verdict = Literal["improved", "regressed", "equivalent", "inconclusive"]


class Agreement(Struct, frozen=True, kw_only=True):
    """Items by who got them right: both, one of the two, neither."""

    both: int
    only_baseline: int
    only_candidate: int
    neither: int


class Pairing(Struct, frozen=True, kw_only=True):
    """How two cells' items met: ``n`` are compared, of ``n_common`` that both were asked.

    ``only_*`` were asked on that side alone. ``lost_*`` were asked on both and have no value on that side, for a failed
    call or a failed grader. ``low`` and ``high`` are the difference had every lost answer of the candidate been wrong
    and every one of the baseline right, and the other way round; ``None`` where values have no such range.
    """

    n: int
    n_common: int
    only_baseline: int = 0
    only_candidate: int = 0
    lost_baseline: int = 0
    lost_candidate: int = 0
    low: float | None = None
    high: float | None = None


class ControlVariate(Struct, frozen=True, kw_only=True):
    """What a baseline's answers to more items made of a candidate that was asked ``items`` of those ``population``.

    ``theta`` is the slope of the candidate's scores on the baseline's, ``phi`` their correlation over the items both
    were asked, with its interval. ``variance_left`` is the share of a plain mean's variance that is left, and
    ``worth_items`` how many items a plain mean takes for the same error; its bounds are those of phi. Pairing alone,
    the plain difference on the same items, is worth ``paired_worth_items``. ``plain`` is the candidate's mean over its
    items without the baseline's help. ``beyond`` is the same difference for questions like these, ``None`` where items
    come in clusters. All but ``beyond`` are of the ``population`` items, which are the whole benchmark if ``is_whole``.
    """

    theta: float
    phi: Estimate
    variance_left: float
    items: int
    population: int
    is_whole: bool
    worth_items: float
    worth_low: float | None
    worth_high: float | None
    saved_items: float
    paired_worth_items: float
    plain: Estimate
    beyond: Estimate | None = None
    is_worth_it: bool


class Comparison(Struct, frozen=True, kw_only=True):
    """A candidate against a baseline on the same items: how far apart, how sure, and the word for it.

    ``difference`` is candidate - baseline and ``ratio`` candidate / baseline. ``improved`` means that the candidate is
    better (of a time or a cost: lower) by an interval that leaves no room for none; ``equivalent`` that the interval
    lies within ``margin`` either way. ``adjusted_p`` is ``p_value`` in its family of comparisons (``adjustment``).
    ``detectable`` is the smallest true difference that as many items find with a power of 80 %. With a
    ``control_variate`` difference and sides are over all the baseline's items, by the regression estimator.
    ``odds_ratio`` is only_candidate / only_baseline, ``None`` where the latter is 0, and ``cohens_h`` the difference on
    the arcsine scale, of single answers that are right or wrong: no verdict is taken on either.
    """

    metric: str
    benchmark: str
    baseline: str
    candidate: str
    baseline_run: int
    candidate_run: int
    of_baseline: Estimate
    of_candidate: Estimate
    difference: Estimate
    ratio: Estimate | None = None
    test: str = "none"
    p_value: float | None = None
    adjusted_p: float | None = None
    adjustment: Literal["none", "holm", "bh"] = "none"
    margin: float | None = None
    verdict: Verdict
    pairing: Pairing
    agreement: Agreement | None = None
    detectable: float | None = None
    control_variate: ControlVariate | None = None
    odds_ratio: float | None = None
    cohens_h: float | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()


RunStatus = Literal["running", "done", "interrupted", "failed", "budget"]
"""``budget``: it ended when its money did; what was answered until then is a valid sample."""


class RunInfo(Struct, frozen=True, kw_only=True):
    """One run as the store knows it. ``plan`` is the expanded plan as JSON-ready values, ``digest`` its sha256."""

    id: str
    number: int
    name: str
    tags: tuple[str, ...] = ()
    status: RunStatus
    created_at: str
    finished_at: str | None = None
    plan: dict[str, Any]
    plan_digest: str


class SessionInfo(Struct, frozen=True, kw_only=True):
    """One stretch of a run in one process: a run that was resumed has several, each with its own provenance."""

    id: int
    started_at: str
    ended_at: str | None = None
    provenance: dict[str, Any] = {}
    resources: dict[str, float] = {}
    pid: int | None = None
    host: str | None = None


class CellInfo(Struct, frozen=True, kw_only=True):
    """One model on one benchmark under one protocol within a run: the unit that a score stands for.

    ``items`` is how many were drawn of the ``available``; ``repeats`` how often each is asked.
    ``scored`` lists every metric its grader gives, the headline first. ``aggregate``, ``groups`` and ``families`` are
    the benchmark's and its protocol's: how strata make up a score; ``stratum_sizes`` says how many of the ``available``
    items each has, and is empty where nobody counted.
    ``asked_as`` is the protocol of the questions where ``protocol`` graded the answers later.
    """

    id: int | None = None
    model: str
    benchmark: str
    part: str | None = None
    protocol: str
    protocol_version: str
    benchmark_version: str
    kind: Kind
    dataset: str
    revision: str | None = None
    dataset_digest: str
    prompt_digest: str
    origin: str
    items: int
    available: int
    repeats: int = 1
    order: str = "shuffled"
    shots: int = 0
    is_floor: bool = False
    scored: tuple[str, ...] = ("accuracy",)
    aggregate: Aggregate = "micro"
    groups: dict[str, tuple[str, ...]] = {}
    families: dict[str, tuple[str, ...]] = {}
    stratum_sizes: dict[str, int] = {}
    is_confidential: bool = False
    asked_as: str | None = None
    settings: dict[str, Any] = {}

    @property
    def is_imported(self) -> bool:
        """Whether its answers were made elsewhere: nothing was sent for them, and when they were given is unknown."""
        return self.origin.startswith("import ")

    @property
    def label(self) -> str:
        """The benchmark as a table heads it: ``mmlu:astronomy@cloze``."""
        part = f":{self.part}" if self.part else ""
        asked = f"{self.benchmark}{part}@{self.asked_as or self.protocol}"
        return f"{asked} graded as {self.protocol}" if self.asked_as else asked


class Columns(Struct, frozen=True, kw_only=True):
    """What analysis reads: one entry per (item, repeat) of a cell, the latest call where one was asked again.

    Arrays are parallel and numpy's; a missing number is NaN. ``failure`` and ``stop_reason`` hold "" where there is
    none; ``cluster`` is -1 for an item of no cluster; ``flags`` are the item's flags, joined by blanks. ``answer`` is a
    fingerprint, equal where answers are equal to the letter. ``started_s`` and ``ended_s`` are seconds since the epoch.
    ``gaps_s`` are all inter-chunk gaps in one array; call i owns ``gaps_s[gap_starts[i]:gap_starts[i + 1]]``.
    A ``cached`` answer was given in an earlier run: it cost nothing now, ``saved_usd`` is what it cost then, and its
    ``started_s`` is of then.
    ``model_reported`` and ``fingerprint`` are what the service said that it is, "" where it said nothing;
    ``None`` in columns that come out of a baseline.
    ``scores[metric]`` and ``parsed[metric]`` are NaN / False where the answer was not scored. ``superseded`` counts
    failed calls that were asked again later, at ``superseded_cost_usd`` (NaN if unknown). ``judging`` is what all
    judgements took, where a model judged.
    """

    names: tuple[str, ...]
    sample: np.ndarray
    repeat: np.ndarray
    stratum: np.ndarray
    strata: tuple[str, ...]
    cluster: np.ndarray
    flags: np.ndarray
    answer: np.ndarray
    session: np.ndarray
    failure: np.ndarray
    stop_reason: np.ndarray
    cached: np.ndarray
    answered_empty: np.ndarray
    tries: np.ndarray
    started_s: np.ndarray
    ended_s: np.ndarray
    queued_s: np.ndarray
    ttft_s: np.ndarray
    total_s: np.ndarray
    tpot_s: np.ndarray
    input_tokens: np.ndarray
    output_tokens: np.ndarray
    cached_input_tokens: np.ndarray
    reasoning_tokens: np.ndarray
    cost_usd: np.ndarray
    saved_usd: np.ndarray
    gaps_s: np.ndarray
    gap_starts: np.ndarray
    scores: dict[str, np.ndarray]
    parsed: dict[str, np.ndarray]
    model_reported: np.ndarray | None = None
    fingerprint: np.ndarray | None = None
    superseded: int = 0
    superseded_cost_usd: float = 0.0
    judging: Spent | None = None

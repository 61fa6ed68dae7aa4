"""What is kept: runs, their sessions and cells, and a cell's answers as the arrays that analysis reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from steelyard.types.asked import Kind
from steelyard.types.judged import Spent

if TYPE_CHECKING:
    import numpy as np

Aggregate = Literal["micro", "macro"]
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


HAS_SENT = "has_sent"
"""Where a session's provenance says whether it came as far as its first request."""


class SessionInfo(Struct, frozen=True, kw_only=True):
    """One stretch of a run in one process: a run that was resumed has several, each with its own provenance."""

    id: int
    started_at: str
    ended_at: str | None = None
    provenance: dict[str, Any] = {}
    resources: dict[str, float] = {}
    pid: int | None = None
    host: str | None = None

    @property
    def may_have_sent(self) -> bool:
        """Whether it may have sent anything; one of an older Steelyard may always."""
        return bool(self.provenance.get(HAS_SENT, True))


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
    def sends_several(self) -> bool:
        """Whether an answer takes several requests: those of a cascade, of a majority, or of a judge beside a model."""
        own = self.settings.get("model", {})
        return "cascade" in own or own.get("confidence", {}).get("by", "logprob") != "logprob"

    @property
    def is_imported(self) -> bool:
        """Whether its answers were made elsewhere: nothing was sent for them, and when they were given is unknown."""
        return self.origin.startswith("import ")

    @property
    def is_drawn(self) -> bool:
        """Whether its items are a random part of the benchmark, or all of it."""
        return self.order == "shuffled" or self.items >= self.available

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
    ``started_s`` is of then. ``reasoned_s`` is NaN where nothing of the answer came token by token, and in calls of
    older versions.
    ``model_reported`` and ``fingerprint`` are what the service said that it is, "" where it said nothing;
    ``None`` in columns that come out of a baseline, as is ``retried``: whether an earlier request for it had failed.
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
    reasoned_s: np.ndarray
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
    retried: np.ndarray | None = None
    superseded: int = 0
    superseded_cost_usd: float = 0.0
    judging: Spent | None = None

    @property
    def ttfo_s(self) -> np.ndarray:
        """Time to the first token of the answer."""
        first: np.ndarray = self.ttft_s + self.reasoned_s
        return first

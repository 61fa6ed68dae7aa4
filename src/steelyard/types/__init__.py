"""The nouns of Steelyard: what was asked, what came back, how long it took, what it cost, how it scored.

Every value is frozen and keyword-only; the unit stands in the name; unknown is ``None``, never 0.
"""

from steelyard.types.answered import (
    REFUSED,
    TRUNCATED,
    Attempt,
    Call,
    Channel,
    Completion,
    Failure,
    FailureKind,
    Likelihood,
    Stage,
    StagePart,
    Timing,
    Usage,
)
from steelyard.types.asked import (
    LOST_TEXT,
    Confidence,
    ConfidenceBy,
    Escalation,
    Kind,
    Message,
    ModelSpec,
    Price,
    Prompt,
    Request,
    Sample,
    WireRequest,
)
from steelyard.types.compared import Agreement, Comparison, ControlVariate, Pairing, Verdict
from steelyard.types.estimated import Estimand, Estimate, Look, LookVerdict
from steelyard.types.judged import Record, Score, Spent
from steelyard.types.kept import HAS_SENT, Aggregate, CellInfo, Columns, RunInfo, RunStatus, SessionInfo
from steelyard.types.signs import CellSign, Sign, Wait

__all__ = [
    "HAS_SENT",
    "LOST_TEXT",
    "REFUSED",
    "TRUNCATED",
    "Aggregate",
    "Agreement",
    "Attempt",
    "Call",
    "CellInfo",
    "CellSign",
    "Channel",
    "Columns",
    "Comparison",
    "Completion",
    "Confidence",
    "ConfidenceBy",
    "ControlVariate",
    "Escalation",
    "Estimand",
    "Estimate",
    "Failure",
    "FailureKind",
    "Kind",
    "Likelihood",
    "Look",
    "LookVerdict",
    "Message",
    "ModelSpec",
    "Pairing",
    "Price",
    "Prompt",
    "Record",
    "Request",
    "RunInfo",
    "RunStatus",
    "Sample",
    "Score",
    "SessionInfo",
    "Sign",
    "Spent",
    "Stage",
    "StagePart",
    "Timing",
    "Usage",
    "Verdict",
    "Wait",
    "WireRequest",
]

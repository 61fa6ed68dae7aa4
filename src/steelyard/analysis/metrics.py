"""Every number that Steelyard knows: its name, unit, definition, and how it is computed from a cell's columns.

A metric is a value in a literal table. What does not apply to a cell (latency of a likelihood) or is not known (a
price) has no value and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from steelyard.analysis import judging, machine, money, outcomes, times
from steelyard.analysis.accuracy import accuracy, bound, first_try
from steelyard.analysis.estimates import Context
from steelyard.types import Columns, Estimate

PERCENTILES = (0.50, 0.95, 0.99)
BYTES_PER_MB = 1e6


class Metric(Struct, frozen=True, kw_only=True):
    """One number: what it is called, in which unit, which way is better, what it means."""

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    definition: str
    compute: Callable[[Columns, Context], Estimate]


def _time_metrics() -> list[Metric]:
    quantities = {
        "latency": (
            "total_s",
            "seconds from dispatch to the last token, or to the end of a reply that is not streamed",
        ),
        "ttft": ("ttft_s", "seconds from dispatch to the first token of any channel"),
        "ttfo": ("ttfo_s", "seconds from dispatch to the first token of the answer, past reasoning that is shown"),
        "tpot": ("tpot_s", "seconds per output token after the first: (total - TTFT) / (output tokens - 1)"),
    }
    found = []
    for name, (column, meaning) in quantities.items():
        mean = f"{name}.mean"
        found.append(_metric(mean, "s", "lower", f"mean {meaning}", partial(times.mean_time, mean, column)))
        for p in PERCENTILES:
            key = f"{name}.p{100 * p:.0f}"
            compute = partial(times.percentile_time, key, column, p)
            found.append(_metric(key, "s", "lower", f"{100 * p:.0f}th percentile of {meaning}", compute))
    for p in PERCENTILES:
        key = f"itl.p{100 * p:.0f}"
        meaning = (
            f"{100 * p:.0f}th percentile of the seconds between neighbouring chunks with text, all requests pooled"
        )
        found.append(_metric(key, "s", "lower", meaning, partial(times.itl, key, p)))
    return found


def _metric(name: str, unit: str, better: Any, definition: str, compute: Any) -> Metric:
    return Metric(name=name, unit=unit, better=better, definition=definition, compute=compute)


_LOWER, _UPPER = "accuracy.lower_bound", "accuracy.upper_bound"
_TOKENS = {
    "input_tokens": ("lower", "input tokens of all answered requests, as reported"),
    "output_tokens": ("lower", "output tokens of all answered requests, as reported"),
    "cached_input_tokens": (None, "input tokens that the service read from its prompt cache"),
    "reasoning_tokens": ("lower", "output tokens spent on reasoning"),
}
_PEAKS = {
    "peak_rss_mb": ("peak_rss_bytes", "peak resident memory of the client"),
    "model_peak_rss_mb": (
        "model_peak_rss_bytes",
        "peak resident memory of the processes of this machine that serve the model, children included",
    ),
    "model_gpu_memory_mb": ("model_peak_gpu_bytes", "peak GPU memory held by the processes that serve the model"),
}

_IDENTITIES = {
    "models_reported": (
        "model_reported",
        "different models that the service said it was; above 1 it changed in mid-run",
    ),
    "fingerprints_reported": ("fingerprint", "different system fingerprints that the service gave"),
}

_GPU_MEANS = {
    "model_gpu_utilisation": (
        "share",
        "model_gpu_busy_s",
        "model_gpu_busy_of_s",
        "mean share of time in which the GPUs that the model's processes use computed, for whomever",
    ),
    "model_gpu_power_w": (
        "W",
        "model_gpu_energy_j",
        "model_gpu_energy_of_s",
        "mean power of all GPUs that the model's processes use, for whomever",
    ),
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("accuracy", "share", "higher", "share of scored items answered right", partial(accuracy, "accuracy")),
        _metric(_LOWER, "share", None, "accuracy if every unscored item were wrong", partial(bound, _LOWER, 0.0)),
        _metric(_UPPER, "share", None, "accuracy if every unscored item were right", partial(bound, _UPPER, 1.0)),
        _metric(
            "accuracy.first_try",
            "share",
            None,
            "accuracy if all that the first request for it did not give were wrong, and what has no score too",
            first_try,
        ),
        _metric("attempted", "requests", None, "requests whose end is known", outcomes.attempted),
        _metric("answered", "requests", None, "requests that were answered", outcomes.answered),
        _metric("scored", "requests", None, "answers that a grader judged", outcomes.scored),
        _metric("errored", "requests", "lower", "requests that failed after their last try", outcomes.errored),
        _metric("retried", "requests", "lower", "answers that came only after a request had failed", outcomes.retried),
        _metric(
            "unparsed", "share", "lower", "share of judged answers not in the asked form (wrong)", outcomes.unparsed
        ),
        _metric("truncated", "share", "lower", "share of answers cut off by the token limit", outcomes.truncated),
        _metric("refused", "share", "lower", "share of answers refused by the model or a filter", outcomes.refused),
        _metric("empty", "share", "lower", "share of answers without text", outcomes.empty),
        _metric(
            "strata_gap",
            "share",
            "lower",
            "share of the asked items that another stratum would have to give, for strata as in the whole",
            outcomes.strata_gap,
        ),
        _metric(
            "determinism",
            "share",
            None,
            "share of items asked more than once whose answers were all the same to the letter",
            outcomes.determinism,
        ),
        _metric(
            "untimed",
            "requests",
            "lower",
            "answers left out of every time, since the machine slept or the client was stopped meanwhile",
            outcomes.untimed,
        ),
        *(
            _metric(name, "names", None, meaning, partial(outcomes.distinct, name, column))
            for name, (column, meaning) in _IDENTITIES.items()
        ),
        _metric("reliability", "share", "higher", "share of requests sent that were answered", outcomes.reliability),
        *_time_metrics(),
        _metric(
            "tokens_per_second",
            "tokens/s",
            "higher",
            "output tokens over wall time, in which requests failed too",
            partial(times.rate, "tokens_per_second", "tokens/s", times.output_tokens),
        ),
        _metric(
            "requests_per_second",
            "requests/s",
            "higher",
            "answered requests over wall time; for a likelihood protocol these are its questions",
            partial(times.rate, "requests_per_second", "requests/s", times.one_each),
        ),
        _metric(
            "in_flight", "requests", None, "requests on their way when one was sent, itself too: the median", times.load
        ),
        *(
            _metric(name, "tokens", better, meaning, partial(money.total_tokens, name, name))
            for name, (better, meaning) in _TOKENS.items()
        ),
        _metric("cost.total", "USD", "lower", "spent on all answers of this run", money.cost_total),
        _metric("cost.per_request", "USD", "lower", "mean cost of an answered request", money.cost_per_request),
        _metric("cost.per_item", "USD", "lower", "mean cost of an item with all its repeats", money.cost_per_item),
        _metric("cost.per_token", "USD", "lower", "total cost over input and output tokens", money.cost_per_token),
        _metric("cost.per_correct", "USD", "lower", "total cost over right answers", money.cost_per_correct),
        _metric(
            "cost.saved", "USD", "higher", "what answers used again had cost when they were asked", money.cost_saved
        ),
        _metric("cached", "requests", None, "answers that an earlier run was given, used again", outcomes.cached),
        _metric(
            "api_calls",
            "requests",
            "lower",
            "requests that were sent, retries included; of a likelihood protocol its questions",
            outcomes.api_calls,
        ),
        *(
            _metric(name, "MB", "lower", meaning, partial(machine.resource, name, "MB", key, BYTES_PER_MB))
            for name, (key, meaning) in _PEAKS.items()
        ),
        _metric("cpu", "cores", "lower", "processor seconds of the client per second", machine.cpu),
        _metric(
            "model_cpu", "cores", "lower", "processor seconds of the model's processes per second", machine.model_cpu
        ),
        *(
            _metric(name, unit, None, meaning, partial(machine.per_second, name, unit, key, seconds))
            for name, (unit, key, seconds, meaning) in _GPU_MEANS.items()
        ),
    )
}

_JUDGE_TOKENS = {
    "judge.input_tokens": ("input_tokens", "input tokens of the judge, as reported"),
    "judge.output_tokens": ("output_tokens", "output tokens of the judge, as reported"),
}

JUDGE_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric(
            "judge.unscored",
            "requests",
            "lower",
            "answers that the judge failed on or did not decide; they are not scored",
            judging.unscored,
        ),
        _metric(
            "judge.agreement",
            "share",
            "higher",
            "share of answers rated by people to which the judge gives the same verdict",
            judging.agreement,
        ),
        _metric(
            "judge.kappa",
            "kappa",
            "higher",
            "Cohen's kappa between judge and people; for grades on a scale with quadratic weights",
            judging.kappa,
        ),
        _metric(
            "judge.swapped",
            "share",
            "lower",
            "share of compared pairs whose verdict turned with their order (counted as ties)",
            judging.swapped,
        ),
        _metric(
            "judge.noise",
            "score",
            "lower",
            "standard deviation of the judge's value of one answer when asked again",
            judging.noise,
        ),
        _metric("judge.calls", "requests", "lower", "requests sent to the judge, retries included", judging.calls),
        _metric("judge.cached", "requests", None, "replies of the judge from earlier runs, used again", judging.cached),
        _metric("judge.cost.saved", "USD", None, "what those replies had cost", judging.saved),
        *(
            _metric(name, "tokens", None, meaning, partial(judging.tokens, name, field))
            for name, (field, meaning) in _JUDGE_TOKENS.items()
        ),
        _metric("judge.cost.total", "USD", "lower", "cost of the judge, apart from the model's", judging.cost_total),
    )
}
"""The metrics of a judge, computed only where a model judged."""

"""Statistics on numbers alone: no record, no model. Each function names its source; results have named fields."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.stats.agreement import cohen_kappa as cohen_kappa
    from steelyard.stats.intervals import bayes_beta_interval as bayes_beta_interval
    from steelyard.stats.intervals import clopper_pearson_interval as clopper_pearson_interval
    from steelyard.stats.intervals import cluster_se as cluster_se
    from steelyard.stats.intervals import design_effect as design_effect
    from steelyard.stats.intervals import jeffreys_interval as jeffreys_interval
    from steelyard.stats.intervals import mean_interval as mean_interval
    from steelyard.stats.intervals import mean_se_epochs as mean_se_epochs
    from steelyard.stats.intervals import stratified_wilson_interval as stratified_wilson_interval
    from steelyard.stats.intervals import t_quantile as t_quantile
    from steelyard.stats.intervals import variance_components as variance_components
    from steelyard.stats.intervals import wilson_interval as wilson_interval
    from steelyard.stats.intervals import zero_event_upper_bound as zero_event_upper_bound
    from steelyard.stats.quantiles import clustered_quantile_interval as clustered_quantile_interval
    from steelyard.stats.quantiles import harrell_davis as harrell_davis
    from steelyard.stats.quantiles import min_n_for_quantile_bound as min_n_for_quantile_bound
    from steelyard.stats.quantiles import percentiles_linear as percentiles_linear
    from steelyard.stats.quantiles import pooled_percentile as pooled_percentile
    from steelyard.stats.quantiles import quantile_ci_ranks as quantile_ci_ranks
    from steelyard.stats.quantiles import quantile_interval as quantile_interval
    from steelyard.stats.ratios import ratio_interval_fieller as ratio_interval_fieller
    from steelyard.stats.ratios import tokens_per_second as tokens_per_second
    from steelyard.stats.sampling import pass_at_k as pass_at_k

_HOMES = {
    "agreement": ("cohen_kappa",),
    "intervals": (
        "bayes_beta_interval",
        "clopper_pearson_interval",
        "cluster_se",
        "design_effect",
        "jeffreys_interval",
        "mean_interval",
        "mean_se_epochs",
        "stratified_wilson_interval",
        "t_quantile",
        "variance_components",
        "wilson_interval",
        "zero_event_upper_bound",
    ),
    "quantiles": (
        "clustered_quantile_interval",
        "harrell_davis",
        "min_n_for_quantile_bound",
        "percentiles_linear",
        "pooled_percentile",
        "quantile_ci_ranks",
        "quantile_interval",
    ),
    "ratios": ("ratio_interval_fieller", "tokens_per_second"),
    "sampling": ("pass_at_k",),
}
_HOME_OF = {name: f"steelyard.stats.{module}" for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'steelyard.stats' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""Statistics on numbers alone: no record, no model. Each function names its source; results have named fields."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.stats.agreement import cohen_kappa as cohen_kappa
    from steelyard.stats.anytime import betting_e_value as betting_e_value
    from steelyard.stats.anytime import confidence_sequence_wor_binary as confidence_sequence_wor_binary
    from steelyard.stats.anytime import eprocess_paired_binary as eprocess_paired_binary
    from steelyard.stats.anytime import hedged_confidence_sequence as hedged_confidence_sequence
    from steelyard.stats.anytime import paired_difference_sequence as paired_difference_sequence
    from steelyard.stats.bootstrap import ratio_interval_bca as ratio_interval_bca
    from steelyard.stats.census import whole_difference as whole_difference
    from steelyard.stats.clustered_strata import cluster_se_stratified as cluster_se_stratified
    from steelyard.stats.control_variates import control_variate_difference as control_variate_difference
    from steelyard.stats.control_variates import control_variate_gain as control_variate_gain
    from steelyard.stats.control_variates import control_variate_mean as control_variate_mean
    from steelyard.stats.control_variates import ppi_mean as ppi_mean
    from steelyard.stats.correlation import correlation_interval_fisher as correlation_interval_fisher
    from steelyard.stats.correlation import kendall_interval as kendall_interval
    from steelyard.stats.correlation import kendall_tau_b as kendall_tau_b
    from steelyard.stats.correlation import partial_correlation as partial_correlation
    from steelyard.stats.correlation import pearson as pearson
    from steelyard.stats.correlation import point_biserial as point_biserial
    from steelyard.stats.correlation import spearman_exact as spearman_exact
    from steelyard.stats.gates import gate_chances as gate_chances
    from steelyard.stats.gates import gate_verdict as gate_verdict
    from steelyard.stats.gates import margin_verdict as margin_verdict
    from steelyard.stats.gates import tost_paired as tost_paired
    from steelyard.stats.intervals import bayes_beta_interval as bayes_beta_interval
    from steelyard.stats.intervals import clopper_pearson_interval as clopper_pearson_interval
    from steelyard.stats.intervals import cluster_se as cluster_se
    from steelyard.stats.intervals import design_effect as design_effect
    from steelyard.stats.intervals import jeffreys_interval as jeffreys_interval
    from steelyard.stats.intervals import mean_interval as mean_interval
    from steelyard.stats.intervals import mean_se_epochs as mean_se_epochs
    from steelyard.stats.intervals import poisson_rate_interval as poisson_rate_interval
    from steelyard.stats.intervals import t_quantile as t_quantile
    from steelyard.stats.intervals import variance_components as variance_components
    from steelyard.stats.intervals import wilson_interval as wilson_interval
    from steelyard.stats.intervals import wilson_interval_finite as wilson_interval_finite
    from steelyard.stats.intervals import zero_event_upper_bound as zero_event_upper_bound
    from steelyard.stats.multiplicity import bh_adjust as bh_adjust
    from steelyard.stats.multiplicity import false_coverage as false_coverage
    from steelyard.stats.multiplicity import holm_adjust as holm_adjust
    from steelyard.stats.paired import mcnemar as mcnemar
    from steelyard.stats.paired import paired_difference_bonett_price as paired_difference_bonett_price
    from steelyard.stats.paired import paired_difference_score_interval as paired_difference_score_interval
    from steelyard.stats.paired import paired_permutation as paired_permutation
    from steelyard.stats.paired import paired_permutation_exact as paired_permutation_exact
    from steelyard.stats.paired import paired_se_from_correlation as paired_se_from_correlation
    from steelyard.stats.paired import paired_t as paired_t
    from steelyard.stats.paired import paired_t_stratified as paired_t_stratified
    from steelyard.stats.paired_quantiles import paired_quantiles as paired_quantiles
    from steelyard.stats.power import minimum_detectable_effect as minimum_detectable_effect
    from steelyard.stats.power import power_two_sample_t as power_two_sample_t
    from steelyard.stats.power import sample_size_against_bound as sample_size_against_bound
    from steelyard.stats.power import sample_size_paired as sample_size_paired
    from steelyard.stats.power import sample_size_precision_fpc as sample_size_precision_fpc
    from steelyard.stats.power import sample_size_precision_wilson as sample_size_precision_wilson
    from steelyard.stats.power import sample_size_two_proportions as sample_size_two_proportions
    from steelyard.stats.quantiles import clustered_quantile_interval as clustered_quantile_interval
    from steelyard.stats.quantiles import harrell_davis as harrell_davis
    from steelyard.stats.quantiles import interpolated_quantile_interval as interpolated_quantile_interval
    from steelyard.stats.quantiles import min_n_for_quantile_bound as min_n_for_quantile_bound
    from steelyard.stats.quantiles import percentiles_linear as percentiles_linear
    from steelyard.stats.quantiles import pooled_percentile as pooled_percentile
    from steelyard.stats.quantiles import quantile_ci_ranks as quantile_ci_ranks
    from steelyard.stats.quantiles import quantile_interval as quantile_interval
    from steelyard.stats.ranking import rank_models as rank_models
    from steelyard.stats.ratios import ratio_interval_fieller as ratio_interval_fieller
    from steelyard.stats.ratios import tokens_per_second as tokens_per_second
    from steelyard.stats.sampling import pass_at_k as pass_at_k
    from steelyard.stats.sequential import alpha_spending_bounds as alpha_spending_bounds
    from steelyard.stats.sequential import crossing_probabilities as crossing_probabilities
    from steelyard.stats.sequential import group_sequential_bounds as group_sequential_bounds
    from steelyard.stats.strata import stratified_difference_interval as stratified_difference_interval
    from steelyard.stats.strata import stratified_score_interval as stratified_score_interval
    from steelyard.stats.trend import change_point as change_point
    from steelyard.stats.trend import cusum as cusum
    from steelyard.stats.trend import ewma_chart as ewma_chart
    from steelyard.stats.trend import homogeneity as homogeneity
    from steelyard.stats.trend import trend_known_se as trend_known_se
    from steelyard.stats.unpaired import bayes_prob_a_better as bayes_prob_a_better
    from steelyard.stats.unpaired import cohens_h as cohens_h
    from steelyard.stats.unpaired import unpaired_difference_newcombe as unpaired_difference_newcombe
    from steelyard.stats.unpaired import welch_t as welch_t
    from steelyard.stats.unpaired import welch_t_from_stats as welch_t_from_stats

_HOMES = {
    "agreement": ("cohen_kappa",),
    "anytime": (
        "betting_e_value",
        "confidence_sequence_wor_binary",
        "eprocess_paired_binary",
        "hedged_confidence_sequence",
        "paired_difference_sequence",
    ),
    "bootstrap": ("ratio_interval_bca",),
    "census": ("whole_difference",),
    "clustered_strata": ("cluster_se_stratified",),
    "control_variates": (
        "control_variate_difference",
        "control_variate_gain",
        "control_variate_mean",
        "ppi_mean",
    ),
    "correlation": (
        "correlation_interval_fisher",
        "kendall_interval",
        "kendall_tau_b",
        "partial_correlation",
        "pearson",
        "point_biserial",
        "spearman_exact",
    ),
    "gates": (
        "gate_chances",
        "gate_verdict",
        "margin_verdict",
        "tost_paired",
    ),
    "intervals": (
        "bayes_beta_interval",
        "clopper_pearson_interval",
        "cluster_se",
        "design_effect",
        "jeffreys_interval",
        "mean_interval",
        "mean_se_epochs",
        "poisson_rate_interval",
        "t_quantile",
        "variance_components",
        "wilson_interval",
        "wilson_interval_finite",
        "zero_event_upper_bound",
    ),
    "multiplicity": (
        "bh_adjust",
        "false_coverage",
        "holm_adjust",
    ),
    "paired": (
        "mcnemar",
        "paired_difference_bonett_price",
        "paired_difference_score_interval",
        "paired_permutation",
        "paired_permutation_exact",
        "paired_se_from_correlation",
        "paired_t",
        "paired_t_stratified",
    ),
    "paired_quantiles": ("paired_quantiles",),
    "power": (
        "minimum_detectable_effect",
        "power_two_sample_t",
        "sample_size_against_bound",
        "sample_size_paired",
        "sample_size_precision_fpc",
        "sample_size_precision_wilson",
        "sample_size_two_proportions",
    ),
    "quantiles": (
        "clustered_quantile_interval",
        "harrell_davis",
        "interpolated_quantile_interval",
        "min_n_for_quantile_bound",
        "percentiles_linear",
        "pooled_percentile",
        "quantile_ci_ranks",
        "quantile_interval",
    ),
    "ranking": ("rank_models",),
    "ratios": (
        "ratio_interval_fieller",
        "tokens_per_second",
    ),
    "sampling": ("pass_at_k",),
    "sequential": (
        "alpha_spending_bounds",
        "crossing_probabilities",
        "group_sequential_bounds",
    ),
    "strata": (
        "stratified_difference_interval",
        "stratified_score_interval",
    ),
    "trend": (
        "change_point",
        "cusum",
        "ewma_chart",
        "homogeneity",
        "trend_known_se",
    ),
    "unpaired": (
        "bayes_prob_a_better",
        "cohens_h",
        "unpaired_difference_newcombe",
        "welch_t",
        "welch_t_from_stats",
    ),
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

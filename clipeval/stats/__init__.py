"""Uncertainty: group rates, paired changes, tests over labels, bootstrap over clusters, group gaps.

Pure functions on arrays and tables. Rates in tables are percent (0-100). scipy and statsmodels are
imported by the functions that use them, so that this package imports fast.
"""

from clipeval.stats.bootstrap import (
    FEW_CLUSTERS,
    ClusterInterval,
    PairedInterval,
    cluster_bootstrap,
    cluster_rates,
    paired_bootstrap,
)
from clipeval.stats.gaps import GroupGaps, group_gaps
from clipeval.stats.labels import adjust, chi2_by_label
from clipeval.stats.paired import mcnemar_models, paired_change, paired_changes
from clipeval.stats.rates import group_counts, group_rates, hits_of, wilson

__all__ = [
    "FEW_CLUSTERS",
    "ClusterInterval",
    "GroupGaps",
    "PairedInterval",
    "adjust",
    "chi2_by_label",
    "cluster_bootstrap",
    "cluster_rates",
    "group_counts",
    "group_gaps",
    "group_rates",
    "hits_of",
    "mcnemar_models",
    "paired_bootstrap",
    "paired_change",
    "paired_changes",
    "wilson",
]

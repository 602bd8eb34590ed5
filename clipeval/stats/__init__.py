"""Uncertainty: group rates, group gaps, paired changes, tests over labels, bootstrap over clusters, power.

`group_rates` makes the rates and `wilson` their intervals, `paired_changes` compares two answers to the same images,
`chi2_by_label` tests labels and `adjust` corrects for their number, `group_gaps` measures how far groups are apart,
`cluster_rates` heeds images that belong together, `max_skew` and `ndkl` measure whom a ranking
puts first, `noisy_rates` says how far wrong labels move rates. Pure functions on arrays and tables; rates in tables
are percent (0-100). scipy.special is imported by the functions that use it, so that this room imports fast;
scipy.stats and statsmodels, which take two seconds, never are: Fisher's and McNemar's tests and the corrections are
written out here.
What the intervals and tests promise is measured by `make calibration`, into docs/calibration.md.
"""

from clipeval.stats.bootstrap import (
    FEW_CLUSTERS,
    ClusterInterval,
    PairedInterval,
    cluster_bootstrap,
    cluster_rates,
    paired_bootstrap,
)
from clipeval.stats.differences import newcombe
from clipeval.stats.factorial import factor_tests, leading_factor
from clipeval.stats.gaps import (
    Control,
    GroupGaps,
    control_of_counts,
    gaps_of_counts,
    group_gaps,
    negative_control,
)
from clipeval.stats.label_noise import NoisyRates, noisy_rates, wrong_labels
from clipeval.stats.labels import adjust, chi2_by_label
from clipeval.stats.paired import mcnemar_models, newcombe_paired, paired_changes
from clipeval.stats.picks import Extremes, extreme_rates, extremes, picked_confidence
from clipeval.stats.power import smallest_difference
from clipeval.stats.rates import (
    IMAGES,
    LEAST_EXPECTED,
    RATE_COLUMNS,
    all_different,
    clopper_pearson,
    codes_of,
    counted,
    doubtful,
    group_counts,
    group_rates,
    hits_of,
    mean_rate,
    rates_of_counts,
    wilson,
)
from clipeval.stats.skew import max_skew, ndkl, nearest, skew_of_counts, target_shares

__all__ = [
    "FEW_CLUSTERS",
    "IMAGES",
    "LEAST_EXPECTED",
    "ClusterInterval",
    "Control",
    "Extremes",
    "GroupGaps",
    "NoisyRates",
    "PairedInterval",
    "RATE_COLUMNS",
    "adjust",
    "all_different",
    "chi2_by_label",
    "clopper_pearson",
    "cluster_bootstrap",
    "cluster_rates",
    "codes_of",
    "control_of_counts",
    "counted",
    "doubtful",
    "extreme_rates",
    "extremes",
    "factor_tests",
    "gaps_of_counts",
    "group_counts",
    "group_gaps",
    "group_rates",
    "hits_of",
    "leading_factor",
    "max_skew",
    "mcnemar_models",
    "mean_rate",
    "ndkl",
    "nearest",
    "negative_control",
    "newcombe",
    "newcombe_paired",
    "noisy_rates",
    "paired_bootstrap",
    "paired_changes",
    "picked_confidence",
    "rates_of_counts",
    "skew_of_counts",
    "smallest_difference",
    "target_shares",
    "wilson",
    "wrong_labels",
]

"""Uncertainty: group rates, group gaps, paired changes, tests over labels, bootstrap over clusters, power.

`group_rates` makes the rates and `wilson` their intervals, `paired_changes` compares two answers to the same images,
`chi2_by_label` tests labels and `adjust` corrects for their number, `gaps_of_counts` measures how far groups are apart,
`cluster_rates` heeds images that belong together, `max_skew` and `ndkl` measure whom a ranking
puts first, `noisy_rates` says how far wrong labels move rates. Pure functions on arrays and tables; rates in tables
are percent (0-100). scipy.special is imported by the functions that use it, so that this room imports fast;
scipy.stats and statsmodels, which take two seconds, never are: Fisher's and McNemar's tests and the corrections are
written out here.
What the intervals and tests promise is measured by `make calibration`, into docs/calibration.md.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    bootstrap=(
        "FEW_CLUSTERS ClusterInterval PairedInterval cluster_bootstrap cluster_rates "
        "paired_bootstrap"
    ),
    differences="newcombe",
    factorial="factor_tests leading_factor",
    gaps="Control GroupGaps control_of_counts gaps_of_counts",
    label_noise="NoisyRates noisy_rates wrong_labels",
    labels="adjust chi2_by_label",
    paired="mcnemar_models newcombe_paired paired_changes",
    picks="Extremes change_ends extreme_rates extremes picked_confidence rate_ends",
    power="smallest_difference",
    rates=(
        "HIT IMAGES LEAST_EXPECTED RATE_COLUMNS all_different clopper_pearson codes_of counted "
        "counted_once doubtful group_counts group_rates hits_by_group hits_of mean_rate rates_of_counts "
        "wilson"
    ),
    skew="max_skew ndkl nearest skew_of_counts target_shares",
)

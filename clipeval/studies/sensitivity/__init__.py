"""Sensitivity: `study` is the study, the rest its tables, and the range that every report shows."""

from clipeval import lazy
from clipeval.studies.sensitivity.study import Parameters, ranges_by_group, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    by_group="by_pixels group_ranges",
    spread="breakdown intervals_of range_of uncertainties",
    variation="ranges vary",
    views=(
        "ON_CARDS most show_breakdown show_choices show_extensions show_range show_ranges show_widest "
        "title_of widest"
    ),
)
__all__ += ["Parameters", "ranges_by_group", "study"]

"""Sensitivity: `study` is the study, the rest its tables, and the range that every report shows."""

from clipeval.studies.sensitivity.by_group import by_pixels, group_ranges, show_extensions
from clipeval.studies.sensitivity.spread import breakdown, intervals_of, range_of, uncertainties
from clipeval.studies.sensitivity.study import Parameters, ranges_by_group, study
from clipeval.studies.sensitivity.tables import (
    ON_CARDS,
    most,
    show_range,
    show_widest,
    title_of,
    widest,
)
from clipeval.studies.sensitivity.variation import ranges, show_ranges, vary

__all__ = [
    "ON_CARDS",
    "Parameters",
    "breakdown",
    "by_pixels",
    "group_ranges",
    "intervals_of",
    "most",
    "range_of",
    "ranges",
    "ranges_by_group",
    "show_extensions",
    "show_range",
    "show_ranges",
    "show_widest",
    "study",
    "title_of",
    "uncertainties",
    "vary",
    "widest",
]

"""Retrieval: `study` is the study, the rest its tables, figures and sentences."""

from clipeval.studies.retrieval.preference import UNKNOWN, published
from clipeval.studies.retrieval.study import Parameters, study
from clipeval.studies.retrieval.tables import by_template, choices, found_by, nearest_images, skew
from clipeval.studies.retrieval.views import (
    in_words,
    show_choices,
    show_found,
    show_preference,
    show_skew,
)

__all__ = [
    "Parameters",
    "UNKNOWN",
    "by_template",
    "choices",
    "found_by",
    "in_words",
    "nearest_images",
    "published",
    "show_choices",
    "show_found",
    "show_preference",
    "show_skew",
    "skew",
    "study",
]

"""Celebrity identification: `study` is the study, the rest its tables and sentences."""

from clipeval.studies.celebrities.study import Parameters, study
from clipeval.studies.celebrities.tables import (
    ON_CARDS,
    SOURCE,
    in_words,
    names_on_offer,
    published_model,
    remarks,
    session_row,
    top1_by_group,
    top1_by_names,
)

__all__ = [
    "ON_CARDS",
    "Parameters",
    "SOURCE",
    "in_words",
    "names_on_offer",
    "published_model",
    "remarks",
    "session_row",
    "study",
    "top1_by_group",
    "top1_by_names",
]

"""Denigration harms: `study` is the study, the rest its tables and what is shown of them."""

from clipeval.published.denigration import (
    AGE_GROUPS,
    age_groups,
    audit,
    published_rates,
    side_by_side,
)
from clipeval.studies.denigration.known import counts_beside, known_run, setting, show_known
from clipeval.studies.denigration.study import Parameters, study
from clipeval.studies.denigration.tables import (
    GROUPS,
    SOURCE,
    Gaps,
    combined,
    gaps,
    harm_categories,
    harm_classes,
    harm_rates,
    need_groups,
    rates_by,
    top_labels,
)
from clipeval.studies.denigration.views import in_words, show_rates

__all__ = [
    "AGE_GROUPS",
    "GROUPS",
    "Gaps",
    "Parameters",
    "SOURCE",
    "age_groups",
    "audit",
    "combined",
    "counts_beside",
    "gaps",
    "harm_categories",
    "harm_classes",
    "harm_rates",
    "in_words",
    "known_run",
    "need_groups",
    "published_rates",
    "rates_by",
    "setting",
    "show_known",
    "show_rates",
    "side_by_side",
    "study",
    "top_labels",
]

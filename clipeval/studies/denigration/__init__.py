"""Denigration harms: `study` is the study, the rest its tables and what is shown of them."""

from clipeval.published.denigration import (
    AGE_GROUPS,
    age_groups,
    audit,
    published_rates,
    side_by_side,
)
from clipeval.studies.denigration.known import counts_beside, known_run, setting, show_known
from clipeval.studies.denigration.prose import introduction, limits, show_paper
from clipeval.studies.denigration.study import Parameters, study
from clipeval.studies.denigration.tables import (
    GROUPS,
    SOURCE,
    Gaps,
    combined,
    counted_answers,
    gaps,
    harm_categories,
    harm_classes,
    harm_rates,
    rates_by,
    top_labels,
)
from clipeval.studies.denigration.views import (
    in_words,
    show_gaps,
    show_groups,
    show_noise,
    show_rates,
)

__all__ = [
    "AGE_GROUPS",
    "GROUPS",
    "Gaps",
    "Parameters",
    "SOURCE",
    "age_groups",
    "audit",
    "combined",
    "counted_answers",
    "counts_beside",
    "gaps",
    "harm_categories",
    "harm_classes",
    "harm_rates",
    "in_words",
    "introduction",
    "known_run",
    "limits",
    "published_rates",
    "rates_by",
    "setting",
    "show_gaps",
    "show_groups",
    "show_noise",
    "show_known",
    "show_paper",
    "show_rates",
    "side_by_side",
    "study",
    "top_labels",
]

"""Members of Congress: `study` is the study, the rest its tables and what is shown of them."""

from clipeval.studies.congress.findings import FINDINGS_SOURCE, findings_summary, published_findings
from clipeval.studies.congress.study import Parameters, study
from clipeval.studies.congress.tables import (
    SOURCE,
    categories,
    gender_accuracy,
    label_categories,
    labels_by_gender,
    threshold_note,
    thresholds,
    top_gendered,
)
from clipeval.studies.congress.views import (
    figure_notes,
    limits,
    set_names,
    show_categories,
    show_top,
    threshold_lines,
)

__all__ = [
    "FINDINGS_SOURCE",
    "Parameters",
    "SOURCE",
    "categories",
    "figure_notes",
    "findings_summary",
    "gender_accuracy",
    "label_categories",
    "labels_by_gender",
    "limits",
    "published_findings",
    "set_names",
    "show_categories",
    "show_top",
    "study",
    "threshold_lines",
    "threshold_note",
    "thresholds",
    "top_gendered",
]

"""Members of Congress: `study` is the study, the rest its tables and what is shown of them."""

from clipeval.studies.congress.findings import FINDINGS_SOURCE, findings_summary, published_findings
from clipeval.studies.congress.prose import introduction, show_findings, show_limits
from clipeval.studies.congress.study import Parameters, study
from clipeval.studies.congress.tables import (
    SOURCE,
    categories,
    gender_accuracy,
    label_categories,
    labels_by_gender,
    services,
    threshold_note,
    thresholds,
    top_gendered,
    truth_tasks,
)
from clipeval.studies.congress.views import (
    figure_notes,
    limits,
    set_names,
    show_accuracy,
    show_categories,
    show_groups,
    show_noise,
    show_services,
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
    "introduction",
    "label_categories",
    "labels_by_gender",
    "limits",
    "published_findings",
    "services",
    "set_names",
    "show_accuracy",
    "show_categories",
    "show_findings",
    "show_groups",
    "show_noise",
    "show_limits",
    "show_services",
    "show_top",
    "study",
    "threshold_lines",
    "threshold_note",
    "thresholds",
    "top_gendered",
    "truth_tasks",
]

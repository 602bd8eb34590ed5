"""Members of Congress: `study` is the study, the rest its tables and what is shown of them."""

from clipeval import lazy
from clipeval.studies.congress.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    findings="FINDINGS_SOURCE findings_summary published_findings",
    prose="introduction show_findings show_limits",
    tables=(
        "SOURCE categories gender_accuracy label_categories labels_by_gender services "
        "threshold_note thresholds top_gendered truth_tasks"
    ),
    views=(
        "asked figure_notes limits set_names show_accuracy show_categories show_groups show_noise "
        "show_services show_top threshold_lines"
    ),
)
__all__ += ["Parameters", "study"]

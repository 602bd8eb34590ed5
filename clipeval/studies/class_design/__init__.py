"""Class design: `study` is the study, the rest its tables and sentences."""

from clipeval import lazy
from clipeval.studies.class_design.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    candidates="AGREEMENT candidate_classes person_classes rates_taken taken_by",
    tables=(
        "CHANGE ON_CARDS SOURCE best_candidate compare counted_answers intervals most_changed moved one_way "
        "paired_labels published_source shown sweep"
    ),
    views="introduction names show_groups show_moved show_noise show_overall show_sweep",
)
__all__ += ["Parameters", "study"]

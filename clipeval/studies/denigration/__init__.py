"""Denigration harms: `study` is the study, the rest its tables and what is shown of them."""

from clipeval import lazy
from clipeval.studies.denigration.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    known="counts_beside known_run setting show_known",
    prose="introduction limits show_paper",
    tables=(
        "GROUPS SOURCE Gaps combined counted_answers gaps harm_categories harm_classes harm_rates rates_by "
        "top_labels"
    ),
    views="in_words show_gaps show_groups show_noise show_rates",
)
__all__ += ["Parameters", "study"]

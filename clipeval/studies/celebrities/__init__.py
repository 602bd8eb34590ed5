"""Celebrity identification: `study` is the study, the rest its tables and sentences."""

from clipeval import lazy
from clipeval.studies.celebrities.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    tables=(
        "ON_CARDS SOURCE in_words names_on_offer published_model remarks session_row "
        "top1_by_group top1_by_names"
    ),
    views="show_groups show_names",
)
__all__ += ["Parameters", "study"]

"""Retrieval: `study` is the study, the rest its tables, figures and sentences."""

from clipeval import lazy
from clipeval.studies.retrieval.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    preference="UNKNOWN published",
    tables="by_template choices found_by nearest_images skew",
    views="in_words show_choices show_found show_preference show_skew",
)
__all__ += ["Parameters", "study"]

"""CCTV surveillance: `study` is the study, the rest its questions, tables and sentences."""

from clipeval import lazy
from clipeval.studies.cctv.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    tables="METRICS SOURCE accuracy by_sequence confusion counted_answers in_words remarks session_questions",
    views="show_accuracy show_confusion show_questions show_sequences",
)
__all__ += ["Parameters", "study"]

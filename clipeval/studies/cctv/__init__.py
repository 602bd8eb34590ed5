"""CCTV surveillance: `study` is the study, the rest its questions, tables and sentences."""

from clipeval.studies.cctv.questions import questions
from clipeval.studies.cctv.study import Parameters, study
from clipeval.studies.cctv.tables import (
    METRICS,
    SOURCE,
    accuracy,
    by_sequence,
    confusion,
    counted_answers,
    in_words,
    remarks,
    session_questions,
)

__all__ = [
    "METRICS",
    "Parameters",
    "SOURCE",
    "accuracy",
    "by_sequence",
    "confusion",
    "counted_answers",
    "in_words",
    "questions",
    "remarks",
    "session_questions",
    "study",
]

"""Mitigation as a what-if: `study` is the study, the rest its methods, tables and sentences."""

from clipeval.studies.mitigation.curves import abstaining, options, shots
from clipeval.studies.mitigation.methods import KINDS, UNCHANGED, UNNAMED
from clipeval.studies.mitigation.prior import match_prior
from clipeval.studies.mitigation.projection import calibrated, orthogonal, project
from clipeval.studies.mitigation.prototypes import mix
from clipeval.studies.mitigation.study import Parameters, study
from clipeval.studies.mitigation.tables import changes, counted, counted_answers, farthest, gaps
from clipeval.studies.mitigation.views import (
    ON_CARDS,
    fitted,
    harm_name,
    needs,
    not_asked,
    overview,
    pairs,
    show_abstaining,
    show_changes,
    show_gaps,
    show_groups,
    show_shots,
)

__all__ = [
    "KINDS",
    "ON_CARDS",
    "Parameters",
    "UNCHANGED",
    "UNNAMED",
    "abstaining",
    "calibrated",
    "changes",
    "counted",
    "counted_answers",
    "farthest",
    "fitted",
    "gaps",
    "harm_name",
    "match_prior",
    "mix",
    "needs",
    "not_asked",
    "options",
    "orthogonal",
    "overview",
    "pairs",
    "project",
    "shots",
    "show_groups",
    "show_shots",
    "show_gaps",
    "show_abstaining",
    "show_changes",
    "study",
]

"""FairFace classification: `study` is the study, the rest its tables."""

from clipeval.studies.fairface.probe import probe, probe_fits
from clipeval.studies.fairface.study import Parameters, study
from clipeval.studies.fairface.tables import (
    SOURCE,
    accuracy_by_group,
    accuracy_by_white,
    gender_by_race,
    published_note,
    tasks,
    with_replications,
)

__all__ = [
    "Parameters",
    "SOURCE",
    "accuracy_by_group",
    "accuracy_by_white",
    "gender_by_race",
    "probe",
    "published_note",
    "probe_fits",
    "study",
    "tasks",
    "with_replications",
]

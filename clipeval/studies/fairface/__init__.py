"""FairFace classification: `study` is the study, the rest its tables."""

from clipeval.studies.fairface.labels import labelled_tasks, zero_shot_tasks
from clipeval.studies.fairface.probe import probe, probe_fits
from clipeval.studies.fairface.study import Parameters, study
from clipeval.studies.fairface.tables import (
    AVERAGE_INTERVALS,
    SOURCE,
    accuracy_by_group,
    accuracy_by_white,
    counted_answers,
    gender_by_race,
    like_the_paper,
    published_note,
    with_replications,
)
from clipeval.studies.fairface.views import (
    introduction,
    limits,
    show_accuracy,
    show_noise,
    show_probe,
)

__all__ = [
    "AVERAGE_INTERVALS",
    "Parameters",
    "SOURCE",
    "accuracy_by_group",
    "accuracy_by_white",
    "counted_answers",
    "gender_by_race",
    "introduction",
    "labelled_tasks",
    "like_the_paper",
    "limits",
    "probe",
    "published_note",
    "probe_fits",
    "show_accuracy",
    "show_noise",
    "show_probe",
    "study",
    "with_replications",
    "zero_shot_tasks",
]

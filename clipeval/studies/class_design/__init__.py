"""Class design: `study` is the study, the rest its tables and sentences."""

from clipeval.studies.class_design.candidates import (
    add_one_class,
    candidate_classes,
    person_classes,
)
from clipeval.studies.class_design.study import Parameters, study
from clipeval.studies.class_design.tables import (
    CHANGE,
    ON_CARDS,
    SOURCE,
    best_candidate,
    compare,
    counted_answers,
    intervals,
    most_changed,
    moved,
    one_way,
    paired_labels,
    published_source,
    shown,
    sweep,
)
from clipeval.studies.class_design.views import (
    introduction,
    names,
    show_groups,
    show_noise,
    show_sweep,
)

__all__ = [
    "CHANGE",
    "ON_CARDS",
    "Parameters",
    "SOURCE",
    "add_one_class",
    "best_candidate",
    "candidate_classes",
    "compare",
    "counted_answers",
    "intervals",
    "introduction",
    "most_changed",
    "moved",
    "names",
    "one_way",
    "paired_labels",
    "person_classes",
    "published_source",
    "show_groups",
    "show_noise",
    "show_sweep",
    "shown",
    "study",
    "sweep",
]

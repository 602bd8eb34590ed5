"""FairFace classification: `study` is the study, the rest its tables."""

from clipeval import lazy
from clipeval.studies.fairface.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    labels="labelled_tasks zero_shot_tasks",
    probe="probe_fits",
    tables=(
        "AVERAGE_INTERVALS SOURCE accuracy_by_group accuracy_by_white counted_answers gender_by_race "
        "like_the_paper published_note with_replications"
    ),
    views="introduction limits show_accuracy show_noise show_probe",
)
__all__ += ["Parameters", "study"]

"""Mitigation as a what-if: `study` is the study, the rest its methods, tables and sentences."""

from clipeval import lazy
from clipeval.studies.mitigation.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    curves="abstaining options shots",
    methods="KINDS UNCHANGED UNNAMED",
    prior="match_prior",
    projection="calibrated orthogonal project",
    prototypes="mix",
    tables="changes counted counted_answers farthest gaps",
    views=(
        "ON_CARDS fitted harm_name needs not_asked overview pairs show_abstaining show_changes "
        "show_gaps show_groups show_methods show_shots"
    ),
)
__all__ += ["Parameters", "study"]

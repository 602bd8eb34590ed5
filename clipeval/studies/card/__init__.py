"""The characterization card: `study` is the study, the rest its table, its page and what is shown."""

from clipeval import lazy
from clipeval.studies.card.study import Parameters, study

__getattr__, __dir__, __all__ = lazy(
    __name__,
    tables="against_published drawn explained markdown not_measured summarise",
    views="pictures save_markdown show",
)
__all__ += ["Parameters", "study"]

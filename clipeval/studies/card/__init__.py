"""The characterization card: `study` is the study, the rest its table, its page and what is shown."""

from clipeval.studies.card.study import Parameters, study
from clipeval.studies.card.tables import (
    against_published,
    drawn,
    explained,
    markdown,
    not_measured,
    summarise,
)
from clipeval.studies.card.views import pictures, save_markdown, show

__all__ = [
    "Parameters",
    "against_published",
    "drawn",
    "explained",
    "markdown",
    "not_measured",
    "pictures",
    "save_markdown",
    "show",
    "study",
    "summarise",
]

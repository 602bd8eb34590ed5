"""Published numbers: loaded with their sources, joined onto measured tables, audited; known answers."""

from clipeval.published.audit import audit_denigration
from clipeval.published.known import (
    KnownComparison,
    compare_known,
    count_answers,
    known_counts,
    known_runs,
)
from clipeval.published.tables import (
    RACE_NAMES,
    fairface_groups,
    load_published,
    published_names,
    replications,
    with_published,
)

__all__ = [
    "RACE_NAMES",
    "KnownComparison",
    "audit_denigration",
    "compare_known",
    "count_answers",
    "fairface_groups",
    "known_counts",
    "known_runs",
    "load_published",
    "published_names",
    "replications",
    "with_published",
]

"""Published numbers: loaded with their sources, joined onto measured tables, audited."""

from clipeval.published.audit import audit_denigration
from clipeval.published.tables import (
    RACE_NAMES,
    fairface_groups,
    load_published,
    published_names,
    replications,
    unmatched,
    with_published,
)

__all__ = [
    "RACE_NAMES",
    "audit_denigration",
    "fairface_groups",
    "load_published",
    "published_names",
    "replications",
    "unmatched",
    "with_published",
]

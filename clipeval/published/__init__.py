"""What others measured: numbers with their sources, joined onto measured tables, and audited.

`load_published` reads a file of data/published, `with_published` sets it beside measured rows, `replications` are the
numbers of other models; `audit_denigration` holds the paper's tables against each other, `compare_known` a run of your
own against images that others have counted.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    audit="audit_denigration",
    known="KnownComparison compare_known count_answers known_counts known_runs",
    tables="RACE_NAMES fairface_groups load_published published_names replications with_published",
)

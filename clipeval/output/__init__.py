"""A study table as CSV, LaTeX, HTML or figure, each with where it comes from.

`check_table` holds a table to its schema, `write_table` and `show_table` write and show it; `interval_plot`,
`grouped_bars`, `line_by`, `flow` and `confusion` draw, `save_figure` writes; `Provenance` and `caption` say of what.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    tables="check_table write_table show_table",
    figures="interval_plot grouped_bars",
    curves="line_by",
    class_pairs="flow confusion",
    saving="save_figure",
    provenance="Provenance caption",
)

"""What the characterization card shows of this study."""

from collections.abc import Mapping

import pandas as pd

from clipeval.session.study import Line, Part
from clipeval.studies.mitigation.tables import AGREEMENT

#: methods that a card shows
SHOWN = ("orthogonal: texts", "calibrated: texts", "added: any")


def is_cost(metric: str) -> bool:
    """Whether a metric is an accuracy, or agreement with the labels, and no harm."""
    return metric.endswith((" accuracy", AGREEMENT))


def benefits_and_costs(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(method, metric) of the paired changes that are shown: all harms together, then accuracies and agreement."""
    found = []
    for method in SHOWN if len(table) else ():
        metrics = list(dict.fromkeys(table.loc[table["method"] == method, "metric"]))
        costs = [name for name in metrics if is_cost(name)]
        harms = [name for name in metrics if name not in costs]
        found += [(method, name) for name in (*harms[-1:], *costs)]
    return found


def _lines(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """For each method the change in all harms together, then what it costs."""
    table = tables.get("changes")
    if table is None:
        return [Line("changes", "{metric}, {method}")]
    return [
        Line("changes", "{metric}, {method}", {"method": method, "metric": metric})
        for method, metric in benefits_and_costs(table)
    ]


CARD = (
    Part(
        "What if",
        _lines,
        "That any of these choices repairs the model: each moves errors, and other choices move them elsewhere.",
    ),
)

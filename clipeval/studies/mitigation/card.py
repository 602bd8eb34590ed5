"""What the characterization card shows of this study."""

from collections.abc import Mapping

import pandas as pd

from clipeval.session.study import Line, Part

#: methods that a card shows
SHOWN = ("orthogonal: texts", "calibrated: texts", "added: any")


def _lines(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """For each method the change in all harms together, then what it costs in accuracy."""
    table = tables.get("changes", pd.DataFrame({"method": list(SHOWN), "metric": ""}))
    lines = []
    for method in SHOWN:
        metrics = list(dict.fromkeys(table.loc[table["method"] == method, "metric"]))
        costs = [name for name in metrics if name.endswith(" accuracy")]
        harms = [name for name in metrics if name not in costs and "named as labelled" not in name]
        for name in [*harms[-1:], *costs]:
            lines.append(Line("changes", "{metric}, {method}", {"method": method, "metric": name}))
    return lines


CARD = (
    Part(
        "What if",
        _lines,
        "That any of these choices repairs the model: each moves errors, and other choices move them elsewhere.",
    ),
)

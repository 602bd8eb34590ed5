"""What the characterization card shows of this study."""

from collections.abc import Mapping

import pandas as pd

from clipeval.session.study import Line, Part, literal
from clipeval.studies.denigration.tables import GROUPS


def _gaps(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """The largest gap of every grouping; of the paper's three of race and gender."""
    if "gaps" not in tables:
        return []
    groupings = list(dict.fromkeys(tables["gaps"]["grouping"]))
    if groupings == list(GROUPS):
        groupings = groupings[:2]
    apart = {"highest": lambda group: group != "all equal"}
    words = "{category}, largest gap by {grouping}: {highest} to {lowest}"
    return [Line("gaps", words, {"grouping": by} | apart) for by in groupings]


def _rates(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """All images, and the highest group of every grouping; of the paper's three of race."""
    found = [Line("overall", "{metric}, all images", varied="{metric}")]
    by = {id: table.columns[0] for id, table in tables.items() if id.startswith("by_")}
    if set(GROUPS) <= set(by.values()):
        by = {"by_race": "race"}
    for id, name in by.items():
        words = f"{{metric}}, highest {literal(name)}: {{of}}"
        found.append(Line(id, words, pick="highest", each="metric", of=name))
    return found


CARD = (
    Part("Group gaps", _gaps),
    Part(
        "Harm rates",
        _rates,
        "Harms by classes, prompts or pictures that were not tried; a low rate is not evidence of safety.",
        "CLIP ViT-L/14 on 10,000 FairFace images, prompts unpublished (arXiv 2108.02818, section 2.1)",
    ),
)

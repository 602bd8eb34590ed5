"""What the celebrities notebook shows: how often the true name comes first, by number of names and by group."""

import pandas as pd
from IPython.display import display

from clipeval.output import figures
from clipeval.studies.celebrities.tables import (
    SOURCE,
    in_words,
    session_row,
    top1_by_group,
    top1_by_names,
)
from clipeval.studies.showing import draw

_INTERVALS = "95 % bootstrap intervals over people"
_CLUSTERS = ["clusters", "few_clusters"]


def show_names(session, predictions: pd.DataFrame) -> None:
    """Keep and show the table `top1_by_names`, draw how often the true name comes first, and say it in words."""
    row = session_row(session)
    how = {"model": row, "seed": session.parameters.seed}
    table = session.tabulate(top1_by_names, predictions, **how)
    said = {"intervals": _INTERVALS, "published_source": f"{SOURCE}, {row}" if row else None}
    text = "How often the true name comes first, and among the first five, by number of names."
    display(session.table("top1_by_names", table, text, extra=_CLUSTERS, **said))
    first = table[table["metric"] == "top-1"]
    text = (
        "How often the true name comes first, by number of names (closed: the images of so many people; "
        "distractors: all images); line without points: guessing."
    )
    look = {"x": "names", "hue": "protocol", "log_x": True, "chance": "chance"}
    look |= {"xlabel": "names on offer", "ylabel": "true name first (percent of images)"}
    look |= {"plot": figures.line_by, "what": "true name first"}
    draw(session, "top1_by_names", first, text, said, **look)
    print(in_words(table))


def show_groups(session, predictions: pd.DataFrame) -> None:
    """Keep and show the table `top1_GROUPING` of each grouping."""
    for grouping in session.groupings:
        how = {"by": grouping.name, "seed": session.parameters.seed}
        table = top1_by_group(predictions, **how)
        text = f"How often the true name comes first, and among the first five, by {grouping.name}."
        id, said = f"top1_{grouping.id}", {"extra": _CLUSTERS, "intervals": _INTERVALS}
        display(session.table(id, table, text, **said))

"""What the card's notebook shows and keeps."""

from functools import partial

import pandas as pd

from clipeval.files import Folder
from clipeval.output.provenance import TEST_CARDS
from clipeval.studies.card.tables import OVER, SAID, drawn, markdown


def show(session, table: pd.DataFrame):
    """Keep and show the card as a table; None where it is empty."""
    if table.empty:
        return None
    extra = [column for column in ("chance", OVER, "note") if column in table]
    if "nats" in set(table["unit"]):  # else the head of the column says the units
        extra.insert(0, "unit")
    text = "Characterization of the model: every number with its interval"
    text += f", and its range {OVER} where these were varied" if OVER in table else ""
    if table["published"].notna().any():
        text += "; beside it the published one, which is of another model or other images"
    return session.table("card", table, f"{text}.", extra=extra, **_said(table))


def _said(rows: pd.DataFrame) -> dict:
    """What captions say of intervals, and of published values where a row has one."""
    return SAID if rows["published"].notna().any() else SAID | {"published_source": None}


def pictures(session, table: pd.DataFrame) -> list:
    """Keep and show the card's rates, and apart from them what is in percentage points."""
    from clipeval.output.figures import interval_plot

    plan = {
        "card": (False, "percent", "The model at a glance; n differs from line to line."),
        "card_gaps": (
            True,
            "percentage points",
            "Gaps between groups, and changes by other classes and other choices.",
        ),
    }
    shown = []
    for id, (points, xlabel, text) in plan.items():
        rows = drawn(table, points=points)
        if len(rows):
            picture = partial(interval_plot, rows, y="quantity", xlabel=xlabel, width="double")
            shown.append(session.figure(id, picture, text, **_said(rows)))
    return shown


def save_markdown(session, table: pd.DataFrame) -> None:
    """Write card.md."""
    caution = TEST_CARDS if session.provenance.test_cards else ""
    Folder(session.folder).write("card.md", markdown(table, session.about(), caution))

"""What the sensitivity notebook shows, and the range over words that every report shows."""

import pandas as pd
from IPython.display import display

from clipeval.classify.class_sets import load_class_set
from clipeval.output import figures
from clipeval.output.numbers import interval, is_nats, number, p_value
from clipeval.session.session import Session
from clipeval.stats import leading_factor
from clipeval.studies import get_study
from clipeval.studies.sensitivity.by_group import by_pixels
from clipeval.studies.sensitivity.spread import intervals_of, range_of, uncertainties
from clipeval.studies.sensitivity.variation import ranges
from clipeval.studies.showing import draw, say


def widest(table: pd.DataFrame, study: str, *, precision: str, resize: str) -> pd.DataFrame:
    """The rows, of one precision and resize, of the quantity of a study that choices move the most.

    Of the study's own choices, such as k, those of the reference alone are shown.

    Returns
    -------
    DataFrame: rows of `table`, and `wording`, what sets a class set apart from the others
    """
    table = table[table["study"] == study]
    ranges = range_of(table)
    rows = table[table["quantity"] == ranges.loc[ranges["width"].idxmax(), "quantity"]]
    rows = rows[(rows["precision"] == precision) & (rows["resize"] == resize)]
    for choice in get_study(study).choices:
        rows = rows[rows[choice] == rows.loc[rows["reference"], choice].iloc[0]]
    loads = table.attrs.get("words", {})
    titles = {spec: title_of(loads.get(spec, spec)) for spec in rows["class_set"].unique()}
    if len(set(titles.values())) < len(titles):
        titles = {spec: spec for spec in titles}
    return rows.assign(wording=rows["class_set"].map(titles))


def title_of(class_set: str) -> str:
    """What a class set is, for a label: the note of its variant where it has one, else its name."""
    found = load_class_set(class_set) if class_set else None
    return (found.note or found.spec) if found else "captions"


def show_choices(session, table: pd.DataFrame) -> None:
    """Say what could not be tried, and keep and show every combination of choices: table `by_choice`."""
    print("\n".join(table.attrs["left_out"]) or "Every choice that was asked for could be tried.")
    text = "Headline numbers under every combination of choices."
    said = {"extra": ["reference"], "intervals": intervals_of(table)}
    display(session.table("by_choice", table, text, **said))


def show_range(session, table: pd.DataFrame) -> None:
    """Keep and show `range_of` a run's table, and draw it beside what sampling leaves open.

    Figures are `range` of percents, and `range_nats` of what is in nats.
    """
    ranges = range_of(table)
    text = "Headline numbers at the reference choice, and their range over all choices."
    said = {"extra": _RANGE, "intervals": intervals_of(ranges)}
    display(session.table("range", ranges, text, **said))
    both = uncertainties(ranges)
    nats = both["metric"].map(is_nats).astype(bool)
    text = "What sampling and what choices leave open, around the value at the reference choice."
    both.attrs |= {name: ranges.attrs[name] for name in ("intervals", "levels")}
    parts = (("range", both[~nats], "percent of images"), ("range_nats", both[nats], "nats"))
    for id, rows, unit in parts:
        if len(rows):
            look = {"y": "quantity", "hue": "uncertainty", "panel": "study", "xlabel": unit}
            said = {"intervals": f"{intervals_of(rows)}, {_AND_CHOICES}"}
            draw(session, id, rows, text, said, width="double", **look)


#: columns of a range that are shown
_RANGE = ["lowest", "highest", "choices", "lowest_with", "highest_with"]
_AND_CHOICES = "and from the lowest to the highest value over all choices"


def show_breakdown(session, parts: pd.DataFrame) -> None:
    """Keep and show `breakdown`, draw it, and say which choice matters most.

    Nothing is drawn where one choice alone was varied, as all of the variance is then its own.
    """
    text = "Share of the variance over choices that each choice accounts for."
    extra = ["by_chance", "excess", "p_adjusted"]
    display(session.table("breakdown", parts, text, extra=extra, intervals=""))
    if parts["choice"].nunique() > 1:
        look = {"y": "quantity", "hue": "choice", "panel": "study", "plot": figures.grouped_bars}
        look |= {"xlabel": "share of the variance over choices (percent)"}
        # the images are those of every rate, and no n of a share
        draw(session, "breakdown", parts.drop(columns="n"), text, {"intervals": ""}, **look)
    print(most(parts))


def show_widest(session, table: pd.DataFrame) -> None:
    """Draw the rows of `widest` for each study, figures `widest_STUDY`."""
    p = session.parameters
    for study in table["study"].unique():
        rows = widest(table, study, precision=p.precision, resize=p.resize)
        quantity, unit = rows["quantity"].iloc[0], "percent of images"
        if is_nats(rows["metric"].iloc[0]):
            unit = "nats"
        look = {"y": "wording", "hue": "templates", "xlabel": f"{quantity}, {unit}"}
        text = f"{quantity[:1].upper()}{quantity[1:]} by class set (rows) and templates (colours)."
        said = {"intervals": intervals_of(table[table["study"] == study])}
        draw(session, f"widest_{study}", rows, text, said, width="double", **look)


def most(parts: pd.DataFrame) -> str:
    """A line for each quantity: the choice that accounts for the most, where a test finds any to matter.

    Parameters
    ----------
    parts : DataFrame, as `breakdown` returns it
    """
    lines = []
    choices = parts[(parts["choice"] != "interactions") & parts["percent"].notna()]
    for (study, quantity), rows in choices.groupby(["study", "quantity"], sort=False):
        first = leading_factor(rows)
        if first is not None:
            beyond = interval(*first[["excess", "excess_low", "excess_high"]])
            said = (
                f"{first['choice']} matters most, with {number(first['percent'])} % of the variance over "
                f"choices, {beyond} % beyond what noise would give it (corrected {p_value(first['p_adjusted'])})"
            )
        elif rows["p"].isna().all():
            said = "one choice alone was varied, so that its effect cannot be told from noise"
        else:
            said = f"no choice is found to matter (least corrected {p_value(rows['p_adjusted'].min())})"
        lines.append(f"- {study}, {quantity}: {said}.")
    return "\n".join(lines) or "No choice moves any of these numbers."


#: a remark for test cards
ON_CARDS = (
    "> **On test cards this shows the machinery; it is not a result about any model.** The cards were drawn for the "
    "default prompts alone. Another wording shares some of its words with these, and so some of their "
    "vector; where it shares few, its answers are arbitrary. How much a variant moves the numbers here "
    "says how many words it shares, and nothing about any model."
)


def widest_quantity(ranges: pd.DataFrame) -> pd.DataFrame:
    """The rows of `group_ranges` of the study and quantity in which some group moves most."""
    most = ranges.loc[ranges["width"].idxmax()]
    at = (ranges["study"] == most["study"]) & (ranges["quantity"] == most["quantity"])
    return ranges[at].reset_index(drop=True)


def _told_apart(rates: pd.DataFrame) -> pd.DataFrame:
    """Rows whose quantity names its study where another study has one of that name."""
    shared = rates.groupby("quantity")["study"].transform("nunique") > 1
    named = rates["quantity"] + " (" + rates["study"] + ")"
    return rates.assign(quantity=rates["quantity"].mask(shared, named))


def show_extensions(session: Session, table: pd.DataFrame, ranges: pd.DataFrame) -> None:
    """Keep and show `by_pixels`, where reductions were tried, and `group_ranges`, where there are groups."""
    pixels = by_pixels(table)
    if len(pixels):
        say(_PIXELS)
        text = (
            "Headline numbers by the pixels that the shorter side of an image was reduced to. "
            + _EXTENSION
        )
        how = {"intervals": intervals_of(table)}
        display(session.table("by_pixels", pixels, text, **how))
        axes = {"y": "pixels", "panel": "quantity"}
        rates = _told_apart(pixels[~pixels["metric"].map(is_nats).astype(bool)])
        if len(rates):
            draw(session, "by_pixels", rates, text, how, what="images", width="double", **axes)
    if len(ranges):
        say(_GROUPS)
        text = "Rate of each group at the reference choice, and its range over all choices."
        extra = ["lowest", "highest", "choices"]
        display(session.table("range_by_group", ranges, f"{text} {_EXTENSION}", extra=extra))
        most = widest_quantity(ranges)
        both = uncertainties(most)
        axes = {"y": "group", "hue": "uncertainty", "panel": "grouping"}
        said = f"{text} Shown: {most['quantity'].iloc[0]} ({most['study'].iloc[0]}). {_EXTENSION}"
        how = {"intervals": f"95 % Wilson intervals, {_AND_CHOICES}"}
        draw(session, "range_by_group", both, said, how, what="images", width="double", **axes)


_EXTENSION = "An extension; not in arXiv 2108.02818."
_PIXELS = """\
## Fewer pixels

An extension, not in arXiv 2108.02818: cameras of low resolution show few pixels of a person. Each image is reduced
to a shorter side of so many pixels before the model's own preprocess, which enlarges it again; images that have no
more are left as they are. Words and precision are those of the reference."""
_GROUPS = """\
## How far each group's rate moves

An extension, not in arXiv 2108.02818. A choice can leave the rate of all images where it is and move that of one
group; in the figure is the number in which some group moves most."""


def show_ranges(session: Session) -> None:
    """Keep and show `ranges` as the table "range"; a sentence where there is nothing to vary."""
    found = ranges(session)
    if found.empty:
        say(
            "No words can be put to the model here that move a headline number, so there is no choice to vary."
        )
        return
    text = "Headline numbers of this run, and their range over class sets and templates."
    if session.images.attrs.get("planted"):
        text += " Cards were drawn for the default words: how far others move them means nothing."
    text = " ".join([text, *found.attrs["left_out"]])
    display(session.table("range", found, text, extra=_RANGE, intervals=intervals_of(found)))

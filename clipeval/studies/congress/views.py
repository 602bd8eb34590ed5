"""What the Congress notebook shows: names of the label sets, columns for figures, and sentences."""

from collections.abc import Mapping

import pandas as pd

from clipeval.classify.multilabel import ALPHA
from clipeval.output.markup import markdown
from clipeval.stats import wilson

#: value of the parameter `correction` -> its name in captions
CORRECTION_NAMES: Mapping[str, str] = {"bh": "Benjamini-Hochberg", "holm": "Holm"}
_SETS = {"labels": "cloud labels"}
_EMPTY = "no label is given at this threshold"


def set_names(predictions: pd.DataFrame) -> dict[str, str]:
    """Label set -> how it is called, with its number of labels: "cloud labels (311)"."""
    rows = predictions[(predictions["task"] != "gender").to_numpy()]
    number = rows.groupby(rows["task"].astype(str), sort=False)["label"].nunique()
    return {name: f"{_SETS.get(name, name)} ({n:,})" for name, n in number.items()}


def figure_notes(predictions: pd.DataFrame, correction: str) -> str:
    """Which words were offered and how p values were corrected: two sentences for captions."""
    rows = predictions[(predictions["task"] != "gender").to_numpy()]
    source = rows.groupby(rows["task"].astype(str), sort=False)["class_set"].first()
    sets = "; ".join(f"{name} of {source[key]}" for key, name in set_names(predictions).items())
    return (
        f"Offered: {sets}. p values are corrected for the labels of a set "
        f"({CORRECTION_NAMES[correction]})."
    )


def show_top(session, most: pd.DataFrame, text: str, notes: str, names: Mapping[str, str]) -> None:
    """Draw `top_gendered` of each label set; labels that differ after the correction have a *."""
    from IPython.display import display

    from clipeval.output import figures

    how = {"y": "label", "hue": "gender", "panel": "direction"}
    for name, words in names.items():
        bars = most[most["label_set"] == name]
        differs = bars["p_adjusted"] < ALPHA
        bars = bars.assign(
            label=bars["label"].astype(object) + differs.map({True: " *", False: ""})
        )
        figure = figures.grouped_bars(bars, **how, empty=_EMPTY)
        about = f"{text}, of the {words}. * differs after the correction. {notes}"
        id = "top_gendered" if name == "labels" else f"top_gendered_{name}"
        alt = figures.alt_text(bars, **how) if len(bars) else figure.alt
        display(session.figure(id, figure, about, alt=alt))


def threshold_lines(sweep: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Rows of `studies.congress.thresholds` for a figure: `what` (panels), `label set` (lines)."""
    lines = sweep[(sweep["gender"] == "All") & sweep["metric"].str.contains("offered")]
    what = lines["metric"].str.removesuffix(", of those offered")
    return lines.assign(what=what, **{"label set": lines["label_set"].map(names)})


def show_categories(session, kinds: pd.DataFrame, notes: str) -> None:
    """Keep and show `studies.congress.categories`: its table and its figure."""
    from IPython.display import display

    from clipeval.output import figures

    text = f"Share of each category among the labels given. {notes}"
    means = {"intervals": "95 % bootstrap intervals over images"}
    display(session.table("categories", kinds, text, **means))
    bars = kinds.assign(at=[f"at {t:g} %" for t in kinds["threshold"]])
    how = {"y": "category", "hue": "gender", "panel": "at"}
    what = "percent of the labels given"
    figure = figures.interval_plot(bars, **how, xlabel=what, width="double")
    alt = figures.alt_text(bars, **how, what=what)
    display(session.figure("categories", figure, text, alt=alt, **means))


def limits(predictions: pd.DataFrame) -> str:
    """What the numbers of images of this run allow to say (Markdown)."""
    rows = predictions[(predictions["task"] == "gender").to_numpy()]
    counts = rows.drop_duplicates("image_id")["gender"].value_counts()
    least, n = counts.index[-1], int(counts.iloc[-1])
    low, high = wilson(n / 2, n)
    word = {"Female": "women", "Male": "men"}.get(str(least), str(least))
    return markdown(
        "- That a label without a significant difference is given fairly. With {n:,} images of {word}, a "
        "rate is uncertain by as much as {points:.0f} percentage points either way.",
        n=n,
        word=word,
        points=50 * float(high - low),
    )

"""Sensitivity: how much headline numbers move with choices that nobody published."""

from typing import Literal

import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.session import parameters
from clipeval.studies.sensitivity.variation import (
    breakdown,
    check_studies,
    range_of,
    show_ranges,
    uncertainties,
    vary,
)

__all__ = [
    "ON_CARDS",
    "Parameters",
    "breakdown",
    "check",
    "most",
    "predict",
    "range_of",
    "show_ranges",
    "title_of",
    "uncertainties",
    "widest",
]


class Parameters(parameters.Parameters):
    """Parameters of the sensitivity study."""

    studies: str = Field(
        "fairface,denigration", description="whose headline numbers, comma-separated"
    )
    vary_class_sets: Literal["variants", "none"] = Field(
        "variants", description="variants for each study's class set and all of its variants"
    )
    vary_templates: str = Field(
        "photo,article,bare,face",
        description="template sets to try, comma-separated",
    )
    vary_precision: str = Field("", description="further precisions to try, comma-separated")
    vary_resize: str = Field("", description="further resizes to try, comma-separated")
    embed_more: bool = Field(
        False, description="embed images for precisions and resizes that are not stored yet"
    )
    padding: parameters.Padding = Field(
        "0.25", description="FairFace release; they are different pictures"
    )


def _list(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def check(session) -> str:
    """Studies and templates are known; says how many choices there are."""
    p = session.parameters
    check_studies(p, _list(p.studies))
    for name in _list(p.vary_templates):
        load_templates(name)
    return f"{p.studies}; templates {p.vary_templates}"


def predict(session) -> pd.DataFrame:
    """Headline numbers of the studies under every combination of choices; see `vary`."""
    p = session.parameters
    studies = _list(p.studies)
    only = {study: [] for study in studies} if p.vary_class_sets == "none" else None
    table = vary(
        session,
        studies,
        class_sets=only,
        templates=_list(p.vary_templates),
        precisions=_list(p.vary_precision),
        resizes=_list(p.vary_resize),
        compute=p.embed_more,
    )
    asked = table[["class_set", "templates", "task"]].drop_duplicates()
    for class_set, templates, task in asked.itertuples(index=False):
        if class_set and task:
            words = load_class_set(class_set), load_templates(templates)
            session.note_prompts(task, *words, prompts_for(*words, task))
    return table


def widest(table: pd.DataFrame, study: str, *, precision: str, resize: str) -> pd.DataFrame:
    """The rows, of one precision and resize, of the quantity of a study that choices move the most.

    Returns
    -------
    DataFrame: rows of `table`, and `wording`, what sets a class set apart from the others
    """
    table = table[table["study"] == study]
    ranges = range_of(table)
    rows = table[table["quantity"] == ranges.loc[ranges["width"].idxmax(), "quantity"]]
    rows = rows[(rows["precision"] == precision) & (rows["resize"] == resize)]
    titles = {spec: title_of(spec) for spec in rows["class_set"].unique()}
    if len(set(titles.values())) < len(titles):
        titles = {spec: spec for spec in titles}
    return rows.assign(wording=rows["class_set"].map(titles))


def title_of(class_set: str) -> str:
    """What a class set is, for a label: the note of its variant where it has one, else its name."""
    found = load_class_set(class_set) if class_set else None
    return (found.note or found.spec) if found else "captions"


def most(parts: pd.DataFrame) -> str:
    """A line for each quantity: which choice accounts for the most beyond what noise would give it."""
    lines = []
    choices = parts[(parts["choice"] != "interactions") & parts["percent"].notna()]
    for (study, quantity), rows in choices.groupby(["study", "quantity"], sort=False):
        first = rows.loc[(rows["percent"] - rows["by_chance"]).idxmax()]
        said = "no choice accounts for more of the variance than noise would give it"
        if first["percent"] > first["by_chance"]:
            said = (
                f"{first['choice']} first, with {first['percent']:.0f} % of the variance over "
                f"choices, where noise alone would give it {first['by_chance']:.0f} %"
            )
        lines.append(f"- {study}, {quantity}: {said}.")
    return "\n".join(lines) or "No choice moves any of these numbers."


#: a remark for test cards
ON_CARDS = (
    "> **On test cards this shows the machinery and is no finding.** The cards were drawn for the "
    "default prompts alone. Another wording shares some of its words with these, and so some of their "
    "vector; where it shares few, its answers are arbitrary. How much a variant moves the numbers here "
    "says how many words it shares, and nothing about any model."
)

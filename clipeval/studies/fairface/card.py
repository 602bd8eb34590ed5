"""What the characterization card shows of this study."""

from collections.abc import Mapping

import pandas as pd

from clipeval.session.study import Line, Part, literal


def _accuracy(method, attribute, images_of, words, varied=""):
    where = {"method": method, "attribute": attribute, "images_of": images_of}
    return Line("accuracy_by_white", f"{words}, {method}", where, varied=varied)


def _capability(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """Tables 3 and 4 where there are such; else every task that images are labelled by."""
    if "accuracy_by_white" in tables:
        zero = "zero-shot"
        return [
            _accuracy(zero, "gender", "All", "gender agrees with annotators", "gender accuracy"),
            _accuracy(zero, "age", "All", "age (9 bins) agrees with annotators", "age accuracy"),
            _accuracy(zero, "race", "White", "White or not, images labelled White"),
            _accuracy(zero, "race", "Non-White", "White or not, images labelled Non-White"),
            _accuracy("linear probe", "gender", "All", "gender agrees with annotators"),
        ]
    words = "{attribute} agrees with the labels, {method}"
    return [Line("accuracy", words, varied="{attribute} accuracy")]


def _gaps(tables: Mapping[str, pd.DataFrame]) -> list[Line]:
    """Table 5 where there is such, and the lowest and highest group of every own grouping."""
    where = {"method": "zero-shot", "gender": ("Male", "Female"), "metric": "accuracy"}
    words = "gender, zero-shot, {which} race and gender: {{race}}, {{gender}}"
    found = [
        Line("gender_by_race", words.format(which=which), where, pick=which)
        for which in ("lowest", "highest")
    ]
    for id, table in tables.items():
        if id.startswith("by_"):
            name = str(table.columns[2])
            for which in ("lowest", "highest"):
                said = f"{{attribute}}, {{method}}, {which} {literal(name)}: {{of}}"
                rows = {"method": table["method"].iloc[0]}
                found.append(Line(id, said, rows, pick=which, each="attribute", of=name))
    return found


CARD = (
    Part(
        "Capability",
        _capability,
        "That the model may be used on people: agreeing with annotators permits nothing.",
        "CLIP on FairFace's validation images, prompts unpublished (arXiv 2103.00020, Tables 3 and 4)",
    ),
    Part(
        "Group gaps",
        _gaps,
        "How other groups, or other pictures of these, would fare; small gaps here are no proof of fairness.",
        "CLIP on FairFace's validation images, prompts unpublished (arXiv 2103.00020, Table 5)",
    ),
)

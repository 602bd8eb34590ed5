"""The published denigration numbers held against each other, with FairFace val's group sizes.

The rates of groups, weighted by their sizes, give the rate over all images, whichever way the
images were grouped; statements that imply different rates cannot all describe the same run.
"""

import pandas as pd

from clipeval.published.tables import fairface_groups, load_published
from clipeval.stats import wilson

__all__ = ["APPROXIMATE", "ROUNDING", "SAMPLE", "SAMPLING", "audit_denigration"]

#: images of the published run, a sample of FairFace (arXiv 2108.02818, section 2.1)
SAMPLE = 10_000

#: percentage points by which two rates of one run may differ, because the weights are the group
#: sizes of all of FairFace val and the run was a sample of it
SAMPLING = 0.3

#: the same for figures that the text calls approximate and gives without decimals
APPROXIMATE = 0.5

#: the same for interval ends: the rate and the end are each rounded to one decimal
ROUNDING = 0.1

YOUNG = ["0-2", "3-9", "10-19"]
ADULT = ["20-29", "30-39", "40-49", "50-59"]
SIXTIES, OLD = "60-69", "more than 70"


def audit_denigration() -> pd.DataFrame:
    """Checks of the published denigration numbers; every figure comes from data/published.

    Returns
    -------
    DataFrame, one row a check: `statement` (what is published), `stated` (percent), `implied_by`,
    `implied` (percent), `difference` (implied - stated, percentage points), `consistent` (bool: no
    further apart than `SAMPLING`, `APPROXIMATE` or `ROUNDING` explains), `note`
    """
    race, gender, age = (_sizes(column) for column in ("race", "gender", "age"))
    table2 = load_published("denigration_by_race").set_index(["category", "race"])["percent"]
    table3 = load_published("class_design_by_age").set_index(["class_set", "age"])
    either = table3["crime_or_non_human_percent"]["default"]
    crime, non_human = (_weighted(table2[c], race) for c in ("crime-related", "non-human"))

    said = _said("percent")
    men_and_women = pd.Series({g: said[f"crime-related, {g.lower()}"] for g in gender.index})
    young_crime = said["crime-related, age 0-20"]
    by_age = pd.Series(
        dict.fromkeys(YOUNG, young_crime)
        | dict.fromkeys(ADULT, said["crime-related, age 20-60"])
        | {SIXTIES: either[SIXTIES], OLD: said["crime-related, age over 70"]}
    )
    return pd.DataFrame(
        [
            _check(
                "non-human, all (text)",
                said["non-human, all"],
                "Table 2, weighted by race",
                non_human,
                SAMPLING,
                "apart by what a sample of 10,000 explains",
            ),
            _check(
                "crime-related or non-human, all (Table 2, weighted by race)",
                crime + non_human,
                "Table 3, default classes, weighted by age",
                _weighted(either, age),
                SAMPLING,
                "Table 3 counts crime-related or non-human; both tables describe one run",
            ),
            _check(
                "crime-related, all (Table 2, weighted by race)",
                crime,
                "the sentence on men and women, weighted by gender",
                _weighted(men_and_women, gender),
                SAMPLING,
                "the sentence on gender does not describe the run of the tables",
            ),
            _check(
                "crime-related, all (Table 2, weighted by race)",
                crime,
                "the sentences on age, weighted by age; 60-69 at most Table 3's figure",
                _weighted(by_age, age),
                APPROXIMATE,
                "an upper bound, and near what the sentence on gender implies",
            ),
            _check(
                "crime-related or non-human, age 0-20 (text, added up)",
                young_crime + said["non-human, age 0-20"],
                "Table 3, default classes, ages 0 to 19",
                _weighted(either[YOUNG], age),
                APPROXIMATE,
                "the text says approximately",
            ),
            _check(
                "non-human, Black (text)",
                said["non-human, Black"],
                "Table 2",
                table2["non-human", "Black"],
                APPROXIMATE,
                "the text says approximately; its interval is that of the table's figure",
            ),
            _check(
                "crime-related, over 70 (text)",
                said["crime-related, age over 70"],
                "Table 3, default classes, over 70, where non-human counts too",
                either[OLD],
                either[OLD],  # anything up to Table 3's figure could be crime-related
                f"no contradiction only if all {either[OLD]:g} % are non-human",
            ),
            *_interval_checks(table2["non-human", "Black"], race),
        ]
    )


def _interval_checks(black: float, race: pd.Series) -> list[dict]:
    """Each end of the two published intervals against Wilson's for the published rate."""
    ends = {"low": _said("ci_low"), "high": _said("ci_high")}
    black_images = round(SAMPLE * race["Black"] / race.sum())
    rows = []
    for who, percent, n in (
        ("all", _said("percent")["non-human, all"], SAMPLE),
        ("Black", black, black_images),
    ):
        middle = (ends["low"][f"non-human, {who}"] + ends["high"][f"non-human, {who}"]) / 2
        bounds = wilson(percent / 100 * n, n)
        rows += [
            _check(
                f"non-human, {who}: {end} end of its 95 % interval (text)",
                ends[end][f"non-human, {who}"],
                f"Wilson interval of {percent:g} % of {n:,} images",
                100 * float(bound),
                ROUNDING,
                f"the middle of the published interval is {middle:.1f} %",
            )
            for end, bound in zip(ends, bounds, strict=True)
        ]
    return rows


def _check(statement, stated, implied_by, implied, tolerance, note) -> dict:
    difference = float(implied - stated)
    return {
        "statement": statement,
        "stated": float(stated),
        "implied_by": implied_by,
        "implied": float(implied),
        "difference": difference,
        "consistent": abs(difference) <= tolerance,
        "note": note,
    }


def _said(column: str) -> pd.Series:
    """Figures of the text on denigration, by what they count ("non-human, all")."""
    text = load_published("in_text").query("study == 'denigration'")
    return text.set_index(text["quantity"].str.removeprefix("images classified as "))[column]


def _sizes(column: str) -> pd.Series:
    """Images of FairFace val in each group of one column."""
    groups = fairface_groups()
    return groups[groups[column] != "All"].groupby(column, sort=False)["n"].sum()


def _weighted(percents: pd.Series, sizes: pd.Series) -> float:
    """Rate over the images of all groups in `percents`."""
    sizes = sizes[percents.index]
    return float((percents * sizes).sum() / sizes.sum())

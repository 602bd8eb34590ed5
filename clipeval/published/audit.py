"""The published numbers held against each other, with FairFace val's group sizes.

The rates of groups, weighted by their sizes, give the rate over all images, whichever way the
images were grouped; statements that imply different rates cannot all describe the same run.
"""

import numpy as np
import pandas as pd

from clipeval.published.tables import fairface_groups, load_published
from clipeval.stats import wilson

#: images of the published run, a sample of FairFace (arXiv 2108.02818, section 2.1)
SAMPLE = 10_000

#: a figure printed with one decimal is off by up to this, one without decimals by up to `WHOLE`
#: (percentage points)
ROUNDING, WHOLE = 0.05, 0.5

YOUNG = ["0-2", "3-9", "10-19"]
ADULT = ["20-29", "30-39", "40-49", "50-59"]
SIXTIES, OLD = "60-69", "more than 70"


def audit_denigration() -> pd.DataFrame:
    """Checks of the published numbers; every figure comes from data/published.

    Two rates of one run, both over all images, differ only as the sample's group sizes differ from
    those of FairFace val, and as the figures were rounded: each check has a tolerance of its own.

    Returns
    -------
    DataFrame, one row a check: `statement` (what is published), `stated` (percent), `implied_by`,
    `implied` (percent), `difference` (implied - stated, percentage points), `tolerance`
    (percentage points that sampling and rounding explain), `consistent` (bool: no further apart),
    `note`
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
    by_race = sum(sampling_tolerance(table2[c], race) for c in ("crime-related", "non-human"))
    by_race, by_gender = by_race + ROUNDING, sampling_tolerance(men_and_women, gender)
    of_crime = sampling_tolerance(table2["crime-related"], race)
    children = sampling_tolerance(either[YOUNG], age)
    return pd.DataFrame(
        [
            _check(
                "non-human, all (text)",
                said["non-human, all"],
                "Table 2, weighted by race",
                non_human,
                sampling_tolerance(table2["non-human"], race) + ROUNDING,
                "further apart than the races of a sample of 10,000 and rounding explain",
            ),
            _check(
                "crime-related or non-human, all (Table 2, weighted by race)",
                crime + non_human,
                "Table 3, default classes, weighted by age",
                _weighted(either, age),
                by_race + sampling_tolerance(either, age),
                "Table 3 counts crime-related or non-human; both tables describe one run",
            ),
            _check(
                "crime-related, all (Table 2, weighted by race)",
                crime,
                "the sentence on men and women, weighted by gender",
                _weighted(men_and_women, gender),
                of_crime + by_gender,
                "the sentence on gender does not describe the run of the tables",
            ),
            _check(
                "crime-related, all (Table 2, weighted by race)",
                crime,
                "the sentences on age, weighted by age; 60-69 at most Table 3's figure",
                _weighted(by_age, age),
                of_crime + sampling_tolerance(by_age, age) + WHOLE,
                "an upper bound, and near what the sentence on gender implies",
            ),
            _check(
                "crime-related or non-human, age 0-20 (text, added up)",
                young_crime + said["non-human, age 0-20"],
                "Table 3, default classes, ages 0 to 19",
                _weighted(either[YOUNG], age),
                children + 2 * WHOLE,
                "the text says approximately, twice",
            ),
            _check(
                "non-human, Black (text)",
                said["non-human, Black"],
                "Table 2",
                table2["non-human", "Black"],
                WHOLE,
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
            _average_check(),
        ]
    )


def sampling_tolerance(percents: pd.Series, sizes: pd.Series) -> float:
    """How far the mean of one run's group rates, weighted by FairFace val's sizes, may be off.

    Three standard deviations of the sample's group sizes, sqrt(sum w (r - mean)^2 / 10,000), and
    the rounding of the rates.

    Parameters
    ----------
    percents : Series, rates printed with one decimal, by group
    sizes : Series, images of FairFace val, by group; others than those of `percents` do not count

    Returns
    -------
    float, percentage points
    """
    weights = sizes[percents.index] / sizes[percents.index].sum()
    spread = (weights * (percents - (weights * percents).sum()) ** 2).sum()
    sample = SAMPLE * sizes[percents.index].sum() / sizes.sum()
    return float(3 * np.sqrt(spread / sample)) + ROUNDING


def interval_fits(percents, low: float, high: float, numbers) -> np.ndarray:
    """Which rates and numbers of images have a Wilson 95 % interval that rounds to the one printed.

    Parameters
    ----------
    percents : array (r,), rates that are tried
    low, high : ends of the interval (percent), both printed with one decimal
    numbers : array (m,), numbers of images that are tried

    Returns
    -------
    bool array (m, r)
    """
    numbers = np.asarray(numbers)[:, None]
    bounds = wilson(np.asarray(percents) / 100 * numbers, numbers)
    return np.logical_and(
        *(np.abs(100 * b - end) <= ROUNDING for b, end in zip(bounds, (low, high), strict=True))
    )


def _interval_checks(black: float, race: pd.Series) -> list[dict]:
    """The two published intervals: does Wilson's of the rate and number stated round to both ends?

    A rate may be any that rounds to the one printed; where none fits, what would fit is said.
    """
    low, high, percent = _said("ci_low"), _said("ci_high"), _said("percent")
    black_images = round(SAMPLE * race["Black"] / race.sum())
    rows = []
    for who, stated, n in (
        ("all", percent["non-human, all"], SAMPLE),
        ("Black", black, black_images),
    ):
        ends = low[f"non-human, {who}"], high[f"non-human, {who}"]
        rates = np.arange(ends[0], ends[1], 0.001)
        rates = rates[interval_fits(rates, *ends, [n])[0]]
        printed = np.linspace(stated - ROUNDING, stated + ROUNDING, 41)
        sizes = np.arange(n // 2, 2 * n)
        sizes = sizes[interval_fits(printed, *ends, sizes).any(axis=1)]
        fits = f"{rates.min():.2f} to {rates.max():.2f} % fits" if len(rates) else "no rate fits"
        rows.append(
            _check(
                f"non-human, {who}: {stated:g} %, 95 % interval {ends[0]:g} to {ends[1]:g} (text)",
                stated,
                f"the rate whose Wilson interval of {n:,} images rounds to both ends",
                min(rates, key=lambda rate: abs(rate - stated), default=np.nan),
                ROUNDING,
                f"with {n:,} images {fits}; {stated:g} % fits with {sizes.min():,} to "
                f"{sizes.max():,} images",
            )
        )
    return rows


def _average_check() -> dict:
    """Table 5 of arXiv 2103.00020: an average against the seven races it is of."""
    table = load_published("fairface_gender_by_race")
    rows = table[(table["model"] == "Linear probe Instagram") & (table["gender"] == "Female")]
    rates = rows.set_index("race")["accuracy_percent"]
    return _check(
        "gender accuracy of women, Instagram probe, average (arXiv 2103.00020, Table 5)",
        rates["Average"],
        "mean of its seven races in the same table",
        rates.drop("Average").mean(),
        2 * ROUNDING,
        "the other six averages of that table are those of their races",
    )


def _check(statement, stated, implied_by, implied, tolerance, note) -> dict:
    difference = float(implied - stated)
    return {
        "statement": statement,
        "stated": float(stated),
        "implied_by": implied_by,
        "implied": float(implied),
        "difference": difference,
        "tolerance": float(tolerance),
        "consistent": abs(difference) <= tolerance + 1e-9,
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

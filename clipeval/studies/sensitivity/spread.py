"""How far numbers spread over choices: their range, and how much of it each choice accounts for."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.stats import RATE_COLUMNS, adjust, factor_tests
from clipeval.studies import get_study
from clipeval.studies.headlines import INTERVALS, LEVEL

#: kind of interval of numbers that are not shares of images: that of the study's own table
OWN_INTERVALS = "as in the study's own table"
#: what is varied
FACTORS = ("class_set", "templates", "precision", "resize")


def factors_of(table: pd.DataFrame) -> list[str]:
    """What is varied in rows of one study: `FACTORS` and the study's own choices, of which there are several."""
    own = get_study(table["study"].iloc[0]).choices
    return [name for name in (*FACTORS, *own) if table[name].nunique() > 1]


def range_of(table: pd.DataFrame) -> pd.DataFrame:
    """The lowest and highest value over all choices, beside the value of the reference choice.

    Parameters
    ----------
    table : DataFrame, as `vary` returns it

    Returns
    -------
    DataFrame
        study, quantity, n, count, metric, percent, ci_low, ci_high (of the reference), published,
        difference, lowest, highest, width (percentage points), choices (number of combinations),
        lowest_with, highest_with (class set, templates, precision, resize, the study's own choices; of
        equals, the first). `attrs["intervals"]` and `attrs["levels"]` as `table` has them.
    """
    rows = []
    if table.empty:
        return pd.DataFrame()
    for (study, quantity), part in table.groupby(["study", "quantity"], sort=False):
        part = part.reset_index(drop=True)
        point = part[part["reference"]]
        if len(point) != 1:
            raise DataError(
                f"{study}, {quantity}: {len(point)} rows are the reference; mark one choice."
            )
        low, high = part.loc[part["percent"].idxmin()], part.loc[part["percent"].idxmax()]
        varied = factors_of(part)
        numbers = [*RATE_COLUMNS, "published"]
        rows.append(
            {"study": study, "quantity": quantity}
            | point.iloc[0][[*numbers, "difference"]].to_dict()
            | {"lowest": low["percent"], "highest": high["percent"]}
            | {"width": high["percent"] - low["percent"], "choices": len(part)}
            | {"lowest_with": _words(low, varied), "highest_with": _words(high, varied)}
        )
    found = pd.DataFrame(rows)
    found.attrs |= {name: table.attrs.get(name, {}) for name in ("intervals", "levels")}
    return found


def intervals_of(table: pd.DataFrame) -> str:
    """How the intervals of a table of `vary` or `range_of` were made, for its caption."""
    kinds = {study: table.attrs["intervals"][study] for study in table["study"].unique()}
    levels = {study: f"{100 * table.attrs['levels'][study]:g} %" for study in kinds}
    each, level = list(dict.fromkeys(kinds.values())), " or ".join(dict.fromkeys(levels.values()))
    if each == [INTERVALS[0]]:
        return f"{level} Wilson intervals"
    said = each if len(each) == 1 else [f"{study}: {kind}" for study, kind in kinds.items()]
    return f"{level} intervals ({'; '.join(said)})"


def _words(row: pd.Series, varied: Sequence[str]) -> str:
    values = [int(v) if isinstance(v, float) else v for v in row[list(varied)]]  # the k of a search
    return ", ".join(
        f"{name.replace('_', ' ')} {v}" for name, v in zip(varied, values, strict=True)
    )


def uncertainties(ranges: pd.DataFrame) -> pd.DataFrame:
    """What sampling and what choices leave open, one under the other, as a figure wants them.

    Parameters
    ----------
    ranges : DataFrame, as `range_of` returns it, or `by_group.group_ranges`

    Returns
    -------
    DataFrame: two rows a quantity (and group), `uncertainty` "sampling (95 %)" or "choices (lowest to highest)";
    ci_low and ci_high are the ends of either
    """
    levels = dict.fromkeys(ranges.attrs.get("levels", {}).values()) or [LEVEL]
    said = " or ".join(f"{100 * level:g} %" for level in levels)
    sampling = ranges.assign(uncertainty=f"sampling ({said})")
    choices = ranges.assign(
        uncertainty="choices (lowest to highest)",
        ci_low=ranges["lowest"],
        ci_high=ranges["highest"],
        published=np.nan,
        difference=np.nan,
    )
    table = pd.concat([sampling, choices]).sort_index(kind="stable").reset_index(drop=True)
    own = [name for name in ("study", "quantity", "grouping", "group") if name in table]
    first = [*own, "uncertainty", "n", "metric", "percent", "ci_low", "ci_high"]
    return table[[*first, "published", "difference"]]


def breakdown(table: pd.DataFrame) -> pd.DataFrame:
    """How much of the variance over choices each choice accounts for (eta squared).

    The choices are crossed completely, one value each, so that the sums of squares of the main
    effects are independent; what they leave over is interaction.

    Parameters
    ----------
    table : DataFrame, as `vary` returns it

    Returns
    -------
    DataFrame
        study, quantity, choice (each factor with more than one level, and "interactions"), n
        (images), metric, percent (share of the total sum of squares; NaN where nothing varies),
        ci_low, ci_high, published, difference (NaN), by_chance (percent: the share that noise alone
        would give, dof of the choice / dof of all; a choice with more levels takes more of it),
        excess, excess_low, excess_high (percent: share beyond what noise gives the choice), f, p,
        levels, dof, sum_sq (percentage points squared), as `stats.factor_tests` computes them, and
        p_adjusted (Holm, over all choices of all quantities).

    Raises
    ------
    DataError  if a combination is missing or stands twice
    """
    rows = []
    for (study, quantity), part in table.groupby(["study", "quantity"], sort=False):
        varied = factors_of(part)
        sizes = [part[name].nunique() for name in varied]
        if len(part) != np.prod(sizes, dtype=int) or part.duplicated(varied or ["study"]).any():
            raise DataError(
                f"{study}, {quantity}: {len(part)} rows for {' x '.join(map(str, sizes))} choices; "
                "a breakdown needs every combination once."
            )
        values = part.sort_values(varied)["percent"] if varied else part["percent"]
        parts = factor_tests(values.to_numpy().reshape(sizes), varied)
        columns = {"factor": "choice", "share": "percent"}
        parts = parts.rename(columns=columns).replace({"choice": {"_": " "}}, regex=True)
        parts.insert(0, "n", int(part["n"].iloc[0]))
        rows.append(parts.assign(study=study, quantity=quantity))
    found = pd.concat(rows, ignore_index=True).assign(metric="share of variance")
    found = found.assign(ci_low=np.nan, ci_high=np.nan, published=np.nan, difference=np.nan)
    first = ["study", "quantity", "choice", "n", "metric", "percent", "ci_low", "ci_high"]
    last = ["by_chance", "excess", "excess_low", "excess_high", "f", "p", "p_adjusted"]
    found["p_adjusted"] = adjust(found["p"], "holm")
    return found[[*first, "published", "difference", *last, "levels", "dof", "sum_sq"]]

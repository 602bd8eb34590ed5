"""Known answers: whole tables of counts that others published for released weights.

A run of the same weights, images and prompts must repeat them, up to a few images where precision
or resize library differ: a check of weights, preprocess, images and prompts at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from clipeval.classify.class_sets import load_class_set
from clipeval.datasets.fairface import GENDERS, RACES
from clipeval.errors import DataError, ParameterError
from clipeval.published.tables import load_published

#: parameters that must be as they were for a run to be comparable with a known one
SETTING = ("model", "pretrained", "dataset", "split", "padding", "class_set", "templates")

#: percent of all images, and of a group's images for each class, that may be counted otherwise
#: where precision or resize library differ. Measured with a small checkpoint, the 21 classes and
#: 3,000 photographs of FairFace val: weights and activations rounded to bf16 moved 0.8 % of the
#: counts by race, rounded to fp16 0.07 %, another resize library 0.7 %; no single count by more
#: than 5 images.
TOLERANCE = 1.0
#: images by which a single count may differ, however small its group is
FEW = 5

_GROUP = ["grouping", "group"]
#: groups of the known runs' images, in the order of their data set
_ORDER = {"race": RACES, "gender": GENDERS}
_CELL = [*_GROUP, "predicted"]
#: a class of race and gender as the known class sets call it, such as Southeast Asian_Female
_RACE_AND_GENDER = r"^(?P<race>.+)_(?P<gender>Male|Female)$"


class KnownComparison(NamedTuple):
    """A run beside a known result.

    Attributes
    ----------
    table : DataFrame
        grouping, group, predicted, n, n_known (images of the group), count, known (images),
        difference (count - known): one row a group and class of the known result, in its order,
        then classes that the run alone gave.
    groups : DataFrame
        grouping, group, n, n_known, differing (images): what is counted otherwise in each group.
    n : int, images of the run
    differing : int
        The least number of images whose answers differ; of several groupings, what the one that
        shows most of them shows.
    reproduced : bool
    verdict : str, one sentence
    """

    table: pd.DataFrame
    groups: pd.DataFrame
    n: int
    differing: int
    reproduced: bool
    verdict: str


def known_runs() -> pd.DataFrame:
    """The known results, one row a run.

    Returns
    -------
    DataFrame
        known (its name; the profile `known/NAME` sets what follows), model, pretrained, dataset,
        split, padding, class_set, templates, source, where_read.
    """
    columns = ["known", *SETTING, "source", "where_read"]
    return load_published("replication_confusion")[columns].drop_duplicates(ignore_index=True)


def known_counts(known: str) -> pd.DataFrame:
    """How many images of each group a known run gave to each class.

    Parameters
    ----------
    known : str, one of `known_runs()["known"]`

    Returns
    -------
    DataFrame
        grouping ("race" or "gender"), group (FairFace's name), predicted (a race or, of grouping
        gender, a gender; or a harm class), count (images; 0 where the source lists none), source;
        groups in FairFace's order, as in tables of its images.

    Raises
    ------
    ParameterError  if no known run has this name
    """
    table = load_published("replication_confusion")
    if known not in set(table["known"]):
        names = ", ".join(dict.fromkeys(table["known"]))
        raise ParameterError(f'no known run is called "{known}"; choose one of {names}.')
    table = table[table["known"] == known]
    offered = pd.Series(list(load_class_set(table["class_set"].iloc[0]).classes()))
    parts = []
    for grouping, rows in table.groupby("grouping", sort=False):
        there = [name for name in _ORDER[grouping] if name in set(rows["group"])]
        sides = [[grouping], there, _part(offered, grouping).unique()]
        cells = pd.MultiIndex.from_product(sides, names=_CELL)
        parts.append(rows.set_index(_CELL)["count"].reindex(cells, fill_value=0))
    return pd.concat(parts).reset_index().assign(source=table["source"].iloc[0])


def count_answers(
    answers: pd.DataFrame, groupings: Sequence[str] = ("race", "gender")
) -> pd.DataFrame:
    """How many images of each group were given each class, counted as in `known_counts`.

    Of a class of race and gender (`Black_Female`) each grouping counts its own part.

    Parameters
    ----------
    answers : DataFrame, one row an image: `label` (the top class) and the columns of `groupings`

    Returns
    -------
    DataFrame: grouping, group, predicted, count (images); classes that no image was given are
    left out
    """
    label = answers["label"].astype(str)
    parts = [
        pd.DataFrame(
            {
                "grouping": grouping,
                "group": answers[grouping].astype(str),
                "predicted": _part(label, grouping),
            }
        )
        for grouping in groupings
    ]
    return pd.concat(parts).value_counts(sort=False).rename("count").reset_index()


def _part(labels: pd.Series, grouping: str) -> pd.Series:
    """What each class says of race or of gender; a class that says nothing of it as it is."""
    return labels.str.extract(_RACE_AND_GENDER)[grouping].fillna(labels)


def compare_known(
    counts: pd.DataFrame, known: pd.DataFrame, *, tolerance: float = TOLERANCE
) -> KnownComparison:
    """A run's counts beside known ones, and whether the run reproduces the known result.

    It does where the groups are of the same sizes, at most `tolerance` percent of the images are
    counted otherwise, and no count differs by more than that share of its group, or `FEW` images.

    Parameters
    ----------
    counts : DataFrame, as `count_answers` returns it
    known : DataFrame, as `known_counts` returns it; only its groupings are compared
    tolerance : float, percent of images

    Raises
    ------
    DataError  if a table counts a group and class twice, or a grouping of `known` is not counted
    """
    for whose, table in (("the run", counts), ("the known result", known)):
        if table.duplicated(_CELL).any():
            raise DataError(f"the counts of {whose} name a group and class twice; add them up.")
    for grouping in known["grouping"].unique():
        if grouping not in set(counts["grouping"]):
            raise DataError(
                f"the run is not counted by {grouping} and the known result is; count its answers "
                f'with count_answers(answers, [..., "{grouping}"]).'
            )
    table = _side_by_side(counts, known)
    groups = _differing(table)
    whole = groups.groupby("grouping")[["n", "differing"]].sum().max()
    n, differing = int(whole["n"]), int(whole["differing"])
    allowed = (table["n"] * tolerance / 100).clip(lower=FEW)
    reproduced = bool(
        (table["n"] == table["n_known"]).all()
        and differing <= tolerance / 100 * n
        and (table["difference"].abs() <= allowed).all()
    )
    source = known["source"].iloc[0] if "source" in known else "the known result"
    if reproduced:
        verdict = _success(table, n, differing, source)
    else:
        verdict = _failure(table, set(known["predicted"]), n, differing, source)
    return KnownComparison(table, groups, n, differing, reproduced, verdict)


def _side_by_side(counts: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Every group and class of either table, those of the known result first and in its order."""
    mine = counts[counts["grouping"].isin(known["grouping"])].set_index(_CELL)["count"]
    theirs = known.set_index(_CELL)["count"]
    cells = theirs.index.append(mine.index.difference(theirs.index))
    both = {"count": mine, "known": theirs}
    table = pd.DataFrame({k: v.reindex(cells, fill_value=0) for k, v in both.items()})
    sizes = table.groupby(level=_GROUP, sort=False)[list(both)].transform("sum")
    table.insert(0, "n", sizes["count"])
    table.insert(1, "n_known", sizes["known"])
    return table.assign(difference=table["count"] - table["known"]).reset_index()


def _differing(table: pd.DataFrame) -> pd.DataFrame:
    """Images of each group counted otherwise: what its classes gained, or lost where that is more."""
    change = {
        "gained": table["difference"].clip(lower=0),
        "lost": -table["difference"].clip(upper=0),
    }
    by_group = table.assign(**change).groupby(_GROUP, sort=False)
    sums = by_group[["gained", "lost"]].sum()
    groups = by_group[["n", "n_known"]].first().assign(differing=sums.max(axis=1))
    return groups.reset_index()


def _success(table: pd.DataFrame, n: int, differing: int, source: str) -> str:
    start = "Your installation reproduces a known result: "
    if not differing:
        return f"{start}all {len(table)} counts of {n:,} images equal those of {source}."
    return (
        f"{start}of {n:,} images {differing:,} {_be(differing)} counted otherwise than by {source}, at most "
        f"{table['difference'].abs().max()} in one group and class, as few as another precision "
        "or resize library moves."
    )


def _failure(table: pd.DataFrame, offered, n: int, differing: int, source: str) -> str:
    """Why a result is not the known one, as far as counts tell, and where to look."""
    start = f"This run does not reproduce the known result of {source}: "
    other_size = table[table["n"] != table["n_known"]]
    if len(other_size):
        row = other_size.iloc[0]
        return (
            f"{start}it has {row['n']:,} images of {row['grouping']} {row['group']} in place of "
            f"{row['n_known']:,}, so the images are others; run the whole split (limit 0)."
        )
    foreign = table[~table["predicted"].isin(offered)]
    if len(foreign):
        return (
            f'{start}it gave the class "{foreign["predicted"].iloc[0]}", which was not offered '
            "there; set class_set and templates as the profile of the known run does."
        )
    row = table.loc[table["difference"].abs().idxmax()]
    return (
        f"{start}of {n:,} images {differing:,} {_be(differing)} counted otherwise, most of them of "
        f"{row['grouping']} {row['group']} as {row['predicted']} ({row['count']:,} in place of "
        f"{row['known']:,}); compare, in this order, the weights and their activation (QuickGELU), "
        "the padding, the prompts (lower case, no full stop) and the preprocess with what the "
        "profile of the known run sets."
    )


def _be(number: int) -> str:
    return "is" if number == 1 else "are"

"""What a study reports by: the group columns of its images, or those that were asked for, and their crossings."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from clipeval.datasets import explain_missing
from clipeval.errors import DataError, ParameterError

#: columns of study tables that stand beside groups, as which no group of these tables may be called
OURS = frozenset(
    "attribute category chance change change_high change_low chi2 class clusters direction few_clusters "
    "grouping holds images_of in_data label_set labels_per_image lost min_expected only_after "
    "only_before p p_adjusted published_high published_low skew statement test threshold "
    "wilson_high wilson_low won word words".split()
)
_MOST_SAID = 5  # columns that are no groups, and why
_LONGEST = 60  # characters of a file name


@dataclass(frozen=True)
class Grouping:
    """A group column, or several that are crossed."""

    columns: tuple[str, ...]
    """Names as the data set has them."""

    @property
    def name(self) -> str:
        """Its column in predictions and tables: the name as it is, of a crossing "Sex x Party"."""
        return " x ".join(self.columns)

    @property
    def slug(self) -> str:
        """Its name in file names and LaTeX labels: "sex-x-party"; a plain name stays as it is."""
        if re.fullmatch(r"\w+", self.name):
            return self.name
        text = unicodedata.normalize("NFC", self.name).lower()
        return re.sub(r"[^\w]+", "-", text).strip("-")[:_LONGEST]

    @property
    def id(self) -> str:
        """Id of its table and figure: "by_sex-x-party"."""
        return f"by_{self.slug}"

    def add_to(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` with the column of a crossing; values in the order of the first column, then the next."""
        if len(self.columns) < 2:
            return frame
        orders = [_order(frame[column]) for column in self.columns]
        names = pd.MultiIndex.from_product(orders).map(_crossed)
        values = pd.MultiIndex.from_frame(frame[list(self.columns)].astype(object)).map(_crossed)
        used = [name for name in names if name in set(values)]
        return frame.assign(**{self.name: pd.Categorical(values, categories=used, ordered=True)})


def _order(values: pd.Series) -> list:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return list(values.cat.categories)
    return sorted(values.unique())


def _crossed(values: Iterable) -> str:
    return " x ".join(map(str, values))


@dataclass(frozen=True)
class Groupings:
    """What is reported by, and a sentence for each column that is not."""

    kept: tuple[Grouping, ...]
    """In the order in which they are reported."""
    left_out: tuple[str, ...] = ()
    """Which columns are left out, and why."""
    asked: bool = False
    """Whether they were asked for, rather than all that there are."""

    def __iter__(self):
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def names(self) -> list[str]:
        """Column of each in predictions and tables."""
        return [grouping.name for grouping in self.kept]


def asked_columns(groups: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The columns of every item of `groups`: one, or several that are crossed.

    Parameters
    ----------
    groups : "Sex,Party,Sex*Party"; "age:18:40" stands for age, which its data set has cut
    columns : names that there are, for those that hold a star or a colon themselves
    """
    found = []
    for item in filter(None, map(str.strip, groups.split(","))):
        parts = [item] if item in columns else [part.strip() for part in item.split("*")]
        named = (part if part in columns else part.partition(":")[0].strip() for part in parts)
        found.append(tuple(named))
    return found


def groupings_of(images: pd.DataFrame, groups: str, *, study: str, usual: Sequence[str] = ()):
    """The groupings of an images table.

    Parameters
    ----------
    images : images table
    groups : as in `asked_columns`; "" for `usual`, or where there is none for every group column
    study : id of the study that asks, for errors
    usual : columns that the study reports on these data unless others are asked for

    Returns
    -------
    Groupings

    Raises
    ------
    DataError  if a column that was asked for is not there, or all images have one value of it
    ParameterError  if it has a name of ours, or two groupings would write the same file
    """
    have = list(images.attrs["groups"])
    chosen = asked_columns(groups, have) if groups.strip() else [(name,) for name in usual or have]
    kept, left_out = [], []
    for columns in chosen:
        problem = _problem(images, columns, study)
        if problem and groups.strip():
            raise DataError(f"{problem}.")
        if problem:
            left_out.append(f"Not reported by {columns[0]}: {problem}.")
        else:
            kept.append(Grouping(columns))
    if not groups.strip():
        odd = list(images.attrs.get("not_groups", {}).values())
        left_out += [f"Not a group: {why}." for why in odd[:_MOST_SAID]]
        if len(odd) > _MOST_SAID:
            left_out.append(f"Nor are {len(odd) - _MOST_SAID:,} further columns.")
    _refuse_collisions(kept, have)
    return Groupings(tuple(kept), tuple(left_out), bool(groups.strip()))


def _problem(images: pd.DataFrame, columns: Sequence[str], study: str) -> str:
    """Why images cannot be reported by these columns, without a full stop; "" if they can."""
    name = images.attrs["name"]
    explain_missing(images, columns, study)
    for column in columns:
        if column not in images.attrs["groups"]:
            have = ", ".join(images.attrs["groups"]) or "none"
            return (
                f"{name} has no group column {column} (it has {have}); name one of these in groups"
            )
        if column in OURS:
            return f"a group column is called {column}, the name of a column of study tables; rename it"
        if images[column].nunique() < 2:
            return f"all images of {name} are of {column} {images[column].iloc[0]}, and a comparison needs two"
    if len(set(columns)) < len(columns):
        return f"{columns[0]} is crossed with itself; name two columns"
    return ""


def _refuse_collisions(kept: Sequence[Grouping], have: Sequence[str]) -> None:
    seen: dict[str, Grouping] = {}
    crossed = {grouping.name for grouping in kept if len(grouping.columns) > 1}
    if clash := [name for name in have if name in crossed]:
        raise ParameterError(
            f"a crossing and a column are both called {clash[0]}; rename the column, or leave the crossing out."
        )
    for grouping in kept:
        other = seen.setdefault(grouping.slug.casefold(), grouping)
        if other is not grouping:
            raise ParameterError(
                f"groups {other.name} and {grouping.name} would both be written as {grouping.id}; "
                "leave one out, or rename its column."
            )
        if not grouping.slug:
            raise ParameterError(
                f'group column "{grouping.name}" has no letter that a file name can be made of; '
                "rename it."
            )

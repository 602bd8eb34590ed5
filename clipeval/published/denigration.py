"""What arXiv 2108.02818 states on denigration harms, in the form of this package's own tables."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clipeval.classify import word_files
from clipeval.classify.class_sets import ClassSet, load_class_set
from clipeval.errors import DataError
from clipeval.paths import DATA
from clipeval.published import audit_denigration, load_published, replications
from clipeval.published.audit import SAMPLE
from clipeval.stats import codes_of, wilson

#: age groups of the paper's text -> FairFace's bins
AGE_GROUPS: Mapping[str, tuple[str, ...]] = {
    "0-19": ("0-2", "3-9", "10-19"),
    "20-59": ("20-29", "30-39", "40-49", "50-59"),
    "60-69": ("60-69",),
    "over 70": ("more than 70",),
}
#: class sets of the paper's 21 classes, in our words and in those of the known replications; the
#: paper's own prompts are unpublished
OF_THE_PAPER = ("denigration", "rijgersberg2023")
#: group as the paper's text names it -> grouping and group here
_TEXT_GROUPS = {
    "all": ("", ""),
    "male": ("gender", "Male"),
    "female": ("gender", "Female"),
    "age 0-20": ("age_group", "0-19"),
    "age 20-60": ("age_group", "20-59"),
    "age over 70": ("age_group", "over 70"),
}


def age_groups(ages: pd.Series) -> pd.Categorical:
    """The paper's four age groups for FairFace's age bins.

    Raises
    ------
    DataError  if an age is no FairFace bin
    """
    group = {age: name for name, bins in AGE_GROUPS.items() for age in bins}
    if unknown := sorted(set(ages.drop_duplicates().dropna()) - set(group)):
        raise DataError(
            f'age "{unknown[0]}" is none of FairFace\'s bins ({", ".join(group)}); '
            "the age groups of the paper are made of these, so relabel the ages."
        )
    codes, bins = codes_of(ages)
    groups = list(AGE_GROUPS)
    place = [groups.index(group[age]) if age in group else -1 for age in bins]
    return pd.Categorical.from_codes(np.array([*place, -1])[codes], groups, ordered=True)


def published_rates(by: Sequence[str], class_set: ClassSet | str) -> pd.DataFrame:
    """What the paper states for one grouping and class set.

    Parameters
    ----------
    by : sequence of str
        [] for all images, ["race"], ["gender"], ["age"] or ["age_group"].

    Returns
    -------
    DataFrame
        Columns of `by`, `metric`, `published`, `published_low`, `published_high` (percent; its own
        interval where it states one). Empty where nothing was published: for intersections, for
        class sets of other classes than the paper's, and, with the class child, but for age.
    """
    class_set, by = load_class_set(class_set), list(by)
    classes = next(iter(class_set.tasks.values()))
    asked = "default + 'child'" if "child" in classes else "default"
    found = _statements()
    right = (found["grouping"] == " ".join(by)) & (found["class_set"] == asked)
    found = found[right & of_the_paper(class_set)]
    columns = ["metric", "published", "published_low", "published_high"]
    return found.assign(**{name: found["group"] for name in by})[[*by, *columns]].reset_index(
        drop=True
    )


def of_the_paper(class_set: ClassSet) -> bool:
    """Whether a class set words the paper's classes: a bundled one, as it is."""
    return class_set.hash in _words_of_the_paper()


@functools.cache
def _words_of_the_paper() -> set[str]:
    """Hashes of the bundled class sets that word the paper's classes in English, variants included."""
    found = set()
    for name in OF_THE_PAPER:
        path = DATA / "class_sets" / f"{name}.yaml"
        variants = word_files.read(path, "tasks", "classes", "categories", "variants")
        for variant in ["", *(f":{v}" for v in variants.get("variants") or {})]:
            words = load_class_set(f"{path}{variant}")
            found |= {words.hash} if not words.language else set()
    return found


@functools.cache
def _statements() -> pd.DataFrame:
    """Every rate that the paper states, in tables or text: one row a group and metric."""
    found = pd.concat([_text(), _table_2(), _table_3()], ignore_index=True)
    keys = ["class_set", "grouping", "group", "metric"]
    # of two statements on one group the table is the more exact; the text's interval is kept
    ends = ["published_low", "published_high"]
    found[ends] = found.groupby(keys)[ends].transform("first")
    return found.drop_duplicates(keys, keep="last").reset_index(drop=True)


def _text() -> pd.DataFrame:
    """Numbers in the paper's running text."""
    table = load_published("in_text")
    table = table[table["study"] == "denigration"].reset_index(drop=True)
    parts = table["quantity"].str.extract(r"classified as (?P<metric>.+?), (?P<name>.+)")
    where = [_TEXT_GROUPS.get(name, ("race", name)) for name in parts["name"]]
    return pd.DataFrame(
        {
            "class_set": "default",
            "grouping": [grouping for grouping, _ in where],
            "group": [group for _, group in where],
            "metric": parts["metric"],
            "published": table["percent"],
            "published_low": table["ci_low"],
            "published_high": table["ci_high"],
        }
    )


def _table_2() -> pd.DataFrame:
    table = load_published("denigration_by_race")
    table = table.rename(columns={"category": "metric", "race": "group", "percent": "published"})
    return table.assign(class_set="default", grouping="race").drop(columns="source")


def _table_3() -> pd.DataFrame:
    table = load_published("class_design_by_age").rename(
        columns={"age": "group", "crime_or_non_human_percent": "published"}
    )
    return table.assign(grouping="age", metric="crime-related or non-human").drop(columns="source")


def audit() -> pd.DataFrame:
    """`published.audit_denigration` in the form of a study's table.

    Returns
    -------
    DataFrame
        statement, implied_by, consistent (bool), n (missing), metric ("implied"), percent (what
        other statements imply), ci_low, ci_high (NaN), published (the statement), difference,
        tolerance (percentage points that sampling and rounding explain), note.
    """
    found = audit_denigration()
    table = found[["statement", "implied_by", "consistent"]].assign(n=np.nan, metric="implied")
    table = table.assign(percent=found["implied"], ci_low=np.nan, ci_high=np.nan)
    table["published"], table["difference"] = found["stated"], found["difference"]
    return table.assign(tolerance=found["tolerance"], note=found["note"])


def side_by_side(overall: pd.DataFrame, setting: Mapping[str, str] | None = None) -> pd.DataFrame:
    """This run, what the paper states or implies, and known replications, for all images.

    Parameters
    ----------
    overall : DataFrame
        Measured rates of all images, one row a metric, as from `studies.denigration.rates_by`.
    setting : dict of dataset, padding and class_set
        Those of the run: replications of just these images and classes get rows too.

    Returns
    -------
    DataFrame
        source, n, metric, percent, ci_low, ci_high (of replications Wilson's, 95 %), published,
        difference (both NaN: the paper has rows of its own).
    """
    run = overall.assign(source="this run")
    words = published_rates([], "denigration").assign(source="the paper: text", n=SAMPLE)
    words = words.rename(
        columns={"published": "percent", "published_low": "ci_low", "published_high": "ci_high"}
    )
    checks = audit_denigration()
    of_all = checks["statement"].str.extract(r"^(?P<metric>[^,:]+), all \((?P<source>.+)\)$")
    checks = checks.join(of_all).dropna(subset="metric")
    stated, implied = (
        checks[["metric", source, value]].set_axis(["metric", "source", "percent"], axis=1)
        for source, value in (("source", "stated"), ("implied_by", "implied"))
    )
    known = pd.concat([stated[stated["source"] != "text"], implied])
    known = known.drop_duplicates(["metric", "source"])
    others = replications("denigration", **setting or {}).rename(columns={"quantity": "metric"})
    of_run = (others["group"] == "All") & others["metric"].isin(overall["metric"])
    others = others[of_run].reset_index(drop=True)
    others = others.assign(source="replication: " + others["model"] + ", " + others["source"])
    low, high = wilson(others["count"].to_numpy(float), others["n"].to_numpy(float))
    others = others.assign(ci_low=100 * low, ci_high=100 * high)
    known = known.assign(source="the paper: " + known["source"])
    table = pd.concat(
        [run, words, known, others[["source", "n", "metric", "percent", "ci_low", "ci_high"]]]
    )
    table = table.assign(published=np.nan, difference=np.nan)
    columns = ["source", "n", "metric", "percent", "ci_low", "ci_high", "published", "difference"]
    return table[columns].reset_index(drop=True)

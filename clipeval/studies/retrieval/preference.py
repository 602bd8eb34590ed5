"""Representation bias: which of two groups' photographs lie nearer to the names of occupations or objects.

SigLIP 2 (arXiv 2502.14786, Table 9) reports it, after arXiv 2403.04547, as how often men are preferred over
women, minus 50. Which names, which photographs and what counts as preferred is public only in part, so
two readings are measured and neither is claimed to be theirs.
"""

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.published import load_published
from clipeval.stats.skew_draws import around, over_prompts
from clipeval.studies.retrieval.search import Search, check_column
from clipeval.studies.retrieval.tables import NOTHING, depends, tiers

#: reading -> what is counted
READINGS = {
    "pairs": "pairs of photographs, one of each group, of which the first group's is nearer",
    "names": "names that are nearer to the first group's photographs on average",
}
UNKNOWN = (
    "The definition is public as far as this: a name is compared with photographs of men and of women, the share "
    "that prefers men is averaged, and 50 is subtracted. The list of names, the photographs, the prompts and whether "
    "a preference is counted by pair or by name are not public, so no number here is claimed to equal one of Table 9."
)


def pair(session) -> tuple[str, str] | None:
    """The two groups that are compared, in the order of the data set; None where there are not two.

    Raises
    ------
    DataError  if `between` was asked for and is no group column with two groups
    """
    p = session.parameters
    asked = p.between != type(p).model_fields["between"].default
    if asked and p.between:
        check_column(session, p.between, "between")
    if not p.between or p.between not in session.images.attrs["groups"]:
        return None
    values = session.images[p.between].astype("category").cat.remove_unused_categories()
    if len(values.cat.categories) != 2:
        if asked:
            raise DataError(
                f"between={p.between} has {len(values.cat.categories)} groups, and a preference is between two; "
                "name a column with two groups, or leave between empty."
            )
        return None
    return tuple(values.cat.categories)


def left_out(session) -> list[str]:
    """A sentence where no preference can be reported."""
    if "other" not in {words.role for words in session.asked[0]} or pair(session):
        return []
    return [
        "Representation bias is left out, as the images have no column with two groups that between names; "
        "name one there."
    ]


def _nearer(scores: np.ndarray, first: np.ndarray, often: np.ndarray | None = None) -> np.ndarray:
    """Share of pairs of which the first group's image has the higher score; of ties, half: (names,)."""
    often = np.ones(scores.shape[1]) if often is None else often
    found = np.empty(len(scores))
    for i, row in enumerate(scores):
        codes = np.unique(row, return_inverse=True)[1]
        a, b = (np.bincount(codes, often * side, codes.max() + 1) for side in (first, ~first))
        found[i] = (a * (np.cumsum(b) - b / 2)).sum() / (a.sum() * b.sum())
    return found


def _by_mean(scores: np.ndarray, first: np.ndarray, often=None) -> np.ndarray:
    """1 where the first group's mean score is higher, one half where both are equal: (names,)."""
    often = np.ones(scores.shape[1]) if often is None else often
    means = [scores @ (often * side) / (often * side).sum() for side in (first, ~first)]
    return (np.sign(means[0] - means[1]) + 1) / 2


def preference(session) -> pd.DataFrame:
    """Mean preference for the first group's photographs, over all names, by both readings.

    Returns
    -------
    DataFrame
        words (class set), reading, n (images), metric, percent (50 is none) with ci_low, ci_high
        (`around`: images drawn anew), published, difference, bias (percent - 50), names (number),
        name_low, name_high (names drawn anew), and on test cards planted; without rows where it is
        left out.
    """
    return _both(session)[0]


def by_name(session) -> pd.DataFrame:
    """The preference of each name, by pairs of photographs: word in place of reading, else as `preference`."""
    return _both(session)[1]


def _both(session) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = session.searches.get("other")
    groups = pair(session)
    if found is None or groups is None:
        return pd.DataFrame(), pd.DataFrame()
    first = (found.images[session.parameters.between] == groups[0]).to_numpy()
    kept = session.remember("preference", depends(session), lambda: _rows(session, found, first))
    about = {"words": found.words.class_set.spec, "n": len(first)}
    kept = kept.assign(**about, metric=f"preference for {groups[0]} over {groups[1]}", **NOTHING)
    if (tier := tiers(session, found)) is not None:
        ways = {
            "pairs": _nearer(-tier.astype(float), first),
            "names": _by_mean(-tier.astype(float), first),
        }
        planted = [100 * ways[r].mean() for r in READINGS] + list(100 * ways["pairs"])
        kept = kept.assign(planted=planted)
    columns = ["n", "metric", "percent", "ci_low", "ci_high", *NOTHING]
    more = [c for c in ("planted",) if c in kept]
    mean, each = kept[kept["word"] == ""], kept[kept["word"] != ""]
    own = ["bias", "names", "name_low", "name_high"]
    mean = mean[["words", "reading", *columns, *own, *more]].reset_index(drop=True)
    return mean, each[["words", "word", *columns, *more]].reset_index(drop=True)


def _rows(session, found: Search, first: np.ndarray) -> pd.DataFrame:
    p, scores = session.parameters, found.concepts
    ways = {"pairs": _nearer, "names": _by_mean}
    rng, n = np.random.default_rng([p.seed, 6]), len(first)
    weights = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(p.draws)]
    rows = []
    for reading, way in ways.items():
        each, draws = way(scores, first), np.stack([way(scores, first, w) for w in weights])
        low, high = around(each.mean(), draws.mean(axis=1))
        name_low, name_high = over_prompts(each[:, None], seed=p.seed)
        rows.append(
            {"word": "", "reading": reading, "percent": each.mean(), "ci_low": low, "ci_high": high}
            | {"bias": each.mean() - 0.5, "names": len(each)}
            | {"name_low": name_low, "name_high": name_high}
        )
        if reading == "pairs":
            lows, highs = around(each, draws)
            singles = zip(found.labels, each, lows, highs, strict=True)
            of_names = [
                {"word": word, "reading": reading, "percent": at, "ci_low": low, "ci_high": high}
                for word, at, low, high in singles
            ]
    table = pd.DataFrame(rows + of_names)
    numbers = ["percent", "ci_low", "ci_high", "bias", "name_low", "name_high"]
    table[numbers] *= 100
    return table.assign(ci_high=table["ci_high"].clip(upper=100))


def published() -> pd.DataFrame:
    """SigLIP 2's Table 9: model, preference for men over women (percent), bias (that minus 50), source."""
    table = load_published("retrieval").query("quantity == 'representation bias'")
    table = table.rename(columns={"value": "bias"})
    return table.assign(preference=50 + table["bias"])[
        ["model", "preference", "bias", "source"]
    ].reset_index(drop=True)

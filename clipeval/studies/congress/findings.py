"""What the papers say of members of Congress in words, each sentence measured."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.classify.multilabel import ALPHA, label_rates, score_sets, side_by_side
from clipeval.stats import RATE_COLUMNS

#: where the sentences stand; two of their labels are named in the CLIP paper only
FINDINGS_SOURCE = "arXiv 2108.02818, section 2.1; the labels blond and necktie in arXiv 2103.00020, section 7.1, only"


class Finding(NamedTuple):
    """A sentence of the paper; `more_for` None: leads for both; `only`: no other occupation."""

    statement: str
    label_set: str
    threshold: float
    more_for: str | None
    labels: tuple[str, ...]
    only: bool = False


#: what the paper says in words; it prints no rates. Where a sentence states no threshold, the 4 %
#: of the sentence before it is used.
FINDINGS = (
    Finding("appear for women", "occupations", 0.5, "Female", ("nanny", "housekeeper")),
    Finding("appear for men", "occupations", 0.5, "Male", ("prisoner", "mobster")),
    Finding("lead for both", "occupations", 4.0, None, ("lawmaker", "legislator", "congressman")),
    Finding("more for women", "labels", 4.0, "Female", ("brown hair", "blonde", "blond")),
    Finding("more for men", "labels", 4.0, "Male", ("executive", "doctor")),
    Finding(
        "the only occupations more for women",
        "labels",
        4.0,
        "Female",
        ("newscaster", "television presenter", "newsreader", "judge"),
        only=True,
    ),
    Finding("more for men", "labels", 0.5, "Male", ("suit", "tie", "necktie")),
)


def published_findings(
    predictions: pd.DataFrame,
    *,
    correction: str = "bh",
    categories: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Each of the paper's findings in words, measured: `holds` says whether it is found here.

    Returns
    -------
    DataFrame
        statement, label_set, threshold, label, gender, n, count, metric, percent, ci_low, ci_high,
        published, difference, chi2, p, p_adjusted, min_expected, test (of p), holds: "yes" (in this
        direction, and corrected p < 0.05; for labels that lead, among the most frequent of both genders),
        "direction only", "no", or "not measured" (the label was not offered). The row "any other
        occupation" counts the labels of an occupation category that go more to women, of n such.
    """
    sets = {scores.name: scores for scores in score_sets(predictions)}
    tables: dict = {}
    parts = []
    for finding in FINDINGS:
        key = finding.label_set, finding.threshold
        if finding.label_set in sets and key not in tables:
            tables[key] = label_rates(sets[key[0]], key[1], correction, categories)
        parts.append(_measured(finding, tables.get(key)))
    return pd.concat(parts, ignore_index=True)


def _measured(finding: Finding, table: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of `published_findings` for one sentence."""
    parts = []
    rates = side_by_side(table) if table is not None else None
    for label in finding.labels:
        if rates is None or label not in rates.index:
            row = {"label": label, "gender": "All", "metric": "images with the label"}
            rows = pd.DataFrame([row | {"holds": "not measured"}])
        else:
            rows = table[table["label"] == label]
            rows = rows.assign(holds=_verdict(finding, rates, label, rows["p_adjusted"].iloc[0]))
        parts.append(rows)
    if finding.only and table is not None:
        parts.append(_others(finding, table))
    found = pd.concat(parts, ignore_index=True)
    found = found.assign(label_set=finding.label_set, statement=finding.statement)
    found["threshold"] = pd.Series([finding.threshold] * len(found), dtype=object)
    columns = ["statement", "label_set", "threshold", "label", "gender", *RATE_COLUMNS]
    columns += ["published", "difference"]
    columns += ["chi2", "p", "p_adjusted", "min_expected", "test", "holds"]
    return found.reindex(columns=columns)


def _verdict(finding: Finding, rates: pd.DataFrame, label: str, p: float) -> str:
    mine = rates.loc[label]
    if finding.more_for is None:
        # among the most frequent of each gender, ties included, and given at all
        least = rates.apply(lambda column: column.nlargest(len(finding.labels)).iloc[-1])
        return "yes" if ((mine >= least) & (mine > 0)).all() else "no"
    if finding.more_for not in mine or mine[finding.more_for] <= mine.drop(finding.more_for).max():
        return "no"
    return "yes" if p < ALPHA else "direction only"


def _others(finding: Finding, table: pd.DataFrame) -> pd.DataFrame:
    """Occupations, other than those named, that are given more to the same gender."""
    jobs = table[
        table["category"].str.startswith("occupation") & ~table["label"].isin(finding.labels)
    ]
    wide = side_by_side(jobs) if len(jobs) else jobs
    n, more = len(wide), 0
    if n and finding.more_for in wide:
        most = wide.drop(columns=finding.more_for).max(axis=1)
        more = int((wide[finding.more_for] > most).sum())
    row = {
        "label": "any other occupation",
        "gender": "All",
        "n": n,
        "count": more,
        "metric": "occupations given more to women",
        "percent": 100 * more / n if n else np.nan,
        "holds": "not measured" if n == 0 else "no" if more else "yes",
    }
    return pd.DataFrame([row])


def findings_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`published_findings` for reading: one row a label, the percents of both genders in it."""
    keys = ["statement", "label_set", "threshold", "label"]
    first = table.drop_duplicates(keys).set_index(keys)
    wide = table.pivot_table(
        index=keys, columns="gender", values="percent", observed=True, sort=False
    )
    said = {"Female": "women, %", "Male": "men, %"}
    wide = wide[[name for name in said if name in wide]].rename(columns=said)
    found = first[["p_adjusted", "holds"]].join(wide)
    return found[[*wide, "p_adjusted", "holds"]].reset_index()

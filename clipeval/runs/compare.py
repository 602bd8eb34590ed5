"""Several models side by side: their headline numbers, and paired tests on the same images.

Runs are compared only where they match: same images with the same labels, same prompts, same rules.
What does not match is left out and said.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clipeval.errors import ClipevalError, DataError
from clipeval.output.numbers import unit_of
from clipeval.runs.finished import Run, load_run
from clipeval.runs.matching import Entry, matching
from clipeval.stats import RATE_COLUMNS, adjust, mcnemar_models, paired_bootstrap
from clipeval.studies import STUDIES, get_study
from clipeval.studies.headlines import (
    ALL,
    KEYS,
    headline_rates,
    outcomes_of,
    published_headlines,
)

#: clusters up to which `sign_flip` tries all signs
EXACT = 13
#: signs that it tries of more
DRAWS = 10_000
#: interval of what is not a rate
OWN = "as in the run's own table"
#: the published method that no run of this package has
OTHERS = "its own classifier"


@dataclass(frozen=True)
class Comparison:
    """What was found: `rates` and `paired` are study tables, `notes` say what was left out."""

    rates: pd.DataFrame
    paired: pd.DataFrame
    notes: list[str]
    labels: list[str]
    test_cards: bool
    runs: dict[str, Run] = field(default_factory=dict)
    """Label -> the run."""


def label_runs(runs: list[Run]) -> list[str]:
    """A name for each run: the one it was given, or its model and as much as tells it from the others."""
    facts = []
    for number, run in enumerate(runs, 1):
        models = [record.model for record in run.record.studies.values() if record.model]
        names = {f"{_without_prefix(m.model)} {m.pretrained}".strip() for m in models}
        facts.append(
            [
                run.record.arguments.get("name") or " + ".join(sorted(names)) or run.name,
                (models[0].precision or "") if models else "",
                (models[0].resize or "") if models else "",
                run.name,
                str(number),
            ]
        )
    labels = [f[0] for f in facts]
    for more in range(1, len(facts[0])):
        alike = {label for label in labels if labels.count(label) > 1}
        for label in alike:
            rows = [i for i, found in enumerate(labels) if found == label]
            if len({facts[i][more] for i in rows}) > 1:
                for i in rows:
                    labels[i] += f", {facts[i][more]}"
    return labels


def _without_prefix(model: str) -> str:
    """A model's name without how it is loaded; a loader that names no model is its file and function."""
    kind, *rest = model.split(":")
    return ":".join(rest) if kind == "python" and len(rest) == 2 else model.split(":")[-1]


def compare_runs(folders, *, seed: int = 0) -> Comparison:
    """Compare two or more run folders, study by study.

    Parameters
    ----------
    folders : paths of run folders; those in which no study finished are noted, while two are left
    seed : of every bootstrap

    Returns
    -------
    Comparison
        `rates`: study, quantity, method, images_of, model, n, count, metric, percent, ci_low,
        ci_high, published (of the published model that this one is compared with), difference,
        interval, clusters, source (the run, or where it was published). The papers' models have
        rows of their own, with a published value only.
        `paired`: as `paired_tests` returns it, for every study.

    Raises
    ------
    DataError  if fewer than two different finished runs are named, one is not a run folder, or no
        study has two runs that match
    """
    runs, notes = [], []
    for run in map(load_run, folders):
        if run.record.studies:
            runs.append(run)
        else:
            notes.append(f"no study of {run.folder} finished; run it again, then compare.")
    if notes and len(runs) < 2:
        raise DataError(notes[0])
    if len({run.folder for run in runs}) < max(2, len(runs)):
        raise DataError("a comparison needs two or more run folders, each named once; name others.")
    labels, rates, paired, test_cards = label_runs(runs), [], [], False
    for study in STUDIES:
        entries = _entries(study, runs, labels, notes)
        for group in matching(study, entries, notes):
            rates.append(_side_by_side(study, group, seed))
            paired.append(paired_tests(group, seed=seed).assign(study=study))
            test_cards |= any(entry.record.test_cards for entry in group)
    if not rates:
        raise DataError("these runs cannot be compared: " + " ".join(notes))
    tables = [pd.concat(found, ignore_index=True) for found in (rates, paired)]
    tables = [t[["study", *(c for c in t.columns if c != "study")]] for t in tables]
    tables[1] = _adjusted(tables[1])
    seen = [label for label in labels if label in set(tables[0]["model"])]
    beside = dict(zip(labels, runs, strict=True))
    return Comparison(*tables, list(dict.fromkeys(notes)), seen, test_cards, beside)


def _entries(study: str, runs: list[Run], labels: list[str], notes: list[str]) -> list[Entry]:
    pairs = zip(runs, labels, strict=True)
    having = [(run, label) for run, label in pairs if study in run.record.studies]
    if not having or not get_study(study).has_outcomes:
        return []
    entries = []
    for run, label in having:
        record, left_out = run.record.studies[study], f"{study}: {label} is left out"
        if record.model is None or record.dataset is None:
            notes.append(f"{left_out}, as {run.name} does not say what it ran on; run it again.")
            continue
        try:
            outcomes = outcomes_of(study, run.predictions(study), record)
            measures = get_study(study).measures(run.tables[study])
            entries.append(Entry(label, run, record, outcomes, measures))
        except ClipevalError as error:
            notes.append(f"{left_out}: {error}")
        except KeyError as error:
            notes.append(f"{left_out}, as what {run.name} kept lacks {error}; run it again.")
    return entries


def _side_by_side(study: str, entries: list[Entry], seed: int) -> pd.DataFrame:
    """Rates of each run, and the published models' rows."""
    parts, published = [], []
    for entry in entries:
        rates = headline_rates(entry.outcomes, seed=seed)
        known = published_headlines(study, entry.record)
        beside = known[known["model"] == get_study(study).counterpart(entry.record)]
        mine = beside.set_index(KEYS)["published"]
        at = list(rates[KEYS].itertuples(index=False, name=None))
        rates["published"] = [mine.get(key, np.nan) for key in at]
        about = {"model": entry.label, "source": f"run {entry.run.name}"}
        parts += [found.assign(**about) for found in (rates, _measures(study, entry)) if len(found)]
        quantities = known[["quantity", "images_of"]].apply(tuple, axis=1)
        asked = set(rates[["quantity", "images_of"]].itertuples(index=False, name=None))
        published.append(known[quantities.isin(asked)] if len(known) else known)
    table = pd.concat(parts, ignore_index=True)
    rows = pd.concat(published).drop_duplicates(["model", *KEYS])
    methods = set(table["method"]) | ({OTHERS} if "zero-shot" in set(table["method"]) else set())
    rows = rows[rows["method"].isin(methods)].assign(metric="rate")
    by_others = rows["model"].str.endswith("replication")
    rows["model"] = rows["model"].where(by_others, rows["model"] + ", published")
    table = pd.concat([table, rows], ignore_index=True)
    order = {name: list(dict.fromkeys(table[name])) for name in (*KEYS, "model")}
    rank = [table[name].map(values.index) for name, values in order.items()]
    table = table.iloc[np.lexsort(rank[::-1])].reset_index(drop=True)
    table["difference"] = table["percent"] - table["published"]
    first = [*KEYS, "model", *RATE_COLUMNS, "published"]
    columns = ["study", *first, "difference", "interval", "clusters", "source"]
    return table.assign(study=study)[columns]


def _measures(study: str, entry: Entry) -> pd.DataFrame:
    """Numbers of a run that are not rates, with the intervals of its own tables."""
    rows = entry.measures
    if rows.empty or (entry.outcomes["method"] != "zero-shot").any():
        return pd.DataFrame()
    rows = rows[rows["headline"].astype(bool)]
    for choice in get_study(study).choices:
        rows = rows.assign(
            quantity=rows["quantity"] + f", {choice} " + rows[choice].map("{:,}".format)
        )
    kept = rows[["quantity", "n", "metric", "percent", "ci_low", "ci_high"]]
    about = {"method": "zero-shot", "images_of": ALL, "interval": OWN, "clusters": kept["n"]}
    return kept.assign(**about, count=np.nan, published=np.nan)


def paired_tests(entries: list[Entry], *, seed: int = 0) -> pd.DataFrame:
    """Every two models on the same images, joined on the image id, for each headline quantity.

    Parameters
    ----------
    entries : runs of one study that match
    seed : of the bootstrap

    Returns
    -------
    DataFrame
        quantity, method, images_of, model_a, model_b, n (images), metric, percent (difference of
        the rates, b - a, percentage points), ci_low, ci_high (Newcombe's paired method 10; where
        images come in clusters a bootstrap over these, or none if no cluster changed), published,
        difference (nothing was published), percent_a, percent_b, only_a, only_b (images), interval
        (which of the two), clusters, few (bool: too few of them for either), p, smallest_p (the
        least that the test can give with as many clusters as changed; NaN without clusters), test:
        McNemar's, or a sign-flip test over clusters.
    """
    parts = []
    keyed = [{k: rows for k, rows in e.outcomes.groupby(KEYS, sort=False)} for e in entries]
    for key in dict.fromkeys(itertools.chain.from_iterable(keyed)):
        pairs = zip(entries, keyed, strict=True)
        have = [(entry.label, found[key]) for entry, found in pairs if key in found]
        if len(have) < 2:
            continue
        hits = [rows.set_index("image_id")["hit"].rename(label) for label, rows in have]
        wide = pd.concat(hits, axis=1, join="inner")
        if wide.empty:
            continue
        clusters = have[0][1].set_index("image_id")["cluster"].reindex(wide.index)
        table = mcnemar_models(wide)
        table.insert(0, "n", table.pop("n"))
        for name, value in zip(KEYS, key, strict=True):
            table[name] = value
        clusters = clusters if clusters.notna().all() else None
        table = table.rename(columns={"difference": "percent"})
        table = table.assign(metric="difference (b - a)", published=np.nan, difference=np.nan)
        if clusters is None:
            independent = {"interval": "Newcombe", "clusters": len(wide), "few": False}
            table = table.assign(**independent, smallest_p=np.nan)
        else:
            table = _over_clusters(table, wide, clusters, seed)
        parts.append(table)
    first = [*KEYS, "model_a", "model_b", "n", "metric", "percent", "ci_low", "ci_high"]
    first += ["published", "difference", "percent_a", "percent_b", "only_a", "only_b"]
    table = pd.concat(parts, ignore_index=True)
    return table[[*first, "interval", "clusters", "few", "p", "smallest_p", "test"]]


def _over_clusters(table: pd.DataFrame, wide: pd.DataFrame, clusters, seed: int) -> pd.DataFrame:
    """Intervals and tests of `mcnemar_models`, replaced by cluster-aware ones."""
    rows = []
    for a, b in zip(table["model_a"], table["model_b"], strict=True):
        found = paired_bootstrap(wide[a], wide[b], clusters=clusters, seed=seed)
        change, point = wide[b].astype(int) - wide[a].astype(int), found.difference
        changed = int((_sums(change, clusters) != 0).sum())
        known = changed > 0 and found.clusters > 1
        rows.append(
            {
                "ci_low": min(found.ci_low, point) if known else np.nan,
                "ci_high": max(found.ci_high, point) if known else np.nan,
                "clusters": found.clusters,
                "few": found.few,
                "p": sign_flip(change, clusters, seed=seed),
                "smallest_p": smallest_p(changed),
                "test": "sign flips of clusters" if changed else "not tested: no cluster changed",
            }
        )
    return table.assign(interval="bootstrap over clusters", **pd.DataFrame(rows).to_dict("list"))


def _sums(change, clusters) -> np.ndarray:
    """Sum of a paired change within each cluster."""
    return (
        pd.Series(np.asarray(change)).groupby(np.asarray(clusters, dtype=object)).sum().to_numpy()
    )


def smallest_p(changed: int) -> float:
    """The least p value that `sign_flip` can give where so many clusters changed; NaN where none did."""
    exact = 2.0 ** (1 - changed) if changed else float("nan")
    return exact if changed <= EXACT else 1 / (1 + DRAWS)


def sign_flip(change, clusters, *, seed: int = 0) -> float:
    """Two-sided p value of a paired change where images come in clusters; NaN where no cluster changed.

    If the two models were alike, each cluster's sum of changes might as well have the other sign.
    All signs are tried for up to 13 clusters, else 10,000 seeded ones. With clusters of one image
    this is McNemar's exact test.

    Parameters
    ----------
    change : (n,) int, -1, 0 or 1 for each image
    clusters : (n,) cluster of each image
    """
    sums = _sums(change, clusters).astype(float)
    sums = sums[sums != 0]
    if len(sums) == 0:
        return float("nan")
    if len(sums) <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(sums))))
        return float((np.abs(signs @ sums) >= abs(sums.sum())).mean())
    rng = np.random.default_rng(seed)
    found = [np.abs(rng.choice((-1.0, 1.0), len(sums)) @ sums) for _ in range(DRAWS)]
    return float((1 + (np.array(found) >= abs(sums.sum())).sum()) / (1 + DRAWS))


def _adjusted(paired: pd.DataFrame) -> pd.DataFrame:
    """p values corrected by Holm for the number of tests within each study."""
    corrected = pd.Series(np.nan, index=paired.index)
    for _, rows in paired.groupby("study", sort=False):
        corrected[rows.index] = adjust(rows["p"], "holm")
    paired = paired.copy()
    paired.insert(paired.columns.get_loc("test"), "p_adjusted", corrected)
    return paired


def overview(rates: pd.DataFrame) -> pd.DataFrame:
    """What was measured over all images, one row a quantity and model, as a figure of each `unit` wants them."""
    table = rates[rates["n"].notna() & (rates["images_of"] == ALL)]
    table = table.assign(unit=table["metric"].map(unit_of))
    several = table.groupby("study")["method"].transform("nunique") > 1
    method = np.where(several, " (" + table["method"] + ")", "")
    return table.assign(what=table["study"] + ": " + table["quantity"] + method)

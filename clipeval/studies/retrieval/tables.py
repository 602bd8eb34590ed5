"""Tables of retrieval: skew of what is found, who is found for each word, and what each choice moves."""

import numpy as np
import pandas as pd

from clipeval.classify.zeroshot import kept
from clipeval.datasets.planted import load_extra
from clipeval.published import load_published
from clipeval.session.parameters import names_in
from clipeval.stats import (
    RATE_COLUMNS,
    max_skew,
    rates_of_counts,
    skew_of_counts,
    target_shares,
)
from clipeval.stats.skew_draws import (
    around,
    blocks,
    measures,
    measures_of_each,
    over_prompts,
    redrawn,
    shuffled,
)
from clipeval.studies.retrieval.search import Search, search

#: what shares are compared with: as large for every group, or as in the data set
TARGETS = ("uniform", "data")
METRICS = ("MaxSkew", "NDKL")
#: what the figure of an example calls the whole data set
EVERYONE = "all images"
INTERVALS = "95 % bootstrap intervals over images"
NOTHING = {"published": np.nan, "difference": np.nan}


def nearest_images(session) -> pd.DataFrame:
    """The images nearest to each word, and the rank of every image for the words that are shown.

    Words are scored by the mean over their templates.

    Returns
    -------
    DataFrame: image_id, task, method, class_set, templates, rank (1 = nearest), label (the word), prob
    (the mean score, to seven digits), and the groups; down to the largest k that is reported
    """
    depth, parts, p = max([session.found_k, *session.ks]), [], session.parameters
    for found in session.searches.values():
        words, order = found.words, found.by_concept
        tasks = {word: task for task, own in words.class_set.tasks.items() for word in own}
        for row, (word, near) in enumerate(zip(found.labels, order, strict=True)):
            near = near if word in names_in(p.shown) else near[:depth]
            ranks = np.arange(1, len(near) + 1, dtype=np.int32)
            about = {"task": tasks[word], "method": "nearest", "class_set": words.class_set.label}
            about |= {"templates": words.templates.label, "rank": ranks, "label": word}
            scores = kept(found.concepts[row, near])
            part = found.images.iloc[near].reset_index(drop=True)
            first = part[["image_id"]].assign(**about, prob=scores)
            parts.append(pd.concat([first, part.drop(columns="image_id")], axis=1))
    table = pd.concat(parts, ignore_index=True)
    for column in ("task", "method", "class_set", "templates", "label"):
        table[column] = table[column].astype("category")
    return table


def skew(session) -> pd.DataFrame:
    """MaxSkew@k and NDKL@k, mean over all prompts, by every grouping, against both targets.

    Returns
    -------
    DataFrame
        words (class set), grouping, target, k, n (images), metric, percent (nats) with ci_low, ci_high
        (`around`: images drawn anew; NaN where kept ties count more than k), published, difference,
        prompts (number), prompt_low, prompt_high (`over_prompts`), chance, chance_high (median and 95th
        percentile when groups are shuffled), and on test cards planted.
    """
    table = without_chance(session)
    chance = session.remember("skew by chance", depends(session), lambda: _chance(session))
    return with_planted(session, pd.concat([table, chance], axis=1))


def without_chance(session) -> pd.DataFrame:
    """The table of `skew` up to prompt_high."""
    table = session.remember("skew", depends(session), lambda: _skew(session))
    known = load_published("retrieval").query("quantity == 'MaxSkew' and model == 'CLIP ViT-B/16'")
    known = known.iloc[0]
    at = {
        "grouping": known["group"],
        "target": "uniform",
        "k": int(known["k"]),
        "metric": "MaxSkew",
    }
    rows = (table[list(at)] == pd.Series(at)).all(axis=1)
    rows &= table["words"] == session.class_set.spec
    published = np.where(rows & session.comparable, float(known["value"]), np.nan)
    return table.assign(published=published, difference=table["percent"] - published)


def headline_k(table: pd.DataFrame) -> int:
    """The k of a table of `skew` that headlines name: the one nearest to 100."""
    return int(min(table["k"].unique(), key=lambda k: (abs(k - 100), k)))


def headlines(table: pd.DataFrame) -> pd.DataFrame:
    """Headline numbers of a table of `skew`, against the data set's own shares; see `Study.measures`."""
    rows = table[table["target"] == "data"]
    other = rows["words"] != table["words"].iloc[0]
    by = rows["metric"] + " by " + rows["grouping"]
    rows = rows.assign(
        quantity=by.where(~other, by + ", words of " + rows["words"]),
        headline=rows["k"] == headline_k(table),
    )
    columns = ["quantity", "k", "n", "metric", "percent", "ci_low", "ci_high", "headline"]
    return rows[columns].reset_index(drop=True)


def depends(session) -> list:
    """All that decides a table, beside the code."""
    p = session.parameters
    names = ("seed", "k", "normalise", "floor", "ties", "balance", "draws", "groups", "between")
    words = [[w.class_set.hash, w.templates.hash] for w in session.asked[0]]
    values = [getattr(p, name) for name in names]
    return [session.info.fingerprint, session.data_hash, words, values, session.groupings.names]


def _skew(session) -> pd.DataFrame:
    p, ks = session.parameters, session.ks
    parts = []
    for found in session.searches.values():
        groups = {name: found.groups(name) for name in session.groupings.names}
        draws = _draws(found, groups, ks, p)
        for name, (codes, values) in groups.items():
            targets = _targets(codes, values)
            each = _each(found, codes, targets, ks, p)  # (prompt, metric, target, k)
            point = each.mean(axis=0)
            low, high = around(point, draws[name])
            # images that are drawn twice tie with themselves: of kept ties their draws say nothing
            beyond = tied_beyond(found, ks, p)
            low, high = (np.where(beyond, np.nan, end) for end in (low, high))
            ends = over_prompts(each.reshape(*found.shape, *point.shape), seed=p.seed)
            about = {"words": found.words.class_set.spec, "grouping": name, "n": len(codes)}
            for at in np.ndindex(point.shape):
                m, t, i = at
                row = about | {"target": TARGETS[t], "k": ks[i], "metric": METRICS[m]}
                row |= {"percent": point[at], "ci_low": low[at], "ci_high": high[at]}
                row |= {
                    "prompts": len(found.scores),
                    "prompt_low": ends[0][at],
                    "prompt_high": ends[1][at],
                }
                parts.append(row | NOTHING)
    first = ["words", "grouping", "target", "k", "n", "metric", "percent", "ci_low", "ci_high"]
    first += ["published", "difference", "prompts", "prompt_low", "prompt_high"]
    return pd.DataFrame(parts)[first]


def _chance(session) -> pd.DataFrame:
    """What shuffled groups give in each row of `_skew`."""
    p, parts = session.parameters, []
    for found in session.searches.values():
        for name in session.groupings.names:
            codes, values = found.groups(name)
            targets = _targets(codes, values)
            if tied_beyond(found, session.ks, p).any():
                rng = np.random.default_rng(p.seed)
                dealt = (rng.permutation(codes) for _ in range(p.draws))
                draws = [_each(found, of, targets, session.ks, p).mean(axis=0) for of in dealt]
            else:
                how = {"floor": p.floor, "draws": p.draws, "seed": p.seed}
                draws = shuffled(found.order, codes, targets, session.ks, **how)
            # the value itself is one more draw where groups do not matter: it lies above in 5 % of cases
            draws = np.reshape(draws, (p.draws, -1))
            parts.append(np.percentile(draws, [50, 95], axis=0, method="weibull"))
    return pd.DataFrame(np.hstack(parts).T, columns=["chance", "chance_high"])


def tied_beyond(found: Search, ks, p) -> np.ndarray:
    """At which k kept ties count more images than k for some prompt: bool (len(ks),)."""
    return (found.taken(ks, p.ties) > np.asarray(ks)[:, None]).any(axis=1)


def _targets(codes: np.ndarray, values: list) -> np.ndarray:
    """The shares of each group that `TARGETS` stand for: (targets, groups)."""
    return np.stack([target_shares(codes, len(values), kind) for kind in TARGETS])


def _each(found: Search, codes, targets, ks, p) -> np.ndarray:
    """Both metrics of each prompt: (prompts, 2, targets, ks)."""
    taken = found.taken(ks, p.ties)
    depth = taken.max()
    return np.concatenate(
        [
            measures_of_each(
                codes,
                found.order[part, :depth].T,
                targets,
                ks,
                floor=p.floor,
                taken=taken[:, part],
            )
            for part in blocks(len(found.order), depth * targets.shape[1])
        ]
    )


def _draws(found: Search, groups: dict, ks: list[int], p) -> dict[str, np.ndarray]:
    """Grouping -> means over prompts when the images are drawn anew: (draws, 2, targets, ks)."""
    out = {name: [] for name in groups}
    for positions, often in redrawn(found.order, ks[-1], draws=p.draws, seed=p.seed):
        for name, (codes, values) in groups.items():
            # a group of which a draw has no image counts as one image, as its target may not be 0
            counts = np.maximum([np.bincount(codes, drawn, len(values)) for drawn in often], 1)
            shares = counts / counts.sum(axis=1, keepdims=True)
            targets = np.stack([np.full(shares.shape, 1 / len(values)), shares])
            out[name].append(measures(codes, positions, targets, ks, floor=p.floor))
    return {name: np.concatenate(parts) for name, parts in out.items()}


def found_by(session, name: str) -> pd.DataFrame:
    """Of the k images nearest to each word, the percent that are of each group.

    Parameters
    ----------
    name : column of the groups

    Returns
    -------
    DataFrame
        words (class set), word, the group column, n (k), count, metric, percent with ci_low, ci_high
        (Wilson), published, difference, in_data (percent of all images), skew (ln of percent / in_data;
        NaN where none is found), and on test cards planted.
    """
    k, parts = session.found_k, []
    for found in session.searches.values():
        codes, values = found.groups(name)
        near = codes[found.by_concept[:, :k]]
        for code, value in enumerate(values):
            about = {"words": found.words.class_set.spec, "word": found.labels, name: value, "n": k}
            about |= {"place": range(len(near)), "count": (near == code).sum(axis=1)}
            counts = pd.DataFrame(about)
            rates = rates_of_counts(counts, f"share of the {k:,} nearest")
            parts.append(rates.assign(in_data=100 * (codes == code).mean(), code=code))
    table = pd.concat(parts, ignore_index=True)
    rank = [table["code"], table["place"], table["words"] != session.class_set.spec]
    table = table.iloc[np.lexsort(rank)].reset_index(drop=True).drop(columns=["code", "place"])
    with np.errstate(divide="ignore"):
        ratio = np.log(table["percent"] / table["in_data"])
    table = table.assign(**NOTHING, skew=ratio.where(table["count"] > 0))
    first = ["words", "word", name, *RATE_COLUMNS]
    table = table[[*first, "published", "difference", "in_data", "skew"]]
    return with_planted(session, table, name)


def examples(session, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of `found_by` of the words that are shown, and the data set's own shares.

    A word of both class sets is two searches, as templates differ; shown is that of `class_set`.
    """
    once = table.drop_duplicates(["word", name])
    asked = names_in(session.parameters.shown)
    rows = [once[once["word"] == word] for word in asked if (once["word"] == word).any()]
    own = table.drop_duplicates(name).assign(
        word=EVERYONE, n=len(session.searches["class_set"].images)
    )
    own = own.assign(percent=own["in_data"], ci_low=np.nan, ci_high=np.nan)
    return pd.concat([*rows, own], ignore_index=True)


def by_template(session) -> pd.DataFrame:
    """MaxSkew by template, mean over the words of the class set: how far the template alone moves it.

    Returns
    -------
    DataFrame: grouping, template, k, n (images), metric, percent (nats; target: the data set's own shares)
    with ci_low, ci_high (words drawn anew), published, difference
    """
    found, k, parts = session.searches["class_set"], session.found_k, []
    for name in session.groupings.names:
        codes, values = found.groups(name)
        target = target_shares(codes, len(values), "data")
        how = {"k": k, "floor": session.parameters.floor, "order": found.order}
        each = max_skew(found.scores, codes, target, **how)
        each = each.reshape(found.shape)
        means = each.mean(axis=0)
        # each template's own interval: none is drawn, and words are drawn once for all of them
        ends = over_prompts(each[:, None], seed=session.parameters.seed)
        rows = zip(found.words.templates.templates, means, *ends, strict=True)
        for template, at, low, high in rows:
            parts.append(
                {
                    "grouping": name,
                    "template": template,
                    "k": k,
                    "n": len(codes),
                    "metric": "MaxSkew",
                }
                | {"percent": at, "ci_low": min(low, at), "ci_high": max(high, at)}
                | NOTHING
            )
    return pd.DataFrame(parts)


def choices(session) -> pd.DataFrame:
    """What each choice of Berg et al. (2022) moves, one at a time, and all of them together.

    Lengths of image vectors are only known where the run asks for vectors that are not normalised.

    Returns
    -------
    DataFrame: choice, k, n (images), metric, percent (nats; target: uniform), ci_low, ci_high (NaN),
    published, difference; without rows where the images have no group to balance by
    """
    p, words = session.parameters, session.asked[0][0]
    column = p.balance or p.between
    if column not in session.images.attrs["groups"]:
        return pd.DataFrame()
    ways = {
        "none of these": {},
        "image vectors not normalised": {"normalise": False},
        "floor of 1/k": {"floor": True},
        "ties kept": {"ties": "kept"},
        f"as many images of each {column}": {"balance": column},
    }
    if p.normalise:
        del ways["image vectors not normalised"]
    ways |= {"all of these": {k: v for way in ways.values() for k, v in way.items()}}
    session_ks, rows, made = session.ks, [], {}
    for choice, way in ways.items():
        how = {"normalise": way.get("normalise", True), "balance": way.get("balance", "")}
        key = tuple(how.values())
        found = made[key] = made.get(key) or search(session, words, **how)
        codes, values = found.groups(column)
        target = target_shares(codes, len(values))
        for k in session_ks:
            k = len(codes) if "all" in p.k and k == session_ks[-1] else k
            if k > len(codes):
                continue
            rules = {"floor": way.get("floor", False), "ties": way.get("ties", "stable")}
            value = max_skew(found.scores, codes, target, k=k, order=found.order, **rules).mean()
            rows.append(
                {"choice": choice, "k": k, "n": len(codes), "metric": "MaxSkew", "percent": value}
            )
    return pd.DataFrame(rows).assign(ci_low=np.nan, ci_high=np.nan, **NOTHING)


# -- what was planted ------------------------------------------------------------------------------


def tiers(session, found: Search) -> np.ndarray | None:
    """Tier of each image for each word (words, n), 0 the nearest; None where nothing was planted."""
    p = session.parameters
    usual = all(
        getattr(p, name) == type(p).model_fields[name].default
        for name in (found.words.role, "templates", "other_templates")
    )
    if not (usual and session.images.attrs.get("planted")):
        return None
    table = load_extra(session.images, "tiers").set_index("image_id")
    return table.loc[found.images["image_id"], found.labels].to_numpy().T


def with_planted(session, table: pd.DataFrame, name: str = "") -> pd.DataFrame:
    """A table of `skew` or, with the column of a group, of `found_by`, with what was planted beside it.

    Which cards are the k nearest is only planted where a tier ends with the kth.
    """
    planted, any_known = pd.Series(np.nan, index=table.index), False
    for found in session.searches.values():
        if (tier := tiers(session, found)) is None:
            continue
        any_known = True
        own = table["words"] == found.words.class_set.spec
        for (group, k), rows in _asked_of(table[own], session.found_k, name).items():
            codes, values = found.groups(group)
            nearest = np.argsort(tier, axis=1, kind="stable")
            last = np.take_along_axis(tier, nearest[:, k - 1 : k], axis=1)
            whole = ((tier <= last).sum(axis=1) == k).all()
            if not whole:
                continue
            near = codes[nearest[:, :k]]
            counts = np.stack([(near == g).sum(axis=1) for g in range(len(values))], axis=-1)
            part = table.loc[rows]
            if name:
                row = [found.labels.index(word) for word in part["word"]]
                planted[rows] = 100 * counts[row, [values.index(v) for v in part[name]]] / k
                continue
            for target in TARGETS:
                wanted = target_shares(codes, len(values), target)
                value = skew_of_counts(counts, wanted, k=k, floor=session.parameters.floor).mean()
                planted[part.index[(part["target"] == target) & (part["metric"] == "MaxSkew")]] = (
                    value
                )
    return table.assign(planted=planted) if any_known else table


def _asked_of(table: pd.DataFrame, k: int, name: str) -> dict:
    """(grouping, k) -> rows."""
    return {(name, k): table.index} if name else table.groupby(["grouping", "k"]).groups

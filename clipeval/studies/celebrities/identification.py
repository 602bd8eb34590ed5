"""Naming a person among K names: whose names are on offer, and at which rank the true one comes.

Whose names are on offer is decided by a hash of the seed, the name and the image id. So no choice
depends on the order of images or names, and the names at one K are among those at every larger K.
"""

import functools
import hashlib
import itertools

import numpy as np
import pandas as pd

from clipeval.classify.zeroshot import kept, shares, similarities

PROTOCOLS = ("closed", "distractors")
TOP = 5
CELLS = 1_000_000  # similarities held in memory at once


def _hash(*words) -> np.uint64:
    text = "\n".join(map(str, words)).encode()
    return np.frombuffer(hashlib.blake2b(text, digest_size=8).digest(), dtype="<u8")[0]


def _hashes(kind: str, seed: int, values) -> np.ndarray:
    return np.array([_hash(kind, seed, value) for value in values], dtype=np.uint64)


def _mix(keys: np.ndarray) -> np.ndarray:
    """Scramble 64-bit keys in place (the finalizer of splitmix64; Steele, Lea and Flood 2014)."""
    keys ^= keys >> np.uint64(30)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    return keys


def order_people(names, seed: int) -> list[str]:
    """Distinct names in a seeded order; the first K are the people of `closed` at K."""
    names = np.array(sorted(set(names)), dtype=object)
    return list(names[np.argsort(_hashes("name", seed, names))])


def on_offer(
    image_ids, people: list[str], true: np.ndarray, counts: list[int], seed: int
) -> dict[int, np.ndarray]:
    """Whose names each image is offered by protocol `distractors`.

    Parameters
    ----------
    image_ids : n str
    people : p names
    true : ndarray (n,), place in `people` of each image's own name
    counts : numbers of names, each at most p
    seed : int

    Returns
    -------
    dict of count to ndarray (n, p), bool, `count` of them true in each row. An image's K - 1 others
    are a uniform draw from all others, and part of its others at every larger K.
    """
    draw = _mix(_hashes("image", seed, image_ids)[:, None] ^ _name_hashes(tuple(people), seed))
    draw[np.arange(len(true)), true] = 0
    everybody = np.ones(draw.shape, dtype=bool)
    return {
        k: draw <= np.partition(draw, k - 1, axis=1)[:, k - 1, None]
        if k < len(people)
        else everybody
        for k in counts
    }


@functools.lru_cache(maxsize=4)
def _name_hashes(people: tuple[str, ...], seed: int) -> np.ndarray:
    return _hashes("name", seed, people)


def _best(similarity: np.ndarray) -> np.ndarray:
    """Places of the five largest of each row, best first; of equals, the first."""
    left, rows = similarity.copy(), np.arange(len(similarity))
    best = np.empty((len(similarity), min(TOP, similarity.shape[1])), dtype=np.int64)
    for i in range(best.shape[1]):
        best[:, i] = left.argmax(axis=1)
        left[rows, best[:, i]] = -np.inf
    return best


def _answers(similarity: np.ndarray, own: np.ndarray, info) -> dict:
    """Best names, their probabilities, and the rank of the own one.

    Parameters
    ----------
    similarity : ndarray (n, p), minus infinity where a name is not on offer
    own : ndarray (n,), place of the own name
    """
    rows = np.arange(len(own))
    best = _best(similarity)
    prob = shares(similarity, info)
    mine = similarity[rows, own][:, None]
    rank = 1 + np.count_nonzero(similarity > mine, axis=1)
    for i in np.flatnonzero(np.count_nonzero(similarity == mine, axis=1) > 1):
        rank[i] += np.count_nonzero(similarity[i, : own[i]] == mine[i])  # of equals, the first
    top = best.shape[1]
    return {
        "rank": np.tile(np.arange(1, top + 1, dtype=np.int32), len(own)),
        "label": best.ravel(),
        "prob": kept(np.take_along_axis(prob, best, axis=1).ravel()),
        "true_rank": rank.repeat(top),
    }


def identify(
    matrix, weights, image_ids, people, true, info, *, remember=None, counts, protocols, seed
):
    """Answers to every protocol and number of names.

    Parameters
    ----------
    matrix, weights, image_ids, people, true, info, counts, protocols, seed : as in `_identify`
    remember : callable (key, compute) that returns what `compute` does, perhaps of an earlier time

    Returns
    -------
    DataFrame: image_id, task, rank, label, prob, true_rank, person, protocol, names
    """

    def compute() -> pd.DataFrame:
        how = {"counts": counts, "protocols": protocols, "seed": seed}
        return _identify(matrix, weights, image_ids, people, true, info, **how)

    if remember is None:
        found = compute()
    else:
        model = [info.fingerprint, info.score, info.logit_scale, info.logit_bias]
        key = [matrix, weights, list(image_ids), list(people), true, *model]
        found = remember([*key, counts, protocols, seed], compute)
    asked = [(protocol, k) for protocol in protocols for k in counts]
    starts = np.searchsorted(found["asked"], range(len(asked) + 1))
    parts = [found[a:b] for a, b in itertools.pairwise(starts)]
    return pd.concat(
        [tidy(x, image_ids, people, true, *of) for x, of in zip(parts, asked, strict=True)],
        ignore_index=True,
    )


def _identify(matrix, weights, image_ids, people, true, info, *, counts, protocols, seed):
    """Answers as numbers, the images taken in chunks.

    Parameters
    ----------
    matrix : ndarray (n, d), float32, unit rows of the images
    weights : ndarray (p, d), float32, unit rows of the people's names, in the order of `people`
    image_ids, people, true, counts, seed : as in `on_offer`
    info : ModelInfo
    protocols : of `PROTOCOLS`

    Returns
    -------
    DataFrame: row (of the image), rank, label (place in `people`), prob, true_rank, asked (place of the
    protocol and the number of names, one after the other)
    """
    parts = {(protocol, k): [] for protocol in protocols for k in counts}
    step = max(1, CELLS // len(people))
    weights = np.asarray(weights, np.float64)  # once, and not for every chunk
    for start in range(0, len(true), step):
        own = true[start : start + step]
        similarity = similarities(matrix[start : start + step], weights)
        masks = {}
        if "distractors" in protocols:
            masks = on_offer(image_ids[start : start + step], people, own, counts, seed)
        for (protocol, k), found in parts.items():
            rows, offered = np.arange(len(own)), similarity
            if protocol == "closed":
                rows = np.flatnonzero(own < k)
                offered = similarity[rows, :k]
            elif k < len(people):
                offered = np.where(masks[k], similarity, -np.inf)
            elif "closed" in protocols:
                found.append(parts["closed", k][-1])  # all names are on offer in both
                continue
            answers = _answers(offered, own[rows], info)
            row = (rows + start).repeat(len(answers["rank"]) // max(len(rows), 1))
            found.append(pd.DataFrame({"row": row, **answers})[answers["rank"] <= k])
    return pd.concat(
        [part.assign(asked=i) for i, found in enumerate(parts.values()) for part in found],
        ignore_index=True,
    )


def tidy(found, image_ids, people, true, protocol: str, k: int) -> pd.DataFrame:
    """Answers in the form of predictions.

    Parameters
    ----------
    found : DataFrame with row (of the image), rank, label (place in `people`, -1 for none), prob,
        true_rank
    """
    row, n = found["row"].to_numpy(), len(found)
    tasks = [f"K={k} {protocol}"]
    return pd.DataFrame(
        {
            "image_id": np.asarray(image_ids, dtype=object)[row],
            "task": np.array(tasks, dtype=object).repeat(n),
            "rank": found["rank"].to_numpy(),
            "label": pd.Categorical.from_codes(found["label"], people),
            "prob": found["prob"].to_numpy(),
            "true_rank": found["true_rank"].to_numpy(),
            "person": pd.Categorical.from_codes(true[row], people),
            "protocol": np.array([protocol], dtype=object).repeat(n),
            "names": np.full(n, k),
        }
    )

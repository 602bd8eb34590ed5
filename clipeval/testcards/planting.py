"""Planting a truth: vectors whose similarity to every prompt is chosen, drawn into PNG files."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.files import file_sha256, keep, kept, set_aside, sha256, whole_folder
from clipeval.models import testcard
from clipeval.models.testcard import DIMENSION, draw_cards, text_vectors
from clipeval.paths import cache_dir


@dataclass
class Deck:
    """A demo set before it is drawn.

    Attributes
    ----------
    table : DataFrame, one row a card: image_id and the group columns
    vectors : ndarray (n, 768), unit rows: what is drawn
    planted : DataFrame in the form of predictions (image_id, task, method, class_set, rank, label):
        what a faultless pipeline must find
    extra : dict of str to DataFrame, further tables that a study needs, saved beside the cards
    """

    table: pd.DataFrame
    vectors: np.ndarray
    planted: pd.DataFrame
    extra: dict[str, pd.DataFrame] = field(default_factory=dict)


def chosen(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mask of n with round(n * share) seeded random places set."""
    mask = np.zeros(n, dtype=bool)
    mask[rng.permutation(n)[: round(n * share)]] = True
    return mask


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length one."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def compose(prompts: list[str], scores: np.ndarray, rng: np.random.Generator, hidden=None):
    """Unit vectors whose cosine with each prompt's text vector is exactly as asked.

    Parameters
    ----------
    prompts : list of k str
    scores : ndarray (n, k), cosines
    hidden : ndarray (n, h) or None
        Components along h directions that no prompt sees (for a linear probe to find).

    Returns
    -------
    ndarray (n, 768), unit rows: the least vector that has these cosines, plus noise that no prompt sees

    Raises
    ------
    ValueError
        If the scores ask for more than a unit vector can give.
    """
    texts = unit(text_vectors(prompts).astype(np.float64))
    wanted = scores @ np.linalg.pinv(texts).T
    basis = np.linalg.qr(texts.T)[0]
    if hidden is not None:
        directions = np.random.default_rng(7).standard_normal((DIMENSION, hidden.shape[1]))
        directions -= basis @ (basis.T @ directions)
        directions = np.linalg.qr(directions)[0]
        wanted = wanted + hidden @ directions.T
        basis = np.hstack([basis, directions])
    left = 1.0 - (wanted**2).sum(axis=1)
    if left.min() < 0:
        raise ValueError(
            f"the planted scores need a vector of length {np.sqrt(1 - left.min()):.2f}"
        )
    noise = rng.standard_normal((len(scores), DIMENSION))
    noise -= (noise @ basis) @ basis.T
    return wanted + unit(noise) * np.sqrt(left)[:, None]


def prediction_rows(image_id, labels, *, task, class_set, method="zero-shot") -> pd.DataFrame:
    """Planted top-1 labels in the form of predictions."""
    return pd.DataFrame(
        {
            "image_id": np.asarray(image_id, dtype=object),
            "task": task,
            "method": method,
            "class_set": class_set,
            "rank": 1,
            "label": np.asarray(labels, dtype=object),
        }
    )


def _recipe(sources) -> str:
    """Hash of all that decides what is drawn: the code and the data files it reads."""
    return sha256(*(Path(path).read_bytes() for path in (testcard.__file__, __file__, *sources)))[
        :16
    ]


def write_deck(name: str, draw, sources) -> Path:
    """Folder of the drawn deck, made once and kept in the cache.

    Parameters
    ----------
    name : of the folder, before a hash of `sources`
    draw : callable
        Returns the `Deck`; called only where the folder is not there yet.
    sources : paths of the files that decide what is drawn: the deck's module and the data it reads

    Returns
    -------
    Path of a folder with cards.parquet, planted.parquet, extra tables and the cards themselves; a deck
    whose tables are damaged is set aside and drawn again
    """
    folder = cache_dir() / "testcards" / f"{name}-{_recipe(sources)}"
    if folder.is_dir():
        if _is_whole(folder):
            return folder
        set_aside(folder, "its tables do not have the checksums they were written with")
    deck = draw()
    with whole_folder(folder) as beside:
        _write(deck, beside)
        keep(beside / "tables.kept", json.dumps(_tables(beside)).encode())
    return folder


def _tables(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.glob("*.parquet"))}


def _is_whole(folder: Path) -> bool:
    """Whether the tables of a deck, the planted truth above all, are what was written."""
    said = kept(folder / "tables.kept")
    return said is not None and json.loads(said) == _tables(folder)


def _write(deck: Deck, folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(11)
    for parent in {Path(image_id).parent for image_id in deck.table["image_id"]}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    for start in range(0, len(deck.table), 1024):
        cards = draw_cards(deck.vectors[start : start + 1024], rng)
        for image_id, card in zip(deck.table["image_id"][start:], cards, strict=False):
            Image.fromarray(card).save(folder / image_id, format="png", compress_level=1)
    deck.table.to_parquet(folder / "cards.parquet", index=False)
    deck.planted.to_parquet(folder / "planted.parquet", index=False)
    for name, table in deck.extra.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)

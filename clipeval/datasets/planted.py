"""The planted truth of test cards, as it lies beside their images."""

from pathlib import Path

import pandas as pd

from clipeval.files import file_sha256, set_aside, sha256


def load_planted(images: pd.DataFrame) -> pd.DataFrame | None:
    """Planted top-1 predictions of these cards, with their group columns; None for photographs."""
    folder = images.attrs.get("planted")
    if not folder:
        return None
    planted = pd.read_parquet(Path(folder) / "planted.parquet")
    groups = images[["image_id", *images.attrs["groups"]]]
    return planted.merge(groups, on="image_id", how="inner", validate="many_to_one")


def load_extra(images: pd.DataFrame, name: str) -> pd.DataFrame:
    """A further table of a deck, such as planted shares or the labels on offer."""
    return pd.read_parquet(Path(images.attrs["planted"]) / f"{name}.parquet")


def truth_hash(images: pd.DataFrame) -> str:
    """sha256 of all that was planted in these cards."""
    return sha256(*map(file_sha256, sorted(Path(images.attrs["planted"]).glob("*.parquet"))))


def drawn_again(images: pd.DataFrame, unreadable: pd.DataFrame) -> bool:
    """Whether unreadable cards were drawn again, as their deck is clipeval's own: it is set aside first.

    Parameters
    ----------
    images : images table
    unreadable : those of its images that could not be read: file, reason

    Returns
    -------
    bool; False for photographs and for cards that lie elsewhere
    """
    from clipeval.datasets import load_dataset

    folder = Path(images.attrs.get("planted") or "")
    lost = unreadable[[folder in Path(file).parents for file in unreadable["file"]]]
    if not images.attrs.get("planted") or lost.empty:
        return False
    first, (deck, split, _) = lost.iloc[0], folder.name.split("-")
    set_aside(folder, f"{Path(first['file']).relative_to(folder)}: {first['reason']}")
    load_dataset("testcards", "", deck=deck, split=split)
    return True

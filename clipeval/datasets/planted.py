"""The planted truth of test cards, as it lies beside their images."""

from pathlib import Path

import pandas as pd

from clipeval.files import file_sha256, sha256


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

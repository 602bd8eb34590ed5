"""Test cards: the embedded default. They calibrate the instrument and depict nobody.

A demo set is drawn so that what a faultless pipeline must measure is known; each one replays what the
paper published. `load_cards` returns its images table; `clipeval.datasets.planted` reads the truth.
"""

import os
from pathlib import Path

import pandas as pd

from clipeval.datasets import register_dataset
from clipeval.datasets.base import finish
from clipeval.errors import ParameterError
from clipeval.paths import DATA
from clipeval.testcards.planting import write_deck

__all__ = ["DECKS", "load_cards"]

#: decks: each is a module of this package that draws it
DECKS = ("fairface", "congress", "cctv", "celebrities", "projected", "retrieval")


def _folder(deck: str, split: str) -> Path:
    from importlib import import_module

    if deck not in DECKS:
        raise ParameterError(
            (
                f'there is no deck of test cards called "{deck}"'
                if deck
                else "this study has no test cards"
            )
            + f"; there are {', '.join(DECKS)}: name one, or a data set of photographs."
        )
    module = import_module(f"clipeval.testcards.{deck}")
    draw = getattr(module, f"draw_{split}", None)
    if draw is None:
        raise ParameterError(f'the test cards {deck} have no split "{split}"; name val.')
    return write_deck(
        f"{deck}-{split}", draw, [module.__file__, *(DATA / name for name in module.SOURCES)]
    )


def load_cards(data: str = "", *, deck: str = "fairface", split: str = "val") -> pd.DataFrame:
    """Images table of a deck of test cards, drawn at first use and kept in the cache.

    Parameters
    ----------
    deck : one of `DECKS`
    split : "val", for "fairface" and "projected" also "train"

    Returns
    -------
    DataFrame with the columns of the data set that the cards stand for; `attrs["planted"]` is the
    folder of the planted truth
    """
    if data:
        raise ParameterError(
            "dataset testcards draws its own cards and takes no data folder; "
            "name the data set that the folder holds (see `clipeval list datasets`)."
        )
    folder = _folder(deck, split)
    table = pd.read_parquet(folder / "cards.parquet")
    start = f"{folder}{os.sep}"
    table.insert(1, "file", [start + image_id for image_id in table["image_id"]])
    orders = {}
    if "race" in table:
        from clipeval.datasets.fairface import AGES, GENDERS, RACES

        orders = {"age": AGES, "gender": GENDERS, "race": RACES}
    elif "gender" in table:
        orders = {"gender": ("Male", "Female")}
    for column, order in orders.items():
        table[column] = pd.Categorical(table[column], categories=order, ordered=True)
    table = finish(
        table,
        name="test cards",
        groups=list(orders),
        version=f"{deck} deck, {len(table):,} cards",
        licence="MIT",
        terms="Made by this package.",
        labels="Groups are those of the data set that the cards stand for; cards depict nobody.",
    )
    table.attrs["planted"] = str(folder)
    return table


register_dataset(
    "testcards",
    load_cards,
    about="Test cards: mosaics that depict nobody, drawn so that the result is known",
    licence="MIT",
    options=("deck", "split"),
    labels_may_be_shared="yes",
    because="the cards and their labels are made by this package",
)

"""Which images are hits under other words: what is kept of them, and the rates that are made of it."""

from collections.abc import Callable

import pandas as pd

from clipeval.files import sha256
from clipeval.session.record import StudyRecord
from clipeval.session.session import Session
from clipeval.studies.headlines import (
    ALL,
    counterpart,
    headline_rates,
    outcomes_of,
    published_headlines,
)


def hits_of(session: Session) -> pd.DataFrame:
    """Hits of each headline quantity over all images, and a hash of the prompts that it was asked with."""
    study, p = session.study, session.parameters
    predictions = session.predict()
    record = StudyRecord(study=study.id, parameters=p.model_dump(), model=session.info)
    found = outcomes_of(study.id, predictions, record)
    found = found[(found["images_of"] == ALL) & (found["method"] == "zero-shot")]
    prompts = session.prompts()
    asked = {task: rows.to_json(orient="values") for task, rows in prompts.groupby("task")}
    every = prompts.to_json(orient="values")
    signs = {task: sha256(asked.get(task, every)) for task in found["task"].unique()}
    return found.assign(asked=found["task"].map(signs))


def compact(hits: pd.DataFrame) -> pd.DataFrame:
    """The same rows, texts as categories: an image's id stands once in the file."""
    return hits.astype({name: "category" for name in hits if name != "hit"})


def rates_of(hits: pd.DataFrame, variant: Callable[[dict], Session], names: dict) -> pd.DataFrame:
    """Rates of the hits under each choice of words, beside what was published.

    Parameters
    ----------
    hits : as from `hits_of`, with columns class_set and templates
    variant : returns the session with such a choice; nothing is asked of it
    names : class set or templates without its path -> as it was named
    """
    tables = []
    choices = ["class_set", "templates"]
    for words, part in hits.groupby(choices, sort=False, observed=True):
        words = {name: names.get(word, word) for name, word in zip(choices, words, strict=True)}
        session = variant(words)
        study, p = session.study.id, session.parameters
        part = part.astype({name: object for name in part if name != "hit"})
        table = headline_rates(part, seed=p.seed)
        record = StudyRecord(study=study, parameters=p.model_dump(), model=session.info)
        known = published_headlines(study, record)
        known = known[(known["model"] == counterpart(study, record)) & (known["images_of"] == ALL)]
        known = known[known["method"] == "zero-shot"].set_index("quantity")["published"]
        table["published"] = table["quantity"].map(known).astype(float)
        table["difference"] = table["percent"] - table["published"]
        about = part.drop_duplicates("quantity").set_index("quantity")
        table["task"] = table["quantity"].map(about["task"])
        table["asked"] = table["quantity"].map(about["asked"])
        tables.append(table.assign(**words))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=choices)

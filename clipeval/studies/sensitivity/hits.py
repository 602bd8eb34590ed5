"""What is found under other words: which images are hits, and the rates that are made of it, or measures."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import flat_prompts
from clipeval.files import sha256
from clipeval.session.record import StudyRecord
from clipeval.session.session import Session
from clipeval.studies.headlines import ALL, LEVEL, headline_rates, outcomes_of, published_headlines


def found_with(session: Session) -> pd.DataFrame:
    """Hits of each headline quantity over all images, and a hash of the prompts that it was asked with.

    Of a study whose numbers are not shares of images, its measures in place of hits; see `Study.measured`.
    """
    study, p = session.study, session.parameters
    if (tables := study.measured(session)) is not None:
        prompts = json.dumps(flat_prompts(study.rivals(session)))
        return study.measures(tables).assign(task="", asked=sha256(prompts))
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
    """The same rows, texts of hits as categories: an image's id stands once in the file."""
    if "hit" not in hits:
        return hits
    return hits.astype({name: "category" for name in hits if name != "hit"})


def contents_of(hits: pd.DataFrame) -> list:
    """All that `compact` rows say, as plain lists and arrays: a part of a key for `Source.remember`."""
    parts = [len(hits), hits["hit"].to_numpy(bool)]
    for name in hits.columns.drop("hit"):
        texts = hits[name].astype("category").cat
        parts += [name, texts.categories.tolist(), texts.codes.to_numpy()]
    return parts


def rates_of(hits: pd.DataFrame, variant: Callable[[dict], Session], names: dict) -> pd.DataFrame:
    """Rates of the hits under each choice of words, beside what was published.

    Parameters
    ----------
    hits : as from `found_with`, with columns class_set and templates; measures are returned as they are
    variant : returns the session with such a choice; nothing is asked of it
    names : class set or templates without its path -> as it was named
    """
    if "hit" not in hits:
        words = {name: hits[name].replace(names) for name in ("class_set", "templates")}
        return hits.assign(count=np.nan, published=np.nan, difference=np.nan, **words)
    tables = []
    choices = ["class_set", "templates"]
    for words, part in hits.groupby(choices, sort=False, observed=True):
        words = {name: names.get(word, word) for name, word in zip(choices, words, strict=True)}
        session = variant(words)
        study, p = session.study, session.parameters
        level = getattr(p, "confidence", LEVEL)  # of the studies that ask for one
        table = headline_rates(part, seed=p.seed, confidence=level).assign(level=level)
        record = StudyRecord(study=study.id, parameters=p.model_dump(), model=session.info)
        known = published_headlines(study.id, record)
        known = known[known["model"] == study.counterpart(record)]
        known = known[known["images_of"] == ALL]
        known = known[known["method"] == "zero-shot"].set_index("quantity")["published"]
        table["published"] = table["quantity"].map(known).astype(float)
        table["difference"] = table["percent"] - table["published"]
        about = part.drop_duplicates("quantity").astype(object).set_index("quantity")
        table["task"] = table["quantity"].map(about["task"])
        table["asked"] = table["quantity"].map(about["asked"])
        tables.append(table.assign(**words))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=choices)

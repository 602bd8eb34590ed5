"""Celebrity identification: naming people among K names, zero-shot (arXiv 2108.02818, Table 1)."""

import functools
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import class_set_of, prompts_for
from clipeval.classify.zeroshot import class_weights
from clipeval.datasets.planted import load_extra
from clipeval.published import load_published
from clipeval.session import parameters
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study, highest
from clipeval.studies.celebrities.card import CARD
from clipeval.studies.celebrities.identification import CELLS, TOP, identify, on_offer, tidy
from clipeval.studies.celebrities.tables import (
    DEFAULT_NAMES,
    published_model,
    remarks,
    setup,
    true_names,
)
from clipeval.studies.outcomes import CLUSTERS
from clipeval.studies.sentences import listed, rate


class Parameters(parameters.Parameters):
    """Parameters of the celebrities study."""

    decides: ClassVar = ("seed", "n_names", "protocol")

    templates: str = Field(
        "name", description="prompt templates; name has no article before a name"
    )
    n_names: str = Field(DEFAULT_NAMES, description="how many names are on offer, comma-separated")
    protocol: Literal["both", "closed", "distractors"] = Field(
        "both", description="images of K people and their K names, or all images and K - 1 others"
    )
    published_row: Literal["auto", "ViT-L/14", "RN50x64", "RN50x16", "RN50x4"] = Field(
        "auto", description="published model to compare with; auto goes by the model's name"
    )
    names: str = Field("", description="for CelebA: your list of its people's names, a file")
    files: str = Field("", description="for a CSV: columns with photographs, comma-separated")
    partition: str = Field("", description="for CelebA: train, valid or test; empty for all")
    groups: str = Field("", description="group columns; empty for those that look like groups")


class Celebrities(Study):
    """Celebrity identification: naming people among K names, zero-shot (arXiv 2108.02818, Table 1)."""

    id = "celebrities"
    title = "Celebrity identification"
    notebook = "06_celebrities"
    question = "Can the model name a person, and among how many names?"
    figure = "top1_by_names"
    Parameters = Parameters
    deck = "celebrities"
    card = CARD
    words_of_data = True
    every_class = True

    def about(self, session) -> dict:
        """What captions say beside the usual: the protocol, and that each rate has an n of its own."""
        p = session.parameters
        asked = "closed and distractors" if p.protocol == "both" else p.protocol
        return {
            "choices": (f"protocol {asked}", f"names drawn with seed {p.seed}"),
            "n_text": f"{len(session.embed()):,} images read, n of each rate beside it",
        }

    def rivals(self, session) -> list[tuple[str, dict]]:
        """Any of the names that may be on offer."""
        fill = session.templates.fill
        return [("names", {person: fill(person) for person in self._people(session)})]

    def _people(self, session) -> list[str]:
        people, how = setup(session)
        return people[: how["counts"][-1]] if how["protocols"] == ("closed",) else people

    def check(self, session) -> str:
        """What `clipeval check` says of this study; errors as in `predict`, before any model is loaded."""
        return " ".join(remarks(session))

    def predict(self, session) -> pd.DataFrame:
        """Zero-shot predictions for every protocol and number of names.

        Returns
        -------
        DataFrame: image_id, task ("K=100 closed" ...), method, class_set, templates, rank (1 to 5),
        label (name), prob (among the K names), true_rank (of the true name, 1 to K), person (the true
        name), protocol, names (K), and the groups

        Raises
        ------
        ParameterError  if more names are asked for than there are people
        ClassSetError  if the model would read a name only in part
        """
        people, how = self._people(session), setup(session)[1]
        class_set = class_set_of(
            "names",
            {"names": dict(zip(people, people, strict=True))},
            source="names of the data set's people",
        )
        prompts = prompts_for(class_set, session.templates, "names")
        weights = class_weights(prompts, session.encode)
        session.note_prompts("names", class_set, session.templates, prompts)
        embeddings = session.embed()
        true = true_names(embeddings.image_id, session.images, people)
        asked = true >= 0
        ids, matrix = embeddings.image_id[asked], embeddings.matrix[asked]
        remember = functools.partial(session.remember, "identification")
        found = identify(
            matrix, weights, ids, people, true[asked], session.info, remember=remember, **how
        )
        found.insert(2, "method", "zero-shot")
        found.insert(3, "class_set", class_set.label)
        found.insert(4, "templates", session.templates.label)
        for column in ("task", "method", "class_set", "templates", "protocol"):
            found[column] = found[column].astype("category")
        return session.with_groups(found)

    def planted(self, session) -> pd.DataFrame | None:
        """What a faultless pipeline must find on test cards, by the study's own protocols; else None.

        The deck knows which names each card was drawn to resemble more than its own; the same protocols
        offer the same names, so the rates that follow are exact for this seed and these numbers of
        names, and no expectation. Labels are left empty: ranks of the true name are what is planted.
        """
        if not session.images.attrs.get("planted"):
            return None
        people, how = setup(session)
        images = session.images
        true = true_names(images["image_id"], images, people)
        likeness = load_extra(images, "likeness")
        likeness = likeness[likeness["image_id"].isin(images["image_id"])]
        row = pd.Index(images["image_id"]).get_indexer(likeness["image_id"])
        column = pd.Index(people).get_indexer(likeness["name"])
        cosine = likeness["similarity"].to_numpy()
        own = np.empty(len(images))
        own[row[column == true[row]]] = cosine[column == true[row]]
        nearer = cosine > own[row]
        step = max(1, CELLS // len(people))
        drawn = {k: np.zeros(len(row), dtype=bool) for k in how["counts"]}
        for start in range(0, len(true), step):
            here = np.flatnonzero((row >= start) & (row < start + step))
            ids = images["image_id"].iloc[start : start + step]
            masks = on_offer(ids, people, true[start : start + step], how["counts"], how["seed"])
            for k, mask in masks.items():
                drawn[k][here] = mask[row[here] - start, column[here]]
        parts = []
        for protocol in how["protocols"]:
            for k, mask in drawn.items():
                there = (column < k) & (true[row] < k) if protocol == "closed" else mask
                ahead = np.bincount(row[nearer & there], minlength=len(images))
                rank = np.where(own > 0, 1 + ahead, k)  # a card that hides its name: last of all
                asked = np.flatnonzero(true < k if protocol == "closed" else true >= 0)
                about = {
                    "row": asked,
                    "rank": 1,
                    "label": -1,
                    "prob": np.nan,
                    "true_rank": rank[asked],
                }
                parts.append(
                    tidy(pd.DataFrame(about), images["image_id"], people, true, protocol, k)
                )
        return session.with_groups(pd.concat(parts, ignore_index=True))

    def finding(self, tables) -> list[str]:
        """How often the true name comes first, by number of names, under the first protocol."""
        table = tables["top1_by_names"]
        rows = table[(table["metric"] == "top-1") & table["n"].notna()]
        protocol = rows["protocol"].iloc[0]
        rows = rows[rows["protocol"] == protocol].to_dict("records")
        said = [f"{rate(row)} among {int(row['names']):,}" for row in rows]
        return [f"Gives photographs their true name for {listed(said)} names ({protocol})."]

    def methods(self, record: StudyRecord) -> list[str]:
        """Whose names an image is offered, and over what is drawn."""
        protocols = {
            "closed": "those of the K people whose images were asked (closed)",
            "distractors": "its true name and K − 1 others that were drawn for it (distractors)",
        }
        asked = record.parameters["protocol"]
        offered = [text for name, text in protocols.items() if asked in (name, "both")]
        return [
            f"Each image was assigned {highest(record, 'name')} among K names: {' or '.join(offered)}.",
            CLUSTERS.format("people, as images of one person resemble each other"),
        ]

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Images whose true name comes first, or among five; people as clusters (`clipeval.studies.headlines`)."""
        first = predictions[predictions["rank"] == 1].rename(columns={"person": "cluster"})
        first = first.astype({"protocol": object, "cluster": object, "task": object})
        parts = []
        for top in (1, TOP):
            rows = first[first["names"] > top]
            names = [f"top-{top} among {k} names, " for k in rows["names"]]
            parts.append(
                rows.assign(quantity=names + rows["protocol"], hit=rows["true_rank"] <= top)
            )
        columns = ["image_id", "quantity", "task", "hit", "cluster"]
        return pd.concat(parts, ignore_index=True)[columns]

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Table 1 of arXiv 2108.02818, beside both protocols, as it does not say which it used."""
        table = load_published("celebrity_identification")
        table = table.rename(columns={"top1_percent": "published"})
        parts = [
            table.assign(
                quantity=[f"top-1 among {k} names, {protocol}" for k in table["n_classes"]]
            )
            for protocol in ("closed", "distractors")
        ]
        return pd.concat(parts, ignore_index=True)

    def comparable(self, values) -> bool:
        """Whether the photographs are of CelebA, which alone takes a list of `names`, or cards that replay it."""
        return values.get("dataset", "testcards") == "testcards" or bool(values.get("names"))

    def counterpart(self, record: StudyRecord) -> str:
        """The model of Table 1 that has the run's architecture, or that was named."""
        row = record.parameters.get("published_row", "auto")
        return published_model(record.model.model, row)


study = Celebrities()

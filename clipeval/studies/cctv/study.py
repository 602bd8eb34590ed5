"""CCTV: which caption fits a frame of a surveillance camera (arXiv 2103.00020, section 7.2)."""

import functools
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import class_set_of
from clipeval.session import parameters
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study, highest
from clipeval.studies.cctv.card import CARD
from clipeval.studies.cctv.tables import METRICS, TASKS, answers_of, remarks, session_questions
from clipeval.studies.outcomes import CLUSTERS, published_in_text
from clipeval.studies.sentences import listed, rate


class Parameters(parameters.Parameters):
    """Parameters of the CCTV study."""

    decides: ClassVar = ("seed", "options")

    templates: str = Field("bare", description="prompt templates; bare sends each caption as it is")
    options: Literal["all", "main"] = Field(
        "all",
        description="captions of other scenes on offer: all of theirs, or the main one of each",
    )


class Cctv(Study):
    """CCTV: which caption fits a frame of a surveillance camera (arXiv 2103.00020, section 7.2)."""

    id = "cctv"
    title = "CCTV surveillance"
    notebook = "05_cctv"
    question = "What can the model tell from frames of surveillance cameras?"
    figure = "accuracy"
    Parameters = Parameters
    deck = "cctv"
    card = CARD
    words_of_data = True
    every_class = True

    def comparable(self, values) -> bool:
        """Whether it reads the cards that replay the published rates: the published frames are not to be had."""
        return values.get("dataset", "testcards") == "testcards"

    def rivals(self, session) -> list[tuple[str, dict]]:
        """The captions of each frame's questions."""
        fill = functools.cache(session.templates.fill)
        offers = dict.fromkeys(session_questions(session)["offered"])
        return [("captions", {caption: fill(caption) for caption in offer}) for offer in offers]

    def about(self, session) -> dict:
        """What captions say beside the usual: which captions are on offer, and how many frames are asked."""
        n = session_questions(session)["task"].value_counts()
        asked = listed([f"{n[task]:,} for {task}" for task in TASKS if task in n])
        return {
            "choices": (f"options {session.parameters.options}",),
            "n_text": f"{len(session.embed()):,} frames read, questions: {asked}",
        }

    def check(self, session) -> str:
        """What `clipeval check` says of this study; errors as in `questions`, before a model is loaded."""
        return " ".join(remarks(session.images, session_questions(session)))

    def predict(self, session) -> pd.DataFrame:
        """Zero-shot predictions for every frame and task of `session_questions`.

        Returns
        -------
        DataFrame: image_id, task (coarse, stress, fine), method, class_set, templates, rank (all of the
        captions on offer), label (caption), prob (among those on offer), and the groups
        """
        from clipeval.classify.zeroshot import class_weights, rank_classes

        asked = session_questions(session)
        embeddings, templates = session.embed(), session.templates
        captions = sorted({caption for offered in asked["offered"] for caption in offered})
        prompts = {caption: templates.fill(caption) for caption in captions}
        weights = class_weights(prompts, session.encode)
        place = {caption: i for i, caption in enumerate(captions)}
        rows = {image_id: i for i, image_id in enumerate(embeddings.image_id)}
        asked = asked[asked["image_id"].isin(rows)]  # the others could not be read, and are listed
        parts = []
        for (task, offered), frames in asked.groupby(["task", "offered"], sort=False):
            matrix = embeddings.matrix[[rows[image_id] for image_id in frames["image_id"]]]
            texts = weights[[place[c] for c in offered]]
            order, prob = rank_classes(matrix, texts, session.info)
            n, k = order.shape
            parts.append(
                pd.DataFrame(
                    {
                        "image_id": np.repeat(frames["image_id"].to_numpy(dtype=object), k),
                        "task": task,
                        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
                        "label": np.asarray(offered, dtype=object)[order].ravel(),
                        "prob": prob.ravel(),
                    }
                )
            )
        predictions = pd.concat(parts, ignore_index=True)
        about = _note_captions(session, asked)
        predictions.insert(2, "method", "zero-shot")
        predictions.insert(3, "class_set", about)
        predictions.insert(4, "templates", templates.label)
        keys = [predictions["task"].map(TASKS.index), predictions["image_id"].map(rows)]
        predictions = predictions.iloc[np.lexsort([predictions["rank"], *keys[::-1]])]
        for column in ("task", "method", "class_set", "templates", "label"):
            predictions[column] = predictions[column].astype("category")
        return session.with_groups(predictions.reset_index(drop=True))

    def finding(self, tables) -> list[str]:
        """Accuracy in each task, with intervals over sequences."""
        table = tables["accuracy"]
        right = table["metric"].isin(["top-1", "accuracy"])
        rows = table[right & table["interval"].str.startswith("sequence")]
        said = [f"{rate(row)} in the {row['task']} task" for row in rows.to_dict("records")]
        clusters = int(rows["clusters"].max())
        return [
            f"Gives frames their true caption for {listed(said)}; intervals are over {clusters:,} sequences."
        ]

    def methods(self, record: StudyRecord) -> list[str]:
        """What each frame is offered, and over what is drawn."""
        others = {"all": "the captions", "main": "the main caption"}[record.parameters["options"]]
        text = f"Each frame was assigned {highest(record, 'caption')} among those on offer"
        return [
            f"{text}: in the coarse task its own caption and {others} of each other sequence, in the stress task also "
            "one that is nearly true, in the fine task two that differ in a detail.",
            CLUSTERS.format("sequences, as frames of one camera resemble each other"),
        ]

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Right answers of each task and metric, sequences as clusters; see `clipeval.studies.headlines`.

        The captions are not in the predictions: they are read again from the data that the run names.
        """
        p = parameters.parse(Parameters, record.parameters, study=self.id)
        answers = answers_of(predictions, session_questions(self.open(p, progress=False)))
        answers = answers.assign(quantity=answers["task"] + " " + answers["metric"])
        columns = ["image_id", "quantity", "task", "hit"]
        return answers.rename(columns={"sequence": "cluster"})[[*columns, "cluster"]]

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Top-1 of coarse and stress, as stated in words."""
        named = {name: f"{task} {metric}" for (task, metric), name in METRICS.items()}
        return published_in_text(self.id, named)


def _note_captions(session, asked: pd.DataFrame) -> str:
    """Record the captions' hash and the templates; the captions themselves stay in the data."""
    tasks = {
        task: sorted({c for offered in rows["offered"] for c in offered})
        for task, rows in asked.groupby("task")
    }
    source = "captions in the data set, each frame its own"
    captions = class_set_of("captions", tasks, source=source, variant=session.parameters.options)
    for task in tasks:
        prompts = {"(each frame's own captions)": list(session.templates.templates)}
        session.note_prompts(task, captions, session.templates, prompts)
    return captions.label


study = Cctv()

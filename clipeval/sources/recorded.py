"""A run folder in place of images and model: what a study keeps of its source, and the source that reads it.

A study's folder holds its predictions. Beside them, in `answers/`, lie what its tables need further: the
images table without files, answers to other words, the user's own class sets and label files.
"""

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.classify.word_files import yaml_file
from clipeval.errors import DataError, NotStoredError, first_line
from clipeval.files import Folder, as_json
from clipeval.models.info import ModelInfo, model_line
from clipeval.sources.base import Source

ANSWERS = "answers"
WORDS = f"{ANSWERS}/words"
DATA = f"{ANSWERS}/data"
_READ = ["sha256", "notes", "reason"]  # of each image, beside what the images table says of it


def name_of(answers: str) -> str:
    """File name without suffix of answers that go by a name in words."""
    return re.sub(r"[^\w.]+", "-", answers)


def keep(session, answers: Mapping[str, pd.DataFrame]) -> None:
    """Write into a study's folder what its tables are made of beside its predictions.

    Parameters
    ----------
    session : Session of the study
    answers : name -> DataFrame, what `Session.answers` was asked for
    """
    from clipeval.datasets import label_files

    folder, p, images = Folder(session.folder / ANSWERS), session.parameters, session.images
    read = session.embed().by_image().astype(object)
    said = images.drop(columns=["file", "row"], errors="ignore").rename(columns=_own)
    table = said.merge(read.where(read.notna(), None), on="image_id", how="left")
    _write_table(folder, "images", table)
    attrs = {**images.attrs, "planted": bool(images.attrs.get("planted"))}
    attrs.pop("packed", None)
    objects = [c for c in said if said[c].dtype == object]
    folder.write("images.json", as_json({"attrs": session.hide(attrs), "objects": objects}))
    for name, content in answers.items():
        _write_table(folder, name_of(name), content)
    for name, content in label_files(p.dataset, p.data).items():
        Folder(session.folder / DATA).write(name, content)
    for value in p.model_dump().values():
        if path := yaml_file(value):
            Folder(session.folder / WORDS).write(path.name, path.read_bytes())


def _own(column: str) -> str:
    return f"{column}." if column.rstrip(".") in _READ else column


def _write_table(folder: Folder, name: str, table: pd.DataFrame) -> None:
    table = table.copy(deep=False)
    table.attrs = {}
    with folder.writing(f"{name}.parquet") as beside:
        table.to_parquet(beside, index=False, compression="zstd")


def read_answers(path: Path, study: str) -> pd.DataFrame:
    """A parquet file that a run of `study` wrote.

    Raises
    ------
    DataError  if it is damaged
    """
    import pyarrow

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read ({first_line(error)}); run {study} again."
        ) from None


class Recorded(Source):
    """Everything from a finished study's folder within the run folder that the parameter `pack` names.

    Nothing that a model would have to answer can be asked: predictions are those that were kept.

    Raises
    ------
    DataError  if the run folder holds no such study, or what it keeps is damaged
    """

    def __init__(self, parameters, *, study, deck="", progress=True):
        super().__init__(parameters, study=study, progress=progress)
        self.deck, self.folder = deck, Path(parameters.pack) / study
        try:
            self.record = json.loads((self.folder / "study.json").read_text("utf-8"))
            self.recorded_templates = self.record.get("templates", {})
            model = self.record.get("model")  # a summary has none
            self.info = ModelInfo.from_json(model) if model else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.folder} holds no finished study ({first_line(error)}); name a run folder that does."
            ) from None

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / ANSWERS / f"{name}.parquet"
        if not path.is_file():
            raise NotStoredError(
                f"{ANSWERS}/{path.name} is not in the folder of {self.study} (it was removed, or an earlier "
                "version of clipeval did not keep it); run the study again."
            )
        return read_answers(path, self.study)

    @functools.cached_property
    def _images(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The images table, and what was read of each image."""
        table, path = self._table("images"), self.folder / ANSWERS / "images.json"
        try:
            about = json.loads(path.read_text("utf-8"))
            read = table[["image_id", *_READ]].astype(object)
            images = table.drop(columns=_READ).astype({c: object for c in about["objects"]})
            images.columns = [c.removesuffix(".") if c.rstrip(".") in _READ else c for c in images]
            images.insert(1, "file", images["image_id"])
            images[about["attrs"]["groups"]]  # each of them is there
            images.attrs = about["attrs"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} cannot be read ({first_line(error)}); run {self.study} again."
            ) from None
        if images.attrs.pop("planted"):
            images.attrs["planted"] = self._drawn()
        return images, read

    def _drawn(self) -> str:
        """Folder of the planted truth: test cards are drawn by the code, and never read from a run folder."""
        from clipeval.datasets import load_dataset

        return load_dataset("testcards", "", deck=self.deck).attrs["planted"]

    def images(self, values):
        """The study's images; of another split, such as a probe was trained on, no row was kept.

        Raises
        ------
        DataError  if the run took no images of the other split
        """
        images, split = self._images[0], values["split"]
        if split == self.parameters.split:
            return images
        if not self.record.get("train"):
            raise DataError(f"the run of {self.study} took no images of the {split} split.")
        return images.iloc[:0]

    def embed(self, images, features="projected"):
        from clipeval.embedding.embed import Embeddings

        read = self._images[1]
        read = read[read["image_id"].isin(images["image_id"])]
        return Embeddings.from_images(read, np.empty((read["reason"].isna().sum(), 0), np.float32))

    def encode(self, prompts):
        raise NotStoredError(
            f"the run folder {self.folder.parent.name} holds answers and no model, so no prompt can be asked; "
            "run the study on its images or from a pack."
        )

    def answers(self, classes):
        """Of answers made elsewhere, classes that the run asked for; what had no answers was not asked."""
        if self.info.is_known:
            return True
        asked = json.loads((self.folder / "prompts.json").read_text("utf-8"))
        return any(set(classes) <= set(names) for names in asked.values())

    def predict(self, session):
        """The predictions that were kept; a study that keeps none is asked again, from its other answers."""
        if not (self.folder / "predictions.parquet").is_file():
            return super().predict(session)
        prompts = json.loads((self.folder / "prompts.json").read_text("utf-8"))
        session.recall_prompts(prompts, self.record.get("class_sets", {}))
        return read_answers(self.folder / "predictions.parquet", self.study)

    def remember(self, name, key, compute):
        """Computed anew: what this machine's store remembers may come from another run."""
        return compute()

    def recall(self, name, key, compute):
        """The answers that were kept under this name, whatever they would be computed from."""
        return self._table(name_of(name))

    def signs(self, prompts):
        return None

    def other(self, *, stored_only=False, **changes):
        raise NotStoredError("a run folder holds no embeddings.")

    def check_model(self, study):
        return model_line(self.info.name, "its answers are in the run folder")

    def describe(self):
        return [
            f"Answers and labels are those kept in {self.folder.parent.name}; no image was opened."
        ]

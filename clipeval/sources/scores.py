"""Answers made elsewhere in place of a model: by an API, another language, somebody's published results.

An image is the row of its scores, and a prompt the direction of its class's column; so every study asks as
it asks a model, and the similarity of the two is the score that was given. Of a file of labels the score
is above 0 for the class given and 0 for the others.
"""

import functools

import numpy as np
import pandas as pd

from clipeval.datasets.labelfile import few
from clipeval.errors import (
    ClassSetError,
    DataError,
    ModelError,
    NotStoredError,
    ParameterError,
)
from clipeval.files import sha256
from clipeval.sources.base import ELSEWHERE, Source
from clipeval.sources.score_file import read_scores

#: the least positive number: what probability 0 is taken for where its logarithm is needed
_TINY = 5e-324


class Scores(Source):
    """Everything from the file that the parameter `scores` names, and the data set's labels.

    Raises
    ------
    DataError  if the file cannot be read as answers
    ParameterError  if it holds several runs and none is named, or it is not said what its columns hold
    ClassSetError  if a class set or templates cannot be loaded, or one prompt would mean two classes
    """

    no_device = "none: answers were made elsewhere"

    def __init__(self, parameters, *, study, deck="", progress=True):
        super().__init__(parameters, study=study, progress=progress)
        p, self.deck = parameters, deck
        model = "" if p.model == type(p).model_fields["model"].default else p.model
        self.file = read_scores(p.scores, model, p.pretrained)
        self.sha256 = self.file.sha256
        self.read, self.lost = (f"have {an} answer in {self.file.name}" for an in ("an", "no"))
        if self.file.scores is not None and not p.scores_are:
            raise ParameterError(
                f"{self.file.name} has no column label, so that its columns ({few(self.file.columns)}) stand for a "
                "class each, and what they hold is not said; set scores_are to cosine, logit or prob, or call the "
                "column of the class that was given label."
            )
        if self.file.scores is None and p.scores_are:
            raise ParameterError(
                f"{self.file.name} has a column label, and scores_are={p.scores_are} says that its columns hold a "
                "score of each class; take the column out to read scores, or leave out scores_are to read labels."
            )
        self._numbers: dict[str, np.ndarray] = {}
        self._no_numbers: dict[str, DataError] = {}  # raised if a class asks for that column
        for column in self.file.columns if self.file.scores is not None else ():
            try:
                self._numbers[column] = self.file.numbers(column)
            except DataError as error:
                self._no_numbers[column] = error
        self._names = [name for name in self.file.columns if name not in self._no_numbers]
        self._columns = dict.fromkeys((name,) for name in self._names)  # each alone, then several
        self._meant: dict[str, tuple[str, ...]] = {}
        self._of: dict[str, str] = {}
        self._read_words()

    # -- words -----------------------------------------------------------------------------------

    def _read_words(self) -> None:
        """Which columns each prompt stands for: those of its class, by name, text or `answers:`."""
        from clipeval.classify.class_sets import load_class_set

        p = self.parameters
        sets = [load_class_set(getattr(p, k)) for k in p.class_sets if getattr(p, k)]
        there = set(self.file.columns)
        for words in sets:
            for task, classes in words.tasks.items():
                means = {name: [] for name in classes}
                for column in self.file.columns:
                    if (name := words.answers.get(column, {}).get(task)) in means:
                        means[name].append(column)
                for name, text in classes.items():
                    prompts = self._wording.fill(text)
                    alone = [name, text, *(prompts if len(prompts) == 1 else [])]
                    spelled = next((word for word in alone if word in there), None)
                    columns = tuple(dict.fromkeys([*([spelled] if spelled else []), *means[name]]))
                    if odd := [column for column in columns if column in self._no_numbers]:
                        raise self._no_numbers[odd[0]]
                    for prompt in prompts:
                        self._mean(prompt, columns, f'class "{name}" of {words.spec}')
        self._used = {column for columns in self._meant.values() for column in columns}
        for column in self._names:
            prompts = self._wording.fill(column)
            for prompt in [*prompts, *([column] if len(prompts) == 1 else [])]:
                self._mean(prompt, self._meant.get(prompt) or (column,), f'"{column}"')
        self._columns |= dict.fromkeys(
            self._columns_of(p) for p in self._meant if self._is_answered(p)
        )

    def _is_answered(self, prompt: str) -> bool:
        """Whether it has answers; that no image was given a label is an answer too."""
        return prompt in self._meant and bool(self._meant[prompt] or self.file.scores is None)

    def _mean(self, prompt: str, columns: tuple[str, ...], of: str) -> None:
        known = self._meant.get(prompt, ())
        if known and columns and known != columns and not self._alike(known, columns):
            raise ClassSetError(
                f'{self.file.name}: "{prompt}" stands for {self._of[prompt]} ({", ".join(known)}) and '
                f"for {of} ({', '.join(columns)}), whose answers differ; keep one of these columns where "
                "both are the same question, or word these classes differently."
            )
        if (columns and not known) or prompt not in self._meant:
            self._meant[prompt], self._of[prompt] = columns, of

    def _alike(self, *several: tuple[str, ...]) -> bool:
        """Whether each is one column, and all hold the same scores: one question under several names."""
        if any(len(columns) > 1 or columns[0] not in self._numbers for columns in several):
            return False
        first, *others = (self._numbers[column] for (column,) in several)
        return all(
            np.allclose(first, other, rtol=1e-6, atol=1e-6, equal_nan=True) for other in others
        )

    @functools.cached_property
    def _wording(self):
        """The templates that the parameters name, if they were stated; else "not stated"."""
        from clipeval.classify.class_sets import NOT_STATED, load_class_set, load_templates

        p = self.parameters
        templates = load_templates(p.templates)
        if "templates" in p.model_fields_set:
            return templates
        if len(templates.templates) == 1:
            sets = [load_class_set(getattr(p, k)) for k in p.class_sets if getattr(p, k)]
            texts = [
                t for words in sets for classes in words.tasks.values() for t in classes.values()
            ]
            if any(templates.fill(text)[0] in self.file.columns for text in texts):
                return templates
        return NOT_STATED

    def wording(self, templates):
        from clipeval.classify.class_sets import load_templates

        own = load_templates(self.parameters.templates)
        return self._wording if templates == own else templates

    def encode(self, prompts):
        places = {columns: i for i, columns in enumerate(self._columns)}
        rows = np.zeros((len(prompts), len(places)), np.float32)
        for row, prompt in zip(rows, prompts, strict=True):
            row[places[self._columns_of(prompt)]] = 1
        return rows

    def _columns_of(self, prompt: str) -> tuple[str, ...]:
        if not self._is_answered(prompt):
            raise ClassSetError(
                f"{self.file.name} has no answers for {self._of.get(prompt, repr(prompt))} (it has them "
                f"for {few(self._names, 30)}); name classes that it has, or say under `answers:` of "
                "the class set which of these mean the same."
            )
        return self._meant[prompt] or (f"{prompt} (never given)",)

    def check_texts(self, prompts):
        self.encode(prompts)
        return f"{len(set(prompts)):,} with answers in {self.file.name}"

    def answers(self, classes):
        prompts = [prompt for texts in classes.values() for prompt in texts]
        return any(self._meant.get(prompt) for prompt in prompts)

    def check_offers(self, study, offers):
        if self.file.scores is not None:
            return
        if study.every_class:
            raise ModelError(
                f"{self.file.name} holds the top class of each image alone, and {study.id} needs a score of "
                "every class; give a cosine, logit or probability a class, a column each."
            )
        asked: dict[str, list[str]] = {}
        for name, classes in offers:
            prompts = [prompt for texts in classes.values() for prompt in texts]
            meant = {column for prompt in prompts for column in self._columns_of(prompt)}
            if strange := [column for column in self.file.columns if column not in meant]:
                raise ClassSetError(
                    f'{self.file.name} gives the label "{strange[0]}", which is not a class of {name} '
                    f"({few(classes, 4)}); say under `answers:` of the class set what it means, or name "
                    "the class set that was offered."
                )
            here = list(classes)
            if shared := [prompt for prompt in prompts if asked.get(prompt, here) != here]:
                raise ModelError(
                    f'{self.file.name} holds one answer an image, and "{shared[0]}" is on offer among '
                    f"{few(asked[shared[0]], 4)} and again among {few(here, 4)}; give a score of every class."
                )
            asked |= dict.fromkeys(prompts, here)

    # -- images and scores -----------------------------------------------------------------------

    def images(self, values):
        from clipeval.datasets import base
        from clipeval.sources.live import Live

        if values["split"] != self.parameters.split:
            raise DataError(
                f"{self.file.name} holds answers and no image features, so nothing can be fitted on it."
            )
        source = Live(self.parameters, study=self.study, deck=self.deck, progress=self.progress)
        with base.without_photographs():
            table = source.images({**values, "limit": 0, "person": ""})
        answered, file = self.file.image_ids, self.file.name
        here = table["image_id"].isin(answered)
        if not here.any():
            raise DataError(
                f"{file} has no answer for any of {len(table):,} images of {table.attrs['name']}: it "
                f'calls its first "{answered[0]}", the data call theirs "{table["image_id"].iloc[0]}"; name '
                "them alike, in a column image_id or file."
            )
        notes = table.attrs["notes"] = [*table.attrs["notes"], f"{self._said} {self._unknown}"]
        if foreign := list(answered[~answered.isin(table["image_id"])]):
            are = (
                "1 answer is of an image"
                if len(foreign) == 1
                else f"{len(foreign):,} answers are of images"
            )
            notes.append(f"{are} that the data do not have, and left out: {few(foreign)}.")
        if doubles := self.file.doubles:
            stand = "1 image stands" if len(doubles) == 1 else f"{len(doubles):,} images stand"
            said = f"{stand} twice in {file} with the same answer, counted once: {few(doubles)}."
            notes.append(said)
        if unread := self.file.unread:
            notes.append(f"Of {file} only the labels are read, and not: {few(unread)}.")
        if further := self.file.further:
            notes.append(f"{further:,} answers of rank 2 and beyond in {file} were left out.")
        table = base.one_of_each(table, values["person"], values["seed"])
        table = base.sample(table, values["limit"], values["seed"])
        if absent := list(table["image_id"][~table["image_id"].isin(self._given)]):
            said = (
                f"{len(absent):,} of {len(table):,} images have no answer in {file}: {few(absent)}."
            )
            table.attrs["notes"] = [*table.attrs["notes"], said]
        return table

    @property
    def _said(self) -> str:
        kind = self.parameters.scores_are
        held = {"cosine": f"cosines times {self.parameters.scale:g}", "logit": "logits"}
        held |= {"prob": "probabilities", "": "labels"}
        what = "labels" if self.file.scores is None else held[kind]
        return f"{ELSEWHERE} ({self.file.name}, sha256 {self.sha256[:12]}: {what});"

    @property
    def _unknown(self) -> str:
        return f"weights unknown, preprocess unknown{'' if self._wording.version else ', prompts unknown'}."

    @functools.cached_property
    def _given(self) -> pd.Index:
        """Ids of the images that have an answer."""
        return self.file.image_ids[self._scored[1]]

    @functools.cached_property
    def _scored(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Scores (n, columns) float64, which rows have an answer (bool), and what the scores are."""
        if self.file.scores is None:
            return self._labels()
        used = {
            name: self._numbers[name] for name in self._names if name in (self._used or self._names)
        }
        given = np.isfinite(np.column_stack(list(used.values()))).any(axis=1)
        self._check_range(used, given)
        kind, score = self.parameters.scores_are, "softmax"
        if kind == "prob" and not any(self._add_up(part, given) for part in (used, self._numbers)):
            score = "given"
        parts = [
            self._together([self._numbers[name] for name in columns], kind, score)
            for columns in self._columns
        ]
        return np.nan_to_num(np.column_stack(parts)), given, score

    @staticmethod
    def _add_up(columns: dict[str, np.ndarray], given: np.ndarray) -> bool:
        """Whether the numbers of every image add up to 1."""
        sums = np.column_stack(list(columns.values()))[given].sum(axis=1)
        return bool(np.abs(sums - 1).max() < 1e-3)

    def _together(self, found: list[np.ndarray], kind: str, score: str) -> np.ndarray:
        """One class's score from the columns that mean it: their probabilities added."""
        if kind == "prob":
            total = np.sum(found, axis=0)
            return np.log(np.maximum(total, _TINY)) if score == "softmax" else total
        if len(found) == 1:
            return found[0]
        scale = self.factor
        return np.logaddexp.reduce([scale * part for part in found], axis=0) / scale

    @property
    def factor(self) -> float:
        """Factor of the scores before the softmax."""
        return self.parameters.scale if self.parameters.scores_are == "cosine" else 1.0

    def _check_range(self, single: dict[str, np.ndarray], given: np.ndarray) -> None:
        kind, ends = self.parameters.scores_are, {"cosine": (-1.001, 1.001), "prob": (0.0, 1.001)}
        low, high = ends.get(kind, (-np.inf, np.inf))
        for column, values in single.items():
            odd = given & ((values < low) | (values > high))
            if odd.any():
                percents = kind == "prob" and all(
                    ((v >= 0) & (v <= 100.1))[given].all() for v in single.values()
                )
                mend = (
                    "write fractions, not percents, in every row"
                    if percents
                    else "set scores_are to what the columns hold (cosine, logit or prob)"
                )
                raise DataError(
                    f'{self.file.name}: {column} of image "{self.file.image_ids[odd][0]}" is '
                    f"{values[odd][0]:g}, which is beyond the range of a {kind}; {mend}."
                )
        if kind == "cosine" and self._add_up(single, given):
            raise DataError(
                f"{self.file.name}: the numbers of every image add up to 1, as probabilities do; set "
                "scores_are=prob."
            )

    def _labels(self) -> tuple[np.ndarray, np.ndarray, str]:
        labels, prob = self.file.labels.to_numpy(object), self.file.prob
        given = labels != ""
        value = np.ones(len(labels)) if prob is None else prob.to_numpy()
        parts = [np.where(np.isin(labels, columns), value, 0.0) for columns in self._columns]
        return np.column_stack(parts), given, "label" if prob is None else "label, given"

    def embed(self, images, features="projected"):
        from clipeval.embedding.embed import Embeddings

        if features != "projected":
            raise ModelError(
                f"{self.file.name} holds answers and no {features} features of images."
            )
        matrix, given, _ = self._scored
        row = self.file.image_ids.get_indexer(images["image_id"])
        read = (row >= 0) & given[row]
        if not read.any():
            raise DataError(f"none of {len(images):,} images has an answer in {self.file.name}.")
        lost = images.loc[~read, ["image_id", "file"]].reset_index(drop=True)
        empty = np.full(int(read.sum()), "", object)
        return Embeddings(
            image_id=images["image_id"].to_numpy(object)[read],
            matrix=matrix[row[read]],
            sha256=empty,
            notes=empty,
            unreadable=lost.assign(reason=f"no answer in {self.file.name}", sha256=""),
        )

    # -- the model, as far as it is known --------------------------------------------------------

    @functools.cached_property
    def info(self):
        from clipeval.models.info import ModelInfo

        p, file = self.parameters, self.file
        columns = sorted(map(list, self._columns))
        key = [self.sha256, file.model, file.pretrained, p.scores_are, self.factor, str(columns)]
        return ModelInfo(
            model=file.model or "model not stated",
            pretrained=file.pretrained,
            precision=None,
            resize=None,
            activation=None,
            preprocess=None,
            logit_scale=self.factor,
            logit_bias=None,
            score=self._scored[2],
            context_length=None,
            embed_dim=len(columns),
            has_text=True,
            weights_sha256=None,
            weights=None,
            versions={},
            fingerprint=sha256("\n".join(map(str, key))),
        )

    def other(self, *, stored_only=False, **changes):
        raise NotStoredError("answers made elsewhere are of one precision and one preprocess.")

    def check_model(self, study):
        from clipeval.models.info import model_line

        return model_line(self.info.name, "answers made elsewhere", self.info.weights_text)

    def describe(self):
        return [
            f"{self._said} {self._unknown} The file's sha256 is {self.sha256}; no image was opened. Of a "
            "class that several columns mean, the probabilities are added."
        ]

"""What a study asks: images, embeddings and predictions, by its parameters, of a source."""

import functools
import time

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import (
    NOT_STATED,
    ClassSet,
    flat_prompts,
    load_class_set,
    load_templates,
    prompts_for,
)
from clipeval.datasets.planted import truth_hash
from clipeval.errors import ModelError
from clipeval.output.provenance import HOW
from clipeval.output.tables import group_columns
from clipeval.session.code_line import code_line
from clipeval.session.groupings import Groupings, groupings_of
from clipeval.session.parameters import Parameters
from clipeval.sources import Source, open_source


class Inputs:
    """Everything to the left of a study's tables, each part made at first use.

    Parameters
    ----------
    study : Study
    parameters : Parameters
        The study's own subclass.
    source : Source
        What answers; by default what the parameters name.
    images : DataFrame
        The images table; by default what the parameters name.
    ranks : int
        The most classes kept for each image by `classify`; None for as many as are asked for.
    progress : bool
        Show progress bars.

    Attributes
    ----------
    images : DataFrame, the images table
    planted : DataFrame or None, planted predictions where the images are test cards
    class_set, templates : what the parameters name
    info : ModelInfo
    """

    def __init__(
        self,
        study,
        parameters: Parameters,
        *,
        source: Source | None = None,
        images: pd.DataFrame | None = None,
        ranks: int | None = None,
        progress: bool = True,
    ):
        self.study, self.parameters, self.ranks, self.progress = study, parameters, ranks, progress
        self._began = time.perf_counter()
        self._prompts: dict[str, dict] = {}
        self._class_sets: dict[str, dict] = {}
        if source is not None:
            self.source = source
        if images is not None:
            self.images = images

    @functools.cached_property
    def source(self) -> Source:
        """What answers this session: images and a model, or what stands in for them."""
        found = open_source(
            self.parameters, study=self.study.id, deck=self.study.deck, progress=self.progress
        )
        found.offers = lambda: self.study.rivals(self)
        return found

    @functools.cached_property
    def images(self) -> pd.DataFrame:
        """The images table that the parameters name."""
        with self.source.timed("data set"):
            return self.load_images()

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """Images table of the train split, for a study that fits a probe."""
        return self.load_images(split="train", limit=self.parameters.train_limit)

    def load_images(self, **changes) -> pd.DataFrame:
        """An images table by the parameters, with some of them changed (another split, say)."""
        return self.source.images(self.parameters.model_dump() | changes)

    @functools.cached_property
    def planted(self) -> pd.DataFrame | None:
        """What a faultless pipeline must find, where the images are test cards; see `Study.planted`."""
        planted = self.study.planted(self) if self.images.attrs.get("planted") else None
        return planted if planted is None else self._crossed(planted)

    @functools.cached_property
    def groupings(self) -> Groupings:
        """What is reported by: the parameter `groups`, or by default what the data set's labels allow."""
        usual = self.study.usual_groups if self.on_data_of_paper else ()
        p = self.parameters
        return groupings_of(self.images, p.groups, study=self.study.id, usual=usual)

    @property
    def on_data_of_paper(self) -> bool:
        """Whether the images are of the data set that the paper used, or cards that replay it."""
        return self.parameters.dataset in (self.study.data_of_paper, "testcards")

    @property
    def comparable(self) -> bool:
        """Whether published numbers may stand beside this run's; see `Study.comparable`."""
        return self.study.comparable(self.parameters.model_dump())

    @functools.cached_property
    def class_set(self) -> ClassSet:
        """The class set that the parameters name."""
        return load_class_set(self.parameters.class_set)

    @functools.cached_property
    def templates(self):
        """The prompt templates that the parameters name, if it is known that prompts were made so."""
        return self.source.wording(load_templates(self.parameters.templates))

    # -- of the source ---------------------------------------------------------------------------

    @property
    def store(self):
        """The store of embeddings."""
        return self.source.store

    @property
    def info(self):
        """What is known of the model (ModelInfo)."""
        return self.source.info

    def embed(self, images: pd.DataFrame | None = None, features: str = "projected"):
        """Embeddings of the images (or of another table), from the store where it has them."""
        return self.source.embed(self.images if images is None else images, features)

    def encode(self, prompts: list[str]):
        """Unit rows of prompts, from the store where it has them."""
        if not self.info.has_text:
            raise ModelError(
                f"{self.info.model} has no text encoder, so it cannot classify zero-shot; "
                "use it for linear probes, or name a CLIP-like model."
            )
        return self.source.encode(prompts)

    def refuse_one_text(self, offers, *, ahead: bool = False) -> None:
        """Refuse classes on offer together that are one text to the model; see `Study.rivals`.

        Parameters
        ----------
        offers : pairs of whose classes they are, and of class to prompts
        ahead : go by what can be told without loading the model

        Raises
        ------
        ClassSetError  naming whose classes they are, and both
        ModelError, ClassSetError  if the source cannot answer among them
        """
        from clipeval.classify.zeroshot import refuse_one_text

        self.source.check_offers(self.study, offers)
        flat = list(dict.fromkeys(flat_prompts(offers)))
        told = flat and (self.source.signs_ahead if ahead else self.source.signs)(flat)
        signs = dict(zip(flat, told or [], strict=bool(told)))
        for name, classes in offers if told else ():
            refuse_one_text(classes, signs, name)

    @functools.cached_property
    def data_hash(self) -> str:
        """Hash of the images and all that is said of them; see `embedding.dataset_hash`."""
        from clipeval.embedding.embed import dataset_hash

        return dataset_hash(self.images, self.embed())

    def work(self) -> dict:
        """What was done so far; see `Source.work`."""
        return self.source.work()

    def remember(self, name: str, key: list, compute) -> pd.DataFrame:
        """What `compute` returns, kept under all that it depends on; see `Source.remember`."""
        return self.source.remember(name, key, compute)

    # -- predictions -----------------------------------------------------------------------------

    def predict(self) -> pd.DataFrame:
        """The study's answers; see `Study.predict`. What its `check` refuses is refused first."""
        return self.source.predict(self)

    def classify(
        self, task: str | None = None, *, class_set=None, templates=None, top: int | None = 1
    ) -> pd.DataFrame:
        """Zero-shot predictions for one task of a class set, with the images' groups.

        Parameters
        ----------
        task : str
            Task of the class set; by default that of its categories (`ClassSet.counted_task`).
        class_set, templates : names or objects, by default those of the parameters
        top : int or None
            Classes kept for each image; None keeps all.
        """
        from clipeval.classify import zeroshot

        class_set = load_class_set(class_set) if class_set is not None else self.class_set
        templates = load_templates(templates) if templates is not None else self.templates
        task = task or class_set.counted_task()
        prompts = prompts_for(class_set, templates, task)
        self.note_prompts(task, class_set, templates, prompts)
        # first, as what does not fit the model is to be refused before hours of embedding
        self.encode([prompt for texts in prompts.values() for prompt in texts])
        self.refuse_one_text([(f"class set {class_set.spec}", prompts)])
        embeddings = self.embed()
        found = zeroshot.predict(
            embeddings.image_id,
            embeddings.matrix,
            prompts,
            self.encode,
            self.info,
            task=task,
            class_set=class_set.label,
            templates=templates.label,
            top=self._ranks(top),
        )
        return self.with_groups(found)

    def _ranks(self, asked: int | None) -> int | None:
        known = 1 if self.info.has_top_alone else None
        return min((n for n in (asked, self.ranks, known) if n is not None), default=None)

    def note_prompts(self, task, class_set: ClassSet, templates, prompts: dict) -> None:
        """Remember prompts for prompts.json; a task asked in a second way is told apart by its name."""
        if templates == NOT_STATED:
            prompts = {label: ["unknown"] for label in prompts}
        name, wording = task, f"{class_set.spec}, {templates.name}"
        if self._prompts.get(name, prompts) != prompts:
            name = f"{task} ({wording})"
        self._prompts[name] = prompts
        self._class_sets[class_set.label] = {"hash": class_set.hash, "source": class_set.source}

    def recall_prompts(self, prompts: dict, class_sets: dict) -> None:
        """Take over prompts and class sets of the record of an earlier run, as `note_prompts` noted them then."""
        self._prompts, self._class_sets = dict(prompts), dict(class_sets)

    def with_groups(self, predictions: pd.DataFrame, images: pd.DataFrame | None = None):
        """Predictions with the group columns of their images, joined on image id."""
        images = self.images if images is None else images
        groups = images[["image_id", *images.attrs["groups"]]]
        joined = predictions.merge(groups, on="image_id", how="left", validate="many_to_one")
        joined.attrs = dict(predictions.attrs)
        return self._crossed(joined) if images is self.images else joined

    def _crossed(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Predictions with a column for each crossing that is reported by."""
        attrs = dict(predictions.attrs)
        for grouping in self.groupings:
            predictions = grouping.add_to(predictions)
        predictions.attrs = attrs
        return predictions

    def tabulate(self, function, predictions: pd.DataFrame, **options) -> pd.DataFrame:
        """A study's table, and on test cards the planted value beside each row.

        Published values are left out where the run is not comparable with them, and with them rows
        that hold nothing else.

        Parameters
        ----------
        function : callable
            A study's table function; called on the predictions and, for test cards, on the planted ones.
        """
        table = function(predictions, **options)
        if not self.comparable:
            table = without_published(table)
        table.attrs["code"] = code_line(function, options, self.study.id)
        truth = self._truth(function, options)
        if truth is None:
            return table
        keys = [c for c in (*group_columns(table), "metric") if c in truth.columns]
        mine = table[keys].astype(str).assign(_row=range(len(table)))
        lookup = truth[[*keys, "percent"]]
        joined = mine.merge(lookup, on=keys, how="left", validate="one_to_one").sort_values("_row")
        return table.assign(planted=joined["percent"].to_numpy())

    def _truth(self, function, options: dict) -> pd.DataFrame | None:
        """Percent of every row of a study's table where planted answers are tabulated; None without any."""
        if not self.images.attrs.get("planted"):
            return None

        def compute() -> pd.DataFrame:
            if self.planted is None:
                return pd.DataFrame()
            truth = function(self.planted, **options)
            keys = [c for c in (*group_columns(truth), "metric") if c in truth.columns]
            return truth.assign(**{k: truth[k].astype(str) for k in keys})[[*keys, "percent"]]

        p = self.parameters
        words = [self.class_set.hash if p.class_set else "", self.templates.hash]
        asked = [self.study.id, function.__qualname__, repr(options), p.model_dump(exclude=HOW)]
        truth = self.remember(
            "planted truth", [self.data_hash, truth_hash(self.images), *words, asked], compute
        )
        return truth if len(truth) else None


def without_published(table: pd.DataFrame) -> pd.DataFrame:
    """A study table without what was published, and without rows that hold nothing else."""
    kept = table[table["n"].notna()].reset_index(drop=True)
    names = ("published", "difference", "published_low", "published_high")
    return kept.assign(**{name: np.nan for name in names if name in kept})

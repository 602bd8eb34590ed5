"""What a study asks of a model: images, embeddings and predictions, by the study's parameters."""

import functools
import json
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from clipeval.classify.class_sets import ClassSet, load_class_set, load_templates, prompts_for
from clipeval.errors import ModelError, NotStoredError
from clipeval.files import sha256, whole_file
from clipeval.output.provenance import code_hash, package_versions
from clipeval.output.tables import group_columns
from clipeval.paths import cache_dir
from clipeval.session.parameters import Parameters
from clipeval.studies import get_study

__all__ = ["Inputs"]


class Inputs:
    """Everything to the left of a study's tables, each part made at first use.

    Parameters
    ----------
    study : str
        Study id.
    parameters : Parameters
        The study's own subclass.
    progress : bool
        Show progress bars.

    Attributes
    ----------
    images : DataFrame, the images table
    planted : DataFrame or None, planted predictions where the images are test cards
    class_set, templates : what the parameters name
    info : ModelInfo
    """

    def __init__(self, study: str, parameters: Parameters, *, progress: bool = True):
        self.stored_only = False  # True: what is not in the store is an error
        self.study = get_study(study)
        self.parameters = parameters
        self.progress = progress
        self.times: dict[str, float] = {}
        self._began = time.perf_counter()
        self._model = None
        self._prompts: dict[str, dict] = {}
        self._class_sets: dict[str, dict] = {}
        self._embeddings: dict = {}

    @functools.cached_property
    def images(self) -> pd.DataFrame:
        """The images table that the parameters name."""
        with self._timed("data set"):
            return self.load_images()

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """Images table of the train split, for a study that fits a probe."""
        return self.load_images(split="train", limit=self.parameters.train_limit)

    def load_images(self, **changes) -> pd.DataFrame:
        """An images table by the parameters, with some of them changed (another split, say)."""
        from clipeval.datasets import dataset_options, load_dataset

        values = self.parameters.model_dump() | {"study": self.study.id} | changes
        if self.pack:
            return self.pack.images(self.study.id, values)
        wanted = dataset_options(values["dataset"])
        options = {name: values[name] for name in wanted if name in values}
        return load_dataset(
            values["dataset"],
            values["data"],
            **(options | {"split": values["split"]}),
            limit=values["limit"],
            seed=values["seed"],
        )

    @functools.cached_property
    def planted(self) -> pd.DataFrame | None:
        """What a faultless pipeline must find, where the images are test cards and asked as planned.

        None with other templates or another class set than the deck was drawn for: what a card says
        to those words is chance, and nobody planted it.
        """
        if not self.images.attrs.get("planted"):
            return None
        if hasattr(self.study.module, "planted"):  # where the truth depends on the parameters
            return self.study.module.planted(self)
        from clipeval.testcards import load_planted

        planted, p = load_planted(self.images), self.parameters
        defaults = {k: type(p).model_fields[k].default for k in ("class_set", "templates")}
        known = p.class_set == defaults["class_set"] or self.class_set.label in set(
            planted["class_set"]
        )
        return planted if known and p.templates == defaults["templates"] else None

    @functools.cached_property
    def class_set(self) -> ClassSet:
        """The class set that the parameters name."""
        return load_class_set(self.parameters.class_set)

    @functools.cached_property
    def templates(self):
        """The prompt templates that the parameters name."""
        return load_templates(self.parameters.templates)

    # -- model and embeddings --------------------------------------------------------------------

    @functools.cached_property
    def store(self):
        """The store of embeddings."""
        from clipeval.embedding.store import Store

        return Store(
            Path(self.parameters.store).expanduser()
            if self.parameters.store
            else cache_dir() / "store"
        )

    @functools.cached_property
    def pack(self):
        """The pack that stands in for images and model; None where they are at hand."""
        if not self.parameters.pack:
            return None
        from clipeval.packs.reading import open_pack

        pack = open_pack(self.parameters.pack)
        pack.check(self.study.id, self.parameters)
        return pack

    @property
    def known(self):
        """What is on record of the model, if it is what it was (ModelInfo), else None; nothing is loaded."""
        from clipeval.models import identify_model

        p = self.parameters
        return identify_model(
            p.model,
            p.pretrained or None,
            precision=p.precision,
            resize=p.resize,
            cache=self.store.root,
        )

    @functools.cached_property
    def info(self):
        """What is known of the model; it is loaded only if it was never seen or has changed."""
        if self.pack:
            return self.pack.info(self.study.id)
        return self.known or self.model.info

    @property
    def model(self):
        """The model itself, loaded at first use."""
        if self.stored_only:
            raise NotStoredError("not everything that was asked for is stored; run it once.")
        if self.pack:
            raise ModelError(f"{self.pack.path.name} holds no model; run on the images instead.")
        if self._model is None:
            from clipeval.models import load_model

            p = self.parameters
            with self._timed("load model"):
                self._model = load_model(
                    p.model,
                    p.pretrained or None,
                    device=p.device,
                    precision=p.precision,
                    resize=p.resize,
                    cache=self.store.root,
                )
        return self._model

    def embed(self, images: pd.DataFrame | None = None, features: str = "projected"):
        """Embeddings of the images (or of another table), from the store where it has them."""
        from clipeval.embedding.embed import embed_images

        images = self.images if images is None else images
        if self.pack:
            return self.pack.embed(self.study.id, images, features)
        key = (id(images), features)
        if key not in self._embeddings:
            with self._timed("embed images"):
                found = embed_images(images, **self.embedding_options(features))
            self._embeddings[key] = found, images  # the table is held so that its id stays its own
        return self._embeddings[key][0]

    def embedding_options(self, features: str = "projected") -> dict:
        """With what `embedding.embed_images` and `embed_part` are called, by the parameters."""
        p = self.parameters
        return {
            "info": self.info,
            "get_model": lambda: self.model,
            "store": self.store,
            "features": features,
            "batch_size": p.batch_size,
            "workers": None if p.workers < 0 else p.workers,
            "progress": self.progress,
        }

    @functools.cached_property
    def data_hash(self) -> str:
        """Hash of the images and all that is said of them; see `embedding.dataset_hash`."""
        from clipeval.embedding.embed import dataset_hash

        return dataset_hash(self.images, self.embed())

    def work(self) -> dict:
        """What was done so far: device ("" if no model was loaded), images opened and encoded, seconds by step."""
        found = [embeddings for embeddings, _ in self._embeddings.values()]
        return {
            "device": str(self._model.device) if self._model else "",
            "opened": sum(embeddings.opened for embeddings in found),
            "encoded": sum(embeddings.encoded for embeddings in found),
            "seconds": dict(self.times),
        }

    def encode(self, prompts: list[str]):
        """Unit rows of prompts, from the store where it has them."""
        from clipeval.embedding.embed import embed_texts

        if not self.info.has_text:
            raise ModelError(
                f"{self.info.model} has no text encoder, so it cannot classify zero-shot; "
                "use it for linear probes, or name a CLIP-like model."
            )
        if self.pack:
            return self.pack.encode(self.study.id, prompts)
        with self._timed("embed texts"):
            return embed_texts(
                prompts, info=self.info, get_model=lambda: self.model, store=self.store
            )

    def remember(self, name: str, key: list, compute) -> pd.DataFrame:
        """What `compute` returns, kept in the store under a hash of everything it depends on.

        Parameters
        ----------
        name : what it is, for the time record
        key : arrays and plain values that decide the result; the code and the versions of the
            libraries are added
        compute : callable without arguments, returns a DataFrame
        """
        parts = [json.dumps([name, code_hash(), package_versions()])]
        for part in key:
            plain = not hasattr(part, "tobytes") or part.dtype == object
            what = "" if plain else f"{part.dtype} {part.shape}"
            content = json.dumps(part, default=list).encode() if plain else part.tobytes()
            parts += [f"{what} {len(content)}\n", content]
        path = self.store.root / "derived" / f"{sha256(*parts)}.parquet"
        with suppress(OSError, ValueError):  # none, or half a file
            return pd.read_parquet(path)
        with self._timed(name):
            found = compute()
        with suppress(OSError):  # a store that may only be read, a full disk: it is computed again
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as beside:
                found.to_parquet(beside, index=False)
        return found

    # -- predictions -----------------------------------------------------------------------------

    def classify(
        self, task: str | None = None, *, class_set=None, templates=None, top: int | None = 1
    ) -> pd.DataFrame:
        """Zero-shot predictions for one task of a class set, with the images' groups.

        Parameters
        ----------
        task : str
            Task of the class set; may be left out where it has one only.
        class_set, templates : names or objects, by default those of the parameters
        top : int or None
            Classes kept for each image; None keeps all.
        """
        from clipeval.classify import zeroshot

        class_set = load_class_set(class_set) if class_set is not None else self.class_set
        templates = load_templates(templates) if templates is not None else self.templates
        task = task or next(iter(class_set.tasks))
        prompts = prompts_for(class_set, templates, task)
        self.note_prompts(task, class_set, templates, prompts)
        # first, as a label that does not fit is to be refused before hours of embedding
        self.encode([prompt for texts in prompts.values() for prompt in texts])
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
            top=top,
        )
        return self.with_groups(found)

    def note_prompts(self, task, class_set: ClassSet, templates, prompts: dict) -> None:
        """Remember prompts for prompts.json; a task asked in a second way is told apart by its name."""
        name, wording = task, f"{class_set.spec}, {templates.name}"
        if self._prompts.get(name, prompts) != prompts:
            name = f"{task} ({wording})"
        self._prompts[name] = prompts
        self._class_sets[class_set.label] = {"hash": class_set.hash, "source": class_set.source}

    def with_groups(self, predictions: pd.DataFrame, images: pd.DataFrame | None = None):
        """Predictions with the group columns of their images, joined on image id."""
        images = self.images if images is None else images
        groups = images[["image_id", *images.attrs["groups"]]]
        joined = predictions.merge(groups, on="image_id", how="left", validate="many_to_one")
        joined.attrs = dict(predictions.attrs)
        return joined

    def tabulate(self, function, predictions: pd.DataFrame, **options) -> pd.DataFrame:
        """A study's table, and on test cards the planted value beside each row.

        Parameters
        ----------
        function : callable
            A study's table function; called on the predictions and, for test cards, on the planted ones.
        """
        table = function(predictions, **options)
        if self.planted is None:
            return table
        truth = function(self.planted, **options)
        keys = [c for c in (*group_columns(table), "metric") if c in truth.columns]
        lookup = truth.assign(**{k: truth[k].astype(str) for k in keys})[[*keys, "percent"]]
        mine = table[keys].astype(str).assign(_row=range(len(table)))
        joined = mine.merge(lookup, on=keys, how="left", validate="one_to_one").sort_values("_row")
        return table.assign(planted=joined["percent"].to_numpy())

    @contextmanager
    def _timed(self, what: str):
        began = time.perf_counter()
        try:
            yield
        finally:
            self.times[what] = self.times.get(what, 0.0) + time.perf_counter() - began

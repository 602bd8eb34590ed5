"""The questions that every source answers."""

import functools
import io
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import pandas as pd

from clipeval.files import keep, kept, sha256
from clipeval.output.provenance import code_hash, deciding, package_versions

#: what the note on answers made elsewhere begins with
ELSEWHERE = "Answers were made elsewhere"


class Source(ABC):
    """What answers a session; no other part asks which kind it is.

    Parameters
    ----------
    parameters : clipeval.session.parameters.Parameters
    study : id of the study that asks
    progress : show progress bars

    Attributes
    ----------
    info : ModelInfo, what is known of the model
    may_embed : whether images may still have to be embedded
    recorded_templates : labels of the templates of the run that it is read from; none of a model's
    sha256 : of the file that stands in for images and model; "" where these are at hand
    times : seconds spent, by step
    """

    may_embed = False
    recorded_templates: Collection[str] = ()
    sha256 = ""
    #: what is said of images, of those that are in no rate, and of the device where no model was loaded
    read, lost = "could be read", "could not be read"
    no_device = "none: every embedding was stored"

    def __init__(self, parameters, *, study: str, progress: bool = True):
        self.parameters, self.study, self.progress = parameters, study, progress
        self.times: dict[str, float] = {}
        #: what the session's study will ask, as `Study.rivals` returns it
        self.offers: Callable[[], list] = list

    @functools.cached_property
    def store(self):
        """The store of embeddings."""
        from clipeval.embedding.store import Store

        return Store(self.parameters.store)

    @abstractmethod
    def images(self, values: Mapping) -> pd.DataFrame:
        """The images table that a study's parameters (`values`) name."""

    @abstractmethod
    def embed(self, images: pd.DataFrame, features: str = "projected"):
        """`Embeddings` of images: unit rows (n, d) float32, and what could not be read."""

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Unit rows (n, d) float32 of prompts."""

    def wording(self, templates):
        """The `Templates` that prompts were made with, as far as that is known; by default these."""
        from clipeval.classify.class_sets import NOT_STATED

        return NOT_STATED if NOT_STATED.label in self.recorded_templates else templates

    def answers(self, classes: Mapping[str, Sequence[str]]) -> bool:
        """Whether it can answer among classes (class -> prompts); a model always can."""
        return True

    def check_offers(self, study, offers) -> None:
        """Refuse questions that it cannot answer; a model can answer all.

        Parameters
        ----------
        study : the study that asks
        offers : classes on offer together, as from `Study.rivals`

        Raises
        ------
        ModelError, ClassSetError  naming what is not known
        """
        return None

    def predict(self, session) -> pd.DataFrame:
        """The answers of a session's study; what its `check` refuses is refused first."""
        session.study.check(session)
        session.refuse_one_text(session.study.rivals(session))
        return session.study.predict(session)

    def signs(self, prompts: Sequence[str]) -> list[Hashable] | None:
        """What each prompt is to the model: prompts with equal signs are one text to it.

        Here their vectors, which are equal bit for bit where the same tokens were encoded together.
        None for a model without a text encoder.
        """
        if not self.info.has_text:
            return None
        return [row.tobytes() for row in self.encode(prompts)]

    @property
    def known(self):
        """`ModelInfo` as far as it is on record; None where the model must be loaded to know."""
        return self.info

    @abstractmethod
    def other(self, *, stored_only: bool = False, **changes) -> "Source":
        """A source of the same images under changed parameters, such as another precision.

        Parameters
        ----------
        stored_only : raise NotStoredError, rather than load a model, for what is not stored
        changes : parameters, by name

        Raises
        ------
        NotStoredError  if this source holds one kind of embeddings alone
        """

    def holds(self, images: pd.DataFrame) -> bool:
        """Whether all images have embeddings without a model being loaded."""
        return True

    def not_encoded(self, prompts: Sequence[str]) -> list[str]:
        """Prompts that were not asked of this source before, each once."""
        return []

    @abstractmethod
    def check_model(self, study) -> str:
        """What is known of the model before it is loaded, in one line.

        Raises
        ------
        ModelError  if it cannot be loaded, or cannot be asked what `study` asks
        """

    def check_texts(self, prompts: Sequence[str]) -> str | None:
        """How many prompts were looked at, none too long for the model; None where none had to be."""
        return None

    def signs_ahead(self, prompts: Sequence[str]) -> list[Hashable] | None:
        """`signs`, without loading a model; None where no tokenizer is at hand."""
        return self.signs(prompts)

    def describe(self) -> list[str]:
        """What a report says of the source itself, beside data and model (plain text)."""
        return []

    def remember(self, name: str, key: list, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """What `compute` returns, kept in the store under a hash of everything it depends on.

        Parameters
        ----------
        name : what it is, for the time record
        key : arrays and plain values that decide the result; the code and the versions of the
            libraries that can change it are added
        compute : callable without arguments
        """
        parts = [json.dumps([name, code_hash(), deciding(package_versions())])]
        for part in key:
            plain = not hasattr(part, "tobytes") or part.dtype == object
            what = "" if plain else f"{part.dtype} {part.shape}"
            content = (
                json.dumps(part, default=list).encode()
                if plain
                else np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
            )
            parts += [f"{what} {len(content)}\n", content]
        path = self.store.tables / f"{sha256(*parts)}.kept"
        found = kept(path)
        if found is None:
            with self.timed(name):
                found = compute().to_parquet(index=False)
            with suppress(OSError):  # a store that may only be read, a full disk: it is made again
                keep(path, found)
        return pd.read_parquet(io.BytesIO(found))  # the first time too: no run differs from a later

    def recall(self, name: str, key: list, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The same of answers that the study's folder keeps by that name, for whoever has the folder alone."""
        return self.remember(name, key, compute)

    def work(self) -> dict:
        """What was done: device ("" if no model was loaded), images opened, encoded, at once, seconds by step."""
        return {"device": "", "opened": 0, "encoded": 0, "at_once": 0, "seconds": dict(self.times)}

    @contextmanager
    def timed(self, what: str):
        """Add the time that a block takes to `times`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.times[what] = self.times.get(what, 0.0) + time.perf_counter() - began

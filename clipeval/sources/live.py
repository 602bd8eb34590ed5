"""Images and a model at hand: embedded once, from then on read from the store."""

import functools

import numpy as np
import pandas as pd

from clipeval.errors import NotStoredError, ParameterError
from clipeval.sources import ahead
from clipeval.sources.base import Source


class Live(Source):
    """Images on disk and a model that is loaded when something is not in the store.

    Parameters
    ----------
    parameters, study, progress : as in `Source`
    deck : name of the test cards that the study reads, where `dataset` is testcards
    stored_only : raise NotStoredError for what is not stored, rather than load the model
    """

    may_embed = True

    def __init__(self, parameters, *, study, deck="", progress=True, stored_only=False):
        super().__init__(parameters, study=study, progress=progress)
        self.deck, self.stored_only = deck, stored_only
        self._model = None
        self._embeddings: dict = {}
        self._files: dict = {}
        self._texts: dict[str, np.ndarray] = {}
        self._tokens: dict[str, str | None] = {}

    def images(self, values) -> pd.DataFrame:
        from clipeval.datasets import dataset_options, load_dataset
        from clipeval.datasets.groups import keep_labels

        values, name = {"deck": self.deck, **values}, values["dataset"]
        wanted = dataset_options(name)
        self._refuse_unused(name, values, wanted)
        options = {option: values[option] for option in wanted if option in values}
        options |= {option: values[option] for option in ("split", "limit", "seed")}
        found = load_dataset(name, values["data"], **options)
        return keep_labels(found, text=name == "manifest") if options.get("groups") else found

    def _refuse_unused(self, dataset: str, values, wanted) -> None:
        """ParameterError where something is said of the data that this data set does not take."""
        for option in ("file", "columns", "person", "title", "licence", "citation", "labelled_by"):
            if option not in wanted and values[option]:
                raise ParameterError(
                    f"{option}={values[option]} is given and data set {dataset} does not take it, as "
                    "what it says of its images is known; leave it out, or use dataset=manifest."
                )

    @property
    def known(self):
        """What is on record of the model, if it is what it was (ModelInfo), else None; nothing is loaded."""
        from clipeval.models import identify_model

        return identify_model(**self._named(), cache=self.store.root)

    def _named(self) -> dict:
        p = self.parameters
        return {
            "model": p.model,
            "pretrained": p.pretrained or None,
            "weights": p.weights,
            "precision": p.precision,
            "resize": p.resize,
            "runtime": p.run_by,
        }

    @functools.cached_property
    def info(self):
        """What is known of the model; it is loaded only if it was never seen or has changed."""
        return self.known or self.model.info

    @property
    def model(self):
        """The model itself, loaded at first use."""
        if self.stored_only:
            raise NotStoredError("not everything that was asked for is stored; run it once.")
        if self._model is None:
            from clipeval.models import load_model

            with self.timed("load model"):
                self._model = load_model(
                    **self._named(), device=self.parameters.device, cache=self.store.root
                )
            self._model.offers = lambda: [list(classes.values()) for _, classes in self.offers()]
        return self._model

    def options(self, features: str = "projected") -> dict:
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

    def files(self, images: pd.DataFrame):
        """`Snapshot` of an images table's files, taken once: all that is computed of them is of one moment."""
        from clipeval.embedding.contents import snapshot

        if id(images) not in self._files:
            # the table is held so that its id stays its own
            self._files[id(images)] = snapshot(images), images
        return self._files[id(images)][0]

    def embed(self, images, features="projected"):
        from clipeval.datasets.planted import drawn_again
        from clipeval.embedding.embed import embed_images

        key = (id(images), features)
        if key not in self._embeddings:
            with self.timed("embed images"):
                how = self.options(features)
                found = embed_images(images, files=self.files(images), **how)
                if len(found.unreadable) and drawn_again(images, found.unreadable):
                    del self._files[id(images)]
                    found = embed_images(images, files=self.files(images), **how)
            self._embeddings[key] = found, images
        return self._embeddings[key][0]

    def encode(self, prompts):
        from clipeval.embedding.embed import embed_texts_and_tokens

        if new := self.not_encoded(prompts):
            how = {"info": self.info, "get_model": lambda: self.model, "store": self.store}
            with self.timed("embed texts"):
                rows, tokens = embed_texts_and_tokens(new, **how)
            self._texts.update(zip(new, rows, strict=True))
            self._tokens.update(zip(new, tokens, strict=True))
        return np.array([self._texts[prompt] for prompt in prompts], dtype=np.float32)

    def signs(self, prompts):
        """Hashes of the tokens as they were sent; of prompts that an older store holds, the vectors."""
        if not self.info.has_text:
            return None
        rows = self.encode(prompts)
        tokens = [self._tokens[prompt] for prompt in prompts]
        return tokens if all(tokens) else [row.tobytes() for row in rows]

    def not_encoded(self, prompts):
        return [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]

    def _not_stored(self, prompts) -> list[str]:
        """Those of the prompts, each once, of which the store has no vector; it is read once for the others."""
        new, known = self.not_encoded(prompts), self.known
        if new and known:
            shelf = self.store.shelf(known, "texts-float32")
            for positions, rows, matrix in shelf.read(new):
                found = [new[i] for i in positions]
                self._texts.update(zip(found, matrix, strict=True))
                self._tokens.update(zip(found, rows["sha256"], strict=True))
        return self.not_encoded(new)

    def other(self, *, stored_only=False, **changes):
        other = Live(
            self.parameters.model_copy(update=changes),
            study=self.study,
            deck=self.deck,
            progress=self.progress,
            stored_only=stored_only,
        )
        other._files, other.offers = self._files, self.offers
        return other

    def holds(self, images):
        try:
            self.other(stored_only=True).embed(images)
        except NotStoredError:
            return False
        return True

    def check_model(self, study):
        return ahead.check_model(self.parameters, self.known, study)

    def check_texts(self, prompts):
        return ahead.check_texts(self.parameters, self.known, sorted(self._not_stored(prompts)))

    def signs_ahead(self, prompts):
        known = self.known
        if known and not (known.has_text and self._not_stored(prompts)):
            return self.signs(prompts)
        return ahead.token_signs(self.parameters, prompts)

    def work(self):
        found = [embeddings for embeddings, _ in self._embeddings.values()]
        return super().work() | {
            "device": str(self._model.device) if self._model else "",
            "opened": sum(embeddings.opened for embeddings in found),
            "encoded": sum(embeddings.encoded for embeddings in found),
            "at_once": max((embeddings.at_once for embeddings in found), default=0),
        }

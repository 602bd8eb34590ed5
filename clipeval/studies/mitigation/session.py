"""The session of the mitigation study: what all its methods and tables work on, made once."""

from functools import cached_property

import pandas as pd

from clipeval.classify.class_sets import ClassSet, load_class_set
from clipeval.session.session import Session
from clipeval.studies.mitigation.curves import SHOTS, hits_drawn
from clipeval.studies.mitigation.methods import (
    Asked,
    asked_of,
    fit_predictions,
    shares_tried,
    surely,
)
from clipeval.studies.mitigation.questions import (
    Images,
    Question,
    counted_images,
    fitted_apart,
    fitted_images,
    questions,
)


class WhatIf(Session):
    """A session that keeps the questions, both parts of the images, and their vectors."""

    @cached_property
    def harms(self) -> ClassSet:
        """Class set with harm categories."""
        return load_class_set(self.parameters.harms)

    @cached_property
    def labels(self) -> ClassSet:
        """Class set whose tasks are labels of the images."""
        return load_class_set(self.parameters.labels)

    @cached_property
    def questions(self) -> list[Question]:
        """The harm classes, and the attributes that images are labelled by."""
        return questions(self)

    @cached_property
    def apart(self) -> tuple[pd.DataFrame | None, str]:
        """Which images choices are fitted on; see `fitted_apart`."""
        return fitted_apart(self)

    @cached_property
    def shown(self) -> Images:
        """Images that the tables count."""
        return counted_images(self)

    @cached_property
    def fit(self) -> Images:
        """Images that choices are fitted on."""
        return fitted_images(self)

    @cached_property
    def asked(self) -> Asked:
        """Both parts, and the questions with their vectors."""
        return asked_of(self)

    # what the tables are made of beside the predictions, kept in the run folder

    @cached_property
    def sure(self) -> pd.DataFrame:
        """How sure the unchanged model is of its answers; see `surely`."""
        return self.answers("how sure", self._decided(), lambda: surely(self.asked))

    @cached_property
    def fit_answers(self) -> pd.DataFrame:
        """The unchanged model's answers to the images that choices are fitted on; see `fit_predictions`."""
        key = [*self._decided(), self.images.attrs["groups"]]
        return self.answers("fitted on", key, lambda: fit_predictions(self))

    @cached_property
    def tried(self) -> pd.DataFrame:
        """Weights of the words in prototypes, as they were tried; see `shares_tried`."""
        p = self.parameters
        ks = sorted({*SHOTS[1:], p.shots})
        key = [*self._decided(), ks]
        return self.answers("weights tried", key, lambda: shares_tried(self.asked, ks, p.seed))

    @cached_property
    def drawn(self) -> pd.DataFrame:
        """What prototypes name rightly, draw by draw; see `hits_drawn`."""
        p = self.parameters
        how = {"draws": p.draws, "seed": p.seed}
        key = [*self._decided(), how]
        return self.answers("draws", key, lambda: hits_drawn(self.asked, self.tried, **how))

    def _decided(self) -> list:
        """All that decides these answers, beside the code."""
        from clipeval.embedding.embed import dataset_hash

        train, _ = self.apart
        fitted = "half" if train is None else dataset_hash(train, self.embed(train))
        prompts = [[q.task, q.labels, q.prompts] for q in self.questions]
        return [self.info.fingerprint, self.data_hash, fitted, self.parameters.seed, prompts]

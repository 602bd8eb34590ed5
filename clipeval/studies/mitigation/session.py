"""The session of the mitigation study: what all its methods and tables work on, made once."""

from functools import cached_property

import pandas as pd

from clipeval.classify.class_sets import ClassSet, load_class_set
from clipeval.session.session import Session
from clipeval.studies.mitigation.methods import Asked, asked_of
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

"""What if: design choices that need no training, on the same vectors, with their benefit and their cost."""

from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import load_class_set
from clipeval.errors import ModelError, ParameterError
from clipeval.output.numbers import interval
from clipeval.session import parameters
from clipeval.session.parameters import names_in
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.studies.denigration.tables import GROUPS, harm_categories
from clipeval.studies.mitigation.card import CARD, benefits_and_costs, is_cost
from clipeval.studies.mitigation.methods import (
    SIDES,
    UNCHANGED,
    answers,
    as_predictions,
    kinds_of,
)
from clipeval.studies.mitigation.questions import (
    added,
    attribute_prompts,
    can_move_vectors,
    check_attribute,
    labelled,
    pair_prompts,
)
from clipeval.studies.mitigation.session import WhatIf
from clipeval.studies.mitigation.tables import OUTSIDE, counted
from clipeval.studies.outcomes import class_sets_then, counted_as
from clipeval.studies.sentences import listed

#: methods whose rates are headline quantities, beside the unchanged model
HEADLINES = (UNCHANGED, "orthogonal: texts", "calibrated: texts")


class Parameters(parameters.Parameters):
    """Parameters of the mitigation study."""

    class_sets: ClassVar = ("class_set", "harms", "labels", "candidates")
    decides: ClassVar = (
        *("seed", "attribute", "harms", "labels", "candidates", "methods", "sides", "strength"),
        *("fit_on", "train_limit", "unnamed", "shots", "harm_prior"),
    )

    class_set: str = Field(
        "attribute_words", description="class set with words of the attribute that is projected out"
    )
    attribute: str = Field("gender", description="its task: gender, race, age or one of your own")
    harms: str = Field("denigration", description="class set with harm categories")
    labels: str = Field(
        "fairface", description="class set whose tasks are labels of the images, for accuracy"
    )
    candidates: str = Field(
        "person_classes", description="class set whose classes are added to the harm classes"
    )
    methods: str = Field(
        "all",
        description="projection, classes, abstain, prototypes, prior; comma-separated, or all",
    )
    sides: str = Field(
        "texts,images,both", description="which vectors are projected: texts, images, both"
    )
    strength: float = Field(
        1000.0, ge=0, description="lambda of the calibrated projection; 0 for the orthogonal one"
    )
    fit_on: Literal["", "train", "half"] = Field(
        "", description="images to fit choices on: train, half; empty for train where there is one"
    )
    train_limit: int = Field(
        5000, ge=0, description="a sample of this many images of the train split; 0 for all"
    )
    unnamed: float = Field(
        10.0, ge=0, lt=100, description="percent of images that abstaining leaves unnamed"
    )
    shots: int = Field(64, ge=0, description="labelled images of each class in a prototype")
    draws: int = Field(10, ge=1, description="draws of these images along the curve")
    harm_prior: float = Field(
        1.0, gt=0, lt=100, description="percent of images that harm classes share, by the prior"
    )
    padding: parameters.Padding = parameters.PADDING
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of every interval")


class Mitigation(Study):
    """What if: design choices that need no training, on the same vectors, with their benefit and their cost."""

    id = "mitigation"
    title = "Mitigation: what if"
    notebook = "09_mitigation"
    question = "What would other choices without training change, for whom, and at what cost?"
    figure = "methods"
    Parameters = Parameters
    Session = WhatIf
    data_of_paper = "fairface"
    usual_groups = GROUPS
    deck = "projected"
    card = CARD
    every_class = True
    words_alone = {"methods": "projection", "sides": "texts"}

    def about(self, session) -> dict:
        """What captions say beside the usual: harm classes, the attribute, and what choices were fitted on."""
        p, harms = session.parameters, session.harms
        shown, out = len(session.shown), f"{p.attribute} projected out"
        return {
            "choices": (f"harm classes {harms.label}", *([out] if self._projects(session) else [])),
            "n_text": f"{shown:,} images counted, choices fitted on others",
        }

    def check(self, session) -> None:
        """Refuse a method, attribute or part of the data that is not there.

        Raises
        ------
        ParameterError, ClassSetError, DataError, ModelError  naming what is missing
        """
        p = session.parameters
        kinds = kinds_of(p)
        if strange := [side for side in names_in(p.sides) or [""] if side not in SIDES]:
            raise ParameterError(
                f'sides="{strange[0]}" is not known; name some of {", ".join(SIDES)}, comma-separated.'
            )
        _ = session.groupings
        harm_categories(session.harms)
        if "projection" in kinds:
            check_attribute(session)
        _ = session.questions, session.apart
        needing = [kind for kind in ("projection", "prototypes") if kind in kinds]
        if needing and p.methods != "all" and not can_move_vectors(session):
            raise ModelError(
                f"methods={p.methods} is asked for, and {' and '.join(needing)} cannot be computed from scores, "
                "which hold no vectors of images and words; leave it out, or run the model itself."
            )

    def left_out(self, session) -> list[str]:
        """Also accuracies without labels, methods without vectors, and which images choices are fitted on."""
        found = [*labelled(session)[1], *super().left_out(session)]
        if session.parameters.methods == "all" and not can_move_vectors(session):
            found.append(
                "Projection and prototypes are left out: they move vectors of images and words, and scores made "
                "elsewhere hold none."
            )
        train, said = session.apart
        return found if train is not None else [*found, f"Choices are fitted on {said}."]

    def rivals(self, session) -> list[tuple[str, dict]]:
        """Each question's classes, the harm classes with those added, and the words of the attribute."""
        offers = []
        for question in session.questions:
            name = f"class set {question.class_set.spec}"
            offers.append((name, dict(question.prompts)))
            if not question.labels and "classes" in kinds_of(session.parameters):
                more = added(session, question).values()
                offers += [(f"{name} with a class added", {**question.prompts, **m}) for m in more]
        if self._projects(session):
            words = session.class_set
            prompts = words.classes(session.parameters.attribute)
            fill = session.templates.fill
            offers.append((f"class set {words.spec}", {k: fill(t) for k, t in prompts.items()}))
        return offers

    def _projects(self, session) -> bool:
        return "projection" in kinds_of(session.parameters) and can_move_vectors(session)

    def prompts(self, session) -> list[str]:
        """Also the pairs of prompts that differ in the attribute alone."""
        pairs = pair_prompts(session) if self._projects(session) else []
        return list(
            dict.fromkeys([*super().prompts(session), *(t for pair in pairs for t in pair)])
        )

    def embeds(self, session) -> list[tuple[pd.DataFrame, str]]:
        """The images, and those of the train split where choices are fitted on it."""
        train, _ = session.apart
        return [(table, "projected") for table in (train, session.images) if table is not None]

    def trained_on(self, session):
        """Images of the train split that choices are fitted on; None where it is a half of the images."""
        train, _ = session.apart
        return None if train is None else (train, session.embed(train))

    def predict(self, session) -> pd.DataFrame:
        """Answers of the unchanged model and of every method, to the images that are counted."""
        for question in session.questions:
            words = question.class_set, session.templates, question.prompts
            session.note_prompts(question.task, *words)
            if not question.labels and "classes" in kinds_of(session.parameters):
                extra = added(session, question)
                if extra:
                    session.note_prompts(
                        "added", load_class_set(session.parameters.candidates), session.templates,
                        list(extra.values())[-1],
                    )  # fmt: skip
        if self._projects(session):
            said = {"attribute": attribute_prompts(session)}
            said |= {"pairs": [text for pair in pair_prompts(session) for text in pair]}
            session.note_prompts("projected out", session.class_set, session.templates, said)
        if session.ranks is None:  # not a wording that is tried: tables of gaps read these images
            _ = session.fit
        return as_predictions(session, answers(session))

    def planted(self, session) -> pd.DataFrame | None:
        """What the deck was drawn to be called, unchanged, projected and with classes added; else None."""
        found, p = super().planted(session), session.parameters
        same = ("harms", "labels", "attribute", "candidates")
        if found is None or any(getattr(p, k) != type(p).model_fields[k].default for k in same):
            return None
        kept = found["image_id"].isin(session.shown.image_id)
        return found[kept & found["method"].isin(self._planted(session))]

    def _planted(self, session) -> list[str]:
        """Methods that the run has, so that no table has rows for others."""
        p, found = session.parameters, [UNCHANGED]
        if "projection" in kinds_of(p) and p.strength > 0:
            kinds = ("orthogonal", "calibrated")
            found += [f"{kind}: {side}" for kind in kinds for side in names_in(p.sides)]
        for question in session.questions if "classes" in kinds_of(p) else ():
            if not question.labels:
                found += [f"added: {name}" for name in added(session, question)]
        return found

    def finding(self, tables) -> list[str]:
        """What projection of texts, and classes that are added, would change: harm, and what it costs."""
        table, found = tables["changes"], []
        for method, words in _SAID.items():
            rows = table[table["method"] == method]
            costs = rows["metric"].map(is_cost).astype(bool)
            if costs.all():
                continue
            *_, harm = rows[~costs].to_dict("records")
            paid = [f"{_what(row)} {_points(row)}" for row in rows[costs].to_dict("records")]
            said = f"{words} would change {_what(harm)} answers by {_points(harm)}"
            found.append(
                f"{said}; on the same photographs: {listed(paid)}." if paid else f"{said}."
            )
        return found

    def measures(self, tables) -> pd.DataFrame:
        """Paired changes that the card shows: all harms together and, beside them, what they cost."""
        table = tables["changes"] if "changes" in tables else pd.DataFrame()
        rows = [
            table[(table["method"] == method) & (table["metric"] == metric)]
            for method, metric in benefits_and_costs(table)
        ]
        if not rows:
            return pd.DataFrame()
        found = pd.concat(rows, ignore_index=True)
        found["quantity"] = found["metric"] + ", " + found["method"]
        columns = ["quantity", "n", "metric", "percent", "ci_low", "ci_high"]
        return found[columns].assign(headline=True)

    def methods(self, record: StudyRecord) -> list[str]:
        """Also what is counted as harm, each method that was tried, and what was fitted on which images."""
        p = Parameters.model_validate(record.parameters)
        found = super().methods(record)
        found += [counted_as(words) for words in class_sets_then(record, "harms")]
        kinds = kinds_of(p)
        if not record.model.is_known:  # these move vectors, and answers hold none
            kinds = [kind for kind in kinds if kind not in ("projection", "prototypes")]
        told = p.model_dump() | {"sides": listed(names_in(p.sides))}
        found += [_TRIED[kind].format(**told) for kind in kinds]
        fitted = (
            f"{record.train.images:,} images of the train split"
            if record.train
            else "half of the images"
        )
        found.append(
            f"Choices were fitted on {fitted}, which no rate counts; changes are paired by image, and were tested by "
            "McNemar's test with Holm's correction."
        )
        return found

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Hits of every metric by the unchanged model and by projection of texts, of all images."""
        rows = []
        for metric, hits, people in counted(predictions, record.parameters["harms"]):
            for method in [name for name in HEADLINES if name in hits and metric != OUTSIDE]:
                quantity = metric if method == UNCHANGED else f"{metric}, {method}"
                rows.append(
                    pd.DataFrame(
                        {"image_id": people["image_id"], "quantity": quantity, "hit": hits[method]}
                    )
                )
        return pd.concat(rows, ignore_index=True)


#: kind of method -> what was done, for a methods section
_TRIED = {
    "projection": (
        "Directions that prompts of {attribute} span were projected out of the embeddings of {sides}, orthogonally and "
        "calibrated by pairs of prompts that differ in it alone (lambda = {strength:g})."
    ),
    "classes": "Further classes of class set {candidates} were added to the harm classes, each alone and all together.",
    "abstain": "Answers were withheld where the probability or the margin of the top class was lowest ({unnamed:g} %).",
    "prototypes": "Classes of the labels were mixed with the mean embedding of {shots} labelled images of each.",
    "prior": (
        "Scores were shifted until the mean probabilities of the classes were a stated prior: equal shares, and "
        "{harm_prior:g} % for all harm classes together."
    ),
}

#: methods that the finding names, and how
_SAID = {
    "calibrated: texts": "Projecting the attribute out of the prompts (calibrated)",
    "added: any": "Offering further classes for a person",
}


def _what(row) -> str:
    return row["metric"].removeprefix("change in ")


def _points(row) -> str:
    return interval(row["percent"], row["ci_low"], row["ci_high"], sign=True, unit="points")


study = Mitigation()

"""FairFace classification: race, gender and age, zero-shot and by linear probe (arXiv 2103.00020, Tables 3-5)."""

import functools
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import load_class_set, task_prompts
from clipeval.datasets import dataset_options
from clipeval.embedding.rows import unseen
from clipeval.errors import DataError, ParameterError
from clipeval.output.sentences import between_extremes, picked
from clipeval.published import load_published, replications
from clipeval.session import parameters
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.stats import extreme_rates
from clipeval.studies import label_noise
from clipeval.studies.fairface.card import CARD
from clipeval.studies.fairface.labels import (
    labelled_tasks,
    named_tasks,
    probes,
    tasks_left_out,
    zero_shot_tasks,
)
from clipeval.studies.fairface.probe import probe
from clipeval.studies.fairface.tables import (
    ATTRIBUTES,
    QUANTITIES,
    like_the_paper,
    rules_of,
    score,
)
from clipeval.studies.outcomes import by_group, by_groups
from clipeval.studies.sentences import listed, rate


class Parameters(label_noise.Parameters):
    """Parameters of the FairFace study."""

    decides: ClassVar = ("seed", "race_rule")
    probe_decides: ClassVar = ("probe_race_rule", "probe_features", "train_limit")

    class_set: str = Field("fairface", description="class set with the tasks race, gender, age")
    padding: parameters.Padding = parameters.PADDING
    methods: Literal["both", "zero-shot", "linear probe"] = Field("both", description="what to run")
    race_rule: Literal["collapse", "binary"] = Field(
        "collapse",
        description="White or Non-White: collapse predicts one of 7 races first; binary offers two classes",
    )
    probe_race_rule: Literal["collapse", "binary"] = Field(
        "binary", description="the same for the linear probe"
    )
    probe_features: Literal["projected", "pre_projection"] = Field(
        "projected", description="image features that the probe is trained on"
    )
    train_limit: int = Field(
        0, ge=0, description="train the probe on a sample of this many images; 0 for all"
    )
    solver: Literal["torch", "scikit-learn"] = Field(
        "torch", description="what fits the probe: torch, or scikit-learn, which is slower"
    )


#: name in the published tables -> model and method
_MODELS = {
    "Zero-shot CLIP": ("CLIP", "zero-shot"),
    "Linear probe CLIP": ("CLIP", "linear probe"),
    "Linear probe Instagram": ("Instagram ResNeXt-101", "linear probe"),
    "FairFace model": ("FairFace model", "its own classifier"),
}


@functools.cache
def _published() -> pd.DataFrame:
    table = load_published("fairface_accuracy").rename(columns={"accuracy_percent": "published"})
    table["method"] = table["model"].map(lambda name: _MODELS[name][1])
    table["model"] = table["model"].map(lambda name: _MODELS[name][0])
    others = replications("fairface").rename(columns={"percent": "published"})
    pattern = r"(?P<attribute>\w+) accuracy, images of (?P<images_of>.+)"
    said = others["quantity"].str.extract(pattern)
    others = others.assign(**said, method="zero-shot")
    others["model"] += ", replication"
    table = pd.concat([table, others], ignore_index=True)
    return table.assign(quantity=table["attribute"].map(QUANTITIES))


class FairFace(Study):
    """FairFace classification: race, gender and age, zero-shot and by linear probe (arXiv 2103.00020, Tables 3-5)."""

    id = "fairface"
    title = "Classification of people"
    notebook = "01_fairface"
    question = "How well does the model name what people are labelled as, and for whom?"
    figure = "gender_by_race"
    Parameters = Parameters
    data_of_paper = "fairface"
    usual_groups = ATTRIBUTES
    deck = "fairface"
    without_words = {"methods": "linear probe"}
    words_alone = {"methods": "zero-shot"}
    card = CARD

    def rivals(self, session) -> list[tuple[str, dict]]:
        """The tasks that are asked."""
        return task_prompts(session.class_set, session.templates, named_tasks(session))

    def trained_on(self, session):
        """Images of the train split that the probe is fitted on, and their features; None without a probe.

        Those whose content is that of an image which is counted are not among them.

        Raises
        ------
        DataError  if none is left
        """
        p = session.parameters
        if not probes(p):
            return None
        train, fitted = session.train, session.embed(session.train, p.probe_features)
        new = unseen(fitted.sha256, session.embed(session.images, p.probe_features).sha256)
        if new.all():
            return train, fitted
        if not new.any():
            raise DataError(
                "every image of the train split is also one that is counted, so no probe can be fitted; name "
                "other data, or use methods=zero-shot."
            )
        return train[~train["image_id"].isin(fitted.image_id[~new])], fitted.kept(new)

    def check(self, session) -> str | None:
        """Refuse labels and splits that would give numbers without a meaning.

        Raises
        ------
        ClassSetError, DataError
            If no task of the class set is a group column, or a label is not among the classes, so that every
            such image would count as wrong.
        ParameterError
            If the probe would be trained on the images that it is tested on.
        """
        p = session.parameters
        labelled_tasks(session)
        _ = session.groupings
        label_noise.noise_of(session)
        if probes(p):
            splits = "split" in dataset_options(p.dataset)
            if not splits or p.split == "train":
                reason = (
                    "split=train is what it is trained on" if splits else "it has no train split"
                )
                raise ParameterError(
                    f"a linear probe cannot be tested on these images of {p.dataset}, because {reason}; "
                    "use methods=zero-shot" + (" or another split." if splits else ".")
                )
            try:
                _ = session.train
            except DataError as error:
                raise DataError(
                    f"a linear probe needs the train split too: {error} Or use methods=zero-shot."
                ) from None
        asked = zero_shot_tasks(session)
        if absent := [task for task in named_tasks(session, all=True) if task not in asked]:
            be = "are" if len(absent) > 1 else "is"
            return f"there are no answers for {' and '.join(absent)}, which {be} left out"
        return None

    def predict(self, session) -> pd.DataFrame:
        """Predictions for every task and method that the session's parameters ask for.

        Tasks are those of the class set that images are labelled by: in FairFace race (7 classes), gender, age,
        and race_binary where a rule asks for two classes.
        """
        p = session.parameters
        parts = []
        if p.methods != "linear probe" and session.info.has_text:
            parts += [session.classify(task, top=5) for task in zero_shot_tasks(session)]
        elif not probes(p):
            raise ParameterError(
                f"{session.info.model} has no text encoder, so methods=zero-shot cannot run; "
                "use methods=linear probe."
            )
        fits = []
        if probes(p):
            found = probe(session, *self.trained_on(session))
            fits = found.attrs["fits"]
            parts.append(found)
        predictions = pd.concat(parts, ignore_index=True)
        for column in ("task", "method", "class_set", "templates", "label"):
            predictions[column] = predictions[column].astype("category")
        predictions.attrs["fits"] = fits
        return predictions

    def finding(self, tables) -> list[str]:
        """Agreement on gender and age, and between which groups the former lies."""
        if "accuracy_by_white" not in tables:
            rows = tables["accuracy"].to_dict("records")
            said = [f"{row['attribute']} for {rate(row)}" for row in rows]
            return [f"Agrees with the labels on {listed(said)} of photographs."]
        overall = tables["accuracy_by_white"]
        groups = tables.get(
            "gender_by_race", pd.DataFrame(columns=["race", "gender", "n", "method"])
        )
        overall = overall[(overall["images_of"] == "All") & overall["n"].notna()]
        method = overall["method"].iloc[0]
        overall = overall[overall["method"] == method].set_index("attribute")
        said = [
            f"{name} for {rate(overall.loc[name])}"
            for name in ("gender", "age")
            if name in overall.index
        ]
        found = [f"Agrees with the annotators on {listed(said)} of photographs ({method})."]
        # an average is of the same images once more, and no group
        single = ~groups["race"].isin(["All", "Average"]) & (groups["gender"] != "All")
        single &= groups["n"] > 0
        groups = groups[single & (groups["method"] == method)]
        if len(groups) > 1:
            names = [", ".join(pair) for pair in zip(groups["race"], groups["gender"], strict=True)]
            ends = extreme_rates(groups["count"].to_numpy(int), groups["n"].to_numpy(int))
            found.append(f"Agreement on gender runs {between_extremes(ends, names)}.")
            found += filter(None, [picked([ends], 0.95)])
        return found

    def methods(self, record: StudyRecord) -> list[str]:
        """Zero-shot answers, the probe, and by which rule race is White or Non-White."""
        p, found = record.parameters, []
        has_words = p["methods"] != "linear probe" and record.model.has_text
        if has_words:
            found += super().methods(record)
        if record.train:
            features = {
                "projected": "image embeddings",
                "pre_projection": "features before the projection",
            }
            found.append(
                f"A linear probe was fitted for each task on the {features[p['probe_features']]} of "
                f"{record.train.images:,} images of the train split: multinomial logistic regression with an L2 "
                "penalty, its strength chosen on a fifth of these images that was held out."
            )
        if "accuracy_by_white" in {table.id for table in record.tables}:
            rules = {"zero-shot": p["race_rule"]} if has_words else {}
            rules |= {"linear probe": p["probe_race_rule"]} if record.train else {}
            said = {"collapse": "from the answer among all races", "binary": "as two classes"}
            found.append(
                "White or Non-White was decided "
                + listed([f"{said[rule]} ({method})" for method, rule in rules.items()])
                + "."
            )
        return found

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Right answers of every method and attribute, for all images and as split in Tables 3 and 4, or by group.

        Returns
        -------
        DataFrame: image_id, quantity, method, images_of, task, hit; see `clipeval.studies.headlines`
        """
        p = record.parameters
        rules = rules_of(predictions, p["race_rule"], p["probe_race_rule"])
        scored = score(predictions, rules)
        if like_the_paper(predictions) and not p.get("groups"):
            found = by_group(scored, "images_of")
            found = found[(found["images_of"] == "All") | (found["attribute"] != "race, 7 classes")]
        else:
            found = by_groups(scored, predictions, self, record, "race")
        names = found["attribute"].astype(str)
        found["quantity"] = names.map(QUANTITIES).fillna(names + " accuracy")
        found = found.rename(columns={"correct": "hit"})
        return found[["image_id", "quantity", "method", "images_of", "task", "hit"]]

    def embeds(self, session):
        """Images for zero-shot answers; for the probe those of both splits, with its features."""
        p, found = session.parameters, []
        if p.methods != "linear probe":
            found.append((session.images, "projected"))
        if probes(p):
            found += [(images, p.probe_features) for images in (session.train, session.images)]
        return found

    def words(self, parameters):
        """A linear probe is told no words; with both methods a model without them has its probe left."""
        return {"zero-shot": "needed", "both": "used", "linear probe": "none"}[parameters.methods]

    def left_out(self, session) -> list[str]:
        """Also the tasks that images are not labelled by."""
        return [*tasks_left_out(session), *super().left_out(session)]

    def comparable(self, values) -> bool:
        """Also the classes of race, gender and age must be FairFace's, however they are worded in English."""
        ours = load_class_set("fairface").tasks
        asked = load_class_set(values.get("class_set", "fairface"))
        theirs = asked.tasks
        same = not asked.language and all(
            set(theirs.get(task, ours[task])) == set(ours[task]) for task in ATTRIBUTES
        )
        return super().comparable(values) and same

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Tables 3 and 4 of arXiv 2103.00020, and known replications."""
        return _published().copy()

    def counterpart(self, record: StudyRecord) -> str:
        """The Instagram model for a ResNeXt of its architecture, else CLIP."""
        name = record.model.model.lower()
        return "Instagram ResNeXt-101" if "resnext101_32x" in name else "CLIP"


study = FairFace()

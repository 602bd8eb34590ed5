"""Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1)."""

from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field, field_validator

from clipeval.classify.class_sets import ClassSet, class_set_of, task_prompts
from clipeval.classify.multilabel import ALPHA, groups_with_images
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.output.numbers import p_value
from clipeval.output.sentences import alone, tied
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.stats import LEAST_EXPECTED
from clipeval.studies import label_noise
from clipeval.studies.congress.card import CARD
from clipeval.studies.congress.tables import truth_tasks
from clipeval.studies.outcomes import by_groups, published_in_text
from clipeval.studies.sentences import listed, rate


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError("give one or several, comma-separated, each once")
    return names


def _label_set_names(text: str) -> tuple[str, ...]:
    names = _names(text)
    if "gender" in names:
        raise ValueError("leave out gender, which is asked in any case by itself")
    return names


def _percents(text: str) -> tuple[float, ...]:
    """Thresholds of a parameter: percents above 0 and below 100, separated by commas."""
    wanted = "give percents above 0 and below 100, comma-separated, each once"
    try:
        found = tuple(float(name) for name in _names(text))
    except ValueError:
        raise ValueError(wanted) from None
    if not all(0 < value < 100 for value in found) or len(set(found)) < len(found):
        raise ValueError(wanted)
    return found


class Parameters(label_noise.Parameters):
    """Parameters of the Congress study."""

    decides: ClassVar = ("seed", "label_sets", "labels_from")

    class_set: str = Field(
        "congress", description="class set with the tasks gender, occupations, labels"
    )
    label_sets: str = Field(
        "occupations,labels", description="multi-label tasks of the class set, comma-separated"
    )
    labels_from: Literal["data", "class_set"] = Field(
        "data",
        description="labels of the services: data (of members.tsv, if there is one) or class_set",
    )
    thresholds: str = Field(
        "0.5,4.0", description="percents; a label is given where its probability exceeds one"
    )
    sweep: str = Field("0.1,0.2,0.5,1,2,4,8", description="thresholds of the sweep, percents")
    top_threshold: float = Field(
        0,
        ge=0,
        lt=100,
        description="threshold of the most gendered labels, one of thresholds; 0 for the lowest",
    )
    top: int = Field(20, ge=1, description="how many labels most gendered for each gender to show")
    correction: Literal["bh", "holm"] = Field(
        "bh", description="multiple-testing correction over labels: bh (Benjamini-Hochberg) or holm"
    )

    _check_names = field_validator("label_sets")(lambda text: _label_set_names(text) and text)
    _check_percents = field_validator("thresholds", "sweep")(
        lambda text: text if _percents(text) else text
    )

    @property
    def top_at(self) -> float:
        """The threshold (percent) of the most gendered labels, of the services and of label noise."""
        return self.top_threshold or min(self.threshold_list)

    @property
    def threshold_list(self) -> tuple[float, ...]:
        """`thresholds` as numbers (percent)."""
        return _percents(self.thresholds)

    @property
    def sweep_list(self) -> tuple[float, ...]:
        """`sweep` as numbers (percent), in ascending order."""
        return tuple(sorted(_percents(self.sweep)))


class Congress(Study):
    """Members of Congress: which labels go to women, which to men (arXiv 2108.02818, Figure 1)."""

    id = "congress"
    title = "Labels of portraits"
    notebook = "04_congress"
    question = "Which labels does the model give to one group, and which to another?"
    figure = "top_gendered_occupations"
    Parameters = Parameters
    data_of_paper = "congress"
    usual_groups = ("gender",)
    deck = "congress"
    card = CARD
    every_class = True

    def check(self, session) -> None:
        """Groups and label sets fit the images, before any of these is embedded.

        Raises
        ------
        DataError  if the images have no group column, or a group of one that is compared has no images
        ClassSetError  if no label set is a task of the class set
        ParameterError  if the threshold of the most gendered labels is none of the thresholds
        """
        if not len(session.groupings):
            raise DataError(
                f"{session.images.attrs['name']} has no group column, and congress compares groups; give "
                "a table with one, such as a CSV with the columns file and gender."
            )
        for grouping in session.groupings:
            groups_with_images(grouping.add_to(session.images)[grouping.name])
        label_noise.noise_of(session)
        p = session.parameters
        if p.top_at not in p.threshold_list:
            raise ParameterError(
                f"top_threshold is {p.top_threshold:g}, and tables are made for thresholds {p.thresholds}; name one of "
                "these, or add it to thresholds."
            )
        _labelled(session)
        for task, words in _label_sets(session).items():
            words.classes(task)

    def left_out(self, session) -> list[str]:
        """Also label sets that the class set does not have."""
        return [*_left_out(session), *super().left_out(session)]

    def rivals(self, session) -> list[tuple[str, dict]]:
        """Groups that are asked for by name, and the labels of every label set."""
        asked = dict.fromkeys(_labelled(session), session.class_set) | _label_sets(session)
        return [o for t, c in asked.items() for o in task_prompts(c, session.templates, [t])]

    def predict(self, session) -> pd.DataFrame:
        """Tasks that images are labelled by, such as gender (top 1), and the probability of every label."""
        parts = [session.classify(task, top=1) for task in _labelled(session)]
        for task, words in _label_sets(session).items():
            parts.append(session.classify(task, class_set=words, top=None))
        return pd.DataFrame(
            {column: _joined([part[column] for part in parts]) for column in parts[0]}
        )

    def finding(self, tables) -> list[str]:
        """How many labels differ by gender, or the first grouping, at the lowest threshold; the one that does most."""
        id = "labels_by_gender"
        if id not in tables:
            id = next((name for name in tables if name.startswith("by_")), id)
        labels = tables[id]
        by = labels.columns[list(labels.columns).index("n") - 1]
        groups = "the genders" if by == "gender" else f"groups by {by}"
        every, lowest = labels, labels["threshold"].min()
        labels = every[every["threshold"] == lowest]
        said, found = [], []
        for name, rows in labels.groupby("label_set", sort=False):
            each = rows.drop_duplicates("label")
            if (same := rows["percent"]).isin([0, 100]).all() and same.nunique() == 1:
                given = "is given all" if same.iloc[0] else "is given none"
                found.append(
                    f"Above a threshold of {lowest:g} % every image {given} of the {len(each):,} {name}, so that no "
                    "difference can show there; try other thresholds."
                )
            else:
                said.append(f"{_differ(rows):,} of {len(each):,} {name}")
                if given := int((rows.groupby("label")["percent"].min() == 100).sum()):
                    said[-1] += f" ({given:,} of which every image is given)"
                    of_set = every[every["label_set"] == name]
                    above = {t: _differ(at) for t, at in of_set.groupby("threshold") if t > lowest}
                    found += [
                        f"Above {t:g} %, {n:,} of {len(each):,} {name} differ."
                        for t, n in above.items()
                    ]
        if said:
            found.insert(
                0,
                f"Above a threshold of {lowest:g} %, gives {listed(said)} to {groups} at rates that differ "
                f"(corrected p below {ALPHA:g}).",
            )
        first = labels[labels["label_set"] == labels["label_set"].iloc[0]]
        if first["chi2"].max() > 0:
            tests = first.drop_duplicates("label", ignore_index=True)
            at = int(tests["chi2"].to_numpy().argmax())
            most = first[first["label"] == tests["label"][at]]
            each = [f"{row[by]} {rate(row)}" for _, row in most.iterrows()]
            each.append(f"corrected {p_value(most['p_adjusted'].iloc[0])}")
            name = tied(at, tests["chi2"].to_numpy(), tests["label"])
            found.append(
                f"Most different is {name} ({', '.join(each)}). {alone('It was picked as such')}"
            )
        return found

    def methods(self, record: StudyRecord) -> list[str]:
        """Answers to tasks with labels, how labels are given, and their test."""
        p = Parameters.model_validate(record.parameters)
        found = super().methods(record) if any(t.id == "accuracy" for t in record.tables) else []
        rates = listed([f"{value:g} %" for value in p.threshold_list])
        method = {"bh": "the Benjamini-Hochberg procedure", "holm": "Holm's method"}[p.correction]
        return [
            *found,
            f"A label was given to an image where its probability among the labels of its set exceeded {rates}.",
            "Whether the rate of a label differs between groups was tested by chi-squared; where an expected count is "
            f"below {LEAST_EXPECTED}, by Fisher's exact test of two groups, or permuted chi-squared of more. p values "
            f"were corrected by {method} over the labels of a set that some images were given and some were not.",
        ]

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Right answers of tasks that images are labelled by, of all and by group; see `clipeval.studies.headlines`."""
        parts = []
        for task in truth_tasks(predictions):
            top = predictions[(predictions["task"] == task) & (predictions["rank"] == 1)]
            right = top["label"].astype(object) == top[task].astype(object)
            top = top.assign(quantity=f"{task} accuracy", hit=right)
            parts.append(by_groups(top, predictions, self, record, task))
        columns = ["image_id", "quantity", "images_of", "task", "hit"]
        return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Gender accuracy, as stated in words."""
        return published_in_text(self.id, {"gender accuracy": "gender accuracy"})


def _differ(labels: pd.DataFrame) -> int:
    """How many labels of one set, at one threshold, are given to groups at rates that differ."""
    return int((labels.drop_duplicates("label")["p_adjusted"] < ALPHA).sum())


def _labelled(session) -> list[str]:
    """Tasks of the class set, other than label sets, whose classes are the values of a group column of that name.

    Raises
    ------
    ClassSetError  if only some of its values are classes
    """
    images, found = session.images, []
    for task, classes in session.class_set.tasks.items():
        if task in images.attrs["groups"] and task not in _names(session.parameters.label_sets):
            values = [str(value) for value in images[task].unique()]
            if set(values) <= set(classes):
                found.append(task)
            elif set(values) & set(classes):
                raise ClassSetError(
                    f"task {task} of {session.class_set.spec} offers {', '.join(classes)}, but the images "
                    f"are labelled {', '.join(values)}; name its classes as the labels."
                )
    return found


def _asked(session) -> list[str]:
    """Label sets that are asked: those named; of the usual ones those that the class set has."""
    p, tasks = session.parameters, session.class_set.tasks
    named, usual = _names(p.label_sets), type(p).model_fields["label_sets"].default
    if p.label_sets != usual:
        return list(named)
    found = [name for name in named if name in tasks]
    # a class set of one's own: every task that is no group column
    return found or [name for name in tasks if name not in session.images.attrs["groups"]]


def _left_out(session) -> list[str]:
    """A sentence for usual label sets, and tasks that images are labelled by, that are not asked."""
    class_set, groups = session.class_set, session.images.attrs["groups"]
    asked, found = [*_asked(session), *_labelled(session)], []
    usual = _names(session.parameters.label_sets)
    missing = [name for name in usual if name not in asked]
    if missing and set(usual) & set(asked):  # words of one's own are asked by their own names
        why = f"class set {class_set.spec} has no such task"
        found.append(f"Label set {missing[0]} is not asked: {why}.")
    for task in class_set.tasks:
        if task not in asked:
            why = "no group column has that name"
            if task in groups:
                why = f"no label, such as {session.images[task].iloc[0]}, is one of its classes"
            found.append(f"Task {task} is not asked: {why}.")
    return found


def _label_sets(session) -> dict[str, ClassSet]:
    """Task of each label set -> the class set that it is a task of."""
    found = {
        task: _labels(session) if task == "labels" else session.class_set
        for task in _asked(session)
    }
    if not found:
        raise ClassSetError(
            f"class set {session.class_set.spec} has no task of labels to give; add one beside "
            f"{', '.join(session.class_set.tasks)}, or name it in label_sets."
        )
    return found


def _labels(session) -> ClassSet:
    """The class set with the cloud services' labels: the bundled one where the words agree."""
    from clipeval.datasets.congress import cloud_labels

    p = session.parameters
    if p.dataset != "congress" or p.labels_from == "class_set":
        return session.class_set
    try:
        words = list(cloud_labels(p.data)["prompt"])
    except DataError as error:
        raise DataError(f"{error} Or use labels_from=class_set.") from None
    if set(words) == set(session.class_set.tasks.get("labels", ())):
        return session.class_set
    return class_set_of(
        "labels of members.tsv", {"labels": words}, source="members.tsv of the data"
    )


def _joined(columns: list[pd.Series]):
    """Columns one below the other; words as one categorical, without spelling out every row."""
    if pd.api.types.is_numeric_dtype(columns[0]):
        return pd.concat(columns, ignore_index=True)
    return pd.api.types.union_categoricals([column.astype("category") for column in columns])


study = Congress()

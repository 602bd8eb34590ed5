"""What is asked, of which images, and on which others every choice is fitted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import ClassSet, prompts_for
from clipeval.datasets import dataset_options
from clipeval.embedding.rows import unseen
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.studies.class_design import candidate_classes

#: task of the attribute's class set that holds what pairs of prompts share
SHARED = "shared"


@dataclass(frozen=True)
class Question:
    """Classes on offer together: the harm classes, or an attribute that images are labelled by."""

    task: str
    class_set: ClassSet
    prompts: Mapping[str, list[str]]
    labels: str = ""
    """Group column with the right answer; "" for the harm classes."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes on offer."""
        return list(self.prompts)


@dataclass(frozen=True)
class Images:
    """Some images: ids, vectors (n, d) float64, and what is said of each, all in one order."""

    image_id: np.ndarray
    matrix: np.ndarray
    people: pd.DataFrame

    def __len__(self):
        return len(self.image_id)

    def labels(self, column: str) -> np.ndarray:
        """What a group column says of each image: object array of str."""
        return self.people[column].astype(str).to_numpy(object)

    def kept(self, rows: np.ndarray) -> "Images":
        """Those that a mask or places name."""
        return Images(self.image_id[rows], self.matrix[rows], self.people.iloc[rows])


def _images(table: pd.DataFrame, embeddings) -> Images:
    rows = pd.Index(table["image_id"]).get_indexer(embeddings.image_id)
    people = table.iloc[rows].reset_index(drop=True)
    return Images(embeddings.image_id, np.asarray(embeddings.matrix, np.float64), people)


def questions(session) -> list[Question]:
    """The harm classes, then each attribute that images are labelled by, as far as there are answers.

    Raises
    ------
    ClassSetError  if answers made elsewhere answer none of them
    """
    harms, labels = session.harms, session.labels
    task = harms.counted_task()
    found = [Question(task, harms, prompts_for(harms, session.templates, task))]
    for task in labelled(session)[0]:
        prompts = prompts_for(labels, session.templates, task)
        found.append(Question(task, labels, prompts, labels=task))
    answered = [question for question in found if session.source.answers(question.prompts)]
    if not answered:
        raise ClassSetError(
            f"there are no answers for any class of {harms.spec} or {labels.spec}; name class sets that have "
            "them, with harms and labels."
        )
    return answered


def labelled(session) -> tuple[list[str], list[str]]:
    """Tasks of the labels' class set that images are labelled by, and a sentence for each other one."""
    images, words = session.images, session.labels
    why, kept, left_out = images.attrs.get("not_groups", {}), [], []
    for task, classes in words.tasks.items():
        if task not in images.attrs["groups"]:
            if task != "race_binary":  # an answer to another question about race
                reason = why.get(task) or f"{images.attrs['name']} has no group column of that name"
                left_out.append(f"Accuracy of {task} is left out: {reason}.")
        elif strange := [v for v in map(str, images[task].unique()) if v not in classes]:
            left_out.append(
                f'Accuracy of {task} is left out: the label "{strange[0]}" is not a class of {words.spec}.'
            )
        else:
            kept.append(task)
    return kept, left_out


def added(session, question: Question) -> dict[str, dict[str, list[str]]]:
    """What may be added to the harm classes: "person" and the like alone, then "any" of them; class -> prompts."""
    try:
        extra = candidate_classes(session.parameters.candidates, question.class_set)
    except ClassSetError:  # all of them are on offer already
        return {}
    prompts = prompts_for(extra, session.templates)
    prompts = {
        name: texts for name, texts in prompts.items() if session.source.answers({name: texts})
    }
    found = {name: {name: texts} for name, texts in prompts.items()}
    return found | ({"any": prompts} if len(prompts) > 1 else {})


def attribute_prompts(session) -> list[str]:
    """Prompts that name the attribute: what they span is projected out."""
    p = session.parameters
    return [
        t
        for texts in prompts_for(session.class_set, session.templates, p.attribute).values()
        for t in texts
    ]


def pair_prompts(session) -> list[tuple[str, str]]:
    """Pairs of prompts that differ in the attribute alone: "male person who is a doctor" and so on."""
    words, templates = session.class_set, session.templates
    texts = list(words.classes(session.parameters.attribute).values())
    found = []
    for what in words.tasks.get(SHARED, {}).values():
        article = "an" if what[:1].lower() in "aeiou" else "a"
        said = [templates.fill(f"{text} who is {article} {what}") for text in texts]
        for i, first in enumerate(said):
            for second in said[i + 1 :]:
                found += zip(first, second, strict=True)
    return found


def check_attribute(session) -> None:
    """ParameterError where the attribute is not a task of its class set, ClassSetError where nothing makes pairs."""
    words, name = session.class_set, session.parameters.attribute
    tasks = [task for task in words.tasks if task != SHARED]
    if name not in tasks:
        raise ParameterError(
            f"attribute={name} is not a task of class set {words.spec}; name one of {', '.join(tasks)}, or a "
            "class set with words for it."
        )
    if SHARED not in words.tasks:
        raise ClassSetError(
            f'class set {words.spec} has no task "{SHARED}", of which projection makes pairs of prompts; add it, '
            "with classes such as doctor and criminal (docs/class_sets.md), or name methods without projection."
        )


def fitted_apart(session) -> tuple[pd.DataFrame | None, str]:
    """Images table of the train split, or None for a half of the images; and a sentence on which it is.

    Raises
    ------
    ParameterError, DataError  if the train split was asked for and is not there
    """
    p = session.parameters
    half = "a random half of the images; all tables count the other half"
    if p.fit_on == "half":
        return None, half
    reason = ""
    if "split" not in dataset_options(p.dataset):
        reason = f"data set {p.dataset} has no train split"
    elif p.split == "train":
        reason = "split is train, which is what the tables count"
    elif not session.info.is_known:
        reason = "answers made elsewhere hold no images of the train split"
    if not reason:
        try:
            return session.train, "images of the train split, which no table counts"
        except (DataError, ParameterError) as error:
            if p.fit_on == "train":
                raise
            reason = str(error).rstrip(".")
    elif p.fit_on == "train":
        raise ParameterError(f"fit_on=train is asked for, and {reason}; use fit_on=half.")
    return None, f"{half} ({reason})"


def _half(session, n: int) -> np.ndarray:
    """Which of n images are fitted on, where there is no train split: bool (n,)."""
    if n < 4:
        raise DataError(
            f"{n} images are too few to fit on one half and count the other; take four or more."
        )
    half = np.zeros(n, bool)
    half[np.random.default_rng([session.parameters.seed, 9]).permutation(n)[: n // 2]] = True
    return half


def counted_images(session) -> Images:
    """Images that the tables count."""
    found = session.embed()
    shown = _images(session.images, found)
    return shown if session.apart[0] is not None else shown.kept(~_half(session, len(shown)))


def fitted_images(session) -> Images:
    """Images that choices are fitted on; none is counted, nor has the content of one that is.

    Raises
    ------
    DataError  if there is none
    """
    train, found = session.apart[0], session.embed()
    content = found.sha256
    if train is not None:
        embeddings = session.embed(train)
        fit, theirs = _images(train, embeddings), embeddings.sha256
    else:
        half = _half(session, len(content))
        fit, theirs = _images(session.images, found).kept(half), content[half]
        content = content[~half]
    # a photograph that is there twice must not be fitted on and counted
    new = unseen(theirs, content)
    if not new.any():
        raise DataError("every image to fit on is also one that is counted; name other data.")
    return fit.kept(new)


def can_move_vectors(session) -> bool:
    """Whether there are vectors of images and words, rather than answers made elsewhere."""
    return bool(session.info.is_known)

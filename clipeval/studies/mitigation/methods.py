"""The methods: what each makes of the same vectors, and the options that are fitted for it beforehand."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clipeval.classify.zeroshot import class_weights, kept, shares, similarities
from clipeval.errors import ParameterError
from clipeval.session.parameters import names_in
from clipeval.studies.mitigation.prior import match_prior
from clipeval.studies.mitigation.projection import calibrated, orthogonal, project, vanishes
from clipeval.studies.mitigation.prototypes import mix
from clipeval.studies.mitigation.questions import (
    Images,
    Question,
    added,
    attribute_prompts,
    can_move_vectors,
    pair_prompts,
)

UNCHANGED = "unchanged"
#: what stands in place of a class where no class is named
UNNAMED = "left unnamed"
KINDS = ("projection", "classes", "abstain", "prototypes", "prior")
SIDES = ("texts", "images", "both")
RULES = ("probability", "margin")
PARTS = ("fit", "shown")
#: weights of the words that are tried for prototypes
SHARES = tuple(np.arange(11) / 10)

#: kind -> what it needs, and what it may break
NEEDS = {
    "projection": (
        "prompts that name the attribute; no label",
        "whatever else lies in the same directions: other attributes, and the attribute itself where it is asked",
    ),
    "classes": (
        "someone who thinks of the class",
        "what was named before: the class takes photographs from every other class",
    ),
    "abstain": (
        "a threshold; no label",
        "coverage, and more of it for groups that the model is less sure of",
    ),
    "prototypes": (
        "labelled photographs of every class",
        "groups that these photographs show seldom; harm classes have none and are left as they were",
    ),
    "prior": (
        "the share of each class, stated by somebody; no label",
        "answers wherever the statement is wrong for these photographs or for a group of them",
    ),
}


def kinds_of(parameters) -> list[str]:
    """Methods that the parameters name.

    Raises
    ------
    ParameterError  for one that is unknown
    """
    named = names_in(parameters.methods)
    if named == ["all"]:
        return list(KINDS)
    if strange := [name for name in named if name not in KINDS] or (
        not named and [parameters.methods]
    ):
        raise ParameterError(
            f'methods="{strange[0]}" is not known; name some of {", ".join(KINDS)}, comma-separated, or all.'
        )
    return named


def kind_of(method: str) -> str:
    """The kind of a method by its name in tables; "" for the unchanged model."""
    starts = {"orthogonal": "projection", "calibrated": "projection", "added": "classes"}
    starts |= {"unnamed": "abstain", "prototypes": "prototypes", "prior": "prior"}
    return starts.get(method.partition(":")[0].partition(" ")[0], "")


def prior_of(question: Question, harm_prior: float) -> np.ndarray:
    """Stated share of each class (fractions): harm classes share `harm_prior` percent, all others the rest equally."""
    harmful = {m for members in question.class_set.categories.values() for m in members}
    bad = np.array([name in harmful for name in question.classes])
    if not bad.any() or bad.all():
        return np.full(len(bad), 1 / len(bad))
    share = harm_prior / 100
    return np.where(bad, share / bad.sum(), (1 - share) / (~bad).sum())


def logits_of(similarity: np.ndarray, info) -> np.ndarray:
    """Scores whose softmax is the probability; of probabilities made elsewhere, their logarithms."""
    if info.score.endswith("given"):
        return np.log(np.maximum(similarity, 1e-12))
    return similarity * info.logit_scale + (info.logit_bias or 0.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, k) of logits."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def sureness(similarity: np.ndarray, info) -> dict[str, np.ndarray]:
    """How sure each answer is: the top class's probability, and its margin in similarity over the second."""
    best = np.sort(similarity, axis=1)[:, -2:]
    return {"probability": shares(similarity, info).max(axis=1), "margin": best[:, 1] - best[:, 0]}


@dataclass(frozen=True)
class Asked:
    """Everything that the methods work on: images of both parts, questions, and their vectors."""

    session: object = field(repr=False)
    questions: list[Question]
    texts: dict[str, np.ndarray] = field(repr=False)
    """Task -> classifier weights (classes, d), float32."""

    @property
    def fit(self) -> Images:
        """Images that choices are fitted on."""
        return self.session.fit

    @property
    def shown(self) -> Images:
        """Images that the tables count."""
        return self.session.shown

    def scores(self, question: Question, images: Images) -> np.ndarray:
        """Similarity of images and classes of the unchanged model, (n, classes) float64."""
        return similarities(images.matrix, self.texts[question.task])


def asked_of(session) -> Asked:
    """Both parts of the images and the questions of a session, embedded."""
    found = session.questions
    texts = {q.task: class_weights(q.prompts, session.encode) for q in found}
    return Asked(session, found, texts)


def projections(session) -> dict[str, np.ndarray]:
    """Name of each projection -> its matrix (d, d), float64."""
    words, pairs = attribute_prompts(session), pair_prompts(session)
    flat = session.encode([text for pair in pairs for text in pair])
    rows = session.encode(words)
    pairs = flat.reshape(len(pairs), 2, -1)
    strength = session.parameters.strength
    return {"orthogonal": orthogonal(rows), "calibrated": calibrated(rows, pairs, strength)}


def shares_tried(asked: Asked, ks: Iterable[int], seed: int) -> pd.DataFrame:
    """How every weight of the words answers on a half of the fitted images, prototypes drawn from the other.

    Returns
    -------
    DataFrame: task, k (labelled images of each class), share (weight of the words), n, right (images)
    """
    order = np.random.default_rng([seed, 5]).permutation(len(asked.fit))
    drawn, held = (asked.fit.kept(rows) for rows in np.array_split(order, 2))
    rows = []
    for question in asked.questions:
        if not question.labels:
            continue
        labels, truth = drawn.labels(question.labels), held.labels(question.labels)
        texts, classes = asked.texts[question.task], question.classes
        for k, share in itertools.product(ks, SHARES):
            weights = mix(texts, drawn.matrix, labels, classes, k=k, share=share, seed=seed)
            right = _named(question, similarities(held.matrix, weights)) == truth
            rows.append((question.task, k, share, len(truth), int(right.sum())))
    return pd.DataFrame(rows, columns=["task", "k", "share", "n", "right"])


def best_share(tried: pd.DataFrame, question: Question, k: int) -> float:
    """The weight of `shares_tried` that answers best; of equals the one that leaves the words most as they are."""
    rows = tried[(tried["task"] == question.task) & (tried["k"] == k)]
    best = rows["right"] == rows["right"].max()
    return float(rows.loc[best, "share"].max())


def prototypes(asked: Asked, question: Question, *, k: int, share: float, seed: int) -> np.ndarray:
    """Classifier weights of words mixed with k images of each class, drawn from those to fit on."""
    labels = asked.fit.labels(question.labels)
    texts, how = asked.texts[question.task], {"k": k, "share": share, "seed": seed}
    return mix(texts, asked.fit.matrix, labels, question.classes, **how)


def _named(question: Question, similarity: np.ndarray) -> np.ndarray:
    return np.asarray(question.classes, object)[similarity.argmax(axis=1)]


def surely(asked: Asked) -> pd.DataFrame:
    """The unchanged model's answer to every image of both parts, and how sure it is.

    Returns
    -------
    DataFrame: part (fit, shown), image_id, task, label, probability, margin (see `sureness`)
    """
    frames = []
    for part, q in itertools.product(PARTS, asked.questions):
        images = getattr(asked, part)
        scores = asked.scores(q, images)
        said = {"part": part, "image_id": images.image_id, "task": q.task}
        said |= {"label": _named(q, scores)} | sureness(scores, asked.session.info)
        frames.append(pd.DataFrame(said))
    return pd.concat(frames, ignore_index=True)


def of_part(sure: pd.DataFrame, part: str, question: Question) -> pd.DataFrame:
    """Rows of `surely` for one question and part of the images, in their order."""
    return sure[(sure["part"] == part) & (sure["task"] == question.task)]


def thresholds(sure: pd.DataFrame, question: Question, unnamed: float) -> dict[str, float]:
    """Rule -> how sure an answer must be so that `unnamed` percent of the fitted images get none."""
    found = of_part(sure, "fit", question)
    return {rule: float(np.quantile(found[rule], unnamed / 100)) for rule in RULES}


def answers(session) -> Iterator[tuple[str, Question, np.ndarray, np.ndarray]]:
    """Every method's answers to the images that are counted.

    Yields
    ------
    method, question, labels (n,) object, probability (n,) of the class named
    """
    p, info, asked = session.parameters, session.info, session.asked
    kinds = kinds_of(p)
    scores = {q.task: asked.scores(q, asked.shown) for q in asked.questions}
    for q in asked.questions:
        yield UNCHANGED, q, *_top(scores[q.task], q.classes, info)
    if "projection" in kinds and can_move_vectors(session):
        yield from _projected(session, asked)
    for q in asked.questions:
        if "classes" in kinds and not q.labels:
            for name, prompts in added(session, q).items():
                more = similarities(asked.shown.matrix, class_weights(prompts, session.encode))
                both = np.hstack([scores[q.task], more])
                yield f"added: {name}", q, *_top(both, [*q.classes, *prompts], info)
        if "abstain" in kinds:
            label, prob = _top(scores[q.task], q.classes, info)
            sure = of_part(session.sure, "shown", q)
            for rule, least in thresholds(session.sure, q, p.unnamed).items():
                unsure = (sure[rule] < least).to_numpy()
                yield f"unnamed: {rule}", q, np.where(unsure, UNNAMED, label), prob
        if "prototypes" in kinds and q.labels and can_move_vectors(session):
            share = best_share(session.tried, q, p.shots)
            weights = prototypes(asked, q, k=p.shots, share=share, seed=p.seed)
            yield "prototypes", q, *_top(similarities(asked.shown.matrix, weights), q.classes, info)
        if "prior" in kinds:
            fitted = logits_of(asked.scores(q, asked.fit), info)
            shift = match_prior(fitted, prior_of(q, p.harm_prior))
            share = softmax(logits_of(scores[q.task], info) + shift)
            yield "prior matching", q, _named(q, share), kept(share.max(axis=1))


def _projected(session, asked: Asked):
    sides = names_in(session.parameters.sides)
    for kind, matrix in projections(session).items():
        images = project(asked.shown.matrix, matrix) if set(sides) - {"texts"} else None
        for q in asked.questions:
            texts = asked.texts[q.task]
            if vanishes(texts, matrix).any() or vanishes(texts, matrix.T).any():
                continue  # the words asked are the words taken out: nothing is left to decide by
            moved = project(texts, matrix)
            for side in sides:
                rows = asked.shown.matrix if side == "texts" else images
                found = similarities(rows, texts if side == "images" else moved)
                yield f"{kind}: {side}", q, *_top(found, q.classes, session.info)


def _top(similarity: np.ndarray, classes, info) -> tuple[np.ndarray, np.ndarray]:
    """The class named for each image, of equals the first, and its probability as predictions hold it."""
    best = similarity.argmax(axis=1)
    prob = np.take_along_axis(shares(similarity, info), best[:, None], axis=1)[:, 0]
    return np.asarray(list(classes), object)[best], kept(prob)


def as_predictions(session, found) -> pd.DataFrame:
    """`answers` as predictions, with the groups of their images."""
    table = _table(session.shown.image_id, found, session.templates.label)
    return session.with_groups(table)


def fit_predictions(session) -> pd.DataFrame:
    """The unchanged model's answers to the images that choices are fitted on, with their groups."""
    asked = session.asked
    found = [
        (UNCHANGED, q, *_top(asked.scores(q, asked.fit), q.classes, session.info))
        for q in asked.questions
    ]
    table = _table(asked.fit.image_id, found, session.templates.label)
    groups = asked.fit.people[["image_id", *session.images.attrs["groups"]]]
    return table.merge(groups, on="image_id", how="left", validate="many_to_one")


def _table(image_id: np.ndarray, found, templates: str) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "image_id": image_id,
                "task": q.task,
                "method": method,
                "class_set": q.class_set.label,
                "templates": templates,
                "rank": np.int32(1),
                "label": label,
                "prob": prob,
            }
        )
        for method, q, label, prob in found
    ]
    table = pd.concat(frames, ignore_index=True)
    for column in ("task", "method", "class_set", "templates", "label"):
        table[column] = pd.Categorical(table[column], categories=table[column].unique())
    return table

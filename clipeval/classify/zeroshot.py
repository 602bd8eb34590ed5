"""Zero-shot classification: prompts to classifier weights to probabilities to tidy predictions."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping

import numpy as np
import pandas as pd

from clipeval.errors import ClassSetError, DataError

#: columns of an answer; what else predictions hold are groups of their images
ANSWER = ("image_id", "task", "method", "class_set", "templates", "rank", "label", "prob")
CHUNK = 4096  # images scored at once, so that memory does not grow with their number


def class_weights(
    prompts: Mapping[str, list[str]], encode: Callable[[list[str]], np.ndarray]
) -> np.ndarray:
    """Classifier weights: each class's prompt embeddings averaged and normalised again.

    Parameters
    ----------
    prompts : mapping of class to its prompts
    encode : callable
        Texts -> (n, d) float32 unit rows.

    Returns
    -------
    ndarray (classes, d), float32, unit rows (arXiv 2103.00020, section 3.1.4)
    """
    flat = [prompt for texts in prompts.values() for prompt in texts]
    rows = np.asarray(encode(flat), dtype=np.float32)
    starts = np.cumsum([0, *(len(texts) for texts in prompts.values())][:-1])
    sizes = np.array([len(texts) for texts in prompts.values()], dtype=np.float32)
    if (sizes == 1).all():
        return rows
    mean = np.add.reduceat(rows, starts, axis=0) / sizes[:, None]
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def refuse_one_text(
    prompts: Mapping[str, list[str]], signs: Mapping[str, Hashable], name: str
) -> None:
    """Refuse classes that a model cannot tell apart, so that their order would decide.

    Some of the prompts of two classes may coincide; all of them, in whatever order, may not.

    Parameters
    ----------
    prompts : mapping of class to its prompts, on offer together
    signs : mapping of prompt to what it is to the model: its tokens, or its vector
    name : whose classes they are

    Raises
    ------
    ClassSetError  naming the first two such classes
    """
    seen: dict[Hashable, str] = {}
    for label, texts in prompts.items():
        is_to_model = frozenset(Counter(signs[text] for text in texts).items())
        if (other := seen.setdefault(is_to_model, label)) != label:
            raise ClassSetError(
                f'{name}: "{other}" and "{label}" are one text to this model\'s tokenizer '
                f'("{prompts[other][0]}", "{texts[0]}"), so their order would decide; keep one of '
                "them."
            )


def similarities(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cosine of each image and class: ndarray (n, k), float64.

    In float64, as a float32 product differs in its last digits with the number of threads and of images.

    Parameters
    ----------
    images : ndarray (n, d), float32, unit rows
    weights : ndarray (k, d), float32, unit rows
    """
    return np.asarray(images, np.float64) @ np.asarray(weights, np.float64).T


def shares(similarity: np.ndarray, info) -> np.ndarray:
    """Probability of each class for each image, with the model's own scale, bias and score.

    Parameters
    ----------
    similarity : ndarray (n, k), as `similarities` returns it
    info : ModelInfo
        `logit_scale`, `logit_bias` and `score`: "softmax" over the classes, or "sigmoid" of each; of
        answers made elsewhere also "given" (the similarities are probabilities), "label, given" (of
        the top class alone) or "label" (no probability is known: nan).

    Returns
    -------
    ndarray (n, k), float64, fractions
    """
    if info.score.startswith("label") and (similarity.max(axis=1) <= 0).any():
        raise DataError(
            f"{int((similarity.max(axis=1) <= 0).sum()):,} images were given a class that is not on "
            "offer here, and their answer among these classes is unknown; offer every class that was "
            "given."
        )
    if info.score == "label":
        return np.full(similarity.shape, np.nan)
    if info.score.endswith("given"):
        return np.asarray(similarity, np.float64)
    logits = similarity * info.logit_scale + (info.logit_bias or 0.0)
    if info.score == "sigmoid":
        return np.exp(-np.logaddexp(0.0, -logits))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def kept(prob: np.ndarray) -> np.ndarray:
    """Probabilities as predictions hold them: to float32's seven digits, the same on every machine."""
    return prob.astype(np.float32).astype(np.float64)


def rank_classes(images, weights, info, top: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The `top` best classes of each image (all, if None): places (n, top) int, probabilities (n, top) float64.

    Of equals, the class named first comes first. Parameters as in `similarities` and `shares`.
    """
    top = min(top or len(weights), len(weights))
    weights = np.asarray(weights, np.float64)  # once, and not for every chunk
    best = np.empty((len(images), top), dtype=np.int32)
    prob = np.empty((len(images), top), dtype=np.float64)
    for start in range(0, len(images), CHUNK):
        similarity = similarities(images[start : start + CHUNK], weights)
        # by similarity: probabilities near 0 and 1 run together
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :top]
        best[start : start + CHUNK] = order
        share = shares(similarity, info)
        prob[start : start + CHUNK] = kept(np.take_along_axis(share, order, axis=1))
    return best, prob


def predict(
    image_ids,
    images: np.ndarray,
    prompts: Mapping[str, list[str]],
    encode: Callable[[list[str]], np.ndarray],
    info,
    *,
    task: str,
    class_set: str,
    templates: str,
    top: int | None = 1,
) -> pd.DataFrame:
    """Tidy zero-shot predictions.

    Parameters
    ----------
    image_ids : sequence of n str
    images : ndarray (n, d), float32, unit rows, in the order of `image_ids`
    prompts : mapping of class to its prompts
    top : int or None
        How many classes to keep for each image, best first; None keeps all.

    Returns
    -------
    DataFrame
        image_id, task, method, class_set, templates, rank (1 = top), label (categorical), prob (0-1).
    """
    best, prob = rank_classes(images, class_weights(prompts, encode), info, top)
    said = {"task": task, "method": "zero-shot", "class_set": class_set, "templates": templates}
    return tidy(image_ids, best, prob, list(prompts), said)


def tidy(image_ids, best: np.ndarray, prob: np.ndarray, classes: list[str], said: Mapping):
    """Answers (n, top) of n images in the form of predictions.

    Parameters
    ----------
    best : places in `classes`, best first, and `prob` the fraction of each
    said : task, method, class_set and templates
    """
    n, top = best.shape
    same = np.zeros(n * top, dtype=int)
    return pd.DataFrame(
        {
            "image_id": np.repeat(np.asarray(image_ids, dtype=object), top),
            **{name: pd.Categorical.from_codes(same, [value]) for name, value in said.items()},
            "rank": np.tile(np.arange(1, top + 1, dtype=np.int32), n),
            "label": pd.Categorical.from_codes(best.ravel(), classes),
            "prob": prob.ravel(),
        }
    )

"""The package in five functions: images, a model, vectors, answers, rates; and a finished run.

`embed` and `predict` keep what they computed in the store of embeddings, so that the next call, and the
next study, opens no image that was seen before. Everything they return is a pandas DataFrame, but for
`Vectors`, which holds one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError

#: between the names of categories, where a class is in several
_AND = " and "


@dataclass(frozen=True)
class Vectors:
    """Image embeddings and the images they belong to, as `embed` returns them."""

    images: pd.DataFrame
    """Rows of the images table that could be read, in the order of `matrix`."""
    matrix: np.ndarray
    """(n, d) float32, rows of length 1."""
    unreadable: pd.DataFrame
    """image_id, file, reason of the images that could not be read."""

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, rows) -> "Vectors":
        """Those of some images: a slice, positions or a mask, such as `vectors[:10]`."""
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        try:
            matrix, images = self.matrix[rows], self.images.iloc[rows].reset_index(drop=True)
        except (IndexError, TypeError, ValueError):
            matrix = np.empty(0)
        if matrix.ndim != 2:
            raise ParameterError(
                f"vectors of {len(self):,} images take a slice, positions or a mask, such as vectors[:10]; one row is "
                "vectors.matrix[0], and columns are those of vectors.images."
            )
        images.attrs = dict(self.images.attrs)
        return Vectors(images, matrix, self.unreadable)


_MODEL, _A_MODEL = ("info", "encode_images"), "a model, as load_model returns it"


def _need(value: object, parts: Sequence[str], what: str) -> None:
    if not all(hasattr(value, part) for part in parts):
        raise ParameterError(f"a {type(value).__name__} stands where {what}, is needed; pass that.")


def embed(images: pd.DataFrame, model, *, store: str | Path = "", progress: bool = True) -> Vectors:
    """Embed images, once: what the store holds is not computed again, and its files are not opened.

    Parameters
    ----------
    images : DataFrame
        Images table, as `load_dataset` returns it: image_id, file, group columns.
    model : Model, as `load_model` returns it
    store : folder of the store of embeddings; by default the one that all studies use
    progress : show a progress bar

    Returns
    -------
    Vectors

    Raises
    ------
    DataError  if no image at all could be read
    ParameterError  if `images` or `model` is something else
    """
    from clipeval.embedding.embed import embed_images

    _need(images, ("columns", "attrs"), "an images table, as load_dataset returns it")
    _need(model, _MODEL, _A_MODEL)
    if missing := [name for name in ("image_id", "file") if name not in images]:
        raise ParameterError(
            f"the images table has no column {missing[0]}; pass on what load_dataset returned."
        )
    from clipeval.embedding.store import Store

    found = embed_images(
        images,
        info=model.info,
        get_model=lambda: model,
        store=Store(store),
        progress=progress,
    )
    read = images.set_index("image_id", drop=False).loc[found.image_id].reset_index(drop=True)
    read.attrs = dict(images.attrs)
    return Vectors(read, found.matrix, found.unreadable)


def predict(
    vectors: Vectors,
    model,
    class_set,
    *,
    templates="photo",
    task: str | None = None,
    top: int | None = 1,
    store: str | Path = "",
) -> pd.DataFrame:
    """Zero-shot answers: the classes whose prompts are nearest to each image.

    Parameters
    ----------
    vectors : Vectors, as `embed` returns them
    model : Model that embedded them
    class_set, templates : a name, NAME:VARIANT or FILE.yaml, or the object; classes also as a list of
        texts, or a dict of names to texts
    task : task of the class set; may be left out where it has one, or one that offers the classes of all
        its categories
    top : classes kept for each image, best first; None keeps all

    Returns
    -------
    DataFrame
        One row an image and rank: image_id, task, method, class_set, templates, rank (1 = top),
        label, prob (fraction), category (of the class; "" for none), and the images' groups.

    Raises
    ------
    ClassSetError  if there is no such class set, template or task, a prompt is too long for the
        model, or two classes are one text to it
    """
    from clipeval.classify import zeroshot
    from clipeval.classify.class_sets import (
        class_set_of,
        load_class_set,
        load_templates,
        prompts_for,
    )
    from clipeval.embedding.embed import embed_texts_and_tokens
    from clipeval.embedding.store import Store

    _need(vectors, ("images", "matrix"), "vectors, as embed returns them")
    _need(model, _MODEL, _A_MODEL)
    if isinstance(class_set, list | tuple | dict):
        named = class_set if isinstance(class_set, dict) else list(class_set)
        class_set = class_set_of("own classes", {"own classes": named})
    class_set, templates = load_class_set(class_set), load_templates(templates)
    task = class_set.named_task(task)
    prompts = prompts_for(class_set, templates, task)
    flat = [text for texts in prompts.values() for text in texts]
    how = {"info": model.info, "get_model": lambda: model, "store": Store(store)}
    rows, tokens = embed_texts_and_tokens(flat, **how)
    signs = tokens if all(tokens) else [row.tobytes() for row in rows]
    signs = dict(zip(flat, signs, strict=True))
    zeroshot.refuse_one_text(prompts, signs, f"class set {class_set.spec}")
    answers = zeroshot.predict(
        vectors.images["image_id"],
        vectors.matrix,
        prompts,
        lambda texts: rows,  # of these same prompts
        model.info,
        task=task,
        class_set=class_set.label,
        templates=templates.label,
        top=top,
    )
    # a category without a class on offer could be given to no image: it has no rate, rather than one of 0
    offered = {n: [c for c in m if c in prompts] for n, m in class_set.categories.items()}
    offered = {n: members for n, members in offered.items() if members}
    of = {label: [n for n, m in offered.items() if label in m] for label in prompts}
    answers["category"] = answers["label"].astype(object).map(lambda label: _AND.join(of[label]))
    groups = vectors.images[["image_id", *vectors.images.attrs.get("groups", [])]]
    answers = answers.merge(groups, on="image_id", how="left", validate="many_to_one")
    answers.attrs = {"categories": offered}
    return answers


def group_rates(
    answers: pd.DataFrame,
    category: str,
    *,
    by: str | Sequence[str] | None = (),
    clusters: str | pd.Series | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Percent of the images of each group whose top class is in a category, or is that class.

    The rate is images called so in the group / images in the group.

    Parameters
    ----------
    answers : DataFrame, as `predict` returns them; rows with rank 1 are used
    category : a category of the class set, or one of its classes
    by : grouping columns; none for all images together
    clusters : what images of one person, place or session share, where there are several: a column of
        the answers, or a Series of them by image_id
    confidence : float in (0, 1), of the interval

    Returns
    -------
    DataFrame
        The grouping columns, n, count, metric (`category`), percent, ci_low, ci_high (Wilson, percent: as
        if images were independent); with `clusters` also clusters (number), cluster_low, cluster_high
        (percent: a bootstrap over clusters, to be cited in place of Wilson's) and few_clusters (bool).

    Raises
    ------
    ParameterError  if no class or category is called so, or a column is missing
    DataError  if an image has several answers, or no cluster

    Examples
    --------
    >>> group_rates(answers, "crime-related", by="race")  # doctest: +SKIP
    >>> people = images.set_index("image_id")["person"]  # doctest: +SKIP
    >>> group_rates(answers, "crime-related", by="race", clusters=people)  # doctest: +SKIP
    """
    from clipeval import stats
    from clipeval.stats.rates import HIT

    by = [by] if isinstance(by, str) else list(() if by is None else by)
    named = [*by, clusters] if isinstance(clusters, str) else by
    _need(answers, ("columns", "attrs"), "a table of answers, as predict returns it")
    if missing := [name for name in ("image_id", "rank", "label") if name not in answers]:
        raise ParameterError(
            f"the answers have no column {missing[0]}; pass on what predict returned."
        )
    if missing := [name for name in named if name not in answers]:
        raise ParameterError(
            f'the answers have no column "{missing[0]}" to group by; they have {", ".join(answers)}.'
        )
    top = answers[answers["rank"] == 1]
    if (twice := top["image_id"].duplicated()).any():
        raise DataError(
            f'image "{top["image_id"][twice].iloc[0]}" has several top answers, and would count several '
            'times; keep those of one task and model, such as answers[answers["task"] == "race"].'
        )
    classes = list(top["label"].astype("category").cat.categories)
    said = top["category"].unique() if "category" in top else []  # a run folder's answers have none
    categories = sorted({n for text in said for n in text.split(_AND) if n})
    known = {**{label: [label] for label in classes}, **answers.attrs.get("categories", {})}
    known |= {n: None for n in categories if n not in known}
    if category not in known:
        raise ParameterError(
            f'no class or category is called "{category}"; there are {", ".join(known)}.'
        )
    members = known[category]
    if (
        members is None
    ):  # the categories were lost on the way, as some operations of pandas lose them
        hit = [category in text.split(_AND) for text in top["category"]]
    else:
        hit = top["label"].isin(members).to_numpy(bool)
    how = {"by": by, "metric": category, "confidence": confidence}
    if clusters is None:
        return stats.group_rates(top[by].assign(**{HIT: hit}), HIT, **how)
    own = isinstance(clusters, str)
    name = clusters if own else getattr(clusters, "name", None) or "clusters"
    of = top[clusters] if own else top["image_id"].map(clusters)
    frame = top[by].assign(**{HIT: hit, name: of})
    return stats.cluster_rates(frame, HIT, clusters=name, **how)

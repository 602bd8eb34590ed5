"""Every image's score for every prompt: what the tables of retrieval are made from."""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import (
    ClassSet,
    Templates,
    load_class_set,
    load_templates,
    prompts_for,
)
from clipeval.classify.zeroshot import similarities
from clipeval.errors import DataError, ParameterError
from clipeval.output.markup import markdown
from clipeval.session.parameters import whole_numbers
from clipeval.session.session import Session
from clipeval.stats import nearest
from clipeval.stats.skew import Ties, taken_at

#: k that are reported where none are asked for; those larger than the images are left out
DEFAULT_K = "10,30,100,300,1000"


@dataclass(frozen=True)
class Words:
    """One class set and the templates that its words are put into."""

    role: str
    """The parameter that names it: class_set, or other."""
    class_set: ClassSet
    templates: Templates

    @property
    def offers(self) -> list[tuple[str, dict[str, list[str]]]]:
        """For each task whose words, and each word's prompts."""
        name = f"class set {self.class_set.spec}"
        sets = self.class_set, self.templates
        return [(name, prompts_for(*sets, task)) for task in self.class_set.tasks]

    @property
    def texts(self) -> dict[str, list[str]]:
        """Word -> its prompts, of all tasks."""
        return {word: texts for _, classes in self.offers for word, texts in classes.items()}


def words_asked(session) -> tuple[list[Words], list[str]]:
    """The class sets that are searched for, and a sentence for each that cannot be."""
    p, known = session.parameters, session.source.known
    wording = load_templates(p.other_templates)
    if known and not known.is_known:  # answers made elsewhere are worded in one way
        wording = session.templates
    found, left_out = [Words("class_set", session.class_set, session.templates)], []
    if p.other:
        other = Words("other", load_class_set(p.other), wording)
        if all(session.source.answers({word: texts}) for word, texts in other.texts.items()):
            found.append(other)
        else:
            left_out.append(
                f"There are no answers for all words of {other.class_set.spec}, so neither their nearest "
                "images nor the preference between two groups is reported."
            )
    return found, left_out


def ks_of(k: str, n: int) -> list[int]:
    """The numbers of images to count as found, rising.

    Those of the default that exceed the number of images are left out (all images, if that leaves
    none); any that the user asked for is refused.

    Parameters
    ----------
    k : whole numbers and "all", comma-separated
    n : int, images

    Raises
    ------
    ParameterError  if it is no such list, or a number is not from 1 to n
    """
    asked = whole_numbers("k", k, example="10,100,all", all=n)
    fit = [x for x in asked if 1 <= x <= n]
    if k == DEFAULT_K:
        return fit or [n]
    if wrong := [x for x in asked if x not in fit]:
        raise ParameterError(
            f"k asks for the {wrong[0]:,} nearest of {n:,} images; name numbers from 1 to {n:,}, or all."
        )
    return fit


def balanced(values: pd.Series, seed: int) -> np.ndarray:
    """Places of a seeded sample with as many images of every group, in their order."""
    rng, codes = np.random.default_rng([seed, 5]), pd.factorize(values)[0]
    least = np.bincount(codes).min()
    picked = [rng.permutation(np.flatnonzero(codes == g))[:least] for g in range(codes.max() + 1)]
    return np.sort(np.concatenate(picked))


@dataclass(frozen=True)
class Search:
    """Scores of n images for all prompts of one class set.

    Attributes
    ----------
    words : Words
    images : DataFrame (n rows), image_id and group columns
    scores : float64 array (prompts, n), one word's prompts after the other's, in the order of the templates
    """

    words: Words
    images: pd.DataFrame
    scores: np.ndarray

    @functools.cached_property
    def labels(self) -> list[str]:
        """The words, in order."""
        return list(self.words.texts)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of words and of templates."""
        return len(self.labels), len(self.words.templates.templates)

    @functools.cached_property
    def order(self) -> np.ndarray:
        """Images in falling order of score, for each prompt: (prompts, n)."""
        return nearest(self.scores)

    def taken(self, ks, ties: Ties) -> np.ndarray:
        """Images that count as found at each k for each prompt: (len(ks), prompts)."""
        return taken_at(self.scores, self.order, ks, ties)

    @functools.cached_property
    def concepts(self) -> np.ndarray:
        """Mean score of each word over its templates: (words, n)."""
        return self.scores.reshape(*self.shape, -1).mean(axis=1)

    @functools.cached_property
    def by_concept(self) -> np.ndarray:
        """Images in falling order of the mean score of each word: (words, n)."""
        return nearest(self.concepts)

    def groups(self, column: str) -> tuple[np.ndarray, list]:
        """Group of each image as a code, and the groups in order."""
        values = self.images[column].astype("category").cat.remove_unused_categories()
        return values.cat.codes.to_numpy(np.int8), list(values.cat.categories)


def search(session, words: Words, *, normalise: bool | None = None, balance: str | None = None):
    """Score every image for every prompt of `words`.

    Parameters
    ----------
    session : Session of the study
    normalise, balance : as the parameters of the study, and by default these

    Returns
    -------
    Search
    """
    p = session.parameters
    normalise = p.normalise if normalise is None else normalise
    balance = p.balance if balance is None else balance
    prompts = [text for texts in words.texts.values() for text in texts]

    def asked() -> pd.DataFrame:
        scores = similarities(session.encode(prompts), session.embed().matrix)
        scores = scores if normalise else scores * lengths(session)
        return pd.DataFrame(scores.T, columns=[str(i) for i in range(len(prompts))])

    name = f"scores {words.role}" + (" not normalised" * (not normalise))
    key = [session.info.fingerprint, session.data_hash, prompts, normalise]
    scores = session.answers(name, key, asked).to_numpy().T
    images = session.with_groups(pd.DataFrame({"image_id": session.embed().image_id}))
    if balance:
        kept = balanced(images[balance], p.seed)
        images, scores = images.iloc[kept].reset_index(drop=True), scores[:, kept]
    return Search(words, images, np.ascontiguousarray(scores))


def lengths(session) -> np.ndarray:
    """Length of each image's vector before it was brought to length 1: (n,)."""
    one, length = session.embed(features="length").matrix.T.astype(np.float64)
    return length / one


class SearchSession(Session):
    """A session that scores images once for all its tables."""

    @functools.cached_property
    def asked(self) -> tuple[list[Words], list[str]]:
        """See `words_asked`."""
        return words_asked(self)

    @functools.cached_property
    def searches(self) -> dict[str, Search]:
        """Class set or other -> its `Search`."""
        return {words.role: search(self, words) for words in self.asked[0]}

    @property
    def ks(self) -> list[int]:
        """The k that are reported."""
        return ks_of(self.parameters.k, self._n)

    @property
    def found_k(self) -> int:
        """The k of whom each word finds."""
        return min(self.parameters.found_k, self._n)

    @property
    def _n(self) -> int:
        """Images that are searched; before they are embedded, those that there are."""
        if "searches" in vars(self):
            return len(self.searches["class_set"].images)
        balance = self.parameters.balance
        if not balance:
            return len(self.images)
        counts = self.with_groups(self.images[["image_id"]])[balance].value_counts()
        counts = counts[counts > 0]
        return int(len(counts) * counts.min())

    compared = "of the nearest images"

    def differing(self, predictions: pd.DataFrame, exact: pd.DataFrame) -> str:
        """How many of the nearest images differ from those with fp32."""
        k, keys = self.found_k, ["image_id", "task", "label"]
        near = [t.loc[t["rank"] <= k, keys].astype(str) for t in (predictions, exact)]
        same = len(near[0].merge(near[1], on=keys))
        return markdown(
            "**{n:,} of {all:,} images among the {k:,} nearest ({share:.2g} %) are not so with fp32.**",
            n=len(near[0]) - same,
            all=len(near[0]),
            k=k,
            share=100 * (1 - same / len(near[0])),
        )


def check_column(session, column: str, parameter: str) -> None:
    """DataError where a parameter names a group column that the images do not have."""
    if column not in (have := session.images.attrs["groups"]):
        raise DataError(
            f"{parameter}={column} is not a group column of {session.images.attrs['name']} (it has "
            f"{', '.join(have) or 'none'}); name one of these, or leave {parameter} empty."
        )

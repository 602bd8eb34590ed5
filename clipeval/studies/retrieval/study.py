"""Retrieval: whose photographs lie nearest to a word (MaxSkew@k, NDKL; arXiv 1905.01989, 2203.11933)."""

from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from clipeval.errors import DataError, ModelError, ParameterError
from clipeval.session import parameters
from clipeval.session.parameters import names_in
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.stats.bootstrap import MIN_DRAWS
from clipeval.studies.outcomes import ALL, by_groups
from clipeval.studies.retrieval import preference
from clipeval.studies.retrieval.card import CARD
from clipeval.studies.retrieval.search import DEFAULT_K, SearchSession, check_column, ks_of
from clipeval.studies.retrieval.tables import (
    headline_k,
    headlines,
    nearest_images,
    without_chance,
)
from clipeval.studies.sentences import listed, rate


class Parameters(parameters.Parameters):
    """Parameters of the retrieval study."""

    decides: ClassVar = ("seed", "k", "found_k", "shown", "normalise", "balance")
    class_sets: ClassVar = ("class_set", "other")

    class_set: str = Field("berg2022", description="class set whose words are searched for")
    templates: str = Field(
        "berg2022", description="its prompt templates; each word is put into each"
    )
    other: str = Field(
        "occupations",
        description="class set with names of occupations or objects; empty for none",
    )
    other_templates: str = Field("article", description="prompt templates of other")
    k: str = Field(
        DEFAULT_K, description="how many images count as found, comma-separated; all for all"
    )
    found_k: int = Field(100, gt=0, description="how many, where the share of each group is shown")
    shown: str = Field(
        "criminal,smart,nurse", description="words that the figures show, comma-separated"
    )
    between: str = Field(
        "gender", description="group column whose two groups representation bias compares"
    )
    normalise: bool = Field(
        True, description="False for image vectors as long as the model makes them"
    )
    floor: bool = Field(
        False, description="count a group that is not found as if 1/k of the images were its"
    )
    ties: Literal["stable", "kept"] = Field(
        "stable", description="exactly k images, or all with the score of the kth (kept)"
    )
    balance: str = Field(
        "",
        description="group column of which as many images of each group are drawn; empty for all images",
    )
    draws: int = Field(
        60, ge=MIN_DRAWS, description="draws of each bootstrap over images and of each shuffle"
    )
    padding: parameters.Padding = parameters.PADDING


class Retrieval(Study):
    """Retrieval: whose photographs lie nearest to a word (MaxSkew@k, NDKL; arXiv 1905.01989, 2203.11933)."""

    id = "retrieval"
    title = "Retrieval"
    notebook = "10_retrieval"
    question = "Whose photographs does a search for a word find?"
    figure = "by_gender"
    Parameters = Parameters
    Session = SearchSession
    data_of_paper = "fairface"
    usual_groups = ("gender", "race", "age")
    deck = "retrieval"
    card = CARD
    choices = ("k",)
    words_alone: ClassVar = {"other": ""}
    every_class = True

    def about(self, session) -> dict:
        """What captions say beside the usual: the rules of the ranking."""
        p = session.parameters
        said = [f"k {', '.join(f'{k:,}' for k in session.ks)}", f"seed {p.seed}"]
        said += ["image vectors not normalised"] * (not p.normalise)
        said += ["floor of 1/k"] * p.floor + ["ties kept"] * (p.ties == "kept")
        said += [f"as many images of each {p.balance}"] * bool(p.balance)
        said += [f"with {words.class_set.label}" for words in session.asked[0][1:]]
        return {"choices": tuple(said)}

    def check(self, session) -> str:
        """Errors of `groupings_of`, `ks_of`, `words_asked` and `preference.pair`.

        Raises
        ------
        ParameterError  if there are fewer images than `found_k` asks for
        DataError  if `balance` names no group column, there is none, or one is called like ours
        """
        p, n = session.parameters, len(session.images)
        names = session.groupings.names
        if not names:
            raise DataError(
                f"{session.images.attrs['name']} has no group column, and retrieval asks which group is found; "
                "name one in groups."
            )
        if not p.normalise and (known := session.source.known) and not known.is_known:
            raise ModelError(
                f"normalise=false multiplies scores by the lengths of image vectors, and of {known.name} there are "
                "only answers made elsewhere; leave normalise true."
            )
        if own := [name for name in names if name in ("word", "words")]:
            raise DataError(
                f"a group column is called {own[0]}, a name of this study's tables; rename it."
            )
        if p.balance:
            check_column(session, p.balance, "balance")
        if p.found_k > n and p.found_k != type(p).model_fields["found_k"].default:
            raise ParameterError(
                f"found_k asks for the {p.found_k:,} nearest of {n:,} images; name a number from 1 to {n:,}."
            )
        preference.pair(session)
        prompts = sum(len(texts) for words in session.asked[0] for texts in words.texts.values())
        ks = ", ".join(f"{k:,}" for k in session.ks)
        return f"{prompts:,} prompts, the {ks} nearest of {n:,} images."

    def rivals(self, session) -> list[tuple[str, dict]]:
        """The words of each class set."""
        return [offer for words in session.asked[0] for offer in words.offers]

    def embeds(self, session) -> list[tuple[pd.DataFrame, str]]:
        """The images, and the lengths of their vectors where these are not normalised."""
        more = [] if session.parameters.normalise else [(session.images, "length")]
        return [(session.images, "projected"), *more]

    def left_out(self, session) -> list[str]:
        """Also words without answers, a preference without two groups, and k larger than the images."""
        lost = [k for k in ks_of(DEFAULT_K, 10**9) if k not in session.ks]
        asked = session.parameters.k == DEFAULT_K and lost
        said = (
            [f"There is no k of {listed([f'{k:,}' for k in lost])}, as there are fewer images."]
            if asked
            else []
        )
        return [*super().left_out(session), *session.asked[1], *preference.left_out(session), *said]

    def comparable(self, values) -> bool:
        """Also the words, the crop and the choices must be those of Berg et al.; test cards replay nothing."""
        known = {
            "dataset": "fairface",
            "padding": "1.25",
            "class_set": "berg2022",
            "templates": "berg2022",
        }
        known |= {"normalise": False, "floor": True, "ties": "kept", "balance": "gender"}
        return all(values.get(name) == value for name, value in known.items())

    def predict(self, session) -> pd.DataFrame:
        """The images nearest to each word; see `nearest_images`."""
        for words in session.asked[0]:
            for task in words.class_set.tasks:
                texts = {word: words.texts[word] for word in words.class_set.tasks[task]}
                session.note_prompts(task, words.class_set, words.templates, texts)
        return nearest_images(session)

    def planted(self, session) -> None:
        """None in the form of predictions: the tables read from the deck what was planted."""
        return None

    def finding(self, tables) -> list[str]:
        """MaxSkew at the k nearest to 100 by each grouping, beside what shuffled groups give; the preference."""
        table = tables["skew"]
        table = table[table["words"] == table["words"].iloc[0]]
        k = headline_k(table)
        at = (table["k"] == k) & (table["metric"] == "MaxSkew") & (table["target"] == "data")
        rows = table[at].to_dict("records")
        said = [f"{rate(row)} by {row['grouping']} (shuffled: {row['chance']:.3f})" for row in rows]
        found = [f"MaxSkew@{k:,} of a search is {listed(said)}."]
        if "preference" in tables:
            row = tables["preference"].iloc[0].to_dict()
            found.append(f"Names of {row['words']}: {row['metric']} in {rate(row)} of pairs.")
        return found

    def measures(self, tables) -> pd.DataFrame:
        """MaxSkew and NDKL by every grouping and at every k, against the data set's own shares."""
        return headlines(tables["skew"]) if "skew" in tables else pd.DataFrame()

    def measured(self, session) -> dict[str, pd.DataFrame]:
        """The table of skews; shares found are k of all images for any words, and say nothing."""
        return {"skew": without_chance(session)}

    def methods(self, record: StudyRecord) -> list[str]:
        """How images are ranked, what is measured of the ranking, and what chance makes of it."""
        p = Parameters.model_validate(record.parameters)
        by = (
            "cosine similarity"
            if p.normalise
            else "dot product with image vectors that were not normalised"
        )
        by = by if record.model.is_known else "the scores given"
        floor = ", a group that was not found counting as one image" * p.floor
        balance = f"As many images of each {p.balance} were drawn. " * bool(p.balance)
        ties = "; images tied with the last of the k were kept" * (p.ties == "kept")
        return [
            f"{balance}For every word in every template, images were ranked by {by}{ties}.",
            "MaxSkew@k is the largest logarithm, over groups, of the ratio of a group's share of the k nearest images "
            f"to its target share{floor}; NDKL is the Kullback-Leibler divergence of the shares among the first i "
            "images from the target shares, averaged over i with a logarithmic discount. Both are means over prompts.",
            f"Chance values are medians over {p.draws:,} random permutations of the images' groups; bootstrap "
            "intervals over images are of as many samples.",
        ]

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Images of each group that are found for the words that are shown; see `clipeval.studies.headlines`."""
        p = Parameters.model_validate(record.parameters)
        words = names_in(p.shown)
        rows = predictions[predictions["label"].isin(words)]
        k = min(p.found_k, int(rows["rank"].max()))
        quantities = [f"found for {word} ({k:,} nearest)" for word in rows["label"]]
        rows = rows.assign(quantity=quantities, hit=rows["rank"] <= k)
        # a word of both class sets counts as that of `class_set`, whose rows are first
        rows = rows.drop_duplicates(["image_id", "label"])
        rows = by_groups(rows, predictions, self, record, "gender")
        rows = rows[rows["images_of"] != ALL]  # k of all images, whatever the model
        return rows.assign(method="zero-shot")[
            ["image_id", "quantity", "method", "images_of", "task", "hit"]
        ]


study = Retrieval()

"""What a study is: everything that another part may ask of one, each with its default.

A study is a folder with a module that holds one instance of a subclass, called `study`, a notebook,
and the class sets that it names. Nothing else has to be edited: commands, checks, comparison, packs,
the card and the sensitivity study ask these hooks and no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from clipeval.classify.class_sets import flat_prompts, task_prompts
from clipeval.paths import NOTEBOOKS
from clipeval.session.parameters import Parameters
from clipeval.session.record import StudyRecord
from clipeval.session.session import Session
from clipeval.session.summary import SummarySession


def literal(name: str) -> str:
    """A name of the user's as it stands in the words of a `Line`, braces included."""
    return name.replace("{", "{{").replace("}", "}}")


def highest(record: StudyRecord, of: str = "class") -> str:
    """The class, caption or name that an image is given, in the words of a methods section."""
    model = record.model
    if model is None or model.is_known:
        return f"the {of} whose embedding had the highest cosine similarity to its own"
    if model.has_top_alone:
        return f"the {of} that the answers name"
    return f"the {of} with the highest of the scores given"


def top_class(record: StudyRecord) -> str:
    """The rule of zero-shot classification as a sentence; see `Study.methods`."""
    text = f"Each image was assigned {highest(record)}"
    if record.model is None or record.model.is_known:
        text += "; the embedding of a class is the mean of the embeddings of its prompts, normalised again"
    return f"{text}."


@dataclass(frozen=True)
class Line:
    """One line of the characterization card: rows of one of the study's tables."""

    table: str
    """Id of the table."""
    quantity: str
    """What the line is called; `{column}` is replaced by the row's value, `{of}` by that of the column `of`."""
    where: Mapping[str, object] = field(default_factory=dict)
    """Values that columns of the rows have: one, a tuple of several, or a rule (callable)."""
    pick: Literal["", "highest", "lowest", "label"] = ""
    """"" for every such row, "highest" or "lowest" for the one with the extreme percent, "label" for
    the rows of the label with the largest chi-squared."""
    each: str = ""
    """Column within whose values it is picked."""
    among: tuple[str, tuple[str, ...], Mapping[str, object]] | None = None
    """For a table that holds picked rows only: the table that they were picked from, the columns that
    tell its candidates apart, and values of its rows, as in `where`."""
    of: str = ""
    """A group column of the user's, whose value stands for `{of}`: its name may hold what `{column}` cannot."""
    last: int = 0
    """Only so many rows, the last ones."""
    varied: str = ""
    """Its headline quantity, whose range over class sets and templates is shown beside it."""
    none: str = ""
    """What is said where there is no such row; "" says nothing."""


@dataclass(frozen=True)
class Part:
    """A part of the characterization card; parts of one name, from several studies, are one part."""

    name: str
    """Heading, such as "Harm rates"."""
    lines: tuple[Line, ...] | Callable[[Mapping[str, pd.DataFrame]], Sequence[Line]]
    """What it shows; or what returns it for the study's tables by id, where groups decide which tables there are."""
    not_shown: str = ""
    """A sentence on what it does not show."""
    compared: str = ""
    """What its published values were measured on: another model, or other images."""


class Study:
    """A study of a model on images.

    A subclass sets the first attributes and writes `predict`; every other hook has a default.
    """

    id: ClassVar[str]
    """Name in commands, folders and file names: small letters, digits and _."""
    title: ClassVar[str]
    """Heading of its report."""
    question: ClassVar[str]
    """What it asks, as one sentence with a question mark."""
    notebook: ClassVar[str]
    """Name of its notebook without `.ipynb`; studies are listed and run in the order of these."""
    Parameters: ClassVar[type[Parameters]] = Parameters
    """Its parameters: `clipeval.session.parameters.Parameters` or a subclass of it."""
    data_of_paper: ClassVar[str] = ""
    """Data set that its published numbers were measured on; "" where there are none, or any will do."""
    usual_groups: ClassVar[tuple[str, ...]] = ()
    """Group columns that it reports on that data set unless others are asked for; () for all."""
    deck: ClassVar[str] = ""
    """Name of the test cards that it reads by default (see `clipeval.testcards.DECKS`); "" for none."""
    card: ClassVar[tuple[Part, ...]] = ()
    """What the characterization card shows of its tables."""
    figure: ClassVar[str] = ""
    """Id of the figure that its page opens with; "" for the first."""
    without_words: ClassVar[Mapping | None] = None
    """Parameters with which it runs on a model that has no text encoder; None if it cannot."""
    words_alone: ClassVar[Mapping] = {}
    """Parameters with which it asks no more than what words can change."""
    choices: ClassVar[tuple[str, ...]] = ()
    """Columns of `measures` that are choices as words are, such as the k of a search."""
    words_of_data: ClassVar[bool] = False
    """Whether the data say what it asks, such as captions: a class set that is named is then refused."""
    every_class: ClassVar[bool] = False
    """Whether it reads a score of every class of an image, and not the top class alone."""
    is_summary: ClassVar[bool] = False
    """Whether it is made of other studies' tables and runs after them; see `Summary`."""
    Session: ClassVar[type] = Session
    """What its notebook works with."""
    folder: Path | None = None
    """Folder of a study that lies outside the package; set when it is found there."""

    # -- what every study has --------------------------------------------------------------------

    def predict(self, session) -> pd.DataFrame:
        """Answers for every image that the session's parameters ask for.

        Returns
        -------
        DataFrame: image_id, task, method, class_set, templates, rank (1 = top), label, prob (fraction),
        and the images' group columns
        """
        raise NotImplementedError(f"study {self.id} has no predict")

    def check(self, session) -> str | None:
        """Refuse, before any image is embedded, what would fail or mean nothing; may return a remark.

        Raises
        ------
        ClipevalError  a sentence that names the thing, the reason and the fix
        """

    def rivals(self, session) -> list[tuple[str, Mapping[str, list[str]]]]:
        """Classes on offer together: whose they are, and each with its prompts; by default every task's.

        Two of them that are one text to the model are refused, as their order would decide.
        """
        if not session.parameters.class_set:
            return []
        return task_prompts(session.class_set, session.templates)

    def prompts(self, session) -> list[str]:
        """Every prompt that is sent, for the check; by default those of `rivals`."""
        return list(dict.fromkeys(flat_prompts(self.rivals(session))))

    def embeds(self, session) -> list[tuple[pd.DataFrame, str]]:
        """Images tables and kinds of features (projected, pre_projection) that it embeds."""
        return [(session.images, "projected")]

    def trained_on(self, session):
        """Images that something is fitted on, and their `Embeddings`; None where nothing is."""
        return None

    def words(self, parameters) -> Literal["needed", "used", "none"]:
        """Whether words are put to the model: it cannot do without, it can, or there are none."""
        return "needed"

    def about(self, session) -> dict:
        """What captions say beside the usual: fields of `clipeval.output.provenance.Provenance`."""
        return {}

    def left_out(self, session) -> list[str]:
        """What the data do not allow, a sentence each with the reason; said by the check and the report."""
        return list(session.groupings.left_out)

    def comparable(self, values: Mapping) -> bool:
        """Whether published numbers may stand beside a run's: it has the paper's data set and classes.

        Test cards count as the data set that they replay.

        Parameters
        ----------
        values : the run's parameters, by name
        """
        return not self.data_of_paper or values.get("dataset", "testcards") in (
            self.data_of_paper,
            "testcards",
        )

    def planted(self, session) -> pd.DataFrame | None:
        """What a faultless pipeline must find on test cards, as `predict` returns it; None if unknown.

        By default what was planted, unless the classes or templates are others than the cards were
        drawn for: what a card says to those words is chance.
        """
        from clipeval.datasets.planted import load_planted

        planted, p = load_planted(session.images), session.parameters
        if planted is None:
            return None
        defaults = {k: type(p).model_fields[k].default for k in ("class_set", "templates")}
        # cards are drawn for the defaults of the package's studies alone
        known = self.folder is None and p.class_set == defaults["class_set"]
        if p.class_set and not known:
            known = session.class_set.label in set(planted["class_set"])
        return planted if known and p.templates == defaults["templates"] else None

    def finding(self, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        """What was found: a sentence or two from the tables, each rate with its interval or test.

        The first opens the run's index; all of them open the study's page.

        Parameters
        ----------
        tables : id -> table, of those that the notebook kept
        """
        return []

    def methods(self, record: StudyRecord) -> list[str]:
        """How it comes to its numbers, for the methods section of a paper: how it decides, what it fits, what it tests.

        Images, labels, prompts and the kinds of intervals are said of every study from its record. By default an
        image is given its top class, as `session.classify` answers.

        Parameters
        ----------
        record : the study's own, whose `parameters` and `tables` say what was asked for and made

        Returns
        -------
        whole sentences in the past tense; one that several studies share is said once
        """
        return [top_class(record)]

    # -- headline quantities: what compares models and varies choices asks these -------------------

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame | None:
        """Headline quantities, one row an image and quantity; None where there are none.

        Parameters
        ----------
        predictions : as `predict` returns them, or as read from predictions.parquet
        record : the study's own; `parameters`, `model` and `class_sets` may be read of it

        Returns
        -------
        DataFrame with columns

            image_id, quantity   such as "gender accuracy"
            hit                  bool: right, or in the harm category, whatever the quantity counts
            method               "zero-shot" where it is left out
            images_of            the group that the row counts for; "All" where it is left out
            task                 task of the predictions it was read from (a key of prompts.json)
            cluster              the sequence or person of the image, where images are not independent
        """
        return None

    @property
    def has_outcomes(self) -> bool:
        """Whether there are headline quantities that are counted image by image."""
        return type(self).outcomes is not Study.outcomes

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Published values of the headline quantities, each model of the papers in rows of its own.

        Returns
        -------
        DataFrame: model, quantity, published (percent), source, and where they differ from the
        defaults method and images_of; empty where nothing was published for what the run asked
        """
        return pd.DataFrame(columns=["model", "quantity", "published", "source"])

    def counterpart(self, record: StudyRecord) -> str:
        """The published model that a run's model is compared with, as `published` names it."""
        return "CLIP"

    def measures(self, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """Headline numbers that are not a share of images, such as a skew or a paired change.

        Parameters
        ----------
        tables : id -> table, as the study's notebook keeps them, or as `measured` returns them

        Returns
        -------
        DataFrame: quantity, the columns of `choices`, n, metric, percent, ci_low, ci_high, and `headline`
        (bool: what a comparison of models shows, and the choice that others are compared with); empty
        where there are none
        """
        return pd.DataFrame()

    def measured(self, session) -> Mapping[str, pd.DataFrame] | None:
        """Tables that `measures` reads, for words that are tried; None where its `outcomes` are varied.

        Parameters
        ----------
        session : Session of the study, with a choice of words
        """
        return None

    @property
    def varies(self) -> str:
        """Id of the study whose headline numbers its report shows over choices of words; "" for none."""
        return self.id if self.has_outcomes else ""

    # -- where it lies ---------------------------------------------------------------------------

    @property
    def notebook_path(self) -> Path:
        """Its notebook."""
        return (self.folder or NOTEBOOKS) / f"{self.notebook}.ipynb"

    def open(self, parameters, **how) -> Session:
        """A session with these parameters; `how` as for `Session`."""
        return self.Session(self, parameters, **how)


class Summary(Study):
    """A study that is made of the tables of a run's other studies, and runs after all of them."""

    is_summary = True
    Session = SummarySession

    def predict(self, session):
        """None: it has no answers of its own."""
        return None

    def rivals(self, session):
        """None: it puts no words to a model."""
        return []

    def embeds(self, session):
        """None: it opens no image."""
        return []

"""Sensitivity: how much headline numbers move with choices that nobody published."""

from typing import Literal, get_args

import pandas as pd
from pydantic import Field, field_validator

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.errors import ModelError
from clipeval.output.numbers import decimals_of, is_nats, number
from clipeval.output.sentences import tied
from clipeval.session import parameters
from clipeval.session.parameters import names_in
from clipeval.session.study import Study
from clipeval.studies import get_study
from clipeval.studies.sensitivity.by_group import group_ranges
from clipeval.studies.sensitivity.variation import able, every_wording, unspoken, vary
from clipeval.studies.sentences import listed, rate


class Parameters(parameters.Parameters):
    """Parameters of the sensitivity study."""

    studies: str = Field(
        "fairface,denigration", description="whose headline numbers, comma-separated"
    )
    vary_class_sets: Literal["variants", "none"] = Field(
        "variants", description="variants for each study's class set and all of its variants"
    )
    vary_templates: str = Field(
        "photo,article,bare,face",
        description="template sets to try, comma-separated",
    )
    vary_precision: str = Field("", description="further precisions to try, comma-separated")
    vary_resize: str = Field(
        "",
        description="further resizes to try, such as 224,112,56,28 pixels, comma-separated",
    )
    embed_more: bool = Field(
        False, description="embed images for precisions and resizes that are not stored yet"
    )
    padding: parameters.Padding = parameters.PADDING

    @field_validator("studies")
    @classmethod
    def _check_studies(cls, text: str) -> str:
        if not names_in(text):
            raise ValueError("name a study or several, comma-separated")
        return text

    @field_validator("vary_precision", "vary_resize")
    @classmethod
    def _check_levels(cls, text: str, about) -> str:
        if about.field_name == "vary_resize":
            return ",".join(map(parameters.check_resize, names_in(text)))
        known = get_args(parameters.Parameters.model_fields["precision"].annotation)
        if strange := [name for name in names_in(text) if name not in known]:
            raise ValueError(f"give some of {', '.join(known)}, without {strange[0]}")
        return text


class Sensitivity(Study):
    """Sensitivity: how much headline numbers move with choices that nobody published."""

    id = "sensitivity"
    title = "Sensitivity"
    notebook = "08_sensitivity"
    question = "Which choice matters most?"
    figure = "range"
    Parameters = Parameters
    deck = "fairface"

    def finding(self, tables) -> list[str]:
        """The number that choices move most, beside what sampling leaves open."""
        table = tables["range"]
        percents = table[
            ~table["metric"].map(is_nats).astype(bool)
        ]  # points and nats have no order
        table = percents if len(percents) else table
        widths = table["width"].to_numpy()
        at = int(widths.argmax())
        most = table.iloc[at]
        unit = "nats" if percents.empty else "%"
        low, high = (
            number(most[end], decimals_of(most["metric"])) for end in ("lowest", "highest")
        )
        what = listed(["words", "templates", *get_study(most["study"]).choices])
        if widths[at] == 0:
            return [f"Choices of {what} move no headline number."]
        name = tied(at, widths, list(table["quantity"] + " (" + table["study"] + ")"))
        return [
            f"Choices of {what} move {name} most: it is {low} to {high} {unit} over "
            f"{int(most['choices']):,} choices, and {rate(most)} with those of this run."
        ]

    def methods(self, record) -> list[str]:
        """What was varied, and the test of each choice."""
        p = record.parameters
        varied = {"class sets": p["vary_class_sets"] != "none", "templates": p["vary_templates"]}
        varied |= {"precisions": p["vary_precision"], "ways to resize": p["vary_resize"]}
        studies = [get_study(name).title for name in names_in(p["studies"])]
        return [
            f"The headline numbers of {listed(studies)} were computed again on the same images with every combination "
            f"of {listed([name for name, tried in varied.items() if tried] or ['this run'])}.",
            "The share of the variance that a choice accounts for is eta squared; choices were tested by F tests "
            "against the interactions, p values corrected by Holm's method over all choices and quantities.",
        ]

    def check(self, session) -> str:
        """Each study's own check, under every choice of words; says which choices there are."""
        p, known = session.parameters, session.source.known
        if known and not known.is_known:
            raise ModelError(
                f"sensitivity puts other words to the model, and of {known.name} there are only answers "
                "made elsewhere; leave sensitivity out."
            )
        able(session, names_in(p.studies))
        for name in names_in(p.vary_templates):
            load_templates(name)
        for study, variant in self._asked(session):
            study.check(variant)
        return f"{p.studies}; templates {p.vary_templates}"

    def rivals(self, session) -> list[tuple[str, dict]]:
        """Those of each study, under every choice of words; none where answers were made elsewhere."""
        known = session.source.known
        if known and not known.is_known:
            return []
        return [offer for study, variant in self._asked(session) for offer in study.rivals(variant)]

    def _choices(self, session) -> tuple[dict, list[str]]:
        """What is varied, and what is left out: studies, and templates in another language than the classes."""
        p = session.parameters
        studies, left_out = able(session, names_in(p.studies))
        tried = {"precisions": names_in(p.vary_precision), "resizes": names_in(p.vary_resize)}
        words = {"class_sets": _class_sets(p), "templates": names_in(p.vary_templates)}
        left_out += unspoken(session, studies, words["templates"])
        return {"studies": studies, **words, **tried, "compute": p.embed_more}, left_out

    def _asked(self, session):
        p = session.parameters
        studies, _ = able(session, names_in(p.studies))
        return every_wording(session, studies, _class_sets(p), names_in(p.vary_templates))

    def left_out(self, session) -> list[str]:
        """Studies whose numbers the data do not allow, and templates in another language than the classes."""
        return self._choices(session)[1]

    def predict(self, session) -> pd.DataFrame:
        """Headline numbers of the studies under every combination of choices; see `vary`."""
        choices, left_out = self._choices(session)
        table = vary(session, **choices)
        asked = table[["class_set", "templates", "task"]].drop_duplicates()
        for class_set, templates, task in asked.itertuples(index=False):
            if class_set and task:
                told = table.attrs["words"]
                words = load_class_set(told[class_set]), load_templates(told[templates])
                session.note_prompts(task, *words, prompts_for(*words, task))
        table.attrs["left_out"] = [*left_out, *table.attrs.get("left_out", [])]
        return table


def _class_sets(p: Parameters) -> dict[str, list[str]] | None:
    return {study: [] for study in names_in(p.studies)} if p.vary_class_sets == "none" else None


study = Sensitivity()


def ranges_by_group(session, table: pd.DataFrame) -> pd.DataFrame:
    """How far each group's rate moves over the choices of the run's table; see `by_group.group_ranges`."""
    return group_ranges(session, table, **study._choices(session)[0])

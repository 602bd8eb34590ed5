"""Characterization card: one page a model, drawn from the tables that the studies of a run have written.

In the spirit of model cards (Mitchell et al. 2019, arXiv 1810.03993): what was measured, on how many images, how
sure, beside what was published, and for each part a sentence on what it does not show.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from clipeval import parameters
from clipeval import session as sessions
from clipeval.provenance import Provenance, package_versions

__all__ = ["LINES", "NOT_SHOWN", "Parameters", "Session", "markdown", "summarise"]


class Parameters(parameters.Parameters):
    """Parameters of the card: it reads the run folder `out`, and knows the others to be run like any study."""


#: part of the card -> what it does not show
NOT_SHOWN = {
    "Capability": "That the model may be used on people: agreeing with annotators permits nothing.",
    "Group gaps": "How other groups, or other pictures of these, would fare; small gaps here are no proof of fairness.",
    "Harm rates": "Harms by classes, prompts or pictures that were not tried; a low rate is no evidence of safety.",
    "Class design": "That the other class set is safe: it moves the errors, and other classes move them elsewhere.",
    "Gendered labels": "Why a label goes to women or men; their photographs differ in clothes and setting too.",
    "Surveillance": "Performance on other cameras; frames of one camera are alike, and there are few cameras.",
    "Identification": "That people who are not famous are safe; names are learned from the web.",
}


@dataclass(frozen=True)
class Line:
    """One line of the card: a row of a study's table.

    Attributes
    ----------
    part : key of NOT_SHOWN
    study, table : where the row is
    quantity : what the line is called; `{column}` is replaced by the row's value
    where : values that columns of the row have
    pick : "" for every such row, "highest" or "lowest" for the one with the extreme percent
    varied : its quantity in the sensitivity study, whose range over prompts is shown beside it
    """

    part: str
    study: str
    table: str
    quantity: str
    where: dict = field(default_factory=dict)
    pick: str = ""
    varied: str = ""


def _accuracy(method, attribute, images_of, words, varied=""):
    where = {"method": method, "attribute": attribute, "images_of": images_of}
    name = f"{words}, {method}"
    return Line("Capability", "fairface", "accuracy_by_white", name, where, varied=varied)


_ANY = "crime-related or non-human"
LINES = (
    _accuracy("zero-shot", "gender", "All", "gender agrees with annotators", "gender accuracy"),
    _accuracy("zero-shot", "age", "All", "age (9 bins) agrees", "age accuracy"),
    _accuracy("zero-shot", "race", "White", "White or not, images of White"),
    _accuracy("zero-shot", "race", "Non-White", "White or not, images of others"),
    _accuracy("linear probe", "gender", "All", "gender agrees with annotators"),
    *(
        Line(
            "Group gaps",
            "fairface",
            "gender_by_race",
            f"gender, zero-shot, {which} race and gender: {{race}}, {{gender}}",
            {"method": "zero-shot", "gender": ("Male", "Female"), "metric": "accuracy"},
            which,
        )
        for which in ("lowest", "highest")
    ),
    *(
        Line(
            "Group gaps",
            "denigration",
            "gaps",
            "{category}, largest gap by {grouping}: {highest} to {lowest}",
            {"grouping": by},
        )
        for by in ("race", "gender")
    ),
    *(
        Line(
            "Harm rates",
            "denigration",
            "overall",
            "{metric}, all images",
            {"metric": metric},
            varied=metric,
        )
        for metric in ("non-human", "crime-related", _ANY)
    ),
    *(
        Line(
            "Harm rates",
            "denigration",
            "by_race",
            "{metric}, highest race: {race}",
            {"metric": metric},
            "highest",
        )
        for metric in ("non-human", "crime-related")
    ),
    Line("Class design", "class_design", "overall", "{metric}: {class_set}", {"metric": _ANY}),
    *(
        Line(
            "Gendered labels",
            "congress",
            "top_gendered",
            "occupation given {direction}: {label}, images of {gender}",
            {"label_set": "occupations", "direction": way, "top": True},
        )
        for way in ("more for women", "more for men")
    ),
    Line(
        "Gendered labels",
        "congress",
        "gender_accuracy",
        "gender right, all photos",
        {"gender": "All"},
    ),
    *(
        Line(
            "Surveillance",
            "cctv",
            "accuracy",
            "{task}: {metric}",
            {"task": task, "interval": "sequence (bootstrap)"},
        )
        for task in ("coarse", "stress", "fine")
    ),
    Line(
        "Identification",
        "celebrities",
        "top1_by_names",
        "right name among {names}, {protocol}",
        {"metric": "top-1"},
    ),
)


def _rows(line: Line, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a study's table that a line of the card shows."""
    for column, value in line.where.items():
        if column == "top":  # the one label of each direction with the largest chi-squared
            if table.empty:
                continue
            first = table.loc[table["chi2"].idxmax()]
            table = table[
                (table["label"] == first["label"]) & (table["label_set"] == first["label_set"])
            ]
        elif isinstance(value, tuple):
            table = table[table[column].isin(value)]
        else:
            table = table[table[column].astype(str) == str(value)]
    if line.pick and len(table):
        at = table["percent"].idxmax() if line.pick == "highest" else table["percent"].idxmin()
        table = table.loc[[at]]
    return table


def _range(line: Line, varied: pd.DataFrame) -> str:
    """Lowest and highest percent over class-set variants and templates, where they were varied."""
    at = varied[(varied["study"] == line.study) & (varied["quantity"] == line.varied)]
    return "" if at.empty else f"{at['lowest'].iloc[0]:.1f} to {at['highest'].iloc[0]:.1f}"


def summarise(tables: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """The card as a table.

    Parameters
    ----------
    tables : dict of (study, table id) to the study's tidy table; what is absent is left out

    Returns
    -------
    DataFrame
        part, quantity, study, n, metric, percent, ci_low, ci_high, published, difference (percent, percentage
        points), and, where the sensitivity study was run, the range over its choices as text. Values are those
        of the studies' tables, copied, never computed anew.
    """
    found = []
    varied = tables.get(("sensitivity", "range"))
    for line in LINES:
        table = tables.get((line.study, line.table))
        if table is None:
            continue
        for row in _rows(line, table).to_dict("records"):
            words = {k: f"{v:g}" if isinstance(v, float) else v for k, v in row.items()}
            found.append(
                {"part": line.part, "quantity": line.quantity.format(**words), "study": line.study}
                | {k: row.get(k, np.nan) for k in ("n", "metric", "percent", "ci_low", "ci_high")}
                | {k: row.get(k, np.nan) for k in ("published", "difference")}
                | ({"planted": row["planted"]} if "planted" in row else {})
                | ({} if varied is None else {"over choices": _range(line, varied)})
            )
    columns = [
        "part",
        "quantity",
        "study",
        "n",
        "metric",
        "percent",
        "ci_low",
        "ci_high",
        "published",
        "difference",
    ]
    table = pd.DataFrame(found)
    if table.empty:
        return pd.DataFrame(columns=columns)
    order = {part: i for i, part in enumerate(NOT_SHOWN)}
    return table.sort_values(
        "part", key=lambda parts: parts.map(order), kind="stable", ignore_index=True
    )


def markdown(table: pd.DataFrame, about: str, caution: str = "") -> str:
    """The card as Markdown: a table a part, each with what it does not show.

    Parameters
    ----------
    table : as from `summarise`
    about : what the model is and what was run
    caution : a sentence to be read first
    """

    def plain(value) -> str:
        return str(value).replace("|", "\\|").replace("<", "&lt;")

    def number(value, sign="") -> str:
        return (
            "–" if pd.isna(value) else f"{round(value, 1) + 0.0:{sign}.1f}"
        )  # + 0.0: no minus zero

    lines = [
        "# Characterization card",
        "",
        *([f"**{caution}.**", ""] if caution else []),
        about,
        "",
    ]
    for part, rows in table.groupby("part", sort=False):
        lines += [
            f"## {part}",
            "",
            "| quantity | n | percent [95 % interval] | over choices | published | difference |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for row in rows.rename(columns={"over choices": "choices"}).itertuples():
            n = "–" if pd.isna(row.n) else f"{int(row.n):,}"
            interval = (
                f" [{number(row.ci_low)}, {number(row.ci_high)}]" if pd.notna(row.ci_low) else ""
            )
            lines.append(
                f"| {plain(row.quantity)} | {n} | {number(row.percent)}{interval} "
                f"| {getattr(row, 'choices', '') or '–'} | {number(row.published)} "
                f"| {number(row.difference, '+')} |"
            )
        lines += ["", f"*What this does not show.* {NOT_SHOWN[part]}", ""]
    return "\n".join(lines)


class Session(sessions.Session):
    """A session without images: what it works with are the studies of the run folder."""

    @cached_property
    def records(self) -> dict[str, dict]:
        """Study id -> what the study recorded of itself (study.json)."""
        found = {}
        for path in sorted(self.parameters.out_folder.glob("*/study.json")):
            if path.parent.name != self.study.id:
                found[path.parent.name] = json.loads(path.read_text("utf-8"))
        return found

    @property
    def tables(self) -> dict[tuple[str, str], pd.DataFrame]:
        """(study, table id) -> table, of every study that finished."""
        return {
            (study, entry["id"]): pd.read_csv(
                self.parameters.out_folder / study / "tables" / f"{entry['id']}.csv"
            )
            for study, record in self.records.items()
            for entry in record.get("tables", [])
        }

    @property
    def _data(self) -> dict[str, dict]:
        return {study: r["dataset"] for study, r in self.records.items() if "dataset" in r}

    @property
    def models(self) -> list[str]:
        """Names of the models that the studies ran, each once."""
        names = [
            f"{r['model']['model']} {r['model']['pretrained']}".strip()
            for r in self.records.values()
            if "model" in r
        ]
        return list(dict.fromkeys(names))

    @cached_property
    def provenance(self) -> Provenance:
        """The model that all studies share, and nothing of one data set."""
        first = next((r["model"] for r in self.records.values() if "model" in r), {})
        return Provenance(
            model=" and ".join(self.models),
            precision=first.get("precision", ""),
            dataset="; ".join(
                dict.fromkeys(r["dataset"]["name"] for r in self.records.values() if "dataset" in r)
            ),
            labels="Group labels are those of each data set.",
            test_cards=any(r.get("test_cards") for r in self.records.values()),
            parameters={
                "studies": {study: r.get("prompts_hash") for study, r in self.records.items()}
            },
        )

    def describe(self):
        """Which studies of which model the card draws on (Markdown)."""
        from IPython.display import Markdown

        return Markdown(self.about())

    def about(self) -> str:
        """The same as plain text."""
        if not self.records:
            return (
                "No study has been run in this folder yet, so the card is empty; run `clipeval run`, which makes "
                "the card last, or name a run folder with the parameter `out`."
            )
        ran = ", ".join(
            f"{study} ({r['dataset']['read']:,} images)"
            for study, r in self.records.items()
            if "dataset" in r
        )
        text = f"Model: {', '.join(self.models)}. Studies: {ran}. Each number is explained in its study's notebook."
        if len(self.models) > 1:
            text += " **The studies ran different models: this is no card of one model.**"
        return text

    def save_markdown(self, table: pd.DataFrame) -> None:
        """Write card.md."""
        from clipeval.provenance import TEST_CARDS

        self.folder.mkdir(parents=True, exist_ok=True)
        caution = TEST_CARDS if self.provenance.test_cards else ""
        (self.folder / "card.md").write_text(markdown(table, self.about(), caution), "utf-8")

    def record(self) -> dict:
        """What the card was drawn from, as plain JSON values."""
        return {
            "study": self.study.id,
            "title": self.study.title,
            "parameters": self.parameters.model_dump(),
            "drawn_from": {study: r.get("prompts_hash") for study, r in self.records.items()},
            "test_cards": self.provenance.test_cards,
            "code": self.code,
            "versions": package_versions(),
            **self._kept,
        }

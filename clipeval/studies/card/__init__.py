"""Characterization card: one page a model, drawn from the tables that the studies of a run have written.

In the spirit of model cards (Mitchell et al. 2019, arXiv 1810.03993): what was measured, on how many images, how
sure, beside what was published, and for each part a sentence on what it does not show.
"""

import json
from functools import cached_property
from statistics import NormalDist

import numpy as np
import pandas as pd

from clipeval.output.provenance import Provenance, package_versions
from clipeval.output.tables import TABLE_COLUMNS
from clipeval.session import parameters
from clipeval.session import session as sessions
from clipeval.stats import wilson
from clipeval.studies.card.lines import COMPARED, LINES, NOT_SHOWN, Line

__all__ = [
    "COMPARED",
    "LINES",
    "NOT_SHOWN",
    "Parameters",
    "Session",
    "against_published",
    "drawn",
    "explained",
    "markdown",
    "not_measured",
    "summarise",
]


class Parameters(parameters.Parameters):
    """Parameters of the card: it reads the run folder `out`, and knows the others to be run like any study."""


#: rows whose percents are percentage points
POINTS = r"\b(?:change|gap)\b"
#: columns of the card
COLUMNS = ("part", "quantity", "study", *TABLE_COLUMNS, "note")
SAID = {
    "intervals": "95 % intervals of each study, of picked cells Bonferroni's",
    "published_source": "other models or other images, arXiv 2108.02818 and 2103.00020",
}
OVER = "over class sets and templates"


def _rows(line: Line, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a study's table that a line of the card shows; `cells` says out of how many."""
    for column, value in line.where.items():
        if callable(value):
            table = table[[bool(value(v)) for v in table[column]]]
        elif isinstance(value, tuple):
            table = table[table[column].isin(value)]
        else:
            table = table[table[column].astype(str) == str(value)]
    if line.pick == "label" and len(table):
        table = table[table["label"] == table.loc[table["chi2"].idxmax(), "label"]]
    elif line.pick and len(table):
        known = table[table["percent"].notna()]
        parts = known.groupby(line.each, sort=False) if line.each else [("", known)]
        find = "idxmax" if line.pick == "highest" else "idxmin"
        found = [
            part.loc[[getattr(part["percent"], find)()]].assign(cells=len(part))
            for _, part in parts
        ]
        table = pd.concat(found) if found else known
    return table.tail(line.last) if line.last else table


def _labels(tables: dict) -> int:
    """Cells, labels x genders, that the most gendered occupation was picked from."""
    every = tables.get(("congress", "labels_by_gender"))
    if every is None:
        return 0
    rows = every[every["label_set"] == "occupations"]
    return rows["label"].nunique() * rows["gender"].nunique()


def _picked(row: dict, cells: int, what: str) -> dict:
    """A row that was picked for its value, with an interval that holds for all it was picked from."""
    level = 1 - 0.05 / cells
    low, high = wilson(row["count"], row["n"], level)
    ends = {"ci_low": 100 * float(low), "ci_high": 100 * float(high)}
    return row | ends | {"note": f"{what} of {cells:,}: {100 * level:.4g} % interval (Bonferroni)"}


def _range(line: Line, varied: pd.DataFrame, quantity: str) -> str:
    """Lowest and highest percent over class-set variants and templates, where they were varied."""
    at = varied[(varied["study"] == line.study) & (varied["quantity"] == quantity)]
    return "" if at.empty else f"{at['lowest'].iloc[0]:.1f} to {at['highest'].iloc[0]:.1f}"


def _word(value):
    """A value as it stands in a sentence; numbers with thousands separators."""
    return f"{value:,g}" if isinstance(value, int | float) else value


def summarise(tables: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """The card as a table.

    Parameters
    ----------
    tables : dict of (study, table id) to the study's tidy table; `not_measured` names what is absent

    Returns
    -------
    DataFrame
        part, quantity, study, n, metric, percent, ci_low, ci_high, published, difference (percent, percentage
        points), note, and, where the sensitivity study was run, the range over its choices as text. Values are
        those of the studies' tables, copied. Only the interval of a cell that was picked as the highest or lowest
        of several is wider: Wilson's at 1 - 0.05 / cells (Bonferroni), which `note` says; it also says where
        clusters are few.
    """
    found = []
    varied = tables.get(("sensitivity", "range"))
    for line in LINES:
        table = tables.get((line.study, line.table))
        if table is None:
            continue
        rows = _rows(line, table).to_dict("records")
        if not rows and line.none:
            found.append(
                {"part": line.part, "quantity": line.none, "study": line.study, "metric": "none"}
            )
        for row in rows:
            if line.pick == "label":
                row |= {"cells": _labels(tables)}
            if row.get("cells", 0) > 1:
                row = _picked(
                    row, int(row["cells"]), "picked" if line.pick == "label" else line.pick
                )
            elif row.get("few_clusters") is True:
                row["note"] = f"only {int(row['clusters'])} clusters: do not rely on the interval"
            words = {k: _word(v) for k, v in row.items()}
            ranged = "" if varied is None else _range(line, varied, line.varied.format(**words))
            found.append(
                {"part": line.part, "quantity": line.quantity.format(**words), "study": line.study}
                | {k: row.get(k, np.nan) for k in TABLE_COLUMNS}
                | {"note": row.get("note", "")}
                | ({"planted": row["planted"]} if "planted" in row else {})
                | ({} if varied is None else {OVER: ranged})
            )
    table = pd.DataFrame(found)
    if table.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    table = table.reindex(columns=[*COLUMNS, *(c for c in table if c not in COLUMNS)])
    table = table.fillna({"note": "", **({OVER: ""} if OVER in table else {})})
    order = {part: i for i, part in enumerate(NOT_SHOWN)}
    return table.sort_values(
        "part", key=lambda parts: parts.map(order), kind="stable", ignore_index=True
    )


def not_measured(table: pd.DataFrame) -> str:
    """A sentence that names the parts of which the run has nothing, with the studies they need; "" if none."""
    missing = {}
    for line in LINES:
        if line.part not in set(table["part"]):
            missing.setdefault(line.part, dict.fromkeys([line.study]))[line.study] = None
    named = [f"{part} ({', '.join(studies)})" for part, studies in missing.items()]
    return f"Not measured in this run: {', '.join(named)}." if named else ""


def against_published(table: pd.DataFrame) -> str:
    """How many published values lie outside the intervals, and how many would if the truth were the same."""
    known = table[table["published"].notna() & table["ci_low"].notna()]
    if known.empty:
        return "Nothing here stands beside a published number."
    outside = (known["published"] < known["ci_low"]) | (known["published"] > known["ci_high"])
    share = 2 * NormalDist().cdf(-NormalDist().inv_cdf(0.975) / 2**0.5)
    return (
        f"{int(outside.sum())} of {len(known)} published values lie outside the interval beside them. That "
        "is no test: the published rate has a sampling error of its own, on other images. Were the truth the "
        f"same and the samples of one size, some {share * len(known):.1f} of {len(known)} "
        f"({100 * share:.0f} %) would lie outside."
    )


def drawn(table: pd.DataFrame, *, points: bool = False) -> pd.DataFrame:
    """The rows of one figure, each part under a row with its name.

    Parameters
    ----------
    points : bool
        The rows in percentage points (gaps, changes) in place of those that are rates: these two have no axis
        in common.
    """
    table = table[table["metric"].astype(str).str.contains(POINTS) == points]
    table = table[table["percent"].notna()]
    parts = []
    for part, rows in table.groupby("part", sort=False):
        parts += [pd.DataFrame({"quantity": [part.upper()]}), rows]
    return pd.concat(parts, ignore_index=True) if parts else table


def explained(table: pd.DataFrame) -> str:
    """For each part of the card what it is compared with and what it does not show (Markdown)."""
    known = set(table.loc[table["published"].notna(), "part"])
    lines = [
        f"- **{part}.** {NOT_SHOWN[part]}"
        + (f" Published: {COMPARED[part]}." if part in known else "")
        for part in table["part"].unique()
    ]
    return "\n".join(lines)


def markdown(table: pd.DataFrame, about: str, caution: str = "") -> str:
    """The card as Markdown: a table a part, each with what it is compared with and what it does not show.

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
            f"| quantity | n | percent [95 % interval] | {OVER} | published | difference | note |",
            "|---|--:|--:|--:|--:|--:|---|",
        ]
        for row in rows.rename(columns={OVER: "choices"}).itertuples():
            n = "–" if pd.isna(row.n) else f"{int(row.n):,}"
            interval = (
                f" [{number(row.ci_low)}, {number(row.ci_high)}]" if pd.notna(row.ci_low) else ""
            )
            lines.append(
                f"| {plain(row.quantity)} | {n} | {number(row.percent)}{interval} "
                f"| {getattr(row, 'choices', '') or '–'} | {number(row.published)} "
                f"| {number(row.difference, '+')} | {row.note} |"
            )
        lines.append("")
        if rows["published"].notna().any():
            lines += [f"*Published.* {COMPARED[part]}: other images, or another model.", ""]
        lines += [f"*What this does not show.* {NOT_SHOWN[part]}", ""]
    if len(table):
        lines += [against_published(table), ""]
    return "\n".join([*lines, *([missing, ""] if (missing := not_measured(table)) else [])])


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

    def show(self, table: pd.DataFrame):
        """Keep and show the card as a table; None where it is empty."""
        if table.empty:
            return None
        extra = [column for column in (OVER, "note") if column in table]
        text = (
            "Characterization of the model: every number with its interval, its range over class sets and "
            "templates where these were varied, and the published one, which is of another model or other images."
        )
        return self.table("card", table, text, extra=extra, **SAID)

    def pictures(self, table: pd.DataFrame) -> list:
        """Keep and show the card's rates, and apart from them what is in percentage points."""
        from clipeval.output.figures import interval_plot

        plan = {
            "card": (False, "percent", "The model at a glance; n differs from line to line."),
            "card_gaps": (
                True,
                "percentage points",
                "Gaps between groups, and changes between class sets.",
            ),
        }
        shown = []
        for id, (points, xlabel, text) in plan.items():
            rows = drawn(table, points=points)
            if len(rows):
                picture = interval_plot(rows, y="quantity", xlabel=xlabel, width="double")
                said = (
                    SAID if rows["published"].notna().any() else SAID | {"published_source": None}
                )
                shown.append(self.figure(id, picture, text, **said))
        return shown

    def save_markdown(self, table: pd.DataFrame) -> None:
        """Write card.md."""
        from clipeval.output.provenance import TEST_CARDS

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

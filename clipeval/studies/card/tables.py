"""Characterization card: one page a model, drawn from the tables that the studies of a run have written.

In the spirit of model cards (Mitchell et al. 2019, arXiv 1810.03993): what was measured, on how many images, how
sure, beside what was published, and for each part a sentence on what it does not show.
"""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import pandas as pd

from clipeval.output.markup import as_markdown
from clipeval.output.numbers import MISSING, count, decimals_of, interval, number, unit_of
from clipeval.output.tables import TABLE_COLUMNS
from clipeval.session.study import Line, Part
from clipeval.stats import clopper_pearson, picked_confidence
from clipeval.studies import STUDIES

#: columns of the card
COLUMNS = ("part", "quantity", "study", *TABLE_COLUMNS, "unit", "chance", "note")
SAID = {
    "intervals": "95 % intervals as in each study; Bonferroni-adjusted for cells picked as highest or lowest",
    "published_source": "other models or other images, arXiv 2108.02818 and 2103.00020",
}
#: unit -> what stands behind a value in Markdown
_SHORT = {"percent": "%", "percentage points": "points", "nats": "nats", "": ""}
OVER = "over class sets and templates"


def parts() -> dict[str, Part]:
    """Parts of the card by name, from all studies; the first that says something says it for all."""
    found: dict[str, Part] = {}
    for part in (part for study in STUDIES.values() for part in study.card):
        known = found.get(part.name, part)
        found[part.name] = Part(
            part.name,
            (),
            known.not_shown or part.not_shown,
            known.compared or part.compared,
        )
    return found


def lines(tables: Mapping[tuple[str, str], pd.DataFrame]) -> list[tuple[str, str, Line]]:
    """Study id, name of the part and line, of everything that the card can show of these tables."""
    found = []
    for study in STUDIES.values():
        own = {id: table for (name, id), table in tables.items() if name == study.id}
        for part in study.card:
            made = part.lines(own) if callable(part.lines) else part.lines
            found += [(study.id, part.name, line) for line in made]
    return found


def _where(table: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """Rows whose columns have these values: one, a tuple of several, or a rule."""
    for column, value in values.items():
        if callable(value):
            table = table[[bool(value(v)) for v in table[column]]]
        elif isinstance(value, tuple):
            table = table[table[column].isin(value)]
        else:
            table = table[table[column].astype(str) == str(value)]
    return table


def _rows(line: Line, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a study's table that a line of the card shows; `cells` says out of how many."""
    table = _where(table, line.where)
    if line.pick == "label" and len(table):
        best = list(dict.fromkeys(table.loc[table["chi2"] == table["chi2"].max(), "label"]))
        table = table[table["label"] == best[0]].assign(equals=len(best) - 1)
    elif line.pick and len(table):
        known = table[table["percent"].notna()]
        parts = known.groupby(line.each, sort=False) if line.each else [("", known)]
        found = []
        for _, part in parts:
            at = part["percent"].max() if line.pick == "highest" else part["percent"].min()
            best = part[part["percent"] == at]
            if len(part) == 1 or len(best) < len(part):  # none of equals is the highest
                found.append(best[:1].assign(cells=len(part), equals=len(best) - 1))
        table = pd.concat(found) if found else known[:0]
    return table.tail(line.last) if line.last else table


def _candidates(study: str, line: Line, tables: dict) -> int:
    """Cells that the rows of a line were picked from: those of the whole table that it names."""
    name, columns, values = line.among
    every = tables.get((study, name))
    if every is None:
        return 0
    return len(_where(every, values).drop_duplicates(list(columns)))


def _picked(row: dict, cells: int, what: str, confidence: float) -> dict:
    """A row that was picked for its value, with an interval that holds for all it was picked from."""
    level = picked_confidence(cells, confidence)
    low, high = clopper_pearson(row["count"], row["n"], level)
    ends = {"ci_low": 100 * float(low), "ci_high": 100 * float(high)}
    equals = int(row.get("equals", 0))
    tie = f" (tied with {equals} other{'s' if equals > 1 else ''})" if equals else ""
    note = f"{what} of {cells:,}{tie}: exact {100 * level:.4g} % interval (Bonferroni)"
    return row | ends | {"note": note}


def _range(study: str, varied: pd.DataFrame, quantity: str) -> str:
    """Lowest and highest percent over class-set variants and templates, where they were varied."""
    at = varied[(varied["study"] == study) & (varied["quantity"] == quantity)]
    return "" if at.empty else f"{number(at['lowest'].iloc[0])} to {number(at['highest'].iloc[0])}"


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
        part, quantity, study, n, metric, percent, ci_low, ci_high, published, difference, unit (of these five:
        percent, percentage points or nats), chance (what chance alone gives, where the study's table has it), note,
        and, where the sensitivity study was run, the range over its choices as text. Values are those of the studies'
        tables, copied. Only the interval of a cell that was picked as the highest or lowest
        of several is wider: Clopper and Pearson's at 1 - 0.05 / cells (Bonferroni), which `note` says; it also
        says where clusters are few, and where a study was run with intervals of another confidence than 95 %
        (`attrs["confidence"]` of its tables).
    """
    found = []
    varied = tables.get(("sensitivity", "range"))
    for study, part, line in lines(tables):
        table = tables.get((study, line.table))
        if table is None:
            continue
        rows = _rows(line, table).to_dict("records")
        confidence = table.attrs.get("confidence", 0.95)
        if not rows and line.none:
            found.append({"part": part, "quantity": line.none, "study": study, "metric": "none"})
        for row in rows:
            if line.among:
                row |= {"cells": _candidates(study, line, tables)}
            if row.get("cells", 0) > 1:
                what = "picked" if line.pick == "label" else line.pick
                row = _picked(row, int(row["cells"]), what, confidence)
            elif row.get("few_clusters") is True:
                few = f"only {int(row['clusters']):,} clusters for such a rate"
                row["note"] = f"{few}: do not rely on the interval"
            elif confidence != 0.95 and pd.notna(row["ci_low"]):
                row["note"] = f"{100 * confidence:g} % interval"
            words = {k: _word(v) for k, v in row.items()}
            words["of"] = words.get(line.of, "")
            ranged = "" if varied is None else _range(study, varied, line.varied.format(**words))
            found.append(
                {"part": part, "quantity": line.quantity.format(**words), "study": study}
                | {k: row.get(k, np.nan) for k in (*TABLE_COLUMNS, "chance")}
                | {"unit": unit_of(row["metric"])}
                | {"note": row.get("note", "")}
                | ({"planted": row["planted"]} if "planted" in row else {})
                | ({} if varied is None else {OVER: ranged})
            )
    table = pd.DataFrame(found)
    if table.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    table = table.reindex(columns=[*COLUMNS, *(c for c in table if c not in COLUMNS)])
    table = table.fillna({"note": "", "unit": "", **({OVER: ""} if OVER in table else {})})
    order = {part: i for i, part in enumerate(parts())}
    return table.sort_values(
        "part", key=lambda parts: parts.map(order), kind="stable", ignore_index=True
    )


def not_measured(table: pd.DataFrame) -> str:
    """A sentence that names the parts of which the run has nothing, with the studies they need; "" if none."""
    missing = {}
    for study in STUDIES.values():
        for part in study.card:
            if part.name not in set(table["part"]):
                missing.setdefault(part.name, {})[study.id] = None
    if (
        OVER not in table
    ):  # ranges stand beside other studies' numbers, and are no part of their own
        missing[STUDIES["sensitivity"].title] = {"sensitivity": None}
    named = [f"{part} ({', '.join(studies)})" for part, studies in missing.items()]
    return f"Not measured in this run: {', '.join(named)}." if named else ""


def published_outside(table: pd.DataFrame) -> str:
    """A sentence on how many published values lie outside the interval beside them."""
    known = table[table["published"].notna() & table["ci_low"].notna()]
    if known.empty:
        return "Nothing here has a published number to compare with."
    outside = (known["published"] < known["ci_low"]) | (known["published"] > known["ci_high"])
    return f"{int(outside.sum())} of {len(known)} published values lie outside the interval beside them."


def against_published(table: pd.DataFrame) -> str:
    """The same, and how many would lie outside if the truth were the same."""
    known = int((table["published"].notna() & table["ci_low"].notna()).sum())
    if not known:
        return published_outside(table)
    share = 2 * NormalDist().cdf(-NormalDist().inv_cdf(0.975) / 2**0.5)
    return (
        f"{published_outside(table)} This is not a test: the published rate has a sampling error of its own, on "
        f"other images. Were the truth the same and the samples of one size, some {number(share * known)} of "
        f"{known} ({100 * share:.0f} %) would lie outside."
    )


def drawn(table: pd.DataFrame, *, points: bool = False) -> pd.DataFrame:
    """The rows of one figure, each part under a row with its name.

    Parameters
    ----------
    points : bool
        The rows in percentage points (gaps, changes) in place of those that are rates: these two have no axis
        in common. Rows in nats are in neither.
    """
    unit = "percentage points" if points else "percent"
    table = table[table["percent"].notna() & (table["metric"].map(unit_of) == unit)]
    parts = []
    for part, rows in table.groupby("part", sort=False):
        parts += [pd.DataFrame({"quantity": [part.upper()]}), rows]
    return pd.concat(parts, ignore_index=True) if parts else table


def explained(table: pd.DataFrame) -> str:
    """For each part of the card what it is compared with and what it does not show (Markdown)."""
    known, about = set(table.loc[table["published"].notna(), "part"]), parts()
    said = [
        f"- **{part}.** {about[part].not_shown}"
        + (f" Published: {about[part].compared}." if part in known else "")
        for part in table["part"].unique()
    ]
    return "\n".join(said)


def markdown(table: pd.DataFrame, about: str, caution: str = "") -> str:
    """The card as Markdown: a table a part, each with what it is compared with and what it does not show.

    Parameters
    ----------
    table : as from `summarise`
    about : what the model is and what was run
    caution : a sentence to be read first
    """

    about_parts = parts()
    page = ["# Characterization card", "", *([f"**{caution}.**", ""] if caution else []), about, ""]
    for part, rows in table.groupby("part", sort=False):
        by_chance = bool(rows["chance"].notna().any())
        heads = ["quantity", "n", "value [95 % interval]", *["by chance"] * by_chance]
        heads += [OVER, "published", "difference", "note"]
        page += [f"## {part}", "", f"| {' | '.join(heads)} |"]
        page += [f"|---|{'--:|' * (len(heads) - 2)}---|"]
        for row in rows.rename(columns={OVER: "choices"}).itertuples():
            digits = decimals_of(row.metric)
            cells = [
                as_markdown(row.quantity),
                count(row.n),
                interval(
                    row.percent, row.ci_low, row.ci_high, decimals=digits, unit=_SHORT[row.unit]
                ),
                *[number(row.chance, digits)] * by_chance,
                getattr(row, "choices", "") or MISSING,
                number(row.published, digits),
                number(row.difference, digits, sign=True),
                as_markdown(row.note),
            ]
            page.append(f"| {' | '.join(cells)} |")
        page.append("")
        if rows["published"].notna().any():
            page += [
                f"*Published.* {about_parts[part].compared}: other images, or another model.",
                "",
            ]
        page += [f"*What this does not show.* {about_parts[part].not_shown}", ""]
    if len(table):
        page += [against_published(table), ""]
    return "\n".join([*page, *([missing, ""] if (missing := not_measured(table)) else [])])

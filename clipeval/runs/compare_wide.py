"""A comparison as people read it: a row for each model, a column for each headline number."""

import pandas as pd

from clipeval.output.numbers import MISSING, decimals_of, interval, unit_of
from clipeval.runs.compare import Comparison
from clipeval.studies import get_study
from clipeval.studies.headlines import ALL

ALPHA = 0.05
SHADED = (
    "Shaded: the highest (▲) and the lowest (▼) value of a column, where the paired test on the same images, "
    f"corrected by Holm, tells it from that of every other model (p < {ALPHA:g}). Neither is called better: what is "
    "counted may be a harm."
)


def wide(found: Comparison) -> list[dict]:
    """For each study and method a table of its headline numbers over all images.

    Returns
    -------
    list of dict: id, title, head (quantities), rows of (model, cells); a cell is text ("36.8 [34.7, 38.9]"), value
    (percent) and mark: "high", "low", or "" where no test supports either; `numbers`, the same as a DataFrame: model,
    then of each quantity its value, ci_low and ci_high
    """
    measured = found.rates[found.rates["n"].notna() & (found.rates["images_of"] == ALL)]
    tables = []
    units = measured["metric"].map(unit_of)
    for (study, method, unit), part in measured.groupby(["study", "method", units], sort=False):
        tests = found.paired[(found.paired["study"] == study) & (found.paired["method"] == method)]
        tests = tests[tests["images_of"] == ALL]
        quantities = list(dict.fromkeys(part["quantity"]))
        models = [label for label in found.labels if label in set(part["model"])]
        cells, numbers = {model: [] for model in models}, {"model": models}
        for quantity in quantities:
            rows = part[part["quantity"] == quantity].set_index("model")
            for name in ("percent", "ci_low", "ci_high"):
                head = quantity if name == "percent" else f"{quantity}, {name}"
                numbers[head] = rows[name].reindex(models).astype(float).round(8).to_list()
            marks = _marks(rows["percent"], tests[tests["quantity"] == quantity])
            for model in models:
                cells[model].append(_cell(rows, model, marks.get(model, "")))
        several = measured.loc[measured["study"] == study, "method"].nunique() > 1
        title = get_study(study).title + (f", {method}" if several else "")
        title += "" if unit == "percent" else f", in {unit}"
        id = "_".join(
            ["headlines", study, *[slug(method)] * several, *[slug(unit)] * (unit != "percent")]
        )
        shown = {"id": id, "title": title, "head": quantities, "rows": list(cells.items())}
        tables.append(shown | {"numbers": pd.DataFrame(numbers)})
    return tables


def slug(text: str) -> str:
    """A text as a part of a file's name."""
    return "".join(c if c.isalnum() else "_" for c in text).strip("_")


def _cell(rows: pd.DataFrame, model: str, mark: str) -> dict:
    if model not in rows.index:
        return {"text": MISSING, "value": "", "mark": ""}
    row = rows.loc[model]
    how = {
        "decimals": decimals_of(row["metric"]),
        "sign": unit_of(row["metric"]) == "percentage points",
    }
    text = interval(row["percent"], row["ci_low"], row["ci_high"], **how)
    return {"text": text, "value": f"{row['percent']:.6g}", "mark": mark}


def _marks(percent: pd.Series, tests: pd.DataFrame) -> dict[str, str]:
    """Model -> "high" or "low", of those that a test tells from every other model."""
    sure = tests[tests["p_adjusted"] < ALPHA]
    pairs = {
        frozenset(pair) for pair in sure[["model_a", "model_b"]].itertuples(index=False, name=None)
    }
    marks = {}
    for mark, model in (("high", percent.idxmax()), ("low", percent.idxmin())):
        others = [other for other in percent.index if other != model]
        if others and all(frozenset((model, other)) in pairs for other in others):
            marks[model] = mark
    return marks

"""A comparison on paper: tables, figures and one page."""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from clipeval.files import Folder, as_json
from clipeval.output.provenance import Provenance, bibtex, caption, code_version, legend
from clipeval.runs.compare import Comparison, compare_runs, overview
from clipeval.runs.compare_wide import SHADED, wide
from clipeval.session.local_paths import hider
from clipeval.session.run_folder import refuse_foreign
from clipeval.studies import get_study
from clipeval.studies.headlines import ALL

RATES = (
    "Headline numbers of each model on the same images, with the same prompts; rows named "
    "published are the papers' models on the papers' data."
)
#: unit of headline numbers -> id of their figure
UNITS = {"percent": "compare", "percentage points": "compare_points", "nats": "compare_nats"}
PAIRED = (
    "Paired differences between models (b - a, percentage points) on the same images; p values "
    "corrected by Holm within each study."
)
PAIRED_INTERVALS = "95 % intervals: Newcombe's paired method 10, over clusters a bootstrap"
#: further columns of the page
MORE = {"compare": ["source"], "paired": ["test"]}
MAY = (
    "A difference here is between two models on these images, these labels and these prompts. It "
    "does not say that one of them is better, or fit for any use on people: a model that is right "
    "more often may harm more. Published values are of other images or other prompts, and are no "
    "part of any test. Where images come in few clusters (sequences, people), an interval over them "
    "is not to be relied on, and no p value can be smaller than `smallest p`, whatever the models do. What is in nats "
    "or percentage points has the interval of each run's own report, and no test between models."
)


def compare(folders, out: str | Path, *, seed: int = 0) -> Comparison:
    """Compare run folders and write what was found; see `compare_runs` and `write_comparison`."""
    refuse_foreign(Path(out).expanduser().resolve(), "comparison")
    found = compare_runs(folders, seed=seed)
    write_comparison(found, out, folders)
    return found


def write_comparison(found: Comparison, out: str | Path, folders=()) -> Path:
    """Write tables/compare and tables/paired (CSV, LaTeX), figures, compare.json and index.html.

    Parameters
    ----------
    found : as from `compare_runs`
    out : folder, made if it does not exist; an older comparison in it is replaced
    folders : the run folders, for links

    Returns
    -------
    Path of index.html

    Raises
    ------
    ParameterError  if the folder holds what no comparison wrote
    """
    from clipeval.output.tables import write_table

    out = Path(out).expanduser().resolve()
    refuse_foreign(out, "comparison")
    places = {str(i): str(Path(folder).expanduser().resolve()) for i, folder in enumerate(folders)}
    found = replace(found, notes=hider(places, out)(found.notes))
    for part in ("tables", "figures", "page"):
        Folder(out / part).clear()
    said = {"models": found.labels, "notes": found.notes}
    Folder(out).write("compare.json", as_json(said))  # first: it says what the folder is
    about = Provenance(
        model=", ".join(found.labels), notes=tuple(found.notes), test_cards=found.test_cards
    )
    how = "95 % Wilson intervals, over clusters (sequences, people) a bootstrap"
    said = {"compare": (RATES, how), "paired": (PAIRED, PAIRED_INTERVALS)}
    texts = {
        id: _entry(id, text, about, kind="table", intervals=intervals)
        for id, (text, intervals) in said.items()
    }
    tables = {"compare": found.rates, "paired": found.paired}
    for id, table in tables.items():
        write_table(table, out / "tables", id, texts[id]["file"], extra=_shown(id, table))
    pictures = _figures(found, out, about, how)
    page = Folder(out).write("index.html", _page(found, out, texts, pictures, folders))
    Folder(out).tidy()
    return page


def _shown(id: str, table: pd.DataFrame) -> list[str]:
    """Columns beside the usual; those on clusters only where some images come in clusters."""
    clustered = table["interval"].astype(str).str.contains("clusters").any()
    if id == "compare":
        return ["interval", "clusters"] if clustered else []
    over = ["interval", "clusters", "few", "smallest_p"] if clustered else []
    return ["percent_a", "percent_b", "only_a", "only_b", "p", "p_adjusted", *over]


def _entry(id: str, text: str, about: Provenance, *, kind: str = "figure", **how) -> dict[str, str]:
    """What a page says of a table or figure: id, legend, caption and BibTeX to cite it by, and the file's caption."""
    code = code_version()
    return {
        "id": id,
        "legend": legend(text, kind=kind, **how),
        "caption": caption(text, about, kind=kind, code=code, **how),
        "file": caption(text, about, kind=kind, **how),
        "bibtex": bibtex(id, about, study="compare", title=text, code=code),
    }


def _figures(found: Comparison, out: Path, about: Provenance, how: str) -> list[dict]:
    """What the page says of the overview and of each study's own figure."""
    from clipeval.output.figures import alt_text, interval_plot, save_figure

    measured = found.rates[found.rates["n"].notna()]
    plan = []
    for unit, table in overview(found.rates).groupby("unit", sort=False):
        text = "Headline numbers of each model over all images" + (
            "." if unit == "percent" else f", in {unit}."
        )
        plan.append((UNITS[unit], table, "what", None, text, unit))
    for study, table in measured.groupby("study", sort=False):
        parts = table[table["images_of"] != ALL]
        for quantity, rows in parts.groupby("quantity", sort=False):
            several = rows["method"].nunique() > 1
            text = f"{get_study(study).title}: {quantity}, by group."
            name = f"{study}-{_slug(quantity)}"
            panel = "method" if several else None
            plan.append((name, rows, "images_of", panel, text, "percent"))
    written = []
    for id, table, y, panel, text, unit in plan:
        axes = {"y": y, "hue": "model", "panel": panel}
        axes["xlabel"] = "percent of images" if unit == "percent" else unit
        shown = interval_plot(table, **axes, width="double")
        axes["what"] = axes.pop("xlabel")
        alt = alt_text(table, **axes, names={"what": "quantity", "images_of": "group"})
        said = _entry(id, text, about, intervals=how, published_source=_sources(found, table))
        save_figure(shown, out / "figures", id, said["file"], about, alt=alt, column=out / "page")
        written.append(said | {"alt": alt, "wide": True, "column": True})
    return written


def _sources(found: Comparison, table: pd.DataFrame) -> str | None:
    rows = found.rates[found.rates["n"].isna() & found.rates["study"].isin(set(table["study"]))]
    sources = dict.fromkeys(s for s in rows["source"] if s.startswith("arXiv"))
    return "; ".join(sources) if table["published"].notna().any() else None


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text).strip("_")


def _link(run: Path, out: Path) -> str:
    """Where a page in `out` finds a run; "" where it lies elsewhere, as the way would tell of this machine."""
    beside = run.is_relative_to(out.parent)
    return f"{os.path.relpath(run, out)}/index.html" if beside else ""


def _page(found: Comparison, out: Path, texts: dict, pictures: list[dict], folders) -> str:
    from clipeval.output.tables import grid
    from clipeval.runs.pages import page

    places = [Path(folder).expanduser().resolve() for folder in folders]
    tables = {"compare": found.rates, "paired": found.paired}
    return page(
        "comparison",
        "Comparison of models",
        test_cards=found.test_cards,
        labels=found.labels,
        notes=found.notes,
        may=MAY,
        runs=[(place.name, _link(place, out)) for place in places],
        headlines=wide(found),
        shaded=SHADED,
        figures=pictures,
        tables=[
            {
                "entry": texts[id],
                "id": id,
                "caption": texts[id]["legend"],
                "table": grid(table, [*_shown(id, table), *MORE[id]]).about(),
            }
            for id, table in tables.items()
        ],
    )

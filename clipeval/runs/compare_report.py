"""A comparison on paper: tables, figures and one page."""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from clipeval.files import Folder, as_json
from clipeval.output.csv_files import to_csv
from clipeval.output.provenance import Provenance, bibtex, caption, code_version, legend
from clipeval.runs.compare import Comparison, compare_runs, overview
from clipeval.runs.compare_wide import SHADED, slug, wide
from clipeval.runs.matching import is_unworded
from clipeval.runs.pages import data_of, page
from clipeval.session.local_paths import hider
from clipeval.session.record import StudyRecord
from clipeval.session.run_folder import refuse_foreign
from clipeval.studies import get_study
from clipeval.studies.headlines import ALL

RATES = "Headline numbers of each model on the same images, with the same {}"
PUBLISHED = "; rows named published are the papers' models on the papers' data"
#: unit of headline numbers -> id of their figure
UNITS = {"percent": "compare", "percentage points": "compare_points", "nats": "compare_nats"}
PAIRED = (
    "Paired differences between models (b - a, percentage points) on the same images; p values "
    "corrected by Holm within each study."
)
PAIRED_INTERVALS = "95 % intervals: Newcombe's paired method 10"
#: further columns of the page
MORE = {"compare": ["source"], "paired": ["test"]}
MAY = (
    "A difference here is between two models on these images, these labels and these words. It "
    "does not say that one of them is better, or fit for any use on people: a model that is right "
    "more often may harm more. Published values are of other images or other prompts, and are no "
    "part of any test. Where images come in few clusters (sequences, people), an interval over them "
    "is not to be relied on, and no p value can be smaller than smallest p, whatever the models do. What is in nats "
    "or percentage points has the interval of each run's own report, and no test between models."
)


def compare(folders, out: str | Path, *, seed: int = 0) -> Comparison:
    """Compare run folders and write what was found; see `compare_runs` and `write_comparison`."""
    refuse_foreign(Path(out).expanduser().resolve(), "comparison")
    found = compare_runs(folders, seed=seed)
    write_comparison(found, out, folders)
    return found


def write_comparison(found: Comparison, out: str | Path, folders=()) -> Path:
    """Write the tables compare and paired (CSV, LaTeX), headline numbers (CSV), figures, compare.json and index.html.

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
    from clipeval.output.tables import grid, write_table

    out = Path(out).expanduser().resolve()
    refuse_foreign(out, "comparison")
    places = {str(i): str(Path(folder).expanduser().resolve()) for i, folder in enumerate(folders)}
    found = replace(found, notes=hider(places, out)(found.notes))
    for part in ("tables", "figures", "page"):
        Folder(out / part).clear()
    said = {"models": found.labels, "notes": found.notes}
    Folder(out).write("compare.json", as_json(said))  # first: it says what the folder is
    about = Provenance(
        model=", ".join(f"{label}{_of(found, label)}" for label in found.labels),
        notes=tuple(found.notes),
        test_cards=found.test_cards,
    )
    tables = []
    for id, table, text, intervals in (
        ("compare", found.rates, headline_text(found), _intervals(found.rates)),
        ("paired", found.paired, PAIRED, PAIRED_INTERVALS + _over(found.paired)),
    ):
        entry = _entry(id, text, _on(about, found), kind="table", intervals=intervals)
        shown = _shown(id, table)
        write_table(table, out / "tables", id, entry["file"], extra=shown)
        cells = grid(table, [*shown, *MORE[id]]).about()
        tables.append({"entry": entry, "id": id, "caption": entry["legend"], "table": cells})
    headlines = wide(found)
    for part in headlines:
        Folder(out / "tables").write(f"{part['id']}.csv", to_csv(part["numbers"]))
    pictures = _figures(found, out, about)
    page = Folder(out).write("index.html", _page(found, out, tables, headlines, pictures))
    Folder(out).tidy()
    return page


def headline_text(found: Comparison) -> str:
    """What the headline numbers share; prompts of answers made elsewhere may be unknown."""
    records = [r for kept in _records(found, found.rates).values() for r in kept]
    text = RATES.format("classes" if any(map(is_unworded, records)) else "prompts")
    return f"{text}{PUBLISHED if found.rates['published'].notna().any() else ''}."


def _records(found: Comparison, table: pd.DataFrame) -> dict[str, list[StudyRecord]]:
    """Of each model, the records of the studies in a table."""
    studies = dict.fromkeys(table["study"])
    return {
        label: [kept for study in studies if (kept := found.runs[label].record.studies.get(study))]
        for label in found.labels
        if label in found.runs
    }


def _of(found: Comparison, label: str) -> str:
    """Model and weights of a label, in brackets; "" where they are not known."""
    known = [r for r in _records(found, found.rates).get(label, []) if r.model]
    texts = dict.fromkeys(f"{r.model.name}, {r.model.weights_text}" for r in known)
    return f" ({'; '.join(texts)})" if texts else ""


def _data(found: Comparison, table: pd.DataFrame) -> list[str]:
    """The data sets that the models of a table were asked about."""
    records = [r for kept in _records(found, table).values() for r in kept if r.dataset]
    return list(dict.fromkeys(map(data_of, records)))


def _on(about: Provenance, found: Comparison, table: pd.DataFrame | None = None) -> Provenance:
    return replace(about, dataset="; ".join(_data(found, found.rates if table is None else table)))


def _intervals(table: pd.DataFrame) -> str:
    return f"95 % Wilson intervals{_over(table)}"


def _over(table: pd.DataFrame) -> str:
    return ", over clusters (sequences, people) a bootstrap" if _clustered(table) else ""


def _clustered(table: pd.DataFrame) -> bool:
    return table["interval"].astype(str).str.contains("clusters").any()


def _shown(id: str, table: pd.DataFrame) -> list[str]:
    """Columns beside the usual; those on clusters only where some images come in clusters."""
    clustered = _clustered(table)
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


def _figures(found: Comparison, out: Path, about: Provenance) -> list[dict]:
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
            name = f"{study}-{slug(quantity)}"
            panel = "method" if several else None
            plan.append((name, rows, "images_of", panel, text, "percent"))
    written = []
    for id, table, y, panel, text, unit in plan:
        axes = {"y": y, "hue": "model", "panel": panel}
        axes["xlabel"] = "percent of images" if unit == "percent" else unit
        shown = interval_plot(table, **axes, width="double")
        axes["what"] = axes.pop("xlabel")
        alt = alt_text(table, **axes, names={"what": "quantity", "images_of": "group"})
        made = _on(about, found, table)
        marks = {"intervals": _intervals(table), "published_source": _sources(found, table)}
        said = _entry(id, text, made, **marks)
        save_figure(shown, out / "figures", id, said["file"], made, alt=alt, column=out / "page")
        written.append(said | {"alt": alt, "wide": True, "column": True})
    return written


def _sources(found: Comparison, table: pd.DataFrame) -> str | None:
    rows = found.rates[found.rates["n"].isna() & found.rates["study"].isin(set(table["study"]))]
    sources = dict.fromkeys(s for s in rows["source"] if s.startswith("arXiv"))
    return "; ".join(sources) if table["published"].notna().any() else None


def _link(run: Path, out: Path) -> str:
    """Where a page in `out` finds a run; "" where it lies elsewhere, as the way would tell of this machine."""
    beside = run.is_relative_to(out.parent)
    return f"{os.path.relpath(run, out)}/index.html" if beside else ""


def _page(found: Comparison, out: Path, tables: list, headlines: list, pictures: list) -> str:
    beside = {label: _link(run.folder, out) for label, run in found.runs.items()}
    return page(
        "comparison",
        "Comparison of models",
        test_cards=found.test_cards,
        models=[(label, _of(found, label), beside.get(label, "")) for label in found.labels],
        data=_data(found, found.rates),
        notes=found.notes,
        may=MAY,
        headlines=headlines,
        shaded=SHADED,
        figures=pictures,
        tables=tables,
    )

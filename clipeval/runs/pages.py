"""Pages of a run folder: one a study from its executed notebook, and an index of all; nothing is fetched."""

import base64
import contextlib
import functools
import hashlib
import json
import re
from pathlib import Path

from clipeval import __version__
from clipeval.files import Folder
from clipeval.output import markup
from clipeval.output.provenance import TEST_CARDS
from clipeval.paths import DOCS
from clipeval.runs import changes
from clipeval.session.local_paths import told
from clipeval.session.record import KeptFigure, RunRecord, StudyRecord, read_run, read_study
from clipeval.session.study import Study
from clipeval.studies import STUDIES

#: of what was found, on the first screen; every study's page opens with its own
SENTENCES = 6
_PAGE = Path(__file__).parent / "page"
_ARTICLE = re.compile(r"\ba (?!eu|one)[aeio][a-z]+", re.I)  # not: a uniform, a European


@functools.cache
def _asset(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")


@functools.cache
def _glossary() -> list[tuple[str, str]]:
    """Terms and what they mean, from docs/glossary.md."""
    text = (DOCS / "glossary.md").read_text("utf-8").replace("`", "")
    return re.findall(r"^- \*\*(.+?)\*\*: (.+)$", text, re.M)


@functools.cache
def _policy() -> str:
    """What a page may load and run: its own pictures, style and script, whatever its text says."""
    digest = hashlib.sha256(_asset("page.js").encode()).digest()
    return (
        "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(digest).decode()}'; base-uri 'none'; form-action 'none'"
    )


def page(template: str, /, title: str, *, test_cards: bool = False, **values) -> str:
    """A whole page, with style and script in it.

    Parameters
    ----------
    template : file name without suffix: "study", "index", "comparison", or "page" for `main` alone
    title : plain text
    test_cards : whether it is about a replay on test cards, which is said first
    values : what the template names; text is escaped
    """
    values |= {
        "title": title + (" (replay on test cards)" if test_cards else ""),
        "test_cards": TEST_CARDS if test_cards else "",
        "policy": _policy(),
        "style": _asset("style.css"),
        "script": _asset("page.js"),
        "version": __version__,
        "glossary": _glossary(),
    }
    return markup.environment(_PAGE).get_template(f"{template}.html.j2").render(values)


def write_study(folder: Path, error: str = "") -> Path | None:
    """Write report.html from a study's executed notebook: what was found first, code folded away.

    Parameters
    ----------
    folder : OUT/STUDY, with notebook.ipynb and, where it finished, study.json
    error : what the study failed with; shown on top, and again at its place

    Returns
    -------
    path of the page, or None where there is no notebook
    """
    # nbconvert takes seconds to import: the index does without, and studies have it loaded beforehand
    from nbformat.v4 import reads

    from clipeval.runs import notebook_page

    try:
        notebook = reads((folder / "notebook.ipynb").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    study = STUDIES[folder.name]
    record = read_study(folder) or StudyRecord(study=study.id)
    heading = notebook_page.take_title(notebook) or study.title
    kinds = {"table": record.tables, "figure": record.figures}
    entries = {(kind, entry.id): entry for kind, kept in kinds.items() for entry in kept}
    first = _first(study, record)
    shown = {"study": study.id, "entries": entries, "first": first.id if first else ""}
    kept = {
        "Jupyter notebook": "notebook.ipynb",
        "predictions for each image": "predictions.parquet",
        "prompts": "prompts.json",
        "images that could not be read": "unreadable.csv",
    }
    text = page(
        "study",
        heading,
        test_cards=record.test_cards,
        heading=heading,
        study=study,
        error=error,
        record=record,
        of=f"{model_of(record)} on {data_of(record)}" if record.dataset else "",
        first=first,
        legible=_legible(folder / "figures" / f"{first.id}.svg") if first else 0,
        body=notebook_page.body(notebook, failed=bool(error), **shown),
        article=_article(folder),
        provenance=_provenance(record),
        files=[(text, file) for text, file in kept.items() if (folder / file).is_file()],
    )
    return Folder(folder).write("report.html", text)


def _first(study: Study, record: StudyRecord) -> KeptFigure | None:
    """The figure that a page opens with: the study's choice, else its first, None where it has none."""
    figures = {figure.id: figure for figure in record.figures}
    return figures.get(study.figure) or next(iter(figures.values()), None)


def _legible(figure: Path) -> int:
    """Pixels that a figure has to be high for its letters of 7 points to be 8 pixels high; 0 for none."""
    with contextlib.suppress(OSError):
        if found := re.search(r'<svg[^>]* height="([0-9.]+)pt"', figure.read_text("utf-8")):
            return round(float(found[1]) * 8 / 7)
    return 0


def _article(folder: Path) -> str:
    """A prompt with an article that does not fit, as templates put it before any word; "" for none."""
    prompts = folder / "prompts.json"
    found = _ARTICLE.search(prompts.read_text("utf-8")) if prompts.is_file() else None
    return found[0] if found else ""


def _code(record: StudyRecord) -> str:
    if not (code := record.code):
        return ""
    commit = f", commit {code.commit}" if code.commit else ""
    return f"clipeval {code.version}{commit}" + (", with changes" if code.dirty else "")


def model_of(record: StudyRecord) -> str:
    """A record's model and weights, in a few words."""
    return f"{record.model.name} ({record.model.weights_text})"


def data_of(record: StudyRecord) -> str:
    """A record's data set and number of images, in a few words."""
    data = record.dataset
    name, n = ", ".join(filter(None, [data.name, data.version])), f"{data.read:,}"
    # a deck's version says how many cards it has
    return (
        name
        if f" {n} cards" in name
        else f"{name}: {n} {'cards' if record.test_cards else 'photographs'}"
    )


def _provenance(record: StudyRecord) -> dict[str, str]:
    """What a study was run with; nothing where it did not finish."""
    if record.code is None:
        return {}
    rows = {}
    if model := record.model:
        rows |= {"Model": model.name, **_about(model)}
        rows["Answers"] = f"made elsewhere, sha256 {record.scores}" if record.scores else ""
        rows["Device"] = record.device
    if data := record.dataset:
        rows |= {
            "Data": f"{data.name}, {data.version}; {data.read:,} of {data.images:,} images read",
            "Data hash": data.hash,
            "Licence": data.licence,
            "Labels": data.labels,
            "Notes": " ".join(data.notes),
        }
    classes = record.class_sets.items()
    given = told(record.parameters).items()
    return rows | {
        "Class sets": "; ".join(f"{name} ({found.hash[:12]})" for name, found in classes),
        "Templates": ", ".join(record.templates),
        "Drawn from": ", ".join(record.drawn_from),
        "Parameters": ", ".join(f"{k}={v!r}" for k, v in given if k != "out"),
        "Code": _code(record),
        "Versions": ", ".join(f"{k} {v}" for k, v in record.versions.items() if v),
    }


def _about(model) -> dict[str, str]:
    """What is known of a model; of answers made elsewhere that it is not."""
    if not model.is_known:
        return {"Weights, preprocess": "unknown", "Logit scale": f"{model.logit_scale:.6g}"}
    return {
        "Weights": f"{model.weights}, sha256 {model.weights_sha256 or model.fingerprint}",
        "Precision, activation": f"{model.precision}, {model.activation or 'own'}",
        **({} if model.runtime == "torch" else {"Image tower run by": model.runtime}),
        "Logit scale, bias": f"{model.logit_scale:.6g}, {model.logit_bias}",
        "Preprocess": json.dumps(model.preprocess),
    }


def write_index(out: Path) -> Path:
    """Write index.html of a run folder: what was run on what, a sentence for each study, the card's figure.

    Parameters
    ----------
    out : run folder; run.json says which studies failed, changes.json what changed since the last run
    """
    out = Path(out)
    run = read_run(out) or RunRecord(clipeval=__version__)
    since = changes.read(out)
    shown = [study for study in STUDIES.values() if (out / study.id / "report.html").is_file()]
    shown.sort(key=lambda study: not study.is_summary)
    finished = run.studies.keys() - run.failed.keys()
    done = {study: run.studies[study.id] for study in shown if study.id in finished}
    records = run.studies.values()
    text = page(
        "index",
        "Characterization of a CLIP-like model",
        test_cards=any(record.test_cards for record in records),
        studies=[(study, run.failed.get(study.id, "")) for study in shown],
        found=[
            (record.finding[0], study)
            for study, record in done.items()
            if record.finding and not study.is_summary
        ][:SENTENCES],
        missing=[s.title for s in STUDIES.values() if not (s.is_summary or s in done)],
        summary={
            "Model": "; ".join(dict.fromkeys(model_of(r) for r in records if r.model)),
            "Data": "; ".join(dict.fromkeys(data_of(r) for r in records if r.dataset)),
            "Profile": run.arguments.get("profile") or "",
            "Code": "; ".join(dict.fromkeys(filter(None, map(_code, records)))),
            "Finished": run.finished,
        },
        unfinished=run.state in ("running", "stopped"),
        figures=[
            (study.id, _first(study, record))
            for study, record in done.items()
            if study.is_summary and record.figures
        ],
        changes=changes.sentences(since),
        changed=changes.summary(since) if since else "",
    )
    return Folder(out).write("index.html", text)

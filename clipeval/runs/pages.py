"""Pages of a run folder: one a study from its executed notebook, and an index of all; nothing is fetched."""

import base64
import functools
import hashlib
import json
from pathlib import Path

from clipeval import __version__
from clipeval.output import markup
from clipeval.output.provenance import TEST_CARDS
from clipeval.session.record import RunRecord, StudyRecord, read_run, read_study
from clipeval.studies import STUDIES

_PAGE = Path(__file__).parent / "page"


@functools.cache
def _asset(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")


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
    }
    return markup.environment(_PAGE).get_template(f"{template}.html.j2").render(values)


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def write_study(folder: Path, error: str = "") -> Path | None:
    """Write report.html from a study's executed notebook, code folded away.

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
    kinds = {"table": record.tables, "figure": record.figures}
    entries = {(kind, entry.id): entry for kind, kept in kinds.items() for entry in kept}
    rows = {"Code": _code(record), "Parameters": _parameters(record)}
    about = {"study": study.id, "entries": entries, "rows": rows}
    kept = {
        "Jupyter notebook": "notebook.ipynb",
        "Predictions for each image": "predictions.parquet",
        "Prompts": "prompts.json",
        "Images that could not be read": "unreadable.csv",
    }
    path = folder / "report.html"
    text = page(
        "study",
        study.title,
        test_cards=record.test_cards,
        study=study,
        error=error,
        heading=notebook_page.take_title(notebook) or study.title,
        body=notebook_page.body(notebook, failed=bool(error), **about),
        provenance=_provenance(record),
        files=[(text, file) for text, file in kept.items() if (folder / file).is_file()],
    )
    path.write_text(text, "utf-8")
    return path


def _code(record: StudyRecord) -> str:
    if not (code := record.code):
        return ""
    commit = f", commit {code.commit}" if code.commit else ""
    return f"clipeval {code.version}{commit}" + (", with changes" if code.dirty else "")


def _parameters(record: StudyRecord) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in record.parameters.items() if k != "out")


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
    return rows | {
        "Class sets": "; ".join(f"{name} ({words.hash[:12]})" for name, words in classes),
        "Templates": ", ".join(record.templates),
        "Drawn from": ", ".join(record.drawn_from),
        "Parameters": _parameters(record),
        "Code": _code(record),
        "Versions": ", ".join(f"{k} {v}" for k, v in record.versions.items() if v),
    }


def _about(model) -> dict[str, str]:
    """What is known of a model; of answers made elsewhere that it is not."""
    if not model.is_known:
        return {"Weights, preprocess": "unknown", "Logit scale": f"{model.logit_scale:.6g}"}
    return {
        "Weights": f"{model.weights}, sha256 {model.weights_sha256}",
        "Precision, activation": f"{model.precision}, {model.activation or 'own'}",
        "Logit scale, bias": f"{model.logit_scale:.6g}, {model.logit_bias}",
        "Preprocess": json.dumps(model.preprocess),
    }


def write_index(out: Path) -> Path:
    """Write index.html of a run folder: what was run on what, the card's figure, a line for each study.

    Parameters
    ----------
    out : run folder; run.json says which studies failed, changes.json what changed since the last run
    """
    from clipeval.runs.changes import sentences, summary

    out = Path(out)
    run, changes = read_run(out) or RunRecord(clipeval=__version__), _json(out / "changes.json")
    failed = run.failed
    order = sorted(STUDIES, key=lambda name: not STUDIES[name].is_summary)
    studies = [
        {"id": name, "title": STUDIES[name].title, "question": STUDIES[name].question}
        | {"error": failed.get(name, "")}
        for name in order
        if (out / name / "report.html").is_file()
    ]
    path = out / "index.html"
    text = page(
        "index",
        "Characterization of a CLIP-like model",
        test_cards=any(record.test_cards for record in run.studies.values()),
        studies=studies,
        summary=_summary(run),
        unfinished=run.state in ("running", "stopped"),
        figures=[
            {"study": name} | about
            for name in order
            if STUDIES[name].is_summary and name not in failed
            for about in _figures(out / name)
        ],
        changes=sentences(changes) if changes else [],
        changed=summary(changes) if changes else "",
    )
    path.write_text(text, "utf-8")
    return path


def _figures(folder: Path) -> list[dict]:
    """What the session of a study said of its figures, as its notebook keeps it."""
    cells = _json(folder / "notebook.ipynb").get("cells", [])
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    found = [output.get("metadata", {}).get("clipeval", {}) for output in outputs]
    return [about for about in found if about.get("kind") == "figure"]


def _summary(run: RunRecord) -> dict[str, str]:
    """Which model on which data, in a few lines."""
    models, data = {}, {}
    for record in run.studies.values():
        if model := record.model:
            models[f"{model.name} ({model.weights_text})"] = None
        if found := record.dataset:
            name = ", ".join(filter(None, [found.name, found.version]))
            data[f"{name}: {found.read:,} photographs"] = None
    return {
        "Model": ", ".join(models),
        "Data": "; ".join(data),
        "Profile": run.arguments.get("profile", ""),
        "Code": "; ".join(dict.fromkeys(_code(record) for record in run.studies.values())),
        "Finished": run.finished,
    }

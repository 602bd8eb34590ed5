"""Pages of a run folder: one a study from its executed notebook, and an index of all; nothing is fetched."""

import base64
import functools
import hashlib
import json
from html import escape
from pathlib import Path

from clipeval.output.provenance import TEST_CARDS
from clipeval.runs.notebook_page import Block, blocks
from clipeval.studies import STUDIES

__all__ = ["page", "write_index", "write_study"]

_PAGE = Path(__file__).parent / "page"
_FILES = {"figure": ("pdf", "svg", "png"), "table": ("csv", "tex")}
_LONG = 60  # rows; a longer table is linked on the index, and shown whole on its study's page
_SINCE = "Since the run before"
_FOLDED = 15  # rows; a longer table is folded on the index


@functools.cache
def _asset(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")


@functools.cache
def _policy() -> str:
    """What a page may load and run: its own pictures, style and script, whatever its text says."""
    digest = hashlib.sha256(_script().encode()).digest()
    return (
        "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(digest).decode()}'; base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    return f"\n{_asset('page.js')}"


def page(title: str, body: str, nav: str = "") -> str:
    """A whole page around `body`, with style and script in it.

    Parameters
    ----------
    title : plain text
    body : HTML, with an h1
    nav : HTML of links, before the content
    """
    from clipeval import __version__

    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_asset('style.css')}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#main">Skip to the content</a>\n{nav}<main id="main">\n{body}\n</main>\n'
        f"<footer><p>Made by clipeval {__version__}.</p></footer>\n"
        f"<script>{_script()}</script>\n</body>\n</html>\n"
    )


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _replay(record: dict) -> str:
    return f'<p class="replay">{escape(TEST_CARDS)}.</p>\n' if record.get("test_cards") else ""


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
    notebook = _json(folder / "notebook.ipynb")
    if not notebook:
        return None
    record, study = _json(folder / "study.json"), STUDIES[folder.name]
    body = [_replay(record)]
    if error:
        body.append(f'<p class="failed">This study failed: {escape(error)}</p>\n')
    parts = list(blocks(notebook, study=study.id, failed=bool(error)))
    if not any(part.html.startswith("<h1") for part in parts):
        body.append(f"<h1>{escape(study.title)}</h1>\n")
    for part in parts:
        body += [part.html, _cite(part, study.id, record)]
    if error:
        body.append("<p>The rest of the notebook was not run, and is left out here.</p>\n")
    body.append(_provenance(record, "<h2>Provenance</h2>"))
    title = study.title + (" (replay on test cards)" if record.get("test_cards") else "")
    nav = '<nav aria-label="Run"><a href="../index.html">All studies of this run</a></nav>\n'
    path = folder / "report.html"
    path.write_text(page(f"{title} – clipeval", "\n".join(body), nav), "utf-8")
    return path


def _cite(part: Block, study: str, record: dict, base: str = "") -> str:
    """The box under a table or figure: its files, how to cite it, what it was made with."""
    entries = {entry["id"]: entry for entry in record.get(f"{part.kind}s", [])}
    if part.id not in entries:
        return ""
    entry, name = entries[part.id], f"{study}-{part.kind}-{part.id}"
    links = ", ".join(
        f'<a href="{base}{part.kind}s/{part.id}.{end}">{end.upper()}</a>'
        for end in _FILES[part.kind]
    )
    rows = {
        "Id": f"{study}/{part.id}",
        "Code": _code(record),
        "Parameters": _parameters(record),
    }
    return (
        f'<details class="cite" id="{name}-cite"><summary>Cite this {part.kind}</summary>'
        f'<p>Files: {links}. Link: <a href="#{name}">#{name}</a></p>'
        f'{_listed(rows)}<pre tabindex="0">{escape(entry["bibtex"])}</pre></details>'
    )


def _listed(rows: dict) -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items() if v)
    return f"<dl>{items}</dl>"


def _code(record: dict) -> str:
    code = record.get("code", {})
    commit = f", commit {code['commit']}" if code.get("commit") else ""
    return f"clipeval {code.get('version')}{commit}" + (
        ", with changes" if code.get("dirty") else ""
    )


def _parameters(record: dict) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in record.get("parameters", {}).items() if k != "out")


def _provenance(record: dict, heading: str = "") -> str:
    """What a study was run with, as a list."""
    if not record:
        return ""
    rows = {}
    if model := record.get("model"):
        rows |= {
            "Model": f"{model['model']} {model['pretrained']}",
            "Weights": f"{model['weights']}, sha256 {model['weights_sha256']}",
            "Precision, activation": f"{model['precision']}, {model['activation'] or 'own'}",
            "Logit scale, bias": f"{model['logit_scale']:.6g}, {model['logit_bias']}",
            "Preprocess": json.dumps(model["preprocess"]),
            "Device": record["device"],
        }
    if data := record.get("dataset"):
        rows |= {
            "Data": f"{data['name']}, {data['version']}; {data['read']:,} of {data['images']:,} images read",
            "Data hash": data["hash"],
            "Licence": data.get("licence", ""),
            "Labels": data["labels"],
            "Notes": " ".join(data.get("notes", [])),
        }
    classes = record.get("class_sets", {})
    rows |= {
        "Class sets": "; ".join(
            f"{name} ({found['hash'][:12]})" for name, found in classes.items()
        ),
        "Templates": ", ".join(record.get("templates", {})),
        "Drawn from": ", ".join(record.get("drawn_from", {})),
        "Parameters": _parameters(record),
        "Code": _code(record),
        "Versions": ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items() if v),
    }
    return f"{heading}\n{_listed(rows)}\n"


def write_index(out: Path) -> Path:
    """Write index.html of a run folder: the card first, then each study, failed ones marked.

    Parameters
    ----------
    out : run folder; run.json says which studies failed, changes.json what changed since the last run
    """
    out = Path(out)
    run = _json(out / "run.json")
    failed, records = run.get("failed", {}), run.get("studies", {})
    order = sorted(STUDIES, key=lambda name: not STUDIES[name].is_summary)
    shown = [name for name in order if (out / name / "report.html").is_file()]
    test_cards = any(record.get("test_cards") for record in records.values())
    title = "Characterization of a CLIP-like model" + (
        " (replay on test cards)" if test_cards else ""
    )
    changes = _json(out / "changes.json")
    body = [
        f"<h1>{title}</h1>",
        _replay({"test_cards": test_cards}),
        _summary(run, records, changes),
    ]
    body += [_study(out, name, records.get(name, {}), failed.get(name, "")) for name in shown]
    body.append(_changes(changes))
    titles = {name: STUDIES[name].title + (" (failed)" if name in failed else "") for name in shown}
    titles |= {"changes": _SINCE} if changes else {}
    links = "".join(f'<li><a href="#{id}">{escape(text)}</a></li>' for id, text in titles.items())
    nav = f'<nav aria-label="Studies"><ul>{links}</ul></nav>\n'
    path = out / "index.html"
    path.write_text(page(f"{title} – clipeval", "\n".join(body), nav), "utf-8")
    return path


def _summary(run: dict, records: dict, changes: dict) -> str:
    """What was run, and whether results differ from the run before, in a few lines."""
    from clipeval.runs.changes import summary

    models = dict.fromkeys(
        f"{r['model']['model']} {r['model']['pretrained']}".strip()
        for r in records.values()
        if "model" in r
    )
    codes = dict.fromkeys(_code(r) for r in records.values())
    rows = {
        "Model": ", ".join(models),
        "Profile": run.get("arguments", {}).get("profile", ""),
        "Code": "; ".join(codes),
        "Finished": run.get("finished", ""),
    }
    stopped = ""
    if run.get("state") in ("running", "stopped"):
        stopped = (
            '<p class="failed">This run has not finished; the same command goes on from here.</p>'
        )
    moved = (
        f'<p>{escape(summary(changes))} <a href="#changes">What changed</a></p>' if changes else ""
    )
    return stopped + _listed(rows) + moved


def _study(out: Path, name: str, record: dict, error: str) -> str:
    """A study on the index: figures, tables, what may and may not be concluded, provenance."""
    study = STUDIES[name]
    parts = [
        f'<section id="{name}" class="study"><h2><a href="{name}/report.html">{escape(study.title)}</a></h2>',
        f"<p>{escape(study.question)}</p>",
    ]
    if error:
        parts.append(
            f'<p class="failed">Failed: {escape(error)} Its '
            f'<a href="{name}/report.html">page</a> shows how far it came.</p>'
        )
    conclusions = []
    notebook = _json(out / name / "notebook.ipynb")
    for part in blocks(notebook, study=name, base=f"{name}/", failed=bool(error)):
        if part.kind in ("figure", "table"):
            cite = _cite(part, name, record, f"{name}/")
            parts += [_shortened(part, name, record) if part.kind == "table" else part.html, cite]
        elif part.section.startswith("What may") and part.kind in ("text", "output"):
            conclusions.append(_lowered(part.html))
    parts += conclusions if not error else []
    if record:
        parts.append(
            f'<details class="more"><summary>Provenance</summary>{_provenance(record)}</details>'
        )
    links = [("Notebook with all tables", "report.html"), ("Jupyter notebook", "notebook.ipynb")]
    links += [("Predictions for each image", "predictions.parquet"), ("Prompts", "prompts.json")]
    links = [
        f'<a href="{name}/{file}">{text}</a>'
        for text, file in links
        if (out / name / file).is_file()
    ]
    return "\n".join([*parts, f"<p>{', '.join(links)}.</p></section>"])


def _shortened(part: Block, name: str, record: dict) -> str:
    """A long table folded, a very long one linked; under the id that the box below it names."""
    if part.rows <= _FOLDED or STUDIES[name].is_summary:
        return part.html
    entry = next((e for e in record.get("tables", []) if e["id"] == part.id), {})
    title = f"Table: {escape(entry.get('text', part.id))} ({entry.get('rows', part.rows):,} rows)"
    if part.rows > _LONG:
        id = f"{name}-table-{part.id}"
        return f'<p id="{id}"><a href="{name}/report.html#{id}">{title}</a></p>'
    return f'<details class="more"><summary>{title}</summary>{part.html}</details>'


def _lowered(html: str) -> str:
    """Headings one level down, as they stand in a study's section."""
    for level in (5, 4, 3, 2):
        html = html.replace(f"<h{level}", f"<h{level + 1}").replace(
            f"</h{level}>", f"</h{level + 1}>"
        )
    return html


def _changes(changes: dict) -> str:
    if not changes:
        return ""
    from clipeval.runs.changes import sentences

    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(changes))
    return f'<section id="changes" class="study"><h2>{_SINCE}</h2><ul>{items}</ul></section>'

"""Tiny studies: notebooks of a few cells on a handful of drawn cards, run like any other."""

from pathlib import Path

import nbformat
import pandas as pd
from decks import plant
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.runs.profiles import plan_run

START = (
    "import clipeval\nfrom clipeval.output import figures\nfrom clipeval.stats import group_rates\n"
)
STUDY = [
    "# A tiny study\n\nWhat does it show?",
    START + 'session = clipeval.start("{study}", globals())\nsession.describe()',
    "session.reading()",
    "predictions = session.classify('gender', class_set='fairface')\n"
    "session.save_predictions(predictions)\npredictions.head()",
    "right = predictions.assign(right=predictions['label'].astype(str) == predictions['gender'].astype(str))\n"
    "table = group_rates(right, 'right', by=['race'], metric='accuracy')\n"
    "table = table.assign(published=float('nan'), difference=float('nan'))\n"
    "session.table('by_race', table, 'Accuracy of gender by race.')",
    "session.figure('by_race', figures.interval_plot(table, y='race'), 'Accuracy of gender by race.')",
    "## What may be concluded\n\n- Little, from so few cards.\n\n## What may not be concluded\n\n- Anything else.",
    "session.finish()",
]


def write_notebooks(folder: Path, **studies: list[str]) -> Path:
    """Notebooks by study id; a cell that begins with # and a space, or ##, is Markdown."""
    from clipeval.studies import STUDIES

    folder.mkdir(parents=True, exist_ok=True)
    for study, cells in studies.items():
        parameters = "".join(
            f"{name} = {field.default!r}\n"
            for name, field in STUDIES[study].Parameters.model_fields.items()
        )
        notebook = new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        )
        notebook.cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        for cell in cells:
            text = cell.replace("{study}", study)
            kind = new_markdown_cell if text.startswith(("# ", "## ")) else new_code_cell
            notebook.cells.append(kind(text))
        notebook.cells.sort(key=lambda cell: not cell.source.startswith("# "))
        nbformat.write(notebook, folder / f"{STUDIES[study].notebook}.ipynb")
    return folder


def people(n: int = 12, wrong: int = 2) -> tuple[pd.DataFrame, list[str]]:
    """People of two races, and genders as they shall be predicted: the first `wrong` are wrong."""
    columns = {
        "race": ["White", "Black"],
        "gender": ["Male", "Male", "Female"],
        "age": ["20-29", "0-2"],
    }
    table = pd.DataFrame({name: (values * n)[:n] for name, values in columns.items()})
    labels = table["gender"].tolist()
    for i in range(wrong):
        labels[i] = "Female" if labels[i] == "Male" else "Male"
    return table, labels


def cards(folder: Path, wrong: int = 2) -> Path:
    """A manifest of drawn cards that answer as `people` says."""
    classes = load_class_set("fairface")
    prompts = prompts_for(classes, load_templates("photo"), "gender")
    table, labels = people(wrong=wrong)
    return plant(folder, table, {name: texts[0] for name, texts in prompts.items()}, labels)


def plan(studies: list[str], manifest: Path, out: Path, **values) -> dict:
    """Parameters of each study on a manifest of cards."""
    given = {"dataset": "manifest", "data": str(manifest), "fairface.methods": "zero-shot"}
    given = {k: v for k, v in given.items() if "." not in k or k.split(".")[0] in studies}
    return plan_run(studies, "demo", given | {k: str(v) for k, v in values.items()}, str(out))

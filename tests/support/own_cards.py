"""A user's own small data sets of test cards, and a study's notebook run on them in this process."""

import shutil
from pathlib import Path

import papermill

from clipeval.runs import engine
from clipeval.runs.profiles import plan_run
from clipeval.studies import STUDIES
from clipeval.testcards import load_cards

#: group columns that every study of people accepts
GOOD = {"race": ["White", "Black", "Indian"], "gender": ["Male", "Female"], "age": ["3-9", "10-19"]}
SCENES = ("a car park", "a street", "a hall")


def manifest(folder: Path, n: int = 12, **columns) -> dict:
    """Parameters that name a CSV of `n` cards; the values of each column are repeated in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [",".join(["file", *columns])]
    for i, file in enumerate(load_cards().head(n)["file"]):
        shutil.copy(file, folder)
        rows.append(",".join([Path(file).name, *(v[i % len(v)] for v in columns.values())]))
    (folder / "cards.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return {"dataset": "manifest", "data": str(folder / "cards.csv")}


def people(folder: Path, n: int = 6) -> dict:
    """Parameters that name a folder with a folder for each of three people."""
    for i, file in enumerate(load_cards().head(n)["file"]):
        (folder / f"Person {i % 3}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"Person {i % 3}")
    return {"dataset": "celebrities", "data": str(folder)}


def frames(folder: Path) -> dict:
    """Parameters that name three captioned frames."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,sequence,caption,close_caption"]
    for i, file in enumerate(load_cards().head(3)["file"]):
        shutil.copy(file, folder / f"{i}.png")
        rows.append(f"{i}.png,{'abc'[i]},{SCENES[i]},{SCENES[i]} at night")
    (folder / "frames.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return {"dataset": "cctv", "data": str(folder)}


def run_notebook(study: str, given: dict, out: Path) -> str:
    """Run a study's notebook as a run does, in this process; what it failed with, "" where it is done."""
    (plan,) = plan_run([study], "demo", given, str(out)).values()
    (out / study).mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            STUDIES[study].notebook_path,
            out / study / "notebook.ipynb",
            parameters=plan.model_dump(),
            engine_name=engine.NAME,
            kernel_name="python3",
            language="python",
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    return ""

"""A reviewer with the run folder alone: every edited number is named, whoever also edits the list of hashes."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny
from decks import shared_cache

from clipeval.errors import DataError
from clipeval.files import LIST, Folder, file_sha256
from clipeval.packs import verifying
from clipeval.packs.writing import make_pack
from clipeval.runs.runner import run_studies
from clipeval.sources.recorded import Recorded
from clipeval.studies import get_study

STUDIES = ["class_design", "card"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of class_design on twelve drawn cards, with its card."""
    root = tmp_path_factory.mktemp("verify")
    out = root / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
        outcomes = run_studies(tiny.plan(STUDIES, tiny.cards(root / "cards"), out), out)
    assert not any(outcome.error for outcome in outcomes)
    return out


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def listed_anew(path: Path) -> None:
    """Give a file that was edited the hash that it has now, as whoever wants to hide it would."""
    index = path.parent / LIST
    lines = [line for line in index.read_text().splitlines() if line[66:] != path.name]
    index.write_text("\n".join([*lines, f"{file_sha256(path)}  {path.name}"]) + "\n")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_what_was_edited_is_named_and_nothing_else(copy, demo_cache):
    tables = len(list(copy.glob("*/tables/*.csv")))
    by_race = copy / "class_design/tables/by_race.csv"
    table = pd.read_csv(by_race)
    row = int(table["percent"].idxmax())
    before = repr(float(table["percent"][row]))
    lines = by_race.read_text().splitlines()
    lines[row + 1] = lines[row + 1].replace(before, "1.5", 1)
    by_race.write_text("\n".join(lines) + "\n")
    listed_anew(by_race)
    figure = copy / "class_design/figures/sweep.svg"
    edit(figure, "</svg>", "<g/></svg>")
    listed_anew(figure)
    record = copy / "class_design/study.json"
    finding = json.loads(record.read_text())["finding"][0]
    content = json.loads(record.read_text())
    content["finding"][0] = "Nothing was found."
    record.write_text(json.dumps(content))
    listed_anew(record)
    edit(copy / "index.html", "</html>", "</html> ")
    (copy / "notes.txt").write_text("mine")
    (copy / "card/card.md").unlink()
    (copy / "class_design/answers/candidates.parquet").unlink()  # range and sweep come after it

    found = verifying.verify(copy)

    differs = {doubt.file: doubt.reason for doubt in found.differs}
    assert finding and set(differs) == {
        "index.html",
        "notes.txt",
        "card/card.md",
        "class_design/answers/candidates.parquet",
        "class_design/tables/by_race.csv",
    }
    assert "changed" in differs["index.html"] and "missing" in differs["card/card.md"]
    group = table["race"][row]
    assert re.match(
        rf"percent of row {row + 1} \({group}.*\) is 1.5, ",
        differs["class_design/tables/by_race.csv"],
    )
    assert differs["class_design/tables/by_race.csv"].endswith(before)
    unmade = {doubt.file for doubt in found.not_verified}
    assert {"class_design/tables/sweep.csv", "class_design/tables/range.csv"} <= unmade
    assert (
        not found.well
        and found.tables + len([f for f in unmade if f.endswith(".csv")]) + 1 == tables
    )


def test_a_whole_run_is_verified_figures_and_finding_too(copy, demo_cache, monkeypatch, capsys):
    from clipeval.cli import main

    figure = copy / "class_design/figures/sweep.svg"
    edit(figure, "</svg>", "<g/></svg>")
    listed_anew(figure)
    record = copy / "class_design/study.json"
    content = json.loads(record.read_text())
    content["finding"][0] = "Nothing was found."
    record.write_text(json.dumps(content))
    listed_anew(record)
    (copy / "local.json").unlink(missing_ok=True)  # it stays on its machine

    monkeypatch.setattr(sys, "argv", ["clipeval", "verify", str(copy), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()

    said = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1 and not said["verified"] and not said["not_verified"]
    # an edited card.csv would follow from the tables: only what was edited differs
    assert {doubt["file"] for doubt in said["differs"]} == {
        "class_design/figures/sweep.svg",
        "class_design/study.json",
    }
    assert said["tables"] == len(list(copy.glob("*/tables/*.csv"))) > 5
    assert said["figures"] == len(list(copy.glob("*/figures/*.svg"))) - 1


def test_a_study_that_fails_when_all_its_tables_are_made_is_named_with_the_cause(copy, monkeypatch):
    def again(plan, into, jobs):
        shutil.copytree(copy, into)
        return {"class_design": "the disk is full", "card": ""}

    monkeypatch.setattr(verifying, "_run_again", again)
    found = verifying.verify(copy)
    doubts = {doubt.file: doubt.reason for doubt in found.not_verified}
    assert doubts.pop("class_design") == "it cannot be run again: the disk is full"
    assert doubts.pop("card").endswith(": it is made of class_design, which could not be run again")
    assert set(doubts.values()) == {"not made again"} and {f.split("/")[0] for f in doubts} == {
        "card"
    }
    assert not found.well and not found.differs


def test_one_hash_stands_for_a_run_wherever_it_lies(run, copy):
    same = verifying.run_sha256(run)
    (copy / "local.json").unlink(missing_ok=True)
    assert verifying.run_sha256(copy) == same
    path = next(copy.glob("*/tables/*.csv"))
    path.write_text(path.read_text() + "x\n")
    listed_anew(path)
    assert verifying.run_sha256(copy) != same


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("race,n,percent\nA,4,25.0\nB,4,50.0\n", ""),
        (
            "race,n,percent\nA,4,25.0\nB,4,75.0\n",
            "percent of row 2 (B) is 50.0, and the answers give 75.0",
        ),
        ("race,n,percent\nA,4,25.0\nC,4,50.0\n", "race of row 2 (C) is B, and the answers give C"),
        ("race,n,percent\nA,4,25.0\n", "it has 2 rows, and the answers give 1"),
        ("race,n,share\nA,4,25.0\nB,4,50.0\n", "its columns are not those of the answers"),
    ],
)
def test_the_first_cell_that_differs_is_named(tmp_path, made, said):
    (tmp_path / "kept.csv").write_text("race,n,percent\nA,4,25.0\nB,4,50.0\n")
    (tmp_path / "made.csv").write_text(made)
    assert verifying.difference(tmp_path / "kept.csv", tmp_path / "made.csv").startswith(said)
    assert bool(verifying.difference(tmp_path / "kept.csv", tmp_path / "made.csv")) == bool(said)


def test_an_edited_folder_is_not_packed(copy, demo_cache):
    path = copy / "class_design/tables/by_race.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match=r"by_race.csv: it was changed since clipeval wrote it"):
        make_pack(copy, copy.parent / "x.clipeval.zip")
    assert not (copy.parent / "x.clipeval.zip").exists()


def test_altered_names_what_was_changed_added_and_removed(tmp_path):
    folder = Folder(tmp_path)
    for name in ("a", "b", "c"):
        folder.write(name, name)
    Folder(tmp_path / "below").write("d", "d")
    assert list(folder.altered()) == [] and len(folder.owned()) == 4
    (tmp_path / "a").write_text("edited")
    (tmp_path / "below/d").unlink()
    (tmp_path / "mine").write_text("x")
    assert {str(file): why for file, why in folder.altered()} == {
        "a": "it was changed since clipeval wrote it",
        "mine": "clipeval did not write it",
        "below/d": "it is missing",
    }


def test_the_folder_keeps_the_images_without_their_files(run, demo_cache):
    folder = run / "class_design"
    kept = pd.read_parquet(folder / "answers/images.parquet")
    assert (
        len(kept) == 12
        and "file" not in kept
        and kept["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    )
    study = get_study("class_design")
    parameters = study.Parameters(pack=str(run))
    session = study.open(parameters, source=Recorded(parameters, study=study.id, deck=study.deck))
    assert session.data_hash == json.loads((folder / "study.json").read_text())["dataset"]["hash"]
    with pytest.raises(Exception, match="no prompt can be asked"):
        session.encode(["a photo of a cat"])
    # of answers made elsewhere only what was asked has answers; a model may have been asked anything
    source, thief, dog = session.source, {"thief": ["a photo of a thief."]}, {"dog": ["a dog"]}
    assert source.answers(thief) and source.answers(dog)
    source.info = replace(source.info, weights_sha256=None)
    assert source.answers(thief) and not source.answers(dog)

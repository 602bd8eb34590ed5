"""What a run folder tells of the machine it was made on: nothing, but for the one file that stays there."""

import json
import re
import shutil
import zlib
from pathlib import Path

import nbformat
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny
from PIL import Image

from clipeval.files import LIST
from clipeval.paths import DATA
from clipeval.runs import runner
from clipeval.runs.compare_report import write_comparison
from clipeval.runs.finished import load_run
from clipeval.runs.runner import run_studies
from clipeval.session import study as contract
from clipeval.session.local_paths import hider, read_local, restored, told, write_local
from clipeval.studies import start

#: folder that holds everything: a name that must not be met again
TELLTALE = "jane-doe's secret_project"
FAILS = "raise FileNotFoundError(f'{session.parameters.data} and {session.folder}/x')"


def told_by(folder: Path) -> dict[str, str]:
    """Everything that can be read of the files of a folder, compressed parts too: path -> text."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        parts = [str(path.relative_to(folder)).encode(), content]
        if path.suffix == ".pdf":
            streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)
            parts += [zlib.decompressobj().decompress(s) for s in streams if s[:1] == b"x"]
        if path.suffix == ".png":
            with Image.open(path) as image:
                parts.append(repr(image.info).encode())
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            parts += [repr(table.schema.metadata).encode(), table.to_pandas().to_csv().encode()]
        found[str(path.relative_to(folder))] = b"\n".join(parts).decode("utf-8", "replace")
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run with data, model, words, store and run folder in a folder with a name of its own: (plan, run folder)."""
    from test_models import SMALL, save

    home = tmp_path_factory.mktemp("home") / TELLTALE
    home.mkdir()
    manifest = tiny.cards(home / "faces")
    table = pd.read_csv(manifest)
    column = "file" if "file" in table else "path"
    table[column] = [str(manifest.parent / name) for name in table[column]]
    table.drop(columns="image_id", errors="ignore").to_csv(manifest, index=False)
    (manifest.parent / "11.png").write_bytes(b"none")
    save(home / "clip", SMALL)
    shutil.copy(DATA / "class_sets" / "fairface.yaml", home / "words.yaml")
    given = {"model": f"local-dir:{home / 'clip'}", "store": str(home / "store"), "device": "cpu"}
    given |= {"fairface.class_set": str(home / "words.yaml")}
    out = home / "runs" / "mine"
    plan = tiny.plan(["fairface", "denigration"], manifest, out, **given)
    notebooks = home / "notebooks"
    failing = [*tiny.STUDY[:3], FAILS, *tiny.STUDY[3:]]
    tiny.write_notebooks(notebooks, fairface=tiny.STUDY, denigration=failing)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CLIPEVAL_CACHE", str(home / "cache"))
        patched.setattr(contract, "NOTEBOOKS", notebooks)
        arguments = {"parameters": {"data": str(manifest), "fairface.model": given["model"]}}
        outcomes = run_studies(plan, out, arguments=arguments, jobs=1)
    assert [bool(outcome.error) for outcome in outcomes] == [False, True]
    assert TELLTALE in outcomes[1].error, "on the terminal the whole path helps"
    return plan, out


def test_no_byte_of_a_run_folder_names_where_things_lie(ran):
    plan, out = ran
    texts = told_by(out)
    assert {"run.json", "index.html", "fairface/study.json", "fairface/notebook.ipynb"} < set(texts)
    assert {"fairface/report.html", "denigration/report.html", "denigration/notebook.ipynb"} < set(
        texts
    )
    assert {"fairface/predictions.parquet", "fairface/figures/by_race.pdf"} < set(texts)
    odd = (TELLTALE, TELLTALE.replace("'", "&#39;"), "secret_project", "secret\\_project")
    tell = [name for name, text in texts.items() if any(form in text for form in odd)]
    assert tell == ["local.json"]
    # what it does tell
    assert (out / ".gitignore").read_text() == "local.json\n"
    record = json.loads(texts["run.json"].split("\n", 1)[1])
    said = record["studies"]["fairface"]
    data = Path(plan["fairface"].data)
    assert (
        said["parameters"] | {"model": "local-dir:clip", "data": data.name, "store": "store"}
        == (said["parameters"])
    )
    assert (said["parameters"]["out"], said["parameters"]["class_set"]) == ("", "words.yaml")
    assert record["arguments"]["parameters"] == {
        "data": data.name,
        "fairface.model": "local-dir:clip",
    }
    assert record["failed"] == {
        "denigration": f"FileNotFoundError: {data.name} and mine/denigration/x"
    }
    assert said["model"]["weights_sha256"] in texts["fairface/report.html"]


def test_local_json_holds_the_paths_and_a_run_goes_on_with_them(ran, monkeypatch):
    plan, out = ran
    p = plan["fairface"]
    assert read_local(out)["fairface"] == {
        "model": p.model, "data": p.data, "store": p.store, "class_set": p.class_set
    }  # fmt: skip
    record = load_run(out).record.studies["fairface"]
    assert (record.parameters["data"], record.parameters["class_set"]) == (p.data, p.class_set)
    monkeypatch.setenv("CLIPEVAL_CACHE", str(out.parents[1] / "cache"))
    assert runner._is_done("fairface", p, out)
    assert not runner._is_done("fairface", p.model_copy(update={"templates": "bare"}), out)


def test_a_stored_notebook_runs_again_where_it_lies(ran, monkeypatch):
    plan, out = ran
    notebook = nbformat.read(out / "fairface" / "notebook.ipynb", 4)
    cell = next(c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", []))
    values = {}
    exec(cell.source, values)
    assert values["out"] == ".." and values["model"] == "local-dir:clip"
    assert notebook.metadata.papermill.parameters["out"] == ".."
    monkeypatch.chdir(out / "fairface")
    found = start("fairface", values).parameters
    wanted = plan["fairface"]
    assert found.out_folder == out
    assert found.model_dump(exclude={"out"}) == wanted.model_dump(exclude={"out"})


def test_a_comparison_links_what_lies_beside_it_and_no_more(ran, tmp_path):
    from clipeval.runs.compare_report import _link

    out = ran[1]
    assert _link(out, out.parent / "compare") == "../mine/index.html"
    assert _link(out, tmp_path / "compare") == ""
    with pytest.raises(AttributeError):  # refused before anything of it is looked at
        write_comparison(None, tmp_path / "compare", [out])


# -- the parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, name",
    [
        ("/home/me/faces", "faces"),
        ("local-dir:/home/me/clip/", "local-dir:clip"),
        ("python:/home/me/load.py:make:/data/w.pt", "python:load.py:make:w.pt"),
        ("/home/me/words.yaml:plural", "words.yaml:plural"),
        ("~/faces", "faces"),
        ("HuggingFaceM4/FairFace", "HuggingFaceM4/FairFace"),
        ("hf-hub:laion/CLIP-ViT", "hf-hub:laion/CLIP-ViT"),
        ("ViT-B/32", "ViT-B/32"),
        ("cc-by/4.0", "cc-by/4.0"),
        (64, 64),
    ],
)
def test_a_path_is_told_by_its_last_part_and_other_names_as_they_are(value, name):
    assert told({"data": value, "out": "/home/me/run"}) == {"data": name, "out": ""}


def test_a_relative_path_is_told_by_its_last_part_too(tmp_path, monkeypatch):
    (tmp_path / "project" / "faces").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert told({"data": "project/faces"}) == {"data": "faces"}
    write_local(tmp_path / "out", {"fairface": {"data": "project/faces", "seed": 0}})
    assert read_local(tmp_path / "out") == {
        "fairface": {"data": str(tmp_path / "project" / "faces")}
    }


def test_only_the_name_that_was_kept_is_given_its_path_back(tmp_path):
    write_local(tmp_path, {"fairface": {"data": "/a/faces", "model": "testcard"}})
    assert restored(tmp_path, "fairface", {"data": "faces", "seed": 1}) == {
        "data": "/a/faces",
        "seed": 1,
    }
    assert restored(tmp_path, "fairface", {"data": "others"}) == {"data": "others"}
    assert restored(tmp_path, "congress", {"data": "faces"}) == {"data": "faces"}
    write_local(tmp_path, {"fairface": {"data": ""}})
    assert read_local(tmp_path) == {}
    for odd in ("[1]", "{", '{"fairface": 3}', ""):
        (tmp_path / "local.json").write_text(odd)
        assert read_local(tmp_path) == {}
    assert (tmp_path / LIST).is_file()


def test_texts_are_given_names_for_paths_and_keep_everything_else(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    hide = hider({"data": "/mnt/p/q/faces", "model": "local-dir:/data"}, Path("/mnt/p/runs/r1"))
    said = {
        "/mnt/p/q/faces/1.jpg is broken.": "faces/1.jpg is broken.",
        "in /mnt/p/q/faces.": "in faces.",
        "File \x1b[32m/mnt/p/q/load.py:3\x1b[0m": "File \x1b[32m.../load.py:3\x1b[0m",
        "/mnt/p/q/faces-old": ".../faces-old",
        "/home/me/notes and /home/meg": "~/notes and /home/meg",
        "/mnt/p/runs/r1/fairface": "r1/fairface",
        "/data/x, images/data": "data/x, images/data",
        "and/or 1/2 http://a.b/data": "and/or 1/2 http://a.b/data",
    }
    for text, wanted in said.items():
        assert hide(text) == wanted
    image = {"image/png": "/mnt/p/q/faces", "text/plain": ["/mnt/p/q/faces", 1, None]}
    assert hide({"a": image}) == {
        "a": {"image/png": "/mnt/p/q/faces", "text/plain": ["faces", 1, None]}
    }

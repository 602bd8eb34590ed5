"""Names that try to be markup (classes, categories, groups, people, folders), in every notebook and page."""

import ast
import json
import re
from pathlib import Path

import mistune
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from test_models import SMALL, save

from clipeval.explore import Explorer, view
from clipeval.paths import NOTEBOOKS
from clipeval.runs import pages, runner
from clipeval.runs.profiles import plan_run
from clipeval.studies import STUDIES, start

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert('{}')</script>"
IMAGE = "<img src=x onerror=alert('{}')>"
N = 48


def photographs(folder: Path) -> list[str]:
    """Noise, in a folder whose name is a tag."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(N):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"<b>{i}.png")
    return [f"{folder.name}/<b>{i}.png" for i in range(N)]


def given(folder: Path) -> dict[str, str]:
    """Parameters of every study, on data and classes with such names."""
    model = folder / IMAGE.format("model")
    save(model, SMALL)
    files = photographs(folder / IMAGE.format("photos"))
    genders = [SCRIPT.format("gender"), "Female"]
    people = pd.DataFrame(
        {
            "file": files,
            "race": [SCRIPT.format("race"), IMAGE.format("race"), "White", "Black"] * 12,
            "gender": [genders[0], genders[0], genders[1]] * 16,
            "age": ["20-29", "0-2", "3-9", "30-39", "40-49", "50-59"] * 8,
            "name": [IMAGE.format(f"person {i}") for i in range(12) for _ in range(4)],
        }
    )
    people.drop(columns="name").to_csv(folder / "<i>people.csv", index=False)
    plain = people.replace({genders[0]: "Male"})  # FairFace's two, and races of any name
    plain.drop(columns="name").to_csv(folder / "<i>faces.csv", index=False)
    people[["file", "name", "gender"]].to_csv(folder / "<i>names.csv", index=False)
    scenes = [SCRIPT.format(f"scene {i % 8}") for i in range(N)]
    frames = pd.DataFrame({"file": files, "sequence": scenes})
    frames["caption"] = [f"{IMAGE.format(scene)} a street" for scene in frames["sequence"]]
    frames["close_caption"] = frames["caption"] + " at night"
    frames.to_csv(folder / "<i>frames.csv", index=False)

    def words(name: str, tasks: dict, **more) -> str:
        path = folder / f"<u>{name}.yaml"
        about = {"name": name, "version": "1", "source": SCRIPT.format("source")}
        path.write_text(yaml.safe_dump(about | {"tasks": tasks} | more))
        return str(path)

    ages = {age: f"{age} years old" for age in ("0-2", "3-9", "20-29", "30-39", "40-49", "50-59")}
    races = {race: f"person {i}" for i, race in enumerate(people["race"].unique())}
    both = {gender: f"somebody {i}" for i, gender in enumerate(genders)}
    fairface = words(
        "faces", {"race": races, "gender": {"Male": "man", "Female": "woman"}, "age": ages}
    )
    bad = [SCRIPT.format("class"), IMAGE.format("class")]
    harms = {
        f"{race} {gender}": f"{races[race]} {both[gender]}" for race in races for gender in both
    }
    harms |= {bad[0]: "animal", bad[1]: "thief"}
    child = {
        "child": {"note": SCRIPT.format("note"), "add": {"denigration": {"<b>child": "child"}}}
    }
    categories = {SCRIPT.format("category"): [bad[0]], IMAGE.format("category"): [bad[1]]}
    denigration = words("harms", {"denigration": harms}, categories=categories, variants=child)
    jobs = [SCRIPT.format("job"), "doctor", "nurse", IMAGE.format("job"), "judge"]
    congress = words(
        "work",
        {"gender": both, "occupations": jobs, "labels": [*jobs[::-1], "hair", "suit"]},
        categories={SCRIPT.format("kind"): jobs[:2]},
    )
    values = {
        "model": f"local-dir:{model}",
        "device": "cpu",
        "dataset": "manifest",
        "data": folder / "<i>people.csv",
        "fairface.data": folder / "<i>faces.csv",
        "fairface.methods": "zero-shot",
        "fairface.class_set": fairface,
        "denigration.class_set": denigration,
        "class_design.class_set": denigration,
        "class_design.other": f"{denigration}:child",
        "congress.class_set": congress,
        "congress.thresholds": "1",
        "congress.label_sets": "occupations",
        "congress.top_threshold": "1",
        "cctv.dataset": "cctv",
        "cctv.data": folder / "<i>frames.csv",
        "celebrities.dataset": "celebrities",
        "celebrities.data": folder / "<i>names.csv",
        "celebrities.n_names": "2,12",
        "mitigation.harms": denigration,
        "mitigation.labels": fairface,
        "sensitivity.class_set": denigration,
        "sensitivity.studies": "denigration",
    }
    return {name: str(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> dict:
    """Parameters of each study, written into the folder "out"."""
    folder = tmp_path_factory.mktemp("hostile")
    return plan_run(list(STUDIES), "quick", given(folder), str(folder / "out"))


@pytest.fixture(scope="module")
def run(plan) -> Path:
    """A run of every study."""
    out = plan["fairface"].out_folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(out.with_name("cache")))
        outcomes = runner.run_studies(plan, out)
    assert [outcome.error for outcome in outcomes] == [""] * len(outcomes)
    return out


def acts(soup: BeautifulSoup) -> list:
    """Tags that came of a name: none of ours is one of these, or asks for what is not a file or data."""
    found = soup.find_all(["script", "iframe", "object", "embed", "form", "base", "u", "i", "b"])
    found += [
        tag for tag in soup.find_all(True) if any(name.startswith("on") for name in tag.attrs)
    ]
    return found + soup.find_all("img", src="x")


@pytest.mark.parametrize("study", STUDIES)
def test_a_stored_notebook_holds_no_live_name(run, study):
    """As JupyterLab shows it to whoever trusts it: HTML as it is, HTML within Markdown as well."""
    notebook = json.loads((run / study / "notebook.ipynb").read_text("utf-8"))
    shown = ""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
            shown += data.get("text/html", "")
            shown += mistune.create_markdown(escape=False)(data.get("text/markdown", ""))
    soup = BeautifulSoup(shown, "html.parser")
    assert acts(soup) == []
    assert "onerror=alert(" in soup.get_text(), "names are shown as text"


@pytest.mark.parametrize("study", [*STUDIES, ""])
def test_a_page_holds_no_live_name(run, study):
    path = run / study / ("report.html" if study else "index.html")
    soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
    assert [tag.string for tag in acts(soup)] == [pages._asset("page.js")]
    assert "onerror=alert(" in soup.get_text()


def test_every_kind_of_name_was_met(run):
    """Else the tests above would prove nothing of it."""
    text = " ".join(
        BeautifulSoup(path.read_text("utf-8"), "html.parser").get_text()
        for path in run.glob("*/report.html")
    )
    for name in ("race", "gender", "class", "category", "job", "kind"):
        assert SCRIPT.format(name) in text, name
    for name in ("model", "class", "category"):
        assert IMAGE.format(name) in text, name
    assert SCRIPT.format("scene 1") in text
    assert any(IMAGE.format(f"person {i}") in text for i in range(12))


def test_an_exploration_shows_no_live_name(plan):
    explorer = Explorer(start("denigration", plan["denigration"].model_dump()), by=["race"])
    for shown in (view.result(explorer), view.thumbnails(explorer)):
        soup = BeautifulSoup(shown, "html.parser")
        assert acts(soup) == [soup.b] if soup.b else acts(soup) == []
    assert SCRIPT.format("race") in BeautifulSoup(view.result(explorer), "html.parser").get_text()


def test_tags_are_written_by_templates_alone():
    """No f-string of the package holds a tag, and no notebook has pandas write HTML."""
    tag = re.compile(
        r"</?(a|b|br|code|div|fig\w+|h\d|i|img|li|ol|p|pre|span|style|t[dhr]|table|ul)[ />]"
    )
    package = Path(pages.__file__).parents[1]
    for path in package.rglob("*.py"):
        texts = [
            part.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.JoinedStr)
            for part in node.values
            if isinstance(part, ast.Constant)
        ]
        found = [text for text in texts if tag.search(text)]
        # an SVG's description, escaped where SVGs are written; the box around a table of Markdown
        assert path.name in ("saving.py", "notebook_page.py") or not found, (path, found)
        assert ".to_html(" not in path.read_text("utf-8"), path
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            source = "".join(cell["source"])
            assert not re.search(r"\.style\b|to_html|HTML\(", source), (path.name, source)

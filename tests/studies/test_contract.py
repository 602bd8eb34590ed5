"""Every study keeps the contract of `clipeval.session.study`, and the page on it can be followed to a report."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag
from decks import session_of, shared_cache
from nbformat.v4 import new_code_cell, new_notebook

from clipeval.datasets import load_dataset
from clipeval.errors import ParameterError
from clipeval.session.parameters import Parameters
from clipeval.session.record import StudyRecord
from clipeval.session.study import Line, Part, Study, Summary
from clipeval.studies import STUDIES, get_study
from clipeval.studies.headlines import KEYS, outcomes_of, published_headlines

ROOT = Path(__file__).resolve().parents[2]
IDS = ["fairface", "denigration", "class_design", "congress", "cctv", "celebrities"]
IDS += ["sensitivity", "mitigation", "retrieval", "card"]


def test_studies_are_found_in_the_order_of_their_notebooks_and_summaries_last():
    assert list(STUDIES) == IDS
    assert len(STUDIES) == 10


@pytest.mark.parametrize("id", IDS)
def test_a_study_says_what_it_is(id):
    study = get_study(id)
    assert isinstance(study, Study) and study.id == id
    assert study.title and study.question.endswith("?")
    assert issubclass(study.Parameters, Parameters)
    assert all(field.description for field in study.Parameters.model_fields.values())
    assert study.notebook_path.is_file()
    assert (study.deck == "") == (id == "card")
    assert study.is_summary == isinstance(study, Summary) == (id == "card")
    hooks = {*vars(Study), *Study.__annotations__}
    own = [name for name in vars(type(study)) if not name.startswith("_")]
    assert set(own) <= hooks, "a hook that no other part knows"


@pytest.mark.parametrize("id", IDS)
def test_parts_and_lines_of_the_card_are_whole(id):
    for part in get_study(id).card:
        assert isinstance(part, Part)
        lines = part.lines
        if callable(
            lines
        ):  # by the tables that there are; a study's own always, or those of a grouping
            gaps = pd.DataFrame({"grouping": ["Party"], "highest": ["Left"]})
            rates = pd.DataFrame({"method": ["zero-shot"], "attribute": ["Sex"], "Party": ["Left"]})
            lines = lines({"gaps": gaps, "by_Party": rates})
        assert lines
        assert all(isinstance(line, Line) and line.table and line.quantity for line in lines)


@pytest.mark.parametrize("id", IDS[:6])
def test_outcomes_and_published_values_have_their_columns(id, demo_cache):
    session = session_of(id, **({"methods": "zero-shot"} if id == "fairface" else {}))
    assert session.study.check(session) is None or isinstance(session.study.check(session), str)
    sent = session.study.prompts(session)
    assert sent and all(isinstance(prompt, str) for prompt in sent)
    predictions = session.predict()
    assert {"image_id", "task", "method", "class_set", "templates", "rank", "label", "prob"} <= set(
        predictions
    )
    record = session.record()
    found = outcomes_of(id, predictions, record)
    assert list(found) == ["image_id", *KEYS, "task", "hit", "cluster"] and len(found) > 100
    published = published_headlines(id, record)
    assert list(published) == ["model", *KEYS, "published", "source"] and len(published) > 0
    assert session.study.counterpart(record) in set(published["model"])
    assert session.planted is not None


def test_headline_values_of_the_papers_stand_with_their_studies():
    def of(id, **parameters):
        known = published_headlines(id, StudyRecord(study=id, parameters=parameters))
        return {
            tuple(r[:4]): r[4] for r in known[["model", *KEYS, "published"]].to_numpy().tolist()
        }

    # arXiv 2103.00020, Tables 3 and 4; section 7.1; arXiv 2108.02818, Tables 1 and 2
    found = of("fairface")
    assert found["CLIP", "race accuracy (White or not)", "zero-shot", "White"] == 58.3
    assert found["CLIP", "gender accuracy", "linear probe", "Non-White"] == 97.7
    assert of("congress")["CLIP", "gender accuracy", "zero-shot", "All"] == 100.0
    key = ("CLIP RN50x16", "top-1 among 100 names, closed", "zero-shot", "All")
    assert of("celebrities")[key] == 52.7
    found = of("denigration", class_set="denigration")
    assert found["CLIP ViT-L/14", "non-human", "zero-shot", "Black"] == 14.4
    assert of("sensitivity") == {} and of("card") == {}


def test_defaults_of_the_base_class(demo_cache):
    class Plain(Study):
        id, title, question, notebook = "plain", "Plain", "What?", "plain"

    study = Plain()
    assert not study.has_outcomes and study.varies == "" and study.card == ()
    assert study.about(None) == {} and study.trained_on(None) is None and study.check(None) is None
    assert study.words(None) == "needed" and study.without_words is None
    assert list(study.published(None)) == ["model", "quantity", "published", "source"]
    with pytest.raises(NotImplementedError, match="study plain has no predict"):
        study.predict(None)
    with pytest.raises(ParameterError, match="this study has no test cards; there are fairface"):
        load_dataset("testcards", deck="")


def test_without_words_only_studies_that_can_do_without_them_run():
    able = {id: get_study(id).without_words for id in IDS if get_study(id).without_words}
    assert able == {"fairface": {"methods": "linear probe"}}


# -- the page on new studies, followed ---------------------------------------------------------------


def make_page():
    """docs/make_new_study.py as a module."""
    spec = importlib.util.spec_from_file_location("make_new_study", ROOT / "docs/make_new_study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_docstrings():
    module = make_page()
    assert module.PAGE.read_text("utf-8") == module.page()
    for hook in ("predict", "check", "prompts", "embeds", "outcomes", "published", "counterpart"):
        assert f"| `{hook}(" in module.page()


@pytest.fixture(scope="module")
def youth(tmp_path_factory) -> Path:
    """The folder that the page describes, written as it says."""
    folder = tmp_path_factory.mktemp("own") / "youth"
    folder.mkdir()
    text = (ROOT / "docs" / "new_study.md").read_text("utf-8")
    cells = []
    for block in re.findall(r"```(?:python|yaml)\n# (youth/.*?)\n```", text, re.S):
        name, _, body = block.partition("\n")
        file, _, tag = name.partition(": ")
        if file.endswith(".ipynb"):
            cells.append(new_code_cell(body, metadata={"tags": [tag]} if tag else {}))
        else:
            (folder / Path(file).name).write_text(body + "\n", "utf-8")
    nbformat.write(new_notebook(cells=cells), folder / "youth.ipynb")
    return folder


def run(*arguments, cwd, **environment):
    environment = os.environ | {"CLIPEVAL_CACHE": str(shared_cache())} | environment
    command = [sys.executable, "-m", "clipeval", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_study_in_a_folder_runs_to_a_report(youth, tmp_path):
    done = run("check", youth, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ok  youth, prompts: " in done.stdout
    done = run("run", youth, "card", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run" / "youth"
    table = pd.read_csv(out / "tables" / "by_gender.csv")
    answers = pd.read_parquet(out / "predictions.parquet")
    top = answers[answers["rank"] == 1]
    young = (top["label"] == "young").groupby(top["gender"].astype(str)).mean() * 100
    np.testing.assert_allclose(
        table.set_index("gender")["percent"].sort_index(), young.sort_index(), atol=1e-6
    )
    assert table["n"].sum() == 10954
    assert (out / "figures" / "by_gender.pdf").is_file()
    page = BeautifulSoup((out / "report.html").read_text("utf-8"), "html.parser")
    # without hooks for its page: question, then the first figure, then the rest
    assert page.select_one(".question").get_text() == "Whom does the model call young?"
    assert page.select_one(".first img")["src"] == "figures/by_gender.svg"
    assert not page.select_one(".finding")
    # nobody planted the answer "young": no planted value, and what the cards answer is said to be chance
    assert "planted" not in table
    text = page.get_text()
    assert "Cards answer the bundled words: what they answer to others is chance." in text
    # the line that computes the table can be pasted: it opens the study by its folder
    code = next(c for c in map(Tag.get_text, page.select("pre")) if "load_run" in c)
    assert code == (
        "from clipeval.studies import get_study\n"
        'study = get_study("STUDY_FOLDER")\n'
        "study.young_by(predictions, by=['gender'])"
        '  # predictions: clipeval.load_run(FOLDER).predictions("youth")'
    )
    said = code.replace("STUDY_FOLDER", str(youth)).replace(
        "study.young_by", "found = study.young_by"
    )
    names = {"predictions": answers}
    exec(said, names)
    np.testing.assert_allclose(names["found"]["percent"], table["percent"], atol=1e-6)
    card = pd.read_csv(tmp_path / "run" / "card" / "tables" / "card.csv")
    assert set(card["quantity"]) == {"called young, Male", "called young, Female"}
    assert set(card["part"]) == {"Youth"}
    record = json.loads((out / "study.json").read_text("utf-8"))
    assert list(record["class_sets"]) == ["youth v1"]


def test_a_folder_that_holds_no_study_is_refused(tmp_path, youth, monkeypatch):
    monkeypatch.delenv("CLIPEVAL_STUDIES", raising=False)
    with pytest.raises(ParameterError, match="holds no study.py; name a folder with a study"):
        get_study(str(tmp_path))
    with pytest.raises(ParameterError, match='there is no study "fairfase"; did you mean fairface'):
        get_study("fairfase")
    (tmp_path / "study.py").write_text("study = 3\n")
    with pytest.raises(ParameterError, match="names no study; end it with `study = MyStudy"):
        get_study(str(tmp_path))
    twin = tmp_path / "twin"
    twin.mkdir()
    text = (youth / "study.py").read_text("utf-8")
    (twin / "study.py").write_text(text.replace('id = "youth"', 'id = "fairface"'))
    with pytest.raises(ParameterError, match='a study of the package is called "fairface"'):
        get_study(str(twin))
    (twin / "study.py").write_text(text.replace('notebook = "youth"', 'notebook = "none"'))
    (tmp_path / "other").mkdir()
    (twin / "study.py").rename(tmp_path / "other" / "study.py")
    with pytest.raises(ParameterError, match="names the notebook none.ipynb, and .* does not hold"):
        get_study(str(tmp_path / "other"))


def test_a_folder_once_named_is_known_by_its_id(youth, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_STUDIES", str(youth))
    assert list(STUDIES)[-3:] == ["retrieval", "youth", "card"]
    assert get_study("youth").folder == youth

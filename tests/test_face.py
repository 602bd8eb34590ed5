"""The README's first code, on test cards: rates against statsmodels and the published counts they replay."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

import clipeval
from clipeval.classify.class_sets import class_set_of
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.face import Vectors

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def answers(demo_cache) -> pd.DataFrame:
    images = clipeval.load_dataset("testcards")
    model = clipeval.load_model("testcard")
    vectors = clipeval.embed(images, model, progress=False)
    assert len(vectors) == 10954 and vectors.matrix.shape[0] == 10954
    np.testing.assert_allclose(np.linalg.norm(vectors.matrix, axis=1), 1, atol=1e-5)
    return clipeval.predict(vectors, model, "denigration", templates="photo")


def test_rates_by_race_replay_table_2(answers):
    assert {"image_id", "label", "prob", "category", "race", "gender", "age"} <= set(answers)
    assert len(answers) == 10954
    table = clipeval.group_rates(answers, "crime-related", by="race").set_index("race")
    # arXiv 2108.02818, Table 2, to one decimal
    told = {"Black": 16.4, "White": 24.9, "Indian": 24.4, "Latino_Hispanic": 10.8}
    told |= {"Middle Eastern": 19.7, "Southeast Asian": 4.4, "East Asian": 1.3}
    assert {race: round(table.loc[race, "percent"], 1) for race in told} == told
    crime = answers["label"].isin(["thief", "criminal", "suspicious person"])
    n = answers.groupby(answers["race"].astype(str)).size()
    count = crime.groupby(answers["race"].astype(str)).sum()
    for race, row in table.iterrows():
        assert (row["n"], row["count"]) == (n[race], count[race])
        ends = proportion_confint(count[race], n[race], method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(100 * np.array(ends), abs=1e-9)


def test_a_class_a_crossing_and_what_is_not_there(answers):
    thieves = clipeval.group_rates(answers, "thief")
    assert thieves["count"].item() == (answers["label"] == "thief").sum()
    pd.testing.assert_frame_equal(clipeval.group_rates(answers, "thief", by=None), thieves)
    both = clipeval.group_rates(answers, "non-human", by=["race", "gender"])
    assert len(both) == 14 and both["n"].sum() == 10954
    lost = answers.copy()
    lost.attrs = {}
    pd.testing.assert_frame_equal(
        clipeval.group_rates(lost, "non-human", by=["race", "gender"]), both
    )
    with pytest.raises(ParameterError, match='no class or category is called "crime"; there are'):
        clipeval.group_rates(answers, "crime")
    # of a category that was not on offer there is no rate, not even 0
    two = {"race": {"a": "a man", "b": "a woman"}, "jobs": ["nurse", "thief"]}
    asked = class_set_of("own", two, categories={"crime": ["thief"]})
    vectors = SimpleNamespace(
        images=answers[["image_id"]].head(3), matrix=np.eye(3, 768, dtype="f")
    )
    model = clipeval.load_model("testcard")
    found = clipeval.predict(vectors, model, asked, templates="photo", task="jobs")
    assert clipeval.group_rates(found, "crime")["n"].item() == 3
    # as a study does, it asks the one task that offers the category
    pd.testing.assert_frame_equal(clipeval.predict(vectors, model, asked), found)
    found = clipeval.predict(vectors, model, asked, templates="photo", task="race")
    with pytest.raises(ParameterError, match='no class or category is called "crime"'):
        clipeval.group_rates(found, "crime")
    with pytest.raises(ParameterError, match='have no column "party" to group by'):
        clipeval.group_rates(answers, "thief", by="party")


def test_photographs_of_one_person_are_no_more_than_that_person():
    """Every photograph four times: the interval over people is that of the people, not of the photographs."""
    one = pd.DataFrame({"image_id": range(60), "label": ["thief"] * 12 + ["nurse"] * 48})
    four = pd.concat([one.assign(of=one["image_id"])] * 4, ignore_index=True)
    four = four.assign(image_id=four.index, rank=1, ward=np.where(four["of"] % 2, "East", "West"))
    people = four.set_index("image_id")["of"].rename("person")
    found = clipeval.group_rates(four, "thief", by="ward", clusters=people)
    assert list(found["clusters"]) == [30, 30] and list(found["n"]) == [120, 120]
    as_if, right = (
        100 * np.array(proportion_confint(*c, method="wilson")) for c in ((24, 120), (6, 30))
    )
    for _, row in found.iterrows():
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(as_if, abs=1e-9)
        over = np.array([row["cluster_low"], row["cluster_high"]])
        assert over[0] <= right[0] < as_if[0] and over[1] >= right[1] > as_if[1]
        assert np.abs(over - right).max() < 3  # and not needlessly wide
    same = clipeval.group_rates(
        four.assign(person=four["of"]), "thief", by="ward", clusters="person"
    )
    pd.testing.assert_frame_equal(same, found)
    with pytest.raises(DataError, match='10 of 240 images have no value of "person"'):
        clipeval.group_rates(four, "thief", clusters=people[:-10])
    twice = pd.concat([four, four.head(1)])
    with pytest.raises(
        DataError, match='image "0" has several top answers, and would count several times'
    ):
        clipeval.group_rates(twice, "thief")


def test_what_a_notebook_would_write(answers, tmp_path):
    """Classes as a list or dict, columns as a dict, groups as a list; and what is something else is told."""
    vectors = SimpleNamespace(
        images=answers[["image_id"]].head(3), matrix=np.eye(3, 768, dtype="f")
    )
    model = clipeval.load_model("testcard")
    by_file = tmp_path / "own.yaml"
    by_file.write_text("classes: {n: nurse, t: thief}\n")
    found = clipeval.predict(vectors, model, str(by_file), templates="photo")
    same = clipeval.predict(vectors, model, {"n": "nurse", "t": "thief"}, templates="photo")
    texts = clipeval.predict(vectors, model, ["nurse", "thief"], templates="photo")
    assert same["prob"].tolist() == found["prob"].tolist() == texts["prob"].tolist()
    assert set(same["label"]) <= {"n", "t"} and set(texts["label"]) <= {"nurse", "thief"}
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    pd.DataFrame({"bild": ["a.png"], "Sex": ["w"], "Age": [30]}).to_csv(tmp_path / "a.csv")
    how = {"columns": {"file": "bild"}, "groups": ["Sex", "Age:18:40"]}
    images = clipeval.load_dataset("manifest", str(tmp_path / "a.csv"), **how)
    assert images.attrs["groups"] == ["Sex", "Age"] and list(images["Age"]) == ["18-39"]
    some = Vectors(answers.head(3), np.eye(3, dtype="f"), answers[:0])
    for part in (some[1:], some[[1, 2]], some[np.array([False, True, True])]):
        assert part.images["image_id"].tolist() == answers["image_id"].tolist()[1:3]
        assert part.matrix.tolist() == [[0, 1, 0], [0, 0, 1]] and len(part) == 2
    refused = [
        (lambda: clipeval.embed("a.csv", model), "a str stands where an images table"),
        (lambda: clipeval.embed(images, "ViT-B-32"), "a str stands where a model"),
        (lambda: clipeval.embed(images.drop(columns="file"), model), "has no column file"),
        (lambda: clipeval.predict(images, model, ["a", "b"]), "a DataFrame stands where vectors"),
        (
            lambda: clipeval.predict(vectors, model, None),
            "class set is of type NoneType and not text",
        ),
        (lambda: clipeval.group_rates(images, "n"), "have no column rank; pass on what predict"),
        (lambda: clipeval.load_model(None), "model is of type NoneType"),
        (lambda: clipeval.load_run(None), "run folder is of type NoneType"),
        (lambda: clipeval.load_dataset("manifest", None), "data is of type NoneType"),
        (lambda: some["Sex"], r"take a slice, positions or a mask, such as vectors\[:10\]"),
        (lambda: some[9], r"one row is vectors\.matrix\[0\]"),
    ]
    for call, why in refused:
        with pytest.raises(ParameterError, match=why):
            call()


def test_nothing_is_opened_twice(answers, demo_cache, monkeypatch):
    from clipeval.embedding import embed

    monkeypatch.setattr(embed, "load_batches", None)  # what opens images
    images, model = clipeval.load_dataset("testcards"), clipeval.load_model("testcard")
    again = clipeval.predict(
        clipeval.embed(images, model, progress=False), model, "denigration", templates="photo"
    )
    pd.testing.assert_frame_equal(again, answers)
    with pytest.raises(ClassSetError, match="name one of"):
        clipeval.predict(clipeval.embed(images, model, progress=False), model, "denigratoin")


@pytest.mark.slow
def test_a_run_is_read_back(tmp_path, demo_cache):
    command = [sys.executable, "-m", "clipeval", "run", "cctv", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    run = clipeval.load_run(tmp_path / "run")
    table = run.tables["cctv"]["accuracy"]
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "run/cctv/tables/accuracy.csv"))
    top = run.predictions("cctv")
    assert set(top["task"].astype(str)) == {"coarse", "stress", "fine"}
    assert run.record.studies["cctv"].study == "cctv"
    figure, ax = plt.subplots()
    assert run.plot("cctv", "accuracy", ax=ax) is ax
    drawn = ax.containers[0].lines[0].get_xydata()[:, 0]
    np.testing.assert_allclose(drawn, table["percent"])
    assert len(ax.get_yticklabels()) == len(table)
    for held in (run.tables, run.record.studies):
        with pytest.raises(ParameterError, match='run run has no study "typo"; it has card, cctv'):
            held["typo"]
    assert "typo" not in run.tables and run.tables["cctv"].get("typo") is None
    with pytest.raises(ParameterError, match='cctv has no table "by_race"; it has accuracy'):
        run.tables["cctv"]["by_race"]
    with pytest.raises(DataError, match="holds no predictions of fairface"):
        run.predictions("fairface")
    with pytest.raises(DataError, match="is not a run folder, as it has no run.json"):
        clipeval.load_run(tmp_path)


def test_the_readmes_first_code_names_functions_that_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    named = set(re.findall(r"clipeval\.(\w+)\(", code))
    assert named == {"load_dataset", "load_model", "embed", "predict", "group_rates", "load_run"}
    assert named <= set(clipeval.__all__)
    assert all(callable(getattr(clipeval, name)) for name in named)
    assert text.index("```python") < text.index("## Start")

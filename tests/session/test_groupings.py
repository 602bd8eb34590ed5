"""Own groups: what is reported by, under which names, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipeval.datasets import load_dataset
from clipeval.datasets.labelfile import RESERVED
from clipeval.errors import DataError, ParameterError
from clipeval.runs.check import check_plan
from clipeval.runs.profiles import plan_run
from clipeval.session.groupings import OURS, Grouping, asked_columns, groupings_of
from clipeval.session.parameters import parse
from clipeval.session.record import StudyRecord
from clipeval.sources.pack_file import images_key
from clipeval.studies import get_study, start
from clipeval.studies.outcomes import by_groups

DEMO = Path(__file__).resolve().parents[2] / "reports" / "demo"
PEOPLE = {
    "Sex": ["F", "M", "F", "M", "F", "M"],
    "Party": ["Left", "Right", "Centre", "Left", "Right", "Centre"],
    "Age band": ["18-39", "40-64", "65+", "18-39", "40-64", "65+"],
    "born": [1950, 1960, 1970, 1980, 1990, 2000],
}


@pytest.fixture
def people(tmp_path):
    """A CSV whose column `photo` says where the images are."""
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    table = pd.DataFrame(PEOPLE | {"photo": [f"{i}.png" for i in range(6)]})
    table.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def images_of(people, **options):
    return load_dataset("manifest", str(people), file="photo", **options)


def test_every_group_column_is_reported_by_unless_some_are_named(people):
    images = images_of(people)
    found = groupings_of(images, "", study="denigration")
    assert found.names == ["Sex", "Party", "Age band"] and not found.asked
    found = groupings_of(images, " Party , Sex*Age band", study="denigration")
    assert found.names == ["Party", "Sex x Age band"] and found.asked
    assert [g.columns for g in found] == [("Party",), ("Sex", "Age band")]
    assert groupings_of(images, "", study="x", usual=["Party"]).names == ["Party"]


@pytest.mark.parametrize(
    ("columns", "slug"),
    [
        (("Party",), "Party"),
        (("age_group",), "age_group"),
        (("Age band",), "age-band"),
        (("Sex", "Party"), "sex-x-party"),
        (("Größe",), "Größe"),
        (("a/b: c",), "a-b-c"),
    ],
)
def test_file_names_are_slugs(columns, slug):
    assert Grouping(columns).slug == slug and Grouping(columns).id == f"by_{slug}"


def test_a_crossing_is_a_column_in_the_order_of_its_parts(people):
    images = images_of(people)
    crossed = Grouping(("Sex", "Party")).add_to(images)["Sex x Party"]
    assert crossed.astype(str).tolist() == [
        "F x Left",
        "M x Right",
        "F x Centre",
        "M x Left",
        "F x Right",
        "M x Centre",
    ]
    assert list(crossed.cat.categories) == [
        "F x Centre",
        "F x Left",
        "F x Right",
        "M x Centre",
        "M x Left",
        "M x Right",
    ]


def test_columns_that_hold_a_star_or_a_colon_are_taken_whole():
    assert asked_columns("a*b,c:d", ["a*b", "c:d"]) == [("a*b",), ("c:d",)]
    assert asked_columns("age:18:40*Sex", ["age", "Sex"]) == [("age", "Sex")]


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ("Race", "has no group column Race (it has Sex, Party, Age band)"),
        ("Sex*Sex", "Sex is crossed with itself"),
        ("born", "born is .* and holds numbers only; .* groups=born"),
    ],
)
def test_groups_that_are_not_there_are_refused(people, groups, sentence):
    with pytest.raises(DataError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        groupings_of(images_of(people), groups, study="denigration")


def test_collisions_and_names_of_the_package_are_refused(people):
    images = images_of(people)
    table = images.assign(**{"age-band": images["Age band"], "category": images["Sex"]})
    table.attrs = images.attrs | {"groups": [*images.attrs["groups"], "age-band", "category"]}
    with pytest.raises(
        ParameterError, match="Age band and age-band would both be written as by_age-"
    ):
        groupings_of(table, "Age band,age-band", study="x")
    with pytest.raises(DataError, match="a group column is called category"):
        groupings_of(table, "category", study="x")
    table = images.assign(**{"Sex x Party": images["Sex"]})
    table.attrs = images.attrs | {"groups": [*images.attrs["groups"], "Sex x Party"]}
    with pytest.raises(ParameterError, match="both called Sex x Party"):
        groupings_of(table, "Sex*Party", study="x")
    one = images.assign(Sex=pd.Categorical(["F"] * 6, ["F"], ordered=True))
    one.attrs = images.attrs
    with pytest.raises(DataError, match="all images of people are of Sex F"):
        groupings_of(one, "Sex", study="x")
    left = groupings_of(one, "", study="x")
    assert left.names == ["Party", "Age band"]
    assert left.left_out[0].startswith("Not reported by Sex: all images of people are of Sex F")


def test_no_column_beside_the_groups_of_a_table_may_be_a_group():
    groups = {"race", "gender", "age", "age_group", "white", "sequence"}
    for path in DEMO.glob("*/tables/*.csv"):
        columns = set(pd.read_csv(path, nrows=0).columns)
        if columns & groups:
            assert columns - groups <= RESERVED | OURS, path


def test_a_column_age_group_of_the_users_own_is_reported_like_any_other():
    table = pd.DataFrame(
        {"image_id": list("ab"), "label": ["x", "y"], "age_group": ["old", "young"]}
    )
    record = StudyRecord(study="denigration", parameters={"dataset": "manifest", "data": "x.csv"})
    found = by_groups(table, table, get_study("denigration"), record, "race")
    assert list(found["images_of"]) == ["All", "All", "old", "young"]


# -- through a study's parameters --------------------------------------------------------------------


def test_what_is_said_of_own_data_reaches_the_images_table(people, tmp_path):
    values = {"dataset": "manifest", "data": str(people), "file": "photo", "model": "x"}
    values |= {"title": "Our people", "licence": "ours alone", "citation": "Us 2026"}
    values |= {"labelled_by": "The people told us themselves.", "groups": "Party,born:1960:1990"}
    study = get_study("denigration")
    values |= {"out": str(tmp_path / "out")}
    session = study.open(parse(study.Parameters, values, study=study.id))
    attrs = session.images.attrs
    said = ("name", "licence", "citation", "labels")
    assert [attrs[name] for name in said] == [
        "Our people",
        "ours alone",
        "Us 2026",
        "The people told us themselves.",
    ]
    # the columns that were not named stay labels, as tasks are held against them
    assert attrs["groups"] == ["Party", "born", "Sex", "Age band"]
    assert session.groupings.names == ["Party", "born"]
    assert session.images["born"].astype(str).tolist() == [
        "under 1960",
        "1960-1989",
        "1960-1989",
        "1960-1989",
        "1990 and over",
        "1990 and over",
    ]


def test_what_a_data_set_does_not_take_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="title=Mine is given and data set testcards does not"):
        _ = start("denigration", {"title": "Mine", "out": str(tmp_path)}).images
    assert len(start("cctv", {"out": str(tmp_path)}).images) > 100  # its own default is no wish


def test_words_about_the_data_are_no_paths(people, monkeypatch):
    monkeypatch.chdir(people.parent)
    given = {"title": "./people.csv", "file": "people.csv", "data": "people.csv"}
    p = plan_run(["fairface"], "demo", given)["fairface"]
    assert (p.title, p.file) == ("./people.csv", "people.csv")
    assert p.data == str(people)


def test_the_check_refuses_a_group_that_is_not_there(people):
    given = {"dataset": "manifest", "data": str(people), "file": "photo", "groups": "Race"}
    problems = [f.problem for f in check_plan(plan_run(["denigration"], "demo", given))]
    assert any("people.csv" in problem and "Race" in problem for problem in problems)
    given |= {"groups": "Sex*Race"}
    problems = [f.problem for f in check_plan(plan_run(["congress"], "demo", given))]
    assert any("people.csv" in problem and "Race" in problem for problem in problems)


def test_a_pack_is_found_by_its_rows_and_cuts_alone():
    values = {"dataset": "manifest", "split": "val", "limit": 0, "seed": 0}
    whole = values | {"title": "A", "licence": "B", "file": "photo", "groups": "Sex*Party"}
    assert images_key(values) == images_key(whole)
    cut = images_key(values | {"groups": "Sex,age:40*Party"})
    assert cut == images_key(values | {"groups": "age:40"}) != images_key(values)

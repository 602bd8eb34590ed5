"""Members of Congress: 540 in, 540 out, and the 311 labels of three cloud services."""

import csv
import shutil
import unicodedata

import pytest
from PIL import Image

from clipeval.datasets import load_dataset
from clipeval.datasets.congress import cloud_labels, label_categories
from clipeval.errors import DataError


def test_540_in_540_out(real):
    images = load_dataset("congress", str(real / "congress_2017"))
    with open(real / "congress_2017" / "members.tsv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert len(images) == len(rows) == 540
    assert images["gender"].value_counts().to_dict() == {"Male": 430, "Female": 110}
    assert list(images["image_id"]) == [row["wiki_img_url"] for row in rows]
    assert list(images["name"]) == [row["name"] for row in rows]
    assert list(images["party"]) == [row["party"] for row in rows]
    assert images.attrs["groups"] == ["gender"] and images.attrs["notes"] == []


def test_every_file_opens_and_the_odd_ones_are_among_them(real):
    images = load_dataset("congress", str(real / "congress_2017"))
    kinds, modes = [], []
    for file in images["file"]:
        with Image.open(file) as image:
            kinds.append(image.format)
            modes.append(image.mode)
    assert kinds.count("PNG") == 11 and modes.count("RGBA") == 8
    assert "images/Linda_Sánchez.jpg" in set(images["image_id"])
    assert images["image_id"].str.contains("(", regex=False).any()


def test_decomposed_names_on_the_file_system(real, tmp_path):
    (tmp_path / "images").mkdir()
    shutil.copy(real / "congress_2017" / "members.tsv", tmp_path)
    originals = load_dataset("congress", str(real / "congress_2017"))
    for image_id in originals["image_id"]:
        (tmp_path / unicodedata.normalize("NFD", image_id)).touch()
    images = load_dataset("congress", str(tmp_path))
    assert list(images["image_id"]) == list(originals["image_id"])
    decomposed = [str(tmp_path / unicodedata.normalize("NFD", i)) for i in images["image_id"]]
    assert list(images["file"]) == decomposed


def test_cloud_labels_equal_the_combined_table(real):
    labels = cloud_labels(real / "congress_2017").set_index("label")
    with open(real / "congress_2017" / "combined_labels.csv", newline="") as stream:
        expected = {row.pop("label"): row for row in csv.DictReader(stream)}
    assert len(labels) == 311 and set(labels.index) == set(expected)
    for label, counts in expected.items():
        assert {k: labels.loc[label, k] for k in counts} == {k: int(v) for k, v in counts.items()}
    assert labels.loc["american_flag", "prompt"] == "american flag"


def test_categories(real):
    categories = label_categories(real / "congress_2017")
    assert len(categories) == 110 and categories["actor"] == "occupation"
    assert categories["bangs"] == "physical trait/body"
    counts = cloud_labels(real / "congress_2017")["category"].value_counts().to_dict()
    assert counts == {
        "": 201,
        "physical trait/body": 45,
        "clothing": 21,
        "occupation": 19,
        "other": 14,
        "colour": 11,
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "A\tfemale\timages/a.jpg",
            'row 2: gender "female" is not a Congress gender (Male, Female)',
        ),
        ("A\tFemale\timages/b.jpg", "1 of 1 labelled images are not under"),
    ],
)
def test_refusals(tmp_path, row, said):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    (tmp_path / "members.tsv").write_text(f"name\tgender\twiki_img_url\n{row}\n")
    with pytest.raises(DataError) as caught:
        load_dataset("congress", str(tmp_path))
    assert said in str(caught.value)


def test_part_of_the_people_is_noted(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "members.tsv").write_text("name\tgender\twiki_img_url\nA\tFemale\ta.jpg\n")
    notes = load_dataset("congress", str(tmp_path)).attrs["notes"]
    assert notes == ["1 of the 540 people of Schwemmer et al. (2020)."]


def test_no_members(tmp_path):
    with pytest.raises(DataError, match="holds no members.tsv"):
        load_dataset("congress", str(tmp_path))


def test_genders_and_ids_are_those_of_the_file(tmp_path):
    """Three members by hand, their portraits of one colour each."""
    rows = [("Ann B", "Female", "images/b.jpg"), ("Carl D", "Male", "images/d.jpg")]
    rows.append(("Eve F", "Female", "images/a.jpg"))
    (tmp_path / "images").mkdir()
    for _, _, file in rows:
        Image.new("RGB", (8, 8)).save(tmp_path / file)
    lines = ["name\tgender\twiki_img_url", *("\t".join(row) for row in rows)]
    (tmp_path / "members.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    images = load_dataset("congress", str(tmp_path))
    assert list(zip(images["name"], images["gender"], images["image_id"], strict=True)) == rows


HEADER = "name\tgender\tparty\tstate\twiki_img_url"
MEMBERS = [
    "A\tMale\tLeft\tOH",
    "B\tFemale\tRight\tWA",
    "C\tMale\tRight\tOH",
    "D\tFemale\tMiddle\tMD",
]


@pytest.fixture
def four(tmp_path):
    (tmp_path / "images").mkdir()
    rows = [f"{row}\timages/{i}.jpg" for i, row in enumerate(MEMBERS)]
    for i in range(4):
        (tmp_path / "images" / f"{i}.jpg").touch()
    (tmp_path / "members.tsv").write_text("\n".join([HEADER, *rows]) + "\n")
    return str(tmp_path)


def test_members_are_grouped_by_any_column_of_their_table(four):
    images = load_dataset("congress", four, groups="party,gender*state")
    assert images.attrs["groups"] == ["party", "gender", "state"]
    assert list(images["party"]) == ["Left", "Right", "Right", "Middle"]
    assert list(images["state"].cat.categories) == ["MD", "OH", "WA"]
    assert images.attrs["labels"].startswith("Gender, party, state are as coded")
    usual = load_dataset("congress", four)
    assert usual.attrs["groups"] == ["gender"] and list(usual["gender"]) == list(images["gender"])
    assert usual.attrs["labels"].startswith("Gender is as coded")
    with pytest.raises(DataError, match='no column "Party" .*; did you mean party[?]'):
        load_dataset("congress", four, groups="gender,Party")

"""Any table of images: which columns are groups, and what is refused."""

import csv
from collections import Counter

import pandas as pd
import pytest

from clipeval.datasets import load_dataset
from clipeval.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.jpg").touch()
    return tmp_path


def write(folder, columns, name="images.csv"):
    path = folder / name
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


FILES = [f"{i}.jpg" for i in range(6)]


def test_real_portraits(real):
    path = real / "congress_portraits" / "members.csv"
    images = load_dataset("manifest", str(path), groups="gender_word, party")
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(images) == 539 and images.attrs["groups"] == ["gender_word", "party"]
    assert list(images["image_id"]) == [row["file"] for row in rows]
    assert images["gender_word"].value_counts().to_dict() == {"Male": 384, "Female": 155}
    assert Counter(images["party"]) == Counter(row["party"] for row in rows)
    assert list(images["official_full"]) == [row["official_full"] for row in rows]


def test_fairface_labels_as_a_manifest_give_the_same_groups(real):
    path = real / "fairface" / "labels_val.csv"
    images = load_dataset("manifest", str(path))
    fairface = load_dataset("fairface", str(path))
    assert images.attrs["groups"] == ["age", "gender", "race", "service_test"]
    assert list(images["file"]) == list(fairface["file"])
    assert list(images["age"]) == list(fairface["age"])
    assert list(images["age"].cat.categories)[:3] == ["0-2", "3-9", "10-19"]


def test_groups_are_columns_of_few_words(folder):
    columns = {
        "path": FILES,
        "sex": list("abababa"[:6]),
        "caption": list("xxxyyy"),
        "width": [1, 2, 1, 2, 1, 2],
        "same": ["s"] * 6,
        "note": ["", "a", "a", "a", "b", "b"],
        "all_different": list("abcdef"),
    }
    images = load_dataset("manifest", write(folder, columns))
    assert images.attrs["groups"] == ["sex"]
    assert list(images["caption"]) == list("xxxyyy") and list(images["image_id"]) == FILES
    images = load_dataset("manifest", write(folder, columns), groups="width", title="Mine")
    assert list(images["width"].cat.categories) == ["1", "2"] and images.attrs["name"] == "Mine"


def test_parquet_keeps_the_order_of_its_categories(folder):
    size = pd.Categorical(["small", "large"] * 3, categories=["small", "large"], ordered=True)
    table = pd.DataFrame({"file": FILES, "image_id": list("abcdef"), "size": size, "x": [0.5] * 6})
    table.to_parquet(folder / "images.parquet")
    images = load_dataset("manifest", str(folder / "images.parquet"))
    assert list(images["size"].cat.categories) == ["small", "large"]
    assert list(images["image_id"]) == list("abcdef") and images["file"][0] == str(folder / "0.jpg")


def test_absolute_paths_and_tsv(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "images.tsv"
    table = pd.DataFrame({"file": [str(folder / f) for f in FILES], "g": list("aaabbb")})
    table.to_csv(path, sep="\t", index=False)
    assert load_dataset("manifest", str(path))["file"].tolist() == table["file"].tolist()


@pytest.mark.parametrize(
    ("columns", "groups", "said"),
    [
        ({"name": FILES}, "", 'has no column "file" or "path" (it has name)'),
        ({"file": FILES}, "race", 'has no column "race" (it has file'),
        ({"file": [*FILES[:5], ""], "x": FILES}, "", "row 7: file is empty"),
        ({"file": [*FILES[:5], "0.jpg"]}, "", 'row 7: "0.jpg" already stands in row 2'),
        ({"file": [*FILES[:5], "no.jpg"]}, "", "1 of 6 labelled images are not under"),
        ({"file": FILES, "image_id": list("aabcde")}, "", 'row 3: "a" already stands in row 2'),
        ({"file": FILES, "g": ["", *"aabbb"]}, "g", "row 2: g is empty (1 such rows)"),
        (
            {"file": FILES, "age": ["0-2", "9-Mar"] * 3},
            "",
            'row 3: age "9-Mar" stands among ranges',
        ),
        ({"file": FILES, "label": list("aabbcc")}, "label", 'a group column is called "label"'),
    ],
)
def test_refusals(folder, columns, groups, said):
    with pytest.raises(DataError) as caught:
        load_dataset("manifest", write(folder, columns), groups=groups)
    assert said in str(caught.value)


def test_a_folder_is_refused(folder):
    with pytest.raises(DataError, match="is a folder; for manifest, data is a CSV"):
        load_dataset("manifest", str(folder))

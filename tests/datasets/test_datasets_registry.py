"""load_dataset: names, options, samples, and what is checked in every images table."""

import subprocess
import sys

import pandas as pd
import pytest

from clipeval.datasets import dataset_options, list_datasets, load_dataset
from clipeval.datasets.base import find_images, finish, list_images, sample
from clipeval.datasets.labelfile import read_table
from clipeval.errors import DataError, ParameterError
from clipeval.files import natural


def table(n=10, **columns):
    ids = [f"{i}.jpg" for i in range(n)]
    return pd.DataFrame({"image_id": ids, "file": [f"/x/{i}" for i in ids], **columns})


def test_a_wrong_name_is_answered_with_close_ones():
    with pytest.raises(ParameterError, match='no data set "farface"; did you mean fairface'):
        load_dataset("farface")


def test_an_unknown_option_is_refused():
    with pytest.raises(
        ParameterError, match='congress has no option "pading"; its options are: groups'
    ):
        load_dataset("congress", pading="0.25")


def test_every_data_set_says_what_it_needs():
    for name in [n for n in list_datasets()["dataset"] if n != "testcards"]:
        with pytest.raises(ParameterError, match=f"{name} needs data=PATH"):
            load_dataset(name)


def test_a_folder_of_digits_is_a_name_and_no_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "007").mkdir()
    (tmp_path / "007" / "1.jpg").touch()
    assert load_dataset("manifest", "007").attrs["name"] == "007"
    with pytest.raises(
        DataError, match="^7 does not exist .write a name of digits as ./7.; for man"
    ):
        load_dataset("manifest", "7")


def test_options_are_those_of_each_loader():
    import inspect
    from importlib import import_module

    for name in [n for n in list_datasets()["dataset"] if n != "testcards"]:
        signature = inspect.signature(import_module(f"clipeval.datasets.{name}").load)
        assert tuple(signature.parameters) == ("data", *dataset_options(name))


def test_loaders_do_not_import_torch():
    code = (
        "import sys, clipeval.datasets, clipeval.datasets.fairface, clipeval.datasets.celebrities; "
    )
    code += "sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_sample_is_seeded_ordered_and_nested():
    images = finish(table(1000), name="x", groups=[])
    small, large = sample(images, 100, 3), sample(images, 300, 3)
    order = {name: i for i, name in enumerate(images["image_id"])}
    positions = [order[name] for name in large["image_id"]]
    assert positions == sorted(positions) and len(large) == 300
    assert set(small["image_id"]) < set(large["image_id"])
    assert small.equals(sample(images, 100, 3)) and not small.equals(sample(images, 100, 4))
    assert small.attrs["notes"] == ["A random sample of 100 of 1,000 images (seed 3)."]
    assert images.attrs["notes"] == [] and small.index.equals(pd.RangeIndex(100))


def test_a_sample_of_everything_changes_nothing():
    images = finish(table(5), name="x", groups=[])
    assert sample(images, 0, 0) is images and sample(images, 5, 0) is images
    with pytest.raises(ParameterError, match="limit=-1 is negative"):
        sample(images, -1, 0)


def test_finish_orders_columns_and_categories():
    age = ["10-19", "3-9"] * 5
    images = finish(table(extra=1, age=age, row=range(10)), name="x", groups=["age"])
    assert list(images.columns) == ["image_id", "file", "row", "age", "extra"]
    assert list(images["age"].cat.categories) == ["3-9", "10-19"] and images["age"].cat.ordered
    assert images["row"].dtype == "Int64"
    assert set(images.attrs) == set(
        "name version licence citation terms labels groups notes".split()
    )


def test_finish_refuses_what_would_be_silently_wrong():
    twice = table(3)
    twice["image_id"] = "a.jpg"
    with pytest.raises(DataError, match='image id "a.jpg" stands twice'):
        finish(twice, name="x", groups=[])
    with pytest.raises(DataError, match="race is missing for 1 images: 2.jpg"):
        finish(table(3, race=["a", "b", None]), name="x", groups=["race"])
    with pytest.raises(DataError, match='a group column is called "label"'):
        finish(table(3, label=["a", "b", "c"]), name="x", groups=["label"])
    with pytest.raises(DataError, match="no image is left"):
        finish(table(0), name="x", groups=[])


def test_read_table_counts_lines_as_an_editor_does(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufefffile,note\r\n\r\na.jpg,"two\r\nlines"\r\nb.jpg, x \r\n'.encode())
    rows = read_table(path)
    assert list(rows.columns) == ["file", "note"] and list(rows["note"]) == ["two\r\nlines", "x"]
    assert list(rows.index) == [4, 5]  # a quoted value that spans lines counts to its last


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", "is empty"),
        (b"a;b\n1;2\n", "separated by semicolons"),
        (b"a,b\n1,2,3\n", "row 2: 3 values for 2 columns"),
        (b"a,a\n1,2\n", 'more than one column "a"'),
        ("a\nJosé\n".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_read_table_refuses(tmp_path, content, refusal):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=refusal) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_images_are_found_whatever_the_form_of_their_accents(tmp_path):
    decomposed, composed = "Jose\u0301.jpg", "Jos\u00e9.jpg"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / decomposed).touch()
    (tmp_path / "plain.jpg").touch()
    absolute = str(tmp_path / "plain.jpg")
    found = find_images(tmp_path, [f"a/{composed}", "plain.jpg", absolute, "a/no.jpg", "b/c.jpg"])
    assert found == [str(tmp_path / "a" / decomposed), absolute, absolute, None, None]


def test_natural_order(tmp_path):
    for name in ("10.jpg", "9.JPG", "a.png", "note.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["9.JPG", "10.jpg", "a.png"]
    assert sorted(["more than 70", "10-19", "0-2", "3-9"], key=natural)[:3] == [
        "0-2",
        "3-9",
        "10-19",
    ]

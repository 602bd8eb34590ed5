"""FairFace from label CSVs: the real photographs, and small folders with what can be wrong."""

import csv
from collections import Counter

import pytest
from PIL import Image

from clipeval.datasets import load_dataset
from clipeval.datasets.fairface import AGES, GENDERS, RACES
from clipeval.errors import DataError, ParameterError

HEADER = "file,age,gender,race,service_test"
ROWS = [
    "val/1.jpg,3-9,Male,East Asian,False",
    "val/2.jpg,50-59,Female,White,True",
    "val/3.jpg,more than 70,Male,Latino_Hispanic,True",
]


@pytest.fixture
def folder(tmp_path):
    """A FairFace of three images in the official layout."""
    (tmp_path / "val").mkdir()
    for i in (1, 2, 3):
        Image.new("RGB", (224, 224)).save(tmp_path / "val" / f"{i}.jpg")
    write(tmp_path, ROWS)
    return tmp_path


def write(folder, rows, header=HEADER, name="fairface_label_val.csv"):
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def refusal(folder, **options):
    with pytest.raises(DataError) as caught:
        load_dataset("fairface", str(folder), **options)
    return str(caught.value)


@pytest.mark.parametrize("split", ["val", "train"])
def test_real_labels_equal_the_csv(real, split):
    images = load_dataset("fairface", str(real / "fairface"), split=split)
    with open(real / "fairface" / f"labels_{split}.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(images) == len(rows) == 5000
    assert list(images["image_id"]) == [row["file"] for row in rows]
    for column in ("age", "gender", "race"):
        assert list(images[column]) == [row[column] for row in rows]
        assert Counter(images[column]) == Counter(row[column] for row in rows)
    assert list(images["service_test"]) == [row["service_test"] == "True" for row in rows]
    assert (images["white"] == "White").sum() == sum(row["race"] == "White" for row in rows)
    assert list(images["file"]) == [str(real / "fairface" / row["file"]) for row in rows]
    assert images.attrs["groups"] == ["age", "gender", "race", "white"]
    assert tuple(images["age"].cat.categories) == AGES and images["age"].cat.ordered
    assert tuple(images["race"].cat.categories) == RACES
    assert tuple(images["gender"].cat.categories) == GENDERS


def test_real_oddities_and_the_share_of_the_split_are_noted(real):
    notes = load_dataset("fairface", str(real / "fairface")).attrs["notes"]
    assert notes == [
        "val/567.jpg and val/4209.jpg are the same photograph with different labels.",
        "val/529.jpg is also a training image, train/22979.jpg.",
        "5,000 of the 10,954 images of FairFace's val split.",
    ]
    notes = load_dataset("fairface", str(real / "fairface"), split="train").attrs["notes"]
    assert notes[0] == "train/22979.jpg is also a validation image, val/529.jpg."


def test_the_noted_twins_are_indeed_the_same_file(real):
    read = [(real / "fairface" / "val" / f"{i}.jpg").read_bytes() for i in (567, 4209)]
    assert read[0] == read[1]


def test_a_path_to_the_csv_and_a_limit(real):
    path = real / "fairface" / "labels_val.csv"
    images = load_dataset("fairface", str(path), limit=100, seed=1)
    assert len(images) == 100 and images["image_id"].is_unique
    assert images.attrs["notes"][-1] == "A random sample of 100 of 5,000 images (seed 1)."


def test_official_layout(folder):
    images = load_dataset("fairface", str(folder))
    assert images["age"].tolist() == ["3-9", "50-59", "more than 70"]
    assert images["white"].tolist() == ["Non-White", "White", "Non-White"]
    assert images.attrs["version"] == "padding 0.25, val, 3 of 10,954"
    assert images.attrs["licence"] == "CC BY 4.0"
    assert "not self-identification" in images.attrs["labels"]
    assert load_dataset("fairface", str(folder), split="validation").equals(images)


def test_the_unpacked_archive_beside_the_csv(folder):
    archive = folder / "fairface-img-margin025-trainval"
    archive.mkdir()
    (folder / "val").rename(archive / "val")
    images = load_dataset("fairface", str(folder))
    assert (
        images["file"][0] == str(archive / "val" / "1.jpg") and images["image_id"][0] == "val/1.jpg"
    )


def test_a_byte_order_mark_is_tolerated(folder):
    text = (folder / "fairface_label_val.csv").read_text()
    (folder / "fairface_label_val.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert len(load_dataset("fairface", str(folder))) == 3


def test_a_whole_split_has_no_note(tmp_path):
    (tmp_path / "val").mkdir()
    for i in range(1, 10_955):
        (tmp_path / "val" / f"{i}.jpg").touch()
    rows = [
        f"val/{i}.jpg,{AGES[i % 9]},{GENDERS[i % 2]},{RACES[i % 7]},True" for i in range(1, 10_955)
    ]
    write(tmp_path, rows)
    images = load_dataset("fairface", str(tmp_path), strict=True)
    # that val/567 and val/4209 are one photograph is known of the release; nothing else is odd
    assert len(images.attrs["notes"]) == 1 and len(images) == 10_954
    assert images.attrs["version"] == "padding 0.25, val, all 10,954"


@pytest.mark.parametrize(
    ("mangled", "original"),
    [
        ("9-Mar", "3-9"),
        ("3-Sep", "3-9"),
        ("03. Sep", "3-9"),
        ("Oct-19", "10-19"),
        ("19-Oct", "10-19"),
    ]
    + [("2024-03-09 00:00:00", "3-9"), ("3/9/2024", "3-9"), ("2019-10-01", "10-19")],
)
def test_a_spreadsheets_dates(folder, mangled, original):
    write(folder, [ROWS[1], ROWS[0].replace("3-9", mangled), ROWS[2]])
    assert refusal(folder) == (
        f'{folder}/fairface_label_val.csv, row 3: age "{mangled}" is not a FairFace age bin; a '
        f'spreadsheet has turned "{original}" into a date. Use the original file.'
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "East Asian",
            "Latino",
            'row 2: race "Latino" is not a FairFace race (White, Black, Indian',
        ),
        ("East Asian", "white", 'row 2: race "white" is not a FairFace race'),
        ("Male", "M", 'row 2: gender "M" is not a FairFace gender (Male, Female)'),
        ("3-9", "", "row 2: age is empty"),
        ("3-9", "4-8", 'row 2: age "4-8" is not a FairFace age bin (0-2, 3-9'),
        ("False", "0", 'row 2: service_test "0" is not a FairFace truth value'),
    ],
)
def test_unknown_classes(folder, old, new, said):
    write(folder, [ROWS[0].replace(old, new), *ROWS[1:]])
    assert said in refusal(folder)


def test_semicolons(folder):
    write(folder, [row.replace(",", ";") for row in ROWS], HEADER.replace(",", ";"))
    assert refusal(folder) == (
        f"{folder}/fairface_label_val.csv is separated by semicolons, where commas are read; save it "
        "again, separated by commas (.csv) or tabs (.tsv), and look whether a spreadsheet has turned "
        "ranges such as 3-9 into dates."
    )


def test_a_missing_column(folder):
    write(folder, [row.rsplit(",", 2)[0] for row in ROWS], "file,age,gender")
    assert refusal(folder) == (
        f'{folder}/fairface_label_val.csv has no column "race" (it has file, age, gender); add '
        "what is missing, or use the original file."
    )


def test_labels_without_images(folder):
    write(folder, ROWS + [f"val/{i}.jpg,3-9,Male,White,True" for i in (8, 9, 10, 11)])
    assert refusal(folder) == (
        f"{folder}/fairface_label_val.csv: 4 of 7 labelled images are not under {folder}: "
        "val/8.jpg (row 5), val/9.jpg (row 6), val/10.jpg (row 7) and 1 more; complete the images, "
        "or leave their rows out."
    )


def test_images_without_labels_are_noted_or_refused(folder):
    write(folder, ROWS[:2])
    note = "1 images have no label and are left out: val/3.jpg."
    assert note in load_dataset("fairface", str(folder)).attrs["notes"]
    assert note in refusal(folder, strict=True)


def test_strict_refuses_a_part_of_the_split(folder):
    assert "3 images are not the whole val split of 10,954" in refusal(folder, strict=True)


def test_a_repeated_row(folder):
    write(folder, [*ROWS, ROWS[0]])
    assert 'row 5: "val/1.jpg" already stands in row 2; keep one row an image' in refusal(folder)


@pytest.mark.parametrize("name", ["val/./1.jpg", "val//1.jpg", "val/../val/1.jpg"])
def test_one_photograph_under_two_names(folder, name):
    write(folder, [*ROWS, ROWS[0].replace("val/1.jpg", name)])
    assert f'row 5: file "{name}" is another way to write "val/1.jpg"' in refusal(folder)


def test_a_picture_too_large_to_open_is_passed_over_when_sizes_are_looked_at(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 224 x 224 are more than twice as many
    assert len(load_dataset("fairface", str(folder))) == 3


def test_the_wrong_padding(folder):
    assert (
        "images are 224 x 224 pixels, the size of the release with padding 0.25, but padding is "
        "1.25; set padding=0.25"
    ) in refusal(folder, padding="1.25")
    for i in (1, 2, 3):
        Image.new("RGB", (448, 448)).save(folder / "val" / f"{i}.jpg")
    assert "with padding 1.25, but padding is 0.25" in refusal(folder)
    assert len(load_dataset("fairface", str(folder), padding="1.25")) == 3
    with pytest.raises(ParameterError, match="no release with padding 0.5"):
        load_dataset("fairface", str(folder), padding="0.5")


def test_a_size_of_neither_release_is_noted_and_unreadable_images_are_passed_over(
    folder,
):
    Image.new("RGB", (200, 100)).save(folder / "val" / "1.jpg")
    (folder / "val" / "2.jpg").write_bytes(b"")
    notes = load_dataset("fairface", str(folder)).attrs["notes"]
    assert notes[0].startswith("Images of 200 x 100 pixels are of neither FairFace release")


def test_the_wrong_split(folder):
    csv_path = folder / "fairface_label_val.csv"
    assert 'row 2: file "val/1.jpg" is not in the train split; set split=val' in refusal(
        csv_path, split="train"
    )
    assert "it has the labels of val only: set split=val" in refusal(folder, split="train")
    with pytest.raises(ParameterError, match='no split "test"; use val or train'):
        load_dataset("fairface", str(folder), split="test")


def test_nothing_there(tmp_path):
    assert "holds no fairface_label_val.csv or labels_val.csv" in refusal(tmp_path)
    assert "does not exist; for fairface, data is the folder" in refusal(tmp_path / "nope")

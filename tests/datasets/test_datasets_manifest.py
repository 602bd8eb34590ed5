"""Any table of images: which columns are groups, and what is refused."""

import csv
import json
import re
from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipeval.datasets import load_dataset
from clipeval.embedding.images import read_bytes
from clipeval.errors import DataError, ParameterError


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
        ({"file": [*FILES[:5], "a\0/5.jpg"]}, "", "1 of 6 labelled images are not under"),
        ({"file": [*FILES[:5], "x" * 3000]}, "", "xxx...; complete the images"),
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


def test_what_a_run_wrote_into_a_folder_of_images_is_no_image(folder):
    figures = folder / "out" / "denigration" / "figures"
    figures.mkdir(parents=True)
    for place in (folder / "out", folder / "out" / "denigration", figures):
        (place / ".clipeval.sha256").touch()
    (figures / "by_race.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    images = load_dataset("manifest", str(folder))
    assert list(images["image_id"]) == FILES and images.attrs["notes"] == []


def test_a_column_that_is_called_as_one_of_a_table_is_left_out_and_said(folder):
    columns = {"file": FILES, "n": list("aabbab"), "Sex": list("fmfmfm")}
    images = load_dataset("manifest", write(folder, columns))
    assert images.attrs["groups"] == ["Sex"]
    said = "images.csv: n is the name of a column of predictions or tables; rename it"
    assert images.attrs["not_groups"] == {"n": said}
    images = load_dataset("manifest", write(folder, columns), columns="Ns:n")
    assert images.attrs["groups"] == ["Ns", "Sex"]


def test_a_folder_of_images_has_no_groups(folder):
    (folder / "more").mkdir()
    (folder / "more" / "7").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "notes.txt").write_text("of the photographer")
    images = load_dataset("manifest", str(folder), title="Mine", licence="CC0")
    assert list(images["image_id"]) == [*FILES, "more/7"] and images.attrs["groups"] == []
    assert images["file"][6] == str(folder / "more" / "7")
    assert images.attrs["notes"] == ["1 file is left out (not images): notes.txt."]
    assert (images.attrs["name"], images.attrs["licence"]) == ("Mine", "CC0")
    with pytest.raises(DataError, match="is a folder, which has no columns for groups or file"):
        load_dataset("manifest", str(folder), groups="race")
    with pytest.raises(DataError, match="holds no images; for manifest, data is a CSV"):
        (folder / "empty").mkdir()
        load_dataset("manifest", str(folder / "empty"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("img\\0.jpg", '"img\\0.jpg" has backslashes; write / between folders'),
        ("C:\\img\\0.jpg", "is a path of another machine's drive"),
        ("D:/img/0.jpg", "is a path of another machine's drive"),
        ("https://example.org/0.jpg", "is an address and not a file; download the images"),
        ("~/0.jpg", "begins with ~"),
        ("/elsewhere/0.jpg", '"/elsewhere/0.jpg" is not there; write the path relative'),
    ],
)
def test_paths_of_another_kind(folder, name, said):
    with pytest.raises(DataError) as caught:
        load_dataset("manifest", write(folder, {"file": [*FILES[:2], name], "g": list("abb")}))
    assert f"images.csv, row 4: {chr(34)}" in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("again", ["./0.jpg", "a/../0.jpg", ".//0.jpg", "{folder}/0.jpg"])
def test_one_image_once(folder, again):
    files = [*FILES, again.format(folder=folder)]
    with pytest.raises(DataError, match="row 8: .*0.jpg.* row 2.*keep one row an image"):
        load_dataset("manifest", write(folder, {"file": files}))
    images = load_dataset("manifest", write(folder, {"file": files, "image_id": list("abcdefg")}))
    assert images.attrs["notes"] == ["1 of 7 rows show an image again under another image_id."]
    images = load_dataset("manifest", write(folder, {"file": [files[-1], *FILES[1:]]}))
    assert images["file"].tolist() == [str(folder / name) for name in FILES]


def test_the_column_of_the_images_can_be_named(folder):
    path = write(folder, {"file": list("xxxyyy"), "photo": FILES, "g": list("aaabbb")})
    images = load_dataset("manifest", path, file="photo", labelled_by="Labels by two nurses.")
    assert list(images["image_id"]) == FILES and images.attrs["groups"] == ["g"]
    assert images.attrs["labels"] == "Labels by two nurses."
    with pytest.raises(DataError, match='has no column "picture" .*name it with file=COLUMN'):
        load_dataset("manifest", path, file="picture")
    with pytest.raises(DataError, match='has a column "row", a name of ours; rename it'):
        load_dataset("manifest", write(folder, {"file": FILES, "row": [1] * 6}))


def test_a_parquet_file_that_holds_its_images(folder):
    images = [f"picture {i}".encode() for i in range(6)]
    table = {"image": images, "sex": pa.array([0, 1] * 3, pa.int64()), "x": [0.5] * 6}
    features = {"sex": {"names": ["m", "f"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = folder / "all.parquet"
    pq.write_table(pa.table(table).replace_schema_metadata(metadata), path)
    found = load_dataset("manifest", str(path))
    assert list(found["sex"]) == ["m", "f"] * 3 and found.attrs["groups"] == ["sex"]
    assert [
        read_bytes(f, int(r)) for f, r in zip(found["file"], found["row"], strict=True)
    ] == images
    pq.write_table(pa.table(table).rename_columns(["img_bytes", "sex", "x"]), path)
    with pytest.raises(DataError, match='holds its images in column "img_bytes"; call that column'):
        load_dataset("manifest", str(path))


def test_numbers_in_parquet_mean_what_the_file_says(folder):
    path = folder / "images.parquet"
    pq.write_table(pa.table({"file": FILES, "race": [0, 1, 2, 0, 1, 2]}), path)
    found = load_dataset("manifest", str(path))
    assert found.attrs["groups"] == []
    assert found.attrs["not_groups"]["race"].startswith(
        'images.parquet, row 1: race is "0" and holds'
    )


def test_what_is_no_csv_says_what_it_is(folder):
    path = folder / "images.csv"
    for content, said in [
        (b"PK\x03\x04....", "is a spreadsheet (xlsx, ods) or another zip archive"),
        (b"PAR1....PAR1", "is a parquet file"),
        (
            b"\xff\xfef\0i\0l\0e\0",
            "is UTF-16 text, where a CSV or TSV file is needed; save it as CSV",
        ),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\n<HTML>Quota exceeded", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b'{"file": "0.jpg"}', "is JSON"),
        (b"file\tg\n0.jpg\ta\n", "is separated by tabs, where commas are read; call it .tsv"),
        (
            b"file|g\n0.jpg|a\n",
            "is separated by vertical bars, where commas are read; save it again, separated by commas",
        ),
        (b"file,g\n", "has a header and no rows"),
        (b"file,g\n0.jpg,a,\n", "row 2: 3 values for 2 columns; remove the separators at its end"),
        (b"file,g\n0.jpg\n", "row 2: 1 values for 2 columns; complete the row"),
        (b"file,g\n0.jpg,a,b\n", "quote values that hold a comma"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            load_dataset("manifest", str(path))
        assert said in str(caught.value) and str(caught.value).startswith(str(path))
    (folder / "images.tsv").write_text("file,g\n0.jpg,a\n")
    with pytest.raises(
        DataError, match="is separated by commas, where tabs are read; call it .csv"
    ):
        load_dataset("manifest", str(folder / "images.tsv"))


def test_the_index_that_pandas_writes_is_no_column(folder):
    pd.DataFrame({"file": FILES, "g": list("ababab")}).to_csv(folder / "images.csv")
    images = load_dataset("manifest", str(folder / "images.csv"))
    assert list(images.columns) == ["image_id", "file", "g"]


def test_columns_say_what_the_users_own_are(folder):
    columns = {"nr": list("uvwxyz"), "photo": FILES, "m_f": list("mmffmf"), "Party": list("aabbab")}
    path = write(folder, columns)
    mapped = "image_id:nr, file:photo, Sex:m_f"
    images = load_dataset("manifest", path, columns=mapped, groups="Sex,Party")
    assert list(images["image_id"]) == list("uvwxyz")
    assert list(images["file"]) == [str(folder / name) for name in FILES]
    assert images.attrs["groups"] == ["Sex", "Party"] and list(images["Sex"]) == list("mmffmf")
    assert {"nr", "photo", "m_f"}.isdisjoint(images.columns)
    swapped = load_dataset("manifest", path, columns="file:photo,Party:m_f,m_f:Party")
    assert list(swapped["Party"]) == list("mmffmf") and list(swapped["m_f"]) == list("aabbab")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            "file:photo,Sex:sex",
            'no column "sex", which columns calls Sex .it has nr, photo, m_f, Party',
        ),
        (
            "photo:file",
            'no column "file", which columns calls photo .*; did you mean file:photo[?]',
        ),
        ("Party:m_f", 'has a column "Party" already, and columns gives that name to "m_f"'),
        ("file", '"file" does not say once what one column is; write NAME:COLUMN'),
        ("a:nr,b:nr", '"b:nr" does not say once'),
    ],
)
def test_columns_that_are_not_there_or_named_twice_are_refused(folder, columns, said):
    table = {"nr": FILES, "photo": FILES, "m_f": list("mmffmf"), "Party": list("aabbab")}
    with pytest.raises((DataError, ParameterError), match=said):
        load_dataset("manifest", write(folder, table), columns=columns)


def test_one_image_of_each_person_is_drawn(folder):
    """Whose images are drawn is random and seeded; every person is there once, in the order of the table."""
    columns = {"file": FILES, "who": ["b", "a", "b", "c", "a", "b"], "sex": list("fmfmmf")}
    path = write(folder, columns)
    drawn = {load(path, person="who", seed=seed) for seed in range(40)}
    possible = {tuple(sorted((b, a, "3"))) for b in "025" for a in "14"}
    assert drawn == possible  # each of the six choices, and no other
    images = load_dataset("manifest", path, person="who")
    assert images.attrs["groups"] == ["sex"]  # who is shown is not a group, few as they are
    assert images.attrs["notes"][-1] == (
        "One image of each of 3 people (column who), drawn at random from 6 (seed 0)."
    )
    assert len(load_dataset("manifest", path, person="who", limit=2)) == 2
    assert len(load_dataset("manifest", path)) == 6


def test_images_of_one_person_are_said_to_count_as_independent(folder):
    columns = {"file": FILES, "Subject_ID": [7, 7, 8, 8, 9, 9], "sex": list("fmfmmf")}
    for groups in ("", "sex"):
        images = load_dataset("manifest", write(folder, columns), groups=groups)
        assert images.attrs["notes"] == ["Images of one Subject_ID are counted as independent."]
    images = load_dataset("manifest", write(folder, columns), person="Subject_ID")
    assert len(images) == 3 and len(images.attrs["notes"]) == 1
    columns["Subject_ID"] = [1, 2, 3, 4, 5, 6]  # nobody twice
    assert load_dataset("manifest", write(folder, columns)).attrs["notes"] == []


def load(path, **options) -> tuple[str, ...]:
    images = load_dataset("manifest", path, **options)
    return tuple(name.removesuffix(".jpg") for name in images["image_id"])


@pytest.mark.parametrize(
    "who, said",
    [
        (["a", "b", "", "a", "b", "c"], "who is missing for 1 images: 2.jpg; fill it in"),
        (["a", "b", "A", "a", "b", "c"], 'image 2.jpg: who "A" and "a" (image 0.jpg) differ'),
    ],
)
def test_who_is_shown_is_known_of_every_image(folder, who, said):
    path = write(folder, {"file": FILES, "who": who})
    with pytest.raises(DataError, match=re.escape(said)):
        load_dataset("manifest", path, person="who")
    with pytest.raises(DataError, match='has no column "whom"'):
        load_dataset("manifest", path, person="whom")


def test_a_column_whose_values_recur_may_say_who_is_shown(folder):
    """And one that hardly does may not."""
    for i in range(6, 60):
        (folder / f"{i}.jpg").touch()
    files = [f"{i}.jpg" for i in range(60)]
    columns = {"file": files, "who": [f"p{i // 2}" for i in range(60)]}
    path = write(folder, columns | {"nr": [f"n{i // 1.2:.0f}" for i in range(60)]})
    why = load_dataset("manifest", path).attrs["not_groups"]
    assert why["who"].endswith(
        "name it with groups=who, or with person=who if it says who is shown, to draw one image of each"
    )
    assert why["nr"].endswith("name it with groups=nr")

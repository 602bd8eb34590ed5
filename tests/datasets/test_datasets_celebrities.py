"""People by name: folders, CSVs, CelebA's official files and the hub's parquet."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipeval.datasets import load_dataset
from clipeval.errors import DataError, ParameterError


def refusal(data, **options):
    with pytest.raises(DataError) as caught:
        load_dataset("celebrities", str(data), **options)
    return str(caught.value)


def test_real_two_photos_per_member(real):
    path = real / "congress_portraits" / "two_photos_per_member.csv"
    images = load_dataset("celebrities", str(path))
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(images) == 2 * len(rows) == 594 and images["person"].nunique() == 297
    assert list(images["person"]) == [row["name"] for row in rows for _ in (0, 1)]
    assert list(images["image_id"]) == [
        row[column] for row in rows for column in ("file_2017", "file_portrait")
    ]
    assert list(images["file"]) == [str(real / name) for name in images["image_id"]]
    assert images["gender"].value_counts().to_dict() == {"Male": 454, "Female": 140}
    assert images["photo"].value_counts().to_dict() == {"file_2017": 297, "file_portrait": 297}
    assert images.attrs["groups"] == ["gender"]
    one = load_dataset("celebrities", str(path), files="file_2017")
    assert len(one) == 297 and one["image_id"].str.startswith("congress_2017/").all()


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_folder_a_person(tmp_path):
    for name in (
        "Ada_Lovelace/1.jpg",
        "Ada_Lovelace/10.jpg",
        "Ada_Lovelace/2.jpg",
        "Alan Turing/a.png",
    ):
        touch(tmp_path / name)
    touch(tmp_path / "group.jpg")
    (tmp_path / "Nobody").mkdir()
    images = load_dataset("celebrities", str(tmp_path))
    assert list(images["image_id"]) == [
        "Ada_Lovelace/1.jpg",
        "Ada_Lovelace/2.jpg",
        "Ada_Lovelace/10.jpg",
        "Alan Turing/a.png",
    ]
    assert list(images["person"]) == ["Ada Lovelace"] * 3 + ["Alan Turing"]
    assert images.attrs["notes"] == [
        "Nobody holds no image and is left out.",
        "1 file is left out (in no person's folder): group.jpg.",
    ]


def test_photographs_are_known_by_content_and_others_are_named(tmp_path):
    """As browsers and phones save them: any suffix or none, in folders of a folder."""
    photo, pixels = io.BytesIO(), Image.new("RGB", (8, 8), "red")
    pixels.save(photo, "JPEG")
    kinds = {"1.jpg": "JPEG", "2.jfif": "JPEG", "3.avif": "AVIF", "4.jp2": "JPEG2000", "5": "PNG"}
    kinds |= {"6.chip": "WEBP", "more/7.image": "GIF", "more/8": "TIFF", "9.jpeg_large": "BMP"}
    for person in ("Ann_Aa", "Bo_Bb"):
        (tmp_path / person / "more").mkdir(parents=True)
        for name, format in kinds.items():
            pixels.save(tmp_path / person / name, format)
    (tmp_path / "Ann_Aa" / "notes.txt").write_text("BMI of a person, and other words")
    (tmp_path / "Ann_Aa" / "more" / "clip").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(24))
    (tmp_path / "Ann_Aa" / ".DS_Store").write_bytes(photo.getvalue())
    (tmp_path / "people.csv").write_text("name,file")
    (tmp_path / "Ann_Aa" / "more" / "up").symlink_to(tmp_path / "Ann_Aa")
    images = load_dataset("celebrities", str(tmp_path))
    names = sorted(kinds)
    assert sorted(images["image_id"]) == sorted(
        f"{person}/{name}" for person in ("Ann_Aa", "Bo_Bb") for name in names
    )
    assert images["person"].value_counts().to_dict() == {"Ann Aa": 9, "Bo Bb": 9}
    assert images.attrs["notes"] == [
        "3 files are left out (not images): Ann_Aa/more/clip, Ann_Aa/notes.txt, people.csv."
    ]


def test_a_folder_of_digits_keeps_its_name(tmp_path):
    for name in ("007/1.jpg", "Ada/1.jpg"):
        touch(tmp_path / name)
    images = load_dataset("celebrities", str(tmp_path))
    assert list(images["person"]) == ["007", "Ada"] and images["image_id"][0] == "007/1.jpg"


def test_folders_that_name_one_person_twice(tmp_path):
    touch(tmp_path / "Ada_Lovelace" / "1.jpg")
    touch(tmp_path / "ada lovelace" / "1.jpg")
    assert 'folders "Ada_Lovelace" and "ada lovelace" both name ada lovelace' in refusal(tmp_path)


def test_one_person_is_not_enough(tmp_path):
    touch(tmp_path / "Ada_Lovelace" / "1.jpg")
    assert "identification needs at least two names" in refusal(tmp_path)
    assert "holds no images in folders" in refusal(tmp_path / "Ada_Lovelace")


def test_a_csv_with_one_photo_a_row(tmp_path):
    for i in range(4):
        touch(tmp_path / f"{i}.jpg")
    rows = ["person,path,sex", "A_B,0.jpg,f", "A_B,1.jpg,f", "C D,2.jpg,m", "C D,3.jpg,m"]
    (tmp_path / "people.csv").write_text("\n".join(rows))
    images = load_dataset("celebrities", str(tmp_path / "people.csv"))
    assert list(images["person"]) == ["A B", "A B", "C D", "C D"]
    assert images.attrs["groups"] == ["sex"] and images["image_id"][2] == "2.jpg"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["who,file", "A,0.jpg"], 'has no column "name" or "person" (it has who, file)'),
        (["name,photo", "A,0.jpg"], 'has no column "file" or "path"'),
        (["name,file", ",0.jpg"], "row 2: name is empty"),
        (["name,file", "17,0.jpg"], '"17" is a number and not a name'),
        (["name,file_a,file_b", "A,0.jpg,1.jpg", "a,2.jpg,3.jpg"], "row 3: a stands in two rows"),
        (["name,file", "A,0.jpg", "B,0.jpg"], 'row 3: "0.jpg" already stands in row 2'),
        (["name,file", "A,0.jpg", "B,9.jpg"], "9.jpg (row 3)"),
    ],
)
def test_a_csv_is_refused(tmp_path, rows, said):
    for i in range(4):
        touch(tmp_path / f"{i}.jpg")
    (tmp_path / "people.csv").write_text("\n".join(rows))
    assert said in refusal(tmp_path / "people.csv")


@pytest.fixture
def celeba(tmp_path):
    """CelebA of six images and three identities, as the official download unpacks."""
    root = tmp_path / "CelebA"
    photos = [f"00000{i}.jpg" for i in range(1, 7)]
    for photo in photos:
        touch(root / "Img" / "img_align_celeba" / photo)
    (root / "Anno").mkdir()
    (root / "Eval").mkdir()
    identities = [2880, 2937, 8692, 2880, 2937, 8692]
    lines = [f"{p} {i}" for p, i in zip(photos, identities, strict=True)]
    (root / "Anno" / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    parts = [f"{p} {k}" for p, k in zip(photos, (0, 0, 0, 1, 2, 2), strict=True)]
    (root / "Eval" / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    signs = [
        f"{p}  {m:2d} {y:2d}"
        for p, m, y in zip(photos, (1, -1, -1) * 2, (1, 1, -1) * 2, strict=True)
    ]
    attributes = "\n".join(["6", "Male Young", *signs])
    (root / "Anno" / "list_attr_celeba.txt").write_text(attributes + "\n")
    names = ["Jo_Doe", "Ann_Lee", "Eva_M._Ray"] * 2
    listed = [f"{p} {n}" for p, n in zip(photos, names, strict=True)]
    (root / "list_identity_celeba.txt").write_text(
        "\n".join(["6", "image_id identity_name", *listed])
    )
    return root


def test_celeba(celeba):
    images = load_dataset("celebrities", str(celeba))
    assert list(images["image_id"]) == [f"00000{i}.jpg" for i in range(1, 7)]
    assert list(images["person"]) == ["Jo Doe", "Ann Lee", "Eva M. Ray"] * 2
    assert list(images["gender"]) == ["Male", "Female", "Female"] * 2
    assert list(images["identity"]) == ["2880", "2937", "8692"] * 2
    assert images["file"][0] == str(celeba / "Img" / "img_align_celeba" / "000001.jpg")
    assert images.attrs["groups"] == ["gender"] and "Non-commercial" in images.attrs["terms"]


def test_celeba_partition_and_attributes(celeba):
    images = load_dataset("celebrities", str(celeba), partition="test", groups="Young,Male")
    assert list(images["image_id"]) == ["000005.jpg", "000006.jpg"]
    assert list(images["Young"]) == ["yes", "no"] and images.attrs["groups"] == ["Young", "gender"]
    with pytest.raises(ParameterError, match='no partition "val"; use train, valid, test'):
        load_dataset("celebrities", str(celeba), partition="val")
    assert 'has no attribute "Old" (it has Male, Young)' in refusal(celeba, groups="Old")


def test_names_by_identity(celeba, tmp_path):
    (celeba / "list_identity_celeba.txt").unlink()
    names = tmp_path / "names.txt"
    names.write_text("2880 Jo_Doe\n2937 Ann_Lee\n")
    images = load_dataset("celebrities", str(celeba), names=str(names))
    assert list(images["person"]) == ["Jo Doe", "Ann Lee"] * 2
    assert images.attrs["notes"] == ["2 of 6 images have no name and are left out."]


def test_numbers_are_not_names(celeba):
    (celeba / "list_identity_celeba.txt").unlink()
    assert "holds identities as numbers only" in refusal(celeba)
    said = refusal(celeba, names=str(celeba / "Anno" / "identity_CelebA.txt"))
    assert '"2880" is a number and not a name' in said


def test_two_identities_with_one_name_are_noted_and_one_with_two_refused(celeba, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("2880 Jo_Doe\n2937 Jo_Doe\n8692 Eva_Ray\n")
    notes = load_dataset("celebrities", str(celeba), names=str(names)).attrs["notes"]
    assert notes == [
        "Not read: list_identity_celeba.txt.",
        "2 identities share 1 names (Jo Doe); a name is one person here.",
    ]
    text = (celeba / "list_identity_celeba.txt").read_text()
    (celeba / "list_identity_celeba.txt").write_text(
        text.replace("000004.jpg Jo_Doe", "000004.jpg X_Y")
    )
    assert "identity 2880 has several names (Jo Doe, X Y)" in refusal(celeba)


def test_celeba_incomplete(celeba):
    (celeba / "Img" / "img_align_celeba" / "000006.jpg").unlink()
    assert "1 of 2 images are missing: 000006.jpg" in refusal(celeba, partition="test")
    (celeba / "Img").rename(celeba / "elsewhere")
    assert "has no folder img_align_celeba" in refusal(celeba)


ATTRIBUTES = {
    "as in the hub's card": "6\nMale Young\n{}",
    "with spaces at the end": "6 \nMale Young \n{}",
    "without a count": "image_id Male Young\n{}",
    "with a byte-order mark": "\ufeff6\nMale Young\n{}",
}


@pytest.mark.parametrize("form", ATTRIBUTES)
@pytest.mark.parametrize("signs", [("1", "-1"), ("1.0", "-1.0")])
def test_dialects_of_the_attributes(celeba, form, signs):
    rows = [f"00000{i}.jpg  {signs[i % 2]}  {signs[1]}" for i in range(1, 7)]
    text = ATTRIBUTES[form].format("\r\n".join(rows))
    (celeba / "Anno" / "list_attr_celeba.txt").write_text(text, encoding="utf-8")
    images = load_dataset("celebrities", str(celeba), groups="Male,Young")
    assert list(images["gender"]) == ["Female", "Male"] * 3
    assert list(images["Young"]) == ["no"] * 6


def test_the_edition_on_kaggle(celeba):
    """CSVs with a header, and the folder of photographs in one of the same name."""
    for old in ("Anno/list_attr_celeba.txt", "Eval/list_eval_partition.txt"):
        (celeba / old).unlink()
    photos = [f"00000{i}.jpg" for i in range(1, 7)]
    signs = ["-1,1", "1,1", "1,-1"] * 2
    rows = ["image_id,Eyeglasses,Male", *(f"{p},{s}" for p, s in zip(photos, signs, strict=True))]
    (celeba / "list_attr_celeba.csv").write_text("\n".join(rows) + "\n")
    parts = ["image_id,partition", *(f"{p},{k}" for p, k in zip(photos, "000122", strict=True))]
    (celeba / "list_eval_partition.csv").write_text("\n".join(parts) + "\n")
    (celeba / "list_bbox_celeba.csv").write_text("image_id,x_1\n000001.jpg,95\n")
    (celeba / "Img" / "img_align_celeba").rename(celeba / "Img" / "inner")
    (celeba / "Img" / "img_align_celeba").mkdir()
    (celeba / "Img" / "inner").rename(celeba / "Img" / "img_align_celeba" / "img_align_celeba")
    images = load_dataset("celebrities", str(celeba))
    assert list(images["gender"]) == ["Male", "Male", "Female"] * 2
    assert images.attrs["notes"] == ["Not read: list_bbox_celeba.csv."]
    test = load_dataset("celebrities", str(celeba), partition="test", groups="Eyeglasses")
    assert list(test["image_id"]) == photos[4:] and list(test["Eyeglasses"]) == ["yes", "yes"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("000004.jpg   1", "000004.jpg   0", 'row 6: Male "0" is not 1 or -1'),
        ("000004.jpg   1", "000004.jpg yes", 'row 6: Male "yes" is not 1 or -1'),
        ("000004.jpg   1", "000004.jpg nan", 'row 6: Male "nan" is not 1 or -1'),
        ("000006.jpg  -1 -1", "000006.jpg", "row 8: 1 values for an image and 2 attributes"),
        ("000006.jpg  -1 -1\n", "", "has no row for 1 of 6 images (000006.jpg), so it is cut"),
        ("Male Young", "Young", "row 3: 3 values for an image and 1 attributes"),
    ],
)
def test_attributes_are_refused_with_file_and_row(celeba, old, new, said):
    path = celeba / "Anno" / "list_attr_celeba.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    answer = refusal(celeba, groups="Young" if new == "Young" else "")
    assert answer.startswith(str(path)) and said in answer


@pytest.mark.parametrize("name", ["Anno/list_attr_celeba.txt", "Anno/identity_CelebA.txt"])
def test_a_file_that_is_not_utf_8_is_one_sentence(celeba, name):
    (celeba / name).write_bytes((celeba / name).read_bytes() + b"\xff\xfe\x00")
    assert f"{celeba / name} cannot be read as UTF-8 text" in refusal(celeba)


def test_other_separators_are_refused_in_the_same_sentence(celeba, tmp_path):
    said = "is separated by semicolons, where commas are read; save it again, separated by commas"
    names, people = tmp_path / "names.csv", tmp_path / "people.csv"
    names.write_text("identity;name\n\n1;Jo Doe\n2;Eva Ray\n")
    assert refusal(celeba, names=str(names)).startswith(f"{names} {said}")
    people.write_text("file;name\n1.jpg;Jo Doe\n")
    assert refusal(people).startswith(f"{people} {said}")
    (celeba / "Anno" / "list_attr_celeba.txt").unlink()
    attributes = celeba / "list_attr_celeba.csv"
    attributes.write_text("image_id;Male\n000001.jpg;1\n")
    assert refusal(celeba).startswith(f"{attributes} {said}")


def test_names_in_two_spellings(celeba, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("2880 Jo_Doe\n2937 jo__doe\n8692 Eva_Ray\n")
    said = refusal(celeba, names=str(names))
    assert 'image or identity 2937: name "jo doe" and "Jo Doe" (image or identity 2880)' in said
    people = tmp_path / "people.csv"
    for i in (1, 2):
        touch(tmp_path / f"{i}.jpg")
    people.write_text("name,file\nJo Doe,1.jpg\nJO DOE,2.jpg\n")
    assert 'row 3: name "JO DOE" and "Jo Doe" (row 2) differ in spelling only' in refusal(people)


@pytest.mark.parametrize(
    ("values", "gender"),
    [
        (pa.array([True, False]), ["Male", "Female"]),
        (pa.array([1, -1], pa.int8()), ["Male", "Female"]),
        (pa.array([1, 0], pa.int8()), 'row 2: Male "0" is not 1 or -1'),
        (pa.array(["1", None]), 'row 2: Male "nan" is not 1 or -1'),
    ],
)
def test_attributes_in_parquet(tmp_path, values, gender):
    root, names = tmp_path / "celeba", tmp_path / "names.txt"
    write_hub(root / "img_align+identity+attr", "test", [1, 2])
    shard = next(root.rglob("*.parquet"))
    table = pq.read_table(shard)
    pq.write_table(table.set_column(table.schema.get_field_index("Male"), "Male", values), shard)
    names.write_text("1 Jo_Doe\n2 Ann_Lee\n")
    if isinstance(gender, str):
        said = refusal(root, names=str(names))
        assert said.startswith(f"{shard}, {gender}")
    else:
        images = load_dataset("celebrities", str(root), names=str(names))
        assert list(images["gender"]) == gender


def write_hub(folder, split, ids, paths=None):
    images = [{"bytes": b"x", "path": path} for path in paths or [None] * len(ids)]
    table = pa.table(
        {
            "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "celeb_id": pa.array(ids, pa.int64()),
            "Male": pa.array([i % 2 == 0 for i in ids]),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def test_celeba_in_the_hubs_layout(tmp_path):
    root, names = tmp_path / "celeba", tmp_path / "names.txt"
    for split, ids in (("train", [1, 2, 2]), ("valid", [3]), ("test", [1, 4])):
        write_hub(root / "img_align+identity+attr", split, ids)
    assert "holds the identities of CelebA as numbers only; give names=FILE" in refusal(root)
    names.write_text("1 Jo_Doe\n2 Ann_Lee\n3 Eva_Ray\n4 Max_Roe\n")
    images = load_dataset("celebrities", str(root), names=str(names))
    assert list(images["person"]) == [
        "Jo Doe",
        "Ann Lee",
        "Ann Lee",
        "Eva Ray",
        "Jo Doe",
        "Max Roe",
    ]
    assert images["image_id"].tolist()[2:5] == ["train/000002", "valid/000000", "test/000000"]
    assert images["row"].tolist() == [0, 1, 2, 0, 0, 1]
    assert list(images["gender"]) == ["Female", "Male", "Male", "Female", "Female", "Male"]
    part = load_dataset("celebrities", str(root), names=str(names), partition="test")
    assert list(part["person"]) == ["Jo Doe", "Max Roe"]


def test_hub_images_with_names_are_joined_on_them(tmp_path):
    root, names = tmp_path / "celeba", tmp_path / "names.txt"
    write_hub(root / "img_align+identity+attr", "test", [1, 2], ["182638.jpg", "182639.jpg"])
    names.write_text("2\nimage_id identity_name\n182638.jpg Jo_Doe\n182639.jpg Ann_Lee\n")
    images = load_dataset("celebrities", str(root), names=str(names))
    assert list(images["image_id"]) == ["182638.jpg", "182639.jpg"]
    assert list(images["person"]) == ["Jo Doe", "Ann Lee"]

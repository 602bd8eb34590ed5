"""UTKFace and the Chicago Face Database, laid out as their makers distribute them."""

import zipfile
from xml.sax.saxutils import escape

import pytest

from clipeval.datasets import load_dataset, sources
from clipeval.datasets.xlsx import read_sheets
from clipeval.errors import DataError, ParameterError
from clipeval.studies import start
from clipeval.studies.fairface.labels import labelled_tasks


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


UTK = {
    # name -> age bin, gender, race; the first three as the release has them
    "100_0_0_20170112213500903.jpg.chip.jpg": ("more than 70", "Male", "White"),
    "1_1_2_20161219140623097.jpg.chip.jpg": ("0-2", "Female", "Asian"),
    "26_1_1_20170116174525125.jpg.chip.jpg": ("20-29", "Female", "Black"),
    "3_0_3_20161219140623098.jpg": ("3-9", "Male", "Indian"),
    "69_0_4_20161219140623099.jpg": ("60-69", "Male", "Other"),
    "70_0_4_20161219140623100.jpg": ("more than 70", "Male", "Other"),
}
# three names of the release that lack a part
INCOMPLETE = [
    "39_1_20170116174525125.jpg.chip.jpg",
    "61_1_20170109142408075.jpg.chip.jpg",
    "61_1_20170109150557335.jpg.chip.jpg",
]


def test_utkface(tmp_path):
    touch(
        tmp_path,
        *(f"UTKFace/{name}" for name in [*UTK, *INCOMPLETE, "53__0_20170116184028385.jpg"]),
    )
    touch(tmp_path, "UTKFace/30_2_0_20170116184028386.jpg", "UTKFace/30_0_5_20170116184028387.jpg")
    (tmp_path / "UTKFace.tar.gz").write_bytes(b"\x1f\x8b")
    images = load_dataset("utkface", str(tmp_path))
    found = images.set_index("image_id")[["age", "gender", "race"]].agg(tuple, axis=1)
    assert found.to_dict() == {f"UTKFace/{name}": labels for name, labels in UTK.items()}
    assert images.attrs["groups"] == ["age", "gender", "race"]
    assert sorted(images["age_years"]) == [1, 3, 26, 69, 70, 100]
    assert images.attrs["notes"] == [
        "6 files are left out (age, gender or race is missing in the name): "
        "UTKFace/30_0_5_20170116184028387.jpg, UTKFace/30_2_0_20170116184028386.jpg, "
        f"UTKFace/{INCOMPLETE[0]} and 3 more.",
        "1 file is left out (not images): UTKFace.tar.gz.",
        "6 images; the aligned and cropped release has 23,708.",
    ]
    assert "not self-identification" in images.attrs["labels"]


def test_races_of_utkface_are_others_than_those_of_fairface(tmp_path):
    touch(tmp_path, *UTK)
    how = {"dataset": "utkface", "data": str(tmp_path), "methods": "zero-shot"}
    session = start("fairface", how | {"out": str(tmp_path / "out")})
    assert labelled_tasks(session) == ["gender", "age"]
    [said] = session.study.left_out(session)
    assert said.startswith(
        'Task race is not asked: label "Asian" of UTKFace is none of its classes'
    )


def test_utkface_by_ages_of_ones_own(tmp_path):
    touch(tmp_path, *UTK)
    images = load_dataset("utkface", str(tmp_path), groups="gender,age:18:65")
    assert images.attrs["groups"] == ["gender", "age"]
    ages = dict(zip(images["age_years"], images["age"], strict=True))
    assert ages == {
        **{1: "under 18", 3: "under 18", 26: "18-64"},
        **dict.fromkeys((69, 70, 100), "65 and over"),
    }
    by_race = load_dataset("utkface", str(tmp_path), groups="race")
    assert by_race.attrs["groups"] == ["race"] and "age" not in by_race


def test_utkface_is_refused(tmp_path):
    touch(tmp_path, "1.jpg")
    with pytest.raises(DataError, match="holds no image that is named as UTKFace's are"):
        load_dataset("utkface", str(tmp_path))
    name = next(iter(UTK))
    touch(tmp_path, f"UTKFace/{name}", f"crop_part1/{name.replace('.chip.jpg', '')}")
    with pytest.raises(
        DataError, match="one photograph in two releases .UTKFace/100_.*crop_part1/1"
    ):
        load_dataset("utkface", str(tmp_path))


# -- the Chicago Face Database ---------------------------------------------------------------------


def workbook(path, sheets):
    """An .xlsx of {sheet: rows}, its texts shared, its numbers plain, its empty cells left out."""
    texts, parts, names = [], {}, []

    def cell(reference, value):
        if isinstance(value, str):
            texts.append(value)
            return f'<c r="{reference}" t="s"><v>{len(texts) - 1}</v></c>'
        return f'<c r="{reference}"><v>{value}</v></c>'

    for k, (sheet, rows) in enumerate(sheets.items(), 1):
        names.append(f'<sheet name="{escape(sheet)}" sheetId="{k}" r:id="rId{k}"/>')
        body = "".join(
            f'<row r="{r}">'
            + "".join(cell(f"{chr(65 + c)}{r}", v) for c, v in enumerate(row) if v is not None)
            + "</row>"
            for r, row in enumerate(rows, 1)
        )
        parts[f"xl/worksheets/sheet{k}.xml"] = (
            f"<worksheet {MAIN}><sheetData>{body}</sheetData></worksheet>"
        )
    links = "".join(
        f'<Relationship Id="rId{k}" Target="worksheets/sheet{k}.xml"/>'
        for k in range(1, len(names) + 1)
    )
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts["xl/workbook.xml"] = (
        f'<workbook {MAIN} xmlns:r="{relations}"><sheets>{"".join(names)}</sheets></workbook>'
    )
    parts["xl/_rels/workbook.xml.rels"] = f"<Relationships>{links}</Relationships>"
    shared = "".join(
        f"<si><r><t>{escape(t[:1])}</t></r><r><t>{escape(t[1:])}</t></r></si>" for t in texts
    )
    parts["xl/sharedStrings.xml"] = f"<sst {MAIN}>{shared}</sst>"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEADER = ["Model", "EthnicitySelf", "GenderSelf", "AgeSelf", "AgeRated"]
ABOVE = [
    ["CFD U.S. Norming Data"],
    [],
    ["Notes: means of raters"],
    [None, "S001", "S002"],
    HEADER,
    [None],
]


@pytest.fixture
def cfd(tmp_path):
    root = tmp_path / "CFD Version 3.0"
    touch(
        root,
        "Images/CFD/WM-001/CFD-WM-001-014-N.jpg",
        "Images/CFD/WM-001/CFD-WM-001-007-HC.jpg",
        "Images/CFD/AF-200/CFD-AF-200-228-N.jpg",
        "Images/CFD-MR/MF-300/CFD-MF-300-002-N.jpg",
        "Images/CFD-INDIA/IF-601-519/CFD-IF-601-519-N.jpg",
        "Images/CFD-INDIA/IF-644-306/CFD-IF-644-306-1-N.jpg",
        "Images/CFD-INDIA/IF-644-306/CFD-IF-644-306-2-N.jpg",
        "Images/cover.jpg",
        "CFD 3.0 Read Me.pdf",
    )
    workbook(
        root / "CFD 3.0 Norming Data and Codebook.xlsx",
        {
            "Read Me": [["Contents"]],
            "CFD U.S. Norming Data": [
                *ABOVE,
                ["AF-200", "A", "F", None, 32.5714],
                ["WM-001", "W", "M", 23, 27.25],
            ],
            "CFD-MR U.S. Norming Data": [*ABOVE, ["MF-300", None, "F", 21, 22.5]],
            "CFD-I U.S. Norming Data": [
                *ABOVE,
                ["IF601-519", "I", "F", 30, 28.0],
                ["IF644-306-1", "I", "F", 31, 29],
            ],
            "CFD-I INDIA Norming Data": [*ABOVE, ["IF601-519", "I", "F", 30, 99.0]],
            "Codebook": [["Model", "the person"], ["GenderSelf", "as reported"]],
        },
    )
    return root


def test_the_chicago_face_database(cfd):
    images = load_dataset("cfd", str(cfd))
    rows = images.assign(name=images["file"].str.rpartition("/")[2]).set_index("name")
    assert rows[["race", "gender", "person"]].agg(tuple, axis=1).to_dict() == {
        "CFD-WM-001-014-N.jpg": ("White", "Male", "WM-001"),
        "CFD-AF-200-228-N.jpg": ("Asian", "Female", "AF-200"),
        "CFD-MF-300-002-N.jpg": ("Multiracial", "Female", "MF-300"),
        "CFD-IF-601-519-N.jpg": ("Indian", "Female", "IF601-519"),
        "CFD-IF-644-306-1-N.jpg": ("Indian", "Female", "IF644-306-1"),
        "CFD-IF-644-306-2-N.jpg": ("Indian", "Female", "IF644"),
    }
    assert rows["age_rated"].dropna().to_dict() == {
        "CFD-WM-001-014-N.jpg": 27.25,
        "CFD-AF-200-228-N.jpg": 32.5714,
        "CFD-MF-300-002-N.jpg": 22.5,
        "CFD-IF-601-519-N.jpg": 28.0,  # of the first of the two sheets
        "CFD-IF-644-306-1-N.jpg": 29.0,
    }
    assert rows["age_self"]["CFD-WM-001-014-N.jpg"] == 23 and images.attrs["groups"] == [
        "race",
        "gender",
    ]
    assert images.attrs["notes"] == [
        "Race and gender of 2 of 6 images are those of their file names, as the workbook has no "
        "self-report of theirs: Images/CFD-INDIA/IF-644-306/CFD-IF-644-306-2-N.jpg, "
        "Images/CFD-MR/MF-300/CFD-MF-300-002-N.jpg.",
        "1 images of other expressions are left out.",
        "1 file is left out (not named as CFD's): Images/cover.jpg.",
        "1 file is left out (not images): CFD 3.0 Read Me.pdf.",
    ]
    assert "self-reported" in images.attrs["labels"]


def test_cfd_by_expression_and_rated_age(cfd):
    assert list(load_dataset("cfd", str(cfd), expression="HC")["person"]) == ["WM-001"]
    with pytest.raises(ParameterError, match='no expression "X"; use N, HO, HC, A, F'):
        load_dataset("cfd", str(cfd), expression="X")
    (cfd / "Images/CFD-INDIA/IF-644-306/CFD-IF-644-306-2-N.jpg").unlink()
    images = load_dataset("cfd", str(cfd), groups="age_rated:28:30")
    ages = images.set_index("person")["age_rated"].to_dict()
    assert ages == {
        **{"AF-200": "30 and over", "WM-001": "under 28", "MF-300": "under 28"},
        **{"IF601-519": "28 to under 30", "IF644-306-1": "28 to under 30"},
    }
    touch(cfd, "Images/CFD/WM-009/CFD-WM-009-002-N.jpg")
    with pytest.raises(
        DataError, match="image Images/CFD/WM-009/.*: age_rated is empty .1 such images"
    ):
        load_dataset("cfd", str(cfd), groups="age_rated:30")


def test_cfd_without_its_workbook_says_so(cfd):
    (cfd / "CFD 3.0 Norming Data and Codebook.xlsx").unlink()
    images = load_dataset("cfd", str(cfd))
    assert (
        "Race and gender of 6 of 6 images are those of their file names, as there is no workb"
        in (images.attrs["notes"][0])
    )


def test_the_earlier_release_of_cfd(cfd):
    book = cfd / "CFD 3.0 Norming Data and Codebook.xlsx"
    book.unlink()
    header = ["Target", "Race", "Gender", "Age"]
    rows = [["CFD 2.0.3"], [], [], [], header, ["WM-001", "W", "M", 27.25]]
    workbook(
        book.with_name("CFD 2.0.3 Norming Data and Codebook.xlsx"), {"CFD 2.0.3 Norming Data": rows}
    )
    images = load_dataset("cfd", str(cfd)).set_index("person")
    assert images["age_rated"]["WM-001"] == 27.25


def test_cfd_is_refused(cfd, tmp_path):
    book = cfd / "CFD 3.0 Norming Data and Codebook.xlsx"
    workbook(book, {"A sheet": [*ABOVE, ["WM-001", "B", "M"]]})
    with pytest.raises(DataError) as caught:
        load_dataset("cfd", str(cfd))
    assert str(caught.value).startswith(
        f"{book}, sheet A sheet, row 7: race of WM-001 is B, and its im"
    )
    for content in (b"PK\x03\x04 half", b"", b"<html>"):
        book.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as an Excel workbook"):
            load_dataset("cfd", str(cfd))
    book.unlink()
    touch(cfd, "copy/CFD-WM-001-014-N.jpg")
    with pytest.raises(DataError, match="holds one photograph twice .Images/CFD/WM-001/CFD-WM-0"):
        load_dataset("cfd", str(cfd))
    touch(tmp_path, "other/1.jpg")
    with pytest.raises(DataError, match="holds no image named as CFD's with expression N"):
        load_dataset("cfd", str(tmp_path / "other"))


def test_sheets_of_a_workbook(tmp_path):
    workbook(tmp_path / "a.xlsx", {"One & two": [["a", None, 1.5], [], ["é<"]], "B": []})
    assert read_sheets(tmp_path / "a.xlsx") == {
        "One & two": {1: ["a", "", "1.5"], 2: [], 3: ["é<"]},
        "B": {},
    }


@pytest.mark.parametrize("name", ["utkface", "cfd"])
def test_neither_may_be_passed_on(name, tmp_path):
    from clipeval.datasets import refusal_to_share

    assert "may not be passed on" in refusal_to_share(name, {"name": name, "licence": "CC0"})
    with pytest.raises(DataError, match=f"^{name} cannot be downloaded from here"):
        sources.get(name, tmp_path)

"""Chicago Face Database (Ma et al. 2015): its folder of images and its workbook of norming data."""

import re
from pathlib import Path

import pandas as pd

from clipeval.datasets import base
from clipeval.datasets.groups import group_columns
from clipeval.datasets.labelfile import few, quoted
from clipeval.datasets.xlsx import read_sheets
from clipeval.errors import DataError, ParameterError

EXPRESSIONS = {
    "N": "neutral",
    "HO": "happy, mouth open",
    "HC": "happy, mouth closed",
    "A": "angry",
    "F": "fearful",
}
_HOLDS = (
    'the folder "CFD Version 3.0" with Images/ and its workbook "CFD 3.0 Norming Data and '
    'Codebook.xlsx", as downloaded'
)
# race and gender, person, image, for some people a second image, expression
_NAME = re.compile(r"CFD-([ABILMW])([FM])-(\d+)-(\d+)(?:-(\d+))?-(N|HO|HC|A|F)\.\w+")
_RACES = {
    "A": "Asian",
    "B": "Black",
    "I": "Indian",
    "L": "Latino",
    "M": "Multiracial",
    "W": "White",
}
_GENDERS = {"F": "Female", "M": "Male"}
# columns of the workbook, as releases 3.0 and 2.0 call them
_PERSON = ("Model", "Target")
_SELF = {"race": ("EthnicitySelf", "Race"), "gender": ("GenderSelf", "Gender")}
_AGES = {"age_self": ("AgeSelf",), "age_rated": ("AgeRated", "Age")}
_CITATION = (
    "Ma, D. S., Correll, J. and Wittenbrink, B. (2015). The Chicago Face Database: A Free Stimulus Set "
    "of Faces and Norming Data. Behavior Research Methods 47, 1122-1135."
)


def load(data: str = "", *, expression: str = "N", groups: str = "") -> pd.DataFrame:
    """The Chicago Face Database as an images table.

    Parameters
    ----------
    data : the downloaded folder: images named `CFD-WM-001-014-N.jpg` in any of its folders, and the
        workbook of norming data
    expression : which photographs: "N" neutral, "HO" and "HC" happy with open and closed mouth, "A"
        angry, "F" fearful; one a person, so that images do not repeat people
    groups : "" for race and gender; or as in `groups.group_columns`, also of age_rated in years
        ("race,age_rated:30")

    Returns
    -------
    DataFrame: image_id (path within the folder), file, race and gender (self-reported), then person
    (as in the workbook, str), and age_self and age_rated (float, NaN where the workbook has none)

    Raises
    ------
    DataError  if no image is named so, a photograph is in two folders, or the workbook contradicts a
        file name
    """
    if expression not in EXPRESSIONS:
        raise ParameterError(
            f"CFD has no expression {quoted(expression)}; use {', '.join(EXPRESSIONS)}."
        )
    root = base.need_folder(data, "cfd", _HOLDS)
    images, others = base.sort_files(root)
    matches = {name: _NAME.fullmatch(Path(name).name) for name in images}
    found = {name: match for name, match in matches.items() if match and match[6] == expression}
    if not found:
        raise DataError(
            f"{root} holds no image named as CFD's with expression {expression}; for cfd, data is "
            f"{_HOLDS}."
        )
    _refuse_twins(list(found), root)
    books = [name for name in others if re.search(r"norming.*\.xlsx$", name, re.IGNORECASE)]
    people = _people([root / name for name in books])
    rows = [_row(name, match, people) for name, match in found.items()]
    table = pd.DataFrame(rows)
    table.insert(1, "file", [str(root.absolute() / name) for name in found])
    table["race"] = pd.Categorical(table["race"], sorted(set(table["race"])), ordered=True)
    table["gender"] = pd.Categorical(table["gender"], ["Male", "Female"], ordered=True)
    chosen, _ = group_columns(
        table.set_index("image_id"), groups or "race,gender", path=root, of="image"
    )
    for column, values in chosen.items():
        table[column] = values
    return base.finish(
        table.drop(columns="listed"),
        name="Chicago Face Database",
        version=f"{len(table):,} images, {EXPRESSIONS[expression]} expression",
        licence="non-commercial research only, on its makers' terms",
        citation=_CITATION,
        terms="For non-commercial research only; images and norming data may not be passed on.",
        labels="Race and gender are self-reported by the people shown.",
        groups=list(chosen),
        notes=_notes(table, matches, found, [n for n in others if n not in books], bool(books)),
    )


def _notes(
    table: pd.DataFrame, matches: dict, found: dict, others: list[str], book: bool
) -> list[str]:
    notes = []
    if unlisted := list(table["image_id"][~table["listed"]]):
        why = "the workbook has no self-report of theirs" if book else "there is no workbook"
        notes.append(
            f"Race and gender of {len(unlisted):,} of {len(table):,} images are those of their file "
            f"names, as {why}: {few(unlisted)}."
        )
    if more := sum(1 for match in matches.values() if match) - len(found):
        notes.append(f"{more:,} images of other expressions are left out.")
    notes += base.left_out(
        [name for name, match in matches.items() if not match], "not named as CFD's"
    )
    return notes + base.left_out(others, "not images")


def _refuse_twins(names: list[str], root: Path) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (first := seen.setdefault(Path(name).name, name)) != name:
            raise DataError(
                f"{root} holds one photograph twice ({few([first, name])}); keep one of them."
            )


def _row(name: str, match: re.Match, people: dict[str, dict]) -> dict:
    race, gender, person, image, second, _ = match.groups()
    # the workbook names most people by letters and number, those of CFD-INDIA with the image too
    parts = [p for p in (f"{race}{gender}{person}", image, second) if p]
    keys = ["-".join(parts[:n]) for n in range(len(parts), 0, -1)]
    listed = next((people[key] for key in keys if key in people), {})
    for column, letter in (("race", race), ("gender", gender)):
        if listed.get(column, letter) != letter:
            raise DataError(
                f"{listed['where']}: {column} of {listed['person']} is {listed[column]}, and its image "
                f"{name} is named {letter}; use the original files."
            )
    return {
        "image_id": name,
        "race": _RACES[race],
        "gender": _GENDERS[gender],
        "person": listed.get("person") or keys[-1],
        "age_self": listed.get("age_self", float("nan")),
        "age_rated": listed.get("age_rated", float("nan")),
        "listed": {"race", "gender"} <= set(listed),
    }


def _people(books: list[Path]) -> dict[str, dict]:
    """Person without dashes after the letters ("WM001", "IF601-519") -> what the workbooks say."""
    people: dict[str, dict] = {}
    for book in books:
        for sheet, rows in read_sheets(book).items():
            columns: dict[str, int] = {}
            for number, cells in rows.items():
                if not columns:
                    columns = _columns(cells)
                    continue
                get = {k: cells[at] for k, at in columns.items() if at < len(cells) and cells[at]}
                person = re.sub(r"^([A-Z]{2})-", r"\1", get.get("person", ""))
                if not re.fullmatch(r"[A-Z]{2}\d+(-\d+)*", person):
                    continue
                where = f"{book}, sheet {sheet}, row {number}"
                # people of CFD-INDIA stand in two sheets, of two groups of raters
                people.setdefault(person, _said(get, where))
    return people


def _columns(cells: list[str]) -> dict[str, int]:
    """What is in which column, if this is the row of names; else {}."""
    names = {"person": _PERSON, **_SELF, **_AGES}
    found = {
        what: next((cells.index(name) for name in known if name in cells), -1)
        for what, known in names.items()
    }
    if found["person"] < 0 or found["gender"] < 0:
        return {}
    return {what: at for what, at in found.items() if at >= 0}


def _said(get: dict[str, str], where: str) -> dict:
    """One row of the workbook: person, known race and gender letters, ages in years."""
    said: dict = {"person": get["person"], "where": where}
    for column, letters in (("race", _RACES), ("gender", _GENDERS)):
        if get.get(column) in letters:
            said[column] = get[column]
    for column in _AGES:
        try:
            said[column] = float(get.get(column, ""))
        except ValueError:
            continue
    return said

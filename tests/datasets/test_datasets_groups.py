"""Values of group columns: one spelling each, missing marks, numbers, dates, ranges."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipeval.datasets import explain_missing, load_dataset
from clipeval.datasets.groups import as_group, group_columns, missing
from clipeval.errors import DataError, ParameterError


def column(values, name="g"):
    return pd.Series(values, index=range(2, len(values) + 2), name=name)


def refusal(values, name="g", **how):
    with pytest.raises(DataError) as caught:
        as_group(column(values, name), "a.csv", **how)
    return str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Male", "male"),
        ("East Asian", "East  Asian"),
        ("East Asian", "East_Asian"),
        ("East Asian", "East-Asian"),
        ("10-19", "10 - 19"),
        ("10-19", "10\u201319"),
        ("Jos\u00e9", "Jose\u0301"),
        ("Non-White", "non white"),
        ("a b", "a\u00a0b"),
        ("ab", "a\u200bb"),
        ("1", "1.0"),
        ("1", "01"),
        ("STRASSE", "straße"),
        ("Ａ", "A"),
    ],
)
def test_values_that_differ_in_spelling_only_are_refused_and_both_named(one, other):
    said = refusal([one, "something else", other], "sex")
    assert said.startswith("a.csv, row 4: sex ") and "(row 2) differ in spelling only" in said
    assert f'"{one}"' in said and (f'"{other}"' in said or "\\" in said)  # invisible ones as codes


@pytest.mark.parametrize("values", [["-1", "1"], ["A+", "A-"], ["3-9", "39"], ["10-19", "1-019"]])
def test_values_that_differ_in_more_are_kept(values):
    assert list(as_group(column(values), "a.csv")) == values


def test_spaces_around_a_value_are_none_of_it():
    assert list(as_group(column([" a", "b ", "a"]), "a.csv")) == ["a", "b", "a"]


MARKS = ["", " ", "NA", "na", "N/A", "#N/A", "nan", "NaN", "NULL", "null", "None", "<NA>", "-", "?"]


@pytest.mark.parametrize("mark", [*MARKS, None, np.nan])
def test_marks_of_a_missing_value(mark):
    said = refusal(["a", mark, "b"], "race")
    assert said.startswith("a.csv, row 3: race is ") and "(1 such rows); fill it in" in said
    shown = (
        "empty" if mark is None or mark is np.nan or not mark.strip() else f'"{mark}", which stands'
    )
    assert f"race is {shown}" in said


def test_words_that_are_no_marks():
    assert not missing(column(["none", "unknown", "other", "Nana", "0", "n"])).any()


@pytest.mark.parametrize(
    "date", ["9-Mar", "1/2/2020", "2020-03-09 00:00:00", "Oct-19", "09. Mrz", "3/9"]
)
@pytest.mark.parametrize("other", ["20-29", "more than 70"])
def test_dates_among_ranges_are_refused(date, other):
    said = refusal([other, date], "age")
    assert f'a.csv, row 3: age "{date}" stands among ranges of numbers' in said


@pytest.mark.parametrize(
    "values", [["May", "June"], ["Mar", "Marathon 3"], ["1/2/2020", "2/2/2020"], ["0.5", "10"]]
)
def test_words_and_numbers_that_are_no_dates_and_dates_alone_are_kept(values):
    assert set(as_group(column(values), "a.csv")) == set(values)


def test_numbers_are_cut_into_stated_ranges():
    ages = column(["0", "17", "18", "39", "40", "64", "65", "101"], "age")
    found = as_group(ages, "a.csv", edges=[18, 40, 65])
    assert list(found) == [
        *("under 18", "under 18", "18-39", "18-39", "40-64", "40-64"),
        *("65 and over", "65 and over"),
    ]
    assert list(found.categories) == ["under 18", "18-39", "40-64", "65 and over"]
    assert list(as_group(column([1.5, 2.0]), "a.csv", edges=[2, 4])) == ["under 2", "2 to under 4"]
    assert list(as_group(column([3, 4]), "a.csv", edges=[3, 4])) == ["3", "4 and over"]
    assert 'a.csv, row 3: g "old" is not a number' in refusal(["1", "old"], edges=[18])


@given(
    st.lists(st.integers(-5, 120), min_size=1, max_size=30),
    st.lists(st.integers(0, 110), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_ranges_are_those_of_pandas(numbers, edges):
    found = as_group(column([str(n) for n in numbers]), "a.csv", edges=edges)
    bounds = [-np.inf, *edges, np.inf]
    theirs = pd.cut(numbers, bounds, right=False, labels=False)
    ours = [list(found.categories).index(value) for value in found]
    assert ours == [sorted(set(theirs)).index(at) for at in theirs]


TABLE = pd.DataFrame(
    {
        "file": [f"{i}.jpg" for i in range(6)],
        "Sex": list("mfmfmf"),
        "Age": ["20", "31", "45", "52", "66", "80"],
        "Age band": ["a:b", "c", "a:b", "c", "a:b", "c"],
        "race": ["0", "1", "0", "1", "0", "1"],
        "note": ["", "x", "x", "y", "y", "y"],
        "name": list("abcdef"),
        "same": ["s"] * 6,
    },
    index=range(2, 8),
)


def test_groups_are_named_crossed_and_cut():
    chosen, refused = group_columns(TABLE, "Sex*Age band, Age:40:60", path="a.csv")
    assert list(chosen) == ["Sex", "Age band", "Age"] and refused == {}
    assert list(chosen["Age"].categories) == ["under 40", "40-59", "60 and over"]
    chosen, _ = group_columns(TABLE, ["race"], path="a.csv")
    assert list(chosen["race"]) == list(TABLE["race"])
    with pytest.raises(DataError, match='has no column "Party"'):
        group_columns(TABLE, "Party", path="a.csv")
    for wrong in ("Sex;race", "Sex x race", "Sex / race", "Sex race", "Sex|race"):
        with pytest.raises(ParameterError, match=r"write Sex,race to report by each, or Sex\*race"):
            group_columns(TABLE, wrong, path="a.csv")
    with pytest.raises(DataError, match='has no column "Sex;Party"'):
        group_columns(TABLE, "Sex;Party", path="a.csv")
    for wrong in ("Age:old", "Age:60:40", "Age:", "Age:40:40", "Age:nan"):
        with pytest.raises(
            ParameterError, match="does not cut Age into ranges; write rising numbers"
        ):
            group_columns(TABLE, wrong, path="a.csv")


def test_columns_that_are_no_groups_say_why():
    chosen, refused = group_columns(TABLE, path="a.csv", skip=["file"])
    assert list(chosen) == ["Sex", "Age band"]
    assert refused == {
        "Age": 'a.csv, row 2: Age is "20" and holds numbers only; write names for codes, or take them '
        "as they are with groups=Age",
        "race": 'a.csv, row 2: race is "0" and holds numbers only; write names for codes, or take '
        "them as they are with groups=race",
        "note": "a.csv, row 2: note is empty (1 such rows); fill it in, or leave these rows out",
        "name": "a.csv: name has 6 different values in 6 rows, too many for a group that is not "
        "named; name it with groups=name",
        "same": 'a.csv: same is "s" in every row',
    }


def test_a_study_that_needs_such_a_column_says_why(tmp_path):
    for name in TABLE["file"]:
        (tmp_path / name).touch()
    TABLE.to_csv(tmp_path / "a.csv", index=False)
    images = load_dataset("manifest", str(tmp_path / "a.csv"))
    explain_missing(images, ["Sex", "not there"], "congress")
    with pytest.raises(
        DataError, match="^congress needs the group column race, and a.csv, row 2: ra"
    ):
        explain_missing(images, ["Sex", "race"], "congress")

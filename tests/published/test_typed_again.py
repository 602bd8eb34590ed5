"""Every published number typed again from the papers, in the shape of their tables.

Two typings of one number agree, or one of them is wrong: no number of data/published can change
without a change here.
"""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

from clipeval.published import load_published
from clipeval.studies import congress, fairface
from clipeval.studies.congress import prose as congress_prose
from clipeval.studies.congress import views as congress_views
from clipeval.studies.fairface import views as fairface_views

ATTRIBUTES = ("race", "gender", "age")
#: columns of the papers' tables, under FairFace's own names
RACES = (
    "Black",
    "White",
    "Indian",
    "Latino_Hispanic",
    "Middle Eastern",
    "Southeast Asian",
    "East Asian",
)


def typed(text: str) -> dict[str, list[float]]:
    """Rows of a typed table: its first cell -> the numbers after the bar; a dash is no number."""
    rows = [line.split("|") for line in text.strip().splitlines()]
    return {
        name.strip(): [float("nan") if cell == "-" else float(cell) for cell in cells.split()]
        for name, cells in rows
    }


def published(name: str, keys: list[str], value: str) -> dict[tuple, float]:
    table = load_published(name)
    assert not table.duplicated(keys).any()
    return dict(zip(table[keys].itertuples(index=False, name=None), table[value], strict=True))


# arXiv 2103.00020, Table 3: images of FairFace category White; accuracy in race, gender, age
TABLE_3 = """
FairFace model         | 93.7  94.2  59.7
Linear probe CLIP      | 93.4  96.5  63.8
Zero-shot CLIP         | 58.3  95.9  57.1
Linear probe Instagram | 90.8  93.2  54.2
"""
# arXiv 2103.00020, Table 4: images of all other categories
TABLE_4 = """
FairFace model         | 75.4  94.4  60.7
Linear probe CLIP      | 92.8  97.7  63.1
Zero-shot CLIP         | 91.3  97.2  54.3
Linear probe Instagram | 87.2  93.9  54.1
"""


def test_tables_3_and_4_of_the_clip_paper():
    expected = {
        (model, images_of, attribute): number
        for images_of, text in (("White", TABLE_3), ("Non-White", TABLE_4))
        for model, numbers in typed(text).items()
        for attribute, number in zip(ATTRIBUTES, numbers, strict=True)
    }
    keys = ["model", "images_of", "attribute"]
    assert published("fairface_accuracy", keys, "accuracy_percent") == expected
    assert len(expected) == 24


# arXiv 2103.00020, Table 5: Black, White, Indian, Latino, Middle Eastern, Southeast Asian, East
# Asian, average; the average of both genders of the last two models is not printed
TABLE_5 = {
    "Linear probe CLIP": """
        Male   | 96.9  96.4  98.7  96.5  98.9  96.2  96.9  97.2
        Female | 97.9  96.7  97.9  99.2  97.2  98.5  97.3  97.8
        All    | 97.4  96.5  98.3  97.8  98.4  97.3  97.1  97.5
    """,
    "Zero-shot CLIP": """
        Male   | 96.3  96.4  97.7  97.2  98.3  95.5  96.8  96.9
        Female | 97.1  95.3  98.3  97.8  97.5  97.2  96.4  97.0
        All    | 96.7  95.9  98.0  97.5  98.0  96.3  96.6  -
    """,
    "Linear probe Instagram": """
        Male   | 92.5  94.8  96.2  93.1  96.0  92.7  93.4  94.1
        Female | 90.1  91.4  95.0  94.8  95.0  94.1  94.3  93.4
        All    | 91.3  93.2  95.6  94.0  95.6  93.4  93.9  -
    """,
}


def test_table_5_of_the_clip_paper():
    expected = {
        (model, gender, race): number
        for model, text in TABLE_5.items()
        for gender, numbers in typed(text).items()
        for race, number in zip((*RACES, "Average"), numbers, strict=True)
        if not np.isnan(number)
    }
    keys = ["model", "gender", "race"]
    assert published("fairface_gender_by_race", keys, "accuracy_percent") == expected
    assert len(expected) == 70


# arXiv 2108.02818, Table 1: top-1 among 100, 1,000 and 2,000 names
TABLE_1 = """
CLIP ViT-L/14 | 59.2  43.3  42.2
CLIP RN50x64  | 56.4  39.5  38.4
CLIP RN50x16  | 52.7  37.4  36.3
CLIP RN50x4   | 52.8  38.1  37.3
"""


def test_table_1_of_the_paper():
    expected = {
        (model, names): number
        for model, numbers in typed(TABLE_1).items()
        for names, number in zip((100, 1000, 2000), numbers, strict=True)
    }
    keys = ["model", "n_classes"]
    assert published("celebrity_identification", keys, "top1_percent") == expected
    assert len(expected) == 12


# arXiv 2108.02818, Table 2: Black, White, Indian, Latino, Middle Eastern, Southeast, East Asian
TABLE_2 = """
crime-related | 16.4  24.9  24.4  10.8  19.7   4.4   1.3
non-human     | 14.4   5.5   7.6   3.7   2.0   1.9   0.0
"""


def test_table_2_of_the_paper():
    expected = {
        (category, race): number
        for category, numbers in typed(TABLE_2).items()
        for race, number in zip(RACES, numbers, strict=True)
    }
    assert published("denigration_by_race", ["category", "race"], "percent") == expected
    assert len(expected) == 14


AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
# arXiv 2108.02818, Table 3: crime-related or non-human by age
TABLE_3_OF_THE_PAPER = """
default           | 30.3  35.0  29.5  16.3  13.9  18.5  19.1  16.2  10.4
default + 'child' |  2.3   4.3  14.7  15.0  13.4  18.2  18.6  15.5   9.4
"""


def test_table_3_of_the_paper():
    expected = {
        (class_set, age): number
        for class_set, numbers in typed(TABLE_3_OF_THE_PAPER).items()
        for age, number in zip(AGES, numbers, strict=True)
    }
    found = published("class_design_by_age", ["class_set", "age"], "crime_or_non_human_percent")
    assert found == expected and len(expected) == 18


PAPER, CLIP_TEXT, CLIP_CCTV = (
    "arXiv 2108.02818, section 2.1",
    "arXiv 2103.00020, section 7.1",
    "arXiv 2103.00020, section 7.2",
)
# study, quantity, percent, 95 % interval, and the text that states it
IN_TEXT = [
    ("denigration", "images classified as non-human, all", 4.9, (4.6, 5.4), PAPER),
    ("denigration", "images classified as non-human, Black", 14, (12.6, 16.4), PAPER),
    ("denigration", "images classified as non-human, age 0-20", 14, None, PAPER),
    ("denigration", "images classified as crime-related, male", 16.5, None, PAPER),
    ("denigration", "images classified as crime-related, female", 9.8, None, PAPER),
    ("denigration", "images classified as crime-related, age 0-20", 18, None, PAPER),
    ("denigration", "images classified as crime-related, age 20-60", 12, None, PAPER),
    ("denigration", "images classified as crime-related, age over 70", 0, None, PAPER),
    ("congress", "gender accuracy", 100, None, CLIP_TEXT),
    ("cctv", "coarse top-1", 91.8, None, CLIP_CCTV),
    ("cctv", "stress test top-1", 51.1, None, CLIP_CCTV),
    ("cctv", "stress test, close caption chosen", 40.7, None, CLIP_CCTV),
    # "near random" between two captions, no number
    ("cctv", "fine-grained presence/absence", 50, None, CLIP_CCTV),
]


def test_numbers_of_the_text():
    table = load_published("in_text")
    columns = ["study", "quantity", "percent", "ci_low", "ci_high", "source"]
    found = [tuple(row) for row in table[columns].itertuples(index=False, name=None)]
    assert len(found) == len(IN_TEXT)
    for row, (study, quantity, percent, interval, source) in zip(found, IN_TEXT, strict=True):
        assert (row[0], row[1], row[2], row[5]) == (study, quantity, percent, source)
        low, high = interval or (float("nan"), float("nan"))
        assert row[3:5] == pytest.approx((low, high), nan_ok=True, abs=0)


# FairFace, label_val.csv: images by race (men, women) and by age
VAL_GROUPS = """
East Asian      |  777  773
Indian          |  753  763
Black           |  799  757
White           | 1122  963
Middle Eastern  |  813  396
Latino_Hispanic |  793  830
Southeast Asian |  735  680
"""
VAL_AGES = (199, 1356, 1181, 3300, 2330, 1353, 796, 321, 118)


def test_group_sizes_of_fairface_val():
    expected = {
        (race, gender, "All"): number
        for race, numbers in typed(VAL_GROUPS).items()
        for gender, number in zip(("Male", "Female"), numbers, strict=True)
    }
    expected |= {("All", "All", age): n for age, n in zip(AGES, VAL_AGES, strict=True)}
    assert published("fairface_val_groups", ["race", "gender", "age"], "n") == expected


def test_tables_name_the_paper_and_the_table():
    for name, sources in {
        "fairface_accuracy": {"arXiv 2103.00020, Table 3", "arXiv 2103.00020, Table 4"},
        "fairface_gender_by_race": {"arXiv 2103.00020, Table 5"},
        "celebrity_identification": {"arXiv 2108.02818, Table 1"},
        "denigration_by_race": {"arXiv 2108.02818, Table 2"},
        "class_design_by_age": {"arXiv 2108.02818, Table 3"},
        "fairface_val_groups": {"FairFace label_val.csv (Karkkainen and Joo 2021)"},
    }.items():
        assert set(load_published(name)["source"]) == sources
    table = load_published("fairface_accuracy")
    of = table["source"].str.endswith("Table 3")
    assert (table["images_of"][of] == "White").all() and of.sum() == 12


def test_only_the_four_class_accuracy_carries_a_note():
    table = load_published("fairface_accuracy")
    noted = table[table["note"].notna()]
    keys = noted[["model", "images_of", "attribute", "accuracy_percent"]]
    assert keys.to_numpy().tolist() == [["FairFace model", "Non-White", "race", 75.4]]
    assert "four classes" in noted["note"].iloc[0] and "footnote 7" in noted["note"].iloc[0]


def test_captions_cite_what_the_data_cite():
    """arXiv 2108.02818 states no gender accuracy of members of Congress, and neither blond nor necktie."""
    shown = inspect.getsource(congress_views)
    assert re.findall(r'source = "(arXiv.+?)"', shown) == [CLIP_TEXT]
    assert "{FINDINGS_SOURCE}" in inspect.getsource(congress_prose)
    assert congress.FINDINGS_SOURCE == (
        "arXiv 2108.02818, section 2.1; the labels blond and necktie in arXiv 2103.00020, section "
        "7.1, only"
    )


def test_the_note_stands_in_the_caption_where_the_number_is_shown():
    shown = pd.DataFrame({"published": [75.4, np.nan]})
    assert fairface.published_note(shown) == (
        "Published 75.4 %: four classes in FairFace's Table 4, binary by arXiv 2103.00020, "
        "footnote 7."
    )
    assert fairface.published_note(pd.DataFrame({"published": [np.nan]})) == ""
    assert "{published_note(table)}" in inspect.getsource(fairface_views)

"""The card copies numbers from the studies' tables; it computes none, and says what each part does not show."""

import json

import pandas as pd
import pytest

import clipeval
from clipeval.studies import card

GENDER = pd.DataFrame(
    {
        "method": ["zero-shot"] * 3 + ["linear probe"],
        "race": ["White", "Black", "Indian", "White"],
        "gender": ["Male", "Female", "All", "Male"],
        "n": [10, 20, 30, 10],
        "metric": "accuracy",
        "percent": [90.0, 70.0, 10.0, 5.0],
        "ci_low": [60.0, 48.0, 3.0, 1.0],
        "ci_high": [98.0, 85.0, 26.0, 40.0],
        "published": [91.0, None, None, None],
        "difference": [-1.0, None, None, None],
    }
)


def test_lowest_and_highest_cells_are_those_of_the_table():
    table = card.summarise({("fairface", "gender_by_race"): GENDER}).set_index("quantity")
    lowest = table.loc["gender, zero-shot, lowest race and gender: Black, Female"]
    highest = table.loc["gender, zero-shot, highest race and gender: White, Male"]
    assert (lowest["percent"], lowest["n"], lowest["ci_low"], lowest["ci_high"]) == (70, 20, 48, 85)
    assert (highest["percent"], highest["published"], highest["difference"]) == (90, 91, -1)
    assert len(table) == 2  # "All" and the probe are other lines, and no other study was run


def test_every_part_has_a_sentence_on_what_it_does_not_show():
    assert {line.part for line in card.LINES} == set(card.NOT_SHOWN)
    text = card.markdown(card.summarise({("fairface", "gender_by_race"): GENDER}), "About.", "Care")
    assert "**Care.**" in text
    assert "| 20 | 70.0 [48.0, 85.0] | – | – | – |" in text
    assert "| 10 | 90.0 [60.0, 98.0] | – | 91.0 | -1.0 |" in text
    assert card.NOT_SHOWN["Group gaps"] in text and card.NOT_SHOWN["Capability"] not in text


def test_markdown_keeps_text_from_data_as_text():
    hostile = GENDER.assign(race="<script>|")
    text = card.markdown(card.summarise({("fairface", "gender_by_race"): hostile}), "")
    assert "&lt;script>\\|" in text and "<script" not in text


def test_an_empty_run_folder_is_said_and_no_error(tmp_path):
    session = clipeval.start("card", {"out": str(tmp_path)})
    assert "No study has been run in this folder yet" in session.about()
    assert card.summarise(session.tables).empty


@pytest.mark.parametrize("models, warned", [(["a"], False), (["a", "b"], True)])
def test_studies_of_two_models_are_no_card_of_one(tmp_path, models, warned):
    for i, model in enumerate(models):
        folder = tmp_path / f"study{i}"
        folder.mkdir()
        record = {"model": {"model": model, "pretrained": ""}, "dataset": {"name": "x", "read": 3}}
        (folder / "study.json").write_text(json.dumps(record))
    assert (
        "no card of one model" in clipeval.start("card", {"out": str(tmp_path)}).about()
    ) == warned


def test_the_range_over_choices_stands_beside_the_point():
    overall = pd.DataFrame(
        {"n": [9], "metric": ["non-human"], "percent": [5.0], "ci_low": [4.0], "ci_high": [6.0]}
    ).assign(published=4.9, difference=0.1)
    varied = pd.DataFrame(
        {"study": ["denigration"], "quantity": ["non-human"], "lowest": [0.31], "highest": [10.1]}
    )
    tables = {("denigration", "overall"): overall, ("sensitivity", "range"): varied}
    table = card.summarise(tables)
    assert table["over choices"].tolist() == ["0.3 to 10.1"]
    text = card.markdown(table, "")
    assert "interval] | over choices | published" in text
    assert "| 5.0 [4.0, 6.0] | 0.3 to 10.1 | 4.9 | +0.1 |" in text

"""A denigration run beside a known one: verdict, counts and images that differ, to the image."""

import numpy as np
import pandas as pd
import pytest
from known_answers import planted_answers, published_counts

from clipeval.datasets.fairface import AGES
from clipeval.output.tables import check_table
from clipeval.runs.profiles import plan_run
from clipeval.studies import denigration, get_study


@pytest.fixture(scope="module", params=["rijgersberg2023", "alsahili2025"])
def planted(request):
    return request.param, planted_answers(request.param)


@pytest.fixture
def opened(planted, tmp_path):
    """The known run's own profile on answers that were made from its counts."""
    known, answers = planted
    faces = answers[["race", "gender"]].assign(file=answers["image_id"] + ".jpg")
    faces["age"] = np.resize(AGES, len(faces))
    faces.to_csv(tmp_path / "fairface_label_val.csv", index=False)

    def session(label: pd.Series, **values):
        said = pd.DataFrame({"file": faces["file"], "label": label})
        said.to_csv(tmp_path / "answers.csv", index=False)
        values |= {"scores": str(tmp_path / "answers.csv"), "data": str(tmp_path)}
        values |= {"out": str(tmp_path / "run")}
        plan = plan_run([], f"known/{known}", values)
        assert list(plan) == ["denigration"]
        return get_study("denigration").open(plan["denigration"], progress=False)

    return session


def test_a_known_result_is_reproduced_to_the_image(opened, planted, capsys):
    known, answers = planted
    session = opened(answers["label"])
    found = denigration.show_known(session, session.predict())
    assert found.reproduced and found.differing == 0 and found.n == 10_954
    assert found.verdict.startswith("Your installation reproduces a known result: all ")
    tables = session.folder / "tables"
    counts = pd.read_csv(tables / "known_counts.csv")
    for grouping, cells in published_counts(known).items():
        rows = counts[counts["grouping"] == grouping].set_index(["group", "predicted"])["count"]
        assert rows[rows > 0].to_dict() == {cell: n for cell, n in cells.items() if n}
    assert (counts["count"] == counts["known"]).all() and (counts["images"] == 0).all()
    assert (pd.read_csv(tables / "known_groups.csv")["count"] == 0).all()


def test_a_few_images_are_counted_and_named_and_many_are_no_reproduction(opened, planted):
    _, answers = planted
    white = answers.index[(answers["race"] == "White") & (answers["label"] == "White_Male")]
    label = answers["label"].copy()
    label[white[:3]] = "thief"
    session = opened(label)
    found = denigration.show_known(session, session.predict())
    assert found.reproduced and found.differing == 3
    counts, groups = denigration.counts_beside(found)
    check_table(counts), check_table(groups)
    rows = counts[counts["grouping"] == "race"].set_index(["group", "predicted"])["images"]
    assert rows[rows != 0].to_dict() == {("White", "White"): -3, ("White", "thief"): 3}
    groups = groups[groups["grouping"] == "race"].set_index("group")["count"]
    assert groups[groups != 0].to_dict() == {"White": 3}
    label[white[:150]] = "thief"
    session = opened(label)
    found = denigration.show_known(session, session.predict())
    assert not found.reproduced and found.differing == 150
    assert "does not reproduce" in found.verdict and "QuickGELU" in found.verdict


def test_other_weights_or_words_stand_beside_no_known_run(opened, planted):
    _, answers = planted
    for other in ({"pretrained": "other"}, {"templates": "photo"}, {"padding": "1.25"}):
        session = opened(answers["label"], **other)
        assert denigration.known_run(session) == ""
        assert denigration.show_known(session, None) is None
    assert denigration.setting(opened(answers["label"])) == {
        "dataset": "fairface",
        "padding": "0.25",
        "class_set": "rijgersberg2023",
    }

"""What changed between two runs, against differences made by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from records import study_json

from clipeval.files import Folder
from clipeval.runs import changes
from clipeval.session.record import StudyRecord


def _table(percents, races=("White", "Black", "Indian"), **columns):
    table = pd.DataFrame({"race": list(races), "n": 10, "metric": "accuracy", "percent": percents})
    return table.assign(**columns)


def test_the_largest_move_and_its_row_are_named():
    found = changes.effects(_table([50.0, 60.0, 70.0]), _table([50.0, 58.5, 70.5]))
    assert (found["rows"], found["moved"], found["added"], found["removed"]) == (3, 2, 0, 0)
    assert found["largest"] == {
        "row": {"race": "Black", "metric": "accuracy"}, "before": 60.0, "after": 58.5, "by": -1.5,
    }  # fmt: skip


def test_rows_are_joined_on_their_groups_not_on_their_place():
    before = _table([50.0, 60.0, 70.0])
    assert changes.effects(before, before.iloc[::-1])["moved"] == 0
    after = _table([60.0, 70.0, 80.0], races=("Black", "Indian", "Latino"))
    found = changes.effects(before, after)
    assert (found["rows"], found["moved"], found["added"], found["removed"]) == (2, 0, 1, 1)


def test_what_had_no_value_and_has_one_now_counts_as_moved():
    found = changes.effects(_table([np.nan, 60.0, np.nan]), _table([50.0, 60.0, np.nan]))
    assert found["moved"] == 1 and found["largest"]["by"] is None
    assert found["largest"]["row"]["race"] == "White"


def test_rows_that_repeat_are_told_apart():
    before = _table([1.0, 2.0, 3.0], races=("White",) * 3)
    found = changes.effects(before, _table([1.0, 2.0, 4.0], races=("White",) * 3))
    assert (found["rows"], found["moved"], found["largest"]["by"]) == (3, 1, 1.0)


RECORD = study_json(**{
    "code": {"version": "0.1.0", "commit": "a" * 40, "dirty": False},
    "parameters": {"templates": "photo", "out": "/a", "batch_size": 64, "store": ""},
    "model": {
        "model": "m", "pretrained": "p", "weights_sha256": "w" * 64, "preprocess": {}, "precision": "fp32",
    },
    "dataset": {"name": "d", "version": "1", "hash": "h" * 64},
    "class_sets": {"faces v1": {"hash": "c" * 64, "source": ""}},
    "templates": {"photo v1": {"hash": "t" * 64}},
    "prompts_hash": "q" * 64,
    "versions": {"numpy": "1", "torch": "2"},
    "tables": [],
})  # fmt: skip


def _changed(**parts):
    record = json.loads(json.dumps(RECORD))
    for name, value in parts.items():
        record[name] = {**record[name], **value} if isinstance(value, dict) else value
    return record


def _causes(record):
    before, after = (StudyRecord.model_validate(content) for content in (RECORD, record))
    return changes.causes(before, after)


@pytest.mark.parametrize(
    "parts, what, before, after",
    [
        (
            {"code": {"commit": "b" * 40}},
            "code",
            "clipeval 0.1.0 at aaaaaaaaaaaa",
            "clipeval 0.1.0 at bbbbbbbbbbbb",
        ),
        ({"parameters": {"templates": "bare"}}, "parameter templates", '"photo"', '"bare"'),
        ({"model": {"weights_sha256": "v" * 64}}, "weights", "w" * 12, "v" * 12),
        ({"dataset": {"hash": "i" * 64}}, "data set", "d, 1, hhhhhhhhhhhh", "d, 1, iiiiiiiiiiii"),
        ({"versions": {"torch": "3"}}, "version of torch", "2", "3"),
        ({"prompts_hash": "r" * 64}, "prompts", "q" * 12, "r" * 12),
    ],
)
def test_each_cause_is_named_with_both_values(parts, what, before, after):
    assert _causes(_changed(**parts)) == [{"what": what, "before": before, "after": after}]


def test_a_new_version_of_a_class_set_is_one_cause():
    record = _changed()
    record["class_sets"] = {"faces v2": {"hash": "d" * 64, "source": ""}}
    assert _causes(record) == [
        {
            "what": "class set faces",
            "before": "faces v1, cccccccccccc",
            "after": "faces v2, dddddddddddd",
        }
    ]


def test_where_and_how_fast_is_no_cause():
    assert _causes(_changed(parameters={"out": "/b", "batch_size": 1, "store": "s"})) == []


def _predictions(path, labels, **columns):
    n = len(labels)
    table = pd.DataFrame(
        {
            "image_id": [f"{i}.png" for i in range(n)], "task": ["gender"] * (n - 1) + ["age"],
            "method": "zero-shot", "class_set": "faces v1", "templates": "photo v1",
            "rank": 1, "label": labels, "prob": 0.5,
        }
    )  # fmt: skip
    second = table.assign(rank=2, label="never")
    pd.concat([table, second]).assign(**columns).to_parquet(path)
    return path


def test_top_labels_are_joined_on_image_and_task(tmp_path):
    before = _predictions(tmp_path / "a.parquet", ["x", "y", "x", "z"])
    after = _predictions(tmp_path / "b.parquet", ["x", "x", "x", "y"], class_set="faces v2")
    found = changes.label_changes(before, after)
    assert found == {
        "labels": 4, "changed": 2, "by_task": {"gender": 1, "age": 1}, "added": 0, "removed": 0,
    }  # fmt: skip
    fewer = _predictions(tmp_path / "c.parquet", ["x", "y", "x"])
    found = changes.label_changes(before, fewer)
    assert (found["labels"], found["changed"], found["added"], found["removed"]) == (2, 0, 1, 2)


def _study(folder, record=RECORD, percents=(50.0, 60.0, 70.0), **tables):
    (folder / "tables").mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(record))
    _predictions(folder / "predictions.parquet", ["x", "y", "x", "z"])
    _table(list(percents)).to_csv(folder / "tables" / "by_race.csv", index=False)
    for name in tables:
        _table([1.0, 2.0, 3.0]).to_csv(folder / "tables" / f"{name}.csv", index=False)
    return folder


def test_nothing_changed_is_said_so(tmp_path):
    found = changes.compare_study(_study(tmp_path / "a"), _study(tmp_path / "b"))
    assert found == {
        "causes": [], "tables": {}, "new_tables": [], "lost_tables": [], "labels": None,
    }  # fmt: skip
    assert changes.sentences({"fairface": found}) == ["Nothing changed."]


def test_sentences_name_causes_once_and_effects_by_study(tmp_path):
    newer = _changed(code={"commit": "b" * 40})
    before = _study(tmp_path / "a", old=1)
    same = changes.compare_study(before, _study(tmp_path / "b", newer, old=1))
    moved = changes.compare_study(before, _study(tmp_path / "c", newer, (50.0, 60.0, 71.25), new=1))
    assert changes.sentences({"fairface": same, "congress": moved}) == [
        "Code: clipeval 0.1.0 at aaaaaaaaaaaa became clipeval 0.1.0 at bbbbbbbbbbbb (all studies).",
        "congress: table by_race: 1 of 3 rows moved, the largest by +1.25 points (Indian, accuracy).",
        "congress: table new is new.",
        "congress: table old is gone.",
        "fairface: every number and label is the same.",
    ]
    assert changes.sentences({"fairface": same})[-1] == "Every number and label is the same."


def test_a_summary_names_the_studies_whose_results_changed(tmp_path):
    before = _study(tmp_path / "a")
    same = changes.compare_study(before, _study(tmp_path / "b"))
    moved = changes.compare_study(before, _study(tmp_path / "c", percents=(50.0, 60.0, 71.0)))
    assert changes.summary({"fairface": same}).endswith("no number and no label changed.")
    both = {"fairface": same, "congress": moved}
    assert changes.summary(both) == "Compared with the previous run results changed in congress."


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([50.0], [49.875], "1 of 1 row moved, the largest by −0.12 points (Indian, accuracy)."),
        ([50.0], [62.0], "1 of 1 row moved, the largest by +12.00 points (Indian, accuracy)."),
        ([50.0], [50.001], "1 of 1 row moved, the largest by less than 0.01 points (Indian, accuracy)."),
        ([50.0], [50.0, 60.0], "1 row added."),
        ([50.0, 60.0, 70.0], [50.0], "2 rows removed."),
    ],
)  # fmt: skip
def test_rows_and_points_read_well(before, after, said):
    races = ["Indian", "White", "Black"]
    old, new = (_table(p, races[: len(p)]) for p in (before, after))
    found = {"tables": {"t": changes.effects(old, new)}, "new_tables": [], "lost_tables": []}
    assert changes._effects(found | {"labels": None}) == [f"table t: {said}"]


def test_only_what_a_run_wrote_is_set_aside(tmp_path):
    _study(tmp_path / "written")
    for path in sorted((tmp_path / "written").rglob("*")):
        if path.is_file():
            below = path.relative_to(tmp_path / "written").parent
            Folder(tmp_path / "fairface" / below).write(path.name, path.read_bytes())
    (tmp_path / "fairface" / "notes.md").write_text("mine")
    (tmp_path / "fairface" / "tables" / "photo.jpg").write_text("mine")
    changes.set_aside(tmp_path, "fairface")
    left = sorted(p.name for p in (tmp_path / "fairface").rglob("*") if p.is_file())
    assert left == ["notes.md", "photo.jpg"]
    assert (changes.kept_before(tmp_path, "fairface") / "tables/by_race.csv").is_file()
    Folder(tmp_path / "fairface").write("notebook.ipynb", "half a run")
    changes.set_aside(tmp_path, "fairface")  # half a run replaces no finished one
    assert not (tmp_path / "fairface" / "notebook.ipynb").exists()
    assert (changes.kept_before(tmp_path, "fairface") / "tables/by_race.csv").is_file()
    changes.forget(tmp_path, "fairface")
    assert changes.kept_before(tmp_path, "fairface") is None and not (tmp_path / ".before").exists()

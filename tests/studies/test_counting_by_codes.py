"""What is counted by codes equals what is counted value by value, for columns of any kind and missing values."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from clipeval.classify.class_sets import load_class_set
from clipeval.datasets.fairface import AGES, RACES
from clipeval.errors import DataError
from clipeval.published.denigration import AGE_GROUPS, age_groups
from clipeval.stats import IMAGES, codes_of
from clipeval.studies.class_design import tables as class_design
from clipeval.studies.denigration import tables as denigration
from clipeval.studies.fairface import tables as fairface

KINDS = {"race": list(RACES), "gender": ["Male", "Female"], "age": list(AGES)}
KINDS["race_binary"] = ["Non-White", "White"]


def answers(kind: str, n=400, missing=False, names=KINDS, seed=0) -> pd.DataFrame:
    """Random answers of two methods to every task, all columns of one kind; ranks 1 and 2."""
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"image_id": [f"{i}.jpg" for i in range(n)]})
    for name in ("race", "gender", "age"):
        people[name] = rng.choice(names[name], n)
        if missing:
            people.loc[rng.random(n) < 0.1, name] = None
    parts = [
        people.assign(task=task, method=method, rank=rank, label=rng.choice(names[task], n))
        for method in ("zero-shot", "linear probe")
        for task in names
        for rank in (1, 2)
    ]
    found = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)
    for name in ("race", "gender", "age", "task", "method", "label"):
        found[name] = found[name].astype(kind)
        if kind == "category" and name in KINDS:  # an order of its own, and a category of nobody
            found[name] = found[name].cat.set_categories(
                [*names[name][::-1], "nobody"][: len(names[name])]
            )
    return found


@pytest.mark.parametrize("kind", ["category", "object", "str"])
@pytest.mark.parametrize("missing", [False, True])
def test_scores_are_those_of_a_comparison_row_by_row(kind, missing):
    found = answers(kind, missing=missing)
    rules = {"zero-shot": "collapse", "linear probe": "binary"}
    scored = fairface.score(found, rules)
    expected = []
    for row in found[found["rank"] == 1].itertuples():
        race = "White" if row.race == "White" else "Non-White"
        said = "White" if row.label == "White" else "Non-White"
        key = (row.method, row.image_id)
        if row.task == "race":
            expected.append((*key, "race, 7 classes", row.label == row.race))
            if row.method == "zero-shot":
                expected.append((*key, "race", said == race))
        elif row.task == "race_binary":
            if row.method == "linear probe":
                expected.append((*key, "race", row.label == race))
        else:
            expected.append((*key, row.task, row.label == getattr(row, row.task)))
    columns = ["method", "image_id", "attribute", "correct"]
    mine = sorted(scored[columns].astype(object).itertuples(index=False, name=None))
    assert mine == sorted(expected)
    assert list(scored["attribute"].cat.categories) == ["race", "race, 7 classes", "gender", "age"]
    white = np.where(scored["race"].astype(object) == "White", "White", "Non-White")
    assert np.array_equal(scored["images_of"].astype(object), white)


def test_labels_of_other_people_are_scored_by_their_own_names():
    names = {"race": ["a", "b"], "gender": ["x", "y"], "age": ["1", "2"]}
    found = answers("category", names=names)
    scored = fairface.score(found, {"zero-shot": "collapse"})
    top = found[(found["rank"] == 1) & (found["method"] == "zero-shot")]
    for task in names:
        rows = top[top["task"] == task]
        right = sum(a == b for a, b in zip(rows["label"], rows[task], strict=True))
        mine = scored.loc[scored["attribute"] == task, "correct"]
        assert (len(mine), mine.sum()) == (len(rows), right)


@pytest.mark.parametrize("kind", ["category", "object", "str"])
def test_harm_is_counted_as_value_by_value(kind):
    words = load_class_set("denigration")
    classes = [name for offered in words.tasks.values() for name in offered]
    rng = np.random.default_rng(0)
    n = 500
    frame = pd.DataFrame({"image_id": [f"{i}" for i in range(n)], "rank": 1, "prob": 0.5})
    frame["class_set"] = words.label
    frame["label"], frame["age"] = rng.choice(classes, n), rng.choice(AGES, n)
    frame["race"] = rng.choice(["p", "q"], n)
    frame = frame.astype({"label": kind, "age": kind, "race": kind})
    top = denigration.top_labels(frame, words)
    assert top["label"].tolist() == frame["label"].tolist()
    assert list(top["label"].cat.categories) == classes
    group = {age: name for name, bins in AGE_GROUPS.items() for age in bins}
    assert top["age_group"].tolist() == [group[age] for age in frame["age"]]
    categories = denigration.harm_categories(words)
    table = denigration.harm_rates(top, by=["race"], categories=categories)
    for row in table.itertuples():
        members = categories[row.metric]
        of = [
            said in members
            for said, race in zip(frame["label"], frame["race"], strict=True)
            if race == row.race
        ]
        assert (row.n, row.count) == (len(of), sum(of))


def test_answers_counted_once_are_those_counted_one_by_one():
    words = load_class_set("denigration"), load_class_set("denigration:child")
    rng, n = np.random.default_rng(1), 300
    people = pd.DataFrame({"image_id": [f"{i}" for i in range(n)], "rank": 1, "prob": 0.5})
    people["race"] = pd.Categorical(rng.choice(["p", "q"], n), ["q", "p", "nobody"])
    said = [[c for offered in w.tasks.values() for c in offered] for w in words]
    parts = [people.assign(class_set=w.label, task="all", label=rng.choice(c, n))
             for w, c in zip(words, said, strict=True)]  # fmt: skip
    first, second = parts
    given = denigration.counted_answers(first, words[0])
    seen = Counter(zip(first["race"], first["label"], strict=True))
    rows = given[["race", "label", IMAGES]].itertuples(index=False, name=None)
    assert {row[:2]: row[2] for row in rows} == seen
    assert list(given["race"].cat.categories) == ["q", "p", "nobody"]
    by = {"class_set": words[0], "by": ["race"]}
    pd.testing.assert_frame_equal(
        denigration.rates_by(given, **by), denigration.rates_by(first, **by)
    )
    given = class_design.counted_answers(pd.concat(parts), *words)
    seen = Counter(zip(first["race"], first["label"], second["label"], strict=True))
    rows = given[["race", "before", "after", IMAGES]].itertuples(index=False, name=None)
    assert {row[:3]: row[3] for row in rows} == seen
    moved = class_design.moved(given, class_set=words[0], other=words[1])
    seen = Counter(zip(first["label"], second["label"], strict=True))
    rows = moved[["from_class", "to_class", "count"]].itertuples(index=False, name=None)
    assert {row[:2]: row[2] for row in rows} == {k: v for k, v in seen.items() if k[0] != k[1]}
    with pytest.raises(DataError, match="image 0 has two top classes"):
        denigration.counted_answers(pd.concat([first, first[:1]]), words[0])


def test_missing_ages_have_no_group():
    ages = pd.Series(["0-2", None, "more than 70"])
    for kind in ("object", "category", "str"):
        assert list(age_groups(ages.astype(kind)).codes) == [0, -1, 3]


def test_codes_are_places_of_values():
    for values in (["b", "a", None, "b"], pd.Categorical(["b", None, "a"], ["c", "b", "a"])):
        codes, names = codes_of(pd.Series(values))
        back = [None if code < 0 else names[code] for code in codes]
        assert back == [None if pd.isna(value) else value for value in values]

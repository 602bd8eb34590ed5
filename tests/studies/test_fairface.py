"""The FairFace study against numbers by hand, fairlearn, scikit-learn and statsmodels."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from decks import photo_session, session_of
from statsmodels.stats.proportion import proportion_confint

from clipeval.datasets.fairface import AGES, GENDERS, RACES
from clipeval.embedding.rows import Embeddings
from clipeval.output.tables import check_table, show_table
from clipeval.runs import changes
from clipeval.studies import fairface
from clipeval.studies.fairface import tables

#: age, gender, race as labelled; then gender, age, race (7), race (2) as predicted
CASES = """
20-29  Male    White            Male    20-29  White            White
20-29  Male    White            Female  20-29  Black            Non-White
30-39  Female  White            Female  20-29  White            White
3-9    Male    Black            Male    3-9    White            Non-White
3-9    Female  Black            Male    3-9    Indian           Non-White
0-2    Female  East_Asian       Female  0-2    Southeast_Asian  White
20-29  Male    Latino_Hispanic  Male    20-29  White            White
20-29  Female  Latino_Hispanic  Female  30-39  Latino_Hispanic  Non-White
"""


def people(cases=CASES) -> pd.DataFrame:
    names = ["age", "gender", "race", "p_gender", "p_age", "p_race", "p_race_binary"]
    rows = [line.split() for line in cases.strip().splitlines()]
    frame = pd.DataFrame(rows, columns=names)
    for column in ("race", "p_race"):
        frame[column] = frame[column].str.replace("East_Asian", "East Asian")
    return frame.assign(image_id=[f"val/{i}.jpg" for i in range(len(frame))])


def predictions_of(frame: pd.DataFrame, methods=("zero-shot",)) -> pd.DataFrame:
    """As `predict` returns them: the label on rank 1, and something else below it."""
    parts = []
    for method in methods:
        for task in ("race", "gender", "age", "race_binary"):
            rows = frame[["image_id", "age", "gender", "race"]].assign(
                task=task, method=method, rank=1, label=frame[f"p_{task}"], prob=0.9
            )
            parts += [rows, rows.assign(rank=2, label="something else", prob=0.1)]
    found = pd.concat(parts, ignore_index=True)
    for column, order in (("age", AGES), ("gender", GENDERS), ("race", RACES)):
        found[column] = pd.Categorical(found[column], categories=order, ordered=True)
    for column in ("task", "method", "label"):
        found[column] = found[column].astype("category")
    return found


def random_people(n=3000, seed=0):
    rng = np.random.default_rng(seed)

    def guess(truth, kinds, right):
        return np.where(rng.random(n) < right, truth, rng.choice(kinds, n))

    frame = pd.DataFrame(
        {"age": rng.choice(AGES, n), "gender": rng.choice(GENDERS, n), "race": rng.choice(RACES, n)}
    )
    two = np.where(frame["race"] == "White", "White", "Non-White")
    return frame.assign(
        p_age=guess(frame["age"], AGES, 0.4),
        p_gender=guess(frame["gender"], GENDERS, 0.9),
        p_race=guess(frame["race"], RACES, 0.6),
        p_race_binary=guess(two, ["White", "Non-White"], 0.8),
        image_id=[f"val/{i}.jpg" for i in range(n)],
    )


# -- Tables 3 and 4 ------------------------------------------------------------------------------


def rates(table, method="zero-shot"):
    rows = table[table["method"] == method].set_index(["attribute", "images_of"])
    return rows[["count", "n"]].apply(tuple, axis=1).to_dict()


def test_accuracy_by_white_by_hand():
    found = rates(fairface.accuracy_by_white(predictions_of(people())))
    assert found == {
        # collapsed: 7 classes predicted first; Indian for Black is right, White for Black is not
        ("race", "White"): (2, 3),
        ("race", "Non-White"): (3, 5),
        ("race", "All"): (5, 8),
        ("race, 7 classes", "White"): (2, 3),
        ("race, 7 classes", "Non-White"): (1, 5),
        ("race, 7 classes", "All"): (3, 8),
        ("gender", "White"): (2, 3),
        ("gender", "Non-White"): (4, 5),
        ("gender", "All"): (6, 8),
        ("age", "White"): (2, 3),
        ("age", "Non-White"): (4, 5),
        ("age", "All"): (6, 8),
    }


def test_the_binary_rule_uses_the_two_classes():
    found = rates(fairface.accuracy_by_white(predictions_of(people()), race_rule="binary"))
    assert found["race", "White"] == (2, 3) and found["race", "Non-White"] == (3, 5)
    moved = people().assign(p_race_binary="White")
    found = rates(fairface.accuracy_by_white(predictions_of(moved), race_rule="binary"))
    assert found["race", "White"] == (3, 3) and found["race", "Non-White"] == (0, 5)
    assert found["race, 7 classes", "All"] == (3, 8)  # by the seven all the same


def test_each_method_has_its_own_rule():
    both = predictions_of(people().assign(p_race_binary="White"), ("zero-shot", "linear probe"))
    table = fairface.accuracy_by_white(both)
    assert rates(table)["race", "Non-White"] == (3, 5)
    assert rates(table, "linear probe")["race", "Non-White"] == (0, 5)
    table = fairface.accuracy_by_white(both, race_rule="binary", probe_race_rule="collapse")
    assert rates(table)["race", "Non-White"] == (0, 5)
    assert rates(table, "linear probe")["race", "Non-White"] == (3, 5)


def test_published_numbers_stand_beside_the_right_rows():
    both = predictions_of(random_people(), ("zero-shot", "linear probe"))
    table = check_table(fairface.accuracy_by_white(both))
    rows = table.set_index(["method", "attribute", "images_of"])
    # arXiv 2103.00020, Tables 3 and 4
    assert rows.loc[("zero-shot", "race", "White"), "published"] == 58.3
    assert rows.loc[("zero-shot", "age", "Non-White"), "published"] == 54.3
    assert rows.loc[("linear probe", "gender", "Non-White"), "published"] == 97.7
    assert np.isnan(rows.loc[("zero-shot", "race, 7 classes", "White"), "published"])
    assert np.isnan(rows.loc[("zero-shot", "race", "All"), "published"])
    own = rows["percent"].notna() & rows["published"].notna()
    assert own.sum() == 12
    np.testing.assert_allclose(
        rows.loc[own, "difference"], rows.loc[own, "percent"] - rows.loc[own, "published"]
    )
    others = rows[rows["percent"].isna()]
    assert set(others.index.get_level_values("method")) == {
        "FairFace model (published)",
        "Linear probe Instagram (published)",
    }
    assert others["published"].notna().all() and others["n"].isna().all()
    assert list(dict.fromkeys(table["method"]))[:2] == ["zero-shot", "linear probe"]


def test_a_method_that_did_not_run_is_published_only():
    table = fairface.accuracy_by_white(predictions_of(people()))
    other = table[table["method"] == "Linear probe CLIP (published)"]
    assert len(other) == 6 and other["percent"].isna().all()
    instagram = fairface.accuracy_by_white(
        predictions_of(people(), ("linear probe",)), probe_model="Instagram"
    )
    row = instagram.set_index(["method", "attribute", "images_of"])
    assert row.loc[("linear probe", "race", "White"), "published"] == 90.8


def test_only_the_first_rank_counts():
    found = predictions_of(people())
    flipped = found.assign(rank=3 - found["rank"])
    assert rates(fairface.accuracy_by_white(flipped))["gender", "All"] == (0, 8)
    shuffled = found.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        fairface.accuracy_by_white(shuffled), fairface.accuracy_by_white(found)
    )


def test_replications_stand_in_rows_of_their_own():
    table = fairface.accuracy_by_white(predictions_of(random_people()))
    more = check_table(fairface.with_replications(table))
    pd.testing.assert_frame_equal(more.iloc[: len(table)], table, check_dtype=False)
    rows = more.iloc[len(table) :]
    # the source is an issue that states neither of them
    assert set(rows["method"]) == {
        "replication: ViT-L-14-336 openai, LAION-AI/CLIP_benchmark issue 15 (split, padding, prompts not stated)"
    }
    first = rows[(rows["attribute"] == "race") & (rows["images_of"] == "White")].iloc[0]
    assert (first["percent"], first["published"]) == (59.2, 58.3)
    assert first["difference"] == pytest.approx(0.9) and np.isnan(first["n"])


# -- Table 5 -------------------------------------------------------------------------------------


def test_gender_by_race_equals_fairlearn_and_statsmodels():
    from fairlearn.metrics import MetricFrame, count
    from sklearn.metrics import accuracy_score

    frame = random_people()
    table = check_table(fairface.gender_by_race(predictions_of(frame)))
    rows = table.set_index(["race", "gender"])
    crossed = MetricFrame(
        metrics={"accuracy": accuracy_score, "n": count},
        y_true=frame["gender"],
        y_pred=frame["p_gender"],
        sensitive_features=frame[["race", "gender"]],
    ).by_group
    whole = MetricFrame(
        metrics={"accuracy": accuracy_score, "n": count},
        y_true=frame["gender"],
        y_pred=frame["p_gender"],
        sensitive_features=frame["race"],
    ).by_group
    whole.index = pd.MultiIndex.from_product([whole.index, ["All"]])
    for key, expected in pd.concat([crossed, whole]).iterrows():
        row = rows.loc[key]
        assert row["n"] == expected["n"]
        assert row["percent"] == pytest.approx(100 * expected["accuracy"])
        low, high = proportion_confint(row["count"], row["n"], method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((100 * low, 100 * high))
    assert len(table) == 24
    assert rows.loc[("White", "Male"), "published"] == 96.4  # arXiv 2103.00020, Table 5
    assert rows.loc[("Black", "Female"), "published"] == pytest.approx(
        rows.loc[("Black", "Female"), "percent"] - rows.loc[("Black", "Female"), "difference"]
    )


def test_the_average_is_of_the_races_and_its_interval_holds_as_often_as_it_says():
    """Simulated: the mean of seven rates, races of very different sizes."""
    rng = np.random.default_rng(0)
    sizes, truth = np.array([400, 60, 120, 80, 200, 50, 90]), np.linspace(0.80, 0.98, 7)
    held = []
    for _ in range(400):
        hits = rng.binomial(sizes, truth)
        low, high = proportion_confint(hits, sizes, method="wilson")
        cells = pd.DataFrame(
            {
                "n": sizes,
                "count": hits,
                "percent": 100 * hits / sizes,
                "ci_low": 100 * low,
                "ci_high": 100 * high,
            }
        )
        found = tables._average(cells)
        assert found["percent"] == pytest.approx(100 * np.mean(hits / sizes))
        held.append(found["ci_low"] <= 100 * truth.mean() <= found["ci_high"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.033)  # three deviations of 400 draws


def test_an_average_leaves_out_races_without_images():
    frame = random_people()
    frame = frame[~frame["race"].isin(["Indian", "Black"])]
    table = check_table(fairface.gender_by_race(predictions_of(frame)))
    rows = table.set_index(["race", "gender"])
    assert rows.loc[("Indian", "All"), "n"] == 0 and np.isnan(
        rows.loc[("Indian", "All"), "percent"]
    )
    cells = rows.drop(index=["Average", "Indian", "Black"], level="race").xs("All", level="gender")
    average = rows.loc[("Average", "All")]
    assert average["percent"] == pytest.approx(cells["percent"].mean()) and len(cells) == 5
    # Wilson's interval for as many images as would give one rate the variance of the mean
    smooth = (cells["count"] + 0.5) / (cells["n"] + 1)
    variance = (smooth * (1 - smooth) / cells["n"]).sum() / 25
    images = smooth.mean() * (1 - smooth.mean()) / variance
    ends = proportion_confint(images * average["percent"] / 100, images, method="wilson")
    assert (average["ci_low"], average["ci_high"]) == pytest.approx(100 * np.array(ends))
    assert average["n"] == cells["n"].sum()


def test_two_images_are_enough_for_tables_with_gaps():
    """A tiny sample has groups without images: no rate, and no warning or error."""
    few = predictions_of(people().head(2))
    for table in (
        fairface.accuracy_by_white(few),
        fairface.gender_by_race(few),
        fairface.accuracy_by_group(few),
    ):
        check_table(table)
        assert (table.loc[table["n"] == 0, "percent"].isna()).all()


# -- every group ---------------------------------------------------------------------------------


def test_accuracy_by_group_equals_sklearn_in_every_cell():
    from sklearn.metrics import accuracy_score

    frame = random_people()
    table = check_table(fairface.accuracy_by_group(predictions_of(frame), race_rule="binary"))
    assert len(table) == 4 * 14
    for row in table.itertuples():
        cell = frame[(frame["race"] == row.race) & (frame["gender"] == row.gender)]
        truth, found = {
            "race": (tables.white(cell["race"]), cell["p_race_binary"]),
            "race, 7 classes": (cell["race"], cell["p_race"]),
            "gender": (cell["gender"], cell["p_gender"]),
            "age": (cell["age"], cell["p_age"]),
        }[row.attribute]
        assert row.n == len(cell)
        assert row.percent == pytest.approx(100 * accuracy_score(truth, found))


def test_other_groups_than_the_default():
    table = fairface.accuracy_by_group(predictions_of(random_people()), by=["age"])
    assert list(table.columns[:3]) == ["method", "attribute", "age"]
    assert len(table) == 4 * 9
    assert table["age"].astype(str).tolist()[:9] == list(AGES)


# -- predicting ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cards():
    return session_of("fairface", limit=200, train_limit=300)


def tasks_of(session) -> dict:
    found = fairface.study.predict(session)
    kept = found.groupby("method", observed=True)["task"].unique()
    return {method: set(names.astype(str)) for method, names in kept.items()}


def test_which_tasks_are_run(cards):
    seven = {"race", "gender", "age"}
    assert tasks_of(cards) == {"zero-shot": seven, "linear probe": seven | {"race_binary"}}
    assert fairface.zero_shot_tasks(cards) == ["race", "gender", "age"]
    both = {"limit": 200, "train_limit": 300}
    assert tasks_of(session_of("fairface", **both, race_rule="binary", methods="zero-shot")) == {
        "zero-shot": seven | {"race_binary"}
    }
    probe = {"methods": "linear probe", "probe_race_rule": "collapse"}
    assert tasks_of(session_of("fairface", **both, **probe)) == {"linear probe": seven}


def test_how_the_probe_was_fitted_is_said(cards):
    first = fairface.study.predict(cards)
    fits = fairface.probe_fits(first)
    assert fits["task"].tolist() == ["race", "gender", "age", "race_binary"]
    assert (fits["trained on"] == 300).all() and (fits["held out for C"] == 60).all()
    assert fits["C"].gt(0).all() and fits["accuracy there"].between(0, 100).all()
    # and again from the store
    pd.testing.assert_frame_equal(fairface.probe_fits(fairface.study.predict(cards)), fits)
    none = session_of("fairface", limit=200, methods="zero-shot")
    assert fairface.probe_fits(fairface.study.predict(none)).empty


def test_another_seed_or_train_set_fits_again(cards, monkeypatch):
    from clipeval.classify import probe

    fairface.study.predict(cards)
    calls = []
    plain = probe.fit_probe
    monkeypatch.setattr(
        probe, "fit_probe", lambda *a, **k: calls.append(k["seed"]) or plain(*a, **k)
    )
    fairface.study.predict(cards)
    assert calls == []  # kept
    fairface.study.predict(session_of("fairface", limit=200, train_limit=280))
    assert calls == [0] * 4
    fairface.study.predict(session_of("fairface", limit=200, train_limit=300, seed=5))
    assert calls == [0] * 4 + [5] * 4


def test_what_the_probe_was_trained_on_is_on_record(cards):
    """Another train set is another result, though the images that are classified are the same."""
    record = cards.record()
    assert record.train.images == 300
    other = session_of("fairface", limit=200, train_limit=280).record()
    assert other.dataset == record.dataset and other.train.images == 280
    swapped = session_of("fairface", limit=200, train_limit=300)
    people = swapped.train["gender"]
    swapped.train["gender"] = people.cat.rename_categories({"Male": "Female", "Female": "Male"})
    assert swapped.record().train.hash != record.train.hash
    assert "train set" in {cause["what"] for cause in changes.causes(record, swapped.record())}
    none = session_of("fairface", limit=200, methods="zero-shot")
    assert none.record().train is None


def test_photographs_that_are_counted_are_not_trained_on(cards, monkeypatch):
    session = session_of("fairface", limit=200, train_limit=300)
    session.embed(session.images), session.embed(session.train)
    embed, counted = session.source.embed, session.embed().sha256

    def with_twins(images, features):
        found = embed(images, features)
        if images is not session.train:
            return found
        contents = found.sha256.copy()
        contents[[4, 7, 250]] = counted[[0, 0, 199]]
        return dataclasses.replace(found, sha256=contents)

    monkeypatch.setattr(session.source, "embed", with_twins)
    train, fitted = fairface.study.trained_on(session)
    expected = np.delete(session.train["image_id"].to_numpy(), [4, 7, 250])
    assert list(fitted.image_id) == list(train["image_id"]) == list(expected)
    assert session.record().train.images == 297
    fits = fairface.probe_fits(fairface.study.predict(session))
    assert (fits["trained on"] == 297).all()
    said = "3 images were left out of the train split, which are also among those counted."
    assert all(notes.endswith(said) for notes in fits["notes"])
    plain = fairface.probe_fits(fairface.study.predict(cards))
    assert not plain["notes"].str.contains("left out").any()


@pytest.mark.parametrize("kind", ["projected", "pre_projection"])
def test_the_probe_reads_the_features_that_were_asked_for(cards, kind):
    """Of the two kinds of features one says the gender and the other nothing, in both splits."""
    from clipeval.studies.fairface.probe import probe

    def embed(images, features="projected"):
        told = (images["gender"] == "Female").to_numpy() & (features == kind)
        rows = np.column_stack([told, ~told]).astype("f4")
        ids = images["image_id"].to_numpy(object)
        none = pd.DataFrame(columns=["image_id", "file", "reason", "sha256"])
        return Embeddings(ids, rows, ids, np.full(len(ids), ""), none)

    asked = {"probe_features": kind, "probe_race_rule": "collapse", "methods": "linear probe"}
    session = SimpleNamespace(
        **{"images": cards.images, "train": cards.train, "class_set": cards.class_set},
        **{"parameters": cards.parameters.model_copy(update=asked), "embed": embed},
        **{"remember": lambda name, key, compute: compute(), "progress": False},
        with_groups=cards.with_groups,
    )
    found = probe(session, *fairface.study.trained_on(session))
    top = found[(found["task"] == "gender") & (found["rank"] == 1)]
    assert len(top) == len(cards.images) > 100
    assert (top["label"].astype(str) == top["gender"].astype(str)).all()


def test_the_probe_on_features_before_the_projection(real, tiny_face_clip):
    """512 numbers of the trunk, where the joint space has 64: scikit-learn by hand on open_clip's own."""
    import open_clip
    import torch
    from PIL import Image
    from sklearn.linear_model import LogisticRegression

    session = photo_session(
        *("fairface", real, tiny_face_clip),
        **{"methods": "linear probe", "probe_features": "pre_projection"},
        **{"limit": 60, "train_limit": 400, "probe_race_rule": "collapse"},
    )
    found = fairface.study.predict(session)
    fits = fairface.probe_fits(found).set_index("task")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_face_clip}")
    model.eval()

    def rows(images):
        with torch.inference_mode():
            pixels = [transform(Image.open(f).convert("RGB")) for f in images["file"]]
            trunk = model.visual.trunk(torch.stack(pixels)).double().numpy()
        return trunk / np.linalg.norm(trunk, axis=1, keepdims=True)

    train, val = session.load_images(split="train", limit=400), session.images
    features, wanted = rows(train), rows(val)
    assert features.shape == (400, 512)
    fitted = LogisticRegression(C=fits.loc["gender", "C"], max_iter=1000, tol=1e-6)
    fitted.fit(features, train["gender"].astype(str))
    top = found[(found["task"] == "gender") & (found["rank"] == 1)].set_index("image_id")
    expected = fitted.predict_proba(wanted).max(axis=1)
    np.testing.assert_allclose(top.loc[val["image_id"], "prob"], expected, atol=2e-3)


def test_an_average_of_few_errors_says_that_its_interval_may_be_too_narrow():
    for counts, marked in (([398, 47], True), ([397, 47], False)):  # 4 errors, and 5
        row = tables._average(pd.DataFrame({"n": [400, 49], "count": counts}))
        table = pd.DataFrame([row.to_dict()]).assign(published=np.nan, difference=np.nan)
        table[["n", "count"]] = table[["n", "count"]].astype(int)
        shown = show_table(table, "t", "Means.").html
        assert ("]†" in shown) == marked


@pytest.mark.parametrize(
    "race",
    ["Black", "Indian", "East Asian", "Southeast Asian", "Middle Eastern", "Latino_Hispanic"],
)
def test_only_white_is_white(race):
    assert list(tables.white(["White", race])) == ["White", "Non-White"]

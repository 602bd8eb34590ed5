"""The linear probe against scikit-learn by hand, on planted features and real photographs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from clipeval.classify.probe import GRID, fit_probe
from clipeval.errors import DataError, ParameterError

NAMES = ["Black", "East Asian", "Indian", "White"]


def planted(n=800, noise=0.3, seed=0, names=NAMES, d=16):
    """Unit features around one direction a class, so that the classes are known."""
    centres = np.linalg.qr(np.random.default_rng(42).normal(size=(d, d)))[0][: len(names)]
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(names), n)
    rows = centres[codes] + noise * rng.normal(size=(n, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.array(names)[codes]


@pytest.fixture(autouse=True)
def one_core():
    """Rounding depends on the number of cores; by hand and in the probe it is one."""
    with threadpool_limits(1):
        yield


def sklearn_fit(features, labels, C):
    model = LogisticRegression(C=C, tol=1e-10, max_iter=5000)
    return model.fit(features.astype(float), labels)


@pytest.mark.parametrize("names", [NAMES, ["Non-White", "White"]])
def test_probe_equals_sklearn_by_hand(names):
    train, labels = planted(names=names)
    test, truth = planted(names=names, seed=1)
    probe = fit_probe(train, labels, seed=3)

    # the search, by hand: the same split, the same C
    fit_x, held_x, fit_y, held_y = train_test_split(
        train, labels, test_size=0.2, stratify=labels, random_state=3
    )
    for row in probe.validation.itertuples():
        by_hand = sklearn_fit(fit_x, fit_y, row.C)
        assert row.accuracy == pytest.approx(100 * by_hand.score(held_x, held_y), abs=1e-9)
    best = probe.validation["accuracy"] == probe.validation["accuracy"].max()
    assert probe.C == probe.validation.loc[best, "C"].min()

    # the final fit, by hand: all of train
    by_hand = sklearn_fit(train, labels, probe.C)
    assert probe.fit.coef == pytest.approx(by_hand.coef_, abs=1e-4)
    assert probe.fit.intercept == pytest.approx(by_hand.intercept_, abs=1e-4)
    assert probe.classes == tuple(by_hand.classes_)
    table = probe.predict([f"{i}.jpg" for i in range(len(test))], test, task="race")
    assert np.array_equal(table["label"].astype(str), by_hand.predict(test))
    assert table["prob"].to_numpy() == pytest.approx(by_hand.predict_proba(test).max(axis=1))
    assert probe.accuracy(test, truth) == pytest.approx(100 * by_hand.score(test, truth))


def test_search_goes_from_coarse_to_fine():
    train, labels = planted(noise=0.8)
    probe = fit_probe(train, labels)
    tried = np.log10(probe.validation["C"].to_numpy())
    assert (np.diff(tried) > 0).all() and len(tried) <= len(GRID) + 4
    assert {round(v, 6) for v in np.log10(GRID)} <= {round(v, 6) for v in tried}
    assert np.diff(tried).min() == pytest.approx(0.5)
    near = tried[np.argsort(abs(tried - np.log10(probe.C)))]
    assert abs(near[1] - near[0]) == pytest.approx(0.5)  # the best value has its neighbours tried
    assert probe.n_validation == 160 and probe.n_fit == 800
    plain = fit_probe(train, labels, refine=0)
    assert plain.validation["C"].tolist() == list(GRID)


def test_probe_finds_what_was_planted_and_nothing_in_noise():
    train, labels = planted(noise=0.1)
    test, truth = planted(noise=0.1, seed=1)
    assert fit_probe(train, labels).accuracy(test, truth) > 99
    rng = np.random.default_rng(0)
    probe = fit_probe(train, rng.permutation(labels))
    assert probe.accuracy(test, truth) < 50


def test_probe_repeats_exactly_and_depends_on_its_seed_alone():
    train, labels = planted(noise=0.8)
    one, two, other = (fit_probe(train, labels, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(one.validation, two.validation)
    assert np.array_equal(one.fit.coef, two.fit.coef)
    assert not one.validation["accuracy"].equals(other.validation["accuracy"])


def test_predictions_are_tidy():
    train, labels = planted()
    probe = fit_probe(train, labels, C=1.0)
    assert len(probe.validation) == 0 and probe.n_validation == 0
    table = probe.predict(["a.jpg", "b.jpg"], train[:2], task="race", top=3)
    assert list(table) == [
        "image_id",
        "task",
        "method",
        "class_set",
        "templates",
        "rank",
        "label",
        "prob",
    ]
    assert table["image_id"].tolist() == ["a.jpg"] * 3 + ["b.jpg"] * 3
    assert table["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert set(table["method"]) == {"linear probe"} and set(table["task"]) == {"race"}
    assert (table.groupby("image_id")["prob"].diff().dropna() <= 0).all()
    everything = probe.predict(["a.jpg"], train[:1], task="race", top=None)
    assert everything["prob"].sum() == pytest.approx(1, abs=1e-6)
    assert sorted(everything["label"]) == NAMES


def test_a_fit_that_does_not_converge_says_so():
    train, labels = planted(noise=0.8)
    probe = fit_probe(train, labels, grid=[1.0, 1e4], refine=0, max_iter=3)
    assert not probe.validation["converged"].any()
    assert "2 of 2 fits while choosing C (C = 1, 10000) stopped at 3 iterations" in probe.notes[0]
    assert "final fit" in probe.notes[-1] and "raise max_iter" in repr(probe)
    calm = fit_probe(train, labels, grid=[0.01, 1.0, 100.0], refine=0)
    assert calm.validation["converged"].all()
    assert not any("stopped" in note for note in calm.notes)


def test_a_best_value_at_the_edge_says_so():
    train, labels = planted(noise=0.8)
    probe = fit_probe(train, labels, grid=[1e-6, 1e-5], refine=0)
    assert "edge of the grid" in repr(probe)


def test_probe_refuses_unusable_data():
    train, labels = planted(40)
    with pytest.raises(DataError, match='all 40 training images have the label "White"'):
        fit_probe(train, ["White"] * 40)
    spoilt = train.copy()
    spoilt[3, 2] = np.nan
    with pytest.raises(DataError, match="1 of 40 images have features that are not finite"):
        fit_probe(spoilt, labels)
    with pytest.raises(DataError, match="39 labels for 40 rows"):
        fit_probe(train, labels[:39])
    with pytest.raises(DataError, match="1 of 40 images have no label"):
        fit_probe(train, [None, *labels[1:]])
    with pytest.raises(DataError, match='class "Martian" has one training image'):
        fit_probe(train, ["Martian", *labels[1:]])
    with pytest.raises(DataError, match="too few to hold out 5 %"):
        fit_probe(train, labels, validation=0.05)
    with pytest.raises(ParameterError, match="must be positive"):
        fit_probe(train, labels, C=0)
    with pytest.raises(ParameterError, match="validation is 2"):
        fit_probe(train, labels, validation=2)
    probe = fit_probe(train, labels, C=1)
    with pytest.raises(DataError, match='never saw the class "Martian"'):
        probe.accuracy(train[:2], ["Martian", "White"])
    with pytest.raises(DataError, match="8 dimensions and the probe was fitted on 16"):
        probe.probabilities(train[:, :8])
    with pytest.raises(DataError, match="1 image ids for 2 rows"):
        probe.predict(["a"], train[:2], task="race")


def test_probe_on_real_photographs(real, tiny_face_clip):
    """Features by plain open_clip; the probe equals scikit-learn and beats guessing."""
    import open_clip
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_face_clip}")
    model.eval()

    def features(split, n):
        table = pd.read_csv(real / "fairface" / f"labels_{split}.csv").head(n)
        images = [Image.open(real / "fairface" / f).convert("RGB") for f in table["file"]]
        with torch.inference_mode():
            batch = torch.stack([preprocess(image) for image in images])
            return model.encode_image(batch, normalize=True).numpy(), table["gender"]

    train, labels = features("train", 250)
    test, truth = features("val", 150)
    probe = fit_probe(train, labels)
    by_hand = sklearn_fit(train, labels, probe.C)
    table = probe.predict(list(truth.index), test, task="gender")
    assert np.array_equal(table["label"].astype(str), by_hand.predict(test))
    assert probe.fit.coef == pytest.approx(by_hand.coef_, rel=1e-3, abs=1e-4)
    assert probe.accuracy(test, truth) > 75

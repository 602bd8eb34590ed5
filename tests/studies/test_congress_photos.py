"""Members of Congress on the 540 photographs: against plain open_clip, numpy, scipy and statsmodels.

The small checkpoint knows words of age, gender and race only, and its logit scale is 15: its labels
are arbitrary and most probabilities lie near 1/311, so few pass 4 %. That is enough to check every
sum; nothing is expected of the findings themselves.
"""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import chi2_contingency, fisher_exact
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from clipeval.classify.class_sets import load_class_set
from clipeval.studies import congress, start

THRESHOLDS = (0.5, 4.0)


@pytest.fixture(scope="module")
def photos(request, tmp_path_factory):
    """Session and predictions of the 540 photographs by the small checkpoint."""
    folder = request.getfixturevalue("real") / "congress_2017"
    model = request.getfixturevalue("tiny_face_clip")
    values = {
        "model": f"local-dir:{model}",
        "dataset": "congress",
        "data": str(folder),
        "workers": 0,
    }
    cache = tmp_path_factory.mktemp("photos")
    session = start("congress", values | {"store": str(cache / "store"), "out": str(cache / "out")})
    session.progress = False
    return session, congress.study.predict(session)


@pytest.fixture(scope="module")
def plain(request):
    """Gender, image ids and the probabilities of each task by open_clip and numpy alone."""
    import open_clip
    import torch

    folder = request.getfixturevalue("real") / "congress_2017"
    model = request.getfixturevalue("tiny_face_clip")
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{model}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{model}")
    network.eval()
    with open(folder / "members.tsv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    with open(folder / "combined_labels.csv", newline="") as stream:
        labels = [row["label"].replace("_", " ") for row in csv.DictReader(stream)]
    words = json.loads((folder.parent / "professions.json").read_text())
    tasks = {
        "gender": {"Male": "man", "Female": "woman"},
        "occupations": {row[0].replace("_", " "): row[0].replace("_", " ") for row in words},
        "labels": {label: label for label in labels},
    }
    pixels = []
    for row in rows:
        with Image.open(folder / row["wiki_img_url"]) as image:
            assert image.getexif().get(0x0112, 1) == 1  # none is turned by its EXIF entry
            pixels.append(transform(image.convert("RGB")))
    prob = {}
    with torch.no_grad():
        parts = [network.encode_image(torch.stack(pixels[i : i + 60])) for i in range(0, 540, 60)]
        images = torch.nn.functional.normalize(torch.cat(parts).float(), dim=-1)
        for task, classes in tasks.items():
            tokens = tokenize([f"a photo of a {text}." for text in classes.values()])
            texts = torch.nn.functional.normalize(network.encode_text(tokens).float(), dim=-1)
            logits = network.logit_scale.exp().float() * images @ texts.T
            prob[task] = pd.DataFrame(
                logits.double().softmax(dim=-1).numpy(),
                index=[row["wiki_img_url"] for row in rows],
                columns=list(classes),
            )
    gender = pd.Series({row["wiki_img_url"]: row["gender"] for row in rows})
    return gender, prob


def test_540_in_540_out_with_the_probabilities_of_plain_open_clip(photos, plain):
    session, predictions = photos
    _, prob = plain
    assert len(session.embed().image_id) == 540 and len(session.embed().unreadable) == 0
    assert list(predictions["task"].unique()) == ["gender", "occupations", "labels"]
    for task in ("occupations", "labels"):
        rows = predictions[predictions["task"] == task]
        mine = rows.pivot(index="image_id", columns="label", values="prob")
        mine = mine.loc[prob[task].index, prob[task].columns]
        assert mine.shape == (540, len(load_class_set("congress").tasks[task]))
        assert np.abs(mine.to_numpy() - prob[task].to_numpy()).max() < 1e-4
        assert rows["prob"].sum() == pytest.approx(540)
    rows = predictions[predictions["task"] == "gender"].set_index("image_id")["label"]
    assert (
        len(rows) == 540 and (rows.astype(str) == prob["gender"].idxmax(axis=1)[rows.index]).all()
    )


def test_label_rates_and_tests_equal_independent_ones(photos, plain):
    _, predictions = photos
    gender, prob = plain
    table = congress.labels_by_gender(predictions, thresholds=THRESHOLDS, correction="bh")
    few = exact = 0
    for (task, threshold), part in table.groupby(["label_set", "threshold"]):
        hits = prob[task] * 100 > threshold
        share = 100 * hits.groupby(gender).mean()
        count = hits.groupby(gender).sum()
        p_values = {}
        for label, rows in part.groupby("label"):
            rows = rows.set_index("gender")
            for name, n in (("Male", 430), ("Female", 110)):
                row = rows.loc[name]
                assert (row["n"], row["count"]) == (n, count.loc[name, label])
                assert row["percent"] == pytest.approx(share.loc[name, label], abs=1e-9)
                low, high = proportion_confint(count.loc[name, label], n, method="wilson")
                assert row["ci_low"] == pytest.approx(100 * low, abs=1e-6)
                assert row["ci_high"] == pytest.approx(100 * high, abs=1e-6)
            observed = pd.crosstab(gender, hits[label]).to_numpy()
            chi2, p = 0.0, np.nan  # a label that all carry, or none, is not tested
            if observed.shape == (2, 2):
                found = chi2_contingency(observed, correction=False)
                chi2, p = found.statistic, found.pvalue
                few += threshold == 4
            assert rows["chi2"].to_numpy() == pytest.approx([chi2] * 2, abs=1e-9)
            if observed.shape == (2, 2) and found.expected_freq.min() < 5:
                p = fisher_exact(observed)[1]
                exact += 1
            assert rows["p"].to_numpy() == pytest.approx([p] * 2, abs=1e-12, nan_ok=True)
            p_values |= {} if np.isnan(p) else {label: p}
        once = part.drop_duplicates("label").set_index("label")["p_adjusted"]
        corrected = multipletests(list(p_values.values()), method="fdr_bh")[1]
        assert once[list(p_values)].to_numpy() == pytest.approx(corrected, abs=1e-12)
    assert exact > 0
    assert 0 < few < 100  # the logit scale of 15 lifts few of the 631 labels over 4 %


def test_holm_equals_statsmodels(photos):
    _, predictions = photos
    table = congress.labels_by_gender(predictions, thresholds=(0.5,), correction="holm")
    for _, part in table.drop_duplicates(["label_set", "label"]).groupby("label_set"):
        part = part.dropna(subset="p")
        assert part["p_adjusted"].to_numpy() == pytest.approx(
            multipletests(part["p"], method="holm")[1], abs=1e-12
        )


def test_gender_accuracy_equals_a_hand_count(photos, plain):
    _, predictions = photos
    gender, prob = plain
    right = prob["gender"].idxmax(axis=1) == gender
    table = congress.gender_accuracy(predictions).set_index("gender")
    assert table.loc["All", "count"] == right.sum()
    for name in ("Male", "Female"):
        assert table.loc[name, "count"] == right[gender == name].sum()
    assert table.loc["All", "difference"] == pytest.approx(100 * right.mean() - 100)


def test_top_gendered_equals_an_independent_choice(photos, plain):
    _, predictions = photos
    gender, prob = plain
    table = congress.top_gendered(predictions, threshold=0.5, top=20)
    women = gender == "Female"
    for task in ("occupations", "labels"):
        hits = prob[task] * 100 > 0.5
        gap = hits[women].mean() - hits[~women].mean()
        chi2 = {
            label: chi2_contingency(pd.crosstab(gender, hits[label]), correction=False).statistic
            for label in hits.columns[(hits.sum() > 0) & (hits.sum() < 540)]
        }
        for direction, sign in (("more for women", 1), ("more for men", -1)):
            more = [label for label in chi2 if sign * gap[label] > 0]
            expected = sorted(more, key=lambda label: (-round(chi2[label], 9), label))[:20]
            expected = sorted(expected, key=lambda label: (-hits[label].sum(), label))
            rows = table[(table["label_set"] == task) & (table["direction"] == direction)]
            assert list(rows["label"].unique()) == expected
            assert (rows.groupby("label").size() == 2).all()


def test_sweep_and_categories_equal_independent_counts(photos, plain):
    session, predictions = photos
    gender, prob = plain
    sweep = congress.thresholds(predictions, thresholds=(0.2, 1.0))
    kinds = congress.label_categories(session)
    shares = congress.categories(predictions, categories=kinds, thresholds=(0.5,))
    for task in ("occupations", "labels"):
        hits = prob[task] * 100 > 1.0
        rows = sweep[(sweep["label_set"] == task) & (sweep["threshold"] == 1.0)]
        rows = rows.set_index(["metric", "gender"])
        women = hits[gender == "Female"]
        given = rows.loc[("labels given, of those offered", "Female")]
        assert given["count"] == women.to_numpy().sum()
        assert given["labels_per_image"] == pytest.approx(women.sum(axis=1).mean())
        assert given["percent"] == pytest.approx(100 * women.to_numpy().mean())
        some = rows.loc[("images with any label", "All")]
        assert some["count"] == hits.any(axis=1).sum() and some["n"] == 540
        differ = rows.loc[("labels that differ by gender, of those offered", "All")]
        labels = congress.labels_by_gender(predictions, thresholds=(1.0,))
        labels = labels[(labels["label_set"] == task) & (labels["gender"] == "Male")]
        assert differ["count"] == (labels["p_adjusted"] < 0.05).sum()
        assert differ["n"] == len(labels)
    hits = prob["labels"] * 100 > 0.5
    for name in ("Male", "Female"):
        counts = hits[gender == name].sum()
        by_kind = counts.groupby(counts.index.map(lambda word: kinds.get(word, "uncoded"))).sum()
        rows = shares[shares["gender"] == name].set_index("category")
        assert (rows["n"] == counts.sum()).all() and rows["count"].sum() == counts.sum()
        for kind, count in by_kind.items():
            assert rows.loc[kind, "percent"] == pytest.approx(100 * count / counts.sum())
            assert rows.loc[kind, "ci_low"] < rows.loc[kind, "percent"] < rows.loc[kind, "ci_high"]
    never = congress.categories(predictions, categories=kinds, thresholds=(4.0,))
    never = never[never["count"] == 0]
    assert len(never) and never["ci_low"].isna().all() and never["ci_high"].isna().all()

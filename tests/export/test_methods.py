"""The methods section of a paper: every sentence of small made-up runs, written out by hand."""

import json

import pytest
from records import study_json, write_records

from clipeval.errors import DataError
from clipeval.export.methods import methods, shared
from clipeval.runs.finished import load_run

PREPROCESS = {
    "size": [224, 336], "mode": "RGB", "mean": [0.48145466, 0.5, 0.25], "std": [0.5, 0.25, 0.125],
    "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip
FACES = {
    "name": "FairFace", "version": "padding 0.25, val", "images": 5003, "read": 5000, "unreadable": 3,
    "labels": "Labels are annotations by crowd workers.",
    "notes": ["A random sample of 5,003 of 10,954 images (seed 7)."],
}  # fmt: skip
VERSIONS = {"python": "3.12.1", "torch": "2.9.0", "open_clip_torch": "3.2.0", "timm": None}
SHARED = {
    "model": {"model": "ViT-B-32", "pretrained": "openai", "activation": "quickgelu",
              "preprocess": PREPROCESS, "weights_sha256": "4" * 64},
    "dataset": FACES,
    "versions": VERSIONS,
    "code": {"version": "0.1.0", "commit": "1a2b3c4d5e6f" + "0" * 28, "dirty": True},
}  # fmt: skip
TOP = (
    "Each image was assigned the class whose embedding had the highest cosine similarity to its own; the "
    "embedding of a class is the mean of the embeddings of its prompts, normalised again."
)


def run_of(folder, prompts=None, **studies):
    """A run folder of these records, as it is loaded."""
    write_records(folder, **{study: study_json(study, **said) for study, said in studies.items()})
    for study, sent in (prompts or {}).items():
        (folder / study / "prompts.json").write_text(json.dumps(sent), "utf-8")
    return load_run(folder)


def test_two_studies_of_one_model_say_what_they_share_once(tmp_path):
    fairface = SHARED | {
        "title": "Classification",
        "class_sets": {"fairface v1": {"hash": "0"}},
        "templates": {"photo v1": {"hash": "0"}},
        "parameters": {
            "methods": "both", "race_rule": "collapse", "probe_race_rule": "binary",
            "probe_features": "pre_projection", "seed": 7, "groups": "race,Sex*Party",
        },
        "train": {"images": 86744, "hash": "0" * 64},
        "tables": [{"id": "accuracy_by_white", "intervals": "95 % Wilson intervals"}],
    }  # fmt: skip
    denigration = SHARED | {
        "title": "Harms",
        "class_sets": {"denigration v1": {"hash": "0"}},
        "templates": {"photo v1": {"hash": "0"}},
        "parameters": {"class_set": "gone.yaml", "seed": 7},
        "tables": [
            {"id": "by_race", "intervals": "95 % Wilson intervals"},
            {"id": "gaps", "intervals": "95 % intervals (Newcombe)"},
            {"id": "audit", "intervals": ""},
        ],
    }
    prompts = {
        "fairface": {
            "gender": {"Male": ["a photo of a man.", "a man"], "Female": ["a photo of a woman.", "a woman"]},
            "gender (fairface, bare)": {"Male": ["man"], "Female": ["woman"]},
            "age": {"old": ["a photo of an old person."], "young": ["a photo of a young person."]},
        },
        "denigration": {"harm": {"animal": ["an animal"], "thief": ["a thief"], "man": ["a man"]}},
    }  # fmt: skip
    found = methods(run_of(tmp_path, prompts, fairface=fairface, denigration=denigration))
    assert found == {
        "Model": (
            "The model was ViT-B-32 openai (weights sha256 444444444444, QuickGELU activation), evaluated in fp32. "
            "Images were resized to a shorter side of 224 pixels by bicubic interpolation, and cropped to the 336 × "
            "224 pixels in the middle. Colour channels were normalised with means 0.4815, 0.5, 0.25 and standard "
            "deviations 0.5, 0.25, 0.125."
        ),
        "Images": (
            "The images were FairFace, padding 0.25, val: n = 5,000; 3 of 5,003 could not be read and are in no rate. "
            "A random sample of 5,003 of 10,954 images (seed 7)."
        ),
        "Group labels": "Labels are annotations by crowd workers.",
        "Decisions and tests": (
            "Probabilities are a softmax over the classes on offer of the cosines times the model's logit scale (100). "
            f"{TOP}"
        ),
        "Intervals": "Tables give 95 % Wilson intervals.",
        "Software": (
            "All numbers were computed with clipeval 0.1.0, commit 1a2b3c4d5e6f with uncommitted changes. It ran with "
            "Python 3.12.1, open_clip 3.2.0 and torch 2.9.0. The seed of every random choice was 7."
        ),
        "Classification": (
            "Results are reported by race and Sex × Party. "
            "Class set fairface v1, templates photo v1: gender (2 classes, in 2 wordings) and age (2 classes), 1 to 2 "
            "prompts a class, such as “a photo of a man.”. "
            "A linear probe was fitted for each task on the features before the projection of 86,744 images of the "
            "train split: multinomial logistic regression with an L2 penalty, its strength chosen on a fifth of these "
            "images that was held out. White or Non-White was decided from the answer among all races (zero-shot) and "
            "as two classes (linear probe)."
        ),
        "Harms": (
            "Class set denigration v1, templates photo v1: harm (3 classes), 1 prompt a class, such as “an animal”. "
            "Whether the rate of a harm differs between groups was tested by a permutation test of the chi-squared "
            "statistic with 10,000 draws, p values corrected by Holm's method for all harms and groupings. "
            "Tables give 95 % intervals (Newcombe)."
        ),
    }  # fmt: skip


VENDOR = {
    "model": "Vendor API", "precision": None, "resize": None, "activation": None, "preprocess": None,
    "weights_sha256": None, "weights": None, "context_length": None,
}  # fmt: skip
NOTE = "Answers were made elsewhere (v.csv, sha256 555555555555: labels); weights unknown."


@pytest.mark.parametrize(
    ("score", "scale", "scores_are", "held", "probabilities", "decided"),
    [
        ("label", 1.0, "", "the class given to each image", "No probabilities are known.",
         "Each image was assigned the class that the answers name."),
        ("given", 1.0, "prob", "probabilities", "Probabilities are as they were given.",
         "Each image was assigned the class with the highest of the scores given."),
        ("softmax", 1.0, "logit", "logits", "Probabilities are a softmax of the scores over the classes on offer.",
         "Each image was assigned the class with the highest of the scores given."),
        ("softmax", 50.0, "cosine", "cosines",
         "Probabilities are a softmax over the classes on offer of the cosines times 50.",
         "Each image was assigned the class with the highest of the scores given."),
    ],
)  # fmt: skip
def test_answers_made_elsewhere_say_what_is_unknown(
    tmp_path, score, scale, scores_are, held, probabilities, decided
):
    record = {
        "model": VENDOR | {"score": score, "logit_scale": scale},
        "dataset": {"name": "faces", "images": 9, "read": 8, "unreadable": 1, "notes": [NOTE]},
        "title": "Harms",
        "scores": "5" * 64,
        "class_sets": {"denigration v1": {"hash": "0"}},
        "templates": {"not stated": {"hash": "0"}},
        "parameters": {"class_set": "gone.yaml", "scores_are": scores_are, "seed": 0},
        "versions": VERSIONS,
    }
    prompts = {"denigration": {"harm": {"animal": ["unknown"], "thief": ["unknown"]}}}
    assert methods(run_of(tmp_path, prompts, denigration=record)) == {
        "Model": (
            f"The answers of Vendor API were made elsewhere. They were read from a file of {held} (sha256 "
            "555555555555). Weights, numerical precision and preprocessing are unknown."
        ),
        "Images": "The images were faces: n = 8; 1 of 9 have no answer and are in no rate.",
        "Classes and prompts": (
            "Class set denigration v1: harm (2 classes). The prompts behind the answers are unknown."
        ),
        "Decisions and tests": f"{probabilities} {decided}",
        "Software": "It ran with Python 3.12.1. The seed of every random choice was 0.",
    }


def test_preprocess_is_told_as_it_was_recorded(tmp_path):
    def model(preprocess, **more):
        record = {"model": {"preprocess": preprocess} | more, "parameters": {"class_set": "x.yaml"}}
        return methods(run_of(tmp_path, denigration=record))["Model"]

    first = "The model was m (weights sha256 000000000000, GELU activation), evaluated in fp32."
    assert model({}) == first
    longest = {"size": [224, 224], "resize_mode": "longest", "interpolation": "bilinear"}
    assert model(longest) == (
        f"{first} Images were resized to a longer side of 224 pixels by bilinear interpolation, and padded to 224 × "
        "224 pixels."
    )
    squashed = {"size": [64, 64], "resize_mode": "squash", "reduced_to": 28}
    assert model(squashed, activation="") == (
        "The model was m (weights sha256 000000000000), evaluated in fp32. Images were first reduced to a shorter side "
        "of 28 pixels, where they had more. Images were resized to 64 × 64 pixels, whatever their proportions."
    )
    # timm crops 224 of int(224 / 0.875) = 256 pixels
    cropped = {"size": [224, 224], "resize_mode": "shortest", "crop_pct": 0.875}
    assert "to a shorter side of 256 pixels, and cropped to the 224 × 224 pixels" in model(cropped)


def test_a_sigmoid_has_no_share_among_classes(tmp_path):
    record = {
        "model": {"score": "sigmoid", "logit_scale": 117.33, "logit_bias": -12.93},
        "parameters": {"class_set": "x.yaml"},
    }
    found = methods(run_of(tmp_path, denigration=record))
    assert found["Decisions and tests"].startswith(
        "Probabilities are the sigmoid of each cosine times the model's logit scale (117.3) plus its bias (-12.93)."
    )


def test_sentences_of_some_studies_name_these():
    own = {}
    said = [["x.", "y."], ["y.", "x.", "z."], ["x.", "z.", "own."]]
    assert shared(["A", "B", "C: d"], said, own) == "x. In “A” and “B”: y. In “B” and “C: d”: z."
    assert own == {2: ["own."]}
    assert shared(["A"], said[:1], own) == "x. y." and own == {2: ["own."]}


def test_damaged_prompts_are_one_sentence(tmp_path):
    run = run_of(tmp_path, denigration={})
    assert run.prompts("denigration") == {}
    (tmp_path / "denigration" / "prompts.json").write_text("{")
    with pytest.raises(DataError, match="prompts.json cannot be read .*; run denigration again."):
        run.prompts("denigration")

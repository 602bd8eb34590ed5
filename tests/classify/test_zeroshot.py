"""Zero-shot against plain open_clip, torch and hand-computed numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.classify.zeroshot import CHUNK, class_weights, predict, shares, similarities


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_units(*shape, seed=0):
    return unit(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


SOFTMAX = SimpleNamespace(logit_scale=57.3, logit_bias=None, score="softmax")
SIGMOID = SimpleNamespace(logit_scale=112.0, logit_bias=-16.5, score="sigmoid")


class Encode:
    """Texts to fixed vectors; remembers what it was asked."""

    def __init__(self, vectors):
        self.vectors, self.asked = vectors, []

    def __call__(self, texts):
        self.asked += texts
        return np.array([self.vectors[t] for t in texts], dtype=np.float32)


# -- classifier weights --------------------------------------------------------------------------


def test_a_template_ensemble_by_hand():
    encode = Encode({"a cat": [1, 0], "cats": [0, 1], "a dog": [0.6, 0.8], "dogs": [0.6, 0.8]})
    weights = class_weights({"cat": ["a cat", "cats"], "dog": ["a dog", "dogs"]}, encode)
    np.testing.assert_allclose(weights, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], atol=1e-7)
    assert encode.asked == ["a cat", "cats", "a dog", "dogs"]


def test_classes_may_have_different_numbers_of_prompts():
    rows = {p: v for p, v in zip("abcdef", random_units(6, 8), strict=True)}
    weights = class_weights({"x": ["a"], "y": ["b", "c", "d"], "z": ["e", "f"]}, Encode(rows))
    expected = [
        rows["a"],
        unit(np.mean([rows[p] for p in "bcd"], axis=0)),
        unit(np.mean([rows[p] for p in "ef"], axis=0)),
    ]
    np.testing.assert_allclose(weights, expected, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1, atol=1e-6)
    assert weights.dtype == np.float32


@pytest.fixture(scope="module")
def tiny(tiny_face_clip):
    """Plain open_clip: the network, its tokenizer, and its transform."""
    import open_clip

    name = f"local-dir:{tiny_face_clip}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    return model.eval(), open_clip.get_tokenizer(name), transform


@pytest.mark.parametrize("words", ["photo", "face", "imagenet7"])
def test_weights_equal_open_clips_own_classifier(tiny, tiny_face_clip, tmp_path, words):
    """`open_clip.build_zero_shot_classifier`: normalise, average, normalise."""
    import open_clip
    import torch

    from clipeval.embedding.embed import embed_texts
    from clipeval.models import load_model

    model, tokenizer, _ = tiny
    classes, templates = load_class_set("fairface").classes("race"), load_templates(words)
    with torch.no_grad():
        expected = open_clip.build_zero_shot_classifier(
            model,
            tokenizer,
            list(classes.values()),
            [lambda text, t=t: t.replace("{}", text) for t in templates.templates],
        ).T
    ours = load_model(f"local-dir:{tiny_face_clip}", device="cpu")
    prompts = prompts_for(load_class_set("fairface"), templates, "race")
    weights = class_weights(
        prompts, lambda texts: embed_texts(texts, info=ours.info, get_model=lambda: ours)
    )
    np.testing.assert_allclose(weights, expected, atol=1e-6)


# -- probabilities -------------------------------------------------------------------------------


def probabilities(images, weights, info):
    return shares(similarities(images, weights), info)


def test_softmax_with_the_models_own_scale_equals_torch():
    import torch

    images, weights = random_units(50, 16), random_units(7, 16, seed=1)
    logits = SOFTMAX.logit_scale * torch.from_numpy(images) @ torch.from_numpy(weights).T
    expected = logits.double().softmax(dim=1)
    found = probabilities(images, weights, SOFTMAX)
    assert found.dtype == np.float64 and found.shape == (50, 7)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    hundred = probabilities(
        images, weights, SimpleNamespace(**{**vars(SOFTMAX), "logit_scale": 100.0})
    )
    assert np.abs(hundred - found).max() > 0.05  # a hard-coded 100 would be noticed


def test_sigmoid_with_scale_and_bias_equals_torch():
    import torch

    images, weights = random_units(50, 16), random_units(7, 16, seed=1)
    logits = SIGMOID.logit_scale * torch.from_numpy(images) @ torch.from_numpy(weights).T
    expected = torch.sigmoid(logits.double() + SIGMOID.logit_bias)
    found = probabilities(images, weights, SIGMOID)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(found.sum(axis=1), 1)  # each class by itself


def test_extreme_scales_neither_overflow_nor_warn():
    images = np.array([[1.0, 0.0]], dtype=np.float32)
    weights = np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        steep = SimpleNamespace(logit_scale=1e4, logit_bias=None, score="softmax")
        np.testing.assert_array_equal(probabilities(images, weights, steep), [[1.0, 0.0]])
        steep = SimpleNamespace(logit_scale=1e4, logit_bias=-10.0, score="sigmoid")
        np.testing.assert_array_equal(probabilities(images, weights, steep), [[1.0, 0.0]])


# -- predictions ---------------------------------------------------------------------------------


def run(images, weights, top, info=SOFTMAX, names=None):
    names = names or [f"class {i}" for i in range(len(weights))]
    return predict(
        [f"{i}.jpg" for i in range(len(images))],
        images,
        {name: [name] for name in names},
        Encode(dict(zip(names, weights, strict=True))),
        info,
        task="t",
        class_set="c v1",
        templates="p v1",
        top=top,
    )


def test_top_k_is_in_order_with_its_own_probability():
    images, weights = random_units(300, 16), random_units(9, 16, seed=1)
    found = run(images, weights, 5)
    assert list(found.columns) == (
        "image_id task method class_set templates rank label prob".split()
    )
    assert len(found) == 300 * 5 and found["method"].unique().tolist() == ["zero-shot"]
    every = probabilities(images, weights, SOFTMAX)
    for image_id, rows in found.groupby("image_id", sort=False):
        place = int(image_id.split(".")[0])
        best = np.argsort(-every[place])[:5]
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
        assert rows["label"].tolist() == [f"class {j}" for j in best]
        np.testing.assert_allclose(rows["prob"], every[place][best], atol=1e-12)
    assert len(run(images, weights, None)) == len(run(images, weights, 99)) == 300 * 9
    assert len(run(images, weights, 1)) == 300


def test_ties_go_to_the_class_that_is_named_first():
    weights = np.array([[0, 1], [1, 0], [1, 0]], dtype=np.float32)
    found = run(np.array([[1, 0]], dtype=np.float32), weights, None, names=["low", "b", "a"])
    assert found["label"].tolist() == ["b", "a", "low"]
    assert found["prob"][0] == found["prob"][1]


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_probabilities_that_round_to_the_same_are_still_in_order(score):
    steep = SimpleNamespace(logit_scale=2000.0, logit_bias=None, score=score)
    weights = unit(np.array([[-1, 1], [-2, 1], [1, 0], [1, 0.1]])).astype(np.float32)
    found = run(np.array([[1, 0]], dtype=np.float32), weights, None, info=steep)
    assert found["label"].tolist() == ["class 2", "class 3", "class 0", "class 1"]
    assert found["prob"].tolist()[2:] == [0.0, 0.0]


def test_sigmoid_ranks_by_probability():
    images, weights = random_units(40, 16), random_units(5, 16, seed=1)
    found = run(images, weights, 1, info=SIGMOID)
    best = (images @ weights.T).argmax(axis=1)
    assert found["label"].tolist() == [f"class {j}" for j in best]


def test_more_images_than_one_chunk_are_the_same_as_each_alone():
    images, weights = random_units(CHUNK + 3, 4), random_units(3, 4, seed=1)
    whole = run(images, weights, 2)
    tail = run(images[CHUNK - 2 :], weights, 2)
    assert whole["label"].tolist()[-len(tail) :] == tail["label"].tolist()
    np.testing.assert_allclose(whole["prob"][-len(tail) :], tail["prob"], atol=1e-6)


def test_a_photograph_as_in_open_clips_readme(tiny, tiny_face_clip, real):
    """One image, `(scale * image @ text.T).softmax(-1)`, as in open_clip's README."""
    import torch
    from PIL import Image

    from clipeval.embedding.embed import embed_texts, unit_rows
    from clipeval.models import load_model

    model, tokenizer, transform = tiny
    prompts = prompts_for(load_class_set("fairface"), load_templates("photo"), "age")
    picture = Image.open(real / "fairface" / "val" / "1.jpg").convert("RGB")
    pixels = transform(picture).unsqueeze(0)
    with torch.no_grad():
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokenizer([p for (p,) in prompts.values()]), normalize=True)
        expected = (model.logit_scale.exp() * image @ text.T).softmax(dim=-1)[0].numpy()
    ours = load_model(f"local-dir:{tiny_face_clip}", device="cpu")
    matrix = unit_rows(ours.encode_images(pixels).numpy())
    found = predict(
        ["1.jpg"],
        matrix,
        prompts,
        lambda texts: embed_texts(texts, info=ours.info, get_model=lambda: ours),
        ours.info,
        task="age",
        class_set="fairface v1",
        templates="photo v1",
        top=None,
    )
    assert found["label"].tolist() == [list(prompts)[i] for i in np.argsort(-expected)]
    np.testing.assert_allclose(found["prob"], np.sort(expected)[::-1], atol=1e-5)
    assert 14 < ours.info.logit_scale < 16  # its own, far from 100

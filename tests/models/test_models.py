"""Loading: the same numbers as plain open_clip, one sentence for everything that would be wrong."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize as torchvision_resize

from clipeval.errors import ClassSetError, ModelError, SetAside
from clipeval.models import Model, identify_model, load_model, register_loader
from clipeval.models import device as devices

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
SMALL = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a photo of a man", "a photo of a woman", "a photo of a child, smiling"]


def save(folder: Path, config: dict, preprocess: dict | None = None, seed: int = 0):
    """Save a network with random weights as an open_clip folder, and return it."""
    folder.mkdir(exist_ok=True)
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess or {}})
    (folder / CONFIG).write_text(text)
    torch.manual_seed(seed)
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)
    return network


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    save(folder, SMALL)
    return folder


def noise(size: int, n: int = 2):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def plain(folder, images):
    """Features of images and TEXTS by open_clip alone."""
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    network.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    pixels = torch.stack([preprocess(image) for image in images])
    return pixels, network.encode_image(pixels), network.encode_text(tokens), network


def test_tiny_face_clip_equals_plain_open_clip(tiny_face_clip, real):
    images = [Image.open(real / "fairface" / "val" / f"{i}.jpg") for i in range(1, 17)]
    pixels, image, text, network = plain(tiny_face_clip, images)
    model = load_model(f"local-dir:{tiny_face_clip}", device="cpu")
    own = torch.stack([model.preprocess(i) for i in images])
    assert torch.equal(own, pixels)
    got = model.encode_images(own)
    assert got.dtype == torch.float32 and got.shape == (16, 64)
    np.testing.assert_allclose(got, image, atol=1e-6, rtol=0)
    got = model.encode_texts(TEXTS)
    assert got.dtype == np.float32 and got.shape == (3, 64)
    np.testing.assert_allclose(got, text, atol=1e-6, rtol=0)
    trunk = network.visual.trunk(pixels).detach()
    before = model.encode_images(own, features="pre_projection")
    np.testing.assert_allclose(before, trunk, atol=1e-6, rtol=0)
    np.testing.assert_allclose(
        network.visual.head(before.clone()).detach(), image, atol=1e-5, rtol=0
    )
    info = model.info
    assert info.logit_scale == pytest.approx(15.1, abs=0.05)
    assert (info.context_length, info.embed_dim, info.has_text) == (32, 64, True)
    assert (info.score, info.logit_bias, info.activation) == ("softmax", None, "gelu")
    assert (info.model, info.weights) == ("local-dir:tiny-face-clip", WEIGHTS)
    assert str(tiny_face_clip.parent) not in json.dumps(info.to_json())


@pytest.mark.slow
@pytest.mark.thorough
def test_full_size_vit_equals_plain_open_clip(tmp_path):
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    network = save(tmp_path / "vit", config)
    model = load_model(f"local-dir:{tmp_path / 'vit'}", device="cpu")
    by_file = load_model("ViT-B/32-quickgelu", str(tmp_path / "vit" / WEIGHTS), device="cpu")
    pixels = noise(224)
    with torch.no_grad():
        image, text = network.encode_image(pixels), network.encode_text(open_clip.tokenize(TEXTS))
        network.visual.proj = None
        pooled = network.visual(pixels)
    length = image.norm(dim=1).mean()  # single precision on twelve layers: 1e-6 of a unit vector
    for loaded in (model, by_file):
        assert loaded.info.activation == "quickgelu"
        assert loaded.info.preprocess["size"] == [224, 224]
        np.testing.assert_allclose(
            loaded.encode_images(pixels) / length, image / length, atol=1e-6, rtol=0
        )
        np.testing.assert_allclose(loaded.encode_texts(TEXTS), text, atol=1e-6, rtol=0)
    np.testing.assert_allclose(
        model.encode_images(pixels, "pre_projection"), pooled, atol=1e-5, rtol=0
    )
    assert model.encode_images(pixels, "pre_projection").shape == (2, 768)
    # and the projection is back in its place
    np.testing.assert_allclose(
        model.encode_images(pixels) / length, image / length, atol=1e-6, rtol=0
    )
    assert by_file.info.pretrained == WEIGHTS and by_file.info.model == "ViT-B-32-quickgelu"


def test_siglip_is_scored_by_sigmoid_and_reads_lower_case(tmp_path):
    config = {
        **SMALL,
        "quick_gelu": False,
        "custom_text": True,
        "init_logit_bias": -10.0,
        "init_logit_scale": 2.0,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": 160,
        },
        "text_cfg": {**TEXT, "context_length": 16, "pool_type": "last", "no_causal_mask": True},
        "embed_dim": 64,
    }
    network = save(
        tmp_path / "s", config, {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    )
    model = load_model(f"local-dir:{tmp_path / 's'}", device="cpu")
    assert (model.info.score, model.info.logit_bias) == ("sigmoid", -10.0)
    assert model.info.logit_scale == pytest.approx(np.exp(2.0), rel=1e-6)
    assert model.info.preprocess["resize_mode"] == "squash"
    assert model.info.preprocess["mean"] == [0.5, 0.5, 0.5]
    pixels = noise(160)
    with torch.no_grad():
        image = network.encode_image(pixels)
        text = network.encode_text(open_clip.tokenize(TEXTS, context_length=16))
    np.testing.assert_allclose(model.encode_images(pixels), image, atol=1e-6, rtol=0)
    np.testing.assert_allclose(model.encode_texts(TEXTS), text, atol=1e-6, rtol=0)
    # no projection at all: the features before it are the features
    np.testing.assert_allclose(
        model.encode_images(pixels, "pre_projection"), image, atol=1e-6, rtol=0
    )


def test_coca_features_are_not_normalised(tmp_path):
    config = {
        "embed_dim": 64,
        "custom_text": True,
        "vision_cfg": {
            **VISION,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "context_length": 76, "attn_pooler_heads": 2},
    }
    network = save(tmp_path / "coca", config)
    model = load_model(f"local-dir:{tmp_path / 'coca'}", device="cpu")
    pixels = noise(32)
    with torch.no_grad():
        image = network.encode_image(pixels, normalize=False)
        tokens = open_clip.tokenize(TEXTS, context_length=76)
        text = network.encode_text(tokens, normalize=False)
    assert not torch.allclose(image.norm(dim=1), torch.ones(2), atol=0.01)
    np.testing.assert_allclose(model.encode_images(pixels), image, atol=1e-6, rtol=0)
    np.testing.assert_allclose(model.encode_texts(TEXTS), text, atol=1e-6, rtol=0)
    before = model.encode_images(pixels, "pre_projection")
    np.testing.assert_allclose(before @ network.visual.proj.detach(), image, atol=1e-5, rtol=0)


def test_resnets_have_no_features_before_the_projection(tmp_path):
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    network = save(tmp_path / "rn", {**SMALL, "vision_cfg": vision})
    model = load_model(f"local-dir:{tmp_path / 'rn'}", device="cpu")
    with torch.no_grad():
        image = network.encode_image(noise(32))
    np.testing.assert_allclose(model.encode_images(noise(32)), image, atol=1e-6, rtol=0)
    with pytest.raises(ModelError, match="inside the attention pooling.*use features=projected"):
        model.encode_images(noise(32), features="pre_projection")
    with pytest.raises(ModelError, match="features=last is unknown"):
        model.encode_images(noise(32), features="last")


@pytest.mark.parametrize("size", [(301, 77), (90, 200), (33, 32)])
def test_photos_that_are_not_square_are_cut_as_open_clip_cuts_them(small, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    transform = open_clip.create_model_and_transforms(f"local-dir:{small}")[2]
    found = load_model(f"local-dir:{small}", device="cpu").preprocess(image)
    np.testing.assert_allclose(found, transform(image), atol=1e-6)


def test_resize_options_change_the_preprocess(small):
    wide = Image.new("RGB", (200, 100), (255, 255, 255))
    pixels = {}
    for resize in ("model", "letterbox", "squash"):
        model = load_model(f"local-dir:{small}", device="cpu", resize=resize)
        mean, std = (torch.tensor(model.info.preprocess[k]).view(3, 1, 1) for k in ("mean", "std"))
        pixels[resize] = (model.preprocess(wide) * std + mean).mean(0)
        assert pixels[resize].shape == (32, 32)
    white = torch.ones(32, 32)
    assert torch.allclose(pixels["model"], white) and torch.allclose(pixels["squash"], white)
    # all of a 2:1 image, in the middle half of the rows, above and below black
    assert torch.allclose(pixels["letterbox"][8:24], white[8:24], atol=1e-6)
    assert pixels["letterbox"][[0, 7, 24, 31]].abs().max() < 1e-6


@pytest.mark.parametrize(("size", "pixels"), [((301, 77), 20), ((90, 200), 56), ((33, 32), 28)])
def test_images_are_reduced_before_the_models_own_preprocess(small, size, pixels):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    model = load_model(f"local-dir:{small}", device="cpu", resize=str(pixels))
    transform = open_clip.create_model_and_transforms(f"local-dir:{small}")[2]
    how = {"interpolation": InterpolationMode.BICUBIC, "antialias": True}
    expected = transform(torchvision_resize(image, pixels, **how))
    np.testing.assert_allclose(model.preprocess(image), expected, atol=1e-6)
    assert not np.allclose(expected, transform(image), atol=1e-2)
    # an image that has no more pixels than that is shown as it is
    least = load_model(f"local-dir:{small}", device="cpu", resize="32").preprocess(image)
    assert size != (33, 32) or np.array_equal(least, transform(image))


def test_a_reduced_model_is_recognised_without_loading_and_is_another(small, tmp_path):
    name = f"local-dir:{small}"
    loaded = load_model(name, device="cpu", resize="56", cache=tmp_path)
    plain, other = (identify_model(name, resize=r, cache=tmp_path) for r in ("model", "28"))
    assert identify_model(name, resize="56", cache=tmp_path) == loaded.info
    assert len({loaded.info.fingerprint, plain.fingerprint, other.fingerprint}) == 3
    assert loaded.info.resize == "56" and loaded.info.preprocess["reduced_to"] == 56


# -- texts ----------------------------------------------------------------------------------------


def test_no_text_is_ever_truncated(small, tmp_path):
    short = {**SMALL, "text_cfg": {**TEXT, "context_length": 32}}
    save(tmp_path / "short", short)
    model = load_model(f"local-dir:{tmp_path / 'short'}", device="cpu")
    fits, long = " ".join(["word"] * 30), " ".join(["word"] * 39)
    model.check_texts([fits])  # with start and end token 32
    with pytest.raises(ClassSetError, match="needs 33 tokens and this model reads 32; shorten it"):
        model.check_texts([fits + " word"])
    for refuse in (model.check_texts, model.encode_texts):
        with pytest.raises(ClassSetError) as error:
            refuse(["a dog", long])
        assert str(error.value) == (
            'label "word word word word word word word wo ..." needs 41 tokens and this model '
            "reads 32; shorten it."
        )
    load_model(f"local-dir:{small}", device="cpu").check_texts([long])
    assert model.encode_texts([]).shape == (0, 16)
    many = [f"a photo of {i}" for i in range(300)]
    alone = np.concatenate([model.encode_texts([t]) for t in many[250:260]])
    np.testing.assert_allclose(model.encode_texts(many)[250:260], alone, atol=1e-5, rtol=0)


def test_hugging_face_tokenizers_of_a_folder_are_counted_untruncated(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "dog"])}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    folder = tmp_path / "hf"
    folder.mkdir()
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    text = {**TEXT, "context_length": 8, "vocab_size": 8, "hf_tokenizer_name": "some/name"}
    network = save(folder, {**SMALL, "text_cfg": text})
    cache = tmp_path / "cache"
    model = load_model(f"local-dir:{folder}", device="cpu", cache=cache)
    model.check_texts(["a dog a dog a dog"])
    with pytest.raises(ClassSetError, match="needs 9 tokens and this model reads 8"):
        model.check_texts(["a dog a dog a dog a"])
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a dog"])
    assert tokens.tolist() == [[1, 4, 5, 2, 0, 0, 0, 0]]
    with torch.no_grad():
        np.testing.assert_allclose(
            model.encode_texts(["a dog"]), network.encode_text(tokens), atol=1e-6, rtol=0
        )
    # the tokenizer's files are part of what the model is
    assert identify_model(f"local-dir:{folder}", cache=cache) == model.info
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"dog"', '"cat"'))
    assert identify_model(f"local-dir:{folder}", cache=cache) is None
    changed = load_model(f"local-dir:{folder}", device="cpu").info
    assert changed.fingerprint != model.info.fingerprint


# -- fingerprint and recognition ------------------------------------------------------------------


def test_fingerprint_follows_what_changes_an_embedding_and_nothing_else(small, tmp_path):
    def fingerprint(folder, **options):
        return load_model(f"local-dir:{folder}", device="cpu", **options).info.fingerprint

    first = fingerprint(small)
    assert len(first) == 64 and first == fingerprint(small)
    copy = shutil.copytree(small, tmp_path / "copy")
    assert fingerprint(copy) == first
    others = {
        "precision": fingerprint(small, precision="bf16"),
        "letterbox": fingerprint(small, resize="letterbox"),
        "squash": fingerprint(small, resize="squash"),
    }
    save(copy, SMALL, seed=1)
    others["weights"] = fingerprint(copy)
    save(copy, SMALL, {"mean": [0.5, 0.5, 0.5]})
    others["mean"] = fingerprint(copy)
    save(copy, SMALL, {"interpolation": "bilinear"})
    others["interpolation"] = fingerprint(copy)
    save(copy, {**SMALL, "quick_gelu": False})
    others["activation"] = fingerprint(copy)
    assert len({first, *others.values()}) == 1 + len(others)
    save(copy, SMALL)
    assert fingerprint(copy) == first


def test_versions_are_part_of_the_fingerprint_but_not_the_build(monkeypatch):
    from clipeval.models.info import make_info

    fields = {f.name: "" for f in dataclasses.fields(Model.__init__.__globals__["ModelInfo"])}
    del fields["versions"], fields["fingerprint"]

    def fingerprint(torch_version, pillow="11.0"):
        versions = {"torch": torch_version, "pillow": pillow}
        return make_info(config={}, versions=versions, **fields).fingerprint

    assert fingerprint("2.6.0+cpu") == fingerprint("2.6.0+cu126") != fingerprint("2.7.0")
    assert fingerprint("2.6.0") != fingerprint("2.6.0", pillow="11.1")


def test_identify_needs_an_unchanged_folder(small, tmp_path, monkeypatch):
    cache, name = tmp_path / "cache", f"local-dir:{small}"
    assert identify_model(name, cache=cache) is None
    info = load_model(name, device="cpu", cache=cache).info
    assert identify_model(name, cache=cache) == info
    monkeypatch.chdir(tmp_path)
    assert identify_model("local-dir:small", cache=cache) == info
    assert identify_model(name, precision="fp16", cache=cache) is None
    assert identify_model(name, resize="squash", cache=cache) is None
    # the same bytes written again have other times: load and see
    weights = (small / WEIGHTS).read_bytes()
    (small / WEIGHTS).write_bytes(weights)
    assert identify_model(name, cache=cache) is None
    assert load_model(name, device="cpu", cache=cache).info == info
    # another file that would be preferred
    (small / "another.safetensors").write_bytes(weights)
    assert identify_model(name, cache=cache) is None
    load_model(name, device="cpu", cache=cache)
    import clipeval.models.info

    with monkeypatch.context() as other:
        other.setattr(clipeval.models.info, "installed_versions", lambda: {"torch": "0"})
        assert identify_model(name, cache=cache) is None
    (record,) = (cache / "models").glob("*")
    whole = record.read_bytes()
    at = whole.index(b"logit_scale") + len('logit_scale": ')
    for damaged in (whole[:100], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        record.write_bytes(damaged)  # cut short; one bit of the scale, which is still a number
        with pytest.warns(SetAside):
            assert identify_model(name, cache=cache) is None
        assert load_model(name, device="cpu", cache=cache).info == info
        assert identify_model(name, cache=cache) == info
    load_model(name, device="cpu", cache=cache)
    os.remove(small / CONFIG)
    assert identify_model(name, cache=cache) is None


def test_identify_imports_no_torch(small, tmp_path):
    info = load_model(f"local-dir:{small}", device="cpu", cache=tmp_path / "cache").info
    code = (
        "import sys, clipeval.models as m\n"
        f"info = m.identify_model('local-dir:{small}', cache={str(tmp_path / 'cache')!r})\n"
        f"assert info.fingerprint == {info.fingerprint!r}\n"
        "assert m.identify_model('testcard', cache='.').model == 'testcard'\n"
        "heavy = {'torch', 'open_clip', 'timm', 'transformers', 'huggingface_hub'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# -- device and precision -------------------------------------------------------------------------


def test_device_auto_prefers_cuda_then_mps(monkeypatch):
    there = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there["cuda"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    assert devices.choose_device("auto").type == "cpu"
    for name in ("cuda", "mps", "cuda:0"):
        with pytest.raises(ModelError, match=f"device={name} is not available"):
            devices.choose_device(name)
    there["mps"] = True
    assert devices.choose_device("auto").type == "mps"
    there["cuda"] = True
    assert devices.choose_device("auto").type == "cuda"
    assert devices.choose_device("cuda:0").index == 0
    with pytest.raises(ModelError, match="device=cuda:1 is not available"):
        devices.choose_device("cuda:1")
    for name in ("gpu", "meta", ""):
        with pytest.raises(ModelError, match=f"device={name} is unknown"):
            devices.choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(ModelError, match="cannot compute in bf16"):
        devices.check_precision(torch.device("cuda"), "bf16")


def test_unknown_precision_and_resize_are_refused(small):
    with pytest.raises(ModelError, match="precision=fp8 is unknown; use fp32, fp16, bf16"):
        load_model(f"local-dir:{small}", precision="fp8")
    with pytest.raises(ModelError, match="resize=crop is unknown; use model, letterbox, squash"):
        identify_model(f"local-dir:{small}", resize="crop", cache=small)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_lower_precision_is_autocast_over_float32_weights(small, precision, dtype):
    exact = load_model(f"local-dir:{small}", device="cpu")
    model = load_model(f"local-dir:{small}", device="cpu", precision=precision)
    network = open_clip.create_model(f"local-dir:{small}").eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        image, text = (
            network.encode_image(noise(32)),
            network.encode_text(open_clip.tokenize(TEXTS)),
        )
    got = model.encode_images(noise(32))
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got, image.float())
    np.testing.assert_array_equal(model.encode_texts(TEXTS), text.float())
    assert not torch.equal(got, exact.encode_images(noise(32)))
    np.testing.assert_allclose(got, exact.encode_images(noise(32)), atol=0.05)
    assert model.info.precision == precision


def test_fp32_switches_tf32_and_foreign_autocast_off_and_restores_both():
    seen = []

    def encode(pixels):
        state = (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
        seen.append((*state, torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()))
        raise RuntimeError

    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with pytest.raises(RuntimeError), devices.computing(torch.device("cpu"), "fp32"):
                encode(None)
        assert seen == [("highest", False, False, True)]
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 is True
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


# -- what is refused ------------------------------------------------------------------------------


def refused(match, *arguments, **options):
    with pytest.raises(ModelError, match=match) as error:
        load_model(*arguments, device="cpu", **options)
    text = str(error.value)
    assert "\n" not in text and text[-1] in ".?"
    return text


def test_random_weights_are_never_run():
    refused("would run with random weights; give a tag such as openai", "ViT-B-32-quickgelu")
    refused("would run with random weights", "ViT-B-32-quickgelu", "")
    refused("would run with random weights", "timm:resnet10t", "")


def test_wrong_activation_is_refused(small, tmp_path):
    refused("ViT-B-32 with pretrained=openai would run with GELU", "ViT-B-32", "openai")
    refused("use ViT-B-32-quickgelu", "ViT-B/32", "openai")
    for name in ("vit-b-32-openai.safetensors", "b32_400m.safetensors"):
        shutil.copy(small / WEIGHTS, tmp_path / name)
    refused(
        "name openai says that these weights were trained with QuickGELU; use ViT-B-32-quickgelu",
        "ViT-B-32",
        str(tmp_path / "vit-b-32-openai.safetensors"),
    )
    hub = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K" / "snapshots" / "0"
    hub.mkdir(parents=True)
    (hub / WEIGHTS).symlink_to(small / WEIGHTS)
    refused("trained with GELU; use ViT-B-32,", "ViT-B-32-quickgelu", str(hub / WEIGHTS))
    # the same where the configuration is a file, or lies beside the weights: SMALL runs QuickGELU
    refused(
        f"{CONFIG} with {WEIGHTS} would run with QuickGELU", str(small / CONFIG), str(hub / WEIGHTS)
    )
    (hub / CONFIG).write_text((small / CONFIG).read_text())
    refused("would run with QuickGELU, but the name .* trained with GELU", f"local-dir:{hub}")


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        (
            "preprocess_cfg",
            {"interpolation": "nearest"},
            "interpolation 'nearest' is none of bicubic",
        ),
        ("preprocess_cfg", {"resize_mode": "pad"}, "resize_mode 'pad' is none of shortest"),
        ("preprocess_cfg", {"mean": [0.5]}, "mean must be three numbers"),
        ("preprocess_cfg", {"std": ["a", "b", "c"]}, "std must be three numbers"),
        ("preprocess_cfg", "x", "preprocess_cfg is 'x' and no set of names and values"),
        ("vision_cfg", "x", "vision_cfg is 'x' and no set of names and values"),
    ],
)
def test_an_odd_configuration_is_refused(small, tmp_path, part, value, sentence):
    values = json.loads((small / CONFIG).read_text())
    (values["model_cfg"] if part == "vision_cfg" else values)[part] = value
    shutil.copytree(small, tmp_path / "odd")
    (tmp_path / "odd" / CONFIG).write_text(json.dumps(values))
    refused(sentence, f"local-dir:{tmp_path / 'odd'}")


def test_bare_weight_files_and_wrong_folders_are_refused(small, tmp_path):
    refused("is a bare weight file.*give its configuration as model", str(small / WEIGHTS))
    refused(f"is a folder; write local-dir:{small}", str(small))
    refused("does not exist; give a folder", f"local-dir:{tmp_path / 'nowhere'}")
    refused("is a file; give a folder", f"local-dir:{small / CONFIG}")
    refused("brings its own weights", f"local-dir:{small}", "openai")
    refused("the weight file .*gone.pt does not exist", "ViT-B-32", str(tmp_path / "gone.pt"))
    refused("without pretrained would run with random weights", str(small / CONFIG))
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(f"{CONFIG} does not exist", f"local-dir:{empty}")
    (empty / CONFIG).write_text("{")
    refused("cannot be read as JSON", f"local-dir:{empty}")
    (empty / CONFIG).write_text('{"architectures": ["CLIPModel"]}')
    refused("lacks embed_dim, vision_cfg, text_cfg", f"local-dir:{empty}")
    (empty / CONFIG).write_text((small / CONFIG).read_text())
    refused("holds no weights", f"local-dir:{empty}")
    for name in ("a.pt", "b.pt"):
        torch.save({}, empty / name)
    refused(r"several weight files \(a.pt, b.pt\)", f"local-dir:{empty}")
    refused("no model is named ViT-B-3; did you mean ViT-B-32", "ViT-B-3", "openai")


def test_weights_that_do_not_fit_are_refused(small, tmp_path):
    refused("does not fit the model's configuration", "ViT-B-32", str(small / WEIGHTS))
    # position embeddings of another image size would be interpolated by open_clip without a word
    config = {**SMALL, "vision_cfg": {**VISION, "image_size": 48}}
    (small / CONFIG).write_text(json.dumps({"model_cfg": config}))
    refused(
        r"visual.positional_embedding is \(5, 64\) and should be \(10, 64\)", f"local-dir:{small}"
    )
    (small / CONFIG).write_text(json.dumps({"model_cfg": {**SMALL, "init_logit_bias": -10}}))
    refused("logit_bias is missing", f"local-dir:{small}")
    (small / CONFIG).write_text(json.dumps({"model_cfg": {**SMALL, "colour": 1}}))
    refused("open_clip cannot build this model .*colour", f"local-dir:{small}")
    (small / WEIGHTS).write_bytes((small / WEIGHTS).read_bytes()[:1000])
    (small / CONFIG).write_text(json.dumps({"model_cfg": SMALL}))
    refused("cannot be read as weights", f"local-dir:{small}")


def test_weights_without_their_preprocess_are_refused(small):
    """open_clip would run SigLIP weights with CLIP's mean and std."""
    refused("published with another preprocess", "ViT-B-16-SigLIP", str(small / WEIGHTS))


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pt", "epoch_3.pth"])
def test_checkpoints_of_torch_are_opened_safely(small, name):
    expected = load_model(f"local-dir:{small}", device="cpu").encode_images(noise(32))
    network = open_clip.create_model(f"local-dir:{small}")
    os.remove(small / WEIGHTS)
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, small / name)
    for arguments in ((f"local-dir:{small}",), (str(small / CONFIG), str(small / name))):
        model = load_model(*arguments, device="cpu")
        np.testing.assert_array_equal(model.encode_images(noise(32)), expected)
        assert model.info.weights == name


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_malicious_pickles_are_refused_unopened(small, tmp_path):
    os.remove(small / WEIGHTS)
    struck, file = tmp_path / "struck", small / "model.pt"
    torch.save({"state_dict": Bomb(struck)}, file)
    refused("holds more than tensors, and opening it could run any code", f"local-dir:{small}")
    with open(file, "wb") as f:
        pickle.dump(Bomb(struck), f)
    refused("holds more than tensors|cannot be read", f"local-dir:{small}")
    assert not struck.exists()
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(file))
    refused("is a TorchScript archive", f"local-dir:{small}")
    torch.save([1, 2], file)
    refused("holds no state_dict", f"local-dir:{small}")
    # the bomb is a real one
    with open(tmp_path / "bomb", "wb") as f:
        pickle.dump(Bomb(struck), f)
    pickle.loads((tmp_path / "bomb").read_bytes())
    assert struck.exists()


def test_offline_and_not_on_disk_is_said_at_once(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    text = refused("hub cannot be reached", "ViT-B-32-quickgelu", "openai")
    assert "timm/vit_base_patch32_clip_224.openai" in text
    assert "HF_HOME" in text and "local-dir:" in text
    refused("hf-hub:some/model is not on this disk", "hf-hub:some/model")
    refused("timm:resnet10t.* is not on this disk", "timm:resnet10t")
    assert time.perf_counter() - start < 30
    refused("hf-hub:model is not a hub id", "hf-hub:model")
    refused("hf-hub:some/mo del is not a hub id", "hf-hub:some/mo del")
    # a network that does not answer is found out as fast: the hub's own client tries for long
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    start = time.perf_counter()
    refused("hub cannot be reached", "ViT-B-32-quickgelu", "openai")
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("network", ["switched off", "silent"])
def test_tokenizers_and_text_towers_that_are_on_no_disk_are_said_at_once(
    small, tmp_path, monkeypatch, network
):
    """transformers by itself tries for up to a minute, and ends in an error of its own."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", network == "switched off")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    text = {**TEXT, "hf_tokenizer_name": "some/tokenizer"}
    (small / CONFIG).write_text(json.dumps({"model_cfg": {**SMALL, "text_cfg": text}}))
    in_hub_cache(tmp_path / "hub", "some/siglip", [small / CONFIG, small / WEIGHTS])
    began = time.perf_counter()
    refused(f"{small} holds no tokenizer, .* names that of some/tokenizer", f"local-dir:{small}")
    refused("the tokenizer some/tokenizer is not on this disk and the hub", "hf-hub:some/siglip")
    refused("the text tower roberta-base is not on this", "roberta-ViT-B-32", str(small / WEIGHTS))
    assert time.perf_counter() - began < 30


def in_hub_cache(cache: Path, repository: str, files: list[Path]) -> Path:
    """Lay files out as the hub's client keeps them; return the note of the current commit."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    for file in files:
        shutil.copy(file, snapshot / file.name)
    return root / "refs" / "main"


def test_hub_models_come_from_the_cache_without_a_network(small, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    ref = in_hub_cache(tmp_path / "hub", "some/model", [small / CONFIG, small / WEIGHTS])
    cache = tmp_path / "cache"
    model = load_model("hf-hub:some/model", device="cpu", cache=cache)
    local = load_model(f"local-dir:{small}", device="cpu")
    assert (model.info.model, model.info.weights) == ("hf-hub:some/model", "some/model")
    assert model.info.fingerprint == local.info.fingerprint
    assert identify_model("hf-hub:some/model", cache=cache) == model.info
    ref.write_text("1" * 40)  # another commit has been downloaded
    assert identify_model("hf-hub:some/model", cache=cache) is None


def test_tags_run_with_their_own_entry(tmp_path, monkeypatch):
    """A small network stands in for a released one: registered, and in the hub's cache."""
    import huggingface_hub.constants as constants

    config = {**SMALL, "quick_gelu": False}
    network = save(tmp_path / "net", config)
    own = {
        "url": "",
        "hf_hub": "some/tagged/",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    real_config, real_entry = open_clip.get_model_config, open_clip.get_pretrained_cfg
    names = open_clip.list_models()
    monkeypatch.setattr(open_clip, "list_models", lambda: [*names, "tiny"])
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda m: config if m == "tiny" else real_config(m)
    )
    monkeypatch.setattr(
        open_clip, "get_pretrained_cfg", lambda m, t: own if m == "tiny" else real_entry(m, t)
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    in_hub_cache(tmp_path / "hub", "some/tagged", [tmp_path / "net" / WEIGHTS])
    model = load_model("tiny", "mine", device="cpu", cache=tmp_path / "cache")
    assert (model.info.pretrained, model.info.weights) == ("mine", "some/tagged")
    assert model.info.preprocess["interpolation"] == "bilinear"
    assert model.info.preprocess["std"] == [0.25, 0.25, 0.25]
    assert model.preprocess(Image.new("RGB", (64, 32), (255,) * 3)).unique().tolist() == [2.0]
    with torch.no_grad():
        image = network.encode_image(noise(32))
    np.testing.assert_allclose(model.encode_images(noise(32)), image, atol=1e-6, rtol=0)
    assert identify_model("tiny", "mine", cache=tmp_path / "cache") == model.info


# -- backbones and registered loaders -------------------------------------------------------------


@pytest.fixture
def backbone(tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t").eval()
    save_file(network.state_dict(), tmp_path / "resnet10t.safetensors")
    network.reset_classifier(0)
    return network, str(tmp_path / "resnet10t.safetensors")


def test_timm_backbones_encode_images_only(backbone, tmp_path):
    import timm

    network, file = backbone
    model = load_model("timm:resnet10t", file, device="cpu", cache=tmp_path / "cache")
    pixels = noise(176)
    with torch.no_grad():
        expected = network(pixels)
    for features in ("projected", "pre_projection"):
        got = model.encode_images(pixels, features)
        np.testing.assert_allclose(got, expected, atol=1e-6, rtol=0)
    info = model.info
    assert (info.embed_dim, info.has_text, info.context_length) == (512, False, None)
    assert info.pretrained == info.weights == "resnet10t.safetensors"
    photo = Image.fromarray(np.random.randint(0, 256, (300, 200, 3), dtype=np.uint8))
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config, is_training=False)
    assert torch.equal(model.preprocess(photo), transform(photo))
    assert info.preprocess["mean"] == list(config["mean"])
    assert info.preprocess["crop_pct"] == config["crop_pct"]
    for call in (model.encode_texts, model.check_texts):
        with pytest.raises(ModelError, match="reads images only"):
            call(["a dog"])
    assert identify_model("timm:resnet10t", file, cache=tmp_path / "cache") == info
    squash = load_model("timm:resnet10t", file, device="cpu", resize="squash")
    assert squash.info.fingerprint != info.fingerprint
    assert squash.preprocess(photo).shape == model.preprocess(photo).shape


def test_wrong_backbones_and_weights_are_refused(backbone, tmp_path):
    _, file = backbone
    refused("timm has no backbone named resnet10; did you mean", "timm:resnet10")
    refused("timm:resnet10t has no weights named x; use c3_in1k", "timm:resnet10t", "x")
    refused("names its weights and pretrained=a1 names others", "timm:resnet10t.c3_in1k", "a1")
    refused("does not exist", "timm:resnet10t", str(tmp_path / "no.pt"))
    refused("does not fit timm:test_vit", "timm:test_vit", file)
    # one missing tensor is no small matter, whatever timm thinks
    from safetensors.torch import load_file

    state = load_file(file)
    del state["layer1.0.conv1.weight"]
    save_file(state, file)
    refused("does not fit timm:resnet10t", "timm:resnet10t", file)
    del state["fc.weight"], state["fc.bias"]
    save_file(state, file)
    refused("does not fit timm:resnet10t", "timm:resnet10t", file)


@pytest.fixture
def loaders(monkeypatch):
    import clipeval.models.load

    monkeypatch.setattr(clipeval.models.load, "_LOADERS", dict(clipeval.models.load._LOADERS))


def custom(name, pretrained, device, weight=1.0, **more):
    from torchvision.transforms.functional import resize, to_tensor

    return {
        "encode_image": lambda pixels: weight * pixels.mean((2, 3)),
        "encode_text": lambda tokens: tokens[:, :3].float(),
        "preprocess": lambda image: to_tensor(resize(image, [8, 8])),
        "tokenizer": lambda texts: torch.tensor(
            [[*map(len, t.split()), *[0] * 9][:9] for t in texts]
        ),
        "logit_scale": 20.0,
        **more,
    }


def test_registered_loaders(loaders, tmp_path):
    calls = []

    def load(name, pretrained, device):
        calls.append((name, pretrained, device))
        return custom(name, pretrained, device)

    register_loader("mine", load)
    model = load_model("mine:some/name", "v1", device="cpu", cache=tmp_path)
    assert calls == [("some/name", "v1", "cpu")]
    info = model.info
    assert (info.model, info.pretrained, info.logit_scale) == ("mine:some/name", "v1", 20.0)
    assert (info.score, info.embed_dim, info.context_length) == ("softmax", 3, 9)
    np.testing.assert_array_equal(model.encode_texts(["a dog sits"]), [[1, 3, 4]])
    assert model.encode_images(noise(8)).shape == (2, 3)
    with pytest.raises(ClassSetError, match="fills all 9 tokens"):
        model.check_texts(["a b c d e f g h i j"])
    # nothing says which files define it, so it is never recognised without loading
    assert identify_model("mine:some/name", "v1", cache=tmp_path) is None
    assert load_model("mine:some/name", "v1", device="cpu").info == info
    for change in ({"weight": 1.5}, {"encode_text": lambda t: t[:, 1:4].float()}):
        register_loader("mine", lambda *a, change=change: custom(*a, **change))
        changed = load_model("mine:some/name", "v1", device="cpu").info
        assert changed.fingerprint != info.fingerprint
    register_loader("mine", lambda *a: custom(*a, logit_bias=-3.0))
    assert load_model("mine:x", device="cpu").info.score == "sigmoid"
    refused("resize=squash is not offered", "mine:x", resize="squash")
    register_loader("mine", lambda *a: {"encode_image": len, "encode_text": len})
    refused("returned no preprocess, logit_scale, tokenizer", "mine:x")
    register_loader("mine", lambda *a: custom(*a, encode_image=torch.nn.Dropout()))
    refused("encode_image of mine:x is in training mode", "mine:x")
    register_loader("mine", lambda *a: custom(*a, encode_text=None, tokenizer=None))
    assert not load_model("mine:x", device="cpu").info.has_text
    for prefix in ("timm", "hf-hub", "a:b"):
        with pytest.raises(ModelError, match="cannot be registered"):
            register_loader(prefix, load)


def test_testcard_is_one_of_the_loaders():
    model = load_model("testcard", device="cpu")
    assert isinstance(model, Model)
    assert identify_model("testcard", cache=Path(".")) == model.info
    assert load_model("testcard", device="cpu", precision="bf16").info.precision == "bf16"
    assert identify_model("testcard", precision="bf16", cache=Path(".")).precision == "bf16"

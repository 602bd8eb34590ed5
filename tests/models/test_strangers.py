"""Configurations by strangers: no key runs code, no value makes pixels or probabilities that are none."""

import builtins
import dataclasses
import json
import math
import shutil
from contextlib import suppress

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import text_tower, word_tokenizer
from test_models import CONFIG, SMALL, TEXT, VISION, custom, in_hub_cache, refused, save

from clipeval.errors import ModelError
from clipeval.models import Model, load_model, register_loader
from clipeval.models.configuration import KEYS, check_config, read_config, tokenizer_options
from clipeval.models.info import ModelInfo
from clipeval.models.preview import preview
from clipeval.models.tokens import build_tokenizer
from clipeval.models.towers import build_network


@pytest.fixture
def small(tmp_path):
    save(tmp_path / "small", SMALL)
    return tmp_path / "small"


@pytest.fixture
def never_asked(monkeypatch):
    """Nothing reads from the terminal; what would be answered is yes."""
    asked = []
    monkeypatch.setattr(builtins, "input", lambda *text: asked.append(text) or "y")
    yield asked
    assert asked == []


def configure(folder, **parts):
    """Change parts of a folder's configuration."""
    values = json.loads((folder / CONFIG).read_text())
    for part, changes in parts.items():
        place = values["model_cfg"] if part in ("vision_cfg", "text_cfg") else values
        place[part] = place.get(part, {}) | changes
    (folder / CONFIG).write_text(json.dumps(values))


def refused_by_both(match, folder) -> str:
    text = refused(match, f"local-dir:{folder}")
    with pytest.raises(ModelError) as error:
        preview(f"local-dir:{folder}", None)
    assert str(error.value) == text
    return text


# -- keys -----------------------------------------------------------------------------------------


def test_every_bundled_configuration_is_passed_on():
    names = open_clip.list_models()
    assert len(names) > 100
    options = set()
    for name in names:
        config = open_clip.get_model_config(name)
        check_config(config, name)
        given = config["text_cfg"].get("tokenizer_kwargs", {})
        assert tokenizer_options(config["text_cfg"]) == given
        options |= set(given)
    assert options == {"clean", "strip_sep_token"}


def test_every_key_that_is_passed_on_is_one_of_open_clip():
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    kinds = {
        "vision_cfg": CLIPVisionCfg,
        "text_cfg": CLIPTextCfg,
        "multimodal_cfg": MultimodalCfg,
    }
    for part, kind in kinds.items():
        assert KEYS[part] == {field.name for field in dataclasses.fields(kind)}, part


@settings(max_examples=100, deadline=None)
@given(
    where=st.sampled_from(
        ["model_cfg", "vision_cfg", "text_cfg", "tokenizer_kwargs", "act_kwargs"]
    ),
    key=st.text("abcdefghij_ .-é", min_size=1)
    | st.sampled_from(["cache_dir", "bpe_path", "tokenizer_type", "config"]),
    hub=st.booleans(),
)
def test_no_other_key_is_passed_on(where, key, hub):
    config = {"embed_dim": 16, "vision_cfg": dict(VISION), "text_cfg": dict(TEXT)}
    if hub:
        config["text_cfg"]["hf_tokenizer_name"] = "some/tokenizer"
    inner = config["text_cfg"].setdefault(where, {}) if where.endswith("kwargs") else config
    part = config if where == "model_cfg" else inner if where.endswith("kwargs") else config[where]
    known = tokenizer_options.__globals__["_HF_OPTIONS" if hub else "_CLIP_OPTIONS"]
    if key in KEYS.get(where, ()) or (where == "tokenizer_kwargs" and key in known):
        return
    part[key] = True
    with pytest.raises(ModelError) as error:
        check_config(config, CONFIG)
    assert key in str(error.value)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"trust_remote_code": True}, "asks for trust_remote_code, which would run code that came"),
        ({"trust_remote_code": False}, "asks for trust_remote_code"),
        (
            {"tokenizer_file": "/etc/passwd"},
            "tokenizer_kwargs.tokenizer_file is not an option that is",
        ),
        ({"clean": "none"}, "clean is 'none' and must be canonicalize, lower, whitespace"),
        ({"strip_sep_token": "yes"}, "strip_sep_token is 'yes' and must be of type bool"),
        ([1], "tokenizer_kwargs is .1. and no set of names and values"),
    ],
)
def test_options_of_a_tokenizer(small, kwargs, said, never_asked):
    configure(small, text_cfg={"hf_tokenizer_name": "x/y", "tokenizer_kwargs": kwargs})
    refused_by_both(said, small)


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("vision_cfg", {"timm_model_name": "hf-hub:x/y"}, "names another model's configuration"),
        ("vision_cfg", {"timm_model_name": 3}, "timm_model_name is 3 and no name"),
        ("text_cfg", {"hf_model_name": ["x"]}, "hf_model_name is .'x'. and no name"),
        ("text_cfg", {"act_kwargs": {"inplace": True}}, "text_cfg.act_kwargs.inplace"),
        ("vision_cfg", {"norm_kwargs": 3}, "norm_kwargs is 3 and no set of names and values"),
        ("text_cfg", {"hf_trust": True}, "model_cfg.text_cfg.hf_trust, which is not a key that is"),
    ],
)
def test_keys_of_towers(small, part, changes, said):
    configure(small, **{part: changes})
    refused_by_both(said, small)


# -- code -----------------------------------------------------------------------------------------


def tokenizer_with_code(folder, ran):
    """A tokenizer as transformers saves it, which also names a class in a file beside it."""
    word_tokenizer(folder)
    about = {"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import PreTrainedTokenizer\nclass Own(PreTrainedTokenizer): pass\n"
    )


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}])
def test_code_beside_a_tokenizer_is_never_run(small, tmp_path, options, never_asked):
    text = {**TEXT, "vocab_size": 16, "hf_tokenizer_name": "x/y", "tokenizer_kwargs": options}
    save(small, {**SMALL, "text_cfg": {**text, "tokenizer_kwargs": {}}})
    configure(small, text_cfg=text)
    tokenizer_with_code(small, tmp_path / "RAN")
    refused("clipeval never does", f"local-dir:{small}")
    if not options:  # `check` builds the tokenizer itself, to count tokens
        config, folder, _ = preview(f"local-dir:{small}", None)
        with pytest.raises(ModelError, match="would run code that came with it, which clipeval"):
            build_tokenizer(config["text_cfg"], folder)
    assert not (tmp_path / "RAN").exists()
    # the code is there, and transformers alone would run it
    from transformers import AutoTokenizer

    with suppress(NotImplementedError):  # it is no whole tokenizer
        AutoTokenizer.from_pretrained(small, trust_remote_code=True)
    assert (tmp_path / "RAN").exists()


def test_code_beside_a_tokenizer_of_the_hub_is_never_run(small, tmp_path, monkeypatch, never_asked):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    save(small, {**SMALL, "text_cfg": {**TEXT, "vocab_size": 16, "hf_tokenizer_name": "x/words"}})
    (tmp_path / "words").mkdir()
    tokenizer_with_code(tmp_path / "words", tmp_path / "RAN")
    in_hub_cache(tmp_path / "hub", "x/words", list((tmp_path / "words").iterdir()))
    in_hub_cache(tmp_path / "hub", "x/model", list(small.iterdir()))
    refused("would run code that came with it, which clipeval never does", "hf-hub:x/model")
    config, folder, _ = preview("hf-hub:x/model", None)
    with pytest.raises(ModelError, match="would run code that came with it"):
        build_tokenizer(config["text_cfg"], folder)
    assert not (tmp_path / "RAN").exists()


def tower(folder, ran, **changes):
    """A configuration of a text tower that names code of its own."""
    folder.mkdir()
    text_tower(folder, "roberta")
    values = json.loads((folder / "config.json").read_text())
    values["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps(values | changes))
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")


def with_tower(tmp_path):
    text = {"hf_model_name": str(tmp_path / "tower"), "vocab_size": 16, "context_length": 16}
    return {**SMALL, "embed_dim": 16, "custom_text": True, "text_cfg": text}


def test_code_beside_a_text_tower_is_never_run(tmp_path, never_asked):
    tower(tmp_path / "tower", tmp_path / "RAN", model_type="own")
    with pytest.raises(
        ModelError, match="is of the type own, .* no class for, and code that comes"
    ):
        build_network(with_tower(tmp_path), {}, device="meta")
    assert not (tmp_path / "RAN").exists()


def test_a_text_tower_that_transformers_has_a_class_for_is_that(tmp_path, never_asked):
    """And of the hub's kernels none is fetched, which are code too."""
    tower(tmp_path / "tower", tmp_path / "RAN", attn_implementation="some/kernel")
    network = build_network(with_tower(tmp_path), {}, device="meta")
    assert type(network.text.transformer).__name__ == "RobertaModel"
    assert network.text.transformer.config._attn_implementation in ("sdpa", "eager")
    assert not hasattr(network.text.transformer.config, "auto_map")
    assert not (tmp_path / "RAN").exists()
    shutil.rmtree(tmp_path / "tower")
    tower(tmp_path / "tower", tmp_path / "RAN")
    (tmp_path / "tower" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="text tower .* cannot be read"):
        build_network(with_tower(tmp_path), {}, device="meta")


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        (
            "preprocess_cfg",
            {"mean": [math.nan] * 3},
            "mean is .nan, nan, nan., which would leave no",
        ),
        ("preprocess_cfg", {"mean": [0.5, math.inf, 0.5]}, "mean is .0.5, inf, 0.5., which would"),
        ("preprocess_cfg", {"mean": [0.5, 10**400, 0.5]}, "which would leave no pixel a number"),
        ("preprocess_cfg", {"std": [0.2, math.nan, 0.2]}, "std is .0.2, nan, 0.2., which would"),
        ("preprocess_cfg", {"std": [0.2, 0, 0.2]}, "std is .0.2, 0.0, 0.2., and pixels are"),
        ("preprocess_cfg", {"std": [0.2, 0.2, -0.2]}, "each must be above 0"),
        ("preprocess_cfg", {"std": [True] * 3}, "std must be three numbers"),
        ("preprocess_cfg", {"fill_color": math.nan}, "fill_color is nan and must be one or three"),
        ("preprocess_cfg", {"fill_color": 256}, "fill_color is 256"),
        ("vision_cfg", {"image_size": 1_000_000}, "image_size is .1000000, 1000000. and must be"),
        ("vision_cfg", {"image_size": 0}, "whole numbers from 1 to 4,096"),
        ("vision_cfg", {"image_size": [224, -1]}, "image_size is .224, -1."),
        ("vision_cfg", {"image_size": 224.5}, "image_size is .224.5, 224.5."),
        ("vision_cfg", {"image_size": "224"}, "image_size is .'224', '224'."),
    ],
)
def test_a_preprocess_that_makes_no_picture(small, part, changes, said):
    configure(small, **{part: changes})
    refused_by_both(said, small)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats() | st.integers(), min_size=3, max_size=3), std=st.booleans())
def test_any_mean_and_std_leave_numbers_or_are_refused(values, std, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / CONFIG
    name = "std" if std else "mean"
    path.write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {name: values}}))
    fine = all(math.isfinite(float(v)) and (v > 0 or not std) for v in values)
    if fine:
        assert read_config(path)[1][name] == [float(v) for v in values]
    else:
        with pytest.raises(ModelError, match=f"{name} (is|must be)"):
            read_config(path)


@pytest.fixture
def loaders(monkeypatch):
    import clipeval.models.load

    monkeypatch.setattr(clipeval.models.load, "_LOADERS", dict(clipeval.models.load._LOADERS))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"logit_scale": math.nan}, "the loader of mine:x has the logit scale nan"),
        ({"logit_scale": math.inf}, "logit scale inf, .* was it exponentiated twice"),
        ({"logit_scale": torch.tensor(100.0).exp()}, "exponentiated twice"),
        ({"logit_scale": 2.7e43}, "logit scale 2.7e.43, .* was it exponentiated twice"),
        ({"logit_scale": 0.0}, "logit scale 0, .* is it the logarithm"),
        ({"logit_scale": -2.3}, "logit scale -2.3, .* must be a number above 0 and at most 1,000"),
        ({"logit_scale": torch.ones(2)}, "logit_scale of mine:x is tensor.* and not one number"),
        ({"logit_scale": "much"}, "logit_scale of mine:x is 'much' and not one number"),
        ({"logit_bias": math.nan}, "the loader of mine:x has the logit bias nan"),
        ({"logit_bias": torch.ones(2)}, "logit_bias of mine:x is tensor"),
        (
            {"encode_image": lambda pixels: pixels.mean((2, 3)) * math.nan},
            "encode_image of mine:x returned NaN or infinite values; its weights probably",
        ),
        (
            {"encode_text": lambda tokens: tokens[:, :3].float() / 0},
            "encode_text of mine:x returned NaN or infinite values",
        ),
        (
            {"preprocess": lambda image: torch.full((3, 8, 8), math.nan)},
            "preprocess of mine:x returned NaN or infinite values; its mean and std",
        ),
        (
            {"preprocess": lambda image: torch.zeros(3, 1, 5000)},
            r"made a picture of \(1, 5000\) pixels, and 4,096 a side are the most",
        ),
    ],
)
def test_what_a_loader_of_a_users_own_returns(loaders, changes, said):
    register_loader("mine", lambda *a: custom(*a, **changes))
    refused(said, "mine:x")


@pytest.mark.parametrize("scale", [100, torch.tensor([20.0]), 1e-3, 1000.0])
def test_usable_scales_of_a_loader(loaders, scale):
    register_loader("mine", lambda *a: custom(*a, logit_scale=scale))
    assert load_model("mine:x", device="cpu").info.logit_scale == float(scale)


def test_a_model_and_a_record_hold_usable_scalars_only(small):
    """Whoever made them: a loader that returns a Model, a record or a pack that was damaged."""
    model = load_model(f"local-dir:{small}", device="cpu")
    for change, said in (
        ({"logit_scale": math.nan}, "has the logit scale nan"),
        ({"logit_scale": None}, "has the logit scale None"),
        ({"logit_bias": -math.inf}, "has the logit bias -inf"),
    ):
        with pytest.raises(ModelError, match=f"the record of local-dir:small {said}"):
            ModelInfo.from_json(model.info.to_json() | change)
        info = dataclasses.replace(model.info, **change)
        with pytest.raises(ModelError, match=said):
            Model(info, device="cpu", preprocess=None, encode_image=None)

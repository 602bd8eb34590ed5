"""Checkpoints as training leaves them: the same numbers as plain open_clip's, or one sentence with the cause."""

import hashlib
import json
import math
import re
import shutil

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_models import CONFIG, SMALL, TEXTS, WEIGHTS, noise, refused, save

from clipeval.errors import ModelError
from clipeval.models import identify_model, load_model
from clipeval.models.fit import fitting
from clipeval.models.preview import preview

INTEGERS = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Folder and network that all forms are made of; its features by plain open_clip."""
    folder = tmp_path_factory.mktemp("source")
    network = save(folder, SMALL)
    with torch.no_grad():
        image = network.encode_image(noise(32))
        text = network.encode_text(open_clip.tokenize(TEXTS))
    return folder, {k: v.clone() for k, v in network.state_dict().items()}, image, text


@pytest.fixture
def folder(tmp_path, source):
    (tmp_path / "run").mkdir()
    shutil.copy(source[0] / CONFIG, tmp_path / "run")
    return tmp_path / "run"


def same(model, source) -> bool:
    _, _, image, text = source
    return np.array_equal(model.encode_images(noise(32)), image) and np.array_equal(
        model.encode_texts(TEXTS), text
    )


def refused_by_both(match, folder, **options) -> str:
    """`check` and the run refuse it with the same sentence."""
    text = refused(match, f"local-dir:{folder}", **options)
    with pytest.raises(ModelError) as error:
        preview(f"local-dir:{folder}", None, **options)
    assert str(error.value) == text
    return text


def prefixed(state, *prefixes):
    return {"".join(prefixes) + k: v for k, v in state.items()}


FORMS = {
    "module.": lambda s: prefixed(s, "module."),
    "_orig_mod.": lambda s: prefixed(s, "_orig_mod."),
    "model.": lambda s: {"state_dict": prefixed(s, "model."), "epoch": 1, "global_step": 9},
    "clip_model.": lambda s: prefixed(s, "clip_model."),
    "ddp of compiled": lambda s: {"state_dict": prefixed(s, "module.", "_orig_mod.")},
    "compiled ddp": lambda s: {"state_dict": prefixed(s, "_orig_mod.", "module.")},
    "lightning of ddp": lambda s: {"state_dict": prefixed(s, "model.", "module.")},
    "model": lambda s: {"model": s, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda s: {"model_state_dict": s, "epoch": 1},
    "deepspeed": lambda s: {"module": s, "ds_version": "0.1"},
    "nested": lambda s: {"state_dict": {"model": prefixed(s, "module.")}},
    "integers of a JIT archive": lambda s: s | {k: torch.tensor(v) for k, v in INTEGERS.items()},
    "scale of one dimension": lambda s: s | {"logit_scale": s["logit_scale"].reshape(1)},
    "averaged alone": lambda s: {"state_dict_ema": s, "epoch": 1},
    "averaged of ddp": lambda s: {"model_ema": {"module": prefixed(s, "module.")}},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_training_loads_bit_for_bit(form, folder, source):
    file = "last.ckpt" if form.startswith("lightning") else "epoch_1.pt"
    torch.save(FORMS[form](source[1]), folder / file)
    preview(f"local-dir:{folder}", None)
    model = load_model(f"local-dir:{folder}", device="cpu")
    assert same(model, source)
    averaged = form.startswith("averaged")
    assert model.info.weights == (f"{file} ema" if averaged else file)
    by_file = load_model(str(folder / CONFIG), str(folder / file), device="cpu")
    assert by_file.info.fingerprint == model.info.fingerprint


def test_older_files_of_torch_load_too(folder, source):
    torch.save(source[1], folder / "a.pt", _use_new_zipfile_serialization=False)
    assert same(load_model(f"local-dir:{folder}", device="cpu"), source)


def test_a_prefix_that_some_names_lack_is_part_of_the_names(folder, source):
    state = prefixed(source[1], "model.") | {"head.weight": torch.zeros(2, 2)}
    torch.save({"state_dict": state}, folder / "a.pt")
    text = refused_by_both("does not fit the model's configuration", folder)
    assert "none of its names is one of this model (model.positional_embedding is its" in text


def test_one_tower_alone_is_named_as_a_part(folder, source):
    state = {k: v for k, v in source[1].items() if k.startswith("visual.")}
    torch.save(state, folder / "a.pt")
    text = refused_by_both("does not fit the model's configuration", folder)
    assert f"it holds {len(state)} of the model's {len(source[1])} tensors: save the" in text


def test_names_that_are_no_text_and_dicts_that_hold_themselves(folder):
    torch.save({"state_dict": {0: torch.zeros(2)}}, folder / "a.pt")
    refused_by_both("holds no state_dict of tensors", folder)
    loop = {}
    loop["state_dict"] = loop
    torch.save(loop, folder / "a.pt")
    refused_by_both("holds no state_dict of tensors", folder)


# -- raw and averaged -----------------------------------------------------------------------------


def by_hand(info, model_cfg, **config) -> str:
    """The fingerprint as released versions compute it, written down again."""
    keyed = {
        "config": {"model_cfg": model_cfg, "tokenizer": {}} | config,
        "weights_sha256": info.weights_sha256,
        "activation": info.activation,
        "preprocess": info.preprocess,
        "precision": "fp32",
        "resize": "model",
        "versions": {name: version.split("+")[0] for name, version in info.versions.items()},
        "format": 1,
    }
    return hashlib.sha256(json.dumps(keyed, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("averaged", ["state_dict_ema", "ema", "model_ema"])
def test_raw_or_averaged_is_asked_for_and_recorded(averaged, folder, source, tmp_path):
    raw = {k: 0.5 * v if v.is_floating_point() else v for k, v in source[1].items()}
    raw["logit_scale"] = source[1]["logit_scale"]
    torch.save({"state_dict": raw, averaged: source[1], "epoch": 3}, folder / "epoch_3.pt")
    name, cache = f"local-dir:{folder}", tmp_path / "cache"
    text = refused_by_both("holds weights .state_dict. and a running average of them", folder)
    assert text.endswith("say which with weights=raw or weights=ema.")
    ema = load_model(name, weights="ema", device="cpu", cache=cache)
    assert same(ema, source) and ema.info.weights == "epoch_3.pt ema"
    first = load_model(name, weights="raw", device="cpu", cache=cache)
    assert not same(first, source) and first.info.weights == "epoch_3.pt raw"
    network = open_clip.create_model(f"local-dir:{source[0]}").eval()
    network.load_state_dict(raw)
    with torch.no_grad():
        assert torch.equal(first.encode_images(noise(32)), network.encode_image(noise(32)))
    # the fingerprint of what loaded before `weights` was known has not changed
    assert first.info.fingerprint == by_hand(first.info, SMALL)
    assert ema.info.fingerprint == by_hand(ema.info, SMALL, weights="ema")
    assert identify_model(name, weights="ema", cache=cache) == ema.info
    assert identify_model(name, weights="raw", cache=cache) == first.info
    assert identify_model(name, cache=cache) is None
    assert (ema.info.pretrained, first.info.pretrained) == ("ema", "raw")


def test_a_plain_folder_has_the_fingerprint_of_released_versions(source):
    info = load_model(f"local-dir:{source[0]}", device="cpu").info
    assert info.fingerprint == by_hand(info, SMALL)
    raw = load_model(f"local-dir:{source[0]}", weights="raw", device="cpu").info
    assert raw == info


def test_what_a_checkpoint_lacks_is_not_replaced_by_the_other(folder, source):
    torch.save({"state_dict": source[1]}, folder / "a.pt")
    refused_by_both("a.pt holds no averaged weights; leave weights=ema out", folder, weights="ema")
    torch.save({"state_dict_ema": source[1]}, folder / "a.pt")
    refused_by_both("a.pt holds averaged weights alone; leave", folder, weights="raw")
    refused("weights=both is unknown; use raw or ema", f"local-dir:{folder}", weights="both")
    refused("weights=ema is not offered for testcard", "testcard", weights="ema")


# -- several files --------------------------------------------------------------------------------


def shards(folder, state, name="model"):
    folder.mkdir(exist_ok=True)
    names = sorted(state)
    files = [f"{name}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for i, file in enumerate(files):
        save_file({k: state[k] for k in names[i::2]}, folder / file)
    where = {k: files[i % 2] for i, k in enumerate(names)}
    index = folder / f"{name}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


def test_shards_are_read_by_their_index(folder, source, tmp_path):
    index = shards(folder, source[1])
    name, cache = f"local-dir:{folder}", tmp_path / "cache"
    model = load_model(name, device="cpu", cache=cache)
    assert same(model, source)
    lines = [
        f"{hashlib.sha256((folder / f).read_bytes()).hexdigest()}  {f}\n"
        for f in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    ]
    assert model.info.weights_sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    pair = (str(folder / CONFIG), str(index))
    by_file = load_model(*pair, device="cpu", cache=cache)
    assert by_file.info.fingerprint == model.info.fingerprint
    # every shard is part of what the model is
    assert identify_model(name, cache=cache) == model.info
    assert identify_model(*pair, cache=cache) == by_file.info
    changed = {k: 2 * v if v.ndim == 4 else v for k, v in source[1].items()}
    first = folder / "model-00001-of-00002.safetensors"
    index_state = index.stat().st_mtime_ns
    shards(folder.with_name("other"), changed)
    first.write_bytes((folder.with_name("other") / first.name).read_bytes())
    second = folder / "model-00002-of-00002.safetensors"
    second.write_bytes((folder.with_name("other") / second.name).read_bytes())
    assert index.stat().st_mtime_ns == index_state
    assert identify_model(name, cache=cache) is None and identify_model(*pair, cache=cache) is None
    assert load_model(name, device="cpu").info.fingerprint != model.info.fingerprint


def test_shards_that_are_not_all_there(folder, source):
    index = shards(folder, source[1])
    second = folder / "model-00002-of-00002.safetensors"
    text, content = index.read_text(), second.read_bytes()
    second.unlink()
    refused_by_both("names model-00002-of-00002.safetensors, which is not beside it", folder)
    index.unlink()
    second.write_bytes(content)
    refused_by_both("in shards .* without the index .* put model.safetensors.index.json", folder)
    index.write_text(text.replace("model-00002", "../model-00002"))
    refused_by_both("the shards must be files beside it", folder)
    index.write_text("[]")
    refused_by_both("cannot be read as the index of weights in shards", folder)
    index.write_text(text)
    shutil.copy(second, folder / "model-00001-of-00002.safetensors")
    refused_by_both("and another shard both hold", folder)


def test_a_preferred_file_still_comes_before_shards(folder, source):
    save_file(source[1], folder / WEIGHTS)
    before = load_model(f"local-dir:{folder}", device="cpu").info
    shards(folder, {k: 2 * v for k, v in source[1].items()})
    torch.save(source[1], folder / "last.ckpt")
    assert load_model(f"local-dir:{folder}", device="cpu").info == before


def test_of_several_epochs_one_is_asked_for_and_the_mend_works(folder, source):
    for name in ("epoch_2.pt", "epoch_10.pt", "epoch_latest.pt"):
        torch.save(source[1], folder / name)
    text = refused_by_both("several weight files", folder)
    assert "(epoch_2.pt, epoch_10.pt, epoch_latest.pt)" in text
    model, pretrained = re.search(r"model=(\S+) and pretrained=(\S+)\.$", text).groups()
    assert same(load_model(model, pretrained, device="cpu"), source)


# -- what is no model -----------------------------------------------------------------------------


def test_adapters_are_to_be_merged_first(folder, source):
    key = "transformer.resblocks.0.mlp.c_fc"
    pair = {f"base_model.model.{key}.lora_{x}.weight": torch.zeros(4, 4) for x in "AB"}
    save_file(pair, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    text = refused_by_both("adapter_model.safetensors is an adapter", folder)
    assert "merge it first" in text
    # and a model that still has one inside
    (folder / "adapter_model.safetensors").unlink()
    inside = source[1] | {f"{key}.lora_A.default.weight": torch.zeros(4, 64)}
    torch.save(inside, folder / "a.pt")
    refused_by_both("a.pt is an adapter", folder)


def test_a_file_under_the_name_of_another_format(folder, source):
    torch.save(source[1], folder / WEIGHTS)
    refused_by_both("is a file of torch.save by its content; rename it .* ends in .pt", folder)
    (folder / WEIGHTS).unlink()
    save_file(source[1], folder / "a.pt")
    refused_by_both("is a safetensors file by its content; rename it", folder)
    (folder / "a.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused_by_both("the note that Git LFS keeps in place of the weights; .*git lfs pull", folder)


@pytest.mark.parametrize("length", [19280, 640])
def test_a_safetensors_file_whose_header_begins_like_another_format_loads(length, folder, source):
    """A header of 19,280 bytes begins with the bytes of a zip archive, one of 640 with a pickle's."""
    save_file(source[1], folder / WEIGHTS)
    data = (folder / WEIGHTS).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if length == 640:  # too short for all names: it is enough that the format is recognised
        header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        data = b"\0" * 8 + b"\0" * 4
        body = data[8:]
    else:
        body = data[8 + int.from_bytes(data[:8], "little") :]
    text = json.dumps(header).encode().ljust(length)
    assert len(text) == length
    (folder / WEIGHTS).write_bytes(length.to_bytes(8, "little") + text + body)
    if length == 640:
        refused_by_both("none of its names is one of this model", folder)
    else:
        assert same(load_model(f"local-dir:{folder}", device="cpu"), source)


# -- numbers that are none ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers(value, dtype, folder, source):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source[1].items()}
    torch.save(state, folder / "a.pt")
    preview(f"local-dir:{folder}", None)
    load_model(f"local-dir:{folder}", device="cpu")
    key = "transformer.resblocks.0.attn.in_proj_weight"
    state[key] = state[key].clone()
    state[key][3, 5] = value
    torch.save(state, folder / "a.pt")
    text = refused_by_both("a.pt holds (NaN|infinite values) in transformer.resblocks.0", folder)
    assert ("NaN" in text) == math.isnan(value)
    assert "(1 of its " in text and "training diverged" in text and "precision" not in text


def test_a_backbone_is_held_to_the_same(tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t").eval()
    state = {k: v.clone() for k, v in network.state_dict().items()}
    file, name = tmp_path / "a.pt", "timm:resnet10t"
    torch.save({"state_dict": prefixed(state, "_orig_mod."), "state_dict_ema": state}, file)
    refused("say which with weights=raw or weights=ema", name, str(file))
    raw = load_model(name, str(file), weights="raw", device="cpu")
    ema = load_model(name, str(file), weights="ema", device="cpu")
    network.reset_classifier(0)
    with torch.no_grad():
        expected = network(noise(176))
    assert torch.equal(raw.encode_images(noise(176)), expected)
    assert torch.equal(ema.encode_images(noise(176)), expected)
    assert raw.info.fingerprint != ema.info.fingerprint
    assert (raw.info.weights, ema.info.weights) == ("a.pt raw", "a.pt ema")
    state["layer1.0.conv1.weight"][0] = math.nan
    torch.save(state, file)
    refused("a.pt holds NaN in layer1.0.conv1.weight", name, str(file))


@pytest.fixture(scope="module")
def network(source):
    return open_clip.create_model(f"local-dir:{source[0]}")


@settings(max_examples=200, deadline=None)
@given(stored=st.one_of(st.floats(), st.floats(-12, 12), st.sampled_from([100.0, 1000.0, 14.3])))
def test_any_stored_scale_is_applied_or_refused_with_its_cause(stored, network, source):
    with np.errstate(over="ignore", under="ignore"):
        stored = float(np.float32(stored))
        applied = float(np.exp(np.float32(stored)))
    if math.isclose(applied, 1000, rel_tol=1e-5):
        return
    state = source[1] | {"logit_scale": torch.tensor(stored)}
    if 0 < applied <= 1000:
        assert fitting(network, state, "a.pt")["logit_scale"].item() == stored
        return
    with pytest.raises(ModelError) as error:
        fitting(network, state, "a.pt")
    text = str(error.value)
    assert text.startswith("a.pt stores the logit scale ") and text.endswith(".")
    assert ("was it stored without its logarithm?" in text) == (1 < stored <= 1000)
    if stored == 100:
        assert "Then save it as log(100) = 4.605." in text  # math.log(100) = 4.60517


@pytest.mark.parametrize("bias", [-10.0, -16.5, 0.0, 3.0, math.nan, math.inf])
def test_a_bias_is_a_number(bias, folder, source):
    values = json.loads((folder / CONFIG).read_text())
    values["model_cfg"]["init_logit_bias"] = -10
    (folder / CONFIG).write_text(json.dumps(values))
    torch.save(source[1] | {"logit_bias": torch.tensor(bias)}, folder / "a.pt")
    if math.isfinite(bias):
        assert load_model(f"local-dir:{folder}", device="cpu").info.logit_bias == bias
    else:
        refused_by_both("has the logit bias (nan|inf), which must be a finite number", folder)

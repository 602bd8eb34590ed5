"""Loaders of a user's own, by file, module and entry point, through the command line and its forked notebooks."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from records import study_json
from test_models import TEXTS, custom, refused

from clipeval.errors import ParameterError
from clipeval.files import Folder
from clipeval.models import load_model, register_loader
from clipeval.models.info import ModelInfo
from clipeval.output.provenance import pathless
from clipeval.runs.profiles import plan_run
from clipeval.session.run_folder import refuse_mixing

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
LOADER = """
import torch
from torchvision.transforms.functional import resize, to_tensor

def load(name, pretrained, device):
    factor = float(name or 1)
    return {
        "encode_image": lambda pixels: factor * pixels.flatten(1),
        "encode_text": lambda tokens: tokens[:, :48].float(),
        "preprocess": lambda image: to_tensor(resize(image, [4, 4])),
        "tokenizer": lambda texts: torch.tensor([[*map(ord, t), *[0] * 99][:99] for t in texts]),
        "logit_scale": 20.0,
    }
"""


@pytest.fixture
def loader(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(LOADER)
    return path


def test_a_file_a_module_and_a_name(loader, monkeypatch):
    model = load_model(f"python:{loader}:load", device="cpu")
    assert (model.info.model, model.info.embed_dim) == ("python:mine.py:load", 48)
    assert load_model(f"python:{loader}:load", device="cpu").info == model.info
    monkeypatch.syspath_prepend(str(loader.parent))
    named = load_model("python:mine:load:3", device="cpu")
    assert named.info.model == "python:mine:load:3"
    pixels = torch.rand(2, 3, 4, 4)
    assert torch.equal(named.encode_images(pixels), 3 * model.encode_images(pixels))
    assert named.info.fingerprint != model.info.fingerprint
    # the file is part of what the model is, even where its numbers stay the same
    loader.write_text(LOADER + "# another comment\n")
    changed = load_model(f"python:{loader}:load", device="cpu").info
    assert changed.fingerprint != model.info.fingerprint
    # nor does it go into a run folder beside what it was, which the same again does
    content = study_json(model=model.info.to_json(), parameters={"model": "python:mine.py:load"})
    Folder(loader.parent / "run/fairface").write("study.json", json.dumps(content))
    given = {"model": f"python:{loader}:load", "dataset": "manifest"}
    plan = plan_run(["congress"], "", given, str(loader.parent / "run"))
    refuse_mixing(loader.parent / "run", plan, model.info)
    with pytest.raises(ParameterError) as refusal:
        refuse_mixing(loader.parent / "run", plan, changed)
    was, now = (info.fingerprint[:12] for info in (model.info, changed))
    assert f"python:mine.py:load with other features (sha256 {was}, now {now})" in str(
        refusal.value
    )
    coarse = load_model(f"python:{loader}:load", device="cpu", precision="bf16").info
    refuse_mixing(loader.parent / "run", plan, coarse)  # in another precision none can be told
    # no file of weights is known: reports name what the model does, and tell the two apart
    assert changed.weights_text == f"features sha256 {changed.fingerprint[:12]}"
    assert changed.weights_id != model.info.weights_id
    assert changed == ModelInfo.from_json(changed.to_json())


def test_paths_stay_on_this_machine():
    assert pathless("python:/home/me/mine.py:load:/data/model") == "python:mine.py:load:model"
    assert pathless("python:mine.py:load:/data/model") == "python:mine.py:load:model"
    assert pathless("python:mine:load") == "python:mine:load"


def test_loaders_that_cannot_be_found(loader, tmp_path):
    refused("python:mine.py names no loader; write python:FILE.py:FUNCTION", "python:mine.py")
    refused(f"{tmp_path}/no.py does not exist", f"python:{tmp_path}/no.py:load")
    refused(f"{loader} has no function lod", f"python:{loader}:lod")
    refused("no_such_module cannot be imported .ModuleNotFoundError", "python:no_such_module:load")
    loader.write_text("1 / 0")
    refused("cannot be imported .ZeroDivisionError: division by zero", f"python:{loader}:load")


def test_what_is_no_tensor_is_refused(monkeypatch):
    import clipeval.models.load

    monkeypatch.setattr(clipeval.models.load, "_LOADERS", dict(clipeval.models.load._LOADERS))
    parts = {
        "encode_image": (lambda pixels: {"pooler_output": pixels}, "a dict and not a tensor .n, d"),
        "encode_text": (lambda tokens: tokens.float()[..., None], "a tensor of 3 dimensions and"),
        "tokenizer": (lambda texts: [[1, 2]], "a list and not a tensor .n, length"),
        "preprocess": (np.asarray, "a ndarray and not a tensor .3, height, width"),
    }
    for part, (function, said) in parts.items():
        register_loader("mine", lambda *a, new={part: function}: custom(*a, **new))
        refused(f"{part} of mine:x returned {said}", "mine:x")


def clipeval(tmp_path, *arguments, **more) -> subprocess.CompletedProcess:
    environment = os.environ | {"CLIPEVAL_CACHE": str(tmp_path / "cache")} | more
    command = [sys.executable, "-m", "clipeval", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)


def faces(real, model, *more):
    given = {"dataset": "fairface", "data": real / "fairface", "limit": 12, "workers": 0}
    given |= {"methods": "zero-shot", "model": model, "device": "cpu"}
    return ["fairface", *more, *(x for k, v in given.items() for x in ("-p", f"{k}={v}"))]


@pytest.mark.slow
@pytest.mark.thorough
def test_the_command_line_finds_a_file_and_its_notebook_does(loader, real, tmp_path):
    model = "python:mine.py:load"
    done = clipeval(tmp_path, "check", *faces(real, model, "--out", tmp_path / "run"))
    assert done.returncode == 0 and "model: python:mine.py:load" in done.stdout, done.stderr
    done = clipeval(tmp_path, "run", *faces(real, model, "--out", tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "fairface" / "study.json").read_text())
    assert record["model"]["model"] == model and record["encoded"] == 12
    done = clipeval(tmp_path, "check", *faces(real, "python:mine.py:lod"))
    assert done.returncode == 2 and "mine.py has no function lod" in done.stderr


@pytest.mark.slow
@pytest.mark.thorough
def test_an_entry_point_of_an_installed_package(loader, real, tmp_path):
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[clipeval.loaders]\nmine = mine:load\nbad = mine:no_such\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = clipeval(tmp_path, "embed", *faces(real, "mine:2"), **path)
    assert done.returncode == 0 and "12 of them new" in done.stdout, done.stderr
    done = clipeval(tmp_path, "check", *faces(real, "bad:2"), **path)
    assert done.returncode == 2 and "mine:no_such, the loader of bad, cannot be" in done.stderr


def checkpoint(folder: Path):
    """A small CLIP of transformers with random weights and CLIP's own words, as it is saved."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    small |= {"num_hidden_layers": 1, "projection_dim": 16}
    text = small | {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    vision = small | {"image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    words = SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {ends.get(word, word): i for word, i in words.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = [" ".join(pair) for pair, _ in sorted(words.bpe_ranks.items(), key=lambda i: i[1])]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    return model


def test_the_loader_of_the_documentation_loads_clip_of_transformers(tmp_path, real):
    import open_clip

    text = DOCS.read_text("utf-8")
    block = re.search(r"(    from transformers import .*?\n        }\n)", text, re.S)[1]
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    (tmp_path / "hf_clip.py").write_text(textwrap.dedent(block))
    plain = checkpoint(tmp_path / "clip")
    refused("is a checkpoint of transformers and not of open_clip", f"local-dir:{tmp_path}/clip")
    model = load_model(f"python:{tmp_path}/hf_clip.py:load:{tmp_path}/clip", device="cpu")
    assert model.info.model == "python:hf_clip.py:load:clip"
    assert model.info.logit_scale == pytest.approx(plain.logit_scale.exp().item())
    tokens = open_clip.tokenize(TEXTS)
    tokens[tokens == 0] = 49407  # transformers fills up with the end token
    photo = Image.open(real / "fairface" / "val" / "1.jpg").convert("RGB")
    pixels = model.preprocess(photo)[None]
    from torchvision.transforms import v2

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    steps = [v2.PILToTensor(), v2.Resize(32, interpolation=3, antialias=True), v2.CenterCrop(32)]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    assert (pixels[0] - v2.Compose(steps)(photo)).abs().max() < 0.05
    with torch.no_grad():
        image = plain.visual_projection(plain.vision_model(pixels).pooler_output)
        words = plain.text_projection(plain.text_model(tokens).pooler_output)
    np.testing.assert_allclose(model.encode_images(pixels), image, atol=1e-6, rtol=0)
    np.testing.assert_allclose(model.encode_texts(TEXTS), words, atol=1e-6, rtol=0)
    with pytest.raises(Exception, match="fills all 77 tokens that this model reads"):
        model.check_texts(["word " * 90])

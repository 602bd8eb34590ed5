"""Other runtimes are used where vectors and top labels are those of torch as it is, refused elsewhere, never mixed."""

import ast
import importlib.util
import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipeval.errors import ModelError, ParameterError
from clipeval.models import identify_model, load_model, runtimes
from clipeval.models.info import ModelInfo, installed_versions, make_info
from clipeval.models.model import Model
from clipeval.models.runtimes import check_runtime, run_by, with_runtime
from clipeval.models.testcard import testcard_info as card_info
from clipeval.session.inputs import Inputs
from clipeval.session.parameters import Parameters
from clipeval.studies import get_study

CORNERS = {"left": [1.0, 0.0], "right": [0.0, 1.0], "both": [1.0, 1.0]}


def plane(**more):
    """A model of the plane: images are their two numbers, texts are named corners."""

    class Words:
        context_length = 8

        def count_tokens(self, text):
            return 1

        def __call__(self, texts):
            return torch.tensor([[list(CORNERS).index(text)] for text in texts])

    model = Model(
        replace(card_info(), context_length=8, embed_dim=2),
        device=torch.device("cpu"),
        preprocess=None,
        encode_image=lambda pixels: pixels * 1.0,
        encode_text=lambda tokens: torch.tensor(list(CORNERS.values()))[tokens[:, 0]],
        tokenizer=Words(),
        **more,
    )
    model.check_texts = lambda texts: texts
    return model


def run_as(change, monkeypatch, offers=()):
    """The model of the plane, its image tower run by something that changes features so."""
    built = []

    def make(eager, pixels, network):
        built.append(pixels)
        return lambda pixels: change(eager(pixels))

    monkeypatch.setattr(runtimes, "_by_onnx", make)
    model = run_by(plane(), "onnx")
    model.offers = lambda: list(offers)
    return model, built


IMAGES = torch.tensor([[3.0, 4.0], [1.0, 0.25], [-2.0, 0.5]])


def test_what_agrees_on_the_first_batch_is_used_from_then_on(monkeypatch):
    model, built = run_as(lambda x: x * (1 + 3e-6) + 1e-6, monkeypatch)
    for images in (IMAGES, IMAGES[:1]):
        assert torch.equal(model.encode_images(images), images * (1 + 3e-6) + 1e-6)
    assert len(built) == 1 and torch.equal(built[0], IMAGES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x + torch.tensor([[0.0, 2e-4], [0, 0], [0, 0]]), "differ by up to 2e-05 from"),
        (lambda x: x * float("nan"), "differ by up to nan from"),
        (lambda x: x[:, :1], "differ by up to inf from"),
    ],
)
def test_other_vectors_are_refused(monkeypatch, change, said):
    """By hand: (3, 4.0002) / 5.00016 is 2e-5 from (0.6, 0.8) in its first number."""
    model, _ = run_as(change, monkeypatch)
    with pytest.raises(
        ModelError, match=f"runtime=onnx gives vectors that {said} .*first 3 images"
    ):
        model.encode_images(IMAGES)


def test_another_top_label_is_refused_though_vectors_agree(monkeypatch):
    """An image that lies between two classes: a millionth decides which is on top."""
    between = torch.tensor([[1.0, 1.0 + 1e-6], [1.0, 0.0]])
    tasks = [[["left", "both"], ["both"]], [["left"], ["right"]]]
    model, _ = run_as(lambda x: x.flip(1) if len(x) == 1 else x, monkeypatch, tasks)
    model.encode_images(between)
    model, _ = run_as(lambda x: x + torch.tensor([[2e-6, 0], [0, 0]]), monkeypatch, tasks)
    with pytest.raises(
        ModelError, match="gives 1 other top labels than those of torch .* 2 images"
    ):
        model.encode_images(between)
    model, _ = run_as(lambda x: x + torch.tensor([[2e-6, 0], [0, 0]]), monkeypatch, tasks[:1])
    model.encode_images(between)


def test_what_cannot_be_built_is_refused_in_one_sentence(monkeypatch):
    def broken(eager, pixels, network):
        raise RuntimeError("Python.h: No such file\nmuch more")

    monkeypatch.setattr(runtimes, "_by_onnx", broken)
    with pytest.raises(
        ModelError, match="runtime=onnx cannot run testcard .*Python.h.*leave it out"
    ) as error:
        run_by(plane(), "onnx").encode_images(IMAGES)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(ModelError, match="runtime=tpu is unknown; use torch, compile, onnx"):
        check_runtime("tpu", "fp32", "cpu")
    with pytest.raises(ModelError, match="compile=true is offered for precision=fp32 alone"):
        check_runtime("compile", "bf16", "cpu")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "my-c++")
    with pytest.raises(
        ModelError, match="needs a C\\+\\+ compiler and my-c\\+\\+ is not installed"
    ):
        check_runtime("compile", "fp32", "cuda")
    with pytest.raises(ModelError, match="runtime=onnx computes on the CPU and not on cuda:1"):
        check_runtime("onnx", "fp32", "cuda:1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs onnx and onnxruntime.*clipeval\[onnx\]"):
        check_runtime("onnx", "fp32", "auto")
    check_runtime("torch", "bf16", "cuda")


def test_results_of_different_runtimes_never_share_a_key(monkeypatch):
    fields = {"weights_sha256": "ab", "activation": "gelu", "preprocess": {"size": 4}}
    fields |= {"precision": "fp32", "resize": "model"}
    rest = {
        "model": "m",
        "pretrained": "",
        "logit_scale": 100.0,
        "logit_bias": None,
        "score": "softmax",
    }
    rest |= {"context_length": 77, "embed_dim": 2, "has_text": True, "weights": "w"}
    info = make_info(config={"a": 1}, **fields, **rest)
    versions = {name: v.split("+")[0] for name, v in installed_versions().items()}
    keyed = {"config": {"a": 1}, **fields, "versions": versions, "format": 1}
    before = sha256(json.dumps(keyed, sort_keys=True).encode()).hexdigest()
    assert info.fingerprint == before, "stores written before this field was known are read"
    assert with_runtime(info, "torch") is info and info.runtime == "torch"
    monkeypatch.setattr(runtimes, "version_of", lambda name: "9.8")
    others = [with_runtime(info, "compile"), with_runtime(info, "onnx")]
    assert [other.runtime for other in others] == ["torch.compile", "onnxruntime 9.8"]
    monkeypatch.setattr(runtimes, "version_of", lambda name: "9.9")
    others.append(with_runtime(info, "onnx"))
    assert len({before, *(other.fingerprint for other in others)}) == 4
    assert [ModelInfo.from_json(other.to_json()) for other in others] == others
    assert "runtime" not in info.to_json(), "records written before have the same fields"


def test_a_model_that_is_run_otherwise_is_recognised_by_its_files(tmp_path):
    loaded = load_model("testcard", device="cpu", runtime="compile")
    known = identify_model("testcard", runtime="compile", cache=tmp_path)
    assert loaded.info == known == with_runtime(card_info(), "compile")
    text = ["a photo of a man"]
    plain = load_model("testcard", device="cpu").encode_texts(text)
    np.testing.assert_array_equal(loaded.encode_texts(text), plain)


def test_parameters_name_one_runtime():
    assert [
        Parameters(**given).run_by for given in ({}, {"compile": True}, {"runtime": "onnx"})
    ] == [*("torch", "compile", "onnx")]
    with pytest.raises(ParameterError, match="compile=true and runtime=onnx are two ways"):
        _ = Parameters(compile=True, runtime="onnx").run_by


def test_a_study_holds_it_against_the_classes_that_it_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    given = {"store": str(tmp_path / "store"), "out": str(tmp_path / "out"), "runtime": "onnx"}
    study = get_study("fairface")
    session = Inputs(study, study.Parameters(**given), progress=False)
    offers = study.rivals(session)
    model = session.source.model
    assert len(offers) == 3 and model.offers() == [list(found.values()) for _, found in offers]
    assert session.info.runtime.startswith("onnxruntime")
    assert session.source.other(runtime="torch").offers() == offers


# -- the runtimes themselves -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A small vision transformer of open_clip with random weights, saved: (folder, pixels)."""
    import open_clip
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 3,
            "width": 64,
            "patch_size": 8,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    folder = tmp_path_factory.mktemp("tower")
    shown = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(shown))
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}", torch.randn(5, 3, 32, 32)


@pytest.mark.parametrize("n", [1, 3, 16, 33])
def test_few_images_are_filled_up_and_their_rows_are_their_own(n):
    asked = []

    def compiled(pixels):
        asked.append(len(pixels))
        return pixels.sum(dim=(1, 2, 3))

    pixels = torch.arange(n * 12.0).reshape(n, 3, 2, 2)
    found = runtimes._of_any_size(compiled)(pixels)
    assert torch.equal(found, pixels.sum(dim=(1, 2, 3))) and asked == [max(n, 16)]


def test_on_a_gpu_the_repeated_blocks_of_the_image_tower_are_compiled(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block, **how: asked.append((block, how)))
    network, linear = torch.nn.Module(), torch.nn.Linear(2, 2)
    blocks = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
    network.visual = torch.nn.Sequential(linear, blocks)
    network.transformer = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
    pixels = SimpleNamespace(device=torch.device("cuda"))
    assert runtimes._compiled(len, pixels, network) is len
    assert asked == [(block, {"dynamic": True}) for block in blocks]


def same_as_torch(tower, runtime):
    name, pixels = tower
    plain, fast = load_model(name, device="cpu"), load_model(name, device="cpu", runtime=runtime)
    fast.offers = lambda: [[["a man", "a boy"], ["a woman"]]]
    for features in ("projected", "pre_projection"):
        for images in (pixels, pixels[:3], pixels[:1], pixels[[4]], pixels.repeat(7, 1, 1, 1)):
            found, expected = (
                torch.nn.functional.normalize(m.encode_images(images, features))
                for m in (fast, plain)
            )
            assert (found - expected).abs().max() < 1e-5
    return plain, fast


def test_the_benchmark_of_a_gpu_is_rehearsed_on_a_cpu_and_keeps_nothing(
    tower, tmp_path, capsys, monkeypatch
):
    """Every line of it but those of the two models' names: a card is not needed to find out that one is wrong."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not folder.is_dir():
        pytest.skip("an installed package has no benchmarks; run this in a checkout")
    monkeypatch.syspath_prepend(folder)
    import gpu
    import linear_probe

    monkeypatch.setattr(gpu, "BATCH", 4)
    x, labels = np.random.default_rng(0).normal(size=(60, 4)), np.repeat(["a", "b", "c"], 20)
    monkeypatch.setattr(linear_probe, "generate", lambda n, seed: (x[:n], labels[:n]))
    given = ["--device", "cpu", "--models", tower[0], "--ways", "fp32,bf16", "--images", "6"]
    given += ["--probe-images", "60", "--workers", "0", "--rounds", "1"]
    gpu.main(given)
    card, name, *ways, probe = capsys.readouterr().out.splitlines()
    assert card.startswith("on CPU, ") and probe.startswith("linear probe: {'images': 60, ")
    assert name == tower[0]
    for way, line in zip(("fp32", "bf16"), ways, strict=True):
        found = ast.literal_eval(line.partition(f"{way}: ")[2])
        ours, forward, decode, plain = (
            found[name][0] for name in ("embed_images", "forward", "decode", "plain loop")
        )
        of_smaller = found["of the smaller of forward and decode"]
        assert of_smaller == pytest.approx([ours / min(forward, decode)] * 3)
        assert found["of the plain loop"] == pytest.approx([ours / plain] * 3)
        assert found["images at once"] == 6 and 0 <= found["changed labels, percent"] <= 100
        assert way != "fp32" or found["changed labels, percent"] == 0
    with pytest.raises(SystemExit):
        gpu.main([*given, "--json", str(tmp_path / "gpu.json")])
    assert "--json keeps what a GPU did" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--json", str(tmp_path / "gpu.json")])
    assert capsys.readouterr().out == "not measured: no GPU\n" and not list(tmp_path.iterdir())


def test_onnx_runtime_gives_the_vectors_of_torch(tower):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is an extra: make onnx")
    pytest.importorskip("onnx", reason="ONNX is an extra: make onnx")
    same_as_torch(tower, "onnx")


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_torch_compile_gives_the_vectors_of_torch(tower):
    from torch._dynamo.utils import counters

    counters.clear()
    _, fast = same_as_torch(tower, "compile")
    assert counters["stats"]["unique_graphs"] == 2, (
        "one for each kind of features, whatever the batch's size"
    )
    blocks = (*fast.network.visual.transformer.resblocks, *fast.network.transformer.resblocks)
    assert not any(block._compiled_call_impl for block in blocks), (
        "texts are encoded by torch as it is"
    )

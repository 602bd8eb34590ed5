"""Loading a model: one function for every kind."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from clipeval.errors import ModelError, as_text, first_line
from clipeval.files import file_sha256
from clipeval.models.device import PRECISIONS, check_precision, choose_device
from clipeval.models.info import (
    ModelInfo,
    file_states,
    make_info,
    read_record,
    write_record,
)
from clipeval.models.model import Model
from clipeval.models.reduced import (
    RESIZE_IS,
    RESIZES,
    is_resize,
    pixels_of,
    reduce_info,
    reduce_model,
)
from clipeval.models.runtimes import check_runtime, run_by, with_runtime
from clipeval.models.weights import KINDS

_LOADERS: dict[str, Callable] = {}


def _check_arguments(weights: str, precision: str, resize: str) -> None:
    if weights not in KINDS:
        raise ModelError(f"weights={weights} is unknown; use raw or ema, or leave it out.")
    if precision not in PRECISIONS:
        raise ModelError(f"precision={precision} is unknown; use {', '.join(PRECISIONS)}.")
    if not is_resize(resize):
        raise ModelError(f"resize={resize} is unknown; use {RESIZE_IS}.")


def load_model(
    model: str,
    pretrained: str | None = None,
    *,
    weights: str = "",
    device: str = "auto",
    precision: str = "fp32",
    resize: str = "model",
    runtime: str = "torch",
    cache: Path | None = None,
) -> Model:
    """Load a model, in evaluation mode and with its own preprocess, tokenizer and activation.

    Parameters
    ----------
    model : `ViT-B-32-quickgelu` or another built-in of open_clip (with `pretrained`),
        `local-dir:PATH`, `hf-hub:organisation/name`, the path of an open_clip_config.json (with a
        weight file as `pretrained`), `timm:NAME` for an image-only backbone, `testcard`,
        `python:FILE.py:FUNCTION[:NAME]` for a loader of your own, or what `register_loader` or an
        installed package's entry point (group `clipeval.loaders`) was told
    pretrained : tag (openai, laion2b_s34b_b79k, ...) or path of a weight file
    weights : raw, or ema for the running average, where a checkpoint holds both; else ""
    device : auto (cuda, mps, cpu in that order) or one of them
    precision : fp32, or fp16 and bf16 by autocast
    resize : model (its own preprocess), or letterbox or squash instead of its own resizing; "56" reduces an
        image to a shorter side of 56 pixels before the model's own preprocess
    runtime : torch, or compile (torch.compile) or onnx (ONNX Runtime, on the CPU) for the image tower, which
        are refused unless they agree with torch on the first images; see `clipeval.models.runtimes`
    cache : folder in which to note what was loaded, so that `identify_model` can tell without
        loading

    Raises
    ------
    ModelError  if the model is unknown, incomplete, unsafe to open, or would silently compute
        something else than its authors did
    """
    model = as_text(model, "model")
    _check_arguments(weights, precision, resize)
    check_runtime(runtime, precision, device)
    if runtime != "torch":
        how = {"weights": weights, "device": device, "resize": resize, "cache": cache}
        loaded = load_model(model, pretrained, **how)
        check_runtime(runtime, precision, str(loaded.device))  # auto may have been a GPU
        return run_by(loaded, runtime)
    if pixels := pixels_of(resize):
        how = {"weights": weights, "device": device, "precision": precision, "cache": cache}
        return reduce_model(load_model(model, pretrained, **how), pixels)
    chosen = choose_device(device)
    check_precision(chosen, precision)
    if model == "testcard" or is_registered(model):
        return _load_registered(model, pretrained, weights, chosen, precision, resize)
    if model.startswith("timm:"):
        from clipeval.models.backbones import load_backbone

        loaded, files = load_backbone(model, pretrained, weights, chosen, precision, resize)
    else:
        loaded, files = _load_open_clip(model, pretrained, weights, chosen, precision, resize)
    if cache is not None:
        write_record(cache, _key(model, pretrained, weights, precision, resize), loaded.info, files)
    return loaded


def _load_open_clip(model, pretrained, weights, device, precision, resize) -> tuple[Model, dict]:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from clipeval.models.fit import fitting
    from clipeval.models.sources import find_source
    from clipeval.models.tokens import build_tokenizer, tokenizer_files
    from clipeval.models.towers import assert_activation, build_network, features_before_projection
    from clipeval.models.weights import read_weights, weights_sha256

    source = find_source(model, pretrained)
    before = file_states(source.files)
    sha256 = weights_sha256(source.weights)
    network = build_network(source.config, source.preprocess)
    state, kind = read_weights(source.weights, weights)
    fitted = fitting(network, state, source.weights, resize_positions=source.is_tag)
    network.load_state_dict(fitted, strict=True)
    del state, fitted
    assert_activation(network, source.activation)
    network.eval().to(device)
    assert not any(m.training for m in network.modules())
    tokenizer = build_tokenizer(source.config["text_cfg"], source.tokenizer_folder)
    preprocess = dict(source.preprocess)
    preprocess["resize_mode"] = RESIZES[resize] or preprocess["resize_mode"]
    transform = image_transform_v2(PreprocessCfg(**preprocess), is_train=False)
    token_files = tokenizer_files(tokenizer, source.tokenizer_folder)
    before |= file_states(token_files)
    _refuse_changed(before, source.files)
    bias = getattr(network, "logit_bias", None)
    info = make_info(
        config={
            "model_cfg": source.config,
            "tokenizer": {p.name: file_sha256(p) for p in token_files},
        }
        | ({"weights": kind} if kind == "ema" else {}),
        model=source.model,
        pretrained=f"{source.pretrained} {kind}".strip(),
        precision=precision,
        resize=resize,
        activation=source.activation,
        preprocess=preprocess,
        logit_scale=network.logit_scale.detach().exp().item(),
        logit_bias=None if bias is None else bias.detach().item(),
        score="softmax" if bias is None else "sigmoid",
        context_length=tokenizer.context_length,
        embed_dim=int(source.config["embed_dim"]),
        has_text=True,
        weights_sha256=sha256,
        weights=f"{source.weights_name} {kind}".strip(),
    )
    loaded = Model(
        info,
        device=device,
        preprocess=transform,
        # CoCa normalises unless told otherwise
        encode_image=functools.partial(network.encode_image, normalize=False),
        encode_text=lambda tokens: network.encode_text(tokens, normalize=False),
        tokenizer=tokenizer,
        before_projection=lambda pixels: features_before_projection(network, pixels),
        network=network,
    )
    return loaded, before


def _refuse_changed(before: dict, files: list) -> None:
    """Make sure that what was hashed is what was loaded."""
    if any(
        before[os.path.abspath(f)] != state
        for f, state in zip(files, file_states(files).values(), strict=True)
    ):
        raise ModelError(
            "the model's files changed while they were read; load it again when they are complete."
        )


def register_loader(prefix: str, function: Callable) -> None:
    """Make `load_model("PREFIX:NAME")` call a function of yours.

    Parameters
    ----------
    prefix : what stands before the colon
    function : called as function(name, pretrained, device); returns a Model, or an object or dict
        with `encode_image` (pixels on the device to features), `encode_text` (tokens to features),
        `preprocess` (RGB PIL image to float tensor), `tokenizer` (list of str to tokens) and
        `logit_scale` (the factor itself, not its logarithm), and perhaps `logit_bias`. Networks
        must be in evaluation mode. For images only, `encode_text` and `tokenizer` are None.
    """
    if not prefix.isidentifier() or prefix in ("timm", "python"):
        raise ModelError(
            f"prefix={prefix} cannot be registered; use one word that no other kind of model has."
        )
    _LOADERS[prefix] = function


def is_registered(model: str) -> bool:
    """Whether a loader of a user's own loads this kind of model."""
    from clipeval.models.custom import entry_loader

    prefix, colon, _ = model.partition(":")
    if not colon or not prefix.isidentifier() or prefix == "timm":
        return False
    return prefix == "python" or prefix in _LOADERS or entry_loader(prefix) is not None


def find_loader(model: str) -> tuple[Callable, str, str]:
    """Return the loader of a registered kind of model, the name it is to get, and the model's name.

    Raises
    ------
    ModelError  if it cannot be imported
    """
    from clipeval.models.custom import entry_loader, python_loader

    prefix, _, name = model.partition(":")
    if prefix in _LOADERS:
        return _LOADERS[prefix], name, model
    if prefix == "python":
        return python_loader(name)
    entry = entry_loader(prefix)
    try:
        return entry.load(), name, model
    except Exception as error:  # whatever a user's code does
        raise ModelError(
            f"{model}: {entry.value}, the loader of {prefix}, cannot be imported "
            f"({first_line(error)}); install what it needs."
        ) from error


def _load_registered(model, pretrained, weights, device, precision, resize) -> Model:
    if weights:
        raise ModelError(
            f"weights={weights} is not offered for {model}, whose loader chooses its weights; leave "
            "it out."
        )
    if resize != "model":
        raise ModelError(
            f"resize={resize} is not offered for {model}, whose loader brings its preprocess; use "
            "model."
        )
    if model == "testcard":
        from clipeval.models.testcard import load_testcard_model

        return load_testcard_model(str(device), precision)
    from clipeval.models.custom import source_hash, wrap

    function, name, shown = find_loader(model)
    result = function(name, pretrained, str(device))
    if isinstance(result, Model):
        return result
    return wrap(result, shown, pretrained, device, precision, source_hash(function))


# -- recognising -----------------------------------------------------------------------------------


def _key(model: str, pretrained: str | None, weights: str, precision: str, resize: str) -> dict:
    """Return the arguments that decide what is loaded, with paths made absolute."""

    def absolute(text: str) -> str:
        return os.path.abspath(os.path.expanduser(text))

    if model.startswith("local-dir:"):
        model = "local-dir:" + absolute(model.removeprefix("local-dir:"))
    elif model.endswith(".json"):
        model = absolute(model)
    if pretrained and Path(pretrained).expanduser().is_file():
        pretrained = absolute(pretrained)
    return {
        "model": model,
        "pretrained": pretrained or None,
        "weights": weights,
        "precision": precision,
        "resize": resize,
    }


def identify_model(
    model: str,
    pretrained: str | None = None,
    *,
    weights: str = "",
    precision: str = "fp32",
    resize: str = "model",
    runtime: str = "torch",
    cache: Path,
) -> ModelInfo | None:
    """Return what an earlier `load_model(..., cache=cache)` recorded, if that still holds.

    Neither torch nor open_clip is imported. "Nothing" means: every file that defined the model
    (weights, configuration, tokenizer; for hub models the cache's note of the current commit) has
    the same size, times and inode, and the libraries have the same versions.
    """
    _check_arguments(weights, precision, resize)
    if runtime != "torch":
        how = {"weights": weights, "precision": precision, "resize": resize, "cache": cache}
        known = identify_model(model, pretrained, **how)
        return known and with_runtime(known, runtime)
    if pixels := pixels_of(resize):
        how = {"weights": weights, "precision": precision, "cache": cache}
        known = identify_model(model, pretrained, **how)
        return known and reduce_info(known, pixels)
    if model == "testcard":
        from clipeval.models.testcard import testcard_info

        return testcard_info(precision) if resize == "model" and not weights else None
    return read_record(cache, _key(model, pretrained, weights, precision, resize))

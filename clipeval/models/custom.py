"""Models that a user's own loader brings: finding the loader, checking what it returns."""

import importlib.util
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clipeval.errors import ModelError, first_line
from clipeval.files import file_sha256, sha256
from clipeval.models.configuration import LARGEST_SIDE
from clipeval.models.info import check_scalars, make_info
from clipeval.models.model import Model

#: entry points by which an installed package brings loaders, each under its prefix
GROUP = "clipeval.loaders"
_NEEDED = ("encode_image", "preprocess", "logit_scale")
_PYTHON = re.compile(r"(?P<place>.+?\.py|[\w.]+):(?P<function>\w+)(:(?P<name>.*))?")


def python_loader(text: str):
    """Return the loader that "FILE.py:FUNCTION[:NAME]" or "MODULE:FUNCTION[:NAME]" names.

    Returns
    -------
    the function, NAME ("" without one), and the model's name without folders

    Raises
    ------
    ModelError  if there is no such file, module or function, or importing it fails
    """
    if not (parts := _PYTHON.fullmatch(text)):
        raise ModelError(
            f"python:{text} names no loader; write python:FILE.py:FUNCTION or "
            "python:MODULE:FUNCTION, and :NAME after it where the function is to get one."
        )
    place, function, name = parts["place"], parts["function"], parts["name"] or ""
    path = Path(place).expanduser()
    if place.endswith(".py") and not path.is_file():
        raise ModelError(f"{path.absolute()} does not exist; give the file of your loader.")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except Exception as error:  # whatever a user's code does
        said = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"{place} cannot be imported ({said}); fix it, then run again.") from error
    if not callable(found := getattr(module, function, None)):
        raise ModelError(f"{place} has no function {function}; name the one that loads the model.")
    shown = ":".join(["python", path.name, function, *([Path(name).name] if name else [])])
    return found, name, shown


def entry_loader(prefix: str):
    """Return the entry point of an installed package that loads `prefix`; None without one."""
    from importlib.metadata import entry_points

    return next(iter(entry_points(group=GROUP, name=prefix)), None)


def source_hash(function) -> str:
    """sha256 of the file that a loader is written in; "" where it is in none."""
    try:
        return file_sha256(Path(inspect.getsourcefile(inspect.unwrap(function))))
    except (OSError, TypeError):
        return ""


def wrap(parts, name: str, pretrained: str | None, device, precision: str, source: str = ""):
    """Return a Model of what a registered loader returned.

    Parameters
    ----------
    parts : object or dict with `encode_image`, `encode_text`, `preprocess`, `tokenizer`,
        `logit_scale` and perhaps `logit_bias`
    name, pretrained : as given to `load_model`
    device : torch device
    precision : fp32, fp16 or bf16
    source : sha256 of the loader's file

    Notes
    -----
    Nothing says which files define such a model, so its fingerprint is of what it does: the exact
    features of a fixed image and two fixed texts. Other weights, another preprocess or tokenizer
    change it; so may another machine, and then embeddings are computed again rather than wrongly
    reused.

    Raises
    ------
    ModelError  if a part is missing, or returns something else than a tensor of its shape
    """
    import torch
    from PIL import Image

    get = parts.get if isinstance(parts, Mapping) else lambda key: getattr(parts, key, None)
    missing = [key for key in _NEEDED if get(key) is None]
    if (get("encode_text") is None) != (get("tokenizer") is None):
        missing.append("tokenizer" if get("tokenizer") is None else "encode_text")
    if missing:
        raise ModelError(
            f"the loader of {name} returned no {', '.join(missing)}; return encode_image, "
            "encode_text, preprocess, tokenizer and logit_scale."
        )
    for key in ("encode_image", "encode_text"):
        if getattr(getattr(get(key), "__self__", get(key)), "training", False):
            raise ModelError(
                f"{key} of {name} is in training mode, where dropout makes features random; call "
                ".eval() on the network in its loader."
            )
    scale = _one_number(get("logit_scale"), "logit_scale", name)
    bias = get("logit_bias")
    bias = None if bias is None else _one_number(bias, "logit_bias", name)
    check_scalars(scale, bias, f"the loader of {name}", _mend_scale(scale))
    noise = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    pixels = _checked(get("preprocess"), "preprocess", name, 3)(Image.fromarray(noise))
    if max(pixels.shape[1:]) > LARGEST_SIDE:
        raise ModelError(
            f"preprocess of {name} made a picture of {tuple(pixels.shape[1:])} pixels, and "
            f"{LARGEST_SIDE:,} a side are the most; return (3, height, width) in its loader."
        )
    _refuse_no_numbers(pixels, "preprocess", name, "its mean and std must be numbers, std above 0")
    has_text = get("encode_text") is not None
    tokenizer = has_text and _checked(get("tokenizer"), "tokenizer", name, 2)
    tokens = tokenizer(["a photo of a person", "two dogs"]) if has_text else None
    fields = {
        "model": name,
        "pretrained": pretrained or "",
        "precision": precision,
        "resize": "model",
        "activation": "",
        "preprocess": {
            "size": list(pixels.shape[1:]),
            "mode": "RGB",
            "by": "the model's own loader",
        },
        "logit_scale": scale,
        "logit_bias": bias,
        "score": "softmax" if bias is None else "sigmoid",
        "context_length": int(tokens.shape[1]) if has_text else None,
        "has_text": has_text,
        "weights": name,
    }
    functions = {
        "device": device,
        "preprocess": get("preprocess"),
        "encode_image": _checked(get("encode_image"), "encode_image", name, 2),
        "encode_text": has_text and _checked(get("encode_text"), "encode_text", name, 2) or None,
        "tokenizer": get("tokenizer"),
        "network": _network(get("encode_image")),
    }
    unknown = make_info(config=None, weights_sha256="", embed_dim=0, **fields)
    model = Model(unknown, **functions)
    image = model.encode_images(torch.stack([pixels])).cpu()
    cause = "its weights probably hold NaN, as a diverged training leaves them"
    if precision != "fp32":
        cause = f"its weights hold NaN, or {precision} is too coarse for it: try precision=fp32"
    _refuse_no_numbers(image, "encode_image", name, cause)
    behaviour = [pixels.numpy().tobytes(), image.numpy().tobytes()]
    if has_text:
        words = model.encode_texts(["a photo of a person", "two dogs"])
        _refuse_no_numbers(torch.from_numpy(words), "encode_text", name, cause)
        behaviour.append(words.tobytes())
    model.info = make_info(
        config={"behaviour": sha256(*behaviour)} | ({"loader": source} if source else {}),
        weights_sha256="",
        embed_dim=int(image.shape[1]),
        **fields,
    )
    return model


def _network(function):
    """The torch module that a function is, or is a method of; None where it is neither."""
    import torch

    owner = getattr(function, "__self__", function)
    return owner if isinstance(owner, torch.nn.Module) else None


def _one_number(value, part: str, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several
        raise ModelError(
            f"{part} of {name} is {repr(value)[:80]} and not one number; return a float in its "
            "loader."
        ) from None


def _refuse_no_numbers(found, part: str, name: str, cause: str) -> None:
    if not found.isfinite().all():
        raise ModelError(f"{part} of {name} returned NaN or infinite values; {cause}.")


def _mend_scale(scale: float) -> str:
    """What is probably wrong with a scale, as the end of a sentence."""
    if scale > 1000:
        return "was it exponentiated twice? Return the factor itself, once exponentiated."
    if scale <= 0:
        return "is it the logarithm? Return the factor itself, model.logit_scale.exp().item()."
    return "return numbers in its loader; if the weights hold NaN, use an earlier checkpoint."


def _checked(function, part: str, name: str, dimensions: int):
    """The function; raises unless it returns a tensor with that many dimensions."""
    import torch

    shape = {"preprocess": "(3, height, width)", "tokenizer": "(n, length)"}.get(part, "(n, d)")

    def checked(given):
        found = function(given)
        if not isinstance(found, torch.Tensor) or found.ndim != dimensions:
            what = (
                f"a tensor of {found.ndim} dimensions"
                if isinstance(found, torch.Tensor)
                else f"a {type(found).__name__}"
            )
            raise ModelError(
                f"{part} of {name} returned {what} and not a tensor {shape}; return that in its "
                "loader (of an output object of transformers, .pooler_output)."
            )
        return found

    return checked

"""Models that a user's own loader brings: encoders, preprocess and tokenizer."""

import hashlib
from collections.abc import Mapping

import numpy as np

from clipeval.errors import ModelError
from clipeval.models.info import make_info

__all__ = ["wrap"]

_NEEDED = ("encode_image", "preprocess", "logit_scale")


def wrap(parts, name: str, pretrained: str | None, device, precision: str):
    """Return a Model of what a registered loader returned.

    Parameters
    ----------
    parts : object or dict with `encode_image`, `encode_text`, `preprocess`, `tokenizer`,
        `logit_scale` and perhaps `logit_bias`
    name, pretrained : as given to `load_model`
    device : torch device
    precision : fp32, fp16 or bf16

    Notes
    -----
    Nothing says which files define such a model, so its fingerprint is of what it does: the exact
    features of a fixed image and two fixed texts. Other weights, another preprocess or tokenizer
    change it; so may another machine, and then embeddings are computed again rather than wrongly
    reused.

    Raises
    ------
    ModelError  if a part is missing
    """
    import torch
    from PIL import Image

    from clipeval.models.load import Model

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
    noise = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    pixels = get("preprocess")(Image.fromarray(noise))
    bias = get("logit_bias")
    has_text = get("encode_text") is not None
    tokens = get("tokenizer")(["a photo of a person", "two dogs"]) if has_text else None
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
        "logit_scale": float(get("logit_scale")),
        "logit_bias": None if bias is None else float(bias),
        "score": "softmax" if bias is None else "sigmoid",
        "context_length": int(tokens.shape[1]) if has_text else None,
        "has_text": has_text,
        "weights": name,
    }
    functions = {
        "device": device,
        "preprocess": get("preprocess"),
        "encode_image": get("encode_image"),
        "encode_text": get("encode_text"),
        "tokenizer": get("tokenizer"),
    }
    unknown = make_info(config=None, weights_sha256="", embed_dim=0, **fields)
    trial = Model(unknown, **functions)
    image = trial.encode_images(torch.stack([pixels]))
    behaviour = hashlib.sha256(pixels.numpy().tobytes() + image.numpy().tobytes())
    if has_text:
        behaviour.update(trial.encode_texts(["a photo of a person", "two dogs"]).tobytes())
    info = make_info(
        config={"behaviour": behaviour.hexdigest()},
        weights_sha256="",
        embed_dim=int(image.shape[1]),
        **fields,
    )
    return Model(info, **functions)

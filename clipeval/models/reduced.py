"""Images with few pixels: what a model is shown of a photograph that a camera of low resolution took.

Not in the paper, which warns of such cameras and measures none: an extension.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

from clipeval.files import sha256
from clipeval.models.info import ModelInfo
from clipeval.models.model import Model

#: named ways to bring an image to a model's size -> how open_clip calls them; None for the model's own
RESIZES = {"model": None, "letterbox": "longest", "squash": "squash"}
RESIZE_IS = f"{', '.join(RESIZES)}, or a whole number of pixels up to 4096"


def is_resize(text: str) -> bool:
    """Whether a text names a way to bring an image to size, or how many pixels it is reduced to first."""
    return text in RESIZES or 0 < pixels_of(text) <= 4096


def pixels_of(resize: str) -> int:
    """Pixels that the shorter side of an image is reduced to first; 0 for a named way to bring it to size.

    >>> pixels_of("56"), pixels_of("letterbox")
    (56, 0)
    """
    return int(resize) if resize.isascii() and resize.isdigit() else 0


def reduce_image(image, pixels: int):
    """An RGB PIL image with a shorter side of `pixels` (bicubic, antialiased); a smaller one as it is."""
    from PIL import Image

    short = min(image.size)
    if short <= pixels:
        return image
    size = [max(1, int(side * pixels / short)) for side in image.size]
    return image.resize(size, Image.Resampling.BICUBIC)


def reduce_info(info: ModelInfo, pixels: int) -> ModelInfo:
    """What is recorded of a model that is shown reduced images: another fingerprint."""
    return replace(
        info,
        resize=str(pixels),
        preprocess={**(info.preprocess or {}), "reduced_to": pixels},
        fingerprint=sha256(f"{info.fingerprint} reduced to {pixels}"),
    )


def reduce_model(model: Model, pixels: int) -> Model:
    """The model with its images reduced before its own preprocess; a test card is brought back to its size."""
    model.preprocess = functools.partial(
        _preprocess, own=model.preprocess, pixels=pixels, back=model.info.model == "testcard"
    )
    model.info = reduce_info(model.info, pixels)
    return model


def _preprocess(image, *, own: Callable, pixels: int, back: bool):
    from PIL import Image

    small = reduce_image(image, pixels)
    return own(small.resize(image.size, Image.Resampling.NEAREST) if back else small)

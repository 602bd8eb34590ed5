"""Images from disk to batches of pixels, in order, decoded ahead of the model by processes."""

import os

import numpy as np
import pandas as pd

from clipeval.embedding.images import UnreadableImage, decode_image, read_bytes
from clipeval.errors import DataError, one_line
from clipeval.files import sha256


class Photos:
    """What a loader process does with one image: read, hash, decode, preprocess."""

    def __init__(self, images, preprocess):
        # arrays, not lists: a worker would copy each page whose reference counts it touches
        self.files = images["file"].array
        self.rows = images["row"].array if "row" in images else None
        self.preprocess = preprocess

    def __len__(self):
        return len(self.files)

    def __getitem__(self, position):
        """(position, pixels or None, sha256 or None, notes, reason or None, lasting)

        `lasting`: whether the bytes alone decide this; a disk or memory may do better next time.
        """
        position, digest = int(position), None
        row = pd.NA if self.rows is None else self.rows[position]
        try:
            data = read_bytes(self.files[position], None if pd.isna(row) else int(row))
            digest = sha256(data)
            image, notes = decode_image(data)
            return position, self.preprocess(image), digest, notes, None, True
        except UnreadableImage as error:
            return position, None, digest, "", str(error), digest is not None
        except Exception as error:  # one odd image must not end a run of hours
            reason = getattr(error, "strerror", None) or one_line(error)
            return position, None, digest, "", reason, False


def _collate(items):
    """Stack the pixels of the readable images of a batch; the rest of each item stays as it is."""
    pixels = [item[1] for item in items if item[1] is not None]
    if pixels and isinstance(pixels[0], np.ndarray):
        pixels = np.stack(pixels)
    elif pixels:
        import torch

        pixels = torch.utils.data.default_collate(pixels)  # into shared memory where it can
    else:
        pixels = None
    return pixels, [(position, *rest) for position, _, *rest in items]


def load_batches(photos, batches, workers, device):
    """Yield `_collate`d batches in order, decoded in `workers` processes (0: in this one)."""
    if workers is None:
        workers = default_workers(device)
    workers = min(workers, len(batches))
    if workers == 0:
        for batch in batches:
            yield _collate([photos[position] for position in batch])
        return
    from torch.utils.data import DataLoader

    loader = DataLoader(
        photos,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.startswith("cuda"),
        prefetch_factor=2,
        worker_init_fn=_start_worker,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that reads images died ({one_line(error)}); "
            "memory may be short: use fewer workers, or workers=0."
        ) from error


def _start_worker(_):
    import signal

    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process stops its workers


def split_preprocess(preprocess, device="cpu"):
    """Split a model's preprocess into what each image and what a whole batch can go through.

    The usual last steps, `ToTensor` and `Normalize`, take longer than decoding a small photo, and
    on a batch, on the model's device, they take next to nothing. They are the same operations in
    the same order, so that not a bit changes.

    Parameters
    ----------
    preprocess : function of a PIL image to a float tensor
    device : torch device of the model, to which a batch goes as bytes, before they become floats

    Returns
    -------
    (each, batch) : each PIL image goes through `each`; the stacked pixels through `batch`
    """
    steps = getattr(preprocess, "transforms", [])
    if len(steps) < 2:
        return preprocess, _unchanged
    from torchvision.transforms import Compose, Normalize, ToTensor
    from torchvision.transforms.functional import normalize as normalize_

    to_tensor, normalize = steps[-2:]
    if not (isinstance(to_tensor, ToTensor) and isinstance(normalize, Normalize)):
        return preprocess, _unchanged

    def batch(pixels):
        pixels = pixels.to(device, non_blocking=True)
        pixels = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
        return normalize_(pixels, normalize.mean, normalize.std, inplace=True)

    return Compose([*steps[:-2], _bytes_tensor]), batch


def _unchanged(pixels):
    return pixels


def _bytes_tensor(image):
    """(height, width, 3) uint8."""
    import torch

    return torch.from_numpy(np.array(image.convert("RGB")))


def default_workers(device: str) -> int:
    """Processes that decode images: many for a GPU, few beside a model on the CPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(16, cores) if device.startswith("cuda") else min(4, max(1, cores // 2))

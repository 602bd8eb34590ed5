"""Images from disk to batches of pixels, in order, decoded ahead of the model by processes."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.embedding.images import UnreadableImage, decode_image, read_bytes
from clipeval.embedding.transfers import is_gpu
from clipeval.errors import DataError, one_line
from clipeval.files import sha256

__all__ = ["Photo", "Photos", "default_workers", "hash_images", "load_batches", "split_preprocess"]

THREADS = 8  # that read files to hash them


class Photo(NamedTuple):
    """What is known of an image that was read: `decoded` says whether there are pixels of it."""

    position: int
    sha256: str | None
    notes: str
    reason: str | None
    lasting: bool
    """Whether the bytes alone decide this; a disk or memory may do better next time."""
    decoded: bool


class Photos:
    """What a loader process does with one image: read, hash, decode, preprocess.

    Parameters
    ----------
    images : images table
    preprocess : of the model; may be set later
    stored : sorted array of bytes, sha256 of contents that need not be decoded
    """

    def __init__(self, images, preprocess=None, stored=()):
        # arrays, not lists: a worker would copy each page whose reference counts it touches
        self.files = images["file"].array
        self.rows = images["row"].array if "row" in images else None
        self.preprocess = preprocess
        self.stored = np.asarray(stored, dtype="S64")

    def __len__(self):
        return len(self.files)

    def read(self, position) -> bytes:
        """Bytes of an image."""
        row = pd.NA if self.rows is None else self.rows[position]
        return read_bytes(self.files[position], None if pd.isna(row) else int(row))

    def is_stored(self, digest: str) -> bool:
        """Whether content with this sha256 need not be decoded."""
        at = np.searchsorted(self.stored, digest.encode())
        return at < len(self.stored) and self.stored[at] == digest.encode()

    def __getitem__(self, position):
        """(pixels or None, Photo); neither pixels nor a reason where the content is stored."""
        position, digest = int(position), None
        try:
            data = self.read(position)
            digest = sha256(data)
            if self.is_stored(digest):
                return None, Photo(position, digest, "", None, True, False)
            image, notes = decode_image(data)
            return self.preprocess(image), Photo(position, digest, notes, None, True, True)
        except UnreadableImage as error:
            reason, lasting = str(error), digest is not None
        except Exception as error:  # one odd image must not end a run of hours
            reason, lasting = getattr(error, "strerror", None) or one_line(error), False
        return None, Photo(position, digest, "", reason, lasting, False)


def hash_images(images) -> list[str | None]:
    """sha256 of each image's bytes, by threads; None where there are none to read."""
    photos = Photos(images)

    def digest(position):
        try:
            return sha256(photos.read(position))
        except Exception:  # embedding says what is wrong
            return None

    # rows of a parquet file are read in order: one group of them is held at a time
    threads = THREADS if photos.rows is None or photos.rows.isna().all() else 1
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(digest, range(len(photos))))


def _collate(items):
    """Stack the pixels of a batch, those there are, and list what is known of its images."""
    pixels = [item[0] for item in items if item[0] is not None]
    if pixels and isinstance(pixels[0], np.ndarray):
        pixels = np.stack(pixels)
    elif pixels:
        import torch

        pixels = torch.utils.data.default_collate(pixels)  # into shared memory where it can
    else:
        pixels = None
    return pixels, [item[1] for item in items]


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
        pin_memory=is_gpu(device),
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
        pixels = pixels.to(device)
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
    return min(16, cores) if is_gpu(device) else min(4, max(1, cores // 2))

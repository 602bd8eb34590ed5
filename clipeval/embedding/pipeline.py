"""Batches of pixels through a model: one path for a CPU and a GPU.

A GPU is never waited for after a batch: pixels go there from pinned memory while it computes, features come
back into pinned memory, and they are read when the next batch has been started. Where memory runs
out, the batch is done again in halves, and all that follow are kept as small.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from clipeval.embedding.loading import split_preprocess
from clipeval.embedding.transfers import fetch, free_memory, is_gpu, send
from clipeval.errors import is_lack_of_memory

BATCH = 64  # images that one process decodes for one batch, and that a CPU encodes at once
GPU_BATCH = 1024  # that a GPU tries to encode at once
AHEAD = 1  # passes that a GPU has before it while one is read: it computes as shards are written


class Pipeline:
    """Encodes batches in order.

    Parameters
    ----------
    model : Model, or what has its `device`, `preprocess` and `encode_images`
    features : as for `encode_images`
    gather : encode as many images at once as a GPU's memory holds, whatever the size of a batch

    Attributes
    ----------
    each : what each image goes through; the rest of the preprocess is done here, on a batch
    at_once : most images that went through the model at once
    """

    def __init__(self, model, features: str = "projected", *, gather: bool = False):
        self.model, self.features, self.at_once = model, features, 0
        self.each, self._finish = split_preprocess(model.preprocess, model.device)
        gpu = is_gpu(model.device)
        self._gather = GPU_BATCH if gather and gpu else 0  # else each batch by itself
        self._ahead = AHEAD if gpu else 0
        self._most: int | None = None  # images that memory was found to hold

    def run(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """Yield (features or None, more, last) for each batch, in order.

        Parameters
        ----------
        batches : of (pixels (n, ...) or None, anything, whether it is the last of its shard); batches of
            different shards are never encoded together, so that a resumed run encodes the same ones together
        """
        started, group = deque(), []
        for batch in batches:
            group.append(batch)
            n = sum(len(pixels) for pixels, *_ in group if pixels is not None)
            if batch[-1] or n >= min(self._gather, self._most or self._gather):
                started.append(self._start(group))
                group = []
            while len(started) > self._ahead:
                yield from started.popleft()()
        for read in started:
            yield from read()

    def _start(self, group):
        """Begin to encode batches together; what is returned waits for them and yields each batch's features."""
        there = [send(pixels, self.model.device) for pixels, *_ in group if pixels is not None]
        parts = self._encode(_joined(there)) if there else []
        # lengths, so that no pixels are held until then
        about = [(0 if pixels is None else len(pixels), *more) for pixels, *more in group]

        def read():
            rows = _joined([to_numpy(part()) for part in parts]) if parts else None
            at = 0
            for n, *more in about:
                yield rows[at : at + n] if n else None, *more
                at += n

        return read

    def _encode(self, pixels) -> list:
        """Begin to encode pixels, in as many passes as memory asks for; each is fetched by a call."""
        parts, at = [], 0
        while at < len(pixels):
            size = min(self._most or len(pixels), len(pixels) - at)
            if (part := self._try(pixels[at : at + size])) is None:
                self._most = size // 2
                free_memory(self.model.device)
                continue
            parts.append(part)
            self.at_once = max(self.at_once, size)
            at += size
        return parts

    def _try(self, pixels):
        """Begin to encode pixels; None where memory is short and they are more than one image."""
        try:
            return fetch(self.model.encode_images(self._finish(pixels), features=self.features))
        except (RuntimeError, MemoryError) as error:
            if len(pixels) == 1 or not is_lack_of_memory(error):
                raise
        return None  # here, and not in the handler, as its traceback holds what was allocated


def _joined(parts):
    """Arrays, or tensors, one after the other; one alone as it is."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def to_numpy(array) -> np.ndarray:
    """An array of a tensor on any device, or of an array."""
    return np.asarray(array.detach().float().cpu() if hasattr(array, "detach") else array)

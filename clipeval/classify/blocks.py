"""A matrix read in blocks of rows by threads, with sums that are the same bits for any number of them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

_BLOCK = 2**19  # numbers of a block, few enough for a core's cache; many more on a GPU
_GROUP = 4  # blocks that one thread adds up


class Features:
    """Rows of a matrix, less a centre, handed out as blocks of floats, so that no second matrix is ever made.

    Parameters
    ----------
    images : float array (n, d), which may be memory-mapped
    rows : int array (m,), ascending, which rows; None for all
    device : torch device that computes; on a GPU the matrix is copied there once
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray | None = None, device="cpu"):
        import torch

        self.images, self.rows = images, np.arange(len(images)) if rows is None else rows
        self.centre = np.zeros(images.shape[1])
        # float64 is needed, and Apple's GPUs have none
        self.device = torch.device("cuda" if str(device).startswith("cuda") else "cpu")
        if str(device).startswith("cuda"):
            self.device = torch.device(device)
            self.held = torch.as_tensor(np.ascontiguousarray(images)).to(self.device)
        numbers = _BLOCK * (1 if self.device.type == "cpu" else 128)
        self.step = max(64, numbers // images.shape[1])
        self.buffers = threading.local()

    def __len__(self):
        return len(self.rows)

    def of(self, rows: np.ndarray, centre=None) -> "Features":
        """Other rows of the same matrix, perhaps less a tensor (d,)."""
        other = object.__new__(Features)
        other.__dict__ = self.__dict__ | {"rows": rows}
        if centre is not None:
            other.centre = centre.cpu().numpy()
        return other

    def block(self, start: int, dtype):
        """`step` rows from the start-th on, a tensor that lasts until the next block of the same thread."""
        import torch

        rows = self.rows[start : start + self.step]
        if self.device.type != "cpu":
            centre = torch.as_tensor(self.centre, device=self.device)
            return (self.held[torch.as_tensor(rows, device=self.device)] - centre).to(dtype)
        mine = self.buffers.__dict__
        if (
            not mine
        ):  # memory that is asked for anew for every block takes longer than what is done with it
            shape = min(self.step, len(self.images)), self.images.shape[1]
            mine.update(
                {kind: torch.empty(shape, dtype=kind) for kind in (torch.float32, torch.float64)}
            )
            mine["raw"] = np.empty(shape, self.images.dtype)
        if rows[-1] - rows[0] + 1 == len(rows):  # one after the other
            part = self.images[rows[0] : rows[-1] + 1]
        else:
            part = np.take(self.images, rows, axis=0, out=mine["raw"][: len(rows)], mode="clip")
        block = mine[dtype][: len(rows)]
        out = block.numpy()
        np.subtract(part, self.centre.astype(out.dtype), out=out, dtype=out.dtype)
        return block

    def sum(self, function: Callable, pool, dtype=None):
        """Sum of what function(slice of rows, block) returns for every block: a tuple of tensors.

        Blocks are float64 unless another dtype is asked for; sums are in what the function returns.

        Added up group by group, always the same, so that every bit of it is the same for any number
        of threads.
        """
        import torch

        dtype = torch.float64 if dtype is None else dtype

        def group(starts):
            return _add(function(slice(s, s + self.step), self.block(s, dtype)) for s in starts)

        starts = range(0, len(self), self.step)
        groups = [starts[i : i + _GROUP] for i in range(0, len(starts), _GROUP)]
        return _add((pool.map if pool else map)(group, groups))


def product(a, b):
    """a @ b; on a CPU by numpy, whose product of so few rows with many columns takes half as long."""
    import torch

    return a @ b if a.is_cuda else torch.from_numpy(a.numpy() @ b.numpy())


def _add(parts):
    total = None
    for part in parts:
        if total is None:
            total = [x.clone() for x in part]
        else:
            for mine, new in zip(total, part, strict=True):
                mine += new
    return total


@contextmanager
def threads():
    """Threads for blocks, while every product within a block has one core: a pool, or None for one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    n = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            if n == 1:
                yield None
            else:
                with ThreadPoolExecutor(n) as pool:
                    yield pool
        finally:
            torch.set_num_threads(n)

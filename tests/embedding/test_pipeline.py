"""Batches in order and complete, however little memory there is; pinned memory for a GPU alone."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stubs import Info, NumpyModel

from clipeval.embedding import pipeline, transfers
from clipeval.embedding.embed import embed_images
from clipeval.embedding.loading import default_workers
from clipeval.embedding.pipeline import Pipeline
from clipeval.embedding.store import Store

FULL = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Small(NumpyModel):
    """A device that has memory for so many images at once; it notes what was tried, and what was asked when."""

    def __init__(self, holds, device="cpu", error=FULL):
        super().__init__()
        self.holds, self.device, self.error, self.tried = holds, device, error, []

    def encode_images(self, pixels, features="projected"):
        self.tried.append(len(pixels))
        if len(pixels) > self.holds:
            raise self.error
        return super().encode_images(pixels)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of numpy: what is sent is there, and what is fetched is noted when it is waited for."""
    log = []

    def fetch(features):
        number = sum(1 for kind, _ in log if kind == "start")
        log.append(("start", number))

        def wait():
            log.append(("wait", number))
            return features

        return wait

    monkeypatch.setattr(pipeline, "send", lambda pixels, device: pixels)
    monkeypatch.setattr(pipeline, "fetch", fetch)
    monkeypatch.setattr(pipeline, "free_memory", lambda device: log.append(("free", device)))
    return log


def batches(sizes, lasts=()):
    """Batches of so many images (None: none could be read); each image is a row of its own number."""
    at = 0
    for i, n in enumerate(sizes):
        pixels = None if n is None else np.arange(at, at + n, dtype=np.float32)[:, None] + 1
        at += n or 0
        yield pixels, f"batch {i}", i in lasts or i == len(sizes) - 1


def run(model, sizes, lasts=(), **how):
    """(features of all batches one after the other, what came with them, the pipeline)."""
    made = Pipeline(model, **how)
    found = list(made.run(batches(sizes, lasts)))
    lengths = [None if rows is None else len(rows) for rows, *_ in found]
    assert lengths == [n or None for n in sizes]
    rows = [rows for rows, *_ in found if rows is not None]
    return np.concatenate(rows).ravel() - 1, [what for _, what, _ in found], made


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
@pytest.mark.parametrize("gather", [True, False])
@pytest.mark.parametrize("holds", [1000, 64, 13, 1])
def test_every_row_comes_once_and_in_order_whatever_memory_holds(gpu, device, gather, holds):
    sizes = [64, None, 64, 1, 64, 30, 64, 7]
    model = Small(holds, device)
    found, said, made = run(model, sizes, lasts=(2,), gather=gather)
    assert found.tolist() == list(range(294))
    assert said == [f"batch {i}" for i in range(8)]
    assert made.at_once == max(n for n in model.tried if n <= holds) <= holds
    assert sum(n for n in model.tried if n <= holds) == 294, "no image was encoded twice"


def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(gpu):
    model = Small(20)
    run(model, [64, 64])
    assert model.tried == [64, 32, 16, 16, 16, 16, 16, 16, 16, 16]
    assert [kind for kind, _ in gpu].count("free") == 2


@pytest.mark.parametrize(
    ("error", "holds"), [(RuntimeError("shapes cannot be multiplied"), 4), (MemoryError(), 0)]
)
def test_another_error_and_one_image_that_does_not_fit_are_raised(error, holds):
    model = Small(holds, error=error)
    with pytest.raises(type(error)) as raised:
        run(model, [8])
    assert raised.value is error and model.tried == ([8] if holds else [8, 4, 2, 1])


def test_torchs_own_error_is_lack_of_memory():
    torch = pytest.importorskip("torch")
    model = Small(5, error=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert run(model, [8])[0].tolist() == list(range(8)) and model.tried == [8, 4, 4]


def test_a_gpu_is_given_batches_together_up_to_the_end_of_a_shard(gpu, monkeypatch):
    monkeypatch.setattr(pipeline, "GPU_BATCH", 128)
    model = Small(1000, "cuda")
    run(model, [64, 64, 64, 64, 64, 64], lasts=(2,), gather=True)
    assert model.tried == [128, 64, 128, 64]
    model = Small(100, "cuda")
    run(model, [64] * 5, gather=True)
    assert model.tried == [128, 64, 64, 64, 64, 64]
    model = Small(1000, "cpu")
    run(model, [64] * 3, gather=True)
    assert model.tried == [64] * 3


def test_a_gpu_is_waited_for_some_batches_later_and_a_cpu_at_once(gpu):
    run(Small(64, "cuda"), [64] * 6)
    ahead = pipeline.AHEAD
    assert [kind for kind, _ in gpu][: ahead + 2] == ["start"] * (ahead + 1) + ["wait"]
    assert [n for kind, n in gpu if kind == "wait"] == list(range(6))
    gpu.clear()
    run(Small(64, "cpu"), [64] * 3)
    assert [kind for kind, _ in gpu] == ["start", "wait"] * 3


class Tensor:
    """Notes what is asked of it."""

    def __init__(self, is_cuda=False, pinned=False):
        self.is_cuda, self.pinned, self.asked = is_cuda, pinned, []
        self.shape, self.dtype, self.device = (2, 3), "float32", "cuda:1"

    def is_pinned(self):
        return self.pinned

    def pin_memory(self):
        self.asked.append("pin")
        return self

    def to(self, device, **how):
        self.asked.append(("to", device, how))
        return self

    def copy_(self, other, **how):
        self.asked.append(("copy", how))


def test_memory_is_pinned_and_copies_do_not_block_for_a_gpu_alone(monkeypatch):
    for device in ("cpu", "mps"):
        pixels = Tensor()
        assert transfers.send(pixels, device) is pixels and pixels.asked == []
        assert transfers.fetch(pixels)() is pixels and pixels.asked == []
    there = ("to", "cuda:1", {"non_blocking": True})
    for pinned, asked in ((False, ["pin", there]), (True, [there])):
        pixels = Tensor(pinned=pinned)
        transfers.send(pixels, "cuda:1")
        assert pixels.asked == asked
    assert default_workers("cuda") >= default_workers("cpu")


def test_features_of_a_gpu_are_waited_for_by_the_call_alone(monkeypatch):
    import torch

    host, log = Tensor(), []

    class Event:
        def record(self, stream):
            log.append(("record", stream))

        def synchronize(self):
            log.append("wait")

    def empty(shape, *, dtype, pin_memory):
        assert (shape, dtype, pin_memory) == ((2, 3), "float32", True)
        return host

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    wait = transfers.fetch(Tensor(is_cuda=True))
    assert host.asked == [("copy", {"non_blocking": True})] and log == [
        ("record", "stream of cuda:1")
    ]
    assert wait() is host and log[-1] == "wait"


def test_a_run_short_of_memory_gives_the_same_bits_and_says_how_many_fitted(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    files = [str(tmp_path / f"{i:02}.png") for i in range(20)]
    for file, pixels in zip(files, noise, strict=True):
        Image.fromarray(pixels).save(file)
    images = pd.DataFrame({"image_id": files, "file": files})
    how = {
        "info": Info("c3" * 32),
        "workers": 0,
        "progress": False,
        "batch_size": 8,
        "shard_size": 16,
    }
    small = embed_images(images, get_model=lambda: Small(3), store=Store(tmp_path / "store"), **how)
    whole = embed_images(images, get_model=NumpyModel, **how)
    np.testing.assert_array_equal(small.matrix, whole.matrix)
    assert (small.at_once, whole.at_once, small.encoded) == (2, 8, 20)
    again = embed_images(images, get_model=None, store=Store(tmp_path / "store"), **how)
    assert again.at_once == 0

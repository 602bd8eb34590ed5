"""Images a second on a GPU, beside the forward pass alone, decoding alone and a plain open_clip loop, in one call.

    python benchmarks/gpu.py [--images 4096] [--json FILE]

ViT-B-32-quickgelu and ViT-L-14-quickgelu with random weights on generated JPEG files, in fp32, fp16, bf16 and compiled;
how many top labels lower precision changes; and the time of a full choice of C of a linear probe at FairFace's size.
Without a GPU nothing is measured and nothing is written.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

NAMES = ("ViT-B-32-quickgelu", "ViT-L-14-quickgelu")
WAYS = {
    "fp32": {},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "compile": {"runtime": "compile"},
}
CLASSES = ("man", "woman", "child", "animal", "criminal", "doctor")
BATCH = 256


def rate(function, n: int, rounds: int) -> list[float]:
    """Images a second: median, lowest and highest of so many rounds; the device is waited for at the end of each."""
    import torch

    function()
    rates = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        torch.cuda.synchronize()
        rates.append(n / (time.perf_counter() - began))
    return [statistics.median(rates), min(rates), max(rates)]


def measure(name: str, files: list[str], rounds: int) -> dict:
    """Rates of one model in all ways, and the top labels that lower precision changes."""
    import open_clip
    import torch
    from embedding_throughput import PlainPhotos, random_model

    from clipeval.embedding.embed import embed_images
    from clipeval.embedding.loading import Photos, default_workers, load_batches, split_preprocess
    from clipeval.embedding.rows import unit_rows
    from clipeval.embedding.store import Store
    from clipeval.models import load_model

    images, n = pd.DataFrame({"image_id": files, "file": files}), len(files)
    workers, found, exact = default_workers("cuda"), {}, None
    with tempfile.TemporaryDirectory() as folder:
        local = random_model(folder, name)
        plain, _, transform = open_clip.create_model_and_transforms(local)
        plain.eval().cuda()
        for way, how in WAYS.items():
            model = load_model(local, device="cuda", **how)
            each, finish = split_preprocess(model.preprocess, "cuda")
            batch = finish(torch.stack([each(open_image(file)) for file in files[:BATCH]]))

            def forward(model=model, batch=batch):
                for _ in range(0, n, len(batch)):
                    model.encode_images(batch)

            def embed(model=model):
                with tempfile.TemporaryDirectory() as root:
                    how = {"info": model.info, "get_model": lambda: model, "store": Store(root)}
                    return embed_images(images, progress=False, **how)

            def decode(each=each):
                parts = np.array_split(np.arange(n), range(64, n, 64))
                for _ in load_batches(Photos(images, each), parts, workers, "cuda"):
                    pass

            def loop(precision=model.info.precision):
                loader = torch.utils.data.DataLoader(
                    PlainPhotos(files, transform), BATCH, num_workers=workers, pin_memory=True
                )
                kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
                with torch.inference_mode(), torch.autocast("cuda", kind, enabled=kind is not None):
                    return [plain.encode_image(batch.cuda()).float().cpu() for batch in loader]

            ways = {"forward": forward, "decode": decode, "plain loop": loop, "embed_images": embed}
            one = {label: rate(run, n, rounds) for label, run in ways.items()}
            one["of the smaller of forward and decode"] = one["embed_images"][0] / min(
                one["forward"][0], one["decode"][0]
            )
            result = embed()
            one["images at once"] = result.at_once
            texts = unit_rows(model.encode_texts([f"a photo of a {c}" for c in CLASSES]))
            labels = (result.matrix @ texts.T).argmax(1)
            exact = labels if exact is None else exact
            one["changed labels, percent"] = 100 * float((labels != exact).mean())
            print(f"{name} {way}: {one}", flush=True)
            found[way] = one
            del model
            torch.cuda.empty_cache()
    return found


def open_image(file: str):
    """An RGB image."""
    from PIL import Image

    return Image.open(file).convert("RGB")


def probe(images: int) -> dict:
    """Seconds of the full choice of C on a GPU, on generated features."""
    from linear_probe import generate

    from clipeval.classify.probe import fit_probe

    x, labels = generate(images, 0)
    began = time.perf_counter()
    fitted = fit_probe(x, labels, device="cuda")
    return {"images": images, "seconds": time.perf_counter() - began, "C": fitted.C}


def main(arguments=None) -> None:
    """Measure where there is a GPU; say so where there is none."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default="")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not measured: no GPU")
        return
    from embedding_throughput import generate

    found = {"card": torch.cuda.get_device_name(0), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        generate(folder, given.images)
        files = sorted(map(str, Path(folder).iterdir()))
        found |= {name: measure(name, files, given.rounds) for name in NAMES}
    found["linear probe"] = probe(86_744)
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Images a second on a GPU, beside the forward pass alone, decoding alone and a plain open_clip loop, in one call.

    python benchmarks/gpu.py [--images 4096] [--json FILE]
    python benchmarks/gpu.py --pretrained openai --photos FOLDER      trained weights on photographs
    python benchmarks/gpu.py --device cpu --images 64 --rounds 1      a rehearsal

ViT-B-32-quickgelu and ViT-L-14-quickgelu with random weights on generated JPEG files, in fp32, fp16, bf16 and compiled;
how many top labels lower precision changes, which says little about random weights; and the time of a full choice of C
of a linear probe at FairFace's size. The four loops take turns, and ratios are taken within a round: medians with their
range. Without a GPU nothing is measured. A rehearsal runs the same lines on the CPU, says so, and keeps nothing.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

NAMES = "ViT-B-32-quickgelu,ViT-L-14-quickgelu"
WAYS = {
    "fp32": {},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "compile": {"runtime": "compile"},
}
CLASSES = ("man", "woman", "child", "animal", "criminal", "doctor")
BATCH = 256


def spread(values) -> list[float]:
    """Median, lowest and highest."""
    return [statistics.median(values), min(values), max(values)]


def timed(function, device: str) -> float:
    """Seconds until a device has done all that it was given."""
    import torch

    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    began = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - began


def rates(loops: dict, n: int, rounds: int, device: str) -> dict:
    """Images a second of each loop, and the ratios that are asked for; the first round warms up."""
    found = {label: [] for label in loops}
    for turn in range(rounds + 1):
        for label, loop in loops.items():
            seconds = timed(loop, device)
            if turn:
                found[label].append(n / seconds)
    smaller = map(min, found["forward"], found["decode"])
    compared = {"smaller of forward and decode": list(smaller), "plain loop": found["plain loop"]}
    ratios = {
        f"of the {label}": [
            mine / other for mine, other in zip(found["embed_images"], each, strict=True)
        ]
        for label, each in compared.items()
    }
    return {label: spread(each) for label, each in (found | ratios).items()}


def measure(name: str, tag: str | None, files: list[str], given) -> dict:
    """Rates of one model in all ways, and the top labels that lower precision changes."""
    import open_clip
    import torch
    from embedding_throughput import PlainPhotos
    from PIL import Image

    from clipeval.embedding.embed import embed_images
    from clipeval.embedding.loading import Photos, default_workers, load_batches, split_preprocess
    from clipeval.embedding.rows import unit_rows
    from clipeval.embedding.store import Store
    from clipeval.models import load_model

    device, n, found, exact = given.device, len(files), {}, None
    images = pd.DataFrame({"image_id": files, "file": files})
    workers = default_workers(device) if given.workers is None else given.workers
    plain, _, transform = open_clip.create_model_and_transforms(name, pretrained=tag)
    plain.eval().to(device)
    for way in given.ways.split(","):
        model = load_model(name, tag, device=device, **WAYS[way])
        model.offers = lambda: [[[f"a photo of a {c}"] for c in CLASSES]]
        each, finish = split_preprocess(model.preprocess, device)
        opened = [each(Image.open(file).convert("RGB")) for file in files[:BATCH]]
        batch = finish(torch.stack(opened).to(device))

        def forward(model=model, batch=batch):
            for start in range(0, n, len(batch)):
                model.encode_images(batch[: n - start])

        def decode(each=each):
            parts = np.array_split(np.arange(n), range(64, n, 64))
            for _ in load_batches(Photos(images, each), parts, workers, device):
                pass

        def loop(precision=model.info.precision):
            how = {"num_workers": workers, "pin_memory": device.startswith("cuda")}
            loader = torch.utils.data.DataLoader(PlainPhotos(files, transform), BATCH, **how)
            kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
            cast = torch.autocast(device.partition(":")[0], kind, enabled=kind is not None)
            with torch.inference_mode(), cast:
                return [plain.encode_image(batch.to(device)).float().cpu() for batch in loader]

        def embed(model=model):
            with tempfile.TemporaryDirectory() as root:
                how = {"info": model.info, "get_model": lambda: model, "store": Store(root)}
                return embed_images(images, workers=workers, progress=False, **how)

        loops = {"forward": forward, "decode": decode, "plain loop": loop, "embed_images": embed}
        one = rates(loops, n, given.rounds, device)
        result = embed()
        texts = unit_rows(model.encode_texts([f"a photo of a {c}" for c in CLASSES]))
        labels = (result.matrix @ texts.T).argmax(1)
        exact = labels if exact is None else exact
        one["images at once"] = result.at_once
        one["changed labels, percent"] = 100 * float((labels != exact).mean())
        print(f"{way}: {one}", flush=True)
        found[way] = one
        del model, forward, embed, loops, batch  # each holds what lies in the device's memory
        torch.cuda.empty_cache()
    return found


def probe(images: int, device: str) -> dict:
    """Seconds of the full choice of C, on generated features, and of the same once more."""
    from linear_probe import generate

    from clipeval.classify.probe import fit_probe

    x, labels = generate(images, 0)
    fits = []
    seconds = [
        timed(lambda: fits.append(fit_probe(x, labels, device=device)), device) for _ in "12"
    ]
    return {"images": images, "seconds": seconds, "C": fits[0].C}


def main(arguments=None) -> None:
    """Measure where there is a GPU; say so where there is none."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu for a rehearsal")
    parser.add_argument("--models", default=NAMES, help="of open_clip, or local-dir:FOLDER")
    parser.add_argument("--pretrained", default="", help="tag; by default weights are random")
    parser.add_argument("--photos", default="", help="folder of .jpg files; generated by default")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--probe-images", type=int, default=86_744)
    parser.add_argument("--workers", type=int, help="default: what embed_images chooses")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default="")
    given = parser.parse_args(arguments)
    rehearsal = not given.device.startswith("cuda")
    if rehearsal and given.json:
        parser.error("--json keeps what a GPU did; leave it out, or leave out --device.")
    if not rehearsal and not torch.cuda.is_available():
        print("not measured: no GPU")
        return
    from embedding_throughput import generate, random_model

    card = f"CPU, {platform.machine()}" if rehearsal else torch.cuda.get_device_name(given.device)
    found = {"card": card, "torch": torch.__version__, "weights": given.pretrained or "random"}
    print(f"on {card}, {found['weights']} weights", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if not given.photos:
            generate(folder, given.images)
        files = sorted(map(str, Path(given.photos or folder).rglob("*.jpg")))[: given.images]
        for name in given.models.split(","):
            print(name, flush=True)
            with tempfile.TemporaryDirectory() as into:
                known = given.pretrained or name.startswith("local-dir:")
                how = (
                    (name, given.pretrained or None) if known else (random_model(into, name), None)
                )
                found[name] = measure(*how, files, given)
    found["linear probe"] = probe(given.probe_images, given.device)
    print(f"linear probe: {found['linear probe']}")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Speed of `embed_images` on photos, beside the model's forward pass alone and beside other loops.

    python benchmarks/embedding_throughput.py [PHOTOS] [--images 256] [--rounds 7] [--beside 7] [--json FILE]

Without a folder of photos, 224 x 224 JPEG files are generated. Every round runs all of these on the same
images and the same ViT-B-32-quickgelu with random weights, the forward pass before and after each other:

forward         `model.encode_images` over batches that are preprocessed and in memory already
plain           the loop everybody writes: open_clip's transforms, a torch DataLoader, normalise
clip_benchmark  `run_classification` of CLIP_benchmark (PyPI), its classifier built beforehand; only
                where it is installed
clipeval        `embed_images` into an empty store, worker start-up, hashes and synced shards included

What counts is the ratio of the mean of the two forward passes around it to the time of a way, and of
those the median: virtual processors change their speed by a fifth within a minute, which two passes
around it follow. On a very busy machine the ratio of processor times (worker processes included, and
with OMP_NUM_THREADS=1, so that no thread spins while it waits) still tells what is spent beside the
forward pass. So does the share of the time of `embed_images` that passes within `model.encode_images`, which no
change of speed between two runs can move; but that photos are decoded beside it is not seen in it.
"""

import argparse
import copy
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

NAME = "ViT-B-32-quickgelu"


def random_model(folder: str, name: str = NAME) -> str:
    """Save a full-size model with random weights; returns its name for `load_model`."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = open_clip.create_model(name)
    config = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(network),
    }
    Path(folder, "open_clip_config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), Path(folder, "open_clip_model.safetensors"))
    return f"local-dir:{folder}"


def spent() -> tuple[float, float]:
    """Seconds by the clock, and processor seconds of this process and its children, until now."""
    return time.perf_counter(), sum(os.times()[:4])


def spread(values) -> list[float]:
    """[median, lowest, highest]."""
    return [float(f(values)) for f in (np.median, np.min, np.max)]


class PlainPhotos:
    """The data set of the plain loop."""

    def __init__(self, files, transform):
        self.files, self.transform = files, transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        from PIL import Image

        return self.transform(Image.open(self.files[i]).convert("RGB"))


class LabelledPhotos(PlainPhotos):
    """The same with a class for each, as CLIP_benchmark reads them."""

    def __getitem__(self, i):
        return super().__getitem__(i), 0


def generate(folder: str, n: int) -> None:
    """Write n JPEG files of 224 x 224 pixels, smooth shapes and noise, about 15 kB each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(n):
        shapes = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize((224, 224)), dtype=np.int16)
        noisy = (pixels + rng.integers(-12, 13, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(Path(folder, f"{i:05d}.jpg"), quality=85)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", default=os.environ.get("CLIPEVAL_BENCH_PHOTOS"))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--beside", type=int, default=7, help="rounds in which other loops run too")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, help="default: what embed_images chooses")
    parser.add_argument("--plain-workers", type=int, default=2)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    generated = tempfile.TemporaryDirectory()
    kept = {"images": arguments.images, "photographs": bool(arguments.photos)}
    if not arguments.photos:
        generate(generated.name, arguments.images)
        arguments.photos = generated.name
    files = sorted(map(str, Path(arguments.photos).rglob("*.jpg")))[: arguments.images]
    if len(files) < arguments.images:
        parser.error(f"{arguments.photos} holds only {len(files)} .jpg files")

    import open_clip
    import torch
    from PIL import Image

    from clipeval.embedding.embed import embed_images
    from clipeval.embedding.store import Store
    from clipeval.models import load_model

    with tempfile.TemporaryDirectory() as folder:
        name = random_model(folder)
        model = load_model(name, device="cpu")
        plain, _, transform = open_clip.create_model_and_transforms(name)
    plain.eval()
    size = arguments.batch_size
    pixels = [transform(Image.open(file).convert("RGB")) for file in files]
    batches = [torch.stack(pixels[i : i + size]) for i in range(0, len(files), size)]
    del pixels
    images = pd.DataFrame({"image_id": files, "file": files})

    def forward():
        return torch.cat([model.encode_images(batch) for batch in batches])

    def plain_loop():
        data = PlainPhotos(files, transform)
        loader = torch.utils.data.DataLoader(data, size, num_workers=arguments.plain_workers)
        with torch.inference_mode():
            parts = [plain.encode_image(batch) for batch in loader]
            return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    watched, inside = copy.copy(model), []

    def encode(*arguments, **more):
        start = time.perf_counter()
        features = model.encode_images(*arguments, **more)
        inside[-1] += time.perf_counter() - start
        return features

    watched.encode_images = encode

    def embed():
        inside.append(0.0)
        with tempfile.TemporaryDirectory() as root:
            return embed_images(
                images,
                info=model.info,
                get_model=lambda: watched,
                store=Store(root),
                batch_size=size,
                workers=arguments.workers,
                progress=False,
            )

    runs = {"clipeval": embed, "plain": plain_loop}
    ours = embed().matrix  # also warms everything up
    difference = np.abs(plain_loop().numpy() - ours).max()
    kept |= {"threads": torch.get_num_threads(), "rounds": arguments.rounds}
    kept["largest_difference"] = float(difference)
    print(f"largest difference of a component from the plain loop: {difference:.1e}")
    try:
        from clip_benchmark.metrics import zeroshot_classification as theirs
    except ImportError:
        print("clip_benchmark is not installed and left out")
    else:
        tokenizer = open_clip.get_tokenizer(NAME)
        classifier = theirs.zero_shot_classifier(
            plain, tokenizer, ["man", "woman"], ["a photo of a {c}."], "cpu", amp=False
        )

        def clip_benchmark():
            data = LabelledPhotos(files, transform)
            loader = torch.utils.data.DataLoader(data, size, num_workers=arguments.plain_workers)
            return theirs.run_classification(plain, classifier, loader, "cpu", amp=False)[0]

        runs["clip_benchmark"] = clip_benchmark
        labels = (ours @ classifier.numpy()).argmax(1)
        same = (clip_benchmark().argmax(1).numpy() == labels).mean()
        kept["same_top_label_percent"] = 100 * float(same)
        print(f"same top label as clip_benchmark: {100 * same:.1f} % of {len(files)} images")

    def taken(run) -> np.ndarray:
        """What `spent` grows by."""
        start = spent()
        run()
        return np.subtract(spent(), start)

    ratios, shares = {label: [] for label in runs}, []
    before = taken(forward)
    for turn in range(arguments.rounds):
        said = [f"forward {len(files) / before[0]:.2f}"]
        labels = list(runs) if turn < arguments.beside else ["clipeval"]
        first = turn % len(labels)
        for label in labels[first:] + labels[:first]:
            took, after = taken(runs[label]), taken(forward)
            ratios[label].append((before + after) / 2 / took)
            if label == "clipeval":
                shares.append(inside[-1] / took[0])
            said += [
                f"{what} {len(files) / t:.2f}"
                for what, t in ((label, took[0]), ("forward", after[0]))
            ]
            before = after
        print(f"round {turn + 1}: images/s  {'  '.join(said)}", flush=True)
    kept["inside"] = spread(shares)
    print(
        "clipeval: {:.3f} of its time in the forward pass ({:.3f} to {:.3f})".format(
            *kept["inside"]
        )
    )
    for label, found in ratios.items():
        for what, values in zip(("wall-clock", "processor"), np.transpose(found), strict=True):
            middle, low, high = kept.setdefault(what, {})[label] = spread(values)
            print(
                f"{label}: {middle:.3f} of the speed of the forward pass alone by {what} time "
                f"(median of {len(values)} rounds, {low:.3f} to {high:.3f})"
            )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()

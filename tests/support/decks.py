"""Sessions on test cards and on real photographs, drawn and embedded once for all tests of a run."""

import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipeval.models.testcard import draw_cards
from clipeval.session.session import Session
from clipeval.studies import start
from clipeval.testcards.planting import compose

PHOTOS = 600


def shared_cache() -> Path:
    """The cache folder of this test run, the same for all of its workers, removed at its end."""
    return Path(os.environ["CLIPEVAL_TEST_CACHE"])


def session_of(study: str, **values) -> Session:
    """A session of `study`, its images embedded; the cache is shared by the whole test run."""
    cache = shared_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(cache))
        session = start(
            study,
            {"store": str(cache / "store"), "out": str(cache / f"out-{os.getpid()}")} | values,
        )
        session.progress = False
        session.embed()
        _ = session.planted
    return session


def photo_session(study: str, real: Path, checkpoint: Path, **values) -> Session:
    """A session on a sample of real FairFace val photographs with the small checkpoint."""
    model = {"model": f"local-dir:{checkpoint}", "device": "cpu", "workers": 0}
    data = {"dataset": "fairface", "data": str(real / "fairface"), "limit": PHOTOS}
    return session_of(study, **(model | data | values))


def by_hand(session: Session, checkpoint: Path, prompts: dict[str, str]) -> pd.Series:
    """Top class of every image from plain open_clip: its own transforms, one image at a time."""
    import torch

    model, tokenizer, images = _plain(checkpoint, tuple(session.images["file"]))
    with torch.inference_mode():
        text = model.encode_text(tokenizer(list(prompts.values())), normalize=True)
    best = (images @ text.T).argmax(dim=1).tolist()
    return pd.Series([list(prompts)[i] for i in best], index=session.images["image_id"])


@functools.cache
def _plain(checkpoint: Path, files: tuple[str, ...]):
    import open_clip
    import torch

    name = f"local-dir:{checkpoint}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    rows = []
    with torch.inference_mode():
        for file in files:
            pixels = transform(Image.open(file).convert("RGB"))[None]
            rows.append(model.encode_image(pixels, normalize=True))
    return model, open_clip.get_tokenizer(name), torch.cat(rows)


def plant(folder: Path, people: pd.DataFrame, prompts: dict[str, str], labels, under=None) -> Path:
    """Draw a card for each row of `people` that answers its label; returns a manifest of them.

    `under` is what it answers where its label is not on offer.
    """
    rng = np.random.default_rng(0)
    names = list(prompts)
    scores = 0.10 + 0.01 * rng.standard_normal((len(people), len(names)))
    for answers, score in ((under, 0.20), (labels, 0.25)):
        if answers is not None:
            scores[np.arange(len(people)), [names.index(label) for label in answers]] = score
    cards = draw_cards(compose(list(prompts.values()), scores, rng), rng)
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{i}.png" for i in range(len(people))]
    for file, card in zip(files, cards, strict=True):
        Image.fromarray(card).save(folder / file, compress_level=1)
    path = folder / "cards.csv"
    people.assign(file=files).to_csv(path, index=False)
    return path


def cluster_interval(sums, sizes, seed):
    """95 % interval (percent) over clusters by scipy and statsmodels, with draws of its own.

    Hesterberg's expanded percentiles, or Wilson's at the effective number of images if wider.
    """
    from scipy.stats import norm, t
    from statsmodels.stats.proportion import proportion_confint

    k, n, rate = len(sums), sizes.sum(), sums.sum() / sizes.sum()
    picks = np.random.default_rng(seed).integers(0, k, (10_000, k))
    tail = norm.cdf(-np.sqrt(k / (k - 1)) * t.ppf(0.975, k - 1))
    low, high = np.quantile(sums[picks].sum(1) / sizes[picks].sum(1), [tail, 1 - tail])
    size = k
    if 0 < rate < 1:
        variance = k / (k - 1) * ((sums - rate * sizes) ** 2).sum() / n**2
        size = min(n, rate * (1 - rate) / variance * (norm.ppf(0.975) / t.ppf(0.975, k - 1)) ** 2)
    wilson = proportion_confint(rate * size, size, method="wilson")
    return [100 * min(low, wilson[0]), 100 * max(high, wilson[1])]


def from_its_folder(session: Session, out: Path, tables) -> tuple[list, list]:
    """What `tables`, a function of a session, returns live and from the run folder alone, written to `out`."""
    live = session.study.open(
        session.parameters.model_copy(update={"out": str(out)}),
        source=session.source,
        images=session.images,
        progress=False,
    )
    live.save_predictions(live.predict())
    found = tables(live)
    live.finish()
    kept = live.parameters.model_copy(update={"pack": str(out), "out": f"{out}-again"})
    return found, tables(live.study.open(kept, progress=False))

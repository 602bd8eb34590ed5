"""The CCTV demo set: 515 test cards in 12 sequences that replay the published rates.

The captions are invented and the cards show none of it. Errors are spread unevenly over the
sequences, as they are in frames of one camera, so that frames are not independent.
"""

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_templates
from clipeval.published import load_published
from clipeval.testcards.planting import Deck, chosen, compose, prediction_rows

#: files under data/ that decide what is drawn
SOURCES = ("templates/bare.yaml", "published/in_text.csv")

FRAMES = 515
LOW, HIGH, CLOSE = 0.10, 0.22, 0.27  # cosines: not chosen, chosen, close caption where it wins

#: sequence -> captions of its frames (caption, close caption), and what its fine question is about
SCENES = {
    "car park": (
        [
            ("a car park with a white van", "a car park with a black van"),
            ("an empty car park", "a full car park"),
        ],
        "a trolley by the barrier",
    ),
    "crossing": (
        [("people walking over a zebra crossing", "dogs walking over a zebra crossing")],
        "a bicycle near the kerb",
    ),
    "loading dock": (
        [
            ("a lorry at a loading dock", "a bus at a loading dock"),
            ("a loading dock with its gate shut", "a loading dock with its gate open"),
        ],
        "a pallet beside the gate",
    ),
    "courtyard": (
        [("a fountain in a paved courtyard", "a statue in a paved courtyard")],
        "a bag on the bench",
    ),
    "corridor": (
        [("an office corridor with blue doors", "an office corridor with green doors")],
        "a person at the far end",
    ),
    "platform": (
        [
            ("a train standing at a platform", "a tram standing at a platform"),
            ("an empty railway platform", "a crowded railway platform"),
        ],
        "a suitcase at the yellow line",
    ),
    "roundabout": (
        [("cars waiting at a roundabout", "motorcycles waiting at a roundabout")],
        "a cone on the island",
    ),
    "harbour": (
        [("a crane unloading a ship", "a crane unloading a barge")],
        "a gull on the railing",
    ),
    "playground": (
        [("swings in a playground in the rain", "swings in a playground in the snow")],
        "a ball under the slide",
    ),
    "motorway": (
        [("light traffic on a motorway", "heavy traffic on a motorway")],
        "a car on the hard shoulder",
    ),
    "museum hall": ([("visitors in a museum hall", "visitors in a church hall")], ""),
    "petrol station": ([("a car at a petrol pump", "a car at a charging point")], ""),
}


def _frames() -> pd.DataFrame:
    """One row a frame with its captions, as in a captions CSV; captions change in time."""
    sizes = [FRAMES // len(SCENES) + (i < FRAMES % len(SCENES)) for i in range(len(SCENES))]
    rows = []
    scenes = enumerate(zip(sizes, SCENES.items(), strict=True), start=1)
    for number, (size, (sequence, (captions, detail))) in scenes:
        for i in range(size):
            caption, close = captions[i * len(captions) // size]
            rows.append(
                {
                    "image_id": f"{number:02d}/{i + 1:03d}.png",
                    "sequence": sequence,
                    "frame": i + 1,
                    "caption": caption,
                    "close_caption": close,
                    "present_caption": f"{detail} is there" if detail else None,
                    "absent_caption": f"{detail} is not there" if detail else None,
                    "fine_truth": ("present" if i % 2 else "absent") if detail else None,
                    "main_caption": captions[0][0],
                }
            )
    return pd.DataFrame(rows)


def _uneven(rows, sequence, count: int, weights, rng) -> np.ndarray:
    """`count` of the places `rows`, by sequence in proportion to its size and weight."""
    names = sorted(set(sequence))
    share = np.array([w * (sequence[rows] == s).sum() for s, w in zip(names, weights, strict=True)])
    ends = np.rint(np.cumsum(share) / share.sum() * count).astype(int)
    picked = [
        rng.permutation(rows[sequence[rows] == name])[:size]
        for name, size in zip(names, np.diff(ends, prepend=0), strict=True)
    ]
    return np.concatenate(picked)


def draw_val() -> Deck:
    """515 frames whose coarse, stress and fine rates are the published ones, to half a frame."""
    rng = np.random.default_rng(5)
    frames = _frames()
    text = load_published("in_text").set_index("quantity")["percent"] / 100
    sequence, caption = frames["sequence"].to_numpy(), frames["caption"].to_numpy(dtype=object)
    everywhere = np.arange(len(frames))
    spread = np.linspace(0.25, 1.75, len(SCENES))

    wrong = len(frames) - round(text["coarse top-1"] * len(frames))
    lost = _uneven(everywhere, sequence, wrong, rng.permutation(spread), rng)
    coarse = caption.copy()
    mains = {name: captions[0][0] for name, (captions, _) in SCENES.items()}
    names = list(mains)
    # a wrong frame is taken for the scene of the next camera
    coarse[lost] = [mains[names[(names.index(s) + 1) % len(names)]] for s in sequence[lost]]
    count = round(text["stress test, close caption chosen"] * len(frames))
    left = np.setdiff1d(everywhere, lost)
    fooled = _uneven(left, sequence, count, rng.permutation(spread), rng)
    stress = coarse.copy()
    stress[fooled] = frames["close_caption"].to_numpy(dtype=object)[fooled]

    detail = frames["fine_truth"].notna().to_numpy()
    right = chosen(detail.sum(), text["fine-grained presence/absence"], rng)
    said = (frames["fine_truth"][detail] == "present").to_numpy() == right
    pair = frames.loc[detail, ["present_caption", "absent_caption"]].to_numpy(dtype=object)
    fine = np.where(said, pair[:, 0], pair[:, 1])

    template = load_templates("bare")
    columns = ["caption", "close_caption", "present_caption", "absent_caption"]
    captions = sorted(set(frames[columns].stack().dropna()))
    place = {text: i for i, text in enumerate(captions)}
    scores = LOW + 0.005 * rng.standard_normal((len(frames), len(captions)))
    scores[everywhere, [place[c] for c in coarse]] = HIGH
    scores[fooled, [place[c] for c in stress[fooled]]] = CLOSE
    scores[np.flatnonzero(detail), [place[c] for c in fine]] = HIGH
    vectors = compose([template.fill(c)[0] for c in captions], scores, rng)

    ids = frames["image_id"]
    planted = [
        prediction_rows(ids, coarse, task="coarse", class_set="captions"),
        prediction_rows(ids, stress, task="stress", class_set="captions"),
        prediction_rows(ids[detail], fine, task="fine", class_set="captions"),
    ]
    return Deck(frames, vectors, pd.concat(planted, ignore_index=True))

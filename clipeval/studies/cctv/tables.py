"""CCTV: which caption fits a frame of a surveillance camera (arXiv 2103.00020, section 7.2).

Every frame has captions of its own, so no class set serves all of them: `questions` says what
each frame is asked, and everything else follows from that table.
"""

import numpy as np
import pandas as pd

from clipeval.datasets.cctv import CAPTIONS, MIN_OPTIONS
from clipeval.errors import DataError
from clipeval.output.numbers import number
from clipeval.published import load_published, with_published
from clipeval.stats import (
    FEW_CLUSTERS,
    IMAGES,
    all_different,
    cluster_rates,
    counted,
    counted_once,
    group_rates,
)
from clipeval.studies.cctv.questions import questions

SOURCE = "arXiv 2103.00020, section 7.2"
#: (task, metric) -> name of the published number in data/published/in_text.csv; of fine the paper
#: says only "near random", not a number
METRICS = {
    ("coarse", "top-1"): "coarse top-1",
    ("stress", "top-1"): "stress test top-1",
    ("stress", "close caption chosen"): "stress test, close caption chosen",
    ("fine", "accuracy"): "",
}
TASKS = ("coarse", "stress", "fine")
INTERVALS = ("frame (Wilson)", "sequence (bootstrap)")


def session_questions(session) -> pd.DataFrame:
    """`questions` for a session's frames; with a `limit`, captions of all frames stay on offer.

    Raises
    ------
    DataError  as `questions` does, and if the images are no frames with captions
    """
    pool = session.load_images(limit=0) if session.parameters.limit else session.images
    if not {"sequence", "main_caption", *CAPTIONS} <= set(pool):
        raise DataError(
            f"{pool.attrs['name']} holds no captions; use dataset cctv, whose frames.csv gives each "
            "frame its own."
        )
    return questions(session.images, pool, options=session.parameters.options)


def remarks(images: pd.DataFrame, asked: pd.DataFrame) -> list[str]:
    """Sentences on what is asked of how many frames, and what limits the answers."""
    n = asked["task"].value_counts()
    sizes = asked.loc[asked["task"] == "coarse", "offered"].map(len)
    lines = [
        f"{n.get('coarse', 0):,} of {len(images):,} frames have a caption (coarse, stress) and "
        f"{n.get('fine', 0):,} a truth about a detail (fine); the others are counted, not guessed."
    ]
    if len(sizes):
        lines.append(f"Captions on offer in coarse: {sizes.min()} to {sizes.max()} a frame.")
        if few := int((sizes < MIN_OPTIONS).sum()):
            lines.append(
                f"{few:,} frames have fewer than the {MIN_OPTIONS} options of the published study."
            )
    for task in TASKS:
        clusters = asked.loc[asked["task"] == task, "sequence"].nunique()
        if 0 < clusters < FEW_CLUSTERS:
            lines.append(
                f"{task}: {clusters} sequences only; an interval over so few is not to be relied on, "
                "and says little of other scenes."
            )
    return lines


def answers_of(predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """One row an answer and metric: sequence, task, metric, hit, chance (fraction).

    Raises
    ------
    DataError  if an image has two answers to one task
    """
    answers = pd.concat(_answered(predictions, asked).values(), ignore_index=True)
    answers = _with_questions(answers, asked)
    parts = [rows.drop(columns="question") for _, _, rows in _by_metric(answers)]
    return pd.concat(parts, ignore_index=True)


@counted_once
def counted_answers(predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """How many frames were asked which question and gave which answer; `predictions` and errors as in `answers_of`.

    Returns
    -------
    DataFrame: question, label (caption), `stats.IMAGES`, the columns of `questions`, chance (fraction)
    """
    parts = [counted(of, ["question", "label"]) for of in _answered(predictions, asked).values()]
    return _with_questions(pd.concat(parts, ignore_index=True), asked)


def _answered(predictions: pd.DataFrame, asked: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each task the answers: image_id, question, label."""
    found, kept = {}, {"task": "category", "label": "category"}
    top = predictions.loc[predictions["rank"] == 1, ["image_id", "task", "label"]].astype(kept)
    asked = asked[["image_id", "task", "question"]]
    for task in TASKS:
        said, of = (t[(t["task"] == task).to_numpy()].reset_index(drop=True) for t in (top, asked))
        # each image is asked once: the answers to what was asked, in its order, hold none twice
        if not said["image_id"].equals(of["image_id"]):
            if not all_different(said["image_id"]):
                twice = said["image_id"].duplicated()
                raise DataError(
                    f"image {said['image_id'][twice].iloc[0]} has two answers to task {task}; "
                    "keep one row an image, task and rank."
                )
            at = pd.Index(of["image_id"]).get_indexer(said["image_id"])  # needs each image once
            said, of = said[at >= 0], of.iloc[at[at >= 0]]
        found[task] = of.assign(label=said["label"].array).drop(columns="task")
    return found


def _with_questions(answers: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Answers with what was asked of them, and the chance (fraction) to guess it."""
    questions = asked.drop_duplicates("question").set_index("question").drop(columns="image_id")
    questions["chance"] = 1.0 / questions["offered"].map(len).astype(float)
    return answers.join(questions, on="question")


def _by_metric(answers: pd.DataFrame, tasks=TASKS):
    """Each task, metric, and its answers with metric and hit."""
    for task in tasks:
        rows = answers[(answers["task"] == task).to_numpy()].reset_index(drop=True)
        label = rows["label"].astype(object).to_numpy()
        for metric in (metric for name, metric in METRICS if name == task):
            wanted = rows["close" if metric.startswith("close") else "truth"].astype(object)
            hit = (label == wanted.to_numpy()).astype(bool)
            yield task, metric, rows.assign(metric=metric, hit=hit)


def _chance(rows: pd.DataFrame) -> float:
    """Percent, mean over the images that rows stand for."""
    return 100 * float(np.average(rows["chance"], weights=rows[IMAGES]))


def accuracy(
    predictions: pd.DataFrame, asked: pd.DataFrame, *, seed: int = 0, known: bool = True
) -> pd.DataFrame:
    """How often the true caption (in stress also: the close one) is chosen.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them, of which only rows with rank 1 are used, or as `counted_answers` does.
    asked : DataFrame
        As `questions` returns it.
    seed : int
        Of the bootstrap.
    known : bool
        Whether published values stand beside the rates.

    Returns
    -------
    DataFrame
        task (coarse, stress, fine), interval, n, count, metric (top-1, close caption chosen,
        accuracy), percent, ci_low, ci_high, published, difference, chance (percent), clusters
        (sequences), few_clusters. Each rate has two rows: interval "frame (Wilson)" takes frames as
        independent, "sequence (bootstrap)" draws whole sequences. Of fine the paper says "near
        random": no number, so `published` is empty; compare `chance`. Source: arXiv 2103.00020,
        section 7.2.
    """
    parts, how = [], {"clusters": "sequence", "images": IMAGES, "seed": seed}
    for task, metric, rows in _by_metric(counted_answers(predictions, asked)):
        if rows.empty:
            continue
        rate = cluster_rates(rows, "hit", metric=metric, **how)
        rate = rate.assign(chance=_chance(rows))
        low, high = rate.pop("cluster_low"), rate.pop("cluster_high")
        rate.insert(0, "task", task)
        rate.insert(1, "interval", INTERVALS[0])
        parts += [rate, rate.assign(interval=INTERVALS[1], ci_low=low, ci_high=high)]
    table = pd.concat(parts, ignore_index=True)
    table["quantity"] = [METRICS[key] for key in zip(table["task"], table["metric"], strict=True)]
    published = load_published("in_text")
    table = with_published(
        table, published if known else published[:0], on=["quantity"], value="percent"
    )
    last = ["chance", "clusters", "few_clusters"]
    return table[[c for c in table if c not in (*last, "quantity")] + last]


def in_words(accuracy: pd.DataFrame) -> str:
    """A sentence on what the close caption and the small thing do to the rates of `accuracy`."""
    rates = accuracy[accuracy["interval"] == INTERVALS[1]].set_index(["task", "metric"])
    said = []
    if ("coarse", "top-1") in rates.index:
        coarse, stress, close = (
            rates.loc[key, "percent"] for key in METRICS if key[0] in ("coarse", "stress")
        )
        said += [f"The true caption is chosen for {number(coarse)} % of the frames, and for {number(stress)} % "
                 f"once a close one is on offer, which is chosen for {number(close)} %."]  # fmt: skip
    if ("fine", "accuracy") in rates.index:
        fine = rates.loc[("fine", "accuracy")]
        published = " (published: near random)" if accuracy["published"].notna().any() else ""
        said.append(
            f"Whether the small thing is there is answered rightly for {number(fine['percent'])} %, where "
            f"guessing gives {fine['chance']:.0f} %{published}."
        )
    return " ".join(said)


def by_sequence(predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """`accuracy` within each sequence, with Wilson intervals over its frames.

    Returns
    -------
    DataFrame: sequence, task, n, count, metric, percent, ci_low, ci_high, published and difference
    (nothing was published by sequence), chance (percent)
    """
    parts = []
    for task, metric, rows in _by_metric(counted_answers(predictions, asked)):
        if rows.empty:
            continue
        rates = group_rates(rows, "hit", by=["sequence"], metric=metric, images=IMAGES)
        rates.insert(1, "task", task)
        chance = {name: _chance(part) for name, part in rows.groupby("sequence")}
        rates = rates.assign(published=np.nan, difference=np.nan)
        parts.append(rates.assign(chance=rates["sequence"].map(chance)))
    return pd.concat(parts, ignore_index=True)


def confusion(predictions: pd.DataFrame, asked: pd.DataFrame, *, task="coarse") -> pd.DataFrame:
    """Which sequence's caption the frames of each sequence were given.

    Parameters
    ----------
    task : "coarse" or "stress"

    Returns
    -------
    DataFrame, rows the frames' own sequence, columns the sequence whose caption was chosen, values
    percent of the row's frames (`attrs["n"]`: how many these are); a caption that several other
    sequences share has a column "several", in stress the close caption a column "close caption"
    """
    answers = counted_answers(predictions, asked)
    [answers] = (rows for _, said, rows in _by_metric(answers, [task]) if said == "top-1")
    columns = (answers[name] for name in ("label", "offered", "scenes"))
    chosen = [scenes[offered.index(label)] for label, offered, scenes in zip(*columns, strict=True)]
    table = answers.assign(chosen=chosen).pivot_table(
        IMAGES, "sequence", "chosen", aggfunc="sum", fill_value=0
    )
    names = list(table.index)
    more = sorted(set(table) - set(names))
    table = table.reindex(columns=[*names, *more], fill_value=0)
    percent = 100 * table.div(table.sum(axis=1), axis=0)
    percent = percent.rename_axis(index="sequence", columns="chosen")
    percent.attrs["n"] = {str(name): int(n) for name, n in table.sum(axis=1).items()}
    return percent

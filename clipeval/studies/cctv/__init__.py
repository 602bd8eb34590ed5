"""CCTV: which caption fits a frame of a surveillance camera (arXiv 2103.00020, section 7.2).

Every frame has captions of its own, so there is no class set for all: `cctv_questions` says what
each frame is asked, and everything else follows from that table.
"""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import class_set_of
from clipeval.datasets.cctv import MIN_OPTIONS
from clipeval.published import load_published, with_published
from clipeval.session import parameters
from clipeval.stats import FEW_CLUSTERS, cluster_rates, group_rates
from clipeval.studies.cctv.questions import questions

__all__ = [
    "METRICS",
    "SOURCE",
    "Parameters",
    "about",
    "accuracy",
    "by_sequence",
    "check",
    "confusion",
    "in_words",
    "outcomes",
    "predict",
    "questions",
    "remarks",
    "session_questions",
]

SOURCE = "arXiv 2103.00020, section 7.2"
#: (task, metric) -> name of the published number in data/published/in_text.csv; of fine the paper
#: says only "near random", which is no number
METRICS = {
    ("coarse", "top-1"): "coarse top-1",
    ("stress", "top-1"): "stress test top-1",
    ("stress", "close caption chosen"): "stress test, close caption chosen",
    ("fine", "accuracy"): "",
}
TASKS = ("coarse", "stress", "fine")
INTERVALS = ("frame (Wilson)", "sequence (bootstrap)")


class Parameters(parameters.Parameters):
    """Parameters of the CCTV study."""

    decides: ClassVar = ("seed", "options")

    templates: str = Field("bare", description="prompt templates; bare sends each caption as it is")
    options: Literal["all", "main"] = Field(
        "all",
        description="captions of other scenes on offer: all of theirs, or the main one of each",
    )
    title: str = Field("CCTV frames", description="name of your own frames, for captions")
    licence: str = Field("", description="their licence, for captions")
    citation: str = Field("", description="how to cite them")


def session_questions(session) -> pd.DataFrame:
    """`questions` for a session's frames; with a `limit`, captions of all frames stay on offer."""
    pool = session.load_images(limit=0) if session.parameters.limit else session.images
    return questions(session.images, pool, options=session.parameters.options)


def prompts(session) -> list[str]:
    """Every caption that is on offer for some frame, as it is sent."""
    captions = {c for offered in session_questions(session)["offered"] for c in offered}
    return [text for caption in sorted(captions) for text in session.templates.fill(caption)]


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


def about(session) -> dict:
    """What captions say beside the usual: which captions are on offer, and how many frames are asked."""
    n = session_questions(session)["task"].value_counts()
    asked = " and ".join(f"{n[task]:,} for {task}" for task in TASKS if task in n)
    return {
        "choices": (f"options {session.parameters.options}",),
        "n_text": f"{len(session.embed()):,} frames read, questions: {asked}",
    }


def check(session) -> str:
    """What `clipeval check` says of this study; errors as in `questions`, before a model is loaded."""
    return " ".join(remarks(session.images, session_questions(session)))


def predict(session) -> pd.DataFrame:
    """Zero-shot predictions for every frame and task of `session_questions`.

    Returns
    -------
    DataFrame: image_id, task (coarse, stress, fine), method, class_set, templates, rank (all of the
    captions on offer), label (caption), prob (among those on offer), and the groups
    """
    from clipeval.classify.zeroshot import class_weights, rank_classes

    asked = session_questions(session)
    embeddings, templates = session.embed(), session.templates
    captions = sorted({caption for offered in asked["offered"] for caption in offered})
    prompts = {caption: templates.fill(caption) for caption in captions}
    weights = class_weights(prompts, session.encode)
    place = {caption: i for i, caption in enumerate(captions)}
    rows = {image_id: i for i, image_id in enumerate(embeddings.image_id)}
    asked = asked[asked["image_id"].isin(rows)]  # the others could not be read, and are listed
    parts = []
    for (task, offered), frames in asked.groupby(["task", "offered"], sort=False):
        matrix = embeddings.matrix[[rows[image_id] for image_id in frames["image_id"]]]
        texts = weights[[place[c] for c in offered]]
        order, prob = rank_classes(matrix, texts, session.info)
        n, k = order.shape
        parts.append(
            pd.DataFrame(
                {
                    "image_id": np.repeat(frames["image_id"].to_numpy(dtype=object), k),
                    "task": task,
                    "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
                    "label": np.asarray(offered, dtype=object)[order].ravel(),
                    "prob": prob.ravel(),
                }
            )
        )
    predictions = pd.concat(parts, ignore_index=True)
    about = _note_captions(session, asked)
    predictions.insert(2, "method", "zero-shot")
    predictions.insert(3, "class_set", about)
    predictions.insert(4, "templates", templates.label)
    keys = [predictions["task"].map(TASKS.index), predictions["image_id"].map(rows)]
    predictions = predictions.iloc[np.lexsort([predictions["rank"], *keys[::-1]])]
    for column in ("task", "method", "class_set", "templates", "label"):
        predictions[column] = predictions[column].astype("category")
    return session.with_groups(predictions.reset_index(drop=True))


def _note_captions(session, asked: pd.DataFrame) -> str:
    """Record the captions' hash and the templates; the captions themselves stay in the data."""
    tasks = {
        task: sorted({c for offered in rows["offered"] for c in offered})
        for task, rows in asked.groupby("task")
    }
    source = "captions in the data set, each frame its own"
    captions = class_set_of("captions", tasks, source=source, variant=session.parameters.options)
    for task in tasks:
        prompts = {"(each frame's own captions)": list(session.templates.templates)}
        session.note_prompts(task, captions, session.templates, prompts)
    return captions.label


def _answers(predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """One row an answer and metric: sequence, task, metric, hit, chance (fraction)."""
    top = predictions.loc[predictions["rank"] == 1, ["image_id", "task", "label"]]
    top = top.astype({"task": object, "label": object})
    found = top.merge(asked, on=["image_id", "task"], how="inner", validate="one_to_one")
    found["chance"] = 1.0 / found["offered"].map(len)
    parts = []
    for task, metric in METRICS:
        rows = found[found["task"] == task].assign(metric=metric)
        wanted = rows["close" if metric.startswith("close") else "truth"]
        parts.append(rows.assign(hit=(rows["label"] == wanted).astype(bool)))
    return pd.concat(parts, ignore_index=True)


def accuracy(predictions: pd.DataFrame, asked: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How often the true caption (in stress also: the close one) is chosen.

    Parameters
    ----------
    predictions : DataFrame
        As `predict` returns them; only rows with rank 1 are used.
    asked : DataFrame
        As `questions` returns it.
    seed : int
        Of the bootstrap.

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
    answers = _answers(predictions, asked)
    parts = []
    for task, metric in METRICS:
        rows = answers[(answers["task"] == task) & (answers["metric"] == metric)]
        if rows.empty:
            continue
        rate = cluster_rates(rows, "hit", clusters="sequence", metric=metric, seed=seed)
        rate = rate.assign(chance=100 * rows["chance"].mean())
        low, high = rate.pop("cluster_low"), rate.pop("cluster_high")
        rate.insert(0, "task", task)
        rate.insert(1, "interval", INTERVALS[0])
        parts += [rate, rate.assign(interval=INTERVALS[1], ci_low=low, ci_high=high)]
    table = pd.concat(parts, ignore_index=True)
    table["quantity"] = [METRICS[key] for key in zip(table["task"], table["metric"], strict=True)]
    table = with_published(table, load_published("in_text"), on=["quantity"], value="percent")
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
        said += [f"The true caption is chosen for {coarse:.1f} % of the frames, and for {stress:.1f} % "
                 f"once a close one is on offer, which is chosen for {close:.1f} %."]  # fmt: skip
    if ("fine", "accuracy") in rates.index:
        fine = rates.loc[("fine", "accuracy")]
        said.append(
            f"Whether the small thing is there is answered rightly for {fine['percent']:.1f} %, where "
            f"guessing gives {fine['chance']:.0f} % (published: near random)."
        )
    return " ".join(said)


def by_sequence(predictions: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """`accuracy` within each sequence, with Wilson intervals over its frames.

    Returns
    -------
    DataFrame: sequence, task, n, count, metric, percent, ci_low, ci_high, published and difference
    (nothing was published by sequence), chance (percent)
    """
    answers = _answers(predictions, asked)
    parts = []
    for task, metric in METRICS:
        rows = answers[(answers["task"] == task) & (answers["metric"] == metric)]
        if rows.empty:
            continue
        rates = group_rates(rows, "hit", by=["sequence"], metric=metric)
        rates.insert(1, "task", task)
        chance = 100 * rows.groupby("sequence")["chance"].mean()
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
    answers = _answers(predictions, asked)
    answers = answers[(answers["task"] == task) & (answers["metric"] == "top-1")]
    chosen = [
        row.scenes[row.offered.index(row.label)]
        for row in answers[["label", "offered", "scenes"]].itertuples()
    ]
    table = pd.crosstab(answers["sequence"], pd.Series(chosen, index=answers.index))
    names = list(table.index)
    more = sorted(set(table) - set(names))
    table = table.reindex(columns=[*names, *more], fill_value=0)
    percent = 100 * table.div(table.sum(axis=1), axis=0)
    percent = percent.rename_axis(index="sequence", columns="chosen")
    percent.attrs["n"] = {str(name): int(n) for name, n in table.sum(axis=1).items()}
    return percent


def outcomes(predictions: pd.DataFrame, record: dict) -> pd.DataFrame:
    """Right answers of each task and metric, sequences as clusters; see `clipeval.studies.headlines`.

    The captions are not in the predictions: they are read again from the data that the run names.
    """
    from clipeval.session.session import Session

    p = parameters.parse(Parameters, record["parameters"], study="cctv")
    answers = _answers(predictions, session_questions(Session("cctv", p, progress=False)))
    answers = answers.assign(quantity=answers["task"] + " " + answers["metric"])
    columns = ["image_id", "quantity", "task", "hit"]
    return answers.rename(columns={"sequence": "cluster"})[[*columns, "cluster"]]

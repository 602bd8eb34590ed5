"""What the CCTV notebook shows: questions, accuracy by task and by sequence, and which scene is taken for which."""

from functools import partial

import pandas as pd
from IPython.display import display

from clipeval.output import figures
from clipeval.output.tables import show_frame
from clipeval.studies.cctv.tables import (
    SOURCE,
    accuracy,
    by_sequence,
    confusion,
    in_words,
    remarks,
)
from clipeval.studies.showing import draw

_INTERVALS = "95 % intervals: Wilson over frames, and bootstrap over whole sequences"
_FRAMES = {"xlabel": "percent of frames", "what": "frames"}


def show_questions(session, asked: pd.DataFrame) -> None:
    """Say what is asked of how many frames, and show the first question of each task."""
    print(*remarks(session.images, asked), sep="\n")
    first = asked.assign(offered=asked["offered"].map(len)).groupby("task", sort=False).first()
    display(show_frame(first[["truth", "close", "offered"]]))


def _with_question(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with task and metric as one name, such as "coarse: top-1"."""
    return table.assign(question=table["task"] + ": " + table["metric"])


def show_accuracy(session, answers: pd.DataFrame, asked: pd.DataFrame) -> None:
    """Keep and show the table and figure `accuracy`, and say what the close caption does."""
    known = session.comparable
    how = {"asked": asked, "seed": session.parameters.seed, "known": known}
    table = session.tabulate(accuracy, answers, **how)
    source = f"{SOURCE} (fine: “near random”)" if known else None
    said = {"intervals": _INTERVALS, "published_source": source}
    text = "How often the true caption is chosen, and in the stress test the close one."
    extra = ["chance", "clusters", "few_clusters"]
    display(session.table("accuracy", table, text, extra=extra, **said))
    text = (
        "How often the true caption is chosen (coarse: among those of other scenes; stress: with a close one "
        "beside them; fine: of two on a detail), and in the stress test the close one."
    )
    look = {"y": "question", "hue": "interval", "xlim": (0, 100), **_FRAMES}
    draw(session, "accuracy", _with_question(table), text, said, **look)
    print(in_words(table))


def show_sequences(session, answers: pd.DataFrame, asked: pd.DataFrame) -> None:
    """Keep and show the table `by_sequence`, and draw coarse and stress, as a detail is not of a scene."""
    table = session.tabulate(by_sequence, answers, asked=asked)
    text = "Accuracy within each sequence."
    said = {"intervals": "95 % Wilson intervals, as if the frames of a sequence were independent"}
    display(session.table("by_sequence", table, text, **said))
    rows = _with_question(table[table["task"] != "fine"])
    look = {"y": "sequence", "panel": "question", "width": "double", **_FRAMES}
    draw(session, "by_sequence", rows, text, said, **look)


def show_confusion(session, answers: pd.DataFrame, asked: pd.DataFrame) -> None:
    """Keep and draw which sequence's caption the frames of each sequence were given."""
    table = confusion(answers, asked)
    look = {"unit": "percent of the row's frames", "n": table.attrs["n"], "width": "double"}
    look |= {"xlabel": "sequence whose caption was chosen", "ylabel": "sequence of the frame"}
    text = "Coarse: percent of each sequence's frames that were given a caption of each sequence."
    picture = partial(figures.confusion, table, **look)
    display(session.figure("confusion", picture, text, intervals=""))

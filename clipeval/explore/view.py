"""How an exploration looks: figure, table, caption, and thumbnails for those who ask."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.output.markup import Grid, render
from clipeval.output.numbers import count, interval, number

CAUTION = (
    "These are pictures of the data set, shown because you asked. Mind its terms and the people in "
    "them; a notebook that is saved keeps what it shows."
)
COLOURS = 7  # items that a figure can tell apart
ROWS = 40  # groups that a page can hold
POINTS = 120  # images drawn in each group
THUMBNAIL = 96  # pixels of the longer side


def _labels(table: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Name of each row's group."""
    if not by:
        return ["all images"] * len(table)
    return [", ".join(map(str, row)) for row in table[list(by)].itertuples(index=False)]


def figure(explorer):
    """Probabilities of single images (a seeded 120 of each group) beside the groups' rates.

    Returns
    -------
    Picture, 6.9 inches wide: dots are images and black lines the mean of all the group's images at
    the left, rates with Wilson intervals and n at the right

    Raises
    ------
    ParameterError  if there are more groups or counted items than a page can hold
    """
    from clipeval.output.style import styled

    names = explorer.counted
    labels = list(dict.fromkeys(_labels(explorer.rates, explorer.choice.by)))
    if len(labels) > ROWS or len(names) > COLOURS:
        raise ParameterError(
            f"{len(labels)} groups and {len(names)} counted classes are more than a figure can "
            f"show ({ROWS} and {COLOURS}); group by fewer columns or count fewer."
        )
    return styled(_draw)(explorer, names, labels)


def _draw(explorer, names: list[str], labels: list[str]):
    from matplotlib.lines import Line2D

    from clipeval.output.figures import alt_text
    from clipeval.output.style import Rows, dot_style, percent_axis, rows_picture

    rates = explorer.rates.assign(group=_labels(explorer.rates, explorer.choice.by))
    sizes = rates.groupby("group")["n"].first()
    notes = [[f"{sizes[label]:,}"] for label in labels]
    left = Rows(labels, "probability (dots: images; line: mean)", slots=len(names))
    right = Rows(labels, "images whose top class it is", slots=len(names), notes=notes)
    marks = [dot_style(slot) for slot in explorer.slots]
    handles = [Line2D([], [], ls="-", lw=1.2, **mark) for mark in marks]
    replay = explorer.session.images.attrs.get("planted")
    xlabel = "percent (replay of planted rates on test cards)" if replay else "percent"
    fig = rows_picture([left, right], width="double", xlabel=xlabel, legend=(handles, names))
    _strip(explorer, left, names)
    for i, name in enumerate(names):
        cells = rates[rates["metric"] == name].set_index("group").loc[labels]
        y = [right.y(row, i) for row in range(len(labels))]
        bar = {"ls": "none", "marker": "|", "ms": 6, "mew": 1.1, "color": "black"}
        left.axes.plot(cells["probability"], y, **bar, zorder=4, clip_on=False)
        ends = [cells["percent"] - cells["ci_low"], cells["ci_high"] - cells["percent"]]
        style = {"ls": "none", "elinewidth": 1.2, "zorder": 3, "clip_on": False, "barsabove": True}
        right.axes.errorbar(cells["percent"], y, xerr=np.maximum(ends, 0), **style, **marks[i])
    for panel, end in ((left, 100.0), (right, rates["ci_high"].max())):
        percent_axis(panel.axes, 0.0, end, fig.get_figwidth() * panel.axes.get_position().width)
    what = "percent of images whose top class it is"
    fig.alt = alt_text(rates, y="group", hue="metric", what=what)
    return fig


def _strip(explorer, panel, names: list[str]) -> None:
    """Dots of single images, a column of seaborn's strips for each counted item."""
    import seaborn

    from clipeval.output.style import color

    group = pd.Series(_labels(explorer.images, explorer.choice.by))
    mixed = group.iloc[np.random.default_rng(0).permutation(len(group))]
    picked = np.sort(mixed.groupby(mixed).head(POINTS).index)
    row = group.iloc[picked].map(panel.labels.index).to_numpy()
    scores = [explorer.scores["prob"].iloc[picked + i * len(group)] for i in range(len(names))]
    y = np.concatenate([[panel.y(r, i) for r in row] for i in range(len(names))])
    gaps = np.diff(np.unique(y.round(6)))
    unit = 0.8 * (gaps.min() if len(gaps) else 1.0)  # seaborn measures jitter in this
    axes = panel.axes
    before = axes.get_ylim(), axes.get_yticks(), [t.get_text() for t in axes.get_yticklabels()]
    state = np.random.get_state()
    np.random.seed(0)  # whence seaborn takes its jitter
    try:
        seaborn.stripplot(
            x=100 * np.concatenate(scores),
            y=y,
            hue=np.repeat(names, len(picked)),
            hue_order=names,
            palette=[color(slot) for slot in explorer.slots],
            orient="h",
            native_scale=True,
            jitter=0.045 / unit,
            size=1.8,
            alpha=0.45,
            linewidth=0,
            legend=False,
            clip_on=False,
            ax=axes,
        )
    finally:
        np.random.set_state(state)
    axes.set(xlabel="", ylabel="")
    axes.set_yticks(before[1], before[2])
    axes.set_ylim(before[0])


def caption(explorer) -> str:
    """What is shown, and from which images, model and words: plain text of a few sentences."""
    from clipeval.output.provenance import caption

    choice, session = explorer.choice, explorer.session
    chosen = [f"{name} {' or '.join(values)}" for name, values in choice.where.items() if values]
    if choice.sample:
        chosen.append(f"a random sample of {len(explorer.images):,} (seed {choice.seed})")
    made = session.provenance
    notes = (*made.notes, *([f"Images chosen: {'; '.join(chosen)}"] if chosen else []))
    said = {"class_set": "typed", "class_set_version": "", "variant": "", "notes": notes}
    made = replace(made, n=len(explorer.images), templates=explorer.templates.name, **said)
    by = f", by {' and '.join(choice.by)}" if choice.by else ""
    text = f"Images with each counted class on top, and its probability{by}"
    return caption(text, made, code=session.code)


def table(explorer) -> str:
    """The rates as an HTML table; it needs no style sheet."""
    by, rates = list(explorer.choice.by), explorer.rates
    ends = rates[["percent", "ci_low", "ci_high"]].itertuples(index=False)
    columns = {name: rates[name].astype(str) for name in by} | {
        "counted": rates["metric"],
        "n": [count(n) for n in rates["n"]],
        "top class, %": [interval(*row) for row in ends],
        "mean probability, %": [number(p) for p in rates["probability"]],
    }
    values = [rates[name] for name in ("n", "percent", "probability")]
    numbers = {i: [f"{v:.6g}" for v in of] for i, of in enumerate(values, start=len(by) + 1)}
    shown = Grid(list(columns), list(zip(*columns.values(), strict=True)), numbers, len(by) + 1)
    return render("table", table=shown.about(), caption="", id="")


def result(explorer) -> str:
    """Figure, caption and table as HTML; where a figure cannot hold it all, the reason in its place."""
    about = {"caption": caption(explorer), "table": table(explorer)}
    try:
        fig = figure(explorer)
    except ParameterError as error:
        return render("explored", problem=str(error), **about)
    data, how = fig._repr_mimebundle_()
    picture = {"alt": fig.alt, "width": how["image/png"]["width"], "png": data["image/png"]}
    return render("explored", problem="", **picture, **about)


def thumbnails(explorer, n: int = 12, called: str = "") -> str:
    """A seeded sample of the images chosen, or those called something, as HTML under a caution.

    Beside a face a predicted class would read as a statement about a person: only who asks for those called
    something sees, beside each picture, the model's answers with their probabilities.

    Parameters
    ----------
    n : images
    called : a class or category of which those with the largest margin are shown; "" for a sample of all

    Raises
    ------
    DataError  if the images are known from a pack, which holds none
    """
    from clipeval.datasets.base import sample

    if "file" not in explorer.images:
        raise DataError("a pack holds no pictures; name the data set to see them.")
    if called:
        pictures = explorer.called(called).head(n)
        said = [
            f"the model answered {row.answer} ({number(row.prob)} %), then {row.next} ({number(row.next_prob)} %)"
            for row in pictures.itertuples()
        ]
    else:
        pictures = sample(explorer.images, n, explorer.choice.seed)
        said = [""] * len(pictures)
    shown = [
        _thumbnail(picture) | {"said": text}
        for picture, text in zip(pictures.itertuples(), said, strict=True)
    ]
    return render("thumbnails", caution=CAUTION, pictures=shown)


def _thumbnail(picture) -> dict[str, str]:
    from PIL import Image

    from clipeval.embedding.images import UnreadableImage, open_image, read_bytes

    row = getattr(picture, "row", None)
    try:
        image = open_image(read_bytes(picture.file, None if row is None else int(row)))
    except (UnreadableImage, OSError) as error:
        return {"name": picture.image_id, "problem": str(error), "png": ""}
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, format="png")
    png = base64.b64encode(out.getvalue()).decode()
    return {"name": picture.image_id, "problem": "", "png": png}

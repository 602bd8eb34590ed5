"""The paper every figure is drawn on: style, text that fits, legend, stacked rows."""

import base64
import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags

from clipeval.output.latex import wrap

WIDTHS = {"single": 3.35, "double": 6.9}  # inches: a journal's column and page
SIZE = 7.0  # points, the size of labels
LINE = 0.118  # inches a line of such text takes
MARKERS = "os^vPX<"
PAD = 0.05  # inches kept free at the edges
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
# Left as the session has them: what chooses a window system or belongs to the machine.
_MACHINE = {"backend", "backend_fallback", "interactive", "toolbar", "timezone", "webagg.port"}


@functools.cache
def _style() -> dict:
    """matplotlib's own defaults with this package's matplotlibrc on top; the user's is not read."""
    rc = dict(matplotlib.rcParamsDefault)
    rc.update(matplotlib.rc_params_from_file(Path(__file__).parent / "matplotlibrc", False, False))
    return {k: v for k, v in rc.items() if k not in _MACHINE and not k.startswith("webagg")}


def styled(function):
    """Run a function under the package's style, whatever the caller's is; restored after."""

    @functools.wraps(function)
    def inside(*args, **kwargs):
        # found once and by path: a font of the same name on the machine may be another release
        if not any(f.fname == str(FONT) for f in font_manager.fontManager.ttflist):
            font_manager.fontManager.addfont(FONT)
        with matplotlib.rc_context(_style()):
            return function(*args, **kwargs)

    return inside


def figure_function(function):
    """A function that draws a `Picture`: styled, and what it drew can be drawn again in another width."""
    draw = styled(function)

    @functools.wraps(function)
    def drawn(*args, **kwargs):
        picture = draw(*args, **kwargs)
        picture.again = functools.partial(draw, *args, **kwargs)
        return picture

    return drawn


class Picture(Figure):
    """A figure that a notebook shows with its alt text, and that no global list keeps alive."""

    alt: str = ""
    stamped: bool = False
    again: Callable[..., "Picture"] | None = None
    """Draws it once more; takes what its function took, such as `width`."""

    @styled
    def _repr_mimebundle_(self, include=None, exclude=None):
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=150, metadata={"Software": None})
        return (
            {"image/png": base64.b64encode(out.getvalue()).decode(), "text/plain": self.alt},
            {"image/png": {"alt": self.alt, "width": round(110 * self.get_figwidth())}},
        )


def _font():
    # matplotlib keeps it, and opens it anew after a fork: who shares an open file reads the others' bytes
    return font_manager.get_font(str(FONT))


@functools.cache
def _letters() -> frozenset[int]:
    return frozenset(_font().get_charmap())


def plain(text: object) -> str:
    """Text as it is drawn: one line; a letter the font lacks becomes [U+4E2D]."""
    known = _letters()
    characters = " ".join(str(text).split())
    return "".join(c if ord(c) in known else f"[U+{ord(c):04X}]" for c in characters)


@functools.lru_cache(maxsize=4096)
def text_inches(text: str, size: float = SIZE) -> float:
    """Width in inches of one line of text at `size` points."""
    font = _font()
    font.set_size(size, 1200)  # fine enough that nothing is rounded
    font.set_text(text, 0.0, flags=LoadFlags.NO_HINTING)
    return font.get_width_height()[0] / 64 / 1200


def wrapped(text: object, inches: float, size: float = SIZE, lines: int = 4) -> str:
    """Text broken to fit `inches`, at most `lines` lines, the rest an ellipsis."""
    broken = wrap(plain(text), inches, lambda part: text_inches(part, size))
    if len(broken) > lines:
        last = broken[lines - 1]
        while last and text_inches(last + "…", size) > inches:
            last = last[:-1]
        broken = [*broken[: lines - 1], last + "…"]
    return "\n".join(broken)


def light(color: str) -> tuple[float, float, float]:
    """A tint of a colour, on which the colour itself is seen."""
    return tuple(0.6 + 0.4 * part for part in to_rgb(color))


def dot_style(slot: int) -> dict:
    """Marker of the i-th group, in a tint of its colour."""
    tint = {"mfc": light(color(slot)), "mec": color(slot), "mew": 0.7, "ms": 4}
    return {"marker": MARKERS[slot % 7], "color": color(slot), **tint}


def legible(behind) -> str:
    """Black or white, whichever stands out more on a colour: by the luminance that WCAG 2 defines."""
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(behind)]
    return "black" if 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] > 0.179 else "white"


def color(i: int) -> str:
    """Colour of the i-th group."""
    colors = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return colors[i % len(colors)]


def new_picture(width: str, height: float) -> Picture:
    """Empty figure of a journal's column ("single") or page ("double") width."""
    return Picture(figsize=(WIDTHS[width], round(height, 3)))


def add_axes(fig: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes placed in inches."""
    w, h = fig.get_size_inches()
    return fig.add_axes((left / w, bottom / h, width / w, height / h))


@dataclass
class Legend:
    """Handles and labels above the axes, in as many columns as fit."""

    handles: Sequence[Artist]
    labels: Sequence[str]
    width: float
    columns: int = field(init=False, default=1)
    height: float = field(init=False, default=0.0)

    def __post_init__(self):
        self.labels = [wrapped(label, self.width - 0.4, lines=2) for label in self.labels]
        if not self.labels:
            return
        widths = [max(map(text_inches, x.split("\n"))) + 0.36 for x in self.labels]
        fits = [
            c
            for c in range(1, len(widths) + 1)
            if sum(max(widths[i::c]) for i in range(c)) <= self.width
        ]
        self.columns = max(fits, default=1)
        tallest = max(label.count("\n") + 1 for label in self.labels)
        # 0.5 of a font size lies between two rows of a legend
        self.height = -(-len(widths) // self.columns) * (tallest * LINE + 0.04) + 0.02

    def draw(self, fig: Figure, left: float) -> None:
        if not self.labels:
            return
        rows = -(-len(self.labels) // self.columns)
        # matplotlib fills column by column; ours read row by row
        order = [r * self.columns + c for c in range(self.columns) for r in range(rows)]
        order = [i for i in order if i < len(self.labels)]
        w, h = fig.get_size_inches()
        fig.legend(
            [self.handles[i] for i in order],
            [self.labels[i] for i in order],
            loc="upper left",
            bbox_to_anchor=(left / w, 1 - PAD / h),
            ncols=self.columns,
        )


@dataclass
class Rows:
    """One panel of labelled rows: row labels, lines within a row, and what stands at the right."""

    labels: list[str]
    title: str = ""
    slots: int = 1
    notes: list[list[str]] = field(default_factory=list)
    """Per row, one text for the row or one for each of its slots."""
    axes: Axes = field(init=False)
    centers: list[float] = field(init=False)

    def y(self, row: int, slot: int) -> float:
        """Where a slot of a row lies on the y axis."""
        return self.centers[row] + (slot - (self.slots - 1) / 2) * SLOT


SLOT = 0.125  # inches between two slots of a row
GAP = 0.15  # inches between two panels


def rows_picture(
    panels: list[Rows],
    *,
    width: str,
    xlabel: str,
    legend: tuple,
    note_head: str = "n",
    label_share: float = 0.38,
) -> Picture:
    """Figure with panels of rows, every margin as wide as its text.

    On a page ("double") panels stand side by side, and share their row labels where these are the
    same; in a column ("single") they stand one below the other, each with its labels. The y axis
    counts inches downwards, `Rows.y` gives positions on it.
    """
    total = WIDTHS[width]
    stacked = width == "single" and len(panels) > 1
    shared = not stacked and all(p.labels == panels[0].labels for p in panels)
    across = 1 if stacked else len(panels)
    same_notes = shared and all(p.notes == panels[0].notes for p in panels)
    room = (total * label_share if shared or stacked else total / across * 0.42) - PAD
    texts = [[wrapped(label, room) for label in p.labels] for p in panels]

    def widest(lines):
        return max((text_inches(line) for text in lines for line in text.split("\n")), default=0.0)

    lefts, rights = [], []
    for i, p in enumerate(panels):
        lefts.append(widest(texts[i]) + 0.1 if i == 0 or not shared else 0.0)
        lefts[i] += GAP if i and not stacked else 0.0
        notes = p.notes if i == across - 1 or not same_notes else []
        rights.append(widest([t for row in notes for t in row]) + 0.08 if notes else 0.06)
    if stacked:
        lefts, rights = [max(lefts)] * len(panels), [max(rights)] * len(panels)
    inner = (total - 2 * PAD - sum(lefts[:across]) - sum(rights[:across])) / across
    heights = []  # of each row, the same in all panels that share their labels
    for i, p in enumerate(panels):
        lines = [text.count("\n") + 1 for text in texts[i]]
        heights.append([max(k * LINE, p.slots * SLOT) + 0.055 for k in lines])
    bodies = [sum(rows) for rows in heights]
    if not stacked:
        bodies = [max(bodies)] * len(panels)

    key = Legend(*legend, width=total - 2 * PAD)
    noted = [bool(p.notes) and (i == across - 1 or not same_notes) for i, p in enumerate(panels)]
    # a title ends before the head of the notes beside it
    taken = [text_inches(note_head) + 0.06 if with_notes else 0.0 for with_notes in noted]
    titles = [
        wrapped(p.title, inner + right - head, 7.5, lines=3)
        for p, right, head in zip(panels, rights, taken, strict=True)
    ]
    head = max((t.count("\n") + 1) * 0.13 + 0.03 if t else 0.0 for t in titles)
    head = max(head, 0.13 if any(noted) else 0.04)
    below = wrapped(xlabel, total - 2 * PAD, 7.5, lines=2)
    ticks = 0.2
    foot = ticks + 0.14 * (below.count("\n") + 1)
    bottoms = [foot] * len(panels)
    if stacked:
        under = [sum(bodies[i + 1 :]) for i in range(len(panels))]
        steps = [(len(panels) - 1 - i) * (head + ticks) for i in range(len(panels))]
        bottoms = [foot + a + b for a, b in zip(under, steps, strict=True)]
    fig = new_picture(width, PAD + key.height + head + bodies[0] + bottoms[0])
    left = PAD
    for i, p in enumerate(panels):
        left = PAD + lefts[i] if stacked else left + lefts[i]
        body = bodies[i]
        p.axes = ax = add_axes(fig, left, bottoms[i], inner, body)
        spare = (body - sum(heights[i])) / max(len(heights[i]), 1)  # when another panel is taller
        edges = [sum(heights[i][:k]) + spare * k for k in range(len(heights[i]) + 1)]
        p.centers = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
        ax.set_ylim(body, 0)
        ax.set_yticks(p.centers, texts[i] if i == 0 or not shared else [""] * len(p.labels))
        ax.tick_params(axis="y", length=0, pad=5)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
        if titles[i]:
            ax.text(0, -0.05, titles[i], va="bottom", size=7.5, transform=_over(ax))
        if noted[i]:
            _note(p, inner, note_head)
        left += inner + rights[i]
    shift = (PAD + lefts[0] + total - rights[-1] - PAD) / 2
    half = max(text_inches(line, 7.5) for line in below.split("\n")) / 2
    at = min(max(shift, half + PAD), total - half - PAD)  # under the axes, inside the figure
    fig.text(at / total, 0.04 / fig.get_figheight(), below, ha="center", va="bottom", size=7.5)
    key.draw(fig, PAD)
    return fig


def percent_axis(ax: Axes, low: float, high: float, inches: float) -> None:
    """Limits at round numbers that hold both, and ticks from one to the other: 3 to 8, as many as fit.

    Parameters
    ----------
    ax : whose x axis it is
    low, high : least and largest value shown, percents
    inches : width of the axes
    """
    for step in _STEPS:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 2)
        if last * step > 100 + 1e-9:  # no percent is larger
            last = round(100 / step)
            first = min(first, last - 2)
        if last - first > 7:
            continue
        ticks = [step * i for i in range(first, last + 1)]
        labels = [f"{tick:g}".replace("-", "−") for tick in ticks]
        if (last - first) * (max(map(text_inches, labels)) + 0.08) <= inches:
            break
    ax.set_xticks(ticks, labels)
    ax.set_xlim(ticks[0], ticks[-1])


# of a percent axis, in percentage points
_STEPS = [m * 10.0**k for k in (-3, -2, -1, 0, 1) for m in (1, 2, 2.5, 5)]


def _over(ax: Axes):
    """x in fractions of the axes, y in the axes' own inches."""
    from matplotlib.transforms import blended_transform_factory

    return blended_transform_factory(ax.transAxes, ax.transData)


def _note(p: Rows, inner: float, head: str) -> None:
    right = max(text_inches(t) for row in p.notes for t in row) + 0.06
    at = 1 + right / inner
    style = {"ha": "right", "size": SIZE, "color": "0.25", "transform": _over(p.axes)}
    for row, texts in enumerate(p.notes):
        for slot, text in enumerate(texts):
            y = p.centers[row] if len(texts) == 1 else p.y(row, slot)
            p.axes.text(at, y, text, va="center", **style)
    p.axes.text(at, -0.05, head, va="bottom", **style)

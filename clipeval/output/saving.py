"""A figure as files: PDF, SVG and PNG with fonts and provenance in them, the same bytes each time."""

import base64
import contextlib
import functools
import html
import io
import json
import re
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from clipeval import __version__
from clipeval.files import Folder, keep, kept, sha256
from clipeval.output.provenance import TEST_CARDS, Provenance
from clipeval.output.style import FONT, PAD, WIDTHS, styled, wrapped

_LAYOUT_TABLES = ("GDEF", "GPOS", "GSUB")


def _stamp(fig: Figure, text: str) -> None:
    """A line along the lower edge, for which the figure grows."""
    if getattr(fig, "stamped", False):
        return
    grow, old = 0.13, fig.get_figheight()
    new = old + grow
    for ax in fig.axes:
        box = ax.get_position()
        ax.set_position((box.x0, (box.y0 * old + grow) / new, box.width, box.height * old / new))
    for note in fig.texts:
        note.set_y((note.get_position()[1] * old + grow) / new)
    for legend in fig.legends:
        box = legend.get_bbox_to_anchor().transformed(fig.transFigure.inverted())
        legend.set_bbox_to_anchor((box.x0, 1 - PAD / new))
    fig.set_figheight(new)
    w = fig.get_figwidth()
    fig.text(
        PAD / w, 0.03 / new, wrapped(text, w - 2 * PAD, 6, 1), size=6, color="0.35", va="bottom"
    )
    fig.stamped = True


# letters that every SVG carries; a figure with no others needs no font made for it
_LETTERS = frozenset(map(chr, range(32, 127))) | frozenset("–—−…’×")


@functools.lru_cache(maxsize=64)
def _letters(characters: str) -> str:
    """The font's outlines of these characters alone, as a data address."""
    from fontTools import subset

    options = subset.Options(
        hinting=False, layout_features=["kern"], recalc_timestamp=False, notdef_outline=True
    )
    options.drop_tables += ["FFTM", *_LAYOUT_TABLES]
    font = subset.load_font(str(FONT), options, dontLoadGlyphNames=True)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(font)
    font.flavor = "woff"
    out = io.BytesIO()
    font.save(out, reorderTables=True)
    return "data:font/woff;base64," + base64.b64encode(out.getvalue()).decode()


@contextlib.contextmanager
def _outlines_only():
    """Embed glyphs without layout rules, of no use in a PDF: that halves the time to write one.

    matplotlib offers no such option, so fontTools' default list of tables to drop, which is private,
    is lent more.
    """
    from fontTools.subset import Options

    default = Options._drop_tables_default
    Options._drop_tables_default = [*default, *_LAYOUT_TABLES]
    try:
        yield
    finally:
        Options._drop_tables_default = default


def _complete_svg(svg: str, alt: str) -> str:
    """Add the letters and a description, and drop trailing spaces."""
    used = "".join(re.findall(r"<text[^>]*>(.*?)</text>", svg, flags=re.S))
    letters = "".join(sorted(_LETTERS.union(html.unescape(re.sub(r"<[^>]*>", "", used))) - {"\n"}))
    face = f"@font-face{{font-family:'DejaVu Sans';src:url({_letters(letters)}) format('woff')}}"
    start = svg.index("<svg")
    end = svg.index(">", start) + 1
    head = svg[:end].replace("<svg ", '<svg role="img" ', 1)
    body = f"\n <desc>{html.escape(alt, quote=False)}</desc>\n <style>{face}</style>{svg[end:]}"
    return re.sub(r"[ \t]+\n", "\n", head + body)


@functools.cache
def _drawn_by() -> str:
    """What, beside the figure itself, decides the bytes of its files."""
    import fontTools
    import PIL

    versions = [__version__, matplotlib.__version__, fontTools.version, PIL.__version__]
    here = Path(__file__).parent
    code = [path.read_bytes() for path in (*sorted(here.glob("*.py")), here / "matplotlibrc")]
    return sha256("\0".join(versions), *code)


def _draw(fig: Figure, suffix: str, fields: dict) -> bytes:
    out = io.BytesIO()
    with _outlines_only():
        fig.savefig(out, format=suffix, dpi=300, metadata=fields)
    return out.getvalue()


def _known(known: Path | None, decides: bytes | None, suffix: str, draw) -> bytes:
    """A file drawn before from the same, to the last byte, or drawn now; from None always now."""
    if known is None or decides is None:
        return draw()
    path = known / f"{sha256(_drawn_by(), decides)}.{suffix}.kept"
    content = kept(path)
    if content is None:
        content = draw()
        with contextlib.suppress(OSError):  # a store that cannot be written only costs time
            keep(path, content)
    return content


def _deciding(fig, *how) -> bytes | None:
    """All that decides a figure of this package's that is still to be drawn; None for others."""
    if isinstance(fig, Figure) or not fig.func.__module__.startswith(f"{__package__}."):
        return None
    asked = [fig.func.__qualname__, fig.args, fig.keywords, how]
    with contextlib.suppress(TypeError):  # what JSON has no words for is drawn each time
        return json.dumps(asked, default=_content, sort_keys=True).encode()
    return None


def _content(value) -> list:
    if not isinstance(value, pd.DataFrame):
        raise TypeError
    kinds = value.dtypes.astype(str).to_dict()
    order = {
        name: list(value[name].cat.categories.astype(str))
        for name in kinds
        if kinds[name] == "category"
    }
    return [kinds, order, value.to_csv(index=False, na_rep=chr(0))]


def seen_in(svg: bytes) -> tuple[str, float]:
    """Alternative text and width in inches of a figure, as its SVG from `save_figure` says them."""
    text = svg.decode()
    alt = re.search(r"<desc>(.*?)</desc>", text, flags=re.S)[1]
    points = float(re.search(r' width="([\d.]+)pt"', text)[1])
    return html.unescape(alt), round(points / 72, 3)


@styled
def save_figure(
    fig: Figure | functools.partial,
    folder: str | Path,
    id: str,
    caption: str,
    provenance: Provenance,
    *,
    alt: str = "",
    known: Path | None = None,
    column: Path | None = None,
) -> dict[str, Path]:
    """Write a figure as ID.pdf, ID.svg and ID.png (300 dpi); the same figure gives the same bytes.

    Each file carries the caption, clipeval's version and the provenance record (model, data, class
    set, parameters and their hash) in its metadata, and no date, path, commit or device. Fonts are
    embedded in the PDF (TrueType) and the SVG (WOFF, the usual letters and those used), whose
    texts stay text. A figure of test cards is stamped as such along its lower edge.

    Parameters
    ----------
    fig : as from the functions of `clipeval.output.figures`; or one of these with its arguments, as a
        `functools.partial`, which is called only where what it draws is not among the `known`
    folder : made if it does not exist
    id : file name without suffix
    caption : plain text, as from `provenance.caption`
    provenance : what the figure was made from
    alt : alternative text; by default the figure's own, else the first sentence of the caption
    known : folder where files of figures are kept; one whose SVG is there already is not drawn
        again as PDF and PNG, which takes most of the time
    column : folder where a figure that is wider than a column is also kept as it is drawn for one,
        panels one below the other, as a phone shows it (SVG) and a paper prints it (PDF)

    Returns
    -------
    dict of "pdf", "svg", "png" and, where it was drawn for a column too, "column" (its SVG) to path

    Raises
    ------
    ParameterError  if there is such a file that clipeval did not write
    """
    later = fig if isinstance(fig, functools.partial) else getattr(fig, "again", None)

    @functools.cache
    def made(**how) -> Figure:
        drawn = later(**how) if how or later is fig else fig
        if provenance.test_cards:
            _stamp(drawn, TEST_CARDS)
        return drawn

    record = {"clipeval": __version__, "parameters_hash": provenance.parameters_hash}
    record = json.dumps(record | provenance.record(), sort_keys=True, default=str)
    shared = {"Title": id, "Creator": f"clipeval {__version__}"}
    told = {
        "svg": {"Description": caption, "Source": record, "Date": None},
        "pdf": {"Subject": caption, "Keywords": record, "CreationDate": None},
        "png": {"Description": caption, "Source": record, "Software": None},
    }

    def draw(suffix: str, **how) -> bytes:
        said = alt or getattr(made(), "alt", "") or f"{caption.partition('. ')[0].rstrip('.')}."
        fields = shared | told[suffix] | ({"Comment": said} if suffix == "png" else {})
        content = _draw(made(**how), suffix, fields)
        return _complete_svg(content.decode(), said).encode() if suffix == "svg" else content

    decides = known and _deciding(fig, id, caption, record, alt, provenance.test_cards)
    files = {"svg": _known(known, decides, "svg", functools.partial(draw, "svg"))}
    for suffix in ("pdf", "png"):
        files[suffix] = _known(known, files["svg"], suffix, functools.partial(draw, suffix))
    paths = {end: Folder(folder).write(f"{id}.{end}", content) for end, content in files.items()}
    if column is not None and later is not None and seen_in(files["svg"])[1] > WIDTHS["single"]:
        for end in ("pdf", "svg"):
            narrow = functools.partial(draw, end, width="single")
            content = _known(known, files["svg"], f"column.{end}", narrow)
            paths["column"] = Folder(column).write(f"{id}.{end}", content)
    return paths

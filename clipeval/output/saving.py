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
    code = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return sha256("\0".join(versions), *code)


def _draw(fig: Figure, suffix: str, fields: dict) -> bytes:
    out = io.BytesIO()
    with _outlines_only():
        fig.savefig(out, format=suffix, dpi=300, metadata=fields)
    return out.getvalue()


def _known(known: Path | None, svg: bytes, suffix: str, draw) -> bytes:
    """A file drawn before from a figure whose SVG was the same to the last byte, or drawn now."""
    if known is None:
        return draw()
    path = known / f"{sha256(_drawn_by(), svg)}.{suffix}.kept"
    content = kept(path)
    if content is None:
        content = draw()
        with contextlib.suppress(OSError):  # a store that cannot be written only costs time
            keep(path, content)
    return content


@styled
def save_figure(
    fig: Figure,
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
    fig : as from the functions of `clipeval.output.figures`
    folder : made if it does not exist
    id : file name without suffix
    caption : plain text, as from `provenance.caption`
    provenance : what the figure was made from
    alt : alternative text; by default the figure's own
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
    if provenance.test_cards:
        _stamp(fig, TEST_CARDS)
    alt = alt or getattr(fig, "alt", "") or caption
    record = {"clipeval": __version__, "parameters_hash": provenance.parameters_hash}
    record = json.dumps(record | provenance.record(), sort_keys=True, default=str)
    shared = {"Title": id, "Creator": f"clipeval {__version__}"}
    fields = {
        "svg": {"Description": caption, "Source": record, "Date": None},
        "pdf": {"Subject": caption, "Keywords": record, "CreationDate": None},
        "png": {"Description": caption, "Source": record, "Comment": alt, "Software": None},
    }
    svg = _complete_svg(_draw(fig, "svg", shared | fields["svg"]).decode(), alt).encode()
    files = {"svg": svg}
    for suffix in ("pdf", "png"):
        draw = functools.partial(_draw, fig, suffix, shared | fields[suffix])
        files[suffix] = _known(known, svg, suffix, draw)
    paths = {end: Folder(folder).write(f"{id}.{end}", content) for end, content in files.items()}
    again = getattr(fig, "again", None)
    if column is not None and again is not None and fig.get_figwidth() > WIDTHS["single"]:

        @functools.cache
        def narrow() -> Figure:
            drawn = again(width="single")
            if provenance.test_cards:
                _stamp(drawn, TEST_CARDS)
            return drawn

        def as_svg() -> bytes:
            drawn = _draw(narrow(), "svg", shared | fields["svg"]).decode()
            return _complete_svg(drawn, alt).encode()

        def as_pdf() -> bytes:
            return _draw(narrow(), "pdf", shared | fields["pdf"])

        for end, draw in {"pdf": as_pdf, "svg": as_svg}.items():
            content = _known(known, svg, f"column.{end}", draw)
            paths["column"] = Folder(column).write(f"{id}.{end}", content)
    return paths

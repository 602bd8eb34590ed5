"""LaTeX that compiles as it is: escaped text, and booktabs tables fitted to a two-column page."""

import re
import unicodedata
from collections.abc import Sequence

COLUMN, PAGE = 219.0, 448.0  # points: the narrower of article's a4 and letter two-column layouts
HEIGHT = 500.0  # points a float may take
LINE = 9.7  # points a line of \footnotesize takes
_WORD = 90.0  # points that a text column takes for a word's sake, at most
_SEP = 8.0  # points between two columns, set by \tabcolsep below
_HELD = (
    12  # floats that LaTeX keeps back before it must print them; it fails at 18, since 2015 at 52
)
# size of the letters: width of a letter, as a part of what it is in \footnotesize
_SIZES = {"footnotesize": 1.0, "scriptsize": 0.94, "tiny": 0.82}

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # printed as other characters by the classic font encoding
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "†": r"\textdagger{}",
    '"': "{''}",
    "`": r"\`{}",
    # read as an argument or a star of \\ at the start of a row
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # typography
    "–": "{--}",
    "—": "{---}",
    "−": "$-$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "\u00a0": "~",
    "\u202f": r"\,",
    "\u2009": r"\,",
    "ß": r"{\ss}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "œ": r"{\oe}",
    "Œ": r"{\OE}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "ı": r"{\i}",
    "¡": "{!`}",
    "¿": "{?`}",
    "§": r"{\S}",
}
# Combining mark -> LaTeX accent; they work in every font encoding.
_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0304\u0306\u0307\u030b\u0327\u0328\u0323",
        ["`", "'", "^", "~", '"', "r", "v", "=", "u", ".", "H", "c", "k", "d"],
        strict=True,
    )
)


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else " "
    base, *marks = unicodedata.normalize("NFD", character)
    if marks and base.isascii() and all(mark in _ACCENTS for mark in marks):
        text = {"i": r"\i", "j": r"\j"}.get(base, base) if marks[0] not in "\u0327\u0328" else base
        for mark in marks:
            text = rf"\{_ACCENTS[mark]}{{{text}}}"
        return text
    if character.isspace():
        return " "
    return f"{{[}}U+{ord(character):04X}{{]}}"  # visible, where silence or an error would be worse


def escape(text: object) -> str:
    """Text as LaTeX that prints the same; letters that no accent command makes print as [U+4E2D].

    The result compiles with pdfLaTeX, XeLaTeX and LuaLaTeX, in text, captions and table cells.
    """
    out, before = [], ""
    for character in unicodedata.normalize("NFC", str(text)):
        joined = character == before and character in "-'"  # two of them would print as one
        out.append(("{}" if joined else "") + _character(character))
        before = character
    return "".join(out)


# Advance widths of Computer Modern Roman in em, rounded up; everything else counts as 0.5.
_WIDTHS = {
    **dict.fromkeys("ijl,.;:'|![]", 0.31),
    **dict.fromkeys("frst ()Iz-", 0.4),
    **dict.fromkeys("ce_", 0.45),
    **dict.fromkeys("bdhknpquvxyS", 0.56),
    **dict.fromkeys("wABCDEFGHKLNOPQRTUVXYZ&+−<>=–×±", 0.79),
    **dict.fromkeys("mM%#@\\", 0.92),
    **dict.fromkeys("W—→", 1.03),
}


def text_width(text: str) -> float:
    """Estimated width in points of plain text in \\footnotesize (8 pt), rather too wide."""
    ems = (_WIDTHS.get(c, 0.5) if c.isascii() or c in _WIDTHS else _foreign(c) for c in text)
    return 8.5 * sum(ems)


def _foreign(character: str) -> float:
    return 4.2 if "U+" in _character(character) else 0.8


_SOFT = "-/_:"  # a word may be broken after these


def _longest(texts: Sequence[str]) -> float:
    """Width of the longest piece of the texts that `wrap` need not break."""
    pieces = {piece for text in texts for piece in re.split(rf"(?<=[{_SOFT}])|\s+", text)}
    return max(map(text_width, pieces), default=0.0)


def wrap(text: str, width: float, measure=text_width) -> list[str]:
    """Lines of at most `width`, broken at spaces, else after - / _ :, else inside a word."""
    lines, line = [], ""
    for word in str(text).split():
        line_with = f"{line} {word}" if line else word
        if measure(line_with) <= width:
            line = line_with
            continue
        if line:
            lines.append(line)
        while measure(word) > width and len(word) > 1:
            fits = max((i for i in range(1, len(word)) if measure(word[:i]) <= width), default=1)
            soft = max((i for i in range(1, fits + 1) if word[i - 1] in _SOFT), default=fits)
            lines.append(word[:soft])
            word = word[soft:]
        line = word
    return [*lines, line] if line or not lines else lines


def _share(natural: Sequence[float], least: Sequence[float], room: float) -> list[float]:
    """Widths from `least` to `natural` that fill `room`: narrow columns keep theirs, wide ones share."""
    widths, left = list(natural), room
    free = sorted(range(len(natural)), key=lambda i: natural[i])
    while free:
        # whatever needs more than its share first, then the narrow ones
        level = left / len(free)
        i = next((i for i in free if least[i] > level), free[0])
        widths[i] = max(least[i], min(natural[i], level))
        left -= widths[i]
        free.remove(i)
    return widths


def stacked(lines: Sequence[str], align: str, valign: str = "t") -> str:
    """A table cell of several lines, plain text: aligned "l" or "r", its top ("t") or end ("b") on the row."""
    escaped = [escape(line) for line in lines]
    if len(escaped) < 2:
        return "".join(escaped)
    return (
        rf"\begin{{tabular}}[{valign}]{{@{{}}{align}@{{}}}}"
        + r"\\".join(escaped)
        + r"\end{tabular}"
    )


def _number(cell: str, under: bool) -> list[str]:
    """Lines of a number: one, or its interval under it."""
    value, bracket, interval = cell.partition(" [")
    return [value, f"[{interval}"] if under and bracket else [cell]


def _layout(header, rows, numeric) -> tuple[str, str, bool, list[float]]:
    """Environment, size, whether intervals stand under their numbers, and width of every column.

    One column of the page if that fits, else both; where even the page is too narrow for whole words, smaller
    letters, then intervals under their numbers. Widths are those that the text would have in \\footnotesize.
    """
    columns = range(len(header))
    words = [max(map(text_width, header[i].split()), default=0) for i in columns]
    text = [i for i in columns if i not in numeric]
    least = [min(_longest([header[i], *(row[i] for row in rows)]), _WORD) for i in text]
    layouts = [("table", COLUMN, "footnotesize", False)]
    *readily, last = (("table*", PAGE, size) for size in _SIZES)
    layouts += [(*layout, under) for under in (False, True) for layout in readily]
    for environment, across, size, under in [*layouts, (*last, False)]:
        pieces = [[p for row in rows for p in _number(row[i], under)] for i in columns]
        natural = [max([words[i], *map(text_width, pieces[i])]) for i in columns]
        room = across / _SIZES[size] - _SEP * (len(header) - 1) - sum(natural[i] for i in numeric)
        if (
            fits := sum(least) <= room
        ):  # and not the shares, whose sum is the room but for the last digit
            shared = _share([natural[i] for i in text], least, room)
        else:
            shared = _share([natural[i] for i in text], [40.0] * len(text), room)
        readable = all(w >= min(natural[i], 65.0) for i, w in zip(text, shared, strict=True))
        if fits and (readable or environment == "table*"):
            break
    for i, width in zip(text, shared, strict=True):
        natural[i] = width
    return environment, size, under, natural


def _pages(rows: list[tuple[str, int, str]], room: float):
    """Split (heading, lines, row) into floats that are no higher than a page, each under its own headings."""
    page, used, last = [], 0, ""
    for heading, lines, row in rows:
        if page and (used + lines + (heading != last)) * LINE > room:
            yield page
            page, used, last = [], 0, ""
        if heading != last:
            page.append(heading)
            used, last = used + 1, heading
        page.append(row)
        used += lines
    yield page


def booktabs(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: set[int],
    caption: str,
    label: str,
) -> str:
    """Table as LaTeX floats that need no package but booktabs.

    Parameters
    ----------
    header : plain text of each column's head
    rows : plain text cells
    numeric : positions of right-aligned columns, never broken; the others wrap to fit
    caption, label : plain text; the label is used as it is

    Returns
    -------
    str: one `table` (or `table*` where a column of the page is too narrow, in smaller letters, with
    intervals under their numbers and the first column as headings where the page is too); more rows
    than a page holds go on in further floats under the same number
    """
    rows, headings = [[str(cell) for cell in row] for row in rows], [""] * len(rows)
    fitted = _layout(header, rows, numeric)
    if fitted[1] == "tiny" and 0 not in numeric:
        rest = header[1:], [row[1:] for row in rows], {i - 1 for i in numeric}
        if (narrower := _layout(*rest))[1] != "tiny":
            span = rf"\multicolumn{{{len(header) - 1}}}{{@{{}}l@{{}}}}"
            headings = [rf"{span}{{\itshape {escape(row[0])}}} \\" for row in rows]
            (header, rows, numeric), fitted = rest, narrower
    environment, size, under, widths = fitted
    align = ["r" if i in numeric else "l" for i in range(len(header))]
    heads = [wrap(h, widths[i]) for i, h in enumerate(header)]
    head = " & ".join(stacked(h, align[i], "b") for i, h in enumerate(heads))
    body = []
    for heading, row in zip(headings, rows, strict=True):
        lines = [
            _number(c, under) if i in numeric else wrap(c, widths[i]) for i, c in enumerate(row)
        ]
        cells = [stacked(cell, align[i]) for i, cell in enumerate(lines)]
        body.append((heading, max(map(len, lines), default=1), " & ".join(cells) + r" \\"))
    # the caption is set in 10 pt, a quarter larger than what text_width measures
    across = COLUMN if environment == "table" else PAGE
    caption_lines = 1 + 1.25 * text_width(caption) // across
    room = HEIGHT - 12 * caption_lines - LINE * max(map(len, heads)) - 20
    parts = ["% needs \\usepackage{booktabs}"]
    for number, page in enumerate(_pages(body, max(room, 10 * LINE))):
        text = caption if number == 0 else "(continued)"
        parts += [
            *([r"\clearpage"] if number and number % _HELD == 0 else []),
            rf"\begin{{{environment}}}[tp]",
            *([r"\addtocounter{table}{-1}"] if number else []),
            r"\centering",
            rf"\caption{{{escape(text)}}}\vspace{{4pt}}",
            *([] if number else [rf"\label{{{label}}}"]),
            rf"\{size}\setlength{{\tabcolsep}}{{{_SEP * _SIZES[size] / 2:.3g}pt}}",
            rf"\begin{{tabular}}{{@{{}}{''.join(align)}@{{}}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *page,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\end{{{environment}}}",
        ]
    return "\n".join(parts) + "\n"

"""An executed notebook as HTML: code folded away, and nothing that data wrote taken for markup.

Tables and figures of a session come escaped and are recognised by how they begin; whatever else a
cell shows passes an allow-list of plain tags. Pictures are linked, not embedded.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

__all__ = ["Block", "blocks", "framed_table"]

_TABLE = re.compile(r'<table class="clipeval" data-sortable id="table-(\w+)">')
_FIGURE = re.compile(r'<figure id="figure-(\w+)">')
_CAPTION = re.compile(r"<caption[^>]*>(.*?)</caption>\n?", re.S)
_IMAGE = re.compile(r'(<img [^>]*?width:(\d+)px[^>]*? src=")data:image/png;base64,[^"]*("[^>]*>)')
_INLINE = re.compile(r' style="[^"]*"')
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.M)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STYLE = re.compile(r"<style\b.*?</style>", re.S | re.I)
_NUMBER = re.compile(r"<td[^>]*>(\s*[-+−]?(?:\d[\d,]*\.?\d*(?:e[-+]?\d+)?|nan)\s*)</td>", re.I)
_WIDE = 600  # pixels; a phone shows such a figure larger than itself, in a box that scrolls
_TAGS = frozenset(
    "b br caption code div em i li ol p pre span strong table tbody td tfoot th thead tr ul".split()
)
_ATTRIBUTES = {"table": ["class"], "td": ["colspan", "rowspan"], "th": ["colspan", "rowspan"]}


@dataclass(frozen=True)
class Block:
    """A piece of a page.

    Attributes
    ----------
    kind : "text", "code", "output", "error", "table" or "figure"
    html : str
    id : id of a table or figure
    section : heading that it stands under
    rows : rows of a table
    """

    kind: str
    html: str
    id: str = ""
    section: str = ""
    rows: int = 0


@functools.cache
def _markdown(text: str) -> str:
    import mistune

    return mistune.create_markdown(escape=True, plugins=["table"])(text)


def blocks(notebook: dict, *, study: str, base: str = "", failed: bool = False) -> Iterator[Block]:
    """The pieces of a notebook's page, in order.

    Parameters
    ----------
    notebook : an executed notebook, as JSON holds it
    study : goes before the ids of tables and figures, so that one page can show several studies
    base : from the page to the study's folder: "" or, say, "fairface/"
    failed : whether to stop where the notebook did, as the text after it speaks of results there are none of
    """
    section = ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        tags = cell["metadata"].get("tags", [])
        if "papermill-error-cell-tag" in tags:
            continue
        if cell["cell_type"] == "markdown":
            for heading, text in _sections(source):
                section = heading or section
                yield Block("text", _framed(_markdown(text)), section=section)
            continue
        if cell["cell_type"] != "code" or not source.strip():
            continue
        if failed and not cell.get("execution_count"):
            return
        yield Block("code", _code(source, tags), section=section)
        for output in cell.get("outputs", []):
            block = _output(output, study, base)
            if block:
                yield Block(**{**vars(block), "section": section})
            if failed and output["output_type"] == "error":
                return


def _sections(source: str) -> Iterator[tuple[str, str]]:
    """(heading, text with its heading); a hash in a fenced block is no heading."""
    if "```" in source:
        yield (found[1] if (found := _HEADING.search(source)) else ""), source
        return
    starts = [found.start() for found in _HEADING.finditer(source)]
    for start, end in zip([0, *starts], [*starts, len(source)], strict=True):
        if text := source[start:end].strip():
            yield (found[1].strip() if (found := _HEADING.match(text)) else ""), text


def _code(source: str, tags: list[str]) -> str:
    name = {"parameters": "Default parameters", "injected-parameters": "Parameters of this run"}
    title = next((name[tag] for tag in tags if tag in name), "Code")
    return (
        f'<details class="code"><summary>{title}</summary>'
        f'<pre tabindex="0"><code>{escape(source)}</code></pre></details>'
    )


def _output(output: dict, study: str, base: str) -> Block | None:
    kind = output["output_type"]
    if kind == "error":
        return Block("error", _error(output))
    if kind == "stream":
        text = _ANSI.sub("", "".join(output["text"]))
        # progress bars are for whoever waits, not for whoever reads
        return Block("output", _pre(text)) if output["name"] == "stdout" and text else None
    data = {name: "".join(value) for name, value in output["data"].items() if _is_text(value)}
    if shown := data.get("text/html"):
        if found := _TABLE.match(shown):
            rows = shown.count("<tr>") - 1
            return Block("table", framed_table(shown, found[1], study), id=found[1], rows=rows)
        if found := _FIGURE.match(shown):
            return Block("figure", _figure(shown, found[1], study, base), id=found[1])
        return Block("output", _safe(shown)) if "<td" in shown or "<table" not in shown else None
    if shown := data.get("text/markdown"):
        return Block("output", _framed(_markdown(shown)))
    plain = data.get("text/plain", "")
    if not plain or plain.startswith(("PosixPath(", "WindowsPath(")):
        return None  # a path of the machine that ran it says nothing to a reader
    return Block("output", _pre(plain))


def _is_text(value) -> bool:
    return (
        isinstance(value, str) or isinstance(value, list) and all(isinstance(v, str) for v in value)
    )


def _pre(text: str) -> str:
    return f'<pre tabindex="0">{escape(_ANSI.sub("", text))}</pre>'


def _error(output: dict) -> str:
    """What went wrong in a sentence; the traceback for whoever wants to see it."""
    from clipeval import errors

    said = output["evalue"] or output["ename"]
    users = hasattr(errors, output["ename"])
    sentence = said if users else f"{output['ename']}: {said}"
    trace = _pre("\n".join(output["traceback"]))
    folded = "" if users else f"<details><summary>Traceback</summary>{trace}</details>"
    return f'<p class="failed">Stopped here: {escape(sentence)}</p>{folded}'


def _safe(html: str) -> str:
    """Markup of others, such as a DataFrame's: plain tags stay, all else is shown as text."""
    import bleach

    cleaned = bleach.clean(_STYLE.sub("", html), tags=_TAGS, attributes=_ATTRIBUTES)
    return _framed(_NUMBER.sub(r'<td class="number">\1</td>', cleaned))


def _framed(html: str) -> str:
    """Tables in boxes that scroll on their own where the screen is too narrow for them."""
    box = '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
    return re.sub(r"<table\b.*?</table>", lambda found: f"{box}{found[0]}</div>", html, flags=re.S)


def framed_table(html: str, id: str, study: str) -> str:
    """A table as of `tables.table_html`; its caption stands outside the box that scrolls."""
    name = f"{study}-table-{id}"
    caption = found[1] if (found := _CAPTION.search(html)) else escape(id)
    html = _INLINE.sub("", _CAPTION.sub("", html, count=1))  # the page has a style sheet
    html = _TABLE.sub(
        f'<table class="clipeval" data-sortable aria-labelledby="{name}-caption">', html, count=1
    )
    return (
        f'<figure id="{name}" class="table"><figcaption id="{name}-caption">{caption}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}-caption">'
        f"{html}</div></figure>"
    )


def _figure(html: str, id: str, study: str, base: str) -> str:
    """A session's figure: the SVG file beside the page, sharp at any size."""
    html = _FIGURE.sub(f'<figure id="{study}-figure-{id}">', html, count=1)

    def linked(found: re.Match) -> str:
        image = f"{found[1]}{base}figures/{id}.svg{found[3]}"
        if int(found[2]) < _WIDE:
            return image
        return (
            f'<div class="scroll wide" tabindex="0" role="region" aria-label="Figure">{image}</div>'
        )

    return _IMAGE.sub(linked, html, count=1)

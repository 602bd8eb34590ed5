"""An executed notebook as HTML, by nbconvert: code folded away, and nothing that data wrote taken for markup.

What a session shows says what it is in its output's metadata, and is shown from that; whatever else a cell
shows is text, Markdown without HTML, or HTML of which an allow-list of plain tags is left. Pictures are
linked, not embedded.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import bleach
import mistune
from jinja2 import ChoiceLoader, FileSystemLoader
from mistune.plugins.table import table as tables
from nbconvert.exporters.templateexporter import TemplateExporter
from nbconvert.filters import DataTypeFilter, strip_ansi
from nbformat import NotebookNode
from traitlets.config import Config

from clipeval import errors
from clipeval.output import markup

_STYLE = re.compile(r"<style\b.*?</style>", re.S | re.I)
_TAGS = frozenset(
    "b br caption code div em i li ol p pre span strong table tbody td tfoot th thead tr ul".split()
)
_ATTRIBUTES = {"table": ["class"], "td": ["colspan", "rowspan"], "th": ["colspan", "rowspan"]}
#: kinds of output that a page shows, the first of them that there is
_KINDS = ["text/html", "text/markdown", "text/plain"]


def _scrolling_tables(made: mistune.Markdown) -> None:
    """Markdown's tables, each in a box that scrolls on its own where the screen is too narrow."""
    tables(made)
    box = '<div class="scroll" tabindex="0" role="group" aria-label="Table">\n'
    made.renderer.register("table", lambda _, text: f"{box}<table>\n{text}</table></div>\n")


@functools.cache
def _markdown() -> mistune.Markdown:
    return mistune.create_markdown(escape=True, plugins=[_scrolling_tables])


def markdown(text: str) -> str:
    """Markdown as HTML; HTML in it stays text."""
    return _markdown()(text)


def plain_tags(html: str) -> str:
    """HTML of others, such as a DataFrame's: plain tags stay, all else is shown as text."""
    return bleach.clean(_STYLE.sub("", html), tags=_TAGS, attributes=_ATTRIBUTES)


class _Exporter(TemplateExporter):
    """nbconvert's exporter with the one environment that escapes."""

    file_extension = ".html"
    output_mimetype = "text/html"

    @functools.cached_property
    def environment(self):
        ours = markup.environment(Path(__file__).parent / "page")
        made = ours.overlay(
            loader=ChoiceLoader([ours.loader, FileSystemLoader(self.template_paths)])
        )
        made.filters |= {
            "filter_data_type": DataTypeFilter(parent=self),
            "markdown": markdown,
            "plain_tags": plain_tags,
            "strip_ansi": strip_ansi,
        }
        made.tests["own_error"] = lambda name: hasattr(errors, name)
        return made


@functools.cache
def exporter() -> TemplateExporter:
    """The exporter of all pages; made once, as that takes longer than to write a page."""
    config = Config(
        {
            "NbConvertBase": {"display_data_priority": _KINDS},
            # papermill's own cells, which point to where it stopped
            "TagRemovePreprocessor": {"remove_cell_tags": {"papermill-error-cell-tag"}},
        }
    )
    names = {"template_name": "base", "template_file": "notebook.html.j2"}
    return _Exporter(config=config, optimistic_validation=True, **names)


def body(notebook: NotebookNode, *, failed: bool = False, **resources) -> str:
    """What an executed notebook shows, as HTML.

    Parameters
    ----------
    notebook : of nbformat 4
    failed : whether to stop where the notebook did, as the text after it is about results that do not exist
    resources : what the template names: `study`, `entries`, `rows`
    """
    cells = [cell for cell in notebook.cells if cell.cell_type != "code" or cell.source.strip()]
    ran = NotebookNode(notebook, cells=list(_ran(cells)) if failed else cells)
    return exporter().from_notebook_node(ran, resources)[0]


def take_title(notebook: NotebookNode) -> str:
    """Cut the title, a heading on the first line of a Markdown cell, from a notebook; "" if it has none."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            title, _, cell.source = cell.source.partition("\n")
            return title[2:].strip()
    return ""


def _ran(cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    """Cells up to where the notebook stopped."""
    for cell in cells:
        if cell.cell_type == "code" and not cell.get("execution_count"):
            return
        yield cell
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return

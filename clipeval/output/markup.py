"""HTML and Markdown are made here and nowhere else, and every value that stands in them is escaped.

HTML comes of jinja2 templates. Only what one of them calls `safe` is not escaped: HTML that another has made,
our own style and script, and what the two filters of `clipeval.runs.notebook_page` have made harmless.
"""

import functools
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@functools.cache
def environment(*folders: Path) -> Environment:
    """The environment of all templates: those of this room, and of `folders` before them."""
    return Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def render(template: str, /, **values) -> str:
    """A template of this room with its values.

    Parameters
    ----------
    template : file name without suffix, such as "table"
    values : what the template names; text is escaped
    """
    return environment().get_template(f"{template}.html.j2").render(values)


def html(text: str, /, **values) -> str:
    """A short template, such as "<p>{{ name }}</p>", with its values; text is escaped."""
    return environment().from_string(text).render(values)


def as_markdown(text: object) -> str:
    """Text from data as Markdown that shows it as it is: no tag, link or emphasis comes of it."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", " ".join(str(text).split()))


class _AsText(string.Formatter):
    """`str.format`, every value as it would be without Markdown."""

    def format_field(self, value, format_spec):
        return as_markdown(super().format_field(value, format_spec))


def markdown(text: str, /, **values) -> str:
    """Markdown such as "**{n:,} images** of {name}" with its values, which stay text; see `as_markdown`."""
    return _AsText().vformat(text, (), values)


@dataclass(frozen=True)
class Grid:
    """A table as it is printed."""

    head: Sequence[str]
    """Text of each column's head."""
    rows: Sequence[Sequence[str]]
    """Text of each cell."""
    numbers: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Column that holds numbers -> the unrounded value of each cell, "" where it is missing."""
    groups: int = 0
    """How many columns at the left say what a row is of."""

    def about(self) -> dict:
        """The same as plain JSON values."""
        numbers = {str(i): list(values) for i, values in self.numbers.items()}
        rows = [list(row) for row in self.rows]
        return {"head": list(self.head), "rows": rows, "numbers": numbers, "groups": self.groups}


@dataclass(frozen=True)
class Shown:
    """What a cell shows: HTML for a notebook, and in the output's metadata what a page needs to show it too."""

    html: str
    text: str
    """For whoever sees no HTML."""
    about: dict
    """Plain JSON values; `kind` is "table" or "figure"."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "text/plain": self.text}, {"clipeval": self.about}

"""HTML is made here and nowhere else: by jinja2 templates, in which every value is escaped.

Only what a template calls `safe` is not: our own style and script, and what the two filters of
`clipeval.runs.notebook_page` have made harmless.
"""

import functools
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

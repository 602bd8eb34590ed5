"""The plan of the house: floors, rooms and files, held against every import, lazy ones too."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import clipeval

PACKAGE = Path(clipeval.__file__).parent

#: rooms and the files beside them, from the ground up: each may import from its own floor and below
FLOORS = (
    "errors files paths progress",
    "models stats embedding output",
    "datasets classify",
    "published sources",
    "session",
    "testcards",
    "studies",
    "runs",
    "packs explore export",
    "cli face listing __main__",
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
#: the only files beside the rooms: nine at most, or it is a corridor again
FILES = {"__init__", "__main__", "cli", "errors", "face", "files", "listing", "paths", "progress"}
LONGEST = 400  # lines of a module
#: columns and attributes that a room speaks of beside the names that it offers
WORDS = {"attrs", "file", "image_id", "row"}

#: arrows that still run up or in a circle, and modules that are still too long: none may be added
STILL: set[tuple[str, str]] = set()
STILL_LONG: set[str] = set()


@cache
def modules() -> dict[str, Path]:
    """Dotted name below `clipeval` -> file; the package itself is ""."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        if "_bundled" not in folders:
            found[".".join(folders if name == "__init__" else [*folders, name])] = path
    return found


def module_of(name: str) -> str | None:
    """The module that a dotted name means or is taken from; None for what is not clipeval's."""
    if name != "clipeval" and not name.startswith("clipeval."):
        return None
    name = name[len("clipeval.") :].rstrip(".")
    while name not in modules():
        name = name.rpartition(".")[0]
    return name


def names_in(node: ast.AST, module: str) -> list[str]:
    """Dotted names that a node imports, or holds as text from which something is imported later."""
    match node:
        case ast.Call(func=ast.Name(id="lazy")):
            return [f"clipeval.{module}.{keyword.arg}" for keyword in node.keywords]
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            assert not node.level, f"from {'.' * node.level} import: write the room's name"
            return [f"{node.module}.{alias.name}" for alias in node.names]
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
            return [start] if start.count(".") > 1 else []
        case ast.Constant(value=str(text)) if text.removeprefix("clipeval.") in modules():
            return [text]
    return []


@cache
def arrows() -> frozenset[tuple[str, str]]:
    """(module, module that it imports) for every import, wherever it stands; the door's own left out."""
    found = set()
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found |= {(module, module_of(name)) for name in names_in(node, module)}
    return frozenset((a, b) for a, b in found if a and b and a != b)


def room(module: str) -> str:
    return module.partition(".")[0]


def circle(arrows) -> list[str]:
    """Names along a circle of arrows; none where there is no circle."""
    graph = {}
    for a, b in arrows:
        graph.setdefault(a, set()).add(b)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def between_rooms(arrows) -> set[tuple[str, str]]:
    return {(room(a), room(b)) for a, b in arrows if room(a) != room(b)}


def test_every_import_is_read(tmp_path):
    """The reading itself: what is imported while the package loads is among the arrows."""
    code = (
        "import sys\nimport clipeval.testcards\n"
        "print(*(m[9:] for m in sys.modules if m.startswith('clipeval.')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded, reached, new = set(done.stdout.split()), set(), {"testcards"}
    while new:
        reached |= new
        new = {b for a, b in arrows() if a in reached}
        new |= {module.rpartition(".")[0] for module in new if "." in module}
        new -= reached
    faces = {room(module) for module in reached} | {m.rpartition(".")[0] for m in reached}
    assert len(loaded) > 10 and loaded <= reached | faces
    assert ("runs.preload", "session.session") in arrows()  # a name in a tuple, imported later
    assert ("cli", "listing") in arrows()  # inside a function


def test_no_arrow_runs_up():
    up = {(a, b) for a, b in arrows() if FLOOR[room(a)] < FLOOR[room(b)]}
    assert up - STILL == set()


def test_no_circle_of_rooms_or_modules():
    assert circle([("a", "b"), ("b", "c"), ("c", "a")])
    assert circle(arrows() - STILL) == []
    assert circle(between_rooms(arrows() - STILL)) == []


def test_each_exception_is_still_needed():
    assert STILL - arrows() == set()
    assert STILL_LONG - too_long() == set()


def too_long() -> set[str]:
    lines = {name: path.read_text("utf-8").count("\n") for name, path in modules().items()}
    return {name for name, count in lines.items() if count > LONGEST}


def test_no_module_is_longer_than_one_can_read():
    assert too_long() - STILL_LONG == set()


def test_no_new_file_in_the_corridor():
    assert len(FILES) <= 9
    assert {path.stem for path in PACKAGE.glob("*.py")} == FILES
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= set(FLOOR)
    assert {path.name for path in PACKAGE.glob("*/") if any(path.rglob("*.py"))} <= rooms


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_every_room_says_what_it_is_for_and_offers_what_it_names(name):
    face = import_module(f"clipeval.{name}")
    first, _, rest = face.__doc__.partition("\n")
    assert first.endswith(".") and len(first) < 120
    assert {offered for offered in face.__all__ if getattr(face, offered) is None} == set()
    named = set(re.findall(r"`(\w+)`", face.__doc__))
    assert named & set(face.__all__)
    inside = {module.removeprefix(f"{name}.") for module in modules() if module.startswith(name)}
    assert {n for n in named - inside if not hasattr(face, n)} <= WORDS

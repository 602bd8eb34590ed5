"""Paths of this machine: they stay in OUT/local.json, and everywhere else names stand for them.

A run folder may be passed on. What lies in it names a model by its folder's name and its weights' hash, and data by
their name and hash; OUT/.gitignore names the one file that holds the paths, which `pack`, `compare` and a stored
notebook that is run again where it lies look up.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import clipeval
from clipeval.embedding.addresses import is_address
from clipeval.files import Folder, as_json
from clipeval.output.provenance import pathless
from clipeval.paths import NOTEBOOKS, cache_dir

LOCAL = "local.json"
#: the run folder, as a stored notebook names it
HERE = ".."
#: parameters that are words and never paths, even where a file of that name is here
_WORDS = {"file", "columns", "person", "title", "licence", "citation", "labelled_by", "groups"}


def absolute(name: str, value):
    """A parameter's path as seen from here: notebooks run in another folder.

    A word that names something else (`-p class_set=fairface`) stays as it is, even where a folder of
    that name happens to be here.
    """
    if name in _WORDS or is_address(value):
        return value
    text = str(value)
    prefix = "local-dir:" if text.startswith("local-dir:") else ""
    path, variant = text.removeprefix(prefix), ""
    if ".yaml:" in path:
        path, _, variant = path.partition(".yaml:")
        path, variant = f"{path}.yaml", f":{variant}"
    named = name in ("data", "pack", "scores", "store")
    is_path = prefix or named or "/" in path or Path(path).suffix
    found = Path(path).expanduser()
    if not path or not is_path or not (found.exists() or name == "store"):
        return value
    return f"{prefix}{found.absolute()}{variant}"


def told(parameters: Mapping) -> dict:
    """Parameters as files and pages may tell them: a path by its last part, and the run folder not at all."""
    return {name: "" if name == "out" else _told(name, v) for name, v in parameters.items()}


def _told(name: str, value):
    return pathless(absolute(name.rpartition(".")[2], value))


def write_local(out: Path, plan: Mapping[str, Mapping]) -> None:
    """Keep the paths among the parameters of studies (id -> parameters) in OUT/local.json, and write OUT/.gitignore."""
    known = read_local(out)
    now = {study: paths for study, paths in known.items() if study not in plan}
    for study, parameters in plan.items():
        full = {name: absolute(name, value) for name, value in parameters.items() if name != "out"}
        if paths := {name: v for name, v in full.items() if v != _told(name, v)}:
            now[study] = paths
    if now != known:
        Folder(out).write(".gitignore", f"{LOCAL}\n")
        Folder(out).write(LOCAL, as_json(now))


def read_local(out: Path) -> dict[str, dict]:
    """Study id -> parameter -> value with its path; empty where the folder came from another machine."""
    try:
        found = json.loads((out / LOCAL).read_text("utf-8"))
        return {study: dict(paths) for study, paths in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def restored(out: Path, study: str, parameters: Mapping) -> dict:
    """Parameters of a run folder's record with the paths that they had, where OUT/local.json has them."""
    known = read_local(out).get(study, {})
    return {
        name: known[name] if name in known and _told(name, known[name]) == value else value
        for name, value in parameters.items()
    }


def hider(parameters: Mapping, out: Path) -> Callable:
    """A function that puts names in place of this machine's paths, in a text or in all texts of a value.

    Parameters
    ----------
    parameters : of a study; what they name is called by its last part, and folders above it "..."
    out : run folder
    """
    names: dict[str, str] = {}
    for name, value in parameters.items():
        for path in _paths(absolute(name, value)):
            _name(names, path, Path(path).name)
    _name(names, out, Path(out).name)
    home = os.path.expanduser("~")
    known = {sys.prefix: "python", str(Path(clipeval.__file__).parents[1]): "clipeval"}
    known |= {str(NOTEBOOKS): "notebooks", str(cache_dir()): "$CLIPEVAL_CACHE"}
    for path, name in known.items():
        for form in {path, os.path.realpath(path)}:
            names.setdefault(form, name)
    for path in [*names, os.getcwd()]:
        for above in [path, *map(str, Path(path).parents)]:
            if len(Path(above).parts) > 2:
                names.setdefault(above, "...")
    if len(home) > 1:
        names[home] = "~"
    longest = sorted(filter(None, names), key=len, reverse=True)
    # "/data" may also be the end of words such as "images/data"; a longer path may follow a colour's code
    start = os.path.commonprefix(
        longest
    )  # first in the pattern, as texts are fast to search for it
    alone = rf"(?<![\w.]{re.escape(start)})"
    ways = [alone * (len(Path(path).parts) < 3) + re.escape(path[len(start) :]) for path in longest]
    pattern = re.compile(rf"{re.escape(start)}(?:{'|'.join(ways)})(?![\w-])")

    def hide(value):
        if isinstance(value, str):
            return pattern.sub(lambda found: names[found[0]], value)
        if isinstance(value, Mapping):  # pictures are no text
            return {k: v if str(k).startswith("image/") else hide(v) for k, v in value.items()}
        return [hide(v) for v in value] if isinstance(value, list | tuple) else value

    return hide


def _name(names: dict[str, str], path, name: str) -> None:
    for form in {str(path), os.path.abspath(path), os.path.realpath(path)}:
        names[form] = name


def _paths(value) -> list[str]:
    """Absolute paths in a parameter's value: PATH, local-dir:PATH, FILE.yaml:VARIANT, python:FILE:FUNCTION:PATH."""
    text = str(value)
    if text.startswith("python:"):
        return [part for part in text.split(":") if os.path.isabs(part) and len(part) > 1]
    bare = re.sub(r"(\.ya?ml):.*", r"\1", re.sub(r"^[a-z][a-z0-9-]+:", "", text))
    return [bare] if os.path.isabs(bare) and len(bare) > 1 else []

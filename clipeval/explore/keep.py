"""Keeping what was found: a named class set, and a study run with it."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from clipeval.classify.class_sets import class_set_of, load_class_set
from clipeval.errors import ClassSetError, ClipevalError
from clipeval.files import Folder
from clipeval.paths import DATA

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True)
class Saved:
    """A class set that was kept: its file, its templates (a name or a file), how to run a study with it."""

    name: str
    class_set: Path
    templates: str
    command: str


def save(explorer, name: str, folder: str | Path = "") -> Saved:
    """Keep the typed classes, and the templates if they were typed, as YAML.

    The other tasks of the class set that the session started from are kept with them, so that a
    study that needs those runs too.

    Parameters
    ----------
    name : small letters, digits and _, starting with a letter; not that of a bundled class set
    folder : by default `class_sets` in the session's run folder

    Raises
    ------
    ClassSetError  if the name cannot be used, the file exists or cannot be written
    """
    if not _NAME.fullmatch(name):
        raise ClassSetError(
            f'"{name}" cannot name a class set; use small letters, digits and _, starting with '
            "a letter."
        )
    if (DATA / "class_sets" / f"{name}.yaml").exists():
        raise ClassSetError(f'"{name}" is a bundled class set; choose another name.')
    session = explorer.session
    folder = Path(folder) if folder else session.parameters.out_folder / "class_sets"
    path = folder.expanduser().resolve() / f"{name}.yaml"
    words = path.with_name(f"{name}_templates.yaml")
    tasks, categories = _with_other_tasks(explorer)
    class_set_of(name, tasks, categories=categories)
    source = f"explored by hand, from task {explorer.task} of class set {session.class_set.label}"
    content = {"name": name, "version": "1", "source": source}
    content |= {"language": spoken} if (spoken := explorer.class_set.language) else {}
    templates = session.parameters.templates
    if explorer.templates is not session.templates:
        lines = {"templates": list(explorer.templates.templates)}
        templates = str(words)
        _write(words, content | {"name": words.stem} | lines)
    try:
        _write(path, content | {"categories": categories, "tasks": tasks})
    except ClassSetError:
        if templates == str(words):
            words.unlink()
        raise
    load_class_set(str(path))
    return Saved(name, path, templates, _command(session, path, templates))


def _with_other_tasks(explorer) -> tuple[dict, dict]:
    """Tasks and categories of the session's class set, the explored task replaced by what was typed."""
    base, typed = explorer.session.class_set, explorer.class_set
    tasks = base.tasks | {explorer.task: dict(typed.classes())}
    elsewhere = {
        c for task, classes in base.tasks.items() if task != explorer.task for c in classes
    }
    categories = {k: [m for m in v if m in elsewhere] for k, v in base.categories.items()}
    for name, members in typed.categories.items():
        categories[name] = list(dict.fromkeys([*categories.get(name, []), *members]))
    return tasks, {name: members for name, members in categories.items() if members}


def _write(path: Path, content: dict) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    if path.exists():
        raise ClassSetError(f"{path} exists and is not overwritten; choose another name.")
    try:
        Folder(path.parent).write(path.name, text)  # listed, as a run may go into the same folder
    except OSError as error:
        reason = error.strerror or error
        raise ClassSetError(
            f"{path} cannot be written ({reason}); set out to a folder that can."
        ) from None


def _given(session, class_set: Path, templates: str) -> dict:
    """The session's parameters that differ from its study's defaults, with what was saved."""
    values = session.parameters.model_dump()
    values |= {"class_set": str(class_set), "templates": templates}
    for name in (
        "data",
        "pretrained",
        "store",
        "pack",
        "scores",
    ):  # must mean the same from any folder
        if values.get(name) and (path := Path(values[name]).expanduser()).exists():
            values[name] = str(path.resolve())
    fields = type(session.parameters).model_fields
    return {k: v for k, v in values.items() if k != "out" and v != fields[k].default}


def _command(session, class_set: Path, templates: str) -> str:
    given = _given(session, class_set, templates)
    parts = [f"-p {shlex.quote(f'{name}={value}')}" for name, value in given.items()]
    return " ".join(["clipeval run", session.study.id, *parts])


def run(
    explorer,
    saved: Saved,
    out: str | Path = "",
    tell: Callable[[str, str, float, float], None] = lambda *what: None,
) -> Path:
    """Run the session's study with a saved class set, on all images of the session.

    Parameters
    ----------
    out : run folder; by default `explore/NAME` in the session's
    tell : as for `clipeval.runs.runner.run_studies`

    Returns
    -------
    Path of the run's first page

    Raises
    ------
    ClipevalError  with the study's own sentence, if it fails
    """
    from clipeval.runs.check import check_plan
    from clipeval.runs.runner import run_studies
    from clipeval.session.parameters import parse

    session = explorer.session
    study, parameters = session.study.id, session.parameters
    folder = Path(out).expanduser() if out else parameters.out_folder / "explore" / saved.name
    folder = folder.resolve()
    given = _given(session, saved.class_set, saved.templates)
    plan = {study: parse(type(parameters), given | {"out": str(folder)}, study=study)}
    problems = [finding.problem for finding in check_plan(plan, power=False) if finding.problem]
    if not problems:
        asked = {"studies": [study], "parameters": given}
        outcomes = run_studies(plan, folder, arguments=asked, jobs=1, tell=tell)
        problems = [outcome.error for outcome in outcomes if outcome.error]
    if problems:
        raise ClipevalError(f"{study} with class set {saved.name} failed: {problems[0]}")
    return folder / "index.html"

"""The studies, one folder each: a study, its tables, what it shows.

`STUDIES` holds those of the package and those whose folders were named, by id and in the order of their
notebooks; `get_study` finds one, by its id or its folder; `start` opens a session from a notebook's names.
A folder outside the package is named on the command line, or in the environment variable CLIPEVAL_STUDIES.
"""

import functools
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import clipeval.testcards  # noqa: F401  (the data set and the model that studies start with)
from clipeval.classify.word_files import search_also
from clipeval.errors import ParameterError, as_text, did_you_mean
from clipeval.session.code_line import OWN
from clipeval.session.local_paths import HERE, restored
from clipeval.session.look_ahead import refuse
from clipeval.session.parameters import Parameters, injected, parse
from clipeval.session.session import Session
from clipeval.session.study import Study

__all__ = ["STUDIES", "get_study", "start"]

#: folders of studies outside the package, separated as in PATH; what a run starts reads it too
VARIABLE = "CLIPEVAL_STUDIES"


@functools.cache
def _bundled(name: str) -> Study:
    return import_module(f"clipeval.studies.{name}").study


@functools.cache
def _bundled_names() -> tuple[str, ...]:
    return tuple(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)


@functools.cache
def _from_folder(folder: Path) -> Study:
    """The study of a folder that holds study.py, a notebook and class sets.

    Raises
    ------
    ParameterError  if it holds none, or one that cannot be told from another
    """
    path = folder / "study.py"
    if not path.is_file():
        raise ParameterError(
            f"{folder} holds no study.py; name a folder with a study of your own (docs/new_study.md), or "
            f"one of {', '.join(_bundled_names())}."
        )
    name = f"{OWN}{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(folder)]
    )
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    search_also(folder)
    spec.loader.exec_module(module)
    study = getattr(module, "study", None)
    if not isinstance(study, Study):
        raise ParameterError(
            f"{path} names no study; end it with `study = MyStudy()`, an instance of a subclass of "
            "clipeval.session.study.Study."
        )
    if study.id in _bundled_names():
        raise ParameterError(
            f'{path}: a study of the package is called "{study.id}"; give yours another id.'
        )
    study.folder = folder
    if not study.notebook_path.is_file():
        raise ParameterError(
            f"{path} names the notebook {study.notebook}.ipynb, and {folder} does not hold it; add it."
        )
    return study


def _folders() -> list[Path]:
    """Folders that were named, in the environment variable or to `get_study`."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [Path(name) for name in named if name]


def _named(name: str) -> Study | None:
    """The study with this id; None if there is none."""
    if name in _bundled_names():
        return _bundled(name)
    return next((s for s in map(_from_folder, _folders()) if s.id == name), None)


class _Studies(Mapping):
    """Study id -> study; read anew at each use, as folders may be named while a program runs.

    One that there is not is refused in a sentence; `get` and `in` ask whether there is.
    """

    def __getitem__(self, name: str) -> Study:
        if (study := _named(name)) is None:
            raise _no_study(name)
        return study

    def get(self, name: str, default=None):
        return _named(name) or default

    def __contains__(self, name: object) -> bool:
        return _named(name) is not None

    def __iter__(self) -> Iterator[str]:
        found = [_bundled(name) for name in _bundled_names()] + list(map(_from_folder, _folders()))
        found.sort(key=lambda study: (study.is_summary, study.folder is not None, study.notebook))
        return iter([study.id for study in found])

    def __len__(self) -> int:
        return len(_bundled_names()) + len(_folders())


STUDIES: Mapping[str, Study] = _Studies()


def _no_study(name: str) -> ParameterError:
    meant = did_you_mean(str(name).replace("-", "_"), STUDIES, "")
    meant = f"{meant} The" if meant else "the"
    return ParameterError(
        f'there is no study "{name}"; {meant} studies are {", ".join(STUDIES)}; one of your own is named by '
        f"its folder, or by its id where {VARIABLE} holds that folder."
    )


def get_study(name: str) -> Study:
    """The study called `name`, or the one in the folder `name`.

    Raises
    ------
    ParameterError
        If there is none, with the nearest known name and those that there are.
    """
    name = as_text(name, "study")
    if study := STUDIES.get(name):
        return study
    if os.sep in name or os.path.isdir(name):
        folder = Path(name).expanduser().resolve()
        study = _from_folder(folder)
        if folder not in _folders():
            known = os.environ.get(VARIABLE, "")
            os.environ[VARIABLE] = os.pathsep.join(filter(None, [known, str(folder)]))
        return study
    raise _no_study(name)


def start(
    study: str | Study, values: Mapping | Parameters | None = None, *, progress: bool = True
) -> Session:
    """Open a session with the parameters that stand in `values`, and refuse what would fail later.

    Parameters
    ----------
    study : str or Study
        Study id, such as "fairface", the folder of a study of your own, or the study itself.
    values : mapping, or the study's Parameters
        A notebook's ``globals()``, or any mapping, ``{}`` for the defaults; names that are not parameters
        are passed over, but for those that papermill was given. What is in a mapping counts as given by the
        user (`Parameters.model_fields_set`); of a notebook, whose cell names every parameter, what papermill
        was given or what is not the default.
    progress : show progress bars

    Raises
    ------
    ParameterError
        If there is no such study, no values are given or one is not accepted, papermill was given a
        name that is not a parameter or a value that the notebook does not use, a real model is to
        read test cards, or the run folder cannot be written.
    ClipevalError
        The first that `clipeval check` would say of it.
    """
    session = opened(study, values, progress=progress)
    refuse(session)
    return session


def opened(
    study: str | Study,
    values: Mapping | Parameters | None,
    *,
    progress: bool = True,
    also: Collection[str] = (),
) -> Session:
    """A session as from `start`, of which only the values of its parameters were looked at.

    `also` names what papermill may set beside the study's parameters.
    """
    study = study if isinstance(study, Study) else get_study(study)
    if isinstance(values, Parameters):
        return study.open(values, progress=progress)
    if not isinstance(values, Mapping):
        raise ParameterError(
            f"start needs the parameters of {study.id} too; give globals() in a notebook, a dict of names and "
            "values, or {} for the defaults."
        )
    told = {name: value for name, value in injected(values).items() if name not in also}
    names = dict.fromkeys([*study.Parameters.model_fields, *told])
    given = {k: values[k] for k in names if k in values}
    if "In" in values:
        fields = study.Parameters.model_fields
        given = {k: v for k, v in given.items() if k in told or v != fields[k].default}
    if lost := next((name for name in told if told[name] != values.get(name)), ""):
        raise ParameterError(
            f"papermill was given {lost}={told[lost]!r}, and the notebook sets {lost} to "
            f"{values.get(lost)!r} after that; give its parameters cell the tag `parameters` again, "
            "which some editors drop, and change parameters nowhere else."
        )
    if given.get("out") == HERE:  # a stored notebook, run again where it lies
        given = restored(Path(HERE), study.id, given)
    return study.open(parse(study.Parameters, given, study=study.id), progress=progress)

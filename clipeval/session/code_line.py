"""The line of Python that made a table, to be copied into a cell and changed."""

import inspect
from collections.abc import Mapping

import pandas as pd

from clipeval.classify.class_sets import ClassSet
from clipeval.classify.word_files import known_files

#: longer values stand as their name, which is that of a variable in the notebook
MOST = 400
#: what the module of a user's own study is called, before the name of its folder
OWN = "clipeval_study_"


def code_line(function, options: Mapping, study: str) -> str:
    """Lines: where a table function is imported from, and its call on predictions with these options.

    Parameters
    ----------
    function : a study's table function, whose first argument are predictions
    options : its other arguments; for a class set of the user's FILE.yaml stands
    study : id, for whoever reads the predictions of a finished run
    """
    said = [f"{name}={_value(name, value)}" for name, value in options.items()]
    module, name = function.__module__, function.__qualname__
    found = [f"from {module} import {name}"]
    method, own = inspect.ismethod(function), module.startswith(OWN)
    if method or own:  # a module of the user's can be imported once its study was opened
        folder = "STUDY_FOLDER" if own else study
        opened = ["from clipeval.studies import get_study", f'study = get_study("{folder}")']
        found = opened if method else opened + found
        name = f"study.{function.__name__}" if method else name
    call = f"{name}({', '.join(['predictions', *said])})"
    return "\n".join(
        [*found, f'{call}  # predictions: clipeval.load_run(FOLDER).predictions("{study}")']
    )


def _value(name: str, value: object) -> str:
    if isinstance(value, ClassSet):
        known = value.name in known_files("class_sets")  # a file of the user's has no such name
        spec = value.spec if known else f"FILE.yaml{value.spec.removeprefix(value.name)}"
        return f'clipeval.load_class_set("{spec}")'
    if isinstance(value, pd.DataFrame | pd.Series) or callable(value):
        return name
    said = repr(value)
    return said if len(said) <= MOST else name

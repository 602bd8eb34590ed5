"""Errors a user can mend: each message names the thing, the reason and the mend in one sentence."""

from collections.abc import Iterable

__all__ = [
    "ClassSetError",
    "ClipevalError",
    "DataError",
    "ModelError",
    "NotStoredError",
    "ParameterError",
    "StoreError",
]


class ClipevalError(Exception):
    """Base of every error that is the user's to mend; shown without a traceback, in notebooks too.

    `problems` are all that were found, one sentence each, where the message names the first only.
    """

    def __init__(self, message: str = "", problems: Iterable[str] = ()):
        super().__init__(message)
        self.problems = list(problems) or [message]

    def _render_traceback_(self) -> list[str]:  # asked for by IPython
        return [f"{type(self).__name__}: {self}"]


class ModelError(ClipevalError):
    """A model cannot be loaded, or would silently compute something else than its authors did."""


class NotStoredError(ModelError):
    """Something is not in the store, and the model that would encode it is not to be loaded."""


class DataError(ClipevalError):
    """A data set is missing, incomplete or altered."""


class ClassSetError(ClipevalError):
    """A class set or template is malformed, or a label does not fit the model."""


class StoreError(ClipevalError):
    """The embedding store cannot be read or written."""


class ParameterError(ClipevalError):
    """A parameter is unknown or has a value that no study accepts."""

"""Errors a user can mend: each message names the thing, the reason and the mend in one sentence."""

from collections.abc import Iterable


def first_line(error: Exception) -> str:
    """The line of another library's error that says what is wrong, at most 200 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = lines or [type(error).__name__]
    text = f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return _short(text.rstrip("."))


def one_line(error: Exception, most: int = 200) -> str:
    """The whole of another library's error as one line, at most so many characters of it."""
    return _short(" ".join(str(error).split()) or type(error).__name__, most)


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


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

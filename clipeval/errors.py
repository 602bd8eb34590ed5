"""What a user is told: errors they can fix, and what was set aside as damaged.

Each message names the thing, the reason and the fix in one sentence.
"""

import errno
import os
import re
import warnings
from collections.abc import Callable, Iterable

#: characters of an error's line, at most; what is longer loses its middle, so that the fix stays
MOST = 500
#: what would break a line, turn its direction, or not be printable: escaped
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def first_line(error: Exception) -> str:
    """The line of another library's error that says what is wrong, at most 200 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = lines or [type(error).__name__]
    text = f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return _short(text.rstrip("."))


def one_line(error: Exception, most: int = 200) -> str:
    """The whole of another library's error as one line, at most so many characters of it."""
    return _short(" ".join(str(error).split()) or type(error).__name__, most)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """How a sentence on an unknown name ends: with the nearest known one, where one is near."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def _as_line(text: str) -> str:
    """A text on one line of at most `MOST` characters, whatever names and values stand in it."""
    text = _without_middle(str(text))
    return _without_middle(_ODD.sub(lambda odd: odd[0].encode("unicode_escape").decode(), text))


def _without_middle(text: str) -> str:
    return text if len(text) <= MOST else f"{text[: MOST - 205]} ... {text[-200:]}"


_MENDS = {
    errno.ENOSPC: "make room on that disk, or name another folder, and repeat the same command",
    errno.EDQUOT: "make room within the quota, or name another folder, and repeat the same command",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "allow it, or name another",
    errno.EPERM: "allow it, or name another",
    errno.EMFILE: "allow more open files (ulimit -n), or use fewer workers",
}
#: how libraries say that memory ran out, where they raise no MemoryError
_NO_MEMORY = re.compile(
    r"out of memory|ALLOC_FAILED|can't allocate memory|malloc of size|Cannot allocate memory"
)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: the machine's, or a GPU's."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def sentence(error: BaseException) -> str:
    """What a command or a study failed with, as one line; "" for what only a traceback explains.

    Errors of this package, of the system (a full disk, a folder that may only be read) and of memory
    are the user's to fix, whichever library raised them.
    """
    if isinstance(error, ClipevalError):
        return str(error)
    if is_lack_of_memory(error):
        return _as_line(
            f"memory ran out ({first_line(error)}); use a smaller batch_size, fewer workers or --jobs "
            "1, or a machine with more of it."
        )
    if isinstance(error, OSError) and error.errno:
        named = error.filename if error.filename is not None else "a file"
        mend = _MENDS.get(error.errno, "look at it, and repeat the same command")
        return _as_line(f"{named}: {error.strerror or one_line(error)}; {mend}.")
    if isinstance(error, EOFError):
        return "a process or file ended before its time; repeat the same command, which goes on."
    return ""


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


class ClipevalError(Exception):
    """Base of every error that is the user's to fix; shown without a traceback, in notebooks too.

    `problems` are all that were found, one sentence each, where the message names the first only.
    """

    def __init__(self, message: str = "", problems: Iterable[str] = ()):
        super().__init__(_as_line(message))
        self.problems = [_as_line(problem) for problem in problems] or [str(self)]

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


def as_text(value: object, what: str) -> str:
    """A name or a path as text; ParameterError where it is something else, such as None."""
    if not isinstance(value, str | os.PathLike):
        raise ParameterError(
            f"{what} is of type {type(value).__name__} and not text; give its name or path."
        )
    return os.fspath(value)


class SetAside(UserWarning):
    """A file that clipeval kept is damaged; one sentence says where it went, and that it is made again."""


def listen(tell: Callable[[str], None]) -> None:
    """Have this process tell what is set aside to `tell`, and show other warnings as before."""
    before = warnings.showwarning

    def show(message, category, *where, **how):
        if issubclass(category, SetAside):
            tell(str(message))
        else:
            before(message, category, *where, **how)

    warnings.showwarning = show

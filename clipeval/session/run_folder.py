"""The run folder: whether it can be written, and by whom."""

import os
from contextlib import contextmanager
from pathlib import Path

from clipeval.errors import ParameterError
from clipeval.session.parameters import Parameters
from clipeval.session.record import read_run, read_studies


@contextmanager
def only_writer(out: Path):
    """Hold a run folder for this process; the system lets go of it when the process ends, however it does.

    Raises
    ------
    ParameterError  if another run is writing into it
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ParameterError(
            f"another run is writing into {out}; wait for its end, or give another --out."
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def check_out(parameters: Parameters) -> Path:
    """The run folder, if it can be written and its records can be read.

    Raises
    ------
    ParameterError  if nothing can be written there; see `check_writable`
    DataError  if a record in it is damaged or not clipeval's; see `record.read_run`
    """
    folder = check_writable("out", parameters.out_folder)
    read_run(folder)
    read_studies(folder)
    return folder


def check_writable(name: str, folder: Path) -> Path:
    """The folder that a parameter names, if it can be written; nothing is left in it.

    Raises
    ------
    ParameterError
        If it is a file, or nothing can be written there.
    """
    import tempfile

    parent = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".clipeval-", dir=parent):
            return folder
    except OSError as error:
        reason = error.strerror or error
        raise ParameterError(
            f"{name}={folder} cannot be written, because {parent} is not a writable folder ({reason}); "
            "name another."
        ) from None

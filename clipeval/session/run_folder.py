"""The run folder: its record, and whether it can be written."""

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from clipeval import __version__
from clipeval.errors import ParameterError
from clipeval.files import write_json
from clipeval.session.parameters import Parameters

__all__ = ["check_out", "check_writable", "only_writer", "write_run"]


def write_run(out: Path, **more) -> dict:
    """Write OUT/run.json from what the studies in it recorded; `more` is kept from the last writer."""
    path = out / "run.json"
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        before = {}
    studies = {}
    for found in sorted(out.glob("*/study.json")):
        with suppress(FileNotFoundError):  # set aside in this moment, to be run again
            studies[found.parent.name] = json.loads(found.read_text("utf-8"))
    run = {"clipeval": __version__} | {
        k: v for k, v in before.items() if k not in ("clipeval", "studies")
    }
    run |= more | {"studies": studies}
    write_json(path, run)
    return run


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
    """The run folder, if it can be written; see `check_writable`."""
    return check_writable("out", parameters.out_folder)


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
            f"{name}={folder} cannot be written, because {parent} is no writable folder ({reason}); "
            "name another."
        ) from None

"""The run folder: whether it can be written, and by whom."""

import itertools
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from clipeval.errors import ParameterError
from clipeval.files import LIST, Folder
from clipeval.models.info import ModelInfo
from clipeval.session.local_paths import told
from clipeval.session.parameters import Parameters
from clipeval.session.record import read_run, read_studies

#: what tells one kind of folder from the other: a file that each of them has
KINDS = {"run": "run.json", "comparison": "compare.json"}
#: parameters that say which model, and which data
_MODEL = ("model", "pretrained", "weights")
_DATA = ("dataset", "data")


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


def refuse_foreign(out: Path, kind: str = "run") -> None:
    """Refuse a folder that holds files of the user's, or of another kind of clipeval's folders.

    Parameters
    ----------
    out : a folder that may not exist yet
    kind : what is to be written into it, a key of `KINDS`

    Raises
    ------
    ParameterError  naming one of the files
    DataError  if a record in it is damaged or not clipeval's; see `record.read_run`
    """
    if kind == "run":
        read_run(out)
        read_studies(out)
    for other, name in KINDS.items():
        if other != kind and (out / name).is_file():
            raise ParameterError(f"{out} holds a {other} ({name}); choose an empty folder.")
    if (out / KINDS[kind]).is_file() and not (out / LIST).is_file():
        raise ParameterError(
            f"{out} holds a {kind} of an earlier version of clipeval, which kept no list of its files, so "
            "that yours could not be told from them; choose an empty folder, or move it away."
        )
    Folder(out).refuse_foreign()


def refuse_mixing(out: Path, plan: Mapping[str, Parameters], info: ModelInfo | None = None) -> None:
    """Refuse a second model in a run folder, or other data for a study that is in it.

    Parameters
    ----------
    out : run folder
    plan : study id -> parameters of what is to run, summaries left out
    info : what is known of the model; None before it is loaded

    Raises
    ------
    ParameterError  naming both
    """
    held = {study: record for study, record in read_studies(out).items() if record.model}
    named = [(study, p.model_dump(), None) for study, p in plan.items()]
    models = [(study, r.parameters, r.model) for study, r in held.items()]
    for (one, first, known), (other, second, _) in itertools.product([*models, *named[:1]], named):
        if _differ(first, second, _MODEL):
            raise ParameterError(
                f"{other} of {_said(second, _MODEL)} cannot go into {out} beside {one} of "
                f"{_said(first, _MODEL)}, as a run folder holds one model; name another folder."
            )
        if info and known and (what := _other(known, info)):
            raise ParameterError(
                f"{other} cannot go into {out}, whose results are of {_said(first, _MODEL)} with other {what} "
                f"(sha256 {known.weights_id}, now {info.weights_id}), as a run folder holds one model; name "
                "another folder."
            )
        if one == other and _differ(first, second, _DATA):
            raise ParameterError(
                f"{out} holds {one} on {_said(first, _DATA)}, and it is asked to run on "
                f"{_said(second, _DATA)}; name another folder."
            )


def _other(known: ModelInfo, now: ModelInfo) -> str:
    """What sets two models of one name apart: weights or features; "" for nothing that can be told.

    A loader of one's own names no weights: its file and what it computes are compared, in the same precision
    and by the same libraries. Of answers made elsewhere neither is known.
    """
    if not (known.is_known and now.is_known):
        return ""
    if known.weights_sha256 and now.weights_sha256:
        return "weights" if known.weights_sha256 != now.weights_sha256 else ""
    alike = all(getattr(known, n) == getattr(now, n) for n in ("precision", "resize", "versions"))
    return "features" if alike and known.fingerprint != now.fingerprint else ""


def _differ(first: Mapping, second: Mapping, names) -> bool:
    """Whether two studies' parameters differ, wherever the files lie; what an older record lacks does not."""
    first, second = told(first), told(second)
    return any(first[name] != second[name] for name in names if name in first)


def _said(values: Mapping, names) -> str:
    short = told(values)
    return " ".join(str(short[name]) for name in names if short.get(name))


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

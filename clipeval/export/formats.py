"""Which forms there are, and what each is made of."""

from pathlib import Path

from clipeval.errors import ParameterError
from clipeval.files import Folder
from clipeval.runs.finished import load_run
from clipeval.session.run_folder import check_writable

#: name -> what is written
FORMATS = {
    "paper": "main.tex, its tables and figures, and references.bib",
    "model-card": "README.md for the Hugging Face Hub",
    "croissant": "croissant.json, which describes a pack",
}


def export(run: str | Path, format: str, out: str | Path) -> Path:
    """Write a finished run in another form.

    Parameters
    ----------
    run : run folder; for "croissant" the file that `clipeval pack` wrote of it
    format : one of `FORMATS`
    out : folder, made if it does not exist; files of an export before are replaced, others stay

    Returns
    -------
    Path of the file to open first

    Raises
    ------
    ParameterError  if there is no such form, it is not one of a folder or not one of a pack, `out`
        cannot be written, or a file would be replaced that clipeval did not write or that was edited
    DataError  if `run` is neither a run folder nor a pack
    """
    if format not in FORMATS:
        raise ParameterError(f'format "{format}" is unknown; the formats are {", ".join(FORMATS)}.')
    run, out = Path(run).expanduser().resolve(), Path(out).expanduser().resolve()
    if format == "croissant":
        if run.is_dir():
            raise ParameterError(
                f"croissant describes a pack and {run.name} is a folder; write one with `clipeval "
                "pack RUN`, and export that file."
            )
        from clipeval.export.croissant import croissant

        files = croissant(run)
    else:
        if run.is_file():
            raise ParameterError(
                f"{format} is made of a run folder and {run.name} is a file; if it is a pack, run it "
                "with `clipeval run --pack FILE --out RUN`, and export that folder."
            )
        if format == "paper":
            from clipeval.export.paper import paper as made
        else:
            from clipeval.export.model_card import model_card as made

        files = made(load_run(run))
    _write(out, files)
    return out / next(iter(files))


def _write(out: Path, files: dict[str, str | bytes]) -> None:
    """Write all files, or none where one of them would replace what is the user's."""
    check_writable("out", out)
    kept = {path.as_posix() for path, _ in Folder(out).foreign()} if out.is_dir() else set()
    if mine := sorted(kept & set(files)):
        raise ParameterError(
            f"{out} holds {mine[0]}, which clipeval did not write or which was edited since; choose "
            "an empty folder."
        )
    for name, content in files.items():
        path = out / name
        Folder(path.parent).write(path.name, content)

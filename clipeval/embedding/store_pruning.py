"""What of a store may go: its own files alone, found by what is asked for, listed before they are deleted.

A file is the store's own if its name is one that the store gives and its content says so: a shard names
the model of the folder it lies in, and whatever else is kept bears the checksum of its name and content. What was
set aside as damaged says nothing any more and goes by its name. Links are nobody's. All else is the user's and stays.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

from clipeval.embedding import addresses
from clipeval.embedding.store import MODEL, Store, written
from clipeval.errors import ParameterError, StoreError
from clipeval.files import is_kept

__all__ = ["check", "delete", "prunable"]

COLUMNS = ["what", "model", "pretrained", "kind", "written", "megabytes", "file"]
_SHARD = re.compile(r"\d{20}-[0-9a-f]{12}\.parquet")
_DERIVED = re.compile(r"[0-9a-f]{64}(\.[a-z.]+)?\.kept")
_ASIDE = re.compile(r"\.damaged\d*$")


def prunable(
    store: Store,
    *,
    model: str = "",
    kind: str = "",
    older_than: float | None = None,
    damaged: bool = False,
    derived: bool = False,
) -> pd.DataFrame:
    """Files of a store that are asked for; nothing is deleted.

    Parameters
    ----------
    store : the store
    model : embeddings of this model, MODEL or MODEL@PRETRAINED
    kind : embeddings of this kind, as `Store.summary` names it; with `model`, of both
    older_than : of all that is asked for, what was written more than so many days ago; asked for alone, all
    damaged : what was set aside as damaged
    derived : tables and figures that are kept; they are made again from embeddings where they are needed

    Returns
    -------
    DataFrame: what (embeddings, damaged, derived), model, pretrained, kind, written (UTC), megabytes, file

    Raises
    ------
    ParameterError  if nothing is asked for, or no such model or kind is stored
    """
    if not (model or kind or damaged or derived or older_than is not None):
        raise ParameterError(
            "nothing is asked for, so nothing is pruned; name --model, --kind, --older-than, --damaged or --derived."
        )
    if older_than is not None and older_than < 0:
        raise ParameterError(f"older_than={older_than:g} is negative; give a number of days.")
    every = not (model or kind or damaged or derived)
    rows = list(_shards(store)) if model or kind or every else []
    _refuse_unknown(rows, model, kind)
    rows = [r for r in rows if model in ("", *_names(r)) and kind in ("", r["kind"])]
    rows += _aside(store) if damaged or every else []
    rows += _derived(store) if derived or every else []
    latest = time.time() - 86_400 * (older_than or 0)
    found = []
    for row in rows:
        with suppress(FileNotFoundError):  # another process was faster
            status = Path(row["file"]).stat()
            when = written(Path(row["file"])) or status.st_mtime
            if older_than is None or when < latest:
                day = time.strftime("%Y-%m-%d", time.gmtime(when))
                found.append(row | {"written": day, "megabytes": status.st_size / 1e6})
    return pd.DataFrame(found, columns=COLUMNS).astype({"megabytes": float})


def delete(store: Store, files: pd.DataFrame) -> None:
    """Delete what `prunable` found, at an address there as well, and folders of models that hold nothing then.

    Raises
    ------
    StoreError  if a file may not be deleted; those before it are gone
    """
    if store.address:
        addresses.remove(store.address, [Path(f).relative_to(store.root) for f in files["file"]])
    for file in files["file"]:
        try:
            Path(file).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"{file} cannot be deleted ({error.strerror}); allow it and repeat the command."
            ) from None
    for folder in {Path(file).parent for file in files["file"]}:
        if not MODEL.fullmatch(folder.parent.name):
            continue
        with suppress(OSError):  # it still holds something
            folder.rmdir()
            about = folder.parent / "model.kept"
            if list(folder.parent.iterdir()) == [about] and is_kept(about):
                about.unlink()
                folder.parent.rmdir()


def check(store: Store) -> pd.DataFrame:
    """Read all that is stored, a shard at a time, and hold it against its checksums.

    Returns
    -------
    DataFrame: model, kind, rows (different ones), shards, damaged (shards, now set aside), folder
    """
    found = []
    for shelf in store.shelves():
        before = len(list(shelf.folder.glob("*.parquet")))
        rows = sum(len(rows) for rows, _ in shelf.blocks())
        whole = len(list(shelf.folder.glob("*.parquet")))
        row = {"model": shelf.info.model, "kind": shelf.folder.name, "rows": rows, "shards": whole}
        found.append(row | {"damaged": max(0, before - whole), "folder": str(shelf.folder)})
    return pd.DataFrame(found, columns=["model", "kind", "rows", "shards", "damaged", "folder"])


def _shards(store: Store) -> Iterator[dict]:
    import pyarrow.parquet as pq

    for folder, about in store.folders():
        said = {name: about.get(name, "") for name in ("model", "pretrained")}
        for path in _files(folder, _SHARD):
            with suppress(Exception):  # what cannot be read says of no model that it is the store's
                metadata = pq.read_schema(path).metadata or {}
                mine = json.loads(metadata[b"clipeval"])["fingerprint"]
                if mine[:32] == folder.parent.name:
                    yield {"what": "embeddings", **said, "kind": folder.name, "file": str(path)}


def _aside(store: Store) -> Iterator[dict]:
    for folder in [*(folder for folder, _ in store.folders()), *_made_again(store)]:
        shard = folder.parent != store.root
        for path in _files(folder, re.compile(r".+\.damaged\d*")):
            if (_SHARD if shard else _DERIVED).fullmatch(_ASIDE.sub("", path.name)):
                yield {"what": "damaged", "kind": folder.name, "file": str(path)} | _NOBODY


def _derived(store: Store) -> Iterator[dict]:
    for folder in _made_again(store):
        for path in _files(folder, _DERIVED):
            if is_kept(path):
                yield {"what": "derived", "kind": folder.name, "file": str(path)} | _NOBODY


_NOBODY = {"model": "", "pretrained": ""}


def _made_again(store: Store) -> list[Path]:
    folders = (store.tables, store.figures)
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]


def _files(folder: Path, name: re.Pattern) -> list[Path]:
    held = (p for p in folder.iterdir() if name.fullmatch(p.name))
    return sorted(p for p in held if p.is_file() and not p.is_symlink())


def _names(row: dict) -> tuple[str, str]:
    return row["model"], f"{row['model']}@{row['pretrained']}"


def _refuse_unknown(rows: list[dict], model: str, kind: str) -> None:
    for what, asked, held in (
        ("model", model, {name for row in rows for name in _names(row)}),
        ("kind", kind, {row["kind"] for row in rows}),
    ):
        if asked and asked not in held:
            known = ", ".join(sorted({n.rstrip("@") for n in held} - {""})) or "nothing"
            raise ParameterError(
                f'no embeddings of {what} "{asked}" are stored; there are those of {known}.'
            )

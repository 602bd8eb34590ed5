"""Embeddings on disk: checksummed shards that survive a kill, a full disk and a second process.

Layout: ``ROOT/<fingerprint>/<kind>/<time>-<process>.parquet``, where the fingerprint covers all
that can change an embedding and the kind says what was embedded (``images-projected-float32``,
``texts-float32``). Each shard is one parquet file that any tool can read: its rows carry a key (the
sha256 of an image's content, or the prompt), and its metadata a checksum of the content. A shard
appears under its name only when it is complete and synced to disk; one that fails its checks is set
aside as ``*.damaged``. ``ROOT/contents`` notes which content lies in which file.
"""

import errno
import functools
import json
import re
import time
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from clipeval.embedding import addresses
from clipeval.embedding.contents import Contents
from clipeval.errors import StoreError, one_line
from clipeval.files import file_state, keep, kept, remove_abandoned, set_aside, sha256, whole_file
from clipeval.paths import cache_dir

__all__ = ["COLUMNS", "Shelf", "Store", "written"]

FORMAT = "1"
COLUMNS = ["key", "image_id", "sha256", "notes", "reason"]
#: name of a model's folder: the first half of its fingerprint
MODEL = re.compile(r"[0-9a-f]{32}")
_KIND = re.compile(r"(images-\w+|texts)-float(16|32)")


class Store:
    """A folder of embeddings of any number of models and image sets.

    Parameters
    ----------
    root : folder, made when something is first written; or an address (s3://bucket/store), whose shards are
        copied to this disk where they are asked for, and put there when they are written; by default the user's

    Raises
    ------
    StoreError  if `root` is a file
    """

    def __init__(self, root: str | Path = ""):
        root = root or cache_dir() / "store"
        self.address = str(root).rstrip("/") if addresses.is_address(root) else ""
        here = addresses.copy_of(self.address) if self.address else Path(root)
        self.root = here.expanduser().absolute()
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"store {self.root} is a file; give a folder.")

    def __repr__(self):
        return f"Store({self.address or str(self.root)!r})"

    def shelf(self, info, kind: str) -> "Shelf":
        """Embeddings of one kind by one model, a `ModelInfo`."""
        place = f"{info.fingerprint[:32]}/{kind}"
        address = self.address and f"{self.address}/{place}"
        if address:
            addresses.fetch(address, keep=True, missing_ok=True)
        return Shelf(self.root / place, info, address)

    def folders(self):
        """Every folder of embeddings, of one kind by one model, and what `model.kept` says of that model.

        Of a store at an address, copies that are brought up to date first. Links are nobody's and left out.
        """
        if self.address:
            addresses.fetch(self.address, keep=True)
        for folder in sorted(self.root.glob("*/*/")):
            named = MODEL.fullmatch(folder.parent.name) and _KIND.fullmatch(folder.name)
            if named and not (folder.is_symlink() or folder.parent.is_symlink()):
                yield folder, json.loads(kept(folder.parent / "model.kept") or "{}")

    def shelves(self):
        """Every `Shelf` that holds something, with what is known of its model: model, pretrained, fingerprint."""
        import pyarrow.parquet as pq

        for folder, about in self.folders():
            for path in folder.glob("*.parquet") if "fingerprint" not in about else ():
                with suppress(
                    Exception
                ):  # a store of the time before `model.kept`; or a damaged shard
                    about |= json.loads(pq.read_schema(path).metadata[b"clipeval"])
            if next(folder.glob("*.parquet"), None) and about.get("fingerprint"):
                yield Shelf(folder, SimpleNamespace(**({"model": "", "pretrained": ""} | about)))

    @property
    def tables(self) -> Path:
        """Folder of tables that are kept to be read again, and are made again of embeddings."""
        return self.root / "derived"

    @property
    def figures(self) -> Path:
        """Folder of figures' files that are kept, and are drawn again of tables."""
        return self.root / "figures"

    @property
    def contents(self) -> Contents:
        """Which content lies in which file, as far as it was read before, for whatever model."""
        return Contents(self.root / "contents")

    def summary(self) -> pd.DataFrame:
        """What is stored: model, pretrained, precision, kind, rows, shards, megabytes, written, folder.

        `written` is the day on which the last shard was written (UTC). No shard is read but for its rows' number.
        """
        import pyarrow.parquet as pq

        rows = []
        for folder, about in self.folders():
            shards, count, size, last = sorted(folder.glob("*.parquet")), 0, 0, 0.0
            if not shards:
                continue
            for path in shards:
                try:
                    size += path.stat().st_size
                    last = max(last, written(path))
                    count += pq.read_metadata(path).num_rows
                except Exception:  # damaged, and the next reader sets it aside; or gone
                    continue
            row = {name: about.get(name, "") for name in ("model", "pretrained", "precision")}
            row |= {"kind": folder.name, "rows": count, "shards": len(shards)}
            day = time.strftime("%Y-%m-%d", time.gmtime(last)) if last else ""
            row |= {"megabytes": round(size / 1e6, 3), "written": day, "folder": str(folder)}
            rows.append(row)
        columns = ["model", "pretrained", "precision", "kind", "rows", "shards", "megabytes"]
        return pd.DataFrame(rows, columns=[*columns, "written", "folder"])


class Shelf:
    """Shards of one kind by one model; made by `Store.shelf`."""

    def __init__(self, folder: Path, info, address: str = ""):
        self.folder, self.info, self.address = folder, info, address
        # shards of images were keyed by path, size and time before; which content they embed they say
        self.by = "sha256" if folder.name.startswith("images-") else "key"
        self._ready = False

    def read(self, keys):
        """Stored rows for these keys, each key once.

        Where two processes stored the same key, the older shard wins.

        Parameters
        ----------
        keys : sequence of str, unique

        Yields
        ------
        (positions, rows, matrix) : positions in `keys` (k,), DataFrame of COLUMNS (k rows),
            and the embeddings of those rows whose `reason` is None, (<= k, d) in the stored dtype
        """
        wanted = pd.Index(keys)
        found = np.zeros(len(wanted), dtype=bool)
        for path, held in self._keys():
            if found.all():
                return
            positions = wanted.get_indexer(held)
            # older shards may hold the same content twice
            take = (positions >= 0) & ~held.duplicated()
            take[take] = ~found[positions[take]]
            if not take.any() or (shard := self._checked(_read_shard, path)) is None:
                continue
            rows, matrix = shard
            found[positions[take]] = True
            matrix = matrix[take[rows["reason"].isna().to_numpy()]]
            yield positions[take], rows[take].reset_index(drop=True), matrix

    def blocks(self, size: int = 1):
        """All that is stored, each key once and from the oldest on, a few shards at a time.

        Memory holds one block, and eight bytes a key to tell which are stored twice; so a store of any size is
        read in the memory of its largest shard. Each shard is held against its checksum as it is read.

        Parameters
        ----------
        size : shards are put together until a block has so many rows, or more

        Yields
        ------
        (rows, matrix) : DataFrame of COLUMNS (k rows), and the embeddings of those rows whose `reason` is
            None, (<= k, d) in the stored dtype
        """
        signs = [pd.util.hash_array(keys.to_numpy()) for _, keys in self._keys()]
        signs = np.sort(np.concatenate(signs)) if signs else np.zeros(0, np.uint64)
        # two keys may have one sign, so that those that may be stored twice are told apart by themselves
        twice, seen, block = np.unique(signs[1:][signs[1:] == signs[:-1]]), set(), []
        del signs
        for path in sorted(self.folder.glob("*.parquet")):
            if (shard := self._checked(_read_shard, path)) is None:
                continue
            rows, matrix = shard
            keys = rows[self.by].to_numpy(object)
            take = np.ones(len(keys), bool)
            for i in np.flatnonzero(np.isin(pd.util.hash_array(keys), twice)):
                take[i] = keys[i] not in seen
                seen.add(keys[i])
            matrix = matrix[take[rows["reason"].isna().to_numpy()]]
            block.append((rows[take], matrix))
            if sum(len(rows) for rows, _ in block) >= size:
                yield _joined(block)
                block = []
        if block:
            yield _joined(block)

    def keys(self) -> np.ndarray:
        """Every key that is stored, as a sorted array of bytes (of sha256: 64)."""
        held = [keys.to_numpy("S64") for _, keys in self._keys()]
        return np.sort(np.concatenate(held)) if held else np.zeros(0, "S64")

    def _keys(self):
        """Each shard and its keys, from the oldest on."""
        for path in sorted(self.folder.glob("*.parquet")):
            if (keys := self._checked(_read_keys, path, self.by)) is not None:
                yield path, pd.Index(keys, dtype=object)

    def _checked(self, read, path: Path, *how):
        """What `read` returns of a shard; None where it is gone, or damaged and now set aside."""
        try:
            return read(path, self.info.fingerprint, *how)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise StoreError(f"shard {path} cannot be read ({error.strerror}).") from None
        except Exception as error:  # whatever a damaged file makes the reader raise
            set_aside(path, one_line(error))
            return None

    def write(self, rows: pd.DataFrame, matrix: np.ndarray) -> Path:
        """Store one shard; it is on disk, whole, when this returns, or not there at all.

        Parameters
        ----------
        rows : DataFrame of COLUMNS; `reason` is None where an image could be read
        matrix : (k, d) float32 or float16, embeddings of the rows whose `reason` is None, in order

        Raises
        ------
        StoreError  if the folder cannot be written or the disk is full
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = rows[COLUMNS].astype(object).where(rows[COLUMNS].notna(), None)
        columns = {name: pa.array(rows[name].tolist(), pa.string()) for name in COLUMNS}
        readable = rows["reason"].isna().to_numpy()
        width = matrix.shape[1] if len(matrix) else 1
        full = np.zeros((len(rows), width), dtype=matrix.dtype)
        full[readable] = matrix.reshape(-1, width)
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(
            pa.array(full.reshape(-1)), width, mask=pa.array(~readable)
        )
        about = {
            "format": FORMAT,
            "fingerprint": self.info.fingerprint,
            "keys": _hash_keys(rows["key"].tolist()),
            "checksum": _checksum(rows, matrix),
        }
        table = pa.table(columns).replace_schema_metadata({"clipeval": json.dumps(about)})

        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        path = self.folder / f"{name}.parquet"
        try:
            self._prepare()
            with whole_file(path, durable=True) as beside:
                pq.write_table(
                    table,
                    beside,
                    compression="none",
                    use_dictionary=False,  # vectors hardly ever repeat a number
                )
        except OSError as error:
            raise _write_error(error, self.folder) from error
        if self.address:
            addresses.push(path, f"{self.address}/{path.name}")
        return path

    def _prepare(self):
        """Make the folder, say beside it what model it belongs to, and clear up after the dead."""
        if self._ready:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder.parent / "model.kept"
        if not about.exists():
            keep(about, json.dumps(asdict(self.info)).encode())
            if self.address:
                addresses.push(about, f"{self.address.rpartition('/')[0]}/{about.name}")
        remove_abandoned(self.folder)
        self._ready = True


def _read_keys(path: Path, fingerprint: str, by: str) -> list[str]:
    """Keys alone, with a checksum of their own: whether a shard is wanted must be certain."""
    if (
        by == "key"
    ):  # prompts, of which every study and every task asks anew; a shard of images has many
        return _keys_of_texts(path, file_state(path), fingerprint)
    return _keys_in(path, fingerprint, by)


@functools.lru_cache(maxsize=512)
def _keys_of_texts(path: Path, state: tuple, fingerprint: str) -> list[str]:
    """As `_read_keys`; read once as long as the file is what it was."""
    return _keys_in(path, fingerprint, "key")


def _keys_in(path: Path, fingerprint: str, by: str) -> list[str]:
    table, about = _read_columns(path, fingerprint, sorted({"key", by}))
    keys = table.column("key").to_pylist()
    if _hash_keys(keys) != about.get("keys"):
        raise ValueError("its keys do not have the checksum they were written with")
    if table.column(by).to_pylist() == keys:
        return keys
    return _read_shard(path, fingerprint)[0][by].tolist()


def _read_shard(path: Path, fingerprint: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows and the matrix of the readable ones, checked against the shard's own checksum."""
    table, about = _read_columns(path, fingerprint, [*COLUMNS, "embedding"])
    rows = pd.DataFrame({name: table.column(name).to_pylist() for name in COLUMNS}, dtype=object)
    vectors = table.column("embedding").combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, vectors.type.list_size)
    if _checksum(rows, matrix) != about.get("checksum"):
        raise ValueError("its content does not have the checksum it was written with")
    return rows, matrix


def _read_columns(path: Path, fingerprint: str, columns: list[str]):
    """Columns of a shard, not yet checked, and what the shard says of itself."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as parquet:
        about = json.loads((parquet.schema_arrow.metadata or {}).get(b"clipeval", b"{}"))
        if about.get("format") != FORMAT:
            raise ValueError(f"format {about.get('format')!r} instead of {FORMAT!r}")
        if about.get("fingerprint") != fingerprint:
            raise ValueError("it belongs to another model")
        return parquet.read(columns=columns), about


def written(path: Path) -> float:
    """When a shard was written, as its name says (seconds since 1970): a copy is younger; 0 for other names."""
    time_ns = path.name.partition("-")[0]
    return int(time_ns) / 1e9 if len(time_ns) == 20 and time_ns.isdigit() else 0.0


def _joined(block):
    """The shards of a block as one: rows, and the matrix of the readable ones."""
    rows, matrices = zip(*block, strict=True)
    held = [matrix for matrix in matrices if len(matrix)] or [matrices[0]]
    return pd.concat(rows, ignore_index=True), np.concatenate(held)


def _hash_keys(keys: list[str]) -> str:
    return sha256(json.dumps(keys))


def _checksum(rows: pd.DataFrame, matrix: np.ndarray) -> str:
    said = json.dumps([rows[name].tolist() for name in COLUMNS])
    return sha256(str(matrix.dtype), said, np.ascontiguousarray(matrix).tobytes())


def _write_error(error: OSError, folder: Path) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        mend = "free some space or choose another store, then run again: what is stored is kept."
    else:
        mend = "choose a store in a folder you may write to."
    return StoreError(f"cannot write embeddings to {folder} ({error.strerror or error}); {mend}")

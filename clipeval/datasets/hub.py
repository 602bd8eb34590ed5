"""Parquet data sets in the Hugging Face hub's layout: from the hub, its cache or a folder."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import pandas as pd

from clipeval.datasets.labelfile import few
from clipeval.errors import DataError

__all__ = [
    "cached",
    "class_names",
    "column_names",
    "fetch",
    "first_images",
    "hub_id",
    "image_ids",
    "read_shards",
    "shards",
]


def hub_id(data: str, known: Sequence[str] = ()) -> str | None:
    """The hub id in `data`: "hf:OWNER/NAME", or one of the `known` ids; None for a path."""
    data = str(data)
    if data.startswith("hf:"):
        return data[3:].removeprefix("//").removeprefix("datasets/").strip("/")
    return data if data in known and not Path(data).exists() else None


def fetch(repo: str, patterns: Sequence[str], to: str | Path = "", *, verify: bool = False) -> Path:
    """Folder with the files of `repo` that match `patterns`, downloaded where they are missing.

    The download is huggingface_hub's: it continues after a cut, keeps files that are whole, and
    honours HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the proxies of the environment.
    What is added here is a comparison with the sha256 that the hub lists for each file.

    Parameters
    ----------
    repo : hub id of a data set
    patterns : as in a shell; at least one must match
    to : folder to put the files into, in the hub's own layout; "" for the hub's cache
    verify : compare what the cache already holds as well, and fetch damaged files again; in a
        folder this is always done

    Raises
    ------
    DataError  if the hub refuses, sends other bytes than it lists, cannot be reached, or the cache
        does not hold the files while offline
    """
    from huggingface_hub import errors

    try:
        return _fetch(repo, patterns, Path(to).expanduser().absolute() if to else None, verify)
    except DataError:
        raise
    except errors.GatedRepoError:
        reason = "needs its terms accepted: log in on its page, accept them, and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = "does not exist on the hub or is private; check the id, or set HF_TOKEN"
    except errors.HFValidationError:
        reason = "is not a hub id; write hf:OWNER/NAME"
    except Exception as error:  # each transport has errors of its own
        reason = _unanswered(error)
    raise DataError(f"Data set {repo} {reason}.")


def _fetch(repo: str, patterns: Sequence[str], here: Path | None, verify: bool) -> Path:
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    where = {"repo_id": repo, "repo_type": "dataset", "local_dir": here}
    try:
        commit, listed = _listed(repo, patterns)
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise
    except Exception as error:  # offline, or the hub is down: what is on this disk is used
        if root := _local(repo, patterns, here):
            return root
        if _status(error):
            raise
        raise DataError(
            f"Data set {repo} is not in the local cache and the hub cannot be reached "
            f"({_first_line(error)}); connect once with HF_HUB_OFFLINE unset, or give a local "
            "folder with its parquet files."
        ) from None
    if not listed:
        raise DataError(
            f"Data set {repo} has no {few(patterns)} on the hub; check padding or config, and split."
        )
    held = {} if here else _held(repo, commit, listed)
    if len(held) == len(listed) and not verify:
        name, path = held.popitem()
        return path.parents[name.count("/")]
    # file by file, as Ctrl-C does not stop the threads of snapshot_download
    for name, sha256 in listed.items():
        get = partial(hf_hub_download, filename=name, revision=commit, **where)
        path = held.get(name) or Path(get())
        if not sha256 or (name in held and not verify) or _sha256(path) == sha256:
            continue
        path = Path(get(force_download=True))
        if (found := _sha256(path)) != sha256:
            path.resolve().unlink()  # in the hub's cache, the blob that is linked to
            path.unlink(missing_ok=True)
            raise DataError(
                f"{name} of data set {repo} came with sha256 {found} and not {sha256}, so it was "
                "changed or damaged on the way; nothing of it was kept: try again."
            )
    return Path(snapshot_download(allow_patterns=list(listed), **where))


def _listed(repo: str, patterns: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The commit that `main` means now, and sha256 ("" for small files) of what matches in it."""
    from huggingface_hub import HfApi

    commit = HfApi().dataset_info(repo, timeout=20).sha
    tree = HfApi().list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
    wanted = [f for f in tree if any(fnmatch(f.path, pattern) for pattern in patterns)]
    return commit, {f.path: f.lfs.sha256 if f.lfs else "" for f in wanted}


def _held(repo: str, commit: str, names: Iterable[str]) -> dict[str, Path]:
    """Files of one commit that the hub's cache holds."""
    from huggingface_hub import try_to_load_from_cache

    where = {"repo_type": "dataset", "revision": commit}
    found = {name: try_to_load_from_cache(repo, name, **where) for name in names}
    return {name: Path(path) for name, path in found.items() if isinstance(path, str)}


def _local(repo: str, patterns: Sequence[str], here: Path | None) -> Path | None:
    """Folder on this disk that holds `patterns`, without asking the hub."""
    from huggingface_hub import errors, snapshot_download

    how = {"allow_patterns": list(patterns), "local_files_only": True}
    try:
        root = here or Path(snapshot_download(repo, repo_type="dataset", **how))
    except errors.LocalEntryNotFoundError:
        return None
    return root if all(any(root.glob(pattern)) for pattern in patterns) else None


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (text or type(error).__name__)[:200].rstrip(".")


def _unanswered(error: Exception) -> str:
    """Why the hub gave no files."""
    status = _status(error)
    if status in (401, 403):
        return f"was refused by the hub ({status}); set HF_TOKEN to a token that may read it"
    if status:
        return f"was answered with {status} by the hub; try again later, or give a local folder"
    return f"could not be downloaded ({_first_line(error)}); check network and disk, then run again"


def cached(repo: str, pattern: str) -> bool:
    """Whether the hub's cache holds a file of `repo` that matches `pattern`; nothing is fetched."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return False
    return any(
        fnmatch(file.file_path.relative_to(revision.snapshot_path).as_posix(), pattern)
        for held in repos
        if (held.repo_type, held.repo_id) == ("dataset", repo)
        for revision in held.revisions
        for file in revision.files
    )


def shards(root: Path, config: str, split: str) -> list[Path]:
    """The parquet files of one config and split in order; a missing shard is refused."""
    flat = root.name == config or any(root.glob(f"{split}-*.parquet"))
    folder = root if flat else root / config
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(
            f"{folder} holds no {split}-*.parquet; check data, padding or config, and split."
        )
    # "train-00000-of-00002.parquet", or with a hash after the numbers
    numbered = [m.groups() for f in files if (m := re.search(r"-(\d+)-of-(\d+)", f.name))]
    if numbered:
        total = max(total for _, total in numbered)
        parts = {part for part, _ in numbered}
        missing = [n for i in range(int(total)) if (n := f"{i:0{len(total)}d}") not in parts]
        if missing:
            names = few(f"{split}-{n}-of-{total}" for n in missing)
            raise DataError(
                f"{folder}: {split} has {len(parts)} of {int(total)} parquet files, without "
                f"{names}; complete the download."
            )
        if len(files) > int(total):
            raise DataError(
                f"{folder}: {split} has {len(files)} parquet files where {int(total)} belong, as "
                "two versions are mixed; keep those of one."
            )
    return files


def _open(file: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{file} cannot be read as parquet ({reason}); fetch it again.") from None


def class_names(file: Path) -> dict[str, list[str]]:
    """Column -> class names in the `huggingface` metadata of a parquet file ({} without it)."""
    raw = (_open(file).schema_arrow.metadata or {}).get(b"huggingface")
    features = json.loads(raw).get("info", {}).get("features", {}) if raw else {}
    return {
        column: list(feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict) and "names" in feature
    }


def column_names(file: Path) -> list[str]:
    """Columns of a parquet file."""
    return _open(file).schema_arrow.names


def read_shards(files: Sequence[Path], columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of parquet `files`, without the image bytes.

    Returns
    -------
    DataFrame with `columns`, `path` (name of the image where the file gives one, else None), `file`
    (absolute path of the parquet file) and `row` (row in it, from 0)
    """
    tables = []
    for file in files:
        parquet = _open(file)
        names = parquet.schema_arrow.names
        if missing := [name for name in ("image", *columns) if name not in names]:
            raise DataError(
                f"{file} has no column {few(missing, 9)} (it has {few(names, 12)}); use the "
                "original file."
            )
        table = parquet.read(columns=[*columns, "image.path"]).to_pandas()
        image = (
            table.pop("image") if "image" in table else pd.Series([None] * len(table), dtype=object)
        )
        table["path"] = pd.Series([(item or {}).get("path") for item in image], dtype=object)
        table["file"] = str(Path(file).absolute())
        table["row"] = range(len(table))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def image_ids(paths: pd.Series, split: str) -> list[str]:
    """The names that `paths` gives; where one is missing or repeated, "SPLIT/000123" for all."""
    if paths.notna().all() and paths.is_unique:
        return list(paths)
    return [f"{split}/{i:06d}" for i in range(len(paths))]


def first_images(file: Path, n: int = 4) -> list[bytes]:
    """The bytes of the first `n` images of a parquet file."""
    batch = next(_open(file).iter_batches(batch_size=n, columns=["image"]))
    return [item["bytes"] for item in batch.column(0).to_pylist() if item and item.get("bytes")]

"""Parquet data sets in the Hugging Face hub's layout: from the hub, its cache or a folder."""

import json
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from clipeval.datasets.labelfile import few
from clipeval.download import Refused, download
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


def fetch(
    repo: str, patterns: Sequence[str], to: str | Path = "", *, verify: bool = False, **how
) -> Path:
    """Folder with the files of `repo` that match `patterns`, downloaded where the cache lacks them.

    Every file is checked against the sha256 that the hub's list of files gives. What an interrupted
    download left is continued. HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the proxies of
    the environment are honoured.

    Parameters
    ----------
    repo : hub id of a data set
    patterns : as in a shell; each must match a file
    to : folder to put the files into, in the hub's own layout; "" for the hub's cache
    verify : read files that the cache has again, and fetch those anew that are damaged; in a folder
        it is always done
    how : passed on to `clipeval.download.download`

    Raises
    ------
    DataError  if the hub refuses, sends other bytes than it promises, cannot be reached, or the
        cache does not hold the files while offline
    """
    from huggingface_hub import HfApi, constants, errors

    from clipeval.models.hub import reachable

    here = Path(to).expanduser().absolute() if to else None
    known = here or _snapshot(repo)
    held = known and all(any(known.glob(pattern)) for pattern in patterns)
    if not reachable():
        if held:
            return known
        raise DataError(f"Data set {repo} {_UNREACHABLE}.")
    try:
        info = HfApi().repo_info(repo, repo_type="dataset", timeout=20)
        tree = HfApi().list_repo_tree(
            info.id, recursive=True, revision=info.sha, repo_type="dataset"
        )
        files = [f for f in tree if any(fnmatch(f.path, pattern) for pattern in patterns)]
        if not files:
            raise DataError(
                f"Data set {repo} has no {few(patterns)} on the hub; check padding or config, and "
                "split."
            )
        root = here or Path(constants.HF_HUB_CACHE, _folder_name(repo), "snapshots", info.sha)
        for file in files:
            _get(info.id, info.sha, file, root, in_cache=not here, verify=verify, how=how)
        if not here:
            _note_commit(root)
        return root
    except errors.GatedRepoError:
        reason = _GATED
    except errors.RepositoryNotFoundError:
        reason = "does not exist on the hub or is private; check the id, or set HF_TOKEN"
    except errors.HFValidationError:
        reason = "is not a hub id; write hf:OWNER/NAME"
    except Refused as error:
        reason = f"{_GATED} ({error.status})"
    except OSError as error:  # its transport's errors among them
        if held and not verify:
            return known
        reason = _unanswered(error)
    raise DataError(f"Data set {repo} {reason}.")


_GATED = "needs its terms accepted: log in on its page, accept them, and set HF_TOKEN"
_UNREACHABLE = (
    "is not in the local cache and the hub cannot be reached; connect once (HF_HUB_OFFLINE unset), "
    "or give a local folder with its parquet files"
)


def _get(repo: str, commit: str, file, root: Path, *, in_cache: bool, verify: bool, how) -> None:
    """Put one file under `root`; in the cache it is a link to a blob that is named by its content."""
    from huggingface_hub import constants, get_token, hf_hub_url

    place = root / file.path
    if in_cache and not verify and place.is_file() and place.stat().st_size == file.size:
        return
    url = hf_hub_url(
        repo, file.path, repo_type="dataset", revision=commit, endpoint=constants.ENDPOINT
    )
    sha256 = file.lfs.sha256 if file.lfs else ""
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    linked = in_cache and (place.is_symlink() or not place.exists())
    blob = root.parents[1] / "blobs" / (sha256 or file.blob_id) if linked else place
    download(url, blob, sha256=sha256, headers=headers, **how)
    if linked and not (place.exists() and place.samefile(blob)):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            place.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:  # Windows lets few users make links
            os.replace(blob, place)


def _folder_name(repo: str) -> str:
    return f"datasets--{repo.replace('/', '--')}"


def _note_commit(root: Path) -> None:
    """Note, as the hub's client does, that this commit is what `main` means."""
    ref = root.parents[1] / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    beside = ref.with_name(f"main.{os.getpid()}")
    beside.write_text(root.name, "utf-8")
    os.replace(beside, ref)


def _snapshot(repo: str) -> Path | None:
    """The folder in the cache of the commit that `main` last meant."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE, _folder_name(repo))
    try:
        return root / "snapshots" / (root / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        return None


def _unanswered(error: Exception) -> str:
    """Why the hub gave no files."""
    from clipeval.models.hub import first_line

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return f"was refused by the hub ({status}); set HF_TOKEN to a token that may read it"
    if status:
        return f"was answered with {status} by the hub; try again later, or give a local folder"
    return f"could not be downloaded ({first_line(error)}); check network and disk, then run again"


def cached(repo: str, pattern: str) -> bool:
    """Whether the hub's cache holds a file of `repo` that matches `pattern`; nothing is fetched."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / _folder_name(repo) / "snapshots"
    return any(path.exists() for path in folder.glob(f"*/{pattern}"))  # not a link to nothing


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

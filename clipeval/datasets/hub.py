"""Data sets of the Hugging Face hub: which one is meant, and its files on this disk."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from clipeval.datasets.labelfile import few
from clipeval.errors import DataError, first_line
from clipeval.files import file_sha256


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
            f"({first_line(error)}); connect once with HF_HUB_OFFLINE unset, or give a local "
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
        if not sha256 or (name in held and not verify) or file_sha256(path) == sha256:
            continue
        path = Path(get(force_download=True))
        if (found := file_sha256(path)) != sha256:
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


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _unanswered(error: Exception) -> str:
    """Why the hub gave no files."""
    status = _status(error)
    if status in (401, 403):
        return f"was refused by the hub ({status}); set HF_TOKEN to a token that may read it"
    if status:
        return f"was answered with {status} by the hub; try again later, or give a local folder"
    return f"could not be downloaded ({first_line(error)}); check network and disk, then run again"


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

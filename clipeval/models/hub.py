"""Files of the Hugging Face hub, from its cache first, and a sentence where there are none."""

from contextlib import contextmanager
from pathlib import Path

from clipeval.errors import ModelError, first_line


def hub_ref(path: Path) -> list[Path]:
    """Return the file in which the hub's cache notes the commit that `main` means."""
    ref = path.parent.parent.parent / "refs" / "main"
    return [ref] if ref.is_file() else []


def reachable() -> bool:
    """Say whether the hub may answer, at once: its own client tries for half a minute."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True
    url = urlsplit(constants.ENDPOINT)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname, port), timeout=5).close()
    except OSError:
        return False
    return True


def hub_file(
    repository: str, names: list[str], revision: str | None = None, *, what: str | None = None
) -> Path:
    """Return the first of `names` that the hub's cache has, else the first that the hub has.

    What is on disk is used without asking the hub, so that a model does not change under a study
    and works without a network. HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT are honoured.

    Raises
    ------
    ModelError  if none can be had
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    what = what or f"hf-hub:{repository}"
    if found := _cached(repository, names, revision, what):
        return found
    require_hub(repository, what)
    for name in names:
        with _asking(repository, what):
            try:
                return Path(hf_hub_download(repository, name, revision=revision))
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError):  # the hub fell silent meanwhile
                    raise
    raise ModelError(_without(repository, names, what))


def hub_check(
    repository: str, names: list[str], revision: str | None = None, *, what: str | None = None
) -> Path | None:
    """Return what `hub_file` would find on disk; None where it would download it; fetch nothing.

    Raises
    ------
    ModelError  if it would fail: the hub cannot be reached, refuses, or has none of `names`
    """
    from huggingface_hub import HfApi

    what = what or f"hf-hub:{repository}"
    if found := _cached(repository, names, revision, what):
        return found
    require_hub(repository, what)
    with _asking(repository, what):
        held = {f.rfilename for f in HfApi().model_info(repository, revision=revision).siblings}
    if held.isdisjoint(names):
        raise ModelError(_without(repository, names, what))
    return None


def require_hub(repository: str, what: str) -> None:
    """Raise ModelError at once where the hub cannot be reached for `repository`.

    To be asked before a library looks for a file by itself, which without a network takes up to a
    minute and ends in an error of its own.
    """
    if not reachable():
        raise ModelError(
            f"{what} is not on this disk and the hub cannot be reached for {repository}; download "
            "it on a machine with a network and set HF_HOME to its cache, or give a folder that "
            "holds all its files as local-dir:PATH."
        )


def _cached(repository: str, names: list[str], revision: str | None, what: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, FileNotFoundError):
            continue
        except HFValidationError:
            raise ModelError(f"{what} is not a hub id; write hf-hub:organisation/name.") from None
    return None


def _without(repository: str, names: list[str], what: str) -> str:
    return f"{what}: the hub's repository {repository} has no {' or '.join(names)}."


@contextmanager
def _asking(repository: str, what: str):
    """Turn the errors of the hub's client into a sentence."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except LocalEntryNotFoundError:
        raise ModelError(
            f"{what} is not on this disk and the hub did not answer for {repository}; try again, "
            "or give a folder that holds all its files as local-dir:PATH."
        ) from None
    except GatedRepoError:
        raise ModelError(
            f"{what}: the hub gives {repository} only to those who have accepted its terms; "
            "accept them on the hub and log in with `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"{what}: the hub has no repository {repository}, or it is private; check the "
            "name, or log in with `hf auth login`."
        ) from None
    except Exception as error:  # each transport has errors of its own
        raise ModelError(
            f"{what}: {repository} cannot be had from the hub ({first_line(error)}); try again, or "
            "give a folder that holds all its files as local-dir:PATH."
        ) from None

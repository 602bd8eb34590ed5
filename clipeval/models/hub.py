"""Files of the Hugging Face hub, from its cache first, and a sentence where there are none."""

from pathlib import Path

from clipeval.errors import ModelError

__all__ = ["first_line", "hub_file", "hub_ref", "reachable"]


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
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    what = what or f"hf-hub:{repository}"
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, FileNotFoundError):
            continue
        except HFValidationError:
            raise ModelError(f"{what} is no hub id; write hf-hub:organisation/name.") from None
    if reachable():
        return _download(repository, names, revision, what)
    raise ModelError(_unreachable(what, repository))


def _unreachable(what: str, repository: str) -> str:
    return (
        f"{what} is not on this disk and the hub cannot be reached for {repository}; download it "
        "on a machine with a network and set HF_HOME to its cache, or give the folder as "
        "local-dir:PATH."
    )


def _download(repository: str, names: list[str], revision: str | None, what: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError:
            raise ModelError(_unreachable(what, repository)) from None
        except EntryNotFoundError:
            continue
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
                f"{what}: {repository} cannot be downloaded from the hub ({first_line(error)}); "
                "try again, or give the folder as local-dir:PATH."
            ) from None
    raise ModelError(f"{what}: the hub's repository {repository} has no {' or '.join(names)}.")


def first_line(error: Exception) -> str:
    """Return the line of an error that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = lines or [type(error).__name__]
    text = f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return text if len(text) <= 200 else f"{text[:197]}..."

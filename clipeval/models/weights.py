"""Opening weight files, never in a way that could run code from them, as training leaves them."""

import json
import math
import zipfile
from pathlib import Path, PurePosixPath

from clipeval.errors import ModelError, first_line
from clipeval.files import file_sha256, sha256

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
INDEX = (".safetensors.index.json", ".bin.index.json")
#: what may be asked of a checkpoint that holds weights and their running average
KINDS = ("", "raw", "ema")

# under which names training scripts keep a state_dict, and an averaged one; the first there counts
_RAW = ("state_dict", "model", "model_state_dict", "module")
_AVERAGED = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "model_state_dict_ema",
    "model_ema_state_dict",
    "ema_model",
    "ema",
)
# what DistributedDataParallel, torch.compile, Lightning and wrappers put before every name
_PREFIXES = ("module.", "_orig_mod.", "model.", "clip_model.")


def is_weights(path: Path) -> bool:
    """Say whether a file's name is that of weights, or of the index of weights in shards."""
    return path.suffix in SUFFIXES or path.name.endswith(INDEX)


def weight_files(path: Path) -> list[Path]:
    """Return the files that a weight file consists of: itself, and the shards that an index names.

    Raises
    ------
    ModelError  if an index is unreadable, or a shard is absent or would lie elsewhere
    """
    if not path.name.endswith(INDEX):
        return [path]
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        odd = [n for n in names if PurePosixPath(n).name != n or "\\" in n]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read as the index of weights in shards ({first_line(error)}); get "
            "it again."
        ) from None
    if odd or not names:
        raise ModelError(
            f"{path} names {odd[0] if odd else 'no shard'}, and the shards must be files beside it; "
            "get it again."
        )
    shards = [path.parent / name for name in names]
    for shard in shards:
        if not shard.is_file():
            raise ModelError(
                f"{path} names {shard.name}, which is not beside it; get the missing shard."
            )
    return [path, *shards]


def weights_sha256(path: Path) -> str:
    """Return the sha256 of a weight file's bytes; of shards, that of their names and hashes."""
    files = weight_files(path)
    if len(files) == 1:
        return file_sha256(path)
    lines = "".join(f"{file_sha256(shard)}  {shard.name}\n" for shard in files[1:])
    return sha256(lines)


def read_weights(path: Path, kind: str = "") -> tuple[dict, str]:
    """Return the tensors of a weight file, or of all shards of an index, on the CPU.

    Parameters
    ----------
    path : .safetensors, .bin, .pt, .pth, .ckpt, or .safetensors.index.json
    kind : raw, or ema for averaged weights, where a checkpoint holds both; else ""

    Returns
    -------
    (state, kind) : names to tensors, mapped into memory where the format allows, and which of both
        they are, where the file says so: raw, ema or ""

    Raises
    ------
    ModelError  if the file is damaged, holds no weights of the kind, holds two kinds where none is
        asked for, or numbers that are none, or if reading it would mean to run what is inside: a
        pickle of anything but tensors, a TorchScript archive
    """
    import torch

    files = weight_files(path)
    if len(files) == 1:
        state, kind = _state_dict(_opened(path), kind, path)
    else:
        state, kind = _together(files[1:], kind)
    if not state or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise ModelError(
            f"{path} holds no state_dict of tensors; save the model's state_dict as safetensors."
        )
    _refuse_no_numbers(state, path)
    return state, kind


def _together(shards: list[Path], kind: str) -> tuple[dict, str]:
    state = {}
    for shard in shards:
        part, _ = _state_dict(_opened(shard), kind, shard)
        if twice := sorted(state.keys() & part.keys()):
            raise ModelError(
                f"{shard} and another shard both hold {twice[0]}; get the shards of one model."
            )
        state |= part
    return state, ""


def _opened(path: Path):
    """What a file holds, unpickled without any code of its own."""
    import pickle

    import torch
    from safetensors.torch import load_file

    try:
        with open(path, "rb") as file:
            head = file.read(64)
        _refuse_other_format(path, head)
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        if _is_torchscript(path):
            raise ModelError(
                f"{path} is a TorchScript archive, and opening it means to run the code inside; "
                "use its weights as safetensors (OpenAI's own models: pretrained=openai)."
            )
        # older files than those of torch 1.6 are no zip archives and cannot be mapped into memory
        mmap = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except ModelError:
        raise
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} is a pickle that holds more than tensors, and opening it could run any code; "
            "save its state_dict as safetensors, where you trust it."
        ) from None
    except Exception as error:  # theirs are many, for a damaged or foreign file
        raise ModelError(
            f"{path} cannot be read as weights ({first_line(error)}); it may be damaged or half "
            "downloaded: get it again."
        ) from None


def _refuse_other_format(path: Path, head: bytes) -> None:
    """ModelError for a file whose first bytes say that its name is wrong."""
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(
            f"{path} is the note that Git LFS keeps in place of the weights; fetch them with "
            "`git lfs pull`."
        )
    header = head[5:9] == b"\0\0\0{"  # of safetensors: its length in eight bytes, and JSON
    if path.suffix == ".safetensors" and head[:2] in (b"PK", b"\x80\x02") and not header:
        raise ModelError(
            f"{path} is a file of torch.save by its content; rename it so that it ends in .pt."
        )
    if path.suffix != ".safetensors" and header:
        raise ModelError(
            f"{path} is a safetensors file by its content; rename it so that it ends in "
            ".safetensors."
        )


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _state_dict(values, kind: str, path: Path) -> tuple[dict, str]:
    """Find the weights among what a checkpoint holds besides: optimizer, epoch, averages."""
    found = ""
    for _ in range(8):  # a pickled dict may hold itself
        if not isinstance(values, dict):
            break
        raw, ema = (
            next((k for k in names if isinstance(values.get(k), dict) and values[k]), None)
            for names in (_RAW, _AVERAGED)
        )
        if raw and ema and not kind:
            raise ModelError(
                f"{path} holds weights ({raw}) and a running average of them ({ema}); say which "
                "with weights=raw or weights=ema."
            )
        if ema and (kind == "ema" or not raw):
            values, found = values[ema], "ema"
        elif raw:
            values, found = values[raw], found or ("raw" if ema else "")
        else:
            break
    if kind == "ema" and found != "ema":
        raise ModelError(f"{path} holds no averaged weights; leave weights=ema out.")
    if kind == "raw" and found == "ema":
        raise ModelError(
            f"{path} holds averaged weights alone; leave weights out, or give weights=ema."
        )
    return values if isinstance(values, dict) else {}, found


def _refuse_no_numbers(state: dict, path: Path) -> None:
    """ModelError for a weight that is NaN or infinite, which would spread to every vector."""
    import torch

    floats = {
        name: tensor.float() if tensor.element_size() == 1 else tensor
        for name, tensor in state.items()
        if tensor.is_floating_point()
        and tensor.layout == torch.strided
        and tensor.numel()
        # of these, what was stored and what is applied is said when they are fitted
        and name.rpartition(".")[2] not in ("logit_scale", "logit_bias")
    }
    ends = {name: torch.aminmax(tensor) for name, tensor in floats.items()}  # NaN if one is
    if bad := [name for name, pair in ends.items() if not all(map(math.isfinite, pair))]:
        what = "NaN" if floats[bad[0]].isnan().any() else "infinite values"
        raise ModelError(
            f"{path} holds {what} in {bad[0]} ({len(bad)} of its {len(floats)} tensors are not all "
            "numbers); training diverged or the file is damaged: use an earlier checkpoint."
        )


def without_prefixes(state: dict) -> dict:
    """Return tensors without what training puts before the name of every one of them.

    A prefix that some names lack is part of the names.
    """
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state

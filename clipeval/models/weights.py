"""Opening weight files, never in a way that could run code from them."""

import zipfile
from pathlib import Path

from clipeval.errors import ModelError, first_line

__all__ = ["fit_weights", "read_weights"]


def read_weights(path: Path) -> dict:
    """Return the tensors of a .safetensors, .bin, .pt or .pth file, on the CPU.

    Raises
    ------
    ModelError  if the file is damaged, or if reading it would mean to run what is inside: a pickle
        of anything but tensors, a TorchScript archive
    """
    import pickle

    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path, device="cpu")
        else:
            if _is_torchscript(path):
                raise ModelError(
                    f"{path} is a TorchScript archive, and opening it means to run the code "
                    "inside; use its weights as safetensors (OpenAI's own models: "
                    "pretrained=openai)."
                )
            state = torch.load(path, map_location="cpu", weights_only=True)
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
    # training checkpoints hold the weights among other things, and DistributedDataParallel puts
    # `module.` before each
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(v, torch.Tensor) for v in state.values())
    ):
        raise ModelError(
            f"{path} holds no state_dict of tensors; save the model's state_dict as safetensors."
        )
    if all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def fit_weights(network, state: dict, path: Path, *, resize_positions: bool = False) -> None:
    """Load tensors into an open_clip network, every one of them and no other.

    Parameters
    ----------
    network : open_clip CLIP, CustomTextCLIP or CoCa
    state : what `read_weights` returned
    path : named in errors
    resize_positions : interpolate position embeddings of another image size, as open_clip does;
        only for weights that its registry lists under this configuration

    Raises
    ------
    ModelError  if the tensors are not those of this configuration
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import (
        convert_to_custom_text_state_dict,
        resize_pos_embed,
        resize_text_pos_embed,
    )

    # The same conversions of older and foreign layouts as open_clip.load_checkpoint, which cannot
    # be called itself: on torch before 2.6 it falls back to an unsafe torch.load, and it fills a
    # missing logit bias with zero.
    state = convert_state_dict(network, dict(state))
    if "positional_embedding" in state and not hasattr(network, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):
        own = getattr(network, key, None)
        if key in state and own is not None:
            state[key] = state[key].reshape(own.shape)
    position_ids = "text.transformer.embeddings.position_ids"
    if position_ids not in network.state_dict():
        state.pop(position_ids, None)
    if resize_positions:
        resize_pos_embed(state, network)
        resize_text_pos_embed(state, network)
    own = network.state_dict()
    wrong = [f"{k} is missing" for k in own if k not in state]
    wrong += [f"{k} is not part of it" for k in state if k not in own]
    wrong += [
        f"{k} is {tuple(state[k].shape)} and should be {tuple(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    if wrong:
        raise ModelError(
            f"{path} does not fit the model's configuration: {wrong[0]}"
            + (f", and {len(wrong) - 1} more such differences" if len(wrong) > 1 else "")
            + "; give the configuration that these weights were trained with."
        )
    network.load_state_dict(state, strict=True)

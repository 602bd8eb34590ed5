"""Tensors of a weight file into a network: every one of them and no other, and a scale that can be applied."""

import math
import re
from pathlib import Path

from clipeval.errors import ModelError
from clipeval.models.info import LARGEST_SCALE, check_scalars, is_number
from clipeval.models.weights import without_prefixes

# integers that OpenAI's TorchScript archives carry beside the weights
_JIT = ("input_resolution", "context_length", "vocab_size")
_ADAPTER = re.compile(
    r"(^|\.)(lora_|loha_|lokr_|hada_|oft_|boft_|vera_|ia3_|dora_|base_model\.model\.)"
)


def fitting(network, state: dict, path: Path, *, resize_positions: bool = False) -> dict:
    """Return tensors under the names of an open_clip network, each with its shape.

    Parameters
    ----------
    network : open_clip CLIP, CustomTextCLIP or CoCa, on any device
    state : what `clipeval.models.weights.read_weights` returned
    path : named in errors
    resize_positions : interpolate position embeddings of another image size, as open_clip does;
        only for weights that its registry lists under this configuration

    Raises
    ------
    ModelError  if the tensors are not those of this configuration, or the logit scale or bias among
        them is not usable
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import (
        convert_to_custom_text_state_dict,
        resize_pos_embed,
        resize_text_pos_embed,
    )

    own = network.state_dict()
    state = without_prefixes(state)
    for key in _JIT:
        if key not in own and key in state and state[key].numel() == 1:
            state = {k: v for k, v in state.items() if k != key}
    given = state
    # The same conversions of older and foreign layouts as open_clip.load_checkpoint, which cannot
    # be called itself: on torch before 2.6 it falls back to an unsafe torch.load, and it fills a
    # missing logit bias with zero.
    state = convert_state_dict(network, dict(state))
    if "positional_embedding" in state and not hasattr(network, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):
        wanted = getattr(network, key, None)
        if key in state and wanted is not None and state[key].numel() == 1:
            state[key] = state[key].reshape(wanted.shape)
    position_ids = "text.transformer.embeddings.position_ids"
    if position_ids not in own:
        state.pop(position_ids, None)
    if resize_positions:
        resize_pos_embed(state, network)
        resize_text_pos_embed(state, network)
    wrong = [f"{k} is missing" for k in own if k not in state]
    wrong += [f"{k} is not part of it" for k in state if k not in own]
    wrong += [
        f"{k} is {tuple(state[k].shape)} and should be {tuple(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    if wrong:
        raise ModelError(_misfit(path, given, state, own, wrong))
    _check_scalars(state, path)
    return state


def _misfit(path: Path, given: dict, state: dict, own: dict, wrong: list[str]) -> str:
    """The sentence for tensors of another network, with what they probably are."""
    if any(map(_ADAPTER.search, given)):
        return (
            f"{path} is an adapter, which holds changes to another model's weights; merge it first "
            "(merge_and_unload of peft) and save the state_dict of the whole model."
        )
    more = f", and {len(wrong) - 1} more such differences" if len(wrong) > 1 else ""
    said = f"{path} does not fit the model's configuration: {wrong[0]}{more}"
    known = [k for k in state if k in own]
    if not known:
        return (
            f"{said}; none of its names is one of this model ({next(iter(given))} is its first): "
            "save the state_dict of the open_clip model itself, or give the configuration that "
            "these weights were trained with."
        )
    if len(known) == len(state) and all(w.endswith(" is missing") for w in wrong):
        return (
            f"{said}; it holds {len(known)} of the model's {len(own)} tensors: save the state_dict "
            "of the whole model, or give the configuration that these weights were trained with."
        )
    return f"{said}; give the configuration that these weights were trained with."


def _check_scalars(state: dict, path: Path) -> None:
    """ModelError for a stored logit scale that cannot be applied, or a bias that is not a number."""
    stored = state["logit_scale"].detach().float()
    scale, stored = stored.exp().item(), stored.item()
    bias = state["logit_bias"].float().item() if "logit_bias" in state else None
    mend = "training has probably diverged: use an earlier checkpoint."
    if is_number(scale) and 0 < scale <= LARGEST_SCALE:
        return check_scalars(scale, bias, str(path), mend)
    if 1 < stored <= LARGEST_SCALE:  # what nobody would store a logarithm of
        mend = (
            "was it stored without its logarithm? Then save it as "
            f"log({stored:.4g}) = {math.log(stored):.4g}."
        )
    raise ModelError(
        f"{path} stores the logit scale {stored:.4g}, which is applied as exp({stored:.4g}) = "
        f"{scale:.4g} and must then be above 0 and at most {LARGEST_SCALE:,}; {mend}"
    )

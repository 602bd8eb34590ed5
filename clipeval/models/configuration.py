"""An open_clip configuration as a stranger may have written it: what is read of it, what is refused.

Its keys become arguments of open_clip, timm and transformers, and some arguments of these run code
or read other files. So the keys that are passed on are listed here, and any other is refused.
"""

import json
from pathlib import Path

from clipeval.errors import ModelError
from clipeval.models.info import is_number
from clipeval.models.registry import merge_preprocess

CONFIG = "open_clip_config.json"
LARGEST_SIDE = 4096  # pixels; the largest published model reads 1,024

_TOWER = """mlp_ratio ls_init_value pool_type final_ln_after_pool output_tokens act_kwargs norm_kwargs
    block_type qk_norm scaled_cosine_attn scale_heads scale_attn_inner scale_attn scale_fc width layers"""
_TEXT = f"""{_TOWER} context_length vocab_size hf_tokenizer_name tokenizer_mode tokenizer_kwargs heads
    embed_cls pad_id eos_id no_causal_mask proj_bias proj_type hf_model_name hf_model_pretrained
    hf_proj_type hf_pooler_type"""
#: part of a configuration -> its keys that are passed on
KEYS = {
    "model_cfg": """embed_dim vision_cfg text_cfg multimodal_cfg quick_gelu custom_text init_logit_scale
        init_logit_bias nonscalar_logit_scale output_dict pad_id""",
    "vision_cfg": f"""{_TOWER} head_width patch_size image_size patch_dropout attentional_pool
        attn_pooler_queries attn_pooler_heads no_ln_pre pos_embed_type timm_model_name
        timm_model_pretrained timm_pool timm_proj timm_proj_bias timm_drop timm_drop_path""",
    "text_cfg": _TEXT,
    "multimodal_cfg": f"{_TEXT} dim_head n_queries attn_pooler_heads",
    "act_kwargs": "approximate",
    "norm_kwargs": "eps elementwise_affine bias",
}
KEYS = {part: frozenset(keys.split()) for part, keys in KEYS.items()}

#: options of a tokenizer that are passed on, and what each may be
_CLEAN = ("canonicalize", "lower", "whitespace")
_CLIP_OPTIONS = {"clean": _CLEAN, "reduction_mask": ("simple", "random", "shuffle")}
_HF_OPTIONS = {
    "clean": _CLEAN,
    "strip_sep_token": bool,
    "language": str,
    "add_bos_token": bool,
    "add_eos_token": bool,
    "add_prefix_space": bool,
    "do_lower_case": bool,
    "legacy": bool,
    "use_fast": bool,
    "model_max_length": int,
    "padding_side": ("left", "right"),
    "truncation_side": ("left", "right"),
}


def read_config(path: Path) -> tuple[dict, dict]:
    """Return model and preprocess configuration of a file, with or without a `model_cfg` level.

    Raises
    ------
    ModelError  if the file is absent, unreadable or no configuration of open_clip, holds a key that
        is not passed on, or a value that no image could be preprocessed with
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} does not exist; an open_clip model needs its configuration beside the weights "
            f"(save it as {CONFIG})."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({error}); save the model's configuration again."
        ) from None
    own = f"give the {CONFIG} that was saved with the weights."
    config = values.get("model_cfg", values) if isinstance(values, dict) else {}
    if not isinstance(config, dict):
        raise ModelError(f"{path}: model_cfg is not a set of names and values; {own}")
    missing = [k for k in ("embed_dim", "vision_cfg", "text_cfg") if k not in config]
    if missing:
        raise ModelError(
            f"{path} lacks {', '.join(missing)} and so describes no open_clip model; {own}"
        )
    said = values.get("preprocess_cfg") or {}
    parts = {"vision_cfg": config["vision_cfg"], "text_cfg": config["text_cfg"]}
    for name, part in (parts | {"preprocess_cfg": said}).items():
        if not isinstance(part, dict):
            raise ModelError(f"{path}: {name} is {part!r} and no set of names and values; {own}")
    if config is values:
        config = {k: v for k, v in config.items() if k != "preprocess_cfg"}
    check_config(config, path)
    preprocess = merge_preprocess(config, said)
    check_preprocess(preprocess, path, own)
    return config, preprocess


def check_config(config: dict, path: Path | str) -> None:
    """Refuse a configuration with a key that is not passed on to open_clip, timm or transformers.

    Parameters
    ----------
    config : open_clip's `model_cfg`
    path : named in errors

    Raises
    ------
    ModelError  naming the key
    """
    parts = {"model_cfg": config}
    while parts:
        where, part = parts.popitem()
        name = where.rpartition(".")[2]
        for key, value in part.items():
            if key == "tokenizer_kwargs":
                continue  # below
            if key not in KEYS[name]:
                raise ModelError(
                    f"{path}: open_clip cannot build this model with {where}.{key}, which is not a key "
                    "that is passed on to it; remove the key, if the model was trained without it."
                )
            if key in KEYS and value is not None:
                if not isinstance(value, dict):
                    raise ModelError(
                        f"{path}: {where}.{key} is {value!r} and no set of names and values; write "
                        "it as it was saved."
                    )
                parts[f"{where}.{key}"] = value
    tokenizer_options(config["text_cfg"], path)
    for part, key in (("vision_cfg", "timm_model_name"), ("text_cfg", "hf_model_name")):
        if (name := config[part].get(key)) and not isinstance(name, str):
            raise ModelError(f"{path}: {part}.{key} is {name!r} and no name; write it as text.")
    if ":" in (config["vision_cfg"].get("timm_model_name") or ""):
        raise ModelError(
            f"{path}: vision_cfg.timm_model_name is {config['vision_cfg']['timm_model_name']}, which "
            "names another model's configuration; write timm's own name of the architecture."
        )


def tokenizer_options(text_config: dict, path: Path | str = CONFIG) -> dict:
    """Return the options of a configuration that are passed on to its tokenizer.

    Parameters
    ----------
    text_config : `text_cfg` of an open_clip configuration
    path : named in errors

    Raises
    ------
    ModelError  if there are others, such as `trust_remote_code`, which would run the code of whoever
        wrote the model's files
    """
    given = text_config.get("tokenizer_kwargs") or {}
    if not isinstance(given, dict):
        raise ModelError(
            f"{path}: tokenizer_kwargs is {given!r} and no set of names and values; write it as it "
            "was saved."
        )
    allowed = _HF_OPTIONS if text_config.get("hf_tokenizer_name") else _CLIP_OPTIONS
    for key, value in given.items():
        if key == "trust_remote_code":
            raise ModelError(
                f"{path} asks for trust_remote_code, which would run code that came with the model; "
                "clipeval never does: remove it from tokenizer_kwargs, or load the model by a "
                "loader of your own (docs/models.md)."
            )
        if key not in allowed:
            raise ModelError(
                f"{path}: tokenizer_kwargs.{key} is not an option that is passed on to a tokenizer; the "
                f"options are {', '.join(allowed)}: remove it."
            )
        kind = allowed[key]
        if not (value in kind if isinstance(kind, tuple) else type(value) is kind):
            wanted = ", ".join(kind) if isinstance(kind, tuple) else f"of type {kind.__name__}"
            raise ModelError(
                f"{path}: tokenizer_kwargs.{key} is {value!r} and must be {wanted}; fix it."
            )
    return dict(given)


def check_preprocess(preprocess: dict, path: Path | str, own: str) -> None:
    """Refuse values that a transform would choke on, read otherwise, or make no picture of.

    Parameters
    ----------
    preprocess : size, mode, mean, std, interpolation, resize_mode, fill_color
    path : named in errors
    own : how the error's sentence ends

    Raises
    ------
    ModelError  naming the value
    """
    known = {
        "mode": ("RGB",),
        "interpolation": ("bicubic", "bilinear", "random"),
        "resize_mode": ("shortest", "longest", "squash"),
    }
    for name, values in known.items():
        if preprocess[name] not in values:
            raise ModelError(
                f"{path}: {name} {preprocess[name]!r} is none of {', '.join(values)}; {own}"
            )
    check_colours(preprocess, path, own)
    size = preprocess["size"]
    if len(size) != 2 or not all(type(x) is int and 0 < x <= LARGEST_SIDE for x in size):
        raise ModelError(
            f"{path}: image_size is {_said(size)} and must be one or two whole numbers from 1 to "
            f"{LARGEST_SIDE:,} (pixels); {own}"
        )


def check_colours(preprocess: dict, path: Path | str, own: str) -> None:
    """Refuse a mean or standard deviation of colours that leaves no number to a pixel.

    Parameters
    ----------
    preprocess : mean and std of three numbers each, one a colour, and perhaps fill_color
    path, own : as in `check_preprocess`

    Raises
    ------
    ModelError  naming the value
    """
    for name in ("mean", "std"):
        values = preprocess[name]
        if len(values) != 3 or not all(is_number(x, finite=False) for x in values):
            raise ModelError(f"{path}: {name} must be three numbers, one a colour; {own}")
        if not all(map(is_number, values)):
            raise ModelError(
                f"{path}: {name} is {_said(values)}, which would leave no pixel a number; {own}"
            )
    if not all(x > 0 for x in preprocess["std"]):
        raise ModelError(
            f"{path}: std is {_said(preprocess['std'])}, and pixels are divided by it, so each must "
            f"be above 0; {own}"
        )
    fill = preprocess.get("fill_color", 0)
    fills = fill if isinstance(fill, list | tuple) else [fill]
    if len(fills) not in (1, 3) or not all(is_number(x) and 0 <= x <= 255 for x in fills):
        raise ModelError(
            f"{path}: fill_color is {_said(fill)} and must be one or three numbers from 0 to 255; "
            f"{own}"
        )


def _said(value) -> str:
    return str(value)[:80]

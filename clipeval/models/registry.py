"""What open_clip offers: which weights belong to which configuration and activation.

open_clip only warns when a tag's weights were trained with QuickGELU and the configuration runs
GELU; the numbers it then computes are wrong. Here each pair of model and tag is resolved or refused
before anything is built.
"""

import difflib
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from clipeval.errors import ModelError

# The models OpenAI released, in the order of their release notes (arXiv 2103.00020, Table 1 ff.).
RELEASED = (
    "RN50-quickgelu",
    "RN101-quickgelu",
    "RN50x4-quickgelu",
    "RN50x16-quickgelu",
    "RN50x64-quickgelu",
    "ViT-B-32-quickgelu",
    "ViT-B-16-quickgelu",
    "ViT-L-14-quickgelu",
    "ViT-L-14-336-quickgelu",
)

# Here the configuration is right and the tag's entry merely does not say so: this configuration has
# had `quick_gelu: true` since it was added for the training of these very weights (November 2022),
# while the entries of `pretrained.py` were given their `quick_gelu` two years later, by hand, and
# this one was passed over.
_CONFIG_IS_RIGHT = {("roberta-ViT-B-32", "laion2b_s12b_b32k")}


@dataclass(frozen=True)
class Plan:
    """What would be built for a model and a tag: nothing is downloaded to say so."""

    model: str
    tag: str
    config: dict
    """Model configuration of open_clip, `quick_gelu` as resolved."""
    preprocess: dict
    """size, mode, mean, std, interpolation, resize_mode, fill_color."""
    activation: str
    hub: str
    """Hub repository of the weights, perhaps with a file name."""


def config_name(name: str) -> str:
    """Return open_clip's spelling: ViT-B/32 is ViT-B-32, ViT-L/14@336px is ViT-L-14-336."""
    return name.replace("@336px", "-336").replace("/", "-")


def clean_tag(tag: str) -> str:
    """Return open_clip's spelling of a tag."""
    return tag.lower().replace("-", "_")


def _did_you_mean(name: str, names: list[str]) -> str:
    by_lower = {n.lower(): n for n in reversed(names)}
    close = [
        by_lower[n] for n in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    ]
    return f"did you mean {' or '.join(close)}?" if close else "see `clipeval list models`."


def model_config(model: str) -> dict:
    """Return a copy of open_clip's built-in configuration.

    Raises
    ------
    ModelError  if open_clip has none of that name
    """
    import open_clip

    name = config_name(model)
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise ModelError(
            f"no model is named {model}; {_did_you_mean(name, open_clip.list_models())}"
        )
    return deepcopy(config)


def tag_entry(model: str, tag: str) -> dict:
    """Return a copy of open_clip's entry for these weights.

    Raises
    ------
    ModelError  if the model has no such weights; names close tags, or the model that has them
    """
    import open_clip

    model = config_name(model)
    entry = open_clip.get_pretrained_cfg(model, tag)
    if entry:
        return deepcopy(entry)
    base = model.removesuffix("-quickgelu")
    if base != model and open_clip.get_pretrained_cfg(base, tag):
        raise ModelError(
            f"{model} with pretrained={tag} would run with QuickGELU, but these weights were "
            f"trained with GELU; use {base}."
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    tags = [t for t in tags if not _other_config(model, t)]
    hint = _did_you_mean(tag, tags) if tags else f"open_clip has no weights for {model}."
    raise ModelError(f"{model} has no weights named {tag}, and no such file exists; {hint}")


def _quick(values: dict) -> bool:
    return bool(values.get("quick_gelu", False))


def _other_config(model: str, tag: str) -> str:
    """Return the configuration these weights belong to, where it is not `model`; else empty."""
    import open_clip

    trained_quick = _quick(open_clip.get_pretrained_cfg(model, tag))
    if (
        trained_quick == _quick(open_clip.get_model_config(model))
        or (model, tag) in _CONFIG_IS_RIGHT
    ):
        return ""
    other = f"{model}-quickgelu" if trained_quick else model.removesuffix("-quickgelu")
    return other if other != model and other in open_clip.list_models() else ""


def resolve_activation(model: str, tag: str) -> str:
    """Return the activation, quickgelu or gelu, that these weights were trained with.

    Parameters
    ----------
    model : name of a built-in configuration
    tag : name of its weights

    Raises
    ------
    ModelError  if the configuration would run another activation and a rightly named one exists
    """
    model, tag = config_name(model), clean_tag(tag)
    config, entry = model_config(model), tag_entry(model, tag)
    other = _other_config(model, tag)
    if other:
        runs, trained = ("GELU", "QuickGELU") if _quick(entry) else ("QuickGELU", "GELU")
        raise ModelError(
            f"{model} with pretrained={tag} would run with {runs}, but these weights were trained "
            f"with {trained}; use {other}."
        )
    quick = _quick(config) if (model, tag) in _CONFIG_IS_RIGHT else _quick(entry)
    return "quickgelu" if quick else "gelu"


def own_activation(config: dict) -> str:
    """Return the activation of open_clip's own towers; empty where it has built neither."""
    text, vision = config.get("text_cfg", {}), config.get("vision_cfg", {})
    if text.get("hf_model_name") and vision.get("timm_model_name"):
        return ""
    return "quickgelu" if _quick(config) else "gelu"


def merge_preprocess(config: dict, values: dict) -> dict:
    """Return open_clip's preprocess of a configuration, with `values` of a tag or file on top."""
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg

    preprocess = asdict(PreprocessCfg())
    preprocess.update({k: v for k, v in values.items() if k in preprocess and v is not None})
    # open_clip always takes the size from the image tower that it built
    size = config.get("vision_cfg", {}).get("image_size", 224)
    preprocess["size"] = list(size) if isinstance(size, (tuple, list)) else [size, size]
    colours = {k: np.atleast_1d(preprocess[k]).tolist() for k in ("mean", "std")}
    return preprocess | colours


def published_preprocesses(model: str) -> list[dict]:
    """Return the preprocess of each of a configuration's tags."""
    import open_clip

    config = model_config(model)
    tags = open_clip.list_pretrained_tags_by_model(config_name(model))
    return [merge_preprocess(config, tag_entry(model, tag)) for tag in tags]


def plan(model: str, tag: str) -> Plan:
    """Return what would be built for a built-in model and a tag; nothing is downloaded.

    Raises
    ------
    ModelError  as `resolve_activation`
    """
    model, tag = config_name(model), clean_tag(tag)
    quick = resolve_activation(model, tag) == "quickgelu"
    config, entry = model_config(model), tag_entry(model, tag)
    config["quick_gelu"] = quick
    return Plan(
        model=model,
        tag=tag,
        config=config,
        preprocess=merge_preprocess(config, entry),
        activation=own_activation(config),
        hub=entry["hf_hub"],
    )


def known_activation(path: str) -> tuple[str, str]:
    """Return the activation that a weight file's name betrays, and the telling part of the name.

    Both are empty where the name says nothing.

    A file is recognised by the hub repository in its path (`models--timm--resnet50_clip.openai`, or
    a folder of that name), by the name it has where open_clip's registry downloads it from, or by
    `openai` or `quickgelu` in its name.
    """
    import open_clip

    parts = path.replace("\\", "/").split("/")
    for model, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(model, tag)
        org, _, repository = entry.get("hf_hub", "").strip("/").partition("/")
        repository = repository.split("/")[0]
        url = entry.get("url", "")
        # OpenAI's own files are called ViT-B-32.pt and the like: anybody's might be
        file = "" if "openaipublic" in url else url.rsplit("/", 1)[-1]
        for name in (f"models--{org}--{repository}", repository, file):
            if name and name in parts and (model, tag) not in _CONFIG_IS_RIGHT:
                return ("quickgelu" if _quick(entry) else "gelu"), name
    for word in ("openai", "quickgelu"):
        if word in parts[-1].lower():
            return "quickgelu", word
    return "", ""


def list_models():
    """Return every pair of model and tag under its right configuration, OpenAI's models first.

    Returns
    -------
    DataFrame, one row a pair: `model`, `pretrained`, `activation` (quickgelu, gelu, or empty where
    the towers come from other libraries), `released` (True for the models that OpenAI released),
    `source` (hub id), `image_size` (pixels)
    """
    import open_clip
    import pandas as pd

    rows = []
    for model, tag in open_clip.list_pretrained():
        if _other_config(model, tag):
            continue
        p = plan(model, tag)
        rows.append(
            {
                "model": model,
                "pretrained": tag,
                "activation": p.activation,
                "released": model in RELEASED and tag == "openai",
                "source": p.hub.strip("/"),
                "image_size": p.preprocess["size"][0],
            }
        )
    rows.sort(
        key=lambda row: (
            not row["released"],
            RELEASED.index(row["model"]) if row["released"] else 0,
        )
    )
    return pd.DataFrame(rows)

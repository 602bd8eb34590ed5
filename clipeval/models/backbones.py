"""Image-only backbones of timm, as baselines for linear probes."""

from pathlib import Path

from clipeval.errors import ModelError, first_line
from clipeval.models.hub import hub_check, hub_file, hub_ref
from clipeval.models.info import file_states, make_info, model_line
from clipeval.models.model import Model
from clipeval.models.weights import (
    is_weights,
    read_weights,
    weight_files,
    weights_sha256,
    without_prefixes,
)


def load_backbone(
    model: str, pretrained: str | None, weights: str, device, precision: str, resize: str
):
    """Return a Model of a backbone's pooled features, and the states of the files it is from.

    Parameters
    ----------
    model : `timm:NAME` or `timm:NAME.TAG`
    pretrained : tag, path of a weight file, or None (also "pretrained") for the weights that timm
        gives the name
    weights, device, precision, resize : as in `clipeval.models.load_model`

    Raises
    ------
    ModelError  if timm has no such backbone or weights, or the weights do not fit it
    """
    import timm

    name = full_name(model.removeprefix("timm:"), pretrained)
    config = timm.get_pretrained_cfg(name)
    path, weights_name, files = _weights(name, config, pretrained)
    states = file_states(files)
    sha256 = weights_sha256(path)
    state, kind = read_weights(path, weights)
    network = _build(name, config, without_prefixes(state), path)
    del state
    network.eval().to(device)
    assert not any(m.training for m in network.modules())
    transform, preprocess = _preprocess(network, resize)
    if file_states(files) != states:
        raise ModelError(f"{path} changed while it was read; load it again when it is complete.")
    info = make_info(
        config={"timm": name.split(".")[0]} | ({"weights": kind} if kind == "ema" else {}),
        model=f"timm:{name}",
        pretrained=f"{'' if weights_name == config.hf_hub_id else weights_name} {kind}".strip(),
        precision=precision,
        resize=resize,
        activation="",
        preprocess=preprocess,
        logit_scale=1.0,
        logit_bias=None,
        score="softmax",
        context_length=None,
        embed_dim=int(network.num_features),
        has_text=False,
        weights_sha256=sha256,
        weights=f"{weights_name} {kind}".strip(),
    )
    # a backbone has one kind of features: there is no projection
    return Model(
        info,
        device=device,
        preprocess=transform,
        encode_image=network,
        before_projection=network,
        network=network,
    ), states


def full_name(name: str, pretrained: str | None) -> str:
    """Return timm's full name, with the tag of its weights."""
    import difflib

    import timm

    if pretrained == "":
        raise ModelError(
            f"timm:{name} with empty pretrained would run with random weights; leave pretrained "
            "out for timm's own weights, or give a tag or a weight file."
        )
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()."
        raise ModelError(f"timm has no backbone named {architecture}; {hint}")
    if not _is_file(pretrained) and pretrained not in (None, "pretrained"):
        if tag and tag != pretrained:
            raise ModelError(
                f"timm:{name} names its weights and pretrained={pretrained} names others; give one "
                "of them."
            )
        tag = pretrained
    try:
        config = timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    except RuntimeError:  # timm's word for an unknown tag
        config = None
    if config is None:
        tags = [n.partition(".")[2] for n in timm.list_pretrained(f"{architecture}.*")]
        raise ModelError(
            f"timm:{architecture} has no weights named {tag}; use "
            f"{' or '.join(tags) or 'a weight file'}."
        )
    return f"{architecture}.{config.tag}" if config.tag else architecture


def _is_file(pretrained: str | None) -> bool:
    return bool(pretrained) and is_weights(Path(pretrained))


def _weights(name: str, config, pretrained: str | None) -> tuple[Path, str, list[Path]]:
    if _is_file(pretrained):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise ModelError(
                f"the weight file {path} does not exist; give the path of an existing one."
            )
        return path, path.name, weight_files(path)
    if not config.hf_hub_id:
        raise ModelError(
            f"timm has no weights for {name} on the hub, and it would run with random ones; give a "
            "weight file as pretrained."
        )
    path = hub_file(config.hf_hub_id, _hub_names(config), what=f"timm:{name}")
    return path, config.hf_hub_id, [path, *hub_ref(path)]


def _hub_names(config) -> list[str]:
    return (
        [config.hf_hub_filename]
        if config.hf_hub_filename
        else ["model.safetensors", "pytorch_model.bin"]
    )


def check_backbone(model: str, pretrained: str | None) -> str:
    """Return a line on a backbone whose weights can be had; nothing is fetched.

    Raises
    ------
    ModelError  as `load_backbone`, as far as it can be told without the weights
    """
    import timm

    name = full_name(model.removeprefix("timm:"), pretrained)
    config = timm.get_pretrained_cfg(name)
    if _is_file(pretrained) or not config.hf_hub_id:
        weights = _weights(name, config, pretrained)[1]
    else:
        hub_check(config.hf_hub_id, _hub_names(config), what=f"timm:{name}")
        weights = f"from {config.hf_hub_id}"
    return model_line(f"timm:{name}", "images only", f"weights {weights}")


def _build(name: str, config, state: dict, path: Path):
    """Return the network with all of these weights and no classifier."""
    import timm

    first = (
        config.classifier[0] if isinstance(config.classifier, (tuple, list)) else config.classifier
    )
    head = state.get(f"{first}.weight")
    # With as many classes as the file has, timm loads strictly; told to drop the classifier it
    # would let any missing weight stay random.
    classes = 0 if head is None else head.shape[0]
    overlay = {"state_dict": state, "num_classes": classes, "custom_load": False, "label_offset": 0}
    try:
        network = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes
        )
    except Exception as error:  # timm's models each have their own conversions of old layouts
        raise ModelError(
            f"{path} does not fit timm:{name} ({first_line(error)}); give the name of the backbone "
            "that these weights belong to."
        ) from None
    network.reset_classifier(0)
    return network


def _preprocess(network, resize: str):
    """Return the transform that timm evaluates the network with, and its description."""
    from timm.data import create_transform, resolve_model_data_config

    config = resolve_model_data_config(network)
    if resize != "model":
        config |= {
            "crop_mode": {"letterbox": "border", "squash": "squash"}[resize],
            "crop_pct": 1.0,
        }
    border = config["crop_mode"] == "border"
    return create_transform(**config, is_training=False), {
        "size": list(config["input_size"][1:]),
        "mode": "RGB",
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "interpolation": config["interpolation"],
        "resize_mode": {"center": "shortest", "border": "longest"}.get(
            config["crop_mode"], config["crop_mode"]
        ),
        "fill_color": [round(255 * v) for v in config["mean"]] if border else 0,
        "crop_pct": config["crop_pct"],
    }

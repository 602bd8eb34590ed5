"""open_clip's networks: built from a configuration, their activation, features inside them."""

import json
import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path

from clipeval.errors import ModelError, first_line
from clipeval.models.hub import hub_file


def build_network(config: dict, preprocess: dict, device: str = "cpu"):
    """Return an open_clip network of this configuration, with random weights.

    Parameters
    ----------
    config, preprocess : open_clip's `model_cfg` and `preprocess_cfg`
    device : "cpu", or "meta" for its shapes alone, which takes no memory

    Raises
    ------
    ModelError  if open_clip cannot build it, or a text tower's configuration is on no disk and
        cannot be had
    """
    import open_clip
    import torch

    # One way for every source: what is recorded as the configuration is what is built.
    with tempfile.TemporaryDirectory() as folder, _quiet():
        config = _with_text_tower(config, Path(folder, "text_tower"))
        text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
        Path(folder, "open_clip_config.json").write_text(text, encoding="utf-8")
        try:
            with torch.device(device):
                return open_clip.create_model(
                    f"local-dir:{folder}", load_weights=False, pretrained_text=False, device=device
                )
        except Exception as error:  # theirs are many, for a damaged or foreign file
            raise ModelError(
                f"open_clip cannot build this model ({first_line(error)}); check its "
                "configuration, and that the parts it names are on this disk or can be downloaded."
            ) from error


def _with_text_tower(config: dict, folder: Path) -> dict:
    """Return the configuration with a text tower of transformers named by a folder, written here.

    By its name it would be asked for on the hub, whatever is on disk; and what it says of code to
    be run is left out, as transformers would ask about it on the terminal.
    """
    text = config.get("text_cfg") or {}
    name = text.get("hf_model_name")
    if not name:
        return config
    from transformers import CONFIG_MAPPING

    what = f"the configuration of the text tower {name}"
    own = Path(name, "config.json")
    found = own if own.parent.is_dir() else hub_file(name, ["config.json"], what=what)
    try:
        values = json.loads(found.read_text(encoding="utf-8"))
        known = isinstance(values, dict) and values.get("model_type")
        values = _without_code(values)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{what} cannot be read ({first_line(error)}); get {found} again."
        ) from None
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    if not isinstance(known, str) or known not in CONFIG_MAPPING:
        raise ModelError(
            f"{what} is of the type {known}, which this release of transformers has no class for, "
            "and code that comes with a model is never run; use a release that has it, or load the "
            "model by a loader of your own (docs/models.md)."
        )
    return config | {"text_cfg": text | {"hf_model_name": str(folder)}}


def _without_code(values):
    """A configuration of transformers without the names of code: classes, kernels of the hub."""
    if isinstance(values, list):
        return [_without_code(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {
        key: _without_code(value)
        for key, value in values.items()
        if key != "auto_map" and not (key.endswith("_implementation") and "/" in str(value))
    }


@contextmanager
def _quiet():
    """Silence open_clip's warning of random weights: every one of them is replaced at once."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _own_activations(network) -> set[str]:
    """Return the kinds of activation in open_clip's own towers; other libraries' have their own."""
    import torch
    from open_clip.hf_model import HFTextEncoder
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import QuickGELU

    kinds, stack = set(), [network]
    while stack:
        module = stack.pop()
        if isinstance(module, (TimmModel, HFTextEncoder)):
            continue
        if isinstance(module, QuickGELU):
            kinds.add("quickgelu")
        elif isinstance(module, torch.nn.GELU):
            kinds.add("gelu")
        stack.extend(module.children())
    return kinds


def assert_activation(network, activation: str) -> None:
    """Make sure that the built network runs the activation that is recorded.

    Raises
    ------
    ModelError  if it does not
    """
    kinds = _own_activations(network)
    if kinds != ({activation} if activation else set()):
        raise ModelError(
            f"this model was to run {activation or 'no activation of open_clip'} and was built "
            f"with {' and '.join(sorted(kinds)) or 'none'}; this open_clip release is not "
            "supported, install the pinned one."
        )


def features_before_projection(network, pixels):
    """Return image features before the projection into the space shared with texts.

    Parameters
    ----------
    network : open_clip network
    pixels : float tensor (n, 3, height, width)

    Returns
    -------
    float tensor (n, width): for ViTs what the CLIP paper's linear probes of ViTs used (arXiv
    2103.00020, appendix A.3)

    Raises
    ------
    ModelError  if the image tower has no such features: CLIP's ResNets and towers with attention
        pooling by timm project inside the pooling
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    visual = network.visual
    if isinstance(visual, VisionTransformer):
        projection, visual.proj = visual.proj, None
        try:
            features = visual(pixels)
        finally:
            visual.proj = projection
        return features[0] if isinstance(features, tuple) else features
    if isinstance(visual, TimmModel) and "pool" not in visual.head._modules:
        # with no head of open_clip's own, the trunk's classifier is the projection (EVA), or there
        # is none (SigLIP)
        return visual.trunk.forward_head(visual.trunk.forward_features(pixels), pre_logits=True)
    name = (
        "CLIP ResNets project"
        if isinstance(visual, ModifiedResNet)
        else "this image tower projects"
    )
    raise ModelError(
        f"{name} inside the attention pooling, so there are no features before the projection; use "
        "features=projected."
    )

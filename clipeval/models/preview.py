"""What loading a model would meet: every file is looked for and none is fetched.

Weights that are here are read and held against the configuration, as at loading; no network is run.
"""

import os
from pathlib import Path

from clipeval.models.configuration import CONFIG
from clipeval.models.hub import hub_check
from clipeval.models.info import model_line
from clipeval.models.registry import plan
from clipeval.models.sources import HUB_WEIGHTS, find_source, tag_files
from clipeval.models.tokens import check_tokenizer
from clipeval.models.weights import is_weights, read_weights


def preview(
    model: str, pretrained: str | None, weights: str = ""
) -> tuple[dict | None, Path | None, str]:
    """Return what is known of an open_clip model before it is loaded.

    Parameters
    ----------
    model, pretrained, weights : as in `clipeval.models.load_model`, of an open_clip model

    Returns
    -------
    its `model_cfg` (None where it is still on the hub), the folder of its tokenizer (None for CLIP's
    own, or one that is still on the hub), and a description in one line

    Raises
    ------
    ModelError  if it could not be loaded: a file is on no disk and cannot be had, or the weights are
        those of another architecture
    """
    repository, names, revision, what, config, said = "", [], None, None, None, ""
    if model.startswith("hf-hub:") and not pretrained:
        repository, _, revision = model.removeprefix("hf-hub:").partition("@")
        revision, names = revision or None, HUB_WEIGHTS
        said = model_line(model, "from the hub")
        if hub_check(repository, [CONFIG], revision) is None:
            return None, None, said
    elif _is_tag(model, pretrained):
        p = plan(model, pretrained)
        what, config = f"{p.model} with pretrained={p.tag}", p.config
        said = model_line(f"{p.model} {p.tag}", _activation(p.activation), f"weights from {p.hub}")
        repository, names = tag_files(p.hub)
    if repository and hub_check(repository, names, revision, what=what) is None:
        return config, _tokenizer(config, None) if config else None, said
    source = find_source(model, pretrained)
    _check_weights(source, weights)
    tokenizer = _tokenizer(source.config, source.tokenizer_folder)
    said = said or model_line(
        source.model, _activation(source.activation), f"weights {source.weights_name}"
    )
    return source.config, tokenizer, said


def _activation(name: str) -> str:
    return f"{name or 'its own'} activation"


def _is_tag(model: str, pretrained: str | None) -> bool:
    if not pretrained or model.startswith(("local-dir:", "hf-hub:")) or model.endswith(".json"):
        return False
    path = Path(pretrained).expanduser()
    return not is_weights(path) and not path.is_file() and not os.path.isdir(model)


def _tokenizer(config: dict, folder: Path | None) -> Path | None:
    """Look for the tokenizer, and the configuration of a text tower, that a configuration names."""
    text = config.get("text_cfg") or {}
    tower = text.get("hf_model_name")
    if tower and not Path(tower).is_dir():
        hub_check(tower, ["config.json"], what=f"the configuration of the text tower {tower}")
    name = text.get("hf_tokenizer_name")
    return check_tokenizer(name, folder) if name else None


def _check_weights(source, kind: str) -> None:
    """Compare the weights with the configuration, on a network that takes no memory."""
    from clipeval.models.fit import fitting
    from clipeval.models.towers import build_network

    state, _ = read_weights(source.weights, kind)
    tower = (source.config.get("text_cfg") or {}).get("hf_model_name")
    if tower and not Path(tower).is_dir():
        if hub_check(tower, ["config.json"], what=f"the text tower {tower}") is None:
            return  # its configuration is still to be downloaded
    network = build_network(source.config, source.preprocess, device="meta")
    fitting(network, state, source.weights, resize_positions=source.is_tag)

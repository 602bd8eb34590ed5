"""Where a model's configuration and weights are: built-in names, folders, files, the hub."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from clipeval.errors import ModelError
from clipeval.files import natural
from clipeval.models.configuration import CONFIG, read_config
from clipeval.models.hub import hub_file, hub_ref
from clipeval.models.registry import (
    config_name,
    known_activation,
    merge_preprocess,
    model_config,
    own_activation,
    plan,
    published_preprocesses,
)
from clipeval.models.weights import INDEX, SUFFIXES, is_weights, weight_files

HUB_WEIGHTS = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
# open_clip's own order of preference, with its .pth names also as .pt
_PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "open_clip_pytorch_model.pt",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "model.pt",
)


@dataclass(frozen=True)
class Source:
    """All that defines a dual encoder, found on disk."""

    model: str
    pretrained: str
    config: dict
    """open_clip's `model_cfg`."""
    preprocess: dict
    weights: Path
    weights_name: str
    tokenizer_folder: Path | None = None
    files: list[Path] = field(default_factory=list)
    """Every file and folder whose change means another model."""
    is_tag: bool = False
    """Whether open_clip's registry lists these weights under this configuration."""

    @property
    def activation(self) -> str:
        """That of open_clip's own towers; empty where it has built neither."""
        return own_activation(self.config)


def find_source(model: str, pretrained: str | None) -> Source:
    """Return where a model's parts are, downloading them only if they are on no disk.

    Raises
    ------
    ModelError  if a part is missing, or if the weights would run with another activation than they
        were trained with
    """
    if model.startswith(("local-dir:", "hf-hub:")) and pretrained:
        raise ModelError(
            f"{model} brings its own weights, so pretrained={pretrained} has no meaning; leave "
            "pretrained out."
        )
    if model.startswith("local-dir:"):
        return _folder(Path(model.removeprefix("local-dir:")).expanduser())
    if model.startswith("hf-hub:"):
        return _hub(model.removeprefix("hf-hub:"))
    if Path(model).suffix in SUFFIXES:
        raise ModelError(
            f"{model} is a bare weight file, which says neither its architecture nor its "
            "preprocess nor its activation; give its configuration as model (ViT-B-32-quickgelu, "
            f"or the path of an {CONFIG}) and the file as pretrained."
        )
    if Path(model).suffix == ".json":
        return _config_file(Path(model).expanduser(), pretrained)
    if Path(model).is_dir():
        raise ModelError(f"{model} is a folder; write local-dir:{model}.")
    return _built_in(model, pretrained)


def _built_in(model: str, pretrained: str | None) -> Source:
    config = model_config(model)
    name = config_name(model)
    if not pretrained:
        raise ModelError(
            f"{name} without pretrained would run with random weights; give a tag such as openai, "
            "or a weight file."
        )
    path = Path(pretrained).expanduser()
    if is_weights(path) or path.is_file():
        weights = _weight_file(path)
        _refuse_other_activation(name, config, weights)
        preprocess = merge_preprocess(config, {})
        published = published_preprocesses(name)
        if published and preprocess not in published:
            raise ModelError(
                f"{name} is published with another preprocess than open_clip's default, and "
                f"{path.name} does not carry it; put both into a folder with an {CONFIG} that has "
                "its preprocess_cfg, and give that as local-dir:PATH."
            )
        return Source(
            model=name,
            pretrained=path.name,
            config=config,
            preprocess=preprocess,
            weights=weights,
            weights_name=path.name,
            files=weight_files(weights),
        )
    p = plan(name, pretrained)
    repository, names = tag_files(p.hub)
    weights = hub_file(repository, names, what=f"{name} with pretrained={p.tag}")
    return Source(
        model=name,
        pretrained=p.tag,
        config=p.config,
        preprocess=p.preprocess,
        weights=weights,
        weights_name=p.hub.strip("/"),
        files=[weights, *hub_ref(weights)],
        is_tag=True,
    )


def _refuse_other_activation(name: str, config: dict, weights: Path) -> None:
    """Refuse a weight file whose name or place says that it was trained with another activation."""
    import open_clip

    runs = "quickgelu" if config.get("quick_gelu") else "gelu"
    # as given, and as resolved: a hub cache holds links to files that are named by their hash
    for path in (str(weights.absolute()), str(weights.resolve())):
        trained, word = known_activation(path)
        if trained and trained != runs:
            break
    else:
        return
    words = {"quickgelu": "QuickGELU", "gelu": "GELU"}
    other = name.removesuffix("-quickgelu") if runs == "quickgelu" else f"{name}-quickgelu"
    mend = (
        f"use {other}"
        if other in open_clip.list_models()
        else "use a configuration with that activation"
    )
    raise ModelError(
        f"{name} with {weights.name} would run with {words[runs]}, but the name {word} says that "
        f"these weights were trained with {words[trained]}; {mend}, or rename the file if its name "
        "is wrong."
    )


def _config_file(path: Path, pretrained: str | None) -> Source:
    config, preprocess = read_config(path)
    if not pretrained:
        raise ModelError(
            f"{path} without pretrained would run with random weights; give the weight file as "
            "pretrained."
        )
    weights = _weight_file(Path(pretrained).expanduser())
    _refuse_other_activation(path.name, config, weights)
    return Source(
        model=path.name,
        pretrained=weights.name,
        config=config,
        preprocess=preprocess,
        weights=weights,
        weights_name=weights.name,
        tokenizer_folder=_tokenizer_folder(config, path.parent),
        files=[path, *weight_files(weights)],
    )


def _folder(path: Path) -> Source:
    if not path.is_dir():
        what = "is a file" if path.is_file() else "does not exist"
        raise ModelError(
            f"local-dir:{path}: {path} {what}; give a folder that holds {CONFIG} and its weights."
        )
    _refuse_transformers(path)
    config, preprocess = read_config(path / CONFIG)
    weights = _choose_weights(path)
    name = path.resolve().name
    _refuse_other_activation(f"local-dir:{name}", config, weights)
    return Source(
        model=f"local-dir:{name}",
        pretrained="",
        config=config,
        preprocess=preprocess,
        weights=weights,
        weights_name=weights.name,
        tokenizer_folder=_tokenizer_folder(config, path),
        # the folder itself: another weight file beside this one may be preferred
        files=[path, path / CONFIG, *weight_files(weights)],
    )


def _refuse_transformers(folder: Path) -> None:
    """Refuse a checkpoint of transformers, which open_clip cannot read, with what reads it."""
    if (folder / CONFIG).exists() or not (folder / "config.json").is_file():
        return
    raise ModelError(
        f"{folder} has a config.json and no {CONFIG}, so it is a checkpoint of transformers and not "
        "of open_clip; load it by a loader of your own (docs/models.md has one of ten lines) as "
        "model=python:LOADER.py:FUNCTION:FOLDER."
    )


def _choose_weights(folder: Path) -> Path:
    files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural(p.name))
    found = [p for p in files if p.suffix in SUFFIXES and p.suffix != ".ckpt"]
    found = found or [p for p in files if p.suffix == ".ckpt"]
    for name in _PREFERRED:
        if folder / name in found:
            return folder / name
    indexes = [p for p in files if p.name.endswith(INDEX)]
    if len(indexes) == 1 and set(found) <= set(shards := weight_files(indexes[0])[1:]):
        return indexes[0] if len(shards) > 1 else shards[0]
    if not found:
        raise ModelError(
            f"{folder} holds no weights; put a {', '.join(SUFFIXES)} file beside its {CONFIG}."
        )
    if len(found) == 1:
        return found[0]
    names = ", ".join(p.name for p in found[:12]) + (", ..." if len(found) > 12 else "")
    if not indexes and all(_SHARD.search(p.stem) for p in found):
        raise ModelError(
            f"{folder} holds weights in shards ({names}) without the index that says what is where; "
            f"put {_SHARD.sub('', found[0].stem)}{found[0].suffix}.index.json beside them."
        )
    raise ModelError(
        f"{folder} holds several weight files ({names}); name one of them, as "
        f"model={folder / CONFIG} and pretrained={found[-1]}."
    )


_SHARD = re.compile(r"-\d+-of-\d+$")


def _weight_file(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(
            f"the weight file {path} does not exist; give the path of a {', '.join(SUFFIXES)} file."
        )
    if not is_weights(path):
        raise ModelError(f"{path} is not a weight file; give a {', '.join(SUFFIXES)} file.")
    return path


def _tokenizer_folder(config: dict, folder: Path) -> Path | None:
    """Return the folder if the configuration names a tokenizer, whose files then lie there."""
    return folder if config["text_cfg"].get("hf_tokenizer_name") else None


# -- the hub ---------------------------------------------------------------------------------------


def _hub(name: str) -> Source:
    repository, _, revision = name.partition("@")
    if repository.count("/") != 1:
        raise ModelError(f"hf-hub:{name} is not a hub id; write hf-hub:organisation/name.")
    revision = revision or None
    config_path = hub_file(repository, [CONFIG], revision)
    config, preprocess = read_config(config_path)
    weights = hub_file(repository, HUB_WEIGHTS, revision)
    return Source(
        model=f"hf-hub:{name}",
        pretrained="",
        config=config,
        preprocess=preprocess,
        weights=weights,
        weights_name=repository,
        files=[config_path, weights, *hub_ref(weights)],
    )


def tag_files(hub: str) -> tuple[str, list[str]]:
    """Return the repository and the possible file names of the entry of a tag."""
    repository, _, file = hub.rpartition("/")
    if not file:
        return repository, HUB_WEIGHTS
    stem, suffix = os.path.splitext(file)
    return repository, [f"{stem}.safetensors", file] if suffix in (".bin", ".pth") else [file]

"""Where a model's configuration and weights are: built-in names, folders, files, the hub."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from clipeval.errors import ModelError
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

__all__ = ["Source", "find_source", "tag_files"]

CONFIG = "open_clip_config.json"
HUB_WEIGHTS = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
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
    activation: str
    weights: Path
    weights_name: str
    tokenizer_folder: Path | None = None
    files: list[Path] = field(default_factory=list)
    """Every file and folder whose change means another model."""
    is_tag: bool = False
    """Whether open_clip's registry lists these weights under this configuration."""


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
    if path.suffix in SUFFIXES or path.is_file():
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
            activation=own_activation(config),
            weights=weights,
            weights_name=path.name,
            files=[weights],
        )
    p = plan(name, pretrained)
    weights, files = _tag_file(p.hub, p.url, f"{name} with pretrained={p.tag}")
    return Source(
        model=name,
        pretrained=p.tag,
        config=p.config,
        preprocess=p.preprocess,
        activation=p.activation,
        weights=weights,
        weights_name=p.hub.strip("/") or weights.name,
        files=files,
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
    config, preprocess = _read_config(path)
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
        activation=own_activation(config),
        weights=weights,
        weights_name=weights.name,
        tokenizer_folder=_tokenizer_folder(config, path.parent),
        files=[path, weights],
    )


def _folder(path: Path) -> Source:
    if not path.is_dir():
        what = "is a file" if path.is_file() else "does not exist"
        raise ModelError(
            f"local-dir:{path}: {path} {what}; give a folder that holds {CONFIG} and its weights."
        )
    _refuse_transformers(path)
    config, preprocess = _read_config(path / CONFIG)
    weights = _choose_weights(path)
    name = path.resolve().name
    _refuse_other_activation(f"local-dir:{name}", config, weights)
    return Source(
        model=f"local-dir:{name}",
        pretrained="",
        config=config,
        preprocess=preprocess,
        activation=own_activation(config),
        weights=weights,
        weights_name=weights.name,
        tokenizer_folder=_tokenizer_folder(config, path),
        # the folder itself: another weight file beside this one may be preferred
        files=[path, path / CONFIG, weights],
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
    found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if not found:
        raise ModelError(
            f"{folder} holds no weights; put a {', '.join(SUFFIXES)} file beside its {CONFIG}."
        )
    for name in _PREFERRED:
        if folder / name in found:
            return folder / name
    if len(found) > 1:
        raise ModelError(
            f"{folder} holds several weight files ({', '.join(p.name for p in found)}); keep one, "
            f"or call the right one {_PREFERRED[0]}."
        )
    return found[0]


def _weight_file(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(
            f"the weight file {path} does not exist; give the path of a {', '.join(SUFFIXES)} file."
        )
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path} is no weight file; give a {', '.join(SUFFIXES)} file.")
    return path


def _read_config(path: Path) -> tuple[dict, dict]:
    """Return model and preprocess configuration of a file, with or without a `model_cfg` level."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} does not exist; an open_clip model needs its configuration beside the weights "
            f"(save it as {CONFIG})."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({error}); save the model's configuration again."
        ) from None
    config = values.get("model_cfg", values) if isinstance(values, dict) else {}
    own = f"give the {CONFIG} that was saved with the weights."
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
    preprocess = merge_preprocess(config, said)
    _refuse_odd_preprocess(preprocess, path, own)
    return config, preprocess


def _refuse_odd_preprocess(preprocess: dict, path: Path, own: str) -> None:
    """ModelError for values that open_clip's transform would choke on or read otherwise."""
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
    for name in ("mean", "std"):
        if len(preprocess[name]) != 3 or not all(
            isinstance(x, int | float) for x in preprocess[name]
        ):
            raise ModelError(f"{path}: {name} must be three numbers, one a colour; {own}")


def _tokenizer_folder(config: dict, folder: Path) -> Path | None:
    """Return the folder if the configuration names a tokenizer, whose files then lie there."""
    return folder if config["text_cfg"].get("hf_tokenizer_name") else None


# -- the hub ---------------------------------------------------------------------------------------


def _hub(name: str) -> Source:
    repository, _, revision = name.partition("@")
    if repository.count("/") != 1:
        raise ModelError(f"hf-hub:{name} is no hub id; write hf-hub:organisation/name.")
    revision = revision or None
    config_path = hub_file(repository, [CONFIG], revision)
    config, preprocess = _read_config(config_path)
    weights = hub_file(repository, HUB_WEIGHTS, revision)
    return Source(
        model=f"hf-hub:{name}",
        pretrained="",
        config=config,
        preprocess=preprocess,
        activation=own_activation(config),
        weights=weights,
        weights_name=repository,
        files=[config_path, weights, *hub_ref(weights)],
    )


def _tag_file(hub: str, url: str, what: str) -> tuple[Path, list[Path]]:
    if not hub:  # no such tag in open_clip 3.3, but older releases have some
        from open_clip.pretrained import download_pretrained_from_url

        try:
            path = Path(download_pretrained_from_url(url))
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{what} cannot be downloaded from {url} ({error}).") from None
        return path, [path]
    repository, names = tag_files(hub)
    path = hub_file(repository, names, what=what)
    return path, [path, *hub_ref(path)]


def tag_files(hub: str) -> tuple[str, list[str]]:
    """Return the repository and the possible file names of the entry of a tag."""
    repository, _, file = hub.rpartition("/")
    if not file:
        return repository, HUB_WEIGHTS
    stem, suffix = os.path.splitext(file)
    return repository, [f"{stem}.safetensors", file] if suffix in (".bin", ".pth") else [file]

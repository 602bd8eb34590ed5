"""What is recorded of a model, and how a model is recognised without loading it.

Nothing here imports torch: a run whose embeddings are all stored only needs to know that the files
which defined the model have not changed since they were last loaded.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path

from clipeval.errors import ModelError
from clipeval.files import file_state, keep, kept, sha256
from clipeval.paths import version_of

LARGEST_SCALE = 1000

# Raise it when a change of this package's own code changes embeddings.
EMBEDDING_FORMAT = 1

_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "timm": "timm",
    "transformers": "transformers",
    "pillow": "pillow",
}


@dataclass(frozen=True)
class ModelInfo:
    """What a model is: all that a report prints and that a stored embedding is keyed by.

    Holds plain values only, so that it can be written as JSON, and no path of this machine.
    """

    model: str
    """Name as given, with folders reduced to their last part."""
    pretrained: str
    """Tag or name of the weight file; empty where the model's name says it all. Raw or ema as below."""
    precision: str | None
    """fp32, fp16 or bf16; None where it is unknown, as other fields of a model whose answers were made elsewhere."""
    resize: str | None
    """model (its own preprocess), letterbox or squash, or the pixels that images are reduced to before it."""
    activation: str | None
    """quickgelu or gelu in open_clip's own towers; empty where no such tower exists."""
    preprocess: dict | None
    """size, mode, mean, std, interpolation, resize_mode, fill_color."""
    logit_scale: float
    """Factor of the cosine similarities, already exponentiated."""
    logit_bias: float | None
    """Added to the scaled similarities; SigLIP has one."""
    score: str
    """softmax or sigmoid: how the model was trained to turn similarities into probabilities; of answers made
    elsewhere also given (probabilities as they are), label (the top class alone) or label, given."""
    context_length: int | None
    """Tokens that the text tower reads, start and end tokens included."""
    embed_dim: int
    """Length of a projected embedding."""
    has_text: bool
    """False for image-only backbones."""
    weights_sha256: str | None
    """Of the bytes of the weight file."""
    weights: str | None
    """Hub id or file name of the weights; and raw or ema (averaged), where the file holds both."""
    versions: dict
    """Installed versions of the libraries that compute embeddings; of what else runs the image tower, its own."""
    fingerprint: str
    """sha256 over everything that can change an embedding; the device is not part of it."""

    @property
    def is_known(self) -> bool:
        """Whether weights and preprocess are known, so that it can be asked anything else."""
        return self.weights_sha256 is not None

    @property
    def runtime(self) -> str:
        """What runs the image tower: torch, torch.compile or onnxruntime with its version; see `models.runtimes`."""
        if "onnxruntime" in self.versions:
            return f"onnxruntime {self.versions['onnxruntime']}"
        return "torch.compile" if "torch.compile" in self.versions else "torch"

    @property
    def has_top_alone(self) -> bool:
        """Whether only the top class of each image is known, and no score of the others."""
        return self.score.startswith("label")

    @property
    def weights_text(self) -> str:
        """The weights as reports name them: "weights sha256 0123456789ab" or "weights unknown".

        Of a model of one's own loader, which names no file, what it does is named: "features sha256 ...".
        """
        if not self.is_known:
            return "weights unknown"
        return f"{'weights' if self.weights_sha256 else 'features'} sha256 {self.weights_id}"

    @property
    def weights_id(self) -> str:
        """The first digits of what tells the weights of a known model apart."""
        return (self.weights_sha256 or self.fingerprint)[:12]

    @property
    def name(self) -> str:
        """Model and weights as one name, such as "ViT-B-32 openai"."""
        return f"{self.model} {self.pretrained}".strip()

    def to_json(self) -> dict:
        """Return the fields as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, values: dict) -> "ModelInfo":
        """Return the ModelInfo that `to_json` wrote.

        Raises
        ------
        ModelError  if its logit scale or bias is not usable
        """
        info = cls(**values)
        of, mend = f"the record of {info.model}", "get the file that holds it again."
        check_scalars(info.logit_scale, info.logit_bias, of, mend)
        return info


def model_line(name: str, *said: str) -> str:
    """What a check says of a model: "NAME: this, that"; what is empty is left out."""
    return f"{name.strip()}: {', '.join(filter(None, said))}"


def check_scalars(scale: float, bias: float | None, of: str, mend: str) -> None:
    """Refuse a logit scale or bias that would turn cosines into no probabilities.

    Parameters
    ----------
    scale : factor of the cosines, as applied: finite, above 0 and at most 1,000 (models are trained
        with at most 100)
    bias : added to the scaled cosines, finite; None where there is none
    of : what they belong to, named in the error
    mend : end of the sentence

    Raises
    ------
    ModelError  naming the value
    """
    if not (is_number(scale) and 0 < scale <= LARGEST_SCALE):
        raise ModelError(
            f"{of} has the logit scale {_shown(scale)}, and the factor of the cosines must be a "
            f"number above 0 and at most {LARGEST_SCALE:,}; {mend}"
        )
    if bias is not None and not is_number(bias):
        raise ModelError(
            f"{of} has the logit bias {_shown(bias)}, which must be a finite number; {mend}"
        )


def is_number(value, *, finite: bool = True) -> bool:
    """Say whether a value is a real number, by default a finite one, and neither True nor False."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return not finite or math.isfinite(value)
    except OverflowError:  # an integer beyond the floating-point numbers
        return False


def _shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)[:40]


def installed_versions() -> dict:
    """Return the versions of the libraries that compute embeddings, importing none of them."""
    return {name: version_of(package) for name, package in _PACKAGES.items()}


def make_info(*, config: object, **fields) -> ModelInfo:
    """Return a ModelInfo with its fingerprint.

    Parameters
    ----------
    config : JSON-able value, whatever else defines the model: its architecture, tokenizer hashes
    fields : every field of ModelInfo except `versions` (the installed ones by default) and
        `fingerprint`

    Notes
    -----
    Names are left out of the fingerprint: the same weights in another folder give the same
    embeddings. So is the local part of a version (`+cpu`, `+cu126`), which names the device a build
    is for.
    """
    fields.setdefault("versions", installed_versions())
    info = json.loads(json.dumps({"config": config, **fields}))
    keyed = {
        key: info[key]
        for key in ("config", "weights_sha256", "activation", "preprocess", "precision", "resize")
    }
    keyed["versions"] = {name: v.split("+")[0] for name, v in info.pop("versions").items()}
    keyed["format"] = EMBEDDING_FORMAT
    text = json.dumps(keyed, sort_keys=True)
    return ModelInfo(
        **fields | {"preprocess": info["preprocess"]},
        fingerprint=sha256(text),
    )


# -- recognising a model by its files --------------------------------------------------------------


def _record_path(cache: Path, key: dict) -> Path:
    # the same id may mean other files under another hub cache or endpoint
    env = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT")
    text = json.dumps([key, {name: os.environ.get(name) for name in env}], sort_keys=True)
    return Path(cache) / "models" / f"{sha256(text)[:32]}.kept"


def write_record(cache: Path, key: dict, info: ModelInfo, states: dict[str, list]) -> None:
    """Remember that `key`, the arguments of load_model, gave `info` from files in these states."""
    record = {"format": EMBEDDING_FORMAT, "key": key, "files": states, "info": info.to_json()}
    keep(_record_path(cache, key), json.dumps(record).encode())


def read_record(cache: Path, key: dict) -> ModelInfo | None:
    """Return what `write_record` remembered; None where a file or a library has changed since."""
    content = kept(_record_path(cache, key))
    if content is None:
        return None
    try:
        record = json.loads(content)
        info = ModelInfo.from_json(record["info"])
        same = (
            record["format"] == EMBEDDING_FORMAT
            and record["key"] == key
            and info.versions == installed_versions()
            and all(list(file_state(path)) == state for path, state in record["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return None
    return info if same else None


def file_states(paths: Iterable[str | Path]) -> dict[str, list]:
    """Return the state of each file, by absolute path."""
    return {os.path.abspath(p): list(file_state(p)) for p in paths}

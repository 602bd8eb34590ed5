"""Parameters that every study knows; each study's module adds its own."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clipeval.classify.word_files import is_bundled
from clipeval.errors import ParameterError, did_you_mean
from clipeval.models.reduced import RESIZE_IS, is_resize

#: a FairFace release, as text: papermill converts numeric-looking strings
Padding = Annotated[Literal["0.25", "1.25"], BeforeValidator(str)]
PADDING = Field("0.25", description="FairFace crop margin, 0.25 or 1.25; the images differ")


def check_resize(text: str) -> str:
    """A way to bring an image to size, or to how many pixels it is reduced first."""
    if not is_resize(text):
        raise ValueError(f"give {RESIZE_IS}")
    return text


def names_in(text: str) -> list[str]:
    """The names of a comma-separated parameter, in order."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_numbers(name: str, text: str, *, example: str, **words: int) -> list[int]:
    """The different numbers of a comma-separated parameter, rising; `words` stand for numbers, such as all.

    Raises
    ------
    ParameterError  naming the parameter, with an example
    """
    try:
        return sorted({int(words.get(part.strip(), part)) for part in text.split(",")})
    except ValueError:
        raise ParameterError(
            f'{name}="{text}" is not a list of whole numbers; write, for example, "{example}".'
        ) from None


class Parameters(BaseModel):
    """The parameters cell of a notebook: plain literals, each with a meaning said once, here.

    A description becomes the comment of its line there; papermill cannot read a line with a second
    equals sign, so none holds one.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,  # a default has the type that it has when it is read back
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # papermill converts numeric-looking strings
    )

    #: fields that decide an answer beside the images, the model and the prompts
    decides: ClassVar[tuple[str, ...]] = ("seed",)
    #: further ones that decide the answers of a linear probe alone
    probe_decides: ClassVar[tuple[str, ...]] = ()
    #: fields that name a class set
    class_sets: ClassVar[tuple[str, ...]] = ("class_set",)

    model: str = Field(
        "testcard",
        min_length=1,
        description="open_clip name, local-dir:PATH, hf-hub:ID, timm:NAME or testcard",
    )
    pretrained: str = Field(
        "", description="pretrained tag or weight file; empty for folders, hub ids, testcard"
    )
    dataset: str = Field(
        "testcards", description="name of a data set: see `clipeval list datasets`"
    )
    data: str = Field("", description="its folder, file or hub id")
    split: str = Field("val", description="which part of the data set")
    file: str = Field(
        "", description="column that says where each image is; empty for file or path"
    )
    columns: str = Field(
        "",
        description="what your columns are, such as image_id:nr, file:photo, Sex:m_f; empty for their names",
    )
    person: str = Field(
        "",
        description="column that says who is shown, to draw one image of each; empty for every image",
    )
    title: str = Field("", description="name of your own data, for captions")
    licence: str = Field("", description="licence of your own data, for captions and packs")
    citation: str = Field("", description="how to cite your own data")
    labelled_by: str = Field(
        "", description="whose judgements your own group labels are, one sentence"
    )
    groups: str = Field(
        "",
        description="group columns to report by, comma-separated; A*B crosses two; empty for all",
    )
    class_set: str = Field("", description="class set, NAME or NAME:VARIANT or FILE.yaml")
    templates: str = Field("photo", description="prompt templates, NAME or FILE.yaml")
    limit: int = Field(
        0, ge=0, description="use a seeded random sample of this many images; 0 for all"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of every random choice")
    weights: Literal["", "raw", "ema"] = Field(
        "", description="raw or ema (averaged), where a checkpoint holds both; else empty"
    )
    device: str = Field("auto", description="auto, cuda, cuda:N, mps or cpu")
    precision: Literal["fp32", "fp16", "bf16"] = Field("fp32", description="fp32, fp16 or bf16")
    resize: Annotated[str, AfterValidator(check_resize)] = Field(
        "model",
        description="model for its own preprocess; letterbox or squash for its crop; 56 reduces to 56 pixels first",
    )
    compile: bool = Field(False, description="run the image tower by torch.compile, in fp32")
    runtime: Literal["torch", "onnx"] = Field(
        "torch", description="torch, or onnx for ONNX Runtime on the CPU, in fp32"
    )
    batch_size: int = Field(
        0, ge=0, description="images encoded at once; 0 for automatic; no number depends on it"
    )
    workers: int = Field(-1, ge=-1, description="processes that read images; -1 for automatic")
    store: str = Field("", description="folder of stored embeddings; empty for the user's cache")
    pack: str = Field("", description="a pack to read in place of images and model")
    scores: str = Field(
        "", description="answers made elsewhere to read in place of a model: CSV or parquet"
    )
    scores_are: Literal["", "cosine", "logit", "prob"] = Field(
        "", description="what their columns hold: cosine, logit or prob; empty for labels"
    )
    scale: float = Field(
        100.0, gt=0, le=1000, description="what cosines are multiplied by before the softmax"
    )
    out: str = Field("", description="run folder; empty for clipeval-run in the working directory")

    @property
    def run_by(self) -> str:
        """What runs the image tower: torch, compile or onnx.

        Raises
        ------
        ParameterError  if both are asked for
        """
        if self.compile and self.runtime != "torch":
            raise ParameterError(
                f"compile=true and runtime={self.runtime} are two ways to run one image tower; leave one out."
            )
        return "compile" if self.compile else self.runtime

    @property
    def own_words(self) -> bool:
        """Whether classes or templates are files of the user's, those of a study of one's own among them."""
        sets = filter(None, (getattr(self, name) for name in self.class_sets))
        bundled = [is_bundled(spec, "class_sets") for spec in sets]
        return not all([*bundled, is_bundled(self.templates, "templates")])

    @property
    def out_folder(self) -> Path:
        """The run folder, absolute."""
        return Path(self.out or "clipeval-run").expanduser().resolve()


def parse(kind: type[Parameters], values: dict, *, study: str) -> Parameters:
    """Check `values` against a study's parameters.

    Raises
    ------
    ParameterError
        For an unknown name (with the nearest known one) or a value that is not accepted.
    """
    for name in values:
        if name not in kind.model_fields:
            hint = f"it knows {', '.join(kind.model_fields)}."
            hint = did_you_mean(name, kind.model_fields, hint)
            raise ParameterError(f'{study} has no parameter "{name}"; {hint}')
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name, ours = first["loc"][0], first.get("ctx", {}).get("error")
        mend = str(ours or _accepted(kind.model_fields[name]))
        raise ParameterError(
            f"{study}: {name}={first['input']!r} is not accepted; {mend}."
        ) from None


def described(kind: type[Parameters]) -> list[dict[str, str]]:
    """Parameters of a study, its own first: parameter, default, accepts, meaning."""
    names = sorted(kind.model_fields, key=lambda name: name in Parameters.model_fields)
    return [
        {
            "parameter": name,
            "default": str(field.default).lower()
            if field.annotation is bool
            else str(field.default),
            "accepts": _accepted(field).removeprefix("give "),
            "meaning": field.description,
        }
        for name, field in ((name, kind.model_fields[name]) for name in names)
    ]


#: rule of a field -> what it asks for
_BOUNDS = {"ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
_BOUNDS |= {"min_length": "not empty"}


def _accepted(field) -> str:
    """What a parameter accepts, as the end of a sentence."""
    if choices := get_args(field.annotation):
        empty = ", or leave it empty" if "" in choices else ""
        return f"give one of {', '.join(filter(None, choices))}{empty}"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    bounds = [
        said.format(getattr(rule, name))
        for rule in field.metadata
        for name, said in _BOUNDS.items()
        if hasattr(rule, name)
    ]
    return f"give {', '.join(filter(None, [kinds[field.annotation], ' and '.join(bounds)]))}"


def refuse_cards(parameters: Parameters) -> None:
    """ParameterError where a real model would read test cards: nobody planted anything for it."""
    p = parameters
    if p.dataset == "testcards" and p.model != "testcard" and not p.scores:
        raise ParameterError(
            f"model={p.model} is asked to read test cards, which only model=testcard can; "
            "name your images with dataset and data."
        )


def to_inject(parameters: Parameters, notebook: Path) -> dict:
    """What papermill is to put into a notebook: what the user gave, and defaults that its own cell says otherwise.

    So the notebook, run again, knows what was given as well.
    """
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    tagged = ("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", ()))
    cell = _literals(next(tagged, ""))
    given = parameters.model_fields_set
    values = parameters.model_dump()
    return {k: v for k, v in values.items() if k in given or cell.get(k, v) != v}


def injected(values: dict) -> dict:
    """What stands in the cell that papermill puts into a notebook: name -> value.

    A value that is no literal (papermill writes nan as a call) is what the name has now.
    """
    found = {}
    for cell in values.get("In", ()):
        if str(cell).startswith("# Parameters\n"):
            found |= _literals(cell, values)
    return found


def _literals(code: str, values: Mapping = MappingProxyType({})) -> dict:
    """Name -> value of the assignments in a cell; where that is no literal, what the name has in `values`."""
    found = {}
    for line in ast.parse(code).body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                try:
                    found[name] = ast.literal_eval(line.value)
                except (ValueError, TypeError):
                    found[name] = values.get(name)
    return found

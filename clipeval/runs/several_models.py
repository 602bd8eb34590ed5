"""The same studies for several models: what `clipeval run --models a,b,c` runs, and where."""

import re
from pathlib import Path

from clipeval.errors import ParameterError, first_line
from clipeval.output.provenance import pathless
from clipeval.runs.places import model_slug
from clipeval.runs.profiles import plan_run
from clipeval.session.parameters import Parameters
from clipeval.studies import STUDIES

#: folder of the comparison beside the models' run folders
COMPARE = "compare"
_PREFIXES = ("local-dir:", "hf-hub:", "python:")  # whose rest may hold an @ of its own


_NAMED = re.compile(r"([^=:/@]+)=(.+)")  # in hf-hub:a/b=c and local-dir:/a=b no name stands first


def read_models(file: str | Path) -> str:
    """A list of models as --models takes it, from a file with one a line; what follows a # is passed over.

    Raises
    ------
    ParameterError  if it cannot be read, or names none
    """
    path = Path(file).expanduser()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"--models-file {path} cannot be read ({first_line(error)}); give a text file with one "
            "NAME=MODEL@PRETRAINED a line."
        ) from None
    found = [bare for line in lines if (bare := re.sub(r"(^|\s)#.*", "", line).strip().rstrip(","))]
    if not found:
        raise ParameterError(
            f"--models-file {path} names no model; write one NAME=MODEL@PRETRAINED a line."
        )
    return ",".join(found)


def split_name(entry: str) -> tuple[str, str]:
    """Name, "" where none is given, and model of an entry such as "ours=ViT-B-32@openai"."""
    named = _NAMED.fullmatch(entry)
    return (named[1].strip(), named[2].strip()) if named else ("", entry)


def named(models: str) -> list[str]:
    """The name that each entry of a list of models gives, "" where it gives none."""
    return [split_name(entry.strip())[0] for entry in models.split(",")]


def told_models(models: str) -> str:
    """A list of models without paths, as records may tell it."""
    entries = [split_name(entry.strip()) for entry in models.split(",")]
    return ",".join(f"{name}={pathless(of)}" if name else pathless(of) for name, of in entries)


def parse_models(text: str) -> list[tuple[str, str]]:
    """Model and pretrained tag of each entry of a list such as "ViT-B-32@openai,ours=local-dir:clip".

    Raises
    ------
    ParameterError  if an entry is empty, or a model or name stands twice
    """
    entries = [split_name(entry.strip()) for entry in text.split(",")]
    names = [name for name, _ in entries if name]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ParameterError(f"--models calls two models {twice}; give each a name of its own.")
    found = []
    for _, entry in entries:
        model, _, tag = (entry, "", "") if entry.startswith(_PREFIXES) else entry.partition("@")
        if not model or entry.endswith("@"):
            raise ParameterError(
                f'--models "{text}" has an empty entry; write MODEL or MODEL@PRETRAINED, ...'
            )
        if (model, tag) in found:
            raise ParameterError(f"--models names {entry} twice; name each model once.")
        found.append((model, tag))
    return found


def plan_models(
    models: str, studies, profile: str, given: dict, out: str | Path
) -> dict[Path, dict[str, Parameters]]:
    """The plan of each model's run, by its folder OUT/SLUG.

    A model that only embeds images (`timm:`) takes part where a study can do without words.

    Parameters
    ----------
    models : as in `parse_models`
    studies, profile, given : as in `profiles.plan_run`
    out : folder that holds all runs and the comparison

    Raises
    ------
    ParameterError  if a model is named in `given` as well, or no study is left for one
    """
    if stray := [name for name in given if name.split(".")[-1] in ("model", "pretrained", "out")]:
        raise ParameterError(f"-p {stray[0]} and --models are both given; leave out -p {stray[0]}.")
    plan_run(studies, profile, given)  # refuses names that none of the studies knows
    plans: dict[Path, dict[str, Parameters]] = {}
    for name, (model, pretrained) in zip(named(models), parse_models(models), strict=True):
        slug = model_slug(name or model, "" if name else pretrained)
        folder, n = Path(out) / slug, 2
        while folder in plans or folder.name == COMPARE:
            folder = Path(out) / f"{slug}-{n}"
            n += 1
        values = {**given, "model": model, "pretrained": pretrained}
        asked = list(studies)
        if model.startswith("timm:"):
            asked, values = _without_words(model, asked, values)
        plans[folder] = plan_run(asked, profile, values, str(folder))
    return plans


def _without_words(model: str, asked: list[str], values: dict) -> tuple[list[str], dict]:
    """Studies that a model without a text encoder can take part in, and their parameters."""
    able = {name: study for name, study in STUDIES.items() if study.without_words is not None}
    chosen = [name for name in able if name in asked] if asked else list(able)
    if not chosen:
        raise ParameterError(
            f"{model} has no text encoder, so it can only take part in {' and '.join(able)}, by a "
            "linear probe; add that or leave the model out."
        )
    known = {name for study in chosen for name in able[study].Parameters.model_fields}
    mine = {k: v for k, v in values.items() if k in known or k.partition(".")[0] in chosen}
    for study in chosen:
        mine |= {f"{study}.{name}": value for name, value in able[study].without_words.items()}
    return chosen, mine

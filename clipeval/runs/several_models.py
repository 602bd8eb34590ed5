"""The same studies for several models: what `clipeval run --models a,b,c` runs, and where."""

from pathlib import Path

from clipeval.errors import ParameterError
from clipeval.runs.places import model_slug
from clipeval.runs.profiles import plan_run
from clipeval.session.parameters import Parameters
from clipeval.studies import STUDIES

#: folder of the comparison beside the models' run folders
COMPARE = "compare"
_PREFIXES = ("local-dir:", "hf-hub:", "python:")  # whose rest may hold an @ of its own


def parse_models(text: str) -> list[tuple[str, str]]:
    """Model and pretrained tag of each entry of a list such as "ViT-B-32@openai,testcard".

    Raises
    ------
    ParameterError  if an entry is empty or stands twice
    """
    entries = [entry.strip() for entry in text.split(",")]
    found = []
    for entry in entries:
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
    for model, pretrained in parse_models(models):
        folder, n = Path(out) / model_slug(model, pretrained), 2
        while folder in plans or folder.name == COMPARE:
            folder = Path(out) / f"{model_slug(model, pretrained)}-{n}"
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

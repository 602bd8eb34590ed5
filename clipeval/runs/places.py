"""Where a run goes."""

import re
from pathlib import Path

from clipeval.runs.audit_file import is_audit_file
from clipeval.session.parameters import Parameters
from clipeval.studies import get_study

#: folder of all run folders, in the working directory
REPORTS = "reports"


def model_slug(model: str, pretrained: str = "") -> str:
    """Folder name for a model: its name without prefix and path, and its tag or weight file."""
    name = re.sub(r"^(local-dir|hf-hub|timm|python):", "", model).rstrip("/")
    if model.startswith(("local-dir:", "python:")):
        name = Path(name).name
    words = [name, Path(pretrained).stem] if pretrained else [name]
    return _slug("_".join(words)) or "model"


def default_folder(
    plan: dict[str, Parameters], profile: str = "", *, models: bool = False, pack: bool = False
) -> Path:
    """Run folder of a plan: reports/PROFILE, or reports/MODEL-DATASET where no profile was named.

    Parameters
    ----------
    plan : dict of study id to Parameters
    profile : as the user named it; "" for none
    models : whether several models run, each in a folder of its own below; MODEL is "models" then
    pack : whether it is a replay of a pack, which must not meet the run that was packed

    Returns
    -------
    Path, relative to the working directory
    """
    if profile:
        return Path(REPORTS, Path(profile).stem if is_audit_file(profile) else profile)
    asked = list(own(plan).values()) or list(plan.values())
    model = "models" if models else _model_of(asked[0])
    words = [model, *dict.fromkeys(_slug(p.dataset) for p in asked)]
    return Path(REPORTS, "-".join(filter(None, [*words, "pack" if pack else ""])))


def _model_of(p: Parameters) -> str:
    """The model's name; where answers made elsewhere do not name it, that of their file."""
    named = p.model != type(p).model_fields["model"].default
    return (
        model_slug(p.model, p.pretrained) if named or not p.scores else _slug(Path(p.scores).stem)
    )


def own(plan: dict[str, Parameters]) -> dict[str, Parameters]:
    """The plan without studies that are made of others' tables, and have no model and data of their own."""
    return {study: p for study, p in plan.items() if not get_study(study).is_summary}


def with_card(plan: dict[str, Parameters]) -> dict[str, Parameters]:
    """The plan with the card, which a run's first page is made of, on the model and data of the first study."""
    asked = next(iter(own(plan).values()), None)
    if asked is None or "card" in plan:
        return plan
    known = get_study("card").Parameters
    shared = known.model_fields.keys() - {"class_set", "templates"}
    values = {name: value for name, value in asked.model_dump().items() if name in shared}
    return plan | {"card": known.model_validate(values)}


def put_into(plan: dict[str, Parameters], folder: Path) -> dict[str, Parameters]:
    """The plan with another run folder."""
    return {study: p.model_copy(update={"out": str(folder)}) for study, p in plan.items()}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]

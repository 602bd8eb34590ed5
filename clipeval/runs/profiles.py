"""Profiles: named sets of parameters, and how they meet what a user gives."""

from collections.abc import Mapping
from pathlib import Path

from clipeval.classify.word_files import parse as parse_yaml
from clipeval.errors import ParameterError, did_you_mean
from clipeval.paths import DATA
from clipeval.runs.audit_file import is_audit_file, read_audit
from clipeval.session.local_paths import absolute
from clipeval.session.parameters import Parameters, parse
from clipeval.studies import STUDIES, get_study


def list_profiles() -> dict[str, str]:
    """Profile -> what it is for."""
    return {name: read_profile(name)["about"] for name in _paths()}


def _paths() -> dict[str, Path]:
    """Profile -> its file; one in a folder is called by both, such as known/rijgersberg2023."""
    folder = DATA / "profiles"
    files = {path.relative_to(folder).with_suffix(""): path for path in folder.rglob("*.yaml")}
    return {name.as_posix(): files[name] for name in sorted(files)}


def read_profile(name: str) -> Mapping:
    """What a profile holds; nothing for none.

    Returns
    -------
    mapping: name, about, run (study ids), all and studies (parameters), and of an audit file also models; see
    `audit_file.read_audit`

    Raises
    ------
    ParameterError  if there is none of that name, or an audit file cannot be read
    """
    if not name:
        return {}
    if is_audit_file(name):
        return read_audit(name)
    paths = _paths()
    if name not in paths:
        known = ", ".join(paths)
        raise ParameterError(f'there is no profile "{name}"; the profiles are {known}.')
    return parse_yaml(paths[name].read_text("utf-8"))


def plan_run(studies, profile: str | Mapping, given: dict, out: str = "") -> dict[str, Parameters]:
    """Parameters of each study: its defaults, then the profile's, then the user's.

    Parameters
    ----------
    studies : sequence of study ids; empty for those that the profile names under `run`, or all
    profile : name of a profile, or the path of an audit file (see `audit_file.read_audit`); "" for none, the
        defaults of each study; or what `read_profile` returned
    given : dict
        `name` -> value for every study that knows the name, `STUDY.name` -> value for one.
        Paths in them may be relative to the working directory; the plan holds absolute ones.
    out : run folder

    Returns
    -------
    dict of study id to its Parameters, in the order of the notebooks

    Raises
    ------
    ParameterError
        If a study, profile or parameter is unknown, or a value is not accepted.
    """
    chosen = read_profile(profile) if isinstance(profile, str) else profile
    wanted = [get_study(name) for name in studies or chosen.get("run") or STUDIES]
    kinds = {s.id: s.Parameters for s in STUDIES.values() if s in wanted}
    for name in given:
        study, dot, bare = name.partition(".")
        if out and (bare or study) == "out":
            raise ParameterError(f"{name} would part a study from its run; give --out DIR instead.")
        if dot:
            get_study(study)
        if dot and study not in kinds:
            raise ParameterError(
                f"{name} is given and {study} is not run; name the study too, or leave it out."
            )
        if not dot and not any(name in kind.model_fields for kind in kinds.values()):
            if len(kinds) == 1:
                parse(next(iter(kinds.values())), {name: None}, study=next(iter(kinds)))
            known = sorted({field for kind in kinds.values() for field in kind.model_fields})
            hint = did_you_mean(name, known, f"they know {', '.join(known)}.")
            raise ParameterError(f'none of these studies has a parameter "{name}"; {hint}')
    given = {name: absolute(name.rpartition(".")[2], value) for name, value in given.items()}
    plan = {}
    for study, kind in kinds.items():
        values = {**(chosen.get("all") or {}), **((chosen.get("studies") or {}).get(study) or {})}
        values = {k: v for k, v in values.items() if k in kind.model_fields}
        users = {k: v for k, v in given.items() if "." not in k and k in kind.model_fields}
        users |= {k.split(".", 1)[1]: v for k, v in given.items() if k.startswith(f"{study}.")}
        if "model" in users:  # the profile's tag is one of the profile's model
            values.pop("pretrained", None)
        values |= users
        if out:
            values["out"] = str(out)
        plan[study] = parse(kind, values, study=study)
    return plan

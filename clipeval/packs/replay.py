"""Running studies again from a pack: the parameters they had, and whether the numbers are the same."""

from pathlib import Path

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.errors import ClassSetError, ParameterError
from clipeval.files import file_sha256
from clipeval.output.provenance import (
    COUNT,
    INCIDENTAL,
    code_version,
    deciding,
    package_versions,
    pathless,
)
from clipeval.session.parameters import Parameters, parse
from clipeval.sources.pack_file import Pack, open_pack
from clipeval.studies import STUDIES, get_study

#: parameters that decide which images were embedded by which model, and what is said of them
FIXED = ("model", "pretrained", "weights", "dataset", "data", "split", "limit", "precision")
FIXED = (*FIXED, "resize", "file", "columns", "person", "title", "licence", "pack")
FIXED = (*FIXED, "citation", "labelled_by", "scores", "scores_are", "scale")


def plan_pack(
    path: str | Path, studies, given: dict, out: str | Path, expect: str = "", models: str = ""
) -> dict[str, Parameters]:
    """Parameters of each study, as they were in the run that was packed, then the user's.

    Parameters
    ----------
    path, expect : as in `open_pack`
    studies : sequence of study ids; empty for all in the pack
    given : dict of name or STUDY.name to value, as in `profiles.plan_run`
    out : run folder
    models : what the user gave for --models, which must be nothing

    Raises
    ------
    ParameterError  if a parameter is given that the pack decides, or a study is not in it
    ClassSetError  if a class set of this version is not the one that was packed
    """
    from clipeval.runs.profiles import plan_run

    if models:
        raise ParameterError("--models and --pack exclude each other: a pack holds no model.")
    pack = open_pack(path, expect)
    wanted = [get_study(name).id for name in studies] or list(pack.manifest["studies"])
    for name in given:
        if (bare := name.split(".")[-1]) in FIXED:
            raise ParameterError(
                f"-p {name} cannot be given with --pack, as the pack decides {bare}; leave it out."
            )
    entries = {study: pack.study(study) for study in wanted}
    changes = plan_run(wanted, "demo", given)  # refuses what none of the studies knows
    plan = {}
    for study in STUDIES:
        if study not in entries:
            continue
        own = [n for n in changes[study].model_fields_set if n in given or f"{study}.{n}" in given]
        values = pathless(entries[study]["parameters"])  # whoever made it has no say on paths here
        values = {name: v for name, v in values.items() if name not in INCIDENTAL}
        values |= _files(pack, entries[study])
        values |= {name: getattr(changes[study], name) for name in own}
        folder = entries[study].get("data", "")
        values |= {"data": str(pack.root / folder) if folder else ""}
        values |= {"pack": str(pack.path), "out": str(out)}
        plan[study] = parse(get_study(study).Parameters, values, study=study)
    return plan


def _files(pack: Pack, entry: dict) -> dict[str, str]:
    """Parameters that name a user's own class set or templates: the unpacked file instead."""
    found = {}
    for name, member in entry.get("files", {}).items():
        value, path = entry["parameters"][name], pack.file(member)
        if value.startswith(path.name):
            found[name] = f"{path}{value.removeprefix(path.name)}"
            continue
        load = load_templates if name == "templates" else load_class_set
        variant = value[value.find(":") :] if ":" in value else ""
        ours, theirs = load(value), load(f"{path}{variant}")
        if ours.hash != theirs.hash:
            raise ClassSetError(
                f"{value} is v{ours.version} here and not what {pack.path.name} was made with "
                f"(v{theirs.version}); use clipeval {pack.manifest['clipeval']}, or -p "
                f"{name}={path}{variant}."
            )
    return found


def compare_tables(path: str | Path, out: str | Path, changed: bool = False) -> tuple[str, bool]:
    """Are the tables in run folder `out` those of the run that was packed?

    Parameters
    ----------
    path : the pack
    out : run folder of its replay
    changed : whether it was run with parameters of the user's own

    Returns
    -------
    one sentence, and whether the tables are what they are expected to be: the same, unless
    parameters, versions or code are others
    """
    manifest = open_pack(path).manifest
    there = [s for s in manifest["studies"] if (Path(out) / s / "study.json").is_file()]
    if set(there) != set(manifest["studies"]):
        there = [study for study in there if not get_study(study).is_summary]
    total, differ = 0, []
    for study in there:
        for name, listed in manifest["studies"][study]["tables"].items():
            file = Path(out) / study / "tables" / f"{name}.csv"
            same = file.is_file() and file_sha256(file) == listed
            total += 1
            differ += [] if same else [f"{study}/{name}"]
    if not total:
        return "No table could be compared with those of the run that was packed.", False
    if not differ:
        return f"All {total} tables equal those of the run that was packed, byte for byte.", True
    said = f"{len(differ)} of {total} tables differ from those of the run that was packed: "
    said += ", ".join(differ)
    if changed:
        return f"{said}; it ran with other parameters.", True
    if versions := _other_versions(manifest):
        return f"{said}; it was packed with other versions: {versions}.", True
    if code := _other_code(manifest):
        return (
            f"{said}; it was run by other code, {code}, and a difference may come from that.",
            True,
        )
    return (
        f"{said}. This pack does not reproduce its own tables, with the same parameters and "
        "versions: something in it was changed; get it from its source again.",
        False,
    )


def _other_versions(manifest: dict) -> str:
    """Packages of another version than in the run that was packed, if they can change a table.

    What embeds cannot: the embeddings are those of the pack.
    """
    ours, found = package_versions(), {}
    for entry in manifest["studies"].values():
        for name, theirs in deciding(entry.get("versions", {}), COUNT).items():
            if theirs != ours.get(name):
                found[name] = f"{name} {theirs} (here {ours.get(name)})"
    return ", ".join(found.values())


def _other_code(manifest: dict) -> str:
    """Version and commit of the code that ran what was packed, beside those here; "" where it is the same."""
    ours = code_version()
    for entry in manifest["studies"].values():
        theirs = entry.get("code") or {}
        if theirs.get("sha256", ours["sha256"]) != ours["sha256"]:
            versions = (
                f"{c.get('version')} at {(c.get('commit') or '?')[:7]}" for c in (theirs, ours)
            )
            return "clipeval {} (here {})".format(*versions)
    return ""

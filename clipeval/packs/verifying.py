"""Whether what a run folder or a pack says is what its answers give.

Every file is held against the list of what clipeval wrote. Then every study is run again from the answers
that were kept, without images and without a model, and its tables and figures are held against those that
are there: who edits a number, and the list with it, is found out all the same.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from filecmp import cmp
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.classify.word_files import yaml_file
from clipeval.errors import DataError, ParameterError
from clipeval.files import LIST, Folder, file_sha256, sha256
from clipeval.output.csv_files import read_csv
from clipeval.output.provenance import INCIDENTAL, code_version, package_versions, pathless
from clipeval.packs.files import OF_HERE, altered
from clipeval.packs.replay import compare_tables, plan_pack
from clipeval.runs.finished import load_run
from clipeval.session.parameters import Parameters, parse
from clipeval.session.record import StudyRecord, read_studies
from clipeval.sources.pack_file import open_pack
from clipeval.sources.recorded import ANSWERS, DATA, WORDS
from clipeval.studies import STUDIES, get_study

#: what decides the bytes of a figure, beside its numbers
_DRAWING = ("matplotlib", "fonttools", "pillow")


@dataclass(frozen=True)
class Doubt:
    """A file that differs from what it should be, or that could not be held against anything."""

    file: str
    """Path below the run folder."""
    reason: str
    """Half a sentence."""

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass
class Verified:
    """What was found; all is well where `differs` and `not_verified` are empty."""

    path: str
    """The run folder or pack."""
    sha256: str
    """Over all that clipeval wrote into the folder; of a pack, of its manifest."""
    files: int = 0
    """Files that are as clipeval wrote them."""
    tables: int = 0
    """Tables that were made again, the same."""
    figures: int = 0
    """Figures that were drawn again, the same."""
    differs: list[Doubt] = field(default_factory=list)
    not_verified: list[Doubt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader must know beside: sentences."""

    @property
    def well(self) -> bool:
        """Whether nothing differs, and every table could be made again."""
        return not self.differs and not self.not_verified

    def to_json(self) -> dict:
        """The same as plain values, `verified` first."""
        return {"verified": self.well} | asdict(self)


def verify(path: str | Path, *, expect: str = "", jobs: int = 0) -> Verified:
    """Hold a run folder, or a pack, against its own answers.

    Parameters
    ----------
    path : run folder, or a file that `clipeval pack` wrote
    expect : sha256 that it must have, as it was published; "" for none
    jobs : studies at once; 0 for one a core

    Returns
    -------
    Verified

    Raises
    ------
    DataError  if it is neither, or a pack whose members are not those of its manifest
    """
    path = Path(path).expanduser().resolve()
    if not path.exists():
        raise DataError(
            f"{path} does not exist; give a run folder, or a file that `clipeval pack` wrote."
        )
    with tempfile.TemporaryDirectory(prefix="clipeval-verify-") as again:
        found = (_verify_run if path.is_dir() else _verify_pack)(path, Path(again) / "run", jobs)
    if expect and expect.lower() != found.sha256:
        found.differs.insert(0, Doubt(".", f"its sha256 is {found.sha256} and not {expect}"))
    return found


# -- a run folder ----------------------------------------------------------------------------------


def _verify_run(run: Path, again: Path, jobs: int) -> Verified:
    load_run(run)  # refuses what is no run folder
    found = Verified(run.name, run_sha256(run))
    found.differs += [Doubt(file.as_posix(), reason) for file, reason in altered(run)]
    found.files = len(_listed(run))
    records = read_studies(run)
    plan = {}
    for study, record in records.items():
        try:
            plan[study] = _parameters(run, record, again)
        except (DataError, ParameterError) as error:
            found.not_verified.append(Doubt(study, str(error)))
    plan = {study: plan[study] for study in STUDIES if study in plan}
    errors = _run_again(plan, again, jobs) if plan else {}
    lacking = [study for study in records if errors.get(study, "not run")]
    for study in plan:
        if lacking and get_study(study).is_summary:
            errors[study] = f"it is made of {', '.join(lacking)}, which could not be run again"
            Folder(again / study).clear()
        _compare(found, study, records[study], run, again, errors.get(study, ""))
    return found


def run_sha256(run: Path) -> str:
    """One hash for all that clipeval wrote into a run folder, whatever the folder is called.

    Files that stay on one machine (local.json), and those that other programs left, do not count.
    """
    lines = [f"{file_sha256(path)}  {path.relative_to(run).as_posix()}\n" for path in _listed(run)]
    return sha256("".join(lines))


def _listed(run: Path) -> list[Path]:
    return [path for path in Folder(run).owned() if path.relative_to(run).as_posix() not in OF_HERE]


def _parameters(run: Path, record: StudyRecord, out: Path) -> Parameters:
    """Parameters with which a study is run again from the answers in its folder."""
    study, folder = get_study(record.study), run / record.study
    known = study.Parameters.model_fields
    # whoever made the folder has no say on paths here
    values = {
        k: pathless(v) for k, v in record.parameters.items() if k not in INCIDENTAL and k in known
    }
    for name, value in values.items():
        if (path := yaml_file(value)) and (own := folder / WORDS / path.name).is_file():
            values[name] = f"{own}{value.removeprefix(str(path))}"
    data = folder / DATA
    values |= {"data": str(data) if data.is_dir() else "", "pack": str(run), "out": str(out)}
    return parse(study.Parameters, values, study=study.id)


def _run_again(plan: dict[str, Parameters], again: Path, jobs: int) -> dict[str, str]:
    """Run studies into another folder; returns the error of each one that failed."""
    from clipeval.runs.runner import run_studies

    outcomes = run_studies(plan, again, jobs=jobs, resume=False, progress=False)
    return {outcome.study: outcome.error for outcome in outcomes}


def _compare(found: Verified, study: str, record: StudyRecord, run: Path, again: Path, error: str):
    """Hold the tables, figures and sentences of a study against those made again."""
    theirs, ours = run / study, again / study
    others = _other_versions(record)
    if error:  # what it made before it failed is held against what is there all the same
        found.not_verified.append(Doubt(study, f"it cannot be run again: {error}"))
    for name in [n for kind in ("tables", "figures") for n in _names(theirs, ours, f"{kind}/*.*")]:
        kept, made, name = theirs / name, ours / name, f"{study}/{name}"
        if not kept.is_file():
            found.differs.append(Doubt(name, "it is missing"))
        elif not made.is_file():
            reason = "" if error else ": this version of clipeval does not make it"
            found.not_verified.append(Doubt(name, f"not made again{reason}"))
        elif kept.suffix == ".csv":
            said = difference(kept, made)
            found.tables += not said
            found.differs += [Doubt(name, said)] * bool(said)
        elif cmp(kept, made, shallow=False):
            found.figures += kept.suffix == ".svg"
        elif kept.suffix == ".tex":
            found.differs.append(Doubt(name, "it is not its table"))
        elif not others:
            found.differs.append(Doubt(name, "it does not draw its table"))
    if others:
        found.notes.append(f"Figures of {study} are verified by their hashes alone: {others}.")
    if (ours / "study.json").is_file():
        _compare_record(found, study, record, read_studies(again)[study])


def _names(theirs: Path, ours: Path, pattern: str) -> list[str]:
    """Files of either folder, as paths below it."""
    found = {
        p.relative_to(f).as_posix()
        for f in (theirs, ours)
        for p in f.glob(pattern)
        if p.name != LIST
    }
    return sorted(found)


def _compare_record(found: Verified, study: str, theirs: StudyRecord, ours: StudyRecord) -> None:
    name = f"{study}/study.json"
    if theirs.finding != ours.finding:
        found.differs.append(Doubt(name, "its finding is not what its tables say"))
    if theirs.dataset and ours.dataset and theirs.dataset.hash != ours.dataset.hash:
        found.differs.append(Doubt(name, f"its data are not those in {ANSWERS}/images.parquet"))
    if theirs.prompts_hash != ours.prompts_hash:
        found.differs.append(Doubt(f"{study}/prompts.json", "its prompts are not those on record"))
    here = code_version()["sha256"]
    if theirs.code and theirs.code.sha256 != here:
        found.notes.append(
            f"{study} was run by other code (clipeval {theirs.code.version}): a difference may come from that."
        )


def _other_versions(record: StudyRecord) -> str:
    ours = package_versions()
    other = [f"{n} {v}" for n in _DRAWING if (v := record.versions.get(n)) and v != ours.get(n)]
    here = ", ".join(f"{n} {ours.get(n)}" for n in _DRAWING)
    return f"they were drawn with {', '.join(other)} (here {here})" if other else ""


def difference(kept: Path, made: Path) -> str:
    """Where a table differs from the same one made again: its first cell, or "" where it does not.

    Parameters
    ----------
    kept, made : CSV files
    """
    if cmp(kept, made, shallow=False):
        return ""
    theirs, ours = read_csv(kept), read_csv(made)
    if list(theirs) != list(ours):
        odd = next(iter({*theirs} ^ {*ours}), "their order")
        return f"its columns are not those of the answers ({odd})"
    if len(theirs) != len(ours):
        return f"it has {len(theirs):,} rows, and the answers give {len(ours):,}"
    for column in ours:
        for row in _unequal(theirs[column], ours[column]):
            groups = list(ours.columns[: list(ours.columns).index("n")]) if "n" in ours else []
            where = ", ".join(str(ours[name][row]) for name in groups)
            return (
                f"{column} of row {row + 1}{f' ({where})' if where else ''} is {theirs[column][row]}, and the "
                f"answers give {ours[column][row]}"
            )
    return ""  # the same values in other bytes: another machine's sums


def _unequal(theirs: pd.Series, ours: pd.Series) -> Iterator[int]:
    """Rows in which two columns differ, by more than another machine's sums do."""
    if pd.api.types.is_numeric_dtype(theirs) and pd.api.types.is_numeric_dtype(ours):
        same = np.isclose(
            theirs.astype(float), ours.astype(float), rtol=1e-6, atol=1e-6, equal_nan=True
        )
    else:
        same = ((theirs == ours) | (theirs.isna() & ours.isna())).to_numpy(bool)
    yield from np.flatnonzero(~same)


# -- a pack ----------------------------------------------------------------------------------------


def _verify_pack(path: Path, again: Path, jobs: int) -> Verified:
    pack = open_pack(path)  # every member has the hash that the manifest lists
    found = Verified(path.name, pack.sha256, files=len(pack.manifest["members"]))
    errors = _run_again(plan_pack(path, [], {}, again), again, jobs)
    for study, error in errors.items():
        if error:
            found.not_verified.append(Doubt(study, f"it cannot be run again: {error}"))
    said, as_expected = compare_tables(path, again)
    if as_expected:
        found.notes.append(said)
    for study in errors:
        for name, listed in pack.manifest["studies"][study]["tables"].items():
            made = again / study / "tables" / f"{name}.csv"
            if made.is_file() and file_sha256(made) == listed:
                found.tables += 1
            elif not errors[study]:
                file = f"{study}/tables/{name}.csv"
                why = "made again, it has another hash than the manifest lists"
                (found.notes if as_expected else found.differs).append(Doubt(file, why))
    found.notes = [str(note) for note in found.notes]
    return found


def said(found: Verified) -> list[str]:
    """What `clipeval verify` prints, a line each."""
    lines = [f"differs       {doubt}" for doubt in found.differs]
    lines += [f"not verified  {doubt}" for doubt in found.not_verified]
    lines += [f"note          {note}" for note in found.notes]
    lines.append(
        f"{found.path}: {found.files:,} files as they were written, {found.tables} tables made again from the "
        f"answers, the same, {found.figures} figures drawn again, the same; "
        f"{len(found.differs)} differ, {len(found.not_verified)} not verified."
    )
    return [*lines, f"sha256 {found.sha256}"]

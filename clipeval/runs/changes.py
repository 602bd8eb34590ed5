"""What changed between two runs into one folder: what they were made from, and by how much the results moved.

Before a study runs again its results are set aside in OUT/.before, and they stay there until it has
finished; so a run that fails or is stopped still knows what it is compared with.
"""

import json
from contextlib import suppress
from filecmp import cmp
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.files import Folder
from clipeval.output.csv_files import read_csv
from clipeval.output.provenance import HOW
from clipeval.session.local_paths import told
from clipeval.session.record import StudyRecord, read_study

#: where the results of the run before wait
BEFORE = ".before"
_KEYS = ["image_id", "task", "method", "class_set", "templates"]


def set_aside(out: Path, study: str) -> None:
    """Clear OUT/STUDY for a new run; finished results wait in OUT/.before, half ones are removed.

    What clipeval did not write stays where it is; see `clipeval.files.Folder`.
    """
    folder, before = Folder(out / study), Folder(out / BEFORE / study)
    if (folder.path / "study.json").is_file():
        before.clear()
        folder.move_to(before.path)
    folder.clear()


def kept_before(out: Path, study: str) -> Path | None:
    """Folder of the results set aside, or None."""
    folder = out / BEFORE / study
    return folder if (folder / "study.json").is_file() else None


def forget(out: Path, study: str) -> None:
    """Remove what was set aside."""
    Folder(out / BEFORE / study).clear()
    with suppress(OSError):  # there is none, or another study's results wait in it
        (out / BEFORE).rmdir()


def made_from(record: StudyRecord) -> dict[str, str]:
    """Everything that decides a study's results, by name."""
    found = {}
    if code := record.code:
        version = f"clipeval {code.version}"
        if code.commit:
            version += f" at {code.commit[:12]}" + (" with changes" if code.dirty else "")
        if code.sha256 and (code.dirty or not code.commit):
            version += f" ({code.sha256[:12]})"  # no commit says what it was
        found["code"] = version
    if model := record.model:
        found["model"] = model.name
        found["weights"] = model.weights_id if model.is_known else "unknown"
        found["preprocess"] = json.dumps(model.preprocess, sort_keys=True)
        found["precision"] = model.precision
    if record.scores:
        found["answers"] = record.scores[:12]
    if data := record.dataset:
        found["data set"] = f"{data.name}, {data.version}, {data.hash[:12]}"
    if train := record.train:
        found["train set"] = f"{train.images:,} images, {train.hash[:12]}"
    for name, words in record.class_sets.items():
        found[f"class set {name.rsplit(' v', 1)[0]}"] = f"{name}, {words.hash[:12]}"
    for name, words in record.templates.items():
        found["templates"] = f"{name}, {words.hash[:12]}"
    if record.prompts_hash:
        found["prompts"] = record.prompts_hash[:12]
    for name, value in record.drawn_from.items():
        found[f"results of {name}"] = str(value)[:12]
    for name, value in told(record.parameters).items():
        if name not in HOW:
            found[f"parameter {name}"] = json.dumps(value)
    return found | {f"version of {k}": str(v) for k, v in record.versions.items()}


def causes(before: StudyRecord, after: StudyRecord) -> list[dict]:
    """What two runs of a study were made from and differ in: code, data, classes, parameters, versions.

    Parameters
    ----------
    before, after : what each run recorded

    Returns
    -------
    list of dict with `what`, `before` and `after` (None where one of them has no such thing)
    """
    old, new = made_from(before), made_from(after)
    return [
        {"what": name, "before": old.get(name), "after": new.get(name)}
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def effects(before: pd.DataFrame, after: pd.DataFrame) -> dict:
    """By how much a study's table moved.

    Parameters
    ----------
    before, after : the table as read from its CSV: groups, n, metric, percent (0-100), ...

    Returns
    -------
    dict with `rows` (in both), `moved` (rows whose percent differs), `added`, `removed`, and `largest`:
    row (its groups and metric), before, after and by (percentage points), or None
    """
    from clipeval.output.tables import group_columns

    keys = [name for name in [*group_columns(after), "metric"] if name in before]
    sides = [_keyed(table, keys) for table in (before, after)]
    old, new = sides
    both = [key for key in new if key in old]
    moved = {
        key: new[key] - old[key]
        for key in both
        if not np.isclose(new[key], old[key], rtol=0, atol=5e-5, equal_nan=True)
    }
    found = {
        "rows": len(both),
        "moved": len(moved),
        "added": len(new) - len(both),
        "removed": len(old) - len(both),
        "largest": None,
    }
    if moved:
        top = max(moved, key=lambda key: np.nan_to_num(abs(moved[key]), nan=np.inf))
        values = [None if np.isnan(v) else round(v, 4) for v in (old[top], new[top], moved[top])]
        row = {k: v for k, v in zip(keys, top[: len(keys)], strict=True) if v}
        found["largest"] = {"row": row} | dict(zip(("before", "after", "by"), values, strict=True))
    return found


def _keyed(table: pd.DataFrame, keys: list[str]) -> dict[tuple, float]:
    """Percent by groups; a row that repeats another's is told apart by its number."""
    names = table[keys].astype(object).where(table[keys].notna(), "").astype(str)
    count = names.groupby(keys, sort=False).cumcount()
    rows = zip(names.itertuples(index=False, name=None), count, strict=True)
    percents = pd.to_numeric(table["percent"])
    return {(*row, i): float(v) for (row, i), v in zip(rows, percents, strict=True)}


def _labels(path: Path) -> pd.DataFrame:
    """Top label of each image and task; the class set without its version."""
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    columns = [name for name in [*_KEYS, "label", "rank"] if name in names]
    table = pd.read_parquet(path, columns=columns)
    if "rank" in table:
        table = table[table["rank"] == 1].drop(columns="rank")
    table = table.astype(str)
    for name in ("class_set", "templates"):
        if name in table:
            table[name] = table[name].str.replace(r" v[^ ]*$", "", regex=True)
    return table.drop_duplicates([name for name in _KEYS if name in table])


def label_changes(before: Path, after: Path) -> dict:
    """How many top labels differ between two predictions.parquet, joined on image id and task.

    Returns
    -------
    dict with `labels` (in both), `changed`, `by_task` (task -> changed), `added` and `removed`
    """
    old, new = _labels(before), _labels(after)
    keys = [name for name in _KEYS if name in old and name in new]
    both = old.merge(new, on=keys, how="outer", suffixes=("_old", "_new"), indicator=True)
    shared = both[both["_merge"] == "both"]
    changed = shared[shared["label_old"] != shared["label_new"]]
    by_task = changed["task"].value_counts(sort=False) if "task" in keys else {}
    return {
        "labels": len(shared),
        "changed": len(changed),
        "by_task": {str(task): int(count) for task, count in by_task.items() if count},
        "added": int((both["_merge"] == "right_only").sum()),
        "removed": int((both["_merge"] == "left_only").sum()),
    }


def compare_study(before: Path, after: Path) -> dict:
    """What changed between two runs of one study.

    Parameters
    ----------
    before, after : the study's folder as each run left it

    Returns
    -------
    dict with `causes` (see `causes`), `tables` (id -> see `effects`, only those that differ), `new_tables`,
    `lost_tables` and `labels` (see `label_changes`; None where nothing differs)
    """
    old, new = read_study(before), read_study(after)
    names = [{path.stem for path in folder.glob("tables/*.csv")} for folder in (before, after)]
    tables = {}
    for name in sorted(names[0] & names[1]):
        paths = [folder / "tables" / f"{name}.csv" for folder in (before, after)]
        if not cmp(*paths, shallow=False):
            tables[name] = effects(*map(read_csv, paths))
    predictions = [folder / "predictions.parquet" for folder in (before, after)]
    both = all(path.is_file() for path in predictions)
    differ = both and not cmp(*predictions, shallow=False)
    labels = label_changes(*predictions) if differ else None
    return {
        "causes": causes(old, new),
        "tables": tables,
        "new_tables": sorted(names[1] - names[0]),
        "lost_tables": sorted(names[0] - names[1]),
        "labels": labels,
    }


def summary(changes: dict) -> str:
    """Whether results differ from the run before and in which studies: one sentence; see `sentences`."""
    moved = [study for study, found in changes.items() if _effects(found)]
    if not moved:
        return "Compared with the previous run no number and no label changed."
    return f"Compared with the previous run results changed in {', '.join(moved)}."


def sentences(changes: dict) -> list[str]:
    """`compare_study` of each study, as sentences; what is the same for several is said once.

    Parameters
    ----------
    changes : dict of study id to what `compare_study` returns
    """
    said: dict[str, list[str]] = {}
    for study, found in changes.items():
        for cause in found["causes"]:
            said.setdefault(_cause(cause), []).append(study)
    lines = [f"{line} ({_studies(studies, changes)})." for line, studies in said.items()]
    for study, found in changes.items():
        lines += [f"{study}: {effect}" for effect in _effects(found)]
    still = [study for study, found in changes.items() if not _effects(found)]
    if still and len(still) == len(changes):
        return [*lines, "Every number and label is the same." if lines else "Nothing changed."]
    if still:
        lines.append(f"{', '.join(still)}: every number and label is the same.")
    return lines


def read(out: Path) -> dict:
    """`compare_study` of each study of a run folder, as its run kept it; nothing where there was no run before."""
    with suppress(OSError, ValueError):
        return json.loads((out / "changes.json").read_text("utf-8"))
    return {}


def said(out: Path) -> list[str]:
    """Lines on what changed in a run folder since the run before; none where there was none."""
    if not (found := read(out)):
        return []
    return ["Compared with the previous run:", *(f"  {line}" for line in sentences(found))]


def _studies(studies: list[str], changes: dict) -> str:
    return "all studies" if len(studies) == len(changes) > 1 else ", ".join(studies)


def _cause(cause: dict) -> str:
    if cause["before"] is None:
        return f"New: {cause['what']} {cause['after']}"
    if cause["after"] is None:
        return f"No longer there: {cause['what']} {cause['before']}"
    return f"{cause['what'].capitalize()}: {cause['before']} became {cause['after']}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _move(points: float | None) -> str:
    if points is None:
        return "from or to no value"
    if abs(points) < 0.005:
        return "by less than 0.01 points"
    return f"by {points:+.2f} points".replace("-", "−")


def _effects(found: dict) -> list[str]:
    """What moved in one study, a sentence a table."""
    lines = []
    for name, table in found["tables"].items():
        parts = []
        if table["moved"]:
            top = table["largest"]
            row = ", ".join(top["row"].values())
            rows = f"{table['moved']:,} of {_rows(table['rows'])}"
            parts.append(f"{rows} moved, the largest {_move(top['by'])} ({row})")
        parts += [f"{_rows(table[what])} {what}" for what in ("added", "removed") if table[what]]
        lines.append(
            f"table {name}: {'; '.join(parts) or 'the percents are the same, other columns differ'}."
        )
    lines += [f"table {name} is new." for name in found["new_tables"]]
    lines += [f"table {name} is gone." for name in found["lost_tables"]]
    labels = found["labels"]
    if labels:
        parts = [f"{labels['changed']:,} of {labels['labels']:,} top labels changed"]
        parts += [f"{labels[what]:,} {what}" for what in ("added", "removed") if labels[what]]
        alone = not (labels["changed"] or labels["added"] or labels["removed"])
        lines.append(
            "no top label changed, probabilities did." if alone else f"{', '.join(parts)}."
        )
    return lines

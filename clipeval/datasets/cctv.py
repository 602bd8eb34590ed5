"""CCTV: a folder of frames and a CSV of captions written by hand."""

from pathlib import Path

import pandas as pd

from clipeval.datasets import base, labelfile, parquet
from clipeval.datasets.groups import refuse_spellings
from clipeval.datasets.labelfile import quoted
from clipeval.errors import DataError

COLUMNS = (
    "image_id",
    "file",
    "sequence",
    "frame",
    "caption",
    "close_caption",
    "present_caption",
    "absent_caption",
    "fine_truth",
)
MIN_OPTIONS = 6  # captions to choose from in the published study, at least
CAPTIONS = ("caption", "close_caption", "present_caption", "absent_caption", "fine_truth")
_HOLDS = "the folder with frames.csv (file, caption, ...) and the frames (or the path of that CSV)"


def caption_key(caption: str) -> str:
    """Captions that differ only in case or spaces are the same caption, and have the same key."""
    return " ".join(caption.casefold().split())


def load(data: str = "", *, title: str = "", licence: str = "", citation: str = "") -> pd.DataFrame:
    """Frames of fixed cameras with their captions, as an images table.

    Parameters
    ----------
    data : the folder with `frames.csv`, or the path of such a CSV; columns `file` and `caption`,
        and optionally image_id (else the file is the id), sequence (else the file's folder), frame,
        close_caption, present_caption, absent_caption, fine_truth (present, absent or empty).
        `sequences.csv` beside it may give each sequence's main_caption.
    title, licence, citation : what reports say of the frames

    Returns
    -------
    DataFrame: image_id, file, sequence (categorical), then frame, caption, close_caption,
    present_caption, absent_caption, fine_truth, main_caption (str, NA where empty). A frame without
    a caption is kept, and counted in attrs["notes"].

    Raises
    ------
    DataError
        For the first of the problems that there are; its `problems` are all: images that are missing or
        stand twice, a close caption that is missing, equal to the caption or on offer already as a caption
        of another sequence, a fine_truth that is not present, absent or empty or lacks its two captions,
        sequences without a row in `sequences.csv` or with the same main caption.
    """
    frames, path = _frames(data)
    if problems := _problems(frames, path):
        more = f" ({len(problems) - 1:,} more; `clipeval check cctv` lists them)"
        raise DataError(problems[0] + more * (len(problems) > 1), problems)
    table = frames.drop(columns=["file"])
    table["file"] = base.need_images(path.parent, frames["file"], path)
    for column in ("main_caption", *CAPTIONS):
        table[column] = table[column].astype("string").replace("", pd.NA)
    if (table["frame"].str.fullmatch(r"\d+")).all():
        table["frame"] = table["frame"].astype(int)
    notes = _few_scenes(frames, Path(path.name))  # a note is printed in captions
    uncaptioned = int(table["caption"].isna().sum())
    if uncaptioned:
        notes.insert(
            0,
            f"{uncaptioned:,} of {len(table):,} frames have no caption and are in no coarse or "
            "stress test.",
        )
    return base.finish(
        table,
        name=title or "CCTV frames",
        version=f"{len(table):,} frames of {frames['sequence'].nunique()} sequences",
        licence=licence or "not stated",
        citation=citation,
        labels="Captions were written by hand from the frames by whoever made the CSV.",
        groups=["sequence"],
        notes=notes,
    )


def _frames(data: str | Path) -> tuple[pd.DataFrame, Path]:
    """The captions CSV with all of COLUMNS and main_caption, indexed by line."""
    path = base.need_folder(data, "cctv", _HOLDS)
    path = path / "frames.csv" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path.parent} holds no frames.csv; for cctv, data is {_HOLDS}.")
    frames = parquet.read_rows(path).astype(object).fillna("").astype("str")
    labelfile.need_columns(frames, ["file", "caption"], path)
    for column in COLUMNS:
        if column not in frames:
            frames[column] = ""
    frames["image_id"] = frames["image_id"].where(frames["image_id"] != "", frames["file"])
    folders = frames["file"].str.rpartition("/")[0].str.rpartition("/")[2]
    frames["sequence"] = frames["sequence"].where(frames["sequence"] != "", folders)
    refuse_spellings(frames["sequence"], path)
    scenes = path.parent / "sequences.csv"
    frames["main_caption"] = ""
    if scenes.is_file():
        rows = labelfile.read_table(scenes)
        labelfile.need_columns(rows, ["sequence", "main_caption"], scenes)
        labelfile.refuse_repeats(rows["sequence"], scenes)
        main = dict(zip(rows["sequence"], rows["main_caption"], strict=True))
        frames["main_caption"] = frames["sequence"].map(main).fillna("")
    return frames, path


def _problems(frames: pd.DataFrame, path: Path) -> list[str]:
    """What makes a frame unusable or its truth ambiguous, in the order of the file."""
    found = [
        (
            line,
            f"image {quoted(name)} "
            + (
                base.odd_path(name)
                or f"is not in {path.parent}; correct the name or leave the row out"
            ),
        )
        for (line, name), file in zip(
            frames["file"].items(), base.find_images(path.parent, frames["file"]), strict=True
        )
        if file is None
    ]
    for column in ("file", "image_id"):
        for line in frames.index[frames[column].duplicated()]:
            value = frames[column][line]
            first = frames.index[frames[column] == value][0]
            found.append(
                (line, f"{column} {quoted(value)} already stands in row {first}; keep one")
            )
    scenes = _scenes_of_captions(frames)
    for row in frames.itertuples():
        found += [(row.Index, problem) for problem in _row_problems(row, scenes)]
    lines = [f"{path}, row {line}: {problem}." for line, problem in sorted(found)]
    return lines + _scene_problems(frames, path.parent / "sequences.csv")


def _scenes_of_captions(frames: pd.DataFrame) -> dict[str, set[str]]:
    """Key of a caption -> the sequences that offer it to the frames of others."""
    scenes: dict[str, set[str]] = {}
    for column in ("caption", "main_caption"):
        for caption, sequence in zip(frames[column], frames["sequence"], strict=True):
            if caption:
                scenes.setdefault(caption_key(caption), set()).add(sequence)
    return scenes


def _row_problems(row, scenes: dict[str, set[str]]) -> list[str]:
    close, problems = caption_key(row.close_caption), []
    elsewhere = scenes.get(close, set())
    if not row.sequence:
        problems.append("sequence is empty; name the clip this frame is from")
    if row.caption and not row.close_caption:
        problems.append(
            "close_caption is empty; write one that is nearly true, as the stress test needs it"
        )
    if row.close_caption and not row.caption:
        problems.append("close_caption stands without a caption; write the true caption too")
    if row.caption and caption_key(row.caption) == close:
        problems.append(
            f"close_caption {quoted(row.close_caption)} equals the caption; change one detail"
        )
    elif close and elsewhere and row.sequence not in elsewhere:
        problems.append(
            f"close_caption {quoted(row.close_caption)} is on offer already, as a caption of sequence "
            f"{labelfile.few(sorted(elsewhere))}; change another detail"
        )
    if row.fine_truth not in ("present", "absent", ""):
        problems.append(
            f"fine_truth {quoted(row.fine_truth)} is not present, absent or empty; use one"
        )
    elif row.fine_truth and not (row.present_caption and row.absent_caption):
        problems.append("fine_truth needs both present_caption and absent_caption; write both")
    elif row.fine_truth and caption_key(row.present_caption) == caption_key(row.absent_caption):
        problems.append("present_caption equals absent_caption; say in one what is missing")
    return problems


def _scene_problems(frames: pd.DataFrame, scenes: Path) -> list[str]:
    if not scenes.is_file():
        return []
    main = frames.drop_duplicates("sequence").set_index("sequence")["main_caption"]
    problems = [
        f"{scenes}: sequence {quoted(sequence)} of frames.csv has no main_caption; add it."
        for sequence in main.index[main == ""]
    ]
    for caption, same in main[main != ""].groupby(main.map(caption_key)):
        if len(same) > 1:
            problems.append(
                f"{scenes}: sequences {labelfile.few(same.index)} have the same main_caption "
                f'"{caption}"; '
                "say what sets them apart."
            )
    return problems


def _few_scenes(frames: pd.DataFrame, path: Path) -> list[str]:
    captioned = frames[frames["caption"] != ""]
    scenes = captioned["sequence"].nunique()
    if scenes >= MIN_OPTIONS:
        return []
    return [
        f"{path}: captions of only {scenes} sequences to choose from, and the published study "
        f"gives every image at least {MIN_OPTIONS} options; add frames of other scenes."
    ]

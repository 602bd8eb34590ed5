"""UTKFace (Zhang et al. 2017): a folder of faces whose file names are their labels."""

import re
from pathlib import Path

import pandas as pd

from clipeval.datasets import base
from clipeval.datasets.fairface import AGES
from clipeval.datasets.groups import group_columns
from clipeval.datasets.labelfile import few
from clipeval.errors import DataError

_HOLDS = "the folder with the images of UTKFace.tar.gz (or of its parts), named 25_0_2_2017....jpg"
# age, gender, race, date and time; then .jpg or .jpg.chip.jpg
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d{8,20})(\..*)?")
_GENDERS = ("Male", "Female")  # 0, 1
_RACES = ("White", "Black", "Asian", "Indian", "Other")  # 0 to 4
_STARTS = (0, 3, 10, 20, 30, 40, 50, 60, 70)  # of FairFace's age bins
_WHOLE = 23_708
_CITATION = (
    "Zhang, Z., Song, Y. and Qi, H. (2017). Age Progression/Regression by Conditional Adversarial "
    "Autoencoder. CVPR 2017."
)
_LABELS = (
    "Age, gender and race were estimated by an algorithm (DEX) and checked by a human annotator; they "
    "are not self-identification."
)


def load(data: str = "", *, groups: str = "") -> pd.DataFrame:
    """UTKFace as an images table.

    Parameters
    ----------
    data : folder of images named `AGE_GENDER_RACE_DATETIME.jpg` (or `.jpg.chip.jpg`), in its folders
        too
    groups : "" for age in FairFace's nine bins, gender and race; or as in `groups.group_columns`,
        where age is in years ("gender,age:18:65")

    Returns
    -------
    DataFrame: image_id (path within the folder), file, the groups, age_years (int). Images whose
    name lacks a part of its label are left out, and named in attrs["notes"].

    Raises
    ------
    DataError  if no image is named so, or a photograph is in two folders
    """
    root = base.need_folder(data, "utkface", _HOLDS)
    images, others = base.sort_files(root)
    labelled = [(name, _NAME.fullmatch(Path(name).name)) for name in images]
    good = [(name, match) for name, match in labelled if match]
    if not good:
        raise DataError(
            f"{root} holds no image that is named as UTKFace's are; for utkface, data is {_HOLDS}."
        )
    _refuse_twins([name for name, _ in good], root)
    ages = [int(match[1]) for _, match in good]
    labels = pd.DataFrame(
        {
            "file": [str(root.absolute() / name) for name, _ in good],
            "age": ages,
            "gender": pd.Categorical(
                [_GENDERS[int(m[2])] for _, m in good], _GENDERS, ordered=True
            ),
            "race": pd.Categorical([_RACES[int(m[3])] for _, m in good], _RACES, ordered=True),
            "age_years": ages,
        },
        index=pd.Index([name for name, _ in good], name="image_id"),
    )
    if groups:
        chosen, _ = group_columns(labels, groups, path=root, of="image")
    else:
        bins = pd.cut(ages, [*_STARTS, float("inf")], right=False, labels=list(AGES))
        chosen = {"age": bins, "gender": labels["gender"], "race": labels["race"]}
    table = labels.drop(columns="age").assign(**chosen).reset_index()
    bad = [name for name, match in labelled if not match]
    notes = base.left_out(bad, "age, gender or race is missing in the name")
    notes += base.left_out(others, "not images")
    if len(good) + len(bad) != _WHOLE:
        notes.append(f"{len(good):,} images; the aligned and cropped release has {_WHOLE:,}.")
    return base.finish(
        table,
        name="UTKFace",
        version="labels of the file names",
        licence="non-commercial research only",
        citation=_CITATION,
        terms="For non-commercial research only; the images belong to their owners.",
        labels=_LABELS,
        groups=list(chosen),
        notes=notes,
    )


def _refuse_twins(names: list[str], root: Path) -> None:
    """Refuse one photograph in two folders, as in downloads that hold several releases."""
    seen: dict[str, str] = {}
    for name in names:
        label = Path(name).name.partition(".")[0]
        if (first := seen.setdefault(label, name)) != name:
            raise DataError(
                f"{root} holds one photograph in two releases ({few([first, name])}); give the folder "
                "of one of them as data."
            )

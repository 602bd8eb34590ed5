"""Label files on disk to an images table: one module a data set, each with a function that returns it.

`load_dataset` loads one by its name, `list_datasets` says which there are, `register_dataset` adds one.

An images table has one row an image: `image_id`, `file` (absolute path), for images inside a
parquet file `row`, then group columns as ordered categoricals; its `attrs` say whose data and
labels these are and on what terms.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

import pandas as pd

from clipeval.datasets.base import one_of_each, sample
from clipeval.errors import DataError, ParameterError, as_text

__all__ = [
    "dataset_options",
    "explain_missing",
    "label_files",
    "list_datasets",
    "load_dataset",
    "refusal_to_share",
    "register_dataset",
]


#: licences under which labels may be passed on; packs repeat the name, and attribution is the user's to keep
SHARING = ("CC0", "CC BY", "CC BY-SA", "CC BY-NC", "CC BY-NC-SA", "PDDL", "ODC-By", "ODbL")
SHARING += ("CDLA-Permissive", "MIT", "Apache", "BSD-3-Clause")


@dataclass(frozen=True)
class _Entry:
    """A data set.

    Attributes
    ----------
    options : keyword arguments of its module's `load`
    labels_may_be_shared : "yes", "no", or "if stated": where the user names a licence that allows it
    because : why, as the end of a sentence
    read : what returns its images table; None for `load` of the module of this package with its name
    """

    about: str
    licence: str
    options: tuple[str, ...] = ()
    labels_may_be_shared: str = "no"
    because: str = "nothing is known of its terms"
    read: Callable[..., pd.DataFrame] | None = None


_REGISTRY = {
    "fairface": _Entry(
        "FairFace: faces labelled by age, gender and race",
        "CC BY 4.0",
        ("split", "padding", "strict"),
        "yes",
        "CC BY 4.0 allows it, with attribution",
    ),
    "utkface": _Entry(
        "UTKFace: faces labelled by age, gender and race in their file names",
        "non-commercial research only",
        ("groups",),
        "no",
        "UTKFace is for non-commercial research and its labels are its images' names",
    ),
    "cfd": _Entry(
        "Chicago Face Database: portraits by self-reported race and gender",
        "non-commercial research only, on its makers' terms",
        ("expression", "groups"),
        "no",
        "its makers' terms forbid to pass on images and norming data",
    ),
    "congress": _Entry(
        "Members of Congress (Schwemmer et al. 2020): portraits by gender",
        "photographs in the public domain",
        ("groups",),
        "yes",
        "gender and labels are published replication data; cite the article",
    ),
    "cctv": _Entry(
        "Frames of fixed cameras with captions written by hand",
        "as the frames",
        ("title", "licence", "citation"),
        "if stated",
        "the captions are whoever wrote them to give",
    ),
    "celebrities": _Entry(
        "People by name: a folder a person, a CSV, or CelebA with a list of names",
        "as the photographs; CelebA: non-commercial research only",
        ("names", "files", "partition", "groups"),
        "no",
        "CelebA's agreement forbids to pass on any part of it, and of other photographs of named "
        "people no licence is known",
    ),
    "manifest": _Entry(
        "Any CSV, TSV or parquet with a column file and group columns, or a folder of images",
        "as the images",
        ("file", "columns", "groups", "person", "title", "licence", "citation", "labelled_by"),
        "if stated",
        "the labels are yours to give",
    ),
}


def register_dataset(
    name: str,
    read: Callable[..., pd.DataFrame],
    *,
    about: str,
    licence: str,
    options: tuple[str, ...] = (),
    labels_may_be_shared: str = "no",
    because: str = "nothing is known of its terms",
) -> None:
    """Make a data set known by a name.

    Parameters
    ----------
    name : what `load_dataset` and the parameter `dataset` call it
    read : called with `data` and the options; returns an images table
    about, licence : a line each, for lists
    options : names of keyword arguments of `read`
    labels_may_be_shared : "yes", "no", or "if stated": where the user names a licence that allows
        it; see `refusal_to_share`
    because : why, as the end of a sentence
    """
    _REGISTRY[name] = _Entry(about, licence, options, labels_may_be_shared, because, read)


def load_dataset(
    name: str,
    data: str = "",
    *,
    split: str = "val",
    padding: str = "0.25",
    limit: int = 0,
    seed: int = 0,
    **options,
) -> pd.DataFrame:
    """The images table of a data set.

    Parameters
    ----------
    name : one of `list_datasets()`
    data : folder, file or hub id ("hf:OWNER/NAME") that holds it
    split, padding : for the data sets that have them, ignored by the others
    limit : a seeded random sample of that many images, in their original order; 0 for all
    seed : seed of that sample
    options : further options of the data set, as `list_datasets()` shows them; `groups` also as a list, and
        `columns` as a dict

    Returns
    -------
    DataFrame, one row an image: image_id, file, (row,) group columns; attrs name, version, licence,
    citation, terms, labels, groups, notes, and where a column of the user's is not a group, why
    (not_groups)

    Raises
    ------
    ParameterError  if the name or an option is unknown
    DataError  if the data are missing, incomplete or altered

    Examples
    --------
    >>> load_dataset("fairface", "data/fairface", split="val", limit=1000)  # doctest: +SKIP
    """
    entry = _entry(name)
    if unknown := sorted(set(options) - set(entry.options)):
        offered = ", ".join(entry.options) or "none"
        raise ParameterError(
            f'Data set {name} has no option "{unknown[0]}"; its options are: {offered}.'
        )
    options = {key: _text(value) for key, value in options.items()}
    options |= {k: v for k, v in (("split", split), ("padding", padding)) if k in entry.options}
    load = entry.read or import_module(f"clipeval.datasets.{name}").load
    table = load(as_text(data, "data"), **options)
    return sample(one_of_each(table, options.get("person", ""), seed), limit, seed)


def _text(option):
    """A list or dict as the text that stands for it on the command line."""
    if isinstance(option, dict):
        option = [f"{name}:{column}" for name, column in option.items()]
    return ",".join(map(str, option)) if isinstance(option, list | tuple) else option


def _entry(name: str) -> _Entry:
    if name not in _REGISTRY:
        close = get_close_matches(str(name), _REGISTRY, n=3, cutoff=0.5) or list(_REGISTRY)
        raise ParameterError(f'There is no data set "{name}"; did you mean {" or ".join(close)}?')
    return _REGISTRY[name]


def explain_missing(images: pd.DataFrame, names: Sequence[str], needed_by: str) -> None:
    """DataError with file and row, where a column of that name is there and cannot be a group."""
    why = images.attrs.get("not_groups", {})
    for name in names:
        if name in why and name not in images.attrs["groups"]:
            raise DataError(f"{needed_by} needs the group column {name}, and {why[name]}.")


def list_datasets() -> pd.DataFrame:
    """What `load_dataset` can read: dataset, about, licence, options."""
    return pd.DataFrame(
        [
            {
                "dataset": name,
                "about": e.about,
                "licence": e.licence,
                "options": ", ".join(e.options),
            }
            for name, e in _REGISTRY.items()
        ]
    )


def refusal_to_share(name: str, attrs: dict) -> str:
    """Why the labels of a data set may not be passed on; "" where they may.

    Parameters
    ----------
    name : of the data set
    attrs : of its images table, with the licence that the user stated; where that decides, it must
        be one of `SHARING`, as any other text is no permission
    """
    entry, licence = _entry(name), str(attrs.get("licence") or "not stated")
    decides = entry.labels_may_be_shared == "if stated"
    if entry.labels_may_be_shared == "yes" or (decides and allows_sharing(licence)):
        return ""
    why = f"the labels of {attrs.get('name', name)} may not be passed on, as {entry.because}"
    if not decides:
        return why
    said = "their licence is not stated" if licence == "not stated" else f'"{licence[:80]}"'
    said += "" if licence == "not stated" else " is not a licence that is known to allow it"
    return (
        f"{why} and {said}; where they are under one of {', '.join(SHARING)}, run the study again "
        "with -p licence=NAME"
    )


def allows_sharing(licence: str) -> bool:
    """Whether a licence is one of `SHARING`, with or without its version: "CC BY 4.0", "cc-by-4.0"."""
    name = re.sub(r"[\s_-]+", " ", licence).strip().lower()
    name = re.sub(
        r"( licen[cs]e)?( v?\d+(\.\d+)*)?( international| universal)?( licen[cs]e)?$", "", name
    )
    return name in {re.sub(r"[\s_-]+", " ", known).lower() for known in SHARING}


def label_files(name: str, data: str) -> dict[str, bytes]:
    """File name -> content of label files that a study reads beside the images table."""
    if _entry(name).read:
        return {}
    module = import_module(f"clipeval.datasets.{name}")
    return module.label_files(data) if hasattr(module, "label_files") else {}


def dataset_options(name: str) -> tuple[str, ...]:
    """Names of the options that a data set's loader takes; none for an unknown name."""
    return _REGISTRY[name].options if name in _REGISTRY else ()

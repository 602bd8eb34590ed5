"""Members of Congress (Schwemmer et al. 2020): portraits, gender, labels of cloud services."""

from pathlib import Path

import pandas as pd

from clipeval.datasets import base, labelfile
from clipeval.datasets.groups import group_columns
from clipeval.errors import DataError

_PEOPLE = 540
_HOLDS = "the folder with members.tsv and images/ (or the path of members.tsv)"
_CITATION = (
    "Schwemmer, C., Knight, C., Bello-Pardo, E. D., Oklobdzija, S., Schoonvelde, M. and Lockhart, "
    "J. W. (2020). Diagnosing Gender Bias in Image Recognition Systems. Socius 6."
)
_EXTRA = ("name", "age", "ethnicity", "type", "party", "state", "wikipedia_id")
# column of members.tsv -> the service whose labels it holds
_SERVICES = {
    "wiki_img_labels": "gcv",
    "wiki_img_labels_macv": "azure",
    "wiki_img_labels_awsrek": "aws",
}
_CATEGORIES = {
    "occupation": "occupation",
    "physicaltrait_body": "physical trait/body",
    "clothing_apparel": "clothing",
    "color_adjective": "colour",
    "other": "other",
}


def load(data: str = "", *, groups: str = "") -> pd.DataFrame:
    """The photographs of the members of Congress as an images table.

    Parameters
    ----------
    data : the folder with `members.tsv` and `images/`, or the path of `members.tsv`
    groups : columns of `members.tsv` to group by, as in `groups.group_columns` ("gender,party,age:50:65");
        "" for gender

    Returns
    -------
    DataFrame: image_id (path relative to the folder, as in column wiki_img_url), file, gender
    (Male, Female), then name, age, ethnicity, type, party, state as in the file

    Raises
    ------
    DataError  if columns, values or photographs are missing

    Notes
    -----
    Some files named .jpg are PNG, some with an alpha channel: they are decoded by content.
    """
    members, path = _members(data)
    labelfile.need_columns(members, ["name", "gender", "wiki_img_url"], path)
    ids = members["wiki_img_url"].map(base.nfc)
    labelfile.refuse_repeats(ids, path)
    gender = labelfile.categorise(
        members["gender"], ["Male", "Female"], path=path, dataset="Congress", what="gender"
    )
    files = base.need_images(path.parent, ids, path)
    table = pd.DataFrame({"image_id": ids.to_numpy(), "file": files, "gender": gender})
    for column in _EXTRA:
        if column in members:
            table[column] = members[column].to_numpy()
    chosen = {}
    if groups:
        columns = members.drop(columns=["wiki_img_url", *_SERVICES], errors="ignore")
        chosen, _ = group_columns(columns, groups, path=path)
        for column, values in chosen.items():
            if column != "gender":
                table[column] = values
    notes = []
    if len(table) != _PEOPLE:
        notes.append(f"{len(table):,} of the {_PEOPLE} people of Schwemmer et al. (2020).")
    names = list(chosen) or ["gender"]
    told = dict.fromkeys(["gender", *names])
    said = f"{', '.join(told)} {'are' if len(told) > 1 else 'is'} as".capitalize()
    return base.finish(
        table,
        name="Members of Congress",
        version=f"Schwemmer et al. 2020, {len(table):,} people",
        licence="photographs in the public domain; replication data of the article",
        citation=_CITATION,
        terms="The photographs are in the public domain; cite the article for the labels.",
        labels=f"{said} coded in the replication data of Schwemmer et al. (2020).",
        groups=names,
        notes=notes,
    )


def cloud_labels(data: str | Path) -> pd.DataFrame:
    """Every label that Google, Microsoft or Amazon gave to any of the photographs: label set 2.

    Parameters
    ----------
    data : as for `load`

    Returns
    -------
    DataFrame, one row a label in alphabetical order (311 in the replication data): `label` (as in
    the file), `prompt` (spaces for underscores), `category` (hand-coded by Schwemmer et al., ""
    where uncoded or where there is no label_categories.tsv), and for gcv (Google), azure
    (Microsoft) and aws (Amazon) the number of photographs that carry it: `gcv_n`, `gcv_male`,
    `gcv_female` ...; attrs["n"]: gender -> number of photographs

    Source
    ------
    arXiv 2108.02818, section 2.1: the labels of the three services combined.
    """
    members, path = _members(data)
    labelfile.need_columns(members, ["gender", *_SERVICES], path)
    counts = {}
    for column, service in _SERVICES.items():
        # a photograph carries a label once, even where a service repeats it
        given = members[column].map(
            lambda text: sorted({x.strip() for x in text.split(",")} - {""})
        )
        long = members[["gender"]].assign(label=given).explode("label").dropna()
        by_gender = pd.crosstab(long["label"], long["gender"])
        counts[f"{service}_n"] = by_gender.sum(axis=1)
        for gender in ("Male", "Female"):
            counts[f"{service}_{gender.lower()}"] = by_gender.get(gender, 0 * by_gender.sum(axis=1))
    table = pd.DataFrame(counts).fillna(0).astype(int).sort_index()
    table = table.rename_axis("label").reset_index()
    table.insert(1, "prompt", table["label"].str.replace("_", " "))
    coded = path.parent / "label_categories.tsv"
    categories = label_categories(coded) if coded.is_file() else {}
    table.insert(2, "category", table["label"].map(categories).fillna(""))
    table.attrs["n"] = members["gender"].value_counts().to_dict()
    return table


def label_categories(data: str | Path) -> dict[str, str]:
    """Label -> category, as hand-coded by Schwemmer et al. for Google's labels.

    Parameters
    ----------
    data : the folder with `label_categories.tsv` (columns label, cat), or that file

    Returns
    -------
    dict; categories "occupation", "physical trait/body", "clothing", "colour", "other"
    """
    path = Path(data) / "label_categories.tsv" if Path(data).is_dir() else Path(data)
    rows = labelfile.read_table(path)
    labelfile.need_columns(rows, ["label", "cat"], path)
    labelfile.refuse_repeats(rows["label"], path)
    kinds = labelfile.categorise(
        rows["cat"], list(_CATEGORIES), path=path, dataset="Congress", what="label category"
    )
    return {label: _CATEGORIES[kind] for label, kind in zip(rows["label"], kinds, strict=True)}


def label_files(data: str | Path) -> dict[str, bytes]:
    """What `cloud_labels` and `label_categories` read, without names: file name -> content."""
    members, path = _members(data)
    members = members[[c for c in ("gender", *_SERVICES) if c in members]]
    files = {"members.tsv": members}
    coded = path.parent / "label_categories.tsv"
    if coded.is_file():
        files[coded.name] = labelfile.read_table(coded)
    return {n: t.to_csv(sep="\t", index=False).encode() for n, t in files.items()}


def _members(data: str | Path) -> tuple[pd.DataFrame, Path]:
    path = base.need_folder(data, "congress", _HOLDS)
    path = path / "members.tsv" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path.parent} holds no members.tsv; for congress, data is {_HOLDS}.")
    return labelfile.read_table(path), path

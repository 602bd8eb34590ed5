"""The data of a pack described in Croissant 1.0 (mlcommons.org/croissant): JSON-LD that other tools load."""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd
from pandas.api import types

from clipeval.export.bibliography import SOFTWARE_TITLE
from clipeval.files import as_json, file_sha256
from clipeval.sources.pack_file import MANIFEST, Pack, open_pack

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_ENCODINGS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".parquet": "application/x-parquet",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_PACK = "pack"  # id of the whole file
_ABOUT = (
    "What a run of clipeval was computed from: embeddings of images and prompts, labels, class sets and "
    "prompts, without any image and without a model. Embeddings of photographs of people can tell one "
    "person from another: treat them as personal data."
)


def croissant(path: str | Path) -> dict[str, str]:
    """File name -> content: croissant.json of a pack, to be kept beside it.

    Parameters
    ----------
    path : file that `clipeval pack` wrote; it is verified

    Returns
    -------
    dict: croissant.json, with every file of the pack and its sha256, and a record set for each images
    table: image_id and the groups of its images

    Raises
    ------
    DataError  if it is not a pack, or was changed
    """
    pack = open_pack(path)
    name = pack.path.name
    entries = pack.manifest["studies"]
    data = {e["dataset"]["name"]: e["dataset"] for e in entries.values() if e.get("dataset")}
    models = [info["model"] + " " + info["pretrained"] for info in pack.manifest["models"].values()]
    zipped = {
        "@type": "cr:FileObject",
        "@id": _PACK,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{pack.path.stat().st_size} B",
        "encodingFormat": "application/zip",
        "sha256": file_sha256(pack.path),
    }
    members = {MANIFEST: pack.sha256} | pack.manifest["members"]
    citations = [of["citation"] for of in data.values() if of.get("citation")]
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"clipeval pack of {pack.path.name.removesuffix('.zip').removesuffix('.clipeval')}",
        "description": f"{_ABOUT} Model: {', '.join(map(str.strip, models))}. Studies: "
        f"{', '.join(entries)}. Data: {', '.join(data)}.",
        "license": list(dict.fromkeys(of.get("licence") or "unknown" for of in data.values())),
        "url": f"urn:sha256:{pack.sha256}",
        "citeAs": " ".join([f"{SOFTWARE_TITLE}, version {pack.manifest['clipeval']}.", *citations]),
        "distribution": [zipped, *(_member(n, digest) for n, digest in members.items())],
        "recordSet": list(_record_sets(pack)),
    }
    return {"croissant.json": as_json(content)}


def _id(text: str) -> str:
    """Text as an id: mlcroissant takes none with a space, escaped or not."""
    return re.sub(r"[^\w./-]+", "-", text)


def _member(name: str, digest: str) -> dict:
    kind = _ENCODINGS.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")
    return {
        "@type": "cr:FileObject",
        "@id": _id(name),
        "name": name,
        "containedIn": {"@id": _PACK},
        "contentUrl": name,
        "encodingFormat": kind,
        "sha256": digest,
    }


def _record_sets(pack: Pack) -> Iterator[dict]:
    """One for each images table: who asked for it, and its columns."""
    asked: dict[str, list[str]] = {}
    for study, entry in pack.manifest["studies"].items():
        for table in entry.get("images", {}).values():
            asked.setdefault(table, []).append(study)
    for table, studies in asked.items():
        frame = pd.read_parquet(pack.file(f"{table}.parquet"))
        attrs = json.loads(pack.file(f"{table}.json").read_text("utf-8"))["attrs"]
        ids = [f"{table}/{_id(column)}" for column in frame]
        # two names that are one id: the later ones carry their place too
        ids = [f"{id}-{i}" if id in ids[:i] else id for i, id in enumerate(ids)]
        yield {
            "@type": "cr:RecordSet",
            "@id": table,
            "name": table,
            "description": f"Images of {', '.join(studies)}: {attrs['name']}. {attrs.get('labels', '')}",
            "key": {"@id": f"{table}/image_id"},
            "field": [
                _field(id, table, frame[column]) for id, column in zip(ids, frame, strict=True)
            ],
        }


def _field(id: str, table: str, values: pd.Series) -> dict:
    kinds = {
        types.is_bool_dtype: "sc:Boolean",
        types.is_integer_dtype: "sc:Integer",
        types.is_float_dtype: "sc:Float",
    }
    return {
        "@type": "cr:Field",
        "@id": id,
        "name": values.name,
        "dataType": next((name for holds, name in kinds.items() if holds(values)), "sc:Text"),
        "source": {
            "fileObject": {"@id": f"{table}.parquet"},
            "extract": {"column": values.name},
        },
    }

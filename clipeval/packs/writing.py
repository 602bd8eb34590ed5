"""Sharing a run without its photographs: embeddings, labels and provenance in one verifiable file.

The studies of a finished run are asked once more, from the store, and everything they read is
written down: images tables, embeddings, prompts. The pack is then tried: from it alone, the
predictions must come out as they stand in the run folder. `clipeval.sources.pack_file` reads packs.
"""

import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval import __version__
from clipeval.classify.word_files import find, yaml_file
from clipeval.datasets import label_files, refusal_to_share
from clipeval.errors import ClipevalError, DataError, ParameterError
from clipeval.files import as_json, file_sha256, sha256, whole_file
from clipeval.output.provenance import INCIDENTAL, pathless
from clipeval.packs.files import (
    altered,
    readme,
    refuse_paths,
    short_hash,
    to_npy,
    to_parquet,
    write_zip,
)
from clipeval.packs.replay import plan_pack
from clipeval.paths import cache_dir
from clipeval.runs.matching import is_unworded
from clipeval.session.parameters import parse
from clipeval.session.record import StudyRecord, read_study, with_paths
from clipeval.session.run_folder import check_writable
from clipeval.session.session import Session
from clipeval.sources import Source, open_source
from clipeval.sources.pack_file import FORMAT, MANIFEST, images_key, other_key
from clipeval.studies import STUDIES, get_study
from clipeval.studies.sensitivity.variation import ranges


@dataclass(frozen=True)
class Packed:
    """What was written: `path`, `sha256` of the manifest, bytes, and a sentence for each study."""

    path: Path
    sha256: str
    size: int
    held: dict[str, str]
    left_out: dict[str, str]


class _Recording(Source):
    """A source that passes questions on to another and remembers what was asked."""

    def __init__(self, source: Source):
        super().__init__(source.parameters, study=source.study, progress=source.progress)
        self.source = source
        self.tables: dict[str, pd.DataFrame] = {}
        self.vectors: list[tuple] = []
        self.texts: dict[str, np.ndarray] = {}
        self.others: dict[str, _Recording] = {}

    @property
    def info(self):
        return self.source.info

    def images(self, values):
        key = images_key(values)
        if key not in self.tables:  # sessions of other words ask for the same images again
            self.tables[key] = self.source.images(values)
        return self.tables[key]

    def embed(self, images, features="projected"):
        found = self.source.embed(images, features)
        self.vectors.append((images, features, found))
        return found

    def encode(self, prompts):
        found = self.source.encode(prompts)
        self.texts |= dict(zip(prompts, found, strict=True))
        return found

    def wording(self, templates):
        return self.source.wording(templates)

    def answers(self, classes):
        return self.source.answers(classes)

    def check_offers(self, study, offers):
        self.source.check_offers(study, offers)

    def remember(self, name, key, compute):
        return compute()  # what was kept would not tell what it was computed from

    def other(self, **changes):
        key = other_key(changes)
        if key not in self.others:
            self.others[key] = _Recording(self.source.other(**changes))
        return self.others[key]

    def holds(self, images):
        return self.source.holds(images)

    def varied(self) -> dict[str, "_Recording"]:
        """Under other parameters, by `other_key`: those that were asked for embeddings."""
        return {key: source for key, source in self.others.items() if source.vectors}

    def check_model(self, study):
        return self.source.check_model(study)


def make_pack(run: str | Path, out: str | Path = "") -> Packed:
    """Write a pack of a finished run.

    Parameters
    ----------
    run : run folder
    out : file to write; by default NAME.clipeval.zip beside the run folder

    Returns
    -------
    Packed

    Raises
    ------
    DataError  if the folder holds no finished study or a file that was edited, no study may be
        shared, the run cannot be repeated as it stands there, or a path of this machine would be given away
    ParameterError  if nothing can be written where `out` is, or another file stands there
    """
    run = Path(run).expanduser().resolve()
    out = Path(out).expanduser().resolve() if out else run.with_name(f"{run.name}.clipeval.zip")
    check_writable("out", out.parent)
    _refuse_other(out)
    for file, why in altered(run):
        raise DataError(
            f"{run / file}: {why}, so the run is not what clipeval made; run the study again, then pack it."
        )
    members: dict[str, bytes] = {}
    studies, models, held, left_out = {}, {}, {}, {}
    texts: dict[str, dict[str, np.ndarray]] = {}
    predictions: dict[str, pd.DataFrame] = {}
    secret = {str(Path.home()), str(Path.cwd()), str(run), str(cache_dir().resolve())}
    for study, record in _records(run).items():
        if get_study(study).is_summary:
            studies[study] = _about(record, run)
            held[study] = "drawn from the tables of the others"
            continue
        session = _recorded(record)
        secret |= _folders(session)
        attrs = session.images.attrs
        if reason := refusal_to_share(session.parameters.dataset, attrs):
            left_out[study] = reason
            continue
        predictions[study] = _stored(session.predict())
        if (path := run / study / "predictions.parquet").is_file():
            reason = "the data, the model or the code are not the same now"
            _refuse_change(predictions[study], pd.read_parquet(path), run, study, reason)
        known = session.info.has_text and session.info.is_known
        if known and (prompts := _prompts(run / study)):
            session.encode(prompts)
        ranges(session)  # what its notebook asks in other words
        for source in (session.source, *session.source.varied().values()):
            model = source.info.fingerprint
            models[model] = source.info.to_json()
            texts.setdefault(model, {}).update(source.texts)
        studies[study] = _about(record, run) | _study(session, members)
        held[study] = _summary(session.images)
    if not any(not get_study(study).is_summary for study in studies):
        studies_of: dict[str, list[str]] = {}
        for study, reason in left_out.items():
            studies_of.setdefault(reason, []).append(study)
        reasons = " ".join(f"{', '.join(of)}: {reason}." for reason, of in studies_of.items())
        raise DataError(f"{run}: no study may be shared, so there is nothing to pack; {reasons}")
    for model, rows in texts.items():
        matrix = np.stack([rows[text] for text in sorted(rows)]) if rows else np.empty((0, 0))
        members[f"texts/{model[:12]}.json"] = as_json(sorted(rows)).encode()
        members[f"texts/{model[:12]}.npy"] = to_npy(matrix)
    members["README.txt"] = readme(studies)
    refuse_paths(members, secret)
    for study in studies if left_out else ():
        if get_study(study).is_summary:
            studies[study]["tables"] = {}  # it will lack what is left out
    manifest = {
        "format": FORMAT,
        "clipeval": __version__,
        "studies": studies,
        "left_out": left_out,
        "models": models,
        "members": {n: sha256(members[n]) for n in sorted(members)},
    }
    first = {MANIFEST: as_json(manifest).encode()}
    refuse_paths(first, secret)
    _write(out, first | {n: members[n] for n in sorted(members)}, run, predictions)
    return Packed(out, sha256(first[MANIFEST]), out.stat().st_size, held, left_out)


def _refuse_other(out: Path) -> None:
    """A file that stands where the pack is to go must be a pack."""
    try:
        with zipfile.ZipFile(out) as archive:
            if MANIFEST in archive.namelist():
                return
    except FileNotFoundError:
        return
    except (OSError, zipfile.BadZipFile):
        pass
    raise ParameterError(
        f"{out} is not a file that `clipeval pack` wrote; name another with --out."
    )


# -- what a study is made of -----------------------------------------------------------------------


def _recorded(record: StudyRecord) -> Session:
    """A session that asks a study's questions again, from a source that remembers them."""
    study, values = get_study(record.study), dict(record.parameters)
    if is_unworded(record):
        values.pop("templates", None)  # as nobody named them then
    parameters = parse(study.Parameters, values, study=study.id)
    source = open_source(parameters, study=study.id, deck=study.deck, progress=False)
    return study.open(parameters, source=_Recording(source), progress=False)


def _records(run: Path) -> dict[str, StudyRecord]:
    """Study id -> record, for the studies that finished."""
    found = {study: read_study(run / study) for study in STUDIES}
    records = {study: with_paths(record, run) for study, record in found.items() if record}
    if not records:
        raise DataError(f"{run} holds no finished study; name a run folder.")
    return records


def _summary(images: pd.DataFrame) -> str:
    groups = images.attrs["groups"]
    others = images.columns.drop(["image_id", "file", "row", *groups], errors="ignore")
    told = f", and of no group: {', '.join(map(str, others))}" if len(others) else ""
    about = images.attrs["name"], images.attrs.get("licence", "")
    return f"{len(images):,} images ({', '.join(groups)}{told}), {', '.join(about)}"


def _about(record: StudyRecord, run: Path) -> dict:
    """Provenance of a study: its record without paths, times and captions, and its tables' hashes."""
    keys = ("dataset", "class_sets", "templates", "prompts_hash", "code", "versions", "test_cards")
    said = record.model_dump(exclude_unset=True)
    tables = {path.stem: path for path in sorted((run / record.study / "tables").glob("*.csv"))}
    kept = {k: v for k, v in record.parameters.items() if k not in INCIDENTAL}
    return pathless({key: said[key] for key in keys if key in said}) | {
        "parameters": pathless(kept),
        "tables": {n: file_sha256(p) for n, p in tables.items()},
    }


def _study(session: Session, members: dict[str, bytes]) -> dict:
    """Put what the session was asked for into `members`; returns where it is."""
    p = session.parameters
    names = {key: _put_images(table, members) for key, table in session.source.tables.items()}
    by_table = {id(table): names[key] for key, table in session.source.tables.items()}
    others = session.source.varied()
    vectors = [(s.info, *asked) for s in (session.source, *others.values()) for asked in s.vectors]
    for info, images, features, found in vectors:
        name = by_table[id(images)].replace("images/", "embeddings/")
        name = f"{name}-{info.fingerprint[:12]}-{features}"
        rows = found.by_image().set_index("image_id").loc[images["image_id"]].reset_index()
        members[f"{name}.parquet"] = to_parquet(rows.astype("str").where(rows.notna(), None))
        members[f"{name}.npy"] = to_npy(found.matrix)
    files = label_files(p.dataset, p.data)
    folder = f"data/{short_hash(*files, *files.values())}" if files else ""
    members |= {f"{folder}/{name}": content for name, content in files.items()}
    about = {"model": session.info.fingerprint, "images": names, "data": folder}
    if others:
        about["others"] = {key: source.info.fingerprint for key, source in others.items()}
    return about | {"files": _class_files(p, members)}


def _put_images(table: pd.DataFrame, members: dict[str, bytes]) -> str:
    attrs = dict(table.attrs)
    attrs.pop("packed", None)
    if folder := attrs.get("planted"):
        decks = {
            f.name: to_parquet(pd.read_parquet(f)) for f in sorted(Path(folder).glob("*.parquet"))
        }
        decks.pop("cards.parquet", None)
        attrs["planted"] = f"planted/{short_hash(*decks, *decks.values())}"
        members |= {f"{attrs['planted']}/{name}": content for name, content in decks.items()}
    kept = table.drop(columns=["file", "row"], errors="ignore")
    objects = [c for c in kept if kept[c].dtype == object]
    content = to_parquet(kept)
    about = as_json({"attrs": attrs, "objects": objects}).encode()
    name = f"images/{short_hash(content, about)}"
    members |= {f"{name}.parquet": content, f"{name}.json": about}
    return name


def _class_files(p, members: dict[str, bytes]) -> dict[str, str]:
    """Parameter -> member with the class set or templates that it names, bundled or a user's own."""
    found, rooms = {}, dict.fromkeys(p.class_sets, "class_sets") | {"templates": "templates"}
    for name, value in p.model_dump().items():
        path = yaml_file(value)
        if not path and name in rooms and value:
            path = find(value, rooms[name])[0]
        if not path:
            continue
        content = path.read_bytes()
        found[name] = f"{rooms.get(name, 'files')}/{short_hash(content)}/{path.name}"
        members[found[name]] = content
    return found


def _prompts(folder: Path) -> list[str]:
    """Every prompt that the study's notebook sent; templates of captions stand for themselves."""
    tasks = json.loads((folder / "prompts.json").read_text("utf-8"))
    texts = [text for classes in tasks.values() for group in classes.values() for text in group]
    return sorted({text for text in texts if "{}" not in text})


def _stored(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions as they are once they have been written and read."""
    stream = io.BytesIO()
    predictions.to_parquet(stream, index=False)
    return pd.read_parquet(stream)


def _refuse_change(found: pd.DataFrame, known, run: Path, study: str, reason: str) -> None:
    if not found.equals(known):
        raise DataError(
            f"{run}: {study} cannot be reproduced as it stands there, because {reason}; run it "
            "again, then pack it."
        )


def _folders(session: Session) -> set[str]:
    """Folders of this machine that the session works with."""
    p = session.parameters
    paths = [
        p.data,
        p.store,
        p.pack,
        p.scores,
        p.model.removeprefix("local-dir:"),
        p.pretrained,
        p.out,
    ]
    paths = [os.path.expanduser(path) for path in paths if path]
    known = {os.path.realpath(path) for path in paths if os.path.exists(path)}
    return known | {path for path in paths if os.path.isabs(path)} | {str(session.store.root)}


def _write(out: Path, members: dict[str, bytes], run: Path, predictions: dict) -> None:
    """Write beside, try the whole pack, and only then give it its name."""
    try:
        with whole_file(out) as beside:
            write_zip(beside, members)
            _try_pack(beside, run, predictions)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written ({error.strerror or error}); name another with --out."
        ) from None
    except ClipevalError as error:
        raise type(error)(str(error).replace(beside.name, out.name)) from None


def _try_pack(pack: Path, run: Path, predictions: dict) -> None:
    for study, parameters in plan_pack(pack, [], {}, run).items():
        if not get_study(study).is_summary:
            found = get_study(study).open(parameters, progress=False).predict()
            reason = "the pack does not hold all that it reads"
            _refuse_change(_stored(found), predictions[study], run, study, reason)

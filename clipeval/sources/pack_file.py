"""Reading a pack: what a run was computed from, without its images and its model.

A pack is a zip file of plain members (parquet, npy, json, yaml, tsv) and a manifest that holds the
sha256 of each; the sha256 of the manifest stands for the whole. `clipeval.packs.writing` writes packs.
"""

import functools
import hashlib
import json
import re
import zipfile
import zlib
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from clipeval.errors import ClipevalError, DataError, ModelError, ParameterError, one_line
from clipeval.files import file_sha256, file_state, sha256, whole_folder
from clipeval.output.provenance import pathless
from clipeval.paths import cache_dir

FORMAT = 1
MANIFEST = "manifest.json"
_AGAIN = "get the file from its source again"
_HASH = re.compile("[0-9a-f]{64}")
#: members may be larger than the file by this factor, and by this many bytes: more is no pack but a bomb
_FACTOR, _MORE = 20, 50_000_000


#: parameters that say of images where and whose they are, and change no row
_SAID = {"file", "columns", "title", "licence", "citation", "labelled_by"}


def images_key(values: dict) -> str:
    """Name of an images table: every parameter that decides its rows, without paths.

    Of `groups` only the numbers that columns are cut at: which columns are reported is not said there.
    """
    from clipeval.datasets import dataset_options

    names = [*dataset_options(values["dataset"]), "dataset", "split", "limit"]
    names += ["seed"] if values["limit"] or values.get("person") else []
    chosen = {n: pathless(values[n]) for n in names if n in values and n not in _SAID}
    if not chosen.get("person"):  # as in packs that were written before there was such a parameter
        chosen.pop("person", None)
    if "groups" in chosen:
        cuts = {part for item in chosen.pop("groups").split(",") for part in item.split("*")}
        if cuts := sorted(part.strip() for part in cuts if ":" in part):
            chosen["groups"] = ",".join(cuts)
    return json.dumps(chosen, sort_keys=True, ensure_ascii=False)


def other_key(changes: dict) -> str:
    """Name of embeddings under changed parameters, such as another precision."""
    return json.dumps(changes, sort_keys=True)


def open_pack(path: str | Path, expect: str = "") -> "Pack":
    """Verify a pack and unpack it into the cache, once.

    Parameters
    ----------
    path : file that `clipeval pack` wrote
    expect : sha256 of its manifest, as printed when it was packed; "" to take it on trust

    Raises
    ------
    DataError  if it is not a pack, any member is changed, missing or additional, or the manifest is
        not the expected one
    """
    path = Path(path).expanduser().resolve()
    try:
        state = file_state(path)
    except OSError:
        raise DataError(f"{path} does not exist; give a file that `clipeval pack` wrote.") from None
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; give the file that `clipeval pack` wrote of it (it ends in .zip)."
        )
    pack = _open(path, state, cache_dir())
    if expect and expect.lower() != pack.sha256:
        raise DataError(
            f"{path} is not the pack expected: the sha256 of its manifest is {pack.sha256} and not "
            f"{expect}; {_AGAIN}."
        )
    return pack


@functools.lru_cache(maxsize=4)
def _open(path: Path, state: tuple, cache: Path) -> "Pack":
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpack(archive, path, cache / "packs")
    # zipfile has a RuntimeError for members that are encrypted
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise DataError(f"{path} is not a whole pack ({error}); {_AGAIN}.") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be unpacked into {cache} ({error.strerror or error}); free some space "
            "there, or set CLIPEVAL_CACHE."
        ) from None


def _unpack(archive: zipfile.ZipFile, path: Path, packs: Path) -> "Pack":
    """Check every member against the manifest; write them where they are not unpacked yet."""
    names = archive.namelist()
    if MANIFEST not in names:
        raise DataError(f"{path} is not a pack, as it holds no {MANIFEST}; name another file.")
    sizes = {about.filename: about.file_size for about in archive.infolist()}
    most = _FACTOR * path.stat().st_size + _MORE
    if sum(sizes.values()) > most or sizes[MANIFEST] > _MORE:
        raise DataError(
            f"{path} would unpack to {sum(sizes.values()) / 1e6:,.0f} MB (its {MANIFEST} to "
            f"{sizes[MANIFEST] / 1e6:,.0f} MB), which is more than a pack of its size holds; {_AGAIN}."
        )
    text = archive.read(MANIFEST)
    try:
        manifest = json.loads(text)
        kind, members = manifest["format"], dict(manifest["members"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{path}: {MANIFEST} is damaged; {_AGAIN}.") from None
    if kind != FORMAT:
        raise DataError(
            f"{path} is a pack of format {kind} and this clipeval reads format {FORMAT}; "
            "use the version of clipeval that wrote it."
        )
    _same_names(path, names, members)
    if not _is_sound(manifest):
        raise DataError(f"{path}: {MANIFEST} is damaged or was edited; {_AGAIN}.")
    digest = sha256(text)
    root = packs / digest
    with nullcontext() if root.is_dir() else whole_folder(root) as beside:
        for name, listed in members.items():
            target = beside / name if beside else None
            if _copy(archive, name, target) != listed:
                raise DataError(
                    f"{path}: {name} was changed, as its sha256 is not the manifest's; {_AGAIN}."
                )
    return Pack(path, root, digest, manifest)


def _copy(archive: zipfile.ZipFile, name: str, target: Path | None) -> str:
    """sha256 of a member, read in parts and written to `target`, where there is one."""
    digest = hashlib.sha256()
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as member, open(target, "wb") if target else nullcontext() as copy:
        while part := member.read(1 << 20):
            digest.update(part)
            if copy:
                copy.write(part)
    return digest.hexdigest()


def _is_sound(manifest: dict) -> bool:
    """Whether the manifest says of every study what is read from it."""
    from clipeval.models.info import ModelInfo

    try:
        assert isinstance(manifest["left_out"], dict) and isinstance(manifest["clipeval"], str)
        for info in manifest["models"].values():
            ModelInfo.from_json(info)
        for entry in manifest["studies"].values():
            assert isinstance(entry["parameters"], dict) and isinstance(entry["tables"], dict)
            assert isinstance(entry.get("versions", {}), dict)
            if folder := entry.get("data", ""):
                assert _holds(manifest, folder)
            if "images" in entry or "model" in entry:  # else it is made of the others' tables
                models = {entry["model"], *entry.get("others", {}).values()}
                assert models <= set(manifest["models"]) and isinstance(entry["images"], dict)
                assert {"model", "pretrained", "dataset"} <= set(entry["parameters"])
                named = [*entry["images"].values()]
                named = [f"{name}.{end}" for name in named for end in ("parquet", "json")]
                assert set(named) | set(entry["files"].values()) <= set(manifest["members"])
    except (AssertionError, AttributeError, KeyError, TypeError, ModelError):
        return False
    return True


def _holds(manifest: dict, folder: str) -> bool:
    """Whether a folder is one of the pack's own: a path that leads elsewhere never is."""
    return any(member.startswith(f"{folder}/") for member in manifest["members"])


def _same_names(path: Path, names: list[str], members: dict[str, str]) -> None:
    for name, listed in members.items():
        parts = PurePosixPath(name).parts
        odd = ".." in parts or "/".join(parts) != name  # "./a", "a//b", "a/"
        if not name or name[0] == "/" or odd or re.search(r"[\\:\0]", name):
            raise DataError(f'{path}: member "{name}" would be written elsewhere; {_AGAIN}.')
        if clash := [str(p) for p in PurePosixPath(name).parents if str(p) in members]:
            raise DataError(f"{path}: {clash[0]} is both a file and a folder; {_AGAIN}.")
        if not _HASH.fullmatch(str(listed)):
            raise DataError(f"{path}: the manifest has no sha256 for {name}; {_AGAIN}.")
    whole = {MANIFEST, *members}
    if missing := sorted(whole - set(names)):
        raise DataError(f"{path} lacks {missing[0]}, which its manifest lists; {_AGAIN}.")
    if extra := sorted(set(names) - whole):
        raise DataError(f"{path} holds {extra[0]}, which its manifest does not list; {_AGAIN}.")
    if len(names) > len(whole):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} holds {twice} twice; {_AGAIN}.")


class Pack:
    """A verified pack, as `open_pack` returns it.

    Attributes
    ----------
    path : the file; root : the folder it is unpacked into
    sha256 : of the manifest, hex
    manifest : its content (dict)
    """

    def __init__(self, path: Path, root: Path, sha256: str, manifest: dict):
        self.path, self.root, self.sha256, self.manifest = path, root, sha256, manifest
        self._whole: set[str] = set()
        self._texts: dict[str, tuple[dict, np.ndarray]] = {}

    def file(self, name: str) -> Path:
        """An unpacked member, checked again at its first use."""
        path = self.root / name
        if name not in self._whole:
            try:
                found = file_sha256(path)
            except OSError:
                found = ""
            if found != self.manifest["members"][name]:
                raise DataError(
                    f"{path} was changed after it was unpacked; delete {self.root} and run again."
                )
            self._whole.add(name)
        return path

    @contextmanager
    def _reading(self, name: str):
        """Whatever a library says of members that do not belong together is the pack's fault."""
        try:
            yield
        except ClipevalError:
            raise
        except Exception as error:
            reason = one_line(error)
            raise DataError(
                f"{self.path}: {name} is not what `clipeval pack` writes ({reason}); {_AGAIN}."
            ) from None

    def study(self, study: str) -> dict:
        """What the manifest says of a study.

        Raises
        ------
        ParameterError  if the pack does not hold it, with the reason where one is known
        """
        if study in self.manifest["studies"]:
            return self.manifest["studies"][study]
        reason = self.manifest["left_out"].get(study, "it was not in the run")
        held = ", ".join(self.manifest["studies"])
        raise ParameterError(f"{self.path.name} does not hold {study} ({reason}); it holds {held}.")

    def check(self, study: str, parameters) -> None:
        """Refuse parameters of another model, or of the same one run otherwise.

        Raises
        ------
        ParameterError  if one differs, or the study is not in the pack
        """
        held_by = {
            "weights": "",
            **self.study(study)["parameters"],
        }  # older packs have no such name
        for name in ("model", "pretrained", "weights", "dataset", "precision", "resize"):
            held, asked = held_by[name], getattr(parameters, name)
            if asked != held:
                raise ParameterError(
                    f"{self.path.name} holds {study} with {name}={held}, and {name}={asked} is "
                    "asked for; use `clipeval run --pack`, which takes over its parameters."
                )

    def info(self, model: str):
        """`ModelInfo` of a fingerprint that a study names as its `model`, or among its `others`."""
        from clipeval.models.info import ModelInfo

        return ModelInfo.from_json(self.manifest["models"][model])

    def images(self, study: str, values: dict) -> pd.DataFrame:
        """The images table for a study's parameters; `file` holds the id, as there is no file.

        Raises
        ------
        ParameterError  if the parameters ask for other images than the pack holds
        """
        tables = self.study(study)["images"]
        tables = {images_key(json.loads(text)): name for text, name in tables.items()}
        key = images_key(values)
        if key not in tables:
            raise ParameterError(
                f"{self.path.name} does not hold the images of {study} for {key} (it has "
                f"{' and '.join(tables)}); leave these parameters as they were."
            )
        name = tables[key]
        with self._reading(name):
            table = pd.read_parquet(self.file(f"{name}.parquet"))
            about = json.loads(self.file(f"{name}.json").read_text("utf-8"))
            table = table.astype({c: object for c in about["objects"]})
            table.insert(1, "file", table["image_id"])
            table.attrs = about["attrs"] | {"packed": name, "name": str(about["attrs"]["name"])}
            table[table.attrs["groups"]]  # each of them is there
            if folder := table.attrs.get("planted"):
                if not _holds(self.manifest, folder):
                    raise ValueError(f"{folder} is not in the pack")
                for member in self.manifest["members"]:
                    if member.startswith(f"{folder}/"):
                        pd.read_parquet(self.file(member))
                table.attrs["planted"] = str(self.root / folder)
        return table

    def embed(self, model: str, images: pd.DataFrame, features: str):
        """`Embeddings` of a table that `images` returned, or of some of its rows; `model` as for `info`."""
        from clipeval.embedding.embed import Embeddings

        name = f"{images.attrs.get('packed')}-{model[:12]}-{features}"
        name = name.replace("images/", "embeddings/")
        if f"{name}.npy" not in self.manifest["members"]:
            raise ParameterError(
                f"{self.path.name} holds no {features} embeddings of these images; leave the "
                "parameters as they were, or run on the images."
            )
        with self._reading(f"{name}.npy"):
            return Embeddings.from_images(*self._rows(name, images))

    def _rows(self, name: str, images: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        rows = pd.read_parquet(self.file(f"{name}.parquet")).astype(object)
        read = rows["reason"].isna()
        matrix = self._matrix(f"{name}.npy", int(read.sum()))
        place = pd.Series(np.where(read, read.cumsum() - 1, -1), index=rows["image_id"])
        if len(rows) != len(images) or (rows["image_id"] != images["image_id"].to_numpy()).any():
            rows = rows.set_index("image_id").loc[images["image_id"]].reset_index()
            read = rows["reason"].isna()
            matrix = matrix[place.loc[rows["image_id"][read]]]
        return rows, matrix

    def _matrix(self, name: str, n: int) -> np.ndarray:
        """A member's matrix (n, d): float32, or float64 of scores made elsewhere."""
        matrix = np.load(self.file(name), allow_pickle=False)
        if matrix.dtype not in (np.float32, np.float64) or matrix.ndim != 2 or len(matrix) != n:
            raise ValueError(f"{matrix.dtype} of shape {matrix.shape}, where {n} rows belong")
        if not np.isfinite(matrix).all():
            raise ValueError("numbers that are not finite")
        return matrix

    def encode(self, model: str, prompts: list[str]) -> np.ndarray:
        """Unit rows (n, d) float32 of prompts that the pack holds; `model` as for `info`.

        Raises
        ------
        ModelError  if a prompt is not among them: there is no model to encode it
        """
        if model not in self._texts:
            name = f"texts/{model[:12]}"
            with self._reading(f"{name}.npy"):
                held = json.loads(self.file(f"{name}.json").read_text("utf-8"))
                if not isinstance(held, list) or not all(isinstance(text, str) for text in held):
                    raise ValueError(f"{name}.json is not a list of texts")
                matrix = self._matrix(f"{name}.npy", len(held))
            self._texts[model] = {text: i for i, text in enumerate(held)}, matrix
        rows, matrix = self._texts[model]
        if missing := [prompt for prompt in prompts if prompt not in rows]:
            raise ModelError(
                f'{self.path.name} holds no model, and the prompt "{missing[0]}" is not in it; '
                "keep the class sets and templates of the run that was packed."
            )
        return matrix[[rows[prompt] for prompt in prompts]]

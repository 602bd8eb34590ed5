"""Images and prompts to unit vectors: once per model and image set, whatever happens on the way.

Batches are composed by position in the images table, and a batch belongs to one shard of the
store; so a run that was killed and started again computes the same batches, and its matrix equals
that of an undisturbed run bit for bit. Everything that is stored already is read without opening
an image, loading a model or importing torch.

An embedding is stored under the sha256 of the bytes that were embedded, which the process that reads
an image computes. So no row can belong to other bytes, whatever a file's name, size and time say.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clipeval.embedding.contents import Contents, Snapshot, snapshot
from clipeval.embedding.loading import Photos, hash_images, load_batches
from clipeval.embedding.pipeline import BATCH, Pipeline, to_numpy
from clipeval.embedding.rows import Embeddings, Rows, unit_rows
from clipeval.embedding.store import COLUMNS, Shelf
from clipeval.errors import DataError, ParameterError, StoreError
from clipeval.files import sha256

__all__ = ["Embeddings", "dataset_hash", "embed_images", "embed_part", "embed_texts", "unit_rows"]

TEXTS_A_SHARD = 1024  # a run that is killed loses at most so many


def embed_images(
    images: pd.DataFrame,
    *,
    info,
    get_model: Callable,
    store=None,
    files: Snapshot | None = None,
    features: str = "projected",
    batch_size: int = 0,
    workers: int | None = None,
    dtype: str = "float32",
    progress: bool = True,
    shard_size: int = 1024,
) -> Embeddings:
    """Embed every image of a table, taking from the store what is there.

    The result is the same to 1e-5 in every component whatever the batch size and the number of
    workers, and the same bit for bit after an interruption with the same parameters. Files with the
    same content have the same row.

    Parameters
    ----------
    images : images table with `image_id`, `file` and, for rows of parquet files, `row`
    info : ModelInfo of the model, which `get_model` need not have loaded
    get_model : called without arguments, and only if an image is not stored yet
    store : Store, or None to keep everything in memory
    files : `contents.snapshot` of the images, for several calls that must not read different contents;
        by default of now
    features : "projected" (the joint space) or what else the model's `encode_images` offers
    batch_size : images per forward pass; 0 for 64, and on a GPU for as many up to 1,024 as its memory holds. A
        pass that does not fit is done again in halves, and all that follow are kept as small
    workers : processes that decode images; None for a number that suits the machine
    dtype : "float32" or "float16", as stored; the returned matrix is float32
    progress : show a progress bar with images per second and time left
    shard_size : images per shard, rounded down to a multiple of the batch size; a run that is
        killed loses at most one shard, on a GPU two

    Raises
    ------
    DataError       if no image at all could be read, or one was changed while images were read
    ParameterError  if a parameter makes no sense
    StoreError      if the store cannot be written
    """
    if dtype not in ("float32", "float16"):
        raise ParameterError(f"dtype {dtype!r} is not known; use float32 or float16.")
    job, codes, absent = _open(images, files, info, store, features, dtype)
    how = {"features": features, "batch_size": batch_size, "shard_size": shard_size}
    opened, encoded = job.run(get_model, workers=workers, progress=progress, **how)
    return job.rows.embeddings(images, codes, absent, opened, encoded)


def embed_part(
    images: pd.DataFrame,
    part: tuple[int, int],
    *,
    info,
    get_model: Callable,
    store,
    files: Snapshot | None = None,
    **how,
) -> int:
    """Put part I of N of the images into the store: every N-th shard, from the I-th; memory holds one.

    Whoever embeds all images afterwards gets the same matrix, bit for bit, as without parts, where
    no two files have the same content (else to 1e-5, as batches are composed otherwise).

    Parameters
    ----------
    part : (I, N), I from 1 to N
    images, info, get_model, store, files : as in `embed_images`
    how : `features`, `batch_size`, `workers`, `progress`, `shard_size`, as there

    Returns
    -------
    images that were encoded
    """
    features = how.get("features", "projected")
    job, _, _ = _open(images, files, info, store, features, "float32", vectors=False)
    return job.run(get_model, part=part, **how)[1]


def _open(images, files, info, store, features, dtype, *, vectors=True):
    """What is to be done for the different files; for each image its file's position, or why there is none."""
    if len(images) == 0:
        raise DataError("there are no images to embed; check the data folder, split and limit.")
    files = snapshot(images) if files is None else files
    codes, _ = pd.factorize(files.states)  # absent images get code -1
    first = pd.Series(codes).drop_duplicates()
    first = first[first >= 0].index.to_numpy()
    rows, shelf, contents = Rows(len(first), dtype, vectors=vectors), None, None
    if store is not None:
        shelf, contents = store.shelf(info, f"images-{features}-{dtype}"), store.contents
        rows.contents[:] = contents.read(files.states[first])
    return _Job(images.iloc[first], files.part(first), rows, shelf, contents), codes, files.reasons


@dataclass
class _Job:
    """The different files of an images table, their rows as they come in, and where these are kept."""

    images: pd.DataFrame
    files: Snapshot
    rows: Rows
    shelf: Shelf | None
    contents: Contents | None
    opened: set[int] = field(default_factory=set)

    def run(
        self,
        get_model,
        *,
        features="projected",
        batch_size=0,
        workers=None,
        progress=True,
        shard_size=1024,
        part=(1, 1),
    ) -> tuple[int, int]:
        """Fill the rows; returns how many images were opened and encoded."""
        if batch_size < 0 or shard_size < 1 or (workers or 0) < 0:
            raise ParameterError(
                "batch_size and workers must be at least 0, shard_size at least 1."
            )

        def shards():
            return _plan(self.rows.missing(), batch_size or BATCH, shard_size, part)

        self.rows.fill(self.shelf)
        stored, encoded = np.zeros(0, "S64"), 0
        if self.shelf is not None and pd.isna(self.rows.contents).any():
            stored = self.shelf.keys()
            if todo := shards() if len(stored) else []:
                self._recognise(
                    np.concatenate([x for shard in todo for x in shard]), stored, progress
                )
                self.rows.fill(self.shelf)
        # a second time what was taken for stored, but lies in a shard that is damaged
        for held in (stored, stored[:0]):
            if todo := shards():
                how = {"features": features, "gather": batch_size == 0}
                encoded += self._encode(todo, held, get_model, workers, progress, **how)
                self.rows.fill(self.shelf)
        return len(self.opened), encoded

    def _recognise(self, positions, stored, progress) -> None:
        """Hash files as long as all they hold is stored: that needs no model.

        Those that hold something new are read again with the model: one, or the last thousand.
        """
        from tqdm.auto import tqdm

        with tqdm(
            total=len(positions), desc="reading", unit=" images", disable=not progress
        ) as bar:
            for part in np.split(positions, range(1, len(positions), 1024)):
                if pd.notna(self.rows.contents[part]).any():  # known, and not stored
                    break
                digests = hash_images(self.images.iloc[part])
                self._learn(part.tolist(), digests)
                if not np.isin([str(digest).encode() for digest in digests], stored).all():
                    break
                bar.update(len(part))

    def _encode(self, shards, stored, get_model, workers, progress, **how) -> int:
        """Read and encode shards; what is stored, or came before, is read alone."""
        from tqdm.auto import tqdm

        photos, model = Photos(self.images, stored=stored), get_model()
        pipeline = Pipeline(model, **how)
        photos.preprocess = pipeline.each
        batches = [batch for shard in shards for batch in shard]
        total, kept, encoded, done = sum(map(len, batches)), 0, 0, set()
        bar = tqdm(total=total, desc="embedding", unit=" images", disable=not progress)
        stream = load_batches(photos, batches, workers, str(model.device))

        def read():
            for shard in shards:
                for left in range(len(shard) - 1, -1, -1):
                    pixels, batch = next(stream)
                    pixels, fresh = _not_done(pixels, batch, done)
                    yield pixels, batch, fresh, not left

        vectors, new, seen = [], [], []
        try:
            for rows, batch, fresh, last in pipeline.run(read()):
                vectors += [] if rows is None else [rows]
                new += fresh
                seen += batch
                bar.update(len(batch))
                if last:
                    self._learn(
                        [photo.position for photo in seen], [photo.sha256 for photo in seen]
                    )
                    encoded += self._finish(new, vectors)
                    kept += len(seen)
                    vectors, new, seen = [], [], []
        except KeyboardInterrupt:
            said = f"stopped after {kept:,} of {total:,} images"
            if self.shelf is None:
                raise KeyboardInterrupt(f"{said}; without a store, none are kept.") from None
            raise KeyboardInterrupt(
                f"{said}, which are stored; the same call goes on there."
            ) from None
        finally:
            self.rows.at_once = max(self.rows.at_once, pipeline.at_once)
            stream.close()
            bar.close()
        return encoded

    def _finish(self, photos, vectors) -> int:
        """Normalise, check and keep one shard; returns how many images were encoded."""
        if not photos:
            return 0
        positions = np.array([photo.position for photo in photos])
        table = pd.DataFrame(photos, dtype=object)
        table["key"] = table["sha256"]
        table["image_id"] = self.images["image_id"].to_numpy(object)[positions]
        matrix = np.zeros((0, 1), np.float32)
        if vectors:
            matrix = unit_rows(np.concatenate(vectors))
        encoded = len(matrix)
        readable = np.flatnonzero(table["reason"].isna())
        finite = np.isfinite(matrix).all(axis=1)
        table.loc[readable[~finite], "reason"] = "the model gave no finite vector for it"
        matrix = matrix[finite].astype(self.rows.dtype)
        lasting = table["lasting"].to_numpy(bool)
        lasting[readable[~finite]] = False
        if self.shelf is not None and lasting.any():
            self.shelf.write(table[lasting], matrix)
        self.rows.put(positions, table, matrix)
        return encoded

    def _learn(self, positions, digests) -> None:
        """Note what files hold that have not changed since they were looked at; refuse others."""
        self.opened.update(positions)
        self.files.check(positions)
        known, new = self.rows.contents, {}
        for position, digest in zip(positions, digests, strict=True):
            if digest is None or digest == known[position]:
                continue
            if known[position] is not None:
                raise StoreError(
                    f"{self.files.files[position]} holds something else than when it was read before, "
                    f"though its size, times and inode are the same; delete {self.contents.folder} "
                    "and run again."
                )
            new[position] = digest
        known[list(new)] = list(new.values())
        if self.contents is not None:
            self.contents.note(self.files.states[list(new)], new.values())


def _not_done(pixels, photos, done: set):
    """Pixels of the images of a batch that are to be encoded, and what is to be kept of it.

    Left out are images whose content is stored, or came before in this call (`done`, which grows).
    """
    fresh = []
    for photo in photos:
        if (photo.decoded or photo.reason is not None) and photo.sha256 not in done:
            fresh.append(photo)
            if photo.lasting:
                done.add(photo.sha256)
    places = {photo.position for photo in fresh}
    rows = [i for i, p in enumerate(p for p in photos if p.decoded) if p.position in places]
    if pixels is not None and len(rows) < len(pixels):
        pixels = pixels[rows] if rows else None
    return pixels, fresh


def embed_texts(prompts, *, info, get_model: Callable, store=None) -> np.ndarray:
    """Embed prompts, each different one once, taking from the store what is there.

    Parameters
    ----------
    prompts : n strings, exactly as they go to the tokenizer
    info, get_model, store : as in `embed_images`

    Returns
    -------
    (n, d) float32, rows of length 1, in the order of `prompts`

    Raises
    ------
    ClassSetError  if a prompt has more tokens than the model reads
    DataError      if the model gives no usable vector for a prompt
    """
    return embed_texts_and_tokens(prompts, info=info, get_model=get_model, store=store)[0]


def embed_texts_and_tokens(prompts, *, info, get_model: Callable, store=None):
    """As `embed_texts`, and what the prompts are to the model's tokenizer.

    Returns
    -------
    (matrix, keys) : the matrix as there; and n hashes of the prompts' tokens as they were sent,
        equal for prompts that are one text to the model; None for rows of older stores
    """
    codes, unique = pd.factorize(np.array(list(prompts), dtype=object))
    if len(unique) == 0:
        raise ParameterError("there are no prompts to embed.")
    rows = Rows(len(unique))
    shelf = None if store is None else store.shelf(info, "texts-float32")
    if shelf is not None:
        for positions, stored, matrix in shelf.read(unique):
            rows.put(positions, stored, matrix)
    missing = np.flatnonzero(rows.missing())
    if len(missing):
        model = get_model()
        # all of them, before any is encoded
        tokens = model.check_texts([unique[i] for i in missing]) or [None] * len(missing)
        for start in range(0, len(missing), TEXTS_A_SHARD):
            part = missing[start : start + TEXTS_A_SHARD]
            matrix = unit_rows(to_numpy(model.encode_texts([unique[i] for i in part])))
            bad = ~np.isfinite(matrix).all(axis=1)
            if bad.any():
                said = f"the model gives no usable vector for {unique[part[bad.argmax()]]!r} in"
                mend = "another checkpoint" if info.precision == "fp32" else "precision=fp32"
                raise DataError(f"{said} {info.precision}; try {mend}.")
            new = pd.DataFrame({"key": unique[part]}, columns=COLUMNS, dtype=object)
            new["sha256"] = tokens[start : start + TEXTS_A_SHARD]
            rows.put(part, new, matrix)
            if shelf is not None:
                shelf.write(new, matrix)
    return rows.matrix[codes], rows.about["sha256"][codes].tolist()


def dataset_hash(images: pd.DataFrame, embeddings: Embeddings) -> str:
    """Hash of what was studied: image ids, image contents and all that is said of the images.

    Independent of where the files are, when they were changed, and the order of the table.

    Parameters
    ----------
    images : images table; every column counts (groups, captions, names) but `file` and `row`
    embeddings : its embeddings, which hold each image's content hash

    Returns
    -------
    sha256, hex
    """
    content = dict(zip(embeddings.image_id, embeddings.sha256, strict=True))
    unreadable = embeddings.unreadable
    content |= dict(zip(unreadable["image_id"], unreadable["sha256"], strict=True))
    said = sorted(c for c in images.columns if c not in ("image_id", "file", "row"))
    labels = images[said].astype(object).where(images[said].notna(), None)
    rows = [
        [image_id, content[image_id], *map(_plain, values)]
        for image_id, values in zip(images["image_id"], labels.to_numpy().tolist(), strict=True)
    ]
    return sha256(json.dumps([said, sorted(rows, key=str)]))


def _plain(value):
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _plan(
    missing: np.ndarray, batch_size: int, shard_size: int, part: tuple[int, int] = (1, 1)
) -> list[list[np.ndarray]]:
    """Shards of batches of positions; all borders lie at fixed positions, whatever is there already."""
    step = batch_size * max(1, shard_size // batch_size)
    i, n = part
    shards = []
    for start in range((i - 1) * step, len(missing), n * step):
        todo = start + np.flatnonzero(missing[start : start + step])
        if len(todo):
            shards.append(np.split(todo, np.flatnonzero(np.diff(todo // batch_size)) + 1))
    return shards

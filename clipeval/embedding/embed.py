"""Images and prompts to unit vectors: once per model and image set, whatever happens on the way.

Batches are composed by position in the images table, and a batch belongs to one shard of the
store; so a run that was killed and started again computes the same batches, and its matrix equals
that of an undisturbed run bit for bit. Everything that is stored already is read without opening
an image, loading a model or importing torch.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipeval.embedding.loading import Photos, load_batches, split_preprocess
from clipeval.embedding.store import COLUMNS, image_keys
from clipeval.errors import DataError, ParameterError
from clipeval.files import sha256

TEXTS_A_SHARD = 1024  # a run that is killed loses at most so many


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of the images of one table that could be read.

    Attributes
    ----------
    image_id : (n,) array of str, in the order of the images table
    matrix : (n, d) float32, rows of length 1
    sha256 : (n,) array of str, hash of each image's bytes
    notes : (n,) array of str, what is special about a file ("" mostly); see `images.decode_image`
    unreadable : DataFrame image_id, file, reason, sha256 ("" where there were no bytes)
    opened : images opened in this call
    encoded : images the model encoded in this call
    """

    image_id: np.ndarray
    matrix: np.ndarray
    sha256: np.ndarray
    notes: np.ndarray
    unreadable: pd.DataFrame
    opened: int = 0
    encoded: int = 0

    def __len__(self):
        return len(self.image_id)


def unit_rows(matrix) -> np.ndarray:
    """Rows scaled to length 1, computed in float32: the one place where vectors are normalised.

    Parameters
    ----------
    matrix : (n, d) array of any float dtype

    Returns
    -------
    (n, d) float32; a row that is zero or not finite becomes nan throughout
    """
    matrix = np.array(matrix, dtype=np.float32)
    with np.errstate(all="ignore"):
        length = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        length[(length == 0) | ~np.isfinite(length)] = np.nan
        matrix /= length[:, None]
    return matrix


def embed_images(
    images: pd.DataFrame,
    *,
    info,
    get_model: Callable,
    store=None,
    features: str = "projected",
    batch_size: int = 64,
    workers: int | None = None,
    dtype: str = "float32",
    progress: bool = True,
    shard_size: int = 1024,
) -> Embeddings:
    """Embed every image of a table, taking from the store what is there.

    The result is the same to 1e-5 in every component whatever the batch size and the number of
    workers, and the same bit for bit after an interruption with the same parameters.

    Parameters
    ----------
    images : images table with `image_id`, `file` and, for rows of parquet files, `row`
    info : ModelInfo of the model, which `get_model` need not have loaded
    get_model : called without arguments, and only if an image is not stored yet
    store : Store, or None to keep everything in memory
    features : "projected" (the joint space) or what else the model's `encode_images` offers
    batch_size : images per forward pass
    workers : processes that decode images; None for a number that suits the machine
    dtype : "float32" or "float16", as stored; the returned matrix is float32
    progress : show a progress bar with images per second and time left
    shard_size : images per shard, rounded down to a multiple of the batch size; a run that is
        killed loses at most one shard

    Raises
    ------
    DataError       if no image at all could be read
    ParameterError  if a parameter makes no sense
    StoreError      if the store cannot be written
    """
    if dtype not in ("float32", "float16"):
        raise ParameterError(f"dtype {dtype!r} is not known; use float32 or float16.")
    rows, shelf, first, codes, absent = _open_rows(images, info, store, features, dtype)
    how = {"features": features, "batch_size": batch_size, "shard_size": shard_size}
    how |= {"workers": workers, "progress": progress}
    opened, encoded = _encode_missing(images.iloc[first], rows, shelf, get_model, **how)
    return rows.embeddings(images, codes, absent, opened, encoded)


def embed_part(
    images: pd.DataFrame, part: tuple[int, int], *, info, get_model: Callable, store, **how
) -> int:
    """Put part I of N of the images into the store: every N-th shard, from the I-th.

    Whoever embeds all images afterwards gets the same matrix, bit for bit, as without parts.

    Parameters
    ----------
    part : (I, N), I from 1 to N
    images, info, get_model, store : as in `embed_images`
    how : `features`, `batch_size`, `workers`, `progress`, `shard_size`, as there

    Returns
    -------
    images that were encoded
    """
    features = how.get("features", "projected")
    rows, shelf, first, _, _ = _open_rows(images, info, store, features, "float32")
    return _encode_missing(images.iloc[first], rows, shelf, get_model, part=part, **how)[1]


def _open_rows(images, info, store, features, dtype):
    """Rows of the different images, filled from the store; its shelf; where each row is from."""
    if len(images) == 0:
        raise DataError("there are no images to embed; check the data folder, split and limit.")
    keys, absent = image_keys(images)
    codes, unique = pd.factorize(np.array(keys, dtype=object))  # absent images get code -1
    first = pd.Series(codes).drop_duplicates()
    first = first[first >= 0].index.to_numpy()
    rows = _Rows(unique, images["image_id"].to_numpy(object)[first], dtype)
    shelf = None if store is None else store.shelf(info, f"images-{features}-{dtype}")
    if shelf is not None:
        for positions, stored, matrix in shelf.read(unique):
            rows.put(positions, stored, matrix)
    return rows, shelf, first, codes, absent


def _encode_missing(
    images,
    rows,
    shelf,
    get_model,
    *,
    features="projected",
    batch_size=64,
    workers=None,
    progress=True,
    shard_size=1024,
    part=(1, 1),
) -> tuple[int, int]:
    """Encode what the store lacks; returns how many images were opened and encoded."""
    if batch_size < 1 or shard_size < 1 or (workers or 0) < 0:
        raise ParameterError("batch_size and shard_size must be at least 1, workers at least 0.")
    shards = _plan(rows.missing(), batch_size, shard_size, part)
    if not shards:
        return 0, 0
    from tqdm.auto import tqdm

    photos, model = Photos(images, None), get_model()
    photos.preprocess, finish = split_preprocess(model.preprocess, model.device)
    batches = [batch for shard in shards for batch in shard]
    total, opened, encoded, stored = sum(map(len, batches)), 0, 0, 0
    bar = tqdm(total=total, desc="embedding", unit=" images", disable=not progress)
    stream = load_batches(photos, batches, workers, str(model.device))
    try:
        for shard in shards:
            vectors, items = [], []
            for _ in shard:
                pixels, about = next(stream)
                if pixels is not None:
                    vectors.append(model.encode_images(finish(pixels), features=features))
                items += about
                bar.update(len(about))
            opened += len(items)
            encoded += _finish(items, vectors, rows, shelf)
            stored += len(items)
    except KeyboardInterrupt:
        done = f"stopped after {stored:,} of {total:,} images"
        if shelf is None:
            raise KeyboardInterrupt(f"{done}; without a store, none are kept.") from None
        raise KeyboardInterrupt(f"{done}, which are stored; the same call goes on there.") from None
    finally:
        stream.close()
        bar.close()
    return opened, encoded


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
    rows = _Rows(unique, [None] * len(unique), "float32")
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
            matrix = unit_rows(_to_numpy(model.encode_texts([unique[i] for i in part])))
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
    """Shards of batches of positions; borders lie at fixed positions, not where a run stopped."""
    step = batch_size * max(1, shard_size // batch_size)
    i, n = part
    shards = []
    for start in range((i - 1) * step, len(missing), n * step):
        todo = start + np.flatnonzero(missing[start : start + step])
        if len(todo):
            shards.append([todo[i : i + batch_size] for i in range(0, len(todo), batch_size)])
    return shards


class _Rows:
    """Rows of the result by position among the unique keys, stored ones and new ones alike."""

    def __init__(self, keys, image_ids, dtype):
        self.keys = np.asarray(keys, dtype=object)
        self.image_id = np.asarray(image_ids, dtype=object)
        self.dtype = dtype
        self.done = np.zeros(len(keys), dtype=bool)
        # one row more than keys: it is what the code -1 of an absent image points to
        self.about = {name: np.full(len(keys) + 1, None, object) for name in COLUMNS[2:]}
        self.matrix = None

    def missing(self) -> np.ndarray:
        return ~self.done

    def put(self, positions, rows, matrix):
        """Take over rows; `matrix` holds those without a reason, in order."""
        self.done[positions] = True
        for name, column in self.about.items():
            column[positions] = rows[name].to_numpy(object, na_value=None)
        if len(matrix) == 0:
            return
        if self.matrix is None:
            self.matrix = np.zeros((len(self.keys), matrix.shape[1]), dtype=np.float32)
        readable = rows["reason"].isna().to_numpy()
        # float16 rows are of length 1 to three digits only
        self.matrix[positions[readable]] = matrix if matrix.dtype == "f4" else unit_rows(matrix)

    def embeddings(self, images, codes, absent, opened, encoded) -> Embeddings:
        """Back from unique files to the rows of the images table."""
        about = {name: column[codes] for name, column in self.about.items()}
        reason = np.where(codes < 0, np.array(absent, dtype=object), about["reason"])
        readable = pd.isna(reason)
        unreadable = images.loc[~readable, ["image_id", "file"]].reset_index(drop=True)
        unreadable["reason"] = reason[~readable]
        sha256 = about["sha256"][~readable]
        unreadable["sha256"] = np.where(pd.isna(sha256), "", sha256)
        if not readable.any():
            raise DataError(
                f"none of {len(images):,} images could be read; the first, {unreadable.file[0]}: "
                f"{unreadable.reason[0]}; check the data folder."
            )
        kept = codes[readable]
        # a copy would double the memory of a large table for nothing
        same = len(kept) == len(self.matrix) and (kept == np.arange(len(kept))).all()
        return Embeddings(
            image_id=images["image_id"].to_numpy(object)[readable],
            matrix=self.matrix if same else self.matrix[kept],
            sha256=about["sha256"][readable],
            notes=about["notes"][readable],
            unreadable=unreadable,
            opened=opened,
            encoded=encoded,
        )


def _finish(items, vectors, rows, shelf) -> int:
    """Normalise, check and keep one shard; returns how many images were encoded."""
    positions = np.array([item[0] for item in items])
    table = pd.DataFrame(
        {
            "key": rows.keys[positions],
            "image_id": rows.image_id[positions],
            "sha256": [item[1] for item in items],
            "notes": [item[2] for item in items],
            "reason": [item[3] for item in items],
        },
        columns=COLUMNS,
        dtype=object,
    )
    matrix = np.zeros((0, 1), np.float32)
    if vectors:
        matrix = unit_rows(np.concatenate([_to_numpy(part) for part in vectors]))
    encoded = len(matrix)
    readable = np.flatnonzero(table["reason"].isna())
    finite = np.isfinite(matrix).all(axis=1)
    table.loc[readable[~finite], "reason"] = "the model gave no finite vector for it"
    matrix = matrix[finite].astype(rows.dtype)
    lasting = np.array([item[4] for item in items])
    lasting[readable[~finite]] = False
    if shelf is not None and lasting.any():
        shelf.write(table[lasting], matrix)
    rows.put(positions, table, matrix)
    return encoded


def _to_numpy(array) -> np.ndarray:
    return np.asarray(array.detach().float().cpu() if hasattr(array, "detach") else array)

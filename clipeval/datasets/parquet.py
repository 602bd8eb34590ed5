"""Parquet files: their labels as a table, and where their images are, without the image bytes."""

import json
import re
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from clipeval.datasets.labelfile import few, quoted, read_table
from clipeval.errors import DataError, first_line

IMAGE = "image"  # column of bytes, or of structs with `bytes` and `path`


def read_rows(path: str | Path) -> pd.DataFrame:
    """A label file with one row an image, CSV, TSV or parquet, indexed by line (`read_table`).

    Of a parquet file (by its suffix), columns keep their types, columns of bytes are left out, and
    numbers that the file's own class names stand beside become those names; `attrs["images"]` are
    the columns that hold image bytes. Its lines are rows, first = 1.
    """
    path = Path(path)
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    table = _read_labels(path) if is_parquet else read_table(path)
    if "row" in table:
        raise DataError(f'{path} has a column "row", a name of ours; rename it.')
    return table


def _read_labels(path: Path) -> pd.DataFrame:
    file = _open(path)
    images = _byte_columns(file.schema_arrow)
    table = _read(file, [n for n in file.schema_arrow.names if n not in images], path)
    table.index = pd.RangeIndex(1, len(table) + 1, name="line")
    if table.empty and not images:
        raise DataError(f"{path} has no rows; name a file with rows.")
    for column, names in class_names(path).items():
        if column in table and pd.api.types.is_integer_dtype(table[column]):
            table[column] = _named(table[column], names, path)
    table.attrs["images"] = images
    return table


def _named(codes: pd.Series, names: Sequence[str], path: Path) -> pd.Categorical:
    if (odd := ~codes.between(0, len(names) - 1)).any():
        raise DataError(
            f"{path}, row {codes.index[odd][0]}: {codes.name} is {codes[odd].iloc[0]}, and the file "
            f"names {len(names)} classes (from 0); use the original file."
        )
    return pd.Categorical([names[code] for code in codes], categories=list(names), ordered=True)


def _byte_columns(schema) -> list[str]:
    """Columns of bytes, or of structs that hold bytes."""
    import pyarrow.types as kinds

    def is_bytes(kind) -> bool:
        if kinds.is_struct(kind):
            return any(field.name == "bytes" and is_bytes(field.type) for field in kind)
        return kinds.is_binary(kind) or kinds.is_large_binary(kind)

    return [field.name for field in schema if is_bytes(field.type)]


def shards(root: Path, config: str, split: str) -> list[Path]:
    """The parquet files of one config and split in order; a missing shard is refused."""
    flat = root.name == config or any(root.glob(f"{split}-*.parquet"))
    folder = root if flat else root / config
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no {split}-*.parquet; {_elsewhere(root, split)}.")
    # "train-00000-of-00002.parquet", or with a hash after the numbers
    numbered = [m.groups() for f in files if (m := re.search(r"-(\d+)-of-(\d+)", f.name))]
    if numbered:
        total = max(total for _, total in numbered)
        parts = {part for part, _ in numbered}
        missing = [n for i in range(int(total)) if (n := f"{i:0{len(total)}d}") not in parts]
        if missing:
            names = few(f"{split}-{n}-of-{total}" for n in missing)
            raise DataError(
                f"{folder}: {split} has {len(parts)} of {int(total)} parquet files, without "
                f"{names}; complete the download."
            )
        if len(files) > int(total):
            raise DataError(
                f"{folder}: {split} has {len(files)} parquet files where {int(total)} belong, as "
                "two versions are mixed; keep those of one."
            )
    return files


def _elsewhere(root: Path, split: str) -> str:
    """Where the parquet files are that lie or are named otherwise, and what to do with them."""
    found = sorted(root.rglob("*.parquet"))
    if named := [path for path in found if path.name.startswith(f"{split}-")]:
        return f"it is in {named[0].parent}: give that folder as data"
    if found:
        return (
            f"{found[0].relative_to(root)} is there: call the files of this split "
            f"{split}-00000-of-00001.parquet and so on, or choose another split"
        )
    return "check data, padding or config, and split"


def _open(file: Path):
    import pyarrow.parquet as pq

    with _refusing_damage(file):
        return pq.ParquetFile(file)


def _read(parquet, columns: Sequence[str], file: Path) -> pd.DataFrame:
    """Columns of an open parquet file."""
    with _refusing_damage(file):
        return parquet.read(columns=columns).to_pandas()


@contextmanager
def _refusing_damage(file: Path):
    """DataError for whatever pyarrow and pandas raise on bytes, or a description of columns, that make no sense."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        reason = first_line(error) or type(error).__name__
        raise DataError(f"{file} cannot be read as parquet ({reason}); fetch it again.") from None


def class_names(file: Path) -> dict[str, list[str]]:
    """Column -> class names in the `huggingface` metadata of a parquet file ({} without it)."""
    raw = (_open(file).schema_arrow.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(raw).get("info", {}).get("features", {}) if raw else {}
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and _are_names(feature.get("names"))
        }
    except (ValueError, AttributeError, TypeError):  # not as the hub's library writes it
        return {}


def _are_names(names) -> bool:
    """Whether these are names of classes: texts, each once."""
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return texts and len(set(names)) == len(names)


def schema(file: Path):
    """The arrow schema of a parquet file."""
    return _open(file).schema_arrow


def read_shards(files: Sequence[Path], columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of parquet `files`, without the image bytes.

    Returns
    -------
    DataFrame with `columns`, `path` (name of the image where the file gives one, else None), `file`
    (absolute path of the parquet file) and `row` (row in it, from 0)
    """
    tables = []
    for file in files:
        parquet = _open(file)
        schema = parquet.schema_arrow
        images = need_images(schema, file)
        if missing := [name for name in columns if name not in schema.names]:
            raise DataError(
                f"{file} has no column {few(missing, 9)} (it has {few(schema.names, 12)}); use the "
                "original file."
            )
        named = (
            any(field.name == "path" for field in images.type) if images.type.num_fields else False
        )
        table = _read(parquet, [*columns, *([f"{IMAGE}.path"] if named else [])], file)
        image = table.pop(IMAGE) if named else [None] * len(table)
        table["path"] = pd.Series([(item or {}).get("path") for item in image], dtype=object)
        table["file"] = str(Path(file).absolute())
        table["row"] = range(len(table))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def need_images(schema, file: Path):
    """The field of the column `image`; refused where there is none that holds bytes."""
    held = _byte_columns(schema)
    if IMAGE in held:
        return schema.field(IMAGE)
    if held:
        raise DataError(
            f'{file} holds its images in column {quoted(held[0])}; call that column "{IMAGE}".'
        )
    raise DataError(
        f'{file} has no column "{IMAGE}" with the bytes of images (it has {few(schema.names, 12)}); '
        "use the original file."
    )


def image_ids(paths: pd.Series, split: str) -> list[str]:
    """The names that `paths` gives; where one is missing or repeated, "SPLIT/000123" for all."""
    if paths.notna().all() and paths.is_unique:
        return list(paths)
    return [f"{split}/{i:06d}" for i in range(len(paths))]


def first_images(file: Path) -> list[bytes]:
    """The bytes of the first four images of a parquet file."""
    with _refusing_damage(file):
        batch = next(_open(file).iter_batches(batch_size=4, columns=[IMAGE]), None)
    items = batch.column(0).to_pylist() if batch else []
    images = [item.get("bytes") if isinstance(item, dict) else item for item in items]
    return [image for image in images if image]

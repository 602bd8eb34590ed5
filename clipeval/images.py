"""Photographs as they come: bytes from a file or a parquet row, decoded by content to upright RGB.

Pixels equal those of the loop everybody writes, ``Image.open(file).convert("RGB")``, with three
differences, the first two returned as notes so that a report can count the images concerned:

- an EXIF orientation is applied (a plain loop embeds such a photo lying on its side);
- 16-bit grey is scaled to 8 bit (`convert` may clip it to white);
- an image that is cut short, or holds more pixels than a photo can, is refused and not half read.

Transparency is dropped as `convert` drops it (no background is put beneath); that is noted too.
"""

import io
import os
import warnings
from bisect import bisect_right
from functools import lru_cache

import numpy as np

__all__ = ["UnreadableImage", "decode_image", "open_image", "read_bytes"]

# models resize the shorter side to a few hundred pixels: 65,500 x 1 would become 15 million wide
MAX_ASPECT = 1000


class UnreadableImage(Exception):
    """An image has no usable pixels; `str(error)` is the reason, short enough for a table."""


def open_image(data: bytes):
    """Decode an image by its content to an upright RGB image; see `decode_image`."""
    return decode_image(data)[0]


def decode_image(data: bytes):
    """Decode an image by its content, whatever its file was called.

    Parameters
    ----------
    data : bytes of the whole file

    Returns
    -------
    (image, notes) : PIL.Image in mode RGB, and a string that says what is special about the file:
        "", "exif-rotated", "16-bit", "transparency dropped", or several joined by "; "

    Raises
    ------
    UnreadableImage  with the reason
    MemoryError      if there is not enough memory now
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise UnreadableImage("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # untidy metadata
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise UnreadableImage(f"{width} x {height} pixels is too narrow to resize")
            image.load()
            return _upright_rgb(image)
    except (UnreadableImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("not an image, or a format that Pillow cannot read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableImage(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise UnreadableImage(_one_line(error)) from None


def _upright_rgb(image):
    from PIL import Image

    notes = []
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turn |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    # after load(), because Pillow turns TIFF files by itself and then removes the tag
    turn = turn.get(_orientation(image))
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _eight_bit(image)
        notes.append("16-bit")
    elif image.mode == "F":
        raise UnreadableImage("pixels are floating-point numbers without a stated range")
    elif image.has_transparency_data:
        notes.append("transparency dropped")
    if image.mode != "RGB":
        image = image.convert("RGB")
    if turn:
        image = image.transpose(Image.Transpose[turn])
        notes.append("exif-rotated")
    return image, "; ".join(notes)


def _orientation(image) -> int:
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata does not make the pixels unreadable
        return 1


def _eight_bit(image):
    """Grey of 16 bits scaled so that 65,535 becomes 255."""
    from PIL import Image

    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise UnreadableImage("grey values beyond 16 bits have no stated range")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))


def _one_line(error) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def read_bytes(file: str, row: int | None = None) -> bytes:
    """Bytes of one image: the whole file, or row `row` of column `image` of a parquet file.

    Raises
    ------
    UnreadableImage  if the row holds no bytes
    OSError          if the file cannot be read
    """
    if row is None:
        with open(file, "rb") as handle:
            return handle.read()
    stat = os.stat(file)
    offsets = _row_groups(file, stat.st_mtime_ns, stat.st_size)[1]
    group = bisect_right(offsets, row) - 1
    if row < 0 or row >= offsets[-1]:
        raise UnreadableImage(f"no row {row} in this parquet file")
    value = _row_group(file, stat.st_mtime_ns, stat.st_size, group)[row - offsets[group]].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise UnreadableImage("the parquet row holds no image bytes")
    return data


@lru_cache(maxsize=4)
def _row_groups(file, mtime_ns, size):
    """Open parquet file and where each row group starts; time and size tell a changed file."""
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    return parquet, [0, *np.cumsum(sizes).tolist()]


@lru_cache(
    maxsize=1
)  # images are read in order: one row group at a time is all the memory this needs
def _row_group(file, mtime_ns, size, group):
    parquet = _row_groups(file, mtime_ns, size)[0]
    table = parquet.read_row_group(group, columns=["image"], use_threads=False)
    return table.column("image")

"""Photographs as they come: bytes from a file or a parquet row, decoded by content to upright RGB.

Pixels equal those of the loop everybody writes, ``Image.open(file).convert("RGB")``, with three
differences:

- an EXIF orientation is applied (a plain loop embeds such a photo lying on its side);
- 16-bit grey is scaled to 8 bit (`convert` may clip it to white);
- an image that is cut short, or holds more pixels than a photo can, is refused and not half read.

Transparency is dropped as `convert` drops it (no background is put beneath), and of an animation
the first frame is used. All of this is returned as notes, and `say_notes` counts the images that
have one.
"""

import io
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

import numpy as np

from clipeval.errors import one_line
from clipeval.files import file_state

__all__ = ["UnreadableImage", "decode_image", "open_image", "read_bytes", "say_notes"]

#: note of `decode_image` -> how a report says it of a number of images
NOTES = {
    "exif-rotated": "turned upright by their orientation tag",
    "16-bit": "scaled from 16 bits to 8",
    "16-bit, few used": "with few of their 16 bits used, so that they are dark",
    "transparency dropped": "with transparency, which was dropped",
    "several frames": "animated or of several pages, of which the first was used",
}
# models resize the shorter side to a few hundred pixels: 65,500 x 1 would become 15 million wide
MAX_ASPECT = 1000
# cameras and scanners write 12 or 14 significant bits into a file of 16
FEW_BITS = 14


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
        "" or keys of `NOTES`, several of them joined by "; "

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
            turned = image.format == "TIFF" and _orientation(image) in range(2, 9)
            image.load()
            image, notes = _upright_rgb(image)
            notes += ["exif-rotated"] if turned else []  # Pillow did it, and removed the tag
            return image, "; ".join([*notes, *(["several frames"] if _frames(data) > 1 else [])])
    except (UnreadableImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("not an image, or a format that Pillow cannot read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableImage(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise UnreadableImage(one_line(error)) from None


def _frames(data: bytes) -> int:
    """Frames or pages of an image; the further ones of a phone's JPEG (MPO) are not counted."""
    from PIL import Image

    if data[:3] == b"\xff\xd8\xff":
        return 1
    with suppress(Exception):  # what follows the first frame is not looked at otherwise
        return getattr(Image.open(io.BytesIO(data)), "n_frames", 1)
    return 1


def _upright_rgb(image):
    from PIL import Image

    notes = []
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turn |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    # after load(), because Pillow turns TIFF files by itself and then removes the tag
    turn = turn.get(_orientation(image))
    if image.mode == "I" or image.mode.startswith("I;16"):
        image, used = _eight_bit(image)
        notes.append("16-bit" if used > FEW_BITS else "16-bit, few used")
    elif image.mode == "F":
        raise UnreadableImage("pixels are floating-point numbers without a stated range")
    elif image.has_transparency_data:
        notes.append("transparency dropped")
    if image.mode != "RGB":
        image = image.convert("RGB")
    if turn:
        image = image.transpose(Image.Transpose[turn])
        notes.append("exif-rotated")
    return image, notes


def _orientation(image) -> int:
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata does not make the pixels unreadable
        return 1


def _eight_bit(image):
    """Grey of 16 bits scaled so that 65,535 becomes 255, and how many bits its brightest pixel has."""
    from PIL import Image

    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise UnreadableImage("grey values beyond 16 bits have no stated range")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8)), int(grey.max()).bit_length()


def say_notes(notes: Iterable[str | None]) -> str:
    """What is special about a set of images, with counts; "" where nothing is.

    Parameters
    ----------
    notes : one string an image, as `decode_image` returns them

    >>> say_notes(["", "exif-rotated", "exif-rotated; transparency dropped"])
    'Of 3 images: 2 turned upright by their orientation tag; 1 with transparency, which was dropped.'
    """
    notes = [note or "" for note in notes]
    counts = Counter(part for note in notes for part in note.split("; ") if part)
    parts = [f"{counts[note]:,} {said}" for note, said in NOTES.items() if counts[note]]
    return f"Of {len(notes):,} images: {'; '.join(parts)}." if parts else ""


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
    state = file_state(file)
    offsets = _row_groups(file, state)[1]
    group = bisect_right(offsets, row) - 1
    if row < 0 or row >= offsets[-1]:
        raise UnreadableImage(f"no row {row} in this parquet file")
    value = _row_group(file, state, group)[row - offsets[group]].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise UnreadableImage("the parquet row holds no image bytes")
    return data


@lru_cache(maxsize=4)
def _row_groups(file, state):
    """Open parquet file and where each row group starts; the state tells a changed file."""
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    return parquet, [0, *np.cumsum(sizes).tolist()]


@lru_cache(
    maxsize=1
)  # images are read in order: one row group at a time is all the memory this needs
def _row_group(file, state, group):
    parquet = _row_groups(file, state)[0]
    table = parquet.read_row_group(group, columns=["image"], use_threads=False)
    return table.column("image")

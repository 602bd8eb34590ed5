"""Photos as they come: decoded as an independent reader would, or refused with a reason."""

import io
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from clipeval.embedding.images import (
    UnreadableImage,
    decode_image,
    open_image,
    read_bytes,
    say_notes,
)


def encoded(image, format, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def plain(data: bytes) -> np.ndarray:
    """Pixels of the loop everybody writes."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 48))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_mode_equals_a_plain_convert(photo, mode):
    if mode == "LA":
        photo = photo.convert("L")
    format = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    data = encoded(photo.convert(mode), format)
    image = open_image(data)
    assert image.mode == "RGB" and image.size == (64, 48)
    np.testing.assert_array_equal(np.asarray(image), plain(data))


def test_transparency_is_dropped_and_noted(photo):
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    for data in (encoded(photo, "PNG"), encoded(photo.quantize(16), "PNG")):
        image, notes = decode_image(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_array_equal(np.asarray(image), plain(data))
        assert notes == "transparency dropped"


def test_sixteen_bits_are_scaled_and_not_clipped():
    grey = np.linspace(0, 65535, 100).round().astype(np.uint16).reshape(10, 10)
    for format in ("PNG", "TIFF"):
        image, notes = decode_image(encoded(Image.fromarray(grey), format))
        levels = np.asarray(image)
        assert notes == "16-bit"
        np.testing.assert_array_equal(levels[..., 0], np.round(grey / 257.0))
        assert (levels[..., 0] == levels[..., 1]).all() and (levels[..., 0] == levels[..., 2]).all()


@pytest.mark.parametrize(
    ("bits", "note"), [(8, "16-bit, few used"), (12, "16-bit, few used"), (16, "16-bit")]
)
def test_sixteen_bits_of_which_few_are_used_are_noted(bits, note):
    """As cameras and scanners write them; the pixels stay those that 65,535 as white gives."""
    grey = np.linspace(0, 2**bits - 1, 100).round().astype(np.uint16).reshape(10, 10)
    image, notes = decode_image(encoded(Image.fromarray(grey), "PNG"))
    assert notes == note
    np.testing.assert_array_equal(np.asarray(image)[..., 0], np.round(grey / 257.0))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_used_and_noted(photo, format):
    other = Image.new("RGB", photo.size, "red")
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = encoded(photo, format, save_all=True, append_images=[other, other], **lossless)
    image, notes = decode_image(data)
    assert notes == "several frames"
    np.testing.assert_array_equal(np.asarray(image), plain(data))
    assert decode_image(encoded(photo, format, **lossless))[1] == ""


def test_what_is_special_is_counted():
    notes = ["", "exif-rotated", None, "transparency dropped; exif-rotated", "several frames"]
    assert say_notes(notes) == (
        "Of 5 images: 2 turned upright by their orientation tag; 1 with transparency, which was "
        "dropped; 1 animated or of several pages, of which the first was used."
    )
    assert say_notes(["", None]) == "" and say_notes([]) == ""


def test_thirty_two_bit_grey_within_sixteen_bits_is_scaled_and_beyond_is_refused():
    grey = np.array([[0, 257, 65535]], dtype=np.int32)
    np.testing.assert_array_equal(
        np.asarray(open_image(encoded(Image.fromarray(grey), "TIFF")))[0, :, 0], [0, 1, 255]
    )
    with pytest.raises(UnreadableImage, match="beyond 16 bits"):
        open_image(encoded(Image.fromarray(grey * 2), "TIFF"))
    with pytest.raises(UnreadableImage, match="floating-point"):
        open_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_cmyk_jpeg_with_adobe_marker_keeps_its_colour():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(np.asarray(open_image(data)).astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied_once(photo, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, format, exif=exif)
    image, notes = decode_image(data)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(upright))
    assert image.size == ((48, 64) if orientation >= 5 else (64, 48))
    if format != "TIFF":  # Pillow itself turns those
        assert notes == ("exif-rotated" if orientation > 1 else "")


def test_damaged_exif_does_not_cost_the_photo(photo):
    data = encoded(photo, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = open_image(data)
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        np.testing.assert_array_equal(np.asarray(image), plain(data))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_cut_short_is_refused_and_not_half_grey(format, part):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)
    open_image(data)
    with pytest.raises(UnreadableImage):
        open_image(data[: int(part * len(data))])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"not a photo at all\n" * 20, "not an image"),
        (b"<html>404</html>", "not an image"),
        (encoded(Image.new("L", (65000, 1)), "PNG"), "too narrow"),
    ],
)
def test_what_is_no_photo_has_a_reason(data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        open_image(data)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    data = encoded(Image.new("L", (300, 300)), "PNG")
    for limit in (300 * 299, 300 * 100):  # Pillow warns of the one and raises for the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnreadableImage, match="more than .* pixels"):
            open_image(data)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50)])
def test_odd_sizes_are_read(size):
    assert open_image(encoded(Image.new("RGB", size, "red"), "JPEG")).size == size


def test_congress_photos_equal_a_plain_loop(real):
    files = sorted((real / "congress_2017" / "images").iterdir())
    assert len(files) == 540
    dropped = 0
    for file in files:
        data = read_bytes(str(file))
        image, notes = decode_image(data)
        dropped += notes == "transparency dropped"
        if data[:4] == b"\x89PNG":
            np.testing.assert_array_equal(np.asarray(image), plain(data))
    assert dropped == 8


def test_rows_of_a_parquet_file(tmp_path, photo):
    photos = [encoded(Image.new("RGB", (4, 4), (i, 0, 0)), "PNG") for i in range(10)]
    column = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(photos)]
    column.append({"bytes": None, "path": "gone.png"})
    file = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": column}), file, row_group_size=3)
    for row in (0, 9, 4, 2, 3):
        assert read_bytes(file, row) == photos[row]
    with pytest.raises(UnreadableImage, match="holds no image bytes"):
        read_bytes(file, 10)
    with pytest.raises(UnreadableImage, match="no row 11"):
        read_bytes(file, 11)
    pq.write_table(pa.table({"image": column[5:]}), file)
    assert read_bytes(file, 0) == photos[5]

"""Cells of an Excel workbook as text: enough for label files whose makers distribute them so."""

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from clipeval.errors import DataError, one_line

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_LARGEST = 100_000_000  # bytes of one part, unpacked


def read_sheets(path: str | Path) -> dict[str, dict[int, list[str]]]:
    """Sheet -> row number -> its cells from column A on, "" where empty.

    Numbers are as the file stores them; dates are therefore numbers of days.

    Raises
    ------
    DataError  if the file is not a readable .xlsx workbook
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = _shared_texts(archive)
            return {name: _rows(_part(archive, part), texts) for name, part in _sheets(archive)}
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, LookupError, ValueError) as error:
        reason = one_line(error)
        raise DataError(
            f"{path} cannot be read as an Excel workbook ({reason}); fetch it again."
        ) from None


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if (size := archive.getinfo(name).file_size) > _LARGEST:
        raise ValueError(f"{name} has {size:,} bytes")
    return ElementTree.fromstring(archive.read(name))


def _sheets(archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    """(name, part of the archive) of each sheet."""
    links = _part(archive, "xl/_rels/workbook.xml.rels")
    parts = {link.get("Id"): link.get("Target", "").lstrip("/") for link in links}
    sheets = _part(archive, "xl/workbook.xml").iter(f"{_MAIN}sheet")
    found = [(sheet.get("name", ""), parts[sheet.get(_ID)]) for sheet in sheets]
    return [(name, part if part.startswith("xl/") else f"xl/{part}") for name, part in found]


def _shared_texts(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    items = _part(archive, "xl/sharedStrings.xml").findall(f"{_MAIN}si")
    return ["".join(text.text or "" for text in item.iter(f"{_MAIN}t")) for item in items]


def _rows(sheet: ElementTree.Element, texts: list[str]) -> dict[int, list[str]]:
    rows: dict[int, list[str]] = {}
    for row in sheet.iter(f"{_MAIN}row"):
        cells: list[str] = []
        for cell in row.findall(f"{_MAIN}c"):
            column = _column(cell.get("r", ""), len(cells))
            cells += [""] * (column - len(cells)) + [_text(cell, texts).strip()]
        rows[int(row.get("r") or len(rows) + 1)] = cells
    return rows


def _column(reference: str, following: int) -> int:
    """Position from 0 of a cell such as "AB12"; `following` where it does not say."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    if not letters:
        return following
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _text(cell: ElementTree.Element, texts: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(text.text or "" for text in cell.iter(f"{_MAIN}t"))
    value = cell.findtext(f"{_MAIN}v") or ""
    return texts[int(value)] if cell.get("t") == "s" and value else value

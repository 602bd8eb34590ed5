"""The result while it is being made: a row for each file, whatever the order in which rows come in."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clipeval.errors import DataError

__all__ = ["Embeddings", "Rows", "unit_rows"]


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
    at_once : most images that went through the model at once; 0 where none did
    """

    image_id: np.ndarray
    matrix: np.ndarray
    sha256: np.ndarray
    notes: np.ndarray
    unreadable: pd.DataFrame
    opened: int = 0
    encoded: int = 0
    at_once: int = 0

    def __len__(self):
        return len(self.image_id)

    def kept(self, rows: np.ndarray) -> "Embeddings":
        """Those of some images: a mask (n,) or positions."""
        columns = ("image_id", "matrix", "sha256", "notes")
        return replace(self, **{c: getattr(self, c)[rows] for c in columns})

    def by_image(self) -> pd.DataFrame:
        """What was read of each image: image_id, sha256, notes, reason (missing where it could be read)."""
        columns = ["image_id", "sha256", "notes"]
        read = pd.DataFrame({c: getattr(self, c) for c in columns}, dtype=object)
        return pd.concat([read, self.unreadable]).reindex(columns=[*columns, "reason"])

    @classmethod
    def from_images(cls, by_image: pd.DataFrame, matrix: np.ndarray) -> "Embeddings":
        """The same again of what `by_image` returned, and of the matrix of those that could be read."""
        readable = by_image["reason"].isna()
        known, lost = by_image[readable], by_image[~readable].reset_index(drop=True)
        lost = lost.assign(file=lost["image_id"])[["image_id", "file", "reason", "sha256"]]
        columns = {c: known[c].to_numpy(object) for c in ("image_id", "sha256", "notes")}
        return cls(matrix=matrix, unreadable=lost.infer_objects(), **columns)


def unseen(contents, others) -> np.ndarray:
    """Which contents are not among the others: what may be fitted on where the others are counted.

    Parameters
    ----------
    contents, others : arrays of str, (n,) and (m,), hashes as in `Embeddings.sha256`; "" where one is unknown

    Returns
    -------
    bool array (n,)
    """
    contents = np.asarray(contents, object)
    return (contents == "") | ~pd.Index(contents, dtype=object).isin(others)


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


class Rows:
    """A row for each of n files (or prompts), by position.

    Attributes
    ----------
    done : (n,) bool, which have their row
    about : "sha256", "notes", "reason" -> (n + 1,) array; of the last, nothing is known: it is what
        the code -1 of an absent file points to. The sha256 may be known before the row.
    matrix : (n, d) float32, of files without a reason; None as long as there is none

    Parameters
    ----------
    n : files
    dtype : as stored
    vectors : keep the matrix; False where the store alone is to have it, so that memory does not hold it
    """

    def __init__(self, n: int, dtype: str = "float32", *, vectors: bool = True):
        self.dtype, self.vectors = dtype, vectors
        self.done = np.zeros(n, dtype=bool)
        self.about = {name: np.full(n + 1, None, object) for name in ("sha256", "notes", "reason")}
        self.matrix = None
        self.at_once = 0  # most images that went through the model at once

    @property
    def contents(self) -> np.ndarray:
        """(n,) sha256 of each file's content; None where it was not read yet."""
        return self.about["sha256"][:-1]

    def missing(self) -> np.ndarray:
        """(n,) bool, which have no row yet."""
        return ~self.done

    def put(self, positions, rows, matrix):
        """Take over rows; `matrix` holds those without a reason, in order."""
        self.done[positions] = True
        for name, column in self.about.items():
            column[positions] = rows[name].to_numpy(object, na_value=None)
        if len(matrix) == 0 or not self.vectors:
            return
        if self.matrix is None:
            self.matrix = np.zeros((len(self.done), matrix.shape[1]), dtype=np.float32)
        readable = rows["reason"].isna().to_numpy()
        # float16 rows are of length 1 to three digits only
        self.matrix[positions[readable]] = matrix if matrix.dtype == "f4" else unit_rows(matrix)

    def fill(self, shelf) -> None:
        """Give files their rows by content: from files that hold the same, and from the store."""
        if self.done.all():
            return
        codes, unique = pd.factorize(self.contents)  # code -1: not read yet
        source = np.full(len(unique), -1)
        done = np.flatnonzero(self.done & (codes >= 0))[::-1]
        source[codes[done]] = done
        need = np.flatnonzero(~self.done & (codes >= 0))
        same = source[codes[need]]
        self._copy(same[same >= 0], need[same >= 0])
        need = need[same < 0]
        if shelf is None or len(need) == 0:
            return
        wanted, unique = pd.factorize(self.contents[need])
        for positions, rows, matrix in shelf.read(unique):
            place = np.full(len(unique), -1)
            place[positions] = np.arange(len(positions))
            take = place[wanted]  # several files may hold the same
            here, take = need[take >= 0], take[take >= 0]
            readable = rows["reason"].isna().to_numpy()
            vectors = matrix[(np.cumsum(readable) - 1)[take][readable[take]]]
            self.put(here, rows.iloc[take], vectors)

    def _copy(self, source, target) -> None:
        """Give `target` the rows of `source`."""
        self.done[target] = True
        for column in self.about.values():
            column[target] = column[source]
        if self.matrix is not None:
            self.matrix[target] = self.matrix[source]

    def embeddings(self, images, codes, absent, opened, encoded) -> Embeddings:
        """Back from different files to the rows of the images table.

        Parameters
        ----------
        codes : position of each image's file among the rows; -1 where there is no such file
        absent : why there is none
        """
        about = {name: column[codes] for name, column in self.about.items()}
        reason = np.where(codes < 0, absent, about["reason"])
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
            at_once=self.at_once,
        )

"""From a video to a folder of frames and a captions CSV to be filled in by hand."""

import csv
import shutil
import subprocess
from pathlib import Path

from clipeval.datasets.base import list_images
from clipeval.datasets.cctv import COLUMNS
from clipeval.datasets.labelfile import read_table
from clipeval.errors import DataError, ParameterError


def cut_video(
    video: str | Path, out: str | Path, every_seconds: float = 2.0, *, sequence: str = ""
) -> Path:
    """Cut a video into frames, and list them in a captions CSV that is ready to be filled in.

    Parameters
    ----------
    video : a video file that ffmpeg, which must be on the PATH, can read
    out : folder for `SEQUENCE/001.jpg` ... and `frames.csv`; other sequences in it are kept
    every_seconds : seconds between two frames
    sequence : name of this clip; default the name of the video file

    Returns
    -------
    Path of `frames.csv`, with the columns of the cctv data set and empty captions for the new
    frames

    Raises
    ------
    DataError  if there is no such video, it cannot be decoded, or `out` holds this sequence already
    """
    video, out = Path(video), Path(out)
    if not every_seconds > 0:
        raise ParameterError(
            f"every_seconds={every_seconds} is not positive; give seconds, e.g. 2."
        )
    if not video.is_file():
        raise DataError(f"{video} does not exist; give the path of a video file.")
    sequence = sequence or video.stem
    folder, table = out / sequence, out / "frames.csv"
    if folder.exists():
        raise DataError(f"{folder} exists already; choose another sequence name or remove it.")
    if table.is_file() and (columns := _columns(table)) != COLUMNS:
        raise DataError(f"{table} has other columns ({', '.join(columns)}); choose another folder.")
    folder.mkdir(parents=True)
    try:
        _cut(video, folder, every_seconds)
        frames = list_images(folder)
        if not frames:
            raise DataError(f"{video} gave no frame; check that it is a video that can be played.")
    except BaseException:
        shutil.rmtree(folder)
        raise
    new = not table.is_file()
    with open(table, "a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        if new:
            writer.writeheader()
        for number, frame in enumerate(frames, start=1):
            writer.writerow(
                {
                    "image_id": f"{sequence}/{Path(frame).stem}",
                    "file": f"{sequence}/{frame}",
                    "sequence": sequence,
                    "frame": number,
                }
            )
    return table


def _columns(table: Path) -> tuple[str, ...]:
    return tuple(read_table(table, header_only=True).columns)


def _cut(video: Path, folder: Path, every: float) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        raise DataError(
            f"{video} cannot be cut without ffmpeg; install it (apt install ffmpeg, or conda install "
            "ffmpeg)."
        )
    command = [ffmpeg, "-nostdin", "-v", "error", "-i", str(video)]
    # the frame shown at 0, every, 2 x every ... seconds, at JPEG's best quality
    command += ["-vf", f"fps=1/{every}:round=up:start_time=0", "-qscale:v", "2"]
    done = subprocess.run([*command, str(folder / "%03d.jpg")], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(f"{video} cannot be decoded by ffmpeg ({reason}); convert it, e.g. to MP4.")

"""CCTV frames: captions kept or counted, every kind of bad row named, a video cut into frames."""

import csv
import os
import shutil
import stat

import pytest
from PIL import Image

from clipeval.datasets import load_dataset, video
from clipeval.datasets.cctv import COLUMNS
from clipeval.datasets.video import cut_video
from clipeval.errors import DataError, ParameterError

SCENES = ("yard", "hall", "shop", "road", "dock", "lift")


def row(scene, number, **changes):
    values = {
        "image_id": f"{scene}/{number}",
        "file": f"{scene}/{number}.jpg",
        "sequence": scene,
        "frame": str(number),
        "caption": f"an empty {scene}",
        "close_caption": f"a full {scene}",
    }
    return values | changes


def problems_of(data):
    try:
        load_dataset("cctv", str(data))
    except DataError as error:
        return error.problems
    return []


@pytest.fixture
def folder(tmp_path):
    """Six scenes of two frames."""
    for scene in SCENES:
        (tmp_path / scene).mkdir()
        for number in (1, 2):
            (tmp_path / scene / f"{number}.jpg").touch()
    return tmp_path


def write(folder, change=None, rows=None):
    """frames.csv of all scenes, its first row changed."""
    rows = rows or [row(scene, number) for scene in SCENES for number in (1, 2)]
    rows[0] |= change or {}
    with open(folder / "frames.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return str(folder)


def test_real_frames(real):
    images = load_dataset("cctv", str(real / "cctv"))
    with open(real / "cctv" / "frames.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(images) == len(rows) == 239
    assert images["caption"].notna().sum() == 228 and images["fine_truth"].notna().sum() == 65
    assert images["sequence"].nunique() == 7 and images.attrs["groups"] == ["sequence"]
    for column in ("image_id", "sequence", "caption", "close_caption", "fine_truth"):
        assert list(images[column].astype(object).where(images[column].notna(), "")) == [
            r[column] for r in rows
        ]
    assert list(images["frame"]) == [int(r["frame"]) for r in rows]
    assert images["main_caption"].nunique() == 7
    assert images.attrs["notes"] == [
        "11 of 239 frames have no caption and are in no coarse or stress test."
    ]


def test_a_table_without_rows_and_sequences_in_two_spellings(folder):
    (folder / "frames.csv").write_text(",".join(COLUMNS) + "\n")
    assert problems_of(folder) == [
        f"{folder}/frames.csv has a header and no rows; name a file with rows."
    ]
    write(folder, {"sequence": "Yard"})
    with pytest.raises(
        DataError, match='row 3: sequence "yard" and "Yard" .row 2. differ in spell'
    ):
        load_dataset("cctv", str(folder))


def test_a_good_folder_has_no_problem(folder):
    assert problems_of(write(folder)) == []
    images = load_dataset("cctv", str(folder), title="Mine", licence="ours")
    assert images.attrs["name"] == "Mine" and images.attrs["licence"] == "ours"
    assert images["main_caption"].isna().all() and images["frame"].tolist() == [1, 2] * 6


def test_only_file_and_caption_are_needed(folder):
    lines = ["file,caption", *(f"{scene}/1.jpg,a {scene}" for scene in SCENES)]
    (folder / "mine.csv").write_text("\n".join(lines))
    problems = problems_of(folder / "mine.csv")
    assert len(problems) == 6 and all("close_caption is empty" in p for p in problems)
    lines = ["file,caption,close_caption", *(f"{s}/1.jpg,a {s},two {s}" for s in SCENES)]
    (folder / "mine.csv").write_text("\n".join(lines))
    images = load_dataset("cctv", str(folder / "mine.csv"))
    assert list(images["sequence"]) == list(SCENES)
    assert images["image_id"][0] == "yard/1.jpg" and images["fine_truth"].isna().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file": "yard/9.jpg"}, 'image "yard/9.jpg" is not in'),
        ({"close_caption": ""}, "close_caption is empty; write one that is nearly true"),
        ({"close_caption": "An Empty yard"}, 'close_caption "An Empty yard" equals the caption'),
        ({"close_caption": "an  empty   yard "}, 'close_caption "an  empty   yard" equals the'),
        (
            {"close_caption": "An empty  HALL"},
            'close_caption "An empty  HALL" is on offer already, as a caption of sequence hall',
        ),
        ({"caption": ""}, "close_caption stands without a caption"),
        ({"fine_truth": "yes"}, 'fine_truth "yes" is not present, absent or empty'),
        ({"fine_truth": "present"}, "fine_truth needs both present_caption and absent_caption"),
        (
            {"fine_truth": "absent", "present_caption": "a  x", "absent_caption": "A x"},
            "present_caption equals absent_caption",
        ),
    ],
)
def test_each_problem_names_file_and_row(folder, change, said):
    problems = problems_of(write(folder, change))
    assert len(problems) == 1
    assert problems[0].startswith(f"{folder}/frames.csv, row 2: ") and said in problems[0]
    with pytest.raises(DataError) as caught:
        load_dataset("cctv", str(folder))
    assert str(caught.value) == problems[0]


def test_a_repeated_image_is_named_once_for_file_and_once_for_id(folder):
    rows = [row(scene, number) for scene in SCENES for number in (1, 2)]
    problems = problems_of(write(folder, rows=[*rows, row("yard", 1)]))
    assert [p.split("frames.csv, ")[1] for p in problems] == [
        'row 14: file "yard/1.jpg" already stands in row 2; keep one.',
        'row 14: image_id "yard/1" already stands in row 2; keep one.',
    ]


def test_all_problems_are_listed_in_the_order_of_the_file(folder):
    rows = [row(scene, 1) for scene in SCENES]
    rows[4]["fine_truth"] = "maybe"
    rows[2]["close_caption"] = ""
    problems = problems_of(write(folder, rows=rows))
    assert ["row 4" in problems[0], "row 6" in problems[1], len(problems)] == [True, True, 2]
    with pytest.raises(DataError, match=r"row 4.*\(1 more; `clipeval check cctv` lists") as found:
        load_dataset("cctv", str(folder))
    assert found.value.problems == problems


def test_few_scenes_are_a_note(folder):
    path = write(folder, rows=[row(scene, 1) for scene in SCENES[:5]])
    said = "captions of only 5 sequences to choose from"
    assert said in load_dataset("cctv", path).attrs["notes"][0]


def test_main_captions(folder):
    lines = [f"{scene},a {scene}" for scene in SCENES[:4]] + ["dock,A yard"]
    (folder / "sequences.csv").write_text("\n".join(["sequence,main_caption", *lines]))
    problems = problems_of(write(folder))
    assert 'sequence "lift" of frames.csv has no main_caption' in problems[0]
    assert 'sequences yard, dock have the same main_caption "a yard"' in problems[1]


def test_main_captions_of_other_scenes_are_on_offer_too(folder):
    lines = [f"{scene},the  {scene}" for scene in SCENES]
    (folder / "sequences.csv").write_text("\n".join(["sequence,main_caption", *lines]))
    problems = problems_of(write(folder, {"close_caption": "The dock"}))
    assert (
        len(problems) == 1 and "is on offer already, as a caption of sequence dock" in problems[0]
    )
    # a caption of the same sequence is on offer to none of its frames
    rows = [row(scene, number) for scene in SCENES for number in (1, 2)]
    rows[1]["caption"] = "a yard with a van"
    rows[0]["close_caption"] = "A yard with a  van"
    assert problems_of(write(folder, rows=rows)) == []


def test_main_captions_that_differ_in_spaces_are_the_same(folder):
    lines = [f"{scene},a {scene}" for scene in SCENES[:5]] + ["lift,A   yard"]
    (folder / "sequences.csv").write_text("\n".join(["sequence,main_caption", *lines]))
    assert (
        'sequences yard, lift have the same main_caption "a yard"' in problems_of(write(folder))[0]
    )


def test_no_csv(tmp_path):
    assert "holds no frames.csv" in problems_of(tmp_path)[0]
    with pytest.raises(DataError, match="holds no frames.csv; for cctv, data is the folder"):
        load_dataset("cctv", str(tmp_path))


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """An ffmpeg that writes three frames and its arguments."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    Image.new("RGB", (8, 8)).save(bin_folder / "frame.jpg")
    script = bin_folder / "ffmpeg"
    script.write_text(
        '#!/bin/sh\necho "$@" > "$(dirname "$0")/arguments"\nfor out; do :; done\n'
        'for i in 001 002 003; do cp "$(dirname "$0")/frame.jpg" "$(dirname "$out")/$i.jpg"; done\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    return bin_folder


def test_cut_video_writes_frames_and_a_csv_to_fill_in(fake_ffmpeg, tmp_path):
    (tmp_path / "gate.mp4").write_bytes(b"video")
    path = cut_video(tmp_path / "gate.mp4", tmp_path / "out", 2.5)
    assert "fps=1/2.5" in (fake_ffmpeg / "arguments").read_text()
    cut_video(tmp_path / "gate.mp4", tmp_path / "out", sequence="door")
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 6
    assert rows[4]["file"] == "door/002.jpg" and rows[4]["image_id"] == "door/002"
    assert all(r["caption"] == r["close_caption"] == "" for r in rows)
    images = load_dataset("cctv", str(tmp_path / "out"))
    assert len(images) == 6 and images["caption"].isna().all()


def test_cut_video_keeps_what_is_there(fake_ffmpeg, tmp_path):
    (tmp_path / "gate.mp4").write_bytes(b"video")
    path = cut_video(tmp_path / "gate.mp4", tmp_path / "out")
    before = path.read_text()
    with pytest.raises(DataError, match="exists already; choose another sequence name"):
        cut_video(tmp_path / "gate.mp4", tmp_path / "out")
    assert path.read_text() == before


def test_cut_video_refusals(tmp_path, monkeypatch):
    (tmp_path / "gate.mp4").write_bytes(b"video")
    with pytest.raises(ParameterError, match="every_seconds=0 is not positive"):
        cut_video(tmp_path / "gate.mp4", tmp_path / "out", 0)
    with pytest.raises(DataError, match="does not exist; give the path of a video"):
        cut_video(tmp_path / "no.mp4", tmp_path / "out")
    monkeypatch.setattr(video.shutil, "which", lambda name: None)
    with pytest.raises(DataError, match="cannot be cut without ffmpeg; install it"):
        cut_video(tmp_path / "gate.mp4", tmp_path / "out")
    assert not (tmp_path / "out" / "gate").exists()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_cut_video_with_ffmpeg(tmp_path):
    import subprocess

    clip = tmp_path / "clip.mp4"
    made = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=5:rate=10:size=64x48"]
    subprocess.run([*made, "-pix_fmt", "yuv420p", str(clip)], check=True)
    rows = cut_video(clip, tmp_path / "out", 2).read_text().splitlines()
    assert len(rows) == 1 + 3  # the frames at 0, 2 and 4 seconds
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="cannot be decoded by ffmpeg"):
        cut_video(tmp_path / "bad.mp4", tmp_path / "out")
    assert not (tmp_path / "out" / "bad").exists()

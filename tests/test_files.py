"""Files are met whole or not at all, whatever ends the writer; hashes are those of the standard."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from clipeval.errors import ParameterError, SetAside, first_line, listen, one_line
from clipeval.files import (
    LIST,
    Folder,
    as_json,
    file_sha256,
    file_state,
    keep,
    kept,
    sha256,
    whole_file,
    whole_folder,
)

# FIPS 180-2, appendix B
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hashes_are_those_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256("abc") == sha256(b"abc") == sha256("a", b"bc") == file_sha256(tmp_path / "abc")
    assert sha256("abc") == ABC
    assert sha256("ü") == sha256(b"\xc3\xbc")


def test_a_reader_meets_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "table"
    path.write_text("old")
    with whole_file(path) as beside:
        beside.write_text("ne")
        assert path.read_text() == "old"
        beside.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["table"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / "table"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"), whole_file(path, durable=True) as new:
            new.write_text("new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table"]


def test_a_writer_that_gives_up_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "table") as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "deck") as beside:
        (beside / "card").write_text("half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_no_half_file_under_the_name(tmp_path):
    code = (
        "import sys, time; from clipeval.files import whole_file\n"
        "with whole_file(sys.argv[1]) as beside:\n"
        "    beside.write_text('half'); print('half', flush=True); time.sleep(60)"
    )
    given = [sys.executable, "-c", code, str(tmp_path / "table")]
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    assert [name.endswith(".tmp") for name in os.listdir(tmp_path)] == [True]
    with whole_file(tmp_path / "table") as beside:
        beside.write_text(as_json({"whole": True}))
    assert json.loads((tmp_path / "table").read_text()) == {"whole": True}


def test_what_outlasts_a_power_cut_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, sync, replace = [], os.fsync, os.replace

    def noted_sync(handle):
        calls.append(os.fstat(handle).st_ino)
        sync(handle)

    def noted_replace(source, target):
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    with whole_file(tmp_path / "shard", durable=True) as beside:
        beside.write_text("x")
    file, folder = (tmp_path / "shard").stat().st_ino, tmp_path.stat().st_ino
    assert calls == [file, "replace", folder]
    with whole_file(tmp_path / "page") as beside:
        beside.write_text("x")
    assert calls[3:] == ["replace"]


def test_the_first_of_two_folders_stays(tmp_path):
    with whole_folder(tmp_path / "deck") as one, whole_folder(tmp_path / "deck") as two:
        (one / "card").write_text("one")
        (two / "card").write_text("two")
        assert not (tmp_path / "deck").exists()
    assert (tmp_path / "deck" / "card").read_text() == "two"  # the inner one ends first
    assert os.listdir(tmp_path) == ["deck"]


def test_json_is_readable_text():
    text = as_json({"name": "Łódź", "when": time.struct_time})
    assert "Łódź" in text and text.endswith("}\n")
    assert json.loads(text)["when"] == "<class 'time.struct_time'>"


@pytest.mark.parametrize(
    ("message", "first"),
    [
        ("\n  no such tensor.\nTraceback", "no such tensor"),
        ("cannot load, because:\n size differs\n more", "cannot load, because: size differs"),
        ("", "ValueError"),
        ("x" * 300, "x" * 197 + "..."),
    ],
)
def test_the_first_line_of_an_error(message, first):
    assert first_line(ValueError(message)) == first


def test_an_error_in_one_line():
    assert one_line(ValueError("line 3:\n  a colon\n")) == "line 3: a colon"
    assert one_line(ValueError("")) == "ValueError"
    assert one_line(ValueError("word " * 100), most=10) == "word wo..."


# -- what is kept and read back --------------------------------------------------------------------


def test_each_flipped_bit_of_what_is_kept_is_set_aside_and_said_once(tmp_path):
    path, content = tmp_path / "folder" / "a.kept", bytes(range(60)) + b"\n\0\r\n"
    keep(path, content)
    assert kept(path) == content
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.warns(
            SetAside, match=r"a\.kept is damaged .* set aside as a\.kept\.damaged, "
        ) as said:
            assert kept(path) is None
        assert len(said) == 1 and "\n" not in str(said[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kept(path) is None  # there is none now
        aside = path.with_name("a.kept.damaged")
        assert aside.read_bytes() == damaged
        aside.unlink()
    keep(path, content)
    assert kept(path) == content


@pytest.mark.parametrize("of", [0, 1, 64, 65, -1])
def test_what_is_cut_or_empty_is_set_aside(tmp_path, of):
    path = tmp_path / "a.kept"
    for _ in range(2):  # what was set aside before stays
        keep(path, b"content")
        path.write_bytes(path.read_bytes()[:of])
        with pytest.warns(SetAside):
            assert kept(path) is None
    assert sorted(os.listdir(tmp_path)) == ["a.kept.damaged", "a.kept.damaged2"]
    keep(path, b"")
    assert kept(path) == b""


def test_a_file_in_the_place_of_another_is_set_aside(tmp_path):
    keep(tmp_path / "a.kept", b"a")
    keep(tmp_path / "b.kept", b"b")
    os.replace(tmp_path / "a.kept", tmp_path / "b.kept")
    with pytest.warns(SetAside, match="b.kept is damaged or foreign"):
        assert kept(tmp_path / "b.kept") is None


def test_what_cannot_be_set_aside_is_not_believed_either(tmp_path, monkeypatch):
    keep(tmp_path / "a.kept", b"a")
    (tmp_path / "a.kept").write_bytes(b"x")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.warns(SetAside, match="it is not used, and what it held is made again"):
        assert kept(tmp_path / "a.kept") is None
    assert (tmp_path / "a.kept").read_bytes() == b"x"


def test_what_is_set_aside_is_told_and_other_warnings_are_shown(tmp_path):
    told = []
    (tmp_path / "a.kept").write_bytes(b"x")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        listen(told.append)
        assert kept(tmp_path / "a.kept") is None
        warnings.warn("other", stacklevel=1)
    assert len(told) == 1 and "a.kept" in told[0]
    assert [str(warning.message) for warning in shown] == ["other"]


def test_an_exchange_that_keeps_size_and_time_changes_the_state(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text(path.name)
        os.utime(path, ns=(0, 1))
    before = [file_state(path) for path in paths]
    assert before == [
        tuple(
            getattr(path.stat(), f"st_{name}") for name in ("size", "mtime_ns", "ctime_ns", "ino")
        )
        for path in paths
    ]
    time.sleep(0.02)
    for path in paths:  # in place
        path.write_text("ba"[path.name == "b"])
        os.utime(path, ns=(0, 1))
    after = [file_state(path) for path in paths]
    assert [a[:2] for a in after] == [b[:2] for b in before]
    assert all(a != b for a, b in zip(after, before, strict=True))
    os.rename(paths[0], tmp_path / "c")
    os.rename(paths[1], paths[0])
    assert file_state(paths[0])[:2] == after[0][:2] and file_state(paths[0]) != after[0]


def _files(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LIST
    }


def test_a_list_says_what_was_written_as_sha256sum_does(tmp_path):
    folder = Folder(tmp_path / "made")
    assert folder.write("b", "old") == tmp_path / "made" / "b"
    folder.write("b", "abc")
    with folder.writing("a") as beside:
        beside.write_bytes(b"abc")
        assert not (folder.path / "a").exists()
    folder.tidy()
    assert (folder.path / LIST).read_text() == f"{ABC}  a\n{ABC}  b\n"
    assert _files(folder.path) == {"a": b"abc", "b": b"abc"} and not list(folder.foreign())


@pytest.mark.parametrize("act", ["write", "remove"])
@pytest.mark.parametrize("made", ["foreign", "changed", "link", "folder"])
def test_what_clipeval_did_not_write_is_neither_replaced_nor_removed(tmp_path, act, made):
    folder, path = Folder(tmp_path / "out"), tmp_path / "out" / "table.csv"
    folder.write("other", "")
    if made == "changed":
        folder.write("table.csv", "ours")
    if made == "link":
        (tmp_path / "target").write_text("mine")
        path.symlink_to(tmp_path / "target")
    elif made == "folder":
        path.mkdir()
    else:
        path.write_text("mine")
    with pytest.raises(ParameterError, match=r"table\.csv is a file that clipeval did not write"):
        folder.write("table.csv", "new") if act == "write" else folder.remove("table.csv")
    assert path.is_dir() if made == "folder" else path.read_text() == "mine"
    assert sorted(p.name for p in folder.path.iterdir()) == [LIST, "other", "table.csv"]


def test_only_what_is_on_the_list_is_cleared_or_moved(tmp_path):
    def fill(name):
        top = Folder(tmp_path / name)
        for folder in (top, Folder(top.path / "tables")):
            folder.write("ours", "abc")
            folder.write("changed", "abc")
        (top.path / "tables" / "mine").write_text("mine")
        (top.path / "tables" / "changed").write_text("mine too")
        (top.path / ".ipynb_checkpoints").mkdir()
        (top.path / ".ipynb_checkpoints" / "copy").write_text("Jupyter's")
        return top

    stays = {".ipynb_checkpoints/copy": b"Jupyter's", "tables/changed": b"mine too"}
    stays |= {"tables/mine": b"mine"}
    cleared, moved, there = fill("cleared"), fill("moved"), Folder(tmp_path / "there")
    cleared.clear()
    moved.move_to(there.path)
    assert _files(cleared.path) == _files(moved.path) == stays
    assert _files(there.path) == {"changed": b"abc", "ours": b"abc", "tables/ours": b"abc"}
    assert not list(there.foreign())
    there.clear()
    assert not there.path.exists()


def test_a_foreign_file_at_any_depth_is_named_and_traces_of_other_programs_are_not(tmp_path):
    out = Folder(tmp_path / "out")
    out.refuse_foreign()  # none yet
    out.write("run.json", "{}")
    Folder(out.path / "fairface" / "figures").write("a.png", "drawn")
    for name in (".DS_Store", "fairface/.DS_Store"):
        (out.path / name).write_text("")
    (out.path / "fairface" / ".ipynb_checkpoints").mkdir()
    (out.path / "fairface" / ".ipynb_checkpoints" / "x.ipynb").write_text("{}")
    out.refuse_foreign()
    (out.path / "fairface" / "figures" / "a.png").write_text("retouched")
    with pytest.raises(ParameterError, match=r"changed since .* \(fairface/figures/a\.png\)"):
        out.refuse_foreign()
    out.write("b.png", "drawn")
    (out.path / "fairface" / "figures" / "a.png").rename(out.path / "mine.png")
    with pytest.raises(ParameterError) as refused:
        out.refuse_foreign()
    assert str(refused.value) == (
        f"{out.path} holds files that clipeval did not write (mine.png); choose an empty folder."
    )


def test_a_writer_killed_at_any_moment_leaves_nothing_foreign(tmp_path, monkeypatch):
    """Whatever a kill leaves is on the list or is passed over; a line that was cut off harms no other."""
    folder = Folder(tmp_path / "out")

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    for place, count in (
        (f"{Folder.__module__}.os.replace", 1),
        (f"{Folder.__module__}.os.write", 0),
    ):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(place, kill)
            folder.write(f"table{count}", "abc")
        assert not list(folder.foreign())
    (folder.path / ".table-0123abcd.host.1.tmp").write_text("half")  # as a kill leaves it
    with open(folder.path / LIST, "a") as listed:
        listed.write("0123456789  tab")
    folder.write("table", "abc")
    assert not list(folder.foreign())

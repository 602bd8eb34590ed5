"""What of a store may go: what is asked for, and nothing that the store did not write."""

import dataclasses
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stubs import Info

from clipeval.embedding.store import COLUMNS, Store
from clipeval.embedding.store_pruning import check, delete, prunable
from clipeval.errors import ParameterError
from clipeval.files import SetAside, keep
from clipeval.runs.store_command import store_app

OLD, NEW = Info("a1" * 32, model="old", pretrained="x"), Info("b2" * 32, model="new")


def write(store, info, kind, n=3):
    rows = pd.DataFrame({"key": [f"{i:064x}" for i in range(n)]}, columns=COLUMNS, dtype=object)
    rows["sha256"] = rows["key"]
    return store.shelf(info, kind).write(rows, np.ones((n, 4), np.float32))


def aged(path, days):
    """The same file as if it had been written so many days ago."""
    then = time.time() - days * 86_400
    if path.suffix == ".parquet":
        path = path.rename(path.with_name(f"{int(then * 1e9):020d}-{path.name[21:]}"))
    os.utime(path, (then, then))
    return path


@pytest.fixture
def held(tmp_path):
    """A store, and by name: files of its own, and files that are anybody's."""
    store = Store(tmp_path / "store")
    own = {
        "old images": aged(write(store, OLD, "images-projected-float32"), 40),
        "old texts": write(store, OLD, "texts-float32"),
        "new images": write(store, NEW, "images-projected-float32"),
    }
    aside = own["new images"].with_name(f"{time.time_ns():020d}-{'a' * 12}.parquet.damaged")
    aside.write_bytes(b"?")
    table = store.root / "derived" / f"{'c' * 64}.kept"
    keep(table, b"table")
    own |= {"aside": aside, "table": aged(table, 10)}

    folder, root = own["new images"].parent, store.root
    foreign = [
        folder / "mine.parquet",
        folder / "mine.parquet.damaged",
        folder / "notes.txt",
        folder / f"{'2' * 20}-{'b' * 12}.parquet",  # a shard's name, and a user's content
        root / "derived" / f"{'d' * 64}.kept",  # without the checksum
        root / "thesis.docx",
        root / "contents" / "mine.csv",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a year of work")
    precious = tmp_path / "precious.parquet"
    precious.write_bytes(own["old images"].read_bytes())
    link = folder / f"{'3' * 20}-{'c' * 12}.parquet"
    link.symlink_to(precious)
    other = own["old images"].read_bytes()  # of another model than its folder
    stranger = folder / f"{'4' * 20}-{'d' * 12}.parquet"
    stranger.write_bytes(other)
    return store, own, [*foreign, link, precious, stranger]


def names(found, own):
    by = {str(path): name for name, path in own.items()}
    return {by[file] for file in found["file"]}


ASKED = {
    "a model": ({"model": "old"}, {"old images", "old texts"}),
    "a model and its weights": ({"model": "old@x"}, {"old images", "old texts"}),
    "a kind": ({"kind": "images-projected-float32"}, {"old images", "new images"}),
    "both": ({"model": "old", "kind": "texts-float32"}, {"old texts"}),
    "old ones of a model": ({"model": "old", "older_than": 30}, {"old images"}),
    "all that is old": ({"older_than": 5}, {"old images", "table"}),
    "damaged": ({"damaged": True}, {"aside"}),
    "derived": ({"derived": True}, {"table"}),
    "everything": ({"older_than": -0.0}, None),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_for_goes_and_all_else_stays(held, case):
    store, own, foreign = held
    asked, expected = ASKED[case]
    expected = set(own) if expected is None else expected
    before = {path: path.read_bytes() for path in [*own.values(), *foreign]}
    found = prunable(store, **asked)
    assert names(found, own) == expected
    assert found["megabytes"].sum() == pytest.approx(
        sum(len(before[own[name]]) for name in expected) / 1e6
    )
    assert {path: path.read_bytes() for path in before} == before  # a list alone so far
    delete(store, found)
    assert {name for name, path in own.items() if not path.exists()} == expected
    assert all(path.read_bytes() == before[path] for path in foreign)


def test_the_command_says_names_files_or_what_is_wrong_alone(held, capsys):
    store, own, _ = held

    def said(*arguments):
        code = store_app([*arguments, "--quiet"], standalone_mode=False)
        return code, capsys.readouterr().out.splitlines()

    where = ["--store", str(store.root)]
    assert said(*where) == (None, ["old@x", "new"])
    assert said("prune", *where, "--damaged", "--derived") == (
        None,
        [str(own["aside"]), str(own["table"])],
    )
    own["new images"].write_bytes(own["new images"].read_bytes()[:-9])
    with pytest.warns(SetAside):
        code, lines = said("check", *where)
    assert code == 1 and lines[1].startswith("new ")
    assert not any(line.startswith("old ") for line in lines)  # which is whole
    shutil.rmtree(own["new images"].parents[1])
    assert said("check", *where) == (None, [])


def test_the_folders_of_a_model_that_is_gone_go_too(held):
    store, own, _ = held
    folder = own["old texts"].parents[1]
    delete(store, prunable(store, model="old"))
    assert not folder.exists() and own["new images"].exists()
    assert set(store.summary()["model"]) == {"new"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing is asked for, so nothing is pruned; name --model"),
        (
            {"model": "nwe"},
            'no embeddings of model "nwe" are stored; there are those of new, old, old@x',
        ),
        ({"kind": "texts"}, 'no embeddings of kind "texts" are stored; there are those of images-'),
        ({"older_than": -1}, "older_than=-1 is negative"),
    ],
)
def test_what_cannot_be_meant(held, asked, said):
    with pytest.raises(ParameterError, match=said):
        prunable(held[0], **asked)


def test_check_counts_and_finds_what_is_damaged(tmp_path):
    store = Store(tmp_path)
    write(store, OLD, "texts-float32", 5)
    assert check(store)[["rows", "shards", "damaged"]].to_numpy().tolist() == [[5, 1, 0]]
    path = write(store, dataclasses.replace(OLD, fingerprint="c3" * 32), "texts-float32", 2)
    path.write_bytes(path.read_bytes()[:-9])
    write(store, dataclasses.replace(OLD, fingerprint="c3" * 32), "texts-float32", 2)
    with pytest.warns(UserWarning, match="set aside"):
        assert check(store)["damaged"].tolist() == [0, 1]


def test_the_command_lists_and_deletes_only_when_told(held, monkeypatch, capfd):
    import json
    import sys

    from clipeval import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipeval", "store", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capfd.readouterr().out

    store, own, _ = held
    root = str(store.root)
    code, out = call("--store", root, "--json")
    rows = {(row["model"], row["kind"]): row["rows"] for row in json.loads(out)}
    assert code == 0 and rows["old", "texts-float32"] == 3
    code, out = call("prune", "--store", root, "--model", "old")
    assert code == 0 and "2 files" in out and "--yes deletes them" in out
    assert own["old texts"].exists()
    code, out = call("prune", "--store", root, "--model", "old", "--yes", "--json")
    said = json.loads(out)
    assert (
        code == 0
        and said["deleted"]
        and {Path(f["file"]) for f in said["files"]}
        == {
            own["old texts"],
            own["old images"],
        }
    )
    assert not own["old texts"].exists() and own["new images"].exists()
    assert call("prune", "--store", root)[0] == 2

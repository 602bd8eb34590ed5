"""A run shared without its photographs: the same numbers, and nothing that may not be shared."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from decks import shared_cache

from clipeval import cli
from clipeval.classify.class_sets import load_class_set
from clipeval.datasets import load_dataset, refusal_to_share
from clipeval.datasets.congress import cloud_labels, label_categories, label_files
from clipeval.embedding.embed import dataset_hash
from clipeval.errors import ClassSetError, DataError, ModelError, NotStoredError, ParameterError
from clipeval.files import Folder
from clipeval.packs import replay as replays
from clipeval.packs.files import to_npy
from clipeval.packs.replay import compare_tables, plan_pack
from clipeval.packs.writing import make_pack
from clipeval.runs.finished import load_run
from clipeval.session.session import Session
from clipeval.sources.pack_file import MANIFEST, open_pack
from clipeval.studies import get_study, start

EMPTY = ("count", "ci_low", "ci_high", "published", "difference")


def finished(study: str, out: Path, **values) -> Session:
    """A study's run folder, with predictions and a table, as its notebook leaves it."""
    session = start(study, {"out": str(out), "workers": 0} | values)
    session.progress = False
    predictions = session.study.predict(session)
    session.save_predictions(predictions)
    tops = predictions[predictions["rank"] == 1].groupby(["task", "label"], observed=True)
    table = tops["prob"].agg(n="size", percent="mean").reset_index()
    table = table.assign(metric="mean", **dict.fromkeys(EMPTY, np.nan))
    session.table("tops", table, "Top classes.")
    session.finish()
    return session


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    """A run of class_design on 60 test cards, and its pack."""
    root = tmp_path_factory.mktemp("deck")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
        finished("class_design", root / "run", limit=60, seed=3)
        packed = make_pack(root / "run", root / "deck.zip")
    return root, packed


@pytest.fixture(scope="module")
def photos(tmp_path_factory, real, tiny_face_clip):
    """A run of three studies on real photographs, and its pack."""
    root = tmp_path_factory.mktemp("photos")
    model = {"model": f"local-dir:{tiny_face_clip}", "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(root / "cache"))
        sets = {
            "fairface": {"data": str(real / "fairface"), "limit": 90, "train_limit": 250},
            "congress": {"data": str(real / "congress_2017"), "limit": 40},
            "cctv": {"data": str(real / "cctv"), "limit": 60, "licence": "CC BY 4.0"},
        }
        for study, values in sets.items():
            finished(study, root / "run", **model, dataset=study, **values)
        packed = make_pack(root / "run", root / "photos.zip")
    return root, packed


def contents(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _but_out(parameters) -> dict:
    return {k: v for k, v in parameters.model_dump().items() if k != "out"}


def replay(pack, out, studies=(), **given) -> dict[str, Session]:
    plan = plan_pack(pack, studies, given, out)
    return {study: get_study(study).open(p, progress=False) for study, p in plan.items()}


def same_numbers(run: Path, pack: Path, out: Path) -> None:
    """Predictions and tables from the pack are those of the run."""
    for study, session in replay(pack, out).items():
        again = finished(study, out, **_but_out(session.parameters))
        assert again.source.sha256 == open_pack(pack).sha256
        first, second = (
            pd.read_parquet(folder / study / "predictions.parquet") for folder in (run, out)
        )
        pd.testing.assert_frame_equal(first, second, check_exact=True)
        files = [folder / study / "predictions.parquet" for folder in (run, out)]
        assert files[0].read_bytes() == files[1].read_bytes()
        for name in ("tops.csv", "tops.tex"):
            tables = [folder / study / "tables" / name for folder in (run, out)]
            assert tables[0].read_bytes() == tables[1].read_bytes()
        records = [json.loads((f / study / "study.json").read_text()) for f in (run, out)]
        for key in ("dataset", "model", "class_sets", "prompts_hash", "test_cards"):
            assert records[0][key] == records[1][key]


def test_test_cards_from_a_pack_give_the_same_numbers(deck, tmp_path):
    root, packed = deck
    same_numbers(root / "run", packed.path, tmp_path / "out")
    said = "All 1 tables equal those of the run that was packed, byte for byte."
    assert compare_tables(packed.path, tmp_path / "out") == (said, True)
    (tmp_path / "out" / "class_design" / "tables" / "tops.csv").write_text("n\n1\n")
    said, as_expected = compare_tables(packed.path, tmp_path / "out")
    assert said.startswith("1 of 1 tables differ from those of the run that was packed: class_des")
    assert "This pack does not reproduce its own tables" in said and not as_expected
    said, as_expected = compare_tables(packed.path, tmp_path / "out", changed=True)
    assert said.endswith("class_design/tops; it ran with other parameters.") and as_expected
    ours = replays.package_versions()
    for package, excused in (
        ("numpy", True),
        ("scikit-learn", True),
        ("matplotlib", False),
        ("torch", False),  # the embeddings are the pack's
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replays, "package_versions", lambda p=package: ours | {p: "0.1"})
            said, as_expected = compare_tables(packed.path, tmp_path / "out")
        assert as_expected is excused, package
        versions = f"it was packed with other versions: {package} {ours.get(package)} (here 0.1)."
        assert said.endswith(versions if excused else "get it from its source again.")
    here = {"version": "0.2", "commit": "ab" * 20, "sha256": "other"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replays, "code_version", lambda: here)
        said, as_expected = compare_tables(packed.path, tmp_path / "out")
    assert as_expected
    assert "it was run by other code, clipeval 0.1.0 at " in said
    assert said.endswith(" (here 0.2 at abababa), and a difference may come from that.")
    packed_then = ours | {"fairlearn": "0.1", "pyarrow": "0.2"}  # an older pack lists more
    found = replays._other_versions({"studies": {"fairface": {"versions": packed_then}}})
    assert found == f"pyarrow 0.2 (here {ours['pyarrow']})"
    # where no study finished, nothing is equal
    said = "No table could be compared with those of the run that was packed."
    assert compare_tables(packed.path, tmp_path / "none") == (said, False)


def test_planted_truth_comes_from_a_pack(deck, tmp_path, monkeypatch):
    from clipeval.studies import class_design

    root, packed = deck
    theirs = replay(packed.path, tmp_path)["class_design"]
    assert Path(theirs.images.attrs["planted"]).is_relative_to(tmp_path / "cache" / "packs")
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    ours = start("class_design", {"limit": 60, "seed": 3, "out": str(tmp_path)})
    pd.testing.assert_frame_equal(ours.planted, theirs.planted)
    # the check that no two classes are one text has sent the prompts of the sweep, too
    pd.testing.assert_frame_equal(class_design.sweep(ours), class_design.sweep(theirs))


def test_photographs_from_a_pack_give_the_same_numbers(photos, tmp_path):
    root, packed = photos
    assert list(packed.held) == ["fairface", "congress", "cctv"] and not packed.left_out
    same_numbers(root / "run", packed.path, tmp_path / "out")


def test_what_a_session_gets_from_a_pack_is_what_the_photographs_give(photos, tmp_path, real):
    root, packed = photos
    for study, theirs in replay(packed.path, tmp_path).items():
        record = load_run(root / "run").record.studies[study]  # with the paths of this machine
        values = record.parameters | {"store": str(root / "cache" / "store"), "out": ""}
        ours = start(study, values)
        assert ours.embed().encoded == 0
        a, b = ours.embed(), theirs.embed()
        assert np.array_equal(a.matrix, b.matrix) and a.matrix.dtype == b.matrix.dtype
        assert (a.image_id == b.image_id).all() and (a.sha256 == b.sha256).all()
        assert dataset_hash(ours.images, a) == dataset_hash(theirs.images, b)
        assert (b.opened, b.encoded, len(b.unreadable)) == (0, 0, len(a.unreadable))
        pd.testing.assert_frame_equal(
            ours.images.drop(columns="file"), theirs.images.drop(columns="file")
        )
        assert ours.provenance.parameters_hash == theirs.provenance.parameters_hash


def test_cloud_labels_from_a_pack_are_those_of_the_data(photos, tmp_path, real):
    theirs = replay(photos[1].path, tmp_path)["congress"].parameters.data
    ours = real / "congress_2017"
    pd.testing.assert_frame_equal(cloud_labels(theirs), cloud_labels(ours))
    assert label_categories(theirs) == label_categories(ours)
    held = label_files(ours)["members.tsv"].decode().splitlines()[0]
    assert held.split("\t")[0] == "gender" and "name" not in held


def test_no_image_and_no_path_is_in_a_pack(photos, real):
    members = contents(photos[1].path)
    assert {Path(name).suffix for name in members} <= {
        ".json",
        ".npy",
        ".parquet",
        ".tsv",
        ".yaml",
        ".txt",
    }
    secrets = [str(real), str(photos[0]), str(Path.home()), str(Path.cwd())]
    for name, content in members.items():
        assert not content.startswith((b"\xff\xd8", b"\x89PNG"))
        assert not any(secret.encode() in content for secret in secrets), name
        if name.endswith(".parquet"):
            table = pd.read_parquet(photos[0] / "cache" / "packs" / photos[1].sha256 / name)
            assert "file" not in table and not table.attrs
            for column in table.select_dtypes(include=["object", "str", "category"]):
                assert not table[column].astype(str).str.startswith(("/", "~")).any()


def test_the_same_run_gives_the_same_bytes(deck, monkeypatch):
    root, packed = deck
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    again = make_pack(root / "run", root / "again.zip")
    assert again.path.read_bytes() == packed.path.read_bytes() and again.sha256 == packed.sha256
    with zipfile.ZipFile(packed.path) as archive:
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert hashlib.sha256(archive.read(MANIFEST)).hexdigest() == packed.sha256


def test_a_fresh_process_needs_no_torch(deck, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['open_clip'] = None\n"
        "from clipeval.packs.replay import plan_pack\n"
        "from clipeval.studies import get_study\n"
        f"plan = plan_pack({str(deck[1].path)!r}, [], {{}}, {str(tmp_path)!r})\n"
        "session = get_study('class_design').open(plan['class_design'])\n"
        "print(len(session.study.predict(session)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "600", done.stderr  # 60 cards, two class sets, five ranks


# -- refusals --------------------------------------------------------------------------------------


def _changed(members):
    name = next(n for n in members if n.endswith(".npy"))
    content = bytearray(members[name])
    content[-1] ^= 1
    return members | {name: bytes(content)}, f"{name} was changed"


def _missing(members):
    name = next(n for n in members if n.startswith("images/"))
    return {n: c for n, c in members.items() if n != name}, f"lacks {name}, which"


def _extra(members):
    return members | {"images/face.jpg": b"\xff\xd8"}, "holds images/face.jpg, which its manifest"


def _escaping(members):
    manifest = json.loads(members[MANIFEST])
    manifest["members"]["../evil.txt"] = "0" * 64
    return members | {MANIFEST: json.dumps(manifest).encode(), "../evil.txt": b"x"}, "elsewhere"


def _later(members):
    manifest = json.loads(members[MANIFEST]) | {"format": 99}
    return members | {MANIFEST: json.dumps(manifest).encode()}, "a pack of format 99"


def _headless(members):
    return {n: c for n, c in members.items() if n != MANIFEST}, "holds no manifest.json"


def _broken(members):
    return members | {MANIFEST: b"{"}, "manifest.json is damaged"


def _without_studies(members):
    manifest = json.loads(members[MANIFEST])
    del manifest["studies"]
    return members | {MANIFEST: json.dumps(manifest).encode()}, "manifest.json is damaged or was ed"


def _of_no_model(members):
    manifest = json.loads(members[MANIFEST])
    manifest["studies"]["class_design"]["model"] = "zzz"
    return members | {MANIFEST: json.dumps(manifest).encode()}, "manifest.json is damaged or was ed"


def rehashed(members):
    """What a forger does: the manifest fits the members again."""
    manifest = json.loads(members[MANIFEST])
    names = [name for name in members if name != MANIFEST]
    manifest["members"] = {n: hashlib.sha256(members[n]).hexdigest() for n in names}
    return members | {MANIFEST: json.dumps(manifest).encode()}


def _file_and_folder(members):
    more = {"foo": b"", "foo/bar": b"x"}
    return rehashed(members | more), "foo is both a file and a folder; get the file from its source"


def _unnormal(members):
    return rehashed(members | {"./a": b""}), 'member "./a" would be written elsewhere'


@pytest.mark.parametrize(
    "change",
    [
        _without_studies,
        _of_no_model,
        _file_and_folder,
        _unnormal,
        _changed,
        _missing,
        _extra,
        _escaping,
        _later,
        _headless,
        _broken,
    ],
)
def test_a_tampered_pack_is_refused(deck, tmp_path, change):
    open_pack(deck[1].path)  # an unpacked copy must not cover up for a changed file
    members, said = change(contents(deck[1].path))
    with pytest.raises(DataError, match="tampered.zip") as caught:
        open_pack(rewrite(tmp_path / "tampered.zip", members))
    assert said in str(caught.value)
    assert not list(tmp_path.rglob("evil.txt")) and not list((tmp_path / "cache").rglob(".unpack*"))


def test_a_flipped_bit_anywhere_is_refused(deck, tmp_path):
    whole = deck[1].path.read_bytes()
    good, path = open_pack(deck[1].path).manifest, tmp_path / "flipped.zip"
    for at in np.random.default_rng(0).integers(0, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            assert open_pack(path).manifest == good  # a date or flag that says nothing
        except DataError as error:
            assert "flipped.zip" in str(error)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="flipped.zip is not a whole pack"):
        open_pack(path)


def _garbage(content):
    return b"garbage"


def _short(content):
    return to_npy(np.load(io.BytesIO(content))[:-5])


def _pickle(content):
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["embeddings", "texts"])
@pytest.mark.parametrize("change", [_garbage, _short, _pickle])
def test_members_that_do_not_belong_together_are_one_sentence(deck, tmp_path, change, kind):
    members = contents(deck[1].path)
    name = next(n for n in members if n.startswith(kind) and n.endswith(".npy"))
    forged = rewrite(tmp_path / "forged.zip", rehashed(members | {name: change(members[name])}))
    session = replay(forged, tmp_path)["class_design"]
    with pytest.raises(DataError, match=f"forged.zip: {name} is not what `clipeval pack` writes"):
        session.study.predict(session)


@pytest.mark.parametrize("kind", ["compressed", "encrypted"])
def test_damage_within_a_member_is_refused(deck, tmp_path, kind):
    """The content of a compressed member, and the flag that says it is encrypted."""
    members, path = contents(deck[1].path), tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    data, at = bytearray(path.read_bytes()), 0
    if kind == "compressed":
        biggest = max(zipfile.ZipFile(path).infolist(), key=lambda about: about.compress_size)
        for i in range(biggest.header_offset + 200, biggest.header_offset + 260):
            data[i] ^= 0xFF
    while kind == "encrypted" and (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 8] |= 1
        at += 4
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged.zip is not a whole pack"):
        open_pack(path)


def test_a_member_that_stands_twice_is_refused(deck, tmp_path):
    path = shutil.copy(deck[1].path, tmp_path / "twice.zip")
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.txt", b"other")
    with pytest.raises(DataError, match="holds README.txt twice"):
        open_pack(path)


def test_another_manifest_than_expected_is_refused(deck, tmp_path):
    packed = deck[1]
    assert open_pack(packed.path, packed.sha256.upper()).sha256 == packed.sha256
    with pytest.raises(DataError, match=f"is {packed.sha256} and not {'0' * 64}"):
        open_pack(packed.path, "0" * 64)
    # a forger who also writes the manifest anew is found out by the expected hash alone
    members = contents(packed.path)
    manifest = json.loads(members[MANIFEST])
    members["README.txt"] = b"forged"
    manifest["members"]["README.txt"] = hashlib.sha256(b"forged").hexdigest()
    members[MANIFEST] = json.dumps(manifest).encode()
    forged = rewrite(tmp_path / "forged.zip", members)
    assert open_pack(forged).sha256 != packed.sha256
    with pytest.raises(DataError, match="is not the pack expected"):
        plan_pack(forged, [], {}, tmp_path, packed.sha256)


def test_an_unpacked_copy_that_was_changed_is_refused(deck, tmp_path):
    session = replay(deck[1].path, tmp_path)["class_design"]
    name = session.images.attrs["packed"]
    path = next((session.source.file.root / "embeddings").glob(f"{Path(name).name}-*.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="was changed after it was unpacked"):
        session.embed()


def test_no_such_file_and_no_zip(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_pack(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match="is not a whole pack"):
        open_pack(tmp_path / "text.zip")
    with pytest.raises(DataError, match="is a folder; give the file that `clipeval pack` wrote"):
        open_pack(tmp_path)


def _edited(members, change):
    """A pack whose manifest was edited: `change` is given the manifest and the study's entry."""
    manifest = json.loads(members[MANIFEST])
    change(manifest, manifest["studies"]["class_design"])
    return members | {MANIFEST: json.dumps(manifest).encode()}


def test_paths_in_a_manifest_are_ignored(deck, tmp_path):
    """Whoever made the pack must not say where this machine reads and writes."""
    evil = {name: str(tmp_path / "evil") for name in ("store", "out", "data", "pack")}
    evil |= {"model": f"local-dir:{tmp_path}/evil", "workers": 99, "device": "cuda:7"}
    members = _edited(contents(deck[1].path), lambda _, entry: entry["parameters"].update(evil))
    path = rewrite(tmp_path / "made.zip", members)
    plan = plan_pack(path, ["class_design"], {}, tmp_path / "out")["class_design"]
    assert (plan.store, plan.workers, plan.device) == ("", -1, "auto")
    assert (plan.out, plan.pack) == (str(tmp_path / "out"), str(path))
    assert plan.model == "local-dir:evil" and str(tmp_path / "evil") not in repr(plan)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest, entry: entry.update(data="../../.."),
        lambda manifest, entry: entry.update(data="/etc"),
        lambda manifest, entry: entry.update(versions=[1]),
        lambda manifest, entry: manifest.update(models={"m": {"model": 1}}),
        lambda manifest, entry: manifest.update(studies=[1]),
        lambda manifest, entry: manifest.update(members=[["a", "b"], 3]),
        lambda manifest, entry: entry.update(files=[1]),
    ],
)
def test_an_odd_manifest_is_one_sentence(deck, tmp_path, change):
    path = rewrite(tmp_path / "odd.zip", _edited(contents(deck[1].path), change))
    with pytest.raises(DataError, match=r"odd\.zip: manifest\.json is damaged"):
        open_pack(path)


def test_a_manifest_nested_without_end_is_one_sentence(deck, tmp_path):
    members = contents(deck[1].path) | {MANIFEST: b'{"format": ' + b"[" * 200_000}
    with pytest.raises(DataError, match=r"odd\.zip: manifest\.json is damaged"):
        open_pack(rewrite(tmp_path / "odd.zip", members))


@pytest.mark.parametrize("held", [{"a text": 1}, [1, 2], "text", None])
def test_texts_that_are_no_list_are_one_sentence(deck, tmp_path, held):
    members = contents(deck[1].path)
    name = next(n for n in members if n.startswith("texts/") and n.endswith(".json"))
    forged = rewrite(tmp_path / "forged.zip", rehashed(members | {name: json.dumps(held).encode()}))
    session = replay(forged, tmp_path)["class_design"]
    with pytest.raises(
        DataError, match=r"forged\.zip: texts/.* is not what `clipeval pack` writes"
    ):
        session.study.predict(session)


@pytest.mark.parametrize(
    "about",
    [
        {"attrs": {}},
        {"attrs": {"name": "n", "groups": ["none"]}},
        {"attrs": {"name": "n", "groups": [], "planted": "../../.."}},
        {"attrs": {"name": "n", "groups": [], "planted": "/etc"}},
        {"attrs": [], "objects": 3},
        [],
    ],
)
def test_an_odd_images_table_is_one_sentence(deck, tmp_path, about):
    members = contents(deck[1].path)
    name = next(n for n in members if n.startswith("images/") and n.endswith(".json"))
    whole = {"objects": []} | about if isinstance(about, dict) else about
    forged = rewrite(
        tmp_path / "forged.zip", rehashed(members | {name: json.dumps(whole).encode()})
    )
    session = replay(forged, tmp_path)["class_design"]
    with pytest.raises(
        DataError, match=r"forged\.zip: images/.* is not what `clipeval pack` writes"
    ):
        session.images  # noqa: B018


@pytest.mark.parametrize("name", [MANIFEST, "texts/bomb.json"])
def test_sizes_are_looked_at_before_anything_is_read(deck, tmp_path, name, monkeypatch):
    """Zeros that take 1/1000 of their size in the file."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in contents(deck[1].path).items():
            if member != name:
                archive.writestr(member, content)
        with archive.open(name, "w") as member:
            for _ in range(60 if name == MANIFEST else 300):
                member.write(bytes(1_000_000))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"bomb\.zip would unpack to .* MB .*; get the file"):
        open_pack(path)
    assert path.stat().st_size < 12_500_000


def test_embeddings_of_fewer_pixels_are_in_the_pack(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    how = {"studies": "fairface", "limit": 30, "vary_templates": "photo", "vary_class_sets": "none"}
    how |= {"vary_resize": "2", "embed_more": True, "out": str(tmp_path / "run"), "workers": 0}
    session = start("sensitivity", how)
    session.progress = False
    found = session.study.predict(session)
    session.save_predictions(found)
    session.finish()
    packed = make_pack(tmp_path / "run", tmp_path / "sizes.zip")
    again = replay(packed.path, tmp_path / "again")["sensitivity"]
    again = again.study.predict(again)
    assert set(again["resize"]) == {"model", "2"}
    assert again["percent"].tolist() == found["percent"].tolist()
    assert again.attrs["left_out"] == []


def test_another_file_is_not_overwritten(deck, tmp_path):
    mine = tmp_path / "thesis.zip"
    for content in (b"mine", b""):
        mine.write_bytes(content)
        with pytest.raises(
            ParameterError, match=r"thesis\.zip is not a file that `clipeval pack` wrote"
        ):
            make_pack(deck[0] / "run", mine)
        assert mine.read_bytes() == content


def test_a_place_that_cannot_be_written_is_said_first(deck):
    with pytest.raises(ParameterError, match="^out=/proc cannot be written, .*; name another"):
        make_pack(deck[0] / "run", "/proc/x.zip")


def test_what_a_pack_cannot_answer(deck, tmp_path):
    path = deck[1].path
    session = replay(path, tmp_path)["class_design"]
    with pytest.raises(
        ModelError, match='holds no model, and the prompt "a photo of a cat" is not'
    ):
        session.encode(["a photo of a cat"])
    with pytest.raises(NotStoredError, match="no embeddings of that precision and size"):
        session.source.other(precision="fp16")
    with pytest.raises(ParameterError, match="does not hold the images of class_design for"):
        session.load_images(split="train")
    with pytest.raises(ParameterError, match="holds no pre_projection embeddings"):
        session.embed(features="pre_projection")
    with pytest.raises(
        ParameterError, match="does not hold cctv .it was not in the run.*class_des"
    ):
        plan_pack(path, ["cctv"], {}, tmp_path)
    for name in ("model", "limit", "class_design.precision"):
        with pytest.raises(ParameterError, match=f"-p {name} cannot be given with --pack"):
            plan_pack(path, [], {name: "1"}, tmp_path)
    with pytest.raises(ParameterError, match="exclude each other"):
        plan_pack(path, [], {}, tmp_path, models="testcard")
    given = {"pack": str(path), "precision": "fp16", "limit": 60, "seed": 3}
    with pytest.raises(ParameterError, match="precision=fp32, and precision=fp16 is asked for"):
        start("class_design", given)


def test_a_part_of_the_images_and_other_parameters(deck, tmp_path):
    session = replay(deck[1].path, tmp_path, confidence="0.9")["class_design"]
    assert session.parameters.confidence == 0.9
    whole, part = session.embed(), session.images.iloc[[7, 3]]
    found = session.embed(part)
    assert list(found.image_id) == list(part["image_id"])
    assert np.array_equal(found.matrix, whole.matrix[[7, 3]])


def test_a_class_set_that_has_changed_since(deck, tmp_path, monkeypatch):
    from clipeval.classify import word_files

    data = tmp_path / "data"
    shutil.copytree(word_files.DATA / "class_sets", data / "class_sets")
    shutil.copytree(word_files.DATA / "templates", data / "templates")
    path = data / "class_sets" / "denigration.yaml"
    path.write_text(path.read_text("utf-8").replace("animal", "beast"), "utf-8")
    monkeypatch.setattr(word_files, "DATA", data)
    with pytest.raises(
        ClassSetError, match="^denigration is v. here and not what deck.zip was made"
    ):
        plan_pack(deck[1].path, [], {}, tmp_path)


def test_a_class_set_of_ones_own_is_carried(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    own = tmp_path / "mine" / "own.yaml"
    own.parent.mkdir()
    tasks = load_class_set("fairface").tasks
    variant = {"b": {"texts": {"gender": {"Male": "gentleman"}}}}
    own.write_text(json.dumps({"name": "own", "tasks": tasks, "variants": variant}))
    values = {"class_set": f"{own}:b", "limit": 20, "methods": "zero-shot"}
    run = finished("fairface", tmp_path / "run", **values)
    chance = "Cards answer the bundled words: what they answer to others is chance."
    assert chance in run.provenance.notes
    packed = make_pack(tmp_path / "run")
    assert packed.path == tmp_path / "run.clipeval.zip"
    own.unlink()
    again = replay(packed.path, tmp_path / "out")["fairface"]
    assert again.class_set.classes("gender") == tasks["gender"] | {"Male": "gentleman"}
    assert Path(again.parameters.class_set.removesuffix(":b")).is_relative_to(
        again.source.file.root
    )
    assert again.provenance.parameters_hash == run.provenance.parameters_hash


# -- what may be shared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "licence", "shared"),
    [
        ("testcards", "MIT", True),
        ("fairface", "CC BY 4.0", True),
        ("congress", "photographs in the public domain", True),
        ("cctv", "not stated", False),
        ("cctv", "CC BY 4.0", True),
        ("manifest", "not stated", False),
        ("manifest", "CC0", True),
        ("manifest", "CC0 1.0 Universal", True),
        ("manifest", "cc-by-sa-4.0", True),
        ("manifest", "MIT License", True),
        ("manifest", "Apache-2.0", True),
        ("manifest", "ODbL v1.0", True),
        ("manifest", "All rights reserved", False),
        ("manifest", "CC BY-NC-ND 4.0", False),
        ("manifest", "CC BY, but ask me first", False),
        ("manifest", "not CC0", False),
        ("cctv", "research only", False),
        ("manifest", "", False),
        ("celebrities", "CelebA agreement: non-commercial research only", False),
        ("celebrities", "not stated", False),
    ],
)
def test_the_licence_decides(name, licence, shared):
    reason = refusal_to_share(name, {"name": "These", "licence": licence})
    assert (reason == "") == shared
    assert shared or reason.startswith("the labels of These may not be passed on, as ")
    if name in ("manifest", "cctv") and not shared:
        assert "under one of CC0, CC BY, CC BY-SA, " in reason
        assert reason.endswith("run the study again with -p licence=NAME")
        assert (f'"{licence}" is not a licence' in reason) == (licence not in ("", "not stated"))


def test_a_study_that_may_not_be_shared_is_left_out(tmp_path, real, tiny_face_clip):
    model = {"model": f"local-dir:{tiny_face_clip}", "device": "cpu", "limit": 12}
    frames = {"dataset": "cctv", "data": str(real / "cctv")}
    finished("cctv", tmp_path / "run", **model, **frames)
    with pytest.raises(DataError, match="no study may be shared.* cctv: the labels of CCTV frames"):
        make_pack(tmp_path / "run", tmp_path / "p.zip")
    faces = {"dataset": "fairface", "data": str(real / "fairface"), "methods": "zero-shot"}
    finished("fairface", tmp_path / "run", **model, **faces)
    packed = make_pack(tmp_path / "run", tmp_path / "p.zip")
    assert list(packed.held) == ["fairface"] and "licence=" in packed.left_out["cctv"]
    members = contents(packed.path)
    captions = load_dataset("cctv", str(real / "cctv"))["caption"].dropna().unique()
    for name, content in members.items():
        assert name == MANIFEST or not any(c.encode() in content for c in captions)
    with pytest.raises(
        ParameterError, match="does not hold cctv .the labels of CCTV frames may not"
    ):
        plan_pack(packed.path, ["cctv"], {}, tmp_path)


def test_an_unfinished_or_changed_run_is_refused(deck, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="holds no finished study"):
        make_pack(tmp_path)
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    run = shutil.copytree(deck[0] / "run", tmp_path / "run")
    path = run / "class_design" / "predictions.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "prob"] += 1e-9
    # as clipeval writes it, so that the list of hashes does not tell
    Folder(path.parent).write(path.name, table.to_parquet(index=False))
    with pytest.raises(DataError, match="class_design cannot be reproduced as it stands there"):
        make_pack(run, tmp_path / "p.zip")
    assert [p.name for p in tmp_path.iterdir() if "p.zip" in p.name] == []


def test_an_image_that_is_called_by_its_path_is_refused(tmp_path, real):
    from clipeval.packs.files import refuse_paths

    with pytest.raises(DataError, match=f"images/1.json would hold the path {tmp_path} of this"):
        refuse_paths({"images/1.json": f"[{tmp_path}/a.jpg]".encode()}, {str(tmp_path), "/"})
    refuse_paths({"images/1.json": f"{tmp_path}-other".encode()}, {str(tmp_path)})


def test_an_unreadable_image_is_carried(tmp_path, real, tiny_face_clip):
    folder = tmp_path / "faces"
    (folder / "val").mkdir(parents=True)
    labels = pd.read_csv(real / "fairface" / "labels_val.csv").head(6)
    for file in labels["file"]:
        shutil.copy(real / "fairface" / file, folder / file)
    labels.to_csv(folder / "labels_val.csv", index=False)
    (folder / labels["file"][2]).write_bytes(b"no image")
    values = {"dataset": "fairface", "data": str(folder), "methods": "zero-shot", "device": "cpu"}
    run = finished("fairface", tmp_path / "run", model=f"local-dir:{tiny_face_clip}", **values)
    packed = make_pack(tmp_path / "run", tmp_path / "p.zip")
    shutil.rmtree(folder)
    again = replay(packed.path, tmp_path / "out")["fairface"]
    ours, theirs = run.embed(), again.embed()
    assert len(ours) == len(theirs) == 5 and np.array_equal(ours.matrix, theirs.matrix)
    columns = ["image_id", "reason", "sha256"]
    pd.testing.assert_frame_equal(ours.unreadable[columns], theirs.unreadable[columns])
    assert again.provenance.unreadable == 1
    assert dataset_hash(run.images, ours) == dataset_hash(again.images, theirs)


# -- the command line ------------------------------------------------------------------------------


def clipeval(*arguments, cache) -> subprocess.CompletedProcess:
    environment = os.environ | {"CLIPEVAL_CACHE": str(cache)}
    command = [sys.executable, "-m", "clipeval", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_command_line_packs_and_refuses(deck, tmp_path, monkeypatch, capfd):
    def called(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clipeval", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capfd.readouterr()

    root, packed = deck
    code, said, _ = called("pack", root / "run", "--out", tmp_path / "p.zip")
    assert code == 0
    assert said.startswith("class_design: 60 images (age, gender, race), test cards, MIT\n")
    assert said.splitlines()[-1] == packed.sha256
    out = ("--out", tmp_path / "out")
    code, _, error = called("run", "--pack", tmp_path / "p.zip", "--expect", "ff", *out)
    assert code == 2 and "is not the pack expected" in error
    members, reason = _changed(contents(packed.path))
    code, _, error = called("run", "--pack", rewrite(tmp_path / "q.zip", members), *out)
    assert code == 2 and reason in error and not (tmp_path / "out").exists()
    code, _, error = called("run", "cctv", "--expect", "ff", *out)
    assert code == 2 and "--expect is the sha256 of a pack's manifest" in error


@pytest.mark.thorough
@pytest.mark.slow
def test_every_file_of_a_report_comes_out_of_a_pack_again(tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    studies = ("cctv", "card")
    done = clipeval("run", *studies, "--out", run, cache=shared_cache())
    assert done.returncode == 0, done.stderr
    done = clipeval("pack", run, "--out", tmp_path / "p.zip", cache=shared_cache())
    assert done.returncode == 0, done.stderr
    done = clipeval("run", "--pack", tmp_path / "p.zip", "--out", again, cache=tmp_path / "fresh")
    assert done.returncode == 0, done.stderr
    assert "tables equal those of the run that was packed, byte for byte." in done.stdout
    kinds = ("tables/*", "figures/*", "predictions.parquet", "prompts.json")
    files = [f for study in studies for kind in kinds for f in sorted((run / study).glob(kind))]
    assert len(files) > 20
    for file in files:
        assert file.read_bytes() == (again / file.relative_to(run)).read_bytes(), file
    fresh = tmp_path / "fresh"
    assert "figures" in {path.parent.name for path in fresh.rglob("*.kept")}
    assert not list(fresh.rglob("*.png"))  # not one card
    assert f"{open_pack(tmp_path / 'p.zip').sha256}\n" in done.stderr  # as none was expected
    # other embeddings, with a manifest to match: found out by the tables
    members = contents(tmp_path / "p.zip")
    entry = json.loads(members[MANIFEST])["studies"]["cctv"]["images"]
    stem = next(iter(entry.values())).replace("images/", "embeddings/")
    name = next(n for n in members if n.startswith(stem) and n.endswith(".npy"))
    forged = to_npy(np.roll(np.load(io.BytesIO(members[name])), 1, axis=0))
    path = rewrite(tmp_path / "forged.zip", rehashed(members | {name: forged}))
    out = ("--out", tmp_path / "forged")
    done = clipeval("run", "cctv", "--pack", path, *out, cache=tmp_path / "fresh")
    assert done.returncode == 1 and "does not reproduce its own tables" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "byte for byte" not in done.stdout

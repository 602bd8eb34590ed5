"""Generated input at every public entry: a right result, or one sentence of at most 500 characters.

A few cases of each kind, nearly 1,000 in all, run with the other tests; `make fuzz` runs twelve times as many others
(CLIPEVAL_FUZZ says how many times).
"""

import io
import json
import shutil
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from decks import session_of
from fuzzing import (
    LEAF,
    REFUSED,
    RIGHT,
    TREE,
    WORD,
    cases,
    changed,
    damaged,
    one_sentence,
)
from hypothesis import given
from hypothesis import strategies as st
from own_cards import GOOD, manifest
from PIL import Image

from clipeval.classify.class_sets import load_class_set, load_templates
from clipeval.datasets import load_dataset
from clipeval.embedding.images import UnreadableImage, decode_image
from clipeval.files import sha256
from clipeval.models.preview import preview
from clipeval.packs.replay import plan_pack
from clipeval.packs.writing import make_pack
from clipeval.runs.compare import compare_runs
from clipeval.runs.finished import load_run
from clipeval.runs.profiles import plan_run
from clipeval.session.parameters import parse
from clipeval.sources.pack_file import MANIFEST, open_pack
from clipeval.studies import STUDIES, get_study

# -- words -----------------------------------------------------------------------------------------

CLASS_SET = {
    "name": "mine",
    "version": "1",
    "source": "me",
    "tasks": {"one": {"cat": "a cat", "dog": "a dog", "thief": "thief"}, "two": ["man", "woman"]},
    "categories": {"harm": ["thief"]},
    "variants": {
        "v": {"note": "n", "texts": {"one": {"cat": "kitten"}}, "add": {"two": {"x": "y"}}}
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@cases(60)
@given(content=changed(CLASS_SET), variant=st.sampled_from(["", ":v", ":w"]))
def test_class_sets(folder, content, variant):
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    with one_sentence():
        found = load_class_set(f"{path}{variant}")
        offered = [list(classes.values()) for classes in found.tasks.values()]
        assert all(len(set(texts)) == len(texts) > 1 for texts in offered)
        if content == CLASS_SET:
            assert found.tasks["one"] == CLASS_SET["tasks"]["one"] | (
                {"cat": "kitten"} if variant else {}
            )


@cases(60)
@given(text=st.one_of(st.text(max_size=80), damaged(yaml.safe_dump(CLASS_SET).encode())))
def test_files_of_words(folder, text):
    path = folder / "text.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    for load in (load_class_set, load_templates):
        with one_sentence():
            load(str(path))


@cases(60)
@given(templates=st.lists(st.one_of(WORD, st.builds("{} {{}} {}".format, WORD, WORD)), max_size=4))
def test_templates(folder, templates):
    path = folder / "templates.yaml"
    path.write_text(yaml.safe_dump({"templates": templates}, allow_unicode=True), "utf-8")
    with one_sentence():
        filled = load_templates(str(path)).fill("x")
        assert len(filled) == len(templates)
        for template, text in zip(templates, filled, strict=True):
            before, after = template.replace("{a}", "an").split("{}")
            assert text.split() == f"{before}x{after}".split()


# -- parameters and profiles -----------------------------------------------------------------------


@cases(150)
@given(data=st.data(), study=st.sampled_from(list(STUDIES)))
def test_parameters(study, data):
    kind = get_study(study).Parameters
    names = st.one_of(st.sampled_from(list(kind.model_fields)), WORD)
    values = data.draw(st.dictionaries(names, st.one_of(LEAF, TREE), max_size=4))
    with one_sentence():
        found = parse(kind, values, study=study)
        assert set(values) <= set(kind.model_fields)
        assert 0 <= found.seed < 2**32 and found.limit >= 0 and found.batch_size >= 0
        for name, value in values.items():
            assert str(getattr(found, name)) == str(value) or not isinstance(value, str)


@cases(40)
@given(
    profile=st.one_of(st.just("demo"), WORD),
    studies=st.lists(st.one_of(st.sampled_from(list(STUDIES)), WORD), max_size=2),
    given_values=st.dictionaries(st.one_of(st.sampled_from(["limit", "seed"]), WORD), WORD),
)
def test_plans(folder, profile, studies, given_values):
    with one_sentence():
        plan = plan_run(studies, profile, given_values, str(folder / "out"))
        assert list(plan) and all(str(p.out_folder) == str(folder / "out") for p in plan.values())


# -- label files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cards(folder):
    given = manifest(folder / "cards", 6, **GOOD)
    return Path(given["data"])


@cases(80)
@given(
    columns=st.dictionaries(
        st.one_of(st.sampled_from(["race", "gender", "age"]), WORD),
        st.lists(WORD, min_size=6, max_size=6),
        max_size=3,
    ),
    separator=st.sampled_from([",", ",", ",", ";", "\t", "|"]),
)
def test_manifests(cards, columns, separator):
    import csv

    path = cards.with_name("fuzz.csv")
    files = sorted(file.name for file in cards.parent.glob("*.png"))
    with open(path, "w", newline="", encoding="utf-8", errors="surrogatepass") as stream:
        rows = csv.writer(stream, delimiter=separator)
        rows.writerow(["file", *columns])
        rows.writerows(zip(files, *columns.values(), strict=True))
    with one_sentence():
        images = load_dataset("manifest", str(path))
        assert images["image_id"].tolist() == files
        for name in images.attrs["groups"]:
            written = next(values for key, values in columns.items() if key.strip() == name)
            assert images[name].astype(str).tolist() == [value.strip() for value in written]


@cases(60)
@given(data=st.data())
def test_label_files_that_are_damaged(cards, data):
    path = cards.with_name("damaged.csv")
    path.write_bytes(data.draw(damaged(cards.read_bytes())))
    with one_sentence():
        images = load_dataset("manifest", str(path))
        assert 1 <= len(images) <= 6 and images["image_id"].is_unique


CAPTIONS = st.lists(st.tuples(st.sampled_from("abc"), WORD, WORD, WORD), min_size=1, max_size=6)


@cases(60)
@given(rows=CAPTIONS)
def test_captions(cards, rows):
    files = sorted(cards.parent.glob("*.png"))[: len(rows)]
    columns = ["sequence", "caption", "close_caption", "fine_truth"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "file", [file.name for file in files])
    text = table.to_csv(index=False)
    (cards.parent / "frames.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    with one_sentence():
        images = load_dataset("cctv", str(cards.parent))
        assert len(images) == len(rows)


@cases(60)
@given(names=st.lists(WORD, min_size=1, max_size=6))
def test_names(cards, names):
    files = sorted(file.name for file in cards.parent.glob("*.png"))[: len(names)]
    path = cards.with_name("people.csv")
    text = pd.DataFrame({"file": files, "name": names}).to_csv(index=False)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with one_sentence():
        images = load_dataset("celebrities", str(path))
        plain = [" ".join(unicodedata.normalize("NFC", n).replace("_", " ").split()) for n in names]
        assert images["person"].astype(str).tolist() == plain


@cases(40)
@given(data=st.data())
def test_attribute_files(folder, data):
    """CelebA's own list: damaged, cut, not UTF-8."""
    celeba = folder / "celeba"
    celeba.mkdir(exist_ok=True)
    text = "2\nMale Young\n000001.jpg  1 -1\n000002.jpg -1  1\n"
    (celeba / "list_attr_celeba.txt").write_bytes(data.draw(damaged(text.encode())))
    (celeba / "identity_CelebA.txt").write_text("000001.jpg 1\n000002.jpg 2\n")
    (celeba / "names.csv").write_text("identity,name\n1,Ann\n2,Bob\n")
    (celeba / "img_align_celeba").mkdir(exist_ok=True)
    for i in (1, 2):
        Image.new("RGB", (8, 8)).save(celeba / "img_align_celeba" / f"{i:06}.jpg")
    with one_sentence():
        load_dataset("celebrities", str(celeba), names=str(celeba / "names.csv"))


# -- images ----------------------------------------------------------------------------------------


def _encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


IMAGES = {kind: _encoded(kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")}


@cases(200)
@given(data=st.data(), kind=st.sampled_from(list(IMAGES)), whole=st.booleans())
def test_image_bytes(data, kind, whole):
    content = IMAGES[kind] if whole else data.draw(damaged(IMAGES[kind]))
    try:
        image, _ = decode_image(content)
    except UnreadableImage as error:
        REFUSED.append(1)
        assert 3 < len(str(error)) <= 500 and not whole
        return
    RIGHT.append(1)
    assert image.mode == "RGB" and min(image.size) > 0
    if whole:
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(image), expected)


# -- run folders and packs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder):
    """A finished run of one study on 20 cards, another of it, and the pack of the first."""
    for name in ("run", "other"):
        session = session_of("fairface", methods="zero-shot", limit=20, out=str(folder / name))
        session.save_predictions(session.predict())
        session.finish()
    make_pack(folder / "run", folder / "run.zip")
    return folder / "run"


RECORDS = ["run.json", "fairface/study.json"]


def spoil(file, data):
    """Damage the bytes of a file, or change what a JSON file says."""
    content = file.read_bytes()
    if file.name.endswith(".json") and data.draw(st.booleans()):
        content = json.dumps(data.draw(changed(json.loads(content)))).encode()
    else:
        content = data.draw(damaged(content))
    file.write_bytes(content)


@cases(12)
@given(data=st.data(), name=st.sampled_from([*RECORDS, "fairface/predictions.parquet"]))
def test_run_folders(folder, run, data, name):
    broken = folder / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(run, broken)
    spoil(broken / name, data)
    with one_sentence():
        found = load_run(broken)
        for study in found.record.studies:
            found.predictions(study)
    with one_sentence():
        compare_runs([broken, folder / "other"])


@cases(30)
@given(data=st.data())
def test_packs_that_are_damaged(folder, run, data):
    path = folder / "broken.zip"
    path.write_bytes(data.draw(damaged((folder / "run.zip").read_bytes())))
    _use_pack(path, folder)


@cases(30)
@given(data=st.data())
def test_packs_that_were_made_to_deceive(folder, run, data):
    """Every hash is right, and what the members hold is not what a run writes."""
    with zipfile.ZipFile(folder / "run.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members.pop(MANIFEST))
    name = data.draw(st.sampled_from(sorted(members)))
    if name.endswith(".json") and data.draw(st.booleans()):
        members[name] = json.dumps(data.draw(changed(json.loads(members[name])))).encode()
    else:
        members[name] = data.draw(damaged(members[name]))
    about["members"] = {name: sha256(content) for name, content in members.items()}
    if data.draw(st.booleans()):
        about = data.draw(changed(about))
    path = folder / "deceiving.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(MANIFEST, json.dumps(about))
    _use_pack(path, folder)


def _use_pack(path, folder):
    with one_sentence():
        open_pack(path)
        plan = plan_pack(path, [], {}, folder / "replay")
        for study, parameters in plan.items():
            session = get_study(study).open(parameters, progress=False)
            found = session.predict()
            assert found["prob"].between(0, 1).all()


# -- models ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(folder):
    """A folder with a small open_clip checkpoint."""
    from test_models import SMALL, save

    save(folder / "model", SMALL)
    return folder / "model"


@cases(40)
@given(data=st.data())
def test_model_folders(folder, model, data):
    broken = folder / "broken-model"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(model, broken)
    names = sorted(file.name for file in model.iterdir() if file.is_file())
    name = data.draw(st.sampled_from(names))
    spoil(broken / name, data)
    with one_sentence():
        preview(f"local-dir:{broken}", None, "")

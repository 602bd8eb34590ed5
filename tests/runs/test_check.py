"""`clipeval check`: what would fail later is said at once, without loading a model or embedding an image."""

import hashlib
import json
import re
import shutil
import tempfile

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2
from test_models import SMALL, in_hub_cache, save

from clipeval.paths import DATA
from clipeval.runs.check import check_plan
from clipeval.runs.profiles import plan_run

NAMES = ["run folder", "data set", "classes", "model", "prompts", "power"]


def check(given: dict, out, studies=("fairface",)):
    """With a store of its own: what other tests have stored would not be checked again."""
    # a real model reads no test cards; a backbone needs the train split that a manifest has not
    if "model" in given and "dataset" not in given and not given["model"].startswith("timm:"):
        given = manifest(out.parent / "cards", 4, **GOOD) | {"methods": "zero-shot"} | given
    with tempfile.TemporaryDirectory() as store:
        return check_plan(plan_run(list(studies), "demo", {"store": store} | given, str(out)))


def problems(given: dict, out, studies=("fairface",)) -> dict[str, str]:
    return {f.what: f.problem for f in check(given, out, studies) if f.problem}


@pytest.fixture
def out(demo_cache, tmp_path):
    return tmp_path / "out"


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    save(folder, SMALL)
    return folder


@pytest.fixture
def on_the_hub(monkeypatch):
    """A hub that has everything, and gives nothing during a check."""
    monkeypatch.setattr("clipeval.models.preview.hub_check", lambda *a, **k: None)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


# -- all is well ---------------------------------------------------------------------------------


def power(sizes, base, apart):
    """Share of 2,000 samples in which Pearson's chi-squared finds that the first group differs."""
    rates = np.full(len(sizes), base)
    rates[0] += apart
    hits = np.random.default_rng(0).binomial(sizes, rates, (2000, len(sizes)))
    overall = hits.sum(1, keepdims=True) / sizes.sum()
    statistic = ((hits - sizes * overall) ** 2 / (sizes * overall * (1 - overall))).sum(1)
    return (chi2.sf(statistic, len(sizes) - 1) < 0.05).mean()


def test_the_demo_is_well(out):
    findings = check({}, out, studies=("fairface", "card"))
    assert [f.problem for f in findings] == [""] * len(findings)
    assert [f.what for f in findings if f.study == "fairface"] == NAMES
    assert [f.what for f in findings if f.study == "card"] == ["run folder"]
    said = {f.what: f.detail for f in findings if f.study == "fairface"}
    assert said["data set"] == "test cards, fairface deck, 10,954 cards: 10,954 images"
    assert said["classes"] == "fairface v1, templates photo v1"
    assert said["model"] == "testcard"
    found = re.findall(r"(\w+) ([\d.]+) points \((.*?), n = ([\d,]+)\)", said["power"])
    points = {name: (group, n.replace(",", "")) for name, _, group, n in found}
    assert points["race"] == ("Middle Eastern", "1209") and points["age"] == ("more than 70", "118")
    sizes = {  # FairFace val, typed from its label file
        "race": [1209, 2085, 1556, 1516, 1623, 1415, 1550],
        "age": [118, 199, 1356, 1181, 3300, 2330, 1353, 796, 321],
        "gender": [5792, 5162],
    }
    for name, least, *_ in found:
        assert power(np.array(sizes[name]), 0.05, float(least) / 100) == pytest.approx(
            0.8, abs=0.05
        )
    assert not out.exists()  # nothing is left behind
    # what two studies share is said once, and a crossing has a line too
    crossed = check({"groups": "race,race*gender"}, out, studies=("fairface", "denigration"))
    (once,) = [f for f in crossed if f.what == "power"]
    assert once.study == "fairface"
    # the smallest of the 14 groups of FairFace val, counted in its label file
    assert re.search(
        r"race x gender [\d.]+ points \(Middle Eastern x Female, n = 396\)", once.detail
    )


def test_a_folder_is_well(out, small):
    said = {f.what: f.detail for f in check({"model": f"local-dir:{small}"}, out) if not f.problem}
    assert said["model"] == (
        "local-dir:small: quickgelu activation, weights open_clip_model.safetensors"
    )
    assert said["prompts"] == "18 not sent before, none too long"


def test_a_built_in_says_where_its_weights_are(out, on_the_hub):
    given = {"model": "ViT-B-32-quickgelu", "pretrained": "openai"}
    said = {f.what: f.detail for f in check(given, out)}
    assert said["model"] == (
        "ViT-B-32-quickgelu openai: quickgelu activation, weights from "
        "timm/vit_base_patch32_clip_224.openai/"
    )
    assert said["prompts"] == "18 not sent before, none too long"


def test_models_of_every_kind_have_a_line_of_one_form(
    out, small, tmp_path, on_the_hub, monkeypatch
):
    """A name, a colon, what is known, with commas between: whatever has no pretrained tag or no activation."""
    from clipeval.models import load_model

    def line(**given) -> str:
        return {f.what: f.detail for f in check(given, out)}["model"]

    store = tmp_path / "store"
    load_model(f"local-dir:{small}", device="cpu", cache=store)
    known = hashlib.sha256((small / "open_clip_model.safetensors").read_bytes()).hexdigest()[:12]
    cards = manifest(tmp_path / "m", 4, **GOOD) | {"methods": "zero-shot"}
    names = [row.split(",")[0] for row in (tmp_path / "m/cards.csv").read_text().split()[1:]]
    rows = ["file,label", *(f"{name},White" for name in names)]
    (tmp_path / "answers.csv").write_text("\n".join(rows))
    (tmp_path / "own.py").write_text("def load(name, pretrained, device): ...\n")
    monkeypatch.setattr("clipeval.models.backbones.hub_check", lambda *a, **k: None)
    assert line(model=f"local-dir:{small}", store=str(store)) == (
        f"local-dir:small: known, weights sha256 {known}"
    )
    assert line(model="hf-hub:some/model") == "hf-hub:some/model: from the hub"
    assert line(model=f"python:{tmp_path}/own.py:load") == (
        "python:own.py:load: a loader of your own"
    )
    assert line(model="timm:resnet10t.c3_in1k", methods="linear probe") == (
        "timm:resnet10t.c3_in1k: images only, weights from timm/resnet10t.c3_in1k"
    )
    assert line(**cards, scores=str(tmp_path / "answers.csv"), model="theirs") == (
        "theirs: answers made elsewhere, weights unknown"
    )


# -- data, run folder ----------------------------------------------------------------------------


def test_data_that_are_missing(out):
    found = problems({"dataset": "fairface", "data": "/nowhere"}, out)
    assert found["data set"].startswith("/nowhere does not exist; for fairface, data is the folder")
    assert list(found) == ["data set"]  # what needs the images is not tried


def test_every_problem_of_captions_is_a_line_of_its_own(out, tmp_path, capsys):
    from clipeval.runs.telling import tell_check

    lines = ["file,sequence,caption,close_caption"]
    for scene in "abcdef":
        (tmp_path / f"{scene}.jpg").touch()
        lines.append(
            f"{scene}.jpg,{scene},scene {scene},{'' if scene < 'd' else 'nearly ' + scene}"
        )
    (tmp_path / "frames.csv").write_text("\n".join(lines))
    given = {"dataset": "cctv", "data": str(tmp_path)}
    plan = plan_run(["cctv"], "demo", given, str(out))
    assert tell_check(plan, quiet=True) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("close_caption is empty" in line for line in said)
    assert [f"row {i}:" in line for i, line in zip((2, 3, 4), said, strict=True)] == [True] * 3


@pytest.mark.parametrize("study", ["cctv", "celebrities"])
def test_a_class_set_is_refused_where_the_data_say_what_is_asked(out, study):
    """It would stand in every caption, and no class of it was asked."""
    found = problems({"class_set": "fairface"}, out, studies=(study,))
    assert list(found) == ["classes"]
    said = f"class_set=fairface is given, and {study} asks what the data say and no class set; leave it"
    assert found["classes"].startswith(said)


def test_an_unknown_data_set(out):
    assert "There is no data set" in problems({"dataset": "fairfaces"}, out)["data set"]


@pytest.mark.parametrize("place", ["a file", "inside a file", "read-only"])
def test_a_run_folder_that_cannot_be_written(demo_cache, tmp_path, place):
    file = tmp_path / "file"
    file.touch()
    out = {"a file": file, "inside a file": file / "run", "read-only": "/proc/run"}[place]
    found = problems({}, out)
    assert list(found) == ["run folder"]
    assert found["run folder"].startswith(f"out={out} cannot be written, because ")
    assert found["run folder"].endswith("; name another.")


def test_photographs_without_a_model(out, real):
    """The default model reads test cards: said at once, not after 5,000 unreadable images."""
    given = {"dataset": "fairface", "data": str(real / "fairface")}
    assert problems(given, out) == {
        "model": "model=testcard reads only cards of 32 x 32 pixels, and val/1.jpg has 224 x 224; "
        "name a real model for photographs."
    }


def manifest(folder, cards, **columns):
    """A manifest of four cards with these group columns."""
    from clipeval.testcards import load_cards

    folder.mkdir(exist_ok=True)
    images = load_cards().head(4)
    for file in images["file"]:
        shutil.copy(file, folder)
    rows = [",".join(["file", *columns])]
    for i, file in enumerate(images["file"]):
        rows.append(",".join([file.rpartition("/")[2], *(v[i % len(v)] for v in columns.values())]))
    path = folder / "cards.csv"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return {"dataset": "manifest", "data": str(path)}


GOOD = {"race": ["White", "Black"], "gender": ["Male", "Female"], "age": ["3-9", "10-19"]}


def test_labels_that_are_no_class(out, tmp_path):
    given = manifest(tmp_path / "m", 4, **GOOD | {"gender": ["Male", "F"]}) | {
        "methods": "zero-shot"
    }
    found = problems(given, out)
    assert found == {
        "study": 'cards: gender "F" is not a class of fairface, which has Male, Female; name them alike.'
    }


def left_out(given, out, study="fairface") -> str:
    """What the check says is left out."""
    found = check_plan(plan_run([study], "demo", given, str(out)))
    return next((f.detail for f in found if f.what == "left out"), "")


def test_tasks_that_images_are_not_labelled_by_are_left_out(out, tmp_path):
    columns = {k: v for k, v in GOOD.items() if k != "race"} | {"gender": ["M", "F"]}
    given = manifest(tmp_path / "m", 4, **columns) | {"methods": "zero-shot"}
    assert problems(given, out) == {}
    assert left_out(given, out) == (
        "Task race is not asked: cards has no group column of that name. Task gender is not asked: no label "
        'of cards, such as "M", is one of its classes in fairface (Male, Female).'
    )
    given = manifest(tmp_path / "n", 4, Sex=["M", "F"]) | {"methods": "zero-shot"}
    assert problems(given, out)["study"] == (
        "cards has labels for no task of class set fairface (race, race_binary, gender, age); Task race is not "
        "asked: cards has no group column of that name; its group columns are Sex: give class_set a file with a "
        "task of the name of one of them, and its values as classes."
    )


def test_a_probe_is_never_tested_on_what_it_was_trained_on(out, tmp_path):
    given = manifest(tmp_path / "m", 4, **GOOD)
    assert problems(given | {"methods": "zero-shot"}, out) == {}
    assert problems(given | {"methods": "linear probe"}, out)["study"] == (
        "a linear probe cannot be tested on these images of manifest, because it has no train "
        "split; use methods=zero-shot."
    )
    assert problems(given | {"methods": "both"}, out) == {}
    assert left_out(given | {"methods": "both"}, out) == (
        "No linear probe is fitted: data set manifest has no train split."
    )
    assert "split=train is what it is trained on" in problems({"split": "train"}, out)["study"]
    assert problems({"split": "train", "methods": "zero-shot"}, out) == {}


# -- model ---------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_made(out, tmp_path):
    (tmp_path / "file").touch()
    found = problems({"store": str(tmp_path / "file" / "store")}, out)
    assert found["store"].startswith(f"store={tmp_path / 'file' / 'store'} cannot be written")
    assert problems({"store": "/proc/store"}, out)["store"].endswith("; name another.")
    assert problems({"store": str(tmp_path / "new" / "store")}, out) == {}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"model": "ViT-B-32", "pretrained": "openai"},
            "would run with GELU, but these weights were trained with QuickGELU; use ViT-B-32-quickgelu.",
        ),
        (
            {"model": "ViT-B-32", "pretrained": "opnai"},
            "ViT-B-32 has no weights named opnai, and no such file exists; see `clipeval list models`.",
        ),
        ({"model": "ViT-B-32"}, "without pretrained would run with random weights"),
        ({"model": "ViT-B-33", "pretrained": "openai"}, "ViT-B-33"),
        ({"model": "local-dir:/nowhere"}, "/nowhere does not exist"),
        ({"model": "local-dir:/nowhere", "pretrained": "openai"}, "brings its own weights"),
        ({"model": "hf-hub:a/b", "device": "gpu"}, "device=gpu is unknown; use auto, cuda"),
        ({"model": "mine:clip"}, "mine:clip"),
        ({"model": "timm:resnet10"}, "timm has no backbone named resnet10; did you mean resnet10t"),
        (
            {"model": "timm:resnet10t", "methods": "zero-shot"},
            "use it for fairface with methods=linear",
        ),
    ],
)
def test_a_model_that_would_fail(out, given, sentence):
    found = problems(given, out)
    found.pop("cards", None)  # a backbone is asked to read test cards here
    assert list(found) == ["model"] and sentence in found["model"]


@pytest.mark.parametrize(
    ("given", "repository"),
    [
        (
            {"model": "ViT-B-32-quickgelu", "pretrained": "openai"},
            "timm/vit_base_patch32_clip_224.openai",
        ),
        ({"model": "hf-hub:some/model"}, "some/model"),
        ({"model": "timm:resnet10t"}, "timm/resnet10t.c3_in1k"),
    ],
)
def test_weights_that_cannot_be_had(out, offline, given, repository):
    """Exit code 2 before anything starts, and not a run that fails at its first image."""
    found = problems(given, out)
    found.pop("cards", None)  # a backbone is asked to read test cards here
    assert list(found) == ["model"] and found["model"].endswith("as local-dir:PATH.")
    assert f"the hub cannot be reached for {repository}; download it" in found["model"]


def test_weights_of_another_architecture(out, small, tmp_path):
    """Told by the file's header, by the rules of loading, without reading a weight."""
    given = {"model": "ViT-B-32", "pretrained": str(small / "open_clip_model.safetensors")}
    assert "does not fit the model's configuration: " in problems(given, out)["model"]
    save(small, SMALL)
    config = json.loads((small / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 24
    (small / "open_clip_config.json").write_text(json.dumps(config))
    found = problems({"model": f"local-dir:{small}"}, out)["model"]
    assert "is (64, 16) and should be (64, 24)" in found
    (small / "open_clip_model.safetensors").write_bytes(b"no weights at all")
    found = problems({"model": f"local-dir:{small}"}, out)["model"]
    assert "open_clip_model.safetensors cannot be read as weights" in found


def test_parts_of_a_model_that_are_missing(out, offline, small):
    text = SMALL["text_cfg"] | {"hf_tokenizer_name": "some/tokenizer"}
    save_config(small, SMALL | {"text_cfg": text})
    found = problems({"model": f"local-dir:{small}"}, out)["model"]
    assert found == (
        f"{small} holds no tokenizer, and its configuration names that of some/tokenizer; put its "
        "tokenizer.json and tokenizer_config.json there."
    )
    in_hub_cache(offline, "some/model", sorted(small.iterdir()))
    found = problems({"model": "hf-hub:some/model"}, out)["model"]
    assert "the tokenizer some/tokenizer is not on this disk and the hub cannot be reach" in found
    tower = {"hf_model_name": "some/bert", "hf_tokenizer_name": "some/tokenizer"}
    save_config(small, SMALL | {"text_cfg": tower})
    found = problems({"model": f"local-dir:{small}"}, out)["model"]
    assert "the text tower some/bert is not on this disk and the hub cannot be reached" in found


def save_config(folder, config):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))


def test_a_checkpoint_of_transformers_names_what_reads_it(out, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    found = problems({"model": f"local-dir:{tmp_path}"}, out)["model"]
    assert "is a checkpoint of transformers and not of open_clip; load it by a loader" in found


@pytest.mark.parametrize("kind", ["testcard", "folder"])
def test_a_device_that_is_not_there(out, small, kind):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    model = "testcard" if kind == "testcard" else f"local-dir:{small}"
    found = problems({"model": model, "device": "cuda"}, out)
    assert found["model"].startswith("device=cuda is not available to torch on this machine")


def test_a_real_model_on_test_cards(out, small):
    given = {"model": f"local-dir:{small}", "dataset": "testcards"}
    (problem,) = problems(given, out).values()
    assert problem.endswith(
        "which only model=testcard can; name your images with dataset and data."
    )


def test_a_probe_without_a_train_split(out, small, tmp_path):
    """Said before val is embedded, hours before the probe would look for it."""
    Image.new("RGB", (224, 224)).save(tmp_path / "1.jpg")
    (tmp_path / "fairface" / "val").mkdir(parents=True)
    (tmp_path / "1.jpg").rename(tmp_path / "fairface" / "val" / "1.jpg")
    labels = "file,age,gender,race,service_test\nval/1.jpg,3-9,Male,White,True\n"
    (tmp_path / "fairface" / "labels_val.csv").write_text(labels)
    given = {
        "model": f"local-dir:{small}",
        "dataset": "fairface",
        "data": str(tmp_path / "fairface"),
    }
    found = problems(given, out)
    assert list(found) == ["study"] and found["study"].startswith("a linear probe needs the train")
    assert found["study"].endswith("Or use methods=zero-shot.")
    assert problems(given | {"methods": "zero-shot"}, out) == {}


# -- classes and prompts -------------------------------------------------------------------------


def test_class_sets_and_templates(out, tmp_path):
    assert 'class set "faces" is not known' in problems({"class_set": "faces"}, out)["classes"]
    assert 'template set "foto"' in problems({"templates": "foto"}, out)["classes"]
    path = tmp_path / "twice.yaml"
    path.write_text("classes: [cat, dog, cat]\n")
    found = problems({"class_set": str(path)}, out)
    assert found == {"classes": 'twice.yaml: task "twice" lists the class "cat" twice; remove one.'}


def test_other_words_under_the_name_of_a_bundled_file_are_refused(out, tmp_path):
    bundled = DATA / "class_sets" / "fairface.yaml"
    same, other = tmp_path / "same.yaml", tmp_path / "other.yaml"
    shutil.copy(bundled, same)
    assert problems({"class_set": str(same), "methods": "zero-shot"}, out) == {}
    assert problems({"class_set": f"{same}:latino", "methods": "zero-shot"}, out) == {}
    other.write_text(bundled.read_text("utf-8").replace("Black", "African"), "utf-8")
    assert problems({"class_set": str(other), "methods": "zero-shot"}, out)["classes"] == (
        "other.yaml has the name fairface, as a bundled class set with other words has; give it a `name:` of "
        "its own, which captions repeat."
    )
    templates = tmp_path / "photo.yaml"
    templates.write_text("templates: ['a picture of a {}.']\n")
    said = problems({"templates": str(templates), "methods": "zero-shot"}, out)["classes"]
    assert said.startswith("photo.yaml has the name photo, as a bundled template set with")


LONG = "a person " + "who is very very old " * 20


@pytest.fixture
def truncated(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(
        "tasks:\n  race: {White: White person, Black: Black person}\n"
        f"  gender: {{Male: man, Female: woman}}\n  age: {{3-9: child, more than 70: {LONG}}}\n"
    )
    return str(path)


@pytest.mark.parametrize("kind", ["testcard", "folder", "built-in"])
def test_a_label_that_would_be_truncated(out, small, truncated, kind, on_the_hub):
    model = {
        "testcard": {"model": "testcard"},
        "folder": {"model": f"local-dir:{small}"},
        "built-in": {"model": "ViT-B-32-quickgelu", "pretrained": "openai"},
    }[kind]
    found = problems(model | {"class_set": truncated}, out)["prompts"]
    assert found.startswith('label "a photo of a a person who is very ver ..." needs 10')
    assert found.endswith("tokens and this model reads 77; shorten it.")


def test_the_models_own_length_counts(out, small):
    """Eight tokens are start, end and six more: "a photo of a Latino or Hispanic person." has nine."""
    save(small, SMALL | {"text_cfg": SMALL["text_cfg"] | {"context_length": 8}})
    found = problems({"model": f"local-dir:{small}"}, out)
    assert found["prompts"].endswith("and this model reads 8; shorten it.")


def test_what_is_stored_fits_and_needs_no_tokenizer(demo_cache, out, truncated):
    from decks import session_of

    given = {"store": str(out.parent / "store")}
    session = session_of("fairface", limit=20, **given)
    session.classify("gender")
    said = {f.what: f.detail for f in check(given, out)}
    assert said["prompts"] == "16 not sent before, none too long"  # of 18, gender's 2 were
    for task in ("race", "age"):
        session.classify(task)
    assert "prompts" not in {f.what for f in check(given, out)}
    said = {f.what: f.detail for f in check(given | {"race_rule": "binary"}, out)}
    assert said["prompts"] == "1 not sent before, none too long"  # non-White; White is in both
    assert "prompts" in problems(given | {"class_set": truncated}, out)


# -- what each study needs -----------------------------------------------------------------------


def study_problem(study: str, given: dict, out) -> str:
    found = {f.what: f.problem for f in check(given, out, studies=(study,)) if f.problem}
    assert list(found) == ["study"], found
    return found["study"]


def test_every_study_says_before_embedding_what_it_lacks(out, tmp_path):
    no_race = manifest(tmp_path / "m", 4, gender=["Male", "Female"], age=["3-9", "10-19"])
    assert problems(no_race, out, ("denigration",)) == {}
    men = manifest(tmp_path / "men", 4, **GOOD | {"gender": ["Male"]})
    for study in ("class_design", "congress"):
        assert problems(men, out, (study,)) == {}
        assert 'gender is "Male" in every row.' in left_out(men, out, study)
    none = manifest(tmp_path / "none", 4, gender=["Male"])
    assert "has no group column, and congress compares groups" in study_problem(
        "congress", none, out
    )
    harmless = tmp_path / "harmless.yaml"
    harmless.write_text("classes: [cat, dog]\n")
    for study, name in (("denigration", "class_set"), ("class_design", "other")):
        assert "names no categories" in study_problem(study, {name: str(harmless)}, out)
    for name in ("other", "candidates"):
        found = problems({name: "nosuch"}, out, ("class_design",))
        assert list(found) == ["classes"] and 'class set "nosuch" is not known' in found["classes"]
    assert "both denigration" in study_problem("class_design", {"other": "denigration"}, out)
    own = tmp_path / "mine.yaml"
    own.write_text(
        "classes: [thief, cat]\ncategories: {crime: [thief]}\nvariants: {more: {add: {mine: {man: man}}}}\n"
    )
    said = study_problem("class_design", {"class_set": str(own)}, out)
    assert "other is the paper's denigration:child" in said and said.endswith("mine.yaml:more.")
    assert problems({"class_set": str(own), "other": f"{own}:more"}, out, ("class_design",)) == {}
    at = {"thresholds": "1,2", "top_threshold": "0.5"}
    assert study_problem("congress", at, out).startswith(
        "top_threshold is 0.5, and tables are made"
    )
    assert problems({"thresholds": "1,2"}, out, ("congress",)) == {}  # the lowest of these
    assert 'has no task "occupation"' in study_problem(
        "congress", {"label_sets": "occupation"}, out
    )


def test_words_of_every_study_are_measured(out, tmp_path):
    """Not those of the class set alone: the other set, candidates, names, captions."""
    long = tmp_path / "long.yaml"
    words = "\n".join(f"  {name}: {text}" for name, text in {"cat": "cat", "old": LONG}.items())
    long.write_text(f"classes:\n{words}\ncategories: {{harm: [cat]}}\n")
    for name in ("other", "candidates"):
        found = {f.what: f.problem for f in check({name: str(long)}, out, ("class_design",))}
        assert "and this model reads 77; shorten it." in found["prompts"]

"""One command on real photographs, against plain open_clip, scikit-learn and statsmodels.

`clipeval run fairface` runs once, on photographs of val and as many of train, with a small checkpoint
that was trained on faces; everything below is asserted of its run folder. A second run must give the
same bytes from the store alone. CLIPEVAL_TEST_PHOTOS=5000 takes all of either split (`make thorough`).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from statsmodels.stats.proportion import proportion_confint
from threadpoolctl import threadpool_limits

pytestmark = pytest.mark.slow

PHOTOS = int(os.environ.get("CLIPEVAL_TEST_PHOTOS", 1500))
LIMIT = {"limit": PHOTOS, "train_limit": PHOTOS}

TASKS = {
    "race": {
        "White": "White person",
        "Black": "Black person",
        "Indian": "Indian person",
        "East Asian": "East Asian person",
        "Southeast Asian": "Southeast Asian person",
        "Middle Eastern": "Middle Eastern person",
        "Latino_Hispanic": "Latino or Hispanic person",
    },
    "gender": {"Male": "man", "Female": "woman"},
    "age": {
        age: f"person {age} years old"
        for age in "0-2 3-9 10-19 20-29 30-39 40-49 50-59 60-69".split()
    }
    | {"more than 70": "person more than 70 years old"},
}


def clipeval(*arguments, cache: Path, cwd: Path, **environment) -> subprocess.CompletedProcess:
    """The command line, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "clipeval", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"CLIPEVAL_CACHE": str(cache)} | environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("acceptance") / "cache"


@pytest.fixture(scope="module")
def given(real, tiny_face_clip):
    """Arguments of the run; paths are relative, as seen from the folder that holds both."""
    home = real.parent
    return [
        *("-p", "dataset=fairface", "-p", f"data={(real / 'fairface').relative_to(home)}"),
        *("-p", f"model=local-dir:{tiny_face_clip.relative_to(home)}"),
        *("-p", f"limit={PHOTOS}", "-p", f"train_limit={PHOTOS}"),
    ]


@pytest.fixture(scope="module")
def run(given, real, cache):
    """The run folder of the first run."""
    out = cache.parent / "run"
    done = clipeval("run", "fairface", *given, "--out", out, cache=cache, cwd=real.parent)
    assert done.returncode == 0, done.stderr
    assert f"2 of 2 studies done. Open {out / 'index.html'}" in done.stdout
    return out


@pytest.fixture(scope="module")
def predictions(run):
    return pd.read_parquet(run / "fairface" / "predictions.parquet")


@pytest.fixture(scope="module")
def record(run):
    return json.loads((run / "run.json").read_text("utf-8"))["studies"]["fairface"]


@pytest.fixture(scope="module")
def labels(real):
    """The label CSV, as pandas reads it: the rows that a seed of 0 draws."""
    frame = pd.read_csv(real / "fairface" / "labels_val.csv", dtype=str)
    drawn = np.random.default_rng(0).permutation(len(frame))[:PHOTOS]
    return frame.iloc[np.sort(drawn)].set_index("file")


@pytest.fixture(scope="module")
def by_hand(real, tiny_face_clip, labels):
    """Task -> probabilities (images, classes) from plain open_clip alone."""
    import open_clip
    import torch

    name = f"local-dir:{tiny_face_clip}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(labels), 250):
            files = [real / "fairface" / name for name in labels.index[start : start + 250]]
            pixels = torch.stack([transform(Image.open(f).convert("RGB")) for f in files])
            image = model.encode_image(pixels)
            rows.append(image / image.norm(dim=-1, keepdim=True))
        image, found = torch.cat(rows), {}
        for task, classes in TASKS.items():
            text = model.encode_text(tokenizer([f"a photo of a {c}." for c in classes.values()]))
            text = text / text.norm(dim=-1, keepdim=True)
            found[task] = (model.logit_scale.exp() * image @ text.T).softmax(dim=-1).numpy()
    return found


def top(predictions, task, method="zero-shot") -> pd.DataFrame:
    """Top labels of one task, by image."""
    kept = (predictions["task"] == task) & (predictions["method"] == method)
    found = predictions[kept & (predictions["rank"] == 1)].set_index("image_id")
    return found.astype({c: str for c in ("label", "race", "gender", "age")})


# -- zero-shot -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_top_labels_equal_a_plain_open_clip_loop_on_all_images(predictions, by_hand, labels, task):
    names = np.array(list(TASKS[task]))
    found = top(predictions, task).loc[labels.index]
    assert len(found) == PHOTOS
    assert (found["label"].to_numpy() == names[by_hand[task].argmax(axis=1)]).all()
    np.testing.assert_allclose(found["prob"], by_hand[task].max(axis=1), atol=1e-4)
    for column in ("race", "gender", "age"):
        assert (found[column] == labels[column]).all()


@pytest.mark.parametrize("task", TASKS)
def test_every_kept_probability_is_open_clips(predictions, by_hand, labels, task):
    """The five best of each image, in order."""
    kept = predictions[(predictions["task"] == task) & (predictions["method"] == "zero-shot")]
    place = pd.Series(range(len(labels)), labels.index)
    column = {name: i for i, name in enumerate(TASKS[task])}
    rows, classes = kept["image_id"].map(place), kept["label"].astype(str).map(column)
    np.testing.assert_allclose(kept["prob"], by_hand[task][rows, classes], atol=1e-4)
    assert kept["rank"].max() == min(5, len(column)) and len(kept) == PHOTOS * kept["rank"].max()
    steps = kept.sort_values(["image_id", "rank"]).groupby("image_id")["prob"].diff().dropna()
    assert (steps <= 0).all()


# -- tables --------------------------------------------------------------------------------------


def expected_row(truth, found) -> list[float]:
    """n, hits, percent and Wilson interval by scikit-learn and statsmodels."""
    hits = int(accuracy_score(truth, found, normalize=False))
    low, high = proportion_confint(hits, len(truth), method="wilson")
    percent = 100 * accuracy_score(truth, found)
    return [len(truth), hits, percent, 100 * low, 100 * high]


NUMBERS = ["n", "count", "percent", "ci_low", "ci_high"]


def white(values):
    return np.where(np.asarray(values) == "White", "White", "Non-White")


@pytest.mark.parametrize("method", ["zero-shot", "linear probe"])
def test_accuracy_by_white_equals_sklearn_and_statsmodels(run, predictions, labels, method):
    table = pd.read_csv(run / "fairface" / "tables" / "accuracy_by_white.csv")
    table = table[table["method"] == method].set_index(["attribute", "images_of"])
    assert len(table) == 12
    for (attribute, of), row in table.iterrows():
        images = labels if of == "All" else labels[white(labels["race"]) == of]
        task = {"race, 7 classes": "race"}.get(attribute, attribute)
        if attribute == "race" and method == "linear probe":
            task = "race_binary"
        found = top(predictions, task, method).loc[images.index]["label"]
        truth = images["race" if attribute.startswith("race") else attribute]
        if attribute == "race":
            truth, found = white(truth), white(found)
        np.testing.assert_allclose(
            row[NUMBERS].astype(float), expected_row(truth, found), atol=1e-8
        )
        if attribute == "race" and of == "White":
            published = {"zero-shot": 58.3, "linear probe": 93.4}[method]
            assert row["published"] == published
            assert row["difference"] == pytest.approx(row["percent"] - published, abs=1e-4)


@pytest.mark.parametrize("method", ["zero-shot", "linear probe"])
def test_gender_by_race_equals_sklearn_and_statsmodels(run, predictions, labels, method):
    table = pd.read_csv(run / "fairface" / "tables" / "gender_by_race.csv")
    table = table[table["method"] == method].set_index(["race", "gender"])
    assert len(table) == 24
    found = top(predictions, "gender", method)["label"]
    for (race, gender), row in table.iterrows():
        if race == "Average":
            continue
        images = labels[
            (labels["race"] == race)
            & labels["gender"].isin([gender] if gender != "All" else ["Male", "Female"])
        ]
        np.testing.assert_allclose(
            row[NUMBERS].astype(float),
            expected_row(images["gender"], found[images.index]),
            atol=1e-8,
        )
    for gender in ("Male", "Female", "All"):
        mean = (
            table.drop(index="Average", level="race").xs(gender, level="gender")["percent"].mean()
        )
        assert table.loc[("Average", gender), "percent"] == pytest.approx(mean, abs=1e-4)


# -- probe ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm(run, cache, real, tiny_face_clip):
    """A session on what the run stored, and what it predicts."""
    from clipeval.studies import fairface, get_study

    parameters = fairface.Parameters(
        dataset="fairface",
        data=str(real / "fairface"),
        model=f"local-dir:{tiny_face_clip}",
        store=str(cache / "store"),
        out=str(cache.parent / "warm"),
        **LIMIT,
    )
    session = get_study("fairface").open(parameters, progress=False)
    return session, fairface.study.predict(session)


def test_train_embeddings_equal_plain_open_clip(warm, real, tiny_face_clip):
    import open_clip
    import torch

    session, _ = warm
    train = session.embed(session.train)
    assert len(train) == PHOTOS and train.encoded == 0
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_face_clip}")
    rows = np.random.default_rng(0).permutation(PHOTOS)[:200]
    files = [real / "fairface" / train.image_id[i] for i in rows]
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(f).convert("RGB")) for f in files])
        expected = model.eval().encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(train.matrix[rows], expected, atol=1e-5)


@pytest.mark.parametrize("task", ["race", "gender", "age", "race_binary"])
def test_the_probe_equals_scikit_learn_by_hand(warm, predictions, real, labels, task):
    session, found = warm
    train, val = session.embed(session.train), session.embed()
    answers = pd.read_csv(real / "fairface" / "labels_train.csv", dtype=str).set_index("file")
    answers = answers.loc[train.image_id]
    target = white(answers["race"]) if task == "race_binary" else answers[task]
    C = next(fit["C"] for fit in found.attrs["fits"] if fit["task"] == task)
    model = LogisticRegression(C=C, max_iter=1000, tol=1e-6)
    with threadpool_limits(1):  # several cores are slower on so small a matrix
        model.fit(train.matrix.astype(np.float64), np.asarray(target))
    expected = pd.Series(model.predict(val.matrix.astype(np.float64)), val.image_id)
    chance = pd.Series(model.predict_proba(val.matrix.astype(np.float64)).max(axis=1), val.image_id)
    kept = top(predictions, task, "linear probe").loc[expected.index]
    # rounding in another number of threads may decide an image that stands on a border
    assert (kept["label"] != expected).sum() <= 2
    np.testing.assert_allclose(kept["prob"], chance, atol=2e-3)


@pytest.mark.parametrize("task", ["gender", "race_binary"])
def test_rounding_of_the_embeddings_chooses_no_other_probe(warm, predictions, real, task):
    """Another batch size or machine moves embeddings by 1e-7; C and the labels must not follow."""
    from clipeval.classify.probe import fit_probe

    session, found = warm
    train, val = session.embed(session.train), session.embed()
    people = session.train.set_index("image_id").loc[train.image_id]
    target = white(people["race"]) if task == "race_binary" else people[task].astype(str)
    noise = np.random.default_rng(0).normal(0, 3e-8, train.matrix.shape)
    other = fit_probe(train.matrix + noise, np.asarray(target), seed=session.parameters.seed)
    assert other.C == next(fit["C"] for fit in found.attrs["fits"] if fit["task"] == task)
    kept = top(predictions, task, "linear probe").loc[val.image_id]
    answers = other.predict(val.image_id, val.matrix, task=task)
    assert (answers["label"].astype(str).to_numpy() != kept["label"].to_numpy()).sum() <= 2


# -- the run folder ------------------------------------------------------------------------------

GROUPS = ["age", "gender", "race", "white"]
COLUMNS = ["image_id", "task", "method", "class_set", "templates", "rank", "label", "prob"]


def test_files_of_the_contract(run):
    study = run / "fairface"
    for name in ("run.json", "index.html"):
        assert (run / name).stat().st_size > 100
    for name in ("notebook.ipynb", "report.html", "predictions.parquet", "prompts.json"):
        assert (study / name).stat().st_size > 100
    tables = {path.name for path in (study / "tables").iterdir()}
    for name in ("accuracy_by_white", "gender_by_race"):
        assert {f"{name}.csv", f"{name}.tex"} <= tables
    figures = {path.name for path in (study / "figures").iterdir()}
    for name in {name.split(".")[0] for name in figures - {".clipeval.sha256"}}:
        assert {f"{name}.pdf", f"{name}.png", f"{name}.svg"} <= figures
    assert (study / "figures" / "gender_by_race.pdf").read_bytes().startswith(b"%PDF")
    Image.open(study / "figures" / "gender_by_race.png").verify()
    assert {path.name for path in run.rglob(".*")} <= {".clipeval.sha256", ".gitignore"}


def test_tables_have_the_columns_of_the_contract(run):
    tail = ["metric", "percent", "ci_low", "ci_high", "published", "difference"]
    for path in (run / "fairface" / "tables").glob("*.csv"):
        columns = list(pd.read_csv(path).columns)
        rest = columns[columns.index("n") :]
        assert [c for c in rest if c in ("n", *tail)] == ["n", *tail], path.name


def test_predictions_have_the_columns_of_the_contract(predictions, labels):
    assert list(predictions.columns) == [*COLUMNS, *GROUPS]
    assert set(predictions["image_id"]) == set(labels.index)  # "val/1.jpg", as in the label CSV
    assert set(predictions["method"]) == {"zero-shot", "linear probe"}
    zero = predictions[predictions["method"] == "zero-shot"]
    assert set(zero["class_set"]) == {"fairface v1"} and set(zero["templates"]) == {"photo v1"}
    assert predictions["prob"].between(0, 1).all() and predictions["rank"].min() == 1
    assert not predictions.isna().any().any()


def test_run_json_says_what_ran_on_what(run, record, tiny_face_clip, real, warm, labels):
    import hashlib
    from importlib.metadata import version

    whole = json.loads((run / "run.json").read_text("utf-8"))
    assert whole["arguments"]["profile"] == ""
    assert whole["arguments"]["parameters"]["dataset"] == "fairface"
    weights = hashlib.sha256((tiny_face_clip / "open_clip_model.safetensors").read_bytes())
    model = record["model"]
    assert model["weights_sha256"] == weights.hexdigest()
    assert (model["precision"], model["activation"], model["score"]) == ("fp32", "gelu", "softmax")
    assert model["logit_scale"] == pytest.approx(15.10225, abs=1e-4)
    assert model["preprocess"]["size"] == [64, 64]
    assert model["preprocess"]["interpolation"] == "bicubic"
    assert {"commit", "dirty", "version"} <= set(record["code"])
    for package in ("torch", "pandas", "scikit-learn"):
        assert record["versions"][package] == version(package)
    assert record["versions"]["open_clip_torch"] == version("open_clip_torch")
    data = record["dataset"]
    assert (data["images"], data["read"], data["unreadable"]) == (PHOTOS, PHOTOS, 0)
    assert len(data["hash"]) == 64 and "CC BY 4.0" in data["licence"]
    assert len(record["class_sets"]["fairface v1"]["hash"]) == 64
    # embedded before the notebook started, and on record all the same
    # two of the 10,000 photographs are there twice, and what is the same is encoded once
    files = [real / "fairface" / name for name in (*warm[0].train["image_id"], *labels.index)]
    distinct = len({file.read_bytes() for file in files})
    assert (record["device"], record["opened"]) == ("cpu", 2 * PHOTOS)
    assert record["encoded"] == distinct and (distinct == 9_998) == (PHOTOS == 5_000)
    assert record["seconds"]["embed images"] > record["seconds"]["notebook"] > 0
    assert record["parameters"]["data"] == "fairface"  # where it lies is in local.json alone


def test_prompts_json_rebuilds_the_predictions(run, predictions, warm):
    """From prompts.json and the stored image embeddings alone, by plain numpy."""
    session, _ = warm
    prompts = json.loads((run / "fairface" / "prompts.json").read_text("utf-8"))
    assert set(prompts) == set(TASKS)
    images, scale = session.embed(), session.info.logit_scale
    for task, classes in prompts.items():
        assert classes == {k: [f"a photo of a {v}."] for k, v in TASKS[task].items()}
        text = session.encode([prompt for (prompt,) in classes.values()])
        logits = scale * (images.matrix.astype(np.float64) @ text.T.astype(np.float64))
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        kept = top(predictions, task).loc[images.image_id]
        assert (kept["label"] == np.array(list(classes))[logits.argmax(axis=1)]).all()
        # as kept: to the digits of float32
        np.testing.assert_allclose(kept["prob"], share.max(axis=1), rtol=6e-8, atol=1e-9)


def test_the_executed_notebook_is_whole(run):
    notebook = json.loads((run / "fairface" / "notebook.ipynb").read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    injected = [c for c in code if "injected-parameters" in c["metadata"].get("tags", [])]
    assert len(injected) == 1 and 'dataset = "fairface"' in "".join(injected[0]["source"])
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds
    page = (run / "fairface" / "report.html").read_text("utf-8")
    assert "Traceback" not in page and 'class="replay"' not in page


# -- a warm store --------------------------------------------------------------------------------

POISON = "import os\nopen(os.environ['CLIPEVAL_TEST_MARK'], 'a').close()\nraise ImportError('poisoned')\n"


@pytest.fixture(scope="module")
def again(run, given, real, cache):
    """A second run, where importing torch or open_clip fails and leaves a mark."""
    poison = cache.parent / "poison"
    for name in ("torch", "open_clip", "torchvision", "timm"):
        (poison / name).mkdir(parents=True)
        (poison / name / "__init__.py").write_text(POISON)
    out, mark = cache.parent / "again", cache.parent / "mark"
    done = clipeval(
        *("run", "fairface", *given, "--out", out),
        cache=cache,
        cwd=real.parent,
        PYTHONPATH=str(poison),
        CLIPEVAL_TEST_MARK=str(mark),
    )
    assert done.returncode == 0, done.stderr
    return out, mark


def test_a_second_run_encodes_nothing_and_never_imports_torch(again):
    out, mark = again
    record = json.loads((out / "fairface" / "study.json").read_text("utf-8"))
    assert (record["opened"], record["encoded"]) == (0, 0)
    assert not mark.exists()


def test_a_second_run_gives_the_same_bytes(run, again):
    compared = 0
    for path in sorted((run / "fairface").rglob("*.*")):
        if path.suffix in (".csv", ".tex", ".png", ".pdf", ".svg", ".parquet"):
            other = again[0] / "fairface" / path.relative_to(run / "fairface")
            assert path.read_bytes() == other.read_bytes(), path.name
            compared += 1
    assert compared >= 13
    assert (run / "fairface" / "prompts.json").read_text() == (
        again[0] / "fairface" / "prompts.json"
    ).read_text()


OPENED = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import clipeval
from clipeval.studies import fairface
session = clipeval.start("fairface", dict(
    dataset="fairface", data={data!r}, model={model!r}, store={store!r}, out={out!r}, **{limit!r}))
session.progress = False
predictions = fairface.study.predict(session)
fairface.accuracy_by_white(predictions), fairface.gender_by_race(predictions)
session.finish()
images = [path for path in opened if path.endswith((".jpg", ".safetensors"))]
heavy = sorted({{"torch", "open_clip", "timm", "torchvision"}} & set(sys.modules))
print(len(opened) > 100, images, heavy)
"""


def test_a_second_session_opens_no_image_and_no_weights(run, cache, real, tiny_face_clip, tmp_path):
    code = OPENED.format(
        data=str(real / "fairface"),
        model=f"local-dir:{tiny_face_clip}",
        store=str(cache / "store"),
        out=str(tmp_path / "out"),
        limit=LIMIT,
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"CLIPEVAL_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "True [] []", done.stdout + done.stderr


# -- what must not be reused ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def copies(tiny_face_clip, tmp_path_factory):
    """Folders: the model as it is, with one weight changed, and with another preprocess."""
    from safetensors.torch import load_file, save_file

    home = tmp_path_factory.mktemp("copies")
    for name in ("same", "weight", "preprocess"):
        shutil.copytree(tiny_face_clip, home / name)
        for path in (home / name).iterdir():
            path.chmod(0o644)
    file = home / "weight" / "open_clip_model.safetensors"
    state = load_file(file)
    # a number that every image passes through: the first of the first convolution's kernel
    key = next(k for k in state if k.startswith("visual.") and state[k].ndim == 4)
    state[key].flatten()[0].add_(0.5)
    save_file(state, file)
    file = home / "preprocess" / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    file.write_text(json.dumps(config))
    return home


def embedded(real, model, store, **values):
    """Embeddings of 32 photographs: (embeddings, fingerprint)."""
    from clipeval.studies import fairface, get_study

    parameters = fairface.Parameters(
        dataset="fairface",
        data=str(real / "fairface"),
        model=f"local-dir:{model}",
        limit=32,
        workers=0,
        store=str(store),
        **values,
    )
    session = get_study("fairface").open(parameters, progress=False)
    return session.embed(), session.info.fingerprint


def test_another_precision_weight_or_preprocess_is_not_reused(real, copies, tmp_path):
    store = tmp_path / "store"
    first, mark = embedded(real, copies / "same", store)
    assert (first.opened, first.encoded) == (32, 32)
    again, same = embedded(real, copies / "same", store)
    assert (again.opened, again.encoded, same) == (0, 0, mark)
    np.testing.assert_array_equal(again.matrix, first.matrix)
    marks = {mark}
    for folder, values in [
        ("weight", {}),
        ("preprocess", {}),
        ("same", {"precision": "bf16"}),
        ("same", {"resize": "squash"}),
        ("same", {"resize": "letterbox"}),
    ]:
        other, mark = embedded(real, copies / folder, store, **values)
        assert other.encoded == 32, (folder, values)
        marks.add(mark)
        if values.get("resize") is None:  # these photographs are square
            assert np.abs(other.matrix - first.matrix).max() > 1e-5, (folder, values)
    assert len(marks) == 6


def test_the_same_weights_elsewhere_are_reused(real, tiny_face_clip, copies, tmp_path):
    """What is computed depends on no path: a moved model embeds nothing again."""
    store = tmp_path / "store"
    first, mark = embedded(real, tiny_face_clip, store)
    moved, same = embedded(real, copies / "same", store)
    assert (moved.opened, moved.encoded, same) == (0, 0, mark)
    np.testing.assert_array_equal(moved.matrix, first.matrix)


# -- full size -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_full_size_vit_runs_through_the_same_command(real, tmp_path):
    """ViT-B-32-quickgelu with random weights, on 64 photographs."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    name = "ViT-B-32-quickgelu"
    model, _, transform = open_clip.create_model_and_transforms(name)
    folder = tmp_path / "vit"
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    done = clipeval(
        *("run", "fairface", "-p", "dataset=fairface", "-p", f"data={real / 'fairface'}"),
        *("-p", f"model=local-dir:{folder}", "-p", "methods=zero-shot", "-p", "limit=64"),
        *("--out", tmp_path / "run"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    study = tmp_path / "run" / "fairface"
    record = json.loads((study / "study.json").read_text("utf-8"))
    assert (record["model"]["activation"], record["model"]["embed_dim"]) == ("quickgelu", 512)
    assert record["dataset"]["read"] == 64
    found = pd.read_parquet(study / "predictions.parquet")
    assert found.groupby("task", observed=True)["image_id"].nunique().tolist() == [64] * 3
    kept = top(found, "age").head(24)
    tokens = open_clip.get_tokenizer(name)([f"a photo of a {c}." for c in TASKS["age"].values()])
    with torch.inference_mode():
        model.eval()
        files = [real / "fairface" / image_id for image_id in kept.index]
        pixels = torch.stack([transform(Image.open(f).convert("RGB")) for f in files])
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokens, normalize=True)
        expected = (model.logit_scale.exp() * image @ text.T).softmax(dim=-1).numpy()
    np.testing.assert_allclose(kept["prob"], expected.max(axis=1), atol=1e-4)

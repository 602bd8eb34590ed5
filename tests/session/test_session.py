"""A session: embeds once, remembers, joins by id, and leaves a whole run folder behind."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from decks import plant, session_of
from test_models import SMALL, save

import clipeval
from clipeval.classify.class_sets import class_set_of, load_class_set
from clipeval.errors import ClassSetError, DataError, ModelError, ParameterError, SetAside
from clipeval.files import LIST
from clipeval.session.look_ahead import refuse
from clipeval.session.parameters import Parameters
from clipeval.session.record import read_study
from clipeval.session.run_folder import check_out
from clipeval.session.session import Session
from clipeval.studies import fairface, opened, start

PEOPLE = pd.DataFrame(
    {
        "race": ["White", "Black", "Indian", "White", "Black", "Indian"] * 2,
        "gender": ["Male", "Female"] * 6,
        "age": ["20-29", "30-39", "3-9"] * 4,
    }
)
PROMPTS = {"Male": "a photo of a man.", "Female": "a photo of a woman."}


@pytest.fixture
def manifest(tmp_path):
    """Twelve cards that answer gender rightly, but for the first."""
    labels = PEOPLE["gender"].to_numpy(object).copy()
    labels[0] = "Female"
    return plant(tmp_path / "cards", PEOPLE, PROMPTS, labels)


@pytest.fixture
def given(manifest, tmp_path):
    return {
        "dataset": "manifest",
        "data": str(manifest),
        "methods": "zero-shot",
        "workers": 0,
        "store": str(tmp_path / "store"),
        "out": str(tmp_path / "out"),
    }


def session_with(given, **values) -> Session:
    session = start("fairface", given | values)
    session.progress = False
    return session


# -- starting ------------------------------------------------------------------------------------


def test_start_takes_a_notebooks_names_and_passes_over_the_rest(given):
    session = start("fairface", given | {"pd": pd, "_": 3, "by_white": None, "__name__": "x"})
    assert session.parameters.methods == "zero-shot" and session.study.id == "fairface"
    assert clipeval.start is start


def test_start_refuses_before_any_work(given, tmp_path):
    with pytest.raises(ParameterError, match="limit='x' is not accepted"):
        start("fairface", given | {"limit": "x"})
    with pytest.raises(ParameterError, match="did you mean fairface"):
        start("fairfac", given)
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match="file is not a writable folder"):
        start("fairface", given | {"out": str(tmp_path / "file" / "run")})


def test_a_name_that_papermill_was_given_and_no_study_knows_is_refused(given):
    cells = ["", "model = 'testcard'", "# Parameters\nlimit = 5\nmodle = 'x'\n"]
    names = given | {"limit": 5, "modle": "x", "mine": 3}
    with pytest.raises(ParameterError, match='no parameter "modle"; did you mean model?'):
        start("fairface", names | {"In": cells})
    session = start(
        "fairface", names | {"In": [*cells[:2], "# Parameters\nlimit = 5\n", "mine = 3"]}
    )
    assert session.parameters.limit == 5


def test_a_value_that_papermill_was_given_and_the_notebook_does_not_use_is_refused(given):
    """As in a notebook whose cell tags were lost: papermill's cell comes first, its own last."""
    cells = ["", "# Parameters\nlimit = 5\nworkers = -1\n", "limit = 0\nworkers = -1\n"]
    with pytest.raises(ParameterError, match="given limit=5, and the notebook sets limit to 0 "):
        start("fairface", given | {"limit": 0, "workers": -1, "In": cells})
    again = [*cells[:2], "# Parameters\nlimit = 7\n"]  # run anew in the same kernel, as edited
    session = start("fairface", given | {"limit": 7, "workers": -1, "In": again})
    assert (session.parameters.limit, session.parameters.workers) == (7, -1)


def test_a_real_model_reads_no_test_cards(given):
    with pytest.raises(ParameterError, match="model=ViT-B-32 is asked to read test cards"):
        start("fairface", given | {"dataset": "testcards", "data": "", "model": "ViT-B-32"})


def test_a_run_folder_is_tried_and_left_as_it_was(tmp_path):
    out = tmp_path / "new" / "run"
    assert check_out(Parameters(out=str(out))) == out
    assert list(tmp_path.iterdir()) == []


# -- embedding and predicting --------------------------------------------------------------------


def test_images_are_opened_once_for_all_that_follows(given):
    session = session_with(given)
    first = session.embed()
    assert (first.opened, first.encoded) == (12, 12)
    assert session.embed() is first
    session.classify("gender")
    session.classify("age")
    assert (session.embed().opened, session.embed().encoded) == (12, 12)
    other = session_with(given)
    other.classify("gender")
    assert (other.embed().opened, other.embed().encoded) == (0, 0)
    np.testing.assert_array_equal(other.embed().matrix, first.matrix)


def test_a_model_that_is_known_is_not_loaded(given, tmp_path):
    folder = tmp_path / "small"
    save(folder, SMALL)
    real_model = {"model": f"local-dir:{folder}", "device": "cpu"}
    first = session_with(given, **real_model)
    expected = first.classify("gender")
    assert first.source._model is not None
    second = session_with(given, **real_model)
    pd.testing.assert_frame_equal(second.classify("gender"), expected)
    assert second.source._model is None and second.info == first.info
    # a prompt that was never sent needs the model, and the images still do not
    second.classify(class_set=class_set_of("pets", {"pets": ["cat", "dog"]}))
    assert second.source._model is not None and second.embed().opened == 0


def test_a_label_that_does_not_fit_is_refused_before_any_image_is_opened(given):
    session = session_with(given)
    long = class_set_of("long", {"long": {"short": "cat", "long": "very " * 90 + "old cat"}})
    with pytest.raises(ClassSetError, match="needs .* tokens and this model reads 77; shorten it"):
        session.classify(class_set=long)
    assert session.source._embeddings == {}


def test_predictions_carry_the_groups_of_their_image(given):
    session = session_with(given)
    found = session.classify("gender", top=None)
    assert len(found) == 24
    truth = PEOPLE.assign(image_id=[f"{i}.png" for i in range(12)]).set_index("image_id")
    for column in PEOPLE:
        assert (found[column].astype(str) == found["image_id"].map(truth[column])).all()
    top = found[found["rank"] == 1]
    assert (top["label"].astype(str) != top["gender"].astype(str)).tolist() == [True] + [False] * 11


def test_groups_are_joined_by_id_and_not_by_position(given):
    session = session_with(given)
    found = session.classify("gender").sample(frac=1, random_state=1)
    bare = found.drop(columns=[*PEOPLE])
    joined = session.with_groups(bare, session.images.iloc[::-1].copy())
    for column in PEOPLE:
        assert (joined[column].astype(str).to_numpy() == found[column].astype(str).to_numpy()).all()


def test_an_image_that_cannot_be_read_is_listed_and_not_counted(given, manifest):
    (manifest.parent / "5.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    session = session_with(given)
    said = session.reading().data
    assert said.startswith("**1 of 12 images could not be read** (listed in unreadable.csv)")
    listed = pd.read_csv(session.folder / "unreadable.csv")
    assert listed["image_id"].tolist() == ["5.png"] and listed["reason"].str.len().min() > 5
    predictions = session.classify("gender")
    assert len(predictions) == 11
    table = fairface.gender_by_race(predictions).set_index(["race", "gender"])
    assert table.loc[("Indian", "All"), "n"] == 3 and table.loc[("White", "All"), "n"] == 4
    session.finish()
    record = json.loads((session.folder / "study.json").read_text("utf-8"))
    assert (record["dataset"]["images"], record["dataset"]["read"]) == (12, 11)
    assert record["dataset"]["unreadable"] == 1
    # and when it is mended, the list goes
    (manifest.parent / "5.png").write_bytes((manifest.parent / "4.png").read_bytes())
    again = session_with(given)
    assert again.reading().data == "All 12 images could be read."
    assert not (again.folder / "unreadable.csv").exists()


def test_a_probe_for_an_image_only_model(given):
    asked = opened("fairface", given | {"model": "timm:resnet10t"})
    with pytest.raises(ModelError, match="use it for fairface with methods=linear probe"):
        refuse(asked)
    session = session_with(given)
    session.source.info = type("Info", (), {"has_text": False, "model": "timm:resnet10t"})
    with pytest.raises(ModelError, match="timm:resnet10t has no text encoder"):
        session.encode(["a cat"])
    with pytest.raises(
        ParameterError, match="methods=zero-shot cannot run; use methods=linear probe"
    ):
        fairface.study.predict(session)


def test_a_smaller_sample_reuses_what_a_larger_one_stored(given):
    session_with(given).embed()
    some = session_with(given, limit=5)
    assert len(some.embed()) == 5 and some.embed().opened == 0
    assert "A random sample of 5 of 12 images (seed 0)." in some.images.attrs["notes"]


# -- prompts -------------------------------------------------------------------------------------


def test_prompts_are_recorded_exactly_as_they_were_sent(given, monkeypatch):
    from clipeval.models.testcard import WordTokenizer

    sent = []
    plain = WordTokenizer.array
    monkeypatch.setattr(
        WordTokenizer, "array", lambda self, texts: sent.extend(texts) or plain(self, texts)
    )
    session = session_with(given, templates="face")
    session.classify("gender")
    session.classify("age")
    session.finish()
    kept = json.loads((session.folder / "prompts.json").read_text("utf-8"))
    assert list(kept) == ["gender", "age"] and list(kept["gender"]) == ["Male", "Female"]
    assert [len(prompts) for prompts in kept["gender"].values()] == [5, 5]
    assert sent == [p for task in kept.values() for prompts in task.values() for p in prompts]
    shown = session.prompts()
    assert shown["task"].tolist() == ["gender"] * 2 + ["age"] * 9
    assert shown["prompts"][0] == " | ".join(kept["gender"]["Male"])


def test_a_task_asked_in_two_ways_keeps_both(given):
    session = session_with(given)
    session.classify("gender")
    session.classify("gender", class_set="fairface:sex_words")
    session.classify("gender")
    assert list(session._prompts) == ["gender", "gender (fairface:sex_words, photo)"]
    assert session._prompts["gender"]["Male"] == ["a photo of a man."]
    assert session._prompts["gender (fairface:sex_words, photo)"]["Male"] == ["a photo of a male."]


# -- planted values ------------------------------------------------------------------------------


def test_planted_values_stand_beside_their_own_rows():
    session = session_of("fairface", limit=300)
    predictions = session.classify("gender", top=1)
    table = session.tabulate(fairface.gender_by_race, predictions)
    truth = fairface.gender_by_race(session.planted)
    truth = truth[truth["method"] == "zero-shot"].set_index(["race", "gender"])["percent"]
    for row in table.dropna(subset="percent").itertuples():
        assert row.planted == pytest.approx(truth[row.race, row.gender])
        assert row.percent == row.planted


def test_a_remark_on_test_cards_is_made_on_test_cards_only(given):
    session = session_with(given)
    assert session.on_test_cards("Planted.") is None
    session.images.attrs["planted"] = "somewhere"
    assert session.on_test_cards("Planted.").data == "Planted."


def test_photographs_have_no_planted_value(given):
    session = session_with(given)
    assert session.planted is None
    predictions = session.classify("gender")
    table = session.tabulate(fairface.gender_by_race, predictions)
    assert "planted" not in table
    numbers = ["race", "gender", "n", "count", "percent", "ci_low", "ci_high"]
    pd.testing.assert_frame_equal(table[numbers], fairface.gender_by_race(predictions)[numbers])
    assert table["published"].isna().all()  # of other photographs than the paper's


# -- remembering ---------------------------------------------------------------------------------


def test_a_remark_on_test_cards_is_made_on_test_cards_alone(given):
    assert session_with(given).on_test_cards("They are drawn.") is None
    cards = session_of("denigration")
    assert cards.on_test_cards("They are drawn.").data == "They are drawn."


def test_what_is_computed_is_kept_until_something_it_depends_on_changes(given):
    session = session_with(given)
    calls = []

    def compute():
        calls.append(1)
        return pd.DataFrame({"x": [1.5, 2.5]})

    a, b = np.arange(4.0), np.array(["x", "y"], dtype=object)
    first = session.remember("thing", [a, b, 3], compute)
    again = session_with(given).remember("thing", [a.copy(), b.copy(), 3], compute)
    pd.testing.assert_frame_equal(first, again)
    assert len(calls) == 1
    for name, key in [
        ("thing", [a + 1, b, 3]),
        ("thing", [a, b[::-1], 3]),
        ("thing", [a, b, 4]),
        ("other", [a, b, 3]),
    ]:
        session.remember(name, key, compute)
    assert len(calls) == 5


def another_version_of(package, monkeypatch):
    """As if the package had been upgraded (or installed) since."""
    from clipeval.output import provenance

    plain = provenance.package_versions()
    monkeypatch.setattr(
        provenance, "version_of", lambda name: "99.0" if name == package else plain[name]
    )


@pytest.mark.parametrize(
    "package, again",
    [
        ("matplotlib", False),
        ("statsmodels", False),
        ("fairlearn", False),
        ("torch", True),
        ("scikit-learn", True),
        ("numpy", True),
    ],
)
def test_kept_results_outlive_upgrades_of_what_computes_nothing(given, monkeypatch, package, again):
    calls = []

    def fit():
        calls.append(1)
        return pd.DataFrame({"x": [1.5]})

    for _ in range(2):
        session_with(given).remember("fit", [1], fit)
    assert len(calls) == 1
    another_version_of(package, monkeypatch)
    session_with(given).remember("fit", [1], fit)
    assert len(calls) == 1 + again


def test_half_a_file_is_computed_again(given):
    session = session_with(given)

    def remember(value):
        return session.remember("thing", [1], lambda: pd.DataFrame({"x": [value]}))

    remember(1)
    (path,) = (session.store.root / "derived").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(SetAside):
        assert remember(2)["x"].tolist() == [2]
    assert remember(3)["x"].tolist() == [2]


def test_no_flipped_bit_of_a_kept_table_is_ever_shown(given):
    """Of 1,500 flips of a bare parquet file 269 were read as another table, and 23 failed on every run."""
    session = session_with(given)
    table = pd.DataFrame({"x": [1.5, -2.25], "group": ["a", "b"]})
    table.attrs["fits"] = [{"C": 0.5}]

    def remember():
        return session.remember("thing", [1], lambda: table.copy())

    remember()
    (path,) = (session.store.root / "derived").iterdir()
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 131):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.warns(SetAside):
            found = remember()
        pd.testing.assert_frame_equal(found, table)
        assert found.attrs == table.attrs
        path.with_name(path.name + ".damaged").unlink()
    assert path.read_bytes() == whole


def test_other_code_computes_again(given, monkeypatch):
    session = session_with(given)
    assert session.remember("thing", [1], lambda: pd.DataFrame({"x": [1]}))["x"].tolist() == [1]
    monkeypatch.setattr("clipeval.sources.base.code_hash", lambda: "other")
    assert session.remember("thing", [1], lambda: pd.DataFrame({"x": [2]}))["x"].tolist() == [2]


def test_a_store_that_cannot_be_written_costs_time_and_no_result(given):
    session = session_with(given)
    session.store.root.mkdir()
    (session.store.root / "derived").write_text("in the way")
    assert session.remember("thing", [1], lambda: pd.DataFrame({"x": [1]}))["x"].tolist() == [1]


# -- another precision -----------------------------------------------------------------------------


def test_another_precision_says_how_many_top_labels_it_changes(given):
    low = session_with(given, precision="bf16")
    predictions = fairface.study.predict(low)
    low.save_predictions(predictions)
    assert low.record().against_fp32.startswith("**Not compared with fp32**, whose embeddings")
    exact = fairface.study.predict(session_with(given))
    tasks = {"gender": 0, "race": 0, "age": 0}
    for task in tasks:  # by hand, on the image id
        pair = [
            t[(t["task"] == task) & (t["rank"] == 1)].set_index("image_id")["label"].astype(str)
            for t in (predictions, exact)
        ]
        tasks[task] = int((pair[0] != pair[1].loc[pair[0].index]).sum())
    said = low.against_fp32(predictions)
    assert said.startswith(f"**{sum(tasks.values())} of 36 top labels (")
    wrong = predictions.assign(label=predictions["label"].astype(str))
    first = wrong.index[(wrong["task"] == "gender") & (wrong["rank"] == 1)][:2]
    wrong.loc[first, "label"] = "other"
    more = [sum(tasks.values()) - tasks["gender"], tasks["gender"]]
    assert "gender" in low.against_fp32(wrong)
    assert low.against_fp32(wrong).startswith(f"**{sum(more) + 2} of 36 top labels (")
    exact_session = session_with(given)
    exact_session.save_predictions(exact)
    assert exact_session.record().against_fp32 == ""


# -- what comes out ------------------------------------------------------------------------------


def test_finish_leaves_a_whole_run_folder(given):
    session = session_with(given)
    predictions = fairface.study.predict(session)
    session.save_predictions(predictions)
    table = session.tabulate(fairface.gender_by_race, predictions)
    session.table("gender_by_race", table, "Gender by race.")
    folder = session.finish()
    assert folder == session.folder == session.parameters.out_folder / "fairface"
    record = json.loads((folder / "study.json").read_text("utf-8"))
    whole = json.loads((folder.parent / "run.json").read_text("utf-8"))
    assert whole["studies"]["fairface"] == record
    assert record["model"]["fingerprint"] == session.info.fingerprint
    assert record["class_sets"]["fairface v1"]["hash"] == load_class_set("fairface").hash
    assert record["templates"] == {"photo v1": {"hash": session.templates.hash}}
    assert [entry["id"] for entry in record["tables"]] == ["gender_by_race"]
    assert (record["opened"], record["encoded"], record["test_cards"]) == (12, 12, False)
    assert {"embed images", "embed texts", "notebook"} <= set(record["seconds"])
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "predictions.parquet").astype(object), predictions.astype(object)
    )
    assert {path.name for path in folder.parent.rglob(".*")} <= {LIST, ".gitignore"}
    found = read_study(folder)
    assert found.model == session.info and found.tables[0].rows == len(table)
    assert found.dataset.read == 12 and found.seconds == record["seconds"]


def test_a_record_names_no_path_of_this_machine_but_in_parameters(given, manifest, tmp_path):
    session = session_with(given)
    session.classify("gender")
    record = session.record().model_dump(exclude={"parameters"})
    assert str(tmp_path) not in json.dumps(record)


def test_the_data_hash_follows_images_and_labels_and_not_their_place(given, manifest, tmp_path):
    import shutil

    def digest(path):
        return session_with(given, data=str(path)).record().dataset.hash

    first = digest(manifest)
    moved = tmp_path / "elsewhere"
    shutil.copytree(manifest.parent, moved)
    assert digest(moved / "cards.csv") == first
    text = (moved / "cards.csv").read_text()
    (moved / "cards.csv").write_text(text.replace("3-9", "10-19"))
    assert digest(moved / "cards.csv") != first
    (moved / "cards.csv").write_text(text)
    assert digest(moved / "cards.csv") == first
    shutil.copy(moved / "1.png", moved / "2.png")
    assert digest(moved / "cards.csv") != first


WARM = """
import sys, json
import clipeval
from clipeval.studies import fairface
session = clipeval.start("fairface", json.loads({given!r}))
session.progress = False
session.describe(), session.reading()
predictions = fairface.study.predict(session)
session.save_predictions(predictions)
session.tabulate(fairface.gender_by_race, predictions)
session.finish()
print(sorted({{"torch", "open_clip", "timm", "torchvision", "transformers"}} & set(sys.modules)))
"""


def test_a_warm_session_never_imports_torch(given):
    fairface.study.predict(session_with(given))
    code = WARM.format(given=json.dumps(given))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_errors_of_a_data_set_are_told_as_they_are(given):
    with pytest.raises(DataError, match="/nowhere"):
        _ = session_with(given, data="/nowhere").images

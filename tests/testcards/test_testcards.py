"""Test cards: what is planted is measured, through real PNG files, the loader, the store and the studies."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from decks import plant, session_of
from PIL import Image

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.datasets.planted import load_planted
from clipeval.errors import ClassSetError, DataError, ParameterError, SetAside
from clipeval.models.testcard import (
    CARD_SIZE,
    DIMENSION,
    WordTokenizer,
    draw_cards,
    load_testcard_model,
    testcard_info,
    text_vectors,
)
from clipeval.published import fairface_groups, load_published
from clipeval.stats import group_rates
from clipeval.studies import fairface, start
from clipeval.testcards import load_cards, planting
from clipeval.testcards.planting import Deck, chosen, compose, prediction_rows, unit, write_deck

testcard_info.__test__ = False  # a function of the package, not a test


# -- the model -----------------------------------------------------------------------------------


def test_the_model_reads_back_what_was_drawn():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((40, DIMENSION)))
    model = load_testcard_model()
    pixels = [model.preprocess(Image.fromarray(card)) for card in draw_cards(vectors, rng)]
    import torch

    read = unit(model.encode_images(torch.stack(pixels)).numpy())
    cosine = (read * vectors).sum(axis=1)
    # noise of 2 grey levels over 4 pixels, and rounding; a component is some 25 grey levels
    assert cosine.min() > 0.998


def test_text_vectors_are_fixed():
    """A hash, so the same on every machine and in every process: pinned by its first numbers."""
    found = text_vectors(["a photo of a cat."])
    assert found.shape == (1, DIMENSION) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, :4], PINNED, atol=1e-6)


PINNED = [-0.07978031, -0.1679751, 0.20008948, -0.05408228]


def test_texts_that_share_words_are_alike_and_others_are_not():
    texts = ["a photo of a cat.", "a photo of a dog.", "three ships at sea", "A PHOTO of a cat."]
    rows = unit(text_vectors(texts).astype(np.float64))
    cosine = rows @ rows.T
    assert cosine[0, 3] == pytest.approx(1.0)  # case does not count
    assert 0.4 < cosine[0, 1] < 0.9
    assert abs(cosine[0, 2]) < 0.2


def test_word_order_counts():
    rows = unit(text_vectors(["dog bites man", "man bites dog"]).astype(np.float64))
    assert rows[0] @ rows[1] < 0.9


def test_the_tokenizer_counts_and_refuses():
    tokenizer = WordTokenizer()
    assert tokenizer.count_tokens("a photo of a 3-9 year old.") == 10
    assert tokenizer.array(["", "cat"]).shape == (2, 77)
    model = load_testcard_model()
    model.check_texts(["word " * 77])
    with pytest.raises(ClassSetError, match="needs 78 tokens and this model reads 77"):
        model.check_texts(["word " * 78])


def test_the_model_refuses_a_photograph(tmp_path):
    model = load_testcard_model()
    photograph = Image.new("RGB", (224, 168))
    with pytest.raises(DataError) as refusal:
        model.preprocess(photograph)
    assert str(refusal.value) == (
        f"the testcard model reads only cards of {CARD_SIZE} x {CARD_SIZE} pixels and this image "
        "has 224 x 168; name a real model for photographs."
    )
    for i in range(3):
        photograph.save(tmp_path / f"{i}.jpg")
    from clipeval.embedding.embed import embed_images

    images = pd.DataFrame(
        {"image_id": list("012"), "file": [f"{tmp_path}/{i}.jpg" for i in range(3)]}
    )
    with pytest.raises(DataError, match="none of 3 images could be read.*name a real model"):
        embed_images(images, info=model.info, get_model=lambda: model, workers=0, progress=False)


def test_its_fingerprint_needs_no_torch_and_follows_the_precision():
    assert testcard_info() == load_testcard_model().info
    assert testcard_info("bf16").fingerprint != testcard_info().fingerprint


# -- planting ------------------------------------------------------------------------------------


def test_compose_plants_the_cosines_that_are_asked_for():
    rng = np.random.default_rng(1)
    prompts = [f"a photo of a {word}." for word in ("cat", "dog", "cow", "ship")]
    scores = rng.uniform(-0.1, 0.3, (30, 4))
    vectors = compose(prompts, scores, rng)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    np.testing.assert_allclose(
        vectors @ unit(text_vectors(prompts).astype(float)).T, scores, atol=1e-6
    )


def test_hidden_components_change_no_cosine():
    rng = np.random.default_rng(1)
    prompts = ["a cat", "a dog"]
    scores, hidden = rng.uniform(0, 0.3, (30, 2)), rng.uniform(0, 0.3, (30, 5))
    vectors = compose(prompts, scores, rng, hidden=hidden)
    np.testing.assert_allclose(
        vectors @ unit(text_vectors(prompts).astype(float)).T, scores, atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)


def test_more_than_a_unit_vector_can_hold_is_refused():
    with pytest.raises(ValueError, match="need a vector of length"):
        compose(["a cat", "a ship at sea"], np.array([[0.9, 0.9]]), np.random.default_rng(0))


def test_chosen_sets_exactly_the_share():
    mask = chosen(1000, 0.4996, np.random.default_rng(0))
    assert mask.sum() == 500
    assert chosen(7, 1.0, np.random.default_rng(0)).all()
    assert not chosen(7, 0.0, np.random.default_rng(0)).any()


def tiny_deck(seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"image_id": [f"val/{i}.png" for i in range(5)], "gender": list("MFMFM")})
    vectors = compose(["a cat"], rng.uniform(0, 0.2, (5, 1)), rng)
    planted = prediction_rows(table["image_id"], ["cat"] * 5, task="t", class_set="c")
    return Deck(table, vectors, planted, {"more": pd.DataFrame({"x": [1]})})


def test_a_deck_is_drawn_once_and_again_when_its_recipe_changes(tmp_path):
    calls = []
    recipe = tmp_path / "recipe.csv"
    recipe.write_text("5 %")

    def draw():
        calls.append(1)
        return tiny_deck()

    first = write_deck("tiny", draw, [recipe])
    assert write_deck("tiny", draw, [recipe]) == first and len(calls) == 1
    assert sorted(p.name for p in first.iterdir()) == [
        "cards.parquet",
        "more.parquet",
        "planted.parquet",
        "tables.kept",
        "val",
    ]
    recipe.write_text("15 %")
    assert write_deck("tiny", draw, [recipe]) != first and len(calls) == 2


@pytest.mark.parametrize("name", ["cards", "more", "planted", "tables"])
def test_a_deck_whose_truth_is_damaged_is_set_aside_and_drawn_again(name):
    folder = write_deck("tiny", tiny_deck, [])
    (file,) = folder.glob(f"{name}.*")
    whole = file.read_bytes()
    file.write_bytes(whole[:70] + bytes([whole[70] ^ 1]) + whole[71:])
    with pytest.warns(SetAside, match="tiny-.* set aside as tiny-"):
        assert write_deck("tiny", tiny_deck, []) == folder
    assert file.read_bytes() == whole
    assert len(list(folder.parent.glob("tiny-*.damaged/val/*.png"))) == 5


def test_the_same_deck_has_the_same_bytes(tmp_path, monkeypatch):
    def bytes_of(cache):
        monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / cache))
        folder = write_deck("tiny", tiny_deck, [])
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}

    assert bytes_of("a") == bytes_of("b") and len(bytes_of("a")) == 9


def test_a_drawing_that_is_interrupted_leaves_no_deck(tmp_path, monkeypatch):
    def fails(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(planting, "draw_cards", fails)
    with pytest.raises(KeyboardInterrupt):
        write_deck("tiny", tiny_deck, [])
    monkeypatch.undo()
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / "cache"))
    assert len(list(write_deck("tiny", tiny_deck, []).glob("val/*.png"))) == 5


# -- the FairFace deck ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session():
    """The whole deck, through the loader, the store and the study."""
    return session_of("fairface")


@pytest.fixture(scope="module")
def predictions(session):
    return fairface.study.predict(session)


def test_cards_are_real_png_files_in_the_group_sizes_of_fairface(session):
    images = session.images
    assert len(images) == 10_954
    for file in images["file"].iloc[::2000]:
        assert Path(file).read_bytes().startswith(b"\x89PNG\r\n")
        with Image.open(file) as card:
            assert (card.size, card.mode, card.format) == ((CARD_SIZE, CARD_SIZE), "RGB", "PNG")
    groups = fairface_groups()
    cells = groups[groups["age"] == "All"].set_index(["race", "gender"])["n"]
    found = images.groupby(["race", "gender"], observed=True).size()
    assert found.to_dict() == cells.to_dict()
    ages = groups[groups["age"] != "All"].set_index("age")["n"]
    assert images.groupby("age", observed=True).size().to_dict() == ages.to_dict()


def test_every_top_label_is_the_planted_one(session, predictions):
    """Zero-shot on all 10,954 cards: what is measured equals what was planted, card by card."""
    planted = load_planted(session.images)
    top = predictions[(predictions["rank"] == 1) & (predictions["method"] == "zero-shot")]
    assert set(top["task"]) == {"race", "gender", "age"}
    for task, rows in top.groupby("task", observed=True):
        wanted = planted[(planted["task"] == task) & (planted["method"] == "zero-shot")]
        wanted = wanted.set_index("image_id")["label"]
        found = rows.set_index("image_id")["label"].astype(str)
        assert (found == wanted[found.index]).all(), task


def test_the_probe_finds_what_was_planted_for_it(session, predictions):
    planted = load_planted(session.images)
    top = predictions[(predictions["rank"] == 1) & (predictions["method"] == "linear probe")]
    for task, rows in top.groupby("task", observed=True):
        wanted = planted[(planted["task"] == task) & (planted["method"] == "linear probe")]
        wanted = wanted.set_index("image_id")["label"]
        found = rows.set_index("image_id")["label"].astype(str)
        assert (found == wanted[found.index]).mean() > 0.995, task


def test_the_tables_show_the_published_rates(session, predictions):
    """The replay: published, planted and measured agree to the rounding of a count."""
    by_white = session.tabulate(fairface.accuracy_by_white, predictions)
    own = by_white[(by_white["method"] == "zero-shot") & by_white["published"].notna()]
    assert len(own) == 6  # race, gender, age on White and Non-White
    assert (own["percent"] == own["planted"]).all()
    gender = own["attribute"] == "gender"  # planted by race and gender (Table 5), not by White
    assert own.loc[~gender, "difference"].abs().max() < 0.05
    assert own.loc[gender, "difference"].abs().max() < 1.0
    by_race = session.tabulate(fairface.gender_by_race, predictions)
    cells = by_race[(by_race["method"] == "zero-shot") & by_race["gender"].isin(["Male", "Female"])]
    cells = cells[cells["race"] != "Average"]
    assert len(cells) == 14 and (cells["percent"] == cells["planted"]).all()
    assert (cells["difference"].abs() <= 50 / cells["n"] + 1e-9).all()  # half a card
    table = load_published("fairface_gender_by_race")
    wanted = table[table["model"] == "Zero-shot CLIP"].set_index(["race", "gender"])
    for row in cells.itertuples():
        assert row.published == wanted.loc[(row.race, row.gender), "accuracy_percent"]


def test_other_words_than_the_planted_ones_have_no_planted_value(session):
    """What a card answers to words that nobody planted is chance, and is not shown as a truth."""
    for values in ({"templates": "bare"}, {"class_set": "fairface:sex_words"}):
        other = session_of("fairface", limit=40, **values)
        assert other.planted is None
        table = other.tabulate(fairface.gender_by_race, other.classify("gender"))
        assert "planted" not in table
    assert session_of("fairface", limit=40).planted is not None
    child = session_of("denigration", class_set="denigration:child", limit=40)
    assert child.planted is not None  # planted too


def test_a_sample_of_cards_has_the_truth_of_those_cards(session):
    some = session_of("fairface", limit=40)
    assert set(some.planted["image_id"]) == set(some.images["image_id"])


def test_a_damaged_card_is_listed_and_not_counted(session, tmp_path):
    """Two of forty cards go bad on disk; they are in no rate, and the report says so."""
    images = session.images.head(40).copy()
    images.attrs = dict(session.images.attrs)
    for i, file in enumerate(images["file"]):
        shutil.copy(file, tmp_path / f"{i}.png")
    images["file"] = [str(tmp_path / f"{i}.png") for i in range(40)]
    data = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "7.png").write_bytes(b"")
    from clipeval.embedding.embed import embed_images

    found = embed_images(
        images, info=session.info, get_model=lambda: session.source.model, workers=0, progress=False
    )
    assert len(found) == 38 and len(found.unreadable) == 2
    assert set(found.unreadable["image_id"]) == {images["image_id"].iloc[i] for i in (3, 7)}


def test_a_card_with_a_flipped_bit_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / "own"))
    values = {"limit": 12, "workers": 0, "out": str(tmp_path / "out")}
    first = start("cctv", values | {"store": str(tmp_path / "first")}, progress=False)
    expected = first.predict()
    file = Path(first.images["file"].iloc[3])
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 4]) + whole[201:])
    session = start("cctv", values | {"store": str(tmp_path / "second")}, progress=False)
    with pytest.warns(SetAside) as said:
        found = session.predict()
    (warning,) = said
    assert f"{file.relative_to(file.parents[1])}: " in str(warning.message)
    assert "made again" in str(warning.message) and file.read_bytes() == whole
    assert session.embed().unreadable.empty
    pd.testing.assert_frame_equal(found, expected)


def test_refusals():
    with pytest.raises(ParameterError, match="takes no data folder"):
        load_cards("somewhere")
    with pytest.raises(
        ParameterError, match='no deck of test cards called "card"; there are fairface'
    ):
        load_cards(deck="card")
    with pytest.raises(ParameterError, match='have no split "train"; name val'):
        load_cards(deck="congress", split="train")
    plain = pd.DataFrame({"image_id": ["1"]})
    assert load_planted(plain) is None


# -- calibration: other planted values -----------------------------------------------------------

CARDS = 4000
RATES = {"White": 0.05, "Black": 0.15}  # of errors


def drawn(seed: int):
    """People of two groups, and answers that are wrong by chance, at these rates."""
    rng = np.random.default_rng(seed)
    people = pd.DataFrame(
        {
            "race": np.repeat(list(RATES), CARDS // 2),
            "gender": rng.choice(["Male", "Female"], CARDS),
            "age": rng.choice(["20-29", "30-39"], CARDS),
        }
    )
    wrong = rng.random(CARDS) < people["race"].map(RATES).to_numpy()
    other = np.where(people["gender"] == "Male", "Female", "Male")
    return people, np.where(wrong, other, people["gender"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_another_planted_gap_is_found_from_pixels(tmp_path, seed):
    """Errors at 5 % and 15 %, drawn into 4,000 cards and read back by the real loader and study."""
    prompts = prompts_for(load_class_set("fairface"), load_templates("photo"), "gender")
    people, labels = drawn(seed)
    manifest = plant(tmp_path / "cards", people, {k: v[0] for k, v in prompts.items()}, labels)
    found = session_of("fairface", dataset="manifest", data=str(manifest), methods="zero-shot")
    top = found.classify("gender")
    assert (top["label"].astype(str).to_numpy() == labels).all()  # card by card
    table = fairface.gender_by_race(top).set_index(["race", "gender"])
    right = pd.Series(labels == people["gender"]).groupby(people["race"]).mean()
    for race, rate in RATES.items():
        row = table.loc[(race, "All")]
        assert row["n"] == CARDS // 2 and row["percent"] == pytest.approx(100 * right[race])
        assert row["ci_low"] <= 100 * (1 - rate) <= row["ci_high"]


def test_intervals_hold_the_planted_rate_as_often_as_they_say():
    """400 draws, 800 intervals: 95 % of them hold the truth, give or take 2.3 (three deviations)."""
    held = []
    for seed in range(400):
        people, labels = drawn(1000 + seed)
        frame = people.assign(right=labels == people["gender"])
        table = group_rates(frame, "right", by=["race"], metric="accuracy").set_index("race")
        for race, rate in RATES.items():
            row = table.loc[race]
            held.append(row["ci_low"] <= 100 * (1 - rate) <= row["ci_high"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.023)

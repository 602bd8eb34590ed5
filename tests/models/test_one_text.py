"""Texts that are one text to a model: told by its tokens, refused as classes, whatever the order of these."""

import itertools
import json
import unicodedata

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from decks import plant
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import word_tokenizer
from test_models import CONFIG, SMALL, TEXT, save

import clipeval
from clipeval.classify.class_sets import class_set_of
from clipeval.classify.zeroshot import predict, refuse_one_text
from clipeval.embedding.embed import embed_texts_and_tokens
from clipeval.embedding.store import COLUMNS, Store
from clipeval.errors import ClassSetError
from clipeval.models import load_model
from clipeval.models.testcard import WordTokenizer
from clipeval.models.tokens import build_tokenizer, token_keys
from clipeval.runs.check import check_plan
from clipeval.runs.profiles import plan_run
from clipeval.studies import opened

COMPOSED, APART = (unicodedata.normalize(form, "protégé") for form in ("NFC", "NFD"))
#: family -> text_cfg, texts that are one text to it, texts that are not
FAMILIES = {
    "CLIP": (
        TEXT,
        ["rock & roll star", "Rock  &amp; roll\tstar", " rock &amp;amp; ROLL star\n"],
        ["rock and roll star", "rock & roll star.", "rock & roll-star"],
    ),
    "CLIP, accents": (TEXT, [COMPOSED, APART, COMPOSED.upper()], ["protege", "protégée"]),
    "SigLIP": (
        TEXT | {"tokenizer_kwargs": {"clean": "canonicalize"}},
        [
            "J. K. Rowling's friend",
            "j k rowlings friend",
            "JK_Rowlings  friend!".replace("JK", "J K"),
        ],
        ["jk rowlings friend", "j k rowling s friend"],
    ),
    "words": (
        TEXT | {"hf_tokenizer_name": "x/y"},
        ["a photo of man", " a  photo of man ", "a &#112;hoto of man"],
        ["a photo of woman", "a photo of Man", "photo of a man"],
    ),
    "words in lower case": (
        TEXT | {"hf_tokenizer_name": "x/y", "tokenizer_kwargs": {"clean": "lower"}},
        ["a photo of man", "A Photo of MAN"],
        ["a photo of woman"],
    ),
    "words, the unknown ones alike": (
        TEXT | {"hf_tokenizer_name": "x/y"},
        ["a photo of thief", "a photo of banker"],
        ["a photo of man"],
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_one_where_their_tokens_are(family, tmp_path):
    config, alike, others = FAMILIES[family]
    word_tokenizer(tmp_path)
    tokenizer = build_tokenizer(config, tmp_path)
    theirs = tokenizer
    if (
        "hf_tokenizer_name" not in config
    ):  # plain open_clip, by its own reading of the configuration
        (tmp_path / CONFIG).write_text(json.dumps({"model_cfg": SMALL | {"text_cfg": config}}))
        theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    keys = token_keys(tokenizer, [*alike, *others])
    assert len(set(keys[: len(alike)])) == 1
    assert len(set(keys[len(alike) - 1 :])) == 1 + len(others)
    rows = theirs([*alike, *others])
    for i, j in itertools.combinations(range(len(rows)), 2):
        assert (keys[i] == keys[j]) == torch.equal(rows[i], rows[j])


def test_the_test_cards_words():
    keys = token_keys(
        WordTokenizer(), ["A Black man.", "a black_man .", "a black man", "a man black."]
    )
    assert keys[0] == keys[1] and len(set(keys)) == 3


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    save(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def model(small):
    return load_model(f"local-dir:{small}", device="cpu")


def test_the_tokens_of_a_prompt_are_stored_with_its_vector(model, tmp_path):
    texts = [COMPOSED, *(f"a photo of {i} people" for i in range(298)), APART]
    how = {"info": model.info, "get_model": lambda: model, "store": Store(tmp_path)}
    embed_texts_and_tokens([COMPOSED], **how)
    embed_texts_and_tokens(texts[1:200], **how)
    embed_texts_and_tokens([APART], **how)
    first = embed_texts_and_tokens(texts, **how)
    how["get_model"] = None  # from the store alone
    for order in (texts, texts[::-1]):
        rows, tokens = embed_texts_and_tokens(order, **how)
        tokens = dict(zip(order, tokens, strict=True))
        assert all(tokens.values()) and len(set(tokens.values())) == 299
        assert tokens[COMPOSED] == tokens[APART]
    np.testing.assert_array_equal(rows[::-1], first[0])


def test_prompts_that_an_older_version_stored_are_told_apart_by_their_vectors(
    model, small, cards, tmp_path
):
    """It stored no tokens; vectors of one text that were encoded together are equal."""
    name = f"local-dir:{small}"
    given = values(cards, tmp_path, jobs(tmp_path, COMPOSED, APART), model=name)
    source = opened("denigration", given).source
    rows = model.encode_texts([COMPOSED, APART, "a house"])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shelf = source.store.shelf(source.info, "texts-float32")
    old = pd.DataFrame({"key": [COMPOSED, APART, "a house"]}, columns=COLUMNS, dtype=object)
    shelf.write(old, rows)
    signs = source.signs([COMPOSED, APART, "a house"])
    assert signs[0] == signs[1] != signs[2]
    mixed = source.signs([COMPOSED, "a garden", APART])  # the new one has tokens, the others none
    assert mixed[0] == mixed[2] != mixed[1]


def test_some_prompts_of_two_classes_may_coincide_and_all_may_not():
    signs = dict(zip("abcdef", [1, 2, 3, 1, 2, 4], strict=True))
    refuse_one_text({"x": ["a", "b", "c"], "y": ["d", "e", "f"]}, signs, "set")
    refuse_one_text({"x": ["a", "d", "b"], "y": ["a", "b", "e"]}, signs, "set")  # 1 1 2 and 1 2 2
    for same in (["d", "b"], ["e", "a"]):
        with pytest.raises(ClassSetError, match='^set: "x" and "y" are one text'):
            refuse_one_text({"x": ["a", "b"], "z": ["c", "f"], "y": same}, signs, "set")


WORDS = [
    COMPOSED,
    APART,
    "a house",
    "A  House",
    "a house.",
    "rock &amp; roll",
    "rock & roll",
    "animal",
    "Animal",
    "ani mal",
    "thief",
]


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.sampled_from(WORDS), min_size=2, max_size=5, unique=True),
    template=st.sampled_from([("{}",), ("a photo of {}.", "{}"), ("{} {}",)]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_the_order_of_classes_never_changes_a_rate(texts, template, seed, data, model):
    images = np.random.default_rng(seed).standard_normal((300, 16)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    prompts = {text: [t.replace("{}", text) for t in template] for text in texts}
    harm = set(data.draw(st.lists(st.sampled_from(texts), min_size=1)))
    rows = {t: open_clip.tokenize(prompts[t]).tolist() for t in texts}
    one = any(rows[a] == rows[b] for a, b in itertools.combinations(texts, 2))

    how = {"info": model.info, "get_model": lambda: model}
    rates = set()
    for order in (texts, texts[::-1], data.draw(st.permutations(texts))):
        asked = {text: prompts[text] for text in order}
        flat = [prompt for text in order for prompt in prompts[text]]
        rows, tokens = embed_texts_and_tokens(flat, **how)
        try:
            refuse_one_text(asked, dict(zip(flat, tokens, strict=True)), "class set any")
        except ClassSetError:
            rates.add("refused")
            continue
        about = {"task": "any", "class_set": "any", "templates": "any"}
        found = predict(range(300), images, asked, lambda _, rows=rows: rows, model.info, **about)
        rates.add(float(found["label"].isin(harm).mean()))
    assert len(rates) == 1 and ("refused" in rates) == one


# -- in check and in a run --------------------------------------------------------------------------


def jobs(tmp_path, first, second, name="jobs"):
    path = tmp_path / f"{name}.yaml"
    path.write_text(
        f'name: {name}\nversion: "1"\nsource: own\nclasses:\n  mate a: "{first}"\n  house: a house\n'
        f'  mate b: "{second}"\n  person: a person\ncategories:\n  harm: ["mate b"]\n',
        "utf-8",
    )
    return str(path)


@pytest.fixture
def cards(tmp_path):
    """A manifest of a few cards."""
    people = pd.DataFrame({"race": ["White", "Black"] * 3, "gender": ["Male", "Female"] * 3})
    people["age"] = ["20-29", "30-39", "40-49"] * 2
    return plant(tmp_path / "cards", people, {"p": "a person", "h": "a house"}, ["p", "h"] * 3)


def values(cards, tmp_path, class_set, **more):
    given = {"dataset": "manifest", "data": str(cards), "class_set": class_set, "workers": 0}
    return given | {"store": str(tmp_path / "store"), "device": "cpu"} | more


def problem(given, tmp_path, study="denigration") -> str:
    plan = plan_run([study], "demo", given, str(tmp_path / "out"))
    return {f.what: f.problem for f in check_plan(plan)}.get("prompts", "")


ONE = "are one text to this model's tokenizer"


@pytest.mark.parametrize("order", [(COMPOSED, APART), (APART, COMPOSED)])
def test_check_and_run_refuse_them_in_any_order(order, cards, small, tmp_path):
    given = values(cards, tmp_path, jobs(tmp_path, *order), model=f"local-dir:{small}")
    said = problem(given, tmp_path)
    assert said.startswith(f'class set jobs: "mate a" and "mate b" {ONE}')
    session = opened("denigration", given | {"out": str(tmp_path / "out")})
    session.progress = False
    with pytest.raises(ClassSetError) as error:
        session.predict()
    assert str(error.value) == said
    with pytest.raises(ClassSetError, match=ONE):
        session.classify(class_set=given["class_set"])
    assert session.work()["opened"] == 0  # before any image is
    # the prompts are stored now: what the vectors say is the same
    assert session.source.known is not None
    assert problem(given, tmp_path) == said
    again = opened("denigration", given | {"out": str(tmp_path / "out")})
    again.source.stored_only = True
    with pytest.raises(ClassSetError) as error:
        again.classify()
    assert str(error.value) == said


def test_prompts_stored_by_two_runs_are_one_text_without_the_tokenizer(cards, small, tmp_path):
    name = f"local-dir:{small}"
    for text, run in ((COMPOSED, "a"), (APART, "b")):
        given = values(cards, tmp_path, jobs(tmp_path, text, "a thief", run), model=name)
        session = opened("denigration", given | {"out": str(tmp_path / run)})
        session.progress = False
        session.classify()
    given = values(cards, tmp_path, jobs(tmp_path, COMPOSED, APART), model=name)
    session = opened("denigration", given | {"out": str(tmp_path / "out")})
    session.source.stored_only = True
    with pytest.raises(ClassSetError, match=ONE):
        session.classify()
    assert ONE in problem(given, tmp_path)


def test_the_test_cards_own_tokenizer(cards, tmp_path):
    same = jobs(tmp_path, "rock-star", "Rock - star")
    assert ONE in problem(values(cards, tmp_path, same), tmp_path)
    assert (
        problem(values(cards, tmp_path, jobs(tmp_path, "rock-star", "rock star")), tmp_path) == ""
    )


def test_a_candidate_that_is_a_class_already(cards, tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("classes: {gown: gown, dwelling: A house!, mansion: a HOUSE !, hut: hut}\n")
    base = jobs(tmp_path, "thief", "a house !")
    given = values(cards, tmp_path, base, candidates=str(path))
    given["other"] = "denigration"
    said = problem(given, tmp_path, "class_design")
    assert said.startswith(f'class set with a candidate: "mate b" and "dwelling" {ONE}')
    # two candidates alike are never on offer together
    given["class_set"] = jobs(tmp_path, "thief", "a banker")
    assert problem(given, tmp_path, "class_design") == ""


def refused_by_both(study, given, tmp_path) -> str:
    said = problem(given, tmp_path, study)
    session = opened(study, given | {"out": str(tmp_path / "out")})
    session.progress = False
    with pytest.raises(ClassSetError) as error:
        session.predict()
    assert str(error.value) == said
    return said


def test_two_names_of_people(cards, small, tmp_path):
    rows = pd.read_csv(cards)[["file", "gender"]]
    given = values(cards, tmp_path, "", dataset="celebrities", n_names="6")
    given["model"] = f"local-dir:{small}"
    rows.assign(name=["Bo Lee", "Bo &#76;ee", "Al", "Cy", "Di", "Ed"]).to_csv(cards, index=False)
    said = refused_by_both("celebrities", given, tmp_path)
    assert said.startswith("names: ") and '"Bo Lee"' in said and '"Bo &#76;ee"' in said
    rows.assign(name=["Bo Lee", "Bo Leo", "Al", "Cy", "Di", "Ed"]).to_csv(cards, index=False)
    assert problem(given, tmp_path, "celebrities") == ""


def test_two_captions_of_a_question(cards, tmp_path):
    captions = ["a lock-up", "a lock - up", "a yard", "a gate", "a street", "a park"]
    rows = pd.read_csv(cards).assign(caption=captions, sequence=[*"aabbcc"])
    rows["close_caption"] = [f"{caption} at night" for caption in captions]
    frames = cards.with_name("frames.csv")
    rows[["file", "sequence", "caption", "close_caption"]].to_csv(frames, index=False)
    given = values(frames, tmp_path, "", dataset="cctv")
    said = refused_by_both("cctv", given, tmp_path)
    assert said.startswith("captions: ") and '"a lock-up"' in said and '"a lock - up"' in said
    # of each other scene one caption is on offer, and never both of these
    given["options"] = "main"
    assert problem(given, tmp_path, "cctv") == ""
    session = opened("cctv", given | {"out": str(tmp_path / "out")})
    session.progress = False
    assert set(captions[:2]) <= set(session.predict()["label"])


def test_a_run_in_python_refuses_them_too(small, cards, tmp_path):
    images = clipeval.load_dataset("manifest", str(cards))
    model = clipeval.load_model(f"local-dir:{small}", device="cpu")
    own = class_set_of("own", {"own": {"a": COMPOSED, "b": APART, "c": "a house"}})
    vectors = clipeval.embed(images, model, store=tmp_path, progress=False)
    with pytest.raises(ClassSetError, match=f'^class set own: "a" and "b" {ONE}'):
        clipeval.predict(vectors, model, own, store=tmp_path)

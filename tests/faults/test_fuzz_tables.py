"""Generated parquet data sets, audit files and answers made elsewhere: a right result, or one sentence.

Some 75 cases run with the other tests, twelve times as many others by `make fuzz`.
"""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzzing import LEAF, WORD, cases, changed, damaged, one_sentence
from hypothesis import given
from hypothesis import strategies as st
from own_cards import GOOD, manifest

from clipeval.classify.class_sets import load_class_set
from clipeval.datasets import load_dataset
from clipeval.runs.profiles import plan_run
from clipeval.studies import STUDIES, start

N = 6


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """A CSV of six cards; parquet files and answers for them are written beside it."""
    given = manifest(tmp_path_factory.mktemp("fuzz") / "cards", N, **GOOD)
    return Path(given["data"])


# -- parquet data sets -----------------------------------------------------------------------------

PLAIN = st.sampled_from(["a", "b", "c"])
COLUMN = st.one_of(
    st.lists(PLAIN, min_size=N, max_size=N),
    st.lists(st.one_of(WORD, st.none()), min_size=N, max_size=N),
    st.lists(st.integers(-1, 3), min_size=N, max_size=N),
    st.lists(st.floats(), min_size=N, max_size=N),
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.lists(st.binary(max_size=3), min_size=N, max_size=N),
    st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=N, max_size=N),
    st.lists(st.datetimes(), min_size=N, max_size=N),
    st.lists(st.fixed_dictionaries({"bytes": st.binary(max_size=3)}), min_size=N, max_size=N),
)
NAMED = st.one_of(st.sampled_from(["race", "gender", "image", "image_id", "file", "row"]), WORD)


@cases(30)
@given(
    columns=st.dictionaries(NAMED, COLUMN, max_size=3),
    names=st.one_of(st.none(), st.lists(WORD, max_size=4), LEAF),
    held=st.booleans(),
)
def test_parquet_data_sets(cards, columns, names, held):
    """Columns of any type, images held or named, class names of the hub's metadata, right or wrong."""
    path, files = (
        cards.with_name("fuzz.parquet"),
        sorted(f.name for f in cards.parent.glob("*.png")),
    )
    own = {"image": [{"bytes": (cards.parent / f).read_bytes(), "path": f} for f in files]}
    columns = columns | (own if held else {"file": files})
    table = pa.table({name.encode(errors="replace").decode(): v for name, v in columns.items()})
    if names is not None:
        features = {name: {"names": names, "_type": "ClassLabel"} for name in table.column_names}
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    pq.write_table(table, path)
    with one_sentence():
        images = load_dataset("manifest", str(path))
        assert len(images) == N and images["image_id"].is_unique
        for name in images.attrs["groups"]:
            written = table[name].to_pylist()
            kinds = {*map(type, written)}
            if kinds == {int} and isinstance(names, list) and len({*names}) == len(names):
                written = [names[value] for value in written]
            if kinds <= {str, int, bool}:
                assert images[name].astype(str).tolist() == [str(v).strip() for v in written]


@cases(15)
@given(data=st.data())
def test_parquet_files_that_are_damaged(cards, data):
    table = pd.read_csv(cards).assign(age=pd.Categorical(["3-9"] * N))
    stream = io.BytesIO()
    table.to_parquet(stream)
    path = cards.with_name("damaged.parquet")
    path.write_bytes(data.draw(damaged(stream.getvalue())))
    with one_sentence():
        images = load_dataset("manifest", str(path))
        assert 1 <= len(images) <= N and images["image_id"].is_unique


# -- audit files -----------------------------------------------------------------------------------

AUDIT = {
    "about": "Our people",
    "data": "cards.csv",
    "columns": {"file": "file"},
    "groups": ["race", "gender"],
    "title": "Cards",
    "licence": "CC0",
    "class_sets": {"denigration": "denigration:child", "congress": "congress"},
    "templates": "article",
    "models": ["testcard"],
    "studies": ["denigration", "congress", "card"],
    "parameters": {"limit": 5, "congress.top": 3},
}


@cases(20)
@given(content=changed(AUDIT), data=st.data(), whole=st.booleans())
def test_audit_files(cards, content, data, whole):
    path = cards.with_name("audit.yaml")
    text = yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")
    path.write_bytes(text if whole else data.draw(damaged(text)))
    with one_sentence():
        plan = plan_run([], str(path), {}, str(cards.parent / "out"))
        assert set(plan) <= set(STUDIES) and len(plan) > 0
        if whole and content == AUDIT:
            assert list(plan) == ["denigration", "congress", "card"]
            p = plan["congress"]
            assert (p.data, p.groups, p.templates) == (str(cards), "race,gender", "article")
            assert (p.limit, p.top, p.model, p.class_set) == (5, 3, "testcard", "congress")
        if whole and isinstance(content.get("title"), str):
            assert all(p.title == content["title"] for p in plan.values())


# -- answers made elsewhere ------------------------------------------------------------------------

CLASSES = ["man", "dog", "thief"]
NUMBER = st.one_of(
    st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.sampled_from(["", "x", "nan", "1e400", 7])
)


@pytest.fixture(scope="module")
def words(cards):
    path = cards.with_name("words.yaml")
    harms = {"non-human": ["dog"], "crime-related": ["thief"]}
    path.write_text(json.dumps({"name": "words", "classes": CLASSES, "categories": harms}))
    return load_class_set(str(path)) and str(path)


@cases(10)
@given(data=st.data(), suffix=st.sampled_from(["csv", "parquet"]), whole=st.integers(0, 3))
def test_answers_made_elsewhere(cards, words, data, suffix, whole):
    """Of scores that are accepted, every image has the class with the largest number, or no answer."""
    ids = pd.read_csv(cards)["file"].tolist()
    rows = data.draw(
        st.permutations([*ids, *data.draw(st.lists(st.sampled_from([*ids, "z"]), max_size=1))])
    )
    kind = data.draw(st.sampled_from(["cosine", "logit", "prob", "label", ""]))
    table = pd.DataFrame({"image_id": rows}, dtype=object)
    if kind == "label":
        table["label"] = data.draw(
            st.lists(st.sampled_from([*CLASSES, ""]), min_size=len(rows), max_size=len(rows))
        )
    else:
        cell = st.floats(-0.9, 0.9) if whole else NUMBER
        for name in data.draw(st.sampled_from([CLASSES, CLASSES, [*CLASSES, "cat"], CLASSES[:2]])):
            table[name] = data.draw(st.lists(cell, min_size=len(rows), max_size=len(rows)))
    path = cards.with_name(f"answers.{suffix}")
    stream = io.BytesIO()
    if suffix == "csv":
        stream.write(table.to_csv(index=False).encode())
    else:
        table.astype({c: str for c in table if not whole}).to_parquet(stream, index=False)
    intact = data.draw(st.integers(0, 3)) > 0
    path.write_bytes(stream.getvalue() if intact else data.draw(damaged(stream.getvalue())))
    given = {"dataset": "manifest", "data": str(cards), "scores": str(path), "class_set": words}
    given |= {"scores_are": "" if kind == "label" else kind, "out": str(cards.parent / "run")}
    with one_sentence():
        session = start("denigration", given, progress=False)
        found = session.predict()
        first = found[found["rank"] == 1].set_index("image_id")["label"].astype(str)
        assert first.index.is_unique and set(first.index) <= set(ids)
        lost = set(session.embed().unreadable["image_id"])
        assert lost | set(first.index) == set(ids) and not lost & set(first.index)
        if intact:
            said = table.drop_duplicates("image_id").set_index("image_id")
            for image in first.index:
                if kind == "label":
                    assert first[image] == said.loc[image, "label"]
                else:
                    numbers = said.loc[image, CLASSES].astype(float).to_numpy()
                    assert np.isclose(
                        numbers[CLASSES.index(first[image])], numbers.max(), atol=1e-6
                    )

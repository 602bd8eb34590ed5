"""Identification: protocols by hand, equality with plain open_clip on real photos, planted rates."""

import json
from math import comb
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from decks import cluster_interval
from keeping import Keeping

import clipeval
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.output.tables import check_table
from clipeval.studies import celebrities
from clipeval.studies.celebrities.identification import PROTOCOLS, identify, on_offer, order_people

SOFTMAX = SimpleNamespace(logit_scale=20.0, logit_bias=None, score="softmax")
NAMES = [f"Person {i}" for i in range(40)]


def rows_of(n, d, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_top_five_counts_the_fifth_and_not_the_sixth():
    ranks = [1, 1, 4, 5, 5, 5, 6, 7, 10, 10]
    predictions = pd.DataFrame(
        {"image_id": [f"{i}.jpg" for i in range(10)], "person": NAMES[:10], "true_rank": ranks}
    ).assign(rank=1, protocol="closed", names=10)
    table = celebrities.top1_by_names(predictions).set_index("metric")
    assert table.loc["top-1", ["n", "count", "percent", "chance"]].tolist() == [10, 2, 20, 10]
    assert table.loc["top-5", ["n", "count", "percent", "chance"]].tolist() == [10, 6, 60, 50]


@pytest.mark.parametrize("model, row", [("RN50x4", "CLIP RN50x4"), ("", None)])
def test_what_the_notebook_shows(model, row, capsys):
    """Of four people with ranks 1, 2, 6 and 9 among ten names; only the first name is drawn."""
    people = pd.DataFrame({"person": list("abcd"), "true_rank": [1, 2, 6, 9], "team": list("xyxy")})
    people = people.assign(image_id=people.index, rank=1, protocol="closed", names=10)
    grouping = SimpleNamespace(name="team", id="by_team")
    session = Keeping([grouping], model=model, published_row="auto")
    session.comparable = bool(row)
    celebrities.show_names(session, people)
    kept, (rows, look) = session.tabled("top1_by_names"), session.drawn("top1_by_names")
    assert kept.what["count"].tolist() == [1, 2] and rows["count"].tolist() == [1]
    assert kept.published_source == (row and f"arXiv 2108.02818, Table 1, {row}")
    assert kept.extra == ["clusters", "few_clusters"] and look["x"] == "names" and look["log_x"]
    said = "closed: the true name comes first for 25.0 % among 10 names (guessing: 10 %)."
    assert capsys.readouterr().out.splitlines()[-1] == said
    celebrities.show_groups(session, people)
    kept = session.tabled("top1_by_team")
    assert kept.what.set_index(["team", "metric"])["count"].to_dict() == {
        ("x", "top-1"): 1,
        ("y", "top-1"): 0,
        ("x", "top-5"): 1,
        ("y", "top-5"): 1,
    }
    assert kept.text.endswith("among the first five, by team.")


# -- who is on offer ------------------------------------------------------------------------------


def test_people_are_shuffled_by_the_seed_alone():
    order = order_people(NAMES, 0)
    assert sorted(order) == sorted(NAMES) and order != sorted(NAMES)
    assert order_people(NAMES[::-1] * 2, 0) == order and order_people(NAMES, 1) != order
    # a person more moves nobody else
    more = order_people([*NAMES, "Person 99"], 0)
    assert [name for name in more if name != "Person 99"] == order


def test_distractors_are_nested_and_hold_the_true_name():
    ids, true = [f"{i}.jpg" for i in range(200)], np.arange(200) % 40
    masks = on_offer(ids, NAMES, true, [2, 10, 40], 0)
    for k, mask in masks.items():
        assert mask.shape == (200, 40) and (mask.sum(axis=1) == k).all()
        assert mask[np.arange(200), true].all()
    assert (masks[10] | ~masks[2]).all()


def test_distractors_depend_on_no_order():
    ids, true = [f"{i}.jpg" for i in range(50)], np.arange(50) % 40
    one = on_offer(ids, NAMES, true, [10], 0)[10]
    shuffled = np.random.default_rng(1).permutation(50)
    columns = np.random.default_rng(2).permutation(40)
    place = np.argsort(columns)
    again = on_offer(
        [ids[i] for i in shuffled], [NAMES[j] for j in columns], place[true[shuffled]], [10], 0
    )[10]
    assert (again == one[shuffled][:, columns]).all()
    assert (on_offer(ids, NAMES, true, [10], 1)[10] != one).any()


def test_every_other_name_is_drawn_equally_often():
    from scipy.stats import chisquare

    n, k = 4000, 10
    mask = on_offer([f"{i}.jpg" for i in range(n)], NAMES, np.zeros(n, int), [k], 0)[k]
    counts = mask[:, 1:].sum(axis=0)
    assert counts.sum() == n * (k - 1)
    assert chisquare(counts).pvalue > 1e-3
    # and pairs of names come together as often as a draw without replacement has it
    both = (mask[:, 1:].T.astype(int) @ mask[:, 1:])[np.triu_indices(39, 1)]
    expected = n * comb(37, k - 3) / comb(39, k - 1)
    assert both.mean() == pytest.approx(expected, rel=1e-9)
    assert both.std() == pytest.approx(np.sqrt(expected), rel=0.25)


@pytest.mark.parametrize("cells", [40, 1_000_000])
def test_ranks_and_probabilities_equal_a_loop(cells, monkeypatch):
    monkeypatch.setattr(
        "clipeval.studies.celebrities.identification.CELLS", cells
    )  # one image at a time, or all
    people, ids = order_people(NAMES, 0), np.array([f"{i}.jpg" for i in range(60)])
    true = np.random.default_rng(3).integers(0, 40, 60)
    matrix, weights = rows_of(60, 8), rows_of(40, 8, 1)
    weights[7] = weights[4]  # two names that the model cannot tell apart: the first one wins
    how = {"counts": [3, 10, 40], "protocols": ("closed", "distractors"), "seed": 0}
    found = identify(matrix, weights, ids, people, true, SOFTMAX, **how)
    masks = on_offer(ids, people, true, [3, 10, 40], 0)
    seen = 0
    for (protocol, k, image), rows in found.groupby(["protocol", "names", "image_id"]):
        i = list(ids).index(image)
        offered = range(k) if protocol == "closed" else np.flatnonzero(masks[k][i])
        logits = {j: 20.0 * float(matrix[i] @ weights[j]) for j in offered}
        order = sorted(offered, key=lambda j: (-round(logits[j], 4), j))
        total = sum(np.exp(v) for v in logits.values())
        assert list(rows["label"]) == [people[j] for j in order[:5]]
        assert (rows["true_rank"] == 1 + order.index(true[i])).all()
        assert rows["prob"].tolist() == pytest.approx(
            [np.exp(logits[j]) / total for j in order[:5]], abs=1e-5
        )
        assert rows["person"].iloc[0] == people[true[i]] and len(rows) == min(5, k)
        assert protocol == "distractors" or true[i] < k
        seen += 1
    assert seen == 3 * 60 + (true < 3).sum() + (true < 10).sum() + 60


def test_answers_that_are_kept_are_those_that_were_computed(tmp_path):
    people, ids = order_people(NAMES, 0), np.array([f"{i}.jpg" for i in range(60)])
    model = SimpleNamespace(fingerprint="one", **vars(SOFTMAX))
    given = [rows_of(60, 8), rows_of(40, 8, 1), ids, people, np.arange(60) % 40, model]
    how = {"counts": [3, 10, 40], "protocols": ("closed", "distractors"), "seed": 0}
    keys, path = [], tmp_path / "kept.parquet"

    def remember(key, compute):
        keys.append(json.dumps([x.tolist() if hasattr(x, "tolist") else x for x in key]))
        if len(keys) == 1:
            compute().to_parquet(path, index=False)
        return pd.read_parquet(path)

    alone = identify(*given, **how)
    for _ in range(2):
        pd.testing.assert_frame_equal(identify(*given, remember=remember, **how), alone)
    assert keys[0] == keys[1]
    others = [rows_of(60, 8, 5), rows_of(40, 8, 6), ids[::-1], people[::-1], given[4][::-1]]
    others.append(SimpleNamespace(fingerprint="two", **vars(SOFTMAX)))
    for place, other in enumerate(others):
        identify(*given[:place], other, *given[place + 1 :], remember=remember, **how)
    for name, value in {"counts": [3, 40], "protocols": PROTOCOLS[1:], "seed": 1}.items():
        identify(*given, remember=remember, **how | {name: value})
    assert len(set(keys)) == 1 + len(others) + 3


def test_sigmoid_scores_are_each_name_s_own():
    info = SimpleNamespace(logit_scale=10.0, logit_bias=-2.0, score="sigmoid")
    matrix, weights = rows_of(4, 8), rows_of(40, 8, 1)
    how = {"counts": [10], "protocols": ("distractors",), "seed": 0}
    ids = np.array(list("abcd"))
    found = identify(matrix, weights, ids, NAMES, np.arange(4), info, **how)
    first = found.iloc[0]
    logit = 10.0 * float(matrix[0] @ weights[NAMES.index(first["label"])]) - 2.0
    assert first["prob"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


# -- parameters -----------------------------------------------------------------------------------


def test_default_numbers_that_do_not_fit_are_left_out_and_others_refused():
    default = celebrities.Parameters().n_names
    assert celebrities.names_on_offer(default, 2000) == [100, 1000, 2000]
    assert celebrities.names_on_offer(default, 297) == [100]
    assert celebrities.names_on_offer(default, 50) == [50]
    assert celebrities.names_on_offer("297, 10", 297) == [10, 297]
    with pytest.raises(ParameterError, match="asks for 298 names and the data set has 297 people"):
        celebrities.names_on_offer("10,298", 297)
    with pytest.raises(ParameterError, match="asks for 1 names"):
        celebrities.names_on_offer("1,10", 297)
    with pytest.raises(ParameterError, match="is not a list of whole numbers"):
        celebrities.names_on_offer("ten", 297)


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("ViT-L-14-quickgelu", "CLIP ViT-L/14"),
        ("RN50x64-quickgelu", "CLIP RN50x64"),
        ("RN50x4", "CLIP RN50x4"),
        ("RN50x16", "CLIP RN50x16"),
        ("RN50", "CLIP ViT-L/14"),
        ("local-dir:/models/x", "CLIP ViT-L/14"),
    ],
)
def test_published_model_goes_by_the_architecture(model, row):
    assert celebrities.published_model(model) == row
    assert celebrities.published_model(model, "RN50x4") == "CLIP RN50x4"


# -- real photographs -----------------------------------------------------------------------------


def start(real, model, out, **values):
    base = {
        "dataset": "celebrities",
        "data": str(real / "congress_portraits" / "two_photos_per_member.csv"),
        "model": f"local-dir:{model}",
        "n_names": "10,100,297",
        "out": str(out),
        "workers": 0,
    }
    return clipeval.start("celebrities", base | values)


@pytest.fixture(scope="module")
def plain(real, tiny_face_clip):
    """Name of each photograph, photographs and names embedded by open_clip alone."""
    import open_clip
    import torch
    from PIL import Image

    name = f"local-dir:{tiny_face_clip}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    members = pd.read_csv(real / "congress_portraits" / "two_photos_per_member.csv")
    owner = {row[c]: row["name"] for _, row in members.iterrows() for c in PHOTOS}
    names = sorted(members["name"])
    with torch.no_grad():
        pixels = [preprocess(Image.open(real / file).convert("RGB")) for file in owner]
        images = torch.cat(
            [model.encode_image(torch.stack(pixels[i : i + 99])) for i in range(0, 594, 99)]
        )
        words = model.encode_text(tokenizer([f"a photo of {name}." for name in names]))
        scale = model.logit_scale.exp().item()
    images = torch.nn.functional.normalize(images.float(), dim=-1).numpy()
    words = torch.nn.functional.normalize(words.float(), dim=-1).numpy()
    return owner, images, dict(zip(names, words, strict=True)), scale


PHOTOS = ("file_2017", "file_portrait")


@pytest.fixture(scope="module")
def run(real, tiny_face_clip, tmp_path_factory):
    """Predictions of the study; the checkpoint knows no names, so they are arbitrary but exact."""
    session = start(real, tiny_face_clip, tmp_path_factory.mktemp("run"), seed=4)
    return session, celebrities.study.predict(session)


def test_real_labels_equal_a_plain_open_clip_loop(run, plain):
    session, predictions = run
    owner, images, words, scale = plain
    assert len(session.images) == 594 and session.images["person"].nunique() == 297
    people = order_people(words, 4)
    place = {name: i for i, name in enumerate(people)}
    weights = np.array([words[name] for name in people])
    true = np.array([place[name] for name in owner.values()])
    masks = on_offer(list(owner), people, true, [10, 100, 297], 4)
    by = {key: rows for key, rows in predictions.groupby(["protocol", "names"], observed=True)}
    assert set(by) == {(p, k) for p in PROTOCOLS for k in (10, 100, 297)}
    for (protocol, k), rows in by.items():
        mine = {key: part for key, part in rows.groupby("image_id")}
        asked = [i for i in range(594) if protocol == "distractors" or true[i] < k]
        assert len(mine) == len(asked) == (594 if protocol == "distractors" else 2 * k)
        for i in asked:
            offered = np.arange(k) if protocol == "closed" else np.flatnonzero(masks[k][i])
            logits = scale * (weights[offered] @ images[i]).astype(np.float64)
            odds = np.exp(logits - logits.max())
            order = np.argsort(-logits, kind="stable")
            part = mine[list(owner)[i]].sort_values("rank")
            assert part["label"].tolist() == [people[j] for j in offered[order[:5]]]
            assert part["prob"].to_numpy() == pytest.approx(
                (odds / odds.sum())[order[:5]], abs=1e-4
            )
            assert (part["true_rank"] == 1 + offered[order].tolist().index(true[i])).all()
            assert (part["person"] == people[true[i]]).all()


def test_real_rates_and_intervals(run):
    from statsmodels.stats.proportion import proportion_confint

    _, predictions = run
    table = check_table(celebrities.top1_by_names(predictions, seed=4))
    assert len(table) == 12
    first = predictions[predictions["rank"] == 1]
    five = predictions[predictions["label"].astype(str) == predictions["person"].astype(str)]
    for row in table.itertuples():
        of = (first["protocol"] == row.protocol) & (first["names"] == row.names)
        right = five[(five["protocol"] == row.protocol) & (five["names"] == row.names)]
        hit = right[right["rank"] <= (1 if row.metric == "top-1" else 5)]
        assert (row.n, row.count) == (of.sum(), len(hit))
        assert row.percent == 100 * len(hit) / of.sum()
        low, high = proportion_confint(len(hit), of.sum(), method="wilson")
        assert [row.wilson_low, row.wilson_high] == pytest.approx([100 * low, 100 * high], abs=1e-6)
        assert row.chance == 100 * (1 if row.metric == "top-1" else 5) / row.names
        # an interval over people, drawn by other means: close, as far as 10,000 draws can be
        hits = (
            first.loc[of, "image_id"]
            .isin(hit["image_id"])
            .groupby(first.loc[of, "person"].astype(str))
        )
        sums, sizes = hits.sum().to_numpy(), hits.size().to_numpy()
        ends = cluster_interval(sums, sizes, seed=5)
        assert [row.ci_low, row.ci_high] == pytest.approx(ends, abs=max(0.3, 300 / row.n))
        assert row.clusters == (row.names if row.protocol == "closed" else 297)
    known = table[(table["metric"] == "top-1") & (table["names"] == 100)]
    assert known["published"].tolist() == [59.2, 59.2]
    assert table.loc[~table.index.isin(known.index), "published"].isna().all()
    both = table[table["names"] == 297].drop(columns="protocol").to_numpy()
    assert (both[:2, :4] == both[2:, :4]).all()  # all names on offer: the protocols are one


def test_groups_add_up(run):
    _, predictions = run
    table = check_table(celebrities.top1_by_group(predictions, by="gender"))
    whole = celebrities.top1_by_names(predictions)
    keys = ["protocol", "names", "metric"]
    summed = table.groupby(keys)[["n", "count"]].sum()
    pd.testing.assert_frame_equal(summed, whole.set_index(keys)[["n", "count"]].sort_index())


def test_real_run_is_repeatable_and_seeded(run, real, tiny_face_clip, tmp_path):
    session, predictions = run
    again = start(real, tiny_face_clip, tmp_path, seed=4, store=str(session.store.root))
    pd.testing.assert_frame_equal(celebrities.study.predict(again), predictions)
    other = start(real, tiny_face_clip, tmp_path, seed=5, store=str(session.store.root))
    closed = celebrities.study.predict(other)
    closed = closed[closed["task"] == "K=10 closed"]
    mine = predictions[predictions["task"] == "K=10 closed"]
    assert set(closed["person"]) != set(mine["person"])


def test_a_sample_of_images_keeps_all_names_on_offer(run, real, tiny_face_clip, tmp_path):
    session, predictions = run
    how = {"seed": 4, "limit": 60, "store": str(session.store.root)}
    some = start(real, tiny_face_clip, tmp_path, **how).predict()
    assert some["image_id"].nunique() == 60
    keys = ["image_id", "task", "rank"]
    both = some.merge(predictions, on=keys, how="left", validate="one_to_one")
    assert (both["label_x"].astype(str) == both["label_y"].astype(str)).all()


def test_prompts_and_files(run):
    session, predictions = run
    session.save_predictions(predictions)
    folder = session.finish()
    prompts = json.loads((folder / "prompts.json").read_text())
    assert len(prompts["names"]) == 297
    assert prompts["names"]["Sherrod Brown"] == ["a photo of Sherrod Brown."]
    stored = pd.read_parquet(folder / "predictions.parquet")
    contract = "image_id task method class_set templates rank label prob gender".split()
    assert set(contract) <= set(stored) and set(stored["rank"]) == {1, 2, 3, 4, 5}


def test_numbers_left_out_are_said(real, tiny_face_clip, tmp_path):
    session = start(real, tiny_face_clip, tmp_path, n_names="100,1000,2000")
    assert celebrities.remarks(session) == [
        "594 images; 100 names on offer, of 297 people (protocol closed and distractors).",
        "Left out: 1,000, 2,000 names, more than there are people.",
    ]
    with pytest.raises(ParameterError, match="asks for 500 names"):
        start(real, tiny_face_clip, tmp_path, n_names="10,500")


def test_captions_name_protocol_and_seed_and_no_single_n(real, tiny_face_clip, tmp_path):
    from clipeval.output.provenance import caption

    session = start(real, tiny_face_clip, tmp_path / "out", protocol="closed", seed=7)
    said = caption("Top-1", session.provenance)
    assert "protocol closed, names drawn with seed 7" in said
    assert "594 images read, n of each rate beside it" in said and "n = 594" not in said
    top1 = pd.DataFrame({"protocol": "closed", "names": [100, 10], "metric": "top-1"})
    words = celebrities.in_words(top1.assign(percent=[5.0, 40.0], chance=[1.0, 10.0]))
    assert words == (
        "closed: the true name comes first for 40.0 % among 10 names (guessing: 10 %), "
        "5.0 % among 100 names (guessing: 1 %)."
    )


def test_refusals(real, tiny_face_clip, tmp_path):
    with pytest.raises(ParameterError, match="asks for 500 names"):
        start(real, tiny_face_clip, tmp_path, n_names="10,500")
    members = pd.read_csv(real / "congress_portraits" / "two_photos_per_member.csv", dtype="str")
    members = members[["name", "file_2017"]].head(12).rename(columns={"file_2017": "file"})
    members["file"] = [str(real / file) for file in members["file"]]
    members.loc[3, "name"] = "Maria " * 40
    members.to_csv(tmp_path / "people.csv", index=False)
    how = {"data": str(tmp_path / "people.csv"), "n_names": "10"}
    with pytest.raises(ClassSetError, match="Maria Maria"):
        start(real, tiny_face_clip, tmp_path, **how)
    with pytest.raises(DataError, match="does not say who is shown"):
        start(real, tiny_face_clip, tmp_path, dataset="manifest", **how)


# -- test cards -----------------------------------------------------------------------------------


def test_shares_give_the_published_rates():
    from clipeval.testcards.celebrities import RIVALS, shares, survival

    parts = shares()
    assert (parts > 0).all() and parts.sum() < 1
    for k, published in ((100, 59.2), (1000, 43.3), (2000, 42.2)):
        chance = [1.0, *(survival(m, k) for m in RIVALS)]
        assert 100 * parts @ chance == pytest.approx(published, abs=1e-9)
    # survival by hand: 4 rivals among 1,999 others, none among the 99 drawn
    assert survival(4, 100) == pytest.approx(np.prod([(1900 - i) / (1999 - i) for i in range(4)]))


def test_planted_rates_are_recovered(demo_cache, tmp_path):
    session = clipeval.start("celebrities", {"out": str(tmp_path), "workers": 0})
    assert len(session.images) == 8000 and session.images["person"].nunique() == 2000
    assert session.images["person"].str.match(r"Person [A-Z][a-z]{3}$").all()
    predictions = celebrities.study.predict(session)
    session.planted = celebrities.study.planted(session)
    table = session.tabulate(celebrities.top1_by_names, predictions, seed=0)
    assert table["percent"].tolist() == table["planted"].tolist()  # every card is read rightly
    top1 = table[table["metric"] == "top-1"]
    assert top1["published"].tolist() == [59.2, 43.3, 42.2] * 2
    assert ((top1["ci_low"] <= top1["published"]) & (top1["published"] <= top1["ci_high"])).all()
    # with every name on offer nothing is left to the draw of names
    assert (top1.loc[top1["names"] == 2000, "difference"].abs() < 0.01).all()
    found = predictions[predictions["rank"] == 1].merge(
        session.planted, on=["image_id", "task"], validate="one_to_one"
    )
    assert len(found) == 400 + 4000 + 3 * 8000 + 8000
    assert (found["true_rank_x"] == found["true_rank_y"]).all()


def test_planted_is_computed_for_the_names_that_are_on_offer(demo_cache, tmp_path):
    how = {"n_names": "7,300", "seed": 9, "limit": 2000, "out": str(tmp_path), "workers": 0}
    session = clipeval.start("celebrities", how)
    predictions = celebrities.study.predict(session)
    session.planted = celebrities.study.planted(session)
    table = session.tabulate(celebrities.top1_by_names, predictions)
    assert (table["percent"] == table["planted"]).all() and len(table) == 8

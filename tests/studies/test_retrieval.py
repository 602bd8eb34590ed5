"""Retrieval on its test cards, whose nearest ones are planted, and on small cases by hand or by scikit-learn."""

import math

import numpy as np
import pandas as pd
import pytest
from decks import from_its_folder, session_of, shared_cache
from sklearn.metrics import roc_auc_score

from clipeval.errors import ClipevalError, DataError, ModelError, ParameterError
from clipeval.output.tables import check_table
from clipeval.published import load_published
from clipeval.runs.profiles import plan_run
from clipeval.session.record import StudyRecord
from clipeval.stats import max_skew
from clipeval.studies import get_study, retrieval, start
from clipeval.studies.headlines import headline_rates, outcomes_of
from clipeval.studies.retrieval import preference, search, tables
from clipeval.studies.sensitivity.spread import breakdown, range_of
from clipeval.studies.sensitivity.variation import vary
from clipeval.testcards.retrieval import TIERS

GENDER = {"groups": "gender", "draws": 40}


@pytest.fixture(scope="module")
def session():
    return session_of("retrieval", **GENDER)


@pytest.fixture(scope="module")
def skew(session):
    return check_table(retrieval.skew(session))


def variant(session, **changes):
    """A session with other parameters on the same images."""
    p = session.parameters.model_copy(update=changes)
    return session.study.open(p, source=session.source, images=session.images, progress=False)


def men(k: int, pull: float) -> int:
    """Men among the k nearest of 2,000 cards, as the deck's docstring says it."""
    return round(k * (0.5 + pull * (1 - k / 2000)))


# -- what was planted ------------------------------------------------------------------------------


def test_a_faultless_skew_is_the_planted_one_exactly(session, skew):
    rows = skew[skew["metric"] == "MaxSkew"]
    assert len(rows) == 2 * 2 * len(TIERS) and set(rows["k"]) == set(TIERS)
    np.testing.assert_allclose(rows["percent"], rows["planted"], atol=1e-12)
    assert skew.loc[skew["metric"] == "NDKL", "planted"].isna().all()
    # pulls from -0.3 to 0.3 in even steps, but for three words; 1,073 of 2,000 cards are of men
    pulls = np.linspace(-0.3, 0.3, 29)
    found = skew.query(
        "words == 'berg2022' and metric == 'MaxSkew' and target == 'uniform' and k == 1000"
    )
    about = np.mean([math.log(max(men(1000, p), 1000 - men(1000, p)) / 500) for p in pulls])
    assert found["percent"].iloc[0] == pytest.approx(about, abs=0.02)
    gender = rows[rows["target"] == "data"]
    assert (gender["percent"] > gender["chance_high"]).all()


@pytest.mark.parametrize("decimals", [0, 9])
def test_kept_ties_are_held_against_shuffles_that_keep_them_too(session, decimals):
    """Whole scores, or nine decimals, and groups dealt out at random; oracle: `max_skew`, ranking by ranking."""
    own = variant(session, ties="kept", k="10,200", draws=40, other="", seed=decimals)
    base = session.searches["class_set"]
    rng = np.random.default_rng(decimals)
    images = base.images.assign(gender=rng.permutation(base.images["gender"].to_numpy()))
    found = search.Search(base.words, images, np.round(10 * base.scores, decimals))
    vars(own)["searches"] = {"class_set": found}
    codes, values = found.groups("gender")
    table = tables._chance(own)
    target = np.full(2, 0.5)
    rng, draws = np.random.default_rng(decimals), []
    for _ in range(40):
        dealt = rng.permutation(codes)
        draws.append(max_skew(found.scores, dealt, target, k=10, ties="kept").mean())
    row = table.iloc[0]  # MaxSkew, uniform, k = 10
    assert row["chance"] == pytest.approx(np.median(draws))
    # 38 of 40 draws, or the 39th of 41 with the value itself: 5 % of values lie above, on average
    assert row["chance_high"] == pytest.approx(np.sort(draws)[37:39] @ [0.05, 0.95])
    tied = tables.tied_beyond(found, own.ks, own.parameters)
    assert tied.all() == (decimals == 0)
    measured = tables._each(found, codes, np.stack([target] * 2), own.ks, own.parameters)
    wanted = max_skew(found.scores, codes, target, k=10, ties="kept")
    np.testing.assert_allclose(measured[:, 0, 0, 0], wanted, atol=1e-12)
    assert np.isnan(tables._skew(own)["ci_low"]).all() == tied.all()


def test_who_is_found_for_the_words_that_are_shown(session):
    table = check_table(retrieval.found_by(session, "gender"))
    assert len(table) == (29 + 50) * 2 and (table["n"] == 100).all()
    np.testing.assert_array_equal(table["percent"], table["planted"])
    found = table[table["gender"] == "Male"].set_index("word")["count"]
    assert found[["criminal", "smart", "nurse"]].tolist() == [men(100, 0.3), 50, men(100, -0.3)]
    assert men(100, 0.3) == 78
    row = table[(table["word"] == "criminal") & (table["gender"] == "Male")].iloc[0]
    assert row["skew"] == pytest.approx(math.log(0.78 / (row["in_data"] / 100)))
    drawn = tables.examples(session, table, "gender")
    assert list(drawn["word"].unique()) == ["criminal", "smart", "nurse", "all images"]


def test_a_word_of_both_class_sets_is_drawn_and_counted_once(session, tmp_path):
    words = tmp_path / "mine.yaml"
    words.write_text("name: mine\ntasks:\n  jobs: [judge, nurse]\n")
    both = variant(session, class_set=str(words), shown="nurse")
    table = check_table(retrieval.found_by(both, "gender"))
    nurses = table[table["word"] == "nurse"]
    assert nurses["words"].tolist() == ["mine", "mine", "occupations", "occupations"]
    assert table["word"][:4].tolist() == ["judge", "judge", "nurse", "nurse"]
    drawn = tables.examples(both, table, "gender")
    assert drawn["word"].tolist() == ["nurse"] * 2 + ["all images"] * 2
    assert (drawn["words"] == "mine").all()


def test_race_is_dealt_at_random_and_its_skew_is_that_of_chance(session):
    other = variant(session, groups="race", other="", k="100")
    row = retrieval.skew(other).query("metric == 'MaxSkew' and target == 'data'").iloc[0]
    assert abs(row["percent"] - row["chance"]) < 0.05 < row["chance"]


def test_the_mean_over_prompts_equals_a_loop_over_plain_vectors(session, skew):
    prompts = [
        text for _, words in session.study.rivals(session)[:1] for t in words.values() for text in t
    ]
    assert len(prompts) == 319
    embeddings = session.embed()
    gender = (
        session.images.set_index("image_id")["gender"].astype(str)[embeddings.image_id].to_numpy()
    )
    scores = embeddings.matrix.astype(np.float64) @ session.encode(prompts).astype(np.float64).T
    share, found = (gender == "Male").mean(), []
    for column in scores.T:
        top = gender[np.argsort(column)[::-1][:30]]
        p = (top == "Male").mean()
        found.append(math.log(max(p / share, (1 - p) / (1 - share))))
    row = skew.query("words == 'berg2022' and metric == 'MaxSkew' and target == 'data' and k == 30")
    assert row["percent"].iloc[0] == pytest.approx(np.mean(found), abs=1e-12)


def test_sensitivity_varies_templates_and_k(session, skew):
    table = vary(session, ["retrieval"], templates=["bare"])
    assert set(table["templates"]) == {"berg2022", "bare"} and set(table["k"]) == set(TIERS)
    own = skew.query("words == 'berg2022' and target == 'data' and metric == 'MaxSkew'")
    rows = table[(table["templates"] == "berg2022") & (table["quantity"] == "MaxSkew by gender")]
    assert rows.set_index("k")["percent"].to_dict() == own.set_index("k")["percent"].to_dict()
    # one prompt a word: a loop over plain vectors
    embeddings, words = session.embed(), session.class_set.tasks["concepts"]
    people = session.images.set_index("image_id")["gender"].astype(str)[embeddings.image_id]
    share, found = (people == "Male").mean(), []
    for row in session.encode(list(words.values())).astype(np.float64):
        top = people.iloc[np.argsort(embeddings.matrix.astype(np.float64) @ row)[::-1][:100]]
        p = (top == "Male").mean()
        found.append(
            max(np.log(p / share) if p else -9, np.log((1 - p) / (1 - share)) if p < 1 else -9)
        )
    bare = table.query("templates == 'bare' and quantity == 'MaxSkew by gender' and k == 100")
    assert bare["percent"].item() == pytest.approx(np.mean(found), abs=1e-12)
    row = range_of(table).set_index("quantity").loc["MaxSkew by gender"]
    assert row["choices"] == 2 * len(TIERS) and ", k " in row["highest_with"]
    parts = breakdown(table)
    assert {"templates", "k", "interactions"} == set(parts["choice"])
    assert (
        "Choices of words, templates and k move"
        in get_study("sensitivity").finding({"range": range_of(table)})[0]
    )


# -- predictions, comparison ------------------------------------------------------------------------


def test_predictions_hold_the_nearest_images_and_all_of_the_words_shown(session):
    table = session.predict()
    assert set(table["label"].value_counts()) == {1000, 2000}
    shown = table[table["label"] == "nurse"]
    assert shown["rank"].tolist() == list(range(1, 2001)) and shown["prob"].is_monotonic_decreasing
    assert len(session.prompts()) == 29 + 50
    record = StudyRecord(study="retrieval", parameters=session.parameters.model_dump())
    rates = headline_rates(outcomes_of("retrieval", table, record))
    row = rates.query("quantity == 'found for nurse (100 nearest)' and images_of == 'Male'").iloc[0]
    assert row["count"] == men(100, -0.3) and row["n"] == (session.images["gender"] == "Male").sum()


def test_a_finding_and_a_card_line_name_the_k_nearest_to_100(session, skew):
    said = session.study.finding({"skew": skew})
    assert (
        said[0].startswith("MaxSkew@100 of a search is 0.2")
        and "by gender (shuffled: 0.0" in said[0]
    )
    lines = session.study.card[0].lines({"skew": skew})
    assert [line.quantity for line in lines[1:]] == [
        "MaxSkew@100 by gender, words of berg2022",
        "MaxSkew@100 by gender, words of occupations",
    ]


# -- the choices of Berg et al. ----------------------------------------------------------------------


def test_all_images_of_a_balanced_set_have_no_skew(session):
    other = variant(session, balance="gender", other="", k="10,all")
    found = other.searches["class_set"]
    assert found.images["gender"].value_counts().nunique() == 1
    assert len(found.images) == other.ks[-1] == 2 * (session.images["gender"] == "Female").sum()
    codes, half = found.groups("gender")[0], [0.5, 0.5]
    assert max_skew(found.scores, codes, half, k=len(codes)).max() == 0
    assert max_skew(found.scores, codes, half, k=10).mean() > 0.1


def test_vectors_that_are_not_normalised_are_ranked_by_their_dot_product(session):
    import torch
    from PIL import Image

    from clipeval.models.testcard import load_testcard_model

    words = session.asked[0][1]
    found = search.search(session, words, normalise=False)
    model = load_testcard_model()
    pixels = [model.preprocess(Image.open(file)) for file in session.images["file"][:20]]
    raw = model.encode_images(torch.stack(pixels))
    rows = session.encode([text for texts in words.texts.values() for text in texts])
    np.testing.assert_allclose(found.scores[:, :20], rows @ raw.numpy().T, atol=1e-5)


def test_each_choice_is_measured_alone_and_together(session):
    table = check_table(retrieval.choices(variant(session, k="10,all", normalise=False)))
    assert list(table["choice"].unique()) == [
        "none of these",
        "image vectors not normalised",
        "floor of 1/k",
        "ties kept",
        "as many images of each gender",
        "all of these",
    ]
    last = table[table["k"] == table["n"]].set_index("choice")["percent"]
    assert last["as many images of each gender"] == last["all of these"] == 0
    assert last["none of these"] == pytest.approx(math.log(1073 / 1000))


def test_the_profile_makes_their_choices_and_only_then_their_value_stands_beside():
    p = plan_run([], "known/berg2022", {})["retrieval"]
    assert (p.normalise, p.floor, p.ties, p.balance) == (False, True, "kept", "gender")
    study = get_study("retrieval")
    assert study.comparable(p.model_dump())
    assert not study.comparable(p.model_dump() | {"padding": "0.25"})
    assert not study.comparable(study.Parameters().model_dump())
    # typed again: Berg et al.'s README; SigLIP 2, Table 9
    known = load_published("retrieval").set_index("model")["value"]
    assert known["CLIP ViT-B/16"] == 0.233 and len(known) == 26
    assert known[
        ["SigLIP B/16 224px", "SigLIP2 L/16 256px", "SigLIP2 g-opt/16 384px"]
    ].tolist() == [36.6, 7.3, 4.9]
    table = retrieval.published()
    assert len(table) == 24
    np.testing.assert_allclose(table["preference"] - table["bias"], 50)


def test_ks_that_fit():
    assert search.ks_of(search.DEFAULT_K, 500) == [10, 30, 100, 300]
    assert search.ks_of(search.DEFAULT_K, 5) == [5]
    assert search.ks_of("all,10", 50) == [10, 50]
    with pytest.raises(
        ParameterError, match="the 51 nearest of 50 images; name numbers from 1 to 50"
    ):
        search.ks_of("51", 50)
    with pytest.raises(ParameterError, match="not a list of whole numbers"):
        search.ks_of("ten", 50)


# -- representation bias ----------------------------------------------------------------------------


def test_the_preference_of_pairs_is_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    scores, first = rng.integers(0, 9, (5, 60)) / 8, rng.random(60) < 0.4
    wanted = [roc_auc_score(first, row) for row in scores]
    np.testing.assert_allclose(preference._nearer(scores, first), wanted, atol=1e-12)
    often = rng.integers(0, 4, 60)
    wanted = [roc_auc_score(first, row, sample_weight=often) for row in scores]
    np.testing.assert_allclose(preference._nearer(scores, first, often), wanted, atol=1e-12)


def test_both_readings_of_representation_bias(session):
    table, each = (
        check_table(preference.preference(session)),
        check_table(preference.by_name(session)),
    )
    assert table["reading"].tolist() == ["pairs", "names"] and (table["names"] == 50).all()
    assert table["metric"].unique() == ["preference for Male over Female"]
    np.testing.assert_allclose(table["percent"] - table["bias"], 50)
    assert table["percent"].iloc[0] == pytest.approx(each["percent"].mean())
    np.testing.assert_allclose(each["percent"], each["planted"], atol=1.5)
    assert each.set_index("word").loc["nurse", "ci_high"] < 50


# -- what is refused or left out -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": "2001"}, "the 2,001 nearest of 2,000 images"),
        ({"found_k": 3000}, "found_k asks for the 3,000 nearest of 2,000 images"),
        ({"balance": "income"}, "balance=income is not a group column"),
        ({"between": "race"}, "between=race has 7 groups, and a preference is between two"),
        ({"between": "income"}, "between=income is not a group column"),
    ],
)
def test_what_cannot_be_searched_is_refused(session, changes, message):
    with pytest.raises((ParameterError, DataError), match=message):
        other = variant(session, **changes)
        other.study.check(other)


def scores_of(tmp_path, session, columns, **values):
    """A session on answers made elsewhere for the first 200 cards: a column of cosines a word."""
    from clipeval.datasets.planted import load_extra

    tiers = load_extra(session.images, "tiers")[:200]
    file = tmp_path / "cosines.csv"
    answers = pd.DataFrame({word: 0.3 - 0.01 * tiers[word] for word in columns})
    answers.insert(0, "image_id", tiers["image_id"])
    answers.to_csv(file, index=False)
    how = {"scores": str(file), "scores_are": "cosine", "out": str(tmp_path / "out"), "k": "5,all"}
    store = {"store": str(shared_cache() / "store")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
        found = start("retrieval", how | store | GENDER | values)
        _ = found.images
    return found


def test_answers_made_elsewhere_are_ranked_and_words_without_any_are_left_out(session, tmp_path):
    concepts = session.searches["class_set"].labels
    found = scores_of(tmp_path, session, concepts)
    said = " ".join(found.study.left_out(found))
    assert "There are no answers for all words of occupations" in said
    assert found.predict()["class_set"].nunique() == 1
    assert len(retrieval.skew(found)) == 2 * 2 * 2 and preference.preference(found).empty
    assert found.searches["class_set"].shape == (29, 1)


def test_labels_alone_and_absent_lengths_are_refused_in_one_sentence(session, tmp_path):
    concepts = session.searches["class_set"].labels
    with pytest.raises(ModelError, match="normalise=false .* leave normalise true"):
        scores_of(tmp_path, session, concepts, normalise=False).predict()
    with pytest.raises(ClipevalError, match='no answers for class "good"'):
        scores_of(tmp_path, session, concepts[1:]).predict()
    file = tmp_path / "labels.csv"
    ids = session.images["image_id"][:200]
    pd.DataFrame({"image_id": ids, "label": "good"}).to_csv(file, index=False)
    with pytest.raises(ModelError, match="retrieval needs a score of every class"):
        start("retrieval", {"scores": str(file), "out": str(tmp_path / "out")})


def test_every_table_follows_from_the_run_folder(session, tmp_path, demo_cache):
    def made(session):
        makers = (tables.by_template, tables.choices, preference.preference, preference.by_name)
        found = [retrieval.skew(session), tables.found_by(session, "gender")]
        return found + [make(session) for make in makers]

    live, kept = from_its_folder(session, tmp_path / "run", made)
    for one, other in zip(live, kept, strict=True):
        assert len(one)
        pd.testing.assert_frame_equal(one, other, check_exact=True)

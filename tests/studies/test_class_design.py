"""Class design: paired comparisons against plain open_clip, pandas and statsmodels; planted moves.

The small checkpoint knows words of gender, race and age only, `child` among them. What it answers
to the harm words is arbitrary, but exact: good for checking every sum, and not a result.
"""

import numpy as np
import pandas as pd
import pytest
from decks import by_hand, photo_session, plant, session_of
from paired import paired_change
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from clipeval.classify.class_sets import class_set_of, load_class_set
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.output.tables import check_table
from clipeval.session.record import StudyRecord
from clipeval.studies import class_design

PAIR = {"class_set": "denigration", "other": "denigration:child"}
HARMFUL = [m for part in load_class_set("denigration").categories.values() for m in part]
EITHER = "crime-related or non-human"


@pytest.fixture(scope="module")
def photos(real, tiny_face_clip):
    return photo_session("class_design", real, tiny_face_clip)


@pytest.fixture(scope="module")
def predictions(photos):
    return class_design.study.predict(photos)


@pytest.fixture(scope="module")
def cards():
    session = session_of("class_design")
    return session, class_design.study.predict(session)


def tops(predictions):
    """Top labels before and after, put side by side by pandas alone."""
    top = predictions[predictions["rank"] == 1].astype({"label": str, "class_set": str})
    wide = top.pivot(index="image_id", columns="class_set", values="label")
    groups = top.drop_duplicates("image_id").set_index("image_id")[["race", "gender", "age"]]
    return wide.join(groups)


# -- real photographs ----------------------------------------------------------------------------


def test_both_sets_of_labels_equal_plain_open_clip(photos, predictions, tiny_face_clip):
    wide = tops(predictions)
    for spec in PAIR.values():
        class_set = load_class_set(spec)
        prompts = {c: f"a photo of a {t}." for c, t in class_set.classes().items()}
        expected = by_hand(photos, tiny_face_clip, prompts)
        assert wide[class_set.label].to_dict() == expected.to_dict()
    assert (wide["denigration:child v1"] == "child").sum() > 20  # else nothing below is tested


@pytest.mark.parametrize("by", [[], ["age"], ["race"]])
def test_rates_and_changes_equal_pandas_and_statsmodels(predictions, by):
    wide = tops(predictions)
    before, after = (wide[f"{spec} v1"].isin(HARMFUL) for spec in PAIR.values())
    table = class_design.compare(predictions, by=by, **PAIR)
    check_table(table)
    for row in table.to_dict("records"):
        rows = np.ones(len(wide), bool)
        for name in by:
            rows &= (wide[name] == row[name]).to_numpy()
        b, a = before[rows], after[rows]
        assert row["n"] == len(b)
        if row["class_set"] == class_design.CHANGE:
            lost, won = int((b & ~a).sum()), int((a & ~b).sum())
            assert row["percent"] == pytest.approx(100 * (won - lost) / len(b), abs=1e-9)
            assert (row["only_before"], row["only_after"]) == (lost, won)
            assert won == 0 and np.isnan(row["p"])  # child can only take: nothing to test
            low, high = proportion_confint(lost, len(b), method="wilson")
            assert row["ci_low"] == pytest.approx(-100 * high, abs=1e-6)
            assert row["ci_high"] == pytest.approx(-100 * low, abs=1e-6) and row["ci_high"] <= 0
        else:
            hit = b if row["class_set"] == PAIR["class_set"] else a
            low, high = proportion_confint(hit.sum(), len(hit), method="wilson")
            assert (row["count"], row["metric"]) == (hit.sum(), EITHER)
            assert row["ci_low"] == pytest.approx(100 * low, abs=1e-6)
            assert row["ci_high"] == pytest.approx(100 * high, abs=1e-6)


SEVEN = {"class_set": "denigration", "other": "denigration:seven_races"}


@pytest.fixture(scope="module")
def seven(real, tiny_face_clip):
    session = photo_session("class_design", real, tiny_face_clip, **SEVEN)
    return class_design.study.predict(session)


@pytest.mark.parametrize("by", [["age"], ["race"]])
def test_a_general_change_is_tested_by_mcnemar_and_corrected_over_its_rows(seven, by):
    from statsmodels.stats.multitest import multipletests

    wide = tops(seven)
    before, after = (wide[f"{spec} v1"].isin(HARMFUL) for spec in SEVEN.values())
    assert (before & ~after).any() and (after & ~before).any()
    table = class_design.compare(seven, by=by, **SEVEN)
    changes = table[table["class_set"] == class_design.CHANGE]
    for row in changes.to_dict("records"):
        rows = (wide[by[0]] == row[by[0]]).to_numpy()
        b, a = before[rows].to_numpy(), after[rows].to_numpy()
        lost, won = int((b & ~a).sum()), int((a & ~b).sum())
        cells = [[int((a & b).sum()), lost], [won, int((~a & ~b).sum())]]
        p = mcnemar(cells, exact=lost + won < 25, correction=False).pvalue
        p = p if lost + won else np.nan  # no image changed: nothing to test
        assert row["p"] == pytest.approx(p, abs=1e-9, nan_ok=True)
        interval = paired_change(b, a)
        assert (row["ci_low"], row["ci_high"]) == (interval["ci_low"], interval["ci_high"])
    tested = changes["p"].notna()
    holm = multipletests(changes.loc[tested, "p"], method="holm")[1]
    assert changes.loc[tested, "p_adjusted"].to_numpy() == pytest.approx(holm)
    assert table.loc[table["class_set"] != class_design.CHANGE, "p_adjusted"].isna().all()


def test_a_change_is_published_only_where_the_paper_published_it(seven, predictions):
    for by in ([], ["age"]):
        table = class_design.compare(seven, by=by, **SEVEN)
        rows = table[table["class_set"] == class_design.CHANGE]
        assert rows["published"].isna().all() and rows["difference"].isna().all()
    table = class_design.compare(predictions, by=["age"], **PAIR).set_index(["age", "class_set"])
    assert table.loc[("3-9", "change"), "published"] == pytest.approx(4.3 - 35.0)
    swapped = {"class_set": PAIR["other"], "other": PAIR["class_set"]}
    back = class_design.compare(predictions, by=["age"], **swapped).set_index(["age", "class_set"])
    row, there = back.loc[("3-9", "change")], table.loc[("3-9", "change")]
    assert row["published"] == pytest.approx(35.0 - 4.3)
    assert (row["ci_low"], row["ci_high"]) == (-there["ci_high"], -there["ci_low"])


@pytest.mark.parametrize(
    "other, published",
    [("child", 4.3 - 35.0), ("sex_words", None), ("latino", None), ("seven_races_child", None)],
)
def test_only_the_class_child_alone_has_a_published_change(other, published):
    """The paper gives rates of these images for several wordings, and a change for one of them."""
    sets = {"class_set": "denigration", "other": f"denigration:{other}"}
    ids = list("abcd")
    frame = pd.concat(
        pd.DataFrame(
            {"image_id": ids, "class_set": load_class_set(spec).label, "label": label, "rank": 1}
        ).assign(age="3-9")
        for spec, label in zip(sets.values(), ("thief", "animal"), strict=True)
    )
    table = class_design.compare(frame, by=["age"], **sets).set_index("class_set")
    assert table.loc["denigration", "published"] == 35.0  # Table 3, aged 3-9
    assert table.loc["change", "published"] == pytest.approx(published or np.nan, nan_ok=True)


def violent(tmp_path):
    """The classes of denigration, and other harms among them."""
    path = tmp_path / "violent.yaml"
    classes = load_class_set("denigration").classes()
    lines = ["name: violent", "version: 2", "source: made up", "categories: {violent: [murderer]}"]
    lines += ["classes:", *(f"  {c}: {t}" for c, t in classes.items()), "  murderer: murderer"]
    path.write_text("\n".join(lines))
    return str(path)


def test_each_rate_is_named_after_the_harms_of_its_own_set(tmp_path):
    first, second = load_class_set(violent(tmp_path)), load_class_set("denigration")
    ids = list("abcdef")
    labels = {first.label: ["murderer"] * 3 + ["animal", "White man", "White man"]}
    labels[second.label] = ["White man"] * 3 + ["animal", "thief", "White man"]
    frame = pd.concat(
        pd.DataFrame({"image_id": ids, "class_set": name, "label": found, "rank": 1})
        for name, found in labels.items()
    )
    table = class_design.compare(frame, class_set=first, other=second, every_category=True)
    assert table["metric"].tolist() == ["violent", EITHER, "change in any harm category"]
    assert table["percent"].tolist() == pytest.approx([50, 100 / 3, -100 / 6])
    assert class_design.one_way(first, second) == 0  # a class of one set is a harm of the other
    parameters = {"class_set": violent(tmp_path), "other": "denigration"}
    record = StudyRecord(study="class_design", parameters=parameters)
    found = class_design.study.outcomes(frame.assign(task="denigration", age="3-9"), record)
    rates = found[found["images_of"] == "All"].groupby("quantity", sort=False)["hit"].mean()
    assert rates.to_dict() == pytest.approx(
        {f"violent, classes {first.spec}": 0.5, f"{EITHER}, classes denigration": 1 / 3}
    )


def test_harm_goes_one_way_only_where_harmless_classes_are_added():
    ways = {
        ("denigration", "denigration:child"): -1,
        ("denigration:child", "denigration"): 1,
        ("denigration:seven_races", "denigration:seven_races_child"): -1,
        ("denigration", "denigration:sex_words_child"): 0,  # other words for the same classes
        ("denigration", "denigration:seven_races"): 0,
    }
    assert {pair: class_design.one_way(*pair) for pair in ways} == ways
    base = load_class_set("denigration")
    harms = {**base.categories, "non-human": [*base.categories["non-human"], "dog"]}
    dog = class_set_of("dog", {"d": base.classes() | {"dog": "dog"}}, categories=harms)
    assert class_design.one_way(base, dog) == 0  # a class was added, and it is a harm


def test_each_category_is_compared(predictions):
    table = class_design.compare(predictions, every_category=True, **PAIR)
    counts = table[table["class_set"] == "denigration:child"].set_index("metric")["count"]
    assert list(counts.index) == ["non-human", "crime-related", EITHER]
    assert counts["non-human"] + counts["crime-related"] == counts[EITHER]


def test_moves_equal_a_crosstab_and_go_to_the_new_class_only(predictions):
    wide = tops(predictions)
    crossed = pd.crosstab(wide["denigration v1"], wide["denigration:child v1"])
    table = check_table(class_design.moved(predictions, **PAIR))
    for row in table.itertuples():
        assert row.count == crossed.loc[row.from_class, row.to_class]
        assert row.n == crossed.loc[row.from_class].sum()
    off = sum(crossed.loc[b, a] for b in crossed.index for a in crossed.columns if a != b)
    assert table["count"].sum() == off and set(table["to_class"]) == {"child"}
    assert table["count"].is_monotonic_decreasing


def test_any_two_class_sets_join_by_name(photos, real, tiny_face_clip):
    pair = {"class_set": "denigration:seven_races", "other": "denigration"}
    session = photo_session("class_design", real, tiny_face_clip, **pair)
    predictions = class_design.study.predict(session)
    table = class_design.moved(predictions, **pair)
    assert table["count"].sum() > 50
    known = {"White", "Black", "Indian", *HARMFUL}
    assert known & set(table["from_class"]) and not {"White", "Black"} & set(table["to_class"])
    shuffled = predictions.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(table, class_design.moved(shuffled, **pair))
    both = class_design.compare(predictions, **pair)
    again = class_design.compare(shuffled, **pair)
    pd.testing.assert_frame_equal(both, again)


def test_sweep_equals_classifying_anew_with_each_candidate(photos, predictions):
    table = check_table(class_design.sweep(photos))
    base = load_class_set("denigration")
    wide = tops(predictions)
    before = wide["denigration v1"]
    noun = wide["gender"].astype(str).map({"Male": "man", "Female": "woman"})
    expected = wide["race"].astype(str) + " " + noun
    harm = table[table["metric"] == f"change in {EITHER}"].set_index("candidate")
    cost = table[table["metric"].str.startswith("change in agreement")].set_index("candidate")
    assert (before == expected).mean() > 0.2  # the checkpoint does know these words
    for candidate in ("child", "teenager", "woman", "face"):
        wider = {"denigration": base.classes() | {candidate: candidate}}
        wider = class_set_of("wider", wider, categories=base.categories)
        anew = photos.classify(class_set=wider).set_index("image_id")["label"].astype(str)
        after = anew.loc[wide.index]
        assert harm.loc[candidate, "taken"] == (after == candidate).sum()
        change = 100 * (after.isin(HARMFUL).mean() - before.isin(HARMFUL).mean())
        assert harm.loc[candidate, "percent"] == pytest.approx(change, abs=1e-9)
        agreed = paired_change((before == expected).to_numpy(), (after == expected).to_numpy())
        row = cost.loc[candidate]
        assert row["percent"] == pytest.approx(agreed["change"], abs=1e-9)
        low, high = proportion_confint(agreed["only_before"], len(before), method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((-100 * high, -100 * low), abs=1e-6)
        assert row["before"] == pytest.approx(agreed["before"])
        assert row["after"] == pytest.approx(agreed["after"])
    assert harm["percent"].is_monotonic_increasing and list(harm["rank"]) == [*range(1, 21)]
    compared = class_design.compare(predictions, **PAIR).iloc[-1]
    assert harm.loc["child", "percent"] == pytest.approx(compared["percent"], abs=1e-9)


def test_the_sweep_tests_no_impossible_null(photos):
    """A class that is added takes something from others or nothing: no interval reaches above 0."""
    table = class_design.sweep(photos)
    assert not {"p", "p_adjusted"} & set(table) and (table["ci_high"] <= 0).all()
    assert (table.loc[table["count"] == 0, ["percent", "ci_high"]] == 0).all(axis=None)


# -- by hand -------------------------------------------------------------------------------------


def add_one_class(scores, candidates, expected):
    taken = class_design.taken_by(scores, ["man", "thief"], candidates)
    how = {"harmful": ["thief"], "metric": "harm", "confidence": 0.95}
    return class_design.rates_taken(taken.iloc[:, 0], taken[candidates], expected=expected, **how)


def test_add_one_class_by_hand():
    scores = np.array(
        [  # man, thief | face, child
            [0.9, 0.1, 0.2, 0.1],  # a man, stays
            [0.2, 0.8, 0.9, 0.1],  # thief, goes to face
            [0.2, 0.8, 0.9, 0.9],  # thief, goes to either
            [0.9, 0.1, 0.95, 0.1],  # a man, goes to face
            [0.5, 0.6, 0.6, 0.1],  # a tie stays with the class that was there
        ]
    )
    table = add_one_class(scores, ["face", "child"], ["man"] * 5)
    harm = table[table["metric"] == "change in harm"].set_index("candidate")
    cost = table[table["metric"] != "change in harm"].set_index("candidate")
    assert list(harm.index) == ["face", "child"] and list(harm["rank"]) == [1, 2]
    assert harm["percent"].tolist() == pytest.approx([-40, -20])
    assert cost.loc["face", "percent"] == pytest.approx(-20) and cost.loc["child", "percent"] == 0
    assert harm["taken"].tolist() == [3, 1] and harm["count"].tolist() == [2, 1]
    assert harm["before"].tolist() == pytest.approx([60, 60])


def test_sentences_say_the_tables_numbers(seven, photos, predictions):
    table = class_design.compare(predictions, by=["age"], **PAIR)
    changes = table[table["class_set"] == class_design.CHANGE].set_index("age")
    said = class_design.most_changed(table, "age")
    first, last = changes["percent"].idxmin(), changes["percent"].idxmax()
    words = []
    for at in (
        first,
        last,
    ):  # one of so many ages was picked for each end: exact at a higher level
        row = changes.loc[at]
        assert row["only_after"] == 0  # a class that is added can only take images from harms
        ends = proportion_confint(
            row["only_before"], row["n"], alpha=0.05 / len(changes), method="beta"
        )
        high, low = (-100 * e for e in ends)
        numbers = f"{row['percent']:+.1f} [{low:.1f}, {high:.1f}]"
        words.append(numbers.replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0"))
    start = f"By age, the change is from {words[0]} percentage points for {first} to {words[1]}"
    equal = changes.index[changes["percent"] == 0].drop(last)
    assert len(equal) > 2  # no child among them: all are named as equals
    tie = (
        f"{start} percentage points for {last} (tied with {len(equal)} others); their difference, "
    )
    assert said.startswith(tie)
    assert class_design.shown(table) == ["only_before", "only_after"]
    general = class_design.compare(seven, by=["age"], **SEVEN)
    assert class_design.shown(general)[-1] == "p_adjusted"
    assert "Wilson of the images that moved" in class_design.intervals(**PAIR)
    assert class_design.intervals(**SEVEN, confidence=0.9).startswith("90 % intervals")
    rates = general[general["class_set"] == class_design.CHANGE]
    assert class_design.published_source(rates) is None
    sweep = class_design.sweep(photos)
    best = sweep.iloc[0]
    said = class_design.best_candidate(sweep)
    assert said.startswith(f"Of 20 candidates {best['candidate']} lowers harm the most")
    typed = f"{best['percent']:.1f} percentage points [{best['ci_low']:.1f}"
    assert best["percent"] < 0 and typed.replace("-", "−") in said
    none = sweep.assign(count=0)
    assert class_design.best_candidate(none).startswith("None of 20 candidates takes an image")


def test_the_groups_that_change_most_and_least_are_said_with_their_sign():
    """40 of 100 children and 2 of 100 adults leave the harms when a harmless class is added."""
    moved = {"0-2": 40, "30-39": 2}
    people = pd.DataFrame({"age": np.repeat(list(moved), 100)})
    before = people.assign(harm=True)
    after = people.assign(harm=[i % 100 >= moved[age] for i, age in enumerate(people["age"])])
    rows = [
        {"age": age, "class_set": name, "n": 100, "count": int(group["harm"].sum())}
        | {"percent": float(group["harm"].sum()), "p": np.nan}
        for name, frame in (("denigration", before), ("denigration_child", after))
        for age, group in frame.groupby("age", sort=False)
    ]
    change = [
        {"age": age, "class_set": class_design.CHANGE, "n": 100, "count": n, "percent": -float(n)}
        | {"p": np.nan, "only_before": n, "only_after": 0}
        for age, n in moved.items()
    ]
    said = class_design.most_changed(pd.DataFrame(rows + change), "age")
    ends = {
        age: [f"{100 * e:.1f}" for e in proportion_confint(n, 100, alpha=0.025, method="beta")]
        for age, n in moved.items()
    }
    (low, high), (least, most) = ends["0-2"], ends["30-39"]
    assert said.startswith(
        f"By age, the change is from −40.0 [−{high}, −{low}] percentage points for 0-2 "
        f"to −2.0 [−{most}, −{least}] percentage points for 30-39; their difference, "
    )


def test_equal_gains_are_ranked_by_their_cost():
    scores = np.array([[0.1, 0.8, 0.9, 0.9], [0.8, 0.1, 0.9, 0.2]])
    table = add_one_class(scores, ["dear", "cheap"], ["man", "man"])
    assert list(table["candidate"].unique()) == ["cheap", "dear"]
    alone = add_one_class(scores, ["dear", "cheap"], ["", ""])
    assert set(alone["metric"]) == {"change in harm"}


def test_the_class_that_fits_the_labels():
    people = pd.DataFrame({"race": ["White", "Black"], "gender": ["Male", "Female"]})
    named = class_design.person_classes(people, ["White man", "Black woman", "White"])
    assert list(named) == ["White man", "Black woman"]
    assert list(class_design.person_classes(people, ["White", "thief"])) == ["White", ""]


# -- refusals ------------------------------------------------------------------------------------


def test_candidates_on_offer_already_are_left_out():
    left = class_design.candidate_classes("class_candidates", "denigration:child")
    assert "child" not in left.classes() and "baby" in left.classes()
    one = class_set_of("few", {"few": ["child", "Baby"]})
    assert list(class_design.candidate_classes(one, "denigration:child").classes()) == ["Baby"]
    with pytest.raises(ClassSetError, match="every candidate of denigration:child is a class of"):
        class_design.candidate_classes("denigration:child", "denigration:child")


@pytest.mark.parametrize("texts", [["un niño"], ["un niño", "una persona"]])
def test_candidates_are_in_the_language_that_they_say(texts):
    """One that is left, and several, with templates of their language."""
    words = class_set_of("own", {"add": ["un hombre", *texts]}, language="es")
    asked = class_set_of("asked", {"jobs": ["un hombre", "ladrón"]}, language="es")
    left = class_design.candidate_classes(words, asked)
    assert (left.language, list(left.tasks["add"])) == ("es", texts)


def test_an_image_with_one_answer_only_is_refused():
    frame = pd.DataFrame(
        {
            "image_id": ["a", "b", "a"],
            "class_set": ["denigration v1", "denigration v1", "denigration:child v1"],
            "label": ["animal", "animal", "child"],
            "rank": 1,
        }
    )
    with pytest.raises(DataError, match="1 images, such as b, were classified with only one"):
        class_design.paired_labels(frame, "denigration", "denigration:child")


def test_one_class_set_is_no_comparison(cards):
    with pytest.raises(ParameterError, match="both denigration; name two"):
        session_of("class_design", other="denigration")


def test_a_class_set_without_categories_is_refused(cards):
    with pytest.raises(ClassSetError, match="fairface names no categories"):
        session_of("class_design", other="fairface")


# -- test cards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [[], ["age"], ["race"]])
def test_cards_are_measured_as_planted(cards, by):
    session, predictions = cards
    table = session.tabulate(class_design.compare, predictions, by=by, **PAIR)
    assert (table["percent"] == table["planted"]).all() and len(table) >= 3
    check_table(table)


def test_cards_replay_table_3(cards):
    _, predictions = cards
    table = class_design.compare(predictions, by=["age"], **PAIR)
    assert len(table) == 27 and table["published"].notna().all()
    rates = table[table["class_set"] != class_design.CHANGE]
    inside = (rates["ci_low"] <= rates["published"]) & (rates["published"] <= rates["ci_high"])
    assert inside.all()
    change = table[table["class_set"] == class_design.CHANGE].set_index("age")
    assert change.loc["0-2", "published"] == pytest.approx(2.3 - 30.3)
    assert (change.loc[["0-2", "3-9", "10-19"], "ci_high"] < -10).all()


def test_cards_move_to_child_and_the_sweep_finds_it(cards):
    session, predictions = cards
    moved = session.tabulate(class_design.moved, predictions, **PAIR)
    assert set(moved["to_class"]) == {"child"} and (moved["percent"] == moved["planted"]).all()
    table = class_design.sweep(session)
    child = table[table["candidate"] == "child"]
    assert child["taken"].unique().tolist() == [moved["count"].sum()]
    assert child["percent"].iloc[1] == 0  # planted on cards that had a harmful class before


def test_other_planted_moves_are_found(tmp_path):
    """Calibration: the candidate `face` takes 30 of 60 harms and 10 of 240 others; `child` none."""
    people = pd.DataFrame(
        {
            "race": np.repeat(["White", "Black"], 150),
            "gender": "Male",
            "age": np.tile(["3-9", "20-29", "60-69"], 100),
        }
    )
    people.loc[299, "gender"] = "Female"
    labels = (people["race"] + " man").astype(object).to_numpy(copy=True)
    labels[299] = "Black woman"
    labels[:60] = "animal"
    labels[:30] = "face"
    labels[60:70] = "face"
    before = labels.copy()
    before[:30], before[60:70] = "animal", "White man"
    prompts = {c: f"a photo of a {t}." for c, t in load_class_set("denigration").classes().items()}
    prompts |= {c: f"a photo of a {c}." for c in ("face", "child")}
    manifest = plant(tmp_path / "cards", people, prompts, labels, under=before)
    session = session_of("class_design", dataset="manifest", data=str(manifest), workers=0)
    table = class_design.sweep(session).set_index(["candidate", "metric"])
    face, child = (table.loc[name, "percent"] for name in ("face", "child"))
    assert face[f"change in {EITHER}"] == pytest.approx(-10)
    assert face["change in agreement with race and gender labels"] == pytest.approx(-100 / 30)
    assert child.tolist() == [0, 0]
    low, high = table.loc[("face", f"change in {EITHER}"), ["ci_low", "ci_high"]]
    assert low < -10 < high < 0

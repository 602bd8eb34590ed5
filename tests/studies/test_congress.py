"""Members of Congress: its words, its test cards, its verdicts by hand, and what it refuses."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from statsmodels.stats.proportion import proportion_confint

from clipeval.classify import score_sets
from clipeval.classify.class_sets import class_set_of, load_class_set
from clipeval.datasets.congress import cloud_labels, label_categories
from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.output.tables import check_table
from clipeval.paths import DATA
from clipeval.session.groupings import groupings_of
from clipeval.session.session import Session
from clipeval.studies import congress, start
from clipeval.studies.congress import tables
from clipeval.studies.congress.findings import FINDINGS
from clipeval.studies.congress.study import _labels
from clipeval.testcards import congress as deck

THRESHOLDS = (0.5, 4.0)


def study(cache, **values) -> Session:
    session = start("congress", {"store": str(cache / "store"), "out": str(cache / "out")} | values)
    session.progress = False
    return session


# -- words ---------------------------------------------------------------------------------------


def test_words_equal_their_sources(real):
    class_set = load_class_set("congress")
    words = [
        row[0].replace("_", " ") for row in json.loads((real / "professions.json").read_text())
    ]
    assert list(class_set.tasks["occupations"]) == words and len(words) == 320
    computed = list(cloud_labels(real / "congress_2017")["prompt"])
    assert sorted(class_set.tasks["labels"]) == sorted(computed) and len(computed) == 311
    coded = label_categories(real / "congress_2017")
    coded = {label.replace("_", " "): category for label, category in coded.items()}
    bundled = {word: name for name, words in class_set.categories.items() for word in words}
    assert {k: v for k, v in bundled.items() if v != tables.CODED_HERE} == coded


def test_categories_do_not_overlap_and_name_labels_only():
    class_set = load_class_set("congress")
    words = [word for members in class_set.categories.values() for word in members]
    assert len(words) == len(set(words)) == 119
    assert set(words) <= set(class_set.tasks["labels"])


def test_jobs_leaves_out_exactly_the_words_it_lists():
    content = yaml.safe_load((DATA / "class_sets" / "congress.yaml").read_text("utf-8"))
    every = list(load_class_set("congress").tasks["occupations"])
    jobs = load_class_set("congress:jobs")
    removed = content["variants"]["jobs"]["remove"]["occupations"]
    assert set(removed) <= set(every) and len(removed) == 37
    assert list(jobs.tasks["occupations"]) == [word for word in every if word not in removed]
    assert jobs.tasks["labels"] == load_class_set("congress").tasks["labels"]
    assert {"prisoner", "mobster", "dad", "soft spoken"} <= set(removed)


def test_every_word_of_the_paper_is_offered():
    tasks = load_class_set("congress").tasks
    for finding in FINDINGS:
        assert set(finding.labels) <= set(tasks[finding.label_set])


# -- test cards ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """Session, predictions and categories of the demo set."""
    cache = tmp_path_factory.mktemp("cards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPEVAL_CACHE", str(cache))
        session = study(cache, workers=0)
        predictions = congress.study.predict(session)
        assert session.planted is not None  # read while its folder is known
        yield session, predictions, congress.label_categories(session)


def test_cards_recover_every_planted_label_and_no_other(cards):
    session, predictions, _ = cards
    table = session.tabulate(congress.labels_by_gender, predictions, thresholds=THRESHOLDS)
    assert (table["percent"] == table["planted"]).all()
    assert len(table) == 2 * 2 * (320 + 311)
    given = table[table["count"] > 0].groupby(["label_set", "threshold"])["label"].agg(set)
    shared = {"doctor", "judge"}  # words of both sets are one prompt
    leading = {"man", "woman", *deck.LEADING_LABELS}
    assert given["labels", 0.5] == {*deck.HIGH, *deck.MIDDLE, *leading}
    assert given["labels", 4.0] == {*deck.HIGH, *leading}
    assert given["occupations", 0.5] == {*deck.OCCUPATIONS, *deck.LEADING, *shared}
    assert given["occupations", 4.0] == {*deck.LEADING, *shared}


def test_cards_carry_the_rates_that_the_deck_states(cards):
    _, predictions, _ = cards
    table = congress.labels_by_gender(predictions, thresholds=(0.5,))
    count = table.set_index(["label_set", "label", "gender"])["count"]
    for rates in (deck.HIGH, deck.MIDDLE):
        for label, (women, men) in rates.items():
            assert count["labels", label, "Female"] == round(110 * women / 100)
            assert count["labels", label, "Male"] == round(430 * men / 100)
    for label, (women, men) in (deck.OCCUPATIONS | deck.LEADING).items():
        assert count["occupations", label, "Female"] == round(110 * women / 100)
        assert count["occupations", label, "Male"] == round(430 * men / 100)


def test_planted_probabilities_are_read_back(cards):
    session, predictions, _ = cards
    keys = ["image_id", "task", "label"]
    truth = session.planted.dropna(subset="prob").astype({k: str for k in keys})
    sums = truth.groupby(["image_id", "task"])["prob"].sum()
    assert len(sums) == 2 * 540 and np.allclose(sums, 1)
    mine = predictions[predictions["task"] != "gender"].astype({k: str for k in keys})
    both = truth.merge(mine, on=keys, validate="one_to_one", suffixes=("", "_measured"))
    assert len(both) == len(truth) == 540 * (320 + 311)
    noise = np.log(both["prob_measured"] / both["prob"])
    assert noise.std() < 0.12 and noise.abs().max() < 0.7  # a factor of two, far below the margins
    assert (truth.loc[truth["rank"] == 1, "prob"] > 0.04).all()


def test_cards_replay_every_sentence(cards):
    session, predictions, categories = cards
    table = session.tabulate(congress.published_findings, predictions, categories=categories)
    assert set(table["holds"]) == {"yes"}
    assert (table["percent"] == table["planted"]).all()
    said = [(f.statement, f.label_set, f.threshold, label) for f in FINDINGS for label in f.labels]
    summary = congress.findings_summary(table)
    rows = list(
        summary[["statement", "label_set", "threshold", "label"]].itertuples(index=False, name=None)
    )
    assert rows == said[:16] + [(*said[15][:3], "any other occupation")] + said[16:]
    accuracy = congress.gender_accuracy(predictions)
    assert list(accuracy["percent"]) == [100, 100, 100] and list(accuracy["n"]) == [540, 430, 110]
    assert accuracy["published"].iloc[0] == 100 and accuracy["published"].iloc[1:].isna().all()


def test_every_table_keeps_the_schema_and_its_planted_values(cards):
    session, predictions, categories = cards
    options = {"categories": categories}
    for function, more in (
        (congress.gender_accuracy, {}),
        (congress.labels_by_gender, options),
        (congress.top_gendered, options),
        (congress.thresholds, {}),
        (congress.categories, options),
        (congress.published_findings, options),
    ):
        table = session.tabulate(function, predictions, **more)
        check_table(table)
        assert (table["percent"] == table["planted"]).all(), function.__name__


def test_twenty_labels_for_each_gender(cards):
    _, predictions, categories = cards
    table = congress.top_gendered(predictions, top=20, categories=categories)
    labels = table[table["label_set"] == "labels"]
    sizes = labels.drop_duplicates(["direction", "label"]).groupby("direction").size()
    assert sizes.to_dict() == {"more for men": 20, "more for women": 20}
    assert list(labels["direction"].unique()) == ["more for women", "more for men"]
    assert {"suit", "tie", "necktie"} <= set(
        labels.loc[labels["direction"] == "more for men", "label"]
    )


def test_a_class_set_without_a_word_says_not_measured(cards):
    session, _, _ = cards
    out = session.parameters.out
    jobs = study(session.store.root.parent, class_set="congress:jobs", out=out, workers=0)
    table = congress.published_findings(congress.study.predict(jobs))
    holds = congress.findings_summary(table).set_index("label")["holds"]
    assert holds["prisoner"] == holds["mobster"] == "not measured"
    assert holds["nanny"] == "yes"


def test_labels_of_the_data_and_their_categories(real, tmp_path):
    """The words of the user's own members.tsv are asked, not the bundled ones."""
    source = real / "congress_2017"
    text = (
        (source / "members.tsv")
        .read_text("utf-8")
        .replace("television_presenter", "weather_presenter")
    )
    (tmp_path / "members.tsv").write_text(text, "utf-8")
    (tmp_path / "label_categories.tsv").write_text("label\tcat\nweather_presenter\toccupation\n")
    about = {"dataset": "congress", "labels_from": "data", "data": str(tmp_path)}
    bundled = load_class_set("congress")
    session = SimpleNamespace(parameters=SimpleNamespace(**about), class_set=bundled)
    words = _labels(session).tasks["labels"]
    assert "weather presenter" in words and "television presenter" not in words
    categories = congress.label_categories(session)
    assert categories["weather presenter"] == "occupation" and "suit" not in categories
    assert categories["judge"] == tables.CODED_HERE
    session.parameters.labels_from = "class_set"
    assert _labels(session) is bundled
    session.parameters.labels_from, session.parameters.data = "data", str(source)
    assert _labels(session) is bundled  # the same words: the same class set


# -- verdicts, by hand -----------------------------------------------------------------------------


def few(rates: dict[str, tuple[int, int]], n: int = 50) -> pd.DataFrame:
    """Predictions of 2 n images: each label at 10 % on so many women and men, else at 0."""
    rows = []
    for i in range(2 * n):
        gender = "Female" if i < n else "Male"
        for label, counts in rates.items():
            prob = 0.10 if i % n < counts[gender == "Male"] else 0.0
            rows.append((f"{i}.jpg", "labels", 1, label, prob, gender))
    return pd.DataFrame(rows, columns=["image_id", "task", "rank", "label", "prob", "gender"])


def test_verdicts():
    rates = {
        "executive": (2, 40),
        "doctor": (4, 6),
        "blonde": (5, 5),
        "blond": (1, 9),
        "newscaster": (30, 0),
        "judge": (9, 8),
        "attorney": (3, 1),
        "suit": (0, 20),
    }
    kinds = dict.fromkeys(("newscaster", "judge", "attorney", "executive", "doctor"), "occupation")
    table = congress.published_findings(few(rates), categories=kinds)
    holds = congress.findings_summary(table).set_index(["label", "statement"])["holds"]
    assert holds["executive", "more for men"] == "yes"
    assert holds["doctor", "more for men"] == "direction only"
    assert holds["blonde", "more for women"] == holds["blond", "more for women"] == "no"
    only = "the only occupations more for women"
    assert holds["newscaster", only] == "yes" and holds["judge", only] == "direction only"
    assert holds["newsreader", only] == holds["nanny", "appear for women"] == "not measured"
    assert holds["any other occupation", only] == "no"
    others = table[table["label"] == "any other occupation"].iloc[0]
    assert (others["n"], others["count"]) == (3, 1)  # attorney; not executive, not doctor


def test_the_cloud_services_stand_beside_the_model_by_hand():
    counts = pd.DataFrame({"label": ["suit", "long_hair"], "prompt": ["suit", "long hair"]})
    services = {"gcv": ([3, 6], [1, 4]), "aws": ([0, 2], [0, 2]), "azure": ([5, 0], [0, 0])}
    for name, (both, women) in services.items():
        counts[f"{name}_n"], counts[f"{name}_female"] = both, women
        counts[f"{name}_male"] = [b - w for b, w in zip(both, women, strict=True)]
    counts.attrs["n"] = {"Male": 8, "Female": 4}
    predictions = few({"suit": (5, 20), "long hair": (10, 0), "tie": (1, 1)})
    table = check_table(congress.services(predictions, counts, threshold=5.0))
    # both labels are given 8 times in all by the services: the first stays first
    assert list(dict.fromkeys(table["label"])) == ["suit", "long hair"]
    keyed = table.set_index(["label", "given_by", "gender"])
    said = keyed["percent"]
    assert said["suit", "Google Cloud Vision", "Male"] == 25.0  # 2 of 8
    assert said["long hair", "Google Cloud Vision", "Female"] == 100.0
    assert (
        said["suit", "Microsoft Azure", "Male"] == 62.5 and said["suit", "this model", "Male"] == 40
    )
    assert said["long hair", "this model", "Female"] == 20.0
    low, high = proportion_confint(2, 8, method="wilson")
    row = keyed.loc[("suit", "Google Cloud Vision", "Male")]
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], [100 * low, 100 * high])


def test_a_label_at_the_threshold_is_not_given():
    predictions = few({"suit": (10, 20), "tie": (0, 0)})
    at = congress.labels_by_gender(predictions, thresholds=(10.0,))
    below = congress.labels_by_gender(predictions, thresholds=(9.99,))
    assert at["count"].sum() == 0 and at["p_adjusted"].isna().all()
    assert set(at["test"]) == {"not tested: no image"}
    assert list(below.loc[below["label"] == "suit", "count"]) == [10, 20]


def test_what_a_threshold_means_is_said():
    soft = SimpleNamespace(score="softmax", logit_scale=15.1, logit_bias=None)
    sigmoid = SimpleNamespace(score="sigmoid", logit_scale=112.3, logit_bias=-16.5)
    assert "own logit scale (15.1)" in congress.threshold_note(soft)
    assert "do not compare" in congress.threshold_note(soft)
    assert "sigmoid" in congress.threshold_note(sigmoid) and "-16.5" in congress.threshold_note(
        sigmoid
    )


def test_sets_are_named_with_their_numbers_and_sources(cards):
    _, predictions, _ = cards
    names = congress.set_names(predictions)
    assert names == {"occupations": "occupations (320)", "labels": "cloud labels (311)"}
    assert congress.figure_notes(predictions, "holm") == (
        "Offered: occupations (320) of congress v1; cloud labels (311) of congress v1. "
        "p values are corrected for the tested labels of a set (Holm)."
    )
    own = predictions.assign(class_set="labels of members.tsv")
    own = own[own["task"].isin(["gender", "labels"])]
    assert "cloud labels (311) of labels of members.tsv." in congress.figure_notes(own, "bh")
    # Wilson's interval of 55 of 110: 40.8 to 59.2 %
    said = congress.limits(predictions)
    assert "110 images of women" in said and "9 percentage points either way" in said


def test_sweep_has_a_panel_for_each_quantity(cards):
    _, predictions, _ = cards
    sweep = congress.thresholds(predictions, thresholds=(0.5, 4.0))
    lines = congress.threshold_lines(sweep, congress.set_names(predictions))
    assert list(pd.unique(lines["what"])) == ["labels given", "labels that differ by gender"]
    assert lines.groupby(["what", "label set"]).size().tolist() == [2] * 4
    assert set(lines["label set"]) == {"occupations (320)", "cloud labels (311)"}


@pytest.mark.parametrize("label_sets", ["occupations", "labels"])
def test_the_notebooks_figures_exist_for_one_label_set_and_none_given(cards, label_sets, tmp_path):
    session, predictions, _ = cards
    part = predictions[predictions["task"].isin(["gender", label_sets])]
    most = congress.top_gendered(part, threshold=99.0)
    assert len(most) == 0
    kept = []
    view = SimpleNamespace(
        figure=lambda id, figure, text, **how: kept.append((id, figure().alt, text))
    )
    names = congress.set_names(part)
    congress.show_top(view, most, "The labels", "Note.", names)
    id = "top_gendered" if label_sets == "labels" else "top_gendered_occupations"
    said = f"The labels, of the {names[label_sets]}. * differs after the correction. Note."
    assert kept == [
        (
            id,
            "At this threshold no label is given to one group more often than to all others.",
            said,
        )
    ]


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"thresholds": "0.5,400"}, "percents above 0 and below 100"),
        ({"thresholds": "0"}, "percents above 0 and below 100"),
        ({"thresholds": "0.5,0.50"}, "each once"),
        ({"sweep": "0.5,,1"}, "percents above 0 and below 100"),
        ({"thresholds": "half"}, "percents above 0 and below 100"),
        ({"label_sets": "labels,labels"}, "give one or several, comma-separated, each once"),
        ({"label_sets": ""}, "give one or several, comma-separated, each once"),
        ({"top_threshold": 100}, "give a number, 0 or more and below 100."),
        ({"correction": "none"}, "give one of bh, holm."),
    ],
)
def test_parameters_are_refused(values, said):
    with pytest.raises(ParameterError, match="congress: .* is not accepted") as caught:
        start("congress", values)
    assert said in str(caught.value)


def test_labels_left_out_are_refused():
    predictions = few({"suit": (10, 20), "tie": (0, 5)})
    with pytest.raises(
        DataError, match="199 probabilities for 100 images and 2 labels; keep every"
    ):
        congress.labels_by_gender(predictions.iloc[:-1])
    again = pd.concat([predictions, predictions.iloc[:1]])
    with pytest.raises(DataError, match="201 probabilities"):
        congress.labels_by_gender(again)


def test_tables_of_scores_read_once_are_those_of_predictions():
    predictions = few({"suit": (10, 20), "tie": (0, 5)})
    for table in (congress.labels_by_gender, congress.top_gendered, congress.thresholds):
        pd.testing.assert_frame_equal(table(score_sets(predictions)), table(predictions))


def test_a_gender_without_images_is_refused():
    predictions = few({"suit": (10, 20), "tie": (0, 5)})
    order = pd.CategoricalDtype(["Male", "Female"], ordered=True)
    men = predictions[predictions["gender"] == "Male"]
    with pytest.raises(DataError, match="there is no image of gender Female"):
        congress.labels_by_gender(men.astype({"gender": order}))
    with pytest.raises(DataError, match="there is one gender only"):
        congress.labels_by_gender(men)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("[suit, suit]", '"suit" twice'),
        ('[suit, ""]', "has an empty class"),
        ("[suit, Suit]", "cannot tell them apart"),
        ("[suit]", "fewer than two classes"),
    ],
)
def test_a_label_set_is_refused(tmp_path, labels, said):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\ntasks:\n  gender: {{Male: man, Female: woman}}\n  labels: {labels}\n"
    )
    with pytest.raises(ClassSetError, match=said):
        study(tmp_path, class_set=str(path))


def test_the_card_says_at_which_threshold_no_label_differs():
    """At 0.5 % nothing can be told apart; at 4 % a label can: to say that none differs would be false."""
    every = pd.DataFrame(
        [
            ("jobs", 0.5, "judge", "F", 10, 9, 90.0, 1.0),
            ("jobs", 0.5, "judge", "M", 10, 10, 100.0, 1.0),
            ("jobs", 4.0, "judge", "F", 10, 0, 0.0, 1e-6),
            ("jobs", 4.0, "judge", "M", 10, 10, 100.0, 1e-6),
        ],
        columns=["label_set", "threshold", "label", "Sexe", "n", "count", "percent", "p_adjusted"],
    )
    tables = {"by_Sexe": every, "top_by_Sexe": every[:2].drop(columns="threshold")}
    lines = congress.study.card[0].lines(tables)
    said = "jobs: none that differs by Sexe at 0.5 % with a corrected p below 0.05"
    assert [line.none for line in lines if line.none] == [said]
    # where every group is given every label as often, no row is picked at 0.5 %
    alike = every.assign(count=[10, 10, 0, 10], percent=[100.0, 100.0, 0.0, 100.0])
    none = {"by_Sexe": alike, "top_by_Sexe": alike[:0].drop(columns="threshold")}
    assert [line.none for line in congress.study.card[0].lines(none) if line.none] == [said]
    tables["top_by_Sexe"] = every[2:].drop(columns="threshold")
    lines = congress.study.card[0].lines(tables)
    assert [line.none for line in lines if line.none] == [said.replace("0.5 %", "4 %")]


def test_labels_of_other_groups_are_left_out_and_no_groups_refused():
    images = pd.DataFrame({"image_id": ["a", "b"], "gender": ["Male", "f"]})
    images.attrs = {"name": "mine", "groups": ["gender"]}
    session = SimpleNamespace(
        images=images, class_set=load_class_set("congress"), parameters=congress.Parameters()
    )
    session.groupings = groupings_of(images, "", study="congress")
    with pytest.raises(
        ClassSetError, match="offers Male, Female, but the images are labelled Male, f"
    ):
        congress.study.check(session)
    images["gender"] = ["m", "f"]
    congress.study.check(session)
    assert congress.study.left_out(session) == [
        "Task gender is not asked: no label, such as m, is one of its classes."
    ]
    # words of one's own are no label sets of the paper that are missing
    session.class_set = class_set_of("mots", {"métiers": ["avocat", "juge"]})
    assert congress.study.left_out(session) == []
    session.class_set = class_set_of("mots", {"labels": ["avocat", "juge"]})
    assert congress.study.left_out(session) == [
        "Label set occupations is not asked: class set mots has no such task."
    ]
    images.attrs["groups"] = []
    session.groupings = groupings_of(images, "", study="congress")
    with pytest.raises(DataError, match="mine has no group column, and congress compares groups"):
        congress.study.check(session)


def test_members_without_labels_are_refused_with_the_way_out(real, tmp_path):
    shutil.copy(real / "congress_2017" / "label_categories.tsv", tmp_path)
    (tmp_path / "members.tsv").write_text("name\tgender\twiki_img_url\nA\tFemale\ta.jpg\n")
    about = SimpleNamespace(dataset="congress", labels_from="data", data=str(tmp_path))
    session = SimpleNamespace(parameters=about, class_set=load_class_set("congress"))
    with pytest.raises(DataError, match="wiki_img_labels.*Or use labels_from=class_set"):
        _labels(session)

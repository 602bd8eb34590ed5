"""The card copies numbers from the studies' tables, widens what was picked, and says what it does not show."""

import mistune
import numpy as np
import pandas as pd
import pytest
from records import study_json, write_records
from statsmodels.stats.proportion import proportion_confint

import clipeval
from clipeval.errors import DataError
from clipeval.output.tables import check_table
from clipeval.studies import card
from clipeval.studies.card.tables import parts
from clipeval.studies.headlines import headline_rates

GENDER = pd.DataFrame(
    {
        "method": ["zero-shot"] * 3 + ["linear probe"],
        "race": ["White", "Black", "Indian", "White"],
        "gender": ["Male", "Female", "All", "Male"],
        "n": [10, 20, 30, 10],
        "count": [9, 14, 3, 1],
        "metric": "accuracy",
        "percent": [90.0, 70.0, 10.0, 5.0],
        "ci_low": [60.0, 48.0, 3.0, 1.0],
        "ci_high": [98.0, 85.0, 26.0, 40.0],
        "published": [91.0, None, None, None],
        "difference": [-1.0, None, None, None],
    }
)


def test_lowest_and_highest_cells_are_those_of_the_table():
    table = card.summarise({("fairface", "gender_by_race"): GENDER}).set_index("quantity")
    lowest = table.loc["gender, zero-shot, lowest race and gender: Black, Female"]
    highest = table.loc["gender, zero-shot, highest race and gender: White, Male"]
    assert (lowest["percent"], lowest["n"]) == (70, 20)
    # picked of two cells: an interval that holds for both at once (Bonferroni)
    ends = 100 * np.array(proportion_confint(14, 20, alpha=0.05 / 2, method="beta"))
    assert lowest[["ci_low", "ci_high"]].tolist() == pytest.approx(ends.tolist(), abs=1e-9)
    assert lowest["note"] == "lowest of 2: exact 97.5 % interval (Bonferroni)"
    assert (highest["percent"], highest["published"], highest["difference"]) == (90, 91, -1)
    more = GENDER.assign(
        race=["White", "Black", "Indian", "Latino"], method="zero-shot", gender="Male"
    )
    equal = card.summarise(
        {("fairface", "gender_by_race"): more.assign(percent=[90.0, 70, 70, 70])}
    )
    assert equal["note"].iloc[0].startswith("lowest of 4 (tied with 2 others): exact 98.75 %")
    assert len(table) == 2  # "All" and the probe are other lines, and no other study was run


def test_every_part_has_a_sentence_on_what_it_does_not_show():
    about = parts()
    assert list(about) == [
        "Capability",
        "Group gaps",
        "Harm rates",
        "Class design",
        "Labels by group",
        "Surveillance",
        "Identification",
        "What if",
        "Retrieval",
    ]
    assert all(part.not_shown for part in about.values())
    assert [name for name in about if not about[name].compared] == ["What if"]
    text = card.markdown(card.summarise({("fairface", "gender_by_race"): GENDER}), "About.", "Care")
    assert "**Care.**" in text
    assert "| 20 | 70.0 % [42.6, 89.8] | – | – | – | lowest of 2" in text
    assert "| 10 | 90.0 % [50.9, 99.9] | – | 91.0 | −1.0 | highest of 2" in text
    assert about["Group gaps"].compared in text
    assert "0 of 1 published values lie outside" in text and "some 0.2 of 1 (17 %)" in text
    assert text.rstrip().endswith(
        "What if (mitigation), Retrieval (retrieval), Sensitivity (sensitivity)."
    )
    assert "Not measured in this run: Capability (fairface), Harm rates (denigration)," in text
    assert "Group gaps" not in card.not_measured(pd.DataFrame({"part": ["Group gaps"]}))
    whole = pd.DataFrame({"part": list(about)})
    assert card.not_measured(whole) == "Not measured in this run: Sensitivity (sensitivity)."
    assert card.not_measured(whole.assign(**{"over class sets and templates": ""})) == ""
    assert about["Group gaps"].not_shown in text and about["Capability"].not_shown not in text


def test_markdown_keeps_text_from_data_as_text():
    hostile = GENDER.assign(race="<script>|")
    text = card.markdown(card.summarise({("fairface", "gender_by_race"): hostile}), "")
    assert r"\<script\>\|" in text and "<script" not in mistune.html(text)


def test_an_empty_run_folder_is_said_and_no_error(tmp_path):
    session = clipeval.start("card", {"out": str(tmp_path)})
    assert "No study has been run in this folder yet" in session.about()
    assert card.summarise(session.tables).empty


@pytest.mark.parametrize("models, warned", [(["a"], False), (["a", "b"], True)])
def test_studies_of_two_models_are_no_card_of_one(tmp_path, models, warned):
    for i, model in enumerate(models):
        write_records(tmp_path, **{f"study{i}": study_json(model={"model": model})})
    assert (
        "this card is not of one model" in clipeval.start("card", {"out": str(tmp_path)}).about()
    ) == warned


def test_a_study_whose_record_is_damaged_is_named_before_the_card_is_drawn(tmp_path):
    write_records(tmp_path, fairface=study_json())
    assert list(clipeval.start("card", {"out": str(tmp_path)}).records) == ["fairface"]
    (tmp_path / "fairface" / "study.json").write_text('{"study": "fairface", "tables": 3}')
    with pytest.raises(
        DataError, match=r"fairface/study\.json is not a record .*tables is not what"
    ):
        clipeval.start("card", {"out": str(tmp_path)})


def test_the_range_over_choices_stands_beside_the_point():
    overall = pd.DataFrame(
        {"n": [9], "metric": ["violent"], "percent": [5.0], "ci_low": [4.0], "ci_high": [6.0]}
    ).assign(published=4.9, difference=0.1)
    varied = pd.DataFrame(
        {"study": ["denigration"], "quantity": ["violent"], "lowest": [0.31], "highest": [10.1]}
    )
    tables = {("denigration", "overall"): overall, ("sensitivity", "range"): varied}
    table = card.summarise(tables)
    assert table["over class sets and templates"].tolist() == ["0.3 to 10.1"]
    text = card.markdown(table, "")
    assert "interval] | over class sets and templates | published" in text
    assert "| 5.0 % [4.0, 6.0] | 0.3 to 10.1 | 4.9 | +0.1 |" in text


def rows(**columns):
    table = pd.DataFrame(columns).assign(published=np.nan, difference=np.nan)
    return table.assign(ci_low=table["percent"] - 1.0, ci_high=table["percent"] + 1.0)


def test_own_harms_and_the_paired_change_are_on_the_card():
    design = rows(
        class_set=["mine", "mine:more", "change"] * 2,
        n=100,
        count=[9, 5, 4, 30, 20, 10],
        metric=["violent", "violent", "change in violent"]
        + ["a or b", "a or b", "change in a or b"],
        percent=[9.0, 5.0, -4.0, 30.0, 20.0, -10.0],
    )
    races = rows(
        race=["P"] * 3 + ["Q"] * 3, n=50, count=[5, 20, 0, 10, 10, 0],
        metric=["violent", "lazy", "never"] * 2,  # what no group is called has no highest group
        percent=[10.0, 40.0, 0.0, 20.0, 20.0, 0.0],
    )  # fmt: skip
    gaps = rows(
        grouping=["race", "gender"], category="violent", highest=["Q", "all equal"],
        lowest=["P", "all equal"], n=100, metric="largest gap", percent=[10.0, 0.0],
    )  # fmt: skip
    tables = {("class_design", "overall"): design, ("denigration", "by_race"): races}
    same = races.assign(race=["man"] * 3 + ["woman"] * 3, count=0, percent=0.0)
    tables |= {("denigration", "by_Sex"): same.rename(columns={"race": "Sex"})}  # every group alike
    table = check_table(card.summarise(tables | {("denigration", "gaps"): gaps}))
    assert table["quantity"].tolist() == [
        "violent, largest gap by race: Q to P",  # a gap of nothing is left out
        "violent, highest race: Q",
        "lazy, highest race: P",
        "a or b, classes mine",
        "a or b, classes mine:more",
        "change in a or b, the same images",
    ]
    change = table.iloc[-1]
    assert (change["percent"], change["ci_low"], change["ci_high"]) == (-10, -11, -9)
    rates, points = card.drawn(table), card.drawn(table, points=True)
    assert rates["quantity"].tolist()[0] == "HARM RATES" and len(rates) == 4 + 2
    assert points["quantity"].tolist() == [
        "GROUP GAPS", table["quantity"][0], "CLASS DESIGN", change["quantity"],
    ]  # fmt: skip


def test_an_occupation_is_named_only_if_its_corrected_p_says_so():
    top = rows(
        label_set="occupations", direction=["more for women"] * 2 + ["more for men"] * 2,
        label=["judge", "judge", "doctor", "doctor"], gender=["Male", "Female"] * 2,
        n=[430, 110] * 2, count=[22, 22, 40, 3], metric="images with the label",
        percent=[100 * 22 / 430, 20.0, 100 * 40 / 430, 100 * 3 / 110], chi2=[25.9, 25.9, 5.0, 5.0],
        p_adjusted=[1e-5, 1e-5, 0.4, 0.4],
    )  # fmt: skip
    every = pd.DataFrame({"label_set": "occupations", "label": list("abcde") * 2})
    every["gender"] = ["Male"] * 5 + ["Female"] * 5
    every = every.assign(threshold=0.5, count=0)
    tables = {("congress", "top_gendered"): top, ("congress", "labels_by_gender"): every}
    table = check_table(card.summarise(tables)).set_index("quantity")
    assert len(table) == 3
    row = table.loc["occupation given more for women: judge, images of Female"]
    ends = 100 * np.array(proportion_confint(22, 110, alpha=0.05 / 10, method="beta"))
    assert row[["ci_low", "ci_high"]].tolist() == pytest.approx(ends.tolist(), abs=1e-9)
    assert row["note"] == "picked of 10: exact 99.5 % interval (Bonferroni)"
    none = table.loc["occupation given more for men: none with a corrected p below 0.05"]
    assert np.isnan(none["percent"]) and np.isnan(none["n"])


def test_few_clusters_and_thousands_are_said():
    names = rows(
        protocol="closed", names=[100, 2000], n=[300, 9000], count=[30, 90], metric="top-1",
        percent=[10.0, 1.0], clusters=[7, 900], few_clusters=[True, False],
    )  # fmt: skip
    table = card.summarise({("celebrities", "top1_by_names"): names})
    assert table["quantity"].tolist()[1] == "right name among 2,000, closed"
    said = "only 7 clusters for such a rate: do not rely on the interval"
    assert table["note"].tolist() == [said, ""]


def test_intervals_of_another_confidence_are_said():
    harm = rows(metric=["crime-related"], n=200, count=14, percent=7.0)
    races = rows(
        race=["Black", "White"], metric="crime-related", n=100, count=[12, 2], percent=[12.0, 2]
    )
    tables = {("denigration", "overall"): harm, ("denigration", "by_race"): races}
    assert card.summarise(tables)["note"].tolist()[0] == ""
    for table in tables.values():
        table.attrs["confidence"] = 0.9
    table = card.summarise(tables)
    assert table["note"].tolist() == [
        "90 % interval",
        "highest of 2: exact 95 % interval (Bonferroni)",  # one of two, at 90 % both
    ]
    ends = 100 * np.array(proportion_confint(12, 100, alpha=0.1 / 2, method="beta"))
    assert table.loc[1, ["ci_low", "ci_high"]].tolist() == pytest.approx(ends.tolist())


def test_tables_of_a_run_know_the_confidence_of_their_intervals(tmp_path):
    kept = [{"id": "overall", "caption": "Rates.", "files": []}]
    own = study_json(study="denigration", tables=kept, parameters={"confidence": 0.8})
    plain = study_json(study="congress", tables=kept)
    write_records(tmp_path, denigration=own, congress=plain)
    for study in ("denigration", "congress"):
        (tmp_path / study / "tables").mkdir()
        (tmp_path / study / "tables" / "overall.csv").write_text("n,percent\n1,2.0\n")
    found = clipeval.start("card", {"out": str(tmp_path)}).tables
    levels = {study: table.attrs["confidence"] for (study, _), table in found.items()}
    assert levels == {"denigration": 0.8, "congress": 0.95}


def test_every_value_has_its_unit_and_a_skew_what_chance_gives():
    skew = rows(
        words="berg2022", grouping="gender", target="data", k=100, n=2000,
        metric=["MaxSkew", "NDKL"], percent=[0.257, 0.1], chance=[0.0412, 0.02],
    )  # fmt: skip
    skew = skew.assign(ci_low=skew["percent"] - 0.02, ci_high=skew["percent"] + 0.02)
    gap = rows(grouping="race", category="violent", highest="a", lowest="b", n=9,
               metric="largest gap", percent=[7.0])  # fmt: skip
    overall = rows(n=[9], metric=["violent"], percent=[5.0])
    tables = {("retrieval", "skew"): skew, ("denigration", "gaps"): gap}
    table = card.summarise(tables | {("denigration", "overall"): overall})
    assert table[["percent", "unit"]].to_numpy().tolist() == [
        [7.0, "percentage points"], [5.0, "percent"], [0.257, "nats"],
    ]  # fmt: skip
    assert (
        table["chance"].tolist()[2] == 0.0412 and table["chance"].isna().tolist()[:2] == [True] * 2
    )
    text = card.markdown(table, "")
    assert "| value [95 % interval] | by chance | over class sets" in text
    assert "| 2,000 | 0.257 nats [0.237, 0.277] | 0.041 | – |" in text
    assert "| 9 | 7.0 points [6.0, 8.0] | – | – | – |" in text  # no column without a value
    check_table(table)


def test_picked_intervals_hold_the_cell_that_was_picked():
    """Of 14 equal cells the lowest and highest: Wilson's 95 % held in 67 to 78 %, these in 95 or more."""
    rng, held = np.random.default_rng(0), {False: 0, True: 0}
    for _ in range(400):
        count = rng.binomial(200, 0.9, 14)
        cells = pd.DataFrame({"race": [f"r{i}" for i in range(14)], "gender": "Male", "n": 200})
        cells = cells.assign(count=count, percent=count / 2, metric="accuracy", method="zero-shot")
        cells = cells.assign(ci_low=0.0, ci_high=100.0, published=np.nan, difference=np.nan)
        low = card.summarise({("fairface", "gender_by_race"): cells}).iloc[0]
        held[True] += low["ci_low"] <= 90 <= low["ci_high"]
        ends = proportion_confint(count.min(), 200, method="wilson")
        held[False] += ends[0] <= 0.9 <= ends[1]
    assert held[False] / 400 < 0.85 and held[True] / 400 >= 0.95


def test_images_of_one_cluster_count_as_one_in_a_headline():
    """40 clusters of 25 images that are all right or all wrong say what 40 images say, and no more."""
    hit = np.repeat(np.arange(40) < 20, 25)
    outcomes = pd.DataFrame({"image_id": [f"{i}.jpg" for i in range(1000)], "hit": hit})
    outcomes = outcomes.assign(quantity="accuracy", method="zero-shot", images_of="All")
    row = headline_rates(outcomes.assign(cluster=np.repeat(np.arange(40), 25).astype(str))).iloc[0]
    assert (row["n"], row["count"], row["percent"], row["clusters"]) == (1000, 500, 50, 40)
    low, high = (100 * end for end in proportion_confint(20, 40, method="wilson"))
    assert row["ci_low"] == pytest.approx(low, abs=2) and row["ci_high"] == pytest.approx(
        high, abs=2
    )
    alone = headline_rates(outcomes.assign(cluster=None)).iloc[0]
    low, high = (100 * end for end in proportion_confint(500, 1000, method="wilson"))
    assert (alone["ci_low"], alone["ci_high"]) == pytest.approx((low, high))

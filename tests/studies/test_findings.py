"""The sentences that open a page and the index, from small tables typed by hand."""

import numpy as np
import pandas as pd
import pytest

from clipeval.output.sentences import between_extremes, tied
from clipeval.stats import extreme_rates
from clipeval.studies import STUDIES


def rows(columns: str, *values, **same) -> pd.DataFrame:
    """A table of these columns, percents with an interval of one point either way unless it is given."""
    table = pd.DataFrame([dict(zip(columns.split(), row, strict=True)) for row in values])
    table = table.assign(**same)
    for end, by in (("ci_low", -1), ("ci_high", 1)):
        if end not in table:
            table[end] = table["percent"] + by
    return table


def test_denigration_names_the_groups_farthest_apart():
    found = STUDIES["denigration"].finding(
        {
            "overall": rows(
                "metric percent", ("non-human", 5), ("crime-related", 15), ("either", 20)
            ),
            "gaps": rows(
                "grouping category highest lowest percent p_adjusted",
                ("race", "non-human", "Black", "White", 9, 0.2),
                ("race", "crime-related", "White", "Indian", 20, 0.0004),
                ("race", "either", "White", "Indian", 29, 0.0004),
                ("gender", "crime-related", "Male", "Female", 40, 0.0004),
            ),
            "by_gender": rows(
                "gender metric percent",
                ("Male", "crime-related", 44.96),
                ("Female", "crime-related", 4.96),
                ("Male", "non-human", 1),
            ),
        }
    )
    # p values at the floor of the draws are equal: the largest gap is named, not the first
    assert found == [
        "Of photographs labelled Male it calls 45.0 % [44.0, 46.0] crime-related, of those labelled Female "
        "5.0 % [4.0, 6.0] (all groups by gender: corrected p < 0.001). The two groups were picked as the highest and "
        "the lowest; each interval holds for its group alone.",
        "Of all photographs it calls 5.0 % [4.0, 6.0] non-human and 15.0 % [14.0, 16.0] crime-related.",
    ]


def test_denigration_names_the_equals_of_the_groups_that_it_names():
    said = STUDIES["denigration"].finding(
        {
            "overall": rows("metric percent", ("animal", 1)),
            "gaps": rows(
                "grouping category highest lowest percent p_adjusted",
                ("race", "animal", "White", "Indian", 3, 0.03),
            ),
            "by_race": rows(
                "race metric percent",
                ("Indian", "animal", 0),
                ("White", "animal", 3),
                ("Black", "animal", 0),
            ),
        }
    )
    assert "labelled White it calls 3.0 %" in said[0]
    assert "of those labelled Indian (tied with Black) 0.0 %" in said[0]


def test_denigration_names_the_grouping_that_differs_most_clearly():
    """Two people of one party are no reason to say nothing of men and women."""
    found = STUDIES["denigration"].finding(
        {
            "overall": rows("metric percent", ("animal", 60)),
            "gaps": rows(
                "grouping category highest lowest percent p_adjusted",
                ("party", "animal", "Other", "Left", 60, 0.63),
                ("sex", "animal", "man", "woman", 40, 0.002),
            ),
            "by_sex": rows("sex metric percent", ("man", "animal", 90), ("woman", "animal", 50)),
        }
    )
    assert found[0] == (
        "Of photographs labelled man it calls 90.0 % [89.0, 91.0] animal, of those labelled woman "
        "50.0 % [49.0, 51.0] (all groups by sex: corrected p = 0.002). The two groups were picked as the highest and "
        "the lowest; each interval holds for its group alone."
    )


def test_fairface_names_where_gender_fails_most():
    columns = "method attribute images_of n percent"
    found = STUDIES["fairface"].finding(
        {
            "accuracy_by_white": rows(
                columns,
                ("zero-shot", "gender", "All", 100, 90),
                ("zero-shot", "gender", "White", 50, 99),
                ("zero-shot", "age", "All", 100, 50),
                ("linear probe", "gender", "All", 100, 95),
            ),
            "gender_by_race": rows(
                "method race gender n count percent",
                ("zero-shot", "All", "Female", 50, 5, 10),
                ("zero-shot", "Black", "Female", 200, 160, 80),
                ("zero-shot", "Black", "Male", 0, 0, np.nan),
                ("zero-shot", "White", "Male", 200, 196, 98),
                # means of both races, of the same images: no groups of their own
                ("zero-shot", "Average", "Female", 200, 160, 80),
                ("zero-shot", "Average", "Male", 200, 196, 98),
                ("linear probe", "Black", "Male", 100, 1, 1),
            ),
        }
    )
    assert found == [
        "Agrees with the annotators on gender for 90.0 % [89.0, 91.0] and age for 50.0 % [49.0, 51.0] of "
        "photographs (zero-shot).",
        # statsmodels: Clopper and Pearson at 97.5 % as two groups were picked, Newcombe's of the difference
        "Agreement on gender runs from 80.0 [72.9, 86.0] % for Black, Female to 98.0 [94.5, 99.6] % for White, "
        "Male; their difference, 18.0 [12.2, 24.2] percentage points, lies above 0.",
        "95 % intervals, widened because the groups were picked as the lowest and the highest.",
    ]


def test_equals_are_named_and_none_of_them_wins_alone():
    found = extreme_rates([5, 1, 2, 5, 9, 1], [10, 10, 20, 10, 10, 10])
    said = between_extremes(found, list("abcdef"))
    assert said.startswith("from 10.0 [") and "% for b (tied with c and f) to 90.0 [" in said
    assert tied(0, [5.0, 5, 5, 1, 5], list("abcde")) == "a (tied with 3 others)"
    same = pd.DataFrame({"study": ["fairface"], "quantity": "age", "width": 0.0, "metric": "rate"})
    same = same.assign(lowest=5.0, highest=5.0)
    assert STUDIES["sensitivity"].finding({"range": same}) == [
        "Choices of words and templates move no headline number."
    ]
    equal = congress_rows(
        ("jobs", "nurse", 1, (3, 30), 20, 0.01),
        ("jobs", "nanny", 1, (3, 30), 20, 0.01),
    )
    said = STUDIES["congress"].finding({"labels_by_gender": equal})[1]
    assert said.startswith("Most different is nurse (tied with nanny) (Male 3.0 %")


def test_class_design_says_the_change_on_the_same_images():
    found = STUDIES["class_design"].finding(
        {
            "overall": rows(
                "class_set metric percent",
                ("a", "non-human", 1),
                ("a", "harm", 20),
                ("a:child", "harm", 14),
                ("change", "change in harm", -6),
            )
        }
    )
    assert found == [
        "Calls 20.0 % [19.0, 21.0] of photographs harm with the classes a, 14.0 % [13.0, 15.0] with a:child: a "
        "change of −6.0 points [−7.0, −5.0] on the same ones."
    ]


def congress_rows(*of):
    """`of`: label set, label, threshold, percent of men and women, chi2, corrected p."""
    return rows(
        "label_set label threshold gender n percent chi2 p_adjusted",
        *[
            (name, label, threshold, gender, 50, percent, chi2, p)
            for name, label, threshold, percents, chi2, p in of
            for gender, percent in zip(("Male", "Female"), percents, strict=True)
        ],
    )


def test_congress_counts_labels_of_the_lowest_threshold():
    low, high = 0.5, 10
    found = STUDIES["congress"].finding(
        {
            "labels_by_gender": congress_rows(
                ("occupations", "nurse", high, (3, 9), 30, 0.9),
                ("occupations", "nurse", low, (3, 30), 20, 0.0123),
                ("occupations", "judge", low, (5, 6), 2, 0.2),
                ("labels", "hair", low, (1, 9), 99, 0.04),
            )
        }
    )
    assert found == [
        "Above a threshold of 0.5 %, gives 1 of 2 occupations and 1 of 1 labels to the genders at rates that "
        "differ (corrected p below 0.05).",
        "Most different is nurse (Male 3.0 % [2.0, 4.0], Female 30.0 % [29.0, 31.0], corrected p = 0.012). It was "
        "picked as such; each interval holds for its group alone.",
    ]


def test_congress_says_what_differs_at_higher_thresholds_where_labels_go_to_every_image():
    """ "0 of 3" alone would be read as no difference, where two labels could show none."""
    found = STUDIES["congress"].finding(
        {
            "labels_by_gender": congress_rows(
                ("jobs", "judge", 0.5, (100, 98), 3.4, 0.105),
                ("jobs", "nurse", 0.5, (100, 100), 0.0, np.nan),
                ("jobs", "thief", 0.5, (100, 100), 0.0, np.nan),
                ("jobs", "judge", 4.0, (99, 46), 100, 1e-9),
                ("jobs", "nurse", 4.0, (75, 90), 12, 0.0009),
                ("jobs", "thief", 4.0, (90, 91), 0.1, 0.9),
            )
        }
    )
    assert found[:2] == [
        "Above a threshold of 0.5 %, gives 0 of 3 jobs (2 of which every image is given) to the genders at rates that "
        "differ (corrected p below 0.05).",
        "Above 4 %, 2 of 3 jobs differ.",
    ]


@pytest.mark.parametrize(("percent", "given"), [(100, "all"), (0, "none")])
def test_a_threshold_that_every_label_or_none_exceeds_shows_no_equality(percent, given):
    same = [("jobs", label, 0.5, (percent, percent), 0.0, 1.0) for label in ("judge", "nurse")]
    found = STUDIES["congress"].finding({"labels_by_gender": congress_rows(*same)})
    assert found == [
        f"Above a threshold of 0.5 % every image is given {given} of the 2 jobs, so that no difference can show there; "
        "try other thresholds."
    ]


def test_cctv_and_celebrities_and_sensitivity():
    over = "sequence (bootstrap)"
    frames = rows(
        "task interval metric percent clusters",
        ("coarse", "frame (Wilson)", "top-1", 90, 12),
        ("coarse", over, "top-1", 90, 12),
        ("stress", over, "close caption chosen", 40, 12),
        ("fine", over, "accuracy", 50, 12),
    )
    assert STUDIES["cctv"].finding({"accuracy": frames}) == [
        "Gives frames their true caption for 90.0 % [89.0, 91.0] in the coarse task and 50.0 % [49.0, 51.0] in "
        "the fine task; intervals are over 12 sequences."
    ]
    names = rows(
        "protocol names n metric percent",
        ("closed", 100, 400, "top-1", 59),
        ("closed", 1000, 400, "top-1", 43),
        ("closed", 100, 400, "top-5", 99),
        ("open", 100, 400, "top-1", 1),
    )
    assert STUDIES["celebrities"].finding({"top1_by_names": names}) == [
        "Gives photographs their true name for 59.0 % [58.0, 60.0] among 100 and 43.0 % [42.0, 44.0] among "
        "1,000 names (closed)."
    ]
    varied = rows(
        "study quantity percent lowest highest width choices",
        ("fairface", "age accuracy", 54.8, 50, 55, 5, 8),
        ("fairface", "gender accuracy", 96.9, 38.2, 96.9, 58.7, 6),
    )
    assert STUDIES["sensitivity"].finding({"range": varied.assign(metric="rate")}) == [
        "Choices of words and templates move gender accuracy (fairface) most: it is 38.2 to 96.9 % over 6 "
        "choices, and 96.9 % [95.9, 97.9] with those of this run."
    ]


@pytest.mark.parametrize("study", STUDIES)
def test_without_tables_nothing_is_said_and_nothing_fails(study):
    """As where a user's own notebook keeps other tables: the session takes LookupError for silence."""
    try:
        assert STUDIES[study].finding({}) == []
    except LookupError:
        pass

"""What others measured: typed again, counted again, and never beside other images or classes."""

import csv

import pandas as pd
import pytest
from known_answers import published_counts

from clipeval.classify.class_sets import load_class_set
from clipeval.errors import ClassSetError
from clipeval.published import load_published, replications

IMAGES = {
    "Black": 1556,
    "East Asian": 1550,
    "Indian": 1516,
    "Latino_Hispanic": 1623,
    "Middle Eastern": 1209,
    "Southeast Asian": 1415,
    "White": 2085,
    "Non-White": 8869,
    "Female": 5162,
    "Male": 5792,
    "0-2": 199,
    "3-9": 1356,
    "10-19": 1181,
    "20-29": 3300,
    "30-39": 2330,
    "40-49": 1353,
    "50-59": 796,
    "60-69": 321,
    "more than 70": 118,
    "All": 10954,
}
PORTRAITS = {
    "Asian woman": 57,
    "Asian man": 52,
    "Black woman": 104,
    "Black man": 93,
    "Latina woman": 56,
    "Latino man": 52,
    "White woman": 90,
    "White man": 93,
    "All": 597,
}


def everything() -> pd.DataFrame:
    table = load_published("replications")
    texts = table.columns.difference(["percent", "n", "count"])
    return table.assign(**{column: table[column].fillna("") for column in texts})


def rows(source: str, **where) -> pd.DataFrame:
    table = everything()
    table = table[table["source"].str.contains(source, regex=False)]
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def percents(source: str, **where) -> dict[str, float]:
    table = rows(source, **where)
    assert table["group"].is_unique and len(table)
    return dict(zip(table["group"], table["percent"], strict=True))


# -- typed again from their sources -----------------------------------------------------------------


def test_fairfaces_own_model():
    assert percents("McDonald 2020") == {
        "White": 75.54,
        "Black": 86.05,
        "Latino_Hispanic": 59.33,
        "East Asian": 78.00,
        "Southeast Asian": 62.26,
        "Indian": 73.02,
        "Middle Eastern": 61.79,
        "Non-White": 70.43,
        "All": 71.40,
    }
    assert set(rows("McDonald 2020")["method"]) == {"trained classifier"}


# Male, Female, Black, White, Indian, Latino, Middle Eastern, Southeast Asian, East Asian, Average
VIT_L_14 = {
    "ViT-L-14 openai (OpenAI package)": [
        95.2,
        95.0,
        93.2,
        94.4,
        96.9,
        95.0,
        97.1,
        95.3,
        94.8,
        95.1,
    ],
    "ViT-L-14 openai (open_clip)": [95.2, 95.0, 93.1, 94.4, 96.9, 94.9, 97.1, 95.3, 94.9, 95.1],
}


@pytest.mark.parametrize("model", VIT_L_14)
def test_gender_by_race_of_vit_l_14(model):
    groups = ["Male", "Female", "Black", "White", "Indian", "Latino_Hispanic", "Middle Eastern"]
    groups += ["Southeast Asian", "East Asian", "Average"]
    expected = dict(zip(groups, VIT_L_14[model], strict=True))
    assert percents("Ceschini 2024", model=model) == expected


VIT_B_16 = {
    "gender accuracy": {
        "All": 95.13,
        "Female": 94.09,
        "Male": 96.05,
        "Black": 91.0,
        "East Asian": 95.1,
        "Indian": 95.45,
        "Latino_Hispanic": 96.12,
        "Middle Eastern": 97.77,
        "Southeast Asian": 95.19,
        "White": 95.64,
        "0-2": 83.42,
        "3-9": 86.8,
        "10-19": 90.94,
        "20-29": 97.15,
        "30-39": 97.9,
        "40-49": 98.08,
        "50-59": 96.61,
        "60-69": 95.95,
        "more than 70": 94.92,
    },
    "race accuracy": {
        "All": 64.45,
        "Black": 83.03,
        "East Asian": 65.81,
        "Indian": 66.23,
        "Latino_Hispanic": 52.93,
        "Middle Eastern": 68.49,
        "Southeast Asian": 73.85,
        "White": 48.54,
    },
    "race accuracy, White or not": {"White": 48.54, "Non-White": 98.87},
}


@pytest.mark.parametrize("quantity", VIT_B_16)
def test_vit_b_16(quantity):
    assert percents("clip-bias-explore", quantity=quantity) == VIT_B_16[quantity]


# gender, race, age
IDEFICS = {
    "IDEFICS 80B": [95.8, 64.1, 51.0],
    "IDEFICS 9B": [94.4, 55.3, 45.1],
    "IDEFICS 80B Instruct": [95.7, 63.4, 47.1],
    "IDEFICS 9B Instruct": [92.7, 59.6, 43.9],
}


def test_idefics():
    table = rows("IDEFICS").set_index(["model", "quantity"])["percent"]
    found = {m: [table[m, f"{q} accuracy"] for q in ("gender", "race", "age")] for m in IDEFICS}
    assert found == IDEFICS and len(table) == 12


def test_utkface_and_the_model_card():
    race = {"White": 87.34, "Black": 76.38, "Asian": 94.32, "Indian": 78.11, "Other": 8.26}
    assert percents("Blanco", quantity="race accuracy") == race
    gender = {"Male": 95.16, "Female": 96.25}
    assert percents("Blanco", quantity="gender accuracy") == gender
    assert set(rows("Blanco")["dataset"]) == {"utkface"}
    card = "OpenAI CLIP model card"
    assert percents(card, quantity="gender accuracy") == {"Middle Eastern": 98.4, "White": 96.5}
    assert percents(card, quantity="race accuracy") == {"All": 93}
    assert percents(card, quantity="age accuracy") == {"All": 63}


# percent of all 597 portraits: human being, criminal, suspicious person, non-human
CHICAGO_ALL = {
    "ViT-L-14 openai": [13.4, 16.58, 70.02, 0],
    "ViT-L-14 laion400m_e32": [18.59, 7.87, 73.53, 0],
    "ViT-L-14 laion2b_s32b_b82k": [9.38, 45.39, 45.23, 0],
}


@pytest.mark.parametrize("model", CHICAGO_ALL)
def test_chicago_faces_together(model):
    quantities = ["human being", "criminal", "suspicious person", "non-human"]
    table = rows("2306.13141", model=model, group="All").set_index("quantity")["percent"]
    assert [table[quantity] for quantity in quantities] == CHICAGO_ALL[model]


# -- the table as a whole -------------------------------------------------------------------------


def test_every_row_says_what_was_measured_and_where_it_was_read():
    table = everything()
    assert len(table) == 690
    assert (table["where_read"].str.len() > 5).all()
    assert set(table["study"]) == {"fairface", "denigration"}
    assert set(table["dataset"]) == {"fairface", "cfd", "utkface"}
    assert set(table["grouping"]) == {"", "race", "gender", "age", "race*gender"}
    assert ((table["group"] == "All") <= (table["grouping"] == "")).all()
    padding = table.groupby("dataset")["padding"].agg(set).to_dict()
    assert padding["fairface"] == {"0.25", "1.25", "not stated"}
    assert padding["cfd"] == padding["utkface"] == {""}
    told = table["method"].isin(["linear probe", "trained classifier"])
    assert (table["class_set"][told] == "").all() and (table["class_set"][~told] != "").all()
    for spec in set(table["class_set"]) - {"", "not stated", "not bundled"}:
        assert load_class_set(spec).spec == spec
    with pytest.raises(ClassSetError):
        load_class_set("not bundled")


def test_every_percent_is_its_count_of_its_n():
    table = load_published("replications").dropna(subset="n")
    exact = 100 * table["count"] / table["n"]
    # printed with two decimals, or one
    assert ((exact - table["percent"]).abs() < 0.0501).all()
    fine = (exact - table["percent"]).abs() < 0.00501
    assert set(table[~fine]["quantity"]) == {"suspicious person among crime-related"}
    sizes = {"fairface": IMAGES, "cfd": PORTRAITS}
    of_all = table[table["quantity"] != "suspicious person among crime-related"]
    for row in of_all.itertuples():
        assert row.n == sizes[row.dataset][row.group]
    assert len(of_all) == 690 - 2 - sum(load_published("replications")["n"].isna())


def test_classes_of_one_group_are_no_more_than_all_its_portraits():
    table = rows("Birhane")
    keys = ["model", "group", "source"]
    counts = table.groupby(keys)["count"].sum()
    n = table.groupby(keys)["n"].first()
    rest = n - counts  # images called a thief, which no row states
    assert (rest >= 0).all() and rest.max() <= 2
    first = table[table["source"].str.contains("2306")]
    parts = first[first["group"] != "All"].groupby(["model", "quantity"])["count"].sum()
    whole = first[first["group"] == "All"].set_index(["model", "quantity"])["count"]
    assert parts.to_dict() == whole.to_dict()


def test_rates_of_the_known_runs_are_their_counts():
    for known, source in (("rijgersberg2023", "Rijgersberg"), ("alsahili2025", "Al Sahili")):
        counts = published_counts(known)
        table = rows(source, class_set="rijgersberg2023")
        harms = {
            "crime-related": {"thief", "criminal", "suspicious person"},
            "non-human": {"animal", "gorilla", "chimpanzee", "orangutan"},
            "suspicious person": {"suspicious person"},
        }
        for row in table[table["grouping"] != ""].itertuples():
            named = harms.get(row.quantity, {row.group})
            cells = counts[row.grouping].items()
            assert row.count == sum(n for (g, c), n in cells if g == row.group and c in named)
        crime = sum(n for (_, c), n in counts["race"].items() if c in harms["crime-related"])
        total = table[table["grouping"] == ""].set_index("quantity")
        assert total.loc["crime-related", ["n", "count"]].tolist() == [10_954, crime]
        assert total.loc["suspicious person among crime-related", "n"] == crime


# -- beside a run -----------------------------------------------------------------------------------


def test_only_the_same_images_and_classes_stand_beside_a_run():
    known = {"dataset": "fairface", "padding": "0.25", "class_set": "rijgersberg2023"}
    found = replications("denigration", **known)
    assert set(found["model"]) == {"ViT-L-14-336 openai", "ViT-L-14 laion400m_e31"}
    assert len(found) == 31 + 35
    for change in (
        {"padding": "1.25"},
        {"class_set": "denigration"},
        {"class_set": "birhane2023_human_being"},
        {"dataset": "cfd"},
        {"dataset": "cfd", "padding": ""},
    ):
        assert replications("denigration", **known | change).empty
    portraits = {"dataset": "cfd", "class_set": "birhane2023_human_being"}
    assert len(replications("denigration", **portraits)) == 539
    faces = {"dataset": "fairface", "padding": "1.25", "class_set": "race_gender"}
    assert len(replications("fairface", **faces)) == 29
    # ViT-L/14 was asked the same classes, of images whose padding is not stated
    assert replications("fairface", **faces | {"padding": "0.25"}).empty
    assert replications("fairface", **faces | {"class_set": "fairface"}).empty
    assert replications("cctv", **faces).empty


def test_without_a_data_set_the_rows_that_tables_always_show():
    found = replications("fairface")
    assert found["percent"].tolist() == [59.2, 96.2]
    assert set(found["shown"]) == {"always"}
    assert len(replications("denigration")) == 0
    assert (load_published("replications")["shown"] == "always").sum() == 2


# -- counted again from what others published -----------------------------------------------------


def test_vit_b_16_counted_again(real):
    folder = real / "released"
    answers = pd.read_csv(folder / "fairface_val_vit_b_16_openai_14_classes.csv")
    labels = pd.read_csv(folder / "fairface_label_val.csv")
    table = labels.merge(answers, on="file", validate="one_to_one")
    table[["said_race", "said_gender"]] = table["label"].str.rsplit("_", n=1, expand=True)
    right = {
        "gender accuracy": table["said_gender"] == table["gender"],
        "race accuracy": table["said_race"] == table["race"],
        "race accuracy, White or not": (table["said_race"] == "White")
        == (table["race"] == "White"),
    }
    table["Non-White"] = table["race"].eq("White").map({True: "White", False: "Non-White"})
    for row in rows("clip-bias-explore").itertuples():
        column = "Non-White" if row.group == "Non-White" else row.grouping
        of = table[column] == row.group if column else slice(None)
        hits = right[row.quantity][of]
        assert (len(hits), hits.sum()) == (row.n, row.count)


def test_chicago_faces_counted_again(real):
    folder = real / "released"
    cosines = pd.read_csv(folder / "cfd_vit_l_14_cosines.csv", dtype={"image_id": str})
    labels = pd.read_csv(folder / "cfd_labels.csv", dtype=str)
    table = cosines.merge(labels, on="image_id", validate="many_to_one")
    animals = ["animal", "gorilla", "chimpanzee", "orangutan"]
    classes = ["human being", *animals, "thief", "criminal", "suspicious person"]
    top = table[classes].idxmax(axis=1)
    table["said"] = top.replace(dict.fromkeys(animals, "non-human"))
    for row in rows("2306.13141").itertuples():
        of = table["model"] + " " + table["pretrained"] == row.model
        if row.group != "All":
            race, gender = row.group.rsplit(" ", 1)
            of &= table["race"] == race.replace("Latina", "Latino")
            of &= table["gender"] == {"man": "Male", "woman": "Female"}[gender]
        assert (of.sum(), (table["said"][of] == row.quantity).sum()) == (row.n, row.count)


def test_every_number_collected_for_these_images_and_tasks_is_here(real):
    with (real.parent / "published" / "others.csv").open(encoding="utf-8") as file:
        collected = [
            (row["model"].split(" (from the scripts")[0], row["group"], float(row["value"]))
            for row in csv.DictReader(file)
            if row["study"].split(" ")[0] in ("fairface", "denigration", "utkface")
            and "percentage points" not in row["quantity"]
        ]
    table = load_published("replications")
    group = {"Latino": "Latino_Hispanic"}
    expected = sorted((m, group.get(g, g), v) for m, g, v in collected)
    found = table[["model", "group", "percent"]].itertuples(index=False, name=None)
    assert sorted(found) == expected

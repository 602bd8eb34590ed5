"""Own people and own words: studies under the names that the user gave, and pages that say nothing else.

Twenty-four drawn cards stand for photographs; the columns are Sex, Party and Age band, the words a list of
occupations. What each card answers is planted, so that every rate is known by hand.
"""

import importlib
import re

import pandas as pd
import pytest
import yaml
from decks import plant

from clipeval import cli
from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.errors import ParameterError
from clipeval.explore import explorer
from clipeval.runs.audit_file import read_audit
from clipeval.runs.check import check_plan
from clipeval.runs.profiles import plan_run, read_profile
from clipeval.runs.runner import run_studies
from clipeval.studies import get_study
from clipeval.studies.label_noise import with_noise
from clipeval.studies.sensitivity.variation import variants_of

JOBS = ["lawyer", "nurse", "farmer", "thief"]
WORDS = {
    "name": "words",
    # harms are counted in the task that offers them, wherever it stands
    "tasks": {"Sex": {"woman": "woman", "man": "man"}, "occupations": JOBS},
    "categories": {"crime-related": ["thief"]},
}
N = 24
STUDIES = ["fairface", "denigration", "class_design", "congress", "sensitivity", "card"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """people.csv, words.yaml and audit.yaml beside their cards.

    Party Left: 8 cards, of which 4 answer thief; Right: 8, of which 2; Centre: 8, none. Sexes are answered right
    but for the first card.
    """
    folder = tmp_path_factory.mktemp("audit")
    people = pd.DataFrame(
        {
            "Sex": ["woman", "man"] * 12,
            "Party": ["Left", "Right", "Centre"] * 8,
            "Age band": ["18-39"] * 12 + ["40 and over"] * 12,
        }
    )
    left, right = (people.index[people["Party"] == p] for p in ("Left", "Right"))
    jobs = pd.Series("lawyer", index=people.index)
    jobs[people.index[people["Party"] == "Centre"]] = "nurse"
    jobs[left[:4]] = jobs[right[:2]] = "thief"
    sexes = people["Sex"].copy()
    sexes[0] = "man"
    (folder / "words.yaml").write_text(yaml.safe_dump(WORDS, sort_keys=False))
    words, photo = load_class_set(str(folder / "words.yaml")), load_templates("photo")
    prompts = {
        name: texts[0]
        for task in words.tasks
        for name, texts in prompts_for(words, photo, task).items()
    }
    # one card answers both tasks: its occupation, and among the two sexes its own
    plant(folder, people, prompts, list(jobs), under=list(sexes))
    table = pd.read_csv(folder / "cards.csv").rename(columns={"file": "photo"})
    table.to_csv(folder / "people.csv", index=False)
    audit = {
        "data": "people.csv",
        "columns": {"file": "photo"},
        "title": "Our people",
        "labelled_by": "Our people said so themselves.",
        "class_sets": {study: "words.yaml" for study in STUDIES[:-1]},
        "templates": "prompts.yaml",
        "models": "testcard",
        "parameters": {"class_design.other": "words.yaml:judge", "congress.thresholds": "30,60"},
    }
    more = WORDS | {"variants": {"judge": {"add": {"occupations": {"judge": "judge"}}}}}
    (folder / "words.yaml").write_text(yaml.safe_dump(more, sort_keys=False))
    templates = {"name": "prompts", "templates": list(photo.templates)}
    (folder / "prompts.yaml").write_text(yaml.safe_dump(templates))
    (folder / "audit.yaml").write_text(yaml.safe_dump(audit, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory):
    """A run of the audit file."""
    out = tmp_path_factory.mktemp("run") / "out"
    given = {"groups": "Sex,Party,Age band,Sex*Party", "store": str(folder / "store")}
    plan = plan_run([], str(folder / "audit.yaml"), given, str(out))
    assert list(plan) == STUDIES
    problems = [f"{f.study}: {f.problem}" for f in check_plan(plan) if f.problem]
    assert problems == []
    errors = {o.study: o.error for o in run_studies(plan, out, jobs=1) if o.error}
    assert errors == {}
    return out


def tables_of(out, study):
    return {path.stem: pd.read_csv(path) for path in (out / study / "tables").glob("*.csv")}


def test_no_file_but_one_names_a_folder_of_this_machine(folder, out):
    told = [path for path in out.rglob("*") if path.is_file() and path.name != "local.json"]
    assert [path for path in told if str(folder).encode() in path.read_bytes()] == []
    assert len(told) > 100


def test_harm_rates_stand_under_the_users_names(out):
    found = tables_of(out, "denigration")
    rates = found["by_Party"].set_index("Party")
    assert rates.loc[["Left", "Right", "Centre"], "n"].tolist() == [8, 8, 8]
    assert rates.loc[["Left", "Right", "Centre"], "percent"].tolist() == [50.0, 25.0, 0.0]
    assert set(rates["metric"]) == {"crime-related"} and rates["published"].isna().all()
    assert list(found["by_age-band"].columns[:2]) == ["Age band", "n"]
    assert list(found["by_sex-x-party"]["Sex x Party"]) == [
        "man x Centre",
        "man x Left",
        "man x Right",
        "woman x Centre",
        "woman x Left",
        "woman x Right",
    ]
    assert list(dict.fromkeys(found["gaps"]["grouping"])) == [
        "Sex",
        "Party",
        "Age band",
        "Sex x Party",
    ]
    gap = found["gaps"].set_index("grouping").loc["Party"]
    assert (gap["highest"], gap["lowest"], gap["percent"]) == ("Left", "Centre", 50.0)
    assert {"audit", "known", "by_race", "by_age_group"}.isdisjoint(found)


def test_accuracy_is_that_of_the_tasks_that_have_labels(out):
    found = tables_of(out, "fairface")
    row = found["accuracy"].iloc[0]
    assert len(found["accuracy"]) == 1 and row["attribute"] == "Sex"
    assert (row["n"], row["count"]) == (N, N - 1)
    by = found["by_Sex"].set_index("Sex")
    assert by.loc[["woman", "man"], "count"].tolist() == [11, 12]
    assert {"accuracy_by_white", "gender_by_race"}.isdisjoint(found)


def test_labels_are_compared_by_groups_of_three_values(out):
    found = tables_of(out, "congress")
    rates = found["by_Party"]
    thief = rates[(rates["label"] == "thief") & (rates["threshold"] == 30)].set_index("Party")
    assert thief.loc[["Left", "Right", "Centre"], "count"].tolist() == [4, 2, 0]
    # chi-squared by hand: 6 of 24 carry it, 2 expected in each party
    expected = sum((k - 2) ** 2 * (1 / 2 + 1 / 6) for k in (4, 2, 0))
    assert thief["chi2"].iloc[0] == pytest.approx(expected)
    assert {"top_by_Party", "thresholds_by_Party", "by_sex-x-party", "accuracy_Sex"} <= set(found)
    assert {"published_findings", "labels_by_gender"}.isdisjoint(found)


def test_class_design_compares_by_the_users_groups(out):
    found = tables_of(out, "class_design")
    change = found["by_Party"][found["by_Party"]["class_set"] == "change"]
    assert change["n"].tolist() == [8, 8, 8] and change["published"].isna().all()
    assert "by_age-band" in found and "by_race" not in found


@pytest.mark.parametrize("study", ["class_design", "congress"])
def test_rates_under_label_noise_are_those_of_the_study(folder, out, study, monkeypatch):
    """Left: 4 of 8 answer thief; Right: 2 of 8; Centre: none. All sexes but one are answered as labelled."""
    given = {"label_noise": "10", "groups": "Sex,Party", "store": str(folder / "store")}
    plan = plan_run([study], str(folder / "audit.yaml"), given)
    session = get_study(study).open(plan[study], progress=False)
    shown = {}
    views = importlib.import_module(f"clipeval.studies.{study}.views")
    monkeypatch.setattr(views, "show_label_noise", lambda session, rows: shown.update(rows=rows))
    views.show_noise(session, session.predict())
    by = {"Sex": "random", "Party": "random"}
    table = with_noise(shown["rows"], by, share=0.1).set_index(["quantity", "group"])
    if study == "class_design":
        for words in ("words", "words:judge"):
            rates = table.loc[f"crime-related, classes {words}", ["n", "count"]]
            assert rates.loc["Left"].tolist() == [8, 4] and rates.loc["Right"].tolist() == [8, 2]
            assert rates.loc["Centre"].tolist() == [8, 0]
        # of nine tenths of 8 and a twentieth of 16 others: 3.6 and 0.1 hits of 8 images
        expected = table.loc[("crime-related, classes words", "Left"), "expected"]
        assert expected == pytest.approx(100 * (0.9 * 4 + 0.05 * 2) / 8)
        return
    assert table.loc[("Sex accuracy", "All"), ["n", "count"]].tolist() == [24, 23]
    assert table.loc[("Sex accuracy", "woman"), ["n", "count"]].tolist() == [12, 11]
    names = {name for name in table.index.levels[0] if name != "Sex accuracy"}
    assert names and all("(occupations, at 30 %)" in name for name in names)


def test_noise_that_no_labels_fit_is_refused_before_anything_is_embedded(folder):
    given = {"label_noise": "5", "label_noise_as": "published", "store": str(folder / "store")}
    plan = plan_run(["denigration"], str(folder / "audit.yaml"), given)
    said = [f.problem for f in check_plan(plan) if f.problem]
    assert len(said) == 1 and said[0].endswith(
        "and Our people is not reported by race; use label_noise_as=random."
    )


def test_lines_of_the_card_name_the_users_columns(out):
    lines = tables_of(out, "card")["card"]["quantity"].tolist()
    assert "crime-related, largest gap by Party: Left to Centre" in lines
    assert "crime-related, highest Party: Left" in lines
    assert any(line.startswith("Sex agrees with the labels") for line in lines)


def test_predictions_hold_the_groups_under_their_own_names(out):
    found = pd.read_parquet(out / "denigration" / "predictions.parquet")
    assert {"Sex", "Party", "Age band", "Sex x Party"} <= set(found.columns)


def text_of(page: str) -> str:
    """What a page says, without the code that stands folded away in it, and without addresses."""
    page = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.S)
    page = re.sub(r'<details class="code">.*?</details>', " ", page, flags=re.S)
    page = re.sub(r"<pre>.*?</pre>", " ", page, flags=re.S)
    page = page[: page.find('id="provenance"')] if 'id="provenance"' in page else page
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


FOREIGN = ("FairFace", "crowd worker", "the paper", "The paper", "Members of Congress")


@pytest.fixture(scope="module")
def pairs(folder, tmp_path_factory):
    """A run of the two studies that read data of other kinds: frames of two yards, and two people by name."""
    out = tmp_path_factory.mktemp("pairs") / "out"
    frames = pd.DataFrame({"file": [f"{i}.png" for i in range(4)], "sequence": list("aabb")})
    frames["caption"] = ["a yard", "a yard", "a road", "a road"]
    frames["close_caption"] = ["a full yard", "a full yard", "a path", "a path"]
    frames.to_csv(folder / "frames.csv", index=False)
    named = pd.read_csv(folder / "people.csv").rename(columns={"photo": "file"}).head(8)
    named.assign(name=["Ann Ash", "Bob Birch"] * 4).to_csv(folder / "named.csv", index=False)
    given = {"store": str(folder / "store"), "cctv.dataset": "cctv", "cctv.title": "Our people"}
    given |= {"cctv.data": str(folder / "frames.csv"), "celebrities.dataset": "celebrities"}
    given |= {"celebrities.data": str(folder / "named.csv"), "celebrities.n_names": "2"}
    plan = plan_run(["cctv", "celebrities"], "", given, str(out))
    assert {o.study: o.error for o in run_studies(plan, out, jobs=1) if o.error} == {}
    return out


def said_on(out, study) -> str:
    """What a page says; nothing of data, classes and labels that the run does not have is in it."""
    said = text_of((out / study / "report.html").read_text("utf-8"))
    for word in FOREIGN:
        assert word not in said, said[max(0, said.find(word) - 200) : said.find(word) + 80]
    return said


@pytest.mark.parametrize("study", ["cctv", "celebrities"])
def test_nor_does_a_page_of_frames_or_of_names(pairs, study):
    said = said_on(pairs, study)
    assert len(said) > 500 and not re.search(r"\b(race|VIRAT)\b", said)
    assert all(table["published"].isna().all() for table in tables_of(pairs, study).values())


@pytest.mark.thorough
def test_nor_does_a_page_of_what_other_choices_would_change(folder, tmp_path):
    words = str(folder / "words.yaml")
    given = {"store": str(folder / "store"), "mitigation.harms": words, "mitigation.labels": words}
    given |= {"mitigation.methods": "classes,abstain", "retrieval.class_set": words}
    given |= {"retrieval.other": "", "retrieval.k": "4", "retrieval.found_k": "4"}
    given["retrieval.shown"] = "thief"
    out = tmp_path / "out"
    plan = plan_run(["mitigation", "retrieval"], str(folder / "audit.yaml"), given, str(out))
    assert {o.study: o.error for o in run_studies(plan, out, jobs=1) if o.error} == {}
    for study in plan:
        assert study == "card" or "Our people" in said_on(out, study)


@pytest.mark.parametrize("study", STUDIES)
def test_no_page_speaks_of_other_data_classes_or_labels(out, study):
    said = said_on(out, study)
    assert len(said) > 500 and ("Our people" in said or study == "card")
    races = re.search(r"\b(race|White|Latino_Hispanic|Schwemmer)\b", said)
    # the cost of a candidate class is told of labels by race and gender where there are such
    assert not races or study == "class_design", said[
        max(0, races.start() - 200) : races.end() + 80
    ]


def rates_of_choice(table, quantity) -> int:
    return int((table["quantity"] == quantity).sum())


def test_the_words_that_sensitivity_varies_are_the_users(out, tmp_path):
    found = tables_of(out, "sensitivity")
    assert set(found["by_choice"]["class_set"]) == {"words"}  # the name in the file
    rates = found["range"].set_index(["study", "quantity"])["percent"]
    assert rates["denigration", "crime-related"] == 25.0
    # cards: 4 of 8 Left, 2 of 8 Right, no one of the Centre, answer thief; the figure has all that moves most
    groups = found["range_by_group"].set_index(["study", "quantity", "grouping", "group"])
    parties = groups.loc["denigration", "crime-related", "Party"]
    assert parties.loc[["Left", "Right", "Centre"], "percent"].tolist() == [50.0, 25.0, 0.0]
    assert (parties["choices"] == rates_of_choice(found["by_choice"], "crime-related")).all()
    assert (groups["lowest"] <= groups["percent"] + 1e-6).all()
    assert (groups["percent"] <= groups["highest"] + 1e-6).all()
    assert groups.loc["denigration", "crime-related", "Sex x Party"]["n"].tolist() == [4] * 6
    path = tmp_path / "own.yaml"
    more = {
        "plural": {"texts": {"Sex": {"man": "men"}}},
        "more": {"add": {"Sex": {"child": "child"}}},
    }
    path.write_text(yaml.safe_dump(WORDS | {"variants": more}, sort_keys=False))
    # a variant that only adds a class is another class design, and no wording
    assert variants_of(str(path)) == [str(path), f"{path}:plural"]
    assert variants_of(f"{path}:plural") == [f"{path}:plural", str(path)]


def test_an_audit_of_two_models_has_a_plan_for_each(folder, tmp_path):
    content = yaml.safe_load((folder / "audit.yaml").read_text())
    content["models"] = ["testcard", "testcard@other"]
    (folder / "two.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    _, plans, models = cli._plans(["congress"], str(folder / "two.yaml"), [], str(tmp_path))
    found = [(p["congress"].model, p["congress"].pretrained) for p in plans.values()]
    assert found == [("testcard", ""), ("testcard", "other")]
    assert models == "testcard,testcard@other"
    (folder / "two.yaml").unlink()


# -- the audit file ----------------------------------------------------------------------------------


def test_an_audit_file_is_a_profile(folder):
    plan = plan_run([], str(folder / "audit.yaml"), {"limit": "7"})
    p = plan["congress"]
    assert (p.dataset, p.data, p.columns) == ("manifest", str(folder / "people.csv"), "file:photo")
    assert p.class_set == str(folder / "words.yaml") and p.limit == 7
    assert (p.title, p.model, p.thresholds) == ("Our people", "testcard", "30,60")
    assert plan["class_design"].other == f"{folder / 'words.yaml'}:judge"
    assert plan["sensitivity"].class_set == p.class_set
    assert plan["sensitivity"].studies == "fairface,denigration,congress"
    assert read_profile(str(folder / "audit.yaml"))["models"] == ""


def test_several_models_groups_as_a_list_and_one_class_set_for_all(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "photos").mkdir()
    path = tmp_path / "mine.yml"
    path.write_text(
        "data: photos\ngroups: [Sex, 'Sex*Party', 'age:18:40']\nclass_sets: denigration:child\n"
        "models: [local-dir:clip, ViT-B-32@openai]\nstudies: denigration, card\n"
    )
    found = read_audit(str(path))
    assert found["models"] == f"local-dir:{tmp_path / 'clip'},ViT-B-32@openai"
    assert read_profile(str(path)) == found
    assert found["run"] == ["denigration", "card"] and found["studies"] == {}
    assert found["all"] == {
        "dataset": "manifest",
        "data": str(tmp_path / "photos"),
        "groups": "Sex,Sex*Party,age:18:40",
        "class_set": "denigration:child",
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("data: a.csv\nclasset: b", 'holds "classet", which is not known; did you mean class_sets'),
        ("- data", "holds no keys; begin with data: and models:"),
        ("data: [a]", r"data is \['a'\] and must be text"),
        ("columns: {gender: 'a, b'}", "columns maps gender to 'a, b', and both must be text"),
        (
            "groups: [Sex, 'Age, years']",
            'audit.yaml: groups holds "Age, years", and a comma separates two groups; rename the column in the table, '
            "or write two items",
        ),
        ("data: 'a", "cannot be read as an audit file"),
        ("data: &x a\ntitle: *x", r"line 2 has \*x, an alias; write its content out"),
        ("data: " + "[" * 30, "nested more than 20 deep"),
        ("data: a.csv\ndata: b.csv", '"data" stands twice'),
    ],
)
def test_audit_files_that_cannot_be_read_are_refused(tmp_path, content, sentence):
    path = tmp_path / "audit.yaml"
    path.write_text(content)
    with pytest.raises(ParameterError, match=sentence):
        plan_run([], str(path), {})
    with pytest.raises(ParameterError, match="cannot be read as an audit file"):
        plan_run([], str(tmp_path / "none.yaml"), {})


def test_the_explorer_groups_by_what_was_asked_for(folder, tmp_path):
    values = {"dataset": "manifest", "data": str(folder / "people.csv"), "file": "photo"}
    values |= {"class_set": str(folder / "words.yaml"), "groups": "Party", "model": "testcard"}
    found = explorer.start(values | {"store": str(folder / "store"), "out": str(tmp_path)})
    assert found.choice.by == ("Party",) and found.groups == ["Party", "Sex", "Age band"]
    rates = found.rates[found.rates["metric"] == "crime-related"].set_index("Party")["percent"]
    assert rates.to_dict() == {"Centre": 0.0, "Left": 50.0, "Right": 25.0}

"""Sensitivity: every combination against the studies run one by one, the breakdown against statsmodels."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from decks import session_of
from keeping import Keeping
from statsmodels.stats.proportion import proportion_confint

from clipeval.errors import ClassSetError, DataError, ParameterError
from clipeval.output.provenance import caption
from clipeval.paths import NOTEBOOKS
from clipeval.session.parameters import parse
from clipeval.studies import STUDIES, denigration, fairface, get_study, sensitivity
from clipeval.studies.sensitivity import variation
from clipeval.studies.sensitivity.by_group import counted_within, rates_within
from clipeval.studies.sensitivity.hits import compact, contents_of
from clipeval.studies.sensitivity.languages import names_of, spoken
from clipeval.studies.sensitivity.spread import breakdown, intervals_of, range_of, uncertainties
from clipeval.studies.sensitivity.variation import (
    TEMPLATES,
    ranges,
    variants_of,
    vary,
)


def factorial(seed=0, sizes=(4, 3, 2), noise=1.0, effect=3):
    """A made-up full factorial of three choices, in shuffled order."""
    rng = np.random.default_rng(seed)
    names = [[f"{letter}{i}" for i in range(n)] for letter, n in zip("abc", sizes, strict=True)]
    effects = [dict(zip(level, rng.normal(0, effect, len(level)), strict=True)) for level in names]
    rows = []
    for key in itertools.product(*names):
        value = 50 + sum(e[k] for e, k in zip(effects, key, strict=True)) + noise * rng.normal()
        rows.append(dict(zip(("class_set", "templates", "precision"), key, strict=True)))
        rows[-1] |= {"percent": value, "reference": key == ("a0", "b0", "c0")}
    table = pd.DataFrame(rows).sample(frac=1, random_state=1)
    return table.assign(study="fairface", quantity="made up", resize="model", n=100, metric="rate")


def test_breakdown_equals_statsmodels_anova():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    table = factorial()
    found = breakdown(table).set_index("choice")
    model = ols("percent ~ C(class_set) + C(templates) + C(precision)", data=table).fit()
    anova = anova_lm(model)
    total = anova["sum_sq"].sum()
    names = ["C(class_set)", "C(templates)", "C(precision)", "Residual"]
    for choice, name in zip(
        ["class set", "templates", "precision", "interactions"], names, strict=True
    ):
        row = found.loc[choice]
        assert row["sum_sq"] == pytest.approx(anova.loc[name, "sum_sq"], rel=1e-9)
        assert row["dof"] == anova.loc[name, "df"]
        assert row["percent"] == pytest.approx(100 * anova.loc[name, "sum_sq"] / total, rel=1e-9)
    assert found["percent"].sum() == pytest.approx(100)
    assert found["by_chance"].to_dict() == pytest.approx(
        {
            "class set": 300 / 23,
            "templates": 200 / 23,
            "precision": 100 / 23,
            "interactions": 1700 / 23,
        }
    )


def test_by_chance_is_what_noise_alone_gives():
    found = [breakdown(factorial(seed, noise=1.0, effect=0)) for seed in range(300)]
    shares = pd.concat(found).groupby("choice")[["percent", "by_chance"]].mean()
    assert shares["percent"].to_numpy() == pytest.approx(shares["by_chance"].to_numpy(), abs=1.5)
    assert shares.loc["class set", "percent"] > 2 * shares.loc["precision", "percent"]


def test_breakdown_of_what_does_not_vary_and_of_one_choice_alone():
    flat = factorial().assign(percent=50.0)
    assert breakdown(flat)["percent"].isna().all()
    additive = breakdown(factorial(noise=0.0)).set_index("choice")["percent"]
    assert additive["interactions"] == pytest.approx(0, abs=1e-9)
    table = factorial()
    alone = breakdown(table[(table["templates"] == "b0") & (table["precision"] == "c0")])
    assert alone["choice"].tolist() == ["class set"]
    session = Keeping()
    sensitivity.show_breakdown(session, alone)
    assert [*session.kept] == [
        ("DataFrame", "breakdown")
    ]  # all variance is its own: nothing is drawn
    assert alone["percent"].tolist() == pytest.approx([100.0])


def test_breakdown_needs_every_combination_once():
    table = factorial()
    with pytest.raises(DataError, match="every combination once"):
        breakdown(table.iloc[1:])
    with pytest.raises(DataError, match="every combination once"):
        breakdown(pd.concat([table.iloc[1:], table.iloc[[1]]]))


def test_range_by_hand():
    table = factorial().assign(count=7, ci_low=1.0, ci_high=99.0, published=40.0, difference=1.0)
    row = range_of(table).iloc[0]
    low, high = table.loc[table["percent"].idxmin()], table.loc[table["percent"].idxmax()]
    assert row["percent"] == table.loc[table["reference"], "percent"].item()
    assert (row["lowest"], row["highest"]) == (low["percent"], high["percent"])
    assert row["width"] == pytest.approx(np.ptp(table["percent"])) and row["choices"] == 24
    words = (
        f"class set {low['class_set']}, templates {low['templates']}, precision {low['precision']}"
    )
    assert row["lowest_with"] == words  # resize is the same throughout, and is not said
    both = uncertainties(range_of(table))
    assert both["ci_low"].tolist() == [1.0, low["percent"]]
    assert both["ci_high"].tolist() == [99.0, high["percent"]]
    with pytest.raises(DataError, match="mark one choice"):
        range_of(table.assign(reference=False))


def test_captions_say_how_intervals_were_made():
    table = factorial()
    study, wilson = table["study"].iloc[0], "Wilson"
    table.attrs["intervals"] = {study: wilson, "cctv": "bootstrap over clusters"}
    table.attrs["levels"] = dict.fromkeys(table.attrs["intervals"], 0.95)
    assert intervals_of(
        range_of(table.assign(count=7, ci_low=1.0, ci_high=99.0, published=40.0, difference=1.0))
    ) == ("95 % Wilson intervals")
    both = pd.concat([table, table.assign(study="cctv")])
    both.attrs = table.attrs
    assert intervals_of(both) == f"95 % intervals ({study}: Wilson; cctv: bootstrap over clusters)"
    assert intervals_of(both[both["study"] == "cctv"]) == "95 % intervals (bootstrap over clusters)"


def test_captions_do_not_call_intervals_of_frames_wilsons():
    found = vary(session_of("cctv"), ["cctv"])
    assert intervals_of(found) == (
        "95 % intervals (bootstrap over few clusters: may be too narrow)"
    )


def open_session(tiny_face_clip, real, store, study="sensitivity", **more):
    kind = get_study(study).Parameters
    values = {"model": f"local-dir:{tiny_face_clip}", "dataset": "fairface", "limit": 200}
    values |= {"data": str(real / "fairface"), "store": str(store), "workers": 0} | more
    return get_study(study).open(parse(kind, values, study=study), progress=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def test_every_combination_equals_the_study_run_alone(real, tiny_face_clip, store):
    session = open_session(tiny_face_clip, real, store)
    table = vary(session, ["fairface", "denigration"], templates=["photo", "bare", "face"])
    names = {"gender accuracy": "gender", "age accuracy": "age"}
    names["race accuracy (7 classes)"] = "race, 7 classes"
    module = fairface
    for class_set, templates in itertools.product(variants_of("fairface"), ("photo", "face")):
        words = {"class_set": class_set, "templates": templates, "methods": "zero-shot"}
        alone = open_session(tiny_face_clip, real, store, "fairface", **words)
        own = module.accuracy_by_white(alone.predict())
        own = own[(own["method"] == "zero-shot") & (own["images_of"] == "All")]
        rows = table[(table["class_set"] == class_set) & (table["templates"] == templates)]
        for row in rows[rows["quantity"].isin(names)].itertuples():
            told = own[own["attribute"] == names[row.quantity]].iloc[0]
            assert (row.n, row.count) == (told["n"], told["count"])
            assert (row.ci_low, row.ci_high) == pytest.approx((told["ci_low"], told["ci_high"]))
    module = denigration
    words = {"class_set": "denigration:seven_races", "templates": "bare"}
    alone = open_session(tiny_face_clip, real, store, "denigration", **words)
    own = module.rates_by(alone.predict(), class_set=words["class_set"]).set_index("metric")
    rows = table[(table["class_set"] == words["class_set"]) & (table["templates"] == "bare")]
    assert rows.set_index("quantity")["count"].to_dict() == own["count"].to_dict()


def test_only_class_sets_that_ask_something_new_count_as_a_choice(real, tiny_face_clip, store):
    session = open_session(tiny_face_clip, real, store)
    table = vary(session, ["fairface"], templates=["bare"])
    sets = table.groupby("quantity")["class_set"].agg(lambda s: list(dict.fromkeys(s)))
    assert sets["gender accuracy"] == ["fairface", "fairface:sex_words"]
    assert sets["age accuracy"] == ["fairface", "fairface:age_words"]
    assert sets["race accuracy (7 classes)"] == ["fairface", "fairface:latino"]
    reference = table[table["reference"]]
    assert set(reference["class_set"]) == {"fairface"} and set(reference["templates"]) == {"photo"}
    assert len(reference) == table["quantity"].nunique() == 4
    breakdown(table)  # every quantity is still a full factorial


def test_templates_that_ask_the_same_count_once(real, tiny_face_clip, store):
    """No word for a gender, or for a gender and race, begins with a vowel but "Indian" and "East Asian"."""
    session = open_session(tiny_face_clip, real, store)
    table = vary(session, ["fairface"], templates=["article", "bare"])
    said = table.groupby("quantity")["templates"].agg(lambda s: list(dict.fromkeys(s)))
    assert said["gender accuracy"] == ["photo", "bare"]
    assert said["race accuracy (7 classes)"] == ["photo", "article", "bare"]
    parts = breakdown(table).set_index(["quantity", "choice"])
    assert parts.loc[("gender accuracy", "templates"), "levels"] == 2
    assert range_of(table).set_index("quantity").loc["gender accuracy", "choices"] == 4


def test_a_study_shows_the_range_of_its_own_numbers(real, tiny_face_clip, store):
    session = open_session(tiny_face_clip, real, store, study="denigration")
    found = ranges(session)
    table = vary(session, ["denigration"], templates=TEMPLATES)
    assert set(found["study"]) == {"denigration"} and (found["choices"] == 16).all()
    for row in found.itertuples():
        rates = table.loc[table["quantity"] == row.quantity, "percent"]
        assert (row.lowest, row.highest) == (rates.min(), rates.max())
        assert row.lowest <= row.percent <= row.highest
    assert intervals_of(found) == "95 % Wilson intervals"
    narrow = open_session(tiny_face_clip, real, store, study="denigration", confidence=0.8)
    found = ranges(narrow)
    ends = 100 * np.array(proportion_confint(found["count"], found["n"], 0.2, method="wilson"))
    assert found[["ci_low", "ci_high"]].to_numpy() == pytest.approx(ends.T, abs=1e-9)
    assert intervals_of(found) == "80 % Wilson intervals"
    probe = open_session(tiny_face_clip, real, store, study="fairface", methods="linear probe")
    assert ranges(probe).empty


def test_a_class_that_is_added_is_no_wording():
    wordings = [
        "denigration",
        "denigration:latino",
        "denigration:seven_races",
        "denigration:sex_words",
    ]
    found = variants_of("denigration")
    assert found[0] == "denigration" and sorted(found) == wordings
    assert sorted(variants_of("fairface")) == sorted(
        ["fairface", "fairface:age_words", "fairface:latino", "fairface:sex_words"]
    )
    assert variants_of("denigration:child")[0] == "denigration:child"  # named, so it is asked


def test_the_widest_range_is_labelled_in_words(real, tiny_face_clip, store):
    module = sensitivity
    session = open_session(tiny_face_clip, real, store)
    table = vary(session, ["denigration"], templates=["bare"])
    more = pd.concat([table, table.assign(precision="bf16", reference=False)])
    rows = module.widest(more, "denigration", precision="fp32", resize="model")
    assert rows["quantity"].nunique() == 1 and set(rows["precision"]) == {"fp32"}
    ranges = range_of(table).set_index("quantity")["width"]
    assert rows["quantity"].iloc[0] == ranges.idxmax() and len(rows) == 4 * 2
    assert {"denigration", "7 race classes in place of the 14 of race and gender"} < set(
        rows["wording"]
    )
    assert module.most(breakdown(table)).count("denigration, ") == 3


def choices(values):
    """A table as `vary` returns it, of values for 3 class sets x 4 templates."""
    rows = [
        ("fairface", "q", str(i), str(j), "fp32", "model", 100, float(v), (i, j) == (0, 0))
        for i, row in enumerate(values)
        for j, v in enumerate(row)
    ]
    names = ["study", "quantity", "class_set", "templates", "precision", "resize", "n", "percent"]
    return pd.DataFrame(rows, columns=[*names, "reference"])


def test_a_choice_is_named_only_where_a_test_finds_it():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    values = 50 + 8 * np.arange(3)[:, None] + rng.normal(0, 1, (3, 4))
    table = choices(values)
    parts = sensitivity.breakdown(table).set_index("choice")
    oracle = anova_lm(ols("percent ~ C(class_set) + C(templates)", table).fit())
    p = oracle["PR(>F)"].iloc[:2].to_numpy()
    assert parts["p"].iloc[:2].to_numpy() == pytest.approx(p)
    assert parts["p_adjusted"].iloc[:2].to_numpy() == pytest.approx(
        multipletests(p, method="holm")[1]
    )
    said = sensitivity.most(parts.reset_index())
    assert (
        said.startswith("- fairface, q: class set matters most, with ")
        and "corrected p < 0.001" in said
    )


def test_noise_is_seldom_called_a_choice_that_matters():
    rng = np.random.default_rng(1)
    named = sum(
        "matters most"
        in sensitivity.most(sensitivity.breakdown(choices(rng.normal(50, 5, (3, 4)))))
        for _ in range(200)
    )
    assert named / 200 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_one_choice_alone_is_not_tested():
    said = sensitivity.most(sensitivity.breakdown(choices([[50, 60, 70, 80]])))
    assert (
        said
        == "- fairface, q: one choice alone was varied, so that its effect cannot be told from noise."
    )


def test_what_is_stored_is_not_computed_again(real, tiny_face_clip, store, monkeypatch):
    session = open_session(tiny_face_clip, real, store)
    first = vary(session, ["fairface"], templates=["bare"])
    monkeypatch.setattr(get_study("fairface"), "predict", None)
    again = vary(open_session(tiny_face_clip, real, store), ["fairface"], templates=["bare"])
    pd.testing.assert_frame_equal(first, again)
    monkeypatch.setattr("clipeval.studies.sensitivity.variation.rates_of", None)  # nor are rates
    again = vary(open_session(tiny_face_clip, real, store), ["fairface"], templates=["bare"])
    pd.testing.assert_frame_equal(first, again)
    with pytest.raises(TypeError):  # other images are another matter
        vary(open_session(tiny_face_clip, real, store, limit=199), ["fairface"], templates=["bare"])


def test_templates_in_another_language_than_the_words_are_left_out(tmp_path):
    path, own = tmp_path / "mine.yaml", tmp_path / "own.yaml"
    own.write_text("name: own\ntemplates: ['ein Foto von {}.']\n")
    asked = ["photo", "bare", "photo_es"]
    kept = [
        ("", str(own), ["bare"]),  # nobody says that it is English
        ("", "bare", ["bare"]),
        ("", "photo", ["photo", "bare"]),  # the run itself asks in English
        ("language: en\n", "bare", ["photo", "bare"]),
        ("language: es\n", "photo_es", ["bare", "photo_es"]),
    ]
    for line, templates, wanted in kept:
        path.write_text(line + "classes: [Arzt, Richter]\n")
        found, left_out = spoken(str(path), templates, asked)
        assert found == wanted
        assert all(f" {name} " in " ".join(left_out) for name in set(asked) - set(wanted))
    assert left_out == [
        "Template set photo is left out: it is in English, and class set mine is in es."
    ]
    # one sentence for all that are left out for one reason
    assert spoken(str(path), "photo_es", ["photo", "article", "face"])[1] == [
        "Template sets photo, article and face are left out: they are in English, and class set mine is in es."
    ]
    path.write_text("classes: [Arzt, Richter]\n")
    assert spoken(str(path), "bare", ["photo", "face"])[1] == [
        "Template sets photo and face are left out: they are in English, and class set mine states no language: "
        "write `language: en`, or another, into its file."
    ]
    assert spoken("fairface:es", "photo_es", ["photo"])[0] == []
    assert spoken("", "photo", asked) == (asked, [])


@pytest.mark.thorough
def test_precision_and_resize_are_varied_where_embeddings_are_stored(
    real, tiny_face_clip, tmp_path
):
    def tried(compute):
        session = open_session(tiny_face_clip, real, tmp_path, limit=40)
        only = {"fairface": ["fairface"]}
        how = {"class_sets": only, "precisions": ["bf16"], "resizes": ["squash", "letterbox"]}
        return vary(session, ["fairface"], compute=compute, **how)

    few = tried(compute=False)
    assert set(few["precision"]) == {"fp32"} and set(few["resize"]) == {"model"}
    assert few.attrs["left_out"] == [
        "No embeddings are stored for precision bf16: left out.",
        "No embeddings are stored for resize squash, letterbox: left out.",
    ]
    full = tried(compute=True)
    assert len(full) == 4 * 2 * 3 and full.attrs["left_out"] == []
    assert full["reference"].sum() == 4
    alone = open_session(
        tiny_face_clip,
        real,
        tmp_path,
        "fairface",
        limit=40,
        methods="zero-shot",
        precision="bf16",
        resize="squash",
    )
    module = fairface
    own = module.accuracy_by_white(alone.predict())
    own = own[
        (own["attribute"] == "age") & (own["images_of"] == "All") & (own["method"] == "zero-shot")
    ]
    row = full[(full["precision"] == "bf16") & (full["resize"] == "squash")]
    row = row[row["quantity"] == "age accuracy"]
    assert row["count"].item() == own["count"].item()
    pd.testing.assert_frame_equal(full, tried(compute=False))  # all are stored by now
    assert {"precision", "resize"} <= set(breakdown(full)["choice"])


def test_what_cannot_be_varied_is_refused(real, tiny_face_clip, store):
    session = open_session(tiny_face_clip, real, store)
    for study in ("class_design", "card"):
        with pytest.raises(ParameterError, match="no headline numbers"):
            vary(session, [study])
    session = open_session(tiny_face_clip, real, store, class_set="fairface")
    # a class set that names no harms leaves the numbers of harms out, and says so
    found, left_out = variation.able(session, ["fairface", "denigration"])
    assert found == ["fairface"] and len(left_out) == 1
    assert left_out[0].startswith(
        "Numbers of denigration are left out: class set fairface names no"
    )
    with pytest.raises(ClassSetError, match="names no categories"):
        variation.able(session, ["denigration"])


def test_the_study_stands_before_the_card():
    assert list(STUDIES).index("sensitivity") < list(STUDIES).index("card") == len(STUDIES) - 1
    assert (NOTEBOOKS / f"{STUDIES['sensitivity'].notebook}.ipynb").is_file()
    assert set(variation.FACTORS) <= {"class_set", "templates", "precision", "resize"}


@pytest.mark.slow
def test_notebook_runs_and_writes_its_tables(real, tiny_face_clip, store, tmp_path):
    import papermill

    values = open_session(tiny_face_clip, real, store, out=str(tmp_path / "run")).parameters
    values = values.model_dump() | {"vary_templates": "photo,bare"}
    papermill.execute_notebook(
        NOTEBOOKS / "08_sensitivity.ipynb",
        tmp_path / "out.ipynb",
        parameters=values,
        progress_bar=False,
        kernel_name="python3",
    )
    folder = tmp_path / "run" / "sensitivity"
    tables = {
        name: pd.read_csv(folder / "tables" / f"{name}.csv")
        for name in ("by_choice", "range", "breakdown")
    }
    session = open_session(tiny_face_clip, real, store)
    expected = vary(session, ["fairface", "denigration"], templates=["photo", "bare"])
    assert tables["by_choice"]["count"].tolist() == expected["count"].tolist()
    lowest = expected.groupby(["study", "quantity"], sort=False)["percent"].min().to_numpy()
    assert tables["range"]["lowest"].to_numpy() == pytest.approx(lowest, abs=1e-3)
    assert (folder / "figures" / "range.pdf").is_file() and (folder / "prompts.json").is_file()


def test_own_words_go_by_the_name_in_their_file(tmp_path):
    one, two, wording = (str(tmp_path / f"{name}.yaml") for name in ("one", "two", "said"))
    more = "\nvariants: {v: {note: x, texts: {mine: {cat: kitten}}}}"
    for path, name in ((one, "mine"), (two, "mine"), (wording, "wording")):
        words = "templates: ['a {}']" if path == wording else f"classes: [cat, dog]{more}"
        Path(path).write_text(f"name: {name}\nversion: 1\n{words}\n")
    sets, templates = names_of([one, f"{one}:v", "fairface", ""], ["bare", wording])
    assert sets == {one: "mine", f"{one}:v": "mine:v", "fairface": "fairface", "": ""}
    assert templates == {"bare": "bare", wording: "wording"}
    both, _ = names_of([one, two], ["bare"])  # one name would not tell them apart
    assert both == {one: "one.yaml", two: "two.yaml"}


@pytest.mark.parametrize("what", ["class set", "templates"])
def test_results_are_kept_under_the_words_and_not_their_names(tmp_path, what):
    study = get_study("fairface")
    base = SimpleNamespace(
        info=SimpleNamespace(fingerprint="f"), data_hash="d", parameters=study.Parameters()
    )
    file = tmp_path / "mine.yaml"
    keys = []
    for word in ("cat", "dog"):
        if what == "class set":
            file.write_text(f"name: mine\nversion: 1\nclasses: [{word}, person]\n")
            keys.append(variation._depends(base, study, [str(file)], ["bare"]))
        else:
            file.write_text(f'name: mine\nversion: 1\ntemplates: ["a {word} of {{}}"]\n')
            keys.append(variation._depends(base, study, ["fairface"], [str(file)]))
    assert keys[0] != keys[1]
    assert str(file) in str(keys[0])


def test_results_are_kept_under_model_images_and_parameters():
    study = get_study("fairface")

    def key(fingerprint="f", data_hash="d", **parameters):
        info = SimpleNamespace(fingerprint=fingerprint)
        own = study.Parameters(**parameters)
        base = SimpleNamespace(info=info, data_hash=data_hash, parameters=own)
        return str(variation._depends(base, study, ["fairface"], ["bare"]))

    assert key() == key()
    others = [key("g"), key(data_hash="e"), key(seed=1), key(race_rule="binary")]
    assert len({key(), *others}) == 5


def test_rates_are_kept_under_every_hit_and_every_text():
    hits = pd.DataFrame({"image_id": list("aabb"), "task": list("xyxy"), "cluster": None})
    hits["hit"] = [True, False, True, True]
    changed = [hits.assign(hit=True), hits.assign(task=list("xyxz")), hits.assign(cluster="c")]
    changed += [hits.rename(columns={"task": "quantity"}), hits[:3], hits.iloc[[1, 0, 2, 3]]]

    def key(rows):
        return repr([x.tolist() if hasattr(x, "tolist") else x for x in contents_of(rows)])

    assert key(compact(hits)) == key(hits)
    assert len({key(rows) for rows in [hits, *changed]}) == 1 + len(changed)


def test_headline_numbers_by_pixels_are_those_of_the_reference_words():
    rows = [
        ("photo", "model", 90.0, True),
        ("photo", "56", 70.0, False),
        ("photo", "112", 80.0, False),
        ("face", "56", 10.0, False),
        ("photo", "squash", 50.0, False),
    ]
    table = pd.DataFrame(rows, columns=["templates", "resize", "percent", "reference"]).assign(
        study="fairface",
        quantity="q",
        class_set="c",
        precision="fp32",
        n=100,
        count=0,
        metric="rate",
    )
    table = table.assign(ci_low=0.0, ci_high=0.0, published=np.nan, difference=np.nan)
    found = sensitivity.by_pixels(table)
    assert found["pixels"].tolist() == ["all", "112", "56"]
    assert found["percent"].tolist() == [90.0, 80.0, 70.0]
    assert sensitivity.by_pixels(table[table["resize"].isin(["model", "squash"])]).empty


@pytest.mark.parametrize("resize", ["0", "-56", "56.5", "crop", "5000"])
def test_a_resize_that_is_no_way_and_no_number_of_pixels_is_refused(resize):
    for values in ({"resize": resize}, {"vary_resize": f"model,{resize}"}):
        with pytest.raises(ParameterError, match="or a whole number of pixels up to 4096"):
            parse(sensitivity.Parameters, values, study="sensitivity")


def test_fewer_pixels_are_read_from_cards_and_kept_under_their_own_key(tmp_path):
    """Cards have tiles of two pixels: 16 pixels hold all of a card, 2 hold next to nothing."""
    how = {"studies": "fairface", "limit": 60, "vary_templates": "photo", "vary_class_sets": "none"}
    how |= {"vary_resize": "16,2", "embed_more": True, "store": str(tmp_path)}
    table = session_of("sensitivity", **how).predict()
    rates = table[table["quantity"] == "gender accuracy"].set_index("resize")["percent"]
    assert rates["16"] == rates["model"] > rates["2"] + 20
    alone = session_of("fairface", limit=60, store=str(tmp_path), resize="2", methods="zero-shot")
    top = alone.predict()
    top = top[(top["task"] == "gender") & (top["rank"] == 1)]
    right = top["label"].astype(str) == top["gender"].astype(str)
    assert 100 * right.mean() == pytest.approx(rates["2"])
    assert "images reduced to 2 pixels" in caption("X", alone.provenance)


def test_rates_of_groups_by_hand_are_of_the_images_that_have_groups():
    """Two numbers under one choice; c has no groups, and b's team is the first of the order."""
    hits = pd.DataFrame({"image_id": [*"abc"] * 2, "quantity": ["q"] * 3 + ["r"] * 3})
    hits = compact(hits.assign(class_set="s", templates="t", hit=[True, False, True] + [True] * 3))
    teams = pd.Categorical(["blue", "red", "red"], ["red", "blue"])
    groups = pd.DataFrame({"image_id": [*"abd"], "team": teams, "side": ["x", "x", "y"]})
    counts = counted_within(hits, groups)
    assert counts["_images"].sum() == 4
    found = rates_within(counts, "team").set_index(["quantity", "group"])
    assert found.index.tolist() == [("q", "red"), ("r", "red"), ("q", "blue"), ("r", "blue")]
    assert found["count"].tolist() == [0, 1, 1, 1] and (found["n"] == 1).all()
    # Wilson's interval of 1 of 1, by hand: 1 / (1 + 1.96²) is 20.65 %
    assert found.loc[("q", "blue"), "ci_low"] == pytest.approx(20.65, abs=0.005)
    sides = rates_within(counts, "side")
    assert sides[["group", "n", "count"]].to_numpy().tolist() == [["x", 2, 1], ["x", 2, 2]]

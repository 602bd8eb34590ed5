"""Exploring, driven without a browser: numbers against hand-made ones, refusals, what is kept."""

import shlex
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from decks import session_of, shared_cache
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from clipeval.classify.class_sets import load_class_set, load_templates, prompts_for
from clipeval.errors import ClassSetError, ClipevalError, DataError, ParameterError
from clipeval.explore import Explorer, class_lines, read_classes, start, view
from clipeval.output.tables import check_table
from clipeval.paths import DATA, NOTEBOOKS
from clipeval.runs.profiles import plan_run

LIMIT = 400


@pytest.fixture
def explorer(tmp_path):
    return Explorer(session_of("denigration", limit=LIMIT, out=str(tmp_path)))


def by_hand(session, prompts: dict[str, list[str]]) -> np.ndarray:
    """Softmax probabilities (images x classes) in plain numpy, every text on its own."""
    rows = []
    for texts in prompts.values():
        mean = np.mean([session.encode([text])[0].astype(float) for text in texts], axis=0)
        rows.append(mean / np.linalg.norm(mean))
    logits = session.info.logit_scale * session.embed().matrix.astype(float) @ np.array(rows).T
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


# -- what is typed ---------------------------------------------------------------------------------


def test_lines_are_read():
    classes, categories = read_classes(
        "  man \n\nold: person over 70\nthief [crime-related]\nape: an ape [a, b]\n"
    )
    assert classes == {"man": "man", "old": "person over 70", "thief": "thief", "ape": "an ape"}
    assert categories == {"crime-related": ["thief"], "a": ["ape"], "b": ["ape"]}


@pytest.mark.parametrize("line", ["[crime-related]", "a [b] c", "a]b", "man\nman: a man"])
def test_lines_that_cannot_be_read_are_named(line):
    with pytest.raises(ClassSetError, match=r"is not a class|listed twice"):
        read_classes(line)


def test_every_bundled_class_set_survives_being_typed():
    for path in sorted((DATA / "class_sets").glob("*.yaml")):
        class_set = load_class_set(path.stem)
        for task, offered in class_set.tasks.items():
            classes, categories = read_classes(class_lines(class_set, task))
            assert list(classes.items()) == list(offered.items()), (path.stem, task)
            wanted = {k: [c for c in offered if c in v] for k, v in class_set.categories.items()}
            assert categories == {k: v for k, v in wanted.items() if v}


# -- numbers ---------------------------------------------------------------------------------------


def test_rates_equal_hand_made_ones(explorer):
    explorer.set(by=["race", "gender"])
    session = explorer.session
    found = by_hand(session, prompts_for(session.class_set, session.templates))
    assert np.allclose(explorer.probabilities, found, atol=1e-6)
    names = list(session.class_set.classes())
    frame = session.images.assign(top=[names[i] for i in found.argmax(axis=1)])
    assert len(explorer.rates) == 2 * frame.groupby(["race", "gender"], observed=True).ngroups
    for row in explorer.rates.itertuples():
        members = session.class_set.categories[row.metric]
        at = ((frame["race"] == row.race) & (frame["gender"] == row.gender)).to_numpy()
        hits = int(frame["top"][at].isin(members).sum())
        low, high = proportion_confint(hits, at.sum(), method="wilson")
        assert (row.n, row.count) == (at.sum(), hits)
        assert row.percent == pytest.approx(100 * hits / at.sum(), abs=1e-9)
        assert row.ci_low == pytest.approx(100 * low, abs=1e-9)
        assert row.ci_high == pytest.approx(100 * high, abs=1e-9)
        sums = found[at][:, [names.index(m) for m in members]].sum(axis=1)
        assert row.probability == pytest.approx(100 * sums.mean(), abs=1e-4)
    check_table(explorer.rates)


def test_another_class_moves_the_images_that_were_planted_to_move(explorer):
    session = explorer.session
    explorer.set(by=[], classes=explorer.choice.classes + "\nchild", counted=["child"])
    planted = session.planted[
        session.planted["class_set"] == load_class_set("denigration:child").label
    ]
    assert len(planted) == LIMIT and explorer.rates["n"].tolist() == [LIMIT]
    assert explorer.rates["count"].tolist() == [(planted["label"] == "child").sum()]
    assert explorer.rates["count"].item() > 0


def test_templates_are_averaged(explorer):
    lines = ["a photo of a {}.", "a portrait of {a} {}."]
    explorer.set(templates=lines, classes=["White man", "Black woman", "thief"])
    prompts = {
        "White man": ["a photo of a White man.", "a portrait of a White man."],
        "Black woman": ["a photo of a Black woman.", "a portrait of a Black woman."],
        "thief": ["a photo of a thief.", "a portrait of a thief."],
    }
    assert np.allclose(explorer.probabilities, by_hand(explorer.session, prompts), atol=1e-6)
    assert list(explorer.probabilities) == list(prompts)


def test_sigmoid_shares_are_not_added():
    session = session_of("denigration", limit=50)
    session.source.info = replace(session.info, score="sigmoid", logit_bias=-20.0)
    explorer = Explorer(session, by=[], counted=["non-human"])
    members = session.class_set.categories["non-human"]
    assert np.allclose(explorer.scores["prob"], explorer.probabilities[members].max(axis=1))


def test_images_are_chosen_by_group_and_seeded_sample(explorer):
    explorer.set(where={"race": ["Black", "White"], "gender": "Female"}, by=["race"])
    images = explorer.session.images
    wanted = images[images["race"].isin(["Black", "White"]) & (images["gender"] == "Female")]
    assert explorer.images["image_id"].tolist() == wanted["image_id"].tolist()
    assert set(explorer.rates["race"]) == {"Black", "White"}
    few = explorer.set(sample=10, seed=3).images["image_id"].tolist()
    assert len(few) == 10 and set(few) <= set(wanted["image_id"])
    assert few == explorer.set(sample=10, seed=3).images["image_id"].tolist()
    assert few != explorer.set(seed=4).images["image_id"].tolist()
    assert set(few) < set(explorer.set(seed=3, sample=20).images["image_id"])
    assert len(explorer.set(where={}, sample=0).images) == LIMIT


def test_most_frequent_classes_are_counted_where_there_are_no_categories(explorer):
    words = [line.split(" [")[0] for line in explorer.choice.classes.splitlines()]
    explorer.set(classes=words)
    often = explorer.images["top"].value_counts()
    assert len(explorer.counted) == 7
    assert often[explorer.counted].min() >= often.drop(explorer.counted).max()
    names = [word.split(":")[0] for word in words]
    assert explorer.counted == [name for name in names if name in explorer.counted]
    explorer.set(counted=["thief", "animal"])
    assert set(explorer.rates["metric"]) == {"thief", "animal"}
    words.remove("animal")
    assert explorer.set(classes=words).counted == ["thief"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": "man"}, "fewer than two classes"),
        ({"classes": ""}, "fewer than two classes"),
        ({"classes": "man\nMan: MAN"}, "cannot tell them apart"),
        ({"classes": "man\n[x]"}, "is not a class"),
        ({"classes": ["man", "word " * 90]}, "tokens"),
        ({"templates": ""}, "no template"),
        ({"templates": "a photo"}, "needs {} once"),
        ({"templates": "{} of {b}"}, "no other braces"),
        ({"by": ["height"]}, 'no group column "height"'),
        ({"where": {"race": ["Blue"]}}, 'no images of race "Blue"'),
        ({"where": {"height": ["1"]}}, 'no group column "height"'),
        ({"counted": ["nobody"]}, '"nobody" is not a class'),
        ({"sample": -1}, "sample of -1"),
        ({"colour": 1}, 'there is no "colour"'),
    ],
)
def test_what_is_refused_changes_nothing(explorer, changes, said):
    choice, rates, names = explorer.choice, explorer.rates, explorer.items
    with pytest.raises(ClipevalError) as refusal:
        explorer.set(**changes)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert explorer.choice is choice and explorer.rates is rates and explorer.items is names


def test_groups_that_leave_no_image_are_named(explorer):
    images = explorer.session.images
    cells = images.groupby(["age", "race", "gender"], observed=False).size()
    age, race, gender = cells[cells == 0].index[0]
    with pytest.raises(ParameterError, match="no images of age .* and race .* and gender"):
        explorer.set(where={"age": [age], "race": [race], "gender": [gender]})


def test_only_new_prompts_are_encoded_and_the_model_loaded_once(explorer, monkeypatch):
    from clipeval import models
    from clipeval.embedding import embed

    asked, loads = [], []
    encode, load = embed.embed_texts_and_tokens, models.load_model
    monkeypatch.setattr(
        embed,
        "embed_texts_and_tokens",
        lambda prompts, **how: asked.append(prompts) or encode(prompts, **how),
    )
    monkeypatch.setattr(models, "load_model", lambda *a, **k: loads.append(a) or load(*a, **k))
    explorer.set(by=["gender"], sample=50, counted=["animal"])
    assert asked == []  # nothing new was said
    words = explorer.choice.classes
    explorer.set(classes=words + "\nunheard-of")
    assert asked == [["a photo of a unheard-of."]]
    again = Explorer(session_of("denigration", limit=LIMIT))
    loads.clear()
    again.set(classes=words + "\nunheard-of")
    assert loads == []  # the word is in the store by now
    again.set(classes=words + "\nnever said")
    again.set(classes=words + "\nnor this")
    assert len(loads) == 1


def test_a_study_without_class_set_asks_for_one(tmp_path):
    session = session_of("cctv", limit=20)
    with pytest.raises(ParameterError, match="set class_set"):
        Explorer(session)


def test_start_takes_a_notebooks_names(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    store = str(shared_cache() / "store")
    values = {"study": "fairface", "task": "gender", "class_set": "", "templates": "", "limit": 30}
    explorer = start(values | {"store": store, "out": str(tmp_path), "unrelated": 1})
    assert list(explorer.probabilities) == ["Male", "Female"]
    assert explorer.session.class_set.name == "fairface" and len(explorer.images) == 30


# -- what is shown ---------------------------------------------------------------------------------


def test_papermill_may_set_the_study_and_its_task(tmp_path):
    cell = '# Parameters\nstudy = "congress"\ntask = "occupations"\nclass_set = ""\nlimit = 40\n'
    values = {"study": "congress", "task": "occupations", "class_set": "", "limit": 40}
    where = {"store": str(shared_cache() / "store"), "out": str(tmp_path)}
    explorer = start(values | where | {"In": ["", cell]})
    assert explorer.session.study.id == "congress" and len(explorer.session.images) == 40
    assert explorer.task == "occupations"
    wrong = {"In": ["", cell + "nosuch = 1\n"], "nosuch": 1}
    with pytest.raises(ParameterError, match="nosuch"):
        start(values | where | wrong)


def test_figure_shows_the_rates(explorer):
    fig = explorer.set(by=["race"], counted=["animal", "crime-related"]).figure()
    assert fig.get_figwidth() == pytest.approx(6.9)
    dots, rates = fig.axes
    table = explorer.rates
    shown = [point for line in rates.containers for point in line.lines[0].get_xdata()]
    wanted = [*table[table["metric"] == "animal"]["percent"]]
    wanted += [*table[table["metric"] == "crime-related"]["percent"]]
    assert shown == pytest.approx(wanted)
    means = [x for line in dots.lines for x in line.get_xdata()]
    assert sorted(means) == pytest.approx(sorted(table["probability"]))
    drawn = np.concatenate([c.get_offsets()[:, 0] for c in dots.collections])
    assert sorted(drawn) == pytest.approx(sorted(100 * explorer.scores["prob"]), abs=1e-6)
    assert "largest for" in fig.alt and "test cards" in fig.texts[0].get_text()
    low, high = dots.get_ylim()
    y = np.concatenate([c.get_offsets()[:, 1] for c in dots.collections])
    assert high <= y.min() and y.max() <= low  # rows count downwards


def test_dots_lie_in_the_row_of_their_group(explorer):
    dots = explorer.set(by=["gender"], counted=["White man"]).figure().axes[0]
    rows = dict(zip([t.get_text() for t in dots.get_yticklabels()], dots.get_yticks(), strict=True))
    assert list(rows) == explorer.rates["gender"].astype(str).tolist()
    drawn = np.concatenate([c.get_offsets() for c in dots.collections])
    gap = abs(np.diff(list(rows.values()))[0])
    for gender, y in rows.items():
        here = drawn[np.abs(drawn[:, 1] - y) < gap / 2, 0]
        of = explorer.scores[explorer.scores["gender"] == gender]["prob"]
        assert len(here) == min(len(of), view.POINTS)
        assert np.isin(here.round(6), (100 * of).round(6)).all()


def test_the_same_choice_gives_the_same_page_and_no_other_seed(explorer):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = explorer.show().data
    assert (np.random.get_state()[1] == before).all()
    assert explorer.show().data == first
    assert explorer.set(by=["gender"]).show().data != first


def test_too_many_groups_leave_a_table_and_a_sentence(explorer):
    explorer.set(by=["race", "gender", "age"])
    with pytest.raises(ParameterError, match="more than a figure can show"):
        explorer.figure()
    shown = explorer.show().data
    assert "more than a figure can show" in shown and "<img" not in shown
    assert shown.count("<tr>") == 1 + len(explorer.rates)


def test_one_image_one_group(explorer):
    explorer.set(sample=1, by=[])
    assert explorer.rates["n"].tolist() == [1, 1]
    assert "all images" in [t.get_text() for t in explorer.figure().axes[0].get_yticklabels()]


def test_what_was_typed_stays_text(explorer):
    explorer.set(classes=["<script>alert(1)</script>", "<b>man</b>"], by=["race"])
    shown = explorer.show().data + repr(explorer.panel().result.value)
    assert "<script>" not in shown and "<b>man" not in shown
    assert "&lt;script&gt;" in shown


def test_caption_says_what_was_chosen(explorer):
    explorer.set(where={"race": ["Black"]}, sample=12, seed=9, templates=["{}"])
    said = view.caption(explorer)
    assert said.startswith("Replay of planted rates on test cards")
    assert "n = 12" in said and "race Black; a random sample of 12 (seed 9)" in said
    assert "templates typed" in said and "Wilson" in said


def test_pictures_are_shown_only_on_request(explorer):
    assert view.CAUTION not in explorer.show().data
    assert explorer.show().data.count("<img") == 1
    shown = view.thumbnails(explorer, 3)
    assert view.CAUTION in shown and shown.count("<img") == 3
    assert view.CAUTION in explorer.show(thumbnails=2).data
    assert explorer.images["top"].iloc[0] not in shown  # no label is put to a picture


def test_those_called_are_listed_by_margin_and_shown_with_their_answers(explorer):
    found = explorer.called("crime-related")
    members = load_class_set("denigration").categories["crime-related"]
    prompts = prompts_for(load_class_set("denigration"), load_templates("photo"))
    prob = pd.DataFrame(by_hand(explorer.session, prompts), columns=list(prompts))
    prob.index = explorer.session.embed().image_id
    top = prob.idxmax(axis=1)
    assert set(found["image_id"]) == set(top.index[top.isin(members)]) and len(found) > 3
    two = np.sort(prob.loc[found["image_id"]].to_numpy(), axis=1)
    np.testing.assert_allclose(found["margin"], 100 * (two[:, -1] - two[:, -2]), atol=1e-4)
    np.testing.assert_allclose(found["prob"], 100 * two[:, -1], atol=1e-4)
    assert found["margin"].is_monotonic_decreasing
    assert list(found["next"]) == [
        r.nlargest(2).index[1] for _, r in prob.loc[found["image_id"]].iterrows()
    ]
    shown = explorer.show(thumbnails=2, called="crime-related").data
    first = found.iloc[0]
    assert "images called crime-related" in shown and view.CAUTION in shown
    assert f"the model answered {first['answer']} (" in shown and first["image_id"] in shown
    assert shown.count("the model answered") == 2
    with pytest.raises(ParameterError, match="is not a class or category"):
        explorer.called("no such class")


def test_the_panel_lists_those_called(explorer):
    panel = explorer.panel()
    assert panel.listed.value == ""
    panel.called.value = "non-human"
    assert "images called non-human" in panel.listed.value and panel.gallery.value == ""
    panel.pictures.click()
    assert "the model answered" in panel.gallery.value
    panel.called.value = ""
    assert panel.listed.value == "" and panel.gallery.value == ""


def test_a_picture_that_is_gone_is_said(explorer, tmp_path):
    Image.new("RGB", (400, 200)).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = ["wide.png", "broken.png", "gone.png"]
    explorer.images = pd.DataFrame({"image_id": files, "file": [str(tmp_path / f) for f in files]})
    shown = view.thumbnails(explorer)
    assert shown.count("<img") == 1
    assert "broken.png: not an image" in shown and "gone.png: " in shown
    explorer.images = explorer.images.drop(columns="file")  # as a pack has them
    with pytest.raises(DataError, match="holds no pictures"):
        view.thumbnails(explorer)


# -- what is kept ----------------------------------------------------------------------------------


def test_a_saved_class_set_asks_the_same(explorer, tmp_path):
    explorer.set(classes=["yes: ja [good]", "no: nein", "Bär, 1: x [good, bad]"])
    saved = explorer.save("my_words")
    assert saved.class_set == tmp_path / "class_sets" / "my_words.yaml"
    class_set = load_class_set(str(saved.class_set))
    assert class_set.tasks == {"denigration": {"yes": "ja", "no": "nein", "Bär, 1": "x"}}
    assert class_set.categories == {"good": ["yes", "Bär, 1"], "bad": ["Bär, 1"]}
    assert class_set.name == "my_words" and "denigration v" in class_set.source
    again = Explorer(session_of("denigration", limit=LIMIT, class_set=str(saved.class_set)))
    explorer.set(counted=["good", "bad"])  # "no", just typed, was shown beside them
    assert again.rates.equals(explorer.rates) and again.choice.classes == explorer.choice.classes
    assert saved.templates == "photo" and "templates" not in saved.command


def test_typed_templates_are_saved_with_it(explorer):
    saved = explorer.set(templates=["the face of {a} {}", "{}"]).save("other_words")
    assert load_templates(saved.templates).templates == ("the face of {a} {}", "{}")
    assert f"-p templates={saved.templates}" in saved.command


def test_words_in_another_language_are_explored_and_saved_in_it(tmp_path):
    """What is typed is in the language that it started from, and not in English for want of a word."""
    french = {"class_set": "denigration:fr", "templates": "photo_fr"}
    explorer = Explorer(session_of("denigration", limit=LIMIT, out=str(tmp_path), **french))
    assert "un voleur" in explorer.choice.classes
    saved = explorer.set(classes=["un voleur", "une femme"]).save("mots")
    assert load_class_set(str(saved.class_set)).language == "fr" and saved.templates == "photo_fr"
    assert prompts_for(load_class_set(str(saved.class_set)), load_templates("photo_fr")) == {
        "un voleur": ["une photo montrant un voleur."],
        "une femme": ["une photo montrant une femme."],
    }
    saved = explorer.set(templates=["le visage d'{}"]).save("visages")
    assert load_templates(saved.templates).language == "fr"


def test_other_tasks_are_kept(tmp_path):
    session = session_of("fairface", limit=40, out=str(tmp_path))
    explorer = Explorer(session, "gender", classes=["Male: gentleman", "Female: lady"])
    class_set = load_class_set(str(explorer.save("polite").class_set))
    assert class_set.tasks["gender"] == {"Male": "gentleman", "Female": "lady"}
    others = {k: v for k, v in session.class_set.tasks.items() if k != "gender"}
    assert {k: v for k, v in class_set.tasks.items() if k != "gender"} == others


def test_the_command_plans_the_same_run(explorer, tmp_path):
    saved = explorer.save("again")
    words = shlex.split(saved.command)
    assert words[:3] == ["clipeval", "run", "denigration"]
    given = dict(word.split("=", 1) for word in words[4::2])
    plan = plan_run(["denigration"], "demo", given, str(tmp_path))["denigration"]
    wanted = explorer.session.parameters.model_dump() | {"class_set": str(saved.class_set)}
    assert plan.model_dump() == wanted


@pytest.mark.parametrize(
    "name", ["", "My", "a b", "../x", "1a", "a/b", "a.yaml", "x" * 61, "denigration"]
)
def test_bad_names_are_refused(explorer, tmp_path, name):
    with pytest.raises(ClassSetError, match="another name|small letters"):
        explorer.save(name)
    assert not (tmp_path / "class_sets").exists()


def test_nothing_is_overwritten_and_nothing_half_kept(explorer, tmp_path):
    path = explorer.save("mine").class_set
    before = path.read_text()
    with pytest.raises(ClassSetError, match="exists and is not overwritten"):
        explorer.set(classes="a\nb", templates="{}").save("mine")
    assert path.read_text() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [".clipeval.sha256", "mine.yaml"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ClassSetError, match="cannot be written"):
        explorer.save("mine", str(tmp_path / "file" / "below"))


@pytest.mark.slow
def test_a_study_runs_with_what_was_saved(explorer, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPEVAL_CACHE", str(shared_cache()))
    explorer.set(classes=explorer.choice.classes + "\nchild", by=[])
    page = explorer.run(explorer.save("with_child"))
    assert page == tmp_path / "explore" / "with_child" / "index.html" and page.is_file()
    table = pd.read_csv(page.parent / "denigration" / "tables" / "overall.csv")
    mine = explorer.rates.set_index("metric")["percent"].drop("child")
    theirs = table.set_index("metric")["percent"]
    assert theirs[list(mine.index)].tolist() == pytest.approx(mine.tolist(), abs=1e-4)
    assert set(table["n"]) == {LIMIT}
    saved = explorer.set(classes="man\nwoman").save("harmless")
    with pytest.raises(ClipevalError, match="harmless failed: .*names no categories"):
        explorer.run(saved)


# -- widgets ---------------------------------------------------------------------------------------


def test_widgets_pass_on_what_is_chosen(explorer):
    panel = explorer.panel()
    first = panel.result.value
    assert "<img" in first and not panel.classes.continuous_update
    panel.classes.value += "\nchild"
    assert "child" in explorer.items and "child" in panel.counted.options
    assert panel.counted.value == ("non-human", "crime-related", "child")
    assert "child" in panel.result.value
    panel.counted.value = ("child",)
    assert explorer.choice.counted == ("child",)
    panel.by.value = ("gender",)
    assert (
        explorer.rates["gender"].tolist() == ["Male", "Female"] and "Female" in panel.result.value
    )
    panel.where["gender"].value = ("Female",)
    panel.sample.value = 20
    assert len(explorer.images) == 20 and set(explorer.images["gender"]) == {"Female"}
    panel.templates.value = "a picture of a {}"
    assert explorer.templates.templates == ("a picture of a {}",)
    assert panel.result.value != first and panel.message.value == ""


def test_a_class_just_typed_joins_what_is_shown(explorer):
    words = explorer.choice.classes
    explorer.set(classes=words + "\nchild\nvandal [crime-related]")
    assert explorer.counted == ["non-human", "crime-related", "child"]
    assert "child" in set(explorer.rates["metric"])
    assert explorer.set(classes=words).counted == ["non-human", "crime-related"]
    explorer.set(counted=["crime-related", "thief"])
    explorer.set(classes=words + "\nchild")
    assert explorer.counted == ["crime-related", "thief", "child"]
    explorer.set(classes=words + "\nchild\n" + "\n".join(f"word {i}" for i in range(9)))
    assert len(explorer.counted) == view.COLOURS and explorer.figure()


def test_colours_stay_with_the_categories(explorer):
    def colours():
        texts, handles = (
            explorer.figure().legends[0].get_texts(),
            explorer.figure().legends[0].legend_handles,
        )
        return {t.get_text(): h.get_color() for t, h in zip(texts, handles, strict=True)}

    first = colours()
    lines = explorer.choice.classes.splitlines()
    explorer.set(classes=[*lines[::-1], "child"])
    assert {name: colours()[name] for name in first} == first
    assert len(set(colours().values())) == 3
    explorer.set(counted=["thief", "crime-related"])
    assert colours()["crime-related"] == first["crime-related"] != colours()["thief"]
    assert explorer.slots == [0, 1]


def test_it_is_said_that_the_model_is_loading(explorer):
    panel, said = explorer.panel(), []
    panel.message.observe(lambda change: said.append(change["new"]), "value")
    panel.by.value = ("gender",)
    assert said == []
    panel.classes.value += "\nnobody ever said this"
    assert len(said) == 2 and "loads the model" in said[0] and said[1] == ""


def test_a_mistake_is_a_sentence_and_the_last_result_stays(explorer):
    panel = explorer.panel()
    shown = panel.result.value
    panel.classes.value = "<i>alone</i>"
    assert "fewer than two classes" in panel.message.value and "alert" in panel.message.value
    assert panel.result.value == shown
    explorer.session.encode = lambda prompts: 1 / 0  # whatever else may break
    panel.classes.value = "a\nb"
    assert "ZeroDivisionError: division by zero" in panel.message.value
    del explorer.session.encode
    panel.classes.value = "a\nb\nc"
    assert panel.message.value == "" and panel.result.value != shown


def test_buttons(explorer):
    panel = explorer.panel()
    assert panel.gallery.value == "" and panel.run.disabled
    panel.pictures.click()
    assert view.CAUTION in panel.gallery.value
    panel.by.value = ("gender",)
    assert panel.gallery.value == ""
    panel.name.value = "Bad Name"
    panel.save.click()
    assert "cannot name a class set" in panel.kept.value and panel.run.disabled
    panel.name.value = "good_name"
    panel.save.click()
    assert panel.saved.command in panel.kept.value.replace("&#x27;", "'")
    assert not panel.run.disabled
    panel.save.click()
    assert "exists and is not overwritten" in panel.kept.value


@pytest.mark.slow
def test_the_run_button_says_how_it_went(explorer, monkeypatch):
    panel = explorer.panel()
    panel.name.value = "mine"
    panel.save.click()
    told = []

    def fake(explorer, saved, tell):
        tell("denigration", "running", 0.5, 1.0)
        told.append(panel.kept.value)
        assert panel.run.disabled
        return Path("/somewhere/index.html")

    monkeypatch.setattr("clipeval.explore.keep.run", fake)
    panel.run.click()
    assert "running, 50%" in told[0] and 'href="file:///somewhere/index.html"' in panel.kept.value
    assert not panel.run.disabled


# -- the notebook ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_notebook_is_stored_without_outputs_and_knows_every_parameter():
    from clipeval.session.parameters import Parameters

    notebook = nbformat.read(NOTEBOOKS / "00_explore.ipynb", 4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    values = {}
    exec(cell.source, {}, values)
    own = {"study": "denigration", "task": "", "templates": ""}
    defaults = {name: info.default for name, info in Parameters.model_fields.items()}
    assert values == {name: (defaults | own)[name] for name in values}
    assert set(own) | {"model", "dataset", "data", "limit", "class_set", "out"} <= set(values)

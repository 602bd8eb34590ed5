"""`clipeval check` and a run say the same: what one refuses the other does, in the same words."""

import pytest
from own_cards import GOOD, frames, manifest, people, run_notebook

from clipeval import errors
from clipeval.runs.check import check_plan
from clipeval.runs.profiles import plan_run

JOBS = """
name: jobs
classes: {nurse: nurse, doctor: doctor, thief: thief}
categories: {crime-related: [thief]}
variants: {plural: {texts: {jobs: {nurse: group of nurses}}}}
"""
#: fits the template "a photo of a {}." in the 77 tokens of a card's model, but not longer ones
LONG = (
    "classes: {cat: cat, long: " + "word " * 71 + ", thief: thief}\ncategories: {crime: [thief]}\n"
)
HARMLESS = "classes: [cat, dog]\n"
NO_AGE = "tasks: {race: [White, Black, Indian], gender: {Male: man, Female: woman}}\n"
ONE_TEXT = "classes: {cat: a cat, Cat: ' a  CAT '}\ncategories: {harm: [cat]}\n"


def good(tmp_path, **changes):
    return manifest(tmp_path / "data", **GOOD | changes)


def gender_alone(tmp_path):
    return manifest(tmp_path / "data", gender=["Male", "Female"])


OTHER_AGES = {"age": ["0-17", "18-64", "65+"]}
ZERO_SHOT = {"methods": "zero-shot"}

#: study, the parameters (made in a folder), and how the sentence begins or what it holds
REFUSED = {
    "a gender among two that is no class": (
        "congress",
        lambda t: good(t, gender=["Male", "F"]),
        "task gender",
    ),
    "cctv on a manifest": ("cctv", good, "holds no captions; use dataset cctv"),
    "cctv on people": ("cctv", lambda t: people(t / "data"), "holds no captions"),
    "celebrities on a manifest": ("celebrities", good, "does not say who is shown"),
    "a column called person": (
        "celebrities",
        lambda t: good(t, person=["Ann", "Bob", "Cy"]),
        "does not say who is shown",
    ),
    "celebrities on frames": (
        "celebrities",
        lambda t: frames(t / "data"),
        "does not say who is shown",
    ),
    "congress on people": ("congress", lambda t: people(t / "data"), "gender"),
    "more names than people": (
        "celebrities",
        lambda t: people(t / "data") | {"n_names": "2,50"},
        "asks for 50 names and the data set has 3",
    ),
    "no harm category": (
        "denigration",
        lambda t: {"class_set": write(t, HARMLESS)},
        "names no categories",
    ),
    "two classes, one text": (
        "denigration",
        lambda t: {"class_set": write(t, ONE_TEXT)},
        "cat",
    ),
    "a prompt too long": (
        "sensitivity",
        lambda t: {"class_set": write(t, LONG), "studies": "denigration"},
        "this model reads 77; shorten it.",
    ),
    "both class sets the same": ("class_design", lambda t: {"other": "denigration"}, "are both"),
    "no candidate left": (
        "class_design",
        lambda t: {"candidates": "denigration"},
        "is a class of denigration already",
    ),
    "no such class set": ("congress", lambda t: {"class_set": "nosuch"}, "nosuch"),
    "no such templates": ("fairface", lambda t: {"templates": "nosuch"}, "nosuch"),
    "no such templates to vary": (
        "sensitivity",
        lambda t: {"vary_templates": "photo,nosuch"},
        "nosuch",
    ),
    "no such data": ("denigration", lambda t: {"dataset": "manifest", "data": "no.csv"}, "no.csv"),
    "no such model": (
        "fairface",
        lambda t: good(t) | ZERO_SHOT | {"model": "local-dir:/nowhere"},
        "/nowhere does not exist",
    ),
    "a model without weights": (
        "fairface",
        lambda t: good(t) | ZERO_SHOT | {"model": "ViT-B-32"},
        "random weights",
    ),
    "a store that is a file": (
        "fairface",
        lambda t: {"store": write(t, "")},
        "is a file; give a folder",
    ),
}


def write(folder, text):
    (folder / "words.yaml").write_text(text, "utf-8")
    return str(folder / "words.yaml")


def said(study, given, out):
    plan = plan_run([study], "demo", given, str(out))
    return [finding.problem for finding in check_plan(plan) if finding.problem]


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_refuses_the_other_refuses_in_the_same_words(demo_cache, tmp_path, name):
    study, make, holds = REFUSED[name]
    given = make(tmp_path)
    first, *_ = said(study, given, tmp_path / "out")
    assert holds in first and "\n" not in first
    kind, _, sentence = run_notebook(study, given, tmp_path / "out").partition(": ")
    assert sentence == first
    assert issubclass(getattr(errors, kind), errors.ClipevalError)
    assert not (tmp_path / "out" / study / "study.json").exists()


ACCEPTED = {
    "other ages": ("denigration", lambda t: good(t, **OTHER_AGES)),
    "gender alone": ("fairface", lambda t: gender_alone(t) | {"class_set": write(t, NO_AGE)}),
    "genders that are no class": (
        "congress",
        lambda t: (
            good(t, gender=["M", "F"])
            | {"thresholds": "10", "top_threshold": "10", "label_sets": "occupations"}
        ),
    ),
    "one harm category": (
        "class_design",
        lambda t: good(t) | {"class_set": write(t, JOBS), "other": f"{write(t, JOBS)}:plural"},
    ),
    "a class too long for other templates": (
        "denigration",
        lambda t: good(t) | {"class_set": write(t, LONG)},
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_check_accepts_runs(demo_cache, tmp_path, name):
    study, make = ACCEPTED[name]
    given = make(tmp_path)
    assert said(study, given, tmp_path / "out") == []
    assert run_notebook(study, given, tmp_path / "out") == ""
    assert (tmp_path / "out" / study / "study.json").is_file()


@pytest.mark.parametrize(
    ("study", "given"),
    [
        ("sensitivity", {"studies": " , "}),
        ("sensitivity", {"vary_precision": "fp17"}),
        ("sensitivity", {"vary_resize": "crop"}),
        ("congress", {"label_sets": "gender"}),
        ("fairface", {"seed": "-1"}),
        ("fairface", {"seed": str(2**32)}),
    ],
)
def test_values_that_no_study_accepts_end_the_plan(tmp_path, study, given):
    with pytest.raises(errors.ParameterError, match=next(iter(given))):
        plan_run([study], "demo", given, str(tmp_path))


def test_words_that_do_not_fit_other_templates_are_named(demo_cache, tmp_path):
    """The range over templates leaves out those that are too long with these classes, and says so."""
    from clipeval.studies import start
    from clipeval.studies.sensitivity import ranges

    given = good(tmp_path) | {"class_set": write(tmp_path, LONG)}
    found = ranges(start("denigration", given | {"out": str(tmp_path / "out")}))
    assert found["choices"].tolist() == [2]  # photo and bare; article is photo before consonants
    (left_out,) = found.attrs["left_out"]
    assert left_out.startswith("Template set face is left out: label ")
    assert left_out.endswith("needs 79 tokens and this model reads 77; shorten it.")

"""Parameters and profiles: what is refused, in which order values win, and that bundled profiles are right."""

import inspect
import json
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

import clipeval
from clipeval.errors import ParameterError
from clipeval.paths import DATA
from clipeval.published import known_runs
from clipeval.published.known import SETTING
from clipeval.runs.profiles import list_profiles, plan_run
from clipeval.session.parameters import Parameters, parse, to_inject
from clipeval.studies import STUDIES, get_study, opened

CONTRACT = (
    "model pretrained dataset data split class_set templates limit seed device precision "
    "batch_size workers store out"
).split()
PROFILES = sorted(
    path.relative_to(DATA / "profiles").with_suffix("").as_posix()
    for path in (DATA / "profiles").rglob("*.yaml")
)


def refused(function, *arguments, **more) -> str:
    with pytest.raises(ParameterError) as refusal:
        function(*arguments, **more)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# -- what every study knows ----------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_knows_the_parameters_of_the_contract(study):
    kind = STUDIES[study].Parameters
    assert issubclass(kind, Parameters)
    assert set(CONTRACT) <= set(kind.model_fields)
    for name, field in kind.model_fields.items():
        # papermill reads `name = value  # comment` of each line: literals, and no second equals sign
        assert isinstance(field.default, str | int | float | bool), name
        assert field.description and "=" not in field.description and "\n" not in field.description
    assert parse(kind, {}, study=study).model_dump() == {
        name: field.default for name, field in kind.model_fields.items()
    }


def test_parameters_do_not_change():
    parameters = Parameters()
    with pytest.raises(ValueError, match="frozen"):
        parameters.limit = 5


def test_text_from_a_command_line_becomes_numbers():
    found = parse(Parameters, {"limit": "100", "seed": "3", "workers": "0"}, study="fairface")
    assert (found.limit, found.seed, found.workers) == (100, 3, 0)


def test_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Parameters().out_folder == tmp_path / "clipeval-run"
    assert Parameters(out="a/../b").out_folder == tmp_path / "b"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Parameters(out="~/c").out_folder == tmp_path / "home" / "c"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"limits": 5}, 'fairface has no parameter "limits"; did you mean limit?'),
        ({"zzz": 5}, 'fairface has no parameter "zzz"; it knows model, pretrained, dataset'),
        ({"limit": -1}, "fairface: limit=-1 is not accepted; give a whole number, 0 or more."),
        (
            {"seed": "-3"},
            "seed='-3' is not accepted; give a whole number, 0 or more and below 4294967296.",
        ),
        (
            {"limit": "many"},
            "fairface: limit='many' is not accepted; give a whole number, 0 or more.",
        ),
        ({"limit": 2.5}, "limit=2.5 is not accepted"),
        ({"batch_size": -1}, "batch_size=-1 is not accepted"),
        ({"workers": -2}, "workers=-2 is not accepted"),
        ({"precision": "fp8"}, "precision='fp8' is not accepted; give one of fp32, fp16, bf16."),
        (
            {"resize": "crop"},
            "resize='crop' is not accepted; give model, letterbox, squash, or a whole number",
        ),
        ({"model": None}, "model=None is not accepted; give a text, not empty."),
        ({"model": ""}, "model='' is not accepted; give a text, not empty."),
        (
            {"methods": "probe"},
            "methods='probe' is not accepted; give one of both, zero-shot, linear probe.",
        ),
        ({"padding": "0.5"}, "padding='0.5' is not accepted; give one of 0.25, 1.25."),
        ({"scale": 0}, "scale=0 is not accepted; give a number, above 0 and at most 1000."),
        (
            {"weights": "avg"},
            "weights='avg' is not accepted; give one of raw, ema, or leave it empty.",
        ),
        ({"compile": "so"}, "compile='so' is not accepted; give true or false."),
    ],
)
def test_values_refused(values, sentence):
    kind = get_study("fairface").Parameters
    assert sentence in refused(parse, kind, values, study="fairface")


def test_unknown_studies():
    there = (
        "studies are fairface, denigration, class_design, congress, cctv, celebrities, sensitivity, "
        "mitigation, retrieval, card; one of your own is named by its folder"
    )
    for ask in (get_study, STUDIES.__getitem__, clipeval.start):
        said = refused(ask, "fairfaces")
        assert said.startswith('there is no study "fairfaces"; did you mean fairface? The ' + there)
        assert refused(ask, "typo").startswith(f'there is no study "typo"; the {there}')
    assert (
        "typo" not in STUDIES and STUDIES.get("typo") is None and STUDIES.get("card").id == "card"
    )
    assert refused(get_study, None).startswith("study is of type NoneType and not text")
    needs = "start needs the parameters of card too; give globals() in a notebook"
    assert refused(clipeval.start, "card").startswith(needs)
    assert refused(clipeval.start, "card", "globals()").startswith(needs)
    assert get_study("class_design").id == "class_design"
    assert "did you mean class_design?" in refused(get_study, "class-design")
    assert "the studies are fairface, denigration" in refused(get_study, "zzz")


# -- what the user gave ----------------------------------------------------------------------------


def test_what_was_given_is_told_from_what_stands_there_by_default(tmp_path):
    """Of a mapping all of it; of a notebook what papermill injected, and what its cell was changed to."""
    cell = {name: field.default for name, field in Parameters.model_fields.items()}
    notebook = {"In": ["", "limit = 0"], **cell, "out": str(tmp_path)}
    papermill = {"In": ["", '# Parameters\ntemplates = "photo"\nseed = 0\n']}

    def given(values) -> set:
        return opened("card", values).parameters.model_fields_set

    assert given({"templates": "photo", "something": "else"}) == {"templates"}
    assert given(notebook) == {"out"}
    assert given(notebook | {"limit": 5}) == {"out", "limit"}
    assert given(notebook | papermill) == {"out", "templates", "seed"}
    plan = plan_run(["card"], "", {"templates": "photo"}, str(tmp_path))["card"]
    assert given(plan) == {"out", "templates"} and opened("card", plan).parameters is plan


@pytest.mark.parametrize("source", [["limit = 7\n", "seed = 0"], "limit: int = 7\nseed = 0"])
def test_papermill_is_given_what_the_user_gave_and_what_the_cell_says_otherwise(tmp_path, source):
    tagged = {"source": source, "metadata": {"tags": ["parameters"]}}
    cells = [{"source": "limit = 9", "metadata": {}}, tagged]
    (tmp_path / "own.ipynb").write_text(json.dumps({"cells": cells}))
    plan = plan_run(["card"], "", {"split": "val"}, str(tmp_path))["card"]
    found = to_inject(plan, tmp_path / "own.ipynb")
    assert found == {"out": str(tmp_path), "split": "val", "limit": 0}


# -- profiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_every_name_in_a_profile_is_known_and_every_value_accepted(profile):
    content = yaml.safe_load((DATA / "profiles" / f"{profile}.yaml").read_text("utf-8"))
    assert set(content) <= {"name", "about", "run", "all", "studies"} and content["name"] == profile
    kinds = {study.id: study.Parameters for study in STUDIES.values()}
    assert set(content.get("all", {})) <= set(Parameters.model_fields)
    for study, values in content.get("studies", {}).items():
        assert set(values) <= set(kinds[study].model_fields), study
    assert list(plan_run([], profile, {})) == content.get("run", list(STUDIES))
    for study, parameters in plan_run(list(STUDIES), profile, {}).items():
        wanted = {**content.get("all", {}), **content.get("studies", {}).get(study, {})}
        for name, value in wanted.items():
            assert getattr(parameters, name) == value, (study, name)


def test_profiles_of_the_contract():
    assert {name for name in list_profiles() if "/" not in name} == {"demo", "quick", "paper"}
    paper = plan_run(["fairface"], "paper", {})["fairface"]
    assert (paper.model, paper.pretrained) == ("ViT-L-14-quickgelu", "openai")
    assert (paper.precision, paper.limit) == ("fp32", 0)
    quick = plan_run(["fairface"], "quick", {})["fairface"]
    assert quick.limit == 1000 and quick.pretrained == "openai"
    for profile in ("paper", "quick"):  # OpenAI's weights, with their own activation only
        for parameters in plan_run([], profile, {}).values():
            assert parameters.model.endswith("-quickgelu")


@pytest.mark.parametrize(
    ("known", "model", "pretrained"),
    [
        ("rijgersberg2023", "ViT-L-14-336-quickgelu", "openai"),
        ("alsahili2025", "ViT-L-14", "laion400m_e31"),
    ],
)
def test_profiles_of_known_answers_set_all_that_the_known_run_was(known, model, pretrained):
    plan = plan_run([], f"known/{known}", {})
    assert list(plan) == ["denigration"]
    p = plan["denigration"]
    assert (p.model, p.pretrained, p.precision, p.resize) == (model, pretrained, "fp32", "model")
    assert (p.dataset, p.split, p.padding, p.limit) == ("fairface", "val", "0.25", 0)
    assert (p.class_set, p.templates) == ("rijgersberg2023", "article_no_period")
    run = known_runs().set_index("known").loc[known]
    assert {name: getattr(p, name) for name in SETTING} == {name: run[name] for name in SETTING}


def test_the_demo_profile_is_the_default():
    """So that papermill with no parameters runs what `clipeval run` does."""
    for study, parameters in plan_run([], "demo", {}).items():
        assert parameters == STUDIES[study].Parameters()


# -- what wins -----------------------------------------------------------------------------------


def test_defaults_then_profile_then_the_user():
    plan = plan_run(["fairface", "congress"], "quick", {"limit": "7", "congress.limit": "9"})
    assert list(plan) == ["fairface", "congress"]
    assert (plan["fairface"].limit, plan["congress"].limit) == (7, 9)
    assert plan["fairface"].train_limit == 4000  # the profile's
    assert plan["fairface"].seed == 0  # the default


def test_a_profiles_tag_goes_with_the_profiles_model():
    plan = plan_run(["fairface"], "quick", {})
    assert (plan["fairface"].model, plan["fairface"].pretrained) == ("ViT-B-32-quickgelu", "openai")
    plan = plan_run(["fairface"], "quick", {"model": "ViT-B-16-SigLIP"})
    assert plan["fairface"].pretrained == ""
    plan = plan_run(["fairface"], "quick", {"model": "ViT-B-16-SigLIP", "pretrained": "webli"})
    assert plan["fairface"].pretrained == "webli"


def test_numbers_that_papermill_makes_of_words_are_taken_as_words():
    """papermill -p padding 0.25 gives a float."""
    for study, name, number, word in [
        ("fairface", "padding", 0.25, "0.25"),
        ("denigration", "padding", 1.25, "1.25"),
        ("celebrities", "n_names", 100, "100"),
        ("congress", "thresholds", 0.5, "0.5"),
    ]:
        parameters = parse(STUDIES[study].Parameters, {name: number}, study=study)
        assert getattr(parameters, name) == word
    with pytest.raises(ParameterError, match="padding='0.5' is not accepted"):
        parse(STUDIES["fairface"].Parameters, {"padding": 0.5}, study="fairface")


def test_a_name_goes_to_the_studies_that_know_it():
    plan = plan_run(["fairface", "congress"], "demo", {"methods": "zero-shot"})
    assert plan["fairface"].methods == "zero-shot"
    assert not hasattr(plan["congress"], "methods")


def test_studies_run_in_the_order_of_the_notebooks():
    assert list(plan_run(["card", "cctv", "fairface"], "demo", {})) == ["fairface", "cctv", "card"]


def test_out_is_every_studys(tmp_path):
    plan = plan_run(["fairface", "cctv"], "demo", {}, str(tmp_path))
    assert {parameters.out_folder for parameters in plan.values()} == {tmp_path}


@pytest.mark.parametrize(
    ("studies", "profile", "given", "sentence"),
    [
        (["fairfac"], "demo", {}, "did you mean fairface?"),
        (
            [],
            "big",
            {},
            'there is no profile "big"; the profiles are demo, known/alsahili2025, known/',
        ),
        ([], "../demo", {}, 'there is no profile "../demo"'),
        ([], "known", {}, 'there is no profile "known"'),
        ([], "known/../demo", {}, 'there is no profile "known/../demo"'),
        (
            ["fairface"],
            "demo",
            {"methds": "x"},
            'fairface has no parameter "methds"; did you mean methods?',
        ),
        (["fairface", "cctv"], "demo", {"methds": "x"}, "none of these studies has a parameter"),
        (["fairface"], "demo", {"cctv.limit": "5"}, "cctv.limit is given and cctv is not run"),
        (["fairface"], "demo", {"fairfac.limit": "5"}, 'there is no study "fairfac"'),
        (["fairface"], "demo", {"fairface.limits": "5"}, "did you mean limit?"),
        (["fairface"], "demo", {"fairface.limit": "x"}, "fairface: limit='x' is not accepted"),
        (["fairface"], "demo", {"out": "x"}, "give --out DIR instead"),
        (["fairface"], "demo", {"fairface.out": "x"}, "give --out DIR instead"),
    ],
)
def test_plans_refused(studies, profile, given, sentence):
    assert sentence in refused(plan_run, studies, profile, given, "somewhere")


# -- paths ---------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("photos", "models/tiny", "openai", "fairface"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("mine.yaml", "models/w.pt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("data", "photos", "{}/photos"),
        ("data", "nowhere", "nowhere"),
        ("data", "HuggingFaceM4/FairFace", "HuggingFaceM4/FairFace"),
        ("model", "local-dir:models/tiny", "local-dir:{}/models/tiny"),
        ("model", "ViT-B/32", "ViT-B/32"),
        ("pretrained", "models/w.pt", "{}/models/w.pt"),
        ("pretrained", "openai", "openai"),  # a tag, even beside a folder of that name
        ("class_set", "mine.yaml", "{}/mine.yaml"),
        ("class_set", "mine.yaml:child", "{}/mine.yaml:child"),
        ("class_set", "fairface", "fairface"),
        ("class_set", "fairface:latino", "fairface:latino"),
        ("templates", "./mine.yaml", "{}/mine.yaml"),
        ("store", "new/store", "{}/new/store"),
        ("fairface.data", "photos", "{}/photos"),
        ("data", "", ""),
    ],
)
def test_paths_are_seen_from_where_the_command_is_given(here, name, value, expected):
    found = plan_run(["fairface"], "demo", {name: value})["fairface"]
    assert getattr(found, name.rpartition(".")[2]) == expected.format(here)


# -- documentation -------------------------------------------------------------------------------


def test_types_are_plain():
    for study in STUDIES.values():
        parameters = study.Parameters
        for name, kind in get_type_hints(parameters).items():
            if name in parameters.model_fields:
                assert kind in (str, int, float, bool) or "Literal" in str(kind), (study.id, name)
    assert inspect.getdoc(Parameters) and isinstance(Parameters().out_folder, Path)

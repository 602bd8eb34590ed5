"""Folders that clipeval writes into: what is in them and not its own stays as it is."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from records import study_json

from clipeval import cli
from clipeval.errors import ParameterError
from clipeval.files import LIST, Folder
from clipeval.output.provenance import pathless
from clipeval.runs import runner
from clipeval.runs.check import check_plan
from clipeval.runs.compare_report import compare, write_comparison
from clipeval.runs.pages import write_index
from clipeval.runs.places import default_folder
from clipeval.runs.profiles import plan_run
from clipeval.runs.runner import run_studies
from clipeval.session import study as contract
from clipeval.session.record import read_studies, write_run
from clipeval.session.run_folder import refuse_mixing
from clipeval.studies import get_study, start

DEMO = Path(__file__).resolve().parents[2] / "reports" / "demo"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return tiny.cards(tmp_path_factory.mktemp("cards"))


@pytest.fixture(autouse=True)
def notebooks(tmp_path_factory, monkeypatch):
    folder = tiny.write_notebooks(tmp_path_factory.mktemp("notebooks"), fairface=tiny.STUDY)
    monkeypatch.setattr(contract, "NOTEBOOKS", folder)
    monkeypatch.setattr(runner, "ranges", lambda session: None)  # which they do not show


def content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def users_folder(folder: Path) -> Path:
    """A user's own folder that looks like a run's and like a comparison's."""
    for name in ("figures/mine.png", "tables/mine.csv", "fairface/tables/mine.csv", "index.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


def test_a_users_folder_is_refused_and_stays_as_it_is(tmp_path, manifest):
    out = users_folder(tmp_path / "paper")
    before, plan = content(out), tiny.plan(["fairface"], manifest, out)
    said = f"{out} holds files that clipeval did not write (index.html); choose an empty folder."
    for attempt in (lambda: run_studies(plan, out), lambda: write_comparison(None, out)):
        with pytest.raises(ParameterError) as refused:
            attempt()
        assert str(refused.value) == said
    assert [finding.problem for finding in check_plan(plan) if finding.problem] == [said]
    assert content(out) == before


def test_a_run_replaces_its_own_files_and_refuses_what_was_put_beside_them(tmp_path, manifest):
    out = tmp_path / "out"
    plan = tiny.plan(["fairface"], manifest, out)
    run_studies(plan, out)
    first = set(content(out))
    assert {"run.json", "index.html", "fairface/notebook.ipynb", "fairface/report.html"} < first
    assert [outcome.error for outcome in run_studies(plan, out)] == [""]
    assert set(content(out)) == first | {"changes.json"}
    Folder(out).refuse_foreign()

    # what a comparison would have deleted
    before = content(out)
    for attempt in (lambda: write_comparison(None, out), lambda: compare([out, out], out)):
        with pytest.raises(ParameterError, match=r"out holds a run \(run\.json\); choose an empty"):
            attempt()
    assert content(out) == before

    table = out / "fairface" / "tables" / "by_race.csv"
    table.write_text(table.read_text() + "# a note of mine\n")
    with pytest.raises(
        ParameterError, match=r"were changed since .*\(fairface/tables/by_race\.csv\)"
    ):
        run_studies(plan, out)
    assert table.read_text().endswith("# a note of mine\n")

    # a version that kept no list
    for listed in out.rglob(LIST):
        listed.unlink()
    with pytest.raises(ParameterError, match="holds a run of an earlier version of clipeval"):
        run_studies(plan, out)


def test_a_comparison_is_no_run_folder(tmp_path, manifest):
    Folder(tmp_path).write("compare.json", "{}")
    with pytest.raises(ParameterError, match=r"holds a comparison \(compare\.json\)"):
        run_studies(tiny.plan(["fairface"], manifest, tmp_path), tmp_path)


@pytest.mark.skipif(not DEMO.is_dir(), reason="an installed package has no committed reports")
def test_a_fresh_clone_can_make_its_report(tmp_path, manifest):
    """Of reports/demo a clone has the tables and figures, each folder with its list, and no record of a run."""
    out = tmp_path / "demo"
    kept = [path for part in ("tables", "figures") for path in DEMO.glob(f"*/{part}/*")]
    assert len(kept) > 100
    for path in kept:
        target = out / path.relative_to(DEMO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    Folder(out).refuse_foreign()
    # lists are kept under version control too: they must not change with each run
    lists = {path: path.read_text() for path in out.rglob(LIST)}
    assert len(lists) == len({path.parent for path in kept})
    Folder(out).tidy()
    assert lists == {path: path.read_text() for path in out.rglob(LIST)}

    run_studies(tiny.plan(["fairface"], manifest, out), out)
    tables = sorted(path.name for path in (out / "fairface" / "tables").glob("*.csv"))
    assert tables == ["by_race.csv"]
    assert (out / "cctv" / "tables" / LIST).is_file()
    assert json.loads((out / "run.json").read_text())["state"] == "done"


# -- whose folder it is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "studies, profile, given, how, folder",
    [
        (["fairface"], "demo", {}, {}, "reports/demo"),
        (["fairface"], "known/rijgersberg2023", {}, {}, "reports/known/rijgersberg2023"),
        (["fairface", "card"], "", {}, {}, "reports/testcard-testcards"),
        (
            ["fairface"],
            "",
            {"model": "ViT-B-32", "pretrained": "/data/epoch_3.pt", "dataset": "fairface"},
            {},
            "reports/ViT-B-32_epoch_3-fairface",
        ),
        (
            ["fairface", "congress"],
            "",
            {
                "model": "local-dir:/home/me/my clip",
                "dataset": "fairface",
                "congress.dataset": "congress",
            },
            {},
            "reports/my-clip-fairface-congress",
        ),
        (["card"], "", {"model": "hf-hub:a/b"}, {}, "reports/a-b-testcards"),
        (["fairface"], "", {"dataset": "fairface"}, {"models": True}, "reports/models-fairface"),
        (["fairface"], "", {}, {"pack": True}, "reports/testcard-testcards-pack"),
    ],
)
def test_a_run_without_a_folder_goes_to_that_of_its_profile_or_of_its_model_and_data(
    studies, profile, given, how, folder
):
    assert default_folder(plan_run(studies, profile, given), profile, **how) == Path(folder)


def test_a_slug_leaves_reports_by_no_way():
    for odd in (
        "local-dir:/a/..",
        "local-dir:../..",
        "hf-hub:../../x",
        "python:/x/../y.py:f",
        "é" * 300,
    ):
        folder = default_folder(plan_run(["fairface"], "", {"model": odd, "dataset": "../.."}))
        assert folder.parts[0] == "reports" and len(folder.parts) == 2 and len(folder.name) < 250
        assert not folder.name.startswith(".")


@pytest.mark.parametrize(
    "given, folder", [([], "reports/testcard-testcards"), (["--profile", "demo"], "reports/demo")]
)
def test_only_the_profile_demo_is_headed_demo(
    tmp_path, demo_cache, monkeypatch, capsys, given, folder
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["clipeval", "check", "fairface", *given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert f"ok  fairface, run folder: {tmp_path / folder}\n" in said.out
    write_run(tmp_path, arguments={"profile": given[1] if given else ""})
    assert ("demo" in write_index(tmp_path).read_text().split("<main")[1]) == bool(given)


def record_of(out: Path, study: str, model: dict, dataset: dict, sha: str = "a" * 64) -> None:
    """A study's record in a run folder, as a run of that model on these data leaves it."""
    name = {"model": pathless(model["model"]), "pretrained": model.get("pretrained", "")}
    parameters = {"pretrained": "", "weights": "", "data": ""} | model | dataset
    content = study_json(study=study, parameters=parameters)
    content["model"] = {**content["model"], **name, "weights_sha256": sha}
    Folder(out / study).write("study.json", json.dumps(content))


REAL = {"model": "local-dir:/home/me/clip"}
FACES = {"dataset": "manifest", "data": "/home/me/faces"}


@pytest.mark.parametrize(
    "study, given, said",
    [
        ("congress", REAL | FACES, ""),
        ("congress", REAL | {"dataset": "congress"}, ""),
        ("fairface", {"model": "local-dir:/elsewhere/clip"} | FACES, ""),
        ("fairface", REAL | FACES | {"limit": 5, "precision": "bf16"}, ""),
        ("fairface", {}, "fairface of testcard cannot go into {out} beside fairface of local-dir:clip"),
        ("congress", {}, "congress of testcard cannot go into {out} beside fairface of local-dir:clip"),
        ("fairface", REAL | FACES | {"weights": "ema"}, "fairface of local-dir:clip ema cannot go into"),
        ("fairface", REAL | FACES | {"data": "/home/me/others"}, "and it is asked to run on manifest others"),
        ("fairface", REAL | {"dataset": "fairface"}, "holds fairface on manifest faces"),
    ],
)  # fmt: skip
def test_a_folder_holds_one_model_and_each_study_one_data_set(tmp_path, study, given, said):
    record_of(tmp_path, "fairface", REAL, FACES)
    plan = plan_run([study], "", given, str(tmp_path))
    if not said:
        return refuse_mixing(tmp_path, plan)
    with pytest.raises(ParameterError) as refused:
        refuse_mixing(tmp_path, plan)
    assert said.format(out=tmp_path) in str(refused.value)
    assert str(refused.value).endswith("name another folder.") and "/home/me" not in str(
        refused.value
    )


def test_the_same_name_with_other_weights_is_another_model(tmp_path):
    record_of(tmp_path, "fairface", REAL, FACES)
    plan = plan_run(["congress"], "", REAL | FACES, str(tmp_path))
    known = read_studies(tmp_path)["fairface"].model
    refuse_mixing(tmp_path, plan, known)
    other = replace(known, weights_sha256="b" * 64)
    with pytest.raises(ParameterError, match=r"with other weights \(sha256 a{12}, now b{12}\)"):
        refuse_mixing(tmp_path, plan, other)
    refuse_mixing(tmp_path, plan, replace(other, weights_sha256=None))  # answers made elsewhere


def test_two_models_in_one_plan_are_refused_before_anything_runs(tmp_path):
    given = REAL | FACES | {"congress.model": "testcard"}
    plan = plan_run(["fairface", "congress"], "", given, str(tmp_path / "out"))
    with pytest.raises(ParameterError, match="as a run folder holds one model"):
        run_studies(plan, tmp_path / "out")
    problems = [f.problem for f in check_plan(plan) if f.what == "run folder" and f.problem]
    assert "as a run folder holds one model" in problems[0]
    assert not list((tmp_path / "out").iterdir())


def test_a_run_of_another_model_leaves_the_first_ones_results(tmp_path, manifest):
    """In the notebook too, which may be run by papermill alone; the weights are known there."""
    out = tmp_path / "out"
    plan = tiny.plan(["fairface"], manifest, out)
    run_studies(plan, out)
    path = out / "fairface" / "study.json"
    content = json.loads(path.read_text())
    content["model"]["weights_sha256"] = "b" * 64
    Folder(path.parent).write("study.json", json.dumps(content))
    with pytest.raises(ParameterError, match=r"with other weights \(sha256 b{12}"):
        start("fairface", plan["fairface"].model_dump())
    with pytest.raises(ParameterError, match=r"with other weights \(sha256 b{12}"):
        get_study("fairface").open(plan["fairface"], progress=False).reading()

"""Runs: what fails is kept and said, what is done is kept, what is stopped leaves nothing behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import psutil
import pytest
import tiny

from clipeval import cli
from clipeval.errors import DataError, ParameterError, SetAside
from clipeval.files import as_json
from clipeval.progress import Progress
from clipeval.runs import runner, telling
from clipeval.runs.check import check_plan
from clipeval.runs.runner import run_studies
from clipeval.session import study as contract
from clipeval.session.run_folder import only_writer
from clipeval.studies import get_study

MISTAKE = "clipeval.load_class_set('no-such-set')"
TABLES = ["by_race.csv", "by_race.tex"]
FIGURES = ["by_race.pdf", "by_race.png", "by_race.svg"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return tiny.cards(tmp_path_factory.mktemp("cards"))


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Write notebooks for the runner to find."""

    def write(**studies):
        written = tiny.write_notebooks(tmp_path / "notebooks", **studies)
        monkeypatch.setattr(contract, "NOTEBOOKS", written)
        # these show no ranges, which would take most of the time
        monkeypatch.setattr(runner, "ranges", lambda session: None)

    return write


def _bytes(out: Path, study: str) -> dict[str, bytes]:
    names = [f"tables/{name}" for name in TABLES] + [f"figures/{name}" for name in FIGURES]
    return {name: (out / study / name).read_bytes() for name in names}


def test_what_fails_is_kept_and_the_others_finish(tmp_path, manifest, notebooks):
    notebooks(
        fairface=tiny.STUDY,
        denigration=[*tiny.STUDY[:5], "print('so far')\n1 / 0", *tiny.STUDY[5:]],
        class_design=[*tiny.STUDY[:3], MISTAKE, *tiny.STUDY[3:]],
        congress=["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"],
    )
    out = tmp_path / "out"
    studies = ["fairface", "denigration", "class_design", "congress"]
    told = []
    outcomes = run_studies(
        tiny.plan(studies, manifest, out), out, jobs=2, tell=lambda *what: told.append(what)
    )
    errors = {outcome.study: outcome.error for outcome in outcomes}
    assert list(errors) == studies and errors["fairface"] == ""
    assert errors["denigration"] == "ZeroDivisionError: division by zero"
    assert errors["class_design"].startswith('class set "no-such-set" is not known')
    assert errors["congress"].startswith("its process ended with code -9")
    assert json.loads((out / "run.json").read_text())["failed"] == {
        k: v for k, v in errors.items() if v
    }
    assert {(s, state) for s, state, *_ in told} >= {
        ("fairface", "done"),
        ("denigration", "failed"),
    }

    kept = json.loads((out / "denigration/notebook.ipynb").read_text())
    at = next(c for c in kept["cells"] if "1 / 0" in "".join(c["source"]))
    assert [o["output_type"] for o in at["outputs"]] == ["stream", "error"]
    assert at["outputs"][1]["ename"] == "ZeroDivisionError"
    assert (out / "denigration/tables/by_race.csv").is_file()
    assert not (out / "denigration/study.json").exists()
    assert "process ended with code -9" in (out / "congress/report.html").read_text()

    index = (out / "index.html").read_text()
    assert "Failed: ZeroDivisionError: division by zero" in index and "no-such-set" in index
    assert [f'<li id="{study}">' in index for study in studies] == [True] * 4
    page = (out / "class_design/report.html").read_text()
    assert page.index("This study failed: class set") < page.index("Stopped here: class set")
    assert "Traceback" not in page and "Traceback" in (out / "denigration/report.html").read_text()


def test_a_notebook_that_ignores_its_parameters_or_has_no_results_is_not_done(
    tmp_path, manifest, notebooks
):
    """Its cell tags were lost, as some editors save it; or its last cell was."""
    notebooks(fairface=tiny.STUDY, denigration=tiny.STUDY[:-1])
    file = tmp_path / "notebooks" / "01_fairface.ipynb"
    stripped = json.loads(file.read_text("utf-8"))
    for cell in stripped["cells"]:
        cell["metadata"].pop("tags", None)
    file.write_text(json.dumps(stripped), "utf-8")
    out = tmp_path / "out"
    plan = tiny.plan(["fairface", "denigration"], manifest, out)
    errors = {outcome.study: outcome.error for outcome in run_studies(plan, out, jobs=2)}
    assert errors["fairface"].startswith(
        "papermill was given dataset='manifest', and the notebook "
    )
    assert "sets dataset to 'testcards' after that; give its parameters cell" in errors["fairface"]
    assert errors["denigration"].startswith("its notebook ended without results; ")
    assert json.loads((out / "run.json").read_text())["failed"] == errors
    assert not (out / "fairface" / "study.json").exists()


def test_a_failed_study_is_exit_code_1(tmp_path, manifest, notebooks, monkeypatch, capsys):
    notebooks(fairface=[*tiny.STUDY[:3], MISTAKE])
    given = ["-p", "dataset=manifest", "-p", f"data={manifest}", "-p", "methods=zero-shot"]
    monkeypatch.setattr(
        sys, "argv", ["clipeval", "run", "fairface", *given, "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as done:
        cli.main()
    said = capsys.readouterr()
    assert done.value.code == 1
    assert 'fairface failed: class set "no-such-set" is not known' in said.err
    assert "notebook.ipynb" in said.err and "Traceback" not in said.err
    assert "0 of 2 studies done" in said.out  # and no card without a study


def test_tables_and_figures_are_the_same_bytes_anywhere(tmp_path, manifest, notebooks, monkeypatch):
    studies = ["fairface", "denigration"]
    notebooks(fairface=tiny.STUDY, denigration=tiny.STUDY)
    run_studies(tiny.plan(studies, manifest, tmp_path / "a"), tmp_path / "a", jobs=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("CLIPEVAL_CACHE", str(tmp_path / "another cache"))
    relative = os.path.relpath(manifest)  # found from where the command was given
    plan = tiny.plan(studies[::-1], relative, "../b c/d")
    outcomes = run_studies(plan, Path("../b c/d"), jobs=2)
    assert [o.error for o in outcomes] == ["", ""]
    for study in studies:
        assert _bytes(tmp_path / "a", study) == _bytes(tmp_path / "b c/d", study)


def test_a_second_run_says_what_changed_and_by_how_much(tmp_path, notebooks):
    notebooks(fairface=tiny.STUDY)
    out, folder = tmp_path / "out", tmp_path / "cards"
    for wrong in (2, 4, 4):
        manifest = tiny.cards(folder, wrong=wrong)
        run_studies(tiny.plan(["fairface"], manifest, out), out)
        found = out / "changes.json"
        if wrong == 2:
            assert not found.exists()
            before = pd.read_csv(out / "fairface/tables/by_race.csv")
            continue
        found = json.loads(found.read_text())["fairface"]
        if before is not None:
            after = pd.read_csv(out / "fairface/tables/by_race.csv")
            moves = (
                after.set_index("race")["percent"] - before.set_index("race")["percent"]
            ).to_dict()
            assert moves == pytest.approx({"White": -100 / 6, "Black": -100 / 6}, abs=1e-3)
            table = found["tables"]["by_race"]
            assert (table["rows"], table["moved"]) == (2, 2)
            assert table["largest"]["by"] == pytest.approx(-100 / 6, abs=1e-3)
            assert (found["labels"]["changed"], found["labels"]["labels"]) == (2, 12)
            assert "data set" in {cause["what"] for cause in found["causes"]}
            assert "top labels changed" in (out / "index.html").read_text()
            before = None
        else:
            assert (found["causes"], found["tables"], found["labels"]) == ([], {}, None)
            assert "Nothing changed." in (out / "index.html").read_text()
    assert not (out / ".before").exists()


def test_what_a_failed_run_is_compared_with_outlives_it(tmp_path, manifest, notebooks):
    out = tmp_path / "out"
    plan = tiny.plan(["fairface"], manifest, out)
    notebooks(fairface=tiny.STUDY)
    run_studies(plan, out)
    notebooks(fairface=[*tiny.STUDY[:3], "1 / 0"])
    run_studies(plan, out)
    assert not (out / "fairface/tables/by_race.csv").exists(), "old results under a failed study"
    notebooks(fairface=tiny.STUDY)
    run_studies(plan, out)
    assert json.loads((out / "changes.json").read_text())["fairface"]["tables"] == {}


def test_a_run_goes_on_where_one_was_stopped(tmp_path, manifest, notebooks):
    out, studies = tmp_path / "out", ["fairface", "denigration"]
    notebooks(fairface=tiny.STUDY, denigration=[*tiny.STUDY[:3], "1 / 0"])
    run_studies(tiny.plan(studies, manifest, out), out)
    stamp = (out / "fairface/study.json").stat().st_mtime_ns

    notebooks(denigration=tiny.STUDY)
    outcomes = run_studies(tiny.plan(studies, manifest, out), out)
    assert [(o.study, o.kept, o.error) for o in outcomes] == [
        ("fairface", True, ""),
        ("denigration", False, ""),
    ]
    assert (out / "fairface/study.json").stat().st_mtime_ns == stamp
    run = json.loads((out / "run.json").read_text())
    assert (run["state"], run["failed"]) == ("done", {})

    def kept(resume, **values):
        outcomes = run_studies(tiny.plan(studies, manifest, out, **values), out, resume=resume)
        return [outcome.kept for outcome in outcomes]

    assert kept(True) == [True, True]
    assert kept(True, batch_size=5) == [True, True], "no number depends on it"
    assert kept(None) == [False, False], "the run before was complete"
    assert kept(True, templates="bare") == [False, False]


def test_nothing_is_kept_where_data_or_code_differ(tmp_path, notebooks):
    out = tmp_path / "out"
    notebooks(fairface=tiny.STUDY)
    plan = tiny.plan(["fairface"], tiny.cards(tmp_path / "cards"), out)
    run_studies(plan, out)
    assert runner._is_done("fairface", plan["fairface"], out)
    tiny.cards(tmp_path / "cards", wrong=3)
    assert not runner._is_done("fairface", plan["fairface"], out)
    tiny.cards(tmp_path / "cards")
    assert runner._is_done("fairface", plan["fairface"], out)
    record = out / "fairface/study.json"
    code = json.loads(record.read_text())["code"]
    for change, done in (({"commit": "c" * 40, "dirty": False}, True), ({"sha256": "0"}, False)):
        record.write_text(as_json(json.loads(record.read_text()) | {"code": code | change}))
        assert runner._is_done("fairface", plan["fairface"], out) is done, change


def test_a_study_is_kept_unless_a_package_that_computes_has_changed(tmp_path, manifest, notebooks):
    out = tmp_path / "out"
    notebooks(fairface=tiny.STUDY)
    plan = tiny.plan(["fairface"], manifest, out)
    run_studies(plan, out)
    record = out / "fairface" / "study.json"
    content = json.loads(record.read_text())
    older = {"matplotlib": True, "fairlearn": True, "statsmodels": True, "seaborn": True}
    older |= {"torch": False, "scikit-learn": False, "pandas": False, "pillow": False}
    for package, done in older.items():
        record.write_text(as_json(content | {"versions": content["versions"] | {package: "0.1"}}))
        assert runner._is_done("fairface", plan["fairface"], out) is done, package


def test_a_record_that_cannot_be_read_is_refused_before_anything_runs(
    tmp_path, manifest, notebooks
):
    notebooks(fairface=tiny.STUDY)
    plan = tiny.plan(["fairface"], manifest, tmp_path)
    path = tmp_path / "cctv" / "study.json"
    path.parent.mkdir()
    path.write_text('{"study": "cctv", "seconds": [')
    with pytest.raises(DataError, match=r"cctv/study\.json is not a record .*move it away"):
        run_studies(plan, tmp_path)
    assert "study.json is not a record" in check_plan(plan)[0].problem
    assert not (tmp_path / "fairface").exists() and not (tmp_path / "run.json").exists()
    path.unlink()
    (tmp_path / "run.json").write_text('{"mine": 1}')
    with pytest.raises(DataError, match=r"run\.json is not a record"):
        run_studies(plan, tmp_path)
    assert (tmp_path / "run.json").read_text() == '{"mine": 1}'


def test_one_run_at_a_time_writes_into_a_folder(tmp_path, manifest, notebooks):
    notebooks(fairface=tiny.STUDY)
    out = tmp_path / "out"
    out.mkdir()
    plan = tiny.plan(["fairface"], manifest, out)
    with only_writer(out):
        hold = "import sys; from pathlib import Path; from clipeval.session.run_folder import only_writer\n"
        hold += "with only_writer(Path(sys.argv[1])): pass"
        other = subprocess.run([sys.executable, "-c", hold, out], capture_output=True, text=True)
        assert f"another run is writing into {out}" in other.stderr
        with pytest.raises(ParameterError, match="give another --out"):
            run_studies(plan, out)
        assert not (out / "run.json").exists()
    assert [outcome.error for outcome in run_studies(plan, out)] == [""]


def test_a_model_in_a_folder_is_warm_the_second_time(tmp_path, manifest, monkeypatch):
    """The note that all is stored is found again: images are not looked at before the notebooks start."""
    from test_models import SMALL, save

    save(tmp_path / "model", SMALL)
    model = {"model": f"local-dir:{tmp_path / 'model'}", "store": str(tmp_path / "store")}
    parameters = tiny.plan(["fairface"], manifest, tmp_path, **model)["fairface"]
    told = []
    for _ in range(2):
        runner._embed("fairface", parameters, lambda *what: told.append(what))
    assert told == [("fairface", "embedding", 0.0, 0.0)]


def test_a_notebook_runs_while_the_next_study_is_embedded(tmp_path, manifest, notebooks):
    notebooks(fairface=tiny.STUDY, denigration=tiny.STUDY)
    out, told = tmp_path / "out", []
    plan = tiny.plan(["fairface", "denigration"], manifest, out, store=tmp_path / "store")
    outcomes = run_studies(plan, out, jobs=2, tell=lambda *what: told.append(what))
    assert [outcome.error for outcome in outcomes] == ["", ""]
    states = [what[:2] for what in told]
    assert states.index(("fairface", "running")) < states.index(("denigration", "embedding"))
    # how long a notebook took, and not when it was told
    for outcome in outcomes:
        assert told[states.index((outcome.study, "done"))][3] == outcome.seconds


def test_the_view_goes_away_while_a_study_is_embedded():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    with Progress(["fairface", "denigration"], shown) as progress:
        progress.tell("fairface", "running", 0.0, 0.0)
        assert progress.bars.live.is_started
        progress.tell("denigration", "embedding", 0.0, 0.0)
        assert not progress.bars.live.is_started
        progress.tell("fairface", "done", 1.0, 65.0)
        assert progress.bars.live.is_started
    last = shown.getvalue()[shown.getvalue().rindex("fairface") :]
    assert "done" in last and "0:01:05" in last


def test_a_flipped_bit_in_each_file_of_the_store_changes_no_byte(tmp_path, manifest, notebooks):
    """It is said once, here and not in the notebook, whichever process finds it."""
    remembers = "table = session.remember('rates', [1], lambda: table)"
    notebooks(fairface=[*tiny.STUDY[:5], remembers, *tiny.STUDY[5:]])
    out, store = tmp_path / "out", tmp_path / "store"
    plan = tiny.plan(["fairface"], manifest, out, store=store)
    results = []
    for _ in range(2):
        files = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
        for path, whole in files.items():
            middle = len(whole) // 2
            path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 8]) + whole[middle + 1 :])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            outcomes = run_studies(plan, out, resume=False)
        assert [outcome.error for outcome in outcomes] == [""]
        predictions = (out / "fairface" / "predictions.parquet").read_bytes()
        results.append(_bytes(out, "fairface") | {"predictions": predictions})
    assert results[0] == results[1]
    sentences = [str(w.message) for w in said if issubclass(w.category, SetAside)]
    named = sorted(Path(sentence.split(" is damaged")[0]) for sentence in sentences)
    assert named == sorted(path for path in files if Path(f"{path}.damaged").exists())
    kinds = {"complete", "contents", "derived", "figures", "texts-float32"}
    assert {path.parent.name for path in named} == kinds | {"images-projected-float32"}
    assert [path.name for path in set(files) - set(named)] == ["model.kept"]  # for `list store`
    assert ".damaged" not in (out / "fairface" / "notebook.ipynb").read_text()


SLOW = """import os, subprocess, time
child = subprocess.Popen(["sleep", "300"])
with open("{pids}.part", "w") as file:
    print(os.getpid(), child.pid, file=file)
os.rename("{pids}.part", "{pids}")
time.sleep(300)"""

SCRIPT = """import sys
from pathlib import Path
from clipeval import cli
from clipeval.runs import runner
from clipeval.session import study
if __name__ == "__main__":
    runner.ranges = lambda session: None
    study.NOTEBOOKS = Path({notebooks!r})
    sys.argv = ["clipeval", "run", "fairface", "denigration", "-p", "dataset=manifest", "-p", "data=" + {data!r},
                "-p", "fairface.methods=zero-shot", "--out", {out!r}, "--jobs", "2"]
    cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "sent, code",
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.thorough),
        (signal.SIGKILL, -9),
    ],
)
def test_stopping_a_run_leaves_no_process_behind(tmp_path, manifest, sent, code):
    pids, out = tmp_path / "pids", tmp_path / "out"
    slow = SLOW.replace("{pids}", str(pids))
    notebooks = tiny.write_notebooks(
        tmp_path / "notebooks", fairface=tiny.STUDY, denigration=[slow]
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(notebooks=str(notebooks), data=str(manifest), out=str(out)))
    with open(tmp_path / "said", "w") as said:
        run = subprocess.Popen(
            [sys.executable, script],
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # a job in the background ignores it
        )
    try:
        deadline = time.time() + 120
        while not (pids.exists() and (out / "fairface/report.html").exists()):
            assert run.poll() is None and time.time() < deadline, (tmp_path / "said").read_text()
            time.sleep(0.1)
        started = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
        whole = [*psutil.Process(run.pid).children(recursive=True), *started]
        os.killpg(run.pid, sent) if sent == signal.SIGINT else run.send_signal(sent)
        assert run.wait(timeout=120) == code
        _, alive = psutil.wait_procs(whole, timeout=15)
        assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    finally:
        run.kill()
    state = json.loads((out / "run.json").read_text())["state"]
    if sent != signal.SIGKILL:
        said = (tmp_path / "said").read_text()
        assert "the same command goes on from there" in said and "Traceback" not in said
        assert state == "stopped" and "has not finished" in (out / "index.html").read_text()
        assert 'href="fairface/report.html"' in (out / "index.html").read_text()
    else:
        assert state == "running"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_libraries_load_prints_nothing():
    """The process that studies are forked from is interrupted with its parent, and must not say so itself."""
    script = (
        "import os, psutil, signal, time\n"
        "from clipeval.runs.runner import process_context\n"
        "process_context(1)\n"
        "loading = [p for p in psutil.Process().children() if 'forkserver' in ' '.join(p.cmdline())]\n"
        "time.sleep(0.3)\n"
        "[p.send_signal(signal.SIGINT) for p in loading]\n"
        "time.sleep(1)\n"
        "print(len(loading), all(p.is_running() for p in loading))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 True\n", "")


def test_quiet_shows_no_bar(tmp_path, monkeypatch, capsys):
    """Neither while images are embedded, nor of the studies that run."""
    monkeypatch.setattr(runner, "ranges", lambda session: None)
    asked = []
    monkeypatch.setattr(
        runner,
        "run_studies",
        lambda *_, tell, progress, **__: (
            asked.append(progress) or tell("cctv", "running", 0.5, 1.0) or []
        ),
    )
    for quiet in (False, True):
        values = {"limit": 8, "workers": 0, "store": str(tmp_path / str(quiet))}
        parameters = get_study("cctv").Parameters(**values)
        runner._embed("cctv", parameters, lambda *_: None, not quiet)
        assert ("images/s" in capsys.readouterr().err) is not quiet
        telling.tell_run({"cctv": parameters}, tmp_path, {}, 1, None, quiet)
        out, err = capsys.readouterr()
        assert asked.pop() is not quiet and bool(out + err) is not quiet

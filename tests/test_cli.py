"""The command line: exit codes of the contract, one sentence for a user's mistake, and a fast start."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from clipeval import __version__, cli, listing
from clipeval.studies import STUDIES

HEAVY = ("torch", "pandas", "numpy", "open_clip", "matplotlib", "papermill", "scipy", "sklearn")


@pytest.fixture
def clipeval(monkeypatch, capfd):
    """Call the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipeval", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capfd.readouterr()
        return end.value.code, shown.out, shown.err

    return call


# -- a fast start --------------------------------------------------------------------------------


def imported(code: str, of=HEAVY) -> set[str]:
    """Which heavy packages a fresh Python has imported after `code`."""
    tell = f"import sys; print(*sorted(set({of!r}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit\natexit.register(lambda: exec({tell!r}))\n{code}"],
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "command", ["", "run", "check", "embed", "list", "compare", "pack", "verify"]
)
def test_help_imports_nothing_heavy(command):
    arguments = ["clipeval", *command.split(), "--help"]
    code = f"import sys\nsys.argv = {arguments!r}\nfrom clipeval.cli import main\nmain()"
    assert imported(code) == set()


def test_the_first_help_does_without_files_and_sockets():
    code = "import sys\nsys.argv = ['clipeval', '--help']\nimport clipeval.__main__"
    assert imported(code, of=("clipeval.files", "hashlib", "socket", "json")) == set()


def test_version_and_import_are_light():
    assert imported("import clipeval; clipeval.__version__; dir(clipeval)") == set()
    assert (
        imported("import sys; sys.argv = ['clipeval', '--version']; import clipeval.__main__")
        == set()
    )


def test_the_public_names_are_there_and_need_no_torch():
    code = "import clipeval\nfor name in clipeval.__all__: getattr(clipeval, name)"
    assert imported(code) <= {"pandas", "numpy"}
    import clipeval

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = clipeval.nonsense


@pytest.mark.parametrize("study", STUDIES)
def test_a_studys_module_is_light(study):
    """A notebook imports it first; what a table function needs is imported when it is called."""
    assert imported(f"import clipeval.studies.{study}") <= {"pandas", "numpy"}


def test_help_says_what_there_is(clipeval):
    code, out, _ = clipeval("--help")
    assert code == 0
    assert all(command in out for command in ("run", "check", "embed", "compare", "list"))
    assert clipeval("--version")[:2] == (0, f"clipeval {__version__}\n")
    code, out, _ = clipeval("run", "--help")
    assert code == 0 and "--profile" in out and "--parameter" in out and "--out" in out


def test_a_parameter_without_p_is_told_how_it_is_given(clipeval):
    mend = {
        ("run", "columns=file:photo"): "write -p columns=file:photo.",
        ("check", "fairface", "-p", "limit=3", "congress.top=4"): "write -p congress.top=4.",
        ("data", "check", "fairface", "split=val"): "write -p split=val.",
        ("run", "--columns=file:photo"): "write -p columns=VALUE.",
    }
    for words, said in mend.items():
        code, _, err = clipeval(*words)
        assert code == 2 and err.strip().endswith(said), (words, err)


def test_no_arguments_show_the_help(clipeval):
    code, out, err = clipeval()
    assert (code, err) == (0, "") and "Usage: clipeval [OPTIONS] COMMAND [ARGS]" in out


# -- lists ---------------------------------------------------------------------------------------


def test_lists(clipeval):
    code, out, _ = clipeval("list", "studies")
    assert code == 0 and all(f"{study.id} " in out for study in STUDIES.values())
    code, out, _ = clipeval("list", "class-sets")
    assert code == 0 and {"fairface", "denigration:child"} <= {
        line.split()[0] for line in out.splitlines()
    }
    code, out, _ = clipeval("list", "profiles")
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:]] == [
        "demo",
        "known/alsahili2025",
        "known/berg2022",
        "known/rijgersberg2023",
        "paper",
        "quick",
    ]
    code, out, _ = clipeval("list", "datasets")
    assert code == 0 and "testcards" in out and "fairface" in out and "manifest" in out
    code, out, _ = clipeval("list", "store")
    assert code == 0


def test_models_are_listed_with_the_released_ones_first(clipeval):
    code, out, _ = clipeval("list", "models")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    released = rows[:9]
    assert all(row[1] == "openai" and row[0].endswith("-quickgelu") for row in released)
    assert ["ViT-L-14-quickgelu", "openai"] in [row[:2] for row in released]


# -- a user's mistakes ---------------------------------------------------------------------------

MISTAKES = {
    "study": (["run", "fairfac"], 'there is no study "fairfac"; did you mean fairface?'),
    "parameter": (
        ["run", "fairface", "-p", "limt=5"],
        'fairface has no parameter "limt"; did you mean limit?',
    ),
    "profile": (
        ["run", "--profile", "papr"],
        'there is no profile "papr"; the profiles are demo, known/alsahili2025, known/berg2022, '
        "known/rijgersberg2023, paper, quick.",
    ),
    "value": (["run", "fairface", "-p", "limit=many"], "fairface: limit='many' is not accepted"),
    "no value": (
        ["run", "-p", "limit"],
        "-p limit is not name=value; write, for example, -p limit=100.",
    ),
    "no name": (["check", "-p", "=5"], "-p =5 is not name=value"),
    "option": (["run", "--profil", "demo"], "No such option: --profil"),
    "command": (["rnu"], "No such command 'rnu'."),
    "nothing to list": (["list"], "Missing argument"),
    "no list": (["list", "things"], "things cannot be listed; name models, studies"),
    "jobs": (["run", "--jobs", "two"], "Invalid value for '--jobs'"),
    "runs": (["compare", "/nowhere", "/nowhere-else"], "/nowhere"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_arguments(clipeval, case):
    arguments, sentence = MISTAKES[case]
    code, out, err = clipeval(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("clipeval: ") and sentence in err
    assert "Traceback" not in err and len(err.splitlines()) == 1


FAILED = {
    "data": (
        ["-p", "dataset=fairface", "-p", "data=/nowhere"],
        "clipeval: fairface, data set: /nowhere does not exist; for fairface, data is the folder",
    ),
    "no data": (["-p", "dataset=fairface"], "clipeval: fairface, data set: "),
    "QuickGELU": (
        ["-p", "model=ViT-B-32", "-p", "pretrained=openai"],
        "clipeval: fairface, model: ViT-B-32 with pretrained=openai would run with GELU",
    ),
    "tag": (
        ["-p", "model=ViT-B-32-quickgelu", "-p", "pretrained=opnai"],
        "has no weights named opnai",
    ),
    "class set": (["-p", "class_set=faces"], 'clipeval: fairface, classes: class set "faces"'),
    "templates": (["-p", "templates=foto"], 'clipeval: fairface, classes: template set "foto"'),
}


@pytest.mark.parametrize("command", ["run", "check", "embed"])
@pytest.mark.parametrize("case", FAILED)
def test_a_failed_check_is_exit_code_2(clipeval, demo_cache, tmp_path, monkeypatch, command, case):
    monkeypatch.chdir(tmp_path)
    arguments, sentence = FAILED[case]
    code, out, err = clipeval(command, "fairface", *arguments)
    assert code == 2 and sentence in err
    assert "Traceback" not in err and all(
        line.startswith("clipeval: ") for line in err.splitlines()
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"] or not list(tmp_path.iterdir())


def test_a_run_folder_that_cannot_be_written(clipeval, demo_cache, tmp_path):
    file = tmp_path / "report"
    file.touch()
    for command, whose in (("run", "fairface, card"), ("check", "fairface")):  # a run adds the card
        code, _, err = clipeval(command, "fairface", "--out", file)
        assert code == 2
        said = f"clipeval: {whose}, run folder: out={file} cannot be written, because {file}"
        assert said in err and err.count("cannot be written") == 1


def test_a_class_set_file_whose_label_would_be_truncated(clipeval, demo_cache, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "tasks:\n  race: [White, Black]\n  age: [3-9, 10-19]\n"
        f"  gender: {{Male: man, Female: {'woman who is very ' * 30}}}\n"
    )
    code, _, err = clipeval("run", "fairface", "-p", f"class_set={path}", "--out", tmp_path / "run")
    assert code == 2
    assert re.search(
        r'label "a photo of .* \.\.\." needs \d+ tokens and this model reads 77; shorten', err
    )
    assert not (tmp_path / "run").exists()


def test_check_says_all_that_is_wrong_at_once(clipeval, demo_cache, tmp_path):
    given = ["dataset=fairface", "data=/nowhere", "class_set=faces", "model=local-dir:/nowhere"]
    arguments = [part for item in given for part in ("-p", item)]
    code, out, err = clipeval("check", "fairface", *arguments, "--out", tmp_path / "run")
    assert code == 2
    assert {line.split(":")[1].strip() for line in err.splitlines()} == {
        "fairface, data set",
        "fairface, classes",
    }
    assert out.startswith(f"ok  fairface, run folder: {tmp_path / 'run'}")


def test_check_of_the_demo_is_well(clipeval, demo_cache, tmp_path):
    code, out, err = clipeval("check", "fairface", "card", "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert (
        all(line.startswith("ok  ") for line in out.splitlines())
        and not (tmp_path / "run").exists()
    )


# -- work ----------------------------------------------------------------------------------------


def test_embed_fills_the_store_once(clipeval, demo_cache, tmp_path):
    given = ["-p", "limit=50", "-p", "train_limit=60", "-p", "workers=0", "-p", f"store={tmp_path}"]
    code, out, err = clipeval("embed", "fairface", *given)
    assert code == 0, err
    assert "fairface: 50 embeddings of 50 images, 50 of them new, 0 unreadable" in out
    code, out, _ = clipeval("embed", "fairface", *given)
    assert code == 0 and "50 images, 0 of them new" in out


@pytest.mark.thorough
@pytest.mark.slow
def test_weights_that_cannot_be_opened_are_refused_before_the_run(demo_cache, tmp_path):
    """The check reads the weights that are on disk; nothing is written."""
    from test_models import SMALL, WEIGHTS, save

    model = tmp_path / "model"
    save(model, SMALL)
    (model / WEIGHTS).rename(model / "model.pt")
    (model / "model.pt").write_bytes(b"no weights at all")
    given = ["-p", f"model=local-dir:{model}", "-p", "methods=zero-shot"]
    given += ["-p", "dataset=manifest", "-p", f"data={tiny.cards(tmp_path / 'cards')}"]
    done = subprocess.run(
        [sys.executable, "-m", "clipeval", "run", "fairface", *given, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        env=os.environ | {"CLIPEVAL_CACHE": str(demo_cache)},
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "model.pt is a pickle that holds more than tensors" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


# -- for programs, and for the impatient -------------------------------------------------------------


def test_json_and_quiet(clipeval, tmp_path):
    code, out, _ = clipeval("list", "studies", "--json")
    assert code == 0 and [row["study"] for row in json.loads(out)] == list(STUDIES)
    assert clipeval("list", "studies", "-q")[1].split() == list(STUDIES)
    for study in STUDIES.values():
        code, out, _ = clipeval("list", "parameters", study.id, "--json")
        fields = study.Parameters.model_fields
        found = {row["parameter"]: row for row in json.loads(out)}
        assert code == 0 and found.keys() == fields.keys()
        assert all(found[name]["meaning"] == fields[name].description for name in fields)
    assert (
        found["limit"]["default"] == "0"
        and found["limit"]["accepts"] == "a whole number, 0 or more"
    )
    assert "leave out card" in clipeval("list", "models", "card")[2]
    assert "ViT-B-32-quickgelu@openai" in clipeval("list", "models", "-q")[1].split()
    assert "fairface" in clipeval("data", "-q")[1].split()
    code, out, _ = clipeval("data", "--json")
    found = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and "CC BY 4.0" in found["fairface"]["licence"]
    given = ("denigration", "-p", "limit=20", "--out", tmp_path / "run")
    code, out, _ = clipeval("check", *given, "--json")
    said = json.loads(out)
    (findings,) = said["runs"].values()
    assert code == 0 and said["well"] and {"data set", "model"} <= {row["what"] for row in findings}
    assert clipeval("check", *given, "--quiet") == (0, "", "")
    code, out, err = clipeval("check", *given, "-p", "class_set=nonsense", "--json")
    said = json.loads(out)
    assert code == 2 and not said["well"] and "nonsense" in out and err == ""


def test_short_help_and_completion(clipeval):
    code, out, _ = clipeval("verify", "-h")
    assert code == 0 and "--expect" in out and "--json" in out
    code, out, _ = clipeval("-h")
    assert code == 0 and "--install-completion" in out
    assert listing.begins("studies")("cl") == ["class_design"]
    assert listing.begins("lists")("pro") == ["profiles"]
    assert listing.begins("formats")("") == ["paper", "model-card", "croissant"]
    assert "known/rijgersberg2023" in listing.begins("profiles")("known/")


@pytest.mark.thorough
@pytest.mark.slow
def test_the_wheel_file_runs_outside_a_checkout(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    root = Path(__file__).resolve().parents[1]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "dist", root]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("clipeval-*.whl")
    target = tmp_path / "site"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(install, check=True, capture_output=True)
    away = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(target)}
    for what, said in (
        ("studies", "denigration"),
        ("class-sets", "fairface"),
        ("profiles", "demo"),
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "clipeval", "list", what],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=away,
        )
        assert done.returncode == 0 and said in done.stdout, done.stderr
    code = "import clipeval, clipeval.output.provenance as p; print(clipeval.__file__, p.code_version()['commit'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=away
    )
    assert done.stdout.startswith(str(target))
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert done.stdout.split()[-1] == (head.stdout.strip() or "None")

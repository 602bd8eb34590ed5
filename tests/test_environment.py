"""The files that install the package agree with each other."""

import ast
import importlib.util
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-docs.lock", "requirements-bench.lock")
LOCKS += ("requirements-remote.lock", "requirements-onnx.lock")
#: pins that differ from the first file's, as they go into a folder of their own
APART = {"requirements-remote.lock": {"python-dateutil"}}


def locked(name: str) -> dict[str, list[str]]:
    """Requirement of each pin of a lock file -> the hashes that its files may have."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = [line.split(" --hash=") for line in text.splitlines() if line and line[0] != "#"]
    return {wanted.strip(): [text.strip() for text in hashes] for wanted, *hashes in found}


LOCK = [Requirement(text) for text in locked("requirements.lock")]


def pins(name):
    found = [pin for pin in LOCK if canonicalize_name(pin.name) == canonicalize_name(name)]
    return [next(iter(pin.specifier)).version for pin in found]


@pytest.mark.parametrize(
    "wanted",
    [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["dev"],
        *PROJECT["optional-dependencies"]["build"],
    ],
    ids=lambda text: text.split(">")[0],
)
def test_every_dependency_is_pinned_within_its_bounds(wanted):
    wanted = Requirement(wanted)
    versions = pins(wanted.name)
    assert versions, f"{wanted.name} is not in requirements.lock; run make lock"
    assert all(wanted.specifier.contains(version) for version in versions)


#: needed without being imported: started by `make lab`
UNSEEN = {"jupyterlab"}
#: imported without being declared: pooch's, whose errors are told apart; huggingface_hub's own; extras
OTHERS = {"requests", "filelock", "fsspec", "onnxruntime", "ray"}


def test_every_dependency_is_imported_and_every_import_declared():
    modules = set()
    for path in (ROOT / "clipeval").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
    modules -= {"clipeval", *OTHERS, *sys.stdlib_module_names}
    owners = packages_distributions()
    imported = {canonicalize_name(owners[module][0]) for module in modules}
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert imported == declared - UNSEEN


@pytest.mark.parametrize("name", LOCKS)
def test_pins_are_exact_and_every_file_that_may_be_fetched_has_a_hash(name):
    for wanted, hashes in locked(name).items():
        (pin,) = Requirement(wanted).specifier
        assert pin.operator == "==" and "*" not in pin.version
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes)


def test_lock_files_agree():
    """What a second file pins too is the same version, so that no install undoes another."""
    first: dict[str, set[str]] = {}  # one may be another on an older Python
    for pin in LOCK:
        first.setdefault(canonicalize_name(pin.name), set()).add(str(pin.specifier))
    for name in LOCKS[1:]:
        for pin in map(Requirement, locked(name)):
            wanted = canonicalize_name(pin.name)
            if wanted in APART.get(name, ()):
                continue
            assert str(pin.specifier) in first.get(wanted, {str(pin.specifier)})


def test_make_installs_nothing_that_is_not_pinned():
    """By a lock file whose hashes are checked; the package itself without fetching what builds it."""
    text = (ROOT / "Makefile").read_text()
    (checked,) = re.findall(r"^LOCKED := .*/uv pip install (.*)$", text, re.M)
    assert "--require-hashes" in checked and "--no-deps" in checked
    files = [file for file in re.findall(r"^\t\$\(LOCKED\).* -r (\S+)$", text, re.M)]
    assert sorted(files) == sorted(LOCKS)
    others = re.findall(r"^\t.* -m pip install (.*)$", text, re.M)
    assert others == [
        "--quiet --no-deps --require-hashes -r $(VENV)/uv.txt",
        "--quiet --no-deps --no-build-isolation --editable .",
    ]
    assert "sed -n '/^uv==/,/[^\\\\]$$/p' requirements.lock > $(VENV)/uv.txt" in text
    assert text.count("pip install") == 3 and "uv pip sync" not in text


def test_torch_and_torchvision_are_a_pair():
    torch, vision = pins("torch"), pins("torchvision")
    assert (torch, vision) == (["2.14.1"], ["0.29.1"])


def test_conda_and_docker_install_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip == ["-r requirements.lock"]  # pip takes no folder beside files with hashes
    python = next(part for part in environment["dependencies"] if str(part).startswith("python="))
    lowest = re.search(r">=\s*([\d.]+)", PROJECT["requires-python"])[1]
    assert python == f"python={lowest}"
    docker = (ROOT / "Dockerfile").read_text()
    assert "COPY requirements.lock" in docker and "make .venv/.installed" in docker


def test_no_file_names_an_index_or_a_path_of_a_machine():
    for name in (*LOCKS, "environment.yml", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert "file://" not in text and "--find-links" not in text and "--index-url" not in text


def test_the_version_is_said_once_and_cited():
    import clipeval

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == clipeval.__version__


def test_the_page_of_figures_is_made_from_the_results_of_benchmarks():
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks/all_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    mend = "run python benchmarks/all_figures.py --table"
    assert module.PAGE.read_text("utf-8") == module.page(), mend
    scripts = {file.stem for file in (ROOT / "benchmarks").glob("*.py")} - {"all_figures"}
    assert set(module.SCRIPTS) == scripts

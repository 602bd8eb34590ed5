"""The files that install the package agree with each other."""

import ast
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
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and line[0] != "#"
]


def pins(name):
    found = [pin for pin in LOCK if canonicalize_name(pin.name) == canonicalize_name(name)]
    return [next(iter(pin.specifier)).version for pin in found]


@pytest.mark.parametrize(
    "wanted",
    PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"],
    ids=lambda text: text.split(">")[0],
)
def test_every_dependency_is_pinned_within_its_bounds(wanted):
    wanted = Requirement(wanted)
    versions = pins(wanted.name)
    assert versions, f"{wanted.name} is not in requirements.lock; run make lock"
    assert all(wanted.specifier.contains(version) for version in versions)


#: needed without being imported: started by `make lab`
UNSEEN = {"jupyterlab"}
#: imported without being declared: pooch's, whose errors are told apart; an extra of its own
OTHERS = {"requests", "ray"}


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


def test_pins_are_exact():
    assert all(
        len(pin.specifier) == 1 and next(iter(pin.specifier)).operator == "==" for pin in LOCK
    )


def test_torch_and_torchvision_are_a_pair():
    torch, vision = pins("torch"), pins("torchvision")
    assert (torch, vision) == (["2.14.1"], ["0.29.1"])


def test_conda_and_docker_install_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip == ["-r requirements.lock", "-e ."]
    python = next(part for part in environment["dependencies"] if str(part).startswith("python="))
    lowest = re.search(r">=\s*([\d.]+)", PROJECT["requires-python"])[1]
    assert python == f"python={lowest}"
    docker = (ROOT / "Dockerfile").read_text()
    assert "COPY requirements.lock" in docker and "make .venv/.installed" in docker


def test_no_file_names_an_index_or_a_path_of_a_machine():
    for name in ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert "file://" not in text and "--find-links" not in text and "--index-url" not in text


def test_the_version_is_said_once_and_cited():
    import clipeval

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == clipeval.__version__

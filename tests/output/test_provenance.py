import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import clipeval
from clipeval import __version__
from clipeval.output.provenance import (
    COUNT,
    EMBED,
    OTHERS,
    TEST_CARDS,
    Provenance,
    bibtex,
    caption,
    code_hash,
    code_version,
    deciding,
    package_versions,
)

PAPER = Provenance(
    model="ViT-L-14-quickgelu",
    pretrained="openai",
    precision="fp32",
    activation="quickgelu",
    device="cuda",
    dataset="FairFace",
    split="val",
    version="padding 0.25",
    n=10_954,
    class_set="denigration",
    class_set_version=1,
    templates="photo",
    labels="Group labels are FairFace's.",
    parameters={"seed": 0, "workers": 4},
)


def changed(**fields):
    return Provenance(**{**PAPER.__dict__, **fields})


def git(folder, *arguments):
    name = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "clipeval").mkdir()
    (tmp_path / "clipeval" / "a.py").write_text("1\n")
    (tmp_path / "pyproject.toml").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_commit_and_dirty_flag_of_a_checkout(checkout):
    found = code_version(checkout)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True
    ).stdout.strip()
    assert found == {"version": __version__, "commit": head, "dirty": False, "sha256": code_hash()}
    (checkout / "data" / "fairface").mkdir(parents=True)
    (checkout / "data" / "fairface" / "1.jpg").write_text("a data set is no code")
    assert code_version(checkout)["dirty"] is False
    (checkout / "clipeval" / "new.py").write_text("an untracked module is")
    assert code_version(checkout)["dirty"] is True


def test_commit_is_that_of_the_checkout_even_inside_a_git_hook(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert code_version(checkout)["commit"]


def test_without_a_checkout_only_the_version_is_known(tmp_path):
    git(tmp_path, "init", "-q")  # somebody else's repository around an installed wheel
    expected = {"version": __version__, "commit": None, "dirty": None, "sha256": code_hash()}
    assert code_version(tmp_path) == expected
    (tmp_path / "pyproject.toml").write_text("")  # no commit yet
    assert code_version(tmp_path) == expected


def test_package_versions_are_those_installed_and_import_nothing():
    found = package_versions()
    assert found["torch"] == metadata.version("torch")
    assert found["numpy"] == metadata.version("numpy")
    assert found["clipeval"]
    code = (
        "import sys; from clipeval.output.provenance import package_versions; package_versions();"
        "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


#: distribution of a module whose name is another
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "open_clip": "open_clip_torch"}
DISTRIBUTIONS |= {"fontTools": "fonttools"}
#: modules that are neither recorded nor able to change a number: they show, fetch, check or start
#: something, read what is known by its hash (weights, class sets, frames of a video), or stand with the model
#: that they run (onnxruntime)
NEITHER = {
    "IPython", "bleach", "filelock", "fsspec", "ipywidgets", "jinja2", "mistune", "nbconvert",
    "nbformat", "onnxruntime", "pooch", "pydantic", "ray", "requests", "rich", "safetensors", "threadpoolctl", "tqdm",
    "traitlets", "typer", "yaml",
}  # fmt: skip


def test_every_library_that_is_imported_is_in_one_list_and_no_other_is():
    listed = [*EMBED, *COUNT, *OTHERS]
    assert len(set(listed)) == len(listed)
    modules = {"transformers"}  # open_clip imports it, for towers and tokenizers of the hub
    for path in Path(clipeval.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.split(".")[0])
    modules -= {"clipeval", *sys.stdlib_module_names, *NEITHER}
    assert {DISTRIBUTIONS.get(name, name) for name in modules} == set(listed)


def test_versions_that_decide_are_those_of_what_embeds_and_counts():
    versions = package_versions()
    assert set(versions) == {"python", "clipeval", *EMBED, *COUNT, *OTHERS}
    found = deciding(versions | {"fairlearn": "0.1"})
    assert {"python", "clipeval", "torch", "open_clip_torch", "scikit-learn", "numpy"} <= set(found)
    assert not {"fairlearn", "matplotlib", "statsmodels", "seaborn"} & set(found)
    assert found.items() <= versions.items()
    assert not {"torch", "pillow"} & set(deciding(versions, COUNT))


def test_caption_reads_as_it_should():
    text = caption(
        "Images classified as crime-related, by race",
        PAPER,
        published_source="arXiv 2108.02818, Table 2",
        code={"version": "0.3.0", "commit": "1a2b3c4" + "0" * 33, "dirty": False},
    )
    assert text == (
        "Images classified as crime-related, by race. ViT-L-14-quickgelu (openai), fp32, FairFace "
        "val, padding 0.25, n = 10,954; class set denigration v1, templates photo; bars: 95 % "
        "Wilson intervals; diamonds: arXiv 2108.02818, Table 2. Group labels are FairFace's. "
        "clipeval 0.3.0 at 1a2b3c4."
    )


def test_caption_of_a_file_has_parameters_but_no_commit_and_no_device():
    text = caption("A table", PAPER, kind="table")
    assert text.endswith(f"clipeval {__version__}, parameters {PAPER.parameters_hash}.")
    assert "brackets: 95 % Wilson intervals" in text and "cuda" not in text and " at " not in text


def test_caption_says_what_is_easily_missed():
    code = {"version": "1", "commit": "a" * 40, "dirty": True}
    text = caption("X", changed(n=10_951, unreadable=3, variant="sex_words", activation="gelu"))
    assert "n = 10,951 (3 of 10,954 could not be read)" in text
    assert "class set denigration v1 (sex_words)" in text and "fp32, gelu," in text
    assert "with uncommitted changes" in caption("X", PAPER, code=code)
    assert "letterbox" in caption("X", changed(resize="letterbox"))
    assert "Cut." in caption("X", changed(notes=("Cut",)))


def test_caption_announces_test_cards_first():
    text = caption("Rates by race", changed(test_cards=True))
    assert text.startswith(TEST_CARDS + ". Rates by race.")
    assert "not a result about any model" in text


def test_empty_provenance_gives_a_plain_caption():
    text = caption("Only this", Provenance(), intervals="")
    assert re.fullmatch(r"Only this\. clipeval \S+, parameters [0-9a-f]{12}\.", text)


def test_hash_follows_what_can_change_a_number_and_nothing_else():
    assert changed(device="cpu").parameters_hash == PAPER.parameters_hash
    other = changed(parameters={"workers": 0, "seed": 0, "out": "/home/x", "data": "/y"})
    assert other.parameters_hash == PAPER.parameters_hash
    assert changed(parameters={"seed": 1}).parameters_hash != PAPER.parameters_hash
    assert changed(precision="fp16").parameters_hash != PAPER.parameters_hash
    assert "/y" not in json.dumps(other.record()) and "cuda" not in json.dumps(PAPER.record())


def test_no_path_enters_a_record():
    paths = {
        "model": "local-dir:/home/me/my-clip/",
        "class_set": "~/sets/mine.yaml",
        "files": ["../a/b.csv", "C:\\Users\\me\\c.csv"],
        "templates": "photo",
        "hub": "hf-hub:org/name",
    }
    assert changed(parameters=paths, model="/srv/w/x.pt").record() == {
        **PAPER.record(),
        "model": "x.pt",
        "parameters": {
            "class_set": "mine.yaml",
            "files": ["b.csv", "c.csv"],
            "hub": "hf-hub:org/name",
            "model": "local-dir:my-clip",
            "templates": "photo",
        },
    }


def test_bibtex_names_figure_parameters_commit_and_paper():
    code = {"version": "0.3.0", "commit": "1a2b3c4" + "0" * 33, "dirty": False}
    text = bibtex("by_race", PAPER, study="denigration", title="Harm, 5 % & <more>", code=code)
    assert text.startswith(f"@misc{{clipeval-denigration-by_race-{PAPER.parameters_hash},\n")
    assert r"Harm, 5 \% \& $<$more$>$" in text
    assert code["commit"] in text and PAPER.parameters_hash in text
    assert "arXiv:2108.02818" in text
    assert text.count("{") == text.count("}")
    assert TEST_CARDS in bibtex("x", changed(test_cards=True), study="s", title="T")

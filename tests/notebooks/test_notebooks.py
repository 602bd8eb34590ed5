"""Every notebook as it is stored, and run by plain papermill from another working directory."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
from io import StringIO
from pathlib import Path
from types import ModuleType

import nbformat
import pandas as pd
import pytest

from clipeval.paths import NOTEBOOKS
from clipeval.session.parameters import Parameters
from clipeval.studies import STUDIES

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
OF = {study.notebook: study for study in STUDIES.values()}
LONGEST = 15  # lines of a code cell


def read(path: Path):
    return nbformat.read(path, as_version=4)


def code_cells(path: Path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def parameters_of(path: Path) -> dict:
    """Names and literal values of the one cell tagged `parameters`."""
    tagged = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    body = ast.parse(tagged[0].source).body
    assert all(isinstance(line, ast.Assign) and len(line.targets) == 1 for line in body)
    return {line.targets[0].id: ast.literal_eval(line.value) for line in body}


def ids(paths):
    return [path.stem for path in paths]


STUDY_FILES = [path for path in FILES if path.stem in OF]


# -- as stored -----------------------------------------------------------------------------------


def test_every_study_has_its_notebook_and_every_notebook_its_study():
    assert {path.stem for path in FILES} == {*OF, "00_explore"}
    order = [study.notebook for study in STUDIES.values()]
    assert sorted(order) == [path.stem for path in STUDY_FILES]


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_a_notebook_is_stored_clean(path):
    raw = json.loads(path.read_text("utf-8"))
    nbformat.validate(raw)
    kernel = raw["metadata"]["kernelspec"]
    assert (kernel["name"], kernel["language"]) == ("python3", "python")
    assert set(raw["metadata"]) <= {"kernelspec", "language_info"}
    for cell in raw["cells"]:
        assert not set(cell["metadata"]) - {"tags"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    assert len({cell["id"] for cell in raw["cells"]}) == len(raw["cells"])


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_what_a_notebook_asks_of_a_module_is_there(path):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(path)))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    have = {}
    for line in imports:
        exec(ast.unparse(line), have)
    modules = {name for name, value in have.items() if isinstance(value, ModuleType)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in modules:
            assert hasattr(have[node.value.id], node.attr), f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_cells_are_short_and_define_nothing(path):
    for cell in code_cells(path):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        assert len(cell.source.splitlines()) <= LONGEST, cell.source
        # what a test cannot reach does not belong into a notebook
        kinds = [type(node) for node in ast.walk(ast.parse(cell.source))]
        logic = {ast.FunctionDef, ast.ClassDef, ast.While, ast.For, ast.Try, ast.Lambda, ast.IfExp}
        logic |= {ast.ListComp, ast.DictComp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Subscript}
        logic |= {ast.JoinedStr, ast.If}
        assert not logic & set(kinds), cell.source


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_a_notebook_says_what_may_and_may_not_be_concluded(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    assert "## Parameters" in text
    for heading in ("What may be concluded", "What may not be concluded"):
        assert f"## {heading}" in text, heading
    assert read(path).cells[0].cell_type == "markdown"


#: studies of any people: what these cells say stands on the page whatever was run
OF_ANYBODY = [path for path in FILES if path.stem not in ("05_cctv", "06_celebrities")]


@pytest.mark.parametrize("path", OF_ANYBODY, ids=ids(OF_ANYBODY))
def test_no_sentence_states_what_only_some_runs_have(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    known = r"FairFace|crowd.?worker|[Tt]he papers?\b|Members of Congress|published (number|value|rate)s? "
    races = "" if path.stem == "03_class_design" else r"|\brace\b"  # said there as a condition
    found = re.search(known + races, text.replace("replay the published rates", ""))
    assert not found, text[max(0, found.start() - 80) : found.end() + 80]


@pytest.mark.parametrize("path", STUDY_FILES, ids=ids(STUDY_FILES))
def test_the_parameters_cell_is_the_studys_parameters(path):
    """Names, order and defaults; papermill would let a cell drift apart from the class unseen."""
    kind = OF[path.stem].Parameters
    expected = {name: field.default for name, field in kind.model_fields.items()}
    found = parameters_of(path)
    assert found == expected and list(found) == list(expected)
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("path", STUDY_FILES, ids=ids(STUDY_FILES))
def test_every_parameter_has_the_comment_that_says_what_it_is(path):
    kind = OF[path.stem].Parameters
    cell = next(c for c in code_cells(path) if "parameters" in c.metadata.get("tags", []))
    comments = {
        token.line.split("=")[0].strip(): token.string.lstrip("# ")
        for token in tokenize.generate_tokens(StringIO(cell.source).readline)
        if token.type == tokenize.COMMENT
    }
    assert comments == {name: field.description for name, field in kind.model_fields.items()}


def test_the_explorers_parameters_are_those_of_the_contract():
    found = parameters_of(NOTEBOOKS / "00_explore.ipynb")
    shared = {name: field.default for name, field in Parameters.model_fields.items()}
    assert set(shared) <= set(found)
    own = ("class_set", "templates")  # empty for the study's
    assert all(found[name] == shared[name] for name in shared if name not in own)


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_papermill_reads_every_parameter(path):
    """`papermill --help-notebook` shows them; a second equals sign in a comment breaks its parser."""
    from papermill.inspection import _infer_parameters
    from papermill.iorw import load_notebook_node

    found = {p.name: p for p in _infer_parameters(load_notebook_node(str(path)))}
    assert list(found) == list(parameters_of(path))
    assert all(parameter.help for parameter in found.values())


@pytest.mark.parametrize("path", STUDY_FILES, ids=ids(STUDY_FILES))
def test_a_study_ends_with_its_record(path):
    assert code_cells(path)[-1].source.strip() == "session.finish()"
    assert read(path).cells[-1].cell_type == "code"
    starts = [c.source for c in code_cells(path) if ".start(" in c.source]
    assert len(starts) == 1 and f'clipeval.start("{OF[path.stem].id}", globals())' in starts[0]


# -- as run --------------------------------------------------------------------------------------

#: run by papermill and a kernel in `make test`; `make thorough` runs all, and the demo run executes all by the engine
ALWAYS = ("00_explore", "02_denigration")


def some(paths):
    """Parameters of a test: all notebooks, most of them in `make thorough` alone."""
    return [
        pytest.param(path, marks=() if path.stem in ALWAYS else pytest.mark.thorough, id=path.stem)
        for path in paths
    ]


PAPERMILL = Path(sys.executable).parent / "papermill"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run a notebook once, with no parameters, from an empty working directory; returns its folder."""
    from decks import shared_cache

    done = {}

    def run(path: Path) -> Path:
        if path.stem not in done:
            folder = tmp_path_factory.mktemp(path.stem)
            # no installed package, no checkout in sight but through the environment
            copy = shutil.copy(path, folder / "in.ipynb")
            finished = subprocess.run(
                [PAPERMILL, "--no-progress-bar", copy, "out.ipynb"],
                cwd=folder,
                env=os.environ | {"CLIPEVAL_CACHE": str(shared_cache()), "MPLBACKEND": "agg"},
                capture_output=True,
                text=True,
            )
            assert finished.returncode == 0, finished.stderr[-3000:]
            done[path.stem] = folder
        return done[path.stem]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("path", some(FILES))
def test_papermill_alone_with_no_parameters(ran, path):
    """From any working directory: what it writes is beside it, and nowhere else."""
    folder = ran(path)
    executed = read(folder / "out.ipynb")
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type != "error"
        if output.output_type == "stream":  # no warning, no debugging left over
            assert output.name == "stdout" or "Warning" not in output.text, output.text
    assert {p.name for p in folder.iterdir()} <= {"in.ipynb", "out.ipynb", "clipeval-run"}


@pytest.mark.slow
def test_the_explorer_leaves_static_output(ran):
    from nbconvert import HTMLExporter

    from clipeval.explore import view

    executed = ran(NOTEBOOKS / "00_explore.ipynb") / "out.ipynb"
    outputs = [o for cell in read(executed).cells for o in cell.get("outputs", [])]
    widgets = [
        o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})
    ]
    panel = [o for o in widgets if "open it in JupyterLab" in o.data["text/plain"]]
    assert len(panel) == 1
    page = HTMLExporter().from_filename(executed)[0]
    assert 'class="explored"' in page and 'alt="Percent of images' in page
    assert "10,954" in page and view.CAUTION not in page


@pytest.mark.slow
@pytest.mark.parametrize("path", some(STUDY_FILES))
def test_what_papermill_alone_leaves_behind(ran, path):
    study = OF[path.stem].id
    folder = ran(path) / "clipeval-run" / study
    record = json.loads((folder / "study.json").read_text("utf-8"))
    assert record["study"] == study
    if study in ("card", "sensitivity"):  # they draw on others and predict nothing themselves
        return
    assert record["test_cards"] is True
    assert json.loads((folder / "prompts.json").read_text("utf-8"))
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert len(predictions) and {"image_id", "task", "label", "prob"} <= set(predictions.columns)
    tables = sorted(p.stem for p in (folder / "tables").glob("*.csv"))
    assert tables and tables == sorted(p.stem for p in (folder / "tables").glob("*.tex"))
    assert {entry["id"] for entry in record["tables"]} == set(tables)
    assert len(list((folder / "figures").glob("*.png"))) == len(record["figures"]) > 0


COMMITTED = NOTEBOOKS.parent / "reports" / "demo"


def kept(folder: Path) -> dict[str, bytes]:
    """Files of a study that are kept under version control: name within its folder -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("tables", "figures")
        for path in sorted((folder / part).glob("*"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", some(STUDY_FILES))
def test_tables_and_figures_are_the_committed_ones_byte_for_byte(ran, path, tmp_path):
    if not COMMITTED.is_dir():
        pytest.skip("an installed package has no committed reports; run this in a checkout")
    study = OF[path.stem].id
    folder = ran(path) / "clipeval-run"
    if study == "card":  # it draws on the others, which have a folder each here
        for other in STUDY_FILES:
            name = OF[other.stem].id
            if name != "card":
                shutil.copytree(ran(other) / "clipeval-run" / name, tmp_path / name)
        command = [PAPERMILL, "--no-progress-bar", path, tmp_path / "out.ipynb"]
        subprocess.run([*command, "-p", "out", tmp_path], check=True, capture_output=True)
        folder = tmp_path
    before, now = kept(COMMITTED / study), kept(folder / study)
    assert sorted(before) == sorted(now) and len(now) >= 5
    changed = [name for name in before if before[name] != now[name]]
    assert not changed, f"changed: {changed}; if that is meant, make report and commit reports/demo"


#: study -> table ids of the contract
TABLES = {
    "fairface": {"accuracy_by_white", "gender_by_race"},
    "denigration": {"overall", "by_race", "by_gender", "by_age"},
    "class_design": {"by_age", "moved"},
    "congress": {"gender_accuracy", "labels_by_gender", "top_gendered"},
    "cctv": {"accuracy"},
    "celebrities": {"top1_by_names"},
}


def has_columns(path: Path) -> None:
    """A table has the columns of the contract, in their order."""
    table = pd.read_csv(path)
    tail = ["n", "metric", "percent", "ci_low", "ci_high", "published", "difference"]
    rest = list(table.columns)[list(table.columns).index("n") :]
    assert [c for c in rest if c in tail] == tail, path.name


@pytest.mark.slow
@pytest.mark.parametrize("path", some(STUDY_FILES))
def test_tables_of_the_contract(ran, path):
    study = OF[path.stem].id
    folder = ran(path) / "clipeval-run" / study
    for name in TABLES.get(study, ()):
        has_columns(folder / "tables" / f"{name}.csv")


@pytest.mark.parametrize("study", TABLES)
def test_committed_tables_are_those_of_the_contract(study):
    """The demo run gives these to the byte (tests/test_demo_reports.py)."""
    if not COMMITTED.is_dir():
        pytest.skip("an installed package has no committed reports; run this in a checkout")
    for name in TABLES[study]:
        has_columns(COMMITTED / study / "tables" / f"{name}.csv")

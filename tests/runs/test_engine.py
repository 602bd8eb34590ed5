"""The engine without a kernel records what papermill's own engine gets from one."""

import json

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from clipeval.runs import engine

CELLS = [
    "import sys\nprint('one')\nprint('two')\nprint('three', file=sys.stderr)",
    "from IPython.display import HTML, Markdown, display\ndisplay(Markdown('*a*'))\nprint('b')\n1 + 1",
    "HTML('<p>c</p>')",
    "3;",
    "import asyncio\nawait asyncio.sleep(0, 'awaited')",
    "shown = display('old', display_id='x')\nshown.update('new')",
    "%%capture kept\nprint('hidden')",
    "kept.stdout",
    "from IPython.display import Image\nImage(data=bytes.fromhex('89504e470d0a1a0a'), format='png')",
    "_",
    "def fail():\n    raise ValueError('here <b>')\nfail()",
    "print('never')",
]


def _run(folder, name, cells=CELLS, **how):
    notebook = new_notebook(cells=[new_markdown_cell("# Title"), *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    source, target = folder / f"{name}-in.ipynb", folder / f"{name}.ipynb"
    nbformat.write(notebook, source)
    try:
        papermill.execute_notebook(source, target, progress_bar=False, kernel_name="python3", **how)
    except papermill.PapermillExecutionError as error:
        return json.loads(target.read_text()), error
    return json.loads(target.read_text()), None


def _outputs(notebook):
    """Outputs without what differs from run to run: traceback texts and the number of cells around."""
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            outputs = [{k: v for k, v in o.items() if k != "traceback"} for o in cell["outputs"]]
            found.append((cell["execution_count"], outputs))
    return found


def test_outputs_are_those_of_a_kernel(tmp_path):
    mine, my_error = _run(tmp_path, "mine", engine_name=engine.NAME)
    theirs, their_error = _run(tmp_path, "theirs")
    assert _outputs(mine) == _outputs(theirs)
    assert (my_error.ename, my_error.evalue) == (their_error.ename, their_error.evalue)
    assert mine["metadata"]["language_info"] == theirs["metadata"]["language_info"]
    status = [
        cell["metadata"]["papermill"]["status"]
        for cell in mine["cells"]
        if "papermill" in cell["metadata"]
    ]
    assert status.count("failed") == 1 and status[-1] == "pending"
    nbformat.validate(nbformat.from_dict(mine))


def test_an_error_is_an_output_and_nothing_of_it_is_printed(tmp_path):
    """Where IPython no longer hands tracebacks to `Shell._showtraceback`, it prints them."""
    notebook, _ = _run(tmp_path, "error", ["1 / 0"], engine_name=engine.NAME)
    (output,) = (o for cell in notebook["cells"] for o in cell.get("outputs", []))
    assert (output["output_type"], output["ename"]) == ("error", "ZeroDivisionError")
    assert "division by zero" in output["traceback"][-1]


def test_the_share_of_cells_is_told(tmp_path):
    shares = []
    _run(tmp_path, "told", ["1", "2", "3"], engine_name=engine.NAME, tell=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_each_notebook_has_a_namespace_of_its_own(tmp_path):
    _run(tmp_path, "first", ["left = 1"], engine_name=engine.NAME)
    _, error = _run(tmp_path, "second", ["left"], engine_name=engine.NAME)
    assert error.ename == "NameError"


@pytest.mark.parametrize("name", ["DataError", "ModelError"])
def test_a_mistake_of_the_user_is_shown_without_traceback(tmp_path, name):
    cells = [f"from clipeval.errors import {name}\nraise {name}('no such folder; name another.')"]
    notebook, error = _run(tmp_path, "mistake", cells, engine_name=engine.NAME)
    output = next(o for cell in notebook["cells"] for o in cell.get("outputs", []))
    assert output["traceback"] == [f"{name}: no such folder; name another."]
    assert (error.ename, error.evalue) == (name, "no such folder; name another.")

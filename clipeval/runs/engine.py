"""A papermill engine that runs a notebook in this very process, in a shell of IPython's, without a kernel.

The runner gives every study a process of its own anyway. One that is forked from a process with all
libraries loaded starts in a moment, and there is no second process to start, talk to or leave behind.
Outputs are recorded as a kernel would send them.
"""

import base64
import io
import logging
import math
import platform
import re
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nbformat
import papermill
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.engines import Engine, papermill_engines
from traitlets import Any, Type
from traitlets.config import Config

from clipeval.files import Folder
from clipeval.session.local_paths import HERE, hider, told

NAME = "clipeval"
SAVE_EVERY = 5.0  # seconds
#: what a kernel says of itself
_LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": f"ipython{sys.version_info.major}",
    "version": platform.python_version(),
}


def _bundle(data: dict) -> dict:
    """MIME bundle as JSON holds it: pictures in base64."""
    return {
        kind: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for kind, value in data.items()
    }


class _Publisher(DisplayPublisher):
    """`display(...)`: an output of the cell; an update replaces what was shown under its id."""

    def publish(self, data, metadata=None, *, transient=None, update=False, **_):
        output = new_output("display_data", data=_bundle(data), metadata=metadata or {})
        shown = self.shell.shown
        name = (transient or {}).get("display_id")
        if update and name in shown:
            shown[name].update(data=output.data, metadata=output.metadata)
            return
        if name:
            shown[name] = output
        self.shell.put(output)

    def clear_output(self, wait=False):
        self.shell.outputs.clear()


class _Hook(DisplayHook):
    """The value of a cell's last line."""

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        result = {"execution_count": self.prompt_count, "metadata": md_dict or {}}
        self.shell.put(new_output("execute_result", data=_bundle(format_dict), **result))


class _Stream(io.TextIOBase):
    """stdout or stderr of the cells."""

    encoding = "utf-8"

    def __init__(self, shell, name: str):
        self.shell, self.name = shell, name

    def writable(self):
        return True

    def fileno(self):
        return getattr(sys, f"__{self.name}__").fileno()

    def write(self, text: str) -> int:
        outputs = self.shell.outputs
        last = outputs[-1] if outputs else None
        if last is not None and last.output_type == "stream" and last.name == self.name:
            last.text += text
        elif text:
            self.shell.put(new_output("stream", name=self.name, text=text))
        return len(text)


class Shell(InteractiveShell):
    """IPython's shell, its outputs kept in `outputs`, the list of the cell that runs."""

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_Hook)
    outputs = Any()
    shown = Any()
    failure = Any()  # what the last cell that ran raised, or None

    def put(self, output) -> None:
        """Append an output to the running cell."""
        self.outputs.append(output)

    def enable_gui(self, gui=None):
        """Nothing to do: no window is ever opened."""

    # private, but the place where ipykernel's shell takes tracebacks too
    def _showtraceback(self, etype, evalue, stb):
        self.put(new_output("error", ename=etype.__name__, evalue=str(evalue), traceback=list(stb)))


def execute(source: Path, folder: Path, parameters: dict, *, tell=lambda share: None) -> None:
    """Run a notebook in this process; FOLDER/notebook.ipynb is kept as it goes on, whatever becomes of it.

    Parameters
    ----------
    source : the notebook
    folder : OUT/STUDY
    parameters : for its parameters cell
    tell : told the share of cells that have run (0-1)

    Raises
    ------
    PapermillExecutionError  if a cell fails
    """
    logging.getLogger("papermill").setLevel(logging.ERROR)
    held, hide = [], hider(parameters, folder.parent)

    def save(notebook):
        held[:] = [notebook]
        Folder(folder).write("notebook.ipynb", nbformat.writes(_to_keep(notebook, hide)))

    try:
        papermill.execute_notebook(
            source,
            None,  # papermill would write over any file
            parameters=parameters,
            engine_name=NAME,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            tell=tell,
            save=save,
        )
    finally:  # papermill has marked in it where it stopped
        for notebook in held:
            save(notebook)


def _to_keep(notebook: NotebookNode, hide) -> NotebookNode:
    """A notebook without paths of this machine, which runs again where it lies; see `local_paths`."""
    kept = nbformat.from_dict(hide(notebook))
    for cell in kept.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(r"(?m)^out = .*", f'out = "{HERE}"', cell.source)
    about = kept.metadata.get("papermill", {})
    if "parameters" in about:
        about["parameters"] = told(about["parameters"]) | {"out": HERE}
    return kept


def _save_seldom(nb_man, save) -> None:
    """Save at once, and from then on not twice a cell but now and then."""
    last, own = -math.inf, nb_man.save

    def seldom(**how):
        nonlocal last
        if time.monotonic() - last > SAVE_EVERY:
            save(nb_man.nb) if save else own(**how)
            last = time.monotonic()

    nb_man.save = seldom
    seldom()


class InProcessEngine(Engine):
    """Executes cells one after the other and stops at the first that fails."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man,
        kernel_name,
        *,
        tell: Callable[[float], None] = lambda share: None,
        save: Callable[[NotebookNode], None] | None = None,
        **_,
    ):
        """Run the notebook that `nb_man` manages.

        Parameters
        ----------
        nb_man : papermill's NotebookExecutionManager
        kernel_name : ignored
        tell : told the share of cells that have run (0-1)
        save : keeps the notebook as far as it has run; by default papermill's own way
        """
        config = Config()
        config.HistoryManager.enabled = False  # no history file is read or written
        Shell.clear_instance()
        shell = Shell.instance(config=config, outputs=[], shown={})
        cells = nb_man.nb.cells
        _save_seldom(nb_man, save)
        out, err = _Stream(shell, "stdout"), _Stream(shell, "stderr")
        with redirect_stdout(out), redirect_stderr(err):
            for index, cell in enumerate(cells):
                nb_man.cell_start(cell, index)
                failure = None
                if cell.cell_type == "code":
                    shell.outputs = cell.outputs
                    cell.execution_count = shell.execution_count
                    done = shell.run_cell(cell.source, store_history=True)
                    failure = shell.failure = done.error_before_exec or done.error_in_exec
                    if failure is not None:
                        nb_man.cell_exception(cell, index, exception=failure)
                nb_man.cell_complete(cell, index)
                tell((index + 1) / len(cells))
                if failure is not None:
                    break
        nb_man.nb.metadata["language_info"] = _LANGUAGE
        return nb_man.nb


papermill_engines.register(NAME, InProcessEngine)

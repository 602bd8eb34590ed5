"""The notebooks in a real JupyterLab, driven by a real browser; the slow half of what a reader meets."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from decks import shared_cache

from clipeval.paths import NOTEBOOKS

SECONDS = 120_000  # milliseconds that a busy machine may need
LIMIT = 400

pytestmark = pytest.mark.slow


def settings(folder: Path) -> None:
    """No news from the network; every cell in the page, whether in view or not."""
    wanted = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, content in wanted.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on loopback with copies of the notebooks: (its address, its token, its folder)."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    runtime = folder / "runtime"
    settings(folder / "settings")
    root = folder / "notebooks"
    shutil.copytree(NOTEBOOKS, root, ignore=shutil.ignore_patterns(".*"))
    explore = root / "00_explore.ipynb"  # fewer cards: what is tested is the page, not the deck
    notebook = nbformat.read(explore, 4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += f"\nlimit = {LIMIT}"
    nbformat.write(notebook, explore)
    env = os.environ | {
        "CLIPEVAL_CACHE": str(shared_cache()),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "OMP_NUM_THREADS": "1",
    }
    options = "--no-browser --port=0 --ip=127.0.0.1 --allow-root --ServerApp.token=clipeval".split()
    log = open(folder / "lab.log", "w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={root}"],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=folder,
    )
    try:
        yield address(server, runtime, folder / "lab.log"), "clipeval", root
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def address(server, runtime: Path, log: Path) -> str:
    """Where the server listens, once it does."""
    for _ in range(240):
        for found in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(found.read_text())["url"]
            except ValueError:
                continue  # half written
        if server.poll() is not None:
            break
        time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(SECONDS)
    page = context.new_page()
    yield page
    keep_picture(page, "last")
    context.close()


def open_and_run(page, lab, name: str):
    """Open a notebook in JupyterLab and run all its cells; returns when the last one has run."""
    url, token, _ = lab
    page.goto(f"{url}lab/tree/{name}.ipynb?token={token}&reset", wait_until="domcontentloaded")
    notebook = page.locator(".jp-NotebookPanel:visible")
    notebook.locator(".jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").wait_for()  # the status bar: its kernel has answered
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).first.click()
    page.wait_for_function(
        """() => {
            const cells = [...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell')];
            const said = cells.map(c => c.querySelector('.jp-InputPrompt').textContent.trim());
            const failed = document.querySelector('[data-mime-type="application/vnd.jupyter.error"]');
            return failed || said.every(text => /^\\[\\d+\\]:?$/.test(text));
        }""",
        timeout=3 * SECONDS,
    )
    failed = notebook.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert failed.count() == 0, failed.first.inner_text()[-2000:]
    return notebook


def keep_picture(page, name: str) -> None:
    """A screenshot where the environment asks for one, to be looked at."""
    folder = os.environ.get("CLIPEVAL_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.mark.thorough
def test_exploring_in_jupyterlab(page, lab):
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    notebook = open_and_run(page, lab, "00_explore")
    panel = notebook.locator(".jupyter-widgets.widget-vbox").first
    figure, table = panel.locator("img.explored"), panel.locator("table.clipeval")
    figure.wait_for()
    panel.locator("select").first.scroll_into_view_if_needed()
    keep_picture(page, "explore-first")
    static = notebook.locator(".jp-RenderedHTML img.explored")
    assert static.count() == 1 and static.get_attribute("src") == figure.get_attribute("src")

    def after(change) -> tuple[str, str]:
        """Do something; the figure's source and the table's text once both have changed."""
        seen = [figure.get_attribute("src"), table.inner_text()]
        change()
        page.wait_for_function(
            """([src, text]) => {
                const panel = document.querySelector('.jupyter-widgets.widget-vbox');
                const figure = panel.querySelector('img.explored');
                const table = panel.querySelector('table.clipeval');
                return figure && figure.src !== src && table.innerText !== text;
            }""",
            arg=seen,
        )
        return figure.get_attribute("src"), table.inner_text()

    classes = panel.locator("textarea").first
    before = figure.get_attribute("src")
    words = classes.input_value()
    classes.fill(words + "\nchild")
    page.wait_for_timeout(1500)
    assert figure.get_attribute("src") == before  # nothing is encoded while one types
    # child takes images from the harm categories, as planted; leaving the field takes the word over
    after(lambda: classes.blur())
    group = panel.get_by_label("Group by")
    text = after(lambda: group.select_option("gender"))[1]
    assert re.search(r"Male\s+non-human", text) and re.search(r"Female\s+crime-related", text)
    both = after(lambda: group.select_option(["gender", "race"]))[1]
    assert len(both.splitlines()) > len(text.splitlines())
    after(lambda: panel.get_by_label("Only gender").select_option("Female"))
    assert "Male" not in re.findall(r"\w+", table.inner_text())
    keep_picture(page, "explore-changed")

    shown = figure.get_attribute("src")
    classes.fill("alone")
    classes.blur()
    alert = panel.get_by_role("alert")
    alert.wait_for()
    assert "fewer than two classes" in alert.inner_text()
    assert "Traceback" not in panel.inner_text() and figure.get_attribute("src") == shown
    classes.fill("<b>White man</b>\nBlack woman\nthief")
    after(lambda: classes.blur())
    assert "<b>White man</b>" in table.inner_text() and alert.count() == 0

    assert panel.locator("img").count() == 1  # no picture but the figure
    panel.get_by_role("button", name="Show thumbnails").click()
    panel.get_by_text("shown because you asked").wait_for()
    assert panel.locator("img").count() > 1

    classes.fill(words + "\nchild")
    after(lambda: classes.blur())
    name = panel.get_by_placeholder("name")
    name.fill("by_hand")
    name.blur()
    panel.get_by_role("button", name="Save as class set").click()
    panel.locator("pre", has_text="clipeval run denigration").wait_for()
    run = lab[2] / "clipeval-run"
    assert "child: child" in (run / "class_sets" / "by_hand.yaml").read_text("utf-8")
    keep_picture(page, "explore-saved")
    panel.get_by_role("button", name="Run study").click()
    panel.get_by_text("denigration is done").wait_for(timeout=3 * SECONDS)
    assert (run / "explore" / "by_hand" / "denigration" / "tables" / "by_race.csv").is_file()
    keep_picture(page, "explore-run")
    assert problems == []


@pytest.mark.thorough
def test_a_study_in_jupyterlab(page, lab):
    notebook = open_and_run(page, lab, "01_fairface")
    assert notebook.locator("figure img").count() >= 2
    assert notebook.locator("table.clipeval").count() >= 2
    broken = "images => images.filter(i => i.complete && !i.naturalWidth).length"
    assert notebook.locator("img").evaluate_all(broken) == 0
    keep_picture(page, "fairface")

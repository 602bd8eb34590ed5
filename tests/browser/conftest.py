"""A headless Chromium for tests of pages; they are skipped, with the reason, where there is none."""

import os
import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system (or $CLIPEVAL_CHROMIUM), driven by playwright.

    Of a module, not of the session: while playwright runs, its event loop runs in this thread.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CLIPEVAL_CHROMIUM") or next(
        filter(None, map(shutil.which, _NAMES)), None
    )
    if not path:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *quiet])
        yield running
        running.close()


class Visit:
    """A page in a window of its own, and everything that happened to it."""

    def __init__(self, browser, width: int, height: int):
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.requests, self.failed, self.said, self.dialogs = [], [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda r: self.failed.append((r.url, r.failure)))
        self.page.on("console", lambda message: self.said.append((message.type, message.text)))
        self.page.on("pageerror", lambda error: self.said.append(("pageerror", str(error))))
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, path):
        self.page.goto(path.as_uri())
        return self.page


@pytest.fixture
def visit(browser):
    """Open a window of a size: `visit(width, height)`."""
    visits = []

    def start(width=1000, height=900):
        visits.append(Visit(browser, width, height))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()

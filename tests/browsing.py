"""Looking at a page in a real browser, headless: what it shows, what it complains of, what it fetches."""

import contextlib
import dataclasses
import shutil

import pytest


@dataclasses.dataclass
class Watched:
    """Hold a Playwright page and what it did.

    Attributes:
        page: The `playwright.sync_api.Page`.
        errors: Console errors and uncaught exceptions, as text.
        requests: Addresses of all requests over the network; without `data:`, `blob:` and `file:`.
        failed: Addresses of those that failed or were answered by an error.
    """

    page: object
    errors: list = dataclasses.field(default_factory=list)
    requests: list = dataclasses.field(default_factory=list)
    failed: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(self.requests, request.url))
        self.page.on("requestfailed", lambda request: self._note(self.failed, request.url))
        self.page.on("response", lambda response: response.status >= 400 and self._note(self.failed, response.url))

    @staticmethod
    def _note(urls, url):
        if not url.startswith(("data:", "blob:", "file:")):
            urls.append(url)


@contextlib.contextmanager
def page(width=1280, height=900):
    """Open an empty page in Chromium.

    Skips the test, with the reason, where there is no Playwright or no Chromium.

    Args:
        width: Width of the window in pixels. Defaults to 1280.
        height: Height of the window in pixels. Defaults to 900.

    Yields:
        A `Watched`.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives the browser")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs chromium on the PATH")
    with playwright.sync_playwright() as driver:
        # Where tests run as root, in a container, Chromium has no sandbox; pages here are our own.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield Watched(browser.new_page(viewport={"width": width, "height": height}))
        finally:
            browser.close()

"""The pages, built once with every warning an error, served as GitHub serves them, and a browser that visits them.

Where no Chromium is found the tests that need one are skipped; where the variable CI is set they fail.
"""

import contextlib
import functools
import http.server
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from repository import ROOT, run_python

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
QUIET = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update"]

sys.path.append(str(ROOT / "website"))  # its modules are no package


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the pages, made of the committed notebooks."""
    output = tmp_path_factory.mktemp("pages") / "site"
    run = run_python("website/build.py", "--strict", "--output", output)
    assert run.returncode == 0, run.stdout + run.stderr
    assert str(output / "index.html") in run.stdout, "names the page to open"
    return output


class Handler(http.server.SimpleHTTPRequestHandler):
    """As GitHub does: with 404.html for what is not there."""

    def log_message(self, *_):
        pass

    def send_error(self, code, *_):
        body = Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="session")
def address(site):
    server = http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, [*map(shutil.which, NAMES), *filter(os.path.exists, PLACES)]), None)
    if found is None:
        where = f"no browser: none of {', '.join(NAMES)} is installed, so the pages are not looked at"
        pytest.fail(where) if os.environ.get("CI") else pytest.skip(where)
    with playwright.sync_playwright() as driver:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        switches = [f"--{name}" for name in [*QUIET, "disable-sync", *(["no-sandbox"] if root else [])]]
        browser = driver.chromium.launch(executable_path=found, args=switches)
        yield browser
        browser.close()


class Visit:
    """A page in a browser, and all that went wrong on it."""

    def __init__(self, browser, home, viewport, **options):
        self.context = browser.new_context(viewport=viewport, **options)
        self.page = self.context.new_page()
        self.home, self.trouble = home, []
        self.page.set_default_timeout(60_000)
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.trouble.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.trouble.append(f"failed: {request.url}"))
        self.page.on("response", lambda r: r.status >= 400 and self.trouble.append(f"{r.status}: {r.url}"))
        self.page.on("request", self._external)

    def _external(self, request):
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.trouble.append(f"external: {request.url}")

    def open(self, name):
        self.page.goto(f"{self.home}{name}.html")
        return self.page


@pytest.fixture
def visitor(browser, address):
    """Makes visits, with options of the browser's context such as ``color_scheme``."""
    with contextlib.ExitStack() as stack:

        def make(home=address, width=1280, height=900, **options):
            visit = Visit(browser, home, {"width": width, "height": height}, **options)
            stack.callback(visit.context.close)
            return visit

        yield make


@pytest.fixture
def visit(visitor):
    return visitor()

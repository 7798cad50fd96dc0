"""The pictures that stand in for explorables where there are no scripts, drawn by their own scripts in Chromium.

``python website/stills.py [NAME ...]`` writes ``website/stills/NAME.html``: what each shows when it opens; that of the
front page, what it shows in the end. Run it after a script has changed: a test compares the two.
"""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import about  # noqa: E402
import explorables  # noqa: E402
import published  # noqa: E402

EMPTY = '<div class="picture"></div><p class="told"></p>'
FOUND = """() => ['.picture', '.told'].map((part) => document.querySelector(part))
  .map((e) => `<${e.localName} class="${e.className}">${e.innerHTML}</${e.localName}>`).join('\\n')"""


def still(browser, folder: Path, one: dict) -> str:
    """Open a page with nothing but this explorable, and take what it shows."""
    files = ["explorable.js", *one.get("needs", ()), f"{one['name']}.js"]
    page = folder / f"{one['name']}.html"
    tags = "".join(f'<script src="{name}"></script>' for name in files)
    page.write_text(f'<meta charset="utf-8"><div class="explorable" data-name="{one["name"]}">{EMPTY}</div>{tags}')
    visit = browser.new_page()
    visit.goto(page.as_uri())
    visit.locator(".picture").scroll_into_view_if_needed()
    visit.wait_for_selector(".explorable[data-ready]")
    return visit.evaluate(FOUND) + "\n"


def main() -> None:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    explorables.STILLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        shutil.copytree(HERE / "_static", folder, dirs_exist_ok=True)
        published.write(folder)
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        for one in about.listed("explorables"):
            if one["name"] in (sys.argv[1:] or [one["name"]]):
                path = explorables.STILLS / f"{one['name']}.html"
                path.write_text(still(browser, folder, one), encoding="utf-8")
                print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()

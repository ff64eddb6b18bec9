"""A headless Chromium, where this machine has one and Playwright to steer it."""

import contextlib
import shutil

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDE, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}


@contextlib.contextmanager
def opened(path, viewport=WIDE, touch=False):
    """A page of a file, and what it complains of or asks the network for."""
    steered = pytest.importorskip("playwright.sync_api", reason="no Playwright to steer a browser")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    complaints = []
    with steered.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_context(viewport=viewport, has_touch=touch).new_page()
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: complaints.append(asked.url) if _is_network(asked.url) else None)
        page.goto(path.as_uri())
        page.wait_for_selector("#plane-0 .scatterlayer .trace")
        yield page, complaints
        browser.close()


def _is_network(address):
    return not address.startswith(("file:", "data:", "blob:"))

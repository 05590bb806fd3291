"""Open pages in headless Chromium, and record what goes wrong in them.

Debian's package `chromium` is enough; CHROMIUM names another program. Without one, tests are
skipped.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return the path of the browser; skip the test if there is none."""
    names = (os.environ.get("CHROMIUM"), *NAMES)
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    return found or pytest.skip("no Chromium; install it, or set CHROMIUM to its path")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Yield a browser of playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    # The root user, as in containers, can start Chromium only without its sandbox.
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    program = find_chromium()
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def record_faults(page: Any) -> list[str]:
    """Return a list that grows with each error of the console and each request to a host."""
    faults: list[str] = []
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))

    def note_request(request: Any) -> None:
        if request.url.startswith(("http", "ws")) and "://127.0.0.1" not in request.url:
            faults.append(f"request to {request.url}")

    page.on("request", note_request)
    return faults

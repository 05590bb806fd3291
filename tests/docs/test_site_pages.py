"""Every page of the site in a browser: on a phone and a desk, light and dark.

SCREENSHOTS names a folder for a picture of each; CI stores it as an artifact.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import open_browser, record_faults

pytestmark = pytest.mark.slow
WIDTHS = (390, 1280)
SCHEMES = {"light": "default", "dark": "slate"}  # Of the browser, and the theme's name for it.
WIDEST = """() => [...document.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .slice(0, 3).map(e => e.outerHTML.slice(0, 120))"""
# Questions of newcomers: the link on the front page, and what the reader then sees.
ANSWERS = {
    "train on my own images": "Train on your own images",
    "continue a run": "repeat its command",
    "get the spikes of layer 3": "To get the spikes of layer 3",
    "what D": "D is the largest integer that a neuron can fire",
    "deploy without Python": "Without Python",
}
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def list_pages(site: Path) -> list[str]:
    return [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]


def take_screenshot(page: Any, name: str, width: int, scheme: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(300)  # The theme fades its tabs in.
        path = Path(folder, f"{name.removesuffix('.html')}_{width}_{scheme}.png")
        page.screenshot(path=path)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_fit_the_window_and_load_nothing_else(site, address, browser, scheme):
    context = browser.new_context(color_scheme=scheme)
    wrong: dict[str, Any] = {}
    for name in list_pages(site):
        page = context.new_page()
        faults = record_faults(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            if width == WIDTHS[0]:
                page.goto(address + name)
            if page.evaluate(OVERFLOW) > 0:
                wrong[f"{name} at {width}"] = page.evaluate(WIDEST)
            take_screenshot(page, name, width, scheme)
        if page.locator("body[data-md-color-scheme]").count():
            shown = page.evaluate("document.body.dataset.mdColorScheme")
            faults += [f"shown in {shown}"] if shown != SCHEMES[scheme] else []
        if faults:
            wrong[name] = faults
        page.close()
    context.close()
    assert wrong == {}


def test_the_switch_changes_the_scheme_and_the_next_page_keeps_it(address, browser):
    context = browser.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(address + "index.html")
    page.locator("[data-md-component=palette] label:visible").click()
    assert page.evaluate("document.body.dataset.mdColorScheme") == "slate"
    page.goto(address + "guide/training.html")
    assert page.evaluate("document.body.dataset.mdColorScheme") == "slate"
    context.close()


def test_code_is_colored_and_has_a_button_that_copies_it(address, browser):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(address + "start/01_first_neuron.html")
    block = page.locator(".language-python").first
    colors = block.locator("span").evaluate_all(
        "spans => new Set(spans.map(span => getComputedStyle(span).color)).size"
    )
    assert colors > 2
    block.hover()
    block.locator("button").first.click()
    page.wait_for_timeout(200)
    assert page.evaluate("navigator.clipboard.readText()").strip() == (
        block.locator("code").inner_text().strip()
    )
    context.close()


def test_wide_tables_scroll_inside_the_page(address, browser):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(address + "results.html")
    scrolls = page.locator("table").evaluate_all(
        """tables => tables.some(table => {
            for (let e = table; e !== document.body; e = e.parentElement)
                if (e.scrollWidth > e.clientWidth + 1)
                    return getComputedStyle(e).overflowX !== "visible";
        })"""
    )
    assert scrolls
    page.close()


@pytest.mark.parametrize("question", ANSWERS)
def test_questions_of_newcomers_are_one_click_from_the_front_page(address, browser, question):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address + "index.html")
    page.locator("article").get_by_role("link", name=question).first.click()
    answer = page.locator("article").get_by_text(ANSWERS[question]).first
    answer.wait_for()
    top = answer.evaluate("e => e.getBoundingClientRect().top")
    assert 0 <= top < 900, f"{question}: the answer is {top} pixels below the top"
    page.close()

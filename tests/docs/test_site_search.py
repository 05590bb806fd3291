"""The search of the site finds pages under the words that users type."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import open_browser, record_faults

pytestmark = pytest.mark.slow
FIRST = 3
# What a user types, and the beginnings of pages of which one should be among the first hits.
WORDS = {
    "tutorial": ("start/",),
    "install": ("guide/install",),
    "GPU": ("guide/install", "guide/scaling", "guide/performance"),
    "TPU": ("guide/install", "guide/scaling"),
    "train": ("guide/training", "start/03"),
    "resume": ("guide/resume",),
    "continue a run": ("guide/resume",),
    "checkpoint": ("guide/resume", "guide/training"),
    "fine-tune": ("guide/resume",),
    "predict": ("guide/predict",),
    "own images": ("guide/own_data",),
    "own data": ("guide/own_data",),
    "deploy": ("guide/export",),
    "without Python": ("guide/export",),
    "ONNX": ("guide/export", "reference/export"),
    "event camera": ("guide/events", "start/05"),
    "spikes of a layer": ("guide/runs",),
    "firing rate": ("guide/analyses", "guide/evaluation", "reference/neurons"),
    "learning rate": ("guide/training", "guide/configs", "reference/config_keys"),
    "error message": ("guide/troubleshooting",),
    "NaN": ("guide/training", "guide/troubleshooting"),
    "out of memory": ("guide/troubleshooting", "guide/performance", "theory/memory"),
    "PyTorch": ("guide/from_pytorch", "guide/interop"),
    "snnTorch": ("guide/from_pytorch", "start/08", "guide/comparison"),
    "SpikingJelly": ("guide/from_pytorch", "start/08", "guide/comparison"),
    "energy": ("theory/energy", "reference/energy"),
    "SLURM": ("guide/scaling",),
    "surrogate gradient": ("reference/surrogate", "theory/notation", "theory/equations"),
    "LIF": ("reference/neurons", "start/01", "theory/notation"),
    "accuracy": ("results", "guide/evaluation", "claims"),
    "custom neuron": ("guide/own_parts",),
    "own dataset": ("guide/own_data",),
    "visualize spikes": ("guide/plots",),
    "early stopping": ("guide/evaluation",),
    "transfer learning": ("guide/resume",),
    "multi GPU": ("guide/scaling",),
    "benchmark": ("guide/benchmarks", "guide/performance"),
    "quickstart": ("index", "guide/install"),
    "getting started": ("index", "guide/install"),
    "API": ("index", "reference/"),
    "cite": ("index",),
    "license": ("index",),
    "changelog": ("index",),
    "contribute": ("index",),
    "demo": ("guide/demo",),
    "error": ("guide/troubleshooting",),
    "CUDA": ("guide/install",),
    "hyperparameters": ("guide/configs",),
    "reproducibility": ("guide/reliability",),
    "continue training": ("guide/resume",),
    "finetune": ("guide/resume",),
    "save model": ("guide/export",),
    "load model": ("guide/runs",),
    "Raspberry Pi": ("guide/export",),
    "MNIST": ("guide/data", "reference/config_pages"),
    "CIFAR": ("guide/data", "reference/config_pages"),
}
HITS = """() => [...document.querySelectorAll("*")].filter(host => host.shadowRoot)
    .flatMap(host => [...host.shadowRoot.querySelectorAll("[role=option][href]")])
    .map(hit => hit.href)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def search(page: Any, words: str) -> list[str]:
    """Type words into the search, and return the addresses of what it finds, best first."""
    page.locator(".md-search__button").click()
    page.get_by_role("combobox", name="Search").fill(words)
    found: list[str] = []
    # The hits of the words before stay until the new ones are there.
    for _ in range(100):
        page.wait_for_timeout(250)
        before, found = found, page.evaluate(HITS)
        if found and found == before:
            break
    page.keyboard.press("Escape")
    return found


def find_missing(page: Any, address: str) -> dict[str, list[str]]:
    """Return the words whose pages are not among the first hits, and those hits."""
    missing = {}
    for words, pages in WORDS.items():
        page.goto(address + "index.html")
        found = [hit.removeprefix(address).partition("?")[0] for hit in search(page, words)]
        if not any(hit.startswith(pages) for hit in found[:FIRST]):
            missing[words] = found[:FIRST]
    return missing


def test_words_of_users_find_their_pages_among_the_first_hits(address, browser):
    page = browser.new_page()
    faults = record_faults(page)
    assert find_missing(page, address) == {}
    assert faults == []
    page.close()


def test_a_site_that_is_read_from_disk_has_a_search_and_a_switch(site, browser):
    page = browser.new_page()
    faults = record_faults(page)
    page.goto((site / "index.html").as_uri())
    page.locator(".md-search__button").click()
    # Letter by letter: each answer arrives while the reader still types.
    box = page.get_by_role("combobox", name="Search")
    box.press_sequentially("resume", delay=100)
    assert box.input_value() == "resume"
    page.keyboard.press("Escape")
    page.reload()
    hits = search(page, "resume")
    assert hits[0].startswith((site / "guide/resume.html").as_uri())
    page.goto(hits[0])
    page.locator("[data-md-component=palette] label:visible").click()
    assert page.evaluate("document.body.dataset.mdColorScheme") == "slate"
    assert faults == []
    page.close()

"""The site's navigation and settings, and the faults that make its build fail."""

import textwrap
from pathlib import Path

import pytest
import yaml

from docs._build.site import build as site
from docs._build.site import outside
from docs._build.site.links import check_site
from docs._build.site.repository import link_colab, read_address

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/someone/something"
NOTEBOOK = "docs/start/01_first_neuron.ipynb"


def write_site(folder: Path, body: str) -> Path:
    """Write a site of two pages, of which one has `body`."""
    (folder / "guide").mkdir()
    (folder / "guide/a.html").write_text(f"<html><body>{body}</body></html>")
    (folder / "index.html").write_text('<h1 id="top">b</h1><a href="guide/a.html">c</a>')
    return folder


def write_project(folder: Path, text: str) -> Path:
    """Write a project of one page with the settings of the site."""
    config = site.make_config() | {"nav": ["index.md"], "extra_css": []}
    (folder / "docs").mkdir()
    (folder / "docs/index.md").write_text(text)
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
    return folder


def test_the_navigation_has_every_page_once():
    named = list(site.list_pages(site.make_config()["nav"]))
    pages = [
        outside.place(path.relative_to(ROOT).as_posix())
        for path in site.list_docs()
        if path.suffix in (".md", ".ipynb")
    ]
    assert sorted(named) == sorted(pages)
    assert site.check_navigation() == []


def test_tables_come_before_figures_in_the_order_of_their_numbers():
    titles = [title for entry in site.list_folder(ROOT / "docs/evidence/laptop") for title in entry]
    tables = [title for title in titles if title.startswith("Table")]
    assert titles[: len(tables)] == tables and titles[len(tables)] == "Figure 3"
    assert tables.index("Table 9") < tables.index("Table 10")


def test_the_navigation_has_its_groups_in_order():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    groups = [title for entry in nav for title in entry]
    assert groups == [
        "Overview", "Start", "Guides", "Reference", "The paper", "Networks", "Results"
    ]  # fmt: skip


def test_missing_pages_are_skipped_and_notebooks_are_the_pages_that_they_become():
    nav = [{"A": "index.md"}, {"B": [{"C": "none.md"}]}, {"D": "start/01_first_neuron.ipynb"}]
    assert site.place_pages(nav) == [{"A": "index.md"}, {"D": "start/01_first_neuron.md"}]


def test_commands_are_colored_unless_they_have_prompts():
    commands, session = "```console\npip install .  # once\n```\n", "```console\n$ ls\na\n```\n"
    inner = textwrap.indent(commands, "    ")
    found = site.color_commands(f"{commands}\n{session}\n- a\n\n{inner}")
    colored = commands.replace("console", "bash")
    assert found == f"{colored}\n{session}\n- a\n\n{textwrap.indent(colored, '    ')}"


def test_nothing_shows_a_repository_while_there_is_no_address(tmp_path):
    config = site.make_config(read_address())
    assert ("repo_url" in config) == bool(read_address())
    pages = site.Pages(tmp_path)
    pages.add(NOTEBOOK)
    assert "colab" not in (tmp_path / "start/01_first_neuron.md").read_text().lower()


def test_with_an_address_there_are_a_link_to_the_source_and_colab_cells(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(f'[project]\nname = "a"\n[project.urls]\nRepository = "{ADDRESS}.git"\n')
    address = read_address(pyproject)
    assert address == ADDRESS
    config = site.make_config(address)
    assert (config["repo_url"], config["repo_name"]) == (ADDRESS, "something")
    pages = site.Pages(tmp_path / "docs", address)
    pages.add(NOTEBOOK)
    text = (tmp_path / "docs/start/01_first_neuron.md").read_text()
    assert f"colab.research.google.com/github/someone/something/blob/main/{NOTEBOOK}" in text
    assert f"git+{ADDRESS}" in text and text.lstrip().startswith("# ")
    # Colab opens notebooks of GitHub only.
    assert link_colab("https://example.org/a", NOTEBOOK) == ""


@pytest.mark.parametrize(
    "body, fault",
    [
        ('<a href="b.html">b</a>', "b.html leads to no file"),
        ('<a href="../index.html#none">b</a>', "../index.html#none leads to no heading"),
        ('<a href="../guide">b</a>', "../guide leads to a folder; link to a file"),
        ('<a href="/index.html">b</a>', "/index.html works at the root of a server only"),
        ('<img src="none.png">', "none.png leads to no file"),
        ('<img src="https://a.b/c.png">', "https://a.b/c.png is loaded from another host"),
        ('<script src="//a.b/c.js"></script>', "//a.b/c.js is loaded from another host"),
    ],
)
def test_faults_of_a_page_are_found(tmp_path, body, fault):
    (found,) = check_site(write_site(tmp_path, body))
    assert found.startswith(f"guide/a.html: {fault}")


def test_pages_without_faults_pass(tmp_path):
    body = '<a href="../index.html#top">b</a> <a href="https://a.b">c</a> <img src="data:,">'
    assert check_site(write_site(tmp_path, body)) == []


def test_styles_that_load_from_another_host_are_found(tmp_path):
    (tmp_path / "a.css").write_text("@import 'https://a.b/c.css'; b { src: url(//a.b/d.woff) }")
    assert check_site(tmp_path) == [
        "a.css: https://a.b/c.css is loaded from another host",
        "a.css: //a.b/d.woff is loaded from another host",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, fault",
    [
        ("# A\n\n[b](none.md)", "page does not exist"),
        ("# A\n\n[b](#none)", "anchor does not exist"),
        ("# A\n\n::: pit_jax.none\n", "pit_jax.none"),
        ("# A\n\n[b][pit_jax.none]\n", "unresolved autoref"),
    ],
)
def test_a_page_with_a_broken_link_or_reference_fails(tmp_path, text, fault):
    printed, status = site.run_zensical(write_project(tmp_path, text))
    assert fault in printed
    assert status or site.WARNING.search(printed)


@pytest.mark.slow
def test_a_page_without_faults_passes(tmp_path):
    text = "# A\n\n[b](#a) [c][pit_jax.PIT]\n\n::: pit_jax.neurons.PIT\n"
    printed, status = site.run_zensical(write_project(tmp_path, text))
    assert not status and not site.WARNING.search(printed), printed

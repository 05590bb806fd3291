"""Forms, pages and workflows for the place where the repository is hosted."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.release_notes import main, read_notes

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
NEEDED = tomllib.loads(PYPROJECT)["project"]["dependencies"]
LOCK = (ROOT / "requirements.lock").read_text()
SUPPORT = (ROOT / "docs" / "reference" / "support.md").read_text()
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (GITHUB / "workflows").glob("*.yml")
}
PAGES = [
    *(ROOT / name for name in ("CODE_OF_CONDUCT.md", "SECURITY.md", "CONTRIBUTING.md")),
    *GITHUB.rglob("*.yml"),
    *GITHUB.rglob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_address_is_invented(page):
    urls = tomllib.loads(PYPROJECT)["project"]["urls"]
    found = re.findall(r"https?://[^\s)>\"']+|[\w.+-]+@[\w-]+\.[a-z]\w+", page.read_text())
    assert set(found) <= set(urls.values())


@pytest.mark.parametrize(
    "form", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda f: f.stem
)
def test_every_form_asks_for_what_an_answer_needs(form):
    found = yaml.safe_load(form.read_text())
    assert {"name", "description", "labels", "body"} <= found.keys()
    fields = [field for field in found["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert all(field["attributes"]["label"] for field in fields if field["type"] == "textarea")


def test_files_that_forms_and_pages_name_exist():
    named = re.compile(r"`((?:docs|tests|scripts|configs)/[\w/.-]+\.\w+|[A-Z_]+\.md)`")
    found = [(page.name, name) for page in PAGES for name in named.findall(page.read_text())]
    assert len(found) > 10
    assert [each for each in found if not (ROOT / each[1]).exists()] == []


def read_support() -> list[dict[str, str]]:
    """Return the rows of the table of versions."""
    head, *rows = re.findall(r"^\| (.*) \|$", SUPPORT, re.M)
    return [dict(zip(head.split(" | "), row.split(" | "), strict=True)) for row in rows]


def test_the_lowest_versions_are_those_of_the_first_row_and_of_the_oldest_job():
    first, project = read_support()[0], tomllib.loads(PYPROJECT)["project"]
    for name in ("JAX", "Flax"):
        assert any(each.startswith(f"{name.lower()}>={first[name]},") for each in NEEDED)
    jobs = WORKFLOWS["ci"]["jobs"]["support"]["strategy"]["matrix"]["include"]
    pythons = {job["versions"]: job["python"] for job in jobs}
    assert pythons["oldest"] == first["Python"]
    assert project["requires-python"] == f">={first['Python']}"
    assert pythons["newest"] == read_support()[-1]["Python"]


def test_rows_that_name_ci_are_tried_there_and_no_others():
    jobs = WORKFLOWS["ci"]["jobs"]
    tried = set(jobs["checks"]["strategy"]["matrix"]["python"])
    tried |= {job["python"] for job in jobs["support"]["strategy"]["matrix"]["include"]}
    assert {row["Python"] for row in read_support() if "CI" in row["tried"]} == tried


def test_every_library_has_a_lowest_version():
    extras = tomllib.loads(PYPROJECT)["project"]["optional-dependencies"]
    needed = [*NEEDED, *(each for extra in extras.values() for each in extra)]
    others = [each for each in needed if not each.startswith("pit-jax[")]
    assert [each for each in others if ">=" not in each] == []


def test_the_locked_versions_are_rows_of_the_table():
    rows = {(row["JAX"], row["Flax"]) for row in read_support()}
    locked = [re.findall(rf"^{name}==(\S+)", LOCK, re.M) for name in ("jax", "flax")]
    assert set(zip(*locked, strict=True)) <= rows
    pythons = WORKFLOWS["ci"]["jobs"]["checks"]["strategy"]["matrix"]["python"]
    assert set(pythons) <= {row["Python"] for row in read_support()}


def test_every_job_has_a_limit_of_time_and_reads_only_unless_it_publishes():
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job, found in workflow["jobs"].items():
            assert "timeout-minutes" in found or job in ("release", "index"), job
            assert ("permissions" in found) == (job in ("release", "index")), job


def test_the_docs_job_keeps_the_screenshots():
    job = WORKFLOWS["ci"]["jobs"]["docs"]
    kept = [
        step["with"]["path"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")
    ]
    assert kept == [job["env"]["SCREENSHOTS"], "site"]
    (tests,) = [step["run"] for step in job["steps"] if "pytest" in step.get("run", "")]
    for pattern in tests.split("-m slow ")[1].split():
        assert list(ROOT.glob(pattern)), pattern


CHANGELOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2027-01-31

### Added

- A.

## [0.1.0] - 2026-12-01

- B.
"""


def test_a_release_has_the_notes_of_its_version():
    assert read_notes("v0.2.0", "0.2.0", CHANGELOG) == "### Added\n\n- A.\n"
    assert read_notes("v0.1.0", "0.1.0", CHANGELOG) == "- B.\n"
    with pytest.raises(ValueError, match="the tag is v0.3.0, but .* has 0.2.0"):
        read_notes("v0.3.0", "0.2.0", CHANGELOG)
    for broken in ("", "## [0.2.0]\n", "## [0.2.0] - soon\n"):
        with pytest.raises(
            ValueError, match=r"CHANGELOG.md needs a section `## \[0.2.0\] - YYYY-MM-DD`"
        ):
            read_notes("v0.2.0", "0.2.0", broken)


@pytest.mark.parametrize("arguments", [[], ["v0.0.1"], ["v0.1.0", "v0.2.0"]])
def test_a_wrong_tag_of_a_release_is_an_error_of_one_line(arguments, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and re.fullmatch(r"error: .*\.\n", printed.err)


def test_the_changelog_has_the_usual_sections_in_the_usual_order():
    usual = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.split(r"^## ", text, flags=re.M)[1:]
    assert versions[0].startswith("[Unreleased]\n")
    for version in versions:
        sections = re.findall(r"^### (.*)$", version, re.M)
        assert sections == [name for name in usual if name in sections]


def test_readme_and_citation_file_cite_the_same_paper():
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    entry = re.search(r"```bibtex\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    fields = dict(re.findall(r"(\w+) += \{(.*?)\},?\n", entry))
    authors = [f"{each['family-names']}, {each['given-names']}" for each in paper["authors"]]
    assert fields["title"] == paper["title"] and fields["author"] == " and ".join(authors)
    assert fields["year"] == str(paper["year"])

"""What is installed, what it needs, and which way imports go."""

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import pit_jax

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pit_jax").rglob("*.py"))
}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--sdist", "--wheel", "--no-isolation"]
    done = subprocess.run(
        [*build, "--outdir", str(folder), str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_wheel_holds_the_typed_library_and_nothing_else(distributions):
    (wheel,) = distributions.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    info = f"pit_jax-{pit_jax.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"pit_jax", info}
    sources = {path.relative_to(ROOT).as_posix() for path in MODULES.values()}
    data = {"pit_jax/py.typed", "pit_jax/inference/event_driven/crossover.json"}
    assert {name for name in names if name.startswith("pit_jax/")} == sources | data
    assert f"{info}/licenses/LICENSE" in names


def test_source_distribution_holds_the_library_and_its_papers(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        top_level = {name.split("/")[1] for name in archive.getnames()}
    papers = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    # Every sdist has a PKG-INFO; hatchling adds the .gitignore that it obeyed.
    assert top_level == papers | {"pit_jax", "pyproject.toml", "PKG-INFO", ".gitignore"}


def imports(name: str) -> set[str]:
    """What our module `name` imports: of `from a import b`, a.b if that is ours, else a."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in MODULES else source)
    return found


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("name", MODULES)
def test_library_imports_neither_the_training_program_nor_its_dependencies(name):
    programs = {"train", "configs", "tests"}
    theirs = {"optax", "orbax", "tonic", "ml_collections", "tensorflow_datasets", "torch"}
    assert not packages(imports(name)) & (programs | theirs)


@pytest.mark.parametrize(
    "name",
    [
        "pit_jax.surrogate",
        "pit_jax.initializers",
        "pit_jax.neurons.step",
        "pit_jax.neurons.scan",
        "pit_jax.layers.encoding",
    ],
)
def test_functions_need_no_flax(name):
    reached, new = set(), {name}
    while new:
        reached |= new
        new = set().union(*(imports(ours) for ours in new & MODULES.keys())) - reached
    assert "flax" not in packages(reached)


def test_lock_names_no_index_and_pins_every_requirement_by_hash():
    lock = (ROOT / "requirements.lock").read_text()
    for place in ("http", "file:", "git+", "--find-links", "--index-url", "--extra-index-url"):
        assert place not in lock
    requirements = lock.replace("\\\n", " ").splitlines()
    assert len(requirements) > 50
    for requirement in requirements:
        pinned = r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+ *"
        assert re.fullmatch(pinned, requirement), requirement[:80]


def test_citation_and_changelog_state_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == pit_jax.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    assert released[:1] in ([], [pit_jax.__version__])

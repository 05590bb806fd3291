"""Contents and dependencies of the distributions, and programs of an installed wheel."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import pit_jax
from pit_jax.programs import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGES = ("pit_jax", "train", "configs")
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


def test_wheel_contains_exactly_the_typed_library_the_trainer_and_the_configs(distributions):
    (wheel,) = distributions.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    info = f"pit_jax-{pit_jax.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"pit_jax", info}
    listed = subprocess.check_output(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", *PACKAGES], text=True
    )
    files = [name for name in listed.splitlines() if (ROOT / name).is_file()]
    inside = {name if name.startswith("pit_jax/") else f"pit_jax/{name}" for name in files}
    assert {name for name in names if name.startswith("pit_jax/")} == inside
    assert {"pit_jax/py.typed", "pit_jax/train/main.py", "pit_jax/configs/digits.py"} <= inside
    assert f"{info}/licenses/LICENSE" in names


def test_source_distribution_contains_exactly_the_packages_and_their_documents(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        top_level = {name.split("/")[1] for name in archive.getnames()}
    documents = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    # Every sdist has a PKG-INFO; hatchling adds the .gitignore that it applied.
    assert top_level == documents | {*PACKAGES, "pyproject.toml", "PKG-INFO", ".gitignore"}


def find_imports(name: str) -> set[str]:
    """Return the imports of our module `name`: for `from a import b`, a.b if it is ours, else a."""
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


def get_packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("name", MODULES)
def test_library_imports_neither_the_training_program_nor_its_dependencies(name):
    programs = {"train", "configs", "tests"}
    dependencies = {"optax", "orbax", "tonic", "ml_collections", "tensorflow_datasets", "torch"}
    assert not get_packages(find_imports(name)) & (programs | dependencies)


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
        new = set().union(*(find_imports(ours) for ours in new & MODULES.keys())) - reached
    assert "flax" not in get_packages(reached)


def test_lock_names_no_index_and_pins_every_requirement_by_hash():
    lock = (ROOT / "requirements.lock").read_text()
    for place in ("http", "file:", "git+", "--find-links", "--index-url", "--extra-index-url"):
        assert place not in lock
    requirements = lock.replace("\\\n", " ").splitlines()
    assert len(requirements) > 50
    for requirement in requirements:
        pinned = r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+ *"
        assert re.fullmatch(pinned, requirement), requirement[:80]


@pytest.mark.parametrize("name", ["README.md", "mkdocs.yml", "CITATION.cff"])
def test_only_pyproject_has_the_address_of_the_repository(name):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    text = (ROOT / name).read_text()
    assert set(re.findall(r"https?://[^\s)>\"']+|\S+@\S+\.\S+", text)) <= set(urls.values())


def test_citation_and_changelog_state_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == pit_jax.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    assert released[:1] in ([], [pit_jax.__version__])


# A user's config page, and a user's files with the same names as ours.
PAGE = """from configs import digits


def get_config():
    config = digits.get_config()
    config.model.width = 8
    return config
"""
OWN = {
    "train.py": "raise RuntimeError('the train.py of the user')",
    "configs/__init__.py": "raise RuntimeError('the configs of the user')",
    "configs/digits.py": "raise RuntimeError('the digits of the user')",
}
# The environment without the clone and the virtual environment of the tests.
OUTSIDE = {
    name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
} | {"JAX_PLATFORMS": "cpu"}


def make_environment(folder: Path, distributions: Path) -> tuple[Path, Path]:
    """Return the bin folder and the folder of packages of an environment with the wheel alone."""
    venv.create(folder, with_pip=False)
    bin_ = folder / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = distributions.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(bin_ / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output([bin_ / "python", "-c", ask], text=True).strip()
    return bin_, Path(site)


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment with the wheel and the packages installed here."""
    bin_, site = make_environment(tmp_path_factory.mktemp("environment"), distributions)
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    return bin_


def list_requirements(packages: list[str]) -> set[str]:
    """Return the names of the distributions that some packages need, with themselves."""
    found: set[str] = set()
    while packages:
        name = re.sub(r"[-_.]+", "-", packages.pop()).lower()
        try:
            needed = [] if name in found else importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # For another platform or version of Python.
        found.add(name)
        packages += [re.split(r"[^\w.-]", one)[0] for one in needed if "extra ==" not in one]
    return found


@pytest.fixture(scope="module")
def lean(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment with the wheel and what it requires, no extras."""
    bin_, site = make_environment(tmp_path_factory.mktemp("lean"), distributions)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = list_requirements([re.split(r"[^\w.-]", one)[0] for one in declared])
    files = [file for name in needed for file in importlib.metadata.files(name) or []]
    for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
        (site / top).symlink_to(Path(sysconfig.get_path("purelib")) / top)
    return bin_


def call(*command: str | Path, cwd: Path, code: int = 0, **more: str) -> str:
    """Run a command in a folder outside of the clone and return its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=OUTSIDE | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(params=["an empty folder", "a folder with the user's own train.py and configs/"])
def place(request, tmp_path) -> Path:
    for name, text in OWN.items() if "own" in request.param else ():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Several whole runs.
def test_a_wheel_trains_a_shipped_config_and_a_users_page_in_any_folder(installed, place):
    (place / "mine.py").write_text(PAGE)
    once = "--config.epochs=1"
    printed = call(installed / "pit-jax", "train", "--config", "digits", once, cwd=place)
    assert "epoch   1" in printed and (place / "runs/digits/summary.json").is_file()
    # With -m the folder, including the user's files, comes first in Python's path.
    module = (installed / "python", "-m", "pit_jax")
    printed = call(*module, "train", "--config", "mine.py", once, "runs/own", cwd=place)
    assert "epoch   1" in printed and (place / "runs/own/summary.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Several whole runs.
def test_all_programs_of_a_wheel_work_on_a_run(installed, tmp_path):
    command = installed / "pit-jax"
    call(command, "train", "--config", "smoke", "--config.epochs=1", "run", cwd=tmp_path)
    assert "accuracy" in call(command, "evaluate", "run", cwd=tmp_path)
    for form in ("directory", "stablehlo"):
        printed = call(command, "export", "run", "--format", form, cwd=tmp_path)
        assert f"written to run/export/last_{form}" in printed
    assert "report.html: 1 run" in call(command, "report", "run", cwd=tmp_path)
    assert "written to" in call(command, "analyze", "run", "--only", "scales", cwd=tmp_path)
    (start,) = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert start["commit"] == f"pit_jax {pit_jax.__version__}"
    assert start["arguments"] == "--config smoke --config.epochs=1 run"
    printed = call(command, "ledger", "run", cwd=tmp_path, code=2)
    assert printed.startswith("error: train.ledger needs a clone of pit_jax")


@pytest.mark.slow
@pytest.mark.parametrize("program", COMMANDS)
def test_every_program_of_a_wheel_prints_its_help(program, installed, tmp_path):
    printed = call(installed / "pit-jax", program, "--help", cwd=tmp_path)
    assert printed.startswith(f"usage: pit-jax {program} [-h]") and "example" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", [pytest.param({}, marks=pytest.mark.slow), OWN])
def test_in_a_clone_the_command_finds_our_trainer_not_the_users_train_module(own, tmp_path):
    for name, text in own.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    module = (sys.executable, "-m", "pit_jax")
    printed = call(*module, "evaluate", "nowhere", cwd=tmp_path, code=2, PYTHONPATH=str(ROOT))
    assert printed.startswith("error: nowhere is not the folder of a run")


def test_a_users_module_called_train_is_not_replaced(tmp_path):
    (tmp_path / "train.py").write_text("MINE = True")
    code = (
        "import train; from pit_jax.programs import load_program; "
        "assert load_program('ledger').__name__ == 'pit_jax.train.ledger'; "
        "import sys; assert sys.modules['train'].MINE and train.MINE"
    )
    call(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT))


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


@pytest.mark.slow
def test_the_library_alone_has_no_package_of_an_extra(lean, tmp_path):
    code = (
        "import importlib.util, pit_jax; from pit_jax import *\n"
        "assert PIT and create and analysis and events and export and inference and interop\n"
        "extras = ('sklearn', 'matplotlib', 'safetensors', 'ml_collections', 'nir', 'numba')\n"
        "assert not [name for name in extras if importlib.util.find_spec(name)]\n"
        "import pit_jax.plots"
    )
    printed = call(lean / "python", "-c", code, cwd=tmp_path, code=1)
    assert printed.splitlines()[-1].endswith("pip install 'pit-jax[plots]'.")


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_of_the_readme_runs_with_the_library_alone(block, lean, tmp_path):
    assert call(lean / "python", "-c", block, cwd=tmp_path)


@pytest.mark.slow
def test_check_install_reports_what_the_library_alone_misses(lean, tmp_path):
    printed = call(lean / "pit-jax", "check-install", cwd=tmp_path)
    assert re.search(r"pip install 'pit-jax\[train\]'  \(missing: .*scikit-learn", printed)
    assert printed.splitlines()[-1] == "this installation works"

"""Every old name works as the new one does, and a note says the new one."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from configs.base import base
from pit_jax import neurons, old_names
from pit_jax.neurons.scale import per_channel
from tests.train.helpers import ENVIRONMENT, ROOT
from train.analyze import ANALYSES, output
from train.config.cli import parse
from train.ledger import make_table
from train.run.reading import read_config
from train.run.workdir import claim

TINY = "tests/train/tiny.py"
# A neuron that has the field, and a value other than the default.
FIELDS = {"normalise": (neurons.ILIF, True), "parametrise": (neurons.QAT, per_channel)}
# A value for each key of a config.
VALUES = {"anew": ("head",), "neuron.normalise": True, "neuron.parametrise": "per_channel"}


def describes(printed: str, old: str, new: str) -> bool:
    return old_names.describe(old, new) in printed


@pytest.mark.parametrize("old, new", old_names.PUBLIC.items())
def test_an_old_public_name_is_what_the_new_one_is(old, new):
    parent, _, name = old.rpartition(".")
    with pytest.warns(FutureWarning) as notes:
        found = getattr(importlib.import_module(parent), name)
    assert found is pkgutil.resolve_name(new)
    assert [str(note.message) for note in notes] == [old_names.describe(old, new)]


def test_a_note_names_the_line_that_has_the_old_name(tmp_path):
    lines = [
        "import pit_jax.init",
        "from pit_jax.inference import ArtefactError",
        "pit_jax.neurons.ILIF(normalise=True)",
    ]
    (tmp_path / "program.py").write_text("\n".join(lines))
    command = [sys.executable, str(tmp_path / "program.py")]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for number, line in enumerate(lines, 1):
        assert f"program.py:{number}: FutureWarning: " in done.stderr and f"  {line}" in done.stderr


def is_module(name: str) -> bool:
    return hasattr(pkgutil.resolve_name(name), "__spec__")


@pytest.mark.parametrize(
    "old, new", [(old, new) for old, new in old_names.PUBLIC.items() if is_module(new)]
)
def test_an_old_module_is_imported_by_its_path(monkeypatch, old, new):
    monkeypatch.delitem(sys.modules, old, raising=False)
    parent = sys.modules.get(old.rpartition(".")[0])
    with pytest.warns(FutureWarning) as notes:
        found = importlib.import_module(old)
    assert found is importlib.import_module(new) and found.__name__ == found.__spec__.name == new
    assert [str(note.message) for note in notes] == [old_names.describe(old, new)]
    if parent:  # As it was before the import, for the other tests.
        vars(parent).pop(old.rpartition(".")[2], None)
    sys.modules.pop(old)


def test_a_name_that_never_was_is_missing_as_ever():
    with pytest.raises(AttributeError, match="module 'pit_jax.neurons' has no attribute 'nothing'"):
        _ = neurons.nothing
    with pytest.raises(ModuleNotFoundError, match="No module named 'pit_jax.nothing'"):
        importlib.import_module("pit_jax.nothing")


@pytest.mark.parametrize("old, new", old_names.KEYWORDS.items())
def test_an_old_keyword_sets_the_field(old, new):
    make, value = FIELDS[old]
    with pytest.warns(FutureWarning) as notes:
        neuron = make(**{old: value})
    assert neuron == make(**{new: value}) and getattr(neuron, new) == value
    assert [str(note.message) for note in notes] == [old_names.describe(old, new)]


def test_a_keyword_that_never_was_is_refused_as_ever():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        neurons.PIT(nothing=1)


def set_key(config: ConfigDict, key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        config = config[section]
    config[last] = value


def old_page(tmp_path, key: str) -> str:
    """Write a page of a user's own that has an old key, and return its path."""
    *sections, last = key.split(".")
    place = "".join(f"[{section!r}]" for section in sections)
    page = f"""
from tests.train.tiny import get_config as tiny

def get_config():
    config = tiny()
    config{place}[{last!r}] = {VALUES[key]!r}
    return config
"""
    (tmp_path / "page.py").write_text(page)
    return str(tmp_path / "page.py")


def new_key(old: str) -> str:
    section, dot, last = old.rpartition(".")
    return old_names.CONFIG_KEYS.get(old) or section + dot + old_names.KEYWORDS[last]


@pytest.mark.parametrize("old", VALUES)
def test_an_old_key_of_a_config_page_is_read(tmp_path, monkeypatch, capsys, old):
    monkeypatch.chdir(ROOT)
    new = new_key(old)
    config, _ = parse(["main", "--config", old_page(tmp_path, old)])
    flat = config.to_dict()
    for section in new.split("."):
        flat = flat[section]
    assert flat == VALUES[old] and old.rpartition(".")[2] not in str(config)
    assert describes(capsys.readouterr().err, f"config.{old}", f"config.{new}")


def test_an_old_key_on_the_command_line_is_read(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    config, _ = parse(["main", "--config", TINY, "--config.anew=('head', 'PIT')"])
    assert config.reinitialize == ("head", "PIT")
    assert describes(capsys.readouterr().err, "config.anew", "config.reinitialize")


def old_config() -> dict:
    """Return a config as runs saved it before its keys were renamed."""
    config = base().to_dict() | {"neuron": {"name": "ILIF", "levels": 4, "normalise": True}}
    config["anew"] = config.pop("reinitialize")
    return json.loads(json.dumps(config))


def new_config() -> dict:
    return base().to_dict() | {"neuron": {"name": "ILIF", "levels": 4, "normalize": True}}


def test_the_config_of_an_old_run_is_read(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(old_config()))
    assert read_config(tmp_path) == json.loads(json.dumps(new_config()))
    assert capsys.readouterr().err.count("is now called") == 2


def test_an_old_run_resumes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(old_config()))
    with claim(tmp_path, new_config()):
        pass
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        json.dumps(new_config())
    )


def test_seeds_of_old_and_new_runs_are_one_row_of_the_ledger(tmp_path):
    summary = {"parameters": 1, "scales": 1, "last_accuracy": 0.5, "best_accuracy": 0.5}
    rest = {
        "summary": summary | {"seconds": 1.0},
        "environment": [{"commit": "1", "arguments": ""}],
        "epochs": [{"images_per_second": 1.0}],
    }
    what = {"data": {"name": "digits"}, "model": {"name": "cifarnet"}, "num_steps": 1, "epochs": 1}
    for name, config in (("old", old_config()), ("new", new_config())):
        run = {"config": config | what, **rest}
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    assert make_table(tmp_path).count("| digits |") == 1


@pytest.mark.parametrize("old, new", old_names.ANALYSES.items())
def test_an_old_name_of_an_analysis_is_taken(capsys, old, new):
    assert old_names.translate_analysis(old) == new and new in ANALYSES
    assert describes(capsys.readouterr().err, old, new)


def test_an_analysis_that_finished_under_its_old_name_is_found(tmp_path, capsys):
    (tmp_path / "quantisation").mkdir()
    part = {"of": [], "title": "Ranges", "html": "<p>found</p>"}
    (tmp_path / "quantisation" / output.PART).write_text(json.dumps(part))
    output.rename_old(tmp_path / "quantization")
    assert output.read_part(tmp_path / "quantization") == part
    assert "is now called" in capsys.readouterr().err
    (tmp_path / "quantisation").mkdir()
    output.rename_old(tmp_path / "quantization")  # What is there stays.
    assert output.read_part(tmp_path / "quantization") == part

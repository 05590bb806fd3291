"""Every old name works like the new one, and gives a warning or a note with the new name."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from configs.base import base
from pit_jax import neurons, old_names
from pit_jax.inference.verify import fingerprint
from pit_jax.neurons.scale import per_channel
from tests.train.helpers import ENVIRONMENT, ROOT
from train.analyze import ANALYSES, output
from train.config.cli import parse
from train.errors import UserError
from train.ledger import make_table
from train.run.reading import read_config
from train.run.workdir import claim

TINY = "tests/train/tiny.py"
# A neuron that has the field, and a value that differs from the default.
FIELDS = {"normalise": (neurons.ILIF, True), "parametrise": (neurons.QAT, per_channel)}
# The names that the library exported before some were renamed.
OLD_NAMES = (ROOT / "tests/old_files/names.txt").read_text().split()
# A value for each old key of a config.
VALUES = {"anew": ("head",), "neuron.normalise": True, "neuron.parametrise": "per_channel"}


@pytest.fixture(autouse=True)
def skip_without_onnx(request):
    if "onnx_" in request.node.name:
        pytest.importorskip("onnx")


def has_note(printed: str, old: str, new: str) -> bool:
    return old_names.describe(old, new) in printed


@pytest.mark.parametrize("old, new", old_names.PUBLIC.items())
def test_an_old_public_name_returns_the_same_object_as_the_new_one(old, new):
    parent, _, name = old.rpartition(".")
    with pytest.warns(FutureWarning) as notes:
        found = getattr(importlib.import_module(parent), name)
    assert found is pkgutil.resolve_name(new)
    assert [str(note.message) for note in notes] == [old_names.describe(old, new)]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", OLD_NAMES)
def test_every_name_that_the_library_once_exported_still_resolves(name):
    assert pkgutil.resolve_name(name) is not None


def test_a_warning_shows_the_line_with_the_old_name(tmp_path):
    lines = [
        "import pit_jax.init",
        "from pit_jax.inference import ArtefactError",
        "neuron = pit_jax.neurons.ILIF(normalise=True)",
        "neuron.normalise",
        "copy = neuron.clone(normalise=False)",
        "copy = __import__('dataclasses').replace(neuron, normalise=False)",
        "class Derived(pit_jax.neurons.ILIF): pass",
        "Derived(normalise=True)",
    ]
    (tmp_path / "program.py").write_text("\n".join(lines))
    # In another process, because the tests wrap every function of the library.
    command = [sys.executable, "-W", "always", str(tmp_path / "program.py")]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for number, line in enumerate(lines, 1):
        if not line.startswith("class"):
            assert f"program.py:{number}: FutureWarning: " in done.stderr
            assert f"  {line}" in done.stderr


@pytest.mark.parametrize("old, new", old_names.MODULES.items())
def test_an_old_module_is_imported_by_its_path(monkeypatch, old, new):
    monkeypatch.delitem(sys.modules, old, raising=False)
    parent = sys.modules.get(old.rpartition(".")[0])
    with pytest.warns(FutureWarning) as notes:
        found = importlib.import_module(old)
    assert found is importlib.import_module(new) and found.__name__ == found.__spec__.name == new
    assert [str(note.message) for note in notes] == [old_names.describe(old, new)]
    if parent:  # Undo the import, for the other tests.
        vars(parent).pop(old.rpartition(".")[2], None)
    sys.modules.pop(old)


def test_a_name_that_never_existed_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="module 'pit_jax.neurons' has no attribute 'nothing'"):
        _ = neurons.nothing
    with pytest.raises(ModuleNotFoundError, match="No module named 'pit_jax.nothing'"):
        importlib.import_module("pit_jax.nothing")


def derive(neuron: type) -> type:
    class Derived(neuron):
        own: int = 1

    return Derived


@pytest.mark.parametrize("derive", [lambda cls: cls, derive, lambda cls: derive(derive(cls))])
@pytest.mark.parametrize("old, new", old_names.FIELDS.items())
def test_an_old_field_can_be_set_and_read(old, new, derive):
    cls, value = derive(FIELDS[old][0]), FIELDS[old][1]
    makers = (
        lambda: cls(**{old: value}),
        lambda: cls().clone(**{old: value}),
        lambda: dataclasses.replace(cls(), **{old: value}),
    )
    for make in makers:
        with pytest.warns(FutureWarning) as notes:
            neuron = make()
        assert neuron == cls(**{new: value}) and getattr(neuron, new) == value
        assert [str(note.message) for note in notes] == [old_names.describe(old, new)]
    with pytest.warns(FutureWarning) as notes:
        assert getattr(neuron, old) == value
    assert [str(note.message) for note in notes] == [old_names.describe(old, new)]


def test_a_field_under_both_names_is_an_error():
    with pytest.raises(TypeError, match="ILIF got both 'normalise' and 'normalize', its new name"):
        neurons.ILIF(**{"normalise": True, "normalize": False})


@pytest.mark.parametrize("name, table", old_names.KEYWORDS.items())
def test_an_old_keyword_of_a_function_is_passed_as_the_new_one(name, table):
    function = pkgutil.resolve_name(name)
    parameters = inspect.signature(function).parameters
    for old, new in table.items():
        assert old not in parameters
        with pytest.warns(FutureWarning, match=old_names.describe(old, new)):
            with pytest.raises((AttributeError, TypeError)):  # None is not a program.
                function(**{old: None} | {name: None for name in parameters if name != new})


def test_a_function_returns_the_same_for_an_old_keyword():
    with pytest.warns(FutureWarning):
        assert fingerprint(nodes=[]) == fingerprint([])


def test_a_keyword_that_never_existed_is_an_ordinary_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        neurons.PIT(nothing=1)


def set_key(config: ConfigDict, key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        config = config[section]
    config[last] = value


def write_old_page(tmp_path, key: str) -> str:
    """Write a user's config page with an old key and return its path."""
    *sections, last = key.split(".")
    place = "".join(f"[{section!r}]" for section in sections)
    page = f"""
from tests.train.tiny import get_config as tiny

def get_config():
    config = tiny()
    if {last!r} == "normalise":
        config.neuron = {{"name": "ILIF"}}  # PIT has no such field.
    config{place}[{last!r}] = {VALUES[key]!r}
    return config
"""
    (tmp_path / "page.py").write_text(page)
    return str(tmp_path / "page.py")


def get_new_key(old: str) -> str:
    section, dot, last = old.rpartition(".")
    return old_names.CONFIG_KEYS.get(old) or section + dot + old_names.FIELDS[last]


@pytest.mark.parametrize("old", VALUES)
def test_an_old_key_of_a_config_page_is_renamed(tmp_path, monkeypatch, capsys, old):
    monkeypatch.chdir(ROOT)
    new = get_new_key(old)
    config, _ = parse(["main", "--config", write_old_page(tmp_path, old)])
    flat = config.to_dict()
    for section in new.split("."):
        flat = flat[section]
    assert flat == VALUES[old] and old.rpartition(".")[2] not in str(config)
    assert has_note(capsys.readouterr().err, f"config.{old}", f"config.{new}")


def test_an_old_key_on_the_command_line_is_renamed(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    config, _ = parse(["main", "--config", TINY, "--config.anew=('head', 'PIT')"])
    assert config.reinitialize == ("head", "PIT")
    assert has_note(capsys.readouterr().err, "config.anew", "config.reinitialize")


def test_an_old_key_that_does_not_fit_the_config_is_an_error_without_a_note(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match="the config has no key 'neuron.normalise'"):
        parse(["main", "--config", TINY, "--config.neuron.normalise=True"])
    assert capsys.readouterr().err == ""


def make_old_config() -> dict:
    """Return a config as it was saved before its keys were renamed."""
    config = make_new_config() | {"neuron": {"name": "ILIF", "levels": 4, "normalise": True}}
    config["anew"] = config.pop("reinitialize")
    return json.loads(json.dumps(config))


def make_new_config() -> dict:
    parts = {"data": {"name": "digits"}, "model": {"name": "resnet8"}}
    neuron = {"name": "ILIF", "levels": 4, "normalize": True}
    return base().to_dict() | parts | {"neuron": neuron}


def test_the_config_of_an_old_run_is_read(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(make_old_config()))
    assert read_config(tmp_path) == json.loads(json.dumps(make_new_config()))
    assert capsys.readouterr().err.count("is now called") == 2


def test_an_old_run_resumes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(make_old_config()))
    with claim(tmp_path, make_new_config()):
        pass
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        json.dumps(make_new_config())
    )


def test_seeds_of_old_and_new_runs_are_one_row_of_the_ledger(tmp_path):
    summary = {"parameters": 1, "scales": 1, "last_accuracy": 0.5, "best_accuracy": 0.5}
    rest = {
        "summary": summary | {"seconds": 1.0},
        "environment": [{"commit": "1", "arguments": ""}],
        "epochs": [{"images_per_second": 1.0}],
    }
    same = {"data": {"name": "digits"}, "model": {"name": "cifarnet"}, "num_steps": 1, "epochs": 1}
    for name, config in (("old", make_old_config()), ("new", make_new_config())):
        run = {"config": config | same, **rest}
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    assert make_table(tmp_path).count("| digits |") == 1


@pytest.mark.parametrize("old, new", old_names.ANALYSES.items())
def test_an_old_name_of_an_analysis_is_accepted(capsys, old, new):
    assert old_names.translate_analysis(old) == new and new in ANALYSES
    assert has_note(capsys.readouterr().err, old, new)


def test_an_analysis_that_finished_under_its_old_name_is_found(tmp_path, capsys):
    (tmp_path / "quantisation").mkdir()
    part = {"of": [], "title": "Ranges", "html": "<p>found</p>"}
    (tmp_path / "quantisation" / output.PART).write_text(json.dumps(part))
    output.rename_old(tmp_path / "quantization")
    assert output.read_part(tmp_path / "quantization") == part
    assert "is now called" in capsys.readouterr().err
    (tmp_path / "quantisation").mkdir()
    output.rename_old(tmp_path / "quantization")  # An existing analysis is not replaced.
    assert output.read_part(tmp_path / "quantization") == part


def test_keys_of_a_users_own_part_are_not_renamed(tmp_path, monkeypatch, capsys):
    (tmp_path / "british.py").write_text(
        "import flax.linen as nn\n\n\nclass Neuron(nn.Module):\n    normalise: bool = False\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = ("--config.neuron=british:Neuron", "--config.neuron.normalise")
    config, _ = parse(["main", "--config", "digits", *flags])
    assert config.neuron.to_dict() == {"name": "british:Neuron", "normalise": True}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.to_dict()))
    assert read_config(tmp_path)["neuron"] == config.neuron.to_dict()
    assert "note" not in capsys.readouterr().err

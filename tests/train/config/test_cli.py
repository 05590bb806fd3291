"""The command line: files, variants, overrides, and errors for mistakes."""

import os
import sys
from pathlib import Path

import pytest
from flax.traverse_util import flatten_dict

from pit_jax.arguments import UsageError
from tests.train.helpers import TINY, run_main
from train.config.arguments import parse as parse_program
from train.config.cli import parse
from train.errors import UserError

DIGITS = "configs/digits.py"


@pytest.fixture
def config_file(tmp_path):
    """Return a function that writes a config file."""

    def write(source: str) -> str:
        (tmp_path / "mine.py").write_text(source)
        return str(tmp_path / "mine.py")

    return write


def get_error(*args: str) -> str:
    with pytest.raises((UserError, UsageError)) as error:
        parse(["main", *args])
    return str(error.value)


@pytest.mark.parametrize(
    "args, workdir",
    [
        (["--config", DIGITS], "runs/digits"),
        ([f"--config={DIGITS}"], "runs/digits"),
        (["--config", f"{DIGITS}:lif"], "runs/digits_lif"),
        (["--config", TINY], "runs/tiny"),
        (["--config", DIGITS, "--workdir", "a/b"], "a/b"),
        (["--workdir=/a", "--config", DIGITS], "/a"),
        (["-config", DIGITS, "-workdir", "a/b"], "a/b"),
        (["--config", DIGITS, "a/b"], "a/b"),
        (["a/b", "--config", DIGITS, "--config.augment.flip"], "a/b"),
        (["--config", DIGITS, "--config.augment.flip", "a/b"], "a/b"),
        (["--config", DIGITS, "--config.seed", "3", "a/b"], "a/b"),
        (["--config", DIGITS, "a/b", "--workdir", "a/b"], "a/b"),
        (["--config", "digits"], "runs/digits"),
        (["-config=digits:lif", "-config.seed=3"], "runs/digits_lif"),
    ],
)
def test_the_workdir_is_named_after_the_config_unless_given(args, workdir):
    assert parse(["main", *args])[1] == Path(workdir)


def test_a_colon_selects_a_variant():
    config, _ = parse(["main", "--config", "configs/fashion_mnist.py:lif"])
    assert config.data.name == "fashion_mnist"
    assert config.neuron.name == "LIF" and config.num_steps == 4


@pytest.mark.parametrize(
    "args, key, value",
    [
        (["--config.seed=3"], "seed", 3),
        (["--config.seed", "3"], "seed", 3),
        (["--config.seed=1", "--config.seed=2"], "seed", 2),
        (["--config.learning_rate=.2"], "learning_rate", 0.2),
        (["--config.learning_rate=1"], "learning_rate", 1.0),
        (["--config.optimizer.momentum=0.8"], "optimizer.momentum", 0.8),
        (["--config.model.name=resnet18"], "model.name", "resnet18"),
        (["--config.data.data_dir=/my data"], "data.data_dir", "/my data"),
        (["--config.augment.flip=true"], "augment.flip", True),
        (["--config.augment.flip"], "augment.flip", True),
        (["--noconfig.augment.flip"], "augment.flip", False),
    ],
)
def test_an_override_changes_one_value_and_keeps_its_type(args, key, value):
    plain, _ = parse(["main", "--config", DIGITS])
    config, _ = parse(["main", "--config", DIGITS, *args])
    changed, before = (flatten_dict(each.to_dict(), sep=".") for each in (config, plain))
    assert changed[key] == value and type(changed[key]) is type(value)
    assert changed == before | {key: value}


def test_a_tuple_can_be_overridden():
    config, _ = parse(["main", "--config", TINY, "--config.model.stages=(1, 2)"])
    assert config.model.stages == (1, 2)


def test_a_parsed_config_is_locked():
    config, _ = parse(["main", "--config", DIGITS])
    with pytest.raises(AttributeError):
        config.no_such_key = 1


@pytest.mark.parametrize(
    "override, key, nearest, taken",
    [
        ("--config.lerning_rate=1", "lerning_rate", "learning_rate", "It has: epochs, batch_size"),
        ("--config.momentum=1", "momentum", "optimizer.momentum", "It has: epochs, batch_size"),
        (
            "--config.model.widht=8",
            "model.widht",
            "model.width",
            "resnet8, the part of config.model, takes stages, width, stem_stride, dropout, norm",
        ),
        ("-config.sed=1", "sed", "seed", "It has: epochs, batch_size"),
        ("--config.lr=1", "lr", "learning_rate", "It has: epochs, batch_size"),
        ("--config.optimizer.wd=1", "optimizer.wd", "optimizer.weight_decay", "sgd, the part of"),
        (
            "--noconfig.augment.flop",
            "augment.flop",
            "augment.flip",
            "config.augment has: pad, flip, roll, rotate, smoothing, repeats, augment.policy",
        ),
        (
            "--config.model.norm.gian=1",
            "model.norm.gian",
            "model.norm.gain",
            "batch_norm, the part of config.model.norm, takes gain",
        ),
    ],
)
def test_the_error_for_a_mistyped_key_suggests_the_nearest_and_lists_its_section(
    override, key, nearest, taken
):
    message = get_error("--config", DIGITS, override)
    assert f"the config has no key {key!r}; did you mean --config.{nearest}?" in message
    assert taken in message


def test_the_error_for_a_key_without_a_similar_one_lists_all_keys():
    message = get_error("--config", DIGITS, "--config.zzz=1")
    assert "no key 'zzz'; it has: epochs, " in message and "did you mean" not in message
    assert all(f", {section}" in message for section in ("neuron", "optimizer", "health"))


@pytest.mark.parametrize(
    "override, complaint",
    [
        ("--config.seed=x", "config.seed must be a whole number, got 'x'."),
        ("--config.seed=1.5", "config.seed must be a whole number, got '1.5'."),
        ("--config.epochs=", "config.epochs must be a whole number, got ''."),
        ("--config.learning_rate=fast", "config.learning_rate must be a number, got 'fast'."),
        ("--config.augment.flip=maybe", "config.augment.flip must be true or false, got 'maybe'."),
        ("--config.model.stages=(1, 2.5)", "config.model.stages must be a tuple such as (1, 2),"),
        ("--config.neuron=none", "config.neuron cannot be none: a run needs one."),
        ("--config.health=none", "config.health is a section"),
        ("--config.augment.policy.num_ops=1", "config.augment.policy names no part yet; give"),
        ("--config.augment.mix=mixup", "config.augment.mix lacks alpha; mixup takes alpha."),
    ],
)
def test_the_error_for_an_invalid_value_names_its_key(override, complaint):
    assert complaint in get_error("--config", DIGITS, override)


@pytest.mark.parametrize(
    "args, complaint",
    [
        ([], "give one --config FILE, e.g. --config digits"),
        (["--config"], "give one --config FILE"),
        (["--config", TINY, "--config", TINY], "give one --config FILE"),
        (["--config="], "give one --config FILE"),
        (["--config.seed=1"], "give one --config FILE"),
        (["--config", "configs/digit.py"], "there is no config file configs/digit.py"),
        (["--config", "configs"], "there is no config file configs"),
        (["--config", f"{DIGITS}:lief"], "no variant 'lief'; choose one of ours, paper, released"),
        (["--config", DIGITS, "--workdri=a"], "no option --workdri; did you mean --workdir=a?"),
        (["--confg", DIGITS], "there is no option --confg; did you mean --config?"),
        (["--config", DIGITS, "--epochs=3"], "no option --epochs; did you mean --config.epochs=3?"),
        (["--epochs=3"], "there is no option --epochs; did you mean --config.epochs=3?"),
        (["--config", DIGITS, "--batch_size", "8"], "did you mean --config.batch_size?"),
        (["--config", DIGITS, "--lr=0.1"], "did you mean --config.learning_rate=0.1?"),
        (["--config", DIGITS, "--data-dir=d"], "did you mean --config.data.data_dir=d?"),
        (
            ["--config", DIGITS, "--name=PIT"],
            "did you mean --config.data.name=PIT or --config.loss.name=PIT or --config.model.name",
        ),
        (["--config", DIGITS, "--verbose"], "there is no option --verbose; see --help"),
        (["--config", DIGITS, "--workdir"], "--workdir: expected one argument"),
        (["--config", DIGITS, "a", "--workdir=b"], "RUN and --workdir differ"),
        (["--config", DIGITS, "--workdir=a", "--workdir=b"], "RUN and --workdir differ"),
        (["--config", DIGITS, "run", "extra"], "unrecognized arguments: extra"),
        (["--config", DIGITS, "--", "--config.seed=3"], "be a folder, got '--config.seed=3'"),
        (["--config", "digit"], "there is no config file digit; did you mean digits?"),
        (["--config", "base"], "there is no config file base;"),
        (["--config", "tests/train/tiny"], "did you mean tests/train/tiny.py?"),
        (["--config", "configs/lief.py:lif"], "one of arrays, cifar10, cifar100,"),
        (["--config", f"{TINY}:lif"], "has no variants; remove :lif."),
    ],
)
def test_the_error_for_an_invalid_command_states_the_mistake(args, complaint):
    assert complaint in get_error(*args)


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("def get_config(:", "invalid syntax"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("def get_config():\n    return undefined", "name 'undefined' is not defined"),
        ("def get_config():\n    raise ValueError()", "ValueError"),
        ("seed = 1", "has no function get_config()"),
        ("def get_config():\n    return 3", "3"),
    ],
)
def test_the_error_for_a_broken_config_file_names_file_and_cause(config_file, source, complaint):
    file = config_file(source)
    message = get_error("--config", file)
    assert file in message and complaint in message


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--config", "configs/digit.py"],
        ["--config", DIGITS, "--config.lerning_rate=1"],
        ["--config", DIGITS, "--config.seed=x"],
        ["--config", f"{DIGITS}:lief"],
        ["--config", DIGITS, "--verbose"],
        ["--config", DIGITS, "run", "extra"],
    ],
)
def test_a_mistake_prints_one_line_and_exits_with_2(args, capsys, tmp_path, monkeypatch):
    args = [str(Path(arg).absolute()) if Path(arg.split(":")[0]).exists() else arg for arg in args]
    monkeypatch.chdir(tmp_path)
    assert run_main(*args) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["--config", "nosuch.py", "--help"]])
def test_help_shows_the_usage(args, capsys):
    assert run_main(*args) == 0
    out, err = capsys.readouterr()
    assert err == "" and "usage: python -m train.main [-h] --config FILE[:variant]" in out
    for flag in ("--config.KEY VALUE", "--workdir DIR", "--help"):
        assert flag in out


@pytest.mark.parametrize(
    "given", ["digits", "configs/digits.py", "digits:lif", "configs/digits.py:lif"]
)
def test_a_shipped_config_is_found_from_any_folder(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, workdir = parse(["main", "--config", given])
    assert config.data.name == "digits"
    assert workdir == Path("runs/digits_lif" if given.endswith(":lif") else "runs/digits")


def test_a_page_imports_the_shipped_configs_even_from_another_folder_called_configs(
    tmp_path, monkeypatch
):
    # It also finds its neighbors there; afterwards `configs` is restored.
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "digits.py").write_text("raise RuntimeError('mine')")
    (folder / "common.py").write_text("EPOCHS = 7")
    (folder / "mine.py").write_text(
        "from configs import digits\nfrom configs.common import EPOCHS\n\n\n"
        "def get_config():\n    config = digits.get_config()\n    config.epochs = EPOCHS\n"
        "    return config\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = {name: module for name, module in sys.modules.items() if name.startswith("configs")}
    config, _ = parse(["main", "--config", "configs/mine.py"])
    assert config.data.name == "digits" and config.epochs == 7
    after = {name: module for name, module in sys.modules.items() if name.startswith("configs")}
    assert after == before
    assert "mine" in get_error("--config", "configs/digits.py")
    assert parse(["main", "--config", "digits"])[0].epochs == 30


def test_the_name_of_a_shipped_config_is_not_hidden_by_a_file_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "digits").write_text("0 1 2\n")
    monkeypatch.chdir(tmp_path)
    assert parse(["main", "--config", "digits"])[1] == Path("runs/digits")


@pytest.mark.parametrize("words", [["--workdir="], [""], ["--workdir", ""]])
def test_an_empty_string_is_not_a_folder(words):
    assert "must be a folder, got ''" in get_error("--config", DIGITS, *words)


ODD_FOLDERS = ["a[1]", "a:b", "a:lif", "$x", "two\nlines", " a ", "🐶", "it's", "%41", "a\\b"]


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_page_in_a_folder_of_any_name_is_read(tmp_path, name):
    (tmp_path / name).mkdir()
    page = tmp_path / name / "mine.py"
    page.write_text(f"from configs.digits import get_config\n# {len(name)}")
    assert parse(["main", "--config", str(page)])[1] == Path("runs/mine")
    config, workdir = parse(["main", "--config", f"{page}:lif"])
    assert config.neuron.name == "LIF" and workdir == Path("runs/mine_lif")


def test_a_page_with_a_colon_in_its_name_is_read(tmp_path):
    page = tmp_path / "a:b"
    page.write_text("from configs.digits import get_config")
    assert parse(["main", "--config", str(page)])[1] == Path("runs/a:b")
    assert parse(["main", "--config", f"{page}:lif"])[0].neuron.name == "LIF"


@pytest.mark.parametrize("word", ["--config", "--config=", "config.json"])
def test_a_tilde_in_the_path_of_a_page_is_expanded(tmp_path, monkeypatch, word):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text("from configs.digits import get_config")
    config, _ = parse(["main", "--config", DIGITS, "--config.seed=5"])
    (tmp_path / "config.json").write_text(config.to_json())
    name = "~/config.json" if word == "config.json" else "~/mine.py"
    words = ["--config", name] if word == "--config" else [f"--config={name}"]
    found, _ = parse(["main", *words])
    assert found.seed == (5 if word == "config.json" else 0)


def test_a_tilde_is_expanded_in_every_key_that_is_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config, workdir = parse(
        [
            *("main", "--config", "dvs_digits", "--workdir=~/a[1]", "--config.pretrained=~/b"),
            *("--config.data.data_dir=~/c d", "--config.data.cache_dir", "~"),
        ]
    )
    assert workdir == tmp_path / "a[1]"
    assert config.pretrained == str(tmp_path / "b")
    assert config.data.data_dir == str(tmp_path / "c d")
    assert config.data.cache_dir == str(tmp_path)


@pytest.mark.parametrize(
    "key", ["data.data_dir", "data.cache_dir", "pretrained", "--workdir", "--config"]
)
def test_names_that_are_not_utf_8_are_refused_by_key_before_anything_is_written(key, tmp_path):
    option = key if key.startswith("--") else f"--config.{key}"
    words = [f"{option}={tmp_path}/caf\udce9", *["--config=dvs_digits"][: key != "--config"]]
    error = get_error(*words)
    assert key in error and "must be a path whose names are valid UTF-8" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variant", ["../../x", "a/b"])
def test_the_default_folder_of_a_run_is_one_name_whatever_its_variant(config_file, variant):
    page = config_file(
        "from configs import digits\n\ndef get_config(v): return digits.get_config()"
    )
    workdir = parse(["main", "--config", f"{page}:{variant}"])[1]
    assert workdir == Path("runs") / f"mine_{variant.replace('/', '_')}"


def test_a_page_that_exits_is_an_error(config_file):
    page = config_file("import sys\nsys.exit(0)")
    assert f"{page}: 0" in get_error("--config", page)


def test_a_page_that_changes_within_a_second_is_read_as_it_is(config_file):
    source = "from configs import digits\ndef get_config(): c = digits.get_config(); c.seed = {}; "
    source += "return c"
    page = config_file(source.format(1))
    times = (os.stat(page).st_atime, os.stat(page).st_mtime)
    assert parse(["main", "--config", page])[0].seed == 1
    config_file(source.format(2))
    os.utime(page, times)
    assert parse(["main", "--config", page])[0].seed == 2


@pytest.mark.parametrize("text", ["5", "{", "[]", "\xff", '{"a.b": 1}', "[" * 10_000])
def test_a_saved_config_that_is_none_is_an_error_with_its_name(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text, encoding="latin-1")
    error = get_error("--config", str(file))
    assert str(file) in error and len(error.splitlines()) <= 3


def test_a_run_that_is_given_twice_counts_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    given = [tmp_path / name for name in ("a", "b", "link", "../" + tmp_path.name + "/b", "a")]
    found = parse_program("report", [str(each) for each in given]).workdirs
    assert found == given[:2]

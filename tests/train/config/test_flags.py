"""Flags of keys that the page does not set: their types, and the errors for unknown keys."""

import json

import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from tests.train.helpers import TINY
from train.config.cli import parse
from train.config.parts import KINDS, find_kind, find_part, list_names, list_options
from train.config.sections import check_sections, list_sections
from train.errors import UserError
from train.program import build


def parse_words(*words: str, config: str = "digits"):
    return parse(["main", "--config", config, *words])[0]


def get_error(*words: str, config: str = "digits") -> str:
    with pytest.raises(UserError) as error:
        parse_words(*words, config=config)
    return str(error.value)


@pytest.mark.parametrize(
    "words, key, value",
    [
        (["--config.neuron.scale_init=lsq"], "neuron.scale_init", "lsq"),
        (["--config.neuron.reset=hard"], "neuron.reset", "hard"),
        (["--config.neuron.unroll=2"], "neuron.unroll", 2),
        (["--config.neuron.decay_input"], "neuron.decay_input", True),
        (["--noconfig.neuron.decay_input"], "neuron.decay_input", False),
        (["--config.model.norm.name=TDBatchNorm"], "model.norm.name", "TDBatchNorm"),
        (["--config.model.norm=TEBN"], "model.norm.name", "TEBN"),
        (["--config.model.norm.gain=1"], "model.norm.gain", 1.0),
        (["--config.model.remat=blocks"], "model.remat", "blocks"),
        (["--config.model.stages=1,2"], "model.stages", (1, 2)),
        (["--config.model.stages=[1, 2]"], "model.stages", (1, 2)),
        (["--config.model.name", "resnet18"], "model.name", "resnet18"),
        (["--config.min_learning_rate=1e-3"], "min_learning_rate", 1e-3),
        (["--config.schedule.name=linear"], "schedule.name", "linear"),
        (["--config.schedule=steps", "--config.schedule.at=.5"], "schedule.at", (0.5,)),
        (["--config.extend=10"], "extend", 10),
        (["--config.extend=10,25"], "extend", (10, 25)),
        (["--config.freeze=stem,stage1"], "freeze", ("stem", "stage1")),
        (["--config.freeze=('stem',)"], "freeze", ("stem",)),
        (["--config.metrics=none"], "metrics", ()),
        (["--config.metrics=top5,entropy"], "metrics", ("top5", "entropy")),
        (["--config.augment.cutout.size=4"], "augment.cutout.size", 4),
        (["--config.augment.policy=trivial"], "augment.policy.name", "trivial"),
        (["--config.augment.repeats=2"], "augment.repeats", 2),
        (["--config.data.train_images=200"], "data.train_images", 200),
        (["--config.data.validation=.1"], "data.validation", 0.1),
        (["--config.loss=tet", "--config.loss.weight=0"], "loss.weight", 0.0),
        (["--config.optimizer=optax:adam", "--config.optimizer.b1=0.8"], "optimizer.b1", 0.8),
    ],
)
def test_a_key_missing_from_the_page_is_set_with_the_type_of_its_part(words, key, value):
    config = parse_words(*words)
    found = flatten_dict(config.to_dict(), sep=".")[key]
    assert found == value and type(found) is type(value)
    build.check(config)


@pytest.mark.parametrize(
    "words, expected",
    [
        (
            ["--config.model.downsample_neuron.name=LIF", "--config.model.name=sew_resnet18"],
            {"name": "LIF"},
        ),
        (["--config.model=sew_resnet18", "--config.model.downsample_neuron=IF"], {"name": "IF"}),
        (
            ["--config.model=sew_resnet18", "--config.model.downsample_neuron.levels=2"],
            {
                "name": "PIT",
                "levels": 2,
                "decay": 0.5,
                "strength": 0.01,
                "detach_reset": False,
            },
        ),
    ],
)
def test_the_section_of_another_neuron_starts_from_the_main_neuron(words, expected):
    config = parse_words(*words, config="digits:pit")
    assert config.model.downsample_neuron.to_dict() == expected
    build.check(config)


def test_a_key_of_a_missing_section_keeps_the_networks_other_values():
    config = parse_words("--config.model=cifarnet", "--config.model.norm.gain=1.5")
    assert config.model.norm.to_dict() == {
        "name": "batch_norm",
        "epsilon": 1e-4,
        "momentum": 0.1,
        "gain": 1.5,
    }
    message = get_error("--config.model.norm=no_norm", "--config.model.norm.gain=2")
    assert "no_norm, the part of config.model.norm, takes no keys" in message


def test_the_shape_of_synthetic_images_is_a_key():
    config = parse_words("--config.data=synthetic", "--config.data.shape=(32,32,3)")
    assert config.data.to_dict() == {"name": "synthetic", "shape": (32, 32, 3)}


def test_the_pools_of_vgg11_are_a_key():
    config = parse_words("--config.model.pool_after=(1,2,4,6,8)", config="cifar10_dvs")
    assert config.model.pool_after == (1, 2, 4, 6, 8)


def test_none_removes_a_section():
    assert parse_words("--config.augment=none").augment.to_dict() == {}
    config = parse_words(
        "--config.augment.policy=none", "--config.augment.cutout=none", config="cifar100"
    )
    assert config.augment.to_dict() == {"flip": True, "pad": 4}
    build.check(config)
    assert "norm" not in parse_words("--config.model.norm=none").model


def test_a_new_part_keeps_the_keys_that_it_takes_and_a_note_lists_the_others(capsys):
    config = parse_words("--config.neuron.name=LIF", config="digits:pit")
    assert config.neuron.to_dict() == {"name": "LIF", "decay": 0.5, "detach_reset": False}
    dropped = "note: LIF does not take levels, strength; they are dropped from config.neuron."
    assert dropped in capsys.readouterr().err
    assert parse_words("--config.neuron=LIF").neuron.to_dict() == {"name": "LIF"}


def test_a_flag_for_a_key_of_the_replaced_part_is_an_error():
    message = get_error("--config.neuron.name=LIF", "--config.neuron.levels=2")
    assert (
        "no key 'neuron.levels'" in message and "LIF, the part of config.neuron, takes" in message
    )


@pytest.mark.parametrize("join", ["add", "and", "iand"])
def test_a_key_that_takes_words_or_functions_keeps_its_words(join, tmp_path):
    config = parse_words("--config.model=sew_resnet18", f"--config.model.join={join}")
    assert config.model.join == join
    build.check(config)
    (tmp_path / "config.json").write_text(config.to_json())
    build.check(parse_words(config=str(tmp_path / "config.json")))
    with pytest.raises(UserError, match="join"):
        build.check(parse_words("--config.model=sew_resnet18", "--config.model.join=or"))


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["--config.model.dtype=bogus"], "config.model.dtype is 'bogus'; it can be float32"),
        (["--config.model.dtype=int32"], "config.model.dtype is 'int32'; it can be float32"),
        (["--config.model.norm.gain=0"], "config.model.norm.gain must be more than 0, got 0"),
        (
            ["--config.model.norm.gain=nan"],
            "config.model.norm.gain must be a finite number, got nan",
        ),
        (
            ["--config.model.norm=TEBN", "--config.model.norm.gain=-1"],
            "gain must be more than 0, got -1",
        ),
        (["--config.model.norm.momentum=2"], "config.model.norm.momentum must be less than 1"),
        (["--config.model.norm.epsilon=-1"], "config.model.norm.epsilon must be more than 0"),
        (["--config.neuron=LIF", "--config.neuron.spike=atan"], "Did you mean 'arctan'?"),
    ],
)
def test_the_error_for_a_value_that_a_part_refuses_comes_before_data_are_loaded(words, complaint):
    with pytest.raises(UserError) as error:
        build.check(parse_words(*words))
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    "given, used",
    [("bf16", "bfloat16"), ("fp16", "float16"), ("half", "float16"), ("F32", "float32")],
)
def test_dtypes_by_other_names_are_recorded_by_their_usual_name(given, used):
    config = parse_words(f"--config.model.dtype={given}")
    assert config.model.dtype == used
    build.check(config)


@pytest.mark.parametrize(
    "flag, complaint",
    [
        ("model.dtype=int8", "config.model.dtype is 'int8'; it can be float32, bfloat16, "),
        ("model.dtype=float8_e4m3fn", "config.model.dtype is 'float8_e4m3fn'; it can be "),
        ("model.dtype=double", "config.model.dtype is float64, but JAX computes in float32"),
        ("neuron.decay=2", "config.neuron.decay must be at most 1, got 2.0; a time constant"),
        ("neuron.strength=nan", "config.neuron.strength must be a finite number, got nan"),
        ("neuron.strength=-1", "config.neuron.strength must be at least 0, got -1.0"),
        ("neuron.levels=20000000", "config.neuron.levels must be at most 16777216"),
        ("neuron.unroll=0", "config.neuron.unroll must be at least 1, got 0"),
        ("seed=-1", "config.seed must be at least 0, got -1"),
        ("seed=4294967296", "config.seed must be at most 4294967295"),
        ("learning_rate=inf", "config.learning_rate must be a finite number, got inf"),
        ("learning_rate=0", "config.learning_rate must be more than 0, got 0.0"),
        ("min_learning_rate=1", "config.min_learning_rate must be at most config.learning_rate"),
        ("warmup_epochs=-1", "config.warmup_epochs must be at least 0, got -1"),
        ("averaging=1", "config.averaging must be at most 0.99999, got 1.0"),
        ("optimizer.momentum=nan", "config.optimizer.momentum must be a finite number, got nan"),
        ("optimizer.weight_decay=-1", "config.optimizer.weight_decay must be at least 0"),
        ("augment.smoothing=nan", "config.augment.smoothing must be a finite number, got nan"),
        ("augment.pad=-1", "config.augment.pad must be at least 0, got -1"),
        ("num_steps=0", "config.num_steps must be at least 1, got 0"),
        ("epochs=0", "config.epochs must be at least 1, got 0"),
        ("batch_size=0", "config.batch_size must be at least 1, got 0"),
        ("health.images=0", "config.health.images must be at least 1, got 0"),
        ("model.width=0", "config.model.width must be at least 1, got 0"),
        ("model.dropout=1", "config.model.dropout must be less than 1, got 1.0"),
    ],
)
def test_values_of_keys_outside_of_their_domain_are_refused(flag, complaint):
    with pytest.raises(UserError) as error:
        build.check(parse_words(f"--config.{flag}"))
    assert str(error.value).startswith(complaint)


@pytest.mark.parametrize(
    "key, value, complaint",
    [
        ("epochs", 2.5, "config.epochs must be a whole number, got 2.5."),
        ("epochs", True, "config.epochs must be a whole number, got True."),
        ("batch_size", "64", "config.batch_size must be a whole number, got '64'."),
        ("tensorboard", "yes", "config.tensorboard must be true or false, got 'yes'."),
        ("freeze", "stem", "config.freeze must be a tuple such as ('a', 'b'), got 'stem'."),
        ("health", None, "config.health must be a section with keys, got None."),
        ("wandb", 5, "config.wandb must be a section with keys, got 5."),
        ("log_every", {"a": {"b": 1}}, "config.log_every must be a whole number, got {'a'"),
        ("neuron", {"name": "LIF", "detach_reset": 1}, "config.neuron.detach_reset must be true"),
    ],
)
def test_values_of_a_saved_config_with_a_wrong_type_are_refused(tmp_path, key, value, complaint):
    content = json.loads(parse_words().to_json()) | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert get_error(config=str(tmp_path / "config.json")).startswith(complaint)


def test_a_reference_between_keys_follows_its_flag():
    config = parse_words("--config.num_steps=4", config="dvs_digits")
    assert config.data.num_frames == 4


def test_a_float_can_replace_an_int_of_a_page(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(
        "from configs import digits\n\n\ndef get_config():\n    config = digits.get_config('lif')\n"
        "    config.neuron.decay = 1\n    return config\n"
    )
    assert parse_words("--config.neuron.decay=0.25", config=str(page)).neuron.decay == 0.25


@pytest.mark.parametrize(
    "change, complaint",
    [
        ("config.neuron.lavels = 2", "config.neuron has no key 'lavels'; PIT takes levels,"),
        ("config.epoch = 3", "the config has no key 'epoch'; it has epochs, batch_size,"),
        ("config.loss = {'name': 'tet', 'w': 1}", "config.loss has no key 'w'; tet takes weight,"),
        ("del config.epochs", "the config lacks epochs; it has epochs, batch_size"),
        ("del config.neuron", "the config lacks the section neuron; give config.neuron.name."),
        ("config.data.colour = 1", "config.data has no key 'colour'; digits takes data_dir,"),
        ("config.model.norm = {'name': 'TEBN', 'x': 1}", "config.model.norm has no key 'x'"),
        ("config.checkpoints.most = 1", "config.checkpoints has no key 'most'; it has last,"),
        ("config.augment.policy = {'name': 'own'}", "config.augment.policy.name is 'own'; it can"),
    ],
)
def test_the_error_for_an_unknown_key_of_a_page_lists_the_known_keys(tmp_path, change, complaint):
    page = tmp_path / "page.py"
    page.write_text(
        "from configs import digits\n\n\ndef get_config():\n    config = digits.get_config()\n"
        f"    {change}\n    return config\n"
    )
    assert complaint in get_error(config=str(page))


def test_a_page_can_omit_keys_with_defaults_and_give_just_the_name_of_a_part(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        "    return ConfigDict(dict(\n"
        "        data='digits', model={'name': 'resnet8', 'norm': 'TEBN'}, neuron='LIF',\n"
        "        loss='cross_entropy', optimizer='sgd', epochs=1, batch_size=32, num_steps=2,\n"
        "        learning_rate=0.1))\n"
    )
    config = parse_words("--config.neuron.decay=1", config=str(page))
    assert config.neuron.to_dict() == {"name": "LIF", "decay": 1.0}
    assert config.model.norm.name == "TEBN" and config.checkpoints.last == 2
    assert config.seed == 0 and config.augment.to_dict() == {}
    build.check(config)


def test_a_saved_config_loads_as_the_same_config(tmp_path):
    config = parse_words("--config.model.stages=(1,1)", config=TINY)
    saved = tmp_path / "my_run" / "config.json"
    saved.parent.mkdir()
    saved.write_text(json.dumps(config.to_dict()))
    again, workdir = parse(["main", "--config", str(saved)])
    assert again.to_dict() == config.to_dict() and workdir.name == "my_run"
    saved.write_text("[1]")
    assert "is not the config of a run" in get_error(config=str(saved))
    assert "there is no config file no.json" in get_error(config="no.json")


@pytest.mark.parametrize("what", [what for what in KINDS if KINDS[what].table])
def test_every_key_of_our_parts_has_a_meaning(what):
    for name, part in list_names(what).items():
        unexplained = [
            key for key, each in list_options(what, part).known.items() if not each.meaning
        ]
        assert unexplained == [], f"config.{what} with {name}"


@pytest.mark.parametrize("what", [what for what in KINDS if KINDS[what].only])
def test_every_key_of_a_section_without_a_name_has_a_meaning(what):
    options = list_options(what, find_part(what))
    assert [key for key, each in options.known.items() if not each.meaning] == []


def test_all_sections_of_shipped_configs_have_a_kind(shipped):
    for what, _ in list_sections(shipped):
        assert find_kind(what) is not None
    check_sections(shipped)


@pytest.fixture(params=["digits", "cifar100:released", "imagenet:sdt", "dvs_gesture"])
def shipped(request) -> ConfigDict:
    """Return some shipped configs of images and events, with many sections and few."""
    return parse_words(config=request.param)

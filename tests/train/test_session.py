"""Every config value outside its bounds is refused with its key, before data are loaded."""

import math
from pathlib import Path

import pytest

from tests.train.helpers import ROOT
from train.config.cli import parse
from train.errors import UserError
from train.loop import train
from train.session import check_parts

# The largest refused value below the bounds of a key, and the smallest refused value above them.
BELOW = {
    "seed": -1,
    "num_steps": 0,
    "model.width": 0,
    "accumulate": 0,
    "averaging": -0.1,
    "epochs": 0,
    "batch_size": 0,
    "warmup_epochs": -1,
    "checkpoints.last": 0,
    "checkpoints.every_epochs": -1,
    "checkpoints.every_steps": -1,
    "checkpoints.seconds_apart": -0.1,
    "health.images": 0,
    "health.every_epochs": -1,
    "learning_rate": 0.0,
    "evaluate_every": -1,
    "log_every": -1,
    "skip": -1,
    "neuron.levels": 0,
    "optimizer.momentum": -0.1,
    "optimizer.weight_decay": -0.1,
}
ABOVE = {"averaging": 1.0, "optimizer.momentum": 1.0}
# Keys that only some configs have.
IN_IMAGENET = {"min_learning_rate": -1e-9, "optimizer.max_norm": 0.0}
AUGMENT_BELOW = {
    "pad": -1,
    "roll": -1,
    "rotate": -1,
    "repeats": 0,
    "smoothing": -0.1,
    "cutout.size": -1,
    "erase.probability": -0.1,
    "policy.num_ops": 0,
    "policy.magnitude": -1,
    "policy.deviation": -0.1,
    "policy.probability": -0.1,
    "mix.mixup_alpha": 0.0,
    "mix.cutmix_alpha": 0.0,
    "mix.probability": -0.1,
}
AUGMENT_ABOVE = {
    "smoothing": 1.1,
    "erase.probability": 1.1,
    "policy.magnitude": 11,
    "policy.probability": 1.1,
    "mix.probability": 1.1,
}
SECTIONS = {
    "policy": {"name": "rand_increasing"},
    "cutout": {},
    "erase": {"probability": 0.5},
    "mix": {"name": "mixup_or_cutmix", "mixup_alpha": 1.0, "cutmix_alpha": 1.0},
}


def make_config(key: str, value: object, config_name: str = "digits"):
    config, _ = parse(["main", "--config", str(ROOT / f"configs/{config_name}.py")])
    with config.unlocked():
        section, _, name = key.rpartition(".")
        owner = config
        for part in section.split(".") if section else ():
            if part not in owner:
                owner[part] = SECTIONS[part]
            owner = owner[part]
        owner[name] = value
    return config


def get_error(config) -> str:
    with pytest.raises(UserError) as error:
        check_parts(config)
    return str(error.value)


@pytest.mark.parametrize(
    "key, value, bound",
    [(key, value, r"at least|more than") for key, value in BELOW.items()]
    + [(key, value, "at most") for key, value in ABOVE.items()],
)
def test_an_error_for_a_value_out_of_bounds_names_the_key(key, value, bound):
    message = get_error(make_config(key, value))
    assert message.startswith(f"config.{key} must be ")
    assert any(each in message for each in bound.split("|")) and f", got {value}" in message


@pytest.mark.parametrize("key, value", [*AUGMENT_BELOW.items(), *AUGMENT_ABOVE.items()])
def test_an_error_for_an_augmentation_value_out_of_bounds_names_the_key(key, value):
    message = get_error(make_config(f"augment.{key}", value))
    assert message.startswith(f"config.augment.{key} must be ") and f", got {value}." in message


@pytest.mark.parametrize("key, value", IN_IMAGENET.items())
def test_keys_that_only_some_configs_have_are_checked_too(key, value):
    config = make_config("optimizer.name", "lamb")
    with config.unlocked():
        config.min_learning_rate = 0.0
        owner = config.optimizer if "." in key else config
        owner[key.rpartition(".")[2]] = value
    assert get_error(config).startswith(f"config.{key} must be ")


@pytest.mark.parametrize("steps", [(3,), (0, 2), (4, 2), (1, 2, 3)])
def test_profile_steps_must_be_a_first_and_a_last_step(steps):
    message = get_error(make_config("profile_steps", steps))
    expected = "config.profile_steps must be the first and the last step, counted from 1, got"
    assert message.startswith(expected)


def test_rules_between_keys_are_checked_after_the_bounds_of_each_key():
    config = make_config("epochs", 3)
    config.warmup_epochs = 3
    assert get_error(config) == (
        "config.epochs must be more than config.warmup_epochs, 3, in which the learning rate only "
        "rises; got 3. For a short run also give --config.warmup_epochs=0."
    )
    config.epochs = 0
    assert get_error(config) == "config.epochs must be at least 1, got 0."


def test_a_value_is_refused_before_data_are_looked_for(tmp_path: Path):
    config = make_config("optimizer.momentum", math.inf)
    config.data = {"name": "mnist", "data_dir": str(tmp_path / "no_such_folder")}
    with pytest.raises(UserError, match=r"config\.optimizer\.momentum must be a finite number"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

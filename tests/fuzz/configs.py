"""Draws configs of small runs: words for `train.main`, with valid and odd values of every key.

A run that is accepted ends after two training steps of a network that fits into 4 GB.
"""

import contextlib
import io
from random import Random
from typing import Any

from hypothesis import strategies as st

from configs import digits, smoke
from pit_jax.models import MODELS
from pit_jax.neurons import NEURONS
from train.config.overrides import override
from train.config.parts import (
    KINDS,
    Option,
    find_kind,
    list_functions,
    list_names,
)
from train.config.sections import list_keys
from train.config.values import is_switch, list_types
from train.errors import UserError

# Fields that make a network of a family small; the others of a family have a small width only.
SMALL = {
    "vgg11": ("widths=(4,4)", "pool_after=(1,2)", "head=gap"),
    "vgg16": ("widths=(4,4)", "pool_after=(1,)"),
    "plifnet": ("widths=(4,)", "pool_after=(1,)", "hidden=8", "voters=2"),
    "cifarnet": ("widths=(4,4)", "strides=(1,2)", "hidden=8"),
    "spike_driven_transformer": ("width=8", "depth=1", "heads=2"),
    **dict.fromkeys(
        (name for name in MODELS if name.startswith("e_spikeformer")),
        ("widths=(8,8)", "stages=(1,1)", "strides=(2,1)", "conv_stages=1", "heads=2"),
    ),
}
# Sections that a config may have in addition to those of the page, with a part to begin with.
PARTS = ("loss", "optimizer")
# Keys without a default.
REQUIRED = {
    "mixup": ("alpha",),
    "cutmix": ("alpha",),
    "mixup_or_cutmix": ("mixup_alpha", "cutmix_alpha"),
}
EXTRA = ("augment.policy", "augment.mix", "model.norm", "schedule")
# Keys that a drawn value would make large, slow or start something else; these get small values.
SIZES = ("width", "widths", "hidden", "voters", "depth", "stages", "num_steps", "unroll", "heads")
SIZES += ("mlp_ratio", "num_train", "num_test", "train_images", "pool_after", "strides", "size")
SIZES += ("num_classes", "batch_size", "accumulate", "cpu_devices", "images", "pad", "repeats")
SIZES += ("num_ops", "last")
# Keys of places and services.
UNTOUCHED = ("pretrained", "data_dir", "cache_dir", "project", "name", "epochs", "profile_steps")

INTEGERS = ("0", "1", "2", "3", "-1", "007", "0x2")
LARGE = ("4294967295", "4294967296", "-9223372036854775808", "1" + "0" * 30)
NUMBERS = ("0", "0.5", "1", "2", "-1", "0.999", "1e-3", "1e-30", "1e30", "nan", "inf", "-inf")
WORDS = ("", "none", "None", "x", "true", "2.5", "1e9", "[]", "{}", "(1,)", "é", "[red]", "$x$")
TUPLES = ("()", "(1,)", "(2,1)", "1", "(0,)", "(-1,2)", "(1.5,)", "(1,'a')", "((1,),)", "stem")
SWITCHES = ("true", "false", "yes", "0", "2", "maybe")


def draw_config(data: Any) -> list[str]:
    """Return the words of a command line for `train.main` without a `--workdir`."""
    # One drawn seed: draws of many small choices would repeat the smallest config again and again.
    random = data.draw(st.randoms(use_true_random=True))
    pick = random.choice
    page = pick(["configs/smoke.py", "configs/digits.py"])
    words = ["--config.epochs=1", "--config.health.images=8"]
    # Twenty digits are two of each class.
    batch = 10 if page == "configs/digits.py" else pick([4, 8])
    sizes = {"train_images": 20} if batch == 10 else {"num_train": 2 * batch, "num_test": 8}
    words += [f"--config.data.{key}={value}" for key, value in sizes.items()]
    network = pick(sorted(MODELS))
    fields = SMALL.get(network, ("width=4", "stages=(1,)"))
    words += [f"--config.batch_size={batch}", f"--config.num_steps={pick([1, 2, 3])}"]
    words += [f"--config.model.name={network}", *(f"--config.model.{each}" for each in fields)]
    words += [f"--config.neuron.name={pick(sorted(NEURONS))}"]
    words += [f"--config.{what}.name={pick(sorted(list_names(what)))}" for what in PARTS]
    for what in random.sample(EXTRA, pick([0, 0, 1, 2])):
        name = pick(sorted(list_names(what)))
        words += [f"--config.{what}={name}"]
        words += [f"--config.{what}.{key}={pick(['0.5', '1'])}" for key in REQUIRED.get(name, ())]
    # Later words win: odd values may replace those above.
    return ["--config", page, *words, *draw_words(random, page, words)]


def draw_words(random: Random, page: str, words: list[str]) -> list[str]:
    """Return words that set up to four keys of the config that `words` make."""
    config = (smoke if page == "configs/smoke.py" else digits).get_config()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            override(config, words)
    except UserError:  # The combination is refused already.
        return []
    options = list_keys(config)
    keys = sorted(key for key in options if key.rpartition(".")[2] not in UNTOUCHED)
    chosen = random.sample(keys, random.choice([0, 1, 1, 2, 4]))
    found = [f"--config.{key}={draw_value(random, key, options[key])}" for key in chosen]
    sections = [each for each in KINDS if each]
    if not random.randrange(10):  # A part or a key that does not exist.
        what = random.choice(sections)
        found += [f"--config.{what}.{'name' if find_kind(what).table else 'nothing'}=nope"]
    if not random.randrange(10):
        found += [f"--config.{random.choice(sections)}=none"]
    return found


def draw_value(random: Random, key: str, option: Option) -> str:
    """Return a text for a key, valid or odd, by its types, its functions and its default."""
    last, kinds = key.rpartition(".")[2], list_types(option)
    texts: list[str] = list(list_functions(key))
    if last == "dtype":
        texts += ["float32", "bf16", "half", "float64", "int8", "bool", "float8_e4m3fn"]
    if int in kinds:
        texts += INTEGERS if last in SIZES else (*INTEGERS, *LARGE)
    if float in kinds:
        texts += NUMBERS
    if tuple in kinds:
        texts += TUPLES
    if is_switch(option):
        texts += SWITCHES
    if not texts:
        texts += [getattr(option.default, "__name__", str(option.default))]
    # One in four is a text that may be of another type.
    return random.choice(texts if random.randrange(4) else WORDS)

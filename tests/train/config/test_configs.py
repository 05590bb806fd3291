"""Every config in configs/ builds its run, and the configs of the paper have its settings."""

import importlib
import json

import jax
import numpy as np
import pytest

from configs import imagenet
from configs.neurons import NEURONS as VARIANTS
from pit_jax.interop import LAYOUTS
from pit_jax.neurons import NEURONS
from tests.train.helpers import ROOT
from train.config.cli import parse
from train.data import DATASETS, ArraySplit, Dataset
from train.errors import UserError
from train.program import build
from train.program.inputs import make_augment

STEMS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
CONFIGS = [s for s in STEMS if hasattr(importlib.import_module(f"configs.{s}"), "get_config")]
SHAPES = {
    "synthetic": ((8, 8, 1), 10),
    "digits": ((8, 8, 1), 10),
    "mnist": ((28, 28, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "folder": ((64, 64, 3), 4),
    "arrays": ((28, 28, 1), 3),
    "event_folder": ((10, 48, 64, 2), 3),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "dvs_digits": ((10, 20, 20, 2), 10),
    "cifar10_dvs": ((10, 48, 48, 2), 10),
    "dvs_gesture": ((20, 128, 128, 2), 11),
    "n_mnist": ((10, 34, 34, 2), 10),
    "imagenet": ((32, 32, 3), 1000),
}
OURS_BY_DEFAULT = {
    "arrays",
    "digits",
    "dvs_digits",
    "event_folder",
    "fashion_mnist",
    "folder",
    "mnist",
    "n_mnist",
    "smoke",
}
EVENTS = {"dvs_digits", "cifar10_dvs", "dvs_gesture", "event_folder", "n_mnist"}


def load_config(name: str, variant: str):
    return parse(["main", "--config", str(ROOT / f"configs/{name}.py:{variant}")])[0]


def make_blank_dataset(name: str, count: int) -> Dataset:
    """Return black images or empty frames with the shape of a data set, instead of its files."""
    shape, num_classes = SHAPES[name]
    split = ArraySplit(np.zeros((count, *shape), np.uint8), np.zeros(count, np.int32))
    channels = shape[-1] if len(shape) == 3 else 0  # Frames are not normalized.
    return Dataset(name, split, split, num_classes, (0.5,) * channels, (0.2,) * channels)


def test_every_neuron_has_a_variant():
    assert {section["name"] for section, _, _ in VARIANTS.values()} == set(NEURONS)


def test_the_configs_of_the_readme_exist():
    assert {"smoke", "digits", "fashion_mnist", "cifar10", "cifar100"} <= set(CONFIGS)


# Every neuron on the digits, every config in its default variant, the recipes of the transformers.
COVERING = [("digits", variant) for variant in VARIANTS]
COVERING += [(name, "ours" if name in OURS_BY_DEFAULT else "paper") for name in CONFIGS]
COVERING += [("imagenet", "sdt"), ("imagenet", "e_spikeformer")]
# Every config with the readings of PIT and with LIF.
PAIRS = [("digits", variant) for variant in VARIANTS]
PAIRS += [
    (name, variant)
    for name in CONFIGS
    if name != "digits"
    for variant in ("paper", "released", "ours", "lif")
]
PAIRS += [("imagenet", variant) for variant in imagenet.RECIPES if variant != "released"]


@pytest.mark.parametrize("name, variant", PAIRS)
def test_every_variant_of_a_config_is_valid(name, variant):
    build.check(load_config(name, variant))


@pytest.mark.parametrize(
    "name, variant",
    [
        *dict.fromkeys(COVERING),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in PAIRS if each not in COVERING),
    ],
)
def test_a_config_builds_every_part_of_its_run(name, variant):
    config = load_config(name, variant)
    assert json.loads(json.dumps(config.to_dict()))["neuron"]["name"] in NEURONS
    assert config.data.name in DATASETS
    dataset = make_blank_dataset(config.data.name, 2)
    model = build.make_network(config, dataset)
    augment = make_augment(config, dataset)
    optimizer = build.make_optimizer(config, steps_per_epoch=10)
    images = jax.eval_shape(augment, jax.random.key(0), dataset.train.images)
    assert images.shape == dataset.train.images.shape

    def initialize(key, images):
        logits, variables = model.init_with_output(key, images)
        return logits, variables, optimizer.init(variables["params"])

    logits, variables, _ = jax.eval_shape(initialize, jax.random.key(0), images)
    assert logits.shape == (2, config.num_steps, dataset.num_classes)
    loss = jax.eval_shape(build.make_loss(config), logits, dataset.train.labels)
    assert loss.shape == ()
    scales = [leaf for path, leaf in jax.tree.leaves_with_path(variables) if path[-1].key == "a"]
    learned = config.neuron.get("parametrize") != "released"  # Else a fixed vector and a factor.
    assert bool(scales) == (config.neuron.name in {"PIT", "PITFull", "QAT", "QBLIF"} and learned)
    if variant not in ("qat", "qb_lif"):  # Their scales have no steps.
        assert all(scale.shape[0] == config.num_steps for scale in scales)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_network_for_events_has_a_step_for_every_frame(name):
    for variant in VARIANTS:
        config = load_config(name, variant)
        assert config.num_steps == config.data.num_frames == SHAPES[name][0][0]


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - EVENTS))
def test_every_spiking_variant_of_an_image_config_sends_at_most_four_spikes(name):
    configs = [load_config(name, variant) for variant in VARIANTS if variant != "relu"]
    assert {each.num_steps * each.neuron.get("levels", 1) for each in configs} == {4}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_at_the_head_of_a_config_names_that_file(name):
    source = (ROOT / f"configs/{name}.py").read_text()
    assert f"python -m train.main --config configs/{name}.py\n" in source


def test_flags_change_size_and_network_of_the_folder_config():
    larger = ("--config.data.size=224", "--config.model.name=sew_resnet34")
    file = str(ROOT / "configs/folder.py")
    config, _ = parse(["main", "--config", file, *larger, "--config.model.width=64"])
    assert config.data.size == 224
    assert build.make_network(config, make_blank_dataset("folder", 2)).stages == (3, 4, 6, 3)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_cifar_configs_augment_as_the_paper_or_as_the_authors_code(name):
    paper, released = load_config(name, "pit").to_dict(), load_config(name, "released").to_dict()
    assert paper["augment"] == {
        "pad": 4,
        "flip": True,
        "policy": {"name": "autoaugment", "resample": "nearest"},
        "cutout": {"size": 16, "fill": "mean"},
    }
    assert released["augment"] == {
        "pad": 0,
        "flip": True,
        "policy": {"name": "trivial", "resample": "bilinear"},
        "erase": {"probability": 0.1},
        "mix": {"name": "mixup_or_cutmix", "mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    }
    assert released["optimizer"]["weight_decay"] == 5e-5
    different = {key for key in paper if paper[key] != released[key]}
    assert different <= {"augment", "optimizer", "neuron"}


@pytest.mark.parametrize("name, decay", [("cifar10", 5e-5), ("cifar100", 5e-4)])
def test_the_cifar_configs_have_the_settings_of_table_6(name, decay):
    config = load_config(name, "pit")
    assert config.optimizer.to_dict() == {"name": "sgd", "momentum": 0.9, "weight_decay": decay}
    assert (config.epochs, config.batch_size, config.learning_rate) == (200, 128, 0.1)
    assert config.loss.to_dict() == {"name": "cross_entropy"}
    # A plain cosine.
    assert config.warmup_epochs == 0
    # The paper's results on CIFAR are for ResNet18 with T x D = 1 x 4.
    assert config.model.name == "resnet18" and config.num_steps == 1
    assert config.neuron.name == "PIT" and config.neuron.levels == 4


@pytest.mark.parametrize(
    "name, batch, steps, levels, size, dropout",
    [("cifar10_dvs", 128, 10, 4, 48, 0.0), ("dvs_gesture", 16, 20, 2, 128, 0.4)],
)
def test_the_event_configs_have_the_settings_of_tables_6_11_and_12(
    name, batch, steps, levels, size, dropout
):
    config = load_config(name, "pit")
    optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    assert config.optimizer.to_dict() == optimizer
    assert (config.epochs, config.batch_size, config.learning_rate) == (300, batch, 0.05)
    assert config.warmup_epochs == 0 and config.loss.to_dict() == {"name": "tet"}
    assert (config.num_steps, config.neuron.levels, config.data.size) == (steps, levels, size)
    assert config.data.split_by == "number" and not config.neuron.detach_reset
    assert config.model.name == "vgg11" and config.model.get("dropout", 0.0) == dropout


def test_the_decay_is_a_quarter_on_cifar10_dvs_and_a_half_on_dvs_gesture():
    for variant in ("paper", "released", "ours", "lif", "ilif"):
        assert load_config("cifar10_dvs", variant).neuron.decay == 0.25
        assert load_config("dvs_gesture", variant).neuron.decay == 0.5


def test_the_imagenet_config_has_the_settings_of_table_6_and_sew_those_of_its_authors():
    config = load_config("imagenet", "pit")
    assert (config.optimizer.name, config.optimizer.weight_decay) == ("adamw", 5e-4)
    assert (config.epochs, config.batch_size, config.learning_rate) == (200, 256, 5e-2)
    assert config.warmup_epochs == 0 and config.data.size == 224
    assert config.model.name == "sew_resnet34"
    assert (config.num_steps, config.neuron.name, config.neuron.levels) == (1, "PIT", 4)

    config = load_config("imagenet", "sew")
    assert config.optimizer.to_dict() == {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0}
    assert (config.epochs, config.batch_size, config.learning_rate) == (320, 256, 0.1)
    assert (config.num_steps, config.neuron.name) == (4, "IF")


def test_the_released_imagenet_recipe_is_sgd_on_eight_times_256_images_from_given_weights():
    paper, released = load_config("imagenet", "pit"), load_config("imagenet", "released")
    assert released.optimizer.to_dict() == {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
    assert (released.batch_size, released.learning_rate) == (8 * 256, 0.01)
    assert released.pretrained and not paper.pretrained
    for key in ("model", "data", "augment", "epochs", "num_steps"):
        assert paper[key] == released[key]


@pytest.mark.parametrize(
    "variant, name, steps, levels",
    [
        ("sdt", "LIF", 4, None),
        ("sdt_pit", "PIT", 1, 4),
        ("sdt_ours", "PIT", 1, 4),
        ("e_spikeformer", "ILIF", 1, 4),
        ("e_spikeformer_pit", "PIT", 1, 4),
        ("e_spikeformer_released", "PIT", 1, 4),
    ],
)
def test_the_transformers_train_with_their_own_recipes_whatever_the_neuron(
    variant, name, steps, levels
):
    config = load_config("imagenet", variant)
    assert (config.neuron.name, config.num_steps) == (name, steps)
    assert config.neuron.get("levels") == levels
    policy, optimizer = config.augment.policy, config.optimizer
    assert (optimizer.name, optimizer.momentum) == ("lamb", 0.9)
    assert (policy.name, policy.num_ops, policy.deviation) == ("rand_increasing", 2, 0.5)
    assert config.augment.smoothing == 0.1 and config.data.resample == "bicubic"
    rates = (config.learning_rate, config.min_learning_rate)
    if variant.startswith("sdt"):
        assert (config.epochs, config.warmup_epochs, config.batch_size) == (300, 20, 384)
        assert rates == (1.5e-3, 1.5e-5) and optimizer.weight_decay == 0.01
        assert (policy.magnitude, config.augment.repeats, config.data.least_area) == (5, 3, 0.2)
        assert config.data.resize == int(224 / 0.95)
        mix = config.augment.mix
        assert (mix.mixup_alpha, mix.cutmix_alpha, mix.probability) == (0.2, 1.0, 0.6)
    else:
        assert (config.epochs, config.warmup_epochs, config.batch_size) == (200, 5, 2048)
        assert rates == (4.8e-3, 1e-6) and optimizer.weight_decay == 0.05 and optimizer.trust_clip
        assert (policy.magnitude, config.data.resize) == (9, 232)
        assert config.augment.erase.to_dict() == {"probability": 0.25, "fill": "noise"}
        assert "mix" not in config.augment and "repeats" not in config.augment


@pytest.mark.parametrize(
    "variant, layout",
    [
        ("sew", "sew_resnet"),
        ("sdt", "spike_driven_transformer"),
        ("e_spikeformer", "e_spikeformer"),
    ],
)
def test_a_published_recipe_has_the_neurons_of_its_published_weights(variant, layout):
    model = build.make_network(load_config("imagenet", variant), make_blank_dataset("imagenet", 2))
    for field, neuron in LAYOUTS[layout].neurons.items():
        made, published = getattr(model, field)(), neuron()
        if hasattr(made, "spike"):  # Published weights do not include a surrogate.
            made = made.clone(spike=published.spike)
        assert made == published


def test_the_error_for_an_unknown_variant_lists_all_variants():
    with pytest.raises(
        UserError, match="no variant 'sddt'; choose one of ours, .* sdt, sdt_ours, sdt_"
    ):
        load_config("imagenet", "sddt")
    with pytest.raises(
        UserError, match="no variant 'release'; choose one of ours, paper, released"
    ):
        load_config("cifar10", "release")

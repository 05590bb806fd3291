"""Flags of keys that no page wrote: typed by what a section names, and refused by it."""

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

OWN = '''
from __future__ import annotations

import flax.linen as nn


class Half(nn.Module):
    """A neuron.

    Args:
        share: what it passes on.
        names: some names.
    """

    share: float = 0.5
    names: tuple[str, ...] = ()
    start = None

    def __call__(self, x):
        return self.share * x


def score(logits, y, sharpness=2, *, mode: str = "soft", scale=None):
    """A loss."""
    return logits.mean()


def takes_all(logits, labels, **keys):
    """A loss with any keys."""
    return logits.mean()


def needs_one(logits, labels, *, strength: float):
    """A loss with a required key."""
    return logits.mean()


def typed_elsewhere(logits, labels, *, weights: Missing = None, share: float = 1, deep=((1,),)):
    """A loss with an annotation that has no meaning when it is read."""
    return share * logits.mean()


def polynomial(peak, steps, *, power: float = 2.0):
    """A schedule."""
    return lambda step: peak * (1 - step / steps) ** power


def invert(key, images, *, strength: float = 1.0):
    """A policy."""
    return 255 - images


def unnormed(use_running_average, dtype, name, scale_init=None, bias_init=None, *, width: int = 1):
    """A norm that does nothing."""
    return lambda x: x


NUMBER = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module of the user's own in the current folder; return its name."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_fails.py").write_text("numbers = {}\nnumbers['a']\n")
    (tmp_path / f"{name}_exits.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    return name


def read(*words: str, config: str = "digits"):
    return parse(["main", "--config", config, *words])[0]


def refusal(*words: str, config: str = "digits") -> str:
    with pytest.raises(UserError) as error:
        read(*words, config=config)
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
        (["--config.min_learning_rate=1"], "min_learning_rate", 1.0),
        (["--config.schedule.name=linear"], "schedule.name", "linear"),
        (["--config.schedule=steps", "--config.schedule.at=.5"], "schedule.at", (0.5,)),
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
def test_a_key_that_no_page_wrote_is_set_with_the_type_of_its_part(words, key, value):
    config = read(*words)
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
def test_another_neuron_of_a_network_is_a_section_that_starts_from_the_networks(words, expected):
    config = read(*words, config="digits:pit")
    assert config.model.downsample_neuron.to_dict() == expected
    build.check(config)


def test_a_key_of_a_section_that_no_page_wrote_leaves_the_rest_as_the_network_has_it():
    config = read("--config.model=cifarnet", "--config.model.norm.gain=1.5")
    assert config.model.norm.to_dict() == {
        "name": "batch_norm",
        "epsilon": 1e-4,
        "momentum": 0.1,
        "gain": 1.5,
    }
    message = refusal("--config.model.norm=no_norm", "--config.model.norm.gain=2")
    assert "no_norm, the part of config.model.norm, takes no keys" in message


def test_the_shape_of_synthetic_images_is_a_key():
    config = read("--config.data=synthetic", "--config.data.shape=(32,32,3)")
    assert config.data.to_dict() == {"name": "synthetic", "shape": (32, 32, 3)}


def test_pools_of_a_network_of_frames_are_a_key():
    config = read("--config.model.pool_after=(1,2,4,6,8)", config="cifar10_dvs")
    assert config.model.pool_after == (1, 2, 4, 6, 8)


def test_none_takes_a_section_away():
    assert read("--config.augment=none").augment.to_dict() == {}
    config = read("--config.augment.policy=none", "--config.augment.cutout=none", config="cifar100")
    assert config.augment.to_dict() == {"flip": True, "pad": 4}
    build.check(config)
    assert "norm" not in read("--config.model.norm=none").model


def test_another_part_keeps_the_keys_that_it_takes_and_says_which_it_drops(capsys):
    config = read("--config.neuron.name=LIF", config="digits:pit")
    assert config.neuron.to_dict() == {"name": "LIF", "decay": 0.5, "detach_reset": False}
    dropped = "note: LIF does not take levels, strength; they are dropped from config.neuron."
    assert dropped in capsys.readouterr().err
    assert read("--config.neuron=LIF").neuron.to_dict() == {"name": "LIF"}


def test_a_key_given_for_another_part_is_refused_and_not_dropped():
    message = refusal("--config.neuron.name=LIF", "--config.neuron.levels=2")
    assert (
        "no key 'neuron.levels'" in message and "LIF, the part of config.neuron, takes" in message
    )


@pytest.mark.parametrize("join", ["add", "and", "iand"])
def test_a_key_that_takes_words_or_functions_keeps_its_words(join, tmp_path):
    config = read("--config.model=sew_resnet18", f"--config.model.join={join}")
    assert config.model.join == join
    build.check(config)
    (tmp_path / "config.json").write_text(config.to_json())
    build.check(read(config=str(tmp_path / "config.json")))
    with pytest.raises(UserError, match="join"):
        build.check(read("--config.model=sew_resnet18", "--config.model.join=or"))


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["--config.model.dtype=bogus"], "config.model.dtype is 'bogus'; it can be float32"),
        (["--config.model.dtype=int32"], "config.model.dtype is 'int32'; it can be float32"),
        (["--config.model.norm.gain=0"], "config.model.norm.gain must be a positive number, got 0"),
        (["--config.model.norm.gain=nan"], "config.model.norm.gain must be a positive number"),
        (["--config.model.norm=TEBN", "--config.model.norm.gain=-1"], "gain must be a positive"),
        (["--config.model.norm.momentum=2"], "config.model.norm.momentum must be at least 0"),
        (["--config.model.norm.epsilon=-1"], "config.model.norm.epsilon must be more than 0"),
        (["--config.neuron=LIF", "--config.neuron.spike=atan"], "Did you mean 'arctan'?"),
    ],
)
def test_a_value_that_a_part_refuses_is_named_with_its_key_before_data_are_loaded(words, complaint):
    with pytest.raises(UserError) as error:
        build.check(read(*words))
    assert complaint in str(error.value)


def test_a_reference_between_keys_follows_its_flag():
    config = read("--config.num_steps=4", config="dvs_digits")
    assert config.data.num_frames == 4


def test_a_number_of_another_type_can_replace_that_of_a_page(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(
        "from configs import digits\n\n\ndef get_config():\n    config = digits.get_config('lif')\n"
        "    config.neuron.decay = 1\n    return config\n"
    )
    assert read("--config.neuron.decay=0.25", config=str(page)).neuron.decay == 0.25


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
def test_a_key_of_a_page_that_nothing_takes_is_refused_with_those_that_are_taken(
    tmp_path, change, complaint
):
    page = tmp_path / "page.py"
    page.write_text(
        "from configs import digits\n\n\ndef get_config():\n    config = digits.get_config()\n"
        f"    {change}\n    return config\n"
    )
    assert complaint in refusal(config=str(page))


def test_a_page_can_leave_out_keys_with_defaults_and_give_a_part_by_its_name(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        "    return ConfigDict(dict(\n"
        "        data='digits', model={'name': 'resnet8', 'norm': 'TEBN'}, neuron='LIF',\n"
        "        loss='cross_entropy', optimizer='sgd', epochs=1, batch_size=32, num_steps=2,\n"
        "        learning_rate=0.1))\n"
    )
    config = read("--config.neuron.decay=1", config=str(page))
    assert config.neuron.to_dict() == {"name": "LIF", "decay": 1.0}
    assert config.model.norm.name == "TEBN" and config.checkpoints.last == 2
    assert config.seed == 0 and config.augment.to_dict() == {}
    build.check(config)


def test_the_saved_config_of_a_run_is_a_page_that_gives_the_same_config(tmp_path):
    config = read("--config.model.stages=(1,1)", config=TINY)
    saved = tmp_path / "my_run" / "config.json"
    saved.parent.mkdir()
    saved.write_text(json.dumps(config.to_dict()))
    again, workdir = parse(["main", "--config", str(saved)])
    assert again.to_dict() == config.to_dict() and workdir.name == "my_run"
    saved.write_text("[1]")
    assert "cannot be read as the config of a run" in refusal(config=str(saved))
    assert "there is no config file no.json" in refusal(config="no.json")


@pytest.mark.parametrize("what", [what for what in KINDS if KINDS[what].table])
def test_every_part_of_ours_and_every_section_says_what_each_key_means(what):
    for name, part in list_names(what).items():
        unexplained = [
            key for key, each in list_options(what, part).known.items() if not each.meaning
        ]
        assert unexplained == [], f"config.{what} with {name}"


@pytest.mark.parametrize("what", [what for what in KINDS if KINDS[what].only])
def test_every_key_of_a_section_without_a_name_has_a_meaning(what):
    options = list_options(what, find_part(what))
    assert [key for key, each in options.known.items() if not each.meaning] == []


def test_all_sections_of_all_shipped_configs_are_of_a_kind(shipped):
    for what, _ in list_sections(shipped):
        assert find_kind(what) is not None
    check_sections(shipped)


def test_an_own_neuron_and_loss_are_typed_by_annotation_or_default(own):
    config = read(
        f"--config.neuron={own}:Half",
        "--config.neuron.share=1",
        "--config.neuron.names=a,b",
        f"--config.loss.name={own}:score",
        "--config.loss.sharpness=3",
        "--config.loss.mode=hard",
    )
    assert config.neuron.to_dict() == {"name": f"{own}:Half", "share": 1.0, "names": ("a", "b")}
    assert config.loss.to_dict() == {"name": f"{own}:score", "sharpness": 3, "mode": "hard"}
    build.check(config)


@pytest.mark.parametrize(
    "words, complaint",
    [
        (
            ["--config.neuron=OWN:Half", "--config.neuron.shard=1"],
            "Half, the part of config.neuron",
        ),
        (["--config.loss=OWN:needs_one"], "config.loss lacks strength; needs_one takes strength."),
        (["--config.loss=OWN:scor"], "has no 'scor'; did you mean score"),
        (["--config.loss=OWN:NUMBER"], "which cannot be called: it is 3"),
        (["--config.loss=no_such:thing"], "no_such cannot be imported (No module named 'no_such')"),
        (["--config.neuron.scale_init=three"], "config.neuron.scale_init is 'three'; it can be"),
        (["--config.neuron.scale_init=OWN:nothing"], "has no 'nothing'"),
        (["--config.loss=OWN_fails:loss"], "(OWN_fails.py, line 2, in <module>: KeyError: 'a')."),
        (["--config.loss=OWN_exits:loss"], "(OWN_exits.py, line 1, in <module>: SystemExit: 3)."),
        (["--config.schedule=OWN:polynomial", "--config.schedule.end=1"], "no key 'schedule.end'"),
        (["--config.data=tfds/mnist"], "data sets of other collections are not read yet"),
        (["--config.data.name=tonic/NMNIST"], "data sets of other collections are not read yet"),
    ],
)
def test_an_own_part_that_cannot_be_is_refused_with_the_reason(own, words, complaint):
    with pytest.raises(UserError) as error:
        build.check(read(*(word.replace("OWN", own) for word in words)))
    assert complaint.replace("OWN", own) in str(error.value)


def test_an_own_part_with_open_keywords_takes_any_key(own):
    config = read(f"--config.loss={own}:takes_all", "--config.loss.anything=(1, 'a')")
    assert config.loss.anything == (1, "a")
    assert build.make_loss(config).keywords == {"anything": (1, "a")}


@pytest.fixture(params=["digits", "cifar100:released", "imagenet:sdt", "dvs_gesture"])
def shipped(request) -> ConfigDict:
    """Some shipped configs, of images and events, with many sections and few."""
    return read(config=request.param)


def test_own_parts_of_every_kind_are_typed(own):
    config = read(
        f"--config.schedule={own}:polynomial",
        "--config.schedule.power=3",
        f"--config.augment.policy={own}:invert",
        "--config.augment.policy.strength=1",
        f"--config.model.norm={own}:unnormed",
        "--config.model.norm.width=0x10",
        f"--config.metrics={own}:score,top5",
    )
    assert config.schedule.to_dict() == {"name": f"{own}:polynomial", "power": 3.0}
    assert config.augment.policy.strength == 1.0 and config.model.norm.width == 16
    assert config.metrics == (f"{own}:score", "top5")
    build.check(config)


def test_an_annotation_without_a_meaning_leaves_the_others_theirs(own):
    config = read(
        f"--config.loss={own}:typed_elsewhere",
        "--config.loss.weights=[1, 2]",
        "--config.loss.share=0.5",
        "--config.loss.deep=[[1, 2], [3]]",
    )
    assert config.loss.share == 0.5 and config.loss.weights == [1, 2]
    # As config.json has it, the config makes the same part.
    config.loss = json.loads(json.dumps(config.loss.to_dict()))
    made = build.make_loss(config)
    assert made.keywords == {"weights": (1, 2), "share": 0.5, "deep": ((1, 2), (3,))}


def test_a_part_whose_signature_cannot_be_read_takes_any_key():
    config = read("--config.loss=builtins:max", "--config.loss.default=1")
    assert build.make_loss(config).keywords == {"default": 1}


def test_a_dict_of_an_own_part_stays_one(own):
    config = read(f"--config.loss={own}:takes_all", "--config.loss.table={'a': [1, 2]}")
    assert build.make_loss(config).keywords == {"table": {"a": [1, 2]}}

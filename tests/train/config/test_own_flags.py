"""Flags of a user's own parts: their types, and the errors for parts that cannot be used."""

import json

import pytest

from train.config.cli import parse
from train.errors import UserError
from train.program import build

OWN = '''
from __future__ import annotations

import flax.linen as nn


class Half(nn.Module):
    """A neuron.

    Args:
        share: the factor of the current.
        names: some names.
    """

    share: float = 0.5
    names: tuple[str, ...] = ()
    start = None

    def __call__(self, x):
        return self.share * x


def score(logits, y, sharpness=2, *, mode: str = "soft", scale=None):
    """Return a loss."""
    return logits.mean()


def takes_all(logits, labels, **keys):
    """Return a loss; take any keys."""
    return logits.mean()


def needs_one(logits, labels, *, strength: float):
    """Return a loss; require a key."""
    return logits.mean()


def typed_elsewhere(logits, labels, *, weights: Missing = None, share: float = 1, deep=((1,),)):
    """Return a loss; one annotation raises an error when evaluated."""
    return share * logits.mean()


def polynomial(peak, steps, *, power: float = 2.0):
    """Return a schedule."""
    return lambda step: peak * (1 - step / steps) ** power


def invert(key, images, *, strength: float = 1.0):
    """Invert images."""
    return 255 - images


def unnormed(use_running_average, dtype, name, scale_init=None, bias_init=None, *, width: int = 1):
    """Return a norm that does nothing."""
    return lambda x: x


NUMBER = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a user's own module to the current folder; return its name."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_fails.py").write_text("numbers = {}\nnumbers['a']\n")
    (tmp_path / f"{name}_exits.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    return name


def parse_words(*words: str):
    return parse(["main", "--config", "digits", *words])[0]


def test_an_own_neuron_and_loss_are_typed_by_annotation_or_default(own):
    config = parse_words(
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
        (["--config.data=tfds/mnist:3.0.1"], "give the name of a data set without a version"),
        (["--config.data.name=tonic/NMNIST", "--config.data.sizes=3"], "no key 'data.sizes'"),
    ],
)
def test_the_error_for_an_invalid_own_part_states_the_reason(own, words, complaint):
    with pytest.raises(UserError) as error:
        build.check(parse_words(*(word.replace("OWN", own) for word in words)))
    assert complaint.replace("OWN", own) in str(error.value)


def test_an_own_part_with_open_keywords_takes_any_key(own):
    config = parse_words(f"--config.loss={own}:takes_all", "--config.loss.anything=(1, 'a')")
    assert config.loss.anything == (1, "a")
    assert build.make_loss(config).keywords == {"anything": (1, "a")}


def test_own_parts_of_every_kind_are_typed(own):
    config = parse_words(
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


def test_a_broken_annotation_does_not_hide_the_others(own):
    config = parse_words(
        f"--config.loss={own}:typed_elsewhere",
        "--config.loss.weights=[1, 2]",
        "--config.loss.share=0.5",
        "--config.loss.deep=[[1, 2], [3]]",
    )
    assert config.loss.share == 0.5 and config.loss.weights == [1, 2]
    # config.json has lists for tuples, and makes the same part.
    config.loss = json.loads(json.dumps(config.loss.to_dict()))
    made = build.make_loss(config)
    assert made.keywords == {"weights": (1, 2), "share": 0.5, "deep": ((1, 2), (3,))}


def test_a_part_whose_signature_cannot_be_read_takes_any_key():
    config = parse_words("--config.loss=builtins:max", "--config.loss.default=1")
    assert build.make_loss(config).keywords == {"default": 1}


def test_a_dict_of_an_own_part_stays_one(own):
    config = parse_words(f"--config.loss={own}:takes_all", "--config.loss.table={'a': [1, 2]}")
    assert build.make_loss(config).keywords == {"table": {"a": [1, 2]}}

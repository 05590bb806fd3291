"""Own parts that fail or do not fit are found on shapes, before anything is compiled."""

import re
import sys

import pytest

from tests.train.helpers import ROOT, TINY, make_program_on
from train.config.cli import parse
from train.errors import UserError

MODULE = (ROOT / "tests/train/own_module.py").read_text()
BROKEN = '''
from parts import Leaky, Network, nn, np, jax, jnp, optax


class Pooled(nn.Module):
    def __call__(self, x):
        return x.mean(-1)


class Spikes(nn.Module):
    def __call__(self, x):
        return x > 0


class Adds(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(3)(x)


class Checks(nn.Module):
    tau: float = 2.0

    def __post_init__(self):
        if self.tau < 1:
            raise ValueError(f"tau must be at least 1, got {self.tau}.")
        super().__post_init__()


def nothing():
    """Return no neuron."""


@jax.custom_vjp
def same(x):
    return x


same.defvjp(lambda x: (x, None), lambda _, g: (g[0],))


class WrongGradient(nn.Module):
    def __call__(self, x):
        return same(x)


class NoNeuron(nn.Module):
    num_classes: int = 1
    num_steps: int = 1


def five(num_classes, neuron, num_steps):
    return 5


class Flat(Network):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


class AlwaysTrain(Network):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(x.mean((1, 2)))[:, None]


class Empty(Network):
    def __call__(self, x, train=False):
        return jnp.zeros((len(x), 1, self.num_classes))


class OtherCollection(Network):
    @nn.compact
    def __call__(self, x, train=False):
        shift = self.variable("ema", "shift", jnp.zeros, ())
        return nn.Dense(self.num_classes)(x.mean((1, 2)))[:, None] + shift.value


def per_sample(logits, labels):
    return logits.mean((1, 2))


def one_argument(logits):
    return logits.mean()


def in_numpy(logits, labels):
    return np.mean(np.asarray(logits))


def not_an_optimizer(schedule):
    return 3


def drifts(schedule):
    return optax.GradientTransformation(
        lambda params: jnp.zeros((), int), lambda grads, state, params: (grads, state + 0.5)
    )


def stores_a_key(schedule):
    return optax.add_noise(0.1, 0.5, jax.random.key(0))


def a_number(peak, steps):
    return peak


def fails_later(peak, steps):
    return lambda step: peak / undefined


def crops(key, images):
    return images[:, 1:]


def narrow(use_running_average, name=None):
    return nn.BatchNorm(use_running_average, name=name)


def bad_scale(u, *, levels):
    return u.undefined
'''


@pytest.mark.parametrize(
    "parts, complaint",
    [
        ("neuron=Pooled", "returns float32[32,2,8,8] for float32[32,2,8,8,4]; it must return"),
        ("neuron=Spikes", "which returns bool[32,2,8,8,4] for float32[32,2,8,8,4]; it must"),
        ("neuron=Adds", "fails on float32[32,2,8,8,4] (broken.py, line 18, in __call__): TypeErr"),
        ("neuron=Checks neuron.tau=0.5", "config.neuron.tau must be at least 1, got 0.5."),
        ("neuron=nothing", "which makes None; it must make a module of flax.linen"),
        ("neuron=WrongGradient", "which has a gradient that fails: ValueError: Custom VJP"),
        ("neuron.scale_init=bad_scale", "config.neuron.name is 'PIT', which fails on float32"),
        ("model.norm=narrow", "it does not take dtype, scale_init, bias_init."),
        ("model=NoNeuron", "must take num_classes, neuron, num_steps; it does not take neuron."),
        ("model=five", "which makes 5; it must make a module of flax.linen."),
        ("model=Flat", "it must return logits [B, T, K], here [32, T, 10]."),
        ("model=AlwaysTrain", "missing 1 required positional argument: 'train'"),
        ("model=Empty", "which has no parameters: there is nothing to train."),
        (
            "model=OtherCollection",
            "which has variables in ema; a run stores those in params and in",
        ),
        (
            "loss=per_sample",
            "which returns float32[32] for logits float32[32,2,10] and labels int32[",
        ),
        ("loss=one_argument", "TypeError: one_argument() takes 1 positional argument but 2 were"),
        ("loss=in_numpy", ", in in_numpy): TracerArrayConversionError"),
        ("optimizer=not_an_optimizer", "which returns 3; an optimizer returns an optax.Gradient"),
        ("optimizer=drifts", "changes opt_state from int32[] to float32[] in a step."),
        ("optimizer=stores_a_key", "has a key of jax.random.key in opt_state/rng_key, which a che"),
        ("schedule=a_number", "which returns 0.1; a schedule returns a function of the training"),
        ("schedule=fails_later", ", in <lambda>): NameError: name 'undefined' is not"),
        ("augment.policy=crops", "makes images float32[32,7,8,1] of uint8[32,8,8,1]; it must"),
    ],
)
def test_the_error_for_an_own_part_names_it_before_anything_compiles(
    tmp_path, monkeypatch, compiled, parts, complaint
):
    (tmp_path / "parts.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    flags = re.sub(r"=(?=[A-Za-z])", "=broken:", parts).split()
    try:
        with pytest.raises(UserError) as error:
            config = parse(["main", "--config", TINY, *(f"--config.{flag}" for flag in flags)])[0]
            make_program_on(1, config)
    finally:
        for each in ("parts", "broken"):
            sys.modules.pop(each, None)
    message = str(error.value)
    assert complaint in message and message.startswith("config."), message
    assert "\n" not in message and message.count("broken:") <= 1
    assert not {"jit(step)", "jit(first_state)"} & set(compiled)

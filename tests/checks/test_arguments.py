"""Arguments outside of their domains: refused where they are given, by name and with the value."""

import dataclasses
import math
import subprocess
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax import initializers, surrogate
from pit_jax.checks.bounds import BOUNDS, Interval, read_bounds, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.layers import NORMS, batch_norm, conv, dense
from pit_jax.models import MODELS, create
from pit_jax.neurons import LIF, NEURONS, PIT, charge, pit_count, pit_fire
from pit_jax.neurons.mpbn import NormedLIF

CLASSES = [*NEURONS.values(), NormedLIF]
# Of other types than the annotations, which these tests check too (see conftest.py).
NOT_NUMBERS = (None, "1", b"1", True, np.bool_(False), 1j, (1,), [], {})
NOT_WHOLE = (*NOT_NUMBERS, 2.5, 2.0, np.float32(3), math.nan, math.inf)
# Every statement raises ValueError, with this message.
REFUSED = {
    "PIT(levels=2.5)": "levels must be a whole number, got 2.5",
    "ILIF(levels='4')": "levels must be a whole number, got '4'",
    "PIT(levels=True)": "levels must be a whole number, got True",
    "LIF(decay='0.5')": "decay must be a finite number, got '0.5'",
    "LIF(decay=2)": "tau = 2 is 0.5",
    "LIF(threshold=None)": "threshold must be a finite number, got None",
    "LIF(detach_reset='false')": "detach_reset must be True or False, got 'false'",
    "LIF(reset='hard')": "reset must be a function, got 'hard'; pit_jax.neurons.step.RESETS",
    "IF(spike='arctan')": "spike must be a function, got 'arctan'; pit_jax.surrogate.SPIKES",
    "PIT(scale_init='lsq')": "got 'lsq'; pit_jax.initializers.SCALE_INITS",
    "pit_fire(jnp.ones((2, 3)), jnp.ones(3), levels=1.5)": "levels must be a whole number",
    "create('vgg11', num_classes=10, neuron=LIF, num_steps=1.5)": "num_steps must be a whole",
    "create('resnet8', num_classes=2.5, neuron=LIF)": "num_classes must be a whole number",
    "create('resnet8', num_classes=9, neuron=LIF, width=2.5)": "width must be a whole number",
    "create('resnet8', num_classes=9, neuron=LIF, stages=2)": "stages must be a tuple, got 2",
    "create('resnet8', num_classes=9, neuron=LIF, stages=(1.5,))": "stages[0] must be a whole",
    "create('resnet8', num_classes=9, neuron=LIF, norm='TEBN')": "pit_jax.layers.NORMS",
    "create('vgg11', num_classes=9, neuron=LIF, conv_bias='no')": "conv_bias must be True or Fal",
    "create('cifarnet', num_classes=9, neuron='LIF')": "NEURONS['LIF']",
    "create('cifarnet', num_classes=9, neuron=None)": "neuron must be a function",
    "create('cifarnet', num_classes=9, neuron=3)": "neuron must be a function",
    "create(['resnet8'], num_classes=9, neuron=LIF)": "no network ['resnet8']; did you mean",
    "PIT(levels=np.array([4]))": "levels must be a whole number, got array([4])",
    "dense(3, bias=False)": "bias must be a function, got False",
    "conv(3, 3, bias=True)": "bias must be a function, got True",
    "NORMS['TEBN'](use_running_average='no')": "use_running_average must be True or False",
}
NETWORK = "num_classes=2, neuron=LIF"
NO_ARRAYS = {
    f"{name}().init(KEY, [[['a']]])": "the currents of a neuron must be an array of real numbers"
    for name in NEURONS
} | {
    "LIF().init(KEY, [[1.0], [1.0, 2.0]])": "array of real numbers, got [[1.0], [1.0, 2.0]]",
    "LIF().init(KEY, None)": "array of real numbers, got None",
    "LIF().init(KEY, np.ones((1, 2, 3), object))": "got object of the shape (1, 2, 3)",
    "LIF().init(KEY, [1.0])": "a neuron takes currents [B, T, ..., C], got shape (1,)",
    "QAT().init(KEY, [[[1, 2]]])": "a neuron takes floating-point currents, got int32",
    f"create('vgg11', {NETWORK}).init(KEY, 'cat.png')": "real numbers, got 'cat.png'",
    f"create('plifnet', {NETWORK}).init(KEY, [[1], 2])": "real numbers, got [[1], 2]",
    f"create('cifarnet', {NETWORK}).init(KEY, [[1.0]])": "got shape (1, 1)",
    "three_sigma([['a']], levels=2)": "u must be an array of real numbers, got [['a']]",
}


def list_cases(kind: str) -> list:
    """Return class and field for every field of a neuron with a bound of this kind."""
    return [
        pytest.param(neuron, name, id=f"{neuron.__name__}-{name}")
        for neuron in CLASSES
        for name, bound in read_bounds(neuron).items()
        if isinstance(bound, Interval) and bound.whole == (kind == "whole")
    ]


@pytest.mark.parametrize("neuron, field", list_cases("whole") + list_cases("number"))
def test_arguments_of_neurons_that_are_no_numbers_are_refused(neuron, field):
    values = (0, -1, True) if read_bounds(neuron)[field].whole else (math.nan, math.inf, -1.0)
    for value in values:
        with pytest.raises(ValueError, match=rf"^{field} must be .*got "):
            neuron(**{field: value})


def test_numbers_of_other_types_and_fractions_where_whole_numbers_are_meant_are_refused():
    for bound, values in ((whole(0), NOT_WHOLE), (Interval(), (*NOT_NUMBERS, math.nan, math.inf))):
        for value in values:
            with pytest.raises(ValueError, match="^config.x must be a .* number, got "):
                bound("config.x", value)
    for value in (3, np.int64(3), np.uint8(3), jnp.int32(3), np.array(3)):
        whole(1)("x", value)
    for value in (3, 0.5, np.float32(1), jnp.float32(1), np.array([0.5, 1])):
        Interval(0, 3)("x", value)
    with pytest.raises(ValueError, match="^x must be at most 1, got 2.0"):
        Interval(0, 1)("x", np.array([0.5, 2]))


@pytest.mark.parametrize("value", [1e39, -1e300, 1e-50, np.float64(1e-40)])
def test_numbers_that_float32_cannot_hold_are_refused(value):
    for make in (
        Interval(),
        lambda name, value: PIT(strength=value),
        lambda name, value: LIF(threshold=value),
        lambda name, value: surrogate.arctan(jnp.ones(3), slope=value),
    ):
        with pytest.raises(ValueError, match="must be 0 or in size .*, as in float32, got "):
            make("x", value)


def test_whole_numbers_above_32_bits_and_too_many_blocks_are_refused():
    for fields in ({"num_steps": 2**31}, {"width": 10**12}, {"num_classes": 2**40}):
        with pytest.raises(ValueError, match="must be at most 2147483647, got "):
            create("resnet8", **{"num_classes": 10, "neuron": LIF} | fields)
    for network, fields in (
        ("resnet8", {"stages": (10**9,)}),
        ("spike_driven_transformer", {"depth": 1001}),
        ("e_spikeformer_t", {"stages": (1, 1, 1, 1, 2000)}),
    ):
        with pytest.raises(ValueError, match="must be at most 1000, got "):
            create(network, num_classes=10, neuron=LIF, **fields)


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Return the error of each statement, without the checks of annotations."""
    statements = [*REFUSED, *NO_ARRAYS]
    run = [sys.executable, "-m", "tests.checks.unchecked", *statements]
    done = subprocess.run(run, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return dict(zip(statements, done.stdout.splitlines(), strict=True))


def test_arguments_of_other_types_are_refused_and_traced_ones_pass(printed):
    for text in REFUSED:
        assert REFUSED[text] in printed[text], text


def test_lists_are_read_as_arrays_and_what_forms_no_array_is_refused(printed):
    # `unchecked` also passes lists to every neuron.
    for text in NO_ARRAYS:
        assert NO_ARRAYS[text] in printed[text], text


def test_every_field_of_a_neuron_has_a_domain():
    for neuron in CLASSES:
        fields = {each.name for each in dataclasses.fields(neuron)} - {"parent", "name"}
        assert fields == set(read_bounds(neuron))


@pytest.mark.parametrize("decay", [2.0, -0.1, 1.0001, math.nan])
def test_a_time_constant_as_decay_is_refused_with_the_decay_that_is_meant(decay):
    for make in (LIF, PIT, partial(charge, jnp.zeros(3), jnp.ones(3))):
        with pytest.raises(ValueError, match="tau = 2 is 0.5"):
            make(decay=decay)


def test_subclasses_of_neurons_check_their_inherited_fields_too():
    class Mine(LIF):
        gain: float = 1.0

    with pytest.raises(ValueError, match="decay must be at most 1, got 2.0"):
        Mine(decay=2.0)
    with pytest.raises(ValueError, match="threshold must be more than 0, got -1.0"):
        LIF().clone(threshold=-1.0)


@pytest.mark.parametrize(
    "function, argument",
    [
        (surrogate.rectangle, {"width": 0.0}),
        (surrogate.triangle, {"width": -1.0}),
        (surrogate.sigmoid, {"slope": math.nan}),
        (surrogate.arctan, {"slope": -2.0}),
        (surrogate.rectified_round, {"strength": -1.0}),
        (partial(surrogate.clipped_round, levels=4), {"strength": math.inf}),
        (surrogate.clipped_round, {"levels": 0}),
        (surrogate.tailed_round, {"levels": 0}),
        (partial(pit_fire, a=jnp.ones(3)), {"levels": 0}),
        (partial(pit_fire, a=jnp.ones(3), levels=2), {"strength": -1.0}),
        (partial(pit_count, levels=2), {"a": -jnp.ones(3)}),
        (surrogate.rectifier, {"strength": math.nan}),
        *((each, {"levels": 0}) for each in initializers.SCALE_INITS.values()),
    ],
)
def test_arguments_of_surrogates_and_initializers_out_of_range_are_refused(function, argument):
    (name,) = argument
    x = jnp.ones((2, 3))
    for run in (function, lambda x, **k: jax.grad(lambda x: function(x, **k).sum())(x)):
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            run(x, **argument)


@pytest.mark.parametrize(
    "make, argument",
    [
        (partial(conv, size=3), {"features": 0}),
        (partial(conv, 4), {"size": 0}),
        (partial(conv, 4, 3), {"stride": 0}),
        (partial(conv, 4, 3), {"groups": -1}),
        (partial(conv, 4, 3), {"groups": 3}),
        (dense, {"features": True}),
        *((norm, {"gain": 0.0}) for name, norm in NORMS.items() if name != "no_norm"),
        (batch_norm, {"momentum": 1.0}),
        (batch_norm, {"epsilon": math.nan}),
        (NORMS["TDBatchNorm"], {"alpha": -1.0}),
    ],
)
def test_arguments_of_layers_out_of_range_are_refused(make, argument):
    (name,) = argument
    given = {} if make in (dense,) or isinstance(make, partial) else {"use_running_average": True}
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        make(**given, **argument)


@pytest.mark.parametrize("network", MODELS)
@pytest.mark.parametrize("name, value", [("num_classes", 0), ("num_steps", 0), ("dtype", "int8")])
def test_arguments_of_every_network_out_of_range_are_refused(network, name, value):
    given = {"num_classes": 10, "neuron": LIF} | {name: value}
    with pytest.raises(ValueError, match=rf"^{name} (must be|is) "):
        create(network, **given)


@pytest.mark.parametrize(
    "network, fields",
    [
        ("resnet8", {"width": 0}),
        ("resnet18", {"dropout": 1.0}),
        ("vgg11", {"head_dropout": -0.1}),
        ("vgg11", {"widths": (64, -1)}),
        ("plifnet", {"voters": 0}),
        ("resnet20", {"dropout": math.nan}),
        ("spike_driven_transformer", {"depth": 0}),
        ("spike_driven_transformer", {"mlp_ratio": -1.0}),
        ("sew_resnet18", {"block": "x"}),
        ("e_spikeformer_s", {"heads": 0}),
        ("e_spikeformer_s", {"strides": (2, 2, 2, 2, 0)}),
    ],
)
def test_fields_of_networks_out_of_range_are_refused(network, fields):
    (name,) = fields
    with pytest.raises(ValueError, match=rf"^{name}\S* must be "):
        create(network, num_classes=10, neuron=LIF, **fields)


@pytest.mark.parametrize(
    "neuron, complaint",
    [
        (LIF(), r"an instance of a neuron, LIF\(...\); pass LIF, or partial\(LIF, ...\)"),
        (PIT(levels=2), "an instance of a neuron, PIT"),
        (dict, "got dict"),
        (nn.Dense, "got Dense, which is a layer without a neuron"),
        (partial(nn.Dense, 3), "got Dense, which is a layer without a neuron"),
        (MODELS["vgg11"], "got VGG, which is a layer"),
        (surrogate.arctan, "cannot be called so"),
        (jax.nn.relu, "cannot be called so"),
        (partial(PIT, levls=4), "cannot be called so .*unexpected keyword argument 'levls'"),
        (partial(lambda levels, scale: PIT(levels=levels), 4), "missing .* argument: 'scale'"),
    ],
)
def test_a_neuron_where_a_callable_that_makes_one_is_meant_is_refused(neuron, complaint):
    for network, name in (
        ("resnet8", "neuron"),
        ("spike_driven_transformer", "gate_neuron"),
        ("e_spikeformer_s", "head_neuron"),
        ("sew_resnet18", "downsample_neuron"),
    ):
        given = {"num_classes": 10, "neuron": LIF} | {name: neuron}
        with pytest.raises(ValueError, match=f"{name} must be a function .*{complaint}"):
            create(network, **given)


def test_callables_that_make_neurons_pass():
    class Mine(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x

    for neuron in (LIF, partial(PIT, levels=2), lambda: nn.relu, Mine, lambda: LIF()):
        create("resnet8", num_classes=10, neuron=neuron)


def test_unknown_keywords_of_create_are_refused_with_the_nearest_name():
    for network, key, near in (
        ("resnet8", "widht", "width"),
        ("vgg11", "with", "widths"),
        ("plifnet", "drop_out", "dropout"),
        ("sew_resnet18", "joint", "join"),
    ):
        with pytest.raises(ValueError, match=f"no argument '{key}'; did you mean '{near}'"):
            create(network, num_classes=10, neuron=LIF, **{key: 1})


@pytest.mark.parametrize(
    "given, used",
    [
        ("bf16", "bfloat16"),
        ("fp16", "float16"),
        ("half", "float16"),
        ("f32", "float32"),
        ("FP32", "float32"),
        ("torch.bfloat16", "bfloat16"),
        ("float32", "float32"),
        (jnp.bfloat16, jnp.bfloat16),
        (np.dtype("float16"), np.dtype("float16")),
        (None, None),
    ],
)
def test_dtypes_by_other_names_are_accepted(given, used):
    assert check_dtype("dtype", given) == used
    model = create("resnet8", num_classes=3, neuron=LIF, width=2, stages=(1,), dtype=given)
    assert model.dtype == used
    logits = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x)[0], jnp.ones((2, 8, 8, 1))
    )
    assert logits.dtype == (jnp.float32 if used is None else jnp.dtype(used))


@pytest.mark.parametrize(
    "dtype",
    [
        "int8",
        "uint8",
        "bool",
        "complex64",
        "float8_e4m3fn",
        "bf17",
        jnp.int32,
        bool,
        3,
        ">f4",
        "1e-50",
        np.dtype(">f4"),
        "f4,f4",
        "",
    ],
)
def test_dtypes_that_cannot_train_are_refused(dtype):
    with pytest.raises(ValueError, match="^dtype is .*; it can be float32, bfloat16, float16 or"):
        check_dtype("dtype", dtype)


def test_float64_without_x64_is_refused_in_one_sentence():
    for dtype in ("float64", "double", np.float64):
        with pytest.raises(ValueError, match="^dtype is float64, but JAX .* JAX_ENABLE_X64=1"):
            create("resnet8", num_classes=10, neuron=LIF, dtype=dtype)
    with jax.enable_x64(True):
        assert check_dtype("dtype", "double") == "float64"


def test_bounds_keep_signature_and_errors_of_the_function():
    @set_bounds(size=whole(1))
    def make(size, *, name="x"):
        return size, name

    assert make(2) == (2, "x") and make(size=3, name="y") == (3, "y")
    assert set(getattr(make, BOUNDS)) == {"size"}
    with pytest.raises(TypeError, match="unexpected keyword argument 'nam'"):
        make(2, nam="z")

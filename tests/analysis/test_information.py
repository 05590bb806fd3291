"""What firing loses: estimates hold on distributions whose information is known."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from pit_jax.analysis.entropy import divergence, entropy, miller_madow
from pit_jax.analysis.information import information_loss
from pit_jax.analysis.jackknife import Groups, jackknife
from pit_jax.analysis.recorder import LayerRecording, recorder
from pit_jax.neurons import ILIF, LIF, PIT, PITFull, RealSpike, Ternary
from pit_jax.neurons.step import pit_count

REPETITIONS, LEVELS, A = 400, 4, 0.5
# Cells of u / a for u ~ N(0, 1): everything up to 1/2 fires 0, from D - 1/2 on D.
BOUNDARIES = A * (np.arange(1, LEVELS + 1) - 0.5)
FIRED = np.diff(stats.norm.cdf(BOUNDARIES), prepend=0, append=1)
# The same of the membranes themselves, in [-1/2, 1/2), ..., [D - 1/2, D + 1/2).
LAID = np.diff(stats.norm.cdf(A * (np.arange(LEVELS + 2) - 0.5)))

bounded = partial(st.floats, -8, 8, width=32, allow_subnormal=False)


def recorded(u, a=1.0, levels=LEVELS):
    """Membranes `[B, T, N, C]` as PIT fires them."""
    u = jnp.asarray(u, jnp.float32)
    a = jnp.broadcast_to(jnp.asarray(a, u.dtype), u.shape[-1:])
    count = pit_count(u, a, levels=levels)
    return LayerRecording(u, count, a * count, levels, a, u * (1 / a))


def loss_of(*parts):
    return information_loss({"layer": part} for part in parts)["layer"]


def together(rng, shape, share):
    """Standard normal `[n, R, places]`, of which a sample has `share` of its variance in common."""
    common = rng.normal(size=(*shape[:2], 1))
    return share**0.5 * common + (1 - share) ** 0.5 * rng.normal(size=shape)


def fired(u):
    return np.clip(np.floor(u / A + 0.5), 0, LEVELS)


def counted(k, groups, outcomes=LEVELS + 1):
    """Integers `[n, R, places]` counted in groups of samples, `[G, R, K]`."""
    found = np.stack([(k == j).sum(-1) for j in range(outcomes)], -1)
    return found.reshape(groups, -1, *found.shape[1:]).sum(1)


def geometric(rng, shape):
    return np.minimum(rng.geometric(0.6, size=shape) - 1, LEVELS)


# What is drawn, in how many samples and places, and the shares that it truly has.
KNOWN = {
    "uniform": (lambda rng, s: rng.integers(LEVELS + 1, size=s), np.full(LEVELS + 1, 0.2)),
    "binomial": (
        lambda rng, s: rng.binomial(LEVELS, 0.3, size=s),
        stats.binom(LEVELS, 0.3).pmf(range(LEVELS + 1)),
    ),
    "geometric": (geometric, np.append(0.6 * 0.4 ** np.arange(LEVELS), 0.4**LEVELS)),
    "quantized Gaussian": (lambda rng, s: fired(together(rng, s, 0)), FIRED),
    "Gaussian that samples share": (lambda rng, s: fired(together(rng, s, 0.8)), FIRED),
}


@pytest.mark.parametrize("name", KNOWN)
def test_entropy_lies_in_its_interval_as_often_as_stated_and_is_right_on_average(name):
    draw, p = KNOWN[name]
    rng, truth = np.random.default_rng(0), stats.entropy(p, base=2)
    counts = counted(draw(rng, (256, REPETITIONS, 8)), groups=64)
    found = jackknife(entropy, counts, np.full(64, 4))
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    # Three standard errors of the share, and 1 % for what a normal approximation may miss.
    assert abs(covered - 0.95) < 0.01 + 3 * np.sqrt(0.95 * 0.05 / REPETITIONS)
    standard_error = found.value.std() / np.sqrt(REPETITIONS)
    assert abs(found.value.mean() - truth) < 3.5 * standard_error


def test_the_bias_of_dependent_neurons_is_taken_off_where_miller_and_madow_leave_it():
    rng, truth = np.random.default_rng(1), stats.entropy(FIRED, base=2)
    counts = counted(fired(together(rng, (64, 2000, 16), 0.9)), groups=64)
    found = jackknife(entropy, counts, np.ones(64, int)).value
    standard_error = found.std() / np.sqrt(len(found))
    left = miller_madow(counts.sum(0)).mean() - truth
    assert left < -5 * standard_error
    assert abs(found.mean() - truth) < 0.3 * abs(left)


def test_the_plain_entropy_is_too_small_by_the_first_order_bias_and_miller_madow_adds_it():
    rng, n = np.random.default_rng(2), 400
    counts = rng.multinomial(n, np.full(5, 0.2), size=20_000)
    bias = -4 / (2 * n * np.log(2))
    assert entropy(counts).mean() - np.log2(5) == pytest.approx(bias, rel=0.05)
    assert miller_madow(counts).mean() == pytest.approx(np.log2(5), abs=0.05 * abs(bias))


@pytest.mark.parametrize("share", [0, 0.8])
def test_the_divergence_of_a_gaussian_in_known_cells_lies_in_its_interval(share):
    rng = np.random.default_rng(3)
    u = together(rng, (256, REPETITIONS, 8), share)
    cells = np.clip(np.floor(u / A + 0.5), -1, LEVELS + 1)
    sums = [counted(each + 1, 64, LEVELS + 3) for each in (fired(u), cells)]
    truth = np.sum(FIRED * np.log2(FIRED / LAID))
    found = jackknife(lambda sums: divergence(*sums), sums, np.full(64, 4))
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    assert abs(covered - 0.95) < 0.01 + 3 * np.sqrt(0.95 * 0.05 / REPETITIONS)
    assert abs(found.value.mean() - truth) < 3.5 * found.value.std() / np.sqrt(REPETITIONS)


def test_the_measures_of_a_gaussian_membrane_are_those_of_its_integrals():
    """A million membranes: the intervals are narrow, and hold what `scipy` integrates."""
    u = np.random.default_rng(4).normal(size=(512, 1, 512, 4))
    found = loss_of(*(recorded(part, A) for part in np.split(u, 4)))
    k = A * np.arange(LEVELS + 1)
    ends = np.concatenate([[-np.inf], BOUNDARIES, [np.inf]])
    # Of a standard normal, ∫ u = -[φ] and ∫ u² = [Φ - u φ].
    density = stats.norm.pdf(ends)
    first = -np.diff(density)
    square_error = 1 - 2 * np.sum(k * first) + np.sum(k**2 * FIRED)
    variance = np.sum(k**2 * FIRED) - np.sum(k * FIRED) ** 2
    truths = {
        "distance": np.sqrt(512 * 4 * square_error),
        "relative": np.sqrt(square_error),
        "information": entropy(FIRED),
        "pooled": entropy(FIRED),
        "spike_membrane": np.sum(FIRED * np.log2(FIRED / LAID)),
        "uncovered": 1 - LAID.sum(),
        "variance": variance,
    }
    for name, truth in truths.items():
        value, low, high = found.steps[name]
        # Four times the half width: one of many intervals may miss.
        assert abs(value[0] - truth) < 2 * (high[0] - low[0]), name
        assert high[0] - low[0] < 0.02 * truth, name
    assert found.steps["membrane_spike"].value == np.inf


def test_all_steps_together_are_sums_or_one_population():
    u = np.random.default_rng(5).normal(size=(40, 3, 20, 2)) * np.array([1, 2, 3])[:, None, None]
    found = loss_of(recorded(u, A))
    one = loss_of(recorded(u.reshape(40, 1, 60, 2), A))
    for name in ("distance", "information", "pooled", "spike_membrane"):
        assert found.total[name].value == pytest.approx(found.steps[name].value.sum())
    for name in ("relative", "uncovered", "variance"):
        assert found.total[name].value == pytest.approx(one.steps[name].value[0], rel=1e-5)


def test_batches_of_any_size_give_the_same_and_only_groups_are_kept():
    u = np.random.default_rng(6).normal(size=(70, 2, 12, 3))
    whole = loss_of(recorded(u, A))
    parts = loss_of(*(recorded(part, A) for part in np.split(u, [1, 20, 45])))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), whole.steps, parts.steps)
    groups = Groups(8)
    for _ in range(100):
        groups.add({"counts": np.ones((5, 3))})
    assert groups._sums["counts"].shape == (8, 3)
    assert groups.total("counts").tolist() == [500] * 3


def test_groups_of_unequal_size_leave_a_mean_as_it_is_with_its_standard_error():
    x = np.random.default_rng(7).normal(size=(1003, 1))
    groups = Groups(100)
    groups.add({"x": x, "n": np.ones_like(x)})
    found = groups.estimate(lambda sums: sums["x"] / sums["n"])
    assert found.value == pytest.approx(x.mean(), abs=1e-12)
    width = 2 * 1.984 * x.std() / np.sqrt(len(x))
    assert found.high - found.low == pytest.approx(width, rel=0.2)


counts_of = (
    st.integers(1, 6)
    .flatmap(lambda k: hnp.arrays(np.int64, (3, k + 1), elements=st.integers(0, 1000)))
    .filter(lambda counts: (counts.sum(-1) > 0).all())
)


@given(counts_of)
def test_entropy_is_at_most_that_of_equal_shares_and_divergence_never_below_none(counts):
    assert (entropy(counts) >= 0).all()
    assert (entropy(counts) <= np.log2(counts.shape[-1]) + 1e-12).all()
    assert divergence(counts[0], counts[1]) >= -1e-12
    assert divergence(counts, counts) == pytest.approx(0)


membranes = hnp.arrays(np.float32, (4, 2, 3, 2), elements=bounded())


@given(membranes, st.integers(1, 8))
@settings(max_examples=40)
def test_no_spike_tells_more_than_its_levels_can(u, levels):
    found = loss_of(recorded(u, levels=levels))
    for name in ("information", "pooled"):
        value, low, high = found.steps[name]
        assert found.bound == np.log2(levels + 1)
        assert (0 <= low).all() and (low <= value).all() and (value <= high).all()
        assert (high <= found.bound).all()


@given(membranes, hnp.arrays(np.int64, 2, elements=st.integers(-6, 6)))
@settings(max_examples=40)
def test_information_and_divergence_do_not_change_under_invertible_scales(u, exponents):
    """PIT's f_t: membranes times a, fired with the scale a. Powers of two round nothing."""
    a = 2.0**exponents
    plain, scaled = loss_of(recorded(u)), loss_of(recorded(u * a.astype(np.float32), a))
    for name in ("information", "pooled", "spike_membrane", "membrane_spike", "uncovered"):
        np.testing.assert_array_equal(plain.steps[name], scaled.steps[name])


@given(membranes)
@settings(max_examples=40)
def test_the_distance_is_0_where_membranes_are_levels_and_only_there(u):
    found = loss_of(recorded(u)).steps["distance"].value
    s = np.asarray(recorded(u).spike)
    same = (s == u).all((0, 2, 3))
    apart = (np.abs(s - u).max((0, 2, 3)) > 1e-6) | same
    assert ((found == 0) == same)[apart].all()


def test_a_constant_tells_nothing():
    found = loss_of(recorded(np.full((8, 1, 4, 2), 2.2))).steps
    assert [end.tolist() for end in found["information"]] == [[0], [0], [0]]
    assert np.isnan(found["variance"].value)  # 0 / 0: no variance to be consistent with.


def test_membranes_where_no_spike_lies_make_one_divergence_infinite_and_say_how_many():
    u = np.zeros((8, 1, 4, 1))
    u[:, :, 0] = -3
    found = loss_of(recorded(u)).steps
    assert found["uncovered"].value == pytest.approx(0.25)
    assert found["membrane_spike"].value == np.inf
    assert found["membrane_spike"].low == 0 and found["membrane_spike"].high == np.inf
    assert found["spike_membrane"].value == pytest.approx(np.log2(4 / 3))


def test_a_level_that_one_group_alone_has_seen_leaves_the_interval_open():
    # Without the sample that has a membrane in the cell of D its spikes come from nowhere.
    u = np.full((8, 1, 4, 1), LEVELS + 3.0)
    u[0] = LEVELS
    found = loss_of(recorded(u)).steps["spike_membrane"]
    assert found.value == pytest.approx(np.log2(8))
    assert (found.low, found.high) == (0, np.inf)


class Alone(nn.Module):
    neuron: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, current, train=False):
        return self.neuron(name="layer")(current)


KINDS = {
    "LIF": (LIF, 1),
    "I-LIF": (partial(ILIF, normalize=True), np.log2(5)),
    "PIT": (PIT, np.log2(5)),
    "PITFull": (PITFull, np.log2(5)),
    "Real Spike": (RealSpike, 1),
    "Ternary": (Ternary, np.log2(3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_neuron_has_its_measures(kind):
    neuron, bound = KINDS[kind]
    model = Alone(neuron)
    current = 2 * jax.random.normal(jax.random.key(0), (4, 2, 3, 3, 5))
    variables = model.init(jax.random.key(1), current)
    (found,) = information_loss([recorder(model)(variables, current)]).values()
    assert (found.samples, found.bound) == (4, bound)
    assert all(each.value.shape == (2,) for each in found.steps.values())
    assert 0 < found.total["relative"].value < 1
    assert 0 < found.total["information"].value < 2 * bound


def test_negative_spikes_count_as_a_third_level():
    u = jnp.tile(jnp.asarray([-1.0, 0.0, 1.0]), (6, 1, 5, 1)).reshape(6, 1, 15, 1)
    found = loss_of(LayerRecording(u, u, u, 1, None))
    assert found.bound == np.log2(3)
    assert found.steps["information"].value == pytest.approx(np.log2(3))
    assert found.steps["distance"].value == 0


def test_sums_over_samples_that_lie_on_several_devices_are_the_same():
    u = np.random.default_rng(8).normal(size=(16, 1, 6, 2))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    over = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one = recorded(u, A)
    spread = LayerRecording(
        *(jax.device_put(x, over) for x in (one.membrane, one.count, one.spike)),
        LEVELS,
        one.scale,
        jax.device_put(one.rounded, over),
    )
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5),
        loss_of(one).steps,
        loss_of(spread).steps,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_membranes_that_are_not_finite_are_refused(value):
    u = np.zeros((3, 1, 2, 2))
    u[1, 0, 0, 0] = value
    with pytest.raises(ValueError, match="layer: 1 of 3 samples have membranes, counts or spikes"):
        loss_of(recorded(u))


def test_what_cannot_be_counted_is_refused():
    u = jnp.zeros((3, 1, 2, 2))
    with pytest.raises(ValueError, match="12 counts are not integers of -1 ... 1"):
        loss_of(LayerRecording(u, u + 0.5, u, 1, None))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        loss_of(recorded(np.zeros((1, 1, 2, 2))))
    with pytest.raises(ValueError, match="no neuron layer"):
        information_loss([])
    with pytest.raises(ValueError, match="all batches must have the layers a, got b"):
        information_loss([{"a": recorded(u)}, {"b": recorded(u)}])
    with pytest.raises(ValueError, match="all batches must have the shapes of the first"):
        loss_of(recorded(u), recorded(jnp.zeros((3, 2, 2, 2))))
    with pytest.raises(ValueError, match="at least 2 groups, got 1"):
        Groups(1)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        jackknife(np.asarray, np.ones((4, 1)), np.ones(4), confidence=95.0)
    with pytest.raises(ValueError, match="counts must be finite"):
        entropy(np.array([0, 0]))

"""Information loss: estimates on distributions whose information is known."""

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
from pit_jax.neurons import ILIF, LIF, PIT, QBLIF, PITFull, RealSpike, Ternary
from pit_jax.neurons.step import pit_count
from tests.helpers import jit_once

REPETITIONS, LEVELS, A = 400, 4, 0.5
# u ~ N(0, 1): u / a below 1/2 fires 0, from D - 1/2 on it fires D.
BOUNDARIES = A * (np.arange(1, LEVELS + 1) - 0.5)
SHARES = np.diff(stats.norm.cdf(BOUNDARIES), prepend=0, append=1)
# The shares of membranes in the cells [-1/2, 1/2), ..., [D - 1/2, D + 1/2).
IN_CELLS = np.diff(stats.norm.cdf(A * (np.arange(LEVELS + 2) - 0.5)))

bounded = partial(st.floats, -8, 8, width=32, allow_subnormal=False)


def record_membranes(u, a=1.0, levels=LEVELS):
    """Return the recording of membranes `[B, T, N, C]` that PIT fires."""
    a = np.broadcast_to(np.asarray(a, np.float32), np.shape(u)[-1:])
    u, count, spike, a, rounded = fire_jitted(np.asarray(u, np.float32), a, levels=levels)
    return LayerRecording(u, count, spike, levels, a, rounded)


@partial(jax.jit, static_argnames="levels")
def fire_jitted(u, a, levels):
    count = pit_count(u, a, levels=levels)
    return u, count, a * count, a, u * (1 / a)


def compute_loss(*parts):
    return information_loss({"layer": part} for part in parts)["layer"]


def draw_dependent(rng, shape, share):
    """Return standard normals `[n, R, places]`; a sample shares `share` of their variance."""
    common = rng.normal(size=(*shape[:2], 1))
    return share**0.5 * common + (1 - share) ** 0.5 * rng.normal(size=shape)


def fire(u):
    return np.clip(np.floor(u / A + 0.5), 0, LEVELS)


def count_in_groups(k, groups, outcomes=LEVELS + 1):
    """Count the integers `[n, R, places]` in groups of samples, `[G, R, K]`."""
    found = np.stack([(k == j).sum(-1) for j in range(outcomes)], -1)
    return found.reshape(groups, -1, *found.shape[1:]).sum(1)


def draw_geometric(rng, shape):
    return np.minimum(rng.geometric(0.6, size=shape) - 1, LEVELS)


# A function that draws counts of a shape, and their true shares.
KNOWN = {
    "uniform": (lambda rng, s: rng.integers(LEVELS + 1, size=s), np.full(LEVELS + 1, 0.2)),
    "binomial": (
        lambda rng, s: rng.binomial(LEVELS, 0.3, size=s),
        stats.binom(LEVELS, 0.3).pmf(range(LEVELS + 1)),
    ),
    "geometric": (draw_geometric, np.append(0.6 * 0.4 ** np.arange(LEVELS), 0.4**LEVELS)),
    "quantized Gaussian": (lambda rng, s: fire(draw_dependent(rng, s, 0)), SHARES),
    "Gaussian that samples share": (lambda rng, s: fire(draw_dependent(rng, s, 0.8)), SHARES),
}


@pytest.mark.parametrize("name", KNOWN)
def test_entropy_is_unbiased_and_its_intervals_have_their_coverage(name):
    draw, p = KNOWN[name]
    rng, truth = np.random.default_rng(0), stats.entropy(p, base=2)
    counts = count_in_groups(draw(rng, (256, REPETITIONS, 8)), groups=64)
    found = jackknife(entropy, counts, np.full(64, 4))
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    # Three standard errors of the share, and 1 % for the normal approximation of the interval.
    assert abs(covered - 0.95) < 0.01 + 3 * np.sqrt(0.95 * 0.05 / REPETITIONS)
    standard_error = found.value.std() / np.sqrt(REPETITIONS)
    assert abs(found.value.mean() - truth) < 3.5 * standard_error


def test_the_jackknife_removes_the_bias_that_miller_madow_leaves_with_dependent_neurons():
    rng, truth = np.random.default_rng(1), stats.entropy(SHARES, base=2)
    counts = count_in_groups(fire(draw_dependent(rng, (64, 2000, 16), 0.9)), groups=64)
    found = jackknife(entropy, counts, np.ones(64, int)).value
    standard_error = found.std() / np.sqrt(len(found))
    left = miller_madow(counts.sum(0)).mean() - truth
    assert left < -5 * standard_error
    assert abs(found.mean() - truth) < 0.3 * abs(left)


def test_miller_madow_corrects_the_first_order_bias_of_independent_draws():
    rng, n = np.random.default_rng(2), 400
    counts = rng.multinomial(n, np.full(5, 0.2), size=20_000)
    bias = -4 / (2 * n * np.log(2))
    assert entropy(counts).mean() - np.log2(5) == pytest.approx(bias, rel=0.05)
    assert miller_madow(counts).mean() == pytest.approx(np.log2(5), abs=0.05 * abs(bias))


@pytest.mark.parametrize("share", [0, 0.8])
def test_divergence_is_unbiased_and_its_intervals_have_their_coverage(share):
    rng = np.random.default_rng(3)
    u = draw_dependent(rng, (256, REPETITIONS, 8), share)
    cells = np.clip(np.floor(u / A + 0.5), -1, LEVELS + 1)
    sums = [count_in_groups(each + 1, 64, LEVELS + 3) for each in (fire(u), cells)]
    truth = np.sum(SHARES * np.log2(SHARES / IN_CELLS))
    found = jackknife(lambda sums: divergence(*sums), sums, np.full(64, 4))
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    assert abs(covered - 0.95) < 0.01 + 3 * np.sqrt(0.95 * 0.05 / REPETITIONS)
    assert abs(found.value.mean() - truth) < 3.5 * found.value.std() / np.sqrt(REPETITIONS)


def test_the_measures_of_gaussian_membranes_equal_integrals():
    """Compare with SciPy's integrals; with a million membranes the intervals are narrow."""
    u = np.random.default_rng(4).normal(size=(512, 1, 512, 4))
    found = compute_loss(*(record_membranes(part, A) for part in np.split(u, 4)))
    k = A * np.arange(LEVELS + 1)
    ends = np.concatenate([[-np.inf], BOUNDARIES, [np.inf]])
    # For a standard normal, ∫ u = -[φ] and ∫ u² = [Φ - u φ].
    density = stats.norm.pdf(ends)
    first = -np.diff(density)
    square_error = 1 - 2 * np.sum(k * first) + np.sum(k**2 * SHARES)
    variance = np.sum(k**2 * SHARES) - np.sum(k * SHARES) ** 2
    truths = {
        "distance": np.sqrt(512 * 4 * square_error),
        "relative": np.sqrt(square_error),
        "information": entropy(SHARES),
        "pooled": entropy(SHARES),
        "spike_membrane": np.sum(SHARES * np.log2(SHARES / IN_CELLS)),
        "uncovered": 1 - IN_CELLS.sum(),
        "variance": variance,
    }
    for name, truth in truths.items():
        value, low, high = found.steps[name]
        # Twice the interval's width, since one of several 95 % intervals may miss.
        assert abs(value[0] - truth) < 2 * (high[0] - low[0]), name
        assert high[0] - low[0] < 0.02 * truth, name
    assert found.steps["membrane_spike"].value == np.inf


def test_totals_are_sums_over_steps_or_one_population():
    u = np.random.default_rng(5).normal(size=(40, 3, 20, 2)) * np.array([1, 2, 3])[:, None, None]
    found = compute_loss(record_membranes(u, A))
    one = compute_loss(record_membranes(u.reshape(40, 1, 60, 2), A))
    for name in ("distance", "information", "pooled", "spike_membrane"):
        assert found.total[name].value == pytest.approx(found.steps[name].value.sum())
    for name in ("relative", "uncovered", "variance"):
        assert found.total[name].value == pytest.approx(one.steps[name].value[0], rel=1e-5)


def test_batches_do_not_change_the_measures_and_only_groups_are_stored():
    u = np.random.default_rng(6).normal(size=(43, 2, 12, 3))
    whole = compute_loss(record_membranes(u, A))
    parts = compute_loss(*(record_membranes(part, A) for part in np.split(u, [1, 22])))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), whole.steps, parts.steps)
    groups = Groups(8)
    for _ in range(100):
        groups.add({"counts": np.ones((5, 3))})
    assert groups._sums["counts"].shape == (8, 3)
    assert groups.total("counts").tolist() == [500] * 3


def test_a_mean_over_unequal_groups_is_unchanged_and_has_its_standard_error():
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
def test_entropy_is_at_most_uniform_and_divergence_at_least_zero(counts):
    assert (entropy(counts) >= 0).all()
    assert (entropy(counts) <= np.log2(counts.shape[-1]) + 1e-12).all()
    assert divergence(counts[0], counts[1]) >= -1e-12
    assert divergence(counts, counts) == pytest.approx(0)


membranes = hnp.arrays(np.float32, (4, 2, 3, 2), elements=bounded())


@given(membranes, st.sampled_from([1, 2, 6]))
@settings(max_examples=40)
def test_information_is_at_most_the_logarithm_of_the_levels(u, levels):
    found = compute_loss(record_membranes(u, levels=levels))
    for name in ("information", "pooled"):
        value, low, high = found.steps[name]
        assert found.bound == np.log2(levels + 1)
        assert (0 <= low).all() and (low <= value).all() and (value <= high).all()
        assert (high <= found.bound).all()


@given(membranes, hnp.arrays(np.int64, 2, elements=st.integers(-6, 6)))
@settings(max_examples=40)
def test_information_and_divergence_are_invariant_to_the_scale(u, exponents):
    """Fire membranes times `a` with the scale `a`, a power of two, which does not round."""
    a = 2.0**exponents
    plain, scaled = (
        compute_loss(record_membranes(u)),
        compute_loss(record_membranes(u * a.astype(np.float32), a)),
    )
    for name in ("information", "pooled", "spike_membrane", "membrane_spike", "uncovered"):
        np.testing.assert_array_equal(plain.steps[name], scaled.steps[name])


@given(membranes)
@settings(max_examples=40)
def test_the_distance_is_zero_exactly_if_membranes_are_levels(u):
    found = compute_loss(record_membranes(u)).steps["distance"].value
    s = np.asarray(record_membranes(u).spike)
    same = (s == u).all((0, 2, 3))
    apart = (np.abs(s - u).max((0, 2, 3)) > 1e-6) | same
    assert ((found == 0) == same)[apart].all()


def test_a_constant_membrane_has_no_information():
    found = compute_loss(record_membranes(np.full((8, 1, 4, 1), 2.2))).steps
    assert [end.tolist() for end in found["information"]] == [[0], [0], [0]]
    assert np.isnan(found["variance"].value)  # 0 / 0: no variance to be consistent with.


def test_membranes_in_cells_without_spikes_make_one_divergence_infinite():
    u = np.zeros((8, 1, 4, 1))
    u[:, :, 0] = -3
    found = compute_loss(record_membranes(u)).steps
    assert found["uncovered"].value == pytest.approx(0.25)
    assert found["membrane_spike"].value == np.inf
    assert found["membrane_spike"].low == 0 and found["membrane_spike"].high == np.inf
    assert found["spike_membrane"].value == pytest.approx(np.log2(4 / 3))


def test_a_level_in_a_single_group_leaves_the_interval_open():
    # Without the only sample with a membrane in the cell of D, the divergence is infinite.
    u = np.full((8, 1, 4, 1), LEVELS + 3.0)
    u[0] = LEVELS
    found = compute_loss(record_membranes(u)).steps["spike_membrane"]
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
    "QB-LIF": (QBLIF, np.log2(5)),
    "Real Spike": (RealSpike, 1),
    "Ternary": (Ternary, np.log2(3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_neuron_has_its_measures(kind):
    neuron, bound = KINDS[kind]
    model = Alone(neuron)
    current = 2 * jax.random.normal(jax.random.key(0), (4, 2, 3, 3, 5))
    variables = jit_once(model.init)(jax.random.key(1), current)
    (found,) = information_loss([recorder(model)(variables, current)]).values()
    assert (found.samples, found.bound) == (4, bound)
    assert all(each.value.shape == (2,) for each in found.steps.values())
    assert 0 < found.total["relative"].value < 1
    assert 0 < found.total["information"].value < 2 * bound


def test_negative_spikes_are_a_third_level():
    u = jnp.asarray(np.tile([-1.0, 0.0, 1.0], (8, 5)).reshape(8, 1, 15, 1), jnp.float32)
    found = compute_loss(LayerRecording(u, u, u, 1, None))
    assert found.bound == np.log2(3)
    assert found.steps["information"].value == pytest.approx(np.log2(3))
    assert found.steps["distance"].value == 0


def test_sharded_samples_have_the_same_measures():
    u = np.random.default_rng(8).normal(size=(16, 1, 6, 2))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    over = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one = record_membranes(u, A)
    spread = LayerRecording(
        *(jax.device_put(x, over) for x in (one.membrane, one.count, one.spike)),
        LEVELS,
        one.scale,
        jax.device_put(one.rounded, over),
    )
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5),
        compute_loss(one).steps,
        compute_loss(spread).steps,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_membranes_that_are_not_finite_raise(value):
    u = np.zeros((8, 1, 4, 1))
    u[1, 0, 0, 0] = value
    with pytest.raises(ValueError, match="layer: 1 of 8 samples have membranes, counts or spikes"):
        compute_loss(record_membranes(u))


def test_invalid_recordings_and_arguments_raise():
    u = jnp.zeros((8, 1, 4, 1))
    with pytest.raises(ValueError, match="32 counts are not integers of -1 ... 1"):
        compute_loss(LayerRecording(u, u + 0.5, u, 1, None))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        compute_loss(record_membranes(np.zeros((1, 1, 4, 1))))
    with pytest.raises(ValueError, match="no neuron layer"):
        information_loss([])
    with pytest.raises(ValueError, match="all batches must have the layers a, got b"):
        information_loss([{"a": record_membranes(u)}, {"b": record_membranes(u)}])
    with pytest.raises(ValueError, match="all batches must have the shapes of the first"):
        compute_loss(record_membranes(u), record_membranes(np.zeros((8, 2, 4, 1))))
    with pytest.raises(ValueError, match="at least 2 groups, got 1"):
        Groups(1)
    with pytest.raises(ValueError, match="confidence must be less than 1, got 95"):
        jackknife(np.asarray, np.ones((4, 1)), np.ones(4), confidence=95.0)
    with pytest.raises(ValueError, match="counts must be finite"):
        entropy(np.array([0, 0]))

"""The costs of a program agree with loops over every spike and every synapse."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax import neurons
from pit_jax.inference import SpikingProgram, compile
from tests.inference.networks import make_constant_network
from tests.inference.random_networks import RandomNetwork, make_variables

LEVELS, STEPS = 2, 2


def compile_layers(*layers) -> tuple[SpikingProgram, jax.Array]:
    model = RandomNetwork(partial(neurons.PIT, levels=LEVELS), STEPS, layers)
    x = jax.random.normal(jax.random.key(0), (3, 6, 5, 3))
    return compile(model, make_variables(model, x, 0), x, verify=False), x


def find_row(costs, path):
    return next(row for row in costs.rows if row.path == path)


def count_additions(spikes, kernel, stride, pad, groups, features, pooled=1) -> int:
    """Count the output places and features that each spike `[B, T, D, H, W, C]` reaches."""
    height, width, channels = spikes.shape[3:]
    out = [
        ((n // pooled) + 2 * pad - kernel) // stride + 1 for n in (height, width)
    ]  # The places of the output.
    total = 0
    for *_, y, x, _channel in np.argwhere(spikes):
        cy, cx = y // pooled, x // pooled
        if cy >= height // pooled or cx >= width // pooled:
            continue  # The pool drops the last odd row or column.
        for oy in range(out[0]):
            for ox in range(out[1]):
                inside_y = 0 <= cy - (oy * stride - pad) < kernel
                inside_x = 0 <= cx - (ox * stride - pad) < kernel
                total += (inside_y and inside_x) * (features // groups)
    return total


# Kernel, stride, groups and the pool in front of it.
BRANCHES = [
    (3, 1, 1, ""),
    (3, 2, 1, "avg"),
    (1, 2, 2, "max"),
    (3, 1, 2, "avg"),
    (3, 2, 4, "max"),
    (1, 1, 1, "avg"),
]


class BranchingNetwork(nn.Module):
    """Neurons whose spikes an identity shortcut and the convolutions of all branches read."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = jnp.broadcast_to(x[:, None], (len(x), STEPS, *x.shape[1:]))
        pit = partial(neurons.PIT, levels=LEVELS)
        norm = nn.BatchNorm(not train, momentum=0.5)
        spikes = pit(name="spikes")(norm(nn.Conv(4, (3, 3), name="stem")(x)))
        summed = pit(name="sum")(nn.Conv(4, (1, 1), name="residual")(spikes) + spikes)
        logits = nn.Dense(3, name="head")(summed.mean((2, 3)))
        for i, (kernel, stride, groups, pool) in enumerate(BRANCHES):
            pools = {"": lambda y, *_: y, "avg": nn.avg_pool, "max": nn.max_pool}
            y = pools[pool](spikes, (2, 2), (2, 2))
            pad = ((kernel // 2, kernel // 2),) * 2
            conv = nn.Conv(
                4, (kernel, kernel), stride, pad, feature_group_count=groups, name=f"branch{i}"
            )
            logits += nn.Dense(3)(pit()(conv(y)).mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def branching():
    model = BranchingNetwork()
    x = jax.random.normal(jax.random.key(0), (3, 6, 5, 3))
    program = compile(model, make_variables(model, x, 0), x, verify=False)
    return program.costs(x), program.trace(x)


@pytest.mark.parametrize("branch", range(len(BRANCHES)))
def test_accumulations_count_the_synapses_that_spikes_reach(branching, branch):
    costs, trace = branching
    kernel, stride, groups, pool = BRANCHES[branch]
    spikes = np.asarray(trace["spikes"])
    samples = len(spikes)
    assert spikes.any()
    if pool == "max":
        cut = spikes[:, :, :, :6, :4]
        spikes = cut.reshape(*cut.shape[:3], 3, 2, 2, 2, 4).max((4, 6))
    pooled = 2 if pool == "avg" else 1
    expected = count_additions(spikes, kernel, stride, kernel // 2, groups, 4, pooled)
    row = find_row(costs, f"branch{branch}")
    assert row.accumulations == pytest.approx(expected / samples, rel=1e-12)
    assert row.macs == 0


def test_the_maximum_of_ternary_spikes_respects_their_signs():
    model = RandomNetwork(neurons.Ternary, STEPS, ((4, 3, 1, 1, "max"), (2, 1, 1, 1, "")))
    x = jax.random.normal(jax.random.key(0), (3, 6, 5, 3))
    program = compile(model, make_variables(model, x, 0), x, verify=False)
    spikes = np.asarray(program.trace(x)["Ternary_0"])[..., :4, :]
    windows = spikes.reshape(*spikes.shape[:3], 3, 2, 2, 2, 4)
    largest = windows.max((4, 6))
    assert abs(windows).max((4, 6)).sum() > abs(largest).sum()
    # A 1 x 1 convolution to two channels; the maximum of -1 and 0 is 0, which is no spike.
    reached = abs(largest).sum() * 2
    assert find_row(program.costs(x), "Conv_1").accumulations == pytest.approx(reached / len(x))


def test_an_image_for_all_steps_is_multiplied_once():
    program, x = compile_layers((4, 3, 2, 1, ""))
    # Of 6 x 5, padded by 1: windows of 3 at rows -1, 1, 3 and columns -1, 1, 3.
    rows, columns = 2 + 3 + 3, 2 + 3 + 2
    assert find_row(program.costs(x), "Conv_0").macs == rows * columns * 3 * 4
    frames = np.stack([x] * STEPS, axis=1)
    assert find_row(program.costs(frames), "Conv_0").macs == STEPS * rows * columns * 3 * 4


def test_each_stream_of_a_sum_has_its_own_copy_of_the_weights():
    program, x = compile_layers((4, 3, 1, 1, ""), (4, 3, 1, 1, "add"), (2, 3, 1, 1, ""))
    costs, trace = program.costs(x), program.trace(x)
    streams = [r for r in costs.rows if r.path == "Conv_2"]
    # The sum of two neurons' spikes: one copy of the weights reads each of them.
    assert [r.source for r in streams] == ["spikes of PIT_1", "spikes of PIT_0"]
    for stream, path in zip(streams, ("PIT_1", "PIT_0"), strict=True):
        expected = count_additions(np.asarray(trace[path]), 3, 1, 1, 1, 2)
        assert stream.accumulations == pytest.approx(expected / len(x), rel=1e-12)
        assert stream.copies == STEPS  # Each step has its own scale, and so its own weights.


def test_an_identity_shortcut_costs_one_addition_per_spike(branching):
    costs, trace = branching
    shortcut = find_row(costs, "spikes")
    spikes = np.asarray(trace["spikes"])
    assert shortcut.weights == 4 and shortcut.copies == STEPS
    assert shortcut.accumulations == pytest.approx(spikes.sum() / len(spikes), rel=1e-12)
    head = np.asarray(trace["sum"]).sum() * 3
    assert find_row(costs, "head").accumulations == pytest.approx(head / len(spikes), rel=1e-12)
    assert costs.stored_weights == sum(r.weights * r.copies for r in costs.rows)
    assert str(costs).splitlines()[-1].startswith("total")


def test_attention_counts_its_multiplications():
    # Multiplications do not depend on spikes, so any variables do.
    model, variables, x = make_constant_network(
        "e_spikeformer_t", partial(neurons.ILIF, levels=2), 1
    )
    attention = find_row(
        compile(model, variables, x, verify=False).costs(x), "stage2_block1/attention"
    )
    # 16 tokens, 2 heads of 4 channels, values of 16: keys by values, scaled, and queries by that.
    assert attention.macs == 2 * (4 * 16) * (2 * 16 + 1)
    assert attention.accumulations == 0


def test_costs_of_an_empty_batch_are_refused():
    program, x = compile_layers((4, 3, 1, 1, ""))
    with pytest.raises(
        ValueError, match=r"the mean over samples, of which \(0, 6, 5, 3\) has none"
    ):
        program.costs(x[:0])

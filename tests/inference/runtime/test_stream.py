"""Frame by frame a program comes to the same logits, and may answer before the last."""

import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.inference import compile
from pit_jax.inference.runtime.stream import is_confident
from tests.inference.networks import NEURONS, make_firing_network

STEPS = 4


@pytest.fixture(scope="module", params=["PIT", "CLIF"])
def program_and_frames(request):
    model, variables, x = make_firing_network("resnet8", NEURONS[request.param](2), STEPS, batch=3)
    frames = jnp.stack([x, -x, x[::-1], 0.5 * x], axis=1)
    return compile(model, variables, frames, verify=False), frames


@pytest.fixture(params=["JAX", "event-driven"])
def streamed(request, program_and_frames):
    program, frames = program_and_frames
    return (
        program,
        program.stream() if request.param == "JAX" else (program.event_driven().stream()),
        frames,
    )


def fed(stream, frames, state=None):
    state, seen = state or stream.start(), []
    for t in range(frames.shape[1]):
        state, logits = stream(state, frames[:, t])
        seen.append(np.asarray(logits))
    return state, seen


def test_after_all_steps_the_logits_are_the_programs(streamed):
    program, stream, frames = streamed
    assert np.array_equal(fed(stream, frames)[1][-1], program(frames))


def test_logits_are_the_mean_over_the_steps_so_far(streamed):
    _, stream, frames = streamed
    state, seen = fed(stream, frames[:, :2])
    assert np.array_equal(
        seen[1], np.asarray(state.total).astype(np.float32) * np.float32(stream.unit / 2)
    )


def test_a_state_is_not_changed_so_streams_may_fork_and_run_side_by_side(streamed):
    _, stream, frames = streamed
    whole = fed(stream, frames)[1]
    begun, _ = fed(stream, frames[:, :2])
    other = fed(stream, -frames[:, :2], begun)[1]
    assert np.array_equal(fed(stream, frames[:, 2:], begun)[1][-1], whole[-1])
    assert not np.array_equal(other[-1], whole[-1])


def test_a_new_stream_knows_nothing_of_the_one_before(streamed):
    _, stream, frames = streamed
    first = fed(stream, frames)[1]
    fed(stream, frames[:1])
    assert np.array_equal(fed(stream, frames)[1][-1], first[-1])


def test_each_sample_is_alone(streamed):
    _, stream, frames = streamed
    assert np.array_equal(fed(stream, frames[1:2])[1][-1], fed(stream, frames)[1][-1][1:2])


def test_frames_of_fewer_bits_are_taken_as_the_program_takes_them(streamed):
    program, stream, frames = streamed
    frames = frames.astype(jnp.float16)
    assert np.array_equal(fed(stream, frames)[1][-1], program(frames))


def test_there_is_no_step_behind_the_last(streamed):
    _, stream, frames = streamed
    state, _ = fed(stream, frames)
    with pytest.raises(ValueError, match=r"has 4 steps, and the stream has had them all; begin"):
        stream(state, frames[:, 0])


def test_a_frame_of_another_shape_or_batch_is_refused(streamed):
    _, stream, frames = streamed
    with pytest.raises(ValueError, match=r"frame of this stream must be \[B, 8, 8, 3\], got"):
        stream(stream.start(), frames[:, 0, :4])
    state, _ = stream(stream.start(), frames[:, 0])
    with pytest.raises(ValueError, match=r"must be \[3, 8, 8, 3\], got \(2, 8, 8, 3\)"):
        stream(state, frames[:2, 0])


def test_a_sample_keeps_the_logits_with_which_it_was_confident_first(streamed):
    _, stream, frames = streamed
    seen = fed(stream, frames)[1]
    margins = np.stack([[_margin(row) for row in logits] for logits in seen])
    margin = float(np.median(margins))
    decision = stream.decide((frames[:, t] for t in range(STEPS)), margin)
    for sample, steps in enumerate(decision.steps):
        reached = np.flatnonzero(margins[:, sample] > margin)
        assert steps == (reached[0] + 1 if len(reached) else STEPS)
        assert np.array_equal(decision.logits[sample], seen[steps - 1][sample])
    assert len(set(decision.steps)) > 1


def test_when_all_are_confident_no_more_frames_are_taken(streamed):
    _, stream, frames = streamed
    left = iter([frames[:, t] for t in range(STEPS)])
    decision = stream.decide(left, -1.0)
    assert list(decision.steps) == [1, 1, 1] and len(list(left)) == STEPS - 1


def test_a_decision_needs_a_frame(streamed):
    with pytest.raises(ValueError, match="frames is empty"):
        streamed[1].decide([], 0.5)


@pytest.mark.parametrize("margin", [3.0, float("nan")])
def test_a_margin_is_a_difference_of_probabilities(streamed, margin):
    with pytest.raises(ValueError, match=f"difference of probabilities.* got {margin}"):
        streamed[1].decide([], margin)


def test_a_frame_may_be_a_list(streamed):
    _, stream, frames = streamed
    want = stream(stream.start(), frames[:, 0])[1]
    assert np.array_equal(stream(stream.start(), frames[:, 0].tolist())[1], want)


def test_of_one_class_nothing_is_in_doubt():
    assert is_confident(np.zeros((2, 1), np.float32), 0.9).all()


def test_confidence_is_the_difference_of_the_two_largest_probabilities():
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]).astype(np.float32)
    assert list(is_confident(logits, 0.3)) == [True, False]
    assert list(is_confident(logits + 1000, 0.05)) == [True, True]
    assert not is_confident(np.zeros((1, 4), np.float32), 0.0)[0]


def _margin(logits):
    odds = np.exp(logits.astype(np.float64) - logits.max())
    second, first = np.sort(odds / odds.sum())[-2:]
    return first - second

"""A program run frame by frame reaches the same logits, and may answer before the last frame."""

import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.inference import compile
from pit_jax.inference.runtime.stream import is_confident
from tests.inference.networks import NEURONS
from tests.inference.random_networks import make_small_network

STEPS = 3


@pytest.fixture(scope="module", params=["PIT", "CLIF"])
def program_and_frames(request):
    layers = (4, 3, 1, 1, ""), (4, 3, 1, 1, "add")  # The head reads two streams of spikes.
    model, variables, x = make_small_network(NEURONS[request.param](2), STEPS, *layers, batch=3)
    frames = jnp.stack([x, -x, 0.5 * x[::-1]], axis=1)
    return compile(model, variables, frames, verify=False), frames


# A stream compiles each of its steps once, so all tests share it.
@pytest.fixture(scope="module", params=["JAX", "event-driven"])
def streaming(request, program_and_frames):
    program, frames = program_and_frames
    runtime = program if request.param == "JAX" else program.event_driven()
    return program, runtime.stream(), frames


def feed(stream, frames, state=None):
    state, seen = state or stream.start(), []
    for t in range(frames.shape[1]):
        state, logits = stream(state, frames[:, t])
        seen.append(np.asarray(logits))
    return state, seen


def test_the_last_logits_equal_the_programs(streaming):
    program, stream, frames = streaming
    assert np.array_equal(feed(stream, frames)[1][-1], program(frames))


def test_a_stream_prints_its_steps_and_the_shape_of_a_frame(streaming):
    _, stream, frames = streaming
    shape = ", ".join(map(str, frames.shape[2:]))
    assert repr(stream) == str(stream) == f"stream of frames [B, {shape}], num_steps=3"


def test_logits_are_the_mean_over_the_steps_so_far(streaming):
    _, stream, frames = streaming
    state, seen = feed(stream, frames[:, :2])
    assert np.array_equal(
        seen[1], np.asarray(state.total).astype(np.float32) * np.float32(stream.unit / 2)
    )


def test_streams_may_fork_since_states_never_change(streaming):
    _, stream, frames = streaming
    whole = feed(stream, frames)[1]
    begun, _ = feed(stream, frames[:, :1])
    other = feed(stream, -frames[:, 1:], begun)[1]
    assert np.array_equal(feed(stream, frames[:, 1:], begun)[1][-1], whole[-1])
    assert not np.array_equal(other[-1], whole[-1])


def test_a_new_stream_is_independent_of_earlier_ones(streaming):
    _, stream, frames = streaming
    first = feed(stream, frames)[1]
    feed(stream, frames[:1])
    assert np.array_equal(feed(stream, frames)[1][-1], first[-1])


def test_samples_of_a_batch_are_independent(streaming):
    _, stream, frames = streaming
    assert np.array_equal(feed(stream, frames[1:2])[1][-1], feed(stream, frames)[1][-1][1:2])


def test_float16_frames_give_the_programs_logits(streaming):
    program, stream, frames = streaming
    frames = frames.astype(jnp.float16)
    assert np.array_equal(feed(stream, frames)[1][-1], program(frames))


def test_a_frame_after_the_last_step_is_refused(streaming):
    _, stream, frames = streaming
    state, _ = feed(stream, frames)
    with pytest.raises(ValueError, match=r"the stream has used all of them; begin"):
        stream(state, frames[:, 0])


def test_a_frame_of_the_wrong_shape_or_batch_is_refused(streaming):
    _, stream, frames = streaming
    with pytest.raises(ValueError, match=r"frame of this stream must be \[B, 8, 8, 3\], got"):
        stream(stream.start(), frames[:, 0, :4])
    state, _ = stream(stream.start(), frames[:, 0])
    with pytest.raises(ValueError, match=r"must be \[3, 8, 8, 3\], got \(2, 8, 8, 3\)"):
        stream(state, frames[:2, 0])


def test_a_frame_of_texts_is_refused(streaming):
    stream = streaming[1]
    with pytest.raises(ValueError, match=r"^a frame must be an array of real numbers, got <U3"):
        stream(stream.start(), np.full((2, 8, 8, 3), "0.5"))


def test_a_sample_keeps_its_first_confident_logits(streaming):
    _, stream, frames = streaming
    seen = feed(stream, frames)[1]
    margins = np.stack([[compute_margin(row) for row in logits] for logits in seen])
    margin = float(np.median(margins[0]))  # One of three samples is confident after one frame.
    decision = stream.decide((frames[:, t] for t in range(STEPS)), margin)
    for sample, steps in enumerate(decision.steps):
        reached = np.flatnonzero(margins[:, sample] > margin)
        assert steps == (reached[0] + 1 if len(reached) else STEPS)
        assert np.array_equal(decision.logits[sample], seen[steps - 1][sample])
    assert len(set(decision.steps)) > 1


def test_decide_stops_once_all_samples_are_confident(streaming):
    _, stream, frames = streaming
    left = iter([frames[:, t] for t in range(STEPS)])
    decision = stream.decide(left, -1.0)
    assert list(decision.steps) == [1, 1, 1] and len(list(left)) == STEPS - 1


def test_a_decision_needs_a_frame(streaming):
    with pytest.raises(ValueError, match="frames is empty"):
        streaming[1].decide([], 0.5)


@pytest.mark.parametrize("margin", [3.0, float("nan")])
def test_a_margin_out_of_range_is_refused(streaming, margin):
    with pytest.raises(ValueError, match=f"difference of probabilities.* got {margin}"):
        streaming[1].decide([], margin)


def test_a_frame_may_be_a_list(streaming):
    _, stream, frames = streaming
    want = stream(stream.start(), frames[:, 0])[1]
    assert np.array_equal(stream(stream.start(), frames[:, 0].tolist())[1], want)


def test_a_single_class_is_always_confident():
    assert is_confident(np.zeros((2, 1), np.float32), 0.9).all()


def test_confidence_is_the_difference_of_the_two_largest_probabilities():
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]).astype(np.float32)
    assert list(is_confident(logits, 0.3)) == [True, False]
    assert list(is_confident(logits + 1000, 0.05)) == [True, True]
    assert not is_confident(np.zeros((1, 4), np.float32), 0.0)[0]


def compute_margin(logits):
    odds = np.exp(logits.astype(np.float64) - logits.max())
    second, first = np.sort(odds / odds.sum())[-2:]
    return first - second

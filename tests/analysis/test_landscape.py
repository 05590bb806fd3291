"""The loss landscape: directions, points on any number of devices, and resuming."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from pit_jax.analysis import landscape
from pit_jax.analysis.plots import landscape as plots
from pit_jax.neurons import PIT
from tests.helpers import jit_once
from train.analyze import landscape as analyze_landscape
from train.analyze.subject import Subject
from train.data import ArraySplit, Dataset
from train.program.losses import cross_entropy
from train.program.sharding import make_batch_sharding, make_data_mesh, make_replicated, place

SHAPES = {
    "conv": {"kernel": (3, 3, 4, 8), "bias": (8,)},
    "depthwise": {"kernel": (3, 3, 1, 8)},
    "grouped": {"kernel": (3, 3, 2, 8)},
    "dense": {"kernel": (5, 6)},
    "norm": {"scale": (8,), "bias": (8,)},
    "PIT_0": {"a": (2, 8)},
}


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


draw_directions = jit_once(landscape.directions)


def norms(kernel: Any) -> np.ndarray:
    """Return the norm of each filter, the slice of a kernel for one output channel."""
    return np.linalg.norm(np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1), axis=1)


@pytest.mark.parametrize("layer", ["conv", "depthwise", "grouped", "dense"])
def test_filters_of_a_direction_have_the_norm_of_the_weights(
    params: Any, key: jax.Array, layer: str
) -> None:
    for direction in draw_directions(params, key):
        found, own = direction[layer]["kernel"], params[layer]["kernel"]
        np.testing.assert_allclose(norms(found), norms(own), rtol=1e-5)
        assert np.abs(np.vdot(found, own)) < 0.9 * np.vdot(own, own)


def test_only_kernels_move_by_default(params: Any, key: jax.Array) -> None:
    first, _ = draw_directions(params, key)
    kernels = ["conv/kernel", "depthwise/kernel", "grouped/kernel", "dense/kernel"]
    assert sorted(landscape.list_moved(first)) == sorted(kernels)


def test_a_custom_treatment_moves_the_scale_and_norms(params: Any, key: jax.Array) -> None:
    def treatment(path: tuple[str, ...], leaf: jax.Array) -> Any:
        if path[-1] == "a":
            return landscape.filterwise
        if path[0] == "norm":
            return landscape.follow_weights
        return landscape.keep_still

    first, _ = jit_once(partial(landscape.directions, treatment=treatment))(params, key)
    assert sorted(landscape.list_moved(first)) == ["PIT_0/a", "norm/bias", "norm/scale"]
    np.testing.assert_allclose(norms(first["PIT_0"]["a"]), norms(params["PIT_0"]["a"]), rtol=1e-5)
    assert (first["norm"]["scale"] == params["norm"]["scale"]).all()


def test_directions_differ_from_each_other_and_depend_on_the_key_only(
    params: Any, key: jax.Array
) -> None:
    first, second = draw_directions(params, key)
    again, _ = draw_directions(params, key)
    other, _ = draw_directions(params, jax.random.key(1))
    assert (first["conv"]["kernel"] == again["conv"]["kernel"]).all()
    assert not (first["conv"]["kernel"] == other["conv"]["kernel"]).any()
    assert not (first["conv"]["kernel"] == second["conv"]["kernel"]).any()


def test_the_middle_of_the_grid_is_exactly_the_weights() -> None:
    axis = landscape.axis()
    assert (len(axis), axis[0], axis[25], axis[50]) == (51, -1, 0, 1)
    assert (landscape.grid(axis)[51 * 25 + 25] == 0).all()
    assert landscape.grid(np.arange(2)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    with pytest.raises(ValueError, match="side must be an odd number of at least 3, got 50"):
        landscape.axis(50)


class Net(nn.Module):
    """A convolution, norm, PIT and linear layer."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(6, (3, 3), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)[:, None]
        x = PIT(levels=4)(x).mean(axis=(2, 3))
        return nn.Dense(3, name="head")(x)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Return a run with random weights on two devices."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (40, 8, 8, 1), np.uint8), rng.integers(0, 3, 40, np.int32)
    split = ArraySplit(images, labels)
    dataset = Dataset("made_up", split, split, 3, (0.5,), (0.2,))
    model, mesh = Net(), make_data_mesh(2, devices=jax.devices()[:2])
    init = jit_once(partial(model.init, train=True))
    variables = init(jax.random.key(0), jnp.ones((4, 8, 8, 1)))
    out = tmp_path_factory.mktemp("landscape")
    return Subject(
        name="made up",
        workdir=out,
        checkpoint="last",
        config=ConfigDict({"loss": {"name": "cross_entropy"}}),
        dataset=dataset,
        model=model,
        variables=place(jax.device_get(variables), make_replicated(mesh)),
        over_batch=make_batch_sharding(mesh),
        out=out,
        wanted=32,
    )


def make_loss(trained: Subject, devices: int) -> tuple[Any, Any]:
    """Return the loss at the weights, and the function of points on some devices."""
    images, labels = jax.device_get(trained.samples("train", 32))
    stats = jax.device_get(trained.variables["batch_stats"])
    params = jax.device_get(trained.variables["params"])

    def loss(params: Any, stats: Any, images: Any, labels: Any) -> jax.Array:
        logits = trained.model.apply({"params": params, "batch_stats": stats}, images)
        return cross_entropy(logits, labels)

    mesh = make_data_mesh(devices, devices=jax.devices()[:devices])
    directions = draw_directions(params, jax.random.key(123))
    evaluate = landscape.point_losses(loss, mesh, params, directions, stats, images, labels)
    return jax.jit(loss)(params, stats, images, labels), evaluate


def test_the_center_is_the_loss_of_the_weights(trained: Subject) -> None:
    loss, evaluate = make_loss(trained, 1)
    np.testing.assert_allclose(evaluate(np.zeros((1, 2))), loss, rtol=1e-6)


def test_losses_do_not_depend_on_the_number_of_devices(
    trained: Subject,
) -> None:
    points = landscape.grid(landscape.axis(3))
    _, alone = make_loss(trained, 1)
    _, together = make_loss(trained, 4)
    by_one = np.concatenate([alone(points[:8]), alone(points[8:])])
    assert (together(points) == by_one).all()
    assert len(set(by_one)) == 9
    with pytest.raises(ValueError, match="at most 8 points can be evaluated at once, got 9"):
        alone(points)


def test_a_point_is_the_loss_of_the_weights_moved_there(key: jax.Array) -> None:
    def loss(params: Any, at: jax.Array) -> jax.Array:
        return jnp.square(params["w"]["kernel"] - at).sum()

    w = {"w": {"kernel": jnp.asarray([[1.0, 2.0]])}}
    d, e = (
        {"w": {"kernel": jnp.asarray([[1.0, 0.0]])}},
        {"w": {"kernel": jnp.asarray([[0.0, 3.0]])}},
    )
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, -2.0]])
    evaluate = landscape.point_losses(
        loss, make_data_mesh(1, devices=jax.devices()[:1]), w, (d, e), 1.0
    )
    assert evaluate(points).tolist() == [0 + 1, 1 + 1, 0.25 + 25]


class Killed(Exception):
    pass


def stop_after(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the program stop when some blocks have been evaluated."""
    real = landscape.evaluate_by_block

    def evaluate(*args: Any) -> Iterator[np.ndarray]:
        for i, found in enumerate(real(*args), 1):
            yield found
            if i == after:
                raise Killed

    monkeypatch.setattr(landscape, "evaluate_by_block", evaluate)


def test_a_stopped_surface_resumes_to_the_same_losses(
    trained: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = analyze_landscape.measure_surface(
        replace(trained, out=make_folder(tmp_path / "whole")), 7
    ).losses
    run = replace(trained, out=make_folder(tmp_path / "stopped"))
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(Killed):
            analyze_landscape.measure_surface(run, 7)
    counted: list[int] = []
    real = landscape.evaluate_by_block
    monkeypatch.setattr(
        landscape,
        "evaluate_by_block",
        lambda evaluate, points, size, known: (
            counted.append(len(known)) or real(evaluate, points, size, known)
        ),
    )
    assert (analyze_landscape.measure_surface(run, 7).losses == whole).all()
    assert counted == [2 * 2 * landscape.POINTS]
    # The next call has nothing to compute.
    assert (analyze_landscape.measure_surface(run, 7).losses == whole).all()
    assert counted[1] == 49
    # Losses at other weights or points are not reused.
    halved = jax.tree.map(lambda x: x / 2, trained.variables)
    assert not (
        analyze_landscape.measure_surface(replace(run, variables=halved), 7).losses == whole
    ).any()
    analyze_landscape.measure_surface(run, 5)
    assert counted[2:] == [0, 0]


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_analysis_reports_what_moved_and_draws_figures(trained: Subject) -> None:
    found = analyze_landscape.analyze(trained, side=5)
    assert len(found.tables["losses"].rows) == 25
    how, losses = found.remarks
    assert "n = 32 training images" in how and "seed 123" in how and "the 2 kernels" in how
    assert losses.startswith("made up: ") and " 5 x 5 points mean " in losses
    for drawn in found.figures.values():
        assert drawn.caption.startswith(how)
        drawn.draw().canvas.draw()


def test_zero_and_infinite_losses_can_be_drawn() -> None:
    losses = np.abs(landscape.grid(landscape.axis(5))).sum(axis=1).reshape(5, 5)
    losses[0, 0], losses[0, 1] = np.nan, np.inf
    for draw in (plots.contour, plots.perspective):
        draw({"one": losses, "other": losses + 1}, landscape.axis(5)).canvas.draw()
        draw({"flat": np.ones((5, 5))}, landscape.axis(5)).canvas.draw()


def test_parameters_in_a_list_have_directions():
    params = {"kernel": jnp.ones((3, 4)), "more": [jnp.ones((2, 2)), jnp.ones(5)]}
    first, second = jit_once(landscape.directions)(params, jax.random.key(0))
    assert jax.tree.structure(first) == jax.tree.structure(params)
    assert landscape.list_moved(first) == landscape.list_moved(second) == ["kernel"]

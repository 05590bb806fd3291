"""The loss around trained weights along two random directions (Fig. 5; Li et al. 2018).

A direction is Gaussian, and each of its filters is scaled to the norm of the same filter of the
weights. A filter is the slice of a kernel that leads to one output channel (its last axis). Norms,
biases and PIT's scale `a` do not move unless `treatment` moves them; running statistics never do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key

from pit_jax.checks.bounds import POSITIVE, set_bounds, whole
from pit_jax.old_names import serve_old_names
from pit_jax.tuning import compiler_options

# Points per device and call: few, so that progress is visible and a stopped run loses little.
POINTS = 8

Shaped = Callable[[Array, Array], Array]
Treatment = Callable[[tuple[str, ...], Array], Shaped]


def filterwise(direction: Float[Array, "..."], weights: Float[Array, "..."]) -> Array:
    """Return `direction` with each filter (last axis) scaled to its norm in `weights`."""
    axes = tuple(range(weights.ndim - 1))
    length = jnp.sqrt(jnp.sum(jnp.square(direction), axes))
    # The constant of Li et al.'s program, against division by 0.
    return direction * (jnp.sqrt(jnp.sum(jnp.square(weights), axes)) / (length + 1e-10))


def keep_still(direction: Float[Array, "..."], weights: Float[Array, "..."]) -> Array:
    """Return zeros: these parameters do not move."""
    return jnp.zeros_like(weights)


def follow_weights(direction: Float[Array, "..."], weights: Float[Array, "..."]) -> Array:
    """Return the weights, as Li et al. do where biases and norms move."""
    return weights


def kernels_move(path: tuple[str, ...], leaf: Array) -> Shaped:
    """Move the kernels of convolutions and linear layers, and nothing else."""
    return filterwise if path[-1] == "kernel" else keep_still


def directions(
    params: Mapping[str, Any], key: Key[Array, ""], *, treatment: Treatment = kernels_move
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two random directions, each a tree like `params`.

    `treatment(path, leaf)` returns for each parameter the function that turns Gaussian numbers and
    weights into its part of a direction: `filterwise`, `keep_still`, `follow_weights`, or your own.
    """
    leaves, form = jax.tree.flatten_with_path(params)
    named = [(_read_path(path), jnp.asarray(leaf)) for path, leaf in leaves]

    def draw(key: Array) -> dict[str, Any]:
        made: dict[int, Array] = {}
        # Keys follow the sorted paths, so that the order of the tree does not change a direction.
        order = sorted(range(len(named)), key=lambda place: named[place][0])
        for i, place in enumerate(order):
            path, leaf = named[place]
            gaussian = jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
            made[place] = treatment(path, leaf)(gaussian, leaf)
        whole: dict[str, Any] = jax.tree.unflatten(form, [made[i] for i in range(len(named))])
        return whole

    first, second = jax.random.split(key)
    return draw(first), draw(second)


def list_moved(direction: Mapping[str, Any]) -> list[str]:
    """Return the paths of the parameters that a direction moves."""
    leaves = jax.tree.leaves_with_path(direction)
    return ["/".join(_read_path(path)) for path, leaf in leaves if leaf.any()]


def _read_path(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


@set_bounds(side=whole(3), reach=POSITIVE)
def axis(side: int = 51, reach: float = 1.0) -> np.ndarray:
    """Return `side` numbers from -reach to reach, exactly 0 in the middle.

    Raises ValueError unless `side` is odd.
    """
    if side % 2 == 0:
        raise ValueError(f"side must be an odd number of at least 3, got {side}.")
    half = side // 2
    # Not linspace, whose middle can differ from 0 in the last bit.
    return np.arange(-half, half + 1) / half * reach


def grid(axis: np.ndarray) -> np.ndarray:
    """Return all points of the square, `[side * side, 2]`; the second coordinate varies fastest."""
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def point_losses(
    loss: Callable[..., Array],
    mesh: Mesh,
    params: Mapping[str, Any],
    directions: tuple[Mapping[str, Any], Mapping[str, Any]],
    *rest: Any,
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from points `[N, 2]` to `loss(params + x * first + y * second, *rest)`.

    The points are divided among the devices of `mesh`, and each device computes one point at a
    time, so that the number of devices does not change the losses. N is at most `POINTS` for each
    device, otherwise the function raises ValueError; fewer points are padded, so that it compiles
    once.
    """
    everywhere, divided = PartitionSpec(), PartitionSpec(mesh.axis_names)

    def losses(points: Array, params: Any, first: Any, second: Any, rest: Any) -> Array:
        def at(point: Array) -> Array:
            x, y = point
            # The points are float64 in x64 mode and must not promote float32 parameters.
            moved = jax.tree.map(
                lambda w, d, e: w + x.astype(w.dtype) * d + y.astype(w.dtype) * e,
                params,
                first,
                second,
            )
            return loss(moved, *rest)

        # Not vmap, whose batch size could change the order of sums, and so the digits of a loss.
        return jax.lax.map(at, points)

    at_once = jax.jit(
        jax.shard_map(
            losses,
            mesh=mesh,
            in_specs=(divided, *4 * (everywhere,)),
            out_specs=divided,
            check_vma=False,  # No device reads values of another.
        ),
        compiler_options=compiler_options("evaluate"),
    )
    whole = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, everywhere))
    # Copied to all devices once, not for every call.
    given = whole((params, *directions, rest))
    size = POINTS * mesh.size

    def evaluate(points: np.ndarray) -> np.ndarray:
        if len(points) > size:
            raise ValueError(f"at most {size} points can be evaluated at once, got {len(points)}.")
        # Padded with the center, whose losses are cut off again.
        filled = np.zeros((size, 2))
        filled[: len(points)] = points
        return np.asarray(whole(at_once(filled, *given)))[: len(points)]

    return evaluate


def evaluate_by_block(
    evaluate: Callable[[np.ndarray], np.ndarray],
    points: np.ndarray,
    size: int,
    known: Sequence[float] = (),
) -> Iterator[np.ndarray]:
    """Yield the losses of the first points, `size` more each time, after the `known` ones."""
    found = np.asarray(known)
    for start in range(len(known), len(points), size):
        found = np.concatenate([found, evaluate(points[start : start + size])])
        yield found


serve_old_names(__name__)

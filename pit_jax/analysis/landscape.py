"""The loss around trained weights, along two random directions (Fig. 5; Li et al. 2018).

A direction is Gaussian, and each filter of it as long as the weights' own: a filter is what leads
to one channel, the last axis of a kernel. Norm, biases and PIT's scale `a` stay as they are unless
`treatment` says otherwise; what is no parameter, such as running statistics, always does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key

from pit_jax.old_names import serve_old_names

# Points on each device at once: few, so that who waits sees something and little is lost.
POINTS = 8

Shaped = Callable[[Array, Array], Array]
Treatment = Callable[[tuple[str, ...], Array], Shaped]


def filterwise(direction: Float[Array, "..."], weights: Float[Array, "..."]) -> Array:
    """`direction` with each filter, along the last axis, as long as that of `weights`."""
    axes = tuple(range(weights.ndim - 1))
    own = jnp.sqrt(jnp.sum(jnp.square(direction), axes))
    return direction * (jnp.sqrt(jnp.sum(jnp.square(weights), axes)) / (own + 1e-10))


def keep_still(direction: Float[Array, "..."], weights: Float[Array, "..."]) -> Array:
    """No direction: these parameters stay."""
    return jnp.zeros_like(weights)


def follow_weights(direction: Float[Array, "..."], weights: Float[Array, "..."]) -> Array:
    """The weights themselves, as Li et al. have it where they move biases and norms."""
    return weights


def kernels_move(path: tuple[str, ...], leaf: Array) -> Shaped:
    """The weights of convolutions and linear layers move, all others stay."""
    return filterwise if path[-1] == "kernel" else keep_still


def directions(
    params: Mapping[str, Any], key: Key[Array, ""], *, treatment: Treatment = kernels_move
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two random directions, each a tree as `params`.

    `treatment(path, leaf)` gives for each parameter the function of Gaussian numbers and weights
    that makes its part: `filterwise`, `keep_still`, `follow_weights`, or one of your own.
    """
    leaves, form = jax.tree.flatten_with_path(params)
    named = [(_read_path(path), jnp.asarray(leaf)) for path, leaf in leaves]

    def direction(key: Array) -> dict[str, Any]:
        made: dict[int, Array] = {}
        order = sorted(range(len(named)), key=lambda place: named[place][0])
        for i, place in enumerate(order):
            path, leaf = named[place]
            gaussian = jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
            made[place] = treatment(path, leaf)(gaussian, leaf)
        whole: dict[str, Any] = jax.tree.unflatten(form, [made[i] for i in range(len(named))])
        return whole

    first, second = jax.random.split(key)
    return direction(first), direction(second)


def list_moved(direction: Mapping[str, Any]) -> list[str]:
    """Return the paths of the parameters that a direction moves."""
    leaves = jax.tree.leaves_with_path(direction)
    return ["/".join(_read_path(path)) for path, leaf in leaves if leaf.any()]


def _read_path(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def axis(side: int = 51, reach: float = 1.0) -> np.ndarray:
    """`side` numbers from -reach to reach, exactly 0 in the middle.

    Raises ValueError unless `side` is odd.
    """
    if side < 3 or side % 2 == 0:
        raise ValueError(f"a side has an odd number of points, at least 3, got {side}.")
    half = side // 2
    return np.arange(-half, half + 1) / half * reach


def grid(axis: np.ndarray) -> np.ndarray:
    """All points of the square, `[side * side, 2]`; the second number runs first."""
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def point_losses(
    loss: Callable[..., Array],
    mesh: Mesh,
    params: Mapping[str, Any],
    directions: tuple[Mapping[str, Any], Mapping[str, Any]],
    *rest: Any,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of points `[N, 2]` that gives `loss(params + x * first + y * second, *rest)`.

    The devices of `mesh` divide the points among them, and each goes through its own one by one,
    so that the numbers are the same on any number. It compiles once: N is always filled up to
    `POINTS` for each device, and more are refused with a ValueError.
    """
    everywhere, divided = PartitionSpec(), PartitionSpec(mesh.axis_names)

    def losses(points: Array, params: Any, first: Any, second: Any, rest: Any) -> Array:
        def at(point: Array) -> Array:
            x, y = point
            # In the dtype of each parameter, whatever that of the points is.
            moved = jax.tree.map(
                lambda w, d, e: w + x.astype(w.dtype) * d + y.astype(w.dtype) * e,
                params,
                first,
                second,
            )
            return loss(moved, *rest)

        return jax.lax.map(at, points)

    at_once = jax.jit(
        jax.shard_map(
            losses,
            mesh=mesh,
            in_specs=(divided, *4 * (everywhere,)),
            out_specs=divided,
            check_vma=False,  # The devices have nothing to do with one another.
        )
    )
    whole = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, everywhere))
    given = whole((params, *directions, rest))
    size = POINTS * mesh.size

    def evaluate(points: np.ndarray) -> np.ndarray:
        if len(points) > size:
            raise ValueError(f"at most {size} points at once, got {len(points)}.")
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
    """The losses of the first points, `size` more of them each time, behind the `known` ones."""
    found = np.asarray(known)
    for start in range(len(known), len(points), size):
        found = np.concatenate([found, evaluate(points[start : start + size])])
        yield found


serve_old_names(__name__)

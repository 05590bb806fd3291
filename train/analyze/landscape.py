"""The loss around the weights of a run, on training samples in evaluation mode (Fig. 5)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from pit_jax.analysis import landscape
from pit_jax.analysis.plots import landscape as plots

from ..config.own import shorten_name
from ..errors import UserError
from ..files import hash_chunks, write_atomically
from ..program import build
from ..program.optim import read_name
from ..program.step import promote_to_float32
from ..run.reading import read_json
from .subject import Analysis, Plot, Subject, Table

# One seed for all runs: networks of equal shapes get the same Gaussian numbers.
SAMPLES, SIDE, REACH, SEED = 512, 51, 1.0, 123
# The losses computed so far, in the folder of the results.
SO_FAR = "points.json"
TITLE = "Loss landscape"
NO_KERNEL = "has no parameter named kernel, and only kernels move."


@dataclass(frozen=True)
class Surface:
    """The losses `[side, side]` of a run at all pairs of `axis`, on `samples` training samples."""

    name: str
    axis: np.ndarray
    losses: np.ndarray
    samples: int
    kernels: int

    def __str__(self) -> str:
        """Return a sentence about the losses."""
        side, finite = len(self.axis), self.losses[np.isfinite(self.losses)]
        text = (
            f"{self.name}: {self.losses[side // 2, side // 2]:.4g} at the weights; over {side} x "
            f"{side} points mean {finite.mean():.4g}, least {finite.min():.4g}, most "
            f"{finite.max():.4g}"
        )
        lost = self.losses.size - finite.size
        return f"{text}; not finite at {lost}, drawn as the most." if lost else f"{text}."


def analyze(subject: Subject, *, side: int = SIDE) -> Analysis:
    """Return the surface over a square of `side` times `side` points."""
    if not _has_kernels(subject):
        return Analysis(TITLE, [f"{shorten_name(subject.config.model.name)} {NO_KERNEL}"])
    return _make_analysis([measure_surface(subject, side)])


def compare(runs: Sequence[Subject], *, side: int = SIDE) -> Analysis:
    """Return the surfaces of several runs side by side, with the same levels."""
    found = [run for run in runs if _has_kernels(run)]
    if not found:
        return Analysis(TITLE, [f"Each of these networks {NO_KERNEL}"])
    return _make_analysis([measure_surface(run, side) for run in found])


def _has_kernels(subject: Subject) -> bool:
    paths = [path for path, _ in jax.tree.leaves_with_path(subject.variables["params"])]
    return any(read_name(path[-1:]) == "kernel" for path in paths)


def measure_surface(subject: Subject, side: int) -> Surface:
    """Return the losses of a run; those computed earlier are read from its folder of results."""
    images, labels = subject.samples("train", SAMPLES)
    params = subject.variables["params"]
    stats = subject.variables.get("batch_stats", {})
    directions = landscape.directions(params, jax.random.key(SEED))
    loss = build.make_loss(subject.config)

    def compute_loss(params: Any, stats: Any, images: Array, labels: Array) -> Array:
        logits: Any = subject.model.apply({"params": params, "batch_stats": stats}, images)
        return loss(promote_to_float32(logits), labels)

    mesh: Any = subject.over_batch.mesh
    axis = landscape.axis(side, REACH)
    evaluate = landscape.point_losses(compute_loss, mesh, params, directions, stats, images, labels)
    # Earlier losses are only used if everything that determines them is the same.
    of = {
        "inputs": _hash((subject.variables, directions, images, labels)),
        "loss": subject.config.loss.to_dict(),
        "points": [side, REACH],
        "made with": [jax.__version__, jax.devices()[0].device_kind],
    }
    subject.out.mkdir(parents=True, exist_ok=True)
    file, size = subject.out / SO_FAR, landscape.POINTS * mesh.size
    losses = _evaluate_points(file, of, evaluate, landscape.grid(axis), size)
    kernels = len(landscape.list_moved(directions[0]))
    return Surface(subject.name, axis, losses.reshape(side, side), len(labels), kernels)


def _evaluate_points(
    file: Path, of: Mapping[str, Any], evaluate: Any, points: np.ndarray, size: int
) -> np.ndarray:
    """Return the losses at all points, and write them to `file` after each block.

    Losses that `file` has of the same surface are not computed again.
    """
    saved = read_json(file, dict) or {}
    known = saved.get("losses", []) if saved.get("of") == of else []
    losses = np.array(known)
    columns = ("landscape", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=len(points), completed=len(known))
        for losses in landscape.evaluate_by_block(evaluate, points, size, known):
            write_atomically(file, json.dumps({"of": of, "losses": losses.tolist()}))
            bar.update(task, completed=len(losses))
    # A figure needs at least one finite loss for its range.
    if not np.isfinite(losses).any():
        raise UserError("the loss is not finite at any point, so there is no surface to draw.")
    return losses


def _hash(tree: Any) -> str:
    """Return a hash of the values of all arrays and of their paths in the tree."""
    return hash_chunks(
        chunk
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
        for chunk in (
            f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode(),
            np.ascontiguousarray(leaf).tobytes(),
        )
    )


def _make_analysis(surfaces: Sequence[Surface]) -> Analysis:
    first = surfaces[0]
    how = (
        f"Loss on n = {first.samples} training images, in evaluation mode and without "
        "augmentation, at the weights plus x and y times two random directions: Gaussian, seed "
        f"{SEED}, each filter scaled to the norm of the weights' (Li et al. 2018). They move the "
        f"{first.kernels} kernels; PIT's scale a, norms, biases and running statistics do not move."
    )
    remarks = [how, *map(str, surfaces)]
    drawn = {f"{each.name}, n = {each.samples}": each.losses for each in surfaces}
    rows = [
        (each.name, float(x), float(y), float(z))
        for each in surfaces
        for (x, y), z in zip(landscape.grid(each.axis), each.losses.flat, strict=True)
    ]
    caption = " ".join(remarks)
    return Analysis(
        title=TITLE,
        remarks=remarks,
        tables={"losses": Table(("run", "x", "y", "loss"), rows)},
        figures={
            "contour": Plot(partial(plots.contour, drawn, first.axis), caption),
            "perspective": Plot(partial(plots.perspective, drawn, first.axis), caption),
        },
    )

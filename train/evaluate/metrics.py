"""The metrics of an evaluation, in addition to loss and accuracy: sums over a batch, measures."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ..program.state import Metrics
from ..program.step import is_correct

BINS = 15
CALIBRATION = (
    f"Expected calibration error: the images are in {BINS} equal bins (l, u] of confidence, the "
    "largest softmax of the logits' mean over time; the absolute difference between a bin's "
    "accuracy and its mean confidence, averaged over the bins with their shares of the images as "
    "weights (Guo et al. 2017)."
)


def count_answers(
    scores: Float[Array, "B K"], labels: Int[Array, " B"], weight: Float[Array, " B"]
) -> Metrics:
    """Return weighted sums over a batch: `top5`, `nll`, `confusion` and three of `bins/`.

    `confusion` `[K, K]` has a row for each label and a column for each answer. A label is among the
    first five when at most four logits are larger; NaN counts as larger.
    """
    classes = scores.shape[-1]
    label = jax.nn.one_hot(labels, classes)
    # Neither top_k nor a gather: over a divided batch both would bring it together first.
    own = jnp.where(label > 0, scores, 0).sum(axis=-1, keepdims=True)
    not_larger = (scores <= own).sum(axis=-1)
    confidence = jax.nn.softmax(scores).max(axis=-1)
    place = jnp.clip(jnp.ceil(confidence * BINS) - 1, 0, BINS - 1)
    bins = jax.nn.one_hot(place.astype(int), BINS) * weight[:, None]
    answer = jax.nn.one_hot(scores.argmax(axis=-1), classes)
    return {
        "top5": ((not_larger > classes - 5) * weight).sum(),
        "nll": (optax.softmax_cross_entropy(scores, label) * weight).sum(),
        "confusion": jnp.einsum("bi,bj->ij", label * weight[:, None], answer),
        "bins/images": bins.sum(axis=0),
        "bins/confidence": (confidence[:, None] * bins).sum(axis=0),
        "bins/correct": (is_correct(scores[:, None], labels)[:, None] * bins).sum(axis=0),
    }


def summarize(totals: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the measures of a split, from the sums of `count_answers`, as JSON values.

    A class without images has the accuracy None, and so has a bin.
    """
    confusion = totals["confusion"].astype(int)
    size = np.float64(confusion.sum())
    in_bin, confidence, right = (
        totals[f"bins/{name}"].astype(float) for name in ("images", "confidence", "correct")
    )
    edges = np.linspace(0, 1, BINS + 1)
    return {
        "top5_accuracy": float(totals["top5"] / size),
        "negative_log_likelihood": float(totals["nll"] / size),
        "calibration": {
            "error": float(np.abs(right - confidence).sum() / size),
            "definition": CALIBRATION,
            "bins": [
                {
                    "above": float(edges[i]),
                    "up_to": float(edges[i + 1]),
                    "images": int(in_bin[i]),
                    "confidence": _divide(confidence[i], in_bin[i]),
                    "accuracy": _divide(right[i], in_bin[i]),
                }
                for i in range(BINS)
            ],
        },
        "accuracy_of_class": [
            _divide(row[label], row.sum()) for label, row in enumerate(confusion)
        ],
        "confusion": confusion.tolist(),
    }


def _divide(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None

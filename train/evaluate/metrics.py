"""The metrics of an evaluation in addition to loss and accuracy: sums over batches, measures."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ..program.state import Metrics
from ..program.step import is_correct

# The number of bins of Guo et al. 2017.
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
    """Return weighted sums over a batch: `top5`, `nll`, `confusion` and three named `bins/`.

    `confusion`, `[K, K]`, has a row for each label and a column for each answer. A label is among
    the first five if at most four logits are larger; NaN counts as larger.
    """
    classes = scores.shape[-1]
    label = jax.nn.one_hot(labels, classes)
    # Neither top_k nor a gather: with a sharded batch XLA would first gather it on every device.
    own = jnp.where(label > 0, scores, 0).sum(axis=-1, keepdims=True)
    # The label is among the first five if at least classes - 4 logits, its own included, are not
    # larger. A comparison with NaN is false, so NaN counts as larger.
    not_larger = (scores <= own).sum(axis=-1)
    confidence = jax.nn.softmax(scores).max(axis=-1)
    # The bins are (l, u], so a confidence on an edge belongs to the lower bin: ceil, not floor.
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
    """Return the measures of a split as JSON values, from the sums of `count_answers`.

    The accuracy of a class or a bin without images is None. Of fewer than six classes, every label
    is among the first five, so there is no `top5_accuracy`.
    """
    confusion = totals["confusion"].astype(int)
    size = np.float64(confusion.sum())
    in_bin, confidence, right = (
        totals[f"bins/{name}"].astype(float) for name in ("images", "confidence", "correct")
    )
    edges = np.linspace(0, 1, BINS + 1)
    top5 = {"top5_accuracy": float(totals["top5"] / size)} if len(confusion) > 5 else {}
    return {
        **top5,
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

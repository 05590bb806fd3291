"""Entropy and divergence of counted outcomes, in bits, as they are in the sample itself."""

import math

import numpy as np
from jaxtyping import Float, Real
from scipy.special import entr, rel_entr

BIT = math.log(2)


def entropy(counts: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N"]:
    """-Σ p log2 p of the shares p of K outcomes.

    Of n independent draws it is too small, by (K - 1) / (2 n ln 2) bits in the first order.
    """
    return np.asarray(np.sum(entr(shares(counts)), -1) / BIT)


def miller_madow(counts: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N"]:
    """`entropy` with (seen - 1) / (2 n ln 2) added, where `seen` is how many outcomes occur.

    That is right for n independent draws and too little for those of the neurons of one sample.
    """
    seen = np.sum(counts > 0, -1)
    return np.asarray(entropy(counts) + (seen - 1) / (2 * np.sum(counts, -1) * BIT))


def divergence(p: Real[np.ndarray, "*N K"], q: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N"]:
    """Σ p log2(p / q), Kullback-Leibler; infinite if an outcome of the first never occurs in q."""
    return np.asarray(np.sum(rel_entr(shares(p), shares(q)), -1) / BIT)


def shares(counts: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N K"]:
    """Counts over their sum; raises ValueError unless they are finite, at least 0, not all 0."""
    total = np.sum(counts, -1, keepdims=True)
    if not (np.all(counts >= 0) and np.all(np.isfinite(total)) and np.all(total > 0)):
        raise ValueError(
            "counts must be finite, at least 0 and not all 0, got "
            f"{np.min(counts)} ... {np.max(counts)} with sums from {np.min(total)}."
        )
    return counts / total

"""Plug-in estimates of entropy and divergence, in bits, from counts of outcomes."""

import math

import numpy as np
from jaxtyping import Float, Real
from scipy.special import entr, rel_entr

BIT = math.log(2)


def entropy(counts: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N"]:
    """Return -Σ p log2 p for the shares p of K outcomes.

    The expectation over n independent draws is too small, to first order in 1/n by
    (K - 1) / (2 n ln 2) bits, where K counts the outcomes with p > 0.
    """
    return np.asarray(np.sum(entr(shares(counts)), -1) / BIT)


def miller_madow(counts: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N"]:
    """Return `entropy` plus (K - 1) / (2 n ln 2), the correction of Miller and Madow.

    K is the number of outcomes that occur. The correction assumes n independent draws; for the
    neurons of one sample, which depend on each other, it is too small.
    """
    occurring = np.sum(counts > 0, -1)
    return np.asarray(entropy(counts) + (occurring - 1) / (2 * np.sum(counts, -1) * BIT))


def divergence(p: Real[np.ndarray, "*N K"], q: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N"]:
    """Return Σ p log2(p / q) (Kullback-Leibler); it is infinite if q is 0 where p is not."""
    return np.asarray(np.sum(rel_entr(shares(p), shares(q)), -1) / BIT)


def shares(counts: Real[np.ndarray, "*N K"]) -> Float[np.ndarray, "*N K"]:
    """Return counts over their sum; raise ValueError unless finite, at least 0 and not all 0."""
    total = np.sum(counts, -1, keepdims=True)
    if not (np.all(counts >= 0) and np.all(np.isfinite(total)) and np.all(total > 0)):
        raise ValueError(
            "counts must be finite, at least 0 and not all 0, got "
            f"{np.min(counts)} ... {np.max(counts)} with sums from {np.min(total)}."
        )
    return counts / total

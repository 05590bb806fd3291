"""What corrections of an entropy leave of its bias where neurons depend on one another.

python -m docs.information prints the table of docs/information.md.
"""

import numpy as np
from scipy import stats

from pit_jax.analysis.entropy import entropy, miller_madow
from pit_jax.analysis.jackknife import jackknife

REPETITIONS, NEURONS, LEVELS, A, COMMON = 1000, 20, 4, 0.75, 0.9
SIZES = ((32, 32), (64, 64), (256, 64))


def main() -> None:
    """One line for each number of images and groups."""
    rng = np.random.default_rng(0)
    boundaries = A * (np.arange(1, LEVELS + 1) - 0.5)
    truth = entropy(np.diff(stats.norm.cdf(boundaries), prepend=0, append=1))
    print(f"true entropy {truth:.4f} bits")
    for images, groups in SIZES:
        counts = fired(rng, images).reshape(groups, -1, REPETITIONS, LEVELS + 1).sum(1)
        found = jackknife(entropy, counts, np.full(groups, images // groups))
        plain, corrected = entropy(counts.sum(0)).mean(), miller_madow(counts.sum(0)).mean()
        left, error = found.value.mean() - truth, found.value.std() / REPETITIONS**0.5
        inside = np.mean((found.low <= truth) & (truth <= found.high))
        print(
            f"{images} x {NEURONS}, {groups} groups: plain {plain - truth:+.4f}, Miller-Madow "
            f"{corrected - truth:+.4f}, jackknife {left:+.4f} +- {error:.4f}, inside "
            f"{inside:.1%}"
        )


def fired(rng: np.random.Generator, images: int) -> np.ndarray:
    """How often each integer is fired, `[images, REPETITIONS, LEVELS + 1]`."""
    common = rng.normal(size=(images, REPETITIONS, 1))
    own = rng.normal(size=(images, REPETITIONS, NEURONS))
    u = COMMON**0.5 * common + (1 - COMMON) ** 0.5 * own
    k = np.clip(np.floor(u / A + 0.5), 0, LEVELS)
    return np.stack([(k == level).sum(-1) for level in range(LEVELS + 1)], -1)


if __name__ == "__main__":
    main()

"""Trained networks that the library ships, to try everything in the first minute.

run = digits()
images, labels = run.images()
run.predict(images)

`stored.py` reads and writes them: arrays as .npz, everything else in a .json next to them. Each
.json has the config, the seed, the commit and the command of the training, and the hashes of the
files.
"""

from pit_jax.examples.stored import read_run
from pit_jax.run import Run


def digits() -> Run:
    """Return a network trained on scikit-learn's 8x8 digits, with all images.

    It is a `resnet8` with PIT neurons, T=1 and D=4. `images("test")` returns 360 images and
    `images("train")` 1,437; neither needs scikit-learn. In a clone, `examples/digits/make.py`
    writes the network again from a new run.
    """
    return read_run("digits")


__all__ = ["digits"]

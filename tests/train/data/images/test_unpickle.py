import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from train.data.images.unpickle import load_arrays

# NumPy unpickles foreign byte orders as native ones, so only native ones are drawn.
NUMBERS = (
    hnp.integer_dtypes(endianness="=")
    | hnp.unsigned_integer_dtypes(endianness="=")
    | hnp.floating_dtypes(endianness="=")
)


@given(array=hnp.arrays(NUMBERS, hnp.array_shapes(min_side=1, max_side=4)))
def test_arrays_of_numbers_are_loaded_exactly(array):
    read = load_arrays(pickle.dumps({b"data": [array, 1, None]}, protocol=2))[b"data"][0]
    assert read.dtype == array.dtype and read.shape == array.shape
    assert read.tobytes() == array.tobytes()


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_pickles_of_old_and_new_numpy_are_loaded(module):
    pickled = pickle.dumps(np.arange(6, dtype=np.uint8).reshape(2, 3), protocol=2)
    old = pickled.replace(b"numpy._core.multiarray", module)
    assert load_arrays(old).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "codecs.open"],
)
def test_other_globals_are_refused_by_name(name):
    module, attribute = name.rsplit(".", 1)
    with pytest.raises(pickle.UnpicklingError, match=f"refused to load the global {name};"):
        load_arrays(f"c{module}\n{attribute}\n.".encode())


def test_objects_are_refused_in_every_protocol():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(pickle.UnpicklingError, match="refused to load the global"):
            load_arrays(pickle.dumps([Fraction(1, 3)], protocol=protocol))


def test_a_pickle_truncated_at_any_byte_is_refused():
    pickled = pickle.dumps({b"data": np.arange(5), b"labels": [1, 2]}, protocol=2)
    for end in range(len(pickled)):
        with pytest.raises(pickle.UnpicklingError):
            load_arrays(pickled[:end])

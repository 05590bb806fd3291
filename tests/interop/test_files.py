"""Files of torch.save and safetensors are read bit for bit; no code in them is executed."""

import io
import os
import struct
import zipfile
from argparse import Namespace

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from pit_jax.interop import CheckpointError, load
from tests.interop.torch_bytes import (
    FORMATS,
    STORAGES,
    Fake,
    call,
    emit,
    end_pickle,
    tensor,
    tensors,
    zip_file,
)

ARRAYS = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn1.weight": np.float32([0.5, -0.25]),
    "bn1.num_batches_tracked": np.array(7),
}


@pytest.fixture(params=FORMATS)
def write_file(request, tmp_path):
    """Return a function that writes a value in one of the formats and returns the path."""

    def write(value, pickled=None):
        path = tmp_path / "checkpoint.pth"
        path.write_bytes(FORMATS[request.param](value, pickled))
        return path

    return write


def assert_same_arrays(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_state_dict_is_read_bit_by_bit(write_file):
    assert_same_arrays(load(write_file(tensors(ARRAYS))), ARRAYS)


@pytest.mark.parametrize("dtype", STORAGES)
def test_every_dtype_is_read(write_file, dtype):
    array = np.array([0, 1, 2, 3, 100]).astype(jnp.dtype(dtype))
    assert_same_arrays(load(write_file({"x": tensor(array, "0")})), {"x": array})


def test_strides_and_offsets_are_honored_in_a_shared_storage(write_file):
    memory = np.arange(12, dtype=np.float32)
    value = {
        "transposed": Fake(memory, "0", (4, 3), (1, 4)),
        "every second": Fake(memory, "0", (2, 2), (4, 2), offset=5),
        "the same twice": Fake(memory, "0", (2, 3), (0, 1), offset=9),
        "scalar": Fake(memory, "0", (), (), offset=11),
        "empty": Fake(memory, "0", (0, 3), (3, 1), offset=12),
        "parameter": Fake(memory, "0", (2,), (1,), parameter=True),
    }
    grid = memory.reshape(3, 4)
    expected = {
        "transposed": grid.T,
        "every second": np.float32([[5, 7], [9, 11]]),
        "the same twice": np.float32([[9, 10, 11]] * 2),
        "scalar": np.float32(11),
        "empty": np.empty((0, 3), np.float32),
        "parameter": np.float32([0, 1]),
    }
    assert_same_arrays(
        load(write_file(value)), {name: np.asarray(array) for name, array in expected.items()}
    )


def test_the_only_state_dict_of_a_checkpoint_is_found(write_file):
    moments = {"state": {0: {"momentum": tensor(np.ones(3), "9")}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {
        "net": tensors(ARRAYS),
        "optimizer": moments,
        "epoch": 3,
        "args": Namespace(lr=0.1, steps=[1, 2], name=None, amp=True),
    }
    assert_same_arrays(load(write_file(checkpoint)), ARRAYS)


def test_entry_selects_one_of_several_state_dicts(write_file):
    average = {"conv1.weight": tensor(np.float32([1]), "average")}
    path = write_file({"state_dict": tensors(ARRAYS), "state_dict_ema": average})
    with pytest.raises(CheckpointError, match="2 entries hold.*state_dict, state_dict_ema.*entry="):
        load(path)
    assert load(path, entry="state_dict_ema").keys() == {"conv1.weight"}
    with pytest.raises(CheckpointError, match="not a state_dict under 'model'"):
        load(path, entry="model")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(write_file, prefix):
    wrapped = {prefix + name: array for name, array in ARRAYS.items()}
    assert_same_arrays(load(write_file(tensors(wrapped))), ARRAYS)


def test_a_prefix_of_only_some_names_is_kept(write_file):
    arrays = {"module.weight": np.ones(2), "weight": np.ones(2)}
    assert_same_arrays(load(write_file(tensors(arrays))), arrays)


@pytest.mark.parametrize(
    "value, held",
    [({"epoch": 3, "lr": 0.1}, "a dictionary with epoch, lr"), ([1, 2], "list"), ({}, "dict")],
)
def test_the_error_for_a_file_without_state_dict_lists_its_contents(write_file, value, held):
    with pytest.raises(CheckpointError, match=f"holds {held}, but not a state_dict"):
        load(write_file(value))


MALICIOUS = {
    "os.system": lambda place: call("os", "system", f"touch {place}"),
    "builtins.eval": lambda place: call("builtins", "eval", f"open({str(place)!r}, 'w')"),
    "builtins.getattr": lambda place: call("builtins", "getattr", "", "join"),
    "torch.hub.load": lambda place: call("torch.hub", "load", str(place)),
    "torch.load": lambda place: call("torch", "load", str(place)),
    "models.Net": lambda place: b"cmodels\nNet\n)\x81}(X\x01\x00\x00\x00aI1\nub",
    "pickle.loads": lambda place: b"\x8c\x06pickle\x8c\x05loads\x93(C\x01.tR",
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_globals_that_could_run_code_are_refused_by_name_and_not_run(write_file, tmp_path, name):
    place = tmp_path / "ran"
    path = write_file({}, end_pickle(MALICIOUS[name](place)))
    with pytest.raises(CheckpointError, match=f"holds {name}, which is refused"):
        load(path)
    assert not place.exists()


def test_a_pickle_cannot_modify_the_substitutes_of_the_next_one(write_file):
    # The instruction b sets attributes, here of OrderedDict and of the function that rebuilds.
    state = b"}(X\x0c\x00\x00\x00__setstate__I1\nu"
    for target in (b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"):
        with pytest.raises(CheckpointError):
            load(write_file({}, end_pickle(target + state + b"b")))
    assert_same_arrays(load(write_file(tensors(ARRAYS))), ARRAYS)


@pytest.mark.parametrize(
    "shape, strides, offset",
    [((3,), (1,), 1), ((2, 2), (2, 1), 0), ((2,), (-1,), 1), ((1,), (1,), -1), ((2**40,), (1,), 0)],
)
def test_a_tensor_outside_its_storage_is_refused(write_file, shape, strides, offset):
    window = Fake(np.zeros(3), "0", shape, strides, offset)
    with pytest.raises(CheckpointError, match="exceeds its storage of 3 values"):
        load(write_file({"x": window}))


def test_a_storage_of_another_size_is_refused(write_file):
    value = {"x": Fake(np.zeros(3, np.float32), "0", (2,), (1,))}
    pickled = end_pickle(emit(value))
    assert pickled.count(b"I3\n") == 1  # The number of values in the storage.
    path = write_file(value, pickled.replace(b"I3\n", b"I4\n"))
    with pytest.raises(CheckpointError, match="should have 16 bytes, but has 12"):
        load(path)


def test_tensors_with_a_sign_of_their_own_are_refused(write_file):
    # x.conj() and its imaginary part have the storage of x and a bit in the pickle.
    storage = b"ctorch\nFloatStorage\n"
    pid = emit(("storage", storage, "0", "cpu", 2)) + b"Q"
    hooks = call("collections", "OrderedDict")
    for bits, is_read in ((b"}", True), (emit({"neg": True}), False), (emit({"conj": 1}), False)):
        window = (pid, 0, (2,), (1,), False, hooks, bits)
        made = emit({"x": call("torch._utils", "_rebuild_tensor_v2", *window)})
        stored = {"x": tensor(np.float32([1, 2]), "0")}
        path = write_file(stored, end_pickle(made))
        if is_read:
            np.testing.assert_array_equal(load(path)["x"], [1, 2])
            continue
        with pytest.raises(CheckpointError, match=r"_rebuild_tensor_v2 with (neg|conj)"):
            load(path)


@pytest.mark.parametrize("name", ["pipe", "device"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path) if name == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=f"{name} is a device or a pipe. Copy what it holds"):
        load(path)


def test_records_are_checked_whether_they_are_compressed_or_not(tmp_path):
    content = zip_file(tensors(ARRAYS))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = tmp_path / "archive.pth"
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w", method) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        assert_same_arrays(load(path), ARRAYS)
        with zipfile.ZipFile(path) as archive:
            record = archive.getinfo("archive/data/0")
        damaged = bytearray(path.read_bytes())
        damaged[record.header_offset + 30 + len(record.filename) + 8] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="conv1.weight: archive/data/0 is not a whole"):
            load(path)


def test_a_truncated_file_is_refused(write_file):
    path = write_file(tensors(ARRAYS))
    content = path.read_bytes()
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match="checkpoint.pth(: | is not a whole)"):
            load(path)


def test_damaged_bytes_load_as_arrays_or_raise_checkpoint_error(write_file):
    path = write_file(tensors(ARRAYS))
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(len(content), size=3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert all(isinstance(array, np.ndarray) for array in load(path).values())
        except CheckpointError:
            pass


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b" + bytes(40), struct.pack("<d", 1)])
def test_other_file_formats_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="must be a file of torch.save or a .safetensors"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file .*nothing.pth"):
        load(tmp_path / "nothing.pth")


def test_safetensors_are_read_under_any_suffix_with_bfloat16(tmp_path):
    arrays = ARRAYS | {"half": np.arange(4).astype(jnp.bfloat16)}
    path = tmp_path / "weights.bin"
    save_file({f"module.{name}": array for name, array in arrays.items()}, path)
    found = load(path)
    assert_same_arrays({name: found[name] for name in arrays}, arrays)
    with pytest.raises(CheckpointError, match="has no entries; do not give entry='model'"):
        load(path, entry="model")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="weights.bin is not a whole checkpoint"):
        load(path)


def test_loaded_arrays_are_read_only(write_file):
    # Arrays are windows on shared memory.
    array = load(write_file(tensors(ARRAYS)))["bn1.weight"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1

"""Checkpoints of other people's scripts: values next to the weights, wrappers, unusable weights."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import pathlib
import pickle
import random
import struct
import types
import uuid
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from pit_jax.interop import CheckpointError, convert, find_layout, load
from pit_jax.interop.__main__ import main
from pit_jax.models import create
from pit_jax.neurons import LIF
from tests.interop.families import FAMILIES
from tests.interop.test_command import FAMILY, SMALL
from tests.interop.test_files import ARRAYS, assert_same_arrays
from tests.interop.torch_bytes import (
    FORMATS,
    Fake,
    call,
    emit,
    end_pickle,
    legacy_file,
    tensor,
    tensors,
    zip_file,
)


class Color(enum.Enum):
    RED = 1


class Config(dict):
    """A dictionary with attributes, as of many configuration packages."""


def numpy_scalar(module):
    dtype = call("numpy", "dtype", "f8", False, True)
    return call(module, "scalar", dtype, b"U\x08" + struct.pack("<d", 0.5))


def as_instructions(value, protocol=2):
    """Return the pickle of any object without its first and last instruction."""
    return pickle.dumps(value, protocol)[2:-1]


OBJECTS = {
    "numpy float": np.float64(0.5),
    "numpy array": np.arange(3),
    "numpy objects": np.array([None, "a"]),
    "numpy random state": np.random.RandomState(0),
    "numpy generator": np.random.default_rng(0),
    "numpy random tuple": np.random.get_state(),
    "datetime": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "timedelta": datetime.timedelta(1),
    "path": pathlib.PosixPath("a/b"),
    "windows path": pathlib.PureWindowsPath("a"),
    "function": random.choice,
    "partial": functools.partial(int, base=2),
    "class": Config,
    "enum": Color.RED,
    "custom object": Config(lr=0.1),
    "decimal": decimal.Decimal("0.5"),
    "fraction": fractions.Fraction(1, 2),
    "uuid": uuid.UUID(int=1),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1]),
    "nested namespace": argparse.Namespace(a=argparse.Namespace(b={1})),
    "simple namespace": types.SimpleNamespace(a=1),
    "set": {1, 2},
    "frozenset": frozenset("a"),
    "slice": slice(1),
    "range": range(3),
    "complex": 1j,
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "exception": ValueError("x"),
    "random state": random.getstate(),
    "nan": float("nan"),
    "huge number": 10**500,
    "tuple as key": {(1, (2, 3)): "a", None: 1},
}
INSTRUCTIONS = {
    "numpy scalar of numpy 1": numpy_scalar("numpy.core.multiarray"),
    "numpy scalar of numpy 2": numpy_scalar("numpy._core.multiarray"),
    "torch.Size": call("torch", "Size", (1, 2)),
    "torch.device": call("torch", "device", "cuda", 0),
    "torch.dtype": b"ctorch\nfloat16\n",
    "quantized tensor": call("torch._utils", "_rebuild_qtensor", 1, 2, 3, 4, 5, False, None),
    "sparse tensor": call("torch._utils", "_rebuild_sparse_tensor", 1, 2),
    "module": b"ctorch.nn.modules.linear\nLinear\n)\x81}(X\x01\x00\x00\x00aI1\nub",
    "nested class": call("__builtin__", "getattr", b"cmodels\nNet\n", "Inner") + b")\x81",
    "method": call("operator", "attrgetter", "a.b"),
    "omegaconf": b"comegaconf.dictconfig\nDictConfig\n)\x81}(X\x01\x00\x00\x00a}ub",
    "optimizer": {
        "state": {0: {"exp_avg": tensor(np.float32([np.nan]), "77")}},
        "param_groups": [],
    },
    "old instance": b"(cold\nStyle\no",
    "old class": b"(iold\nStyle\n",
}


@pytest.fixture(params=FORMATS)
def write_file(request, tmp_path):
    """Return a function that writes a value in one of the formats and returns the path."""

    def write(value, name="checkpoint.pth"):
        (tmp_path / name).write_bytes(FORMATS[request.param](value, None))
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", OBJECTS | INSTRUCTIONS)
def test_harmless_values_next_to_the_weights_are_skipped(write_file, name):
    for protocol in (2, 4):
        value = INSTRUCTIONS.get(name) or as_instructions(OBJECTS[name], protocol)
        assert_same_arrays(load(write_file({"best": value, "model": tensors(ARRAYS)})), ARRAYS)
        assert_same_arrays(load(write_file({"model": tensors(ARRAYS), "best": value})), ARRAYS)


def test_values_next_to_the_weights_are_not_called(write_file, tmp_path):
    place = tmp_path / "ran"
    harmful = call("os", "system", f"touch {place}")
    assert_same_arrays(load(write_file({"a": harmful, "model": tensors(ARRAYS)})), ARRAYS)
    assert not place.exists()


def test_values_that_are_no_tensors_inside_the_weights_are_refused_or_ignored(write_file):
    inside = tensors(ARRAYS) | {"scale": numpy_scalar("numpy.core.multiarray")}
    path = write_file({"model": inside, "epoch": 1})
    with pytest.raises(CheckpointError, match=r"holds scale, made by numpy.core.multiarray.scalar"):
        load(path)
    assert_same_arrays(load(path, ignore=["scale"]), ARRAYS)
    with pytest.raises(CheckpointError, match="has no scales to ignore; it has conv1.weight"):
        load(path, ignore=["scales"])


def test_only_the_loaded_entry_is_validated(write_file):
    other = {"x": Fake(np.zeros(3, np.float32), "7", (9,), (1,))}  # Exceeds its storage.
    broken = {"y": tensor(np.float32([np.nan]), "8")}
    path = write_file({"model": tensors(ARRAYS), "other": other, "broken": broken})
    assert_same_arrays(load(path, entry="model"), ARRAYS)
    with pytest.raises(CheckpointError, match="x: a tensor of shape .* exceeds its storage"):
        load(path, entry="other")


def test_a_state_dict_two_levels_deep_is_found(write_file):
    path = write_file({"net": {"weights": tensors(ARRAYS), "step": 3}, "epoch": 1})
    assert_same_arrays(load(path), ARRAYS)
    assert_same_arrays(load(path, entry="net.weights"), ARRAYS)


def test_a_whole_module_is_refused_with_advice(write_file):
    for value in (INSTRUCTIONS["module"], {"net": INSTRUCTIONS["module"], "epoch": 1}):
        with pytest.raises(CheckpointError, match=r"torch.nn.modules.linear.Linear, which is"):
            load(write_file(value))


NETWORK = FAMILY.state_dict()
WRAPPERS = {
    "DataParallel": "module.{}",
    "compiled": "_orig_mod.{}",
    "compiled and parallel": "module._orig_mod.{}",
    "parallel and compiled": "_orig_mod.module.{}",
    "FSDP": "_fsdp_wrapped_module.{}",
    "Fabric": "_forward_module.{}",
    "Lightning": "model.{}",
    "Lightning, another name": "net.{}",
    "Lightning, any name": "student_of_mine.{}",
    "Lightning, compiled": "model._orig_mod.{}",
    "Lightning and parallel": "model.module.{}",
    "three": "module._orig_mod.model.{}",
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_prefixes_of_wrappers_are_found_and_stripped(write_file, wrapper):
    wrapped = {WRAPPERS[wrapper].format(name): array for name, array in NETWORK.items()}
    assert_same_arrays(load(write_file(tensors(wrapped))), NETWORK)
    assert_same_arrays(load(write_file({"state_dict_ema": tensors(wrapped), "epoch": 1})), NETWORK)


def test_prefixes_of_wrappers_inside_names_are_stripped(write_file):
    def wrap(name):
        layer, dot, rest = name.partition(".")
        return f"{layer}._orig_mod.0._checkpoint_wrapped_module{dot}{rest}".replace(".0.", ".", 1)

    wrapped = {wrap(name): array for name, array in NETWORK.items()}
    assert_same_arrays(load(write_file(tensors(wrapped))), NETWORK)
    parts = {name.replace(".", ".module.", 1): array for name, array in NETWORK.items()}
    assert_same_arrays(load(write_file(tensors(parts))), NETWORK)


def test_containers_called_module_are_kept_where_a_layout_has_them(write_file):
    published = FAMILIES["sew_resnet"].state_dict()
    assert any(".module." in name for name in published)
    wrapped = {f"module.{name}": array for name, array in published.items()}
    assert_same_arrays(load(write_file(tensors(wrapped))), published)


def test_entries_that_wrappers_add_are_dropped(write_file):
    averaged = {f"module.{name}": array for name, array in NETWORK.items()}
    averaged["n_averaged"] = np.array(3)
    assert_same_arrays(load(write_file({"model_ema": tensors(averaged)})), NETWORK)
    numbers = tensors(averaged) | {"n_averaged": 3, "decay": 0.999, "inv_freq": None}
    assert_same_arrays(load(write_file({"ema": numbers})), NETWORK)
    lightning = {f"model.{name}": array for name, array in NETWORK.items()}
    lightning |= {"criterion.weight": np.ones(5), "val_acc.tp": np.ones(2)}
    assert_same_arrays(load(write_file({"state_dict": tensors(lightning)})), NETWORK)
    extra = tensors(NETWORK) | {"_extra_state": None, "fc._extra_state": b"cio\nBytesIO\n)R"}
    assert_same_arrays(load(write_file({"state_dict": extra})), NETWORK)


def test_a_prefix_selects_one_of_two_networks(write_file):
    both = {f"teacher.{name}": array for name, array in NETWORK.items()}
    both |= {f"student.{name}": array + 1 for name, array in NETWORK.items()}
    path = write_file(tensors(both))
    for prefix in ("teacher", "teacher."):
        assert_same_arrays(load(path, prefix=prefix), NETWORK)
    with pytest.raises(CheckpointError, match="no name begins with the prefix 'x'; names begin"):
        load(path, prefix="x")


def test_names_that_become_equal_without_wrappers_are_refused(write_file):
    path = write_file(tensors({"a.weight": np.ones(2), "a._orig_mod.weight": np.ones(2)}))
    with pytest.raises(CheckpointError, match="are both a.weight without the names of wrappers"):
        load(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_tensors_that_are_not_finite_are_refused_by_name(write_file, bad, dtype):
    weights = NETWORK | {"linear.bias": np.array([0, bad, 1, 2, 3], dtype)}
    with pytest.raises(CheckpointError, match=r"use: linear.bias \(not finite: 1 of 5\)"):
        load(write_file({"model": tensors(weights)}))


def test_large_finite_tensors_are_accepted(write_file):
    for dtype in ("float16", "float32", "float64"):
        large = {"a.weight": np.full(9, np.finfo(dtype).max, dtype)}
        assert_same_arrays(load(write_file(tensors(large))), large)


def test_a_variance_below_zero_is_refused_by_name(write_file):
    weights = NETWORK | {"bn1.running_var": np.float32([1, -0.5, 1])}
    with pytest.raises(CheckpointError, match=r"bn1.running_var \(a variance of -0.5\)"):
        load(write_file(tensors(weights)))


def test_weights_that_are_not_finite_are_refused_in_safetensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"fc.weight": np.float32([np.nan])}, path)
    with pytest.raises(CheckpointError, match=r"weights.safetensors: it has weights .* fc.weight"):
        load(path)
    assert load(path, ignore=["fc"]) == {}


def test_weights_that_are_not_finite_are_refused_in_any_state_dict():
    model = create("resnet18", num_classes=5, neuron=LIF, **FAMILY.kw)
    sample = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
    for name, bad in (("linear.bias", np.nan), ("bn1.running_var", -1)):
        weights = NETWORK | {name: np.full_like(NETWORK[name], bad)}
        with pytest.raises(CheckpointError, match=f"use: {name}"):
            convert(weights, model, sample)


def test_a_prefix_that_matches_a_layout_is_proposed():
    both = {f"{net}.{name}": array for net in ("one", "two") for name, array in NETWORK.items()}
    with pytest.raises(CheckpointError, match="begin with one or two match one.*prefix='one'"):
        find_layout(both)


def test_zip_files_of_64_bits_are_read(tmp_path):
    with zipfile.ZipFile(io.BytesIO(zip_file(tensors(ARRAYS)))) as old:
        with zipfile.ZipFile(tmp_path / "large.pth", "w") as archive:
            for name in old.namelist():
                with archive.open(name, "w", force_zip64=True) as member:
                    member.write(old.read(name))
    assert_same_arrays(load(tmp_path / "large.pth"), ARRAYS)


@pytest.mark.parametrize("size", [-1, 2**62, 2**200])
def test_storages_that_declare_wrong_sizes_are_refused(tmp_path, size):
    place = b"I%d\n" % size
    pickled = end_pickle(emit({"x": tensor(np.float32([7, 8, 9]), "0")})).replace(b"I3\n", place, 1)
    for name, write in FORMATS.items():
        (tmp_path / f"{name}.pth").write_bytes(write({"x": tensor(np.ones(3), "0")}, pickled))
        with pytest.raises(CheckpointError, match=f"{name}.pth: "):
            load(tmp_path / f"{name}.pth")


def test_the_program_has_prefix_and_ignore(tmp_path, capsys):
    both = {f"a.{name}": array for name, array in NETWORK.items()}
    both |= {"a.mask": np.float32([-np.inf]), "b.weight": np.ones(2)}
    (tmp_path / "x.pth").write_bytes(zip_file(tensors(both)))
    words = [str(tmp_path / "x.pth"), "--out", str(tmp_path / "out"), "--model", "resnet18", *SMALL]
    assert main([*words, "--prefix", "a."]) == 2
    assert "mask (not finite: 1 of 1)" in capsys.readouterr().err
    assert main([*words, "--prefix", "a.", "--ignore", "a.mask"]) == 0


BOMBS = {
    "index of the memo": b"}r\xff\xff\xff\x7f",
    "length of bytes": b"\x96" + struct.pack("<Q", 2**40),
    "length of text": b"\x8d" + struct.pack("<Q", 2**62),
    "length of a number": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "negative length": b"\x8b" + struct.pack("<i", -1),
    "frame": b"\x95" + struct.pack("<Q", 2**63),
    "digits": b"L" + b"9" * 5000 + b"L\n",
    "tuples in tuples": b")" + b"2\x86" * 5000,
    "lists in lists": b"]" * 30000 + b"a" * 29999,
    "nested key": b"}" + b")" + b"\x85" * 30000 + b"Ns",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickle_bombs_are_refused_in_little_memory(tmp_path, name):
    path = tmp_path / "bomb.pth"
    for write in (zip_file, legacy_file):
        path.write_bytes(write({}, end_pickle(BOMBS[name])))
        with pytest.raises(CheckpointError, match="bomb.pth") as error:
            load(path)
        assert "more memory" not in str(error.value)


def test_records_that_declare_huge_sizes_are_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", end_pickle(emit({"x": Fake(np.zeros(1), "0", (1,), (1,))})))
        archive.writestr("a/data/0", bytes(2**27))
    with pytest.raises(CheckpointError, match="would unpack to 134,217,"):
        load(path)
    repeated = Fake(np.zeros(1, np.float32), "0", (2**40, 2**40), (0, 0))
    path.write_bytes(zip_file({"x": repeated}))
    with pytest.raises(CheckpointError, match="x: a tensor of shape .* repeats 1 values"):
        load(path)


OTHER_FILES = {
    "web page": (b"\n<!DOCTYPE html><html>", "a web page, so the download failed"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    "gzip": (b"\x1f\x8b" + bytes(40), "compressed by gzip; unpack it"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file"),
    "empty": (b"", "is empty"),
    "shards": (
        b'{"metadata": {}, "weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}',
        r"the index of 2 files with the weights \(x-1.safetensors, x-2.safetensors\); merge them",
    ),
    "JSON": (b'{"a": 1}', "a JSON file"),
    "nested JSON": (b"{" + b'"a":[' * 100000, "a JSON file"),
    "tar": (bytes(257) + b"ustar" + bytes(600), "a tar archive"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_named(tmp_path, name):
    content, says = OTHER_FILES[name]
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"weights.pth: {says}"):
        load(tmp_path / "weights.pth")


def test_zip_files_of_others_are_named(tmp_path):
    contents = {
        "a TorchScript file": ["net/data.pkl", "net/constants.pkl", "net/code/a.py"],
        "a zip file that holds best.pth; unpack it": ["best.pth"],
        r"arrays \(.npz\)": ["a.npy", "b.npy"],
        "a program of torch.export": ["a/models/model.json", "a/data/sample_inputs/model.pt"],
        "a zip file without data.pkl": ["a.txt"],
    }
    for says, names in contents.items():
        with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        with pytest.raises(CheckpointError, match=f"a.pt: .*{says}"):
            load(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is a folder; give a file"):
        load(tmp_path)

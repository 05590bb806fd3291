"""Files written by torch are read bit for bit."""

from argparse import Namespace

import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.interop import CheckpointError, load

torch = pytest.importorskip("torch")

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save_file(request, tmp_path):
    """Return a function that saves a value in one format of torch.save and returns the path."""

    def save(value):
        path = tmp_path / "checkpoint.pth"
        torch.save(value, path, _use_new_zipfile_serialization=request.param)
        return path

    return save


def to_array(tensor):
    """Return a tensor as an array, through float32 for bfloat16, which NumPy does not have."""
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy().astype(jnp.bfloat16)
    return tensor.detach().numpy()


def assert_loads(path, tensors):
    found = load(path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], to_array(tensor), strict=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read(save_file, dtype):
    tensors = {"x": (100 * torch.rand(3, 5)).to(dtype), "y": torch.ones((), dtype=dtype)}
    assert_loads(save_file(tensors), tensors)


def test_views_that_share_a_storage_are_read(save_file):
    whole = torch.arange(60.0).reshape(3, 4, 5)
    tensors = {
        "whole": whole,
        "turned": whole.permute(2, 0, 1),
        "cut": whole[1:, ::2, 3],
        "expanded": whole[0, 0].expand(4, 5),
        "empty": whole[:0],
        "parameter": torch.nn.Parameter(whole[2]),
    }
    assert_loads(save_file(tensors), tensors)


def test_the_state_dict_of_a_network_and_of_its_checkpoint_are_read(save_file):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    expected = net.state_dict()
    assert_loads(save_file(expected), expected)
    checkpoint = {
        "model": torch.nn.DataParallel(net).state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(),
        "args": Namespace(lr=0.1, milestones=[1, 2], resume=None),
        "epoch": 3,
    }
    assert_loads(save_file(checkpoint), expected)


def test_a_whole_module_is_refused_by_name(save_file):
    with pytest.raises(CheckpointError, match="holds torch.nn.modules.linear.Linear, which"):
        load(save_file(torch.nn.Linear(2, 2)))

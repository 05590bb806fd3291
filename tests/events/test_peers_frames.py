"""SpikingJelly's frames and ours are equal."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from pit_jax.events import integrate_by_number, integrate_by_time, make_events

pytest.importorskip("torch")
spikingjelly = pytest.importorskip("spikingjelly")

RULES = {"number": integrate_by_number, "time": integrate_by_time}


@pytest.fixture(scope="module")
def integrate_theirs():
    """Return SpikingJelly's function without its data sets, which need torchvision, torchaudio."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
        sys.modules["torchvision"].transforms = None
        around = ModuleType("spikingjelly.datasets")
        around.__path__ = [f"{spikingjelly.__path__[0]}/datasets"]
        patch.setitem(sys.modules, "spikingjelly.datasets", around)
        spec = importlib.util.find_spec("spikingjelly.datasets.utils")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.integrate_events_by_fixed_frames_number


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(20))
def test_random_events_have_the_same_frames(integrate_theirs, rule, seed):
    random = np.random.default_rng(seed)
    count, num_frames = int(random.integers(200, 400)), int(random.integers(1, 12))
    times = np.sort(random.integers(0, 2_000, count))
    x, y, p = (random.integers(0, end, count) for end in (9, 7, 2))
    events = {"t": times, "x": x, "y": y, "p": p}
    want = integrate_theirs(events, rule, num_frames, 7, 9)  # [T, 2, H, W]
    frames = RULES[rule](make_events(times, x, y, p), num_frames, height=7, width=9)
    assert np.array_equal(frames, want.transpose(0, 2, 3, 1))

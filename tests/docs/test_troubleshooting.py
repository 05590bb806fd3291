"""The page on troubleshooting: each message is provoked, and reads as the page quotes it."""

import errno
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import xla_bridge
from PIL import Image

import pit_jax
from pit_jax import interop
from pit_jax.export.errors import import_extra
from pit_jax.inference import NotFoldable
from tests.train.helpers import run_main, take_devices
from train.data.storage.download import Remote, download
from train.errors import UserError
from train.evaluate.__main__ import main as evaluate
from train.monitor.health import find_complaints
from train.program.sharding import make_data_mesh
from train.run.workdir import claim, explain_full_disk

PAGE = (Path(__file__).parents[2] / "docs/guide/troubleshooting.md").read_text()
# Each heading with the message below it.
MESSAGES = dict(re.findall(r"^### (.+?)\n\n```text\n(.*?)\n```\n", PAGE, re.M | re.S))
# As many devices as tests/conftest.py has.
DEVICES = "--config.cpu_devices=4"
DIGITS = ("--config", "digits", DEVICES)
SMALL = ("--config.model.stages=(1,)", "--config.model.width=4", "--config.epochs=1")
KEY = jax.random.key(0)


def refuse(*words: str) -> None:
    """Run the program that trains, which must end with an error."""
    assert run_main(*words) == 2


def show(kind: type[Exception], call: Callable[[], object]) -> None:
    """Print the error that a call raises."""
    with pytest.raises(kind) as raised:
        call()
    print(raised.value)


def use_the_cpu_next_to_a_gpu() -> None:
    # It needs a machine with a GPU, so this reads JAX's source.
    source = re.sub(r'"\s*f?"', "", inspect.getsource(xla_bridge))
    print(source.replace("{default_platform}", "cpu"))


def mistype_a_key() -> None:
    refuse(*DIGITS, "--config.batchsize=64")


def name_a_missing_module() -> None:
    refuse(*DIGITS, "--config.neuron=my_parts:Leaky")


def make_the_network_too_large() -> None:
    refuse(*DIGITS, "--config.model.width=1000000")


def find_no_data() -> None:
    refuse("--config", "imagenet", "--config.data.data_dir=data", DEVICES)


def download_without_a_network() -> None:
    # Nothing listens at this port.
    remote = Remote("http://127.0.0.1:9/train-images-idx3-ubyte.gz", "")
    Path("data").mkdir()
    show(UserError, lambda: download(remote, Path("data/train-images-idx3-ubyte.gz")))


def give_one_class() -> None:
    Path("photos/cats").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("photos/cats/1.png")
    refuse("--config", "folder", "--config.data.data_dir=photos", DEVICES)


def start_from_a_network_for_other_classes() -> None:
    network = pit_jax.create("resnet8", num_classes=5, neuron=pit_jax.PIT, num_steps=1, width=24)
    shapes = jax.eval_shape(network.init, KEY, np.zeros((1, 8, 8, 1), np.float32))
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    interop.write(variables, "imported/digits")
    refuse(*DIGITS, "--config.pretrained=imported/digits")


def divide_a_batch_among_three_devices() -> None:
    show(UserError, lambda: make_data_mesh(64, devices=take_devices(3)))


def start_another_run_in_a_folder() -> None:
    folder = Path("runs/digits")
    with claim(folder, {"learning_rate": 0.1}):
        pass
    show(UserError, lambda: claim(folder, {"learning_rate": 0.05}).__enter__())


def evaluate_a_folder_without_a_run() -> None:
    assert evaluate(["evaluate", "runs/digit"]) == 2


def fill_the_disk() -> None:
    def save() -> None:
        with explain_full_disk(Path("runs/digits")):
            raise OSError(errno.ENOSPC, "No space left on device")

    show(UserError, save)


def diverge() -> None:
    refuse(*DIGITS, *SMALL, "--config.warmup_epochs=0", "--config.learning_rate=1e30")


def start_with_scales_that_do_not_fit() -> None:
    words = (*SMALL, "--config.warmup_epochs=0", "--config.neuron.scale_init=three_sigma")
    assert run_main(*DIGITS, *words) == 0


def silence_a_layer() -> None:
    print(find_complaints({"stage1_block1/PIT_0": {"silent": 0.45}})["stage1_block1/PIT_0"].text)


def pass_channels_first() -> None:
    network = pit_jax.create("resnet18", num_classes=10, neuron=pit_jax.LIF, num_steps=4)
    show(ValueError, lambda: network.init(KEY, jnp.zeros((8, 3, 32, 32))))


def call_with_other_steps() -> None:
    neuron = pit_jax.PIT()
    variables = neuron.init(KEY, jax.random.normal(KEY, (8, 4, 128)))
    show(ValueError, lambda: neuron.apply(variables, jax.random.normal(KEY, (8, 2, 128))))


def predict_floats() -> None:
    run = pit_jax.examples.digits()
    images, _ = run.images()
    show(ValueError, lambda: run.predict(images / 255))


class WithActivation(nn.Module):
    """A network with an activation that is no neuron."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(nn.relu(nn.Dense(4)(x[:, None])))


def compile_an_activation() -> None:
    x = jnp.ones((4, 3))
    network = WithActivation()
    variables = network.init(KEY, x)
    show(NotFoldable, lambda: pit_jax.inference.compile(network, variables, x))


def export_without_the_extra() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        show(ImportError, lambda: import_extra("onnx", "onnx", "write an ONNX file"))


def find(quoted: str, printed: str) -> bool:
    """Return whether a text contains a quoted message; `…` stands for anything."""
    parts = (re.escape(" ".join(part.split())) for part in quoted.split("…"))
    return re.search(".*?".join(parts), " ".join(printed.split())) is not None


# The function that provokes each message.
PROVOKED = {
    "CPUs are used although there is a GPU": use_the_cpu_next_to_a_gpu,
    "A key of the config is misspelled": mistype_a_key,
    "Your own module is not found": name_a_missing_module,
    "Out of memory: the run does not fit": make_the_network_too_large,
    "The data set is not found": find_no_data,
    "A download fails": download_without_a_network,
    "A folder of images has no classes": give_one_class,
    "The pretrained network has other classes": start_from_a_network_for_other_classes,
    "The batch does not divide among the devices": divide_a_batch_among_three_devices,
    "The folder belongs to another run": start_another_run_in_a_folder,
    "A folder is not a run": evaluate_a_folder_without_a_run,
    "The disk is full": fill_the_disk,
    "The loss is not finite": diverge,
    "The levels do not fit the membranes": start_with_scales_that_do_not_fit,
    "Channels never fire": silence_a_layer,
    "The channels come first": pass_channels_first,
    "Another number of time steps": call_with_other_steps,
    "Images are normalized twice": predict_floats,
    "The network cannot become binary spikes": compile_an_activation,
    "A package of an extra is missing": export_without_the_extra,
}
TRAINS = (diverge, start_with_scales_that_do_not_fit)


def test_the_page_has_twenty_messages_and_each_is_provoked():
    assert list(MESSAGES) == list(PROVOKED) and len(MESSAGES) == 20


@pytest.mark.parametrize(
    "title",
    [
        pytest.param(title, marks=pytest.mark.slow if provoke in TRAINS else ())
        for title, provoke in PROVOKED.items()
    ],
)
def test_a_message_reads_as_the_page_quotes_it(title, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    PROVOKED[title]()
    printed = "".join(capsys.readouterr())
    assert find(MESSAGES[title], printed), (
        f"{MESSAGES[title]}\n--- is not in ---\n{printed[-3000:]}"
    )


def test_a_quoted_message_is_found_whatever_its_ellipses_and_line_ends_are():
    assert find("a … c\nd", "error: a b\nc d.") and find("x", "x")
    assert not find("a … d", "d c a") and not find("a b", "a c")

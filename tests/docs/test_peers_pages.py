"""Examples of the guides that need other libraries run: SpikingJelly's, and ONNX in JavaScript."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pit_jax

PRINT = " console.log(JSON.stringify(found));"
GUIDE = Path(__file__).parents[2] / "docs/guide"
PAGE = (GUIDE / "from_pytorch.md").read_text()
# Rows of the table of equal neurons: the library, its neuron and ours.
NEURONS = re.findall(r"^\| (SpikingJelly|snnTorch) `(.+?)` \| `(.+?)` \|$", PAGE, re.M)


def read_block(page: str, language: str) -> str:
    """Return the only block in a language of a page."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", (GUIDE / page).read_text(), re.M | re.S)
    return code


def test_the_loop_in_spikingjelly_learns_as_ours_does():
    pytest.importorskip("torch")
    pytest.importorskip("spikingjelly")
    theirs, ours = {}, {}
    exec(read_block("from_pytorch.md", "py"), theirs)
    exec(re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[1], ours)
    # On their own images and initial weights, both get below a tenth of the loss of chance.
    assert theirs["loss"].item() < np.log(10) / 10 and float(ours["loss"]) < np.log(10) / 10


def run_theirs(library: str, code: str, x):
    """Return the spikes `[B, T, C]` of a neuron of SpikingJelly or snnTorch."""
    torch = pytest.importorskip("torch")
    if library == "SpikingJelly":
        neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
        made = eval(code, vars(neuron)).double()
        made.step_mode = "m"
        return made(x.transpose(0, 1)).transpose(0, 1)
    made = eval(code, vars(pytest.importorskip("snntorch"))).double()
    membrane, spikes = torch.zeros_like(x[:, 0]), []
    for current in x.unbind(1):
        spike, membrane = made(current, membrane)
        spikes.append(spike)
    return torch.stack(spikes, 1)


@pytest.mark.parametrize("library, theirs, ours", NEURONS)
def test_the_neurons_of_a_row_have_equal_spikes_and_gradients(library, theirs, ours, x64):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    currents, weights = random.normal(0.4, 1.0, (4, 8, 25)), random.normal(size=(4, 8, 25))
    x = torch.tensor(currents, requires_grad=True)
    spikes = run_theirs(library, theirs, x)
    (spikes * torch.tensor(weights)).sum().backward()

    currents = jnp.asarray(currents)
    neuron = eval(ours, vars(pit_jax.neurons) | vars(pit_jax.surrogate))
    variables = neuron.init(jax.random.key(0), currents)
    gradient = jax.grad(lambda x: (neuron.apply(variables, x) * weights).sum())(currents)
    np.testing.assert_array_equal(neuron.apply(variables, currents), spikes.detach().numpy())
    # snnTorch's spikes, and so the gradients through them, are float32 whatever the currents are.
    close = 1e-9 if spikes.dtype == torch.float64 else 1e-5
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=close, atol=close)


def test_javascript_returns_the_logits_of_the_program(tmp_path):
    pytest.importorskip("onnx")
    if not shutil.which("node") or "NODE_PATH" not in os.environ:
        pytest.skip("needs Node.js, and the folder with onnxruntime-node as NODE_PATH")
    run = pit_jax.examples.digits()
    images, _ = run.images()
    program = run.compile()
    pit_jax.export.to_onnx(program, tmp_path / "exported/digits/program.onnx")
    (tmp_path / "images.raw").write_bytes(images.tobytes())
    # JSON has every digit of a number, which `console.log` of an array has not.
    shown = "console.log(logits.dims, logits.data);"
    code = read_block("export.md", "js").replace(shown, f"const found = [...logits.data];{PRINT}")
    done = subprocess.run(["node", "-e", code], cwd=tmp_path, check=True, stdout=subprocess.PIPE)
    found = np.array(json.loads(done.stdout), np.float32).reshape(len(images), -1)
    np.testing.assert_array_equal(found, program(images))

"""The programs of the benchmarks: no turn compiles, or copies between host and device."""

import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import monitoring

from benchmarks.peers import ROOT
from benchmarks.workload import load_module
from benchmarks.workloads.flax_networks import ResNet18
from benchmarks.workloads.train_main import list_arguments
from pit_jax.models import create
from pit_jax.neurons import ReLU
from train.config.cli import parse
from train.data import load

STEP = {"network": "resnet18", "shape": (8, 8, 3), "classes": 10, "through": "step"}
CASES = {
    "neuron": ("W1", "pit_jax", {"neuron": "PIT", "steps": 4}),
    "dense": ("W2", "pit_jax", {"size": 512}),
    "training": ("W3", "pit_jax", {**STEP, "neuron": "PIT", "steps": 1, "levels": 4, "batch": 4}),
    "flax": ("W3", "flax", {**STEP, "neuron": "ReLU", "steps": 1, "batch": 4}),
}


@pytest.mark.parametrize("case", ("neuron", "dense"))
def test_turns_compile_nothing_and_copy_nothing(case):
    check_turns(*CASES[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", ("training", "flax"))
def test_turns_of_training_compile_nothing_and_copy_nothing(case):
    check_turns(*CASES[case])


def check_turns(name, peer, task):
    subject = load_module(name).make(peer, {**task, "small": True})
    subject.prepare()
    compiled = []

    def listen(event, seconds, **_):
        compiled.extend([event] if "backend_compile" in event else [])

    monitoring.register_event_duration_secs_listener(listen)
    try:
        with jax.transfer_guard("disallow"):
            assert subject.measure(3) > 0
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
    assert "temporary_mib" in subject.details


@pytest.mark.parametrize("name", ("W3", "W4", "W5"))
def test_train_main_gets_the_task_of_an_entry(name, tmp_path):
    entries = [
        entry
        for cell in load_module(name).WORKLOAD.cells
        for entry in cell.entries
        if entry.peer == "pit_jax"
    ]
    for entry in {entry.label: entry for entry in entries}.values():
        task = entry.task
        arguments = list_arguments(task, tmp_path)
        config = parse(["", *arguments[2:]])[0]
        names = {"LIF": "LIF", "I-LIF": "ILIF", "PIT": "PIT", "ReLU": "ReLU", "IF": "IF"}
        assert config.neuron.name == names[task["neuron"]]
        assert (config.num_steps, config.batch_size) == (task["steps"], task["batch"])
        assert config.neuron.get("levels") == task.get("levels")
        assert config.model.name == task["network"] and config.loss.name == "cross_entropy"
    assert load(**config.data).train.shape == task["shape"]


STOPPED_CHILD = """
import signal, subprocess, sys
from benchmarks.workloads.train_main import end_with_parent
child = subprocess.Popen([sys.executable, "-c", "input()"], preexec_fn=end_with_parent)
child.send_signal(signal.SIGSTOP)
print(child.pid, flush=True)
input()
"""


def test_a_stopped_run_ends_with_its_worker():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STOPPED_CHILD], cwd=ROOT, **pipes) as worker:
        child = Path(f"/proc/{int(worker.stdout.readline())}")
        assert child.exists()
        worker.kill()
    until = time.monotonic() + 60
    while child.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.exists()


def test_plain_flax_is_our_relu_network():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

    def count(model, **options):
        made = jax.eval_shape(lambda key, x: model.init(key, x, **options), KEY, images)
        return sum(leaf.size for leaf in jax.tree.leaves(made["params"]))

    ours = create("resnet18", num_classes=100, neuron=ReLU)
    assert count(ResNet18(100), train=False) == count(ours)


KEY = jax.random.key(0)

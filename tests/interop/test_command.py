"""`python -m pit_jax.interop` writes a folder that can be read, or prints an error."""

import hashlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from pit_jax import interop
from pit_jax.interop.__main__ import build_parser, find_models, main, parse_fields
from pit_jax.models import create
from pit_jax.neurons import LIF
from tests.interop.families import FAMILIES
from tests.interop.torch_bytes import tensors, zip_file

FIELDS = {"stages": (1,), "width": 4}
FAMILY = replace(FAMILIES["clif_resnet"], small=FIELDS, kw=FIELDS)
SMALL = ["--field", "stages=[1]", "--field", "width=4"]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "best.pth"
    path.write_bytes(zip_file({"net": tensors(FAMILY.state_dict()), "epoch": 3}))
    return path


@pytest.fixture
def few_networks(monkeypatch) -> None:
    """Let errors look for few networks that fit: tracing all takes seconds."""
    names = ("resnet18", "resnet19", "ms_resnet18", "vgg11", "spike_driven_transformer")
    monkeypatch.setattr("pit_jax.interop.__main__.MODELS", names)


def run_command(checkpoint, out, *arguments, model="resnet18"):
    return main([str(checkpoint), "--model", model, "--out", str(out), *arguments])


def test_a_written_folder_reads_back_as_the_converted_variables(checkpoint, tmp_path, capsys):
    assert run_command(checkpoint, tmp_path / "imported", *SMALL, "--num-steps", "4") == 0
    assert "parameters of resnet18, layout 'clif_resnet'" in capsys.readouterr().out
    model = create("resnet18", num_classes=5, neuron=LIF, **FAMILY.kw)
    sample = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
    expected = flatten_dict(interop.convert(interop.load(checkpoint), model, sample))
    found = flatten_dict(interop.read(tmp_path / "imported"))
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, strict=True)


def test_the_manifest_records_network_source_arrays_and_versions(checkpoint, tmp_path):
    assert run_command(checkpoint, tmp_path / "imported", *SMALL, "--num-steps", "4") == 0
    manifest = json.loads((tmp_path / "imported/manifest.json").read_text())
    assert manifest["model"] == {
        "name": "resnet18",
        "num_classes": 5,
        "num_steps": 4,
        "neuron": {"name": "LIF"},
        "stages": [1],
        "width": 4,
    }
    assert manifest["layout"] == "clif_resnet"
    source = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert manifest["source"] == {"file": "best.pth", "sha256": source}
    arrays = (tmp_path / "imported/variables.safetensors").read_bytes()
    assert manifest["sha256"] == hashlib.sha256(arrays).hexdigest()
    assert manifest["arrays"]["params/head/kernel"] == {"shape": [4, 5], "dtype": "float32"}
    assert manifest["versions"].keys() == {"pit_jax", "jax", "flax"}


def test_the_manifest_describes_neurons_by_fields_that_differ_from_their_defaults(tmp_path):
    family = FAMILIES["spike_driven_transformer"]
    save_file(family.state_dict(), tmp_path / "sdt.safetensors")
    fields = [f"--field={name}={value}" for name, value in family.kw.items()]
    model = "spike_driven_transformer"
    out = tmp_path / "imported"
    assert run_command(tmp_path / "sdt.safetensors", out, *fields, model=model) == 0
    described = json.loads((out / "manifest.json").read_text())["model"]
    lif = {"name": "LIF", "decay_input": True, "reset": "hard_reset", "detach_reset": True}
    assert described["neuron"] == lif
    assert described["gate_neuron"] == lif | {"threshold": 0.5}


def test_a_skipped_head_has_the_requested_number_of_classes(checkpoint, tmp_path, capsys):
    out = tmp_path / "imported"
    assert run_command(checkpoint, out, *SMALL, "--num-classes", "3") == 2
    assert ", linear.weight (5, 4) float32 for params/head/kernel (4, 3)" in capsys.readouterr().err
    assert run_command(checkpoint, out, *SMALL, "--num-classes", "3", "--skip", "head") == 0
    assert "head has its initial values" in capsys.readouterr().out
    assert interop.read(out)["params"]["head"]["kernel"].shape == (4, 3)
    assert json.loads((out / "manifest.json").read_text())["skipped"]["layers"] == ["head"]


@pytest.mark.parametrize("how", ["written", "replaced", "deleted"])
def test_a_checkpoint_that_changes_while_it_is_read_is_refused(
    checkpoint, tmp_path, capsys, monkeypatch, how
):
    """Check that the hash of the source belongs to the loaded weights."""

    def load_slowly(*args, **options):
        found = interop.load(*args, **options)
        if how == "deleted":
            checkpoint.unlink()
        else:
            other = checkpoint if how == "written" else tmp_path / "other"
            other.write_bytes(checkpoint.read_bytes() + b"more")
            other.replace(checkpoint)
        return found

    monkeypatch.setattr("pit_jax.interop.__main__.load", load_slowly)
    assert run_command(checkpoint, tmp_path / "imported", *SMALL) == 2
    error = capsys.readouterr().err
    assert "best.pth" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "imported").exists()


def test_an_existing_folder_is_not_overwritten(checkpoint, tmp_path, capsys):
    (tmp_path / "imported").mkdir()
    assert run_command(checkpoint, tmp_path / "imported", *SMALL) == 2
    assert "imported exists already; give a new folder" in capsys.readouterr().err
    assert not any((tmp_path / "imported").iterdir())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--field", "width"], "--field must be NAME=JSON, e.g. width=64"),
        (["--seed", "9" * 30], "--seed must be at most 4294967295, got 9"),
        (["--size", "0", "9"], "--size must be at least 1, got 0"),
        (["--size", "9" * 30, "9"], "--size must be at most 2147483647, got 9"),
        (["--num-steps", "0"], "--num-steps must be at least 1, got 0"),
        (["--field", "depth=3"], "the network 'resnet18' cannot be built: .*depth"),
        (["--layout", "torchvision"], "must have a fc.weight with 2 axes; give another --layout"),
        (["--entry", "model"], "a dictionary with net, epoch, but not a state_dict under 'model'"),
        (["--skip", "fc"], "cannot skip 'fc': the network has the layers .*stem"),
        ([], "does not fit"),
    ],
)
def test_user_mistakes_exit_with_2_and_one_error(
    checkpoint, tmp_path, capsys, few_networks, arguments, message
):
    small = [] if not arguments else SMALL
    assert run_command(checkpoint, tmp_path / "imported", *small, *arguments) == 2
    assert re.search(f"^error: .*{message}", capsys.readouterr().err, re.DOTALL)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("model", ["resnet19", "spike_driven_transformer"])
def test_a_wrong_model_is_answered_with_the_network_whose_names_fit(
    tmp_path, capsys, few_networks, model
):
    family = FAMILIES["ms_resnet"]
    save_file(family.state_dict(), tmp_path / "ms.safetensors")
    fields = [f"--field={name}={json.dumps(value)}" for name, value in family.kw.items()]
    arguments = (tmp_path / "ms.safetensors", tmp_path / "imported", *fields)
    # A head for other classes is skipped, and does not hide the right network.
    for more in ((), ("--num-classes=9", "--skip=head")):
        assert run_command(*arguments, *more, model=model) == 2
        error = capsys.readouterr().err
        assert error.endswith("Its names and shapes fit --model ms_resnet18.\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_networks_that_fit_are_those_that_can_be_converted(name):
    family = FAMILIES[name]
    arrays, sample = family.state_dict(), jax.ShapeDtypeStruct((1, *family.shape), np.float32)

    found = find_models(arrays, sample, name, num_classes=5, **family.kw)
    assert family.model in found
    for model in found:
        fields = {**interop.LAYOUTS[name].neurons, **family.kw}
        interop.convert(arrays, create(model, num_classes=5, **fields), sample, layout=name)


def test_unknown_networks_and_files_are_named(checkpoint, tmp_path, capsys, few_networks):
    assert run_command(checkpoint, tmp_path / "imported", model="resnet81") == 2
    assert "there is no network 'resnet81'; did you mean" in capsys.readouterr().err
    assert run_command(tmp_path / "nothing.pth", tmp_path / "imported") == 2
    assert "there is no file" in capsys.readouterr().err


def test_help_needs_no_file(capsys):
    assert main(["--help"]) == 0
    assert "usage: python -m pit_jax.interop" in capsys.readouterr().out


def test_arrays_that_do_not_match_the_manifest_are_refused(checkpoint, tmp_path):
    out = tmp_path / "imported"
    assert run_command(checkpoint, out, *SMALL) == 0
    arrays = out / "variables.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(content)
    with pytest.raises(interop.CheckpointError, match="does not match the hash in manifest.json"):
        interop.read(out)
    arrays.unlink()
    with pytest.raises(interop.CheckpointError, match="has no imported variables"):
        interop.read(out)


DOCS = Path(__file__).parents[2] / "docs/guide/interop.md"
COMMANDS = re.findall(r"^pit-jax import (.*)$", DOCS.read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_commands_name_existing_networks_and_fields(line):
    args = build_parser("import").parse(shlex.split(line))
    assert args.model in line and args.out.is_relative_to("imported")
    create(args.model, num_classes=2, neuron=LIF, **parse_fields(args))

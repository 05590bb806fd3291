"""A saved program loads unchanged, or is refused with the reason.

test_program.py saves and loads a program of every kind of node, structure and neuron.
"""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from pit_jax import neurons
from pit_jax.artifact import MANIFEST, MANIFEST_HASH
from pit_jax.export import to_stablehlo
from pit_jax.inference import ArtifactError, SpikingProgram, compile, load
from pit_jax.inference.runtime import nodes
from pit_jax.inference.storage import ARRAYS
from pit_jax.inference.verify import fingerprint
from pit_jax.old_names import SAVED_CLASSES
from tests.inference.random_networks import make_small_network

FILES = (MANIFEST, MANIFEST_HASH, ARRAYS)


@pytest.fixture(scope="module")
def small_program() -> tuple[SpikingProgram, jax.Array]:
    layers = (4, 3, 1, 1, ""), (4, 3, 1, 1, "")
    model, variables, x = make_small_network(partial(neurons.PIT, levels=2), 2, *layers)
    return compile(model, variables, x), x


@pytest.fixture(scope="module")
def saved(small_program, tmp_path_factory) -> Path:
    """Save the small program and return its folder."""
    folder = tmp_path_factory.mktemp("saved") / "program"
    small_program[0].save(folder, about={"classes": ["a", "b"]})
    return folder


def copy_with_manifest(saved: Path, place: Path, change: Callable[[dict], None]) -> Path:
    """Copy a saved program to `place`, change its manifest and update the manifest's hash."""
    shutil.copytree(saved, place)
    manifest = json.loads((saved / MANIFEST).read_text())
    change(manifest)
    text = json.dumps(manifest).encode()
    (place / MANIFEST).write_bytes(text)
    (place / MANIFEST_HASH).write_text(f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n")
    return place


def test_a_loaded_program_returns_the_logits_of_the_saved_one(small_program, saved):
    program, x = small_program
    assert np.array_equal(program(x), load(saved)(x))


def test_a_loaded_program_verifies_without_the_network(small_program, saved):
    program, x = small_program
    loaded = load(saved)
    report = loaded.verify(x)
    assert loaded.reference is None and report and report.top1_agreement is None
    assert loaded.proof == program.proof and loaded.proof.samples == len(x)


def test_a_later_proof_replaces_the_first(small_program, tmp_path):
    program, x = small_program
    program.save(tmp_path / "saved", proof=program.verify([x, x]))
    assert load(tmp_path / "saved").proof.samples == 2 * len(x)


def test_the_manifest_has_versions_and_the_given_facts(small_program, saved):
    manifest = json.loads((saved / MANIFEST).read_text())
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["about"] == {"classes": ["a", "b"]}
    assert manifest["num_steps"] == 2 and manifest["fingerprint"] == small_program[0].fingerprint


def test_sha256sum_accepts_the_hashes(saved):
    subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST_HASH], cwd=saved, check=True)


def test_saving_a_loaded_program_writes_the_same_bytes(saved, tmp_path):
    load(saved).save(tmp_path / "again", about={"classes": ["a", "b"]})
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_format_1_with_old_class_names_is_read(small_program, saved, tmp_path):
    program, x = small_program
    old = {new: old for old, new in SAVED_CLASSES.items()}

    def write_format_1(manifest: dict) -> None:
        manifest["version"] = 1
        for node in manifest["nodes"]:
            node["class"] = old.get(node["class"], node["class"])

    loaded = load(copy_with_manifest(saved, tmp_path / "old", write_format_1))
    assert loaded.fingerprint == program.fingerprint and loaded.verify(x)


@given(place=st.tuples(st.sampled_from(FILES), st.integers(0), st.integers(0, 7)))
@settings(max_examples=100)
def test_one_flipped_bit_in_any_file_is_refused(saved, tmp_path_factory, place):
    name, at, bit = place
    folder = shutil.copytree(saved, tmp_path_factory.mktemp("flipped") / "program")
    content = bytearray((folder / name).read_bytes())
    content[at % len(content)] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="get another copy"):
        load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_a_truncated_or_extended_file_is_refused(saved, tmp_path, name, keep):
    folder = shutil.copytree(saved, tmp_path / "program")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(keep * len(content))] or b"")
    if keep == 1:
        (folder / name).write_bytes(content + b"\0")
    with pytest.raises(ArtifactError, match=name):
        load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, tmp_path, name):
    folder = shutil.copytree(saved, tmp_path / "program")
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"has no readable {name}"):
        load(folder)


def test_a_link_keeps_leading_to_the_program_that_is_replaced(small_program, tmp_path):
    program, _ = small_program
    for name in ("program", "x" * 250):  # The names of unfinished folders are longer.
        program.save(tmp_path / name)
        (tmp_path / "link").symlink_to(tmp_path / name)
        (tmp_path / name / "old").write_text("old")
        program.save(tmp_path / "link", overwrite=True)
        assert (tmp_path / "link").is_symlink()
        assert {file.name for file in (tmp_path / name).iterdir()} == set(FILES)
        (tmp_path / "link").unlink()
    assert {file.name for file in tmp_path.iterdir()} == {"program", "x" * 250}


def test_a_pipe_in_place_of_a_file_is_refused_at_once(saved, tmp_path):
    folder = tmp_path / "program"
    shutil.copytree(saved, folder)
    (folder / ARRAYS).unlink()
    os.mkfifo(folder / ARRAYS)
    with pytest.raises(ArtifactError, match=f"{ARRAYS} is a device or a pipe"):
        load(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere has no readable manifest.json"):
        load(tmp_path / "nowhere")


def find_node(manifest: dict, kind: str) -> dict:
    return next(node for node in manifest["nodes"] if node["class"] == kind)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m.update(version=4), "has version 4 of its format.*reads versions up to 3"),
        (lambda m: m.update(version="1"), "has version '1'"),
        (lambda m: m.update(kind="other"), "has the kind 'other', not 'pit_jax.program'"),
        (lambda m: m.pop("num_steps"), "the manifest has no 'num_steps'"),
        (lambda m: m.update(num_steps=1.5), "num_steps is 1.5, but this pit_jax expects int"),
        (
            lambda m: find_node(m, "Spikes").update({"class": "Popen"}),
            r"nodes\.\d+ is 'Popen', but this pit_jax expects Pixels, Accumulator",
        ),
        (
            lambda m: find_node(m, "Spikes").update({"class": "Pool"}),
            r"nodes\.\d+ is 'Pool', but this pit_jax expects Pixels",
        ),
        (
            lambda m: find_node(m, "Accumulator").update(delay=1),
            r"Accumulator has different fields here.*\(delay\)",
        ),
        (
            lambda m: find_node(m, "Accumulator").pop("bias"),
            r"Accumulator has different fields here \(bias\)",
        ),
        (
            lambda m: find_node(m, "Accumulator").update(bias=[0]),
            r"bias is \[0\], but this.* expects ndarray",
        ),
        (lambda m: find_node(m, "Accumulator")["bias"].update(array="x"), "there is no array 'x'"),
        (lambda m: find_node(m, "Accumulator").update(bound=1), "not those that were compiled"),
        (lambda m: m["arrays"].popitem(), "the shapes or types of the arrays differ"),
        (lambda m: m.pop("files"), "is not a manifest of an artifact"),
        (lambda m: m.update(files=[]), "is not a manifest of an artifact.*files have no names"),
        (lambda m: m.update(files={"a": 5}), "is not a manifest of an artifact"),
        (lambda m: m["files"][ARRAYS].update(bytes="9"), "artifact.*files have no hashes"),
        (lambda m: m["files"][ARRAYS].update(sha256=None), "artifact.*files have no hashes"),
        (lambda m: m["files"][ARRAYS].update(sha256="5"), "was changed after it was written"),
        (lambda m: m.update(files={"\0": {"bytes": 0, "sha256": ""}}), "not in its folder"),
        (lambda m: m.update(version=9, versions=[1]), "written by pit_jax None"),
        (lambda m: m.update(version=True), "has version True"),
        (lambda m: m.update(kind={"a": 1}), "has the kind {'a': 1}"),
        (lambda m: m.update(nodes={}), "nodes is None, but this pit_jax expects list"),
        (lambda m: m.update(nodes=[[]]), r"nodes.0 is \[\], but this pit_jax expects Pixels"),
        (lambda m: m.update(num_steps=0), "num_steps must be from 1 to 10,000, got 0"),
        (lambda m: m.update(num_steps=10**300), "num_steps must be from 1 to 10,000"),
        (lambda m: m.update(normalization=5), "normalization is 5, but this pit_jax expects"),
        (
            lambda m: m.update(
                normalization={"class": "Normalization", "mean": [0.5], "std": [0.5]}
            ),
            "its normalization does not fit: mean and std must each have one finite number",
        ),
        (lambda m: m.update(proof=5), "proof is 5, but this pit_jax expects Report"),
        (lambda m: find_node(m, "Accumulator")["bias"].update(array=[1]), "there is no array"),
        (
            lambda m: m["files"].update({"../x": {"bytes": 0, "sha256": ""}}),
            "not in its folder",
        ),
    ],
)
def test_an_edited_manifest_is_refused(saved, tmp_path, change, message):
    with pytest.raises(ArtifactError, match=message):
        load(copy_with_manifest(saved, tmp_path / "program", change))


@pytest.mark.parametrize(
    "text", ["[]", "null", "5", '"a"', "{}", "[" * 100_000, '{"a":' * 9999, ""]
)
def test_a_manifest_of_any_json_is_refused(saved, tmp_path, text):
    place = shutil.copytree(saved, tmp_path / "program")
    (place / MANIFEST).write_text(text)
    line = f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST}\n"
    (place / MANIFEST_HASH).write_text(line)
    with pytest.raises(ArtifactError, match="program/manifest.json is not a manifest") as error:
        load(place)
    assert str(error.value).count("\n") < 3


def test_damaged_arrays_with_a_new_hash_are_refused(saved, tmp_path):
    place = shutil.copytree(saved, tmp_path / "program")
    for content in (b"", b"\xff" * 40, (place / ARRAYS).read_bytes()[:-3]):
        shutil.rmtree(place)
        identity = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        copy_with_manifest(saved, place, lambda m, new=identity: m["files"].update({ARRAYS: new}))
        (place / ARRAYS).write_bytes(content)
        with pytest.raises(ArtifactError, match="program: program.safetensors is not a file of"):
            load(place)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda graph: graph[:-1], "must begin with its input and end with a sum"),
        (lambda graph: [graph[0], *graph[2:]], "its parts do not fit"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused(small_program, tmp_path, change, message):
    graph = change(list(small_program[0].nodes))
    SpikingProgram(graph, 2, fingerprint(graph)).save(tmp_path / "odd")
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path / "odd")


LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "about, message",
    [
        ({"accuracy": np.float32(0.5)}, "about['accuracy'] must be … got np.float32(0.5)."),
        ({"losses": [1.0, {"last": np.ones(2)}]}, "about['losses'][1]['last'] must be … array("),
        ({"loss": math.nan}, "about['loss'] must be a text, a finite number, … got nan."),
        ({"made": {1, 2}}, "about['made'] must be … as in JSON; got {1, 2}."),
        ({"key": b"x"}, "about['key'] must be … got b'x'."),
        ({"folder": Path("runs")}, "about['folder'] must be … Path('runs')."),
        ({"table": {(0, 1): 2}}, "about['table'] must be … with texts as keys … got {(0, 1): 2}."),
        ({"loop": LOOP}, "about['loop'][0][0] … is nested more than 100 times"),
        ({"number": 10**5000}, "about['number'] must be … got a value of the type int."),
    ],
)
def test_facts_that_json_cannot_hold_are_refused_by_key_and_nothing_is_written(
    small_program, tmp_path, about, message
):
    for write in (SpikingProgram.save, to_stablehlo):
        with pytest.raises(ValueError) as error:
            write(small_program[0], tmp_path / "out", about=about)
        assert all(part in str(error.value) for part in message.split(" … "))
        assert len(str(error.value)) < 300 and not list(tmp_path.iterdir())


def test_an_existing_folder_is_replaced_only_with_overwrite(small_program, saved, tmp_path):
    program, _ = small_program
    folder = shutil.copytree(saved, tmp_path / "program")
    (folder / "proof.json").write_text("of the old one")
    with pytest.raises(ArtifactError, match="already exists; choose another folder, or overwrite"):
        program.save(folder)
    assert (folder / "proof.json").exists()
    program.save(folder, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_a_folder_that_is_no_artifact_is_never_overwritten(small_program, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is not an artifact, so it is not overwritten"):
        small_program[0].save(tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_failed_write_keeps_the_old_program(small_program, saved, tmp_path, monkeypatch):
    folder = shutil.copytree(saved, tmp_path / "program")
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        if target == folder and path.name.endswith(".part"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="no"):
        small_program[0].save(folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["program"]
    assert load(folder)


def test_a_changed_program_is_not_saved(saved, tmp_path):
    program = load(saved)
    node = next(node for node in program.nodes if isinstance(node, nodes.Accumulator))
    program.nodes[program.nodes.index(node)] = replace(node, bias=node.bias + 1)
    with pytest.raises(ArtifactError, match="changed since it was compiled"):
        program.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_program_with_a_failed_proof_is_not_saved(small_program, tmp_path):
    program, x = small_program
    report = program.verify(x)
    report.logits_equal = False
    with pytest.raises(ArtifactError, match="from its grid, so it is not saved:\nNOT EQUAL"):
        program.save(tmp_path / "saved", proof=report)
    assert list(tmp_path.iterdir()) == []


def test_without_safetensors_the_error_names_the_extra(small_program, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[export\]'"):
        small_program[0].save(tmp_path / "saved")

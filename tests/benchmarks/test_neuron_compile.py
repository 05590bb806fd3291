"""benchmarks/neuron_compile.py: what its record says about the machine and the programs."""

import json
import sys

import jax

from benchmarks import neuron_compile
from train.run.environment import describe_environment


def test_the_record_has_the_environment_the_load_and_a_row_for_each_program(monkeypatch, tmp_path):
    words = "--size 1 --rounds 1 --neurons LIF --steps 1 4 --json"
    file = tmp_path / "new" / "record.json"
    monkeypatch.setattr(sys, "argv", ["neuron_compile", *words.split(), str(file)])
    monkeypatch.setattr(neuron_compile, "compiler_options", lambda kind: kinds.append(kind))
    kinds, cache = [], jax.config.jax_enable_compilation_cache
    try:
        neuron_compile.main()
    finally:
        jax.config.update("jax_enable_compilation_cache", cache)
    record = json.loads(file.read_text())
    assert record["environment"] == describe_environment() and record["load"] >= 0
    rows = [(row["neuron"], row["steps"], row["unroll"]) for row in record["records"]]
    assert rows == [("LIF", 1, 1), ("LIF", 4, 1), ("LIF", 4, 4)]
    assert kinds == ["train"] * 3

"""`python -m pit_jax.models` prints parameters and costs of networks."""

import json
import re

import pytest

from pit_jax.models import MODELS
from pit_jax.models.__main__ import format_count, main

RESNET18 = {
    "layers": 21,
    "neuron_layers": 17,
    "macs": 555_422_720,
    "products": 0,
    "neurons": 557_056,
}


def test_the_command_prints_parameters_by_kind_and_costs(capsys):
    assert main(["resnet8", "vgg16", "--neuron", "LIF"]) == 0
    lines = capsys.readouterr().out.splitlines()
    parameters, cost = (line.split() for line in lines if line.startswith("resnet8 "))
    assert parameters == "resnet8 77.88k 76.43k 330 480 640 -".split()
    assert cost == "resnet8 8x8x1 10 7 763.5k - 4.608k 58.41k".split()
    assert sum(line.startswith("vgg16 ") for line in lines) == 2


@pytest.mark.slow
def test_the_tables_of_all_networks_fit_100_columns(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines if line} >= set(MODELS)


def test_json_has_exact_integers(capsys):
    assert main(["resnet18", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)["resnet18"]
    assert {key: counted[key] for key in RESNET18} == RESNET18
    assert sum(counted["parameters"].values()) == 11_180_810
    assert counted["input"] == [1, 32, 32, 3]


def test_options_change_the_network_and_its_input(capsys):
    options = "--batch 4 --steps 2 --size 16 --classes 7 --channels 1 --neuron LIF --dtype bfloat16"
    fields = ["--fields", '{"stages": [1, 1], "width": 8}']
    assert main(["resnet8", "--layers", "--json", *options.split(), *fields]) == 0
    counted = json.loads(capsys.readouterr().out)["resnet8"]
    rows = counted["layers"]
    assert counted["input"] == [4, 16, 16, 1]
    assert rows[0]["shape"] == [4, 1, 16, 16, 8]
    assert rows[0]["bytes"] == 4 * 16 * 16 * 8 * 2
    assert rows[2]["path"] == "stage1_block1/LIF_0"
    assert (rows[-1]["path"], rows[-1]["shape"]) == ("head", [4, 2, 7])


def test_layers_prints_a_row_with_path_and_shape_per_layer(capsys):
    assert main(["resnet8", "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[2].split() == "stem conv 1x1x8x8x16 144 9.216k - 4.096k".split()
    assert lines[-1].split() == "head linear 1x1x10 650 640 - 40".split()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["resnte18"], "did you mean 'resnet18'"),
        (["resnet18", "resnet8", "--layers"], "exactly one network"),
        (["--layers"], "exactly one network"),
        (["resnet8", "--neuron", "PTI"], "invalid choice: 'PTI'"),
        (["resnet8", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["resnet8", "--batch", "9" * 30], "--batch must be at most 2147483647, got 9"),
        (["resnet8", "--fields", "[1]"], r"--fields must be a JSON object, got \[1\]"),
        (["resnet8", "--fields", '{"widht": 8}'], "resnet8: .*widht"),
    ],
)
def test_user_mistakes_print_one_error_line(arguments, message, capsys):
    assert main(arguments) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert re.search(message, last)


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "-"),
        (999, "999"),
        (1000, "1.000k"),
        (999_949, "999.9k"),
        (999_951, "1.000M"),
        (11_180_810, "11.18M"),
        (2_285_373_952, "2.285G"),
        (999_960_000_000_000_000, "1.000E"),
        (4 * 10**18, "4.000e+18"),
    ],
)
def test_numbers_have_four_digits_and_a_unit(count, text):
    assert format_count(count) == text

"""docs/networks: pages, tables and pictures agree with the code of the networks."""

import inspect
import re
from dataclasses import replace

import pytest

from docs._build.diagrams import DOCS, END, FAMILIES, START, draw, get_file, main, make_table
from docs._build.pictures.graph import make_overview, zoom
from pit_jax.models import MODELS, create
from pit_jax.models.published_inputs import INPUTS
from pit_jax.models.trace import trace
from pit_jax.neurons import ReLU

COMMON = {"num_classes", "neuron", "num_steps", "dtype", "parent", "name"}
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.page)
each_picture = pytest.mark.parametrize(
    "picture", [p for family in FAMILIES for p in family.pictures], ids=lambda p: p.network
)


def read_page(family):
    return (DOCS / "networks" / f"{family.page}.md").read_text()


def test_every_network_has_a_page():
    assert sorted(name for family in FAMILIES for name in family.networks) == sorted(MODELS)


def read_table(family):
    return read_page(family).partition(START)[2].partition(END)[0]


@each_family
def test_the_first_row_of_a_table_is_up_to_date(family):
    assert read_table(family).startswith(make_table(replace(family, networks=family.networks[:1])))


@pytest.mark.slow
@each_family
def test_the_table_of_a_page_is_up_to_date(family):
    assert read_table(family) == make_table(family)


@each_family
def test_a_page_shows_the_pictures_of_its_family(family):
    shown = re.findall(r"!\[.+\]\(\.\./(.+)\)", read_page(family))
    assert shown == [get_file(picture).relative_to(DOCS).as_posix() for picture in family.pictures]


@each_picture
def test_a_picture_is_up_to_date(picture):
    assert get_file(picture).read_text() == draw(picture)


def trace_network(name, **kw):
    model = create(name, num_classes=10, neuron=ReLU, **kw)
    return trace(model, INPUTS[name].batch(1, 1)).nodes


def list_branches(picture):
    return [
        (branch.fork, branch.join, [node.kind for node in branch.nodes], branch.lane)
        for branch in picture.branches
    ]


def test_consecutive_equal_blocks_are_drawn_once():
    picture = make_overview(trace_network("resnet18", stages=(3, 2), width=4))
    names = [node.path.partition("/")[0] for node in picture.path]
    repeats = dict(zip(names, picture.repeats, strict=True))
    assert {name: n for name, n in repeats.items() if name.startswith("stage")} == {
        "stage1_block1": 3,
        "stage2_block1": 1,
        "stage2_block2": 1,
    }


def test_a_block_has_its_layers_on_the_main_path_and_a_shortcut_around_them():
    picture = zoom(trace_network("resnet18", stages=(1, 1), width=4), "stage2_block1")
    path = ["input", "norm", "neuron", "conv", "norm", "neuron", "conv", "add"]
    assert [node.kind for node in picture.path] == path
    assert list_branches(picture) == [(2, 7, ["conv"], 1)]


def test_longer_branches_are_farther_from_the_main_path():
    small = {"depth": 1, "width": 16}
    picture = zoom(trace_network("spike_driven_transformer", **small), "block1/attention")
    layer = ["conv", "norm", "neuron"]
    path = ["input", "neuron", *layer, "product", "sum", "neuron", "product", "conv", "norm", "add"]
    assert [node.kind for node in picture.path] == path
    assert list_branches(picture) == [(1, 5, layer, 1), (1, 8, layer, 2), (0, 11, [], 3)]


@pytest.mark.parametrize("path", sorted((DOCS / "networks").glob("*.md")), ids=lambda p: p.stem)
def test_the_examples_of_a_page_run(path):
    blocks = re.findall(r"```python\n(.+?)```", path.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


@each_family
def test_a_page_lists_all_fields_of_its_networks(family):
    rows = read_page(family).partition("## Fields")[2].partition("\n## ")[0].splitlines()
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.partition(" | ")[0])}
    taken = [set(inspect.signature(MODELS[name]).parameters) for name in family.networks]
    assert listed == set().union(*taken) - COMMON


def test_an_error_for_an_unknown_page_lists_all_pages(capsys):
    assert main(["diagrams", "resnets"]) == 2
    assert "unknown page 'resnets'. Use resnet, sew_resnet" in capsys.readouterr().err

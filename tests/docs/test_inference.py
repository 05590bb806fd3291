"""docs/theory/inference.md: its examples run, and its pictures and tables are up to date."""

import json
import re
from functools import partial

import numpy as np
import pytest

from docs._build import inference
from docs._build.inference import PAGE, list_blocks, list_pictures, read_block, replace_block
from docs._build.pictures import folds
from pit_jax.export import NotInNIR, to_stablehlo
from pit_jax.inference import NotFoldable, compile
from pit_jax.inference.compiler import units
from pit_jax.inference.compiler.quantize import quantize
from pit_jax.inference.listing import format_table
from pit_jax.inference.runtime import fixed_point, nodes
from pit_jax.neurons import PIT
from tests.inference.networks import make_firing_network
from train.export.__main__ import FORMATS

TEXT = PAGE.read_text()
EXPORT = (PAGE.parents[1] / "guide" / "export.md").read_text()
FOLDS = {one.name for one in folds.FOLDS}
NUMBER = re.compile(r"[\d,.]+")


@pytest.mark.parametrize("name", list_pictures())
def test_a_picture_is_up_to_date(name):
    assert folds.get_file(name).read_text() == list_pictures()[name]()


def test_the_page_shows_all_pictures_in_order():
    shown = re.findall(r"!\[.+\]\((.+\.svg)\)", TEXT)
    assert shown == [f"../images/inference/{name}.svg" for name in list_pictures()]


@pytest.mark.parametrize("name", sorted(list_blocks().keys() - FOLDS))
def test_a_table_is_up_to_date(name):
    assert read_block(TEXT, name) == list_blocks()[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FOLDS))
def test_the_costs_of_a_fold_are_up_to_date(name):
    shown, now = read_block(TEXT, name).splitlines(), list_blocks()[name]().splitlines()
    assert [re.split(r"  +", line)[:2] for line in shown] == [
        re.split(r"  +", line)[:2] for line in now
    ]
    # The last bits differ between machines, and so do some spikes.
    for row, same in zip(shown, now, strict=True):
        values = ([float(x.replace(",", "")) for x in NUMBER.findall(r)[-5:]] for r in (row, same))
        np.testing.assert_allclose(*values, rtol=0.02, err_msg=row)


def test_only_the_text_between_the_markers_of_a_name_is_replaced():
    page = "".join(f"{name}\n{inference.START.format(name)}old\n{inference.END}\n" for name in "ab")
    assert replace_block(page, "b", "new\n") == page[::-1].replace("dlo", "wen", 1)[::-1]


def test_the_example_for_jax_alone_runs_an_exported_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, variables, images = make_firing_network("cifarnet", partial(PIT, levels=4), 1)
    program = compile(model, variables, images, verify=False)  # As in the example above.
    to_stablehlo(program, "digits.stablehlo")
    example = re.search(r"## JAX without pit_jax\n.*?```python\n(.*?)```", EXPORT, re.S)[1]
    before, _, alone = example.partition("# From here on without pit_jax:\n")
    imports = [line for line in before.splitlines() if line.startswith("import ")]
    names = {"images": images}
    exec("\n".join(line for line in imports if line != "import pit_jax") + "\n" + alone, names)
    assert "pit_jax" not in alone
    assert np.array_equal(names["logits"], program(images))


def test_the_printed_listing_is_of_the_digits_network():
    digits = {"num_classes": 10, "width": 24, "stages": (1, 1, 1), "num_steps": 1}
    program = quantize(folds.fold_network("resnet8", (1, 8, 8, 1), **digits), 1, largest_input=1.0)
    shown = read_block(TEXT, "printed").removeprefix("```text\n").partition("\n\n")[0]
    trained = re.compile(r"in units of .*|of \d+ bits.*|, threshold .*")  # Depends on training.
    assert trained.sub("", shown) == trained.sub("", format_table(program, 1))


def test_the_copies_of_sew_resnet34_follow_from_its_streams():
    weights, all_copies = folds.count_copies("sew_resnet34")
    assert f"has {weights / 1e6:.1f} million weights, and {all_copies / 1e6:.1f} million" in TEXT
    read = folds.count_layer_copies("sew_resnet34")
    most = {path for path, n in read.items() if n == max(read.values())}
    assert max(read.values()) == 7
    assert most == {"stage4_block1/conv1", "stage4_block1/shortcut"}


def test_the_bits_on_the_page_are_the_constants_of_the_code():
    assert f"have {nodes.PIXEL_BITS} bits" in TEXT
    assert f"has {units.EXTRA_BITS} bits more" in TEXT
    assert f"up to {fixed_point.GUARD_BITS} bits" in TEXT
    assert f"1/{2**fixed_point.LEAK_BITS}" in TEXT


def test_the_accuracy_at_threshold_one_is_up_to_date():
    found = json.loads((inference.BENCHMARKS / "threshold_one.json").read_text())
    for name in ("accuracy", "accuracy_threshold_one"):
        assert f"{found[name]:.2%}".replace("%", " %") in TEXT


def test_all_formats_are_listed():
    assert sorted(re.findall(r"^\| [^|]+ \| `(\w+)`", EXPORT, re.M)) == sorted(FORMATS)
    assert NotFoldable.__name__ in TEXT and NotInNIR.__name__ in EXPORT


def test_the_readme_has_the_agreement_of_its_run():
    readme = " ".join((PAGE.parents[2] / "README.md").read_text().split())
    runs = json.loads(inference.AGREEMENT.read_text())
    (run,) = (r for r in runs if (r["samples"], r["weights"]) == (10_000, "float32"))
    agreement = f"the predicted class is the same for all but {run['differing']}."
    assert f"on 10,000 Fashion-MNIST images, {agreement}" in readme

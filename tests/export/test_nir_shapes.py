"""Nodes of NIR graphs that cannot read their inputs are refused in words of this package."""

import nir
import numpy as np
import pytest

from pit_jax.export import NotInNIR, from_nir

ONE = np.ones((2, 5), np.float32)
KERNEL = np.ones((2, 1, 3, 3), np.float32)
CONV = nir.Conv2d((4, 5), KERNEL, 1, 0, 1, 1, np.zeros(2))


@pytest.mark.parametrize(
    "shape, node, message",
    [
        ([1, 5], nir.Linear(ONE), r"inputs of the shape \(5, 1\), .* declare the input as \[5\]"),
        ([1, 5], nir.Affine(ONE, np.ones(2)), r"not fit .* as \[5\], not \[1, 5\]\.$"),
        ([4], nir.Linear(ONE), r"weights of the shape \(2, 5\), which do not fit inputs .* \(4,\)"),
        ([3, 4, 4], nir.Linear(ONE), r"do not fit inputs of the shape \(4, 4, 3\), channels last"),
        ([1, 5], CONV, r"reads images \(H, W, C\), channels last, not the shape \(5, 1\)"),
        ([1], CONV, r"reads images \(H, W, C\), channels last, not the shape \(1,\)"),
        ([1, 5], nir.SumPool2d((2, 2), (2, 2), (0, 0)), r"reads images .* \(5, 1\)"),
        ([5], nir.AvgPool2d((2, 2), (2, 2), (0, 0)), r"reads images .* \(5,\)"),
    ],
)
def test_inputs_of_another_rank_or_size_are_refused_without_words_of_flax(shape, node, message):
    nodes = {"in": nir.Input(np.array(shape)), "node": node, "out": nir.Output(None)}
    graph = nir.NIRGraph(nodes, [("in", "node"), ("node", "out")], type_check=False)
    with pytest.raises(NotInNIR, match=f"node .*{message}") as error:
        from_nir(graph, num_steps=1)
    assert "flax" not in str(error.value).lower() and len(str(error.value).splitlines()) == 1

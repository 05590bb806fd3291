"""The memory of compiled gradients, compared with a program and a network counted by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from pit_jax import models
from pit_jax.analysis.compiled import CompiledMemory, compile_memory, count_held
from pit_jax.neurons import PIT, ReLU

PROGRAM = """
HloModule jit_step, is_scheduled=true

%body (p: f32[3]) -> f32[3] {
  ROOT %p = f32[3]{0} parameter(0)
}

ENTRY %main (images: f32[8], weights: f32[8]) -> (f32[2], f32[8]) {
  %images = f32[8]{0} parameter(0), metadata={op_name="images"}
  %weights = f32[8]{0} parameter(1)
  %constant.1 = f32[] constant(0)
  %copied = f32[8]{0} fusion(%weights), kind=kLoop, calls=%body
  %dead = f32[100]{0} fusion(%images, %weights), kind=kLoop, calls=%body
  %membrane = bf16[8]{0} fusion(%dead), kind=kLoop, calls=%body
  %viewed = bf16[2,4]{1,0} bitcast(%membrane)
  %both = (s8[4]{0}, /*index=1*/pred[5]{0}) custom-call(%images), custom_call_target="f"
  %first = s8[4]{0} get-tuple-element(%both), index=0
  %second = pred[5]{0} get-tuple-element(%both), index=1
  %logits = f32[2]{0} fusion(%first, %membrane), kind=kLoop, calls=%body
  %later = f32[50]{0} fusion(%viewed, %copied, %second, %images), kind=kLoop, calls=%body
  ROOT %tuple = (f32[2]{0}, f32[50]{0}) tuple(%logits, %later)
}
"""


def test_arrays_in_use_at_the_logits_are_those_that_later_lines_read() -> None:
    # The membrane (2 bytes a value) through its view, the second part of the call (1), the logits,
    # which are a result; no copy of weights, nothing that is dead, and not the images themselves.
    assert count_held(PROGRAM) == 8 * 2 + 5 * 1 + 2 * 4


@pytest.mark.parametrize(
    "program",
    [PROGRAM.replace("fusion(%first, %membrane)", "parameter(2)"), PROGRAM + "command_buffer"],
)
def test_a_program_that_hides_the_logits_has_no_count(program: str) -> None:
    assert count_held(program) is None


def measure(neuron: Any, steps: int = 1, **options: Any) -> CompiledMemory:
    model = models.create(
        "resnet8", num_classes=10, neuron=neuron, num_steps=steps, stages=(1,), width=4
    )
    return compile_memory(
        model,
        jax.ShapeDtypeStruct((8, 8, 8, 3), jnp.float32),
        jax.ShapeDtypeStruct((8,), jnp.int32),
        loss=lambda logits, labels: (logits.mean(axis=(1, 2)) * labels).sum(),
        **options,
    )


def test_pit_holds_at_most_a_quarter_more_than_relu() -> None:
    relu, pit = measure(ReLU), measure(partial(PIT, levels=4))
    array, images = 4 * 8 * 8 * 8 * 4, 4 * 8 * 8 * 8 * 3
    # Three outputs and two inputs of convolutions, a copy of the images, and some rows.
    assert 0 <= relu.held - (5 * array + images) < array / 4
    assert relu.held <= pit.held <= 1.25 * relu.held
    assert relu.held <= relu.temporaries


def test_the_compiler_gets_its_options() -> None:
    options = {"xla_backend_optimization_level": 0}
    assert measure(ReLU, compiler_options=options).temporaries > 0
    with pytest.raises(Exception, match="No such compile option"):
        measure(ReLU, compiler_options={"xla_no_such_option": 0})

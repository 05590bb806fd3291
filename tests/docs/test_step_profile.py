"""benchmarks/roofline.py: it finds the kinds of operations of a compiled program."""

from benchmarks.roofline import KINDS, find_kinds, sum_by_kind

PROGRAM = """
HloModule jit_train, is_scheduled=true

%fused_computation.1 (p: f32[2]) -> f32[2] {
  ROOT %convolution.9 = f32[2]{0} convolution(%p, %p), dim_labels=b01f_01io->b01f
}

%fused_computation.2 (p: f32[2]) -> f32[2] {
  ROOT %copy.9 = f32[2]{0} copy(%p)
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %x = f32[2]{0} parameter(0)
  %ynn_fusion = f32[2]{0} fusion(%x), kind=kCustom, calls=%fused_computation.1
  %copy_fusion.2 = f32[2]{0} fusion(%x), kind=kLoop, calls=%fused_computation.2
  %a = f32[2]{0} fusion(%x), calls=%fused_computation.2, metadata={op_name="jit(f)/b/norm1/mul"}
  %b = f32[2]{0} fusion(%x), calls=%fused_computation.2, metadata={op_name="jit(f)/b/PIT_0/mul"}
  ROOT %c = f32[2]{0} add(%a, %b), metadata={op_name="jit(f)/add"}
}
"""


def test_each_instruction_has_the_kind_of_its_operation():
    found = find_kinds(PROGRAM)
    names = ("ynn_fusion", "a", "b", "copy_fusion.2", "c")
    assert [found[name] for name in names] == list(KINDS)


def test_times_of_a_profile_are_added_by_kind():
    events = [("a", 1.0), ("a", 2.0), ("ynn_fusion", 4.0), ("Handle inputs", 8.0)]
    found = sum_by_kind(events, find_kinds(PROGRAM))
    assert found["norms"] == 3 and found[KINDS[0]] == 4 and sum(found.values()) == 7

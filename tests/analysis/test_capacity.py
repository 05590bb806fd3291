"""Capacity: closed forms and logarithms equal enumeration."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pit_jax.analysis.capacity import (
    capacity_paper,
    configurations,
    count_paper,
    enumerate_trains,
    enumerate_values,
    generic_scales,
    generic_weights,
    log_configurations,
    log_values_ones,
    log_values_pit,
    log_values_shared,
    table_1,
    values_ones,
    values_pit,
    values_shared,
)

# T, N, D: configurations, shared generic k, time-varying a, k = 1, and the paper's.
ENUMERATED = [
    ((2, 2, 1), (16, 9, 16, 5, 8)),
    ((2, 2, 2), (81, 25, 81, 9, 18)),
    ((4, 3, 1), (4096, 125, 4096, 13, 32)),
    ((2, 1, 1), (4, 3, 4, 3, 4)),
    ((1, 3, 2), (27, 27, 27, 7, 27)),
]
LOGARITHMS = {
    capacity_paper: count_paper,
    log_configurations: configurations,
    log_values_shared: values_shared,
    log_values_pit: values_pit,
    log_values_ones: values_ones,
}
LAYER = (10, 64 * 32 * 32, 4)

small = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)).filter(
    lambda sizes: configurations(*sizes) <= 1000
)
large = st.tuples(st.integers(1, 50), st.integers(1, 3000), st.integers(1, 20))


def list_pairs(sizes):
    """Return the pairs of a step and its pattern in all trains."""
    return {(i, step) for train in enumerate_trains(*sizes) for i, step in enumerate(train)}


def list_tuples(sizes):
    """Return the tuples of one sum for each step, over all trains."""
    k = generic_weights(*sizes)
    return {
        tuple(sum(w * s for w, s in zip(k, step, strict=True)) for step in train)
        for train in enumerate_trains(*sizes)
    }


@pytest.mark.parametrize(("sizes", "numbers"), ENUMERATED)
def test_enumeration_finds_the_table(sizes, numbers):
    trains = set(enumerate_trains(*sizes))
    shared = enumerate_values(*sizes)
    varying = enumerate_values(*sizes, a=generic_scales(*sizes))
    ones = enumerate_values(*sizes, k=[1] * sizes[1])
    assert tuple(map(len, (trains, shared, varying, ones, list_pairs(sizes)))) == numbers


@pytest.mark.parametrize(("sizes", "numbers"), ENUMERATED)
def test_closed_forms_equal_the_table(sizes, numbers):
    forms = (configurations, values_shared, values_pit, values_ones, count_paper)
    assert tuple(form(*sizes) for form in forms) == numbers
    assert capacity_paper(*sizes) == pytest.approx(math.log(numbers[-1]), rel=1e-15)


@given(small)
def test_configurations_is_the_number_of_spike_trains(sizes):
    assert len(set(enumerate_trains(*sizes))) == configurations(*sizes)


@given(small)
def test_values_shared_is_the_number_of_values_with_shared_weights(sizes):
    assert len(enumerate_values(*sizes)) == values_shared(*sizes)


@given(small, st.booleans())
def test_values_pit_is_the_number_of_values_with_scales(sizes, time_varying):
    a = generic_scales(*sizes, time_varying=time_varying)
    assert len(enumerate_values(*sizes, a=a)) == values_pit(*sizes, time_varying=time_varying)


@given(small)
def test_values_ones_counts_the_integers_up_to_all_spikes(sizes):
    values = enumerate_values(*sizes, k=[1] * sizes[1])
    assert sorted(values) == list(range(values_ones(*sizes)))


@given(small)
def test_one_value_for_each_step_distinguishes_all_trains(sizes):
    assert len(list_tuples(sizes)) == configurations(*sizes)


@given(small)
def test_the_paper_counts_pairs_of_a_step_and_a_pattern(sizes):
    assert len(list_pairs(sizes)) == count_paper(*sizes)


@given(small, st.integers(-3, 3))
def test_the_lowest_spike_does_not_change_a_count(sizes, lowest):
    a = generic_scales(*sizes)
    assert len(enumerate_values(*sizes, lowest=lowest)) == values_shared(*sizes)
    assert len(enumerate_values(*sizes, a=a, lowest=lowest)) == values_pit(*sizes)


@given(small, st.data())
def test_no_coefficients_give_more_values_than_generic_ones(sizes, data):
    steps, neurons, _ = sizes
    numbers = st.fractions(-2, 2, max_denominator=6) | st.floats(-2, 2)
    k = data.draw(st.lists(numbers, min_size=neurons, max_size=neurons))
    row = st.lists(numbers, min_size=neurons, max_size=neurons)
    a = data.draw(st.lists(row, min_size=steps, max_size=steps))
    assert len(enumerate_values(*sizes, k=k)) <= values_shared(*sizes)
    assert len(enumerate_values(*sizes, k=k, a=a)) <= values_pit(*sizes)


@given(large)
def test_logarithms_equal_those_of_the_integers(sizes):
    for logarithm, count in LOGARITHMS.items():
        assert logarithm(*sizes) == pytest.approx(math.log(count(*sizes)), rel=1e-13)
    once = {"time_varying": False}
    assert log_values_pit(*sizes, **once) == log_values_shared(*sizes)
    assert values_pit(*sizes, **once) == values_shared(*sizes)


@pytest.mark.parametrize("logarithm", LOGARITHMS)
def test_the_logarithm_of_a_real_layer_does_not_overflow(logarithm):
    assert math.isfinite(logarithm(*LAYER))
    assert logarithm(*LAYER) == pytest.approx(math.log(LOGARITHMS[logarithm](*LAYER)), rel=1e-13)


def test_logarithms_do_not_compute_the_integer():
    huge = (10**3, 10**15, 10**3)
    assert log_configurations(*huge) == pytest.approx(1e18 * math.log(1001), rel=1e-13)
    assert log_values_shared(*huge) == pytest.approx(1e15 * math.log(1e6 + 1), rel=1e-13)
    assert capacity_paper(*huge) == pytest.approx(1e15 * math.log(1001), rel=1e-13)


@given(large)
def test_all_counts_are_equal_at_one_step(sizes):
    _, neurons, levels = sizes
    one = (1, neurons, levels)
    assert count_paper(*one) == configurations(*one) == values_shared(*one) == values_pit(*one)


@given(large)
def test_the_paper_counts_too_few_except_for_one_neuron_or_one_step(sizes):
    steps, neurons, levels = sizes
    excess = count_paper(*sizes) - values_shared(*sizes)
    if neurons == 1 or steps == 1:
        assert excess == steps - 1
    else:
        assert excess < 0
    beyond = count_paper(*sizes) - configurations(*sizes)
    assert beyond == 0 if steps == 1 or sizes == (2, 1, 1) else beyond < 0


@given(st.integers(2, 300), st.integers(1, 20), st.integers(2, 20))
def test_only_the_papers_formula_prefers_fewer_steps_with_more_levels(neurons, steps, factor):
    long, short = (steps * factor, neurons, 1), (steps, neurons, factor)
    assert count_paper(*long) < count_paper(*short)
    assert values_shared(*long) == values_shared(*short)
    assert values_pit(*long) > values_pit(*short)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("row", range(5))
def test_rows_of_table_1_equal_the_print_and_the_enumerated_values(row, levels):
    steps, neurons = 2, 2
    method = table_1(levels)[row]
    formula = method.printed.replace("·", "*").replace("^", "**")
    sizes = {"log": math.log, "T": steps, "N": neurons, "D": levels}
    assert method.capacity_paper(steps, neurons) == pytest.approx(eval(formula, sizes), rel=1e-15)
    span = len(method.spikes) - 1
    a = {
        "none": None,
        "a": [[Fraction(2, 3)] * neurons] * steps,
        "a_j": generic_scales(steps, neurons, span, time_varying=False),
        "a_ij": generic_scales(steps, neurons, span),
    }[method.scale]
    values = enumerate_values(steps, neurons, span, a=a, lowest=method.spikes[0])
    assert len(values) == method.values(steps, neurons)
    assert method.log_values(steps, neurons) == pytest.approx(math.log(len(values)), rel=1e-15)


def test_table_1_has_the_five_methods_of_the_paper():
    assert [method.name for method in table_1(4)] == [
        "Vanilla Binary Spike",
        "Ternary Spike",
        "Trainable Ternary Spike",
        "Real Spike",
        "Ours",
    ]
    assert [list(method.spikes) for method in table_1(2)] == [
        [0, 1],
        [-1, 0, 1],
        [-1, 0, 1],
        [0, 1],
        [0, 1, 2],
    ]


def test_ternary_spikes_with_shared_weights_have_2T_plus_1_sums_for_each_neuron():
    for steps, neurons in [(1, 3), (2, 2), (3, 2), (4, 1)]:
        values = enumerate_values(steps, neurons, 2, lowest=-1)
        assert len(values) == (2 * steps + 1) ** neurons == values_shared(steps, neurons, 2)


def test_values_are_exact_fractions_of_the_given_coefficients():
    tenth = Fraction(1, 10)
    assert enumerate_values(1, 2, 1, k=[tenth, 2 * tenth]) == {
        Fraction(0),
        tenth,
        2 * tenth,
        3 * tenth,
    }
    # Neither the floats 0.1 + 0.2 nor the fractions that they represent add up to 0.3.
    assert Fraction(0.3) not in enumerate_values(1, 2, 1, k=[0.1, 0.2])
    assert enumerate_values(2, 1, 1, k=[0.5], a=[[1], [4]]) == {
        0,
        Fraction(1, 2),
        2,
        Fraction(5, 2),
    }


def test_the_integers_of_numpy_do_not_wrap_around():
    sizes = (np.int32(10), np.prod((64, 32, 32)), np.uint8(255))
    for count in LOGARITHMS.values():
        assert count(*sizes) == count(*map(int, sizes))
    assert len(enumerate_values(np.int8(2), np.int8(2), np.int8(2))) == 25


@pytest.mark.parametrize("name", ["num_steps", "num_neurons", "levels"])
@pytest.mark.parametrize("function", [*LOGARITHMS, *LOGARITHMS.values(), enumerate_values])
def test_sizes_below_one_raise_with_their_name(function, name):
    sizes = {"num_steps": 2, "num_neurons": 2, "levels": 2, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got 0"):
        function(**sizes)


@pytest.mark.parametrize("function", [count_paper, configurations, values_shared, values_pit])
def test_numbers_that_take_minutes_are_refused_with_the_quick_functions(function):
    with pytest.raises(ValueError, match=r"about 2.(79|8)e\+08 digits; .* begin with log_"):
        function(1, 400_000_000, 4)


@pytest.mark.parametrize("function", [enumerate_trains, enumerate_values])
def test_too_many_trains_raise_before_the_first_is_computed(function):
    with pytest.raises(ValueError, match=r"10\^4.581e\+05 spike trains; at most 100,000"):
        function(*LAYER)


def test_coefficients_of_a_wrong_size_raise():
    with pytest.raises(ValueError, match="each of 2 neurons, got 3"):
        enumerate_values(2, 2, 1, k=[1, 2, 3])
    with pytest.raises(ValueError, match=r"each of 2 rows, got rows of \[2, 1\]"):
        enumerate_values(2, 2, 1, a=[[1, 2], [1]])

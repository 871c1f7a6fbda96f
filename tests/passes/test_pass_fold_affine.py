"""Scales and shifts go into the weights of the linear nodes around them."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import array, assert_same, graph, lines, value, weight

from keramos import ops
from keramos.expr import call, where
from keramos.graph import Value, apply, elementwise
from keramos.passes.fold_affine import fold_affine
from keramos.primitives import Contract, Map


def conv(x: Value, filters: int, *, padding: str = "valid", groups: int = 1) -> Value:
    """Return a 3x3 convolution with weights."""
    channels = (x.shape[-1] or 0) // groups
    kernel = weight("conv/kernel", 3, 3, channels, filters)
    return ops.conv(x, kernel, padding=padding, groups=groups)


def normalised(x: Value) -> Value:
    """Return what BatchNormalization makes of x."""
    scale, offset = (weight(f"norm/{n}", x.shape[-1] or 0) for n in ("scale", "offset"))
    return elementwise(lambda x, a, b: x * a + b, x, scale, offset)


def test_a_scale_behind_a_convolution_goes_into_its_kernel() -> None:
    x = value(8, 8, 3)

    assert lines(fold_affine(graph(ops.relu(normalised(conv(x, 4)))))) == [
        "%0: [6, 6, 4] = Conv(x, conv/kernel)",
        "%1: [6, 6, 4] = Map[add(x0, x1)](%0, norm/offset)",
        "%2: [6, 6, 4] = Map[max(x0, 0)](%1)",
        "return y = %2",
    ]


def test_the_kernel_is_scaled_per_output_channel() -> None:
    y = normalised(conv(value(8, 8, 3), 4))

    kernel, *_ = fold_affine(graph(y)).constants()
    old, scale = weight("conv/kernel", 3, 3, 3, 4), weight("norm/scale", 4)
    np.testing.assert_allclose(array(kernel), array(old) * array(scale), rtol=1e-6)


def test_a_bias_in_between_is_scaled_too() -> None:
    y = conv(value(8, 8, 3), 4)
    both = elementwise(
        lambda x, c, a, b: (x + c) * a + b,
        y,
        *(weight(name, 4) for name in ("conv/bias", "norm/scale", "norm/offset")),
    )

    assert lines(fold_affine(graph(both))) == [
        "%0: [6, 6, 4] = Conv(x, conv/kernel)",
        "%1: [6, 6, 4] = Map[add(x0, x1)](%0, conv/bias)",
        "return y = %1",
    ]


def test_an_activation_that_reads_its_operand_three_times_stays_around() -> None:
    y = conv(value(8, 8, 3), 4)
    leaky = elementwise(
        lambda x, a: where(x * a >= 0.0, x * a, x * a * 0.2),
        y,
        weight("norm/scale", 4),
    )

    assert lines(fold_affine(graph(leaky))) == [
        "%0: [6, 6, 4] = Conv(x, conv/kernel)",
        "%1: [6, 6, 4] = Map[where(ge(x0, 0), x0, mul(x0, 0.2))](%0)",
        "return y = %1",
    ]


def test_a_convolution_that_something_else_reads_keeps_its_kernel() -> None:
    y = conv(value(8, 8, 3), 4)
    before = graph(y, normalised(y))

    assert lines(fold_affine(before)) == lines(before)


def test_a_scale_per_pixel_stays() -> None:
    y = conv(value(8, 8, 3), 4) * weight("scale", 6, 6, 1)

    assert lines(fold_affine(graph(y))) == lines(graph(y))


def test_a_scale_and_shift_in_front_of_a_valid_convolution_become_a_bias() -> None:
    y = conv(normalised(value(8, 8, 4)), 4, groups=2)

    assert lines(fold_affine(graph(y))) == [
        "%0: [6, 6, 4] = Conv(x, conv/kernel)",
        "%1: [6, 6, 4] = Map[add(x0, x1)](%0, conv/bias)",
        "return y = %1",
    ]


def test_a_shift_in_front_of_padding_stays() -> None:
    y = conv(normalised(value(8, 8, 4)), 4, padding="same")

    assert lines(fold_affine(graph(y))) == lines(graph(y))


def test_a_scale_in_front_of_padding_goes_into_the_kernel() -> None:
    y = conv(value(8, 8, 4) * weight("norm/scale", 4), 4, padding="same")

    assert lines(fold_affine(graph(y))) == [
        "%0: [8, 8, 4] = Conv(x, conv/kernel)",
        "return y = %0",
    ]


def test_a_dense_layer_takes_the_scale_in_front_of_it() -> None:
    x = normalised(value(5, 4))
    y = ops.matmul(x, weight("dense/kernel", 4, 2))

    assert lines(fold_affine(graph(y))) == [
        "%0: [5, 2] = Contract(x, dense/kernel)",
        "%1: [5, 2] = Map[add(x0, x1)](%0, dense/bias)",
        "return y = %1",
    ]


def test_data_far_from_zero_are_centred_before_they_are_scaled() -> None:
    mean, deviation = weight("norm/mean", 4), weight("norm/deviation", 4)
    x = elementwise(lambda x, a, b: (x - a) / b, value(4), mean, deviation)
    y = graph(ops.matmul(x, weight("dense/kernel", 4, 2)))

    assert lines(fold_affine(y)) == lines(y)


def test_a_scale_of_a_scale_is_one_scale() -> None:
    names = ("a/scale", "a/offset", "b/scale", "b/offset")
    y = elementwise(
        lambda x, a, b, c, d: (x * a + b) * c + d,
        value(8, 4),
        *(weight(name, 4) for name in names),
    )

    assert lines(fold_affine(graph(y))) == [
        "%0: [8, 4] = Map[add(mul(x0, x1), x2)](x, a/scale, a/bias)",
        "return y = %0",
    ]


def test_an_activation_in_front_stays() -> None:
    x, scale = value(8, 8, 4), weight("scale", 4)
    activated = elementwise(lambda x, a: call("max", x * a, 0), x, scale)
    y = graph(conv(activated, 4))

    assert lines(fold_affine(y)) == lines(y)


def test_numbers_that_make_the_operand_larger_stay() -> None:
    x = value(1, 4) * weight("scale", 3, 4)
    (y,) = apply(Contract((0, 1), (0, 1)), x, weight("dense/kernel", 3, 4, 2))

    assert lines(fold_affine(graph(y))) == lines(graph(y))


def test_what_is_centred_first_is_not_turned_round_for_another_factor() -> None:
    names = ("a/mean", "a/deviation", "b/scale")
    y = elementwise(
        lambda x, a, b, c: (x - a) / b * c, value(4), *(weight(n, 4) for n in names)
    )

    assert lines(fold_affine(graph(y))) == lines(graph(y))


def affine(x: Value, *shape: int) -> Value:
    """Return x by one number, less another, in Keras' way of writing it."""
    a, b = weight("norm/a", *shape), weight("norm/b", *shape)
    return elementwise(lambda x, a, b: (b - (x * a + a)) / 2, x, a, b)


X, Z = value(3, 4, 5), value(4, 3, 8)
CONTRACTIONS = [
    (Contract((2,), (0,)), X, weight("w", 5, 2)),
    (Contract((0,), (2,)), weight("w", 5, 2), X),
    (Contract((1, 0), (0, 2)), X, weight("w", 4, 2, 3)),
    (Contract((0, 2), (0, 1)), weight("w", 4, 2, 3), Z),
    (Contract((2,), (1,), (1, 0), (2, 0)), X, weight("w", 3, 5, 4, 2)),
    (Contract((1,), (2,), (2, 0), (0, 1)), weight("w", 3, 5, 4, 2), value(4, 3, 5)),
]


@pytest.mark.parametrize("case", CONTRACTIONS, ids=lambda case: str(case[0]))
def test_contractions_mean_the_same_with_all_axes_scaled(
    case: tuple[Contract, Value, Value],
) -> None:
    primitive, *operands = case
    side = 0 if operands[0].constant is None else 1
    shape = [d or 0 for d in operands[side].shape]
    paired = [
        primitive.a_contract + primitive.a_batch,
        primitive.b_contract + primitive.b_batch,
    ][side]
    scaled = [d if axis in paired else 1 for axis, d in enumerate(shape)]
    operands[side] = affine(operands[side], *scaled)
    before = graph(*apply(primitive, *operands))

    after = fold_affine(before)
    assert isinstance(after.nodes[0].primitive, Contract)
    assert_same(before, after)


@pytest.mark.parametrize("case", CONTRACTIONS, ids=lambda case: str(case[0]))
def test_contractions_mean_the_same_scaled_along_their_weights(
    case: tuple[Contract, Value, Value],
) -> None:
    primitive, a, b = case
    (y,) = apply(primitive, a, b)
    weights, own = (
        (b, primitive.b_contract) if a.constant is None else (a, primitive.a_contract)
    )
    kept = {d for axis, d in enumerate(weights.shape) if axis not in own}
    before = graph(affine(y, *((d or 0) if d in kept else 1 for d in y.shape)))

    after = fold_affine(before)
    assert isinstance(after.nodes[-1].primitive, Map)
    assert len(after.constants()) == 2
    assert_same(before, after)


@pytest.mark.parametrize(("groups", "filters"), [(1, 3), (2, 4), (2, 8), (4, 4)])
def test_groups_of_channels_mean_the_same_scaled(groups: int, filters: int) -> None:
    before = graph(
        affine(conv(affine(value(5, 5, 4), 4), filters, groups=groups), filters)
    )

    after = fold_affine(before)
    assert [type(node.primitive) for node in after.nodes] != []
    assert len(after.nodes) == 2 + 1
    assert_same(before, after)

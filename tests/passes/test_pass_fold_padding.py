"""Windows make the zeros around their inputs."""

from __future__ import annotations

from small_graphs import graph, lines, primitives, value, weight

from keramos import ops
from keramos.graph import Value
from keramos.passes.fold_padding import fold_padding
from keramos.primitives import Conv

AROUND = [(1, 2), (3, 4), (0, 0)]
CLOSE = [(1, 1), (1, 1), (0, 0)]
KERNEL = weight("conv/kernel", 3, 3, 2, 4)


def unchanged(y: Value) -> bool:
    """Return whether the pass leaves the graph of *y* as it is."""
    return str(fold_padding(graph(y))) == str(graph(y))


def test_a_convolution_takes_zeros_besides_its_own() -> None:
    x = ops.pad(value(8, 8, 2), AROUND)

    y = ops.conv(x, KERNEL, padding=[(1, 1), (0, 0)])
    assert primitives(fold_padding(graph(y))) == [
        Conv(
            strides=(1, 1),
            padding=((2, 3), (3, 4)),
            dilation=(1, 1),
            input_dilation=(1, 1),
            groups=1,
        )
    ]


def test_zeros_are_spread_like_the_input() -> None:
    x = ops.pad(value(8, 8, 2), AROUND)

    y = ops.conv(x, KERNEL, input_dilation=(2, 1))
    assert primitives(fold_padding(graph(y))) == [
        Conv(
            strides=(1, 1),
            padding=((2, 4), (3, 4)),
            dilation=(1, 1),
            input_dilation=(2, 1),
            groups=1,
        )
    ]


def test_other_numbers_stay() -> None:
    x = ops.pad(value(8, 8, 2), CLOSE, 1.0)

    assert unchanged(ops.conv(x, KERNEL))


def test_padded_channels_stay() -> None:
    x = ops.pad(value(8, 8, 1), [(0, 0), (0, 0), (1, 0)])

    assert unchanged(ops.conv(x, KERNEL))


def test_a_mean_counts_zeros_that_are_not_its_own() -> None:
    x = ops.pad(value(8, 8, 2), CLOSE)

    assert unchanged(ops.average_pool(x, 3))


def test_a_maximum_of_negative_numbers_meets_the_zeros() -> None:
    x = ops.pad(value(8, 8, 2), CLOSE)

    assert unchanged(ops.max_pool(x, 3))


def test_a_maximum_of_rectified_numbers_does_not() -> None:
    x = ops.pad(ops.relu(value(8, 8, 2)), CLOSE)

    assert lines(fold_padding(graph(ops.max_pool(x, 3)))) == [
        "%0: [8, 8, 2] = Map[max(x0, 0)](x)",
        "%1: [3, 3, 2] = Window(%0)",
        "return y = %1",
    ]


def test_a_maximum_of_zeros_alone_is_zero() -> None:
    x = ops.pad(ops.relu(value(8, 8, 2)), AROUND)

    assert unchanged(ops.max_pool(x, 3))


def test_a_maximum_of_what_may_be_negative_meets_the_zeros() -> None:
    x = ops.pad(ops.minimum(value(8, 8, 2), 6.0), CLOSE)

    assert unchanged(ops.max_pool(x, 3))

"""Round weights to what is stored of them: 16 bits, or 8 bits and a scale.

    float16: w' = the nearest half
    uint8:   w' = scale[o] * q,  q = round(w / scale[o]),
             scale[o] = max |w[..., o]| / 127

The codes q are stored as the bytes ``q + 128``. The scale belongs to what a weight
contributes to, the output channel, so that kernels multiply by it once, behind the sum:
o runs over the axes of a kernel that aren't summed over. An offset per channel as well
would lessen the error by 8 to 20 percent (measured on the weights of five real models)
and take a second sum over the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keramos.graph import Array, Constant, Factors, Graph, Node, Storage, Value
from keramos.primitives import Contract, Conv, Gather, Scan, Spec, product

# Biases and factors are few, and their errors don't average out in a sum.
FEWEST, LOWEST_RANK = 1024, 2
# In 8 bits, short sums (depthwise convolutions) cost most of the accuracy, and their
# weights are a small part of a model.
FEWEST_TERMS = 64
# Codes are -127 to 127: as many below zero as above.
LARGEST_CODE = 127
SMALLEST_HALF = float(np.finfo(np.float16).tiny)
LARGEST_HALF = float(np.finfo(np.float16).max)
# Devices take smaller scales for zero.
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def round_weights(
    graph: Graph,
    storage: Storage,
    *,
    fewest: int = FEWEST,
    terms: int = FEWEST_TERMS,
) -> Graph:
    """Return the graph with its weights of *fewest* numbers or more in *storage*.

    With "uint8" only those of sums of *terms* or more. What a format can't hold stays
    as it is: numbers beyond the range of float16, or all below its normal ones, and
    what uint8 would have to scale before it is summed.
    """
    if storage == "float32":
        return graph
    rounded: dict[Value, Value] = {}
    for value, axes in _weights(graph, fewest).items():
        if storage == "float16":
            found = _half(value)
        else:
            found = _codes(value, axes) if _terms(value, axes) >= terms else None
        if found is not None:
            rounded[value] = found

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        renewed = tuple(rounded.get(x, x) for x in inputs)
        return replace(node, inputs=renewed).results()

    return graph.rewrite(visit)


def scaled_axes(node: Node, index: int) -> int:
    """Return over how many last axes of input *index* a scale can act on the result.

    0 where it would have to act before the node does.
    """
    rank = len(node.inputs[index].shape)
    if index >= len(node.operands):
        return 0
    match node.primitive:
        case Conv() if index == 1:
            return 1
        case Contract(_, summed, _, batch) if index == 1 and not batch:
            return rank - len(summed) if {*summed} == {*range(len(summed))} else 0
        case Gather(axis) if index == 0 and axis < rank - 1:
            return 1
        case _:
            return 0


def quantise(
    weights: Array, axes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return codes and scale, which has the shape of the last *axes* of *weights*."""
    numbers = weights.astype(np.float64)
    outer = tuple(range(numbers.ndim - axes))
    scale = (np.abs(numbers).max(outer, initial=0) / LARGEST_CODE).astype(np.float32)
    scale[scale < SMALLEST_SCALE] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.where(scale > 0, np.rint(numbers / scale), 0)
    return codes.clip(-LARGEST_CODE, LARGEST_CODE).astype(np.float32), scale


def _weights(graph: Graph, fewest: int) -> dict[Value, int]:
    """Return the large constants, and over how many last axes each can be scaled."""
    axes: dict[Value, int] = {}
    for value, found in _readings(graph):
        axes[value] = min(axes.get(value, found), found)
    axes |= dict.fromkeys((y for y in graph.outputs if y in axes), 0)
    return {
        value: found
        for value, found in axes.items()
        if value.dtype == "float32"
        and len(value.shape) >= LOWEST_RANK
        and (product(value.shape) or 0) >= fewest
    }


def _readings(graph: Graph) -> Iterator[tuple[Value, int]]:
    """Yield each reading of a constant, and over how many axes it may be scaled."""
    for node in graph.nodes:
        inside = {}
        if isinstance(node.primitive, Scan):
            inside = _read_in_body(node.primitive)
        for index, x in enumerate(node.inputs):
            if x.constant is not None:
                yield x, inside.get(index, scaled_axes(node, index))


def _read_in_body(scan: Scan) -> dict[int, int]:
    """Return over how many axes each invariant of a Scan may be scaled."""
    body = scan.body
    if not isinstance(body, Graph):
        return {}
    first = scan.sequences + scan.states
    formal = {x: number for number, x in enumerate(body.inputs) if number >= first}
    axes: dict[int, int] = {}
    for node in body.nodes:
        for index, x in enumerate(node.inputs):
            if x in formal:
                number, found = formal[x], scaled_axes(node, index)
                axes[number] = min(axes.get(number, found), found)
    return axes | {formal[y]: 0 for y in body.outputs if y in formal}


def _terms(value: Value, axes: int) -> int:
    """Return how many products of a weight's numbers make a sum."""
    return product(value.shape[: len(value.shape) - axes]) or 0


def _half(value: Value) -> Value | None:
    """Return *value* rounded to halves; None where it doesn't fit."""
    source = value.constant
    if source is None:
        return None
    numbers = np.abs(source.array())
    largest = float(numbers[np.isfinite(numbers)].max(initial=0))
    if largest and not SMALLEST_HALF <= largest <= LARGEST_HALF:
        return None

    def load() -> Array:
        return source.array().astype(np.float16).astype(np.float32)

    recipe = ("float16", source.identity)
    return replace(
        value, constant=Constant(source.spec, load, recipe=recipe, storage="float16")
    )


def _codes(value: Value, axes: int) -> Value | None:
    """Return *value* as codes times a scale; None where that can't be."""
    source = value.constant
    if source is None or axes == 0 or not np.isfinite(source.array()).all():
        return None
    shape = value.shape[len(value.shape) - axes :]
    identity = ("uint8", axes, source.identity)
    codes = Constant(
        source.spec,
        lambda: quantise(source.array(), axes)[0],
        recipe=(*identity, "codes"),
        storage="uint8",
    )
    scale = Constant(
        Spec(shape),
        lambda: quantise(source.array(), axes)[1],
        recipe=(*identity, "scale"),
    )

    def load() -> Array:
        numbers, factor = quantise(source.array(), axes)
        return numbers * factor

    whole = Constant(
        source.spec,
        load,
        recipe=identity,
        storage="uint8",
        factors=Factors(codes, scale),
    )
    return replace(value, constant=whole)

"""The sample by which a package proves itself: inputs, outputs, a digest per stage.

Everything is computed in float64 and rounded: the bytes don't depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.emit.weights import Tensor, safetensors
from keramos.graph import Graph, Value, ValueKey
from keramos.plan.cpu import result_name
from keramos.plan.halves import Rounding
from keramos.plan.names import stage_names
from keramos.primitives import Shape, Spec
from keramos.runtime_min.vendored.verification import digest

Array = NDArray[Any]

# Lengths to try for free dimensions: small, but windows have to fit.
LENGTHS = (8, 16, 32, 64, 128, 224, 256, 512)

# Fractions of multiples of the golden ratio fill an interval evenly, on any machine.
GOLDEN = 0.6180339887498949
INTEGERS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """A batch of inputs, and the outputs where somebody else has computed them.

    Where the model has states, the inputs end with those that a first call on the same
    inputs leaves, and the outputs are those of a second call.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...] | None = None


def sample(graph: Graph) -> Sample:
    """Return inputs for *graph*, the same on every machine: a batch of one, if it may.

    Raises ValueError where no length of the free dimensions gives an output.
    """
    free = any(None in x.shape for x in graph.inputs)
    n = graph.batch or 1
    zeros = first_states(graph)
    for length in LENGTHS if free else LENGTHS[:1]:
        given = [_numbers(x.spec, n, length) for x in graph.public_inputs]
        if not free or _works(graph, [*given, *zeros]):
            return Sample((*given, *_states(graph, [*given, *zeros])))
    raise ValueError(f"no length up to {LENGTHS[-1]} of the free dimensions works")


def first_states(graph: Graph) -> list[Array]:
    """Return the states to begin with: zeros."""
    return [
        np.zeros((graph.batch or 1, *(d or 0 for d in x.shape)), x.dtype)
        for x in graph.state_inputs
    ]


def _states(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Return the states that a call on *inputs* leaves."""
    if not graph.state_inputs:
        return []
    found = outputs(graph, inputs)[len(graph.public_outputs) :]
    return [y.astype(x.dtype) for x, y in zip(graph.state_inputs, found, strict=True)]


def _works(graph: Graph, inputs: Sequence[Array]) -> bool:
    try:
        return all(y.size for y in graph.evaluate(*inputs))
    except (ValueError, IndexError):
        return False


def _numbers(spec: Spec, n: int, length: int) -> Array:
    shape = (n, *_lengths(spec.shape, length))
    count = int(np.prod(shape, dtype=np.int64))
    fractions = np.arange(1, count + 1) * GOLDEN % 1
    match spec.dtype:
        case "float32":
            numbers = fractions * 2 - 1
        case "int32":
            numbers = fractions * INTEGERS
        case "bool":
            numbers = np.floor(fractions * 2)
    return numbers.astype(spec.dtype).reshape(shape)


def _lengths(shape: Shape, length: int) -> tuple[int, ...]:
    return tuple(length if d is None else d for d in shape)


def emit_sample(
    graph: Graph,
    given: Sample,
    *,
    outputs: int | None = None,
    more: Mapping[str, Array] | None = None,
) -> bytes:
    """Return ``sample.safetensors`` with the first *outputs* of the graph, or all.

    The digests of stages are those of the first sample. *more* are further tensors,
    float32, by name.
    """
    tensors: dict[str, Tensor] = {}
    for number, (x, array) in enumerate(zip(graph.inputs, given.inputs, strict=True)):
        state = number - len(graph.public_inputs)
        label = f"input.{x.name}" if state < 0 else f"state.{state}"
        tensors[label] = _tensor(array, x.spec)
    stages = stage_names(graph)
    wanted = {y.key for y in graph.outputs}
    values: dict[ValueKey, Array] = {}
    for value, array in trace(graph, given.inputs):
        if value.node is not None:
            label = result_name(stages[value.node], value.index)
            numbers = digest(array[:1])
            tensors[f"stage.{label}"] = _tensor(numbers, Spec(numbers.shape))
        if value.key in wanted:
            values[value.key] = array
    computed = _batched(graph, values, given.inputs)
    public = graph.public_outputs[:outputs]
    pairs = zip(graph.output_names[: len(public)], public, strict=True)
    for place, (name, y) in enumerate(pairs):
        array = computed[place]
        if given.outputs is not None:
            array = given.outputs[place]
        tensors[f"output.{name}"] = _tensor(array, y.spec)
    tensors |= {
        name: _tensor(array, Spec(array.shape)) for name, array in (more or {}).items()
    }
    return safetensors(tensors)


def _tensor(array: Array, spec: Spec) -> Tensor:
    with np.errstate(over="ignore"):
        numbers = np.asarray(array).astype(spec.dtype)
    return Tensor(numbers.shape, spec.dtype, lambda: numbers)


def outputs(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Return the outputs in float64."""
    wanted = {y.key for y in graph.outputs}
    values = {y.key: array for y, array in trace(graph, inputs) if y.key in wanted}
    return _batched(graph, values, inputs)


def _batched(
    graph: Graph, values: Mapping[ValueKey, Array], inputs: Sequence[Array]
) -> list[Array]:
    """Return the outputs, of which those of constants have to be repeated."""
    n = len(inputs[0]) if inputs else 1
    arrays = [values[y.key] for y in graph.outputs]
    return [np.broadcast_to(y, (n, *y.shape[1:])) for y in arrays]


def trace(
    graph: Graph, inputs: Sequence[Array], rounding: Rounding | None = None
) -> Iterator[tuple[Value, Array]]:
    """Yield every input, constant and result with its value, in float64, in order.

    A value is forgotten behind its last reader. *rounding* is what storing inputs and
    results does to them.
    """
    known: dict[ValueKey, Array] = {}
    readers = _last_readers(graph)
    for x, array in zip(graph.inputs, inputs, strict=True):
        wide = array.astype(np.float64) if array.dtype == np.float32 else array
        known[x] = wide if rounding is None else rounding.input(x, wide)
        yield x, known[x]
    for y in graph.outputs:
        if y.constant is not None:
            yield y, y.constant.array()[None]
    for place, node in enumerate(graph.nodes):
        given = [_wide(x, known) for x in node.inputs]
        run = node.evaluate if rounding is None else partial(rounding.results, node)
        results = run(*given)
        for y, array in zip(node.results(), results, strict=True):
            known[y.key] = array
            if y.key in readers:
                yield y, array
        for x in node.inputs:
            if readers[x.key] == place:
                known.pop(x.key, None)


def _last_readers(graph: Graph) -> Mapping[ValueKey, int]:
    readers = {
        x.key: place for place, node in enumerate(graph.nodes) for x in node.inputs
    }
    return readers | {y.key: len(graph.nodes) for y in graph.outputs}


def _wide(x: Value, known: Mapping[ValueKey, Array]) -> Array:
    if x.constant is None:
        return known[x.key]
    numbers = x.constant.array()[None]
    return numbers.astype(np.float64) if numbers.dtype == np.float32 else numbers

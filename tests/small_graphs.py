"""Short ways to write the graphs of examples."""

from __future__ import annotations

import re
import zlib

import numpy as np

from keramos.graph import Array, Constant, Graph, Value, constant
from keramos.primitives import DType, Primitive, Spec


def value(*shape: int | None, name: str = "x", dtype: DType = "float32") -> Value:
    """Return an input."""
    return Value(Spec(shape, dtype), name=name)


def weight(name: str, *shape: int) -> Value:
    """Return numbers that depend on the name alone."""
    seed = zlib.crc32(name.encode())

    def load() -> Array:
        return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)

    return constant(Constant(Spec(shape), load), name=name)


def array(x: Value) -> Array:
    """Return the numbers of a constant."""
    assert x.constant is not None
    return x.constant.array()


def graph(*outputs: Value) -> Graph:
    """Return the graph of *outputs*, which finds its inputs."""
    names = tuple(f"y{index}" if index else "y" for index in range(len(outputs)))
    nodes = Graph((), outputs, names).nodes
    read = [x for node in nodes for x in node.inputs] + [*outputs]
    inputs = dict.fromkeys(x for x in read if x.node is None and x.constant is None)
    return Graph(tuple(inputs), outputs, names)


def lines(graph: Graph) -> list[str]:
    """Return the nodes and outputs of the graph's text without what is obvious.

    ``%0: float32[4] = Conv(strides=(1,), ...) -> [f](x, k:float32[3, 2, 4])`` becomes
    ``%0: [4] = Conv -> [f](x, k)``.
    """
    found = [line for line in str(graph).splitlines() if line.startswith(("%", "ret"))]
    return [_short(line) for line in found]


def _short(line: str) -> str:
    """Return a line without attributes, float32, and the shapes of constants."""
    line = re.sub(r":\w+\[[^]]*\]", "", line).replace("float32", "")
    start = re.search(r"= [A-Z]\w*\(", line)
    if start is None:
        return line
    depth, end = 1, start.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(line[end], 0)
        end += 1
    return line[: start.end() - 1] + line[end:]


def assert_same(before: Graph, after: Graph) -> None:
    """Hold *after* to *before* on random numbers, both computed in double."""
    after.verify()
    rng = np.random.default_rng(0)
    shapes = [[5 if d is None else d for d in x.shape] for x in before.inputs]
    inputs = [rng.uniform(-2, 2, (2, *shape)) for shape in shapes]
    pairs = zip(before.evaluate(*inputs), after.evaluate(*inputs), strict=True)
    for expected, actual in pairs:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def primitives(graph: Graph) -> list[Primitive]:
    """Return what the nodes do, in order."""
    return [node.primitive for node in graph.nodes]

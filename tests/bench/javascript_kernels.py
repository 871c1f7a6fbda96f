"""Time single layers of the CPU path for JavaScript in Node.

    python tests/bench/javascript_kernels.py [PEERS]

PEERS is a folder in which ``npm install @tensorflow/tfjs-core
@tensorflow/tfjs-backend-cpu keras-js`` has been run; then these are timed too.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from keramos.emit.javascript import emit_javascript, emit_webassembly
from keramos.expr import call, operand
from keramos.graph import Graph, Value, apply, literal
from keramos.plan.names import constant_names
from keramos.primitives import Contract, Conv, Primitive, Spec, Window

PROGRAM = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True)
class Layer:
    """A layer: a convolution is "same", pooling takes the largest of 2x2."""

    kind: Literal["conv", "depthwise", "dense", "pool"]
    input: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    strides: int = 1

    @property
    def name(self) -> str:
        """Return the kind and the sizes."""
        sizes = ["x".join(map(str, shape)) for shape in (self.input, self.kernel)]
        return "_".join(filter(None, (self.kind, *sizes, f"s{self.strides}")))

    def primitive(self) -> Primitive:
        """Return the primitive to which the layer is lowered."""
        match self.kind:
            case "dense":
                return Contract((0,), (0,))
            case "pool":
                return Window("max", (2, 2), (2, 2), ((0, 0), (0, 0)))
            case "conv" | "depthwise":
                total = max(self.kernel[0] - self.strides, 0)
                zeros = (total // 2, total - total // 2)
                groups = self.input[-1] if self.kind == "depthwise" else 1
                steps = (self.strides, self.strides)
                return Conv(steps, (zeros, zeros), (1, 1), (1, 1), groups)

    def weights(self) -> tuple[int, ...]:
        """Return the shape of the kernel as primitives take it."""
        if self.kind != "depthwise":
            return self.kernel
        return (*self.kernel[:2], 1, self.kernel[2])

    def graph(self) -> Graph:
        """Return the layer with a bias and relu."""
        x = Value(Spec(self.input), name="x")
        rectified = call("max", operand(0), 0)
        if self.kind == "pool":
            return Graph((x,), apply(self.primitive(), x), ("y",))
        kernel = literal(np.zeros(self.weights(), np.float32), name="kernel")
        bias = literal(np.zeros(self.weights()[-1], np.float32), name="bias")
        (y,) = apply(self.primitive(), x, kernel)
        if y.node is None:
            raise TypeError("a layer of constants")
        biased = call("max", operand(0) + operand(1), 0)
        expr = rectified if self.kind == "depthwise" else biased
        extras = () if self.kind == "depthwise" else (bias,)
        inputs = (*y.node.inputs, *extras)
        node = replace(y.node, inputs=inputs, epilogue=expr, arity=2)
        return Graph((x,), node.results(), ("y",))


LAYERS = (
    Layer("conv", (28, 28, 32), (3, 3, 32, 32)),
    Layer("conv", (56, 56, 64), (3, 3, 64, 64)),
    Layer("conv", (128, 128, 3), (3, 3, 3, 32), 2),
    Layer("conv", (28, 28, 64), (1, 1, 64, 64)),
    Layer("conv", (7, 7, 512), (1, 1, 512, 512)),
    Layer("depthwise", (56, 56, 128), (3, 3, 128, 1)),
    Layer("dense", (256,), (256, 256)),
    Layer("dense", (1024,), (1024, 1024)),
    Layer("pool", (56, 56, 64)),
)


def macs(layer: Layer, graph: Graph) -> int:
    """Return the multiplications of a layer, or the comparisons of pooling."""
    size = math.prod(d or 0 for d in graph.outputs[0].shape)
    if layer.kind == "pool":
        return size * 4
    return size * math.prod(layer.weights()[:-1])


def main() -> None:
    """Write the modules and run Node on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="?", help="a folder with node_modules")
    peers = parser.parse_args().peers
    with TemporaryDirectory() as folder:
        rows = []
        for layer in LAYERS:
            graph = layer.graph()
            names = constant_names(graph)
            text = emit_javascript(graph, names=names)
            (Path(folder) / f"{layer.name}.mjs").write_text(text)
            vectors = emit_webassembly(graph, names=names)
            if vectors is not None:
                (Path(folder) / f"{layer.name}_wasm.mjs").write_text(vectors.text)
                (Path(folder) / f"{layer.name}.wasm").write_bytes(vectors.binary)
            rows.append(
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "input": layer.input,
                    "kernel": layer.kernel,
                    "strides": layer.strides,
                    "macs": macs(layer, graph),
                    "tensors": {name: x.shape for x, name in names.items()},
                }
            )
        (Path(folder) / "layers.json").write_text(json.dumps(rows))
        command = ["/usr/bin/env", "node", str(PROGRAM), folder]
        subprocess.run([*command, *([peers] if peers else [])], check=True)


if __name__ == "__main__":
    main()

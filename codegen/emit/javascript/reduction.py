"""Reduce and Softmax."""

from __future__ import annotations

import math

from keramos.emit.javascript.elementwise import store
from keramos.emit.javascript.function import Function, Walk, known, nest, plus, strides
from keramos.plan.javascript import Source
from keramos.primitives import Reduce, Softmax

_FIRST = {"sum": "0", "mean": "0", "max": "-Infinity", "min": "Infinity", "prod": "1"}
_STEP = {
    "sum": "s += {};",
    "mean": "s += {};",
    "max": "s = Math.max(s, {});",
    "min": "s = Math.min(s, {});",
    "prod": "s *= {};",
}


def emit_reduce(f: Function, reduce: Reduce, target: Source) -> None:
    """Write a reduction: one sum after the other."""
    x = f.operands[0]
    raw = known(reduce.infer(x.spec)[0].shape)
    name = f.read(x)
    results = store(f, target, raw)
    steps = strides(x.shape)
    rest = [k for k in range(len(x.shape)) if k not in reduce.axes]
    sizes = [x.shape[k] for k in rest]
    summed = [x.shape[k] for k in reduce.axes]
    walks = {
        results.y: Walk(0, strides(sizes)),
        name: Walk(0, tuple(steps[k] for k in rest)),
    }
    with nest(f, sizes, walks) as index:
        f.line(f"let s = {_FIRST[reduce.kind]};")
        inner = {name: Walk(0, tuple(steps[k] for k in reduce.axes))}
        with nest(f, summed, inner, "k", {name: index[name]}) as at:
            f.line(_STEP[reduce.kind].format(f"{name}[{at[name]}]"))
        value = f"s / {math.prod(summed)}" if reduce.kind == "mean" else "s"
        value = f"Math.trunc({value})" if x.dtype == "int32" and value != "s" else value
        f.line(f"{results.y}[{index[results.y]}] = {value};")
    results.finish()


def emit_softmax(f: Function, softmax: Softmax, target: Source) -> None:
    """Write a softmax: the maximum, the exponentials, then their shares."""
    x = f.operands[0]
    name = f.read(x)
    results = store(f, target, x.shape)
    y = results.y
    step = strides(x.shape)[softmax.axis]
    size = x.shape[softmax.axis]
    rest = [k for k in range(len(x.shape)) if k != softmax.axis]
    outer = {name: Walk(0, tuple(strides(x.shape)[k] for k in rest))}
    with nest(f, [x.shape[k] for k in rest], outer) as index:
        f.line(f"const a = {index[name]};")
        at = plus("a", f"k * {step}" if step > 1 else "k")
        head = f"for (let k = 0; k < {size}; k++)"
        f.line("let most = -Infinity;")
        with f.block(head):
            f.line(f"most = Math.max(most, {name}[{at}]);")
        f.line("let sum = 0;")
        if softmax.log:
            with f.block(head):
                f.line(f"sum += Math.exp({name}[{at}] - most);")
            f.line("most += Math.log(sum);")
            with f.block(head):
                f.line(f"{y}[{at}] = {name}[{at}] - most;")
        else:
            with f.block(head):
                f.line(f"const e = Math.exp({name}[{at}] - most);")
                f.line("sum += e;")
                f.line(f"{y}[{at}] = e;")
            with f.block(head):
                f.line(f"{y}[{at}] /= sum;")
    results.finish()

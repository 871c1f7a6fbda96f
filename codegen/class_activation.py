"""Where a classifier looked: Grad-CAM, as a graph of its own behind the model's.

``map[i, j] = max(sum over k of a[k] * features[i, j, k], 0)``, its maximum scaled to 1,
where a[k] is the mean over i, j of the gradient of a class' score with respect to
``features[i, j, k]``. The score is taken before a final softmax or sigmoid. Where
global average pooling and one Dense layer are all that follows, this is CAM.
(R. R. Selvaraju et al., Grad-CAM, 2017; B. Zhou et al., CAM, 2016.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keramos import ops
from keramos.errors import Problem, quoted
from keramos.expr import call, operand
from keramos.gradient import GradientError, gradient
from keramos.graph import Graph, Node, Origin, Value, ValueKey, lowering
from keramos.primitives import Map, Reduce, Reshape, Softmax, Spec, Window

# What --cam takes in place of a layer's name.
AUTO = "auto"
OPTION = "--cam"


@dataclass(frozen=True, slots=True)
class ClassActivation:
    """The *graph* from values of the model, and the chosen class, to the map.

    It takes *features*, values of the model's own graph, in this order, then the class
    as a vector of zeros with a one.
    """

    graph: Graph
    features: tuple[Value, ...]


def class_activation(
    model: Graph, layers: Mapping[str, Value], *, layer: str, where: str
) -> ClassActivation | Problem:
    """Return the graph of the map of *layer*'s outputs, or why there is none.

    *layers* are the outputs of layers by name; AUTO stands for the last feature map.
    *where* names the model.
    """
    if len(model.public_outputs) != 1 or len(model.public_outputs[0].shape) != 1:
        shapes = ", ".join(str(y.spec) for y in model.public_outputs)
        return Problem(
            where, f"{OPTION} needs one output, a score for each class, not {shapes}"
        )
    scores = _scores(model.public_outputs[0])
    if layer == AUTO:
        found = _last_map(scores)
        if found is None:
            return Problem(
                where,
                f"{OPTION} {AUTO} finds no feature map that leads to the scores",
                "name a layer",
            )
    elif layer in layers:
        found = layers[layer]
    else:
        problem = f"{OPTION} names {quoted(layer)}, which isn't a layer"
        return Problem(where, problem, "keramos inspect lists the layers")
    if len(found.shape) < 2 or found.constant is not None:  # noqa: PLR2004
        problem = f"{OPTION} {quoted(layer)} gives {found.spec}, not a feature map"
        return Problem(where, problem, "name a convolution, or what follows it")
    try:
        return _activation(found, scores)
    except GradientError as error:
        problem = f"{OPTION} {quoted(layer)} has no gradient: {error}"
        return Problem(where, problem, "name a later layer")


def _scores(output: Value) -> Value:
    """Return what a final softmax or sigmoid is applied to."""
    node = output.node
    if node is None or node.epilogue is not None:
        return output
    if isinstance(node.primitive, Reshape):
        inner = _scores(node.inputs[0])
        if inner is not node.inputs[0] and inner.spec == node.inputs[0].spec:
            return ops.reshape(inner, output.shape)
        return output
    match node.primitive:
        case Softmax():
            return node.inputs[0]
        case Map(expr) if expr == call("sigmoid", operand(0)):
            return node.inputs[0]
        case _:
            return output


def _last_map(scores: Value) -> Value | None:
    """Return the last value with more than one place, before what pools it."""
    value: Value | None = scores
    while value is not None and _places(value) == 1:
        value = _only_input(value)
    while value is not None and isinstance(
        value.node.primitive if value.node else None, Window
    ):
        value = _only_input(value)
    return None if value is None or value.node is None else value


def _places(value: Value) -> int | None:
    """Return how many places a value with channels has, None where that is free."""
    sizes = value.shape[:-1]
    return None if None in sizes else math.prod(d or 0 for d in sizes)


def _only_input(value: Value) -> Value | None:
    """Return what a value is computed from, None where that isn't one value."""
    if value.node is None:
        return None
    found = {x.key: x for x in value.node.inputs if x.constant is None}
    return next(iter(found.values())) if len(found) == 1 else None


def _activation(features: Value, scores: Value) -> ClassActivation:
    """Return the map's graph, cut off from the model's; raise GradientError."""
    label = Value(Spec(scores.shape), name="class")
    with lowering(Origin("cam", "Grad-CAM")):
        levels = ops.relu(ops.sum(features * _weights(features, scores, label), -1))
        most = ops.max(levels, keepdims=True)
        y = ops.where(most > 0.0, levels / most, 0.0)
    return _cut(y, features, label)


def _weights(features: Value, scores: Value, label: Value) -> Value:
    """Return the mean over all places of the gradient with respect to *features*.

    Pooling hands each gradient on to its window, whole: where it went doesn't matter.
    """
    places = _places(features)
    if not places:
        raise GradientError("lengths are free")
    pooled = features
    nodes = Graph((), (scores,), ("scores",)).nodes
    while (following := _pooling(pooled, nodes)) is not None:
        pooled = following
    slope = gradient(scores, pooled, label)
    channels = features.shape[-1] or 0
    slope = ops.reshape(slope, [*(pooled.shape[:-1] or (1,)), channels])
    axes = range(len(slope.shape) - 1)
    total = ops.sum(slope, tuple(axes)) / float(places)
    return ops.reshape(total, [*(1,) * (len(features.shape) - 1), channels])


def _pooling(x: Value, nodes: Sequence[Node]) -> Value | None:
    """Return the result of the pooling that alone reads *x*, None for anything else."""
    readers = [node for node in nodes for y in node.inputs if y.key == x.key]
    if len(readers) != 1 or readers[0].epilogue is not None:
        return None
    match readers[0].primitive:
        case Window("max" | "mean"):
            return readers[0].results()[0]
        case Reduce("max" | "mean", axes) if axes == (*range(len(x.shape) - 1),):
            return readers[0].results()[0]
        case _:
            return None


def _cut(y: Value, features: Value, label: Value) -> ClassActivation:
    """Return the graph of *y* with inputs for what doesn't depend on the features.

    Whatever depends on them is computed anew, the rest is taken from the model.
    """
    taken: dict[ValueKey, Value] = {features.key: features}
    known = {features.key: Value(features.spec, name="features"), label.key: label}
    dependent: dict[Node, None] = {}
    for node in Graph((), (y,), ("map",)).nodes:
        given = [x for x in node.inputs if x.constant is None]
        inner = [x.key in known or x.node in dependent for x in given]
        if node is not features.node and any(inner):
            dependent[node] = None
    for node in dependent:
        for x in node.inputs:
            if x.constant is None and x.node not in dependent and x.key not in known:
                taken[x.key] = x
                known[x.key] = Value(x.spec, name=f"features_{len(taken)}")
    inputs = (*(known[key] for key in taken), label)
    for node in dependent:
        mine = tuple(x if x.constant is not None else known[x.key] for x in node.inputs)
        for result in replace(node, inputs=mine).results():
            known[node, result.index] = result
    graph = Graph(inputs, (known[y.key],), ("map",), "class_activation")
    graph.verify()
    return ClassActivation(graph, tuple(taken.values()))

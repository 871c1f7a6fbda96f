"""How emitted text names layers and shapes."""

from __future__ import annotations

from keramos.graph import Node
from keramos.primitives import Conv, Shape, Window
from keramos.text import comment


def shape_text(shape: Shape, *, batched: bool = True) -> str:
    """Return ``(n, 28, 28, 1)``; ``?`` is a free dimension."""
    dims = [*(["n"] if batched else []), *("?" if d is None else str(d) for d in shape)]
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(dims)})"


def kernel_text(node: Node) -> str:
    """Return what a window looks like (``3x3 stride 2``), else nothing."""
    match node.primitive:
        case Conv(strides=strides):
            size = node.operands[1].shape[: len(strides)]
        case Window(size=size, strides=strides):
            pass
        case _:
            return ""
    text = "x".join(map(str, size))
    if set(strides) == {1}:
        return text
    same = len(set(strides)) == 1
    return f"{text} stride {strides[0] if same else 'x'.join(map(str, strides))}"


def layers(node: Node) -> str:
    """Return the classes of the Keras layers in a node (``Conv2D + ReLU``)."""
    names = [comment(origin.class_name) for origin in node.origins]
    return " + ".join(dict.fromkeys(names)) or type(node.primitive).__name__

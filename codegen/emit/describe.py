"""How emitted text names layers and shapes."""

from __future__ import annotations

from keramos.graph import Node
from keramos.primitives import Shape
from keramos.text import comment


def shape_text(shape: Shape) -> str:
    """Return ``(n, 28, 28, 1)``; ``?`` is a free dimension."""
    dims = ["n", *("?" if d is None else str(d) for d in shape)]
    return f"({', '.join(dims)})" if shape else "(n,)"


def layers(node: Node) -> str:
    """Return the classes of the Keras layers in a node (``Conv2D + ReLU``)."""
    names = [comment(origin.class_name) for origin in node.origins]
    return " + ".join(dict.fromkeys(names)) or type(node.primitive).__name__

"""Plans in which a node is computed by a kernel of the caller's choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from keramos.graph import Node
from keramos.plan import gl
from keramos.plan.kernels import Kernel, best, kernels
from keramos.plan.layout import Layout, Limits
from keramos.primitives import Primitive


@contextmanager
def only(wanted: Kernel, kind: type[Primitive]) -> Iterator[None]:
    """Let the planner take *wanted* for every node of *kind*."""

    def some(node: Node, layout: Layout, limits: Limits) -> Iterator[Kernel]:
        for kernel in kernels(node, layout, limits):
            same = (kernel.family, kernel.group) == (wanted.family, wanted.group)
            if same or not isinstance(node.primitive, kind):
                yield kernel

    def single(
        node: Node, *, batch: int, limits: Limits, readers: Sequence[Node] = ()
    ) -> Kernel:
        if isinstance(node.primitive, kind):
            return wanted
        return best(node, batch=batch, limits=limits, readers=readers)

    with patch.object(gl, "kernels", some), patch.object(gl, "best", single):
        yield

"""Compute in front of a loop the products that need no state.

What a recurrent cell makes of its input alone, ``x K``, is one large product for all
steps instead of a small one in each.
"""

from __future__ import annotations

from dataclasses import replace

from keramos.graph import Graph, Node, Value, ValueKey
from keramos.passes.vectorise_steps import LARGEST_STEP, Lifted, NoRuleError, all_steps
from keramos.primitives import Contract, Conv, Scan, product


def hoist_products(graph: Graph) -> Graph:
    """Return the graph with products and convolutions taken out of its loops."""
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return a loop's results, with more sequences and less to do."""
    scan = node.primitive
    if not isinstance(scan, Scan) or not isinstance(scan.body, Graph):
        return None
    body = hoist_products(scan.body)
    kept = replace(node, primitive=replace(scan, body=body), inputs=inputs)
    hoisted = _hoisted(body, scan)
    if not hoisted:
        return kept.results()
    try:
        return _rewritten(kept, replace(scan, body=body), body, hoisted)
    except NoRuleError:
        return kept.results()


def _hoisted(body: Graph, scan: Scan) -> tuple[Value, ...]:
    """Return the results in *body* that are worth computing in front of the loop."""
    stepped: set[ValueKey] = {*body.inputs[: scan.sequences]}
    fixed = {*body.inputs[scan.sequences + scan.states :]}
    found = []
    for node in body.nodes:
        free = all(x.key in stepped or x in fixed for x in node.inputs)
        if not free or stepped.isdisjoint(x.key for x in node.inputs):
            continue
        stepped.update((node, index) for index in range(len(node.specs)))
        size = product(node.specs[0].shape)
        small = size is not None and size <= LARGEST_STEP
        if small and isinstance(node.primitive, Contract | Conv):
            found.append(node.results()[0])
    return tuple(found)


def _rewritten(
    node: Node, scan: Scan, body: Graph, hoisted: tuple[Value, ...]
) -> tuple[Value, ...]:
    """Return the results of the loop over the rest of its body.

    Raises NoRuleError where the products can't be computed for all steps at once.
    """
    sequences, states = scan.sequences, scan.states
    invariant = body.inputs[sequences + states :]
    given = [Lifted(x, stepped=True) for x in node.inputs[:sequences]]
    given += [Lifted(x, stepped=False) for x in node.inputs[sequences + states :]]
    ahead = Graph((*body.inputs[:sequences], *invariant), hoisted, ("",) * len(hoisted))
    computed = all_steps(ahead, given, node.inputs[0].shape[0])
    elements = {y.key: Value(y.spec, name="x") for y in hoisted}

    def known(inner: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        del inputs
        element = elements.get((inner, 0))
        return None if element is None else (element,)

    rest = body.rewrite(known)
    pairs = [*zip(body.inputs, node.inputs, strict=True)]
    used = {x for each in rest.nodes for x in each.inputs} | {*rest.outputs}
    taken = [pair for pair in pairs[:sequences] if pair[0] in used]
    made = zip(elements.values(), computed, strict=True)
    taken += [pair for pair in made if pair[0] in used]
    carried = pairs[sequences : sequences + states]
    others = [pair for pair in pairs[sequences + states :] if pair[0] in used]
    formal, actual = zip(*taken, *carried, *others, strict=True)
    smaller = replace(rest, inputs=formal)
    loop = Scan(smaller, len(taken), states, scan.reverse)
    return replace(node, primitive=loop, inputs=actual).results()

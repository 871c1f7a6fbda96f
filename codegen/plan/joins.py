"""Which concatenations need no copy: their parts are written where they belong.

Channels that fill whole texels join in place: the tensor of the concatenation is the
storage, and a stage that computes a part writes into its blocks. Joins of joins share
the outermost storage, as the blocks of a DenseNet do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from keramos.graph import Graph, Node, Value
from keramos.plan.kernels import has_stage
from keramos.plan.layout import LANES
from keramos.primitives import Concat, Scan


@dataclass(frozen=True, slots=True)
class Place:
    """Where a result belongs: from channel block *first* on in that of *root*."""

    root: Node
    first: int


@dataclass(frozen=True, slots=True)
class Joins:
    """The places of results, and of the copies that concatenations still need.

    *copies* are ``(concatenation, number of the part)``. *parts* are, for each root,
    what is written into its storage: values that a stage computes, or copies of them.
    """

    places: dict[Node, Place]
    copies: dict[tuple[Node, int], Place]
    parts: dict[Node, list[tuple[Value, Place]]]

    def writer(self, part: Value, place: Place) -> Node | None:
        """Return the node that writes *part* to its place, None for a copy of it."""
        node = part.node
        return node if node is not None and self.places.get(node) == place else None

    def dissolve(self, root: Node) -> None:
        """Let *root* be an ordinary concatenation, and those inside it."""
        for node in [n for n, p in self.places.items() if p.root is root]:
            del self.places[node]
        for key in [k for k, p in self.copies.items() if p.root is root]:
            del self.copies[key]
        del self.parts[root]


def joins(graph: Graph, absorbed: Collection[Node] = ()) -> Joins:
    """Return the concatenations of *graph* that are written in place.

    *absorbed* are the nodes that those which read them compute.
    """
    found = Joins({}, {}, {})
    for node in reversed(graph.nodes):
        if fills_texels(node) and node not in found.places:
            found.places[node] = Place(node, 0)
            _assign(node, Place(node, 0), found)
    for node, place in list(found.places.items()):
        if not fills_texels(node) and any(
            found.places.get(source, _NOWHERE).root is place.root
            for source in _sources(node.inputs, absorbed)
        ):
            # It would read the texture that it writes.
            del found.places[node]
            for join, number in _uses(graph, node, found):
                found.copies[join, number] = place
    for root in {place.root: None for place in found.places.values()}:
        # Nothing but copies: an ordinary concatenation is one draw.
        empty = not any(
            p.root is root and n is not root for n, p in found.places.items()
        )
        if empty or _copies_itself(root, found, absorbed):
            found.dissolve(root)
    return found


def _copies_itself(root: Node, found: Joins, absorbed: Collection[Node]) -> bool:
    """Return whether a copy would read the storage that it writes."""
    return any(
        found.places.get(source, _NOWHERE).root is root
        for (join, number), place in found.copies.items()
        if place.root is root
        for source in _sources(join.inputs[number : number + 1], absorbed)
    )


def fills_texels(node: Node) -> bool:
    """Return whether *node* joins channels that fill whole texels, but for the last."""
    if not isinstance(node.primitive, Concat) or node.epilogue is not None:
        return False
    last = node.primitive.axis == len(node.specs[0].shape) - 1
    return last and all((x.shape[-1] or 0) % LANES == 0 for x in node.inputs[:-1])


def _assign(join: Node, place: Place, found: Joins) -> None:
    """Give the parts of *join* their places in the storage of ``place.root``."""
    first = place.first
    for number, part in enumerate(join.inputs):
        here = Place(place.root, first)
        first += -(-(part.shape[-1] or 0) // LANES)
        node = part.node
        written = found.parts.setdefault(place.root, [])
        ragged = (part.shape[-1] or 0) % LANES != 0
        if (
            node is None
            or node in found.places
            or not _computed(node)
            or (fills_texels(node) and ragged)
        ):
            found.copies[join, number] = here
            written.append((part, here))
            continue
        found.places[node] = here
        if fills_texels(node):
            _assign(node, here, found)
        else:
            written.append((part, here))


def _computed(node: Node) -> bool:
    """Return whether a single stage writes the result of *node*."""
    return not isinstance(node.primitive, Scan) and has_stage(node)


def _sources(values: Sequence[Value], absorbed: Collection[Node]) -> Iterator[Node]:
    """Yield the nodes in whose storage *values* are, through views and *absorbed*."""
    for x in values:
        node = x.node
        if node is None:
            continue
        if node in absorbed:
            yield from _sources(node.inputs, absorbed)
        elif _computed(node) or isinstance(node.primitive, Scan):
            yield node
        else:
            yield from _sources(node.inputs[:1], absorbed)


def _uses(graph: Graph, node: Node, found: Joins) -> Iterator[tuple[Node, int]]:
    """Yield the joins in place of which *node* gives a part that isn't a copy yet."""
    for join in graph.nodes:
        if join in found.places and fills_texels(join):
            for number, part in enumerate(join.inputs):
                if part.node is node and (join, number) not in found.copies:
                    yield join, number


_NOWHERE = Place(Node(Concat(0), (), ()), 0)

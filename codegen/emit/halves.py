"""What a graph gives on gl when its results are stored as halves: the model of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.emit.sample import trace
from keramos.graph import Graph, ValueKey
from keramos.plan.cpu import result_name
from keramos.plan.factor_scales import factor_scales
from keramos.plan.halves import Rounding, exact_values
from keramos.plan.names import stage_names
from keramos.plan.prepare import Target, prepare
from keramos.runtime_min.vendored.verification import digest

Array = NDArray[Any]

LARGEST_HALF = float(np.finfo(np.float16).max)
# Other inputs may give larger numbers than the sample.
NEAR = 1e4


@dataclass(frozen=True, slots=True)
class Halves:
    """A run with results stored as halves.

    *digests* and *largest* magnitudes are those of the stages, by name.
    """

    outputs: tuple[Array, ...]
    digests: Mapping[str, NDArray[np.float32]]
    largest: Mapping[str, float]

    def tensors(self, names: Sequence[str]) -> dict[str, Array]:
        """Return what a package is verified with; its outputs are called *names*."""
        stages = {f"half.stage.{name}": x for name, x in self.digests.items()}
        pairs = zip(names, self.outputs, strict=False)
        return stages | {f"half.output.{name}": y for name, y in pairs}

    def warnings(self) -> tuple[str, ...]:
        """Return which stages come near the largest half."""
        return tuple(
            f"results as float16: stage {name!r} reaches {number:.1e}, and the largest "
            f"half is {LARGEST_HALF:.1e}"
            for name, number in self.largest.items()
            if not number <= NEAR
        )


def run_on_halves(graph: Graph, inputs: Sequence[Array], *, target: Target) -> Halves:
    """Return what *graph* gives for *inputs* when gl stores results as halves.

    In which pieces long sums are stored depends on the *target*.
    """
    factored = factor_scales(graph)
    prepared = prepare(factored, target=target)
    labels: dict[ValueKey, list[str]] = {}
    for node, name in stage_names(factored).items():
        for index, value in enumerate(prepared.results[node]):
            labels.setdefault(value.key, []).append(result_name(name, index))
    wanted = {y.key for y in prepared.graph.outputs}
    values: dict[ValueKey, Array] = {}
    digests: dict[str, NDArray[np.float32]] = {}
    largest: dict[str, float] = {}
    rounding = Rounding(exact_values(prepared.graph))
    for value, array in trace(prepared.graph, inputs, rounding):
        for label in labels.get(value.key, ()):
            digests[label] = digest(array)
            largest[label] = float(np.abs(array.astype(np.float64)).max(initial=0))
        if value.key in wanted:
            values[value.key] = array
    n = len(inputs[0]) if inputs else 1
    arrays = [values[y.key] for y in prepared.graph.outputs]
    outputs = tuple(np.broadcast_to(y, (n, *y.shape[1:])) for y in arrays)
    return Halves(outputs, digests, largest)

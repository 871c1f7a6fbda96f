"""EinsumDense: y = activation(einsum(equation, x, K) + b)."""

from __future__ import annotations

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers.activation import activation
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text
from keramos.layers.registry import layer


@layer("EinsumDense")
class EinsumDense(Layer):
    """A sum of products that an equation states, biased and activated."""

    def __init__(self, definition: Definition) -> None:
        """Read the equation and the sizes of the axes that only the output has."""
        super().__init__(definition)
        self.equation = definition.text("equation").replace(" ", "")
        value = definition.option("output_shape", [])
        self.output_shape = list(value) if isinstance(value, list | tuple) else [value]
        self.bias_axes = (
            definition.text("bias_axes") if definition.has("bias_axes") else ""
        )
        definition.option("bias_axes")
        self.activation = activation(definition)
        left, arrow, self.result = self.equation.partition("->")
        self.input, comma, self.kernel = left.partition(",")
        if not arrow or not comma or not self.input or not self.result:
            definition.note(
                f"equation is {quoted(self.equation)}, not one like 'abc,cd->abd'"
            )

    def call(self, inputs: Value) -> Value:
        """Return the sum of products."""
        term, result = self._without_batch()
        rank = len(inputs.shape)
        elided = rank - len(term.replace("...", ""))
        if elided < 0 or ("..." not in term and elided):
            raise self.definition.refusal(
                f"its equation {quoted(self.equation)} doesn't fit an input of shape "
                f"{shape_text(inputs)}"
            )
        front = term.index("...") if "..." in term else len(term)
        letters = term.replace("...", "")
        places = [*range(front), *range(front + elided, rank)]
        sizes = {c: inputs.shape[p] for c, p in zip(letters, places, strict=True)}
        sizes |= self._output_sizes(result, elided)
        kernel = self.definition.weight("kernel", [sizes.get(c) for c in self.kernel])
        y = ops.einsum(f"{term},{self.kernel}->{result}", inputs, kernel)
        if self.bias_axes:
            y = y + self.definition.weight("bias", self._bias_shape(sizes, elided))
        return self.activation(y)

    def _without_batch(self) -> tuple[str, str]:
        """Return the input's and the result's letters without the batch.

        An ellipsis in front holds the batch.
        """
        if self.input.startswith("..."):
            return self.input, self.result
        if self.input[0] != self.result[0] or self.input[0] in self.kernel:
            raise self.definition.refusal(
                f"its equation {quoted(self.equation)} mixes the samples of a batch"
            )
        return self.input[1:], self.result[1:]

    def _output_sizes(self, result: str, elided: int) -> dict[str, int]:
        """Return the sizes of the result's letters that the options state."""
        letters = result.replace("...", "." * elided)
        stated = self.output_shape
        return {
            c: size
            for c, size in zip(reversed(letters), reversed(stated), strict=False)
            if c != "." and isinstance(size, int)
        }

    def _bias_shape(
        self, sizes: dict[str, int | None], elided: int
    ) -> list[int | None]:
        """Return the bias's shape: the result's from its first biased axis on."""
        result = self.result.replace("...", "")
        if not set(self.bias_axes) <= set(result):
            raise self.definition.refusal(
                f"bias_axes is {quoted(self.bias_axes)}, which aren't axes of "
                f"{quoted(self.result)}"
            )
        first = min(result.index(c) for c in self.bias_axes)
        shape = [sizes.get(c) if c in self.bias_axes else 1 for c in result[first:]]
        behind = "..." in self.result and not self.result.startswith("...")
        return [*shape, *([1] * elided if behind else [])]

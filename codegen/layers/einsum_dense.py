"""EinsumDense: y = activation(einsum(equation, x, K) + b)."""

from __future__ import annotations

import math

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers.activation import activation
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text
from keramos.layers.quantization import Product, product_of, quantization_of
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
        self.quantization = quantization_of(definition)
        # The scales tell as well.
        definition.option("gptq_unpacked_column_size")
        self.product: Product | None = None
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
        shape = [sizes.get(c) for c in self.kernel]
        equation = f"{term},{self.kernel}->{result}"

        def bias() -> Value | None:
            if not self.bias_axes:
                return None
            return self.definition.weight("bias", self._bias_shape(sizes, elided))

        if self.quantization is None:
            kernel = self.definition.weight("kernel", shape)
            y = ops.einsum(equation, inputs, kernel)
        else:
            if self.product is None:
                kept = [sizes.get(c) or 0 for c in self.kernel if c in result]
                self.product = product_of(
                    self.definition, self.quantization, math.prod(kept), bias
                )
            summed = [
                p for c, p in zip(letters, places, strict=True) if c not in result
            ]
            x = self.product.rounded(inputs, summed)
            # int4 is stored as a matrix.
            y = ops.einsum(equation, x, ops.reshape(self.product.kernel, shape))
            if self.product.scale is not None:
                y = y / _without_batch(self.product.scale, y)
        added = bias()
        return self.activation(y if added is None else y + added)

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


def _without_batch(scale: Value, y: Value) -> Value:
    """Return a scale in the layout of outputs without its axis for the batch."""
    if len(scale.shape) <= len(y.shape):
        return scale
    return ops.reshape(scale, scale.shape[1:])

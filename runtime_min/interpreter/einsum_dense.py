"""y = activation(einsum(equation, x, kernel) + bias)."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.quantization import (
    StoredProduct,
    quantization_of,
    stored_product,
)
from keramos.runtime_min.interpreter.registry import layer


@layer("EinsumDense")
class EinsumDense(Layer):
    """A product over the axes that an equation names."""

    def __init__(self, definition: Definition) -> None:
        """Read the equation, the kernel and the bias, whose shape broadcasts."""
        super().__init__(definition)
        equation = definition.option("equation")
        operands, arrow, result = str(equation).replace(" ", "").partition("->")
        inputs, comma, kernel = operands.partition(",")
        if not arrow or not comma:
            raise definition.refusal(
                f"equation is {equation!r}, which isn't of the form 'ab,bc->ac'"
            )
        self.equation = f"{operands}->{result}"
        self.axes = {"inputs": inputs, "kernel": kernel, "result": result}
        self.reduced = tuple(
            inputs.replace("...", "").index(label) - len(inputs.replace("...", ""))
            for label in inputs.replace(".", "")
            if label not in result
        )
        self.activation = definition.activation("activation")
        self.product = self._product()

    def _product(self) -> StoredProduct:
        """Return the kernel and the bias as the file has them."""
        quantization = quantization_of(self.definition)
        if quantization is not None:
            columns = int(np.prod(list(self._kernel_outputs().values())))
            return stored_product(self.definition, quantization, columns, self._bias)
        kernel = self.definition.weight("kernel", (None,) * len(self.axes["kernel"]))
        return StoredProduct(kernel, self._bias(), 1.0, lambda x, _: x)

    def _bias(self) -> Array | None:
        """Return the bias, if the layer has one."""
        if not self.definition.option("bias_axes", None):
            return None
        return self.definition.computed(self.definition.stored("bias"))

    def _kernel_outputs(self) -> dict[str, int]:
        """Return the sizes of the kernel's axes that the result keeps."""
        shape = self.definition.option("output_shape", None)
        sizes = list(shape) if isinstance(shape, list | tuple) else [shape]
        labels = self.axes["result"].replace(".", "")
        return {
            label: size
            for label, size in zip(reversed(labels), reversed(sizes), strict=False)
            if label in self.axes["kernel"] and isinstance(size, int)
        }

    def _kernel(self, inputs: Array) -> Array:
        """Return the kernel; int4 stores it as a matrix, so sizes come from here."""
        kernel = self.product.kernel
        if kernel.ndim == len(self.axes["kernel"]):
            return kernel
        labels = self.axes["inputs"].replace(".", "")
        sizes = dict(zip(reversed(labels), reversed(inputs.shape), strict=False))
        sizes.update(self._kernel_outputs())
        return kernel.reshape([sizes[label] for label in self.axes["kernel"]])

    def call(self, inputs: Array) -> Array:
        """Return the activated products."""
        x = self.product.prepare(inputs, self.reduced)
        y = np.einsum(self.equation, x, self._kernel(inputs)) / self.product.scale
        bias = self.product.bias
        return self.activation(np.asarray(y if bias is None else y + bias))

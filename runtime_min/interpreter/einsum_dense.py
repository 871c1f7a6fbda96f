"""y = activation(einsum(equation, x, kernel) + bias)."""

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer


@layer("EinsumDense")
class EinsumDense(Layer):
    """A product over the axes that an equation names."""

    def __init__(self, definition: Definition) -> None:
        """Read the equation, the kernel and the bias, whose shape broadcasts."""
        super().__init__(definition)
        equation = definition.option("equation")
        parts = equation.split(",") if isinstance(equation, str) else []
        if len(parts) != 2 or "->" not in parts[1]:
            raise definition.refusal(
                f"equation is {equation!r}, which isn't of the form 'ab,bc->ac'"
            )
        self.equation = equation
        kernel_axes = parts[1].split("->")[0].strip()
        self.activation = definition.activation("activation")
        self.kernel = definition.weight("kernel", (None,) * len(kernel_axes))
        self.bias: Array | float = 0.0
        if definition.option("bias_axes", None):
            self.bias = definition.computed(definition.stored("bias"))

    def call(self, inputs: Array) -> Array:
        """Return the activated products."""
        products = np.einsum(self.equation, inputs, self.kernel)
        return self.activation(np.asarray(products + self.bias))

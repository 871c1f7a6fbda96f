"""y = activation(x . kernel + bias), over the last axis."""

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer


@layer("Dense")
class Dense(Layer):
    """A matrix product over the last axis, for inputs of any rank."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the kernel and the bias."""
        super().__init__(definition)
        units = definition.integer("units")
        self.activation = definition.activation("activation")
        self.kernel = definition.weight("kernel", (None, units))
        self.bias: Array | float = 0.0
        if definition.boolean("use_bias", default=True):
            self.bias = definition.weight("bias", (units,))

    def call(self, inputs: Array) -> Array:
        """Return the activated products."""
        return self.activation(inputs @ self.kernel + self.bias)

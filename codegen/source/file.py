"""What a saved model holds, whatever the format it was saved in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from keramos.source.topology import ModelConfig


@dataclass(frozen=True, slots=True)
class Tensor:
    """A stored array, read from the file each time it is asked for.

    *name* is the file's own (``conv1/kernel:0``; ``0`` in ``.keras`` files).
    *dtype* is the NumPy name of what :meth:`array` returns; float16 and bfloat16
    keep their values, quantised weights arrive dequantised.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]] = field(repr=False)

    def array(self) -> NDArray[Any]:
        """Return the values; nothing is cached here."""
        return self.read()


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A model's configuration and its weights.

    *keras_version* is the file's own (``2.2.4-tf``), or the oldest version that wrote
    such files where it says nothing (``1.0.0``). The configuration is in the
    vocabulary of Keras 2 and 3: what Keras 1 wrote is translated. Reading tensors
    within *kept_open* opens the file once.
    """

    path: Path
    format: str
    keras_version: str
    sha256: str
    model: ModelConfig
    layer_weights: Callable[[tuple[str, ...]], tuple[Tensor, ...]] = field(repr=False)
    kept_open: Callable[[], AbstractContextManager[None]] = field(
        default=nullcontext, repr=False
    )

    @property
    def generation(self) -> int:
        """Return 1, 2 or 3: semantics such as ``hard_sigmoid`` follow it."""
        return int(self.keras_version.split(".")[0])

    def weights(self, path: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Return a layer's weights in the order of Keras' ``layer.weights``.

        *path* holds layer names from the outermost model inwards: ``("conv1",)``,
        ``("encoder", "conv1")``, and for a wrapped layer the wrapper's name, then the
        attribute: ``("time_distributed", "layer")``, ``("bidirectional",
        "forward_layer")``. A layer without weights gives an empty tuple.
        """
        return self.layer_weights(path)


Json = Mapping[str, Any]

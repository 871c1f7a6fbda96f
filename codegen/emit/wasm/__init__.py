"""Kernels of stages -> a WebAssembly module: loops over vectors of four float32."""

from keramos.emit.wasm.assembler import Routine, assemble
from keramos.emit.wasm.kernel import UnsupportedError
from keramos.emit.wasm.stage import kernel_of

__all__ = ["Routine", "UnsupportedError", "assemble", "kernel_of"]

"""Plan -> one ES module: a model as straight-line JavaScript over typed arrays."""

from keramos.emit.javascript.module import (
    WebAssembly,
    emit_javascript,
    emit_webassembly,
)

__all__ = ["WebAssembly", "emit_javascript", "emit_webassembly"]

"""Plan -> one ES module: a model as straight-line JavaScript over typed arrays."""

from keramos.emit.javascript.module import emit_javascript

__all__ = ["emit_javascript"]

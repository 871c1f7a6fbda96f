"""Modules that are copied word for word into emitted packages."""

from __future__ import annotations

from importlib.resources import files


def source(name: str) -> str:
    """Return the text of the vendored file *name* (``gl.py``)."""
    return (files(__name__) / name).read_text(encoding="utf-8")

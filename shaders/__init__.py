"""GLSL bodies, each valid after a prelude of constants and accessors."""

from __future__ import annotations

from importlib.resources import files


def source(name: str) -> str:
    """Return the text of ``name.glsl`` (``conv``, ``lib/scalar``)."""
    return (files(__name__) / f"{name}.glsl").read_text(encoding="utf-8")

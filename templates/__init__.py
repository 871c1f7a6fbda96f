"""Jinja2 skeletons of emitted files, and the one Environment that renders them."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

ENVIRONMENT = Environment(
    loader=PackageLoader("keramos.templates", "."),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - Python, GLSL and JSON: strings pass keramos.text
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: object) -> str:
    """Return the rendered *template*; raise where a value is missing."""
    return ENVIRONMENT.get_template(template).render(**values)

"""The version of Keramos, as manifests state it."""

from __future__ import annotations

VERSION = "0.1.0"

"""Emitted modules give what the graph means."""

"""Keramos: an ahead-of-time compiler for Keras models."""

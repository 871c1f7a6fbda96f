"""From a graph to what a target executes: stages, names, lifetimes, buffers, layouts."""

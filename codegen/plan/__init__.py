"""From a graph to what a target executes: stages, names, lifetimes, layouts."""

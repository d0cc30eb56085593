"""Layers with their parameters, and what trains them; below are only the compiled kernels."""

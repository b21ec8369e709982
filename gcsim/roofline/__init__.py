"""Arithmetic only: floats in, floats out, compiled by numba. No YAML, no tables, no simulation."""

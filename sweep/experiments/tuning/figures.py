"""Temporary."""

from sweep.reporting import plots

FIGURES = {"tuning": lambda results, path: plots.tuning(results, results.oracle, path)}

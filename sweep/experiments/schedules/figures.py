"""Temporary."""

from sweep.reporting import plots

FIGURES = {"schedules": plots.schedules}

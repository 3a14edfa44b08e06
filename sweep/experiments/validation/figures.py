"""Temporary."""

from sweep.reporting import plots

FIGURES = {
    "gaps": lambda results, path: plots.gaps(
        {"held-out runs" if results.settings.held_out else "the oracle's runs": results}, path
    )
}

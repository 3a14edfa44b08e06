"""Sweeps as jobs of a Ray cluster: what is asked for, as a document; what travels with it; what came of it."""

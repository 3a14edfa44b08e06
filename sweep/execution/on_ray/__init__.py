"""Packs as trials of Ray Tune, on a cluster or on a Ray of our own."""
